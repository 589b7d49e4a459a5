//! What the plant's own systems are told: by rsyslog as Debian has it, in a file, and to whoever pulls. Nothing is lost when
//! either side is killed, and nothing is in it that must stay in the plant.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use policies::people::Kind;
use rustix::process::Signal;
use serde_json::Value;
use tests::peers::peer;
use tests::syslogd::Syslogd;
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, start, text};

fn plant(receivers: &[String]) -> Plant {
    let mut plant = Plant::ready(Options::default());
    plant.employ("rita", Kind::Auditor, &[]);
    plant.edit_config(|text| text + &receivers.concat());
    plant.serve();
    for who in ["lee", "rita"] {
        log_in(&plant, who);
    }
    plant
}

/// `tess` does something, and it is over: the session.
fn worked(plant: &Plant) -> String {
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo secret-word > secret-file"]), b"").ok();
    let mut session = String::new();
    eventually("the session has ended", || {
        let newest = json(plant, "lee", &["sessions", "--all"])["sessions"][0].clone();
        session = text(&newest["session"]);
        !newest["ended"].is_null()
    });
    session
}

/// All of the feed, up to now.
fn pulled(plant: &Plant, more: &[&str]) -> Vec<Value> {
    let said = holdpoint(plant, "rita", &[&["feed"], more].concat()).ok().out();
    said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["id"].as_str().expect("an id")).collect()
}

/// RFC 5424, 6: each part by its own rule, and nothing between them. The message.
#[track_caller]
fn strictly(message: &str) -> Value {
    let (pri, rest) = message.strip_prefix('<').and_then(|rest| rest.split_once('>')).expect("<PRI>");
    let priority: u16 = pri.parse().expect("a number");
    assert!(priority <= 191 && priority.to_string() == pri, "{message}");
    let mut parts = rest.splitn(8, ' ');
    let mut next =
        |name: &str| parts.next().filter(|part| !part.is_empty()).unwrap_or_else(|| panic!("no {name}: {message}"));
    assert_eq!(next("VERSION"), "1");
    let time = next("TIMESTAMP");
    let fraction = time.split_once('.').map_or("", |(_, fraction)| fraction.trim_end_matches('Z'));
    assert!((1..=6).contains(&fraction.len()) && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{message}");
    time.parse::<jiff::Timestamp>().expect("a time");
    for (name, most) in [("HOSTNAME", 255), ("APP-NAME", 48), ("PROCID", 128), ("MSGID", 32)] {
        let part = next(name);
        assert!(part.len() <= most && part.bytes().all(|byte| (33..=126).contains(&byte)), "{name}: {message}");
    }
    assert_eq!(next("STRUCTURED-DATA"), "-");
    let said = next("MSG");
    assert!(said.is_ascii(), "{message}");
    let value: Value = serde_json::from_str(said).expect("JSON");
    assert!(message.contains(&format!(" {} - ", value["id"].as_str().expect("an id"))), "{message}");
    value
}

fn whole(message: &str) -> bool {
    message.ends_with('}')
}

#[test]
fn every_way_brings_the_same_feed_in_order_and_a_strict_reader_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let collectors = ["tcp", "tls", "udp"].map(|how| Syslogd::of(&folder.path().join(how), how));
    let file = folder.path().join("feed.jsonl");
    let here = format!("\n[[feed.file]]\nname = \"here\"\npath = \"{}\"\n", file.display());
    let mut receivers: Vec<String> = collectors.iter().map(Syslogd::configured).collect();
    receivers.push(here);
    let plant = plant(&receivers);
    let session = worked(&plant);
    holdpoint(&plant, "rita", &["hold", &session, "--reason", "a reason that stays"]).ok();
    let lines = pulled(&plant, &[]);
    let known = ids(&lines);
    for id in ["HP1001", "HP1301", "HP1303", "HP1401", "HP1402", "HP1410", "HP1601"] {
        assert!(known.contains(&id), "{id}: {known:?}");
    }
    let is_numbered = |(number, line): (usize, &Value)| {
        let cursor = line["cursor"].as_str().expect("a cursor");
        cursor.split_once('-').expect("a cursor").1 == (number + 1).to_string()
    };
    assert!(lines.iter().enumerate().all(is_numbered));
    let journal: Vec<u64> = lines.iter().filter_map(|line| line["journal"].as_u64()).collect();
    assert_eq!(journal, (0..journal.len() as u64).collect::<Vec<_>>(), "each entry once, in order");
    for collector in &collectors {
        eventually("it has everything", || collector.received().len() >= lines.len());
        let received: Vec<Value> = collector.received().iter().map(|message| strictly(message)).collect();
        assert_eq!(received[..lines.len()], lines[..]);
    }
    let in_file = fs::read_to_string(&file).expect("a file");
    let in_file: Vec<Value> = in_file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(in_file[..lines.len()], lines[..]);
    let all = format!("{lines:?}");
    for stays in ["secret", "a reason that stays", "tess", "lee", "ssh-ed25519", "BEGIN"] {
        assert!(!all.contains(stays), "{stays}");
    }
    eventually("status knows that all was taken", || {
        let feed = json(&plant, "lee", &["status"])["feed"].clone();
        let all = feed.as_array().expect("receivers").clone();
        all.len() == 4 && all.iter().all(|receiver| receiver["behind"] == 0 && receiver["trouble"].is_null())
    });
}

