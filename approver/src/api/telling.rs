//! Entries of the journal for people: who did what, in a sentence, with the texts behind its digests. What an entry means for
//! machines is the event itself (`docs/EVENTS.md`).

use policies::digest::Salted;
use policies::events::{CutBy, ErasedOn, EscortEnd, Event, PackOf, Scope};
use policies::ids::PersonId;
use policies::people::SshKey;
use policies::requests::{Answer, CloseOut, Matter, Narrowing, Request};
use policies::state::State;

use super::Api;
use super::types::{EntryText, EntryView};
use crate::journal::Entry;
use crate::people::key_in_words;

impl Api {
    pub(super) async fn entry_view(&self, entry: &Entry) -> EntryView {
        let event = &entry.event;
        let (by, mut in_words) = self.desk().with_state(|state| (who(state, event), sentence(state, event)));
        for person in mentioned(event) {
            in_words = in_words.replace(&person.to_string(), &self.people().shown(person).await);
        }
        let mut texts = Vec::new();
        for (what, text) in texts_of(event) {
            texts.push(EntryText { what: what.to_owned(), text: self.opened(text).await });
        }
        EntryView {
            entry: entry.index,
            at: entry.at,
            id: event.id().to_owned(),
            by: match by {
                Some(person) => Some(self.named(person).await),
                None => None,
            },
            in_words,
            texts,
        }
    }
}

/// Who did it, those included whose doing an event says by what it is.
fn who(state: &State, event: &Event) -> Option<PersonId> {
    let technician = |request| state.cases.get(request).map(|case| case.asked.technician);
    match event {
        Event::Withdrawn { request } => technician(request),
        Event::ExtensionAsked { extension } => technician(&extension.request),
        Event::WideningAsked { widening } => technician(&widening.request),
        Event::WatchEnded { by, .. } | Event::EscortEnded { by, .. } => Some(*by),
        event => event.actor(),
    }
}

/// Other people whom the sentence names by their identifier.
fn mentioned(event: &Event) -> Vec<PersonId> {
    match event {
        Event::Released { of, .. } => vec![*of],
        Event::Erased { on: ErasedOn::People { administrator, operator }, .. } => vec![*administrator, *operator],
        Event::Cut { scope: Scope::Technician(person), .. } => vec![*person],
        Event::GuestInvited { invitation, .. } => vec![invitation.statement.person],
        Event::GuestEnded { person, .. } => vec![*person],
        Event::Restored { administrator, operator } => {
            vec![administrator.statement.signer, operator.statement.signer]
        }
        _ => Vec::new(),
    }
}

fn texts_of(event: &Event) -> Vec<(&'static str, Salted)> {
    let of_answer = |answer: &Answer| match answer {
        Answer::No { reason } => vec![("reason", *reason)],
        Answer::Yes { .. } => Vec::new(),
    };
    match event {
        Event::Submitted { request, .. } => {
            let work_order = request.work_order.map(|text| ("work order", text));
            [("reason", request.reason)].into_iter().chain(work_order).collect()
        }
        Event::Voted { verdict } => of_answer(&verdict.statement.answer),
        Event::VotedWeaker { statement, .. } => of_answer(&statement.answer),
        Event::ExtensionAsked { extension } => vec![("reason", extension.reason)],
        Event::WideningAsked { widening } => vec![("reason", widening.reason)],
        Event::Revoked { reason, .. } | Event::Held { reason, .. } => vec![("reason", *reason)],
        Event::Reviewed { objection, .. } => objection.iter().map(|text| ("objection", *text)).collect(),
        Event::Told { text, .. } => vec![("line", *text)],
        Event::Reopened { reopening, .. } => vec![("reason", reopening.reason)],
        Event::GuestInvited { invitation, .. } => vec![("reason", invitation.statement.reason)],
        Event::Accounted { account, .. } | Event::ClosedOut { close_out: CloseOut { account, .. }, .. } => {
            vec![
                ("what was done", account.done),
                ("what is otherwise", account.changed),
                ("how it was left", account.left),
            ]
        }
        Event::SessionReviewed { findings, .. } => findings.iter().map(|text| ("findings", *text)).collect(),
        Event::GuestReviewed { objection, .. } => objection.iter().map(|text| ("objection", *text)).collect(),
        _ => Vec::new(),
    }
}

/// What happened. Identifiers of people stand in it where [`mentioned`] names them. What is about no request, session or visit has
/// its identifier alone.
fn sentence(state: &State, event: &Event) -> String {
    let words = [of_request, of_recording, of_session, of_visit].into_iter().find_map(|words| words(state, event));
    words.unwrap_or_else(|| event.id().to_owned())
}

