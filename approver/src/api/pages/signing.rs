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
use policies::digest::Salted;
use policies::ids::RequestId;
use policies::requests::{Answer, Matter, Narrowing, Reopening, Signed, VerdictStatement};
use policies::time::Seconds;

use super::super::types::{Card, Done, KeepText, KeptText, Reopen, VerdictGiven, VerdictTemplate};
use super::card::{find_ask, find_cut, id_of};
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
    reopening: String,
    back: String,
}

/// What will be signed, told in `lines`.
struct Prepared {
    statement: VerdictStatement,
    reopening: Option<Reopening>,
    lines: Vec<String>,
    back: String,
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

async fn page(pages: &Pages, inside: &Inside, prepared: Result<Prepared, Said>) -> Result<Sign, Said> {
    let Prepared { statement, reopening, lines, back } = prepared?;
    let is_yes = matches!(statement.answer, Answer::Yes { .. });
    Ok(Sign {
        top: pages.top(Some(inside)).await,
        site: pages.site.id().to_owned(),
        answer: if is_yes { "yes" } else { "no" },
        is_yes,
        lines,
        words: certs::words::of(&statement.digest),
        challenge: BASE64URL_NOPAD.encode(&passkey::challenge(Namespace::Approval, &statement.digest().0)),
        statement: json(&statement),
        reopening: reopening.as_ref().map(json).unwrap_or_default(),
        back,
    })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a statement is JSON")
}

async fn of_request(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let id: RequestId = id_of(id)?;
    let card: Card = inside.get(&format!("/api/v1/requests/{id}")).await?;
    let is_review = card.review_wanted;
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
            let (now, zone) = (pages.api.clock().wall(), pages.api.desk().with_state(|state| state.timezone()));
            let moment = |at| words::moment(at, now, &zone);
            lines.push(format!("from {} to {}", moment(card.window.from), moment(card.window.until)));
            lines.extend(what_stands(&card, &narrowing));
            statement.digest = card.covered.narrowed(&narrowing).digest(&statement.deployment);
            statement.answer = Answer::Yes { narrowing };
        }
        _ => lines.push(say_no(inside, &mut statement, fields).await?),
    }
    Ok(Prepared { statement, reopening: None, lines, back: format!("/requests/{id}") })
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
async fn say_no(inside: &Inside, statement: &mut VerdictStatement, fields: &Fields) -> Result<String, Said> {
    let reason = keep(inside, fields).await?;
    statement.answer = Answer::No { reason };
    Ok(format!("because: {}", words::plain(fields.get("reason").trim())))
}

async fn keep(inside: &Inside, fields: &Fields) -> Result<Salted, Said> {
    let text = fields.get("reason").trim().to_owned();
    if text.is_empty() {
        return Err(Said::mistake("write why: it is kept, and read by those whom it is about"));
    }
    let kept: KeptText = inside.post("/api/v1/texts", &KeepText { text }).await?;
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
    Ok(Prepared { statement, reopening: None, lines, back: format!("/asks/{}", ask.ask) })
}

async fn of_cut(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Prepared, Said> {
    let standing = find_cut(inside, id).await?;
    let cut = standing.cut;
    let reason = keep(inside, fields).await?;
    let template: VerdictTemplate = inside.get(&format!("/api/v1/cuts/{cut}/statement?reason={}", reason.0)).await?;
    let lines = vec![
        format!("let back in: {}", board::scope(pages, &standing.scope).await),
        format!("because: {}", words::plain(fields.get("reason").trim())),
    ];
    let reopening = Some(Reopening { cut, reason });
    Ok(Prepared { statement: template.statement, reopening, lines, back: format!("/cuts/{cut}") })
}

/// The passkey's answer. The statement comes back as it was shown; changed, its signature is wrong.
pub(super) async fn signed(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, give(&pages, &inside, &fields).await).await
}

async fn give(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<String, Said> {
    let unread = |_| Said::mistake("what was to be signed cannot be read: go back to the card");
    let statement: VerdictStatement = serde_json::from_str(fields.get("statement")).map_err(unread)?;
    let matter = statement.matter.clone();
    let signed = sign(pages, inside, statement, fields)?;
    match matter {
        Matter::Reopening(cut) => {
            let reopening: Reopening = serde_json::from_str(fields.get("reopening")).map_err(unread)?;
            let reopen = Reopen { reopening, verdict: signed };
            let _: Done = inside.post(&format!("/api/v1/cuts/{cut}/reopen"), &reopen).await?;
            Ok("/".to_owned())
        }
        matter => {
            let _: Done = inside.post("/api/v1/verdicts", &VerdictGiven(signed)).await?;
            Ok(match matter {
                Matter::Extension(ask) | Matter::Widening(ask) => format!("/asks/{ask}"),
                Matter::Request(request) | Matter::Review(request) => format!("/requests/{request}"),
                Matter::Reopening(_) => "/".to_owned(),
            })
        }
    }
}

/// By the one of the person's passkeys that made it.
fn sign(
    pages: &Pages,
    inside: &Inside,
    statement: VerdictStatement,
    fields: &Fields,
) -> Result<Signed<VerdictStatement>, Said> {
    let (said, digest) = (asserted(fields), statement.digest());
    let mut wrong = None;
    for key in passkeys_of(pages, inside.person()) {
        let signature =
            passkey::as_ssh_signature(&pages.site, &key, Namespace::Approval, &said).map_err(|bad| refusal(&bad))?;
        match certs::sshsig::verify(&key, Namespace::Approval, &digest.0, &signature) {
            Ok(_) => return Ok(Signed { statement, key: key_text(&key), signature }),
            Err(bad) => wrong = Some(bad),
        }
    }
    Err(wrong.map_or_else(|| Said::mistake("you have no passkey here"), |bad| refusal(&bad)))
}

fn refusal(bad: &dyn std::fmt::Display) -> Said {
    Said::new(StatusCode::FORBIDDEN, "Not signed", bad.to_string())
}
