//! Who is told what, and how it travels.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use approver::notify::command::RunCommand;
use approver::notify::webhook::Webhook;
use approver::notify::{NotTold, Notice, Notices, Notifier};
use approver::testing::{PLANT, Props, Stage};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use policies::actions::Action;
use policies::decide::{Command, NewRequest};
use policies::events::{CutBy, Ending, Event, Scope};
use policies::requests::{Matter, Reopening};
use policies::time::Seconds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Fails the first time, as the world does.
#[derive(Default)]
struct Heard(Mutex<(bool, Vec<Notice>)>);

impl Notifier for Heard {
    fn name(&self) -> &'static str {
        "test"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        async move {
            let mut heard = self.0.lock().unwrap();
            if !std::mem::replace(&mut heard.0, true) {
                return Err(NotTold("not yet".into()));
            }
            heard.1.push(notice.clone());
            Ok(())
        }
        .boxed()
    }
}

impl Heard {
    async fn wait_for(&self, count: usize) -> Vec<Notice> {
        self.wait_until(|heard| heard.len() >= count).await
    }

    async fn wait_until(&self, holds: impl Fn(&[Notice]) -> bool) -> Vec<Notice> {
        for _ in 0..200 {
            let heard = self.0.lock().unwrap().1.clone();
            if holds(&heard) {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", self.0.lock().unwrap().1);
    }
}

/// What a stage tells from now on, until `stop`.
fn listen(stage: &mut Stage, tracker: &TaskTracker, stop: &CancellationToken) -> Arc<Heard> {
    listen_in(stage, tracker, stop, None)
}

/// The same, with a folder in which what waits and what was told lies.
fn listen_in(
    stage: &mut Stage,
    tracker: &TaskTracker,
    stop: &CancellationToken,
    folder: Option<std::path::PathBuf>,
) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    let notices = Notices {
        desk: stage.desk.clone(),
        alarms: std::mem::replace(&mut stage.alarms, tokio::sync::mpsc::channel(1).1),
        people: stage.people.clone(),
        origin: "https://holdpoint.mill3.local".into(),
        feed: None,
        folder,
    };
    notices.start(vec![heard.clone()], tracker, stop);
    heard
}

#[tokio::test]
async fn a_waiting_request_is_told_step_by_step_and_a_cut_to_everybody() {
    let mut stage = Stage::new().await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let request = stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
    let heard = listen(&mut stage, &tracker, &stop);
    let first = &heard.wait_for(1).await[0];
    assert_eq!((first.kind, first.group.as_ref().unwrap().as_str(), first.red), ("request-waits", "shift-lead", false));
    assert_eq!(first.text, "tara asks for shell at hmi-2 for 1h");
    assert_eq!(first.link, format!("https://holdpoint.mill3.local/requests/{request}"));
    assert!(!serde_json::to_string(first).unwrap().contains("pump"), "no reason is in a notice");
    stage.props.turn.pass(Duration::from_secs(600));
    let second = &heard.wait_for(2).await[1];
    assert_eq!((second.group.as_ref().unwrap().as_str(), second.red), ("ot-security", true));
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    assert_eq!(heard.wait_for(3).await[2].kind, "cut");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn what_is_decided_before_the_telling_gets_its_first_turn_is_told() {
    let mut stage = Stage::new().await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    // In a runtime that nobody drives yet nothing that was started begins.
    let later = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = {
        let _within = later.enter();
        listen(&mut stage, &tracker, &stop)
    };
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    let told = tokio::task::spawn_blocking(move || later.block_on(heard.wait_for(1))).await.unwrap();
    assert_eq!(told[0].kind, "cut");
    stop.cancel();
}

#[tokio::test]
async fn more_time_that_nobody_answers_is_told_step_by_step_too() {
    let mut stage = Stage::new().await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let request = stage.grant("hmi-2", &[Action::Shell]).await;
    let lease = stage.admit("hmi-2").await.unwrap();
    let ask = approver::mint::ask(stage.desk.clock().wall());
    let reason = stage.people.put_text("a valve sticks").await.unwrap();
    let by = stage.technician.person;
    stage.desk.act(Command::AskExtension { ask, request, more: Seconds(600), reason, by }).await.unwrap();
    let heard = listen(&mut stage, &tracker, &stop);
    let first = &heard.wait_for(1).await[0];
    assert_eq!(
        (first.group.as_ref().unwrap().as_str(), first.red, first.request),
        ("shift-lead", false, Some(request))
    );
    assert!(first.text.starts_with("tara asks at hmi-2 10m more, until "), "{}", first.text);
    assert_eq!(first.link, format!("https://holdpoint.mill3.local/asks/{ask}"));
    stage.props.turn.pass(Duration::from_secs(600));
    let second = &heard.wait_for(2).await[1];
    assert_eq!((second.group.as_ref().unwrap().as_str(), second.red), ("ot-security", true));
    let due = |stage: &Stage| stage.desk.due(stage.desk.clock().wall()).len();
    assert_eq!(due(&stage), 2);
    stage.desk.end(lease, Ending::Left, None).await;
    stage.props.turn.pass(Duration::from_secs(4 * 3_600));
    assert_eq!(due(&stage), 0, "nobody answers it any more");
    stop.cancel();
}

#[tokio::test]
async fn that_somebody_has_one_more_way_to_sign_in_is_told() {
    let mut stage = Stage::new().await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let heard = listen(&mut stage, &tracker, &stop);
    let site = certs::passkey::Site::of_origin("https://gate.mill3.example").unwrap();
    let made = certs::testing::SoftwarePasskey::new(site.clone()).created(b"new");
    let passkey = certs::passkey::created(&site, b"new", &made).unwrap();
    let tara = stage.technician.person;
    let offered = stage.people.offer_passkey(tara).await.unwrap();
    let now = || stage.desk.clock().wall();
    let news = || stage.desk.with_state(|state| state.people[&tara].key_news(now()));
    assert_eq!(news(), None);
    stage.people.enrol_passkey(&offered.code, &passkey).await.unwrap();
    let told = &heard.wait_for(1).await[0];
    let text = "tara of acme, for which lee answers, signs in with one more key from now on. \
                Ask tara whether it was they; if not, put them out at once";
    assert_eq!((told.kind, told.text.as_str(), told.red), ("sign-in", text, false));
    assert_eq!(told.link, format!("https://holdpoint.mill3.local/people/{tara}"));
    // And they themself, for two weeks, wherever they sign in.
    assert!(news().is_some());
    stage.pass(Duration::from_secs(14 * 86_400));
    assert_eq!(news(), None);
    stop.cancel();
}

#[tokio::test]
async fn where_a_rule_wants_somebody_to_watch_they_are_told_when_work_begins_and_once() {
    for (escort, told) in [
        ("watch", "Somebody is to watch"),
        ("required", "Their input waits until somebody watches and says that they are there"),
    ] {
        let plant = PLANT.replacen("escort = \"required\"\nguest_max = \"8h\"", &format!("escort = {escort:?}"), 1);
        let mut stage = Stage::on(Props::new(), &plant).await;
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        for target in ["plc-7", "robot-1"] {
            stage.grant(target, &[Action::Shell]).await;
        }
        let heard = listen(&mut stage, &tracker, &stop);
        let unwatched = stage.admit("plc-7").await.unwrap();
        let first = stage.admit("robot-1").await.unwrap();
        let second = stage.admit("robot-1").await.unwrap();
        stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
        // A group's notice and everybody's go their own ways.
        let mut heard = heard.wait_for(2).await;
        heard.sort_by_key(|notice| std::cmp::Reverse(notice.kind));
        let kinds: Vec<_> = heard.iter().map(|notice| notice.kind).collect();
        assert_eq!(kinds, ["watch-wanted", "cut"], "{escort}: not of {unwatched:?}, and not again of {second:?}");
        let text = format!("tara works at robot-1 from now on. {told}: holdpoint watch {}", first.session());
        assert_eq!((&heard[0].text, heard[0].group.as_ref().unwrap().as_str()), (&text, "shift-lead"));
        stop.cancel();
    }
}

/// Takes nothing for a group until it is let go, as a receiver that hangs.
struct Stuck {
    let_go: Semaphore,
    heard: Heard,
}

impl Notifier for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        async move {
            let _free = if notice.group.is_some() { Some(self.let_go.acquire().await.unwrap()) } else { None };
            self.heard.0.lock().unwrap().1.push(notice.clone());
            Ok(())
        }
        .boxed()
    }
}

