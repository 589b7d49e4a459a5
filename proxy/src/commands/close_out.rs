//! `holdpoint close-out`: what was done under a grant, what was changed, and how it was left. Technicians say it, operators sign
//! it off.

use approver::api::types::{AccountGiven, AccountView, Card, CloseOutGiven, Done as Happened, VerdictTemplate};
use certs::proof::Face;
use certs::sshsig::Namespace;
use policies::ids::RequestId;
use policies::refusals::Refusal;
use policies::requests::{Account, Answer, CloseOut, Matter, Narrowing};

use super::card::show_short;
use super::gate::{ProfileArg, at_gate, confirm};
use super::showing::{Clock, labelled, plain};
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault};

/// Say what was done under a grant: technicians for the control room, operators signed off, which ends the grant.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which grant.
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// What was done. Operators may leave out what the technician said: then that is signed.
    #[arg(long, value_name = "TEXT")]
    done: Option<String>,
    /// What is otherwise than before; "nothing" is an answer.
    #[arg(long, value_name = "TEXT")]
    changed: Option<String>,
    /// How it was left.
    #[arg(long, value_name = "TEXT")]
    left: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// For machines, which read nothing: with --yes alone.
    #[arg(long, requires = "yes")]
    json: bool,
}

impl Args {
    /// What is to be said, by what was given here and what was said before.
    fn texts(&self, said: Option<&AccountView>) -> Result<[String; 3], Failure> {
        let given = [
            (&self.done, said.and_then(|said| said.done.as_ref())),
            (&self.changed, said.and_then(|said| said.changed.as_ref())),
            (&self.left, said.and_then(|said| said.left.as_ref())),
        ];
        let [done, changed, left] = given.map(|(given, before)| given.as_ref().or(before).cloned());
        match (done, changed, left) {
            (Some(done), Some(changed), Some(left)) => Ok([done, changed, left]),
            _ => Err(Failure::usage("say all three: --done, --changed and --left; \"nothing\" is an answer")),
        }
    }
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| match client.profile().face {
        Face::Plant => sign_off(client, args).await,
        Face::Vendor => tell(client, args).await,
    })
}

async fn tell(client: &mut Client, args: &Args) -> Done {
    let [done, changed, left] = args.texts(None)?;
    let said = AccountGiven { done, changed, left };
    let happened: Happened = client.post(&format!("/api/v1/requests/{}/account", args.request), &said).await?;
    if args.json {
        return print_json(&happened);
    }
    say!("The control room sees it. Until somebody signs it off you can say it again.");
    Ok(())
}

async fn sign_off(client: &mut Client, args: &Args) -> Done {
    let (request, clock) = (args.request, Clock::of(client));
    let card: Card = client.get(&format!("/api/v1/requests/{request}")).await?;
    let texts = args.texts(card.account.as_ref().filter(|said| !said.earlier))?;
    if !args.json {
        show_short(&card, &clock);
        say!();
        if let Some(one) = &card.close_out {
            labelled("sessions", &format!("{}, the newest {}", one.work.sessions, one.work.last));
        }
        for (label, text) in ["done", "changed", "left"].into_iter().zip(&texts) {
            labelled(label, &plain(text));
        }
    }
    confirm("Look at the machine. Sign this off, and end the grant?", args.yes)?;
    let mut kept = Vec::new();
    for text in &texts {
        kept.push(client.keep_text(text).await?);
    }
    let &[done, changed, left] = &kept[..] else { unreachable!("each of the three was kept") };
    let path = format!("/api/v1/requests/{request}/close-out");
    let query = format!("{path}?done={}&changed={}&left={}", done.0, changed.0, left.0);
    let template: VerdictTemplate = client.get(&query).await?;
    let mut statement = template.statement;
    // What was shown is signed, and no session that began meanwhile.
    let shown =
        card.close_out.map(|one| CloseOut { request, account: Account { done, changed, left }, work: one.work });
    let is_shown = |close_out: &CloseOut| close_out.digest(&statement.deployment) == statement.digest;
    let Some(close_out) = shown.filter(is_shown) else { return Err(Failure::failed(Refusal::OtherWork)) };
    if statement.matter != Matter::CloseOut(request) {
        return Err(Fault::Odd("its statement is about something else".into()).into());
    }
    statement.answer = Answer::Yes { narrowing: Narrowing::default() };
    let digest = statement.digest();
    let verdict = client.sign(Namespace::Approval, statement, digest).await?;
    let happened: Happened = client.post(&path, &CloseOutGiven { close_out, verdict }).await?;
    if args.json {
        return print_json(&happened);
    }
    say!("{request} is closed out. What was done is in the journal, signed by you.");
    Ok(())
}
