//! `ssh -J TECH@gate TARGET`: the inner session is served by the gate itself, under the target's name.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use russh::server::{self, Msg};
use russh::{ChannelId, ChannelWriteHalf, MethodKind};

use super::connection::{LEAVING_MAX, Tenant};
use super::door::{Door, Inner};
use super::names::Place;
use super::{Connection, Face};
use crate::flow::{ChannelStream, Queue, Valve};

/// Serves one inner connection to its end.
pub(super) async fn serve(
    face: Arc<Face>,
    outer: Arc<Connection>,
    inner: Inner,
    channel: ChannelWriteHalf<Msg>,
    upload: Arc<Queue>,
) {
    let (valve, tenant, id) = (Arc::new(Valve::default()), outer.move_in(), channel.id());
    let config = face.config(&known_as(&inner.place), &[MethodKind::KeyboardInteractive]);
    let connection = Arc::new(Connection::within(&outer, Arc::clone(&valve)));
    let door = Door::inner(Arc::clone(&face), Arc::clone(&connection), inner);
    let (stream, forwarding) = ChannelStream::new(upload, channel, Arc::clone(&valve));
    let serving = async {
        let running = Box::pin(server::run_stream(config, stream, door)).await?;
        connection.has_begun(running.handle());
        running.await
    };
    let attending = async {
        if let Err(why) = connection.attend(&face.stop, serving).await {
            tracing::debug!(%why, "an inner connection ended");
        }
        leave(tenant, &outer, &valve);
    };
    match select(pin!(attending), pin!(forwarding)).await {
        Either::Left(((), forwarding)) => {
            if tokio::time::timeout(LEAVING_MAX, forwarding).await.is_err() {
                close(&outer, id).await;
            }
        }
        Either::Right(((), attending)) => attending.await,
    }
}

/// By which names a client may have asked for it: it compares the one that was typed with those of the certificate.
fn known_as(place: &Place) -> Vec<String> {
    let mut names = vec![place.target.to_string(), place.forwarded()];
    names.dedup();
    names
}

/// An inner connection that was cut closes the outer one, which may be stuck with it; unless others use that too, whom
/// nobody cut.
fn leave(tenant: Tenant, outer: &Connection, inner: &Valve) {
    drop(tenant);
    if inner.is_cut() && outer.is_empty() {
        outer.valve.cut();
    }
}

/// Closes the channel of an inner connection that is over, though its client does not take what was left.
async fn close(outer: &Connection, id: ChannelId) {
    let Some(session) = outer.session() else { return };
    if session.close(id).await.is_err() {
        tracing::debug!("the outer connection ended with the inner one");
    }
}
