//! The port of blobs: what every place promises, asked of one in this process that can be broken, and of Ceph where its
//! address is given by the end-to-end tests. No time is waited for.

use std::sync::Arc;

use approver::blobs::s3::{Bucket, BucketUrl};
use approver::blobs::{BlobFault, Blobs, What};
use approver::testing::bucket::{FakeBucket, Kind, Trouble, write_credentials};
use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

async fn keep(
    bucket: &dyn Blobs,
    key: &str,
    bytes: &[u8],
    until: Timestamp,
) -> Result<approver::blobs::Kept, BlobFault> {
    bucket.keep(key, What::Bytes(bytes), sha(bytes), until).await
}

/// The kinds of services that there are: all of them keep all of it.
fn kinds() -> [Kind; 3] {
    let (as_ceph, as_minio) =
        (Kind { without_checksums: true, ..Kind::default() }, Kind { says_400_of_locked: true, ..Kind::default() });
    [Kind::default(), as_ceph, as_minio]
}

#[tokio::test]
async fn what_is_kept_lies_there_once_locked_and_nobody_deletes_it_before() {
    for kind in kinds() {
        let fake = FakeBucket::start(kind).await;
        let bucket = fake.open("holdpoint");
        bucket.check().await.expect("a bucket as it should be");
        let until = in_days(1);
        let first = keep(&bucket, "sessions/a/0000.blk", b"cipher", until).await.expect("kept");
        assert!(first.locked_until.is_some_and(|locked| locked >= until), "{first:?}");
        let again = keep(&bucket, "sessions/a/0000.blk", b"cipher", until).await.expect("kept already");
        assert_eq!(again, first);
        assert_eq!(fake.keys().into_values().collect::<Vec<_>>(), [1], "{kind:?}");
        let longer = keep(&bucket, "sessions/a/0000.blk", b"cipher", in_days(9)).await.expect("locked for longer");
        assert!(longer.locked_until > first.locked_until && longer.version == first.version);
        let locked = bucket.destroy("sessions/a/0000.blk", &first.version).await.expect_err("locked");
        assert!(matches!(locked, BlobFault::Locked { until: Some(_), .. }), "{locked:?}");
        fake.unlock_all();
        bucket.hold("sessions/a/0000.blk", &first.version, true).await.expect("held");
        let held = bucket.destroy("sessions/a/0000.blk", &first.version).await.expect_err("held");
        assert!(matches!(held, BlobFault::Locked { until: None, .. }), "{held:?}");
        bucket.hold("sessions/a/0000.blk", &first.version, false).await.expect("released");
        bucket.destroy("sessions/a/0000.blk", &first.version).await.expect("nothing is in the way");
        bucket.destroy("sessions/a/0000.blk", &first.version).await.expect("gone already");
        assert_eq!(bucket.look("sessions/a/0000.blk", &first.version).await.expect("asked"), None);
        assert!(fake.keys().is_empty());
    }
}

#[tokio::test]
async fn a_file_is_kept_to_its_length_and_read_back_in_pieces_by_its_version() {
    let fake = FakeBucket::start(Kind { without_checksums: true, ..Kind::default() }).await;
    let bucket = fake.open("");
    let dir = tempfile::tempdir().expect("a folder");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    std::fs::write(dir.path().join("0000.blk"), [&bytes[..], b"of a block that was being kept"].concat())
        .expect("a file");
    let what = What::File(&dir.path().join("0000.blk"), bytes.len() as u64);
    let kept = bucket.keep("sessions/a/0000.blk", what, sha(&bytes), in_days(1)).await.expect("kept");
    fake.hide("sessions/a/0000.blk");
    let read = async |at, length| bucket.read("sessions/a/0000.blk", &kept.version, at, length).await.expect("read");
    assert_eq!(read(1_000, 10).await, bytes[1_000..1_010]);
    assert_eq!(read(2_999_998, 10).await, bytes[2_999_998..]);
    assert_eq!(read(3_000_000, 10).await, b"");
    let listed = bucket.list("sessions/").await.expect("listed");
    let found: Vec<_> = listed.iter().map(|one| (one.bytes, one.is_latest)).collect();
    assert_eq!(found, [(Some(3_000_000), false), (None, true)]);
}

