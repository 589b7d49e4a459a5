//! One suite for every adapter of the directory, and what sled owes beyond it.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::sync::Arc;

use approver::directory::memory::MemoryDirectory;
use approver::directory::postgres::PostgresDirectory;
use approver::directory::sled::{CannotOpen, SledDirectory};
use approver::directory::{
    Change, Directory, DirectoryFault, Expected, Key, Spending, TEXT_CHARS_MAX, Table, TextRefused, VALUE_BYTES_MAX,
    clean_text,
};
use approver::mint;
use approver::testing::postgres::{PostgresServer, database};
use approver::testing::{Faulty, RivalDirectory, Scratch, Trouble};
use certs::keys::{KeyStore, Seal};
use certs::totp::{CodeRefused, SealedTotp, SpendStep as _, TotpSecret, check_code};
use certs::vault::Purpose;
use jiff::{SignedDuration, Timestamp};
use policies::digest::Salted;
use policies::ids::PersonId;

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn somebody() -> PersonId {
    mint::person(now())
}

/// Where the adapters of one test keep what they keep.
struct Stand {
    scratch: Scratch,
    server: Option<Arc<PostgresServer>>,
}

impl Stand {
    fn new() -> Self {
        Self { scratch: Scratch::new(), server: PostgresServer::shared() }
    }

    fn path(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// One in a database of its own, where there is a server.
    async fn postgres(&self) -> Option<Arc<dyn Directory>> {
        let server = self.server.as_ref()?;
        let database = database(&server.address(&server.empty()));
        database.set_up().await.unwrap();
        Some(Arc::new(PostgresDirectory::new(database)))
    }
}

async fn each_adapter(scratch: &Stand) -> Vec<(&'static str, Arc<dyn Directory>)> {
    let memory: Arc<dyn Directory> = Arc::new(MemoryDirectory::new());
    let mut adapters: Vec<(&'static str, Arc<dyn Directory>)> = vec![
        ("memory", Arc::new(MemoryDirectory::new())),
        ("sled", Arc::new(SledDirectory::open(&scratch.path().join("state")).unwrap())),
        ("faulty, behaving", Arc::new(Faulty::new(memory))),
    ];
    adapters.extend(scratch.postgres().await.map(|directory| ("postgres", directory)));
    adapters
}

#[tokio::test]
async fn a_swap_changes_all_or_nothing() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let (a, b) = (Key::Cursor("a".into()), Key::Cursor("b".into()));
        assert!(directory.swap(vec![Change::create(a.clone(), vec![1])]).await.unwrap(), "{name}");
        let both = vec![Change::set(b.clone(), vec![2]), Change::create(a.clone(), vec![9])];
        assert!(!directory.swap(both).await.unwrap(), "{name}");
        assert_eq!(directory.get(&b).await.unwrap(), None, "{name}");
        let expected = Change { key: a.clone(), expected: Expected::Exactly(vec![1]), value: Some(vec![3]) };
        assert!(directory.swap(vec![expected.clone(), Change::set(b.clone(), vec![4])]).await.unwrap(), "{name}");
        assert!(!directory.swap(vec![expected]).await.unwrap(), "{name}");
        assert_eq!(directory.get(&a).await.unwrap(), Some(vec![3]), "{name}");
        assert!(directory.swap(vec![Change::delete(a.clone()), Change::delete(b)]).await.unwrap(), "{name}");
        assert_eq!(directory.get(&a).await.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn a_swap_of_much_is_as_whole_as_one_of_little() {
    let scratch = Stand::new();
    let keys: Vec<Key> = (0..200).map(|number| Key::Cursor(format!("much/{number}"))).collect();
    for (name, directory) in each_adapter(&scratch).await {
        let (make, remove) =
            (|key: &Key| Change::create(key.clone(), vec![1]), |key: &Key| Change::delete(key.clone()));
        let there = async || {
            let values = futures::future::join_all(keys.iter().map(|key| directory.get(key))).await;
            values.into_iter().filter(|value| *value == Ok(Some(vec![1]))).count()
        };
        assert!(directory.swap(keys.iter().map(make).collect()).await.unwrap(), "{name}");
        let but_one = keys[1..].iter().map(remove).chain([make(&keys[0])]).collect();
        assert!(!directory.swap(but_one).await.unwrap(), "{name}");
        assert_eq!(there().await, keys.len(), "{name}");
        assert!(directory.swap(keys.iter().map(remove).collect()).await.unwrap(), "{name}");
        assert_eq!(there().await, 0, "{name}");
        let twice = [2, 3].map(|value| Change::set(keys[0].clone(), vec![value])).to_vec();
        assert!(directory.swap(twice).await.unwrap(), "{name}");
        assert_eq!(directory.get(&keys[0]).await.unwrap(), Some(vec![3]), "{name}: the later counts");
    }
}

#[tokio::test]
async fn of_two_who_swap_the_same_value_exactly_one_does() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let key = Key::Cursor("a".into());
        let swaps = (0..32_u8).map(|n| directory.swap(vec![Change::create(key.clone(), vec![n])]));
        let done = futures::future::join_all(swaps).await;
        assert_eq!(done.iter().filter(|done| **done == Ok(true)).count(), 1, "{name}");
    }
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let scratch = Stand::new();
    for (name, adapter) in each_adapter(&scratch).await {
        let directory = Faulty::new(adapter);
        let key = Key::Cursor("a".into());
        let set = |value| directory.swap(vec![Change::set(key.clone(), vec![value])]);
        directory.set(Trouble::FailsBefore);
        assert!(set(1).await.is_err(), "{name}");
        assert_eq!(directory.get(&key).await.unwrap(), None, "{name}");
        directory.set(Trouble::FailsAfter);
        assert!(set(2).await.is_err(), "{name}");
        assert_eq!(directory.get(&key).await.unwrap(), Some(vec![2]), "{name}");
        directory.set(Trouble::Gone);
        assert!(set(3).await.is_err() && directory.get(&key).await.is_err(), "{name}");
        assert!(directory.list(Table::Credentials).await.is_err(), "{name}");
        directory.set(Trouble::None);
        assert_eq!(directory.get(&key).await.unwrap(), Some(vec![2]), "{name}");
    }
}

