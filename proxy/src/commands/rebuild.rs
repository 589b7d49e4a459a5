//! `holdpoint rebuild`: the directory of people, made again from a backup where it is gone. At the machine itself, with the
//! gate stopped; an existing one is never touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use approver::directory::{Directory, Dumped};
use certs::totp::last_step_taken;
use data_encoding::BASE64;
use jiff::Timestamp;
use policies::version::V1;
use serde::Deserialize;

use super::gate::wait_for_value;
use super::showing::plain;
use super::{Done, Failure};
use crate::app::stores::{Identity, check_only_files, directory_dir, draft_directory, is_in_use};
use crate::config::Config;

/// Make the directory of people again from a backup, where it is gone: names, texts and second factors. With the gate
/// stopped. Codes that apps show now and next count no more; the one after does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// `directory.jsonl` out of a backup.
    #[arg(long, value_name = "FILE")]
    directory: PathBuf,
}

/// What to tell where second factors came out of a backup: a code may have been used a step early ([`last_step_taken`]).
pub(super) const CODES: &str = "Codes that apps show now and next count no more; the one after does.";
/// What to tell where names and second factors did.
pub(super) const REINVITE: &str =
    "Who enrolled, or got another code, after the backup was made needs a new one: holdpoint reinvite.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: V1,
    key: String,
    value: String,
}

pub(super) fn run(args: &Args) -> Done {
    let config = Config::load(&args.config).map_err(Failure::usage)?;
    let data = &config.store.data;
    check_only_files(&config.store).map_err(Failure::refused)?;
    Identity::read(data).map_err(Failure::failed)?;
    if is_in_use(data).map_err(Failure::failed)? {
        return Err(Failure::refused("a gate runs on this folder: stop it first"));
    }
    let dir = directory_dir(data);
    if dir.exists() {
        return Err(Failure::refused(format_args!(
            "{} is there: what is in it is newer than any backup. If it is damaged, move it away first",
            dir.display()
        )));
    }
    let entries = wait_for_value(make(data, &args.directory))?;
    say!("{}: made again with {entries} entries. Start the gate.", dir.display());
    say!("{CODES}");
    say!("{REINVITE}");
    Ok(())
}

/// Makes the directory of a data folder from a file of a backup; appears whole or not at all. How many entries it has.
pub(super) async fn make(data: &Path, from: &Path) -> Result<usize, Failure> {
    let (dir, draft) = (directory_dir(data), data.join("state.new"));
    let backup = read(from)?;
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(Failure::failed)?;
    }
    drop(fill(&draft, &backup, from).await?);
    fs::rename(&draft, &dir).and_then(|()| fs::File::open(data)?.sync_all()).map_err(Failure::failed)?;
    Ok(backup.len())
}

/// What a directory made of a file of a backup now holds.
pub(super) async fn current(from: &Path) -> Result<Dumped, Failure> {
    let draft = tempfile::tempdir().map_err(Failure::failed)?;
    let directory = fill(draft.path(), &read(from)?, from).await?;
    directory.dump().await.map_err(Failure::failed)
}

/// Codes that were used after the backup was made count as used.
async fn fill(draft: &Path, backup: &Dumped, from: &Path) -> Result<Arc<dyn Directory>, Failure> {
    let directory = draft_directory(draft).map_err(Failure::failed)?;
    let filled = directory.fill(backup, last_step_taken(Timestamp::now())).await;
    filled.map_err(|cause| Failure::refused(format_args!("{}: {cause}", from.display())))?;
    Ok(directory)
}

/// What a backup holds of the directory.
pub(super) fn read(from: &Path) -> Result<Dumped, Failure> {
    let text = fs::read_to_string(from).map_err(|cause| cause.to_string());
    text.and_then(|text| parse(&text)).map_err(|cause| Failure::usage(format_args!("{}: {cause}", from.display())))
}

/// Why it is none is fit for a terminal.
pub(super) fn parse(text: &str) -> Result<Dumped, String> {
    let entry = |(line, number): (&str, usize)| {
        let wrong = |cause: &dyn std::fmt::Display| plain(&format!("line {number}: {cause}"));
        let Line { v: V1, key, value } = serde_json::from_str(line).map_err(|cause| wrong(&cause))?;
        Ok((key.into_bytes(), BASE64.decode(value.as_bytes()).map_err(|cause| wrong(&cause))?))
    };
    let entries: Dumped = text.lines().zip(1..).map(entry).collect::<Result<_, String>>()?;
    if entries.is_empty() { Err("there is nothing in it".to_owned()) } else { Ok(entries) }
}
