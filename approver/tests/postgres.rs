//! What the journal in PostgreSQL owes beyond the suite of all journals: what becomes of an append whose answer is lost,
//! of a server that stands still, takes no writes or has lost entries, and of two nodes that append at once.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use approver::journal::postgres::{CopyFault, PostgresJournal};
use approver::journal::{AppendError, Head, Journal};
use approver::mint;
use approver::postgres::{Database, DatabaseAt, DatabaseFault, Standby};
use approver::testing::postgres::{PostgresServer, address, certificate, database, encrypted};
use approver::testing::{PLANT, Props, Scratch, Stage, node, refusal};
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::events::{CutBy, Ending, Event, Scope};
use policies::refusals::Refusal;
use policies::vocabulary::Vocabulary;
use recordings::disk::{RealDisk, RealMachine, is_locked};
use recordings::log::{Log, LogOptions, Purpose};
use recordings::sim::SimSigner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const ORIGIN: &str = "mill-3/journal";

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn events(count: usize) -> Vec<Event> {
    let ended = |_| Event::Ended { session: mint::session(now()), ending: Ending::Left, seal: None };
    (0..count).map(ended).collect()
}

fn open_log(dir: &Path) -> Arc<Log> {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        spares: 1,
        file_systems_allowed: ["overlayfs", "tmpfs", "btrfs", "zfs"].map(String::from).to_vec(),
        ..LogOptions::new(Purpose::Journal, ORIGIN, node())
    };
    let signer = Arc::new(SimSigner::new(1));
    Arc::new(Log::open(Arc::new(RealDisk), Arc::new(RealMachine), dir, options, signer).unwrap().0)
}

