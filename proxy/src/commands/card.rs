//! A request as a card in a terminal: what an operator must know before answering. What the digest covers is shown from
//! what it covers, so that nothing else is read than what is signed.

use approver::api::types::{
    AccountView, AskCovered, AskView, AttestationView, AttestedView, Card, HandoverView, LookBackView, NoView,
    OwnRequest, ServiceView, VoteView,
};
use policies::actions::{Action, Actions};
use policies::requests::{Narrowing, Request};

use super::showing::{Clock, labelled, plain, span};

/// The whole card, with what a narrowing would take away.
pub(super) fn show(card: &Card, narrowing: &Narrowing, clock: &Clock) {
    let covered = &card.covered;
    let stands = covered.narrowed(narrowing);
    let emergency = if covered.emergency { "EMERGENCY, " } else { "" };
    let guest = if card.guest.is_some() { "GUEST, " } else { "" };
    labelled(
        "request",
        &format!("{}: {emergency}{guest}{}, asked {}", card.request, plain(&card.standing), clock.away(card.submitted)),
    );
    labelled("who", &who(card));
    let zone = card.zone.as_ref().map(|zone| format!(" in zone {zone}")).unwrap_or_default();
    labelled("where", &format!("{}{zone}, through {}", covered.target, services(&card.services)));
    show_actions(card, &stands.actions);
    labelled("how long", &format!("{} from the first connection", span(stands.duration.0.into())));
    labelled("when", &format!("from {} until {}", clock.moment(stands.window.from), clock.moment(stands.window.until)));
    labelled("why", &card.reason.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain));
    if covered.work_order.is_some() {
        let order = card.work_order.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
        labelled("work order", &order);
    }
    for caution in &card.cautions {
        labelled("caution", &plain(caution));
    }
    for taken in card.taken_away.iter().map(|taken| plain(taken)).chain(taken_away(covered, narrowing, clock)) {
        labelled("taken away", &taken);
    }
    labelled("rule", card.rule.as_str());
    if let Some(attestation) = &card.attestation {
        labelled("attested", &attestation_in_words(attestation, clock));
    }
    show_votes(&card.votes, clock);
    show_no("ended", card.no.as_ref(), &card.standing);
    if card.standing == "pending" {
        labelled("waits for", &plain(&card.needs));
    }
    if let Some(handover) = &card.handover {
        labelled("accept", &handover_in_words(handover, clock));
    }
    if card.granted.is_some() {
        labelled("ends", &format!("{} ({})", clock.moment(card.deadline), clock.away(card.deadline)));
    }
    for session in &card.sessions {
        labelled("session", &session.to_string());
    }
    if let Some(seen) = &card.reviewed {
        labelled("review", &looked_back(seen, clock));
    }
    show_account(card, clock, "");
}

/// What a manager of the technician's company attests of them.
pub(super) fn attested(attested: &AttestedView, clock: &Clock) -> String {
    let by = plain(&attested.by.name);
    let by = if attested.by_themself { format!("{by}, BY THEMSELF,") } else { by };
    let note = attested.note.as_deref().map(|note| format!(": {}", plain(note))).unwrap_or_default();
    format!("by {by} on {} until {}{note}", clock.moment(attested.at), clock.moment(attested.until))
}

/// What its rule demands of that, and what there is.
fn attestation_in_words(of: &AttestationView, clock: &Clock) -> String {
    match (&of.attested, of.within_seconds) {
        (Some(given), Some(_)) => attested(given, clock),
        (Some(given), None) => format!("{} (none was demanded)", attested(given, clock)),
        (None, Some(within)) => {
            format!("NO: the rule demands that a manager of their company did, within {}", span(within.into()))
        }
        (None, None) => "none was demanded".to_owned(),
    }
}

/// What was signed off, or what the technician says and until when that is wanted.
fn show_account(card: &Card, clock: &Clock, indent: &str) {
    if let Some(AccountView { by, at, done, changed, left, earlier }) =
        card.closed_out.as_ref().or(card.account.as_ref())
    {
        let how = if card.closed_out.is_some() { "signed off" } else { "said" };
        let of_what = if *earlier { ", before the newest session began" } else { "" };
        labelled(&format!("{indent}{how}"), &format!("by {} {}{of_what}", plain(&by.name), clock.moment(*at)));
        for (label, text) in [("done", done), ("changed", changed), ("left", left)] {
            labelled(
                &format!("{indent}  {label}"),
                &text.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain),
            );
        }
    }
    if let Some(due) = card.close_out.as_ref().and_then(|one| one.due) {
        let late = if clock.is_past(due) { "OVERDUE since" } else { "until" };
        labelled(
            &format!("{indent}close out"),
            &format!("{late} {}: holdpoint close-out {}", clock.moment(due), card.request),
        );
    }
}

