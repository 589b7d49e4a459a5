//! The offline check: a copied data folder, an auditor's trust file and, if at hand, the auditor's keys say whether
//! anything was altered, dropped or reordered, and where first. No server and no private key of the gate is needed, and
//! nothing in the folder is believed for its own sake. It finds what contradicts the signatures of trusted keys and
//! what others remember; that a folder was put back whole to an earlier moment only the remembered heads show. Ciphertext
//! that was changed together with its checksum is seen in a segment with an auditor's key only, in a block always.
//! Of a folder that says it is a part, only that part is checked, and the verdict never says more.
//! What was erased is missing with an excuse: a decision in the journal and a leaf in the record log.

mod cuts;
mod heads;
mod journal;
mod keeping;
mod log;
mod published;
mod report;
mod restored;
mod sessions;
mod windows;
mod witnessed;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use certs::log_key::Verifier;
use certs::trust::Trust;
use jiff::Timestamp;
use policies::events::Ending;
use policies::ids::{NodeId, SessionId};
use policies::state::SessionFacts;

pub use self::heads::{By, Remembered};
use self::journal::Journal;
use self::keeping::Keepings;
use self::log::{End, Log, LostHead, Name, OpenEnd, Reader, walk};
use self::published::Published;
pub(crate) use self::report::GATES_WORD;
pub use self::report::{
    Decisions, ErasedAt, Finding, FindingKind, Head, LogReport, RecipientReport, Report, SessionReport, SessionVerdict,
    Span, Verdict,
};
pub use self::restored::{LogLost, RestoredReport};
use self::sessions::{Known, Sessions, Told};
use self::witnessed::{CosignedHeads, Moment, Timed, remembrance, through_the_journal};
pub use self::witnessed::{Remembrance, Unwitnessed};
use crate::FORMAT;
use crate::disk::{Disk as _, RealDisk};
use crate::part::{PART, Part};
use crate::read::{
    AuditorKeys, Format, JOURNAL_DIR, Number, OUT_OF_A_BACKUP, RECORDS_DIR, RESTORING, RESTORING_DRAFT, RestoredAt,
    before_dir, names_of, read_bounded,
};
use crate::segment::segments_dir;
use crate::tlog::folder::CHECKPOINT;
use crate::tlog::kept::KEPT;

/// What to check, and by what.
#[derive(Debug, Clone, Copy)]
pub struct Checks<'a> {
    /// A data folder, with the server off or copied.
    pub folder: &'a Path,
    /// What the auditor trusts.
    pub trust: &'a Trust,
    /// The auditor's keys; without them what was recorded is not opened.
    pub keys: Option<&'a AuditorKeys>,
    /// Heads that the auditor kept from the last time.
    pub remembered: &'a [Remembered],
    /// Whether this is what whoever checks fetched from a bucket: of the logs what they published, and of recordings those that
    /// were done with. Nothing in a folder can say so.
    pub out_of_a_bucket: bool,
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segments that were read.
    pub read_bytes: u64,
    /// Bytes of segments there are.
    pub total_bytes: u64,
}

