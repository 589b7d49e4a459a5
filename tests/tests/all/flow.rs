//! What channels carry when there is much of it, when somebody at either end stops, and when many share a connection: by
//! stock `ssh`, through the real program. The recipe itself, with memory and processor time, is in `proxy/tests/flow`.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, Instant};

use policies::time::Seconds;
use recordings::notes::Note;
use serde_json::Value;
use tests::plant::EVERYTHING;
use tests::process::start_on_a_terminal;
use tests::{Options, Person, Plant, Running, Target, eventually, json, log_in, long_or, python, run, start, text};

const MIB: u64 = 1 << 20;
/// Who is held up waits as long as the stall does; a busy machine alone delays nobody so long.
const NOT_HELD_UP: Duration = Duration::from_secs(30);

/// How a technician names the target.
#[derive(Clone, Copy, Debug)]
enum Form {
    User,
    Jump,
}

const FORMS: [Form; 2] = [Form::User, Form::Jump];

/// A plant in which `tess` needs no code, and `lee` has signed in.
fn plant() -> Plant {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    log_in(&plant, "lee");
    plant
}

/// `ssh` to the target in this form, as words for a shell.
fn words(tess: &Person, form: Form, options: &str) -> String {
    let config = tess.path("ssh_config").display().to_string();
    match form {
        Form::User => format!("ssh -F {config} {options} {}", tess.at("hmi-2")),
        Form::Jump => format!("ssh -F {config} {options} -J {} hmi-2", tess.at("")),
    }
}

/// A line for `bash`, in which the first program that fails gives the status.
fn shell(tess: &Person, line: &str) -> Command {
    let mut bash = tess.tool("bash");
    bash.args(["-o", "pipefail", "-c", line]);
    bash
}

/// The connection under which further ones are channels of it, and the words for these.
struct Master {
    _client: Running,
    channel: String,
}

impl Master {
    fn open(plant: &Plant, form: Form) -> Self {
        let tess = plant.tess();
        let mut client = start(&mut shell(tess, &format!("exec {} -N", words(tess, form, "-M"))));
        // A way of its own, which `ssh` takes where nobody shares a connection with it, leads nowhere.
        let config = tess.path("ssh_config").display().to_string();
        let host = match form {
            Form::User => tess.at("hmi-2"),
            Form::Jump => "hmi-2".into(),
        };
        let channel = format!("ssh -F {config} -o ProxyCommand=false {host}");
        eventually("the master shares its connection", || {
            assert!(!client.has_ended(), "{}", client.said());
            run(&mut tess.ssh(&["-O", "check", "-o", "ProxyCommand=false", &host]), b"").status.success()
        });
        Self { _client: client, channel }
    }

    /// A line for `bash`, in which `$SSH` is a channel.
    fn shell(&self, tess: &Person, line: &str) -> Command {
        let mut shell = shell(tess, line);
        shell.env("SSH", &self.channel);
        shell
    }
}

/// Bytes from the technician and from the target, of the one session there is.
fn passed(plant: &Plant) -> [u64; 2] {
    let sessions = json(plant, "lee", &["sessions"]);
    let live = &sessions["sessions"][0]["live"];
    ["bytes_up", "bytes_down"].map(|way| live[way].as_u64().unwrap_or(0))
}

/// Until bulk has passed, and then nothing more does.
fn until_it_stands_still(plant: &Plant) {
    const STILL: Duration = Duration::from_millis(700);
    let (mut last, mut since) = (passed(plant), Instant::now());
    eventually("bulk passes and stands still", || {
        let now = passed(plant);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        last.iter().sum::<u64>() > 2 * MIB && since.elapsed() > STILL
    });
}

#[test]
fn bulk_in_both_directions_at_once_never_deadlocks() {
    let plant = plant();
    let bytes = long_or(1 << 30, 40 * MIB);
    let zeros = format!("head -c {bytes} /dev/zero");
    let hash = run(&mut shell(plant.tess(), &format!("{zeros} | sha256sum")), b"").ok().out();
    for form in FORMS {
        let ssh = words(plant.tess(), form, "");
        let begun = Instant::now();
        let ended = start(&mut shell(plant.tess(), &format!("{zeros} | {ssh} cat | sha256sum")));
        let came = ended.ends_within(Duration::from_secs(long_or(600, 60))).ok().out();
        println!("{form:?}: {} MiB there and back in {:?}", bytes / MIB, begun.elapsed());
        assert_eq!(came, hash, "{form:?}");
    }
}

#[test]
fn no_exit_status_is_lost_on_a_multiplexed_connection() {
    let plant = plant();
    let tess = plant.tess();
    let exit = |master: &Master, status: i32| start(&mut master.shell(tess, &format!("$SSH 'exit {status}'")));
    for form in FORMS {
        let master = Master::open(&plant, form);
        for status in 0..long_or(60, 20) {
            assert_eq!(exit(&master, status).ends().code(), status, "{form:?}, one after the other");
        }
        for round in 0..long_or(20, 4) {
            let eight = [0, 1, 2, 3, 4, 5, 6, 7].map(|number| 10 * round + number);
            let ended = eight.map(|status| (status, exit(&master, status))).map(|(wanted, one)| (wanted, one.ends()));
            for (status, ended) in ended {
                assert_eq!(ended.code(), status, "{form:?}, eight at once: {}", ended.text());
            }
        }
    }
    assert_eq!(sessions_seen(&plant), 2, "every one of them was a channel of a master's connection");
}

