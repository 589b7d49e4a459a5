//! Alarms: what stands and must be looked after, each raised once and cleared once. What stands is worked out anew from what
//! is, each second; what changed is told in the feed, and people are told of what nothing else tells them. Nobody can mute
//! one: it goes when its cause does. Who is there says that they saw it, and its sound stops.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policies::ids::{NodeId, PersonId, RequestId};
use policies::state::{LookBack, RequestStanding, State};
use recordings::log::{Log, RoomState};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::certificates::Certificates;
use crate::checked;
use crate::clock::{Boot, Clock};
use crate::deposits::{self, Deposits};
use crate::desk::{Alarm, Desk, SILENT, Waits};
use crate::feed::{Feed, Told};
use crate::memory::{self, Headroom};
use crate::witnesses::Witnesses;

/// What an alarm is about: its kind and, where there may be several of that kind, of whom or what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    kind: Kind,
    of: Option<String>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $word:literal $told:literal,)*) => {
        /// Kinds of alarms.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$name,)*];

            const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Whether people are told of it here, because they are not told of its cause.
            const fn is_told(self) -> bool {
                match self { $(Self::$name => $told,)* }
            }
        }
    };
}

kinds! {
    /// The journal does not answer.
    JournalDown "journal-down" false,
    /// The journal is of a newer version.
    JournalNewer "journal-newer" false,
    /// Cuts stand that are not in the journal.
    CutsUnjournaled "cuts-unjournaled" false,
    /// Facts were forgotten.
    FactsLost "facts-lost" false,
    /// The recorder failed.
    RecorderFailed "recorder-failed" false,
    /// The disk has less room than is good.
    LowSpace "low-space" false,
    /// Memory runs out, and the vendor face lets nobody in.
    Memory "memory" true,
    /// The clock was set, or stands behind the journal.
    Clock "clock" true,
    /// Somebody is locked out.
    Locked "locked" true,
    /// An emergency grant waits for somebody to look back at it.
    Emergency "emergency" false,
    /// A guest's visit waits for somebody to look back at it.
    Guest "guest" false,
    /// Nobody signed off in time what was done under a grant.
    CloseOut "close-out" true,
    /// Nobody reviewed in time a session that was drawn.
    Review "review" true,
    /// A secret that opens accounts of targets is older than the plant file lets it get.
    Rotation "rotation" true,
    /// Whoever looked back at an emergency grant or a visit objects, or who reviewed a session found something.
    Objection "objection" false,
    /// A cut stands.
    Cut "cut" false,
    /// A request waits although everybody was told.
    Unanswered "unanswered" false,
    /// The shift changed, and nobody accepts what it left.
    Unaccepted "unaccepted" true,
    /// A witness does not cosign.
    Witness "witness" false,
    /// Recordings are not brought to the bucket.
    Bucket "bucket" true,
    /// The certificate that was given to a face ends, or cannot be shown.
    Certificate "certificate" true,
    /// A receiver of the feed misses events for good, and has not caught up since.
    FeedLost "feed-lost" true,
    /// A receiver of the feed takes nothing.
    FeedBehind "feed-behind" false,
    /// No plant file is in force.
    NoPlant "no-plant" false,
    /// Another node is not heard of.
    NodeSilent "node-silent" true,
    /// A node that was taken for gone for good is there.
    NodeBack "node-back" true,
}

/// An alarm that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its kind.
    pub kind: &'static str,
    /// Of whom or what, where there may be several of the kind.
    pub of: Option<String>,
    /// In words.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
    /// Who saw it, and when.
    pub seen: Option<Acknowledged>,
}

/// That somebody saw an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// An operator, or the display before which somebody stood.
    pub by: PersonId,
    /// When.
    pub at: Timestamp,
}

/// The alarms that stand. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Alarms(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    raised: BTreeMap<About, Raised>,
    /// Whether the file does not say it yet.
    is_news: bool,
}

#[derive(Debug, Clone)]
struct Raised {
    text: String,
    since: Timestamp,
    seen: Option<Acknowledged>,
}

/// As it is kept, so that a restart neither raises nor clears anything.
#[derive(Serialize, Deserialize)]
struct Kept {
    kind: Kind,
    of: Option<String>,
    text: String,
    since: Timestamp,
    #[serde(default)]
    seen: Option<Acknowledged>,
}

