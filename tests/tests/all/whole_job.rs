//! The whole job by real commands and real clients, from `init` to a byte flipped in the evidence: people enrol, access is
//! asked for and granted, the technician works, the time is extended and cut, and an auditor checks what is left.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use recordings::frame::Stream;
use recordings::notes::Note;
use serde_json::Value;
use tests::commands::find;
use tests::evidence::{Evidence, Opened};
use tests::process::start_on_a_terminal;
use tests::{Options, Plant, eventually, holdpoint, json, log_in, long_or, run, start, text};

/// Founded, and everybody enrolled as they would: with stock `ssh`, or with the program itself.
fn staffed() -> (Plant, PathBuf) {
    let mut plant = Plant::founded(Options::default());
    let notices = plant.notices();
    let codes = plant.codes.clone();
    plant.serve();
    let origin = format!("https://{}:9443", tests::person::PLANT_FACE);
    for name in ["ada", "kim", "lee"] {
        enrol(&mut plant, name, &codes[name], &origin);
    }
    log_in(&plant, "ada");
    log_in(&plant, "lee");
    holdpoint(&plant, "ada", &["contract", "acme", "--until", "2099-12-31", "--sponsor", "lee"]).ok();
    let invited =
        |plant: &Plant, name| text(&json(plant, "ada", &["invite", name, "--technician", "acme/maintenance"])["code"]);
    let (tess, theo) = (invited(&plant, "tess"), invited(&plant, "theo"));
    enrol(&mut plant, "tess", &tess, &format!("https://{}:8443", tests::person::GATE));
    plant.enrol_by_ssh("theo", &theo);
    log_in(&plant, "tess");
    (plant, notices)
}

/// As the guides say, with the program: it leaves the profile that every command needs.
#[track_caller]
fn enrol(plant: &mut Plant, name: &str, code: &str, origin: &str) {
    let mut person = plant.newcomer(name);
    let faces = &plant.faces;
    let address = if origin.ends_with(":9443") { faces.plant[0] } else { faces.pages[0] }.to_string();
    let mut enrol = person.tool(tests::plant::program());
    enrol.args(["enrol", "--gate", origin, "--address", &address, "--key", "key", "--json"]);
    let told = run(&mut enrol, format!("{code}\n").as_bytes()).ok().out();
    let enrolled: Value = serde_json::from_str(&told).expect("one object");
    let recovery = enrolled["recovery_codes"].as_array().expect("codes").iter().map(text).collect::<Vec<_>>();
    person.has_app(&text(&enrolled["totp_secret"]), &recovery);
    plant.add(person);
}

