//! `holdpoint demo`: a whole plant on loopback, to be tried by hand or to be watched while it plays its own story. The
//! gate in it is the one that serves plants; simulated are the machine behind it and the people.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use approver::clock::Clock;
use approver::desk::Rejected;
use approver::directory::DirectoryFault;
use approver::people::NotDone;
use certs::keys::{KeyFault, KeyStore, Seal};
use certs::trust::Trust;
use policies::ids::CredentialName;
use russh::keys::PrivateKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::app::{App, StartFault};
use crate::config::{Config, ConfigFault};
use crate::founding::{self, Founded, FoundingFault, found};

mod crew;
mod evidence;
mod hmi;
mod home;
mod keyboard;
mod panel;
mod panel_files;
mod phone;
mod plc;
mod stage;
mod story;
mod technician;

use crew::Gate;
use hmi::Hmi;
use home::Home;
use phone::{Phone, Shown};
use plc::Plc;

const PLANT: &str = include_str!("plant.toml");
const SCREEN: &str = include_str!("screen.txt");
const SSH_CONFIG: &str = include_str!("ssh_config");
/// The technician's company.
const VENDOR: &str = "acme";
/// The machines, with the secrets that open them, as the plant file names both.
const HMI: (&str, &str) = ("hmi-2", "hmi-maint");
const HISTORIAN: (&str, &str) = ("historian", "historian-maint");
/// For sessions to end and recordings to be sealed.
const ENDING_MAX: Duration = Duration::from_secs(10);

