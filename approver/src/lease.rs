//! The right to hold one connection open now, and what the Desk says about it while it lasts. A lease is made by
//! [`Desk::admit`](crate::desk::Desk::admit) alone, and given back by [`Desk::end`](crate::desk::Desk::end); one that is
//! dropped otherwise is journaled as crashed.
//!
//! Nobody makes one by hand:
//! ```compile_fail
//! let lease = approver::lease::Lease { seat: todo!(), terms: todo!() };
//! ```
//! or two of one:
//! ```compile_fail
//! fn twice(lease: &approver::lease::Lease) -> approver::lease::Lease {
//!     lease.clone()
//! }
//! ```
//! ```
//! fn once(lease: approver::lease::Lease) -> approver::lease::Lease {
//!     lease
//! }
//! ```
//! and nobody connects to a destination of their own choosing:
//! ```compile_fail
//! use policies::plant::{Gate, Protocol};
//! fn anywhere(address: policies::plant::Address) -> approver::lease::Destination {
//!     approver::lease::Destination {
//!         protocol: Protocol::Ssh, address, user: None, credential: None, host_key: None, prompts: Default::default(),
//!         legacy: false, gate: Gate::Enforce, connections_max: 1, requests_per_second: None, modbus: Default::default(),
//!     }
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policies::actions::Actions;
use policies::digest::Digest;
use policies::events::{Ending, Factor};
use policies::ids::{NodeId, PersonId, RequestId, ServiceName, SessionId, TargetName};
use policies::plant::{Address, Credential, Gate, HostKeyPin, Prompts, Protocol, Rule, Service, modbus};
use tokio::sync::watch;

use crate::clock::Boot;
use crate::desk::Seat;

/// What somebody who was authenticated asks the Desk for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where to.
    pub target: TargetName,
    /// Through which service; may be left out where the target has one.
    pub service: Option<ServiceName>,
    /// One of these must be granted; empty where that is not known yet.
    pub wants: Actions,
    /// The grant that was named, if any.
    pub grant: Option<RequestId>,
    /// Which session it will be.
    pub session: SessionId,
}

/// Where a lease leads: as the plant file in force said when it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it is.
    pub address: Address,
    /// The account.
    pub user: Option<String>,
    /// What opens the account.
    pub credential: Option<Credential>,
    /// The host key it must show.
    pub host_key: Option<HostKeyPin>,
    /// What it shows when it wants account and credential, where it speaks telnet.
    pub prompts: Prompts,
    /// Whether old algorithms are admitted towards it.
    pub legacy: bool,
    /// What its gate does with what was not granted.
    pub gate: Gate,
    /// How many sockets may be open to it at once.
    pub connections_max: u16,
    /// How many requests go to it in a second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Of Modbus: what the gate's table does not say of it.
    pub modbus: modbus::Profile,
}

impl From<&Service> for Destination {
    fn from(service: &Service) -> Self {
        Self {
            protocol: service.protocol,
            address: service.address.clone(),
            user: service.user.clone(),
            credential: service.credential.clone(),
            host_key: service.host_key.clone(),
            prompts: service.prompts.clone(),
            legacy: service.legacy,
            gate: service.gate,
            connections_max: service.connections_max,
            requests_per_second: service.requests_per_second,
            modbus: service.modbus.clone(),
        }
    }
}

/// When something ends: as people read it, and as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// On the clock that counts suspend and is never set. This one counts.
    pub boot: Boot,
    /// On the wall clock, for showing.
    pub wall: Timestamp,
}

/// Why a session's input is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// An operator stopped it.
    ByOperator,
    /// The rule demands an escort, and nobody who watches has said of late that they are there.
    NobodyWatches,
    /// The time is up, and the rule freezes before it ends.
    TimeIsUp,
    /// The shift changed, and nobody accepted it yet.
    NotAccepted,
}

impl Frozen {
    /// For machines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ByOperator => "by-operator",
            Self::NobodyWatches => "nobody-watches",
            Self::TimeIsUp => "time-is-up",
            Self::NotAccepted => "not-accepted",
        }
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByOperator => "an operator has stopped your input",
            Self::NobodyWatches => "your input waits until an operator watches",
            Self::NotAccepted => "the shift changed: your input waits until an operator accepts your work",
            Self::TimeIsUp => "the time given is up: your input is stopped, and the session ends soon",
        })
    }
}

/// What the Desk says about a lease at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// When it ends; an extension moves it.
    pub deadline: Deadline,
    /// Whether input is stopped, and why.
    pub frozen: Option<Frozen>,
    /// What may be done now, widenings included.
    pub actions: Actions,
    /// That its time is over, and only a program transfer that runs is let finish; until then at most.
    pub finishing: Option<Deadline>,
    /// Who watches here.
    pub watchers: BTreeSet<PersonId>,
    /// Who of them escorts, and until when that counts without another word.
    pub escorts: BTreeMap<PersonId, Boot>,
    /// That it is over, and why. The first reason stays.
    pub over: Option<Ending>,
}

/// The Desk's orders about one lease as they change. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Orders(watch::Receiver<Order>);

impl Orders {
    pub(crate) const fn new(receiver: watch::Receiver<Order>) -> Self {
        Self(receiver)
    }

