//! The Plant: an installation made by `holdpoint init` in a temporary folder, a machine behind it, people who enrolled,
//! and the program itself in a process of its own, on ports the system chose. Everything ends with the value.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

use approver::testing::{Panel, plant_of_panels};
use jiff::SignedDuration;
use policies::actions::Action;
use policies::ids::RequestId;
use policies::people::Kind;
use policies::time::Seconds;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::evidence::Evidence;
use crate::office::Office;
use crate::person::{CERTIFICATE, GATE, PLANT_FACE, Person};
use crate::process::{Ended, Running, run, start, tail};
use crate::target::{Target, account};

/// What is special about a plant.
#[derive(Clone)]
pub struct Options {
    /// More keys for `[plant]`.
    pub plant: String,
    /// Keys for the one rule, instead of these.
    pub rule: String,
    /// More targets and rules.
    pub more: String,
    /// The host key that the plant file pins, if it is not the target's.
    pub pin: Option<String>,
    /// Bytes of the disk below which nobody is let in.
    pub reserve: String,
    /// More lines for the target's `sshd_config`.
    pub sshd: String,
    /// What the program logs, if not what it logs by itself.
    pub log: Option<&'static str>,
    /// The data folder, if it is not in the installation's.
    pub data: Option<PathBuf>,
    /// More people: technicians of `acme` and `stackwell`.
    pub technicians: Vec<(&'static str, &'static str)>,
    /// Those of the first people who enrol later, by themselves.
    pub later: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plant: String::new(),
            rule: "idle = \"4h\"".into(),
            more: String::new(),
            pin: None,
            reserve: "64 MiB".into(),
            sshd: String::new(),
            log: None,
            data: None,
            technicians: vec![("tess", "acme")],
            later: Vec::new(),
        }
    }
}

/// A plant.
pub struct Plant {
    // Dropped in this order: the gate before the machines, the folder last.
    gate: Option<Running>,
    /// The machine `hmi-2`: an OpenSSH server.
    pub hmi: Target,
    /// Where the gate listens, once it was started.
    pub faces: Faces,
    people: BTreeMap<String, Person>,
    /// One-use codes of those who have not enrolled.
    pub codes: BTreeMap<String, String>,
    /// What `init` printed.
    pub printed: String,
    options: Options,
    folder: TempDir,
}

/// Where the gate listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faces {
    /// The vendor face, SSH.
    pub ssh: Vec<SocketAddr>,
    /// The vendor face, HTTPS.
    pub pages: Vec<SocketAddr>,
    /// The plant face, HTTPS.
    pub plant: Vec<SocketAddr>,
}

/// All that can be granted over SSH.
pub const EVERYTHING: [Action; 3] = [Action::Shell, Action::FileGet, Action::FilePut];
const HOUR: Seconds = Seconds(3_600);

impl Plant {
    /// With everybody enrolled, the program running, and an hour's grant of everything for `tess` at `hmi-2`.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// The same, with something special about it.
    pub fn with(options: Options) -> Self {
        let mut plant = Self::enrolled(options);
        plant.grant("tess", "hmi-2", &EVERYTHING, HOUR);
        plant.serve();
        plant
    }

    /// The same, but `tess` is asked for no codes, and the program does not run yet.
    pub fn ready(options: Options) -> Self {
        let plant = Self::enrolled(options);
        plant.grant("tess", "hmi-2", &EVERYTHING, HOUR);
        plant.log_in("tess");
        plant
    }

    /// With everybody enrolled; nobody was granted anything, and the program does not run.
    pub fn enrolled(options: Options) -> Self {
        let mut plant = Self::founded(options);
        plant.enrol_everybody();
        plant
    }

    /// As `holdpoint init` leaves it: nobody has enrolled.
    pub fn founded(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let hmi = Target::openssh_with(&folder.path().join("hmi-2"), &options.sshd);
        let file = folder.path().join("wanted.toml");
        fs::write(&file, plant_file(&hmi, &options)).expect("a file");
        let mut plant = Self {
            gate: None,
            hmi,
            faces: Faces::default(),
            people: BTreeMap::new(),
            codes: BTreeMap::new(),
            printed: String::new(),
            options,
            folder,
        };
        plant.init(&file);
        plant
    }

