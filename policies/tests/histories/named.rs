//! What generated histories meet too seldom to notice that it is gone: each no of the domain, tried by name in the world of
//! the model, and beside it the yes it must not take with it.

use jiff::SignedDuration;
use jiff::tz::TimeZoneDatabase;
use policies::events::EscortEnd;
use policies::ids::Recipient;
use policies::people::{KEYS_MAX, Standing};
use policies::recipients::REHEARSED_WITHIN;
use policies::refusals::Refusal;
use policies::rules::{Lack, Nearest, NotAllowed};
use policies::state::{LookBack, RequestStanding};
use policies::time::PlantTime;

use super::*;

const HOUR: u32 = 3_600;
const TARA: usize = 0;
const BOLT: usize = 1;

/// As people at the plant read it.
fn on_the_wall(at: Timestamp) -> PlantTime {
    PlantTime::new(at, TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap())
}

impl World {
    /// Why nothing comes of it.
    #[track_caller]
    pub(super) fn refused(&self, command: &Command) -> Refusal {
        self.state.decide(command, self.now).expect_err("refused")
    }

    /// It happens, judged by none of the model's invariants, which know the model's own rule alone.
    #[track_caller]
    pub(super) fn must_unjudged(&mut self, command: &Command) -> Vec<Event> {
        let events = self.state.decide(command, self.now).expect("allowed");
        for event in &events {
            self.state.apply(event, self.now);
        }
        events
    }

    fn pass(&mut self, seconds: u32) {
        self.now = seconds_later(self.now, i64::from(seconds));
    }

    /// `hmi-1`, from now and for two hours, of a window of six.
    pub(super) fn wish(&mut self, who: usize, actions: &[Action]) -> NewRequest {
        NewRequest {
            id: RequestId::new(self.id()),
            technician: person(TECHNICIANS[who].0),
            target: target_name(0),
            service: None,
            actions: actions.iter().copied().collect(),
            window: Window { from: self.now, until: seconds_later(self.now, 6 * 3_600) },
            duration: Seconds(2 * HOUR),
            reason: Some(salted("why")),
            work_order: None,
            source: Some(self.source),
            emergency: false,
        }
    }

    pub(super) fn submit(&mut self, wish: NewRequest) -> RequestId {
        let id = wish.id;
        self.must(&Command::Submit(wish));
        id
    }

    pub(super) fn yes(&self, voter: u128, matter: Matter) -> Command {
        let digest = match &matter {
            Matter::Request(id) | Matter::Review(id) => self.state.cases[id].request.digest(&label("model")),
            Matter::Extension(id) | Matter::Widening(id) => self.state.ask_digest(&self.state.asks[id]),
            Matter::Guest(id) => self.state.guests[id].statement.digest(),
            Matter::Session(_) => self.state.standing_digest(&matter).unwrap(),
            Matter::Reopening(_) | Matter::CloseOut(_) => unreachable!("signed otherwise"),
        };
        let yes = Answer::Yes { narrowing: Narrowing::default() };
        Command::Vote { verdict: self.sign(matter, digest, yes, voter, false) }
    }

    /// All it takes say yes.
    fn approve(&mut self, matter: &Matter) {
        for voter in [SECURITY, LEADS[0]] {
            let yes = self.yes(voter, matter.clone());
            self.must(&yes);
        }
    }

    pub(super) fn granted(&mut self, who: usize, actions: &[Action]) -> RequestId {
        let wish = self.wish(who, actions);
        let id = self.submit(wish);
        self.approve(&Matter::Request(id));
        id
    }

    pub(super) fn door(&mut self, who: usize) -> Admission {
        Admission {
            session: SessionId::new(self.id()),
            technician: person(TECHNICIANS[who].0),
            factors: vec![Factor::Key, Factor::Totp],
            source: self.source,
            target: target_name(0),
            service: label("ssh"),
            wants: Actions::new(),
            grant: None,
            overdue: BTreeSet::new(),
            node: label("gate-1"),
        }
    }

    /// Lets somebody in: the grant that is spent, and until when.
    pub(super) fn enter(&mut self, door: Admission) -> (RequestId, Timestamp) {
        let session = door.session;
        self.must(&Command::Admit(door));
        let request = self.state.sessions[&session].request;
        (request, self.state.cases[&request].deadline)
    }

    pub(super) fn turned_away(&mut self, who: usize) -> Refusal {
        let door = self.door(who);
        self.refused(&Command::Admit(door))
    }
}

/// The plant of the model with one thing changed.
fn plant_with(old: &str, new: &str) -> String {
    assert!(PLANT.contains(old), "{old}");
    PLANT.replacen(old, new, 1)
}

const SHELL: [Action; 1] = [Action::Shell];

// Connecting

#[test]
fn a_session_begins_once() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    world.enter(door.clone());
    assert_eq!(world.refused(&Command::Admit(door.clone())), Refusal::Exists);
    world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    assert_eq!(
        world.refused(&Command::End { session: door.session, ending: Ending::Left, seal: None }),
        Refusal::NoSuchSession
    );
    assert_eq!(world.refused(&Command::Admit(door)), Refusal::Exists);
}

#[test]
fn of_several_grants_the_narrowest_is_spent_that_allows_what_is_wanted() {
    let mut world = World::founded();
    let wide = world.granted(TARA, &[Action::Shell, Action::FileGet]);
    let narrow = world.granted(TARA, &[Action::FileGet]);
    let mut wants = |wants: &[Action], grant| {
        let door = Admission { wants: wants.iter().copied().collect(), grant, ..world.door(TARA) };
        let session = door.session;
        let spent = world.enter(door).0;
        world.must(&Command::End { session, ending: Ending::Left, seal: None });
        spent
    };
    assert_eq!(wants(&[], None), narrow);
    assert_eq!(wants(&[Action::FileGet], None), narrow);
    assert_eq!(wants(&SHELL, None), wide);
    assert_eq!(wants(&[Action::FileGet], Some(wide)), wide);
    let not_granted = Admission { wants: [Action::FilePut].into(), ..world.door(TARA) };
    let granted = Actions::from([Action::FileGet]);
    assert_eq!(
        world.refused(&Command::Admit(not_granted)),
        Refusal::ActionNotGranted { wanted: Action::FilePut, granted }
    );
    let too_narrow = Admission { wants: SHELL.into(), grant: Some(narrow), ..world.door(TARA) };
    assert!(matches!(world.refused(&Command::Admit(too_narrow)), Refusal::ActionNotGranted { .. }));
}

#[test]
fn a_grant_opens_its_own_service_and_target_alone() {
    let other = "[targets.hmi-1.services.admin]\nprotocol = \"ssh\"\naddress = \"10.0.0.1:2222\"\nuser = \"a\"\n\
                 credential = \"b\"\nhost_key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n[targets.hmi-2]";
    let mut world = World::on(&plant_with("[targets.hmi-2]", other));
    let wish = NewRequest { service: Some(label("ssh")), ..world.wish(TARA, &SHELL) };
    let id = world.submit(wish);
    world.approve(&Matter::Request(id));
    for (target, service) in [("hmi-1", "admin"), ("hmi-2", "ssh")] {
        let door = Admission { target: label(target), service: label(service), ..world.door(TARA) };
        assert_eq!(world.refused(&Command::Admit(door)), Refusal::NoGrant(label(target)), "{target} {service}");
    }
    assert_eq!(world.turned_away(BOLT), Refusal::NoGrant(label("hmi-1")), "somebody else's");
    let door = world.door(TARA);
    world.enter(door);
}

#[test]
fn where_either_rule_is_exclusive_two_people_do_not_work_at_once() {
    let bolts = "vendors = [\"acme\"]\nroles = [\"maintenance\"]\nzones = [\"packaging\", \"boiler\"]\n\
                 actions = [\"shell\"]\nduration_max = \"4h\"\nwork_order = \"optional\"\nexclusive = \"EXCLUSIVE\"\n\
                 approvals = [{ from = \"shift-lead\", count = 1 }, { from = \"ot-security\", count = 1 }]\n";
    for exclusive in ["target", "zone", "none"] {
        let acmes = plant_with("vendors = [\"acme\", \"bolt\"]", "vendors = [\"bolt\"]");
        let plant = format!("{acmes}[[rules]]\nid = \"acme\"\n{}", bolts.replace("EXCLUSIVE", exclusive));
        for (first, second) in [(TARA, BOLT), (BOLT, TARA)] {
            let mut world = World::on(&plant);
            for who in [first, second] {
                world.granted(who, &SHELL);
            }
            let door = world.door(first);
            let session = door.session;
            world.enter(door);
            let again = world.door(first);
            let again_session = again.session;
            world.enter(again);
            world.must(&Command::End { session: again_session, ending: Ending::Left, seal: None });
            if exclusive != "none" {
                assert!(
                    matches!(world.turned_away(second), Refusal::HeldExclusively(..)),
                    "{exclusive}, {first} first"
                );
                world.must(&Command::End { session, ending: Ending::Left, seal: None });
            }
            let door = world.door(second);
            world.enter(door);
        }
    }
}

#[test]
fn whoever_only_looked_is_not_widened_beside_somebody_who_holds_the_target() {
    let ssh = "protocol = \"ssh\"\naddress = \"10.0.0.1:22\"\nuser = \"maint\"\ncredential = \"hmi\"\n\
               host_key = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";
    let plant = plant_with(ssh, "protocol = \"modbus\"\naddress = \"10.0.0.1:502\"");
    let plant = plant.replace("[\"shell\",", "[\"observe\", \"operate\", \"shell\",");
    let mut world = World::on(&plant.replace("exclusive = \"none\"", "exclusive = \"target\""));
    let looking = world.granted(TARA, &[Action::Observe]);
    world.granted(BOLT, &[Action::Operate]);
    let door = world.door(TARA);
    world.enter(door);
    let door = world.door(BOLT);
    let holding = door.session;
    world.enter(door);
    let id = AskId::new(world.id());
    let (actions, reason) = ([Action::Operate].into(), salted("more"));
    let widening = Widening { id, request: looking, actions, lasts: Seconds(600), reason };
    world.must(&Command::AskWidening { widening, by: person(20) });
    let matter = Matter::Widening(id);
    let first = world.yes(SECURITY, matter.clone());
    world.must(&first);
    let held = world.refused(&world.yes(LEADS[0], matter.clone()));
    assert!(matches!(held, Refusal::HeldExclusively(..)), "{held}");
    world.must(&Command::End { session: holding, ending: Ending::Left, seal: None });
    let last = world.yes(LEADS[0], matter);
    world.must(&last);
    // From now on it is the other way round, for as long as it is widened.
    assert!(matches!(world.turned_away(BOLT), Refusal::HeldExclusively(..)));
    world.pass(600);
    let door = world.door(BOLT);
    world.enter(door);
}

