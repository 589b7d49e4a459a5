//! Guests by the API: inviting on a signature, what is listed of them, sending away, and the list of what is looked back at.

use std::time::Duration;

use approver::api::types::{
    Card, Done, GuestTemplate, GuestView, GuestsView, InvitableRules, Invited, Page as _, RequestMade, ReviewsView,
    Status, VendorsView, VerdictTemplate,
};
use approver::testing::{Actor, TELEPHONE, enrol, sign};
use certs::enrolment::EnrolmentCode;
use certs::proof::Face;
use certs::sshsig::Namespace;
use policies::decide::Command;
use policies::requests::{GuestStatement, Signed};
use policies::time::Seconds;
use serde_json::{Value, json};

use crate::kit::{House, Session};

fn wanted(name: &str, seconds: u32) -> Value {
    json!({
        "name": name, "vendor": "acme", "target": "robot-1", "lasts_seconds": seconds, "reason": "the robot stands still",
    })
}

fn signed(by: &Actor, statement: GuestStatement) -> Signed<GuestStatement> {
    let digest = statement.digest();
    sign(by, Namespace::Guest, statement, digest)
}

async fn template(house: &House, by: &Session, name: &str) -> GuestTemplate {
    house.post("/api/v1/guests/statement", by, wanted(name, 3_600)).await.json()
}

async fn look_back(house: &House, who: &Actor, session: &Session, path: &str) -> crate::kit::Answer {
    let review: VerdictTemplate = house.get(&format!("{path}/review"), session).await.json();
    let digest = review.statement.digest();
    let verdict = json!(sign(who, Namespace::Approval, review.statement, digest));
    house.post("/api/v1/verdicts", session, verdict).await
}

#[tokio::test]
async fn a_guest_is_invited_on_a_signature_asks_and_is_looked_back_at() {
    let house = House::new().await;
    let (lead, kim) = (&house.stage.lead, &house.stage.other_lead);
    let lee = house.sign_in(Face::Plant, lead).await;
    let InvitableRules { rules } = house.get("/api/v1/guests/rules", &lee).await.json();
    assert_eq!((rules.len(), rules[0].rule.as_str(), rules[0].most_seconds), (1, "acme-robots", 28_800));
    assert_eq!(rules[0].vendors[0].telephone.as_deref(), Some(TELEPHONE));
    assert_eq!(rules[0].targets.iter().map(|target| target.as_str()).collect::<Vec<_>>(), ["robot-1"]);

    let template = template(&house, &lee, "gus").await;
    assert_eq!((template.telephone.text.as_str(), template.name.text.as_str()), (TELEPHONE, "gus"));
    let invitation = signed(lead, template.statement.clone());
    let kims = house.sign_in(Face::Plant, kim).await;
    assert_eq!(house.post("/api/v1/guests", &kims, json!(invitation)).await.refusal(), "not-you");
    let invited: Invited = house.post("/api/v1/guests", &lee, json!(invitation)).await.json();
    assert_eq!((invited.name.as_str(), invited.expires), ("gus", template.statement.until));
    assert_eq!(house.post("/api/v1/guests", &lee, json!(invitation)).await.refusal(), "guest-there");
    assert_eq!(house.stage.people.shown(invited.person).await, "gus", "a second try takes nothing from the first");

    let code = EnrolmentCode::parse(&invited.code).unwrap();
    let gus = enrol(&house.stage.people, &code).await;
    let guest = house.sign_in(Face::Vendor, &gus).await;
    let ask =
        |target: &str| json!({ "target": target, "actions": ["shell"], "duration_seconds": 7200, "reason": "why" });
    assert_eq!(house.post("/api/v1/requests", &guest, ask("hmi-2")).await.refusal(), "guest-elsewhere");
    let made: RequestMade = house.post("/api/v1/requests", &guest, ask("robot-1")).await.json();
    let card: Card = house.get(&format!("/api/v1/requests/{}", made.request), &kims).await.json();
    assert_eq!((card.guest, card.window.until), (Some(template.statement.guest), template.statement.until));
    assert!(card.cautions[0].starts_with("a guest: lee invited them"), "{:?}", card.cautions);

    let path = format!("/api/v1/guests/{}", template.statement.guest);
    let view: GuestView = house.get(&path, &kims).await.json();
    assert_eq!((view.standing.as_str(), view.over, view.review_wanted), ("active", false, false));
    assert_eq!((view.requests, view.reason.as_deref()), (vec![made.request], Some("the robot stands still")));
    assert_eq!(look_back(&house, kim, &kims, &path).await.refusal(), "guest-still-there");

    let done: Done = house.post(&format!("{path}/end"), &kims, json!({})).await.json();
    assert_eq!(done.events, ["HP1114"]);
    assert_eq!(house.post(&format!("{path}/end"), &kims, json!({})).await.refusal(), "guest-gone");
    assert_eq!(house.post("/api/v1/requests", &guest, ask("robot-1")).await.status, 401);
    let status: Status = house.get("/api/v1/status", &lee).await.json();
    assert!(status.red && status.because[0].contains("look back"), "{:?}", status.because);
    assert_eq!(look_back(&house, lead, &lee, &path).await.refusal(), "own-deed");
    assert_eq!(look_back(&house, kim, &kims, &path).await.json::<Done>().events, ["HP1302", "HP1115"]);
    let view: GuestView = house.get(&path, &kims).await.json();
    assert_eq!(view.reviewed.unwrap().by.name, "kim");
    let GuestsView { guests, .. } = house.get("/api/v1/guests", &lee).await.json();
    assert_eq!(guests, []);
}