/// Checks a folder. Reads every byte of it that is evidence once; holds one window of one segment, the people and
/// decisions, and what is known of each session.
pub fn verify(checks: &Checks<'_>, progress: &mut dyn FnMut(Progress)) -> Report {
    let mut report = Report { with_key: checks.keys.is_some(), ..Report::default() };
    let segments = [JOURNAL_DIR, RECORDS_DIR].map(|log| segments_dir(&checks.folder.join(log)));
    let sessions = folders_in(&checks.folder.join(RECORDS_DIR).join("sessions"));
    let total_bytes = segments.into_iter().chain(sessions).map(|dir| bytes_in(&dir)).sum();
    let progressed = Progress { read_bytes: 0, total_bytes };
    let part = Part::read(checks.folder);
    let mut context = Context {
        report: &mut report,
        progress,
        progressed,
        part: part.as_ref().ok().cloned().flatten(),
        bucket: checks.out_of_a_bucket,
    };
    if let Err(error) = part {
        context.find(Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")).at(PART, 0));
    }
    check_folder(checks.folder, &mut context);
    let mut journal = Journal::new(checks.trust);
    let decisions = check_log(checks, JOURNAL_DIR, &mut journal, &[], &mut context);
    let verifier = decisions.as_ref().and_then(|log| log.verifier.as_ref());
    cuts::check(checks.folder, checks.trust, verifier, &journal.cuts, &mut context);
    let dir = checks.folder.join(RECORDS_DIR);
    let node = Format::read(&dir).ok().map(|format| format.node);
    let keepings = Keepings::of(&journal, node.as_ref());
    let mut sessions = Sessions::new(&dir, Path::new(RECORDS_DIR), checks.keys, keepings);
    let records = check_log(checks, RECORDS_DIR, &mut sessions, &journal.vouched, &mut context);
    let ends = [&decisions, &records].map(|log| log.as_ref().map_or(End::Cut, |log| log.end.clone()));
    let of_one_boot = are_of_one_boot(&journal, &ends[0], records.as_ref(), sessions.started);
    let are_open = check_ends(&ends, of_one_boot, &mut context);
    restored::tell(&journal, [decisions.as_ref(), records.as_ref()], &mut context);
    tell_remembrance(checks, &journal, [&decisions, &records], &mut context);
    let newer = if are_open && !journal.lost { sessions.newer_than(journal.size()) } else { BTreeSet::new() };
    let runs = |session| are_open && (journal.has_open(session) || newer.contains(&session));
    sessions.finish(runs, are_open, &mut context);
    if let Some(Checked { format, .. }) = records {
        compare(&journal, &sessions, &newer, &format.node, &mut context);
    }
    let recipients = journal.state.recipients.iter().map(|(recipient, facts)| RecipientReport {
        recipient: recipient.clone(),
        named: !facts.nodes.is_empty(),
        since: facts.since,
        used: facts.used,
    });
    context.report.recipients = recipients.collect();
    if context.report.opened == 0 && context.report.not_opened > 0 {
        let words = "your key opens none of these recordings: is it the right one?";
        context.find(Finding::new(FindingKind::NotChecked, words));
    }
    if let Some(part) = context.part.take() {
        report.sessions.retain(|session| part.sessions.contains(&session.session));
        report.part = Some(part.sessions.len());
    }
    report
}

/// What all parts of a check share.
struct Context<'a> {
    report: &'a mut Report,
    progress: &'a mut dyn FnMut(Progress),
    progressed: Progress,
    /// What the folder holds, where it says that this is not all.
    part: Option<Part>,
    /// Whether it was fetched from a bucket.
    bucket: bool,
}

impl Context<'_> {
    /// Of recordings that are not in this part nothing is told, wrong or right: the verdict says that they were not
    /// checked.
    fn find(&mut self, finding: Finding) {
        if finding.session.is_none_or(|session| self.holds(session)) {
            self.report.find(finding);
        }
    }

    fn holds(&self, session: SessionId) -> bool {
        self.part.as_ref().is_none_or(|part| part.sessions.contains(&session))
    }

    fn has_read(&mut self, bytes: u64) {
        self.progressed.read_bytes += bytes;
        // A gate that runs goes on writing.
        self.progressed.total_bytes = self.progressed.total_bytes.max(self.progressed.read_bytes);
        (self.progress)(self.progressed);
    }
}

