//! A network of a server's own, with a cable from this machine for each node. Cables are cut or lose what they carry, and neither end
//! is told: what a wall between two sites does, and no proxy that takes every byte before it holds it back.

use std::net::{IpAddr, Ipv4Addr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use crate::process::run;

/// What becomes of whatever a cable carries, either way.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    /// All of it is lost.
    Silence,
    /// So many of a hundred packets are.
    Loss(u8),
}

/// A namespace of the kernel's; gone with the value, once nobody runs in it any more.
pub struct Network {
    name: String,
    number: u8,
    cables: usize,
    /// Whoever has it has the number.
    _held: UnixListener,
}

/// Nobody lays more.
const CABLES_MAX: usize = 4;

/// A number for as long as this process lives, if nobody has it.
fn hold(number: u8) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("holdpoint-network-{number}")).expect("a short name");
    UnixListener::bind_addr(&name).ok()
}

impl Network {
    /// With so many cables. `None`, and said, where nobody may make one.
    pub fn new(cables: usize) -> Option<Self> {
        if [["ip", "-V"], ["nft", "-v"]].iter().any(|[tool, asked]| Command::new(tool).arg(asked).output().is_err()) {
            println!("SKIPPED: ip and nft (Debian: iproute2, nftables) are not installed");
            return None;
        }
        assert!(cables <= CABLES_MAX, "what a killed test leaves would not all be found");
        let network = Self::make(cables);
        if network.is_none() {
            println!("SKIPPED: the system lets nobody have a network of their own (ip netns)");
        }
        network
    }

    fn make(cables: usize) -> Option<Self> {
        // Whichever nobody has, of the addresses that are kept for tests (RFC 2544).
        let (number, held) = (0..=u8::MAX).find_map(|number| Some((number, hold(number)?)))?;
        let network = Self { name: format!("holdpoint-{number}"), number, cables, _held: held };
        let ip = |arguments: [&str; 3]| run(Command::new("ip").args(arguments), b"");
        // What a test left that was killed, whose server may run on.
        ip(["netns", "del", &network.name]);
        (0..CABLES_MAX).for_each(|cable| drop(ip(["link", "del", &network.end_here(cable)])));
        if !ip(["netns", "add", &network.name]).status.success() {
            return None;
        }
        (0..cables).for_each(|cable| network.lay(cable));
        Some(network)
    }

    fn lay(&self, cable: usize) {
        let (name, [ours, theirs]) = (&self.name, self.ends(cable));
        let (here, there) = (self.end_here(cable), format!("cable{cable}"));
        for line in [
            format!("link add {here} type veth peer name {there} netns {name}"),
            format!("addr add {ours}/30 dev {here}"),
            format!("link set {here} up"),
            format!("-n {name} addr add {theirs}/30 dev {there}"),
            format!("-n {name} link set {there} up"),
        ] {
            run(Command::new("ip").args(line.split(' ')), b"").ok();
        }
    }

    fn end_here(&self, cable: usize) -> String {
        format!("hp{}c{cable}", self.number)
    }

    fn ends(&self, cable: usize) -> [Ipv4Addr; 2] {
        [1, 2].map(|end| Ipv4Addr::new(198, 18, self.number, u8::try_from(4 * cable + end).expect("few cables")))
    }

    /// What the system calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the server is reached over this cable.
    pub fn address(&self, cable: usize) -> IpAddr {
        self.ends(cable)[1].into()
    }

    /// Where it is reached, over all of them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        (0..self.cables).map(|cable| self.address(cable)).collect()
    }

    /// From now on the cable does this to what it carries.
    pub fn harm(&self, cable: usize, harm: Harm) {
        let drop = match harm {
            Harm::Silence => "drop".to_owned(),
            Harm::Loss(percent) => format!("numgen random mod 100 < {percent} drop"),
        };
        self.rules(&format!(
            "table inet harm{cable} {{
                chain in {{ type filter hook input priority 0; iifname \"cable{cable}\" {drop}; }}
                chain out {{ type filter hook output priority 0; oifname \"cable{cable}\" {drop}; }}
            }}"
        ));
    }

    /// It carries all again.
    pub fn heal(&self, cable: usize) {
        self.rules(&format!("delete table inet harm{cable}"));
    }

    fn rules(&self, rules: &str) {
        run(Command::new("ip").args(["netns", "exec", &self.name, "nft", "-f", "-"]), rules.as_bytes()).ok();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run(Command::new("ip").args(["netns", "del", &self.name]), b"");
    }
}