/// Who reviewed a session that was drawn, and what they found.
pub(super) fn reviewed(seen: &LookBackView, clock: &Clock) -> String {
    let found = seen.objection.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
    let found = if seen.objects { format!("FOUND: {found}") } else { "found nothing".to_owned() };
    format!("{} reviewed it {}, and {found}", plain(&seen.by.name), clock.moment(seen.at))
}

/// Who looked back at what one operator alone brought about, and whether they say that it should not have been.
pub(super) fn looked_back(seen: &LookBackView, clock: &Clock) -> String {
    let (by, at) = (plain(&seen.by.name), clock.moment(seen.at));
    let why = seen.objection.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
    if seen.objects {
        format!("{by} looked back at it {at}, and OBJECTS: {why}")
    } else {
        format!("{by} looked back at it {at}")
    }
}

fn show_actions(card: &Card, actions: &Actions) {
    if actions.iter().eq([&Action::Tunnel]) {
        labelled("may do", "ANYTHING MAY BE DONE: an open connection that nobody looks into");
        return;
    }
    let mut label = "may do";
    for action in actions {
        let view = card.actions.iter().find(|view| view.action == *action);
        let words = view.map(|view| format!(": {}", plain(&view.in_words))).unwrap_or_default();
        labelled(label, &format!("{action}{words}"));
        label = "";
    }
}

pub(super) fn show_votes(votes: &[VoteView], clock: &Clock) {
    for vote in votes {
        let answer = if vote.yes { "yes" } else { "no" };
        let why = vote.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
        let mark = vote.weaker.map(|way| format!(" ({})", way.mark())).unwrap_or_default();
        let (who, at) = (plain(&vote.operator.name), clock.moment(vote.at));
        labelled("answered", &format!("{who}: {answer}, {at}{mark}{why}"));
    }
}

/// Who ended a request by a no, and why.
pub(super) fn no_in_words(no: &NoView, standing: &str) -> String {
    let did = if standing == "revoked" { "took it back" } else { "said no" };
    let reason = no.reason.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
    format!("{} {did}: {reason}", plain(&no.by))
}

fn show_no(label: &str, no: Option<&NoView>, standing: &str) {
    if let Some(no) = no {
        labelled(label, &no_in_words(no, standing));
    }
}

fn who(card: &Card) -> String {
    let name = plain(&card.technician.name);
    match (&card.vendor, &card.role) {
        (Some(vendor), Some(role)) => format!("{name} of {vendor}, {role}"),
        (Some(vendor), None) => format!("{name} of {vendor}"),
        _ => name,
    }
}

fn services(services: &[ServiceView]) -> String {
    services.iter().map(|service| service.service.to_string()).collect::<Vec<_>>().join(", ")
}

/// What a narrowing takes away of what stands, in words.
fn taken_away(covered: &Request, narrowing: &Narrowing, clock: &Clock) -> Vec<String> {
    let stands = covered.narrowed(narrowing);
    let fewer: Vec<&str> = covered.actions.difference(&stands.actions).map(|action| action.as_str()).collect();
    let shorter = format!("{} instead of {}", span(stands.duration.0.into()), span(covered.duration.0.into()));
    [
        (stands.duration < covered.duration).then_some(shorter),
        (!fewer.is_empty()).then(|| format!("no {}", fewer.join(", no "))),
        (stands.window.from > covered.window.from).then(|| format!("not before {}", clock.moment(stands.window.from))),
    ]
    .into_iter()
    .flatten()
    .map(|taken| format!("by you: {taken}"))
    .collect()
}

/// More time or more actions, with the grant it is for.
pub(super) fn show_ask(ask: &AskView, card: &Card, clock: &Clock) {
    labelled("asked", &format!("{}, {}", ask.ask, clock.away(ask.at)));
    match &ask.covered {
        AskCovered::Extension(more) => {
            let deadline = clock.moment(more.deadline);
            labelled("what", &format!("{} more time, until {deadline}", span(more.by.0.into())));
        }
        AskCovered::Widening(widening) => {
            let (actions, lasts) = (list(&widening.actions), span(widening.lasts.0.into()));
            labelled("what", &format!("also {actions}, for {lasts} from the yes"));
        }
    }
    labelled("why", &ask.reason.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain));
    labelled("grant", &card.request.to_string());
    labelled("who", &who(card));
    labelled("where", &format!("{}, {}", card.covered.target, list(&card.covered.actions)));
    show_votes(&ask.votes, clock);
    labelled("waits for", &plain(&ask.needs));
}

