//! A rule: who may ask for what, where, when and for how long, and whose approval it takes. Which rule decides a
//! question is in `rules`; how one is read from the plant file is in `plant/parse.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use regex_lite::Regex;
use serde::{Deserialize, Deserializer, Serialize};

use super::Quorum;
use crate::actions::Actions;
use crate::digest::Digest;
use crate::ids::{GroupName, RoleName, RuleId, SessionId, TargetName, VendorId, ZoneName};
use crate::time::{Seconds, WeeklyHours};

/// One rule of the plant file, each default filled in. It is frozen into a request as it stands, so events carry it
/// whole; a field this version does not know is an error and never a restriction overlooked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, unique in the file.
    pub id: RuleId,
    /// Whose technicians may ask. Never empty.
    pub vendors: BTreeSet<VendorId>,
    /// In which roles of the contract. Never empty.
    pub roles: BTreeSet<RoleName>,
    /// Where.
    pub reach: Reach,
    /// For what. Never empty.
    pub actions: Actions,
    /// When, in the plant's time; `None`: at any time.
    pub hours: Option<WeeklyHours>,
    /// From which networks. Never empty.
    pub from: Vec<IpNet>,
    /// How long a grant lasts at most, extensions included.
    pub duration_max: Seconds,
    /// How many connections of the technician may stand at once under one grant.
    pub connections: u16,
    /// How long a complete login serves further connections of the same key, source and grant; 0: each asks.
    pub factor_lasts: Seconds,
    /// Whose approval it takes; all of them are needed. Never empty.
    #[serde(deserialize_with = "never_empty")]
    pub approvals: Vec<Quorum>,
    /// Weaker ways in which an operator may approve.
    pub weaker: BTreeSet<Weaker>,
    /// Who is told of a request nobody answered, and when. The last is when the board turns red.
    pub tell: Vec<Tell>,
    /// Whether a work order must be named.
    pub work_order: WorkOrder,
    /// Whom a session keeps out meanwhile.
    pub exclusive: Exclusive,
    /// Whether an operator watches.
    pub escort: Escort,
    /// How long an escort counts as being there after each time they said so.
    #[serde(default = "escort_tap", skip_serializing_if = "is_escort_tap")]
    pub escort_tap: Seconds,
    /// How long a person may give no input.
    pub idle: Seconds,
    /// What happens then.
    pub idle_ending: IdleEnding,
    /// What happens at the deadline.
    pub ending: DeadlineEnding,
    /// How long a running program download may outlive the deadline.
    pub hold_max: Seconds,
    /// What becomes of work that nobody of the next shift accepts.
    #[serde(default, skip_serializing_if = "Unaccepted::is_default")]
    pub unaccepted: Unaccepted,
    /// Whether any one operator on duty may give an emergency grant under it.
    pub emergency: bool,
    /// How long a guest whom an operator on duty invites may come and go under it; `None`: it is for no guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_max: Option<Seconds>,
    /// A manager of the technician's company must have attested them within this time; `None`: nobody need have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Seconds>,
    /// Within what time after work is over an operator signs off what was done; `None`: nobody need do so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_out: Option<Seconds>,
    /// How many ended sessions are drawn to be reviewed; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Sample>,
    /// How long a node may go without the journal.
    pub staleness: Seconds,
    /// What running sessions do then.
    pub staleness_ending: StalenessEnding,
    /// How long a recording is kept at least, from its session's end. Nothing removes one earlier.
    pub retention: Seconds,
    /// When a recording is removed by itself, from its session's end, unless somebody holds it; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_max: Option<Seconds>,
    /// What looks at each uploaded file before the target has any of it; `None`: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_check: Option<FileCheck>,
}

/// A program on the gate that looks at an uploaded file and lets it through by ending with 0. No shell reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCheck {
    /// The program, by its absolute path, and its arguments. [`FileCheck::FILE`] in one stands for the file's path; the
    /// file is on standard input, too. Never empty.
    pub command: Vec<String>,
    /// How long it may take; the file is refused then.
    pub max: Seconds,
}