fn folders_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// What may lie in a data folder. State that can be rebuilt, and locks, are no evidence.
fn check_folder(folder: &Path, context: &mut Context<'_>) {
    for name in names(folder, Path::new(""), context) {
        match name.as_str() {
            JOURNAL_DIR | RECORDS_DIR | cuts::CUTS | "state" | "LOCK" | PART | OUT_OF_A_BACKUP => {}
            RESTORING => {
                let words =
                    "a restore was begun here and not finished: start the gate, which finishes it, and copy again";
                context.find(Finding::new(FindingKind::NotChecked, words).at(RESTORING, 0));
            }
            RESTORING_DRAFT => {
                let words = "a restore was being decided here, and was not: nothing was changed";
                context.find(Finding::new(FindingKind::Note, words).at(RESTORING_DRAFT, 0));
            }
            _ => context.find(stray(name.into())),
        }
    }
}

/// The names in a folder; where it cannot be read, none, and that is told.
fn names(dir: &Path, relative: &Path, context: &mut Context<'_>) -> Vec<String> {
    RealDisk.list(dir).unwrap_or_else(|error| {
        context.find(Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")).at(relative, 0));
        Vec::new()
    })
}

fn stray(file: PathBuf) -> Finding {
    Finding::new(FindingKind::Stray, "no gate puts this there").at(file, 0)
}

/// A log that was walked.
struct Checked {
    format: Format,
    /// Its names, the first one first.
    names: Vec<Name>,
    /// What is remembered of earlier ones, and is not here.
    lost: Vec<LostHead>,
    /// Its key under its last name.
    verifier: Option<Verifier>,
    end: End,
    report: LogReport,
    cosigned: CosignedHeads,
    /// When entries were written: of the journal all, else those behind a head that somebody remembers.
    times: BTreeMap<u64, Timestamp>,
}

/// How much of each log somebody else remembers. Of a part that is not known.
fn tell_remembrance(
    checks: &Checks<'_>,
    journal: &Journal<'_>,
    [decisions, records]: [&Option<Checked>; 2],
    context: &mut Context<'_>,
) {
    let others = |log: &Checked| {
        let kept = checks.remembered.iter().filter(|head| head.origin == log.report.origin);
        let kept = kept.filter_map(|head| head.by.moment(head.size));
        kept.chain(log.cosigned.moments(checks.trust.witnesses_needed())).collect::<Vec<Moment>>()
    };
    for log in [decisions, records].into_iter().flatten().filter(|log| log.report.entries > 0) {
        let needed = checks.trust.witnesses_needed();
        if needed > 0 && context.part.is_none() && log.cosigned.moments(needed).is_empty() {
            context.report.not_witnessed.push(log.report.origin.clone());
        }
    }
    let mut in_journal = Vec::new();
    if let Some(log) = decisions {
        in_journal = others(log);
        in_journal.extend(journal.signed.iter().cloned());
        context.report.remembrance.push(remembrance(&log.report, &log.times, in_journal.clone()));
    }
    if let Some(log) = records.as_ref().filter(|_| context.part.is_none()) {
        let mut moments = others(log);
        let vouched = journal.vouched.iter().filter(|head| head.origin == log.report.origin);
        moments.extend(through_the_journal(&vouched.cloned().collect::<Vec<_>>(), &in_journal));
        context.report.remembrance.push(remembrance(&log.report, &log.times, moments));
    }
}

/// The journal is copied before the recordings, and all of it within this.
const COPIED_WITHIN_SECONDS: u64 = 3_600;

/// Whether the journal, in the run in which it ends, says that it knows the recordings' last start: then both end in one
/// boot of the machine.
fn are_of_one_boot(journal: &Journal<'_>, end: &End, records: Option<&Checked>, started: Option<u64>) -> bool {
    let (End::Open(end), Some(records), Some(started)) = (end, records, started) else { return false };
    journal.vouched_up_to(&records.report.origin, end.run_from).is_some_and(|size| started < size)
}

/// Whether both logs go on as those of a running gate do. One that goes on while the other has stopped, or ends long
/// before it, was cut off: a gate signs both as long as it runs. Where both count from one boot, nothing is made of a wall
/// clock that was set between; else only that one can be asked.
fn check_ends(ends: &[End; 2], of_one_boot: bool, context: &mut Context<'_>) -> bool {
    let are_open = match ends {
        _ if context.bucket => {
            let words = "this is out of a bucket: as far as the logs were published when they were brought there";
            context.find(Finding::new(FindingKind::Open, words));
            return true;
        }
        [End::Open(journal), End::Open(records)] => {
            let nanos = |seconds: u64| i128::from(seconds) * 1_000_000_000;
            let due = |end: &OpenEnd| nanos(u64::from(end.due_seconds) + log::LATE_SECONDS);
            let ahead = match of_one_boot {
                true => i128::from(journal.nanos) - i128::from(records.nanos),
                false => journal.signed.duration_since(records.signed).as_nanos(),
            };
            ahead <= due(records) && -ahead <= due(journal) + nanos(COPIED_WITHIN_SECONDS)
        }
        _ => false,
    };
    for end in ends {
        let End::Open(end) = end else { continue };
        let (kind, words) = if are_open {
            (FindingKind::Open, "the log goes on: the gate ran when this was copied, or died and was not started again")
        } else {
            (FindingKind::CutOff, "the log was not ended, and the other one ends elsewhere in time: it was cut off")
        };
        context.find(Finding::new(kind, words).at(&end.file, end.offset));
    }
    are_open
}

/// Walks one of the two logs, if there is one.
fn check_log(
    checks: &Checks<'_>,
    name: &str,
    reader: &mut dyn Reader,
    vouched: &[Remembered],
    context: &mut Context<'_>,
) -> Option<Checked> {
    let (dir, relative) = (checks.folder.join(name), Path::new(name));
    let has_sessions = name == RECORDS_DIR;
    let there = names(&dir, relative, context);
    let format = check_format(checks.trust, &dir.join(FORMAT), &relative.join(FORMAT), has_sessions, context);
    let before = |name: &str| {
        let named = |format: &Format| format.restored.iter().any(|at| before_dir(at.restore) == name);
        format.as_ref().is_some_and(named)
    };
    for name in there {
        let known = matches!(name.as_str(), FORMAT | "LOCK" | "segments" | CHECKPOINT | KEPT | published::TILES)
            || has_sessions && name == "sessions"
            || before(&name);
        if name == published::DRAFT {
            let at = relative.join(name);
            context.find(Finding::new(FindingKind::Note, "a checkpoint was being written").at(at, 0));
        } else if !known {
            context.find(stray(relative.join(name)));
        }
    }
    let format = format?;
    let names = log_names(checks.trust, &format);
    let verifier = names.last().and_then(|name| name.verifier.clone());
    let is_ours = |head: &&Remembered| names.iter().any(|name| name.origin == head.origin);
    let mut remembered: Vec<Remembered> = checks.remembered.iter().chain(vouched).filter(is_ours).cloned().collect();
    for (at, name) in format.restored.iter().zip(&names) {
        let folder = before_dir(at.restore);
        let key = name.verifier.as_ref();
        let heads = key.map(|key| CosignedHeads::read(&dir, relative, &folder, key, checks.trust, context));
        remembered.extend(heads.unwrap_or_default().heads);
    }
    let published = verifier.as_ref().map(|verifier| Published::check(&dir, relative, verifier));
    remembered.extend(published.as_ref().and_then(Published::remembered));
    let cosigned = verifier.as_ref().map(|key| CosignedHeads::read(&dir, relative, KEPT, key, checks.trust, context));
    let cosigned = cosigned.unwrap_or_default();
    remembered.extend(cosigned.heads.iter().cloned());
    let sizes = || std::iter::once(0).chain(remembered.iter().map(|head| head.size)).collect();
    let mut reader = Timed::new(reader, has_sessions.then(sizes));
    let log = Log { dir: &dir, relative, names: &names, has_sessions, number: format.number, remembered };
    let bundles = published.as_ref().and_then(Published::view);
    let (mut walked, end, lost) = walk(&log, bundles, &mut reader, context);
    if let Some(published) = published {
        // Of a part, what is published was not compared with all entries before it.
        if context.part.is_none() {
            walked.settle(published.remembered());
        }
        published.tell(end != End::Stopped, context);
    }
    context.report.logs.push(walked.clone());
    let times = reader.times;
    drop(log);
    Some(Checked { format, names, lost, verifier, end, report: walked, cosigned, times })
}

/// The names that a log has had, with their keys: it is always the one that the trust file has under the first.
fn log_names(trust: &Trust, format: &Format) -> Vec<Name> {
    let base = format.base().unwrap_or(&format.origin);
    let names = names_of(base, &format.restored).into_iter();
    names.map(|(from, origin)| Name { from, verifier: trust.verifier_of(&origin), origin }).collect()
}

/// A FORMAT is some lines.
const FORMAT_BYTES_MAX: u64 = 4096;

/// What the log says of itself must be what the trust file says of it, byte for byte. Even where it is not, the log is
/// walked, by the trust file.
fn check_format(
    trust: &Trust,
    path: &Path,
    relative: &Path,
    has_sessions: bool,
    context: &mut Context<'_>,
) -> Option<Format> {
    let read = read_bounded(path, FORMAT_BYTES_MAX);
    let is_read = read.is_ok();
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            context.find(Finding::new(FindingKind::Missing, "the log is missing").at(relative, 0));
            Vec::new()
        }
        Err(error) => {
            context.find(Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")).at(relative, 0));
            Vec::new()
        }
    };
    let restored = Format::parse(&bytes).map(|format| format.restored).unwrap_or_default();
    let trusted = trusted_formats(trust, has_sessions, &restored);
    if trusted.is_empty() {
        let words = "your trust file has no key for this log, so nothing in it can be believed";
        context.find(Finding::new(FindingKind::NotSigned, words).at(relative, 0));
        return Format::parse(&bytes);
    }
    let agreed = |text: &[u8]| text.iter().zip(&bytes).take_while(|(ours, theirs)| ours == theirs).count();
    let (format, text) = trusted.into_iter().max_by_key(|(_, text)| (*text == bytes, agreed(text)))?;
    if text != bytes && is_read {
        let words = "the log says that it is another one than your trust file knows";
        context.find(Finding::new(FindingKind::Altered, words).at(relative, agreed(&text) as u64));
    }
    Some(format)
}

