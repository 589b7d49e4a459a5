//! Ways around the gate that were found in its peers, each tried by name with the real client. "Refused" means that the
//! technician reads why and the machine saw no connection. Some hold inside one process already, under the same promise:
//!
//! | bypass | where it is tried |
//! |---|---|
//! | `one_grant_one_connection_under_race` | here, and with an arranged rival in `approver/tests/desk.rs` |
//! | `nobody_approves_their_own`, `one_vote_each_and_one_no_ends_it`, `approval_of_another_digest_is_refused` | `approver/tests/desk.rs`, and as invariants of generated histories in `policies/tests/histories/main.rs` |
//! | `the_approver_is_who_signed`, `no_get_changes_anything`, `reading_a_recording_is_an_event` | `approver/tests/api/` |
//! | `a_cut_works_on_a_stuck_session`, `a_live_session_ends_at_its_deadline` on a turned clock | `proxy/tests/session/` |
//! | `memory_is_flat_with_a_slow_side` | here, and each stall by itself in `proxy/tests/flow/` |
//! | `wrong_name_and_wrong_code_look_alike` | `proxy/tests/face/` |
//! | `a_slow_watcher_gets_a_fresh_screen` | `proxy/src/session/gallery.rs` |
//! | `a_burst_of_events_loses_none` | `approver/tests/api/`, for the journal and the notices; there is no feed to the outside yet |
//! | `one_file_has_one_header` | `recordings/tests/cast.rs`, for casts; there are no packet captures yet |
//! | `rename_partial_and_append_are_listed` | `proxy/tests/files.rs` |
//! | `escape_sequences_do_not_reach_the_auditor` | `recordings/src/screen.rs` |
//! | `a_crash_leaves_a_marked_recording`, `recording_failure_stops_bytes`, `a_recorder_that_cannot_start_means_no_session`, `sigterm_seals_everything` | `crash.rs` beside this |

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jiff::SignedDuration;
use policies::actions::Action;
use policies::decide::Command as Wanted;
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::notes::Note;
use tests::peers::free_port;
use tests::plant::EVERYTHING;
use tests::{Ended, Options, Plant, eventually, long_or, python, run, start};

const HOUR: Seconds = Seconds(3_600);

/// With a grant of these actions for `tess`, who needs no codes.
fn plant_with(options: Options, actions: &[Action]) -> Plant {
    let mut plant = Plant::enrolled(options);
    plant.grant("tess", "hmi-2", actions, HOUR);
    plant.log_in("tess");
    plant.serve();
    plant
}

fn plant(actions: &[Action]) -> Plant {
    plant_with(Options::default(), actions)
}

/// `ssh` of `tess` with these arguments, to its end.
fn ssh(plant: &Plant, arguments: &[&str]) -> Ended {
    run(&mut plant.tess().ssh(arguments), b"")
}

fn notes(plant: &mut Plant) -> Vec<String> {
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    evidence.recordings().iter().flat_map(|opened| opened.notes().into_iter().map(|note| format!("{note:?}"))).collect()
}

#[test]
fn exec_without_a_pty_is_recorded() {
    let mut plant = plant(&[Action::Shell]);
    let file = plant.hmi.path("x");
    let command = format!("cat > {0}; sha256sum {0}; exit 7", file.display());
    let input: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
    let ended = run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), &command]), &input);
    assert_eq!((ended.code(), fs::read(&file).unwrap()), (7, input.clone()));
    plant.stop();
    let evidence = plant.evidence();
    let opened = evidence.recording();
    assert_eq!((opened.bytes(Stream::In), opened.bytes(Stream::Out)), (input, ended.out));
    assert!(opened.notes().iter().any(|note| matches!(note, Note::ExitStatus { status: 7 })));
    assert!(
        opened
            .notes()
            .iter()
            .any(|note| matches!(note, Note::Exec { command: line, .. } if line.bytes() == command.as_bytes()))
    );
    evidence.verify().ok();
}

#[test]
fn a_prefix_does_not_make_it_a_file_copy() {
    let plant = plant(&[Action::FilePut]);
    let at = plant.tess().at("hmi-2");
    let evil = plant.hmi.path("evil");
    for line in [
        "scp -t x; touch EVIL",
        "scp -t x && touch EVIL",
        "scp -t `touch EVIL`",
        "scp -t x\ntouch EVIL",
        "scp -S 'touch EVIL' -t x",
    ] {
        let line = line.replace("EVIL", evil.to_str().unwrap());
        ssh(&plant, &["-tt", &at, &line]).says_no("need shell");
        ssh(&plant, &[&at, &line]).says_no("shell");
    }
    ssh(&plant, &["-tt", &at, "scp -t x"]).says_no("need shell");
    assert!(!evil.exists());
}