impl FileCheck {
    /// What stands for the file's path in an argument.
    pub const FILE: &'static str = "{file}";
    /// `file_check_max` where the file says nothing.
    pub const MAX: Seconds = Seconds(60);
    /// No `file_check_max` is longer: whoever copies a file waits for it.
    pub const MAX_LIMIT: Seconds = Seconds(3_600);
}

impl fmt::Display for FileCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, within {}", self.command.join(" "), self.max)
    }
}

/// How many of the sessions that ended are reviewed by somebody who did not approve them, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Of a hundred; from 1 to 100.
    pub percent: u8,
    /// From the session's end.
    pub within: Seconds,
}

impl Sample {
    /// `review_within` where the file says nothing: half a month, as samples of logs are commonly reviewed as often.
    pub const WITHIN: Seconds = Seconds(15 * 86_400);
    /// No `review_within` is longer.
    pub const WITHIN_LIMIT: Seconds = Seconds(366 * 86_400);

    /// Whether this session is one of them. What seals a recording hangs on every byte of it and on keys of chance, so that
    /// nobody at work knows before the end, and anybody can work it out afterwards. Where no seal was known, as after a crash,
    /// nothing could be drawn from, and it is one.
    pub fn draws(&self, session: SessionId, seal: Option<Digest>) -> bool {
        seal.is_none_or(|seal| {
            let [a, b, c, d, e, f, g, h, ..] = Digest::of("draw", &(session, seal)).0;
            u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 100 < u64::from(self.percent)
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of 100 sessions, within {} of their end", self.percent, self.within)
    }
}

impl Rule {
    /// `connections` where the file says nothing: an editor and a file client open several.
    pub const CONNECTIONS: u16 = 10;
    /// `factor_lasts` where the file says nothing.
    pub const FACTOR_LASTS: Seconds = Seconds(10 * 60);
    /// `escort_tap` where the file says nothing: long enough to watch and not only to tap, and short enough that whoever
    /// fell asleep or was called away is missed before much is done.
    pub const ESCORT_TAP: Seconds = Seconds(5 * 60);
    /// No `escort_tap` is shorter: it would be nothing but tapping.
    pub const ESCORT_TAP_LEAST: Seconds = Seconds(10);
    /// No `escort_tap` is longer: it would prove nothing.
    pub const ESCORT_TAP_LIMIT: Seconds = Seconds(3_600);
    /// `close_out_within` where the file says nothing: a shift, so that whoever was there still is.
    pub const CLOSE_OUT_WITHIN: Seconds = Seconds(12 * 3_600);
    /// No `close_out_within` is longer: who was there does not know it any more.
    pub const CLOSE_OUT_LIMIT: Seconds = Seconds(31 * 86_400);
    /// No `attested` is longer: who said so knows it no more.
    pub const ATTESTED_LIMIT: Seconds = Seconds(365 * 86_400);
    /// No `guest_max` is longer: a guest comes for a night, and by day an administrator invites.
    pub const GUEST_LIMIT: Seconds = Seconds(12 * 3_600);
    /// `idle` where the file says nothing.
    pub const IDLE: Seconds = Seconds(15 * 60);
    /// `freeze_max` where `ending = "freeze"` and the file says nothing.
    pub const FREEZE_MAX: Seconds = Seconds(15 * 60);
    /// `hold_max` where the file says nothing.
    pub const HOLD_MAX: Seconds = Seconds(10 * 60);
    /// `staleness` where the file says nothing.
    pub const STALENESS: Seconds = Seconds(30);
    /// `retention` where the file says nothing: three years, as evidence is commonly kept.
    pub const RETENTION: Seconds = Seconds(3 * 365 * 86_400);
    /// No `retention` is longer: whoever writes more has slipped a digit.
    pub const RETENTION_LIMIT: Seconds = Seconds(100 * 365 * 86_400);
    /// No `duration_max` is longer: a grant serves one piece of work, and a shift change lies in every day.
    pub const DURATION_LIMIT: Seconds = Seconds(24 * 3_600);

    /// `from` where the file says nothing.
    pub fn everywhere() -> Vec<IpNet> {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);
        vec![v4.into(), v6.into()]
    }

    /// What a request freezes: the digest of the rule's canonical JSON. A field added later stays out of that JSON
    /// while it has its default, so that digests of older events hold.
    pub fn digest(&self) -> Digest {
        Digest::of("rule", self)
    }

    /// How long a guest may come and go under it, if any may: whatever stands in an event, none comes without an escort, by
    /// a weaker answer, or for longer than a night.
    pub fn guest_limit(&self) -> Option<Seconds> {
        let is_safe = self.escort == Escort::Required && self.weaker.is_empty();
        self.guest_max.filter(|_| is_safe).map(|most| most.min(Self::GUEST_LIMIT))
    }

    /// So long before an escort counts as gone they are warned: a quarter of `escort_tap`, and no more than a minute.
    pub const fn escort_warning(&self) -> Seconds {
        let quarter = self.escort_tap.0 / 4;
        Seconds(if quarter < 60 { quarter } else { 60 })
    }

    /// Who may approve, such as `1 of shift-lead and 1 of ot-security`.
    pub fn approvers(&self) -> String {
        self.approvals.iter().map(Quorum::to_string).collect::<Vec<_>>().join(" and ")
    }
}

const fn escort_tap() -> Seconds {
    Rule::ESCORT_TAP
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_escort_tap(tap: &Seconds) -> bool {
    *tap == Rule::ESCORT_TAP
}

/// A rule that asks nobody would grant to anybody, so no event brings one back.
fn never_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Quorum>, D::Error> {
    let approvals = Vec::<Quorum>::deserialize(deserializer)?;
    if approvals.is_empty() || approvals.iter().any(|quorum| quorum.count == 0) {
        return Err(serde::de::Error::custom("approvals ask nobody"));
    }
    Ok(approvals)
}

/// Where a rule holds. Neither set is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// At every target in these zones.
    Zones(BTreeSet<ZoneName>),
    /// At these targets.
    Targets(BTreeSet<TargetName>),
}

impl Reach {
    /// Whether it holds at `target`, which stands in `zone`.
    pub fn contains(&self, target: &TargetName, zone: &ZoneName) -> bool {
        match self {
            Self::Zones(zones) => zones.contains(zone),
            Self::Targets(targets) => targets.contains(target),
        }
    }
}

/// A way to approve without an authenticator; marked as weaker wherever it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weaker {
    /// By a TOTP code alone.
    Totp,
    /// By a code the technician reads out and the operator types, with a TOTP code of their own.
    Telephone,
}

