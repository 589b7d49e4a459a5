//! Which witnesses are asked, and about which logs: as the configuration says.

use std::io;
use std::path::{Path, PathBuf};

use approver::post::{NoCa, Poster};
use approver::witnesses::{AskedLog, Way, Witnesses};
use certs::log_key::LogKey;

use super::stores::{Identity, journal_dir, records_dir};
use crate::config::WitnessAt;
use crate::trusting;

/// Why a witness cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum CannotAsk {
    /// Nobody who could vouch for the address.
    #[error("store.witnesses: {0}")]
    Ca(#[from] NoCa),
    /// The file of CAs.
    #[error("store.witnesses.ca: {path}: {cause}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What they cosigned before.
    #[error("what witnesses cosigned cannot be read: {0}")]
    Kept(#[from] io::Error),
}

/// Every witness that is configured; there may be none.
///
/// # Errors
/// One that could never be asked.
pub(crate) fn ways(witnesses: &[WitnessAt]) -> Result<Vec<Way>, CannotAsk> {
    witnesses.iter().map(way).collect()
}

fn way(at: &WitnessAt) -> Result<Way, CannotAsk> {
    let unreadable = |path: &Path, cause| CannotAsk::Unreadable { path: path.to_owned(), cause };
    let ca = at.ca.as_ref().map(|path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause)));
    let poster = Poster::new(at.url.below("add-checkpoint"), ca.transpose()?.as_deref())?;
    Ok(Way { key: at.key.clone(), poster })
}

/// These witnesses of both logs.
///
/// # Errors
/// What they cosigned before cannot be read.
pub(crate) fn witnesses(
    ways: Vec<Way>,
    identity: &Identity,
    data: &Path,
    key: &LogKey,
) -> Result<Witnesses, CannotAsk> {
    let dirs = [journal_dir(data), records_dir(data)];
    let logs = dirs.into_iter().zip(trusting::verifiers(identity, key));
    Ok(Witnesses::new(ways, logs.map(|(dir, verifier)| AskedLog { dir, verifier }).collect())?)
}
