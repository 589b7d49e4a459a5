//! rsyslog as the plant's own collector of logs: what it receives it writes to a file, each message as it came.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::certificate::self_signed;
use crate::peers::free_port;
use crate::process::{Running, eventually, start};

/// A collector on one port of the loopback.
pub struct Syslogd {
    folder: PathBuf,
    running: Option<Running>,
    how: &'static str,
    port: u16,
}

impl Syslogd {
    /// One that takes `tcp`, `tls` or `udp`; everything of it is in this folder.
    ///
    /// # Panics
    /// It does not start.
    pub fn of(folder: &Path, how: &'static str) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let port = free_port();
        let mut syslogd = Self { folder: folder.to_owned(), running: None, how, port };
        if how == "tls" {
            self_signed(folder, "localhost");
        }
        fs::write(folder.join("rsyslog.conf"), syslogd.settings()).expect("a file");
        syslogd.start();
        syslogd
    }

    fn settings(&self) -> String {
        let folder = self.folder.display();
        let (tls, module, input) = match self.how {
            "udp" => (String::new(), "module(load=\"imudp\")", "imudp"),
            "tls" => (
                format!(
                    "defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{folder}/cert.pem\" \
                     defaultNetstreamDriverCertFile=\"{folder}/cert.pem\" defaultNetstreamDriverKeyFile=\"{folder}/key.pem\""
                ),
                "module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")",
                "imtcp",
            ),
            _ => (String::new(), "module(load=\"imtcp\")", "imtcp"),
        };
        format!(
            "global(workDirectory=\"{folder}\" maxMessageSize=\"64k\" {tls})\n{module}\n\
             template(name=\"as-it-came\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{folder}/received\" template=\"as-it-came\") }}\n\
             input(type=\"{input}\" address=\"127.0.0.1\" port=\"{}\" ruleset=\"all\")\n",
            self.port
        )
    }

    /// Starts it where it was before.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        let (conf, pid) = (self.folder.join("rsyslog.conf"), self.folder.join("pid"));
        drop(fs::remove_file(&pid));
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.arg("-n").arg("-f").arg(conf).arg("-i").arg(&pid);
        self.running = Some(start(&mut command));
        let is_udp = self.how == "udp";
        eventually("rsyslog listens", || match is_udp {
            true => std::net::UdpSocket::bind(("127.0.0.1", self.port)).is_err(),
            false => std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
        });
    }

    /// Ends it without a word.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        running.signal(Signal::KILL);
        running.ends();
    }

    /// What the gate's configuration says of it.
    pub fn configured(&self) -> String {
        let (how, port) = (self.how, self.port);
        let ca = if how == "tls" { format!("ca = \"{}/cert.pem\"\n", self.folder.display()) } else { String::new() };
        format!("\n[[feed.syslog]]\nname = \"by-{how}\"\nto = \"{how}://localhost:{port}\"\n{ca}")
    }

    /// The messages that it has, in order.
    pub fn received(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("received")).unwrap_or_default();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}
