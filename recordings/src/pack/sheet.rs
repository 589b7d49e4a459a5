//! The twenty items that auditors ask of one session, as far as they were recorded. Each line says from which entry of
//! the journal it comes; what no version of the program recorded yet is said to be missing, and never guessed.

use std::sync::Arc;

use certs::sshsig::{self, Namespace, SignatureKind};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::actions::{Action, Actions};
use policies::digest::{Digest, Salted};
use policies::events::{CutBy, Ending, ErasedOn, EscortEnd, Event, Factor, PackOf, Scope};
use policies::guests::Guest;
use policies::history::refused_in_words;
use policies::ids::{PersonId, ServiceName, TargetName};
use policies::people::Kind;
use policies::plant::{Escort, Plant, Protocol, Service, Weaker};
use policies::requests::{Account as WorkAccount, Answer, GuestStatement, Matter, VerdictStatement};
use policies::state::{Case, RequestStanding, State};
use policies::time::Window;
use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, PublicKey};

use super::inside::{Inside, Operated};
use super::story::{Asking, Given, Noted, Story, Visit, VoteCast, reason_of, secret_of};
use super::texts::{Texts, Told};
use crate::leaf::Account;
use crate::read::Recording;
use crate::verify::GATES_WORD;
use crate::words::Words;

/// One of the twenty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// 1 to 20.
    pub number: u8,
    /// What it is about.
    pub title: String,
    /// What is known.
    pub lines: Vec<Line>,
}

/// Something that is known, or known to be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What.
    pub label: String,
    /// In words, harmless.
    pub text: String,
    /// The entry of the journal that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// Nothing was recorded or opened, and `text` says why.
    #[serde(default, skip_serializing_if = "crate::ledger::is_false")]
    pub missing: bool,
}

/// What no version of the program records yet.
const NOT_RECORDED: &str = "not recorded by this version";
const NOT_OPENED: &str = "not opened: no auditor's key was at hand when this pack was made";

/// What a recording's opening says in the clear; of what the recorder writes there, what is told here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Opening {
    address: String,
    plant: Digest,
    banner: Digest,
    rule_digest: Digest,
    program: String,
    grant_digest: Digest,
}

/// What is known of a request and of one of its sessions.
pub(super) struct Sheet<'a> {
    pub(super) story: &'a Story,
    pub(super) asking: &'a Asking,
    pub(super) case: &'a Case,
    pub(super) visit: Option<&'a Visit>,
    pub(super) recording: Option<&'a Recording>,
    pub(super) opening: Option<Opening>,
    /// In force when the session began, or when it was asked for.
    pub(super) plant: Option<Arc<Plant>>,
    pub(super) texts: &'a Texts,
    pub(super) inside: Option<&'a Inside>,
    /// What the check of the folder said of the recording.
    pub(super) verdict: Option<&'a str>,
    pub(super) zone: TimeZone,
}

/// Gathers lines.
#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn put(&mut self, label: &str, text: impl Into<String>) {
        self.0.push(Line { label: label.to_owned(), text: text.into(), entry: None, missing: false });
    }

    fn noted(&mut self, label: &str, text: impl Into<String>, noted: Noted) {
        self.0.push(Line { label: label.to_owned(), text: text.into(), entry: Some(noted.entry), missing: false });
    }

    fn lacks(&mut self, label: &str, why: &str) {
        self.0.push(Line { label: label.to_owned(), text: why.to_owned(), entry: None, missing: true });
    }

    fn told(&mut self, label: &str, told: Told, noted: Noted) {
        match told {
            Told::Text(text) => self.noted(label, text, noted),
            Told::Closed => {
                self.lacks(label, "only its salted digest is here: the text was erased, or was not at hand");
            }
        }
    }
}

/// Puts what is known of one item.
type Fill<'a> = fn(&Sheet<'a>, &mut Lines);

impl<'a> Sheet<'a> {
    /// Title, and what fills it; in the order of their numbers.
    const ITEMS: [(&'static str, Fill<'a>); 20] = [
        ("What this is about", Self::identity),
        ("Technician and vendor", Self::technician),
        ("Where they came from", Self::source),
        ("Why", Self::purpose),
        ("What was asked and granted", Self::granted),
        ("On whose word", Self::approvals),
        ("Banner", Self::banner),
        ("Proof of the person", Self::factors),
        ("Account on the target", Self::account),
        ("Where encryption ended", Self::encryption),
        ("Who watched", Self::watchers),
        ("What was done", Self::operations),
        ("Files", Self::files),
        ("The recording", Self::the_recording),
        ("How it ended", Self::ending),
        ("Changes to the target", Self::changes),
        ("Review", Self::review),
        ("Clock, software, policy", Self::policy),
        ("Who read this record", Self::readers),
        ("How long it is kept", Self::keeping),
    ];

