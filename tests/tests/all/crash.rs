//! What happens when something breaks: the gate killed or stopped in the middle of its work, disks that are full or
//! read-only, files that were torn. Whatever it is, nothing recorded is lost, and the error says what to do.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use recordings::frame::Stream;
use recordings::notes::Note;
use rustix::process::Signal;
use tests::evidence::Opened;
use tests::{Disk, Faked, Options, Plant, Running, eventually, long_or, run, start};

/// `ssh` to the machine, running `command`.
fn work(plant: &Plant, command: &str) -> Running {
    let tess = plant.tess();
    start(&mut tess.ssh(&[&tess.at("hmi-2"), command]))
}

/// An upload that never ends, each line of it different, into a file of the machine.
fn upload(plant: &Plant, name: &str) -> Running {
    let mut up = work(plant, &format!("cat > {}", plant.hmi.path(name).display()));
    let (mut input, name) = (up.take_input(), name.to_owned());
    thread::spawn(move || {
        let mut number = 0_u64;
        loop {
            let lines: String = (number..number + 500).map(|n| format!("{name} {n}\n")).collect();
            number += 500;
            if input.write_all(lines.as_bytes()).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    up
}

/// The recording in which this command ran.
fn recording_of<'a>(recordings: &'a [Opened], command: &str) -> &'a Opened {
    let ran = |note: &&Note| matches!(note, Note::Exec { command: line, .. } if line.to_string().split([' ', ';', '/']).any(|word| word == command));
    let mut found = recordings.iter().filter(|opened| opened.notes().iter().any(ran));
    let one = found.next().unwrap_or_else(|| panic!("no recording of {command}"));
    assert!(found.next().is_none(), "two recordings of {command}");
    one
}

#[test]
fn a_crash_leaves_a_marked_recording() {
    let mut plant = Plant::ready(Options::default());
    let rounds = long_or(100_u64, 20);
    let mut received = Vec::new();
    for round in 0..rounds {
        plant.serve();
        let name = format!("up-{round}");
        let up = upload(&plant, &name);
        let down = work(&plant, &format!(": down-{round}; while seq 1000; do sleep 0.02; done"));
        eventually("both work", || {
            assert!(!plant.hmi.log().contains("fatal:"), "{}", plant.hmi.log());
            down.out_bytes() > 0 && fs::metadata(plant.hmi.path(&name)).is_ok_and(|file| file.len() > 0)
        });
        // Any moment will do, and each round another.
        thread::sleep(Duration::from_millis(round * 37 % 230));
        plant.kill();
        assert!(!up.ends().status.success());
        received.push(down.ends().out);
        eventually("the machine has taken in what was sent", || plant.hmi.is_idle());
    }
    plant.serve();
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let recordings = evidence.recordings();
    assert_eq!(recordings.len() as u64, 2 * rounds);
    let mut bytes = 0;
    for (round, down) in received.iter().enumerate() {
        let name = format!("up-{round}");
        let (sent, recorded) = (plant.hmi.read(&name), recording_of(&recordings, &name));
        let known = recorded.bytes(Stream::In);
        assert!(
            known.starts_with(&sent),
            "round {round}: {} bytes at the machine, {} recorded",
            sent.len(),
            known.len()
        );
        assert_eq!(recorded.ending(), Some("crashed"), "round {round}");
        let shown = recording_of(&recordings, &format!("down-{round}")).bytes(Stream::Out);
        assert!(shown.starts_with(down), "round {round}: {} bytes shown, {} recorded", down.len(), shown.len());
        bytes += sent.len() + down.len();
    }
    println!("{rounds} crashes, {bytes} bytes passed, all of them recorded");
    let verified = evidence.verify().ok();
    assert_eq!(verified.out().matches("ok, cut off").count() as u64, 2 * rounds, "{}", verified.out());
}

#[test]
fn sigterm_seals_everything() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let ups = ["one", "two"].map(|name| upload(&plant, name));
    let downs = ["one", "two"].map(|name| work(&plant, &format!(": down-{name}; while seq 1000; do :; done")));
    let tess = plant.tess();
    let mut shell = tests::process::start_on_a_terminal(&tess.ssh(&["-tt", &tess.at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    eventually("everybody works", || {
        downs.iter().all(|down| down.out_bytes() > 0)
            && ["one", "two"].iter().all(|name| fs::metadata(plant.hmi.path(name)).is_ok_and(|file| file.len() > 0))
    });
    // One reads nothing more of what comes.
    downs[1].signal(Signal::STOP);
    let stopped = plant.stop();
    assert_eq!(stopped.code(), 0, "{}", stopped.err());
    downs[1].signal(Signal::CONT);
    assert!(shell.ends().out().contains("The gate is being stopped."));
    for client in ups.into_iter().chain(downs) {
        assert!(!client.ends().status.success());
    }
    let evidence = plant.evidence();
    let recordings = evidence.recordings();
    assert_eq!(recordings.len(), 5);
    for opened in &recordings {
        assert_eq!(opened.ending(), Some("shutdown"));
    }
    for name in ["one", "two"] {
        let recorded = recording_of(&recordings, name).bytes(Stream::In);
        assert!(recorded.starts_with(&plant.hmi.read(name)));
    }
    evidence.verify().ok();
}

#[test]
fn recording_failure_stops_bytes() {
    let Some(disk) = Disk::of("420m") else { return };
    let mut plant = Plant::ready(Options { data: Some(disk.path().join("data")), ..Options::default() });
    plant.serve();
    let zeros = format!("cat > {}", plant.hmi.path("bulk").display());
    let mut bulk = work(&plant, &zeros);
    let mut input = bulk.take_input();
    thread::spawn(move || {
        let lines: String = (0..20_000).map(|n| format!("{n:>9}\n")).collect();
        while input.write_all(lines.as_bytes()).is_ok() {}
    });
    eventually("the upload flows", || fs::metadata(plant.hmi.path("bulk")).is_ok_and(|file| file.len() > 0));
    let filler = disk.fill();
    let ended = bulk.ends_within(Duration::from_secs(120));
    ended.says_no("The recording stopped, so the session did");
    let seen = plant.hmi.connections();
    work(&plant, "true").ends().says_no("cannot be recorded");
    assert_eq!(plant.hmi.connections(), seen, "nobody is let in to the machine");
    plant.stop();
    fs::remove_file(filler).unwrap();
    eventually("the machine is done", || plant.hmi.is_idle());
    plant.serve();
    work(&plant, "echo recorded again").ends().ok();
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let recordings = evidence.recordings();
    let (sent, recorded) = (plant.hmi.read("bulk"), recording_of(&recordings, "bulk").bytes(Stream::In));
    println!("{} bytes at the machine, {} recorded", sent.len(), recorded.len());
    assert!(recorded.starts_with(&sent));
    evidence.verify().ok();
}

#[test]
fn a_recorder_that_cannot_start_means_no_session() {
    let mut plant = Plant::ready(Options { reserve: "900 TiB".into(), ..Options::default() });
    plant.serve();
    work(&plant, "true").ends().says_no("cannot be recorded");
    assert_eq!(plant.hmi.connections(), 0);
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named_and_nothing_serves() {
    let plant = Plant::ready(Options::default());
    let data = plant.data();
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let mut read_only = Command::new("unshare");
    read_only.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(&data);
    if !run(Command::new("unshare").args(["--mount", "--map-root-user", "true"]), b"").status.success() {
        return println!("SKIPPED: the system lets nobody have mounts of their own (unshare --mount)");
    }
    let serve = plant.serve_command();
    let refused = run(read_only.arg(serve.get_program()).args(serve.get_args()), b"");
    let words = refused.err();
    assert!(words.contains("does not start") && words.contains(data.to_str().unwrap()), "{words}");
    refused.refused(3, "ead-only");
}

#[test]
fn a_second_program_on_the_same_folder_is_refused_soon_and_the_first_goes_on() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let begun = Instant::now();
    let second = run(&mut plant.serve_command(), b"");
    let took = begun.elapsed();
    println!("after {took:?}: {}", second.err());
    assert_eq!(second.err().matches("another program has").count(), 1, "{}", second.err());
    second.refused(3, "does not start");
    assert!(took < Duration::from_secs(10), "{took:?}");
    work(&plant, "echo still here").ends().ok();
}

#[test]
fn a_gate_starts_at_once_after_one_that_was_killed_although_a_program_of_its_still_runs() {
    let (mut plant, folder) = (Plant::ready(Options::default()), tempfile::tempdir().unwrap());
    let files = folder.path().join("files");
    let look = format!("ls -l /proc/$$/fd > {0}.new; mv {0}.new {0}; exec sleep 100", files.display());
    let mut config = fs::OpenOptions::new().append(true).open(plant.config()).unwrap();
    writeln!(config, "[notify.command]\nrun = [\"sh\", \"-c\", \"{look}\"]").unwrap();
    plant.serve();
    let mut cut = plant.holdpoint(&["cut", "--local", "--vendor", "stackwell", "--data"]);
    run(cut.arg(plant.data()), b"").ok();
    eventually("the operator's program is told", || files.exists());
    let inherited = fs::read_to_string(&files).unwrap();
    assert!(!inherited.contains("/data/"), "{inherited}");
    plant.gate().signal(Signal::KILL);
    plant.serve();
    work(&plant, "echo again").ends().ok();
}

#[test]
fn a_torn_end_of_the_journal_is_recovered_and_the_gate_serves_on() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant, "echo before").ends().ok();
    plant.kill();
    let segment = last_segment(&plant.data().join("journal/segments"));
    let bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // As a power cut leaves it: half of the last frame never reached the disk, nor did the zeros behind it.
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len((used - 5) as u64).unwrap();
    plant.serve();
    work(&plant, "echo after").ends().ok();
    assert_eq!(plant.stop().code(), 0);
    plant.evidence().verify().ok();
}

/// The last segment in which anything stands.
fn last_segment(folder: &Path) -> PathBuf {
    let mut segments: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let is_used = |path: &&PathBuf| fs::read(path).unwrap().iter().any(|byte| *byte != 0);
    segments.iter().rfind(is_used).expect("a journal has entries").clone()
}

/// Twenty mistakes, each of another kind, or in another place.
const TWENTY_MISTAKES: &str = r#"
[plant]
name = ""
timezone = "Europe/Atlantis"
banner = "Recorded."
changes = []
shift = "12h"
[zones.packaging]
never = "yes"
[zones."Not A Label"]
[targets.hmi-2]
zone = "painting"
[targets.hmi-2.services.ssh]
protocol = "gopher"
address = "10.20.2.11"
user = 7
credential = "hmi maint"
host_key = "SHA1:abc"
colour = "red"
[targets.plc-7]
[[rules]]
id = "one"
vendors = []
roles = ["maintenance"]
zones = ["painting"]
actions = ["dance"]
hours = "Mon-Fri 25:00-18:00"
from = ["everywhere"]
duration_max = "forever"
approvals = []
work_order = "("
exclusive = "world"
escort = "sometimes"
ending = "explode"
"#;

#[test]
fn twenty_mistakes_are_told_at_once_and_where_and_nothing_is_half_done() {
    let plant = Plant::enrolled(Options::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plant.toml");
    fs::write(&file, TWENTY_MISTAKES).unwrap();
    let mut check = plant.holdpoint(&["check"]);
    let told = run(check.arg("--config").arg(plant.config()).arg("--plant").arg(&file), b"");
    assert_eq!(told.code(), 2, "{}", told.text());
    let place = format!("{}:", file.display());
    let err = told.err();
    let mistakes: Vec<&str> = err.lines().filter(|line| line.starts_with(&place)).collect();
    println!("{}", mistakes.join("\n"));
    assert!(mistakes.len() >= 20, "only {}", mistakes.len());
    let wanted = folder.path().join("new");
    let mut init = plant.holdpoint(&["init"]);
    run(init.arg("--dir").arg(&wanted).arg("--plant").arg(&file), b"").refused(2, "painting");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_sync_that_fails_under_the_real_program_ends_everything_and_loses_nothing() {
    if Command::new("fiu-run").arg("-h").output().is_err() {
        return println!("SKIPPED: libfiu (Debian: fiu-utils) is not installed");
    }
    let mut plant = Plant::ready(Options::default());
    let rounds = long_or(50, 3);
    for round in 0..rounds {
        let pipes = tempfile::tempdir().unwrap();
        let prefix = pipes.path().join("fiu");
        plant.serve_under(&["fiu-run", "-x", "-f", prefix.to_str().unwrap()]);
        let name = format!("up-{round}");
        let up = upload(&plant, &name);
        let down = work(&plant, &format!(": down-{round}; while seq 1000; do sleep 0.02; done"));
        eventually("both work", || {
            down.out_bytes() > 0 && fs::metadata(plant.hmi.path(&name)).is_ok_and(|file| file.len() > 0)
        });
        let mut fail = Command::new("fiu-ctrl");
        fail.arg("-f")
            .arg(&prefix)
            .args(["-c", "enable name=posix/io/sync/fdatasync"])
            .arg(plant.gate().id().to_string());
        run(&mut fail, b"").ok();
        // Whoever works is told, and nobody else is let in: what the disk says is not believed a second time.
        for client in [up.ends(), down.ends()] {
            assert!(!client.status.success());
            assert!(client.text().contains("The recording stopped, so the session did"), "{}", client.text());
        }
        let tess = plant.tess();
        assert!(!run(&mut tess.ssh(&[&tess.at("hmi-2"), "true"]), b"").status.success());
        eventually("the machine has taken in what was sent", || plant.hmi.is_idle());
        plant.kill();
    }
    plant.serve();
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let recordings = evidence.recordings();
    for round in 0..rounds {
        let name = format!("up-{round}");
        let (sent, known) = (plant.hmi.read(&name), recording_of(&recordings, &name).bytes(Stream::In));
        assert!(known.starts_with(&sent), "round {round}: {} bytes arrived, {} recorded", sent.len(), known.len());
    }
    evidence.both_say(0);
}

#[test]
fn a_clock_that_was_set_back_between_two_starts_keeps_people_out_and_spoils_nothing() {
    let Some(clock) = Faked::new() else { return };
    let around = clock.around();
    let around: Vec<&str> = around.iter().map(String::as_str).collect();
    let mut plant = Plant::ready(Options::default());
    let work = |plant: &Plant| run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "true"]), b"");
    clock.set_ahead(45);
    plant.serve_under(&around);
    work(&plant).ok();
    plant.stop();
    plant.serve();
    work(&plant).says_no("clock");
    assert_eq!(plant.stop().code(), 0);
    plant.evidence().both_say(0);
    clock.set_ahead(55);
    plant.serve_under(&around);
    work(&plant).ok();
    plant.stop();
    plant.evidence().both_say(0);
}

#[test]
fn damage_in_the_middle_keeps_the_gate_from_starting_and_says_the_way_out() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo one"]), b"").ok();
    plant.stop();
    for log in ["journal", "records"] {
        let segment = plant.data().join(log).join("segments/00000000.seg");
        let whole = fs::read(&segment).unwrap();
        let mut bytes = whole.clone();
        bytes[3_000] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let refused =
            run(&mut plant.serve_command(), b"").refused(3, "No crash leaves that. Put the file right").text();
        assert!(refused.contains("is damaged at byte") && refused.contains("`holdpoint restore`"), "{refused}");
        fs::write(&segment, whole).unwrap();
    }
    let format = plant.data().join("journal/FORMAT");
    let text = fs::read(&format).unwrap();
    fs::remove_file(&format).unwrap();
    run(&mut plant.serve_command(), b"").refused(3, "put back the backup of the whole folder");
    fs::write(&format, text).unwrap();
    plant.serve();
    plant.stop();
    plant.evidence().both_say(0);
}
