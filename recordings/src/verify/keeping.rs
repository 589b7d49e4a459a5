//! What was held and what was erased: whatever is missing of a recording is excused by two things together, a decision in
//! the journal and a leaf in the record log that names it. Whether the decision could be made is checked with the journal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policies::ids::{NodeId, SessionId};
use policies::state::Restore;

use super::Context;
use super::journal::Journal;
use super::log::At;
use super::report::{ErasedAt, Finding, FindingKind, SessionVerdict};
use super::restored::of_session;
use crate::keeping::{Copied, Decided, Keeping};
use crate::leaf::Leaf;

/// What is known of keeping, of every session.
#[derive(Default)]
pub(super) struct Keepings {
    /// The journal's decisions, by their index: what, about which recording, and the entry's hash.
    decisions: BTreeMap<u64, (&'static str, SessionId, [u8; 32])>,
    /// The holds that stand by the journal.
    holds: BTreeMap<SessionId, usize>,
    /// When sessions ended.
    ended: BTreeMap<SessionId, Timestamp>,
    /// What the journal says is erased.
    erased: BTreeSet<SessionId>,
    /// What leaves say is erased, of whose decision the journal does not know.
    erased_by_leaf: BTreeSet<SessionId>,
    /// What leaves say.
    leaves: BTreeMap<SessionId, Keeping>,
    /// Sessions of which something was excused.
    gone: BTreeSet<SessionId>,
    /// What is not there, and the journal does not excuse it.
    missing: Vec<(SessionId, Finding)>,
    /// Leaves whose decisions may have come after the journal was copied.
    newer: Vec<(SessionId, Finding)>,
    /// Entries of the journal.
    size: u64,
    restores: Vec<(u64, Restore)>,
    /// Whether the journal could be followed to its end.
    lost: bool,
}

impl Keepings {
    /// What the journal decided. Of restores those count that the recordings of this node were set back by.
    pub(super) fn of(journal: &Journal<'_>, node: Option<&NodeId>) -> Self {
        let is_its = |restore: &Restore| node.is_none_or(|node| restore.statement.node == *node);
        let sessions = || journal.state.sessions.iter();
        Self {
            decisions: journal.keeping.clone(),
            holds: sessions().map(|(id, facts)| (*id, facts.holds.len())).filter(|(_, holds)| *holds > 0).collect(),
            ended: sessions().filter_map(|(id, facts)| Some((*id, facts.ended.as_ref()?.0))).collect(),
            erased: sessions().filter(|(_, facts)| facts.erased().is_some()).map(|(id, _)| *id).collect(),
            size: journal.size(),
            restores: journal.restores.iter().filter(|(_, restore)| is_its(restore)).cloned().collect(),
            lost: journal.lost,
            ..Self::default()
        }
    }

    /// Whether something of a recording may be other than it was, as far as the journal goes; that it is, is remembered.
    pub(super) fn excuses(&mut self, session: SessionId) -> bool {
        let excused = self.erased.contains(&session);
        if excused {
            self.gone.insert(session);
        }
        excused
    }

    /// A leaf that says where a copy of a file lies.
    pub(super) fn copied(&mut self, index: u64, leaf: &Leaf, recording: SessionId) {
        self.leaves.entry(recording).or_default().take(index, leaf);
    }

    /// Of which files of a recording leaves say that copies lie elsewhere.
    pub(super) fn copies(&self, session: SessionId) -> Vec<Copied> {
        self.leaves.get(&session).map_or_else(Vec::new, |keeping| keeping.copied.values().cloned().collect())
    }

    /// Why a file that is missing may lie elsewhere, in words; none where it should be here.
    fn elsewhere(&self, session: SessionId, finding: &Finding, bucket: bool) -> Option<&'static str> {
        let name = finding.place.as_ref().and_then(|place| place.file.file_name()?.to_str());
        let copied = self.leaves.get(&session).map(|keeping| &keeping.copied);
        let is_copied = copied.zip(name).is_some_and(|(copied, name)| copied.contains_key(name));
        match (bucket, is_copied) {
            (false, true) => {
                Some("the recording lies in a bucket alone, as the log says, and was not looked at: verify that, too")
            }
            // They are brought there in the order in which they ended.
            (true, false) if !self.ended_before_one_that_is_copied(session) => {
                Some("the recording was not in the bucket yet")
            }
            _ => None,
        }
    }

    fn ended_before_one_that_is_copied(&self, session: SessionId) -> bool {
        let copied = self.leaves.iter().filter(|(_, keeping)| !keeping.copied.is_empty());
        let last = copied.filter_map(|(session, _)| self.ended.get(session)).max();
        self.ended.get(&session).zip(last).is_some_and(|(ended, last)| ended < last)
    }

    /// Something of a recording is not there. Told at the end, unless it was erased.
    pub(super) fn missing(&mut self, session: SessionId, finding: Finding) {
        if !self.excuses(session) {
            self.missing.push((session, finding));
        }
    }