#[test]
fn local_forward_needs_its_own_grant() {
    let more = "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.ssh]\nprotocol = \"ssh\"\naddress = \"127.0.0.1:9\"\nuser = \"maint\"\ncredential = \"certificate\"\nhost_key = \"SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s\"";
    let plant = plant_with(Options { more: more.into(), ..Options::default() }, &EVERYTHING);
    let lobby = plant.tess().at("");
    for to in ["plc-7:502", "10.20.2.7:502", "localhost:22", "somebody.example:443", "hmi-2:502"] {
        let port = free_port();
        let forward = format!("{port}:{to}");
        let mut client = start(&mut plant.tess().ssh(&["-N", "-L", &forward, &lobby]));
        let mut socket = None;
        eventually("ssh listens", || {
            socket = TcpStream::connect(("127.0.0.1", port)).ok();
            socket.is_some() || client.has_ended()
        });
        let mut got = Vec::new();
        let _closed_or_reset = socket.expect("a socket").read_to_end(&mut got);
        assert!(got.is_empty(), "{to}: {got:?}");
        let said = client.until("open failed");
        assert!(said.contains("administratively prohibited"), "{to}: {said}");
    }
    assert_eq!(plant.hmi.connections(), 0);
}

#[test]
fn dynamic_forward_is_many_direct_tcpips() {
    let plant = plant(&EVERYTHING);
    let port = free_port();
    let (dynamic, lobby) = (format!("127.0.0.1:{port}"), plant.tess().at(""));
    let mut client = start(&mut plant.tess().ssh(&["-N", "-D", &dynamic, &lobby]));
    eventually("ssh listens", || TcpStream::connect(("127.0.0.1", port)).is_ok() || client.has_ended());
    let direct = plant.hmi.address().rsplit_once(':').unwrap().1.parse().unwrap();
    assert_ne!(socks(port, "127.0.0.1", direct).0, 0, "the machine by its address");
    assert_ne!(socks(port, "localhost", plant.ssh_port()).0, 0, "the gate's own port");
    let (status, mut socket) = socks(port, "hmi-2", 22);
    let mut greeting = [0; 17];
    socket.read_exact(&mut greeting).unwrap();
    // It is the gate that speaks there, under the machine's name.
    assert_eq!((status, &greeting[..]), (0, &b"SSH-2.0-Holdpoint"[..]));
    assert_eq!(plant.hmi.connections(), 0);
}

/// Asks a SOCKS5 proxy (RFC 1928) for a connection by name; its answer, and the socket.
fn socks(port: u16, host: &str, to: u16) -> (u8, TcpStream) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.write_all(&[5, 1, 0]).unwrap();
    let mut chosen = [0; 2];
    socket.read_exact(&mut chosen).unwrap();
    let mut request = vec![5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&to.to_be_bytes());
    socket.write_all(&request).unwrap();
    let mut answer = [1; 10];
    // Where it is refused, ssh closes at once or answers first.
    let answered = socket.read_exact(&mut answer).is_ok();
    (if answered { answer[1] } else { 1 }, socket)
}

#[test]
fn direct_tcpip_without_forwarding_flags_is_judged_alike() {
    let Some(python) = python() else { return };
    let plant = plant(&EVERYTHING);
    let machine: u16 = plant.hmi.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let ports = [plant.ssh_port(), plant.faces.pages[0].port(), plant.faces.plant[0].port(), machine];
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let script = format!("{PARAMIKO}{CHANNELS}");
    let mut paramiko = plant.tess().tool(python);
    paramiko.args(["-c", &script, &plant.ssh_port().to_string()]).args(ports);
    let told = run(&mut paramiko, b"").ok();
    println!("{}", told.out());
    assert!(told.out().contains("direct-tcpip hmi-2 22: opened"), "{}", told.out());
    assert_eq!(told.out().matches(": opened").count(), 1, "{}", told.out());
    assert_eq!(plant.hmi.connections(), 0, "{}", plant.hmi.log());
}

/// Signs in to the lobby with key and code, and opens channels as no client offers to.
const PARAMIKO: &str = r#"
import subprocess, sys, paramiko
def connected(user):
    transport = paramiko.ServiceRequestingTransport(("127.0.0.1", int(sys.argv[1])))
    transport.start_client(timeout=20)
    key = paramiko.Ed25519Key.from_private_key_file("key")
    assert transport.auth_publickey(user, key) == ["keyboard-interactive"]
    answer = lambda title, instructions, fields: [subprocess.check_output("./code", text=True).strip() for _ in fields]
    transport.auth_interactive(user, answer)
    return transport
"#;

const CHANNELS: &str = r#"
transport = connected("tess")
def attempt(kind, host="", port=0):
    try:
        channel = transport.open_channel(kind, (host, port), ("127.0.0.1", 1), timeout=20)
        print(kind, host, f"{port}: opened", flush=True)
    except paramiko.ssh_exception.ChannelException as refused:
        print(kind, host, f"{port}: {refused}", flush=True)