    /// All twenty; of a request that no session came of, those that can be about it.
    pub(super) fn items(&self) -> Vec<Item> {
        let of_requests = [1, 2, 4, 5, 6, 8, 18];
        let numbered = (1..).zip(Self::ITEMS);
        let wanted = numbered.filter(|(number, _)| self.visit.is_some() || of_requests.contains(number));
        let item = |(number, (title, fill)): (u8, (&str, Fill<'a>))| {
            let mut lines = Lines::default();
            fill(self, &mut lines);
            Item { number, title: title.to_owned(), lines: lines.0 }
        };
        wanted.map(item).collect()
    }

    fn at(&self, at: Timestamp) -> String {
        moment(at, &self.zone)
    }

    fn span(&self, window: Window) -> String {
        format!("{} to {}", self.at(window.from), self.at(window.until))
    }

    fn name(&self, person: PersonId) -> String {
        self.texts.name(person)
    }

    pub(super) fn target(&self) -> &TargetName {
        &self.case.request.target
    }

    fn service_name(&self) -> Option<&ServiceName> {
        match self.visit {
            Some(visit) => Some(&visit.facts.service),
            None => self.case.request.services.first(),
        }
    }

    pub(super) fn service(&self) -> Option<&Service> {
        self.plant.as_ref()?.targets.get(self.target())?.services.get(self.service_name()?)
    }

    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.service().map(|service| service.protocol)
    }

    pub(super) fn actions(&self) -> Actions {
        let widened = self.case.widened.iter().flat_map(|(actions, _)| actions.iter());
        self.case.request.actions.iter().chain(widened).copied().collect()
    }

    /// Whether more than a gate reads could be done: what passed may be encrypted inside, or of a form that nobody looks into.
    pub(super) fn is_opaque(&self) -> bool {
        self.actions().contains(&Action::Tunnel)
    }

    fn identity(&self, lines: &mut Lines) {
        if let Some(visit) = self.visit {
            lines.noted("Session", visit.id.to_string(), visit.started);
        }
        lines.noted("Request", self.asking.id.to_string(), self.asking.submitted);
        let deployment = self.story.state.deployment.as_ref().map(ToString::to_string).unwrap_or_default();
        match &self.plant {
            Some(plant) => lines.put("Plant", format!("{} ({deployment})", Words::from(plant.name.as_str()))),
            None => lines.put("Plant", deployment),
        }
        let zone = self.plant.as_ref().and_then(|plant| plant.targets.get(self.target()));
        match zone {
            Some(target) => lines.put("Zone", target.zone.to_string()),
            None => lines.lacks("Zone", "the plant file of that time does not name the target"),
        }
        lines.put("Target", self.target().to_string());
        if let Some(name) = self.service_name() {
            let protocol = self.protocol().map_or_else(String::new, |protocol| format!(", protocol {protocol}"));
            lines.put("Service", format!("{name}{protocol}"));
        }
        match (&self.opening, self.service()) {
            (Some(opening), _) => lines.put("Address", Words::from(opening.address.as_str()).to_string()),
            (None, Some(service)) => lines.put("Address", service.address.to_string()),
            (None, None) => {}
        }
        lines.lacks("Criticality", NOT_RECORDED);
    }

    fn technician(&self, lines: &mut Lines) {
        lines.noted("Technician", self.name(self.case.request.technician), self.asking.submitted);
        if let Some(Kind::Technician { vendor, role }) = &self.asking.kind {
            lines.put("Vendor", vendor.to_string());
            lines.put("Role in the contract", role.to_string());
        }
        match &self.asking.contract {
            Some(contract) => {
                lines.put("Contract ends", self.at(contract.end));
                lines.put("Answers for the vendor at the plant", self.name(contract.sponsor));
            }
            None => lines.lacks("Contract", "none stood when this was asked"),
        }
        lines.lacks("Contract number", NOT_RECORDED);
        lines.lacks("Training and background check", NOT_RECORDED);
    }

    fn source(&self, lines: &mut Lines) {
        if let Some(visit) = self.visit {
            lines.noted("Source address", visit.facts.source.to_string(), visit.started);
        }
        lines.lacks("Client program", NOT_RECORDED);
        lines.lacks("State of the technician's device", NOT_RECORDED);
    }

    fn purpose(&self, lines: &mut Lines) {
        let submitted = self.asking.submitted;
        lines.told("Reason", self.texts.tell(self.case.asked.reason), submitted);
        match self.case.asked.work_order {
            Some(order) => lines.told("Work order", self.texts.tell(order), submitted),
            None => lines.noted("Work order", "none was named", submitted),
        }
        lines.lacks("State of the work order at start and end", NOT_RECORDED);
    }

    fn granted(&self, lines: &mut Lines) {
        let Case { asked, request, rule, .. } = self.case;
        let submitted = self.asking.submitted;
        lines.noted("Asked", words_of(&asked.actions), submitted);
        lines.noted("Asked for", format!("{}, inside {}", asked.duration, self.span(asked.window)), submitted);
        if asked.emergency {
            lines.noted("Emergency", "asked as an emergency", submitted);
        }
        if let Some((_, guest)) = &self.asking.guest {
            self.guest(guest, lines);
        }
        self.attested(lines);
        lines.put("Under the rule", format!("{} (at most {}, by {})", rule.id, rule.duration_max, rule.approvers()));
        let granted = self.asking.turns.iter().find(|(_, event)| matches!(event, Event::Granted { .. }));
        match granted {
            Some((noted, _)) => {
                lines.noted("Granted", words_of(&request.actions), *noted);
                lines.noted(
                    "Granted for",
                    format!("{}, inside {}", request.duration, self.span(request.window)),
                    *noted,
                );
            }
            None => lines.put("Granted", "nothing"),
        }
        let taken = self.story.state.taken_away(self.case);
        if !taken.is_empty() {
            lines.put("Taken away by approvals", taken.join(", "));
        }
        for (noted, event) in &self.asking.turns {
            if let Some((label, words)) = self.turn(event) {
                lines.noted(label, format!("{}: {words}", self.at(noted.at)), *noted);
            }
        }
        if let Some(visit) = self.visit {
            let until = visit.end().map_or_else(|| "it ran when this was made".to_owned(), |end| self.at(end));
            lines.noted("Actual", format!("{} to {until}", self.at(visit.started.at)), visit.started);
        }
    }

