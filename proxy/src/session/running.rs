//! A running session: one loop, every arm of it a reason to go on or an ending. The Desk says what holds, the clock when
//! it is over, the channels what happened; what follows from an ending is in `ending`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use approver::clock::Boot;
use approver::floor::Shown;
use approver::lease::{Deadline, Frozen, Lease, Order, Orders, Warning};
use approver::people::CodeNotTaken;
use approver::spans::{self, Key, Span, Work};
use certs::proof::Authenticated;
use certs::totp::SpentCode;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use policies::decide::Command;
use policies::events::Ending;
use policies::ids::{ServiceName, TargetName};
use policies::plant::IdleEnding;
use policies::time::Seconds;
use recordings::fault::StoreFault;
use recordings::leaf::Account;
use recordings::notes::Note;
use recordings::words::Words;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use super::channels::{ChannelFault, Channels, Closed, Shared, Way};
use super::texts::Place;
use super::witness::{Seen, Witness};
use super::{Hold, SessionsParts, VendorChannel, VendorLine};
use crate::floor::{Presence, StoppedBy, Telling};
use crate::flow::QueueFault;
use crate::ssh::channel::CarryFault;
use crate::ssh::target::TargetFault;

/// A session that runs.
pub(super) struct Running {
    pub(super) parts: Arc<SessionsParts>,
    /// The only owner of it, but for whoever connects to the target just now.
    pub(super) lease: Arc<Lease>,
    pub(super) witness: Arc<Witness>,
    pub(super) presence: Presence,
    pub(super) place: Place,
    pub(super) line: VendorLine,
    pub(super) channels: Channels,
    pub(super) accounts: Vec<Account>,
    pub(super) inbox: Inbox,
    who: Arc<Authenticated>,
    orders: Orders,
    obeyed: Order,
    warnings: Vec<Warning>,
    pub(super) notes: FuturesUnordered<BoxFuture<'static, Result<(), StoreFault>>>,
    lock: Lock,
    left: bool,
    target_lost: bool,
}

/// What reaches a session from outside.
pub(super) struct Inbox {
    /// Channels that the technician opened; closed when they left.
    pub(super) channels: mpsc::Receiver<Box<VendorChannel>>,
    /// Lines that the technician is to be told.
    pub(super) told: mpsc::Receiver<Telling>,
    /// Codes typed on a locked terminal.
    pub(super) codes: mpsc::Receiver<Zeroizing<String>>,
    /// Where the end is told, when everything is done.
    pub(super) ended: watch::Sender<Option<Ending>>,
}

/// Whether the terminals are locked because nobody typed anything.
enum Lock {
    Open,
    Shut { since: Boot },
    Checking { since: Boot, answer: BoxFuture<'static, Result<SpentCode, CodeNotTaken>> },
}

impl Running {
    /// Nothing is connected yet.
    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and this is their one meeting place")]
    pub(super) fn new(
        parts: Arc<SessionsParts>,
        lease: Arc<Lease>,
        witness: Arc<Witness>,
        presence: Presence,
        place: Place,
        way: Way,
        line: VendorLine,
        who: Arc<Authenticated>,
        inbox: Inbox,
    ) -> Self {
        let orders = lease.orders();
        let (witnessed, told) = (Arc::clone(&witness), presence.live.told.clone());
        let shared = Shared {
            witness: witnessed,
            way,
            orders: orders.clone(),
            place: place.clone(),
            told,
            checks: lease.rule().file_check.as_ref().map(|check| parts.staging.checks(check, lease.target())),
            counts: parts.desk.counts().clone(),
            lease: Arc::downgrade(&lease),
        };
        let obeyed = Order { frozen: None, watchers: BTreeSet::new(), ..orders.now() };
        let warnings = warnings_from(&lease, parts.desk.clock().boot());
        Self {
            channels: Channels::new(shared),
            accounts: Vec::new(),
            notes: FuturesUnordered::new(),
            lock: Lock::Open,
            left: false,
            target_lost: false,
            parts,
            lease,
            witness,
            presence,
            place,
            line,
            who,
            orders,
            obeyed,
            warnings,
            inbox,
        }
    }

    /// Why the lease is over, if it is. Whoever ends it says so before the connections to the target are cut, so what else those
    /// came to is no reason of its own.
    pub(super) fn lease_is_over(&self) -> Option<Ending> {
        self.orders.now().over
    }

    /// Where it leads.
    pub(super) fn leads_to(&self) -> (TargetName, ServiceName) {
        (self.lease.target().clone(), self.lease.service().clone())
    }

