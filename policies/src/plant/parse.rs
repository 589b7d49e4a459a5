//! Reads a plant file into a `Plant`, or into all of its mistakes. What each value may be, and how values must agree,
//! stands here in the order of the file; how TOML is walked is in `reader`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::mistakes::{Mistakes, closest, shown};
use super::reader::{self, Field, Kind, NotBuilt, Reader};
use super::{
    Address, Credential, DeadlineEnding, Escort, Exclusive, FileCheck, Gate, HostKeyPin, IdleEnding, Plant, Prompt,
    Prompts, Protocol, Quorum, Reach, Rule, Sample, Service, StalenessEnding, Target, TargetClock, Tell, Then,
    Unaccepted, Weaker, WorkOrder, Zone, modbus,
};
use crate::actions::{Action, Actions};
use crate::digest::Digest;
use crate::ids::{GroupName, RuleId, ServiceName, TargetName, ZoneName};
use crate::time::{Seconds, Shifts};

impl Kind {
    const PLANT: Self = Self("plant");
    const ZONE: Self = Self("zone");
    const TARGET: Self = Self("target");
    const SERVICE: Self = Self("service");
    const RULE: Self = Self("rule");
    const QUORUM: Self = Self("quorum");
    const TELL: Self = Self("tell");
}

/// What is known and does nothing yet is refused by name, so that nobody relies on it. To build one is to delete its
/// row and read it below.
const NOT_BUILT: [NotBuilt; 0] = [];

/// Ten thousand targets fit; what is longer was not written by people.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
const NAME_CHARS_MAX: usize = 100;
const BANNER_CHARS_MAX: usize = 4_000;
const USER_CHARS_MAX: usize = 64;
const ARGUMENT_CHARS_MAX: usize = 1_000;
const COUNT_MAX: i64 = 9;
const CONNECTIONS_MAX: i64 = 1_000;
const SOCKETS_MAX: i64 = 100;
const REQUESTS_MAX: i64 = 100_000;
const SECOND: Seconds = Seconds(1);
const HOUR: Seconds = Seconds(3_600);
const DAY: Seconds = Seconds(86_400);

pub(super) fn plant(text: &str) -> Result<Plant, Mistakes> {
    reader::read(text, FILE_BYTES_MAX, &NOT_BUILT, |reader| file(reader, text))
}

/// What is refused by name was not always, and stands in files that were adopted then.
pub(super) fn adopted(text: &str) -> Result<Plant, Mistakes> {
    reader::read(text, FILE_BYTES_MAX, &[], |reader| file(reader, text))
}

fn file(reader: &mut Reader<'_, '_>, text: &str) -> Option<Plant> {
    let head = reader.required("plant", "begin with [plant], its name, timezone, banner and changes", |field| {
        field.table(Kind::PLANT, head)
    });
    let zones = reader.or("zones", BTreeMap::new(), |field| field.named(Kind::ZONE, |_, reader| zone(reader)));
    let targets = reader.or("targets", BTreeMap::new(), |field| targets(field, zones.as_ref()));
    let accept_within = head.as_ref().map(|head| head.shifts.change().then_some(head.accept_within));
    let known = Known { zones: zones.as_ref(), targets: targets.as_ref(), accept_within };
    let rules = reader.or("rules", Vec::new(), |field| rules(field, &known));
    let Head { name, timezone, banner, changes, shifts, accept_within, dormant_after, websockets, credential_age_max } =
        head?;
    let (zones, targets) = (all(zones?)?, all(targets?)?);
    let digest = Digest::of_bytes(text.as_bytes());
    let rules = rules?;
    Some(Plant {
        name,
        timezone,
        banner,
        changes,
        shifts,
        accept_within,
        dormant_after,
        websockets,
        credential_age_max,
        zones,
        targets,
        rules,
        digest,
    })
}

/// All of them, if each could be read.
fn all<K: Ord, V>(named: BTreeMap<K, Option<V>>) -> Option<BTreeMap<K, V>> {
    named.into_iter().map(|(name, value)| Some((name, value?))).collect()
}

struct Head {
    name: String,
    timezone: TimeZone,
    banner: String,
    changes: Vec<Quorum>,
    shifts: Shifts,
    accept_within: Seconds,
    dormant_after: Seconds,
    websockets: bool,
    credential_age_max: Option<Seconds>,
}

