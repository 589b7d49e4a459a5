//! Both ends, over a pair of sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use policies::events::Event;
use policies::ids::{CredentialName, PersonId};
use policies::time::Window;

use super::answering::{Allowed, Vault};
use super::*;
use crate::keys::folder::KeyFolder;
use crate::keys::{KeyFault, KeyStore, Seal};
use crate::ring::RingName;
use crate::secrets::CannotOpen;
use crate::ssh_ca::{CannotCertify, fresh_key};
use crate::tls::{TlsFault, fresh_handshake_key};
use crate::totp::TotpSecret;
use crate::vault::wire::ClientDraft;

/// A vault whose clock a test sets.
struct Stage {
    here: KeyStore,
    vault: Arc<Vault>,
    clock: Arc<Mutex<Timestamp>>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let face = rcgen::generate_simple_self_signed(["plant.example".to_owned()]).unwrap();
        std::fs::write(folder.path().join("face.key"), face.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("face.pem"), face.cert.pem()).unwrap();
        std::fs::write(folder.path().join("holdpoint.toml"), "the configuration").unwrap();
        let here = KeyStore::create(&dir, &Seal::File).unwrap();
        let allowed = Allowed {
            own: ["mail".parse().unwrap()].into(),
            face_keys: [folder.path().join("face.key")].into(),
            face_chains: [folder.path().join("face.pem")].into(),
            configuration: folder.path().join("holdpoint.toml"),
            beside: vec![folder.path().join("holdpoint.toml"), folder.path().join("not-there")],
        };
        let vault = Arc::new(Vault::new(KeyStore::open(&dir, &Seal::File).unwrap(), allowed));
        Self { here, vault, clock: Arc::new(Mutex::new(Timestamp::now())), folder }
    }

    fn line(&self) -> Line {
        Line::new(connection(&self.vault, &self.clock))
    }

    /// Three connections, the last of which loses what is answered there, and in its place others, of which the first so many do, too.
    /// Beside it, how many were opened.
    fn losing(&self, also: usize) -> (Line, Arc<AtomicUsize>) {
        let (vault, clock, count) = (Arc::clone(&self.vault), Arc::clone(&self.clock), Arc::<AtomicUsize>::default());
        let opened = Arc::clone(&count);
        let open = move |loses| Losing { stream: connection(&vault, &clock), loses };
        let first = [open(false), open(false), open(true)];
        let line = Line::apart(first, move |_| Ok(open(opened.fetch_add(1, Ordering::SeqCst) < also)));
        (line, count)
    }

    fn there(&self) -> KeyStore {
        KeyStore::in_vault(&self.line()).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    fn passes(&self, minutes: i64) {
        *self.clock.lock().unwrap() += SignedDuration::from_mins(minutes);
    }
}

/// To this vault, which answers until it is dropped.
fn connection(vault: &Arc<Vault>, clock: &Arc<Mutex<Timestamp>>) -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (vault, clock) = (Arc::clone(vault), Arc::clone(clock));
    std::thread::spawn(move || vault.serve(&mut theirs, || *clock.lock().unwrap()).unwrap_or_default());
    ours
}

/// A connection, of which what comes back may be lost once it was sent.
struct Losing {
    stream: UnixStream,
    loses: bool,
}

impl Read for Losing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        Ok(if self.loses { 0 } else { read })
    }
}

impl Write for Losing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

fn person() -> PersonId {
    "p_00000000000000000000000002".parse().unwrap()
}

fn is_refused(fault: &VaultFault) -> bool {
    matches!(fault, VaultFault::Refused(_))
}

