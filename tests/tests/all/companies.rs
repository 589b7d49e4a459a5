//! Vendors' own people with the real program: an administrator names a manager, who invites, attests and puts out by command and
//! from a page in a real browser, within what the contract says and in their own company alone.

use jiff::{SignedDuration, Timestamp};
use tests::browser::Browser;
use tests::{Options, Plant, holdpoint, json, log_in, passkey_code, run, text};

const RULE: &str = "idle = \"4h\"\nattested = \"30d\"";

fn plant() -> Plant {
    let technicians = vec![("tess", "acme"), ("tom", "stackwell")];
    let mut plant = Plant::enrolled(Options { rule: RULE.into(), technicians, ..Options::default() });
    plant.serve();
    for who in ["tess", "tom", "lee", "ada"] {
        log_in(&plant, who);
    }
    plant
}

fn lets_managers_invite(plant: &Plant, most: &str) {
    let contract = ["contract", "acme", "--until", "2040-12-31", "--sponsor", "lee", "--role", "maintenance"];
    holdpoint(plant, "ada", &[&contract[..], &["--managers-invite", most]].concat()).ok();
}

fn asks(plant: &Plant, who: &str) -> tests::Ended {
    let person = plant.person(who);
    run(&mut person.ssh(&[&person.at(""), "request", "hmi-2", "1h", "the pump trips"]), b"")
}

