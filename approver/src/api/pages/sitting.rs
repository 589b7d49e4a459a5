//! Pages that show a target: a terminal, for a grant with `shell`; its files; a screen over VNC, for one that lets look. Each is made by a form, as
//! whatever does something is, and holds a
//! ticket: the WebSocket that it opens spends it, and nobody else's can. What passes there, and who may, is known where it is carried.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use certs::proof::Authenticated;
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use policies::actions::Action;
use policies::digest::Digest;
use policies::ids::{RequestId, ServiceName, SessionId, TargetName};
use policies::plant::Protocol;
use policies::refusals::Refusal;
use policies::state::SessionFacts;
use policies::time::Seconds;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::super::staying::{self, Hangup};
use super::super::types::{OwnRequest, ServiceView};
use super::super::{Peer, Source};
use super::assets::{self, Asset};
use super::card::id_of;
use super::inside::{Inside, Said};
use super::logins::Held;
use super::signing_in::prove_again;
use super::{Fields, Pages, Posted, Top, is_from_a_page, mine, show, with_a_frame, words, wrong};
use crate::carrier::{Fetched, Pane, Sitting};
use crate::clock::Boot;
use crate::mint;

/// What page and gate speak on the WebSocket; the ticket is named beside it, where no log and no address shows it.
const SPOKEN: &str = "holdpoint-sitting";
/// From the page to its WebSocket, over the slowest line.
const TICKET_LASTS: Duration = Duration::from_secs(60);
/// An eldest one gives way: of one person's first.
const TICKETS_OF_ONE_MAX: usize = 8;
const TICKETS_MAX: usize = 1_024;
/// How often it is looked whether what proved a sign-in still counts.
const BEAT: Duration = Duration::from_secs(2);

const SPENT: &str = "This page was opened before, or waited too long. Open another on the page of your grant.";
const NOT_THERE: &str =
    "This file was fetched before, waited too long, or the page that wanted it is closed. Fetch it again there.";
#[derive(Template)]
#[template(path = "terminal.html")]
struct TerminalPage {
    top: Top,
    it: Shown,
    script: &'static Asset,
    xterm: &'static Asset,
    xterm_style: &'static Asset,
    xterm_licence: &'static Asset,
    fit: &'static Asset,
    fit_licence: &'static Asset,
}

#[derive(Template)]
#[template(path = "files.html")]
struct FilesPage {
    top: Top,
    it: Shown,
    may_get: bool,
    may_put: bool,
    script: &'static Asset,
}

#[derive(Template)]
#[template(path = "screen.html")]
struct ScreenPage {
    top: Top,
    it: Shown,
    script: &'static Asset,
    novnc: &'static str,
}

/// Asks for the passkey once more.
#[derive(Template)]
#[template(path = "before-sitting.html")]
struct ProofPage {
    top: Top,
    site: String,
    id: String,
    pane: &'static str,
    title: &'static str,
    target: String,
    service: String,
    /// It is for a provider's word that it is asked for.
    by_provider: bool,
    /// Where technicians get the code for a passkey.
    lobby: String,
}

/// What every page that shows a target says of it.
struct Shown {
    id: String,
    target: String,
    window: String,
    ticket: String,
    /// The script that all of them have in common.
    common: &'static Asset,
}

/// What can be opened here and now under a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) pane: Pane,
    pub(super) service: ServiceName,
}

impl Offer {
    /// What its page is called.
    pub(super) const fn title(&self) -> &'static str {
        match self.pane {
            Pane::Terminal => "Terminal",
            Pane::Files => "Files",
            Pane::Screen => "Screen",
        }
    }

    /// What its button says.
    pub(super) const fn invites(&self) -> &'static str {
        match self.pane {
            Pane::Terminal => "Open a terminal here",
            Pane::Files => "Open its files here",
            Pane::Screen => "Open its screen here",
        }
    }
}

