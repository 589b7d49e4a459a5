//! `holdpoint capture`: what passes to targets over TCP and back, as it passes, for programs that read packets.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use policies::ids::{TargetName, ZoneName};

use super::gate::{ProfileArg, at_gate};
use super::{Done, Failure};
use crate::client::Pieces;
use crate::saying;

/// Write what passes to targets in TCP sessions, and what they answer, as pcapng while it passes: for intrusion detection.
/// Whoever reads too slowly misses some, which is marked; nothing waits for it. For operators and auditors.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of this target alone.
    #[arg(long, value_name = "TARGET")]
    target: Option<TargetName>,
    /// Of targets in this zone alone.
    #[arg(long, value_name = "ZONE")]
    zone: Option<ZoneName>,
    /// The file, which must not exist yet; standard output, if left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "packets are nothing for a terminal: say -o FILE, or give them to a program, as in `holdpoint capture | tshark -r -`",
        ));
    }
    if let Some(there) = args.output.as_ref().filter(|path| path.exists()) {
        return Err(Failure::usage(format_args!("{} is there already: choose another file", there.display())));
    }
    at_gate(profile, async |client| {
        let pieces = client.stream(&args.path()).await?;
        match &args.output {
            Some(path) => into_file(pieces, path).await,
            None => onto_output(pieces).await,
        }
    })
}

impl Args {
    fn path(&self) -> String {
        let target = self.target.as_ref().map(|target| format!("target={target}"));
        let zone = self.zone.as_ref().map(|zone| format!("zone={zone}"));
        let wanted: Vec<String> = target.into_iter().chain(zone).collect();
        let question = if wanted.is_empty() { "" } else { "?" };
        format!("/api/v1/capture{question}{}", wanted.join("&"))
    }
}

/// Each piece is in the file before the next one is waited for: whoever ends this has all that came.
async fn into_file(mut pieces: Pieces, path: &Path) -> Done {
    let cannot = |cause: io::Error| Failure::failed(format_args!("{}: {cause}", path.display()));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece).map_err(cannot)?;
    }
    Err(ended())
}

async fn onto_output(mut pieces: Pieces) -> Done {
    while let Some(piece) = pieces.next().await? {
        saying::write_bytes(&piece);
    }
    Err(ended())
}

/// It has no end of its own, so whoever watches over this program is to learn of it.
fn ended() -> Failure {
    Failure::failed("the gate ended the stream: it stops, or you may read it no longer. Start this again")
}
