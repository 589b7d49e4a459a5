//! How much of a log somebody else remembers: witnesses, by their cosignatures; whoever signed a decision, because the
//! signature covers the journal's size and root; the auditor, from the last check. What came after, whoever owns the gate and
//! its keys could have rewritten, and this says since when, and how long an entry ever stood so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use certs::log_key::Verifier;
use certs::trust::Trust;
use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use serde::Serialize;

use super::Context;
use super::heads::{By, Remembered};
use super::log::{At, Reader};
use super::report::{Finding, FindingKind, LogReport};
use crate::disk::{Disk as _, RealDisk};
use crate::frame::RawFrame;
use crate::leaf::Entry;
use crate::read::read_bounded;
use crate::segment::OpenSession;
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::cosignature::cosigned;
use crate::tlog::folder::CHECKPOINT;
use crate::tlog::kept::{KEPT, size_in};
use crate::tlog::note::NOTE_BYTES_MAX;

/// What others remember of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remembrance {
    /// The log's name.
    pub origin: String,
    /// Its entries.
    pub entries: u64,
    /// How many of them somebody else remembers.
    pub remembered: u64,
    /// Who, in words.
    pub by: Option<String>,
    /// The first entry that nobody else remembers, by the gate's clock.
    pub unwitnessed_since: Option<Timestamp>,
    /// The longest that an entry stood without anybody else remembering it.
    pub longest: Option<Unwitnessed>,
}

/// A time in which only the gate vouched for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unwitnessed {
    /// When the entry was written, by the gate's clock.
    pub from: Timestamp,
    /// When somebody else first remembered it; where nobody does, when the log ends.
    pub until: Timestamp,
}

impl Unwitnessed {
    fn lasts(&self) -> SignedDuration {
        self.until.duration_since(self.from)
    }
}

/// That somebody else remembers the first so many entries, since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) size: u64,
    pub(super) at: Timestamp,
    pub(super) by: String,
}

/// What witnesses cosigned of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct CosignedHeads {
    /// Heads, to be compared with the log's.
    pub(super) heads: Vec<Remembered>,
    /// By which witness, when, how many entries.
    lines: Vec<(String, Timestamp, u64)>,
}

impl CosignedHeads {
    /// Reads all that is kept in this folder of the log's. What is no checkpoint of this log, or has a wrong line by a witness that is trusted, is told.
    pub(super) fn read(
        dir: &Path,
        relative: &Path,
        folder: &str,
        verifier: &Verifier,
        trust: &Trust,
        context: &mut Context<'_>,
    ) -> Self {
        let mut found = Self::default();
        let witnesses = trust.witnesses();
        for name in RealDisk.list(&dir.join(folder)).unwrap_or_default() {
            let at = relative.join(folder).join(&name);
            let (named, is_published) = (size_in(&name), folder != KEPT && name == CHECKPOINT);
            if named.is_none() && !is_published {
                context.find(match name.strip_suffix(".tmp").and_then(size_in) {
                    Some(_) => Finding::new(FindingKind::Note, "a checkpoint was being written").at(at, 0),
                    None => super::stray(at),
                });
                continue;
            }
            let read = || {
                let bytes =
                    read_bounded(&dir.join(folder).join(&name), NOTE_BYTES_MAX as u64).map_err(|no| no.to_string())?;
                let signed =
                    SignedCheckpoint::open(&bytes, std::slice::from_ref(verifier)).map_err(|no| no.to_string())?;
                let lines = cosigned(signed.note(), &witnesses).map_err(|no| no.to_string())?;
                let lines = lines.iter().map(|line| (line.witness.name().to_owned(), time(line.seconds))).collect();
                let is_right = named.is_none_or(|size| signed.checkpoint().size == size)
                    && signed.note().text() == signed.checkpoint().to_string();
                if is_right { Ok((signed, lines)) } else { Err("it is of another size than its name says".to_owned()) }
            };
            match read() {
                Ok((signed, lines)) => found.take(&signed, lines),
                Err(why) => {
                    context
                        .find(Finding::new(FindingKind::NotSigned, format!("a cosigned checkpoint: {why}")).at(at, 0));
                }
            }
        }
        found.lines.sort_by_key(|(_, at, size)| (*at, *size));
        found
    }

