//! `holdpoint recordings`, `play` and `export` on files: an auditor's machine, a copied data folder, the auditor's key.
//! Nothing here asks a server, and nothing is decrypted anywhere else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use policies::ids::{Recipient, SessionId};
use policies::time::Seconds;
use recordings::cast::{CastFault, CastOptions, CastVersion, write_cast};
use recordings::keys::SessionKeys;
use recordings::play::{PlayOptions, Player, Shown, Speed, search};
use recordings::read::{AuditorKeys, Moments, Recording, Store, What};
use recordings::remarks::Remarks;
use serde::Serialize;

use super::showing::counted;
use super::watch::window;
use super::web;
use super::{Done, Failure, print_json};
use crate::saying;

/// List the recordings of a data folder.
#[derive(Debug, clap::Args)]
pub(super) struct RecordingsArgs {
    /// The data folder, or a copy of it.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// What it takes to open one recording.
#[derive(Debug, clap::Args)]
struct Which {
    /// The session, as `recordings` lists it.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// The data folder, or a copy of it.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// The auditor's key, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Which channel; otherwise the first on which a shell or a command ran.
    #[arg(long, value_name = "NUMBER")]
    channel: Option<u32>,
}

/// Replay a recording in this terminal. Nothing in it can reach the terminal but text, colour and place.
#[derive(Debug, clap::Args)]
pub(super) struct PlayArgs {
    #[command(flatten)]
    which: Which,
    /// How many times as fast.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    speed: f64,
    /// Cut pauses to this, such as 2s.
    #[arg(long, value_name = "SPAN")]
    idle: Option<Seconds>,
    /// Begin here, such as 1h30m; the screen is shown as it stood then.
    #[arg(long, value_name = "SPAN")]
    from: Option<Seconds>,
    /// With --from: work the screen out from all bytes before it, instead of beginning at one that the gate noted. Slower.
    #[arg(long, requires = "from")]
    from_bytes: bool,
    /// Show what was typed, too; passwords are masked.
    #[arg(long)]
    input: bool,
    /// Do not replay: list when a text stood on the screen.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Replay on a page for a browser on this machine, with a slider, search and marks. Nothing leaves the machine.
    #[arg(long, conflicts_with_all = ["speed", "idle", "from", "from_bytes", "input", "search"])]
    web: bool,
    /// The port of that page; by default, one that is free.
    #[arg(long, value_name = "PORT", requires = "web", default_value_t = 0)]
    port: u16,
}

/// Write a recording as an asciicast, for other players.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// The form.
    #[arg(long = "as", value_enum, default_value_t = Form::Cast)]
    form: Form,
    /// What was typed goes in too; passwords are masked as far as they can be told.
    #[arg(long)]
    input: bool,
    /// The file; it must not exist yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    /// asciicast v3.
    Cast,
    /// asciicast v2, for older players.
    CastV2,
}

#[derive(Serialize)]
struct Row {
    session: SessionId,
    opened: String,
    seconds: u64,
    frames: u64,
    sealed: bool,
    /// Why, where it is sealed.
    ending: Option<String>,
    /// When, where it is sealed.
    ended: Option<String>,
    /// `kept`, `held`, `erased` or `missing`.
    state: &'static str,
    /// Whose keys open it, as it says itself.
    recipients: BTreeSet<Recipient>,
}

/// Whose key opens how many of them.
fn tell_recipients(rows: &[Row]) {
    let readable = || rows.iter().filter(|row| !matches!(row.state, "erased" | "missing"));
    let all: BTreeSet<&Recipient> = readable().flat_map(|row| &row.recipients).collect();
    for recipient in all {
        let mut theirs = readable().filter(|row| row.recipients.contains(recipient));
        if let Some(first) = theirs.next() {
            let (count, last) = theirs.fold((1, first), |(count, _), row| (count + 1, row));
            say!("{recipient} opens {}, of {} to {}", counted(count, "recording"), first.opened, last.opened);
        }
    }
}

