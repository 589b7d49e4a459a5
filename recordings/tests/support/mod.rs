//! A small plant whose data folder is made by the real writer, for tests that read it: people with keys, a signed
//! grant, and sessions as the test tells them.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it, and none exports it")]
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]
#![allow(clippy::needless_pass_by_value, reason = "commands and events are made for the call")]

pub mod connections;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use certs::sshsig::{self, Namespace};
use certs::trust::{FirstRole, KeyFingerprint, LogVerifier, Trust, TrustedPerson};
use jiff::Timestamp;
use policies::actions::{Action, Actions};
use policies::decide::{Admission, Command, NewRequest};
use policies::digest::{Digest, Salted};
use policies::events::{Ending, Factor, Founder};
use policies::ids::{AskId, GuestId, LinkId, PersonId, Recipient, RequestId, SessionId};
use policies::people::{Kind, SshKey};
use policies::requests::{
    Answer, CertifyStatement, GuestStatement, Matter, Narrowing, PlantStatement, SeenHead, Signed, VerdictStatement,
};
use policies::state::State;
use policies::time::{Seconds, Window};
use recordings::block::Keyframe;
use recordings::disk::{Machine as _, RealDisk};
use recordings::fault::OpenFault;
use recordings::frame::{Kind as FrameKind, RawFrame, Stream};
use recordings::keeping::{Copied, length_and_digest};
use recordings::keys::Recipients;
use recordings::leaf::{Account, Direction, Entry, Leaf};
use recordings::log::{Log, LogOptions, Purpose, Signer as _};
use recordings::notes::{Note, Size};
use recordings::read::{AuditorKeys, JOURNAL_DIR, RECORDS_DIR};
use recordings::screen::Screen;
use recordings::segment::session_dir;
use recordings::session::{Opening, Seal, SessionWriter};
use recordings::sim::{SimMachine, SimSigner};
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use tempfile::TempDir;
use ulid::Ulid;

pub const PLANT: &str = r#"
[plant]
name = "Small plant"
timezone = "Europe/Berlin"
banner = "Recorded."
changes = [{ from = "shift-lead", count = 1 }]

[zones.packaging]

[targets.hmi-1]
zone = "packaging"
[targets.hmi-1.services.ssh]
protocol = "ssh"
address = "10.0.0.1:22"
user = "maint"
credential = "hmi"
host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

[targets.plc-7]
zone = "packaging"
[targets.plc-7.services.modbus]
protocol = "modbus"
address = "10.20.2.7:502"

[[rules]]
id = "maintenance"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["shell", "file-get", "file-put", "observe", "tunnel"]
from = ["192.0.2.0/24"]
duration_max = "4h"
connections = 100
approvals = [{ from = "shift-lead", count = 1 }]
work_order = "optional"
"#;

pub const ADMINISTRATOR: u8 = 1;
pub const LEAD: u8 = 2;
pub const SECOND: u8 = 3;
pub const TECHNICIAN: u8 = 4;

pub struct Store {
    pub folder: TempDir,
    pub machine: SimMachine,
    pub journal: Option<Log>,
    pub records: Option<Log>,
    pub state: State,
    pub recipients: Recipients,
    pub keys: AuditorKeys,
    /// What those keys were read from.
    pub secret: String,
    pub segment_bytes: u64,
    /// Whether its record log says where copies lie, from when it is opened next.
    pub says_copied: bool,
    next: u128,
}

pub fn person(n: u8) -> PersonId {
    PersonId::new(Ulid::from(u128::from(n)))
}

pub fn private(n: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[n; 32])), "").unwrap()
}

pub fn public(n: u8) -> SshKey {
    SshKey(private(n).public_key().to_openssh().unwrap().trim().to_owned())
}

pub fn label<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn link(n: u8) -> LinkId {
    LinkId::new(Ulid::from(u128::from(n)))
}

