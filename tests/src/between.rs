//! A gate between a real client and a real server of its protocol, without the rest of the program: what the gate makes of
//! their bytes is passed on as it says. Nothing is recorded and nobody was asked; only the stacks at both ends judge.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use policies::actions::{Action, Actions};
use proxy::gates::{End, Gate, Judge, Need, Passed, Piece, Verdict};

/// How long a read waits before the gate is asked what is due.
const BEAT: Duration = Duration::from_millis(20);

/// Listens on loopback until it is dropped.
pub struct Between {
    /// Where clients connect to.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    granted: Granted,
    gate: Box<dyn Fn() -> Box<dyn Gate> + Send + Sync>,
    over: AtomicBool,
    told: Mutex<Told>,
}

/// What the gates said.
#[derive(Default, Clone)]
pub struct Told {
    /// In order.
    pub verdicts: Vec<Verdict>,
    /// Why connections were ended.
    pub ends: Vec<End>,
    /// How many connections there were.
    pub connections: usize,
}

struct Granted(Actions);

impl Judge for Granted {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        let may = match need {
            Need::All(actions) => actions.iter().all(|action| self.0.contains(action)),
            Need::Sight => self.0.contains(&Action::Observe),
            Need::MoreThanObserve => self.0.iter().any(|action| *action > Action::Observe),
            Need::Unknown => false,
        };
        if may { Ok(()) } else { Err("it was not granted; ask for it".to_owned()) }
    }
}

impl Between {
    /// In front of a target on this port, with these actions granted; each connection has a gate of its own.
    pub fn new(target_port: u16, granted: &[Action], gate: impl Fn() -> Box<dyn Gate> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener can be asked");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target: SocketAddr::from(([127, 0, 0, 1], target_port)),
            granted: Granted(granted.iter().copied().collect()),
            gate: Box::new(gate),
            over: AtomicBool::new(false),
            told: Mutex::default(),
        });
        let listening = thread::spawn({
            let shared = shared.clone();
            move || shared.listen(&listener)
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// What the gates said so far.
    pub fn told(&self) -> Told {
        self.shared.told.lock().expect("nobody panics with it").clone()
    }

    /// The lines for people.
    pub fn lines(&self) -> Vec<String> {
        self.told().verdicts.into_iter().map(|verdict| verdict.words).collect()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let ended = self.listening.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "a connection failed");
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        let mut connections = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let Ok((client, _)) = listener.accept() else {
                thread::sleep(BEAT);
                continue;
            };
            let shared = self.clone();
            connections.push(thread::spawn(move || shared.connection(&client)));
        }
        for connection in connections {
            connection.join().expect("a connection ends well");
        }
    }

    fn connection(&self, client: &TcpStream) {
        self.told.lock().expect("nobody panics with it").connections += 1;
        client.set_nonblocking(false).expect("a socket");
        let target = TcpStream::connect(self.target).expect("the target listens");
        let ends = Ends { client, target: &target, gate: Mutex::new((self.gate)()), shared: self };
        thread::scope(|scope| {
            scope.spawn(|| ends.pump(client, |gate, bytes, now| gate.upward(bytes, &self.granted, now)));
            scope.spawn(|| ends.pump(&target, |gate, bytes, now| gate.downward(bytes, now)));
        });
    }
}

struct Ends<'a> {
    client: &'a TcpStream,
    target: &'a TcpStream,
    gate: Mutex<Box<dyn Gate>>,
    shared: &'a Shared,
}

impl Ends<'_> {
    fn pump(&self, mut from: &TcpStream, feed: impl Fn(&mut dyn Gate, Bytes, Instant) -> Passed) {
        from.set_read_timeout(Some(BEAT)).expect("a socket has a timeout");
        let mut buffer = [0; 4096];
        while !self.shared.over.load(Ordering::Relaxed) {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => Some(Bytes::copy_from_slice(&buffer[..read])),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    None
                }
                Err(_) => break,
            };
            // One at a time: what goes to an end goes there in the gate's order.
            let mut gate = self.gate.lock().expect("nobody panics with it");
            let now = Instant::now();
            let passed = match read {
                Some(bytes) => feed(gate.as_mut(), bytes, now),
                None if gate.due().is_some_and(|due| due <= now) => gate.pass_time(now),
                None => continue,
            };
            if !self.carry_out(passed) {
                break;
            }
        }
        for end in [self.client, self.target] {
            // It may be gone already.
            end.shutdown(Shutdown::Both).ok();
        }
    }

    fn carry_out(&self, passed: Passed) -> bool {
        let send =
            |mut to: &TcpStream, pieces: Vec<Piece>| pieces.iter().all(|piece| to.write_all(piece.sent()).is_ok());
        let mut told = self.shared.told.lock().expect("nobody panics with it");
        told.verdicts.extend(passed.verdicts);
        let ended = passed.end.is_some();
        told.ends.extend(passed.end);
        drop(told);
        send(self.target, passed.to_target) && send(self.client, passed.to_technician) && !ended
    }
}
