//! From an ask to a running session: admitted, then recorded, then connected. Whatever fails on the way is undone and
//! journaled, and the technician gets a sentence.

use std::sync::Arc;
use std::time::Duration;

use approver::lease::{Ask, Lease};
use approver::recorder::Recorder;
use approver::spans::{Key, Span, Work};
use policies::decide::Command;
use policies::events::Ending;
use policies::ids::{ServiceName, TargetName};
use policies::plant::Protocol;
use tokio::sync::{mpsc, oneshot, watch};

use super::channels::Way;
use super::running::{Inbox, Running};
use super::texts::{Asks, Place};
use super::witness::{Seen, Witness};
use super::{NotOpened, Session, SessionsParts, VendorLine, Who, credential};
use crate::floor::{Live, Stopped};
use crate::gates::vnc;
use crate::ssh::target::{TargetFault, TargetPlan, TargetPool};
use crate::tcp::Reach;
use crate::telnet::{Exchange, Login};

/// How long each step towards a target may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines told to a technician that wait to be shown.
const TOLD_MAX: usize = 16;

/// A session from its first moment to its last, in one task.
pub(super) async fn run(
    parts: Arc<SessionsParts>,
    who: Who,
    ask: Ask,
    line: VendorLine,
    opened: oneshot::Sender<Result<Session, NotOpened>>,
) {
    let admission = Span::under(&line.place, Work::Admission);
    admission.set(Key::Session, &ask.session);
    admission.set(Key::Person, &who.proof.person());
    // A task takes the room of its largest moment as long as it lives: what passes is boxed, here and where it ends.
    match admission.around(Box::pin(open(&parts, who, ask, line))).await {
        // Nobody waits any more: then the session's only handle is dropped here, and it ends as left.
        Ok((running, session)) => {
            // Before there was a lease, it was what somebody typed.
            admission.set(Key::Target, &running.leads_to().0);
            let span = running.span(&admission.place());
            drop(admission);
            drop(opened.send(Ok(session)));
            running.run(span).await;
        }
        Err(refused) => {
            admission.set(Key::Refusal, refused.why());
            admission.failed(refused.why());
            drop(admission);
            drop(opened.send(Err(refused)));
        }
    }
}

async fn open(
    parts: &Arc<SessionsParts>,
    who: Who,
    ask: Ask,
    line: VendorLine,
) -> Result<(Running, Session), NotOpened> {
    let lease = parts.desk.admit(&who.proof, ask).await?;
    let plan = match plan(parts, &lease).await {
        Ok(plan) => plan,
        Err(fault) => {
            parts.desk.end(lease, Ending::TargetUnreachable, None).await;
            return Err(fault);
        }
    };
    let recipients = parts.recipients.borrow().clone();
    let recorder = Recorder::open(&lease, &parts.records, &recipients, &*parts.machine, env!("CARGO_PKG_VERSION"));
    let begun = Span::within(Work::Recording).around(recorder).await;
    let recorder = match begun {
        Ok(recorder) => recorder,
        Err(fault) => {
            parts.desk.end(lease, Ending::RecorderFailed, None).await;
            return Err(fault.into());
        }
    };
    connect(parts, who, lease, recorder, plan, line).await
}

/// How the target is to be reached.
enum Plan {
    Ssh(TargetPlan),
    Telnet(Login),
    Forwarded(Option<vnc::Password>),
}

async fn plan(parts: &SessionsParts, lease: &Lease) -> Result<Plan, NotOpened> {
    let destination = lease.destination();
    // A vault opens nothing for a session that it does not know.
    if let (Some(teller), Some(_)) = (&parts.teller, &destination.credential) {
        teller.tell().await.map_err(credential::CredentialFault::from)?;
    }
    if destination.protocol.is_forwarded() {
        return Ok(Plan::Forwarded(credential::of_screen(lease, &parts.desk, &parts.secrets).await?));
    }
    if destination.protocol == Protocol::Telnet {
        return Ok(Plan::Telnet(credential::of_terminal(lease, &parts.desk, &parts.secrets).await?));
    }
    let no_account = || credential::CredentialFault::NoAccount(lease.target().clone());
    Ok(Plan::Ssh(TargetPlan {
        user: destination.user.clone().ok_or_else(no_account)?,
        auth: credential::auth(lease, &parts.desk, &parts.secrets, &parts.ca).await?,
        host_key: destination.host_key.as_ref().ok_or_else(no_account)?.to_string(),
        legacy: destination.legacy,
        patience: PATIENCE,
    }))
}

