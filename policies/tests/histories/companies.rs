//! Vendors' own people: generated histories against a model that keeps plain lists of who manages, who came by whom, who is out
//! and what was attested; and beside them each no by name.

use std::collections::BTreeMap;

use policies::companies::Concern;
use policies::people::Standing;
use policies::refusals::Refusal;

use super::named::to_no;
use super::*;

/// What the model's one rule demands.
const ATTESTED: u32 = 2 * 3_600;
/// People who may come to be.
const NEWCOMERS: std::ops::Range<u128> = 50..56;
const ROLES: [&str; 2] = ["maintenance", "cleaning"];

fn plant() -> String {
    PLANT.replace("work_order = \"optional\"", "work_order = \"optional\"\nattested = \"2h\"")
}

#[derive(Debug, Clone)]
enum Turn {
    Wait { seconds: u32 },
    Allow { vendor: usize, most: u16, roles: usize },
    Name { who: u128, back: bool },
    Invite { by: u128, who: u128, vendor: usize, role: usize, operator: bool, grouped: bool, lasts: i64 },
    Reinvite { by: u128, who: u128 },
    Enrol { which: usize },
    Disable { by: u128, who: u128 },
    Attest { by: u128, who: u128, lasts: i64 },
    TakeBack { by: u128, who: u128 },
    Ask { who: u128 },
    Approve,
    Connect { who: u128 },
    Leave,
    Contract { vendor: usize, seconds: i64 },
    PutVendorOut { vendor: usize },
}

/// Those who were there from the beginning more often: they become managers.
fn technician() -> impl Strategy<Value = u128> {
    prop_oneof![4 => Just(20_u128), 3 => Just(21_u128), 3 => NEWCOMERS]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let doer = || prop_oneof![5 => Just(20_u128), 4 => Just(21_u128), 2 => NEWCOMERS, 1 => Just(ADMINISTRATOR), 1 => Just(LEADS[0])];
    let whom = || prop_oneof![1 => Just(20_u128), 1 => Just(21_u128), 5 => NEWCOMERS];
    let turn = prop_oneof![
        3 => (0_u32..2_000).prop_map(|seconds| Turn::Wait { seconds }),
        4 => (0_usize..2, 0_u16..4, 0_usize..3).prop_map(|(vendor, most, roles)| Turn::Allow { vendor, most, roles }),
        6 => (technician(), prop::bool::weighted(0.15)).prop_map(|(who, back)| Turn::Name { who, back }),
        20 => (doer(), NEWCOMERS, 0_usize..2, prop_oneof![4 => Just(0_usize), 1 => Just(1)], prop::bool::weighted(0.05), prop::bool::weighted(0.1), 1_i64..90_000)
            .prop_map(|(by, who, vendor, role, operator, grouped, lasts)| Turn::Invite { by, who, vendor, role, operator, grouped, lasts }),
        14 => (doer(), whom()).prop_map(|(by, who)| Turn::Reinvite { by, who }),
        8 => (0_usize..3).prop_map(|which| Turn::Enrol { which }),
        4 => (doer(), whom()).prop_map(|(by, who)| Turn::Disable { by, who }),
        12 => (doer(), technician(), 1_i64..20_000).prop_map(|(by, who, lasts)| Turn::Attest { by, who, lasts }),
        3 => (doer(), technician()).prop_map(|(by, who)| Turn::TakeBack { by, who }),
        12 => technician().prop_map(|who| Turn::Ask { who }),
        10 => Just(Turn::Approve),
        12 => technician().prop_map(|who| Turn::Connect { who }),
        3 => Just(Turn::Leave),
        1 => (0_usize..2, 1_i64..200_000).prop_map(|(vendor, seconds)| Turn::Contract { vendor, seconds }),
        1 => (0_usize..2).prop_map(|vendor| Turn::PutVendorOut { vendor }),
    ];
    prop::collection::vec(turn, 1..140)
}

/// What the model knows of a technician.
#[derive(Debug, Clone)]
struct Known {
    vendor: String,
    by_company: bool,
    invited_at: Timestamp,
    enrolled: bool,
    manages: bool,
    is_out: bool,
    /// By whom, since when, until when.
    attested: Option<(PersonId, Timestamp, Timestamp)>,
}