/// Whether a frame is a signed head: a leaf of a record log, a frame of its own in a journal.
pub fn is_head(frame: &RawFrame<'_>) -> bool {
    let is_leaf = || Leaf::parse(&Entry::parse(0, frame.body).ok()?.bytes).ok();
    frame.header.kind == FrameKind::Anchor
        || frame.header.kind == FrameKind::Leaf && matches!(is_leaf(), Some(Leaf::Anchor(_)))
}

pub fn signer() -> SimSigner {
    SimSigner::new(9)
}

pub fn trust() -> Trust {
    let known =
        |n, role| TrustedPerson { person: person(n), role, keys: vec![KeyFingerprint::of(private(n).public_key())] };
    let log = |origin: &str| LogVerifier(signer().verifier(origin).unwrap());
    Trust {
        deployment: label("mill-3"),
        logs: vec![log("mill-3/journal"), log("mill-3/records/node-1")],
        witnesses: Vec::new(),
        witnesses_needed: None,
        people: vec![known(ADMINISTRATOR, FirstRole::Administrator), known(LEAD, FirstRole::Operator)],
    }
}

impl Store {
    /// A founded plant in which nobody has asked for anything.
    pub fn founded() -> Self {
        Self::founded_on(PLANT)
    }

    fn founded_on(plant: &str) -> Self {
        let mut store = Self::empty(16 << 10);
        let operator = Kind::Operator { vendor: None };
        let founder = |n, kind: &Kind, groups: &[&str]| Founder {
            person: person(n),
            kind: kind.clone(),
            groups: groups.iter().map(|group| label(group)).collect(),
            link: link(n),
        };
        let log_key = signer().verifier("mill-3/journal").unwrap().to_string();
        let founders =
            vec![founder(ADMINISTRATOR, &Kind::Administrator, &[]), founder(LEAD, &operator, &["shift-lead"])];
        store.act(Command::Found { deployment: label("mill-3"), log_key, founders, plant: plant.to_owned() });
        for n in [ADMINISTRATOR, LEAD] {
            store.act(Command::Enrol { link: link(n), key: public(n) });
        }
        store.act(Command::StartNode { node: label("node-1"), version: "0.1.0".to_owned() });
        store
    }

    /// The same, with a second operator, a technician, and a grant.
    pub fn granted() -> (Self, RequestId) {
        Self::granted_by("")
    }

    /// The same under a rule that says more.
    pub fn granted_by(more: &str) -> (Self, RequestId) {
        let mut store = Self::joined(&PLANT.replace("approvals =", &format!("{more}\napprovals =")));
        let request = store.submit();
        store.approve(request, LEAD);
        (store, request)
    }

    /// The same, whose record log says where copies lie.
    pub fn granted_with_copies() -> (Self, RequestId) {
        let (mut store, request) = Self::granted();
        store.close();
        store.says_copied = true;
        store.open();
        (store, request)
    }

    /// The same with a grant for a TCP service of `plc-7`.
    pub fn granted_to(service: &str, action: Action) -> (Self, RequestId) {
        let mut store = Self::joined(PLANT);
        let request = store.submit_for("plc-7", Some(service), [action].into());
        store.approve(request, LEAD);
        (store, request)
    }

    /// With nothing asked, under rules that let operators answer by a code.
    pub fn lenient() -> Self {
        Self::joined(&PLANT.replace("approvals =", "weaker = [\"totp\"]\napprovals ="))
    }

    /// With nothing asked, under rules that take guests and give emergency grants, and a vendor that can be called back.
    pub fn for_guests() -> Self {
        let more = "escort = \"required\"\nguest_max = \"8h\"\nemergency = true\napprovals =";
        let mut store = Self::joined(&PLANT.replace("approvals =", more));
        let (end, by) = (Timestamp::constant(2_000_000_000, 0), person(ADMINISTRATOR));
        let (sponsor, telephone) = (person(LEAD), Some(Salted::new(&[0; 32], "+49 30 1234")));
        store.act(Command::Contract { vendor: label("acme"), end, sponsor, telephone, by });
        store.act(Command::ComeOnDuty { person: person(LEAD), provider: None });
        store
    }

