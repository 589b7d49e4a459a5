//! The work itself: asking, approving, watching, cutting, people, the plant file, evidence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use approver::api::Limits;
use approver::api::types::{
    AskMade, Card, CardsView, CertifyTemplate, CutMade, CutsView, Done, EscortLine, Escorting, Invited, KeptText,
    OwnRequest, OwnRequestsView, Page, PeopleView, PersonView, PlantFile, PlantProposed, PlantTemplate, RequestMade,
    SecretNames, SessionView, SessionsView, Status, ToldAnswer, VendorsView, VerdictTemplate, WatchLine,
    reopening_digest,
};
use approver::capture::About;
use approver::floor::{
    Happened, Look, OpenScreen, ScreenFacts, ScreenPiece, Screens, SeenScreen, WantedScreen, WatchFrame,
};
use approver::journal::Journal;
use approver::journal::memory::MemoryJournal;
use approver::testing::{Actor, Faulty, PLANT, Props, Trouble, enrol, put_up_elsewhere, sign};
use certs::enrolment::EnrolmentCode;
use certs::proof::Face;
use certs::sshsig::Namespace;
use http_body_util::BodyExt as _;
use policies::actions::Action;
use policies::decide::Command;
use policies::events::{Ending, Event};
use policies::people::Kind;
use policies::plant::Weaker;
use policies::requests::{Answer, Narrowing, Reopening, Signed, VerdictStatement};
use policies::time::Seconds;
use recordings::pcapng::{End, Ends};
use serde_json::{Value, json};

use crate::kit::{House, Session, answer, limits, record_log, recorded};

fn signed(actor: &Actor, statement: VerdictStatement) -> Signed<VerdictStatement> {
    let digest = statement.digest();
    sign(actor, Namespace::Approval, statement, digest)
}

async fn asked(house: &House, technician: &Session) -> RequestMade {
    let body = json!({
        "target": "hmi-2", "actions": ["shell", "file-get"], "duration_seconds": 7200,
        "reason": "the pump\u{1b}[2J trips", "work_order": "WO-4711",
    });
    house.post("/api/v1/requests", technician, body).await.json()
}

#[tokio::test]
async fn a_request_is_asked_shown_narrowed_and_granted() {
    let house = House::new().await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let made = asked(&house, &technician).await;
    let path = format!("/api/v1/requests/{}", made.request);

    let card: Card = house.get(&path, &lead).await.json();
    assert_eq!((card.technician.name.as_str(), card.vendor.unwrap().as_str()), ("tara", "acme"));
    assert_eq!((card.reason.as_deref(), card.work_order.as_deref()), (Some("the pump[2J trips"), Some("WO-4711")));
    assert_eq!((card.needs.as_str(), card.standing.as_str()), ("1 of shift-lead", "pending"));
    assert_eq!(card.actions[0].in_words, "type commands: whatever the account there may do");
    assert!(card.cautions[0].contains("limit nothing"), "{:?}", card.cautions);
    let deployment = approver::testing::deployment();
    assert_eq!(card.covered.digest(&deployment), card.digest);
    assert_eq!(card.words, certs::words::of(&card.digest));

    let template: VerdictTemplate = house.get(&format!("{path}/statement"), &lead).await.json();
    assert_eq!((template.statement.digest, template.words), (card.digest, card.words));
    let narrowing = Narrowing { duration: Some(Seconds(3600)), actions: Some([Action::Shell].into()), from: None };
    let digest = card.covered.narrowed(&narrowing).digest(&deployment);
    let statement = VerdictStatement { digest, answer: Answer::Yes { narrowing }, ..template.statement };
    let verdict = signed(&house.stage.lead, statement);
    let done: Done = house.post("/api/v1/verdicts", &lead, json!(verdict)).await.json();
    assert_eq!(done.events, ["HP1302", "HP1303"]);
    assert_eq!(house.post("/api/v1/verdicts", &lead, json!(verdict)).await.refusal(), "not-pending");

    let own: OwnRequest = house.get(&path, &technician).await.json();
    assert_eq!((own.standing.as_str(), own.duration_seconds), ("granted", 3600));
    assert_eq!(own.taken_away, ["1h instead of 2h", "without file-get"]);
    let list: CardsView = house.get("/api/v1/requests", &lead).await.json();
    assert_eq!((list.requests.len(), list.requests[0].votes[0].operator.name.as_str()), (1, "lee"));
}

#[tokio::test]
async fn an_approval_witnesses_the_journal_and_the_status_says_how_long_ago() {
    let house = House::new().await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let made = asked(&house, &technician).await;
    let before: Status = house.get("/api/v1/status", &lead).await.json();
    assert!(before.witnessed.is_none_or(|head| head.size < before.journal.size));
    let verdict = house.stage.approval(&house.stage.lead, made.request);
    assert_eq!(verdict.statement.journal.size, before.journal.size);
    house.post("/api/v1/verdicts", &lead, json!(verdict)).await.json::<Done>();
    house.stage.props.turn.pass(Duration::from_secs(90));
    let after: Status = house.get("/api/v1/status", &lead).await.json();
    let head = after.witnessed.unwrap();
    assert_eq!((head.size, head.root), (before.journal.size, before.journal.root));
    assert!((90..120).contains(&head.age_seconds), "{head:?}");
}

#[tokio::test]
async fn the_approver_is_who_signed() {
    let house = House::new().await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let made = asked(&house, &technician).await;
    let before = house.stage.desk.head();
    // Another operator's statement, well signed, and one in their name with one's own key.
    let theirs = house.stage.approval(&house.stage.other_lead, made.request);
    assert_eq!(house.post("/api/v1/verdicts", &lead, json!(theirs)).await.refusal(), "not-you");
    let forged = signed(&house.stage.lead, theirs.statement.clone());
    assert_eq!(house.post("/api/v1/verdicts", &lead, json!(forged)).await.refusal(), "not-you");
    let mut mine = house.stage.approval(&house.stage.lead, made.request);
    mine.signature = theirs.signature;
    assert_eq!(house.post("/api/v1/verdicts", &lead, json!(mine)).await.refusal(), "not-signed");
    let mine = house.stage.approval(&house.stage.lead, made.request);
    let wrong_key = Signed { key: theirs.key.clone(), ..mine };
    assert_eq!(house.post("/api/v1/verdicts", &lead, json!(wrong_key)).await.refusal(), "not-signed");
    assert_eq!(house.stage.desk.head(), before);
}

