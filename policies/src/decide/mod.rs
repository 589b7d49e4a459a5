//! Whether something may come to be, and what follows from it. [`State::decide`] is pure: from what stands, a command
//! and a moment it makes the events to append, all of them or none. Signatures inside commands were checked before.

mod admission;
mod closing;
mod companies;
mod guests;
mod keeping;
mod nodes;
mod people;
mod plant;
mod requests;
mod restoring;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use admission::Admission;
pub use requests::{NewRequest, quorum_is_met, waits_for};

use crate::digest::{Digest, Salted};
use crate::events::{AskedFor, CutBy, Ending, EscortEnd, Event, Founder, PackOf, Scope};
use crate::ids::{
    AskId, CredentialName, CutId, DeploymentId, GroupName, GuestId, LinkId, NodeId, PersonId, ProviderName, Recipient,
    RequestId, RoleName, RuleId, ServiceName, SessionId, TargetName, VendorId, ZoneName,
};
use crate::people::{Kind, SshKey};
use crate::plant::{Escort, Weaker};
use crate::refusals::Refusal;
use crate::requests::{
    Account, CertifyStatement, CloseOut, EraseStatement, GuestStatement, PlantStatement, Reopening, RestoreStatement,
    Signed, VerdictStatement, Widening,
};
use crate::state::State;
use crate::time::Seconds;
use crate::vocabulary::Vocabulary;

