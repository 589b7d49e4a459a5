//! A second opinion on the whole store: `recordings/second-opinion/verify.py`, which shares nothing with the program but
//! docs/FORMAT.md and docs/EVENTS.md. Whatever lies in a folder, both say the same of it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use approver::testing::bucket::{FakeBucket, Kind as BucketKind};
use certs::sshsig::Namespace;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::decide::{Admission, Command as Decide};
use policies::digest::{Digest, Salted};
use policies::events::{CutBy, Event, Factor, PackOf, Scope};
use policies::ids::{AskId, CutId, GuestId, LinkId, PersonId, RequestId, SessionId};
use policies::people::Kind;
use policies::plant::{Reach, Rule};
use policies::requests::{
    Account, Answer, CloseOut, Extension, GuestStatement, Matter, Narrowing, Request, Signed, VerdictStatement,
    Widening, Work,
};
use policies::time::Seconds;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use recordings::keeping::Copied;
use recordings::segment::session_dir;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::plant::{EVERYTHING, program};
use tests::process::kill_all;
use tests::{Options, Plant, Running, eventually, json as told, long_or, python, run, start};
use ulid::Ulid;

use crate::support::{self, ADMINISTRATOR, LEAD, SECOND, Store, TECHNICIAN};

/// Judges one folder for each line that it is told: Python alone takes longer to start than to read a small store.
const JUDGE: &str = "
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import verify
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = verify.main(json.loads(line))
    print(json.dumps({'code': code, 'said': said.getvalue()}), flush=True)
";

/// Judges the published answers of passkeys; tells those of which it thinks otherwise.
const JUDGE_PASSKEYS: &str = "
import json, sys
sys.path.insert(0, sys.argv[1])
import verify
published = json.load(open(sys.argv[2]))
for vector in published['vectors']:
    try:
        verify.check_sshsig(vector['signature'], published['key'], published['namespace'], bytes.fromhex(published['message']))
        counts = True
    except ValueError:
        counts = False
    print('as published' if counts == vector['counts'] else 'OTHERWISE', vector['name'])
";

#[test]
fn published_answers_of_passkeys_are_judged_as_published() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut judge = Command::new(python);
    judge.args(["-B", "-c", JUDGE_PASSKEYS]).arg(root.join("recordings/second-opinion"));
    let said = run(judge.arg(root.join("docs/vectors/passkeys.json")), b"").ok().out();
    assert!(said.lines().count() > 10 && !said.contains("OTHERWISE"), "{said}");
}

/// The second verifier, in a process of its own.
struct SecondOpinion {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl SecondOpinion {
    fn start() -> Option<Self> {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("recordings/second-opinion");
        let mut judge = Command::new(python()?);
        judge.args(["-B", "-c", JUDGE]).arg(home).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = judge.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, answers })
    }

    fn ask(&mut self, arguments: &[String]) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{}", json!(arguments)).unwrap();
    }

    fn answer(&mut self) -> Opinion {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer but {line:?}"));
        Opinion::read(answer["code"].as_i64().unwrap(), answer["said"].as_str().unwrap())
    }
}

impl Drop for SecondOpinion {
    fn drop(&mut self) {
        kill_all(&mut self.child);
    }
}

/// What a verifier says of a folder.
struct Opinion {
    code: i64,
    verdict: String,
    said: String,
}

impl Opinion {
    #[track_caller]
    fn read(code: i64, said: &str) -> Self {
        let told: Value = serde_json::from_str(said).unwrap_or_else(|_| panic!("exit code {code}: {said}"));
        Self { code, verdict: told["verdict"].as_str().unwrap().to_owned(), said: said.to_owned() }
    }
}

/// A copy of a data folder, with what the auditor has beside it.
struct Taken {
    folder: TempDir,
}

impl Taken {
    /// Copies the journal before the recordings, as one must where the gate runs.
    fn from(plant: &Plant, data: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        for name in ["journal", "records", "cuts", "PART"] {
            if data.join(name).exists() {
                copy(&data.join(name), &folder.path().join("data").join(name));
            }
        }
        for (from, to) in [("trust.toml", "trust.toml"), ("auditors/auditor-1.key", "key")] {
            fs::copy(plant.installation().join(from), folder.path().join(to)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What both say of it as it lies there, without the key and with it. They must agree.
    #[track_caller]
    fn judged(&self, second: &mut SecondOpinion, what: &str) -> [Opinion; 2] {
        [false, true].map(|with_key| self.judged_by(second, with_key, what))
    }

    #[track_caller]
    fn judged_by(&self, second: &mut SecondOpinion, with_key: bool, what: &str) -> Opinion {
        let [first, _] = self.both(second, with_key, what);
        first
    }

    /// The program's opinion, and the other's.
    #[track_caller]
    fn both(&self, second: &mut SecondOpinion, with_key: bool, what: &str) -> [Opinion; 2] {
        let (data, trust, key) = (self.path("data"), self.path("trust.toml"), self.path("key"));
        let arguments = |option: &str| {
            let texts = [data.to_str(), Some("--trust"), trust.to_str(), Some("--json"), Some(option), key.to_str()];
            texts.map(|text| text.unwrap().to_owned())[..if with_key { 6 } else { 4 }].to_vec()
        };
        // Each on a core of its own.
        second.ask(&arguments("--identity"));
        let first = run(Command::new(program()).args(["verify", "--no-memory"]).args(arguments("--key")), b"");
        let (first, second) = (Opinion::read(first.code().into(), &first.out()), second.answer());
        let agree = (first.code, &first.verdict) == (second.code, &second.verdict);
        assert!(agree, "{what}, with the key: {with_key}\n{}\n{}", first.said, second.said);
        [first, second]
    }
}

/// Copies a folder; of segments all that is used, and some of the zeros behind it.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    // What was being written when the folder was listed has another name by now.
    let Ok(mut bytes) = fs::read(from) else { return };
    let zeros = [0; 4_096];
    while bytes.len() > zeros.len() && bytes.ends_with(&zeros) {
        bytes.truncate(bytes.len() - zeros.len());
    }
    fs::write(to, bytes).unwrap();
}

/// `tess` at the machine, running a command.
fn work(plant: &Plant, command: &str) -> Running {
    start(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), command]))
}

/// A plant with a history in which most kinds of decisions occur, and whose gate runs: of two recordings one was erased.
fn plant_with_a_history() -> Plant {
    plant_with_a_history_under("")
}

/// The same with more under `[store]`.
fn plant_with_a_history_under(store: &str) -> Plant {
    let rule = "idle = \"4h\"\nretention = \"1s\"".into();
    let mut plant = Plant::enrolled(Options { rule, ..Options::default() });
    plant.edit_config(|text| text.replacen("[store]", &format!("[store]\n{store}"), 1));
    plant.employ("mia", Kind::Operator { vendor: None }, &["shift-lead"]);
    plant.employ("rita", Kind::Auditor, &[]);
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(3_600));
    plant.log_in("tess");
    plant.serve();
    for who in ["ada", "lee", "rita"] {
        let code = format!("{}\n", plant.person(who).code());
        run(&mut plant.as_person(who, &["login"]), code.as_bytes()).ok();
    }
    let file = plant.tess().path("recipe");
    fs::write(&file, [7; 3_000]).unwrap();
    let mut scp = plant.tess().tool("scp");
    scp.arg("-F").arg(plant.tess().path("ssh_config")).arg(&file);
    run(scp.arg(format!("{}:{}", plant.tess().at("hmi-2"), plant.hmi.path("recipe").display())), b"").ok();
    let kept = newest_session(&plant);
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo forget me"]), b"").ok();
    let erased = newest_session(&plant);
    run(&mut plant.as_person("rita", &["hold", &kept, "--reason", "a claim"]), b"").ok();
    eventually("its minimum is over", || {
        run(&mut plant.as_person("ada", &["erase", &erased, "--yes"]), b"").status.success()
    });
    run(&mut plant.as_person("lee", &["erase", &erased, "--yes"]), b"").ok();
    let folder = plant.data().join("records/sessions").join(&erased[2..]);
    eventually("it is erased", || fs::read_dir(&folder).map_or(0, Iterator::count) == 0);
    plant
}