#[tokio::test]
async fn against_a_rival_that_always_gets_in_first_nothing_of_ours_is_taken_for_done() {
    let scratch = Stand::new();
    for (name, adapter) in each_adapter(&scratch).await {
        let (tara, other) = (somebody(), somebody());
        // Another node gives the name away while ours is about to.
        let taken = vec![
            Change::set(Key::NameOf(other), b"Tara".to_vec()),
            Change::set(Key::Named("tara".into()), other.to_string().into_bytes()),
        ];
        let rival: Arc<dyn Directory> =
            Arc::new(RivalDirectory::new(adapter.clone(), Box::new(move |_| taken.clone())));
        assert_eq!(rival.set_name(tara, "Tara").await, Ok(false), "{name}");
        assert_eq!(adapter.person_named("tara").await.unwrap(), Some(other), "{name}");
        // Another node spends the same code first.
        let spent = vec![Change::set(Key::Step(tara), b"100".to_vec())];
        let rival: Arc<dyn Directory> =
            Arc::new(RivalDirectory::new(adapter.clone(), Box::new(move |_| spent.clone())));
        assert!(!Spending(&*rival).spend(tara, 100).await.unwrap(), "{name}");
        // Somebody types wrong codes at another node faster than they can be counted here.
        let mut minute = 0;
        let wrong = move |_: &[Change]| {
            minute += 1;
            let at = now() + SignedDuration::from_mins(minute);
            vec![Change::set(Key::Failures(tara), serde_json::to_vec(&[at]).unwrap())]
        };
        let rival: Arc<dyn Directory> = Arc::new(RivalDirectory::new(adapter.clone(), Box::new(wrong)));
        assert_eq!(rival.add_failure(tara, now(), now()).await, Err(DirectoryFault::Busy), "{name}");
    }
}

