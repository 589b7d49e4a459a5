//! Replaying what a real session left: begun in the middle, it shows what it shows when it is begun at the beginning.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use policies::ids::SessionId;
use recordings::play::{PlayOptions, Player};
use recordings::read::{AuditorKeys, Moment, Recording, Store, What};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::evidence::Evidence;
use tests::process::start_on_a_terminal;
use tests::{Plant, python, run, start};

/// Draws all over the screen, in colours.
const DRAW: &str = r#"awk 'BEGIN { for (i = 0; i < COUNT; i++) printf "\033[%d;%dH\033[3%dmvalue %d", i % 24 + 1, i % 60 + 1, i % 8, i }'"#;

/// What is left of a technician who drew so many values, of 30 bytes each, and typed a password at the end.
fn drawn(count: u32) -> (Evidence, SessionId) {
    let mut plant = Plant::new();
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in(format!("{}\r", DRAW.replace("COUNT", &count.to_string())));
    shell.until(&format!("value {}", count - 1));
    shell.type_in("sleep 2; clear; stty -echo; printf 'Pass''word: '; read x; stty echo; echo thanks\r");
    shell.until("Password: ");
    shell.type_in("s3cret\r");
    shell.until("thanks");
    shell.type_in("exit\r");
    shell.ends();
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let session = evidence.recording().recording.id();
    (evidence, session)
}

/// Its moments from around this one on, as a view that seeks reads them.
fn sought(store: &Store, recording: &Recording, keys: &AuditorKeys, after: Duration) -> Vec<Moment> {
    let keys = keys.open(store.dir(), &recording.opened).expect("encrypted to this auditor");
    store.seek(recording, keys, after, None).expect("blocks").map(|moment| moment.expect("undamaged")).collect()
}

fn screen(moments: &[Moment], from: Duration) -> Vec<String> {
    let options = PlayOptions { from, ..PlayOptions::default() };
    let mut player = Player::new(moments.iter().cloned().map(Ok), options);
    player.next().expect("a step").expect("undamaged");
    player.lines()
}

#[test]
fn a_real_session_is_entered_anywhere() {
    let (evidence, session) = drawn(100_000);
    let opened = evidence.recording();
    let store = Store::open(&evidence.data()).expect("a data folder");
    let keys = AuditorKeys::read(&evidence.path("key")).expect("an auditor's key");
    let last = opened.recording.duration();
    let mut stood = 0;
    for part in 1..=8 {
        let at = last * part / 8;
        let moments = sought(&store, &opened.recording, &keys, at);
        stood += u32::from(matches!(moments[0].what, What::Standing(_)));
        assert_eq!(screen(&moments, at), screen(&opened.moments, at), "after {at:?} of {last:?}");
    }
    assert!(stood > 4, "{stood} of 8 places were entered at a keyframe");

    // All of it is whole, and the other verifier says so, too.
    let whole = evidence.verify().ok().out();
    assert!(whole.contains("WHOLE"), "{whole}");
    if let Some(python) = python() {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings/second-opinion/verify.py");
        let mut second = Command::new(python);
        second.arg("-B").arg(program).arg(evidence.data()).arg("--trust").arg(evidence.path("trust.toml"));
        run(second.arg("--identity").arg(evidence.path("key")), b"").ok();
    }

    // As it is typed.
    let from = format!("{}s", last.as_secs());
    let session = session.to_string();
    let play = ["play", &session, "--key", "key", "--speed", "1000", "--idle", "1s", "--from", &from, "--input"];
    let played = run(&mut evidence.holdpoint(&play), b"").ok().out();
    assert!(
        played.contains("this began at the screen that the gate had noted after "),
        "{}",
        tests::process::tail(played.as_bytes())
    );
    assert!(!played.contains("s3cret"), "{}", tests::process::tail(played.as_bytes()));
    let played = run(&mut evidence.holdpoint(&[&play[..], &["--from-bytes"]].concat()), b"").ok().out();
    assert!(
        !played.contains("this began at") && !played.contains("s3cret"),
        "{}",
        tests::process::tail(played.as_bytes())
    );
    let searched = ["play", &session, "--key", "key", "--search", "value 77777"];
    assert!(run(&mut evidence.holdpoint(&searched), b"").ok().out().contains("value 77777"));
}