/// A session in the middle of its work.
fn begin(plant: &Plant) -> Running {
    let running = work(plant, "while seq 300; do sleep 0.02; done");
    eventually("it works", || running.out_bytes() > 0);
    running
}

/// Tears the last frame of a log, as a power cut does.
fn tear(plant: &Plant, log: &str) {
    let segment = plant.data().join(log).join("segments/00000000.seg");
    let used = fs::read(&segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len((used - 5) as u64).unwrap();
}

#[test]
fn whatever_the_program_leaves_behind_both_verifiers_judge_alike() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let mut expect = |taken: &Taken, code: i64, what: &str| {
        for opinion in taken.judged(&mut second, what) {
            assert_eq!(opinion.code, code, "{what}: {}", opinion.said);
        }
    };
    let mut plant = plant_with_a_history();
    let running = begin(&plant);
    expect(&Taken::from(&plant, &plant.data()), 4, "copied while it runs");
    let before = Taken::from(&plant, &plant.data());
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo meanwhile"]), b"").ok();
    let whole = Taken::from(&plant, &plant.data());
    fs::remove_dir_all(whole.path("data/journal")).unwrap();
    copy(&before.path("data/journal"), &whole.path("data/journal"));
    expect(&whole, 4, "copied while a session began");
    let lee = plant.person("lee").path("");
    run(&mut plant.as_person("lee", &["fetch", "-o", "all"]), b"").ok();
    expect(&Taken::from(&plant, &lee.join("all")), 4, "fetched");
    let session = newest_session(&plant);
    run(&mut plant.as_person("lee", &["fetch", "-o", "part", "--session", &session]), b"").ok();
    expect(&Taken::from(&plant, &lee.join("part")), 4, "fetched in part");
    plant.kill();
    running.ends();
    expect(&Taken::from(&plant, &plant.data()), 4, "killed");
    tear(&plant, "journal");
    tear(&plant, "records");
    expect(&Taken::from(&plant, &plant.data()), 1, "torn");
    plant.serve();
    expect(&Taken::from(&plant, &plant.data()), 4, "serving again");
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo again"]), b"").ok();
    let session = newest_session(&plant);
    for (folder, more) in [("all again", None), ("part again", Some(["--session", &session]))] {
        let arguments: Vec<&str> = ["fetch", "-o", folder].into_iter().chain(more.into_iter().flatten()).collect();
        run(&mut plant.as_person("lee", &arguments), b"").ok();
        expect(&Taken::from(&plant, &lee.join(folder)), 4, folder);
    }
    assert_eq!(plant.stop().code(), 0);
    expect(&Taken::from(&plant, &plant.data()), 0, "stopped");
}

/// The session that began last.
fn newest_session(plant: &Plant) -> String {
    let told = run(&mut plant.as_person("lee", &["sessions", "--all", "--json"]), b"").ok().out();
    let told: Value = serde_json::from_str(&told).unwrap();
    told["sessions"][0]["session"].as_str().expect("there was one").to_owned()
}

/// A place of a file that is used.
fn place(rng: &mut TestRng, bytes: &[u8]) -> usize {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    usize::try_from(rng.next_u64()).unwrap() % used
}

/// What somebody may do to a file of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tampering {
    Flip,
    Cut,
    Empty,
    Remove,
    Double,
    Swap,
}

impl Tampering {
    /// What is tried with a file, and how often.
    fn with(file: &Path) -> impl Iterator<Item = Self> {
        let is_segment = file.extension().is_some_and(|extension| extension == "seg");
        let (flips, others): (usize, &[Self]) = if is_tile(file) {
            (long_or(20, 1), &[Self::Remove])
        } else {
            (
                long_or(200, if is_segment { 16 } else { 6 }),
                &[Self::Cut, Self::Empty, Self::Remove, Self::Double, Self::Swap],
            )
        };
        std::iter::repeat_n(Self::Flip, flips).chain(others.iter().copied())
    }
}

fn is_tile(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tile")
}

/// One thing that was done to a file, and to a second one where it takes two; undone when it is dropped.
struct Tampered<'a> {
    files: [(&'a Path, Option<Vec<u8>>); 2],
}

impl<'a> Tampered<'a> {
    fn new(doing: Tampering, file: &'a Path, other: &'a Path, at: usize, bit: u32) -> Self {
        let files = [file, other].map(|file| (file, fs::read(file).ok()));
        let mut bytes = files[0].1.clone().unwrap();
        match doing {
            Tampering::Flip => {
                bytes[at] ^= 1 << bit;
                fs::write(file, bytes).unwrap();
            }
            Tampering::Cut => fs::write(file, &bytes[..at]).unwrap(),
            Tampering::Empty => fs::write(file, b"").unwrap(),
            Tampering::Remove => fs::remove_file(file).unwrap(),
            Tampering::Double => fs::write(other, bytes).unwrap(),
            Tampering::Swap => {
                fs::write(file, files[1].1.as_ref().unwrap()).unwrap();
                fs::write(other, bytes).unwrap();
            }
        }
        Self { files }
    }
}

impl Drop for Tampered<'_> {
    fn drop(&mut self) {
        for (file, bytes) in &self.files {
            match bytes {
                Some(bytes) => fs::write(file, bytes).unwrap(),
                None => drop(fs::remove_file(file)),
            }
        }
    }
}

/// Whether nothing is lost by this: spare segments and older tiles may be missing, and what was behind the last whole block
/// when the gate died was never kept, nor was a tile that it was writing.
fn is_harmless(doing: Tampering, file: &Path, at: usize, unkept: &[(PathBuf, usize)]) -> bool {
    let is_spare = || fs::read(file).unwrap().iter().all(|byte| *byte == 0);
    let is_unkept = || unkept.iter().any(|(left, from)| left == file && at >= *from);
    let was_being_written = || unkept.iter().any(|(left, from)| left == file && *from == 0);
    match doing {
        Tampering::Flip => is_unkept(),
        Tampering::Cut => is_unkept() || is_spare(),
        Tampering::Remove => is_tile(file) || is_spare() || was_being_written(),
        Tampering::Empty | Tampering::Double => is_spare() || was_being_written(),
        Tampering::Swap => is_spare(),
    }
}

/// The bytes that were never kept, as the program tells them: from where on in which file.
fn unkept(taken: &Taken, said: &str) -> Vec<(PathBuf, usize)> {
    let told: Value = serde_json::from_str(said).unwrap();
    let notes = told["findings"].as_array().unwrap().iter();
    let is_unkept = |words: &str| words.contains("not kept to its end") || words == "a tile was being written";
    let notes = notes.filter(|note| note["words"].as_str().is_some_and(is_unkept));
    let place = |note: &Value| {
        let file = taken.path("data").join(note["place"]["file"].as_str().unwrap());
        (file, usize::try_from(note["place"]["from"].as_u64().unwrap()).unwrap())
    };
    notes.map(place).collect()
}

/// The files of both logs.
fn evidence(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { evidence(&path) } else { vec![path] }).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name != "LOCK"));
    files.sort();
    files
}

/// The name that the next file of its kind has.
fn next_name(file: &Path) -> PathBuf {
    let (stem, extension) = (file.file_stem().unwrap().to_str().unwrap(), file.extension());
    let next = stem.parse::<u64>().map_or(format!("{stem}x"), |number| format!("{:0w$}", number + 1, w = stem.len()));
    let named = file.with_file_name(next);
    extension.map_or(named.clone(), |extension| named.with_extension(extension))
}

