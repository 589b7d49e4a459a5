//! What comes after work, in generated histories: technicians who say what they did, operators who sign it off or review a drawn
//! session, rightly and wrongly. The model asks each event of a plain list of what happened before.

use std::collections::BTreeMap;

use policies::closing::{ACCOUNTED_WITHIN, ACCOUNTS_MAX};
use policies::events::ErasedOn;
use policies::plant::Sample;
use policies::refusals::Refusal;

use super::*;

const WITHIN: i64 = 8 * 3_600;
const REVIEWED_WITHIN: i64 = 86_400;
const PERCENT: u8 = 40;

fn plant() -> String {
    format!(
        "{PLANT}close_out = \"required\"\nclose_out_within = \"{WITHIN}s\"\nreview_percent = {PERCENT}\n\
         review_within = \"{REVIEWED_WITHIN}s\"\n"
    )
}

#[derive(Debug, Clone)]
enum Step {
    Wait { seconds: i64 },
    Connect { who: usize },
    End { sealed: Option<u8> },
    Say { who: usize, of: usize },
    CloseOut { who: usize, of: usize, signed: bool },
    Review { who: usize, which: usize, found: bool },
    Revoke { of: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_i64..4_000).prop_map(|seconds| Step::Wait { seconds }),
        8 => (0_usize..2).prop_map(|who| Step::Connect { who }),
        8 => prop::option::weighted(0.8, any::<u8>()).prop_map(|sealed| Step::End { sealed }),
        3 => (0_usize..2, 0_usize..2).prop_map(|(who, of)| Step::Say { who, of }),
        2 => (0_usize..OPERATORS.len(), 0_usize..2, prop::bool::weighted(0.8))
            .prop_map(|(who, of, signed)| Step::CloseOut { who, of, signed }),
        10 => (0_usize..OPERATORS.len(), 0_usize..6, any::<bool>())
            .prop_map(|(who, which, found)| Step::Review { who, which, found }),
        1 => (0_usize..2).prop_map(|of| Step::Revoke { of }),
    ];
    prop::collection::vec(step, 1..60)
}

fn account() -> Account {
    Account { done: salted("replaced a fan"), changed: salted("nothing"), left: salted("running") }
}

/// Two grants, of a technician of each vendor.
pub(super) fn with_grants() -> (World, [RequestId; 2]) {
    let mut world = World::on(&plant());
    let requests = [0, 1].map(|who| world.granted(who, &[Action::Shell]));
    (world, requests)
}

impl World {
    pub(super) fn close_out(&self, voter: u128, request: RequestId) -> Command {
        // Of a grant that nobody used, or under which somebody is at work, it names what there is.
        let work = self.state.cases[&request].work();
        let work = work.unwrap_or(Work { sessions: 0, last: SessionId::new(ulid::Ulid::from(0_u128)) });
        let close_out = CloseOut { request, account: account(), work };
        let yes = Answer::Yes { narrowing: Narrowing::default() };
        let digest = close_out.digest(&label("model"));
        Command::CloseOut { close_out, verdict: self.sign(Matter::CloseOut(request), digest, yes, voter, false) }
    }

    fn review(&self, voter: u128, session: SessionId, found: bool) -> Option<Command> {
        let digest = self.state.standing_digest(&Matter::Session(session)).ok()?;
        let answer = match found {
            true => Answer::No { reason: salted("a new account") },
            false => Answer::Yes { narrowing: Narrowing::default() },
        };
        Some(Command::Vote { verdict: self.sign(Matter::Session(session), digest, answer, voter, false) })
    }

    fn closing(&mut self, requests: &[RequestId; 2], step: &Step) {
        let sessions: Vec<SessionId> = self.state.sessions.keys().copied().collect();
        let command = match step {
            Step::Wait { seconds } => {
                self.now = seconds_later(self.now, *seconds);
                None
            }
            Step::Connect { who } => Some(Command::Admit(self.door(*who))),
            Step::End { sealed } => self.state.live.first().map(|session| Command::End {
                session: *session,
                ending: Ending::Left,
                seal: sealed.map(|byte| Digest::of_bytes(&[byte])),
            }),
            Step::Say { who, of } => {
                Some(Command::Account { request: requests[*of], account: account(), by: person(TECHNICIANS[*who].0) })
            }
            Step::CloseOut { who, of, signed } => {
                let mut command = self.close_out(OPERATORS[*who], requests[*of]);
                if let (false, Command::CloseOut { close_out, .. }) = (signed, &mut command) {
                    close_out.account.left = salted("on fire");
                }
                Some(command)
            }
            Step::Review { who, which, found } => {
                sessions.get(*which).and_then(|session| self.review(OPERATORS[*who], *session, *found))
            }
            Step::Revoke { of } => {
                Some(Command::Revoke { request: requests[*of], reason: salted("enough"), by: person(LEADS[0]) })
            }
        };
        let before = self.happened.len();
        // Judged by what follows here alone: the model's own invariants know no close-out.
        for event in command.and_then(|command| self.state.decide(&command, self.now).ok()).into_iter().flatten() {
            self.state.apply(&event, self.now);
            self.happened.push((self.now, event));
        }
        for index in before..self.happened.len() {
            self.check_closing(index);
        }
        requests.iter().for_each(|request| self.check_what_waits(*request));
    }

