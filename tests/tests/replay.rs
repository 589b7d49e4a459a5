//! Replaying what a real session left: begun in the middle, it shows what it shows when it is begun at the beginning.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use policies::ids::SessionId;
use recordings::play::{PlayOptions, Player};
use recordings::read::{AuditorKeys, Moment, Recording, Store, What};
use tests::evidence::Evidence;
use tests::process::start_on_a_terminal;
use tests::{Plant, python, run};

/// Draws all over the screen, in colours: some mebibytes.
const DRAW: &str = r#"awk 'BEGIN { for (i = 0; i < 100000; i++) printf "\033[%d;%dH\033[3%dmvalue %d", i % 24 + 1, i % 60 + 1, i % 8, i }'"#;

/// What is left of a technician who drew for some mebibytes, and typed a password at the end.
fn drawn() -> (Evidence, SessionId) {
    let mut plant = Plant::new();
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in(format!("{DRAW}\r"));
    shell.until("value 99999");
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
    let (evidence, session) = drawn();
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