impl Weaker {
    /// As the plant file spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Telephone => "telephone",
        }
    }

    /// How an answer is marked that was given so, wherever it shows.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Totp => "weaker: TOTP",
            Self::Telephone => "weaker: by telephone",
        }
    }
}

impl fmt::Display for Weaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is told of a waiting request, and after how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// Since the request.
    pub after: Seconds,
    /// Everybody in this group.
    pub group: GroupName,
}

/// What a session keeps others from doing meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exclusive {
    /// Nobody else does more than `observe` at the same target.
    #[default]
    Target,
    /// Nor anywhere in the same zone.
    Zone,
    /// Nothing.
    None,
}

/// Whether an operator watches a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escort {
    /// Nobody need watch.
    #[default]
    None,
    /// An operator is told.
    Watch,
    /// Input is frozen while nobody watches.
    Required,
}

impl fmt::Display for Escort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Watch => "an operator is told",
            Self::Required => "required; input is frozen while nobody watches",
        })
    }
}

/// What happens when a person gave no input for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleEnding {
    /// Input is refused until a factor resumes it.
    #[default]
    Lock,
    /// The session ends.
    End,
}

/// What happens at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadlineEnding {
    /// The session ends.
    #[default]
    Cut,
    /// Its input is frozen, and it ends later.
    Freeze {
        /// That much later.
        max: Seconds,
    },
}

