//! A gate that goes on from an earlier state: what two people must sign, what is lost and told for ever, and what nobody
//! gets by pretending that somebody signed.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use certs::sshsig::{self, Namespace};
use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::digest::Digest;
use policies::events::Event;
use policies::ids::{PersonId, RestoreId};
use policies::people::SshKey;
use policies::requests::{Lost, RestoreStatement, SeenHead, Signed};
use policies::time::Seconds;
use recordings::paper::PaperHead;
use recordings::tlog::checkpoint::Checkpoint;
use serde_json::Value;
use tests::connecting::on_the_port_of_its_origin;
use tests::evidence::Evidence;
use tests::person::GATE;
use tests::plant::EVERYTHING;
use tests::process::start_on_a_terminal;
use tests::witness::{Witness, cosigned, is_remembered, published, trusts};
use tests::{
    Connecting, Echo, Ended, Options, Person, Plant, Seized, eventually, holdpoint, json, log_in, recipient, run,
    start, text,
};

const HOUR: Seconds = Seconds(3_600);

#[track_caller]
fn work(plant: &Plant) {
    let tess = plant.tess();
    run(&mut tess.ssh(&[&tess.at("hmi-2"), "true"]), b"").ok();
}

pub(crate) fn put_back(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    run(Command::new("cp").arg("-a").arg(from).arg(to), b"").ok();
}

/// `holdpoint restore` at the gate's machine.
fn restore(plant: &Plant, arguments: &[&str]) -> Command {
    let mut command = plant.holdpoint(&["restore", "--config"]);
    command.arg(plant.config()).args(arguments);
    command
}

/// What is to be signed, as a file on a person's machine.
fn paper(plant: &Plant) -> PathBuf {
    plant.installation().with_file_name("restore.json")
}

/// As a person signs, where their key is.
fn sign(plant: &Plant, who: &str) -> Ended {
    let paper = paper(plant);
    run(&mut plant.as_person(who, &["restore", "--sign", paper.to_str().unwrap(), "--yes"]), b"")
}

/// Two sign, and it is carried out.
#[track_caller]
pub(crate) fn restored(plant: &Plant, more: &[&str]) -> (String, String) {
    let file = paper(plant);
    let file = file.to_str().unwrap();
    let mut arguments = vec!["-o", file];
    arguments.extend(more);
    let planned = run(&mut restore(plant, &arguments), b"").ok().out();
    for who in ["ada", "lee"] {
        sign(plant, who).ok();
    }
    (planned, run(&mut restore(plant, &["--with", file, "--yes"]), b"").ok().out())
}

fn verify(evidence: &Evidence, more: &[&str]) -> Ended {
    run(evidence.holdpoint(&["verify", "data", "--trust", "trust.toml", "--key", "key"]).args(more), b"")
}