#[tokio::test]
async fn a_list_has_every_version_of_every_key_however_many_pages_it_takes() {
    let fake = FakeBucket::start(Kind::default()).await;
    let bucket = fake.open("holdpoint/one");
    for number in 0..10 {
        keep(&bucket, &format!("tile/{number}"), b"hashes", in_days(1)).await.expect("kept");
    }
    bucket.put("checkpoint", b"first").await.expect("put");
    bucket.put("checkpoint", b"second").await.expect("put");
    let keys: Vec<String> = bucket.list("tile/").await.expect("listed").into_iter().map(|one| one.key).collect();
    assert_eq!(keys, (0..10).map(|number| format!("tile/{number}")).collect::<Vec<_>>());
    assert_eq!(bucket.list("checkpoint").await.expect("listed").len(), 2);
    assert_eq!(
        fake.object("holdpoint/one/checkpoint").map(|(bytes, until, _)| (bytes, until)),
        Some((b"second".to_vec(), None))
    );
}

#[tokio::test]
async fn whatever_happens_to_a_put_the_next_try_finds_out_and_there_is_one_version() {
    for kind in kinds() {
        for (trouble, is_there) in [
            (Trouble::LosesAnswer, true),
            (Trouble::Tears, false),
            (Trouble::Answers(500, "InternalError"), false),
            (Trouble::Answers(503, "SlowDown"), false),
            (Trouble::Answers(403, "RequestTimeTooSkewed"), false),
        ] {
            let fake = FakeBucket::start(kind).await;
            let bucket = fake.open("p");
            fake.fail_next(&Method::PUT, trouble);
            let fault = keep(&bucket, "a", b"bytes", in_days(1)).await;
            // Of a service that answers no more, nothing is known; where it said that it is there, that is looked at.
            assert!(fault.is_err() || is_there, "{trouble:?}: {fault:?}");
            assert_eq!(fake.keys().len(), usize::from(is_there), "{trouble:?}");
            keep(&bucket, "a", b"bytes", in_days(1)).await.expect("kept now");
            assert_eq!(fake.keys().into_values().collect::<Vec<_>>(), [1], "{kind:?}, {trouble:?}");
        }
    }
}

#[tokio::test]
async fn what_is_kept_is_the_version_with_these_bytes_whatever_else_lies_under_the_key() {
    let until = in_days(1);
    for kind in kinds() {
        let fake = FakeBucket::start(kind).await;
        let bucket = fake.open("");
        // Put before ours and hidden, as long as ours, and beside it under a key that begins so.
        fake.put("a", b"bytez");
        fake.hide("a");
        fake.put("a.more", b"bytes");
        let kept = keep(&bucket, "a", b"bytes", until).await.expect("kept");
        assert_eq!(bucket.read("a", &kept.version, 0, 9).await.expect("read"), b"bytes");
        // And after it.
        fake.put("a", b"bytey");
        fake.put("a", b"junk");
        assert_eq!(keep(&bucket, "a", b"bytes", until).await.expect("kept already"), kept);
        fake.hide("a");
        assert_eq!(keep(&bucket, "a", b"bytes", until).await.expect("kept already"), kept);
        assert_eq!(fake.keys().get("a"), Some(&6), "{kind:?}");
    }
}

#[tokio::test]
async fn what_lies_there_otherwise_than_it_was_put_is_found_before_anybody_relies_on_it() {
    for kind in kinds() {
        let fake = FakeBucket::start(kind).await;
        let bucket = fake.open("");
        let first = keep(&bucket, "a", b"bytes", in_days(1)).await.expect("kept");
        fake.tamper("a", |bytes| bytes[0] ^= 1);
        let again = keep(&bucket, "a", b"bytes", in_days(1)).await.expect("kept anew");
        assert_ne!(again.version, first.version);
        assert_eq!(bucket.read("a", &again.version, 0, 9).await.expect("read"), b"bytes");
    }
}

#[tokio::test]
async fn a_list_that_does_not_end_and_a_piece_that_is_longer_than_asked_for_are_no_answers() {
    let fake = FakeBucket::start(Kind { without_ranges: true, ..Kind::default() }).await;
    let bucket = fake.open("");
    for number in 0..5 {
        keep(&bucket, &format!("tile/{number}"), b"hashes", in_days(1)).await.expect("kept");
    }
    let version = bucket.list("tile/1").await.expect("listed").remove(0).version;
    let longer = bucket.read("tile/1", &version, 0, 3).await.expect_err("all of it");
    assert!(matches!(&longer, BlobFault::Unreachable(why) if why.contains("more was sent")), "{longer:?}");
    fake.lists_for_ever();
    let endless = bucket.list("tile/").await.expect_err("endless");
    assert!(matches!(&endless, BlobFault::Unreachable(why) if why.contains("breaks off")), "{endless:?}");
}

