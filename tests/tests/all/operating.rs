//! A gate in the life of a plant: it restarts without tearing anybody from their work, takes a new configuration while they go
//! on, and tells what counts.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use tests::process::{HANG, eventually, start_on_a_terminal};
use tests::{Options, Plant, Running, json, log_in, run, worked};

fn append(plant: &Plant, lines: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(plant.config()).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}

/// The gate reads its configuration again, and says what became of it.
#[track_caller]
fn reload(plant: &mut Plant, says: &str) {
    plant.gate().signal(Signal::HUP);
    plant.gate().until(says);
}

/// What whatever looks after programs on the gate's machine asks: the exit code.
fn health(plant: &Plant) -> i32 {
    let listens = format!("listen = [\"{}\"]", plant.faces.plant[0]);
    let text = fs::read_to_string(plant.config()).unwrap().replace("listen = [\"127.0.0.1:0\"]", &listens);
    let here = plant.config().with_file_name("here.toml");
    fs::write(&here, text).unwrap();
    run(plant.holdpoint(&["status", "--local", "--config"]).arg(here), b"").code()
}

fn at_work(plant: &Plant) -> Running {
    let mut ssh = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    ssh.type_in("echo is $((40 + 2))\n");
    ssh.until("is 42");
    ssh
}

fn setting(settings: &Value, key: &str) -> Value {
    let all = settings["settings"].as_array().expect("a list");
    all.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("no {key} in {settings}")).clone()
}

/// Puts a pipe in the place of the configuration, of which reading waits for whoever has its other end: once somebody reads.
fn hangs(plant: &Plant) -> mpsc::Receiver<fs::File> {
    let config = plant.config();
    fs::remove_file(&config).unwrap();
    run(Command::new("mkfifo").arg(&config), b"").ok();
    let (sender, read) = mpsc::channel();
    thread::spawn(move || sender.send(fs::OpenOptions::new().write(true).open(config).unwrap()));
    read
}

/// What systemd would be told.
struct Told(mpsc::Receiver<String>);

impl Told {
    /// At this socket, read at once as systemd does.
    fn at(socket: &Path) -> Self {
        let socket = UnixDatagram::bind(socket).unwrap();
        let (sender, told) = mpsc::channel();
        thread::spawn(move || {
            let mut words = [0; 512];
            while let Ok(length) = socket.recv(&mut words) {
                let words = String::from_utf8_lossy(&words[..length]).into_owned();
                if sender.send(words).is_err() {
                    return;
                }
            }
        });
        Self(told)
    }

    /// The next word that it lives, among those that come from now on.
    fn lives(&self) {
        self.0.try_iter().for_each(drop);
        while self.next() != "WATCHDOG=1" {}
    }

    /// The next word but that.
    fn news(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|words| words != "WATCHDOG=1").expect("it never ends")
    }

    fn next(&self) -> String {
        self.0.recv_timeout(HANG).expect("the gate says something")
    }
}

#[test]
fn a_restart_waits_for_who_is_at_work_and_lets_nobody_new_in() {
    let mut plant = Plant::ready(Options::default());
    append(&plant, "[serve]\ndrain = \"1h\"\n");
    let socket = plant.installation().join("notify");
    let told = Told::at(&socket);
    plant.serve_under(&["env", &format!("NOTIFY_SOCKET={}", socket.display()), "WATCHDOG_USEC=150000"]);
    assert_eq!(told.news(), "READY=1\nSTATUS=serving");
    told.lives();
    log_in(&plant, "lee");
    assert_eq!(health(&plant), 0);
    plant.gate().signal(Signal::HUP);
    assert!(told.news().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told.news(), "READY=1\nSTATUS=serving");
    let right = fs::read_to_string(plant.config()).unwrap();
    append(&plant, "patience = 3\n");
    plant.gate().signal(Signal::HUP);
    assert!(told.news().starts_with("RELOADING=1\n"));
    let refused = told.news();
    assert!(refused.starts_with("READY=1\nSTATUS=serving as before, the new configuration was refused: "), "{refused}");
    assert!(refused.contains("patience") && refused.lines().count() == 2, "{refused}");
    fs::write(plant.config(), right).unwrap();

    let mut ssh = at_work(&plant);
    plant.gate().signal(Signal::TERM);
    let stopping = told.news();
    assert!(stopping.starts_with("STOPPING=1\n") && stopping.ends_with("EXTEND_TIMEOUT_USEC=3675000000"), "{stopping}");
    ssh.until("Finish what you do: this session ends then at the latest.");
    let new = run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "true"]), b"");
    new.says_no("lets nobody in before");
    let status = json(&plant, "lee", &["status"]);
    assert!(status["red"] == true && status["because"].to_string().contains("the gate restarts at"), "{status}");
    told.lives();
    assert!(!plant.gate().has_ended());
    assert_eq!(health(&plant), 1);

    // They finish, and the gate waits for nobody else.
    ssh.type_in("echo still $((40 + 2))\nexit\n");
    ssh.until("still 42");
    ssh.ends();
    eventually("the gate has stopped", || plant.gate().has_ended());
    assert_eq!(health(&plant), 3);
    assert_eq!(plant.stop().code(), 0);
    assert_eq!(plant.evidence().recording().ending(), Some("left"));
}