fn head(reader: &mut Reader<'_, '_>) -> Option<Head> {
    let name = reader.required("name", "write what people call the plant", |f| f.plain_text(NAME_CHARS_MAX, &[]));
    let timezone = reader.required("timezone", "write for example \"Europe/Berlin\"", timezone);
    let banner = reader.required("banner", "write what everybody must know before signing in", |f| {
        f.plain_text(BANNER_CHARS_MAX, &['\n'])
    });
    let changes = reader.required("changes", "write for example [{ from = \"shift-lead\", count = 1 }]", quorums);
    let shifts = reader.or("shifts", Plant::SHIFTS, shifts);
    let accept_within = reader.or("accept_within", Plant::ACCEPT_WITHIN, |f| f.duration(SECOND..=HOUR));
    let dormant_after = reader.or("dormant_after", Plant::DORMANT_AFTER, |f| f.duration(SECOND..=Plant::DORMANT_LIMIT));
    note_never_changing(reader, shifts.as_ref());
    let websockets = reader.or("websockets", true, Field::flag);
    let credential_age_max = credential_age_max(reader);
    let (name, timezone, banner) = (name?, timezone?, banner?);
    let (changes, shifts, accept_within, dormant_after) = (changes?, shifts?, accept_within?, dormant_after?);
    let (websockets, credential_age_max) = (websockets?, credential_age_max?);
    Some(Head { name, timezone, banner, changes, shifts, accept_within, dormant_after, websockets, credential_age_max })
}

fn credential_age_max(reader: &mut Reader<'_, '_>) -> Option<Option<Seconds>> {
    reader.optional("credential_age_max", |f| f.duration(SECOND..=Plant::CREDENTIAL_AGE_LIMIT))
}

/// How long each is, or when they change.
fn shifts(field: &Field<'_, '_>) -> Option<Shifts> {
    if !field.is_list() {
        return field.duration(SECOND..=DAY).map(Shifts::Each);
    }
    let right = "write when shifts change, for example [\"06:00\", \"14:00\", \"22:00\"], or how long one is, for example \"12h\"";
    let shifts = Shifts::At(field.filled_set(right, Field::parsed)?);
    match shifts.too_short() {
        Some((from, to)) => field.wrong(
            format!("from {from} to {to} is less than {}", Shifts::SHORTEST),
            "write times that lie further apart",
        ),
        None => Some(shifts),
    }
}

fn note_never_changing(reader: &Reader<'_, '_>, shifts: Option<&Shifts>) {
    if reader.has("accept_within") && shifts.is_some_and(|shifts| !shifts.change()) {
        reader.note_at("accept_within", NOBODY_TAKES_OVER, TO_TAKE_OVER);
    }
}

const NOBODY_TAKES_OVER: &str = "changes nothing while shifts have no times of day";
const TO_TAKE_OVER: &str = "write for example shifts = [\"06:00\", \"14:00\", \"22:00\"] in [plant], or leave it out";

fn timezone(field: &Field<'_, '_>) -> Option<TimeZone> {
    let name = field.text()?;
    let database = TimeZoneDatabase::bundled();
    if let Some(timezone) = database.get(name).ok().filter(|timezone| !timezone.is_unknown()) {
        return Some(timezone);
    }
    let names: Vec<_> = database.available().map(|name| name.to_string()).collect();
    let right = match closest(name, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => "write a name of the IANA time zone database, for example \"Europe/Berlin\"".to_owned(),
    };
    field.wrong(format!("{} is no time zone", shown(name)), right)
}

/// Groups that must agree; never none, because then anybody would.
fn quorums(field: &Field<'_, '_>) -> Option<Vec<Quorum>> {
    let mut groups = BTreeSet::new();
    field.filled_list("name at least one group: nobody's approval is no approval", |entry| {
        let quorum = entry.table(Kind::QUORUM, |reader| {
            let from = reader.required("from", "name a group of operators", Field::parsed::<GroupName>);
            let count = reader.required("count", "say how many of the group", |f| f.number(1..=COUNT_MAX));
            Some(Quorum { from: from?, count: count? })
        })?;
        if groups.insert(quorum.from.clone()) {
            Some(quorum)
        } else {
            entry.wrong(format!("{} is asked twice", quorum.from), "write one entry with the count of both")
        }
    })
}

fn zone(reader: &mut Reader<'_, '_>) -> Option<Zone> {
    Some(Zone { never: reader.or("never", false, Field::flag)? })
}

type Zones = BTreeMap<ZoneName, Option<Zone>>;
type Targets = BTreeMap<TargetName, Option<Target>>;

fn targets(field: &Field<'_, '_>, zones: Option<&Zones>) -> Option<Targets> {
    let mut addresses = BTreeMap::new();
    field.named(Kind::TARGET, |name, reader| {
        let zone = reader.required("zone", "name one of [zones]", |f| one_known(f, "zone", zones));
        let clock = reader.or("clock", TargetClock::default(), |f| {
            f.one_of(&[("good", TargetClock::Good), ("unknown", TargetClock::Unknown)])
        });
        let right = format!("write [targets.{name}.services.ssh] with protocol and address");
        let services = reader.required("services", &right, |f| services(f, name, clock, &mut addresses));
        Some(Target { zone: zone?, clock: clock?, services: services? })
    })
}