/// What can be opened here and now under a grant.
pub(super) fn offered(pages: &Pages, request: &OwnRequest, now: Timestamp) -> Vec<Offer> {
    let is_open = request.standing == "granted" && !mine::is_over(request, now) && request.window.from <= now;
    let is_carried = pages.api.parts().sittings.is_some() && takes_websockets(pages);
    if !(is_open && is_carried) {
        return Vec::new();
    }
    let has = |action| request.actions.iter().any(|granted| granted.action == action);
    let shows = |pane, protocol: Protocol| match pane {
        Pane::Terminal => has(Action::Shell) && protocol.is_typed_to(),
        Pane::Files => (may(request, Action::FileGet) || may(request, Action::FilePut)) && protocol == Protocol::Ssh,
        Pane::Screen => (has(Action::Observe) || has(Action::Tunnel)) && protocol == Protocol::Vnc,
    };
    let of = |service: &ServiceView| {
        let (protocol, service) = (service.protocol?, service.service.clone());
        let panes = Pane::ALL.into_iter().filter(move |pane| shows(*pane, protocol));
        Some(panes.map(move |pane| Offer { pane, service: service.clone() }))
    };
    request.services.iter().filter_map(of).flatten().collect()
}

/// Whether files may go this way: whoever has `shell` may copy them, too.
fn may(request: &OwnRequest, action: Action) -> bool {
    request.actions.iter().any(|granted| [action, Action::Shell].contains(&granted.action))
}

fn takes_websockets(pages: &Pages) -> bool {
    pages.api.desk().with_state(|state| state.takes_websockets())
}

pub(super) async fn page(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Source(source): Source,
    Posted { inside, fields }: Posted,
) -> Response {
    match prepare(&pages, &inside, &id, (source, &fields)).await {
        Ok(page) => page,
        Err(said) => pages.refused(&inside, &said).await,
    }
}

async fn prepare(
    pages: &Pages,
    inside: &Inside,
    id: &str,
    (source, fields): (IpAddr, &Fields),
) -> Result<Response, Said> {
    let id: RequestId = id_of(id)?;
    let request: OwnRequest = inside.get(&format!("/api/v1/requests/{id}")).await?;
    let (now, zone) = pages.clock();
    let is_asked =
        |offer: &Offer| (offer.pane.as_str(), offer.service.as_str()) == (fields.get("pane"), fields.get("service"));
    let offer = offered(pages, &request, now).into_iter().find(is_asked).ok_or_else(|| {
        Said::mistake("that cannot be opened under this grant now: the page of the grant says how it stands")
    })?;
    let top = pages.top(Some(inside)).await;
    let (held, target) = (inside.login(), request.target.to_string());
    let who = match fields.get("nonce") {
        "" if wants_passkey(pages, held, id) => {
            return Ok(show(&ProofPage {
                top,
                site: pages.site.id().to_owned(),
                id: id.to_string(),
                pane: offer.pane.as_str(),
                title: offer.title(),
                target,
                service: offer.service.to_string(),
                by_provider: held.login.who.subject().is_some(),
                lobby: pages.api.parts().gate.ssh("NAME"),
            }));
        }
        "" => Arc::clone(&held.login.who),
        _ => prove_again(pages, held, source, fields).await?,
    };
    let (pane, window) = (offer.pane, words::moment(request.deadline, now, &zone));
    let ticket = Ticket { held: held.clone(), who, grant: id, target: request.target.clone(), offer };
    let ticket = pages.tickets.issue(ticket, pages.api.clock().boot());
    let it = Shown { id: id.to_string(), target, window, ticket, common: &assets::SITTING_SCRIPT };
    Ok(match pane {
        Pane::Terminal => show(&terminal(top, it)),
        Pane::Files => {
            let (may_get, may_put) = (may(&request, Action::FileGet), may(&request, Action::FilePut));
            with_a_frame(show(&FilesPage { top, it, may_get, may_put, script: &assets::FILES_SCRIPT }))
        }
        Pane::Screen => show(&ScreenPage { top, it, script: &assets::SCREEN_SCRIPT, novnc: &assets::NOVNC }),
    })
}

