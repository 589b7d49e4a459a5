//! Evidence packs: made by the real program of a real session, read and checked far from the gate, and every change found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use certs::log_key::Verifier;
use policies::actions::Action;
use policies::time::Seconds;
use recordings::tlog::tlog_proof::TlogProof;
use recordings::tree::leaf_hash;
use tests::plant::{EVERYTHING, program};
use tests::witness::published;
use tests::{Ended, Options, Plant, eventually, holdpoint, json, log_in, long_or, recipient, run, text};

const HOUR: Seconds = Seconds(3_600);
/// What a stranger types to be believed, to be run, or not to be seen.
const STRANGE: &str = "the pump <script>alert(1)</script> trips\u{1b}[2J\u{202e} & \"more\"";

const ITEMS: [&str; 20] = [
    "Criticality",
    "Answers for the vendor at the plant",
    "Source address",
    "Work order",
    "Granted for",
    "neither their own request nor their own vendor&#39;s",
    "Mill 3. Sessions are recorded.",
    "short-lived certificate of the gate&#39;s, which stands for key and code",
    "The target must show the host key",
    "in the gate, which speaks SSH to both sides",
    "nobody watched",
    "2 commands and connections, ",
    "0 files, 0 of them refused",
    "from the target: 9 bytes came, 9 passed, 0 were refused",
    "the technician left",
    "State before and after",
    "emergency grants, guests&#39; visits and drawn sessions are, and this is none",
    "Plant file in force, SHA-256",
    "Not among these",
    "at least 3y, until ",
];

/// An auditor's own machine: what they trust, their key, and room.
struct Auditor {
    folder: tempfile::TempDir,
}

impl Auditor {
    fn of(plant: &Plant) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (from, to) in [("trust.toml", "trust.toml"), ("auditors/auditor-1.key", "key")] {
            fs::copy(plant.installation().join(from), folder.path().join(to)).expect("a file");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn types(&self, arguments: &[&str]) -> Ended {
        run(Command::new(program()).args(arguments).current_dir(&self.folder), b"")
    }

    /// What a check of a pack says, and that nothing is wrong with it.
    #[track_caller]
    fn finds_whole(&self, pack: &str, more: &[&str]) -> String {
        let verified = self.types(&[&["verify", pack, "--trust", "trust.toml"], more].concat());
        assert!(verified.code() == 4 && verified.out().contains("\nWHOLE AS FAR AS IT GOES"), "{}", verified.text());
        verified.out()
    }

    /// Unpacked by somebody else's program.
    fn unpack(&self, pack: &str, to: &str) -> PathBuf {
        let unpack = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
        run(Command::new("python3").args(["-c", unpack]).arg(self.path(pack)).arg(self.path(to)), b"").ok();
        self.path(to)
    }
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
    files.sort();
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to), b"").ok();
}

/// A session in which something was done, asked for by the command with strange words, and one that still stands.
fn worked() -> (Plant, String) {
    let mut plant = Plant::enrolled(Options::default());
    plant.serve();
    log_in(&plant, "lee");
    log_in(&plant, "tess");
    let asked =
        json(&plant, "tess", &["request", "hmi-2", "--actions", "shell,file-put", "--for", "1h", "--reason", STRANGE]);
    holdpoint(&plant, "lee", &["approve", &text(&asked["request"]), "--yes"]).ok();
    let at = plant.tess().at("hmi-2");
    plant.tess().write("recipe<b>", b"seven");
    run(plant.tess().tool("scp").args(["-F", "ssh_config", "recipe<b>"]).arg(format!("{at}:recipe<b>")), b"").ok();
    run(&mut plant.tess().ssh(&[&at, "echo '<i>' done; true"]), b"").ok();
    eventually("both ends are journaled", || {
        json(&plant, "lee", &["sessions"])["sessions"].as_array().is_some_and(Vec::is_empty)
    });
    let sessions = json(&plant, "lee", &["sessions", "--all"]);
    let newest = text(&sessions["sessions"][0]["session"]);
    (plant, newest)
}