#[test]
fn a_manager_invites_attests_and_puts_out_by_command_within_what_the_plant_allowed() {
    let mut plant = plant();
    let invite = |plant: &Plant, who: &str, name: &str, role: &str| {
        holdpoint(plant, who, &["invite", name, "--technician", role, "--json"])
    };
    invite(&plant, "tess", "nadia", "acme/maintenance").says_no("only a manager of your company may do this");
    holdpoint(&plant, "tess", &["people"]).says_no("only a manager of your company may do this");
    asks(&plant, "tess").says_no("Your company has no manager here");

    holdpoint(&plant, "ada", &["manager", "tess"]).ok();
    invite(&plant, "tess", "nadia", "acme/maintenance").says_no("the plant lets your company's managers invite nobody");
    lets_managers_invite(&plant, "1");
    for (name, role, no) in [
        ("nadia", "stackwell/maintenance", "of their own company, and nobody else"),
        ("nadia", "acme/boss", "in the roles maintenance, not boss"),
        ("tom", "acme/maintenance", "is taken: choose another name"),
    ] {
        invite(&plant, "tess", name, role).says_no(no);
    }
    holdpoint(&plant, "tess", &["invite", "nadia", "--auditor"]).says_no("of their own company, and nobody else");
    let invited: serde_json::Value =
        serde_json::from_str(&invite(&plant, "tess", "nadia", "acme/maintenance").ok().out()).expect("JSON");
    invite(&plant, "tess", "otto", "acme/maintenance").says_no("have 1 technicians here at once, and they are here");
    plant.enrol_by_ssh("nadia", &text(&invited["code"]));

    // They see their own company, and nobody else.
    let shown = holdpoint(&plant, "tess", &["people"]).ok().out();
    for told in ["nadia", "acme/maintenance, manager", "the plant", "1 of 1: maintenance"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    for hidden in ["tom", "lee", "ada", "stackwell"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
    let plants = json(&plant, "lee", &["people"]);
    let nadia = plants["people"].as_array().expect("people").iter().find(|one| one["name"] == "nadia").expect("she");
    assert_eq!(nadia["invited_by"]["name"], "tess", "{nadia}");
    assert!(holdpoint(&plant, "lee", &["people"]).ok().out().contains("1 of 1: maintenance"));

    // Nothing is given that nobody said yes to, and nobody asks who is not attested.
    asks(&plant, "nadia").says_no("Ask a manager of your company to attest you");
    holdpoint(&plant, "tess", &["attest", "tom", "--until", "2040-01-01"]).says_no("nobody is called");
    holdpoint(&plant, "tess", &["attest", "nadia", "--until", "2041-06-01"]).says_no("the vendor's contract ends");
    holdpoint(&plant, "tess", &["attest", "nadia", "--until", "2040-01-01", "--note", "cert 17"]).ok();
    asks(&plant, "nadia").ok();
    let request = text(&json(&plant, "lee", &["requests"])["requests"][0]["request"]);
    let card = holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok().text();
    assert!(card.contains("by tess on ") && card.contains("cert 17"), "{card}");
    let works = |plant: &Plant| {
        let nadia = plant.person("nadia");
        run(&mut nadia.ssh(&[&nadia.at("hmi-2"), "echo", "there"]), b"")
    };
    assert_eq!(works(&plant).ok().out().trim(), "there");
    holdpoint(&plant, "tess", &["attest", "nadia", "--take-back"]).ok();
    works(&plant).says_no("nothing of that holds now");

    // In one act, and for good.
    holdpoint(&plant, "tess", &["disable", "nadia"]).ok();
    holdpoint(&plant, "tess", &["reinvite", "nadia"]).says_no("they were put out, and stay so");
    invite(&plant, "tess", "nadia", "acme/maintenance").says_no("is taken");
    holdpoint(&plant, "tess", &["disable", "tess"]).says_no("put out by the plant alone");
    invite(&plant, "tess", "otto", "acme/maintenance").ok();
    // The code of somebody who is a manager no longer opens nothing.
    holdpoint(&plant, "ada", &["manager", "tess", "--dismiss"]).ok();
    holdpoint(&plant, "tess", &["people"]).says_no("only a manager of your company may do this");
}

#[test]
fn a_managers_page_invites_attests_and_puts_out() {
    let plant = plant();
    let Some(mut browser) = Browser::of_a_technician(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("tess", &passkey_code(&plant, "tess"));
    browser.signs_in();
    browser.says("My access");
    assert_eq!(browser.evaluate("document.querySelectorAll('a[href=\"/company\"]').length"), 0);
    browser.open("/company");
    browser.says("only a manager of your company may do this");
    holdpoint(&plant, "ada", &["manager", "tess"]).ok();
    browser.open("/company");
    browser.says("The plant lets you invite nobody");
    lets_managers_invite(&plant, "2");
    browser.open("/company");
    browser.says("there are 0 of 2: maintenance");
    browser.look("company");
    browser.fill("#name", "nadia");
    browser.click("Invite");
    browser.says("A code for nadia");
    browser.look("company-invited");
    browser.click("My company");
    browser.says("there are 1 of 2: maintenance");
    browser.says("invited, code until");
    browser.click("Another code for nadia");
    browser.says("A code for nadia");
    browser.click("My company");

    // They attest themself, which the card will say.
    browser.click("Attest tess…");
    let me = text(&browser.evaluate("document.querySelector('details[open] input[type=date]').id"));
    browser.fill(&format!("#{me}"), "2040-06-30");
    browser.fill(&format!("#{}", me.replace("until", "note")), "welder's certificate 12");
    browser.look("company-attest");
    browser.click_on("details[open] button", [0.5, 0.5]);
    browser.says("by tess, by themself,");
    browser.says("welder's certificate 12");
    asks(&plant, "tess").ok();
    let request = text(&json(&plant, "lee", &["requests"])["requests"][0]["request"]);
    let card = holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok().text();
    assert!(card.contains("BY THEMSELF"), "{card}");

    browser.click("Put nadia out…");
    browser.look("company-put-out");
    browser.click_on("details[open] button", [0.5, 0.5]);
    browser.says("Its people here: 1");
    browser.says("there are 1 of 2: maintenance");
    browser.look("company-out");
    let text = browser.evaluate("document.body.innerText");
    let text = text.as_str().expect("a text");
    assert!(!text.contains("tom") && !text.contains("ada"), "{text}");
}

#[test]
fn the_plants_pages_name_managers_and_say_who_invited_whom_and_whom_they_attested() {
    let mut plant = Plant::enrolled(Options { rule: RULE.into(), later: vec!["kim"], ..Options::default() });
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    log_in(&plant, "ada");
    log_in(&plant, "tess");
    holdpoint(&plant, "ada", &["manager", "tess"]).ok();
    lets_managers_invite(&plant, "3");
    holdpoint(&plant, "tess", &["attest", "tess", "--until", "2040-01-01"]).ok();
    holdpoint(&plant, "tess", &["invite", "nadia", "--technician", "acme/maintenance"]).ok();
    asks(&plant, "tess").ok();
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    browser.open("/people");
    browser.says("1 of 3: maintenance");
    browser.look("people-with-managers");
    browser.click("nadia");
    browser.says("Invited by");
    browser.says("tess");
    browser.look("person-invited-by-a-manager");
    browser.open("/");
    browser.click("tess");
    browser.says("by tess, by themself,");
    browser.look("card-attested");

    // Whoever answers for a vendor sees what they should see to, and so do commands.
    let soon = Timestamp::now() + SignedDuration::from_hours(96);
    let soon = soon.strftime("%Y-%m-%d").to_string();
    browser.open("/");
    assert_eq!(browser.evaluate("document.body.innerText.includes('You answer for')"), false);
    holdpoint(&plant, "ada", &["contract", "acme", "--until", &soon, "--sponsor", "kim"]).ok();
    browser.open("/");
    browser.says("You answer for");
    browser.says("its contract ends");
    browser.look("board-answers-for");
    browser.open("/people");
    browser.says("acme: for kim to see to");
    browser.look("people-to-see-to");
    let shown = holdpoint(&plant, "ada", &["people"]).ok().out();
    assert!(shown.contains("acme: for kim to see to: its contract ends"), "{shown}");
    let vendors = json(&plant, "ada", &["people"])["vendors"].clone();
    let acme = vendors.as_array().expect("vendors").iter().find(|one| one["vendor"] == "acme").expect("acme");
    assert_eq!((&acme["concerns"][0]["concern"], &acme["sponsor"]["name"]), (&"contract-ends".into(), &"kim".into()));
    assert_eq!(acme["invitations"]["most"], 3, "what managers may outlives the contract's change: {acme}");
}
