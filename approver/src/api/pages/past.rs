//! One session, or one request, as the journal knows it: every entry in order, with texts or that they were erased; how long
//! the recording is kept; and what an auditor takes away. Each of those is a form, and an entry of the journal.

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::Response;
use jiff::tz::TimeZone;
use policies::events::{ErasedOn, PackOf};
use policies::ids::{PersonId, RequestId, SessionId};
use serde_json::json;

use super::super::types::{
    Because, Behind, Card, Done, EntriesView, EntryView, KeptView, PackFile, RequestEntries, SessionView,
};
use super::card::id_of;
use super::history::{moment, names, outcome_in_words};
use super::inside::{Inside, Said};
use super::{Fields, Pages, Posted, Top, words};

/// An entry, as it is shown.
struct Known {
    entry: u64,
    at: String,
    id: String,
    by: String,
    in_words: String,
    /// What each text is, the text, and whether it was erased.
    texts: Vec<(String, String, bool)>,
}

fn known(entry: &EntryView, zone: &TimeZone) -> Known {
    let text = |text: &super::super::types::EntryText| match &text.text {
        Some(words) => (text.what.clone(), words::plain(words), false),
        None => (text.what.clone(), "erased, or not there".to_owned(), true),
    };
    Known {
        entry: entry.entry,
        at: words::exact(entry.at, zone),
        id: entry.id.clone(),
        by: entry.by.as_ref().map(|by| words::plain(&by.name)).unwrap_or_default(),
        in_words: words::plain(&entry.in_words),
        texts: entry.texts.iter().map(text).collect(),
    }
}

#[derive(Template)]
#[template(path = "past-request.html")]
struct PastRequest {
    top: Top,
    id: String,
    who: String,
    vendor: String,
    target: String,
    zone: String,
    standing: String,
    services: String,
    rule: String,
    /// The rule as it was frozen, whole.
    frozen: String,
    needs: String,
    reviewed: String,
    sessions: Vec<String>,
    known: Vec<Known>,
    /// Where the later entries are; nowhere, where it is empty.
    later: String,
}

pub(super) async fn request(
    State(pages): State<Pages>,
    inside: Inside,
    Path(id): Path<String>,
    Query(behind): Query<Behind>,
) -> Response {
    pages.shown(&inside, of_request(&pages, &inside, &id, behind).await).await
}

async fn of_request(pages: &Pages, inside: &Inside, id: &str, behind: Behind) -> Result<PastRequest, Said> {
    let id: RequestId = id_of(id)?;
    let card: Card = inside.get(&format!("/api/v1/requests/{id}")).await?;
    let entries: RequestEntries = inside.get(&page(&format!("/api/v1/requests/{id}/entries"), behind.after)).await?;
    let (now, zone) = pages.clock();
    let services: Vec<String> = card.services.iter().map(|service| service.service.to_string()).collect();
    let later = entries.known.next;
    Ok(PastRequest {
        top: pages.top(Some(inside)).await,
        id: id.to_string(),
        who: words::plain(&card.technician.name),
        vendor: card.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: card.target.to_string(),
        zone: card.zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        standing: outcome_in_words(entries.outcome).to_owned(),
        services: services.join(", "),
        rule: card.rule.to_string(),
        frozen: serde_json::to_string_pretty(&entries.rule).expect("what was read as JSON can be written"),
        needs: card.needs.clone(),
        reviewed: card.reviewed.as_ref().map(|seen| words::looked_back(seen, now, &zone)).unwrap_or_default(),
        sessions: entries.sessions.iter().map(ToString::to_string).collect(),
        known: entries.known.entries.iter().map(|entry| known(entry, &zone)).collect(),
        later: later.map(|later| page(&format!("/history/requests/{id}"), Some(later))).unwrap_or_default(),
    })
}

fn page(path: &str, after: Option<u64>) -> String {
    after.map_or_else(|| path.to_owned(), |after| format!("{path}?after={after}"))
}

#[derive(Template)]
#[template(path = "past-session.html")]
struct PastSession {
    top: Top,
    id: String,
    request: String,
    who: String,
    vendor: String,
    target: String,
    service: String,
    actions: String,
    source: String,
    node: String,
    started: String,
    ended: String,
    seal: String,
    rule: String,
    approvers: String,
    watchers: String,
    kept: Kept,
    known: Vec<Known>,
    later: String,
}

/// How long its recording is kept.
struct Kept {
    until: String,
    /// When it goes by itself; never, where it is empty.
    removed: String,
    holds: Vec<Hold>,
    /// Who signed that it is erased.
    signers: String,
    /// That it was; empty, where it was not.
    erased: String,
}

struct Hold {
    by: String,
    person: String,
    since: String,
    reason: String,
    is_own: bool,
}

pub(super) async fn session(
    State(pages): State<Pages>,
    inside: Inside,
    Path(id): Path<String>,
    Query(behind): Query<Behind>,
) -> Response {
    pages.shown(&inside, of_session(&pages, &inside, &id, behind).await).await
}