#[test]
fn a_pack_of_one_session_is_made_read_and_checked_anywhere() {
    let (plant, session) = worked();
    let auditor = Auditor::of(&plant);
    let (trust, key, pack) = (auditor.path("trust.toml"), auditor.path("key"), auditor.path("pack.zip"));
    let [trust, key, pack] = [trust, key, pack].map(|path| path.display().to_string());
    let of = ["evidence", &session, "--trust", &trust, "-o", &pack];
    holdpoint(&plant, "tess", &of).says_no("vendor");
    holdpoint(&plant, "ada", &of).says_no("");
    assert!(!Path::new(&pack).exists());
    let sealed = plant.evidence().recordings().iter().filter_map(|opened| opened.recording.sealed_at).max();
    eventually("the seal is published", || published(&plant, "records") > sealed.expect("sessions that ended"));
    log_in(&plant, "ada");
    let backup = plant.person("ada").path("backup.age");
    let backup = ["backup", "-o", backup.to_str().expect("text"), "--to", &recipient(&plant)];
    holdpoint(&plant, "ada", &backup).ok();
    let made = holdpoint(&plant, "lee", &[&of[..], &["--key", &key]].concat()).ok().out();
    assert!(made.contains("1 session, ") && made.contains("your key opened"), "{made}");
    holdpoint(&plant, "lee", &of).refused(2, "is there already");

    // With the gate's folder nowhere near.
    drop(plant);
    let told = auditor.finds_whole("pack.zip", &["--key", "key"]);
    assert!(told.contains(&format!("{session} ")) && told.contains("Texts and pages of this pack follow"), "{told}");
    let told = auditor.finds_whole("pack.zip", &[]);
    assert!(told.contains("what it tells of the recording's inside was not checked"), "{told}");
    let folder = auditor.unpack("pack.zip", "unpacked");
    auditor.finds_whole("unpacked", &["--key", "key"]);
    let trusted = fs::read_to_string(auditor.path("trust.toml")).expect("a file");
    let logs: Vec<Verifier> = trusted
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .filter_map(|key| key.parse().ok())
        .collect();
    let mut proved = Vec::new();
    for file in fs::read_dir(folder.join("proofs")).expect("a folder").flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|ending| ending == "tlog-proof") {
            let leaf = fs::read(file.with_extension("leaf")).expect("a file");
            let proof = TlogProof::parse(&fs::read(&file).expect("a file")).expect("a proof");
            let signed = proof.verify(&leaf_hash(&leaf), &logs).expect("it proves that");
            proof.verify(&leaf_hash(&leaf[1..]), &logs).expect_err("and nothing else");
            proved.push(format!("{}-{}", signed.checkpoint().origin, proof.index()));
        }
    }
    let of = |log: &str| proved.iter().filter(|name| name.starts_with(log)).count();
    assert_eq!((of("mill-3/records/gate-1"), of("mill-3/journal")), (2, 1), "{proved:?}");
    let page = fs::read_to_string(folder.join("index.html")).expect("a page");
    for words in [
        "&lt;script&gt;alert(1)&lt;/script&gt; trips",
        "the command echo &#39;&lt;i&gt;&#39; done; true",
        "<b>SR 1.13 RE 1</b>",
        "On the signed word of lee (p_",
        "Pack made",
        "In a backup of the gate",
        "Weaker than a signature?",
        "no gaps: every frame",
        "from the running gate, which wrote into the journal that it was made",
    ] {
        let words = words.replace("<b>SR 1.13 RE 1</b>", ">SR 1.13 RE 1<");
        assert!(page.contains(&words), "{words} is not in the page");
    }
    // Each of the twenty items that auditors ask of a session, by what it says of this one.
    for (item, words) in (1..).zip(ITEMS) {
        assert!(page.contains(words), "item {item}: {words} is not in the page");
    }
    let lower = page.to_lowercase();
    assert!(!lower.contains("<script") && !lower.contains("http://") && !lower.contains("src="), "it loads something");
    assert!(page.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "a control character");
    check_approvals(&folder);
    for key in [&[][..], &["--identity", "key"]] {
        let Some(python) = tests::python() else { break };
        let mut second = Command::new(python);
        second.args(["unpacked/verify.py", "unpacked/data", "--trust", "trust.toml"]).args(key);
        let told = run(second.current_dir(&auditor.folder), b"");
        assert_eq!(told.code(), 4, "{}", told.text());
    }

    // Decryption stays where the auditor's key is.
    let everything = fs::read(auditor.path("pack.zip")).expect("a file");
    let secret = fs::read(auditor.path("key")).expect("a file");
    let line = secret.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"AGE-SECRET-KEY")).expect("a key");
    assert!(!everything.windows(line.len()).any(|window| window == line));
    let play = ["play", &session, "--data", "unpacked/data", "--key", "key", "--speed", "1000"];
    assert!(auditor.types(&play).ok().out().contains("<i> done"));
}

