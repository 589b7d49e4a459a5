//! Programs of other people that stand for a machine or a technician's tool.

use std::net::TcpListener;
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

    /// A program on it.
    pub fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("DISPLAY", &self.name).env("LC_ALL", "C");
        command
    }
}