    /// Connects to the target, unless the session is over before.
    pub(super) async fn first_connection(&mut self) -> Result<(), (Ending, Option<TargetFault>)> {
        let mut cut = self.presence.live.over.subscribe();
        let channels = &self.channels;
        let fault = tokio::select! {
            biased;
            ending = self.orders.over() => return Err((ending, None)),
            ending = is_over(&mut cut) => return Err((ending, None)),
            () = self.parts.stop.cancelled() => return Err((Ending::Shutdown, None)),
            connected = channels.warm() => match connected {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            },
        };
        match (fault, self.lease_is_over()) {
            (changed @ TargetFault::HostKey { .. }, _) => Err((Ending::HostKeyChanged, Some(changed))),
            (_, Some(ending)) => Err((ending, None)),
            (fault, None) => Err((Ending::TargetUnreachable, Some(fault))),
        }
    }

    /// What times it, from now on.
    pub(super) fn span(&self, place: &spans::Place) -> Span {
        let span = Span::under(place, Work::Session);
        span.set(Key::Session, &self.lease.session());
        span.set(Key::Person, &self.lease.technician());
        span.set(Key::Request, &self.lease.grant());
        span.set(Key::Target, self.lease.target());
        span.set(Key::Service, self.lease.service());
        span
    }

    /// Runs it to its end, sealed and journaled.
    pub(super) async fn run(mut self, span: Span) {
        let ending = self.attend().await;
        let ending = span.around(Box::pin(self.end(ending))).await;
        span.set(Key::Ending, ending);
    }

    async fn attend(&mut self) -> Ending {
        let mut cut = self.presence.live.over.subscribe();
        let mut slow = self.presence.live.slow.subscribe();
        let mut unrecorded = self.witness.stopped().boxed();
        let clock = self.parts.desk.clock().clone();
        let stop = self.parts.stop.clone();
        loop {
            self.obey();
            let due = self.next_due();
            let ending = tokio::select! {
                biased;
                ending = is_over(&mut cut) => Some(ending),
                order = self.orders.changed() => order.over,
                () = &mut unrecorded => Some(Ending::RecorderFailed),
                () = stop.cancelled() => Some(Ending::Shutdown),
                Some(noted) = self.notes.next() => noted.is_err().then_some(Ending::RecorderFailed),
                closed = self.channels.closed() => self.closed(closed),
                channel = self.inbox.channels.recv(), if !self.left => self.opened(channel),
                Some(telling) = self.inbox.told.recv() => self.tell(telling),
                Some(code) = self.inbox.codes.recv() => self.check(code),
                answer = self.lock.answered() => self.answered(answer),
                Ok(()) = slow.changed() => self.recorder_is(*slow.borrow_and_update()),
                () = clock.sleep_until(due) => self.by_the_clock(clock.boot()),
            };
            if let Some(ending) = ending.or_else(|| self.gone()) {
                return ending;
            }
        }
    }

    /// Brings the session in line with what the Desk says now, and tells the technician what changed.
    fn obey(&mut self) {
        let order = self.orders.now();
        if order.frozen != self.obeyed.frozen {
            self.presence.live.frozen.set(StoppedBy::Order, order.frozen.is_some());
            let text = self.place.frozen(order.frozen, self.obeyed.frozen);
            if order.frozen.is_none() {
                // Who could give no input was not idle.
                self.seen().touch();
            }
            self.record(&Note::Freeze { frozen: order.frozen.is_some(), reason: text.as_str().into() });
            self.say(&text);
        }
        if order.deadline != self.obeyed.deadline {
            self.warnings = warnings_from(&self.lease, self.parts.desk.clock().boot());
            self.say(&self.place.deadline_moved(order.deadline));
        }
        if let Some(finishing) = order.finishing.filter(|_| self.obeyed.finishing.is_none()) {
            self.runs_on(finishing);
        }
        let came = &order.watchers - &self.obeyed.watchers;
        let left = &self.obeyed.watchers - &order.watchers;
        let all = came.into_iter().map(|who| (who, true)).chain(left.into_iter().map(|who| (who, false)));
        for (who, watching) in all {
            self.record(&Note::Watch { operator: who.to_string().as_str().into(), watching });
        }
        self.obeyed = order;
    }

    /// The time is over, and a program transfer is let finish: that is told, recorded, and an alarm.
    fn runs_on(&self, until: Deadline) {
        let text = self.place.transfer_finishes(until);
        self.record(&Note::Notice { text: text.clone() });
        self.say(&text);
        self.journal(Command::ReportTransfer { session: self.lease.session(), until: until.wall });
    }

