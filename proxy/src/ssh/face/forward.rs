//! `ssh -L 5020:plc-7:502`: a TCP service of a target, reached through the gate. All connections to one service that come by
//! one SSH connection share a session; where it ends, the others go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use approver::floor::Shown;
use policies::actions::Actions;
use policies::ids::{ServiceName, TargetName};
use policies::plant::{Plant, Protocol, Service};
use policies::refusals::Refusal;
use tokio::sync::mpsc;

use super::asking::{Applicant, Standing};
use super::connection::Tenant;
use super::names::Place;
use super::room::Room;
use super::{Connection, Face};
use crate::floor::Telling;
use crate::session::{Hold, VendorChannel, VendorLine};
use crate::tcp::VendorEnd;
use approver::gate::Gate;

/// The port that `ssh` jumps to where nothing else is said.
const SSH_PORT: u32 = 22;
/// Lines for a technician that wait to be shown.
const TOLD_MAX: usize = 16;

/// Where a forwarding leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leads {
    /// To a target's terminal: the gate serves the inner session.
    Jump(Place),
    /// To a TCP service.
    Service(Place),
}

/// Which target, and which of its services, a forwarding leads to. Names are looked up in the plant's file alone: `plc-7`
/// with the port that the service has there, or `modbus.plc-7` with any.
///
/// # Errors
/// Why it leads nowhere, and what to type instead.
pub(super) fn destination(applicant: &Applicant, gate: &Gate, host: &str, port: u32) -> Result<Leads, String> {
    let login = &applicant.who().login;
    let to_jump = || format!("only a target's name is forwarded to: {}", gate.jump(login, &"TARGET"));
    let (service, target) = match host.split_once('.') {
        Some((service, target)) => (Some(service.parse::<ServiceName>().map_err(|_| to_jump())?), target),
        None => (None, host),
    };
    let target: TargetName = target.parse().map_err(|_| to_jump())?;
    let plant = applicant.desk().with_state(|state| state.plant.clone());
    let plant = plant.ok_or_else(|| Refusal::NoPlant.to_string())?;
    match service_at(&plant, &target, service.as_ref(), port) {
        Found::Forwarded(name) => allowed(applicant, gate, Place { target, service: Some(name) }),
        Found::Terminal(service) => {
            let place = applicant.resolved(Place { target, service });
            let has_something = !matches!(applicant.standing(&place), Standing::Nothing);
            match applicant.offer(&place) {
                Ok(_) => Ok(Leads::Jump(place)),
                Err(_) if has_something => Ok(Leads::Jump(place)),
                Err(refusal) => {
                    // What programs look up by themselves is nothing that was asked of the plant.
                    if plant.targets.contains_key(&place.target) {
                        applicant.refused(&place, Actions::new(), false, &refusal);
                    }
                    Err(match refusal {
                        Refusal::NotAllowed(why) => why.to_string(),
                        _ => to_jump(),
                    })
                }
            }
        }
        Found::Telnet(name) => {
            let place = Place { target, service: Some(name) };
            let words = "speaks telnet there, which the gate does for you";
            Err(format!("{} {words}: {}", place.target, gate.jump(login, &place.target)))
        }
        Found::Nothing(there) => Err(there),
    }
}

/// What of a target a port means.
enum Found {
    Terminal(Option<ServiceName>),
    Forwarded(ServiceName),
    /// A terminal, to which no program of the technician's own is forwarded.
    Telnet(ServiceName),
    /// What there is, in words.
    Nothing(String),
}

fn service_at(plant: &Plant, target: &TargetName, service: Option<&ServiceName>, port: u32) -> Found {
    let Some(facts) = plant.targets.get(target) else {
        return if port == SSH_PORT {
            Found::Terminal(None)
        } else {
            Found::Nothing(format!("there is no target {target}"))
        };
    };
    let meant = |(name, facts): &(&ServiceName, &Service)| match service {
        Some(service) => service == *name,
        None => facts.protocol != Protocol::Ssh && u32::from(facts.address.port) == port,
    };
    let mut all = facts.services.iter().filter(meant);
    match (all.next(), all.next()) {
        (Some((name, facts)), None) if facts.protocol.is_forwarded() => Found::Forwarded(name.clone()),
        (Some((name, facts)), None) if facts.protocol == Protocol::Ssh || port == SSH_PORT => {
            Found::Terminal(Some(name.clone()))
        }
        (Some((name, _)), None) => Found::Telnet(name.clone()),
        (None, _) if service.is_none() && port == SSH_PORT => Found::Terminal(None),
        (Some(_), Some(_)) => {
            Found::Nothing(format!("several services of {target} have port {port}: {}", listed(plant, target)))
        }
        _ => Found::Nothing(format!("{target} has nothing at port {port}: {}", listed(plant, target))),
    }
}

