//! For tests of this crate and of those above: a whole Desk in memory with people who can sign, a clock that somebody
//! turns, and ports that fail when told to. Nothing here is reached by the program.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use certs::keys::{KeyStore, Seal};
use certs::proof::{Authenticated, Face, VerifiedKey};
use certs::sshsig::{self, Namespace};
use certs::totp::TotpSecret;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use policies::actions::{Action, Actions};
use policies::decide::{Command, NewRequest};
use policies::digest::Digest;
use policies::events::{Ending, Event};
use policies::ids::{AskId, DeploymentId, NodeId, PersonId, RequestId, SessionId};
use policies::people::Kind;
use policies::refusals::Refusal;
use policies::requests::{
    Answer, CertifyStatement, Matter, Narrowing, PlantStatement, Reopening, SeenHead, Signed, VerdictStatement,
};
use policies::state::State;
use policies::time::{Seconds, Window};
use recordings::log::Log;
use ssh_key::public::{Ed25519PublicKey, KeyData, SkEd25519};
use ssh_key::{Algorithm, PrivateKey, PublicKey, Signature};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::capture::{Capture, Captures, Wanted};
use crate::clock::{Clock, Turn};
use crate::cuts::CutsFile;
use crate::desk::{Alarm, Desk, DeskFault, DeskParts};
use crate::directory::memory::MemoryDirectory;
use crate::directory::{Change, Directory, DirectoryFault, Dumped, Key, Listed, Table};
use crate::floor::{Floor, Joined, LiveSession, NoScreens, Screens, Shown, Watch, WatchFrame, WatchFrames};
use crate::journal::memory::MemoryJournal;
use crate::journal::{AppendError, Entry, Head, Journal, ReadError};
use crate::lease::{Ask, Lease};
use crate::mint;
use crate::people::{Founding, Invitation, NewContract, NewGuest, NewPerson, NotDone, People, key_text};

pub mod bucket;
pub mod postgres;

/// A panel of a plant that is written by [`plant_of_panels`].
pub struct Panel<'a> {
    /// Its name, such as `hmi-2`.
    pub name: &'a str,
    /// Address and port of its SSH server.
    pub address: &'a str,
    /// The account there.
    pub user: &'a str,
    /// How the gate signs in.
    pub credential: &'a str,
    /// The fingerprint of its host key.
    pub host_key: &'a str,
}

/// A plant file with these panels in one zone, and one rule by which `acme` may maintain them when a shift lead says yes;
/// `more` belongs to that rule.
pub fn plant_of_panels(timezone: &str, panels: &[Panel<'_>], more: &str) -> String {
    let panel = |panel: &Panel<'_>| {
        let Panel { name, address, user, credential, host_key } = panel;
        format!(
            "[targets.{name}]\nzone = \"packaging\"\n[targets.{name}.services.ssh]\nprotocol = \"ssh\"\n\
             address = \"{address}\"\nuser = \"{user}\"\ncredential = \"{credential}\"\nhost_key = \"{host_key}\"\n"
        )
    };
    let panels: String = panels.iter().map(panel).collect();
    format!(
        r#"
[plant]
name = "Mill 3"
timezone = "{timezone}"
banner = "Mill 3. Sessions are recorded."
changes = [{{ from = "shift-lead", count = 1 }}]
[zones.packaging]
{panels}[[rules]]
id = "acme-packaging"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["shell", "file-get", "file-put"]
duration_max = "4h"
approvals = [{{ from = "shift-lead", count = 1 }}]
work_order = "optional"
exclusive = "none"
{more}
"#
    )
}