/// A house whose rule lets operators answer without a signature in these ways.
async fn lenient(weaker: &str) -> House {
    let plant = PLANT.replacen("approvals =", &format!("weaker = [{weaker}]\napprovals ="), 1);
    assert_ne!(plant, PLANT);
    House::with_plant(Props::new(), &plant, |_| {}, limits()).await
}

impl House {
    /// The next code of somebody's app.
    fn next_code(&self, actor: &Actor) -> String {
        self.stage.pass(Duration::from_secs(30));
        actor.totp.code_at(self.stage.desk.clock().wall()).to_string()
    }

    async fn weaker(&self, who: &Session, verdict: &Value) -> crate::kit::Answer {
        self.post("/api/v1/verdicts/weaker", who, verdict.clone()).await
    }
}

fn weaker(house: &House, made: &RequestMade, way: &str, code: &str) -> Value {
    let statement = house.stage.approval(&house.stage.lead, made.request).statement;
    json!({ "statement": statement, "way": way, "code": code })
}

#[tokio::test]
async fn a_code_answers_where_the_rule_says_so_once_and_is_marked() {
    let house = lenient("\"totp\"").await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let used = house.stage.lead.totp.code_at(house.stage.desk.clock().wall()).to_string();
    let made = asked(&house, &technician).await;
    assert_eq!(house.weaker(&lead, &weaker(&house, &made, "totp", &used)).await.refusal(), "code-refused");
    let code = house.next_code(&house.stage.lead);
    let by_telephone = weaker(&house, &made, "telephone", &code);
    assert_eq!(house.weaker(&lead, &by_telephone).await.refusal(), "weaker-not-allowed");
    let mut theirs = weaker(&house, &made, "totp", &code);
    theirs["statement"]["operator"] = json!(house.stage.other_lead.person);
    assert_eq!(house.weaker(&lead, &theirs).await.refusal(), "not-you");
    // None of that spent it.
    let done: Done = house.weaker(&lead, &weaker(&house, &made, "totp", &code)).await.json();
    assert_eq!(done.events, ["HP1314", "HP1303"]);
    let card: Card = house.get(&format!("/api/v1/requests/{}", made.request), &lead).await.json();
    assert_eq!((card.standing.as_str(), card.votes[0].weaker), ("granted", Some(Weaker::Totp)));
    let next = asked(&house, &technician).await;
    assert_eq!(house.weaker(&lead, &weaker(&house, &next, "totp", &code)).await.refusal(), "code-refused");
    let recovery = weaker(&house, &next, "totp", "abcd-efgh-ijkl-mnop");
    assert_eq!(house.weaker(&lead, &recovery).await.refusal(), "not-your-code");
}

#[tokio::test]
async fn by_telephone_it_takes_what_the_technician_alone_is_shown_and_wrong_ones_lock() {
    let house = lenient("\"telephone\"").await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let made = asked(&house, &technician).await;
    let path = format!("/api/v1/requests/{}", made.request);
    let own: OwnRequest = house.get(&path, &technician).await.json();
    let read_back = own.read_back.unwrap();
    for path in [&path, "/api/v1/requests", &format!("{path}/statement")] {
        let shown = house.get(path, &lead).await.text();
        assert!(!shown.contains(&read_back) && !shown.contains("read_back"), "{path} shows it to the operator");
    }
    let answer = |code: &str, heard: &str| {
        let mut verdict = weaker(&house, &made, "telephone", code);
        verdict["read_back"] = heard.into();
        verdict
    };
    let code = house.next_code(&house.stage.lead);
    let before = house.stage.desk.head();
    assert_eq!(house.weaker(&lead, &weaker(&house, &made, "telephone", &code)).await.refusal(), "read-back-refused");
    assert_eq!(house.weaker(&lead, &answer(&code, &read_back)).await.json::<Done>().events, ["HP1314", "HP1303"]);
    assert_eq!(house.stage.desk.head().size, before.size + 2);
    let granted: OwnRequest = house.get(&path, &technician).await.json();
    assert!(granted.read_back.is_none(), "it is answered");
    let made = asked(&house, &technician).await;
    let next: OwnRequest = house.get(&format!("/api/v1/requests/{}", made.request), &technician).await.json();
    assert_ne!(next.read_back.as_ref(), Some(&read_back), "each request has its own");
    let code = house.next_code(&house.stage.lead);
    let mut guess = weaker(&house, &made, "telephone", &code);
    for n in 0..5 {
        guess["read_back"] = format!("0000 000{n}").into();
        assert_eq!(house.weaker(&lead, &guess).await.refusal(), "read-back-refused");
    }
    guess["read_back"] = next.read_back.into();
    assert_eq!(house.weaker(&lead, &guess).await.refusal(), "locked-out");
    assert_eq!(house.get("/api/v1/requests", &lead).await.status, 200, "they see on, and can cut");
}

#[tokio::test]
async fn who_has_no_authenticator_app_is_told_so() {
    let house = lenient("\"totp\"").await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let made = asked(&house, &technician).await;
    let app = approver::directory::Key::Totp(house.stage.lead.person);
    house.stage.props.directory.swap(vec![approver::directory::Change::delete(app)]).await.unwrap();
    assert_eq!(house.weaker(&lead, &weaker(&house, &made, "totp", "123456")).await.refusal(), "no-app");
}

