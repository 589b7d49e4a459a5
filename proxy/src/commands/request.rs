//! What technicians ask for by command: access, more time, more actions; and taking a request back.

use std::fmt::Display;
use std::time::Duration;

use approver::api::types::{
    AskAccess, AskMade, AskMoreActions, AskMoreTime, Done as Happened, OwnRequest, RequestMade, SessionsView,
};
use policies::actions::Action;
use policies::ids::{RequestId, ServiceName, SessionId, TargetName};
use policies::time::Seconds;

use super::card::{no_in_words, show_own, show_read_back};
use super::gate::{ProfileArg, at_gate, sign_in_here};
use super::showing::{Clock, Written, plain};
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault};
use crate::saying;

/// Ask for access to a target.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to.
    #[arg(value_name = "TARGET")]
    target: TargetName,
    /// Through which of its services, where there are several.
    #[arg(long, value_name = "SERVICE")]
    service: Option<ServiceName>,
    /// To do what, such as shell,file-get.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', required = true)]
    actions: Vec<Action>,
    /// How long from the first connection.
    #[arg(long = "for", value_name = "SPAN")]
    duration: Seconds,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Under which work order.
    #[arg(long, value_name = "TEXT")]
    work_order: Option<String>,
    /// Not before: 14:00, "2026-11-23 14:00", or with a zone. Now, if left out.
    #[arg(long, value_name = "TIME")]
    from: Option<Written>,
    /// Not after. A shift later, if left out.
    #[arg(long, value_name = "TIME")]
    until: Option<Written>,
    /// As an emergency, where the rule allows one: short, loud, and looked back at.
    #[arg(long)]
    emergency: bool,
    /// Wait for the answer; after ten minutes another code is asked for. Whoever gives up leaves the request standing.
    #[arg(long)]
    wait: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Ask for more time for what runs.
#[derive(Debug, clap::Args)]
pub(super) struct ExtendArgs {
    /// The session (s_…), or its request (r_…).
    #[arg(value_name = "SESSION")]
    session: String,
    /// How much more.
    #[arg(long, value_name = "SPAN")]
    by: Seconds,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Wait for the answer; after ten minutes another code is asked for. Whoever gives up leaves what they asked standing.
    #[arg(long)]
    wait: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Ask for more actions for what runs, for a while.
#[derive(Debug, clap::Args)]
pub(super) struct WidenArgs {
    /// The session (s_…), or its request (r_…).
    #[arg(value_name = "SESSION")]
    session: String,
    /// To do what besides, such as file-put.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', required = true)]
    actions: Vec<Action>,
    /// How long from the yes.
    #[arg(long = "for", value_name = "SPAN")]
    lasts: Seconds,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Wait for the answer; after ten minutes another code is asked for. Whoever gives up leaves what they asked standing.
    #[arg(long)]
    wait: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Take a request back that nobody has answered yet.
#[derive(Debug, clap::Args)]
pub(super) struct WithdrawArgs {
    /// Which.
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// How often the answer is asked for; one request in ten of what a source may make.
const ASK_EVERY: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let clock = Clock::of(client);
        let on_clock = |written: Option<Written>| written.map(|written| written.on(&clock)).transpose();
        let asked = AskAccess {
            target: args.target.clone(),
            service: args.service.clone(),
            actions: args.actions.iter().copied().collect(),
            from: on_clock(args.from)?,
            until: on_clock(args.until)?,
            duration_seconds: args.duration.0,
            reason: args.reason.clone(),
            work_order: args.work_order.clone(),
            emergency: args.emergency,
        };
        let made: RequestMade = client.post("/api/v1/requests", &asked).await?;
        let mut own = look(client, made.request).await?;
        if args.wait {
            if !args.json {
                saying::aside(format_args!("{} waits for {}.", own.request, plain(&own.needs)));
                aside_read_back(own.read_back.as_deref());
            }
            own = answered(client, own).await?;
        }
        if args.json {
            print_json(&own)?;
        } else {
            show_own(&own, &Clock::of(client));
        }
        match own.standing.as_str() {
            "pending" | "granted" => Ok(()),
            other => {
                let why = own.no.as_ref().map(|no| format!(": {}", no_in_words(no, other))).unwrap_or_default();
                Err(Failure::refused(format_args!("the request is {}{why}", plain(other))))
            }
        }
    })
}

/// Waits for the answer to a request.
pub(super) async fn answered(client: &mut Client, mut own: OwnRequest) -> Result<OwnRequest, Failure> {
    while own.standing == "pending" {
        tokio::time::sleep(ASK_EVERY).await;
        own = look_on(client, own.request, &own.request).await?;
    }
    Ok(own)
}

