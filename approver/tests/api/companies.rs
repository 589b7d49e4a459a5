//! Vendors' own people by the API: an administrator names a manager, who sees their own company and nobody else's, invites
//! within what the contract says, puts out, and attests.

use approver::api::types::{
    Card, CompanyView, Done, Invited, PeopleView, PersonView, ProblemBody, RequestMade, VendorsView,
};
use approver::desk::Rejected;
use approver::people::NewContract;
use approver::testing::{Actor, PLANT, Props, enrol, person};
use certs::enrolment::EnrolmentCode;
use certs::proof::Face;
use jiff::{SignedDuration, Timestamp};
use policies::decide::Command;
use policies::people::Kind;
use policies::refusals::Refusal;
use policies::time::Seconds;
use serde_json::{Value, json};

use crate::kit::{House, Session, limits};

/// Somebody of another company, who is here too.
async fn of_bolt(house: &House) -> Actor {
    let stage = &house.stage;
    let end = stage.desk.clock().wall() + SignedDuration::from_hours(24);
    let vendor: policies::ids::VendorId = "bolt".parse().unwrap();
    let contract =
        NewContract { vendor: vendor.clone(), end, sponsor: stage.lead.person, telephone: None, allowance: None };
    stage.people.contract(contract, stage.admin.person).await.unwrap();
    let kind = Kind::Technician { vendor, role: "maintenance".parse().unwrap() };
    let invited = stage.people.invite(person("tom", kind, &[]), Seconds(600), stage.admin.person).await.unwrap();
    enrol(&stage.people, &invited.code).await
}

fn contract(house: &House, most: u16) -> Value {
    let end = house.stage.desk.clock().wall() + SignedDuration::from_hours(24);
    json!({ "end": end, "sponsor": house.stage.lead.person, "invitations": { "most": most, "roles": ["maintenance"] } })
}

fn colleague(name: &str) -> Value {
    json!({ "name": name, "kind": "technician", "vendor": "acme", "role": "maintenance" })
}

async fn made_manager(house: &House, admin: &Session) {
    let path = format!("/api/v1/people/{}/manager", house.stage.technician.person);
    let done: Done = house.send(Face::Plant, "PUT", &path, Some(admin), None).await.json();
    assert_eq!(done.events, ["HP1122"]);
}

async fn post(house: &House, by: &Session, path: &str, body: Value) -> crate::kit::Answer {
    house.send(Face::Vendor, "POST", path, Some(by), Some(body)).await
}

async fn seen(house: &House, by: &Session) -> PeopleView {
    house.send(Face::Vendor, "GET", "/api/v1/people", Some(by), None).await.json()
}