struct Model {
    world: World,
    people: BTreeMap<PersonId, Known>,
    allowed: BTreeMap<String, (u16, BTreeSet<RoleName>)>,
    /// The first moment after each contract.
    ends: BTreeMap<String, Timestamp>,
    /// Codes that may be used, for whom, and on whose word.
    codes: BTreeMap<LinkId, (PersonId, PersonId)>,
    seen: BTreeMap<&'static str, usize>,
}

impl Model {
    fn new() -> Self {
        let world = World::on(&plant());
        let invited_at = world.now;
        let known = |(who, vendor): &(u128, &str)| {
            let vendor = (*vendor).to_owned();
            let known = Known {
                vendor,
                by_company: false,
                invited_at,
                enrolled: true,
                manages: false,
                is_out: false,
                attested: None,
            };
            (person(*who), known)
        };
        let end = seconds_later(world.now, 3 * 86_400);
        Self {
            people: TECHNICIANS.iter().map(known).collect(),
            allowed: BTreeMap::new(),
            ends: TECHNICIANS.iter().map(|(_, vendor)| ((*vendor).to_owned(), end)).collect(),
            codes: BTreeMap::new(),
            seen: BTreeMap::new(),
            world,
        }
    }

    fn now(&self) -> Timestamp {
        self.world.now
    }

