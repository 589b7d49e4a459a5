//! `holdpoint verify`: is everything there, unaltered, and allowed by those the auditor trusts? From files and public
//! keys alone; with an auditor's key, what was recorded is opened and checked too. Of a data folder, of an evidence pack,
//! and of one that somebody unpacked.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use certs::log_key::Verifier;
use certs::trust::Trust;
use indicatif::{ProgressBar, ProgressStyle};
use recordings::pack::{self, ArchiveFault};
use recordings::paper;
use recordings::part::Part;
use recordings::read::{AuditorKeys, Store};
use recordings::rehearse::{Rehearsal, rehearse};
use recordings::verify::{Checks, Progress, Remembered, Report, Verdict, verify};
use serde::Serialize;

use super::from_bucket::BucketArgs;
use super::gate::ProfileArg;
use super::memory::{Memory, MemoryFault};
use super::{Done, Failure, print_json, rehearsing};
use crate::saying;

/// Check a data folder, with the server off or copied, or an evidence pack. Exit code 0 only if everything checked is whole; 4 if nothing is
/// wrong, and this is not all: the gate ran when the folder was copied, only a part was fetched, or the gate was restored
/// from an earlier state; 1 if something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The data folder; or a pack, as it came or unpacked; or s3://BUCKET/PREFIX, where a gate brings its recordings.
    #[arg(value_name = "PATH", default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    bucket: BucketArgs,
    /// What the auditor trusts.
    #[arg(long, value_name = "FILE", default_value = "trust.toml")]
    trust: PathBuf,
    /// An auditor's key, as `age-keygen` writes it: recordings are opened and checked too.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where it is remembered how far the logs had come, for the next check. Else `holdpoint/seen.toml` below
    /// $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// Compare with a sheet that `holdpoint checkpoint --print` printed, too: its rows, as they were typed into FILE; `-`
    /// reads standard input.
    #[arg(long, value_name = "FILE")]
    paper: Option<PathBuf>,
    /// Compare with no check before and remember nothing, as for a copy that is meant to be an older one.
    #[arg(long, conflicts_with = "memory")]
    no_memory: bool,
    /// Try the key, as once a year: of all recordings that it opens, only the oldest and the newest are opened and checked, and
    /// what it does not open is told, and why.
    #[arg(long, requires = "key")]
    rehearse: bool,
    /// Tell the gate that the key opens them, as an operator or auditor; it is written into the journal. Without, only this
    /// machine remembers it.
    #[arg(long, requires = "rehearse")]
    tell: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    let trust = read_trust(&args.trust)?;
    let keys = args.key.as_deref().map(AuditorKeys::read).transpose().map_err(Failure::usage)?;
    let mut memory = memory(args).map_err(Failure::usage)?;
    let mut remembered = memory.as_ref().map(|memory| memory.of(&trust)).unwrap_or_default();
    if let Some(paper) = &args.paper {
        remembered.extend(typed(paper, &trust)?);
    }
    let opening = keys.as_ref().filter(|_| !args.rehearse);
    let checks = |folder, out_of_a_bucket| Checks {
        folder,
        trust: &trust,
        keys: opening,
        remembered: &remembered,
        out_of_a_bucket,
    };
    let tried = |folder: &Path| match keys.as_ref().filter(|_| args.rehearse) {
        Some(keys) => rehearsals(folder, keys),
        None => Ok(Vec::new()),
    };
    let (mut report, rehearsals) = if args.data.is_file() {
        let unpacked = tempfile::tempdir().map_err(Failure::failed)?;
        pack::unpack(&args.data, unpacked.path()).map_err(|fault| not_unpacked(&args.data, &fault))?;
        (check(&checks(unpacked.path(), false)), tried(unpacked.path())?)
    } else {
        let local = args.bucket.local(&args.data, None)?;
        (check(&checks(local.path(), local.is_out_of_a_bucket())), tried(local.path())?)
    };
    let now = jiff::Timestamp::now();
    if let Some(memory) = &mut memory {
        memory.has_used(&rehearsals, now);
    }
    report.note_forgotten(&memory.as_ref().map(Memory::used).unwrap_or_default(), now);
    let verdict = report.verdict();
    if args.json {
        print_json(&Told { verdict, report: &report, rehearsals: &rehearsals })?;
    } else {
        rehearsals.iter().for_each(rehearsing::tell);
        say!("{report}");
    }
    // What is wrong is never taken for what was there.
    if let Some(memory) = memory.filter(|_| verdict != Verdict::NotWhole)
        && let Err(cause) = memory.remember(&report, &trust, now)
    {
        saying::aside(format_args!("holdpoint: this check is not remembered for the next one: {cause}"));
    }
    if verdict == Verdict::NotWhole {
        return Err(Failure::told(1));
    }
    rehearsing::judge(args.rehearse, &rehearsals)?;
    if args.tell {
        rehearsing::tell_gate(&rehearsals, profile)?;
    }
    match verdict {
        Verdict::Whole => Ok(()),
        _ => Err(Failure::told(OPEN)),
    }
}

