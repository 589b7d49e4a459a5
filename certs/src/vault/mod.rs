//! The vault: a second process that alone holds the gate's private keys and what opens targets' secrets, and answers one
//! question at a time. Here is what both ends say to each other, and the gate's end; the vault's is in [`answering`]. How
//! the two processes come together, and who may connect, is not known here: both ends are given a stream.

pub mod answering;
mod guesses;
pub mod wire;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
/// once one went wrong nobody is asked anything there any more, because an answer might be another's. What waits for a disk goes on
/// over another connection then; without the others there is no gate.
#[derive(Clone)]
pub struct Line {
    ends: Arc<Ends>,
    around: Around,
}

/// Is told what is about to be asked, in one word, and asks it: once.
pub type Around = fn(&'static str, &mut dyn FnMut());

struct Ends {
    signing: End,
    handshakes: Option<End>,
    files: Option<End>,
}

/// One connection, and how another comes in its place, if one does.
struct End {
    state: Mutex<State>,
    anew: Option<Anew>,
}

/// Opens another connection in place of one that broke for this reason.
type Anew = Box<dyn Fn(&str) -> io::Result<Box<dyn Stream>> + Send + Sync>;

enum State {
    Open {
        stream: Box<dyn Stream>,
        /// It is the first, or something was answered on it.
        is_proven: bool,
    },
    Broken {
        why: String,
        /// Before, no other is opened in its place.
        again_at: Instant,
    },
}

/// A vault that hangs, or says nothing on a new connection either, is left alone for so long: each try may leave it a thread that waits
/// for its disk.
const LEFT_ALONE: Duration = Duration::from_secs(60);

impl Line {
    /// Over this one stream, whose reads and writes end by themselves where the other side hangs.
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self::of(Ends { signing: End::of(stream), handshakes: None, files: None })
    }

    /// Over a stream for what sessions wait for, one for handshakes, of which strangers may want as many as they like, and one
    /// for what waits for a disk: none of them waits for another. Once the last breaks, `anew` is told why and opens another, and what
    /// was asked is asked again there: it may be done twice.
    pub fn apart<S: Stream + 'static>(
        [signing, handshakes, files]: [S; 3],
        anew: impl Fn(&str) -> io::Result<S> + Send + Sync + 'static,
    ) -> Self {
        let anew: Anew = Box::new(move |why| {
            let stream: Box<dyn Stream> = Box::new(anew(why)?);
            Ok(stream)
        });
        let (handshakes, files) = (Some(End::of(handshakes)), Some(End { anew: Some(anew), ..End::of(files) }));
        Self::of(Ends { signing: End::of(signing), handshakes, files })
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
            match end.ask(&Ask::Ping)? {
                Answer::Here(version) if version == PROGRAM => {}
                Answer::Here(version) => {
                    let why =
                        format!("it runs version {version} of the program, and this is {PROGRAM}: start both anew");
                    return Err(VaultFault::Refused(why));
                }
                _ => return Err(end.odd()),
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
            _ => Err(self.end(telling).odd()),
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
            _ => Err(self.end(ask).odd()),
        }
    }

    pub(crate) fn files(&self) -> Result<Files, VaultFault> {
        match self.ask(&Ask::Files)? {
            Answer::Files(files) => Ok(files),
            _ => Err(self.end(&Ask::Files).odd()),
        }
    }

    pub(crate) fn bytes(&self, ask: &Ask) -> Result<Zeroizing<Vec<u8>>, VaultFault> {
        match self.ask(ask)? {
            Answer::Bytes(bytes) => Ok(bytes.0),
            _ => Err(self.end(ask).odd()),
        }
    }

    pub(crate) fn text(&self, ask: &Ask) -> Result<String, VaultFault> {
        match self.ask(ask)? {
            Answer::Text(text) => Ok(text),
            _ => Err(self.end(ask).odd()),
        }
    }

    pub(crate) fn key(&self, ask: &Ask) -> Result<wire::HandshakeKey, VaultFault> {
        match self.ask(ask)? {
            Answer::HandshakeKey(key) => Ok(key),
            _ => Err(self.end(ask).odd()),
        }
    }

    pub(crate) fn step(&self, ask: &Ask) -> Result<Option<u64>, VaultFault> {
        match self.ask(ask)? {
            Answer::Step(step) => Ok(step),
            _ => Err(self.end(ask).odd()),
        }
    }

    fn ask(&self, question: &Ask) -> Result<Answer, VaultFault> {
        let mut answer = None;
        (self.around)(question.word(), &mut || answer = Some(self.end(question).ask(question)));
        answer.unwrap_or_else(|| Err(VaultFault::Gone("it was not asked".to_owned())))
    }

    fn end(&self, question: &Ask) -> &End {
        let Ends { signing, handshakes, files } = &*self.ends;
        match question.way() {
            Way::Signing => signing,
            Way::Handshakes => handshakes.as_ref().unwrap_or(signing),
            Way::Files => files.as_ref().unwrap_or(signing),
        }
    }
}