/// What becomes of sessions, grants and requests that nobody of the next shift accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unaccepted {
    /// What.
    pub then: Then,
    /// How long after the change.
    pub after: Seconds,
}

/// What is done with work that nobody accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Its sessions' input is stopped, and no session begins, until somebody accepts it.
    #[default]
    Freeze,
    /// It ends.
    End,
}

impl Unaccepted {
    /// `unaccepted_after` where the file says nothing.
    pub const AFTER: Seconds = Seconds(30 * 60);

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Unaccepted {
    fn default() -> Self {
        Self { then: Then::default(), after: Self::AFTER }
    }
}

impl Then {
    /// For people: what then happens to it.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Freeze => "it is frozen",
            Self::End => "it ends",
        }
    }
}

/// What running sessions do on a node that went without the journal too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StalenessEnding {
    /// They end.
    #[default]
    End,
    /// They go on; nobody new is admitted.
    Keep,
}

/// Whether a request must name a work order; as text `required`, `optional` or a regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WorkOrder {
    /// Any, but one.
    #[default]
    Required,
    /// Any or none.
    Optional,
    /// One that matches.
    Matches(Pattern),
}

impl WorkOrder {
    /// Whether a request may name this one, or none.
    pub fn accepts(&self, work_order: Option<&str>) -> bool {
        match (self, work_order.map(str::trim).filter(|text| !text.is_empty())) {
            (Self::Optional, _) | (Self::Required, Some(_)) => true,
            (Self::Matches(pattern), Some(text)) => pattern.matches(text),
            (Self::Required | Self::Matches(_), None) => false,
        }
    }
}

impl fmt::Display for WorkOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Matches(pattern) => pattern.as_str(),
        })
    }
}

impl FromStr for WorkOrder {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        match text {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            _ => text.parse().map(Self::Matches),
        }
    }
}

impl TryFrom<String> for WorkOrder {
    type Error = BadPattern;
    fn try_from(text: String) -> Result<Self, BadPattern> {
        text.parse()
    }
}

impl From<WorkOrder> for String {
    fn from(work_order: WorkOrder) -> Self {
        work_order.to_string()
    }
}

/// A regular expression that a whole work order must match, beginning to end, in the syntax of `regex-lite`. Matching
/// takes time in proportion to pattern times text, whatever the pattern: there is no backtracking.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    whole: Regex,
}

/// Text that is no pattern for work orders.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// A plain word, which is a slip for a keyword more likely than the only work order there is.
    #[error("{0:?} is neither \"required\" nor \"optional\", and as a regular expression it matches itself alone")]
    Word(String),
    /// Longer than work orders need.
    #[error("a regular expression of more than {PATTERN_MAX} characters")]
    TooLong,
    /// Not a regular expression, or one of excessive size.
    #[error("not a regular expression: {0}")]
    Syntax(String),
}

const PATTERN_MAX: usize = 200;

/// A pattern of a plant file, or what is wrong with it.
pub(super) fn compiled(text: &str) -> Result<Regex, String> {
    /// Bytes of it: enough for any form of a work order and any prompt, and no pattern costs more to try.
    const COMPILED_MAX: usize = 64 * 1024;
    regex_lite::RegexBuilder::new(text).size_limit(COMPILED_MAX).build().map_err(|error| error.to_string())
}

impl Pattern {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if text.chars().count() > PATTERN_MAX {
            return Err(BadPattern::TooLong);
        }
        if text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-') {
            return Err(BadPattern::Word(text.to_owned()));
        }
        let compile = |text: &str| compiled(text).map_err(BadPattern::Syntax);
        // Alone first: a stray parenthesis must not close the group that anchors it.
        compile(text)?;
        Ok(Self { text: text.to_owned(), whole: compile(&format!(r"\A(?:{text})\z"))? })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}