/// A reference to something named elsewhere in the file; not checked where that place could not be read at all.
fn one_known<K, V>(field: &Field<'_, '_>, noun: &str, known: Option<&BTreeMap<K, V>>) -> Option<K>
where
    K: FromStr<Err: Display> + Display + Ord,
{
    let name: K = field.parsed()?;
    let Some(known) = known.filter(|known| !known.contains_key(&name)) else { return Some(name) };
    let names: Vec<_> = known.keys().map(K::to_string).collect();
    let right = match closest(&name.to_string(), names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write [{noun}s.{name}], or name one that is there"),
    };
    field.wrong(format!("there is no {noun} \"{name}\""), right)
}

fn services(
    field: &Field<'_, '_>,
    target: &TargetName,
    clock: Option<TargetClock>,
    addresses: &mut BTreeMap<Address, TargetName>,
) -> Option<BTreeMap<ServiceName, Service>> {
    let services = field.named(Kind::SERVICE, |_, reader| service(reader, target, clock, addresses))?;
    if services.is_empty() {
        return field.wrong("no service", format!("write [targets.{target}.services.ssh] with protocol and address"));
    }
    all(services)
}

fn service(
    reader: &mut Reader<'_, '_>,
    target: &TargetName,
    clock: Option<TargetClock>,
    addresses: &mut BTreeMap<Address, TargetName>,
) -> Option<Service> {
    let protocol =
        reader.required("protocol", "write for example \"ssh\"", |f| f.one_of(&built_protocols(f.not_built())));
    let address = reader
        .required("address", "write host and port, for example \"10.20.2.11:22\"", |f| address(f, target, addresses));
    let user = reader.optional("user", user);
    let credential = reader.optional("credential", |f| credential(f, protocol, clock));
    let credential_age_max = credential_age_max(reader);
    let host_key = reader.optional("host_key", Field::parsed::<HostKeyPin>);
    let prompts = prompts(reader);
    let legacy = reader.or("legacy", false, Field::flag);
    let gate = reader.optional("gate", |f| gate(f, protocol));
    let connections_max = reader.or("connections_max", Service::CONNECTIONS_MAX, |f| f.number(1..=SOCKETS_MAX));
    let requests_per_second =
        reader.optional("requests_per_second", |f| f.number(1..=REQUESTS_MAX).and_then(NonZeroU32::new));
    let functions = reader.or("functions", BTreeMap::new(), functions);
    let blocked = reader.or("blocked", Vec::new(), |f| f.filled_list("leave it out", Field::parsed));
    note_useless(reader, protocol?);
    note_ageless(reader, protocol?, credential.as_ref());
    if protocol? == Protocol::Ssh {
        note_lacking_of_ssh(reader);
    }
    if gate.flatten() == Some(Gate::Decode) && reader.has("blocked") {
        reader.note_at("blocked", "changes nothing while the gate only decodes", "let it enforce, or leave this out");
    }
    if protocol == Some(Protocol::Telnet) {
        note_unanswered_prompts(reader);
    }
    Some(Service {
        protocol: protocol?,
        address: address?,
        user: user?,
        credential: credential?,
        credential_age_max: credential_age_max?,
        host_key: host_key?,
        prompts: prompts?,
        legacy: legacy?,
        gate: gate?.or(protocol?.gate()).unwrap_or(Gate::Enforce),
        connections_max: connections_max?,
        requests_per_second: requests_per_second?,
        modbus: modbus::Profile { functions: functions?, blocked: blocked? },
    })
}

fn prompts(reader: &mut Reader<'_, '_>) -> Option<Prompts> {
    let login = reader.optional("login_prompt", Field::parsed::<Prompt>);
    let password = reader.optional("password_prompt", Field::parsed::<Prompt>);
    let usual = Prompts::default();
    Some(Prompts { login: login?.unwrap_or(usual.login), password: password?.unwrap_or(usual.password) })
}

/// What nothing is answered to need not be known.
fn note_unanswered_prompts(reader: &Reader<'_, '_>) {
    for (prompt, answer) in [("login_prompt", "user"), ("password_prompt", "credential")] {
        if reader.has(prompt) && !reader.has(answer) {
            reader.note_at(
                prompt,
                format!("changes nothing without {answer}"),
                format!("write {answer}, or leave it out"),
            );
        }
    }
}

/// Which of the two a gate may do depends on what it knows.
fn gate(field: &Field<'_, '_>, protocol: Option<Protocol>) -> Option<Gate> {
    let gate = field.one_of(&[("enforce", Gate::Enforce), ("decode", Gate::Decode)])?;
    match protocol {
        Some(Protocol::Vnc) if gate == Gate::Decode => {
            field.wrong("the gate of vnc only enforces", "leave it out: it ends the connection on both sides")
        }
        Some(Protocol::Cip) if gate == Gate::Enforce => field
            .wrong("the gate of cip only decodes", "leave it out, and give `tunnel` to whom you trust with all of it"),
        _ => Some(gate),
    }
}

