//! A machine that speaks telnet: Debian's `telnetd` on loopback, with a login of its own making, so that no account of the
//! system's is needed.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::process::kill_all;

/// The account that is let in.
pub const USER: &str = "maint";
/// Its password.
pub const PASSWORD: &str = "rivet-anchor-41";

/// A telnet server. Each connection has a server process of its own, as `inetd` would start it.
pub struct Telnetd {
    address: SocketAddr,
    folder: PathBuf,
    served: Arc<Mutex<Vec<Child>>>,
    stops: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Telnetd {
    /// One that asks for name and password, and gives whoever is let in a shell with the prompt `switch# `.
    pub fn start(folder: &Path) -> Self {
        Self::with_login(
            folder,
            "printf 'switch-3 login: '; read -r user; stty -echo; printf 'Password: '; read -r secret; stty echo; echo",
        )
    }

    /// One whose login is this script of `bash`, which sets `user` and `secret`.
    pub fn with_login(folder: &Path, asks: &str) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let login = folder.join("login");
        let script = format!(
            "#!/bin/bash\ncd {folder} || exit\nwhile :; do\n{asks}\necho \"$user\" >> asked\n\
             if [ \"$user $secret\" = '{USER} {PASSWORD}' ]; then PS1='switch# ' exec bash --norc --noprofile -i; fi\n\
             echo 'Login incorrect'\ndone\n",
            folder = folder.display()
        );
        fs::write(&login, script).expect("a file");
        fs::set_permissions(&login, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let (served, stops) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let listening = {
            let (served, stops) = (Arc::clone(&served), Arc::clone(&stops));
            thread::spawn(move || {
                while let Ok((socket, _)) = listener.accept() {
                    if stops.load(Ordering::SeqCst) {
                        break;
                    }
                    served.lock().expect("nobody panics with it").push(serve(&socket, &login));
                }
            })
        };
        Self { address, folder: folder.to_owned(), served, stops, listening: Some(listening) }
    }

    /// A plant file's lines for it, as `switch-3` in the zone of the others, with more keys for the service.
    pub fn in_a_plant_file(&self, keys: &str) -> String {
        in_a_plant_file(self.address, keys)
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Takes no further connection.
    pub fn stop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        // Wakes whoever waits for the next connection.
        drop(TcpStream::connect(self.address));
        if let Some(listening) = self.listening.take() {
            listening.join().ok();
        }
    }

    /// Whether it serves nobody: every server process has ended by itself.
    pub fn is_idle(&self) -> bool {
        let mut served = self.served.lock().expect("nobody panics with it");
        served.iter_mut().all(|server| matches!(server.try_wait(), Ok(Some(_))))
    }

    /// The names that were given to it so far.
    pub fn asked(&self) -> String {
        fs::read_to_string(self.folder.join("asked")).unwrap_or_default()
    }

    /// A path in the folder in which its shells begin.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A plant file's lines for a machine that speaks telnet at this address, as `switch-3` in the zone of the others.
pub fn in_a_plant_file(address: SocketAddr, keys: &str) -> String {
    format!(
        "[targets.switch-3]\nzone = \"packaging\"\n[targets.switch-3.services.telnet]\nprotocol = \"telnet\"\n\
         address = \"{address}\"\n{keys}"
    )
}

fn serve(socket: &TcpStream, login: &Path) -> Child {
    let also = || Stdio::from(OwnedFd::from(socket.try_clone().expect("a descriptor")));
    let mut server = Command::new("/usr/sbin/telnetd");
    server.arg("-h").arg("-E").arg(login).stdin(also()).stdout(also()).stderr(Stdio::null());
    server.spawn().expect("telnetd, of Debian's inetutils-telnetd; tests/run installs it")
}

impl Drop for Telnetd {
    fn drop(&mut self) {
        self.stop();
        self.served.lock().expect("nobody panics with it").iter_mut().for_each(kill_all);
    }
}
