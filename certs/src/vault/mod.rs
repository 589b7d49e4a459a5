//! The vault: a second process that alone holds the gate's private keys and what opens targets' secrets, and answers one
//! question at a time. Here is what both ends say to each other, and the gate's end; the vault's is in [`answering`]. How
//! the two processes come together, and who may connect, is not known here: both ends are given a stream.

pub mod answering;
mod guesses;
pub mod wire;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use policies::ids::SessionId;
use zeroize::Zeroizing;

use wire::{Answer, Ask, Bytes, Files, Public, Stream, Way};

/// Why the vault did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultFault {
    /// Its process is gone, or hangs, or says what nobody asked.
    #[error("the process that holds the gate's keys does not answer: {0}")]
    Gone(String),
    /// It will not.
    #[error("the process that holds the gate's keys refuses: {0}")]
    Refused(String),
    /// It has nothing that would open them.
    #[error("keys: {0}")]
    Sealed(String),
}

/// Which program this is: a gate and a vault of two versions understand each other only by chance.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// The gate's end of its connections to its vault. Cheap to clone. On each connection one question is under way at a time, and
/// once one went wrong nobody is asked anything there any more, because an answer might be another's.
#[derive(Clone)]
pub struct Line {
    ends: Arc<Ends>,
    around: Around,
}

/// Is told what is about to be asked, in one word, and asks it: once.
pub type Around = fn(&'static str, &mut dyn FnMut());

struct Ends {
    signing: Mutex<State>,
    handshakes: Option<Mutex<State>>,
    files: Option<Mutex<State>>,
}

enum State {
    Open(Box<dyn Stream>),
    Broken(String),
}

impl State {
    fn of(stream: impl Stream + 'static) -> Mutex<Self> {
        Mutex::new(Self::Open(Box::new(stream)))
    }
}

impl Line {
    /// Over this one stream, whose reads and writes end by themselves where the other side hangs.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self::of(Ends { signing: State::of(stream), handshakes: None, files: None })
    }

    /// Over a stream for what sessions wait for, one for handshakes, of which strangers may want as many as they like, and one
    /// for what waits for a disk: none of them waits for another.
    pub fn apart<S: Stream + 'static>([signing, handshakes, files]: [S; 3]) -> Self {
        let (handshakes, files) = (Some(State::of(handshakes)), Some(State::of(files)));
        Self::of(Ends { signing: State::of(signing), handshakes, files })
    }

    fn of(ends: Ends) -> Self {
        Self { ends: Arc::new(ends), around: |_, ask| ask() }
    }

    /// The same, of which each question is asked in here, so that somebody knows how long it took.
    pub fn timed(self, around: Around) -> Self {
        Self { around, ..self }
    }

    /// Whether it is there, signs handshakes too, and is of this program's version.
    ///
    /// # Errors
    /// It does not answer, or is another's.
    pub fn ping(&self) -> Result<(), VaultFault> {
        for end in [Some(&self.ends.signing), self.ends.handshakes.as_ref()].into_iter().flatten() {
            match ask(end, &Ask::Ping)? {
                Answer::Here(version) if version == PROGRAM => {}
                Answer::Here(version) => {
                    let why =
                        format!("it runs version {version} of the program, and this is {PROGRAM}: start both anew");
                    return Err(VaultFault::Refused(why));
                }
                _ => return Err(odd(end)),
            }
        }
        Ok(())
    }

    /// Tells it what it has to know of a journal before it follows it: these entries, each with its place and as the bytes of its event,
    /// in order, and that the journal has `until` entries up to now. May be done in parts.
    ///
    /// # Errors
    /// As [`tell`](Self::tell), or it follows the journal already.
    pub fn brief(&self, entries: &[(u64, Vec<u8>)], until: u64) -> Result<(), VaultFault> {
        let entries = entries.iter().map(|(place, event)| (*place, Bytes::from(event.as_slice()))).collect();
        self.heard(&Ask::Brief { entries, until })
    }

    /// Tells it what is in the journal from entry `after` on, each entry as the bytes of its event, in order.
    /// What it is told counts for this line alone, and is told once, from the first entry on or from where it was briefed.
    ///
    /// # Errors
    /// It does not answer, knows another number of entries before, or understands an entry not: then it opens nothing any more.
    pub fn tell(&self, after: u64, entries: &[Vec<u8>]) -> Result<(), VaultFault> {
        let entries = entries.iter().map(|event| Bytes::from(event.as_slice())).collect();
        self.heard(&Ask::Tell { after, entries })
    }

    fn heard(&self, telling: &Ask) -> Result<(), VaultFault> {
        match self.ask(telling)? {
            Answer::Here(_) => Ok(()),
            _ => Err(odd(self.end(telling))),
        }
    }

    /// The text of the configuration that it was started with, as it is in the file now.
    ///
    /// # Errors
    /// It does not answer, or cannot read it.
    pub fn configuration(&self) -> Result<String, VaultFault> {
        let text = self.bytes(&Ask::Configuration)?;
        String::from_utf8(text.to_vec()).map_err(|_| VaultFault::Refused("the configuration is not UTF-8".into()))
    }

    pub(crate) fn public(&self) -> Result<Public, VaultFault> {
        self.keys_by(&Ask::Public)
    }

    /// Has it read the keys that can be renewed anew; gives what it holds then.
    pub(crate) fn reload(&self) -> Result<Public, VaultFault> {
        self.keys_by(&Ask::Reload)
    }

    fn keys_by(&self, ask: &Ask) -> Result<Public, VaultFault> {
        match self.ask(ask)? {
            Answer::Public(public) => Ok(*public),
            _ => Err(odd(self.end(ask))),
        }
    }

    pub(crate) fn files(&self) -> Result<Files, VaultFault> {
        match self.ask(&Ask::Files)? {
            Answer::Files(files) => Ok(files),
            _ => Err(odd(self.end(&Ask::Files))),
        }
    }

    pub(crate) fn bytes(&self, ask: &Ask) -> Result<Zeroizing<Vec<u8>>, VaultFault> {
        match self.ask(ask)? {
            Answer::Bytes(bytes) => Ok(bytes.0),
            _ => Err(odd(self.end(ask))),
        }
    }

    pub(crate) fn text(&self, ask: &Ask) -> Result<String, VaultFault> {
        match self.ask(ask)? {
            Answer::Text(text) => Ok(text),
            _ => Err(odd(self.end(ask))),
        }
    }

    pub(crate) fn key(&self, ask: &Ask) -> Result<wire::HandshakeKey, VaultFault> {
        match self.ask(ask)? {
            Answer::HandshakeKey(key) => Ok(key),
            _ => Err(odd(self.end(ask))),
        }
    }

    pub(crate) fn step(&self, ask: &Ask) -> Result<Option<u64>, VaultFault> {
        match self.ask(ask)? {
            Answer::Step(step) => Ok(step),
            _ => Err(odd(self.end(ask))),
        }
    }

    fn ask(&self, question: &Ask) -> Result<Answer, VaultFault> {
        let mut answer = None;
        (self.around)(question.word(), &mut || answer = Some(ask(self.end(question), question)));
        answer.unwrap_or_else(|| Err(VaultFault::Gone("it was not asked".to_owned())))
    }

    fn end(&self, question: &Ask) -> &Mutex<State> {
        let Ends { signing, handshakes, files } = &*self.ends;
        match question.way() {
            Way::Signing => signing,
            Way::Handshakes => handshakes.as_ref().unwrap_or(signing),
            Way::Files => files.as_ref().unwrap_or(signing),
        }
    }
}

