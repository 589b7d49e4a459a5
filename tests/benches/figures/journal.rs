//! What a decision waits for: an append to the journal on files and in PostgreSQL, beside the least that keeps as many bytes as
//! durably on the same disk and the same server.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use approver::journal::files::FilesJournal;
use approver::journal::postgres::PostgresJournal;
use approver::journal::{AppendError, Journal};
use approver::mint;
use approver::testing::postgres::{PostgresServer, database};
use jiff::Timestamp;
use policies::digest::Digest;
use policies::events::{Ending, Event};
use recordings::disk::{RealDisk, RealMachine};
use recordings::log::{Log, LogOptions, Purpose};
use recordings::sim::SimSigner;

use crate::percentiles;

const ORIGIN: &str = "mill-3/journal";

/// For so long each.
pub(crate) fn measure(span: Duration) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("\njournal: one append after the other, {} s each", span.as_secs());
    runtime.block_on(files(span));
    let Some(server) = PostgresServer::start() else { return };
    runtime.block_on(in_postgres(&server, "PostgreSQL", span));
    let standby = server.standby();
    runtime.block_on(in_postgres(&server, "PostgreSQL, waiting for a standby", span));
    drop(standby);
}

fn decision() -> Event {
    let seal = Some(Digest::of_bytes(b"a recording"));
    Event::Ended { session: mint::session(Timestamp::now()), ending: Ending::Left, seal }
}

fn log(dir: &Path) -> Arc<Log> {
    let options = LogOptions::new(Purpose::Journal, ORIGIN, "gate-1".parse().expect("a name"));
    let signer = Arc::new(SimSigner::new(1));
    Arc::new(Log::open(Arc::new(RealDisk), Arc::new(RealMachine), dir, options, signer).expect("a folder").0)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn tell(what: &str, took: &[f64], span: Duration) {
    let (p50, p99) = percentiles(took);
    let each_second = took.len() as f64 / span.as_secs_f64();
    println!("  {what:<56} {each_second:>7.0} /s   p50 {p50:>6.2} ms   p99 {p99:>6.2} ms");
}

/// Appends one after the other, each after the newest head, until the time is up; how many milliseconds each took.
async fn appends(journal: &dyn Journal, span: Duration) -> Vec<f64> {
    let mut head = journal.head().await.expect("it answers");
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < span {
        let (event, at) = (decision(), Instant::now());
        loop {
            match journal.append(head, std::slice::from_ref(&event), Timestamp::now()).await {
                Ok(after) => break head = after,
                Err(AppendError::Conflict(theirs)) => head = theirs,
                Err(AppendError::Unavailable(why)) => panic!("{why}"),
            }
        }
        took.push(at.elapsed().as_secs_f64() * 1_000.0);
    }
    took
}

async fn files(span: Duration) {
    let folder = folder();
    let file = std::fs::File::create(folder.path().join("plain")).expect("a file");
    let (bytes, began, mut plain) = (decision().encode(), Instant::now(), Vec::new());
    file.write_all_at(&vec![0; 64 << 20], 0).and_then(|()| file.sync_all()).expect("room");
    while began.elapsed() < span {
        let at = Instant::now();
        let place = (plain.len() * 512 % (64 << 20)) as u64;
        file.write_all_at(&bytes, place).and_then(|()| file.sync_data()).expect("room");
        plain.push(at.elapsed().as_secs_f64() * 1_000.0);
    }
    tell("a plain file: write, then sync", &plain, span);
    let journal = FilesJournal::new(log(&folder.path().join("journal")));
    tell("the journal on files", &appends(&journal, span).await, span);
}

async fn in_postgres(server: &PostgresServer, what: &str, span: Duration) {
    let (folder, name) = (folder(), server.empty());
    plain_inserts(server, &name, what, span);
    let database = database(&server.address(&name));
    database.set_up().await.expect("an empty database");
    let founder = "gate-1".parse().expect("a name");
    database.found(ORIGIN, &founder, &log(&folder.path().join("founder")), &Vec::new()).await.expect("empty");
    let open = async |node: &str| {
        let (log, node) = (log(&folder.path().join(node)), node.parse().expect("a name"));
        PostgresJournal::open(database.clone(), log, ORIGIN, &node).await.expect("it answers")
    };
    let (one, two) = (open("gate-1").await, open("gate-2").await);
    tell(&format!("{what}: one gate"), &appends(&one, span).await, span);
    let (mut both, theirs) = tokio::join!(appends(&one, span), appends(&two, span));
    both.extend(theirs);
    tell(&format!("{what}: two gates at once"), &both, span);
    drop((one, two));
    database.close().await;
}

/// One connection of `pgbench` that puts as many bytes, one transaction after the other.
fn plain_inserts(server: &PostgresServer, name: &str, what: &str, span: Duration) {
    server.as_user(name, "CREATE TABLE plain (bytes text)").expect("its own database");
    let script = tempfile::NamedTempFile::new().expect("a file");
    let bytes = String::from_utf8(decision().encode()).expect("JSON");
    std::fs::write(script.path(), format!("INSERT INTO plain VALUES ('{bytes}');\n")).expect("a file");
    let mut bench = Command::new("pgbench");
    bench.args(["-n", "-M", "prepared", "-U", "holdpoint", "-l", "--log-prefix=latency", "-T"]);
    bench.arg(span.as_secs().to_string()).arg("-h").arg(server.folder()).arg("-f").arg(script.path()).arg(name);
    let logs = folder();
    let ended = bench.current_dir(logs.path()).output().expect("it is installed with the server");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let log = std::fs::read_dir(logs.path()).expect("a folder").flatten().next().expect("a log").path();
    let lines = std::fs::read_to_string(log).expect("a log");
    // Its third field is the transaction's time in microseconds.
    let took = lines.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
    let took: Vec<f64> = took.map(|microseconds| microseconds / 1_000.0).collect();
    tell(&format!("{what}: pgbench, one insert"), &took, span);
}