#[test]
fn the_whole_job() {
    let (mut plant, notices) = staffed();
    let at = plant.tess().at("hmi-2");
    let refused = run(&mut plant.tess().ssh(&["-o", "KbdInteractiveAuthentication=no", &at, "true"]), b"");
    assert!(!refused.status.success() && plant.hmi.connections() == 0, "{}", refused.text());
    let reason = "the pump trips \u{1b}]0;owned\u{7}";
    let strange = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", reason];
    let strange = text(&json(&plant, "tess", &strange)["request"]);
    let shown = holdpoint(&plant, "lee", &["requests"]).ok().out();
    assert!(shown.contains("the pump trips") && !shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    holdpoint(&plant, "lee", &["deny", &strange, "--reason", "say it in words", "--yes"]).ok();
    let asked =
        ["request", "hmi-2", "--actions", "shell,file-get,file-put", "--for", "1h", "--reason", "the pump trips"];
    let request = text(&json(&plant, "tess", &asked)["request"]);
    eventually("the command of the operator's choice is told that it waits", || {
        let told = fs::read_to_string(&notices).unwrap_or_default();
        told.lines().any(|line| line.contains("\"request-waits\"") && line.contains(&request))
    });
    let card = holdpoint(&plant, "lee", &["requests"]).ok().out();
    assert!(card.contains(&request) && card.contains("the pump trips"), "{card}");
    holdpoint(&plant, "tess", &["approve", &request, "--yes"]).says_no("");
    holdpoint(&plant, "lee", &["approve", &request]).refused(2, "--yes");
    holdpoint(&plant, "lee", &["approve", &request, "--for", "2m", "--actions", "shell,file-get", "--yes"]).ok();
    holdpoint(&plant, "kim", &["requests"]).says_no("holdpoint login");

    // A shell that stays, and is told.
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    work_in_every_way(&plant);
    copy_in_every_way(&plant);
    shell.until("1 minute left, until");
    let lobby = plant.tess().at("");
    run(&mut plant.tess().ssh(&[&lobby, "extend", "30m", "the pump still trips"]), b"").ok();
    let cards = json(&plant, "lee", &["requests", "--all"]);
    let ask = find(&cards, "ask").expect("the extension waits");
    holdpoint(&plant, "lee", &["approve", &ask, "--yes"]).ok();
    shell.until("The session now lasts until");
    shell.type_in("echo still $((40 + 3))\r");
    shell.until("still 43");
    let sessions = json(&plant, "lee", &["sessions"]);
    let session = find(&sessions, "session").expect("one runs");
    let cut = json(&plant, "lee", &["cut", "--technician", "tess"]);
    let ended = shell.ends();
    assert!(ended.out().contains("[holdpoint] Access was cut by an operator"), "{}", ended.out());
    let kept_out = ["-o", "KbdInteractiveAuthentication=no", &at, "true"];
    run(&mut plant.tess().ssh(&kept_out), b"").says_no("cut by an operator");
    holdpoint(&plant, "lee", &["reopen", &text(&cut["cut"]), "--reason", "it was somebody else"]).ok();
    assert!(run(&mut plant.tess().ssh(&[&at, "echo again"]), b"").ok().out() == "again\n");
    assert_eq!(plant.stop().code(), 0);

    let evidence = plant.evidence();
    let recordings = evidence.recordings();
    what_was_done_is_in_the_recordings(&plant, &recordings);
    replay(&evidence, &session);
    copies_are_listed_and_not_drawn(&evidence, &recordings);
    let verified = evidence.verify().ok();
    println!("{}", verified.out());
}

/// `tech+target@`, `-J`, and the lobby.
fn work_in_every_way(plant: &Plant) {
    let tess = plant.tess();
    let (at, lobby) = (tess.at("hmi-2"), tess.at(""));
    assert_eq!(run(&mut tess.ssh(&[&at, "echo user form"]), b"").ok().out(), "user form\n");
    assert_eq!(run(&mut tess.ssh(&["-J", &lobby, "hmi-2", "echo jump form"]), b"").ok().out(), "jump form\n");
    let listed = run(&mut tess.ssh(&[&lobby, "list"]), b"").ok().out();
    assert!(listed.contains("hmi-2 (ssh): shell, file-get until"), "{listed}");
    let connected = run(&mut tess.ssh(&[&lobby]), b"connect hmi-2\necho lobby form\nexit\n").ok();
    assert!(connected.out().contains("lobby form"), "{}", connected.text());
}

/// scp in both protocols, sftp and rsync, both ways and by way of `-J`.
fn copy_in_every_way(plant: &Plant) {
    let tess = plant.tess();
    let noise: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    tess.write("up", &noise);
    let config = tess.path("ssh_config").display().to_string();
    let jump = format!("ProxyJump={}", tess.at(""));
    for (number, (way, host)) in
        [(vec![], tess.at("hmi-2")), (vec!["-o", &jump], "hmi-2".to_owned())].into_iter().enumerate()
    {
        for protocol in ["-O", "-s"] {
            let there = plant.hmi.path(&format!("scp{protocol}{number}"));
            let remote = format!("{host}:{}", there.display());
            let scp = |from: &str, to: &str| {
                let mut scp = tess.tool("scp");
                run(scp.args([protocol, "-q", "-F", &config]).args(&way).args([from, to]), b"").ok();
            };
            scp("up", &remote);
            scp(&remote, "down");
            assert!(fs::read(there).unwrap() == noise && tess.read("down") == noise, "{protocol} {host}");
            fs::remove_file(tess.path("down")).unwrap();
        }
        let there = plant.hmi.path(&format!("rsync-{number}"));
        let shell = format!("ssh -F {config} {}", way.join(" "));
        let remote = format!("{host}:{}", there.display());
        for (from, to) in [("up", remote.as_str()), (remote.as_str(), "down")] {
            run(tess.tool("rsync").args(["-e", &shell, from, to]), b"").ok();
        }
        assert!(fs::read(there).unwrap() == noise && tess.read("down") == noise, "rsync {host}");
        let batch = format!(
            "put up {0}\nrename {0} {0}-moved\nget {0}-moved by-sftp\n",
            plant.hmi.path(&format!("sftp-{number}")).display()
        );
        let mut sftp = tess.tool("sftp");
        run(sftp.args(["-q", "-F", &config]).args(&way).args(["-b", "-", &host]), batch.as_bytes()).ok();
        assert!(tess.read("by-sftp") == noise, "sftp {host}");
    }
}

fn what_was_done_is_in_the_recordings(plant: &Plant, recordings: &[Opened]) {
    let commands: BTreeSet<String> = recordings
        .iter()
        .flat_map(Opened::notes)
        .filter_map(|note| match note {
            Note::Exec { command, .. } => Some(command.to_string()),
            _ => None,
        })
        .collect();
    for command in ["echo user form", "echo jump form", "echo again"] {
        assert!(commands.contains(command), "{command} in {commands:?}");
    }
    assert!(commands.iter().any(|command| command.starts_with("scp -t")), "{commands:?}");
    assert!(commands.iter().any(|command| command.starts_with("rsync --server")), "{commands:?}");
    let files: Vec<String> = recordings
        .iter()
        .flat_map(Opened::notes)
        .filter_map(|note| match note {
            Note::FileEntry(entry) => Some(entry.path.to_string()),
            _ => None,
        })
        .collect();
    for name in ["scp-O0", "scp-s0", "scp-O1", "scp-s1", "sftp-0", "sftp-1"] {
        let path = plant.hmi.path(name).display().to_string();
        assert!(files.contains(&path), "{path} in {files:?}");
    }
    let endings: Vec<_> = recordings.iter().filter_map(Opened::ending).collect();
    assert_eq!(endings.len(), recordings.len(), "each is sealed");
    assert_eq!(endings.iter().filter(|ending| **ending == "cut").count(), 1, "{endings:?}");
    let told = |note: &&Note| matches!(note, Note::Notice { text } if text.contains("Access was cut by an operator"));
    assert_eq!(recordings.iter().flat_map(Opened::notes).filter(told).count(), 1);
    let lobby =
        recordings.iter().filter(|opened| opened.bytes(Stream::Out).windows(10).any(|out| out == b"lobby form"));
    assert_eq!(lobby.count(), 1);
}

/// Listed, searched, played and exported, on the auditor's machine.
fn replay(evidence: &Evidence, session: &str) {
    let listed = run(&mut evidence.holdpoint(&["recordings", "--json"]), b"").ok().out();
    assert!(listed.contains(session), "{listed}");
    let of_session = |arguments: &[&str]| {
        let all = [&[arguments[0], session, "--key", "key"], &arguments[1..]].concat();
        run(&mut evidence.holdpoint(&all), b"").ok().out()
    };
    assert!(of_session(&["play", "--search", "I am 42"]).contains("I am 42"));
    let played = of_session(&["play", "--speed", "1000", "--idle", "1s"]);
    assert!(played.contains("still 43") && played.contains("1 minute left"), "{played}");
    for (form, version) in [("cast", 3), ("cast-v2", 2)] {
        of_session(&["export", "--as", form, "-o", form]);
        let cast = fs::read_to_string(evidence.path(form)).unwrap();
        let lines: Vec<Value> = cast.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert_eq!(lines[0]["version"], version);
        let output: String = lines[1..].iter().filter(|event| event[1] == "o").map(|event| text(&event[2])).collect();
        assert!(output.contains("I am 42") && output.contains("still 43"), "{output}");
        assert!(lines[1..].iter().all(|event| event[0].as_f64().is_some_and(|at| at >= 0.0)));
    }
    let wrong = run(&mut evidence.holdpoint(&["play", session, "--key", "trust.toml"]), b"");
    assert!(!wrong.status.success());
}

/// Of what was copied there is no screen: old-style scp is listed as SFTP is, and rsync is a command like any other.
fn copies_are_listed_and_not_drawn(evidence: &Evidence, recordings: &[Opened]) {
    let ran = |opened: &Opened, program: &str| {
        let mut notes = opened.notes().into_iter();
        notes.any(|note| matches!(note, Note::Exec { command, .. } if command.to_string().starts_with(program)))
    };
    for program in ["scp -t", "scp -f", "rsync"] {
        let opened = recordings.iter().find(|opened| ran(opened, program)).expect(program);
        let session = opened.recording.id().to_string();
        let play = ["play", &session, "--key", "key", "--speed", "1000", "--channel", "1"];
        let played = run(&mut evidence.holdpoint(&play), b"").ok().out();
        assert!(!played.contains('\u{1b}'), "{program}: {played:?}");
        let export = ["export", &session, "--key", "key", "-o", program];
        let exported = run(&mut evidence.holdpoint(&export), b"");
        if program == "rsync" {
            exported.ok();
            continue;
        }
        let operation = if program == "scp -t" { "put" } else { "get" };
        let listed = played.lines().find(|line| line.contains(&format!("file: {operation} "))).expect("it is listed");
        assert!(listed.contains(", 800000 bytes, SHA-256 "), "{listed}");
        assert!(played.contains("no screen to replay on channel 1"), "{played}");
        assert!(played.lines().all(|line| line.is_empty() || line.starts_with("[gate] ")), "{played}");
        exported.says_no("`play` lists the files");
        assert!(!evidence.path(program).exists(), "no half of a cast is left");
    }
}

#[test]
fn a_session_that_still_runs_is_fetched_checked_and_played() {
    let mut plant = Plant::new();
    log_in(&plant, "lee");
    let session = |plant: &Plant| find(&json(plant, "lee", &["sessions"]), "session").expect("one runs");
    let key = plant.installation().join("auditors/auditor-1.key").display().to_string();
    let trust = plant.installation().join("trust.toml").display().to_string();
    let fetched = |plant: &Plant, arguments: &[&str]| {
        holdpoint(plant, "lee", &[&["fetch", "-o", "taken"], arguments].concat()).ok();
        let verified = holdpoint(plant, "lee", &["verify", "taken", "--trust", &trust, "--key", &key]);
        let is_part = arguments.contains(&"--session");
        let words =
            if is_part { "\nWHOLE AS FAR AS IT GOES: 1 session of 1 and" } else { "\nOPEN: nothing was altered" };
        assert!(verified.code() == 4 && verified.out().contains(words), "{}", verified.text());
        verified.out()
    };
    // From a gate that recorded nothing yet, too.
    fetched(&plant, &[]);
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    for number in [40, 50] {
        shell.type_in(format!("echo I am $(({number} + 2))\r"));
        shell.until(&format!("I am {}", number + 2));
        let running = session(&plant);
        let named = ["--session", running.as_str()];
        let verified = fetched(&plant, if number == 40 { &named } else { &[] });
        assert!(verified.contains(&format!("OPEN: {running}: the session goes on")), "{verified}");
        assert!(verified.contains(", with 1 session open"), "{verified}");
        let play = ["play", &running, "--data", "taken", "--key", &key, "--speed", "1000"];
        let played = holdpoint(&plant, "lee", &play).ok().out();
        assert!(played.contains(&format!("I am {}", number + 2)), "{played}");
        assert!(played.contains("no ending stands here"), "{played}");
    }
    let running = session(&plant);
    let mut watching = start(&mut plant.as_person("lee", &["watch", &running]));
    watching.until("I am 52");
    watching.signal(rustix::process::Signal::INT);
    watching.ends().ok();
    eventually("that lee left is known", || {
        json(&plant, "lee", &["sessions"])["sessions"][0]["watchers"].as_array().is_some_and(Vec::is_empty)
    });
    shell.type_in("exit\r");
    shell.ends();
    eventually("its end is journaled", || {
        json(&plant, "lee", &["sessions"])["sessions"].as_array().is_some_and(Vec::is_empty)
    });
    fetched(&plant, &[]);
    let play = ["play", &running, "--data", "taken", "--key", &key, "--speed", "1000"];
    let played = holdpoint(&plant, "lee", &play).ok().out();
    assert!(played.contains("I am 52") && played.contains("the session ended: left"), "{played}");
    let told: Vec<&str> = played.lines().filter(|line| line.contains(" watched")).collect();
    assert!(matches!(told[..], [came, left] if came.ends_with(" watched") && left.ends_with("no longer")), "{played}");
    assert_eq!(plant.stop().code(), 0);
    plant.evidence().verify().ok();
}

#[test]
fn one_byte_flipped_anywhere_in_the_evidence_is_found() {
    let plant = {
        let mut plant = Plant::new();
        let at = plant.tess().at("hmi-2");
        run(&mut plant.tess().ssh(&[&at, "seq 20000; cat"]), &[7; 100_000]).ok();
        assert_eq!(plant.stop().code(), 0);
        plant
    };
    let evidence = plant.evidence();
    evidence.verify().ok();
    let mut files = Vec::new();
    for folder in ["journal", "records"] {
        collect(&evidence.data().join(folder), &mut files);
    }
    let places = files.iter().flat_map(|file| spread(file, long_or(60, 3)).into_iter().map(move |at| (file, at)));
    let mut flipped = 0;
    for (file, at) in places {
        let before = flip(file, at);
        let found = evidence.verify();
        assert_eq!(found.code(), 1, "byte {at} of {}: {}", file.display(), found.text());
        assert!(found.out().contains("NOT WHOLE. First: "), "{}", found.out());
        put_back(file, at, before);
        flipped += 1;
    }
    println!("{flipped} bytes flipped in {} files, each found", files.len());
    evidence.verify().ok();
}

/// Files with something in them.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if fs::read(&path).unwrap().iter().any(|byte| *byte != 0) {
            files.push(path);
        }
    }
    files.sort();
}

/// Offsets spread over what is used of a file, its first and last bytes included.
fn spread(file: &Path, count: usize) -> Vec<u64> {
    let used = fs::read(file).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    (0..count).map(|n| (used * n / (count - 1).max(1)) as u64).collect()
}

fn flip(file: &Path, at: u64) -> u8 {
    let mut opened = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.seek(SeekFrom::Start(at)).unwrap();
    opened.read_exact(&mut byte).unwrap();
    opened.seek(SeekFrom::Start(at)).unwrap();
    opened.write_all(&[byte[0] ^ 0x10]).unwrap();
    byte[0]
}

fn put_back(file: &Path, at: u64, byte: u8) {
    let mut opened = fs::OpenOptions::new().write(true).open(file).unwrap();
    opened.seek(SeekFrom::Start(at)).unwrap();
    opened.write_all(&[byte]).unwrap();
}
