//! Client certificates of the TCP face: who gets one, under which grant, and for how long it goes on by itself.

use std::time::Duration;

use approver::api::proof;
use approver::api::types::ClientCertificate;
use approver::desk::Rejected;
use approver::testing::{PLANT, Props};
use certs::proof::{Authenticated, Face};
use certs::tls_client::ClientKey;
use certs::token::SignedRequest;
use policies::actions::Action;
use policies::decide::Command;
use policies::digest::Digest;
use policies::events::{CutBy, Scope};
use policies::ids::RequestId;
use policies::time::Seconds;
use serde_json::json;

use crate::kit::{Answer, House, Session, answer, limits};

const RENEWAL: &str = "/api/v1/client-certificate";

/// A controller behind the house that speaks TCP alone.
fn plant() -> String {
    let controller = "[targets.plc-9]\nzone = \"packaging\"\n[targets.plc-9.services.modbus]\nprotocol = \"tcp\"\n\
                      address = \"10.20.2.9:502\"\n[targets.safety-plc]\n";
    let text = PLANT.replacen("[targets.safety-plc]\n", controller, 1);
    text.replacen("actions = [\"shell\"", "actions = [\"tunnel\", \"shell\"", 1)
}

struct Line {
    house: House,
    key: ClientKey,
}

impl Line {
    async fn new() -> Self {
        Self { house: House::with_plant(Props::new(), &plant(), |_| {}, limits()).await, key: ClientKey::generate() }
    }

    async fn first(&self, grant: RequestId, who: &Session) -> Answer {
        let path = format!("/api/v1/requests/{grant}/client-certificate");
        let body = json!({ "signing_request": self.key.signing_request().unwrap() });
        self.house.post(&path, who, body).await
    }

    async fn renew(&self, certificate: &str, key: &ClientKey) -> Answer {
        self.send(&self.renewal(certificate, key)).await
    }

    /// A request for the next certificate: token, proof and body.
    fn renewal(&self, certificate: &str, key: &ClientKey) -> (String, String, String) {
        let body = json!({ "signing_request": key.signing_request().unwrap() }).to_string();
        let (at, start) = (self.house.at(), &self.house.vendor.start);
        let shown = key.show(certificate, ("POST", RENEWAL, Digest::of_bytes(body.as_bytes())), at, start).unwrap();
        (shown.token, proof::value(at, start, &shown.signature), body)
    }

    async fn send(&self, (token, proof, body): &(String, String, String)) -> Answer {
        let sent = self.house.vendor.call("POST", RENEWAL, Some(token), Some(proof.clone()), body.clone());
        answer(sent.await).await
    }

    async fn technician(&self) -> Session {
        self.house.sign_in(Face::Vendor, &self.house.stage.technician).await
    }

    /// Who the certificate says they are.
    fn shown(&self, made: &ClientCertificate) -> Authenticated {
        let stage = &self.house.stage;
        let (now, body) = (stage.desk.clock().wall(), Digest::of_bytes(b""));
        let ca = stage.props.keys.tls_ca();
        let shown = self.key.show(&made.certificate, ("GET", "/", body), now, "").unwrap();
        let signature = &shown.signature;
        let request = SignedRequest { method: "GET", path_and_query: "/", body, at: now, start: "", signature };
        let (held, _) = ca.check_shown(stage.desk.deployment(), &shown.token, &request, now).unwrap();
        Authenticated::by_client_certificate(held, made.source, now).unwrap()
    }
}