/// Looks again, while `asked` waits. A token lasts ten minutes, and an operator may take longer: whoever waits is asked for
/// another code then.
async fn look_on(client: &mut Client, request: RequestId, asked: &dyn Display) -> Result<OwnRequest, Failure> {
    let seen = look(client, request).await;
    if seen.is_ok() || client.is_signed_in() {
        return seen;
    }
    sign_in_here(client).await.map_err(|_| {
        Failure::refused(format_args!(
            "you are signed in no longer, so the waiting ends. {asked} stands: `holdpoint login`, then \
             `holdpoint requests`"
        ))
    })?;
    look(client, request).await
}

async fn look(client: &mut Client, request: RequestId) -> Result<OwnRequest, Failure> {
    Ok(client.get(&format!("/api/v1/requests/{request}")).await?)
}

pub(super) fn extend(args: &ExtendArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let request = request_of(client, &args.session).await?;
        let body = AskMoreTime { by_seconds: args.by.0, reason: args.reason.clone() };
        let made: AskMade = client.post(&format!("/api/v1/requests/{request}/extensions"), &body).await?;
        follow(client, request, made, args.wait, args.json).await
    })
}

fn read_back<'a>(own: &'a OwnRequest, made: &AskMade) -> Option<&'a str> {
    own.asks.iter().find(|ask| ask.ask == made.ask)?.read_back.as_deref()
}

/// Whoever waits is on the telephone meanwhile.
fn aside_read_back(code: Option<&str>) {
    if let Some(code) = code {
        saying::aside(format_args!("If an operator answers you by telephone, read out: {}.", plain(code)));
    }
}

/// Tells what was asked of a grant; where somebody waits for it, what the answer is.
async fn follow(client: &mut Client, request: RequestId, made: AskMade, wait: bool, json: bool) -> Done {
    if !wait {
        if json {
            return print_json(&made);
        }
        say!("Asked: {}. The session is told when it is answered, and `holdpoint requests` shows it.", made.ask);
        show_read_back(read_back(&look(client, request).await?, &made));
        return Ok(());
    }
    let mut own = look(client, request).await?;
    if !json {
        saying::aside(format_args!("{} waits for {}.", made.ask, plain(&own.needs)));
        aside_read_back(read_back(&own, &made));
    }
    let answered = loop {
        let ask = own.asks.iter().find(|ask| ask.ask == made.ask);
        let ask = ask.ok_or_else(|| Fault::Odd("it does not know what was asked a moment ago".into()))?;
        if ask.standing != "pending" {
            break ask;
        }
        tokio::time::sleep(ASK_EVERY).await;
        own = look_on(client, request, &made.ask).await?;
    };
    if json {
        print_json(answered)?;
    } else {
        say!("{}: {}", plain(&answered.in_words), plain(&answered.standing));
    }
    match (answered.standing.as_str(), &answered.no) {
        ("granted", _) => Ok(()),
        (_, Some(no)) => Err(Failure::refused(no_in_words(no, "denied"))),
        (_, None) => Err(Failure::refused("the grant ended before anybody answered")),
    }
}

/// The request itself, or that of a session.
async fn request_of(client: &mut Client, named: &str) -> Result<RequestId, Failure> {
    if let Ok(request) = named.parse() {
        return Ok(request);
    }
    let session: SessionId = named.parse().map_err(Failure::usage)?;
    let own: SessionsView = client.list("/api/v1/sessions").await?;
    let found = own.sessions.into_iter().find(|view| view.session == session);
    let found = found.ok_or_else(|| Failure::refused(format_args!("no live session of yours is called {session}")))?;
    Ok(found.request)
}

pub(super) fn widen(args: &WidenArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let request = request_of(client, &args.session).await?;
        let body = AskMoreActions {
            actions: args.actions.iter().copied().collect(),
            lasts_seconds: args.lasts.0,
            reason: args.reason.clone(),
        };
        let made: AskMade = client.post(&format!("/api/v1/requests/{request}/widenings"), &body).await?;
        follow(client, request, made, args.wait, args.json).await
    })
}

pub(super) fn withdraw(args: &WithdrawArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let done: Happened = client.post(&format!("/api/v1/requests/{}/withdraw", args.request), &()).await?;
        if args.json {
            return print_json(&done);
        }
        say!("{} is withdrawn.", args.request);
        Ok(())
    })
}