impl End {
    fn of(stream: impl Stream + 'static) -> Self {
        Self { state: Mutex::new(State::Open { stream: Box::new(stream), is_proven: true }), anew: None }
    }

    /// Asks, and asks again where another connection may be opened: once, since that one has proved nothing.
    fn ask(&self, question: &Ask) -> Result<Answer, VaultFault> {
        let mut state = self.lock();
        // Of what is too long nothing goes over, so that the next question finds all as it was.
        let question = wire::encoded(question).map_err(|error| VaultFault::Refused(error.to_string()))?;
        loop {
            let (stream, is_proven) = self.open(&mut state)?;
            match asked(stream, &question) {
                Ok(answer) => {
                    *is_proven = true;
                    return match answer {
                        Answer::Refused(why) => Err(VaultFault::Refused(why)),
                        Answer::Sealed(why) => Err(VaultFault::Sealed(why)),
                        answer => Ok(answer),
                    };
                }
                Err(error) => {
                    let left_alone = if *is_proven && !hangs(&error) { Duration::ZERO } else { LEFT_ALONE };
                    *state = State::broken(in_words(&error), left_alone);
                }
            }
        }
    }

    /// The connection, or another that comes in its place.
    fn open<'s>(&self, state: &'s mut State) -> Result<(&'s mut dyn Stream, &'s mut bool), VaultFault> {
        let why = match state {
            State::Broken { why, again_at } if *again_at <= Instant::now() => Some(why.clone()),
            _ => None,
        };
        if let (Some(why), Some(anew)) = (why, &self.anew) {
            *state = match anew(&why) {
                Ok(stream) => State::Open { stream, is_proven: false },
                Err(error) => State::broken(error.to_string(), LEFT_ALONE),
            };
        }
        match state {
            State::Open { stream, is_proven } => Ok((stream.as_mut(), is_proven)),
            State::Broken { why, .. } => Err(VaultFault::Gone(why.clone())),
        }
    }

    fn odd(&self) -> VaultFault {
        let why = "it answered something else than it was asked".to_owned();
        *self.lock() = State::broken(why.clone(), LEFT_ALONE);
        VaultFault::Gone(why)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn broken(why: String, left_alone: Duration) -> Self {
        Self::Broken { why, again_at: Instant::now() + left_alone }
    }
}

/// One question, and its answer.
fn asked(stream: &mut dyn Stream, question: &[u8]) -> io::Result<Answer> {
    stream.write_all(question)?;
    stream.flush()?;
    wire::read(stream)?.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"))
}

fn hangs(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn in_words(error: &io::Error) -> String {
    if hangs(error) {
        return "it hangs (where it is a service of its own: systemctl restart holdpoint-vault)".to_owned();
    }
    error.to_string()
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
