//! A technician copies files with nothing but a browser, before a real `sshd`: what passes is judged, checked and listed as by any
//! other client, and what stops halfway leaves nobody in doubt.

use std::fs;
use std::path::Path;

use policies::actions::Action;
use policies::time::Seconds;
use recordings::ledger::{FileEntry, Operation, Outcome, Verdict};
use recordings::notes::Note;
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::evidence::Opened;
use tests::{Options, Plant, eventually, holdpoint, json, log_in, text};

use super::mine::at_the_page;

const HOUR: Seconds = Seconds(3_600);
/// What is sent and not let through to its end; as large as files are that somebody would rather not send twice, where there is time.
fn big() -> usize {
    if is_long() { 2 << 30 } else { 24 << 20 }
}

fn is_long() -> bool {
    std::env::var_os("HOLDPOINT_LONG").is_some_and(|long| !long.is_empty())
}

fn at_its_files(actions: &[Action], options: Options) -> Option<(Plant, Browser)> {
    let mut plant = Plant::enrolled(options);
    let grant = plant.grant("tess", "hmi-2", actions, HOUR).to_string();
    plant.serve();
    log_in(&plant, "lee");
    let mut browser = at_the_page(&plant)?;
    browser.open(&format!("/requests/{grant}"));
    Some((plant, browser))
}

fn opens(plant: &Plant, browser: &mut Browser) {
    browser.click("Open its files here");
    browser.until("document.getElementById('state')?.textContent === 'open'");
    browser.until("document.getElementById('path').value.startsWith('/')");
    goes_to(browser, &plant.hmi.path(""));
}

fn goes_to(browser: &mut Browser, folder: &Path) {
    let folder = folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    browser.evaluate(&format!(
        "document.getElementById('path').value = {0}; document.getElementById('go').requestSubmit()",
        json!(folder)
    ));
    browser.until(&format!("folder === {}", json!(folder)));
}

/// Chooses a file of the technician's own machine, of so many bytes of its own number.
fn chooses(plant: &Plant, browser: &mut Browser, name: &str, bytes: usize) {
    let folder = plant.tess().path("sends");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, content(bytes)).unwrap();
    browser.chooses("#chosen", &file);
}

/// So many bytes, of which no two blocks beside each other are alike.
fn content(bytes: usize) -> Vec<u8> {
    const ROUND: usize = 64 << 10;
    let round: Vec<u8> = (0..ROUND).map(|at| (at * 7 + (at >> 8)).to_le_bytes()[0]).collect();
    let mut content = round.repeat(bytes / ROUND + 1);
    content.truncate(bytes);
    content
}

/// Waits until the page says that this was done.
fn says(browser: &mut Browser, words: &str) {
    browser.until(&format!(
        "[...document.querySelectorAll('#done p, #told p')].some((line) => line.textContent.includes({}))",
        json!(words)
    ));
}

fn does(browser: &mut Browser, what: &str) {
    let button = format!("document.querySelector('[aria-label={}]')", json!(what));
    browser.until(&format!("{button} !== null"));
    browser.evaluate(&format!("{button}.click()"));
}

fn answers(browser: &mut Browser, name: Option<&str>, answer: &str) {
    browser.until("document.getElementById('asked').open");
    if let Some(name) = name {
        browser.fill("#named", name);
    }
    browser.click(answer);
    browser.until("!document.getElementById('asked').open");
}

fn listed(recordings: &[Opened]) -> Vec<FileEntry> {
    let notes = recordings.iter().flat_map(Opened::notes);
    notes
        .filter_map(|note| match note {
            Note::FileEntry(entry) => Some((**entry).clone()),
            _ => None,
        })
        .collect()
}

fn of<'a>(entries: &'a [FileEntry], plant: &'a Plant, name: &'a str) -> impl Iterator<Item = &'a FileEntry> {
    let path = plant.hmi.path(name).display().to_string();
    entries.iter().filter(move |entry| entry.path.to_string() == path)
}