/// Why a demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoFault {
    /// There is something already.
    #[error("{path} is not empty: a demo begins in a new folder", path = .0.display())]
    NotEmpty(PathBuf),
    /// A file or folder.
    #[error("{path}: {cause}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Nobody of that name is in the demo that was named.
    #[error("there is no demo with somebody called {name:?} in {folder}: name its folder with --dir", folder = .folder.display())]
    Nobody {
        /// The name.
        name: String,
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// The system.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The installation could not be made.
    #[error(transparent)]
    Founding(#[from] FoundingFault),
    /// Its configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The gate's keys.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// The gate does not start.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// Somebody could not be enrolled.
    #[error(transparent)]
    People(#[from] NotDone),
    /// The gate refused what the demo begins with.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The panel's password could not be kept.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    /// The installation began with other people than the demo has.
    #[error("the demo begins with one administrator and one operator, and others were founded")]
    Crew,
    /// What the auditor is to trust did not come.
    #[error("the gate did not write what the auditor is to trust")]
    NoTrust,
    /// A step of the story did not end as it was told.
    #[error("step {step}, {name}: expected {expected}, and saw:\n{saw}")]
    Step {
        /// Its number.
        step: usize,
        /// Its name.
        name: &'static str,
        /// What should have been.
        expected: String,
        /// What was.
        saw: String,
    },
    /// The technician's client.
    #[error("the technician's SSH client: {0}")]
    Ssh(#[from] russh::Error),
    /// The technician's file copies.
    #[error("the technician's SFTP client: {0}")]
    Sftp(#[from] russh_sftp::client::error::Error),
    /// Somebody ended it.
    #[error("stopped before the story was over")]
    Interrupted,
}

impl DemoFault {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { path, cause }
    }
}

/// Starts the plant, says on one screen what can be typed, and goes on until Ctrl-C or SIGTERM.
///
/// # Errors
/// The plant does not start, or something stays behind.
pub async fn show(dir: Option<&Path>) -> Result<(), DemoFault> {
    let tracker = TaskTracker::new();
    let told = told_to_stop(&tracker)?;
    let home = Home::make(dir)?;
    let plant = Plant::start(&home, Ports::usual()?).await?;
    say!("{}", screen(home.path(), home.is_kept(), plant.plc.address().port()));
    told.cancelled().await;
    plant.stop().await;
    home.leave()
}

/// Plays the whole story, each step checked.
///
/// # Errors
/// The first step that did not end as it was told, or as [`show`].
pub async fn play(dir: Option<&Path>) -> Result<(), DemoFault> {
    let tracker = TaskTracker::new();
    let told = told_to_stop(&tracker)?;
    let home = Home::make(dir)?;
    let plant = Plant::start(&home, Ports::any()?).await?;
    let mut stage = stage::Stage::new(&home);
    let worked = told.run_until_cancelled(Box::pin(story::play(&mut stage, &plant))).await;
    plant.stop().await;
    let session = worked.unwrap_or(Err(DemoFault::Interrupted))?;
    let checked = told.run_until_cancelled(evidence::check(&mut stage, session)).await;
    checked.unwrap_or(Err(DemoFault::Interrupted))?;
    stage.end();
    home.leave()
}

/// A code that the gate takes from somebody of the demo in `dir`. Waits for the next one if the present was used.
///
/// # Errors
/// There is no such demo, or nobody of that name in it.
pub fn code(dir: &Path, name: &str) -> Result<Zeroizing<String>, DemoFault> {
    /// For whoever reads it here and types it there.
    const TYPED_WITHIN: Duration = Duration::from_secs(30);
    let nobody = || DemoFault::Nobody { name: name.to_owned(), folder: dir.to_owned() };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    let phone = is_name.then(|| Phone::open(&home::person(dir, name)).ok()).flatten().ok_or_else(nobody)?;
    loop {
        match phone.show(jiff::Timestamp::now(), TYPED_WITHIN)? {
            Shown::Code(code) => return Ok(code),
            Shown::Wait(span) => std::thread::sleep(span),
        }
    }
}

fn screen(dir: &Path, is_kept: bool, plc_port: u16) -> String {
    let dir = dir.display().to_string();
    let leaving = match is_kept {
        true => "and leaves that folder as it is",
        false => "and removes that folder",
    };
    SCREEN.trim_end().replace("DIR", &dir).replace("LEAVING", leaving).replace("PLC_PORT", &plc_port.to_string())
}

/// Cancelled when the system asks the program to stop. From then on the folder is tidied up by whoever made it.
fn told_to_stop(tracker: &TaskTracker) -> io::Result<CancellationToken> {
    let told = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let (mut signal, told) = (signal(kind)?, told.clone());
        tracker.spawn(async move {
            signal.recv().await;
            told.cancel();
        });
    }
    Ok(told)
}

/// The gate and the machines behind it, running.
struct Plant {
    app: App,
    hmi: Hmi,
    plc: Plc,
    /// As clients show it.
    host_key: String,
    technician: Arc<PrivateKey>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Plant {
    async fn start(home: &Home, ports: Ports) -> Result<Self, DemoFault> {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let hmi = Hmi::start(HMI.0, &tracker, &stop).await?;
        let historian = Hmi::start(HISTORIAN.0, &tracker, &stop).await?;
        let plc = Plc::start(&tracker, &stop).await?;
        let plan = founding::Plan {
            folder: home.gate(),
            deployment: "demo".parse().expect("a label"),
            plant: plant_file(
                [&hmi.address().to_string(), hmi.pin()],
                [&historian.address().to_string(), historian.pin()],
                &plc.address().to_string(),
            ),
            config: ports.config(),
            administrators: vec![crew::ADMINISTRATOR.to_owned()],
            operators: vec![crew::OPERATOR.to_owned()],
            recipients: Vec::new(),
        };
        let founded = found(plan, &Seal::File, Clock::system()).await?;
        let config = Config::load(&home.gate().join(founding::CONFIG))?;
        let keys = KeyStore::open(&config.keys, &Seal::File)?;
        drop(ports);
        let app = App::start(config, &Seal::File, Clock::system()).await?;
        let secrets = [(HMI.1, hmi.password()), (HISTORIAN.1, historian.password())];
        match furnish(home, &app, &keys, &founded, secrets).await {
            Ok(technician) => {
                let host_key = founded.ssh_fingerprint;
                Ok(Self { app, hmi, plc, host_key, technician, tracker, stop })
            }
            Err(fault) => {
                app.shutdown(ENDING_MAX).await;
                Err(fault)
            }
        }
    }

    /// Where technicians arrive.
    fn ssh(&self) -> SocketAddr {
        *self.app.addresses().ssh.first().expect("the demo's configuration has one SSH listener")
    }

    async fn stop(self) {
        self.app.shutdown(ENDING_MAX).await;
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The plant file, with where each machine is and which host key it has.
fn plant_file(hmi: [&str; 2], historian: [&str; 2], plc: &str) -> String {
    let [hmi_address, hmi_pin] = hmi;
    let [historian_address, historian_pin] = historian;
    let text = PLANT.replace("PLC_ADDRESS", plc).replace("HMI_ADDRESS", hmi_address).replace("HMI_PIN", hmi_pin);
    text.replace("HISTORIAN_ADDRESS", historian_address).replace("HISTORIAN_PIN", historian_pin)
}

/// Everything around the gate that people of a plant would do and take away.
async fn furnish(
    home: &Home,
    app: &App,
    keys: &KeyStore,
    founded: &Founded,
    secrets: [(&str, &str); 2],
) -> Result<Arc<PrivateKey>, DemoFault> {
    let gate = Gate { app, ca_pem: keys.tls_ca().authorities_pem() };
    let technician = crew::enrol(home, &gate, &founded.invitations).await?;
    let administrator = app.desk().with_state(|state| {
        state.people.values().find(|person| person.is_active_administrator()).map(|person| person.id)
    });
    let administrator = administrator.ok_or(DemoFault::Crew)?;
    for (name, secret) in secrets {
        let name: CredentialName = name.parse().expect("a name");
        let set = app.desk().set_secret(name, secret.as_bytes().to_vec().into(), keys.secrets(), administrator);
        Box::pin(set).await?;
    }
    take_to_auditor(home, founded).await?;
    let port = app.addresses().ssh.first().map_or(0, SocketAddr::port);
    let dir = home.path().display().to_string();
    let ssh_config = SSH_CONFIG.replace("PORT", &port.to_string()).replace("DIR", &dir);
    let written = home::write_private(&home.path().join("ssh_config"), &ssh_config)
        .and_then(|()| home::write_private(&home.path().join("known_hosts"), &(founded.known_hosts.clone() + "\n")))
        .and_then(|()| home.link_program());
    written.map_err(DemoFault::at(home.path()))?;
    Ok(technician)
}

/// The auditors' keys leave the gate, and what the auditor is to trust goes with them once the first people enrolled.
async fn take_to_auditor(home: &Home, founded: &Founded) -> Result<(), DemoFault> {
    /// The gate writes it as soon as the last of the first people has enrolled.
    const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
    const LOOKED_AT: Duration = Duration::from_millis(20);
    let folder = home.auditor();
    home::make_folder(&folder).map_err(DemoFault::at(&folder))?;
    for key in &founded.auditor_keys {
        let to = folder.join(key.file_name().unwrap_or_default());
        std::fs::rename(key, &to).map_err(DemoFault::at(&to))?;
    }
    let whole = async {
        loop {
            let text = std::fs::read_to_string(home.gate().join(founding::TRUST)).unwrap_or_default();
            let knows_all = |trust: Trust| trust.people.iter().all(|person| !person.keys.is_empty());
            if Trust::parse(&text).is_ok_and(knows_all) {
                return text;
            }
            tokio::time::sleep(LOOKED_AT).await;
        }
    };
    let text = tokio::time::timeout(WRITTEN_WITHIN, whole).await.map_err(|_| DemoFault::NoTrust)?;
    let to = folder.join(founding::TRUST);
    home::write_private(&to, &text).map_err(DemoFault::at(&to))
}

/// Ports that were free a moment ago, and are held until the gate takes them: its origins must be known before.
struct Ports {
    ssh: TcpListener,
    vendor: TcpListener,
    plant: TcpListener,
}

impl Ports {
    /// Those that are short to type, where they are free.
    fn usual() -> io::Result<Self> {
        Ok(Self { ssh: hold(2222)?, vendor: hold(8443)?, plant: hold(9443)? })
    }

    /// Of the system's choice.
    fn any() -> io::Result<Self> {
        Ok(Self { ssh: hold(0)?, vendor: hold(0)?, plant: hold(0)? })
    }

    fn config(&self) -> String {
        let port = |held: &TcpListener| held.local_addr().map_or(0, |address| address.port());
        let (ssh, vendor, plant) = (port(&self.ssh), port(&self.vendor), port(&self.plant));
        format!(
            "# The gate of `holdpoint demo`, on loopback alone.\n\
             [faces.vendor]\norigin = \"https://localhost:{vendor}\"\n\
             ssh = [\"127.0.0.1:{ssh}\"]\npages = [\"127.0.0.1:{vendor}\"]\n\
             [faces.plant]\norigin = \"https://localhost:{plant}\"\nlisten = [\"127.0.0.1:{plant}\"]\n\
             [store]\ndata = \"data\"\nrecipients = [{{recipients}}]\nreserve = \"64 MiB\"\n\
             [keys]\nseal = \"file\"\n"
        )
    }
}

fn hold(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::plant::Plant;

    #[test]
    fn the_plant_of_the_demo_is_right() {
        let pin = || certs::ssh_ca::fresh_key("").public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
        let plant =
            Plant::parse(&plant_file(["127.0.0.1:22", &pin()], ["127.0.0.1:23", &pin()], "127.0.0.1:502")).unwrap();
        assert_eq!((plant.targets.len(), plant.rules.len()), (4, 3));
    }

    #[test]
    fn everything_to_type_stands_on_one_screen() {
        let screen = screen(Path::new("/tmp/holdpoint-Ab12Cd"), false, 40_502);
        // The last of 24 lines is the cursor's.
        assert!(screen.lines().count() <= 23 && screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        assert!(!screen.contains("DIR") && !screen.contains("LEAVING"), "{screen}");
    }
}