#[tokio::test]
async fn a_technician_sees_what_is_theirs_and_nothing_else() {
    let house = House::new().await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let made = asked(&house, &technician).await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let invite = json!({ "name": "theo", "kind": "technician", "vendor": "acme", "role": "maintenance" });
    let invited: Invited = house.post("/api/v1/people", &admin, invite).await.json();
    let theo = enrol(&house.stage.people, &EnrolmentCode::parse(&invited.code).unwrap()).await;
    let other = house.sign_in(Face::Vendor, &theo).await;
    let paths =
        ["", "/withdraw", "/extensions", "/widenings"].map(|end| format!("/api/v1/requests/{}{end}", made.request));
    let more = json!({ "by_seconds": 60, "reason": "x" });
    let wider = json!({ "actions": ["file-put"], "lasts_seconds": 60, "reason": "x" });
    let send = |method, path, body| house.send(Face::Vendor, method, path, Some(&other), body);
    for (method, path, body) in [
        ("GET", &paths[0], None),
        ("POST", &paths[1], None),
        ("POST", &paths[2], Some(more)),
        ("POST", &paths[3], Some(wider)),
    ] {
        assert_eq!(send(method, path, body).await.refusal(), "no-such-request", "{path}");
    }
    let none: OwnRequestsView = send("GET", "/api/v1/requests?all=true", None).await.json();
    assert!(none.requests.is_empty());
    let withdrawn: Done = house.post(&paths[1], &technician, json!({})).await.json();
    assert_eq!(withdrawn.events, ["HP1305"]);
}

#[tokio::test]
async fn more_time_is_asked_and_given_and_what_is_refused_leaves_no_text() {
    let house = House::new().await;
    let request = house.stage.grant("hmi-2", &[Action::Shell]).await;
    let technician = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let lease = house.stage.admit("hmi-2").await.unwrap();
    let path = format!("/api/v1/requests/{request}/extensions");
    let too_much = json!({ "by_seconds": 40_000, "reason": "x" });
    assert_eq!(house.post(&path, &technician, too_much).await.refusal(), "extension-too-far");
    let made: AskMade = house.post(&path, &technician, json!({ "by_seconds": 600, "reason": "valve" })).await.json();
    let card: Card = house.get(&format!("/api/v1/requests/{request}"), &lead).await.json();
    assert_eq!((card.asks[0].ask, card.asks[0].reason.as_deref()), (made.ask, Some("valve")));
    let template: VerdictTemplate = house.get(&format!("/api/v1/asks/{}/statement", made.ask), &lead).await.json();
    let ours = card.asks[0].covered.digest(&approver::testing::deployment());
    assert_eq!((template.statement.digest, card.asks[0].digest), (ours, ours));
    let before = lease.orders().now().deadline.wall;
    let verdict = signed(&house.stage.lead, template.statement);
    let done: Done = house.post("/api/v1/verdicts", &lead, json!(verdict)).await.json();
    assert_eq!(done.events, ["HP1302", "HP1308"]);
    assert!(lease.orders().now().deadline.wall > before);
    house.stage.desk.end(lease, Ending::Left, None).await;
}

/// Whoever did not hear the answer of a write sends it again: it is done once.
#[tokio::test]
async fn a_write_that_is_sent_twice_is_done_once() {
    let house = House::new().await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let other = house.sign_in(Face::Plant, &house.stage.lead).await;
    let people = || house.stage.desk.with_state(|state| state.people.len());
    let invite = |name: &str| json!({ "name": name, "kind": "auditor" });
    let before = people();
    let first = house.post_once("/api/v1/people", &admin, invite("una"), "key-1").await;
    let again = house.post_once("/api/v1/people", &admin, invite("una"), "key-1").await;
    assert_eq!((first.status, again.status, people()), (200, 200, before + 1));
    assert_eq!(first.text(), again.text());
    // Another request under the same key is none of them, another person's key is another, and so is another one of theirs.
    assert_eq!(house.post_once("/api/v1/people", &admin, invite("dos"), "key-1").await.refusal(), "key-used");
    assert_eq!(house.post_once("/api/v1/people", &other, invite("una"), "key-1").await.refusal(), "wrong-kind");
    assert_eq!(house.post_once("/api/v1/people", &admin, invite("una"), "key-2").await.refusal(), "name-taken");
    assert_eq!(house.post_once("/api/v1/people", &admin, invite("tres"), " ").await.refusal(), "malformed");
    assert_eq!(people(), before + 1);
    // What was refused stays refused under its key, and two at once are one.
    assert_eq!(house.post_once("/api/v1/people", &admin, invite("una"), "key-2").await.refusal(), "name-taken");
    let (left, right) = tokio::join!(
        house.post_once("/api/v1/people", &admin, invite("quatro"), "key-3"),
        house.post_once("/api/v1/people", &admin, invite("quatro"), "key-3"),
    );
    assert_eq!(people(), before + 2);
    let statuses = [left.status, right.status];
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
}

/// What is remembered of a write is for whoever wrote it: here a salt.
#[tokio::test]
async fn the_same_key_of_somebody_else_who_may_the_same_is_another() {
    let house = House::new().await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let other = house.sign_in(Face::Plant, &house.stage.other_lead).await;
    let salt = async |who| {
        let kept: KeptText =
            house.post_once("/api/v1/texts", who, json!({ "text": "a valve sticks" }), "key-1").await.json();
        kept.salt
    };
    let (first, of_another) = (salt(&lead).await, salt(&other).await);
    assert_ne!(first, of_another);
    assert_eq!([salt(&lead).await, salt(&other).await], [first, of_another], "each hears what they themselves did");
}