    /// What a manager of the technician's company said of them when they asked, and whether the rule wanted it.
    fn attested(&self, lines: &mut Lines) {
        let wanted = self.case.rule.attested;
        match (&self.asking.attested, wanted) {
            (None, None) => {}
            (None, Some(within)) => {
                lines.put("Attested", format!("by nobody, where the rule demands it within {within}"));
            }
            (Some((attested, until)), _) => {
                let by = self.name(attested.by);
                let by = if attested.by == self.case.asked.technician { format!("{by}, by themself,") } else { by };
                let demanded = if wanted.is_none() { "; the rule demands none" } else { "" };
                let words = format!("by {by} at {} until {}{demanded}", self.at(attested.at), self.at(*until));
                lines.put("Attested", words);
                match attested.note.map(|note| self.texts.tell(note)) {
                    Some(Told::Text(text)) => lines.put("Beside the attestation", text),
                    Some(Told::Closed) => lines.lacks("Beside the attestation", "the text is not in this pack"),
                    None => {}
                }
            }
        }
    }

    /// On whose word somebody came as a guest, who called back on which number.
    fn guest(&self, guest: &Guest, lines: &mut Lines) {
        let GuestStatement { operator, until, target, reason, telephone, .. } = &guest.statement;
        let invited = format!(
            "a guest, invited by {} at {} for {target} alone, until {}",
            self.name(*operator),
            self.at(guest.at),
            self.at(*until)
        );
        lines.put("Guest", invited);
        for (label, text) in
            [("Why they were invited", *reason), ("Called back on, as the operator signed", *telephone)]
        {
            match self.texts.tell(text) {
                Told::Text(text) => lines.put(label, text),
                Told::Closed => lines.lacks(label, "the text is not in this pack"),
            }
        }
    }

    /// What came of a request besides votes, in words.
    fn turn(&self, event: &Event) -> Option<(&'static str, String)> {
        let tell = |text: Salted| match self.texts.tell(text) {
            Told::Text(text) => format!(": {text}"),
            Told::Closed => String::new(),
        };
        Some(match event {
            Event::Denied { by, .. } => ("Denied", format!("by {}", self.name(*by))),
            Event::Withdrawn { .. } => ("Withdrawn", "by the technician".to_owned()),
            Event::Lapsed { .. } if self.case.first_use.is_some() => ("Over", "with the guest's visit".to_owned()),
            Event::Lapsed { .. } => ("Lapsed", "nobody answered in time, or nobody used it".to_owned()),
            Event::Restored { administrator, operator } => {
                let by = [administrator, operator].map(|one| self.name(one.statement.signer));
                ("Ended by a restore", format!("as {} and {} signed", by[0], by[1]))
            }
            Event::Revoked { by, reason, .. } => ("Taken back", format!("by {}{}", self.name(*by), tell(*reason))),
            Event::ExtensionAsked { extension } => {
                ("More time asked", format!("{} more{}", extension.by, tell(extension.reason)))
            }
            Event::Extended { deadline, .. } => ("More time given", format!("until {}", self.at(*deadline))),
            Event::WideningAsked { widening } => {
                let words = format!("{} for {}{}", words_of(&widening.actions), widening.lasts, tell(widening.reason));
                ("More actions asked", words)
            }
            Event::Widened { until, .. } => ("More actions given", format!("until {}", self.at(*until))),
            Event::Accepted { by, until, .. } => {
                ("Accepted at a shift change", format!("by {}, on duty until {}", self.name(*by), self.at(*until)))
            }
            Event::NotAccepted { then, .. } => ("Nobody accepted it at a shift change", then.in_words().to_owned()),
            Event::GuestEnded { by: Some(by), .. } => ("The guest was sent away", format!("by {}", self.name(*by))),
            Event::GuestEnded { by: None, .. } => ("The guest's time ended", "by itself".to_owned()),
            Event::AskDenied { by, .. } => ("More was refused", format!("by {}", self.name(*by))),
            _ => return None,
        })
    }

    fn approvals(&self, lines: &mut Lines) {
        for vote in self.asking.votes.iter().chain(self.visit.iter().flat_map(|visit| &visit.votes)) {
            self.vote(vote, lines);
        }
        if self.asking.votes.is_empty() {
            lines.put("Answers", "nobody answered");
        }
        lines.put("Needed", self.case.rule.approvers());
    }