/// What FORMAT may say, with each log and node that the trust file knows, where these restores were. Whether they were the
/// journal says.
fn trusted_formats(trust: &Trust, has_sessions: bool, restored: &[RestoredAt]) -> Vec<(Format, Vec<u8>)> {
    let records = format!("{}/{RECORDS_DIR}/", trust.deployment);
    let journal = format!("{}/{JOURNAL_DIR}", trust.deployment);
    let nodes =
        trust.logs.iter().filter_map(|log| Some((log, log.0.name().strip_prefix(&records)?.parse::<NodeId>().ok()?)));
    let format = |verifier: &Verifier, node: NodeId, number: Number| {
        let names = names_of(verifier.name(), restored);
        let (_, origin) = names.last().cloned().expect("a log has a name");
        let verifier = verifier.renamed(&origin).map_or_else(|_| verifier.to_string(), |renamed| renamed.to_string());
        let format = Format { origin, node, verifier, restored: restored.to_vec(), number };
        let text = format.to_string().into_bytes();
        (format, text)
    };
    if has_sessions {
        let numbers = [Number::One, Number::Two];
        return nodes.flat_map(|(log, node)| numbers.map(|number| format(&log.0, node.clone(), number))).collect();
    }
    let Some(verifier) = trust.log(&journal) else { return Vec::new() };
    nodes.map(|(_, node)| format(verifier, node, Number::One)).collect()
}

