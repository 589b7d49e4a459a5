//! What a rule, a contract and a zone forbid, each tried by name at the real Desk: generated histories meet most of it too
//! seldom to notice that it is gone.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::time::Duration;

use approver::lease::Lease;
use approver::mint;
use approver::testing::{Actor, PLANT, Props, Stage, enrol, person, refusal};
use jiff::SignedDuration;
use policies::actions::{Action, Actions};
use policies::decide::{Command, NewRequest};
use policies::digest::{Digest, Salted};
use policies::events::{CutBy, Ending, Scope};
use policies::people::Kind;
use policies::refusals::Refusal;
use policies::requests::{Matter, Reopening, Widening};
use policies::time::{Seconds, Window};

const MINUTE: Duration = Duration::from_secs(60);

fn reason() -> Salted {
    Salted::new(&[1; 32], "because")
}

/// The stage with another line in its plant file.
async fn stage_with(line: &str, instead_of: &str) -> Stage {
    assert!(PLANT.contains(instead_of));
    Stage::on(Props::new(), &PLANT.replacen(instead_of, line, 1)).await
}

async fn let_in(stage: &Stage, target: &str) -> Lease {
    stage.grant(target, &[Action::Shell]).await;
    stage.admit(target).await.unwrap()
}

async fn another(stage: &Stage, name: &str, kind: Kind, groups: &[&str]) -> Actor {
    let invited = stage.people.invite(person(name, kind, groups), Seconds(86_400), stage.admin.person).await;
    enrol(&stage.people, &invited.unwrap().code).await
}

#[tokio::test]
async fn where_a_rule_is_exclusive_a_second_person_waits_outside() {
    for (exclusive, neighbour_waits) in [("target", false), ("zone", true)] {
        let mut stage = stage_with(&format!("exclusive = \"{exclusive}\""), "exclusive = \"none\"").await;
        let first = let_in(&stage, "plc-7").await;
        let kind = Kind::Technician { vendor: "acme".parse().unwrap(), role: "maintenance".parse().unwrap() };
        stage.technician = another(&stage, "theo", kind, &[]).await;
        stage.grant("plc-7", &[Action::Shell]).await;
        stage.grant("hmi-2", &[Action::Shell]).await;
        let refused = refusal(stage.admit("plc-7").await);
        assert!(matches!(refused, Refusal::HeldExclusively(..)), "{exclusive}: {refused}");
        let beside = stage.admit("hmi-2").await;
        assert_eq!(beside.is_err(), neighbour_waits, "{exclusive}: {beside:?}");
        stage.desk.end(first, Ending::Left, None).await;
        assert!(stage.admit("plc-7").await.is_ok(), "{exclusive}");
    }
}

#[tokio::test]
async fn a_zone_that_a_new_plant_file_shuts_lets_nobody_in_whatever_was_granted() {
    let stage = stage_with("zones = [\"packaging\", \"press\"]", "zones = [\"packaging\"]").await;
    let running = let_in(&stage, "plc-7").await;
    let text = PLANT.replacen("zones = [\"packaging\"]", "zones = [\"packaging\", \"press\"]", 1);
    let text = text.replacen("[zones.packaging]", "[zones.packaging]\nnever = true", 1);
    stage.desk.act(Command::ProposePlant { text: text.clone(), by: stage.admin.person }).await.unwrap();
    for signer in [&stage.admin, &stage.lead] {
        let signed = stage.plant_signature(signer, Digest::of_bytes(text.as_bytes()));
        stage.desk.act(Command::SignPlant { signed }).await.unwrap();
    }
    assert_eq!(running.orders().now().over, Some(Ending::Revoked), "who is there goes");
    assert_eq!(refusal(stage.admit("plc-7").await), Refusal::ZoneNever("packaging".parse().unwrap()));
}

#[tokio::test]
async fn what_was_granted_lets_nobody_in_where_a_new_plant_file_lets_everything_pass() {
    let stage = Stage::new().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let ssh = "protocol = \"ssh\"\naddress = \"10.20.2.7:22\"\nuser = \"maint\"\ncredential = \"certificate\"\n\
               host_key = \"SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s\"";
    let text = PLANT.replacen(ssh, "protocol = \"tcp\"\naddress = \"10.20.2.7:22\"", 1);
    assert_ne!(text, PLANT);
    stage.desk.act(Command::ProposePlant { text: text.clone(), by: stage.admin.person }).await.unwrap();
    for signer in [&stage.admin, &stage.lead] {
        let signed = stage.plant_signature(signer, Digest::of_bytes(text.as_bytes()));
        stage.desk.act(Command::SignPlant { signed }).await.unwrap();
    }
    let granted = Actions::from([Action::Shell]);
    assert_eq!(refusal(stage.admit("plc-7").await), Refusal::ActionNotGranted { wanted: Action::Tunnel, granted });
}

#[tokio::test]
async fn a_session_ends_no_later_than_the_vendors_contract() {
    let stage = Stage::new().await;
    let end = stage.desk.clock().wall() + SignedDuration::from_mins(30);
    let vendor = "acme".parse().unwrap();
    let contract =
        Command::Contract { vendor, end, sponsor: stage.lead.person, telephone: None, by: stage.admin.person };
    stage.desk.act(contract).await.unwrap();
    let lease = let_in(&stage, "plc-7").await;
    assert_eq!(lease.orders().now().deadline.wall, end);
    assert_eq!(stage.desk.with_state(|state| state.cases[&lease.grant()].deadline), end);
    stage.pass(30 * MINUTE);
    assert_eq!(lease.orders().over().await, Ending::Expired);
}