#[test]
fn files_go_both_ways_in_a_browser_and_each_is_listed() {
    let options = Options { technicians: vec![("tess", "acme")], ..Options::default() };
    let Some((mut plant, mut browser)) = at_its_files(&[Action::FileGet, Action::FilePut], options) else { return };
    let downloads = tempfile::tempdir().unwrap();
    browser.downloads(downloads.path());
    browser.complaints();
    plant.hmi.write("notes <b>&.txt", &content(70_000));
    plant.hmi.write("moves\u{202e}txt.exe", b"x");
    fs::create_dir(plant.hmi.path("recipes")).unwrap();
    let long = "ü".repeat(100);
    for number in 0..2_500 {
        fs::write(plant.hmi.path(&format!("recipes/{long}{number}")), b"").unwrap();
    }
    opens(&plant, &mut browser);
    let shown = text(&browser.evaluate("document.getElementById('entries').innerText"));
    assert!(shown.contains("notes <b>&.txt") && shown.contains("recipes/"), "{shown}");
    assert!(!shown.contains('\u{202e}'), "a target moves what stands beside a name: {shown}");
    browser.look("files");

    // It is kept where the browser keeps downloads.
    does(&mut browser, "Fetch notes <b>&.txt");
    says(&mut browser, "notes <b>&.txt was fetched: 70,000 bytes.");
    eventually("the browser kept it", || {
        let mut kept = fs::read_dir(downloads.path()).unwrap().map(|kept| kept.unwrap().path());
        kept.any(|kept| fs::read(kept).is_ok_and(|kept| kept == content(70_000)))
    });
    // What a system makes as it is read says of no length.
    goes_to(&mut browser, Path::new("/proc/sys/kernel"));
    does(&mut browser, "Fetch ostype");
    says(&mut browser, "ostype was fetched: 6 bytes.");
    goes_to(&mut browser, &plant.hmi.path(""));

    chooses(&plant, &mut browser, "firmware.bin", 3_000_000);
    says(&mut browser, "firmware.bin was sent: 3,000,000 bytes.");
    assert!(plant.hmi.read("firmware.bin") == content(3_000_000));
    // What is there already is overwritten by who says so.
    for answer in ["No", "Yes"] {
        chooses(&plant, &mut browser, "firmware.bin", 10);
        browser.says("Overwrite firmware.bin?");
        if answer == "No" {
            browser.look("files-asked");
        }
        answers(&mut browser, None, answer);
    }
    says(&mut browser, "firmware.bin was sent: 10 bytes.");
    assert_eq!(plant.hmi.read("firmware.bin"), content(10));
    chooses(&plant, &mut browser, "empty", 0);
    says(&mut browser, "empty was sent: 0 bytes.");

    browser.click("Make a folder");
    answers(&mut browser, Some("old"), "Yes");
    says(&mut browser, "The folder old was made.");
    does(&mut browser, "Rename empty");
    answers(&mut browser, Some("old/kept"), "Yes");
    says(&mut browser, "empty is called old/kept now.");
    does(&mut browser, "Remove old");
    answers(&mut browser, None, "Yes");
    says(&mut browser, "old: it was refused");
    does(&mut browser, "Remove firmware.bin");
    answers(&mut browser, None, "Yes");
    says(&mut browser, "firmware.bin was removed.");
    goes_to(&mut browser, &plant.hmi.path("recipes"));
    browser.until("document.getElementById('entries').children.length === 2500");
    // Whoever goes on before a long list is there has what they went on to.
    let long = json!(plant.hmi.path("recipes"));
    browser.evaluate(&format!("open({long}); open('/proc/sys/kernel'); 0"));
    browser.until("asked.size === 0");
    assert_eq!(browser.evaluate("folder"), "/proc/sys/kernel");
    browser.until("document.getElementById('entries').innerText.includes('ostype')");
    browser
        .evaluate("document.getElementById('path').value = '/nowhere'; document.getElementById('go').requestSubmit()");
    says(&mut browser, "/nowhere: there is no such file or folder, or it may not be seen.");

    // Two things at once are asked about one after the other.
    goes_to(&mut browser, &plant.hmi.path(""));
    plant.hmi.write("two", b"2");
    browser.evaluate("renames('notes <b>&.txt'); removes('two', false); 0");
    browser.says("Another name for notes <b>&.txt");
    browser.fill("#named", "notes");
    browser.click("Yes");
    browser.says("Remove two?");
    answers(&mut browser, None, "Yes");
    says(&mut browser, "notes <b>&.txt is called notes now.");
    says(&mut browser, "two was removed.");
    // What is overwritten and stopped is not what it was, and the page says so.
    chooses(&plant, &mut browser, "notes", big());
    browser.says("Overwrite notes?");
    holdpoint(&plant, "lee", &["freeze", &running(&plant)]).ok();
    says(&mut browser, "Your input is stopped by an operator");
    answers(&mut browser, None, "Yes");
    does_stop(&mut browser);
    holdpoint(&plant, "lee", &["thaw", &running(&plant)]).ok();
    says(&mut browser, "notes was stopped. What came of it until then stands there: it is not whole.");
    assert!(plant.hmi.read("notes").len() < big());

    // Stopped by the technician, nothing is left; the page closed halfway, its beginning is, and the ledger says so.
    holdpoint(&plant, "lee", &["freeze", &running(&plant)]).ok();
    browser.until("document.getElementById('told').lastElementChild.textContent.includes('is stopped by an operator')");
    chooses(&plant, &mut browser, "stopped", big());
    does_stop(&mut browser);
    holdpoint(&plant, "lee", &["thaw", &running(&plant)]).ok();
    says(&mut browser, "stopped was stopped, and nothing of it is left there.");
    assert!(!plant.hmi.path("stopped").exists());
    chooses(&plant, &mut browser, "aborted", big());
    let mut there = 0.0;
    while there < big() as f64 / 2.0 {
        let sent = "Math.max(0, ...[...document.querySelectorAll('progress')].map((bar) => bar.value))";
        let before = there;
        eventually("more of it comes", || {
            there = browser.evaluate(sent).as_f64().unwrap();
            there > before
        });
    }
    let session = running(&plant);
    assert_eq!(browser.complaints(), json!([]));
    browser.evaluate("page.leave('')");
    eventually("it has ended", || {
        json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["ended"]["ending"] == "left"
    });
    let there = fs::read(plant.hmi.path("aborted")).unwrap();
    assert!(there.len() > big() / 4 && there.len() < big() && content(there.len()) == there);

    plant.stop();
    let evidence = plant.evidence();
    // Of gigabytes, an unoptimized verifier and the second one have enough to do for longer than anybody waits here.
    if !is_long() {
        evidence.both_say(0);
    }
    let entries = listed(&evidence.recordings());
    let whole = |operation, name| {
        let mut found = of(&entries, &plant, name).filter(|entry| entry.operation == operation);
        found.any(|entry| entry.whole && entry.outcome == Outcome::Done && entry.verdict == Verdict::Allowed)
    };
    assert!(whole(Operation::Get, "notes <b>&.txt") && whole(Operation::Put, "firmware.bin"), "{entries:?}");
    let aborted = of(&entries, &plant, "aborted").next().expect("it is listed");
    assert_eq!((aborted.operation, aborted.outcome), (Operation::Put, Outcome::Unfinished), "{aborted:?}");
    let played = evidence.holdpoint(&["play", &session, "--key", "key", "--speed", "1000", "--idle", "1s"]);
    let played = tests::run(&mut { played }, b"").ok().out();
    assert!(played.contains("in a browser at 127.0.0.1:"), "{played}");
}

