//! The channels of one session: each a task that joins the technician's channel to one at the target. How bytes go is in
//! `ssh::channel`; here is how many there are, on which connection each goes, and how they are spoken to.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use approver::feed::counts::{Counts, Operations};
use approver::lease::{Lease, Orders};
use policies::ids::RuleId;
use recordings::leaf::Account;
use recordings::notes::Note;
use recordings::operation::Operation;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::judge::ChannelJudge;
use super::texts::{self, Place};
use super::witness::Witness;
use super::{CHANNELS_MAX, VendorChannel};
use crate::floor::Telling;
use crate::flow::Queue;
use crate::gates::vnc::screen::Said;
use crate::legs::Legs;
use crate::ssh::Aside;
use crate::ssh::channel::{Carried, CarryFault, End, Terms, VendorEnd, Voice, carry};
use crate::ssh::target::{TargetFault, TargetPool};
use crate::tcp::{self, Attending, Gated, Reach, TcpJudge};
use crate::telnet::Exchange;
use crate::uploads::Checks;

/// What all channels of a session have in common.
pub(super) struct Shared {
    pub(super) witness: Arc<Witness>,
    pub(super) way: Way,
    pub(super) orders: Orders,
    pub(super) place: Place,
    /// Where lines for the technician go.
    pub(super) told: mpsc::Sender<Telling>,
    /// What checks uploads before the target has any of them, where the rule says so.
    pub(super) checks: Option<Checks>,
    /// Where operations are summed up for the feed.
    pub(super) counts: Counts,
    /// What waits for a program transfer. Weak, because the session alone owns it.
    pub(super) lease: Weak<Lease>,
}

impl Attending for Shared {
    fn touch(&self) {
        self.witness.seen().touch();
    }

    fn tell(&self, line: String) {
        if self.told.try_send(Telling::of(line)).is_err() {
            tracing::debug!("a technician who is refused much misses a line of it");
        }
    }

    fn operated(&self, operation: &Operation) {
        let Some(lease) = self.lease.upgrade() else { return };
        let of = Operations {
            session: lease.session(),
            target: lease.target().clone(),
            service: lease.service().clone(),
            protocol: operation.protocol,
            action: operation.class,
        };
        self.counts.operated(&of, operation.times, operation.refused.is_some());
    }

    fn shown(&self, connection: u32, said: Said) {
        self.witness.seen().gallery().screens().said(connection, said);
    }

    fn transferring(&self, transferring: bool) {
        let running = self.witness.seen().transfers(transferring);
        if let Some(lease) = self.lease.upgrade() {
            lease.transferring(running > 0);
        }
    }
}

/// How a session's target is reached: by what is spoken there.
pub(super) enum Way {
    /// SSH, ended and opened again by the gate.
    Ssh(TargetPool),
    /// Telnet, spoken by the gate.
    Telnet(Exchange),
    /// A TCP connection of the technician's own program.
    Tcp {
        /// How.
        reach: Reach,
        /// Under which rule.
        rule: RuleId,
    },
}

impl Way {
    /// What its connections stand on.
    pub(super) fn legs(&self) -> &Arc<Legs> {
        match self {
            Self::Ssh(targets) => targets.legs(),
            Self::Telnet(targets) => targets.legs(),
            Self::Tcp { reach, .. } => reach.legs(),
        }
    }

    /// Whether a gate tells what a person did from what a program repeats.
    pub(super) fn has_gate(&self) -> bool {
        matches!(self, Self::Tcp { reach, .. } if reach.gate().is_some())
    }

    fn channels_max(&self) -> usize {
        match self {
            Self::Ssh(_) | Self::Telnet(_) => CHANNELS_MAX,
            Self::Tcp { reach, .. } => reach.channels_max(),
        }
    }
}

/// The channels that are open now.
pub(super) struct Channels {
    shared: Arc<Shared>,
    tasks: JoinSet<Closed>,
    open: BTreeMap<u32, Open>,
    next: u32,
}

struct Open {
    task: tokio::task::Id,
    upload: Arc<Queue>,
    /// None on which nobody could read a line.
    spoken: Option<Spoken>,
}

/// How a channel is spoken on.
struct Spoken {
    voice: Voice,
    aside: Aside,
}

/// A channel that is open no more.
pub(super) struct Closed {
    number: u32,
    /// Where its bytes went, if it came to carrying any.
    pub(super) accounts: Vec<Account>,
    /// How it ended.
    pub(super) end: Result<End, ChannelFault>,
}

/// Why a channel ended before its time.
#[derive(Debug)]
pub(super) enum ChannelFault {
    /// While it was carried.
    Carried(CarryFault),
    /// There was no channel at the target.
    Target(TargetFault),
    /// Its task panicked or was stopped.
    Lost,
}

