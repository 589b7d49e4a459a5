//! What was decided before the program starts: people enrolled, secrets set, grants signed. By the same use cases that
//! the faces call, on the installation's own folder, which only one process at a time may open.

use std::path::Path;
use std::sync::Arc;

use approver::clock::Clock;
use approver::desk::{Desk, DeskParts};
use approver::mint;
use approver::people::{Enrolled, People};
use approver::testing::{person, sign};
use certs::enrolment::EnrolmentCode;
use certs::keys::{KeyStore, Seal};
use certs::sshsig::Namespace;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::decide::{Admission, Command, NewRequest};
use policies::digest::Digest;
use policies::events::{Ending, Factor};
use policies::ids::{PersonId, RequestId, SessionId, VendorId};
use policies::people::Kind;
use policies::requests::{Answer, CertifyStatement, Matter, Narrowing, SeenHead, Signed, VerdictStatement};
use policies::state::State;
use policies::time::{Seconds, Window};
use proxy::app::stores::{Identity, RecordsKept, Stores};
use proxy::config::Config;
use proxy::floor::Floor;
use ssh_key::PublicKey;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::person::Person;

/// An installation's folder, opened while its program does not run.
pub struct Office {
    runtime: Runtime,
    keys: KeyStore,
    stores: Stores,
    desk: Desk,
    people: People,
}

impl Office {
    /// Opens the folder with this configuration.
    pub fn open(config: &Path) -> Self {
        let config = Config::load(config).expect("the fixture's configuration is right");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let keys = KeyStore::open(&config.keys, &Seal::File).expect("keys are there");
        let identity = Identity::read(&config.store.data).expect("founded");
        let stores = Stores::open(&config.store.data, identity, &keys.log_key(), RecordsKept::of(&config.store))
            .expect("nobody else has it open");
        let clock = Clock::system();
        let (alarms, _unheard) = mpsc::channel(16);
        let parts = DeskParts {
            journal: Arc::clone(&stores.journal),
            directory: Arc::clone(&stores.directory),
            clock: clock.clone(),
            node: stores.identity.node.clone(),
            deployment: stores.identity.deployment.clone(),
            floor: Arc::new(Floor::new(clock)),
            alarms,
            cuts: stores.cuts.clone(),
            records: Some(Arc::clone(&stores.records)),
        };
        let desk = runtime.block_on(Desk::open(parts)).expect("a journal that can be read");
        let people = People::new(desk.clone(), keys.secrets(), keys.tls_ca());
        Self { runtime, keys, stores, desk, people }
    }

    /// Lets go of the folder.
    pub fn close(self) {
        let Self { runtime, stores, desk, people, .. } = self;
        runtime.block_on(desk.close());
        drop((desk, people));
        stores.close();
    }

