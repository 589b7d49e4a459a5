//! Signing in, and what binds a request to who makes it.

use std::time::{Duration, Instant};

use approver::api::types::{CertificateAnswer, EnrolledAnswer, Health, SignedIn, Status};
use approver::api::{Limits, proof};
use approver::directory::Directory;
use approver::testing::{Actor, Faulty, Props, SecurityKey, Trouble, new_key, person};
use certs::enrolment::EnrolmentCode;
use certs::proof::Face;
use certs::ssh_ca::check_user_certificate;
use certs::sshsig::{Namespace, login_message, sign_with};
use certs::token::request_message;
use policies::decide::Command;
use policies::digest::Digest;
use policies::people::Kind;
use policies::time::Seconds;
use serde_json::json;
use ssh_key::certificate::Certificate;

use crate::kit::{House, answer, limits};

const SIGN_IN: &str = "/api/v1/sign-in";

#[tokio::test]
async fn an_operator_who_signs_in_on_the_plant_face_is_on_duty_and_a_technician_is_not_let_in_there() {
    let house = House::new().await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    assert!(lead.signed_in.on_duty_until.is_some() && !lead.signed_in.key_alone);
    let status: Status = house.get("/api/v1/status", &lead).await.json();
    assert_eq!(status.deployment, approver::testing::deployment());
    let body = house.login(Face::Plant, &house.stage.technician).await;
    let refused = house.send(Face::Plant, "POST", SIGN_IN, None, Some(body)).await;
    assert_eq!(refused.refusal(), "wrong-kind");
    let body = house.login(Face::Vendor, &house.stage.lead).await;
    let refused = house.send(Face::Vendor, "POST", SIGN_IN, None, Some(body)).await;
    assert_eq!(refused.refusal(), "wrong-kind");
}

#[tokio::test]
async fn a_wrong_name_key_and_code_get_one_answer_after_one_time() {
    let house = House::new().await;
    let good = house.login(Face::Plant, &house.stage.lead).await;
    let stranger = new_key();
    let other = |key: &str, value: &str| {
        let mut body = good.clone();
        body[key] = value.into();
        body
    };
    let mut answers = Vec::new();
    for body in [
        other("name", "nobody"),
        other("name", "kim"),
        other("public_key", &stranger.public_key().to_openssh().unwrap()),
        other("nonce", &"00".repeat(32)),
        other("code", "000000"),
    ] {
        let begin = Instant::now();
        let answer = house.send(Face::Plant, "POST", SIGN_IN, None, Some(body)).await;
        answers.push((answer.status, answer.text()));
        assert!(begin.elapsed() >= Duration::from_secs(1));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(answers[0].0, 401);
    // The nonce went with the wrong code; the right code needs a new one.
    assert_eq!(house.send(Face::Plant, "POST", SIGN_IN, None, Some(good)).await.status, 401);
}

#[tokio::test]
async fn a_challenge_says_nothing_about_who_exists() {
    let house = House::new().await;
    let (known, unknown) = (house.challenge(Face::Plant, "lee").await, house.challenge(Face::Plant, "x").await);
    assert_eq!((known.origin, known.expires), (unknown.origin, unknown.expires));
    assert_ne!(known.nonce, unknown.nonce);
}

#[tokio::test]
async fn a_request_serves_once_and_only_as_it_was_signed() {
    let house = House::new().await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let (door, token) = (&house.plant, Some(lead.signed_in.token.as_str()));
    let proof = house.proof(&lead, "GET", "/api/v1/requests?all=true", b"");
    let call = |method: &'static str, path: &'static str, proof: String, body: &'static str| async move {
        answer(door.call(method, path, token, Some(proof), body).await).await.status
    };
    assert_eq!(call("GET", "/api/v1/requests?all=false", proof.clone(), "").await, 401);
    assert_eq!(call("GET", "/api/v1/people", proof.clone(), "").await, 401);
    assert_eq!(call("GET", "/api/v1/requests?all=true", proof.clone(), "{}").await, 401);
    assert_eq!(call("GET", "/api/v1/requests?all=true", proof.clone(), "").await, 200);
    assert_eq!(call("GET", "/api/v1/requests?all=true", proof, "").await, 401);
    let thief = crate::kit::Session { signed_in: lead.signed_in.clone(), key: new_key() };
    assert_eq!(house.get("/api/v1/requests", &thief).await.status, 401);
    let alone = answer(door.call("GET", "/api/v1/requests", token, None, "").await).await;
    assert_eq!((alone.status, alone.refusal().as_str()), (401, "not-signed-in"));
}