    /// Has it journaled what the session did by itself. It does not wait for that: what is known here is known already.
    fn journal(&self, command: Command) {
        let (desk, session) = (self.parts.desk.clone(), self.lease.session());
        self.parts.tracker.spawn(async move {
            if let Err(rejected) = desk.act(command).await {
                tracing::error!(%session, %rejected, "what a session did by itself could not be journaled");
            }
        });
    }

    /// Says a line to the technician, wherever it can be read.
    fn say(&self, text: &str) {
        self.pass_on(Telling::of(text));
    }

    /// The same, and tells whoever wants to know where that was. What stands on a page's terminal is told beside it by the channel.
    fn pass_on(&self, telling: Telling) {
        let Telling { text, mut wanted } = telling;
        let terminals = self.channels.say(&text);
        if terminals > 0 {
            Telling::shown(wanted.take(), Shown::OnTerminals(terminals));
            if self.line.is_page {
                return;
            }
        }
        let Hold::Channels { told } = &self.line.hold else { return };
        if told.try_send(Telling { text, wanted }).is_err() {
            tracing::debug!("a technician who is told too much, or reads nothing, misses a line");
        }
    }

    fn opened(&mut self, channel: Option<Box<VendorChannel>>) -> Option<Ending> {
        match channel {
            Some(channel) => self.channels.carry(*channel, self.presence.live.frozen.subscribe()),
            None => self.left = true,
        }
        None
    }

    /// What a channel's end means for the session: most mean nothing.
    fn closed(&mut self, closed: Closed) -> Option<Ending> {
        self.accounts.extend(closed.accounts);
        match closed.end {
            Ok(_) => None,
            Err(ChannelFault::Carried(CarryFault::Recording(_)) | ChannelFault::Lost) => Some(Ending::RecorderFailed),
            Err(ChannelFault::Carried(
                CarryFault::Vendor(QueueFault::Stalled) | CarryFault::TargetStuck | CarryFault::FrozenTooLong,
            )) => None,
            Err(ChannelFault::Carried(CarryFault::Vendor(_) | CarryFault::Target(_))) => Some(Ending::Overrun),
            Err(ChannelFault::Carried(CarryFault::TargetLost)) => {
                self.target_lost = true;
                None
            }
            Err(ChannelFault::Target(TargetFault::HostKey { .. })) => Some(Ending::HostKeyChanged),
            Err(ChannelFault::Target(fault)) => {
                tracing::info!(session = %self.lease.session(), %fault, "a channel found no target");
                None
            }
        }
    }

    /// Over, once the technician has left and everything they began is done.
    fn gone(&self) -> Option<Ending> {
        let is_done = self.left && self.channels.count() == 0;
        is_done.then(|| match self.target_lost {
            true => Ending::TargetClosed,
            false if self.presence.live.legs.reached_nobody() => Ending::TargetUnreachable,
            false => Ending::Left,
        })
    }