fn way(parts: &SessionsParts, lease: &Arc<Lease>, plan: Plan) -> Way {
    let reach = |password| {
        let zone = parts.desk.with_state(|state| state.zone_of(lease.target()).cloned());
        Reach::new(lease, &parts.floor, zone, password, PATIENCE)
    };
    match plan {
        Plan::Ssh(plan) => Way::Ssh(TargetPool::new(lease, plan)),
        Plan::Telnet(login) => Way::Telnet(Exchange::new(reach(None), Arc::new(login))),
        Plan::Forwarded(password) => Way::Tcp { reach: reach(password), rule: lease.rule().id.clone() },
    }
}

/// Shows the session to those who may cut it, and only then touches the target.
async fn connect(
    parts: &Arc<SessionsParts>,
    who: Who,
    lease: Lease,
    recorder: Recorder,
    plan: Plan,
    line: VendorLine,
) -> Result<(Running, Session), NotOpened> {
    let place = place(parts, &who, &lease, &line);
    let lease = Arc::new(lease);
    let way = way(parts, &lease, plan);
    let (seen, codes) = Seen::new(parts.desk.clock().clone(), way.has_gate());
    let seen = Arc::new(seen);
    let (told, tellings) = mpsc::channel(TOLD_MAX);
    let (channels, asked) = mpsc::channel(1);
    let presence = parts.floor.enter(Live {
        session: lease.session(),
        since: parts.desk.clock().boot(),
        seen: Arc::clone(&seen),
        legs: Arc::clone(way.legs()),
        over: watch::Sender::new(None),
        frozen: Stopped::default(),
        slow: watch::Sender::new(false),
        told,
    });
    let (ended_sender, ended) = watch::channel(None);
    let (live, target, orders) = (Arc::clone(&presence.live), lease.target().clone(), lease.orders());
    let checked = lease.rule().file_check.is_some();
    let session = Session { live, target, place: place.clone(), orders, checked, channels, ended };
    let witness = Arc::new(Witness::new(recorder, seen));
    let inbox = Inbox { channels: asked, told: tellings, codes, ended: ended_sender };
    let mut running = Running::new(Arc::clone(parts), lease, witness, presence, place, way, line, who.proof, inbox);
    match running.first_connection().await {
        Ok(()) => Ok((running, session)),
        Err((ending, fault)) => {
            let (target, service) = running.leads_to();
            report(parts, target, service, fault.as_ref()).await;
            let over = NotOpened::Over(running.over(&ending).trim_end_matches('.').to_owned());
            running.undone(ending).await;
            Err(fault.map_or(over, NotOpened::from))
        }
    }
}

fn place(parts: &SessionsParts, who: &Who, lease: &Lease, line: &VendorLine) -> Place {
    Place {
        target: lease.target().clone(),
        asks: match line.is_page {
            true => Asks::OnPage,
            false => Asks::InLobby(line.gate.ssh(&who.login)),
        },
        timezone: parts.desk.with_state(policies::state::State::timezone),
        idle: lease.rule().idle,
    }
}

/// A target that shows another key than the pinned one is an event.
async fn report(parts: &SessionsParts, target: TargetName, service: ServiceName, fault: Option<&TargetFault>) {
    let Some(TargetFault::HostKey { changed, .. }) = fault else { return };
    let (expected, got) = (changed.expected.clone(), changed.got.clone());
    if let Err(rejected) = parts.desk.act(Command::ReportHostKey { target, service, expected, got }).await {
        tracing::error!(%rejected, "a changed host key could not be journaled");
    }
}