/// What plants say of Modbus functions otherwise: of ours, and of those that are their device's own.
fn functions(field: &Field<'_, '_>) -> Option<BTreeMap<modbus::Code, Action>> {
    const CLASSES: [Action; 5] = [Action::Observe, Action::Upload, Action::Operate, Action::Program, Action::Control];
    let classes = CLASSES.map(|action| (action.as_str(), action));
    let right = "write what functions count as, for example { \"20\" = \"observe\" }";
    all(field.entries(right, |_, action| action.one_of(&classes))?)
}

fn built_protocols(not_built: &[NotBuilt]) -> Vec<(&'static str, Protocol)> {
    let is_row = |row: &NotBuilt, word| (row.kind, row.key, row.value) == (Kind::SERVICE, "protocol", Some(word));
    let all = Protocol::ALL.into_iter().map(|protocol| (protocol.as_str(), protocol));
    all.filter(|(word, _)| !not_built.iter().any(|row| is_row(row, *word))).collect()
}

/// An action that no built protocol knows would be granted to nobody, whatever the rule says.
fn action(field: &Field<'_, '_>) -> Option<Action> {
    let built = built_actions(field.not_built());
    let not_built = |action: &Action| !built.iter().any(|(_, known)| known == action);
    if let Some(action) = field.text()?.parse().ok().filter(not_built) {
        return field.wrong(format!("{action} is not built yet"), "leave it out");
    }
    field.one_of(&built)
}

fn built_actions(not_built: &[NotBuilt]) -> Vec<(&'static str, Action)> {
    let protocols = built_protocols(not_built).into_iter();
    let known: BTreeSet<_> = protocols.flat_map(|(_, protocol)| protocol.actions()).collect();
    known.into_iter().map(|action| (action.as_str(), *action)).collect()
}

/// Two targets at one address would be one machine under two sets of rules; `never` could be walked around.
fn address(
    field: &Field<'_, '_>,
    target: &TargetName,
    addresses: &mut BTreeMap<Address, TargetName>,
) -> Option<Address> {
    let address: Address = field.parsed()?;
    match addresses.insert(address.clone(), target.clone()) {
        Some(other) if other != *target => {
            let right = "give each machine one target, with several services if need be";
            field.wrong(format!("{address} is also an address of target {other}"), right)
        }
        _ => Some(address),
    }
}

/// An account's name goes out as it stands, so it holds nothing that could end it early.
fn user(field: &Field<'_, '_>) -> Option<String> {
    let user = field.plain_text(USER_CHARS_MAX, &[])?;
    if user.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(user);
    }
    field.wrong(format!("{} is no account's name", shown(&user)), "write it in ASCII, without spaces")
}

fn credential(field: &Field<'_, '_>, protocol: Option<Protocol>, clock: Option<TargetClock>) -> Option<Credential> {
    if field.text()? != "certificate" {
        return field.parsed().map(Credential::Sealed);
    }
    if let Some(protocol @ (Protocol::Vnc | Protocol::Telnet)) = protocol {
        let what = format!("no certificate opens {protocol}");
        return field.wrong(what, "name a password set with `holdpoint secret set`");
    }
    if clock == Some(TargetClock::Unknown) {
        let right = "name a secret set with `holdpoint secret set`, or correct the target's clock";
        return field.wrong("a certificate lives for minutes, and this target's clock is \"unknown\"", right);
    }
    Some(Credential::Certificate)
}

/// A certificate is made anew for each connection.
fn note_ageless(reader: &Reader<'_, '_>, protocol: Protocol, credential: Option<&Option<Credential>>) {
    let is_injected = matches!(protocol, Protocol::Ssh | Protocol::Telnet | Protocol::Vnc);
    let what = match credential {
        Some(Some(Credential::Certificate)) => "changes nothing beside a certificate, which is made anew each time",
        Some(None) if is_injected => "changes nothing without credential",
        _ => return,
    };
    if reader.has("credential_age_max") {
        reader.note_at("credential_age_max", what, "name a secret as credential, or leave it out");
    }
}

fn note_lacking_of_ssh(reader: &Reader<'_, '_>) {
    for (key, right) in [
        ("user", "write the account to use on the target"),
        ("credential", "write \"certificate\", or the name of a secret set with `holdpoint secret set`"),
        ("host_key", "write SHA256:… as `ssh-keygen -lf` prints it on the target"),
    ] {
        if !reader.has(key) {
            reader.note_missing(key, right);
        }
    }
}

/// The keys that change something for some protocols alone.
const MEANT_FOR: [(&str, &[Protocol]); 12] = {
    use Protocol::{Cip, Modbus, S7, Ssh, Tcp, Telnet, Vnc};
    [
        ("user", &[Ssh, Telnet]),
        ("credential", &[Ssh, Telnet, Vnc]),
        ("credential_age_max", &[Ssh, Telnet, Vnc]),
        ("host_key", &[Ssh]),
        ("legacy", &[Ssh]),
        ("login_prompt", &[Telnet]),
        ("password_prompt", &[Telnet]),
        ("gate", &[Modbus, S7, Vnc, Cip]),
        ("connections_max", &[Tcp, Modbus, S7, Vnc, Cip, Telnet]),
        ("requests_per_second", &[Modbus, S7, Cip]),
        ("functions", &[Modbus]),
        ("blocked", &[Modbus]),
    ]
};