#[test]
fn a_lost_gate_goes_on_from_its_backup_when_two_have_signed_what_is_lost() {
    let mut plant = Plant::ready(Options::default());
    let mut witness = Witness::of(&plant);
    plant.edit_config(|text| format!("{text}{}", witness.configured()));
    plant.serve();
    for who in ["ada", "lee"] {
        log_in(&plant, who);
    }
    work(&plant);
    let (to, backup) = (recipient(&plant), plant.person("ada").path("backup.age"));
    holdpoint(&plant, "ada", &["backup", "-o", backup.to_str().unwrap(), "--to", &to]).ok();
    let unpacked = plant.installation().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let mut age = Command::new("sh");
    age.args(["-ec", "age -d -i \"$0\" \"$1\" | tar --zstd -x -C \"$2\""]);
    run(age.arg(plant.installation().join("auditors/auditor-1.key")).arg(&backup).arg(&unpacked), b"").ok();
    // More is done, and remembered elsewhere.
    let before = ["journal", "records"].map(|log| published(&plant, log));
    work(&plant);
    eventually("its beginning and its end are published", || {
        ["journal", "records"].iter().zip(before).all(|(log, before)| published(&plant, log) > before + 1)
    });
    let recording = plant.evidence().recordings()[0].recording.id().to_string();
    is_remembered(&plant);
    plant.stop();
    let lost = plant.evidence();
    let memory = plant.person("ada").path("seen.toml");
    let memory = ["--memory", memory.to_str().unwrap()];
    verify(&lost, &memory).ok();
    let had = published(&plant, "journal");

    // The disk is lost, and the backup put in its place.
    fs::remove_dir_all(plant.data()).unwrap();
    put_back(&unpacked.join("data"), &plant.data());
    fs::copy(unpacked.join("directory.jsonl"), plant.installation().join("directory.jsonl")).unwrap();
    run(&mut plant.serve_command(), b"").refused(3, "came out of a backup");
    let file = paper(&plant);
    let file = file.to_str().unwrap().to_owned();
    let planned = run(&mut restore(&plant, &["-o", &file]), b"").ok().out();
    assert!(planned.contains("are lost, and whatever came after") && planned.contains("the witness w1"), "{planned}");
    assert!(planned.contains("1 requests and grants that are open here end"), "{planned}");
    run(&mut restore(&plant, &["-o", &file]), b"").refused(2, "there already");
    // What an auditor and a sheet of paper remember is lost as well.
    let sheet = plant.installation().with_file_name("sheet.txt");
    let head = PaperHead { origin: "mill-3/journal".to_owned(), size: 999, root: Digest([1; 32]) };
    fs::write(&sheet, recordings::paper::sheet(&[head], Timestamp::now())).unwrap();
    for (number, (option, from, last, by)) in [
        ("--memory", memory[1], had - 1, "the auditor's last check"),
        ("--paper", sheet.to_str().unwrap(), 998, "the sheet of paper"),
    ]
    .into_iter()
    .enumerate()
    {
        let other = format!("{file}.{number}");
        let planned = run(&mut restore(&plant, &["-o", &other, option, from]), b"").ok().out();
        let told = planned.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(&format!(" to {last} are lost, and")) && told.contains(&format!("by {by}")), "{planned}");
    }
    run(&mut restore(&plant, &["--with", &file, "--yes"]), b"").says_no("nobody signed");
    sign(&plant, "tess").says_no("none of those who may sign");
    sign(&plant, "ada").ok();
    run(&mut restore(&plant, &["--with", &file, "--yes"]), b"").says_no("an administrator and of an operator");
    assert!(sign(&plant, "lee").ok().out().contains("Signed by ada (administrator) and lee (operator)"));
    // Nothing was done yet.
    run(&mut plant.serve_command(), b"").refused(3, "came out of a backup");
    let done = run(&mut restore(&plant, &["--with", &file, "--yes"]), b"").ok().out();
    let names: Vec<String> =
        done.lines().filter_map(|line| line.trim().strip_prefix("--log ")).map(str::to_owned).collect();
    assert!(names.len() == 2 && names[0].starts_with("mill-3/journal/e_"), "{done}");
    run(&mut restore(&plant, &["--with", &file, "--yes"]), b"").says_no("does not count here");

    // What was asked and given before is over; a new grant is not.
    witness.learn(&names);
    plant.serve();
    let at = plant.tess().at("hmi-2");
    assert!(!run(&mut plant.tess().ssh(&[&at, "true"]), b"").status.success());
    plant.stop();
    plant.grant("tess", "hmi-2", &EVERYTHING, HOUR);
    plant.log_in("tess");
    plant.serve();
    work(&plant);
    is_remembered(&plant);
    plant.stop();
    let kept = fs::read_to_string(plant.data().join("journal/FORMAT")).unwrap();
    assert!(kept.lines().count() == 5 && kept.contains("\nrestored e_"), "{kept}");

    let evidence = plant.evidence();
    trusts(&evidence, &witness);
    for more in [&memory[..], &["--no-memory"]] {
        let told = verify(&evidence, more).refused(4, "\nRESTORED: nothing was altered").out();
        assert!(told.contains(" It goes on as mill-3/records/gate-1/e_"), "{told}");
        // The auditor saw the gate stop, which the witness did not.
        let journal = told.lines().find(|line| line.starts_with("  mill-3/journal: ")).unwrap();
        assert_eq!(journal.contains(&format!(" to {} are lost", had - 1)), more == memory, "{told}");
    }
    evidence.both_say(4);
    let json = verify(&evidence, &["--no-memory", "--json"]).refused(4, "").out();
    let told: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(told["verdict"], "restored");
    assert_eq!(told["restored"][0]["logs"][0]["origin"], "mill-3/journal");
    assert_eq!(evidence.recordings().len(), 2);
    leaves_whole(&mut plant);
    let play = ["play", &recording, "--data", "data", "--key", "key"];
    run(&mut evidence.holdpoint(&play), b"").ok();
    // An older copy of the restored gate is found by its new name.
    let older = plant.evidence();
    plant.serve();
    plant.stop();
    verify(&plant.evidence(), &memory).refused(4, "RESTORED");
    verify(&older, &memory).refused(1, "as you saw when you checked it on 20");
}

