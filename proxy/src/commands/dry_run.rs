//! `holdpoint dry-run`: what a rule would have refused in sessions that were recorded, before it is adopted. The gates that
//! stand before targets read the recordings, on the machine where the auditor's key is; nothing asks a server.

mod hindsight;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use policies::actions::Action;
use policies::ids::{RuleId, ServiceName, SessionId, TargetName};
use policies::plant::{Gate, Plant, Protocol, Rule, Service};
use recordings::frame::Stream;
use recordings::keys::SessionKeys;
use recordings::notes::Note;
use recordings::pack;
use recordings::part::Part;
use recordings::read::{AuditorKeys, Moment, ReadFault, Recording, Store, What};
use serde::{Deserialize, Serialize};

use super::check::load_plant;
use super::reading::utc;
use super::showing::{counted, plain};
use super::{Done, Failure, print_json};
use crate::saying;
use hindsight::{Hindsight, Of, Seen};

/// Say what a rule would have refused in recorded sessions of TCP connections, as if the gate had enforced. Exit codes: 0
/// nothing, 1 something, 3 something could not be read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plant file with the rule.
    #[arg(long, value_name = "FILE")]
    rule: PathBuf,
    /// Which of its rules; otherwise the one that gives something at the recorded target.
    #[arg(long, value_name = "RULE")]
    rule_id: Option<RuleId>,
    /// The sessions, as `recordings` lists them; all in the folder, if none is named.
    #[arg(value_name = "RECORDING")]
    sessions: Vec<SessionId>,
    /// The data folder, a copy of it, or an unpacked evidence pack.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// The auditor's key, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// For machines: a line for each session.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let plant = load_plant(&args.rule)?;
    let keys = AuditorKeys::read(&args.key).map_err(Failure::usage)?;
    let data = if pack::is_pack(&args.data) { args.data.join(pack::DATA) } else { args.data.clone() };
    let store = Store::open(&data).map_err(Failure::failed)?;
    let listing = store.list();
    let part = Part::read(&data).map_err(Failure::failed)?;
    let is_here = |session| part.as_ref().is_none_or(|part| part.sessions.contains(&session));
    let recordings = args.wanted(listing.recordings, is_here)?;
    let cases = recordings.iter().map(|recording| args.case(&plant, recording)).collect::<Result<Vec<_>, _>>()?;
    let mut sums = Sums { unread: listing.damage.len(), ..Sums::default() };
    for damage in &listing.damage {
        saying::aside(format_args!("{damage}. Run `holdpoint verify` for all of it"));
    }
    for (recording, case) in recordings.iter().zip(cases) {
        let outcome = match case {
            Err(skipped) => Outcome::NotJudged { skipped },
            Ok(case) => judge(&store, recording, &keys, &case),
        };
        sums.add(&outcome);
        args.tell(recording, &outcome)?;
    }
    if !args.json {
        say!("{sums}");
    }
    sums.done()
}

/// What a recording is judged by.
struct Case<'a> {
    target: TargetName,
    service_name: ServiceName,
    service: &'a Service,
    rule: &'a Rule,
}

/// What a recording's opening says.
#[derive(Deserialize)]
struct Opening {
    target: TargetName,
    service: ServiceName,
}

impl Args {
    fn wanted(&self, all: Vec<Recording>, is_here: impl Fn(SessionId) -> bool) -> Result<Vec<Recording>, Failure> {
        let has = |session: &SessionId| all.iter().any(|recording| recording.id() == *session);
        if let Some(missing) = self.sessions.iter().find(|session| !has(session)) {
            return Err(Failure::usage(format_args!("no recording {missing} in {}", self.data.display())));
        }
        let is_wanted = |recording: &Recording| match self.sessions.is_empty() {
            true => is_here(recording.id()),
            false => self.sessions.contains(&recording.id()),
        };
        Ok(all.into_iter().filter(is_wanted).collect())
    }