/// A small plant: a panel (`hmi-2`), a controller (`plc-7`), one where somebody must watch
/// (`robot-1`), one that takes a single connection (`press-4`), and a zone nobody enters.
pub const PLANT: &str = r#"
[plant]
name = "Mill 3"
timezone = "Europe/Berlin"
banner = "Recorded."
changes = [{ from = "shift-lead", count = 1 }]
[zones.packaging]
[zones.press]
[zones.robots]
[zones.safety]
never = true
[targets.hmi-2]
zone = "packaging"
[targets.hmi-2.services.ssh]
protocol = "ssh"
address = "10.20.2.11:22"
user = "maint"
credential = "hmi-maint"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[targets.plc-7]
zone = "packaging"
[targets.plc-7.services.ssh]
protocol = "ssh"
address = "10.20.2.7:22"
user = "maint"
credential = "certificate"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[targets.press-4]
zone = "press"
[targets.press-4.services.ssh]
protocol = "ssh"
address = "10.20.4.4:22"
user = "maint"
credential = "certificate"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[targets.robot-1]
zone = "robots"
[targets.robot-1.services.ssh]
protocol = "ssh"
address = "10.20.5.1:22"
user = "maint"
credential = "certificate"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[targets.safety-plc]
zone = "safety"
[targets.safety-plc.services.ssh]
protocol = "ssh"
address = "10.20.9.5:22"
user = "maint"
credential = "certificate"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[[rules]]
id = "acme-packaging"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["shell", "file-get", "file-put"]
duration_max = "4h"
approvals = [{ from = "shift-lead", count = 1 }]
tell = [{ after = "0m", group = "shift-lead" }, { after = "10m", group = "ot-security" }]
work_order = "optional"
exclusive = "none"
[[rules]]
id = "acme-press"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["press"]
actions = ["shell"]
duration_max = "2h"
connections = 1
approvals = [{ from = "shift-lead", count = 1 }]
work_order = "optional"
ending = "freeze"
freeze_max = "10m"
[[rules]]
id = "acme-robots"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["robots"]
actions = ["shell"]
duration_max = "2h"
approvals = [{ from = "shift-lead", count = 1 }]
work_order = "optional"
escort = "required"
guest_max = "8h"
"#;

/// The number on which acme is called back.
pub const TELEPHONE: &str = "+49 30 1234";

/// Somebody with a key and an authenticator app.
pub struct Actor {
    /// Who.
    pub person: PersonId,
    /// By what name.
    pub name: String,
    /// Their key.
    pub key: PrivateKey,
    /// Their app.
    pub totp: TotpSecret,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Actor({})", self.name)
    }
}

/// A folder that is removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one under the system's folder for such things.
    pub fn new() -> Self {
        let name = format!("holdpoint-{}", mint::nonce());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a test may write where tests write");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "a test's folder stays");
        }
    }
}

/// What a Desk is built on, which a test may change before and keep after.
pub struct Props {
    /// Where decisions go.
    pub journal: Arc<dyn Journal>,
    /// Where names and factors go.
    pub directory: Arc<dyn Directory>,
    /// The gate's keys.
    pub keys: Arc<KeyStore>,
    /// The time.
    pub clock: Clock,
    /// What turns it.
    pub turn: Turn,
    /// What runs.
    pub floor: Arc<TestFloor>,
    /// The node's recordings, if it keeps any.
    pub records: Option<Arc<Log>>,
    /// The file of cuts is in it.
    pub scratch: Scratch,
}

impl Props {
    /// Everything in memory and in order.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let keys = KeyStore::create(&scratch.path().join("keys"), &Seal::File).expect("keys can be made");
        let (clock, turn) = Clock::turned();
        Self {
            journal: Arc::new(MemoryJournal::new()),
            directory: Arc::new(MemoryDirectory::new()),
            keys: Arc::new(keys),
            clock,
            turn,
            floor: Arc::default(),
            records: None,
            scratch,
        }
    }

    /// The file of cuts.
    pub fn cuts(&self) -> CutsFile {
        CutsFile::new(self.scratch.path().join("cuts"), deployment(), self.keys.log_key())
    }

    /// A Desk over them; a second one is a restart, or another node.
    ///
    /// # Errors
    /// As [`Desk::open`].
    pub async fn desk(&self) -> Result<(Desk, mpsc::Receiver<Alarm>), DeskFault> {
        let (alarms, heard) = mpsc::channel(64);
        let parts = DeskParts {
            journal: self.journal.clone(),
            directory: self.directory.clone(),
            clock: self.clock.clone(),
            node: "node-1".parse().expect("a label"),
            deployment: deployment(),
            floor: self.floor.clone(),
            alarms,
            cuts: self.cuts(),
            records: self.records.clone(),
        };
        Ok((Desk::open(parts).await?, heard))
    }
}

