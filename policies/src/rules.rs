//! Which rule decides: whether this technician may ask for these actions, there, then. Whether anybody approves, and
//! whether a contract still runs, is decided elsewhere; rules only allow, and `never` only forbids and wins.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::actions::{Action, Actions};
use crate::ids::{RoleName, RuleId, ServiceName, TargetName, VendorId, ZoneName};
use crate::plant::{Plant, Protocol, Rule, Service, Target};

/// As whom a technician asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The technician's company.
    pub vendor: &'a VendorId,
    /// The technician's role in its contract.
    pub role: &'a RoleName,
}

/// What is asked of the rules.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// By whom.
    pub asker: Asker<'a>,
    /// Where.
    pub target: &'a TargetName,
    /// Through which of its services; may be left out where there is one.
    pub service: Option<&'a ServiceName>,
    /// For what; all of it must be allowed.
    pub actions: &'a Actions,
    /// When.
    pub at: Timestamp,
    /// From where; not judged where it is not known yet.
    pub source: Option<IpAddr>,
    /// Whether as an emergency, which a rule must provide for.
    pub emergency: bool,
}

/// Why nothing allows it. Each says a reason fit for a technician, and rules for other vendors are not named in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NotAllowed {
    /// Nothing has this name.
    #[error("there is no target {target}. Check the name, or ask your sponsor at the plant")]
    NoSuchTarget {
        /// As asked.
        target: TargetName,
    },
    /// The target has no such service.
    #[error("{target} has no service {service}. It has {}", listed(choices))]
    NoSuchService {
        /// As asked.
        target: TargetName,
        /// As asked.
        service: ServiceName,
        /// What it has.
        choices: Vec<ServiceName>,
    },
    /// The target has several services and none was named.
    #[error("{target} has several services. Name one of {}", listed(choices))]
    ServiceNeeded {
        /// As asked.
        target: TargetName,
        /// What it has.
        choices: Vec<ServiceName>,
    },
    /// The target stands where nobody may go.
    #[error("{target} stands in zone {zone}, which nobody reaches from outside, whatever the rules say")]
    Never {
        /// As asked.
        target: TargetName,
        /// Its zone.
        zone: ZoneName,
    },
    /// No action was named, and a grant of nothing would be a grant.
    #[error("nothing was asked for. Name at least one action")]
    NoActions,
    /// The service's protocol does not know some of the actions.
    #[error("{target} speaks {protocol}, where there is no {}. Ask for {}", listed(unknown), listed(known))]
    NotSpoken {
        /// As asked.
        target: TargetName,
        /// What the service speaks.
        protocol: Protocol,
        /// Of the asked ones.
        unknown: Vec<Action>,
        /// What there is.
        known: Vec<Action>,
    },
    /// No rule allows all of it.
    #[error("{}", no_rule(nearest.as_ref()))]
    NoRule {
        /// The one that lacks least; `None` where the plant has no rules.
        nearest: Option<Nearest>,
    },
}

impl NotAllowed {
    /// The stable id, for events.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::NoSuchTarget { .. } => "no-such-target",
            Self::NoSuchService { .. } => "no-such-service",
            Self::ServiceNeeded { .. } => "service-needed",
            Self::Never { .. } => "zone-never",
            Self::NoActions => "no-actions",
            Self::NotSpoken { .. } => "not-spoken",
            Self::NoRule { .. } => "no-rule",
        }
    }

    /// The nearest rule, if it is one for this vendor: others are none of a technician's business.
    pub fn nearest(&self) -> Option<&Nearest> {
        let Self::NoRule { nearest } = self else { return None };
        nearest.as_ref().filter(|nearest| nearest.is_for_vendor())
    }

    /// Of what the nearest rule allows something else. Where that is for another vendor, nothing else matters.
    pub fn lacks(&self) -> BTreeSet<Lacking> {
        match (self.nearest(), self) {
            (Some(nearest), _) => nearest.lacks.iter().map(Lack::word).collect(),
            (None, Self::NoRule { nearest: Some(_) }) => BTreeSet::from([Lacking::Vendor]),
            (None, _) => BTreeSet::new(),
        }
    }
}

/// The rule that came nearest to allowing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nearest {
    /// Which.
    pub rule: RuleId,
    /// What of the question it does not allow; never empty.
    pub lacks: Vec<Lack>,
}

impl Nearest {
    /// Whether it is one for the vendor who asks.
    fn is_for_vendor(&self) -> bool {
        self.lacks.iter().all(|lack| lack.word() != Lacking::Vendor)
    }
}

