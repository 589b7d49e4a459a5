//! `evidence.json`: all that a pack tells, made from its own journal, recordings and texts, and from nothing else. So
//! whoever checks a pack makes it once more and compares. The pages are made from this.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::history::{Item as HistoryItem, What, refused_in_words};
use policies::ids::{RequestId, SessionId};
use policies::state::State;
use serde::{Deserialize, Serialize};

use super::PackFault;
use super::clauses::{Clause, index};
use super::inside::Inside;
use super::manifest::pretty;
use super::sheet::{Item, Opening, Sheet, plant_of, words_of};
use super::story::{Asking, Story, Visit, VoteCast};
use super::texts::{Texts, Told};
use crate::read::{AuditorKeys, Recording, Store};
use crate::verify::{Report, Verdict};
use crate::words::Words;

/// All that a pack tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The version of this form: 1.
    pub evidence: u8,
    /// The installation.
    pub deployment: String,
    /// What people call the plant.
    pub plant: String,
    /// In which its times are told (IANA).
    pub timezone: String,
    /// What a check of the pack's journal and recordings said when it was made.
    pub checked: Checked,
    /// Requests, those without a session too.
    pub requests: Vec<RequestTold>,
    /// Sessions.
    pub sessions: Vec<SessionTold>,
    /// What the gate refused as it was asked, and connections that it refused, in a vendor's span of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalTold>,
}

/// Something that the gate refused a technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalTold {
    /// Its entry in the journal.
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// Whom; harmless.
    pub technician: String,
    /// At which target, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What was asked for, and why not; harmless.
    pub in_words: String,
}

/// What `verify` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// In a word: `whole`, `open`, `restored`, `part` or `not-whole`.
    pub verdict: String,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
    /// The logs, with the roots to compare.
    pub logs: Vec<LogChecked>,
    /// When the gate was restored from an earlier state, and which entry of the journal says what was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<(Timestamp, u64)>,
    /// Events of the journal that were followed.
    pub events: u64,
    /// Signatures of people that were checked.
    pub signatures: u64,
}

/// A log, as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogChecked {
    /// Its name.
    pub origin: String,
    /// Entries.
    pub entries: u64,
    /// The root of the tree over them.
    pub root: Option<String>,
    /// The last head that its key signed.
    pub signed_at: Option<Timestamp>,
}

/// A request, in short, and in full where no session came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestTold {
    /// Which.
    pub request: RequestId,
    /// When it was made.
    pub submitted: Timestamp,
    /// By whom; harmless.
    pub technician: String,
    /// For which vendor.
    pub vendor: String,
    /// Where to.
    pub target: String,
    /// To do what.
    pub actions: String,
    /// Why; harmless, empty where the text is not here.
    pub reason: String,
    /// What came of it, in a word.
    pub standing: String,
    /// Its sessions in this pack.
    pub sessions: Vec<SessionId>,
    /// Where there are none.
    pub items: Vec<Item>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTold {
    /// Which.
    pub session: SessionId,
    /// Under which grant.
    pub request: RequestId,
    /// Whose; harmless.
    pub technician: String,
    /// Of which vendor.
    pub vendor: String,
    /// Where.
    pub target: String,
    /// Through what.
    pub service: String,
    /// Why; harmless, empty where the text is not here.
    pub reason: String,
    /// Who said yes to the request under a signature; harmless.
    pub approved_by: Vec<String>,
    /// Who said yes without one, by the gate's word, and how; harmless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_weaker: Vec<String>,
    /// Since when.
    pub started: Timestamp,
    /// Until when.
    pub ended: Option<Timestamp>,
    /// Why it ended, in words.
    pub ending: Option<String>,
    /// How the recording stands; none where there is none.
    pub recording: Option<String>,
    /// The twenty.
    pub items: Vec<Item>,
    /// The index.
    pub clauses: Vec<Clause>,
    /// What the auditor's key opened, where it was at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

impl Checked {
    pub(super) fn of(report: &Report) -> Self {
        let log = |log: &crate::verify::LogReport| LogChecked {
            origin: log.origin.clone(),
            entries: log.entries,
            root: log.root.map(|root| root.to_string()),
            signed_at: log.signed_at,
        };
        let is_wrong = |finding: &&crate::verify::Finding| finding.kind.is_wrong();
        Self {
            verdict: verdict_word(report.verdict()).to_owned(),
            wrong: report.findings.iter().filter(is_wrong).map(ToString::to_string).collect(),
            logs: report.logs.iter().map(log).collect(),
            restored: report.restored.iter().map(|restored| (restored.at, restored.entry)).collect(),
            events: report.decisions.events,
            signatures: report.decisions.signatures,
        }
    }
}

const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Whole => "whole",
        Verdict::Open => "open",
        Verdict::Restored => "restored",
        Verdict::NotWitnessed => "not-witnessed",
        Verdict::Part => "part",
        Verdict::NotWhole => "not-whole",
    }
}

