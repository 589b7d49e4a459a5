//! An emergency by command line: one yes of somebody on duty, told everywhere, on the review list until somebody else looked
//! back at it, and in evidence as what it was.

use std::fs;

use serde_json::Value;
use tests::peers::peer;
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, text};

fn in_need() -> Plant {
    let rule = "idle = \"4h\"\nweaker = [\"totp\"]\nemergency = true".into();
    Plant::enrolled(Options { rule, ..Options::default() })
}

const ASK: [&str; 9] =
    ["request", "hmi-2", "--actions", "shell", "--for", "30m", "--reason", "the line burns", "--emergency"];

fn waiting(plant: &Plant) -> Vec<Value> {
    json(plant, "kim", &["reviews"])["reviews"].as_array().expect("a list").clone()
}

/// What the feed tells under this id: the result, and what it is about.
fn told(plant: &Plant, id: &str) -> Vec<(String, Value)> {
    let feed = holdpoint(plant, "lee", &["feed"]).ok().out();
    let lines = feed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["id"] == id).map(|line| (text(&line["result"]), line["about"].clone())).collect()
}

/// How many alarms of emergencies Prometheus sees.
fn counted(plant: &Plant) -> Option<f64> {
    let url = format!("https://{}/metrics", plant.faces.plant[0]);
    let page = run(peer("metrics.py")?.arg(url).arg(plant.tess().path("../../ca.pem")), b"").ok().out();
    let page: Value = serde_json::from_str(&page).expect("JSON");
    let samples = page["holdpoint_alarms"]["samples"].as_array().expect("samples").clone();
    samples.iter().find(|sample| sample[1]["alarm"] == "emergency").expect("of every kind")[2].as_f64()
}

#[test]
fn an_emergency_is_given_told_worked_under_and_looked_back_at() {
    let mut plant = in_need();
    let notices = plant.notices();
    plant.serve();
    for who in ["lee", "tess", "kim"] {
        log_in(&plant, who);
    }
    let request = text(&json(&plant, "tess", &ASK)["request"]);
    let shown = holdpoint(&plant, "lee", &["requests"]).ok().out();
    assert!(shown.contains("EMERGENCY") && shown.contains("any operator on duty"), "{shown}");
    holdpoint(&plant, "lee", &["approve", &request, "--totp", "--yes"]).says_no("an emergency takes a signature");
    assert!(waiting(&plant).is_empty(), "nothing was given yet");
    holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok();
    assert_eq!(run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo saved"]), b"").ok().out(), "saved\n");
    let session = text(&json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["session"]);

    let stands = |plant: &Plant| {
        let alarms = json(plant, "lee", &["status"])["alarms"].as_array().expect("a list").clone();
        alarms.iter().any(|alarm| alarm["alarm"] == "emergency" && alarm["of"] == request.as_str())
    };
    eventually("it is an alarm", || stands(&plant));
    eventually("the feed tells it", || told(&plant, "HP1903").iter().any(|(_, about)| about["of"] == request.as_str()));
    eventually("people are told", || {
        fs::read_to_string(&notices).is_ok_and(|told| {
            told.contains("\"kind\":\"emergency\"") && told.contains("an emergency grant for hmi-2 was given")
        })
    });
    if let Some(count) = counted(&plant) {
        assert!((count - 1.0).abs() < f64::EPSILON, "{count}");
    }
    let listed = waiting(&plant);
    assert_eq!((text(&listed[0]["review"]), listed[0]["given_by"][0]["name"].as_str()), (request.clone(), Some("lee")));
    holdpoint(&plant, "lee", &["approve", &request, "--yes"]).says_no("nobody looks back at what they gave");
    holdpoint(&plant, "kim", &["approve", &request, "--totp", "--yes"]).says_no("an emergency takes a signature");
    holdpoint(&plant, "kim", &["approve", &request, "--yes"]).ok();
    assert!(waiting(&plant).is_empty());
    let seen = json(&plant, "kim", &["reviews", "--all"])["reviews"][0]["reviewed"].clone();
    assert_eq!((seen["by"]["name"].as_str(), seen["objects"].as_bool()), (Some("kim"), Some(false)), "{seen}");
    eventually("it is no alarm any more", || !stands(&plant));
    eventually("the feed tells that", || {
        told(&plant, "HP1904").iter().any(|(_, about)| about["of"] == request.as_str())
    });
    assert_eq!(told(&plant, "HP1313")[0].0, "success");
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let page = page_of(&evidence, &session);
    assert!(page.contains("an emergency grant, reviewed afterwards") && !page.contains("OBJECTION"), "{page}");
}

fn page_of(evidence: &tests::evidence::Evidence, session: &str) -> String {
    let made = ["evidence", session, "--data", "data", "--trust", "trust.toml", "--key", "key", "-o", "pack/"];
    run(&mut evidence.holdpoint(&made), b"").ok();
    fs::read_to_string(evidence.path("pack/index.html")).expect("a page")
}

#[test]
fn whoever_looks_back_may_object_and_that_is_told_as_what_it_is() {
    let mut plant = in_need();
    plant.serve();
    for who in ["lee", "tess", "kim"] {
        log_in(&plant, who);
    }
    let request = text(&json(&plant, "tess", &ASK)["request"]);
    holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok();
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "true"]), b"").ok();
    let session = text(&json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["session"]);
    let why = "nothing burnt: it could have waited";
    let said = holdpoint(&plant, "kim", &["deny", &request, "--reason", why, "--yes"]).ok().out();
    assert!(said.contains("with your objection"), "{said}");
    assert!(waiting(&plant).is_empty(), "somebody looked back at it");
    holdpoint(&plant, "kim", &["approve", &request, "--yes"]).says_no("granted");
    let list = holdpoint(&plant, "lee", &["reviews", "--all"]).ok().out();
    let cards = holdpoint(&plant, "lee", &["requests", "--all"]).ok().out();
    for shown in [&list, &cards] {
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains("kim looked back at it") && shown.contains(&format!("OBJECTS: {why}")), "{shown}");
    }
    let (result, about) = told(&plant, "HP1313").pop().expect("it is told");
    assert_eq!((result.as_str(), &about["request"]), ("failure", &request.as_str().into()));
    let feed = holdpoint(&plant, "lee", &["feed"]).ok().out();
    assert!(!feed.contains(why), "no text leaves the plant");
    assert_eq!(
        run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo on"]), b"").ok().out(),
        "on\n",
        "it ends nothing"
    );
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let page = page_of(&evidence, &session);
    for words in ["WITH AN OBJECTION", why, "whoever did so objected to it", "Objected"] {
        assert!(page.contains(words), "{words} in {page}");
    }
}