fn terminal(top: Top, it: Shown) -> TerminalPage {
    TerminalPage {
        top,
        it,
        script: &assets::TERMINAL_SCRIPT,
        xterm: &assets::XTERM_SCRIPT,
        xterm_style: &assets::XTERM_STYLE,
        xterm_licence: &assets::XTERM_LICENCE,
        fit: &assets::FIT_SCRIPT,
        fit_licence: &assets::FIT_LICENCE,
    }
}

/// Whether the passkey is asked for again: where its answer is older than the rule lets a complete login serve, or the
/// technician left a session alone since, who may have left this browser alone with it. A provider's word opens none, whatever is
/// beside it.
fn wants_passkey(pages: &Pages, held: &Held, grant: RequestId) -> bool {
    if held.login.who.subject().is_some() {
        return true;
    }
    let locked = pages.api.desk().floor().list().into_iter().filter(|live| live.locked).map(|live| live.session);
    let (locked, age) = (locked.collect::<Vec<_>>(), held.age(pages.api.clock().boot()));
    let person = held.login.who.person();
    pages.api.desk().with_state(|state| {
        let serves = state.cases.get(&grant).map_or(Seconds(0), |case| case.rule.factor_lasts);
        let ended_so = state.people.get(&person).and_then(|person| person.left_alone);
        let is_left_alone = |(id, _): (SessionId, &SessionFacts)| locked.contains(&id);
        let mut theirs = state.live_sessions().filter(|(_, facts)| facts.technician == person);
        age >= serves.duration() || ended_so.is_some_and(|at| at >= held.login.at) || theirs.any(is_left_alone)
    })
}

/// The WebSocket of such a page. A browser says of itself from which page it comes (RFC 6455, 10.2), and shows a page nothing of
/// a refusal but that there was one: so whoever is signed in, and comes from ours, is told on the WebSocket why nothing is opened.
pub(super) async fn open(State(pages): State<Pages>, Peer(from): Peer, request: Request) -> Response {
    if !is_from_a_page(&pages, request.headers()) {
        return wrong(StatusCode::FORBIDDEN, "Refused", "this was opened by a page that is not this gate's");
    }
    let answer = create_response_with_body(&request, Body::empty);
    let ticket = ticket_of(request.headers());
    let (mut parts, _) = request.into_parts();
    let Ok(inside) = Inside::from_request_parts(&mut parts, &pages).await else {
        return wrong(StatusCode::UNAUTHORIZED, "NOT DONE", "you are signed out. Sign in, and open it again");
    };
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let (Ok(mut answer), Some(ticket), Some(upgrade), Some(sittings)) =
        (answer, ticket, upgrade, pages.api.parts().sittings.clone())
    else {
        return wrong(
            StatusCode::UPGRADE_REQUIRED,
            "That does not work",
            "a WebSocket of a page that shows a target belongs here",
        );
    };
    sittings.open(upgrade, sitting(&pages, inside, from, &ticket).await);
    answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SPOKEN));
    answer
}

fn ticket_of(headers: &HeaderMap) -> Option<String> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let mut offered = offered.split(',').map(str::trim);
    (offered.next() == Some(SPOKEN)).then(|| offered.next().map(str::to_owned)).flatten()
}

async fn sitting(pages: &Pages, inside: Inside, from: SocketAddr, ticket: &str) -> Result<Sitting, String> {
    let spent = pages.tickets.spend(ticket, inside.login(), pages.api.clock().boot());
    let Ticket { held, who, grant, target, offer } = spent.ok_or(SPENT)?;
    if !takes_websockets(pages) {
        pages.api.desk().turned_away(&who, Refusal::NoWebSockets, target).await;
        return Err(format!("{}.", Refusal::NoWebSockets));
    }
    let pages = pages.clone();
    let signed_out = Box::pin(async move {
        let counts_no_more = async {
            while pages.still_counts(&inside).await {
                tokio::time::sleep(BEAT).await;
            }
        };
        tokio::select! {
            () = held.signed_out() => {}
            () = counts_no_more => {}
        }
    });
    let Offer { pane, service } = offer;
    Ok(Sitting { pane, who, grant, target, service, from, signed_out })
}

