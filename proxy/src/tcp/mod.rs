//! TCP services of targets: a technician's connection joined to one at the target, recorded before it is forwarded, and
//! where a gate knows the protocol, message by message. How technicians come in is in `ssh::face` and `tls_face`; what a
//! session is, in `session`.

mod carry;
mod judge;
mod pace;
mod repeats;
mod slots;
mod vendor;

use std::sync::Arc;
use std::time::Duration;

use approver::capture::{About, Captures};
use approver::lease::Lease;
use policies::ids::{RequestId, ServiceName, SessionId, TargetName, ZoneName};
use policies::plant::{self, Protocol};

use crate::dial::{DialFault, dial};
use crate::floor::Floor;
use crate::flow::Leg;
use crate::gates::{self, Gate, Mode, vnc};
use crate::legs::{Legs, NoMoreLegs};
pub(crate) use carry::{Attending, Carried, Gated, Terms, carry};
pub(crate) use judge::TcpJudge;
pub(crate) use pace::{Pace, Paces, Turn};
pub(crate) use slots::Slot;
pub use slots::{NoSlot, Slots};
pub(crate) use vendor::LastWords;
pub use vendor::VendorEnd;

/// How the connections of one session reach its target.
pub(crate) struct Reach {
    legs: Arc<Legs>,
    slots: Slots,
    captures: Captures,
    claim: Claim,
    about: Arc<About>,
    protocol: Protocol,
    gate: plant::Gate,
    profile: plant::modbus::Profile,
    password: Option<vnc::Password>,
    to: String,
    connections_max: usize,
    pace: Option<Pace>,
    patience: Duration,
    hold_max: Duration,
}

/// Whose a connection is, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) place: (TargetName, ServiceName),
    pub(crate) session: SessionId,
    pub(crate) grant: RequestId,
}

/// Why a connection reaches no target, in words for the technician.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReached {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialFault),
    /// It has as many as it may.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// The session is over.
    #[error(transparent)]
    Over(#[from] NoMoreLegs),
}

impl Reach {
    /// By a lease, to a target in a zone; every connection takes one of the target's slots. The password is what a gate logs in
    /// with, where the plant file names one.
    pub(crate) fn new(
        lease: &Arc<Lease>,
        floor: &Floor,
        zone: Option<ZoneName>,
        password: Option<vnc::Password>,
        patience: Duration,
    ) -> Self {
        let destination = lease.destination();
        let place = (lease.target().clone(), lease.service().clone());
        let (target, service) = place.clone();
        let pace = destination.requests_per_second.map(|per_second| floor.paces().of(&place, per_second));
        let about = About { session: lease.session(), technician: lease.technician(), target, service, zone };
        Self {
            legs: Arc::new(Legs::new(lease)),
            slots: floor.slots().clone(),
            captures: floor.captures().clone(),
            about: Arc::new(about),
            claim: Claim { place, session: lease.session(), grant: lease.grant() },
            protocol: destination.protocol,
            gate: destination.gate,
            profile: destination.modbus.clone(),
            password,
            to: destination.address.to_string(),
            connections_max: destination.connections_max.into(),
            pace,
            patience,
            hold_max: lease.rule().hold_max.duration(),
        }
    }

    /// What all of its connections stand on.
    pub(crate) const fn legs(&self) -> &Arc<Legs> {
        &self.legs
    }

    /// Which target they lead to.
    pub(crate) const fn target(&self) -> &TargetName {
        &self.claim.place.0
    }

    /// How many of the technician's connections may wait or be joined at once: each of those joined needs a socket, and a
    /// few more may stand before a gate that answers without one.
    pub(crate) const fn channels_max(&self) -> usize {
        const WITHOUT_SOCKET: usize = 8;
        self.connections_max + WITHOUT_SOCKET
    }

    /// A gate for one more connection; none where nobody looks in.
    pub(crate) fn gate(&self) -> Option<Box<dyn Gate>> {
        let mode = match self.gate {
            plant::Gate::Enforce => Mode::Enforce,
            plant::Gate::Decode => Mode::Decode,
        };
        match self.protocol {
            Protocol::Vnc => Some(vnc::gate(self.password.clone())),
            protocol => gates::of(protocol, mode, &self.profile),
        }
    }

    /// Whether what was not granted is kept from the target message by message; else everything passes, and `tunnel` alone
    /// allows that.
    pub(crate) fn enforces(&self) -> bool {
        match self.protocol {
            Protocol::Vnc => true,
            Protocol::Modbus | Protocol::S7 => self.gate == plant::Gate::Enforce,
            Protocol::Cip | Protocol::Tcp | Protocol::Ssh | Protocol::Telnet => false,
        }
    }

    /// Takes a slot and connects.
    pub(crate) async fn connect(&self) -> Result<(Slot, Leg), NotReached> {
        let slot = self.slots.take(&self.claim, self.connections_max).await?;
        let (lease, valve) = self.legs.one_more()?;
        let socket = self.legs.dialled(dial(&lease, self.patience).await)?;
        let name = || self.claim.place.0.to_string();
        let leg = Leg::new(socket, valve, &self.captures, Arc::clone(&self.about))
            .map_err(|cause| DialFault::Unreachable { name: name(), cause })?;
        Ok((slot, leg))
    }
}
