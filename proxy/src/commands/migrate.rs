//! `holdpoint migrate`: journal and directory of a gate, brought from its files into PostgreSQL. At the machine itself, with
//! the gate stopped.

use std::path::PathBuf;

use approver::postgres::{VERSION, schema};
use policies::digest::Digest;

use super::gate::wait_for_value;
use super::{Done, Failure, rebuild};
use crate::app::stores::{is_in_use, migrate};
use crate::config::{Config, JournalAt};
use crate::saying;
use crate::vault;

/// Bring journal and directory from the data folder into the database that `journal` under [store] names, with the gate
/// stopped. All or nothing; the folder stays, as this node's copy.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// `directory.jsonl` out of a backup: where the database was lost, and this folder's copy is brought into an empty one.
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// Only print the SQL that makes the tables, for an owner who makes them by hand.
    #[arg(long)]
    schema: bool,
    /// With --schema: only what makes them out of the tables of this older version.
    #[arg(long, value_name = "VERSION", requires = "schema", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..i64::from(VERSION)))]
    from: u8,
}

pub(super) fn run(args: &Args) -> Done {
    if args.schema {
        say!("{}", schema(args.from.into()).trim_end());
        return Ok(());
    }
    let config = Config::load(&args.config).map_err(Failure::usage)?;
    let JournalAt::Postgres { database, .. } = &config.store.journal else {
        return Err(Failure::usage(
            "journal under [store] is \"files\": write where it is to go, journal = \"postgres://…\", and run this once more",
        ));
    };
    let data = &config.store.data;
    if is_in_use(data).unwrap_or(false) {
        return Err(Failure::refused("a gate runs on this folder: stop it first"));
    }
    let key = vault::at_rest(&config).map_err(Failure::usage)?.log_key();
    let migrated = wait_for_value(async {
        let backup = match &args.directory {
            Some(from) => Some(rebuild::current(from).await?),
            None => None,
        };
        migrate(data, &key, database, backup).await.map_err(|fault| {
            saying::aside(format_args!("{fault}"));
            Failure::told(1)
        })
    })?;
    let entries = usize::try_from(migrated.entries).unwrap_or(usize::MAX);
    say!(
        "{}: {} of the journal, and {} of the directory.",
        database.server,
        entries_of(entries),
        entries_of(migrated.known)
    );
    say!("Both were read back: the root is {}, as in {}.", Digest(migrated.root), data.display());
    say!(
        "Start the gate. {} is this node's copy from now on, and is verified and backed up as before.",
        data.display()
    );
    if args.directory.is_some() {
        say!("{}", rebuild::CODES);
        say!("{}", rebuild::REINVITE);
    }
    if migrated.before.exists() {
        say!(
            "What the directory was before lies in {}: remove it when the gate has run, since nothing is erased there any more.",
            migrated.before.display()
        );
    }
    Ok(())
}

fn entries_of(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}