for port in sys.argv[2:]:
    for host in ["127.0.0.1", "localhost", "::1", "0.0.0.0", "gate.mill3.example", "hmi-2"]:
        attempt("direct-tcpip", host, int(port))
attempt("direct-tcpip", "hmi-2", 22)
for kind in ["auth-agent@openssh.com", "x11", "forwarded-tcpip", "tun@openssh.com", "made-up"]:
    attempt(kind)
"#;

#[test]
fn channels_of_every_other_kind_are_refused_with_words() {
    let Some(python) = python() else { return };
    let plant = plant(&EVERYTHING);
    for user in ["tess", "tess+hmi-2"] {
        let mut client = plant.tess().tool(&python);
        let told = run(client.args(["-c", KINDS, &plant.ssh_port().to_string(), user]), b"").ok();
        // Where no handler is asked the words are the library's, and cannot be ours.
        let wanted = [
            "x11: X11 is not forwarded here",
            "forwarded-tcpip: nothing is forwarded back from here",
            "direct-streamlocal@openssh.com: sockets are not forwarded here",
            "forwarded-streamlocal@openssh.com: Unsupported channel type",
            "auth-agent@openssh.com: Unsupported channel type",
            "tun@openssh.com: Unknown channel type",
            "made-up: Unknown channel type",
        ];
        assert_eq!(told.out().lines().collect::<Vec<_>>(), wanted, "{user}: {}", told.err());
    }
    assert_eq!(plant.hmi.connections(), 0, "{}", plant.hmi.log());
}

/// Opens channels of kinds that no client offers to open, each on a connection of its own: where no handler is asked the
/// library answers twice, which a strict client takes ill.
const KINDS: &str = r#"
import asyncio, sys, asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.packet import String, UInt32
address = [String("127.0.0.1"), UInt32(1)]
KINDS = [("x11", address), ("forwarded-tcpip", address * 2), ("direct-streamlocal@openssh.com", [String("/x"), *address]),
         ("forwarded-streamlocal@openssh.com", [String("/x"), String("")]), ("auth-agent@openssh.com", []),
         ("tun@openssh.com", [UInt32(1), UInt32(0)]), ("made-up", [])]
async def refused(port, user, kind, arguments):
    async with asyncssh.connect("127.0.0.1", port, username=user, client_keys=[("key", "key-cert.pub")],
                                known_hosts=None, agent_path=None, config=None) as connection:
        channel = SSHChannel(connection, asyncio.get_event_loop(), None, "strict", 1 << 21, 1 << 15)
        try:
            await channel._open(kind.encode(), *arguments)
            return "opened"
        except asyncssh.ChannelOpenError as no:
            return no.reason
async def main():
    for kind, arguments in KINDS:
        print(f"{kind}: {await refused(int(sys.argv[1]), sys.argv[2], kind, arguments)}")
asyncio.run(main())
"#;

#[test]
fn jump_is_served_not_piped() {
    let mut plant = plant(&EVERYTHING);
    let tess = plant.tess();
    let out = ssh(&plant, &["-J", &tess.at(""), "hmi-2", "echo by way of the gate"]).ok().out();
    assert_eq!(out, "by way of the gate\n");
    plant.stop();
    let opened = plant.evidence().recording();
    assert_eq!(opened.bytes(Stream::Out), out.as_bytes(), "the inside is recorded, not something opaque");
    assert!(
        opened
            .notes()
            .iter()
            .any(|note| matches!(note, Note::Exec { command, .. } if command.to_string() == "echo by way of the gate"))
    );
}

#[test]
fn what_is_not_granted_is_refused_under_one_name_of_the_gate() {
    let mut plant = plant(&[Action::FileGet]);
    let at = plant.tess().at("hmi-2");
    let refused = ssh(&plant, &[&at, "true"]).says_no("holdpoint: commands need shell, which is not granted here");
    assert_eq!(refused.err().matches("holdpoint:").count(), 1, "{}", refused.err());
    plant.stop();
    let recording = plant.evidence().recording();
    let told: Vec<String> = recording.notes().iter().map(|note| format!("{note:?}")).collect();
    assert!(told.iter().any(|note| note.contains("commands need shell")), "{told:#?}");
    assert!(!told.iter().any(|note| note.contains("holdpoint: commands")), "{told:#?}");
}

#[test]
fn a_jump_to_a_service_by_its_name_finds_the_gate_under_that_name() {
    let plant = plant(&EVERYTHING);
    let by_service = ssh(&plant, &["-J", &plant.tess().at(""), "ssh.hmi-2", "echo by its service"]).ok().out();
    assert_eq!(by_service, "by its service\n");
}

