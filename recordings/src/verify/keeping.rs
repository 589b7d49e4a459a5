//! What was held and what was erased: whatever is missing of a recording is excused by two things together, a decision in
//! the journal and a leaf in the record log that names it. Whether the decision could be made is checked with the journal.

use std::collections::{BTreeMap, BTreeSet};

use policies::ids::SessionId;

use super::Context;
use super::journal::Journal;
use super::log::At;
use super::report::{ErasedAt, Finding, FindingKind, SessionVerdict};
use crate::keeping::Keeping;
use crate::leaf::Leaf;

/// What is known of keeping, of every session.
#[derive(Default)]
pub(super) struct Keepings {
    /// The journal's decisions, by their index: what, about which recording, and the entry's hash.
    decisions: BTreeMap<u64, (&'static str, SessionId, [u8; 32])>,
    /// The holds that stand by the journal.
    holds: BTreeMap<SessionId, usize>,
    /// What the journal says is erased.
    erased: BTreeSet<SessionId>,
    /// What leaves say.
    leaves: BTreeMap<SessionId, Keeping>,
    /// Sessions of which something was excused.
    gone: BTreeSet<SessionId>,
    /// Sessions of which something is not there, and nothing excuses it.
    missing: BTreeSet<SessionId>,
    /// Whether the journal could be followed to its end.
    lost: bool,
}

impl Keepings {
    /// What the journal decided.
    pub(super) fn of(journal: &Journal<'_>) -> Self {
        let sessions = || journal.state.sessions.iter();
        Self {
            decisions: journal.keeping.clone(),
            holds: sessions().map(|(id, facts)| (*id, facts.holds.len())).filter(|(_, holds)| *holds > 0).collect(),
            erased: sessions().filter(|(_, facts)| facts.erased.is_some()).map(|(id, _)| *id).collect(),
            lost: journal.lost,
            ..Self::default()
        }
    }

    /// Whether something of a recording may be gone, as far as the journal goes; that it is, is remembered.
    pub(super) fn excuses(&mut self, session: SessionId) -> bool {
        let excused = self.erased.contains(&session);
        if excused {
            self.gone.insert(session)
        } else {
            self.missing.insert(session)
        };
        excused
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
            return context.find(at.wrong(FindingKind::Disagree, words).of(decided.recording));
        }
        self.leaves.entry(decided.recording).or_default().take(index, leaf);
    }

    /// Tells what is gone without a leaf, and gives each session's report how it is kept. `are_open`: the gate ran when
    /// this was copied.
    pub(super) fn tell(&self, are_open: bool, context: &mut Context<'_>) {
        for session in &self.erased {
            let leaf = self.leaves.get(session).and_then(|keeping| keeping.erased);
            let finding = match (leaf, self.gone.contains(session)) {
                (None, true) if are_open => Finding::new(FindingKind::Open, "the recording is being erased"),
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
                SessionVerdict::Altered if self.missing.contains(&report.session) => SessionVerdict::Missing,
                other => other,
            };
        }
    }
}
