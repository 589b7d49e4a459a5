//! What a log published: its checkpoint, signed by the key that the auditor trusts, and the tiles under it, each hash and
//! each entry. That the checkpoint is of this very log is for the walk through the segments, which takes it for a head that
//! somebody remembers.

use std::path::Path;
use std::sync::Arc;

use certs::log_key::Verifier;
use policies::digest::Digest;

use super::report::{Finding, FindingKind};
use super::{By, Context, Remembered};
use crate::disk::RealDisk;
use crate::tlog::check::{Checked, Other, OtherKind, check_folder};
use crate::tlog::folder::{CHECKPOINT, Flaw, Folder, FolderFault, View};

/// A checkpoint on its way to its name.
pub(super) const DRAFT: &str = "checkpoint.tmp";
/// The folder of tiles and bundles.
pub(super) const TILES: &str = "tile";

/// What was found of what a log published.
pub(super) struct Published<'a> {
    folder: Folder,
    relative: &'a Path,
    checked: Result<Checked, FolderFault>,
}

impl<'a> Published<'a> {
    /// Checks all of it, by the log's key.
    pub(super) fn check(dir: &Path, relative: &'a Path, verifier: &Verifier) -> Self {
        let folder = Folder::new(Arc::new(RealDisk), dir);
        let checked = check_folder(&folder, std::slice::from_ref(verifier));
        Self { folder, relative, checked }
    }

    /// The entries under the checkpoint, if all that was published is whole.
    pub(super) fn view(&self) -> Option<View> {
        let checkpoint = self.checked.as_ref().ok()?.signed.checkpoint();
        View::open(self.folder.clone(), checkpoint).ok()
    }

    /// The checkpoint, as a head that somebody remembers; none where there is none that is any good.
    pub(super) fn remembered(&self) -> Option<Remembered> {
        let checkpoint = self.checked.as_ref().ok()?.signed.checkpoint();
        let (origin, root) = (checkpoint.origin.clone(), Digest(checkpoint.root));
        Some(Remembered { origin, size: checkpoint.size, root, by: By::Published })
    }

    /// Tells what was found. Where the gate ran while this was copied, what was read first may have been replaced since.
    pub(super) fn tell(&self, runs: bool, context: &mut Context<'_>) {
        match &self.checked {
            Ok(checked) => {
                for Other { path, kind } in &checked.others {
                    let at = self.relative.join(path);
                    context.find(match kind {
                        OtherKind::Draft => Finding::new(FindingKind::Note, "a tile was being written").at(at, 0),
                        OtherKind::Beyond => {
                            Finding::new(FindingKind::Note, "made for a checkpoint that is not here").at(at, 0)
                        }
                        OtherKind::Unknown => super::stray(at),
                    });
                }
            }
            Err(fault) => context.find(self.finding(fault, runs)),
        }
    }

    fn finding(&self, fault: &FolderFault, runs: bool) -> Finding {
        let kind = match &fault.flaw {
            Flaw::Missing if runs => FindingKind::Note,
            Flaw::Missing => FindingKind::Missing,
            Flaw::Unreadable(_) => FindingKind::NotChecked,
            Flaw::Checkpoint(_) => FindingKind::NotSigned,
            Flaw::Altered(_) | Flaw::Beyond => FindingKind::Altered,
        };
        let words = if fault.path == CHECKPOINT && fault.flaw == Flaw::Missing {
            "the log's checkpoint is missing".to_owned()
        } else {
            format!("what the log published {}", fault.flaw)
        };
        let finding = Finding::new(kind, words).at(self.relative.join(&fault.path), fault.bytes.start);
        if fault.bytes.is_empty() { finding } else { finding.until(fault.bytes.end) }
    }
}
