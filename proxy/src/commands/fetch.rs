//! `holdpoint fetch`: the journal and recordings from the gate into a folder that `recordings`, `play` and `verify` take.
//! Recordings come as ciphertext; each fetch is an event in the journal.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use approver::api::types::{SessionView, SessionsView};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use policies::ids::SessionId;
use recordings::part::{PART, Part};
use recordings::read::{Format, JOURNAL_DIR, RECORDS_DIR};
use recordings::segment::session_dir;
use tempfile::TempDir;

use super::gate::{ProfileArg, at_gate};
use super::{Done, Failure, print_json};
use crate::app::stores::directory_dir;
use crate::client::{Client, Fault, Pieces, Unpacker};

/// Fetch the journal and recordings into a folder, to replay and verify them with no server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; made if it is not there. Logs that are there already are replaced, and so is each recording that is fetched.
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
        let mut fetching = Fetching::new(args)?;
        until_whole(async || Ok((fetching.pass(client).await? == Pass::Whole).then_some(()))).await?;
        fetching.finish()?;
        let (fetched, files) = (fetching.recordings.len(), fetching.files);
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

/// So often it begins again where recordings are erased meanwhile.
const PASSES_MAX: u32 = 10;

/// What a pass brings in which nothing was erased meanwhile that belongs to it.
pub(super) async fn until_whole<T>(mut pass: impl AsyncFnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    for _ in 0..PASSES_MAX {
        if let Some(whole) = pass().await? {
            return Ok(whole);
        }
    }
    Err(Failure::failed("recordings are being erased all the while: try again later"))
}

/// Of a session that ended so long ago nothing more is written. Clocks here and at the gate differ by less.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug, PartialEq, Eq)]
enum Pass {
    Whole,
    /// The logs that were fetched do not know of it.
    ErasedMeanwhile,
}

/// What comes lies beside the folder until it is whole, and then replaces what is there: an earlier fetch may have in it what
/// there is no more.
struct Fetching<'a> {
    args: &'a Args,
    draft: TempDir,
    recordings: BTreeSet<SessionId>,
    settled: BTreeSet<SessionId>,
    files: usize,
}

impl<'a> Fetching<'a> {
    fn new(args: &'a Args) -> Result<Self, Failure> {
        let cannot = |cause| Failure::failed(format_args!("{}: {cause}", args.output.display()));
        fs::create_dir_all(&args.output).map_err(cannot)?;
        let output = args.output.canonicalize().map_err(cannot)?;
        if directory_dir(&output).exists() {
            return Err(Failure::usage(format_args!("{} is a gate's own: choose another folder", output.display())));
        }
        if let Some(strange) = [JOURNAL_DIR, RECORDS_DIR].map(|log| output.join(log)).iter().find(|dir| !is_ours(dir)) {
            let strange = strange.display();
            return Err(Failure::usage(format_args!("{strange} is no log that was fetched: choose another folder")));
        }
        let draft = drafted(&output)?;
        Ok(Self { args, draft, recordings: BTreeSet::new(), settled: BTreeSet::new(), files: 0 })
    }

