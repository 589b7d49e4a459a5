//! The two faces on their listeners: SSH and pages for technicians, pages for the plant's own people.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use approver::api::{self, ApiParts, Limits, NodeFiles, Pages};
use approver::carrier::{Carrier, Sittings};
use approver::memory::Headroom;
use approver::notify::Sealed;
use approver::oidc::Providers;
use axum::Router;
use certs::keys::KeyStore;
use futures::future::join_all;
use policies::ids::CredentialName;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::given::FaceTls;
use super::stores::records_dir;
use super::{App, Reason, StartFault, telling};
use crate::config::{CertificateFiles, Origin};
use crate::lanes::Lanes;
use crate::sittings::{BrowserSittings, SittingParts};
use crate::ssh::face::{FaceParts, SshFace};
use crate::tls_face::{TlsFace, TlsFaceParts};
use crate::vault;
use crate::vendor_port::{PortParts, Speaks, VendorPort};
use approver::gate::Gate;

/// Listeners, bound and not served yet.
pub(super) struct Listeners {
    /// The vendor face, everything.
    pub(super) shared: Vec<TcpListener>,
    /// The vendor face, SSH.
    pub(super) ssh: Vec<TcpListener>,
    /// The vendor face, the TCP face.
    pub(super) tls: Vec<TcpListener>,
    /// The vendor face, HTTPS.
    pub(super) pages: Vec<TcpListener>,
    /// The plant face, HTTPS.
    pub(super) plant: Vec<TcpListener>,
}

impl App {
    /// Serves both faces until the program stops.
    pub(super) fn serve_faces(&self, keys: &Arc<KeyStore>, listeners: Listeners) -> Result<(), StartFault> {
        let name = self.config.vendor.origin.host().to_owned();
        let port = self.config.vendor.ssh_port.or_else(|| first_port(&self.addresses.ssh)).unwrap_or_default();
        let gate = Gate { name, port };
        let (vendor, plant) = (&self.config.vendor, &self.config.plant);
        let (vendor, plant) =
            (("vendor", &vendor.origin, &vendor.certificate), ("plant", &plant.origin, &plant.certificate));
        let vendor = self.tls(keys, vendor, &self.addresses.pages)?;
        let plant = self.tls(keys, plant, &self.addresses.plant)?;
        let Listeners { shared, ssh, tls, pages, plant: of_plant } = listeners;
        let died = |cause: io::Error| Reason::Died(format!("sessions have no threads: {cause}"));
        let lanes = Lanes::start(&self.tracker).map_err(died)?;
        let has_pages = !(shared.is_empty() && tls.is_empty() && pages.is_empty());
        let face = self.ssh_face(keys, gate.clone(), lanes.clone(), has_pages);
        let strangers = Arc::clone(face.strangers());
        self.keep(self.headroom.clone().while_gone(move || strangers.turn_out_all()));
        let has_tcp = !shared.is_empty() || !tls.is_empty();
        let tcp = has_tcp.then(|| self.tcp_face(keys, gate.clone(), lanes.clone(), &face)).transpose()?;
        let parts = self.api_parts(keys, &gate, tcp.clone(), self.sittings(gate.clone(), lanes))?;
        let router = api::vendor_face(parts.clone());
        if let Some(tcp) = tcp {
            self.serve_port(tcp, &face, (vendor.clone(), router.clone()), (shared, tls));
        }
        for listener in ssh {
            let face = face.clone();
            self.tracker.spawn(async move { face.serve(listener).await });
        }
        self.serve_pages(pages, &vendor, &router);
        if of_plant.is_empty() {
            return Ok(());
        }
        self.serve_apart(of_plant, plant, api::plant_face(parts))
    }

    fn sittings(&self, gate: Gate, lanes: Lanes) -> Arc<dyn Sittings> {
        let (sessions, desk) = (self.sessions.clone(), self.desk.clone());
        Arc::new(BrowserSittings::new(SittingParts { sessions, desk, gate, lanes, fetches: Arc::default() }))
    }