    fn vote(&self, vote: &VoteCast, lines: &mut Lines) {
        let VerdictStatement { matter, digest, answer, operator, journal, .. } = &vote.statement;
        let about = match matter {
            Matter::Request(_) => "the request",
            Matter::Extension(_) => "more time",
            Matter::Widening(_) => "more actions",
            Matter::Review(_) => "the review",
            Matter::Guest(_) => "the look back at the guest's visit",
            Matter::Session(_) => "the review of a session that was drawn",
            Matter::Reopening(_) => "the reopening",
            Matter::CloseOut(_) => "the close-out",
        };
        let is_look_back = matches!(matter, Matter::Review(_) | Matter::Guest(_) | Matter::Session(_));
        let (yes, said) = match answer {
            Answer::Yes { .. } => (if is_look_back { "Looked back" } else { "Approved" }, "yes"),
            Answer::No { .. } => (if is_look_back { "Objected" } else { "Denied" }, "no"),
        };
        let groups = vote.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let groups = if groups.is_empty() { "of no group".to_owned() } else { format!("of {groups}") };
        let words = format!("{}, {groups}, at {}: {said} to {about}", self.name(*operator), self.at(vote.noted.at));
        lines.noted(yes, words, vote.noted);
        if let Some(reason) = reason_of(answer) {
            lines.told("Comment", self.texts.tell(reason), vote.noted);
        }
        let is_own = *operator == self.case.request.technician;
        let same_vendor =
            vote.vendor.is_some() && vote.vendor.as_ref() == self.asking.kind.as_ref().and_then(Kind::vendor);
        let own = match (is_own, same_vendor) {
            (true, _) => "their own request",
            (_, true) => "works for the vendor that asks",
            _ => "neither their own request nor their own vendor's",
        };
        lines.noted("Own request?", own, vote.noted);
        lines.noted("Signed", how_signed(vote), vote.noted);
        lines.noted(
            "Over",
            format!("{about} with the digest {digest}, and the journal's first {} entries", journal.size),
            vote.noted,
        );
        lines.noted("Given by", given_by(vote), vote.noted);
        lines.noted("Weaker than a signature?", weaker(&vote.given), vote.noted);
    }

    fn banner(&self, lines: &mut Lines) {
        let Some(opening) = &self.opening else { return lines.lacks("Banner", "there is no recording that names it") };
        match self.plant.as_ref().filter(|plant| self.has_banner(plant)) {
            Some(plant) => {
                lines.put("Text", Words::from(plant.banner.as_str()).to_string());
                lines.put("SHA-256, as the recording's opening names it", opening.banner.to_string());
                lines.put("Shown", "before anybody signs in, by the SSH protocol's own message");
            }
            None => lines.lacks("Banner", "the plant file of that time has none"),
        }
    }

    /// Whether the plant file's banner is the one that the recording's opening names.
    pub(super) fn has_banner(&self, plant: &Plant) -> bool {
        let named = self.opening.as_ref().map(|opening| opening.banner);
        !plant.banner.is_empty() && named == Some(Digest::of_bytes(plant.banner.as_bytes()))
    }

    pub(super) fn proofs(&self) -> &[Factor] {
        match self.visit.map(|visit| &visit.start) {
            Some(Event::Started { factors, .. }) => factors,
            _ => &[],
        }
    }

    fn factors(&self, lines: &mut Lines) {
        if let Some(visit) = self.visit {
            let words: Vec<&str> = self.proofs().iter().map(Factor::in_words).collect();
            lines.noted("Factors, all right", words.join(", "), visit.started);
        }
        for (noted, event) in &self.asking.refusals {
            let words = match event {
                Event::Refused { reason, target, rule, asked, .. } => {
                    let target = target.as_ref().map(|target| format!("{target}: ")).unwrap_or_default();
                    let words = refused_in_words(reason, rule.as_ref(), asked.as_ref());
                    format!("{target}{}", Words::from(words.as_str()))
                }
                Event::Locked { until, .. } => format!("locked out until {} after wrong codes", self.at(*until)),
                _ => continue,
            };
            lines.noted("Refused while the grant stood", format!("{}: {words}", self.at(noted.at)), *noted);
        }
        if self.asking.refusals.is_empty() {
            lines.put("Refused while the grant stood", "never, by the journal");
        }
        lines.lacks("Single wrong codes", NOT_RECORDED);
    }

    fn account(&self, lines: &mut Lines) {
        let Some(service) = self.service() else {
            return lines.lacks("Account", "the plant file of that time does not name the service");
        };
        match &service.user {
            Some(user) => lines.put("Account", Words::from(user.as_str()).to_string()),
            None => lines.lacks("Account", "none is named for this service"),
        }
        let credential = match &service.credential {
            Some(policies::plant::Credential::Certificate) => "a short-lived certificate of the gate's".to_owned(),
            Some(policies::plant::Credential::Sealed(name)) => {
                format!("the secret {name}, given by the gate and shown to nobody")
            }
            None => "none".to_owned(),
        };
        lines.put("Opened by", credential);
        self.secret(lines);
        match &service.host_key {
            Some(pin) => lines.put("The target must show the host key", pin.to_string()),
            None => lines.lacks("Host key", "none is pinned for this service"),
        }
    }