    fn act(&mut self, command: &Command) -> bool {
        let Ok(events) = self.world.state.decide(command, self.now()) else { return false };
        for event in events {
            assert_eq!(Event::decode(&event.encode()).unwrap(), event);
            self.judge(&event);
            self.world.state.apply(&event, self.now());
            self.world.happened.push((self.now(), event));
            self.whoever_is_out_stays_out();
            self.no_company_has_more_than_it_may();
        }
        true
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn whoever_is_out_stays_out(&self) {
        for (who, _) in self.people.iter().filter(|(_, known)| known.is_out) {
            assert_eq!(self.world.state.people[who].standing, Standing::Disabled);
        }
    }

    /// By its managers' invitations; where the plant allows fewer later, nobody more comes until it fits.
    fn no_company_has_more_than_it_may(&self) {
        for (_, vendor) in TECHNICIANS {
            assert_eq!(self.world.state.invited_by_managers(&label(vendor), self.now()), self.there(vendor));
        }
    }

    fn there(&self, vendor: &str) -> usize {
        let is_recent = |known: &Known| !known.enrolled && self.now() < seconds_later(known.invited_at, 30 * 86_400);
        let theirs = self.people.values().filter(|known| known.vendor == vendor && known.by_company);
        theirs.filter(|known| !known.is_out || is_recent(known)).count()
    }

    /// The company of a technician on whose word something is done there.
    fn manager(&self, by: PersonId) -> Option<String> {
        let known = self.people.get(&by)?;
        assert!(known.manages && known.enrolled && !known.is_out, "a manager who counts");
        assert!(self.now() < self.ends[&known.vendor], "of a company in contract");
        Some(known.vendor.clone())
    }

    fn a_manager_stays_in_what_was_allowed(&self, vendor: &str, beside: usize, expires: Timestamp) {
        let (most, _) = &self.allowed[vendor];
        assert!(self.there(vendor) - beside < usize::from(*most), "one more fits");
        assert!(expires <= self.ends[vendor], "within the contract");
    }

    fn is_attested(&self, who: PersonId) -> bool {
        let Some((_, at, until)) = self.people[&who].attested else { return false };
        self.now() < until && self.now() < seconds_later(at, i64::from(ATTESTED))
    }

    fn judge(&mut self, event: &Event) {
        match event {
            Event::InvitationsAllowed { vendor, most, roles, by } => {
                assert_eq!(*by, person(ADMINISTRATOR));
                self.allowed.insert(vendor.to_string(), (*most, roles.clone()));
            }
            Event::ManagerNamed { person: who, by } => {
                assert_eq!(*by, person(ADMINISTRATOR));
                let known = self.people.get_mut(who).unwrap();
                assert!(known.enrolled && !known.is_out);
                known.manages = true;
                self.see("named");
            }
            Event::ManagerDismissed { person: who, by } => {
                assert_eq!(*by, person(ADMINISTRATOR));
                self.dismiss(*who);
                self.see("dismissed");
            }
            Event::Invited { person: who, kind, link, expires, by, groups } => {
                let company = self.manager(*by);
                if let Some(vendor) = &company {
                    let Kind::Technician { vendor: of, role } = kind else { panic!("a technician") };
                    assert_eq!(of.as_str(), vendor, "of their own company");
                    assert!(self.allowed[vendor].1.contains(role) && groups.is_empty());
                    assert!(!self.people.contains_key(who), "somebody new");
                    self.a_manager_stays_in_what_was_allowed(vendor, 0, *expires);
                    self.see("invited");
                }
                if let Kind::Technician { vendor, .. } = kind {
                    let known = Known {
                        vendor: vendor.to_string(),
                        by_company: company.is_some(),
                        invited_at: self.now(),
                        enrolled: false,
                        manages: false,
                        is_out: false,
                        attested: None,
                    };
                    self.people.insert(*who, known);
                    self.codes.insert(*link, (*who, *by));
                }
            }
            Event::Reinvited { person: who, link, expires, by } => {
                if let Some(vendor) = self.manager(*by) {
                    let known = &self.people[who];
                    assert!(known.vendor == vendor && known.by_company && !known.enrolled && !known.is_out);
                    self.a_manager_stays_in_what_was_allowed(&vendor, 1, *expires);
                    self.see("invited again");
                }
                self.codes.retain(|_, (whose, _)| whose != who);
                self.codes.insert(*link, (*who, *by));
            }
            Event::Enrolled { person: who, link, .. } => {
                assert_eq!(self.codes.remove(link).expect("a code that stands").0, *who);
                let known = self.people.get_mut(who).unwrap();
                known.enrolled = true;
                if known.by_company {
                    self.see("enrolled");
                }
                self.disown(*who);
            }
            Event::Disabled { person: who, by } => {
                if let Some(vendor) = self.manager(*by) {
                    let known = &self.people[who];
                    assert!(known.vendor == vendor && !known.manages && !known.is_out);
                    self.see("put out by a manager");
                }
                self.dismiss(*who);
                self.codes.retain(|_, (whose, _)| whose != who);
                if let Some(known) = self.people.get_mut(who) {
                    known.is_out = true;
                }
            }
            Event::Attested { person: who, until, by, .. } => {
                let vendor = self.manager(*by).expect("a manager");
                let known = &self.people[who];
                assert!(known.vendor == vendor && known.enrolled && !known.is_out);
                assert!(self.now() < *until && *until <= self.ends[&vendor]);
                let now = self.now();
                self.people.get_mut(who).unwrap().attested = Some((*by, now, *until));
                self.see("attested");
            }
            Event::AttestationWithdrawn { person: who, by } => {
                let vendor = self.manager(*by).expect("a manager");
                assert_eq!(self.people[who].vendor, vendor);
                self.people.get_mut(who).unwrap().attested = None;
                self.see("taken back");
            }
            Event::Submitted { request, .. } => {
                assert!(self.is_attested(request.technician) && !self.people[&request.technician].is_out);
                self.see("asked");
            }
            Event::Granted { request } => {
                assert!(self.is_attested(self.world.state.cases[request].asked.technician));
                self.see("granted");
            }
            Event::Started { technician, .. } => {
                assert!(self.is_attested(*technician) && !self.people[technician].is_out);
                self.see("at work");
            }
            Event::Contracted { vendor, end, .. } => {
                self.ends.insert(vendor.to_string(), *end);
            }
            Event::VendorDisabled { vendor, .. } => {
                self.ends.insert(vendor.to_string(), Timestamp::MIN);
                self.codes.retain(|_, (_, by)| self.people.get(by).is_none_or(|by| by.vendor != vendor.as_str()));
            }
            _ => {}
        }
    }

    fn dismiss(&mut self, who: PersonId) {
        self.disown(who);
        if let Some(known) = self.people.get_mut(&who) {
            known.manages = false;
        }
    }

    fn disown(&mut self, who: PersonId) {
        if self.people.get(&who).is_some_and(|known| known.manages) {
            self.codes.retain(|_, (_, by)| *by != who);
            for known in self.people.values_mut() {
                known.attested = known.attested.filter(|(by, ..)| *by != who);
            }
        }
    }

    fn take(&mut self, turn: &Turn) {
        match turn.clone() {
            Turn::Wait { seconds } => self.world.now = seconds_later(self.now(), i64::from(seconds)),
            Turn::Allow { vendor, most, roles } => {
                let roles = ROLES[..roles].iter().map(|role| label(role)).collect();
                let (vendor, by) = (label(TECHNICIANS[vendor].1), person(ADMINISTRATOR));
                self.act(&Command::AllowInvitations { vendor, most, roles, by });
            }
            Turn::Name { who, back: false } => {
                self.act(&Command::NameManager { person: person(who), by: person(ADMINISTRATOR) });
            }
            Turn::Name { who, back: true } => {
                self.act(&Command::DismissManager { person: person(who), by: person(ADMINISTRATOR) });
            }
            Turn::Invite { by, who, vendor, role, operator, grouped, lasts } => {
                let kind = match operator {
                    true => Kind::Operator { vendor: None },
                    false => Kind::Technician { vendor: label(TECHNICIANS[vendor].1), role: label(ROLES[role]) },
                };
                // People of the plant are of no interest here.
                if !operator || person(by) != person(ADMINISTRATOR) {
                    let (link, expires) = (LinkId::new(self.world.id()), seconds_later(self.now(), lasts));
                    let (who, by) = (person(who), person(by));
                    let groups = if grouped { vec![label("shift-lead")] } else { vec![] };
                    self.act(&Command::Invite { person: who, kind, groups, link, expires, by });
                }
            }
            Turn::Reinvite { by, who } => {
                let (link, expires) = (LinkId::new(self.world.id()), seconds_later(self.now(), 600));
                self.act(&Command::Reinvite { person: person(who), link, expires, by: person(by) });
            }
            Turn::Enrol { which } => {
                // Also codes that were void before they were used.
                let links: BTreeMap<LinkId, PersonId> = self
                    .world
                    .happened
                    .iter()
                    .filter_map(|(_, event)| match event {
                        Event::Invited { person, link, .. } | Event::Reinvited { person, link, .. } => {
                            Some((*link, *person))
                        }
                        _ => None,
                    })
                    .collect();
                if let Some((link, who)) = links.iter().rev().nth(which) {
                    self.act(&Command::Enrol { link: *link, key: key(u128::from(who.ulid())) });
                }
            }
            Turn::Disable { by, who } => {
                self.act(&Command::Disable { person: person(who), by: person(by) });
            }
            Turn::Attest { by, who, lasts } => {
                let (until, note) = (seconds_later(self.now(), lasts), Some(salted("WO-1")));
                self.act(&Command::Attest { person: person(who), until, note, by: person(by) });
            }
            Turn::TakeBack { by, who } => {
                self.act(&Command::WithdrawAttestation { person: person(who), by: person(by) });
            }
            Turn::Ask { who } => {
                let id = RequestId::new(self.world.id());
                let window = Window { from: self.now(), until: seconds_later(self.now(), 20_000) };
                let wish = NewRequest {
                    id,
                    technician: person(who),
                    target: target_name(0),
                    service: None,
                    actions: [Action::Shell].into(),
                    window,
                    duration: Seconds(3_600),
                    reason: Some(salted("why")),
                    work_order: None,
                    source: Some(self.world.source),
                    emergency: false,
                };
                self.act(&Command::Submit(wish));
            }
            Turn::Approve => {
                let Some(id) = self.world.nth_request(0) else { return };
                for lead in [SECURITY, LEADS[0]] {
                    let yes = self.world.yes(lead, Matter::Request(id));
                    self.act(&yes);
                }
            }
            Turn::Connect { who } => {
                let session = SessionId::new(self.world.id());
                let door = Admission { session, technician: person(who), ..self.world.door(0) };
                self.act(&Command::Admit(door));
            }
            Turn::Leave => {
                if let Some(session) = self.world.state.live.first().copied() {
                    self.act(&Command::End { session, ending: Ending::Left, seal: None });
                }
            }
            Turn::Contract { vendor, seconds } => {
                let (end, by) = (seconds_later(self.now(), seconds), person(ADMINISTRATOR));
                let vendor = label(TECHNICIANS[vendor].1);
                self.act(&Command::Contract { vendor, end, sponsor: by, telephone: None, by });
            }
            Turn::PutVendorOut { vendor } => {
                let vendor = label(TECHNICIANS[vendor].1);
                self.act(&Command::DisableVendor { vendor, by: person(ADMINISTRATOR) });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HOLDPOINT_LONG").is_some_and(|v| !v.is_empty()) { 20_000 } else { 600 }, ..ProptestConfig::default() })]
    #[test]
    fn no_manager_does_more_than_the_plant_allowed_and_nobody_works_unattested(turns in turns()) {
        let mut model = Model::new();
        for turn in &turns {
            model.take(turn);
        }
    }
}

#[test]
fn generated_histories_reach_managers_who_invite_and_technicians_at_work() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::<&str, usize>::new();
    for _ in 0..1_000 {
        let mut model = Model::new();
        for turn in &turns().new_tree(&mut runner).unwrap().current() {
            model.take(turn);
        }
        model.seen.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
    }
    let all = [
        "named",
        "dismissed",
        "invited",
        "invited again",
        "enrolled",
        "put out by a manager",
        "attested",
        "taken back",
        "asked",
        "granted",
        "at work",
    ];
    for what in all {
        assert!(seen.get(what).is_some_and(|times| *times > 15), "{what}: {seen:?}");
    }
}

const TARA: u128 = TECHNICIANS[0].0;
const TOM: u128 = TECHNICIANS[1].0;
const NEW: u128 = 50;
const OTHER: u128 = 51;

/// A world in which Tara manages the people of acme, and may have this many of them.
fn managed(most: u16) -> World {
    let mut world = World::on(&plant());
    let by = person(ADMINISTRATOR);
    world.must(&Command::NameManager { person: person(TARA), by });
    world.must(&Command::AllowInvitations { vendor: label("acme"), most, roles: [label(ROLES[0])].into(), by });
    world
}

fn colleague(vendor: &str, role: &str) -> Kind {
    Kind::Technician { vendor: label(vendor), role: label(role) }
}

fn invite(world: &mut World, who: u128, kind: Kind, by: u128) -> (LinkId, Command) {
    let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 3_600));
    (link, Command::Invite { person: person(who), kind, groups: vec![], link, expires, by: person(by) })
}

fn reinvite(world: &mut World, who: u128) -> Command {
    let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 3_600));
    Command::Reinvite { person: person(who), link, expires, by: person(TARA) }
}

