//! What was found: the words for people and the same as data. What is looked for, and how, is beside this.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{Recipient, SessionId};
use policies::recipients::is_long_ago;
use serde::Serialize;

use super::restored::RestoredReport;
use super::{Remembered, Remembrance};

/// What an offline check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong, and what an auditor should know; in the order in which it was come upon.
    pub findings: Vec<Finding>,
    /// Findings that were too many to list.
    pub more_findings: u64,
    /// The logs that were read.
    pub logs: Vec<LogReport>,
    /// The recordings, in the order in which they ended.
    pub sessions: Vec<SessionReport>,
    /// What the journal decided.
    pub decisions: Decisions,
    /// How much of the logs somebody else remembers.
    pub remembrance: Vec<Remembrance>,
    /// Logs of which too few of the witnesses that are trusted have ever seen anything, by their names.
    pub not_witnessed: Vec<String>,
    /// What was lost at restores that two people signed.
    pub restored: Vec<RestoredReport>,
    /// Whether an auditor's key was at hand, so that what was recorded could be read too.
    pub with_key: bool,
    /// Recordings whose key file it opened.
    pub opened: u64,
    /// Recordings that were not opened with it, because they are encrypted to others.
    pub not_opened: u64,
    /// Everybody to whom recordings were ever encrypted, as the journal says.
    pub recipients: Vec<RecipientReport>,
    /// Where the folder says that it is a part: how many sessions it holds. The others were not checked.
    pub part: Option<usize>,
    /// Whether it is an evidence pack, whose texts and pages were checked too.
    pub of_pack: bool,
}

/// One key to which recordings are, or were, encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecipientReport {
    /// Which.
    pub recipient: Recipient,
    /// Whether recordings are encrypted to it now.
    pub named: bool,
    /// Since when they are, or were again.
    pub since: Timestamp,
    /// When somebody last told the gate that it opens one.
    pub used: Option<Timestamp>,
}

/// Findings that are listed; more are counted. A folder of noise would else fill the memory.
const FINDINGS_MAX: usize = 1_000;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which kind.
    pub kind: FindingKind,
    /// The recording it is about, if it is about one alone.
    pub session: Option<SessionId>,
    /// Where.
    pub place: Option<Span>,
    /// In words.
    pub words: String,
}

/// Bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The file, below the folder that was checked.
    pub file: PathBuf,
    /// The first byte that is wrong.
    pub from: u64,
    /// The first one behind it that is known to be right again; the file's end where none is.
    pub until: Option<u64>,
}

/// What a finding means. All but a note keep a folder from being whole; with a restore or an open end alone nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Bytes are not what they were.
    Altered,
    /// Something that was there is not.
    Missing,
    /// A log ends without having been ended, and not as a gate leaves it that goes on: it was cut off.
    CutOff,
    /// A log or a recording goes on, and nothing is wrong up to where it was copied: the gate ran then, or has died since
    /// and was not started again.
    Open,
    /// A recording has no seal.
    NotSealed,
    /// A signature is not by the key that the auditor trusts.
    NotSigned,
    /// A decision does not follow from what was signed by those who may.
    NotAllowed,
    /// Journal and record log tell two stories.
    Disagree,
    /// Something lies there that no gate puts there.
    Stray,
    /// It could not be looked at.
    NotChecked,
    /// Two people signed that this is lost.
    Restored,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl FindingKind {
    /// Whether it keeps a folder from being whole by itself.
    pub const fn is_wrong(self) -> bool {
        !matches!(self, Self::Note | Self::Open | Self::Restored)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Altered => "ALTERED",
            Self::Missing => "MISSING",
            Self::CutOff => "CUT OFF",
            Self::Open => "OPEN",
            Self::NotSealed => "NOT SEALED",
            Self::NotSigned => "NOT SIGNED",
            Self::NotAllowed => "NOT ALLOWED",
            Self::Disagree => "DISAGREE",
            Self::Stray => "STRAY",
            Self::NotChecked => "NOT CHECKED",
            Self::Restored => "RESTORED",
            Self::Note => "note",
        }
    }
}

