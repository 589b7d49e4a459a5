//! Guests at the Desk: what is open to one, when it ends, and that they come again as themselves.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::time::Duration;

use approver::desk::Rejected;
use approver::lease::Frozen;
use approver::mint;
use approver::people::NotDone;
use approver::testing::{Actor, PLANT, Props, Stage, enrol, new_key, source};
use policies::actions::Action;
use policies::decide::{Command, NewRequest};
use policies::events::Ending;
use policies::ids::RequestId;
use policies::people::Standing;
use policies::refusals::Refusal;
use policies::time::{Seconds, Window};

async fn guest(stage: &Stage, lasts: u32) -> Actor {
    let invitation = stage.invite_guest(&stage.lead, "gus", Seconds(lasts)).await.unwrap();
    enrol(&stage.people, &invitation.code).await
}

/// A grant of an hour at `robot-1`.
async fn granted(stage: &Stage, who: &Actor) -> RequestId {
    let now = stage.desk.clock().wall();
    let id = mint::request(now);
    let asked = NewRequest {
        id,
        technician: who.person,
        target: "robot-1".parse().unwrap(),
        service: None,
        actions: [Action::Shell].into(),
        window: Window { from: now, until: Seconds(28_800).after(now) },
        duration: Seconds(3_600),
        reason: Some(stage.people.put_text("it stands still").await.unwrap()),
        work_order: None,
        source: Some(source()),
        emergency: false,
    };
    stage.desk.act(Command::Submit(asked)).await.unwrap();
    let verdict = stage.approval(&stage.other_lead, id);
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    id
}

#[tokio::test]
async fn a_guests_input_waits_for_an_escort_and_their_session_ends_with_the_visit() {
    let stage = Stage::new().await;
    let gus = guest(&stage, 1_800).await;
    granted(&stage, &gus).await;
    let until = stage.desk.with_state(|state| state.guest(gus.person).unwrap().statement.until);
    let who = stage.login(&gus).await;
    let lease = stage.desk.admit(&who, stage.wanted("robot-1")).await.unwrap();
    let mut orders = lease.orders();
    let now = orders.now();
    assert_eq!((now.deadline.wall, now.frozen), (until, Some(Frozen::NobodyWatches)));
    stage.pass(until.duration_since(stage.desk.clock().wall()).unsigned_abs());
    assert_eq!(orders.over().await, Ending::Expired);
    let out = stage.desk.admit(&who, stage.wanted("robot-1")).await.unwrap_err();
    assert!(matches!(out, Rejected::Refusal(Refusal::GuestOver(_))), "{out:?}");
    stage.desk.act(Command::Sweep).await.unwrap();
    let standing = || stage.desk.with_state(|state| state.people[&gus.person].standing);
    assert_eq!(standing(), Standing::Active, "nothing is taken from under a session that runs");
    stage.desk.end(lease, Ending::Expired, None).await;
    stage.desk.act(Command::Sweep).await.unwrap();
    assert_eq!(standing(), Standing::Over);
}

#[tokio::test]
async fn nothing_of_a_guest_stays_frozen_for_longer_than_the_visit() {
    let froze = "guest_max = \"8h\"\nending = \"freeze\"\nfreeze_max = \"1h\"";
    let plant = PLANT.replace("guest_max = \"8h\"", froze);
    let stage = Stage::on(Props::new(), &plant).await;
    let gus = guest(&stage, 1_800).await;
    granted(&stage, &gus).await;
    let who = stage.login(&gus).await;
    let lease = stage.desk.admit(&who, stage.wanted("robot-1")).await.unwrap();
    stage.pass(Duration::from_secs(1_800));
    assert_eq!(lease.orders().over().await, Ending::Expired);
    stage.desk.end(lease, Ending::Expired, None).await;
}

#[tokio::test]
async fn a_guest_who_is_sent_away_is_out_at_once_and_comes_again_as_themselves_by_another_act() {
    let stage = Stage::new().await;
    let first = stage.invite_guest(&stage.lead, "gus", Seconds(3_600)).await.unwrap();
    let other = stage.invite_guest(&stage.lead, "gwen", Seconds(3_600)).await.unwrap_err();
    assert!(matches!(other, NotDone::Rejected(Rejected::Refusal(Refusal::GuestThere { .. }))), "{other:?}");
    assert_eq!(stage.people.by_name("gwen").await.unwrap(), None, "whom nobody invited has no name here");
    let gus = enrol(&stage.people, &first.code).await;
    granted(&stage, &gus).await;
    let who = stage.login(&gus).await;
    let lease = stage.desk.admit(&who, stage.wanted("robot-1")).await.unwrap();
    let visit = stage.desk.with_state(|state| *state.guests.keys().next().unwrap());
    stage.desk.act(Command::EndGuest { guest: visit, by: stage.admin.person }).await.unwrap();
    assert_eq!(lease.orders().now().over, Some(Ending::Revoked));
    stage.desk.end(lease, Ending::Revoked, None).await;

    let again = stage.invite_guest(&stage.lead, "gus", Seconds(3_600)).await.unwrap();
    assert_eq!(again.person, gus.person);
    assert_eq!(stage.people.by_key(gus.key.public_key()), None, "what they had before counts no longer");
    let gus = enrol(&stage.people, &again.code).await;
    let who = stage.login(&gus).await;
    let out = stage.desk.admit(&who, stage.wanted("robot-1")).await.unwrap_err();
    assert!(matches!(out, Rejected::Refusal(_)), "{out:?}: the grant was of another visit");
}

#[tokio::test]
async fn a_code_that_was_not_used_opens_nothing_after_the_visit() {
    let stage = Stage::new().await;
    let invitation = stage.invite_guest(&stage.lead, "gus", Seconds(60)).await.unwrap();
    stage.pass(Duration::from_secs(60));
    let late = stage.people.enrol(&invitation.code, new_key().public_key()).await.unwrap_err();
    assert!(matches!(late, NotDone::Rejected(Rejected::Refusal(Refusal::LinkSpent))), "{late:?}");
}
