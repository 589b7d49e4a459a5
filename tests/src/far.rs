//! A database that is far away: a socket in a folder of its own, behind which every byte takes its time, either way. What would cost
//! ways there that nobody needs is counted.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What a server's socket is called, whose port is 5432.
const SOCKET: &str = ".s.PGSQL.5432";

/// The way there. Once it is dropped nothing new goes over it.
pub struct Far {
    folder: tempfile::TempDir,
    prepared: Prepared,
}

/// Statements, and how often each was prepared over one connection at the most.
type Prepared = Arc<Mutex<HashMap<String, usize>>>;

impl Far {
    /// To the server whose socket is in this folder; a byte takes so long one way.
    pub fn new(server: &Path, one_way: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("a socket");
        let (server, here) = (server.join(SOCKET), folder.path().to_owned());
        let prepared = Prepared::default();
        let counts = Arc::clone(&prepared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let joins = |client| connection(client, &server, one_way, Arc::clone(&counts));
                if !here.exists() || client.and_then(joins).is_err() {
                    break;
                }
            }
        });
        Self { folder, prepared }
    }

    /// The statements that servers were asked over it to prepare, and how often over one connection at the most. Each costs a way there
    /// and back.
    pub fn prepared(&self) -> HashMap<String, usize> {
        self.prepared.lock().expect("nobody panics with it").clone()
    }

    /// The folder that stands for the server's.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

fn connection(client: UnixStream, server: &Path, one_way: Duration, prepared: Prepared) -> io::Result<()> {
    let server = UnixStream::connect(server)?;
    let mut asked = Asked::default();
    carry(client.try_clone()?, server.try_clone()?, one_way, move |bytes| asked.note(bytes, &prepared));
    carry(server, client, one_way, |_| {});
    Ok(())
}

/// What a client asked on one connection.
#[derive(Default)]
struct Asked {
    /// Of a message that is not whole yet.
    begun: Vec<u8>,
    has_said_who: bool,
    prepared: HashMap<String, usize>,
}

impl Asked {
    /// PostgreSQL's messages, in the clear as over a socket: a letter, but for the first, then the length of the rest with itself.
    fn note(&mut self, bytes: &[u8], prepared: &Prepared) {
        self.begun.extend_from_slice(bytes);
        loop {
            let letters = usize::from(self.has_said_who);
            let Some(length) = self.begun.get(letters..).and_then(|rest| rest.first_chunk()) else { return };
            let whole = letters + u32::from_be_bytes(*length) as usize;
            if self.begun.len() < whole {
                return;
            }
            let message: Vec<u8> = self.begun.drain(..whole).collect();
            if self.has_said_who && message[0] == b'P' {
                // Behind the name that the client gives it.
                let statement = message[5..].split(|byte| *byte == 0).nth(1).unwrap_or_default();
                let statement = String::from_utf8_lossy(statement).into_owned();
                let times = self.prepared.entry(statement.clone()).or_default();
                *times += 1;
                let mut prepared = prepared.lock().expect("nobody panics with it");
                let most = prepared.entry(statement).or_default();
                *most = (*most).max(*times);
            }
            self.has_said_who = true;
        }
    }
}

/// Carries bytes one way; they are noted when they set out.
fn carry(mut from: UnixStream, mut to: UnixStream, one_way: Duration, mut note: impl FnMut(&[u8]) + Send + 'static) {
    let (sets_out, under_way) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            note(&bytes[..read]);
            if sets_out.send((Instant::now() + one_way, bytes[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (arrives, bytes) in under_way {
            thread::sleep(arrives.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other end may have gone first.
        to.shutdown(Shutdown::Both).ok();
    });
}
