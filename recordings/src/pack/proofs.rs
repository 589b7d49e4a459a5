//! Proof files of a pack: of each session's opening and seal, and of each answer of an operator, that they are in the logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::disk::RealDisk;
use crate::read::{Format, JOURNAL_DIR, RECORDS_DIR, Store};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::folder::{CHECKPOINT, Folder, View};
use crate::tlog::tlog_proof::TlogProof;

use super::story::Story;

/// By their names: an entry as the log's tree has it, and the proof beside it. What came after the last checkpoint has none,
/// and no log of which no checkpoint is here.
pub(super) fn proofs(data: &Path, story: &Story) -> BTreeMap<String, Vec<u8>> {
    let votes = story.votes().map(|vote| vote.noted.entry);
    let ids: BTreeSet<_> = story.sessions.iter().map(|visit| visit.id).collect();
    let recordings = Store::open(data).map(|store| store.list().recordings).unwrap_or_default();
    let leaves = recordings.iter().filter(|recording| ids.contains(&recording.id()));
    let leaves = leaves.flat_map(|recording| [Some(recording.number), recording.sealed_at]).flatten();
    let mut files = BTreeMap::new();
    files.extend(of_log(data, JOURNAL_DIR, votes.collect()).unwrap_or_default());
    files.extend(of_log(data, RECORDS_DIR, leaves.collect()).unwrap_or_default());
    files
}

fn of_log(data: &Path, log: &str, entries: BTreeSet<u64>) -> Option<BTreeMap<String, Vec<u8>>> {
    let dir = data.join(log);
    let key = Format::read(&dir).ok()?.verifier.parse().ok()?;
    let bytes = std::fs::read(dir.join(CHECKPOINT)).ok()?;
    let signed = SignedCheckpoint::open(&bytes, &[key]).ok()?;
    let mut view = View::open(Folder::new(Arc::new(RealDisk), &dir), signed.checkpoint()).ok()?;
    let mut files = BTreeMap::new();
    for index in entries {
        let (Ok(leaf), Ok(proof)) = (view.entry(index), TlogProof::make(&mut view, index, &signed)) else { continue };
        files.insert(format!("proofs/{log}-{index}.leaf"), leaf);
        files.insert(format!("proofs/{log}-{index}.tlog-proof"), proof.to_string().into_bytes());
    }
    Some(files)
}