    /// In it may stand what somebody else wrote.
    fn tell(&mut self, Telling { text, wanted }: Telling) -> Option<Ending> {
        // Nobody reads the bytes back out of it, so that a backslash stands for itself.
        let text = Words::from(text.as_str()).to_string().replace(r"\x5c", r"\");
        match wanted {
            Some(wanted) => self.tell_for(text, wanted),
            None => self.say(&text),
        }
        None
    }

    /// What an operator wrote is recorded, with whether somebody could read it.
    fn tell_for(&self, text: String, wanted: oneshot::Sender<Shown>) {
        let (asked, answer) = oneshot::channel();
        self.pass_on(Telling { text: text.clone(), wanted: Some(asked) });
        let witness = Arc::clone(&self.witness);
        let noted = async move {
            let shown = answer.await.unwrap_or(Shown::Nowhere);
            Telling::shown(Some(wanted), shown);
            let text = if shown == Shown::Nowhere { format!("{text} {NOT_SHOWN}") } else { text };
            witness.record(SESSION, &Note::Notice { text }).await
        };
        self.notes.push(noted.boxed());
    }

    fn recorder_is(&mut self, slow: bool) -> Option<Ending> {
        self.channels.hold(slow);
        let text = if slow { self.place.recording_is_slow() } else { self.place.recording_caught_up() };
        self.say(&text);
        None
    }

    /// When something changes by the clock alone: a warning, idleness, the end of a lock. The deadline itself is the
    /// Desk's to watch, since it moves.
    fn next_due(&self) -> Boot {
        let idle = self.idle_since().after(self.place.idle.duration());
        self.warnings.first().map_or(idle, |warning| warning.at.min(idle))
    }

    /// A lock lasts as long again as it took to get there.
    fn idle_since(&self) -> Boot {
        match self.lock {
            Lock::Open => self.seen().last_input(),
            Lock::Shut { since } | Lock::Checking { since, .. } => since,
        }
    }

    fn by_the_clock(&mut self, now: Boot) -> Option<Ending> {
        let due = self.warnings.iter().take_while(|warning| warning.at <= now).count();
        let warning = self.warnings.drain(..due).next_back();
        if let Some(warning) = warning {
            let left = self.obeyed.deadline.boot.since(now).min(warning.left);
            let text = self.place.time_left(left, self.obeyed.deadline);
            self.say(&text);
            let left = Seconds(u32::try_from(left.as_secs()).unwrap_or(u32::MAX));
            self.journal(Command::ReportWarning { session: self.lease.session(), left });
        }
        if self.seen().is_transferring() || self.waits_for_an_operator() {
            self.seen().touch();
            return None;
        }
        if now < self.idle_since().after(self.place.idle.duration()) {
            return None;
        }
        match self.lock {
            Lock::Open if self.can_lock() => self.shut(now),
            _ => return Some(Ending::Idle),
        }
        None
    }

    /// Whether the technician can give no input until an operator does something: that is no idleness of theirs.
    fn waits_for_an_operator(&self) -> bool {
        match self.obeyed.frozen {
            Some(Frozen::ByOperator | Frozen::NobodyWatches | Frozen::NotAccepted) => true,
            Some(Frozen::TimeIsUp) | None => false,
        }
    }

    /// A lock that nobody could open again would only be a slow ending.
    fn can_lock(&self) -> bool {
        self.lease.rule().idle_ending == IdleEnding::Lock && self.who.key().is_some() && self.channels.has_terminal()
    }

    fn shut(&mut self, now: Boot) {
        self.seen().lock(true);
        self.presence.live.frozen.set(StoppedBy::Idleness, true);
        self.lock = Lock::Shut { since: now };
        let text = self.place.locked();
        self.record(&Note::Freeze { frozen: true, reason: text.as_str().into() });
        self.say(&text);
        self.journal(Command::ReportIdle { session: self.lease.session(), locked: true });
    }

    fn check(&mut self, code: Zeroizing<String>) -> Option<Ending> {
        let Lock::Shut { since } = &self.lock else { return None };
        let (people, who) = (self.parts.people.clone(), Arc::clone(&self.who));
        let answer = async move { people.check_code_on_lock(&who, &code).await }.boxed();
        self.lock = Lock::Checking { since: *since, answer };
        None
    }

    fn answered(&mut self, answer: Result<SpentCode, CodeNotTaken>) -> Option<Ending> {
        match answer {
            Ok(_spent) => {
                self.seen().touch();
                self.seen().lock(false);
                self.presence.live.frozen.set(StoppedBy::Idleness, false);
                self.lock = Lock::Open;
                let text = self.place.unlocked();
                self.record(&Note::Freeze { frozen: false, reason: text.as_str().into() });
                self.say(&text);
                self.journal(Command::ReportIdle { session: self.lease.session(), locked: false });
            }
            Err(not_taken) => {
                self.lock = Lock::Shut { since: self.idle_since() };
                self.say(&self.place.still_locked(&not_taken));
            }
        }
        None
    }

    /// Records a fact of the session itself. What could not be recorded comes back as its end.
    pub(super) fn record(&self, note: &Note) {
        self.notes.push(self.witness.record(SESSION, note).boxed());
    }

    fn seen(&self) -> &Arc<Seen> {
        self.witness.seen()
    }
}

/// What the recording has behind a line of an operator that nobody could read.
const NOT_SHOWN: &str = "(NOT SHOWN: nobody read lines of this session)";

/// The number of no channel: what happens to the session as a whole.
const SESSION: u32 = 0;

impl Lock {
    /// The answer to the code that is being checked; never, while none is. May be dropped and called again.
    async fn answered(&mut self) -> Result<SpentCode, CodeNotTaken> {
        match self {
            Self::Checking { answer, .. } => answer.await,
            _ => std::future::pending().await,
        }
    }
}

/// Waits until others have ended the session.
async fn is_over(cut: &mut watch::Receiver<Option<Ending>>) -> Ending {
    let ending = cut.wait_for(Option::is_some).await.ok().and_then(|ending| ending.clone());
    match ending {
        Some(ending) => ending,
        None => std::future::pending().await,
    }
}

/// The warnings that still lie ahead, by time.
fn warnings_from(lease: &Lease, now: Boot) -> Vec<Warning> {
    let mut warnings: Vec<_> = lease.warnings().into_iter().filter(|warning| warning.at > now).collect();
    warnings.sort_by_key(|warning| warning.at);
    warnings
}

/// How long a session may take to tell a technician who reads, and to let its channels go, before it is sealed.
pub(super) const CHANNELS_END_MAX: Duration = Duration::from_secs(12);
