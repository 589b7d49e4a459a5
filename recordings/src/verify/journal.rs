//! The journal's decisions, made once more: each event that needs signatures is decided again, by the same pure code,
//! on the state that stood then, with every signature checked; what follows from it must follow in the journal, and
//! nothing that needs signatures may stand there without. Who counts begins with the people in the trust file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use certs::log_key::Verifier;
use certs::sshsig::{self, Namespace, SignatureKind};
use certs::trust::{FirstRole, Trust};
use jiff::{SignedDuration, Timestamp};
use policies::actions::Actions;
use policies::decide::{Admission, Command};
use policies::digest::{Digest, Salted};
use policies::events::{ErasedOn, Event, Founder};
use policies::ids::{CutId, LinkId, NodeId, PersonId, ProviderName, RestoreId, SessionId};
use policies::people::{Kind, SshKey};
use policies::plant::Rule;
use policies::refusals::Refusal;
use policies::requests::{Request, RestoreStatement, SeenHead};
use policies::state::{Restore, State};
use ssh_key::PublicKey;

use super::Context;
use super::heads::{By, Remembered, journaled, records_name};
use super::log::{At, Reader};
use super::report::FindingKind;
use super::windows::Windows;
use super::witnessed::Moment;
use crate::frame::RawFrame;
use crate::leaf::Entry;
use crate::segment::OpenSession;
use crate::tree::Tree;

/// Follows a journal.
pub(super) struct Journal<'a> {
    trust: &'a Trust,
    pub(super) state: State,
    /// The root of the tree at each size.
    roots: Vec<[u8; 32]>,
    /// What must come next, by the decision before.
    due: VecDeque<Event>,
    /// Whether entries are missing or not understood: then nothing after can be judged.
    pub(super) lost: bool,
    /// Heads of this journal that people signed with what they decided.
    pub(super) signed: Vec<Moment>,
    /// Heads of record logs that the journal keeps.
    pub(super) vouched: Vec<Remembered>,
    /// Which entries told such heads while the gate ran; restores name heads, too.
    checkpointed: BTreeSet<u64>,
    pub(super) nodes: Vec<NodeId>,
    /// Restores that two people signed who may, and the index of each one's entry.
    pub(super) restores: Vec<(u64, Restore)>,
    pub(super) windows: Windows,
    /// All cuts.
    pub(super) cuts: BTreeSet<CutId>,
    /// Decisions about keeping, by their index: what, about which recording, and the entry's hash.
    pub(super) keeping: BTreeMap<u64, (&'static str, SessionId, [u8; 32])>,
}

impl<'a> Journal<'a> {
    pub(super) fn new(trust: &'a Trust) -> Self {
        Self {
            trust,
            state: State::default(),
            roots: vec![Tree::default().root()],
            due: VecDeque::new(),
            lost: false,
            signed: Vec::new(),
            vouched: Vec::new(),
            checkpointed: BTreeSet::new(),
            nodes: Vec::new(),
            restores: Vec::new(),
            keeping: BTreeMap::new(),
            cuts: BTreeSet::new(),
            windows: Windows::default(),
        }
    }

    /// How many entries it has.
    pub(super) fn size(&self) -> u64 {
        self.roots.len() as u64 - 1
    }

    /// How many entries of the recordings of this name its checkpoints know, from this entry of its own on.
    pub(super) fn vouched_up_to(&self, origin: &str, since: u64) -> Option<u64> {
        let is_late = |entry: u64| entry >= since && self.checkpointed.contains(&entry);
        let counts = |by: &By| matches!(by, By::Journal { entry } if is_late(*entry));
        let heads = self.vouched.iter().filter(|head| head.origin == origin && counts(&head.by));
        heads.map(|head| head.size).max()
    }

    /// Whether a session runs, as far as the journal goes.
    pub(super) fn has_open(&self, session: SessionId) -> bool {
        !self.lost && self.state.sessions.get(&session).is_some_and(|facts| facts.ended.is_none())
    }

