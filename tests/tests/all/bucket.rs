//! Recordings in a bucket, by the real program: into Ceph, which locks them, and asked by Amazon's own client; and into a bucket in
//! this process that can be broken. What every bucket owes is tested in `approver`.

use std::fs;
use std::path::Path;

use approver::blobs::s3::{Bucket, BucketAt};
use approver::blobs::{BlobFault, Blobs as _, What};
use approver::testing::bucket::{FakeBucket, Kind as BucketKind, Trouble};
use policies::ids::SessionId;
use policies::people::Kind;
use tests::{Ceph, Options, Plant, eventually, holdpoint, json, log_in, names_in, run, ulid_of, worked};

use super::restore::{put_back, restored};

/// A plant whose recordings go to this bucket.
fn plant(rule: &str, s3: &str) -> Plant {
    let options = Options { rule: format!("idle = \"4h\"\n{rule}"), ..Options::default() };
    let mut plant = Plant::ready(options);
    plant.employ("rita", Kind::Auditor, &[]);
    plant.edit_config(|text| {
        text.replacen("[store]", "[store]\nrecordings = \"s3://mill3/holdpoint\"", 1) + "\n[store.s3]\n" + s3
    });
    plant.serve();
    for who in ["ada", "lee", "rita"] {
        log_in(&plant, who);
    }
    plant
}

fn settings(endpoint: &str, credentials: &Path, keep_local: &str) -> String {
    format!("endpoint = {endpoint:?}\ncredentials = {credentials:?}\nkeep_local = {keep_local:?}\n")
}

fn node(plant: &Plant) -> String {
    let format = fs::read_to_string(plant.data().join("records/FORMAT")).expect("a file");
    format.lines().nth(2).expect("four lines").to_owned()
}

#[test]
fn a_recording_lies_locked_in_a_real_bucket_and_is_read_from_there() {
    let Some(ceph) = Ceph::start() else { return };
    keeps_what_it_owes(&ceph);
    ceph.make("mill3");
    let mut plant = plant("retention = \"1d\"", &settings(&ceph.endpoint(), &ceph.credentials(), "0s"));
    let session = worked(&plant, "echo to be locked");
    eventually("the recording lies in the bucket alone", || names_in(&plant.recording(&session)).is_empty());
    let key = |name: &str| {
        let session = ulid_of(&session);
        format!("holdpoint/{}/records/sessions/{session}/{name}", node(&plant))
    };
    // Nobody deletes it, not even whoever has the key to the bucket.
    for name in ["keys.0.age", "0000.blk"] {
        let asked = ceph.ask(&format!(
            "key = {:?}\nhead = s3.head_object(Bucket='mill3', Key=key)\n\
             print(head['ObjectLockMode'], head['ObjectLockRetainUntilDate'])\n\
             try:\n    s3.delete_object(Bucket='mill3', Key=key, VersionId=head['VersionId'], BypassGovernanceRetention=True)\n\
             \x20   print('deleted')\nexcept ClientError as error:\n    print(error.response['Error']['Code'])\n\
             s3.delete_object(Bucket='mill3', Key=key)\n",
            key(name)
        ));
        let said = asked.ok().out();
        assert!(said.contains("COMPLIANCE") && said.contains("AccessDenied"), "{said}");
    }
    // Both are hidden by a marker now, and are found by their versions.
    holdpoint(&plant, "rita", &["hold", &session, "--reason", "a claim"]).ok();
    eventually("the bucket holds it", || {
        let asked = ceph.ask(&format!(
            "found = s3.list_object_versions(Bucket='mill3', Prefix={:?})['Versions']\n\
             print(all(s3.get_object_legal_hold(Bucket='mill3', Key=one['Key'], VersionId=one['VersionId'])\
             ['LegalHold']['Status'] == 'ON' for one in found) and len(found))",
            key("")
        ));
        asked.out().trim() == "2"
    });
    let all = plant.person("rita").path("all");
    let all = all.to_str().expect("text");
    holdpoint(&plant, "rita", &["fetch", "-o", all, "--session", &session]).ok();
    let trust = plant.installation().join("trust.toml");
    let trust = trust.to_str().expect("text");
    let told = holdpoint(&plant, "rita", &["verify", all, "--trust", trust, "--no-memory"]);
    told.refused(4, &session);
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let verified = evidence.both_say(4);
    assert!(verified.contains("lies in a bucket alone"), "{verified}");
    run(&mut evidence.holdpoint(&["play", &session, "--key", "key"]), b"").says_no("lies in the bucket alone");
    // With the gate switched off, from the bucket alone.
    let credentials = ceph.credentials();
    let reached = ["--endpoint", &ceph.endpoint(), "--credentials", credentials.to_str().expect("text")];
    let ask = |arguments: &[&str]| run(evidence.holdpoint(arguments).args(reached), b"");
    let verified = ask(&["verify", "s3://mill3/holdpoint", "--trust", "trust.toml", "--key", "key", "--no-memory"]);
    verified.refused(4, &session);
    let said = ask(&["verify", "s3://mill3/holdpoint", "--trust", "trust.toml", "--key", "key", "--no-memory"]).text();
    assert!(said.contains("hidden by delete markers") && said.contains(": ok ("), "{said}");
    let played = ask(&["play", &session, "--data", "s3://mill3/holdpoint", "--key", "key"]).ok().out();
    assert!(played.contains("to be locked"), "{played}");
}