    fn init(&mut self, file: &Path) {
        let (vendor, own) = (format!("https://{GATE}:8443"), format!("https://{PLANT_FACE}:9443"));
        let mut init = self.holdpoint(&["init", "--name", "mill-3", "--administrator", "ada"]);
        init.args(["--operator", "lee", "--operator", "kim", "--vendor-origin", &vendor, "--plant-origin", &own]);
        self.printed = run(init.arg("--dir").arg(self.installation()).arg("--plant").arg(file), b"").ok().out();
        let code_of = |name: &str| {
            let mut words = self.printed.lines().map(str::split_whitespace);
            let code = words.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()).flatten());
            (name.to_owned(), code.expect("a code for each of the first people").to_owned())
        };
        self.codes = ["ada", "lee", "kim"].map(code_of).into();
        self.edit_config(|text| {
            ["0.0.0.0:2222", "0.0.0.0:8443", "127.0.0.1:9443"]
                .iter()
                .fold(text.replace("10 GiB", &self.options.reserve), |text, fixed| text.replace(fixed, "127.0.0.1:0"))
        });
        let office = Office::open(&self.config());
        fs::write(self.folder.path().join("hmi-2/ca.pub"), office.ca()).expect("a file");
        fs::write(self.folder.path().join("ca.pem"), office.tls_ca()).expect("a file");
        office.close();
        if let Some(data) = self.options.data.clone() {
            run(Command::new("cp").arg("-a").arg(self.installation().join("data")).arg(&data), b"").ok();
            self.edit_config(|text| text.replace("data = \"data\"", &format!("data = {:?}", data.display())));
        }
    }

    /// Changes the configuration.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config()).expect("a file");
        fs::write(self.config(), edit(text)).expect("a file");
    }

    fn enrol_everybody(&mut self) {
        let office = Office::open(&self.config());
        let later = |name: &String| self.options.later.contains(&name.as_str());
        let (later, now): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.codes).into_iter().partition(|(name, _)| later(name));
        self.codes = later;
        for (name, code) in now {
            let mut person = self.newcomer(&name);
            person.enrolled(&office.enrol(&code, person.key.public_key()));
            self.people.insert(name, person);
        }
        for vendor in ["acme", "stackwell"] {
            office.contract(vendor, self.person("ada"), self.person("lee"));
        }
        for (name, vendor) in self.options.technicians.clone() {
            let mut person = self.newcomer(name);
            person.enrolled(&office.technician(name, vendor, person.key.public_key(), self.person("ada")));
            self.people.insert(name.to_owned(), person);
        }
        office.close();
    }

    /// Somebody with a key and a folder, not enrolled yet.
    pub fn newcomer(&self, name: &str) -> Person {
        let port = self.faces.ssh.first().map_or(22, SocketAddr::port);
        let person = Person::newcomer(&self.folder.path().join("people"), name, port);
        person.write("known_hosts", self.known_hosts().as_bytes());
        person
    }

    /// The line that `init` prints for OpenSSH.
    pub fn known_hosts(&self) -> String {
        let line = self.printed.lines().map(str::trim).find(|line| line.starts_with("@cert-authority"));
        format!("{}\n", line.expect("init prints it"))
    }

    /// The fingerprint that `init` prints for PuTTY.
    pub fn fingerprint(&self) -> String {
        let mut words = self.printed.split_whitespace();
        words.find(|word| word.starts_with("SHA256:")).expect("init prints it").to_owned()
    }

    /// Somebody has come.
    pub fn add(&mut self, person: Person) {
        self.people.insert(person.name.clone(), person);
    }

    /// Somebody enrols with stock `ssh`: gives the one-use code where it is asked for, and tries the app that they got.
    #[track_caller]
    pub fn enrol_by_ssh(&mut self, name: &str, code: &str) {
        let person = self.newcomer(name);
        self.enrols_with(person, code);
    }

    /// The same of somebody who was here before, with the key that they had.
    #[track_caller]
    pub fn enrols_again(&mut self, name: &str, code: &str) {
        let person = self.people.remove(name).expect("they were here");
        self.enrols_with(person, code);
    }

    #[track_caller]
    fn enrols_with(&mut self, mut person: Person, code: &str) {
        person.write("enrolment", code.as_bytes());
        let mut ssh = start(&mut person.ssh(&[&format!("enrol@{GATE}")]));
        let page = ssh.until("shows now: ");
        let after = |words: &str| page.split(words).nth(1).expect("the page says so").trim_start().to_owned();
        let secret = after("type it in: ").lines().next().expect("a secret").to_owned();
        let is_code = |word: &&str| word.len() == 19 && word.matches('-').count() == 3;
        let recovery: Vec<String> =
            after("Print them:").split_whitespace().filter(is_code).map(str::to_owned).collect();
        assert_eq!(recovery.len(), 10, "{page}");
        person.has_app(&secret, &recovery);
        ssh.type_in(format!("{}\n", person.code()));
        ssh.until("It works.");
        ssh.ends().ok();
        self.add(person);
    }

    /// Somebody: `ada` administers, `lee` and `kim` are shift leads, `tess` is a technician of `acme`.
    #[track_caller]
    pub fn person(&self, name: &str) -> &Person {
        self.people.get(name).unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// The technician.
    pub fn tess(&self) -> &Person {
        self.person("tess")
    }

    /// Decides something while the program does not run.
    #[track_caller]
    pub fn decide<T>(&self, decide: impl FnOnce(&Office) -> T) -> T {
        assert!(self.gate.is_none(), "the program has the folder open");
        let office = Office::open(&self.config());
        let decided = decide(&office);
        office.close();
        decided
    }

    /// Grants something, approved by `lee`.
    pub fn grant(&self, technician: &str, target: &str, actions: &[Action], lasts: Seconds) -> RequestId {
        let (technician, lee) = (self.person(technician), self.person("lee"));
        self.decide(|office| office.grant(technician, target, actions, lasts, lee))
    }

    /// Gives somebody what `holdpoint login` gives, so that `ssh` asks them for no code. It survives a restart.
    pub fn log_in(&self, name: &str) {
        self.log_in_for(name, SignedDuration::from_mins(30));
    }

    /// The same, for so long from now on; the past will do too.
    pub fn log_in_for(&self, name: &str, lasts: SignedDuration) {
        let person = self.person(name);
        person.write(CERTIFICATE, self.decide(|office| office.login_certificate(person, lasts)).as_bytes());
    }

    /// One more member of staff, for whom `ada` and, where there are groups, `lee` vouch if that is needed.
    pub fn employ(&mut self, name: &str, kind: Kind, groups: &[&str]) {
        let mut person = self.newcomer(name);
        let enrolled = self.decide(|office| {
            let needs_certifying = kind.needs_certifying();
            let enrolled = office.somebody(name, kind, groups, person.key.public_key(), self.person("ada"));
            if needs_certifying {
                office.vouch(self.person("ada"), enrolled.person);
            }
            if !groups.is_empty() {
                office.vouch(self.person("lee"), enrolled.person);
            }
            enrolled
        });
        person.enrolled(&enrolled);
        self.add(person);
    }

    /// Has every notice written to a file, which is given, from the next start on.
    pub fn notices(&self) -> PathBuf {
        let told = self.folder.path().join("notices");
        let config = fs::read_to_string(self.config()).expect("a file");
        let write = format!("[notify.command]\nrun = [\"sh\", \"-c\", \"cat >> {}\"]\n", told.display());
        fs::write(self.config(), config + &write).expect("a file");
        // Beside its keys nobody whom the gate starts makes a file.
        fs::write(&told, "").expect("a file");
        told
    }

    /// Starts the program, and waits until it serves.
    pub fn serve(&mut self) {
        self.serve_under(&[]);
    }

    /// The same with another program around it, which is named with its arguments.
    pub fn serve_under(&mut self, around: &[&str]) {
        let mut command = self.serve_command();
        if let [program, arguments @ ..] = around {
            let mut wrapped = Command::new(program);
            wrapped.args(arguments).arg(command.get_program()).args(command.get_args());
            wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            if let Some(dir) = command.get_current_dir() {
                wrapped.current_dir(dir);
            }
            command = wrapped;
        }
        let mut gate = start(&mut command);
        let line = gate.until("}\n");
        let line = line.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
        let said: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let listed = |face: &str| {
            let addresses = said[face].as_array().into_iter().flatten().filter_map(|address| address.as_str());
            addresses.map(|address| address.parse().expect("an address")).collect::<Vec<SocketAddr>>()
        };
        self.faces = Faces { ssh: listed("ssh"), pages: listed("pages"), plant: listed("plant") };
        self.gate = Some(gate);
        for person in self.people.values() {
            person.find_gate(self.ssh_port());
            self.write_profile(person);
        }
    }

    /// What starts it.
    pub fn serve_command(&self) -> Command {
        let mut serve = self.holdpoint(&["serve", "--json", "--config"]);
        serve.arg(self.config());
        if let Some(log) = self.options.log {
            serve.args(["--log", log]);
        }
        serve
    }

    fn write_profile(&self, person: &Person) {
        let is_technician = self.options.technicians.iter().any(|(name, _)| *name == person.name);
        let (face, origin, port, address) = if is_technician {
            ("vendor", GATE, 8443, self.faces.pages[0])
        } else {
            ("plant", PLANT_FACE, 9443, self.faces.plant[0])
        };
        let ca = self.folder.path().join("ca.pem");
        let profile = format!(
            "name = {:?}\nface = {face:?}\norigin = \"https://{origin}:{port}\"\naddress = \"{address}\"\nca = {:?}\nkey = \"key\"\n",
            person.name,
            ca.display()
        );
        person.write("profile.toml", profile.as_bytes());
    }

    /// The vendor face's port for SSH.
    pub fn ssh_port(&self) -> u16 {
        self.faces.ssh[0].port()
    }

    /// The running program.
    pub fn gate(&mut self) -> &mut Running {
        self.gate.as_mut().expect("the program runs")
    }

    /// Tells the program to stop, and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> Ended {
        let gate = self.gate.take().expect("the program runs");
        gate.signal(Signal::TERM);
        gate.ends()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ends(&mut self) -> Ended {
        self.gate.take().expect("the program runs").ends()
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        let gate = self.gate.take().expect("the program runs");
        gate.signal(Signal::KILL);
        gate.ends();
    }

    /// The program's resident memory, in bytes.
    pub fn memory(&mut self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gate().id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// The program with these arguments.
    pub fn holdpoint(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command
    }

    /// The program as somebody runs it on their own machine.
    pub fn as_person(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.person(name).tool(program());
        command.args(arguments);
        command
    }

    /// The folder that `init` made.
    pub fn installation(&self) -> PathBuf {
        self.folder.path().join("mill-3")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.installation().join("holdpoint.toml")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.options.data.clone().unwrap_or_else(|| self.installation().join("data"))
    }

    /// The folder of a session's recording.
    pub fn recording(&self, session: &str) -> PathBuf {
        self.data().join("records/sessions").join(ulid_of(session))
    }

    /// What an auditor takes along, now.
    pub fn evidence(&self) -> Evidence {
        Evidence::take(&self.installation(), &self.data(), &program())
    }
}

impl Drop for Plant {
    /// Where a test failed, the program's log may say why.
    fn drop(&mut self) {
        if let Some(gate) = self.gate.as_ref().filter(|_| std::thread::panicking()) {
            println!("the gate said:\n{}", tail(gate.said().as_bytes()));
        }
    }
}

impl Default for Plant {
    fn default() -> Self {
        Self::new()
    }
}

fn plant_file(hmi: &Target, options: &Options) -> String {
    let Options { plant, rule, more, pin, .. } = options;
    let (address, user, host_key) = (hmi.address(), account(), pin.clone().unwrap_or_else(|| hmi.pin()));
    let panel = Panel { name: "hmi-2", address: &address, user: &user, credential: "certificate", host_key: &host_key };
    let file = plant_of_panels("UTC", &[panel], &format!("{rule}\n{more}"));
    file.replacen("[zones.packaging]", &format!("{plant}\n[zones.packaging]"), 1)
}

/// The program beside the tests, if it is what the sources say.
pub fn program() -> PathBuf {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let tests = std::env::current_exe().expect("a test is a program");
        let profile = tests.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
        let program = profile.join("holdpoint");
        let built = fs::metadata(&program).and_then(|metadata| metadata.modified());
        let built = built.unwrap_or_else(|_| panic!("{} is missing. First: cargo build", program.display()));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests stand beside the other crates");
        let crates = ["policies", "certs", "recordings", "approver", "proxy"];
        if let Some(source) = crates.iter().find_map(|name| newer_than(built, &root.join(name).join("src"))) {
            panic!("{} is older than {}. First: cargo build", program.display(), source.display());
        }
        program
    });
    PROGRAM.clone()
}

fn newer_than(built: SystemTime, folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().find_map(|entry| {
        let changed = || entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|at| at > built);
        if entry.path().is_dir() { newer_than(built, &entry.path()) } else { changed().then(|| entry.path()) }
    })
}

/// A session as folders and keys in a bucket call it.
pub fn ulid_of(session: &str) -> String {
    session.trim_start_matches("s_").to_ascii_lowercase()
}

/// What lies in a folder, by its names in order; nothing where there is none.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