/// By OpenSSH alone.
fn check_approvals(folder: &Path) {
    let approvals = folder.join("approvals");
    let signers = fs::read_to_string(approvals.join("allowed_signers")).expect("a file");
    let (signer, _) = signers.split_once(' ').expect("a line");
    let mut files = Vec::new();
    files_below(&approvals, &mut files);
    let signatures = files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "sig"));
    let mut checked = 0;
    for signature in signatures {
        let signed = fs::read(signature.with_extension("signed")).expect("a file");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "verify", "-n", "holdpoint-approval@v1", "-I", signer, "-f"]);
        keygen.arg(approvals.join("allowed_signers")).arg("-s").arg(signature);
        run(&mut keygen, &signed).ok();
        let statement = fs::read(signature.with_extension("statement")).expect("a file");
        assert_eq!(policies::digest::Digest::of_bytes(&statement).0.to_vec(), signed);
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn a_pack_may_be_a_folder_and_is_checked_as_one() {
    let (mut plant, session) = worked();
    let auditor = Auditor::of(&plant);
    assert_eq!(plant.stop().code(), 0);
    copy(&plant.data(), &auditor.path("data"));
    let make = |output| auditor.types(&["evidence", &session, "--data", "data", "-o", output]);
    let made = make("pack/").ok().out();
    assert!(made.contains("Read it: open index.html") && !made.contains(" 0 B"), "{made}");
    auditor.finds_whole("pack", &[]);
    make("pack.zip").ok();
    let names = |folder: &Path| {
        let mut files = Vec::new();
        files_below(folder, &mut files);
        files.iter().map(|file| file.strip_prefix(folder).expect("below it").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&auditor.path("pack")), names(&auditor.unpack("pack.zip", "unpacked")));
    make("pack/").refused(2, "there already");
    make("nowhere/pack/").refused(3, "nowhere");
}