#[test]
fn whatever_is_done_to_the_evidence_both_verifiers_find() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let mut plant = plant_with_a_history();
    let running = begin(&plant);
    plant.kill();
    running.ends();
    plant.serve();
    assert_eq!(plant.stop().code(), 0);
    let taken = Taken::from(&plant, &plant.data());
    let untouched = taken.judged(&mut second, "untouched");
    assert!(untouched.iter().all(|opinion| opinion.code == 0), "{}", untouched[0].said);
    let unkept = unkept(&taken, &untouched[0].said);
    let files = evidence(&taken.path("data"));
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let (mut tried, mut harmless) = (0, 0);
    for (file, next) in files.iter().zip(files.iter().cycle().skip(1)) {
        for doing in Tampering::with(file) {
            let other = if doing == Tampering::Double { next_name(file) } else { next.clone() };
            let at = place(&mut rng, &fs::read(file).unwrap());
            let (what, may_pass) =
                (format!("{doing:?} {} at {at}", file.display()), is_harmless(doing, file, at, &unkept));
            let tampered = Tampered::new(doing, file, &other, at, rng.next_u32() % 8);
            tried += 1;
            let opinion = taken.judged_by(&mut second, tried % 2 == 0, &what);
            assert!(opinion.code == 1 || may_pass, "{what}: {}", opinion.said);
            harmless += u32::from(opinion.code != 1);
            drop(tampered);
        }
    }
    println!("{tried} variants of {} files, {harmless} of them harmless", files.len());
}

/// A store that the real writer made, as an auditor has it.
fn taken_from(mut store: Store) -> Taken {
    store.close();
    as_it_lies(&store)
}

/// The same of one that is open.
fn as_it_lies(store: &Store) -> Taken {
    as_it_lies_in(store.dir(), store)
}

/// The same of a copy of it.
fn as_it_lies_in(dir: &Path, store: &Store) -> Taken {
    let folder = TempDir::new().unwrap();
    for name in ["journal", "records"] {
        copy(&dir.join(name), &folder.path().join("data").join(name));
    }
    fs::write(folder.path().join("trust.toml"), support::trust().to_string()).unwrap();
    fs::write(folder.path().join("key"), &store.secret).unwrap();
    Taken { folder }
}

/// A person of the store answers.
fn answered(store: &Store, matter: Matter, digest: Digest, by: u8, answer: Answer) -> Signed<VerdictStatement> {
    let statement = VerdictStatement {
        deployment: support::label("mill-3"),
        matter,
        digest,
        answer,
        operator: support::person(by),
        nonce: "00".repeat(16),
        expires: store.expires(),
        journal: store.seen(),
    };
    let signature = support::sign(by, Namespace::Approval, statement.digest());
    Signed { statement, key: support::public(by), signature }
}

const fn yes() -> Answer {
    Answer::Yes { narrowing: Narrowing { duration: None, actions: None, from: None } }
}

fn link(n: u128) -> LinkId {
    LinkId::new(Ulid::from(n))
}

/// Somebody's invitation of a guest, changed and signed.
fn invitation(
    store: &Store,
    by: u8,
    hours: i64,
    change: impl FnOnce(&mut GuestStatement),
) -> (Signed<GuestStatement>, Box<Rule>) {
    let mut invitation = store.invitation(by, by, hours);
    change(&mut invitation.statement);
    invitation.signature = support::sign(by, Namespace::Guest, invitation.statement.digest());
    (invitation, Box::new(store.state.plant.as_ref().unwrap().rules[0].clone()))
}

fn made_up(store: &mut Store, (invitation, rule): (Signed<GuestStatement>, Box<Rule>), n: u128) {
    store.smuggle(Event::GuestInvited { invitation, rule, link: link(n) });
}

/// An invitation under a rule that nobody adopted.
fn under(store: &mut Store, change: impl FnOnce(&mut Rule, &mut GuestStatement)) {
    let (mut signed, mut rule) = invitation(store, LEAD, 4, |_| ());
    change(&mut rule, &mut signed.statement);
    signed.statement.rule = rule.digest();
    signed.signature = support::sign(LEAD, Namespace::Guest, signed.statement.digest());
    made_up(store, (signed, rule), 76);
}

/// A guest who enrolled: who they are, and their visit.
fn visited(store: &mut Store) -> (PersonId, GuestId) {
    let (invitation, _) = invitation(store, LEAD, 4, |_| ());
    let (person, guest) = (invitation.statement.person, invitation.statement.guest);
    store.act(Decide::InviteGuest { invitation, link: link(71) });
    store.act(Decide::Enrol { link: link(71), key: support::public(70) });
    (person, guest)
}

fn sent_away(store: &mut Store, guest: GuestId) {
    store.act(Decide::EndGuest { guest, by: support::person(LEAD) });
}

/// What a guest is said to have asked for.
fn asked_by(store: &mut Store, guest: PersonId, change: impl FnOnce(&mut Request, &mut Rule)) -> RequestId {
    let request = store.submit();
    let case = &store.state.cases[&request];
    let (mut asked, mut rule) = ((*case.asked).clone(), (*case.rule).clone());
    (asked.id, asked.technician) = (RequestId::new(Ulid::from(72_u128)), guest);
    asked.window.until = asked.window.from + SignedDuration::from_hours(1);
    change(&mut asked, &mut rule);
    asked.rule = rule.digest();
    let id = asked.id;
    store.smuggle(Event::Submitted { request: asked, rule: Box::new(rule) });
    id
}

/// How a guest's session would begin now.
fn begins(store: &Store, technician: PersonId, grant: RequestId) -> Vec<Event> {
    let admission = Admission {
        session: SessionId::new(Ulid::from(79_u128)),
        technician,
        factors: vec![Factor::Key, Factor::Totp],
        source: "192.0.2.7".parse().unwrap(),
        target: support::label("hmi-1"),
        service: support::label("ssh"),
        wants: [Action::Shell].into(),
        grant: Some(grant),
        overdue: [].into(),
        node: support::label("node-1"),
    };
    store.state.decide(&Decide::Admit(admission), store.now()).unwrap()
}

