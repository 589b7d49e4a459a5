//! The gate's side of its witnesses: they are asked to cosign how far both logs have come, every ten seconds with a session
//! open, with each decision and each end of a session, and hourly otherwise. What they cosigned is kept beside the log. A
//! witness that is lost is told and stops nothing; one that has seen more than there is, or something else, is told loudly.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certs::log_key::Verifier;
use certs::witness_key::Cosigner;
use hyper::HeaderMap;
use recordings::disk::RealDisk;
use recordings::log::Log;
use recordings::tlog::checkpoint::SignedCheckpoint;
use recordings::tlog::folder::{CHECKPOINT, Folder, View};
use recordings::tlog::kept::{Held, Kept};
use recordings::tlog::submission::{ANSWER_BYTES_MAX, Answer, NotCosigned, add_checkpoint, read_answer};
use recordings::tlog::witness::AddCheckpoint;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::desk::{Alarm, Desk};
use crate::post::{Poster, Wanted};

/// How often with a session open, and how soon after a failure.
const BUSY: Duration = Duration::from_secs(10);
/// How often otherwise.
const IDLE: Duration = Duration::from_secs(3_600);
/// How soon again at the soonest.
const PAUSE: Duration = Duration::from_secs(2);
/// How soon after a failure that was told.
const LOST: Duration = Duration::from_secs(60);
/// From connecting to the end of the answer.
const TAKES_MAX: Duration = Duration::from_secs(10);
/// How often a decision is looked for in what is published, a second each.
const LOOKS: usize = 15;
/// So many failures in a row are told: one alone is a cable that somebody pulls and puts back.
const FAILURES_TOLD: u32 = 3;
/// A witness may have another size than is believed, and another once more.
const ASKED_MAX: usize = 3;

/// A witness to ask.
pub struct Way {
    /// Its public key, under its name.
    pub key: Cosigner,
    /// Where it is asked.
    pub poster: Poster,
}

/// A log to have cosigned.
#[derive(Debug, Clone)]
pub struct AskedLog {
    /// Its folder.
    pub dir: PathBuf,
    /// Its key, under its name.
    pub verifier: Verifier,
}

/// The witnesses of this gate. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Witnesses(Arc<Inner>);

struct Inner {
    ways: Vec<Way>,
    /// The journal's first.
    logs: Vec<(AskedLog, Mutex<Kept>)>,
    troubles: Mutex<BTreeMap<String, Trouble>>,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be asked, or its answer is none.
    Lost(String),
    /// It has seen more of a log than there is, or another log of that name.
    Refuses(String),
}

impl Trouble {
    /// In words.
    pub fn words(&self) -> &str {
        let (Self::Lost(words) | Self::Refuses(words)) = self;
        words
    }
}

/// How it stands with one witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// What it cosigned last of the journal.
    pub journal: Option<Held>,
    /// And of this node's recordings.
    pub records: Option<Held>,
    /// Why it cosigns no more.
    pub trouble: Option<Trouble>,
}

impl Witnesses {
    /// These witnesses of these logs, the journal's first. What they cosigned before is read. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(ways: Vec<Way>, logs: Vec<AskedLog>) -> io::Result<Self> {
        let keys: Vec<Cosigner> = ways.iter().map(|way| way.key.clone()).collect();
        let open = |log: AskedLog| {
            let folder = Folder::new(Arc::new(RealDisk), &log.dir);
            let kept = Kept::open(folder, log.verifier.clone(), keys.clone())?;
            Ok((log, Mutex::new(kept)))
        };
        let logs = logs.into_iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner { ways, logs, troubles: Mutex::default() })))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.ways.len()
    }

    /// How it stands with each.
    pub fn standings(&self) -> Vec<Standing> {
        let held = |log: usize, name: &str| self.0.logs.get(log).and_then(|(_, kept)| lock(kept).newest_of(name));
        let standing = |way: &Way| {
            let name = way.key.name().to_owned();
            let trouble = lock(&self.0.troubles).get(&name).cloned();
            Standing { journal: held(0, &name), records: held(1, &name), name, trouble }
        };
        self.0.ways.iter().map(standing).collect()
    }

    /// Asks each of them about each log once: what it says of what is published now, or of its head at rest where nothing is.
    pub async fn sound(&self, at_rest: &[SignedCheckpoint]) -> Vec<Sounding> {
        let one = async |place: usize| {
            let mut asking = Asking { at_rest: at_rest.to_vec(), ..Asking::new(self.clone(), place) };
            let mut soundings = Vec::new();
            for (log, (asked, _)) in self.0.logs.iter().enumerate() {
                let said = asking.about(log).await.map_or_else(Failed::said, |()| Said::Agrees);
                let witness = asking.way().key.name().to_owned();
                soundings.push(Sounding { witness, log: asked.verifier.name().to_owned(), said });
            }
            soundings
        };
        futures::future::join_all((0..self.count()).map(one)).await.into_iter().flatten().collect()
    }

    /// Asks one of them for as long as it is polled.
    pub async fn ask(self, place: usize, desk: Desk, records: Arc<Log>, alarms: mpsc::Sender<Alarm>) {
        let mut asking = Asking::new(self, place);
        loop {
            let size = desk.head().size;
            asking.wait_published(desk.clock(), size).await;
            let trouble = asking.round().await.err();
            let is_well = trouble.is_none();
            asking.tell(trouble, &alarms);
            desk.clock().sleep(PAUSE).await;
            let pause = match (is_well, records.status().open) {
                (false, _) if asking.failures > FAILURES_TOLD => LOST,
                (false, _) => BUSY,
                (true, 0) => IDLE,
                // The pause is a part of it.
                (true, _) => BUSY.saturating_sub(PAUSE),
            };
            tokio::select! {
                () = desk.clock().sleep(pause) => {}
                () = desk.changed(size), if is_well => {}
            }
        }
    }
}