fn sessions_seen(plant: &Plant) -> usize {
    json(plant, "lee", &["sessions", "--all"])["sessions"].as_array().map_or(0, Vec::len)
}

/// More than any window and queue holds, and no two blocks of it alike.
const NEIGHBOUR: &str = "seq -w 1 2097152";

/// A neighbour on the same connection gets all of its download while the others stand.
fn a_neighbour_is_served(plant: &Plant, master: &Master, form: Form) {
    let tess = plant.tess();
    let hash = run(&mut shell(tess, &format!("{NEIGHBOUR} | sha256sum")), b"").ok().out();
    let begun = Instant::now();
    let served = start(&mut master.shell(tess, &format!("$SSH '{NEIGHBOUR}' | sha256sum")));
    assert_eq!(served.ends_within(NOT_HELD_UP).ok().out(), hash, "{form:?}");
    println!("{form:?}: a neighbour's 16 MiB in {:?}", begun.elapsed());
}

#[test]
fn a_stalled_download_stops_no_neighbours_download_and_goes_on_afterwards() {
    let plant = plant();
    let tess = plant.tess();
    for form in FORMS {
        let master = Master::open(&plant, form);
        let go = tess.path("go");
        let (bytes, wait) = (64 * MIB, format!("until [ -e {} ]; do sleep 0.1; done", go.display()));
        let line = format!("$SSH 'head -c {bytes} /dev/zero; exit 5' | ({wait}; wc -c)");
        let mut stalled = start(&mut master.shell(tess, &line));
        until_it_stands_still(&plant);
        a_neighbour_is_served(&plant, &master, form);
        assert!(!stalled.has_ended() && passed(&plant)[1] < bytes, "{form:?}: it stood still");
        File::create(&go).unwrap();
        let ended = stalled.ends();
        assert_eq!((ended.out().trim(), ended.code()), (bytes.to_string().as_str(), 5), "{form:?}: {}", ended.err());
        fs::remove_file(go).unwrap();
    }
}

#[test]
fn a_stalled_upload_stops_no_neighbours_download_and_goes_on_afterwards() {
    let plant = plant();
    let tess = plant.tess();
    for form in FORMS {
        let master = Master::open(&plant, form);
        let go = plant.hmi.path("go");
        let (bytes, wait) = (64 * MIB, format!("until [ -e {} ]; do sleep 0.1; done", go.display()));
        let line = format!("head -c {bytes} /dev/zero | $SSH '{wait}; wc -c; exit 5'");
        let mut stalled = start(&mut master.shell(tess, &line));
        until_it_stands_still(&plant);
        a_neighbour_is_served(&plant, &master, form);
        assert!(!stalled.has_ended() && passed(&plant)[0] < bytes, "{form:?}: it stood still");
        File::create(&go).unwrap();
        let ended = stalled.ends();
        assert_eq!((ended.out().trim(), ended.code()), (bytes.to_string().as_str(), 5), "{form:?}: {}", ended.err());
        fs::remove_file(go).unwrap();
    }
}

#[test]
fn a_target_that_dies_under_an_upload_ends_it_clearly_and_leaves_no_memory_behind() {
    const ROUNDS: usize = 6;
    /// Each upload holds some 6 MiB while it stands; what is kept of one is kept of all.
    const KEPT_MAX: u64 = 12 * MIB;
    let mut plant = plant();
    let upload = |plant: &Plant, form| {
        let ssh = words(plant.tess(), form, "");
        start(&mut shell(plant.tess(), &format!("{ssh} 'echo reads; exec sleep 1000' < /dev/zero")))
    };
    let dies = |plant: &Plant, form: Form| {
        let mut client = upload(plant, form);
        client.until("reads\n");
        until_it_stands_still(plant);
        plant.hmi.kill();
        let ended = client.ends();
        assert_eq!(ended.code(), 255, "{form:?}");
        assert!(ended.err().contains("holdpoint: the connection to hmi-2 broke\r\n"), "{form:?}: {}", ended.err());
        eventually("the session is over", || json(plant, "lee", &["sessions"])["sessions"] == Value::Array(Vec::new()));
    };
    FORMS.into_iter().for_each(|form| dies(&plant, form));
    let before = plant.memory();
    for _ in 0..ROUNDS {
        FORMS.into_iter().for_each(|form| dies(&plant, form));
    }
    let mut after = 0;
    eventually("the memory of uploads that ended comes back", || {
        after = plant.memory();
        after < before + KEPT_MAX
    });
    println!("{} MiB before, {} MiB after {} dead uploads", before / MIB, after / MIB, 2 * ROUNDS);
    run(&mut shell(plant.tess(), &format!("{} true", words(plant.tess(), Form::User, ""))), b"").ok();
}

