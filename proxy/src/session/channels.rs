//! The channels of one session: each a task that joins the technician's channel to one at the target. How bytes go is in
//! `ssh::channel`; here is how many there are, on which connection each goes, and how they are spoken to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use approver::lease::Orders;
use recordings::leaf::Account;
use recordings::notes::Note;
use russh::ChannelId;
use russh::server::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::judge::ChannelJudge;
use super::texts::{self, Place};
use super::witness::Witness;
use super::{CHANNELS_MAX, VendorChannel};
use crate::flow::Queue;
use crate::ssh::channel::{CarryFault, End, Terms, VendorEnd, Voice, carry};
use crate::ssh::target::{TargetFault, TargetPool};

/// What all channels of a session have in common.
pub(super) struct Shared {
    pub(super) witness: Arc<Witness>,
    pub(super) targets: Arc<TargetPool>,
    pub(super) orders: Orders,
    pub(super) place: Place,
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
    voice: Voice,
    upload: Arc<Queue>,
    session: Handle,
    id: ChannelId,
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

    /// Carries one more, unless there are as many as may be.
    pub(super) fn carry(&mut self, channel: VendorChannel, frozen: watch::Receiver<bool>) {
        let number = self.next;
        self.next += 1;
        let (session, id, upload) = (channel.session, channel.channel.id(), channel.upload);
        let end = VendorEnd::new(channel.channel, session.clone(), Arc::clone(&upload));
        let voice = end.voice();
        let too_many = (self.open.len() >= CHANNELS_MAX).then(|| super::NotCarried.to_string());
        let judge = ChannelJudge {
            orders: self.shared.orders.clone(),
            place: self.shared.place.clone(),
            voice: voice.clone(),
            on_terminal: AtomicBool::new(false),
        };
        let shared = Arc::clone(&self.shared);
        let refusal = Refusal { session: session.clone(), id, number, witness: Arc::clone(&shared.witness) };
        let task = self.tasks.spawn(async move {
            match too_many {
                Some(words) => {
                    refusal.tell(&words).await;
                    Closed { number, accounts: Vec::new(), end: Ok(End::Told) }
                }
                None => one(&shared, number, end, judge, frozen, refusal).await,
            }
        });
        self.open.insert(number, Open { task: task.id(), voice, upload, session, id });
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

    /// Says a line on every terminal; a stream of bytes that a program reads is left alone.
    pub(super) fn say(&self, text: &str) {
        let line = texts::line(text);
        for (_, open) in self.terminals() {
            if !open.voice.say(&line) {
                tracing::debug!("a technician who does not read misses a line");
            }
        }
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
        for (number, open) in self.terminals() {
            match open.session.extended_data(open.id, 1, line.clone()).await {
                Ok(()) => written = true,
                Err(_) => tracing::debug!(number, "a technician left before the last line"),
            }
        }
        written
    }

    fn terminals(&self) -> impl Iterator<Item = (&u32, &Open)> {
        let gallery = self.shared.witness.seen().gallery();
        self.open.iter().filter(|(number, _)| gallery.has_terminal(**number))
    }
}

async fn one(
    shared: &Shared,
    number: u32,
    vendor: VendorEnd,
    judge: ChannelJudge,
    frozen: watch::Receiver<bool>,
    refusal: Refusal,
) -> Closed {
    let connected = async {
        let connection = shared.targets.take().await?;
        let channel = connection.open_channel().await?;
        Ok::<_, TargetFault>((connection, channel))
    };
    match connected.await {
        Ok((connection, target)) => {
            let terms = Terms { recorder: &*shared.witness, number, judge: &judge, frozen };
            let carried = carry(vendor, target, terms).await;
            if carried.is_clean() {
                shared.targets.give_back(connection);
            }
            let end = carried.end.map_err(ChannelFault::Carried);
            Closed { number, accounts: carried.accounts.into(), end }
        }
        Err(fault) => {
            refusal.tell(&fault.to_string()).await;
            Closed { number, accounts: Vec::new(), end: Err(ChannelFault::Target(fault)) }
        }
    }
}

/// Tells the technician why a channel that was accepted is not carried, and closes it.
struct Refusal {
    session: Handle,
    id: ChannelId,
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
        let told = async {
            self.session.extended_data(self.id, 1, bytes::Bytes::from(text)).await.map_err(drop)?;
            self.session.exit_status_request(self.id, Self::STATUS).await.map_err(drop)?;
            self.session.eof(self.id).await.map_err(drop)?;
            self.session.close(self.id).await.map_err(drop)
        };
        if told.await.is_err() {
            tracing::debug!("a technician left before they were refused a channel");
        }
    }
}
