//! One suite for every adapter of the journal, and what the one on files owes beyond it: that it opens again after
//! whatever happened to it. What the one in PostgreSQL owes is in `postgres.rs`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use approver::journal::files::FilesJournal;
use approver::journal::memory::MemoryJournal;
use approver::journal::postgres::PostgresJournal;
use approver::journal::{AppendError, Head, Journal, ReadError};
use approver::mint;
use approver::testing::postgres::{PostgresServer, database};
use approver::testing::{Faulty, Rival, Scratch, Trouble, node};
use jiff::{SignedDuration, Timestamp};
use policies::events::{Ending, Event};
use policies::ids::SessionId;
use recordings::disk::{Disk, RealDisk, RealMachine};
use recordings::log::{Log, LogOptions, Purpose, Recovery};
use recordings::sim::{SimDisk, SimSigner};

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn ended(session: SessionId) -> Event {
    Event::Ended { session, ending: Ending::Left, seal: None }
}

fn events(count: usize) -> Vec<Event> {
    (0..count).map(|_| ended(mint::session(now()))).collect()
}

fn open_log(disk: Arc<dyn Disk>, dir: &Path) -> (Arc<Log>, Recovery) {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        spares: 1,
        file_systems_allowed: ["overlayfs", "tmpfs", "btrfs", "zfs"].map(String::from).to_vec(),
        ..LogOptions::new(Purpose::Journal, "mill-3/journal", node())
    };
    let (log, recovery) = Log::open(disk, Arc::new(RealMachine), dir, options, Arc::new(SimSigner::new(1))).unwrap();
    (Arc::new(log), recovery)
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

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// One in a database of its own, where there is a server.
    async fn postgres(&self) -> Option<Arc<dyn Journal>> {
        let server = self.server.as_ref()?;
        let database = database(&server.address(&server.empty()));
        database.set_up().await.unwrap();
        let log = open_log(Arc::new(RealDisk), &self.path().join("copy")).0;
        database.found("mill-3/journal", &node(), &log, &Vec::new()).await.unwrap();
        Some(Arc::new(PostgresJournal::open(database, log, "mill-3/journal", &node()).await.unwrap()))
    }
}

/// Every adapter, and every wrapper that behaves for now: what holds for one holds for all.
async fn each_adapter(scratch: &Stand) -> Vec<(&'static str, Arc<dyn Journal>)> {
    let memory: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let real = open_log(Arc::new(RealDisk), &scratch.path().join("journal")).0;
    let simulated = open_log(Arc::new(SimDisk::new(7)), Path::new("/journal")).0;
    let mut adapters: Vec<(&'static str, Arc<dyn Journal>)> = vec![
        ("memory", Arc::new(MemoryJournal::new())),
        ("files", Arc::new(FilesJournal::new(real))),
        ("files on a simulated disk", Arc::new(FilesJournal::new(simulated))),
        ("faulty, behaving", Arc::new(Faulty::new(memory.clone()))),
        ("rival, resting", Arc::new(Rival::new(Arc::new(MemoryJournal::new()), Box::new(|_| Vec::new())))),
    ];
    adapters.extend(scratch.postgres().await.map(|journal| ("postgres", journal)));
    adapters
}

