//! How the gate is doing, and its alarms.

use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{CredentialName, DeploymentId, NodeId, PersonId, RestoreId};
use policies::requests::SeenHead;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RecipientView;

/// The journal's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeadView {
    /// Entries.
    pub size: u64,
    /// Merkle root over them.
    #[schema(value_type = String)]
    pub root: Digest,
}

impl From<HeadView> for SeenHead {
    fn from(head: HeadView) -> Self {
        Self { size: head.size, root: head.root }
    }
}

/// The longest prefix of the journal that somebody else remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WitnessedView {
    /// Entries.
    pub size: u64,
    /// Merkle root over them.
    #[schema(value_type = String)]
    pub root: Digest,
    /// Since it was signed.
    pub age_seconds: u64,
    /// The witness that cosigned it; none where it is the signature of somebody who approved or vouched.
    pub witness: Option<String>,
}

/// How it stands with a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WitnessView {
    /// Its name.
    pub name: String,
    /// Entries of the journal that it cosigned.
    pub journal: Option<u64>,
    /// Entries of this node's record log that it cosigned.
    pub records: Option<u64>,
    /// When it cosigned the older of the two, by its own clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Why it cosigns no more.
    pub trouble: Option<String>,
}

/// How it stands with the bucket to which recordings are brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BucketView {
    /// Recordings brought there since the gate was started.
    pub deposited: u64,
    /// Why some are not brought.
    pub trouble: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Recordings that wait.
    pub waiting: u64,
    /// Bytes of them.
    pub waiting_bytes: u64,
    /// When the first of them ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Timestamp>,
    /// Of recordings that were erased: why the bucket still has them, in words.
    pub locked: Vec<String>,
}

/// How the recorder is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecorderView {
    /// Why it takes nothing more, where it does not.
    pub fault: Option<String>,
    /// Recordings open.
    pub open: usize,
    /// The head of its log.
    pub head: HeadView,
    /// Bytes free on its disk.
    pub free_bytes: Option<u64>,
    /// Below this no session is let in.
    pub reserve_bytes: Option<u64>,
}

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsView {
    /// By key. What the file does not name and what counts for nothing then is not among them.
    pub settings: Vec<SettingView>,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// As `holdpoint.toml` calls it, such as `store.reserve`; entries of a list are counted from 1.
    pub key: String,
    /// What counts, without what could be a secret.
    pub value: String,
    /// The file says so; otherwise it is what counts where the file says nothing.
    pub written: bool,
    /// The file says something else by now, which counts once the gate was restarted.
    pub waits: bool,
}

/// How the gate is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The installation.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
    /// This node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The last restore: the journal's name ends with it.
    #[schema(value_type = Option<String>)]
    pub restore: Option<RestoreId>,
    /// The last restore of this node's recordings: their log's name ends with it. None of a node that joined afterwards.
    #[schema(value_type = Option<String>)]
    pub records_restore: Option<RestoreId>,
    /// By the gate's clock.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The journal.
    pub journal: HeadView,
    /// What of it nobody can change unnoticed any more.
    pub witnessed: Option<WitnessedView>,
    /// The witnesses that are asked.
    pub witnesses: Vec<WitnessView>,
    /// The bucket to which recordings are brought, where there is one.
    pub bucket: Option<BucketView>,
    /// Since how long it does not answer.
    pub journal_down_seconds: Option<u64>,
    /// An event this program does not know: nobody is admitted until it was upgraded.
    pub unknown_event: Option<String>,
    /// Facts that wait to be journaled.
    pub late: usize,
    /// Facts that had to be forgotten.
    pub lost: u64,
    /// Sessions live.
    pub live: usize,
    /// Requests that wait for operators.
    pub pending: usize,
    /// Cuts that stand.
    pub cuts: usize,
    /// The board is red: see `because`.
    pub red: bool,
    /// Why, in words.
    pub because: Vec<String>,
    /// The plant file in force.
    #[schema(value_type = Option<String>)]
    pub plant: Option<Digest>,
    /// The recorder of this node.
    pub recorder: Option<RecorderView>,
    /// To whom recordings are encrypted.
    pub recipients: Vec<RecipientView>,
    /// Secrets that open accounts of targets, as far as something is to be done about them.
    pub secrets: Vec<SecretView>,
    /// What a thief of the disk gets.
    pub seal: String,
    /// Keys of the gate that are being renewed.
    #[serde(default)]
    pub keys: Vec<KeyView>,
    /// What stands and must be looked after, by kind.
    pub alarms: Vec<AlarmView>,
    /// How long the plant takes to say yes; nothing where no request was granted lately.
    pub answered: Option<AnswerTimes>,
    /// Those whom the gate brings the feed.
    pub feed: Vec<ReceiverView>,
    /// The collector of traces, where there is one.
    pub traces: Option<TracesView>,
}

