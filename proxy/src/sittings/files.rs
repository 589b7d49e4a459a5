//! Files of a target on a page: a client of SFTP inside the gate speaks for the page, and its channel is judged, recorded and listed
//! as one by SSH is. What the page fetches goes to the browser as an answer of its own, so that it is kept where downloads are.

mod fetching;
mod putting;

use std::sync::Arc;
use std::time::Duration;

use approver::floor::Shown;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use policies::ids::{PersonId, TargetName};
use russh_sftp::client::error::Error;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::outlet::{Credit, Line, Outgoing, Outlet};
use super::{Beside, End, Heard, ODD, SIGNED_OUT, SILENT_MAX, ToPage, last_words};
use crate::files::PACKET_BYTES_MAX;
use crate::floor::Telling;
use crate::flow::{Brake, CHUNK_BYTES, Event, HIGH_BYTES, Queue, Request, Valve};
use crate::session::{Session, VendorChannel};
use crate::ssh::channel::VendorEnd;
use crate::websocket::{self, Socket, message};
pub(crate) use fetching::Fetches;
use putting::Piece;

/// What the page asks, and by which number: its answers have that too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Asked {
    n: u32,
    #[serde(flatten)]
    what: FromPage,
}

/// See [`Asked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Answered {
    n: u32,
    #[serde(flatten)]
    what: Answer,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FromPage {
    /// What is in this folder?
    List { path: String },
    /// A file is wanted.
    Fetch { path: String },
    /// A file comes, in binary messages; where there is one already it is overwritten, if it may be.
    Put { path: String, replace: bool },
    /// That was all of it.
    Done {},
    /// No more of it comes.
    Stop {},
    /// A folder is to be made.
    Make { path: String },
    /// Another name.
    Rename { from: String, to: String },
    /// A file, or an empty folder, is to go.
    Remove { path: String, folder: bool },
}

/// What the page is answered: at the last what came of it, and before that how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// The target's server speaks SFTP: what is asked now is done. Before that nothing is.
    Greeted {},
    /// Some of what is in a folder; `Listed` says that these were all.
    Part {
        entries: Vec<Entry>,
    },
    Listed {
        path: String,
        /// There are more than are listed.
        more: bool,
    },
    /// The browser gets the file for this ticket. What became of it is told as `Fetched` or `NotFetched`.
    Fetchable {
        ticket: String,
    },
    Fetched {
        bytes: u64,
    },
    NotFetched {
        words: String,
    },
    /// The file may come now; what became of it is told as `Stored`, `Stopped` or `NotStored`.
    Going {},
    /// There is one already.
    Exists {},
    /// So many more bytes of it are written.
    Taken {
        bytes: usize,
    },
    Stored {
        bytes: u64,
    },
    /// No more came. What had come is gone again, or stands there.
    Stopped {
        bytes: u64,
        gone: bool,
    },
    NotStored {
        bytes: u64,
        words: String,
        gone: bool,
    },
    Did {},
    Failed {
        words: String,
    },
}

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    name: String,
    kind: Kind,
    size: Option<u64>,
    /// Seconds of the Unix epoch, by the target's clock.
    modified: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// What a page lists of a folder; nobody reads more, and a target could go on for ever.
const ENTRIES_MAX: usize = 5_000;
/// Bytes of a name that is shown: more than any file system takes.
const NAME_BYTES_MAX: usize = 1024;
/// Bytes of names in one message, each of which may be written as six.
const PART_BYTES: usize = 8 << 10;
/// What is written of each beside its name, a sixth of it.
const ENTRY_BYTES: usize = 20;
/// Bytes between the client and its channel.
const PIPE_BYTES: usize = 256 << 10;
/// What goes on at once.
const WORK_MAX: usize = 8;
/// Answers on their way beside those.
const ANSWERS_MAX: usize = 16;
/// For a server to say what it speaks.
const GREETING_MAX: Duration = Duration::from_secs(30);
/// What is asked for while input is stopped, or a file is checked, waits for its answer.
const ANSWER_MAX_SECONDS: u64 = 24 * 60 * 60;

