//! `holdpoint connect` as a technician runs it, and a gate whose vendor face has one port.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::{Plant, Running, holdpoint, start};

/// `connect`, and what it has said so far in lines of JSON.
pub struct Connecting(pub Running);

impl Connecting {
    /// Starts it with these arguments.
    pub fn start(plant: &Plant, who: &str, arguments: &[&str]) -> Self {
        Self(start(&mut plant.as_person(who, &[&["connect", "--json"], arguments].concat())))
    }

    /// Waits for this to happen.
    #[track_caller]
    pub fn until(&mut self, event: &str) -> Value {
        let wanted = format!("\"event\":\"{event}\"");
        let said = self.0.until(&wanted);
        let line = said.lines().rfind(|line| line.contains(&wanted)).expect("it was said");
        serde_json::from_str(line).expect("a line of JSON")
    }

    /// Where the first service listens.
    #[track_caller]
    pub fn port(&mut self) -> SocketAddr {
        self.until("open")["listen"].as_str().expect("an address").parse().expect("an address")
    }
}

/// What comes back of `said` by a connection to `at`; nothing where it is closed.
pub fn echoed(at: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(at).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let mut back = vec![0; said.len()];
    let went = socket.write_all(said).and_then(|()| socket.read_exact(&mut back));
    went.map(|()| back).unwrap_or_default()
}

/// SSH, TLS and pages on one port.
pub fn on_one_port(plant: &Plant) {
    listen_at(plant, "127.0.0.1:0");
}

/// The same, on the very port that the origin names: proxies that open TLS go by that. The address is none of any other
/// plant's.
pub fn on_the_port_of_its_origin(plant: &Plant) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let [high, low] = free.to_be_bytes();
    listen_at(plant, &format!("127.77.{high}.{low}:8443"));
}

fn listen_at(plant: &Plant, address: &str) {
    plant.edit_config(|text| {
        let lines = text.lines().filter(|line| !line.starts_with("pages = "));
        let listen = format!("listen = [\"{address}\"]");
        let lines = lines.map(|line| if line.starts_with("ssh = ") { &*listen } else { line });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    });
}

/// The grant at a target.
#[track_caller]
pub fn request_at(plant: &Plant, target: &str) -> String {
    let told = holdpoint(plant, "lee", &["requests", "--json"]).ok().out();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let all = told["requests"].as_array().expect("a list");
    let one = all.iter().find(|one| one["covered"]["target"] == target || one["target"] == target);
    one.unwrap_or_else(|| panic!("nothing at {target}: {told}"))["request"].as_str().expect("an id").to_owned()
}

/// What the journal says, as its files hold it.
pub fn journal(plant: &Plant) -> String {
    let mut text = String::new();
    let mut folders = vec![plant.data().join("journal")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                text.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()));
            }
        }
    }
    text
}
