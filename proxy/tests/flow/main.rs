//! What SSH.md's recipe promises, with OpenSSH at both ends: nothing hangs, nothing is lost, memory stays flat, a cut
//! cuts. Who may do what is tested elsewhere. `HOLDPOINT_LONG=1` takes the sizes that the recipe was first tried with.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not see to be such")]

mod gate;
mod hand_overs;
mod peer;
mod plant;
mod tape;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use plant::*;
use proxy::flow::{SPILL_BYTES, WINDOW_BYTES};

const MIB: usize = 1 << 20;
/// As the program has it, because memory is measured here.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a stalled direction may cost above the idle gate.
const STALLED_BYTES_MAX: u64 = 12 << 20;

/// Not a test: the gate's process, which every test here starts.
#[test]
#[ignore = "is started by the tests as a process of its own"]
fn the_gate() {
    if std::env::var_os("FLOW_TARGET").is_some() {
        gate::run();
    }
}

fn forms() -> [Form; 2] {
    [Form::User, Form::Jump]
}

fn zeros_through_cat(plant: &Plant, form: Form, bytes: usize) {
    let mut pipe = plant.ssh(form, "cat");
    let zeros = Command::new("head").arg("-c").arg(bytes.to_string()).arg("/dev/zero").stdout(Stdio::piped()).spawn();
    let mut ssh = Client(pipe.stdin(zeros.unwrap().stdout.unwrap()).stdout(Stdio::piped()).spawn().unwrap());
    let (mut seen, mut piece) = (0, vec![0; 256 << 10]);
    let mut reader = ssh.0.stdout.take().unwrap();
    loop {
        let length = reader.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        assert!(piece[..length].iter().all(|byte| *byte == 0));
        seen += length;
    }
    assert_eq!(seen, bytes);
    assert!(ssh.wait().success());
    let ended = plant.gate.hear_channel();
    assert_eq!((ended.up.received, ended.up.forwarded), (bytes as u64, bytes as u64));
    assert_eq!((ended.down.received, ended.down.forwarded), (bytes as u64, bytes as u64));
}

#[test]
fn bulk_in_both_directions_at_once_never_deadlocks() {
    let plant = Plant::new();
    for form in forms() {
        for _ in 0..long_or(20, 2) {
            zeros_through_cat(&plant, form, long_or(300, 40) * MIB);
        }
    }
}

#[test]
fn bulk_in_both_directions_passes_a_real_record_log() {
    let plant = Plant::with(Options { durable: true, ..Options::default() });
    for form in forms() {
        for _ in 0..long_or(8, 1) {
            zeros_through_cat(&plant, form, long_or(300, 40) * MIB);
        }
    }
}

#[test]
fn bulk_in_both_directions_survives_new_keys_on_every_leg() {
    let plant = Plant::with(Options { rekey_bytes: long_or(20, 8) * MIB, ..Options::default() });
    for form in forms() {
        for _ in 0..long_or(3, 1) {
            zeros_through_cat(&plant, form, long_or(300, 40) * MIB);
        }
    }
}

#[test]
fn a_reader_that_pauses_gets_every_byte_and_costs_no_processor_time_meanwhile() {
    let plant = Plant::new();
    for form in forms() {
        let pause = Barrier::new(2);
        let habits = Habits { reader_pauses: Some((8 * MIB, &pause)), ..Habits::default() };
        let used = thread::scope(|scope| {
            scope.spawn(|| echo_noise(&mut plant.ssh(form, "cat"), long_or(300, 64) * MIB, habits));
            pause.wait();
            plant.gate.until_still();
            let before = plant.gate.processor_time();
            thread::sleep(Duration::from_secs(long_or(20, 1) as u64));
            let used = plant.gate.processor_time() - before;
            println!("{form:?} paused: {used:?} of processor time, {} MiB resident", plant.gate.memory() >> 20);
            pause.wait();
            used
        });
        assert!(used <= Duration::from_millis(long_or(600, 200) as u64), "{form:?}: {used:?} while nothing moved");
    }
}

