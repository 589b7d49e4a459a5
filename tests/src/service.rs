//! What speaks TCP at a target and says back what it hears.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// A service that says back what it hears, and tells how each of its connections ended.
pub struct Echo {
    /// Where it listens, on every address of the loopback, of which each machine has one.
    pub port: u16,
    /// How its connections ended: `FIN` or `RST`.
    pub ends: Receiver<&'static str>,
    heard: Arc<Mutex<Vec<u8>>>,
    met: Arc<AtomicUsize>,
}

impl Echo {
    /// Begins to listen.
    pub fn listen() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (told, ends) = mpsc::channel();
        let (heard, met) = (Arc::default(), Arc::<AtomicUsize>::default());
        let (ear, count) = (Arc::clone(&heard), Arc::clone(&met));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (told, ear) = (told.clone(), Arc::clone(&ear));
                thread::spawn(move || echo(socket, &told, &ear));
            }
        });
        Self { port, ends, heard, met }
    }

    /// How the next connection ends.
    pub fn next_end(&self) -> &'static str {
        self.ends.recv_timeout(Duration::from_secs(20)).expect("a connection ends")
    }

    /// What it heard so far, on all connections.
    pub fn heard(&self) -> MutexGuard<'_, Vec<u8>> {
        self.heard.lock().expect("nobody panics with it")
    }

    /// How often it was connected to.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

fn echo(mut socket: TcpStream, told: &Sender<&'static str>, ear: &Mutex<Vec<u8>>) {
    let mut piece = [0; 4096];
    let end = loop {
        let read = socket.read(&mut piece);
        ear.lock().expect("nobody panics with it").extend(&piece[..*read.as_ref().unwrap_or(&0)]);
        match read {
            Ok(0) => break "FIN",
            Ok(read) if socket.write_all(&piece[..read]).is_ok() => {}
            Ok(_) | Err(_) => break "RST",
        }
    };
    // Nobody listens once the test is over.
    let _ = told.send(end);
}