/// What every bucket owes, a real one keeps.
fn keeps_what_it_owes(ceph: &Ceph) {
    ceph.make("mill4");
    let at = BucketAt {
        url: "s3://mill4/holdpoint".parse().expect("a bucket"),
        endpoint: Some(ceph.endpoint().parse().expect("an address")),
        region: "us-east-1".to_owned(),
        path_style: true,
        ca: None,
        credentials: ceph.credentials(),
    };
    let bucket = Bucket::new(at).expect("right");
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at / 7) as u8).collect();
    let sha256 = policies::digest::Digest::of_bytes(&bytes).0;
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        bucket.check().await.expect("versions and locks");
        let keep = async |what: &[u8], until| bucket.keep("a/b", What::Bytes(what), sha256, until).await;
        let kept = keep(&bytes, until).await.expect("kept");
        assert!(kept.locked_until.is_some_and(|locked| locked >= until), "{kept:?}");
        assert_eq!(keep(&bytes, until).await.expect("kept already").version, kept.version);
        let later = until + jiff::SignedDuration::from_hours(1);
        assert!(keep(&bytes, later).await.expect("locked for longer").locked_until >= Some(later));
        // It takes what its sender says to be of another SHA-256, so that what lies there is read back.
        let wrong = bucket.keep("a/c", What::Bytes(&bytes[..9]), sha256, until).await.expect_err("torn on the way");
        assert!(matches!(wrong, BlobFault::Differs { .. }), "{wrong:?}");
        let locked = bucket.destroy("a/b", &kept.version).await.expect_err("locked");
        assert!(matches!(locked, BlobFault::Locked { until: Some(_), .. }), "{locked:?}");
        bucket.hold("a/b", &kept.version, true).await.expect("held");
        assert!(bucket.look("a/b", &kept.version).await.expect("there").is_some_and(|found| found.held));
        assert_eq!(bucket.read("a/b", &kept.version, 199_990, 100).await.expect("read"), bytes[199_990..]);
        assert_eq!(bucket.look("a/b", "nothing").await.expect("asked"), None);
        let listed = bucket.list("a/").await.expect("listed");
        assert_eq!(listed.iter().filter(|one| one.key == "a/b").count(), 1, "{listed:?}");
    });
}