/// One thing about guests that a gate which was broken into made up, and what the second verifier says of it.
type MadeUp = (&'static str, fn(&mut Store));

const OF_INVITATIONS: [MadeUp; 15] = [
    ("who was not on duty", |store| {
        let by = invitation(store, SECOND, 4, |_| ());
        made_up(store, by, 71);
    }),
    ("another key signed", |store| {
        let (mut signed, rule) = invitation(store, LEAD, 4, |_| ());
        signed.signature = support::sign(SECOND, Namespace::Guest, signed.statement.digest());
        made_up(store, (signed, rule), 71);
    }),
    ("the visit is longer than its rule gives", |store| {
        let long = invitation(store, LEAD, 9, |_| ());
        made_up(store, long, 71);
    }),
    ("called back on another number", |store| {
        let other = invitation(store, LEAD, 4, |it| it.telephone = Salted::new(&[0; 32], "+49 30 9999"));
        made_up(store, other, 71);
    }),
    ("the invitation names another rule", |store| {
        let other = invitation(store, LEAD, 4, |it| it.rule = Digest::of_bytes(b"another"));
        made_up(store, other, 71);
    }),
    ("its rule is not for this vendor", |store| {
        let other = invitation(store, LEAD, 4, |it| it.vendor = support::label("bolt"));
        made_up(store, other, 71);
    }),
    ("its rule takes no guests", |store| {
        let (mut signed, mut rule) = invitation(store, LEAD, 4, |_| ());
        rule.escort = policies::plant::Escort::None;
        signed.statement.rule = rule.digest();
        signed.signature = support::sign(LEAD, Namespace::Guest, signed.statement.digest());
        made_up(store, (signed, rule), 71);
    }),
    ("who is somebody here", |store| {
        let known = invitation(store, LEAD, 4, |it| it.person = support::person(TECHNICIAN));
        made_up(store, known, 71);
    }),
    ("two guests were invited under one rule", |store| {
        visited(store);
        let second = invitation(store, LEAD, 4, |it| {
            (it.guest, it.person) = (GuestId::new(Ulid::from(75_u128)), support::person(75));
        });
        made_up(store, second, 76);
    }),
    ("somebody who is no operator of the plant's", |store| {
        let by = invitation(store, ADMINISTRATOR, 4, |_| ());
        made_up(store, by, 71);
    }),
    ("its rule does not reach this target", |store| {
        under(store, |rule, _| rule.reach = Reach::Targets([support::label("plc-7")].into()));
    }),
    ("invited again before their visit was over", |store| {
        visited(store);
        under(store, |rule, it| {
            rule.id = support::label("another");
            it.guest = GuestId::new(Ulid::from(75_u128));
        });
    }),
    ("a guest of one vendor was invited as another's", |store| {
        let (_, guest) = visited(store);
        sent_away(store, guest);
        let contract = store.state.contracts[&support::label("acme")].clone();
        let (vendor, by, telephone) = (support::label("bolt"), support::person(ADMINISTRATOR), contract.telephone);
        store.act(Decide::Contract { vendor, end: contract.end, sponsor: contract.sponsor, telephone, by });
        under(store, |rule, it| {
            rule.vendors = [support::label("bolt")].into();
            (it.guest, it.vendor) = (GuestId::new(Ulid::from(75_u128)), support::label("bolt"));
        });
    }),
    ("somebody was made a guest who had been put out", |store| {
        let (person, guest) = visited(store);
        sent_away(store, guest);
        store.act(Decide::Disable { person, by: support::person(ADMINISTRATOR) });
        let again = invitation(store, LEAD, 4, |it| it.guest = GuestId::new(Ulid::from(75_u128)));
        made_up(store, again, 76);
    }),
    ("the vendor's contract does not run for so long", |store| {
        let (end, sponsor, by) =
            (store.now() + SignedDuration::from_hours(1), support::person(LEAD), support::person(ADMINISTRATOR));
        let vendor = support::label("acme");
        store.act(Decide::Contract { vendor, end, sponsor, telephone: None, by });
        let long = invitation(store, LEAD, 4, |_| ());
        made_up(store, long, 71);
    }),
];

const OF_VISITS: [MadeUp; 19] = [
    ("ended by itself before its time", |store| {
        let (person, guest) = visited(store);
        store.smuggle(Event::GuestEnded { guest, person, by: None });
    }),
    ("sent away by somebody who does not count", |store| {
        let (person, guest) = visited(store);
        store.smuggle(Event::GuestEnded { guest, person, by: Some(support::person(TECHNICIAN)) });
    }),
    ("sent away whose visit was over", |store| {
        let (person, guest) = visited(store);
        sent_away(store, guest);
        store.smuggle(Event::GuestEnded { guest, person, by: Some(support::person(LEAD)) });
    }),
    ("another guest's visit ended", |store| {
        let (_, guest) = visited(store);
        store.smuggle(Event::GuestEnded {
            guest,
            person: support::person(TECHNICIAN),
            by: Some(support::person(LEAD)),
        });
    }),
    ("asked for another target", |store| {
        let (person, _) = visited(store);
        asked_by(store, person, |asked, _| asked.target = support::label("plc-7"));
    }),
    ("asked for longer than their visit", |store| {
        let (person, _) = visited(store);
        asked_by(store, person, |asked, _| asked.window.until += SignedDuration::from_hours(9));
    }),
    ("asked under a rule that takes none", |store| {
        let (person, _) = visited(store);
        asked_by(store, person, |asked, _| asked.emergency = true);
    }),
    ("asked after their visit", |store| {
        let (person, guest) = visited(store);
        sent_away(store, guest);
        asked_by(store, person, |_, _| ());
    }),
    ("a guest began after their visit", |store| {
        let (person, guest) = visited(store);
        let request = asked_by(store, person, |_, _| ());
        store.approve(request, LEAD);
        let begun = begins(store, person, request);
        sent_away(store, guest);
        begun.into_iter().for_each(|event| store.smuggle(event));
    }),
    ("somebody began under a grant of another visit", |store| {
        let (person, guest) = visited(store);
        let request = asked_by(store, person, |_, _| ());
        store.approve(request, LEAD);
        let begun = begins(store, person, request);
        sent_away(store, guest);
        let (again, _) = invitation(store, LEAD, 4, |it| it.guest = GuestId::new(Ulid::from(75_u128)));
        store.act(Decide::InviteGuest { invitation: again, link: link(76) });
        store.act(Decide::Enrol { link: link(76), key: support::public(70) });
        begun.into_iter().for_each(|event| store.smuggle(event));
    }),
    ("a guest was given more time than their visit has", |store| {
        let (person, _) = visited(store);
        let request = asked_by(store, person, |_, _| ());
        store.approve(request, LEAD);
        begins(store, person, request).into_iter().for_each(|event| store.smuggle(event));
        let deadline = store.now() + SignedDuration::from_hours(6);
        let reason = Salted::new(&[0; 32], "it sticks");
        let ask = AskId::new(Ulid::from(78_u128));
        let extension = Extension { id: ask, request, by: Seconds(3_600), deadline, reason };
        store.smuggle(Event::ExtensionAsked { extension });
        let digest = store.state.ask_digest(&store.state.asks[&ask]);
        let verdict = answered(store, Matter::Extension(ask), digest, LEAD, yes());
        store.smuggle(Event::Voted { verdict });
        store.smuggle(Event::Extended { ask, request, deadline });
    }),
    ("signed that they looked back at it, so", |store| {
        let (_, guest) = visited(store);
        sent_away(store, guest);
        store.smuggle(Event::GuestReviewed { guest, by: support::person(SECOND), objection: None });
    }),
    ("signed that they looked back at it, so", |store| {
        let (_, guest) = visited(store);
        sent_away(store, guest);
        let digest = store.state.guests[&guest].statement.digest();
        let verdict = answered(store, Matter::Guest(guest), digest, LEAD, yes());
        store.smuggle(Event::Voted { verdict });
        store.smuggle(Event::GuestReviewed { guest, by: support::person(LEAD), objection: None });
    }),
    ("signed that they looked back at it, so", |store| {
        let (_, guest) = visited(store);
        sent_away(store, guest);
        let digest = store.state.guests[&guest].statement.digest();
        let reason = Salted::new(&[0; 32], "nobody knew them");
        let verdict = answered(store, Matter::Guest(guest), digest, SECOND, Answer::No { reason });
        store.smuggle(Event::Voted { verdict });
        store.smuggle(Event::GuestReviewed { guest, by: support::person(SECOND), objection: None });
    }),
    ("looked back at a visit that went on", |store| {
        let (_, guest) = visited(store);
        let digest = store.state.guests[&guest].statement.digest();
        let verdict = answered(store, Matter::Guest(guest), digest, SECOND, yes());
        store.smuggle(Event::Voted { verdict });
        store.smuggle(Event::GuestReviewed { guest, by: support::person(SECOND), objection: None });
    }),
    ("somebody was invited who is somebody here", |store| {
        let (person, _) = visited(store);
        let kind = Kind::Technician { vendor: support::label("acme"), role: support::label("maintenance") };
        let (by, expires) = (support::person(ADMINISTRATOR), store.expires());
        store.smuggle(Event::Invited { person, kind, groups: [].into(), link: link(77), expires, by });
    }),
    ("somebody was invited by nobody who may", |store| invited(store, "acme", LEAD)),
    ("somebody was invited for a vendor without a contract", |store| invited(store, "stackwell", ADMINISTRATOR)),
    ("somebody began under a grant of another visit", |store| {
        let (person, guest) = visited(store);
        let request = asked_by(store, person, |_, _| ());
        store.approve(request, LEAD);
        let begun = begins(store, person, request);
        sent_away(store, guest);
        let (by, expires) = (support::person(ADMINISTRATOR), store.expires());
        let kind = Kind::Technician { vendor: support::label("acme"), role: support::label("maintenance") };
        store.act(Decide::Invite { person, kind, groups: [].into(), link: link(79), expires, by });
        store.act(Decide::Enrol { link: link(79), key: support::public(70) });
        begun.into_iter().for_each(|event| store.smuggle(event));
    }),
];

fn invited(store: &mut Store, vendor: &str, by: u8) {
    let kind = Kind::Technician { vendor: support::label(vendor), role: support::label("maintenance") };
    let (person, by, expires) = (PersonId::new(Ulid::from(80_u128)), support::person(by), store.expires());
    store.smuggle(Event::Invited { person, kind, groups: [].into(), link: link(81), expires, by });
}

const OF_EMERGENCIES: [MadeUp; 4] = [
    ("signed that they looked back at it, so", |store| {
        let request = given_in_an_emergency(store);
        store.smuggle(Event::Reviewed { request, by: support::person(SECOND), objection: None });
    }),
    ("signed that they looked back at it, so", |store| {
        let request = given_in_an_emergency(store);
        reviewed(store, request, LEAD, yes(), None);
    }),
    ("signed that they looked back at it, so", |store| {
        let request = given_in_an_emergency(store);
        let [reason, another] = ["nothing burnt", "it was fun"].map(|why| Salted::new(&[0; 32], why));
        reviewed(store, request, SECOND, Answer::No { reason }, Some(another));
    }),
    ("what was no emergency grant, or twice", |store| {
        let request = store.submit();
        store.approve(request, LEAD);
        reviewed(store, request, SECOND, yes(), None);
    }),
];

const OF_KEYS: [MadeUp; 2] = [
    ("a key was added for somebody who is no technician", |store| {
        store.smuggle(Event::KeyAdded { person: support::person(LEAD), key: support::public(77) });
    }),
    ("the key is somebody's already", |store| {
        store.smuggle(Event::KeyAdded { person: support::person(TECHNICIAN), key: support::public(LEAD) });
    }),
];

const OF_SUBJECTS: [MadeUp; 4] = [
    ("the subject is somebody's already", |store| {
        for person in [TECHNICIAN, LEAD].map(support::person) {
            store.smuggle(Event::SubjectLinked {
                person,
                provider: support::label("acme"),
                subject: SUBJECT,
                called: None,
            });
        }
    }),
    ("nobody else has the subject that is contested", |store| {
        let [person, holder] = [TECHNICIAN, LEAD].map(support::person);
        store.smuggle(Event::SubjectContested { person, provider: support::label("acme"), subject: SUBJECT, holder });
    }),
    ("nobody who may has unlinked the subject", |store| {
        let [person, by] = [TECHNICIAN, LEAD].map(support::person);
        linked(store, person);
        store.smuggle(Event::SubjectUnlinked { person, provider: support::label("acme"), by });
    }),
    ("the subject is somebody's already, or not theirs", |store| {
        let [person, holder] = [TECHNICIAN, LEAD].map(support::person);
        linked(store, holder);
        let (provider, called) = (support::label("acme"), Salted::new(&[0; 32], "t.miller"));
        store.smuggle(Event::SubjectRenamed { person, provider, subject: SUBJECT, called });
    }),
];
const SUBJECT: Digest = Digest([7; 32]);

const OF_SECRETS: [MadeUp; 2] = [
    ("a secret was set or forgotten by nobody who may", |store| {
        store.smuggle(Event::SecretSet { credential: support::label("hmi"), by: support::person(LEAD) });
    }),
    ("a secret was set or forgotten by nobody who may", |store| {
        store.smuggle(Event::SecretForgotten { credential: support::label("hmi"), by: support::person(TECHNICIAN) });
    }),
];

fn linked(store: &mut Store, person: PersonId) {
    let (provider, proved) = (support::label("acme"), Timestamp::MAX);
    store.act(Decide::LinkSubject { person, provider, subject: SUBJECT, called: None, proved });
}

const OF_COMPANIES: [MadeUp; 25] = [
    ("only administrators say what managers may", |store| {
        let (person, by) = (support::person(TECHNICIAN), support::person(LEAD));
        store.smuggle(Event::ManagerNamed { person, by });
    }),
    ("only administrators say what managers may", |store| {
        let (vendor, by) = (support::label("acme"), support::person(TECHNICIAN));
        store.smuggle(Event::InvitationsAllowed { vendor, most: 9, roles: [support::label("maintenance")].into(), by });
    }),
    ("by a technician who is no manager", |store| {
        let (person, by) = (support::person(TECHNICIAN), support::person(ADMINISTRATOR));
        store.act(Decide::DismissManager { person, by });
        invited_by_manager(store, 80, "acme", "maintenance", 1);
    }),
    ("a manager invited somebody of another company", |store| {
        invited_by_manager(store, 80, "bolt", "maintenance", 1);
    }),
    ("or in another role", |store| invited_by_manager(store, 80, "acme", "boss", 1)),
    ("more than the plant allowed", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", 1);
        invited_by_manager(store, 81, "acme", "maintenance", 1);
    }),
    ("more than the plant allowed", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", 1);
        let (person, by) = (PersonId::new(Ulid::from(80_u128)), support::person(TECHNICIAN));
        store.act(Decide::Disable { person, by });
        invited_by_manager(store, 81, "acme", "maintenance", 1);
    }),
    ("while they were locked", |store| {
        let (person, until) = (support::person(TECHNICIAN), store.expires());
        store.act(Decide::Lock { person, until });
        invited_by_manager(store, 80, "acme", "maintenance", 1);
    }),
    ("while they were cut off", |store| {
        let (cut, scope, at) = (CutId::new(Ulid::from(83_u128)), Scope::Vendor(support::label("acme")), store.now());
        store.act(Decide::Cut { cut, scope, by: CutBy::Operator(support::person(LEAD)), at });
        invited_by_manager(store, 80, "acme", "maintenance", 1);
    }),
    ("never enrolled", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", 1);
        let (person, by) = (PersonId::new(Ulid::from(80_u128)), support::person(ADMINISTRATOR));
        store.smuggle(Event::ManagerNamed { person, by });
    }),
    ("and none did", |store| {
        let request = store.submit();
        let (person, by) = (support::person(TECHNICIAN), support::person(ADMINISTRATOR));
        store.act(Decide::DismissManager { person, by });
        store.act(Decide::NameManager { person, by });
        let verdict = store.verdict(request, LEAD, LEAD);
        store.smuggle(Event::Voted { verdict });
        store.smuggle(Event::Granted { request });
    }),
    ("lasts beyond the vendor's contract", |store| invited_by_manager(store, 80, "acme", "maintenance", 24 * 36_500)),
    ("whom no manager invited, or who has enrolled", |store| {
        let (person, expires) = (support::person(TECHNICIAN), store.expires());
        store.smuggle(Event::Reinvited { person, link: link(82), expires, by: person });
    }),
    ("a manager put out somebody of another company", |store| {
        let (person, by) = (support::person(SECOND), support::person(TECHNICIAN));
        store.smuggle(Event::Disabled { person, by });
    }),
    ("a manager attested somebody of another company", |store| {
        let (person, by, until) = (support::person(SECOND), support::person(TECHNICIAN), store.expires());
        store.smuggle(Event::Attested { person, until, note: None, by });
    }),
    ("and none did", |store| {
        let asked = store.submit();
        let asked = ((*store.state.cases[&asked].asked).clone(), (*store.state.cases[&asked].rule).clone());
        let by = support::person(TECHNICIAN);
        store.act(Decide::WithdrawAttestation { person: by, by });
        let request = policies::requests::Request { id: RequestId::new(Ulid::from(90_u128)), ..asked.0 };
        store.smuggle(Event::Submitted { request, rule: Box::new(asked.1) });
    }),
    ("said again what stood already", |store| {
        let (person, by) = (support::person(TECHNICIAN), support::person(ADMINISTRATOR));
        store.smuggle(Event::ManagerNamed { person, by });
    }),
    ("said again what stood already", |store| {
        let (person, by) = (support::person(TECHNICIAN), support::person(ADMINISTRATOR));
        store.act(Decide::DismissManager { person, by });
        store.smuggle(Event::ManagerDismissed { person, by });
    }),
    ("said again what stood already", |store| {
        let by = support::person(TECHNICIAN);
        store.act(Decide::WithdrawAttestation { person: by, by });
        store.smuggle(Event::AttestationWithdrawn { person: by, by });
    }),
    ("said again what stood already", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", 1);
        let (person, by) = (PersonId::new(Ulid::from(80_u128)), support::person(TECHNICIAN));
        store.act(Decide::Disable { person, by });
        store.smuggle(Event::Disabled { person, by });
    }),
    ("with no code of theirs", |store| {
        let keys = vec![support::public(84)];
        store.smuggle(Event::Enrolled { person: support::person(SECOND), link: link(84), keys });
    }),
    ("or with one that was used or void", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", 1);
        let (person, by) = (support::person(TECHNICIAN), support::person(ADMINISTRATOR));
        store.act(Decide::DismissManager { person, by });
        enrols(store, 80, 80);
    }),
    ("or with one that was used or void", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", 1);
        enrols(store, 80, 80);
        enrols(store, 80, 80);
    }),
    ("a code that lasted no longer", |store| {
        invited_by_manager(store, 80, "acme", "maintenance", -1);
        enrols(store, 80, 80);
    }),
    ("and none did", |store| {
        let request = store.submit();
        let by = support::person(TECHNICIAN);
        store.act(Decide::WithdrawAttestation { person: by, by });
        let verdict = store.verdict(request, LEAD, LEAD);
        store.smuggle(Event::Voted { verdict });
        store.smuggle(Event::Granted { request });
    }),
];