/// One thing a rule does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// It is not for this vendor.
    Vendor(VendorId),
    /// It is not for this role.
    Role(RoleName),
    /// It does not reach this target.
    Target(TargetName),
    /// It does not allow these of the actions.
    Actions(Actions),
    /// It does not hold at that time.
    Hours {
        /// When it next does; `None` only at the end of time.
        opens: Option<Opening>,
    },
    /// It does not hold from that address.
    Source {
        /// From where it was asked.
        source: IpAddr,
        /// From where it may be.
        from: Vec<IpNet>,
    },
    /// It provides for no emergency.
    Emergency,
}

/// Of what a rule allows something else, in a word that stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lacking {
    /// [`Lack::Vendor`].
    Vendor,
    /// [`Lack::Role`].
    Role,
    /// [`Lack::Target`].
    Target,
    /// [`Lack::Actions`].
    Actions,
    /// [`Lack::Hours`].
    Hours,
    /// [`Lack::Source`].
    Source,
    /// [`Lack::Emergency`].
    Emergency,
}

impl Lacking {
    /// For people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Vendor => "for another vendor",
            Self::Role => "for another role",
            Self::Target => "for other targets",
            Self::Actions => "for other actions",
            Self::Hours => "for other hours",
            Self::Source => "from other networks",
            Self::Emergency => "for no emergency",
        }
    }
}

/// When a rule's hours open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The moment.
    pub at: Timestamp,
    /// As the clock on the plant's wall shows it.
    pub local: DateTime,
    /// Its zone then, such as `CET`.
    pub zone: String,
}

/// The first rule in file order that allows all of it.
///
/// # Errors
/// Why none does; `never` before all else that concerns the target.
pub fn deciding_rule<'p>(plant: &'p Plant, question: &Question<'_>) -> Result<&'p Rule, NotAllowed> {
    deciding_rule_among(plant, question, |_| true)
}

/// The same among some of the rules, for whom no other counts.
pub(crate) fn deciding_rule_among<'p>(
    plant: &'p Plant,
    question: &Question<'_>,
    counts: impl Fn(&Rule) -> bool,
) -> Result<&'p Rule, NotAllowed> {
    let target = plant.target(question.target)?;
    // A zone that cannot be found forbids.
    if plant.zones.get(&target.zone).is_none_or(|zone| zone.never) {
        return Err(NotAllowed::Never { target: question.target.clone(), zone: target.zone.clone() });
    }
    let (_, service) = plant.service(question.target, question.service)?;
    check_actions(service, question)?;
    let allows = |rule: &&Rule| lacks(rule, &plant.timezone, target, question).is_empty();
    let mut among = plant.rules.iter().filter(|rule| counts(rule));
    among.find(allows).ok_or_else(|| NotAllowed::NoRule { nearest: nearest(plant, target, question, counts) })
}

impl Plant {
    fn target(&self, name: &TargetName) -> Result<&Target, NotAllowed> {
        self.targets.get(name).ok_or_else(|| NotAllowed::NoSuchTarget { target: name.clone() })
    }

    /// The service of a target that is meant: the named one, or the only one.
    ///
    /// # Errors
    /// There is none, or several and none was named.
    pub fn service(
        &self,
        target: &TargetName,
        service: Option<&ServiceName>,
    ) -> Result<(&ServiceName, &Service), NotAllowed> {
        let services = &self.target(target)?.services;
        let choices = || services.keys().cloned().collect();
        let mut all = services.iter();
        match (service, all.next(), all.next()) {
            (Some(name), ..) => services.get_key_value(name).ok_or_else(|| NotAllowed::NoSuchService {
                target: target.clone(),
                service: name.clone(),
                choices: choices(),
            }),
            (None, Some(only), None) => Ok(only),
            (None, ..) => Err(NotAllowed::ServiceNeeded { target: target.clone(), choices: choices() }),
        }
    }
}