#[test]
fn remote_forward_agent_and_x11_are_refused() {
    let mut plant = plant(&EVERYTHING);
    let tess = plant.tess();
    let (at, lobby) = (tess.at("hmi-2"), tess.at(""));
    for whom in [&at, &lobby] {
        for remote in ["5020:127.0.0.1:22", "0:127.0.0.1:22", "5021", "/tmp/holdpoint-test.sock:127.0.0.1:22"] {
            let refused = ssh(&plant, &["-o", "ExitOnForwardFailure=yes", "-R", remote, whom, "true"]);
            refused.says_no("forwarding failed");
        }
    }
    let mut agent = start(tess.tool("ssh-agent").args(["-D", "-a", "agent"]));
    eventually("the agent listens", || tess.path("agent").exists() || agent.has_ended());
    let mut with_agent = tess.ssh(&["-A", &at, "echo \"agent:$SSH_AUTH_SOCK\""]);
    let told = run(with_agent.env("SSH_AUTH_SOCK", tess.path("agent")), b"").ok();
    assert!(told.out().contains("agent:\n") && told.err().contains("your agent is not forwarded"), "{}", told.text());
    let mut with_x11 = tess.ssh(&[
        "-X",
        "-o",
        "ForwardX11Trusted=yes",
        "-o",
        "XAuthLocation=/bin/false",
        &at,
        "echo \"x11:$DISPLAY\"",
    ]);
    let told = run(with_x11.env("DISPLAY", "127.0.0.1:99"), b"").ok();
    assert!(told.out().contains("x11:\n"), "{}", told.text());
    let forward = format!("{}:/run/dbus/system_bus_socket", tess.path("local.sock").display());
    let mut local = start(&mut tess.ssh(&["-N", "-L", &forward, &lobby]));
    let mut socket = None;
    eventually("ssh listens", || {
        socket = std::os::unix::net::UnixStream::connect(tess.path("local.sock")).ok();
        socket.is_some() || local.has_ended()
    });
    local.until("sockets are not forwarded here");
    drop((socket, local));
    assert!(notes(&mut plant).iter().all(|note| !note.contains("ChannelOpen") || note.contains("session")));
}

#[test]
fn every_subsystem_not_named_is_refused() {
    let Some(python) = python() else { return };
    let plant = plant(&EVERYTHING);
    let at = plant.tess().at("hmi-2");
    for name in ["netconf", "SFTP", "sftp ", "shell"] {
        let refused = ssh(&plant, &["-s", &at, name]);
        assert!(!refused.status.success(), "{name:?}: {}", refused.text());
    }
    ssh(&plant, &["-s", &at, "netconf"]).says_no("of subsystems only sftp is carried here");
    // Whose terminal would take bytes out of what the gate has looked at.
    ssh(&plant, &["-tt", "-s", &at, "sftp"]).says_no("files are not copied on a terminal");
    let script = format!("{PARAMIKO}{LATE}");
    let mut paramiko = plant.tess().tool(python);
    let told = run(paramiko.args(["-c", &script, &plant.ssh_port().to_string()]), b"").ok();
    assert!(told.out().contains("late:\n") && !told.out().contains("preload:/"), "{}", told.text());
}

/// A variable before the command that is not passed on, and one after it began.
const LATE: &str = r#"
transport = connected("tess+hmi-2")
channel = transport.open_session()
try: channel.set_environment_variable("LD_PRELOAD", "/tmp/evil.so")
except paramiko.ssh_exception.SSHException: pass
channel.exec_command('echo "preload:$LD_PRELOAD"; read x; echo "late:$LC_LATE"')
try: channel.set_environment_variable("LC_LATE", "evil")
except paramiko.ssh_exception.SSHException: pass
channel.sendall(b"\n")
print(channel.makefile().read().decode())
"#;

#[test]
fn one_grant_one_connection_under_race() {
    let plant = plant_with(Options { rule: "connections = 1".into(), ..Options::default() }, &EVERYTHING);
    let at = plant.tess().at("hmi-2");
    let both = [0, 1, 2, 3].map(|_| start(&mut plant.tess().ssh(&[&at, "echo in; read wait"])));
    let mut both: Vec<_> = both.into_iter().collect();
    eventually("all but one are refused", || {
        both.iter_mut().map(|client| u8::from(!client.has_ended())).sum::<u8>() == 1
    });
    for mut client in both {
        if client.has_ended() {
            client.ends().says_no("connections under this grant are open, which is all it allows");
        } else {
            client.until("in\n");
        }
    }
    eventually("the first has left", || ssh(&plant, &[&at, "true"]).status.success());
}