#[test]
fn a_deadline_is_no_later_than_any_of_its_reasons_and_later_connections_keep_it() {
    // Monday 17:00 in Berlin: the hours close at 18:00.
    let mut world = World::founded();
    world.pass(11 * HOUR);
    let close = seconds_later(world.now, 3_600);
    let first = world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    assert_eq!(world.enter(door), (first, close));
    world.pass(1_800);
    let door = world.door(TARA);
    assert_eq!(world.enter(door), (first, close), "another connection begins nothing anew");
    // By duration, and by the window.
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    assert_eq!(world.enter(door).1, seconds_later(world.now, 2 * 3_600));
    let mut world = World::founded();
    let wish = NewRequest {
        window: Window { from: world.now, until: seconds_later(world.now, 600) },
        ..world.wish(TARA, &SHELL)
    };
    let until = wish.window.until;
    let id = world.submit(wish);
    world.approve(&Matter::Request(id));
    let door = world.door(TARA);
    assert_eq!(world.enter(door).1, until);
    // By the contract.
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let (end, by) = (seconds_later(world.now, 900), person(ADMINISTRATOR));
    world.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
    let door = world.door(TARA);
    assert_eq!(world.enter(door).1, end);
}

#[test]
fn whoever_is_not_let_in_hears_how_their_request_stands() {
    let mut world = World::founded();
    assert_eq!(world.turned_away(TARA), Refusal::NoGrant(label("hmi-1")));
    let from = seconds_later(world.now, 3_600);
    let wish = NewRequest { window: Window { from, until: seconds_later(from, 3_600) }, ..world.wish(TARA, &SHELL) };
    let id = world.submit(wish);
    let waits_for = "1 of shift-lead and 1 of ot-security".to_owned();
    assert_eq!(world.turned_away(TARA), Refusal::StillPending { id, target: label("hmi-1"), waits_for });
    world.approve(&Matter::Request(id));
    assert_eq!(world.turned_away(TARA), Refusal::NotYet(label("hmi-1"), on_the_wall(from)));
    world.pass(2 * HOUR);
    assert_eq!(world.turned_away(TARA), Refusal::GrantOver(label("hmi-1"), on_the_wall(seconds_later(from, 3_600))));
    let id = world.granted(TARA, &SHELL);
    world.must(&Command::Revoke { request: id, reason: salted("no"), by: person(LEADS[0]) });
    assert_eq!(world.turned_away(TARA), Refusal::GrantRevoked(label("hmi-1")));
    world.pass(1);
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    world.must(&Command::Withdraw { request: id, by: person(20) });
    assert_eq!(world.turned_away(TARA), Refusal::NoGrant(label("hmi-1")));
}

#[test]
fn a_widening_is_over_when_its_time_is() {
    let mut world = World::founded();
    let request = world.granted(TARA, &SHELL);
    let id = AskId::new(world.id());
    let widening =
        Widening { id, request, actions: [Action::FilePut].into(), lasts: Seconds(600), reason: salted("more") };
    world.must(&Command::AskWidening { widening, by: person(20) });
    world.approve(&Matter::Widening(id));
    let wants = |world: &mut World| Admission { wants: [Action::FilePut].into(), ..world.door(TARA) };
    world.pass(599);
    let door = wants(&mut world);
    world.enter(door);
    world.pass(1);
    let door = wants(&mut world);
    assert!(matches!(world.refused(&Command::Admit(door)), Refusal::ActionNotGranted { .. }));
    assert_eq!(world.refused(&world.yes(LEADS[1], Matter::Widening(id))), Refusal::NoSuchRequest, "it is answered");
}

#[test]
fn whoever_is_out_locked_or_without_a_contract_is_not_let_in_and_asks_for_nothing() {
    let acme = || label::<VendorId>("acme");
    type Out = fn(&mut World);
    let ways: [(Out, Refusal); 4] = [
        (
            |world| world.must(&Command::Disable { person: person(20), by: person(ADMINISTRATOR) }),
            Refusal::NotActive(Standing::Disabled),
        ),
        (
            |world| world.must(&Command::DisableVendor { vendor: label("acme"), by: person(ADMINISTRATOR) }),
            Refusal::VendorDisabled(acme()),
        ),
        (
            |world| {
                let (end, by) = (world.now, person(ADMINISTRATOR));
                world.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
            },
            Refusal::ContractEnded(acme(), on_the_wall(MONDAY.parse().unwrap())),
        ),
        (
            |world| {
                let until = seconds_later(world.now, 900);
                world.must(&Command::Lock { person: person(20), until });
            },
            Refusal::LockedOut(on_the_wall(seconds_later(MONDAY.parse().unwrap(), 900))),
        ),
    ];
    for (way, refusal) in ways {
        let mut world = World::founded();
        world.granted(TARA, &SHELL);
        way(&mut world);
        assert_eq!(world.turned_away(TARA), refusal);
        let wish = world.wish(TARA, &SHELL);
        assert_eq!(world.refused(&Command::Submit(wish)), refusal);
    }
    let mut world = World::founded();
    world.must(&Command::Lock { person: person(20), until: seconds_later(MONDAY.parse().unwrap(), 900) });
    world.pass(900);
    world.granted(TARA, &SHELL);
    let by_another_kind = NewRequest { technician: person(ADMINISTRATOR), ..world.plain_wish() };
    assert_eq!(world.refused(&Command::Submit(by_another_kind)), Refusal::WrongKind("technicians"));
}

// Asking

impl World {
    /// A wish without an identifier of its own: most are refused.
    fn plain_wish(&self) -> NewRequest {
        NewRequest {
            id: RequestId::new(ulid::Ulid::from(7_u128)),
            technician: person(20),
            target: target_name(0),
            service: None,
            actions: SHELL.into(),
            window: Window { from: self.now, until: seconds_later(self.now, 3_600) },
            duration: Seconds(600),
            reason: Some(salted("why")),
            work_order: None,
            source: Some(self.source),
            emergency: false,
        }
    }
}

#[test]
fn a_request_says_what_when_how_long_and_why() {
    let mut world = World::founded();
    world.pass(60);
    let window =
        |from: i64, until: i64| Window { from: seconds_later(world.now, from), until: seconds_later(world.now, until) };
    let wish = || world.plain_wish();
    let day = 86_400;
    for (wrong, refusal) in [
        (NewRequest { window: window(60, 60), ..wish() }, Refusal::WindowOver),
        (NewRequest { window: window(60, 30), ..wish() }, Refusal::WindowOver),
        (NewRequest { window: window(-60, 0), ..wish() }, Refusal::WindowOver),
        (NewRequest { duration: Seconds(0), ..wish() }, Refusal::WindowOver),
        (NewRequest { window: window(0, 14 * day + 1), ..wish() }, Refusal::WindowTooFar(Seconds(14 * 86_400))),
        (
            NewRequest { duration: Seconds(4 * HOUR + 1), ..wish() },
            Refusal::TooLong { asked: Seconds(4 * HOUR + 1), most: Seconds(4 * HOUR), rule: label("maintenance") },
        ),
        (NewRequest { reason: None, ..wish() }, Refusal::ReasonWanted),
        (NewRequest { actions: Actions::new(), ..wish() }, Refusal::NotAllowed(NotAllowed::NoActions)),
    ] {
        assert_eq!(world.refused(&Command::Submit(wrong.clone())), refusal, "{wrong:?}");
    }
    let longest = NewRequest { window: window(0, 14 * day), duration: Seconds(4 * HOUR), ..wish() };
    world.must(&Command::Submit(longest.clone()));
    assert_eq!(world.refused(&Command::Submit(longest)), Refusal::Exists);
}

#[test]
fn the_rule_is_asked_for_the_time_the_source_and_the_emergency_that_are_meant() {
    let world = World::founded();
    let lack = |wish: NewRequest| match world.refused(&Command::Submit(wish)) {
        Refusal::NotAllowed(NotAllowed::NoRule { nearest: Some(Nearest { lacks, .. }) }) => lacks,
        other => panic!("{other:?}"),
    };
    // From 18:00 on the hours are over, though it is asked at 06:00.
    let from = seconds_later(world.now, 12 * 3_600);
    let late = Window { from, until: seconds_later(from, 3_600) };
    assert!(matches!(lack(NewRequest { window: late, ..world.plain_wish() }).as_slice(), [Lack::Hours { .. }]));
    let elsewhere = Some("198.51.100.1".parse().unwrap());
    assert!(matches!(lack(NewRequest { source: elsewhere, ..world.plain_wish() }).as_slice(), [Lack::Source { .. }]));
    assert_eq!(lack(NewRequest { emergency: true, ..world.plain_wish() }), [Lack::Emergency]);
}

#[test]
fn a_work_order_is_there_and_looks_as_the_rule_wants_it() {
    let order = |text: &str| Some((salted(text), text.to_owned()));
    let required = World::on(&plant_with("work_order = \"optional\"\n", ""));
    assert_eq!(required.refused(&Command::Submit(required.plain_wish())), Refusal::WorkOrderWanted);
    let mut shaped = World::on(&plant_with("\"optional\"", "\"WO-[0-9]+\""));
    assert_eq!(shaped.refused(&Command::Submit(shaped.plain_wish())), Refusal::WorkOrderWanted);
    let wrong = NewRequest { work_order: order("4711"), ..shaped.plain_wish() };
    assert_eq!(
        shaped.refused(&Command::Submit(wrong)),
        Refusal::WorkOrderShape(label("maintenance"), "WO-[0-9]+".into())
    );
    shaped.must(&Command::Submit(NewRequest { work_order: order("WO-4711"), ..shaped.plain_wish() }));
}