#[test]
fn whichever_side_is_killed_no_event_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut collectors = ["tcp", "tls"].map(|how| Syslogd::of(&folder.path().join(how), how));
    let receivers: Vec<String> = collectors.iter().map(Syslogd::configured).collect();
    let mut plant = plant(&receivers);
    let session = worked(&plant);
    let holds = |plant: &Plant, times: usize| {
        for _ in 0..times {
            holdpoint(plant, "rita", &["hold", &session, "--reason", "again"]).ok();
            holdpoint(plant, "rita", &["release", &session]).ok();
        }
    };
    holds(&plant, 5);
    for round in 0..3 {
        collectors[0].kill();
        holds(&plant, 3);
        collectors[0].start();
        collectors[1].kill();
        holds(&plant, 3);
        if round == 1 {
            plant.kill();
            plant.serve();
        }
        collectors[1].start();
        holds(&plant, 3);
    }
    plant.kill();
    plant.serve();
    let lines = pulled(&plant, &[]);
    let wanted: Vec<u64> = lines.iter().filter_map(|line| line["journal"].as_u64()).collect();
    assert_eq!(wanted, (0..wanted.len() as u64).collect::<Vec<_>>());
    for collector in &collectors {
        let mut first: Vec<u64> = Vec::new();
        eventually("it has everything", || {
            let mut seen = BTreeSet::new();
            let messages = collector.received();
            let entries = messages.iter().filter(|message| whole(message)).map(|message| strictly(message));
            first = entries.filter_map(|line| line["journal"].as_u64()).filter(|entry| seen.insert(*entry)).collect();
            first.len() >= wanted.len()
        });
        assert_eq!(first[..wanted.len()], wanted[..], "each for the first time in order");
    }
}

#[test]
fn whoever_pulls_goes_on_where_they_left_off() {
    let plant = plant(&[]);
    let state = plant.person("rita").path("cursor");
    let keeps = ["--state", state.to_str().expect("a path")];
    let before = pulled(&plant, &keeps);
    let session = worked(&plant);
    let after = pulled(&plant, &keeps);
    assert!(ids(&after).starts_with(&["HP1401"]) || ids(&after).contains(&"HP1401"), "{after:?} of {session}");
    let all = pulled(&plant, &[]);
    assert_eq!(all[..before.len() + after.len()], [before, after].concat()[..]);
    let last = text(&all[all.len() - 1]["cursor"]);
    let none = pulled(&plant, &["--from", &last]);
    assert!(none.iter().all(|line| line["journal"].as_u64() > all[all.len() - 1]["journal"].as_u64()), "{none:?}");
    let (spool, number) = last.split_once('-').expect("a cursor");
    let first = if spool.starts_with('0') { '1' } else { '0' };
    let other = pulled(&plant, &["--from", &format!("{first}{}-{number}", &spool[1..])]);
    assert_eq!((ids(&other)[0], &other[0]["about"]["events"]), ("HP1905", &Value::Null), "another spool's: it is said");
    assert_eq!(other[1]["cursor"], all[0]["cursor"]);
    holdpoint(&plant, "rita", &["feed", "--from", "x y"]).refused(2, "is no cursor");
    holdpoint(&plant, "rita", &["feed", "--from", "x"]).refused(2, "is no cursor");
}