    fn take(&mut self, signed: &SignedCheckpoint, lines: Vec<(String, Timestamp)>) {
        let head = signed.checkpoint();
        let by = match lines.first() {
            Some((witness, at)) => By::Witness { witness: witness.clone(), at: *at },
            None => By::Published,
        };
        self.heads.push(Remembered { origin: head.origin.clone(), size: head.size, root: Digest(head.root), by });
        self.lines.extend(lines.into_iter().map(|(witness, at)| (witness, at, head.size)));
    }

    /// Each moment in which as many witnesses as are needed remembered more than before.
    pub(super) fn moments(&self, needed: usize) -> Vec<Moment> {
        let (mut newest, mut moments, mut most) = (BTreeMap::<&str, u64>::new(), Vec::new(), None);
        for (witness, at, size) in &self.lines {
            let held = newest.entry(witness).or_default();
            *held = (*held).max(*size);
            let mut sizes: Vec<u64> = newest.values().copied().collect();
            sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
            let all = needed.checked_sub(1).and_then(|last| sizes.get(last)).copied();
            if let Some(size) = all.filter(|size| most.is_none_or(|most| most < *size)) {
                most = Some(size);
                let who: Vec<&str> = newest.iter().filter(|(_, held)| **held >= size).map(|(name, _)| *name).collect();
                moments.push(Moment { size, at: *at, by: format!("cosigned by {} at {at:.0}", who.join(", ")) });
            }
        }
        moments
    }
}

fn time(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MAX)
}

/// Reads along, and notes when entries were written.
pub(super) struct Timed<'a> {
    reader: &'a mut dyn Reader,
    /// The entries whose time is wanted; of none, all.
    wanted: Option<BTreeSet<u64>>,
    pub(super) times: BTreeMap<u64, Timestamp>,
}

impl<'a> Timed<'a> {
    pub(super) fn new(reader: &'a mut dyn Reader, wanted: Option<BTreeSet<u64>>) -> Self {
        Self { reader, wanted, times: BTreeMap::new() }
    }
}

impl Reader for Timed<'_> {
    fn entry(&mut self, at: &At<'_>, entry: &Entry, context: &mut Context<'_>) {
        if self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&entry.index)) {
            self.times.insert(entry.index, entry.at);
        }
        self.reader.entry(at, entry, context);
    }

    fn session_frame(&mut self, at: &At<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        self.reader.session_frame(at, frame, context);
    }

    fn heads_sessions(&mut self, at: &At<'_>, open: &[OpenSession], context: &mut Context<'_>) {
        self.reader.heads_sessions(at, open, context);
    }

    fn open_sessions(&self) -> usize {
        self.reader.open_sessions()
    }

    fn crashed(&mut self) {
        self.reader.crashed();
    }

    fn entries_lost(&mut self) {
        self.reader.entries_lost();
    }
}

/// The journal's moments carry over to the recordings for which it vouches: whoever remembers an entry remembers what it says.
pub(super) fn through_the_journal(vouched: &[Remembered], journal: &[Moment]) -> Vec<Moment> {
    let covered = |head: &Remembered| {
        let By::Journal { entry } = head.by else { return None };
        let moment = journal.iter().filter(|moment| moment.size > entry).min_by_key(|moment| moment.at)?;
        Some(Moment { size: head.size, at: moment.at, by: format!("in the journal, {}", moment.by) })
    };
    vouched.iter().filter_map(covered).collect()
}

/// What all of this comes to.
pub(super) fn remembrance(log: &LogReport, times: &BTreeMap<u64, Timestamp>, mut moments: Vec<Moment>) -> Remembrance {
    moments.retain(|moment| moment.size <= log.entries);
    moments.sort_by_key(|moment| (moment.at, moment.size));
    let mut longest: Option<Unwitnessed> = None;
    let mut until_then = |first: u64, until: Timestamp| {
        let Some(from) = times.get(&first) else { return };
        let span = Unwitnessed { from: *from, until: until.max(*from) };
        if longest.is_none_or(|longest| longest.lasts() < span.lasts()) {
            longest = Some(span);
        }
    };
    let mut newest: Option<&Moment> = None;
    for moment in &moments {
        let before = newest.map_or(0, |newest| newest.size);
        if moment.size > before || newest.is_none() {
            until_then(before, moment.at);
            newest = Some(moment);
        }
    }
    let remembered = newest.map_or(0, |newest| newest.size);
    if remembered < log.entries {
        until_then(remembered, log.signed_at.unwrap_or(Timestamp::MIN));
    }
    Remembrance {
        origin: log.origin.clone(),
        entries: log.entries,
        remembered,
        by: newest.map(|newest| newest.by.clone()),
        unwitnessed_since: (remembered < log.entries).then(|| times.get(&remembered).copied()).flatten(),
        longest,
    }
}