#[test]
fn a_technician_has_ten_requests_waiting_at_most() {
    let mut world = World::founded();
    for _ in 0..10 {
        let wish = world.wish(TARA, &SHELL);
        world.submit(wish);
    }
    let eleventh = world.wish(TARA, &SHELL);
    assert_eq!(world.refused(&Command::Submit(eleventh)), Refusal::TooManyPending(10));
    let of_another = world.wish(BOLT, &SHELL);
    world.submit(of_another);
    // What nobody can answer any more does not wait.
    world.pass(6 * HOUR);
    let again = world.wish(TARA, &SHELL);
    world.submit(again);
}

#[test]
fn nobody_asks_while_they_are_cut() {
    let scopes = [
        (Scope::Plant, true, true),
        (Scope::Zone(label("packaging")), true, true),
        (Scope::Zone(label("boiler")), false, false),
        (Scope::Vendor(label("acme")), true, false),
        (Scope::Technician(person(20)), true, false),
    ];
    for (scope, tara_is, bolt_is) in scopes {
        let mut world = World::founded();
        for who in [TARA, BOLT] {
            world.granted(who, &SHELL);
        }
        let (cut, at) = (CutId::new(world.id()), world.now);
        let command = Command::Cut { cut, scope: scope.clone(), by: CutBy::Operator(person(LEADS[0])), at };
        world.must(&command);
        assert_eq!(world.state.decide(&command, at), Ok(Vec::new()), "cutting twice is no mistake");
        for (who, is_cut) in [(TARA, tara_is), (BOLT, bolt_is)] {
            let wish = world.wish(who, &SHELL);
            let door = world.door(who);
            for command in [Command::Submit(wish), Command::Admit(door)] {
                let decided = world.state.decide(&command, world.now);
                assert_eq!(decided.is_err(), is_cut, "{scope:?} {who}");
                assert!(!is_cut || decided == Err(Refusal::CutOff), "{scope:?} {who}");
            }
        }
    }
}

#[test]
fn a_request_of_one_installation_has_another_digest_in_the_next() {
    let mut world = World::founded();
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    let request = &world.state.cases[&id].request;
    assert_ne!(request.digest(&label("model")), request.digest(&label("other")));
}

// Answering

/// A signed answer with one thing wrong in it.
pub(super) fn wrong(good: &Command, wrong: impl FnOnce(&mut Signed<VerdictStatement>)) -> Command {
    let Command::Vote { verdict } = good else { unreachable!("an answer") };
    let mut verdict = verdict.clone();
    wrong(&mut verdict);
    Command::Vote { verdict }
}

/// The same answer as a no.
pub(super) fn to_no(yes: &Command) -> Command {
    wrong(yes, |verdict| verdict.statement.answer = Answer::No { reason: salted("no") })
}

#[test]
fn an_answer_counts_from_an_operator_with_a_say_by_their_own_key_for_this_journal_and_in_time() {
    let mut world = World::founded();
    world.pass(60);
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    let good = world.yes(LEADS[0], Matter::Request(id));
    let (now, size) = (world.now, world.state.size);
    type Wrong = Box<dyn FnOnce(&mut Signed<VerdictStatement>)>;
    let wrongs: [(Wrong, Refusal); 6] = [
        (Box::new(|v| v.statement.deployment = label("other")), Refusal::OtherDeployment),
        (Box::new(move |v| v.statement.expires = now), Refusal::StatementExpired(on_the_wall(now))),
        (Box::new(move |v| v.statement.journal.size = size + 1), Refusal::OtherJournal),
        (Box::new(|v| v.key = key(SECURITY)), Refusal::NotYourKey),
        (Box::new(|v| v.statement.digest = Digest::of_bytes(b"another")), Refusal::OtherDigest),
        (
            Box::new(|v| v.statement.matter = Matter::Request(RequestId::new(ulid::Ulid::from(9_u128)))),
            Refusal::NoSuchRequest,
        ),
    ];
    for (make_wrong, refusal) in wrongs {
        assert_eq!(world.refused(&wrong(&good, make_wrong)), refusal);
    }
    for who in [ADMINISTRATOR, TECHNICIANS[0].0] {
        assert_eq!(world.refused(&world.yes(who, Matter::Request(id))), Refusal::WrongKind("operators"));
    }
    assert_eq!(world.refused(&world.yes(ACME_LEAD, Matter::Request(id))), Refusal::OwnVendor);
    world.must(&good);
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Request(id))), Refusal::AlreadyVoted);
    world.pass(6 * HOUR);
    let late = world.yes(SECURITY, Matter::Request(id));
    assert_eq!(world.refused(&late), Refusal::NotPending("lapsed"), "nobody answers what is over");
}

#[test]
fn who_is_in_no_group_that_the_rule_asks_has_no_say() {
    let one_group = plant_with("{ from = \"shift-lead\", count = 1 }, { from", "{ from");
    let mut world = World::on(&one_group);
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    let no_say = Refusal::NoSay("1 of ot-security".into());
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Request(id))), no_say);
    let yes = world.yes(SECURITY, Matter::Request(id));
    world.must_unjudged(&yes);
    let (door, ask, by) = (world.door(TARA), AskId::new(world.id()), person(20));
    world.must_unjudged(&Command::Admit(door));
    world.must(&Command::AskExtension { ask, request: id, more: Seconds(1), reason: salted("more"), by });
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Extension(ask))), no_say);
}

#[test]
fn a_no_is_signed_over_what_it_denies_and_ends_it() {
    let mut world = World::founded();
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    let digest = world.state.cases[&id].request.digest(&label("model"));
    let no = |world: &World, digest| {
        let answer = Answer::No { reason: salted("no") };
        Command::Vote { verdict: world.sign(Matter::Request(id), digest, answer, LEADS[0], false) }
    };
    assert_eq!(world.refused(&no(&world, Digest::of_bytes(b"another"))), Refusal::OtherDigest);
    world.must(&no(&world, digest));
    for voter in [LEADS[1], SECURITY] {
        assert_eq!(world.refused(&world.yes(voter, Matter::Request(id))), Refusal::NotPending("denied"));
    }
    assert_eq!(world.refused(&Command::Withdraw { request: id, by: person(20) }), Refusal::NotPending("denied"));
}

#[test]
fn an_approval_takes_away_and_never_adds() {
    let mut world = World::founded();
    let wish = world.wish(TARA, &[Action::Shell, Action::FileGet]);
    let id = world.submit(wish);
    let asked = world.state.cases[&id].request.clone();
    let vote = |world: &World, narrowing: Narrowing| {
        let digest = world.state.cases[&id].request.narrowed(&narrowing).digest(&label("model"));
        let answer = Answer::Yes { narrowing };
        Command::Vote { verdict: world.sign(Matter::Request(id), digest, answer, LEADS[0], false) }
    };
    let nothing = Narrowing::default;
    for wider in [
        Narrowing { duration: Some(Seconds(2 * HOUR + 1)), ..nothing() },
        Narrowing { duration: Some(Seconds(0)), ..nothing() },
        Narrowing { actions: Some([Action::Shell, Action::FilePut].into()), ..nothing() },
        Narrowing { actions: Some(Actions::new()), ..nothing() },
        Narrowing { from: Some(seconds_later(asked.window.from, -1)), ..nothing() },
        Narrowing { from: Some(asked.window.until), ..nothing() },
    ] {
        assert_eq!(world.refused(&vote(&world, wider.clone())), Refusal::Widens, "{wider:?}");
    }
    let from = seconds_later(asked.window.from, 60);
    let narrower = Narrowing { duration: Some(Seconds(HOUR)), actions: Some(SHELL.into()), from: Some(from) };
    let narrowed = vote(&world, narrower);
    world.must(&narrowed);
    let now_asked = world.state.cases[&id].request.clone();
    assert_eq!((now_asked.duration, &now_asked.actions, now_asked.window.from), (Seconds(HOUR), &SHELL.into(), from));
    assert_eq!(world.state.cases[&id].asked, asked, "what was asked stays known");
}

#[test]
fn more_is_asked_by_whom_the_grant_belongs_to_while_it_runs_and_inside_the_rule() {
    let mut world = World::founded();
    let request = world.granted(TARA, &SHELL);
    let pending = world.wish(TARA, &SHELL);
    let pending = world.submit(pending);
    let extend = |world: &mut World, request, more, by| {
        let ask = AskId::new(world.id());
        Command::AskExtension { ask, request, more: Seconds(more), reason: salted("more"), by: person(by) }
    };
    let widen = |world: &mut World, request, actions: &[Action], lasts, by| {
        let id = AskId::new(world.id());
        let actions = actions.iter().copied().collect();
        let widening = Widening { id, request, actions, lasts: Seconds(lasts), reason: salted("more") };
        Command::AskWidening { widening, by: person(by) }
    };
    let door = world.door(TARA);
    world.enter(door);
    for (command, refusal) in [
        (extend(&mut world, request, 60, 21), Refusal::NoSuchRequest),
        (widen(&mut world, request, &[Action::FilePut], 60, 21), Refusal::NoSuchRequest),
        (extend(&mut world, pending, 60, 20), Refusal::NotPending("pending")),
        (extend(&mut world, request, 0, 20), Refusal::WindowOver),
    ] {
        assert_eq!(world.refused(&command), refusal);
    }
    let too_long = widen(&mut world, request, &[Action::FilePut], 4 * HOUR + 1, 20);
    assert!(matches!(world.refused(&too_long), Refusal::TooLong { .. }));
    for outside in [&[Action::Tunnel][..], &[]] {
        let command = widen(&mut world, request, outside, 60, 20);
        assert!(matches!(world.refused(&command), Refusal::OutsideRule { .. }), "{outside:?}");
    }
    // Beyond the rule's duration, the contract and, later in the day, the hours.
    let far = |world: &World, command: &Command, why| match world.refused(command) {
        Refusal::ExtensionTooFar(_, said) => assert_eq!(said, why),
        other => panic!("{other:?}"),
    };
    let command = extend(&mut world, request, 2 * HOUR + 1, 20);
    far(&world, &command, "the rule gives no more");
    let (end, by) = (seconds_later(world.now, 3 * 3_600), person(ADMINISTRATOR));
    world.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
    let command = extend(&mut world, request, HOUR + 1, 20);
    far(&world, &command, "the vendor's contract ends");
    let mut evening = World::founded();
    evening.pass(9 * HOUR);
    let request = evening.granted(TARA, &SHELL);
    let door = evening.door(TARA);
    evening.enter(door);
    let command = extend(&mut evening, request, HOUR + 1, 20);
    far(&evening, &command, "the rule's hours end");
    // What is over, or taken back, or whose technician is out.
    world.must(&Command::Disable { person: person(20), by });
    let command = extend(&mut world, request, 60, 20);
    assert!(matches!(world.refused(&command), Refusal::NotActive(_)));
    evening.pass(2 * HOUR);
    let command = extend(&mut evening, request, 60, 20);
    assert!(matches!(evening.refused(&command), Refusal::GrantOver(..)));
}

