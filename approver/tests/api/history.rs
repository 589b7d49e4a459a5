//! The past by the API: the whole population with what was refused, a page at a time; all that the journal knows of one of
//! them, with texts that were erased said to be; and who was there at a moment.

use approver::api::types::{EntriesView, HistoryItem, HistoryView, Page as _, PresenceView, RequestEntries};
use approver::testing::Stage;
use certs::proof::Face;
use policies::actions::Action;
use policies::decide::Command;
use policies::events::Ending;
use policies::history::{Kind, Outcome};
use policies::ids::{RequestId, SessionId};
use policies::requests::Matter;
use std::time::Duration;

use crate::kit::House;

/// Refused at the door, denied, and one that was granted, used, watched and left.
async fn busy(stage: &Stage) -> (RequestId, RequestId, SessionId) {
    stage.admit("hmi-2").await.unwrap_err();
    let denied = stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
    let verdict = stage.no(&stage.lead, Matter::Request(denied)).await;
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    let granted = stage.grant("hmi-2", &[Action::Shell]).await;
    let lease = stage.admit("hmi-2").await.unwrap();
    let session = lease.session();
    let by = stage.other_lead.person;
    let text = stage.people.put_text("mind the crane").await.unwrap();
    stage.desk.act(Command::Tell { session, text, by }).await.unwrap();
    stage.pass(Duration::from_secs(60));
    stage.desk.end(lease, Ending::Left, None).await;
    (denied, granted, session)
}

#[tokio::test]
async fn all_that_was_asked_done_and_refused_is_listed_and_told() {
    let house = House::new().await;
    let (denied, granted, session) = busy(&house.stage).await;
    let rita = house.sign_in(Face::Plant, &house.auditor).await;
    let list = async |query: &str| -> Vec<HistoryItem> {
        house.get(&format!("/api/v1/history{query}"), &rita).await.json::<HistoryView>().items
    };
    let all = list("").await;
    let shown: Vec<_> = all.iter().map(|item| (item.kind, item.outcome)).collect();
    assert_eq!(
        shown,
        [
            (Kind::Session, Outcome::Ended),
            (Kind::Request, Outcome::Granted),
            (Kind::Request, Outcome::Denied),
            (Kind::Refusal, Outcome::Refused)
        ]
    );
    assert_eq!((all[0].request, all[0].session), (Some(granted), Some(session)));
    assert_eq!(all[0].ended.as_ref().map(|ended| ended.ending.as_str()), Some("left"));
    assert_eq!(all[0].approvers[0].person, house.stage.lead.person);
    assert!(all.iter().all(|item| item.vendor.as_ref().is_some_and(|vendor| vendor.as_str() == "acme")));
    assert_eq!(all[3].zone.as_ref().map(|zone| zone.as_str()), Some("packaging"));
    assert!(all[3].in_words.starts_with("refused: "), "{}", all[3].in_words);

    let nothing = list("?kind=nothing-given").await;
    assert_eq!(nothing.iter().map(|item| item.entry).collect::<Vec<_>>(), [all[2].entry, all[3].entry]);
    assert_eq!(list("?ending=left&vendor=acme&zone=packaging").await.len(), 1);
    assert_eq!(list("?outcome=lapsed").await.len() + list("?vendor=bolt").await.len(), 0);
    // Who told the session's technician something had a hand in it, and not in the request.
    let kims = list(&format!("?operator={}", house.stage.other_lead.person)).await;
    assert_eq!(kims.iter().map(|item| item.session).collect::<Vec<_>>(), [Some(session)]);
    assert_eq!(list(&format!("?operator={}", house.stage.lead.person)).await.len(), 3);
    for (wrong, refusal) in [("ending=rain", "malformed"), ("kind=all", "malformed"), ("from=yesterday", "malformed")] {
        assert_eq!(house.get(&format!("/api/v1/history?{wrong}"), &rita).await.refusal(), refusal, "{wrong}");
    }

    // A page at a time, nothing twice and nothing left out.
    let mut paged: HistoryView = house.get("/api/v1/history?limit=1", &rita).await.json();
    while let Some(older) = paged.older("/api/v1/history?limit=1") {
        paged.append(house.get(&older, &rita).await.json());
    }
    assert_eq!(paged.items, all);

    let known: RequestEntries = house.get(&format!("/api/v1/requests/{denied}/entries"), &rita).await.json();
    let ids: Vec<_> = known.known.entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["HP1301", "HP1302", "HP1304"]);
    let [asked, answered, _] = &known.known.entries[..] else { panic!("{known:?}") };
    assert_eq!((asked.texts[0].what.as_str(), asked.texts[0].text.as_deref()), ("reason", Some("the pump trips")));
    assert!(answered.in_words.starts_with("said NO to the request, signed by "), "{}", answered.in_words);
    assert_eq!(answered.by.as_ref().map(|by| by.name.as_str()), Some("lee"));
    assert_eq!((known.rule["id"].as_str(), known.sessions.len()), (Some("acme-packaging"), 0));
    assert_eq!(
        house.get("/api/v1/requests/r_01jd0c4000000000000000000z/entries", &rita).await.refusal(),
        "no-such-request"
    );

    // A text that was erased is told to be.
    let line = house.stage.desk.with_state(|state| state.sessions[&session].told[0].1);
    let of_session =
        async || -> EntriesView { house.get(&format!("/api/v1/sessions/{session}/entries"), &rita).await.json() };
    let ids: Vec<String> = of_session().await.entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["HP1401", "HP1421", "HP1402"]);
    assert_eq!(of_session().await.entries[1].texts[0].text.as_deref(), Some("mind the crane"));
    house.stage.desk.directory().erase_text(line).await.unwrap();
    assert_eq!(of_session().await.entries[1].texts[0].text, None);
}

#[tokio::test]
async fn who_was_there_at_a_moment_is_told_and_who_will_be_is_not() {
    let house = House::new().await;
    house.sign_in(Face::Plant, &house.stage.lead).await;
    let (_, _, session) = busy(&house.stage).await;
    let started = house.stage.desk.with_state(|state| state.sessions[&session].started);
    let rita = house.sign_in(Face::Plant, &house.auditor).await;
    let at = async |after: i64| {
        let at = started + jiff::SignedDuration::from_secs(after);
        house.get(&format!("/api/v1/presence?at={at}"), &rita).await
    };
    let then: PresenceView = at(30).await.json();
    assert_eq!(then.sessions.iter().map(|one| one.session).collect::<Vec<_>>(), [session]);
    assert_eq!(then.sessions[0].approvers[0].person, house.stage.lead.person);
    let on_duty: Vec<_> = then.on_duty.iter().map(|one| one.person).collect();
    assert_eq!(on_duty, [house.stage.lead.person]);
    let now: PresenceView = house.get("/api/v1/presence", &rita).await.json();
    assert!(now.sessions.is_empty(), "{now:?}");
    assert_eq!(at(86_400).await.refusal(), "not-yet");
    let before: PresenceView = at(-86_400).await.json();
    assert!(before.sessions.is_empty() && before.on_duty.is_empty(), "{before:?}");
}
