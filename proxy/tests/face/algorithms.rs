//! With which kinds of keys, and with which signatures by them, a technician signs in.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use approver::testing::Actor;
use policies::time::Seconds;
use russh::client::{self, AuthResult};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey};
use russh::{AgentAuthError, Signer};
use tokio::process::Command;

use crate::gate::{Gate, assert_ok, assert_refused, finish, text};
use crate::hall::{Anyone, HANG};

/// A key by `ssh-keygen`, in the technician's home.
async fn make(gate: &Gate, kind: &[&str]) -> PrivateKey {
    let file = gate.home.path().join("key");
    drop(std::fs::remove_file(&file));
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-N", ""]).args(kind).arg("-f").arg(&file).stdin(Stdio::null());
    assert!(keygen.status().await.unwrap().success());
    russh::keys::load_secret_key(Path::new(&file), None).unwrap()
}

/// Signs with what it is told to, SHA-1 too, as no client of today does.
struct Pen<'a>(&'a PrivateKey);

impl Signer for Pen<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let signature: Signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&to_sign).unwrap(),
            other => other.try_sign(&to_sign).unwrap(),
        };
        signature.encode_prefixed(&mut to_sign).unwrap();
        Ok(to_sign)
    }
}

/// The technician enrols again, with this key, and has a grant.
async fn enrol(gate: &mut Gate, key: PrivateKey) {
    let stage = &mut gate.hall.stage;
    let invited = stage.people.reinvite(stage.technician.person, Seconds(3600), stage.admin.person).await.unwrap();
    let enrolled = stage.people.enrol(&invited.code, key.public_key()).await.unwrap();
    stage.technician = Actor { person: enrolled.person, name: enrolled.name, key, totp: enrolled.totp };
    gate.grant().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_rsa_key_signs_with_sha2_and_never_with_sha1() {
    let mut gate = Gate::new().await;
    let key = make(&gate, &["-t", "rsa", "-b", "3072"]).await;
    enrol(&mut gate, key.clone()).await;
    for (hash, is_taken) in [(None, false), (Some(HashAlg::Sha256), true), (Some(HashAlg::Sha512), true)] {
        let connecting = client::connect(Arc::default(), ("127.0.0.1", gate.port), Anyone::default());
        let mut handle = tokio::time::timeout(HANG, connecting).await.unwrap().unwrap();
        let public = key.public_key().clone();
        let answer = handle.authenticate_publickey_with("tara+hmi-2", public, hash, &mut Pen(&key)).await.unwrap();
        let AuthResult::Failure { partial_success, .. } = answer else { panic!("no code was asked for: {answer:?}") };
        assert_eq!(partial_success, is_taken, "{hash:?}");
    }
    for (accepted, is_taken) in [("ssh-rsa", false), ("rsa-sha2-256", true), ("rsa-sha2-512", true)] {
        let option = format!("PubkeyAcceptedAlgorithms={accepted}");
        let output = gate.run(&["-o", &option, "gate", "echo"], accepted).await;
        match is_taken {
            true => assert_ok(&output, accepted),
            false => assert_refused(&output, "Permission denied (publickey)"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gate_says_it_takes_it_takes_and_no_more() {
    let mut gate = Gate::new().await;
    let probe = gate.ssh(&["-vv", "-o", "BatchMode=yes", "lobby"]).await;
    let said = text(&finish(probe, "").await.stderr);
    let algorithms = said.split("server-sig-algs=<").nth(1).and_then(|rest| rest.split('>').next());
    assert_eq!(
        algorithms,
        Some(
            "ssh-ed25519,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,ecdsa-sha2-nistp256,\
             rsa-sha2-512,rsa-sha2-256"
        ),
        "{said}"
    );
    for (kind, is_taken) in [
        (&["-t", "ecdsa", "-b", "256"], true),
        (&["-t", "ecdsa", "-b", "384"], false),
        (&["-t", "ecdsa", "-b", "521"], false),
        (&["-t", "rsa", "-b", "1024"], false),
    ] {
        let key = make(&gate, kind).await;
        if is_taken {
            enrol(&mut gate, key).await;
            assert_ok(&gate.run(&["gate", "echo"], "hello").await, "hello");
            continue;
        }
        let stage = &gate.hall.stage;
        let invited = stage.people.reinvite(stage.technician.person, Seconds(3600), stage.admin.person).await.unwrap();
        std::fs::write(gate.home.path().join("enrolment"), invited.code.reveal().as_bytes()).unwrap();
        assert_refused(&gate.run(&["enrol"], "").await, "Permission denied (publickey)");
        // A client that does not heed what it was told is refused all the same.
        let connecting = client::connect(Arc::default(), ("127.0.0.1", gate.port), Anyone::default());
        let mut handle = tokio::time::timeout(HANG, connecting).await.unwrap().unwrap();
        let hash = key.algorithm().is_rsa().then_some(HashAlg::Sha512);
        let public = key.public_key().clone();
        let answer = handle.authenticate_publickey_with("enrol", public, hash, &mut Pen(&key)).await.unwrap();
        assert!(matches!(answer, AuthResult::Failure { partial_success: false, .. }), "{kind:?}: {answer:?}");
    }
}
