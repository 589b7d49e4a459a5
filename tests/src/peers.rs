//! Programs of other people that stand for a machine or a technician's tool.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::process::{Ended, Running, eventually, run, start};

/// A program of `tests/peers`. None where there is no Python for it.
pub fn peer(program: &str) -> Option<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut command = Command::new(crate::python()?);
    command.arg("-B").arg(folder.join(program)).current_dir(folder);
    Some(command)
}

/// A machine that says `port` and its number, and that port.
///
/// # Panics
/// It does not.
pub fn machine(mut command: Command) -> (Running, u16) {
    let machine = start(&mut command);
    let port = || machine.said().split("port ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    eventually("it says its port", || machine.said().contains('\n') && port().is_some());
    let port = port().expect("it was just there");
    (machine, port)
}

/// libmodbus's client, with addresses that count from 0.
pub fn mbpoll(port: u16, arguments: &[&str]) -> Ended {
    let port = port.to_string();
    run(Command::new("mbpoll").args(["-1", "-0", "-m", "tcp", "-p", &port]).args(arguments), b"")
}

/// A port of the loopback that nobody listens on.
///
/// # Panics
/// There is none.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

/// A window. It is there until this is dropped.
pub struct Painted {
    _server: UnixStream,
}

/// Opens a connection of X's own protocol, version 11: gives the first name for a window, and that of the root.
fn introduce(server: &mut UnixStream) -> ([u8; 4], [u8; 4]) {
    server.write_all(&[b'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0]).expect("the display listens");
    let mut head = [0; 8];
    server.read_exact(&mut head).expect("the display answers");
    assert_eq!(head[0], 1, "the display lets anybody in");
    let mut said = vec![0; 4 * usize::from(u16::from_le_bytes([head[6], head[7]]))];
    server.read_exact(&mut said).expect("the display says how it is");
    let four = |at: usize| said[at..at + 4].try_into().expect("four");
    let vendor_bytes = usize::from(u16::from_le_bytes([said[16], said[17]])).next_multiple_of(4);
    let formats_bytes = 8 * usize::from(said[21]);
    (four(4), four(32 + vendor_bytes + formats_bytes))
}

/// A display without a monitor.
pub struct Display {
    name: String,
    _server: Running,
}

impl Display {
    /// By Xvfb, of this size. It does not begin anew when the last program leaves it, because the next would find it shut.
    pub fn virtual_screen(size: &str) -> Self {
        Self::start(Command::new("Xvfb").args(["-screen", "0", size, "-nolisten", "tcp", "-noreset"]))
    }

    /// By an X server that may be anybody's.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(server: &mut Command) -> Self {
        let server = start(server.args(["-displayfd", "1", "-ac"]));
        let number = || server.said().lines().next().and_then(|line| line.parse::<u32>().ok());
        eventually("it says its number", || number().is_some());
        Self { name: format!(":{}", number().expect("it said so")), _server: server }
    }

    /// As X knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A window in one colour, on top of all others, for as long as it is held.
    ///
    /// # Panics
    /// The display takes none.
    pub fn paint(&self, colour: u32, place: [u16; 4]) -> Painted {
        let number = self.name.trim_start_matches(':');
        let mut server = UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).expect("the display is there");
        let (window, root) = introduce(&mut server);
        let [x, y, width, height] = place;
        let places = [x, y, width, height, 0, 0].map(u16::to_le_bytes).concat();
        // CreateWindow, as its parent is, with a background and no manager; then MapWindow.
        const BACKGROUND_AND_NO_MANAGER: u32 = 0x202;
        let create = [&[1, 0, 10, 0][..], &window, &root, &places, &[0; 4]].concat();
        let values = [BACKGROUND_AND_NO_MANAGER, colour, 1].map(u32::to_le_bytes).concat();
        let map = [&[8, 0, 2, 0][..], &window].concat();
        server.write_all(&[create, values, map].concat()).expect("the display takes it");
        Painted { _server: server }
    }

    /// A program on it.
    pub fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("DISPLAY", &self.name).env("LC_ALL", "C");
        command
    }
}