/// A log that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its name.
    pub origin: String,
    /// Entries.
    pub entries: u64,
    /// Frames.
    pub frames: u64,
    /// The root of the tree over its entries (RFC 6962): what to compare with a remembered head, or with paper.
    pub root: Option<Digest>,
    /// The last head that its key signed, by the wall clock.
    pub signed_at: Option<Timestamp>,
    /// The newest signed head that nothing honest takes back: an auditor can hold the log to it. What was copied from a
    /// running gate may end in a batch that a power cut takes away again.
    pub settled: Option<Head>,
}

/// A log at one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Entries.
    pub size: u64,
    /// The root of the tree over them (RFC 6962).
    pub root: Digest,
}

/// A recording that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionReport {
    /// Which.
    pub session: SessionId,
    /// When it began, by the wall clock.
    pub began: Timestamp,
    /// Why it ended, in a word.
    pub ending: Option<String>,
    /// How it stands.
    pub verdict: SessionVerdict,
    /// Its frames.
    pub frames: u64,
    /// Bytes recorded from the technician to the target, those of the gate included.
    pub bytes_in: u64,
    /// And the other way.
    pub bytes_out: u64,
    /// Files in its ledger, where a key was at hand.
    pub files: Option<u64>,
    /// How many people hold it.
    pub holds: usize,
    /// Where it is erased: the leaf in the record log that says so, and the decision's entry in the journal.
    pub erased: Option<ErasedAt>,
}

/// Where it stands that a recording was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErasedAt {
    /// Index of the leaf in the record log.
    pub leaf: u64,
    /// Index of the decision in the journal.
    pub entry: u64,
}

/// How a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionVerdict {
    /// As it was made.
    Ok,
    /// As it was made, up to where the gate crashed or was stopped under it; all that reached a target is in it.
    CutOff,
    /// As it was made, up to where the folder was copied; the session went on then, as the journal says too.
    Open,
    /// It has no seal: nobody says that this is all.
    NotSealed,
    /// Not as it was made.
    Altered,
    /// Erased as the journal decided and the record log says: what proves it stands, what was in it is gone.
    Erased,
    /// Its keys or blocks are not there, and nobody decided that.
    Missing,
    /// Its keys or blocks are not here, and that is explained: a leaf says that a locked copy lies in a bucket, which was not
    /// looked at; or this is out of a bucket, and they were not there yet.
    Elsewhere,
}

/// What a check says in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was checked is whole, and was ended.
    Whole,
    /// Nothing is wrong; the gate went on when the folder was copied, so there may be more.
    Open,
    /// Nothing is wrong but that an administrator and an operator restored an earlier state; what was lost then is named.
    Restored,
    /// Nothing is wrong; of a log none of the witnesses that the auditor trusts has ever seen anything.
    NotWitnessed,
    /// Nothing is wrong in the sessions that the folder says it holds, and in the journal; other recordings were not
    /// checked.
    Part,
    /// Something is wrong.
    NotWhole,
}

impl SessionVerdict {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::CutOff => "ok, cut off",
            Self::Open => "ok so far, open",
            Self::NotSealed => "NOT SEALED",
            Self::Altered => "ALTERED",
            Self::Erased => "erased",
            Self::Missing => "MISSING",
            Self::Elsewhere => "not here, not looked at",
        }
    }
}

/// What the journal decided, as far as it was followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// Events.
    pub events: u64,
    /// Signatures of people, each checked.
    pub signatures: u64,
    /// Answers of operators without a signature, in a way that the rule allowed: the gate's word alone.
    #[serde(skip_serializing_if = "is_none")]
    pub weaker: u64,
    /// Grants.
    pub grants: u64,
    /// Sessions that were begun.
    pub sessions: u64,
}