#[test]
fn a_manager_invites_within_what_the_plant_allowed_and_hears_why_not_otherwise() {
    let mut world = managed(1);
    let acme = || colleague("acme", ROLES[0]);
    for (kind, by, refusal) in [
        (acme(), TOM, Refusal::NotManager),
        (colleague("bolt", ROLES[0]), TARA, Refusal::OtherCompany),
        (Kind::Operator { vendor: Some(label("acme")) }, TARA, Refusal::OtherCompany),
        (Kind::Administrator, TARA, Refusal::OtherCompany),
        (
            colleague("acme", ROLES[1]),
            TARA,
            Refusal::RoleNotAllowed { role: label(ROLES[1]), roles: [label(ROLES[0])].into() },
        ),
    ] {
        let (_, wrong) = invite(&mut world, NEW, kind, by);
        assert_eq!(world.refused(&wrong), refusal);
    }
    let (link, first) = invite(&mut world, NEW, acme(), TARA);
    let mut grouped = first.clone();
    let Command::Invite { groups, .. } = &mut grouped else { panic!("an invitation") };
    groups.push(label("shift-lead"));
    assert_eq!(world.refused(&grouped), Refusal::WrongKind("administrators"));
    world.must(&first);
    assert_eq!(world.state.people[&person(NEW)].invited_by, Some(person(TARA)));
    let (_, second) = invite(&mut world, OTHER, acme(), TARA);
    assert_eq!(world.refused(&second), Refusal::InvitationsFull(1));
    // The place of whoever is out, and stays so, is free again at once only if they had enrolled.
    let mut enrolled = world.clone();
    enrolled.must(&Command::Enrol { link, key: key(NEW) });
    enrolled.must(&Command::Disable { person: person(NEW), by: person(TARA) });
    enrolled.must(&second);
    world.must(&Command::Disable { person: person(NEW), by: person(TARA) });
    assert_eq!(world.refused(&Command::Enrol { link, key: key(NEW) }), Refusal::LinkSpent);
    assert_eq!(world.refused(&second), Refusal::InvitationsFull(1));
    let (end, by) = (seconds_later(world.now, 60 * 86_400), person(ADMINISTRATOR));
    let mut later = world.clone();
    later.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
    later.now = seconds_later(world.now, 30 * 86_400 - 1);
    let (_, second) = invite(&mut later, OTHER, acme(), TARA);
    assert_eq!(later.refused(&second), Refusal::InvitationsFull(1));
    later.now = seconds_later(world.now, 30 * 86_400);
    later.must(&second);
    // Of another company nobody is anybody.
    for person in [person(TOM), person(LEADS[0]), person(55)] {
        let disable = Command::Disable { person, by: self::person(TARA) };
        assert_eq!(world.refused(&disable), Refusal::UnknownPerson);
    }
    let own = Command::Disable { person: person(TARA), by: person(TARA) };
    assert_eq!(world.refused(&own), Refusal::ManagerStays);
    let by = person(ADMINISTRATOR);
    world.must(&Command::AllowInvitations { vendor: label("acme"), most: 0, roles: [].into(), by });
    let (_, third) = invite(&mut world, 52, acme(), TARA);
    assert_eq!(world.refused(&third), Refusal::NoInvitations);
}

