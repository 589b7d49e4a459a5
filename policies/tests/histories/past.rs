//! The past, in generated histories. What it says of a moment is held against the state that stood then, and what it lists,
//! against a plain reading of the entries' own text.

use policies::events::AskedFor;
use policies::history::{Filter, Item, Kind, Outcome, What, refused_in_words};
use policies::refusals::Refusal;
use policies::rules::{Lacking, NotAllowed};

use super::*;

/// Whatever names one of these in its text.
fn naming(world: &World, ids: &[String]) -> BTreeSet<u64> {
    let text = |event: &Event| String::from_utf8(event.encode()).unwrap();
    let told = world.happened.iter().map(|(_, event)| text(event)).enumerate();
    told.filter(|(_, text)| ids.iter().any(|id| text.contains(id))).map(|(entry, _)| entry as u64).collect()
}

/// Each moment at which something happened, with the state behind its last entry.
fn moments(world: &World, mut look: impl FnMut(Timestamp, &State)) {
    let mut state = State::default();
    for (entry, (at, event)) in world.happened.iter().enumerate() {
        state.apply(event, *at);
        if world.happened.get(entry + 1).is_none_or(|(next, _)| at < next) {
            look(*at, &state);
        }
    }
}

fn wanted<'a>(state: &'a State, filter: &Filter, now: Timestamp) -> Vec<&'a Item> {
    state.history.items().values().filter(|item| state.is_wanted(item, filter, now)).collect()
}

impl World {
    fn who_was_there_is_who_stood_there_then(&self) {
        moments(self, |at, then| {
            let live: Vec<_> = self.state.ran_then(at).map(|(id, _)| id).collect();
            assert_eq!(live, then.live.iter().copied().collect::<Vec<_>>(), "at {at}");
            let duty: Vec<_> = self.state.history.on_duty(at).map(|(person, _)| person).collect();
            let stood: Vec<_> = then.people.values().filter(|one| one.is_on_duty(at)).map(|one| one.id).collect();
            assert_eq!(duty, stood, "at {at}");
        });
    }

    pub(super) fn all_that_names_a_session_or_a_request_is_found_with_it(&self) {
        for (id, facts) in &self.state.sessions {
            let cut = match &facts.ended {
                Some((_, Ending::Cut { cut })) => Some(cut.to_string()),
                _ => None,
            };
            let ids: Vec<_> = [id.to_string()].into_iter().chain(cut).chain(self.visit(facts.request)).collect();
            // A cut that came to several names none of them, and the endings of the others name it.
            let others = self
                .happened
                .iter()
                .enumerate()
                .filter(|(_, (_, event))| matches!(event, Event::Ended { session, .. } if session != id));
            let others: BTreeSet<u64> = others.map(|(entry, _)| entry as u64).collect();
            let named = &naming(self, &ids) - &others;
            assert_eq!(self.state.entries_of_session(*id), named, "{id}");
        }
        for id in self.state.cases.keys() {
            let asks = self.state.asks.iter().filter(|(_, ask)| ask.asked.request() == *id);
            let ids: Vec<_> =
                asks.map(|(ask, _)| ask.to_string()).chain([id.to_string()]).chain(self.visit(*id)).collect();
            let started = self.happened.iter().enumerate();
            let started = started.filter(|(_, (_, event))| matches!(event, Event::Started { .. }));
            let started: BTreeSet<u64> = started.map(|(entry, _)| entry as u64).collect();
            assert_eq!(self.state.entries_of_request(*id), &naming(self, &ids) - &started, "{id}");
        }
    }

    fn visit(&self, request: RequestId) -> Option<String> {
        self.state.cases[&request].guest.map(|guest| guest.to_string())
    }

    /// Whoever was given something and used it is never told that nobody answered.
    pub(super) fn what_was_used_was_given(&self) {
        for item in self.state.history.items().values() {
            if let What::Request(id) = &item.what {
                let was_used = self.find(|event| match event {
                    Event::Started { request, .. } if request == id => Some(()),
                    _ => None,
                });
                let outcome = self.state.outcome(item, self.now);
                assert!(was_used.is_none() || !outcome.is_nothing_given(), "{id}: {outcome:?}");
            }
        }
    }