#[test]
fn a_slow_reader_and_a_writer_that_pauses_get_every_byte() {
    let plant = Plant::new();
    let slow = Habits { reader_rate: Some(20 * MIB), ..Habits::default() };
    let pausing = Habits { writer_pauses: Some((8 * MIB, Duration::from_secs(2))), ..Habits::default() };
    for form in forms() {
        echo_noise(&mut plant.ssh(form, "cat"), long_or(300, 48) * MIB, slow);
        echo_noise(&mut plant.ssh(form, "cat"), long_or(300, 48) * MIB, pausing);
    }
}

#[test]
fn an_upload_waits_for_a_stopped_target_and_arrives_whole() {
    let plant = Plant::new();
    for form in forms() {
        let bytes = long_or(300, 64) * MIB;
        let mut client = Client::start(&mut plant.ssh(form, "head -c 1 >/dev/null; echo on; sha256sum"));
        // One byte more than is hashed, to know that the program runs.
        let mut input = client.0.stdin.take().unwrap();
        input.write_all(b"!").unwrap();
        let mut answer = [0; 3];
        client.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        client.0.stdin = Some(input);
        let idle = plant.gate.memory();
        let stopped = plant.stop_target();
        let writer = send_noise(&mut client, bytes, None);
        plant.gate.until_still();
        let before = plant.gate.processor_time();
        thread::sleep(Duration::from_secs(long_or(5, 1) as u64));
        let used = plant.gate.processor_time() - before;
        let grown = plant.gate.grown(idle, STALLED_BYTES_MAX);
        println!("{form:?} upload stalled: {used:?} of processor time, {} MiB more", grown >> 20);
        assert!(used <= Duration::from_millis(200), "{form:?}: {used:?}");
        drop(stopped);
        writer.join().unwrap();
        let mut hash = String::new();
        client.0.stdout.take().unwrap().read_to_string(&mut hash).unwrap();
        assert_eq!(hash.split(' ').next(), Some(noise_hash(bytes).as_str()), "{form:?}");
        assert!(client.wait().success());
    }
}

fn noise_hash(bytes: usize) -> String {
    let mut sum = Client::start(&mut Command::new("sha256sum"));
    send_noise(&mut sum, bytes, None).join().unwrap();
    let mut hash = String::new();
    sum.0.stdout.take().unwrap().read_to_string(&mut hash).unwrap();
    hash.split(' ').next().unwrap().to_owned()
}

/// A master connection with a control socket, under which further commands are channels.
fn master(plant: &Plant, form: Form) -> Client {
    let mut master = Client::start(&mut plant.ssh_with(form, &["-M", "-N"]));
    eventually("the master answers", || {
        master.0.try_wait().unwrap().is_none()
            && plant.ssh_with(form, &["-O", "check"]).stderr(Stdio::null()).status().unwrap().success()
    });
    master
}

fn multiplexed(plant: &Plant, form: Form, command: &str) -> Command {
    let mut ssh = plant.ssh_with(form, &["-o", "ProxyCommand=false"]);
    ssh.arg(command).stdin(Stdio::null());
    ssh
}

/// A held-up command waits as long as the stall does; a busy machine alone delays one by seconds at most.
const NOT_HELD_UP: Duration = Duration::from_secs(20);

#[test]
fn a_stalled_channel_does_not_hold_up_commands_beside_it() {
    let plant = Plant::new();
    for form in forms() {
        let _master = master(&plant, form);
        let bytes = long_or(400, 64) * MIB;
        let mut ssh = multiplexed(&plant, form, &format!("head -c {bytes} /dev/zero"));
        let mut download = Client(ssh.stdout(Stdio::piped()).spawn().unwrap());
        let idle = plant.gate.memory();
        plant.gate.until_still();
        for _ in 0..8 {
            let asked = Instant::now();
            assert_eq!(output(&mut multiplexed(&plant, form, "echo here")), "here\n");
            assert!(asked.elapsed() < NOT_HELD_UP, "{form:?}: {:?}", asked.elapsed());
        }
        plant.gate.grown(idle, STALLED_BYTES_MAX);
        let mut seen = Vec::new();
        download.0.stdout.take().unwrap().read_to_end(&mut seen).unwrap();
        assert_eq!(seen.len(), bytes);
        assert!(download.wait().success());
    }
}