impl Default for Props {
    fn default() -> Self {
        Self::new()
    }
}

/// The installation of tests.
pub fn deployment() -> DeploymentId {
    "mill-3".parse().expect("a label")
}

/// The node of tests.
pub fn node() -> NodeId {
    "node-1".parse().expect("a label")
}

/// A founded plant with an administrator, two shift leads, and a technician of `acme` in the role `maintenance`.
pub struct Stage {
    /// What it stands on.
    pub props: Props,
    /// The Desk.
    pub desk: Desk,
    /// The use cases around people.
    pub people: People,
    /// Invites.
    pub admin: Actor,
    /// Approves.
    pub lead: Actor,
    /// Approves too.
    pub other_lead: Actor,
    /// Connects.
    pub technician: Actor,
    /// What nobody may mute.
    pub alarms: mpsc::Receiver<Alarm>,
}

impl Stage {
    /// On [`Props::new`] and [`PLANT`].
    pub async fn new() -> Self {
        Self::on(Props::new(), PLANT).await
    }

    /// On these props, with this plant file.
    pub async fn on(props: Props, plant: &str) -> Self {
        let (desk, alarms) = props.desk().await.expect("a new Desk opens");
        let people = People::new(desk.clone(), props.keys.secrets(), props.keys.tls_ca());
        let founders = vec![
            person("ada", Kind::Administrator, &[]),
            person("lee", Kind::Operator { vendor: None }, &["shift-lead"]),
            person("kim", Kind::Operator { vendor: None }, &["shift-lead"]),
        ];
        let log_key = props.keys.log_key().verifier("mill-3/journal").expect("a log's name").to_string();
        let founding = Founding { log_key, founders, plant: plant.to_owned() };
        let mut actors = Vec::new();
        for invitation in people.found(founding).await.expect("the stage's plant is right") {
            actors.push(enrol(&people, &invitation.code).await);
        }
        let [admin, lead, other_lead] = actors.try_into().expect("three were invited");
        let end = desk.clock().wall() + SignedDuration::from_hours(24 * 365);
        let vendor: policies::ids::VendorId = "acme".parse().expect("a label");
        let telephone = Some(TELEPHONE.to_owned());
        let contract = NewContract { vendor: vendor.clone(), end, sponsor: lead.person, telephone, allowance: None };
        people.contract(contract, admin.person).await.expect("an administrator may");
        let kind = Kind::Technician { vendor, role: "maintenance".parse().expect("a label") };
        let invited = people.invite(person("tara", kind, &[]), Seconds(86_400), admin.person).await;
        let technician = enrol(&people, &invited.expect("an administrator may").code).await;
        Self { props, desk, people, admin, lead, other_lead, technician, alarms }
    }

    /// Time passes.
    pub fn pass(&self, span: Duration) {
        self.props.turn.pass(span);
    }

    /// A complete login, by key and the next code of the app: half a minute passes for each.
    pub async fn login(&self, actor: &Actor) -> Authenticated {
        self.pass(Duration::from_secs(30));
        let is_technician = |state: &State| matches!(state.people[&actor.person].kind, Kind::Technician { .. });
        let face = if self.desk.with_state(is_technician) { Face::Vendor } else { Face::Plant };
        let key = VerifiedKey::after_ssh_userauth_signature(actor.person, actor.key.public_key());
        let now = self.desk.clock().wall();
        let code = actor.totp.code_at(now);
        let spent = self.people.check_code(&key, &code, face).await.expect("the code is right");
        Authenticated::by_key_and_code(key, spent, face, source(), now).expect("both are one person's")
    }