    /// Whoever invited, sent away or looked back had a hand in what was asked and done on the visit.
    pub(super) fn hosts_have_a_hand_in_what_their_guests_did(&self) {
        for item in self.state.history.items().values() {
            let request = match &item.what {
                What::Request(id) => Some(*id),
                What::Session(id) => Some(self.state.sessions[id].request),
                What::More(_) | What::Refusal { .. } => None,
            };
            let Some(guest) = request.and_then(|request| self.visit(request)) else { continue };
            let about = naming(self, &[guest]);
            let acted = about.iter().filter_map(|entry| self.happened[usize::try_from(*entry).unwrap()].1.actor());
            let acted: BTreeSet<_> = acted.collect();
            assert!(!acted.is_empty() && acted.is_subset(&self.state.hands(item)), "{:?}", item.what);
        }
    }

    fn the_list_is_the_whole_population(&self) {
        let state = &self.state;
        let begins = self.happened.iter().enumerate().filter(|(_, (_, event))| {
            matches!(
                event,
                Event::Submitted { .. } | Event::ExtensionAsked { .. } | Event::Started { .. } | Event::Refused { .. }
            )
        });
        let begins: Vec<u64> = begins.map(|(entry, _)| entry as u64).collect();
        assert_eq!(state.history.items().keys().copied().collect::<Vec<_>>(), begins);
        // Each item has one outcome and one kind.
        let of = |filter: Filter| wanted(state, &filter, self.now).len();
        let outcomes = Outcome::ALL.map(|outcome| of(Filter { outcome: Some(outcome), ..Filter::default() }));
        assert_eq!(outcomes.iter().sum::<usize>(), begins.len());
        let kinds = [Kind::Session, Kind::Request, Kind::More, Kind::Refusal];
        let kinds = kinds.map(|kind| of(Filter { kind: Some(kind), ..Filter::default() }));
        assert_eq!(kinds.iter().sum::<usize>(), begins.len());
        let came_to_nothing = |item: &&Item| {
            match &item.what {
            What::Request(id) => self.happened.iter().any(|(_, event)| {
                matches!(event, Event::Denied { request, .. } | Event::Withdrawn { request } | Event::Lapsed { request } if request == id)
            }),
            What::More(id) => self.came_to_nothing(*id),
            What::Refusal { .. } => true,
            What::Session(_) => false,
        }
        };
        let nothing = Filter { kind: Some(Kind::NothingGiven), ..Filter::default() };
        let nothing: Vec<_> = wanted(state, &nothing, self.now).iter().map(|item| format!("{:?}", item.what)).collect();
        let expected = state.history.items().values().filter(came_to_nothing);
        assert_eq!(nothing, expected.map(|item| format!("{:?}", item.what)).collect::<Vec<_>>());
    }

    /// More was asked for, and denied, or nobody answered before the grant was over.
    fn came_to_nothing(&self, id: AskId) -> bool {
        let mut answers = self.happened.iter().filter_map(|(_, event)| match event {
            Event::AskDenied { ask, .. } if *ask == id => Some(true),
            Event::Extended { ask, .. } | Event::Widened { ask, .. } if *ask == id => Some(false),
            _ => None,
        });
        let request = self.state.asks[&id].asked.request();
        let told = || self.happened.iter().rev().map(|(_, event)| event);
        let deadline = told().find_map(|event| match event {
            Event::Extended { request: of, deadline, .. } if *of == request => Some(*deadline),
            _ => None,
        });
        let is_revoked = told().any(|event| matches!(event, Event::Revoked { request: of, .. } if *of == request));
        let is_over = is_revoked || deadline.unwrap_or(self.state.cases[&request].deadline) <= self.now;
        answers.next_back().unwrap_or(is_over)
    }