    /// A leaf about keeping: the decision that it names is in the journal.
    pub(super) fn leaf(&mut self, at: &At<'_>, (index, leaf): (u64, &Leaf), context: &mut Context<'_>) {
        let Some(decided) = leaf.decided() else { return };
        let event = match leaf {
            Leaf::Held(_) => "HP1410",
            Leaf::Released(_) => "HP1411",
            _ => "HP1413",
        };
        let named = Some(&(event, decided.recording, decided.hash));
        if !self.lost && self.decisions.get(&decided.entry) != named {
            let words =
                "a leaf says that a recording is held, released or erased, and the journal decided no such thing";
            let wrong = at.wrong(FindingKind::Disagree, words).of(decided.recording);
            if self.lost_its_decision(index, decided) {
                context
                    .find(of_session(decided.recording, "what was decided about its keeping is lost with a restore"));
            } else if decided.entry >= self.size {
                self.newer.push((decided.recording, wrong));
            } else {
                return context.find(wrong);
            }
            if let Leaf::Erased(_) = leaf {
                self.erased_by_leaf.insert(decided.recording);
            }
        }
        self.leaves.entry(decided.recording).or_default().take(index, leaf);
    }

    /// Whether a leaf stayed at a restore and the entry that it names did not.
    fn lost_its_decision(&self, index: u64, decided: &Decided) -> bool {
        let is_lost = |(_, restore): &(u64, Restore)| {
            index < restore.statement.records.size && decided.entry >= restore.statement.journal.size
        };
        self.restores.iter().any(is_lost)
    }

    /// Tells what is missing, and what is gone without a leaf, and gives each session's report how it is kept. `are_open`:
    /// the gate ran when this was copied.
    pub(super) fn tell(&mut self, are_open: bool, context: &mut Context<'_>) {
        for (session, wrong) in std::mem::take(&mut self.newer) {
            if are_open {
                let words = "what was decided about its keeping came after the journal was copied";
                context.find(Finding::new(FindingKind::Open, words).of(session));
            } else {
                self.erased_by_leaf.remove(&session);
                context.find(wrong);
            }
        }
        let (mut missing, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
        for (session, finding) in std::mem::take(&mut self.missing) {
            if self.erased_by_leaf.contains(&session) {
                self.gone.insert(session);
            } else if let Some(words) = self.elsewhere(session, &finding, context.bucket) {
                if elsewhere.insert(session) {
                    context.find(Finding::new(FindingKind::Open, words).of(session));
                }
            } else {
                missing.insert(session);
                context.find(finding);
            }
        }
        for session in &self.erased {
            let leaf = self.leaves.get(session).and_then(|keeping| keeping.erased);
            let finding = match (leaf, self.gone.contains(session)) {
                (None, true) if are_open => Finding::new(FindingKind::Open, "the recording is being erased"),
                (None, true) if self.lost_its_leaf(*session) => {
                    of_session(*session, "the recording was erased, and the leaf that says so is lost with a restore")
                }
                (None, true) => Finding::new(
                    FindingKind::Missing,
                    "the journal erased the recording, and it went before a leaf of the record log said so",
                ),
                (Some(_), false) => Finding::new(
                    FindingKind::Note,
                    "the recording is erased, and its keys still lie here: a gate finishes that at its start, in a copy remove them",
                ),
                (None, false) | (Some(_), true) => continue,
            };
            context.find(finding.of(*session));
        }
        for report in &mut context.report.sessions {
            report.holds = self.holds.get(&report.session).copied().unwrap_or(0);
            let gone = self.gone.contains(&report.session);
            let erased = self.leaves.get(&report.session).and_then(|keeping| keeping.erased).filter(|_| gone);
            report.erased = erased.map(|(leaf, decided)| ErasedAt { leaf, entry: decided.entry });
            report.verdict = match report.verdict {
                SessionVerdict::Ok | SessionVerdict::CutOff if erased.is_some() => SessionVerdict::Erased,
                SessionVerdict::Ok | SessionVerdict::CutOff if gone && !are_open => SessionVerdict::Missing,
                SessionVerdict::Ok | SessionVerdict::CutOff | SessionVerdict::Altered
                    if missing.contains(&report.session) =>
                {
                    SessionVerdict::Missing
                }
                SessionVerdict::Ok | SessionVerdict::CutOff if elsewhere.contains(&report.session) => {
                    SessionVerdict::Elsewhere
                }
                other => other,
            };
        }
    }

    /// Whether a restore came after the decision to erase it.
    fn lost_its_leaf(&self, session: SessionId) -> bool {
        let erased = |(event, of, _): &(&str, SessionId, [u8; 32])| *event == "HP1413" && *of == session;
        let decided = self.decisions.iter().find(|(_, decision)| erased(decision)).map(|(entry, _)| *entry);
        decided.is_some_and(|decided| self.restores.iter().any(|(entry, _)| decided < *entry))
    }
}