    /// With nothing asked, under rules that demand an attestation, and a technician who manages their company's people, may
    /// invite one more, and has attested themself.
    pub fn managed() -> Self {
        let mut store = Self::joined(&PLANT.replace("approvals =", "attested = \"2h\"\napprovals ="));
        let (manager, by) = (person(TECHNICIAN), person(ADMINISTRATOR));
        store.act(Command::NameManager { person: manager, by });
        let roles = [label("maintenance")].into();
        store.act(Command::AllowInvitations { vendor: label("acme"), most: 1, roles, by });
        let until = store.now() + jiff::SignedDuration::from_hours(1);
        store.act(Command::Attest { person: manager, until, note: None, by: manager });
        store
    }

    /// A guest's invitation by somebody, signed with the key of somebody.
    pub fn invitation(&self, by: u8, signed_by: u8, hours: i64) -> Signed<GuestStatement> {
        let rule = &self.state.plant.as_ref().unwrap().rules[0];
        let statement = GuestStatement {
            deployment: label("mill-3"),
            guest: GuestId::new(Ulid::from(70_u128)),
            person: person(70),
            name: Salted::new(&[0; 32], "gus"),
            vendor: label("acme"),
            role: label("maintenance"),
            target: label("hmi-1"),
            rule: rule.digest(),
            until: self.now() + jiff::SignedDuration::from_hours(hours),
            reason: Salted::new(&[0; 32], "valve sticks"),
            telephone: Salted::new(&[0; 32], "+49 30 1234"),
            operator: person(by),
            nonce: "00".repeat(16),
            expires: self.expires(),
            journal: self.seen(),
        };
        let signature = sign(signed_by, Namespace::Guest, statement.digest());
        Signed { statement, key: public(by), signature }
    }

    fn joined(plant: &str) -> Self {
        let mut store = Self::founded_on(plant);
        let (end, by) = (Timestamp::constant(2_000_000_000, 0), person(ADMINISTRATOR));
        store.act(Command::Contract { vendor: label("acme"), end, sponsor: person(LEAD), telephone: None, by });
        let technician = Kind::Technician { vendor: label("acme"), role: label("maintenance") };
        store.join(TECHNICIAN, &technician, &[]);
        store.join(SECOND, &Kind::Operator { vendor: None }, &["shift-lead"]);
        for voucher in [ADMINISTRATOR, LEAD] {
            store.certify(SECOND, voucher);
        }
        store
    }

    pub fn empty(segment_bytes: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let identities = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
        let texts = identities.each_ref().map(|identity| identity.to_public().to_string());
        let recipients = Recipients::parse(texts.iter().map(String::as_str)).unwrap();
        let secret = secret_text(&identities[1]);
        let secret = format!("# public key: {}\n{secret}\n", texts[1]);
        let keys = AuditorKeys::parse(&secret).unwrap();
        let mut store = Self {
            folder,
            machine: SimMachine::new(1),
            journal: None,
            records: None,
            state: State::default(),
            recipients,
            keys,
            secret,
            segment_bytes,
            says_copied: false,
            next: 1_000,
        };
        store.open();
        store
    }

    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Starts both logs.
    pub fn open(&mut self) {
        let journal = self.log(Purpose::Journal, JOURNAL_DIR, "mill-3/journal").unwrap();
        let records = self.try_open_records().unwrap();
        (self.journal, self.records) = (Some(journal), Some(records));
    }

    pub fn try_open_records(&self) -> Result<Log, OpenFault> {
        self.log(Purpose::Records, RECORDS_DIR, "mill-3/records/node-1")
    }

