//! Connections that come to the TCP face as a WebSocket, because something in between ends TLS: who comes was proved by
//! the API's guard, with the same certificate, and from there all is as it is for those who come by TLS.

use std::sync::Arc;

use approver::carrier::{Arrival, Carrier, NotCarried};
use approver::desk::{Fault, Rejected};
use certs::proof::Authenticated;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use policies::refusals::Refusal;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Face, Housed, Rooms, Tenant, TlsFace};
use crate::session::{Session, VendorChannel};
use crate::tcp::{LastWords, VendorEnd};
use crate::vendor_port::TcpPlace;
use crate::websocket::{self, Said, UPGRADE_MAX};

impl Carrier for TlsFace {
    fn carry(&self, arrival: Arrival) -> BoxFuture<'static, Result<(), NotCarried>> {
        let face = Arc::clone(&self.0);
        let (tell, told) = oneshot::channel();
        self.0.parts.lanes.carry(move || async move {
            let stop = face.parts.stop.clone();
            let entering = face.enter(arrival, tell);
            if let Some(Some(carrying)) = stop.run_until_cancelled_owned(Box::pin(entering)).await {
                carrying.await;
            }
        });
        Box::pin(async move { told.await.unwrap_or_else(|_| Err(Rejected::from(Fault::Stopping).into())) })
    }
}

impl Face {
    /// Lets somebody into a session, says so or why not, and gives what carries their connection once it is one.
    async fn enter(
        self: Arc<Self>,
        arrival: Arrival,
        tell: oneshot::Sender<Result<(), NotCarried>>,
    ) -> Option<BoxFuture<'static, ()>> {
        let Arrival { who, target, service, from, upgrade } = arrival;
        let place = TcpPlace { target, service: Some(service) };
        let entered = self.admitted(&who, &place).await;
        let (entered, answer) = match entered {
            Ok(entered) => (Some(entered), Ok(())),
            Err(why) => (None, Err(why)),
        };
        if tell.send(answer).is_err() {
            tracing::debug!("a technician was gone before they were answered");
        }
        let (tenant, session) = entered?;
        let upgraded = match timeout(UPGRADE_MAX, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(session = %session.id(), "a technician was gone before their connection was a WebSocket");
                return None;
            }
        };
        let mut socket = websocket::open(TokioIo::new(upgraded), Role::Server).await;
        let carried = Said::Carried { session: session.id() };
        timeout(UPGRADE_MAX, websocket::say(&mut socket, &carried)).await.ok()?.ok()?;
        let (stream, carrying) = websocket::pipe(socket);
        let last_words = LastWords::default();
        let end = VendorEnd::stream(Housed { stream, _tenant: tenant }, from).within_websocket(Arc::clone(&last_words));
        if session.channel(VendorChannel::Tcp(end)).await.is_err() {
            tracing::debug!(session = %session.id(), "a session that ends takes no more connections");
        }
        let why = move || session.over_in_words().or_else(|| last_words.get().cloned());
        Some(Box::pin(async move { drop(carrying.run(why).await) }))
    }

    /// A place in a session, for somebody who may have it.
    async fn admitted(
        self: &Arc<Self>,
        who: &Arc<Authenticated>,
        place: &TcpPlace,
    ) -> Result<(Tenant, Session), NotCarried> {
        let may_come_so = match self.parts.desk.with_state(|state| state.takes_websockets()) {
            true => Ok(()),
            false => Err(Refusal::NoWebSockets),
        };
        if let Err(refusal) = may_come_so.and_then(|()| self.would_let_in(who, place)) {
            self.parts.desk.turned_away(who, refusal.clone(), place.target.clone()).await;
            return Err(Rejected::from(refusal).into());
        }
        let no_grant = || Rejected::from(Refusal::NoGrant(place.target.clone()));
        let tenant = Rooms::move_in(self, self.key(who, place).ok_or_else(no_grant)?);
        let session = tenant.room.session(self, who, place).await.map_err(NotCarried::NoSession)?;
        Ok((tenant, session))
    }
}