#[tokio::test]
async fn a_technician_gets_one_for_a_quarter_of_an_hour_that_admits_under_its_grant() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let grant = stage.grant("plc-9", &[Action::Tunnel]).await;
    let tara = line.technician().await;
    let made: ClientCertificate = line.first(grant, &tara).await.json();
    assert_eq!(made.expires, Seconds(900).after(stage.desk.clock().wall()));
    assert_eq!((made.grant.request, made.face.port), (grant, 8443));
    let [service] = made.face.services.as_slice() else { panic!("{:?}", made.face) };
    assert_eq!(service.server_name, "modbus.plc-9.gate.mill3.example");
    let who = line.shown(&made);
    assert_eq!((who.person(), who.grant()), (stage.technician.person, Some(grant)));
    let ask = stage.wanted("plc-9");
    stage.desk.would_admit(&who, &ask).unwrap();
    let lease = stage.desk.admit(&who, ask).await.unwrap();
    stage.desk.end(lease, policies::events::Ending::Left, None).await;
    assert!(stage.desk.would_admit(&who, &stage.wanted("hmi-2")).is_err());
}

#[tokio::test]
async fn it_never_outlasts_the_grant() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let grant = stage.grant("plc-9", &[Action::Tunnel]).await;
    let lease = stage.admit("plc-9").await.unwrap();
    stage.pass(Duration::from_secs(3_000));
    let tara = line.technician().await;
    let made: ClientCertificate = line.first(grant, &tara).await.json();
    assert_eq!(made.expires, made.grant.deadline);
    stage.desk.end(lease, policies::events::Ending::Left, None).await;
    stage.pass(Duration::from_secs(570));
    assert_eq!(line.first(grant, &tara).await.refusal(), "grant-over");
    assert_eq!(line.renew(&made.certificate, &line.key).await.refusal(), "not-signed-in");
}

#[tokio::test]
async fn it_renews_itself_without_a_code_while_it_lasts_and_the_grant_stands() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let grant = stage.grant("plc-9", &[Action::Tunnel]).await;
    let tara = line.technician().await;
    let mut made: ClientCertificate = line.first(grant, &tara).await.json();
    // An hour: no token lasts as long.
    for _ in 0..5 {
        stage.pass(Duration::from_secs(720));
        made = line.renew(&made.certificate, &line.key).await.json();
        assert_eq!(made.expires, Seconds(900).after(stage.desk.clock().wall()));
    }
    assert_eq!(line.renew(&made.certificate, &ClientKey::generate()).await.refusal(), "not-signed-in");
    // Whoever has read a renewal on its way cannot have it again, here or at another run of the gate.
    let renewal = line.renewal(&made.certificate, &line.key);
    assert!(line.send(&renewal).await.status < 300);
    assert_eq!(line.send(&renewal).await.refusal(), "not-signed-in");
    let (token, proof, body) = renewal;
    let other = line.house.another_run(Face::Vendor).await;
    let answered = other.call("POST", RENEWAL, Some(&token), Some(proof), body).await;
    assert_eq!(answer(answered).await.refusal(), "other-start");
    let by = CutBy::Operator(stage.lead.person);
    stage.desk.cut(by, Scope::Technician(stage.technician.person)).await.unwrap();
    assert_eq!(line.renew(&made.certificate, &line.key).await.refusal(), "cut-off");
}

#[tokio::test]
async fn it_goes_on_while_the_gate_waits_for_those_at_work_and_lets_nobody_new_in() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let grant = stage.grant("plc-9", &[Action::Tunnel]).await;
    let tara = line.technician().await;
    let made: ClientCertificate = line.first(grant, &tara).await.json();
    assert_eq!(made.restarts, None);
    let at = Seconds(600).after(stage.desk.clock().wall());
    stage.desk.restarts_at(at);
    let made: ClientCertificate = line.renew(&made.certificate, &line.key).await.json();
    assert_eq!(made.restarts, Some(at));
    let who = line.shown(&made);
    let Err(Rejected::Refusal(refusal)) = stage.desk.admit(&who, stage.wanted("plc-9")).await else { panic!("let in") };
    assert_eq!(refusal.why(), "restarts");
    // Whatever else is against somebody counts as ever.
    let by = CutBy::Operator(stage.lead.person);
    stage.desk.cut(by, Scope::Technician(stage.technician.person)).await.unwrap();
    assert_eq!(line.renew(&made.certificate, &line.key).await.refusal(), "cut-off");
}