/// Actions in the words of rules.
pub(super) fn list(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

/// A request in a list: two lines, and one for each thing that waits beside it.
pub(super) fn show_short(card: &Card, clock: &Clock) {
    let covered = &card.covered;
    let emergency = if covered.emergency { "EMERGENCY " } else { "" };
    let guest = if card.guest.is_some() { "GUEST " } else { "" };
    let what = if covered.actions.iter().eq([&Action::Tunnel]) {
        "tunnel (anything may be done)".to_owned()
    } else {
        list(&covered.actions)
    };
    say!("{}  {emergency}{guest}{}", card.request, plain(&card.standing));
    labelled("  who", &format!("{}, to {}: {what}", who(card), covered.target));
    labelled("  why", &card.reason.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain));
    let state = match card.standing.as_str() {
        "pending" => format!(
            "{}, asked {}, waits for {}",
            span(covered.duration.0.into()),
            clock.away(card.submitted),
            plain(&card.needs)
        ),
        "granted" if card.first_use.is_none() => format!(
            "{} from the first connection, until {}",
            span(card.duration_seconds.into()),
            clock.moment(card.window.until)
        ),
        "granted" => format!("ends {}, {}", clock.away(card.deadline), sessions(card.sessions.len())),
        _ => format!("asked {}", clock.away(card.submitted)),
    };
    labelled("  now", &state);
    show_no("  ended", card.no.as_ref(), &card.standing);
    for vote in &card.votes {
        if let Some(way) = vote.weaker {
            let answer = if vote.yes { "yes" } else { "no" };
            labelled("  answered", &format!("{}: {answer} ({})", plain(&vote.operator.name), way.mark()));
        }
    }
    if let Some(handover) = &card.handover {
        labelled("  accept", &handover_in_words(handover, clock));
    }
    if card.review_wanted {
        labelled("  review", "given as an emergency: somebody else must look back at it (`holdpoint approve`)");
    }
    if let Some(seen) = &card.reviewed {
        labelled("  review", &looked_back(seen, clock));
    }
    show_account(card, clock, "  ");
    for ask in &card.asks {
        labelled("  asks", &format!("{}: {}", ask.ask, plain(&ask.in_words)));
    }
}

/// That the shift changed, and what becomes of it.
fn handover_in_words(handover: &HandoverView, clock: &Clock) -> String {
    let since = clock.moment(handover.since);
    if handover.frozen {
        return format!("FROZEN: the shift changed {since}, and nobody accepted it (`holdpoint shift`)");
    }
    let red = if handover.red { "LATE: " } else { "" };
    let then = handover.then.in_words();
    format!("{red}the shift changed {since}; accept it or end it until {}, else {then}", clock.moment(handover.acts))
}

fn sessions(count: usize) -> String {
    match count {
        0 => "no session runs".to_owned(),
        1 => "1 session runs".to_owned(),
        many => format!("{many} sessions run"),
    }
}

/// A request as the technician who made it sees it.
pub(super) fn show_own(own: &OwnRequest, clock: &Clock) {
    let actions = own.actions.iter().map(|view| view.action.as_str()).collect::<Vec<_>>().join(", ");
    say!("{}  {}", own.request, plain(&own.standing));
    labelled("  what", &format!("{}, through {}: {actions}", own.target, services(&own.services)));
    let state = match own.standing.as_str() {
        "pending" => format!("waits for {}", plain(&own.needs)),
        // The clock starts at the first connection, and goes on when that one has ended.
        "granted" if own.deadline == own.window.until => {
            format!(
                "{}, from {} until {}",
                span(own.duration_seconds.into()),
                clock.moment(own.window.from),
                clock.moment(own.window.until)
            )
        }
        "granted" => format!("ends {} ({})", clock.moment(own.deadline), clock.away(own.deadline)),
        _ => format!("asked {}", clock.away(own.submitted)),
    };
    labelled("  now", &state);
    show_no("  ended", own.no.as_ref(), &own.standing);
    for ask in &own.asks {
        match (&ask.no, ask.standing.as_str()) {
            (Some(no), _) => labelled("  refused", &format!("{}: {}", plain(&ask.in_words), no_in_words(no, "denied"))),
            (None, "pending") => {
                labelled("  asked", &format!("{}, not answered yet", plain(&ask.in_words)));
                show_read_back(ask.read_back.as_deref());
            }
            (None, _) => {}
        }
    }
    for taken in &own.taken_away {
        labelled("  without", &plain(taken));
    }
    labelled("  compare", &plain(&own.words));
    show_read_back(own.read_back.as_deref());
}

/// What a technician is asked for on the telephone.
pub(super) fn show_read_back(code: Option<&str>) {
    if let Some(code) = code {
        labelled("  read out", &format!("{}  (if an operator answers you by telephone)", plain(code)));
    }
}
