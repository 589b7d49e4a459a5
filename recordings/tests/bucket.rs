//! What a check says of recordings whose files lie in a bucket: in the data folder that they left, and fetched from there.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use std::fs;
use std::path::Path;

use policies::ids::SessionId;
use recordings::keeping::Copied;
use recordings::read::is_published_file;
use recordings::segment::session_dir;
use recordings::verify::{Checks, FindingKind, Report, SessionVerdict, Verdict, verify};

use support::Store;

fn checked(folder: &Path, out_of_a_bucket: bool) -> Report {
    verify(&Checks { folder, trust: &support::trust(), keys: None, remembered: &[], out_of_a_bucket }, &mut |_| {})
}

fn verdict_of(report: &Report, session: SessionId) -> SessionVerdict {
    report.sessions.iter().find(|one| one.session == session).unwrap().verdict
}

/// Three sessions that ended one after the other; of the second leaves say that its files lie in a bucket, as they are changed.
fn three(change: impl Fn(&mut Copied)) -> (Store, [SessionId; 3]) {
    let (mut store, grant) = Store::granted_with_copies();
    let mut end_one = || {
        let session = store.begin(grant);
        let id = session.id;
        store.machine.advance(2_000_000_000);
        store.end(session);
        id
    };
    let sessions = [end_one(), end_one(), end_one()];
    store.say_copied(sessions[1], change);
    store.close();
    (store, sessions)
}

fn folder(of: &Path, session: SessionId) -> std::path::PathBuf {
    session_dir(&of.join("records"), session)
}

#[test]
fn what_is_not_in_a_bucket_yet_is_open_and_what_should_be_is_missing() {
    let (store, [first, second, third]) = three(|_| {});
    let lost = |session| {
        let copy = store.copy();
        fs::remove_dir_all(folder(copy.path(), session)).unwrap();
        copy
    };
    let whole = checked(store.dir(), true);
    assert_eq!(whole.verdict(), Verdict::Open, "{whole}");
    let copy = lost(third);
    let report = checked(copy.path(), true);
    assert_eq!((report.verdict(), verdict_of(&report, third)), (Verdict::Open, SessionVerdict::Elsewhere), "{report}");
    for session in [first, second] {
        let copy = lost(session);
        let report = checked(copy.path(), true);
        assert_eq!(verdict_of(&report, session), SessionVerdict::Missing, "{report}");
        assert_eq!(report.verdict(), Verdict::NotWhole, "{report}");
    }
    // In the data folder itself it is the other way round.
    let copy = lost(second);
    assert_eq!(verdict_of(&checked(copy.path(), false), second), SessionVerdict::Elsewhere);
    let copy = lost(third);
    assert_eq!(verdict_of(&checked(copy.path(), false), third), SessionVerdict::Missing);
}

#[test]
fn a_leaf_about_a_copy_that_names_other_bytes_than_lie_here_is_an_alteration() {
    for (change, is_whole) in [
        ((|_| {}) as fn(&mut Copied), true),
        (|copied| copied.bytes += 1, false),
        (|copied| copied.sha256.0[9] ^= 1, false),
    ] {
        let (store, [_, second, _]) = three(change);
        let report = checked(store.dir(), false);
        let found = (report.verdict(), verdict_of(&report, second));
        let right = (Verdict::Whole, SessionVerdict::Ok);
        assert_eq!(found, if is_whole { right } else { (Verdict::NotWhole, SessionVerdict::Altered) }, "{report}");
        fs::remove_dir_all(folder(store.dir(), second)).unwrap();
        assert_eq!(
            checked(store.dir(), false).verdict(),
            Verdict::Open,
            "where the bytes are not at hand, nobody knows"
        );
    }
}

#[test]
fn no_file_in_a_folder_makes_less_of_what_is_missing() {
    let (store, [first, ..]) = three(|_| {});
    let copy = store.copy();
    fs::remove_dir_all(folder(copy.path(), first)).unwrap();
    fs::write(copy.path().join("BUCKET"), "holdpoint bucket 1\n").unwrap();
    let report = checked(copy.path(), false);
    assert_eq!(
        (report.verdict(), verdict_of(&report, first)),
        (Verdict::NotWhole, SessionVerdict::Missing),
        "{report}"
    );
    assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::Stray), "{report}");
}

#[test]
fn names_out_of_an_archive_are_those_of_what_a_log_publishes() {
    for name in [
        "FORMAT",
        "checkpoint",
        "checkpoints/23",
        "tile/entries/000.p/23",
        "tile/0/x001/234",
        "before-e_01jz0000000000000000000000/checkpoint",
        "before-e_01jz0000000000000000000000/7",
    ] {
        assert!(is_published_file(name), "{name}");
    }
    for name in [
        "PART",
        "BACKUP",
        "LOCK",
        "segments/00000000.seg",
        "sessions/x/0000.blk",
        "checkpoints/",
        "checkpoints/x",
        "checkpoints/../x",
        "tile/../x",
        "before-x/checkpoint",
        "before-e_01jz0000000000000000000000/../x",
        "before-e_01jz0000000000000000000000",
    ] {
        assert!(!is_published_file(name), "{name}");
    }
}
