//! The clients that technicians have, as they come: each signs in with key and code, runs a command, and copies files
//! both ways. OpenSSH itself is in `whole_job.rs`; WinSCP was not run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use policies::time::Seconds;
use recordings::frame::Stream;
use ssh_key::Certificate;
use tests::plant::EVERYTHING;
use tests::process::start_on_a_terminal;
use tests::{Options, Plant, Target, python, run};

fn noise() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn putty_runs_commands_and_copies_files() {
    let mut plant = Plant::new();
    let tess = plant.tess();
    let (port, user) = (plant.ssh_port().to_string(), "tess+hmi-2@127.0.0.1");
    tess.putty_key();
    let fingerprint = plant.fingerprint();
    let putty = |program: &str, before: &[&str], after: &[&str]| {
        let mut command = tess.tool(program);
        command.args(["-P", &port, "-i", "key.ppk", "-hostkey", &fingerprint]).args(before).args(after);
        command
    };
    let plink = putty("plink", &["-ssh", "-no-antispoof"], &[user, "echo by plink; exit 5"]);
    let plink = tess.gives_code(start_on_a_terminal(&plink));
    let ended = plink.ends();
    assert!(ended.code() == 5 && ended.out().contains("by plink"), "{:?}\n{}", ended.status, ended.out());
    // The login serves for ten minutes, so that what cannot ask works too.
    let ended = run(&mut putty("plink", &["-ssh", "-batch", "-T"], &[user, "cat; echo err >&2"]), b"in and out");
    assert_eq!((ended.out(), ended.err().contains("err")), ("in and out".into(), true));
    tess.write("up", &noise());
    let (there, again) = (plant.hmi.path("by-pscp"), plant.hmi.path("by-psftp"));
    for (protocol, name) in [("-scp", "down-scp"), ("-sftp", "down-sftp")] {
        let to = format!("{user}:{}", there.display());
        run(&mut putty("pscp", &["-batch", protocol], &["up", &to]), b"").ok();
        assert!(plant.hmi.read("by-pscp") == noise(), "{protocol}");
        run(&mut putty("pscp", &["-batch", protocol], &[&to, name]), b"").ok();
        assert!(tess.read(name) == noise(), "{protocol}");
        fs::remove_file(&there).unwrap();
    }
    let script = format!("put up {0}\nmv {0} {0}-moved\nget {0}-moved down-psftp\nquit\n", again.display());
    tess.write("script", script.as_bytes());
    run(&mut putty("psftp", &["-batch", "-b", "script"], &[user]), b"").ok();
    assert!(tess.read("down-psftp") == noise() && plant.hmi.read("by-psftp-moved") == noise());
    plant.stop();
    plant.evidence().verify().ok();
}

