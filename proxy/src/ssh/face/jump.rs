//! `ssh -J TECH@gate TARGET`: the inner session is served by the gate itself, under the target's name. Every other
//! forwarding is refused with the words to type.

use std::sync::Arc;
use std::time::Duration;

use policies::refusals::Refusal;
use russh::server::{self, Msg};
use russh::{ChannelWriteHalf, MethodKind};

use super::asking::{Applicant, Standing};
use super::door::{Door, Inner};
use super::names::Place;
use super::{Connection, Face};
use crate::flow::{ChannelStream, Queue, Valve};

/// The port that `ssh` jumps to where nothing else is said.
const SSH_PORT: u32 = 22;

/// Which target a forwarding leads to. Names are looked up in the plant's file alone.
///
/// # Errors
/// Why it leads nowhere, and what to type instead.
pub(super) fn destination(applicant: &Applicant, gate: &str, host: &str, port: u32) -> Result<Place, String> {
    let login = &applicant.who().login;
    let to_jump = || format!("only a target's name is forwarded to: ssh -J {login}@{gate} TARGET");
    let place = applicant.resolved(Place { target: host.parse().map_err(|_| to_jump())?, service: None });
    let has_something = !matches!(applicant.standing(&place), Standing::Nothing);
    match applicant.offer(&place) {
        Ok(_) if port == SSH_PORT => Ok(place),
        Ok(_) => Err(format!("TCP services are not carried yet; for SSH: ssh -J {login}@{gate} {}", place.target)),
        Err(_) if has_something && port == SSH_PORT => Ok(place),
        Err(Refusal::NotAllowed(why)) => Err(why.to_string()),
        Err(_) => Err(to_jump()),
    }
}

/// Serves one inner connection to its end.
pub(super) async fn serve(
    face: Arc<Face>,
    outer: Arc<Connection>,
    inner: Inner,
    channel: ChannelWriteHalf<Msg>,
    upload: Arc<Queue>,
) {
    let valve = Arc::new(Valve::default());
    let config = face.config(inner.place.target.as_str(), MethodKind::KeyboardInteractive);
    let connection = Arc::new(Connection::within(&outer, Arc::clone(&valve)));
    let door = Door::inner(Arc::clone(&face), Arc::clone(&connection), inner);
    let (stream, forwarding) = ChannelStream::new(upload, channel, Arc::clone(&valve));
    let serving = async {
        let running = server::run_stream(config, stream, door).await?;
        connection.has_begun(running.handle());
        running.await
    };
    let attending = async {
        let outcome = connection.attend(&face.stop, serving).await;
        if let Err(why) = outcome {
            tracing::debug!(%why, "an inner connection ended");
        }
        if valve.is_cut() {
            close(&outer).await;
        }
    };
    tokio::join!(attending, forwarding);
}

/// What carried a connection that was cut is closed with it. A technician with several jumps on one connection, which
/// only a shared one has, connects again.
async fn close(outer: &Connection) {
    const LAST_WORDS: Duration = Duration::from_millis(200);
    tokio::time::sleep(LAST_WORDS).await;
    outer.valve.cut();
}