/// Sessions in the journal but not in the record log, the reverse, and seals that are not the journaled ones. What is newer
/// than a copy of the journal cannot be in it.
fn compare(
    journal: &Journal<'_>,
    sessions: &Sessions<'_>,
    newer: &BTreeSet<SessionId>,
    node: &NodeId,
    context: &mut Context<'_>,
) {
    // Entries about other recordings may be missing in a part; its own are in the segments that it has.
    if journal.lost || sessions.lost && context.part.is_none() {
        let words = "parts of a log are missing or not understood, so the journal and the recordings were not compared";
        return context.find(Finding::new(FindingKind::NotChecked, words));
    }
    let mut elsewhere = 0;
    for (id, facts) in &journal.state.sessions {
        if facts.node != *node {
            elsewhere += 1;
            continue;
        }
        let known = sessions.known.get(id);
        if let Some(over) = known.and_then(|known| journal.windows.exceeded(*id, known.lasted)) {
            let words = format!("bytes passed {over:#} after its time was over, extensions counted");
            context.find(Finding::new(FindingKind::NotAllowed, words).of(*id));
        }
        let Some((kind, words)) = difference(*id, facts, known) else { continue };
        context.find(match restored::explains(&journal.restores, facts, known).filter(|_| kind.is_wrong()) {
            Some(words) => restored::of_session(*id, words),
            None => Finding::new(kind, words).of(*id),
        });
    }
    for (id, known) in sessions.known.iter().filter(|(id, _)| !journal.state.sessions.contains_key(id)) {
        let (kind, words) = if newer.contains(id) {
            (FindingKind::Note, "the session began after the journal was copied")
        } else if restored::lost_its_session(&journal.restores, node, known) {
            (
                FindingKind::Restored,
                "there is a recording, and what the journal said of the session is lost with a restore",
            )
        } else {
            (FindingKind::Disagree, "there is a recording, and the journal knows nothing of the session")
        };
        context.find(Finding::new(kind, words).of(*id));
    }
    let held = context.part.iter().flat_map(|part| part.sessions.clone());
    let unknown: Vec<SessionId> = held.filter(|id| !journal.state.sessions.contains_key(id)).collect();
    for id in unknown.into_iter().filter(|id| !sessions.known.contains_key(id)) {
        let words = "the folder says that it holds this session, and the journal knows nothing of it";
        context.find(Finding::new(FindingKind::Missing, words).of(id));
    }
    if elsewhere > 0 && context.part.is_none() {
        let words = format!("{elsewhere} sessions ran on other nodes; their recordings lie in those nodes' folders");
        context.find(Finding::new(FindingKind::Note, words));
    }
}