#[tokio::test]
async fn a_value_too_long_is_refused_by_every_adapter() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let set = |bytes| directory.swap(vec![Change::set(Key::Cursor("a".into()), vec![0; bytes])]);
        assert_eq!(set(VALUE_BYTES_MAX).await, Ok(true), "{name}");
        assert_eq!(set(VALUE_BYTES_MAX + 1).await, Err(DirectoryFault::TooLong(VALUE_BYTES_MAX + 1)), "{name}");
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_person_whatever_its_capitals() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let (tara, other) = (somebody(), somebody());
        assert!(directory.set_name(tara, "Tara").await.unwrap(), "{name}");
        assert!(!directory.set_name(other, "tARA").await.unwrap(), "{name}");
        assert_eq!(directory.person_named("tara").await.unwrap(), Some(tara), "{name}");
        assert!(directory.set_name(tara, "TARA").await.unwrap(), "{name}");
        assert_eq!(directory.name_of(tara).await.unwrap().as_deref(), Some("TARA"), "{name}");
        assert!(directory.set_name(tara, "Tess").await.unwrap(), "{name}");
        assert!(directory.set_name(other, "Tara").await.unwrap(), "{name}: the old name became free");
        let mut names: Vec<_> = directory.names().await.unwrap();
        names.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(names, [(other, "Tara".to_owned()), (tara, "Tess".to_owned())], "{name}");
        directory.forget_name(tara).await.unwrap();
        assert_eq!(directory.person_named("tess").await.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn a_text_opens_its_digest_until_it_is_erased() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let text = clean_text("the  pump\ttrips\u{202e}\u{1b}[2J").unwrap();
        let salted = directory.put_text(&text).await.unwrap();
        assert_ne!(salted, directory.put_text(&text).await.unwrap(), "{name}: salts differ");
        assert_eq!(directory.text(salted).await.unwrap().as_deref(), Some("the pump trips[2J"), "{name}");
        let (salt, opened) = directory.salt_and_text(salted).await.unwrap().unwrap();
        assert!(salted.opens_with(&salt, &opened), "{name}");
        let other = directory.put_text(&clean_text("something else").unwrap()).await.unwrap();
        let exchanged = directory.get(&Key::Text(other.0)).await.unwrap().unwrap();
        let kept = directory.get(&Key::Text(salted.0)).await.unwrap().unwrap();
        assert!(directory.swap(vec![Change::set(Key::Text(salted.0), exchanged)]).await.unwrap(), "{name}");
        assert_eq!(directory.text(salted).await.unwrap(), None, "{name}: a text that does not open its digest is none");
        assert!(directory.swap(vec![Change::set(Key::Text(salted.0), kept)]).await.unwrap(), "{name}");
        directory.erase_text(salted).await.unwrap();
        assert_eq!(directory.text(salted).await.unwrap(), None, "{name}");
        assert_eq!(directory.text(Salted::new(&[0; 32], "other")).await.unwrap(), None, "{name}");
    }
}

#[test]
fn a_text_is_bounded_and_never_empty() {
    assert_eq!(clean_text(" \n\u{200b} ").map(|_| ()), Err(TextRefused::Empty));
    assert!(clean_text(&"ü".repeat(TEXT_CHARS_MAX)).is_ok());
    assert!(matches!(clean_text(&"x".repeat(1 << 20)), Err(TextRefused::TooLong(_))));
}

#[tokio::test]
async fn the_longest_text_fits_a_value() {
    let directory: Arc<dyn Directory> = Arc::new(MemoryDirectory::new());
    for widest in ["\u{10ffff}", "\"", "\\"] {
        let text = clean_text(&widest.repeat(TEXT_CHARS_MAX)).unwrap();
        let salted = directory.put_text(&text).await.unwrap();
        assert_eq!(directory.text(salted).await.unwrap().as_deref(), Some(text.as_str()));
    }
}