    fn log(&self, purpose: Purpose, name: &str, origin: &str) -> Result<Log, OpenFault> {
        let mut options = LogOptions::new(purpose, origin, label("node-1"));
        options.segment_bytes = self.segment_bytes;
        options.spares = 1;
        options.says_copied = self.says_copied && purpose == Purpose::Records;
        let (disk, machine) = (Arc::new(RealDisk), Arc::new(self.machine.clone()));
        Ok(Log::open(disk, machine, &self.dir().join(name), options, Arc::new(signer()))?.0)
    }

    /// Stops both logs.
    pub fn close(&mut self) {
        drop(self.records.take());
        drop(self.journal.take());
    }

    /// Lets a second pass for the logs, and time for a checkpoint to be published.
    pub fn wait_for_checkpoint(&self) {
        let path = self.dir().join(RECORDS_DIR).join("checkpoint");
        let (before, deadline) =
            (std::fs::read(&path).ok(), std::time::Instant::now() + std::time::Duration::from_secs(60));
        self.machine.advance(1_000_000_000);
        while std::fs::read(&path).ok() == before {
            assert!(std::time::Instant::now() < deadline, "no checkpoint was published");
            std::thread::yield_now();
        }
    }

    pub fn now(&self) -> Timestamp {
        self.machine.wall()
    }

    /// Decides, appends and applies; a second passes.
    pub fn act(&mut self, command: Command) {
        self.machine.advance(1_000_000_000);
        let now = self.now();
        let events = self.state.decide(&command, now).unwrap();
        let journal = self.journal.as_ref().unwrap();
        let entries = events.iter().map(|event| event.encode()).collect();
        block_on(journal.append(journal.head(), entries, now)).unwrap();
        events.iter().for_each(|event| self.state.apply(event, now));
    }

    /// Appends an event that nobody decided.
    pub fn smuggle(&mut self, event: policies::events::Event) {
        let now = self.now();
        let journal = self.journal.as_ref().unwrap();
        block_on(journal.append(journal.head(), vec![event.encode()], now)).unwrap();
        self.state.apply(&event, now);
    }

    /// A gate that runs, with a session, whose wall clock was set by so many seconds since its journal was signed.
    pub fn with_its_clock_set(by_seconds: i64) -> (Self, Session) {
        let (mut store, grant) = Self::granted();
        let mut session = store.begin(grant);
        store.vouch();
        store.machine.set_wall(by_seconds);
        session.goes_on(2);
        (store, session)
    }

    /// Lets the journal vouch for the recordings, as a gate does at its start.
    pub fn vouch(&mut self) {
        let checkpoint = self.records.as_ref().unwrap().checkpoint().unwrap().to_string();
        self.smuggle(policies::events::Event::Checkpointed { node: label("node-1"), checkpoint });
    }

    fn id(&mut self) -> Ulid {
        self.next += 1;
        Ulid::from(self.next)
    }

    fn join(&mut self, n: u8, kind: &Kind, groups: &[&str]) {
        let groups = groups.iter().map(|group| label(group)).collect();
        let expires = self.now() + jiff::SignedDuration::from_hours(1);
        let (person, kind, by) = (person(n), kind.clone(), person(ADMINISTRATOR));
        self.act(Command::Invite { person, kind, groups, link: link(n), expires, by });
        self.act(Command::Enrol { link: link(n), key: public(n) });
    }

    pub fn seen(&self) -> SeenHead {
        let head = self.journal.as_ref().unwrap().head();
        SeenHead { size: head.size, root: Digest(head.root) }
    }

    pub fn expires(&self) -> Timestamp {
        self.now() + jiff::SignedDuration::from_mins(5)
    }

    pub fn certify(&mut self, about: u8, voucher: u8) {
        let subject = &self.state.people[&person(about)];
        let statement = CertifyStatement {
            deployment: label("mill-3"),
            person: person(about),
            kind: subject.kind.clone(),
            keys: subject.keys.clone(),
            groups: subject.groups.clone(),
            signer: person(voucher),
            nonce: "00".repeat(16),
            expires: self.expires(),
            journal: self.seen(),
        };
        let signature = sign(voucher, Namespace::Certify, statement.digest());
        self.act(Command::Certify { certificate: Signed { statement, key: public(voucher), signature } });
    }

