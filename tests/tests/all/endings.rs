//! What a technician reads when their session ends while it moves bulk, by stock clients: cut or at its deadline, reached by
//! user name or by `-J`, with bytes on their way up, down, or stuck. Terminals are in `whole_job.rs`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use policies::time::Seconds;
use recordings::notes::Note;
use rustix::process::Signal;
use serde_json::Value;
use tests::plant::EVERYTHING;
use tests::process::start_on_a_terminal;
use tests::{Options, Person, Plant, Running, eventually, run, start};

/// A client that moves bulk, and how it came.
struct Worker {
    what: String,
    client: Running,
}

/// What each of them does, in a shell, where `$SSH` and `$SCP` lead to the target.
const WORK: [&str; 5] = [
    "$SSH 'cat /dev/zero' > /dev/null",
    "$SSH 'cat > /dev/null' < /dev/zero",
    "$SSH cat < /dev/zero > /dev/null",
    "$SSH 'cat /dev/zero' | sleep 3",
    "$SCP:$BIG /dev/null",
];

/// A jump whose pipe is slow, so that the inner client goes on writing while the last words are on their way to it.
const SLOW_PIPE: &str =
    "perl -e '$| = 1; while (sysread STDIN, $b, 65536) { select undef, undef, undef, 0.1; print $b }'";

fn begin(plant: &Plant, tess: &Person) -> Vec<Worker> {
    let config = tess.path("ssh_config").display().to_string();
    let (user, lobby) = (tess.at("hmi-2"), tess.at(""));
    let begin = |way: &str, host: &str, work: &str| {
        let mut shell = tess.tool("sh");
        shell.args(["-c", work]).env("BIG", plant.hmi.path("big"));
        shell.env("SSH", format!("ssh -F {config} {way} {host}")).env("SCP", format!("scp -F {config} {way} {host}"));
        Worker { what: format!("{way} {work}"), client: start(&mut shell) }
    };
    let jump = format!("-o ProxyJump={lobby}");
    let mut workers: Vec<Worker> = WORK.iter().map(|work| begin("", &user, work)).collect();
    workers.extend(WORK[..4].iter().map(|work| begin(&jump, "hmi-2", work)));
    // Nobody else holds what the inner client writes to.
    let jumping = format!("exec 3<&0 0</dev/null\nssh -F {config} -W hmi-2:22 {lobby} <&3 3<&- | {SLOW_PIPE} 3<&- &");
    tess.write("slow", format!("#!/bin/sh\n{jumping}\nexec 3<&-\nwait\n").as_bytes());
    fs::set_permissions(tess.path("slow"), fs::Permissions::from_mode(0o700)).unwrap();
    let slow = format!("-o ProxyCommand={}", tess.path("slow").display());
    workers.push(begin(&slow, "hmi-2", WORK[1]));
    workers
}

/// A plant in which `tess` needs no code, with a large file at the target.
fn plant(lasts: Seconds) -> Plant {
    plant_with(Options::default(), lasts)
}

fn plant_with(options: Options, lasts: Seconds) -> Plant {
    let mut plant = Plant::enrolled(Options { sshd: "MaxStartups 100\n".into(), ..options });
    plant.log_in("tess");
    plant.grant("tess", "hmi-2", &EVERYTHING, lasts);
    plant.serve();
    File::create(plant.hmi.path("big")).unwrap().set_len(50 << 30).unwrap();
    let lee = plant.person("lee");
    run(&mut plant.as_person("lee", &["login"]), format!("{}\n", lee.code()).as_bytes()).ok();
    plant
}

fn sessions(plant: &Plant, more: &[&str]) -> Vec<Value> {
    let asked = [&["sessions", "--json"], more].concat();
    let told = run(&mut plant.as_person("lee", &asked), b"").ok().out();
    let told: Value = serde_json::from_str(&told).unwrap();
    told["sessions"].as_array().cloned().unwrap_or_default()
}

/// Until bulk has passed in every session.
fn until_all_flow(plant: &Plant, count: usize) {
    const BULK: u64 = 2 << 20;
    eventually("bulk passes in every session", || {
        let moved = |session: &Value| session["live"]["bytes_up"].as_u64().max(session["live"]["bytes_down"].as_u64());
        sessions(plant, &[]).iter().filter(|session| moved(session) > Some(BULK)).count() == count
    });
}

