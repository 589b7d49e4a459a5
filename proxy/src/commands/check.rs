//! `holdpoint check`: is what is configured right? Every mistake of both files at once, before anything binds.

use std::path::{Path, PathBuf};

use approver::blobs::BlobFault;
use approver::blobs::s3::BucketAt;
use approver::postgres::Standby;
use certs::keys::{Seal, folder};
use jiff::Timestamp;
use policies::plant::Plant;
use policies::time::{PlantTime, Seconds};
use recordings::pack::state_of;

use super::showing::{counted, plain};
use super::{Done, Failure};
use crate::app::{asking, depositing, given, stores, telling};
use crate::browsers;
use crate::config::{CertificateFiles, Config, ConfigFault, JournalAt, Origin, RecordingsAt, SealWord};
use crate::{confine, saying, vault};

/// Say whether the configuration and the plant file are right; every mistake at once, with its line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration of this program.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// The plant file.
    #[arg(long, value_name = "FILE", default_value = "plant.toml")]
    plant: PathBuf,
    /// Ask the bucket for recordings, too, whether it keeps versions and locks.
    #[arg(long)]
    bucket: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let config = Config::load(&args.config).map_err(|fault| told(&fault));
    let plant = load_plant(&args.plant);
    let (config, plant) = (config?, plant?);
    telling::check(&config.notify).map_err(Failure::usage)?;
    telling::check_providers(&config.oidc).map_err(Failure::usage)?;
    asking::ways(&config.store.witnesses).map_err(Failure::usage)?;
    telling::collector(config.traces.as_ref()).map_err(Failure::usage)?;
    confine::check(&config).map_err(Failure::usage)?;
    let bucket = depositing::open(&config.store.recordings).map_err(Failure::usage)?;
    let asked = bucket.as_ref().filter(|_| args.bucket).map(ask_bucket).transpose()?;
    let shown = |face, origin: &Origin, files: &Option<CertificateFiles>| {
        let read = files
            .as_ref()
            .map(|files| given::read(files, origin.host(), vault::face_files(&config, files)))
            .transpose();
        read.map_err(|cannot| Failure::usage(format_args!("faces.{face}.certificate: {cannot}")))
    };
    let of_vendor = shown("vendor", &config.vendor.origin, &config.vendor.certificate)?;
    let of_plant = shown("plant", &config.plant.origin, &config.plant.certificate)?;
    say!("{}: right", args.config.display());
    say!("  a thief of the disk: {}", what_a_thief_gets(config.seal));
    let left = folder::left_by_seal(&config.keys);
    if left.exists() {
        say!("  {}: left by `holdpoint keys seal`, with keys in it: type that again, or remove it", left.display());
    }
    for (name, (next, last)) in folder::beside(&config.keys) {
        if let Some(since) = next {
            say!(
                "  {name}: the next key is announced since {since:.0}: `holdpoint keys switch {name}` once all have it"
            );
        }
        if let Some(since) = last {
            say!(
                "  {name}: the last key is believed since {since:.0}: `holdpoint keys forget {name}` once nobody needs it"
            );
        }
    }
    for recipient in &config.store.recipients {
        let name = recipient.name.as_deref().map(|name| format!(" ({})", plain(name))).unwrap_or_default();
        say!("  recordings are opened by the key of {}{name}", recipient.key);
    }
    for line in where_decisions_are(&config.store.journal) {
        say!("  {}", plain(&line));
    }
    if let (RecordingsAt::Bucket { at, keep_local }, Some(_)) = (&config.store.recordings, &bucket) {
        let days = Seconds(u32::try_from(keep_local.as_secs()).unwrap_or(u32::MAX));
        say!("  recordings go to {}, and stay here for {days} at least", at.url);
    }
    if let Some(said) = asked {
        say!("  {said}");
    }
    if config.store.witnesses.is_empty() {
        say!("  nobody outside remembers the logs but who approves: a witness would (docs/administrator.md)");
    }
    for witness in &config.store.witnesses {
        say!("  witness {}, asked at {}", witness.key.name(), witness.url.host());
    }
    if let Some(traces) = &config.traces {
        say!(
            "  traces go to {}, of a hundred {}: nothing of sessions' contents",
            traces.endpoint.host(),
            traces.percent
        );
    }
    let has_ca = args.config.with_file_name(browsers::CA).exists();
    for (face, given) in [("vendor", &of_vendor), ("plant", &of_plant)] {
        if let Some(given) = given {
            let (issuer, until) = (plain(given.issuer()), given.valid_until());
            say!("  browsers are shown a certificate of {issuer} at the {face} face, until {until}");
        }
    }
    if config.plant.is_here() {
        for refused in browsers::refusals(&config.plant, of_plant.as_ref(), has_ca, Timestamp::now()) {
            say!("  browsers: {}", plain(&refused));
        }
    }
    for unknown in telling::unknown_to(&plant, &config.oidc) {
        say!("  {}", plain(&unknown));
    }
    for to_be_set in secrets_to_be_set(&plant, &config.store.data, Timestamp::now()) {
        say!("  {}", plain(&to_be_set));
    }
    say!(
        "{}: right: {} in {}, {}",
        args.plant.display(),
        counted(plant.targets.len(), "target"),
        counted(plant.zones.len(), "zone"),
        counted(plant.rules.len(), "rule")
    );
    Ok(())
}