/// Something a person, or the program itself, wants to be so. `by` is who was authenticated.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is the wish behind the event of the same name; fields are documented there")]
pub enum Command {
    Found {
        deployment: DeploymentId,
        log_key: String,
        founders: Vec<Founder>,
        plant: String,
    },
    Contract {
        vendor: VendorId,
        end: Timestamp,
        sponsor: PersonId,
        /// The vendor's number; where none is given, that which stands stays.
        telephone: Option<Salted>,
        by: PersonId,
    },
    Invite {
        person: PersonId,
        kind: Kind,
        groups: Vec<GroupName>,
        link: LinkId,
        expires: Timestamp,
        by: PersonId,
    },
    Reinvite {
        person: PersonId,
        link: LinkId,
        expires: Timestamp,
        by: PersonId,
    },
    InviteGuest {
        invitation: Signed<GuestStatement>,
        link: LinkId,
    },
    EndGuest {
        guest: GuestId,
        by: PersonId,
    },
    Enrol {
        link: LinkId,
        key: SshKey,
    },
    /// Whoever asks has proved that they are this technician, by a complete login.
    AddKey {
        person: PersonId,
        key: SshKey,
    },
    Certify {
        certificate: Signed<CertifyStatement>,
    },
    Rename {
        person: PersonId,
        name: Salted,
        by: PersonId,
    },
    Disable {
        person: PersonId,
        by: PersonId,
    },
    DisableVendor {
        vendor: VendorId,
        by: PersonId,
    },
    Lock {
        person: PersonId,
        until: Timestamp,
    },
    SetPassword {
        person: PersonId,
    },
    /// Whoever asks has proved that they are this person here, and that the provider knows them as this subject.
    LinkSubject {
        person: PersonId,
        provider: ProviderName,
        subject: Digest,
        /// What the provider calls them, where that is news.
        called: Option<Salted>,
        /// When they proved who they are here.
        proved: Timestamp,
    },
    /// The provider calls whom it knows as this subject otherwise, who has proved to be this person here.
    RenameSubject {
        person: PersonId,
        provider: ProviderName,
        subject: Digest,
        called: Salted,
    },
    UnlinkSubject {
        person: PersonId,
        provider: ProviderName,
        by: PersonId,
    },
    /// How many technicians a vendor's managers may invite, and in which roles.
    AllowInvitations {
        vendor: VendorId,
        most: u16,
        roles: BTreeSet<RoleName>,
        by: PersonId,
    },
    NameManager {
        person: PersonId,
        by: PersonId,
    },
    DismissManager {
        person: PersonId,
        by: PersonId,
    },
    /// A manager says of a technician of their company that they still work for it, are trained, and are sent.
    Attest {
        person: PersonId,
        until: Timestamp,
        note: Option<Salted>,
        by: PersonId,
    },
    WithdrawAttestation {
        person: PersonId,
        by: PersonId,
    },
    ComeOnDuty {
        person: PersonId,
        /// By whose word they signed in; none where by factors of the gate's own alone.
        provider: Option<ProviderName>,
    },
    ProposePlant {
        text: String,
        by: PersonId,
    },
    SignPlant {
        signed: Signed<PlantStatement>,
    },
    SetSecret {
        credential: CredentialName,
        by: PersonId,
    },
    ForgetSecret {
        credential: CredentialName,
        by: PersonId,
    },
    Submit(NewRequest),
    Vote {
        verdict: Signed<VerdictStatement>,
    },
    VoteWeaker {
        statement: VerdictStatement,
        way: Weaker,
    },
    Accept {
        request: RequestId,
        by: PersonId,
    },
    Withdraw {
        request: RequestId,
        by: PersonId,
    },
    AskExtension {
        ask: AskId,
        request: RequestId,
        more: Seconds,
        reason: Salted,
        by: PersonId,
    },
    AskWidening {
        widening: Widening,
        by: PersonId,
    },
    Revoke {
        request: RequestId,
        reason: Salted,
        by: PersonId,
    },
    Admit(Admission),
    End {
        session: SessionId,
        ending: Ending,
        seal: Option<Digest>,
    },
    Freeze {
        session: SessionId,
        by: PersonId,
    },
    Thaw {
        session: SessionId,
        by: PersonId,
    },
    Watch {
        session: SessionId,
        by: PersonId,
    },
    EndWatch {
        session: SessionId,
        by: PersonId,
    },
    /// An operator who watches says that they are there.
    Escort {
        session: SessionId,
        by: PersonId,
    },
    /// They are there no longer.
    EndEscort {
        session: SessionId,
        by: PersonId,
        why: EscortEnd,
    },
    /// An operator writes a line to the technician.
    Tell {
        session: SessionId,
        text: Salted,
        by: PersonId,
    },
    Fetch {
        session: SessionId,
        by: PersonId,
    },
    Hold {
        session: SessionId,
        reason: Salted,
        by: PersonId,
    },
    Release {
        session: SessionId,
        of: PersonId,
        by: PersonId,
    },
    SignErasure {
        signed: Signed<EraseStatement>,
    },
    Pack {
        of: PackOf,
        by: PersonId,
    },
    Capture {
        target: Option<TargetName>,
        zone: Option<ZoneName>,
        by: PersonId,
    },
    Disconnect {
        session: SessionId,
        by: PersonId,
    },
    ReportTransfer {
        session: SessionId,
        until: Timestamp,
    },
    ReportIdle {
        session: SessionId,
        locked: bool,
    },
    ReportWarning {
        session: SessionId,
        left: Seconds,
    },
    ReportHostKey {
        target: TargetName,
        service: ServiceName,
        expected: String,
        got: String,
    },
    ReportRefusal {
        person: PersonId,
        reason: String,
        target: Option<TargetName>,
        rule: Option<RuleId>,
        /// None where it was a connection, or a sign-in.
        asked: Option<AskedFor>,
    },
    Cut {
        cut: CutId,
        scope: Scope,
        by: CutBy,
        at: Timestamp,
    },
    Reopen {
        reopening: Reopening,
        verdict: Signed<VerdictStatement>,
    },
    /// A technician says what they did.
    Account {
        request: RequestId,
        account: Account,
        by: PersonId,
    },
    CloseOut {
        close_out: CloseOut,
        verdict: Signed<VerdictStatement>,
    },
    /// Lapses and removals, and guests who are gone.
    Sweep,
    /// Of these requests the time to be accepted is over, which for each was to end then: as somebody measured who does not
    /// go by a clock that is set.
    LeaveUnaccepted {
        due: Vec<(RequestId, Timestamp)>,
    },
    StartNode {
        node: NodeId,
        version: String,
    },
    StopNode {
        node: NodeId,
    },
    /// Of none of those that are up anything was heard for long enough.
    ForgetNodes {
        nodes: BTreeSet<NodeId>,
        by: PersonId,
    },
    Checkpoint {
        node: NodeId,
        checkpoint: String,
    },
    ReportRecorder {
        node: NodeId,
    },
    Backup {
        node: NodeId,
        by: PersonId,
    },
    NameRecipients {
        node: NodeId,
        recipients: BTreeSet<Recipient>,
    },
    Rehearse {
        recipient: Recipient,
        session: SessionId,
        by: PersonId,
    },
    Restore {
        administrator: Box<Signed<RestoreStatement>>,
        operator: Box<Signed<RestoreStatement>>,
    },
}

