//! `holdpoint recordings` and `play` on files: an auditor's machine, a copied data folder, the auditor's key.
//! Nothing here asks a server, and nothing is decrypted anywhere else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use policies::ids::{Recipient, SessionId};
use policies::time::Seconds;
use recordings::keys::SessionKeys;
use recordings::play::{PlayOptions, Player, Shown, Speed, search};
use recordings::read::{AuditorKeys, Moment, Moments, ReadFault, Recording, Store, What};
use recordings::remarks::Remarks;
use recordings::timeline::{self, Done as DoneOnIt, Row, Timeline};
use serde::Serialize;

use super::from_bucket::{BucketArgs, Local};
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
pub(super) struct Which {
    /// The session, as `recordings` lists it.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// The data folder, or a copy of it; or s3://BUCKET/PREFIX, where a gate brings its recordings.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    bucket: BucketArgs,
    /// The auditor's key, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Which channel; otherwise the first on which a shell or a command ran, and of TCP connections all.
    #[arg(long, value_name = "NUMBER")]
    pub(super) channel: Option<u32>,
}

/// Replay a recording in this terminal, or list what was done on its TCP connections. Nothing in it can reach the terminal but
/// text, colour and place.
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
    /// Do not replay: list when a text stood on the screen, or the lines of TCP connections that have it.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// For machines: what was done, as JSON lines.
    #[arg(long, conflicts_with_all = ["speed", "idle", "from_bytes", "input"])]
    json: bool,
    /// Replay on a page for a browser on this machine, with a slider, search and marks. Nothing leaves the machine.
    #[arg(long, conflicts_with_all = ["speed", "idle", "from", "from_bytes", "input", "search", "json"])]
    web: bool,
    /// The port of that page; by default, one that is free.
    #[arg(long, value_name = "PORT", requires = "web", default_value_t = 0)]
    port: u16,
    /// What you trust: beside the replay, the data folder is checked by it, as `verify` does.
    #[arg(long, value_name = "FILE", requires = "web", default_value = "trust.toml")]
    trust: PathBuf,
}

#[derive(Serialize)]
struct Listed {
    session: SessionId,
    opened: String,
    seconds: u64,
    frames: u64,
    sealed: bool,
    /// Why, where it is sealed.
    ending: Option<String>,
    /// When, where it is sealed.
    ended: Option<String>,
    /// `kept`, `held`, `erased`, `bucket` (it lies there alone) or `missing`.
    state: &'static str,
    /// Whose keys open it, as it says itself.
    recipients: BTreeSet<Recipient>,
}

