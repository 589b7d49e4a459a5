//! What restores lost, as an administrator and an operator signed it. Each log's names must be those that they gave it, and
//! what others remember under an earlier name may go further than the log does, or another way, from there on. It is told
//! for ever.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use policies::ids::{NodeId, PersonId, RestoreId, SessionId};
use policies::requests::{Lost, RestoreStatement, SeenHead};
use policies::state::{Restore, SessionFacts};
use serde::Serialize;

use super::journal::Journal;
use super::log::LostHead;
use super::report::{Finding, FindingKind};
use super::sessions::Known;
use super::{Checked, Context};
use crate::FORMAT;
use crate::read::{JOURNAL_DIR, RECORDS_DIR, RestoredAt};

/// A restore that two people signed who may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredReport {
    /// Which.
    pub restore: RestoreId,
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// The index of its entry in the journal.
    pub entry: u64,
    /// Who signed it.
    pub administrator: PersonId,
    /// Who signed it, too.
    pub operator: PersonId,
    /// What the logs lost; the journal first.
    pub logs: Vec<LogLost>,
}

/// What a log lost at a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLost {
    /// Its name before.
    pub origin: String,
    /// Its name since.
    pub goes_on_as: String,
    /// How many entries it had at the restore.
    pub kept: u64,
    /// The first entry that is lost, or may be.
    pub from: u64,
    /// Behind the last one that anybody remembers; `from`, where nobody does.
    pub until: u64,
    /// The same, as those who signed knew it.
    pub until_as_signed: u64,
}

/// Compares both logs' names with what was signed, and tells what is lost.
pub(super) fn tell(journal: &Journal<'_>, logs: [Option<&Checked>; 2], context: &mut Context<'_>) {
    let parts = [(JOURNAL_DIR, of_journal as Part), (RECORDS_DIR, of_records as Part)];
    let mut found: Vec<RestoredReport> = journal.restores.iter().map(report).collect();
    for (log, (name, part)) in logs.into_iter().zip(parts).filter_map(|(log, part)| Some((log?, part))) {
        let is_its = |restore: &Restore| name == JOURNAL_DIR || restore.statement.node == log.format.node;
        let at = |restore: &Restore| RestoredAt {
            restore: restore.statement.restore,
            size: part(&restore.statement).0.size,
        };
        let restores = || journal.restores.iter().map(|(_, restore)| restore).filter(|restore| is_its(restore));
        if !journal.lost && log.format.restored != restores().map(at).collect::<Vec<_>>() {
            let words =
                "the log says of itself that it was restored otherwise than an administrator and an operator signed";
            context.find(Finding::new(FindingKind::NotAllowed, words).at(Path::new(name).join(FORMAT), 0));
        }
        for (number, named) in log.format.restored.iter().enumerate() {
            let (before, since) = (&log.names[number], &log.names[number + 1]);
            let heads: Vec<&LostHead> = log.lost.iter().filter(|lost| lost.name == number).collect();
            let restore = restores().find(|restore| restore.statement.restore == named.restore);
            let Some(told) = found.iter_mut().find(|told| told.restore == named.restore).filter(|_| restore.is_some())
            else {
                heads.into_iter().for_each(|head| context.find(head.finding.clone()));
                continue;
            };
            let (kept, Lost { from, until }) = part(&restore.expect("it was looked for").statement);
            let (lost, wrong): (Vec<_>, Vec<_>) = heads.into_iter().partition(|head| head.head.size > from);
            wrong.into_iter().for_each(|head| context.find(head.finding.clone()));
            told.logs.push(LogLost {
                origin: before.origin.clone(),
                goes_on_as: since.origin.clone(),
                kept: kept.size,
                from,
                until: lost.iter().map(|head| head.head.size).fold(until, u64::max),
                until_as_signed: until,
            });
        }
    }
    context.report.restored = found;
}

type Part = fn(&RestoreStatement) -> (SeenHead, Lost);

const fn of_journal(statement: &RestoreStatement) -> (SeenHead, Lost) {
    (statement.journal, statement.journal_lost)
}

const fn of_records(statement: &RestoreStatement) -> (SeenHead, Lost) {
    (statement.records, statement.records_lost)
}

fn report((entry, restore): &(u64, Restore)) -> RestoredReport {
    let Restore { statement, operator, at } = restore;
    RestoredReport {
        restore: statement.restore,
        at: *at,
        entry: *entry,
        administrator: statement.signer,
        operator: *operator,
        logs: Vec::new(),
    }
}

/// What a restore explains of one session: that its recording, or the end of it, is lost.
pub(super) fn explains(
    restores: &[(u64, Restore)],
    facts: &SessionFacts,
    known: Option<&Known>,
) -> Option<&'static str> {
    let mut restores = restores.iter().map(|(_, restore)| restore).filter(|restore| {
        let RestoreStatement { node, records_lost, .. } = &restore.statement;
        *node == facts.node && facts.started <= restore.at && records_lost.until > records_lost.from
    });
    match known {
        None => restores.next().map(|_| "the recording of this session is lost with a restore"),
        Some(known) => {
            let is_lost = |restore: &Restore| {
                let size = restore.statement.records.size;
                let had_ended = facts.ended.as_ref().is_some_and(|(at, _)| *at <= restore.at);
                had_ended && known.opened < size && known.sealed.is_none_or(|sealed| sealed >= size)
            };
            restores.any(is_lost).then_some("the end of this recording is lost with a restore")
        }
    }
}

/// Whether a restore explains that the journal knows nothing of a session: its recording stayed, and what the journal said
/// of it is lost.
pub(super) fn lost_its_session(restores: &[(u64, Restore)], node: &NodeId, known: &Known) -> bool {
    restores.iter().any(|(_, Restore { statement, .. })| {
        statement.node == *node && known.opened < statement.records.size && known.journal_size > statement.journal.size
    })
}

/// Of a session that is told apart.
pub(super) fn of_session(session: SessionId, words: &str) -> Finding {
    Finding::new(FindingKind::Restored, words).of(session)
}

impl LogLost {
    fn words(&self) -> String {
        let Self { origin, goes_on_as, kept, from, until, until_as_signed } = self;
        let lost = match until.checked_sub(from + 1) {
            None => {
                format!("nobody remembers more of it than the {kept} entries that stayed; what came after them is lost")
            }
            Some(0) => format!("entry {from} is lost"),
            Some(more) => format!("entries {from} to {} are lost", from + more),
        };
        let unknown = match until > until_as_signed {
            true => format!(", of which those who signed knew {}", until_as_signed - from),
            false => String::new(),
        };
        let parted = if from < kept { ", and others may stand in their place" } else { "" };
        format!("{origin}: {lost}{unknown}{parted}. It goes on as {goes_on_as}")
    }
}

impl fmt::Display for RestoredReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, entry, administrator, operator, logs, .. } = self;
        write!(f, "at {at:.0} by {administrator} and {operator}, entry {entry} of the journal")?;
        logs.iter().try_for_each(|log| write!(f, "\n  {}", log.words()))
    }
}
