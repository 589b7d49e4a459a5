//! `holdpoint capture`: what passes to targets over TCP and back, as it passes, for programs that read packets. A person
//! reads once; a sensor is alone for months, and comes back by itself whatever happens to the gate or the line.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use policies::ids::{TargetName, ZoneName};
use recordings::pcapng::whole_blocks;

use super::gate::{ProfileArg, sign_in_here, with_client};
use super::showing::plain;
use super::{Done, Failure};
use crate::client::{Client, Fault, Pieces};
use crate::saying;

/// Write what passes to targets in TCP sessions, and what they answer, as pcapng while it passes: for intrusion detection.
/// Whoever reads too slowly misses some, which is marked; nothing waits for it. For operators and auditors, and for sensors:
/// one signs in by its key alone, and where the gate is gone it goes on when it is back, with a section of its own.
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
    with_client(profile, async |client| {
        if client.profile().sensor {
            return unattended(client, args).await;
        }
        if !client.is_signed_in() {
            sign_in_here(client).await?;
        }
        let mut pieces = client.stream(&args.path()).await?;
        Keeping::open(args.output.as_deref())?.take(&mut pieces).await?;
        Err(Failure::failed("the gate ended the stream: it stops, or you may read it no longer. Start this again"))
    })
}

/// After a gate that was out of reach; longer each time, up to the latter.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// As a sensor: until it is put out, or nobody takes any more what it reads.
async fn unattended(client: &mut Client, args: &Args) -> Done {
    let (mut into, [mut again, latest], mut in_reach) = (None, AGAIN_AFTER, true);
    loop {
        let why = match reading(client, args).await {
            Ok(mut pieces) => {
                if !std::mem::replace(&mut in_reach, true) {
                    saying::aside(format_args!("Reading again."));
                }
                let begun = Instant::now();
                let into = match &mut into {
                    Some(into) => into,
                    none => none.insert(Keeping::open(args.output.as_deref())?),
                };
                let taken = into.take(&mut pieces).await;
                // One that breaks off at once is no reason to ask again at once: each asking is in the journal.
                if begun.elapsed() >= latest {
                    [again, _] = AGAIN_AFTER;
                }
                match taken {
                    Ok(()) => "the gate ended the stream".to_owned(),
                    Err(NotTaken::Fault(fault)) => fault.to_string(),
                    Err(NotTaken::Kept(failure)) => return Err(failure),
                }
            }
            Err(fault) if passes(&fault) => fault.to_string(),
            Err(fault) => return Err(fault.into()),
        };
        if std::mem::replace(&mut in_reach, false) {
            saying::aside(format_args!("{}. Trying again.", plain(&why)));
        }
        tokio::time::sleep(again).await;
        again = latest.min(2 * again);
    }
}

/// With a sign-in of its own each time: nobody has to be asked for anything.
async fn reading(client: &mut Client, args: &Args) -> Result<Pieces, Fault> {
    client.sign_in_as_sensor().await?;
    client.stream(&args.path()).await
}

/// Whether it may be over by itself. Whoever answers in the gate's place gets nothing, and goes away.
fn passes(fault: &Fault) -> bool {
    match fault {
        Fault::Unreachable { .. } | Fault::Lost { .. } | Fault::NotTheGate { .. } | Fault::Odd(_) => true,
        Fault::Problem(problem) => problem.status == 429 || problem.status >= 500,
        _ => false,
    }
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

/// A packet is less, and so is everything else that the gate writes.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Where packets go.
enum Keeping {
    File(File, PathBuf),
    Output,
}

/// Why no more packets go there.
enum NotTaken {
    /// No more come.
    Fault(Fault),
    /// They cannot be kept.
    Kept(Failure),
}

impl From<NotTaken> for Failure {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::Fault(fault) => fault.into(),
            NotTaken::Kept(failure) => failure,
        }
    }
}

fn cannot(path: &Path, cause: &io::Error) -> Failure {
    Failure::failed(format_args!("{}: {cause}", path.display()))
}

impl Keeping {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Output) };
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        Ok(Self::File(file.map_err(|cause| cannot(path, &cause))?, path.to_owned()))
    }

    /// Each block is in the file before the next piece is waited for: whoever ends this has all that came. Of a block
    /// that breaks off nothing is, so that a section may follow.
    async fn take(&mut self, pieces: &mut Pieces) -> Result<(), NotTaken> {
        let mut come = Vec::new();
        while let Some(piece) = pieces.next().await.map_err(NotTaken::Fault)? {
            come.extend_from_slice(&piece);
            let odd = || NotTaken::Fault(Fault::Odd("this is no pcapng".into()));
            let whole = whole_blocks(&come).filter(|whole| come.len() - whole <= BLOCK_BYTES_MAX).ok_or_else(odd)?;
            match self {
                Self::File(file, path) => {
                    file.write_all(&come[..whole]).map_err(|cause| NotTaken::Kept(cannot(path, &cause)))?;
                }
                Self::Output => saying::write_bytes(&come[..whole]),
            }
            come.drain(..whole);
        }
        Ok(())
    }
}