#[test]
fn a_yes_to_more_is_for_that_ask_whole_and_is_judged_again_when_it_counts() {
    let mut world = World::founded();
    let request = world.granted(TARA, &SHELL);
    let (one, other) = (AskId::new(world.id()), AskId::new(world.id()));
    let by = person(20);
    let door = world.door(TARA);
    let (_, deadline) = world.enter(door);
    for ask in [one, other] {
        world.must(&Command::AskExtension { ask, request, more: Seconds(2 * HOUR), reason: salted("more"), by });
    }
    let good = world.yes(LEADS[0], Matter::Extension(one));
    assert_eq!(world.refused(&wrong(&good, |v| v.statement.matter = Matter::Extension(other))), Refusal::OtherDigest);
    assert_eq!(world.refused(&wrong(&good, |v| v.statement.matter = Matter::Widening(one))), Refusal::OtherDigest);
    let narrowing = Narrowing { duration: Some(Seconds(60)), ..Narrowing::default() };
    let shorter = wrong(&good, |v| v.statement.answer = Answer::Yes { narrowing });
    assert_eq!(world.refused(&shorter), Refusal::Widens);
    assert_eq!(world.refused(&world.yes(ACME_LEAD, Matter::Extension(one))), Refusal::OwnVendor);
    world.must(&good);
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Extension(one))), Refusal::AlreadyVoted);
    assert_eq!(world.state.cases[&request].deadline, deadline, "one of two yeses");
    // The contract ends earlier now than the deadline that was asked for.
    let contract = |end, by| Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by };
    let (end, admin) = (seconds_later(world.now, 3 * 3_600), person(ADMINISTRATOR));
    world.must(&contract(end, admin));
    let last = world.yes(SECURITY, Matter::Extension(one));
    assert!(matches!(world.refused(&last), Refusal::ExtensionTooFar(..)));
    world.must(&contract(seconds_later(world.now, 86_400), admin));
    world.must(&last);
    assert_eq!(world.state.cases[&request].deadline, seconds_later(deadline, 2 * 3_600));
    assert_eq!(world.refused(&world.yes(LEADS[1], Matter::Extension(one))), Refusal::NoSuchRequest, "it is answered");
    // A no answers for good, and a grant that was taken back is not given more.
    let digest = world.state.ask_digest(&world.state.asks[&other]);
    let no = Answer::No { reason: salted("no") };
    let no = Command::Vote { verdict: world.sign(Matter::Extension(other), digest, no, LEADS[0], false) };
    let mut revoked = World { state: world.state.clone(), happened: world.happened.clone(), ..World::founded() };
    (revoked.now, revoked.next) = (world.now, world.next);
    revoked.must(&Command::Revoke { request, reason: salted("no"), by: person(LEADS[0]) });
    assert_eq!(revoked.refused(&revoked.yes(LEADS[1], Matter::Extension(other))), Refusal::NotPending("revoked"));
    world.must(&no);
    assert_eq!(world.refused(&world.yes(LEADS[1], Matter::Extension(other))), Refusal::NoSuchRequest);
}

#[test]
fn a_grant_is_taken_back_and_a_request_withdrawn_once_and_by_whom_it_is_theirs_to() {
    let mut world = World::founded();
    let granted = world.granted(TARA, &SHELL);
    let wish = world.wish(TARA, &SHELL);
    let pending = world.submit(wish);
    let revoke = |request, by| Command::Revoke { request, reason: salted("no"), by: person(by) };
    let withdraw = |request, by| Command::Withdraw { request, by: person(by) };
    assert_eq!(world.refused(&revoke(granted, 20)), Refusal::WrongKind("operators"));
    assert_eq!(world.refused(&revoke(granted, ADMINISTRATOR)), Refusal::WrongKind("operators"));
    assert_eq!(world.refused(&revoke(pending, LEADS[0])), Refusal::NotPending("pending"));
    assert_eq!(world.refused(&withdraw(pending, 21)), Refusal::NoSuchRequest);
    assert_eq!(world.refused(&withdraw(granted, 20)), Refusal::NotPending("granted"));
    world.must(&revoke(granted, LEADS[0]));
    assert_eq!(world.refused(&revoke(granted, LEADS[0])), Refusal::NotPending("revoked"));
    world.must(&withdraw(pending, 20));
    assert_eq!(world.refused(&withdraw(pending, 20)), Refusal::NotPending("withdrawn"));
}

#[test]
fn what_lapses_is_what_nobody_answered_or_used_in_time() {
    let mut world = World::founded();
    let used = world.granted(TARA, &SHELL);
    let door = Admission { grant: Some(used), ..world.door(TARA) };
    world.enter(door);
    let unused = world.granted(BOLT, &SHELL);
    let wish = world.wish(TARA, &SHELL);
    let pending = world.submit(wish);
    world.pass(6 * HOUR - 1);
    assert_eq!(world.state.decide(&Command::Sweep, world.now), Ok(Vec::new()));
    world.pass(1);
    let lapsed = [unused, pending].map(|request| Event::Lapsed { request });
    assert_eq!(world.state.decide(&Command::Sweep, world.now), Ok(lapsed.into()));
}

#[test]
fn a_cut_is_reopened_by_an_operator_who_signed_that_very_reopening() {
    let mut world = World::founded();
    world.pass(60);
    let cuts = [CutId::new(world.id()), CutId::new(world.id())];
    for cut in cuts {
        let (by, at) = (CutBy::Operator(person(LEADS[0])), world.now);
        world.must(&Command::Cut { cut, scope: Scope::Vendor(label("acme")), by, at });
    }
    for by in [person(20), person(ADMINISTRATOR)] {
        let cut = CutId::new(world.id());
        let command = Command::Cut { cut, scope: Scope::Plant, by: CutBy::Operator(by), at: world.now };
        assert_eq!(world.refused(&command), Refusal::WrongKind("operators"));
    }
    let reopening = Reopening { cut: cuts[0], reason: salted("checked") };
    let digest = world.state.reopening_digest(&reopening);
    let good = |world: &World, who| {
        let yes = Answer::Yes { narrowing: Narrowing::default() };
        world.sign(Matter::Reopening(cuts[0]), digest, yes, who, false)
    };
    let reopen = |verdict| Command::Reopen { reopening: reopening.clone(), verdict };
    let (now, size) = (world.now, world.state.size);
    type Wrong = Box<dyn FnOnce(&mut Signed<VerdictStatement>)>;
    let wrongs: [(Wrong, Refusal); 7] = [
        (Box::new(|v| v.statement.deployment = label("other")), Refusal::OtherDeployment),
        (Box::new(move |v| v.statement.expires = now), Refusal::StatementExpired(on_the_wall(now))),
        (Box::new(move |v| v.statement.journal.size = size + 1), Refusal::OtherJournal),
        (Box::new(|v| v.key = key(SECURITY)), Refusal::NotYourKey),
        (Box::new(move |v| v.statement.matter = Matter::Reopening(cuts[1])), Refusal::OtherDigest),
        (Box::new(|v| v.statement.digest = Digest::of_bytes(b"another")), Refusal::OtherDigest),
        (Box::new(|v| v.statement.answer = Answer::No { reason: salted("no") }), Refusal::OtherDigest),
    ];
    for (make_wrong, refusal) in wrongs {
        let mut verdict = good(&world, LEADS[0]);
        make_wrong(&mut verdict);
        assert_eq!(world.refused(&reopen(verdict)), refusal);
    }
    for who in [ADMINISTRATOR, TECHNICIANS[0].0] {
        assert_eq!(world.refused(&reopen(good(&world, who))), Refusal::WrongKind("operators"));
    }
    assert_eq!(world.refused(&reopen(good(&world, ACME_LEAD))), Refusal::OwnVendor);
    world.must(&reopen(good(&world, LEADS[1])));
    assert_eq!(world.refused(&reopen(good(&world, LEADS[1]))), Refusal::NoSuchCut);
}

#[test]
fn nobody_reopens_a_cut_of_a_session_of_their_own_vendor() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let (cut, by, at) = (CutId::new(world.id()), CutBy::Operator(person(LEADS[0])), world.now);
    world.must(&Command::Cut { cut, scope: Scope::Session(session), by, at });
    let reopening = Reopening { cut, reason: salted("checked") };
    let digest = world.state.reopening_digest(&reopening);
    let yes = Answer::Yes { narrowing: Narrowing::default() };
    let verdict = world.sign(Matter::Reopening(cut), digest, yes, ACME_LEAD, false);
    assert_eq!(world.refused(&Command::Reopen { reopening, verdict }), Refusal::OwnVendor);
}

// Without a signature

fn weaker(world: &World, voter: u128, matter: Matter, way: Weaker) -> Command {
    let Command::Vote { verdict } = world.yes(voter, matter) else { unreachable!("an answer") };
    Command::VoteWeaker { statement: verdict.statement, way }
}

#[test]
fn an_answer_without_a_signature_counts_as_the_rule_says_from_whoever_is_on_duty_and_is_marked() {
    let mut world = World::founded();
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    let matter = || Matter::Request(id);
    assert_eq!(
        world.refused(&weaker(&world, LEADS[0], matter(), Weaker::Totp)),
        Refusal::DutyWanted("answers without a signature")
    );
    for who in OPERATORS {
        world.must(&Command::ComeOnDuty { person: person(who), provider: None });
    }
    let by_telephone = weaker(&world, LEADS[0], matter(), Weaker::Telephone);
    let not_allowed = Refusal::WeakerNotAllowed { way: Weaker::Telephone, rule: label("maintenance") };
    assert_eq!(world.refused(&by_telephone), not_allowed);
    assert_eq!(world.refused(&weaker(&world, ACME_LEAD, matter(), Weaker::Totp)), Refusal::OwnVendor);
    assert_eq!(world.refused(&weaker(&world, ADMINISTRATOR, matter(), Weaker::Totp)), Refusal::WrongKind("operators"));
    world.must(&weaker(&world, LEADS[0], matter(), Weaker::Totp));
    assert_eq!(world.refused(&weaker(&world, LEADS[0], matter(), Weaker::Totp)), Refusal::AlreadyVoted);
    assert_eq!(world.refused(&world.yes(LEADS[0], matter())), Refusal::AlreadyVoted, "however it was given first");
    world.must(&world.yes(SECURITY, matter()));
    let case = &world.state.cases[&id];
    assert_eq!(case.standing, RequestStanding::Granted, "it fills the group's place as a signed one does");
    assert_eq!(case.votes.iter().map(|vote| vote.weaker).collect::<Vec<_>>(), [Some(Weaker::Totp), None]);
}