impl fmt::Display for Remembrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, entries, remembered, by, unwitnessed_since, longest } = self;
        match by {
            Some(by) => write!(f, "{origin}: somebody else remembers {remembered} of {entries} entries, {by}")?,
            None => write!(f, "{origin}: nobody else remembers any of {entries} entries")?,
        }
        if let Some(since) = unwitnessed_since {
            write!(f, "\n  unwitnessed since {since:.0}: {} entries", entries - remembered)?;
        }
        if let Some(longest) = longest.filter(|longest| longest.lasts().as_secs() > 0) {
            let lasts = SignedDuration::from_secs(longest.lasts().as_secs());
            write!(f, "\n  the longest that an entry was unwitnessed: {lasts:#}, from {:.0}", longest.from)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn moment(size: u64, second: i64) -> Moment {
        Moment { size, at: at(second), by: format!("m{size}") }
    }

    fn log(entries: u64) -> LogReport {
        let (origin, frames) = ("mill-3/journal".to_owned(), entries);
        LogReport { origin, entries, frames, root: None, signed_at: Some(at(1_000)), settled: None }
    }

    #[test]
    fn what_nobody_else_remembers_is_counted_from_its_first_entry() {
        // One entry each ten seconds.
        let times: BTreeMap<u64, Timestamp> = (0..10).map(|n| (n, at(10 * n as i64))).collect();
        let told = remembrance(&log(10), &times, vec![moment(8, 75), moment(3, 25), moment(3, 90), moment(99, 80)]);
        assert_eq!((told.remembered, told.by.as_deref()), (8, Some("m8")));
        assert_eq!(told.unwitnessed_since, Some(at(80)));
        assert_eq!(told.longest, Some(Unwitnessed { from: at(80), until: at(1_000) }));
        let told = remembrance(&log(10), &times, vec![moment(3, 25), moment(10, 95)]);
        assert_eq!((told.unwitnessed_since, told.longest.unwrap().from), (None, at(30)));
        assert_eq!(told.longest.unwrap().until, at(95));
        let told = remembrance(&log(10), &times, Vec::new());
        assert_eq!((told.remembered, told.unwitnessed_since), (0, Some(at(0))));
    }

    #[test]
    fn as_many_witnesses_as_are_needed_must_have_seen_as_much() {
        let line = |name: &str, second, size| (name.to_owned(), at(second), size);
        let lines = vec![line("a", 1, 5), line("b", 2, 3), line("a", 3, 9), line("b", 4, 7), line("c", 5, 8)];
        let heads = CosignedHeads { heads: Vec::new(), lines };
        let sizes = |needed| {
            heads.moments(needed).iter().map(|moment| (moment.at.as_second(), moment.size)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [(1, 5), (3, 9)]);
        assert_eq!(sizes(2), [(2, 3), (4, 7), (5, 8)]);
        assert_eq!(sizes(3), [(5, 7)]);
        assert_eq!(sizes(0), []);
    }

    #[test]
    fn whoever_remembers_the_journal_remembers_the_recordings_it_vouches_for() {
        let vouched =
            |entry, size| Remembered { origin: String::new(), size, root: Digest([0; 32]), by: By::Journal { entry } };
        let moments =
            through_the_journal(&[vouched(2, 7), vouched(3, 9), vouched(8, 20)], &[moment(3, 30), moment(6, 60)]);
        let sizes: Vec<_> = moments.iter().map(|moment| (moment.at.as_second(), moment.size)).collect();
        assert_eq!(sizes, [(30, 7), (60, 9)]);
    }
}