/// A journal in which a session at `hmi-2` goes on until `deadline`: the golden events, and a plant file from the examples.
fn journal(deadline: Timestamp) -> Vec<Vec<u8>> {
    let golden = include_str!("../../../policies/tests/golden/events-1.jsonl");
    let one = |event: &str| {
        let line = golden.lines().find(|line| line.contains(&format!("\"event\":\"{event}\""))).unwrap();
        line.replace("\"deadline\":\"2026-11-22T14:03:07.120114Z\"", &format!("\"deadline\":\"{deadline}\""))
            .into_bytes()
    };
    let text = include_str!("../../../policies/examples/packaging-line.toml").to_owned();
    let plant = Digest::of_bytes(text.as_bytes());
    let adopted = [
        Event::PlantText { plant, part: 0, of: 1, text },
        Event::PlantProposed { plant, by: person() },
        Event::PlantAdopted { plant },
    ];
    let events = ["contracted", "invited"].into_iter().map(one).chain(adopted.iter().map(Event::encode));
    let events = events.chain(["submitted", "granted", "started"].into_iter().map(one));
    events.collect()
}

const SESSION: &str = "s_00000000000000000000000005";

fn opened(keys: &KeyStore) -> Result<Vec<u8>, CannotOpen> {
    let (secrets, name) = (keys.secrets(), name("hmi-maint"));
    let sealed = secrets.seal(&name, b"hunter2")?;
    secrets.open(&name, &sealed, Purpose::Session(SESSION.parse().unwrap())).map(|secret| secret.to_vec())
}

#[track_caller]
fn says_no(opened: &Result<Vec<u8>, CannotOpen>, words: &str) {
    let Err(CannotOpen::Vault(VaultFault::Refused(why))) = opened else { panic!("{opened:?}") };
    assert!(why.contains(words), "{why}");
}

#[test]
fn a_vault_turns_to_new_keys_when_it_is_told_and_a_fault_turns_none() {
    let stage = Stage::new();
    let (there, folder) = (stage.there(), KeyFolder::open(&stage.path("keys"), &Seal::File).unwrap());
    let (ca, key) = (there.ssh_ca(), fresh_key(""));
    let certified = || {
        let valid = Window { from: stage.now(), until: stage.now() + SignedDuration::from_mins(5) };
        let made = ca.user_certificate(key.public_key(), &person().to_string(), [127, 0, 0, 1].into(), valid, 1, "x");
        made.unwrap().signature_key().clone()
    };
    let (first, host) = (ca.public_key(), there.ssh_host_key().private());
    for name in RingName::ALL {
        folder.renew(name).unwrap();
        folder.switch(name).unwrap();
    }
    assert_eq!(&certified(), first.key_data(), "nobody told it");
    assert_eq!(there.reload().unwrap(), RingName::ALL);
    assert_eq!(&certified(), ca.public_key().key_data());
    assert!(ca.public_key() != first && ca.believed() == [ca.public_key(), first]);
    let opened = KeyStore::open(&stage.path("keys"), &Seal::File).unwrap();
    assert_eq!(there.rings(), opened.rings());
    let told = there.tls_ca().authorities_and_succession();
    assert_eq!(told, opened.tls_ca().authorities_and_succession());
    let ((authorities, succession), before) = (told, stage.here.tls_ca().authorities_pem());
    let taken = crate::succession::take_over(&before, &authorities, &succession, None, stage.now()).unwrap();
    assert_eq!((taken.ca_pem, taken.stranger), (authorities, None), "the one before signed it");
    let valid = Window { from: stage.now(), until: stage.now() + SignedDuration::from_hours(1) };
    let certifies = |key: &ssh_key::PrivateKey| ca.host_certificate(key.public_key(), &["a".to_owned()], valid).is_ok();
    assert!(certifies(&there.ssh_host_key().private()) && certifies(&host) && !certifies(&key));
    std::fs::write(stage.path("keys/token.sealed"), b"torn").unwrap();
    folder.forget(RingName::SshCa).unwrap();
    assert!(matches!(there.reload(), Err(KeyFault::Vault(VaultFault::Refused(why))) if why.contains("token.sealed")));
    assert_eq!((ca.believed().len(), &certified()), (2, ca.public_key().key_data()));
}

