//! A verdict on a page, in two steps: first what exactly will be signed, in words; then the passkey, whose challenge is
//! made of that and of nothing else. What comes back is an approval like one from a terminal, and takes the same door.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use certs::passkey;
use certs::sshsig::Namespace;
use data_encoding::BASE64URL_NOPAD;
use policies::actions::{Action, Actions};
use policies::digest::{Digest, Salted};
use policies::ids::{RequestId, SessionId};
use policies::plant::Weaker;
use policies::requests::{Account, Answer, CloseOut, Matter, Narrowing, Reopening, Signed, VerdictStatement};
use policies::time::Seconds;

use super::super::types::{
    Card, CloseOutGiven, CloseOutView, Done, KeepText, KeptText, Reopen, SessionView, VerdictGiven, VerdictTemplate,
    WeakerVerdictGiven,
};
use super::card::{cut_by, find_ask, find_cut, id_of};
use super::inside::{Inside, Said};
use super::signing_in::{asserted, passkeys_of};
use super::{Fields, Pages, Posted, Top, board, words};
use crate::people::key_text;

#[derive(Template)]
#[template(path = "sign.html")]
struct Sign {
    top: Top,
    site: String,
    answer: &'static str,
    is_yes: bool,
    lines: Vec<String>,
    words: String,
    challenge: String,
    statement: String,
    covered: String,
    to: String,
    /// What whoever signs did first, to be ticked; nothing, where it is empty.
    confirm: String,
    /// Ways that the rule allows beside the passkey.
    weaker: Vec<Way>,
    has_app: bool,
    back: String,
}

/// A way to answer without a signature.
struct Way {
    name: &'static str,
    in_words: &'static str,
    /// The technician reads something out.
    is_heard: bool,
}

fn way(way: &Weaker) -> Way {
    Way { name: way.as_str(), in_words: words::weaker_way(*way), is_heard: *way == Weaker::Telephone }
}

/// What will be signed, told in `lines`.
pub(super) struct Prepared {
    pub(super) answer: &'static str,
    pub(super) lines: Vec<String>,
    /// To compare with what somebody else reads; none where nobody reads the same.
    pub(super) words: String,
    /// As the API takes it.
    pub(super) statement: String,
    /// What the passkey signs.
    pub(super) digest: Digest,
    pub(super) namespace: Namespace,
    /// Where the signature goes.
    pub(super) to: String,
    pub(super) back: String,
    /// Ways that the rule allows beside the passkey.
    pub(super) weaker: BTreeSet<Weaker>,
    /// What is signed with it, where that stands nowhere yet: a reopening, or a close-out.
    pub(super) covered: String,
    /// What whoever signs says with it that they did; nothing, where it is empty.
    pub(super) confirm: String,
}

impl Prepared {
    /// Something other than a verdict.
    pub(super) fn new<T: serde::Serialize>(namespace: Namespace, statement: &T, digest: Digest) -> Self {
        Self {
            answer: "yes",
            lines: Vec::new(),
            words: String::new(),
            statement: json(statement),
            digest,
            namespace,
            to: String::new(),
            back: String::new(),
            weaker: BTreeSet::new(),
            covered: String::new(),
            confirm: String::new(),
        }
    }

    pub(super) fn verdict(
        statement: &VerdictStatement,
        weaker: BTreeSet<Weaker>,
        lines: Vec<String>,
        back: String,
    ) -> Self {
        Self {
            answer: if matches!(statement.answer, Answer::Yes { .. }) { "yes" } else { "no" },
            lines,
            words: certs::words::of(&statement.digest),
            to: "/signed".to_owned(),
            back,
            weaker,
            ..Self::new(Namespace::Approval, statement, statement.digest())
        }
    }
}