fn running(plant: &Plant) -> String {
    text(&json(plant, "lee", &["sessions"])["sessions"][0]["session"])
}

fn does_stop(browser: &mut Browser) {
    browser.until("[...document.querySelectorAll('#done button')].some((one) => one.textContent === 'Stop')");
    browser
        .evaluate("[...document.querySelectorAll('#done button')].find((one) => one.textContent === 'Stop').click()");
}

#[test]
fn what_is_not_granted_or_does_not_pass_the_check_is_told_and_reaches_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let checker = folder.path().join("checker");
    fs::write(&checker, "#!/bin/sh\ngrep -q HARMFUL \"$1\" && { echo it is harmful; exit 1; }\nexit 0\n").unwrap();
    fs::set_permissions(&checker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let more = format!(
        "[[rules]]\nid = \"checked\"\nvendors = [\"stackwell\"]\nroles = [\"maintenance\"]\nzones = [\"packaging\"]\n\
         actions = [\"file-put\"]\nduration_max = \"4h\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\n\
         work_order = \"optional\"\nexclusive = \"none\"\nfile_check = [{:?}, \"{{file}}\"]",
        checker.display().to_string()
    );
    let options = Options { technicians: vec![("tess", "stackwell")], more, ..Options::default() };
    let Some((mut plant, mut browser)) = at_its_files(&[Action::FilePut], options) else { return };
    plant.hmi.write("secret", b"of the plant");
    opens(&plant, &mut browser);
    browser.says("Your grant does not have file-get");
    // The page offers none, and whoever asks by hand is refused.
    assert_eq!(browser.evaluate("document.querySelector('[aria-label^=Fetch]')"), Value::Null);
    browser.evaluate("fetches('secret'); 0");
    says(&mut browser, "secret was not fetched whole: it was refused: holdpoint: file-get is not granted here");
    chooses(&plant, &mut browser, "fine", 100_000);
    says(&mut browser, "fine was sent: 100,000 bytes.");
    browser.evaluate("sends(new File(['HARMFUL'], 'harmful')); 0");
    says(
        &mut browser,
        "harmful was not sent whole: it was refused: holdpoint: not passed on: the file check refused it: it is harmful",
    );
    assert!(!plant.hmi.path("harmful").exists() && plant.hmi.read("fine") == content(100_000));

    // What is stopped is not whole, so it is not handed over.
    let running = running(&plant);
    holdpoint(&plant, "lee", &["freeze", &running]).ok();
    says(&mut browser, "Your input is stopped by an operator");
    chooses(&plant, &mut browser, "half", big());
    does_stop(&mut browser);
    holdpoint(&plant, "lee", &["thaw", &running]).ok();
    says(&mut browser, "half was stopped, and nothing of it is left there.");
    // Nor does it take the place of what is there, whether or not it had begun to come.
    for begun in [false, true] {
        let stopped = "[...document.querySelectorAll('#done p')].filter((line) => line.textContent === 'fine was stopped, and nothing of it is left there.').length";
        let before = browser.evaluate(stopped).as_u64().unwrap();
        if begun {
            chooses(&plant, &mut browser, "fine", big());
            browser.says("Overwrite fine?");
        }
        holdpoint(&plant, "lee", &["freeze", &running]).ok();
        browser.until(
            "document.getElementById('told').lastElementChild.textContent.includes('is stopped by an operator')",
        );
        if begun {
            answers(&mut browser, None, "Yes");
        } else {
            chooses(&plant, &mut browser, "fine", big());
        }
        does_stop(&mut browser);
        holdpoint(&plant, "lee", &["thaw", &running]).ok();
        browser.until(&format!("{stopped} > {before}"));
        assert!(plant.hmi.read("fine") == content(100_000));
    }

    // A ticket for a file is nobody's who was not given one, and a cut ends all of it.
    let ticket = "(async () => { const body = new FormData(document.getElementById('fetch')); body.set('ticket', '00'); \
                  return (await fetch('/fetched', { method: 'POST', body: new URLSearchParams(body) })).status; })()";
    assert_eq!(browser.evaluate(ticket), 422);
    json(&plant, "lee", &["cut", "--technician", "tess"]);
    browser.says("Access was cut by an operator, and stays shut until it is reopened. Ask the control room.");
    browser.until("document.activeElement.id === 'over' && document.getElementById('path').disabled");
    browser.look("files-cut");
    plant.stop();
    let entries = listed(&plant.evidence().recordings());
    let done = |name| of(&entries, &plant, name).any(|entry| entry.outcome == Outcome::Done);
    assert!(done("fine") && !done("half") && !done("harmful"), "{entries:?}");
}