#[test]
fn a_no_without_a_signature_ends_it_and_more_is_answered_so_too() {
    let mut world = World::founded();
    for who in OPERATORS {
        world.must(&Command::ComeOnDuty { person: person(who), provider: None });
    }
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    let Command::VoteWeaker { mut statement, way } = weaker(&world, SECURITY, Matter::Request(id), Weaker::Totp) else {
        unreachable!("an answer")
    };
    statement.answer = Answer::No { reason: salted("no") };
    world.must(&Command::VoteWeaker { statement, way });
    assert_eq!(world.state.cases[&id].standing, RequestStanding::Denied);
    let granted = world.granted(TARA, &SHELL);
    let (door, ask, by) = (world.door(TARA), AskId::new(world.id()), person(20));
    world.must(&Command::Admit(door));
    world.must(&Command::AskExtension { ask, request: granted, more: Seconds(60), reason: salted("more"), by });
    for voter in [SECURITY, LEADS[1]] {
        world.must(&weaker(&world, voter, Matter::Extension(ask), Weaker::Totp));
    }
    assert!(!world.state.asks[&ask].open, "both said yes");
}

#[test]
fn who_left_the_group_before_the_last_answer_counts_no_more_however_they_answered() {
    let mut world = World::founded();
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    world.must(&weaker(&world, LEADS[0], Matter::Request(id), Weaker::Totp));
    world.must(&Command::Disable { person: person(LEADS[0]), by: person(ADMINISTRATOR) });
    world.must(&world.yes(SECURITY, Matter::Request(id)));
    assert_eq!(world.state.cases[&id].standing, RequestStanding::Pending);
}

#[test]
fn an_emergency_its_review_and_a_reopening_take_a_signature() {
    let mut world = World::on(&plant_with("exclusive = \"none\"", "exclusive = \"none\"\nemergency = true"));
    for who in OPERATORS {
        world.must(&Command::ComeOnDuty { person: person(who), provider: None });
    }
    let emergency = NewRequest { emergency: true, ..world.wish(TARA, &SHELL) };
    let id = world.submit(emergency);
    let wanted = Refusal::SignatureWanted("an emergency");
    assert_eq!(world.refused(&weaker(&world, LEADS[0], Matter::Request(id), Weaker::Totp)), wanted);
    let yes = world.yes(LEADS[0], Matter::Request(id));
    world.must_unjudged(&yes);
    assert_eq!(world.refused(&weaker(&world, LEADS[1], Matter::Review(id), Weaker::Totp)), wanted);
    let Command::VoteWeaker { mut statement, way } = weaker(&world, LEADS[1], Matter::Review(id), Weaker::Totp) else {
        unreachable!("an answer")
    };
    statement.matter = Matter::Reopening(CutId::new(ulid::Ulid::from(9_u128)));
    let reopen = Command::VoteWeaker { statement, way };
    assert_eq!(world.refused(&reopen), Refusal::SignatureWanted("letting back in"));
}

// Emergencies

#[test]
fn an_emergency_is_given_by_one_on_duty_and_looked_back_at_once_by_another() {
    let mut world = World::on(&plant_with("exclusive = \"none\"", "exclusive = \"none\"\nemergency = true"));
    let usual = world.granted(TARA, &SHELL);
    let emergency = NewRequest { emergency: true, ..world.wish(TARA, &SHELL) };
    let id = world.submit(emergency);
    let review = Matter::Review(id);
    assert_eq!(world.refused(&world.yes(LEADS[1], review)), Refusal::NotPending("pending"));
    for who in [20, ADMINISTRATOR] {
        assert_eq!(
            world.refused(&Command::ComeOnDuty { person: person(who), provider: None }),
            Refusal::WrongKind("operators")
        );
    }
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Request(id))), Refusal::NotOnDuty);
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    world.pass(12 * HOUR);
    let late = NewRequest {
        window: Window { from: world.now, until: seconds_later(world.now, 60) },
        ..world.wish(TARA, &SHELL)
    };
    assert!(world.state.decide(&Command::Submit(late), world.now).is_err(), "hours hold in an emergency too");
    world.pass(12 * HOUR);
    let emergency = NewRequest { emergency: true, ..world.wish(TARA, &SHELL) };
    let id = world.submit(emergency);
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Request(id))), Refusal::NotOnDuty, "their shift is over");
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    assert_eq!(world.refused(&world.yes(ACME_LEAD, Matter::Request(id))), Refusal::OwnVendor);
    let yes = world.yes(LEADS[0], Matter::Request(id));
    assert_eq!(world.must_unjudged(&yes).last(), Some(&Event::Granted { request: id }));
    let review = Matter::Review(id);
    assert_eq!(world.refused(&world.yes(LEADS[1], Matter::Review(usual))), Refusal::NotPending("granted"));
    assert_eq!(world.refused(&world.yes(LEADS[0], review.clone())), Refusal::OwnDeed);
    let good = world.yes(LEADS[1], review.clone());
    let another = wrong(&good, |v| v.statement.digest = Digest::of_bytes(b"another"));
    assert_eq!(world.refused(&another), Refusal::OtherDigest);
    let narrowed = wrong(&good, |v| {
        let narrowing = Narrowing { duration: Some(Seconds(1)), ..Narrowing::default() };
        v.statement.answer = Answer::Yes { narrowing };
    });
    assert_eq!(world.refused(&narrowed), Refusal::Widens, "nothing is taken away from what is over");
    assert_eq!(world.refused(&world.yes(ACME_LEAD, review.clone())), Refusal::OwnVendor);
    let mut other = world.clone();
    world.must_unjudged(&good);
    let seen = LookBack { by: person(LEADS[1]), at: world.now, objection: None };
    assert_eq!(world.state.cases[&id].reviewed(), Some(seen));
    assert_eq!(world.refused(&world.yes(SECURITY, review.clone())), Refusal::NotPending("granted"), "once is enough");
    let events = other.must_unjudged(&to_no(&good));
    let objection = Some(salted("no"));
    assert_eq!(events.last(), Some(&Event::Reviewed { request: id, by: person(LEADS[1]), objection }));
    assert_eq!(other.state.cases[&id].reviewed(), Some(LookBack { objection, ..seen }));
    assert_eq!(other.state.cases[&id].standing, RequestStanding::Granted, "what was given is not taken back by it");
    assert_eq!(other.refused(&world.yes(SECURITY, review)), Refusal::NotPending("granted"), "an objection stands");
}

#[test]
fn a_shift_is_as_long_as_the_plant_says_and_is_renewed_in_its_second_half() {
    let mut world = World::on(&plant_with("[zones.packaging]", "shifts = \"8h\"\n[zones.packaging]"));
    let come = Command::ComeOnDuty { person: person(LEADS[0]), provider: None };
    world.must(&come);
    let until = |world: &World| world.state.people[&person(LEADS[0])].on_duty_until.unwrap();
    assert_eq!(until(&world), seconds_later(world.now, 8 * 3_600));
    world.pass(4 * HOUR - 1);
    assert_eq!(world.state.decide(&come, world.now), Ok(Vec::new()));
    world.pass(1);
    world.must(&come);
    assert_eq!(until(&world), seconds_later(world.now, 8 * 3_600));
}

#[test]
fn one_person_fills_one_place_whatever_groups_they_are_in() {
    use policies::decide::quorum_is_met;
    use policies::plant::Quorum;
    let world = World::founded();
    let of = |people: &[u128]| people.iter().map(|n| &world.state.people[&person(*n)]).collect::<Vec<_>>();
    let quorum = |from: &str, count| Quorum { from: label(from), count };
    let both = [quorum("shift-lead", 1), quorum("ot-security", 1)];
    assert!(!quorum_is_met(&both, &of(&[SECURITY])));
    assert!(!quorum_is_met(&both, &of(&LEADS)));
    assert!(
        quorum_is_met(&both, &of(&[SECURITY, LEADS[0]])),
        "whoever came first moves to the place that is theirs alone"
    );
    assert!(quorum_is_met(&both, &of(&[LEADS[0], SECURITY])));
    let two = [quorum("shift-lead", 2)];
    assert!(!quorum_is_met(&two, &of(&[LEADS[0]])));
    assert!(quorum_is_met(&two, &of(&LEADS)));
    assert!(!quorum_is_met(&two, &of(&[LEADS[0], ADMINISTRATOR])));
}

// People

impl World {
    /// A statement that vouches for somebody as they stand.
    fn voucher(&self, signer: u128, about: PersonId) -> Signed<CertifyStatement> {
        let person_of = &self.state.people[&about];
        let statement = CertifyStatement {
            deployment: label("model"),
            person: about,
            kind: person_of.kind.clone(),
            keys: person_of.keys.clone(),
            groups: person_of.groups.clone(),
            signer: person(signer),
            nonce: self.next.to_string(),
            expires: seconds_later(self.now, 60),
            journal: SeenHead { size: self.state.size, root: Digest::of_bytes(b"") },
        };
        Signed { statement, key: key(signer), signature: String::new() }
    }

    fn invitation(&mut self, who: u128, kind: Kind, groups: &[&str]) -> (LinkId, Command) {
        let link = LinkId::new(self.id());
        let groups = groups.iter().map(|group| label(group)).collect();
        let (expires, by) = (seconds_later(self.now, 3_600), person(ADMINISTRATOR));
        (link, Command::Invite { person: person(who), kind, groups, link, expires, by })
    }

    pub(super) fn enrolled(&mut self, who: u128, kind: Kind, groups: &[&str]) -> PersonId {
        let (link, invite) = self.invitation(who, kind, groups);
        self.must(&invite);
        self.must(&Command::Enrol { link, key: key(who) });
        person(who)
    }

    fn standing(&self, who: PersonId) -> Standing {
        self.state.people[&who].standing
    }
}

