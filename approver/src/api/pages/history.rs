//! The past: everything that was asked, done and refused, as far as a form wants it, newest first; the same as a table for
//! spreadsheets; and who was there at a moment. What is wanted stands in the page's address, by the plant's clock, so that
//! it can be kept and opened again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use askama::Template;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use policies::events::Ending;
use policies::history::{Kind, Outcome};
use policies::people::Kind as Person;
use recordings::table::{MARK, cell};

use super::super::types::{
    HistoryItem, HistoryView, HistoryWanted, Named, Page as _, PeopleView, PersonView, PresenceView, PresentSession,
    VendorsView,
};
use super::inside::{Inside, Said};
use super::{Pages, Top, words};

/// So many on a page: a screen or two to go through.
const ON_A_PAGE: usize = 100;

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    top: Top,
    zone: String,
    kinds: Vec<Choice>,
    outcomes: Vec<Choice>,
    endings: Vec<Choice>,
    people: Vec<Choice>,
    operators: Vec<Choice>,
    vendors: Vec<Choice>,
    targets: Vec<Choice>,
    zones: Vec<Choice>,
    from: String,
    until: String,
    rows: Vec<Row>,
    is_filtered: bool,
    /// Where the older ones are; nowhere, where it is empty.
    older: String,
    table: String,
}

/// One of a form's choices.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
    pub(super) is_chosen: bool,
}

struct Row {
    at: String,
    what: &'static str,
    link: String,
    who: String,
    vendor: String,
    place: String,
    in_words: String,
    came: String,
    is_no: bool,
    by: String,
}

/// What a form wants, as its page's address says it.
struct Form(BTreeMap<String, String>);

impl Form {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// A field that may be left empty.
    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Said> {
        let parse = |text: &str| text.parse().map_err(|_| Said::mistake(format!("{text:?} is no {what}")));
        Some(self.get(name)).filter(|text| !text.is_empty()).map(parse).transpose()
    }

    fn word<T: Copy>(&self, name: &str, all: &[T], as_str: impl Fn(T) -> &'static str) -> Result<Option<T>, Said> {
        let text = self.get(name);
        let found = all.iter().copied().find(|one| as_str(*one) == text);
        match found {
            None if !text.is_empty() => Err(Said::mistake(format!("{text:?} is none of the choices"))),
            found => Ok(found),
        }
    }

    /// Each with its label; what is asked for is always one of them.
    fn choices(&self, name: &str, all: impl IntoIterator<Item = (String, String)>) -> Vec<Choice> {
        let asked = self.get(name);
        let mut choices: Vec<_> = all.into_iter().map(|(value, label)| chosen_of(value, label, asked)).collect();
        if !asked.is_empty() && !choices.iter().any(|choice| choice.is_chosen) {
            choices.push(chosen_of(asked.to_owned(), words::plain(asked), asked));
        }
        choices
    }

    fn moment(&self, name: &str, zone: &TimeZone) -> Result<Option<Timestamp>, Said> {
        moment(self.get(name), zone)
    }

    fn wanted(&self, zone: &TimeZone) -> Result<HistoryWanted, Said> {
        Ok(HistoryWanted {
            limit: None,
            before: self.parsed("before", "place in the journal")?,
            kind: self.word("kind", &Kind::ALL, Kind::as_str)?,
            outcome: self.word("outcome", &Outcome::ALL, Outcome::as_str)?,
            ending: self.word("ending", &Ending::WORDS, |word| word)?.map(str::to_owned),
            vendor: self.parsed("vendor", "vendor's name")?,
            person: self.parsed("person", "person's identifier")?,
            target: self.parsed("target", "target's name")?,
            zone: self.parsed("zone", "zone's name")?,
            operator: self.parsed("operator", "person's identifier")?,
            from: self.moment("from", zone)?,
            until: self.moment("until", zone)?,
        })
    }
}

/// A moment as a form has it, by the plant's clock (HTML, 2.3.5.6), or with its offset; a day alone is its beginning.
pub(super) fn moment(text: &str, zone: &TimeZone) -> Result<Option<Timestamp>, Said> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(at) = text.parse() {
        return Ok(Some(at));
    }
    let written = text.parse::<DateTime>().and_then(|written| written.to_zoned(zone.clone()));
    let wrong = |_| Said::mistake(format!("{text:?} is no time: write it as 2026-11-29T18:00, by the plant's clock"));
    Ok(Some(written.map_err(wrong)?.timestamp()))
}