#[test]
fn dropbear_runs_commands_and_carries_scp() {
    let plant = Plant::new();
    let tess = plant.tess();
    run(tess.tool("dropbearconvert").args(["openssh", "dropbear", "key", "key.db"]), b"").ok();
    let port = plant.ssh_port().to_string();
    let arguments = ["-y", "-y", "-i", "key.db", "-p", &port, "tess+hmi-2@127.0.0.1"];
    let mut dbclient = tess.tool("dbclient");
    let ended = tess.gives_code(start_on_a_terminal(dbclient.args(arguments).arg("echo by dbclient; exit 6"))).ends();
    assert!(ended.code() == 6 && ended.out().contains("by dbclient"), "{:?}\n{}", ended.status, ended.out());
    tess.write("up", &noise());
    let wrapper = format!("#!/bin/sh\nfor last; do :; done\nexec dbclient {} \"$last\"\n", arguments.join(" "));
    tess.write("carry", wrapper.as_bytes());
    fs::set_permissions(tess.path("carry"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let scp = |from: &str, to: &str| {
        let mut scp = tess.tool("scp");
        run(scp.args(["-O", "-S"]).arg(tess.path("carry")).args([from, to]), b"").ok();
    };
    let there = format!("hmi-2:{}", plant.hmi.path("by-scp").display());
    scp("up", &there);
    scp(&there, "down");
    assert!(plant.hmi.read("by-scp") == noise() && tess.read("down") == noise());
}

#[test]
fn paramiko_and_asyncssh_run_commands_and_copy_files() {
    let Some(python) = python() else { return };
    let mut plant =
        Plant::with(Options { technicians: vec![("tess", "acme"), ("tara", "acme")], ..Options::default() });
    plant.stop();
    plant.grant("tara", "hmi-2", &EVERYTHING, Seconds(3_600));
    plant.serve();
    for (name, script) in [("tess", PARAMIKO), ("tara", ASYNCSSH)] {
        let person = plant.person(name);
        person.write("up", &noise());
        let there = plant.hmi.path(name);
        let mut client = person.tool(&python);
        client.args(["-c", script, &plant.ssh_port().to_string(), name]).arg(&there);
        let told = run(&mut client, b"").ok();
        assert_eq!(told.out(), "7 out err\n", "{}", told.text());
        assert!(plant.hmi.read(name) == noise() && person.read("down") == noise());
    }
}

const PARAMIKO: &str = r#"
import subprocess, sys, paramiko
port, name, there = int(sys.argv[1]), sys.argv[2], sys.argv[3]
user = name + "+hmi-2"
transport = paramiko.ServiceRequestingTransport(("127.0.0.1", port))
transport.start_client(timeout=20)
left = transport.auth_publickey(user, paramiko.Ed25519Key.from_private_key_file("key"))
assert left == ["keyboard-interactive"]
answer = lambda title, instructions, fields: [subprocess.check_output("./code", text=True).strip() for _ in fields]
transport.auth_interactive(user, answer)
channel = transport.open_session()
channel.exec_command("echo out; echo err >&2; exit 7")
status = channel.recv_exit_status()
print(status, channel.makefile().read().decode().strip(), channel.makefile_stderr().read().decode().strip())
sftp = paramiko.SFTPClient.from_transport(transport)
sftp.put("up", there)
sftp.get(there, "down")
"#;

#[test]
fn paramikos_usual_client_is_told_why_it_gets_no_further_than_the_key_and_how_it_would() {
    let Some(python) = python() else { return };
    let mut plant = Plant::new();
    let client = |plant: &Plant, transport: &str| {
        let tess = plant.tess();
        let mut client = tess.tool(&python);
        client.args(["-c", PARAMIKO_CLIENT, &plant.ssh_port().to_string(), transport]);
        run(&mut client, format!("{}\n", tess.code()).as_bytes())
    };
    let begun = Instant::now();
    client(&plant, "Transport").says_no("transport_factory=paramiko.ServiceRequestingTransport");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let worked = |plant: &Plant, transport: &str| {
        let ended = client(plant, transport).ok();
        assert!(ended.out().ends_with("by paramiko\n"), "{}", ended.text());
    };
    worked(&plant, "ServiceRequestingTransport");
    plant.stop();
    plant.log_in("tess");
    plant.serve();
    worked(&plant, "Transport");
}

/// As its own documentation has it: the code is asked for on standard input. What a gate says at a disconnect is logged.
const PARAMIKO_CLIENT: &str = r#"
import logging, sys, paramiko
logging.basicConfig(level=logging.INFO)
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", int(sys.argv[1]), "tess+hmi-2", key_filename="key", look_for_keys=False, allow_agent=False,
               transport_factory=getattr(paramiko, sys.argv[2]))
print(client.exec_command("echo by paramiko")[1].read().decode(), end="")
"#;

const ASYNCSSH: &str = r#"
import asyncio, subprocess, sys, asyncssh
port, name, there = int(sys.argv[1]), sys.argv[2], sys.argv[3]
class Client(asyncssh.SSHClient):
    def kbdint_auth_requested(self): return ""
    def kbdint_challenge_received(self, title, instructions, lang, prompts):
        return [subprocess.check_output("./code", text=True).strip() for _ in prompts]
async def main():
    async with asyncssh.connect("127.0.0.1", port, username=name + "+hmi-2", client_keys=["key"], client_factory=Client,
                                known_hosts=None, agent_path=None, config=None) as connection:
        done = await connection.run("echo out; echo err >&2; exit 7")
        print(done.exit_status, done.stdout.strip(), done.stderr.strip())
        async with connection.start_sftp_client() as sftp:
            await sftp.put("up", there)
            await sftp.get(there, "down")
asyncio.run(main())
"#;

/// OpenSSH's own security key without hardware; `tests/run` fetches it.
fn security_key() -> Option<PathBuf> {
    let provider = std::env::var_os("HOLDPOINT_SK_DUMMY").map(PathBuf::from).filter(|path| path.exists());
    if provider.is_none() {
        println!("SKIPPED: HOLDPOINT_SK_DUMMY does not name sk-dummy.so of Debian's openssh-tests");
    }
    provider
}

#[test]
fn a_security_key_is_one_factor_and_the_code_the_other() {
    let Some(provider) = security_key() else { return };
    let mut plant = Plant::enrolled(Options::default());
    let mut sara = plant.newcomer("sara");
    let mut keygen = sara.tool("ssh-keygen");
    run(keygen.args(["-q", "-t", "ed25519-sk", "-N", "", "-f", "sk", "-w"]).arg(&provider), b"").ok();
    let public = String::from_utf8(sara.read("sk.pub")).unwrap().parse().unwrap();
    let ada = plant.person("ada");
    sara.enrolled(&plant.decide(|office| office.technician("sara", "acme", &public, ada)));
    plant.add(sara);
    plant.grant("sara", "hmi-2", &EVERYTHING, Seconds(3_600));
    plant.serve();
    let sara = plant.person("sara");
    let provider = format!("SecurityKeyProvider={}", provider.display());
    let key = format!("IdentityFile={}", sara.path("sk").display());
    let ssh = |more: &[&str]| {
        // The other key in their folder is not enrolled, and is offered too.
        let mut ssh = sara.ssh(&["-o", &provider, "-o", &key]);
        run(ssh.args(more).args([&sara.at("hmi-2"), "echo by security key"]), b"")
    };
    ssh(&["-o", "KbdInteractiveAuthentication=no"]).says_no("Permission denied (keyboard-interactive)");
    assert_eq!(ssh(&[]).ok().out(), "by security key\n");
}

#[test]
fn ssh_audit_finds_nothing_to_fail() {
    let Some(python) = python() else { return };
    let plant = Plant::new();
    let audit = PathBuf::from(python).with_file_name("ssh-audit");
    let mut audit = Command::new(audit);
    let told = run(audit.args(["-p", &plant.ssh_port().to_string(), "127.0.0.1"]), b"");
    println!("{}", told.out());
    // 3 is a failure, 2 a warning.
    assert!(told.code() == 0 || told.code() == 2, "{}", told.text());
    assert!(!told.out().contains("[fail]"));
}

#[test]
fn a_machine_with_dropbear_is_reached_with_an_injected_key() {
    let folder = tempfile::tempdir().unwrap();
    let Some(panel) = Target::dropbear(&folder.path().join("panel-3")) else { return };
    let mut plant = Plant::enrolled(Options { more: panel.with_secret("panel-3", "panel"), ..Options::default() });
    let secret = fs::read(folder.path().join("panel-3/login")).unwrap();
    plant.decide(|office| office.set_secret("panel", &secret));
    plant.grant("tess", "panel-3", &EVERYTHING, Seconds(3_600));
    plant.serve();
    let tess = plant.tess();
    let ended = run(&mut tess.ssh(&[&tess.at("panel-3"), "cat; echo err >&2; exit 9"]), &noise());
    assert!(
        ended.code() == 9 && ended.out == noise() && ended.err().contains("err"),
        "{:?} {}",
        ended.status,
        ended.err()
    );
    plant.stop();
    let evidence = plant.evidence();
    assert!(evidence.recording().bytes(Stream::In) == noise());
    evidence.verify().ok();
    // The technician never saw what opens the machine, and neither does whoever reads the data folder.
    let line = String::from_utf8(secret).unwrap().lines().nth(2).unwrap().to_owned();
    let grep = run(Command::new("grep").args(["-rlaF", &line]).arg(plant.installation()), b"");
    assert_eq!(grep.out(), "");
}

#[test]
fn what_opens_a_machine_is_good_for_minutes_and_for_its_account_alone() {
    let plant = Plant::with(Options { sshd: "ExposeAuthInfo yes\n".into(), ..Options::default() });
    let tess = plant.tess();
    let shown = run(&mut tess.ssh(&[&tess.at("hmi-2"), "cat $SSH_USER_AUTH"]), b"").ok().out();
    let certificate = Certificate::from_openssh(shown.trim().strip_prefix("publickey ").unwrap()).unwrap();
    assert_eq!(certificate.valid_principals(), [tests::target::account()]);
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let left = certificate.valid_before().checked_sub(now).unwrap();
    let passed = now.checked_sub(certificate.valid_after()).unwrap();
    assert!(left <= 5 * 60 && left + passed <= 6 * 60, "{passed} s passed, {left} s are left");
    let allowed: Vec<_> = certificate.extensions().keys().map(String::as_str).collect();
    assert_eq!((allowed, certificate.critical_options().len()), (vec!["permit-pty"], 0));
}

#[test]
fn an_old_machine_is_reached_where_the_plant_file_says_that_it_is_old_and_nowhere_else() {
    for (kex, cipher) in [("diffie-hellman-group1-sha1", "3des-cbc"), ("diffie-hellman-group14-sha1", "aes128-cbc")] {
        let folder = tempfile::tempdir().unwrap();
        let old = Target::old_openssh(&folder.path().join("old-1"), kex, cipher);
        let target = old.with_secret("old-1", "old");
        let more =
            format!("{target}\nlegacy = true\n{}", target.replace("old-1", "new-1").replace("127.0.0.1", "localhost"));
        let mut plant = Plant::enrolled(Options { more, ..Options::default() });
        let secret = fs::read(folder.path().join("old-1/login")).unwrap();
        plant.decide(|office| office.set_secret("old", &secret));
        for target in ["old-1", "new-1"] {
            plant.grant("tess", target, &EVERYTHING, Seconds(3_600));
        }
        plant.log_in("tess");
        plant.serve();
        let tess = plant.tess();
        let said = run(&mut tess.ssh(&[&tess.at("old-1"), "echo", "still", "here"]), b"").ok();
        assert_eq!(said.out(), "still here\n", "{kex} {cipher}");
        run(&mut tess.ssh(&[&tess.at("new-1"), "true"]), b"").says_no("no SSH session came about");
    }
}