fn enrols(store: &mut Store, who: u128, code: u128) {
    let keys = vec![support::public(84)];
    store.smuggle(Event::Enrolled { person: PersonId::new(Ulid::from(who)), link: link(code), keys });
}

fn invited_by_manager(store: &mut Store, who: u128, vendor: &str, role: &str, hours: i64) {
    let kind = Kind::Technician { vendor: support::label(vendor), role: support::label(role) };
    let (person, by) = (PersonId::new(Ulid::from(who)), support::person(TECHNICIAN));
    let expires = store.now() + SignedDuration::from_hours(hours);
    store.smuggle(Event::Invited { person, kind, groups: [].into(), link: link(who), expires, by });
}

fn given_in_an_emergency(store: &mut Store) -> RequestId {
    let request = store.submit_in_an_emergency();
    store.approve(request, LEAD);
    request
}

fn reviewed(store: &mut Store, request: RequestId, by: u8, answer: Answer, objection: Option<Salted>) {
    let digest = store.state.cases[&request].request.digest(&support::label("mill-3"));
    let verdict = answered(store, Matter::Review(request), digest, by, answer);
    store.smuggle(Event::Voted { verdict });
    store.smuggle(Event::Reviewed { request, by: support::person(by), objection });
}

/// One thing about what comes after work, with a grant and a session under it that is over, of which all are drawn or none.
type MadeUpAfter = (&'static str, bool, fn(&mut Store, RequestId, SessionId));

const OF_WHAT_COMES_AFTER: [MadeUpAfter; 14] = [
    ("no such thing is asked", true, |store, _, _| {
        // A yes to another thing counts for no request, though it names the request's digest.
        let request = store.submit();
        let digest = store.state.standing_digest(&Matter::Request(request)).unwrap();
        let verdict = answered(store, Matter::CloseOut(request), digest, LEAD, yes());
        store.smuggle(Event::Voted { verdict });
    }),
    ("nobody used, under which somebody was at work", true, |store, _, _| {
        let request = store.submit();
        store.approve(request, LEAD);
        closed_out(store, request, |_| ());
    }),
    ("nobody used, under which somebody was at work", true, |store, request, _| {
        store.admit(request);
        closed_out(store, request, |_| ());
    }),
    ("something else was answered", true, |store, request, _| {
        closed_out(store, request, |close_out| close_out.account.left = Salted::new(&[0; 32], "on fire"));
    }),
    ("the signature is wrong", true, |store, request, _| {
        let close_out = store.state.close_out_of(request, account()).unwrap();
        let digest = close_out.digest(&support::label("mill-3"));
        let mut verdict = answered(store, Matter::CloseOut(request), digest, LEAD, yes());
        verdict.statement.nonce = "11".repeat(16);
        store.smuggle(Event::ClosedOut { close_out, verdict });
    }),
    ("whoever signed had seen another journal", true, |store, request, _| {
        let close_out = store.state.close_out_of(request, account()).unwrap();
        let digest = close_out.digest(&support::label("mill-3"));
        let mut statement = answered(store, Matter::CloseOut(request), digest, LEAD, yes()).statement;
        statement.journal.root = Digest::of_bytes(b"another");
        let signature = support::sign(LEAD, Namespace::Approval, statement.digest());
        store.smuggle(Event::ClosedOut {
            close_out,
            verdict: Signed { statement, key: support::public(LEAD), signature },
        });
    }),
    ("other work was signed off than there was", true, |store, request, _| {
        let looked = store.state.cases[&request].work().unwrap();
        let later = store.begin(request);
        store.end(later);
        let close_out = CloseOut { request, account: account(), work: looked };
        let digest = close_out.digest(&support::label("mill-3"));
        let verdict = answered(store, Matter::CloseOut(request), digest, LEAD, yes());
        store.smuggle(Event::ClosedOut { close_out, verdict });
    }),
    ("somebody answered about a grant that was closed out", true, |store, request, _| {
        let ask = asks_more(store, request);
        closed_out(store, request, |_| ());
        let digest = store.state.standing_digest(&Matter::Widening(ask)).unwrap();
        let verdict = answered(store, Matter::Widening(ask), digest, LEAD, yes());
        store.smuggle(Event::Voted { verdict });
    }),
    ("more was given of a grant that was closed out", true, |store, request, _| {
        let ask = asks_more(store, request);
        let digest = store.state.standing_digest(&Matter::Widening(ask)).unwrap();
        let verdict = answered(store, Matter::Widening(ask), digest, LEAD, yes());
        store.smuggle(Event::Voted { verdict });
        closed_out(store, request, |_| ());
        let until = Seconds(60).after(store.state.newest.unwrap());
        store.smuggle(Event::Widened { ask, request, until });
    }),
    ("a session began under a grant that was closed out", true, |store, request, _| {
        let begun = begins(store, support::person(TECHNICIAN), request);
        closed_out(store, request, |_| ());
        begun.into_iter().for_each(|event| store.smuggle(event));
    }),
    ("somebody else than the technician said", true, |store, request, _| {
        store.smuggle(Event::Accounted { request, account: account(), by: support::person(LEAD) });
    }),
    ("nobody signed that they reviewed it, so", true, |store, _, session| {
        store.smuggle(Event::SessionReviewed { session, by: support::person(SECOND), findings: None });
    }),
    ("it was signed by nobody who may", true, |store, _, session| session_reviewed(store, session, LEAD)),
    ("a session was reviewed that was not drawn", false, |store, _, session| session_reviewed(store, session, SECOND)),
];

fn account() -> Account {
    let text = |text: &str| Salted::new(&[0; 32], text);
    Account { done: text("replaced a fan"), changed: text("nothing"), left: text("running") }
}

/// One more action, asked of a grant.
fn asks_more(store: &mut Store, request: RequestId) -> AskId {
    let id = AskId::new(Ulid::from(77_u128));
    let actions = [Action::FileGet].into();
    let widening = Widening { id, request, actions, lasts: Seconds(60), reason: Salted::new(&[0; 32], "more") };
    store.smuggle(Event::WideningAsked { widening });
    id
}

/// What is written is otherwise than what was signed.
fn closed_out(store: &mut Store, request: RequestId, otherwise: impl FnOnce(&mut CloseOut)) {
    let work = store.state.cases[&request].work();
    let work = work.unwrap_or(Work { sessions: 0, last: SessionId::new(Ulid::from(0_u128)) });
    let mut close_out = CloseOut { request, account: account(), work };
    let digest = close_out.digest(&support::label("mill-3"));
    let verdict = answered(store, Matter::CloseOut(request), digest, LEAD, yes());
    otherwise(&mut close_out);
    store.smuggle(Event::ClosedOut { close_out, verdict });
}

fn session_reviewed(store: &mut Store, session: SessionId, by: u8) {
    let digest = store.state.standing_digest(&Matter::Session(session)).unwrap();
    let verdict = answered(store, Matter::Session(session), digest, by, yes());
    store.smuggle(Event::Voted { verdict });
    store.smuggle(Event::SessionReviewed { session, by: support::person(by), findings: None });
}

/// A grant under which somebody was at work.
fn worked(is_drawn: bool) -> (Store, RequestId, SessionId) {
    let review = if is_drawn { "\nreview_percent = 100" } else { "" };
    let (mut store, request) = Store::granted_by(&format!("close_out = \"required\"{review}"));
    let session = store.begin(request);
    let id = session.id;
    store.end(session);
    (store, request, id)
}

#[test]
fn whatever_is_made_up_about_what_comes_after_work_both_verifiers_find() {
    let Some(mut second) = SecondOpinion::start() else { return };
    for (number, (said, is_drawn, make_up)) in OF_WHAT_COMES_AFTER.iter().enumerate() {
        let (mut store, request, session) = worked(*is_drawn);
        make_up(&mut store, request, session);
        let [opinion, other] = taken_from(store).both(&mut second, false, said);
        assert_eq!(opinion.code, 1, "{number}, {said}: {}", opinion.said);
        assert!(other.said.contains(said), "{number}: not {said:?}, but {}", other.said);
    }
}

#[test]
fn a_pack_of_one_session_tells_nothing_of_the_review_of_another() {
    let (mut store, request, first) = worked(true);
    let later = store.begin(request);
    let second = later.id;
    store.end(later);
    let digest = store.state.standing_digest(&Matter::Session(second)).unwrap();
    let reason = Salted::new(&[0; 32], "a new account");
    let verdict = answered(&store, Matter::Session(second), digest, SECOND, Answer::No { reason });
    store.act(Decide::Vote { verdict });
    store.close();
    let wanted = |session| recordings::pack::wanted(store.dir(), &PackOf::Session { session }).unwrap();
    let (of_first, of_second) = (wanted(first), wanted(second));
    assert!(!of_first.texts.contains(&reason) && !of_first.people.contains(&support::person(SECOND)), "{of_first:?}");
    assert!(of_second.texts.contains(&reason) && of_second.people.contains(&support::person(SECOND)), "{of_second:?}");
}

#[test]
fn what_comes_after_work_as_it_should_be_is_whole() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let (mut store, request, session) = worked(true);
    store.act(Decide::Account { request, account: account(), by: support::person(TECHNICIAN) });
    let close_out = store.state.close_out_of(request, account()).unwrap();
    let digest = close_out.digest(&support::label("mill-3"));
    let verdict = answered(&store, Matter::CloseOut(request), digest, LEAD, yes());
    store.act(Decide::CloseOut { close_out, verdict });
    let digest = store.state.standing_digest(&Matter::Session(session)).unwrap();
    let reason = Salted::new(&[0; 32], "a new account");
    let verdict = answered(&store, Matter::Session(session), digest, SECOND, Answer::No { reason });
    store.act(Decide::Vote { verdict });
    for opinion in taken_from(store).judged(&mut second, "as it should be") {
        assert_eq!(opinion.code, 0, "{}", opinion.said);
    }
}