fn of_visit(state: &State, event: &Event) -> Option<String> {
    let words = match event {
        Event::GuestInvited { invitation, rule, .. } => {
            let statement = &invitation.statement;
            format!(
                "invited {} of vendor {} as a guest to {}, under rule {}, until {}, signed by {}",
                statement.person,
                statement.vendor,
                statement.target,
                rule.id,
                state.clock(statement.until),
                key(&invitation.key)
            )
        }
        Event::GuestEnded { person, by: Some(_), .. } => format!("sent the guest {person} away: the visit is over"),
        Event::GuestEnded { person, by: None, .. } => format!("the visit of {person} is over: its time was"),
        Event::GuestReviewed { objection: None, .. } => {
            "looked back at the visit, and has nothing against it".to_owned()
        }
        Event::GuestReviewed { .. } => "looked back at the visit, and OBJECTS".to_owned(),
        _ => return None,
    };
    Some(words)
}

fn of_request(state: &State, event: &Event) -> Option<String> {
    let words = match event {
        Event::Submitted { request, rule } => {
            let urgent = if request.emergency { " as an emergency" } else { "" };
            format!("asked{urgent} for {}, under rule {}, which is frozen with it", asked(state, request), rule.id)
        }
        Event::Voted { verdict } => {
            let what = answer(state, &verdict.statement.answer, &verdict.statement.matter);
            format!("{what}, signed by {}", key(&verdict.key))
        }
        Event::VotedWeaker { statement, way } => {
            format!(
                "{}, without a signature: weaker, by {}",
                answer(state, &statement.answer, &statement.matter),
                way.as_str()
            )
        }
        Event::Granted { .. } => "all it takes said yes: granted".to_owned(),
        Event::Denied { .. } => "denied".to_owned(),
        Event::Withdrawn { .. } => "took it back".to_owned(),
        Event::Lapsed { request } => {
            let was_used = state.cases.get(request).is_some_and(|case| case.first_use.is_some());
            match was_used {
                true => "the guest's visit is over, and the grant, which was used, with it".to_owned(),
                false => "nobody answered in time, or it was never used: lapsed".to_owned(),
            }
        }
        Event::Restored { administrator, operator } => format!(
            "the gate was restored from an earlier state, as {} and {} signed: what was open is over, and what became of it in \
             between is not known",
            administrator.statement.signer, operator.statement.signer
        ),
        Event::Revoked { .. } => "took the grant back".to_owned(),
        Event::Reviewed { objection: None, .. } => "looked back at it, and has nothing against it".to_owned(),
        Event::Reviewed { .. } => "looked back at it, and OBJECTS".to_owned(),
        Event::Accepted { until, .. } => {
            format!("accepted what the shift before left, and stands for it until {}", state.clock(*until))
        }
        Event::NotAccepted { then, .. } => {
            format!("the shift changed, and nobody accepted it in time: {}", then.in_words())
        }
        Event::ExtensionAsked { extension } => {
            format!("asked for {} more, until {}", extension.by, state.clock(extension.deadline))
        }
        Event::Extended { deadline, .. } => format!("all it takes said yes: it ends at {}", state.clock(*deadline)),
        Event::WideningAsked { widening } => {
            let actions: Vec<&str> = widening.actions.iter().map(|action| action.as_str()).collect();
            format!("asked for {} also {}", widening.lasts, actions.join(", "))
        }
        Event::Widened { until, .. } => {
            format!("all it takes said yes: more may be done until {}", state.clock(*until))
        }
        Event::AskDenied { .. } => "the extension or widening is denied".to_owned(),
        Event::Accounted { .. } => "said what was done".to_owned(),
        Event::ClosedOut { close_out, verdict } => {
            let sessions = if close_out.work.sessions == 1 { "session" } else { "sessions" };
            format!(
                "closed it out: signed off what was done in {} {sessions}, by {}",
                close_out.work.sessions,
                key(&verdict.key)
            )
        }
        _ => return None,
    };
    Some(words)
}

fn asked(state: &State, request: &Request) -> String {
    let actions: Vec<&str> = request.actions.iter().map(|action| action.as_str()).collect();
    let services: Vec<_> = request.services.iter().map(ToString::to_string).collect();
    format!(
        "{} at {} ({}) for {}, between {} and {}",
        actions.join(", "),
        request.target,
        services.join(", "),
        request.duration,
        state.clock(request.window.from),
        state.clock(request.window.until)
    )
}

fn answer(state: &State, answer: &Answer, matter: &Matter) -> String {
    let about = match matter {
        Matter::Request(_) => "the request",
        Matter::Extension(_) => "the extension",
        Matter::Widening(_) => "the widening",
        Matter::Reopening(_) => "letting back in",
        Matter::Review(_) => "how it was given, afterwards",
        Matter::Guest(_) => "the visit, afterwards",
        Matter::CloseOut(_) => "what was done",
        Matter::Session(_) => "the session, which was drawn for review",
    };
    match answer {
        Answer::Yes { narrowing } => format!("said yes to {about}{}", narrowed(state, narrowing)),
        Answer::No { .. } => format!("said NO to {about}"),
    }
}