pub(super) fn list(args: &RecordingsArgs) -> Done {
    let store = open(&args.data)?;
    let listing = store.list();
    let rows: Vec<Row> = listing.recordings.iter().map(|recording| row(&store, recording)).collect();
    if args.json {
        print_json(&rows)?;
    } else {
        say!("{:<28}  {:<20}  {:>9}  {:>7}  {:<7}  ENDING", "SESSION", "OPENED", "LASTED", "FRAMES", "STATE");
        for row in &rows {
            let lasted = Seconds(u32::try_from(row.seconds).unwrap_or(u32::MAX)).to_string();
            let ending = row.ending.as_deref().unwrap_or("not sealed");
            let Row { session, opened, frames, state, .. } = row;
            say!("{session:<28}  {opened:<20}  {lasted:>9}  {frames:>7}  {state:<7}  {ending}");
        }
        tell_recipients(&rows);
    }
    match listing.damage.first() {
        None => Ok(()),
        Some(damage) => Err(Failure::refused(format_args!("{damage}. Run `holdpoint verify` for all of it"))),
    }
}

/// Of a folder that holds a part, the others are missing, too.
fn state(store: &Store, recording: &Recording) -> &'static str {
    match (&recording.keeping.erased, recording.keeping.holds()) {
        (Some(_), _) => "erased",
        (None, _) if !store.has_files(recording) => "missing",
        (None, 0) => "kept",
        (None, _) => "held",
    }
}

fn row(store: &Store, recording: &Recording) -> Row {
    Row {
        session: recording.id(),
        opened: utc(recording.opened.wall),
        seconds: recording.duration().as_secs(),
        frames: recording.frames,
        sealed: recording.sealed.is_some(),
        ending: recording.sealed.as_ref().map(|sealed| sealed.ending.clone()),
        ended: recording.sealed.as_ref().and_then(|_| recording.ended()).map(utc),
        state: state(store, recording),
        recipients: recording.opened.recipients(),
    }
}

/// Evidence is read far away and years later.
fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn play(args: &PlayArgs) -> Done {
    let which = &args.which;
    let (store, recording, keys) = which.open()?;
    if args.web {
        let auditor = AuditorKeys::read(&which.key).map_err(Failure::usage)?;
        return web::run(web::Opened { store, recording, auditor, channel: which.channel }, args.port);
    }
    match &args.search {
        Some(text) => find(store.moments(&recording, keys), text, which.channel),
        None => {
            let options = args.options()?;
            let moments = if args.seeks() {
                store.seek(&recording, keys, options.from, which.channel).map_err(Failure::failed)?
            } else {
                store.moments(&recording, keys)
            };
            replay(moments, &options)
        }
    }
}

impl PlayArgs {
    const fn seeks(&self) -> bool {
        self.from.is_some() && !self.from_bytes
    }

    fn options(&self) -> Result<PlayOptions, Failure> {
        Ok(PlayOptions {
            speed: Speed::new(self.speed).map_err(Failure::usage)?,
            idle_max: self.idle.map(Seconds::duration),
            from: self.from.unwrap_or_default().duration(),
            shown: if self.input { Shown::Both } else { Shown::Output },
            channel: self.which.channel,
            window: window(),
        })
    }
}

fn replay(moments: Moments, options: &PlayOptions) -> Done {
    let (mut remarks, mut began) = (Remarks::default(), None);
    let noted = moments.inspect(|moment| {
        if let Ok(moment) = moment {
            remarks.take(moment);
            began = began.or(matches!(moment.what, What::Standing(_)).then_some(moment.at));
        }
    });
    let mut player = Player::new(noted, options.clone());
    for step in player.by_ref() {
        let step = step.map_err(Failure::failed)?;
        if step.wait > Duration::ZERO {
            std::thread::sleep(step.wait);
        }
        saying::write(format_args!("{}", step.write));
    }
    say!("{}", player.leave());
    let played = player.channel();
    drop(player);
    if let Some(at) = began {
        say!(
            "[gate] this began at the screen that the gate had noted after {}; with --from-bytes it is worked out from what \
             was recorded before. What the gate did until then is not told below",
            seconds(at)
        );
    }
    tell(&remarks, played);
    Ok(())
}