#[test]
fn a_bucket_that_cannot_be_had_blocks_nothing_and_loses_nothing() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let fake = runtime.block_on(FakeBucket::start(BucketKind::default()));
    let mut plant = plant("retention = \"1d\"", &settings(&fake.endpoint(), &fake.credentials(), "30d"));
    let first = worked(&plant, "echo while it is there");
    let count = |session: &str| {
        let part = ulid_of(session);
        fake.keys().keys().filter(|key| key.contains(&part)).count()
    };
    // What lies there the gate has not looked at yet, for a moment: only it knows when it has.
    eventually("it is deposited", || json(&plant, "lee", &["status"])["bucket"]["deposited"] == 1);
    assert_eq!(count(&first), 2);
    let node = node(&plant);
    let key = |name: &str| format!("holdpoint/{node}/{name}");
    let newest = ["journal/newest.tar", "records/newest.tar"].map(|name| (key(name), name));
    let there = |key: &str| fake.object(key).expect("there").0;
    eventually("the logs are there", || newest.iter().all(|(key, _)| fake.keys().contains_key(key)));
    let early = newest.each_ref().map(|(key, _)| there(key));
    fake.fail_all(Some(Trouble::Answers(503, "SlowDown")));
    let second = worked(&plant, "echo while it is gone");
    eventually("the alarm is raised", || {
        let status = json(&plant, "lee", &["status"]);
        let alarms = status["alarms"].as_array().expect("a list").clone();
        let raised = alarms.iter().any(|alarm| alarm["alarm"] == "bucket");
        raised && status["red"] == true && status["bucket"]["waiting"] == 1
    });
    let shown = holdpoint(&plant, "lee", &["status"]).ok().out();
    assert!(shown.contains("NOT ALL IS BROUGHT THERE: it answers 503"), "{shown}");
    assert_eq!(count(&second), 0);
    // A restart in between changes nothing.
    plant.kill();
    plant.serve();
    let third = worked(&plant, "echo after a restart");
    fake.fail_all(None);
    eventually("all of it is deposited", || count(&second) == 2 && count(&third) == 2);
    eventually("the alarm is over", || json(&plant, "lee", &["status"])["red"] == false);
    assert!(!names_in(&plant.recording(&first)).is_empty(), "it stays here for a month");
    let is_said = |session: &str| {
        let session: SessionId = session.parse().expect("a session");
        let leaf = [&[11][..], &session.ulid().to_bytes()].concat();
        let newest = fake.object(&key("records/newest.tar"));
        newest.is_some_and(|(bytes, ..)| bytes.windows(leaf.len()).any(|part| part == leaf))
    };
    eventually("the log there says so", || is_said(&second) && is_said(&third));
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    evidence.both_say(0);
    // As one that is locked on a later day; and somebody deletes what is not, and puts an earlier state in its place.
    for ((newest, name), early) in newest.iter().zip(early) {
        let locked = format!("{}/locked/1000000.tar", newest.trim_end_matches("/newest.tar"));
        fake.put(&locked, &there(newest));
        fake.lose(name);
        fake.put(newest, &early);
    }
    // From the bucket alone, into which somebody put more.
    for name in ["PART", "records/BACKUP", "records/FORMAT/x", "records/sessions//etc/x", "../x", "cuts"] {
        fake.put(&key(name), b"holdpoint part 1\n");
    }
    let inner = ulid_of(&first);
    let keys = key(&format!("records/sessions/{inner}/keys.0.age"));
    let junk = there(&keys).iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    fake.put(&keys, &junk);
    fake.put(&key("records/newest.tar"), b"no archive");
    fake.hide(&key("journal/newest.tar"));
    let credentials = fake.credentials();
    let reached = ["--credentials", credentials.to_str().expect("text"), "--endpoint", &fake.endpoint()];
    let verify = |at: &str| {
        let asked = ["verify", at, "--trust", "trust.toml", "--key", "key", "--no-memory"];
        run(evidence.holdpoint(&asked).args(reached), b"")
    };
    let whole = |told: &str| told.matches(": ok (").count() >= 3 && !told.contains("BACKUP");
    for at in ["s3://mill3/holdpoint".to_owned(), format!("s3://mill3/holdpoint/{node}")] {
        let told = verify(&at).refused(4, &first).text();
        assert!(whole(&told), "{told}");
    }
    // A recording that is there no more although later ones are.
    fake.lose(&inner);
    verify("s3://mill3/holdpoint").refused(1, "MISSING");
    let elsewhere = ["--credentials", credentials.to_str().expect("text"), "--endpoint", "http://s3.mill3.example"];
    run(evidence.holdpoint(&["verify", "s3://mill3/holdpoint"]).args(elsewhere), b"").refused(2, "in the clear");
}