#[test]
fn a_used_or_lapsed_grant_does_not_open() {
    let mut plant = Plant::enrolled(Options::default());
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(4));
    plant.log_in("tess");
    plant.serve();
    let at = plant.tess().at("hmi-2");
    let mut first = start(&mut plant.tess().ssh(&[&at, "echo in; sleep 100"]));
    first.until("in\n");
    // While it lasts it serves again; when it is over it serves no more, however it was used.
    ssh(&plant, &[&at, "true"]).ok();
    let seen = plant.hmi.connections();
    let ended = first.ends_within(Duration::from_secs(20));
    println!("{}", ended.err());
    ssh(&plant, &["-o", "KbdInteractiveAuthentication=no", &at, "true"]).says_no("ended");
    assert_eq!(plant.hmi.connections(), seen);
}

#[test]
fn a_grant_does_not_open_before_its_start() {
    const AHEAD: SignedDuration = SignedDuration::from_secs(20);
    let mut plant = Plant::enrolled(Options::default());
    plant.log_in("tess");
    let from = jiff::Timestamp::now() + AHEAD;
    plant.decide(|office| {
        let request = office.ask_from(from, plant.tess(), "hmi-2", &EVERYTHING, HOUR);
        office.act(Wanted::Vote { verdict: office.approval(plant.person("lee"), request) });
    });
    plant.serve();
    let (at, lobby) = (plant.tess().at("hmi-2"), plant.tess().at(""));
    let forms: [&[&str]; 2] = [&[&at, "true"], &["-J", &lobby, "hmi-2", "true"]];
    for form in forms {
        let early = ssh(&plant, &[&["-o", "KbdInteractiveAuthentication=no"], form].concat());
        early.says_no("he grant for hmi-2 begins");
    }
    assert!(jiff::Timestamp::now() < from, "too slow a machine to see anything before the start");
    assert_eq!(plant.hmi.connections(), 0);
    eventually("it has begun", || jiff::Timestamp::now() > from);
    for form in forms {
        ssh(&plant, form).ok();
    }
}

#[test]
fn memory_is_flat_with_a_slow_side() {
    /// What the plan of memory has for each direction that stalls.
    const EACH_MAX: u64 = 12 << 20;
    const SLOWLY: &str =
        "perl -e '$| = 1; while (sysread STDIN, $b, 1000) { select undef, undef, undef, 0.1; print q(.) }'";
    let mut plant = plant(&EVERYTHING);
    let tess = plant.tess();
    let config = tess.path("ssh_config").display().to_string();
    let (user, jump) = (tess.at("hmi-2"), format!("-J {} hmi-2", tess.at("")));
    tess.write("slowly", SLOWLY.as_bytes());
    plant.hmi.write("slowly", SLOWLY.as_bytes());
    let (here, there) = (tess.path("slowly"), plant.hmi.path("slowly"));
    let start_all = |plant: &Plant| {
        let shell = |line: String| start(plant.tess().tool("sh").args(["-c", &line]));
        [&user, &jump].map(|to| {
            let ssh = format!("ssh -F {config} {to}");
            let down = shell(format!("{ssh} 'head -c 1073741824 /dev/zero' | sh {}", here.display()));
            let up = shell(format!("head -c 1073741824 /dev/zero | {ssh} 'sh {}'", there.display()));
            [down, up]
        })
    };
    for form in [vec![user.as_str()], vec!["-J", &tess.at(""), "hmi-2"]] {
        ssh(&plant, &[form, vec!["true"]].concat()).ok();
    }
    let before = plant.memory();
    let mut clients: Vec<_> = start_all(&plant).into_iter().flatten().collect();
    let until = Instant::now() + Duration::from_secs(long_or(120, 8));
    let mut most = 0;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
        most = most.max(plant.memory());
    }
    let grown = most.saturating_sub(before);
    println!("two downloads and two uploads at 10 kB/s: {} MiB more", grown >> 20);
    assert!(grown < 4 * EACH_MAX, "{} MiB more", grown >> 20);
    for client in &mut clients {
        let read = client.out_bytes();
        eventually("it is slow, and goes on", || client.out_bytes() > read + 5 && !client.has_ended());
    }
}