#[tokio::test]
async fn what_was_not_signed_for_this_counts_for_nothing() {
    let house = House::new().await;
    let lead = &house.stage.lead;
    let lee = house.sign_in(Face::Plant, lead).await;
    let good = template(&house, &lee, "gus").await.statement;
    let digest = good.digest();
    let as_a_verdict = sign(lead, Namespace::Approval, good.clone(), digest);
    assert_eq!(house.post("/api/v1/guests", &lee, json!(as_a_verdict)).await.refusal(), "not-signed");
    let mut longer = signed(lead, good.clone());
    longer.statement.until = Seconds(7_200).after(longer.statement.until);
    assert_eq!(house.post("/api/v1/guests", &lee, json!(longer)).await.refusal(), "not-signed");
    let other = signed(lead, GuestStatement { telephone: good.reason, ..good.clone() });
    assert_eq!(house.post("/api/v1/guests", &lee, json!(other)).await.refusal(), "other-digest");
    // Nor does it rename anybody, whoever it says that it is about.
    let before = house.stage.props.directory.dump().await.unwrap();
    for person in [house.stage.technician.person, house.stage.admin.person] {
        let about = GuestStatement { person, ..good.clone() };
        let mut unsigned = signed(lead, about.clone());
        unsigned.signature = as_a_verdict.signature.clone();
        assert_eq!(house.post("/api/v1/guests", &lee, json!(unsigned)).await.refusal(), "not-signed");
        assert_eq!(house.post("/api/v1/guests", &lee, json!(signed(lead, about))).await.refusal(), "exists");
    }
    let without = GuestStatement { reason: policies::digest::Salted(good.digest()), ..good.clone() };
    assert_eq!(house.post("/api/v1/guests", &lee, json!(signed(lead, without))).await.refusal(), "reason-wanted");
    assert_eq!(house.stage.props.directory.dump().await.unwrap(), before, "nothing was kept of it");
    for (spoil, refusal) in [
        (json!({ "target": "hmi-2" }), "no-guest-rule"),
        (json!({ "rule": "acme-press" }), "no-guests"),
        (json!({ "lasts_seconds": 43_200 }), "too-long"),
        (json!({ "vendor": "nobody" }), "no-contract"),
        (json!({ "name": "tara" }), "name-taken"),
        (json!({ "name": "g us" }), "bad-name"),
        (json!({ "reason": " " }), "reason-wanted"),
    ] {
        let mut body = wanted("gus", 3_600);
        body.as_object_mut().unwrap().extend(spoil.as_object().unwrap().clone());
        let before = house.stage.props.directory.dump().await.unwrap();
        assert_eq!(house.post("/api/v1/guests/statement", &lee, body).await.refusal(), refusal);
        assert_eq!(house.stage.props.directory.dump().await.unwrap(), before, "{refusal}: no text stays");
    }
}