    /// An operator comes on duty and invites a guest of acme to `robot-1`.
    ///
    /// # Errors
    /// As [`People::invite_guest`].
    pub async fn invite_guest(&self, by: &Actor, name: &str, lasts: Seconds) -> Result<Invitation, NotDone> {
        self.desk.act(Command::ComeOnDuty { person: by.person, provider: None }).await?;
        let new = NewGuest {
            name: name.to_owned(),
            vendor: "acme".parse().expect("a label"),
            target: "robot-1".parse().expect("a label"),
            rule: None,
            lasts,
            reason: "the robot stands still".to_owned(),
        };
        let (statement, _) = self.people.guest_statement(new, by.person, self.seen(), self.expiry()).await?;
        let digest = statement.digest();
        self.people.invite_guest(sign(by, Namespace::Guest, statement, digest)).await
    }

    /// The technician asks for access to a target, from now and for an hour.
    ///
    /// # Errors
    /// As [`Desk::act`].
    pub async fn ask(&self, target: &str, actions: &[Action]) -> Result<RequestId, crate::desk::Rejected> {
        let now = self.desk.clock().wall();
        let id = mint::request(now);
        let reason = self.people.put_text("the pump trips").await.expect("memory keeps it");
        let asked = NewRequest {
            id,
            technician: self.technician.person,
            target: target.parse().expect("a label"),
            service: None,
            actions: actions.iter().copied().collect(),
            window: Window { from: now, until: now + SignedDuration::from_hours(8) },
            duration: Seconds(3_600),
            reason: Some(reason),
            work_order: None,
            source: Some(source()),
            emergency: false,
        };
        self.desk.act(Command::Submit(asked)).await.map(|_| id)
    }

    /// A grant of one hour, approved by the shift lead.
    pub async fn grant(&self, target: &str, actions: &[Action]) -> RequestId {
        let id = self.ask(target, actions).await.expect("the rule allows it");
        let verdict = self.approval(&self.lead, id);
        self.desk.act(Command::Vote { verdict }).await.expect("the shift lead may");
        id
    }

    /// An operator's signed yes to a request as it stands.
    pub fn approval(&self, operator: &Actor, id: RequestId) -> Signed<VerdictStatement> {
        let digest = self.desk.with_state(|state| state.cases[&id].request.digest(&deployment()));
        self.verdict(operator, Matter::Request(id), digest)
    }

    /// An operator's signed yes to less than a request as it stands.
    pub fn narrowed_approval(&self, operator: &Actor, id: RequestId, narrowing: Narrowing) -> Signed<VerdictStatement> {
        let digest = self.desk.with_state(|state| state.cases[&id].request.narrowed(&narrowing).digest(&deployment()));
        let yes = self.verdict(operator, Matter::Request(id), digest);
        let statement = VerdictStatement { answer: Answer::Yes { narrowing }, ..yes.statement };
        let digest = statement.digest();
        sign(operator, Namespace::Approval, statement, digest)
    }

    /// An operator's signed yes to an extension or widening.
    pub fn approval_of_ask(&self, operator: &Actor, id: AskId, is_extension: bool) -> Signed<VerdictStatement> {
        let digest = self.desk.with_state(|state| state.ask_digest(&state.asks[&id]));
        let matter = if is_extension { Matter::Extension(id) } else { Matter::Widening(id) };
        self.verdict(operator, matter, digest)
    }

    /// An operator's signed yes to a reopening.
    pub fn approval_of_reopening(&self, operator: &Actor, reopening: &Reopening) -> Signed<VerdictStatement> {
        let digest = self.desk.with_state(|state| state.reopening_digest(reopening));
        self.verdict(operator, Matter::Reopening(reopening.cut), digest)
    }

    /// An operator's signed no to something as it stands.
    pub async fn no(&self, operator: &Actor, matter: Matter) -> Signed<VerdictStatement> {
        let digest = self.desk.with_state(|state| state.standing_digest(&matter)).expect("it stands");
        let reason = self.people.put_text("it could have waited").await.expect("memory keeps it");
        let statement =
            VerdictStatement { answer: Answer::No { reason }, ..self.verdict(operator, matter, digest).statement };
        let digest = statement.digest();
        sign(operator, Namespace::Approval, statement, digest)
    }

