//! Client certificates of the TCP face: the first by a technician who signed in, each further one by showing the last.
//! Whether the grant stands is asked each time, of the same rules that let a connection in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use certs::proof::Authenticated;
use certs::tls_client::{BadSigningRequest, LASTS_MAX, NoClientCertificate, ProvenClientKey};
use jiff::Timestamp;
use policies::actions::Actions;
use policies::ids::RequestId;
use policies::refusals::Refusal;

use super::Api;
use super::guard::{At, Caller, Login, Sent};
use super::problem::Problem;
use super::types::{ClientCertificate, ClientCertificateWanted, SessionView, TcpFaceView, TcpServiceView};
use crate::desk::Rejected;
use crate::lease::Ask;
use crate::mint;

pub(super) async fn first(
    State(api): State<Api>,
    caller: Caller,
    login: Login,
    At(grant): At<RequestId>,
    Sent(asked): Sent<ClientCertificateWanted>,
) -> Result<Json<ClientCertificate>, Problem> {
    api.own(caller.person(), grant)?;
    let key = ProvenClientKey::by_signing_request(&asked.signing_request)?;
    let made = api.make_out(&login.who, login.at, grant, &key).await?;
    tracing::info!(person = %caller.person(), %grant, source = %login.who.source(), "a client certificate was made out");
    Ok(Json(made))
}

/// Whoever shows a certificate that is valid, in a request that its key signed, goes on as the one they are, from the same
/// address: with no new code, which would be asked for every quarter of an hour, and no further than the grant.
pub(super) async fn renew(
    State(api): State<Api>,
    caller: Caller,
    login: Login,
    Sent(asked): Sent<ClientCertificateWanted>,
) -> Result<Json<ClientCertificate>, Problem> {
    let grant = login.who.grant().ok_or(Refusal::NoSuchRequest)?;
    api.own(caller.person(), grant)?;
    let key = ProvenClientKey::by_signing_request(&asked.signing_request)?;
    Ok(Json(api.make_out(&login.who, login.at, grant, &key).await?))
}

impl Api {
    async fn make_out(
        &self,
        who: &Authenticated,
        signed_in: Timestamp,
        grant: RequestId,
        key: &ProvenClientKey,
    ) -> Result<ClientCertificate, Problem> {
        let port = self.parts().tcp_port.ok_or_else(no_tcp_face)?;
        let now = self.clock().wall();
        let services = self.tcp_services(grant)?;
        for TcpServiceView { service, .. } in &services {
            self.check_stands(who, grant, service, now)?;
        }
        let around = self.own(who.person(), grant)?;
        let expires = around.case.deadline.min(LASTS_MAX.after(now));
        let ca = &self.parts().tls_ca;
        let (ca_pem, ca_succession_pem) = ca.authorities_and_succession();
        let made = ca.client_certificate(self.desk().deployment(), who, signed_in, grant, key, (now, expires));
        Ok(ClientCertificate {
            certificate: made?,
            ca_pem,
            ca_succession_pem,
            expires,
            source: who.source(),
            face: TcpFaceView { host: self.parts().gate.name.clone(), port, services },
            grant: self.own_request(&around).await,
            sessions: self.sessions_under(grant).await,
            restarts: self.desk().status().restarts,
        })
    }

    async fn sessions_under(&self, grant: RequestId) -> Vec<SessionView> {
        const LISTED_MAX: usize = 10;
        let own: Vec<_> = self.desk().with_state(|state| {
            let under = state.cases.get(&grant).into_iter().flat_map(|case| case.sessions.iter().rev());
            under.take(LISTED_MAX).filter_map(|id| Some((*id, state.sessions.get(id)?.clone()))).collect()
        });
        self.own_sessions(&own).await
    }

    /// What of a grant the TCP face carries, and by which name.
    fn tcp_services(&self, grant: RequestId) -> Result<Vec<TcpServiceView>, Problem> {
        let host = &self.parts().gate.name;
        let found = self.desk().with_state(|state| {
            let request = &state.cases.get(&grant).ok_or(Refusal::NoSuchRequest)?.request;
            let target = state.plant.as_ref().and_then(|plant| plant.targets.get(&request.target));
            let all = &target.ok_or_else(|| Refusal::NoGrant(request.target.clone()))?.services;
            let carried = request.services.iter().filter_map(|name| all.get_key_value(name));
            let carried = carried.filter(|(_, service)| service.protocol.is_forwarded());
            Ok::<_, Refusal>(
                carried
                    .map(|(name, service)| TcpServiceView {
                        service: name.clone(),
                        protocol: service.protocol,
                        server_name: format!("{name}.{}.{host}", request.target),
                    })
                    .collect::<Vec<_>>(),
            )
        })?;
        if found.is_empty() {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no-tcp-service",
                "this grant is for a terminal alone: connect with `ssh`, there is nothing to carry here",
            ));
        }
        Ok(found)
    }

    /// What would be refused to a connection is refused here, but for what passes by itself: a place that is taken, a gate that
    /// waits for those at work before it restarts.
    fn check_stands(
        &self,
        who: &Authenticated,
        grant: RequestId,
        service: &policies::ids::ServiceName,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let target = self.desk().with_state(|state| state.cases.get(&grant).map(|case| case.request.target.clone()));
        let target = target.ok_or(Refusal::NoSuchRequest)?;
        let session = mint::session(now);
        let ask = Ask { target, service: Some(service.clone()), wants: Actions::new(), grant: Some(grant), session };
        match self.desk().would_admit(who, &ask) {
            Err(Rejected::Refusal(
                Refusal::TooManyConnections(_) | Refusal::HeldExclusively(..) | Refusal::Restarts(_),
            )) => Ok(()),
            would => Ok(would?),
        }
    }
}

pub(super) fn no_tcp_face() -> Problem {
    Problem::unavailable(
        "this gate has no TCP face. An administrator opens one with `listen` or `tls` in [faces.vendor] of holdpoint.toml",
    )
}

impl From<BadSigningRequest> for Problem {
    fn from(bad: BadSigningRequest) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-signing-request", bad.to_string())
    }
}

impl From<NoClientCertificate> for Problem {
    fn from(none: NoClientCertificate) -> Self {
        match none {
            NoClientCertificate::OtherGrant | NoClientCertificate::NoKey => Self::unauthenticated(none.to_string()),
            NoClientCertificate::Time | NoClientCertificate::Tls(_) => Self::unavailable(none.to_string()),
        }
    }
}
