//! What every command that asks a gate has in common: the profile, signing in where nobody did, the exit code of each
//! fault, and questions to whoever sits at the terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use approver::api::types::{PeopleView, PersonView, ProblemBody};
use certs::tls::CaFingerprint;
use zeroize::Zeroizing;

use super::showing::plain;
use super::{Done, Failure};
use crate::client::{Client, Fault, NotUnpacked, Profile, ProfileFault};
use crate::saying;
use crate::secret::ask_hidden;

/// Which profile, where the user said so.
#[derive(Debug, clap::Args)]
pub(super) struct ProfileArg {
    /// The profile: one person at one face. ~/.config/holdpoint/profile.toml, if left out.
    #[arg(long, value_name = "FILE", global = true, env = "HOLDPOINT_PROFILE", hide_env_values = true)]
    profile: Option<PathBuf>,
}

impl ProfileArg {
    /// Where the profile lies, or shall lie.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.profile {
            Some(path) => Ok(path.clone()),
            None => Ok(Profile::default_path().map_err(Fault::from)?),
        }
    }
}

/// Does something at the gate, as somebody who signed in.
pub(super) fn at_gate(profile: &ProfileArg, work: impl AsyncFnOnce(&mut Client) -> Done) -> Done {
    with_client(profile, async |client| {
        if !client.is_signed_in() {
            sign_in_here(client).await?;
        }
        work(client).await
    })
}

/// Signs in with a code that is asked for, where there is a terminal to ask on.
pub(super) async fn sign_in_here(client: &mut Client) -> Done {
    if !io::stdin().is_terminal() {
        return Err(Fault::NotSignedIn.into());
    }
    client.sign_in(&ask_code(client)?).await?;
    Ok(())
}

/// Does something with the profile, signed in or not.
pub(super) fn with_client(profile: &ProfileArg, work: impl AsyncFnOnce(&mut Client) -> Done) -> Done {
    let profile = Profile::load(&profile.path()?).map_err(Fault::from)?;
    let mut client = Client::open(profile, ask_passphrase)?;
    wait_for(async {
        let done = work(&mut client).await;
        if let Some(why) = client.unkept() {
            saying::aside(format_args!(
                "holdpoint: the gate's authority is being renewed, and what it says of that cannot be kept: {why}. Without it \
                 the gate is not known any more one day"
            ));
        }
        if let Some(stranger) = client.stranger() {
            saying::aside(format_args!("holdpoint: {}", of_stranger(stranger)));
        }
        done
    })
}

/// An authority that the gate names, in words.
pub(super) fn of_stranger(stranger: &CaFingerprint) -> String {
    format!(
        "the gate names one more authority, {stranger}, which none that this profile trusts has signed: so it is not trusted. Ask \
         the plant: if it is theirs (`holdpoint keys` shows it there), they give you ca.pem anew, to be put in place of the one that \
         `ca` in the profile names; if it is not, somebody has broken into the gate"
    )
}

/// Runs something that waits for the network.
pub(super) fn wait_for(work: impl Future<Output = Done>) -> Done {
    wait_for_value(work)
}

/// The same, of something that comes to a value.
pub(super) fn wait_for_value<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(work)
}

/// The code for signing in: asked without showing it, or the first line of standard input.
pub(super) fn ask_code(client: &Client) -> Result<Zeroizing<String>, Failure> {
    let profile = client.profile();
    let prompt = format!("Code for {} at {}: ", plain(&profile.name), profile.origin);
    ask_hidden(&prompt).map_err(|cause| Failure::usage(format_args!("no code was given: {cause}")))
}

/// Standard input may hold a code, so only a terminal is asked.
pub(super) fn ask_passphrase(path: &Path) -> io::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("there is no terminal"));
    }
    ask_hidden(&format!("Passphrase of {}: ", path.display()))
}

/// Asks whether to go on; `yes` was said on the command line.
pub(super) fn confirm(question: &str, yes: bool) -> Done {
    if yes {
        return Ok(());
    }
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on: look first, then say --yes"));
    }
    write!(io::stderr(), "{question} [y/N] ").map_err(Failure::failed)?;
    let mut line = String::new();
    input.read_line(&mut line).map_err(Failure::failed)?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::refused("nothing was done")),
    }
}

/// A person by name or identifier.
pub(super) async fn person(client: &mut Client, wanted: &str) -> Result<PersonView, Failure> {
    let all: PeopleView = client.list("/api/v1/people").await?;
    let is_wanted = |person: &PersonView| person.name == wanted || person.person.to_string() == wanted;
    let found = all.people.into_iter().find(is_wanted);
    found.ok_or_else(|| {
        Failure::refused(format_args!(
            "nobody is called {:?} here: `holdpoint people` lists who there is",
            plain(wanted)
        ))
    })
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Problem(problem) => of_problem(&problem),
            Fault::Profile(ProfileFault::File { .. }) => Self::failed(fault),
            Fault::Profile(_) | Fault::Key(_) | Fault::Tls(_) | Fault::OtherOrigin { .. } => Self::usage(fault),
            Fault::NotSignedIn | Fault::NotTheGate { .. } => Self::refused(fault),
            Fault::Signer(_) | Fault::Unreachable { .. } | Fault::Lost { .. } | Fault::Odd(_) | Fault::File { .. } => {
                Self::failed(fault)
            }
        }
    }
}

/// What the gate says may quote a stranger.
fn of_problem(problem: &ProblemBody) -> Failure {
    let lines = [&problem.detail].into_iter().chain(&problem.mistakes);
    let text = lines.map(|line| plain(line)).collect::<Vec<_>>().join("\n  ");
    match problem.status {
        400 | 413 => Failure::usage(text),
        429 | 500.. => Failure::failed(text),
        _ if problem.refusal == "not-signed-in" => Failure::refused(format_args!("{text}. Run `holdpoint login`")),
        _ => Failure::refused(text),
    }
}

impl From<NotUnpacked> for Failure {
    fn from(not_unpacked: NotUnpacked) -> Self {
        Self::failed(not_unpacked)
    }
}