    /// An operator's signed yes to whatever has this digest.
    pub fn verdict(&self, operator: &Actor, matter: Matter, digest: Digest) -> Signed<VerdictStatement> {
        let statement = VerdictStatement {
            deployment: deployment(),
            matter,
            digest,
            answer: Answer::Yes { narrowing: Narrowing::default() },
            operator: operator.person,
            nonce: mint::nonce(),
            expires: self.expiry(),
            journal: self.seen(),
        };
        let digest = statement.digest();
        sign(operator, Namespace::Approval, statement, digest)
    }

    /// An administrator's or operator's signature that vouches for somebody's keys and groups.
    pub fn certificate(&self, signer: &Actor, about: PersonId) -> Signed<CertifyStatement> {
        let statement = self.desk.with_state(|state| {
            let person = &state.people[&about];
            CertifyStatement {
                deployment: deployment(),
                person: about,
                kind: person.kind.clone(),
                keys: person.keys.clone(),
                groups: person.groups.clone(),
                signer: signer.person,
                nonce: mint::nonce(),
                expires: Timestamp::MAX,
                journal: SeenHead { size: 0, root: Digest([0; 32]) },
            }
        });
        let statement = CertifyStatement { expires: self.expiry(), journal: self.seen(), ..statement };
        let digest = statement.digest();
        sign(signer, Namespace::Certify, statement, digest)
    }

    /// A signature under a proposed plant file.
    pub fn plant_signature(&self, signer: &Actor, plant: Digest) -> Signed<PlantStatement> {
        let replaces = self.desk.with_state(|state| state.plant.as_ref().expect("a plant").digest());
        let statement = PlantStatement {
            deployment: deployment(),
            plant,
            replaces,
            signer: signer.person,
            nonce: mint::nonce(),
            expires: self.expiry(),
            journal: self.seen(),
        };
        let digest = statement.digest();
        sign(signer, Namespace::Plant, statement, digest)
    }

    /// The technician is let in to a target.
    ///
    /// # Errors
    /// As [`Desk::admit`].
    pub async fn admit(&self, target: &str) -> Result<Lease, crate::desk::Rejected> {
        let who = self.login(&self.technician).await;
        self.desk.admit(&who, self.wanted(target)).await
    }

    /// What is asked of the Desk for a new session at a target.
    pub fn wanted(&self, target: &str) -> Ask {
        Ask {
            target: target.parse().expect("a label"),
            service: None,
            wants: Actions::new(),
            grant: None,
            session: mint::session(self.desk.clock().wall()),
        }
    }

    /// The journal as a signer sees it now.
    pub fn seen(&self) -> SeenHead {
        let head = self.desk.head();
        SeenHead { size: head.size, root: Digest(head.root) }
    }

    fn expiry(&self) -> Timestamp {
        self.desk.clock().wall() + SignedDuration::from_mins(10)
    }
}

/// A lease of the technician's that leads to where a test wants it: to the target `hmi-2`, which is at that address.
pub struct Leased {
    /// The lease.
    pub lease: Arc<Lease>,
    /// The Desk that gave it.
    pub stage: Stage,
}

impl Leased {
    /// Asked for, approved and admitted as any other.
    pub async fn to(address: &str) -> Self {
        let host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s";
        let panel = Panel { name: "hmi-2", address, user: "maint", credential: "hmi-maint", host_key };
        let stage = Stage::on(Props::new(), &plant_of_panels("UTC", &[panel], "")).await;
        stage.grant("hmi-2", &[Action::Shell]).await;
        let lease = stage.admit("hmi-2").await.expect("it is granted");
        Self { lease: Arc::new(lease), stage }
    }
}

/// What another program's Desk wrote when this file was put up there, and adopted too.
pub fn put_up_elsewhere(text: &str, by: PersonId, adopted: bool) -> Vec<Event> {
    let plant = Digest::of_bytes(text.as_bytes());
    let whole = Event::PlantText { plant, part: 0, of: 1, text: text.to_owned() };
    let mut events = vec![whole, Event::PlantProposed { plant, by }];
    events.extend(adopted.then_some(Event::PlantAdopted { plant }));
    events
}