/// A technician who asks and asks, while one of two receivers hangs.
#[tokio::test]
async fn a_burst_of_events_loses_none() {
    const TAKEN_BACK: usize = 500;
    const PENDING: usize = 10;
    const STEPS: usize = 40;
    let step = |minute: usize| format!("{{ after = \"{minute}m\", group = \"shift-lead\" }}");
    let tell = PLANT.lines().find(|line| line.starts_with("tell = ")).unwrap();
    let steps: Vec<String> = (0..STEPS).map(step).collect();
    let stage = Stage::on(Props::new(), &PLANT.replace(tell, &format!("tell = [{}]", steps.join(", ")))).await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let hangs = Arc::new(Stuck { let_go: Semaphore::new(0), heard: Heard::default() });
    let answers = Arc::new(Stuck { let_go: Semaphore::new(1), heard: Heard::default() });
    let (desk, technician) = (stage.desk.clone(), stage.technician.person);
    let before = desk.head().size;
    let mut asked = Vec::new();
    for number in 0..TAKEN_BACK + PENDING {
        let request = stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
        asked.push(request);
        if number < TAKEN_BACK {
            desk.act(Command::Withdraw { request, by: technician }).await.unwrap();
        }
    }
    let lead = stage.lead.person;
    stage.props.turn.pass(Duration::from_secs(40 * 60));
    let notices = Notices {
        desk: desk.clone(),
        alarms: stage.alarms,
        people: stage.people.clone(),
        origin: "https://holdpoint.mill3.local".into(),
        feed: None,
        folder: None,
    };
    notices.start(vec![hangs.clone(), answers.clone()], &tracker, &stop);
    // All 400 steps are due at once; who answers has taken what its queue holds, and the other's is full.
    answers.heard.wait_for(256).await;
    for scope in [Scope::Technician(technician), Scope::Plant] {
        desk.cut(CutBy::Operator(lead), scope).await.unwrap();
    }
    let cuts = |heard: &[Notice]| heard.iter().filter(|notice| notice.kind == "cut").count();
    answers.heard.wait_until(|heard| cuts(heard) == 2).await;
    let heard = hangs.heard.wait_for(2).await;
    assert_eq!(cuts(&heard), 2, "what nobody may mute waits for no group's");
    hangs.let_go.add_permits(1);
    hangs.heard.wait_until(|heard| heard.len() > 256).await;
    let is_of = |kind| move |notice: &&Notice| notice.kind == kind;
    let heard = hangs.heard.wait_until(|heard| heard.iter().any(|notice| notice.kind == "gate")).await;
    let (dropped, came) =
        (heard.iter().find(is_of("gate")).unwrap(), heard.iter().filter(is_of("request-waits")).count());
    let words =
        format!("notices were dropped, because too many waited here: {} of request-waits", STEPS * PENDING - came);
    assert_eq!((dropped.text.as_str(), dropped.red), (words.as_str(), true));
    let entries = desk.entries(before).await.unwrap();
    let submitted = |entry: &approver::journal::Entry| match &entry.event {
        Event::Submitted { request, .. } => Some(request.id),
        _ => None,
    };
    assert_eq!(entries.iter().filter_map(submitted).collect::<Vec<_>>(), asked);
    assert_eq!(entries.len(), 2 * TAKEN_BACK + PENDING + 2);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn what_nobody_may_mute_is_told() {
    let plant = PLANT.replacen("exclusive = \"none\"", "exclusive = \"none\"\nemergency = true", 1);
    let mut stage = Stage::on(Props::new(), &plant).await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    stage.desk.act(Command::ComeOnDuty { person: stage.lead.person, provider: None }).await.unwrap();
    let heard = listen(&mut stage, &tracker, &stop);
    let usual = stage.grant("plc-7", &[Action::Shell]).await;
    let usual = stage.desk.with_state(|state| (*state.cases[&usual].asked).clone());
    let id = approver::mint::request(stage.desk.clock().wall());
    let asked = NewRequest {
        id,
        technician: usual.technician,
        target: usual.target,
        service: None,
        actions: usual.actions,
        window: usual.window,
        duration: usual.duration,
        reason: Some(usual.reason),
        work_order: None,
        source: None,
        emergency: true,
    };
    stage.desk.act(Command::Submit(asked)).await.unwrap();
    stage.desk.act(Command::Vote { verdict: stage.approval(&stage.lead, id) }).await.unwrap();
    let verdict = stage.no(&stage.other_lead, Matter::Review(id)).await;
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    let (target, service) = ("hmi-2".parse().unwrap(), "ssh".parse().unwrap());
    let report = Command::ReportHostKey { target, service, expected: "SHA256:a".into(), got: "SHA256:b".into() };
    stage.desk.act(report).await.unwrap();
    stage.desk.act(Command::ReportRecorder { node: approver::testing::node() }).await.unwrap();
    let cut = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap().cut;
    let reopening = Reopening { cut, reason: usual.reason };
    let verdict = stage.approval_of_reopening(&stage.lead, &reopening);
    stage.desk.reopen(reopening, verdict).await.unwrap();
    let told = |heard: Vec<Notice>| {
        let told = heard.iter().filter(|notice| notice.kind != "request-waits");
        told.map(|notice| (notice.kind, notice.red)).collect::<Vec<_>>()
    };
    let wanted = [
        ("emergency", true),
        ("objection", true),
        ("host-key-changed", true),
        ("recorder-failed", true),
        ("cut", false),
        ("reopened", false),
    ];
    let mut count = wanted.len();
    let mut so_far = told(heard.wait_for(count).await);
    while so_far.len() < wanted.len() {
        count += 1;
        so_far = told(heard.wait_for(count).await);
    }
    assert_eq!(so_far, wanted);
    let heard = heard.wait_for(count).await;
    let objection = heard.iter().find(|notice| notice.kind == "objection").unwrap();
    assert_eq!(
        objection.text,
        "kim looked back at the emergency grant for tara of acme at plc-7, given by lee, and objects: it should not have \
         been; lee answers for acme"
    );
    let link = format!("https://holdpoint.mill3.local/requests/{id}");
    assert_eq!((objection.request, &objection.group, &objection.link), (Some(id), &None, &link));
    stop.cancel();
}

fn notice() -> Notice {
    Notice {
        v: 1,
        id: "1".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        since: "2026-11-22 14:03".into(),
        kind: "cut",
        text: "a; rm -rf $HOME".into(),
        group: None,
        request: None,
        red: true,
        link: "https://holdpoint.mill3.local".into(),
    }
}

#[tokio::test]
async fn a_command_gets_the_notice_on_its_input_and_no_shell_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notice").display().to_string();
    let command = RunCommand::new(&["tee".into(), file.clone()]).unwrap();
    command.notify(&notice()).await.unwrap();
    let line = std::fs::read_to_string(file).unwrap();
    assert!(line.contains("a; rm -rf $HOME") && line.ends_with('\n'), "{line}");
    let failing = RunCommand::new(&["false".into()]).unwrap();
    assert!(failing.notify(&notice()).await.is_err());
    assert!(RunCommand::new(&[]).is_none());
}

