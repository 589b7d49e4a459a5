//! Telling people: of requests that wait, step by step as the rule's `tell` says, and of what nobody may mute. A notice
//! leads to a page and decides nothing; no reason, no work order and no code is in one. How it travels is beside:
//! e-mail, a webhook, a command of the operator's choice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certs::secrets::Secrets;
use certs::vault::Purpose;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use policies::companies::Concern;
use policies::events::Event;
use policies::ids::{CredentialName, GroupName, GuestId, PersonId, RequestId, SessionId, TargetName, VendorId};
use policies::people::Standing;
use policies::plant::Escort;
use policies::state::State;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::checked;
use crate::clock::Boot;
use crate::desk::{Alarm, Desk, Due, Waits};
use crate::feed::{self, Feed};
use crate::journal::Entry;
use crate::mint;
use crate::people::People;
use crate::spans::{Key, Span, Work};

pub mod command;
pub mod mail;
mod waiting;
pub mod webhook;

use waiting::{Kept, Queue, Waiting};

/// One thing people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The version of this form: 1.
    pub v: u8,
    /// Which; the same in each try.
    pub id: String,
    /// When it came up.
    pub at: Timestamp,
    /// Since when that stands which it is about, by the plant's clock.
    pub since: String,
    /// `request-waits`, `watch-wanted`, `emergency`, `guest`, `objection`, `cut`, `reopened`, `host-key-changed`,
    /// `transfer-runs-on`, `recorder-failed`, `secret`, `vendor`, `sign-in` or `gate`.
    #[serde(deserialize_with = "kind")]
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// The group that is told; nobody in particular where everybody is.
    pub group: Option<GroupName>,
    /// About which request.
    pub request: Option<RequestId>,
    /// The board is red with it.
    pub red: bool,
    /// The page where something can be done about it.
    pub link: String,
}

/// The word for what a notice is about.
pub type Kind = &'static str;

/// Every kind of notice.
const KINDS: [Kind; 14] = [
    "request-waits",
    "watch-wanted",
    "emergency",
    "guest",
    "objection",
    "cut",
    "reopened",
    "host-key-changed",
    "transfer-runs-on",
    "recorder-failed",
    "secret",
    "vendor",
    "sign-in",
    "gate",
];

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = KINDS.into_iter().find(|kind| *kind == text);
    known.ok_or_else(|| serde::de::Error::custom(format_args!("no kind of notice: {text}")))
}

/// The file that says how far the journal was told.
const TOLD: &str = "told";

/// The file that says of what sponsors were told and what stands still.
const SPONSORS: &str = "sponsors";

/// How far the journal was told.
enum Told {
    UpTo(u64),
    /// A disk has changed what was kept of it; from this head on it is known again.
    Unreadable(u64),
}

/// Somebody could not be told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotTold(pub String);

/// A secret that `holdpoint secret set` keeps, taken out each time it is needed, so that a new one counts at once.
#[derive(Clone)]
pub struct Sealed {
    /// Under which name it was set.
    pub credential: CredentialName,
    /// Whose directory keeps it.
    pub desk: Desk,
    /// What opens it.
    pub secrets: Secrets,
}

