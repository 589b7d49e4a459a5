//! A database that is far away: a socket in a folder of its own, behind which every byte takes its time, either way.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a server's socket is called, whose port is 5432.
const SOCKET: &str = ".s.PGSQL.5432";

/// The way there. Once it is dropped nothing new goes over it.
pub struct Far {
    folder: tempfile::TempDir,
}

impl Far {
    /// To the server whose socket is in this folder; a byte takes so long one way.
    pub fn new(server: &Path, one_way: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("a socket");
        let (server, here) = (server.join(SOCKET), folder.path().to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                if !here.exists() || client.and_then(|client| connection(client, &server, one_way)).is_err() {
                    break;
                }
            }
        });
        Self { folder }
    }

    /// The folder that stands for the server's.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

fn connection(client: UnixStream, server: &Path, one_way: Duration) -> io::Result<()> {
    let server = UnixStream::connect(server)?;
    carry(client.try_clone()?, server.try_clone()?, one_way);
    carry(server, client, one_way);
    Ok(())
}

fn carry(mut from: UnixStream, mut to: UnixStream, one_way: Duration) {
    let (sets_out, under_way) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
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