    /// Looks at how things stand.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.desk.with_state(look)
    }

    /// The gate's authority, as targets trust it.
    pub fn ca(&self) -> String {
        self.keys.ssh_ca().public_key().to_openssh().expect("a public key")
    }

    /// The authority for TLS, as clients are told to trust it.
    pub fn tls_ca(&self) -> String {
        self.keys.tls_ca().authorities_pem()
    }

    /// The certificate that `holdpoint login` gives somebody on this machine, for so long from now on.
    pub fn login_certificate(&self, person: &Person, lasts: SignedDuration) -> String {
        let now = self.desk.clock().wall();
        let valid = Window { from: now - SignedDuration::from_mins(2), until: now + lasts };
        let (key, principal) = (person.key.public_key(), person.id.to_string());
        let ca = self.keys.ssh_ca();
        let certificate = ca.user_certificate(key, &principal, [127, 0, 0, 1].into(), valid, 1, "test");
        certificate.expect("the authority certifies").to_openssh().expect("a certificate")
    }

    /// Does what a use case without signature does.
    #[track_caller]
    pub fn act(&self, command: Command) {
        self.runtime.block_on(self.desk.act(command)).expect("the fixture may");
    }

    /// Enrols with a one-use code.
    #[track_caller]
    pub fn enrol(&self, code: &str, key: &PublicKey) -> Enrolled {
        let code = EnrolmentCode::parse(code).expect("a code");
        self.runtime.block_on(self.people.enrol(&code, key)).expect("the code is new")
    }

    /// A contract of a year for a vendor.
    pub fn contract(&self, vendor: &str, administrator: &Person, sponsor: &Person) {
        let vendor: VendorId = vendor.parse().expect("a label");
        let end = self.desk.clock().wall() + SignedDuration::from_hours(24 * 365);
        self.act(Command::Contract { vendor, end, sponsor: sponsor.id, telephone: None, by: administrator.id });
    }

    /// Invites and enrols a technician of a vendor, for maintenance.
    #[track_caller]
    pub fn technician(&self, name: &str, vendor: &str, key: &PublicKey, administrator: &Person) -> Enrolled {
        let role = "maintenance".parse().expect("a label");
        let kind = Kind::Technician { vendor: vendor.parse().expect("a label"), role };
        self.somebody(name, kind, &[], key, administrator)
    }

    /// Invites and enrols somebody.
    #[track_caller]
    pub fn somebody(&self, name: &str, kind: Kind, groups: &[&str], key: &PublicKey, by: &Person) -> Enrolled {
        let invited = self.people.invite(person(name, kind, groups), Seconds(3_600), by.id);
        let code = self.runtime.block_on(invited).expect("an administrator may").code;
        self.runtime.block_on(self.people.enrol(&code, key)).expect("the code is new")
    }

    /// A member of staff vouches for somebody's keys and groups.
    #[track_caller]
    pub fn vouch(&self, signer: &Person, about: PersonId) {
        let statement = self.desk.with_state(|state| {
            let person = &state.people[&about];
            CertifyStatement {
                deployment: self.desk.deployment().clone(),
                person: about,
                kind: person.kind.clone(),
                keys: person.keys.clone(),
                groups: person.groups.clone(),
                signer: signer.id,
                nonce: mint::nonce(),
                expires: self.desk.clock().wall() + SignedDuration::from_mins(10),
                journal: self.seen(state),
            }
        });
        let digest = statement.digest();
        let certificate = sign(&signer.actor(), Namespace::Certify, statement, digest);
        self.act(Command::Certify { certificate });
    }

    /// What opens a target.
    pub fn set_secret(&self, name: &str, secret: &[u8]) {
        let name = name.parse().expect("a label");
        let secrets = self.keys.secrets();
        let administrator =
            |state: &State| state.people.values().find(|one| one.is_active_administrator()).map(|one| one.id);
        let by = self.look(administrator).expect("there is one");
        let set = self.desk.set_secret(name, secret.to_vec().into(), secrets, by);
        self.runtime.block_on(set).expect("it is kept");
    }

    /// A request as somebody makes it, from now and for so long.
    #[track_caller]
    pub fn ask(&self, technician: &Person, target: &str, actions: &[Action], lasts: Seconds) -> RequestId {
        self.ask_from(self.desk.clock().wall(), technician, target, actions, lasts)
    }

    /// The same, for later.
    #[track_caller]
    pub fn ask_from(
        &self,
        from: Timestamp,
        technician: &Person,
        target: &str,
        actions: &[Action],
        lasts: Seconds,
    ) -> RequestId {
        let id = mint::request(self.desk.clock().wall());
        let reason = self.runtime.block_on(self.people.put_text("the pump trips")).expect("it is kept");
        let wanted = self.wanted(id, from, technician, target);
        let actions = actions.iter().copied().collect();
        self.act(Command::Submit(NewRequest { actions, duration: lasts, reason: Some(reason), ..wanted }));
        id
    }

    /// The same, approved.
    #[track_caller]
    pub fn grant(
        &self,
        technician: &Person,
        target: &str,
        actions: &[Action],
        lasts: Seconds,
        operator: &Person,
    ) -> RequestId {
        let id = self.ask(technician, target, actions, lasts);
        self.act(Command::Vote { verdict: self.approval(operator, id) });
        id
    }

    /// A past: so many requests that were granted, worked under and revoked. Decided and signed as they would have been,
    /// one after the other; journaled by the hundred, which is what makes it quick. Gives how many entries the journal has.
    pub fn live_through(&self, count: usize, technician: &Person, target: &str, operator: &Person) -> u64 {
        let reason = self.runtime.block_on(self.people.put_text("the pump trips")).expect("it is kept");
        let (mut state, mut head) = (self.desk.with_state(State::clone), self.desk.head());
        let mut left = count;
        while left > 0 {
            let mut events = Vec::new();
            let now = self.desk.clock().wall();
            for _ in 0..left.min(100) {
                let (request, session) = (mint::request(now), mint::session(now));
                let ask = NewRequest { reason: Some(reason), ..self.wanted(request, now, technician, target) };
                let mut act = |state: &mut State, command| {
                    for event in state.decide(&command, now).expect("the fixture may") {
                        state.apply(&event, now);
                        events.push(event);
                    }
                };
                act(&mut state, Command::Submit(ask));
                let verdict = self.approval_in(&state, operator, request);
                act(&mut state, Command::Vote { verdict });
                let admission = self.admission(session, request, technician, target);
                act(&mut state, Command::Admit(admission));
                act(&mut state, Command::End { session, ending: Ending::Left, seal: None });
                act(&mut state, Command::Revoke { request, reason, by: operator.id });
            }
            let appended = self.runtime.block_on(self.stores.journal.append(head, &events, now));
            head = appended.expect("nobody else appends");
            left = left.saturating_sub(100);
        }
        head.size
    }

    fn admission(&self, session: SessionId, grant: RequestId, technician: &Person, target: &str) -> Admission {
        Admission {
            session,
            technician: technician.id,
            factors: vec![Factor::Key, Factor::Totp],
            source: [127, 0, 0, 1].into(),
            target: target.parse().expect("a label"),
            service: "ssh".parse().expect("a label"),
            wants: [].into(),
            grant: Some(grant),
            overdue: [].into(),
            node: self.stores.identity.node.clone(),
        }
    }

    fn wanted(&self, id: RequestId, from: Timestamp, technician: &Person, target: &str) -> NewRequest {
        NewRequest {
            id,
            technician: technician.id,
            target: target.parse().expect("a label"),
            service: None,
            actions: [Action::Shell].into(),
            window: Window { from, until: from + SignedDuration::from_hours(2) },
            duration: Seconds(3_600),
            reason: None,
            work_order: None,
            source: Some([127, 0, 0, 1].into()),
            emergency: false,
        }
    }

    /// An operator's signed yes to a request as it stands.
    pub fn approval(&self, operator: &Person, id: RequestId) -> Signed<VerdictStatement> {
        self.desk.with_state(|state| self.approval_in(state, operator, id))
    }

    fn approval_in(&self, state: &State, operator: &Person, id: RequestId) -> Signed<VerdictStatement> {
        let statement = VerdictStatement {
            deployment: self.desk.deployment().clone(),
            matter: Matter::Request(id),
            digest: state.cases[&id].request.digest(self.desk.deployment()),
            answer: Answer::Yes { narrowing: Narrowing::default() },
            operator: operator.id,
            nonce: mint::nonce(),
            expires: self.desk.clock().wall() + SignedDuration::from_mins(10),
            journal: self.seen(state),
        };
        let digest = statement.digest();
        sign(&operator.actor(), Namespace::Approval, statement, digest)
    }

    fn seen(&self, _: &State) -> SeenHead {
        let head = self.desk.head();
        SeenHead { size: head.size, root: Digest(head.root) }
    }
}