#[test]
fn whatever_is_made_up_about_guests_emergencies_and_keys_both_verifiers_find() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let made_up = OF_INVITATIONS.iter().chain(&OF_VISITS).chain(&OF_EMERGENCIES).chain(&OF_KEYS).chain(&OF_SUBJECTS);
    let made_up = made_up.chain(&OF_SECRETS);
    for (number, (said, make_up)) in made_up.enumerate() {
        let mut store = Store::for_guests();
        make_up(&mut store);
        let [opinion, other] = taken_from(store).both(&mut second, false, said);
        assert_eq!(opinion.code, 1, "{number}, {said}: {}", opinion.said);
        assert!(other.said.contains(said), "{number}: not {said:?}, but {}", other.said);
    }
}

#[test]
fn whatever_is_made_up_about_managers_and_attestations_both_verifiers_find() {
    let Some(mut second) = SecondOpinion::start() else { return };
    for (number, (said, make_up)) in OF_COMPANIES.iter().enumerate() {
        let mut store = Store::managed();
        make_up(&mut store);
        let [opinion, other] = taken_from(store).both(&mut second, false, said);
        assert_eq!(opinion.code, 1, "{number}, {said}: {}", opinion.said);
        assert!(other.said.contains(said), "{number}: not {said:?}, but {}", other.said);
    }
}