#[tokio::test]
async fn a_step_is_spent_once_and_none_before_it_after_it() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let (person, other) = (somebody(), somebody());
        let spending = Spending(&*directory);
        for (who, step, free) in
            [(person, 100, true), (person, 100, false), (person, 99, false), (person, 101, true), (other, 100, true)]
        {
            assert_eq!(spending.spend(who, step).await.unwrap(), free, "{name}, step {step}");
        }
    }
}

#[tokio::test]
async fn many_at_once_spend_one_step_once() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let person = somebody();
        let spending = Spending(&*directory);
        let spent = futures::future::join_all((0..16).map(|_| spending.spend(person, 7))).await;
        assert_eq!(spent.into_iter().filter(|spent| matches!(spent, Ok(true))).count(), 1, "{name}");
    }
}

#[tokio::test]
async fn wrong_codes_are_counted_within_their_time_only() {
    let scratch = Stand::new();
    for (name, directory) in each_adapter(&scratch).await {
        let person = somebody();
        for n in 0..4 {
            let at = now() + SignedDuration::from_mins(5 * n);
            let counted = directory.add_failure(person, at - SignedDuration::from_mins(9), at).await.unwrap();
            assert_eq!(counted, if n == 0 { 1 } else { 2 }, "{name}");
        }
        directory.clear_failures(person).await.unwrap();
        assert_eq!(directory.add_failure(person, now(), now()).await.unwrap(), 1, "{name}");
    }
}

#[tokio::test]
async fn credentials_are_listed_by_name_and_kept_sealed() {
    let scratch = Stand::new();
    let keys = KeyStore::create(&scratch.path().join("keys"), &Seal::File).unwrap();
    for (name, directory) in each_adapter(&scratch).await {
        let credential: policies::ids::CredentialName = "hmi-maint".parse().unwrap();
        assert!(directory.credential(&credential, &keys.secrets(), Purpose::Gate).await.unwrap().is_none(), "{name}");
        directory.set_credential(&credential, b"hunter2", &keys.secrets()).await.unwrap();
        let kept = directory.get(&Key::Credential(credential.clone())).await.unwrap().unwrap();
        assert!(!kept.windows(7).any(|window| window == b"hunter2"), "{name}");
        let opened = directory.credential(&credential, &keys.secrets(), Purpose::Gate).await.unwrap().unwrap();
        assert_eq!(opened.as_slice(), b"hunter2", "{name}");
        assert_eq!(directory.credential_names().await.unwrap(), std::slice::from_ref(&credential), "{name}");
        directory.forget_credential(&credential).await.unwrap();
        assert_eq!(directory.list(Table::Credentials).await.unwrap(), [], "{name}");
    }
}

#[tokio::test]
async fn a_spent_code_stays_spent_when_the_directory_is_opened_again() {
    let scratch = Scratch::new();
    let (person, secret) = (somebody(), TotpSecret::generate());
    let code = secret.code_at(now());
    let keys = Scratch::new();
    let keys = KeyStore::create(&keys.path().join("keys"), &Seal::File).unwrap();
    let sealed = secret.seal(&keys.secrets(), person).unwrap();
    let sealed = SealedTotp::new(keys.secrets(), person, sealed);
    for attempt in 0..3 {
        let directory: Arc<dyn Directory> = Arc::new(SledDirectory::open(scratch.path()).unwrap());
        let checked = check_code(&sealed, &code, now(), &Spending(&*directory)).await;
        match attempt {
            0 => assert!(checked.is_ok()),
            _ => assert!(matches!(checked, Err(CodeRefused::Used))),
        }
    }
}

