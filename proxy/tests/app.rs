//! The program as `main` puts it together: founded in a folder, started on ports of the system's choice, stopped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::Path;
use std::time::Duration;

use approver::clock::Clock;
use certs::keys::Seal;
use policies::events::Event;
use proxy::app::{App, Reason, StartFault};
use proxy::config::Config;
use proxy::founding::{Plan, found};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

const PLANT: &str = r#"
[plant]
name = "Mill 3"
timezone = "Europe/Berlin"
banner = "Recorded."
changes = [{ from = "shift-lead", count = 1 }]
"#;

const CONFIG: &str = r#"
[faces.vendor]
origin = "https://localhost:8443"
ssh = ["127.0.0.1:0"]
pages = ["127.0.0.1:0"]
[faces.plant]
origin = "https://localhost:9443"
listen = ["127.0.0.1:0", "127.0.0.1:0"]
[store]
reserve = "64 MiB"
recipients = [{recipients}]
[keys]
seal = "file"
"#;

async fn founded(folder: &Path) -> Config {
    let plan = Plan {
        folder: folder.to_owned(),
        deployment: "mill-3".parse().unwrap(),
        plant: PLANT.to_owned(),
        config: CONFIG.to_owned(),
        administrators: vec!["ada".into()],
        operators: vec!["lee".into()],
        recipients: Vec::new(),
    };
    found(plan, &Seal::File, Clock::system()).await.unwrap();
    Config::load(&folder.join("holdpoint.toml")).unwrap()
}

async fn start(config: &Config) -> Result<App, StartFault> {
    App::start(config.clone(), &Seal::File, Clock::system()).await
}

fn reasons(started: Result<App, StartFault>) -> Vec<Reason> {
    started.map(|_| ()).unwrap_err().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_serves_both_faces_stops_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = founded(&folder.path().join("gate")).await;
    for _ in 0..2 {
        let app = start(&config).await.unwrap();
        let addresses = app.addresses().clone();
        assert_eq!((addresses.ssh.len(), addresses.pages.len(), addresses.plant.len()), (1, 1, 2));
        let mut ssh = TcpStream::connect(addresses.ssh[0]).await.unwrap();
        let mut greeting = [0; 8];
        ssh.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"SSH-2.0-");
        for address in addresses.pages.iter().chain(&addresses.plant) {
            TcpStream::connect(address).await.unwrap();
        }
        let desk = app.desk().clone();
        tokio::time::timeout(Duration::from_secs(20), app.shutdown(Duration::from_secs(10))).await.unwrap();
        assert!(TcpStream::connect(addresses.ssh[0]).await.is_err(), "nobody listens any more");
        let entries = desk.entries(0).await.unwrap();
        assert!(matches!(entries.last().unwrap().event, Event::NodeStopped { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_program_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = founded(&folder.path().join("gate")).await;
    let app = start(&config).await.unwrap();
    let reasons = reasons(start(&config).await);
    assert!(reasons.len() >= 2 && reasons.iter().all(|reason| matches!(reason, Reason::Store(_))), "{reasons:?}");
    app.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_that_is_taken_is_named_and_nothing_listens() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = founded(&folder.path().join("gate")).await;
    let (one, two) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    config.vendor.ssh = vec![one.local_addr().unwrap()];
    config.plant.listen = vec![two.local_addr().unwrap()];
    let fault = start(&config).await.map(|_| ()).unwrap_err();
    assert_eq!(fault.0.len(), 2, "{fault}");
    assert!(fault.0.iter().all(|reason| matches!(reason, Reason::Listen { .. })), "{fault}");
    assert!(fault.to_string().contains(&format!("cannot listen on {}", one.local_addr().unwrap())), "{fault}");
    drop((one, two));
    start(&config).await.unwrap().shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_without_keys_and_without_an_installation_says_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = founded(&folder.path().join("gate")).await;
    config.keys = folder.path().join("no-keys");
    config.store.data = folder.path().join("no-data");
    let reasons = reasons(start(&config).await);
    assert!(matches!(reasons.as_slice(), [Reason::Keys(_), Reason::Store(_)]), "{reasons:?}");
    assert!(reasons[1].to_string().contains("holdpoint init"));
    assert!(!config.store.data.exists(), "looking makes nothing");
}
