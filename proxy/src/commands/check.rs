//! `holdpoint check`: is what is configured right? Every mistake of both files at once, before anything binds.

use std::path::{Path, PathBuf};

use certs::keys::Seal;
use policies::plant::Plant;

use super::showing::{counted, plain};
use super::{Done, Failure};
use crate::app::{asking, telling};
use crate::browsers;
use crate::config::{Config, ConfigFault, SealWord};
use crate::saying;

/// Say whether the configuration and the plant file are right; every mistake at once, with its line.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration of this program.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// The plant file.
    #[arg(long, value_name = "FILE", default_value = "plant.toml")]
    plant: PathBuf,
}

pub(super) fn run(args: &Args) -> Done {
    let config = Config::load(&args.config).map_err(|fault| told(&fault));
    let plant = load_plant(&args.plant);
    let (config, plant) = (config?, plant?);
    telling::check(&config.notify).map_err(Failure::usage)?;
    asking::ways(&config.store.witnesses).map_err(Failure::usage)?;
    say!("{}: right", args.config.display());
    say!("  a thief of the disk: {}", what_a_thief_gets(config.seal));
    for recipient in &config.store.recipients {
        let name = recipient.name.as_deref().map(|name| format!(" ({})", plain(name))).unwrap_or_default();
        say!("  recordings are opened by the key of {}{name}", recipient.key);
    }
    if config.store.witnesses.is_empty() {
        say!("  nobody outside remembers the logs but who approves: a witness would (docs/administrator.md)");
    }
    for witness in &config.store.witnesses {
        say!("  witness {}, asked at {}", witness.key.name(), witness.url.host());
    }
    let has_ca = args.config.with_file_name(browsers::CA).exists();
    for refused in browsers::refusals(&config.plant, has_ca) {
        say!("  browsers: {refused}");
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

fn what_a_thief_gets(seal: SealWord) -> &'static str {
    match seal {
        SealWord::File => Seal::File.word(),
        SealWord::Passphrase => Seal::Passphrase(String::new().into()).word(),
        SealWord::SystemdCredential => Seal::SystemdCredential(PathBuf::new()).word(),
    }
}