const NEW: u128 = 40;
const OPERATOR: Kind = Kind::Operator { vendor: None };

#[test]
fn an_installation_is_founded_once_and_with_an_administrator() {
    let mut world = World::founded();
    let founders = vec![world.founder(NEW, OPERATOR, &["shift-lead"])];
    let found = Command::Found { deployment: label("other"), log_key: "k".into(), founders, plant: PLANT.into() };
    assert_eq!(world.refused(&found), Refusal::Exists);
    assert_eq!(State::default().decide(&found, world.now), Err(Refusal::WrongKind("administrators")));
    let Command::Found { deployment, log_key, mut founders, .. } = found else { unreachable!("as built") };
    founders.push(world.founder(ADMINISTRATOR, Kind::Administrator, &[]));
    let mistaken = Command::Found { deployment, log_key, founders, plant: "[plant]".into() };
    assert!(matches!(State::default().decide(&mistaken, world.now), Err(Refusal::PlantFileWrong(_))));
}

#[test]
fn only_administrators_manage_people_and_nobody_is_invited_twice_or_without_a_contract() {
    let mut world = World::founded();
    let technician = Kind::Technician { vendor: label("acme"), role: label("maintenance") };
    let (link, _) = world.invitation(NEW, technician.clone(), &[]);
    let (expires, end) = (seconds_later(world.now, 60), seconds_later(world.now, 60));
    for by in [LEADS[0], TECHNICIANS[0].0].map(person) {
        let (vendor, sponsor, kind) = (label("acme"), person(LEADS[0]), technician.clone());
        for command in [
            Command::Contract { vendor, end, sponsor, telephone: None, by },
            Command::Invite { person: person(NEW), kind, groups: vec![], link, expires, by },
            Command::Reinvite { person: person(20), link, expires, by },
            Command::Rename { person: person(20), name: salted("x"), by },
            Command::Disable { person: person(21), by },
            Command::DisableVendor { vendor: label("acme"), by },
            Command::ProposePlant { text: format!("{PLANT}#"), by },
        ] {
            let by_a_manager =
                matches!(command, Command::Invite { .. } | Command::Reinvite { .. } | Command::Disable { .. });
            let refusal = match by_a_manager && by != person(LEADS[0]) {
                true => Refusal::NotManager,
                false => Refusal::WrongKind("administrators"),
            };
            assert_eq!(world.refused(&command), refusal, "{command:?}");
        }
    }
    let by = person(ADMINISTRATOR);
    let no_sponsor = Command::Contract { vendor: label("new"), end, sponsor: person(NEW), telephone: None, by };
    assert_eq!(world.refused(&no_sponsor), Refusal::UnknownPerson);
    let of_nobody = Kind::Technician { vendor: label("nobody"), role: label("maintenance") };
    let (_, invite) = world.invitation(NEW, of_nobody, &[]);
    assert_eq!(world.refused(&invite), Refusal::NoContract(label("nobody")));
    let (_, again) = world.invitation(20, technician.clone(), &[]);
    assert_eq!(world.refused(&again), Refusal::Exists);
    assert_eq!(
        world.refused(&Command::DisableVendor { vendor: label("nobody"), by }),
        Refusal::NoContract(label("nobody"))
    );
    world.must(&Command::Disable { person: by, by });
    let (_, invite) = world.invitation(NEW, technician, &[]);
    assert!(matches!(world.refused(&invite), Refusal::NotActive(_)), "an administrator who is out manages nobody");
}

#[test]
fn a_technician_who_counts_has_some_more_keys_and_nobody_else_has() {
    let mut world = World::founded();
    let technician = Kind::Technician { vendor: label("acme"), role: label("maintenance") };
    let (link, invite) = world.invitation(NEW, technician, &[]);
    world.must(&invite);
    let add = |who: u128, n: u128| Command::AddKey { person: person(who), key: key(n) };
    assert!(matches!(world.refused(&add(NEW, 50)), Refusal::NotActive(Standing::Invited)));
    world.must(&Command::Enrol { link, key: key(NEW) });
    assert_eq!(world.refused(&add(NEW, 20)), Refusal::KeyTaken, "somebody else's");
    assert_eq!(world.refused(&add(NEW, NEW)), Refusal::KeyTaken, "one's own");
    for n in 50..50 + KEYS_MAX as u128 - 1 {
        world.must(&add(NEW, n));
    }
    assert_eq!(world.refused(&add(NEW, 60)), Refusal::KeysFull(KEYS_MAX));
    assert_eq!(world.refused(&add(ADMINISTRATOR, 60)), Refusal::WrongKind("technicians"));
    let (keys, by) = (world.state.people[&person(NEW)].keys.clone(), person(ADMINISTRATOR));
    assert_eq!((keys.len(), &keys[0]), (KEYS_MAX, &key(NEW)), "what was there stays");

    // Whatever a journal says, nobody whose keys are vouched for gets one so.
    let before = world.state.people[&by].keys.clone();
    world.state.apply(&Event::KeyAdded { person: by, key: key(60) }, world.now);
    assert_eq!(world.state.people[&by].keys, before);
    let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 3_600));
    world.must(&Command::Reinvite { person: person(NEW), link, expires, by });
    world.must(&Command::Enrol { link, key: key(61) });
    assert_eq!(world.state.people[&person(NEW)].keys, [key(61)], "a new enrolment voids all");
    world.must(&Command::Disable { person: person(NEW), by });
    assert!(matches!(world.refused(&add(NEW, 62)), Refusal::NotActive(Standing::Disabled)));
}

#[test]
fn a_providers_subject_is_one_persons_until_it_is_let_go_and_who_enrols_anew_has_none() {
    let mut world = World::founded();
    let technician = Kind::Technician { vendor: label("acme"), role: label("maintenance") };
    let (link, invite) = world.invitation(NEW, technician, &[]);
    world.must(&invite);
    let named = |name: &str| Some(Salted::new(&[1; 32], name));
    let (provider, by) = (label::<ProviderName>("acme-login"), person(ADMINISTRATOR));
    let linked = |who: u128, subject: u8, called| Command::LinkSubject {
        person: person(who),
        provider: label("acme-login"),
        subject: Digest([subject; 32]),
        called,
        proved: Timestamp::MAX,
    };
    let renamed = |subject: u8, name: &str| Command::RenameSubject {
        person: person(NEW),
        provider: label("acme-login"),
        subject: Digest([subject; 32]),
        called: Salted::new(&[1; 32], name),
    };
    let unlinked = |who, by| Command::UnlinkSubject { person: person(who), provider: label("acme-login"), by };
    assert!(matches!(world.refused(&linked(NEW, 1, None)), Refusal::NotActive(Standing::Invited)));
    world.must(&Command::Enrol { link, key: key(NEW) });
    let known = |world: &World, who| world.state.people[&person(who)].subjects.get(&provider).copied();

    // The same again is no news; another name is, and the same subject for somebody else changes nothing.
    assert!(matches!(world.must_unjudged(&linked(NEW, 1, named("tess@acme")))[..], [Event::SubjectLinked { .. }]));
    assert!(world.must_unjudged(&linked(NEW, 1, None)).is_empty());
    assert!(matches!(world.must_unjudged(&linked(NEW, 1, named("tessa@acme")))[..], [Event::SubjectRenamed { .. }]));
    assert_eq!(known(&world, NEW).unwrap().called, named("tessa@acme"));
    assert!(matches!(world.must_unjudged(&renamed(1, "tess.a@acme"))[..], [Event::SubjectRenamed { .. }]));
    assert_eq!(world.refused(&renamed(2, "tess.a@acme")), Refusal::SubjectGone);
    let before = known(&world, NEW);
    let contested = world.must_unjudged(&linked(ADMINISTRATOR, 1, named("ada@acme")));
    assert!(
        matches!(contested[..], [Event::SubjectContested { holder, .. }] if holder == person(NEW)),
        "{contested:?}"
    );
    assert_eq!((known(&world, NEW), known(&world, ADMINISTRATOR)), (before, None));

    // One person, another subject: the new one alone.
    assert!(matches!(world.must_unjudged(&linked(NEW, 2, named("tess@acme")))[..], [Event::SubjectLinked { .. }]));
    assert_eq!(world.state.person_known_as(&provider, &Digest([1; 32])).map(|known| known.id), None);
    assert_eq!(world.state.person_known_as(&provider, &Digest([2; 32])).map(|known| known.id), Some(person(NEW)));

    // One's own is let go by oneself, and anybody's by an administrator; nobody else does.
    assert_eq!(world.refused(&unlinked(ADMINISTRATOR, person(NEW))), Refusal::WrongKind("administrators"));
    assert!(world.must_unjudged(&unlinked(ADMINISTRATOR, by)).is_empty(), "there is none");
    world.must_unjudged(&unlinked(NEW, person(NEW)));
    assert_eq!(known(&world, NEW), None);
    world.must_unjudged(&linked(NEW, 3, None));
    world.must_unjudged(&unlinked(NEW, by));
    assert_eq!(world.refused(&renamed(3, "tess@acme")), Refusal::SubjectGone, "a sign-in links nothing again");
    world.must_unjudged(&linked(NEW, 3, None));

    // What lost factors began is over, and whoever is out keeps what was theirs from others.
    let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 3_600));
    world.must(&Command::Reinvite { person: person(NEW), link, expires, by });
    assert!(known(&world, NEW).is_some());
    world.must(&Command::Enrol { link, key: key(61) });
    assert_eq!(known(&world, NEW), None);
    let mut earlier = linked(NEW, 3, None);
    if let Command::LinkSubject { proved, .. } = &mut earlier {
        *proved = seconds_later(world.state.people[&person(NEW)].enrolled_at.unwrap(), -1);
    }
    assert_eq!(world.refused(&earlier), Refusal::EarlierKey);
    world.must_unjudged(&linked(NEW, 3, None));
    world.must(&Command::Disable { person: person(NEW), by });
    assert!(matches!(world.refused(&linked(NEW, 4, None)), Refusal::NotActive(Standing::Disabled)));
    assert!(matches!(world.must_unjudged(&linked(ADMINISTRATOR, 3, None))[..], [Event::SubjectContested { .. }]));
    world.must_unjudged(&unlinked(NEW, by));
    assert!(matches!(world.must_unjudged(&linked(ADMINISTRATOR, 3, None))[..], [Event::SubjectLinked { .. }]));
}