/// Whatever leaves a gate that was restored says so, and nothing is wrong with it.
fn leaves_whole(plant: &mut Plant) {
    plant.serve();
    let recovery = String::from_utf8(plant.person("lee").read("recovery")).unwrap();
    let code = recovery.lines().next().unwrap();
    run(&mut plant.as_person("lee", &["login"]), format!("{code}\n").as_bytes()).ok();
    let lee = plant.person("lee");
    let (fetched, pack) = (lee.path("fetched"), lee.path("pack.zip"));
    let trust = plant.installation().join("trust.toml");
    let [fetched, pack, trust] = [&fetched, &pack, &trust].map(|path| path.to_str().unwrap());
    let session = text(&json(plant, "lee", &["sessions", "--all"])["sessions"][0]["session"]);
    holdpoint(plant, "lee", &["fetch", "-o", fetched]).ok();
    holdpoint(plant, "lee", &["evidence", &session, "--trust", trust, "-o", pack]).ok();
    let sheet = holdpoint(plant, "lee", &["checkpoint", "--print"]).ok().out();
    plant.stop();
    for what in [fetched, pack] {
        let told =
            holdpoint(plant, "lee", &["verify", what, "--trust", trust, "--no-memory"]).refused(4, "RESTORED").out();
        assert!(told.contains("It goes on as mill-3/journal/e_"), "{what}: {told}");
    }
    let mut verify =
        plant.evidence().holdpoint(&["verify", "data", "--trust", "trust.toml", "--no-memory", "--paper", "-"]);
    let evidence = plant.evidence();
    run(verify.current_dir(evidence.path(".")), sheet.as_bytes()).refused(4, "on paper that was printed at 20");
}