#[tokio::test]
async fn what_was_appended_is_read_back_in_order_and_in_one_piece() {
    let scratch = Stand::new();
    for (name, journal) in each_adapter(&scratch).await {
        let (first, rest) = (events(1), events(3));
        let empty = journal.head().await.unwrap();
        assert_eq!(empty, Head::empty(), "{name}");
        let one = journal.append(empty, &first, now()).await.unwrap();
        let four = journal.append(one, &rest, now() + SignedDuration::from_secs(1)).await.unwrap();
        assert_eq!((one.size, four.size), (1, 4), "{name}");
        assert_eq!(journal.head().await.unwrap(), four, "{name}");
        let entries = journal.read(0).await.unwrap();
        let read: Vec<_> = entries.iter().map(|entry| entry.event.clone()).collect();
        assert_eq!(read, [first, rest.clone()].concat(), "{name}");
        assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [0, 1, 2, 3], "{name}");
        assert_eq!(entries.last().unwrap().leaf, four.last, "{name}");
        assert_eq!(journal.read(2).await.unwrap().len(), 2, "{name}");
        assert_eq!(journal.read_next(2).await.unwrap(), journal.read(2).await.unwrap(), "{name}");
        let at = journal.read_at(&[1, 3]).await.unwrap();
        assert_eq!(at, [entries[1].clone(), entries[3].clone()], "{name}");
        assert!(journal.read_at(&[]).await.unwrap().is_empty() && journal.read_at(&[9]).await.unwrap().is_empty());
        assert!(journal.read(4).await.unwrap().is_empty() && journal.read(99).await.unwrap().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn an_append_after_any_other_head_writes_nothing() {
    let scratch = Stand::new();
    for (name, journal) in each_adapter(&scratch).await {
        let empty = journal.head().await.unwrap();
        let head = journal.append(empty, &events(2), now()).await.unwrap();
        let other = Head { last: [7; 32], ..head };
        let longer = Head { size: 3, ..head };
        for stale in [empty, other, longer] {
            let refused = journal.append(stale, &events(1), now()).await;
            assert_eq!(refused, Err(AppendError::Conflict(head)), "{name}");
        }
        assert_eq!(journal.read(0).await.unwrap().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_entry_is_never_before_the_one_before_it() {
    let scratch = Stand::new();
    for (name, journal) in each_adapter(&scratch).await {
        let head = journal.append(Head::empty(), &events(1), now()).await.unwrap();
        journal.append(head, &events(1), now() - SignedDuration::from_hours(1)).await.unwrap();
        let times: Vec<_> = journal.read(0).await.unwrap().iter().map(|entry| entry.at).collect();
        assert_eq!(times, [now(), now()], "{name}");
    }
}

#[tokio::test]
async fn of_two_who_append_after_one_head_exactly_one_does() {
    let scratch = Stand::new();
    for (name, journal) in each_adapter(&scratch).await {
        let (one, other) = (events(2), events(1));
        let (a, b) =
            tokio::join!(journal.append(Head::empty(), &one, now()), journal.append(Head::empty(), &other, now()));
        assert_eq!(a.is_ok(), b.is_err(), "{name}: {a:?} {b:?}");
        let expected = if a.is_ok() { 2 } else { 1 };
        assert_eq!(journal.read(0).await.unwrap().len(), expected, "{name}");
    }
}

#[tokio::test]
async fn who_waits_for_more_is_woken_by_more_and_by_nothing_else() {
    let scratch = Stand::new();
    for (name, journal) in each_adapter(&scratch).await {
        let head = journal.append(Head::empty(), &events(1), now()).await.unwrap();
        journal.changed(0).await;
        let waiting = tokio::spawn({
            let journal = journal.clone();
            async move { journal.changed(1).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!waiting.is_finished(), "{name}");
        journal.append(head, &events(1), now()).await.unwrap();
        waiting.await.unwrap();
    }
}

#[tokio::test]
async fn heads_of_equal_entries_are_equal_whatever_keeps_them() {
    let scratch = Stand::new();
    let journals = each_adapter(&scratch).await;
    let events = events(3);
    let mut roots = Vec::new();
    for (name, journal) in &journals {
        if name.starts_with("files") || *name == "postgres" {
            roots.push(journal.append(Head::empty(), &events, now()).await.unwrap().root);
        }
    }
    assert!(roots.iter().all(|root| *root == roots[0]) && roots.len() >= 2);
}

#[tokio::test]
async fn entries_before_an_unknown_one_are_read_and_none_after_it() {
    let journal = MemoryJournal::new();
    let head = journal.append(Head::empty(), &events(2), now()).await.unwrap();
    assert_eq!(head.size, 2);
    journal.append_bytes(vec![br#"{"v":1,"id":"HP9999","event":"teleported"}"#.to_vec()], now());
    journal.append(journal.head().await.unwrap(), &events(1), now()).await.unwrap();
    assert_eq!(journal.read(0).await.unwrap().len(), 2);
    assert!(matches!(journal.read(2).await, Err(ReadError::Unknown { index: 2, .. })));
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let scratch = Stand::new();
    let unavailable = |result: Result<Head, AppendError>| matches!(result, Err(AppendError::Unavailable(_)));
    for (name, adapter) in each_adapter(&scratch).await {
        let journal = Faulty::new(adapter);
        journal.set(Trouble::FailsBefore);
        assert!(unavailable(journal.append(Head::empty(), &events(1), now()).await), "{name}");
        assert_eq!(journal.read(0).await.unwrap().len(), 0, "{name}");
        journal.set_for(Trouble::FailsAfter, 1);
        assert!(unavailable(journal.append(Head::empty(), &events(1), now()).await), "{name}");
        assert_eq!(journal.read(0).await.unwrap().len(), 1, "{name}");
        journal.append(journal.head().await.unwrap(), &events(1), now()).await.unwrap();
        journal.set(Trouble::Gone);
        assert!(journal.read(0).await.is_err() && journal.head().await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn whoever_comes_second_is_told_the_head_and_writes_after_it_or_not_at_all() {
    let scratch = Stand::new();
    for (name, adapter) in each_adapter(&scratch).await {
        let rival = Rival::new(adapter, Box::new(|_| events(1)));
        let mut head = Head::empty();
        for round in 1..4 {
            let refused = rival.append(head, &events(2), now()).await;
            let Err(AppendError::Conflict(theirs)) = refused else { panic!("{name}: {refused:?}") };
            assert_eq!((theirs.size, rival.head().await.unwrap()), (round, theirs), "{name}");
            head = theirs;
        }
        rival.set(Box::new(|_| Vec::new()));
        assert_eq!(rival.append(head, &events(2), now()).await.unwrap().size, 5, "{name}");
    }
}

#[tokio::test]
async fn a_journal_on_files_opens_with_all_it_answered_for() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("journal");
    let (head, written) = {
        let journal = FilesJournal::new(open_log(Arc::new(RealDisk), &dir).0);
        let written = events(300);
        let mut head = Head::empty();
        for events in written.chunks(7) {
            head = journal.append(head, events, now()).await.unwrap();
        }
        (head, written)
    };
    let journal = FilesJournal::new(open_log(Arc::new(RealDisk), &dir).0);
    assert_eq!(journal.head().await.unwrap(), head);
    let read: Vec<_> = journal.read(0).await.unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(read, written);
}

#[tokio::test]
async fn a_torn_tail_costs_nothing_that_was_answered_for() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let journal = FilesJournal::new(open_log(Arc::new(disk.clone()), Path::new("/journal")).0);
        let mut head = Head::empty();
        let mut written = Vec::new();
        for count in 1..6 {
            let events = events(count);
            head = journal.append(head, &events, now()).await.unwrap();
            written.extend(events);
        }
        // The power goes while this one is on its way: it is there whole, or not at all.
        let (last, cut) = (events(4), disk.clone());
        let (_, after) = tokio::join!(journal.append(head, &last, now()), async { cut.power_cut() });
        let journal = FilesJournal::new(open_log(Arc::new(after), Path::new("/journal")).0);
        let read: Vec<_> = journal.read(0).await.unwrap().into_iter().map(|entry| entry.event).collect();
        assert_eq!(read[..written.len()], written, "seed {seed}");
        assert!([0, last.len()].contains(&(read.len() - written.len())), "seed {seed}");
        let head = journal.head().await.unwrap();
        journal.append(head, &events(1), now()).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_program_on_the_same_journal_is_refused() {
    let scratch = Scratch::new();
    let (_held, _) = open_log(Arc::new(RealDisk), scratch.path());
    let options = LogOptions::new(Purpose::Journal, "mill-3/journal", node());
    let second =
        Log::open(Arc::new(RealDisk), Arc::new(RealMachine), scratch.path(), options, Arc::new(SimSigner::new(1)));
    assert!(second.is_err());
}