#[tokio::test]
async fn a_key_that_may_not_list_is_found_out_by_the_check() {
    let fake = FakeBucket::start(Kind { without_listing: true, ..Kind::default() }).await;
    let fault = fake.open("").check().await.expect_err("refused");
    assert!(matches!(fault, BlobFault::Refused { .. }) && fault.to_string().contains("Let this key do"), "{fault}");
}

#[tokio::test]
async fn faults_say_whose_they_are_and_what_to_do() {
    let fake = FakeBucket::start(Kind::default()).await;
    let bucket = fake.open("");
    for (status, code, remedy) in [
        (403, "AccessDenied", "Let this key do"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "SignatureDoesNotMatch", "credentials"),
        (301, "PermanentRedirect", "region"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (404, "NoSuchBucket", "Make the bucket"),
    ] {
        fake.fail_next(&Method::GET, Trouble::Answers(status, code));
        let fault = bucket.list("").await.expect_err(code);
        assert!(matches!(fault, BlobFault::Refused { .. }) && fault.to_string().contains(remedy), "{code}: {fault}");
    }
    for status in [500, 502, 503, 429] {
        fake.fail_next(&Method::GET, Trouble::Answers(status, "Any"));
        assert!(matches!(bucket.list("").await.expect_err("busy"), BlobFault::Unreachable(_)), "{status}");
    }
    for (kind, words) in [
        (Kind { without_versions: true, ..Kind::default() }, "keeps no versions"),
        (Kind { without_locks: true, ..Kind::default() }, "locks nothing"),
    ] {
        let fault = FakeBucket::start(kind).await.open("").check().await.expect_err("refused");
        assert!(fault.to_string().contains(words), "{fault}");
    }
    let nobody = {
        let gone = FakeBucket::start(Kind::default()).await;
        let at = gone.at("");
        write_credentials(&fake.credentials(), "AK1", "secret");
        approver::blobs::s3::BucketAt { credentials: fake.credentials(), ..at }
    };
    let fault = Bucket::new(nobody).expect("right").list("").await.expect_err("nobody there");
    assert!(matches!(&fault, BlobFault::Unreachable(_)), "{fault:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_never_answers_is_waited_for_no_longer_than_its_bytes_take() {
    // The clock of these tests leaps as soon as nobody has anything to do, so the fake, which has, is on a thread of its own.
    let (tell, told) = std::sync::mpsc::channel();
    let (over, end) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let fake = FakeBucket::start(Kind::default()).await;
            fake.fail_all(Some(Trouble::Stalls));
            tell.send(fake.clone()).expect("waited for");
            drop(end.await);
        });
    });
    let fake = told.recv().expect("started");
    let fault = fake.open("").list("").await.expect_err("stalled");
    assert!(matches!(&fault, BlobFault::Unreachable(why) if why.contains("did not answer")), "{fault:?}");
    drop(over);
    thread.join().expect("ended");
}

#[tokio::test]
async fn a_key_that_was_changed_counts_from_the_next_request_on_and_others_may_not_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let fake = FakeBucket::start(Kind::default()).await;
    let bucket = Arc::new(fake.open(""));
    write_credentials(&fake.credentials(), "AK2", "secret");
    assert!(bucket.check().await.expect_err("unknown").to_string().contains("InvalidAccessKeyId"));
    write_credentials(&fake.credentials(), "AK1", "secret");
    bucket.check().await.expect("known");
    std::fs::set_permissions(fake.credentials(), std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(bucket.check().await.expect_err("open to all").to_string().contains("chmod 600"));
    assert!(Bucket::new(fake.at("")).is_err());
    std::fs::write(fake.credentials(), "nothing").expect("written");
    std::fs::set_permissions(fake.credentials(), std::fs::Permissions::from_mode(0o600)).expect("changed");
    assert!(bucket.check().await.expect_err("no key").to_string().contains("aws_access_key_id"));
}

#[test]
fn a_bucket_is_named_in_one_way() {
    for right in ["s3://mill3", "s3://mill3/holdpoint", "s3://mill-3.rec/a/b/", "s3://mill3/"] {
        assert!(right.parse::<BucketUrl>().is_ok(), "{right}");
    }
    for wrong in [
        "mill3",
        "s3://",
        "s3:///x",
        "s3://Mill",
        "s3://mill3//x",
        "s3://mill3/../x",
        "s3://mill3/a b",
        "https://mill3",
    ] {
        assert!(wrong.parse::<BucketUrl>().is_err(), "{wrong}");
    }
    let below: BucketUrl = "s3://mill3/holdpoint/".parse().expect("right");
    assert_eq!(below.below("one").to_string(), "s3://mill3/holdpoint/one");
}