#[tokio::test]
async fn a_manager_sees_and_invites_their_own_company_alone() {
    let house = House::new().await;
    let tom = of_bolt(&house).await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let tara = house.sign_in(Face::Vendor, &house.stage.technician).await;
    // Whoever is no manager learns neither who is here nor which names are taken.
    for (method, path, body) in [
        ("GET", "/api/v1/company", None),
        ("GET", "/api/v1/people", None),
        ("POST", "/api/v1/people", Some(colleague("ada"))),
        ("POST", "/api/v1/people", Some(colleague("nadia"))),
    ] {
        let answer = house.send(Face::Vendor, method, path, Some(&tara), body).await;
        assert_eq!((answer.status, answer.refusal().as_str()), (403, "not-manager"), "{method} {path}");
    }
    let mut in_no_role = contract(&house, 2);
    in_no_role["invitations"]["roles"] = json!([]);
    let head = house.stage.desk.head().size;
    let refused = house.send(Face::Plant, "PUT", "/api/v1/vendors/acme", Some(&admin), Some(in_no_role)).await;
    assert_eq!((refused.refusal().as_str(), house.stage.desk.head().size), ("roles-wanted", head));
    let done: Done =
        house.send(Face::Plant, "PUT", "/api/v1/vendors/acme", Some(&admin), Some(contract(&house, 2))).await.json();
    assert_eq!(done.events, ["HP1101", "HP1121"]);
    made_manager(&house, &admin).await;

    let company: CompanyView = house.send(Face::Vendor, "GET", "/api/v1/company", Some(&tara), None).await.json();
    assert_eq!((company.vendor.as_str(), company.invitations.most, company.invitations.here), ("acme", 2, 0));
    let invited: Invited = post(&house, &tara, "/api/v1/people", colleague("nadia")).await.json();
    assert_eq!(invited.name, "nadia");
    assert!(invited.expires <= company.end);
    let refused = post(&house, &tara, "/api/v1/people", colleague("tom")).await;
    let text = refused.text();
    assert_eq!(refused.refusal(), "name-taken");
    assert!(!text.contains("bolt") && !text.contains("guest"), "{text}");
    for (kind, refusal) in [
        (json!({ "name": "x", "kind": "operator" }), "other-company"),
        (json!({ "name": "x", "kind": "technician", "vendor": "bolt", "role": "maintenance" }), "other-company"),
        (json!({ "name": "x", "kind": "technician", "vendor": "acme", "role": "boss" }), "role-not-allowed"),
    ] {
        assert_eq!(post(&house, &tara, "/api/v1/people", kind).await.refusal(), refusal);
    }
    let nadia = enrol(&house.stage.people, &EnrolmentCode::parse(&invited.code).unwrap()).await;

    let seen = seen(&house, &tara).await;
    let names: Vec<&str> = seen.people.iter().map(|person| person.name.as_str()).collect();
    assert_eq!(names, ["nadia", "tara"], "nobody of another company, nobody of the plant");
    let text = serde_json::to_string(&seen).unwrap();
    for hidden in ["tom", "ada", "lee", "bolt", "ssh-ed25519", "SHA256"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    assert_eq!(seen.people[0].invited_by.as_ref().map(|by| by.name.as_str()), Some("tara"));
    assert_eq!((&seen.people[1].invited_by, seen.people[1].manager), (&None, true));
    let me: PersonView = house.send(Face::Vendor, "GET", "/api/v1/me", Some(&tara), None).await.json();
    assert_eq!(me.invited_by, None, "who of the plant invited somebody is not told on the vendor face");

    // The plant sees who invited whom, and how many there are.
    let view: PersonView = house.get(&format!("/api/v1/people/{}", nadia.person), &admin).await.json();
    assert_eq!(view.invited_by.unwrap().name, "tara");
    let VendorsView { vendors } = house.get("/api/v1/vendors", &admin).await.json();
    let acme = vendors.iter().find(|one| one.vendor.as_str() == "acme").unwrap();
    assert_eq!((acme.invitations.most, acme.invitations.here, acme.managers[0].name.as_str()), (2, 1, "tara"));

    // Of another company nobody is anybody.
    for person in [tom.person, house.stage.lead.person] {
        for act in ["disable", "reinvite", "attestation"] {
            let until = house.stage.desk.clock().wall() + SignedDuration::from_mins(5);
            let body = if act == "attestation" { json!({ "until": until }) } else { json!({}) };
            let answer = post(&house, &tara, &format!("/api/v1/people/{person}/{act}"), body).await;
            assert_eq!((answer.status, answer.refusal().as_str()), (404, "unknown-person"), "{act}");
        }
    }
    let answer = post(&house, &tara, &format!("/api/v1/people/{}/disable", nadia.person), json!({})).await;
    assert_eq!(answer.status, 204);
    let again = post(&house, &tara, &format!("/api/v1/people/{}/reinvite", nadia.person), json!({})).await;
    assert_eq!(again.refusal(), "put-out");

    // A manager no longer.
    let path = format!("/api/v1/people/{}/manager", house.stage.technician.person);
    let done: Done = house.send(Face::Plant, "DELETE", &path, Some(&admin), None).await.json();
    assert_eq!(done.events, ["HP1123"]);
    let answer = house.send(Face::Vendor, "GET", "/api/v1/people", Some(&tara), None).await;
    assert_eq!(answer.refusal(), "not-manager");
}

#[tokio::test]
async fn a_rule_that_demands_an_attestation_has_one_before_anybody_asks_and_the_card_says_whose() {
    let plant = PLANT.replace("id = \"acme-packaging\"", "id = \"acme-packaging\"\nattested = \"30d\"");
    assert_ne!(plant, PLANT);
    let house = House::with_plant(Props::new(), &plant, |_| {}, limits()).await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let lee = house.sign_in(Face::Plant, &house.stage.lead).await;
    let tara = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let ask = json!({ "target": "hmi-2", "actions": ["shell"], "duration_seconds": 600, "reason": "why" });
    let refused = post(&house, &tara, "/api/v1/requests", ask.clone()).await;
    assert!(refused.text().contains("has no manager here"), "{}", refused.text());
    assert_eq!(refused.refusal(), "not-attested");
    made_manager(&house, &admin).await;
    let refused = post(&house, &tara, "/api/v1/requests", ask.clone()).await;
    let problem: ProblemBody = serde_json::from_slice(&refused.bytes).unwrap();
    assert!(problem.detail.ends_with("Ask a manager of your company to attest you: tara"), "{}", problem.detail);

    let path = format!("/api/v1/people/{}/attestation", house.stage.technician.person);
    let until: Timestamp = house.stage.desk.clock().wall() + SignedDuration::from_hours(24 * 400);
    let beyond = post(&house, &tara, &path, json!({ "until": until })).await;
    assert_eq!(beyond.refusal(), "extension-too-far", "no attestation outlives the contract");
    let until: Timestamp = house.stage.desk.clock().wall() + SignedDuration::from_hours(8);
    let done: Done = post(&house, &tara, &path, json!({ "until": until, "note": "WO-17" })).await.json();
    assert_eq!(done.events, ["HP1124"]);
    let made: RequestMade = post(&house, &tara, "/api/v1/requests", ask).await.json();
    let card: Card = house.get(&format!("/api/v1/requests/{}", made.request), &lee).await.json();
    let attestation = card.attestation.unwrap();
    let attested = attestation.attested.unwrap();
    assert_eq!(attestation.within_seconds, Some(30 * 86_400));
    assert_eq!((attested.by.name.as_str(), attested.by_themself, attested.until), ("tara", true, until));
    assert_eq!(attested.note.as_deref(), Some("WO-17"));

    let back: Done = house.send(Face::Vendor, "DELETE", &path, Some(&tara), None).await.json();
    assert_eq!(back.events, ["HP1125"]);
    let card: Card = house.get(&format!("/api/v1/requests/{}", made.request), &lee).await.json();
    assert_eq!(card.attestation.unwrap().attested, None);
    let verdict = house.stage.approval(&house.stage.lead, made.request);
    let refused = house.stage.desk.act(Command::Vote { verdict }).await;
    assert!(matches!(refused, Err(Rejected::Refusal(Refusal::TechnicianNotAttested(_)))), "{refused:?}");
}