/// Each of them reads these words, and the journal says so too.
fn all_are_told(plant: &Plant, workers: Vec<Worker>, words: &str, ending: &str) {
    let count = workers.len();
    let ended: Vec<_> = workers.into_iter().map(|Worker { what, client }| (what, client.ends().err())).collect();
    let mute: Vec<_> = ended.iter().filter(|(_, told)| !told.contains(words)).collect();
    assert!(mute.is_empty(), "{mute:#?}");
    eventually("every session is journaled as ended", || {
        sessions(plant, &["--all"]).iter().filter(|session| session["ended"]["ending"] == ending).count() == count
    });
}

#[test]
fn whoever_is_cut_while_they_move_bulk_reads_why() {
    let plant = plant(Seconds(3_600));
    let workers = begin(&plant, plant.tess());
    until_all_flow(&plant, workers.len());
    run(&mut plant.as_person("lee", &["cut", "--technician", "tess"]), b"").ok();
    all_are_told(&plant, workers, "Access was cut by an operator", "cut");
}

#[test]
fn whoever_moves_bulk_at_their_deadline_reads_that_their_time_is_over() {
    let plant = plant(Seconds(30));
    let workers = begin(&plant, plant.tess());
    until_all_flow(&plant, workers.len());
    all_are_told(&plant, workers, "Your time at hmi-2 is over", "expired");
}

#[test]
fn what_the_gate_did_to_a_session_stands_in_its_recording() {
    let mut plant = plant(Seconds(3_600));
    let tess = plant.tess();
    let mut terminal = start_on_a_terminal(&tess.ssh(&["-tt", &tess.at("hmi-2")]));
    terminal.type_in("echo I am $((6 * 7))\n");
    terminal.until("I am 42");
    let session = sessions(&plant, &[])[0]["session"].as_str().unwrap().to_owned();
    run(&mut plant.as_person("lee", &["freeze", &session]), b"").ok();
    terminal.until("Your input is stopped by an operator");
    run(&mut plant.as_person("lee", &["thaw", &session]), b"").ok();
    terminal.until("Your input goes on");
    run(&mut plant.as_person("lee", &["cut", &session]), b"").ok();
    terminal.ends();
    plant.stop();
    let recording = plant.evidence().recording();
    let of_the_gate: Vec<&str> = recording
        .notes()
        .into_iter()
        .filter_map(|note| match note {
            Note::Freeze { frozen: true, .. } => Some("frozen"),
            Note::Freeze { frozen: false, .. } => Some("thawed"),
            Note::Cut { .. } => Some("cut"),
            Note::Notice { text } if text.contains("Access was cut by an operator") => Some("told"),
            _ => None,
        })
        .collect();
    assert_eq!(of_the_gate, ["frozen", "thawed", "cut", "told"]);
}

#[test]
fn who_watched_and_that_an_idle_terminal_was_locked_stand_in_the_recording() {
    let mut plant = plant_with(Options { rule: "idle = \"10s\"".into(), ..Options::default() }, Seconds(3_600));
    let tess = plant.tess();
    let mut terminal = start_on_a_terminal(&tess.ssh(&["-tt", &tess.at("hmi-2")]));
    terminal.type_in("echo I am $((6 * 7))\n");
    terminal.until("I am 42");
    let session = sessions(&plant, &[])[0]["session"].as_str().unwrap().to_owned();
    let mut watching = start(&mut plant.as_person("lee", &["watch", &session]));
    watching.until("I am 42");
    watching.signal(Signal::INT);
    watching.ends();
    terminal.until("Locked: nobody typed anything for 10s");
    terminal.type_in(format!("{}\r", tess.code()));
    terminal.until("Unlocked.");
    run(&mut plant.as_person("lee", &["cut", &session]), b"").ok();
    terminal.ends();
    let feed = run(&mut plant.as_person("lee", &["feed"]), b"").ok().out();
    let journaled = feed.lines().filter(|line| line.contains("HP143") && line.contains(&session)).count();
    assert_eq!(journaled, 2, "{feed}");
    plant.stop();
    let (recording, lee) = (plant.evidence().recording(), plant.person("lee").id.to_string());
    let (mut watched, mut locked) = (Vec::new(), Vec::new());
    for note in recording.notes() {
        match note {
            Note::Watch { operator, watching } => watched.push((operator.to_string(), *watching)),
            Note::Freeze { frozen, reason } => locked.push((*frozen, reason.to_string())),
            _ => {}
        }
    }
    assert_eq!(watched, [(lee.clone(), true), (lee, false)]);
    let begins = |at: usize, words: &str| locked[at].1.starts_with(words);
    assert_eq!(locked.iter().map(|(frozen, _)| *frozen).collect::<Vec<_>>(), [true, false], "{locked:?}");
    assert!(begins(0, "Locked: ") && begins(1, "Unlocked."), "{locked:?}");
}
