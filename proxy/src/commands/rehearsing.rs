//! `holdpoint verify --rehearse`: what an auditor's key opens, in words, and told to the gate, which cannot know it otherwise.

use approver::api::types::{Done as Happened, Rehearsed};
use recordings::rehearse::{Closed, Rehearsal, Tried};

use super::gate::{ProfileArg, at_gate};
use super::showing::counted;
use super::{Done, Failure};

pub(super) fn tell(rehearsal: &Rehearsal) {
    let Rehearsal { recipient, opens, opened, closed, broken } = rehearsal;
    say!("rehearsal with the key of {recipient}: it opens {}", counted(*opens, "recording"));
    for (Tried { session, began, frames, bytes }, which) in opened.iter().zip(["oldest", "newest"]) {
        say!("  opened wholly, the {which}: {session} of {began:.0} ({frames} frames, {bytes} bytes)");
    }
    for Closed { why, count, first, from, until, opened_by } in closed {
        let keys: Vec<String> = opened_by.iter().map(ToString::to_string).collect();
        let by = if keys.is_empty() { String::new() } else { format!(", opened by {}", keys.join(", ")) };
        say!(
            "  not opened: {}, {} ({from:.0} to {until:.0}, first {first}{by})",
            counted(*count, "recording"),
            why.in_words()
        );
    }
    for broken in broken {
        say!("  DOES NOT OPEN: {}: {}", broken.session, broken.words);
    }
}

/// A key that opens nothing, or not all that it should, is no key to rely on.
pub(super) fn judge(rehearse: bool, rehearsals: &[Rehearsal]) -> Done {
    match rehearsals.iter().find(|rehearsal| !rehearsal.is_good()) {
        None if rehearse && rehearsals.is_empty() => {
            Err(Failure::usage("the file has no key that recordings can be encrypted to"))
        }
        None => Ok(()),
        Some(Rehearsal { recipient, broken, .. }) if broken.is_empty() => Err(Failure::refused(format_args!(
            "the key of {recipient} opened no recording here. Where it should: is it the right key, and a recipient in holdpoint.toml?"
        ))),
        Some(Rehearsal { recipient, .. }) => Err(Failure::refused(format_args!(
            "the key of {recipient} does not open what is encrypted to it. Keep this copy, and call whoever runs the gate"
        ))),
    }
}

pub(super) fn tell_gate(rehearsals: &[Rehearsal], profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        for rehearsal in rehearsals {
            let Some(session) = rehearsal.oldest() else { continue };
            let recipient = rehearsal.recipient.clone();
            let _: Happened = client.post("/api/v1/rehearsals", &Rehearsed { recipient, session }).await?;
        }
        Ok(())
    })
}
