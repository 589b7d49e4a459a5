//! `holdpoint guests` and `invite --guest`: whom an operator on duty lets in for a night, and sends away. What is signed is
//! what is shown, texts included.

use approver::api::types::{
    Done as Happened, GuestGiven, GuestTemplate, GuestView, GuestWanted, GuestsView, InvitableRules, InvitableView,
    Invited, KeptText,
};
use approver::directory::clean_text;
use certs::sshsig::Namespace;
use jiff::Timestamp;
use policies::digest::Salted;
use policies::ids::{GuestId, RuleId, TargetName, VendorId};
use policies::requests::GuestStatement;
use policies::time::Seconds;

use super::card::looked_back;
use super::gate::{ProfileArg, at_gate, confirm};
use super::showing::{Clock, labelled, plain, span};
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault};

/// List guests who may come now and the rules that take some; send one away.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also visits that are over.
    #[arg(long)]
    all: bool,
    /// Send this guest away: live sessions end, nothing of theirs counts any longer.
    #[arg(long, value_name = "GUEST", conflicts_with = "all")]
    end: Option<GuestId>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// What a guest comes for.
#[derive(Debug, clap::Args)]
pub(super) struct Visit {
    /// The one target that a guest may ask for.
    #[arg(long, value_name = "TARGET", requires = "guest")]
    target: Option<TargetName>,
    /// How long a guest may come and go, from now.
    #[arg(id = "span", long = "for", value_name = "SPAN", requires = "guest")]
    lasts: Option<Seconds>,
    /// Why a guest comes: read by whoever looks back at it.
    #[arg(long, value_name = "TEXT", requires = "guest")]
    reason: Option<String>,
    /// The rule a guest comes under; the first that takes guests of the vendor there, if left out.
    #[arg(long, value_name = "RULE", requires = "guest")]
    rule: Option<RuleId>,
    /// Do not ask: a guest's vendor was called back.
    #[arg(long, requires = "guest")]
    yes: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| match args.end {
        Some(guest) => end(client, guest, args.json).await,
        None => list(client, args).await,
    })
}

async fn list(client: &mut Client, args: &Args) -> Done {
    let path = if args.all { "/api/v1/guests?all=true" } else { "/api/v1/guests" };
    let GuestsView { guests, .. } = client.list(path).await?;
    let InvitableRules { rules } = client.get("/api/v1/guests/rules").await?;
    if args.json {
        return print_json(&serde_json::json!({ "guests": guests, "rules": rules }));
    }
    let clock = Clock::of(client);
    if guests.is_empty() {
        say!("Nobody is a guest here.");
    }
    for guest in &guests {
        show(guest, &clock);
        say!();
    }
    for rule in &rules {
        show_rule(rule, &clock);
    }
    if rules.is_empty() {
        say!("No rule takes guests: the plant file gives none a guest_max.");
    }
    Ok(())
}

pub(super) fn show(guest: &GuestView, clock: &Clock) {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
    let state = if guest.over { "over" } else { guest.standing.as_str() };
    say!("{}  {}", guest.guest, plain(state));
    labelled("  who", &format!("{} of {}, to {}", plain(&guest.person.name), guest.vendor, guest.target));
    labelled("  why", &text(&guest.reason));
    labelled("  invited", &format!("by {} {}, under rule {}", plain(&guest.by.name), clock.away(guest.at), guest.rule));
    labelled("  called", &text(&guest.telephone));
    let until = guest.ended.unwrap_or(guest.until);
    let by = guest.ended_by.as_ref().map(|by| format!(", ended by {}", plain(&by.name))).unwrap_or_default();
    labelled("  until", &format!("{} ({}){by}", clock.moment(until), clock.away(until)));
    for session in &guest.sessions {
        labelled("  session", &session.to_string());
    }
    match &guest.reviewed {
        Some(seen) => labelled("  review", &looked_back(seen, clock)),
        None if guest.review_wanted => {
            labelled("  review", &format!("somebody else must look back at it: holdpoint approve {}", guest.guest));
        }
        None => {}
    }
}