fn note_useless(reader: &Reader<'_, '_>, protocol: Protocol) {
    for (key, protocols) in MEANT_FOR {
        if reader.has(key) && !protocols.contains(&protocol) {
            reader.note_at(key, format!("changes nothing for {protocol}"), "leave it out");
        }
    }
}

/// What rules can refer to. `None` where it could not be read.
struct Known<'a> {
    zones: Option<&'a Zones>,
    targets: Option<&'a Targets>,
    /// Within what time work is accepted after a change, where shifts change at all.
    accept_within: Option<Option<Seconds>>,
}

fn rules(field: &Field<'_, '_>, known: &Known<'_>) -> Option<Vec<Rule>> {
    let mut ids = BTreeSet::new();
    field.list(|entry| {
        let path = match entry.peek("id").filter(|id| id.parse::<RuleId>().is_ok()) {
            Some(id) => format!("rules[{id}]"),
            None => entry.path.clone(),
        };
        entry.called(path).table(Kind::RULE, |reader| rule(reader, known, &mut ids))
    })
}

fn rule(reader: &mut Reader<'_, '_>, known: &Known<'_>, ids: &mut BTreeSet<RuleId>) -> Option<Rule> {
    let id = reader.required("id", "give the rule a name of its own", |f| unique_id(f, ids));
    let vendors = reader.required("vendors", "write whose technicians may ask, for example [\"acme\"]", |f| {
        f.filled_set("name at least one vendor", Field::parsed)
    });
    let roles = reader.required("roles", "write in which roles, for example [\"maintenance\"]", |f| {
        f.filled_set("name at least one role", Field::parsed)
    });
    let reach = reach(reader, known);
    let actions = reader.required("actions", "write what may be asked for, for example [\"shell\"]", |f| {
        f.filled_set("name at least one action", action)
    });
    let hours = reader.optional("hours", Field::parsed);
    let from = reader.or("from", Rule::everywhere(), networks);
    let duration_max =
        reader.required("duration_max", "write how long a grant lasts at most, for example \"4h\"", |f| {
            f.duration(SECOND..=Rule::DURATION_LIMIT)
        });
    let connections = reader.or("connections", Rule::CONNECTIONS, |f| f.number(1..=CONNECTIONS_MAX));
    let factor_lasts = reader.or("factor_lasts", Rule::FACTOR_LASTS, |f| f.duration(Seconds(0)..=DAY));
    let approvals = reader.required("approvals", "write for example [{ from = \"shift-lead\", count = 1 }]", quorums);
    let weaker = reader.or("weaker", BTreeSet::new(), |f| f.set(weaker));
    let tell = reader.optional("tell", |f| f.filled_list("leave it out, or name a group", tell));
    let work_order = reader.or("work_order", WorkOrder::default(), work_order);
    let exclusive = reader.or("exclusive", Exclusive::default(), |f| {
        f.one_of(&[("target", Exclusive::Target), ("zone", Exclusive::Zone), ("none", Exclusive::None)])
    });
    let escort = reader.or("escort", Escort::default(), |f| {
        f.one_of(&[("none", Escort::None), ("watch", Escort::Watch), ("required", Escort::Required)])
    });
    let escort_tap =
        reader.or("escort_tap", Rule::ESCORT_TAP, |f| f.duration(Rule::ESCORT_TAP_LEAST..=Rule::ESCORT_TAP_LIMIT));
    let idle = reader.or("idle", Rule::IDLE, |f| f.duration(SECOND..=DAY));
    let idle_ending = reader.or("idle_ending", IdleEnding::default(), |f| {
        f.one_of(&[("lock", IdleEnding::Lock), ("end", IdleEnding::End)])
    });
    let ending = ending(reader);
    let hold_max = reader.or("hold_max", Rule::HOLD_MAX, |f| f.duration(Seconds(0)..=HOUR));
    let unaccepted = unaccepted(reader, known);
    let emergency = reader.or("emergency", false, Field::flag);
    let guest_max = reader.optional("guest_max", |f| f.duration(SECOND..=Rule::GUEST_LIMIT));
    let attested = reader.optional("attested", |f| f.duration(SECOND..=Rule::ATTESTED_LIMIT));
    let close_out = close_out(reader);
    let review = review(reader);
    let staleness = reader.or("staleness", Rule::STALENESS, |f| f.duration(SECOND..=DAY));
    let staleness_ending = reader.or("staleness_ending", StalenessEnding::default(), |f| {
        f.one_of(&[("end", StalenessEnding::End), ("keep", StalenessEnding::Keep)])
    });
    let retention = reader.or("retention", Rule::RETENTION, |f| f.duration(SECOND..=Rule::RETENTION_LIMIT));
    let retention_max = reader.optional("retention_max", |f| f.duration(SECOND..=Rule::RETENTION_LIMIT));
    let file_check = file_check(reader, actions.as_ref());

    note_reaching_nothing(reader, known, reach.as_ref(), actions.as_ref());
    note_never_escorted(reader, escort);
    note_guests_let_in_easily(reader, escort, weaker.as_ref());
    note_never_idle(reader, idle, duration_max);
    note_idle_while_checked(reader, idle, file_check.as_ref());
    note_removed_too_early(reader, retention, retention_max);
    note_erased_before_review(reader, retention, review);
    let approvals = approvals?;
    Some(Rule {
        id: id?,
        vendors: vendors?,
        roles: roles?,
        reach: reach?,
        actions: actions?,
        hours: hours?,
        from: from?,
        duration_max: duration_max?,
        connections: connections?,
        factor_lasts: factor_lasts?,
        tell: tell?.unwrap_or_else(|| tell_at_once(&approvals)),
        approvals,
        weaker: weaker?,
        work_order: work_order?,
        exclusive: exclusive?,
        escort: escort?,
        escort_tap: escort_tap?,
        idle: idle?,
        idle_ending: idle_ending?,
        ending: ending?,
        hold_max: hold_max?,
        unaccepted: unaccepted?,
        emergency: emergency?,
        guest_max: guest_max?,
        attested: attested?,
        close_out: close_out?,
        review: review?,
        staleness: staleness?,
        staleness_ending: staleness_ending?,
        retention: retention?,
        retention_max: retention_max?,
        file_check: file_check?,
    })
}

