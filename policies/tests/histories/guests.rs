//! Guests: generated histories against a model that keeps plain lists of who was invited, for what and until when; and
//! beside them each no by name.

use std::collections::BTreeMap;

use policies::people::Standing;
use policies::refusals::Refusal;
use policies::state::LookBack;

use super::named::{to_no, wrong};
use super::*;

const NIGHT: u32 = 12 * 3_600;
const NUMBERS: [&str; 2] = ["+49 30 1234", "+49 30 9999"];
/// Beside the model's rule, which takes no guests: one of the packaging hall for eight hours, one of one machine for two.
const RULES: [(&str, &str, u32); 2] = [
    ("night", "zones = [\"packaging\"]\nemergency = true", 8 * 3_600),
    ("boiler-night", "targets = [\"hmi-2\"]", 2 * 3_600),
];

fn plant() -> String {
    let rule = |(id, reach, most): &(&str, &str, u32)| {
        format!(
            "\n[[rules]]\nid = \"{id}\"\nvendors = [\"acme\", \"bolt\"]\nroles = [\"maintenance\"]\n{reach}\n\
             actions = [\"shell\"]\nduration_max = \"4h\"\nwork_order = \"optional\"\nexclusive = \"none\"\n\
             escort = \"required\"\nguest_max = \"{}m\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\n",
            most / 60
        )
    };
    // The model's own rule keeps everybody to hours and two approvals, and takes nobody as a guest.
    format!("{PLANT}{}", RULES.iter().map(rule).collect::<String>())
}

#[derive(Debug, Clone)]
enum Turn {
    Wait { seconds: u32 },
    ComeOnDuty { who: usize },
    Invite(Wish),
    Enrol { which: usize },
    Ask { which: usize, elsewhere: bool, lasts: i64, emergency: bool },
    Approve { lead: usize },
    Connect { which: usize, elsewhere: bool },
    Extend { more: u32 },
    SendAway { who: usize, which: usize },
    LookBack { who: usize, which: usize, objects: bool },
    Disable { guest: u128 },
    Reinvite { guest: u128 },
    Contract { vendor: usize, seconds: i64, number: usize },
    Leave,
    Sweep,
}

/// An invitation, right or wrong.
#[derive(Debug, Clone)]
struct Wish {
    who: usize,
    guest: u128,
    vendor: usize,
    target: u8,
    rule: usize,
    lasts: u32,
    number: usize,
    other_key: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let lasts = prop_oneof![3 => 1_u32..7_300, 1 => 7_000_u32..60_000];
    let number = prop_oneof![9 => Just(0_usize), 1 => Just(1)];
    let other_key = prop::bool::weighted(0.05);
    (0_usize..4, 40_u128..43, 0_usize..2, 0_u8..2, 0_usize..3, lasts, number, other_key).prop_map(
        |(who, guest, vendor, target, rule, lasts, number, other_key)| Wish {
            who,
            guest,
            vendor,
            target,
            rule,
            lasts,
            number,
            other_key,
        },
    )
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let guest = || 40_u128..43;
    let which = || prop_oneof![5 => Just(0_usize), 1 => 1_usize..3];
    let elsewhere = || prop::bool::weighted(0.1);
    let turn = prop_oneof![
        4 => (0_u32..1_500).prop_map(|seconds| Turn::Wait { seconds }),
        1 => (2_000_u32..30_000).prop_map(|seconds| Turn::Wait { seconds }),
        6 => (0_usize..4).prop_map(|who| Turn::ComeOnDuty { who }),
        10 => wish().prop_map(Turn::Invite),
        9 => which().prop_map(|which| Turn::Enrol { which }),
        14 => (which(), elsewhere(), 1_i64..40_000, prop::bool::weighted(0.1))
            .prop_map(|(which, elsewhere, lasts, emergency)| Turn::Ask { which, elsewhere, lasts, emergency }),
        14 => (0_usize..2).prop_map(|lead| Turn::Approve { lead }),
        14 => (which(), elsewhere()).prop_map(|(which, elsewhere)| Turn::Connect { which, elsewhere }),
        9 => (1_u32..3_000).prop_map(|more| Turn::Extend { more }),
        2 => (0_usize..4, 0_usize..3).prop_map(|(who, which)| Turn::SendAway { who, which }),
        5 => (0_usize..4, 0_usize..3, any::<bool>())
            .prop_map(|(who, which, objects)| Turn::LookBack { who, which, objects }),
        1 => guest().prop_map(|guest| Turn::Disable { guest }),
        1 => guest().prop_map(|guest| Turn::Reinvite { guest }),
        1 => (0_usize..2, 1_i64..200_000, 0_usize..2)
            .prop_map(|(vendor, seconds, number)| Turn::Contract { vendor, seconds, number }),
        3 => Just(Turn::Leave),
        4 => Just(Turn::Sweep),
    ];
    prop::collection::vec(turn, 1..120)
}