impl Alarms {
    /// All that stand, by kind.
    pub fn standing(&self) -> Vec<Standing> {
        let standing = |(about, raised): (&About, &Raised)| Standing {
            kind: about.kind.as_str(),
            of: about.of.clone(),
            text: raised.text.clone(),
            since: raised.since,
            seen: raised.seen,
        };
        self.lock().raised.iter().map(standing).collect()
    }

    /// Somebody saw these: each by its kind, what it is of, and since when it stands, so that one which was raised anew
    /// meanwhile still sounds. Those that were not acknowledged before.
    pub fn acknowledge(&self, which: &[(&str, Option<&str>, Timestamp)], seen: Acknowledged) -> Vec<Standing> {
        let mut held = self.lock();
        let mut new = Vec::new();
        for (about, raised) in &mut held.raised {
            let named = (about.kind.as_str(), about.of.as_deref(), raised.since);
            if raised.seen.is_none() && which.contains(&named) {
                raised.seen = Some(seen);
                let (text, of) = (raised.text.clone(), about.of.clone());
                new.push(Standing { kind: about.kind.as_str(), of, text, since: raised.since, seen: raised.seen });
            }
        }
        held.is_news |= !new.is_empty();
        new
    }

    /// How many of each kind stand; of every kind there is.
    pub fn count(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<&'static str, usize> = Kind::ALL.iter().map(|kind| (kind.as_str(), 0)).collect();
        for about in self.lock().raised.keys() {
            *counts.entry(about.kind.as_str()).or_default() += 1;
        }
        counts
    }

