//! One request, as the technician who made it sees it: for whom it waits, what it opens and how to get there with the tools they
//! have, and more time or more actions while it lasts.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use policies::actions::{Action, Actions};
use policies::ids::{RequestId, ServiceName};
use policies::plant::Protocol;
use serde_json::json;

use super::super::types::{
    AccountGiven, AskMade, AskMoreActions, AskMoreTime, Done, NoView, OwnAsk, OwnRequest, ReachesView, ServiceView,
};
use super::asking::{minutes, ticked};
use super::card::id_of;
use super::inside::{Inside, Said};
use super::signing_in::has_passkeys_alone;
use super::sitting::Offer;
use super::{Fields, Pages, Posted, Top, mine, sitting, words};

#[derive(Template)]
#[template(path = "own-request.html")]
struct Own {
    top: Top,
    id: String,
    target: String,
    standing: String,
    services: String,
    actions: Vec<(&'static str, String)>,
    reason: String,
    window: String,
    duration: String,
    needs: String,
    taken_away: Vec<String>,
    no: String,
    words: String,
    read_back: String,
    asks: Vec<Asked>,
    /// More actions to ask for.
    wider: Vec<(&'static str, String)>,
    ways: Vec<Way>,
    /// They have a passkey alone, which no program of their own can use.
    by_page_alone: bool,
    /// What can be opened here.
    offers: Vec<Offer>,
    /// Through more than one service, so that each is named.
    are_several: bool,
    is_waiting: bool,
    /// So many answers: its own, and those of what was asked beside it.
    awaits: usize,
    /// Its time runs.
    is_used: bool,
    /// Somebody was at work under it, and it is not closed out.
    is_told: bool,
    is_wanted: bool,
    account: words::Account,
}

struct Asked {
    in_words: String,
    standing: String,
    read_back: String,
}

/// How one comes there with one kind of tool.
struct Way {
    tool: &'static str,
    text: String,
    note: String,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, gather(&pages, &inside, &id).await).await
}

async fn gather(pages: &Pages, inside: &Inside, id: &str) -> Result<Own, Said> {
    let id: RequestId = id_of(id)?;
    let request: OwnRequest = inside.get(&format!("/api/v1/requests/{id}")).await?;
    let (now, zone) = pages.clock();
    let is_over = mine::is_over(&request, now);
    let is_granted = request.standing == "granted" && !is_over;
    let is_open = is_granted && request.window.from <= now;
    let is_waiting = request.standing == "pending" && !is_over;
    let by_page_alone = has_passkeys_alone(pages, inside.person());
    let asked_beside = request.asks.iter().filter(|ask| ask.standing == "pending" && !is_over);
    let window = format!(
        "{} to {}",
        words::moment(request.window.from, now, &zone),
        words::moment(request.window.until, now, &zone)
    );
    Ok(Own {
        top: pages.top(Some(inside)).await,
        id: id.to_string(),
        target: request.target.to_string(),
        standing: mine::standing(&request, now, &zone),
        services: in_words(&request.services),
        actions: request.actions.iter().map(|action| (action.action.as_str(), action.in_words.clone())).collect(),
        reason: words::plain(request.reason.as_deref().unwrap_or("(the text is not there)")),
        window,
        duration: words::duration(request.duration_seconds),
        needs: mine::answered_by(&request.needs, request.staffed),
        no: request.no.as_ref().map(no_in_words).unwrap_or_default(),
        words: request.words.clone(),
        read_back: request.read_back.clone().unwrap_or_default(),
        asks: request.asks.iter().map(of_ask).collect(),
        wider: if is_open { wider(inside, &request).await? } else { Vec::new() },
        ways: if is_granted && !by_page_alone { ways(pages, inside, &request).await } else { Vec::new() },
        by_page_alone: is_granted && by_page_alone,
        offers: sitting::offered(pages, &request, now),
        are_several: request.services.len() > 1,
        is_waiting,
        awaits: usize::from(is_waiting) + asked_beside.count(),
        is_used: is_open && request.first_use.is_some(),
        is_told: request.may_account,
        is_wanted: request.close_out_wanted,
        account: request.account.as_ref().map(|one| words::Account::of(one, now, &zone)).unwrap_or_default(),
        taken_away: request.taken_away,
    })
}

fn in_words(services: &[ServiceView]) -> String {
    let one = |service: &ServiceView| match service.protocol {
        Some(protocol) => format!("{} ({protocol})", service.service),
        None => service.service.to_string(),
    };
    services.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn no_in_words(no: &NoView) -> String {
    let why = no.reason.as_deref().map_or_else(String::new, |why| format!(": {}", words::plain(why)));
    format!("{} said no{why}", words::plain(&no.by))
}

fn of_ask(ask: &OwnAsk) -> Asked {
    let no = ask.no.as_ref().map(|no| format!(", {}", no_in_words(no))).unwrap_or_default();
    Asked {
        in_words: ask.in_words.clone(),
        standing: format!("{}{no}", ask.standing),
        read_back: ask.read_back.clone().unwrap_or_default(),
    }
}

/// What rules allow there beyond what was granted.
async fn wider(inside: &Inside, request: &OwnRequest) -> Result<Vec<(&'static str, String)>, Said> {
    let ReachesView { reach } = inside.get("/api/v1/reach").await?;
    let granted: Actions = request.actions.iter().map(|action| action.action).collect();
    let is_there = |service: &ServiceName| request.services.iter().any(|granted| granted.service == *service);
    let there = reach
        .into_iter()
        .filter(|reach| reach.target == request.target && reach.offer.is_some() && is_there(&reach.service));
    let mut more: Vec<(Action, String)> = there
        .flat_map(|reach| reach.actions)
        .filter(|action| !granted.contains(&action.action))
        .map(|action| (action.action, action.in_words))
        .collect();
    more.sort_by_key(|(action, _)| *action);
    more.dedup_by_key(|(action, _)| *action);
    Ok(more.into_iter().map(|(action, in_words)| (action.as_str(), in_words)).collect())
}

async fn ways(pages: &Pages, inside: &Inside, request: &OwnRequest) -> Vec<Way> {
    let login = pages.api.people().shown(inside.person()).await;
    let plant = pages.api.desk().with_state(|state| state.plant.clone());
    let target = plant.as_ref().and_then(|plant| plant.targets.get(&request.target));
    let mut ways = Vec::new();
    for (name, service) in target.into_iter().flat_map(|target| &target.services) {
        if !request.services.iter().any(|granted| granted.service == *name) {
            continue;
        }
        if service.protocol.is_typed_to() {
            let is_only = target.is_some_and(|target| target.services.len() == 1);
            let user = match is_only {
                true => format!("{login}+{}", request.target),
                false => format!("{login}+{}+{name}", request.target),
            };
            ways.extend(by_ssh(pages, &user, request, service.protocol));
        } else {
            ways.extend(by_forwarding(pages, &login, request, name, service.address.port));
        }
    }
    ways
}

fn by_ssh(pages: &Pages, user: &str, request: &OwnRequest, protocol: Protocol) -> Vec<Way> {
    let gate = &pages.api.parts().gate;
    let (host, port) = (&gate.name, gate.port);
    let config = format!("Host {}\n    HostName {host}\n    Port {port}\n    User {user}", request.target);
    let putty = format!("Host Name: {host}\nPort: {port}\nConnection, Data, Auto-login username: {user}");
    let winscp = format!("File protocol: SFTP\nHost name: {host}\nPort number: {port}\nUser name: {user}");
    let way = |tool, text: String, note: &str| Way { tool, text, note: note.to_owned() };
    let is_file = |action: &Action| matches!(action, Action::FileGet | Action::FilePut | Action::Shell);
    let copies = protocol == Protocol::Ssh && request.actions.iter().any(|action| is_file(&action.action));
    let mut ways = vec![
        way("ssh, in a terminal", gate.ssh(user), ""),
        way("The same in ~/.ssh/config", config, "Then ssh, scp, sftp and editors take the name of the machine."),
        way("PuTTY", putty, "Your key is chosen under Connection, SSH, Auth, Credentials."),
    ];
    ways.extend(copies.then(|| way("WinSCP", winscp, "Your key is chosen under Advanced, SSH, Authentication.")));
    ways
}

fn by_forwarding(pages: &Pages, login: &str, request: &OwnRequest, service: &ServiceName, port: u16) -> Vec<Way> {
    let (gate, target) = (&pages.api.parts().gate, &request.target);
    let local = crate::gate::Gate::local_port(port);
    let note = format!("Leave it open, and point your tool at 127.0.0.1, port {local}.");
    let connect = format!("holdpoint connect {target}/{service} --listen 127.0.0.1:{local}");
    let connect = Way { tool: "holdpoint connect", text: connect, note: note.clone() };
    let by_ssh = gate.forward(login, &format!("{service}.{target}"), port);
    let by_ssh = Way { tool: "ssh, in a terminal", text: by_ssh, note };
    let carries = pages.api.parts().tcp_port.is_some();
    carries.then_some(connect).into_iter().chain([by_ssh]).collect()
}

pub(super) async fn act(
    State(pages): State<Pages>,
    Path((id, act)): Path<(String, String)>,
    Posted { inside, fields }: Posted,
) -> Response {
    pages.then(&inside, do_it(&inside, &id, &act, &fields).await).await
}

async fn do_it(inside: &Inside, id: &str, act: &str, fields: &Fields) -> Result<String, Said> {
    let id: RequestId = id_of(id)?;
    let reason = fields.get("reason").trim().to_owned();
    match act {
        "withdraw" => {
            let _: Done = inside.post(&format!("/api/v1/requests/{id}/withdraw"), &json!({})).await?;
        }
        "extend" => {
            let more = AskMoreTime { by_seconds: minutes(fields)?.saturating_mul(60), reason };
            let _: AskMade = inside.post(&format!("/api/v1/requests/{id}/extensions"), &more).await?;
        }
        "widen" => {
            let lasts_seconds = minutes(fields)?.saturating_mul(60);
            let more = AskMoreActions { actions: ticked(fields), lasts_seconds, reason };
            let _: AskMade = inside.post(&format!("/api/v1/requests/{id}/widenings"), &more).await?;
        }
        "account" => {
            let text = |name| fields.get(name).trim().to_owned();
            let said = AccountGiven { done: text("done"), changed: text("changed"), left: text("left") };
            let _: Done = inside.post(&format!("/api/v1/requests/{id}/account"), &said).await?;
        }
        _ => return Err(Said::not_there()),
    }
    Ok(format!("/requests/{id}"))
}