/// What the model knows of a visit.
#[derive(Debug, Clone)]
struct Invited {
    guest: GuestId,
    person: PersonId,
    by: PersonId,
    target: TargetName,
    rule: String,
    until: Timestamp,
    ended: bool,
    reviewed: bool,
    asked: BTreeSet<RequestId>,
}

struct Model {
    world: World,
    visits: Vec<Invited>,
    numbers: BTreeMap<String, Salted>,
    ends: BTreeMap<String, Timestamp>,
    seen: BTreeMap<&'static str, usize>,
}

impl Model {
    fn new() -> Self {
        let mut world = World::on(&plant());
        let by = person(ADMINISTRATOR);
        let (mut numbers, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for (_, vendor) in TECHNICIANS {
            let (end, telephone) = (seconds_later(world.now, 3 * 86_400), Some(salted(NUMBERS[0])));
            world.must(&Command::Contract { vendor: label(vendor), end, sponsor: by, telephone, by });
            numbers.insert(vendor.to_owned(), salted(NUMBERS[0]));
            ends.insert(vendor.to_owned(), end);
        }
        Self { world, visits: Vec::new(), numbers, ends, seen: BTreeMap::new() }
    }

    fn act(&mut self, command: &Command) -> bool {
        let Ok(events) = self.world.state.decide(command, self.world.now) else { return false };
        for event in events {
            assert_eq!(Event::decode(&event.encode()).unwrap(), event);
            self.judge(&event);
            self.world.state.apply(&event, self.world.now);
            self.world.happened.push((self.world.now, event));
        }
        true
    }

    fn now(&self) -> Timestamp {
        self.world.now
    }

    /// The visit that somebody came for last.
    fn visit(&self, who: PersonId) -> Option<&Invited> {
        self.visits.iter().rev().find(|visit| visit.person == who)
    }

    fn is_over(&self, visit: &Invited) -> bool {
        visit.ended || visit.until <= self.now()
    }

    /// A shift is twelve hours.
    fn is_on_duty(&self, who: PersonId) -> bool {
        let came = self.world.happened.iter().rev().find_map(|(_, event)| match event {
            Event::OnDuty { person, until, .. } if *person == who => Some(*until),
            _ => None,
        });
        came.is_some_and(|until| self.now() < until)
    }

    fn judge(&mut self, event: &Event) {
        match event {
            Event::GuestInvited { invitation, rule, .. } => {
                self.see("invited");
                self.an_invitation(invitation, rule.id.as_str());
                let statement = &invitation.statement;
                self.visits.push(Invited {
                    guest: statement.guest,
                    person: statement.person,
                    by: statement.operator,
                    target: statement.target.clone(),
                    rule: rule.id.to_string(),
                    until: statement.until,
                    ended: false,
                    reviewed: false,
                    asked: BTreeSet::new(),
                });
            }
            Event::GuestEnded { guest, by, .. } => {
                self.see(if by.is_some() { "sent-away" } else { "gone" });
                let now = self.now();
                let is_at_work = self.world.state.live_sessions().any(|(_, facts)| {
                    self.visits.iter().any(|visit| visit.guest == *guest && visit.person == facts.technician)
                });
                let visit = self.visits.iter_mut().find(|visit| visit.guest == *guest).unwrap();
                assert!(!visit.ended, "once");
                assert!(by.is_some() || (visit.until <= now && !is_at_work), "by itself, and not in the middle");
                visit.ended = true;
            }
            Event::GuestReviewed { guest, by, objection } => {
                self.see(if objection.is_some() { "objected" } else { "reviewed" });
                let visit = self.visits.iter().find(|visit| visit.guest == *guest).unwrap();
                assert!(visit.by != *by && self.is_over(visit) && !visit.reviewed);
                self.visits.iter_mut().find(|visit| visit.guest == *guest).unwrap().reviewed = true;
            }
            Event::Disabled { person, .. } => {
                let theirs = self.visits.iter_mut().filter(|visit| visit.person == *person);
                theirs.for_each(|visit| visit.ended = true);
            }
            Event::Enrolled { person, .. } => {
                let visit = self.visit(*person).expect("a guest").clone();
                assert!(!self.is_over(&visit), "a code is of one visit");
                self.see("enrolled");
            }
            Event::Submitted { request, rule } => {
                let visit = self.visit(request.technician).expect("a guest").clone();
                assert!(!self.is_over(&visit));
                assert_eq!((&request.target, rule.id.as_str()), (&visit.target, visit.rule.as_str()));
                assert!(request.window.until <= visit.until && !request.emergency);
                let latest = self.visits.iter_mut().rev().find(|visit| visit.person == request.technician);
                latest.unwrap().asked.insert(request.id);
                self.see("asked");
            }
            Event::Started { technician, target, deadline, request, .. } => {
                let visit = self.visit(*technician).expect("a guest").clone();
                assert!(!self.is_over(&visit) && *deadline <= visit.until);
                assert_eq!(*target, visit.target);
                assert!(visit.asked.contains(request), "a grant of another visit");
                assert_eq!(self.world.state.cases[request].rule.escort, policies::plant::Escort::Required);
                self.see("at work");
            }
            Event::Extended { request, deadline, .. } => {
                let who = self.world.state.cases[request].asked.technician;
                assert!(*deadline <= self.visit(who).expect("a guest").until);
                self.see("extended");
            }
            Event::Contracted { vendor, end, telephone, .. } => {
                self.numbers.extend(telephone.map(|number| (vendor.to_string(), number)));
                self.ends.insert(vendor.to_string(), *end);
            }
            _ => {}
        }
    }

    fn an_invitation(&self, invitation: &Signed<GuestStatement>, rule: &str) {
        let statement = &invitation.statement;
        let vendor = statement.vendor.as_str();
        assert!(self.is_on_duty(statement.operator), "on duty");
        assert_ne!(World::vendor(statement.operator), Some(vendor), "not of their own vendor");
        assert_eq!(invitation.key, key(u128::from(statement.operator.ulid())), "by their own key");
        let (_, reach, most) = RULES.iter().find(|(id, ..)| *id == rule).expect("a rule that takes guests");
        assert_eq!(reach.contains("hmi-2"), statement.target.as_str() == "hmi-2", "at its targets");
        assert!(self.now() < statement.until && statement.until <= Seconds((*most).min(NIGHT)).after(self.now()));
        assert!(statement.until <= self.ends[vendor], "within the contract");
        assert_eq!(statement.telephone, self.numbers[vendor], "called back on the registered number");
        assert!(self.visits.iter().all(|visit| visit.rule != rule || self.is_over(visit)), "one at a time");
        assert!(self.visit(statement.person).is_none_or(|visit| visit.ended), "nobody twice");
    }

    fn invite(&mut self, wish: &Wish) {
        let Wish { who, guest, vendor, target, rule, lasts, number, other_key } = *wish;
        let vendor = TECHNICIANS[vendor].1;
        let rule = ["night", "boiler-night", "maintenance"][rule];
        let mut invitation = self.world.guest_invitation(OPERATORS[who], guest, vendor, target, rule, lasts);
        invitation.statement.telephone = salted(NUMBERS[number]);
        if other_key {
            invitation.key = key(ADMINISTRATOR);
        }
        let link = LinkId::new(self.world.id());
        self.act(&Command::InviteGuest { invitation, link });
    }

    /// Who was invited so many visits ago, and to where.
    fn nth(&self, which: usize) -> Option<(PersonId, TargetName)> {
        self.visits.iter().rev().nth(which).map(|visit| (visit.person, visit.target.clone()))
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn take(&mut self, turn: &Turn) {
        match turn.clone() {
            Turn::Wait { seconds } => self.world.now = seconds_later(self.now(), i64::from(seconds)),
            Turn::ComeOnDuty { who } => {
                self.act(&Command::ComeOnDuty { person: person(OPERATORS[who]), provider: None });
            }
            Turn::Invite(wish) => self.invite(&wish),
            Turn::Enrol { which } => {
                let Some((guest, _)) = self.nth(which) else { return };
                let link = self.world.state.links.iter().find(|(_, link)| link.person == guest);
                if let Some(link) = link.map(|(link, _)| *link) {
                    self.act(&Command::Enrol { link, key: key(u128::from(guest.ulid())) });
                }
            }
            Turn::Ask { which, elsewhere, lasts, emergency } => {
                let Some((technician, target)) = self.nth(which) else { return };
                let id = RequestId::new(self.world.id());
                let window = Window { from: self.now(), until: seconds_later(self.now(), lasts) };
                let wish = NewRequest {
                    id,
                    technician,
                    target: other_target(target, elsewhere),
                    service: None,
                    actions: [Action::Shell].into(),
                    window,
                    duration: Seconds(600),
                    reason: Some(salted("why")),
                    work_order: None,
                    source: Some(self.world.source),
                    emergency,
                };
                self.act(&Command::Submit(wish));
            }
            Turn::Approve { lead } => {
                if let Some(id) = self.world.nth_request(0) {
                    let yes = self.world.yes(LEADS[lead], Matter::Request(id));
                    self.act(&yes);
                }
            }
            Turn::Connect { which, elsewhere } => {
                let Some((technician, target)) = self.nth(which) else { return };
                let door = Admission {
                    session: SessionId::new(self.world.id()),
                    technician,
                    target: other_target(target, elsewhere),
                    ..self.world.door(0)
                };
                self.act(&Command::Admit(door));
            }
            Turn::Extend { more } => {
                let Some(request) = self.world.nth_request(0) else { return };
                let by = self.world.state.cases[&request].asked.technician;
                let (ask, reason) = (AskId::new(self.world.id()), salted("more"));
                if self.act(&Command::AskExtension { ask, request, more: Seconds(more), reason, by }) {
                    let yes = self.world.yes(LEADS[0], Matter::Extension(ask));
                    self.act(&yes);
                }
            }
            Turn::SendAway { who, which } => {
                if let Some(guest) = self.world.state.guests.keys().rev().nth(which).copied() {
                    self.act(&Command::EndGuest { guest, by: person(OPERATORS[who]) });
                }
            }
            Turn::LookBack { who, which, objects } => {
                if let Some(guest) = self.world.state.guests.keys().nth(which).copied() {
                    let mut answer = self.world.yes(OPERATORS[who], Matter::Guest(guest));
                    if objects {
                        answer = to_no(&answer);
                    }
                    self.act(&answer);
                }
            }
            Turn::Disable { guest } => {
                self.act(&Command::Disable { person: person(guest), by: person(ADMINISTRATOR) });
            }
            Turn::Reinvite { guest } => {
                let (link, expires) = (LinkId::new(self.world.id()), Timestamp::MAX);
                let again = Command::Reinvite { person: person(guest), link, expires, by: person(ADMINISTRATOR) };
                assert!(!self.act(&again), "a guest has one code");
            }
            Turn::Contract { vendor, seconds, number } => {
                let (end, by) = (seconds_later(self.now(), seconds), person(ADMINISTRATOR));
                let (vendor, telephone) = (label(TECHNICIANS[vendor].1), (number == 1).then(|| salted(NUMBERS[1])));
                self.act(&Command::Contract { vendor, end, sponsor: by, telephone, by });
            }
            Turn::Leave => {
                if let Some(session) = self.world.state.live.first().copied() {
                    self.act(&Command::End { session, ending: Ending::Left, seal: None });
                }
            }
            Turn::Sweep => {
                self.act(&Command::Sweep);
            }
        }
    }
}

fn other_target(target: TargetName, other: bool) -> TargetName {
    if other { target_name(u8::from(target.as_str() == "hmi-1")) } else { target }
}

impl World {
    /// Signed by somebody for a guest, on the number that is registered at first.
    fn guest_invitation(
        &mut self,
        by: u128,
        guest: u128,
        vendor: &str,
        target: u8,
        rule: &str,
        lasts: u32,
    ) -> Signed<GuestStatement> {
        let rules = &self.state.plant.as_ref().unwrap().rules;
        let rule = rules.iter().find(|known| known.id.as_str() == rule).unwrap().digest();
        let statement = GuestStatement {
            deployment: label("model"),
            guest: GuestId::new(self.id()),
            person: person(guest),
            name: salted("gus"),
            vendor: label(vendor),
            role: label("maintenance"),
            target: target_name(target),
            rule,
            until: Seconds(lasts).after(self.now),
            reason: salted("the pump trips"),
            telephone: salted(NUMBERS[0]),
            operator: person(by),
            nonce: self.next.to_string(),
            expires: seconds_later(self.now, 60),
            journal: SeenHead { size: self.state.size, root: Digest::of_bytes(b"") },
        };
        Signed { statement, key: key(by), signature: String::new() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HOLDPOINT_LONG").is_some_and(|v| !v.is_empty()) { 20_000 } else { 600 }, ..ProptestConfig::default() })]
    #[test]
    fn no_guest_comes_otherwise_than_they_were_invited(turns in turns()) {
        let mut model = Model::new();
        for turn in &turns {
            model.take(turn);
        }
        model.world.all_that_names_a_session_or_a_request_is_found_with_it();
        model.world.what_was_used_was_given();
        model.world.hosts_have_a_hand_in_what_their_guests_did();
    }
}

#[test]
fn generated_histories_reach_guests_at_work_and_what_comes_after() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::<&str, usize>::new();
    for _ in 0..600 {
        let mut model = Model::new();
        for turn in &turns().new_tree(&mut runner).unwrap().current() {
            model.take(turn);
        }
        model.seen.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
    }
    for what in ["invited", "enrolled", "asked", "at work", "extended", "sent-away", "gone", "reviewed", "objected"] {
        let least = match what {
            "extended" => 3,
            "reviewed" | "objected" => 5,
            _ => 15,
        };
        assert!(seen.get(what).is_some_and(|times| *times > least), "{what}: {seen:?}");
    }
}

/// A world in which a lead is on duty and vendors have numbers.
fn at_night() -> World {
    let mut world = Model::new().world;
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    world
}

fn invite(world: &mut World, invitation: Signed<GuestStatement>) -> Command {
    Command::InviteGuest { invitation, link: LinkId::new(world.id()) }
}

#[test]
fn only_an_operator_on_duty_invites_for_what_a_rule_allows_and_calls_the_registered_number() {
    let mut world = at_night();
    let good = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    type Wrong = fn(&mut Signed<GuestStatement>);
    let night = || label::<RuleId>("night");
    let outside = |vendor: &str, target: &str| Refusal::GuestOutsideRule {
        rule: night(),
        vendor: label(vendor),
        target: label(target),
    };
    let too_long = Refusal::TooLong { asked: Seconds(28_801), most: Seconds(28_800), rule: night() };
    let wrongs: [(Wrong, Refusal); 13] = [
        (|i| i.statement.operator = person(ADMINISTRATOR), Refusal::WrongKind("operators")),
        (|i| i.statement.operator = person(20), Refusal::WrongKind("operators")),
        (|i| (i.statement.operator, i.key) = (person(LEADS[1]), key(LEADS[1])), Refusal::DutyWanted("invites a guest")),
        (|i| i.key = key(LEADS[1]), Refusal::NotYourKey),
        (|i| i.statement.deployment = label("other"), Refusal::OtherDeployment),
        (|i| i.statement.vendor = label("nobody"), Refusal::NoContract(label("nobody"))),
        (|i| i.statement.role = label("boss"), outside("acme", "hmi-1")),
        (|i| i.statement.target = label("hmi-2"), outside("acme", "hmi-2")),
        (|i| i.statement.telephone = salted(NUMBERS[1]), Refusal::OtherDigest),
        (|i| i.statement.rule = Digest::of_bytes(b"none"), Refusal::OtherDigest),
        (|i| i.statement.until = i.statement.expires - SignedDuration::from_secs(60), Refusal::WindowOver),
        (|i| i.statement.until = i.statement.expires + SignedDuration::from_secs(28_801 - 60), too_long),
        (|i| i.statement.person = person(20), Refusal::Exists),
    ];
    for (spoil, refusal) in wrongs {
        let mut wrong = good.clone();
        spoil(&mut wrong);
        let wrong = invite(&mut world, wrong);
        assert_eq!(world.refused(&wrong), refusal);
    }
    let none = world.guest_invitation(LEADS[0], 40, "acme", 0, "maintenance", 3_600);
    let none = invite(&mut world, none);
    assert_eq!(world.refused(&none), Refusal::NoGuests(label("maintenance")));
    let yes = invite(&mut world, good);
    assert!(world.act(&yes));
    world.must(&Command::ComeOnDuty { person: person(ACME_LEAD), provider: None });
    let own = world.guest_invitation(ACME_LEAD, 41, "acme", 1, "boiler-night", 3_600);
    let own = invite(&mut world, own);
    assert_eq!(world.refused(&own), Refusal::OwnVendor);
}

#[test]
fn one_guest_comes_under_a_rule_at_a_time_and_comes_again_by_another_invitation_alone() {
    let mut world = at_night();
    let first = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let first = invite(&mut world, first);
    assert!(world.act(&first));
    let second = world.guest_invitation(LEADS[0], 41, "bolt", 0, "night", 3_600);
    let second = invite(&mut world, second);
    assert!(matches!(world.refused(&second), Refusal::GuestThere { .. }));
    let elsewhere = world.guest_invitation(LEADS[0], 41, "bolt", 1, "boiler-night", 3_600);
    let elsewhere = invite(&mut world, elsewhere);
    assert!(world.act(&elsewhere));

    let guest = *world.state.guests.keys().next().unwrap();
    world.must(&Command::EndGuest { guest, by: person(LEADS[1]) });
    assert!(matches!(world.refused(&Command::EndGuest { guest, by: person(LEADS[1]) }), Refusal::GuestGone(_)));
    assert_eq!(world.state.people[&person(40)].standing, Standing::Over);
    let of_bolt = world.guest_invitation(LEADS[0], 40, "bolt", 0, "night", 3_600);
    let of_bolt = invite(&mut world, of_bolt);
    assert_eq!(world.refused(&of_bolt), Refusal::Exists, "they were of acme");
    let again = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let again = invite(&mut world, again);
    assert!(world.act(&again));
    world.must(&Command::Disable { person: person(40), by: person(ADMINISTRATOR) });
    let never = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let never = invite(&mut world, never);
    assert_eq!(world.refused(&never), Refusal::NotActive(Standing::Disabled));
}

#[test]
fn a_visit_is_looked_back_at_when_it_is_over_by_somebody_else_with_a_signature() {
    let mut world = at_night();
    let invitation = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let invitation = invite(&mut world, invitation);
    assert!(world.act(&invitation));
    let guest = *world.state.guests.keys().next().unwrap();
    let early = world.yes(LEADS[1], Matter::Guest(guest));
    assert!(matches!(world.refused(&early), Refusal::GuestStillThere(_)));
    world.now = seconds_later(world.now, 3_600);
    world.must(&Command::Sweep);
    let own = world.yes(LEADS[0], Matter::Guest(guest));
    assert_eq!(world.refused(&own), Refusal::OwnDeed);
    let Command::Vote { verdict } = world.yes(LEADS[1], Matter::Guest(guest)) else { unreachable!() };
    let by_code = Command::VoteWeaker { statement: verdict.statement.clone(), way: Weaker::Totp };
    assert_eq!(world.refused(&by_code), Refusal::SignatureWanted("looking back at a guest's visit"));
    let of_another = VerdictStatement { digest: Digest::of_bytes(b"x"), ..verdict.statement.clone() };
    let of_another = Command::Vote { verdict: Signed { statement: of_another, ..verdict.clone() } };
    assert_eq!(world.refused(&of_another), Refusal::OtherDigest);
    let narrowed = wrong(&Command::Vote { verdict: verdict.clone() }, |verdict| {
        let narrowing = Narrowing { duration: Some(Seconds(1)), ..Narrowing::default() };
        verdict.statement.answer = Answer::Yes { narrowing };
    });
    assert_eq!(world.refused(&narrowed), Refusal::Widens, "nothing is taken away from what is over");
    let mut other = world.clone();
    world.must_unjudged(&Command::Vote { verdict: verdict.clone() });
    let seen = LookBack { by: person(LEADS[1]), at: world.now, objection: None };
    assert_eq!(world.state.guests[&guest].reviewed, Some(seen));
    let again = Command::Vote { verdict };
    assert_eq!(world.refused(&again), Refusal::NotPending("looked back at already"));
    other.must_unjudged(&to_no(&again));
    let objected = LookBack { objection: Some(salted("no")), ..seen };
    assert_eq!(other.state.guests[&guest].reviewed, Some(objected));
    assert_eq!(other.refused(&again), Refusal::NotPending("looked back at already"), "an objection stands");
}

#[test]
fn a_guest_asks_for_nothing_else_and_is_refused_in_words_that_say_what_they_may() {
    let mut world = at_night();
    let invitation = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let link = LinkId::new(world.id());
    world.must(&Command::InviteGuest { invitation, link });
    world.must(&Command::Enrol { link, key: key(40) });
    let ask = |world: &mut World, target, emergency| {
        Command::Submit(NewRequest {
            id: RequestId::new(world.id()),
            technician: person(40),
            target: target_name(target),
            service: None,
            actions: [Action::Shell].into(),
            window: Window { from: world.now, until: seconds_later(world.now, 40_000) },
            duration: Seconds(3_600),
            reason: Some(salted("why")),
            work_order: None,
            source: Some(world.source),
            emergency,
        })
    };
    let elsewhere = ask(&mut world, 1, false);
    assert_eq!(world.refused(&elsewhere), Refusal::GuestElsewhere(label("hmi-1")));
    let loud = ask(&mut world, 0, true);
    assert_eq!(world.refused(&loud), Refusal::GuestEmergency);
    let good = ask(&mut world, 0, false);
    let events = world.state.decide(&good, world.now).unwrap();
    let [Event::Submitted { request, rule }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(request.window.until, world.state.guests.values().next().unwrap().statement.until);
    assert_eq!(rule.id, label("night"), "although the model's own rule comes first in the file");
    world.now = seconds_later(world.now, 3_600);
    assert!(matches!(world.refused(&good), Refusal::GuestOver(_)));
    world.must(&Command::Sweep);
    assert_eq!(world.refused(&good), Refusal::NotActive(Standing::Over));
}

#[test]
fn what_was_granted_on_one_visit_opens_nothing_on_the_next() {
    let mut world = at_night();
    let come = |world: &mut World| {
        let invitation = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
        let link = LinkId::new(world.id());
        world.must(&Command::InviteGuest { invitation, link });
        world.must(&Command::Enrol { link, key: key(40) });
    };
    come(&mut world);
    let ask = NewRequest { technician: person(40), ..world.wish(0, &[Action::Shell]) };
    let id = ask.id;
    world.must(&Command::Submit(ask));
    let yes = world.yes(LEADS[1], Matter::Request(id));
    world.must_unjudged(&yes);
    let door = Admission { technician: person(40), ..world.door(0) };
    assert!(world.state.decide(&Command::Admit(door.clone()), world.now).is_ok());
    let guest = *world.state.guests.keys().next().unwrap();
    world.must(&Command::EndGuest { guest, by: person(LEADS[1]) });
    come(&mut world);
    assert_eq!(world.refused(&Command::Admit(door)), Refusal::NoGrant(label("hmi-1")));
}

#[test]
fn the_key_of_somebody_who_is_invited_again_stays_theirs_until_they_enrol() {
    let mut world = at_night();
    let technician = || Kind::Technician { vendor: label("acme"), role: label("maintenance") };
    let invited = |world: &mut World, person| {
        let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 36_000));
        let by = super::person(ADMINISTRATOR);
        world.must(&Command::Invite { person, kind: technician(), groups: Vec::new(), link, expires, by });
        link
    };
    let as_a_guest = |world: &mut World| {
        let invitation = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
        let link = LinkId::new(world.id());
        world.must(&Command::InviteGuest { invitation, link });
        link
    };
    let is_sent_away = |world: &mut World| {
        let guest = *world.state.guests.keys().last().unwrap();
        world.must(&Command::EndGuest { guest, by: person(LEADS[1]) });
    };
    let stranger = invited(&mut world, person(50));
    let takes = Command::Enrol { link: stranger, key: key(40) };
    let adds = Command::AddKey { person: person(TECHNICIANS[0].0), key: key(40) };
    let first = as_a_guest(&mut world);
    world.must(&Command::Enrol { link: first, key: key(40) });
    is_sent_away(&mut world);
    for way in [&takes, &adds] {
        assert_eq!(world.refused(way), Refusal::KeyTaken, "they are gone");
    }
    // Invited again, and sent away before they came.
    as_a_guest(&mut world);
    for way in [&takes, &adds] {
        assert_eq!(world.refused(way), Refusal::KeyTaken, "a guest again");
    }
    is_sent_away(&mut world);
    let last = invited(&mut world, person(40));
    for way in [&takes, &adds] {
        assert_eq!(world.refused(way), Refusal::KeyTaken, "a technician from now on");
    }
    let mut other = world.clone();
    world.must(&Command::Enrol { link: last, key: key(40) });
    for way in [&takes, &adds] {
        assert_eq!(world.refused(way), Refusal::KeyTaken);
    }
    other.must(&Command::Enrol { link: last, key: key(41) });
    for way in [&takes, &adds] {
        other.clone().must(way);
    }
}

#[test]
fn a_guest_who_is_gone_may_become_a_technician_of_the_same_vendor_and_nobody_else() {
    let mut world = at_night();
    let invitation = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let link = LinkId::new(world.id());
    world.must(&Command::InviteGuest { invitation, link });
    world.must(&Command::Enrol { link, key: key(40) });
    let guest = *world.state.guests.keys().next().unwrap();
    let ask = NewRequest { technician: person(40), ..world.wish(0, &[Action::Shell]) };
    let by_night = ask.id;
    world.must(&Command::Submit(ask));
    let technician = |vendor| Kind::Technician { vendor: label(vendor), role: label("maintenance") };
    let invite = |world: &mut World, kind: Kind| {
        let (link, expires) = (LinkId::new(world.id()), seconds_later(world.now, 3_600));
        Command::Invite { person: person(40), kind, groups: Vec::new(), link, expires, by: person(ADMINISTRATOR) }
    };
    let early = invite(&mut world, technician("acme"));
    assert_eq!(world.refused(&early), Refusal::Exists, "their visit goes on");
    world.must(&Command::EndGuest { guest, by: person(LEADS[1]) });
    for kind in [technician("bolt"), Kind::Auditor, Kind::Operator { vendor: Some(label("acme")) }] {
        let other = invite(&mut world, kind);
        assert_eq!(world.refused(&other), Refusal::Exists);
    }
    let by_day = invite(&mut world, technician("acme"));
    let Command::Invite { link, .. } = &by_day else { unreachable!() };
    let link = *link;
    world.must(&by_day);
    let known = &world.state.people[&person(40)];
    assert_eq!(
        (known.standing, known.guest, known.keys.len()),
        (Standing::Invited, None, 0),
        "nothing of before counts"
    );
    world.must(&Command::Enrol { link, key: key(40) });
    let ask = NewRequest { technician: person(40), ..world.wish(1, &[Action::Shell]) };
    let id = ask.id;
    world.must(&Command::Submit(ask));
    let visits = |id| world.state.visit_of(&world.state.cases[&id]).map(|(visit, _)| visit);
    assert_eq!((visits(by_night), visits(id)), (Some(guest), None), "what was asked by night stays so");
    let invitation = world.guest_invitation(LEADS[0], 40, "acme", 0, "night", 3_600);
    let again = Command::InviteGuest { invitation, link: LinkId::new(world.id()) };
    assert_eq!(world.refused(&again), Refusal::Exists, "they are somebody here");
}
