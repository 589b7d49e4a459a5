//! `holdpoint reviews`: what one operator alone brought about or chance drew, and what somebody else must look back at, oldest first.

use approver::api::types::{ReviewId, ReviewView, ReviewsView};

use super::card::{looked_back, reviewed};
use super::gate::{ProfileArg, at_gate};
use super::showing::{Clock, labelled, plain};
use super::{Done, print_json};

/// List emergency grants, guests and drawn sessions that somebody must look back at, oldest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also those that somebody looked back at.
    #[arg(long)]
    all: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    let path = if args.all { "/api/v1/reviews?all=true" } else { "/api/v1/reviews" };
    at_gate(profile, async |client| {
        let mut list: ReviewsView = client.list(path).await?;
        list.reviews.reverse();
        if args.json {
            return print_json(&list);
        }
        if list.reviews.is_empty() {
            say!("Nothing waits for somebody to look back at it.");
        }
        let clock = Clock::of(client);
        list.reviews.iter().for_each(|review| show(review, &clock));
        Ok(())
    })
}

fn show(review: &ReviewView, clock: &Clock) {
    let vendor = review.vendor.as_ref().map(|vendor| format!(" of {vendor}")).unwrap_or_default();
    let given_by = review.given_by.iter().map(|who| plain(&who.name)).collect::<Vec<_>>().join(", ");
    say!("{}  {}", review.review, plain(&review.in_words));
    labelled("  who", &format!("{}{vendor}, at {}", plain(&review.technician.name), review.target));
    labelled("  given", &format!("by {given_by} {} ({})", clock.moment(review.at), clock.away(review.at)));
    match (&review.reviewed, review.not_before) {
        (Some(seen), _) => {
            let is_drawn = matches!(review.review, ReviewId::Session(_));
            labelled("  review", &if is_drawn { reviewed(seen, clock) } else { looked_back(seen, clock) });
        }
        (None, Some(at)) => {
            labelled("  review", &format!("not before {}, or when somebody ends it", clock.moment(at)));
        }
        (None, None) => {
            let until = review.due.map(|due| format!("until {}: ", clock.moment(due))).unwrap_or_default();
            labelled("  review", &format!("{until}holdpoint approve {}", review.review));
        }
    }
}