#[tokio::test]
async fn a_request_that_one_run_of_the_gate_has_seen_serves_no_other_and_a_new_one_does() {
    let house = House::new().await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let token = &*lead.signed_in.token;
    let proof = house.proof(&lead, "GET", SESSIONS, b"");
    let other = house.another_run(Face::Plant).await;
    for door in [&other, &house.plant, &other] {
        let response = door.call("GET", SESSIONS, Some(token), Some(proof.clone()), "").await;
        assert_eq!(response.headers()["holdpoint-start"], *door.start);
        let answer = answer(response).await;
        match std::ptr::eq(door, &other) {
            true => assert_eq!((answer.status, &*answer.refusal()), (401, "other-start")),
            false => assert_eq!(answer.status, 200),
        }
    }
    // The token itself lasts.
    let at = house.at();
    let message = request_message("GET", SESSIONS, Digest::of_bytes(b""), &lead.signed_in.token_id, at, &other.start);
    let proof = proof::value(at, &other.start, &sign_with(&lead.key, Namespace::Request, &message).unwrap());
    let again = other.call("GET", SESSIONS, Some(token), Some(proof), "").await;
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_no_place() {
    let stalled_max = std::time::Duration::from_secs(2);
    let house = House::on(Props::new(), |_| {}, Limits { stalled_max, ..limits() }).await;
    for door in [&house.vendor, &house.plant] {
        let said = door.says("POST /api/v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("too-slow"), "{said}");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_person() {
    let house = House::new().await;
    let (admin, lead) =
        (house.sign_in(Face::Plant, &house.stage.admin).await, house.sign_in(Face::Plant, &house.stage.lead).await);
    let person = house.stage.lead.person;
    let disabled = house.post(&format!("/api/v1/people/{person}/disable"), &admin, json!({})).await;
    assert_eq!(disabled.status, 204, "{}", disabled.text());
    let out = house.get("/api/v1/requests", &lead).await;
    assert_eq!((out.status, out.refusal().as_str()), (401, "not-active"));
    house.stage.pass(Duration::from_secs(600));
    assert_eq!(house.get("/api/v1/people", &admin).await.status, 401);
}

#[tokio::test]
async fn a_vendor_whose_contract_is_over_is_out_at_once() {
    let house = House::new().await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    assert_eq!(house.get("/api/v1/requests", &technician).await.status, 200);
    assert_eq!(house.post("/api/v1/vendors/acme/disable", &admin, json!({})).await.status, 204);
    let out = house.get("/api/v1/requests", &technician).await;
    assert_eq!((out.status, out.refusal().as_str()), (401, "vendor-disabled"));
}

#[tokio::test]
async fn without_the_directory_an_operators_key_sees_and_cuts_and_no_more() {
    let props = Props::new();
    let memory: std::sync::Arc<dyn Directory> = props.directory.clone();
    let faulty = std::sync::Arc::new(Faulty::new(memory));
    let house = House::on(Props { directory: faulty.clone(), ..props }, |_| {}, limits()).await;
    let request = house.stage.grant("hmi-2", &[approver_action()]).await;
    let lease = house.stage.admit("hmi-2").await.unwrap();
    faulty.set(Trouble::Gone);
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    assert!(lead.signed_in.key_alone);
    assert_eq!(house.get("/api/v1/sessions", &lead).await.status, 200);
    for (method, path) in
        [("GET", format!("/api/v1/requests/{request}/statement")), ("POST", "/api/v1/verdicts".into())]
    {
        let refused = house.send(Face::Plant, method, &path, Some(&lead), (method == "POST").then(|| json!({}))).await;
        assert_eq!((refused.status, refused.refusal().as_str()), (403, "key-alone"), "{path}");
    }
    let cut = house.post("/api/v1/cuts", &lead, json!({ "scope": "session", "of": lease.session() })).await;
    let cut: approver::api::types::CutMade = cut.json();
    assert_eq!((cut.sessions, cut.kept.as_str()), (vec![lease.session()], "journal"));
    assert!(lease.orders().now().over.is_some());
    let body = house.login(Face::Plant, &house.auditor).await;
    assert_eq!(house.send(Face::Plant, "POST", SIGN_IN, None, Some(body)).await.status, 503);
    let body = house.login(Face::Vendor, &house.stage.technician).await;
    assert_eq!(house.send(Face::Vendor, "POST", SIGN_IN, None, Some(body)).await.status, 503);
    faulty.set(Trouble::None);
    house.stage.desk.end(lease, policies::events::Ending::Left, None).await;
}

#[tokio::test]
async fn a_pass_by_key_alone_takes_no_request_that_an_untouched_security_key_signed() {
    let props = Props::new();
    let memory: std::sync::Arc<dyn Directory> = props.directory.clone();
    let faulty = std::sync::Arc::new(Faulty::new(memory));
    let house = House::on(Props { directory: faulty.clone(), ..props }, |_| {}, limits()).await;
    let (stage, key) = (&house.stage, SecurityKey::new());
    let invite = person("vera", Kind::Operator { vendor: None }, &["shift-lead"]);
    let invited = stage.people.invite(invite, Seconds(600), stage.admin.person).await.unwrap();
    let vera = stage.people.enrol(&invited.code, &key.public()).await.unwrap();
    for signer in [&stage.admin, &stage.lead] {
        let certificate = stage.certificate(signer, vera.person);
        stage.desk.act(Command::Certify { certificate }).await.unwrap();
    }
    let vera = Actor { person: vera.person, name: vera.name, key: new_key(), totp: vera.totp };
    let mut body = house.login(Face::Plant, &vera).await;
    faulty.set(Trouble::Gone);
    let nonce = data_encoding::HEXLOWER.decode(body["nonce"].as_str().unwrap().as_bytes()).unwrap();
    let message = login_message(&house.plant.origin, &nonce.try_into().unwrap());
    body["public_key"] = key.public().to_openssh().unwrap().into();
    body["signature"] = key.signature(true, Namespace::Login, &message).into();
    let pass: SignedIn = house.send(Face::Plant, "POST", SIGN_IN, None, Some(body)).await.json();
    assert!(pass.key_alone);
    for (is_touched, status) in [(false, 401), (true, 200)] {
        let at = stage.desk.clock().wall();
        let (body, start) = (Digest::of_bytes(b""), &*house.plant.start);
        let message = request_message("GET", SESSIONS, body, &pass.token_id, at, start);
        let proof = proof::value(at, start, &key.signature(is_touched, Namespace::Request, &message));
        let response = house.plant.call("GET", SESSIONS, Some(&pass.token), Some(proof), "").await;
        assert_eq!(response.status(), status, "{is_touched}");
    }
}

const SESSIONS: &str = "/api/v1/sessions";

fn approver_action() -> policies::actions::Action {
    policies::actions::Action::Shell
}

#[tokio::test]
async fn whoever_is_invited_enrols_on_their_own_face_and_signs_in() {
    let house = House::new().await;
    let stage = &house.stage;
    let kind = Kind::Technician { vendor: "acme".parse().unwrap(), role: "maintenance".parse().unwrap() };
    let invited = stage.people.invite(person("theo", kind, &[]), Seconds(600), stage.admin.person).await.unwrap();
    let key = new_key();
    let body = json!({ "code": *invited.code.reveal(), "public_key": key.public_key().to_openssh().unwrap() });
    let enrol = |face, body| house.send(face, "POST", "/api/v1/enrol", None, Some(body));
    let elsewhere = enrol(Face::Plant, body.clone()).await;
    assert_eq!(elsewhere.refusal(), "code-of-a-technician");
    assert!(elsewhere.text().contains("https://gate.mill3.example/enrol"), "{}", elsewhere.text());
    let enrolled: EnrolledAnswer = enrol(Face::Vendor, body.clone()).await.json();
    assert_eq!((enrolled.name.as_str(), enrolled.standing.as_str()), ("theo", "active"));
    let second = enrolled.second.as_ref().unwrap();
    assert_eq!((second.recovery_codes.len(), enrolled.face), (10, Face::Vendor));
    assert_eq!(enrol(Face::Vendor, body).await.refusal(), "link-spent");
    let totp = certs::totp::TotpSecret::from_base32(&second.totp_secret).unwrap();
    let theo = approver::testing::Actor { person: enrolled.person, name: enrolled.name, key, totp };
    let body = house.login(Face::Vendor, &theo).await;
    let signed_in: SignedIn = house.send(Face::Vendor, "POST", SIGN_IN, None, Some(body)).await.json();
    assert_eq!(signed_in.person, theo.person);
    assert_eq!(proof::token_id(&signed_in.token), Some(signed_in.token_id));
}

#[tokio::test]
async fn only_who_has_a_good_code_learns_that_it_is_for_the_other_face_and_nobody_the_plant_faces_address() {
    let house = House::new().await;
    let stage = &house.stage;
    let technician = Kind::Technician { vendor: "acme".parse().unwrap(), role: "maintenance".parse().unwrap() };
    let refused = async |(name, kind, face, refusal): (&str, Kind, Face, &str)| {
        let invited = stage.people.invite(person(name, kind, &[]), Seconds(600), stage.admin.person).await.unwrap();
        let guessed = EnrolmentCode::generate(invited.code.link(), stage.props.keys.tls_ca().fingerprint().prefix());
        let public_key = new_key().public_key().to_openssh().unwrap();
        let enrol = async |code: &EnrolmentCode| {
            let body = json!({ "code": *code.reveal(), "public_key": public_key });
            house.send(face, "POST", "/api/v1/enrol", None, Some(body)).await
        };
        let (guess, said) = tokio::join!(enrol(&guessed), enrol(&invited.code));
        assert_eq!((guess.refusal().as_str(), said.refusal().as_str()), ("link-spent", refusal), "{name}");
        assert_eq!(said.text().contains("mill3.local"), face == Face::Plant && name == "wall-2", "{}", said.text());
        assert_eq!(said.text().contains("gate.mill3.example"), name == "theo", "{}", said.text());
    };
    tokio::join!(
        refused(("olga", Kind::Operator { vendor: None }, Face::Vendor, "code-of-the-plant")),
        refused(("wall-1", Kind::Display, Face::Vendor, "code-of-the-plant")),
        refused(("wall-2", Kind::Display, Face::Plant, "code-of-a-display")),
        refused(("theo", technician, Face::Plant, "code-of-a-technician")),
    );
}

#[tokio::test]
async fn a_certificate_is_for_an_hour_and_the_callers_address_and_takes_a_complete_login() {
    let house = House::new().await;
    let body = house.login(Face::Vendor, &house.stage.technician).await;
    let path = "/api/v1/certificate";
    let made: CertificateAnswer = house.send(Face::Vendor, "POST", path, None, Some(body.clone())).await.json();
    let certificate = Certificate::from_openssh(&made.certificate).unwrap();
    let (ca, now) = (house.stage.props.keys.ssh_ca(), house.stage.desk.clock().wall());
    let principal = house.stage.technician.person.to_string();
    assert_eq!(made.source, "127.0.0.1".parse::<std::net::IpAddr>().unwrap());
    assert!(check_user_certificate(&certificate, &ca.believed(), now, made.source, &principal).is_ok());
    let again = house.send(Face::Vendor, "POST", path, None, Some(body)).await;
    assert_eq!(again.refusal(), "sign-in-refused");
    let session = crate::kit::Session { signed_in: made.signed_in, key: house.stage.technician.key.clone() };
    assert_eq!(house.get("/api/v1/me", &session).await.status, 200, "one code serves both");
}

#[tokio::test]
async fn a_signature_for_one_face_is_none_for_the_other() {
    let house = House::new().await;
    let mut body = house.login(Face::Plant, &house.stage.lead).await;
    let challenge = house.challenge(Face::Plant, "lee").await;
    let nonce: [u8; 32] = data_encoding::HEXLOWER.decode(challenge.nonce.as_bytes()).unwrap().try_into().unwrap();
    let message = login_message(&house.vendor.origin, &nonce);
    body["nonce"] = challenge.nonce.into();
    body["signature"] = sign_with(&house.stage.lead.key, Namespace::Login, &message).unwrap().into();
    assert_eq!(house.send(Face::Plant, "POST", SIGN_IN, None, Some(body)).await.refusal(), "sign-in-refused");
}

#[tokio::test]
async fn too_much_at_once_is_refused_with_words() {
    let house = House::on(Props::new(), |_| {}, Limits { burst: 3, requests_per_second: 1, ..limits() }).await;
    let health: Health = house.send(Face::Plant, "GET", "/healthz", None, None).await.json();
    assert!(health.healthy);
    let large = "x".repeat((1 << 20) + 1);
    let refused = answer(house.plant.call("POST", SIGN_IN, None, None, large).await).await;
    assert_eq!((refused.status, refused.refusal().as_str()), (413, "too-large"));
    house.send(Face::Plant, "GET", "/healthz", None, None).await;
    let refused = house.send(Face::Plant, "GET", "/healthz", None, None).await;
    assert_eq!((refused.status, refused.refusal().as_str()), (429, "too-many-requests"));
}