    /// When the secret was set that opened the account.
    fn secret(&self, lines: &mut Lines) {
        let Some(visit) = self.visit else { return };
        match visit.secret {
            Some((noted, by)) => {
                lines.noted("Secret set last", format!("{}, by {}", self.at(noted.at), self.name(by)), noted);
            }
            None if visit.facts.account.as_ref().and_then(secret_of).is_some() => {
                lines.lacks("Secret set last", "the journal of that time does not say");
            }
            None => {}
        }
    }

    fn encryption(&self, lines: &mut Lines) {
        match self.protocol() {
            _ if self.is_opaque() => {
                lines.put("Ends", "not in the gate: encrypted inside, or of a form nobody looks into");
            }
            Some(Protocol::Ssh) => {
                lines.put("Ends", "in the gate, which speaks SSH to both sides: what is recorded is clear text");
            }
            Some(Protocol::Telnet) => {
                let caution = Protocol::Telnet.caution().unwrap_or_default();
                let words = format!("in the gate, to which the technician speaks SSH; {caution}");
                lines.put("Ends", words);
            }
            Some(protocol) if protocol.is_forwarded() => {
                let words = format!(
                    "in the gate, to which the technician speaks SSH or TLS; from there {protocol} passes as it is, and what is \
                     recorded is clear text"
                );
                lines.put("Ends", words);
            }
            _ => lines.lacks("Ends", NOT_RECORDED),
        }
        lines.lacks("Cipher", NOT_RECORDED);
        lines.put("Kept", "encrypted to the auditors (age, AES-256-GCM); the gate cannot read it back");
    }

    fn watchers(&self, lines: &mut Lines) {
        let Some(visit) = self.visit else { return };
        let mut watched = false;
        for (noted, event) in &visit.turns {
            let label = match event {
                Event::Watched { .. } => "Began to watch",
                Event::WatchEnded { .. } => "Stopped watching",
                Event::Escorted { .. } => "Began to escort",
                Event::EscortEnded { why: EscortEnd::Left, .. } => "Escorted no longer",
                Event::EscortEnded { why: EscortEnd::Lapsed, .. } => "Gave no word that they were still there",
                Event::Told { .. } => "Wrote to the technician",
                Event::Frozen { .. } => "Stopped the input",
                Event::Thawed { .. } => "Let the input go on",
                Event::IdleLocked { .. } => "Locked, since nobody typed",
                Event::IdleUnlocked { .. } => "Opened again with a code",
                _ => continue,
            };
            watched |= matches!(event, Event::Watched { .. });
            let who = event.actor().map(|person| format!(", {}", self.name(person))).unwrap_or_default();
            lines.noted(label, format!("{}{who}", self.at(noted.at)), *noted);
            if let Event::Told { text, .. } = event {
                lines.told("The line", self.texts.tell(*text), *noted);
            }
        }
        if self.case.rule.escort == Escort::Required {
            let every = self.case.rule.escort_tap;
            lines.put(
                "Demanded",
                format!("an escort, who says every {every} that they are there; else input is stopped"),
            );
        }
        if !watched {
            lines.put("Watched", "nobody watched");
        }
    }

    fn operations(&self, lines: &mut Lines) {
        if self.is_opaque() {
            lines.put("Granted as a tunnel", "anything may be done");
        }
        let Some(inside) = self.inside else { return self.not_opened(lines, "Operations") };
        if self.protocol().is_some_and(Protocol::is_forwarded) {
            self.carried(inside, lines);
        } else {
            lines.put(
                "Listed below",
                format!("{} commands and connections, {} lines of the gate", inside.commands.len(), inside.gate.len()),
            );
            lines.lacks(
                "What was typed in a shell and stood on the screen",
                "it is in the recording, and `holdpoint play` shows it; it is not told here",
            );
        }
        self.rule(lines);
    }

    /// What is known of TCP connections: what a gate read of them, and what nobody can.
    fn carried(&self, inside: &Inside, lines: &mut Lines) {
        let times = |wanted: &dyn Fn(&Operated) -> bool| {
            inside.operations.iter().filter(|of| wanted(of)).map(|of| of.times).sum::<u64>()
        };
        let (all, refused) = (times(&|_| true), times(&|of| !of.allowed));
        lines.put(
            "Listed below",
            format!("{all} operations, {refused} of them refused, by the protocol gate's reading"),
        );
        lines.put("TCP connections", inside.connections.len().to_string());
        let changing = times(&|of| of.allowed && of.class != Some(Action::Observe));
        lines.put("Passed beyond reading", format!("{changing} operations"));
        for carried in &inside.connections {
            if let Some(open) = &carried.open {
                lines.lacks(&format!("Inside channel {}, to {}", carried.channel, carried.to), open);
            }
        }
        if self.is_opaque() && all > 0 {
            lines.lacks(
                "Beside the operations listed",
                "a gate that only decodes lets everything pass, what it did not know too",
            );
        }
    }

    fn rule(&self, lines: &mut Lines) {
        lines.put("Rule", format!("{}, digest {}", self.case.rule.id, self.case.request.rule));
    }