fn weaker(field: &Field<'_, '_>) -> Option<Weaker> {
    field.one_of(&[("totp", Weaker::Totp), ("telephone", Weaker::Telephone)])
}

fn unique_id(field: &Field<'_, '_>, ids: &mut BTreeSet<RuleId>) -> Option<RuleId> {
    let id: RuleId = field.parsed()?;
    if ids.insert(id.clone()) {
        return Some(id);
    }
    field.wrong(format!("another rule is called {id}"), "give each rule a name of its own")
}

fn reach(reader: &mut Reader<'_, '_>, known: &Known<'_>) -> Option<Reach> {
    let zones =
        reader.optional("zones", |f| f.filled_set("name at least one zone", |f| one_known(f, "zone", known.zones)));
    let targets = reader
        .optional("targets", |f| f.filled_set("name at least one target", |f| one_known(f, "target", known.targets)));
    match (reader.has("zones"), reader.has("targets")) {
        (true, true) => reader.note_at("targets", "zones and targets stand together", "keep one of the two"),
        (false, false) => reader.note_missing("zones", "write zones = [...] or targets = [...]"),
        _ => {}
    }
    match (zones?, targets?) {
        (Some(zones), None) => Some(Reach::Zones(zones)),
        (None, Some(targets)) => Some(Reach::Targets(targets)),
        _ => None,
    }
}

fn networks(field: &Field<'_, '_>) -> Option<Vec<IpNet>> {
    field.filled_list("leave it out: then from everywhere", |entry| {
        let text = entry.text()?;
        let Ok(network) = text.parse::<IpNet>() else {
            let right = match text.parse::<std::net::IpAddr>() {
                Ok(address) => format!("write \"{}\" for this one address", IpNet::from(address)),
                Err(_) => "write address and prefix, for example \"203.0.113.0/24\"".to_owned(),
            };
            return entry.wrong(format!("{} is no network", shown(text)), right);
        };
        if network != network.trunc() {
            let right = format!("did you mean \"{}\"?", network.trunc());
            return entry.wrong(format!("{network} has bits beyond its prefix"), right);
        }
        Some(network)
    })
}

fn tell(entry: &Field<'_, '_>) -> Option<Tell> {
    entry.table(Kind::TELL, |reader| {
        let after =
            reader.required("after", "write for example \"10m\"; \"0m\" is at once", |f| f.duration(Seconds(0)..=DAY));
        let group = reader.required("group", "name a group of operators", Field::parsed);
        Some(Tell { after: after?, group: group? })
    })
}

fn tell_at_once(approvals: &[Quorum]) -> Vec<Tell> {
    approvals.iter().map(|quorum| Tell { after: Seconds(0), group: quorum.from.clone() }).collect()
}

fn work_order(field: &Field<'_, '_>) -> Option<WorkOrder> {
    let right = "write \"required\", \"optional\" or for example \"WO-[0-9]{6}\"";
    match field.text()?.parse::<WorkOrder>() {
        Ok(work_order) => Some(work_order),
        Err(error) => field.wrong(error.to_string(), right),
    }
}

