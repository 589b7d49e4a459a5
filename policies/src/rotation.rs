//! The age of secrets that the gate opens accounts with, and which of them are to be set anew. When one was set is what the
//! journal says; how old it may get, the plant file in force. One that was set before the journal told of it is of no known age,
//! and no day is made up for it: it is overdue once it was surely set for too long ago. One that was forgotten is overdue at once:
//! it opens nothing, and forgetting ends no alarm.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::ids::{CredentialName, PersonId, ServiceName, TargetName};
use crate::plant::{Credential, Plant, Service};
use crate::rules::listed;
use crate::state::State;
use crate::time::{PlantTime, Seconds};

/// Who set a secret last, or had it forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFacts {
    /// Who.
    pub by: PersonId,
    /// When it was journaled.
    pub at: Timestamp,
    /// Set, and not forgotten.
    pub is_kept: bool,
}

/// A secret that services of a plant file name, and how old it may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation<'a> {
    /// Under which name it is kept.
    pub credential: &'a CredentialName,
    /// Where it opens an account.
    pub services: Vec<(&'a TargetName, &'a ServiceName)>,
    /// How old it may get: the least that one of them says. None where nobody demands anything.
    pub age_max: Option<Seconds>,
    /// What the journal says of it last. None: it was set before the journal told of such, or never.
    pub last: Option<SecretFacts>,
    /// Since when the journal would have told of it.
    told_since: Option<Timestamp>,
}

/// What is to be done about a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing for now.
    Nothing,
    /// It is to be set anew until then, which is soon.
    Soon(Timestamp),
    /// It was to be set anew until then: it is older than that, or was forgotten then.
    Overdue(Timestamp),
    /// Nobody knows when it was set, or whether.
    Unknown,
    /// It was forgotten, and services name it, of which none demands an age.
    Forgotten,
}

impl Need {
    /// Whether somebody is to set it.
    pub const fn is_any(self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Whether it should have been set by now.
    pub const fn is_overdue(self) -> bool {
        matches!(self, Self::Overdue(_))
    }

    /// The word for what should have been set by now.
    pub const OVERDUE: &'static str = "overdue";

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "right",
            Self::Soon(_) => "soon",
            Self::Overdue(_) => Self::OVERDUE,
            Self::Unknown => "unknown",
            Self::Forgotten => "forgotten",
        }
    }
}

/// So long before it is due people are reminded, and a quarter of a short age.
const SOON: Seconds = Seconds(7 * 86_400);