fn check_actions(service: &Service, question: &Question<'_>) -> Result<(), NotAllowed> {
    if question.actions.is_empty() {
        return Err(NotAllowed::NoActions);
    }
    let known = service.actions();
    let unknown: Vec<_> = question.actions.iter().copied().filter(|action| !known.contains(action)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let (target, protocol, known) = (question.target.clone(), service.protocol, known.to_vec());
    Err(NotAllowed::NotSpoken { target, protocol, unknown, known })
}

/// All that a rule lacks to allow this, in the order in which a person would look for it.
fn lacks(rule: &Rule, timezone: &TimeZone, target: &Target, question: &Question<'_>) -> Vec<Lack> {
    let Asker { vendor, role } = question.asker;
    let missing: Actions = question.actions.difference(&rule.actions).copied().collect();
    let closed = rule.hours.as_ref().filter(|hours| !hours.contains(question.at, timezone));
    let strange = question.source.filter(|source| !is_from(rule, *source));
    let opens = |at| Opening::new(at, timezone);
    [
        (!rule.vendors.contains(vendor)).then(|| Lack::Vendor(vendor.clone())),
        (!rule.roles.contains(role)).then(|| Lack::Role(role.clone())),
        (!rule.reach.contains(question.target, &target.zone)).then(|| Lack::Target(question.target.clone())),
        (!missing.is_empty()).then_some(Lack::Actions(missing)),
        closed.map(|hours| Lack::Hours { opens: hours.next_opening(question.at, timezone).map(opens) }),
        strange.map(|source| Lack::Source { source, from: rule.from.clone() }),
        (question.emergency && !rule.emergency).then_some(Lack::Emergency),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// When the first of some rules opens that has nothing but its hours against it.
pub(crate) fn first_opening_among(
    plant: &Plant,
    question: &Question<'_>,
    counts: impl Fn(&Rule) -> bool,
) -> Option<Opening> {
    let target = plant.target(question.target).ok()?;
    if plant.zones.get(&target.zone).is_none_or(|zone| zone.never) {
        return None;
    }
    let among = plant.rules.iter().filter(|rule| counts(rule));
    let openings = among.filter_map(|rule| match &lacks(rule, &plant.timezone, target, question)[..] {
        [Lack::Hours { opens }] => opens.clone(),
        _ => None,
    });
    openings.min_by_key(|opens| opens.at)
}

/// An IPv4 address that came in on an IPv6 socket is an IPv4 address.
fn is_from(rule: &Rule, source: IpAddr) -> bool {
    let source = source.to_canonical();
    rule.from.iter().any(|network| network.contains(&source))
}

fn nearest(plant: &Plant, target: &Target, question: &Question<'_>, counts: impl Fn(&Rule) -> bool) -> Option<Nearest> {
    plant
        .rules
        .iter()
        .filter(|rule| counts(rule))
        .map(|rule| Nearest { rule: rule.id.clone(), lacks: lacks(rule, &plant.timezone, target, question) })
        .min_by_key(|nearest| nearest.lacks.iter().map(Lack::weight).sum::<u32>())
}

impl Lack {
    const fn word(&self) -> Lacking {
        match self {
            Self::Vendor(_) => Lacking::Vendor,
            Self::Role(_) => Lacking::Role,
            Self::Target(_) => Lacking::Target,
            Self::Actions(_) => Lacking::Actions,
            Self::Hours { .. } => Lacking::Hours,
            Self::Source { .. } => Lacking::Source,
            Self::Emergency => Lacking::Emergency,
        }
    }

    /// A rule for somebody else is further away than one for another place, and that further than one for another
    /// time; each outweighs all that follow it together.
    fn weight(&self) -> u32 {
        match self {
            Self::Vendor(_) => 64,
            Self::Role(_) => 32,
            Self::Target(_) => 16,
            Self::Actions(_) => 8,
            Self::Emergency => 4,
            Self::Source { .. } => 2,
            Self::Hours { .. } => 1,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor(vendor) => write!(f, "vendor: it is not for {vendor}"),
            Self::Role(role) => write!(f, "role: it is not for {role}"),
            Self::Target(target) => write!(f, "target: it does not reach {target}"),
            Self::Actions(actions) => write!(f, "actions: it does not allow {}", listed(actions)),
            Self::Hours { opens: Some(opening) } => write!(f, "hours: opens {opening}"),
            Self::Hours { opens: None } => write!(f, "hours: never opens again"),
            Self::Source { source, from } => write!(f, "source: {source} is not in {}", listed(from)),
            Self::Emergency => write!(f, "emergency: it provides for none"),
        }
    }
}

impl Opening {
    pub(crate) fn new(at: Timestamp, timezone: &TimeZone) -> Self {
        let zone = at.to_zoned(timezone.clone()).strftime("%Z").to_string();
        Self { at, local: timezone.to_datetime(at), zone }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, zone, .. } = self;
        write!(f, "{} {zone} ({})", local.strftime("%a %H:%M"), local.strftime("%Y-%m-%d"))
    }
}

/// Names no rule that is for others: whom else a plant works with is not a technician's business.
fn no_rule(nearest: Option<&Nearest>) -> String {
    match nearest.filter(|nearest| nearest.is_for_vendor()) {
        Some(Nearest { rule, lacks }) => {
            let lacks: Vec<_> = lacks.iter().map(Lack::to_string).collect();
            format!("no rule allows this. The nearest is {rule}; {}", lacks.join("; "))
        }
        None => "no rule allows this. Ask your sponsor at the plant".to_owned(),
    }
}

pub(crate) fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