fn narrowed(state: &State, narrowing: &Narrowing) -> String {
    let actions = narrowing.actions.as_ref().map(|actions| {
        let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
        format!("only {}", actions.join(", "))
    });
    let parts = [
        narrowing.duration.map(|duration| format!("for {duration}")),
        actions,
        narrowing.from.map(|from| format!("not before {}", state.clock(from))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(", narrowed: {}", parts.join(", ")) }
}

fn key(key: &SshKey) -> String {
    key_in_words(&key.0)
}

fn of_recording(state: &State, event: &Event) -> Option<String> {
    let words = match event {
        Event::Fetched { .. } => "fetched the recording".to_owned(),
        Event::Packed { of: PackOf::Session { .. }, .. } => "made an evidence pack of it".to_owned(),
        Event::Packed { of: PackOf::Vendor { vendor, from, until }, .. } => format!(
            "made an evidence pack of all of vendor {vendor} from {} until {}",
            state.clock(*from),
            state.clock(*until)
        ),
        Event::Rehearsed { recipient, .. } => format!("opened it, whole, with the key of {recipient}"),
        Event::Held { .. } => "holds the recording: nothing erases it".to_owned(),
        Event::Released { of, by, .. } if of == by => "holds it no longer".to_owned(),
        Event::Released { of, .. } => format!("released it from the hold of {of}"),
        Event::ErasureSigned { signed } => format!("signed that it is erased, by {}", key(&signed.key)),
        Event::Erased { on: ErasedOn::People { administrator, operator }, .. } => {
            format!("ERASED, as {administrator} and {operator} signed")
        }
        Event::Erased { on: ErasedOn::Rule { rule }, .. } => format!("ERASED: the maximum of rule {rule} is over"),
        _ => return None,
    };
    Some(words)
}

fn of_session(state: &State, event: &Event) -> Option<String> {
    let words = match event {
        Event::Started { target, service, actions, source, factors, node, deadline, .. } => {
            let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
            let factors: Vec<&str> = factors.iter().map(policies::events::Factor::in_words).collect();
            format!(
                "began at {target} ({service}) from {source} on node {node}: {}; proved by {}; ends by {}",
                actions.join(", "),
                factors.join(", "),
                state.clock(*deadline)
            )
        }
        Event::Ended { ending, seal, .. } => {
            let seal = match seal {
                Some(seal) => format!("; sealed {seal}"),
                None => "; NOT SEALED".to_owned(),
            };
            format!("over: {}{seal}", ending.in_words())
        }
        Event::Frozen { .. } => "froze its input".to_owned(),
        Event::Thawed { .. } => "let its input go on".to_owned(),
        Event::Watched { .. } => "watches".to_owned(),
        Event::WatchEnded { .. } => "watches no longer".to_owned(),
        Event::Escorted { .. } => "escorts: watches, and says that they are there".to_owned(),
        Event::EscortEnded { why: EscortEnd::Lapsed, .. } => {
            "escorts no longer: did not say in time that they are still there".to_owned()
        }
        Event::EscortEnded { why: EscortEnd::Left, .. } => "escorts no longer: watches no longer".to_owned(),
        Event::Told { .. } => "wrote a line to the technician".to_owned(),
        Event::TransferRunsOn { until, .. } => {
            format!("the time is over, and a program transfer is let finish, until {} at most", state.clock(*until))
        }
        Event::IdleLocked { .. } => "nobody typed anything for too long: the terminals are locked".to_owned(),
        Event::IdleUnlocked { .. } => "the technician gave a code: the terminals are open again".to_owned(),
        Event::Warned { left, .. } => format!("the technician was told that {left} are left"),
        Event::Disconnected { .. } => "closed its connections to the target; it goes on".to_owned(),
        Event::Cut { scope, by, .. } => {
            let whose = match by {
                CutBy::Operator(_) => "",
                CutBy::Display(_) => " at this display",
                CutBy::Local => " at the machine itself",
            };
            format!("CUT {}{whose}", cut(scope))
        }
        Event::SessionReviewed { findings: None, .. } => "reviewed it, and found nothing".to_owned(),
        Event::SessionReviewed { .. } => "reviewed it, and FOUND SOMETHING".to_owned(),
        Event::Reopened { verdict, .. } => format!("let back in, signed by {}", key(&verdict.key)),
        _ => return None,
    };
    Some(words)
}

fn cut(scope: &Scope) -> String {
    match scope {
        Scope::Session(_) => "this session".to_owned(),
        Scope::Technician(person) => format!("technician {person}"),
        Scope::Vendor(vendor) => format!("vendor {vendor}"),
        Scope::Zone(zone) => format!("zone {zone}"),
        Scope::Plant => "the whole plant".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_known_of_a_request_or_a_session_is_told_in_words() {
        let golden = include_str!("../../../policies/tests/golden/events-1.jsonl");
        let state = State::default();
        let wordless: std::collections::BTreeSet<_> = golden
            .lines()
            .map(|line| Event::decode(line.as_bytes()).unwrap())
            .filter(|event| sentence(&state, event) == event.id())
            .map(|event| event.id())
            .collect();
        let is_about_work = |id: &&str| ("HP1301".."HP1600").contains(id) || ("HP1113"..="HP1115").contains(id);
        let missing: Vec<&str> = wordless.into_iter().filter(is_about_work).collect();
        // What a target showed, what somebody reads along, and refusals, which are items of their own.
        assert_eq!(missing, ["HP1408", "HP1409", "HP1418"]);
    }
}
