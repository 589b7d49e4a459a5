//! Traces as a collector gets them, under TLS and with a token: what took how long, and nothing that must stay in the plant.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use policies::time::Seconds;
use serde_json::Value;
use tests::certificate::self_signed;
use tests::peers::{free_port, machine, peer};
use tests::plant::EVERYTHING;
use tests::{Options, Plant, Running, eventually, json, log_in, run};

fn collector(folder: &Path, token: &str, port: Option<u16>) -> Option<(Running, u16)> {
    let mut collector = peer("collector.py")?;
    collector.arg(folder.join("cert.pem")).arg(folder.join("key.pem")).arg(token);
    Some(machine({
        collector.args(port.map(|port| port.to_string()));
        collector
    }))
}

/// Starts this plant, whose gate brings traces to this port of this machine.
fn serve(mut plant: Plant, folder: &Path, port: u16) -> Plant {
    fs::write(folder.join("headers"), "Authorization: Bearer sesame\n").expect("a file");
    plant.edit_config(|text| {
        let folder = folder.display();
        format!(
            "{text}\n[traces]\nendpoint = \"https://localhost:{port}\"\nca = \"{folder}/cert.pem\"\n\
             headers_file = \"{folder}/headers\"\n"
        )
    });
    plant.serve();
    log_in(&plant, "lee");
    plant
}

/// A line that is half written yet is none.
fn requests(collector: &Running) -> Vec<Value> {
    collector.said().lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
}

fn spans(collector: &Running) -> Vec<Value> {
    requests(collector).iter().flat_map(|request| request["spans"].as_array().expect("a list").clone()).collect()
}

/// The one of this name that is a part of that one.
#[track_caller]
fn part<'a>(spans: &'a [Value], of: &Value, name: &str) -> &'a Value {
    let mut parts = spans.iter().filter(|span| span["parent"] == of["span"] && span["name"] == name);
    let part = parts.next().unwrap_or_else(|| panic!("no {name}: {spans:#?}"));
    assert_eq!(part["trace"], of["trace"]);
    part
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_collector_learns_what_took_how_long_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    self_signed(folder.path(), "localhost");
    let Some((server, port)) = collector(folder.path(), "sesame", None) else { return };
    let plant = Plant::enrolled(Options::default());
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(3_600));
    let mut plant = serve(plant, folder.path(), port);
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "cat; echo secret-word"]), b"typed-word\n").ok();
    json(&plant, "lee", &["status"]);
    let strangers = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("traceparent: 00-{strangers}-00f067aa0ba902b7-01");
    let health = format!("https://{}/healthz", plant.faces.plant[0]);
    run(Command::new("curl").args(["-sk", "-H", &traceparent, &health]), b"").ok();
    eventually("the session has come, and what was asked", || {
        let spans = spans(&server);
        let has = |name: &str| spans.iter().any(|span| span["name"] == name);
        has("session") && has("GET /api/v1/status") && has("GET /healthz")
    });
    let all = spans(&server);
    let only =
        |name: &str| all.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name}: {all:#?}"));
    let login = only("login");
    assert_eq!((&login["parent"], &login["kind"]), (&"".into(), &2.into()), "it begins a trace: {login}");
    for name in ["key", "code"] {
        part(&all, login, name);
    }
    let admission = part(&all, login, "admission");
    for name in ["recording", "dial", "target login"] {
        part(&all, admission, name);
    }
    let append = part(&all, part(&all, admission, "decision"), "journal append");
    assert_eq!(append["attributes"]["holdpoint.entries"], 1);
    let session = part(&all, admission, "session");
    let said = &session["attributes"];
    assert_eq!((&said["holdpoint.ending"], &said["holdpoint.target"]), (&"left".into(), &"hmi-2".into()));
    assert_eq!(said["holdpoint.session"], admission["attributes"]["holdpoint.session"]);
    assert_eq!(said["holdpoint.person"], login["attributes"]["holdpoint.person"]);
    let status = only("GET /api/v1/status");
    assert_eq!(status["attributes"]["http.response.status_code"], 200);
    assert_eq!(status["attributes"]["http.route"], "/api/v1/status");
    assert!(all.iter().any(|span| span["name"] == "vault" && !span["parent"].as_str().unwrap_or("").is_empty()));
    for span in &all {
        assert_eq!((&span["resource"]["service.name"], &span["events"]), (&"holdpoint".into(), &0.into()), "{span}");
        assert!(span["end"].as_u64() >= span["start"].as_u64(), "{span}");
        assert_ne!(span["trace"], strangers, "nobody else says what a request belongs to: {span}");
    }
    let is_code = |value: &Value| value.as_str().is_some_and(|text| text.len() == 6 && text.parse::<u32>().is_ok());
    let mut values = all.iter().flat_map(|span| span["attributes"].as_object().expect("a table").values());
    assert!(!values.any(is_code), "{all:#?}");
    let bytes: String =
        requests(&server).iter().map(|request| request["bytes"].as_str().expect("text").to_owned()).collect();
    for stays in ["secret-word", "typed-word", "sesame", "tess", "127.0.0.1", "ssh-ed25519", "Bearer"] {
        assert!(!bytes.contains(&hex(stays)), "{stays}");
    }
    let traces = json(&plant, "lee", &["status"])["traces"].clone();
    assert_eq!(
        (&traces["collector"], &traces["lost"], &traces["trouble"]),
        (&"localhost".into(), &0.into(), &Value::Null)
    );
    let told = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos());
    plant.stop();
    let is_last = |span: &Value| span["name"] == "journal append" && span["start"].as_u64() >= told.ok();
    eventually("what was done while it stopped has come, too", || spans(&server).iter().any(is_last));
}

#[test]
fn a_collector_that_is_away_or_says_no_keeps_nobody_waiting_and_status_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    self_signed(folder.path(), "localhost");
    if peer("collector.py").is_none() {
        return;
    }
    let port = free_port();
    let mut plant = serve(Plant::ready(Options::default()), folder.path(), port);
    let works = |plant: &Plant| {
        run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "true"]), b"").ok();
    };
    let stands = |plant: &Plant| json(plant, "lee", &["status"])["traces"].clone();
    works(&plant);
    eventually("status says that it is away", || {
        stands(&plant)["trouble"].as_str().is_some_and(|why| why.contains("refused"))
    });
    assert_eq!(stands(&plant)["lost"], 0, "they wait");
    let stranger = collector(folder.path(), "another token", Some(port));
    eventually("status says that it does not want them", || {
        let traces = stands(&plant);
        traces["trouble"].as_str().is_some_and(|why| why.contains("401")) && traces["lost"].as_u64() > Some(0)
    });
    drop(stranger);
    let Some((server, _)) = collector(folder.path(), "sesame", Some(port)) else { return };
    works(&plant);
    eventually("it has those that came since", || {
        let traces = stands(&plant);
        traces["trouble"].is_null() && traces["taken"].as_u64() > Some(0) && !spans(&server).is_empty()
    });
    let said = plant.gate().said();
    assert_eq!(said.matches("the collector takes no traces").count(), 1, "once: {said}");
}