/// A file that such a page wants, which the browser keeps as a download.
pub(super) async fn fetched(State(pages): State<Pages>, hangup: Hangup, Posted { inside, fields }: Posted) -> Response {
    let sittings = pages.api.parts().sittings.clone();
    let fetched = sittings.and_then(|sittings| sittings.fetched(fields.get("ticket"), inside.person()));
    let mut answer = match fetched {
        Some(fetched) => download(fetched, &hangup),
        None => pages.refused(&inside, &Said::mistake(NOT_THERE)).await,
    };
    // It goes into a frame of our own page, and is shown nowhere: some browsers take no download there otherwise.
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'self'"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    answer
}

fn download(fetched: Fetched, hangup: &Hangup) -> Response {
    let Fetched { name, size, body, taken, over } = fetched;
    let carried = staying::hang_up_after(hangup, async move { over.cancelled().await });
    let pieces = futures::stream::unfold(Some((body, carried)), move |body| {
        let taken = Arc::clone(&taken);
        async move {
            let (mut body, carried) = body?;
            match body.recv().await {
                Some(Ok(last)) if last.is_empty() => None,
                Some(Ok(piece)) => {
                    taken.fetch_add(piece.len() as u64, Ordering::AcqRel);
                    Some((Ok(piece), Some((body, carried))))
                }
                Some(Err(fault)) => Some((Err(fault), None)),
                None => Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), None)),
            }
        }
    });
    let mut answer = Response::new(Body::from_stream(pieces));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, kept_as(&name));
    if let Some(size) = size {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    answer
}

/// The name that a target gives a file, as one for a download (RFC 6266, 4; RFC 8187, 3.2): its browser makes it harmless.
fn kept_as(name: &str) -> HeaderValue {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let name: String = words::plain(name).bytes().map(one).collect();
    HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}")).expect("of such signs a header may be made")
}

/// What a page may open, once.
struct Ticket {
    held: Held,
    /// What they proved last.
    who: Arc<Authenticated>,
    grant: RequestId,
    target: TargetName,
    offer: Offer,
}

/// Tickets that are not spent, by the digest of their secret.
#[derive(Default)]
pub(super) struct Tickets(Mutex<HashMap<Digest, (Boot, Ticket)>>);

impl Tickets {
    fn issue(&self, ticket: Ticket, now: Boot) -> String {
        let secret = data_encoding::HEXLOWER.encode(&mint::random::<32>());
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, (until, _)| now < *until);
        let person = ticket.who.person();
        give_way(&mut tickets, TICKETS_OF_ONE_MAX, |other| other.who.person() == person);
        if give_way(&mut tickets, TICKETS_MAX, |_| true) {
            tracing::warn!("so many pages of targets are being opened that one of somebody else's may not open");
        }
        tickets.insert(Digest::of_bytes(secret.as_bytes()), (now.after(TICKET_LASTS), ticket));
        secret
    }

    /// The ticket, to whom it was given; whoever else shows it spends it, too.
    fn spend(&self, secret: &str, held: &Held, now: Boot) -> Option<Ticket> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, ticket) = tickets.remove(&Digest::of_bytes(secret.as_bytes()))?;
        (now < until && ticket.held.is(held)).then_some(ticket)
    }
}

/// Takes the eldest of these tickets away, where there are as many as may be. Whether there were.
fn give_way(tickets: &mut HashMap<Digest, (Boot, Ticket)>, most: usize, are: impl Fn(&Ticket) -> bool) -> bool {
    let these = || tickets.iter().filter(|(_, (_, ticket))| are(ticket));
    let eldest = these().min_by_key(|(_, (until, _))| *until).map(|(id, _)| *id);
    let eldest = eldest.filter(|_| these().count() >= most);
    eldest.is_some_and(|id| tickets.remove(&id).is_some())
}