#[test]
fn a_gate_that_was_set_back_goes_on_and_no_later_copy_of_it_is_taken_for_the_newest() {
    let mut plant = Plant::ready(Options::default());
    let mut witness = Witness::of(&plant);
    plant.edit_config(|text| format!("{text}{}", witness.configured()));
    plant.serve();
    work(&plant);
    is_remembered(&plant);
    plant.stop();
    let early = tempfile::tempdir().unwrap();
    let early = early.path().join("data");
    put_back(&plant.data(), &early);
    let before = ["journal", "records"].map(|log| published(&plant, log));
    plant.serve();
    work(&plant);
    eventually("more of both logs is cosigned", || {
        ["journal", "records"].iter().zip(before).all(|(log, size)| cosigned(&plant, log).last() > Some(&size))
    });
    plant.stop();
    let had = ["journal", "records"].map(|log| *cosigned(&plant, log).last().unwrap());

    // Recordings alone, of which the journal tells more.
    let newest = early.with_file_name("newest");
    put_back(&plant.data(), &newest);
    put_back(&early.join("records"), &plant.data().join("records"));
    witness.kill();
    run(&mut plant.serve_command(), b"").refused(3, "of the journal remembers ");
    fs::remove_dir_all(plant.data().join("records")).unwrap();
    run(&mut plant.serve_command(), b"").refused(3, "mill-3/records/gate-1 has 0 entries here, and entry ");
    put_back(&early.join("records"), &plant.data().join("records"));
    let (planned, _) = restored(&plant, &[]);
    assert!(planned.contains("of the journal"), "{planned}");
    let evidence = plant.evidence();
    let told = evidence.both_say(4);
    assert!(
        told.contains("the recording of this session is lost with a restore") == (evidence.recordings().len() < 2),
        "{told}"
    );
    evidence.both_say(4);

    // Everything, which the witness knows.
    put_back(&early, &plant.data());
    fs::remove_file(paper(&plant)).unwrap();
    witness.start();
    run(&mut plant.serve_command(), b"").refused(3, &format!("the witness w1 remembers {} entries", had[0]));
    let (planned, done) = restored(&plant, &[]);
    assert!(planned.contains(&format!(" to {} are lost", had[1] - 1)), "{planned}");
    let names: Vec<String> =
        done.lines().filter_map(|line| line.trim().strip_prefix("--log ")).map(str::to_owned).collect();
    witness.learn(&names);
    plant.serve();
    is_remembered(&plant);
    plant.stop();
    let evidence = plant.evidence();
    trusts(&evidence, &witness);
    let told = evidence.both_say(4);
    assert!(told.contains(&format!(" to {} are lost", had[0] - 1)), "{told}");
    evidence.both_say(4);
    // The old copy again, and this one.
    let restored_one = early.with_file_name("restored");
    put_back(&plant.data(), &restored_one);
    put_back(&early, &plant.data());
    run(&mut plant.serve_command(), b"").refused(3, "an older copy was put back");
    // And without what it had published, as if it never had.
    for log in ["journal", "records"] {
        fs::remove_file(plant.data().join(log).join("checkpoint")).unwrap();
        fs::remove_dir_all(plant.data().join(log).join("checkpoints")).unwrap();
    }
    run(&mut plant.serve_command(), b"").refused(3, &format!("the witness w1 remembers {} entries", had[0]));
    // Nobody answers, and what was cosigned lies beside it.
    witness.kill();
    for log in ["journal", "records"] {
        put_back(&newest.join(log).join("checkpoints"), &plant.data().join(log).join("checkpoints"));
    }
    run(&mut plant.serve_command(), b"").refused(3, &format!("what was published of it remembers {} entries", had[0]));
    witness.start();
    put_back(&restored_one, &plant.data());
    plant.serve();
    plant.stop();
}

#[test]
fn what_comes_back_with_older_recordings_is_erased_again() {
    let mut plant =
        Plant::ready(Options { rule: "idle = \"4h\"\nretention = \"1s\"".to_owned(), ..Options::default() });
    plant.serve();
    work(&plant);
    for who in ["ada", "lee"] {
        log_in(&plant, who);
    }
    let listed = json(&plant, "lee", &["sessions", "--all"]);
    let session = text(&listed["sessions"][0]["session"]);
    let folder = plant.data().join("records/sessions").join(&session[2..]);
    plant.stop();
    let early = tempfile::tempdir().unwrap();
    let early = early.path().join("data");
    put_back(&plant.data(), &early);
    plant.serve();
    eventually("it may be erased", || holdpoint(&plant, "ada", &["erase", &session, "--yes"]).status.success());
    holdpoint(&plant, "lee", &["erase", &session, "--yes"]).ok();
    let is_empty = || fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_none());
    eventually("nothing lies there", is_empty);
    plant.stop();
    plant.evidence().both_say(0);

    // The recordings of before, and the journal of now.
    fs::remove_dir_all(plant.data().join("records")).unwrap();
    put_back(&early.join("records"), &plant.data().join("records"));
    run(&mut plant.serve_command(), b"").refused(3, "of the journal remembers ");
    restored(&plant, &[]);
    assert!(!is_empty());
    plant.evidence().both_say(4);
    plant.serve();
    eventually("it is erased again", is_empty);
    plant.stop();
    let evidence = plant.evidence();
    let told = evidence.both_say(4);
    assert!(told.contains(&format!("{session} ")) && told.contains(": erased ("), "{told}");
}