/// What a witness said of a log, before anything new is written to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sounding {
    /// The witness's name.
    pub witness: String,
    /// The log's name.
    pub log: String,
    /// What it said.
    pub said: Said,
}

/// What a witness says of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has seen no more than there is, and nothing else.
    Agrees,
    /// It has seen so many entries, and there are fewer.
    HasMore(u64),
    /// It has seen another log of this name, with so many entries, where it says that.
    HasOther(Option<u64>),
    /// It does not answer, or nothing that counts.
    Nothing(String),
}

/// How asking about a log failed.
enum Failed {
    Lost(String),
    /// What it was asked from, and of how many entries.
    Answered {
        old: u64,
        size: u64,
        why: NotCosigned,
    },
}

impl Failed {
    fn trouble(self, origin: &str) -> Trouble {
        match self {
            Self::Lost(why) => Trouble::Lost(why),
            Self::Answered { size, why, .. } => trouble(origin, size, &why),
        }
    }

    fn said(self) -> Said {
        match self {
            Self::Lost(why) => Said::Nothing(why),
            Self::Answered { why: NotCosigned::SetBack { held, .. }, .. } => Said::HasMore(held),
            Self::Answered { why: NotCosigned::Forked(size), .. } => Said::HasOther(Some(size)),
            Self::Answered { old, why: NotCosigned::Refused { status: 422, .. }, .. } => {
                Said::HasOther(Some(old).filter(|old| *old > 0))
            }
            Self::Answered { why, .. } => Said::Nothing(why.to_string()),
        }
    }
}

/// One witness that is being asked.
struct Asking {
    witnesses: Witnesses,
    place: usize,
    /// What it is believed to have cosigned last of each log.
    held: BTreeMap<usize, u64>,
    /// Heads that it is asked about where nothing is published.
    at_rest: Vec<SignedCheckpoint>,
    failures: u32,
}

/// What a witness is asked, and what of.
struct Question {
    signed: SignedCheckpoint,
    asked: AddCheckpoint,
}

impl Asking {
    const fn new(witnesses: Witnesses, place: usize) -> Self {
        Self { witnesses, place, held: BTreeMap::new(), at_rest: Vec::new(), failures: 0 }
    }

    fn way(&self) -> &Way {
        &self.witnesses.0.ways[self.place]
    }