#[test]
fn no_manager_invites_past_the_contract_or_while_the_company_is_cut_off() {
    let mut world = managed(5);
    let by = person(ADMINISTRATOR);
    let end = seconds_later(world.now, 600);
    world.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
    // What the managers may outlives the change, and a code may not.
    let (_, long) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
    assert!(matches!(world.refused(&long), Refusal::ExtensionTooFar(_, "the vendor's contract ends")));
    world.now = end;
    assert!(matches!(world.refused(&long), Refusal::ContractEnded(..)));
    let end = seconds_later(world.now, 86_400);
    world.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
    for scope in [Scope::Vendor(label("acme")), Scope::Technician(person(TARA)), Scope::Plant] {
        let mut world = world.clone();
        let (cut, at) = (CutId::new(world.id()), world.now);
        world.must(&Command::Cut { cut, scope, by: CutBy::Operator(person(LEADS[0])), at });
        let (_, late) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
        let by = person(TARA);
        let attest = Command::Attest { person: by, until: seconds_later(world.now, 60), note: None, by };
        let again = reinvite(&mut world, NEW);
        let (disable, back) = (Command::Disable { person: by, by }, Command::WithdrawAttestation { person: by, by });
        for command in [late, attest, again, disable, back] {
            assert_eq!(world.refused(&command), Refusal::CutOff);
        }
        assert!(world.state.manager(by, world.now).is_ok(), "to see is left to them");
    }
}