/// Whether the bucket keeps versions and locks, in words.
fn ask_bucket(at: &BucketAt) -> Result<String, Failure> {
    let bucket = depositing::reach(at.clone()).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    match runtime.block_on(bucket.check()) {
        Ok(()) => Ok(format!("{} has versions and Object Lock", at.url)),
        Err(fault @ BlobFault::Unreachable(_)) => Err(Failure::failed(format_args!("{}: {fault}", at.url))),
        Err(fault) => Err(Failure::usage(format_args!("store.recordings: {fault}"))),
    }
}

/// By this plant file, as far as the journal in this data folder tells; before there is one, nothing was set.
fn secrets_to_be_set(plant: &Plant, data: &Path, now: Timestamp) -> Vec<String> {
    if !stores::journal_dir(data).exists() {
        return Vec::new();
    }
    let state = match state_of(data) {
        Ok(state) => state,
        Err(cause) => return vec![format!("how old secrets are cannot be told: {cause}")],
    };
    let clock = |at| PlantTime::new(at, plant.timezone.clone());
    let to_be_set = state.rotations(plant).into_iter().filter(|rotation| rotation.need(now).is_any());
    to_be_set.map(|rotation| rotation.in_words(now, clock)).collect()
}

fn told(fault: &ConfigFault) -> Failure {
    saying::aside(format_args!("{fault}"));
    Failure::told(2)
}

/// The plant file at `path`, or all its mistakes on standard error.
pub(super) fn load_plant(path: &Path) -> Result<Plant, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| Failure::usage(format_args!("{}: {cause}", path.display())))?;
    Plant::parse(&text).map_err(|mistakes| {
        saying::aside(format_args!("{}", mistakes.in_file(&path.display().to_string())));
        Failure::told(2)
    })
}

/// Where a database keeps them, and what goes with it.
fn where_decisions_are(journal: &JournalAt) -> Vec<String> {
    let JournalAt::Postgres { database, .. } = journal else { return Vec::new() };
    let over = match (database.server.is_here(), &database.ca) {
        (true, None) => "on this machine, in the clear",
        _ => "over TLS",
    };
    let standby = match database.standby {
        Standby::Synchronous => "it must have a synchronous standby: what it answers for lies on two servers",
        Standby::None => {
            "no standby is demanded: if that server or its disk is lost, decisions that were acted on are lost there, and this node's copy is what is left of them"
        }
    };
    vec![format!("journal and directory are in the database {}, {over}", database.server), standby.to_owned()]
}

fn what_a_thief_gets(seal: SealWord) -> &'static str {
    match seal {
        SealWord::File => Seal::File.word(),
        SealWord::Passphrase => Seal::Passphrase(String::new().into()).word(),
        SealWord::SystemdCredential => Seal::SystemdCredential(PathBuf::new()).word(),
    }
}