    /// Tells what is wrong with an event, and applies it.
    fn take(
        &mut self,
        event: &Event,
        at: Timestamp,
        verifier: Option<&Verifier>,
        context: &mut Context<'_>,
    ) -> Vec<String> {
        let expected = self.due.pop_front();
        let follows = expected.as_ref().is_some_and(|expected| is_same(expected, event));
        let mut wrong = Vec::new();
        if let Some(expected) = expected.filter(|_| !follows) {
            wrong.push(format!("{} should follow here, and does not", expected.id()));
            self.due.clear();
        }
        if !follows {
            wrong.extend(self.judge(event, at, verifier, context));
        }
        match event {
            Event::Granted { .. } => context.report.decisions.grants += 1,
            Event::Started { .. } => context.report.decisions.sessions += 1,
            Event::NodeStarted { node, .. } if !self.nodes.contains(node) => self.nodes.push(node.clone()),
            Event::Checkpointed { node, checkpoint } => {
                let restore = self.last_restore(node);
                match journaled(self.trust, node, restore, checkpoint, self.state.size) {
                    Ok(head) => {
                        self.checkpointed.insert(self.state.size);
                        self.vouched.push(head);
                    }
                    Err(words) => wrong.push(words),
                }
            }
            Event::Restored { administrator, .. } => self.vouched.push(self.records_kept(&administrator.statement)),
            _ => {}
        }
        if let Some(seen) = event.seen().filter(|_| wrong.is_empty()) {
            self.signed.push(Moment { size: seen.size, at, by: format!("signed with a decision at {at:.0}") });
        }
        let entry = self.state.size;
        self.state.apply(event, at);
        if let (Event::Restored { .. }, Some(restore), []) = (event, self.state.restores.last(), &wrong[..]) {
            self.restores.push((entry, restore.clone()));
        }
        wrong
    }

    /// By which restore a node's recordings have the name that they have here.
    fn last_restore(&self, node: &NodeId) -> Option<RestoreId> {
        let of_node = |restore: &&Restore| restore.statement.node == *node;
        self.state.restores.iter().rev().find(of_node).map(|restore| restore.statement.restore)
    }

    /// What stays of the recordings is a head that their log has under its new name too.
    fn records_kept(&self, statement: &RestoreStatement) -> Remembered {
        let RestoreStatement { node, records, restore, .. } = statement;
        let origin = records_name(self.trust, node, Some(*restore));
        Remembered { origin, size: records.size, root: records.root, by: By::Journal { entry: self.state.size } }
    }

