//! `holdpoint fetch`: the journal and recordings from the gate into a folder that `recordings`, `play` and `verify` take.
//! Recordings come as ciphertext; each fetch is an event in the journal.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use approver::api::types::{SessionView, SessionsView};
use indicatif::{ProgressBar, ProgressStyle};
use policies::ids::SessionId;

use super::gate::{ProfileArg, at_gate};
use super::{Done, Failure, print_json};
use crate::client::{Client, Unpacker};

/// Fetch the journal and recordings into a folder, to replay and verify them with no server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; made if it is not there. What is there already is fetched anew.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Only this session's recording; may be given several times. All that have ended, if left out.
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
        let mut files = unpack(client, "/api/v1/journal/files", &args.output).await?;
        let listed: SessionsView = client.get("/api/v1/recordings").await?;
        let wanted: Vec<&SessionView> = listed.sessions.iter().filter(|session| args.wants(session)).collect();
        if let Some(missing) = args.sessions.iter().find(|id| wanted.iter().all(|session| session.session != **id)) {
            return Err(Failure::refused(format_args!("there is no session {missing}")));
        }
        let bar = progress_bar(wanted.len());
        for session in &wanted {
            files += unpack(client, &format!("/api/v1/recordings/{}/files", session.session), &args.output).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        if args.json {
            return print_json(&serde_json::json!({ "recordings": wanted.len(), "files": files }));
        }
        let folder = args.output.display();
        say!("{folder}: the journal and {} recordings.", wanted.len());
        say!("Check it: holdpoint verify {folder} --trust trust.toml");
        say!("It was copied while the gate ran, so `verify` says OPEN and exits 4 where nothing is wrong.");
        Ok(())
    })
}

impl Args {
    /// A session that never had anything sealed has no recording to send.
    fn wants(&self, session: &SessionView) -> bool {
        if self.sessions.is_empty() { session.seal.is_some() } else { self.sessions.contains(&session.session) }
    }
}

async fn unpack(client: &mut Client, path: &str, folder: &Path) -> Result<usize, Failure> {
    let mut pieces = client.stream(path).await?;
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