#[tokio::test]
async fn a_code_whose_use_cannot_be_kept_does_not_count() {
    let directory = Arc::new(Faulty::new(Arc::new(MemoryDirectory::new()) as Arc<dyn Directory>));
    let (person, secret) = (somebody(), TotpSecret::generate());
    let code = secret.code_at(now());
    let keys = Scratch::new();
    let keys = KeyStore::create(&keys.path().join("keys"), &Seal::File).unwrap();
    let sealed = secret.seal(&keys.secrets(), person).unwrap();
    let sealed = SealedTotp::new(keys.secrets(), person, sealed);
    for trouble in [Trouble::FailsBefore, Trouble::FailsAfter, Trouble::Gone] {
        directory.set(trouble);
        let checked = check_code(&sealed, &code, now(), &Spending(&*directory)).await;
        assert!(matches!(checked, Err(CodeRefused::Fault(_))), "{trouble:?}");
    }
}

#[test]
fn a_folder_in_use_is_refused() {
    let scratch = Scratch::new();
    let held = SledDirectory::open(scratch.path()).unwrap();
    let refused = SledDirectory::open(scratch.path()).err().unwrap();
    assert!(matches!(&refused, CannotOpen::InUse(path) if path == scratch.path()), "{refused}");
    drop(held);
    assert!(SledDirectory::open(scratch.path()).is_ok());
}

const FOLDER: &str = "HOLDPOINT_TEST_FOLDER";

#[tokio::test]
#[ignore = "the process that another test here runs"]
async fn directory_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let directory = SledDirectory::open(folder.as_ref()).unwrap();
    for value in [7, 8] {
        println!("{:?}", directory.swap(vec![Change::set(Key::Cursor("a".into()), vec![value])]).await);
    }
}

/// sled's own `flush` answers before anything is on the disk, so what is missing here is missed in a power cut alone. One sync
/// fails; that the next would not is no reason to answer.
#[test]
fn no_change_is_answered_for_whose_sync_failed_and_none_after_it() {
    let scratch = Scratch::new();
    let mut process = std::process::Command::new("fiu-run");
    process
        .args(["-x", "-c", "enable name=posix/io/sync/fdatasync,onetime,failinfo=5"])
        .arg(std::env::current_exe().unwrap());
    process.args(["--ignored", "--exact", "directory_process", "--nocapture"]).env(FOLDER, scratch.path());
    let Ok(ended) = process.output() else { return println!("SKIPPED: libfiu (Debian: fiu-utils) is not installed") };
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(said.matches("Err(Unavailable(").count(), 2, "{said}{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test]
async fn a_half_written_snapshot_does_not_keep_the_directory_shut() {
    let scratch = Scratch::new();
    let key = Key::Cursor("a".into());
    {
        let directory = SledDirectory::open(scratch.path()).unwrap();
        assert!(directory.swap(vec![Change::set(key.clone(), vec![7])]).await.unwrap());
    }
    std::fs::write(scratch.path().join("snap.00000000DEADBEEF.generating"), b"half").unwrap();
    let directory = SledDirectory::open(scratch.path()).unwrap();
    assert_eq!(directory.get(&key).await.unwrap(), Some(vec![7]));
}

#[tokio::test]
async fn what_a_backup_holds_fills_a_directory_in_which_codes_shown_before_count_no_more() {
    let (full, empty) = (MemoryDirectory::new(), MemoryDirectory::new());
    let (full, empty) = (&full as &dyn Directory, &empty as &dyn Directory);
    let person = policies::ids::PersonId::new(ulid::Ulid::from(7_u128));
    full.set_name(person, "Tess").await.unwrap();
    let sealed = Change::set(Key::Totp(person), b"sealed".to_vec());
    full.swap(vec![sealed, Change::set(Key::Step(person), b"90".to_vec())]).await.unwrap();
    empty.fill(&full.dump().await.unwrap(), 100).await.unwrap();
    assert_eq!(empty.person_named("tess").await.unwrap(), Some(person));
    assert_eq!(empty.get(&Key::Totp(person)).await.unwrap().as_deref(), Some(b"sealed".as_slice()));
    assert_eq!(empty.get(&Key::Step(person)).await.unwrap().as_deref(), Some(b"100".as_slice()));
    let strange = vec![(b"phone/1".to_vec(), b"1".to_vec())];
    assert!(empty.fill(&strange, 100).await.unwrap_err().to_string().contains("phone/1"));
}