    fn tcp_face(&self, keys: &Arc<KeyStore>, gate: Gate, lanes: Lanes, ssh: &SshFace) -> Result<TlsFace, StartFault> {
        Ok(TlsFace::new(TlsFaceParts {
            sessions: self.sessions.clone(),
            desk: self.desk.clone(),
            client_face: keys.tls_ca().client_face(self.desk.deployment().clone())?,
            strangers: Arc::clone(ssh.strangers()),
            gate,
            tracker: self.tracker.clone(),
            lanes,
            stop: self.stop.clone(),
        }))
    }

    /// Ports on which more is spoken than SSH or pages.
    fn serve_port(
        &self,
        tcp: TlsFace,
        ssh: &SshFace,
        (pages_tls, router): (watch::Receiver<Arc<ServerConfig>>, Router),
        (shared, tls): (Vec<TcpListener>, Vec<TcpListener>),
    ) {
        let (tracker, stop) = (self.tracker.clone(), self.stop.clone());
        let port = VendorPort::new(PortParts {
            ssh: ssh.clone(),
            tls: tcp,
            pages: Pages::new(router, (Limits::default(), self.headroom.clone()), stop.clone()),
            pages_tls,
            headroom: self.headroom.clone(),
            host: self.config.vendor.origin.host().to_owned(),
            tracker,
            stop,
        });
        let all = shared.into_iter().map(|listener| (listener, Speaks::Everything));
        for (listener, speaks) in all.chain(tls.into_iter().map(|listener| (listener, Speaks::Tls))) {
            let port = port.clone();
            self.tracker.spawn(async move { port.serve(listener, speaks).await });
        }
    }

    fn ssh_face(&self, keys: &Arc<KeyStore>, gate: Gate, lanes: Lanes, has_pages: bool) -> SshFace {
        SshFace::new(FaceParts {
            sessions: self.sessions.clone(),
            desk: self.desk.clone(),
            people: self.people.clone(),
            host_key: keys.ssh_host_key(),
            ca: keys.ssh_ca(),
            gate,
            passwords: self.config.vendor.passwords,
            pages: has_pages.then(|| self.config.vendor.origin.to_string()),
            tracker: self.tracker.clone(),
            lanes,
            headroom: self.headroom.clone(),
            stop: self.stop.clone(),
        })
    }