/// Why something was refused; it must have been.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, crate::desk::Rejected>) -> Refusal {
    match result {
        Err(crate::desk::Rejected::Refusal(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Signs a statement as its signer would.
pub fn sign<T>(actor: &Actor, namespace: Namespace, statement: T, digest: Digest) -> Signed<T> {
    let signature = sshsig::sign_with(&actor.key, namespace, &digest.0).expect("the key is at hand");
    Signed { statement, key: key_text(actor.key.public_key()), signature }
}

/// A security key made of software (PROTOCOL.u2f, "ssh-sk-ed25519"), which says of itself whether it was touched.
pub struct SecurityKey(Ed25519KeyPair);

impl SecurityKey {
    const APPLICATION: &str = "ssh:";

    /// A new one.
    pub fn new() -> Self {
        Self(Ed25519KeyPair::generate().expect("the system has chance"))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let public = self.0.public_key().as_ref().try_into().expect("32 bytes");
        PublicKey::from(KeyData::SkEd25519(SkEd25519::new(Ed25519PublicKey(public), Self::APPLICATION)))
    }

    /// Its signature, touched or not.
    pub fn signature(&self, is_touched: bool, namespace: Namespace, message: &[u8]) -> String {
        let sha256 = |bytes: &[u8]| Digest::of_bytes(bytes).0;
        let (application, said) = (sha256(Self::APPLICATION.as_bytes()), [u8::from(is_touched), 0, 0, 0, 7]);
        let to_sign = [&application[..], &said, &sha256(&sshsig::signed_data(namespace, message))].concat();
        let bytes = [self.0.sign(&to_sign).as_ref(), &said].concat();
        let signature = Signature::new(Algorithm::SkEd25519, bytes).expect("64 bytes, flags and counter");
        sshsig::wrap(&self.public(), namespace, signature)
    }

    /// Signs a statement, touched or not.
    pub fn sign<T>(&self, is_touched: bool, namespace: Namespace, statement: T, digest: Digest) -> Signed<T> {
        let signature = self.signature(is_touched, namespace, &digest.0);
        Signed { statement, key: key_text(&self.public()), signature }
    }
}

impl Default for SecurityKey {
    fn default() -> Self {
        Self::new()
    }
}

/// Enrols somebody with a new key.
pub async fn enrol(people: &People, code: &certs::enrolment::EnrolmentCode) -> Actor {
    let key = new_key();
    let enrolled = people.enrol(code, key.public_key()).await.expect("the code is new");
    Actor { person: enrolled.person, name: enrolled.name, key, totp: enrolled.totp }
}

/// A new key of somebody's.
pub fn new_key() -> PrivateKey {
    let seed = ssh_key::private::Ed25519Keypair::from_seed(&mint::random());
    let key = PrivateKey::new(seed.into(), "").expect("a seed makes a key");
    debug_assert_eq!(key.algorithm(), Algorithm::Ed25519);
    key
}

/// Somebody to invite.
pub fn person(name: &str, kind: Kind, groups: &[&str]) -> NewPerson {
    let groups: BTreeSet<_> = groups.iter().map(|group| group.parse().expect("a label")).collect();
    NewPerson { name: name.to_owned(), kind, groups }
}

/// Where everybody comes from.
pub fn source() -> IpAddr {
    [192, 0, 2, 7].into()
}

/// A floor that remembers what reached it.
pub struct TestFloor {
    /// What was cut, in order.
    pub cut: Mutex<Vec<(SessionId, Ending)>>,
    /// What was frozen or let go on, in order.
    pub frozen: Mutex<Vec<(SessionId, bool)>>,
    /// Whose connections were closed, in order.
    pub disconnected: Mutex<Vec<SessionId>>,
    /// What was said.
    pub told: Mutex<Vec<(SessionId, String)>>,
    /// What passes.
    pub captures: Captures,
    /// What whoever watches is told.
    pub frames: broadcast::Sender<WatchFrame>,
    /// The screens that they see.
    pub screens: Mutex<Arc<dyn Screens>>,
    /// Cancelled when what they watch is over.
    pub over: CancellationToken,
}

impl Default for TestFloor {
    fn default() -> Self {
        let captures = Captures::new(Clock::system());
        let (cut, frozen, disconnected, told) = Default::default();
        let screens: Mutex<Arc<dyn Screens>> = Mutex::new(Arc::new(NoScreens::default()));
        let frames = broadcast::Sender::new(32);
        Self { cut, frozen, disconnected, told, captures, frames, screens, over: CancellationToken::new() }
    }
}

impl Floor for TestFloor {
    fn list(&self) -> Vec<LiveSession> {
        Vec::new()
    }

    fn cut(&self, sessions: &[SessionId], ending: &Ending) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.extend(sessions.iter().map(|session| (*session, ending.clone())));
    }

    fn freeze(&self, session: SessionId, frozen: bool) {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).push((session, frozen));
    }

    fn disconnect(&self, session: SessionId) -> usize {
        self.disconnected.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        1
    }

    fn tell(&self, session: SessionId, text: &str) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((session, text.to_owned()));
    }

    fn write_to(&self, session: SessionId, text: &str) -> Option<oneshot::Receiver<Shown>> {
        self.tell(session, text);
        let (shown, answer) = oneshot::channel();
        shown.send(Shown::OnTerminals(1)).expect("the receiver is here");
        Some(answer)
    }

    fn watch(&self, _: SessionId) -> Option<Watch> {
        let sender = self.frames.clone();
        let screens = Arc::clone(&self.screens.lock().unwrap_or_else(PoisonError::into_inner));
        let (screen, happened, frames) = WatchFrames::join(Box::new(move || Joined {
            screen: bytes::Bytes::from_static(b"screen"),
            happened: Vec::new(),
            frames: sender.subscribe(),
        }));
        Some(Watch { screen, happened, frames, screens, over: self.over.clone(), seat: Box::new(()) })
    }

    fn capture(&self, wanted: Wanted) -> Option<Capture> {
        self.captures.read(wanted)
    }
}