    /// The logs, and the recordings that they tell of.
    async fn pass(&mut self, client: &mut Client) -> Result<Pass, Failure> {
        let erased = |listed: &SessionsView| -> BTreeSet<SessionId> {
            listed.sessions.iter().filter(|session| is_erased(session)).map(|session| session.session).collect()
        };
        let before = erased(&client.list("/api/v1/recordings").await?);
        self.draft = drafted(&self.args.output)?;
        // The logs first: of what happens meanwhile they then know nothing, and what they tell is there.
        self.files += unpack(client.stream("/api/v1/journal/files").await?, self.draft.path()).await?;
        let listed: SessionsView = client.list("/api/v1/recordings").await?;
        let mut pass = if erased(&listed) == before { Pass::Whole } else { Pass::ErasedMeanwhile };
        let wanted: Vec<&SessionView> = listed.sessions.iter().filter(|session| self.args.wants(session)).collect();
        let sessions = &self.args.sessions;
        if let Some(missing) = sessions.iter().find(|id| wanted.iter().all(|session| session.session != **id)) {
            return Err(Failure::refused(format_args!("there is no session {missing}")));
        }
        self.args.note_part()?;
        let bar = progress_bar(wanted.len());
        for session in wanted {
            if !self.settled.contains(&session.session) && !self.recording(client, session).await? {
                pass = Pass::ErasedMeanwhile;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(pass)
    }

    /// Whether it was not erased meanwhile.
    async fn recording(&mut self, client: &mut Client, session: &SessionView) -> Result<bool, Failure> {
        let id = session.session;
        match client.stream(&format!("/api/v1/recordings/{id}/files")).await {
            Ok(pieces) => self.files += unpack(pieces, self.draft.path()).await?,
            // Of a session that is just beginning nothing is recorded yet.
            Err(Fault::Problem(problem)) if problem.refusal == "not-found" && self.args.sessions.is_empty() => {
                return Ok(true);
            }
            Err(Fault::Problem(problem)) if problem.refusal == "erased" && self.args.sessions.is_empty() => {
                return Ok(false);
            }
            Err(fault) => return Err(fault.into()),
        }
        let inner = session_dir(Path::new(RECORDS_DIR), id);
        self.put_in_place(&inner)?;
        self.recordings.insert(id);
        if session.ended.as_ref().is_some_and(|ended| ended.at < Timestamp::now() - SETTLED_AFTER) {
            self.settled.insert(id);
        }
        Ok(true)
    }

    fn finish(&self) -> Done {
        self.put_in_place(Path::new(JOURNAL_DIR))?;
        // What else there is of the record log, beside the recordings.
        let records = Path::new(RECORDS_DIR);
        let names = |root: &Path| -> Result<Vec<PathBuf>, Failure> {
            let entries = fs::read_dir(root.join(records)).map_err(|cause| self.cannot(&cause))?;
            let names = entries.flatten().map(|entry| records.join(entry.file_name()));
            Ok(names.filter(|name| !name.ends_with("sessions")).collect())
        };
        fs::create_dir_all(self.args.output.join(records)).map_err(|cause| self.cannot(&cause))?;
        for stale in names(&self.args.output)? {
            remove(&self.args.output.join(stale))?;
        }
        for name in names(self.draft.path())? {
            self.put_in_place(&name)?;
        }
        self.args.note_all()
    }

    fn put_in_place(&self, name: &Path) -> Done {
        let to = self.args.output.join(name);
        remove(&to)?;
        let above = to.parent().unwrap_or(&to);
        fs::create_dir_all(above)
            .and_then(|()| fs::rename(self.draft.path().join(name), &to))
            .map_err(|cause| Failure::failed(format_args!("{}: {cause}", to.display())))
    }

    fn cannot(&self, cause: &io::Error) -> Failure {
        Failure::failed(format_args!("{}: {cause}", self.args.output.display()))
    }
}

/// Beside the folder, where there must be room anyway.
fn drafted(output: &Path) -> Result<TempDir, Failure> {
    let beside = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempdir_in(beside).map_err(|cause| Failure::failed(format_args!("{}: {cause}", beside.display())))
}

/// Whether what lies there may be replaced: a log, what a fetch that broke off left of one, or nothing.
fn is_ours(log: &Path) -> bool {
    let left = |entry: fs::DirEntry| entry.file_name() == "sessions";
    match fs::read_dir(log) {
        Ok(entries) => Format::read(log).is_ok() || entries.flatten().all(left),
        Err(cause) => cause.kind() == io::ErrorKind::NotFound,
    }
}

/// A folder or a file, if it is there.
fn remove(path: &Path) -> Done {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Failure::failed(format_args!("{}: {cause}", path.display())))
        }
        _ => Ok(()),
    }
}

fn is_erased(session: &SessionView) -> bool {
    session.kept.as_ref().is_some_and(|kept| kept.erased.is_some())
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
        if self.sessions.is_empty() { !is_erased(session) } else { self.sessions.contains(&session.session) }
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