/// What is told of a pack is made from.
pub(super) struct Sources<'a> {
    /// The pack's data folder.
    pub(super) data: &'a Path,
    pub(super) texts: &'a Texts,
    pub(super) report: &'a Report,
    pub(super) inside: InsideFrom<'a>,
}

/// From where comes what is told of a recording's inside.
pub(super) enum InsideFrom<'a> {
    /// Nothing is told of it.
    Nothing,
    /// An auditor's keys open it.
    Keys(&'a AuditorKeys),
    /// As somebody with keys told it before; that is taken as it is.
    Told(&'a Evidence),
}

/// The data folder once read.
struct Teller<'a> {
    sources: &'a Sources<'a>,
    story: &'a Story,
    store: Option<Store>,
    recordings: BTreeMap<SessionId, Recording>,
    zone: TimeZone,
}

impl Evidence {
    /// Makes it.
    pub(super) fn make(sources: &Sources<'_>, story: &Story) -> Result<Self, PackFault> {
        let store = Store::open(sources.data).ok();
        let listed = store.as_ref().map(|store| store.list().recordings).unwrap_or_default();
        let recordings = listed.into_iter().map(|recording| (recording.id(), recording)).collect();
        let State { plant, deployment, .. } = &story.state;
        let zone = story.state.timezone();
        let told = Teller { sources, story, store, recordings, zone: zone.clone() };
        Ok(Self {
            evidence: 1,
            deployment: deployment.as_ref().map(ToString::to_string).unwrap_or_default(),
            plant: plant.as_ref().map(|plant| Words::from(plant.name.as_str()).to_string()).unwrap_or_default(),
            timezone: zone.iana_name().unwrap_or("UTC").to_owned(),
            checked: Checked::of(sources.report),
            requests: story.requests.iter().filter_map(|asking| told.request(asking)).collect(),
            sessions: story.sessions.iter().filter_map(|visit| told.session(visit)).collect(),
            refusals: story.refusals.iter().filter_map(|(entry, item)| told.refusal(*entry, item)).collect(),
        })
    }

    /// What these bytes tell, which have one spelling.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let evidence: Self = serde_json::from_slice(bytes).ok()?;
        (evidence.encode() == bytes).then_some(evidence)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        pretty(self)
    }
}