fn ending(reader: &mut Reader<'_, '_>) -> Option<DeadlineEnding> {
    let ending = reader.or("ending", DeadlineEnding::default(), |f| {
        f.one_of(&[("cut", DeadlineEnding::Cut), ("freeze", DeadlineEnding::Freeze { max: Rule::FREEZE_MAX })])
    });
    let max = reader.optional("freeze_max", |f| f.duration(SECOND..=DAY));
    match (ending?, max?) {
        (DeadlineEnding::Freeze { .. }, Some(max)) => Some(DeadlineEnding::Freeze { max }),
        (DeadlineEnding::Cut, Some(_)) => {
            reader.note_at(
                "freeze_max",
                "changes nothing while ending is \"cut\"",
                "write ending = \"freeze\", or leave it out",
            );
            None
        }
        (ending, None) => Some(ending),
    }
}

/// What becomes of work that nobody accepts when the shift changes. It is red before that.
fn unaccepted(reader: &mut Reader<'_, '_>, known: &Known<'_>) -> Option<Unaccepted> {
    let then = reader.or("unaccepted", Then::default(), |f| f.one_of(&[("freeze", Then::Freeze), ("end", Then::End)]));
    let after = reader.or("unaccepted_after", Unaccepted::AFTER, |f| f.duration(SECOND..=DAY));
    match (known.accept_within, after) {
        (Some(None), _) => {
            for key in ["unaccepted", "unaccepted_after"].into_iter().filter(|key| reader.has(key)) {
                reader.note_at(key, NOBODY_TAKES_OVER, TO_TAKE_OVER);
            }
        }
        (Some(Some(red)), Some(after)) if after < red && reader.has("unaccepted_after") => {
            let what = format!("shorter than accept_within, {red}: nobody would see it red first");
            reader.note_at("unaccepted_after", what, "make it at least as long");
        }
        _ => {}
    }
    Some(Unaccepted { then: then?, after: after? })
}

/// Whether what was done is signed off, and within what time.
fn close_out(reader: &mut Reader<'_, '_>) -> Option<Option<Seconds>> {
    let wanted = reader.or("close_out", false, |f| f.one_of(&[("required", true), ("none", false)]));
    let within = reader.or("close_out_within", Rule::CLOSE_OUT_WITHIN, |f| f.duration(SECOND..=Rule::CLOSE_OUT_LIMIT));
    if wanted == Some(false) && reader.has("close_out_within") {
        reader.note_at(
            "close_out_within",
            "changes nothing without close_out = \"required\"",
            "leave it out, or demand a close-out",
        );
    }
    Some(wanted?.then_some(within?))
}

/// How many sessions are reviewed.
fn review(reader: &mut Reader<'_, '_>) -> Option<Option<Sample>> {
    let percent: Option<Option<u8>> = reader.optional("review_percent", |f| f.number(1..=100));
    let within = reader.or("review_within", Sample::WITHIN, |f| f.duration(SECOND..=Sample::WITHIN_LIMIT));
    if !reader.has("review_percent") && reader.has("review_within") {
        let right = "leave it out, or write for example review_percent = 10";
        reader.note_at("review_within", "changes nothing without review_percent", right);
    }
    let within = within?;
    Some(percent?.map(|percent| Sample { percent, within }))
}

/// What checks uploads. Beside an action that carries bytes nobody reads, or without uploads, it would be relied on in vain.
fn file_check(reader: &mut Reader<'_, '_>, actions: Option<&Actions>) -> Option<Option<FileCheck>> {
    let command = reader.optional("file_check", |field| {
        field.filled_list("name the program by its absolute path, or leave it out", |entry| {
            entry.plain_text(ARGUMENT_CHARS_MAX, &[]).filter(|word| is_known_argument(entry, word))
        })
    });
    let max = reader.optional("file_check_max", |f| f.duration(SECOND..=FileCheck::MAX_LIMIT));
    if !reader.has("file_check") {
        if reader.has("file_check_max") {
            reader.note_at(
                "file_check_max",
                "changes nothing without file_check",
                "name a file_check, or leave it out",
            );
        }
        return max.map(|_| None);
    }
    note_checking_in_vain(reader, actions);
    let command = command?.unwrap_or_default();
    if !command.first().is_some_and(|program| program.starts_with('/')) {
        let what = "the program is not named by its absolute path";
        reader.note_at(
            "file_check",
            what,
            "write for example \"/usr/bin/clamdscan\": no search path and no shell is used",
        );
    }
    Some(Some(FileCheck { command, max: max?.unwrap_or(FileCheck::MAX) }))
}

/// A placeholder that is not filled in would be given to the program as it stands, which then looks at no file.
fn is_known_argument(entry: &Field<'_, '_>, word: &str) -> bool {
    let rest = word.replace(FileCheck::FILE, "");
    let unknown = rest.contains(['{', '}']);
    if unknown {
        let right = format!("write {}, which is all that is filled in", FileCheck::FILE);
        entry.wrong::<()>(format!("{} has braces that stand for nothing", shown(word)), right);
    }
    !unknown
}