#[test]
fn a_terminal_has_its_size_from_the_start_and_every_later_one_and_they_are_recorded() {
    let mut plant = plant();
    for form in FORMS {
        let program = "trap 'echo now $(stty size)' WINCH; echo first $(stty size); while :; do sleep 0.1; done";
        let line = format!("stty rows 31 columns 97; exec {} \"$PROGRAM\"", words(plant.tess(), form, "-tt"));
        let mut terminal = start_on_a_terminal(shell(plant.tess(), &line).env("PROGRAM", program));
        terminal.until("first 31 97\r\n");
        for (columns, rows) in [(132, 50), (40, 12)] {
            terminal.resize(columns, rows);
            terminal.until(&format!("now {rows} {columns}\r\n"));
        }
    }
    plant.stop();
    let sizes = |note: &Note| match note {
        Note::Terminal { size, .. } | Note::Resize { size } => Some((size.columns, size.rows)),
        _ => None,
    };
    for opened in plant.evidence().recordings() {
        let sizes: Vec<_> = opened.notes().into_iter().filter_map(sizes).collect();
        assert_eq!(sizes, [(97, 31), (132, 50), (40, 12)]);
    }
}

/// Runs a program on a terminal and one without, which say what signal they caught, and sends one the signal of each line
/// that is typed.
const SIGNALS: &str = r#"
import asyncio, sys, asyncssh
def program(name):
    traps = "".join(f"trap 'echo {name} caught {signal}' {signal}; " for signal in ["USR1", "USR2"])
    return traps + f"echo {name} is ready; while :; do sleep 0.1; done"
async def show(lines):
    async for line in lines: print(line.strip(), flush=True)
async def main():
    port = int(sys.argv[1])
    async with asyncssh.connect("127.0.0.1", port, username="tess+panel-3", client_keys=[("key", "key-cert.pub")],
                                known_hosts=None, agent_path=None, config=None) as connection:
        processes = {
            "terminal": await connection.create_process(program("terminal"), term_type="xterm"),
            "pipe": await connection.create_process(program("pipe")),
        }
        shown = [show(lines) for process in processes.values() for lines in [process.stdout, process.stderr]]
        showing = asyncio.gather(*shown)
        while order := (await asyncio.to_thread(sys.stdin.readline)).split():
            processes[order[0]].send_signal(order[1])
        showing.cancel()
asyncio.run(main())
"#;

/// At Dropbear, because OpenSSH's server passes no signal on to a program of root's.
#[test]
fn a_signal_reaches_the_program_but_not_while_input_is_stopped() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(panel) = Target::dropbear(&folder.path().join("panel-3")) else { return };
    let secret = fs::read(folder.path().join("panel-3/login")).unwrap();
    let mut plant = Plant::enrolled(Options { more: panel.with_secret("panel-3", "panel"), ..Options::default() });
    plant.decide(|office| office.set_secret("panel", &secret));
    plant.grant("tess", "panel-3", &EVERYTHING, Seconds(3_600));
    plant.log_in("tess");
    plant.serve();
    log_in(&plant, "lee");
    let mut client = plant.tess().tool(python);
    let mut client = start(client.args(["-c", SIGNALS, &plant.ssh_port().to_string()]));
    for way in ["terminal", "pipe"] {
        client.until(&format!("{way} is ready\n"));
        client.type_in(format!("{way} USR1\n"));
        client.until(&format!("{way} caught USR1\n"));
    }
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    let order = |word: &str| run(&mut plant.as_person("lee", &[word, &session]), b"").ok();
    order("freeze");
    client.until("Your input is stopped by an operator");
    for (times, way) in ["terminal", "pipe"].into_iter().enumerate() {
        client.type_in(format!("{way} USR1\n"));
        eventually("the technician reads that it was not passed on", || {
            client.said().matches("holdpoint: signal USR1 was not passed on: input is stopped\n").count() == times + 1
        });
    }
    order("thaw");
    client.until("Your input goes on");
    for way in ["terminal", "pipe"] {
        client.type_in(format!("{way} USR2\n"));
        let said = client.until(&format!("{way} caught USR2\n"));
        assert_eq!(said.matches(&format!("{way} caught USR1")).count(), 1, "{said}");
    }
    client.type_in("\n");
    client.ends().ok();
    plant.stop();
    let recording = plant.evidence().recording();
    let signals = |note: &Note| match note {
        Note::Signal { name } => Some(name.to_string()),
        Note::GateVerdict { allowed: false, words, .. } => Some(words.to_string()),
        _ => None,
    };
    let recorded: Vec<_> = recording.notes().into_iter().filter_map(signals).collect();
    let refused = "signal USR1: input is stopped";
    assert_eq!(recorded, ["USR1", "USR1", "USR1", refused, "USR1", refused, "USR2", "USR2"]);
}
