//! A vendor's proxy that opens TLS, as companies run them: squid with a CA of its own, which wants a name and a password.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::person::GATE;
use crate::{Plant, Running, eventually, run, start};

/// The proxy. It shows everybody certificates of its own CA, and trusts the gate's.
pub struct Opening {
    squid: Option<Running>,
    folder: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Opening {
    /// Starts it. It takes `tess` with the password `s3cret`, and reaches the gate of this plant alone.
    pub fn before(plant: &Plant) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        open_to_all(folder.path());
        let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Acme proxy' \
                    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
                    -keyout ca.key -out ca.crt && cat ca.crt ca.key > ca.pem \
                    && /usr/lib/squid/security_file_certgen -c -s $PWD/made -M 4MB \
                    && printf 'tess:%s\\n' $(openssl passwd -apr1 s3cret) > people && chmod -R a+rwX .";
        run(Command::new("sh").current_dir(folder.path()).args(["-c", make]), b"").ok();
        fs::copy(plant.tess().path("../../ca.pem"), at("gate.pem")).expect("a file");
        fs::write(at("hosts"), format!("{} {GATE}\n", plant.faces.pages[0].ip())).expect("a file");
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let here = folder.path().display();
        let config = format!(
            "http_port {address} ssl-bump tls-cert={here}/ca.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
             sslcrtd_program /usr/lib/squid/security_file_certgen -s {here}/made -M 4MB\n\
             sslcrtd_children 1 startup=1 idle=1\n\
             tls_outgoing_options cafile={here}/gate.pem\nhosts_file {here}/hosts\n\
             acl first at_step SslBump1\nssl_bump peek first\nssl_bump bump all\n\
             auth_param basic program /usr/lib/squid/basic_ncsa_auth {here}/people\n\
             auth_param basic children 1\n\
             acl known proxy_auth REQUIRED\nacl gate port {}\nacl CONNECT method CONNECT\n\
             http_access deny CONNECT !gate\nhttp_access allow known\nhttp_access deny all\n\
             http_upgrade_request_protocols websocket allow all\n\
             cache deny all\npid_filename none\ncache_effective_user proxy\nshutdown_lifetime 0 seconds\n\
             access_log stdio:{here}/access.log\ncache_log {here}/cache.log\ncoredump_dir {here}\n",
            plant.faces.pages[0].port()
        );
        fs::write(at("squid.conf"), config).expect("a file");
        let name = format!("holdpoint{}", address.port());
        let squid = start(Command::new("/usr/sbin/squid").args(["-N", "-n", &name, "-f"]).arg(at("squid.conf")));
        eventually("the proxy listens", || TcpStream::connect(address).is_ok());
        Self { squid: Some(squid), folder, address }
    }

    /// What `connect` is told of it, and whatever else.
    pub fn through(&self, more: &[&str]) -> Vec<String> {
        let password = self.folder.path().join("password");
        fs::write(&password, "s3cret\n").expect("a file");
        let own = ["--proxy", &format!("http://tess@{}", self.address), "--proxy-password"].map(str::to_owned);
        let more = more.iter().map(|one| (*one).to_owned());
        own.into_iter().chain([password.display().to_string()]).chain(more).collect()
    }

    /// Its CA's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// What it noted of the requests that it read.
    pub fn read(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }
}

/// Squid is another account's where it is started by root.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

impl Drop for Opening {
    fn drop(&mut self) {
        // Killed, it would leave its shared memory behind.
        println!("the proxy noted:\n{}", self.read());
        let Some(mut squid) = self.squid.take() else { return };
        squid.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !squid.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