#[test]
fn recordings_tell_of_a_journal_that_was_set_back_alone() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant);
    plant.stop();
    let early = tempfile::tempdir().unwrap();
    let early = early.path().join("journal");
    put_back(&plant.data().join("journal"), &early);
    plant.serve();
    work(&plant);
    plant.stop();
    put_back(&early, &plant.data().join("journal"));
    run(&mut plant.serve_command(), b"").refused(3, "and the recordings' log remembers ");
    let (planned, _) = restored(&plant, &[]);
    assert!(planned.contains("by the recordings' log"), "{planned}");
    plant.evidence().both_say(4);
    plant.serve();
    plant.stop();
    plant.evidence().both_say(4);
}

/// A restore as somebody makes it up who owns the gate's keys, and what two people signed of it.
struct Forged<'a> {
    plant: &'a Plant,
    /// Of another moment, where somebody takes it from there.
    event: Option<Event>,
}

type Signing<'a> = (&'a Person, &'a Person, fn(&mut RestoreStatement, &mut RestoreStatement));

impl Forged<'_> {
    fn sign(who: &Person, statement: RestoreStatement) -> Signed<RestoreStatement> {
        let signature = sshsig::sign_with(&who.key, Namespace::Restore, &statement.digest().0).unwrap();
        let key = SshKey(who.key.public_key().to_openssh().unwrap());
        Signed { statement, key, signature }
    }

    /// Puts it into a copy: renames what is to be renamed, and appends the event.
    fn into(mut self, evidence: &Evidence, (one, other, edit): Signing<'_>, renames: &[&str], appends: bool) -> Event {
        let seized = Seized::of(self.plant, evidence.data());
        let (journal, records) = (seized.seen("journal"), seized.seen("records"));
        let restore = "e_00000000000000000000000007".parse::<RestoreId>().unwrap();
        let lost = |kept: SeenHead| Lost { from: kept.size, until: kept.size + 3 };
        let statement = |signer: PersonId| RestoreStatement {
            deployment: "mill-3".parse().unwrap(),
            restore,
            journal,
            journal_lost: lost(journal),
            node: "gate-1".parse().unwrap(),
            records,
            records_lost: lost(records),
            signer,
            nonce: "00".into(),
            expires: Timestamp::now() + SignedDuration::from_hours(1),
        };
        let (mut first, mut second) = (statement(one.id), statement(other.id));
        edit(&mut first, &mut second);
        let event = self.event.take().unwrap_or_else(|| Event::Restored {
            administrator: Box::new(Self::sign(one, first)),
            operator: Box::new(Self::sign(other, second)),
        });
        for name in renames {
            seized.resting(name).rename(restore, seized.key()).unwrap();
        }
        seized.append(if appends { std::slice::from_ref(&event) } else { &[] });
        event
    }
}