    pub fn plant_signature(&self, plant: Digest, n: u8) -> Signed<PlantStatement> {
        let statement = PlantStatement {
            deployment: label("mill-3"),
            plant,
            replaces: self.state.plant.as_ref().unwrap().digest(),
            signer: person(n),
            nonce: "00".repeat(16),
            expires: self.expires(),
            journal: self.seen(),
        };
        let signature = sign(n, Namespace::Plant, statement.digest());
        Signed { statement, key: public(n), signature }
    }

    pub fn submit(&mut self) -> RequestId {
        self.submit_for("hmi-1", None, [Action::Shell, Action::FileGet, Action::FilePut].into())
    }

    pub fn submit_in_an_emergency(&mut self) -> RequestId {
        let wish = NewRequest { emergency: true, ..self.wish("hmi-1", None, [Action::Shell].into()) };
        self.submitted(wish)
    }

    fn submit_for(&mut self, target: &str, service: Option<&str>, actions: Actions) -> RequestId {
        let wish = self.wish(target, service, actions);
        self.submitted(wish)
    }

    fn submitted(&mut self, wish: NewRequest) -> RequestId {
        let id = wish.id;
        self.act(Command::Submit(wish));
        id
    }

    fn wish(&mut self, target: &str, service: Option<&str>, actions: Actions) -> NewRequest {
        let (id, now) = (RequestId::new(self.id()), self.now());
        NewRequest {
            id,
            technician: person(TECHNICIAN),
            target: label(target),
            service: service.map(label),
            actions,
            window: Window { from: now, until: now + jiff::SignedDuration::from_hours(8) },
            duration: Seconds(7_200),
            reason: Some(Salted::new(&[0; 32], "valve sticks")),
            work_order: None,
            source: None,
            emergency: false,
        }
    }

    pub fn verdict(&self, request: RequestId, operator: u8, signed_by: u8) -> Signed<VerdictStatement> {
        let statement = VerdictStatement {
            deployment: label("mill-3"),
            matter: Matter::Request(request),
            digest: self.state.cases[&request].request.digest(&label("mill-3")),
            answer: Answer::Yes { narrowing: Narrowing::default() },
            operator: person(operator),
            nonce: "00".repeat(16),
            expires: self.expires(),
            journal: self.seen(),
        };
        let signature = sign(signed_by, Namespace::Approval, statement.digest());
        Signed { statement, key: public(operator), signature }
    }

    pub fn approve(&mut self, request: RequestId, operator: u8) {
        let verdict = self.verdict(request, operator, operator);
        self.act(Command::Vote { verdict });
    }

    /// Admits a session and opens its recording.
    pub fn begin(&mut self, grant: RequestId) -> Session {
        let id = self.admit(grant);
        self.record(id, grant)
    }