/// The collector of traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracesView {
    /// Its name or address.
    pub collector: String,
    /// Spans that it took since this node started.
    pub taken: u64,
    /// When it took the last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Spans that it will never have.
    pub lost: u64,
    /// Why it takes none, or not all, where it does not.
    pub trouble: Option<String>,
}

/// A key of the gate that has a next one or a last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// `ssh-ca`, `tls-ca`, `ssh-host` or `token`.
    pub key: String,
    /// The fingerprint of what signs.
    pub now: String,
    /// The fingerprint of what will.
    pub next: Option<String>,
    /// Since when that is announced, as its file says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_since: Option<Timestamp>,
    /// The fingerprint of what signed before, and is believed still.
    pub last: Option<String>,
    /// Since when it signs no more, as its file says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_since: Option<Timestamp>,
    /// In words, with what to do next.
    pub text: String,
}

/// A secret that is to be set anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Under which name it is kept.
    #[schema(value_type = String)]
    pub secret: CredentialName,
    /// `soon`, `overdue`, `unknown` (nobody knows when it was set, or whether) or `forgotten`.
    pub need: String,
    /// When it was set last, or forgotten, where the journal says so.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// By whom.
    #[schema(value_type = Option<String>)]
    pub by: Option<PersonId>,
    /// Until when it is to be set anew, where that is demanded and known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// In words.
    pub text: String,
}

/// An alarm that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlarmView {
    /// Its kind, as docs/EVENTS.md lists them.
    pub alarm: String,
    /// Of whom or what, where there may be several of the kind.
    pub of: Option<String>,
    /// In words.
    pub text: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The operator who saw it, or the display at which somebody did.
    #[schema(value_type = Option<String>)]
    pub seen_by: Option<PersonId>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_at: Option<Timestamp>,
}

/// An alarm that stands, as somebody names it who saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmSeen {
    /// Its kind.
    pub alarm: String,
    /// Of whom or what.
    #[serde(default)]
    pub of: Option<String>,
    /// Since when it stands; one that was raised anew since is another.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// The alarms that somebody saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmsSeen {
    /// Those.
    pub alarms: Vec<AlarmSeen>,
}

/// How many alarms sound no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlarmsQuiet {
    /// Those that stand and that nobody had seen before.
    pub acknowledged: usize,
}

/// How long requests of the last thirty days waited from being made to being granted; emergencies are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerTimes {
    /// How many.
    pub requests: usize,
    /// Half of them, so long at most.
    pub p50_seconds: u64,
    /// Of twenty, nineteen.
    pub p95_seconds: u64,
}

/// A receiver of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiverView {
    /// As the configuration calls it.
    pub name: String,
    /// Events that it does not have yet.
    pub behind: u64,
    /// Events that it will never have, since this node started.
    pub missed: u64,
    /// Why it takes nothing, where it does not.
    pub trouble: Option<String>,
}

/// Whether new sessions can be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// They can.
    pub healthy: bool,
}
