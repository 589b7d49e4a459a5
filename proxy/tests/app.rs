//! The program as `main` puts it together: founded in a folder, started on ports of the system's choice, stopped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use approver::clock::Clock;
use certs::keys::{KeyStore, Seal};
use policies::decide::Command;
use policies::events::Event;
use proxy::app::{App, Reason, StartFault};
use proxy::config::{Config, Notify, WebhookAt};
use proxy::founding::{Plan, found};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

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
async fn a_changed_host_key_is_told_by_the_webhook_and_by_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let (hook, told) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), folder.path().join("told"));
    let mut config = founded(&folder.path().join("gate")).await;
    let url = format!("http://{}/alarms", hook.local_addr().unwrap()).parse().unwrap();
    // Under its last name the file is whole.
    let script = format!("cat > {0}.new && mv {0}.new {0}", told.display());
    config.notify = Notify {
        webhook: Some(WebhookAt { url, ca: None, credential: None }),
        command: ["/bin/sh", "-c", &script].map(String::from).into(),
        mail: None,
    };
    let app = start(&config).await.unwrap();
    let (target, service) = ("hmi-2".parse().unwrap(), "ssh".parse().unwrap());
    let report = Command::ReportHostKey { target, service, expected: "SHA256:a".into(), got: "SHA256:b".into() };
    app.desk().act(report).await.unwrap();
    let within = Duration::from_secs(20);
    let posted = tokio::time::timeout(within, posted(&hook)).await.unwrap();
    assert!(posted.starts_with("POST /alarms HTTP/1.1\r\n"), "{posted}");
    assert!(posted.contains(r#""kind":"host-key-changed""#), "{posted}");
    let read = async {
        while !told.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(within, read).await.unwrap();
    let told = std::fs::read_to_string(&told).unwrap();
    assert!(posted.ends_with(told.trim_end()), "both are told the same: {told}");
    app.shutdown(Duration::from_secs(10)).await;
}

/// One request, up to the end of its JSON.
async fn posted(hook: &TcpListener) -> String {
    let (mut stream, _) = hook.accept().await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_to_tell_that_cannot_work_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = founded(&folder.path().join("gate")).await;
    let ca = Some(folder.path().join("nothing.pem"));
    config.notify.webhook = Some(WebhookAt { url: "https://alarms.example/".parse().unwrap(), ca, credential: None });
    let reasons = reasons(start(&config).await);
    assert!(matches!(reasons.as_slice(), [Reason::Telling(_)]), "{reasons:?}");
    assert!(reasons[0].to_string().contains("nothing.pem"), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_program_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = founded(&folder.path().join("gate")).await;
    let app = start(&config).await.unwrap();
    let reasons = reasons(start(&config).await);
    assert!(matches!(reasons.as_slice(), [Reason::Store(_)]), "in one line: {reasons:?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_plant_face_answers_while_sessions_keep_everything_else_busy() {
    let folder = tempfile::tempdir().unwrap();
    let config = founded(&folder.path().join("gate")).await;
    let app = start(&config).await.unwrap();
    let (address, busy) = (app.addresses().plant[0], Arc::new(AtomicBool::new(true)));
    let still = Arc::clone(&busy);
    let spinning = tokio::spawn(async move { while still.load(Ordering::SeqCst) {} });
    let ca = KeyStore::open(&config.keys, &Seal::File).unwrap().tls_ca().authorities_pem();
    // Neither is the one who asks of the runtime that is kept busy.
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), health(address, &ca)).await })
    });
    let answer = asking.join();
    busy.store(false, Ordering::SeqCst);
    spinning.await.unwrap();
    assert_eq!(answer.unwrap().unwrap(), "HTTP/1.1 200");
    app.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_healthy_where_the_disk_has_less_room_than_is_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = founded(&folder.path().join("gate")).await;
    let ca = KeyStore::open(&config.keys, &Seal::File).unwrap().tls_ca().authorities_pem();
    for (reserve, wanted) in [(config.store.reserve_bytes, "HTTP/1.1 200"), (1 << 60, "HTTP/1.1 503")] {
        config.store.reserve_bytes = reserve;
        let app = start(&config).await.unwrap();
        for address in [app.addresses().plant[0], app.addresses().pages[0]] {
            assert_eq!(health(address, &ca).await, wanted);
        }
        app.shutdown(Duration::from_secs(10)).await;
    }
}

async fn health(address: SocketAddr, ca: &str) -> String {
    let tls = TlsConnector::from(certs::tls::client_config(ca).unwrap());
    let socket = TcpStream::connect(address).await.unwrap();
    let mut stream = tls.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = [0; 12];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}