impl State {
    /// The events that `command` brings about at `now`. Each node that is up can read them all.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing may be appended.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let events = self.follows_from(command, now)?;
        self.check_all_can_read(&events)?;
        Ok(events)
    }

    fn follows_from(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Found { deployment, log_key, founders, plant } => {
                self.decide_found(deployment, log_key, founders, plant)
            }
            Command::Contract { vendor, end, sponsor, telephone, by } => {
                self.decide_contract(vendor, *end, *sponsor, *telephone, *by)
            }
            Command::Invite { person, kind, groups, link, expires, by } => {
                self.may_invite(kind, *expires, *by, now)?;
                self.decide_invite(*person, kind, groups, *link, *expires, *by)
            }
            Command::Reinvite { person, link, expires, by } => self.decide_reinvite(*person, *link, *expires, *by, now),
            Command::InviteGuest { invitation, link } => self.decide_invite_guest(invitation, *link, now),
            Command::EndGuest { guest, by } => self.decide_end_guest(*guest, *by, now),
            Command::Enrol { link, key } => self.decide_enrol(*link, key, now),
            Command::AddKey { person, key } => self.decide_add_key(*person, key),
            Command::Certify { certificate } => self.decide_certify(certificate, now),
            Command::Rename { person, name, by } => {
                self.administrator(*by)?;
                self.person(*person)?;
                Ok(vec![Event::Renamed { person: *person, name: *name, by: *by }])
            }
            Command::Disable { person, by } => self.decide_disable(*person, *by, now),
            Command::DisableVendor { vendor, by } => self.decide_disable_vendor(vendor, *by),
            Command::SetPassword { person } => {
                self.technician(*person, now)?;
                Ok(vec![Event::PasswordSet { person: *person }])
            }
            Command::LinkSubject { person, provider, subject, called, proved } => {
                self.decide_link_subject(*person, provider, *subject, *called, *proved)
            }
            Command::RenameSubject { person, provider, subject, called } => {
                self.decide_rename_subject(*person, provider, *subject, *called)
            }
            Command::UnlinkSubject { person, provider, by } => self.decide_unlink_subject(*person, provider, *by),
            Command::AllowInvitations { vendor, most, roles, by } => {
                self.decide_allow_invitations(vendor, *most, roles, *by)
            }
            Command::NameManager { person, by } => self.decide_name_manager(*person, *by),
            Command::DismissManager { person, by } => self.decide_dismiss_manager(*person, *by),
            Command::Attest { person, until, note, by } => self.decide_attest(*person, *until, *note, *by, now),
            Command::WithdrawAttestation { person, by } => self.decide_withdraw_attestation(*person, *by, now),
            Command::Lock { person, until } => Ok(vec![Event::Locked { person: *person, until: *until }]),
            Command::ComeOnDuty { person, provider } => self.decide_on_duty(*person, provider.as_ref(), now),
            Command::ProposePlant { text, by } => self.decide_propose(text, *by),
            Command::SignPlant { signed } => self.decide_sign_plant(signed, now),
            Command::SetSecret { credential, by } => {
                self.administrator(*by)?;
                Ok(vec![Event::SecretSet { credential: credential.clone(), by: *by }])
            }
            Command::ForgetSecret { credential, by } => {
                self.administrator(*by)?;
                Ok(vec![Event::SecretForgotten { credential: credential.clone(), by: *by }])
            }
            Command::Submit(asked) => self.decide_submit(asked, now),
            Command::Vote { verdict } => self.decide_vote(verdict, now),
            Command::VoteWeaker { statement, way } => self.decide_vote_weaker(statement, *way, now),
            Command::Withdraw { request, by } => self.decide_withdraw(*request, *by),
            Command::Accept { request, by } => self.decide_accept(*request, *by, now),
            Command::AskExtension { ask, request, more, reason, by } => {
                self.decide_ask_extension(*ask, *request, *more, *reason, *by, now)
            }
            Command::AskWidening { widening, by } => self.decide_ask_widening(widening, *by, now),
            Command::Revoke { request, reason, by } => self.decide_revoke(*request, *reason, *by),
            Command::Admit(admission) => self.decide_admit(admission, now),
            Command::End { session, ending, seal } => {
                self.live_session(*session)?;
                Ok(vec![Event::Ended { session: *session, ending: ending.clone(), seal: *seal }])
            }
            Command::Freeze { session, by } => {
                self.operator(*by)?;
                self.live_session(*session)?;
                Ok(vec![Event::Frozen { session: *session, by: *by }])
            }
            Command::Disconnect { session, by } => {
                self.operator(*by)?;
                self.live_session(*session)?;
                Ok(vec![Event::Disconnected { session: *session, by: *by }])
            }
            Command::Thaw { session, by } => {
                self.operator(*by)?;
                self.live_session(*session)?;
                Ok(vec![Event::Thawed { session: *session, by: *by }])
            }
            Command::Watch { session, by } => {
                self.operator(*by)?;
                self.live_session(*session)?;
                Ok(vec![Event::Watched { session: *session, by: *by }])
            }
            Command::EndWatch { session, by } => Ok(vec![Event::WatchEnded { session: *session, by: *by }]),
            Command::Escort { session, by } => self.decide_escort(*session, *by),
            Command::EndEscort { session, by, why } => {
                let is_escort = self.sessions.get(session).is_some_and(|facts| facts.escorts.contains(by));
                Ok(is_escort
                    .then_some(Event::EscortEnded { session: *session, by: *by, why: *why })
                    .into_iter()
                    .collect())
            }
            Command::Tell { session, text, by } => {
                self.operator(*by)?;
                self.live_session(*session)?;
                Ok(vec![Event::Told { session: *session, text: *text, by: *by }])
            }
            Command::Fetch { session, by } => self.decide_fetch(*session, *by),
            Command::Hold { session, reason, by } => self.decide_hold(*session, *reason, *by),
            Command::Release { session, of, by } => self.decide_release(*session, *of, *by),
            Command::SignErasure { signed } => self.decide_sign_erasure(signed, now),
            Command::Pack { of, by } => self.decide_pack(of, *by),
            Command::Capture { target, zone, by } => self.decide_capture(target.as_ref(), zone.as_ref(), *by),
            Command::ReportTransfer { session, until } => {
                Ok(vec![Event::TransferRunsOn { session: *session, until: *until }])
            }
            Command::ReportIdle { session, locked } => {
                self.live_session(*session)?;
                let session = *session;
                Ok(vec![if *locked { Event::IdleLocked { session } } else { Event::IdleUnlocked { session } }])
            }
            Command::ReportWarning { session, left } => {
                self.live_session(*session)?;
                Ok(vec![Event::Warned { session: *session, left: *left }])
            }
            Command::ReportHostKey { target, service, expected, got } => Ok(vec![Event::HostKeyMismatch {
                target: target.clone(),
                service: service.clone(),
                expected: expected.clone(),
                got: got.clone(),
            }]),
            Command::ReportRefusal { person, reason, target, rule, asked } => Ok(vec![Event::Refused {
                person: *person,
                reason: reason.clone(),
                target: target.clone(),
                rule: rule.clone(),
                asked: asked.clone(),
            }]),
            Command::Cut { cut, scope, by, at } => self.decide_cut(*cut, scope, by, *at),
            Command::Reopen { reopening, verdict } => self.decide_reopen(reopening, verdict, now),
            Command::Account { request, account, by } => self.decide_account(*request, *account, *by, now),
            Command::CloseOut { close_out, verdict } => self.decide_close_out(close_out, verdict, now),
            Command::Sweep => Ok(self.decide_sweep(now)),
            Command::LeaveUnaccepted { due } => Ok(self.leave_unaccepted(due, now)),
            Command::StartNode { node, version } => {
                let (node, version, vocabulary) = (node.clone(), version.clone(), Vocabulary::THIS);
                // It cannot be running them.
                let crashed: Vec<Event> = self.ends_of(&node, Ending::Crashed).collect();
                Ok([Event::NodeStarted { node, version, vocabulary }].into_iter().chain(crashed).collect())
            }
            Command::StopNode { node } => Ok(vec![Event::NodeStopped { node: node.clone() }]),
            Command::ForgetNodes { nodes, by } => self.decide_forget_nodes(nodes, *by),
            Command::Checkpoint { node, checkpoint } => {
                Ok(vec![Event::Checkpointed { node: node.clone(), checkpoint: checkpoint.clone() }])
            }
            Command::ReportRecorder { node } => Ok(vec![Event::RecorderFailed { node: node.clone() }]),
            Command::NameRecipients { node, recipients } => Ok(self.decide_name_recipients(node, recipients)),
            Command::Rehearse { recipient, session, by } => self.decide_rehearse(recipient, *session, *by),
            Command::Backup { node, by } => {
                self.administrator(*by)?;
                Ok(vec![Event::BackedUp { node: node.clone(), by: *by }])
            }
            Command::Restore { administrator, operator } => self.decide_restore(administrator, operator, now),
        }
    }

    /// Whoever escorts watches, so that is said with it where it was not yet.
    fn decide_escort(&self, session: SessionId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        let operator = self.operator(by)?;
        let facts = self.live_session(session)?;
        if let Some(vendor) = self.vendor_of(facts.technician)
            && operator.kind.vendor() == Some(vendor)
        {
            return Err(Refusal::OwnVendor);
        }
        let is_wanted = self.cases.get(&facts.request).is_some_and(|case| case.rule.escort == Escort::Required);
        if !is_wanted {
            return Err(Refusal::NoEscortWanted);
        }
        let watched = (!facts.watchers.contains(&by)).then_some(Event::Watched { session, by });
        let escorted = (!facts.escorts.contains(&by)).then_some(Event::Escorted { session, by });
        Ok(watched.into_iter().chain(escorted).collect())
    }

    /// A statement is for this installation, still valid, and about a journal that is a prefix of ours.
    fn check_statement(
        &self,
        deployment: &DeploymentId,
        expires: Timestamp,
        seen: u64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.deployment.as_ref() != Some(deployment) {
            return Err(Refusal::OtherDeployment);
        }
        if expires <= now {
            return Err(Refusal::StatementExpired(self.clock(expires)));
        }
        if seen > self.size {
            return Err(Refusal::OtherJournal);
        }
        Ok(())
    }
}