    fn sessions_of(&self, before: usize, of: RequestId) -> impl Iterator<Item = SessionId> {
        self.happened[..before].iter().filter_map(move |(_, event)| match event {
            Event::Started { session, request, .. } if *request == of => Some(*session),
            _ => None,
        })
    }

    fn ended(&self, before: usize, of: SessionId) -> Option<(Timestamp, Option<Digest>)> {
        self.happened[..before].iter().find_map(|(at, event)| match event {
            Event::Ended { session, seal, .. } if *session == of => Some((*at, *seal)),
            _ => None,
        })
    }

    fn is_closed_out(&self, before: usize, of: RequestId) -> bool {
        let closes = |event: &Event| matches!(event, Event::ClosedOut { close_out, .. } if close_out.request == of);
        self.happened[..before].iter().any(|(_, event)| closes(event))
    }

    /// What must be so where something was said, signed off, reviewed or begun.
    fn check_closing(&self, index: usize) {
        let (_, event) = &self.happened[index];
        match event {
            Event::Started { request, .. } => assert!(!self.is_closed_out(index, *request), "closed out is over"),
            Event::Accounted { request, by, .. } => {
                let again = |(_, event): &&(Timestamp, Event)| matches!(event, Event::Accounted { request: of, .. } if of == request);
                assert!(self.happened[..index].iter().filter(again).count() < ACCOUNTS_MAX, "not for ever");
                assert_eq!(self.state.cases[request].asked.technician, *by);
                assert!(self.sessions_of(index, *request).next().is_some() && !self.is_closed_out(index, *request));
            }
            Event::ClosedOut { close_out, verdict } => {
                let request = close_out.request;
                assert_eq!(close_out.account, account(), "what is signed is what is kept");
                let sessions: Vec<_> = self.sessions_of(index, request).collect();
                let work = Some(Work { sessions: sessions.len(), last: *sessions.last().expect("somebody was there") });
                assert_eq!(Some(close_out.work), work, "and nothing began since whoever signed had looked");
                assert!(!sessions.is_empty() && sessions.iter().all(|session| self.ended(index, *session).is_some()));
                assert!(!self.is_closed_out(index, request), "once is enough");
                let technician = self.state.cases[&request].asked.technician;
                let vendor = Self::vendor(verdict.statement.operator);
                assert!(vendor.is_none() || vendor != Self::vendor(technician));
            }
            Event::SessionReviewed { session, by, findings } => {
                let (_, seal) = self.ended(index, *session).expect("it is over");
                assert!(Sample { percent: PERCENT, within: Seconds(1) }.draws(*session, seal), "it was drawn");
                assert!(![LEADS[0], SECURITY].contains(&number(*by)), "whoever approved reviews nothing");
                let technician = self.state.sessions[session].technician;
                assert!(Self::vendor(*by).is_none() || Self::vendor(*by) != Self::vendor(technician));
                let again = |(_, event): &(Timestamp, Event)| matches!(event, Event::SessionReviewed { session: other, .. } if other == session);
                assert!(!self.happened[..index].iter().any(again), "once is enough");
                let Event::Voted { verdict } = &self.happened[index - 1].1 else { panic!("a signed answer before it") };
                assert_eq!(
                    verdict.statement.answer == Answer::Yes { narrowing: Narrowing::default() },
                    findings.is_none()
                );
            }
            _ => {}
        }
    }