    fn what_a_filter_names_is_what_the_entries_say(&self) {
        let state = &self.state;
        for who in OPERATORS.map(person) {
            let theirs = wanted(
                state,
                &Filter { operator: Some(who), kind: Some(Kind::Request), ..Filter::default() },
                self.now,
            );
            let acted = |id: &RequestId| {
                let mut told = self.happened.iter().map(|(_, event)| event);
                told.any(|event| event.actor() == Some(who) && naming_request(event) == Some(*id))
            };
            let expected: Vec<_> = state.cases.keys().filter(|id| acted(id)).map(|id| What::Request(*id)).collect();
            let found: BTreeSet<_> = theirs.iter().map(|item| format!("{:?}", item.what)).collect();
            assert_eq!(found, expected.iter().map(|what| format!("{what:?}")).collect(), "{who}");
        }
        for (id, facts) in &state.sessions {
            let Some((_, Ending::Cut { cut })) = &facts.ended else { continue };
            let cutter = self.find(|event| match event {
                Event::Cut { cut: made, by: CutBy::Operator(by) | CutBy::Display(by), .. } if made == cut => Some(*by),
                _ => None,
            });
            let Some(operator) = cutter else { continue };
            let theirs = wanted(
                state,
                &Filter { operator: Some(operator), kind: Some(Kind::Session), ..Filter::default() },
                self.now,
            );
            assert!(theirs.iter().any(|item| item.what == What::Session(*id)), "{operator} cut what {id} ended with");
        }
        for (who, vendor) in TECHNICIANS {
            let of_vendor = wanted(state, &Filter { vendor: Some(label(vendor)), ..Filter::default() }, self.now);
            let of_person = wanted(state, &Filter { person: Some(person(who)), ..Filter::default() }, self.now);
            assert_eq!(of_vendor.len(), of_person.len(), "{vendor} has one technician");
        }
        for (zone, target) in [("packaging", "hmi-1"), ("boiler", "hmi-2")] {
            let of_zone = wanted(state, &Filter { zone: Some(label(zone)), ..Filter::default() }, self.now);
            assert!(of_zone.iter().all(|item| item.target == Some(label(target))), "{zone}");
        }
    }

    /// Two halves of time have everything, and both only what runs through the middle.
    fn two_halves_make_the_whole(&self) {
        let Some((middle, _)) = self.happened.get(self.happened.len() / 2) else { return };
        let of = |filter| wanted(&self.state, &filter, self.now).len();
        let (before, after) =
            (Filter { until: Some(*middle), ..Filter::default() }, Filter { from: Some(*middle), ..Filter::default() });
        let through = self.state.ran_then(*middle).filter(|(_, facts)| facts.started < *middle).count();
        assert_eq!(of(before) + of(after), self.state.history.items().len() + through);
    }
}

fn naming_request(event: &Event) -> Option<RequestId> {
    match event {
        Event::Voted { verdict } => match verdict.statement.matter {
            Matter::Request(id) => Some(id),
            _ => None,
        },
        Event::VotedWeaker { statement, .. } => match statement.matter {
            Matter::Request(id) => Some(id),
            _ => None,
        },
        Event::Denied { request, .. } | Event::Revoked { request, .. } => Some(*request),
        _ => None,
    }
}

proptest! {
    #[test]
    fn the_past_is_what_happened(steps in steps()) {
        let mut world = World::founded();
        for step in &steps {
            world.take(step);
        }
        let by = person(TECHNICIANS[0].0);
        let (reason, target) = ("no-grant".to_owned(), Some(target_name(0)));
        world.act(&Command::ReportRefusal { person: by, reason, target, rule: None, asked: None });
        world.who_was_there_is_who_stood_there_then();
        world.all_that_names_a_session_or_a_request_is_found_with_it();
        world.the_list_is_the_whole_population();
        world.what_was_used_was_given();
        world.what_a_filter_names_is_what_the_entries_say();
        world.two_halves_make_the_whole();
    }
}

