//! Why the rules answer as they do, in words and as data: what `holdpoint explain` prints. For the plant's own people,
//! so it names rules that a refusal would not.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::actions::Actions;
use crate::ids::{RoleName, RuleId, ServiceName, TargetName, VendorId};
use crate::plant::{Escort, FileCheck, Plant, Protocol, Quorum, Rule, Sample, Tell, Weaker, WorkOrder};
use crate::rules::{Nearest, NotAllowed, Opening, Question, deciding_rule, listed};
use crate::time::Seconds;

/// A question and what the rules say to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whose technician.
    pub vendor: VendorId,
    /// In which role.
    pub role: RoleName,
    /// Where.
    pub target: TargetName,
    /// Through which service; the only one where none was named.
    pub service: Option<ServiceName>,
    /// What is spoken there.
    pub protocol: Option<Protocol>,
    /// For what.
    pub actions: Actions,
    /// When, in the plant's time too.
    pub at: Opening,
    /// The plant's time zone.
    pub timezone: String,
    /// The answer.
    pub answer: Answer,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It may be asked for.
    May(Box<Decided>),
    /// It may not.
    MayNot {
        /// Why.
        reason: NotAllowed,
        /// Who would approve under the nearest rule.
        approvals: Vec<Quorum>,
    },
}

/// What follows from the deciding rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Which.
    pub rule: RuleId,
    /// Whose approval it takes; all of them.
    pub approvals: Vec<Quorum>,
    /// In which ways it can be answered without a signature.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub weaker: BTreeSet<Weaker>,
    /// Who is told.
    pub tell: Vec<Tell>,
    /// How long a grant lasts at most.
    pub duration_max: Seconds,
    /// When the rule's hours end, where they do.
    pub closes: Option<Opening>,
    /// Whether a work order is needed.
    pub work_order: WorkOrder,
    /// Whether an operator watches.
    pub escort: Escort,
    /// How often an escort says that they are there, where one is demanded.
    pub escort_tap: Option<Seconds>,
    /// Whether one operator on duty may give it as an emergency.
    pub emergency: bool,
    /// How long a guest may come and go under it, whom one operator on duty invites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_max: Option<Seconds>,
    /// Within what time a manager of the technician's company must have attested them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attested: Option<Seconds>,
    /// Within what time an operator signs off what was done.
    pub close_out: Option<Seconds>,
    /// How many sessions are reviewed.
    pub review: Option<Sample>,
    /// How long what was done is kept at least.
    pub retention: Seconds,
    /// When it is removed by itself.
    pub retention_max: Option<Seconds>,
    /// What looks at uploads first.
    pub file_check: Option<FileCheck>,
}

/// Asks the rules, and says why they answer so.
pub fn explain(plant: &Plant, question: &Question<'_>) -> Explanation {
    let service = plant.service(question.target, question.service).ok();
    let answer = match deciding_rule(plant, question) {
        Ok(rule) => Answer::May(Box::new(decided(plant, rule, question.at))),
        Err(reason) => Answer::MayNot { approvals: would_approve(plant, &reason), reason },
    };
    Explanation {
        vendor: question.asker.vendor.clone(),
        role: question.asker.role.clone(),
        target: question.target.clone(),
        service: service.map(|(name, _)| name.clone()),
        protocol: service.map(|(_, service)| service.protocol),
        actions: question.actions.clone(),
        at: local(plant, question.at),
        timezone: plant.timezone.iana_name().unwrap_or_default().to_owned(),
        answer,
    }
}

fn decided(plant: &Plant, rule: &Rule, at: Timestamp) -> Decided {
    let closes = rule.hours.as_ref().and_then(|hours| hours.closes_after(at, &plant.timezone));
    Decided {
        rule: rule.id.clone(),
        approvals: rule.approvals.clone(),
        weaker: rule.weaker.clone(),
        tell: rule.tell.clone(),
        duration_max: rule.duration_max,
        closes: closes.map(|at| local(plant, at)),
        work_order: rule.work_order.clone(),
        escort: rule.escort,
        escort_tap: (rule.escort == Escort::Required).then_some(rule.escort_tap),
        emergency: rule.emergency,
        guest_max: rule.guest_limit(),
        attested: rule.attested,
        close_out: rule.close_out,
        review: rule.review,
        retention: rule.retention,
        retention_max: rule.retention_max,
        file_check: rule.file_check.clone(),
    }
}