/// What may be forwarded to at a target, as it is typed.
fn listed(plant: &Plant, target: &TargetName) -> String {
    let services = plant.targets.get(target).into_iter().flat_map(|facts| &facts.services);
    let forwarded = services.filter(|(_, service)| service.protocol.is_forwarded());
    let typed: Vec<_> =
        forwarded.map(|(name, service)| format!("{target}:{port} is {name}", port = service.address.port)).collect();
    if typed.is_empty() { "nothing there is forwarded to".to_owned() } else { typed.join(", ") }
}

fn allowed(applicant: &Applicant, gate: &Gate, place: Place) -> Result<Leads, String> {
    match applicant.standing(&place) {
        Standing::Open(_) => Ok(Leads::Service(place)),
        Standing::Later(from) => Err(format!("the grant for {} begins {}", place.typed(), applicant.shown(from))),
        Standing::Pending(request) => Err(applicant.waiting(request)),
        Standing::Nothing => match applicant.offer(&place) {
            Ok(offer) => Err(format!(
                "no grant for {} is open. Ask for one: {} request {} --service {} REASON",
                place.typed(),
                gate.ssh(&applicant.who().login),
                place.target,
                offer.service,
            )),
            Err(refusal) => {
                applicant.refused(&place, Actions::new(), false, &refusal);
                Err(refusal.to_string())
            }
        },
    }
}

/// The sessions that one SSH connection forwards into.
#[derive(Default)]
pub(super) struct Forwards(BTreeMap<Place, Arc<Forward>>);

/// A session to be opened, or that was, and until it is its use of the connection.
pub(super) struct Forward {
    room: Room,
    tenant: Mutex<Option<Tenant>>,
}

impl Forwards {
    /// The session for a place: the one there is, unless it is over or never began.
    pub(super) fn to(
        &mut self,
        face: &Arc<Face>,
        connection: &Arc<Connection>,
        applicant: Applicant,
        place: Place,
    ) -> Arc<Forward> {
        if let Some(forward) = self.0.get(&place).filter(|forward| !forward.room.is_over()) {
            return Arc::clone(forward);
        }
        let (told, tellings) = mpsc::channel(TOLD_MAX);
        face.tracker.spawn(pass_on(tellings, Arc::clone(connection), place.clone()));
        let line = VendorLine {
            gate: face.gate.clone(),
            hold: Hold::Channels { told },
            is_page: false,
            place: connection.place(),
        };
        let room = Room::new(face, applicant, place.clone(), line);
        let forward = Arc::new(Forward { room, tenant: Mutex::new(Some(connection.move_in())) });
        self.0.insert(place, Arc::clone(&forward));
        forward
    }
}

/// Hands what a session says to whoever reads on its connection.
async fn pass_on(mut tellings: mpsc::Receiver<Telling>, connection: Arc<Connection>, place: Place) {
    while let Some(Telling { text, wanted }) = tellings.recv().await {
        let is_read = connection.tell(&format!("{}: {text}", place.typed()));
        Telling::shown(wanted, if is_read { Shown::InLobby } else { Shown::Nowhere });
    }
}

/// Carries one connection of the technician's program.
pub(super) async fn serve(forward: Arc<Forward>, connection: Arc<Connection>, mut end: VendorEnd) {
    let session = forward.room.session(Actions::new()).await;
    let tenant = forward.tenant.lock().unwrap_or_else(PoisonError::into_inner).take();
    let session = match session {
        Ok(session) => session,
        Err(words) => return end.refuse(&words).await,
    };
    if session.channel(VendorChannel::Tcp(end)).await.is_err() {
        tracing::debug!(session = %session.id(), "a session that ends takes no more connections");
    }
    let Some(tenant) = tenant else { return };
    let farewell = session.farewell();
    drop((session, forward));
    let words = farewell.await;
    drop(tenant);
    if connection.is_empty() {
        connection.goodbye(&words).await;
    } else {
        connection.tell(&words);
    }
}