impl Rotation<'_> {
    /// Until when it is to be set anew, where that is demanded: one that was forgotten, from then on.
    pub fn due(&self) -> Option<Timestamp> {
        let age_max = self.age_max?;
        match self.last {
            Some(last) if !last.is_kept => Some(last.at),
            last => Some(age_max.after(last.map(|last| last.at).or(self.told_since)?)),
        }
    }

    /// Whether it was forgotten, and not set since.
    pub fn is_forgotten(&self) -> bool {
        self.last.is_some_and(|last| !last.is_kept)
    }

    /// What is to be done about it at `now`.
    pub fn need(&self, now: Timestamp) -> Need {
        let is_forgotten = self.is_forgotten();
        let Some(age_max) = self.age_max else {
            return if is_forgotten { Need::Forgotten } else { Need::Nothing };
        };
        let ahead = i64::from(SOON.0.min(age_max.0 / 4));
        match (self.last, self.due()) {
            (_, Some(due)) if is_forgotten || due <= now => Need::Overdue(due),
            (None, _) => Need::Unknown,
            (Some(_), Some(due)) if due.duration_since(now).as_secs() <= ahead => Need::Soon(due),
            (Some(_), _) => Need::Nothing,
        }
    }

    /// What is to be done about it at `now`, for people, who set it then; the same for as long as that is.
    pub fn in_words(&self, now: Timestamp, clock: impl Fn(Timestamp) -> PlantTime) -> String {
        let (name, set) = (self.credential, self.last.map(|last| clock(last.at)));
        let every = self.age_max.map(|age| format!(", and is to be set anew every {age}")).unwrap_or_default();
        let stands = match (self.need(now), set, self.told_since) {
            (Need::Nothing, Some(set), _) => return format!("the secret {name} was set {set}"),
            (Need::Nothing, None, _) => return format!("when the secret {name} was set is not known"),
            (Need::Soon(due), Some(set), _) => format!("was set {set}{every}: it is due {}", clock(due)),
            (Need::Overdue(_), Some(at), _) if self.is_forgotten() => {
                format!("was forgotten {at}, so it opens nothing{every}: OVERDUE")
            }
            (Need::Overdue(due), Some(set), _) => format!("was set {set}{every}: OVERDUE since {}", clock(due)),
            (Need::Overdue(due), None, Some(since)) => {
                format!("was not set since {} at least{every}: OVERDUE since {}", clock(since), clock(due))
            }
            (Need::Forgotten, Some(at), _) => format!("was forgotten {at}, so it opens nothing"),
            _ => format!("was set at an unknown time, or never{every}"),
        };
        format!("the secret {name} of {} {stands}. Set it anew: `holdpoint secret set {name}`", self.places())
    }

    /// Where it opens an account, in words.
    pub fn places(&self) -> String {
        listed(self.services.iter().map(|(target, service)| Place(target, service)))
    }
}

struct Place<'a>(&'a TargetName, &'a ServiceName);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.1)
    }
}

impl Plant {
    /// How old what opens the account of a service may get.
    fn credential_age_max(&self, service: &Service) -> Option<Seconds> {
        service.credential_age_max.or(self.credential_age_max)
    }

    /// Whether it says of any secret how old it may get.
    pub(crate) fn demands_rotation(&self) -> bool {
        let mut services = self.targets.values().flat_map(|target| target.services.values());
        self.credential_age_max.is_some() || services.any(|service| service.credential_age_max.is_some())
    }
}

impl State {
    pub(crate) fn apply_secret(&mut self, credential: &CredentialName, by: PersonId, is_kept: bool, at: Timestamp) {
        self.secrets_told_since.get_or_insert(at);
        self.secrets.insert(credential.clone(), SecretFacts { by, at, is_kept });
    }

    /// Every secret that services of a plant file name, by name.
    pub fn rotations<'a>(&'a self, plant: &'a Plant) -> Vec<Rotation<'a>> {
        let mut found = BTreeMap::<&CredentialName, Rotation<'a>>::new();
        let services = plant
            .targets
            .iter()
            .flat_map(|(target, of)| of.services.iter().map(move |(name, service)| ((target, name), service)));
        for (place, service) in services {
            let Some(Credential::Sealed(credential)) = &service.credential else { continue };
            let rotation = found.entry(credential).or_insert_with(|| Rotation {
                credential,
                services: Vec::new(),
                age_max: None,
                last: self.secrets.get(credential).copied(),
                told_since: self.secrets_told_since,
            });
            rotation.services.push(place);
            let demanded = [rotation.age_max, plant.credential_age_max(service)];
            rotation.age_max = demanded.into_iter().flatten().min();
        }
        found.into_values().collect()
    }

    /// Those of the plant file in force about which something is to be done.
    pub fn rotations_due(&self, now: Timestamp) -> Vec<(Rotation<'_>, Need)> {
        // Looked at each second, and mostly there is nothing.
        let is_any = |plant: &&Plant| plant.demands_rotation() || self.secrets.values().any(|last| !last.is_kept);
        let all = self.plant.as_deref().filter(is_any).map(|plant| self.rotations(plant)).unwrap_or_default();
        let due = all.into_iter().map(|rotation| {
            let need = rotation.need(now);
            (rotation, need)
        });
        due.filter(|(_, need)| need.is_any()).collect()
    }
}