#[test]
fn a_restore_is_told_with_each_request_that_it_ended_and_with_no_other() {
    let mut world = World::founded();
    let used_up = world.granted(0, &[Action::Shell]);
    let by = person(LEADS[0]);
    world.must(&Command::Revoke { request: used_up, reason: salted("no"), by });
    let granted = world.granted(0, &[Action::Shell]);
    let door = world.door(0);
    world.must(&Command::Admit(door));
    let ask = AskId::new(world.id());
    let technician = person(TECHNICIANS[0].0);
    let (more, reason) = (Seconds(60), salted("more"));
    world.must(&Command::AskExtension { ask, request: granted, more, reason, by: technician });
    let signed = |signer: u128| {
        let head = SeenHead { size: world.state.size, root: Digest::of_bytes(b"") };
        let lost = Lost { from: head.size, until: head.size + 3 };
        let statement = RestoreStatement {
            deployment: label("model"),
            restore: RestoreId::new(ulid::Ulid::from(77_u128)),
            journal: head,
            journal_lost: lost,
            node: label("gate-1"),
            records: head,
            records_lost: lost,
            signer: person(signer),
            nonce: "00".into(),
            expires: seconds_later(world.now, 60),
        };
        Box::new(Signed { statement, key: key(signer), signature: String::new() })
    };
    let restored = Event::Restored { administrator: signed(ADMINISTRATOR), operator: signed(LEADS[0]) };
    let entry = world.state.size;
    world.state.apply(&restored, world.now);
    assert!(world.state.entries_of_request(granted).contains(&entry));
    assert!(!world.state.entries_of_request(used_up).contains(&entry));
    assert_eq!(world.state.cases[&granted].standing_in_words(), "ended by a restore");
}

/// Of what was asked: the refusal's reason, its rule, and what the nearest lacks.
fn refused(world: &World, wish: &NewRequest) -> (&'static str, Option<String>, AskedFor, String) {
    let refusal = world.state.decide(&Command::Submit(wish.clone()), world.now).unwrap_err();
    let asked = wish.asked_for(&refusal);
    let told = refused_in_words(refusal.why(), refusal.rule(), Some(&asked));
    (refusal.why(), refusal.rule().map(ToString::to_string), asked, told)
}

#[test]
fn what_is_refused_as_it_is_asked_is_told_with_its_reason_and_the_nearest_rule() {
    let mut world = World::founded();
    let wish = world.wish(0, &[Action::Shell]);
    let (why, rule, asked, told) = refused(&world, &NewRequest { emergency: true, ..wish.clone() });
    assert_eq!((why, rule.as_deref()), ("no-rule", Some("maintenance")));
    assert_eq!((asked.emergency, asked.lacks), (true, [Lacking::Emergency].into()));
    assert_eq!(
        told,
        "asked for shell, as an emergency, and refused: no rule allows it; the nearest, maintenance, is for no emergency"
    );
    let nowhere = NewRequest { target: label("hmi-9"), ..wish.clone() };
    assert_eq!(refused(&world, &nowhere).3, "asked for shell, and refused: there is no such target");
    let long = NewRequest { duration: Seconds(5 * 3_600), ..wish.clone() };
    assert_eq!(refused(&world, &long).3, "asked for shell, and refused: longer than its rule gives: rule maintenance");
    world.must(&Command::DisableVendor { vendor: label("acme"), by: person(ADMINISTRATOR) });
    assert_eq!(refused(&world, &wish).3, "asked for shell, and refused: the vendor is disabled");
    assert_eq!(refused_in_words("no-grant", None, None), "refused: no grant for it");
    assert_eq!(refused_in_words("of-another-version", None, None), "refused: of-another-version");
    // A rule for another vendor is none of a technician's business, and says nothing to an auditor.
    let not = NotAllowed::NoRule {
        nearest: Some(policies::rules::Nearest {
            rule: label("bolts-own"),
            lacks: vec![policies::rules::Lack::Vendor(label("acme")), policies::rules::Lack::Emergency],
        }),
    };
    let refusal = Refusal::from(not);
    assert_eq!((refusal.rule(), refusal.lacks()), (None, [Lacking::Vendor].into()));
}