#[tokio::test]
async fn a_widening_stays_inside_its_rule() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let widen = |actions: &[Action], lasts| {
        let id = mint::ask(stage.desk.clock().wall());
        let actions: Actions = actions.iter().copied().collect();
        let widening = Widening { id, request: lease.grant(), actions, lasts: Seconds(lasts), reason: reason() };
        stage.desk.act(Command::AskWidening { widening, by: stage.technician.person })
    };
    for actions in [&[][..], &[Action::Program], &[Action::Shell, Action::Program]] {
        let refused = refusal(widen(actions, 600).await);
        assert!(matches!(refused, Refusal::OutsideRule { .. }), "{actions:?}: {refused}");
    }
    for lasts in [0, 4 * 3_600 + 1] {
        let refused = refusal(widen(&[Action::Shell], lasts).await);
        assert!(matches!(refused, Refusal::TooLong { .. }), "{lasts}: {refused}");
    }
    widen(&[Action::Shell], 4 * 3_600).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_not_extended_and_nothing_beyond_its_rule() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let (request, by) = (lease.grant(), stage.technician.person);
    let extend = |more| {
        let ask = mint::ask(stage.desk.clock().wall());
        stage.desk.act(Command::AskExtension { ask, request, more: Seconds(more), reason: reason(), by })
    };
    assert!(matches!(refusal(extend(3 * 3_600 + 1).await), Refusal::ExtensionTooFar(..)));
    extend(3 * 3_600).await.unwrap();
    stage.pass(61 * MINUTE);
    assert!(matches!(refusal(extend(600).await), Refusal::GrantOver(..)));
}

#[tokio::test]
async fn more_time_before_the_first_connection_keeps_the_grant_and_lets_in_later() {
    let stage = Stage::new().await;
    let asked = short(&stage);
    let (id, until) = (asked.id, asked.window.until);
    stage.desk.act(Command::Submit(asked)).await.unwrap();
    stage.desk.act(Command::Vote { verdict: stage.approval(&stage.lead, id) }).await.unwrap();
    let (ask, by) = (mint::ask(stage.desk.clock().wall()), stage.technician.person);
    let wanted = Command::AskExtension { ask, request: id, more: Seconds(1_800), reason: reason(), by };
    stage.desk.act(wanted).await.unwrap();
    let verdict = stage.approval_of_ask(&stage.lead, ask, true);
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    stage.pass(50 * MINUTE);
    assert!(stage.desk.act(Command::Sweep).await.unwrap().is_empty(), "it has not lapsed");
    let lease = stage.admit("plc-7").await.unwrap();
    assert_eq!(lease.orders().now().deadline.wall, until + SignedDuration::from_mins(30));
}

#[tokio::test]
async fn nobody_reopens_what_was_cut_of_their_own_vendor() {
    let stage = Stage::new().await;
    let of_acme =
        another(&stage, "alma", Kind::Operator { vendor: Some("acme".parse().unwrap()) }, &["shift-lead"]).await;
    for signer in [&stage.admin, &stage.lead] {
        let certificate = stage.certificate(signer, of_acme.person);
        stage.desk.act(Command::Certify { certificate }).await.unwrap();
    }
    for scope in [Scope::Vendor("acme".parse().unwrap()), Scope::Technician(stage.technician.person)] {
        let cut = stage.desk.cut(CutBy::Operator(stage.lead.person), scope).await.unwrap().cut;
        let reopening = || Reopening { cut, reason: reason() };
        let theirs = stage.approval_of_reopening(&of_acme, &reopening());
        assert_eq!(refusal(stage.desk.reopen(reopening(), theirs).await), Refusal::OwnVendor);
        let ours = stage.approval_of_reopening(&stage.other_lead, &reopening());
        stage.desk.reopen(reopening(), ours).await.unwrap();
    }
}

/// A shell on `plc-7` for a quarter of an hour, within the next half.
fn short(stage: &Stage) -> NewRequest {
    let now = stage.desk.clock().wall();
    NewRequest {
        id: mint::request(now),
        technician: stage.technician.person,
        target: "plc-7".parse().unwrap(),
        service: None,
        actions: Actions::from([Action::Shell]),
        window: Window { from: now, until: now + SignedDuration::from_mins(30) },
        duration: Seconds(900),
        reason: Some(reason()),
        work_order: None,
        source: Some(approver::testing::source()),
        emergency: false,
    }
}

#[tokio::test]
async fn an_emergency_takes_an_operator_on_duty_and_another_to_look_back() {
    let stage = stage_with("exclusive = \"none\"\nemergency = true", "exclusive = \"none\"").await;
    let asked = NewRequest { emergency: true, ..short(&stage) };
    let id = asked.id;
    stage.desk.act(Command::Submit(asked)).await.unwrap();
    let vote = |verdict| stage.desk.act(Command::Vote { verdict });
    assert_eq!(refusal(vote(stage.approval(&stage.lead, id)).await), Refusal::NotOnDuty);
    stage.desk.act(Command::ComeOnDuty { person: stage.lead.person, provider: None }).await.unwrap();
    vote(stage.approval(&stage.lead, id)).await.unwrap();
    assert!(stage.admit("plc-7").await.is_ok());
    let digest = stage.desk.with_state(|state| state.cases[&id].request.digest(&approver::testing::deployment()));
    let review = |operator| stage.verdict(operator, Matter::Review(id), digest);
    assert_eq!(refusal(vote(review(&stage.lead)).await), Refusal::OwnDeed);
    vote(review(&stage.other_lead)).await.unwrap();
}
