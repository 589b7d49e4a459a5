//! A TCP connection to a service as a WebSocket (RFC 6455), for technicians behind a proxy that opens TLS: no client
//! certificate arrives there, so it is shown in the request. Who is carried is decided before the answer, so that a no is
//! an answer like any other; what is then said on the connection is known where it is carried.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use policies::ids::{ServiceName, TargetName};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::connecting::no_tcp_face;
use super::guard::{At, Login};
use super::problem::Problem;
use super::{Api, Peer};
use crate::carrier::{Arrival, NotCarried};

pub(super) async fn carry(
    State(api): State<Api>,
    login: Login,
    Peer(from): Peer,
    At((target, service)): At<(TargetName, ServiceName)>,
    mut request: Request,
) -> Result<Response, Problem> {
    // A browser names the page that it acts for (RFC 6455, 10.2). None has business here.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "browser",
            "pages in a browser open no connections to services. Use `holdpoint connect`",
        ));
    }
    let answer = create_response_with_body(&request, Body::empty).map_err(|bad| no_websocket(&bad))?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or_else(|| no_websocket(&"this connection is for requests alone"))?;
    let carrier = api.parts().carrier.as_ref().ok_or_else(no_tcp_face)?;
    carrier.carry(Arrival { who: login.who, target, service, from, upgrade }).await?;
    Ok(answer)
}

fn no_websocket(why: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket", format!("WebSocket is spoken here (RFC 6455): {why}"))
}

impl From<NotCarried> for Problem {
    fn from(not_carried: NotCarried) -> Self {
        match not_carried {
            NotCarried::Rejected(rejected) => rejected.into(),
            NotCarried::NoSession(words) => Self::unavailable(words),
        }
    }
}
