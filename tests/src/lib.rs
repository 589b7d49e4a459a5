//! Holdpoint as a stranger meets it: the real program in a process of its own, in a plant of real parts on loopback, used
//! by real clients. What the crates promise each other inside one process is tested beside them, not here.
//!
//! The program is taken from beside the tests: `cargo test --workspace` builds it, `cargo build` does so by hand.

pub mod between;
pub mod browser;
pub mod ceph;
pub mod certificate;
pub mod commands;
pub mod connecting;
pub mod disk;
pub mod evidence;
pub mod faked;
pub mod far;
pub mod fuzz;
pub mod grown;
pub mod network;
pub mod office;
pub mod opening;
pub mod peers;
pub mod person;
pub mod plant;
pub mod power;
pub mod process;
pub mod scarce;
pub mod seized;
pub mod service;
pub mod syslogd;
pub mod target;
pub mod telnetd;
pub mod witness;

pub use between::Between;
pub use ceph::Ceph;
pub use commands::{holdpoint, json, log_in, passkey_code, recipient, text, worked};
pub use connecting::Connecting;
pub use disk::Disk;
pub use faked::Faked;
pub use far::Far;
pub use network::{Harm, Network};
pub use opening::Opening;
pub use person::Person;
pub use plant::{Options, Plant, names_in, ulid_of};
pub use process::{Ended, Running, eventually, run, start};
pub use seized::Seized;
pub use service::Echo;
pub use target::Target;

/// Whether the full counts are wanted, which take hours.
pub fn long_or<T>(long: T, short: T) -> T {
    if std::env::var_os("HOLDPOINT_LONG").is_some() { long } else { short }
}

/// The Python with the pinned tools of `tests/requirements.txt`, as `tests/run` makes it. Without it nothing is tested,
/// and that is said.
pub fn python() -> Option<String> {
    let python = std::env::var("HOLDPOINT_PYTHON").ok();
    if python.is_none() {
        println!("SKIPPED: HOLDPOINT_PYTHON does not name a Python with tests/requirements.txt");
    }
    python
}