/// A receiver that is a file, and what it has, with how often each cursor came.
fn in_a_file(folder: &Path) -> (PathBuf, String) {
    let file = folder.join("feed.jsonl");
    let configured = format!("\n[[feed.file]]\nname = \"here\"\npath = \"{}\"\n", file.display());
    (file, configured)
}

fn lines_in(file: &Path) -> Vec<Value> {
    let said = fs::read_to_string(file).unwrap_or_default();
    let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// How often each entry of the journal came.
fn entries_in(file: &Path) -> BTreeMap<u64, usize> {
    let mut entries = BTreeMap::new();
    for entry in lines_in(file).iter().filter_map(|line| line["journal"].as_u64()) {
        *entries.entry(entry).or_insert(0) += 1;
    }
    entries
}

fn newest_entry(plant: &Plant) -> u64 {
    pulled(plant, &[]).iter().filter_map(|line| line["journal"].as_u64()).max().expect("entries")
}

/// As a bad disk does.
fn change_a_byte(file: &Path, place: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[place] ^= 0x04;
    fs::write(file, bytes).expect("a file");
}

#[test]
fn a_spool_that_a_disk_changed_is_set_aside_and_the_journal_is_told_once_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, configured) = in_a_file(folder.path());
    let mut plant = plant(&[configured]);
    worked(&plant);
    let before = pulled(&plant, &[]);
    let newest = newest_entry(&plant);
    eventually("it has everything", || entries_in(&file).contains_key(&newest));
    plant.stop();
    let state = plant.data().join("state");
    let spool = fs::read_dir(state.join("feed")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let spool = spool.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).max().expect("a file");
    // The end of a line in its middle: so two lines are none.
    let lines = fs::read(&spool).expect("a file");
    let ends: Vec<usize> = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    change_a_byte(&spool, ends[ends.len() / 2]);
    let kept = fs::read(&spool).expect("a file");
    plant.serve();
    let said = plant.gate().said();
    assert!(
        said.contains("the feed's spool cannot be read: it is set aside") && said.contains("is damaged at byte"),
        "{said}"
    );
    let names = || fs::read_dir(&state).expect("a folder").map(|entry| entry.expect("an entry").path());
    let aside = names().find(|path| path.display().to_string().contains("feed.set-aside-")).expect("it is set aside");
    assert_eq!(fs::read(aside.join(spool.file_name().expect("a name"))).expect("a file"), kept, "as it was found");

    let after = pulled(&plant, &[]);
    let entries: Vec<u64> = after.iter().filter_map(|line| line["journal"].as_u64()).collect();
    assert_eq!(entries, (0..entries.len() as u64).collect::<Vec<_>>(), "all that the journal has, in order");
    assert!(entries.last() > Some(&newest));
    eventually("the receiver has all of it once more", || {
        entries_in(&file).values().filter(|times| **times == 2).count() as u64 > newest
    });
    let last = text(&before[before.len() - 1]["cursor"]);
    let late = pulled(&plant, &["--from", &last]);
    assert_eq!((ids(&late)[0], &late[1]["journal"]), ("HP1905", &Value::from(0)), "whoever pulls reads that, and all");
}