async fn of_session(pages: &Pages, inside: &Inside, id: &str, behind: Behind) -> Result<PastSession, Said> {
    let id: SessionId = id_of(id)?;
    let session: SessionView = inside.get(&format!("/api/v1/sessions/{id}")).await?;
    let request = session.request;
    let card: Card = inside.get(&format!("/api/v1/requests/{request}")).await?;
    let own: EntriesView = inside.get(&page(&format!("/api/v1/sessions/{id}/entries"), behind.after)).await?;
    let mut entries = own.entries;
    if behind.after.is_none() {
        let of_request: RequestEntries = inside.get(&format!("/api/v1/requests/{request}/entries")).await?;
        entries.extend(of_request.known.entries);
        entries.sort_by_key(|entry| entry.entry);
    }
    let (_, zone) = pages.clock();
    let actions: Vec<&str> = session.actions.iter().map(|action| action.as_str()).collect();
    let ended = session.ended.as_ref();
    let yes: Vec<_> = card.votes.iter().filter(|vote| vote.yes).map(|vote| vote.operator.clone()).collect();
    Ok(PastSession {
        top: pages.top(Some(inside)).await,
        id: id.to_string(),
        request: request.to_string(),
        who: words::plain(&session.technician.name),
        vendor: session.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: session.target.to_string(),
        service: session.service.to_string(),
        actions: actions.join(", "),
        source: session.source.to_string(),
        node: session.node.to_string(),
        started: words::exact(session.started, &zone),
        ended: ended.map(|ended| format!("{}: {}", words::exact(ended.at, &zone), ended.in_words)).unwrap_or_default(),
        seal: session.seal.map(|seal| seal.to_string()).unwrap_or_default(),
        rule: card.rule.to_string(),
        approvers: names(&yes),
        watchers: names(&session.watchers),
        kept: kept(session.kept.as_ref(), inside.person(), &zone),
        known: entries.iter().map(|entry| known(entry, &zone)).collect(),
        later: own.next.map(|later| page(&format!("/history/sessions/{id}"), Some(later))).unwrap_or_default(),
    })
}

fn kept(kept: Option<&KeptView>, own: PersonId, zone: &TimeZone) -> Kept {
    let at = |at: Option<jiff::Timestamp>| at.map(|at| words::exact(at, zone)).unwrap_or_default();
    let hold = |hold: &super::super::types::HoldView| Hold {
        by: words::plain(&hold.by.name),
        person: hold.by.person.to_string(),
        since: words::exact(hold.at, zone),
        reason: words::plain(hold.reason.as_deref().unwrap_or("erased, or not there")),
        is_own: hold.by.person == own,
    };
    let erased = kept.and_then(|kept| kept.erased.as_ref()).map(|erased| {
        let why = match &erased.on {
            ErasedOn::People { .. } => "two people signed it".to_owned(),
            ErasedOn::Rule { rule } => format!("the maximum of rule {rule} was over"),
        };
        format!("{}: {why}", words::exact(erased.at, zone))
    });
    Kept {
        until: at(kept.and_then(|kept| kept.until)),
        removed: at(kept.and_then(|kept| kept.removed)),
        holds: kept.into_iter().flat_map(|kept| &kept.holds).map(hold).collect(),
        signers: kept.map(|kept| names(&kept.signers)).unwrap_or_default(),
        erased: erased.unwrap_or_default(),
    }
}

/// Holds or releases.
pub(super) async fn act(
    State(pages): State<Pages>,
    Path((id, act)): Path<(String, String)>,
    Posted { inside, fields }: Posted,
) -> Response {
    pages.then(&inside, do_it(&inside, &id, &act, &fields).await).await
}

async fn do_it(inside: &Inside, id: &str, act: &str, fields: &Fields) -> Result<String, Said> {
    let id: SessionId = id_of(id)?;
    let path = format!("/api/v1/recordings/{id}/{act}");
    let _: Done = match act {
        "hold" => inside.post(&path, &Because { reason: fields.get("reason").trim().to_owned() }).await?,
        "release" => {
            let of: PersonId = id_of(fields.get("of"))?;
            inside.post(&path, &json!({ "of": of })).await?
        }
        _ => return Err(Said::not_there()),
    };
    Ok(format!("/history/sessions/{id}"))
}

/// The recording as ciphertext with the logs that vouch for it, as one file.
pub(super) async fn recording(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let inside = sent.inside;
    let sent = match id_of::<SessionId>(&id) {
        Ok(id) => inside.file(Method::GET, &format!("/api/v1/recordings/{id}/files?with=logs"), Body::empty()).await,
        Err(said) => Err(said),
    };
    pages.taken(&inside, sent).await
}

impl Pages {
    /// A file, or what the API said instead.
    async fn taken(&self, inside: &Inside, sent: Result<Response, Said>) -> Response {
        match sent {
            Ok(file) => file,
            Err(said) => self.refused(inside, &said).await,
        }
    }
}

/// An evidence pack of a session.
pub(super) async fn pack(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let made = match id_of(&id) {
        Ok(session) => make(&inside, PackOf::Session { session }, &fields).await,
        Err(said) => Err(said),
    };
    pages.taken(&inside, made).await
}

/// An evidence pack of all of a vendor in a span of time.
pub(super) async fn pack_of_vendor(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let made = match of_vendor(&pages, &fields) {
        Ok(of) => make(&inside, of, &fields).await,
        Err(said) => Err(said),
    };
    pages.taken(&inside, made).await
}

fn of_vendor(pages: &Pages, fields: &Fields) -> Result<PackOf, Said> {
    let (_, zone) = pages.clock();
    let vendor = fields.get("vendor").parse().map_err(|_| Said::mistake("choose the vendor"))?;
    let at = |name: &str| moment(fields.get(name), &zone)?.ok_or_else(|| Said::mistake("say from when and until when"));
    Ok(PackOf::Vendor { vendor, from: at("from")?, until: at("until")? })
}

/// Forms end their lines as a letter does (HTML, 4.10.5.4); files do not.
async fn make(inside: &Inside, of: PackOf, fields: &Fields) -> Result<Response, Said> {
    let body = PackFile { of, trust: fields.get("trust").replace("\r\n", "\n") };
    let body = serde_json::to_vec(&body).expect("what the API takes is JSON");
    inside.file(Method::POST, "/api/v1/packs/file", Body::from(body)).await
}