#[test]
fn a_code_is_good_once_until_it_expires_or_another_is_given_and_for_a_key_that_is_nobodys() {
    let mut world = World::founded();
    let technician = || Kind::Technician { vendor: label("acme"), role: label("maintenance") };
    let (link, invite) = world.invitation(NEW, technician(), &[]);
    world.must(&invite);
    assert_eq!(world.refused(&Command::Enrol { link, key: key(20) }), Refusal::KeyTaken);
    let enrol = Command::Enrol { link, key: key(NEW) };
    let expired = seconds_later(world.now, 3_600);
    assert_eq!(world.state.decide(&enrol, expired), Err(Refusal::LinkSpent));
    world.must(&enrol);
    assert_eq!(world.refused(&enrol), Refusal::LinkSpent);
    let reinvite = |world: &mut World, who: u128| {
        let link = LinkId::new(world.id());
        let (expires, by) = (seconds_later(world.now, 3_600), person(ADMINISTRATOR));
        (link, Command::Reinvite { person: person(who), link, expires, by })
    };
    let (first, again) = reinvite(&mut world, NEW);
    world.must(&again);
    assert_eq!(world.refused(&again), Refusal::Exists);
    let (second, again) = reinvite(&mut world, NEW);
    world.must(&again);
    assert_eq!(world.refused(&Command::Enrol { link: first, key: key(NEW) }), Refusal::LinkSpent);
    world.must(&Command::Disable { person: person(NEW), by: person(ADMINISTRATOR) });
    assert_eq!(world.refused(&Command::Enrol { link: second, key: key(NEW) }), Refusal::LinkSpent, "whoever is out");
    let (_, out) = reinvite(&mut world, NEW);
    assert_eq!(world.refused(&out), Refusal::NotActive(Standing::Disabled));
    // One of the first people has no other code than the first.
    let mut fresh = State::default();
    let (founder, link) = (world.founder(ADMINISTRATOR, Kind::Administrator, &[]), LinkId::new(world.id()));
    let lead = world.founder(LEADS[0], OPERATOR, &["shift-lead"]);
    let (first, by) = (founder.link, person(ADMINISTRATOR));
    let found = Command::Found {
        deployment: label("m"),
        log_key: "k".into(),
        founders: vec![founder, lead],
        plant: PLANT.into(),
    };
    for command in [found, Command::Enrol { link: first, key: key(ADMINISTRATOR) }] {
        for event in fresh.decide(&command, world.now).unwrap() {
            fresh.apply(&event, world.now);
        }
    }
    let reinvite = Command::Reinvite { person: person(LEADS[0]), link, expires: expired, by };
    assert_eq!(fresh.decide(&reinvite, world.now), Err(Refusal::FirstCodeStands));
}

#[test]
fn an_operator_counts_once_an_administrator_and_a_member_of_each_group_have_signed_for_them_as_they_are() {
    let mut world = World::founded();
    let max = world.enrolled(NEW, OPERATOR, &["shift-lead", "ot-security"]);
    assert_eq!(world.standing(max), Standing::Enrolled);
    let certify = |certificate| Command::Certify { certificate };
    let good = world.voucher(ADMINISTRATOR, max);
    let (now, size) = (world.now, world.state.size);
    type Wrong = Box<dyn FnOnce(&mut Signed<CertifyStatement>)>;
    let wrongs: [(Wrong, Refusal); 7] = [
        (Box::new(|v| v.statement.deployment = label("other")), Refusal::OtherDeployment),
        (Box::new(move |v| v.statement.expires = now), Refusal::StatementExpired(on_the_wall(now))),
        (Box::new(move |v| v.statement.journal.size = size + 1), Refusal::OtherJournal),
        (Box::new(|v| v.key = key(SECURITY)), Refusal::NotYourKey),
        (Box::new(|v| v.statement.keys = vec![key(99)]), Refusal::OtherDigest),
        (Box::new(|v| v.statement.groups = [label("shift-lead")].into()), Refusal::OtherDigest),
        (Box::new(|v| v.statement.kind = Kind::Administrator), Refusal::OtherDigest),
    ];
    for (make_wrong, refusal) in wrongs {
        let mut certificate = good.clone();
        make_wrong(&mut certificate);
        assert_eq!(world.refused(&certify(certificate)), refusal);
    }
    let auditor = world.enrolled(NEW + 1, Kind::Auditor, &[]);
    assert_eq!(world.standing(auditor), Standing::Active);
    for (signer, about, whom) in
        [(20, max, "technician"), (NEW + 1, max, "auditor"), (SECURITY, person(LEADS[0]), "this person")]
    {
        assert_eq!(world.refused(&certify(world.voucher(signer, about))), Refusal::MayNotVouch(whom));
    }
    // Members alone do not suffice, nor an administrator with a member of one group of two.
    for (signer, then) in
        [(LEADS[0], Standing::Enrolled), (ADMINISTRATOR, Standing::Enrolled), (SECURITY, Standing::Active)]
    {
        let voucher = world.voucher(signer, max);
        world.must(&certify(voucher));
        assert_eq!(world.standing(max), then, "{signer}");
    }
    assert_eq!(
        world.refused(&certify(world.voucher(LEADS[1], max))),
        Refusal::MayNotVouch("this person"),
        "it is done"
    );
    let mut world = World::founded();
    let max = world.enrolled(NEW, OPERATOR, &["ot-security"]);
    let voucher = world.voucher(SECURITY, max);
    world.must(&certify(voucher));
    assert_eq!(world.standing(max), Standing::Enrolled, "no administrator yet");
    assert_eq!(
        world.refused(&certify(world.voucher(LEADS[0], max))),
        Refusal::MayNotVouch("operator"),
        "no group of theirs"
    );
    // What was signed for a key does not count for the next.
    let (link, by) = (LinkId::new(world.id()), person(ADMINISTRATOR));
    world.must(&Command::Reinvite { person: max, link, expires: seconds_later(world.now, 60), by });
    world.must(&Command::Enrol { link, key: key(NEW + 2) });
    let voucher = world.voucher(ADMINISTRATOR, max);
    world.must(&certify(voucher));
    assert_eq!(world.standing(max), Standing::Enrolled);
    // A voucher of somebody who is out by then does not count either.
    world.must(&Command::Disable { person: person(SECURITY), by });
    assert!(matches!(world.refused(&certify(world.voucher(SECURITY, max))), Refusal::NotActive(_)));
}

#[test]
fn another_administrator_takes_an_administrator_and_an_operator() {
    let mut world = World::founded();
    let eve = world.enrolled(NEW, Kind::Administrator, &[]);
    let certify = |certificate| Command::Certify { certificate };
    assert_eq!(world.standing(eve), Standing::Enrolled);
    assert_eq!(world.refused(&certify(world.voucher(20, eve))), Refusal::MayNotVouch("technician"));
    let voucher = world.voucher(ADMINISTRATOR, eve);
    world.must(&certify(voucher));
    assert_eq!(world.standing(eve), Standing::Enrolled);
    assert!(world.state.decide(&certify(world.voucher(NEW, eve)), world.now).is_err(), "nobody vouches for themselves");
    let voucher = world.voucher(LEADS[0], eve);
    world.must(&certify(voucher));
    assert_eq!(world.standing(eve), Standing::Active);
}

#[test]
fn whoever_enrols_again_has_none_of_what_they_had() {
    let mut world = World::founded();
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    let (link, by) = (LinkId::new(world.id()), person(ADMINISTRATOR));
    world.must(&Command::Reinvite { person: person(LEADS[0]), link, expires: seconds_later(world.now, 60), by });
    world.must(&Command::Enrol { link, key: key(NEW) });
    let lead = &world.state.people[&person(LEADS[0])];
    assert_eq!((lead.standing, &lead.keys, lead.on_duty_until), (Standing::Enrolled, &vec![key(NEW)], None));
    assert!(world.state.person_with_key(&key(LEADS[0])).is_none() && world.state.person_with_key(&key(NEW)).is_none());
    let wish = world.wish(TARA, &SHELL);
    let id = world.submit(wish);
    assert_eq!(world.refused(&world.yes(LEADS[0], Matter::Request(id))), Refusal::NotActive(Standing::Enrolled));
}

#[test]
fn a_node_that_starts_ends_what_it_ran_and_nothing_of_another() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let start = |node| Command::StartNode { node: label(node), version: "1".into() };
    assert_eq!(world.state.decide(&start("gate-2"), world.now).unwrap().len(), 1);
    let ended = Event::Ended { session, ending: Ending::Crashed, seal: None };
    assert_eq!(world.state.decide(&start("gate-1"), world.now).unwrap().last(), Some(&ended));
}

#[test]
fn a_node_that_is_gone_for_good_is_forgotten_with_what_it_ran_and_comes_back_as_any() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    for node in ["gate-1", "gate-2"] {
        world.must(&Command::StartNode { node: label(node), version: "1".into() });
    }
    world.enter(door);
    let forget = |node: &str, by| Command::ForgetNodes { nodes: [label(node)].into(), by: person(by) };
    assert_eq!(world.refused(&forget("gate-1", LEADS[0])), Refusal::WrongKind("administrators"));
    assert_eq!(world.refused(&forget("gate-9", ADMINISTRATOR)), Refusal::NoSuchNode(label("gate-9")));
    let gone = Event::NodesForgotten { nodes: [label("gate-1")].into(), by: person(ADMINISTRATOR) };
    let ended = Event::Ended { session, ending: Ending::Presumed, seal: None };
    assert_eq!(world.state.decide(&forget("gate-1", ADMINISTRATOR), world.now), Ok(vec![ended, gone]));
    world.must(&forget("gate-1", ADMINISTRATOR));
    assert!(world.state.live.is_empty() && world.state.is_forgotten(&label("gate-1")));
    assert!(world.state.running_nodes().eq([&label("gate-2")]));
    assert_eq!(world.state.decide(&forget("gate-1", ADMINISTRATOR), world.now), Ok(Vec::new()), "it is already");
    // It only could not reach the others, and lets somebody in before it says more.
    let again = world.door(TARA);
    world.enter(again);
    assert!(!world.state.is_forgotten(&label("gate-1")) && world.state.running_nodes().count() == 2);
}