    fn not_opened(&self, lines: &mut Lines, label: &str) {
        match self.recording {
            None => lines.lacks(label, "there is no recording"),
            Some(_) => lines.lacks(label, NOT_OPENED),
        }
    }

    fn files(&self, lines: &mut Lines) {
        let Some(inside) = self.inside else { return self.not_opened(lines, "Files") };
        let refused = inside.files.iter().filter(|file| !file.allowed).count();
        lines.put("Listed below", format!("{} files, {refused} of them refused", inside.files.len()));
        const LOOKED_AT: &str = "Looked at for malicious code, and released by";
        match &self.case.rule.file_check {
            Some(check) => lines.put(LOOKED_AT, format!("the rule's file_check, {check}; its verdicts stand below")),
            None => lines.lacks(LOOKED_AT, "nobody: the rule has no file_check"),
        }
    }

    fn the_recording(&self, lines: &mut Lines) {
        let Some(visit) = self.visit else { return };
        if let Some((at, on)) = visit.facts.erased() {
            let words = format!("erased {}, {}; its leaves stay in the gate's log", self.at(*at), self.erased_on(on));
            return lines.lacks("Recording", &words);
        }
        let Some(recording) = self.recording else {
            return lines.lacks("Recording", "there is none in this pack");
        };
        lines.put("Frames", format!("{}, in {} blocks", recording.frames, recording.blocks.len()));
        lines.put("Key file", format!("SHA-256 {}", recording.opened.key_file));
        lines.put("Place", format!("the record log of node {}, session number {}", visit.facts.node, recording.number));
        match (&recording.sealed, &visit.ended) {
            (Some(sealed), ended) => {
                if let Some((noted, _, Some(seal))) = ended {
                    lines.noted("Seal", format!("SHA-256 {seal}, as the journal has it"), *noted);
                }
                for account in sealed.accounts.iter().flatten() {
                    let Account { direction, channel, received, forwarded, refused, undelivered, made } =
                        account.account;
                    let way = if direction == crate::leaf::Direction::In { "to the target" } else { "from the target" };
                    let words = format!(
                        "{way}: {received} bytes came, {forwarded} passed, {refused} were refused, {undelivered} found no taker; {made} by the gate itself"
                    );
                    let which = if channel == crate::leaf::OTHER_CHANNELS {
                        "other channels".to_owned()
                    } else {
                        format!("channel {channel}")
                    };
                    lines.put(&format!("Bytes, {which}"), words);
                }
            }
            (None, _) => lines.lacks("Seal", "it has none: it ran when this was made, or was cut off"),
        }
        let gaps = match self.verdict {
            Some("ok") => "no gaps: every frame from the opening to the seal is there and follows the one before",
            Some("cut-off") => {
                "no gaps up to where the gate crashed or was stopped under it; all that reached the target is in it"
            }
            Some("open") => "no gaps so far; it ran when this was made",
            Some("missing") => "MISSING: its keys or blocks are not here, and nobody decided that",
            Some(_) => "NOT WHOLE: see what was checked",
            None => "not checked",
        };
        lines.put("Gaps", gaps);
    }

    fn ending(&self, lines: &mut Lines) {
        let Some(visit) = self.visit else { return };
        let Some((noted, ending, _)) = &visit.ended else {
            return lines.lacks("Ending", "it ran when this was made, or its end was never written");
        };
        lines.noted("Ended", self.at(noted.at), *noted);
        lines.noted("Why", ending.in_words(), *noted);
        if let Some((cut, Event::Cut { scope, by, .. })) = &visit.cut {
            let who = match by {
                CutBy::Operator(person) => self.name(*person),
                CutBy::Display(display) => format!("somebody at the display {}", self.name(*display)),
                CutBy::Local => "somebody at the gate's own machine".to_owned(),
            };
            lines.noted("Cut", format!("{} by {who}, at {}", scope_in_words(scope), self.at(cut.at)), *cut);
            match &visit.reopened {
                Some(reopened) => lines.noted("Reopened", self.at(reopened.at), *reopened),
                None => lines.put("Connecting again", "blocked by the cut, which was not reopened"),
            }
        } else if self.case.standing == RequestStanding::Revoked {
            lines.put("Connecting again", "the grant was taken back");
        } else {
            lines.put("Connecting again", "nothing blocks it but the grant's own end");
        }
        if self.case.account().is_none() && self.case.closed_out().is_none() {
            lines.lacks("Remarks of who ended it", NOT_RECORDED);
        }
    }

    fn changes(&self, lines: &mut Lines) {
        for (noted, event) in &self.asking.turns {
            match event {
                Event::Accounted { account, by, .. } => {
                    self.account_of("Said by the technician", account, *by, *noted, lines);
                }
                Event::ClosedOut { close_out, verdict } => {
                    let by = verdict.statement.operator;
                    self.account_of("Signed off", &close_out.account, by, *noted, lines);
                }
                _ => {}
            }
        }
        match (self.case.closed_out(), self.case.rule.close_out) {
            (Some(_), _) => {}
            (None, Some(_)) => lines.put("Signed off", "not yet, and its rule demands it"),
            (None, None) => {
                lines.lacks("Declared changes", "nobody signed off what was done, and its rule does not demand it");
            }
        }
        lines.lacks("State before and after", NOT_RECORDED);
    }

