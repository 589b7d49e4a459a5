//! What the small gate records to: memory, which is durable at once, or a real record log on the disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use proxy::relay::{Line, Recorder};
use recordings::disk::{RealDisk, RealMachine};
use recordings::fault::StoreFault;
use recordings::frame::Stream;
use recordings::keys::Recipients;
use recordings::log::{Log, LogOptions, Purpose};
use recordings::notes::Note;
use recordings::session::{self, Opening, SessionWriter};
use recordings::sim::SimSigner;
use tokio::sync::watch;

/// A recorder that counts what it is given, and keeps the first notes.
pub(crate) struct Tape {
    totals: Mutex<HashMap<&'static str, Arc<AtomicU64>>>,
    notes: Mutex<Vec<String>>,
    /// While it is true, no entry of the file ledger becomes durable.
    pub(crate) held: watch::Sender<bool>,
    disk: Option<(SessionWriter, Log)>,
}

impl Tape {
    /// In memory, or in a new log in `folder`.
    pub(crate) async fn new(folder: Option<&Path>) -> Self {
        let disk = match folder {
            Some(folder) => Some(open_session(folder).await),
            None => None,
        };
        Self { totals: Mutex::default(), notes: Mutex::default(), held: watch::Sender::new(false), disk }
    }

    /// Bytes of each stream, then the notes.
    pub(crate) fn told(&self) -> String {
        let totals = self.totals.lock().unwrap();
        let mut words: Vec<String> =
            totals.iter().map(|(stream, total)| format!("{stream}={}", total.load(Ordering::Relaxed))).collect();
        words.sort();
        words.extend(self.notes.lock().unwrap().iter().cloned());
        words.join(" ")
    }
}

async fn open_session(folder: &Path) -> (SessionWriter, Log) {
    const AUDITORS: [&str; 2] = [
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg",
    ];
    let options = LogOptions {
        file_systems_allowed: ["overlayfs", "tmpfs", "btrfs", "zfs"].map(String::from).to_vec(),
        ..LogOptions::new(Purpose::Records, "flow/records/node-1", "node-1".parse().unwrap())
    };
    let signer = Arc::new(SimSigner::new(1));
    let (log, _) = Log::open(Arc::new(RealDisk), Arc::new(RealMachine), folder, options, signer).unwrap();
    let opening = Opening {
        recording: "s_01jd0000000000000000000000".parse().unwrap(),
        metadata: b"{}".to_vec(),
        key_file: Recipients::parse(AUDITORS).unwrap().new_key_file(&RealMachine),
    };
    let session = log.open_session(opening).await.unwrap();
    (session, log)
}

impl Recorder for Tape {
    type Line = TapeLine;

    fn line(&self, stream: Stream, channel: u32) -> TapeLine {
        let name = match stream {
            Stream::In => "in",
            Stream::Out => "out",
            Stream::OutErr => "err",
            _ => "gate",
        };
        let total = Arc::clone(self.totals.lock().unwrap().entry(name).or_default());
        TapeLine { total, disk: self.disk.as_ref().map(|(session, _)| session.line(stream, channel)) }
    }

    fn note(&self, channel: u32, note: &Note) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
        const NOTES_MAX: usize = 1000;
        let noting = self.disk.as_ref().map(|(session, _)| Recorder::note(session, channel, note));
        let mut notes = self.notes.lock().unwrap();
        if notes.len() < NOTES_MAX {
            notes.push(String::from_utf8(note.encode()).unwrap());
        }
        let mut held = matches!(note, Note::FileEntry(_)).then(|| self.held.subscribe());
        async move {
            if let Some(held) = &mut held {
                drop(held.wait_for(|held| !held).await);
            }
            match noting {
                Some(noting) => noting.await,
                None => Ok(()),
            }
        }
    }
}

pub(crate) struct TapeLine {
    total: Arc<AtomicU64>,
    disk: Option<session::Line>,
}

impl Line for TapeLine {
    fn submit(&self, bytes: Bytes) -> Result<u64, StoreFault> {
        self.total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.disk.as_ref().map_or(Ok(0), |line| line.submit(bytes))
    }

    fn poll_durable(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), StoreFault>> {
        self.disk.as_ref().map_or(Poll::Ready(Ok(())), |line| line.poll_durable(cx, position))
    }
}