#[test]
fn whom_the_plant_put_out_no_manager_lets_back_in() {
    let mut world = managed(5);
    let (link, first) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
    world.must(&first);
    world.must(&Command::Enrol { link, key: key(NEW) });
    let again = reinvite(&mut world, NEW);
    assert_eq!(world.refused(&again), Refusal::NotYourInvitation, "who counts gets no code from a manager");
    world.must(&Command::Disable { person: person(NEW), by: person(ADMINISTRATOR) });
    assert_eq!(world.refused(&again), Refusal::PutOut);
    let (_, anew) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
    assert_eq!(world.refused(&anew), Refusal::Exists);
    assert_eq!(world.must_unjudged(&Command::Disable { person: person(NEW), by: person(TARA) }), []);
    assert_eq!(world.state.people[&person(NEW)].standing, Standing::Disabled);
}

#[test]
fn codes_of_somebody_who_is_no_manager_any_more_open_nothing_and_another_gives_new_ones() {
    let by = person(ADMINISTRATOR);
    for end in [Command::DismissManager { person: person(TARA), by }, Command::Disable { person: person(TARA), by }] {
        let mut world = managed(5);
        let (link, first) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
        world.must(&first);
        world.must(&end);
        assert_eq!(world.refused(&Command::Enrol { link, key: key(NEW) }), Refusal::LinkSpent);
        let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 60));
        world.must(&Command::Reinvite { person: person(NEW), link, expires, by });
        world.must(&Command::Enrol { link, key: key(NEW) });
    }
}