    /// What waits to be closed out, worked out by hand.
    fn check_what_waits(&self, request: RequestId) {
        let case = &self.state.cases[&request];
        let all = self.happened.len();
        let ends: Option<Vec<_>> = self.sessions_of(all, request).map(|session| self.ended(all, session)).collect();
        let last =
            ends.filter(|_| !self.is_closed_out(all, request)).and_then(|ends| ends.iter().map(|end| end.0).max());
        // What was said before the newest session began is not said of it.
        let said = self.happened.iter().rev().find_map(|(at, event)| match event {
            Event::Accounted { request: of, .. } if *of == request => Some(Some(*at)),
            Event::Started { request: of, .. } if *of == request => Some(None),
            _ => None,
        });
        let said = said.flatten();
        let revoked = self.happened.iter().find_map(|(at, event)| match event {
            Event::Revoked { request: of, .. } if *of == request => Some(*at),
            _ => None,
        });
        let until = [revoked, said].into_iter().flatten().fold(case.deadline, Timestamp::min);
        let over = last.map(|last| last.max(until));
        let due = over.filter(|over| *over <= self.now).map(|over| seconds_later(over, WITHIN));
        let waits = self.state.close_outs(self.now).find(|(id, ..)| *id == request).map(|(.., due)| due);
        assert_eq!(waits, due);
        let can = self.state.to_close_out(case, self.now);
        assert_eq!(can.is_some(), last.is_some(), "whoever looks at it can sign it off when nobody is there");
    }
}

fn number(person: PersonId) -> u128 {
    person.ulid().0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HOLDPOINT_LONG").is_some_and(|v| !v.is_empty()) { 20_000 } else { 500 }, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_signed_off_or_reviewed_otherwise_than_it_may_be(steps in steps()) {
        let (mut world, requests) = with_grants();
        for step in &steps {
            world.closing(&requests, step);
        }
    }
}

#[test]
fn generated_histories_reach_close_outs_and_reviews() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::<&str, usize>::new();
    for _ in 0..200 {
        let (mut world, requests) = with_grants();
        steps().new_tree(&mut runner).unwrap().current().iter().for_each(|step| world.closing(&requests, step));
        for (_, event) in &world.happened {
            *seen.entry(event.id()).or_default() += 1;
        }
    }
    for id in ["HP1422", "HP1423", "HP1424"] {
        assert!(seen.get(id).is_some_and(|times| *times > 20), "{id}: {seen:?}");
    }
}

#[test]
fn a_grant_is_closed_out_when_nobody_is_at_work_and_opens_nothing_then() {
    let (mut world, [request, other]) = with_grants();
    assert_eq!(world.refused(&world.close_out(LEADS[0], request)), Refusal::NothingDone);
    let said = |request, by| Command::Account { request, account: account(), by: person(by) };
    let (tara, bolt) = (TECHNICIANS[0].0, TECHNICIANS[1].0);
    assert_eq!(world.refused(&said(request, tara)), Refusal::NothingDone);
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    assert_eq!(world.refused(&world.close_out(LEADS[0], request)), Refusal::StillAtWork);
    assert_eq!(world.refused(&said(request, bolt)), Refusal::NoSuchRequest, "another's grant");
    world.must(&said(request, tara));
    world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    assert_eq!(world.refused(&world.close_out(ACME_LEAD, request)), Refusal::OwnVendor);
    let good = world.close_out(LEADS[0], request);
    let Command::CloseOut { mut close_out, verdict } = good.clone() else { unreachable!("a close-out") };
    close_out.request = other;
    assert_eq!(world.refused(&Command::CloseOut { close_out, verdict }), Refusal::OtherDigest);
    world.must(&good);
    assert_eq!(world.refused(&good), Refusal::ClosedOut);
    assert_eq!(world.refused(&said(request, tara)), Refusal::ClosedOut);
    let again = world.door(0);
    assert_eq!(world.refused(&Command::Admit(again)), Refusal::GrantClosedOut(target_name(0)));
    let more = Command::AskExtension {
        ask: AskId::new(world.id()),
        request,
        more: Seconds(60),
        reason: salted("more"),
        by: person(tara),
    };
    assert!(world.state.decide(&more, world.now).is_err(), "it is not lengthened");
}

#[test]
fn a_session_that_began_after_somebody_looked_is_not_signed_off_with_the_others() {
    let (mut world, [request, _]) = with_grants();
    let said = |words: &str| Command::Account {
        request,
        account: Account { done: salted(words), ..account() },
        by: person(TECHNICIANS[0].0),
    };
    let works = |world: &mut World| {
        let door = world.door(0);
        world.must(&Command::Admit(door.clone()));
        world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    };
    works(&mut world);
    world.must(&said("a fan"));
    assert_eq!(world.refused(&said("a fan")), Refusal::AccountSame);
    assert!(world.state.close_outs(world.now).next().is_some(), "work is over");
    let looked = world.close_out(LEADS[0], request);
    works(&mut world);
    assert_eq!(world.refused(&looked), Refusal::OtherWork);
    assert!(world.state.close_outs(world.now).next().is_none(), "nothing was said of the second session");
    world.must(&said("a fan"));
    for time in 2..ACCOUNTS_MAX {
        world.must(&said(&format!("{time}")));
    }
    assert_eq!(world.refused(&said("more")), Refusal::AccountsFull(ACCOUNTS_MAX));
    let now = world.close_out(LEADS[0], request);
    world.must(&now);
}