/// What journal and recording say differently of one session.
fn difference(id: SessionId, facts: &SessionFacts, known: Option<&Known>) -> Option<(FindingKind, &'static str)> {
    use FindingKind::{Disagree, Missing, Note};
    let Some(known) = known else {
        let reached_nothing = facts.ended.as_ref().is_some_and(|(_, ending)| {
            matches!(ending, Ending::RecorderFailed | Ending::Crashed | Ending::Presumed | Ending::TargetUnreachable)
        });
        return Some(match facts.seal {
            None if reached_nothing => (Note, "the session ended before its recording began, and reached nothing"),
            _ => (Missing, "the journal began this session, and there is no recording of it"),
        });
    };
    let journaled = Told {
        session: id,
        grant: facts.request,
        technician: facts.technician,
        target: facts.target.clone(),
        service: facts.service.clone(),
        node: facts.node.clone(),
    };
    match (known.seal, facts.seal) {
        _ if known.told.as_ref().is_some_and(|told| *told != journaled) => Some((
            Disagree,
            "the recording says of whom, where or by which grant it is, and the journal says otherwise",
        )),
        (Some(seal), Some(journaled)) if seal != journaled => {
            Some((Disagree, "the journal names another seal than the recording has"))
        }
        (None, Some(_)) => Some((Missing, "the journal names a seal, and the recording has none")),
        (Some(_), None) if facts.ended.is_none() => {
            Some((Note, "the recording is sealed, and the journal says no end: the gate stopped between"))
        }
        _ => None,
    }
}
