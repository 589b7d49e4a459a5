//! `holdpoint backup`: all that a gate must not lose, in one file that the gate encrypts before it leaves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use approver::api::BACKUP_HEADS;
use approver::api::types::BackupHeads;
use indicatif::{ProgressBar, ProgressStyle};

use super::gate::{ProfileArg, at_gate};
use super::showing::Clock;
use super::{Done, Failure, print_json};
use crate::client::{Fault, Pieces};

/// Take a backup of a running gate: both logs, recordings, people, configuration and sealed keys, encrypted by the gate to
/// whom you say. Stock tools open it: age -d -i KEY FILE | tar --zstd -x. For administrators.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file; it must not exist yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Who can open it: a recipient (age1…), as `age-keygen` prints it; may be given several times.
    #[arg(long = "to", value_name = "AGE", required = true)]
    to: Vec<String>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    if let Some(wrong) =
        args.to.iter().find(|one| !one.starts_with("age1") || one.contains(|c: char| !c.is_ascii_alphanumeric()))
    {
        return Err(Failure::usage(format_args!("{wrong:?} is no recipient: one looks like age1…")));
    }
    if args.output.exists() {
        return Err(Failure::usage(format_args!("{} is there already: choose another file", args.output.display())));
    }
    at_gate(profile, async |client| {
        let pieces = client.stream(&format!("/api/v1/backup?to={}", args.to.join(","))).await?;
        let heads: BackupHeads = pieces
            .header(BACKUP_HEADS)
            .and_then(|heads| serde_json::from_str(heads).ok())
            .ok_or_else(|| Fault::Odd("it does not say how far the backup goes".into()))?;
        let draft = args.output.with_added_extension("part");
        let written = save(pieces, &draft).await;
        if written.is_err() {
            fs::remove_file(&draft).or_else(gone).map_err(|cause| cannot(&draft, &cause))?;
        }
        let bytes = written?;
        finish(&draft, &args.output).map_err(|cause| cannot(&args.output, &cause))?;
        if args.json {
            return print_json(&serde_json::json!({ "file": args.output, "bytes": bytes, "heads": heads }));
        }
        let BackupHeads { v: _, at, journal, records, left_out } = heads;
        say!(
            "{}: {bytes} bytes. {}: the journal's first {journal} entries, and {records} of the recordings' log.",
            args.output.display(),
            Clock::of(client).moment(at)
        );
        if left_out > 0 {
            say!(
                "NOT IN IT: {left_out} recordings that lie in the bucket alone, which cannot be had now. The gate's log says why"
            );
        }
        say!("What opens the gate's keys is not in it: keep passphrase, credential or keys/sealing.key apart, once.");
        say!("Try it: age -d -i KEY {} | tar --zstd -t", args.output.display());
        Ok(())
    })
}

async fn save(mut pieces: Pieces, to: &Path) -> Result<u64, Failure> {
    let cannot = |cause: io::Error| cannot(to, &cause);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(cannot)?;
    let bar = progress_bar();
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece).map_err(cannot)?;
        bytes += piece.len() as u64;
        bar.set_position(bytes);
    }
    bar.finish_and_clear();
    file.sync_all().map_err(cannot)?;
    Ok(bytes)
}

/// Under its name once it is whole.
fn finish(draft: &Path, to: &Path) -> io::Result<()> {
    fs::rename(draft, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn cannot(path: &Path, cause: &io::Error) -> Failure {
    Failure::failed(format_args!("{}: {cause}", path.display()))
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {bytes}, {bytes_per_sec}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
