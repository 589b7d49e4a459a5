//! People and vendors: who there is and when they were last seen, inviting, vouching, putting out. What needs two people's
//! signatures is signed here by each with their own passkey.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use certs::proof::Face;
use certs::sshsig::Namespace;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::ids::{GroupName, PersonId, ProviderName, VendorId};
use policies::people::Kind;
use policies::requests::CertifyStatement;
use serde_json::json;

use super::super::types::{
    CertificateGiven, CertifyTemplate, Contract, Done, InvitationsAllowed, InvitationsView, Invite, Invited, Named,
    PeopleView, PersonView, Reinvite, Rename, SubjectView, VendorView, VendorsView,
};
use super::card::id_of;
use super::company::end_of;
use super::inside::{Inside, Said};
use super::signing::{Prepared, page, read, sign};
use super::{Fields, Pages, Posted, Top, words};
use crate::gate::Gate;
use crate::people::key_in_words;

#[derive(Template)]
#[template(path = "people.html")]
struct People {
    top: Top,
    uncertified: Vec<Row>,
    people: Vec<Row>,
    vendors: Vec<VendorRow>,
    sponsors: Vec<Named>,
}

struct Row {
    id: String,
    name: String,
    kind: String,
    standing: String,
    last_seen: String,
    is_dormant: bool,
    is_out: bool,
    /// The page of their visit; none, where they are no guest.
    guest: String,
    /// Nobody, where it is empty.
    invited_by: String,
    is_technician: bool,
    is_manager: bool,
    attested: String,
}

struct VendorRow {
    vendor: String,
    until: String,
    sponsor: String,
    technicians: usize,
    telephone: String,
    managers: String,
    /// Whom they may invite; nobody, where it is empty.
    invitations: String,
    /// What its sponsor should see to.
    concerns: Vec<String>,
    is_over: bool,
}

pub(super) async fn list(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<People, Said> {
    let PeopleView { people, .. } = inside.list("/api/v1/people").await?;
    let VendorsView { vendors } = inside.get("/api/v1/vendors").await?;
    let (now, zone) = pages.clock();
    let (uncertified, rest): (Vec<_>, Vec<_>) = people.iter().partition(|person| person.standing == "enrolled");
    let is_sponsor = |person: &&PersonView| person.standing == "active" && is_a_person_of_the_plant(&person.kind);
    let named = |person: &PersonView| Named { person: person.person, name: words::plain(&person.name) };
    Ok(People {
        top: pages.top(Some(inside)).await,
        uncertified: uncertified.into_iter().map(|person| row(person, now, &zone)).collect(),
        people: rest.into_iter().map(|person| row(person, now, &zone)).collect(),
        vendors: vendors.iter().map(|vendor| vendor_row(vendor, now, &zone)).collect(),
        sponsors: people.iter().filter(is_sponsor).map(named).collect(),
    })
}

const fn is_a_person_of_the_plant(kind: &Kind) -> bool {
    matches!(kind, Kind::Operator { .. } | Kind::Auditor | Kind::Administrator)
}

fn kind_in_words(kind: &Kind, groups: &BTreeSet<GroupName>) -> String {
    let groups = groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Technician { vendor, role } => format!("technician of {vendor}, {role}"),
        Kind::Operator { vendor: Some(vendor) } => format!("operator from {vendor}: {groups}"),
        Kind::Operator { vendor: None } if !groups.is_empty() => format!("operator: {groups}"),
        other => other.as_str().to_owned(),
    }
}

fn row(person: &PersonView, now: Timestamp, zone: &TimeZone) -> Row {
    let locked = if person.locked_until.is_some() { ", locked out for a while" } else { "" };
    let on_duty = if person.on_duty_until.is_some() { ", on duty" } else { "" };
    Row {
        id: person.person.to_string(),
        name: words::plain(&person.name),
        kind: match person.guest {
            Some(_) => format!("guest, {}", kind_in_words(&person.kind, &person.groups)),
            None => kind_in_words(&person.kind, &person.groups),
        },
        guest: person.guest.map(|guest| format!("/guests/{guest}")).unwrap_or_default(),
        standing: format!("{}{locked}{on_duty}", person.standing),
        invited_by: person.invited_by.as_ref().map(|by| words::plain(&by.name)).unwrap_or_default(),
        is_technician: matches!(person.kind, Kind::Technician { .. }),
        is_manager: person.manager,
        attested: person.attested.as_ref().map(|one| words::attested(one, now, zone)).unwrap_or_default(),
        last_seen: words::moment(person.last_seen, now, zone),
        is_dormant: person.dormant,
        is_out: matches!(person.standing.as_str(), "disabled" | "over"),
    }
}