    /// The same for a TCP service of `plc-7`.
    pub fn begin_at(&mut self, service: &str, action: Action, grant: RequestId) -> Session {
        let id = self.admit_to("plc-7", service, action, grant);
        let more = format!(r#""service":"{service}","source":"192.0.2.7","target":"plc-7""#);
        self.record_saying(id, grant, &self.recipients.names(), &more)
    }

    /// Admits a session.
    pub fn admit(&mut self, grant: RequestId) -> SessionId {
        self.admit_to("hmi-1", "ssh", Action::Shell, grant)
    }

    fn admit_to(&mut self, target: &str, service: &str, action: Action, grant: RequestId) -> SessionId {
        let id = SessionId::new(self.id());
        self.act(Command::Admit(Admission {
            session: id,
            technician: person(TECHNICIAN),
            factors: vec![Factor::Key, Factor::Totp],
            source: "192.0.2.7".parse().unwrap(),
            target: label(target),
            service: label(service),
            wants: [action].into(),
            grant: Some(grant),
            overdue: [].into(),
            node: label("node-1"),
        }));
        id
    }

    /// Opens a recording that says it is of this grant.
    pub fn record(&self, id: SessionId, grant: RequestId) -> Session {
        self.record_for(id, grant, &self.recipients.names())
    }

    /// The same, that says it is encrypted to these.
    pub fn record_for(&self, id: SessionId, grant: RequestId, said: &BTreeSet<Recipient>) -> Session {
        self.record_saying(id, grant, said, r#""service":"ssh","target":"hmi-1""#)
    }

    fn record_saying(&self, id: SessionId, grant: RequestId, said: &BTreeSet<Recipient>, more: &str) -> Session {
        let key_file = self.recipients.new_key_file(&self.machine);
        let recipients = serde_json::to_string(said).unwrap();
        let technician = person(TECHNICIAN);
        let metadata = format!(
            r#"{{"grant":"{grant}","node":"node-1","recipients":{recipients},"session":"{id}",{more},"technician":"{technician}","v":1}}"#
        )
        .into_bytes();
        let opening = Opening { recording: id, metadata, key_file };
        let writer = block_on(self.records.as_ref().unwrap().open_session(opening)).unwrap();
        Session { id, writer, machine: self.machine.clone(), counts: Vec::new(), lacks: Vec::new() }
    }

    /// Seals a recording and journals its end.
    pub fn end(&mut self, session: Session) {
        let id = session.id;
        let seal = session.seal();
        self.act(Command::End { session: id, ending: Ending::Left, seal: Some(seal) });
    }

    /// Says in the record log of each file of a session that ended that a copy lies in a bucket, as it is made by `change`.
    pub fn say_copied(&self, session: SessionId, change: impl Fn(&mut Copied)) {
        let records = self.records.as_ref().unwrap();
        while !block_on(records.is_settled(session)).unwrap() {
            std::thread::yield_now();
        }
        for entry in std::fs::read_dir(session_dir(&self.dir().join(RECORDS_DIR), session)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let (bytes, sha256) = length_and_digest(&path).unwrap();
            let (version, until) = ("v1".to_owned(), self.now());
            let mut copied = Copied { recording: session, name, bytes, sha256, version, until };
            change(&mut copied);
            block_on(records.copied(copied)).unwrap();
        }
    }

    /// A copy of the data folder, to be tampered with.
    pub fn copy(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_tree(self.dir(), copy.path());
        copy
    }

    pub fn ask_id(&mut self) -> AskId {
        AskId::new(self.id())
    }
}

/// Opens the records in a copy as if they were a journal, which takes any entry: as whoever has the log's key writes one.
pub fn open_as_journal(copy: &Path, store: &Store) -> Log {
    let mut options = LogOptions::new(Purpose::Journal, "mill-3/records/node-1", label("node-1"));
    options.segment_bytes = store.segment_bytes;
    let (disk, machine) = (Arc::new(RealDisk), Arc::new(store.machine.clone()));
    Log::open(disk, machine, &copy.join(RECORDS_DIR), options, Arc::new(signer())).unwrap().0
}

/// Opens the journal in a copy on the machine's next boot, so many seconds later.
pub fn next_boot(copy: &Path, store: &Store, later: i64) -> Log {
    let machine = SimMachine::new(2);
    machine.set_wall(store.now().as_second() - machine.wall().as_second() + later);
    let mut options = LogOptions::new(Purpose::Journal, "mill-3/journal", label("node-1"));
    (options.segment_bytes, options.spares) = (store.segment_bytes, 1);
    Log::open(Arc::new(RealDisk), Arc::new(machine), &copy.join(JOURNAL_DIR), options, Arc::new(signer())).unwrap().0
}

fn secret_text(identity: &age::x25519::Identity) -> String {
    use age::secrecy::ExposeSecret as _;
    identity.to_string().expose_secret().to_owned()
}

pub fn sign(n: u8, namespace: Namespace, digest: Digest) -> String {
    sshsig::sign_with(&private(n), namespace, &digest.0).unwrap()
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            // A running log removes drafts and old tiles meanwhile.
            match std::fs::copy(entry.path(), to) {
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// A recording that is being made.
pub struct Session {
    pub id: SessionId,
    pub writer: SessionWriter,
    machine: SimMachine,
    counts: Vec<(Stream, u32, u64)>,
    lacks: Vec<(Direction, u32, Lack, u64)>,
}

/// Why bytes that came did not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    Refused,
    Undelivered,
}

impl Session {
    /// Notes something; a millisecond passes.
    pub fn note(&mut self, channel: u32, note: &Note) -> &mut Self {
        self.machine.advance(1_000_000);
        block_on(self.writer.note(note.fact(), channel, note.encode().into())).unwrap();
        self
    }

    /// Records bytes of a stream; a millisecond passes.
    pub fn data(&mut self, channel: u32, stream: Stream, bytes: &[u8]) -> &mut Self {
        self.machine.advance(1_000_000);
        let line = self.writer.line(stream, channel);
        let position = line.submit(Bytes::copy_from_slice(bytes)).unwrap();
        block_on(line.durable(position)).unwrap();
        self.counts.push((stream, channel, bytes.len() as u64));
        self
    }

    /// Time passes, and then the log has signed that it is so late.
    pub fn goes_on(&mut self, seconds: u64) {
        self.machine.advance(seconds * 1_000_000_000);
        // The second waits for what the first made due.
        (0..2).for_each(|_| _ = self.data(1, Stream::Out, b"working"));
    }

    /// Gives the recording how these channels' screens stand.
    pub fn screens(&mut self, screens: &[(u32, &Screen)]) -> &mut Self {
        let keyframe = |(channel, screen): &(u32, &Screen)| {
            let Size { columns, rows } = screen.size();
            let (columns, rows) = (columns.try_into().unwrap(), rows.try_into().unwrap());
            Keyframe { channel: *channel, columns, rows, draws: screen.dump().into() }
        };
        self.writer.keyframes().submit(screens.iter().map(keyframe).collect());
        self
    }

    /// Lets time pass.
    pub fn wait(&mut self, nanos: u64) -> &mut Self {
        self.machine.advance(nanos);
        self
    }

    /// Counts bytes of those that came as not handed on.
    pub fn lacks(&mut self, direction: Direction, channel: u32, why: Lack, bytes: u64) -> &mut Self {
        self.lacks.push((direction, channel, why, bytes));
        self
    }

    pub fn seal(self) -> Digest {
        let seal = Seal { ending: "left".to_owned(), accounts: self.accounts() };
        block_on(self.writer.seal(seal)).unwrap().digest
    }

    fn accounts(&self) -> Vec<Account> {
        let mut accounts: Vec<Account> = Vec::new();
        for &(stream, channel, bytes) in &self.counts {
            let direction = match stream {
                Stream::In | Stream::GateIn => Direction::In,
                _ => Direction::Out,
            };
            let known = accounts.iter().position(|known| known.direction == direction && known.channel == channel);
            let index = known.unwrap_or_else(|| {
                let (received, forwarded, refused, undelivered, made) = (0, 0, 0, 0, 0);
                accounts.push(Account { direction, channel, received, forwarded, refused, undelivered, made });
                accounts.len() - 1
            });
            let account = &mut accounts[index];
            if stream.is_of_the_gate() {
                account.made += bytes;
            } else {
                account.received += bytes;
                account.forwarded += bytes;
            }
        }
        for &(direction, channel, why, bytes) in &self.lacks {
            let mut rows = accounts.iter_mut();
            let row = rows.find(|row| row.direction == direction && row.channel == channel).unwrap();
            row.forwarded -= bytes;
            match why {
                Lack::Refused => row.refused += bytes,
                Lack::Undelivered => row.undelivered += bytes,
            }
        }
        accounts
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}
