//! The grant that a service is reached under: the narrowest there is, one that still waits for its yes, or one that is
//! asked for now.

use std::io::{self, IsTerminal as _, Write as _};

use approver::api::types::{AskAccess, OwnRequest, OwnRequestsView, RequestMade};
use jiff::Timestamp;
use policies::actions::Action;

use super::places::Place;
use super::telling::{Told, Voice};
use super::{Args, Failure};
use crate::client::Client;
use crate::commands::card::no_in_words;
use crate::commands::request::answered;
use crate::commands::showing::plain;

/// A grant for this place.
pub(super) async fn find(
    client: &mut Client,
    place: &Place,
    args: &Args,
    voice: &Voice,
) -> Result<OwnRequest, Failure> {
    let own: OwnRequestsView = client.list("/api/v1/requests").await?;
    let (now, fits) = (Timestamp::now(), own.requests.into_iter().filter(|own| is_about(own, place)));
    let (granted, others): (Vec<_>, Vec<_>) = fits.partition(|own| own.standing == "granted");
    let open = granted.into_iter().filter(|own| own.window.from <= now && now < own.deadline);
    if let Some(narrowest) = open.min_by_key(|own| (own.actions.len(), own.deadline)) {
        return Ok(narrowest);
    }
    let pending = match others.into_iter().find(|own| own.standing == "pending") {
        Some(pending) => pending,
        None => ask(client, place, args).await?,
    };
    let OwnRequest { request, target, needs, read_back, .. } = &pending;
    voice.tell(&Told::Waiting { request: *request, target, needs, read_back: read_back.as_deref() });
    let own = answered(client, pending).await?;
    match own.standing.as_str() {
        "granted" => Ok(own),
        other => {
            let why = own.no.as_ref().map(|no| format!(": {}", no_in_words(no, other))).unwrap_or_default();
            Err(Failure::refused(format_args!("the request is {}{why}", plain(other))))
        }
    }
}

fn is_about(own: &OwnRequest, place: &Place) -> bool {
    let is_meant = |service: &approver::api::types::ServiceView| match &place.service {
        Some(named) => service.service == *named,
        None => service.protocol.is_some_and(policies::plant::Protocol::is_forwarded),
    };
    own.target == place.target && own.services.iter().any(is_meant)
}

async fn ask(client: &mut Client, place: &Place, args: &Args) -> Result<OwnRequest, Failure> {
    let asked = AskAccess {
        target: place.target.clone(),
        service: place.service.clone(),
        actions: actions(args)?.into_iter().collect(),
        from: None,
        until: None,
        duration_seconds: given(args.duration, "--for", "How long, for example 2h")?.0,
        reason: given(args.reason.clone(), "--reason", "Why")?,
        work_order: work_order(args)?,
        emergency: false,
    };
    let made: RequestMade = client.post("/api/v1/requests", &asked).await?;
    Ok(client.get(&format!("/api/v1/requests/{}", made.request)).await?)
}

fn actions(args: &Args) -> Result<Vec<Action>, Failure> {
    if !args.actions.is_empty() || !can_ask() {
        return Ok(if args.actions.is_empty() { vec![Action::Tunnel] } else { args.actions.clone() });
    }
    let line = question("To do what, such as observe,operate [tunnel]")?;
    let words = line.split(',').map(str::trim).filter(|word| !word.is_empty());
    let actions = words.map(str::parse).collect::<Result<Vec<Action>, _>>().map_err(Failure::usage)?;
    Ok(if actions.is_empty() { vec![Action::Tunnel] } else { actions })
}

/// What was said on the command line, or what is answered now.
fn given<T: std::str::FromStr<Err: std::fmt::Display>>(
    said: Option<T>,
    flag: &str,
    prompt: &str,
) -> Result<T, Failure> {
    match said {
        Some(said) => Ok(said),
        None if can_ask() => question(prompt)?.trim().parse().map_err(Failure::usage),
        None => Err(Failure::usage(format_args!(
            "no grant is open, and there is no terminal to ask on: say why and for how long you want one. {flag} is missing"
        ))),
    }
}

fn work_order(args: &Args) -> Result<Option<String>, Failure> {
    if args.work_order.is_some() || !can_ask() || args.reason.is_some() {
        return Ok(args.work_order.clone());
    }
    let line = question("Work order, if there is one")?;
    Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()))
}

fn can_ask() -> bool {
    io::stdin().is_terminal()
}

fn question(prompt: &str) -> Result<String, Failure> {
    write!(io::stderr(), "{prompt}: ").map_err(Failure::failed)?;
    let mut line = String::new();
    match io::stdin().read_line(&mut line).map_err(Failure::failed)? {
        0 => Err(Failure::usage("nothing was asked for, because the questions were not answered")),
        _ => Ok(line),
    }
}
