//! Terminals in a browser: a key and its echo through a page's WebSocket beside those by SSH, and what the gate holds for many of
//! them. What the browser itself takes to draw is not in it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::time::Seconds;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tests::browser::Browser;
use tests::person::GATE;
use tests::plant::EVERYTHING;
use tests::{Options, Plant, log_in, passkey_code, text};

use crate::{Typist, median, percentiles, sockets};

/// How much of everything.
pub(crate) struct Size {
    pub(crate) keys: usize,
    pub(crate) terminals: usize,
}

/// A source may ask 20 times a second; a terminal asks twice.
const BETWEEN: Duration = Duration::from_millis(120);

pub(crate) fn measure(size: &Size) {
    let rule = "idle = \"4h\"\nfactor_lasts = \"24h\"\nconnections = 1000".to_owned();
    let mut plant = Plant::enrolled(Options { rule, ..Options::default() });
    let grant = plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(4 * 3_600)).to_string();
    plant.serve();
    log_in(&plant, "tess");
    let Some(mut browser) = Browser::of_a_technician(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("tess", &passkey_code(&plant, "tess"));
    browser.signs_in();
    let mut pages = Pages {
        config: crate::tcp::client(&plant.tess().path("../../ca.pem"), None),
        browser,
        grant,
        took: Vec::new(),
    };
    echo(&plant, &mut pages, size.keys);
    memory(&mut plant, &mut pages, size.terminals);
}

/// By the same key, in turns.
fn echo(plant: &Plant, pages: &mut Pages, keys: usize) {
    println!("\nbrowser: {keys} keys on a terminal, and by SSH");
    let mut ssh = Typist::start(plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2"), Typist::COMMAND]));
    let mut page = pages.open(plant);
    ssh.ready();
    page.ready();
    let mut waits = [Vec::new(), Vec::new()];
    for _ in 0..keys {
        waits[0].push(ssh.echo().as_secs_f64() * 1000.0);
        waits[1].push(page.echo().as_secs_f64() * 1000.0);
        std::thread::sleep(Duration::from_millis(5));
    }
    let by_ssh = percentiles(&waits[0]);
    for (name, waits) in ["Holdpoint tess+hmi-2@", "a page's WebSocket"].iter().zip(&waits) {
        let (p50, p99) = percentiles(waits);
        let more = p50 - by_ssh.0;
        println!("  {name:<24} p50 {p50:>6.2} ms ({more:+.2})   p99 {p99:>6.2} ms");
    }
}

fn memory(plant: &mut Plant, pages: &mut Pages, terminals: usize) {
    let alone = sockets(plant.gate().id());
    let open = |plant: &Plant, pages: &mut Pages, count: usize| -> Vec<Terminal> {
        let mut all: Vec<_> = (0..count).map(|_| pages.open(plant)).collect();
        all.iter_mut().for_each(Terminal::ready);
        all
    };
    drop(open(plant, pages, 10));
    tests::eventually("terminals end", || sockets(plant.gate().id()) <= alone + 2);
    std::thread::sleep(Duration::from_secs(2));
    let before = plant.memory();
    let all = open(plant, pages, terminals);
    std::thread::sleep(Duration::from_secs(10));
    let grown = plant.memory().saturating_sub(before);
    drop(all);
    tests::eventually("terminals end", || sockets(plant.gate().id()) <= alone + 2);
    std::thread::sleep(Duration::from_secs(2));
    let kept = plant.memory().saturating_sub(before);
    println!("\nbrowser: {terminals} idle terminals on pages");
    println!("  {} KiB a terminal, {} KiB kept after close", grown / terminals as u64 / 1024, kept / 1024);
    let asked = median(pages.took.drain(..));
    println!("  {asked:.0} ms from the button to a terminal that is open");
}

/// Whoever is signed in, and opens terminals.
struct Pages {
    config: Arc<ClientConfig>,
    browser: Browser,
    grant: String,
    took: Vec<f64>,
}

impl Pages {
    fn open(&mut self, plant: &Plant) -> Terminal {
        std::thread::sleep(BETWEEN);
        let began = Instant::now();
        let script = format!(
            "(async () => {{ const csrf = document.querySelector('input[name=csrf]').value; \
             const body = new URLSearchParams({{ csrf, pane: 'terminal', service: 'ssh' }}); \
             const page = await fetch('/requests/{}/open', {{ method: 'POST', body }}); \
             return /data-ticket=\"([0-9a-f]+)\"/.exec(await page.text())[1]; }})()",
            self.grant
        );
        let ticket = text(&self.browser.evaluate(&script));
        let socket = TcpStream::connect(plant.faces.pages[0]).expect("the face listens");
        socket.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from(GATE).expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).expect("settings that fit");
        let mut terminal = Terminal { stream: StreamOwned::new(connection, socket), unread: Vec::new() };
        terminal.upgrade(&self.browser.cookie(), &ticket);
        self.took.push(began.elapsed().as_secs_f64() * 1000.0);
        terminal
    }
}

/// A terminal's WebSocket (RFC 6455), as a page has it.
struct Terminal {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Of the terminal's bytes.
    unread: Vec<u8>,
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Terminal {
    fn upgrade(&mut self, cookie: &str, ticket: &str) {
        let head = format!(
            "GET /sitting HTTP/1.1\r\nHost: {GATE}:8443\r\nOrigin: https://{GATE}:8443\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\
             Sec-WebSocket-Protocol: holdpoint-sitting, {ticket}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).expect("it stands");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.byte());
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        self.send(TEXT, br#"{"size":{"columns":80,"rows":24}}"#);
        while self.message().0 != TEXT {}
    }

    fn ready(&mut self) {
        self.send(BINARY, format!("{}\r", Typist::COMMAND).as_bytes());
        self.until(|shown| shown.ends_with(b"ready\n"));
        self.unread.clear();
    }

    fn echo(&mut self) -> Duration {
        let began = Instant::now();
        self.send(BINARY, b"k");
        self.until(|shown| !shown.is_empty());
        self.unread.clear();
        began.elapsed()
    }

    fn until(&mut self, holds: impl Fn(&[u8]) -> bool) {
        while !holds(&self.unread) {
            match self.message() {
                (BINARY, bytes) => self.unread.extend(bytes),
                (PING, _) => self.send(PONG, b""),
                _ => {}
            }
        }
    }

    /// A client's frames are masked (5.3): here by nothing, which is a mask too.
    fn send(&mut self, kind: u8, bytes: &[u8]) {
        let length = u8::try_from(bytes.len()).expect("it is short");
        assert!(length < 126, "it is short");
        let frame = [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], bytes].concat();
        self.stream.write_all(&frame).and_then(|()| self.stream.flush()).expect("it stands");
    }

    fn message(&mut self) -> (u8, Vec<u8>) {
        let [kind, length] = [self.byte() & 0x0f, self.byte()];
        let length = match length {
            126 => usize::from(u16::from_be_bytes([self.byte(), self.byte()])),
            127 => panic!("the gate's messages are shorter"),
            short => usize::from(short),
        };
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("it stands");
        (kind, bytes)
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).expect("it stands");
        byte[0]
    }
}