#[test]
fn nothing_is_said_of_what_is_over_for_long() {
    let (mut world, [request, _]) = with_grants();
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    let said = Command::Account { request, account: account(), by: person(TECHNICIANS[0].0) };
    let last = ACCOUNTED_WITHIN.after(world.state.cases[&request].deadline);
    world.state.contracts.get_mut(&label::<VendorId>("acme")).unwrap().end = seconds_later(last, 60);
    world.now = last;
    assert_eq!(world.refused(&said), Refusal::AccountLate(ACCOUNTED_WITHIN));
    world.now = seconds_later(last, -1);
    world.must(&said);
}

#[test]
fn what_was_said_signed_and_found_goes_with_the_last_recording() {
    let (mut world, [request, _]) = with_grants();
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    let session = door.session;
    world.must(&Command::End { session, ending: Ending::Crashed, seal: None });
    let before = Account { done: salted("before"), changed: salted("b"), left: salted("c") };
    for account in [before, account()] {
        world.must(&Command::Account { request, account, by: person(TECHNICIANS[0].0) });
    }
    let on = ErasedOn::People { administrator: person(ADMINISTRATOR), operator: person(LEADS[0]) };
    let found = salted("a new account");
    world.state.apply(&Event::SessionReviewed { session, by: person(LEADS[1]), findings: Some(found) }, world.now);
    let signed = world.close_out(LEADS[0], request);
    world.must(&signed);
    world.state.apply(&Event::Erased { session, on }, world.now);
    let texts = world.state.texts_of_erased(session, world.now);
    for text in before.texts().into_iter().chain(account().texts()).chain([found, salted("why")]) {
        assert!(texts.contains(&text), "{text:?}");
    }
}

#[test]
fn chance_draws_as_many_as_the_rule_says_and_whatever_has_no_seal() {
    let session = |n: u128| SessionId::new(ulid::Ulid::from(n));
    for percent in [1, 10, 50, 100] {
        let sample = Sample { percent, within: Seconds(1) };
        let drawn =
            (0..10_000_u128).filter(|n| sample.draws(session(*n), Some(Digest::of_bytes(&n.to_be_bytes())))).count();
        let wanted = usize::from(percent) * 100;
        assert!(drawn.abs_diff(wanted) <= 200, "{drawn} of 10000 for {percent} of 100");
        assert!(sample.draws(session(7), None));
    }
    let sample = Sample { percent: 50, within: Seconds(1) };
    let differs = |n: u8| {
        sample.draws(session(1), Some(Digest::of_bytes(&[n]))) != sample.draws(session(1), Some(Digest::of_bytes(b"")))
    };
    assert!((0..=u8::MAX).any(differs), "the seal decides, too");
}

#[test]
fn a_drawn_session_is_reviewed_by_nobody_who_approved_it_or_more_of_it() {
    let (mut world, [request, _]) = with_grants();
    let door = world.door(0);
    world.must(&Command::Admit(door.clone()));
    let ask = AskId::new(world.id());
    let (more, reason, by) = (Seconds(60), salted("more"), person(TECHNICIANS[0].0));
    world.must(&Command::AskExtension { ask, request, more, reason, by });
    world.must(&world.yes(LEADS[1], Matter::Extension(ask)));
    let early = world.yes(LEADS[1], Matter::Session(door.session));
    assert_eq!(world.refused(&early), Refusal::NotDrawn, "it goes on");
    world.must(&Command::End { session: door.session, ending: Ending::Crashed, seal: None });
    for approver in [LEADS[0], SECURITY, LEADS[1]] {
        assert_eq!(world.refused(&world.yes(approver, Matter::Session(door.session))), Refusal::OwnDeed);
    }
    assert_eq!(world.refused(&world.yes(ACME_LEAD, Matter::Session(door.session))), Refusal::OwnVendor);
    let due = world.state.sessions[&door.session].review_due;
    assert_eq!(due, Some(seconds_later(world.now, REVIEWED_WITHIN)));
}