fn would_approve(plant: &Plant, reason: &NotAllowed) -> Vec<Quorum> {
    let NotAllowed::NoRule { nearest: Some(Nearest { rule: nearest, .. }) } = reason else { return Vec::new() };
    plant.rules.iter().find(|rule| rule.id == *nearest).map(|rule| rule.approvals.clone()).unwrap_or_default()
}

fn local(plant: &Plant, at: Timestamp) -> Opening {
    Opening::new(at, &plant.timezone)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, role, target, service, protocol, actions, at, timezone, answer } = self;
        let not = if matches!(answer, Answer::May(_)) { "" } else { " not" };
        let service = service.as_ref().map(|service| format!(" ({service})")).unwrap_or_default();
        writeln!(f, "{vendor}'s {role} may{not} ask for {} at {target}{service}, {at} {timezone}", listed(actions))?;
        if let Some(caution) = protocol.and_then(Protocol::caution) {
            writeln!(f, "caution: {caution}")?;
        }
        match answer {
            Answer::May(decided) => decided.fmt(f),
            Answer::MayNot { reason, approvals } => fmt_refused(reason, approvals, f),
        }
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rule: {}", self.rule)?;
        write!(f, "approval: {}", all_of(&self.approvals))?;
        if !self.weaker.is_empty() {
            write!(f, ", or without a signature: {}", listed(&self.weaker))?;
        }
        let told = self.tell.iter().map(|Tell { after, group }| match after.0 {
            0 => format!("{group} at once"),
            _ => format!("{group} after {after}"),
        });
        write!(f, "\ntold: {}", listed(told))?;
        write!(f, "\nat most: {}, extensions included", self.duration_max)?;
        if let Some(closes) = &self.closes {
            write!(f, "; hours close {closes}")?;
        }
        write!(f, "\nwork order: {}\nescort: {}", self.work_order, self.escort)?;
        if let Some(tap) = self.escort_tap {
            write!(f, "; whoever watches says every {tap} that they are there")?;
        }
        if self.emergency {
            write!(f, "\nemergency: any one operator on duty")?;
        }
        if let Some(most) = self.guest_max {
            write!(f, "\nguests: one at a time, for {most} at most, invited by any one operator on duty")?;
        }
        if let Some(within) = self.attested {
            write!(f, "\nattested: by a manager of the technician's company, within {within}")?;
        }
        if let Some(within) = self.close_out {
            write!(f, "\nclose-out: an operator signs off what was done, within {within}")?;
        }
        if let Some(sample) = self.review {
            write!(f, "\nreviewed by somebody who did not approve: {sample}")?;
        }
        if let Some(check) = &self.file_check {
            write!(f, "\nuploads are checked by: {check}")?;
        }
        write!(f, "\nrecording kept: {} at least", self.retention)?;
        match self.retention_max {
            Some(most) => write!(f, ", removed after {most} unless somebody holds it"),
            None => f.write_str(", never removed by itself"),
        }
    }
}

fn fmt_refused(reason: &NotAllowed, approvals: &[Quorum], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let NotAllowed::NoRule { nearest: Some(Nearest { rule, lacks }) } = reason else {
        return write!(f, "because: {reason}");
    };
    write!(f, "nearest rule: {rule}")?;
    for lack in lacks {
        write!(f, "\n  lacks {lack}")?;
    }
    write!(f, "\napproval would be: {}", all_of(approvals))
}

fn all_of(approvals: &[Quorum]) -> String {
    approvals.iter().map(Quorum::to_string).collect::<Vec<_>>().join(" and ")
}