#[test]
fn an_attestation_is_asked_for_when_one_asks_at_the_last_yes_and_at_the_door() {
    let mut world = managed(5);
    let unattested =
        |has_manager| Refusal::NotAttested { rule: label("maintenance"), within: Seconds(7_200), has_manager };
    let wish = world.wish(0, &[Action::Shell]);
    assert_eq!(world.refused(&Command::Submit(wish)), unattested(true));
    let until = seconds_later(world.now, 3_600);
    let attest = Command::Attest { person: person(TARA), until, note: None, by: person(TARA) };
    world.must(&attest);
    let wish = world.wish(0, &[Action::Shell]);
    let id = world.submit(wish);
    let yes = world.yes(SECURITY, Matter::Request(id));
    assert!(world.act(&yes));
    let back = Command::WithdrawAttestation { person: person(TARA), by: person(TARA) };
    world.must(&back);
    let last = world.yes(LEADS[0], Matter::Request(id));
    assert!(matches!(world.refused(&last), Refusal::TechnicianNotAttested(_)));
    assert!(world.state.decide(&to_no(&last), world.now).is_ok(), "a no is always taken");
    world.must(&attest);
    assert!(world.act(&last));
    let door = world.door(0);
    world.enter(door);
    // What runs goes on; nothing begins any more.
    world.must(&back);
    assert_eq!(world.turned_away(0), unattested(true));
    world.must(&attest);
    let mut later = world.clone();
    later.now = until;
    assert_eq!(later.turned_away(0), unattested(true));
    // Whose word it was counts no longer.
    let by = person(ADMINISTRATOR);
    world.must(&Command::DismissManager { person: person(TARA), by });
    assert_eq!(world.turned_away(0), unattested(false));
    world.must(&Command::NameManager { person: person(TARA), by });
    assert_eq!(world.turned_away(0), unattested(true), "naming them again revives nothing");
    // Whoever had their key may have said it in their place.
    world.must(&attest);
    assert!(world.state.people[&person(TARA)].attested.is_some());
    let (link, expires) = (LinkId::new(ulid::Ulid::from(1 << 100)), seconds_later(world.now, 60));
    world.must(&Command::Reinvite { person: person(TARA), link, expires, by });
    world.must(&Command::Enrol { link, key: key(TARA + 900) });
    assert_eq!(world.turned_away(0), unattested(true));
}

#[test]
fn only_a_manager_of_their_company_attests_somebody_who_enrolled() {
    let mut world = managed(5);
    let (link, first) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
    world.must(&first);
    let attest =
        |who: u128, until, by: u128| Command::Attest { person: person(who), until, note: None, by: person(by) };
    let until = seconds_later(world.now, 60);
    assert_eq!(world.refused(&attest(NEW, until, TARA)), Refusal::NotEnrolled);
    world.must(&Command::Enrol { link, key: key(NEW) });
    assert_eq!(world.refused(&attest(NEW, until, TOM)), Refusal::NotManager);
    assert_eq!(world.refused(&attest(NEW, until, NEW)), Refusal::NotManager);
    assert_eq!(world.refused(&attest(NEW, until, ADMINISTRATOR)), Refusal::WrongKind("technicians"));
    assert_eq!(world.refused(&attest(TOM, until, TARA)), Refusal::UnknownPerson);
    assert_eq!(world.refused(&attest(NEW, world.now, TARA)), Refusal::WindowOver);
    let beyond = seconds_later(world.now, 30 * 86_400);
    assert!(matches!(world.refused(&attest(NEW, beyond, TARA)), Refusal::ExtensionTooFar(..)));
    world.must(&attest(NEW, until, TARA));
    world.must(&Command::Disable { person: person(NEW), by: person(TARA) });
    assert_eq!(world.refused(&attest(NEW, until, TARA)), Refusal::PutOut);
}