#[test]
fn commands_run_beside_a_stalled_upload() {
    let plant = Plant::new();
    for form in forms() {
        let _master = master(&plant, form);
        let mut ssh = plant.ssh_with(form, &["-o", "ProxyCommand=false"]);
        let mut upload = Client::start(ssh.arg("sleep 1000"));
        let writer = send_noise(&mut upload, 64 * MIB, None);
        plant.gate.until_still();
        for _ in 0..4 {
            let asked = Instant::now();
            assert_eq!(output(&mut multiplexed(&plant, form, "echo here")), "here\n");
            assert!(asked.elapsed() < NOT_HELD_UP, "{form:?}: {:?}", asked.elapsed());
        }
        drop(upload);
        writer.join().unwrap();
    }
}

#[test]
fn no_exit_status_is_lost_on_a_multiplexed_connection() {
    let plant = Plant::new();
    for form in forms() {
        let _master = master(&plant, form);
        let started = Instant::now();
        let commands = long_or(40, 16) as i32;
        for status in 0..commands {
            let ran = multiplexed(&plant, form, &format!("exit {status}")).status().unwrap();
            assert_eq!(ran.code(), Some(status), "{form:?}, one after the other");
        }
        println!("{form:?}: {:?} for {commands} commands in turn", started.elapsed());
        let at_once: Vec<_> = (0..commands)
            .map(|status| (status, multiplexed(&plant, form, &format!("exit {status}")).spawn().unwrap()))
            .collect();
        for (status, child) in at_once {
            assert_eq!(Client(child).wait().code(), Some(status), "{form:?}, at once");
        }
    }
}