/// Whoever follows for a journal that was dropped lets go of its log a moment later.
async fn until_free(dir: &Path) {
    let began = Instant::now();
    while is_locked(&dir.join("LOCK")).unwrap() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not let go of");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A database with an empty journal, and folders for nodes.
struct Stand {
    folder: Scratch,
    server: Arc<PostgresServer>,
    name: String,
}

impl Stand {
    async fn new(server: Arc<PostgresServer>) -> Self {
        let (folder, name) = (Scratch::new(), server.empty());
        let stand = Self { folder, server, name };
        let database = database(&stand.address());
        database.set_up().await.unwrap();
        let log = open_log(&stand.folder.path().join("founder"));
        database.found(ORIGIN, &node(), &log, &Vec::new()).await.unwrap();
        database.close().await;
        stand
    }

    fn address(&self) -> String {
        self.server.address(&self.name)
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    async fn open(&self, node: &str, address: &str) -> Result<PostgresJournal, CopyFault> {
        self.open_in(node, database(address)).await
    }

    async fn open_in(&self, node: &str, database: Database) -> Result<PostgresJournal, CopyFault> {
        let log = open_log(&self.folder.path().join(node));
        PostgresJournal::open(database, log, ORIGIN, &node.parse().unwrap()).await
    }

    async fn node(&self, node: &str) -> PostgresJournal {
        self.open(node, &self.address()).await.unwrap()
    }
}

/// Between a node and the server; passes everything on until it is told otherwise.
struct Between {
    folder: PathBuf,
    does: Arc<AtomicU8>,
    /// Connections that were made before so many others carry nothing any more, and neither end is told.
    silent: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

const PASSES: u8 = 0;
/// The next append does not arrive.
const CUTS_BEFORE: u8 = 1;
/// The next append arrives, and its answer is not passed on.
const CUTS_AFTER: u8 = 2;
/// Nobody gets through.
const REFUSES: u8 = 3;

impl Between {
    fn new(stand: &Stand) -> Self {
        let folder = stand.folder.path().join("between");
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let (does, server) = (Arc::new(AtomicU8::new(PASSES)), stand.server.folder().join(".s.PGSQL.5432"));
        let (silent, made) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (told, silenced, counted) = (Arc::clone(&does), Arc::clone(&silent), Arc::clone(&made));
        let serving = tokio::spawn(async move {
            loop {
                let (node, _) = listener.accept().await.unwrap();
                let (number, silenced) = (counted.fetch_add(1, Ordering::SeqCst), Arc::clone(&silenced));
                let is_silent = move || number < silenced.load(Ordering::SeqCst);
                tokio::spawn(pass(node, server.clone(), Arc::clone(&told), is_silent));
            }
        });
        Self { folder, does, silent, made, serving }
    }

    fn address(&self, stand: &Stand) -> String {
        address(&self.folder, "holdpoint", &stand.name)
    }

    fn does(&self, what: u8) {
        self.does.store(what, Ordering::SeqCst);
    }

    /// Every connection that there is falls silent; those that are made from now on carry.
    fn falls_silent(&self) {
        self.silent.store(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An append is known by what it appends.
async fn pass(mut node: UnixStream, server: PathBuf, does: Arc<AtomicU8>, is_silent: impl Fn() -> bool) {
    let mut server = UnixStream::connect(server).await.unwrap();
    let (mut asked, mut told) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut is_append = false;
    loop {
        tokio::select! {
            read = node.read(&mut asked) => {
                let (Ok(count @ 1..), what) = (read, does.load(Ordering::SeqCst)) else { return };
                if is_silent() {
                    continue;
                }
                is_append = asked[..count].windows(8).any(|part| part == b"\"event\":");
                if what == REFUSES {
                    return;
                }
                if is_append && what == CUTS_BEFORE {
                    return does.store(PASSES, Ordering::SeqCst);
                }
                server.write_all(&asked[..count]).await.unwrap();
            }
            read = server.read(&mut told) => {
                let (Ok(count @ 1..), what) = (read, does.load(Ordering::SeqCst)) else { return };
                if is_silent() {
                    continue;
                }
                if is_append && what == CUTS_AFTER {
                    return does.store(PASSES, Ordering::SeqCst);
                }
                if node.write_all(&told[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_append_that_did_not_arrive_is_not_there_and_one_whose_answer_was_lost_is() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let between = Between::new(&stand);
    let journal = stand.open("one", &between.address(&stand)).await.unwrap();
    let mut head = journal.append(Head::empty(), &events(1), now()).await.unwrap();
    for (what, arrives) in [(CUTS_BEFORE, false), (CUTS_AFTER, true), (CUTS_BEFORE, false), (CUTS_AFTER, true)] {
        let fresh = events(2);
        between.does(what);
        let appended = journal.append(head, &fresh, now()).await;
        assert!(matches!(appended, Err(AppendError::Unavailable(_))), "{what}: {appended:?}");
        let read: Vec<_> = journal.read(head.size).await.unwrap().into_iter().map(|entry| entry.event).collect();
        assert_eq!(read, if arrives { fresh.clone() } else { Vec::new() }, "{what}");
        if arrives {
            let again = journal.append(head, &fresh, now()).await;
            assert_eq!(again, Err(AppendError::Conflict(journal.head().await.unwrap())), "it is not there twice");
        }
        head = journal.head().await.unwrap();
        head = journal.append(head, &events(1), now()).await.unwrap();
    }
    between.does(REFUSES);
    journal.append(head, &events(1), now()).await.unwrap_err();
    assert!(journal.read(0).await.is_err() && journal.head().await.is_err(), "a copy alone is not the journal");
    assert_eq!(journal.read_next(0).await.unwrap().len() as u64, head.size, "at leisure it may be read");
    between.does(PASSES);
    journal.append(head, &events(1), now()).await.unwrap();
}

#[tokio::test]
async fn two_nodes_that_append_at_once_have_one_chain_with_one_root() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let (one, two) = (stand.node("one").await, stand.node("two").await);
    let won = Mutex::new(Vec::new());
    let appends = async |journal: &PostgresJournal, clock: SignedDuration| {
        for count in 0..30 {
            let fresh = events(1 + count % 3);
            let mut head = journal.head().await.unwrap();
            loop {
                match journal.append(head, &fresh, now() + clock).await {
                    Ok(after) => break won.lock().unwrap().push((after.size, fresh)),
                    Err(AppendError::Conflict(theirs)) => head = theirs,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    };
    // Their clocks do not agree.
    tokio::join!(appends(&one, SignedDuration::ZERO), appends(&two, SignedDuration::from_secs(3)));
    let mut won = won.into_inner().unwrap();
    won.sort_by_key(|(size, _)| *size);
    let in_order: Vec<Event> = won.into_iter().flat_map(|(_, events)| events).collect();
    let (of_one, of_two) = (one.read(0).await.unwrap(), two.read(0).await.unwrap());
    assert_eq!(of_one, of_two);
    assert_eq!(of_one.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), in_order);
    assert!(of_one.is_sorted_by_key(|entry| entry.at));
    assert_eq!(one.head().await.unwrap(), two.head().await.unwrap());
    let of_third = stand.node("three").await;
    assert_eq!(
        (of_third.head().await.unwrap(), of_third.read_next(0).await.unwrap()),
        (one.head().await.unwrap(), of_one)
    );
}

#[tokio::test]
async fn what_another_node_appends_is_told_at_once() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let (one, two) = (stand.node("one").await, stand.node("two").await);
    let (mut head, mut slowest) = (Head::empty(), Duration::ZERO);
    for _ in 0..5 {
        // The first tells that the other listens by now.
        let began = Instant::now();
        head = one.append(head, &events(1), now()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), two.changed(head.size - 1)).await.unwrap();
        slowest = slowest.max(if head.size > 1 { began.elapsed() } else { Duration::ZERO });
    }
    println!("told within {slowest:?}");
    assert!(slowest < Duration::from_millis(900), "{slowest:?}: it was only looked for");
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_one_that_takes_no_writes_says_so() {
    let Some(server) = PostgresServer::start() else { return };
    let stand = Stand::new(Arc::new(server)).await;
    let journal = stand.node("one").await;
    let head = journal.append(Head::empty(), &events(1), now()).await.unwrap();
    let fresh = events(1);
    stand.server.pause();
    let began = Instant::now();
    let AppendError::Unavailable(said) = journal.append(head, &fresh, now()).await.unwrap_err() else {
        panic!("stalled")
    };
    assert!(
        began.elapsed() < Duration::from_secs(8) && said.contains("does not answer"),
        "{:?} {said}",
        began.elapsed()
    );
    stand.server.go_on();
    let head = journal.head().await.unwrap();
    let read = journal.read(1).await.unwrap();
    assert!(read.is_empty() || read[0].event == fresh[0], "whole or not at all");
    stand.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", stand.name));
    stand.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'holdpoint'");
    // Connections that broke are found out once each.
    let mut said = Vec::new();
    while said.len() < 5 {
        let AppendError::Unavailable(why) = journal.append(head, &events(1), now()).await.unwrap_err() else {
            panic!("it took it")
        };
        said.push(why);
    }
    assert!(said.last().unwrap().contains("read-only"), "{said:?}");
    stand.sql(&format!("ALTER DATABASE {} RESET default_transaction_read_only", stand.name));
    journal.append(head, &events(1), now()).await.unwrap();
}

#[tokio::test]
async fn an_append_that_waits_for_its_standby_is_not_taken_for_one_that_did_not_arrive() {
    let Some(server) = PostgresServer::start() else { return };
    let stand = Stand::new(Arc::new(server)).await;
    let journal = stand.node("one").await;
    let head = journal.append(Head::empty(), &events(1), now()).await.unwrap();
    let standbys = |names: &str| {
        stand.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        stand.sql("SELECT pg_reload_conf()");
    };
    standbys("nobody");
    let fresh = events(1);
    // The server reads its settings a moment later, and committed without waiting until then.
    let (mut head, mut unclear) = (head, None);
    while unclear.is_none() {
        match journal.append(head, &fresh, now()).await {
            Ok(after) => head = after,
            Err(AppendError::Unavailable(why)) => unclear = Some(why),
            Err(conflict) => panic!("{conflict:?}"),
        }
    }
    let read = journal.read(head.size).await;
    assert!(read.is_err(), "it is neither there nor not there: {read:?}");
    standbys("");
    let began = Instant::now();
    let read = loop {
        match journal.read(head.size).await {
            Ok(read) => break read,
            Err(why) => assert!(began.elapsed() < Duration::from_secs(20), "{why}"),
        }
    };
    assert_eq!(read.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), fresh);
    // Connections live long, and a standby may be taken away meanwhile.
    standbys("nobody");
    let at = || DatabaseAt {
        server: stand.address().parse().unwrap(),
        password_file: None,
        ca: None,
        standby: Standby::Synchronous,
    };
    let began = Instant::now();
    let demanding = loop {
        match stand.open_in("two", Database::new(at())).await {
            Ok(journal) => break journal,
            Err(why) => assert!(began.elapsed() < Duration::from_secs(20), "{why}"),
        }
        until_free(&stand.folder.path().join("two")).await;
    };
    let head = demanding.head().await.unwrap();
    standbys("");
    while !stand.sql("SHOW synchronous_standby_names").is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    let refused = demanding.append(head, &events(1), now()).await.unwrap_err();
    assert!(refused.to_string().contains("standby = \"none\""), "{refused}");
    assert_eq!(stand.sql("SELECT size FROM holdpoint.head"), head.size.to_string());
}

#[tokio::test]
async fn a_dead_host_does_not_take_the_time_of_the_next_and_one_name_runs_once() {
    let isolated = ["listen_addresses=", "default_transaction_isolation=serializable"];
    let Some(server) = PostgresServer::start_as(5432, |_| isolated.map(str::to_owned).to_vec()) else { return };
    let stand = Stand::new(Arc::new(server)).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = stand.server.folder().display().to_string().replace('/', "%2F");
    let silent_port = silent.local_addr().unwrap().port();
    let both = format!("postgres://holdpoint@127.0.0.1:{silent_port},{socket}:5432/{}", stand.name);
    let one = stand.open("one", &both).await.unwrap();
    let began = Instant::now();
    let two = stand.open("two", &both).await.unwrap();
    // Who lost the race is told so, and by no fault of the server's, whatever it isolates by itself.
    for _ in 0..10 {
        let head = one.head().await.unwrap();
        assert_eq!(two.head().await.unwrap(), head);
        let (fresh_a, fresh_b) = (events(1), events(1));
        let (a, b) = tokio::join!(one.append(head, &fresh_a, now()), two.append(head, &fresh_b, now()));
        assert!(
            matches!((&a, &b), (Ok(_), Err(AppendError::Conflict(_))) | (Err(AppendError::Conflict(_)), Ok(_))),
            "{a:?} {b:?}"
        );
    }
    println!("behind a dead host, {:?}", began.elapsed());
    let other = open_log(&stand.folder.path().join("other"));
    let twice = PostgresJournal::open(database(&both), other, ORIGIN, &"one".parse().unwrap()).await.err().unwrap();
    assert!(matches!(twice, CopyFault::Database(DatabaseFault::Twice(_))), "{twice}");
}

#[tokio::test]
async fn a_database_that_lost_entries_or_has_others_is_refused_by_the_first_of_them() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let journal = stand.node("one").await;
    let head = journal.append(Head::empty(), &events(3), now()).await.unwrap();
    stand.sql("CREATE TABLE kept AS SELECT * FROM holdpoint.head");
    let head = journal.append(head, &events(2), now()).await.unwrap();
    // What a standby has that was behind when it was promoted.
    stand.sql("DELETE FROM holdpoint.entries WHERE index >= 3");
    let set_back = "UPDATE holdpoint.head SET (size, last, at_nanoseconds, edge) = (SELECT size, last, at_nanoseconds, edge FROM kept)";
    stand.sql(set_back);
    let AppendError::Unavailable(said) = journal.append(head, &events(1), now()).await.unwrap_err() else {
        panic!("it took it")
    };
    assert!(
        said.contains("has 3 entries of the journal, and this node's copy 5") && said.contains("entry 3"),
        "{said}"
    );
    assert!(journal.read(0).await.is_err());
    drop(journal);
    until_free(&stand.folder.path().join("one")).await;
    let refused = stand.open("one", &stand.address()).await.err().unwrap();
    assert!(matches!(refused, CopyFault::Behind { has: 3, copy: 5, .. }), "{refused}");
    // A node that has less follows what is there, and is then where the journal went another way.
    let other = stand.node("two").await;
    let head = other.head().await.unwrap();
    other.append(head, &events(4), now()).await.unwrap();
    let refused = stand.open("one", &stand.address()).await.err().unwrap();
    assert!(matches!(refused, CopyFault::Parted { index: 3, .. }), "{refused}");
    // An entry that somebody changed is found by whoever copies it.
    stand.sql("UPDATE holdpoint.entries SET bytes = bytes || ' '::bytea WHERE index = 1");
    let refused = stand.open("three", &stand.address()).await.err().unwrap();
    assert!(matches!(refused, CopyFault::Parted { index: 1, .. }), "{refused}");
    let ours = node();
    let of_others = PostgresJournal::open(
        database(&stand.address()),
        open_log(&stand.folder.path().join("four")),
        "mill-4/journal",
        &ours,
    );
    assert!(matches!(of_others.await.err(), Some(CopyFault::Other { .. })));
}

#[tokio::test]
async fn the_gate_itself_may_neither_change_nor_delete_an_entry() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let journal = stand.node("one").await;
    journal.append(Head::empty(), &events(2), now()).await.unwrap();
    for sql in
        ["UPDATE holdpoint.entries SET bytes = 'x'", "DELETE FROM holdpoint.entries", "TRUNCATE holdpoint.entries"]
    {
        let said = stand.server.as_user(&stand.name, sql).unwrap_err();
        assert!(said.contains("permission denied for table entries"), "{sql}: {said}");
    }
    assert_eq!(journal.read(0).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_gate_needs_no_more_than_the_documented_grants() {
    let Some(server) = PostgresServer::shared() else { return };
    let name = server.empty();
    server.sql(&name, &approver::postgres::schema(0));
    let manual = include_str!("../../docs/administrator.md");
    let grants: Vec<&str> = manual.lines().map(str::trim).filter(|line| line.starts_with("GRANT ")).collect();
    assert!(grants.len() > 3, "{grants:?}");
    grants.iter().for_each(|grant| drop(server.sql(&name, grant)));
    let (folder, database) = (Scratch::new(), database(&server.address(&name)));
    database.set_up().await.unwrap();
    let log = open_log(folder.path());
    let directory = vec![(b"cursor/a".to_vec(), b"1".to_vec())];
    database.found(ORIGIN, &node(), &log, &directory).await.unwrap();
    let second = "gate-2".parse().unwrap();
    assert!(database.name_node(&second, "a").await.unwrap() && database.name_node(&second, "a").await.unwrap());
    assert!(!database.name_node(&second, "b").await.unwrap() && !database.name_node(&node(), "a").await.unwrap());
    let journal = PostgresJournal::open(database.clone(), log, ORIGIN, &node()).await.unwrap();
    journal.append(Head::empty(), &events(2), now()).await.unwrap();
    let directory: Arc<dyn approver::directory::Directory> =
        Arc::new(approver::directory::postgres::PostgresDirectory::new(database));
    assert_eq!(directory.cursor("a").await.unwrap(), 1);
    directory.set_cursor("a", 2).await.unwrap();
    directory.forget_credential(&"hmi".parse().unwrap()).await.unwrap();
    assert!(server.as_user(&name, "DELETE FROM holdpoint.entries").unwrap_err().contains("permission denied"));
}

#[tokio::test]
async fn tables_are_made_once_and_newer_ones_are_refused() {
    let Some(server) = PostgresServer::shared() else { return };
    let name = server.empty();
    let address = server.address(&name);
    let (one, two) = (database(&address), database(&address));
    let (a, b) = tokio::join!(one.set_up(), two.set_up());
    assert_eq!((a, b), (Ok(()), Ok(())));
    assert_eq!(server.sql(&name, "SELECT count(*) FROM holdpoint.version"), "1");
    // Tables of tomorrow say whether the program of today may use them.
    server.sql(&name, "UPDATE holdpoint.version SET version = 99");
    assert_eq!(one.set_up().await, Ok(()));
    server.sql(&name, "UPDATE holdpoint.version SET usable_from = 99");
    assert!(matches!(one.set_up().await, Err(DatabaseFault::Newer { found: 99, .. })));
}

#[tokio::test]
async fn tables_of_an_older_version_are_brought_to_this_one_by_whoever_owns_them() {
    let Some(server) = PostgresServer::shared() else { return };
    let (name, theirs) = (server.empty(), server.empty());
    let first = include_str!("../src/postgres/schema-1.sql");
    server.as_user(&name, first).unwrap();
    server.as_user(&name, "INSERT INTO holdpoint.nodes (node, claim) VALUES ('gate-1', 'a')").unwrap();
    let database = database(&server.address(&name));
    database.set_up().await.unwrap();
    let kept =
        server.sql(&name, "SELECT version, usable_from, node, claim, said FROM holdpoint.version, holdpoint.nodes");
    assert_eq!(kept, "2|2|gate-1|a|0");
    database.set_up().await.unwrap();

    server.sql(&theirs, first);
    server.sql(&theirs, "GRANT USAGE ON SCHEMA holdpoint TO holdpoint; GRANT SELECT ON holdpoint.version TO holdpoint");
    let owned = approver::testing::postgres::database(&server.address(&theirs));
    let said = owned.set_up().await.unwrap_err().to_string();
    assert!(said.contains("holdpoint migrate --schema --from 1`"), "{said}");
    server.sql(&theirs, &approver::postgres::schema(1));
    owned.set_up().await.unwrap();
}

#[tokio::test]
async fn each_node_hears_the_others_even_while_no_decision_can_be_made() {
    let Some(server) = PostgresServer::start() else { return };
    let stand = Stand::new(Arc::new(server)).await;
    let founder = stand.open(node().as_str(), &stand.address()).await.unwrap();
    let other = stand.open_in("two", database(&stand.address())).await.unwrap();
    assert!(!database(&stand.address()).name_node(&"two".parse().unwrap(), "b").await.unwrap(), "it is given");
    let said = async |journal: &PostgresJournal| {
        let mut said: Vec<_> =
            journal.speak().await.unwrap().into_iter().map(|word| (word.node.to_string(), word.said)).collect();
        said.sort();
        said
    };
    said(&other).await;
    stand.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    stand.sql("SELECT pg_reload_conf()");
    said(&other).await;
    assert_eq!(said(&founder).await, [(node().to_string(), 1), ("two".to_owned(), 2)]);
}

#[tokio::test]
async fn a_node_whose_connections_fall_silent_speaks_and_decides_over_others() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let between = Between::new(&stand);
    let journal = stand.open("one", &between.address(&stand)).await.unwrap();
    journal.speak().await.unwrap();
    between.falls_silent();
    // Neither end closes them: only that nothing is answered tells.
    assert!(journal.speak().await.is_err());
    let began = Instant::now();
    let speaks = async || {
        journal.speak().await?;
        journal.head().await
    };
    let head = loop {
        let silent = match speaks().await {
            Ok(head) => break head,
            Err(silent) => silent,
        };
        assert!(began.elapsed() < Duration::from_secs(20), "{silent}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    println!("it speaks again after {:?}", began.elapsed());
    journal.append(head, &events(1), now()).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_failover_to_the_standby_and_the_nodes_go_on() {
    let Some(first) = PostgresServer::start() else { return };
    let stand = Stand::new(Arc::new(first)).await;
    let standby = stand.server.standby();
    let place = |folder: &Path| folder.display().to_string().replace('/', "%2F");
    let both = format!(
        "postgres://holdpoint@{},{}/{}?target_session_attrs=read-write",
        place(stand.server.folder()),
        place(standby.folder()),
        stand.name
    );
    let at =
        || DatabaseAt { server: both.parse().unwrap(), password_file: None, ca: None, standby: Standby::Synchronous };
    let (one, two) = (
        stand.open_in("one", Database::new(at())).await.unwrap(),
        stand.open_in("two", Database::new(at())).await.unwrap(),
    );
    let (killer, server) = (Arc::new(tokio::sync::Notify::new()), Arc::clone(&stand.server));
    let kill = async {
        killer.notified().await;
        server.kill();
    };
    let appends = async {
        let (mut head, mut count) = (one.head().await.unwrap(), 0);
        let lost = loop {
            match one.append(head, &events(1 + count % 3), now()).await {
                Ok(after) => head = after,
                Err(AppendError::Unavailable(why)) => break why,
                Err(conflict) => panic!("{conflict:?}"),
            }
            count += 1;
            if count == 20 {
                killer.notify_one();
            }
        };
        println!("{count} appends, then: {lost}");
        head
    };
    let (acknowledged, ()) = tokio::join!(appends, kill);
    assert!(two.read(0).await.is_err(), "a standby decides nothing");
    standby.promote();
    standby.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    standby.sql("postgres", "SELECT pg_reload_conf()");
    let began = Instant::now();
    let read = loop {
        match two.read(0).await {
            Ok(read) => break read,
            Err(why) => assert!(began.elapsed() < Duration::from_secs(20), "{why}"),
        }
    };
    println!("{} entries after {:?}", read.len(), began.elapsed());
    assert!(read.len() as u64 >= acknowledged.size);
    // It has no standby itself yet, and nothing is decided without one.
    let head = two.head().await.unwrap();
    assert!(matches!(two.append(head, &events(1), now()).await, Err(AppendError::Unavailable(_))));
    let third = standby.standby();
    let began = Instant::now();
    loop {
        let head = two.head().await;
        match head {
            Ok(head) if two.append(head, &events(1), now()).await.is_ok() => break,
            _ => assert!(began.elapsed() < Duration::from_secs(20)),
        }
    }
    // Whose append was not answered asks by a commit, which waits for the new standby.
    let all = one.read(0).await.unwrap();
    assert_eq!(all, two.read(0).await.unwrap());
    assert!(all.starts_with(&read));
    drop(third);
}

#[tokio::test]
async fn nodes_of_two_versions_write_what_both_read_until_the_older_is_upgraded_or_gone() {
    let Some(server) = PostgresServer::shared() else { return };
    let stand = Stand::new(server).await;
    let journal = Arc::new(stand.node(node().as_str()).await);
    let stage = Stage::on(Props { journal, ..Props::new() }, PLANT).await;
    stage.desk.start_node("2.0").await.unwrap();
    let older = stand.node("gate-2").await;
    let says = async |event: Event| {
        let head = older.head().await.unwrap();
        let head = older.append(head, &[event], stage.desk.clock().wall()).await.unwrap();
        stage.desk.changed(head.size - 1).await;
    };
    let starts = |name: &str, vocabulary| {
        let (node, version) = (name.parse().unwrap(), "1.0".to_owned());
        Event::NodeStarted { node, version, vocabulary }
    };
    // As a program wrote it that knew of no vocabularies.
    says(starts("gate-2", Vocabulary::FIRST)).await;
    says(starts("gate-3", Vocabulary::FIRST)).await;
    says(Event::NodeStopped { node: "gate-3".parse().unwrap() }).await;
    assert!(
        !stand
            .sql("SELECT encode(bytes, 'escape') FROM holdpoint.entries ORDER BY index DESC LIMIT 2")
            .contains("vocabulary")
    );

    let forget = |names: &[&str]| {
        stage.desk.forget_nodes(names.iter().map(|name| name.parse().unwrap()).collect(), stage.admin.person)
    };
    let refused = refusal(forget(&["gate-3"]).await);
    assert_eq!(refused, Refusal::OlderNode("gate-2".parse().unwrap()));
    assert!(refused.to_string().contains("holdpoint nodes forget gate-2"), "{refused}");
    // What both read goes on at both.
    stage.grant("plc-7", &[Action::Shell]).await;
    let lease = stage.admit("plc-7").await.unwrap();
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    stage.desk.end(lease, Ending::Left, None).await;
    let read = older.read(0).await.unwrap();
    assert!(read.iter().all(|entry| entry.event.vocabulary() == Vocabulary::FIRST));
    assert!(matches!(read.last().unwrap().event, Event::Ended { .. }));

    // Upgraded, it reads the rest.
    says(starts("gate-2", Vocabulary::THIS)).await;
    forget(&["gate-3"]).await.unwrap();
    assert_eq!(older.read(0).await.unwrap().last().unwrap().event.id(), "HP1608");
    // And an older one that begins meanwhile is in the way of what comes after, not of what was.
    says(starts("gate-4", Vocabulary::FIRST)).await;
    says(Event::NodeStopped { node: "gate-2".parse().unwrap() }).await;
    assert_eq!(refusal(forget(&["gate-2"]).await), Refusal::OlderNode("gate-4".parse().unwrap()));
}

#[tokio::test]
async fn a_synchronous_standby_is_demanded_unless_it_was_said_that_there_is_none() {
    let Some(server) = PostgresServer::shared() else { return };
    let address = server.address(&server.empty());
    let at = |standby| DatabaseAt { server: address.parse().unwrap(), password_file: None, ca: None, standby };
    let refused = Database::new(at(Standby::Synchronous)).set_up().await.unwrap_err();
    assert!(refused.to_string().contains("standby = \"none\""), "{refused}");
    Database::new(at(Standby::None)).set_up().await.unwrap();
}

#[tokio::test]
async fn towards_a_server_elsewhere_nothing_goes_in_the_clear_or_to_whom_no_ca_vouches_for() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let others = Scratch::new();
    let (stranger, _) = certificate(others.path(), "DNS:localhost");
    let server = PostgresServer::start_as(port, |folder| {
        let mut settings = encrypted(folder, "DNS:localhost");
        settings.push("listen_addresses=127.0.0.1".to_owned());
        settings
    });
    let Some(server) = server else { return };
    let name = server.empty();
    let reach = |ca: &Path| {
        let server = format!("postgres://holdpoint@localhost:{port}/{name}").parse().unwrap();
        Database::new(DatabaseAt { server, password_file: None, ca: Some(ca.to_owned()), standby: Standby::None })
    };
    let refused = reach(&stranger).set_up().await.unwrap_err();
    assert!(matches!(refused, DatabaseFault::Unreachable { .. }), "{refused}");
    let database = reach(&server.folder().join("server.pem"));
    database.set_up().await.unwrap();
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'holdpoint'";
    assert_eq!(server.sql(&name, encrypted), "t");
    // The CA would be right, and the server would rather have it in the clear.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let clear = PostgresServer::start_as(port, |_| vec!["listen_addresses=127.0.0.1".to_owned()]).unwrap();
    let at = format!("postgres://holdpoint@localhost:{port}/{}", clear.empty()).parse().unwrap();
    let ca = Some(server.folder().join("server.pem"));
    let refused = Database::new(DatabaseAt { server: at, password_file: None, ca, standby: Standby::None });
    let refused = refused.set_up().await.unwrap_err();
    assert!(refused.to_string().contains("TLS"), "{refused}");
}