    /// By what a recording is judged, or why by nothing.
    fn case<'a>(&self, plant: &'a Plant, recording: &Recording) -> Result<Result<Case<'a>, String>, Failure> {
        let rules = self.rules(plant)?;
        let Ok(Opening { target, service: name }) = serde_json::from_slice(&recording.opened.metadata) else {
            return Ok(Err("its opening does not say at which target it was".to_owned()));
        };
        let file = self.rule.display();
        let Some(found) = plant.targets.get(&target) else { return Ok(Err(format!("{file} has no target {target}"))) };
        let Some(service) = found.services.get(&name) else {
            return Ok(Err(format!("{target} has no service {name} in {file}")));
        };
        if let Some(why) = not_enforced(service.protocol) {
            return Ok(Err(format!("{target}/{name} speaks {}: {why}", service.protocol)));
        }
        if plant.zones.get(&found.zone).is_none_or(|zone| zone.never) {
            return Ok(Err(format!("{target} stands in zone {}, which nobody reaches", found.zone)));
        }
        let gives = |rule: &&&Rule| {
            rule.reach.contains(&target, &found.zone)
                && rule.actions.iter().any(|action| service.protocol.actions().contains(action))
        };
        let giving: Vec<&Rule> = rules.iter().filter(gives).copied().collect();
        match giving[..] {
            [rule] => Ok(Ok(Case { target, service_name: name, service, rule })),
            [] => Ok(Err(match &self.rule_id {
                Some(rule) => format!("rule {rule} gives nothing at {target}/{name}"),
                None => {
                    format!("no rule in {file} gives anything at {target}/{name}, so nobody would have been let in")
                }
            })),
            _ => {
                let names = giving.iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>().join(", ");
                Err(Failure::usage(format_args!(
                    "several rules in {file} give something at {target}/{name}: {names}. Name one with --rule-id"
                )))
            }
        }
    }

    fn rules<'a>(&self, plant: &'a Plant) -> Result<Vec<&'a Rule>, Failure> {
        let Some(wanted) = &self.rule_id else { return Ok(plant.rules.iter().collect()) };
        let found = plant.rules.iter().find(|rule| rule.id == *wanted);
        let names = || plant.rules.iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>().join(", ");
        let none = || Failure::usage(format_args!("{} has no rule {wanted}. It has {}", self.rule.display(), names()));
        found.map(|rule| vec![rule]).ok_or_else(none)
    }

    fn tell(&self, recording: &Recording, outcome: &Outcome) -> Done {
        let session = recording.id();
        if self.json {
            return print_json(&Told { session, opened: utc(recording.opened.wall), outcome });
        }
        match outcome {
            Outcome::NotJudged { skipped: why } => say!("{session}  not looked at: {}", plain(why)),
            Outcome::NotRead { failed: why } => say!("{session}  COULD NOT BE READ: {}", plain(why)),
            Outcome::Judged(found) => self.tell_found(recording, found),
        }
        say!();
        Ok(())
    }

    fn tell_found(&self, recording: &Recording, found: &Found) {
        let Found { rule, actions, target, service, connections, decodes, passed, refused, rows, more } = found;
        let at = utc(recording.opened.wall);
        let opened = counted(usize::try_from(*connections).unwrap_or(usize::MAX), "connection");
        say!("{}  {target}/{service}, opened {at}, {opened}", recording.id());
        say!(
            "  rule {rule}, which gives {}",
            actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
        );
        if *decodes {
            let file = self.rule.display();
            say!("  as {file} stands, the gate there only decodes and refuses nothing; with gate = \"enforce\":");
        }
        if actions.contains(&Action::Tunnel) {
            say!(
                "  tunnel lets everything pass: without it in the rule, this shows what the other actions would not do"
            );
        }
        say!("  would pass:   {}", sum(passed));
        if rows.is_empty() {
            say!("  nothing would have been refused");
            return;
        }
        say!("  would refuse: {}", sum(refused));
        for row in rows {
            say!("  {row}");
        }
        if *more > 0 {
            say!("  and {more} more, all of them different; --json has no more either");
        }
    }
}