    fn serve_pages(&self, listeners: Vec<TcpListener>, tls: &watch::Receiver<Arc<ServerConfig>>, router: &Router) {
        for listener in listeners {
            let serving = {
                let limits = (Limits::default(), self.headroom.clone());
                api::serve(listener, tls.clone(), router.clone(), limits, self.stop.clone())
            };
            self.tracker.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "a face stopped serving");
                }
            });
        }
    }

    /// Serves the plant face on a thread of its own, because sessions that move bulk may keep all others busy, and an
    /// operator's cut waits for none of them.
    fn serve_apart(
        &self,
        listeners: Vec<TcpListener>,
        tls: watch::Receiver<Arc<ServerConfig>>,
        router: Router,
    ) -> Result<(), StartFault> {
        let died = |cause: io::Error| Reason::Died(format!("the plant face has no thread: {cause}"));
        let listeners =
            listeners.into_iter().map(TcpListener::into_std).collect::<Result<Vec<_>, _>>().map_err(died)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(died)?;
        let (stop, tracked) = (self.stop.clone(), self.tracker.token());
        let serving = move || {
            let serving = listeners.into_iter().map(|listener| {
                let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
                let limits = (Limits::default(), Headroom::always());
                async move { api::serve(TcpListener::from_std(listener)?, tls, router, limits, stop).await }
            });
            for served in runtime.block_on(async { join_all(serving).await }) {
                served.unwrap_or_else(|error| tracing::error!(%error, "the plant face stopped serving"));
            }
            drop(tracked);
        };
        std::thread::Builder::new().name("plant-face".into()).spawn(serving).map_err(died)?;
        Ok(())
    }

    fn api_parts(
        &self,
        keys: &Arc<KeyStore>,
        gate: &Gate,
        tcp: Option<TlsFace>,
        sittings: Arc<dyn Sittings>,
    ) -> Result<ApiParts, StartFault> {
        let (identity, data) = (&self.stores.identity, &self.config.store.data);
        let origins = [identity.journal_origin(), identity.records_origin()];
        let logs = origins.iter().map(|origin| keys.log_key().verifier(origin)).collect::<Result<_, _>>();
        Ok(ApiParts {
            desk: self.desk.clone(),
            people: self.people.clone(),
            token_key: keys.token_key(),
            ssh_ca: keys.ssh_ca(),
            tls_ca: keys.tls_ca(),
            secrets: keys.secrets(),
            seal_word: format!("{}. {}", keys.seal_word(), self.guarded),
            vendor_origin: self.config.vendor.origin.to_string(),
            plant_origin: self.config.plant.origin.to_string(),
            gate: gate.clone(),
            tcp_port: self
                .config
                .vendor
                .tls_port
                .or_else(|| first_port(&self.addresses.tls))
                .filter(|_| !self.addresses.tls.is_empty() || !self.config.vendor.is_here()),
            carrier: tcp.map(|tcp| Arc::new(tcp) as Arc<dyn Carrier>),
            sittings: Some(sittings),
            logs: logs.map_err(|bad| Reason::Died(bad.to_string()))?,
            recorder: Some(Arc::clone(&self.stores.records)),
            witnesses: self.witnesses.clone(),
            deposits: self.depositing.as_ref().map(|depositing| depositing.standing.clone()),
            recipient_names: self.shared.recipient_names.subscribe(),
            settings: self.shared.settings.subscribe(),
            records_dir: Some(records_dir(data)),
            files: Some(self.node_files(keys)),
            feed: Some(self.feed.clone()),
            alarms: self.alarms.clone(),
            certificates: self.certificates.clone(),
            providers: self.providers(keys),
            traces: self.traces.clone(),
        })
    }

    /// By whose word people sign in, too.
    fn providers(&self, keys: &Arc<KeyStore>) -> Providers {
        let sealed = |credential: &CredentialName| {
            Some(Sealed { credential: credential.clone(), desk: self.desk.clone(), secrets: keys.secrets() })
        };
        let providers = telling::providers(&self.config.oidc, sealed);
        for (provider, no_ca) in providers.unbelievable() {
            tracing::warn!(%provider, %no_ca, "an identity provider signs nobody in");
        }
        let plant = self.desk.with_state(|state| state.plant.clone());
        for unknown in plant.iter().flat_map(|plant| telling::unknown_to(plant, &self.config.oidc)) {
            tracing::warn!(%unknown, "the configuration and the plant file do not fit");
        }
        providers
    }

    fn node_files(&self, keys: &Arc<KeyStore>) -> NodeFiles {
        NodeFiles {
            journal: self.stores.journal_log(),
            records: Arc::clone(&self.stores.records),
            data: self.config.store.data.clone(),
            beside: vault::beside(&self.config),
            keys: Arc::clone(keys),
            copying: self.stores.copying.clone(),
        }
    }

    /// A certificate for a face's name and for the addresses it listens on, renewed for as long as the program runs.
    fn tls(
        &self,
        keys: &Arc<KeyStore>,
        (face, origin, files): (&'static str, &Origin, &Option<CertificateFiles>),
        addresses: &[SocketAddr],
    ) -> Result<watch::Receiver<Arc<ServerConfig>>, StartFault> {
        let mut names = vec![origin.host().to_owned()];
        let ips = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
        names.extend(ips.map(|ip| ip.to_string()));
        names.dedup();
        let (clock, certificates) = (self.desk.clock().clone(), self.certificates.clone());
        let (ca, keys) = (keys.tls_ca(), Arc::clone(keys));
        let turned = self.shared.turned.subscribe();
        let tls = FaceTls { ca, keys, turned, face, names, files: files.clone(), clock, certificates };
        let (first, current) = tls.begin()?;
        let served = current.subscribe();
        self.keep(tls.keep(first, current));
        Ok(served)
    }
}

/// Of several, people are told the first.
fn first_port(addresses: &[SocketAddr]) -> Option<u16> {
    addresses.first().map(SocketAddr::port)
}