#[test]
fn an_administrator_names_managers_among_technicians_who_stay() {
    let mut world = World::on(&plant());
    let by = person(ADMINISTRATOR);
    let name = |who: u128, by: u128| Command::NameManager { person: person(who), by: person(by) };
    assert_eq!(world.refused(&name(TARA, LEADS[0])), Refusal::WrongKind("administrators"));
    assert_eq!(world.refused(&name(TARA, TARA)), Refusal::WrongKind("administrators"));
    assert_eq!(world.refused(&name(LEADS[0], ADMINISTRATOR)), Refusal::WrongKind("technicians"));
    let (_, invited) = invite(&mut world, NEW, colleague("acme", ROLES[0]), ADMINISTRATOR);
    world.must(&invited);
    assert_eq!(world.refused(&name(NEW, ADMINISTRATOR)), Refusal::NotEnrolled);
    let allow = |vendor: &str, roles: &[&str], by: u128| Command::AllowInvitations {
        vendor: label(vendor),
        most: 2,
        roles: roles.iter().map(|role| label(role)).collect(),
        by: person(by),
    };
    assert_eq!(world.refused(&allow("acme", &ROLES, TARA)), Refusal::WrongKind("administrators"));
    assert_eq!(world.refused(&allow("nobody", &ROLES, ADMINISTRATOR)), Refusal::NoContract(label("nobody")));
    assert_eq!(world.refused(&allow("acme", &[], ADMINISTRATOR)), Refusal::RolesWanted);
    world.must(&name(TARA, ADMINISTRATOR));
    assert_eq!(world.must_unjudged(&name(TARA, ADMINISTRATOR)), []);
    world.must(&Command::Disable { person: person(TARA), by });
    assert!(!world.state.people[&person(TARA)].is_manager);
    assert_eq!(world.refused(&name(TARA, ADMINISTRATOR)), Refusal::PutOut);
}

#[test]
fn no_code_of_a_vendor_that_was_put_out_opens_anything_by_another_contract() {
    let mut world = managed(5);
    let by = person(ADMINISTRATOR);
    let (link, first) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
    world.must(&first);
    world.must(&Command::DisableVendor { vendor: label("acme"), by });
    let end = seconds_later(world.now, 86_400);
    world.must(&Command::Contract { vendor: label("acme"), end, sponsor: by, telephone: None, by });
    assert_eq!(world.refused(&Command::Enrol { link, key: key(NEW) }), Refusal::LinkSpent);
}

fn concerns_of_acme(world: &World, at: Timestamp) -> Vec<Concern> {
    world.state.concerns(at).remove(&label::<VendorId>("acme")).unwrap_or_default()
}

#[test]
fn a_sponsor_is_to_hear_of_contracts_that_end_of_the_dormant_and_of_codes_that_nobody_used() {
    let mut world = managed(5);
    let (acme, by) = (label::<VendorId>("acme"), person(ADMINISTRATOR));
    let day = |days: i64| SignedDuration::from_hours(24 * days);
    let start = world.now;
    let end = start + day(3);
    assert_eq!(concerns_of_acme(&world, start), [Concern::ContractEnds { end, days: 7 }]);
    assert_eq!(concerns_of_acme(&world, end - day(1)), [Concern::ContractEnds { end, days: 1 }]);
    assert_eq!(concerns_of_acme(&world, end), [Concern::ContractOver { end }]);
    let end = start + day(200);
    world.must(&Command::Contract { vendor: acme.clone(), end, sponsor: by, telephone: None, by });
    assert_eq!(concerns_of_acme(&world, start), []);
    assert_eq!(concerns_of_acme(&world, end - day(31)), [Concern::Dormant { person: person(TARA), since: start }]);

    let (_, first) = invite(&mut world, NEW, colleague("acme", ROLES[0]), TARA);
    world.must(&first);
    let later = seconds_later(start, 3_599);
    assert_eq!(concerns_of_acme(&world, later), []);
    let unused = Concern::Unused { person: person(NEW), since: start };
    assert_eq!(concerns_of_acme(&world, seconds_later(start, 3_600)), [unused]);
    world.must(&Command::Disable { person: person(NEW), by });
    assert_eq!(concerns_of_acme(&world, seconds_later(start, 3_600)), []);

    // Nobody is dormant to the second before, and the plant file says when.
    let quarter = start + day(90);
    assert_eq!(concerns_of_acme(&world, seconds_later(quarter, -1)), []);
    assert_eq!(concerns_of_acme(&world, quarter), [Concern::Dormant { person: person(TARA), since: start }]);
    let sooner = plant().replace("banner =", "dormant_after = \"2d\"\nbanner =");
    let mut other = World::on(&sooner);
    assert_eq!(
        concerns_of_acme(&other, start + day(2))[1..],
        [Concern::Dormant { person: person(TARA), since: start }]
    );
    other.must(&Command::DisableVendor { vendor: acme, by });
    assert_eq!(concerns_of_acme(&other, start + day(2)), [], "of a vendor that is out, nothing");
}