#[test]
fn after_a_restore_what_lies_in_the_bucket_alone_is_read_and_verified_as_before() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let fake = runtime.block_on(FakeBucket::start(BucketKind::default()));
    let mut plant = plant("retention = \"1d\"", &settings(&fake.endpoint(), &fake.credentials(), "0s"));
    let kept = worked(&plant, "echo before it");
    eventually("it lies in the bucket alone", || names_in(&plant.recording(&kept)).is_empty());
    plant.stop();
    let early = tempfile::tempdir().expect("a folder");
    let early = early.path().join("records");
    put_back(&plant.data().join("records"), &early);
    plant.serve();
    let lost = worked(&plant, "echo to be lost");
    eventually("it lies in the bucket alone", || names_in(&plant.recording(&lost)).is_empty());
    plant.stop();
    put_back(&early, &plant.data().join("records"));
    run(&mut plant.serve_command(), b"").refused(3, "of the journal remembers ");
    restored(&plant, &[]);
    plant.serve();
    eventually("the logs go on there", || {
        fake.keys().keys().any(|key| key.contains(".e_") && key.ends_with("/records/newest.tar"))
    });
    let recovery = String::from_utf8(plant.person("lee").read("recovery")).expect("text");
    let code = recovery.lines().next().expect("a code");
    run(&mut plant.as_person("lee", &["login"]), format!("{code}\n").as_bytes()).ok();
    let all = plant.person("lee").path("all");
    holdpoint(&plant, "lee", &["fetch", "-o", all.to_str().expect("text"), "--session", &kept]).ok();
    let inner = format!("records/sessions/{}", ulid_of(&kept));
    assert_eq!(names_in(&all.join(inner)), ["0000.blk", "keys.0.age"]);
    plant.stop();
    let (evidence, credentials) = (plant.evidence(), fake.credentials());
    let reached = ["--credentials", credentials.to_str().expect("text"), "--endpoint", &fake.endpoint()];
    let asked = ["verify", "s3://mill3/holdpoint", "--trust", "trust.toml", "--key", "key", "--no-memory"];
    let told = run(evidence.holdpoint(&asked).args(reached), b"").refused(4, "RESTORED").text();
    assert!(told.contains(": ok (") && !told.contains("MISSING"), "{told}");
}

#[test]
fn what_is_erased_is_deleted_there_too_once_its_lock_is_over() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let fake = runtime.block_on(FakeBucket::start(BucketKind::default()));
    let mut plant = plant("retention = \"1s\"", &settings(&fake.endpoint(), &fake.credentials(), "0s"));
    // As where systemd hands the key to it over: of what lies there the gate loses the seal's credential alone.
    plant.stop();
    let handed = format!("CREDENTIALS_DIRECTORY={}", fake.credentials().parent().expect("a folder").display());
    plant.serve_under(&["env", &handed]);
    let session = worked(&plant, "echo to be erased");
    let part = ulid_of(&session);
    let count = || fake.keys().keys().filter(|key| key.contains(&part)).count();
    eventually("it lies in the bucket alone", || count() == 2 && names_in(&plant.recording(&session)).is_empty());
    eventually("its minimum is over", || holdpoint(&plant, "ada", &["erase", &session, "--yes"]).status.success());
    holdpoint(&plant, "lee", &["erase", &session, "--yes"]).ok();
    eventually("it waits for the lock, in words", || {
        let locked = json(&plant, "lee", &["status"])["bucket"]["locked"].clone();
        locked[0].as_str().is_some_and(|why| why.contains("keys.0.age is locked there until"))
    });
    assert_eq!(count(), 2, "nothing goes before the key file");
    assert!(json(&plant, "lee", &["status"])["red"] == false, "a lock is no failure");
    fake.unlock_all();
    // It is looked once a minute, and at a start.
    plant.kill();
    plant.serve();
    eventually("nothing of it is left there", || count() == 0);
    assert_eq!(plant.stop().code(), 0);
    assert!(plant.evidence().both_say(0).contains(": erased ("));
}

#[test]
fn a_bucket_that_locks_nothing_is_refused_and_the_words_say_what_to_do() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let plant = Plant::ready(Options::default());
    let whole = fs::read_to_string(plant.config()).expect("a file");
    let told = |kind: BucketKind| {
        let fake = runtime.block_on(FakeBucket::start(kind));
        let s3 = settings(&fake.endpoint(), &fake.credentials(), "0s");
        let bucket = whole.replacen("[store]", "[store]\nrecordings = \"s3://mill3/holdpoint\"", 1);
        fs::write(plant.config(), format!("{bucket}\n[store.s3]\n{s3}")).expect("a file");
        let mut check = plant.holdpoint(&["check", "--bucket", "--plant", "wanted.toml", "--config"]);
        let checked = run(check.arg(plant.config()), b"");
        (checked, fake)
    };
    let (right, fake) = told(BucketKind::default());
    let right = right.ok().out();
    assert!(right.contains("has versions and Object Lock"), "{right}");
    drop(fake);
    let (unfit, fake) = told(BucketKind { without_locks: true, ..BucketKind::default() });
    unfit.refused(2, "the bucket locks nothing. Make a bucket with Object Lock");
    run(&mut plant.serve_command(), b"").says_no("the bucket locks nothing");
    drop(fake);
    let (unfit, _fake) = told(BucketKind { without_versions: true, ..BucketKind::default() });
    unfit.refused(2, "the bucket keeps no versions");
}