/// Whose key opens how many of them.
fn tell_recipients(rows: &[Listed]) {
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
    let rows: Vec<Listed> = listing.recordings.iter().map(|recording| row(&store, recording)).collect();
    if args.json {
        print_json(&rows)?;
    } else {
        say!("{:<28}  {:<20}  {:>9}  {:>7}  {:<7}  ENDING", "SESSION", "OPENED", "LASTED", "FRAMES", "STATE");
        for row in &rows {
            let lasted = Seconds(u32::try_from(row.seconds).unwrap_or(u32::MAX)).to_string();
            let ending = row.ending.as_deref().unwrap_or("not sealed");
            let Listed { session, opened, frames, state, .. } = row;
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
        (None, _) if !store.has_files(recording) && !recording.keeping.copied.is_empty() => "bucket",
        (None, _) if !store.has_files(recording) => "missing",
        (None, 0) => "kept",
        (None, _) => "held",
    }
}

fn row(store: &Store, recording: &Recording) -> Listed {
    Listed {
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
pub(super) fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn play(args: &PlayArgs) -> Done {
    let which = &args.which;
    let local = which.local()?;
    let (store, recording, keys) = which.open(&local)?;
    if args.web {
        let auditor = AuditorKeys::read(&which.key).map_err(Failure::usage)?;
        let (data, trust) = (local.path().to_owned(), args.trust.clone());
        let out_of_a_bucket = local.is_out_of_a_bucket();
        let channel = which.channel;
        return web::run(web::Opened { store, recording, auditor, channel, data, out_of_a_bucket, trust }, args.port);
    }
    let mut moments = store.moments(&recording, keys);
    let (begun, is_list) = begin(&mut moments)?;
    if is_list || args.json {
        args.suits_a_list()?;
        let (from, search) = (args.from.unwrap_or_default().duration(), args.search.as_deref());
        let wanted = Wanted { channel: which.channel, from, search, json: args.json };
        return list_done(begun.into_iter().map(Ok).chain(moments), &wanted);
    }
    match &args.search {
        Some(text) => find(begun.into_iter().map(Ok).chain(moments), text, which.channel),
        None => {
            let options = args.options()?;
            if args.seeks() {
                let moments = store.seek(&recording, moments.into_keys(), options.from, which.channel);
                return replay(moments.map_err(Failure::failed)?, &options);
            }
            replay(begun.into_iter().map(Ok).chain(moments), &options)
        }
    }
}

/// The first moments of a session, up to one that shows whether it is one of TCP connections, and whether it is.
fn begin(moments: &mut Moments) -> Result<(Vec<Moment>, bool), Failure> {
    let mut begun = Vec::new();
    for moment in moments.by_ref() {
        begun.push(moment.map_err(Failure::failed)?);
        if let Some(is_list) = begun.last().and_then(timeline::is_of_connections) {
            return Ok((begun, is_list));
        }
    }
    Ok((begun, false))
}

impl PlayArgs {
    /// Whether nothing was asked for that a list has not.
    fn suits_a_list(&self) -> Done {
        let is_plain = self.speed == 1.0 && self.idle.is_none() && !self.from_bytes && !self.input;
        if is_plain {
            return Ok(());
        }
        Err(Failure::usage(
            "this session has TCP connections and no screen: what was done is listed, all at once. Leave --speed, --idle, \
             --from-bytes and --input away; `export --as pcapng` has the bytes",
        ))
    }

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

fn replay(moments: impl Iterator<Item = Result<Moment, ReadFault>>, options: &PlayOptions) -> Done {
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
        say!("{NO_ENDING}");
    }
}

/// Which lines of what was done are wanted, and how.
struct Wanted<'a> {
    channel: Option<u32>,
    from: Duration,
    search: Option<&'a str>,
    json: bool,
}

impl Wanted<'_> {
    /// What is of no channel is wanted of every one.
    fn has(&self, row: &Row) -> bool {
        let is_of_it = self.channel.is_none_or(|channel| row.channel == 0 || row.channel == channel);
        let has_text = |text: &str| {
            let line = row.what.to_string();
            if text.chars().any(char::is_uppercase) { line.contains(text) } else { line.to_lowercase().contains(text) }
        };
        is_of_it && row.last_after >= self.from && self.search.is_none_or(has_text)
    }
}

/// What was done, line by line.
fn list_done(moments: impl Iterator<Item = Result<Moment, ReadFault>>, wanted: &Wanted<'_>) -> Done {
    let (mut timeline, mut last, mut listed, mut has_ended) = (Timeline::default(), None, 0_u64, false);
    let mut put = |rows: Vec<Row>| -> Done {
        for row in rows.iter().filter(|row| wanted.has(row)) {
            listed += 1;
            if wanted.json { print_json(row)? } else { say!("{}", line(row)) }
        }
        Ok(())
    };
    for moment in moments {
        let moment = moment.map_err(Failure::failed)?;
        has_ended |= matches!(moment.what, What::Sealed(_));
        put(timeline.take(&moment))?;
        last = Some(moment);
    }
    put(timeline.finish(last.as_ref()))?;
    if !has_ended && !wanted.json {
        say!("{NO_ENDING}");
    }
    match wanted.search {
        Some(text) if listed == 0 => Err(Failure::refused(format_args!("{text:?} stands in no line"))),
        _ => Ok(()),
    }
}

const NO_ENDING: &str =
    "[gate] no ending stands here: it ran when this was copied, or was cut off. `holdpoint verify` says which";

/// A line of what was done: when, on which channel, how often and until when, and what. A refusal is not overlooked.
fn line(row: &Row) -> String {
    let channel = if row.channel == 0 { String::new() } else { row.channel.to_string() };
    let (mark, words) = match &row.what {
        DoneOnIt::Operation { allowed: true, .. } => ("passed", row.what.to_string()),
        DoneOnIt::Operation { allowed: false, .. } => {
            let words = row.what.to_string();
            ("REFUSED", words.strip_prefix("refused ").map(str::to_owned).unwrap_or(words))
        }
        DoneOnIt::Opened { .. } | DoneOnIt::Closed { .. } | DoneOnIt::Ran { .. } => ("", row.what.to_string()),
        DoneOnIt::File { .. } | DoneOnIt::Gate { .. } | DoneOnIt::Ended { .. } => ("[gate]", row.what.to_string()),
    };
    let times = match &row.what {
        DoneOnIt::Operation { times: times @ 2.., .. } => {
            let until = row.until.map(|until| format!(", until {}", utc(until))).unwrap_or_default();
            format!("  ({times} times{until})")
        }
        _ => String::new(),
    };
    format!("{}  {channel:>3}  {mark:<7}  {words}{times}", utc(row.at))
}

fn find(moments: impl Iterator<Item = Result<Moment, ReadFault>>, text: &str, channel: Option<u32>) -> Done {
    let mut hits = 0;
    for hit in search(moments, text, channel) {
        let hit = hit.map_err(Failure::failed)?;
        say!("{:>9}  channel {}  {}", seconds(hit.at).to_string(), hit.channel, hit.line);
        hits += 1;
    }
    if hits == 0 { Err(Failure::refused(format_args!("{text:?} stood nowhere on the screen"))) } else { Ok(()) }
}

impl Which {
    /// Where it lies, fetched if it is in a bucket.
    pub(super) fn local(&self) -> Result<Local, Failure> {
        self.bucket.local(&self.data, Some(self.session))
    }

    pub(super) fn open(&self, local: &Local) -> Result<(Store, Recording, SessionKeys), Failure> {
        let store = open(local.path())?;
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
        if !store.has_files(&recording) && !recording.keeping.copied.is_empty() {
            return Err(Failure::refused(format_args!(
                "{} lies in the bucket alone: read it with --data s3://BUCKET/PREFIX and --credentials, or `holdpoint fetch` it from the gate",
                self.session
            )));
        }
        let keys = keys.open(store.dir(), &recording.opened).map_err(Failure::refused)?;
        Ok((store, recording, keys))
    }
}

fn open(folder: &Path) -> Result<Store, Failure> {
    Store::open(folder).map_err(Failure::failed)
}