impl Teller<'_> {
    fn sheet<'s>(
        &'s self,
        asking: &'s Asking,
        visit: Option<&'s Visit>,
        inside: Option<&'s Inside>,
    ) -> Option<Sheet<'s>> {
        let case = self.story.case(asking.id)?;
        let named = visit.and_then(|visit| self.recordings.get(&visit.id));
        let opening = named.and_then(Opening::of);
        let recording = named.filter(|_| visit.is_some_and(|visit| visit.facts.erased().is_none()));
        let of_session = opening.as_ref().and_then(|opening| plant_of(&self.story.state, opening.plant()));
        let plant = of_session.or_else(|| asking.plant.clone());
        let verdict = visit.and_then(|visit| self.verdict(visit.id));
        let (story, texts, zone) = (self.story, self.sources.texts, self.zone.clone());
        Some(Sheet { story, asking, case, visit, recording, opening, plant, texts, inside, verdict, zone })
    }

    fn verdict(&self, session: SessionId) -> Option<&'static str> {
        use crate::verify::SessionVerdict;
        let report = self.sources.report.sessions.iter().find(|report| report.session == session)?;
        Some(match report.verdict {
            SessionVerdict::Ok => "ok",
            SessionVerdict::CutOff => "cut-off",
            SessionVerdict::Open => "open",
            SessionVerdict::NotSealed => "not-sealed",
            SessionVerdict::Altered => "altered",
            SessionVerdict::Erased => "erased",
            SessionVerdict::Missing => "missing",
            SessionVerdict::Elsewhere => "elsewhere",
        })
    }

    fn reason(&self, asking: &Asking) -> String {
        let reason = self.story.case(asking.id).map(|case| self.sources.texts.tell(case.asked.reason));
        match reason {
            Some(Told::Text(text)) => text,
            _ => String::new(),
        }
    }

    fn vendor(asking: &Asking) -> String {
        asking.kind.as_ref().and_then(|kind| kind.vendor()).map(ToString::to_string).unwrap_or_default()
    }

    fn request(&self, asking: &Asking) -> Option<RequestTold> {
        let case = self.story.case(asking.id)?;
        let sessions: Vec<SessionId> =
            self.story.sessions.iter().filter(|visit| visit.facts.request == asking.id).map(|visit| visit.id).collect();
        let items = if sessions.is_empty() { self.sheet(asking, None, None)?.items() } else { Vec::new() };
        Some(RequestTold {
            request: asking.id,
            submitted: asking.submitted.at,
            technician: self.sources.texts.name(case.request.technician),
            vendor: Self::vendor(asking),
            target: case.request.target.to_string(),
            actions: words_of(&case.asked.actions),
            reason: self.reason(asking),
            standing: case.standing_in_words().to_owned(),
            sessions,
            items,
        })
    }

    fn refusal(&self, entry: u64, item: &HistoryItem) -> Option<RefusalTold> {
        let What::Refusal { reason, rule, asked } = &item.what else { return None };
        let in_words = refused_in_words(reason, rule.as_ref(), asked.as_deref());
        Some(RefusalTold {
            entry,
            at: item.at,
            technician: self.sources.texts.name(item.person),
            target: item.target.as_ref().map(ToString::to_string),
            in_words: Words::from(in_words.as_str()).to_string(),
        })
    }

    fn session(&self, visit: &Visit) -> Option<SessionTold> {
        let asking = self.story.asking(visit.facts.request)?;
        let recording = self.recordings.get(&visit.id).filter(|_| visit.facts.erased().is_none());
        let inside = match (&self.sources.inside, recording, &self.store) {
            (InsideFrom::Keys(keys), Some(recording), Some(store)) => Some(Inside::read(store, recording, keys)),
            (InsideFrom::Told(before), ..) => {
                let told = before.sessions.iter().find(|told| told.session == visit.id);
                told.and_then(|told| told.inside.clone())
            }
            _ => None,
        };
        let sheet = self.sheet(asking, Some(visit), inside.as_ref())?;
        let name = |vote: &VoteCast| self.sources.texts.name(vote.statement.operator);
        let weaker = |vote: &VoteCast| Some(format!("{} ({})", name(vote), vote.weaker()?.mark()));
        Some(SessionTold {
            session: visit.id,
            request: asking.id,
            technician: self.sources.texts.name(visit.facts.technician),
            vendor: Self::vendor(asking),
            target: visit.facts.target.to_string(),
            service: visit.facts.service.to_string(),
            reason: self.reason(asking),
            approved_by: asking.approvals().filter(|vote| vote.weaker().is_none()).map(name).collect(),
            approved_weaker: asking.approvals().filter_map(weaker).collect(),
            started: visit.started.at,
            ended: visit.end(),
            ending: visit.ended.as_ref().map(|(_, ending, _)| ending.in_words().to_owned()),
            recording: match visit.facts.erased() {
                Some(_) => Some("erased".to_owned()),
                None => self.verdict(visit.id).map(str::to_owned),
            },
            items: sheet.items(),
            clauses: index(&sheet),
            inside,
        })
    }
}