fn show_rule(rule: &InvitableView, clock: &Clock) {
    say!("Under rule {}, for {} at most:", rule.rule, span(rule.most_seconds.into()));
    for host in &rule.vendors {
        let number = host.telephone.as_deref().map_or_else(|| "no number is registered".to_owned(), plain);
        labelled("  of", &format!("{}, called back on {number}", host.vendor));
    }
    let targets = rule.targets.iter().map(|target| target.as_str()).collect::<Vec<_>>().join(", ");
    labelled("  to", &targets);
    if let Some(until) = rule.taken_until {
        labelled("  taken", &format!("until {}: one guest at a time", clock.moment(until)));
    }
}

async fn end(client: &mut Client, guest: GuestId, json: bool) -> Done {
    let done: Happened = client.post(&format!("/api/v1/guests/{guest}/end"), &serde_json::json!({})).await?;
    if json {
        return print_json(&done);
    }
    say!("The guest is sent away. Somebody else looks back at it: holdpoint approve {guest}");
    Ok(())
}

/// Shows what will be signed and the number to call, asks, signs, and gives the code.
pub(super) async fn invite(
    client: &mut Client,
    name: &str,
    vendor: &VendorId,
    visit: &Visit,
    json: bool,
) -> Result<Invited, Failure> {
    let (Some(target), Some(lasts), Some(reason)) = (&visit.target, visit.lasts, &visit.reason) else {
        return Err(Failure::usage("a guest comes to one --target, --for some time, and for a --reason"));
    };
    let wanted = GuestWanted {
        name: name.to_owned(),
        vendor: vendor.clone(),
        target: target.clone(),
        rule: visit.rule.clone(),
        lasts_seconds: lasts.0,
        reason: reason.clone(),
    };
    let template: GuestTemplate = client.post("/api/v1/guests/statement", &wanted).await?;
    let clock = Clock::of(client);
    if let Some(wrong) = mistake(&template, &wanted, Timestamp::now()) {
        return Err(Fault::Odd(format!("what it wants signed is not what was asked for: {wrong}")).into());
    }
    let statement = template.statement;
    if statement.operator != client.person()? {
        return Err(Fault::Odd("what it wants signed is in another's name".into()).into());
    }
    let number = plain(&template.telephone.text);
    if !json {
        tell(&statement, &plain(name), &template.rule.id, reason, &number, &clock);
    }
    confirm(&format!("Did you call {vendor} back on {number}, and shall {} come?", plain(name)), visit.yes)?;
    let digest = statement.digest();
    let signed = client.sign(Namespace::Guest, statement, digest).await?;
    Ok(client.post("/api/v1/guests", &GuestGiven(signed)).await?)
}

fn tell(statement: &GuestStatement, name: &str, rule: &RuleId, reason: &str, number: &str, clock: &Clock) {
    labelled("guest", &format!("{name} of {}, {}", statement.vendor, statement.role));
    labelled("to", &format!("{}, and nowhere else", statement.target));
    labelled("until", &format!("{} ({})", clock.moment(statement.until), clock.away(statement.until)));
    labelled("under", &format!("rule {rule}: somebody escorts them, or their input waits"));
    labelled("why", &plain(reason));
    labelled("call back", &format!("{number}, the number that is registered for {}", statement.vendor));
}

/// What the gate wants signed otherwise than it was asked for, if anything.
fn mistake(template: &GuestTemplate, wanted: &GuestWanted, now: Timestamp) -> Option<&'static str> {
    let GuestTemplate { statement, name, reason, telephone, rule } = template;
    let is = |kept: &KeptText, covered: Salted| kept.is_right() && kept.digest == covered;
    let says = |kept: &KeptText, text: &str| clean_text(text).is_ok_and(|clean| clean.as_str() == kept.text);
    let wrong = [
        (statement.vendor != wanted.vendor, "another vendor"),
        (statement.target != wanted.target, "another target"),
        (rule.digest() != statement.rule, "another rule than it shows"),
        (wanted.rule.as_ref().is_some_and(|wanted| *wanted != rule.id), "another rule"),
        (!rule.roles.contains(&statement.role), "another role than the rule's"),
        (statement.until > Seconds(wanted.lasts_seconds.saturating_add(SLACK)).after(now), "a longer time"),
        (!is(name, statement.name) || !says(name, &wanted.name), "another name"),
        (!is(reason, statement.reason) || !says(reason, &wanted.reason), "another reason"),
        (!is(telephone, statement.telephone), "another number than it shows"),
    ];
    wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what)
}

/// Seconds by which two clocks may differ.
const SLACK: u32 = 300;