#[test]
fn recordings_are_fetched_by_auditors_and_operators() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let auditor = world.enrolled(NEW, Kind::Auditor, &[]);
    for by in [20, ADMINISTRATOR].map(person) {
        assert_eq!(world.refused(&Command::Fetch { session, by }), Refusal::WrongKind("auditors and operators"));
    }
    let unknown = SessionId::new(world.id());
    assert_eq!(world.refused(&Command::Fetch { session: unknown, by: auditor }), Refusal::NoSuchRecording);
    for by in [auditor, person(LEADS[0])] {
        world.must(&Command::Fetch { session, by });
    }
}

#[test]
fn packs_are_made_by_auditors_and_operators_of_what_there_is() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let auditor = world.enrolled(NEW, Kind::Auditor, &[]);
    let (from, until) = (world.now, world.now + SignedDuration::from_secs(1));
    let vendor = |vendor, from, until| PackOf::Vendor { vendor: label(vendor), from, until };
    for by in [20, ADMINISTRATOR].map(person) {
        let wish = Command::Pack { of: PackOf::Session { session }, by };
        assert_eq!(world.refused(&wish), Refusal::WrongKind("auditors and operators"));
    }
    for (of, refusal) in [
        (PackOf::Session { session: SessionId::new(world.id()) }, Refusal::NoSuchRecording),
        (vendor("nobody", from, until), Refusal::NoContract(label("nobody"))),
        (vendor("acme", until, until), Refusal::EmptySpan),
        (vendor("acme", until, from), Refusal::EmptySpan),
    ] {
        assert_eq!(world.refused(&Command::Pack { of, by: auditor }), refusal);
    }
    for by in [auditor, person(LEADS[0])] {
        for of in [PackOf::Session { session }, vendor("acme", from, until)] {
            let events = world.state.decide(&Command::Pack { of: of.clone(), by }, world.now).unwrap();
            assert_eq!(events, [Event::Packed { of, by }]);
        }
    }
}

// The plant file

#[test]
fn a_plant_file_takes_an_administrator_and_the_changes_of_the_file_in_force() {
    let asks_two = plant_with(
        "{ from = \"shift-lead\", count = 1 }]\n\n[zones",
        "{ from = \"ot-security\", count = 1 }]\n\n[zones",
    );
    let mut world = World::on(&asks_two);
    let by = person(ADMINISTRATOR);
    let text = format!("{asks_two}# {}\n", "ä long comment ".repeat(6_000));
    let plant = Digest::of_bytes(text.as_bytes());
    assert_eq!(world.refused(&Command::ProposePlant { text: asks_two.clone(), by }), Refusal::PlantInForce);
    assert!(matches!(world.refused(&Command::ProposePlant { text: "[plant]".into(), by }), Refusal::PlantFileWrong(_)));
    let replaces = Digest::of_bytes(asks_two.as_bytes());
    let signed = |world: &World, signer: u128| {
        let journal = SeenHead { size: world.state.size, root: Digest::of_bytes(b"") };
        let (deployment, signer_id, expires) = (label("model"), person(signer), seconds_later(world.now, 60));
        let nonce = world.next.to_string();
        let statement = PlantStatement { deployment, plant, replaces, signer: signer_id, nonce, expires, journal };
        Signed { statement, key: key(signer), signature: String::new() }
    };
    let sign = |signed| Command::SignPlant { signed };
    assert_eq!(world.refused(&sign(signed(&world, ADMINISTRATOR))), Refusal::NoSuchPlantFile);
    world.must(&Command::ProposePlant { text, by });
    let longest = world.happened.iter().map(|(_, event)| event.encode().len()).max().unwrap();
    assert!(longest <= 65_535, "an entry of {longest} bytes");
    let (now, size) = (world.now, world.state.size);
    type Wrong = Box<dyn FnOnce(&mut Signed<PlantStatement>)>;
    let wrongs: [(Wrong, Refusal); 5] = [
        (Box::new(|v| v.statement.deployment = label("other")), Refusal::OtherDeployment),
        (Box::new(move |v| v.statement.expires = now), Refusal::StatementExpired(on_the_wall(now))),
        (Box::new(move |v| v.statement.journal.size = size + 1), Refusal::OtherJournal),
        (Box::new(|v| v.key = key(SECURITY)), Refusal::NotYourKey),
        (Box::new(|v| v.statement.replaces = Digest::of_bytes(b"another")), Refusal::OtherDigest),
    ];
    for (make_wrong, refusal) in wrongs {
        let mut wrong = signed(&world, ADMINISTRATOR);
        make_wrong(&mut wrong);
        assert_eq!(world.refused(&sign(wrong)), refusal);
    }
    for who in [20, LEADS[0]] {
        assert_eq!(world.refused(&sign(signed(&world, who))), Refusal::NoSay("1 of ot-security".into()));
    }
    let in_force = |world: &World| world.state.plant.as_ref().unwrap().digest();
    for (first, second) in [(ADMINISTRATOR, SECURITY), (SECURITY, ADMINISTRATOR)] {
        let mut world = World { state: world.state.clone(), happened: world.happened.clone(), ..World::founded() };
        let command = sign(signed(&world, first));
        world.must(&command);
        assert_eq!(in_force(&world), replaces);
        assert_eq!(world.refused(&sign(signed(&world, first))), Refusal::AlreadyVoted);
        let command = sign(signed(&world, second));
        world.must(&command);
        assert_eq!(in_force(&world), plant);
    }
}

#[test]
fn a_recipient_that_nobody_tried_for_a_year_is_forgotten_and_one_that_is_named_no_more_is_not() {
    let (year, second) = (REHEARSED_WITHIN, SignedDuration::from_secs(1));
    let named = |keys: &[char]| keys.iter().map(|key| label(&format!("age1{}", key.to_string().repeat(58)))).collect();
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let name = |node, keys: &[char]| Command::NameRecipients { node: label(node), recipients: named(keys) };
    world.must(&name("gate-1", &['q', 'p']));
    assert_eq!(world.state.decide(&name("gate-1", &['p', 'q']), world.now).unwrap(), []);
    let begun = world.now;
    let forgotten = |world: &World, now| {
        let all = world.state.recipients.iter().filter(|(_, facts)| facts.is_forgotten(now));
        all.map(|(key, _)| key.clone()).collect::<BTreeSet<Recipient>>()
    };
    assert_eq!(forgotten(&world, begun + year), named(&[]));
    assert_eq!(forgotten(&world, begun + year + second), named(&['q', 'p']));

    let rehearse = |key, by| Command::Rehearse { recipient: named(&[key]).pop_first().unwrap(), session, by };
    world.now = begun + year;
    assert_eq!(world.refused(&rehearse('z', person(LEADS[0]))), Refusal::NoRecipient);
    assert_eq!(world.refused(&rehearse('q', person(20))), Refusal::WrongKind("auditors and operators"));
    world.must(&rehearse('q', person(LEADS[0])));
    assert_eq!(forgotten(&world, begun + year + second), named(&['p']));

    // Named no more, it is nobody's duty; it can still be tried on what is older. Named again, its year begins anew.
    world.must(&name("gate-2", &['q', 'p']));
    world.must(&name("gate-1", &['q', 'z']));
    assert_eq!(forgotten(&world, begun + year + second), named(&['p']));
    world.must(&name("gate-2", &['q', 'z']));
    assert_eq!(forgotten(&world, begun + year + second), named(&[]));
    world.must(&rehearse('p', person(LEADS[0])));
    world.must(&name("gate-1", &['p', 'z']));
    assert_eq!(forgotten(&world, begun + year + year), named(&[]));
    assert_eq!(forgotten(&world, begun + year + year + second), named(&['q', 'p', 'z']));
}

// Escorts

#[test]
fn an_escort_watches_is_said_once_and_ends_once() {
    let mut world = World::on(&plant_with("exclusive = \"none\"", "exclusive = \"none\"\nescort = \"required\""));
    let (by, technician) = (person(LEADS[0]), person(TECHNICIANS[TARA].0));
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let (escort, left) = (Command::Escort { session, by }, EscortEnd::Left);
    let end = |why| Command::EndEscort { session, by, why };
    assert_eq!(world.must_unjudged(&end(left)), [], "nobody escorted");
    let refused = world.refused(&Command::Escort { session, by: technician });
    assert!(matches!(refused, Refusal::WrongKind(_)), "{refused:?}");
    let begun = [Event::Watched { session, by }, Event::Escorted { session, by }];
    assert_eq!(world.must_unjudged(&escort), begun);
    assert_eq!(world.must_unjudged(&escort), []);
    let lapsed = EscortEnd::Lapsed;
    assert_eq!(world.must_unjudged(&end(lapsed)), [Event::EscortEnded { session, by, why: lapsed }]);
    assert_eq!(world.must_unjudged(&end(left)), []);
    assert_eq!(world.must_unjudged(&escort), [Event::Escorted { session, by }]);
    world.must_unjudged(&Command::EndWatch { session, by });
    assert!(world.state.sessions[&session].escorts.is_empty(), "whoever does not watch escorts nothing");
    world.must_unjudged(&escort);
    world.must_unjudged(&Command::End { session, ending: Ending::Left, seal: None });
    assert!(world.state.sessions[&session].escorts.is_empty());
    assert_eq!(world.refused(&escort), Refusal::NoSuchSession);
    let text = Salted::new(&[1; 32], "hold on");
    assert_eq!(world.refused(&Command::Tell { session, text, by }), Refusal::NoSuchSession);
}

#[test]
fn where_no_escort_is_demanded_nobody_escorts_and_everybody_may_be_written_to() {
    let mut world = World::founded();
    world.granted(TARA, &SHELL);
    let door = world.door(TARA);
    let session = door.session;
    world.enter(door);
    let by = person(LEADS[0]);
    assert_eq!(world.refused(&Command::Escort { session, by }), Refusal::NoEscortWanted);
    for number in 0..20_u8 {
        world.must(&Command::Tell { session, text: Salted::new(&[number; 32], "hold on"), by });
    }
    let told = &world.state.sessions[&session].told;
    assert_eq!((told.len(), told[15].1), (16, Salted::new(&[19; 32], "hold on")), "the newest are at hand");
    let technician = person(TECHNICIANS[TARA].0);
    let refused = world.refused(&Command::Tell { session, text: Salted::new(&[0; 32], "x"), by: technician });
    assert!(matches!(refused, Refusal::WrongKind(_)), "{refused:?}");
}