#[test]
fn an_offered_key_proves_nothing() {
    let plant = plant(&EVERYTHING);
    let tess = plant.tess();
    // The public half alone can be offered; nobody can sign with it.
    let stranger = plant.newcomer("stranger");
    stranger.find_gate(plant.ssh_port());
    let offer = |key: &std::path::Path, user: &str| {
        let public = stranger.path("offered.pub");
        fs::copy(key, &public).unwrap();
        let at = format!("{user}@{}", tests::person::GATE);
        let mut ssh = stranger.tool("ssh");
        let identity = format!("IdentityFile={}", public.display());
        let config = fs::read_to_string(stranger.path("ssh_config")).unwrap();
        stranger.write(
            "bare_config",
            config.replace(&format!("IdentityFile {}/key", stranger.home.display()), "").as_bytes(),
        );
        run(ssh.arg("-vF").arg(stranger.path("bare_config")).args(["-o", &identity, &at, "true"]), b"")
    };
    let mut accepted = Vec::new();
    for (key, user) in [
        (tess.path("key.pub"), "tess+hmi-2"),
        (tess.path("key.pub"), "nobody"),
        (stranger.path("key.pub"), "tess+hmi-2"),
        (stranger.path("key.pub"), "nobody"),
    ] {
        let refused = offer(&key, user).says_no("Permission denied (publickey)");
        accepted.push(refused.err().contains("Server accepts key"));
    }
    assert!(accepted.iter().all(|one| *one == accepted[0]), "answered alike: {accepted:?}");
    // None of it counts against the person, however often: so many wrong codes would lock them.
    for _ in 0..=approver::people::WRONG_CODES_MAX {
        offer(&tess.path("key.pub"), "tess+hmi-2").says_no("Permission denied (publickey)");
    }
    if let Some(python) = python() {
        let mut paramiko = stranger.tool(python);
        let told = run(paramiko.args(["-c", OFFER, &plant.ssh_port().to_string()]).arg(tess.path("key.pub")), b"").ok();
        assert_eq!(told.out(), "offered: accepted\nsession: refused\ndirect-tcpip: refused\n", "{}", told.err());
    }
    assert_eq!(plant.hmi.connections(), 0);
    fs::remove_file(tess.path(tests::person::CERTIFICATE)).unwrap();
    tess.find_gate(plant.ssh_port());
    ssh(&plant, &[&tess.at("hmi-2"), "true"]).ok();
}

/// Offers somebody's key, and goes on as if that had let it in.
const OFFER: &str = r#"
import base64, sys, threading, paramiko
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
port, key = int(sys.argv[1]), open(sys.argv[2]).read().split()
def offered():
    transport, accepted = paramiko.Transport(("127.0.0.1", port)), threading.Event()
    transport.start_client(timeout=20)
    ready = threading.Event()
    transport._handler_table[6] = lambda _: ready.set()
    transport._handler_table[60] = lambda _: accepted.set()
    ask = paramiko.Message()
    ask.add_byte(cMSG_SERVICE_REQUEST); ask.add_string("ssh-userauth")
    transport._send_message(ask)
    assert ready.wait(20)
    offer = paramiko.Message()
    offer.add_byte(cMSG_USERAUTH_REQUEST)
    for word in ["tess+hmi-2", "ssh-connection", "publickey"]: offer.add_string(word)
    offer.add_boolean(False); offer.add_string(key[0]); offer.add_string(base64.b64decode(key[1]))
    transport._send_message(offer)
    return transport, accepted.wait(20)
print("offered:", "accepted" if offered()[1] else "refused")
for kind in ["session", "direct-tcpip"]:
    transport, _ = offered()
    try:
        channel = transport.open_channel(kind, ("hmi-2", 22), ("127.0.0.1", 1), timeout=20)
        if kind == "session": channel.exec_command("true")
        print(f"{kind}: opened")
    except (paramiko.SSHException, EOFError) as refused:
        print(f"{kind}: refused")
"#;

#[test]
fn a_certificate_of_login_serves_each_form_without_a_code_here_and_now_alone() {
    let mut plant = Plant::new();
    let tess = plant.tess();
    run(&mut plant.as_person("tess", &["login"]), format!("{}\n", tess.code()).as_bytes()).ok();
    tess.find_gate(plant.ssh_port());
    let (at, lobby, asked) = (tess.at("hmi-2"), tess.at(""), tess.path("asked"));
    let forms: [&[&str]; 3] = [&[&at, "echo in"], &["-J", &lobby, "hmi-2", "echo in"], &[&lobby, "list"]];
    // A code would be answered by a program; that it is run would be seen.
    tess.write("code", b"#!/bin/sh\ntouch asked\necho 000000\n");
    for form in forms {
        ssh(&plant, form).ok();
    }
    assert!(!asked.exists());
    let elsewhere = ssh(&plant, &["-b", "127.0.0.2", &at, "true"]);
    elsewhere.says_no("this certificate is good from 127.0.0.1 only, and you come from 127.0.0.2");
    assert!(asked.exists());
    plant.stop();
    plant.log_in_for("tess", SignedDuration::from_mins(-1));
    plant.serve();
    for form in forms {
        fs::remove_file(&asked).unwrap();
        ssh(&plant, form).says_no("the name or the code is wrong");
        assert!(asked.exists(), "a code is asked for again");
    }
    assert_eq!(plant.hmi.connections(), 2);
}

