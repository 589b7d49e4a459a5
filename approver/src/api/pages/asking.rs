//! The form by which a technician asks for access to one service. Whoever is refused reads why above what they had typed.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use policies::actions::{Action, Actions};
use policies::ids::{ServiceName, TargetName};
use serde::Deserialize;

use super::super::types::{AskAccess, OfferView, ReachView, ReachesView, RequestMade};
use super::inside::{Inside, Said};
use super::{Fields, Pages, Posted, Top, mine, show};

/// The service that is meant.
#[derive(Deserialize)]
pub(super) struct At {
    target: TargetName,
    service: ServiceName,
    /// For another hour.
    at: Option<Timestamp>,
}

#[derive(Template)]
#[template(path = "ask-access.html")]
struct Form {
    top: Top,
    complaint: String,
    target: String,
    service: String,
    protocol: String,
    actions: Vec<Choice>,
    minutes: String,
    reason: String,
    work_order: String,
    /// What the rules say of it.
    work_orders: String,
    not_before: String,
    zone: String,
    may_be_emergency: bool,
    is_emergency: bool,
}

struct Choice {
    name: &'static str,
    in_words: String,
    is_ticked: bool,
}

pub(super) async fn form(
    State(pages): State<Pages>,
    inside: Inside,
    at: Result<Query<At>, QueryRejection>,
) -> Response {
    let made = match at {
        Ok(Query(at)) => empty(&pages, &inside, &at).await,
        Err(_) => Err(nowhere()),
    };
    pages.shown(&inside, made).await
}

fn nowhere() -> Said {
    Said::mistake("choose what you want to reach on your own page")
}

async fn empty(pages: &Pages, inside: &Inside, at: &At) -> Result<Form, Said> {
    let (reach, offer) = offered(inside, at).await?;
    let choices = mine::choices(&reach).map(|(action, in_words)| Choice {
        name: action.action.as_str(),
        in_words,
        is_ticked: offer.usual_actions.contains(&action.action),
    });
    let (_, zone) = pages.clock();
    let not_before = at.at.map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M").to_string());
    Ok(Form {
        top: pages.top(Some(inside)).await,
        complaint: String::new(),
        target: at.target.to_string(),
        service: at.service.to_string(),
        protocol: reach.protocol.to_string(),
        actions: choices.collect(),
        minutes: (offer.usual_seconds / 60).max(1).to_string(),
        reason: String::new(),
        work_order: String::new(),
        work_orders: work_orders(&offer),
        not_before: not_before.unwrap_or_default(),
        zone: zone.iana_name().unwrap_or("the plant's time").to_owned(),
        may_be_emergency: !offer.emergency.is_empty(),
        is_emergency: false,
    })
}

async fn offered(inside: &Inside, at: &At) -> Result<(ReachView, OfferView), Said> {
    let when = at.at.map(|at| format!("?at={at}")).unwrap_or_default();
    let ReachesView { reach } = inside.get(&format!("/api/v1/reach{when}")).await?;
    let mut there = reach.into_iter().filter(|reach| reach.target == at.target && reach.service == at.service);
    let found = there.find_map(|reach| reach.offer.clone().map(|offer| (reach, offer)));
    found.ok_or_else(|| {
        let detail = "no rule lets you ask for anything there now. Your own page lists what you may reach, and when";
        Said::new(StatusCode::FORBIDDEN, "Not now", detail)
    })
}

pub(super) async fn ask(State(pages): State<Pages>, Posted { inside, fields }: Posted) -> Response {
    match asked(&pages, &inside, &fields).await {
        Ok(page) => Redirect::to(&page).into_response(),
        Err(said) if said.status == StatusCode::UNAUTHORIZED => pages.refused(&inside, &said).await,
        Err(said) => once_more(&pages, &inside, &fields, said).await,
    }
}