pub(super) async fn request(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = of_request(&pages, &inside, &id, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

pub(super) async fn ask(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = of_ask(&inside, &id, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

pub(super) async fn reopening(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = of_cut(&pages, &inside, &id, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

/// The page on which it is signed.
pub(super) async fn page(
    pages: &Pages,
    inside: &Inside,
    prepared: Result<Prepared, Said>,
) -> Result<impl Template + use<>, Said> {
    let Prepared { answer, lines, words, statement, digest, namespace, to, back, weaker, covered, confirm } = prepared?;
    let has_app = pages.api.people().has_app(inside.person()).await.map_err(|fault| Said::of(fault.into()))?;
    Ok(Sign {
        top: pages.top(Some(inside)).await,
        site: pages.site.id().to_owned(),
        answer,
        is_yes: answer == "yes",
        lines,
        words,
        challenge: BASE64URL_NOPAD.encode(&passkey::challenge(namespace, &digest.0)),
        statement,
        covered,
        to,
        confirm,
        weaker: weaker.iter().filter(|_| inside.login().login.who.subject().is_none()).map(way).collect(),
        has_app,
        back,
    })
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a statement is JSON")
}

async fn of_request(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let id: RequestId = id_of(id)?;
    let card: Card = inside.get(&format!("/api/v1/requests/{id}")).await?;
    let is_review = card.review_wanted;
    if is_review != (fields.get("about") == "review") {
        return Err(Said::mistake("somebody else answered it meanwhile: look at the card again"));
    }
    let path = if is_review { "review" } else { "statement" };
    let template: VerdictTemplate = inside.get(&format!("/api/v1/requests/{id}/{path}")).await?;
    let mut statement = template.statement;
    let who = who(&card);
    let mut lines = vec![match (is_review, card.emergency) {
        (true, _) => format!("the emergency of {who}, looked back at"),
        (false, true) => format!("EMERGENCY: {who}"),
        (false, false) => who,
    }];
    match fields.get("answer") {
        "yes" if is_review => {}
        "yes" => {
            let narrowing = narrowing(&card, fields)?;
            let (now, zone) = pages.clock();
            let moment = |at| words::moment(at, now, &zone);
            lines.push(format!("from {} to {}", moment(card.window.from), moment(card.window.until)));
            lines.extend(what_stands(&card, &narrowing));
            statement.digest = card.covered.narrowed(&narrowing).digest(&statement.deployment);
            statement.answer = Answer::Yes { narrowing };
        }
        _ if is_review => {
            lines.push("it should not have been given".to_owned());
            lines.push(say_no(inside, &mut statement, fields).await?);
        }
        _ => lines.push(say_no(inside, &mut statement, fields).await?),
    }
    let weaker = if is_review { BTreeSet::new() } else { card.weaker };
    Ok(Prepared::verdict(&statement, weaker, lines, format!("/requests/{id}")))
}

fn who(card: &Card) -> String {
    let vendor = card.vendor.as_ref().map(|vendor| format!(" of {vendor}")).unwrap_or_default();
    let services = card.services.iter().map(|view| view.service.to_string()).collect::<Vec<_>>().join(", ");
    format!("{}{vendor} at {}, through {services}", words::plain(&card.technician.name), card.target)
}

/// What the form takes away from what was asked.
fn narrowing(card: &Card, fields: &Fields) -> Result<Narrowing, Said> {
    let minutes: u32 = fields.get("minutes").parse().map_err(|_| Said::mistake("write the minutes as a number"))?;
    let seconds = minutes.saturating_mul(60);
    let asked = card.covered.duration;
    let kept: BTreeSet<&str> = fields.all("action").collect();
    let actions: Actions =
        card.covered.actions.iter().copied().filter(|action| kept.contains(action.as_str())).collect();
    if seconds == 0 {
        return Err(Said::mistake("a yes to no time at all is a no: say so, with a reason"));
    }
    if actions.is_empty() {
        return Err(Said::mistake("a yes to no action at all is a no: say so, with a reason"));
    }
    Ok(Narrowing {
        duration: (seconds < asked.0 && minutes != asked.0 / 60).then_some(Seconds(seconds)),
        actions: (actions != card.covered.actions).then_some(actions),
        from: None,
    })
}

fn what_stands(card: &Card, narrowing: &Narrowing) -> Vec<String> {
    let narrowed = card.covered.narrowed(narrowing);
    let in_words = |action: &Action| {
        let view = card.actions.iter().find(|view| view.action == *action);
        view.map_or_else(|| action.as_str().to_owned(), |view| format!("{action}: {}", view.in_words))
    };
    let mut lines = vec![format!("for {} from the first connection", narrowed.duration)];
    lines.extend(narrowed.actions.iter().map(in_words));
    let taken: Vec<_> = card.covered.actions.difference(&narrowed.actions).map(|action| action.as_str()).collect();
    if !taken.is_empty() {
        lines.push(format!("without {}", taken.join(", ")));
    }
    if narrowed.duration != card.covered.duration {
        lines.push(format!("instead of {}", card.covered.duration));
    }
    lines
}

/// A no has a reason, which the technician reads.
pub(super) async fn say_no(inside: &Inside, statement: &mut VerdictStatement, fields: &Fields) -> Result<String, Said> {
    let reason = keep(inside, fields).await?;
    statement.answer = Answer::No { reason };
    Ok(format!("because: {}", words::plain(fields.get("reason").trim())))
}

async fn keep(inside: &Inside, fields: &Fields) -> Result<Salted, Said> {
    keep_text(inside, fields.get("reason").trim(), "write why: it is kept, and read by those whom it is about").await
}

async fn keep_text(inside: &Inside, text: &str, wanted: &str) -> Result<Salted, Said> {
    if text.is_empty() {
        return Err(Said::mistake(wanted));
    }
    let kept: KeptText = inside.post("/api/v1/texts", &KeepText { text: text.to_owned() }).await?;
    Ok(kept.digest)
}

async fn of_ask(inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let ask = find_ask(inside, id).await?;
    let card: Card = inside.get(&format!("/api/v1/requests/{}", ask.request)).await?;
    let template: VerdictTemplate = inside.get(&format!("/api/v1/asks/{}/statement", ask.ask)).await?;
    let mut statement = template.statement;
    let mut lines = vec![who(&card), ask.in_words.clone()];
    if fields.get("answer") != "yes" {
        lines.push(say_no(inside, &mut statement, fields).await?);
    }
    Ok(Prepared::verdict(&statement, ask.weaker, lines, format!("/asks/{}", ask.ask)))
}

async fn of_cut(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let standing = find_cut(inside, id).await?;
    let (now, zone) = pages.clock();
    let cut = standing.cut;
    let reason = keep(inside, fields).await?;
    let template: VerdictTemplate = inside.get(&format!("/api/v1/cuts/{cut}/statement?reason={}", reason.0)).await?;
    let lines = vec![
        format!("let back in: {}", board::scope(pages, &standing.scope).await),
        format!("cut {}", cut_by(&standing, now, &zone)),
        format!("because: {}", words::plain(fields.get("reason").trim())),
    ];
    let covered = json(&Reopening { cut, reason });
    let prepared = Prepared::verdict(&template.statement, BTreeSet::new(), lines, format!("/cuts/{cut}"));
    Ok(Prepared { covered, ..prepared })
}

pub(super) async fn closing_out(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = of_close_out(&inside, &id, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

async fn of_close_out(inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let request: RequestId = id_of(id)?;
    let card: Card = inside.get(&format!("/api/v1/requests/{request}")).await?;
    let Some(CloseOutView { work, .. }) = card.close_out else {
        return Err(Said::mistake("somebody is at work under it, or it is closed out already: look at the card again"));
    };
    if fields.get("work") != json(&work) {
        return Err(Said::mistake("somebody was at work under it since the card was shown: look at the card again"));
    }
    let mut lines = vec![format!("closed out: {}", who(&card)), words::work(&work)];
    let mut kept = Vec::new();
    for (name, label) in ACCOUNT {
        let text = fields.get(name).trim();
        kept.push(keep_text(inside, text, "say each of the three: \"nothing\" is an answer").await?);
        lines.push(format!("{label}: {}", words::plain(text)));
    }
    let &[done, changed, left] = &kept[..] else { unreachable!("each of the three was kept") };
    let close_out = CloseOut { request, account: Account { done, changed, left }, work };
    let texts = format!("done={}&changed={}&left={}", done.0, changed.0, left.0);
    let template: VerdictTemplate = inside.get(&format!("/api/v1/requests/{request}/close-out?{texts}")).await?;
    if template.statement.digest != close_out.digest(&template.statement.deployment) {
        return Err(Said::mistake("somebody was at work under it meanwhile: look at the card again"));
    }
    let prepared = Prepared::verdict(&template.statement, BTreeSet::new(), lines, format!("/requests/{request}"));
    Ok(Prepared { covered: json(&close_out), ..prepared })
}

/// The fields of an account, and what each is.
const ACCOUNT: [(&str, &str); 3] = [("done", "done"), ("changed", "changed"), ("left", "left")];

pub(super) async fn session(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    let prepared = of_session(&pages, &inside, &id, &fields).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

async fn of_session(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let id: SessionId = id_of(id)?;
    let session: SessionView = inside.get(&format!("/api/v1/sessions/{id}")).await?;
    let template: VerdictTemplate = inside.get(&format!("/api/v1/sessions/{id}/review")).await?;
    let (now, zone) = pages.clock();
    let vendor = session.vendor.as_ref().map(|vendor| format!(" of {vendor}")).unwrap_or_default();
    let who = words::plain(&session.technician.name);
    let mut lines = vec![format!(
        "the session of {who}{vendor} at {}, of {}, reviewed",
        session.target,
        words::moment(session.started, now, &zone)
    )];
    let mut statement = template.statement;
    if fields.get("answer") == "yes" {
        lines.push("nothing was found".to_owned());
    } else {
        lines.push("something was found".to_owned());
        lines.push(say_no(inside, &mut statement, fields).await?);
    }
    Ok(Prepared::verdict(&statement, BTreeSet::new(), lines, format!("/sessions/{id}")))
}

/// The passkey's answer. The statement comes back as it was shown; changed, its signature is wrong.
pub(super) async fn signed(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, give(&pages, &inside, &fields).await).await
}

/// An answer by codes instead of a signature.
pub(super) async fn answered(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, answer(&inside, &fields).await).await
}

async fn answer(inside: &Inside, fields: &Fields) -> Result<String, Said> {
    let statement: VerdictStatement = serde_json::from_str(fields.get("statement")).map_err(unread)?;
    let way = match fields.get("way") {
        "telephone" => Weaker::Telephone,
        _ => Weaker::Totp,
    };
    let matter = statement.matter.clone();
    let read_back = (way == Weaker::Telephone).then(|| fields.get("read-back").to_owned());
    let given = WeakerVerdictGiven { statement, way, code: fields.get("code").to_owned(), read_back };
    let _: Done = inside.post("/api/v1/verdicts/weaker", &given).await?;
    Ok(page_of(&matter))
}

fn unread(_: serde_json::Error) -> Said {
    Said::mistake("what was to be answered cannot be read: go back to the card")
}

/// Where what was answered stands.
fn page_of(matter: &Matter) -> String {
    match matter {
        Matter::Extension(ask) | Matter::Widening(ask) => format!("/asks/{ask}"),
        Matter::Request(request) | Matter::Review(request) | Matter::CloseOut(request) => {
            format!("/requests/{request}")
        }
        Matter::Session(session) => format!("/sessions/{session}"),
        Matter::Guest(guest) => format!("/guests/{guest}"),
        Matter::Reopening(_) => "/".to_owned(),
    }
}

async fn give(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<String, Said> {
    let statement: VerdictStatement = read(fields.get("statement"))?;
    let matter = statement.matter.clone();
    let digest = statement.digest();
    let signed = sign(pages, inside, Namespace::Approval, statement, digest, fields)?;
    match matter {
        Matter::Reopening(cut) => {
            let reopening: Reopening = read(fields.get("covered"))?;
            let reopen = Reopen { reopening, verdict: signed };
            let _: Done = inside.post(&format!("/api/v1/cuts/{cut}/reopen"), &reopen).await?;
            Ok("/".to_owned())
        }
        Matter::CloseOut(request) => {
            let close_out: CloseOut = read(fields.get("covered"))?;
            let given = CloseOutGiven { close_out, verdict: signed };
            let _: Done = inside.post(&format!("/api/v1/requests/{request}/close-out"), &given).await?;
            Ok(format!("/requests/{request}"))
        }
        matter => {
            let _: Done = inside.post("/api/v1/verdicts", &VerdictGiven(signed)).await?;
            Ok(page_of(&matter))
        }
    }
}

/// What was to be signed, as it came back.
pub(super) fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Said> {
    serde_json::from_str(text).map_err(|_| Said::mistake("what was to be signed cannot be read: go back to the card"))
}

/// By the one of the person's passkeys that made it.
pub(super) fn sign<T>(
    pages: &Pages,
    inside: &Inside,
    namespace: Namespace,
    statement: T,
    digest: Digest,
    fields: &Fields,
) -> Result<Signed<T>, Said> {
    let said = asserted(fields);
    let mut wrong = None;
    for key in passkeys_of(pages, inside.person()) {
        let signature = passkey::as_ssh_signature(&pages.site, &key, namespace, &said).map_err(|bad| refusal(&bad))?;
        match certs::sshsig::verify(&key, namespace, &digest.0, &signature) {
            Ok(_) => return Ok(Signed { statement, key: key_text(&key), signature }),
            Err(bad) => wrong = Some(bad),
        }
    }
    Err(wrong.map_or_else(|| Said::mistake("you have no passkey here"), |bad| refusal(&bad)))
}

fn refusal(bad: &dyn std::fmt::Display) -> Said {
    Said::new(StatusCode::FORBIDDEN, "Not signed", bad.to_string())
}