#[test]
fn a_factor_in_one_connection_does_not_serve_another() {
    let rule = "factor_lasts = \"6s\"";
    let plant = Plant::with(Options {
        rule: rule.into(),
        technicians: vec![("tess", "acme"), ("tara", "acme")],
        ..Options::default()
    });
    let at = plant.tess().at("hmi-2");
    let batch = |more: &[&str]| ssh(&plant, &[more, &["-o", "BatchMode=yes", &at, "true"]].concat());
    // The key is proved here, and the code never given; the next connection begins anew.
    let no = "Permission denied (keyboard-interactive)";
    batch(&[]).says_no(no);
    batch(&[]).says_no(no);
    let begun = Instant::now();
    ssh(&plant, &[&at, "true"]).ok();
    batch(&["-b", "127.0.0.2"]).says_no(no);
    batch(&["-l", "tara+hmi-2"]).says_no(no);
    let tara = plant.person("tara");
    run(&mut tara.ssh(&["-o", "BatchMode=yes", "-l", "tess+hmi-2", &tara.at("hmi-2"), "true"]), b"")
        .says_no("Permission denied");
    if begun.elapsed() < Duration::from_secs(5) {
        batch(&[]).ok();
    } else {
        println!("too slow a machine to see that the login serves for six seconds");
    }
    eventually("six seconds are over", || begun.elapsed() > Duration::from_millis(6_500));
    batch(&[]).says_no(no);
}