#[test]
fn a_cursor_that_a_disk_changed_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, configured) = in_a_file(folder.path());
    let mut plant = plant(&[configured]);
    worked(&plant);
    let newest = newest_entry(&plant);
    eventually("it has everything", || entries_in(&file).contains_key(&newest));
    plant.stop();
    let cursor = plant.data().join("state/feed/cursors/here");
    let kept = fs::read_to_string(&cursor).expect("a cursor");
    // The first digit of how far it came.
    change_a_byte(&cursor, kept.find('-').expect("a cursor") + 1);
    plant.serve();
    eventually("it has everything once more", || entries_in(&file).get(&newest) == Some(&2));
    assert!(plant.gate().said().contains("a receiver's cursor cannot be read"), "{}", plant.gate().said());
    assert!(entries_in(&file).range(..=newest).all(|(_, times)| *times == 2));
}

/// A file that whoever writes it stands still at: a pipe that nobody reads.
fn hangs(file: &Path) {
    run(Command::new("mkfifo").arg(file), b"").ok();
}

#[test]
fn what_was_sent_and_not_noted_when_the_gate_was_killed_comes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, configured) = in_a_file(folder.path());
    let mut plant = plant(&[configured]);
    let newest = newest_entry(&plant);
    eventually("it has everything", || entries_in(&file).contains_key(&newest));
    let cursor = plant.data().join("state/feed/cursors/here");
    eventually("that is noted", || {
        let last = lines_in(&file).last().map(|line| text(&line["cursor"])).expect("a line");
        fs::read_to_string(&cursor).is_ok_and(|noted| noted.starts_with(&last))
    });
    let draft = cursor.with_extension("draft");
    hangs(&draft);
    let noted = lines_in(&file).len();
    worked(&plant);
    let newest = newest_entry(&plant);
    eventually("something was sent", || lines_in(&file).len() > noted);
    plant.kill();
    let cursors = |lines: &[Value]| lines.iter().map(|line| text(&line["cursor"])).collect::<Vec<_>>();
    let unnoted = cursors(&lines_in(&file)[noted..]);
    fs::remove_file(&draft).expect("the pipe");
    plant.serve();
    eventually("it has everything", || entries_in(&file).contains_key(&newest));
    let again = cursors(&lines_in(&file)[noted + unnoted.len()..]);
    assert_eq!(again[..unnoted.len()], unnoted, "by the same cursors, and then what follows");
    assert!(entries_in(&file).keys().copied().take(newest as usize).eq(0..newest), "nothing is missing");
}

#[test]
fn whoever_pulls_and_is_killed_before_they_noted_it_gets_it_again() {
    let plant = plant(&[]);
    let state = plant.person("rita").path("cursor");
    let keeps = ["--state", state.to_str().expect("a path")];
    pulled(&plant, &keeps);
    worked(&plant);
    eventually("it can be pulled", || ids(&pulled(&plant, &[])).contains(&"HP1402"));
    let draft = state.with_extension("draft");
    hangs(&draft);
    let mut client = start(&mut plant.as_person("rita", &["feed", "--follow", keeps[0], keeps[1]]));
    client.until("HP1402");
    client.signal(Signal::KILL);
    let before = client.ends().out();
    fs::remove_file(&draft).expect("the pipe");
    let before: Vec<Value> = before.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(pulled(&plant, &keeps)[..before.len()], before[..]);
}