#[test]
fn keys_in_a_vault_do_what_keys_here_do() {
    let stage = Stage::new();
    let (here, there) = (&stage.here, stage.there());
    assert_eq!(there.log_key().sign(b"head").unwrap(), here.log_key().sign(b"head").unwrap());
    assert_eq!(there.log_key().verifier("a").unwrap(), here.log_key().verifier("a").unwrap());
    assert_eq!(there.secrets().tag(b"x").unwrap(), here.secrets().tag(b"x").unwrap());
    assert_eq!(there.seal_word(), here.seal_word());
    assert_eq!(there.ssh_host_key().private(), here.ssh_host_key().private());
    let key = fresh_key("");
    let valid = Window { from: stage.now(), until: stage.now() + SignedDuration::from_mins(5) };
    let principal = person().to_string();
    let made = there.ssh_ca().user_certificate(key.public_key(), &principal, [127, 0, 0, 1].into(), valid, 1, "x");
    assert_eq!(made.unwrap().signature_key(), here.ssh_ca().public_key().key_data());
    let beside = [stage.path("holdpoint.toml")];
    assert_eq!(there.for_backup(&[]).unwrap(), here.for_backup(&beside).unwrap());
    let faces = ["plant.example".to_owned()];
    assert!(there.tls_ca().server(&faces, None, stage.now()).is_ok());
}

#[test]
fn what_the_plant_gave_a_face_is_read_by_the_vault_and_nothing_else_of_the_disk_is() {
    let stage = Stage::new();
    let there = stage.there();
    let given = |chain: &str, key: &str| -> Result<_, crate::given::GivenFault> {
        let (chain, key) = (there.face_chain(&stage.path(chain))?, there.face_key(&stage.path(key))?);
        crate::given::GivenCertificate::read(&chain, &key, "plant.example")
    };
    given("face.pem", "face.key").unwrap();
    assert!(given("face.pem", "keys/sealing.key").is_err() && given("keys/sealing.key", "face.key").is_err());
    // Whoever can put a link there gets no bytes of what it leads to.
    std::fs::remove_file(stage.path("face.pem")).unwrap();
    std::os::unix::fs::symlink(stage.path("holdpoint.toml"), stage.path("face.pem")).unwrap();
    assert_eq!(there.face_chain(&stage.path("face.pem")).unwrap(), b"");
}

#[test]
fn nothing_is_opened_or_certified_but_for_what_the_vault_itself_knows() {
    let stage = Stage::new();
    let (there, now) = (stage.there(), stage.now());
    let secrets = there.secrets();
    let refused = |opened| matches!(opened, Err(CannotOpen::Vault(VaultFault::Refused(_))));
    let sealed = |of: &str| secrets.seal(&name(of), b"hunter2").unwrap();
    assert_eq!(secrets.open(&name("mail"), &sealed("mail"), Purpose::Gate).unwrap().as_slice(), b"hunter2");
    assert!(refused(secrets.open(&name("hmi"), &sealed("hmi"), Purpose::Gate)));
    let session = "s_00000000000000000000000001".parse().unwrap();
    assert!(refused(secrets.open(&name("hmi"), &sealed("hmi"), Purpose::Session(session))));
    assert!(refused(secrets.open(&name("mail"), &sealed("mail"), Purpose::Session(session))));
    assert!(refused(secrets.open_labelled("credential/mail", &sealed("mail"))));
    let (key, ca) = (fresh_key(""), there.ssh_ca());
    let valid = |from: i64, until: i64| Window {
        from: now + SignedDuration::from_mins(from),
        until: now + SignedDuration::from_mins(until),
    };
    let user = |principal: &str, valid| {
        let made = ca.user_certificate(key.public_key(), principal, [127, 0, 0, 1].into(), valid, 1, "x");
        matches!(made, Err(CannotCertify::Vault(VaultFault::Refused(_))))
    };
    assert!(!user(&person().to_string(), valid(0, 60)) && user("root", valid(0, 60)));
    assert!(user(&person().to_string(), valid(60, 90)), "what begins later than now");
    let target = ca.target_certificate(key.public_key(), "maint", valid(0, 5), session);
    assert!(matches!(target, Err(CannotCertify::Vault(VaultFault::Refused(_)))));
    let files = there.for_backup(&[]).unwrap();
    assert!(files.iter().any(|(name, _)| name == "keys/ssh-ca.sealed"), "sealed ones are in a backup");
    assert!(files.iter().all(|(name, _)| name != "keys/sealing.key"), "and what opens them is not");
    assert_eq!(stage.line().configuration().unwrap(), "the configuration");
}