fn vendor_row(vendor: &VendorView, now: Timestamp, zone: &TimeZone) -> VendorRow {
    VendorRow {
        vendor: vendor.vendor.to_string(),
        until: words::moment(vendor.end, now, zone),
        sponsor: words::plain(&vendor.sponsor.name),
        technicians: vendor.technicians,
        telephone: words::plain(vendor.telephone.as_deref().unwrap_or_default()),
        managers: vendor.managers.iter().map(|one| words::plain(&one.name)).collect::<Vec<_>>().join(", "),
        invitations: invitations(&vendor.invitations),
        concerns: vendor.concerns.iter().map(|concern| words::concern(concern, now, zone)).collect(),
        is_over: vendor.disabled || vendor.end <= now,
    }
}

/// How many a vendor's managers have of those they may invite; nothing, where they may invite nobody.
pub(super) fn invitations(of: &InvitationsView) -> String {
    let roles = of.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if of.most == 0 { String::new() } else { format!("{} of {}: {roles}", of.here, of.most) }
}

#[derive(Template)]
#[template(path = "person.html")]
struct Person {
    top: Top,
    row: Row,
    keys: Vec<String>,
    key_added: String,
    vouchers: Vec<String>,
    waits_for_vouching: bool,
    subjects: Vec<Subject>,
}

/// An identity provider that knows somebody.
pub(super) struct Subject {
    pub(super) provider: String,
    pub(super) called: String,
    pub(super) since: String,
}

pub(super) fn subject(subject: &SubjectView, now: Timestamp, zone: &TimeZone) -> Subject {
    Subject {
        provider: subject.provider.to_string(),
        called: words::plain(subject.called.as_deref().unwrap_or_default()),
        since: words::moment(subject.since, now, zone),
    }
}

pub(super) async fn one(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, of_person(&pages, &inside, &id).await).await
}

async fn of_person(pages: &Pages, inside: &Inside, id: &str) -> Result<Person, Said> {
    let id: PersonId = id_of(id)?;
    let person: PersonView = inside.get(&format!("/api/v1/people/{id}")).await?;
    let (now, zone) = pages.clock();
    Ok(Person {
        top: pages.top(Some(inside)).await,
        row: row(&person, now, &zone),
        keys: person.keys.iter().map(|key| key_in_words(key)).collect(),
        key_added: person.key_added.map(|added| words::moment(added, now, &zone)).unwrap_or_default(),
        vouchers: person.vouchers.iter().map(|voucher| words::plain(&voucher.name)).collect(),
        waits_for_vouching: person.standing == "enrolled",
        subjects: person.subjects.iter().map(|one| subject(one, now, &zone)).collect(),
    })
}

#[derive(Template)]
#[template(path = "invited.html")]
pub(super) struct Shown {
    top: Top,
    name: String,
    code: String,
    expires: String,
    /// Where they use it: a page with the code behind `#`, which no browser sends to anybody; or none.
    link: String,
    command: String,
    /// Where they came from.
    back: &'static str,
}

pub(super) async fn invite(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.shown(&inside, make_invitation(&pages, &inside, &fields).await).await
}