    /// What is wrong with an event that does not follow from the one before.
    fn judge(
        &mut self,
        event: &Event,
        at: Timestamp,
        verifier: Option<&Verifier>,
        context: &mut Context<'_>,
    ) -> Option<String> {
        match event {
            Event::Founded { deployment, log_key, founders } => {
                let same_key = verifier.is_none_or(|verifier| verifier.to_string() == *log_key);
                if *deployment != self.trust.deployment || !same_key || self.state.deployment.is_some() {
                    return Some("the journal was founded for another installation, or twice".to_owned());
                }
                self.founders(founders)
            }
            Event::Invited { person, kind, groups, link, expires, by } => {
                let groups = groups.iter().cloned().collect();
                let (person, kind, link, expires, by) = (*person, kind.clone(), *link, *expires, *by);
                self.redecide(&Command::Invite { person, kind, groups, link, expires, by }, event, at)
            }
            Event::Reinvited { person, link, expires, by } if self.is_of_a_company(*by) => {
                let (person, link, expires, by) = (*person, *link, *expires, *by);
                self.redecide(&Command::Reinvite { person, link, expires, by }, event, at)
            }
            Event::Disabled { person, by } if self.is_of_a_company(*by) => {
                self.redecide(&Command::Disable { person: *person, by: *by }, event, at)
            }
            Event::InvitationsAllowed { vendor, most, roles, by } => {
                let (vendor, roles) = (vendor.clone(), roles.clone());
                self.redecide(&Command::AllowInvitations { vendor, most: *most, roles, by: *by }, event, at)
            }
            Event::ManagerNamed { person, by } => {
                self.redecide(&Command::NameManager { person: *person, by: *by }, event, at)
            }
            Event::ManagerDismissed { person, by } => {
                self.redecide(&Command::DismissManager { person: *person, by: *by }, event, at)
            }
            Event::Attested { person, until, note, by } => {
                let (person, until, note, by) = (*person, *until, *note, *by);
                self.redecide(&Command::Attest { person, until, note, by }, event, at)
            }
            Event::AttestationWithdrawn { person, by } => {
                self.redecide(&Command::WithdrawAttestation { person: *person, by: *by }, event, at)
            }
            Event::Enrolled { person, link, keys } => self.enrolled(*person, *link, keys, event, at),
            Event::KeyAdded { person, key } => {
                self.redecide(&Command::AddKey { person: *person, key: key.clone() }, event, at)
            }
            Event::SubjectLinked { person, provider, subject, called } => {
                self.knows_as(*person, provider, *subject, *called, event, at)
            }
            Event::SubjectRenamed { person, provider, subject, called } => {
                let (person, provider) = (*person, provider.clone());
                let command = Command::RenameSubject { person, provider, subject: *subject, called: *called };
                self.redecide(&command, event, at)
            }
            Event::SubjectContested { person, provider, subject, .. } => {
                self.knows_as(*person, provider, *subject, None, event, at)
            }
            Event::SubjectUnlinked { person, provider, by } => {
                let command = Command::UnlinkSubject { person: *person, provider: provider.clone(), by: *by };
                self.redecide(&command, event, at)
            }
            Event::Certified { certificate } => {
                let statement = &certificate.statement;
                let signed = (&certificate.key, certificate.signature.as_str());
                self.signed(Namespace::Certify, statement.digest(), &statement.journal, signed, context)
                    .or_else(|| self.redecide(&Command::Certify { certificate: certificate.clone() }, event, at))
            }
            Event::GuestInvited { invitation, link, .. } => {
                let statement = &invitation.statement;
                let by = (&invitation.key, invitation.signature.as_str());
                let command = Command::InviteGuest { invitation: invitation.clone(), link: *link };
                self.signed(Namespace::Guest, statement.digest(), &statement.journal, by, context)
                    .or_else(|| self.redecide(&command, event, at))
            }
            Event::GuestEnded { guest, by: Some(by), .. } => {
                self.redecide(&Command::EndGuest { guest: *guest, by: *by }, event, at)
            }
            Event::GuestEnded { guest, person, by: None } => {
                let visit = self.state.guests.get(guest).map(|visit| &visit.statement);
                let was_up = visit.is_some_and(|visit| visit.person == *person && visit.until <= at);
                (!was_up).then(|| "the guest's time was not up".to_owned())
            }
            Event::PlantSigned { signed } => {
                let statement = &signed.statement;
                let by = (&signed.key, signed.signature.as_str());
                self.signed(Namespace::Plant, statement.digest(), &statement.journal, by, context)
                    .or_else(|| self.redecide(&Command::SignPlant { signed: signed.clone() }, event, at))
            }
            Event::SecretSet { credential, by } => {
                self.redecide(&Command::SetSecret { credential: credential.clone(), by: *by }, event, at)
            }
            Event::SecretForgotten { credential, by } => {
                self.redecide(&Command::ForgetSecret { credential: credential.clone(), by: *by }, event, at)
            }
            Event::Voted { verdict } => {
                let statement = &verdict.statement;
                let by = (&verdict.key, verdict.signature.as_str());
                self.signed(Namespace::Approval, statement.digest(), &statement.journal, by, context)
                    .or_else(|| self.redecide(&Command::Vote { verdict: verdict.clone() }, event, at))
            }
            Event::VotedWeaker { statement, way } => {
                context.report.decisions.weaker += 1;
                let command = Command::VoteWeaker { statement: statement.clone(), way: *way };
                self.had(&statement.journal).or_else(|| self.redecide(&command, event, at))
            }
            Event::Reopened { reopening, verdict } => {
                let statement = &verdict.statement;
                let by = (&verdict.key, verdict.signature.as_str());
                let command = Command::Reopen { reopening: reopening.clone(), verdict: verdict.clone() };
                self.signed(Namespace::Approval, statement.digest(), &statement.journal, by, context)
                    .or_else(|| self.redecide(&command, event, at))
            }
            Event::ClosedOut { close_out, verdict } => {
                let statement = &verdict.statement;
                let by = (&verdict.key, verdict.signature.as_str());
                let command = Command::CloseOut { close_out: *close_out, verdict: verdict.clone() };
                self.signed(Namespace::Approval, statement.digest(), &statement.journal, by, context)
                    .or_else(|| self.redecide(&command, event, at))
            }
            Event::Accounted { request, account, by } => {
                self.redecide(&Command::Account { request: *request, account: *account, by: *by }, event, at)
            }
            Event::ErasureSigned { signed } => {
                let statement = &signed.statement;
                let by = (&signed.key, signed.signature.as_str());
                self.signed(Namespace::Erase, statement.digest(), &statement.journal, by, context)
                    .or_else(|| self.redecide(&Command::SignErasure { signed: signed.clone() }, event, at))
            }
            Event::NodesForgotten { nodes, by } => {
                self.redecide(&Command::ForgetNodes { nodes: nodes.clone(), by: *by }, event, at)
            }
            Event::Restored { administrator, operator } => {
                let command = Command::Restore { administrator: administrator.clone(), operator: operator.clone() };
                let unsigned = [administrator, operator].into_iter().find_map(|one| {
                    let statement = &one.statement;
                    let by = (&one.key, one.signature.as_str());
                    self.signed(Namespace::Restore, statement.digest(), &statement.journal, by, context)
                });
                unsigned.or_else(|| self.redecide(&command, event, at))
            }
            Event::Accepted { request, by, .. } => {
                self.redecide(&Command::Accept { request: *request, by: *by }, event, at)
            }
            Event::NotAccepted { request, then } => {
                // When it was time the gate measured by a clock that is never set, which no entry shows.
                let case = self.state.cases.get(request).filter(|case| !case.unaccepted);
                let may_be = case
                    .is_some_and(|case| case.rule.unaccepted.then == *then && self.state.next_handover(case).is_some());
                (!may_be).then(|| "nobody had to accept it, or its rule says otherwise what becomes of it".to_owned())
            }
            Event::Erased { session, on: ErasedOn::Rule { .. } } => (!self.state.is_removable(*session, at))
                .then(|| "the rule does not let this recording go by itself, or not yet".to_owned()),
            Event::Held { session, reason, by } => {
                self.redecide(&Command::Hold { session: *session, reason: *reason, by: *by }, event, at)
            }
            Event::Released { session, of, by } => {
                self.redecide(&Command::Release { session: *session, of: *of, by: *by }, event, at)
            }
            Event::Submitted { request, rule } => self.submitted(request, rule, at),
            Event::Started { .. } => self.redecide(&admission(event)?, event, at),
            Event::PlantAdopted { .. } if self.state.plant.is_none() => None,
            Event::Activated { .. }
            | Event::Erased { .. }
            | Event::PlantAdopted { .. }
            | Event::Granted { .. }
            | Event::Denied { .. }
            | Event::Extended { .. }
            | Event::Widened { .. }
            | Event::AskDenied { .. }
            | Event::Reviewed { .. }
            | Event::GuestReviewed { .. }
            | Event::SessionReviewed { .. } => Some("no signed statement before it brings this about".to_owned()),
            _ => None,
        }
    }