#[test]
fn a_restore_that_not_both_signed_or_that_was_signed_over_something_else_is_found() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant);
    plant.stop();
    let earlier = plant.evidence();
    plant.serve();
    plant.stop();
    let both = ["journal", "records"];
    let (ada, lee, tess) = (plant.person("ada"), plant.person("lee"), plant.person("tess"));
    let mut stranger = plant.newcomer("stranger");
    stranger.id = lee.id;
    let nothing: fn(&mut RestoreStatement, &mut RestoreStatement) = |_, _| {};
    let forge = |evidence: &Evidence, signing: Signing<'_>, renames: &[&str], appends| {
        Forged { plant: &plant, event: None }.into(evidence, signing, renames, appends)
    };
    let good = plant.evidence();
    forge(&good, (ada, lee, nothing), &both, true);
    assert!(good.both_say(4).contains("\nRESTORED: "));
    // Under the old name the log signed something else than stayed, and no restore loses that.
    let key = Seized::of(&plant, good.data());
    let other = Checkpoint { origin: "mill-3/journal".to_owned(), size: 5, root: [1; 32] }.sign(key.key()).unwrap();
    let before = good.data().join("journal/before-e_00000000000000000000000007/5");
    fs::write(&before, other.to_string()).unwrap();
    good.both_say(1);

    let forged: [(&str, Signing<'_>); 10] = [
        ("of one person", (ada, ada, nothing)),
        ("of two operators", (lee, plant.person("kim"), nothing)),
        ("the wrong way round", (lee, ada, nothing)),
        ("of a vendor's technician", (ada, tess, nothing)),
        ("by a key that nobody enrolled", (ada, &stranger, nothing)),
        ("over two things", (ada, lee, |_, lee| lee.journal_lost.until += 1)),
        (
            "over fewer entries",
            (ada, lee, |ada, lee| {
                (ada.journal.size, lee.journal.size) = (ada.journal.size - 1, lee.journal.size - 1);
            }),
        ),
        (
            "over another journal",
            (ada, lee, |ada, lee| {
                (ada.journal.root, lee.journal.root) = (Digest([1; 32]), Digest([1; 32]));
            }),
        ),
        (
            "over other recordings",
            (ada, lee, |ada, lee| {
                (ada.records.root, lee.records.root) = (Digest([1; 32]), Digest([1; 32]));
            }),
        ),
        (
            "over fewer recordings",
            (ada, lee, |ada, lee| {
                (ada.records.size, lee.records.size) = (ada.records.size - 1, lee.records.size - 1);
                (ada.records_lost.from, lee.records_lost.from) = (0, 0);
            }),
        ),
    ];
    for (what, signing) in forged {
        let evidence = plant.evidence();
        forge(&evidence, signing, &both, true);
        println!("{what}");
        evidence.both_say(1);
    }
    // Signed for an earlier state, and taken from there.
    let event = forge(&earlier, (ada, lee, nothing), &both, true);
    earlier.verify().refused(4, "RESTORED");
    let later = plant.evidence();
    Forged { plant: &plant, event: Some(event) }.into(&later, (ada, lee, nothing), &both, true);
    later.both_say(1);
    // Names without a decision, a decision without names, and of one log alone.
    for (renames, appends) in [(&both[..], false), (&[][..], true), (&both[..1], true), (&both[1..], true)] {
        let evidence = plant.evidence();
        forge(&evidence, (ada, lee, nothing), renames, appends);
        let told = evidence.both_say(1);
        assert!(told.contains("otherwise than an administrator and an operator signed"), "{told}");
    }
}

/// Ends a program at its nth call that makes something durable or gives it a name.
fn killed_at(call: u32, command: &Command) -> Command {
    let calls = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:signal=SIGKILL:when={call}")]);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

#[test]
fn a_restore_that_is_killed_anywhere_left_what_was_or_is_finished() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("SKIPPED: strace (Debian: strace) is not installed");
    }
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant);
    // Killed, so that a session has to be sealed and a log recovered, too.
    let at = plant.tess().at("hmi-2");
    let mut busy = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    busy.type_in("while :; do seq 1 2000; done\r");
    busy.until("1999");
    plant.kill();
    drop(busy);
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("data");
    put_back(&plant.data(), &before);
    let file = paper(&plant);
    let file = file.to_str().unwrap();
    run(&mut restore(&plant, &["-o", file]), b"").ok();
    for who in ["ada", "lee"] {
        sign(&plant, who).ok();
    }
    let carry_out = || restore(&plant, &["--with", file, "--yes"]);
    // Signed over what lies here and nothing else.
    for (log, words) in
        [("records", "the recordings here are not those that were signed"), ("journal", "does not count here")]
    {
        goes_on(&plant, log);
        run(&mut carry_out(), b"").says_no(words);
        put_back(&before, &plant.data());
    }
    let (mut left, mut finished, mut decided) = (0, 0, None);
    for call in (1..).step_by(tests::long_or(1, 3)) {
        put_back(&before, &plant.data());
        let ended = run(&mut killed_at(call, &carry_out()), b"");
        let is_done = ended.status.success();
        if !is_done {
            match fs::read_to_string(plant.data().join("RESTORING")) {
                Ok(text) => {
                    finished += 1;
                    decided.get_or_insert(text);
                }
                Err(_) => {
                    left += 1;
                    // All is as it was, or all is done: nothing half.
                    plant.evidence().verify().refused(4, "");
                }
            }
            let again = run(&mut carry_out(), b"");
            // The last call alone may have been all that was missing.
            assert!(again.status.success() || again.text().contains("does not count here"), "{call}: {}", again.text());
        }
        let told = plant.evidence().verify().refused(4, "\nRESTORED: ").out();
        assert_eq!(told.matches("\nrestored at ").count(), 1, "{call}: {told}");
        if is_done {
            break;
        }
    }
    assert!(left > 0 && finished > 0, "{left} {finished}");
    // What was decided is carried out on what it was decided on, and on nothing that is put in its place.
    let decided = decided.unwrap();
    let told: Value = serde_json::from_str(&decided).unwrap();
    for log in ["journal", "records"] {
        put_back(&before, &plant.data());
        let root = text(&told["administrator"]["statement"][log]["root"]);
        fs::write(plant.data().join("RESTORING"), decided.replace(&root, &"11".repeat(32))).unwrap();
        run(&mut carry_out(), b"").refused(3, "is not as it was when it was decided");
        run(&mut plant.serve_command(), b"").refused(3, "is not as it was when it was decided");
        let kept = fs::read_to_string(plant.data().join(log).join("FORMAT")).unwrap();
        assert_eq!(kept, fs::read_to_string(before.join(log).join("FORMAT")).unwrap());
    }
}

