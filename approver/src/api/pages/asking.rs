//! The form by which a technician asks for access to one service. Whoever is refused reads why above what they had typed.

use askama::Template;
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
use super::{Fields, Pages, Posted, Top, mine, show, words};

/// The service that is meant.
#[derive(Deserialize)]
pub(super) struct At {
    target: TargetName,
    service: ServiceName,
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
    most: String,
    most_minutes: u32,
    needs: String,
    reason: String,
    work_order: String,
    /// `required`, `optional`, or a pattern.
    work_order_wanted: String,
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

pub(super) async fn form(State(pages): State<Pages>, inside: Inside, Query(at): Query<At>) -> Response {
    let made = empty(&pages, &inside, &at).await;
    pages.shown(&inside, made).await
}

async fn empty(pages: &Pages, inside: &Inside, at: &At) -> Result<Form, Said> {
    let (reach, offer) = offered(inside, at).await?;
    let choices = reach.actions.iter().map(|action| Choice {
        name: action.action.as_str(),
        in_words: action.in_words.clone(),
        is_ticked: offer.usual_actions.contains(&action.action),
    });
    let (_, zone) = pages.clock();
    Ok(Form {
        top: pages.top(Some(inside)).await,
        complaint: String::new(),
        target: at.target.to_string(),
        service: at.service.to_string(),
        protocol: reach.protocol.to_string(),
        actions: choices.collect(),
        minutes: (offer.usual_seconds / 60).max(1).to_string(),
        most: words::duration(offer.most_seconds),
        most_minutes: (offer.most_seconds / 60).max(1),
        needs: mine::answered_by(&offer.needs, offer.staffed),
        reason: String::new(),
        work_order: String::new(),
        work_order_wanted: offer.work_order,
        not_before: String::new(),
        zone: zone.iana_name().unwrap_or("the plant's time").to_owned(),
        may_be_emergency: !offer.emergency.is_empty(),
        is_emergency: false,
    })
}

async fn offered(inside: &Inside, at: &At) -> Result<(ReachView, OfferView), Said> {
    let ReachesView { reach } = inside.get("/api/v1/reach").await?;
    let found = reach.into_iter().find(|reach| reach.target == at.target && reach.service == at.service);
    let found = found.and_then(|reach| reach.offer.clone().map(|offer| (reach, offer)));
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
    let At { target, service } = at(fields)?;
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
        let form = empty(pages, inside, &at(fields)?).await?;
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

fn at(fields: &Fields) -> Result<At, Said> {
    let (target, service) = (fields.get("target").parse(), fields.get("service").parse());
    match (target, service) {
        (Ok(target), Ok(service)) => Ok(At { target, service }),
        _ => Err(Said::mistake("choose what you want to reach on your own page")),
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