impl Channels {
    /// None yet.
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), tasks: JoinSet::new(), open: BTreeMap::new(), next: 1 }
    }

    /// Connects ahead of the first channel, so that a target that is down is told at admission. Where a target counts its
    /// connections, nothing is dialled before there is somebody to use it.
    pub(super) async fn warm(&self) -> Result<(), TargetFault> {
        match &self.shared.way {
            Way::Ssh(targets) => targets.warm().await,
            Way::Telnet(_) | Way::Tcp { .. } => Ok(()),
        }
    }

    /// Takes leave of the target, as a session that ends in peace does.
    pub(super) async fn leave_target(&self) {
        match &self.shared.way {
            Way::Ssh(targets) => targets.close().await,
            Way::Telnet(targets) => targets.close(),
            Way::Tcp { reach, .. } => reach.legs().hang_up(),
        }
    }

    /// Ends whatever goes to the target, now. A program's connection is ended in TCP's order, so that a controller frees its
    /// place, unless it was cut.
    pub(super) fn stop_target(&self, is_cut: bool) {
        match &self.shared.way {
            Way::Tcp { reach, .. } if !is_cut => reach.legs().hang_up(),
            way => way.legs().cut(),
        }
    }

    /// Carries one more, unless there are as many as may be.
    pub(super) fn carry(&mut self, channel: VendorChannel, frozen: watch::Receiver<bool>) {
        let number = self.next;
        self.next += 1;
        let has_room = self.open.len() < self.shared.way.channels_max();
        let open = match channel {
            VendorChannel::Typed(end) => self.carry_typed(number, end, frozen, has_room),
            VendorChannel::Tcp(end) => self.carry_tcp(number, end, frozen, has_room),
        };
        self.open.insert(number, open);
    }

    fn carry_typed(&mut self, number: u32, end: VendorEnd, frozen: watch::Receiver<bool>, has_room: bool) -> Open {
        let (upload, voice, aside) = (Arc::clone(end.upload()), end.voice(), end.aside());
        let judge = ChannelJudge {
            orders: self.shared.orders.clone(),
            place: self.shared.place.clone(),
            voice: voice.clone(),
            on_terminal: AtomicBool::new(false),
            is_telnet: matches!(self.shared.way, Way::Telnet(_)),
            checked: self.shared.checks.is_some(),
        };
        let shared = Arc::clone(&self.shared);
        let refusal = Refusal { aside: aside.clone(), number, witness: Arc::clone(&shared.witness) };
        let task = self.tasks.spawn(async move {
            let unopened = |end| Closed { number, accounts: Vec::new(), end };
            let _shown = end.is_in_browser().then(|| shared.witness.seen().in_browser());
            let (vendor, judge) = (end, &judge);
            let checks = shared.checks.clone();
            let terms = || Terms { recorder: &*shared.witness, number, judge, frozen, checks };
            let connected = match &shared.way {
                Way::Tcp { .. } => Err(shared.place.is_forwarded()),
                Way::Ssh(_) | Way::Telnet(_) if !has_room => Err(super::NotCarried.to_string()),
                Way::Ssh(targets) => Ok(by_ssh(targets, vendor, terms()).await),
                Way::Telnet(targets) => Ok(Ok(carry(vendor, targets.open(), terms()).await)),
            };
            let fault = match connected {
                Ok(Ok(carried)) => {
                    let end = carried.end.map_err(ChannelFault::Carried);
                    return Closed { number, accounts: carried.accounts.into(), end };
                }
                Ok(Err(fault)) => fault,
                Err(words) => {
                    refusal.tell(&words).await;
                    return unopened(Ok(End::Told));
                }
            };
            let over = shared.orders.now().over.map(|ending| shared.place.over(&ending));
            refusal.tell(&over.unwrap_or_else(|| fault.to_string())).await;
            unopened(Err(ChannelFault::Target(fault)))
        });
        Open { task: task.id(), upload, spoken: Some(Spoken { voice, aside }) }
    }

    fn carry_tcp(
        &mut self,
        number: u32,
        mut end: tcp::VendorEnd,
        frozen: watch::Receiver<bool>,
        has_room: bool,
    ) -> Open {
        let (shared, upload) = (Arc::clone(&self.shared), Arc::clone(end.upload()));
        let task = self.tasks.spawn(async move {
            let Way::Tcp { reach, rule } = &shared.way else {
                end.refuse(&shared.place.is_typed_to()).await;
                return Closed { number, accounts: Vec::new(), end: Ok(End::Told) };
            };
            if !has_room {
                end.refuse("too many connections at once").await;
                return Closed { number, accounts: Vec::new(), end: Ok(End::Told) };
            }
            let _shown = end.is_within_websocket().then(|| shared.witness.seen().within_websocket());
            let _in_browser = end.is_in_browser().then(|| shared.witness.seen().in_browser());
            let judge = || TcpJudge::new(reach, shared.orders.clone(), frozen.clone(), shared.place.clone());
            let gated = reach.gate().map(|gate| Gated { gate, judge: judge(), rule: rule.clone() });
            let terms = tcp::Terms {
                recorder: &*shared.witness,
                number,
                reach,
                gated,
                frozen: frozen.clone(),
                orders: shared.orders.clone(),
                attending: &*shared,
            };
            let tcp::Carried { end, accounts } = tcp::carry(end, terms).await;
            let end = match end {
                Ok(end) => {
                    tracing::debug!(number, ?end, "a connection ended");
                    Ok(End::Told)
                }
                Err(fault) => Err(ChannelFault::Carried(fault.into())),
            };
            Closed { number, accounts: accounts.into(), end }
        });
        Open { task: task.id(), upload, spoken: None }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// The next one that closes; never, while there is none. May be dropped and called again.
    pub(super) async fn closed(&mut self) -> Closed {
        match self.tasks.join_next().await {
            Some(Ok(closed)) => {
                self.open.remove(&closed.number);
                closed
            }
            Some(Err(lost)) => {
                if lost.is_panic() {
                    tracing::error!(%lost, "a channel's task panicked");
                }
                let number = self.open.iter().find(|(_, open)| open.task == lost.id()).map(|(number, _)| *number);
                let number = number.unwrap_or_default();
                self.open.remove(&number);
                Closed { number, accounts: Vec::new(), end: Err(ChannelFault::Lost) }
            }
            None => std::future::pending().await,
        }
    }

    /// Stops all that are left, and waits until they are.
    pub(super) async fn abandon(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Says a line on every terminal; a stream of bytes that a program reads is left alone. On how many it is read.
    pub(super) fn say(&self, text: &str) -> usize {
        let line = texts::line(text);
        let said = self.terminals().filter(|(_, spoken)| spoken.voice.say(&line)).count();
        if said < self.terminals().count() {
            tracing::debug!("a technician who does not read misses a line");
        }
        said
    }

    /// Whether there is a terminal at all, on which a code could be typed.
    pub(super) fn has_terminal(&self) -> bool {
        self.terminals().next().is_some()
    }

    /// Stops reading from the technician, or goes on.
    pub(super) fn hold(&self, held: bool) {
        self.open.values().for_each(|open| open.upload.freeze(held));
    }

    /// Says the last line on every terminal, past everything that still waits. Whether there was one.
    pub(super) async fn last_line(&self, text: &str) -> bool {
        let line = bytes::Bytes::from(texts::line(text));
        let mut written = false;
        for (number, spoken) in self.terminals() {
            match spoken.aside.say(line.clone()).await {
                Ok(()) => written = true,
                Err(_) => tracing::debug!(number, "a technician left before the last line"),
            }
        }
        written
    }

    fn terminals(&self) -> impl Iterator<Item = (&u32, &Spoken)> {
        let gallery = self.shared.witness.seen().gallery();
        let spoken = self.open.iter().filter_map(|(number, open)| Some((number, open.spoken.as_ref()?)));
        spoken.filter(|(number, _)| gallery.has_terminal(**number))
    }
}

/// Over a connection of its own, which the next channel may have.
async fn by_ssh(targets: &TargetPool, vendor: VendorEnd, terms: Terms<'_, Witness>) -> Result<Carried, TargetFault> {
    let connection = targets.take().await?;
    let target = connection.open_channel().await?;
    let carried = carry(vendor, target, terms).await;
    if carried.is_clean() {
        targets.give_back(connection);
    }
    Ok(carried)
}

/// Tells the technician why a channel that was accepted is not carried, and closes it.
struct Refusal {
    aside: Aside,
    number: u32,
    witness: Arc<Witness>,
}

impl Refusal {
    /// What `ssh` itself ends with when the connection fails.
    const STATUS: u32 = 255;

    async fn tell(&self, words: &str) {
        let text = format!("holdpoint: {words}\r\n");
        if let Err(fault) = self.witness.record(self.number, &Note::Notice { text: text.clone() }).await {
            tracing::debug!(%fault, "a refusal could not be recorded; the session ends for it");
            return;
        }
        if self.aside.refuse(bytes::Bytes::from(text), Self::STATUS).await.is_err() {
            tracing::debug!("a technician left before they were refused a channel");
        }
    }
}
