//! `holdpoint fetch`: the journal and recordings from the gate into a folder that `recordings`, `play` and `verify` take.
//! Recordings come as ciphertext; each fetch is an event in the journal.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use approver::api::types::{SessionView, SessionsView};
use indicatif::{ProgressBar, ProgressStyle};
use policies::ids::SessionId;
use recordings::part::{PART, Part};

use super::gate::{ProfileArg, at_gate};
use super::{Done, Failure, print_json};
use crate::client::{Fault, Pieces, Unpacker};

/// Fetch the journal and recordings into a folder, to replay and verify them with no server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; made if it is not there. What is there already is fetched anew.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Only this session's recording; may be given several times. The folder then says that it is a part, and `verify` says so
    /// too. All of them, if left out; of what runs, as far as it is.
    #[arg(long = "session", value_name = "SESSION")]
    sessions: Vec<SessionId>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        std::fs::create_dir_all(&args.output)
            .map_err(|cause| Failure::failed(format_args!("{}: {cause}", args.output.display())))?;
        // The journal first: of what happens meanwhile it then knows nothing, and what it tells is there.
        let mut files = unpack(client.stream("/api/v1/journal/files").await?, &args.output).await?;
        let listed: SessionsView = client.get("/api/v1/recordings").await?;
        let wanted: Vec<&SessionView> = listed.sessions.iter().filter(|session| args.wants(session)).collect();
        if let Some(missing) = args.sessions.iter().find(|id| wanted.iter().all(|session| session.session != **id)) {
            return Err(Failure::refused(format_args!("there is no session {missing}")));
        }
        args.note_part()?;
        let bar = progress_bar(wanted.len());
        let mut fetched = 0;
        for session in &wanted {
            match client.stream(&format!("/api/v1/recordings/{}/files", session.session)).await {
                Ok(pieces) => {
                    files += unpack(pieces, &args.output).await?;
                    fetched += 1;
                }
                // Of a session that is just beginning nothing is recorded yet.
                Err(Fault::Problem(problem)) if problem.refusal == "not-found" && args.sessions.is_empty() => {}
                Err(fault) => return Err(fault.into()),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        args.note_all()?;
        if args.json {
            return print_json(&serde_json::json!({ "recordings": fetched, "files": files }));
        }
        let folder = args.output.display();
        let recordings = if fetched == 1 { "recording" } else { "recordings" };
        say!("{folder}: the journal and {fetched} {recordings}.");
        say!("Check it: holdpoint verify {folder} --trust trust.toml");
        if args.sessions.is_empty() {
            say!("It was copied while the gate ran, so `verify` says OPEN and exits 4 where nothing is wrong.");
        } else {
            say!("It is a part, so `verify` says WHOLE AS FAR AS IT GOES and exits 4 where nothing is wrong.");
        }
        Ok(())
    })
}

impl Args {
    /// Before the first recording comes, the folder says that it is a part. What was fetched into a part before stays in it.
    fn note_part(&self) -> Done {
        if self.sessions.is_empty() {
            return Ok(());
        }
        let mut part = Part::read(&self.output).map_err(|cause| self.not_noted(&cause))?.unwrap_or_default();
        part.sessions.extend(&self.sessions);
        part.write(&self.output).map_err(|cause| self.not_noted(&cause))
    }

    /// Once all recordings have come, it is none.
    fn note_all(&self) -> Done {
        if !self.sessions.is_empty() {
            return Ok(());
        }
        match std::fs::remove_file(self.output.join(PART)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(self.not_noted(&cause)),
            _ => Ok(()),
        }
    }

    fn not_noted(&self, cause: &io::Error) -> Failure {
        Failure::failed(format_args!("{}: {cause}", self.output.join(PART).display()))
    }

    /// Of one that was erased nothing is left to send.
    fn wants(&self, session: &SessionView) -> bool {
        let is_erased = session.kept.as_ref().is_some_and(|kept| kept.erased.is_some());
        if self.sessions.is_empty() { !is_erased } else { self.sessions.contains(&session.session) }
    }
}

pub(super) async fn unpack(mut pieces: Pieces, folder: &Path) -> Result<usize, Failure> {
    let mut unpacker = Unpacker::new(folder);
    while let Some(piece) = pieces.next().await? {
        unpacker.feed(&piece)?;
    }
    Ok(unpacker.finish()?)
}

fn progress_bar(recordings: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} recordings, {eta} left");
    let bar = ProgressBar::new(recordings as u64);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