impl Sealed {
    /// Its text, without the line's end that an editor leaves.
    pub(crate) async fn text(&self) -> Result<Zeroizing<String>, NotTold> {
        let Self { credential, desk, secrets } = self;
        let found = desk.directory().credential(credential, secrets, Purpose::Gate).await;
        let secret = found.map_err(|fault| NotTold(fault.to_string()))?;
        let missing = || NotTold(format!("{credential} was never set: `holdpoint secret set {credential}`"));
        let secret = secret.ok_or_else(missing)?;
        Ok(Zeroizing::new(String::from_utf8_lossy(&secret).trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// A way to tell.
pub trait Notifier: Send + Sync {
    /// For the log.
    fn name(&self) -> &'static str;

    /// Tells once; bounded in time.
    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>>;
}

/// Tries, each after twice the wait of the one before: about half an hour in all.
const TRIES: u32 = 12;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// How often steps that became due are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often is looked for what sponsors should see to, which nobody waits for.
const SPONSORS_EVERY: Duration = Duration::from_secs(60);
/// So many things of a vendor are told in words at once.
const CONCERNS_TOLD: usize = 5;

/// What the notices are made from.
pub struct Notices {
    /// What stands, and what is due.
    pub desk: Desk,
    /// What nobody may mute, from the Desk.
    pub alarms: mpsc::Receiver<Alarm>,
    /// Names for identifiers.
    pub people: People,
    /// What links begin with: the plant face's origin.
    pub origin: String,
    /// Where it is recorded who was told of what.
    pub feed: Option<Feed>,
    /// Where notices are kept that wait, across a restart; nowhere, and a restart forgets them.
    pub folder: Option<PathBuf>,
}

impl Notices {
    /// Tells by these ways until `stop`, in tasks of `tracker`. Steps that were due before are told again after a restart:
    /// twice is better than never.
    pub fn start(self, ways: Vec<Arc<dyn Notifier>>, tracker: &TaskTracker, stop: &CancellationToken) {
        if let Some(folder) = &self.folder
            && let Err(cause) = fs::create_dir_all(folder)
        {
            tracing::error!(%cause, "notices that wait are kept nowhere: a gate that is killed forgets them");
        }
        if let Some(folder) = &self.folder {
            let names: Vec<_> = ways.iter().map(|way| way.name()).collect();
            waiting::forget_other_ways(folder, &names);
        }
        let queues = ways.into_iter().map(|way| {
            let waiting = Waiting::open(self.folder.as_deref(), way.name());
            for queue in waiting.queues() {
                let (stop, way) = (stop.clone(), Arc::clone(&way));
                tracker.spawn(async move { stop.run_until_cancelled(carry(way, queue)).await });
            }
            waiting
        });
        let queues = queues.collect();
        // Before the task gets its first turn: what is decided from here on is news.
        let told = self.told_up_to();
        let stop = stop.clone();
        tracker.spawn(async move { stop.run_until_cancelled(self.run(queues, told)).await });
    }

    async fn run(mut self, queues: Vec<Waiting>, told_up_to: Told) {
        let (mut told, mut reminded) = (BTreeSet::new(), BTreeSet::new());
        let mut heard = Heard { of: self.sponsors_heard(), looked: None, file: self.kept_in(SPONSORS) };
        let file = self.kept_in(TOLD);
        let (mut size, are_kept) = match told_up_to {
            Told::UpTo(size) => (size, true),
            Told::Unreadable(head) => {
                let text = "what was decided last before this start may not have been told: look at the journal";
                (head, self.send(&queues, &self.notice("gate", text.to_owned(), true)).await)
            }
        };
        // Of a new gate that is killed: what it decided first is news, too.
        if are_kept {
            keep_told(&file, size).await;
        }
        loop {
            tokio::select! {
                Some(alarm) = self.alarms.recv() => {
                    // With its cause, which is in no notice.
                    tracing::warn!(?alarm, "an alarm of the gate");
                    self.send(&queues, &self.of_alarm(&alarm)).await;
                }
                () = self.desk.changed(size) => {
                    let mut are_kept = true;
                    for notice in self.news(&mut size).await {
                        are_kept &= self.send(&queues, &notice).await;
                    }
                    if are_kept {
                        keep_told(&file, size).await;
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            for notice in self.steps(&mut told).await.into_iter().chain(self.reminders(&mut reminded)) {
                self.send(&queues, &notice).await;
            }
            self.tell_sponsors(&queues, &mut heard).await;
            for waiting in &queues {
                waiting.tell_dropped(|text| self.notice("gate", text, true)).await;
            }
        }
    }

    /// Up to where the journal was told when the gate stopped: what was decided since is news. The head, where nobody knows.
    fn told_up_to(&self) -> Told {
        let head = self.desk.head().size;
        let kept = match self.folder.as_ref().map(|folder| fs::read_to_string(folder.join(TOLD))) {
            None => return Told::UpTo(head),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Told::UpTo(head),
            Some(kept) => kept.unwrap_or_default(),
        };
        let size = checked::opened(&kept).and_then(|size| size.parse::<u64>().ok());
        size.map_or(Told::Unreadable(head), |size| Told::UpTo(size.min(head)))
    }

    fn kept_in(&self, name: &str) -> Kept {
        Kept::new(self.folder.as_ref().map(|folder| folder.join(name)))
    }

    /// Of what sponsors were told before the gate stopped. Where that cannot be read, they are told again.
    fn sponsors_heard(&self) -> BTreeSet<String> {
        let kept = self.folder.as_ref().and_then(|folder| fs::read_to_string(folder.join(SPONSORS)).ok());
        let kept = kept.as_deref().and_then(checked::opened).and_then(|text| serde_json::from_str(text).ok());
        kept.unwrap_or_default()
    }

    /// Whoever answers for a vendor hears once of each thing that they should see to, also across a restart.
    async fn tell_sponsors(&self, queues: &[Waiting], Heard { of: heard, looked, file }: &mut Heard) {
        let (now, boot) = (self.desk.clock().wall(), self.desk.clock().boot());
        if looked.is_some_and(|looked| boot.since(looked) < SPONSORS_EVERY) {
            return;
        }
        *looked = Some(boot);
        let (vendors, mut lasting) = self.desk.with_state(|state| (of_sponsors(state, now), ids_of_invited(state)));
        for (vendor, (_, concerns)) in &vendors {
            lasting.extend(concerns.iter().map(|concern| concern_id(vendor, concern)));
        }
        let before = heard.len();
        heard.retain(|id| lasting.contains(id));
        let mut is_news = heard.len() < before;
        for (vendor, (sponsor, mut concerns)) in vendors {
            concerns.retain(|concern| !heard.contains(&concern_id(&vendor, concern)));
            if concerns.is_empty() {
                continue;
            }
            let notice = self.of_concerns(&vendor, sponsor, &concerns).await;
            // What is not kept for them is told again at the next look.
            if self.send(queues, &notice).await {
                is_news = true;
                heard.extend(concerns.iter().map(|concern| concern_id(&vendor, concern)));
            }
        }
        if is_news {
            let bytes = || checked::sealed(&serde_json::to_string(heard).expect("texts are JSON")).into_bytes();
            if let Err(cause) = file.replace(bytes).await {
                tracing::warn!(%cause, "of what sponsors were told is not kept: after a restart they are told again");
            }
        }
    }

    /// One notice of all that is new of a vendor, so that no company fills the queue that nobody may mute.
    async fn of_concerns(&self, vendor: &VendorId, sponsor: PersonId, concerns: &[Concern]) -> Notice {
        let mut told = Vec::new();
        for concern in concerns.iter().take(CONCERNS_TOLD) {
            told.push(self.concern_in_words(*concern).await);
        }
        let more = match concerns.len().saturating_sub(CONCERNS_TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let text = format!("{}, who answers for {vendor}: {}{more}", self.people.shown(sponsor).await, told.join("; "));
        let id = concerns.first().map_or_else(mint::nonce, |concern| concern_id(vendor, concern));
        Notice { id, link: format!("{}/people", self.origin), ..self.notice("vendor", text, false) }
    }

    async fn concern_in_words(&self, concern: Concern) -> String {
        let clock = |at| self.desk.with_state(|state| state.clock(at));
        match concern {
            Concern::ContractEnds { end, days } => {
                let days = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
                format!("its contract ends {}, within {days}", clock(end))
            }
            Concern::ContractOver { end } => format!("its contract ended {}: nobody of it is let in", clock(end)),
            Concern::Dormant { person, since } => {
                let who = self.people.shown(person).await;
                format!("nothing was heard of {who} since {}: ask whether they still need to come", clock(since))
            }
            Concern::Unused { person, since } => {
                let who = self.people.shown(person).await;
                format!("{who} was invited {} and never used the code, which is void", clock(since))
            }
        }
    }

    /// To every way at once; whether it waits on the disk, too.
    async fn send(&self, queues: &[Waiting], notice: &Notice) -> bool {
        if notice.red {
            tracing::error!(kind = notice.kind, id = notice.id, "alarm: {}", notice.text);
        } else {
            tracing::info!(kind = notice.kind, id = notice.id, "notice: {}", notice.text);
        }
        if let Some(feed) = &self.feed {
            let (group, request) = (notice.group.as_ref(), notice.request.map(|request| request.to_string()));
            let group = group.map(GroupName::as_str);
            feed.tell(feed::Told::notice(notice.at, notice.kind, group, request.as_deref(), notice.red));
        }
        join_all(queues.iter().map(|waiting| waiting.push(notice))).await.into_iter().all(|is_kept| is_kept)
    }

    /// Steps of what waits that became due and were not told yet.
    async fn steps(&self, told: &mut BTreeSet<(Waits, usize)>) -> Vec<Notice> {
        let due = self.desk.due(self.desk.clock().wall());
        let standing: BTreeSet<_> = due.iter().map(|due| (due.waits, due.step)).collect();
        told.retain(|step| standing.contains(step));
        let mut notices = Vec::new();
        for due in due {
            if told.insert((due.waits, due.step)) {
                notices.push(self.of_due(due).await);
            }
        }
        notices
    }

    /// Of each secret that is to be set anew, once for each reason; that it is overdue is told as an alarm.
    fn reminders(&self, reminded: &mut BTreeSet<Reminder>) -> Vec<Notice> {
        let now = self.desk.clock().wall();
        let due: Vec<_> = self.desk.with_state(|state| {
            let due = state.rotations_due(now).into_iter().filter(|(_, need)| !need.is_overdue());
            due.map(|(rotation, need)| {
                let set = rotation.last.map(|last| last.at);
                let reminder = Reminder { secret: rotation.credential.clone(), need: need.as_str(), set };
                (reminder, rotation.in_words(now, |at| state.clock(at)))
            })
            .collect()
        });
        reminded.retain(|reminder| due.iter().any(|(stands, _)| stands == reminder));
        let new = due.into_iter().filter(|(reminder, _)| reminded.insert(reminder.clone()));
        new.map(|(reminder, text)| Notice { id: reminder.id(), ..self.notice("secret", text, false) }).collect()
    }

    async fn of_due(&self, due: Due) -> Notice {
        let found = self.desk.with_state(|state| {
            let case = state.cases.get(&due.waits.request())?;
            let (target, since) = (&case.request.target, |at| state.clock(at).to_string());
            let (asks, since) = match due.waits {
                Waits::Request(_) => {
                    let actions: Vec<&str> = case.request.actions.iter().map(|action| action.as_str()).collect();
                    let asks = format!("asks for {} at {target} for {}", actions.join(", "), case.request.duration);
                    (asks, since(case.submitted))
                }
                Waits::Ask(ask, _) => {
                    let ask = state.asks.get(&ask)?;
                    (format!("asks at {target} {}", state.asked_in_words(&ask.asked)), since(ask.at))
                }
            };
            Some((case.request.technician, asks, since))
        });
        let (text, since) = match found {
            Some((who, asks, since)) => (format!("{} {asks}", self.people.shown(who).await), Some(since)),
            None => ("a request waits".to_owned(), None),
        };
        let link = match due.waits {
            Waits::Request(request) => format!("{}/requests/{request}", self.origin),
            Waits::Ask(ask, _) => format!("{}/asks/{ask}", self.origin),
        };
        let notice = self.notice("request-waits", text, due.red);
        let since = since.unwrap_or_else(|| notice.since.clone());
        // The same after a restart, so that it waits once.
        let id = format!("{}-{}", due.waits, due.step);
        Notice { id, group: Some(due.group), request: Some(due.waits.request()), link, since, ..notice }
    }

    /// What was journaled since, as far as everybody must hear of it.
    async fn news(&self, size: &mut u64) -> Vec<Notice> {
        match self.desk.entries(*size).await {
            Ok(entries) => {
                *size = entries.last().map_or(*size, |entry| entry.index + 1);
                let mut notices = Vec::new();
                for entry in &entries {
                    notices.extend(self.of_start(entry).await);
                    notices.extend(self.of_guest(&entry.event).await);
                    notices.extend(self.of_objection(&entry.event).await);
                    notices.extend(self.of_way_in(&entry.event).await);
                    notices.extend(self.of_event(&entry.event));
                }
                notices
            }
            Err(error) => {
                tracing::warn!(%error, "notices wait for the journal");
                tokio::time::sleep(LOOK_EVERY).await;
                Vec::new()
            }
        }
    }

    /// Where the rule wants somebody to watch, they are told when work begins. Once for each grant, so that nobody fills
    /// the queue of notices by connecting again and again.
    async fn of_start(&self, entry: &Entry) -> Option<Notice> {
        let Event::Started { session, request, technician, target, .. } = &entry.event else { return None };
        let rule = self.desk.with_state(|state| {
            let case = state.cases.get(request).filter(|case| case.first_use == Some(entry.at));
            case.map(|case| case.rule.clone())
        })?;
        let wanted = watch_wanted(rule.escort, *session)?;
        let text = format!("{} works at {target} from now on. {wanted}", self.people.shown(*technician).await);
        let group = rule.tell.first().map(|tell| tell.group.clone());
        Some(Notice { group, request: Some(*request), ..self.notice("watch-wanted", text, false) })
    }

    /// Whom an operator invites at night, everybody hears of.
    async fn of_guest(&self, event: &Event) -> Option<Notice> {
        let Event::GuestInvited { invitation, rule, .. } = event else { return None };
        let statement = &invitation.statement;
        let (by, who) = (self.people.shown(statement.operator).await, self.people.shown(statement.person).await);
        let until = self.desk.with_state(|state| state.clock(statement.until));
        let text = format!(
            "{by} invited {who} of {} as a guest to {} until {until}, under rule {}; somebody must look back at it",
            statement.vendor, statement.target, rule.id
        );
        let link = format!("{}/guests/{}", self.origin, statement.guest);
        Some(Notice { link, ..self.notice("guest", text, true) })
    }

    /// Whoever looks back may say that it should not have been: everybody hears of it, and who did it and who answers for the
    /// vendor are named.
    async fn of_objection(&self, event: &Event) -> Option<Notice> {
        let (deed, objector) = match event {
            Event::Reviewed { request, by, objection: Some(_) } => (Deed::Emergency(*request), *by),
            Event::GuestReviewed { guest, by, objection: Some(_) } => (Deed::Guest(*guest), *by),
            Event::SessionReviewed { session, by, findings: Some(_) } => (Deed::Session(*session), *by),
            _ => return None,
        };
        let of = self.desk.with_state(|state| Concerned::of(state, deed))?;
        let mut doers = Vec::new();
        for doer in of.doers {
            doers.push(self.people.shown(doer).await);
        }
        let [objector, whose] = [self.people.shown(objector).await, self.people.shown(of.whose).await];
        let (doers, vendor, target) = (doers.join(", "), &of.vendor, &of.target);
        let what = match deed {
            Deed::Emergency(_) => format!("the emergency grant for {whose} of {vendor} at {target}, given by {doers}"),
            Deed::Guest(_) => format!("the visit of {whose} of {vendor} as a guest to {target}, invited by {doers}"),
            Deed::Session(_) => format!("the session of {whose} of {vendor} at {target}, approved by {doers}"),
        };
        let against = match deed {
            Deed::Emergency(_) | Deed::Guest(_) => "objects: it should not have been",
            Deed::Session(_) => "found something",
        };
        let sponsor = match of.sponsor {
            Some(sponsor) => format!("; {} answers for {vendor}", self.people.shown(sponsor).await),
            None => String::new(),
        };
        let text = format!("{objector} looked back at {what}, and {against}{sponsor}");
        let (link, request) = match deed {
            Deed::Emergency(request) => (format!("{}/requests/{request}", self.origin), Some(request)),
            Deed::Guest(guest) => (format!("{}/guests/{guest}", self.origin), None),
            Deed::Session(session) => (format!("{}/sessions/{session}", self.origin), None),
        };
        Some(Notice { request, link, ..self.notice("objection", text, true) })
    }

    /// That somebody signs in in one more way from now on. Whoever has their way in may have made it.
    async fn of_way_in(&self, event: &Event) -> Option<Notice> {
        let (person, how) = match event {
            Event::KeyAdded { person, .. } => (*person, "with one more key".to_owned()),
            Event::SubjectLinked { person, provider, .. } => (*person, format!("by an account of {provider}")),
            Event::PasswordSet { person } => (*person, "with a password set just now".to_owned()),
            _ => return None,
        };
        let sponsor = self.desk.with_state(|state| {
            let vendor = state.vendor_of(person)?;
            Some((vendor.clone(), state.contracts.get(vendor)?.sponsor))
        });
        let of = match sponsor {
            Some((vendor, sponsor)) => {
                format!(" of {vendor}, for which {} answers,", self.people.shown(sponsor).await)
            }
            None => String::new(),
        };
        let who = self.people.shown(person).await;
        let text = format!(
            "{who}{of} signs in {how} from now on. Ask {who} whether it was they; if not, put them out at once"
        );
        let link = format!("{}/people/{person}", self.origin);
        Some(Notice { link, ..self.notice("sign-in", text, false) })
    }

    fn of_event(&self, event: &Event) -> Option<Notice> {
        match event {
            Event::Granted { request } => {
                let emergency = self.desk.with_state(|state| {
                    state.cases.get(request).filter(|case| case.asked.emergency).map(|case| case.request.target.clone())
                });
                let text = format!("an emergency grant for {} was given; somebody must look back at it", emergency?);
                let link = format!("{}/requests/{request}", self.origin);
                Some(Notice { request: Some(*request), link, ..self.notice("emergency", text, true) })
            }
            Event::Cut { cut, .. } => {
                Some(self.notice("cut", format!("cut {cut} was made; it stands until it is reopened"), false))
            }
            Event::Reopened { reopening, .. } => {
                Some(self.notice("reopened", format!("cut {} was reopened", reopening.cut), false))
            }
            Event::HostKeyMismatch { target, service, .. } => {
                let text =
                    format!("{target} ({service}) showed another host key than the pinned one, and nobody was let in");
                Some(self.notice("host-key-changed", text, true))
            }
            Event::TransferRunsOn { session, until } => {
                let (target, until) = self
                    .desk
                    .with_state(|state| Some((state.sessions.get(session)?.target.clone(), state.clock(*until))))?;
                let text = format!(
                    "a program transfer to {target} outlives its session's time; it is let finish until {until} at most"
                );
                Some(self.notice("transfer-runs-on", text, true))
            }
            Event::RecorderFailed { node } => {
                Some(self.notice("recorder-failed", format!("the recorder of {node} failed: its sessions end"), true))
            }
            _ => None,
        }
    }

    fn of_alarm(&self, alarm: &Alarm) -> Notice {
        let (text, red) = match alarm {
            Alarm::CutNotJournaled { cut, on_disk: true } => {
                (format!("cut {cut} acts and is on the disk; the journal did not take it yet"), true)
            }
            Alarm::CutNotJournaled { cut, on_disk: false } => {
                (format!("cut {cut} acts, but neither journal nor disk took it: it ends with the program"), true)
            }
            Alarm::EndingLost(session) => (format!("the end of {session} could not be journaled"), true),
            Alarm::JournalDown(_) => ("the journal does not answer: nobody is admitted, cuts work".to_owned(), true),
            Alarm::JournalUp => ("the journal answers again".to_owned(), false),
            Alarm::UnknownEvent(_) => ("the journal is of a newer version: nobody is admitted".to_owned(), true),
            Alarm::WitnessLost { witness, .. } => {
                (format!("the witness {witness} does not cosign: nobody outside remembers what is decided now"), true)
            }
            Alarm::WitnessRefuses { witness, why } => {
                (format!("the witness {witness} refuses, because this gate was set back or runs twice: {why}"), true)
            }
            Alarm::WitnessBack { witness } => (format!("the witness {witness} cosigns again"), false),
            Alarm::Raised(text) => (text.clone(), true),
            Alarm::Cleared(text) => (format!("no longer: {text}"), false),
            Alarm::StoreFillsUp => {
                ("the disk for recordings is filling up: below what is reserved nobody new is let in".to_owned(), true)
            }
        };
        self.notice("gate", text, red)
    }

    fn notice(&self, kind: Kind, text: String, red: bool) -> Notice {
        let (id, at, link) = (mint::nonce(), self.desk.clock().wall(), self.origin.clone());
        let since = self.desk.with_state(|state| state.clock(at)).to_string();
        Notice { v: 1, id, at, since, kind, text, group: None, request: None, red, link }
    }
}

/// That a secret is to be set anew, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reminder {
    secret: CredentialName,
    need: &'static str,
    set: Option<Timestamp>,
}

impl Reminder {
    /// The same after a restart, so that it waits once.
    fn id(&self) -> String {
        let set = self.set.map_or(0, Timestamp::as_second);
        format!("secret-{}-{}-{set}", self.secret, self.need)
    }
}

/// What somebody else looks back at than whoever brought it about.
#[derive(Clone, Copy)]
enum Deed {
    Emergency(RequestId),
    Guest(GuestId),
    Session(SessionId),
}

/// Whom it concerns.
struct Concerned {
    doers: Vec<PersonId>,
    whose: PersonId,
    vendor: VendorId,
    target: TargetName,
    /// Who answers for the vendor.
    sponsor: Option<PersonId>,
}

impl Concerned {
    fn of(state: &State, deed: Deed) -> Option<Self> {
        let (doers, whose, vendor, target) = match deed {
            Deed::Emergency(request) => {
                let case = state.cases.get(&request)?;
                let whose = case.asked.technician;
                (case.approvers().collect(), whose, state.vendor_of(whose)?, &case.request.target)
            }
            Deed::Guest(guest) => {
                let statement = &state.guests.get(&guest)?.statement;
                (vec![statement.operator], statement.person, &statement.vendor, &statement.target)
            }
            Deed::Session(session) => {
                let facts = state.sessions.get(&session)?;
                let doers = BTreeSet::from_iter(state.approvers_of(facts.request)).into_iter().collect();
                (doers, facts.technician, state.vendor_of(facts.technician)?, &facts.target)
            }
        };
        let sponsor = state.contracts.get(vendor).map(|contract| contract.sponsor);
        Some(Self { doers, whose, vendor: vendor.clone(), target: target.clone(), sponsor })
    }
}

/// Of what sponsors were told, and when it was last looked whether there is more: not at each entry of the journal.
struct Heard {
    of: BTreeSet<String>,
    looked: Option<Boot>,
    file: Kept,
}

/// How far the journal was told, once all that was told of it waits on the disk.
async fn keep_told(file: &Kept, size: u64) {
    if let Err(cause) = file.replace(|| checked::sealed(&size.to_string()).into_bytes()).await {
        tracing::warn!(%cause, "how far was told is not kept: after a restart something is told twice, or not at all");
    }
}

/// What sponsors should see to, by vendor.
fn of_sponsors(state: &State, now: Timestamp) -> BTreeMap<VendorId, (PersonId, Vec<Concern>)> {
    let of_vendor = |(vendor, concerns): (VendorId, Vec<Concern>)| {
        let sponsor = state.contracts.get(&vendor)?.sponsor;
        Some((vendor, (sponsor, concerns)))
    };
    state.concerns(now).into_iter().filter_map(of_vendor).collect()
}

/// That somebody did not use their code is told once until they enrol, however often they are invited again.
fn ids_of_invited(state: &State) -> BTreeSet<String> {
    let invited = state.people.values().filter(|person| person.standing == Standing::Invited);
    invited.map(|person| unused_id(person.id)).collect()
}

/// What names a concern for as long as it stands.
fn concern_id(vendor: &VendorId, concern: &Concern) -> String {
    match concern {
        Concern::ContractEnds { end, days } => format!("{vendor}-ends-{end}-{days}"),
        Concern::ContractOver { end } => format!("{vendor}-over-{end}"),
        Concern::Dormant { person, since } => format!("{person}-dormant-{since}"),
        Concern::Unused { person, .. } => unused_id(*person),
    }
}

fn unused_id(person: PersonId) -> String {
    format!("{person}-unused")
}

fn watch_wanted(escort: Escort, session: SessionId) -> Option<String> {
    match escort {
        Escort::None => None,
        Escort::Watch => Some(format!("Somebody is to watch: holdpoint watch {session}")),
        Escort::Required => Some(format!(
            "Their input waits until somebody watches and says that they are there: holdpoint watch {session}"
        )),
    }
}

/// Carries notices by one way in their order, each until it arrived or was tried often enough.
async fn tell(way: &dyn Notifier, notice: &Notice) -> Result<(), NotTold> {
    let telling = Span::begin(Work::Notice);
    telling.set(Key::Way, way.name());
    let told = telling.around(way.notify(notice)).await;
    if told.is_err() {
        telling.failed("not told");
    }
    told
}

async fn carry(way: Arc<dyn Notifier>, waiting: Queue) {
    loop {
        let notice = waiting.next().await;
        let mut wait = FIRST_WAIT;
        for left in (0..TRIES).rev() {
            match tell(&*way, &notice).await {
                Ok(()) => break,
                Err(cause) if left == 0 => {
                    tracing::error!(way = way.name(), id = notice.id, %cause, "a notice was given up");
                }
                Err(cause) => {
                    tracing::warn!(way = way.name(), id = notice.id, %cause, "a notice is tried again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAIT_MAX);
                }
            }
        }
        waiting.settle(&notice).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    pub(super) fn notice(id: &str, group: Option<&str>, text: &str) -> Notice {
        Notice {
            v: 1,
            id: id.into(),
            at: Timestamp::UNIX_EPOCH,
            since: "2026-11-22 14:03".into(),
            kind: "request-waits",
            text: text.into(),
            group: group.map(|group| group.parse().unwrap()),
            request: None,
            red: true,
            link: "https://holdpoint.mill3.local/requests/r_1".into(),
        }
    }

    /// Takes all but one, and says when it was asked.
    struct Refuses(&'static str, Mutex<Vec<(String, tokio::time::Instant)>>);

    impl Notifier for Refuses {
        fn name(&self) -> &'static str {
            "refuses"
        }

        fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
            self.1.lock().unwrap().push((notice.id.clone(), tokio::time::Instant::now()));
            let answer = if notice.id == self.0 { Err(NotTold("never".into())) } else { Ok(()) };
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_is_tried_again_ever_later_then_given_up_and_the_next_arrives_after_it() {
        let waiting = Waiting::open(None, "test");
        for id in ["first", "never", "last"] {
            waiting.push(&notice(id, None, "x")).await;
        }
        let [everybody, _] = waiting.queues();
        let way = Arc::new(Refuses("never", Mutex::default()));
        let carrying = tokio::spawn(carry(Arc::clone(&way) as Arc<dyn Notifier>, everybody));
        let asked = || way.1.lock().unwrap().clone();
        while asked().last().is_none_or(|(id, _)| id != "last") {
            tokio::time::sleep(WAIT_MAX).await;
        }
        carrying.abort();
        let asked = asked();
        let ids: Vec<&str> = asked.iter().map(|(id, _)| id.as_str()).collect();
        let tries = usize::try_from(TRIES).unwrap();
        assert_eq!(ids, [&["first"][..], &vec!["never"; tries], &["last"]].concat());
        let pauses: Vec<_> = asked[1..=tries].windows(2).map(|two| two[1].1 - two[0].1).collect();
        assert!(pauses[0] >= FIRST_WAIT && pauses[0] < FIRST_WAIT * 2, "{pauses:?}");
        assert!(pauses.windows(2).all(|two| two[0] <= two[1]) && pauses[tries - 2] >= WAIT_MAX, "{pauses:?}");
    }
}