/// The address of the page, where it is asked in its owner's name.
fn ask(url: &str, path: &str, headers: &[&str]) -> (String, String) {
    let (host, secret) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address");
    let headers = if headers.is_empty() { format!("Host: {host}\r\n") } else { headers.join("\r\n") + "\r\n" };
    let mut socket = std::net::TcpStream::connect(host).expect("it listens");
    write!(
        socket,
        "GET {} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n",
        path.replace("SECRET", secret.trim_end_matches('/'))
    )
    .expect("it reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_session_is_replayed_on_a_page_of_the_readers_own() {
    let (evidence, session) = drawn(100_000);
    let session = session.to_string();
    let mut web = start(&mut evidence.holdpoint(&["play", &session, "--key", "key", "--web"]));
    let told = web.until("until Ctrl-C");
    let url = told.lines().find(|line| line.starts_with("http://127.0.0.1:")).expect("an address").to_owned();

    // Nobody gets in who does not know the whole address, or comes by another name or from another page.
    let host = url.split('/').nth(2).expect("a host").to_owned();
    let mine = format!("Host: {host}");
    assert!(ask(&url, "/SECRET/", &[]).0.starts_with("HTTP/1.1 200"));
    for (path, headers) in [
        ("/", vec![mine.as_str()]),
        ("/00000000000000000000000000000000/", vec![mine.as_str()]),
        ("/SECRET/", vec!["Host: holdpoint.example"]),
        ("/SECRET/window?from=0", vec![mine.as_str(), "Sec-Fetch-Site: cross-site"]),
    ] {
        let (head, body) = ask(&url, path, &headers);
        assert!(head.starts_with("HTTP/1.1 404") && body.trim_end() == "nothing is here", "{path} {headers:?}: {head}");
    }
    let (head, window) = ask(&url, "/SECRET/window?from=0", &[]);
    assert!(head.contains("default-src 'none'") && head.contains("cache-control: no-store"), "{head}");
    assert!(window.contains("\"keyframe\":null"), "{}", tests::process::tail(window.as_bytes()));
    let (_, window) = ask(&url, "/SECRET/window?from=99000000000", &[]);
    assert!(!window.contains("\"keyframe\":null"), "{window}");

    if let Some(seen) = look(&url, "value 99999") {
        assert_eq!((&seen["complaints"], &seen["elsewhere"]), (&json!([]), &json!([])), "{seen}");
        assert!(seen["about"].as_str().unwrap().ends_with("ended: left"), "{seen}");
        assert!(seen["screen"].as_str().unwrap().contains("value 99999"), "{seen}");
        assert!(seen["status"].as_str().unwrap().starts_with("Begun at the screen that the gate had noted"), "{seen}");
        assert!(seen["last"].as_str().unwrap().contains("thanks"), "{seen}");
        let verdict = seen["verdict"].as_str().unwrap();
        assert!(
            verdict.contains("WHOLE. This recording: ok.") && verdict.contains("somebody else remembers"),
            "{seen}"
        );
        assert_eq!(seen["ledger"], "(none passed by SFTP or scp)", "{seen}");
        let typed = seen["typed"].as_str().unwrap();
        assert!(typed.contains("••••••\\x0d") && !typed.contains("s3cret"), "{seen}");
        assert_eq!(seen["gate"], "the session ended: left", "{seen}");
    }
    web.signal(Signal::INT);
    assert_eq!(web.ends().code(), 0);
}

/// What stands on the page in a browser, where there is one.
fn look(url: &str, text: &str) -> Option<Value> {
    let chromium = Path::new("/usr/bin/chromium");
    if !chromium.exists() {
        println!("SKIPPED: no browser is installed (Debian: chromium)");
        return None;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("player/page.mjs");
    let mut node = Command::new("node");
    node.arg(program).arg(chromium).args([url, text]).args(std::env::var_os("HOLDPOINT_SCREENSHOT"));
    let seen = run(&mut node, b"").ok().out();
    Some(serde_json::from_str(&seen).expect("one object"))
}