/// What an answer is worth that nobody signed.
pub(crate) const GATES_WORD: &str = "the gate's word alone, nothing here proves that an operator gave it";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl LogReport {
    /// What was published is durable, and more may be so than was seen to be.
    pub(super) fn settle(&mut self, published: Option<Remembered>) {
        let published = published.map(|head| Head { size: head.size, root: head.root });
        self.settled = self.settled.into_iter().chain(published).max_by_key(|head| head.size);
    }
}

impl Report {
    /// Whether everything that was checked is whole.
    pub fn is_whole(&self) -> bool {
        self.verdict() == Verdict::Whole
    }

    /// What the check says.
    pub fn verdict(&self) -> Verdict {
        let is_open = self.findings.iter().any(|finding| finding.kind == FindingKind::Open);
        match self.failures().next() {
            Some(_) => Verdict::NotWhole,
            None if self.more_findings > 0 => Verdict::NotWhole,
            None if self.part.is_some() => Verdict::Part,
            None if is_open => Verdict::Open,
            None if !self.restored.is_empty() => Verdict::Restored,
            None if !self.not_witnessed.is_empty() => Verdict::NotWitnessed,
            None => Verdict::Whole,
        }
    }

    /// What is wrong, the first wrong thing first.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.kind.is_wrong())
    }

    /// Notes each recipient that nobody has used for a year, neither as the gate was told nor as the auditor remembers it.
    pub fn note_forgotten(&mut self, remembered: &BTreeMap<Recipient, Timestamp>, now: Timestamp) {
        for RecipientReport { recipient, named, since, used } in self.recipients.clone() {
            let last = used.max(remembered.get(&recipient).copied()).map_or(since, |used| used.max(since));
            if named && is_long_ago(last, now) {
                let words = format!(
                    "nobody has opened a recording with the key of {recipient} since {last:.0}: it may be lost, and nobody \
                     would know. Whoever has it tries it: holdpoint verify --rehearse --key FILE --tell"
                );
                self.find(Finding::new(FindingKind::Note, words));
            }
        }
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else if finding.kind != FindingKind::Note {
            self.more_findings += 1;
        }
    }
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, words: impl Into<String>) -> Self {
        Self { kind, session: None, place: None, words: words.into() }
    }

    pub(crate) fn at(self, file: impl Into<PathBuf>, from: u64) -> Self {
        Self { place: Some(Span { file: file.into(), from, until: None }), ..self }
    }

    pub(super) fn until(mut self, until: u64) -> Self {
        if let Some(place) = &mut self.place {
            place.until = Some(until);
        }
        self
    }

    pub(super) fn of(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind.word())?;
        if let Some(session) = self.session {
            write!(f, "{session}: ")?;
        }
        f.write_str(&self.words)?;
        match &self.place {
            None => Ok(()),
            Some(Span { file, from, until: None }) => write!(f, " ({}, byte {from})", file.display()),
            Some(Span { file, from, until: Some(until) }) => {
                write!(f, " ({}, bytes {from} to {until})", file.display())
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            writeln!(f, "{}: {} entries, {} frames", log.origin, log.entries, log.frames)?;
            if let Some(root) = log.root {
                writeln!(f, "  root {root}")?;
            }
            if let Some(at) = log.signed_at {
                writeln!(f, "  last signed head {at}")?;
            }
        }
        let Decisions { events, signatures, weaker, grants, sessions } = self.decisions;
        writeln!(f, "decisions: {events} events, {signatures} signatures, {grants} grants, {sessions} sessions")?;
        match weaker {
            0 => {}
            1 => writeln!(f, "1 answer without a signature, as its rule allows: {GATES_WORD}")?,
            more => writeln!(f, "{more} answers without a signature, as their rules allow: {GATES_WORD}")?,
        }
        for session in &self.sessions {
            writeln!(f, "{session}")?;
        }
        for log in &self.remembrance {
            writeln!(f, "{log}")?;
        }
        self.restored.iter().try_for_each(|restored| writeln!(f, "restored {restored}"))?;
        writeln!(f, "times are the gate's word, but those of witnesses and yours")?;
        if !self.with_key {
            writeln!(
                f,
                "checked without a key: what was recorded was not opened, and bytes changed with their checksums not seen"
            )?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.more_findings > 0 {
            writeln!(f, "and {} more", self.more_findings)?;
        }
        match (self.verdict(), self.failures().next()) {
            (Verdict::Whole, _) => self.say_whole(f),
            (Verdict::Restored, _) => {
                f.write_str("RESTORED: nothing was altered, dropped or reordered but what two people signed as lost")
            }
            (Verdict::NotWitnessed, _) => write!(
                f,
                "NOT WITNESSED: nothing was altered, dropped or reordered, but for all that the witnesses whom you trust know, all of \
                 {} could be made up",
                self.not_witnessed.join(" and of ")
            ),
            (Verdict::Open, _) => self.say_open(f).and_then(|()| self.say_restored(f)),
            (Verdict::Part, _) => self.say_part(f).and_then(|()| self.say_restored(f)),
            (Verdict::NotWhole, None) => f.write_str("NOT WHOLE"),
            (Verdict::NotWhole, Some(first)) => write!(f, "NOT WHOLE. First: {first}"),
        }
    }
}