/// The gate's logs go on by an entry, after what was signed.
fn goes_on(plant: &Plant, log: &str) {
    let out = Event::Disabled { person: plant.person("kim").id, by: plant.person("ada").id };
    let at = Timestamp::now();
    Seized::of(plant, plant.data()).open(log, |opened| {
        // A run of recordings is an entry by itself.
        if log == "journal" {
            block_on(opened.append(opened.head(), vec![out.encode()], at)).unwrap();
        }
    });
}

#[test]
fn a_client_certificate_from_before_a_restore_opens_nothing_and_is_not_renewed() {
    let echo = Echo::listen();
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.panel]\nprotocol = \"tcp\"\n\
         address = \"127.0.0.1:{}\"\n[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\n\
         targets = [\"plc-7\"]\nactions = [\"tunnel\"]\nduration_max = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n",
        echo.port
    );
    let mut plant = Plant::ready(Options { more, ..Options::default() });
    on_the_port_of_its_origin(&plant);
    plant.grant("tess", "plc-7", &[Action::Tunnel], HOUR);
    plant.serve();
    plant.stop();
    let early = tempfile::tempdir().unwrap();
    let early = early.path().join("journal");
    put_back(&plant.data().join("journal"), &early);
    plant.serve();
    log_in(&plant, "tess");
    let certificate = plant.tess().path("client.pem");
    let certificate = certificate.to_str().unwrap();
    let mut connect = Connecting::start(&plant, "tess", &["plc-7", "--certificate", certificate]);
    connect.until("certificate");
    let opens = |plant: &Plant| {
        let (gate, name) = (plant.faces.pages[0].to_string(), format!("panel.plc-7.{GATE}"));
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-verify_return_error", "-connect", &gate, "-servername", &name]);
        openssl.args(["-cert", certificate, "-CAfile"]).arg(plant.tess().path("../../ca.pem"));
        let mut client = start(&mut openssl);
        client.type_in("hello\n");
        client
    };
    opens(&plant).until("hello");
    assert_eq!(echo.met(), 1);
    plant.stop();
    put_back(&early, &plant.data().join("journal"));
    run(&mut plant.serve_command(), b"").refused(3, "");
    restored(&plant, &[]);
    plant.serve();
    let ended = opens(&plant).ends();
    assert!(ended.text().contains("access denied") && !ended.out().contains("hello"), "{}", ended.text());
    let over = connect.until("over");
    assert!(over["words"].as_str().is_some_and(|words| words.contains("restored")), "{over}");
    assert_eq!(echo.met(), 1);
}