    /// What was just decided is published a moment later.
    async fn wait_published(&self, clock: &Clock, size: u64) {
        for _ in 0..LOOKS {
            let published = self.blocking(0, published).await;
            if !matches!(&published, Ok(Some(signed)) if signed.checkpoint().size < size) {
                return;
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asks about each log once.
    async fn round(&mut self) -> Result<(), Trouble> {
        for log in 0..self.witnesses.0.logs.len() {
            let asked = self.about(log).await;
            asked.map_err(|failed| failed.trouble(self.witnesses.0.logs[log].0.verifier.name()))?;
        }
        Ok(())
    }

    async fn about(&mut self, log: usize) -> Result<(), Failed> {
        for _ in 0..ASKED_MAX {
            let held = self.held.get(&log).copied().unwrap_or(0);
            let Some(Question { signed, asked }) = self.question(log, held).await? else { return Ok(()) };
            let size = signed.checkpoint().size;
            let body = asked.to_string().into_bytes();
            let (nothing, wanted) = (HeaderMap::new(), Wanted::Body(ANSWER_BYTES_MAX));
            let posted = self.way().poster.post("text/plain; charset=utf-8", &nothing, body, wanted);
            let posted = tokio::time::timeout(TAKES_MAX, posted).await;
            let (status, body) =
                posted.unwrap_or_else(|_| Err(format!("it did not answer in {TAKES_MAX:?}"))).map_err(Failed::Lost)?;
            match read_answer(&asked, size, (status, &body), std::slice::from_ref(&self.way().key)) {
                Ok(Answer::Cosigned(lines)) => {
                    self.held.insert(log, size);
                    let kept = self.blocking(log, move |(_, kept)| lock(kept).keep(&signed, &lines)).await;
                    return kept.map_err(|error| Failed::Lost(format!("its cosignature cannot be kept: {error}")));
                }
                Ok(Answer::Holds(held)) => drop(self.held.insert(log, held)),
                Err(why) => {
                    self.held.remove(&log);
                    return Err(Failed::Answered { old: asked.old, size, why });
                }
            }
        }
        Err(Failed::Lost("it says of each size that it holds another".to_owned()))
    }

    /// None while nothing is published, and nothing more can be asked without that.
    async fn question(&self, log: usize, held: u64) -> Result<Option<Question>, Failed> {
        let name = self.witnesses.0.logs[log].0.verifier.name();
        let at_rest = self.at_rest.iter().find(|signed| signed.checkpoint().origin == name).cloned();
        let read = move |log: &(AskedLog, Mutex<Kept>)| {
            let published = published(log)?;
            let is_published = published.is_some();
            let Some(signed) = published.or(at_rest) else { return Ok(None) };
            // What it holds beyond our end it says again in its answer.
            if held == 0 || held > signed.checkpoint().size {
                let asked = AddCheckpoint { old: 0, proof: Vec::new(), note: signed.note().clone() };
                return Ok(Some(Question { signed, asked }));
            }
            if !is_published {
                return Ok(None);
            }
            let folder = Folder::new(Arc::new(RealDisk), &log.0.dir);
            let mut view = View::open(folder, signed.checkpoint()).map_err(io::Error::other)?;
            let asked =
                add_checkpoint(&signed, held, &mut view).map_err(|fault| io::Error::other(fault.to_string()))?;
            Ok(Some(Question { signed, asked }))
        };
        let question = self.blocking(log, read).await;
        question.map_err(|error| Failed::Lost(format!("it cannot be asked, because the log cannot be read: {error}")))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        log: usize,
        work: impl FnOnce(&(AskedLog, Mutex<Kept>)) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let witnesses = self.witnesses.clone();
        tokio::task::spawn_blocking(move || work(&witnesses.0.logs[log])).await.map_err(io::Error::other)?
    }

    /// Tells people what has changed.
    fn tell(&mut self, trouble: Option<Trouble>, alarms: &mpsc::Sender<Alarm>) {
        let witness = self.way().key.name().to_owned();
        self.failures = if trouble.is_some() { self.failures.saturating_add(1) } else { 0 };
        let mut troubles = lock(&self.witnesses.0.troubles);
        let before = troubles.get(&witness).cloned();
        let alarm = match (&before, &trouble) {
            (_, Some(Trouble::Lost(why))) if self.failures < FAILURES_TOLD => {
                tracing::debug!(witness, %why, "a witness is asked again");
                return;
            }
            (Some(Trouble::Refuses(_)), Some(Trouble::Refuses(_)))
            | (Some(Trouble::Lost(_)), Some(Trouble::Lost(_))) => None,
            (_, Some(Trouble::Refuses(why))) => {
                Some(Alarm::WitnessRefuses { witness: witness.clone(), why: why.clone() })
            }
            (_, Some(Trouble::Lost(why))) => Some(Alarm::WitnessLost { witness: witness.clone(), why: why.clone() }),
            (Some(_), None) => Some(Alarm::WitnessBack { witness: witness.clone() }),
            (None, None) => None,
        };
        match trouble {
            Some(trouble) => drop(troubles.insert(witness, trouble)),
            None => drop(troubles.remove(&witness)),
        }
        drop(troubles);
        if let Some(lost) = alarm.and_then(|alarm| alarms.try_send(alarm).err()) {
            tracing::error!(alarm = ?lost.into_inner(), "an alarm reaches nobody");
        }
    }
}

/// What a log published last; none where it has published nothing yet.
fn published((log, _): &(AskedLog, Mutex<Kept>)) -> io::Result<Option<SignedCheckpoint>> {
    match std::fs::read(log.dir.join(CHECKPOINT)) {
        Ok(bytes) => {
            SignedCheckpoint::open(&bytes, std::slice::from_ref(&log.verifier)).map(Some).map_err(io::Error::other)
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn trouble(origin: &str, size: u64, why: &NotCosigned) -> Trouble {
    match why {
        NotCosigned::SetBack { .. } | NotCosigned::Forked(_) => Trouble::Refuses(format!("{origin}: {why}")),
        NotCosigned::Refused { status: 422, .. } => Trouble::Refuses(format!(
            "{origin}: the {size} entries here did not grow out of those that it has seen: the log was rewritten, or set \
             back and continued ({why})"
        )),
        why => Trouble::Lost(format!("{origin}: {why}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