#[tokio::test]
async fn a_grant_taken_back_a_person_put_out_and_time_gone_by_end_it() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let (one, other) = (stage.grant("plc-9", &[Action::Tunnel]).await, stage.grant("plc-9", &[Action::Tunnel]).await);
    let tara = line.technician().await;
    let under_one: ClientCertificate = line.first(one, &tara).await.json();
    let under_other: ClientCertificate = line.first(other, &tara).await.json();
    let reason = stage.people.put_text("enough").await.unwrap();
    let revoke = Command::Revoke { request: one, by: stage.lead.person, reason };
    stage.desk.act(revoke).await.unwrap();
    assert_eq!(line.first(one, &tara).await.refusal(), "grant-revoked");
    assert_eq!(line.renew(&under_one.certificate, &line.key).await.refusal(), "grant-revoked");
    assert!(line.renew(&under_other.certificate, &line.key).await.status < 300);
    stage.pass(Duration::from_secs(901));
    assert_eq!(line.renew(&under_other.certificate, &line.key).await.refusal(), "not-signed-in");
    let tara = line.technician().await;
    let again: ClientCertificate = line.first(other, &tara).await.json();
    let disable = Command::Disable { person: stage.technician.person, by: stage.admin.person };
    stage.desk.act(disable).await.unwrap();
    assert_eq!(line.renew(&again.certificate, &line.key).await.refusal(), "not-active");
    assert_eq!(line.first(other, &tara).await.refusal(), "not-active");
}

#[tokio::test]
async fn whoever_enrols_again_starts_anew() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let grant = stage.grant("plc-9", &[Action::Tunnel]).await;
    let tara = line.technician().await;
    let made: ClientCertificate = line.first(grant, &tara).await.json();
    let person = stage.technician.person;
    stage.pass(Duration::from_secs(60));
    let invited = stage.people.reinvite(person, Seconds(600), stage.admin.person).await.unwrap();
    stage.people.enrol(&invited.code, stage.technician.key.public_key()).await.unwrap();
    assert_eq!(line.renew(&made.certificate, &line.key).await.refusal(), "earlier-key");
    let refused = line.first(grant, &tara).await;
    assert_eq!(
        (refused.status, refused.refusal().as_str()),
        (401, "not-signed-in"),
        "the key is the same, the login is not"
    );
}

#[tokio::test]
async fn nobody_gets_one_for_what_is_not_granted_to_them_or_is_ssh() {
    let line = Line::new().await;
    let stage = &line.house.stage;
    let tara = line.technician().await;
    let ssh = stage.grant("hmi-2", &[Action::Shell]).await;
    assert_eq!(line.first(ssh, &tara).await.refusal(), "no-tcp-service");
    let pending = stage.ask("plc-9", &[Action::Tunnel]).await.unwrap();
    assert_eq!(line.first(pending, &tara).await.refusal(), "still-pending");
    let nobodys = RequestId::new(7_u128.into());
    assert_eq!(line.first(nobodys, &tara).await.refusal(), "no-such-request");
    let path = format!("/api/v1/requests/{pending}/client-certificate");
    let bad = line.house.post(&path, &tara, json!({ "signing_request": "nothing" })).await;
    assert_eq!(bad.refusal(), "bad-signing-request");
}

#[tokio::test]
async fn a_gate_without_a_tcp_face_says_so() {
    let house = House::with_plant(Props::new(), &plant(), |parts| parts.tcp_port = None, limits()).await;
    let line = Line { house, key: ClientKey::generate() };
    let grant = line.house.stage.grant("plc-9", &[Action::Tunnel]).await;
    let tara = line.technician().await;
    assert_eq!(line.first(grant, &tara).await.refusal(), "unavailable");
}
