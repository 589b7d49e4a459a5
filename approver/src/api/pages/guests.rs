//! Guests at night: whom an operator on duty may invite and for what, the number to call back before signing, the code that
//! is handed over, sending a guest away, and the look back afterwards.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use certs::sshsig::Namespace;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::ids::{GuestId, RuleId, TargetName, VendorId};
use policies::people::Kind;
use policies::requests::GuestStatement;
use serde_json::json;

use super::super::types::{
    Done, GuestGiven, GuestTemplate, GuestView, GuestWanted, GuestsView, InvitableRules, InvitableView, Invited,
    VerdictTemplate,
};
use super::card::id_of;
use super::inside::{Inside, Said};
use super::people::{Shown, shown_once};
use super::signing::{Prepared, page, read, say_no, sign};
use super::{Fields, Pages, Posted, Top, words};

#[derive(Template)]
#[template(path = "guests.html")]
struct Guests {
    top: Top,
    now_here: Vec<Row>,
    over: Vec<Row>,
    rules: Vec<Rule>,
}

/// What is told of a visit in a list, and on top of its page.
struct Row {
    link: String,
    who: String,
    vendor: String,
    target: String,
    by: String,
    at: String,
    until: String,
    standing: String,
    is_unreviewed: bool,
}

/// A rule under which guests may come.
struct Rule {
    id: String,
    vendors: Vec<Host>,
    targets: Vec<String>,
    most: String,
    most_minutes: u32,
    taken_until: String,
}

struct Host {
    vendor: String,
    telephone: String,
}

pub(super) async fn list(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Guests, Said> {
    let GuestsView { guests, .. } = inside.list("/api/v1/guests?all=true").await?;
    let InvitableRules { rules } = inside.get("/api/v1/guests/rules").await?;
    let (now, zone) = pages.clock();
    let (over, now_here): (Vec<_>, Vec<_>) = guests.iter().partition(|guest| guest.over);
    Ok(Guests {
        top: pages.top(Some(inside)).await,
        now_here: now_here.into_iter().map(|guest| row(guest, now, &zone)).collect(),
        over: over.into_iter().map(|guest| row(guest, now, &zone)).collect(),
        rules: rules.iter().map(|rule| of_rule(rule, now, &zone)).collect(),
    })
}

fn row(guest: &GuestView, now: Timestamp, zone: &TimeZone) -> Row {
    Row {
        link: format!("/guests/{}", guest.guest),
        who: words::plain(&guest.person.name),
        vendor: guest.vendor.to_string(),
        target: guest.target.to_string(),
        by: words::plain(&guest.by.name),
        at: words::moment(guest.at, now, zone),
        until: words::moment(guest.ended.unwrap_or(guest.until), now, zone),
        standing: standing(guest).to_owned(),
        is_unreviewed: guest.review_wanted,
    }
}

fn standing(guest: &GuestView) -> &'static str {
    match guest.standing.as_str() {
        _ if guest.over => "over",
        "invited" => "has not enrolled yet",
        _ => "may come",
    }
}

fn of_rule(rule: &InvitableView, now: Timestamp, zone: &TimeZone) -> Rule {
    let host = |vendor: &super::super::types::HostView| Host {
        vendor: vendor.vendor.to_string(),
        telephone: words::plain(vendor.telephone.as_deref().unwrap_or_default()),
    };
    Rule {
        id: rule.rule.to_string(),
        vendors: rule.vendors.iter().map(host).collect(),
        targets: rule.targets.iter().map(ToString::to_string).collect(),
        most: words::duration(rule.most_seconds),
        most_minutes: (rule.most_seconds / 60).max(1),
        taken_until: rule.taken_until.map(|until| words::moment(until, now, zone)).unwrap_or_default(),
    }
}