/// The same as it should be: a manager invites, gives another code, puts out, attests, and work goes on.
#[test]
fn companies_with_managers_as_they_should_be_are_whole() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let mut store = Store::managed();
    let kind = || Kind::Technician { vendor: support::label("acme"), role: support::label("maintenance") };
    let (by, expires) = (support::person(TECHNICIAN), store.expires());
    let first = PersonId::new(Ulid::from(80_u128));
    store.act(Decide::Invite { person: first, kind: kind(), groups: Vec::new(), link: link(80), expires, by });
    store.act(Decide::Reinvite { person: first, link: link(81), expires, by });
    store.act(Decide::Enrol { link: link(81), key: support::public(81) });
    store.act(Decide::Disable { person: first, by });
    let next = PersonId::new(Ulid::from(82_u128));
    store.act(Decide::Invite { person: next, kind: kind(), groups: Vec::new(), link: link(82), expires, by });
    store.act(Decide::Enrol { link: link(82), key: support::public(82) });
    store.act(Decide::Attest { person: next, until: expires, note: None, by });
    let request = store.submit();
    store.approve(request, LEAD);
    let session = store.begin(request);
    store.act(Decide::WithdrawAttestation { person: by, by });
    // What runs goes on.
    store.end(session);
    store.act(Decide::DismissManager { person: by, by: support::person(ADMINISTRATOR) });
    for opinion in taken_from(store).judged(&mut second, "as it should be") {
        assert_eq!(opinion.code, 0, "{}", opinion.said);
    }
}

/// What is tampered with above is good as it stands before that.
#[test]
fn guests_and_emergencies_as_they_should_be_are_whole() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let mut store = Store::for_guests();
    let (person, guest) = visited(&mut store);
    asked_by(&mut store, person, |_, _| ());
    sent_away(&mut store, guest);
    let digest = store.state.guests[&guest].statement.digest();
    let verdict = answered(&store, Matter::Guest(guest), digest, SECOND, yes());
    store.act(Decide::Vote { verdict });
    let request = given_in_an_emergency(&mut store);
    let reason = Salted::new(&[0; 32], "nothing burnt");
    reviewed(&mut store, request, SECOND, Answer::No { reason }, Some(reason));
    // As it was written before objections had a place of their own.
    let earlier = given_in_an_emergency(&mut store);
    reviewed(&mut store, earlier, SECOND, Answer::No { reason }, None);
    let kind = Kind::Technician { vendor: support::label("acme"), role: support::label("maintenance") };
    let (by, expires) = (support::person(ADMINISTRATOR), store.expires());
    store.act(Decide::Invite { person, kind, groups: Vec::new(), link: link(77), expires, by });
    for opinion in taken_from(store).judged(&mut second, "as it should be") {
        assert_eq!(opinion.code, 0, "{}", opinion.said);
    }
}