    fn account_of(&self, how: &str, account: &WorkAccount, by: PersonId, noted: Noted, lines: &mut Lines) {
        lines.noted(how, format!("{}, {}", self.at(noted.at), self.name(by)), noted);
        for (label, text) in ["What was done", "What was changed", "How it was left"].into_iter().zip(account.texts()) {
            lines.told(label, self.texts.tell(text), noted);
        }
    }

    fn review(&self, lines: &mut Lines) {
        let is_reviewed = self.look_back(lines);
        let is_drawn = self.drawn(lines).is_some();
        if !is_reviewed && !is_drawn {
            lines.lacks("Reviewed", "emergency grants, guests' visits and drawn sessions are, and this is none");
        }
    }

    /// The review of the session, where it was drawn.
    fn drawn(&self, lines: &mut Lines) -> Option<()> {
        let visit = self.visit?;
        let (due, sample) = (visit.facts.review_due?, self.case.rule.review?);
        let reviewed = visit.turns.iter().find_map(|(noted, event)| match event {
            Event::SessionReviewed { by, findings, .. } => Some((*noted, *by, *findings)),
            _ => None,
        });
        lines.put("Drawn for review", format!("by chance, under a rule that wants {sample}"));
        match reviewed {
            Some((noted, by, findings)) => {
                lines.noted("Reviewed", format!("by {}, at {}", self.name(by), self.at(noted.at)), noted);
                match findings {
                    Some(found) => lines.told("Findings", self.texts.tell(found), noted),
                    None => lines.noted("Findings", "none", noted),
                }
            }
            None => lines.put("Reviewed", format!("not yet, and it is to be until {}", self.at(due))),
        }
        Some(())
    }

    /// The look back at an emergency grant or a visit; whether there is one, or has to be.
    fn look_back(&self, lines: &mut Lines) -> bool {
        let reviewed = self.asking.turns.iter().find_map(|(noted, event)| match event {
            Event::Reviewed { by, objection, .. } | Event::GuestReviewed { by, objection, .. } => {
                Some((*noted, self.name(*by), *objection))
            }
            _ => None,
        });
        match reviewed {
            Some((noted, who, objection)) => {
                let how = if objection.is_some() { ", WITH AN OBJECTION" } else { "" };
                lines.noted("Reviewed", format!("by {who}, at {}{how}", self.at(noted.at)), noted);
                if let Some(why) = objection {
                    lines.told("Objection", self.texts.tell(why), noted);
                }
            }
            None if self.case.request.emergency => lines.put("Reviewed", "not yet, and an emergency grant must be"),
            None if self.asking.guest.is_some() => lines.put("Reviewed", "not yet, and a guest's visit must be"),
            None => return false,
        }
        true
    }

    fn policy(&self, lines: &mut Lines) {
        lines.put("Times", "are the gate's word");
        lines.lacks("Whether the clock was synchronised", NOT_RECORDED);
        if let Some(opening) = &self.opening {
            lines.put("Program", format!("holdpoint {}", Words::from(opening.program.as_str())));
            lines.put("Plant file in force, SHA-256", opening.plant.to_string());
            lines.put("Rule, digest", opening.rule_digest.to_string());
            lines.put("Request as granted, digest", opening.grant_digest.to_string());
        } else if let Some(plant) = &self.plant {
            lines.put("Plant file in force when it was asked, SHA-256", plant.digest().to_string());
            lines.put("Rule, digest", self.case.request.rule.to_string());
        }
    }

    fn readers(&self, lines: &mut Lines) {
        let Some(visit) = self.visit else { return };
        let of_it = visit.turns.iter().filter_map(|(noted, event)| match event {
            Event::Fetched { by, .. } => Some((*noted, *by, "Fetched")),
            Event::Rehearsed { by, .. } => Some((*noted, *by, "Opened to try an auditor's key")),
            Event::BackedUp { by, .. } => Some((*noted, *by, "In a backup of the gate")),
            Event::Packed { of: PackOf::Session { .. }, by } => Some((*noted, *by, "Pack made")),
            _ => None,
        });
        let mut reads: Vec<_> =
            of_it.chain(self.story.packs.iter().map(|(noted, by)| (*noted, *by, "Pack of the vendor made"))).collect();
        reads.sort_by_key(|(noted, ..)| noted.entry);
        for (noted, person, what) in &reads {
            lines.noted(what, format!("{}, {}", self.at(noted.at), self.name(*person)), *noted);
        }
        if reads.is_empty() {
            lines.put("Fetched", "by nobody, up to the journal's end in this pack");
        }
        lines.put("Not among these", "replays of a copy that lies elsewhere: no gate sees them");
    }

    fn erased_on(&self, on: &ErasedOn) -> String {
        match on {
            ErasedOn::People { administrator, operator } => {
                format!("on the signed word of {} and {}", self.name(*administrator), self.name(*operator))
            }
            ErasedOn::Rule { rule } => format!("as the rule {rule} says"),
        }
    }