/// How a faulty port behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// As it should.
    None,
    /// Writes fail, and nothing was written; reads work.
    FailsBefore,
    /// Writes fail although everything was written; reads work.
    FailsAfter,
    /// Nothing works.
    Gone,
    /// Writes never come back.
    Hangs,
}

/// A journal or a directory that fails when told to.
pub struct Faulty<T: ?Sized> {
    trouble: AtomicU8,
    calls_left: AtomicUsize,
    /// What stands behind it.
    pub inner: Arc<T>,
}

impl<T: ?Sized> Faulty<T> {
    /// Behaves until told otherwise.
    pub fn new(inner: Arc<T>) -> Self {
        Self { trouble: AtomicU8::new(Trouble::None as u8), calls_left: AtomicUsize::new(usize::MAX), inner }
    }

    /// Behaves so from now on.
    pub fn set(&self, trouble: Trouble) {
        self.set_for(trouble, usize::MAX);
    }

    /// Behaves so for that many writes.
    pub fn set_for(&self, trouble: Trouble, writes: usize) {
        self.calls_left.store(writes, Ordering::SeqCst);
        self.trouble.store(trouble as u8, Ordering::SeqCst);
    }

    fn now(&self) -> Trouble {
        let trouble = self.trouble.load(Ordering::SeqCst);
        let all = [Trouble::None, Trouble::FailsBefore, Trouble::FailsAfter, Trouble::Gone, Trouble::Hangs];
        all.into_iter().find(|one| *one as u8 == trouble).unwrap_or(Trouble::None)
    }

    fn at_write(&self) -> Trouble {
        let trouble = self.now();
        let left = self.calls_left.load(Ordering::SeqCst);
        if trouble != Trouble::None && left != usize::MAX {
            self.calls_left.store(left.saturating_sub(1), Ordering::SeqCst);
            if left <= 1 {
                self.set(Trouble::None);
            }
        }
        trouble
    }

    fn at_read(&self) -> bool {
        self.now() != Trouble::Gone
    }
}

const OUT_OF_ORDER: &str = "arranged by a test";