/// Each list that grows comes page by page, whole and without anything twice, also while something is added.
#[tokio::test]
async fn long_lists_come_in_pages() {
    let house = House::new().await;
    for _ in 0..3 {
        house.stage.grant("hmi-2", &[Action::Shell]).await;
        let lease = house.stage.admit("hmi-2").await.unwrap();
        house.stage.desk.end(lease, Ending::Left, None).await;
    }
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    for (path, list, id) in [
        ("/api/v1/sessions", "sessions", "session"),
        ("/api/v1/requests", "requests", "request"),
        ("/api/v1/people", "people", "person"),
    ] {
        let page = async |query: &str| -> serde_json::Value {
            house.get(&format!("{path}?all=true{query}"), &lead).await.json()
        };
        let ids = |page: &serde_json::Value| -> Vec<String> {
            page[list].as_array().unwrap().iter().map(|one| one[id].as_str().unwrap().to_owned()).collect()
        };
        let whole = ids(&page("").await);
        let (mut paged, mut next) = (Vec::new(), String::new());
        while paged.len() <= whole.len() {
            let one = page(&format!("&limit=2{next}")).await;
            paged.extend(ids(&one));
            match one["next"].as_str() {
                Some(before) => next = format!("&before={before}"),
                None => break,
            }
            house.stage.grant("hmi-2", &[Action::Shell]).await;
        }
        assert_eq!(paged, whole, "{path}");
        assert_eq!(ids(&page("&limit=0").await).len(), 1, "{path}");
        let none = house.get(&format!("{path}?before=nonsense"), &lead).await;
        assert_eq!((none.status, none.refusal().as_str()), (400, "malformed"), "{path}");
    }
    // As clients take them who want all of it, such as whoever fetches every recording.
    let path = "/api/v1/recordings?limit=2";
    let mut all: SessionsView = house.get(path, &lead).await.json();
    assert_eq!(all.sessions.len(), 2);
    while let Some(older) = all.older(path) {
        all.append(house.get(&older, &lead).await.json());
    }
    let different: BTreeSet<_> = all.sessions.iter().map(|one| one.session).collect();
    assert_eq!((all.sessions.len(), different.len()), (3, 3));
}

#[tokio::test]
async fn a_session_is_seen_watched_frozen_cut_and_reopened() {
    let house = House::new().await;
    house.stage.grant("hmi-2", &[Action::Shell]).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let lease = house.stage.admit("hmi-2").await.unwrap();
    let list: SessionsView = house.get("/api/v1/sessions", &lead).await.json();
    assert_eq!((list.sessions.len(), list.sessions[0].session), (1, lease.session()));

    let path = format!("/api/v1/sessions/{}", lease.session());
    let watch = format!("{path}/watch");
    let proof = house.proof(&lead, "GET", &watch, b"");
    let mut watching = house.plant.call("GET", &watch, Some(&lead.signed_in.token), Some(proof), "").await;
    let first = watching.frame().await.unwrap().unwrap().into_data().unwrap();
    let first: WatchLine = serde_json::from_slice(&first).unwrap();
    assert_eq!(first, WatchLine::Screen { data: data_encoding::BASE64.encode(b"screen") });
    let is_watched = |session| house.stage.desk.with_state(|state| !state.sessions[&session].watchers.is_empty());
    assert!(is_watched(lease.session()));
    drop(watching);

    assert_eq!(house.post(&format!("{path}/freeze"), &lead, json!({})).await.status, 200);
    assert!(lease.orders().now().frozen.is_some());
    assert_eq!(house.post(&format!("{path}/thaw"), &lead, json!({})).await.status, 200);
    assert!(lease.orders().now().frozen.is_none());

    let scope = json!({ "scope": "vendor", "of": "acme" });
    let cut: CutMade = house.post("/api/v1/cuts", &lead, scope).await.json();
    assert_eq!(cut.sessions, [lease.session()]);
    assert_eq!(lease.orders().now().over, Some(Ending::Cut { cut: cut.cut }));
    house.stage.desk.end(lease, Ending::Cut { cut: cut.cut }, None).await;
    let cuts: CutsView = house.get("/api/v1/cuts", &lead).await.json();
    assert!(cuts.cuts.len() == 1 && cuts.cuts[0].journaled);

    let kept: KeptText = house.post("/api/v1/texts", &lead, json!({ "text": "fixed" })).await.json();
    assert!(kept.is_right());
    let reason = kept.digest;
    let path = format!("/api/v1/cuts/{}", cut.cut);
    let template: VerdictTemplate = house.get(&format!("{path}/statement?reason={}", reason.0), &lead).await.json();
    let reopening = Reopening { cut: cut.cut, reason };
    assert_eq!(template.statement.digest, reopening_digest(&approver::testing::deployment(), &reopening));
    let verdict = signed(&house.stage.lead, template.statement);
    let reopen = |verdict: &Signed<VerdictStatement>| json!({ "reopening": reopening, "verdict": verdict });
    let theirs = house.stage.approval_of_reopening(&house.stage.other_lead, &reopening);
    assert_eq!(house.post(&format!("{path}/reopen"), &lead, reopen(&theirs)).await.refusal(), "not-you");
    assert_eq!(house.post(&format!("{path}/reopen"), &lead, reopen(&verdict)).await.status, 200);
    assert!(house.stage.desk.with_state(|state| state.cuts.is_empty()));
}

#[tokio::test]
async fn cuts_are_listed_as_they_were_made_whether_or_not_the_journal_has_them() {
    let journal = Arc::new(Faulty::new(Arc::new(MemoryJournal::new()) as Arc<dyn Journal>));
    let house = House::on(Props { journal: journal.clone(), ..Props::new() }, |_| {}, limits()).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let mut made = Vec::new();
    for (zone, trouble) in [("packaging", Trouble::None), ("press", Trouble::None), ("robots", Trouble::FailsBefore)] {
        journal.set(trouble);
        let cut: CutMade = house.post("/api/v1/cuts", &lead, json!({ "scope": "zone", "of": zone })).await.json();
        made.push((cut.cut, cut.kept == "journal"));
        house.stage.pass(Duration::from_secs(1));
    }
    assert_eq!(made.iter().map(|(_, journaled)| *journaled).collect::<Vec<_>>(), [true, true, false]);
    let CutsView { cuts } = house.get("/api/v1/cuts", &lead).await.json();
    assert_eq!(cuts.iter().map(|cut| (cut.cut, cut.journaled)).collect::<Vec<_>>(), made);
}

/// Screens of which each look finds sixteen parts, too large to be on their way all at once.
#[derive(Default)]
struct Large(tokio::sync::watch::Sender<()>);

impl Screens for Large {
    fn changed(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.subscribe()
    }

    fn shown(&self, _: WantedScreen) -> Option<ScreenFacts> {
        let open = [1, 4].map(|connection| OpenScreen { connection, width: 800, height: 600 });
        Some(ScreenFacts { connection: 4, open: open.to_vec(), width: 800, height: 600, lost: None })
    }