async fn asked(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<String, Said> {
    let At { target, service, .. } = at(pages, fields)?;
    let (_, zone) = pages.clock();
    let wanted = AskAccess {
        target,
        service: Some(service),
        actions: ticked(fields),
        from: not_before(fields.get("not-before"), &zone)?,
        until: None,
        duration_seconds: minutes(fields)?.saturating_mul(60),
        reason: fields.get("reason").trim().to_owned(),
        work_order: Some(fields.get("work-order").trim().to_owned()).filter(|text| !text.is_empty()),
        emergency: fields.get("emergency") == "yes",
    };
    let RequestMade { request } = inside.post("/api/v1/requests", &wanted).await?;
    Ok(format!("/requests/{request}"))
}

/// What was typed stays, with what is wrong about it.
async fn once_more(pages: &Pages, inside: &Inside, fields: &Fields, said: Said) -> Response {
    let made = async {
        let form = empty(pages, inside, &at(pages, fields)?).await?;
        let ticked = ticked(fields);
        let actions = form
            .actions
            .into_iter()
            .map(|choice| Choice { is_ticked: ticked.iter().any(|action| action.as_str() == choice.name), ..choice });
        let typed = |name: &str| fields.get(name).to_owned();
        Ok::<_, Said>(Form {
            complaint: said.detail.clone(),
            actions: actions.collect(),
            minutes: typed("minutes"),
            reason: typed("reason"),
            work_order: typed("work-order"),
            not_before: typed("not-before"),
            is_emergency: typed("emergency") == "yes",
            ..form
        })
    };
    match made.await {
        Ok(form) => {
            let mut response = show(&form);
            *response.status_mut() = said.status;
            response
        }
        Err(_) => pages.refused(inside, &said).await,
    }
}

fn at(pages: &Pages, fields: &Fields) -> Result<At, Said> {
    let (target, service) = (fields.get("target").parse(), fields.get("service").parse());
    let (Ok(target), Ok(service)) = (target, service) else { return Err(nowhere()) };
    let (_, zone) = pages.clock();
    Ok(At { target, service, at: not_before(fields.get("not-before"), &zone).ok().flatten() })
}

/// What the rules say of work orders there.
fn work_orders(offer: &OfferView) -> String {
    let kinds: BTreeSet<&str> = offer.terms.iter().map(|terms| terms.work_order.as_str()).collect();
    let patterns: Vec<&str> = kinds.iter().copied().filter(|kind| !matches!(*kind, "optional" | "required")).collect();
    let written = if patterns.is_empty() {
        String::new()
    } else {
        format!(", as the plant writes them: {}", patterns.join(" or "))
    };
    match (kinds.contains("optional"), kinds.len()) {
        (true, 1) => "if there is one".to_owned(),
        (true, _) => format!("for some of it{written}"),
        (false, _) => format!("needed{written}"),
    }
}

pub(super) fn ticked(fields: &Fields) -> Actions {
    fields.all("action").filter_map(|name| name.parse::<Action>().ok()).collect()
}

pub(super) fn minutes(fields: &Fields) -> Result<u32, Said> {
    fields.get("minutes").trim().parse().map_err(|_| Said::mistake("write the minutes as a whole number"))
}

/// By the clock on the plant's wall; nothing where nothing was typed.
fn not_before(typed: &str, zone: &TimeZone) -> Result<Option<Timestamp>, Said> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Ok(None);
    }
    let at: Result<DateTime, _> = typed.parse();
    let at = at.ok().and_then(|at| at.to_zoned(zone.clone()).ok());
    at.map(|at| Some(at.timestamp())).ok_or_else(|| Said::mistake("write the day and the time as 2026-11-30T06:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_by_the_plants_clock() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let read = |typed: &str| not_before(typed, &berlin).ok().flatten().map(|at| at.to_string());
        assert_eq!(read("2026-11-30T06:00").as_deref(), Some("2026-11-30T05:00:00Z"));
        assert_eq!(read("2026-07-01T06:00").as_deref(), Some("2026-07-01T04:00:00Z"));
        assert_eq!(not_before("", &berlin).ok(), Some(None));
        assert!(not_before("tomorrow", &berlin).is_err());
    }
}