#[tokio::test]
async fn a_webhook_is_told_once_it_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token=x", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        for status in ["302 Found\r\nlocation: http://127.0.0.1:1/", "204 No Content"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut length = 0;
            while !request[..length].ends_with(b"}") {
                length += socket.read(&mut request[length..]).await.unwrap();
            }
            asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    let webhook = Webhook::new(url.parse().unwrap(), None, None).unwrap();
    assert!(webhook.notify(&notice()).await.is_err(), "no redirect is followed");
    webhook.notify(&notice()).await.unwrap();
    let asked = server.await.unwrap();
    assert!(
        asked[1].starts_with("POST /hook?token=x HTTP/1.1") && asked[1].contains(r#""kind":"cut""#),
        "{}",
        asked[1]
    );
}

#[tokio::test]
async fn a_sponsor_hears_once_of_each_thing_to_see_to_and_not_again_after_a_restart() {
    let mut stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let of = |notices: &[Notice]| -> Vec<String> {
        notices.iter().filter(|notice| notice.kind == "vendor").map(|notice| notice.text.clone()).collect()
    };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let heard = listen_in(&mut stage, &tracker, &stop, Some(folder.path().to_owned()));
    // The contract is of a year, and nobody did anything since.
    stage.pass(Duration::from_secs(336 * 86_400));
    let told = of(&heard.wait_until(|told| !of(told).is_empty()).await);
    let [told] = &told[..] else { panic!("one notice of all that is new: {told:?}") };
    assert!(told.starts_with("lee, who answers for acme: its contract ends "), "{told}");
    assert!(told.contains("within 30 days; nothing was heard of tara since"), "{told}");
    // Nothing waits any more, so that nothing comes twice for having been told just then.
    let waits =
        || std::fs::read_to_string(folder.path().join("test-everybody.json")).is_ok_and(|text| text.contains("acme"));
    for _ in 0..200 {
        if waits() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(!waits());
    stop.cancel();
    tracker.close();
    tracker.wait().await;

    // After a restart nothing of it is told again, and what is new is.
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let heard = listen_in(&mut stage, &tracker, &stop, Some(folder.path().to_owned()));
    stage.pass(Duration::from_secs(22 * 86_400));
    let told = of(&heard.wait_until(|told| !of(told).is_empty()).await);
    assert!(told.len() == 1 && told[0].ends_with("within 7 days"), "{told:?}");
    stage.pass(Duration::from_secs(10 * 86_400));
    let told = of(&heard.wait_until(|told| of(told).len() > 1).await);
    assert!(told.len() == 2 && told[1].ends_with("nobody of it is let in"), "{told:?}");
    stop.cancel();
}
