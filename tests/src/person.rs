//! Somebody with a key, an authenticator app and a folder of their own, in which stock clients find all they need and
//! nothing of the account that runs the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use approver::people::Enrolled;
use approver::testing::{Actor, new_key};
use certs::totp::TotpSecret;
use policies::ids::PersonId;
use ssh_key::{LineEnding, PrivateKey};

use crate::process::{Running, run};

/// How technicians name the gate.
pub const GATE: &str = "gate.mill3.example";
/// How the plant's own people name it.
pub const PLANT_FACE: &str = "holdpoint.mill3.example";

/// What `holdpoint login` gives a technician, beside the key.
pub const CERTIFICATE: &str = "key-cert.pub";

/// Somebody.
pub struct Person {
    /// By what name they sign in.
    pub name: String,
    /// Who.
    pub id: PersonId,
    /// Their folder.
    pub home: PathBuf,
    /// Their key; in the folder, it is `key`.
    pub key: PrivateKey,
    totp: Option<String>,
}

/// Prints a code that was never given: the app's while one of three steps is unused, then recovery codes, and at last it
/// waits for the app. With `app`, no recovery code.
const CODE: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
exec 9>lock; flock 9
while :; do
  second=$(date +%s); now=$((second / 30)); last=$(cat used 2>/dev/null || echo 0)
  step=$now; [ $((second % 30)) -gt 20 ] || step=$((now - 1))
  [ "$step" -gt "$last" ] || step=$((last + 1))
  if [ "$step" -le $((now + 1)) ]; then
    echo "$step" > used
    exec oathtool --totp --base32 --now "@$((step * 30))" "$(cat totp)"
  fi
  if [ "$1" != app ] && [ -s recovery ]; then head -n 1 recovery; sed -i 1d recovery; exit; fi
  sleep 1
done
"#;

/// Answers each prompt of `ssh` by its words.
const ASKPASS: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$1" >> "$here/prompts"
case "$1" in
  *"Code of"*) exec "$here/code" ;;
  *"One-use code"*) cat "$here/enrolment" ;;
  *"Password"*) cat "$here/password" ;;
  *"Reason"*) echo "the pump trips" ;;
  *) echo "" ;;
esac
"#;

impl Person {
    /// Somebody with a new key, below this folder, who is to be enrolled.
    pub fn newcomer(people: &Path, name: &str, ssh_port: u16) -> Self {
        let home = people.join(name);
        fs::create_dir_all(&home).expect("a folder");
        let key = new_key();
        let person = Self { name: name.to_owned(), id: PersonId::new(0.into()), home, key, totp: None };
        person.write_secret("key", person.key.to_openssh(LineEnding::LF).expect("a key").as_bytes());
        person.write("key.pub", person.key.public_key().to_openssh().expect("a key").as_bytes());
        for (program, text) in [("code", CODE), ("askpass", ASKPASS)] {
            person.write(program, text.as_bytes());
            let executable = fs::Permissions::from_mode(0o700);
            fs::set_permissions(person.path(program), executable).expect("a file");
        }
        person.find_gate(ssh_port);
        person
    }

    /// Writes the configuration of stock `ssh` for a gate that listens there.
    pub fn find_gate(&self, port: u16) {
        let (home, name) = (self.home.display(), &self.name);
        // Named, so that `ssh` offers it before the bare key, which would be asked for a code.
        let is_logged_in = self.path(CERTIFICATE).exists();
        let certificate =
            if is_logged_in { format!("  CertificateFile {home}/{CERTIFICATE}\n") } else { String::new() };
        let config = format!(
            "Host *\n  IdentityFile {home}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {home}/known_hosts\n  \
             GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  NumberOfPasswordPrompts 1\n  \
             ControlPath {home}/mux-%p\n  User {name}\n{certificate}\
             Host {GATE}\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {GATE}\n"
        );
        self.write("ssh_config", config.as_bytes());
    }

    /// What they got when they enrolled.
    pub fn enrolled(&mut self, enrolled: &Enrolled) {
        self.id = enrolled.person;
        let recovery: Vec<String> = enrolled.recovery.shown().map(|code| code.to_string()).collect();
        self.has_app(&enrolled.totp.base32(), &recovery);
    }

    /// The same, as they read it on their screen.
    pub fn has_app(&mut self, totp: &str, recovery: &[String]) {
        self.write_secret("totp", totp.as_bytes());
        self.write_secret("recovery", recovery.iter().map(|code| format!("{code}\n")).collect::<String>().as_bytes());
        self.totp = Some(totp.to_owned());
    }

    /// A code that works now, once.
    pub fn code(&self) -> String {
        run(&mut Command::new(self.path("code")), b"").ok().out().trim().to_owned()
    }

    /// The same, by the app and by nothing else: waits for it, if need be.
    pub fn app_code(&self) -> String {
        run(Command::new(self.path("code")).arg("app"), b"").ok().out().trim().to_owned()
    }

    /// Types a code where their client asks for one.
    #[track_caller]
    pub fn gives_code(&self, mut client: Running) -> Running {
        client.until("Code of");
        client.type_in(format!("{}\r", self.code()));
        client
    }

    /// Their key as PuTTY has it.
    pub fn putty_key(&self) -> PathBuf {
        let (mut convert, key) = (self.tool("puttygen"), self.path("key.ppk"));
        run(convert.args(["key", "-O", "private", "--new-passphrase", "/dev/null", "-o"]).arg(&key), b"").ok();
        key
    }

    /// `ssh` as they have set it up, with these arguments.
    pub fn ssh(&self, arguments: &[&str]) -> Command {
        let mut ssh = self.tool("ssh");
        ssh.arg("-F").arg(self.path("ssh_config")).args(arguments);
        ssh
    }

    /// A program run by them: in their folder, with nothing of the account's own setting, answering prompts.
    pub fn tool(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut tool = Command::new(program);
        tool.current_dir(&self.home).env("HOME", &self.home).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        tool.env("SSH_ASKPASS", self.path("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
        tool.env("HOLDPOINT_PROFILE", self.path("profile.toml"));
        for inherited in ["SSH_AUTH_SOCK", "DISPLAY", "XDG_CONFIG_HOME"] {
            tool.env_remove(inherited);
        }
        tool
    }

    /// `NAME@GATE`, or `NAME+TARGET@GATE`.
    pub fn at(&self, target: &str) -> String {
        let plus = if target.is_empty() { "" } else { "+" };
        format!("{}{plus}{target}@{GATE}", self.name)
    }

    /// A file of theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Writes one.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("a file");
    }

    fn write_secret(&self, name: &str, bytes: &[u8]) {
        self.write(name, bytes);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("a file");
    }

    /// Reads one.
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name} of {}: {error}", self.name))
    }

    /// As the signing helpers of the crates below know people.
    pub fn actor(&self) -> Actor {
        let totp = self.totp.as_deref().and_then(TotpSecret::from_base32).expect("somebody who enrolled");
        Actor { person: self.id, name: self.name.clone(), key: self.key.clone(), totp }
    }
}
