//! Reports: what was in a span of time, on a page that prints, as a table for other programs, and by command.

use policies::actions::Action;
use policies::time::Seconds;
use tests::{Options, Plant, holdpoint, json, log_in, run, text};

use crate::cards::control_room;

#[test]
fn a_span_of_time_is_reported_on_a_page_as_csv_and_by_command() {
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], ..Options::default() });
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(900));
    plant.log_in("tess");
    plant.serve();
    let Some(mut browser) = control_room(&plant) else { return };
    log_in(&plant, "lee");
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo fixed"]), b"").ok();
    let session = text(&json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["session"]);
    browser.click("Reports");
    browser.says("From this day on");
    browser.look("reports");
    browser.click("Show it");
    browser.says("All sessions");
    browser.says(&session);
    browser.says("the technician left");
    browser.look("report");
    let taken = browser
        .evaluate("fetch(document.querySelector('a[href^=\"/reports/csv/\"]').href).then((answer) => answer.text())");
    let taken = text(&taken);
    assert!(
        taken.starts_with("\"session\",\"began\",\"ended\"") && taken.contains(&format!("\r\n\"{session}\",")),
        "{taken}"
    );

    let report = |arguments: &[&str]| holdpoint(&plant, "lee", &[&["report"], arguments].concat());
    assert!(report(&[]).ok().out().contains("who-can"));
    let csv = report(&["sessions", "--csv"]).ok().out();
    assert!(csv.contains(&session) && csv.contains("\"tess\",\"acme\",\"hmi-2\",\"ssh\""), "{csv}");
    let reach = json(&plant, "lee", &["report", "who-can", "--vendor", "acme"]);
    let row = reach["rows"][0].as_array().expect("a row").iter().map(text).collect::<Vec<_>>();
    assert!(row.contains(&"hmi-2".to_owned()) && row.contains(&"tess".to_owned()), "{reach}");
    assert!(report(&["who-can", "--vendor", "nobody"]).ok().out().contains("There is nothing"));
    report(&["sessions", "--from", "2026-01-02", "--until", "2026-01-01"]).says_no("ends before it begins");
    report(&["sessions", "--from", "2024-01-01", "--until", "2026-01-01"]).says_no("Choose a shorter span");
    for (name, says) in [
        ("requests", "granted"),
        ("shared-accounts", "a certificate of the gate's"),
        ("secrets", "There is nothing"),
        ("refusals", "There is nothing"),
        ("cuts", "There is nothing"),
        ("recorder-failures", "There is nothing"),
        ("retention", &*session),
        ("plant-files", "in force from"),
        ("no-work-order", &*session),
        ("emergencies", "There is nothing"),
        ("overruns", "There is nothing"),
        ("close-outs", "not demanded"),
        ("reviews", "There is nothing"),
        ("people", "kim"),
        ("vendors", "acme"),
    ] {
        let told = report(&[name]).ok().out();
        assert!(told.contains(says), "{name}: {told}");
    }
}