#[test]
fn a_wall_clock_that_was_set_is_judged_alike() {
    let Some(mut second) = SecondOpinion::start() else { return };
    for seconds in [-7_200, 7_200] {
        let (store, mut session) = Store::with_its_clock_set(seconds);
        let early = as_it_lies(&store);
        for opinion in early.judged(&mut second, "its clock was set") {
            assert_eq!(opinion.code, 4, "{}", opinion.said);
        }
        store.machine.set_wall(-7_200 - seconds);
        session.goes_on(7_200);
        let late = as_it_lies(&store);
        fs::remove_dir_all(late.path("data/journal")).unwrap();
        copy(&early.path("data/journal"), &late.path("data/journal"));
        for opinion in late.judged(&mut second, "its journal is of two hours before") {
            assert_eq!(opinion.code, 1, "{}", opinion.said);
        }
    }
}

#[test]
fn a_journal_of_the_next_boot_beside_recordings_of_the_one_before_is_judged_alike() {
    let Some(mut second) = SecondOpinion::start() else { return };
    for (later, code) in [(0, 4), (86_400, 1)] {
        let (store, _session) = Store::with_its_clock_set(0);
        let early = store.copy();
        let _journal = support::next_boot(early.path(), &store, later);
        let taken = as_it_lies_in(early.path(), &store);
        for opinion in taken.judged(&mut second, "its journal is of the next boot") {
            assert_eq!(opinion.code, code, "{later}: {}", opinion.said);
        }
    }
}

#[test]
fn files_of_which_the_log_says_that_copies_lie_in_a_bucket_are_compared_with_what_it_says() {
    let Some(mut second) = SecondOpinion::start() else { return };
    for (change, lies_here, code) in [
        ((|_| {}) as fn(&mut Copied), true, 0),
        (|_| {}, false, 4),
        (|copied| copied.bytes += 1, true, 1),
        (|copied| copied.sha256.0[9] ^= 1, true, 1),
    ] {
        let (mut store, grant) = Store::granted_with_copies();
        let session = store.begin(grant);
        let id = session.id;
        store.machine.advance(2_000_000_000);
        store.end(session);
        store.say_copied(id, change);
        let taken = taken_from(store);
        if !lies_here {
            fs::remove_dir_all(session_dir(&taken.path("data/records"), id)).unwrap();
        }
        for opinion in taken.judged(&mut second, "copies in a bucket") {
            assert_eq!(opinion.code, code, "{}", opinion.said);
        }
    }
}

/// Stores that released versions of this format wrote: `<version>.tar.zst`, with the auditor's key and what was said of each.
fn golden() -> Vec<PathBuf> {
    let mut stores: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .collect();
    stores.sort();
    stores
}

impl Taken {
    fn golden(archive: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        run(Command::new("tar").arg("--zstd").arg("-xf").arg(archive).arg("-C").arg(folder.path()), b"").ok();
        Self { folder }
    }

    fn holdpoint(&self, arguments: &[&str]) -> tests::Ended {
        run(Command::new(program()).args(arguments).current_dir(&self.folder), b"")
    }

    /// What must stay so for ever: the verdicts, by both verifiers' words, and every byte that can be replayed.
    fn lasting(&self, said: &str) -> Value {
        let report: Value = serde_json::from_str(said).unwrap();
        let of = |session: &Value, names: &[&str]| -> Value {
            names.iter().map(|name| (*name, session[*name].clone())).collect()
        };
        let names = ["session", "verdict", "ending", "frames", "bytes_in", "bytes_out"];
        let sessions = report["sessions"].as_array().unwrap().iter().map(|session| of(session, &names));
        let mut casts = serde_json::Map::new();
        for session in report["sessions"].as_array().unwrap() {
            let id = session["session"].as_str().unwrap();
            for form in ["cast-v3", "cast-v2"] {
                let name = format!("{id}.{form}");
                let exported =
                    self.holdpoint(&["export", id, "--data", "data", "--key", "key", "--as", form, "-o", &name]);
                let digest =
                    fs::read(self.path(&name)).map(|cast| policies::digest::Digest::of_bytes(&cast).to_string());
                casts.insert(name, json!([exported.code(), digest.unwrap_or_default()]));
            }
        }
        let logs = report["logs"].as_array().unwrap().iter().map(|log| of(log, &["origin", "size", "root"]));
        json!({
            "verdict": report["verdict"],
            "logs": logs.collect::<Vec<_>>(),
            "sessions": sessions.collect::<Vec<_>>(),
            "casts": casts,
        })
    }
}

#[test]
fn stores_of_every_released_format_open_for_ever() {
    let Some(mut second) = SecondOpinion::start() else { return };
    let stores = golden();
    assert!(!stores.is_empty());
    for archive in stores {
        let taken = Taken::golden(&archive);
        let [_, with_key] = taken.judged(&mut second, &archive.display().to_string());
        let told: Value = serde_json::from_slice(&fs::read(taken.path("told.json")).unwrap()).unwrap();
        assert_eq!(taken.lasting(&with_key.said), told, "{}", archive.display());
        // And it is not the leniency of later versions that lets it pass.
        let block = evidence(&taken.path("data/records/sessions")).into_iter().find(|file| file.ends_with("0000.blk"));
        let (block, mut bytes) = block.map(|block| (block.clone(), fs::read(block).unwrap())).unwrap();
        bytes[60] ^= 1;
        fs::write(block, bytes).unwrap();
        assert!(taken.judged(&mut second, "one bit flipped").iter().all(|opinion| opinion.code == 1));
    }
}

/// Not a test: makes the store of a format that is about to be released, `HOLDPOINT_GOLDEN=<version>.tar.zst`, at an absolute
/// path.
#[test]
#[ignore = "makes the golden store of a new format"]
fn make_a_golden_store() {
    let Some(archive) = std::env::var_os("HOLDPOINT_GOLDEN") else { return };
    let mut second = SecondOpinion::start().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bucket = runtime.block_on(FakeBucket::start(BucketKind::default()));
    let reached = format!("credentials = {:?}, endpoint = {:?}", bucket.credentials(), bucket.endpoint());
    let mut plant = plant_with_a_history_under(&format!(
        "recordings = \"s3://mill3/holdpoint\"\ns3 = {{ {reached}, keep_local = \"0s\" }}"
    ));
    // What came so far lies in the bucket alone; what comes now lies here, too.
    eventually("nothing lies here", || evidence(&plant.data().join("records/sessions")).is_empty());
    assert_eq!(plant.stop().code(), 0);
    plant.edit_config(|text| text.replacen("\"0s\"", "\"30d\"", 1));
    plant.serve();
    let at = plant.tess().at("hmi-2");
    // A screen that is resized, long enough for a keyframe, and typed bytes.
    let mut terminal = tests::process::start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    terminal.resize(100, 30);
    terminal.type_in("seq 200000; echo all-of-them\r");
    terminal.until("all-of-them\r\n");
    terminal.type_in("exit\r");
    terminal.ends();
    // More than a segment, so that one retires.
    run(&mut plant.tess().ssh(&[&at, "head -c 80M /dev/zero"]), b"").ok();
    // Heads are signed each second while a session is open.
    let running = begin(&plant);
    eventually("a segment has gone", || !plant.data().join("records/segments/00000000.seg").exists());
    eventually("what has ended is in the bucket", || told(&plant, "lee", &["status"])["bucket"]["waiting"] == 0);
    plant.kill();
    running.ends();
    tear(&plant, "journal");
    plant.serve();
    run(&mut plant.tess().ssh(&[&at, "echo the end; exit 3"]), b"");
    assert_eq!(plant.stop().code(), 0);
    let taken = Taken::from(&plant, &plant.data());
    let [_, with_key] = taken.judged(&mut second, "new");
    fs::write(taken.path("told.json"), taken.lasting(&with_key.said).to_string()).unwrap();
    fs::remove_file(taken.path("data/journal/LOCK")).ok();
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "--owner=0", "--group=0", "-cf"]).arg(archive).arg("-C").arg(taken.folder.path());
    run(tar.args(["data", "trust.toml", "key", "told.json"]), b"").ok();
}