/// How far those who have a file open have read it, together.
fn read_of(path: &Path) -> u64 {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let files = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    let opened = files.flatten().filter_map(Result::ok).map(|file| file.path());
    let these = opened.filter(|opened| fs::read_link(opened).is_ok_and(|link| link == path));
    let position = |opened: std::path::PathBuf| -> Option<u64> {
        let facts = fs::read_to_string(opened.to_string_lossy().replace("/fd/", "/fdinfo/")).ok()?;
        facts.split_whitespace().nth(1)?.parse().ok()
    };
    these.filter_map(position).sum()
}

/// Begins to fetch a file, and takes no more of it than its first piece; `ended` is how it ends.
fn fetches_and_stands_still(browser: &mut Browser, name: &str) {
    browser.evaluate(&format!(
        "(async () => {{ const question = asks({{ fetch: {{ path: path({}) }} }}); const [, {{ ticket }}] = await question.next(); \
         window.ticket = ticket; const body = new FormData(document.getElementById('fetch')); body.set('ticket', ticket); \
         const answer = await fetch('/fetched', {{ method: 'POST', body: new URLSearchParams(body) }}); \
         window.reader = answer.body.getReader(); await reader.read(); window.begun = true; \
         window.told = (async () => (await question.next()))(); }})(); 0",
        json!(name)
    ));
    browser.until("window.begun");
}