    /// That a provider knows somebody as this subject is the gate's word; that a subject is one person's can be checked.
    fn knows_as(
        &mut self,
        person: PersonId,
        provider: &ProviderName,
        subject: Digest,
        called: Option<Salted>,
        event: &Event,
        at: Timestamp,
    ) -> Option<String> {
        let provider = provider.clone();
        self.redecide(&Command::LinkSubject { person, provider, subject, called, proved: at }, event, at)
    }

    /// The founders are the people of the trust file, all of them and nobody else.
    fn founders(&self, founders: &[Founder]) -> Option<String> {
        let role = |founder: &Founder| match founder.kind {
            Kind::Administrator => Some(FirstRole::Administrator),
            Kind::Operator { .. } => Some(FirstRole::Operator),
            _ => None,
        };
        let is_trusted = |founder: &Founder| {
            self.trust.people.iter().any(|person| person.person == founder.person && Some(person.role) == role(founder))
        };
        let stranger = founders.iter().find(|founder| !is_trusted(founder))?;
        Some(format!("{} founded the installation, and is not in your trust file", stranger.person))
    }

    /// A founder's keys are those in the trust file. Everybody else's count by signatures, or need none.
    fn enrolled(
        &mut self,
        person: PersonId,
        link: LinkId,
        keys: &[SshKey],
        event: &Event,
        at: Timestamp,
    ) -> Option<String> {
        let enrolling = self.state.people.get(&person)?;
        let role = match enrolling.kind {
            Kind::Administrator => FirstRole::Administrator,
            _ => FirstRole::Operator,
        };
        let is_known =
            |key: &SshKey| PublicKey::from_openssh(&key.0).is_ok_and(|key| self.trust.knows(person, role, &key));
        if enrolling.founder && enrolling.founding_keys.is_empty() && !keys.iter().all(is_known) {
            return Some(format!("{person} enrolled with a key that is not in your trust file"));
        }
        match keys {
            [key] => self.redecide(&Command::Enrol { link, key: key.clone() }, event, at),
            _ => Some("nobody enrols with more than one key".to_owned()),
        }
    }