#[test]
fn no_certificate_of_a_server_is_for_a_key_that_can_be_carried_away() {
    let stage = Stage::new();
    let (there, now) = (stage.there(), stage.now());
    let names = ["plant.example".to_owned()];
    let (_, public) = fresh_handshake_key();
    let refused =
        |key: &[u8]| matches!(there.tls_ca().leaf_for(&names, key, now), Err(TlsFault::Vault(VaultFault::Refused(_))));
    let (_, own) = there.tls_ca().handshake_key().unwrap();
    assert!(refused(&public) && !refused(&own));
    // The plant's own key may lie where somebody has a copy.
    let line = stage.line();
    let face = line.key(&Ask::HandshakeKeyIn(stage.path("face.key").to_string_lossy().into_owned())).unwrap();
    assert!(refused(&face.sealed.0));
    let (key, until) = ("00".repeat(32), now.as_second() + 60);
    let uri = format!("holdpoint:client/v1/mill-3/{}/r_00000000000000000000000003/{key}/1/{until}/192.0.2.7", person());
    let client = |now| ClientDraft { uri: uri.clone(), deployment: "mill-3".parse().unwrap(), now };
    assert!(there.tls_ca().client_leaf(&client(now), &public).is_ok(), "a technician's key is their own");
    assert!(there.tls_ca().client_leaf(&client(now + SignedDuration::from_hours(1)), &public).is_err());
    let valid = |hours| Window { from: now, until: now + SignedDuration::from_hours(hours) };
    let host = |key: &ssh_key::PrivateKey, hours| {
        there.ssh_ca().host_certificate(key.public_key(), &["a".to_owned()], valid(hours)).is_ok()
    };
    let own = there.ssh_host_key().private();
    assert!(host(&own, 48) && !host(&own, 72) && !host(&fresh_key(""), 48));
}

#[test]
fn a_code_is_compared_with_those_of_now_and_wrong_ones_come_to_an_end() {
    let stage = Stage::new();
    let (there, totp) = (stage.there(), TotpSecret::generate());
    let sealed = totp.seal(&there.secrets(), person()).unwrap();
    let compared = |code: &str, step| there.secrets().matching_step(person(), &sealed, code, step);
    let month = SignedDuration::from_hours(24 * 30);
    let later = stage.now() + month;
    assert_eq!(compared(&totp.code_at(later), crate::totp::step_at(later)), Ok(None), "a code of next month");
    assert_eq!(compared(&totp.code_at(stage.now()), 0), Ok(Some(crate::totp::step_at(stage.now()))));
    let own = TotpSecret::generate();
    let of_thief = own.seal(&there.secrets(), person()).unwrap();
    for _ in 0..9 {
        assert_eq!(compared("", 0), Ok(None));
        let right = there.secrets().matching_step(person(), &of_thief, &own.code_at(stage.now()), 0);
        assert!(right.is_ok() == matches!(right, Ok(Some(_))), "{right:?}");
    }
    let ended = compared(&totp.code_at(stage.now()), 0);
    assert!(matches!(&ended, Err(CannotOpen::Vault(fault)) if is_refused(fault)), "the right one, too: {ended:?}");
    let other = "p_00000000000000000000000003".parse().unwrap();
    let of_other = totp.seal(&there.secrets(), other).unwrap();
    assert!(there.secrets().matching_step(other, &of_other, &totp.code_at(stage.now()), 0).is_ok());
    stage.passes(15);
    assert!(matches!(compared(&totp.code_at(stage.now()), 0), Ok(Some(_))));
}