#[test]
fn an_alarm_is_raised_once_and_cleared_once_across_a_restart_and_strangers_are_counted() {
    let mut plant = plant(&[]);
    let told = |plant: &Plant, id: &str| -> Vec<Value> {
        pulled(plant, &[]).into_iter().filter(|line| line["id"] == id).map(|line| line["about"].clone()).collect()
    };
    let stands = |plant: &Plant| json(plant, "lee", &["status"])["alarms"].clone();
    for _ in 0..3 {
        run(&mut plant.tess().ssh(&["-o", "IdentitiesOnly=yes", "nobody@gate.mill3.example"]), b"");
    }
    let cut = text(&json(&plant, "lee", &["cut", "--technician", "tess"])["cut"]);
    eventually("it stands", || stands(&plant)[0]["alarm"] == "cut");
    assert_eq!(stands(&plant)[0]["of"], cut.as_str());
    eventually("it is told", || told(&plant, "HP1903").len() == 1);
    plant.stop();
    plant.serve();
    eventually("it stands again", || stands(&plant)[0]["alarm"] == "cut");
    holdpoint(&plant, "lee", &["reopen", &cut, "--reason", "it was somebody else"]).ok();
    eventually("it stands no longer", || stands(&plant) == serde_json::json!([]));
    eventually("that is told", || told(&plant, "HP1904").len() == 1);
    let raised = told(&plant, "HP1903");
    assert_eq!((raised.len(), &raised[0]["alarm"], &raised[0]["of"]), (1, &"cut".into(), &cut.as_str().into()));
    let strangers = told(&plant, "HP1901");
    let times: u64 = strangers.iter().filter_map(|about| about["times"].as_u64()).sum();
    assert!((1..=2).contains(&strangers.len()) && times >= 3, "{strangers:?}");
    assert_eq!(strangers[0]["source"], "127.0.0.1");
    for _ in 0..6 {
        run(&mut plant.as_person("tess", &["login"]), b"000000\n").refused(1, "");
    }
    eventually("who guesses codes is locked out", || stands(&plant)[0]["alarm"] == "locked");
    assert_eq!(stands(&plant)[0]["of"], plant.tess().id.to_string());
}

#[test]
fn prometheus_reads_the_figures_and_finds_nobody_in_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("feed.jsonl");
    let plant = plant(&[format!("\n[[feed.file]]\nname = \"here\"\npath = \"{}\"\n", file.display())]);
    worked(&plant);
    let Some(mut reader) = peer("metrics.py") else { return };
    let ca = plant.tess().path("../../ca.pem");
    let url = format!("https://{}/metrics", plant.faces.plant[0]);
    let page = run(reader.arg(url).arg(ca), b"").ok().out();
    let found: Value = serde_json::from_str(&page).expect("JSON");
    for (name, kind) in [
        ("holdpoint_sessions_live", "gauge"),
        ("holdpoint_requests_pending", "gauge"),
        ("holdpoint_requests_oldest_pending_seconds", "gauge"),
        ("holdpoint_requests_granted_seconds", "histogram"),
        ("holdpoint_recorder_commit_seconds", "histogram"),
        ("holdpoint_recorder_waiting", "gauge"),
        ("holdpoint_disk_free_bytes", "gauge"),
        ("holdpoint_record_log_entries", "gauge"),
        ("holdpoint_feed_behind_events", "gauge"),
        ("holdpoint_alarms", "gauge"),
        ("holdpoint_refused", "counter"),
        ("holdpoint_strangers_failed", "counter"),
    ] {
        assert_eq!(found[name]["type"], kind, "{name}: {page}");
    }
    let value = |name: &str, of: &str| {
        let samples = found[name]["samples"].as_array().expect("samples").clone();
        samples.iter().find(|sample| sample[0] == of).unwrap_or_else(|| panic!("{of}: {samples:?}"))[2].as_f64()
    };
    assert_eq!(value("holdpoint_requests_granted_seconds", "holdpoint_requests_granted_seconds_count"), Some(1.0));
    let commits = value("holdpoint_recorder_commit_seconds", "holdpoint_recorder_commit_seconds_count");
    assert!(commits.is_some_and(|commits| commits > 3.0), "{commits:?}");
    assert!(value("holdpoint_disk_free_bytes", "holdpoint_disk_free_bytes").is_some_and(|free| free > 1e6));
    for stays in ["tess", "lee", "hmi-2", "p_0", "secret"] {
        assert!(!page.contains(stays), "{stays}: {page}");
    }
    let on_the_vendor_face = format!("https://{}/metrics", plant.faces.pages[0]);
    let mut reader = peer("metrics.py").expect("it was there");
    let ca: &Path = &plant.tess().path("../../ca.pem");
    assert!(run(reader.arg(on_the_vendor_face).arg(ca), b"").text().contains("404"));
}