    /// A request stands on a rule of the plant file in force, and that of a guest on the one they were invited under.
    fn submitted(&self, request: &Request, rule: &Rule, at: Timestamp) -> Option<String> {
        let stands = |plant: &policies::plant::Plant| plant.rules.iter().any(|known| known == rule);
        let in_force = self.state.plant.as_ref().is_some_and(|plant| stands(plant));
        let same = rule.digest() == request.rule && request.actions.is_subset(&rule.actions);
        if !in_force || !same {
            return Some("the request stands on a rule that was not in force".to_owned());
        }
        if let Err(refusal) = self.state.check_guest_request(request, rule) {
            return Some(format!("a guest asked for what they were not invited for: {refusal}"));
        }
        let attested = |at| self.state.check_attested(request.technician, rule, at);
        let attested = attested(at).or_else(|refusal| attested(earlier(at)).map_err(|_| refusal));
        attested.err().map(|refusal| format!("it was asked without what its rule demands: {refusal}"))
    }

    /// Whether this is a technician, who does nothing to others but as a manager of their company.
    fn is_of_a_company(&self, person: PersonId) -> bool {
        let known = self.state.people.get(&person);
        known.is_some_and(|person| matches!(person.kind, Kind::Technician { .. }))
    }

    /// What is wrong with a signature over a statement that names a head of this journal.
    fn signed(
        &self,
        namespace: Namespace,
        statement: Digest,
        seen: &SeenHead,
        (key, signature): (&SshKey, &str),
        context: &mut Context<'_>,
    ) -> Option<String> {
        let Ok(key) = PublicKey::from_openssh(&key.0) else { return Some("the signer's key is none".to_owned()) };
        match sshsig::verify(&key, namespace, &statement.0, signature) {
            Ok(SignatureKind::SecurityKey { user_present: false, .. }) => {
                return Some("nobody touched the security key that signed".to_owned());
            }
            Ok(_) => context.report.decisions.signatures += 1,
            Err(bad) => return Some(bad.to_string()),
        }
        self.had(seen)
    }

    /// What is wrong with a head that a statement names.
    fn had(&self, seen: &SeenHead) -> Option<String> {
        let had = usize::try_from(seen.size).ok().and_then(|size| self.roots.get(size));
        (had != Some(&seen.root.0)).then(|| "the signer saw another journal than this one".to_owned())
    }