#[tokio::test]
async fn the_number_stays_until_an_administrator_writes_another_one_down() {
    let house = House::new().await;
    let ada = house.sign_in(Face::Plant, &house.stage.admin).await;
    let contract = |telephone: Option<&str>| {
        let mut body = json!({ "end": "2040-01-01T00:00:00Z", "sponsor": house.stage.lead.person });
        body["telephone"] = telephone.map_or(Value::Null, Into::into);
        body
    };
    let number = async || {
        let VendorsView { vendors } = house.get("/api/v1/vendors", &ada).await.json();
        vendors[0].telephone.clone()
    };
    for (given, stands) in [(None, TELEPHONE), (Some(" +49 (0)30/99-0 "), "+49 (0)30/99-0"), (None, "+49 (0)30/99-0")] {
        let body = contract(given);
        let answer = house.send(Face::Plant, "PUT", "/api/v1/vendors/acme", Some(&ada), Some(body)).await;
        assert_eq!(answer.json::<Done>().events, ["HP1101"]);
        assert_eq!(number().await.as_deref(), Some(stands));
    }
    for none in ["", "12", "call me", "+49 30 1234 5678 9012 3456 7890 1234"] {
        let body = Some(contract(Some(none)));
        let answer = house.send(Face::Plant, "PUT", "/api/v1/vendors/acme", Some(&ada), body).await;
        assert_eq!(answer.refusal(), "bad-telephone", "{none:?}");
    }
}

#[tokio::test]
async fn the_review_list_has_what_nobody_looked_back_at_page_by_page() {
    let house = House::new().await;
    let (lead, kim) = (&house.stage.lead, &house.stage.other_lead);
    let lee = house.sign_in(Face::Plant, lead).await;
    let mut guests = Vec::new();
    for name in ["ann", "bob", "cid"] {
        house.stage.invite_guest(lead, name, Seconds(600)).await.unwrap();
        let newest = house.stage.desk.with_state(|state| *state.guests.keys().last().unwrap());
        house.stage.desk.act(Command::EndGuest { guest: newest, by: kim.person }).await.unwrap();
        guests.push(newest.to_string());
        house.stage.pass(Duration::from_secs(1));
    }
    house.stage.invite_guest(lead, "dan", Seconds(600)).await.unwrap();
    let mut list: ReviewsView = house.get("/api/v1/reviews?limit=2", &lee).await.json();
    assert_eq!((list.reviews.len(), list.reviews[0].technician.name.as_str()), (2, "dan"));
    assert!(list.reviews[0].not_before.is_some() && list.reviews[1].not_before.is_none());
    let older = list.older("/api/v1/reviews?limit=2").unwrap();
    list.append(house.get(&older, &lee).await.json());
    assert!(list.older("/api/v1/reviews").is_none());
    let names: Vec<_> = list.reviews.iter().map(|review| review.review.to_string()).collect();
    assert_eq!(names[1..], [guests[2].clone(), guests[1].clone(), guests[0].clone()]);
    assert_eq!(list.reviews[3].given_by[0].name, "lee");
    assert!(list.reviews[3].in_words.starts_with("guest until"), "{}", list.reviews[3].in_words);
}