    /// What holds now.
    pub fn now(&self) -> Order {
        self.0.borrow().clone()
    }

    /// Whether something holds now, asked without copying the order: for what is asked for each message.
    pub fn look<T>(&self, asked: impl FnOnce(&Order) -> T) -> T {
        asked(&self.0.borrow())
    }

    /// Waits for the next change and gives what holds then. May be dropped and called again. Never completes where
    /// nothing changes any more, because the lease was given back.
    pub async fn changed(&mut self) -> Order {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the lease is over, and says why.
    pub async fn over(&mut self) -> Ending {
        let over = self.0.wait_for(|order| order.over.is_some()).await.ok().and_then(|order| order.over.clone());
        match over {
            Some(ending) => ending,
            None => std::future::pending().await,
        }
    }
}

/// A moment at which the technician is told how much time is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warning {
    /// When.
    pub at: Boot,
    /// How much is left then.
    pub left: Duration,
}

const WARNINGS: [Duration; 3] = [Duration::from_secs(15 * 60), Duration::from_secs(5 * 60), Duration::from_secs(60)];

/// What was agreed when a lease was given.
pub(crate) struct Terms {
    pub(crate) session: SessionId,
    pub(crate) grant: RequestId,
    pub(crate) grant_digest: Digest,
    pub(crate) asked_digest: Digest,
    pub(crate) technician: PersonId,
    pub(crate) target: TargetName,
    pub(crate) service: ServiceName,
    pub(crate) source: IpAddr,
    pub(crate) factors: Vec<Factor>,
    pub(crate) node: NodeId,
    pub(crate) rule: Arc<Rule>,
    pub(crate) destination: Destination,
    pub(crate) plant: Digest,
    pub(crate) banner: Digest,
    pub(crate) granted_for: Duration,
    pub(crate) journal: u64,
}

/// The right to hold one connection open now. Not `Clone`; see the module.
pub struct Lease {
    pub(crate) seat: Seat,
    pub(crate) terms: Terms,
}

impl Lease {
    /// Which session this is.
    pub const fn session(&self) -> SessionId {
        self.terms.session
    }

    /// The grant it spends.
    pub const fn grant(&self) -> RequestId {
        self.terms.grant
    }

    /// The digest of the grant: of the request as it was approved, narrowings included.
    pub const fn grant_digest(&self) -> Digest {
        self.terms.grant_digest
    }

    /// The digest of the request as it was asked.
    pub const fn asked_digest(&self) -> Digest {
        self.terms.asked_digest
    }

    /// Whose.
    pub const fn technician(&self) -> PersonId {
        self.terms.technician
    }

    /// Where to.
    pub const fn target(&self) -> &TargetName {
        &self.terms.target
    }

    /// Through which service.
    pub const fn service(&self) -> &ServiceName {
        &self.terms.service
    }

    /// From where.
    pub const fn source(&self) -> IpAddr {
        self.terms.source
    }

    /// What proved the technician.
    pub fn factors(&self) -> &[Factor] {
        &self.terms.factors
    }

    /// Through which node.
    pub const fn node(&self) -> &NodeId {
        &self.terms.node
    }

    /// The rule it stands on, as frozen when access was asked for.
    pub fn rule(&self) -> &Rule {
        &self.terms.rule
    }

    /// Where to connect, and how.
    pub const fn destination(&self) -> &Destination {
        &self.terms.destination
    }

    /// The digest of the plant file in force.
    pub const fn plant(&self) -> Digest {
        self.terms.plant
    }

    /// The digest of the banner in force.
    pub const fn banner(&self) -> Digest {
        self.terms.banner
    }

    /// How many entries the journal had once this lease's `Started` was in it.
    pub const fn journal_size(&self) -> u64 {
        self.terms.journal
    }

    /// What the Desk says about it while it lasts.
    pub fn orders(&self) -> Orders {
        self.seat.orders()
    }

    /// Says whether a program is being transferred to the target just now: what is not an operator's cut waits for it, as long
    /// as the rule's `hold_max`.
    pub fn transferring(&self, transferring: bool) {
        self.seat.transferring(transferring);
    }

    /// When the technician is told what is left, by the deadline that holds now: at 15, 5 and 1 minutes, but none
    /// longer than half of what was granted. Ask again after an extension.
    pub fn warnings(&self) -> Vec<Warning> {
        let deadline = self.orders().now().deadline.boot;
        let fitting = WARNINGS.into_iter().filter(|left| *left <= self.terms.granted_for / 2);
        fitting.map(|left| Warning { at: Boot(deadline.0.saturating_sub(left)), left }).collect()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { session, grant, technician, target, .. } = &self.terms;
        write!(f, "Lease({session}, {grant}, {technician}, {target})")
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(Seat, Terms) -> Lease = |seat, terms| Lease { seat, terms };
    const _: fn(Address) -> Destination = |address| Destination {
        protocol: Protocol::Ssh,
        address,
        user: None,
        credential: None,
        host_key: None,
        prompts: Prompts::default(),
        legacy: false,
        gate: Gate::Enforce,
        connections_max: 1,
        requests_per_second: None,
        modbus: modbus::Profile { functions: std::collections::BTreeMap::new(), blocked: Vec::new() },
    };
}