    fn look(&self, wanted: WantedScreen, seen: SeenScreen) -> Look {
        let connection = if wanted == WantedScreen::Of(1) { 1 } else { 4 };
        let piece = |y| ScreenPiece { x: 0, y, png: vec![connection; 2 << 20].into() };
        let screen = self.shown(wanted).map(|facts| ScreenFacts { connection: connection.into(), ..facts });
        Look { seen, screen, pieces: (0..16).map(piece).collect(), is_more: false }
    }
}

/// Lines of a watched session, taken one by one.
struct Lines {
    watching: hyper::Response<hyper::body::Incoming>,
    lines: approver::watching::Lines,
}

impl Lines {
    async fn next(&mut self) -> Option<WatchLine> {
        loop {
            if let Some(line) = self.lines.next_line().unwrap() {
                return Some(line);
            }
            self.lines.push(&self.watching.frame().await?.unwrap().into_data().unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn who_takes_pictures_slowly_hears_at_once_what_happens_and_that_it_is_over() {
    let house = House::new().await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    house.stage.grant("hmi-2", &[Action::Shell]).await;
    let lease = house.stage.admit("hmi-2").await.unwrap();
    let floor = &house.stage.props.floor;
    *floor.screens.lock().unwrap() = Arc::new(Large::default());
    let watch = format!("/api/v1/sessions/{}/watch?pictures=true&screen=1", lease.session());
    let proof = house.proof(&lead, "GET", &watch, b"");
    let watching = house.plant.call("GET", &watch, Some(&lead.signed_in.token), Some(proof), "").await;
    let mut lines = Lines { watching, lines: approver::watching::Lines::default() };
    // The first of sixteen is on its way.
    loop {
        match lines.next().await.expect("it goes on") {
            WatchLine::Vnc { screen: Some(screen) } => {
                assert_eq!((screen.connection, screen.open.len()), (1, 2), "the one that was asked for");
            }
            WatchLine::Picture { .. } => break,
            _ => {}
        }
    }
    let happened = Happened { at: house.stage.desk.clock().wall(), words: "clicked at 1,2".into(), refused: false };
    floor.frames.send(WatchFrame::Happened(happened.clone())).unwrap();
    let mut pictures = 0;
    loop {
        match lines.next().await.expect("it goes on") {
            WatchLine::Picture { .. } => pictures += 1,
            WatchLine::Happened { .. } => break,
            _ => {}
        }
    }
    assert!(pictures < 8, "what happens came behind {pictures} parts of a picture");
    // Much happened last, and none of it waits for a picture any more.
    for _ in 0..14 {
        floor.frames.send(WatchFrame::Happened(happened.clone())).unwrap();
    }
    floor.over.cancel();
    floor.frames.send(WatchFrame::Over(Ending::Left)).unwrap();
    let mut pictures = 0;
    loop {
        match lines.next().await.expect("an end with words") {
            WatchLine::Picture { .. } => pictures += 1,
            WatchLine::Over { .. } => break,
            _ => {}
        }
    }
    assert!(pictures < 8, "that it is over came behind {pictures} parts of a picture");
}

/// The next line about how a watched session stands.
async fn stands(watching: &mut hyper::Response<hyper::body::Incoming>) -> (Option<String>, Option<EscortLine>) {
    loop {
        let line = watching.frame().await.expect("it goes on").unwrap().into_data().unwrap();
        if let WatchLine::Standing { stopped, escort } = serde_json::from_slice(&line).unwrap() {
            return (stopped, escort);
        }
    }
}

#[tokio::test]
async fn an_escort_says_that_they_are_there_and_reads_for_how_long_that_counts() {
    let house = House::new().await;
    house.stage.grant("robot-1", &[Action::Shell]).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let lease = house.stage.admit("robot-1").await.unwrap();
    let path = format!("/api/v1/sessions/{}", lease.session());
    assert_eq!(house.post(&format!("{path}/escort"), &lead, json!({})).await.refusal(), "not-watching");
    let watch = format!("{path}/watch");
    let proof = house.proof(&lead, "GET", &watch, b"");
    let mut watching = house.plant.call("GET", &watch, Some(&lead.signed_in.token), Some(proof), "").await;
    let nobody = EscortLine { there: Vec::new(), yours_seconds: None, tap_seconds: 300, warn_seconds: 60 };
    assert_eq!(stands(&mut watching).await, (Some("nobody-watches".to_owned()), Some(nobody)));
    let seen: SessionView = house.get(&path, &lead).await.json();
    assert_eq!(
        (seen.stopped.as_deref(), seen.escort.map(|escort| escort.there.len())),
        (Some("nobody-watches"), Some(0))
    );

    let counts: Escorting = house.post(&format!("{path}/escort"), &lead, json!({})).await.json();
    assert_eq!(counts.tap_seconds, 300);
    let there = EscortLine { there: vec!["lee".into()], yours_seconds: Some(300), tap_seconds: 300, warn_seconds: 60 };
    assert_eq!(stands(&mut watching).await, (None, Some(there)));
    let seen: SessionView = house.get(&path, &lead).await.json();
    assert_eq!((seen.stopped, seen.escort.unwrap().there[0].name.as_str()), (None, "lee"));
    house.stage.pass(Duration::from_secs(300));
    let (stopped, escort) = stands(&mut watching).await;
    assert_eq!((stopped.as_deref(), escort.unwrap().yours_seconds), (Some("nobody-watches"), None));
    drop(watching);
    house.stage.desk.end(lease, Ending::Left, None).await;
}

#[tokio::test]
async fn a_line_to_the_technician_is_short_harmless_in_the_journal_and_told_as_shown() {
    let house = House::new().await;
    house.stage.grant("hmi-2", &[Action::Shell]).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let lease = house.stage.admit("hmi-2").await.unwrap();
    let path = format!("/api/v1/sessions/{}", lease.session());
    let tell = format!("{path}/tell");
    for (text, refusal) in [(" \n ", "bad-text"), (&*"x".repeat(401), "line-too-long")] {
        let refused = house.post(&tell, &lead, json!({ "text": text })).await;
        assert_eq!((refused.status, refused.refusal().as_str()), (422, refusal));
    }
    let size = house.stage.desk.head().size;
    let text = "hold on\u{1b}]0;x\u{7}\n\u{202e}the crane moves";
    let told: ToldAnswer = house.post(&tell, &lead, json!({ "text": text })).await.json();
    assert_eq!((told.shown.as_str(), told.in_words.as_str()), ("on-terminals", "Shown on the technician's terminal."));
    let shown = house.stage.props.floor.told.lock().unwrap().clone();
    assert_eq!(shown, [(lease.session(), "lee writes: hold on]0;x the crane moves".to_owned())]);
    assert_eq!(house.stage.desk.head().size, size + 1);
    let seen: SessionView = house.get(&path, &lead).await.json();
    assert_eq!(seen.told[0].text.as_deref(), Some("hold on]0;x the crane moves"));
    let tess = house.sign_in(Face::Vendor, &house.stage.technician).await;
    let own: SessionsView = house.get("/api/v1/sessions", &tess).await.json();
    assert_eq!(own.sessions[0].told.len(), 1);
    house.stage.desk.end(lease, Ending::Left, None).await;
    assert_eq!(house.post(&tell, &lead, json!({ "text": "too late" })).await.refusal(), "no-such-session");
}

#[tokio::test]
async fn a_spectator_who_is_put_out_sees_no_more() {
    let house = House::new().await;
    house.stage.grant("hmi-2", &[Action::Shell]).await;
    let kim = house.sign_in(Face::Plant, &house.stage.other_lead).await;
    let lease = house.stage.admit("hmi-2").await.unwrap();
    let watch = format!("/api/v1/sessions/{}/watch", lease.session());
    let proof = house.proof(&kim, "GET", &watch, b"");
    let mut watching = house.plant.call("GET", &watch, Some(&kim.signed_in.token), Some(proof), "").await;
    let disable = Command::Disable { person: house.stage.other_lead.person, by: house.stage.admin.person };
    house.stage.desk.act(disable).await.unwrap();
    let lines = async {
        loop {
            let line = watching.frame().await.expect("an end with words").unwrap().into_data().unwrap();
            match serde_json::from_slice(&line).unwrap() {
                WatchLine::Over { in_words } => return in_words,
                WatchLine::Screen { .. } | WatchLine::Still | WatchLine::Standing { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let over = tokio::time::timeout(Duration::from_secs(30), lines).await.expect("nobody who is out stays");
    assert_eq!(over, "you may watch no longer");
}

#[tokio::test]
async fn what_passes_is_read_live_until_the_reader_is_put_out() {
    let house = House::new().await;
    let kim = house.sign_in(Face::Plant, &house.stage.other_lead).await;
    let path = "/api/v1/capture?zone=packaging";
    let before = house.stage.desk.head().size;
    let proof = house.proof(&kim, "GET", path, b"");
    let mut reading = house.plant.call("GET", path, Some(&kim.signed_in.token), Some(proof), "").await;
    let begun = reading.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(begun.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) && begun.windows(11).any(|word| word == b"synthesised"));
    let entries = house.stage.desk.entries(before).await.unwrap();
    let zone = Some("packaging".parse().unwrap());
    let begins = Event::CaptureBegun { target: None, zone, by: house.stage.other_lead.person };
    assert_eq!(entries.iter().map(|entry| &entry.event).collect::<Vec<_>>(), [&begins]);
    let about = About {
        session: "s_01jd0c4000000000000000000z".parse().unwrap(),
        technician: house.stage.technician.person,
        target: "plc-7".parse().unwrap(),
        service: "modbus".parse().unwrap(),
        zone: Some("packaging".parse().unwrap()),
    };
    let ends = Ends { technician: ([10, 0, 0, 1], 40_000).into(), target: ([10, 20, 2, 7], 502).into() };
    let passage = house.stage.props.floor.captures.passage(about.into(), ends);
    passage.passed(End::Target, b"an answer");
    let mut read = Vec::new();
    while !read.windows(9).any(|word| word == b"an answer") {
        read.extend_from_slice(&reading.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    let disable = Command::Disable { person: house.stage.other_lead.person, by: house.stage.admin.person };
    house.stage.desk.act(disable).await.unwrap();
    let rest = tokio::time::timeout(Duration::from_secs(30), async {
        let mut rest = Vec::new();
        while let Some(piece) = reading.frame().await {
            rest.extend_from_slice(&piece.unwrap().into_data().unwrap());
        }
        rest
    });
    let rest = rest.await.expect("nobody who is out stays");
    assert!(String::from_utf8_lossy(&rest).contains("you may read this no longer"));
    for (path, word) in [("?target=plc-99", "no target plc-99"), ("?zone=moon", "no zone moon")] {
        let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
        let refused = house.get(&format!("/api/v1/capture{path}"), &lead).await;
        assert!(refused.status == 404 && refused.text().contains(word), "{}", refused.text());
    }
}

/// What no reader of the house takes, as long as they do not read.
async fn flood(house: &House) {
    let about = About {
        session: "s_01jd0c4000000000000000000z".parse().unwrap(),
        technician: house.stage.technician.person,
        target: "plc-7".parse().unwrap(),
        service: "modbus".parse().unwrap(),
        zone: None,
    };
    let ends = Ends { technician: ([10, 0, 0, 1], 40_000).into(), target: ([10, 20, 2, 7], 502).into() };
    let passage = house.stage.props.floor.captures.passage(about.into(), ends);
    for _ in 0..512 {
        passage.passed(End::Target, &[7; 64 << 10]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn has_no_reader(house: &House, within: Duration) {
    let looking = async {
        while format!("{:?}", house.stage.props.floor.captures) != "Captures(0 readers)" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(within, looking).await.expect("nobody reads any more");
}

/// Reads the beginning, and then no more.
async fn stops_reading(house: &House, who: &Session) -> hyper::Response<hyper::body::Incoming> {
    let proof = house.proof(who, "GET", "/api/v1/capture", b"");
    let mut reading = house.plant.call("GET", "/api/v1/capture", Some(&who.signed_in.token), Some(proof), "").await;
    reading.frame().await.unwrap().unwrap();
    flood(house).await;
    assert_eq!(format!("{:?}", house.stage.props.floor.captures), "Captures(1 readers)");
    reading
}

#[tokio::test]
async fn a_sensor_reads_by_its_key_alone_does_nothing_else_and_is_put_out_in_one_act() {
    let house = House::new().await;
    let sensor = house.unattended("ids-1", Kind::Sensor).await;
    let ids = house.sign_in_by_key_alone(&sensor).await;
    assert!(ids.signed_in.on_duty_until.is_none());
    let (path, before) = ("/api/v1/capture", house.stage.desk.head().size);
    let proof = house.proof(&ids, "GET", path, b"");
    let mut reading = house.plant.call("GET", path, Some(&ids.signed_in.token), Some(proof), "").await;
    reading.frame().await.unwrap().unwrap();
    let entries = house.stage.desk.entries(before).await.unwrap();
    let begun = Event::CaptureBegun { target: None, zone: None, by: sensor.person };
    assert_eq!(entries.iter().map(|entry| &entry.event).collect::<Vec<_>>(), [&begun]);
    for (method, other) in [("GET", "/api/v1/sessions"), ("GET", "/api/v1/me"), ("POST", "/api/v1/cuts")] {
        let refused = house.send(Face::Plant, method, other, Some(&ids), Some(json!({}))).await;
        assert_eq!((refused.status, &*refused.refusal()), (403, "wrong-kind"), "{other}");
    }
    // Nobody else signs in so, and it nowhere else.
    for who in [&house.stage.lead, &house.auditor, &house.stage.admin] {
        assert_eq!(house.try_key_alone(who).await.status, 401);
    }
    let mut elsewhere = house.login(Face::Vendor, &sensor).await;
    elsewhere["code"] = "".into();
    for door in ["/api/v1/sign-in", "/api/v1/certificate"] {
        let refused = house.send(Face::Vendor, "POST", door, None, Some(elsewhere.clone())).await;
        assert!(refused.status == 401 || refused.status == 403, "{door}: {}", refused.text());
    }
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let out = format!("/api/v1/people/{}/disable", sensor.person);
    assert_eq!(house.post(&out, &admin, json!({})).await.status, 204);
    has_no_reader(&house, Duration::from_secs(10)).await;
    assert_eq!(house.try_key_alone(&sensor).await.refusal(), "not-active");
}

#[tokio::test]
async fn a_reader_who_takes_nothing_keeps_no_place_after_a_while() {
    let stalled_max = Duration::from_secs(3);
    let house = House::on(Props::new(), |_| {}, Limits { stalled_max, ..limits() }).await;
    let kim = house.sign_in(Face::Plant, &house.stage.other_lead).await;
    let reading = stops_reading(&house, &kim).await;
    has_no_reader(&house, Duration::from_secs(20)).await;
    drop(reading);
}

#[tokio::test]
async fn a_reader_who_is_put_out_keeps_no_place_though_they_take_nothing() {
    let house = House::new().await;
    let kim = house.sign_in(Face::Plant, &house.stage.other_lead).await;
    let reading = stops_reading(&house, &kim).await;
    let disable = Command::Disable { person: house.stage.other_lead.person, by: house.stage.admin.person };
    house.stage.desk.act(disable).await.unwrap();
    has_no_reader(&house, Duration::from_secs(10)).await;
    drop(reading);
}

#[tokio::test]
async fn somebody_counts_once_others_have_vouched() {
    let house = House::new().await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let invite = json!({ "name": "noor", "kind": "operator", "groups": ["shift-lead"] });
    assert_eq!(house.post("/api/v1/people", &lead, invite.clone()).await.refusal(), "wrong-kind");
    let invited: Invited = house.post("/api/v1/people", &admin, invite.clone()).await.json();
    assert_eq!(house.post("/api/v1/people", &admin, invite).await.refusal(), "name-taken");
    let noor = enrol(&house.stage.people, &EnrolmentCode::parse(&invited.code).unwrap()).await;
    let body = house.login(Face::Plant, &noor).await;
    let refused = house.send(Face::Plant, "POST", "/api/v1/sign-in", None, Some(body)).await;
    assert_eq!((refused.status, refused.refusal().as_str()), (401, "not-active"));
    let path = format!("/api/v1/people/{}", noor.person);
    for (signer, actor, standing) in [(&admin, &house.stage.admin, "enrolled"), (&lead, &house.stage.lead, "active")] {
        let template: CertifyTemplate = house.get(&format!("{path}/statement"), signer).await.json();
        assert_eq!(template.name, "noor");
        let digest = template.statement.digest();
        let certificate = sign(actor, Namespace::Certify, template.statement, digest);
        let path = format!("{path}/certificates");
        let other = if standing == "active" { &admin } else { &lead };
        assert_eq!(house.post(&path, other, json!(certificate)).await.refusal(), "not-you");
        assert_eq!(house.post(&path, signer, json!(certificate)).await.status, 200);
        let view: PersonView = house.get(&format!("/api/v1/people/{}", noor.person), &admin).await.json();
        assert_eq!(view.standing, standing);
    }
    house.sign_in(Face::Plant, &noor).await;
    assert_eq!(house.post(&format!("{path}/name"), &admin, json!({ "name": "nora" })).await.status, 204);
    let people: PeopleView = house.get("/api/v1/people", &admin).await.json();
    assert!(people.people.iter().any(|person| person.name == "nora"));
    let end = "2030-01-01T00:00:00Z";
    let contract = json!({ "end": end, "sponsor": house.stage.lead.person });
    let made = house.send(Face::Plant, "PUT", "/api/v1/vendors/bolt", Some(&admin), Some(contract)).await;
    assert_eq!(made.json::<Done>().events, ["HP1101"]);
    let vendors: VendorsView = house.get("/api/v1/vendors", &admin).await.json();
    assert_eq!((vendors.vendors.len(), vendors.vendors[0].technicians), (2, 1));
}

#[tokio::test]
async fn a_plant_file_is_proposed_signed_by_two_and_then_in_force() {
    let house = House::new().await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let wrong = house.post("/api/v1/plant/files", &admin, json!({ "text": "[plant]\nnmae = 1\n" })).await;
    assert_eq!((wrong.status, wrong.refusal().as_str()), (422, "plant-file-wrong"));
    assert!(wrong.text().contains("nmae"), "{}", wrong.text());
    let text = PLANT.replace("Recorded.", "Everything is recorded.");
    let proposed: PlantProposed = house.post("/api/v1/plant/files", &admin, json!({ "text": text })).await.json();
    let path = format!("/api/v1/plant/files/{}", proposed.digest);
    for (session, actor, events) in
        [(&admin, &house.stage.admin, vec!["HP1203"]), (&lead, &house.stage.lead, vec!["HP1203", "HP1204"])]
    {
        let template: PlantTemplate = house.get(&format!("{path}/statement"), session).await.json();
        let digest = template.statement.digest();
        let signature = sign(actor, Namespace::Plant, template.statement, digest);
        let done: Done = house.post(&format!("{path}/signatures"), session, json!(signature)).await.json();
        assert_eq!(done.events, events);
    }
    let plant: PlantFile = house.get("/api/v1/plant", &lead).await.json();
    assert_eq!((plant.digest, plant.in_force, plant.text), (proposed.digest, true, text));
}

#[tokio::test]
async fn a_secret_goes_in_and_never_comes_out() {
    let house = House::new().await;
    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    let path = "/api/v1/secrets/hmi-maint";
    let set = house.send(Face::Plant, "PUT", path, Some(&admin), Some(json!({ "secret": "sesame" }))).await;
    assert_eq!((set.status, set.bytes.len()), (204, 0));
    let names: SecretNames = house.get("/api/v1/secrets", &admin).await.json();
    assert_eq!(names.names.len(), 1);
    assert_eq!(house.get(path, &admin).await.status, 405);
    let name = "hmi-maint".parse().unwrap();
    let opened = house
        .stage
        .desk
        .directory()
        .credential(&name, &house.stage.props.keys.secrets(), certs::vault::Purpose::Gate)
        .await
        .unwrap();
    assert_eq!(opened.unwrap().as_slice(), b"sesame");
    let sealed = house.stage.desk.directory().get(&approver::directory::Key::Credential(name)).await.unwrap().unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"sesame"));
    assert_eq!(house.send(Face::Plant, "DELETE", path, Some(&admin), None).await.status, 204);
}

#[tokio::test]
async fn reading_a_recording_is_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let log = Arc::new(record_log(&records));
    let set = |parts: &mut approver::api::ApiParts| {
        (parts.records_dir, parts.recorder) = (Some(records.clone()), Some(log.clone()));
    };
    let house = House::on(Props::new(), set, limits()).await;
    let session = recorded(&house.stage, &log).await;
    let auditor = house.sign_in(Face::Plant, &house.auditor).await;
    let list: SessionsView = house.get("/api/v1/recordings", &auditor).await.json();
    assert!(list.sessions[0].seal.is_some());
    let before = house.stage.desk.head().size;

    let path = format!("/api/v1/recordings/{session}/files");
    let proof = house.proof(&auditor, "GET", &path, b"");
    let response = house.plant.call("GET", &path, Some(&auditor.signed_in.token), Some(proof), "").await;
    // The head of the answer is here; the event is in the journal already.
    let entries = house.stage.desk.entries(before).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].event, Event::Fetched { session, by: house.auditor.person });
    let archive = answer(response).await;
    assert_eq!((archive.status, archive.media.as_str()), (200, "application/x-tar"));
    assert!(archive.bytes.windows(32).any(|window| window.starts_with(b"age-encryption.org/v1")));

    // What was fetched is read with no server.
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("a.tar"), &archive.bytes).unwrap();
    let untar = std::process::Command::new("tar").args(["-xf", "a.tar"]).current_dir(&copy).status().unwrap();
    assert!(untar.success());
    // The log itself comes with the journal.
    let log = [records.join("FORMAT"), records.join("segments")];
    let copied = std::process::Command::new("cp").arg("-a").args(log).arg(copy.join("records")).status().unwrap();
    assert!(copied.success());
    let listing = recordings::read::Store::open(&copy).unwrap().list();
    assert_eq!(listing.recordings.len(), 1);
    assert_eq!(listing.recordings[0].id(), session);
    assert!(listing.recordings[0].sealed.is_some());

    let admin = house.sign_in(Face::Plant, &house.stage.admin).await;
    assert_eq!(house.get(&path, &admin).await.refusal(), "wrong-kind");
    assert_eq!(house.get("/api/v1/status", &admin).await.json::<Status>().recorder.unwrap().fault, None);
}

#[tokio::test]
async fn the_journal_comes_line_by_line_with_its_hashes() {
    let house = House::new().await;
    let auditor = house.sign_in(Face::Plant, &house.auditor).await;
    let lines = house.get("/api/v1/journal?after=3", &auditor).await;
    let lines: Vec<approver::api::types::EntryLine> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0].index, 3);
    assert_eq!(lines.len() as u64, house.stage.desk.head().size - 3);
    assert!(lines.iter().all(|line| line.id.starts_with("HP") && line.leaf.len() == 64));
}

#[tokio::test]
async fn the_board_turns_red_when_everybody_was_told_and_nobody_answered() {
    let house = House::new().await;
    house.stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let status: Status = house.get("/api/v1/status", &lead).await.json();
    assert_eq!((status.red, status.pending), (false, 1));
    house.stage.pass(std::time::Duration::from_secs(600));
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let status: Status = house.get("/api/v1/status", &lead).await.json();
    assert!(status.red, "{:?}", status.because);
}

#[tokio::test]
async fn the_board_is_red_under_a_plant_file_that_this_program_cannot_read() {
    let house = House::new().await;
    let desk = &house.stage.desk;
    let events = put_up_elsewhere("[plant]\nname = \"of tomorrow\"", house.stage.admin.person, true);
    house.stage.props.journal.append(desk.head(), &events, desk.clock().wall()).await.unwrap();
    while desk.with_state(|state| state.plant.is_some()) {
        tokio::task::yield_now().await;
    }
    let lead = house.sign_in(Face::Plant, &house.stage.lead).await;
    let status: Status = house.get("/api/v1/status", &lead).await.json();
    assert!(status.red && status.because[0].contains("cannot read the plant file in force"), "{:?}", status.because);
}
