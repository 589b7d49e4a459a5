//! `holdpoint requests` and `revoke`: what waits and what stands; for technicians their own.

use approver::api::types::{Because, CardsView, Done as Happened, OwnRequestsView};
use certs::proof::Face;
use policies::ids::RequestId;

use super::card::{show_own, show_short};
use super::gate::{ProfileArg, at_gate};
use super::showing::Clock;
use super::{Done, print_json};

/// List requests that wait and grants that stand; on the vendor face, your own.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Also those that are over.
    #[arg(long)]
    all: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Take a grant back: sessions under it end, nobody connects with it any more.
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// Which.
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// Why, for the technician and for the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs, profile: &ProfileArg) -> Done {
    let path = if args.all { "/api/v1/requests?all=true" } else { "/api/v1/requests" };
    at_gate(profile, async |client| match client.profile().face {
        Face::Plant => {
            let cards: CardsView = client.list(path).await?;
            if args.json {
                return print_json(&cards);
            }
            let clock = Clock::of(client);
            each(&cards.requests, |card| show_short(card, &clock));
            Ok(())
        }
        Face::Vendor => {
            let own: OwnRequestsView = client.list(path).await?;
            if args.json {
                return print_json(&own);
            }
            let clock = Clock::of(client);
            each(&own.requests, |own| show_own(own, &clock));
            Ok(())
        }
    })
}

fn each<T>(requests: &[T], show: impl Fn(&T)) {
    if requests.is_empty() {
        say!("Nothing waits, and no grant stands.");
    }
    for (number, request) in requests.iter().enumerate() {
        if number > 0 {
            say!();
        }
        show(request);
    }
}

pub(super) fn revoke(args: &RevokeArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let because = Because { reason: args.reason.clone() };
        let done: Happened = client.post(&format!("/api/v1/requests/{}/revoke", args.request), &because).await?;
        if args.json {
            return print_json(&done);
        }
        say!("{} is revoked.", args.request);
        Ok(())
    })
}
