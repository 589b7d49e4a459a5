//! Making an installation: keys, configuration, plant file, data folder and the first people, all in a new folder that
//! appears whole or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use approver::clock::Clock;
use approver::desk::{Desk, DeskFault, DeskParts};
use approver::people::{Founding, Invitation, NewPerson, NotDone, People};
use certs::auditor::NewAuditorKey;
use certs::keys::{KeyFault, KeyStore, Seal};
use policies::ids::{DeploymentId, GroupName};
use policies::people::Kind;
use policies::plant::{Mistakes, Plant};
use tokio::sync::mpsc;

use crate::app::stores::{Identity, RecordsKept, StoreFault, Stores};
use crate::browsers;
use crate::config::{Config, ConfigFault};
use crate::floor::Floor;
use crate::trusting;

/// What an installation begins with.
#[derive(Debug)]
pub struct Plan {
    /// Where. Must not exist, or be empty.
    pub folder: PathBuf,
    /// Its name.
    pub deployment: DeploymentId,
    /// The text of `plant.toml`.
    pub plant: String,
    /// The text of `holdpoint.toml`; `{recipients}` stands for the auditors' recipients.
    pub config: String,
    /// Names of the first administrators.
    pub administrators: Vec<String>,
    /// Names of the first operators; each is in every group the plant file names.
    pub operators: Vec<String>,
    /// The auditors' recipients (`age1…`); where there are none, two keys are made.
    pub recipients: Vec<String>,
}

/// What was made.
#[derive(Debug)]
pub struct Founded {
    /// Codes for the first people, shown once.
    pub invitations: Vec<Invitation>,
    /// Auditors' keys that were made and must be moved away.
    pub auditor_keys: Vec<PathBuf>,
    /// The gate's SSH host key, as clients show it.
    pub ssh_fingerprint: String,
    /// The line for `known_hosts` that covers the gate and every target behind it.
    pub known_hosts: String,
}