#[test]
fn a_secret_opens_on_the_line_that_told_of_the_session_until_its_time_is_over() {
    let stage = Stage::new();
    let (line, journal) = (stage.line(), journal(stage.now() + SignedDuration::from_hours(1)));
    let keys = KeyStore::in_vault(&line).unwrap();
    says_no(&opened(&keys), "no such session");
    line.tell(0, &journal).unwrap();
    assert_eq!(opened(&keys).unwrap(), b"hunter2");
    says_no(&opened(&stage.there()), "no such session");
    // A journal of another length is another: what was heard stays, and this is not added to it.
    assert!(line.tell(u64::MAX, &[]).is_err() && line.tell(0, &journal).is_err());
    assert_eq!(opened(&keys).unwrap(), b"hunter2");
    stage.passes(60);
    says_no(&opened(&keys), "time is over");
    stage.passes(-30);
    says_no(&opened(&keys), "time is over");
}

#[test]
fn a_vault_is_briefed_before_it_follows_the_journal_and_not_after() {
    let stage = Stage::new();
    let (line, journal) = (stage.line(), journal(stage.now() + SignedDuration::from_hours(1)));
    let keys = KeyStore::in_vault(&line).unwrap();
    let placed: Vec<_> = journal.iter().cloned().enumerate().map(|(place, event)| (place as u64 * 10, event)).collect();
    let (first, rest) = placed.split_at(2);
    line.brief(first, 11).unwrap();
    assert!(line.brief(first, 11).is_err(), "these it heard");
    line.brief(rest, 1_000).unwrap();
    assert_eq!(opened(&keys).unwrap(), b"hunter2");
    assert!(line.tell(999, &[]).is_err());
    line.tell(1_000, &[]).unwrap();
    assert!(line.brief(&[], 1_001).is_err(), "from now on it hears everything");
    line.tell(1_000, &[]).unwrap();
}

#[test]
fn a_clock_set_back_extends_nothing_whoever_saw_it_last() {
    let stage = Stage::new();
    let (line, other) = (stage.line(), stage.line());
    let keys = KeyStore::in_vault(&line).unwrap();
    line.tell(0, &journal(stage.now() + SignedDuration::from_hours(1))).unwrap();
    stage.passes(90);
    other.ping().unwrap();
    stage.passes(-90);
    says_no(&opened(&keys), "time is over");
}

#[test]
fn after_an_entry_that_it_does_not_know_a_vault_opens_nothing() {
    let stage = Stage::new();
    let line = stage.line();
    let keys = KeyStore::in_vault(&line).unwrap();
    let mut journal = journal(stage.now() + SignedDuration::from_hours(1));
    journal.push(br#"{"v":1,"id":"HP9999","event":"of-tomorrow"}"#.to_vec());
    assert!(matches!(line.tell(0, &journal), Err(VaultFault::Refused(_))));
    says_no(&opened(&keys), "does not know");
    assert!(keys.log_key().sign(b"head").is_ok(), "what the journal has no part in goes on");
}

#[test]
fn what_is_too_long_is_refused_and_the_line_goes_on() {
    let stage = Stage::new();
    let line = stage.line();
    let long = vec![0; wire::MESSAGE_BYTES_MAX];
    assert!(matches!(line.bytes(&Ask::Tag(long.as_slice().into())), Err(VaultFault::Refused(_))));
    line.ping().unwrap();
    std::fs::write(stage.path("holdpoint.toml"), &long).unwrap();
    assert!(matches!(line.files(), Err(VaultFault::Refused(_))), "an answer");
    line.ping().unwrap();
}

#[test]
fn a_vault_of_another_version_is_told_so_in_words() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    wire::write(&mut theirs, &Answer::Here("0.0.1".to_owned())).unwrap();
    let Err(KeyFault::Vault(VaultFault::Refused(why))) = KeyStore::in_vault(&Line::new(ours)) else { panic!() };
    assert!(why.contains("version 0.0.1"), "{why}");
}