    /// Decides again. What follows must come next.
    fn redecide(&mut self, command: &Command, event: &Event, at: Timestamp) -> Option<String> {
        match self.decide(command, at) {
            Ok(events) => {
                let mut events = VecDeque::from(events);
                let same = events.pop_front().is_some_and(|first| is_same(&first, event));
                self.due = events;
                (!same).then(|| "decided again, it comes out otherwise".to_owned())
            }
            Err(refusal) => Some(format!("decided again, it is refused: {refusal}")),
        }
    }

    fn decide(&self, command: &Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        self.state.decide(command, at).or_else(|refusal| self.state.decide(command, earlier(at)).map_err(|_| refusal))
    }
}

/// An entry gets its predecessor's time where the clock stood behind that; a gate whose clock stands further behind
/// decides nothing.
const SLEW: SignedDuration = SignedDuration::from_secs(2);

/// When it may have been decided, by a clock that stood behind.
fn earlier(at: Timestamp) -> Timestamp {
    at.checked_sub(SLEW).unwrap_or(at)
}

/// Whether two events are one, but for what the clock may have been behind.
fn is_same(expected: &Event, event: &Event) -> bool {
    match (expected, event) {
        (
            Event::Widened { ask, request, until },
            Event::Widened { ask: other_ask, request: other_request, until: other_until },
        ) => {
            let behind = until.duration_since(*other_until);
            ask == other_ask && request == other_request && (SignedDuration::ZERO..=SLEW).contains(&behind)
        }
        // Before objections had a place of their own.
        (
            Event::Reviewed { request, by, .. },
            Event::Reviewed { request: other_request, by: other_by, objection: None },
        ) => (request, by) == (other_request, other_by),
        _ => expected == event,
    }
}

/// The wish behind a session's beginning.
fn admission(event: &Event) -> Option<Command> {
    let Event::Started { session, request, technician, target, service, source, factors, node, .. } = event else {
        return None;
    };
    Some(Command::Admit(Admission {
        session: *session,
        technician: *technician,
        factors: factors.clone(),
        source: *source,
        target: target.clone(),
        service: service.clone(),
        wants: Actions::new(),
        grant: Some(*request),
        // That it was not accepted is in the journal, or nobody can tell.
        overdue: BTreeSet::new(),
        node: node.clone(),
    }))
}

impl Reader for Journal<'_> {
    fn entry(&mut self, at: &At<'_>, entry: &Entry, context: &mut Context<'_>) {
        if self.lost {
            return;
        }
        context.report.decisions.events += 1;
        let event = match Event::decode(&entry.bytes) {
            Ok(event) => event,
            Err(unknown) => {
                self.lost = true;
                let words = format!("{unknown}; decisions from here on are not judged");
                return context.find(at.wrong(FindingKind::NotChecked, words));
            }
        };
        if let Event::Held { session, .. } | Event::Released { session, .. } | Event::Erased { session, .. } = &event {
            self.keeping.insert(entry.index, (event.id(), *session, entry.hash));
        }
        self.windows.take(&event, entry.at, &self.state);
        if let Event::Cut { cut, .. } = &event {
            self.cuts.insert(*cut);
        }
        for words in self.take(&event, entry.at, at.verifier, context) {
            let words = format!("event {}, {}: {words}", entry.index, event.id());
            context.find(at.wrong(FindingKind::NotAllowed, words));
        }
        self.roots.extend(at.tree.map(Tree::root));
    }

    fn session_frame(&mut self, _: &At<'_>, _: &RawFrame<'_>, _: &mut Context<'_>) {}

    fn heads_sessions(&mut self, at: &At<'_>, open: &[OpenSession], context: &mut Context<'_>) {
        if !open.is_empty() {
            context.find(at.wrong(FindingKind::Altered, "a journal has no sessions"));
        }
    }

    fn open_sessions(&self) -> usize {
        0
    }

    fn crashed(&mut self) {}

    fn entries_lost(&mut self) {
        self.lost = true;
    }
}