#[test]
fn every_change_of_a_pack_is_found() {
    let (mut plant, session) = worked();
    let auditor = Auditor::of(&plant);
    assert_eq!(plant.stop().code(), 0);
    copy(&plant.data(), &auditor.path("data"));
    let made = auditor.types(&["evidence", &session, "--data", "data", "--key", "key", "-o", "pack.zip"]).ok().out();
    assert!(made.contains("no journal knows of it") && !made.contains("texts"), "{made}");
    assert!(auditor.types(&["verify", "data", "--trust", "trust.toml"]).ok().out().contains("\nWHOLE: "));
    auditor.finds_whole("pack.zip", &["--key", "key"]);
    let folder = auditor.unpack("pack.zip", "unpacked");
    assert!(fs::read_to_string(folder.join("index.html")).expect("a page").contains("stands in no journal"));
    let verify = |with_key: bool| {
        let more: &[&str] = if with_key { &["--key", "key"] } else { &[] };
        auditor.types(&[&["verify", "unpacked", "--trust", "trust.toml"], more].concat())
    };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    assert!(files.len() > 20, "{files:?}");
    for file in &files {
        let before = fs::read(file).expect("a file");
        let used = before.iter().rposition(|byte| *byte != 0).expect("a file with something in it");
        let count = long_or(20, 1);
        for at in (1..=count).map(|n| used * n / (count + 1)) {
            let mut changed = before.clone();
            changed[at] ^= 0x10;
            fs::write(file, changed).expect("a file");
            let found = verify(false);
            assert_eq!(found.code(), 1, "byte {at} of {}: {}", file.display(), found.text());
            let name = file.strip_prefix(&folder).expect("below it").display().to_string();
            assert!(found.out().contains(&name), "{name}: {}", found.out());
        }
        fs::write(file, &before).expect("a file");
    }
    println!("one byte flipped in each of {} files, each found", files.len());
    forged(&folder, &verify);
    fs::create_dir(folder.join("more")).expect("a folder");
    for name in ["data/journal/more", "more.html", "more/index.html"] {
        fs::write(folder.join(name), "x").expect("a file");
        let found = verify(true);
        assert!(found.code() == 1 && found.out().contains(name), "{name}: {}", found.text());
        fs::remove_file(folder.join(name)).expect("a file");
    }
    for file in &files {
        let aside = auditor.path("aside");
        fs::rename(file, &aside).expect("a file");
        // Without its manifest it is a folder with things in it that no gate puts there.
        assert_eq!(verify(false).code(), 1, "{}", file.display());
        fs::rename(&aside, file).expect("a file");
    }
    auditor.finds_whole("unpacked", &["--key", "key"]);
    zip_is_refused(&auditor);
}

/// Somebody changes what a page tells, and the manifest with it: what it follows from still says otherwise.
fn forged(folder: &Path, verify: &dyn Fn(bool) -> Ended) {
    let manifest = fs::read_to_string(folder.join("manifest.json")).expect("a file");
    for (name, from, to) in [
        ("index.html", "On the signed word of lee", "On the signed word of kim"),
        ("index.html", "<b>not observed</b>", "<b>observed</b>"),
        ("evidence.json", "\"seen\": \"not-observed\"", "\"seen\": \"observed\""),
        ("evidence.json", "the command echo", "the command erase"),
        ("texts.json", "the pump", "the lamp"),
        ("docs/FORMAT.md", "not", "now"),
    ] {
        let path = folder.join(name);
        let before = fs::read_to_string(&path).expect("a file");
        let changed = before.replacen(from, to, 1);
        assert!(before != changed, "{from} is not in {name}");
        fs::write(&path, &changed).expect("a file");
        let digest = |text: &str| policies::digest::Digest::of_bytes(text.as_bytes()).to_string();
        let length = |text: &str| format!("\"bytes\": {},\n      \"sha256\": \"{}\"", text.len(), digest(text));
        let with = manifest.replace(&length(&before), &length(&changed));
        assert_ne!(with, manifest);
        fs::write(folder.join("manifest.json"), with).expect("a file");
        let found = verify(true);
        assert!(found.code() == 1 && found.out().contains(name), "{name}: {}", found.text());
        fs::write(&path, before).expect("a file");
        fs::write(folder.join("manifest.json"), &manifest).expect("a file");
    }
}

/// What is no pack of ours is refused in one line, and nothing of it is left.
fn zip_is_refused(auditor: &Auditor) {
    let whole = fs::read(auditor.path("pack.zip")).expect("a file");
    let packed_again = "import sys, zipfile\na = zipfile.ZipFile(sys.argv[1]); b = zipfile.ZipFile(sys.argv[2], 'w')\n\
        for i in a.infolist(): b.writestr(i.filename, a.read(i.filename))\nb.close()";
    run(
        Command::new("python3").args(["-c", packed_again]).arg(auditor.path("pack.zip")).arg(auditor.path("again.zip")),
        b"",
    )
    .ok();
    let cut = &whole[..whole.len() / 2];
    for (name, bytes) in [("cut.zip", cut), ("noise.zip", &[0x50; 1000][..]), ("empty.zip", b"")] {
        fs::write(auditor.path(name), bytes).expect("a file");
    }
    for name in ["cut.zip", "noise.zip", "empty.zip", "again.zip"] {
        let said = auditor.types(&["verify", name, "--trust", "trust.toml"]);
        said.refused(1, "unpack it and verify the folder");
    }
}