/// Why nothing is ever refused in a protocol.
const fn not_enforced(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::Modbus | Protocol::S7 => None,
        Protocol::Cip => Some("its gate only decodes, and cannot be made to refuse"),
        Protocol::Ssh | Protocol::Telnet => Some("that is no session of TCP connections"),
        Protocol::Tcp | Protocol::Vnc => Some("no gate looks into it"),
    }
}

#[derive(Serialize)]
struct Told<'a> {
    session: SessionId,
    opened: String,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// What came of one recording.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    /// There is nothing in it to judge.
    NotJudged { skipped: String },
    /// It could not be read to its end.
    NotRead { failed: String },
    /// It was.
    Judged(Found),
}

/// What a rule would have done to a session.
#[derive(Serialize)]
struct Found {
    rule: RuleId,
    actions: Vec<Action>,
    target: TargetName,
    service: ServiceName,
    /// Whether the plant file lets the gate there only decode.
    decodes: bool,
    connections: u64,
    passed: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    rows: Vec<Row>,
    /// Refusals that stand in no row.
    more: u64,
}

/// What would have been refused, once for all that are alike.
#[derive(Serialize)]
struct Row {
    of: Of,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Action>,
    words: String,
    why: String,
    times: u64,
    first: Timestamp,
    last: Timestamp,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, why, times, first, last, of, .. } = self;
        let what = if *of == Of::Connection { "CLOSED " } else { "REFUSED" };
        write!(f, "{}  {what}  {}: {}", utc(*first), plain(words), plain(why))?;
        if *times > 1 { write!(f, "  ({times} times, until {})", utc(*last)) } else { Ok(()) }
    }
}

fn sum(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<String> = counts.iter().map(|(action, count)| format!("{action} {count}")).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

impl Found {
    /// Different refusals of a session that are told: more than anybody reads.
    const ROWS_MAX: usize = 1_000;

    fn new(case: &Case<'_>) -> Self {
        Self {
            rule: case.rule.id.clone(),
            actions: case.rule.actions.iter().copied().collect(),
            target: case.target.clone(),
            service: case.service_name.clone(),
            decodes: case.service.gate == Gate::Decode,
            connections: 0,
            passed: BTreeMap::new(),
            refused: BTreeMap::new(),
            rows: Vec::new(),
            more: 0,
        }
    }

    fn add(&mut self, at: Timestamp, seen: Seen) {
        let Seen { of, class, words, refused } = seen;
        let counts = if refused.is_some() { &mut self.refused } else { &mut self.passed };
        let counted = match (of, class) {
            (Of::Request, Some(class)) => class.as_str(),
            (Of::Request, None) => "unknown",
            (Of::Answer, _) => "answers of the target",
            (Of::Connection, _) => "connections",
        };
        *counts.entry(counted.to_owned()).or_default() += 1;
        let Some(why) = refused else { return };
        let alike = |row: &Row| row.of == of && row.words == words && row.why == why;
        match self.rows.iter().position(alike) {
            Some(position) => {
                let row = &mut self.rows[position];
                (row.times, row.last) = (row.times + 1, at);
            }
            None if self.rows.len() < Self::ROWS_MAX => {
                self.rows.push(Row { of, class, words, why, times: 1, first: at, last: at });
            }
            None => self.more += 1,
        }
    }
}

fn judge(store: &Store, recording: &Recording, keys: &AuditorKeys, case: &Case<'_>) -> Outcome {
    if recording.keeping.erased.is_some() {
        return Outcome::NotRead { failed: "it was erased, and nobody can read it any more".to_owned() };
    }
    let found = match keys.open(store.dir(), &recording.opened) {
        Ok(keys) => read(store, recording, keys, case).map_err(|fault| fault.to_string()),
        Err(fault) => Err(fault.to_string()),
    };
    found.map_or_else(|failed| Outcome::NotRead { failed }, Outcome::Judged)
}

/// In two readings: what the gate of then left out stands behind it in a recording.
fn read(store: &Store, recording: &Recording, keys: SessionKeys, case: &Case<'_>) -> Result<Found, ReadFault> {
    let bar = progress_bar(recording.frames.saturating_mul(2));
    let mut left_out: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    let mut moments = store.moments(recording, keys);
    for moment in moments.by_ref() {
        bar.inc(1);
        let moment = moment?;
        if let What::Note(Note::GateVerdict { spliced, .. }) = &moment.what {
            let of_technician = spliced.iter().filter(|splice| !splice.from_target && splice.left_out > 0);
            let places = of_technician.map(|splice| (splice.at, splice.left_out));
            left_out.entry(moment.channel).or_default().extend(places);
        }
    }
    left_out.values_mut().for_each(|places| places.sort_unstable());
    let mut again = Again { case, left_out, open: BTreeMap::new(), begun: Instant::now(), found: Found::new(case) };
    for moment in store.moments(recording, moments.into_keys()) {
        bar.inc(1);
        again.take(&moment?);
    }
    bar.finish_and_clear();
    Ok(again.found)
}

/// A session once more.
struct Again<'a> {
    case: &'a Case<'a>,
    left_out: BTreeMap<u32, Vec<(u64, u64)>>,
    open: BTreeMap<u32, Hindsight<'a>>,
    /// When it was opened, on the clock of gates.
    begun: Instant,
    found: Found,
}

