//! The file of cuts that could not be journaled: each line is a cut as the gate made it, signed with the key of its
//! logs. What a cut does is decided elsewhere.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use certs::log_key::Verifier;
use certs::trust::Trust;
use data_encoding::HEXLOWER;
use policies::digest::Digest;
use policies::ids::{CutId, DeploymentId};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Context;
use super::report::{Finding, FindingKind};
use crate::read::read_bounded;

/// Its name in a data folder.
pub(super) const CUTS: &str = "cuts";
/// A thousand cuts are some hundred kilobytes.
const BYTES_MAX: u64 = 16 << 20;

/// Checks each line's signature. A last line without an end is what a crash leaves, and was never acknowledged; where others
/// follow it, the gate took it for a cut of the whole plant.
pub(super) fn check(
    folder: &Path,
    trust: &Trust,
    verifier: Option<&Verifier>,
    journaled: &BTreeSet<CutId>,
    context: &mut Context<'_>,
) {
    let bytes = match read_bounded(&folder.join(CUTS), BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            return context.find(Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")).at(CUTS, 0));
        }
    };
    let mut from = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let until = from + line.len() as u64;
        let is_signed = verifier.is_some_and(|verifier| is_signed(line, &trust.deployment, verifier).unwrap_or(false));
        if !is_signed && line != b"\n" {
            let (kind, words) = if journaled.contains(&CutId::for_line(line.strip_suffix(b"\n").unwrap_or(line))) {
                (FindingKind::Note, "a line that cannot be read: the whole plant was cut for it")
            } else if line.ends_with(b"\n") {
                (FindingKind::NotSigned, "a line that is no cut signed by the key that you trust")
            } else {
                (FindingKind::CutOff, "the last line has no end: a crash, or cut off")
            };
            context.find(Finding::new(kind, words).at(CUTS, from).until(until));
        }
        from = until;
    }
}

fn is_signed(line: &[u8], deployment: &DeploymentId, verifier: &Verifier) -> Option<bool> {
    #[derive(Serialize)]
    struct Covered<'a> {
        deployment: &'a DeploymentId,
        cut: &'a Map<String, Value>,
    }
    let mut cut: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let signature = HEXLOWER.decode(cut.remove("signature")?.as_str()?.as_bytes()).ok()?;
    let version = cut.remove("v")?.as_u64()?;
    let digest = Digest::of("cut", &Covered { deployment, cut: &cut });
    Some(version == 1 && verifier.verify(&digest.0, &signature).is_ok())
}