#[test]
fn a_pack_of_a_vendor_has_all_it_asked_for_and_did() {
    let mut plant =
        Plant::enrolled(Options { technicians: vec![("tess", "acme"), ("sam", "stackwell")], ..Options::default() });
    plant.grant("tess", "hmi-2", &EVERYTHING, HOUR);
    let refused = plant.decide(|office| office.ask(plant.tess(), "hmi-2", &[Action::Shell], HOUR));
    plant.log_in("tess");
    plant.serve();
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["deny", &refused.to_string(), "--reason", "not <today>", "--yes"]).ok();
    let at = plant.tess().at("hmi-2");
    for command in ["echo one", "echo two"] {
        run(&mut plant.tess().ssh(&[&at, command]), b"").ok();
    }
    eventually("both ends are journaled", || {
        json(&plant, "lee", &["sessions"])["sessions"].as_array().is_some_and(Vec::is_empty)
    });
    let auditor = Auditor::of(&plant);
    let trust = auditor.path("trust.toml").display().to_string();
    let make = |vendor: &str, from: &str, until: &str, name: &str| {
        let output = auditor.path(name).display().to_string();
        let span = ["--from", from, "--until", until, "--trust", &trust, "-o", &output];
        holdpoint(&plant, "lee", &[&["evidence", "--vendor", vendor], &span[..]].concat())
    };
    assert!(make("acme", "2000-01-01", "2099-12-31", "acme.zip").ok().out().contains("2 sessions"));
    assert!(make("stackwell", "2000-01-01", "2099-12-31", "none.zip").ok().out().contains("0 sessions"));
    assert!(make("acme", "2000-01-01", "2000-12-31", "before.zip").ok().out().contains("0 sessions"));
    make("acme", "2099-01-01", "2000-01-01", "x.zip").refused(2, "empty");
    make("acme", "14:00", "2099-01-01", "x.zip").refused(2, "names no day");
    make("nobody", "2000-01-01", "2099-01-01", "x.zip").says_no("no contract");
    let half = ["evidence", "--vendor", "acme", "-o", "x.zip"];
    holdpoint(&plant, "lee", &half).refused(2, "--from");
    drop(plant);
    for pack in ["acme.zip", "none.zip", "before.zip"] {
        auditor.finds_whole(pack, &[]);
    }
    let folder = auditor.unpack("acme.zip", "acme");
    let page = fs::read_to_string(folder.join("index.html")).expect("a page");
    assert_eq!(page.matches("href=\"sessions/s_").count(), 2);
    for words in ["2 sessions, and 2 requests", "Request without a session: denied", "not &lt;today&gt;"] {
        assert!(page.contains(words), "{words} is not in the page");
    }
    let mut pages = Vec::new();
    files_below(&folder.join("sessions"), &mut pages);
    assert_eq!(pages.len(), 2);
    for page in &pages {
        let page = fs::read_to_string(page).expect("a page");
        assert!(page.contains("Pack of the vendor made") && page.contains("Not opened: no auditor"));
        assert!(page.contains("the recording was not opened, so what was done was not looked at"));
    }
    let none = fs::read_to_string(auditor.unpack("none.zip", "none").join("index.html")).expect("a page");
    assert!(none.contains("0 sessions, and 0 requests") && !none.contains("tess"), "{none}");

    // Another installation's trust file opens nothing here.
    let mut other = Plant::enrolled(Options::default());
    other.serve();
    fs::copy(other.installation().join("trust.toml"), auditor.path("other.toml")).expect("a file");
    let found = auditor.types(&["verify", "acme.zip", "--trust", "other.toml"]);
    assert!(
        found.code() == 1 && found.out().contains("the copy in the pack is not your trust file"),
        "{}",
        found.text()
    );
}