#[test]
fn a_live_session_ends_at_its_deadline() {
    const LASTS: u64 = 8;
    let mut plant = Plant::enrolled(Options::default());
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(u32::try_from(LASTS).unwrap()));
    plant.log_in("tess");
    plant.serve();
    let tess = plant.tess();
    let at = tess.at("hmi-2");
    let begun = Instant::now();
    // The clock of a grant starts at its first connection, which is behind us when this is seen.
    let mut shell = tests::process::start_on_a_terminal(&tess.ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    let started = begun.elapsed();
    let file = plant.hmi.path("times");
    let mut typing = start(&mut tess.ssh(&[&at, &format!("cat > {}", file.display())]));
    let mut input = typing.take_input();
    thread::spawn(move || {
        while writeln!(input, "{:?}", now()).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let idle = start(&mut tess.ssh(&[&at, "sleep 100"]));
    let jump = start(&mut tess.ssh(&["-J", &tess.at(""), "hmi-2", "sleep 100"]));
    tess.write("big", &vec![7; 64 << 20]);
    let batch = format!("put big {}\n", plant.hmi.path("big").display());
    let mut sftp = tess.tool("sftp");
    sftp.arg("-F").arg(tess.path("ssh_config")).args(["-l", "20000", "-b", "-", &at]);
    let mut sftp = start(&mut sftp);
    sftp.type_in(batch);
    sftp.close_input();
    let words = "Your time at hmi-2 is over.";
    let ended = shell.ends_within(Duration::from_secs(30));
    let (after, at_the_end) = (begun.elapsed(), now());
    println!("granted {LASTS} s, of which login took up to {started:?}: ended after {after:?}");
    assert!(ended.out().contains(words), "{}", ended.out());
    assert!(
        after > Duration::from_secs(LASTS) && after - started < Duration::from_millis(LASTS * 1_000 + 1_500),
        "{after:?}"
    );
    for client in [typing, idle, jump, sftp] {
        client.ends_within(Duration::from_secs(2)).says_no(words);
    }
    let lines = fs::read_to_string(&file).unwrap();
    let last: f64 = lines.lines().last().unwrap().parse().unwrap();
    println!("the last byte at the machine left the technician {:.3} s before the shell had ended", at_the_end - last);
    assert!(last < at_the_end + 1.0);
}

/// Seconds of the wall clock.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn a_changed_host_key_is_refused() {
    let other = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s".to_owned();
    let plant = plant_with(Options { pin: Some(other), ..Options::default() }, &EVERYTHING);
    ssh(&plant, &[&plant.tess().at("hmi-2"), "true"]).says_no("hmi-2: the target showed the host key");
    assert!(!plant.hmi.log().contains("Accepted"), "{}", plant.hmi.log());
}

#[test]
fn stderr_by_the_megabyte() {
    let mut plant = plant(&[Action::Shell]);
    let command = "head -c 10485760 /dev/zero | tr '\\0' e >&2; head -c 3145728 /dev/zero | tr '\\0' o";
    let ended = ssh(&plant, &["-q", &plant.tess().at("hmi-2"), command]).ok();
    assert_eq!((ended.out.len(), ended.err.len()), (3 << 20, 10 << 20));
    assert!(ended.out.iter().all(|byte| *byte == b'o') && ended.err.iter().all(|byte| *byte == b'e'));
    plant.stop();
    let opened = plant.evidence().recording();
    assert!(opened.bytes(Stream::Out) == ended.out && opened.bytes(Stream::OutErr) == ended.err);
}

#[test]
fn bytes_that_are_not_text() {
    let mut plant = plant(&[Action::Shell]);
    let command = r"printf 'half a r\303'; sleep 0.3; printf '\274ne, \377\376\000\033]0;x\007 end'";
    let ended = ssh(&plant, &[&plant.tess().at("hmi-2"), command]).ok();
    let wanted = b"half a r\xc3\xbcne, \xff\xfe\0\x1b]0;x\x07 end";
    assert_eq!(ended.out, wanted);
    plant.stop();
    let evidence = plant.evidence();
    let opened = evidence.recording();
    assert_eq!(opened.bytes(Stream::Out), wanted);
    let session = opened.recording.id().to_string();
    let played = run(&mut evidence.holdpoint(&["play", &session, "--key", "key", "--speed", "100"]), b"").ok();
    assert!(played.out().contains("half a rüne"), "{}", played.out());
    assert!(!played.out.windows(4).any(|bytes| bytes == b"\x1b]0;"), "no title reaches the auditor's terminal");
}

#[test]
fn resizes_do_not_stall_a_neighbour() {
    let plant = plant(&EVERYTHING);
    let at = plant.tess().at("hmi-2");
    let open = || {
        let mut shell = tests::process::start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
        shell.type_in("echo I am $((40 + 2))\r");
        shell.until("I am 42");
        shell
    };
    let (resized, mut neighbour) = (open(), open());
    let mut slowest = Duration::ZERO;
    for number in 0..200_u16 {
        resized.resize(40 + number, 20 + number % 30);
        if number % 20 == 0 {
            let begun = Instant::now();
            neighbour.type_in(format!("echo n$(({number} + 1000))\r"));
            neighbour.until(&format!("n{}", number + 1000));
            slowest = slowest.max(begun.elapsed());
        }
    }
    println!("slowest echo beside 200 resizes: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[test]
fn a_reconnect_keeps_the_new_one() {
    let plant = plant(&EVERYTHING);
    let at = plant.tess().at("hmi-2");
    let mut old = start(&mut plant.tess().ssh(&[&at, "echo old; cat"]));
    old.until("old\n");
    old.signal(rustix::process::Signal::STOP);
    let mut new = start(&mut plant.tess().ssh(&[&at, "echo new; cat"]));
    new.until("new\n");
    old.signal(rustix::process::Signal::KILL);
    old.ends();
    eventually("the machine has let go of the old one", || plant.hmi.log().contains("Disconnected from user"));
    new.type_in("still here\n");
    new.until("still here");
    new.ends().ok();
}

#[test]
fn before_login_a_stranger_costs_little() {
    const SOCKETS: usize = 10_000;
    let mut plant = plant(&EVERYTHING);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = files.maximum.unwrap_or(u64::MAX);
    let wanted = rustix::process::Rlimit { current: files.maximum, maximum: files.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let sockets = SOCKETS.min(usize::try_from(most).unwrap_or(SOCKETS).saturating_sub(200));
    let before = plant.memory();
    let port = plant.ssh_port();
    let mut open = Vec::with_capacity(sockets);
    let mut highest = before;
    for number in 0..sockets {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        // A packet that says it is huge, half a handshake, and nothing at all. Some are turned out at once.
        let opening: &[u8] = match number % 3 {
            0 => b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
            1 => b"SSH-2.0-half a hand",
            _ => b"",
        };
        let _turned_out = socket.write_all(opening);
        open.push(socket);
        if number % 500 == 0 {
            highest = highest.max(plant.memory());
        }
    }
    highest = highest.max(plant.memory());
    let at = plant.tess().at("hmi-2");
    let begun = Instant::now();
    let served = ssh(&plant, &[&at, "echo served"]).ok();
    let took = begun.elapsed();
    println!("{} sockets: {} MiB more, a technician served in {took:?}", open.len(), (highest - before) >> 20);
    assert_eq!(served.out(), "served\n");
    assert!(highest - before < 64 << 20, "{} MiB more", (highest - before) >> 20);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn the_operator_is_not_locked_out_by_the_vendor_face() {
    let plant = plant(&EVERYTHING);
    let stranger = plant.newcomer("stranger");
    stranger.find_gate(plant.ssh_port());
    for user in ["lee", "tess+hmi-2", "nobody", "lee+hmi-2"] {
        for _ in 0..5 {
            let mut ssh = Command::new("ssh");
            ssh.arg("-F").arg(stranger.path("ssh_config")).args(["-l", user, tests::person::GATE, "true"]);
            run(&mut ssh, b"").says_no("Permission denied");
        }
    }
    let begun = Instant::now();
    ssh(&plant, &[&plant.tess().at("hmi-2"), "true"]).ok();
    println!("a technician who proves a key is served in {:?}", begun.elapsed());
    // lee, whose name they tried from the same address, signs in on the plant face.
    let lee = plant.person("lee");
    run(&mut plant.as_person("lee", &["login"]), format!("{}\n", lee.code()).as_bytes()).ok();
}
