//! A manager's page on the vendor face: the people of their own company, whom they may invite, and what they attest.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use policies::ids::PersonId;
use policies::people::Kind;
use serde_json::json;

use super::super::types::{Attest, CompanyView, Done, Invite, Invited, PeopleView, PersonView, Reinvite};
use super::card::id_of;
use super::inside::{Inside, Said};
use super::people::{Shown, invitations, shown_once};
use super::{Fields, Pages, Posted, Top, words};

#[derive(Template)]
#[template(path = "company.html")]
struct Company {
    top: Top,
    vendor: String,
    until: String,
    /// The contract's last day, as a form takes it.
    last_day: String,
    /// How many are here of those who may be invited; nothing, where nobody may.
    invitations: String,
    /// Whether one more may be.
    has_room: bool,
    roles: Vec<String>,
    people: Vec<Colleague>,
    out: Vec<Colleague>,
}

struct Colleague {
    id: String,
    name: String,
    role: String,
    standing: String,
    last_seen: String,
    invited_by: String,
    attested: String,
    is_self: bool,
    is_manager: bool,
    can_be_attested: bool,
    can_be_reinvited: bool,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Company, Said> {
    let CompanyView { vendor, end, invitations: allowed } = inside.get("/api/v1/company").await?;
    let PeopleView { people, .. } = inside.list("/api/v1/people").await?;
    let (now, zone) = pages.clock();
    let own = inside.person();
    let (out, people): (Vec<_>, Vec<_>) =
        people.iter().partition(|person| matches!(person.standing.as_str(), "disabled" | "over"));
    let rows = |people: Vec<&PersonView>| people.into_iter().map(|one| colleague(one, own, now, &zone)).collect();
    Ok(Company {
        top: pages.top(Some(inside)).await,
        vendor: vendor.to_string(),
        until: words::moment(end, now, &zone),
        last_day: last_day(end, &zone),
        has_room: allowed.here < usize::from(allowed.most),
        invitations: invitations(&allowed),
        roles: allowed.roles.iter().map(ToString::to_string).collect(),
        people: rows(people),
        out: rows(out),
    })
}

/// The day before, where something ends with a day.
fn last_day(end: Timestamp, zone: &TimeZone) -> String {
    let last = end.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(end);
    last.to_zoned(zone.clone()).date().to_string()
}

fn colleague(person: &PersonView, own: PersonId, now: Timestamp, zone: &TimeZone) -> Colleague {
    let role = match &person.kind {
        Kind::Technician { role, .. } => role.to_string(),
        _ => String::new(),
    };
    let is_invited = person.standing == "invited";
    let code = match person.code_until.filter(|_| is_invited) {
        Some(until) => format!(", code until {}", words::moment(until, now, zone)),
        None if is_invited => ", code void".to_owned(),
        None => String::new(),
    };
    Colleague {
        id: person.person.to_string(),
        name: words::plain(&person.name),
        role: if person.guest.is_some() { format!("{role}, guest") } else { role },
        standing: format!("{}{code}", person.standing),
        last_seen: words::moment(person.last_seen, now, zone),
        invited_by: person.invited_by.as_ref().map_or_else(|| "the plant".to_owned(), |by| words::plain(&by.name)),
        attested: person.attested.as_ref().map(|one| words::attested(one, now, zone)).unwrap_or_default(),
        is_self: person.person == own,
        is_manager: person.manager,
        can_be_attested: person.standing == "active",
        can_be_reinvited: is_invited && person.invited_by.is_some(),
    }
}

pub(super) async fn invite(State(pages): State<Pages>, Posted { inside, fields }: Posted) -> Response {
    pages.shown(&inside, make_invitation(&pages, &inside, &fields).await).await
}

async fn make_invitation(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<Shown, Said> {
    let CompanyView { vendor, .. } = inside.get("/api/v1/company").await?;
    let role = fields.get("role").trim().parse();
    let role = role.map_err(|_| Said::mistake("choose the role in which they come"))?;
    let kind = Kind::Technician { vendor, role };
    let name = fields.get("name").trim().to_owned();
    let body = Invite { name, kind: kind.clone(), groups: [].into(), lasts_seconds: None };
    let invited: Invited = inside.post("/api/v1/people", &body).await?;
    Ok(shown_once(pages, inside, invited, &kind).await)
}

pub(super) async fn reinvite(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { inside, .. }: Posted,
) -> Response {
    pages.shown(&inside, make_another(&pages, &inside, &id).await).await
}

async fn make_another(pages: &Pages, inside: &Inside, id: &str) -> Result<Shown, Said> {
    let id: PersonId = id_of(id)?;
    let people: PeopleView = inside.list("/api/v1/people").await?;
    let known = people.people.into_iter().find(|person| person.person == id).ok_or_else(Said::not_there)?;
    let body = Reinvite { lasts_seconds: None };
    let invited: Invited = inside.post(&format!("/api/v1/people/{id}/reinvite"), &body).await?;
    Ok(shown_once(pages, inside, invited, &known.kind).await)
}

/// Puts out, attests, or takes that back.
pub(super) async fn act(
    State(pages): State<Pages>,
    Path((id, act)): Path<(String, String)>,
    Posted { inside, fields }: Posted,
) -> Response {
    pages.then(&inside, do_it(&pages, &inside, &id, &act, &fields).await).await
}

async fn do_it(pages: &Pages, inside: &Inside, id: &str, act: &str, fields: &Fields) -> Result<String, Said> {
    let id: PersonId = id_of(id)?;
    let attestation = format!("/api/v1/people/{id}/attestation");
    match act {
        "disable" => inside.post::<()>(&format!("/api/v1/people/{id}/disable"), &json!({})).await?,
        "attest" => {
            let (_, zone) = pages.clock();
            let note = Some(fields.get("note").trim().to_owned()).filter(|note| !note.is_empty());
            let _: Done =
                inside.post(&attestation, &Attest { until: end_of(fields.get("until"), zone)?, note }).await?;
        }
        "take-back" => {
            let _: Done = inside.delete(&attestation).await?;
        }
        _ => return Err(Said::not_there()),
    }
    Ok("/company".to_owned())
}

/// The first moment after a day that a form names.
pub(super) fn end_of(day: &str, zone: TimeZone) -> Result<Timestamp, Said> {
    let next = day.parse::<Date>().and_then(Date::tomorrow).and_then(|next| next.to_zoned(zone));
    next.map(|zoned| zoned.timestamp()).map_err(|_| Said::mistake("write the last day as 2027-12-31"))
}