fn seconds(at: Duration) -> Seconds {
    Seconds(u32::try_from(at.as_secs()).unwrap_or(u32::MAX))
}

/// What the gate said and did, below the screen: how the session ended comes last.
fn tell(remarks: &Remarks, played: Option<u32>) {
    for (channel, ran) in remarks.channels.iter().filter(|(channel, _)| Some(**channel) != played) {
        let how = if ran.is_shown() { "to replay it, add --channel" } else { "no screen to replay on channel" };
        let also = if played.is_some() { "also " } else { "" };
        say!("[gate] {also}recorded, {ran}: {how} {channel}");
    }
    for (index, remark) in remarks.remarks.iter().enumerate() {
        if remarks.more > 0 && index + 1 == remarks.remarks.len() {
            say!("[gate] {} remarks are left out here", remarks.more);
        }
        say!("[gate] {} (after {}) {}", utc(remark.wall), seconds(remark.at), remark.words);
    }
    if !remarks.has_ended {
        say!(
            "[gate] no ending stands here: it ran when this was copied, or was cut off. `holdpoint verify` says which"
        );
    }
}

fn find(moments: Moments, text: &str, channel: Option<u32>) -> Done {
    let mut hits = 0;
    for hit in search(moments, text, channel) {
        let hit = hit.map_err(Failure::failed)?;
        say!("{:>9}  channel {}  {}", seconds(hit.at).to_string(), hit.channel, hit.line);
        hits += 1;
    }
    if hits == 0 { Err(Failure::refused(format_args!("{text:?} stood nowhere on the screen"))) } else { Ok(()) }
}

pub(super) fn export(args: &ExportArgs) -> Done {
    let (store, recording, keys) = args.which.open()?;
    let moments = store.moments(&recording, keys);
    let options = CastOptions {
        version: match args.form {
            Form::Cast => CastVersion::V3,
            Form::CastV2 => CastVersion::V2,
        },
        input: args.input,
        channel: args.which.channel,
        title: Some(title(&recording)),
    };
    let cannot = |cause: io::Error| Failure::failed(format_args!("{}: {cause}", args.output.display()));
    let mut out = BufWriter::new(File::create_new(&args.output).map_err(cannot)?);
    let written = write_cast(&mut out, &recording, moments, &options).map_err(|fault| match fault {
        CastFault::NoTerminal => Failure::refused(fault),
        fault => Failure::failed(fault),
    });
    let written = written.and_then(|cast| {
        out.into_inner().map_err(|error| cannot(error.into_error()))?.sync_all().map_err(cannot)?;
        Ok(cast)
    });
    if written.is_err() {
        // Half a cast would be taken for a whole one.
        std::fs::remove_file(&args.output).map_err(cannot)?;
    }
    let cast = written?;
    say!("{}: {} events of channel {}", args.output.display(), cast.events, cast.channel);
    Ok(())
}

fn title(recording: &Recording) -> String {
    let ending = recording.sealed.as_ref().map_or("no ending", |sealed| sealed.ending.as_str());
    format!("{}: {ending}", recording.id())
}

impl Which {
    fn open(&self) -> Result<(Store, Recording, SessionKeys), Failure> {
        let store = open(&self.data)?;
        let keys = AuditorKeys::read(&self.key).map_err(Failure::usage)?;
        let mut recordings = store.list().recordings;
        let position = recordings.iter().position(|recording| recording.id() == self.session);
        let none = || Failure::refused(format_args!("no recording {} in {}", self.session, self.data.display()));
        let recording = recordings.swap_remove(position.ok_or_else(none)?);
        if let Some((leaf, decided)) = recording.keeping.erased {
            return Err(Failure::refused(format_args!(
                "{} was erased, and nobody can read it any more: entry {} of the journal, leaf {leaf} of the record log. What stays of it, `holdpoint verify` checks",
                self.session, decided.entry
            )));
        }
        let keys = keys.open(store.dir(), &recording.opened).map_err(Failure::refused)?;
        Ok((store, recording, keys))
    }
}

fn open(folder: &Path) -> Result<Store, Failure> {
    Store::open(folder).map_err(Failure::failed)
}