/// Takes what is left of it; whether all of it came.
fn takes_the_rest(browser: &mut Browser) -> bool {
    browser.evaluate("(async () => { for (;;) if ((await reader.read()).done) return true; })().catch(() => false)")
        == true
}

#[test]
fn a_download_is_its_own_browsers_waits_for_it_and_ends_with_its_session() {
    let technicians = vec![("tess", "acme"), ("tom", "acme")];
    let mut plant = Plant::enrolled(Options { technicians, ..Options::default() });
    let grants = ["tess", "tom"].map(|who| (who, plant.grant(who, "hmi-2", &[Action::FileGet], HOUR).to_string()));
    plant.serve();
    log_in(&plant, "lee");
    let dump = plant.hmi.path("dump");
    let long: u64 = 256 << 20;
    fs::File::create(&dump).unwrap().set_len(long).unwrap();
    let [tess, tom] = grants.map(|(who, grant)| {
        let mut browser = Browser::of_a_technician(&plant)?;
        browser.has_a_passkey();
        browser.enrols(who, &tests::passkey_code(&plant, who));
        browser.signs_in();
        browser.open(&format!("/requests/{grant}"));
        opens(&plant, &mut browser);
        Some(browser)
    });
    let (Some(mut tess), Some(mut tom)) = (tess, tom) else { return };

    // Somebody else gets nothing for a ticket, and then it is worth nothing to anybody.
    tess.evaluate(
        "(async () => { window.question = asks({ fetch: { path: path('dump') } }); window.ticket = (await question.next())[1].ticket; })(); 0",
    );
    tess.until("window.ticket");
    let ticket = text(&tess.evaluate("ticket"));
    let shown = |browser: &mut Browser| {
        browser.evaluate(&format!(
            "(async () => {{ const body = new FormData(document.getElementById('fetch')); body.set('ticket', {}); \
             return (await fetch('/fetched', {{ method: 'POST', body: new URLSearchParams(body) }})).status; }})()",
            json!(ticket)
        ))
    };
    assert_eq!(shown(&mut tom), 422);
    assert_eq!(shown(&mut tess), 422);
    let told = tess.evaluate("question.next().then(([what, { words }]) => `${what}: ${words}`)");
    assert_eq!(told, "not-fetched: your browser did not come for it");

    // Nothing is read that the browser does not take, and whatever else it does goes on.
    for browser in [&mut tess, &mut tom] {
        fetches_and_stands_still(browser, "dump");
    }
    let mut before = 0;
    eventually("it stands still", || {
        for _ in 0..20 {
            goes_to(&mut tess, &plant.hmi.path(""));
        }
        let now = read_of(&dump);
        std::mem::replace(&mut before, now) == now
    });
    assert!(before > 0 && before < long / 2, "{before} of {long} bytes were read");

    // It ends with the sign-in that it came by, and with its session: no browser takes what it has for all of it.
    tom.evaluate(
        "fetch('/sign-out', { method: 'POST', body: new URLSearchParams({ csrf: new FormData(document.getElementById('fetch')).get('csrf') }) }); 0",
    );
    tom.says("signed out");
    assert!(!takes_the_rest(&mut tom));
    json(&plant, "lee", &["cut", "--technician", "tess"]);
    tess.says("Access was cut by an operator");
    assert!(!takes_the_rest(&mut tess));
    plant.stop();
    let entries = listed(&plant.evidence().recordings());
    let fetched: Vec<_> =
        of(&entries, &plant, "dump").map(|entry| (entry.operation, entry.outcome, entry.whole)).collect();
    // Of the first nothing was asked for before it was closed.
    let [asked, tess, tom] = fetched[..] else { panic!("{fetched:?}") };
    assert_eq!(asked, (Operation::Get, Outcome::Done, false));
    assert_eq!([tess, tom], [(Operation::Get, Outcome::Unfinished, false); 2]);
}