const BUSY: &str = "so much is under way already: wait until one of them is done";
const TOO_MUCH: &str = "The page sent more than the gate had room for, so it was closed. Load it again.";

/// Carries them to their end; gives the last words.
pub(super) async fn carry(
    session: Session,
    socket: &mut Socket,
    beside: Beside,
    (fetches, person): (Arc<Fetches>, PersonId),
) -> Option<String> {
    let checked = session.checks_uploads();
    let Beside { tellings, from, signed_out } = beside;
    let (outlet, outgoing) = Outlet::undrawn(PIPE_BYTES);
    let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
    let end = VendorEnd::in_browser(outlet.clone(), from, Arc::clone(&upload));
    upload.push(Event::Request(Request::Subsystem("sftp".to_owned())));
    if session.channel(VendorChannel::Typed(end)).await.is_err() {
        return session.over_in_words();
    }
    let Outgoing { mut pieces, lines, closed } = outgoing;
    let (near, mut far) = tokio::io::duplex(PIPE_BYTES);
    let config =
        Config { request_timeout_secs: ANSWER_MAX_SECONDS, max_packet_len: PACKET_BYTES_MAX, ..Config::default() };
    let sftp = Arc::new(RawSftpSession::new_with_config(near, config));
    let (said, answers) = mpsc::channel(ANSWERS_MAX);
    let (send, receive) = socket.split();
    let mut page = Page {
        send,
        receive,
        beside: (lines, tellings),
        answers,
        work: FuturesUnordered::new(),
        putting: None,
        place: Place { sftp: Arc::clone(&sftp), said, fetches, person, checked },
    };
    let ended = session.ended();
    let mut greeted = false;
    let end = tokio::select! {
        biased;
        _ = ended => End::Closed,
        () = signed_out => End::Because(SIGNED_OUT),
        end = page.run(&mut greeted) => end,
        () = closed.cancelled() => End::Closed,
        () = join(&mut far, &mut pieces, &upload, outlet.credit()) => End::Closed,
    };
    drop((page, far));
    if matches!(end, End::Because(_)) {
        outlet.dismiss();
    }
    upload.end();
    last_words(end, session, |target| match outlet.refused() {
        Some(told) => format!("{}. Your session ended with it.", told.trim_end_matches('.')),
        None => parted(target, greeted),
    })
    .await
}

/// Why nothing more comes, where nobody else says why.
fn parted(target: &TargetName, greeted: bool) -> String {
    match greeted {
        true => format!("{target} ended the file transfer, and your session with it."),
        false => format!(
            "{target} does not offer its files by SFTP, so they cannot be shown. Where your grant has shell, scp -O copies files without it."
        ),
    }
}