impl Journal for Faulty<dyn Journal> {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        let unavailable = || AppendError::Unavailable(OUT_OF_ORDER.into());
        async move {
            match self.at_write() {
                Trouble::None => self.inner.append(after, events, at).await,
                Trouble::FailsBefore | Trouble::Gone => Err(unavailable()),
                Trouble::FailsAfter => self.inner.append(after, events, at).await.and_then(|_| Err(unavailable())),
                Trouble::Hangs => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        if self.at_read() {
            self.inner.read(after)
        } else {
            async { Err(ReadError::Unavailable(OUT_OF_ORDER.into())) }.boxed()
        }
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        if self.at_read() {
            self.inner.head()
        } else {
            async { Err(ReadError::Unavailable(OUT_OF_ORDER.into())) }.boxed()
        }
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        self.inner.changed(size)
    }
}

impl Directory for Faulty<dyn Directory> {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Vec<u8>>, DirectoryFault>> {
        if self.at_read() { self.inner.get(key) } else { async { Err(gone()) }.boxed() }
    }

    fn swap(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<bool, DirectoryFault>> {
        async move {
            match self.at_write() {
                Trouble::None => self.inner.swap(changes).await,
                Trouble::FailsBefore | Trouble::Gone => Err(gone()),
                Trouble::FailsAfter => self.inner.swap(changes).await.and_then(|_| Err(gone())),
                Trouble::Hangs => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Dumped, DirectoryFault>> {
        if self.at_read() { self.inner.dump() } else { async { Err(gone()) }.boxed() }
    }

    fn list(&self, table: Table) -> BoxFuture<'_, Result<Listed, DirectoryFault>> {
        if self.at_read() { self.inner.list(table) } else { async { Err(gone()) }.boxed() }
    }
}

fn gone() -> DirectoryFault {
    DirectoryFault::Unavailable(OUT_OF_ORDER.into())
}

/// What a rival does when it sees what we are about to append.
pub type Move = Box<dyn FnMut(&[Event]) -> Vec<Event> + Send>;

/// A journal in which somebody else always gets in first: before each append of ours, theirs is written.
pub struct Rival {
    inner: Arc<dyn Journal>,
    makes: Mutex<Move>,
}

impl Rival {
    /// Writes what `makes` answers; nothing where that is nothing.
    pub fn new(inner: Arc<dyn Journal>, makes: Move) -> Self {
        Self { inner, makes: Mutex::new(makes) }
    }

    /// Plays otherwise from now on.
    pub fn set(&self, makes: Move) {
        *self.makes.lock().unwrap_or_else(PoisonError::into_inner) = makes;
    }
}

/// What a rival does when it sees what we are about to change.
pub type Countermove = Box<dyn FnMut(&[Change]) -> Vec<Change> + Send>;

/// A directory in which somebody else always gets in first: before each swap of ours, theirs is made.
pub struct RivalDirectory {
    inner: Arc<dyn Directory>,
    makes: Mutex<Countermove>,
}

impl RivalDirectory {
    /// Makes what `makes` answers.
    pub fn new(inner: Arc<dyn Directory>, makes: Countermove) -> Self {
        Self { inner, makes: Mutex::new(makes) }
    }
}

impl Directory for RivalDirectory {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Vec<u8>>, DirectoryFault>> {
        self.inner.get(key)
    }

    fn swap(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<bool, DirectoryFault>> {
        let theirs = (self.makes.lock().unwrap_or_else(PoisonError::into_inner))(&changes);
        async move {
            self.inner.swap(theirs).await?;
            self.inner.swap(changes).await
        }
        .boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Dumped, DirectoryFault>> {
        self.inner.dump()
    }

    fn list(&self, table: Table) -> BoxFuture<'_, Result<Listed, DirectoryFault>> {
        self.inner.list(table)
    }
}

impl Journal for Rival {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        let theirs = (self.makes.lock().unwrap_or_else(PoisonError::into_inner))(events);
        async move {
            if !theirs.is_empty() {
                let head = self.inner.head().await.map_err(|error| AppendError::Unavailable(error.to_string()))?;
                self.inner.append(head, &theirs, at).await?;
            }
            self.inner.append(after, events, at).await
        }
        .boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.inner.read(after)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.inner.head()
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        self.inner.changed(size)
    }
}