    /// What those of a kind are of that nobody saw yet.
    fn unseen(&self, kind: Kind) -> BTreeSet<String> {
        let held = self.lock();
        let unseen = held.raised.iter().filter(|(about, raised)| about.kind == kind && raised.seen.is_none());
        unseen.filter_map(|(about, _)| about.of.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No change under this lock can stop halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever looks what stands.
pub struct Lookout {
    /// Where it is kept.
    pub alarms: Alarms,
    /// What is decided.
    pub desk: Desk,
    /// This node's recordings.
    pub records: Arc<Log>,
    /// Who remembers how far the logs have come.
    pub witnesses: Witnesses,
    /// What is brought to a bucket, where something is.
    pub deposits: Option<Deposits>,
    /// What the faces show.
    pub certificates: Certificates,
    /// What memory is left.
    pub headroom: Headroom,
    /// Where it is told.
    pub feed: Feed,
    /// How people are told.
    pub told: mpsc::Sender<Alarm>,
    /// The file that remembers it across a restart.
    pub path: PathBuf,
}

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An alarm about something that happened, and does not last, stands for so long, so that somebody sees it.
const SEEN_FOR: Duration = Duration::from_secs(600);
/// An objection stands for so long, so that each shift comes by it; and until somebody saw it.
const OBJECTION_STANDS: SignedDuration = SignedDuration::from_hours(24);
/// A receiver of the feed may be restarted without an alarm.
const RECEIVER_AWAY_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Clocks of one machine are slewed by less between two looks.
const STEP_MIN: SignedDuration = SignedDuration::from_secs(2);

impl Lookout {
    /// Looks for as long as it is let.
    pub async fn run(self) {
        self.remember();
        let mut stepping = Stepping::begin(self.desk.clock());
        loop {
            let records = Arc::clone(&self.records);
            let looked = tokio::task::spawn_blocking(move || {
                let is_low = records.room().is_ok_and(|room| room.state != RoomState::Plenty);
                let low = is_low.then(|| "the disk for recordings is filling up".to_owned());
                (lacks_room(&records).or(low), records.status().fault.map(|fault| fault.to_string()))
            });
            let Ok((low, fault)) = looked.await else { return };
            let mut found = self.decided();
            found.extend(self.of_the_feed());
            let stepped = stepping.look(self.desk.clock());
            let node = [
                low.map(|text| (Kind::LowSpace, text)),
                (!self.headroom.is_there()).then(|| (Kind::Memory, memory::gone_in_words())),
                fault.map(|fault| (Kind::RecorderFailed, fault)),
                stepped.map(|text| (Kind::Clock, text)),
            ];
            found.extend(node.into_iter().flatten().map(|(kind, text)| (About { kind, of: None }, text)));
            self.settle(found);
            self.desk.clock().sleep(LOOK_EVERY).await;
        }
    }

    /// What the journal and those around it say.
    fn decided(&self) -> BTreeMap<About, String> {
        let (status, now) = (self.desk.status(), self.desk.clock().wall());
        let (unseen, unseen_back) = (self.alarms.unseen(Kind::Objection), self.alarms.unseen(Kind::NodeBack));
        let mut found = BTreeMap::new();
        let mut stands = |kind, of: Option<String>, text: String| found.insert(About { kind, of }, text);
        if status.journal_down_for.is_some() {
            stands(Kind::JournalDown, None, "the journal does not answer: nobody is admitted, cuts work".to_owned());
        }
        if status.unknown_event.is_some() {
            stands(Kind::JournalNewer, None, "the journal is of a newer version: nobody is admitted".to_owned());
        }
        if !status.unjournaled_cuts.is_empty() {
            stands(Kind::CutsUnjournaled, None, "cuts stand that are not in the journal yet".to_owned());
        }
        if status.lost > 0 {
            stands(Kind::FactsLost, None, "facts could not be journaled and were forgotten".to_owned());
        }
        for node in self.desk.silent_nodes(SILENT) {
            let text = format!(
                "nothing is heard of the gate {node}: it died, or cannot reach the journal; then no cut from here reaches it. Where it is gone \
                 for good, an administrator says so (`holdpoint nodes forget {node}`)"
            );
            stands(Kind::NodeSilent, Some(node.to_string()), text);
        }
        for node in self.desk.forgotten_nodes_heard() {
            let text = format!(
                "the gate {node} was taken for gone for good, and runs. It does not follow the journal, so no cut from here reaches it: cut \
                 at it (`holdpoint cut --local`), and stop it, or start it with the version that the others have"
            );
            stands(Kind::NodeBack, Some(node.to_string()), text);
        }
        for standing in self.witnesses.standings() {
            if let Some(trouble) = &standing.trouble {
                let text = format!("the witness {} does not cosign: {}", standing.name, trouble.words());
                stands(Kind::Witness, Some(standing.name), text);
            }
        }
        if let Some(deposits::Standing { waiting, trouble: Some(trouble), .. }) =
            self.deposits.as_ref().map(Deposits::standing)
        {
            let text = format!("recordings are not brought to the bucket: {}", trouble.in_words(waiting));
            stands(Kind::Bucket, None, text);
        }
        for (face, text) in self.certificates.troubles(now) {
            stands(Kind::Certificate, Some(face.to_owned()), text);
        }
        for ignored in self.desk.due(now).into_iter().filter(|due| due.red) {
            let what = match ignored.waits {
                Waits::Request(_) => "a request",
                Waits::Ask(..) => "more time, or more that may be done,",
            };
            stands(
                Kind::Unanswered,
                Some(ignored.waits.to_string()),
                format!("{what} waits although everybody was told"),
            );
        }
        self.desk.with_state(|state| {
            if state.plant.is_none() {
                stands(Kind::NoPlant, None, policies::refusals::Refusal::NoPlant.to_string());
            }
            for (node, facts) in state.nodes.iter().filter(|(_, facts)| facts.is_up()) {
                let of = node.to_string();
                let is_fresh = |at| now.duration_since(at).unsigned_abs() < SEEN_FOR;
                if facts.came_back.is_some_and(is_fresh) || unseen_back.contains(&of) {
                    stands(Kind::NodeBack, Some(of), came_back(node));
                }
            }
            for cut in state.cuts.keys() {
                stands(Kind::Cut, Some(cut.to_string()), format!("cut {cut} stands"));
            }
            for (request, case) in state.open_cases().filter(|(_, case)| case.wants_review()) {
                stands(Kind::Emergency, Some(request.to_string()), emergency(request, &case.request.target));
            }
            for (guest, visit) in state.guests.iter().filter(|(_, visit)| visit.wants_review(now)) {
                stands(Kind::Guest, Some(guest.to_string()), guest_gone(*guest, &visit.statement.target));
            }
            for (request, case, _) in state.close_outs(now).filter(|(.., due)| *due <= now) {
                stands(Kind::CloseOut, Some(request.to_string()), not_closed_out(request, &case.request.target));
            }
            for (session, facts) in state.sessions_to_look_at().filter(|(_, facts)| facts.is_review_overdue(now)) {
                stands(Kind::Review, Some(session.to_string()), not_reviewed(session, &facts.target));
            }
            for (rotation, _) in state.rotations_due(now).into_iter().filter(|(_, need)| need.is_overdue()) {
                let text = rotation.in_words(now, |at| state.clock(at));
                stands(Kind::Rotation, Some(rotation.credential.to_string()), text);
            }
            for (of, at, text) in objections(state) {
                if now.duration_since(at) < OBJECTION_STANDS || unseen.contains(&of) {
                    stands(Kind::Objection, Some(of), text);
                }
            }
            for (request, case) in state.open_cases() {
                let handover = state.handover(case, now).filter(|handover| case.unaccepted || handover.red <= now);
                if handover.is_some() {
                    stands(Kind::Unaccepted, Some(request.to_string()), unaccepted(request, case));
                }
            }
            for person in state.people.values() {
                if let Some(until) = person.locked_until.filter(|until| now < *until) {
                    let text =
                        format!("{} gave too many wrong codes: locked out until {}", person.id, state.clock(until));
                    stands(Kind::Locked, Some(person.id.to_string()), text);
                }
            }
            if let Some(newest) = state.newest.filter(|newest| newest.duration_since(now) > STEP_MIN) {
                let text = format!(
                    "the clock stands behind the journal, whose newest entry is of {newest}: nobody is admitted"
                );
                stands(Kind::Clock, None, text);
            }
        });
        found
    }

    fn of_the_feed(&self) -> Vec<(About, String)> {
        let now = self.desk.clock().wall();
        let mut found = Vec::new();
        for receiver in self.feed.receivers() {
            let of = Some(receiver.name.clone());
            let is_fresh = |at: Timestamp| now.duration_since(at).unsigned_abs() < SEEN_FOR;
            if receiver.missed_at.is_some_and(is_fresh) {
                let text = format!(
                    "{} of the feed misses events for good: it was too slow, or a disk changed them",
                    receiver.name
                );
                found.push((About { kind: Kind::FeedLost, of: of.clone() }, text));
            }
            if receiver.trouble.is_some_and(|trouble| now.duration_since(trouble.since) > RECEIVER_AWAY_MAX) {
                let text = format!("{} does not take the feed", receiver.name);
                found.push((About { kind: Kind::FeedBehind, of }, text));
            }
        }
        found
    }

    /// Tells what changed, once.
    fn settle(&self, found: BTreeMap<About, String>) {
        let now = self.desk.clock().wall();
        let mut held = self.alarms.lock();
        let standing = &mut held.raised;
        let cleared: Vec<_> = standing.extract_if(.., |about, _| !found.contains_key(about)).collect();
        let (known, raised): (Vec<_>, Vec<_>) = found.into_iter().partition(|(about, _)| standing.contains_key(about));
        for (about, text) in known {
            // What has become another trouble was seen by nobody yet.
            standing.entry(about).and_modify(|raised| {
                if std::mem::replace(&mut raised.text, text.clone()) != text {
                    raised.seen = None;
                }
            });
        }
        let raise = |text: &String| Raised { text: text.clone(), since: now, seen: None };
        standing.extend(raised.iter().map(|(about, text)| (about.clone(), raise(text))));
        let is_news = std::mem::take(&mut held.is_news) || !cleared.is_empty() || !raised.is_empty();
        drop(held);
        if !is_news {
            return;
        }
        for (about, text) in raised {
            tracing::error!(alarm = about.kind.as_str(), "raised: {text}");
            self.feed.tell(Told::alarm(now, about.kind.as_str(), about.of.as_deref(), &text, true));
            if about.kind.is_told() {
                self.tell(Alarm::Raised(text));
            }
        }
        for (about, Raised { text, .. }) in cleared {
            tracing::info!(alarm = about.kind.as_str(), "cleared: {text}");
            self.feed.tell(Told::alarm(now, about.kind.as_str(), about.of.as_deref(), &text, false));
            if about.kind.is_told() || about.kind == Kind::LowSpace {
                self.tell(Alarm::Cleared(text));
            }
        }
        if let Err(cause) = self.keep() {
            tracing::warn!(%cause, "the alarms that stand are not kept: after a restart they are raised again");
        }
    }

    fn tell(&self, alarm: Alarm) {
        if let Err(lost) = self.told.try_send(alarm) {
            tracing::error!(alarm = ?lost.into_inner(), "an alarm reaches nobody");
        }
    }

    fn keep(&self) -> io::Result<()> {
        let kept = |(about, raised): (&About, &Raised)| Kept {
            kind: about.kind,
            of: about.of.clone(),
            text: raised.text.clone(),
            since: raised.since,
            seen: raised.seen,
        };
        let kept: Vec<Kept> = self.alarms.lock().raised.iter().map(kept).collect();
        checked::replace(&self.path, &serde_json::to_vec(&kept)?)
    }

    /// A file that cannot be read is none: what stands is then raised again.
    fn remember(&self) {
        let kept: Option<Vec<Kept>> = fs::read(&self.path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let kept = kept.into_iter().flatten();
        let raised =
            kept.map(|Kept { kind, of, text, since, seen }| (About { kind, of }, Raised { text, since, seen }));
        self.alarms.lock().raised.extend(raised);
    }
}

/// Why nobody new is let in for want of room, where that is so.
pub(crate) fn lacks_room(log: &Log) -> Option<String> {
    match log.room() {
        Ok(room) if room.state == RoomState::None => {
            Some("the disk has less room than is reserved for recordings: nobody new is let in".to_owned())
        }
        Ok(_) => None,
        Err(cause) => {
            Some(format!("the disk for recordings does not say what room it has ({cause}): nobody new is let in"))
        }
    }
}

fn came_back(node: &NodeId) -> String {
    format!(
        "the gate {node} was taken for gone for good, and is there again: what it carried was over by then. If it is not to be, stop it, \
         and an administrator says so once more (`holdpoint nodes forget {node}`)"
    )
}

fn unaccepted(request: RequestId, case: &policies::state::Case) -> String {
    let so = if case.unaccepted { "frozen until somebody does" } else { "nobody has accepted it" };
    let what = if case.standing == RequestStanding::Pending { "request" } else { "grant" };
    format!(
        "the shift changed, and the {what} {request} for {} waits for somebody to accept it: {so}",
        case.request.target
    )
}

fn emergency(request: RequestId, target: &policies::ids::TargetName) -> String {
    format!("the emergency grant {request} for {target} waits for somebody to look back at it")
}

fn guest_gone(guest: policies::ids::GuestId, target: &policies::ids::TargetName) -> String {
    format!("the visit {guest} as a guest to {target} waits for somebody to look back at it")
}

fn not_closed_out(request: RequestId, target: &policies::ids::TargetName) -> String {
    format!("nobody signed off in time what was done under the grant {request} for {target}")
}

fn not_reviewed(session: policies::ids::SessionId, target: &policies::ids::TargetName) -> String {
    format!("nobody reviewed in time the session {session} at {target}, which was drawn")
}

/// What it is of, since when, and in words.
fn objections(state: &State) -> impl Iterator<Item = (String, Timestamp, String)> {
    let objected = |seen: Option<LookBack>| seen.filter(|seen| seen.objection.is_some()).map(|seen| seen.at);
    let grants = state.open_cases().filter_map(move |(request, case)| {
        let at = objected(case.reviewed())?;
        let what = format!("the emergency grant {request} for {}", case.request.target);
        Some((request.to_string(), at, what))
    });
    let visits = state.guests.iter().filter_map(move |(guest, visit)| {
        let at = objected(visit.reviewed)?;
        let what = format!("the visit {guest} as a guest to {}", visit.statement.target);
        Some((guest.to_string(), at, what))
    });
    let in_words = |what| format!("whoever looked back at {what} objects: it should not have been");
    let sessions = state.sessions_to_look_at().filter_map(move |(session, facts)| {
        let text = format!("whoever reviewed the session {session} at {} found something", facts.target);
        Some((session.to_string(), objected(facts.reviewed())?, text))
    });
    grants.chain(visits).map(move |(of, at, what)| (of, at, in_words(what))).chain(sessions)
}

/// Whether somebody set the clock.
struct Stepping {
    offset: i128,
    stepped: Option<(Boot, String)>,
}

impl Stepping {
    fn begin(clock: &Clock) -> Self {
        Self { offset: offset(clock), stepped: None }
    }

    /// What is said of it, for a while.
    fn look(&mut self, clock: &Clock) -> Option<String> {
        let (now, boot) = (offset(clock), clock.boot());
        let by = now - std::mem::replace(&mut self.offset, now);
        if by.unsigned_abs() > STEP_MIN.unsigned_abs().as_nanos() {
            let way = if by > 0 { "ahead" } else { "back" };
            let seconds = by.unsigned_abs() / 1_000_000_000;
            self.stepped = Some((boot, format!("the clock was set {way} by {seconds} seconds")));
        }
        self.stepped.take_if(|(at, _)| boot.since(*at) >= SEEN_FOR);
        self.stepped.as_ref().map(|(_, text)| text.clone())
    }
}

/// What lies between the clock that is set and the one that never is, in nanoseconds.
fn offset(clock: &Clock) -> i128 {
    let boot = i128::try_from(clock.boot().0.as_nanos()).unwrap_or(i128::MAX);
    clock.wall().as_nanosecond() - boot
}

#[cfg(test)]
mod tests {
    use policies::actions::Action;
    use policies::decide::Command;
    use policies::events::Event;
    use policies::requests::Matter;
    use policies::time::Seconds;
    use policies::vocabulary::Vocabulary;
    use recordings::disk::RealMachine;
    use recordings::log::{LogOptions, Purpose};
    use recordings::sim::{SimDisk, SimSigner};

    use super::*;
    use crate::feed::FeedParts;
    use crate::testing::{PLANT, Props, Stage, node};

    /// Of a stage on which nothing but the journal has anything to tell.
    fn lookout(stage: &Stage) -> Lookout {
        let options = LogOptions {
            segment_bytes: 1 << 20,
            spares: 0,
            ..LogOptions::new(Purpose::Records, "mill-3/records/node-1", node())
        };
        let (disk, signer) = (Arc::new(SimDisk::new(1)), Arc::new(SimSigner::new(1)));
        let (records, _) = Log::open(disk, Arc::new(RealMachine), "/records".as_ref(), options, signer).unwrap();
        let folder = stage.props.scratch.path();
        let feed = FeedParts {
            dir: folder.join("feed"),
            source: "m/n".into(),
            journal: "m/journal".into(),
            restored: 0,
            bytes_max: 64 << 10,
        };
        Lookout {
            alarms: Alarms::default(),
            desk: stage.desk.clone(),
            records: Arc::new(records),
            witnesses: Witnesses::new(Vec::new(), Vec::new()).unwrap(),
            deposits: None,
            certificates: Certificates::default(),
            headroom: Headroom::always(),
            feed: crate::feed::Feed::open(feed).unwrap().0,
            told: mpsc::channel(16).0,
            path: folder.join("alarms.json"),
        }
    }

    /// What stands of one kind after another look.
    fn look(lookout: &Lookout, kind: Kind) -> Vec<Standing> {
        lookout.settle(lookout.decided());
        lookout.alarms.standing().into_iter().filter(|alarm| alarm.kind == kind.as_str()).collect()
    }

    #[tokio::test]
    async fn an_objection_stands_for_a_day_and_until_somebody_saw_it() {
        let stage = Stage::new().await;
        let lookout = lookout(&stage);
        for (name, is_seen_at_once) in [("gus", true), ("gwen", false)] {
            stage.invite_guest(&stage.lead, name, Seconds(600)).await.unwrap();
            let guest = stage.desk.with_state(|state| *state.guests.keys().last().unwrap());
            stage.desk.act(Command::EndGuest { guest, by: stage.lead.person }).await.unwrap();
            assert_eq!((look(&lookout, Kind::Guest).len(), look(&lookout, Kind::Objection).len()), (1, 0));
            let verdict = stage.no(&stage.other_lead, Matter::Guest(guest)).await;
            stage.desk.act(Command::Vote { verdict }).await.unwrap();
            let [stands] = &look(&lookout, Kind::Objection)[..] else { panic!("one stands") };
            assert!(look(&lookout, Kind::Guest).is_empty(), "somebody looked back");
            let text = format!(
                "whoever looked back at the visit {guest} as a guest to robot-1 objects: it should not have been"
            );
            assert_eq!((stands.of.clone(), &stands.text), (Some(guest.to_string()), &text));
            let which = [(stands.kind, stands.of.as_deref(), stands.since)];
            let acknowledge = || {
                let seen = Acknowledged { by: stage.lead.person, at: stage.desk.clock().wall() };
                assert_eq!(lookout.alarms.acknowledge(&which, seen).len(), 1);
            };
            if is_seen_at_once {
                acknowledge();
            }
            stage.pass(Duration::from_secs(24 * 3_600 - 60));
            assert_eq!(look(&lookout, Kind::Objection).len(), 1, "each shift comes by it");
            stage.pass(Duration::from_secs(60));
            assert_eq!(look(&lookout, Kind::Objection).is_empty(), is_seen_at_once);
            if !is_seen_at_once {
                acknowledge();
                assert!(look(&lookout, Kind::Objection).is_empty());
            }
        }
    }

    #[tokio::test]
    async fn a_node_that_was_taken_for_gone_and_is_there_again_stands_until_somebody_saw_it() {
        let stage = Stage::new().await;
        let lookout = lookout(&stage);
        let node: NodeId = "gate-2".parse().unwrap();
        let append = async |event: Event| {
            let size = stage.desk.head().size;
            stage.props.journal.append(stage.desk.head(), &[event], stage.desk.clock().wall()).await.unwrap();
            stage.desk.changed(size).await;
        };
        let starts = || Event::NodeStarted { node: node.clone(), version: "1.0".into(), vocabulary: Vocabulary::THIS };
        append(starts()).await;
        append(Event::NodesForgotten { nodes: [node.clone()].into(), by: stage.admin.person }).await;
        assert!(look(&lookout, Kind::NodeBack).is_empty());
        append(starts()).await;
        let [stands] = &look(&lookout, Kind::NodeBack)[..] else { panic!("one stands") };
        assert_eq!(stands.of.as_deref(), Some("gate-2"));
        assert!(stands.text.contains("`holdpoint nodes forget gate-2`"), "{}", stands.text);
        stage.pass(Duration::from_secs(3_600));
        assert_eq!(look(&lookout, Kind::NodeBack).len(), 1, "nobody saw it");
        let seen = Acknowledged { by: stage.lead.person, at: stage.desk.clock().wall() };
        lookout.alarms.acknowledge(&[(stands.kind, stands.of.as_deref(), stands.since)], seen);
        assert!(look(&lookout, Kind::NodeBack).is_empty());
        append(starts()).await;
        assert!(look(&lookout, Kind::NodeBack).is_empty(), "a start like any");
    }

    #[tokio::test]
    async fn what_nobody_accepts_is_told_as_the_request_or_the_grant_that_it_is() {
        let hours: Vec<String> = (0..24).map(|hour| format!("\"{hour:02}:00\"")).collect();
        let shifts = format!("shifts = [{}]\naccept_within = \"5m\"\n[zones.packaging]", hours.join(", "));
        let rule = "unaccepted = \"freeze\"\nunaccepted_after = \"10m\"\nexclusive = \"none\"";
        let plant = PLANT.replacen("[zones.packaging]", &shifts, 1).replacen("exclusive = \"none\"", rule, 1);
        let stage = Stage::on(Props::new(), &plant).await;
        let lookout = lookout(&stage);
        let grant = stage.grant("plc-7", &[Action::Shell]).await;
        let request = stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
        let said = |id: RequestId| {
            let stand = look(&lookout, Kind::Unaccepted);
            stand.into_iter().find(|alarm| alarm.of == Some(id.to_string())).map(|alarm| alarm.text)
        };
        assert_eq!((said(grant), said(request)), (None, None));
        stage.pass(Duration::from_secs(3_600 + 300));
        let left = |what: &str, so: &str| {
            Some(format!("the shift changed, and the {what} waits for somebody to accept it: {so}"))
        };
        let (granted, asked) = (format!("grant {grant} for plc-7"), format!("request {request} for hmi-2"));
        let nobody = "nobody has accepted it";
        assert_eq!((said(grant), said(request)), (left(&granted, nobody), left(&asked, nobody)));
        let due = stage.desk.with_state(|state| state.next_handover(&state.cases[&grant]).unwrap().acts);
        stage.pass(Duration::from_secs(600));
        stage.desk.act(Command::LeaveUnaccepted { due: vec![(grant, due)] }).await.unwrap();
        assert_eq!(said(grant), left(&granted, "frozen until somebody does"));
    }

    #[test]
    fn a_clock_that_is_set_is_seen_for_a_while_and_one_that_runs_is_not() {
        let (clock, turn) = Clock::turned();
        let mut stepping = Stepping::begin(&clock);
        turn.pass(Duration::from_secs(3_600));
        assert_eq!(stepping.look(&clock), None);
        turn.wall(SignedDuration::from_secs(-90));
        assert_eq!(stepping.look(&clock).as_deref(), Some("the clock was set back by 90 seconds"));
        turn.pass(Duration::from_secs(599));
        assert!(stepping.look(&clock).is_some());
        turn.pass(Duration::from_secs(1));
        assert_eq!(stepping.look(&clock), None);
    }
}