impl Report {
    fn open_sessions(&self) -> usize {
        self.sessions.iter().filter(|session| session.verdict == SessionVerdict::Open).count()
    }

    fn say_whole(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WHOLE: nothing was altered, dropped or reordered")?;
        match self.not_opened {
            0 => {}
            1 => f.write_str(". 1 recording was not opened: it is encrypted to others")?,
            more => write!(f, ". {more} recordings were not opened: they are encrypted to others")?,
        }
        let since = self.remembrance.iter().filter_map(|log| log.unwitnessed_since).min();
        since
            .map_or(Ok(()), |since| write!(f, ". Unwitnessed since {since:.0}: of that nobody but the gate can say so"))
    }

    fn say_restored(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.restored.is_empty() {
            true => Ok(()),
            false => f.write_str(". The gate was RESTORED from an earlier state: what was lost is named above"),
        }
    }

    fn say_open(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open_sessions();
        f.write_str("OPEN: nothing was altered, dropped or reordered")?;
        if let Some(until) = self.logs.iter().filter_map(|log| log.signed_at).min() {
            write!(f, " up to {until:.0}")?;
        }
        write!(
            f,
            ", with {} open. What came after that this copy cannot show: copy again when the gate has stopped",
            sessions(open)
        )
    }
}

impl Report {
    fn say_part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, all) = (self.part.unwrap_or_default(), self.decisions.sessions);
        let held = sessions(held);
        write!(f, "WHOLE AS FAR AS IT GOES: {held} of {all} and the journal, in which nothing was altered, ")?;
        f.write_str("dropped or reordered")?;
        if let Some(until) = self.logs.iter().filter_map(|log| log.signed_at).min() {
            write!(f, " up to {until:.0}")?;
        }
        match self.open_sessions() {
            0 => {}
            open => write!(f, ", with {} open", sessions(open))?,
        }
        f.write_str(if self.of_pack {
            ". Texts and pages of this pack follow from them; what is not in it was not checked"
        } else {
            ". The folder is a part: recordings that it does not name were not checked. Fetch all of them for that"
        })
    }
}

fn sessions(count: usize) -> String {
    if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") }
}

impl fmt::Display for SessionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, began, ending, verdict, frames, bytes_in, bytes_out, files, holds, erased } = self;
        let ending = ending.as_deref().unwrap_or("no ending");
        write!(
            f,
            "{session} {began} {ending}: {} ({frames} frames, {bytes_in} bytes in, {bytes_out} out",
            verdict.words()
        )?;
        match files {
            Some(files) if *files > 0 => write!(f, ", {files} files)")?,
            _ => f.write_str(")")?,
        }
        if *holds > 0 {
            write!(f, ", held by {holds}")?;
        }
        match erased {
            Some(ErasedAt { leaf, entry }) => write!(f, ", by entry {entry} of the journal and leaf {leaf}"),
            None => Ok(()),
        }
    }
}