fn note_checking_in_vain(reader: &Reader<'_, '_>, actions: Option<&Actions>) {
    let Some(actions) = actions else { return };
    for action in [Action::Shell, Action::Tunnel] {
        if actions.contains(&action) {
            let what = format!("limits nothing beside {action}, which carries files that nobody looks at");
            let right = format!("leave {action} out of this rule, or leave the check out");
            reader.note_at("file_check", what, right);
        }
    }
    if !actions.contains(&Action::FilePut) {
        reader.note_at("file_check", "changes nothing without file-put", "leave it out, or allow file-put");
    }
}

/// A rule under which nothing can ever be asked for is a slip. Silent where some target could not be read.
fn note_reaching_nothing(reader: &Reader<'_, '_>, known: &Known<'_>, reach: Option<&Reach>, actions: Option<&Actions>) {
    let (Some(targets), Some(reach)) = (known.targets, reach) else { return };
    let Some(targets) = targets.iter().map(|(name, target)| Some((name, target.as_ref()?))).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let reached: Vec<_> = targets.into_iter().filter(|(name, target)| reach.contains(name, &target.zone)).collect();
    if reached.is_empty() {
        return reader.note_at("zones", "reaches nothing: no target stands there", "name a zone with a target in it");
    }
    let services = reached.iter().flat_map(|(_, target)| target.services.values());
    let offered: BTreeSet<_> = services.map(|service| (service.protocol, service.actions())).collect();
    let Some(actions) = actions else { return };
    if !offered.iter().any(|(_, known)| known.iter().any(|action| actions.contains(action))) {
        let offers = |(protocol, known): &(Protocol, &[Action])| format!("{protocol} knows {}", listed(known));
        let right = offered.iter().map(offers).collect::<Vec<_>>().join("; ");
        reader.note_at("actions", "reaches nothing: no service there knows any of these", right);
    }
}

fn listed(actions: &[Action]) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

/// A maximum below the minimum would be a promise broken either way.
fn note_removed_too_early(reader: &Reader<'_, '_>, least: Option<Seconds>, most: Option<Option<Seconds>>) {
    let (Some(least), Some(Some(most))) = (least, most) else { return };
    if most < least {
        let what = format!("shorter than retention, {least}: what must be kept would be removed");
        reader.note_at(
            "retention_max",
            what,
            "make it at least as long, or leave it out: then nothing is removed by itself",
        );
    }
}

/// Whoever reviews a session plays its recording.
fn note_erased_before_review(reader: &Reader<'_, '_>, least: Option<Seconds>, sample: Option<Option<Sample>>) {
    let (Some(least), Some(Some(sample))) = (least, sample) else { return };
    if least < sample.within {
        let what = format!(
            "retention, {least}, is shorter than review_within, {}: nothing may be left to review",
            sample.within
        );
        reader.note_at("review_percent", what, "keep recordings for longer, or write a shorter review_within");
    }
}

/// Nothing comes from whoever waits for a check, so their session would end before its verdict.
fn note_idle_while_checked(reader: &Reader<'_, '_>, idle: Option<Seconds>, check: Option<&Option<FileCheck>>) {
    let (Some(idle), Some(Some(check))) = (idle, check) else { return };
    if check.max >= idle {
        let what = format!("it may take {}, and idle, {idle}, would end the session first", check.max);
        reader.note_at("file_check", what, "shorten file_check_max, or lengthen idle");
    }
}

/// A guest whom one operator invites is never alone, and comes by nothing but signatures.
fn note_guests_let_in_easily(reader: &Reader<'_, '_>, escort: Option<Escort>, weaker: Option<&BTreeSet<Weaker>>) {
    if !reader.has("guest_max") {
        return;
    }
    if escort.is_some_and(|escort| escort != Escort::Required) {
        let what = "a guest is never alone, and this rule demands no escort";
        reader.note_at("guest_max", what, "write escort = \"required\", or leave it out");
    }
    if weaker.is_some_and(|ways| !ways.is_empty()) {
        let what = "a guest is let in by signatures alone, and weaker lets operators answer without";
        reader.note_at("guest_max", what, "leave weaker out of this rule, or give guests one of their own");
    }
}

fn note_never_escorted(reader: &Reader<'_, '_>, escort: Option<Escort>) {
    if reader.has("escort_tap") && escort.is_some_and(|escort| escort != Escort::Required) {
        reader.note_at(
            "escort_tap",
            "changes nothing without escort = \"required\"",
            "leave it out, or demand an escort",
        );
    }
}

/// Written, but longer than any session: then idleness would never end one.
fn note_never_idle(reader: &Reader<'_, '_>, idle: Option<Seconds>, duration_max: Option<Seconds>) {
    let (Some(idle), Some(duration_max)) = (idle, duration_max) else { return };
    if reader.has("idle") && idle > duration_max {
        reader.note_at(
            "idle",
            format!("longer than duration_max, {duration_max}, so nobody is ever idle"),
            "shorten it",
        );
    }
}