#[test]
fn rsync_copies_up_down_and_differences() {
    let plant = Plant::new();
    for form in forms() {
        let at = plant.folder();
        let (here, there, back) = (at.join("here"), at.join("there"), at.join("back"));
        let mut content = Vec::new();
        Noise::new(long_or(500, 48) * MIB).read_to_end(&mut content).unwrap();
        fs::write(&here, &content).unwrap();
        let shell = format!("ssh -F {}", plant.config().display());
        let rsync = |from: String, to: String| {
            succeed(Command::new("rsync").args(["--no-whole-file", "-e", &shell]).args([from, to]));
        };
        let remote = format!("{}:{}", host(form), there.display());
        let local = |path: &std::path::Path| path.display().to_string();
        rsync(local(&here), remote.clone());
        assert!(fs::read(&there).unwrap() == content, "{form:?} up");
        rsync(remote.clone(), local(&back));
        assert!(fs::read(&back).unwrap() == content, "{form:?} down");
        let middle = content.len() / 2;
        content.splice(middle..middle, *b"a difference");
        fs::write(&here, &content).unwrap();
        rsync(local(&here), remote);
        assert!(fs::read(&there).unwrap() == content, "{form:?} difference");
        for file in [here, there, back] {
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_cut_ends_a_stuck_session_at_once_and_says_why() {
    let mut plant = Plant::new();
    for form in forms() {
        for stuck in ["cat /dev/zero", "sleep 1000", "cat /dev/zero & sleep 1000"] {
            let mut client = Client::start(&mut plant.ssh(form, stuck));
            let mut first = [0];
            if stuck.starts_with("cat") {
                client.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
            } else {
                thread::sleep(Duration::from_millis(500));
            }
            let writer = send_noise(&mut client, 64 * MIB, None);
            plant.gate.until_still();
            let cut = Instant::now();
            plant.gate.order("cut");
            let words = client.words();
            let status = client.wait();
            let took = cut.elapsed();
            assert_eq!(status.code(), Some(255), "{form:?}, {stuck}");
            assert!(words.contains("cut by the shift lead"), "{form:?}, {stuck}: {words}");
            assert!(took < Duration::from_secs(1), "{form:?}, {stuck}: {took:?}");
            println!("{form:?}, {stuck}: cut in {took:?}");
            writer.join().unwrap();
            assert_eq!(plant.gate.hear_channel().end, "Cut");
        }
    }
}

#[test]
fn a_stopped_client_is_cut_within_a_second_too() {
    let mut plant = Plant::new();
    for form in forms() {
        let mut client = Client::start(&mut plant.ssh(form, "cat /dev/zero"));
        let mut first = [0];
        client.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        let stopped = stop(vec![client.0.id()]);
        plant.gate.until_still();
        assert_eq!(plant.gate.connections(), 1, "{form:?}");
        let cut = Instant::now();
        plant.gate.order("cut");
        while plant.gate.connections() > 0 {
            assert!(cut.elapsed() < Duration::from_secs(1), "{form:?}: the technician's socket is open");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(plant.gate.hear_channel().end, "Cut");
        drop(stopped);
    }
}

#[test]
fn standard_output_and_standard_error_stay_apart_and_complete() {
    let plant = Plant::new();
    for form in forms() {
        let bytes = long_or(50, 16) * MIB;
        let both = format!("head -c {bytes} /dev/zero >&2 & head -c {bytes} /dev/zero | tr '\\0' x; wait; exit 3");
        let mut client = Client::start(&mut plant.ssh(form, &both));
        drop(client.0.stdin.take());
        let mut errors = client.0.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut seen = Vec::new();
            errors.read_to_end(&mut seen).unwrap();
            seen
        });
        let mut seen = Vec::new();
        client.0.stdout.take().unwrap().read_to_end(&mut seen).unwrap();
        assert!(seen.len() == bytes && seen.iter().all(|byte| *byte == b'x'), "{form:?}");
        let errors = errors.join().unwrap();
        assert!(errors.len() == bytes && errors.iter().all(|byte| *byte == 0), "{form:?}");
        assert_eq!(client.wait().code(), Some(3));
    }
}

#[test]
fn memory_is_flat_with_a_slow_side() {
    let plant = Plant::new();
    for form in forms() {
        succeed(&mut plant.ssh(form, "true"));
        let idle = plant.gate.memory();
        let mut client = Client::start(&mut plant.ssh(form, "cat /dev/zero"));
        let mut first = [0];
        client.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        plant.gate.until_still();
        let before = plant.gate.processor_time();
        thread::sleep(Duration::from_secs(2));
        let used = plant.gate.processor_time() - before;
        let grown = plant.gate.grown(idle, STALLED_BYTES_MAX);
        println!("{form:?} download stalled: {used:?} of processor time in 2 s, {} MiB more", grown >> 20);
        assert!(used <= Duration::from_millis(100), "{form:?}: {used:?}");
        // It stood still because it waited, and not because it was given up.
        let mut more = client.0.stdout.take().unwrap().take(4 * STALLED_BYTES_MAX);
        let came = std::io::copy(&mut more, &mut std::io::sink()).unwrap();
        assert_eq!(came, 4 * STALLED_BYTES_MAX, "{form:?}: it goes on");
    }
}

#[test]
fn ctrl_c_passes_while_the_output_stands() {
    let plant = Plant::new();
    for form in forms() {
        let caught = plant.folder().join("caught");
        let program = format!("trap 'touch {}; exit' INT; echo ready; while :; do echo output; done", caught.display());
        let mut client = Client::start(plant.ssh_with(form, &["-tt"]).arg(program));
        let mut first = [0; 5];
        client.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        plant.gate.until_still();
        client.0.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        eventually("the program is interrupted", || caught.exists());
        fs::remove_file(caught).unwrap();
    }
}

#[test]
fn a_client_that_is_stopped_in_a_transfer_both_ways_loses_nothing() {
    let plant = Plant::new();
    for form in forms() {
        let bytes = long_or(300, 64) * MIB;
        let mut client = Client::start(&mut plant.ssh(form, "cat"));
        let process = client.0.id();
        let writer = send_noise(&mut client, bytes, None);
        let mut reader = client.0.stdout.take().unwrap();
        let mut piece = vec![0; MIB];
        reader.read_exact(&mut piece).unwrap();
        let stopped = stop(vec![process]);
        plant.gate.until_still();
        thread::sleep(Duration::from_secs(long_or(5, 0) as u64));
        drop(stopped);
        let mut seen = piece;
        reader.read_to_end(&mut seen).unwrap();
        let mut expected = Vec::new();
        Noise::new(bytes).read_to_end(&mut expected).unwrap();
        assert!(seen == expected, "{form:?}");
        writer.join().unwrap();
        assert!(client.wait().success());
    }
}

#[test]
fn a_terminal_its_size_and_the_language_reach_the_target_and_nothing_else_of_the_environment() {
    let mut plant = Plant::new();
    for form in forms() {
        let mut ssh = plant.ssh_with(form, &["-tt", "-o", "SendEnv=LC_ALL EDITOR"]);
        ssh.arg("stty size; echo lc=$LC_ALL editor=$EDITOR term=$TERM");
        let shown = output(ssh.env("LC_ALL", "C").env("EDITOR", "evil").env("TERM", "vt100"));
        assert!(shown.contains("lc=C editor= term=vt100"), "{form:?}: {shown}");
        plant.gate.order("recorded");
        let recorded = plant.gate.hear("recorded");
        assert!(recorded.contains(r#"{"note":"terminal","term":"vt100""#), "{recorded}");
        assert!(!recorded.contains("evil"), "{recorded}");
    }
}

#[test]
fn a_refused_command_says_why_and_never_starts() {
    let mut plant = Plant::new();
    for form in forms() {
        let ran = plant.ssh(form, "forbidden > /dev/null").stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8(ran.stderr).unwrap(), "holdpoint: not without shell in the grant\r\n");
        assert_eq!(ran.status.code(), Some(1));
        let ended = plant.gate.hear_channel();
        assert_eq!((ended.end.as_str(), ended.up.forwarded, ended.down.received), ("Told", 0, 0));
        assert_eq!(ended.down.made, 43);
    }
    plant.gate.order("recorded");
    let recorded = plant.gate.hear("recorded");
    assert!(recorded.contains(r#"{"note":"exec","command":"forbidden > /dev/null"}"#), "{recorded}");
    assert!(recorded.contains(r#""allowed":false"#), "{recorded}");
    assert_eq!(output(&mut plant.ssh(Form::User, "replaced")), "instead\n");
}

#[test]
fn what_is_refused_on_a_channel_is_told_in_order_and_recorded() {
    let mut plant = Plant::new();
    let socket = plant.folder().join("agent");
    let _agent = Client::start(Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket));
    eventually("the agent listens", || socket.exists());
    for form in forms() {
        let mut ssh = plant.ssh_with(form, &["-A"]);
        let ran = ssh.arg("echo $SSH_AUTH_SOCK").env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null()).output().unwrap();
        let told = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
        assert_eq!(told, ("\n".to_owned(), "holdpoint: no agent here\r\n".to_owned()), "{form:?}");
        assert_eq!(plant.gate.hear_channel().down.made, 26);
    }
    plant.gate.order("recorded");
    let recorded = plant.gate.hear("recorded");
    assert!(recorded.contains(r#"{"note":"gate-verdict","allowed":false,"words":"no agent here"}"#), "{recorded}");
}

#[test]
fn an_inspector_drops_answers_and_lets_pass_and_every_byte_is_accounted_for() {
    let plant = Plant::new();
    for form in forms() {
        let mut client = Client::start(&mut plant.ssh(form, "cat #inspected"));
        let mut input = client.0.stdin.take().unwrap();
        let mut reader = client.0.stdout.take().unwrap();
        let mut answer = [0; 10];
        input.write_all(b"rhythm\n").unwrap();
        reader.read_exact(&mut answer[..7]).unwrap();
        assert_eq!(&answer[..7], b"rhythm\n");
        input.write_all(b"melody\n").unwrap();
        reader.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"no vowels\n");
        drop(input);
        assert!(client.wait().success());
        let ended = plant.gate.hear_channel();
        assert_eq!(ended.up, Account { received: 14, forwarded: 7, refused: 7, made: 0 });
        assert_eq!(ended.down, Account { received: 7, forwarded: 7, refused: 0, made: 10 });
    }
}

#[test]
fn a_freeze_discards_keystrokes_and_holds_everything_else() {
    let mut plant = Plant::new();
    for form in forms() {
        let mut terminal = Client::start(plant.ssh_with(form, &["-tt"]).arg("stty -echo; echo ready; cat"));
        let mut pipe = Client::start(&mut plant.ssh(form, "echo ready; cat"));
        let (mut keys, mut bytes) = (terminal.0.stdin.take().unwrap(), pipe.0.stdin.take().unwrap());
        let mut shown = std::io::BufReader::new(terminal.0.stdout.take().unwrap());
        let mut copied = std::io::BufReader::new(pipe.0.stdout.take().unwrap());
        let read_line = |reader: &mut dyn std::io::BufRead| {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        assert_eq!((read_line(&mut shown), read_line(&mut copied)), ("ready".to_owned(), "ready".to_owned()));
        plant.gate.order("freeze");
        thread::sleep(Duration::from_millis(300));
        keys.write_all(b"lost\n").unwrap();
        bytes.write_all(b"kept\n").unwrap();
        thread::sleep(Duration::from_millis(300));
        plant.gate.order("thaw");
        thread::sleep(Duration::from_millis(300));
        keys.write_all(b"later\n").unwrap();
        assert_eq!((read_line(&mut shown), read_line(&mut copied)), ("later".to_owned(), "kept".to_owned()));
    }
}

#[test]
fn a_program_killed_at_the_target_ends_the_client_as_a_direct_one_does() {
    let plant = Plant::new();
    let killed = "kill -9 $$";
    let direct = plant.direct(killed).output().unwrap().status.code();
    for form in forms() {
        assert_eq!(plant.ssh(form, killed).output().unwrap().status.code(), direct, "{form:?}");
    }
}

#[test]
fn a_target_that_dies_is_named_to_the_technician() {
    let plant = Plant::new();
    for form in forms() {
        let mut client = Client::start(&mut plant.ssh(form, "kill -9 $PPID; sleep 100"));
        assert_eq!(client.words(), "holdpoint: the connection to hmi-2 broke\r\n", "{form:?}");
        assert_eq!(client.wait().code(), Some(255));
        assert_eq!(plant.gate.hear_channel().end, "TargetLost");
    }
}

#[test]
fn sftp_and_scp_copy_whole_files() {
    let plant = Plant::new();
    let at = plant.folder();
    let (here, there) = (at.join("here"), at.join("there"));
    let mut content = Vec::new();
    Noise::new(24 * MIB).read_to_end(&mut content).unwrap();
    fs::write(&here, &content).unwrap();
    for form in forms() {
        for protocol in ["-s", "-O"] {
            let remote = format!("{}:{}", host(form), there.display());
            succeed(Command::new("scp").arg("-F").arg(plant.config()).args(["-q", protocol]).arg(&here).arg(remote));
            assert!(fs::read(&there).unwrap() == content, "{form:?} {protocol}");
            fs::remove_file(&there).unwrap();
        }
    }
}

#[test]
fn single_byte_packets_cost_bytes_and_not_messages() {
    let plant = Plant::new();
    let peer = peer::Peer::connect(&plant);
    let mut channel = peer.run("head -c 1 > /dev/null; echo on; wc -c");
    peer.send(&mut channel, b"!");
    assert_eq!(peer.read(&mut channel, 3), b"on\n");
    let idle = plant.gate.memory();
    let stopped = plant.stop_target();
    let sent = peer.flood(&mut channel, Duration::from_secs(long_or(12, 4) as u64));
    let grown = plant.gate.grown(idle, STALLED_BYTES_MAX);
    println!("{sent} packets of one byte: {} MiB more", grown >> 20);
    assert!(sent > 20_000, "{sent} packets");
    drop(stopped);
    assert_eq!(peer.finish(channel).output, format!("{sent}\n").into_bytes());
}

/// Its library reads nothing while it writes to a full socket, as OpenSSH's client never does.
#[test]
fn a_client_that_reads_nothing_while_it_writes_gets_every_byte() {
    let plant = Plant::with(Options { socket_bytes: Some(16 << 10), ..Options::default() });
    let peer = peer::Peer::with(&plant, WINDOW_BYTES, Some(16 << 10));
    peer.both_ways(peer.run("cat"), long_or(300, 64) * MIB);
}

#[test]
fn a_client_that_grants_everything_and_reads_nothing_costs_no_more_than_another() {
    let plant = Plant::new();
    let peer = peer::Peer::with(&plant, 1 << 30, None);
    drop(peer.finish(peer.run("true")));
    let idle = plant.gate.memory();
    // Its library stops reading when nobody takes what came.
    let mut channel = peer.run("cat /dev/zero");
    plant.gate.until_still();
    let grown = plant.gate.grown(idle, STALLED_BYTES_MAX + SPILL_BYTES as u64);
    println!("a window of 1 GiB and no reader: {} MiB more", grown >> 20);
    assert_eq!(peer.read(&mut channel, 64 * MIB).len() / MIB, 64, "it goes on");
}

#[test]
fn a_signal_is_recorded_and_a_death_by_one_comes_back() {
    let mut plant = Plant::new();
    let peer = peer::Peer::connect(&plant);
    let mut channel = peer.run("trap '' USR1; echo ready; read -r line; kill -TERM $$");
    assert_eq!(peer.read(&mut channel, 6), b"ready\n");
    // OpenSSH's server passes no signal on to a program of root's.
    peer.signal(&channel, russh::Sig::USR1);
    peer.send(&mut channel, b"go\n");
    let finished = peer.finish(channel);
    assert_eq!((finished.status, finished.signal.as_deref()), (None, Some("TERM")));
    plant.gate.order("recorded");
    let recorded = plant.gate.hear("recorded");
    assert!(recorded.contains(r#"{"note":"signal","name":"USR1"}"#), "{recorded}");
    assert!(recorded.contains(r#"{"note":"exit-signal","name":"TERM""#), "{recorded}");
}

#[test]
fn one_program_runs_in_a_channel_and_a_subsystem_the_target_lacks_is_said_to_be_missing() {
    let plant = Plant::new();
    let peer = peer::Peer::connect(&plant);
    let mut channel = peer.run("cat");
    assert!(!peer.requests_again(&mut channel, "echo second"), "a second program");
    drop(channel);
    let ran = plant.ssh_with(Form::User, &["-s"]).arg("nothing").stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "holdpoint: hmi-2 does not run what was asked for\r\n");
    assert_eq!(ran.status.code(), Some(255));
}

#[test]
fn what_is_sent_before_a_program_begins_reaches_it_and_what_is_sent_beside_its_input_reaches_nothing() {
    let plant = Plant::new();
    let peer = peer::Peer::connect(&plant);
    let before: [(Option<u32>, &[u8]); 4] =
        [(None, b"one "), (Some(7), b"beside"), (Some(1), b"too"), (None, b"two\n")];
    let mut channel = peer.run_after(&before, "cat");
    peer.send(&mut channel, b"three\n");
    let finished = peer.finish(channel);
    assert_eq!((finished.output.as_slice(), finished.status), (&b"one two\nthree\n"[..], Some(0)));
    let told = "holdpoint: what your client sends beside the program's input is thrown away\r\n";
    assert_eq!(String::from_utf8(finished.errors).unwrap(), told);
    let ended = plant.gate.hear_channel();
    assert_eq!((ended.up.received, ended.up.forwarded, ended.up.refused), (23, 14, 9));
    drop(peer.run_after(&[(None, b"for nobody")], "forbidden"));
    let ended = plant.gate.hear_channel();
    assert_eq!((ended.up.received, ended.up.forwarded), (10, 0), "what a refused program would have read stays here");
}

/// Not a test: what the gate costs beside a direct connection, in one run, interleaved.
#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
fn bulk_beside_direct() {
    for durable in [false, true] {
        let plant = Plant::with(Options { durable, ..Options::default() });
        for up in [false, true] {
            let rounds: Vec<[Bulk; 3]> = (0..5)
                .map(|_| {
                    let through = |form| Bulk::measure(&plant, plant.ssh_with(form, &[]), up);
                    [Bulk::measure(&plant, plant.ssh_to("direct", &[]), up), through(Form::User), through(Form::Jump)]
                })
                .collect();
            for (at, name) in ["direct", "user", "jump"].into_iter().enumerate() {
                let ratio = median(rounds.iter().map(|round| round[0].seconds / round[at].seconds));
                let rate = median(rounds.iter().map(|round| Bulk::MIB as f64 / round[at].seconds));
                let cost = median(rounds.iter().map(|round| round[at].processor * 1024.0 / Bulk::MIB as f64));
                let (tape, way) = (if durable { "disk" } else { "memory" }, if up { "up" } else { "down" });
                println!("{tape} {way} {name}: {rate:.0} MiB/s, {ratio:.2} of direct, gate {cost:.2} s/GiB");
            }
        }
    }
}

/// Not a test: how long a key takes to its echo, beside a direct connection.
#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
fn echo_beside_direct() {
    for durable in [false, true] {
        let plant = Plant::with(Options { durable, ..Options::default() });
        for name in ["direct", "user-form", "hmi-2"] {
            let mut client = Client::start(plant.ssh_to(name, &["-tt"]).arg("stty raw -echo; echo ready; cat"));
            let (mut keys, mut shown) = (client.0.stdin.take().unwrap(), client.0.stdout.take().unwrap());
            shown.read_exact(&mut [0; 6]).unwrap();
            let mut waits: Vec<u128> = (0..600)
                .map(|_| {
                    let typed = Instant::now();
                    keys.write_all(b"k").unwrap();
                    shown.read_exact(&mut [0]).unwrap();
                    typed.elapsed().as_micros()
                })
                .collect();
            waits.sort_unstable();
            println!("durable {durable}, {name}: p50 {} us, p99 {} us", waits[300], waits[594]);
        }
    }
}

/// Not a test: what an idle shell costs.
#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
fn memory_of_idle_shells() {
    const SHELLS: usize = 100;
    for form in forms() {
        let plant = Plant::new();
        let open = |count: usize| {
            let shells: Vec<Client> = (0..count).map(|_| Client::start(&mut plant.ssh(form, "echo up; cat"))).collect();
            shells
                .into_iter()
                .map(|mut shell| {
                    shell.0.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
                    shell
                })
                .collect::<Vec<_>>()
        };
        let _first = open(10);
        let before = plant.gate.memory();
        let shells = open(SHELLS);
        let grown = plant.gate.memory() - before;
        drop(shells);
        plant.gate.until_still();
        let kept = plant.gate.memory().saturating_sub(before);
        // What the allocator keeps is used again; what leaks is not.
        let again = open(SHELLS);
        let twice = plant.gate.memory().saturating_sub(before + kept);
        drop(again);
        println!(
            "{form:?}: {} KiB a shell, {} KiB kept after, {} KiB more for as many again",
            grown / SHELLS as u64 / 1024,
            kept / 1024,
            twice / 1024
        );
    }
}

struct Bulk {
    seconds: f64,
    processor: f64,
}

impl Bulk {
    const MIB: usize = 512;

    fn measure(plant: &Plant, mut ssh: Command, up: bool) -> Self {
        let bytes = Self::MIB * MIB;
        let (before, started) = (plant.gate.processor_time(), Instant::now());
        if up {
            let mut head = Command::new("head");
            let mut zeros = head.args(["-c", &bytes.to_string(), "/dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
            ssh.arg("cat > /dev/null").stdin(zeros.stdout.take().unwrap());
            assert!(ssh.status().unwrap().success());
            zeros.wait().unwrap();
        } else {
            ssh.arg(format!("head -c {bytes} /dev/zero")).stdin(Stdio::null()).stdout(Stdio::null());
            assert!(ssh.status().unwrap().success());
        }
        let seconds = started.elapsed().as_secs_f64();
        Self { seconds, processor: (plant.gate.processor_time() - before).as_secs_f64() }
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