/// Hands bytes on between client and channel, until either ends.
async fn join(client: &mut DuplexStream, pieces: &mut mpsc::Receiver<Bytes>, upload: &Queue, credit: &Credit) {
    let (mut read, mut write) = tokio::io::split(client);
    let up = async {
        let mut room = vec![0; CHUNK_BYTES];
        loop {
            upload.room_below(HIGH_BYTES).await;
            match read.read(&mut room).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => upload.push_data(None, &room[..bytes]),
            }
        }
    };
    let down = async {
        while let Some(piece) = pieces.recv().await {
            if write.write_all(&piece).await.is_err() {
                return;
            }
            credit.give(piece.len());
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// The page, and what is done for it.
struct Page<'a> {
    send: SplitSink<&'a mut Socket, Message>,
    receive: SplitStream<&'a mut Socket>,
    beside: (mpsc::Receiver<Line>, mpsc::Receiver<Telling>),
    answers: mpsc::Receiver<Answered>,
    work: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Where the file that comes goes.
    putting: Option<mpsc::Sender<Piece>>,
    place: Place,
}

/// What questions are answered with. Cheap to clone.
#[derive(Clone)]
struct Place {
    sftp: Arc<RawSftpSession>,
    said: mpsc::Sender<Answered>,
    fetches: Arc<Fetches>,
    person: PersonId,
    /// The target has nothing of a file before it came whole and was checked.
    checked: bool,
}

impl Page<'_> {
    async fn run(&mut self, greeted: &mut bool) -> End {
        let mut pings = websocket::pings();
        let heard = Heard::default();
        let sftp = Arc::clone(&self.place.sftp);
        let mut greeting = Box::pin(timeout(GREETING_MAX, async move { sftp.init().await.is_ok() }).fuse());
        loop {
            let mut wanted = None;
            let next = tokio::select! {
                biased;
                Some(line) = self.beside.0.recv() => match line {
                    Line::Drawn(_) => continue,
                    Line::Beside(said) => message(&said),
                },
                Some(telling) = self.beside.1.recv() => {
                    wanted = telling.wanted;
                    message(&ToPage::Told { words: telling.text })
                }
                answered = &mut greeting, if !*greeted => match answered {
                    Ok(true) => {
                        *greeted = true;
                        message(&Answered { n: 0, what: Answer::Greeted {} })
                    }
                    Ok(false) | Err(_) => return End::Closed,
                },
                Some(()) = self.work.next() => continue,
                Some(answer) = self.answers.recv() => message(&answer),
                came = self.receive.next() => {
                    heard.note();
                    match self.came(came, *greeted) {
                        Some(end) => return end,
                        None => continue,
                    }
                }
                _ = pings.tick() => match heard.silent_for() > SILENT_MAX {
                    true => return End::Left,
                    false => Message::Ping(Bytes::new()),
                },
            };
            let Ok(Ok(())) = timeout(SILENT_MAX, self.send.send(next)).await else { return End::Left };
            Telling::shown(wanted, Shown::OnPage);
        }
    }

    fn came<E>(&mut self, came: Option<Result<Message, E>>, greeted: bool) -> Option<End> {
        match came {
            Some(Ok(Message::Binary(bytes))) => self.piece(Piece::Bytes(bytes)),
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Asked { what: FromPage::Done {}, .. }) => self.piece(Piece::Done),
                Ok(Asked { what: FromPage::Stop {}, .. }) => {
                    self.putting = None;
                    None
                }
                Ok(asked) if greeted => {
                    self.ask(asked);
                    None
                }
                Ok(_) | Err(_) => Some(End::Because(ODD)),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
            Some(Ok(Message::Close(_)) | Err(_)) | None => Some(End::Left),
        }
    }

    /// Of a file that cannot be written any more, pieces may still be under way.
    fn piece(&mut self, piece: Piece) -> Option<End> {
        match self.putting.as_ref()?.try_send(piece) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(_)) => Some(End::Because(TOO_MUCH)),
        }
    }

    fn ask(&mut self, Asked { n, what }: Asked) {
        let place = self.place.clone();
        let work: BoxFuture<'static, Answer> = match what {
            _ if self.work.len() >= WORK_MAX => async { Answer::Failed { words: BUSY.to_owned() } }.boxed(),
            FromPage::List { path } => async move { place.list(n, path).await }.boxed(),
            FromPage::Fetch { path } => async move { place.fetch(n, path).await }.boxed(),
            FromPage::Put { path, replace } => {
                let (pieces, coming) = putting::pieces();
                self.putting = Some(pieces);
                async move { place.put(n, (path, replace), coming).await }.boxed()
            }
            FromPage::Make { path } => {
                async move { did(place.sftp.mkdir(path, FileAttributes::empty()).await) }.boxed()
            }
            FromPage::Rename { from, to } => async move { did(place.sftp.rename(from, to).await) }.boxed(),
            FromPage::Remove { path, folder: true } => async move { did(place.sftp.rmdir(path).await) }.boxed(),
            FromPage::Remove { path, folder: false } => async move { did(place.sftp.remove(path).await) }.boxed(),
            FromPage::Done {} | FromPage::Stop {} => return,
        };
        // Its last answer goes where those before it went, so that it comes behind them.
        let place = self.place.clone();
        let work = async move {
            place.say(n, work.await).await;
        };
        self.work.push(work.boxed());
    }
}