#[test]
fn a_line_that_broke_stays_broken() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let line = Line::new(ours);
    drop(theirs);
    assert!(matches!(line.ping(), Err(VaultFault::Gone(_))));
    assert!(matches!(line.ping(), Err(VaultFault::Gone(_))));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let line = Line::new(ours);
    wire::write(&mut theirs, &Answer::Step(None)).unwrap();
    assert!(matches!(line.configuration(), Err(VaultFault::Gone(_))), "an answer to another question");
    assert!(wire::write(&mut theirs, &Answer::Step(None)).is_err(), "nobody listens any more");
    assert!(matches!(line.ping(), Err(VaultFault::Gone(_))));
}

#[test]
fn what_was_answered_and_lost_while_keys_are_read_anew_is_asked_again_on_another_connection() {
    let stage = Stage::new();
    let (line, opened) = stage.losing(0);
    let folder = KeyFolder::open(&stage.path("keys"), &Seal::File).unwrap();
    let there = KeyStore::in_vault(&line).unwrap();
    folder.renew(RingName::SshCa).unwrap();
    assert_eq!(there.reload().unwrap(), [RingName::SshCa]);
    folder.renew(RingName::TlsCa).unwrap();
    assert_eq!(there.reload().unwrap(), [RingName::TlsCa]);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_vault_that_says_nothing_on_another_connection_either_is_left_alone_for_a_while() {
    let stage = Stage::new();
    let (line, opened) = stage.losing(1);
    let there = KeyStore::in_vault(&line).unwrap();
    KeyFolder::open(&stage.path("keys"), &Seal::File).unwrap().renew(RingName::SshCa).unwrap();
    let is_gone = |reloaded| matches!(reloaded, Err(KeyFault::Vault(VaultFault::Gone(_))));
    assert!(is_gone(there.reload()) && is_gone(there.reload()));
    assert!(opened.load(Ordering::SeqCst) == 1 && there.ssh_ca().believed().len() == 1, "all is as it was");
    there.log_key().sign(b"what sessions wait for goes on").unwrap();
    let files = line.ends.files.as_ref().unwrap();
    let is_over = State::broken("its time is over".to_owned(), Duration::ZERO);
    assert!(matches!(std::mem::replace(&mut *files.lock(), is_over), State::Broken { again_at, .. }
        if again_at.duration_since(Instant::now()) > LEFT_ALONE / 2));
    assert_eq!((there.reload().unwrap(), opened.load(Ordering::SeqCst)), (vec![RingName::SshCa], 2));
}

#[test]
fn a_vault_that_hangs_is_asked_on_another_connection_later_and_not_at_once() {
    let ((ours, _theirs), (signing, handshakes)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    ours.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let line = Line::apart([signing, handshakes, ours], |_| panic!("not at once"));
    for _ in 0..2 {
        assert!(matches!(line.configuration(), Err(VaultFault::Gone(why)) if why.contains("it hangs")));
    }
}

#[test]
fn a_message_that_is_none_or_too_long_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyStore::create(&folder.path().join("keys"), &Seal::File).unwrap();
    let vault = Vault::new(keys, Allowed::default());
    for bytes in [&b"\0\0\0\x02{}"[..], b"\xff\xff\xff\xff", b"\0\0\0\x09\"unknown\"", b"\0\0\0\x06\"pi"] {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut ours, bytes).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(vault.serve(&mut theirs, Timestamp::now).is_err(), "{bytes:?}");
    }
}