/// As [`moment`] reads it: with its offset in an hour that comes twice.
fn in_a_form(at: Option<Timestamp>, zone: &TimeZone) -> String {
    let Some(at) = at.map(|at| at.to_zoned(zone.clone())) else { return String::new() };
    let comes_twice = zone.to_ambiguous_zoned(at.datetime()).is_ambiguous();
    at.strftime(if comes_twice { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S" }).to_string()
}

/// As the API takes it. Names, identifiers and times are made of letters, digits, `-`, `_`, `:` and `.`, which stand for
/// themselves in a query, and an offset's `+`, which does not.
fn query_of(wanted: &HistoryWanted) -> Vec<(String, String)> {
    let value = serde_json::to_value(wanted).expect("a filter has string keys and whole numbers");
    let fields = value.as_object().cloned().unwrap_or_default();
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.into_iter().map(|(name, value)| (name, text(value))).collect()
}

fn joined(path: &str, query: &[(String, String)]) -> String {
    let query: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// The page's own address for the same: with times by the plant's clock, as its form has them.
fn address(path: &str, wanted: &HistoryWanted, before: Option<u64>, zone: &TimeZone) -> String {
    let mut query = query_of(&HistoryWanted { before, limit: None, ..wanted.clone() });
    for (name, value) in &mut query {
        match name.as_str() {
            "from" => *value = in_a_form(wanted.from, zone),
            "until" => *value = in_a_form(wanted.until, zone),
            _ => {}
        }
    }
    joined(path, &query)
}

pub(super) async fn list(
    State(pages): State<Pages>,
    inside: Inside,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    pages.shown(&inside, gather(&pages, &inside, &Form(asked)).await).await
}

async fn gather(pages: &Pages, inside: &Inside, form: &Form) -> Result<History, Said> {
    let (_, zone) = pages.clock();
    let wanted = form.wanted(&zone)?;
    let query = query_of(&HistoryWanted { limit: Some(ON_A_PAGE), ..wanted.clone() });
    let HistoryView { items, next } = inside.get(&joined("/api/v1/history", &query)).await?;
    let PeopleView { people, .. } = inside.list("/api/v1/people").await?;
    let VendorsView { vendors } = inside.get("/api/v1/vendors").await?;
    let is_technician = |one: &&PersonView| matches!(one.kind, Person::Technician { .. });
    let named = |one: &PersonView| (one.person.to_string(), words::plain(&one.name));
    let (targets, zones) = pages.api.desk().with_state(|state| {
        let (history, plant) = (&state.history, state.plant.as_ref());
        let targets = plant.iter().flat_map(|plant| plant.targets.keys()).chain(history.targets());
        let zones = plant.iter().flat_map(|plant| plant.zones.keys()).chain(history.zones());
        (plain(targets), plain(zones))
    });
    Ok(History {
        top: pages.top(Some(inside)).await,
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
        kinds: Kind::ALL.map(|kind| labelled(kind.as_str(), kind_in_words(kind), form.get("kind"))).into(),
        outcomes: Outcome::ALL.map(|one| labelled(one.as_str(), outcome_in_words(one), form.get("outcome"))).into(),
        endings: Ending::WORDS.map(|word| labelled(word, word, form.get("ending"))).into(),
        operators: form.choices("operator", people.iter().filter(|one| !is_technician(one)).map(named)),
        people: form.choices("person", people.iter().map(named)),
        vendors: form.choices("vendor", plain(vendors.iter().map(|vendor| &vendor.vendor))),
        targets: form.choices("target", targets),
        zones: form.choices("zone", zones),
        from: in_a_form(wanted.from, &zone),
        until: in_a_form(wanted.until, &zone),
        rows: items.iter().map(|item| row(item, &zone)).collect(),
        is_filtered: HistoryWanted { before: None, ..wanted.clone() } != HistoryWanted::default(),
        older: next.map(|next| address("/history", &wanted, Some(next), &zone)).unwrap_or_default(),
        table: address("/history.csv", &wanted, None, &zone),
    })
}

fn labelled(value: &str, label: &str, chosen: &str) -> Choice {
    chosen_of(value.to_owned(), label.to_owned(), chosen)
}

fn chosen_of(value: String, label: String, chosen: &str) -> Choice {
    Choice { is_chosen: value == chosen, value, label }
}

/// Each once, in order, with itself as its label.
fn plain<'a, T: ToString + Ord + 'a>(all: impl IntoIterator<Item = &'a T>) -> Vec<(String, String)> {
    let all: BTreeSet<&T> = all.into_iter().collect();
    all.into_iter().map(|one| (one.to_string(), one.to_string())).collect()
}

const fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "sessions",
        Kind::Request => "requests",
        Kind::More => "extensions and widenings",
        Kind::Refusal => "refusals by the gate",
        Kind::NothingGiven => "all that came to nothing",
    }
}

pub(super) const fn outcome_in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotAccepted => "not accepted at a shift change",
        Outcome::Restored => "ended by a restore",
        Outcome::Refused => "refused by the gate",
        Outcome::ClosedOut => "closed out: what was done is signed off",
        Outcome::Lapsed => "lapsed: nobody answered, or it was not used",
        other => other.as_str(),
    }
}

const fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "session",
        Kind::Request => "request",
        Kind::More => "more",
        Kind::Refusal | Kind::NothingGiven => "refusal",
    }
}

pub(super) fn names(people: &[Named]) -> String {
    people.iter().map(|one| words::plain(&one.name)).collect::<Vec<_>>().join(", ")
}

fn row(item: &HistoryItem, zone: &TimeZone) -> Row {
    let link = match (item.session, item.request) {
        (Some(session), _) => format!("/history/sessions/{session}"),
        (None, Some(request)) => format!("/history/requests/{request}"),
        (None, None) => String::new(),
    };
    let others = if item.others.is_empty() { String::new() } else { format!("also {}", names(&item.others)) };
    let by = [names(&item.approvers), others].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    Row {
        at: words::exact(item.at, zone),
        what: what(item.kind),
        link,
        who: words::plain(&item.person.name),
        vendor: item.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        place: place(item),
        in_words: words::plain(&described(item)),
        came: came(item, zone),
        is_no: item.outcome.is_nothing_given(),
        by: by.join(", "),
    }
}

fn place(item: &HistoryItem) -> String {
    match (&item.target, &item.zone) {
        (Some(target), Some(zone)) => format!("{target} in {zone}"),
        (Some(target), None) => target.to_string(),
        (None, _) => String::new(),
    }
}

fn described(item: &HistoryItem) -> String {
    let urgent = if item.emergency { "EMERGENCY: " } else { "" };
    let rule = item.rule.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default();
    format!("{urgent}{}{rule}", item.in_words)
}

fn came(item: &HistoryItem, zone: &TimeZone) -> String {
    match &item.ended {
        Some(ended) => format!("{}: {}", words::exact(ended.at, zone), ended.in_words),
        None => outcome_in_words(item.outcome).to_owned(),
    }
}

/// The same as a table (RFC 4180), whole, and not a page of it; no cell of it is a formula. It is worked out a page at a time,
/// as the connection takes it.
pub(super) async fn table(
    State(pages): State<Pages>,
    inside: Inside,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let (_, zone) = pages.clock();
    match begin(&inside, &Form(asked), &zone).await {
        Ok((path, first)) => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"history.csv\""),
            ];
            let head = stream::once(async { Ok(format!("{MARK}{HEAD}\r\n")) });
            (headers, Body::from_stream(head.chain(rows_of(inside, path, first)))).into_response()
        }
        Err(said) => pages.refused(&inside, &said).await,
    }
}

const HEAD: &str = "entry,at,kind,outcome,ended,ending,person,name,vendor,target,zone,what,rule,emergency,approvers,others,\
                    request,session";

async fn begin(inside: &Inside, form: &Form, zone: &TimeZone) -> Result<(String, HistoryView), Said> {
    let wanted = HistoryWanted { before: None, ..form.wanted(zone)? };
    let path = joined("/api/v1/history", &query_of(&wanted));
    let first = inside.get(&path).await?;
    Ok((path, first))
}

/// Where it cannot be read on, the table breaks off, and half of it is never taken for the whole.
fn rows_of(inside: Inside, path: String, first: HistoryView) -> impl Stream<Item = io::Result<String>> {
    stream::try_unfold((inside, path, Some(first)), |(inside, path, page)| async move {
        let Some(page) = page else { return Ok(None) };
        let rows: String = page.items.iter().map(line).collect();
        let next = match page.older(&path) {
            Some(older) => Some(inside.get(&older).await.map_err(|said| io::Error::other(said.detail))?),
            None => None,
        };
        Ok(Some((rows, (inside, path, next))))
    })
}

fn line(item: &HistoryItem) -> String {
    let text = |value: Option<String>| value.unwrap_or_default();
    let cells = [
        item.entry.to_string(),
        item.at.to_string(),
        item.kind.as_str().to_owned(),
        item.outcome.as_str().to_owned(),
        text(item.ended.as_ref().map(|ended| ended.at.to_string())),
        text(item.ended.as_ref().map(|ended| ended.ending.clone())),
        item.person.person.to_string(),
        words::plain(&item.person.name),
        text(item.vendor.as_ref().map(ToString::to_string)),
        text(item.target.as_ref().map(ToString::to_string)),
        text(item.zone.as_ref().map(ToString::to_string)),
        words::plain(&item.in_words),
        text(item.rule.as_ref().map(ToString::to_string)),
        if item.emergency { "yes" } else { "" }.to_owned(),
        names(&item.approvers),
        names(&item.others),
        text(item.request.map(|request| request.to_string())),
        text(item.session.map(|session| session.to_string())),
    ];
    format!("{}\r\n", cells.map(|text| cell(&text)).join(","))
}