/// Each key by itself, on the recordings that the folder holds.
fn rehearsals(folder: &Path, keys: &AuditorKeys) -> Result<Vec<Rehearsal>, Failure> {
    let data = if pack::is_pack(folder) { folder.join(pack::DATA) } else { folder.to_owned() };
    let store = Store::open(&data).map_err(Failure::failed)?;
    let part = Part::read(&data).map_err(Failure::failed)?;
    let holds = |session| part.as_ref().is_none_or(|part| part.sessions.contains(&session));
    Ok(keys.apart().map(|(recipient, key)| rehearse(&store, (recipient, &key), holds)).collect())
}

/// What was seen at the checks before; none where nobody wants it.
fn memory(args: &Args) -> Result<Option<Memory>, MemoryFault> {
    if args.no_memory {
        return Ok(None);
    }
    let path = args.memory.clone().map_or_else(Memory::default_path, Ok)?;
    Memory::read(path).map(Some)
}

/// What the auditor trusts.
pub(super) fn read_trust(path: &Path) -> Result<Trust, Failure> {
    trust_at(path).map_err(Failure::usage)
}

/// The same; or in words why it cannot be had.
pub(super) fn trust_at(path: &Path) -> Result<Trust, String> {
    let text = std::fs::read_to_string(path).map_err(|cause| cause.to_string());
    let trust = text.and_then(|text| Trust::parse(&text).map_err(|wrong| wrong.to_string()));
    trust.map_err(|cause| format!("{}: {cause}", path.display()))
}

fn not_unpacked(path: &Path, fault: &ArchiveFault) -> Failure {
    match fault {
        ArchiveFault::Io { .. } => Failure::failed(fault),
        _ => Failure::refused(format_args!("{}: {fault}", path.display())),
    }
}

fn check(checks: &Checks<'_>) -> Report {
    with_progress(|progress| {
        if pack::is_pack(checks.folder) {
            pack::check(checks, env!("CARGO_PKG_VERSION"), progress)
        } else {
            verify(checks, progress)
        }
    })
}

/// Shows on a terminal how far a check has come.
pub(super) fn with_progress<T>(check: impl FnOnce(&mut dyn FnMut(Progress)) -> T) -> T {
    let bar = progress_bar();
    let checked = check(&mut |progress: Progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.read_bytes);
    });
    bar.finish_and_clear();
    checked
}

/// What a sheet of paper says. A typing error is told before anything is checked.
fn typed(path: &Path, trust: &Trust) -> Result<Vec<Remembered>, Failure> {
    let text = if path == Path::new("-") { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(path) };
    let text = text.map_err(|cause| Failure::usage(format_args!("{}: {cause}", path.display())))?;
    let logs: Vec<Verifier> = trust.logs.iter().map(|log| log.0.clone()).collect();
    paper::parse(&text, &logs)
        .map_err(|wrong| Failure::usage(format_args!("the sheet of paper: {wrong}. Nothing was checked")))
}

/// The exit code where nothing is wrong, and nobody can say that this is all.
const OPEN: u8 = 4;

#[derive(Serialize)]
struct Told<'a> {
    verdict: Verdict,
    #[serde(flatten)]
    report: &'a Report,
    rehearsals: &'a [Rehearsal],
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