pub(super) async fn to_sign(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = prepare(&pages, &inside, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

async fn prepare(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<Prepared, Said> {
    let vendor: Result<VendorId, _> = fields.get("vendor").parse();
    let target: Result<TargetName, _> = fields.get("target").parse();
    let rule: Result<RuleId, _> = fields.get("rule").parse();
    let (Ok(vendor), Ok(target), Ok(rule)) = (vendor, target, rule) else {
        return Err(Said::mistake("choose the vendor and the target"));
    };
    let minutes: u32 = fields.get("minutes").parse().map_err(|_| Said::mistake("write the minutes as a number"))?;
    let wanted = GuestWanted {
        name: fields.get("name").trim().to_owned(),
        vendor,
        target,
        rule: Some(rule),
        lasts_seconds: minutes.saturating_mul(60),
        reason: fields.get("reason").to_owned(),
    };
    let template: GuestTemplate = inside.post("/api/v1/guests/statement", &wanted).await?;
    let (now, zone) = pages.clock();
    let GuestTemplate { statement, rule, name, reason, telephone } = template;
    let (name, telephone) = (words::plain(&name.text), words::plain(&telephone.text));
    let lines = vec![
        format!(
            "{name} of {} ({}) may come as a guest to {}, and nowhere else",
            statement.vendor, statement.role, statement.target
        ),
        format!(
            "until {}, under rule {}: somebody escorts them, or their input waits",
            words::moment(statement.until, now, &zone),
            rule.id
        ),
        format!("because: {}", words::plain(&reason.text)),
        format!("{} was called back on {telephone}, the number that is registered here", statement.vendor),
    ];
    Ok(Prepared {
        lines,
        to: "/guests/signed".to_owned(),
        back: "/guests".to_owned(),
        confirm: format!("I called {telephone} back, and {} says that {name} is to come.", statement.vendor),
        ..Prepared::new(Namespace::Guest, &statement, statement.digest())
    })
}

/// The passkey's answer: the guest is invited, and their code is shown this once.
pub(super) async fn signed(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.shown(&inside, invite(&pages, &inside, &fields).await).await
}

async fn invite(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<Shown, Said> {
    if fields.get("confirmed") != "yes" {
        return Err(Said::mistake(
            "call the vendor back first, on the number that the page shows, and say that you did",
        ));
    }
    let statement: GuestStatement = read(fields.get("statement"))?;
    let kind = Kind::Technician { vendor: statement.vendor.clone(), role: statement.role.clone() };
    let digest = statement.digest();
    let signed = sign(pages, inside, Namespace::Guest, statement, digest, fields)?;
    let invited: Invited = inside.post("/api/v1/guests", &GuestGiven(signed)).await?;
    Ok(shown_once(pages, inside, invited, &kind).await)
}

#[derive(Template)]
#[template(path = "guest.html")]
struct Guest {
    top: Top,
    id: String,
    sign_at: String,
    row: Row,
    rule: String,
    role: String,
    reason: String,
    telephone: String,
    ended_by: String,
    looked_back: String,
    is_objection: bool,
    requests: Vec<String>,
    sessions: Vec<String>,
    is_over: bool,
    words: String,
    digest: String,
}

pub(super) async fn one(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, of_guest(&pages, &inside, &id).await).await
}

async fn of_guest(pages: &Pages, inside: &Inside, id: &str) -> Result<Guest, Said> {
    let guest = find(inside, id).await?;
    let (now, zone) = pages.clock();
    let seen = guest.reviewed.as_ref();
    let ended_by = guest.ended_by.as_ref().map(|who| words::plain(&who.name)).unwrap_or_default();
    Ok(Guest {
        top: pages.top(Some(inside)).await,
        id: guest.guest.to_string(),
        sign_at: format!("/guests/{}/sign", guest.guest),
        row: row(&guest, now, &zone),
        rule: guest.rule.to_string(),
        role: guest.role.to_string(),
        reason: words::plain(guest.reason.as_deref().unwrap_or_default()),
        telephone: words::plain(guest.telephone.as_deref().unwrap_or_default()),
        ended_by,
        looked_back: seen.map(|seen| words::looked_back(seen, now, &zone)).unwrap_or_default(),
        is_objection: seen.is_some_and(|seen| seen.objects),
        requests: guest.requests.iter().map(ToString::to_string).collect(),
        sessions: guest.sessions.iter().map(ToString::to_string).collect(),
        is_over: guest.over,
        words: guest.words,
        digest: guest.digest.to_string(),
    })
}

async fn find(inside: &Inside, id: &str) -> Result<GuestView, Said> {
    let id: GuestId = id_of(id)?;
    inside.get(&format!("/api/v1/guests/{id}")).await
}

pub(super) async fn end(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    pages.then(&sent.inside, send_away(&sent.inside, &id).await).await
}

async fn send_away(inside: &Inside, id: &str) -> Result<String, Said> {
    let id: GuestId = id_of(id)?;
    let _: Done = inside.post(&format!("/api/v1/guests/{id}/end"), &json!({})).await?;
    Ok(format!("/guests/{id}"))
}

pub(super) async fn look_back(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = looking_back(&pages, &inside, &id, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

async fn looking_back(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let guest = find(inside, id).await?;
    let template: VerdictTemplate = inside.get(&format!("/api/v1/guests/{}/review", guest.guest)).await?;
    let (now, zone) = pages.clock();
    let Row { who, vendor, target, by, until, .. } = row(&guest, now, &zone);
    let mut lines = vec![
        format!("the visit of {who} of {vendor} to {target}, looked back at"),
        format!("invited by {by}, until {until}: {} requests, {} sessions", guest.requests.len(), guest.sessions.len()),
    ];
    let mut statement = template.statement;
    if fields.get("answer") != "yes" {
        lines.push("it should not have been".to_owned());
        lines.push(say_no(inside, &mut statement, fields).await?);
    }
    Ok(Prepared::verdict(&statement, BTreeSet::new(), lines, format!("/guests/{}", guest.guest)))
}