#[derive(Template)]
#[template(path = "presence.html")]
struct Presence {
    top: Top,
    zone: String,
    is_now: bool,
    /// As the form has it.
    asked: String,
    at: String,
    on_duty: String,
    sessions: Vec<Present>,
}

struct Present {
    session: String,
    request: String,
    who: String,
    vendor: String,
    place: String,
    what: String,
    started: String,
    ended: String,
    approvers: String,
}

pub(super) async fn presence(
    State(pages): State<Pages>,
    inside: Inside,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    pages.shown(&inside, at_a_moment(&pages, &inside, &Form(asked)).await).await
}

async fn at_a_moment(pages: &Pages, inside: &Inside, form: &Form) -> Result<Presence, Said> {
    let (_, zone) = pages.clock();
    let asked = form.moment("at", &zone)?;
    let path = asked.map_or_else(|| "/api/v1/presence".to_owned(), |at| format!("/api/v1/presence?at={at}"));
    let then: PresenceView = inside.get(&path).await?;
    Ok(Presence {
        top: pages.top(Some(inside)).await,
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
        is_now: asked.is_none(),
        asked: in_a_form(Some(then.at), &zone),
        at: words::exact(then.at, &zone),
        on_duty: names(&then.on_duty),
        sessions: then.sessions.iter().map(|session| present(session, &zone)).collect(),
    })
}

fn present(session: &PresentSession, zone: &TimeZone) -> Present {
    let actions: Vec<&str> = session.actions.iter().map(|action| action.as_str()).collect();
    let in_zone = session.zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
    let ended = session.ended.as_ref();
    Present {
        session: session.session.to_string(),
        request: session.request.to_string(),
        who: words::plain(&session.technician.name),
        vendor: session.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        place: format!("{}{in_zone}, through {}", session.target, session.service),
        what: actions.join(", "),
        started: words::exact(session.started, zone),
        ended: ended.map(|ended| format!("{}: {}", words::exact(ended.at, zone), ended.in_words)).unwrap_or_default(),
        approvers: names(&session.approvers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_wants_stands_in_the_address_and_comes_back_from_it() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let asked = [
            ("kind", "nothing-given"),
            ("vendor", "acme"),
            ("from", "2026-11-29T18:00"),
            ("target", ""),
            ("ending", "cut"),
        ];
        let form = |pairs: &[(&str, &str)]| {
            Form(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let wanted = form(&asked).wanted(&zone).unwrap();
        assert_eq!(wanted.from.unwrap().to_string(), "2026-11-29T17:00:00Z");
        assert_eq!(wanted.target, None);
        let kept = address("/history", &wanted, Some(7), &zone);
        assert_eq!(kept, "/history?before=7&ending=cut&from=2026-11-29T18:00:00&kind=nothing-given&vendor=acme");
        let again: Vec<(&str, &str)> =
            kept.split_once('?').unwrap().1.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(form(&again).wanted(&zone).unwrap(), HistoryWanted { before: Some(7), ..wanted });
        // The hour that comes twice.
        let second = form(&[("from", "2026-10-25T02:30:00+01:00")]).wanted(&zone).unwrap();
        assert_eq!(second.from.unwrap().to_string(), "2026-10-25T01:30:00Z");
        assert_eq!(address("/history", &second, None, &zone), "/history?from=2026-10-25T02:30:00%2B01:00");
        assert_eq!(in_a_form(Some("2026-10-25T00:30:00Z".parse().unwrap()), &zone), "2026-10-25T02:30:00+02:00");
        // What is asked for can be chosen, though there is none now.
        let choices = form(&[("target", "old-1")]).choices("target", [("hmi-1".to_owned(), "hmi-1".to_owned())]);
        let shown: Vec<_> = choices.iter().map(|choice| (choice.value.as_str(), choice.is_chosen)).collect();
        assert_eq!(shown, [("hmi-1", false), ("old-1", true)]);
        for wrong in [("kind", "all"), ("ending", "rain"), ("from", "yesterday"), ("vendor", "a b"), ("person", "tess")]
        {
            assert!(form(&[wrong]).wanted(&zone).is_err(), "{wrong:?}");
        }
    }
}
