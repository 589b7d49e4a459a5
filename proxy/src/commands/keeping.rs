//! `holdpoint hold`, `release` and `erase`: how long recordings are kept.

use approver::api::types::{Because, Done as Happened, EraseSignature, EraseTemplate, KeptView, Release, SessionView};
use certs::sshsig::Namespace;
use policies::ids::SessionId;

use super::gate::{ProfileArg, at_gate, confirm, person};
use super::showing::{Clock, labelled, plain};
use super::{Done, print_json};
use crate::client::{Client, Fault};

/// Hold a recording: nothing erases it, whatever its rule says, until you release it. For auditors.
#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    /// Whose recording.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Why, for everybody who would erase it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Release a recording from your hold, or from that of an auditor who left. For auditors.
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    /// Whose recording.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Whose hold, by name or identifier; yours, if left out.
    #[arg(long, value_name = "PERSON")]
    of: Option<String>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Sign that a recording is erased, once its rule keeps it no longer. It takes an administrator and an operator; with the
/// second signature its keys are destroyed, and nobody reads it again. That it was, and what it was, stays in the logs.
#[derive(Debug, clap::Args)]
pub(super) struct EraseArgs {
    /// Whose recording.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// For machines: with --yes alone.
    #[arg(long, requires = "yes")]
    json: bool,
}

pub(super) fn hold(args: &HoldArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let because = Because { reason: args.reason.clone() };
        let done: Happened = client.post(&path(args.session, "hold"), &because).await?;
        if args.json {
            return print_json(&done);
        }
        match done.events.is_empty() {
            true => say!("You hold it already."),
            false => say!("Held. Nothing erases it until you release it: holdpoint release {}", args.session),
        }
        Ok(())
    })
}

pub(super) fn release(args: &ReleaseArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let of = match &args.of {
            Some(wanted) => Some(person(client, wanted).await?.person),
            None => None,
        };
        let done: Happened = client.post(&path(args.session, "release"), &Release { of }).await?;
        if args.json {
            return print_json(&done);
        }
        say!("Released.");
        let view = session(client, args.session).await?;
        view.kept.iter().for_each(|kept| show_kept(kept, &Clock::of(client)));
        Ok(())
    })
}

pub(super) fn erase(args: &EraseArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        // What cannot be erased is refused before anybody is asked.
        let template: EraseTemplate = client.get(&path(args.session, "erasure")).await?;
        let view = session(client, args.session).await?;
        if !args.json {
            show(&view, &Clock::of(client));
        }
        confirm("Sign that this recording is erased, for ever?", args.yes)?;
        let statement = template.statement;
        if statement.session != args.session || statement.signer != client.person()? {
            return Err(Fault::Odd("its statement is about something else than was asked".into()).into());
        }
        let signed = statement.digest();
        let signature = EraseSignature(client.sign(Namespace::Erase, statement, signed).await?);
        let done: Happened = client.post(&path(args.session, "erasure"), &signature).await?;
        if args.json {
            return print_json(&done);
        }
        match session(client, args.session).await?.kept.and_then(|kept| kept.erased) {
            Some(_) => say!("Signed, and erased: its keys are destroyed within seconds, then its bytes."),
            None => {
                say!("Signed. It takes an administrator and an operator: the other one signs with the same command.");
            }
        }
        Ok(())
    })
}

fn path(session: SessionId, what: &str) -> String {
    format!("/api/v1/recordings/{session}/{what}")
}

async fn session(client: &mut Client, session: SessionId) -> Result<SessionView, Fault> {
    client.get(&format!("/api/v1/sessions/{session}")).await
}

fn show(session: &SessionView, clock: &Clock) {
    let vendor = session.vendor.as_ref().map(|vendor| format!(" of {vendor}")).unwrap_or_default();
    say!("{}  {}{vendor}  {}/{}", session.session, plain(&session.technician.name), session.target, session.service);
    labelled("  since", &clock.moment(session.started).to_string());
    session.ended.iter().for_each(|ended| labelled("  ended", &clock.moment(ended.at).to_string()));
    session.kept.iter().for_each(|kept| show_kept(kept, clock));
}

/// How long a recording is kept, and by whom.
pub(super) fn show_kept(kept: &KeptView, clock: &Clock) {
    if let Some(erased) = &kept.erased {
        return labelled("  recording", &format!("erased {}", clock.moment(erased.at)));
    }
    let least = kept.until.map(|until| format!("kept until {} at least", clock.moment(until)));
    let most = kept.removed.map(|removed| format!("goes by itself after {}", clock.moment(removed)));
    let spans: Vec<String> = least.into_iter().chain(most).collect();
    if !spans.is_empty() {
        labelled("  recording", &spans.join(", "));
    }
    for hold in &kept.holds {
        let why = hold.reason.as_deref().unwrap_or("(the text is not there)");
        labelled("  held", &format!("by {} since {}: {}", plain(&hold.by.name), clock.moment(hold.at), plain(why)));
    }
    for signer in &kept.signers {
        labelled("  erasure", &format!("signed by {}", plain(&signer.name)));
    }
}