impl Again<'_> {
    fn take(&mut self, moment: &Moment) {
        let now = self.now(moment.at);
        let open = self.open.get_mut(&moment.channel);
        let seen = match (&moment.what, open) {
            (What::Note(Note::ChannelOpen { to: Some(_), .. }), _) => {
                let left_out = self.left_out.remove(&moment.channel).unwrap_or_default();
                let new = Hindsight::new(self.case.service, &self.case.rule.actions, left_out);
                self.found.connections += 1;
                self.open.extend(new.map(|new| (moment.channel, new)));
                return;
            }
            (What::Note(Note::ChannelClose), _) => {
                self.open.remove(&moment.channel);
                return;
            }
            (What::Data(Stream::In, bytes), Some(open)) => open.upward(bytes, now),
            (What::Data(Stream::Out, bytes), Some(open)) => open.downward(bytes, now),
            _ => return,
        };
        seen.into_iter().for_each(|seen| self.found.add(moment.wall, seen));
    }

    fn now(&self, at: Duration) -> Instant {
        self.begun.checked_add(at).unwrap_or(self.begun)
    }
}

fn progress_bar(frames: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} frames, {eta} left");
    ProgressBar::new(frames).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Over all recordings.
#[derive(Default)]
struct Sums {
    judged: usize,
    refused: usize,
    skipped: usize,
    unread: usize,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::NotJudged { .. } => self.skipped += 1,
            Outcome::NotRead { .. } => self.unread += 1,
            Outcome::Judged(found) => {
                self.judged += 1;
                self.refused += usize::from(!found.rows.is_empty());
            }
        }
    }

    /// "Nothing" is said only of what was read.
    fn done(&self) -> Done {
        match self {
            Self { refused: 1.., .. } => Err(Failure::told(1)),
            Self { unread: 1.., .. } => {
                Err(Failure::failed("not all could be read, so nobody knows what is in the rest"))
            }
            Self { judged: 0, .. } => {
                Err(Failure::failed("there was nothing to judge, so this says nothing of the rule"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { judged, refused, skipped, unread } = self;
        match refused {
            0 if *judged == 0 => write!(f, "No session was judged")?,
            0 => write!(f, "Nothing would have been refused in {}", counted(*judged, "session"))?,
            _ => write!(f, "Something would have been refused in {refused} of {}", counted(*judged, "session"))?,
        }
        if *skipped > 0 {
            write!(f, "; {skipped} not looked at")?;
        }
        if *unread > 0 { write!(f, "; {unread} could not be read") } else { Ok(()) }
    }
}
