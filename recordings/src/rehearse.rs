//! A rehearsal: whether an auditor's key still opens what it must. Whoever loses every key loses every recording, and nobody
//! notices before a recording is wanted. So the oldest recording that the key opens is opened wholly, each block of it, and the
//! newest; of all others it is said whether the key opens their key file, and why not.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policies::ids::{Recipient, SessionId};
use serde::Serialize;

use crate::read::{AuditorKeys, KeysFault, Recording, Store, What};

/// What one key opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rehearsal {
    /// Whose key it is.
    pub recipient: Recipient,
    /// Recordings whose key file it opens.
    pub opens: usize,
    /// Those that were opened wholly: the oldest, and the newest where it is another one.
    pub opened: Vec<Tried>,
    /// Those that it does not open, and need not, each kind once.
    pub closed: Vec<Closed>,
    /// Those that it should open, and does not.
    pub broken: Vec<Broken>,
}

/// A recording that was opened wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Which.
    pub session: SessionId,
    /// When it began, by the gate's clock.
    pub began: Timestamp,
    /// Its frames.
    pub frames: u64,
    /// Bytes of data in them.
    pub bytes: u64,
}

/// Recordings that a key does not open, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// Why.
    pub why: Why,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: SessionId,
    /// When it began.
    pub from: Timestamp,
    /// When the last of them did.
    pub until: Timestamp,
    /// Who opens them, as they say themselves.
    pub opened_by: BTreeSet<Recipient>,
}

/// Why a key does not open a recording, and need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It was erased.
    Erased,
    /// It is older than the first that the key opens.
    MadeBefore,
    /// It is between two that the key opens.
    MadeBetween,
    /// It is newer than the last that the key opens.
    MadeAfter,
    /// The key opens none.
    NeverNamed,
}

/// A recording that a key should open, and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which.
    pub session: SessionId,
    /// What is wrong.
    pub words: String,
}

impl Why {
    /// For people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::MadeBefore => "made before this key became a recipient",
            Self::MadeBetween => "made while this key was no recipient",
            Self::MadeAfter => "made when this key was a recipient no more",
            Self::NeverNamed => "made for others",
        }
    }
}

impl Rehearsal {
    /// Whether the key opened something, and everything that it should.
    pub fn is_good(&self) -> bool {
        !self.opened.is_empty() && self.broken.is_empty()
    }

    /// The oldest recording that was opened wholly.
    pub fn oldest(&self) -> Option<SessionId> {
        self.opened.first().map(|tried| tried.session)
    }
}

/// Tries one key on the recordings of a store, those that `wanted` names. What the store is worth, [`crate::verify`] says.
pub fn rehearse(
    store: &Store,
    (recipient, keys): (Recipient, &AuditorKeys),
    wanted: impl Fn(SessionId) -> bool,
) -> Rehearsal {
    let recordings = store.list().recordings.into_iter().filter(|recording| wanted(recording.id()));
    let (mut fits, mut others, mut erased) = (Vec::new(), Vec::new(), Vec::new());
    let mut broken = Vec::new();
    for recording in recordings {
        if recording.keeping.erased.is_some() {
            erased.push(recording);
            continue;
        }
        match keys.open(store.dir(), &recording.opened) {
            Ok(_) => fits.push(recording),
            Err(KeysFault::NotForYou { .. }) => others.push(recording),
            Err(fault) => broken.push(Broken { session: recording.id(), words: fault.to_string() }),
        }
    }
    let mut opened = Vec::new();
    for recording in fits.first().into_iter().chain(fits.get(1..).and_then(<[Recording]>::last)) {
        match open_wholly(store, recording, keys) {
            Ok(tried) => opened.push(tried),
            Err(words) => broken.push(Broken { session: recording.id(), words }),
        }
    }
    let mut closed: Vec<Closed> = Vec::new();
    for recording in &erased {
        count(&mut closed, Why::Erased, recording);
    }
    let span = fits.first().zip(fits.last()).map(|(first, last)| (first.number, last.number));
    for recording in &others {
        let why = match span {
            None => Why::NeverNamed,
            Some((first, _)) if recording.number < first => Why::MadeBefore,
            Some((_, last)) if recording.number > last => Why::MadeAfter,
            Some(_) => Why::MadeBetween,
        };
        count(&mut closed, why, recording);
    }
    Rehearsal { recipient, opens: fits.len(), opened, closed, broken }
}

fn count(closed: &mut Vec<Closed>, why: Why, recording: &Recording) {
    let began = recording.opened.wall;
    let opened_by = if why == Why::Erased { BTreeSet::new() } else { recording.opened.recipients() };
    match closed.iter_mut().find(|known| known.why == why) {
        Some(known) => {
            known.count += 1;
            known.until = began;
            known.opened_by.extend(opened_by);
        }
        None => closed.push(Closed { why, count: 1, first: recording.id(), from: began, until: began, opened_by }),
    }
}

/// The commitment, every block and every frame behind them.
fn open_wholly(store: &Store, recording: &Recording, keys: &AuditorKeys) -> Result<Tried, String> {
    let key = keys.open(store.dir(), &recording.opened).map_err(|fault| fault.to_string())?;
    let (mut frames, mut bytes) = (0, 0);
    for moment in store.moments(recording, key) {
        match moment.map_err(|fault| fault.to_string())?.what {
            What::Sealed(_) => continue,
            What::Data(_, data) => bytes += data.len() as u64,
            _ => {}
        }
        frames += 1;
    }
    if frames != recording.frames {
        return Err(format!("{frames} of its {} frames could be read", recording.frames));
    }
    Ok(Tried { session: recording.id(), began: recording.opened.wall, frames, bytes })
}
