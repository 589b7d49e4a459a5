//! Alarms: what stands and must be looked after, each raised once and cleared once. What stands is worked out anew from what
//! is, each second; what changed is told in the feed, and people are told of what nothing else tells them. Nobody can mute
//! one: it goes when its cause does. Who is there says that they saw it, and its sound stops.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policies::ids::{PersonId, RequestId};
use policies::state::RequestStanding;
use recordings::log::{Log, RoomState};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::certificates::Certificates;
use crate::checked;
use crate::clock::{Boot, Clock};
use crate::desk::{Alarm, Desk, Waits};
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
    /// A cut stands.
    Cut "cut" false,
    /// A request waits although everybody was told.
    Unanswered "unanswered" false,
    /// The shift changed, and nobody accepts what it left.
    Unaccepted "unaccepted" true,
    /// A witness does not cosign.
    Witness "witness" false,
    /// The certificate that was given to a face ends, or cannot be shown.
    Certificate "certificate" true,
    /// A receiver of the feed misses events for good, and has not caught up since.
    FeedLost "feed-lost" true,
    /// A receiver of the feed takes nothing.
    FeedBehind "feed-behind" false,
    /// No plant file is in force.
    NoPlant "no-plant" false,
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
        for standing in self.witnesses.standings() {
            if let Some(trouble) = &standing.trouble {
                let text = format!("the witness {} does not cosign: {}", standing.name, trouble.words());
                stands(Kind::Witness, Some(standing.name), text);
            }
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
            for cut in state.cuts.keys() {
                stands(Kind::Cut, Some(cut.to_string()), format!("cut {cut} stands"));
            }
            for (request, case) in state.cases.iter().filter(|(_, case)| case.wants_review()) {
                stands(Kind::Emergency, Some(request.to_string()), emergency(*request, &case.request.target));
            }
            for (guest, visit) in state.guests.iter().filter(|(_, visit)| visit.wants_review(now)) {
                stands(Kind::Guest, Some(guest.to_string()), guest_gone(*guest, &visit.statement.target));
            }
            for (request, case) in &state.cases {
                let handover = state.handover(case, now).filter(|handover| case.unaccepted || handover.red <= now);
                if handover.is_some() {
                    stands(Kind::Unaccepted, Some(request.to_string()), unaccepted(*request, case));
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
                let text = format!("{} of the feed misses events for good: it took them too slowly", receiver.name);
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
    use super::*;

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