fn did<T>(result: Result<T, Error>) -> Answer {
    match result {
        Ok(_) => Answer::Did {},
        Err(fault) => Answer::Failed { words: in_words(&fault) },
    }
}

/// What the target, or the gate in its place, answers: in words for the technician.
fn in_words(fault: &Error) -> String {
    match fault {
        Error::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => "there is no such file or folder, or it may not be seen".to_owned(),
            _ if status.error_message.is_empty() => "it was refused".to_owned(),
            _ => format!("it was refused: {}", recordings::words::Words::from(status.error_message.as_str())),
        },
        Error::Timeout => "nothing was answered".to_owned(),
        Error::IO(_) | Error::Limited(_) | Error::UnexpectedPacket | Error::UnexpectedBehavior(_) => {
            "the machine answered with what means nothing here, or is gone".to_owned()
        }
    }
}

impl Place {
    /// Says how far something is. Whether there is somebody to be told.
    async fn say(&self, n: u32, what: Answer) -> bool {
        self.said.send(Answered { n, what }).await.is_ok()
    }

    async fn list(&self, n: u32, path: String) -> Answer {
        match self.entries(n, path).await {
            Ok(listed) => listed,
            Err(fault) => Answer::Failed { words: in_words(&fault) },
        }
    }

    /// Handed on as it comes: of a folder that a target makes up, little is ever kept.
    async fn entries(&self, n: u32, path: String) -> Result<Answer, Error> {
        let named = self.sftp.realpath(path.clone()).await?;
        let path = named.files.into_iter().next().map_or(path, |file| file.filename);
        let handle = self.sftp.opendir(path.as_str()).await?.handle;
        let (mut count, mut part) = (0, Part::default());
        let more = loop {
            let some = match self.sftp.readdir(handle.as_str()).await {
                Ok(some) if some.files.is_empty() => break Ok(false),
                Ok(some) => some.files,
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break Ok(false),
                Err(fault) => break Err(fault),
            };
            for file in some {
                count += 1;
                if let Some(full) = part.push(Entry::of(file.filename, &file.attrs)) {
                    self.say(n, Answer::Part { entries: full }).await;
                }
            }
            if count >= ENTRIES_MAX {
                break Ok(true);
            }
        };
        self.sftp.close(handle).await?;
        let more = more? || part.left_out;
        self.say(n, Answer::Part { entries: part.entries }).await;
        Ok(Answer::Listed { path, more })
    }
}

/// What goes into one message.
#[derive(Default)]
struct Part {
    entries: Vec<Entry>,
    bytes: usize,
    /// A name was too long to be one.
    left_out: bool,
}

impl Part {
    /// Gives what was there before, where this is too much for one message.
    fn push(&mut self, entry: Option<Entry>) -> Option<Vec<Entry>> {
        let entry = entry?;
        if entry.name.len() > NAME_BYTES_MAX {
            self.left_out = true;
            return None;
        }
        self.bytes += entry.name.len() + ENTRY_BYTES;
        let is_full = self.bytes > PART_BYTES;
        let full = is_full.then(|| std::mem::take(&mut self.entries));
        if is_full {
            self.bytes = entry.name.len() + ENTRY_BYTES;
        }
        self.entries.push(entry);
        full
    }
}

impl Entry {
    fn of(name: String, attributes: &FileAttributes) -> Option<Self> {
        let is_itself = matches!(name.as_str(), "." | ".." | "");
        let kind = match attributes {
            folder if folder.is_dir() => Kind::Folder,
            link if link.is_symlink() => Kind::Link,
            file if file.is_regular() => Kind::File,
            _ => Kind::Other,
        };
        (!is_itself).then_some(Self { name, kind, size: attributes.size, modified: attributes.mtime })
    }
}
