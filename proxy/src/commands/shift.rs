//! `holdpoint shift`: what the shift before left, who is on duty, and taking it over.

use approver::api::types::{Card, CardsView, Done as Happened, ShiftView};
use policies::ids::RequestId;

use super::card::show_short;
use super::gate::{ProfileArg, at_gate};
use super::showing::{Clock, labelled, plain};
use super::{Done, Failure, print_json};
use crate::client::Client;

/// Show who is on duty and what waits to be accepted since the shift changed; accept it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Accept these: you stand for them until your own shift ends. `revoke` and `deny` end them.
    #[arg(long, value_name = "REQUEST", num_args = 1.., value_delimiter = ',')]
    accept: Vec<RequestId>,
    /// Accept all that waits.
    #[arg(long, conflicts_with = "accept")]
    accept_all: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        if args.accept.is_empty() && !args.accept_all {
            return show(client, args.json).await;
        }
        let wanted = match args.accept_all {
            true => waiting(client).await?.iter().map(|card| card.request).collect(),
            false => args.accept.clone(),
        };
        accept(client, &wanted, args.json).await
    })
}

async fn show(client: &mut Client, json: bool) -> Done {
    let shift: ShiftView = client.get("/api/v1/shift").await?;
    if json {
        return print_json(&shift);
    }
    let clock = Clock::of(client);
    say!("Shifts: {}.", plain(&shift.shifts));
    if let Some(next) = shift.changes {
        say!("The next change is {} ({}).", clock.moment(next), clock.away(next));
    }
    for on_duty in &shift.on_duty {
        labelled("on duty", &format!("{}, until {}", plain(&on_duty.who.name), clock.moment(on_duty.until)));
    }
    if shift.on_duty.is_empty() {
        say!("Nobody is on duty.");
    }
    if shift.waiting.is_empty() {
        say!("Nothing waits to be accepted.");
    }
    for card in &shift.waiting {
        say!();
        show_short(card, &clock);
    }
    Ok(())
}

async fn waiting(client: &mut Client) -> Result<Vec<Card>, Failure> {
    let CardsView { requests, .. } = client.list("/api/v1/requests").await?;
    Ok(requests.into_iter().filter(|card| card.handover.is_some()).collect())
}

/// One after the other; the first that is refused is told once the others are accepted.
async fn accept(client: &mut Client, wanted: &[RequestId], json: bool) -> Done {
    let (mut accepted, mut refused) = (Vec::new(), None);
    for request in wanted {
        let done = client.post::<Happened>(&format!("/api/v1/requests/{request}/accept"), &serde_json::json!({})).await;
        match done {
            Ok(_) => accepted.push(*request),
            Err(fault) => refused = refused.or(Some((*request, Failure::from(fault)))),
        }
    }
    if json {
        print_json(&serde_json::json!({ "accepted": accepted }))?;
    } else {
        accepted.iter().for_each(|request| say!("{request} is accepted: you stand for it until your shift ends."));
        if wanted.is_empty() {
            say!("Nothing waits to be accepted.");
        }
    }
    match refused {
        Some((request, failure)) => Err(Failure { text: format!("{request}: {}", failure.text), ..failure }),
        None => Ok(()),
    }
}