#[test]
fn whoever_works_on_past_the_limit_is_ended_in_order_and_a_second_word_ends_the_wait() {
    let mut plant = Plant::ready(Options::default());
    append(&plant, "[serve]\ndrain = \"12h\"\n");
    plant.serve();
    let mut ssh = at_work(&plant);
    plant.edit_config(|text| text.replace("\"12h\"", "\"1s\""));
    reload(&mut plant, "the configuration was read again");
    plant.gate().signal(Signal::TERM);
    ssh.until("The gate restarts at");
    eventually("the gate has stopped", || plant.gate().has_ended());
    let said = plant.stop();
    assert!(said.err().contains("whoever is still at work is ended"), "{}", said.err());
    assert_eq!(said.code(), 0);
    assert_eq!(plant.evidence().recording().ending(), Some("shutdown"));

    plant.edit_config(|text| text.replace("\"1s\"", "\"12h\""));
    plant.serve();
    let mut ssh = at_work(&plant);
    plant.gate().signal(Signal::TERM);
    ssh.until("The gate restarts at");
    // Again.
    let said = plant.stop();
    assert!(said.err().contains("nobody is waited for any more"), "{}", said.err());
    assert_eq!(said.code(), 0);
}

#[test]
fn a_new_configuration_counts_while_people_work_and_what_cannot_is_named() {
    let mut plant = Plant::ready(Options::default());
    append(&plant, "[notify.webhook]\nurl = \"https://bot:T0K3N@chat.example/T0K3N\"\n");
    plant.serve();
    log_in(&plant, "lee");
    let mut ssh = at_work(&plant);

    // Wrong, and nothing changes.
    let right = fs::read_to_string(plant.config()).unwrap();
    append(&plant, "[serve]\ndrain = \"soon\"\n");
    reload(&mut plant, "the configuration stays as it was");
    fs::write(plant.config(), right.replace("reserve = \"64 MiB\"", "reserve = \"65 MiB\"")).unwrap();

    let lines = plant.installation().join("data/feed.jsonl");
    append(&plant, "[serve]\ndrain = \"30s\"\n[[feed.file]]\nname = \"here\"\npath = \"data/feed.jsonl\"\n");
    reload(&mut plant, "these keys count once the gate was restarted");
    let said = plant.gate().said();
    let line =
        |words: &str| said.lines().rfind(|line| line.contains(words)).unwrap_or_else(|| panic!("{said}")).to_owned();
    let taken = line("the configuration was read again");
    assert!(
        taken.contains("serve.drain") && taken.contains("feed.file[1].path") && !taken.contains("reserve"),
        "{taken}"
    );
    let waiting = line("these keys count once");
    assert!(waiting.contains("store.reserve") && !waiting.contains("drain"), "{waiting}");
    eventually("the new receiver is brought the feed", || fs::metadata(&lines).is_ok_and(|file| file.len() > 0));

    let settings = json(&plant, "lee", &["status", "--settings"]);
    assert!(!settings.to_string().contains("T0K3N"), "{settings}");
    let drain = setting(&settings, "serve.drain");
    assert_eq!((&drain["value"], &drain["written"], &drain["waits"]), (&"30s".into(), &true.into(), &false.into()));
    let reserve = setting(&settings, "store.reserve");
    assert_eq!((&reserve["value"], &reserve["waits"]), (&"64 MiB".into(), &true.into()));
    let passwords = setting(&settings, "faces.vendor.passwords");
    assert_eq!((&passwords["value"], &passwords["written"]), (&"false".into(), &false.into()));
    let page = tests::holdpoint(&plant, "lee", &["status", "--settings"]).ok().out();
    assert!(page.contains("the file says nothing") && page.contains("RESTART"), "{page}");

    // All the while.
    ssh.type_in("echo still $((40 + 2))\nexit\n");
    ssh.until("still 42");
    ssh.ends();
    assert!(!worked(&plant, "echo again").is_empty());
}

#[test]
fn a_gate_whose_disk_hangs_while_it_reads_its_configuration_again_stops_when_it_is_told_to() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let ssh = at_work(&plant);
    let read = hangs(&plant);
    plant.gate().signal(Signal::HUP);
    let held = read.recv_timeout(HANG).expect("it is read");
    plant.gate().signal(Signal::TERM);
    let said = plant.gate().until("proxy::app: stopped");
    assert!(said.contains("the keys were read again") && !said.contains("the configuration stays as it was"), "{said}");
    assert!(ssh.ends().out().contains("The gate is being stopped"));
    assert_eq!(plant.ends().code(), 0);
    drop(held);
}