fn ask(end: &Mutex<State>, question: &Ask) -> Result<Answer, VaultFault> {
    let mut state = end.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = match &mut *state {
        State::Open(stream) => stream,
        State::Broken(why) => return Err(VaultFault::Gone(why.clone())),
    };
    // Of what is too long nothing goes over, so that the next question finds all as it was.
    let question = wire::encoded(question).map_err(|error| VaultFault::Refused(error.to_string()))?;
    let written = stream.write_all(&question).and_then(|()| stream.flush());
    match written.and_then(|()| wire::read(stream)) {
        Ok(Some(Answer::Refused(why))) => Err(VaultFault::Refused(why)),
        Ok(Some(Answer::Sealed(why))) => Err(VaultFault::Sealed(why)),
        Ok(Some(answer)) => Ok(answer),
        ended => {
            let why = ended.map_or_else(|error| in_words(&error), |_| "it ended".to_owned());
            *state = State::Broken(why.clone());
            Err(VaultFault::Gone(why))
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "it hangs (where it is a service of its own: systemctl restart holdpoint-vault)".to_owned()
        }
        _ => error.to_string(),
    }
}

fn odd(end: &Mutex<State>) -> VaultFault {
    let why = "it answered something else than it was asked".to_owned();
    *end.lock().unwrap_or_else(PoisonError::into_inner) = State::Broken(why.clone());
    VaultFault::Gone(why)
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line(..)")
    }
}

/// What a secret is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What the gate itself signs in with elsewhere, as its configuration says: at a mail server, an identity provider.
    Gate,
    /// What opens a target, for this session, which has begun and goes on.
    Session(SessionId),
}

#[cfg(test)]
mod tests;