async fn make_invitation(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<Shown, Said> {
    let (kind, groups) = kind_of(fields)?;
    let body = Invite { name: fields.get("name").trim().to_owned(), kind: kind.clone(), groups, lasts_seconds: None };
    let invited: Invited = inside.post("/api/v1/people", &body).await?;
    Ok(shown_once(pages, inside, invited, &kind).await)
}

fn kind_of(fields: &Fields) -> Result<(Kind, BTreeSet<GroupName>), Said> {
    let wrong = |what: &str| Said::mistake(format!("{what} is a word of small letters, digits and hyphens"));
    let text = |name: &str| fields.get(name).trim().to_owned();
    let kind = match fields.get("kind") {
        "technician" => Kind::Technician {
            vendor: text("vendor").parse().map_err(|_| wrong("the vendor of a technician"))?,
            role: text("role").parse().map_err(|_| wrong("the role of a technician"))?,
        },
        "operator" => {
            let vendor = Some(text("vendor")).filter(|vendor| !vendor.is_empty());
            let vendor = vendor.map(|vendor| vendor.parse().map_err(|_| wrong("a vendor"))).transpose()?;
            Kind::Operator { vendor }
        }
        "auditor" => Kind::Auditor,
        "administrator" => Kind::Administrator,
        "sensor" => Kind::Sensor,
        "display" => Kind::Display,
        _ => return Err(Said::mistake("choose what they are")),
    };
    let groups = fields.get("groups").split([',', ' ']).map(str::trim).filter(|group| !group.is_empty());
    let groups: Result<BTreeSet<GroupName>, _> = groups.map(str::parse).collect();
    let groups = groups.map_err(|_| wrong("a group"))?;
    match kind {
        Kind::Operator { .. } => Ok((kind, groups)),
        _ if groups.is_empty() => Ok((kind, groups)),
        _ => Err(Said::mistake("only operators have groups")),
    }
}

pub(super) async fn shown_once(pages: &Pages, inside: &Inside, invited: Invited, kind: &Kind) -> Shown {
    let (now, zone) = pages.clock();
    let page = |name: &str| format!("{}/{name}#{}", pages.site.origin(), invited.code);
    let gate = Gate { name: words::plain(&invited.ssh_host), port: invited.ssh_port };
    let (link, command) = match kind {
        // A browser alone does, with a passkey.
        Kind::Technician { .. } => {
            (format!("{}/enrol#{}", pages.api.parts().vendor_origin, invited.code), gate.ssh("enrol"))
        }
        Kind::Display => (page("display"), String::new()),
        Kind::Sensor => (String::new(), format!("holdpoint enrol --gate {}", pages.site.origin())),
        _ => (page("enrol"), format!("holdpoint enrol --gate {}", pages.site.origin())),
    };
    Shown {
        top: pages.top(Some(inside)).await,
        name: words::plain(&invited.name),
        expires: words::moment(invited.expires, now, &zone),
        code: invited.code,
        link,
        command,
        back: if pages.api.face() == Face::Vendor { "/company" } else { "/people" },
    }
}

pub(super) async fn reinvite(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let inside = sent.inside;
    pages.shown(&inside, make_another(&pages, &inside, &id).await).await
}

async fn make_another(pages: &Pages, inside: &Inside, id: &str) -> Result<Shown, Said> {
    let id: PersonId = id_of(id)?;
    let person: PersonView = inside.get(&format!("/api/v1/people/{id}")).await?;
    let body = Reinvite { lasts_seconds: None };
    let invited: Invited = inside.post(&format!("/api/v1/people/{id}/reinvite"), &body).await?;
    Ok(shown_once(pages, inside, invited, &person.kind).await)
}

/// Renames, disables, names a manager or no longer, or lets an identity provider vouch no longer.
pub(super) async fn act(
    State(pages): State<Pages>,
    Path((id, act)): Path<(String, String)>,
    Posted { inside, fields }: Posted,
) -> Response {
    pages.then(&inside, do_it(&inside, &id, &act, &fields).await).await
}

async fn do_it(inside: &Inside, id: &str, act: &str, fields: &Fields) -> Result<String, Said> {
    let id: PersonId = id_of(id)?;
    let path = format!("/api/v1/people/{id}/{act}");
    match act {
        "name" => inside.post::<()>(&path, &Rename { name: fields.get("name").trim().to_owned() }).await?,
        "disable" => inside.post::<()>(&path, &json!({})).await?,
        "manager" => {
            let _: Done = inside.put(&path, &json!({})).await?;
        }
        "dismiss" => {
            let _: Done = inside.delete(&format!("/api/v1/people/{id}/manager")).await?;
        }
        "unlink" => {
            let _: Done = inside.delete(&subject_of(&format!("/api/v1/people/{id}"), fields)?).await?;
        }
        _ => return Err(Said::not_there()),
    }
    Ok(format!("/people/{id}"))
}

/// Where the API has somebody's subject of the provider that a form names.
pub(super) fn subject_of(whose: &str, fields: &Fields) -> Result<String, Said> {
    let provider: ProviderName = fields.get("provider").parse().map_err(|_| Said::not_there())?;
    Ok(format!("{whose}/subjects/{provider}"))
}

/// Begins or changes a contract.
pub(super) async fn contract(State(pages): State<Pages>, Posted { inside, fields }: Posted) -> Response {
    pages.then(&inside, make_contract(&pages, &inside, &fields).await).await
}

async fn make_contract(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<String, Said> {
    let vendor: Result<VendorId, _> = fields.get("vendor").trim().parse();
    let vendor = vendor.map_err(|_| Said::mistake("a vendor is a word of small letters, digits and hyphens"))?;
    let sponsor: PersonId = id_of(fields.get("sponsor"))?;
    let (_, zone) = pages.clock();
    let end = end_of(fields.get("until"), zone)?;
    let telephone = Some(fields.get("telephone").trim().to_owned()).filter(|number| !number.is_empty());
    let invitations = invitations_of(fields)?;
    let contract = Contract { end, sponsor, telephone, invitations };
    let _: Done = inside.put(&format!("/api/v1/vendors/{vendor}"), &contract).await?;
    Ok("/people".to_owned())
}

/// Whom the vendor's managers may invite; as it stands, where nothing is written.
fn invitations_of(fields: &Fields) -> Result<Option<InvitationsAllowed>, Said> {
    let most = fields.get("most").trim();
    if most.is_empty() {
        return Ok(None);
    }
    let most = most.parse().map_err(|_| Said::mistake("how many managers may invite is a number; 0 for nobody"))?;
    let roles = fields.get("roles").split([',', ' ']).map(str::trim).filter(|role| !role.is_empty());
    let roles: Result<_, _> = roles.map(str::parse).collect();
    let roles = roles.map_err(|_| Said::mistake("a role is a word of small letters, digits and hyphens"))?;
    Ok(Some(InvitationsAllowed { most, roles }))
}

/// Puts a whole vendor out.
pub(super) async fn disable_vendor(
    State(pages): State<Pages>,
    Path(vendor): Path<String>,
    Posted { inside, .. }: Posted,
) -> Response {
    pages.then(&inside, put_out(&inside, &vendor).await).await
}

async fn put_out(inside: &Inside, vendor: &str) -> Result<String, Said> {
    let vendor: VendorId = vendor.parse().map_err(|_| Said::not_there())?;
    inside.post::<()>(&format!("/api/v1/vendors/{vendor}/disable"), &json!({})).await?;
    Ok("/people".to_owned())
}

pub(super) async fn certify(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let inside = sent.inside;
    pages.shown(&inside, page(&pages, &inside, vouching(&inside, &id).await).await).await
}

/// All that counts is told from the statement itself; only the name is the gate's word.
async fn vouching(inside: &Inside, id: &str) -> Result<Prepared, Said> {
    let id: PersonId = id_of(id)?;
    let template: CertifyTemplate = inside.get(&format!("/api/v1/people/{id}/statement")).await?;
    let CertifyTemplate { statement, name, .. } = template;
    let mut lines = vec![
        format!("the keys and groups of {} shall count", words::plain(&name)),
        kind_in_words(&statement.kind, &statement.groups),
        "compare the key with what they tell you by another way than this page".to_owned(),
    ];
    lines.extend(statement.keys.iter().map(|key| key_in_words(&key.0)));
    Ok(Prepared {
        lines,
        to: format!("/people/{id}/certified"),
        back: format!("/people/{id}"),
        ..Prepared::new(Namespace::Certify, &statement, statement.digest())
    })
}

pub(super) async fn certified(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, give(&pages, &inside, &id, &fields).await).await
}

async fn give(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<String, Said> {
    let id: PersonId = id_of(id)?;
    let statement: CertifyStatement = read(fields.get("statement"))?;
    let digest = statement.digest();
    let signed = sign(pages, inside, Namespace::Certify, statement, digest, fields)?;
    let _: Done = inside.post(&format!("/api/v1/people/{id}/certificates"), &CertificateGiven(signed)).await?;
    Ok(format!("/people/{id}"))
}