/// Why there is no installation. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum FoundingFault {
    /// There is something already.
    #[error("{path} is not empty: an installation begins in a new folder", path = .0.display())]
    NotEmpty(PathBuf),
    /// The plant file.
    #[error("the plant file:\n{0}")]
    Plant(Mistakes),
    /// The configuration.
    #[error("the configuration:\n{0}")]
    Config(#[from] ConfigFault),
    /// A file.
    #[error("{path}: {cause}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// The stores.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Stores(Vec<StoreFault>),
    /// The Desk.
    #[error(transparent)]
    Desk(#[from] DeskFault),
    /// The first people.
    #[error(transparent)]
    People(#[from] NotDone),
}

/// The configuration's file name in the folder.
pub const CONFIG: &str = "holdpoint.toml";
/// The plant file's.
pub const PLANT: &str = "plant.toml";
/// What the auditor keeps.
pub const TRUST: &str = "trust.toml";
const AUDITORS: &str = "auditors";

/// Makes the installation; `seal` seals its keys.
///
/// # Errors
/// The folder is not empty, a file has mistakes, or the system refuses; then nothing is left of it.
pub async fn found(plan: Plan, seal: &Seal, clock: Clock) -> Result<Founded, FoundingFault> {
    let is_taken =
        fs::read_dir(&plan.folder).is_ok_and(|mut entries| entries.next().is_some()) || plan.folder.is_file();
    if is_taken {
        return Err(FoundingFault::NotEmpty(plan.folder));
    }
    let plant = Plant::parse(&plan.plant).map_err(FoundingFault::Plant)?;
    let whole = std::path::absolute(&plan.folder).map_err(at(&plan.folder))?;
    let building = whole.with_extension(format!("new-{}", std::process::id()));
    let made = build(&building, &plan, &plant, seal, clock).await;
    let moved = made.and_then(|founded| {
        if whole.exists() {
            fs::remove_dir(&whole).map_err(at(&whole))?;
        }
        fs::rename(&building, &whole).map_err(at(&whole))?;
        Ok(founded)
    });
    match moved {
        Ok(mut founded) => {
            for key in &mut founded.auditor_keys {
                *key = whole.join(AUDITORS).join(key.file_name().unwrap_or_default());
            }
            Ok(founded)
        }
        Err(fault) => {
            if let Err(cause) = fs::remove_dir_all(&building) {
                tracing::warn!(%cause, "an unfinished folder is left behind");
            }
            Err(fault)
        }
    }
}

async fn build(folder: &Path, plan: &Plan, plant: &Plant, seal: &Seal, clock: Clock) -> Result<Founded, FoundingFault> {
    make_folder(folder)?;
    let (recipients, auditor_keys) = match plan.recipients.as_slice() {
        [] => make_auditors(folder, &clock)?,
        given => (given.to_vec(), Vec::new()),
    };
    let listed = recipients.iter().map(|recipient| format!("{recipient:?}")).collect::<Vec<_>>().join(", ");
    write_new(&folder.join(CONFIG), &plan.config.replace("{recipients}", &listed), 0o640)?;
    write_new(&folder.join(PLANT), &plan.plant, 0o640)?;
    let config = Config::load(&folder.join(CONFIG))?;
    let keys = KeyStore::create(&config.keys, seal)?;
    make_folder(&config.store.data)?;
    let identity =
        Identity { deployment: plan.deployment.clone(), node: node_name(), restore: None, records_restore: None };
    let stores = Stores::open(&config.store.data, identity, &keys.log_key(), RecordsKept::of(&config.store))
        .map_err(FoundingFault::Stores)?;
    let (alarms, _told) = mpsc::channel(1);
    let desk = Desk::open(DeskParts {
        journal: Arc::clone(&stores.journal),
        directory: Arc::clone(&stores.directory),
        clock: clock.clone(),
        node: stores.identity.node.clone(),
        deployment: plan.deployment.clone(),
        floor: Arc::new(Floor::new(clock)),
        alarms,
        cuts: stores.cuts.clone(),
        records: Some(Arc::clone(&stores.records)),
    })
    .await?;
    let people = People::new(desk.clone(), keys.secrets(), keys.tls_ca());
    let verifiers = trusting::verifiers(&stores.identity, &keys.log_key());
    let log_key = verifiers.first().map(ToString::to_string).unwrap_or_default();
    let founders = first_people(plan, plant);
    let founded = people.found(Founding { log_key, founders, plant: plan.plant.clone() }).await;
    let trust = desk.with_state(|state| trusting::trust_of(state, verifiers));
    desk.close().await;
    drop((people, desk));
    stores.close();
    let invitations = founded?;
    write_new(&folder.join(TRUST), &trust.to_string(), 0o644)?;
    let ca = keys.tls_ca();
    write_new(&folder.join(browsers::CA), &ca.authorities_pem(), 0o644)?;
    let steps = browsers::steps(&config.plant, &ca.fingerprint().to_string());
    write_new(&folder.join(browsers::STEPS), &steps, 0o644)?;
    let host_key = keys.ssh_host_key().fingerprint();
    Ok(Founded { invitations, auditor_keys, ssh_fingerprint: host_key, known_hosts: keys.ssh_ca().known_hosts_lines() })
}

fn first_people(plan: &Plan, plant: &Plant) -> Vec<NewPerson> {
    let asked = plant.rules.iter().flat_map(|rule| &rule.approvals).chain(&plant.changes);
    let groups: BTreeSet<GroupName> = asked.map(|quorum| quorum.from.clone()).collect();
    let administrators = plan.administrators.iter().map(|name| NewPerson {
        name: name.clone(),
        kind: Kind::Administrator,
        groups: BTreeSet::new(),
    });
    let operators = plan.operators.iter().map(|name| NewPerson {
        name: name.clone(),
        kind: Kind::Operator { vendor: None },
        groups: groups.clone(),
    });
    administrators.chain(operators).collect()
}

/// Two keys, because losing every auditor's key loses every recording.
fn make_auditors(folder: &Path, clock: &Clock) -> Result<(Vec<String>, Vec<PathBuf>), FoundingFault> {
    let folder = folder.join(AUDITORS);
    make_folder(&folder)?;
    let (mut recipients, mut files) = (Vec::new(), Vec::new());
    for number in 1..=2 {
        let key = NewAuditorKey::generate(clock.wall());
        let path = folder.join(format!("auditor-{number}.key"));
        write_new(&path, &key.file, 0o600)?;
        recipients.push(key.recipient);
        files.push(path);
    }
    Ok((recipients, files))
}

/// The first node; others get names of their own when they join.
fn node_name() -> policies::ids::NodeId {
    "gate-1".parse().expect("a DNS label")
}

fn make_folder(path: &Path) -> Result<(), FoundingFault> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(at(path))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), FoundingFault> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FoundingFault {
    let path = path.to_owned();
    move |cause| FoundingFault::File { path, cause }
}