    fn keeping(&self, lines: &mut Lines) {
        let Some(visit) = self.visit else { return };
        let rule = &self.case.rule;
        match visit.end() {
            Some(end) => {
                let least = format!("at least {}, until {}", rule.retention, self.at(rule.retention.after(end)));
                lines.put("Kept by its rule", least);
            }
            None => lines.put("Kept by its rule", format!("at least {} from its end", rule.retention)),
        }
        match rule.retention_max {
            Some(most) => lines.put("Erased by itself", format!("after {most}, unless somebody holds it")),
            None => lines.put("Erased by itself", "never, by its rule"),
        }
        for (noted, event) in &visit.turns {
            let who = event.actor().map(|person| self.name(person)).unwrap_or_default();
            let at = self.at(noted.at);
            match event {
                Event::Held { reason, .. } => {
                    lines.noted("Held", format!("{at}, {who}"), *noted);
                    lines.told("Because", self.texts.tell(*reason), *noted);
                }
                Event::Released { .. } => lines.noted("Released", format!("{at}, {who}"), *noted),
                Event::ErasureSigned { .. } => lines.noted("Erasure signed", format!("{at}, {who}"), *noted),
                Event::Erased { on, .. } => lines.noted("Erased", format!("{at}, {}", self.erased_on(on)), *noted),
                _ => {}
            }
        }
        match visit.facts.holds.len() {
            0 => lines.put("Held now", "by nobody"),
            1 => lines.put("Held now", "by one person"),
            more => lines.put("Held now", format!("by {more} people")),
        }
    }
}

/// How a signature was made, checked once more; or that there is none.
pub(super) fn how_signed(vote: &VoteCast) -> String {
    let Given::Signed { key, .. } = &vote.given else { return "NOT SIGNED".to_owned() };
    let fingerprint = PublicKey::from_openssh(&key.0).map(|key| key.fingerprint(HashAlg::Sha256).to_string());
    let how = match signature_of(vote) {
        Some(SignatureKind::Plain) => "with an SSH key, and the signature is right",
        Some(SignatureKind::Passkey { .. }) => "with a passkey that checked who held it, and the signature is right",
        Some(SignatureKind::SecurityKey { user_verified: true, .. }) => {
            "with a security key that knew its user, and the signature is right"
        }
        Some(SignatureKind::SecurityKey { user_present: true, .. }) => {
            "with a security key that was touched, and the signature is right"
        }
        Some(SignatureKind::SecurityKey { .. }) => "with a security key that nobody touched",
        None => "THE SIGNATURE IS WRONG",
    };
    format!("{how}, key {}", fingerprint.unwrap_or_default())
}

/// Whether a signature is right, and somebody was there.
pub(super) fn is_signed(vote: &VoteCast) -> bool {
    let kind = signature_of(vote);
    kind.is_some_and(|kind| !matches!(kind, SignatureKind::SecurityKey { user_present: false, .. }))
}

fn signature_of(vote: &VoteCast) -> Option<SignatureKind> {
    let Given::Signed { key, signature } = &vote.given else { return None };
    let key = PublicKey::from_openssh(&key.0).ok()?;
    sshsig::verify(&key, Namespace::Approval, &vote.statement.digest().0, signature).ok()
}

/// Each kind of key is used in one place.
fn given_by(vote: &VoteCast) -> &'static str {
    match (&vote.given, signature_of(vote)) {
        (Given::Weaker(_), _) => "codes, on a page or by command",
        (_, Some(SignatureKind::Passkey { .. })) => "a page",
        _ => "command",
    }
}

fn weaker(given: &Given) -> String {
    match given {
        Given::Signed { .. } => "no".to_owned(),
        Given::Weaker(way) => {
            let how = match way {
                Weaker::Totp => "the operator typed a code of their authenticator app",
                Weaker::Telephone => {
                    "the operator typed the code that the technician read out by telephone, and one of their authenticator app"
                }
            };
            format!("YES ({}): {how}. {GATES_WORD}", way.mark())
        }
    }
}

/// A moment on the plant's clock, with its zone.
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

pub(super) fn words_of(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

fn scope_in_words(scope: &Scope) -> String {
    match scope {
        Scope::Session(_) => "this session".to_owned(),
        Scope::Technician(_) => "everything of the technician".to_owned(),
        Scope::Vendor(vendor) => format!("everything of the vendor {vendor}"),
        Scope::Zone(zone) => format!("everything in the zone {zone}"),
        Scope::Plant => "everything in the plant".to_owned(),
    }
}

/// The plant file of a digest, as the journal keeps it.
pub(super) fn plant_of(state: &State, digest: Digest) -> Option<Arc<Plant>> {
    let proposal = state.proposals.get(&digest)?;
    Plant::parse(&proposal.text).ok().map(Arc::new)
}

impl Opening {
    pub(super) fn of(recording: &Recording) -> Option<Self> {
        serde_json::from_slice(&recording.opened.metadata).ok()
    }

    pub(super) const fn plant(&self) -> Digest {
        self.plant
    }
}

/// How a session ended, in the journal's word.
pub(super) fn ending_of(visit: &Visit) -> Option<&Ending> {
    visit.ended.as_ref().map(|(_, ending, _)| ending)
}
