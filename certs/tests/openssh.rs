//! Against the real `ssh-keygen`: what it signs we verify, what we sign it verifies, and each reads the other's
//! certificates. Where it is not installed a test says SKIPPED and passes.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not see to be such")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use certs::keys::{KeyFault, KeyStore, Seal};
use certs::ssh_ca::{Rejected, check_user_certificate, fresh_key};
use certs::sshsig::{self, BadSignature, KeyRefused, Namespace, SignatureKind};
use certs::totp::TotpSecret;
use jiff::{Timestamp, ToSpan};
use policies::time::Window;
use ssh_key::{Certificate, LineEnding, PrivateKey, PublicKey};

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        // Past the test harness, which keeps for itself what a passing test prints.
        let mut stderr = std::io::stderr();
        stderr.write_all(format!("SKIPPED: {program} is not installed\n").as_bytes()).unwrap();
    }
    found
}

fn keygen(dir: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("ssh-keygen")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn must(dir: &Path, arguments: &[&str]) -> String {
    let output = keygen(dir, arguments, b"");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn new_key(dir: &Path, name: &str, kind: &[&str]) -> PathBuf {
    must(dir, &[&["-q", "-N", "", "-C", "", "-f", name], kind].concat());
    dir.join(name)
}

fn public(path: &Path) -> PublicKey {
    PublicKey::read_openssh_file(path.with_extension("pub")).unwrap()
}

const KINDS: [(&str, &[&str]); 4] = [
    ("ed25519", &["-t", "ed25519"]),
    ("ecdsa", &["-t", "ecdsa", "-b", "256"]),
    ("rsa2048", &["-t", "rsa", "-b", "2048"]),
    ("rsa3072", &["-t", "rsa", "-b", "3072"]),
];

#[test]
fn what_openssh_signs_is_verified_here() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let namespace = Namespace::Approval;
    for (name, kind) in KINDS {
        let path = new_key(dir.path(), name, kind);
        for hash in ["hashalg=sha256", "hashalg=sha512"] {
            let arguments = ["-Y", "sign", "-f", name, "-n", namespace.as_str(), "-O", hash];
            let output = keygen(dir.path(), &arguments, b"yes");
            let pem = String::from_utf8(output.stdout).unwrap();
            assert_eq!(sshsig::verify(&public(&path), namespace, b"yes", &pem), Ok(SignatureKind::Plain), "{name}");
            assert_eq!(sshsig::verify(&public(&path), namespace, b"no", &pem), Err(BadSignature::Wrong), "{name}");
            let login = sshsig::verify(&public(&path), Namespace::Login, b"yes", &pem);
            assert!(matches!(login, Err(BadSignature::Namespace { .. })), "{name}");
        }
    }
}

#[test]
fn what_is_signed_here_openssh_verifies() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, kind) in KINDS {
        let path = new_key(dir.path(), name, kind);
        let private = sshsig::load_private(&path, None).unwrap();
        let pem = sshsig::sign_with(&private, Namespace::Plant, b"plant").unwrap();
        assert_openssh_verifies(dir.path(), &public(&path), Namespace::Plant, b"plant", &pem);
    }
}

fn assert_openssh_verifies(dir: &Path, key: &PublicKey, namespace: Namespace, message: &[u8], pem: &str) {
    fs::write(dir.join("signature"), pem).unwrap();
    fs::write(dir.join("allowed"), format!("kim {}\n", key.to_openssh().unwrap())).unwrap();
    let arguments = ["-Y", "verify", "-f", "allowed", "-I", "kim", "-n", namespace.as_str(), "-s", "signature"];
    let output = keygen(dir, &arguments, message);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!keygen(dir, &arguments, b"something else").status.success());
}

#[test]
fn a_weak_or_unknown_kind_of_key_is_not_taken() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let short = public(&new_key(dir.path(), "short", &["-t", "rsa", "-b", "1024"]));
    assert_eq!(sshsig::check_key(&short), Err(KeyRefused::TooShort(1024)));
    let curve = public(&new_key(dir.path(), "curve", &["-t", "ecdsa", "-b", "384"]));
    assert_eq!(sshsig::check_key(&curve), Err(KeyRefused::Kind("ecdsa-sha2-nistp384".into())));
}

#[test]
fn an_agents_sha1_signature_is_refused() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = new_key(dir.path(), "rsa", &["-t", "rsa", "-b", "2048"]);
    let sha1 = ssh_key::Signature::new(ssh_key::Algorithm::Rsa { hash: None }, vec![1; 256]).unwrap();
    let pem = sshsig::wrap(&public(&path), Namespace::Login, sha1);
    let refused = sshsig::verify(&public(&path), Namespace::Login, b"x", &pem);
    assert_eq!(refused, Err(BadSignature::Algorithm("ssh-rsa".into())));
}

#[test]
fn a_locked_key_opens_with_its_passphrase_only() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    must(dir.path(), &["-q", "-t", "ed25519", "-N", "sesame", "-f", "locked"]);
    let path = dir.path().join("locked");
    let load = |passphrase| sshsig::load_private(&path, passphrase);
    assert!(matches!(load(None), Err(KeyFault::PassphraseNeeded { .. })));
    assert!(matches!(load(Some("wrong")), Err(KeyFault::WrongPassphrase { .. })));
    assert_eq!(load(Some("sesame")).unwrap().public_key().key_data(), public(&path).key_data());
    must(dir.path(), &["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", "old"]);
    assert!(matches!(sshsig::load_private(&dir.path().join("old"), None), Err(KeyFault::NotOpenSsh { .. })));
}

#[test]
fn a_private_key_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, fresh_key("").to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(sshsig::load_private(&path, None), Err(KeyFault::Mode { mode: 0o644, .. })));
}

const PERSON: &str = "p_00000000000000000000000001";

#[test]
fn openssh_reads_our_certificates_as_they_were_meant() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::create(&dir.path().join("keys"), &Seal::File).unwrap();
    let (ca, key) = (store.ssh_ca(), fresh_key(""));
    let from: Timestamp = "2026-11-22T20:00:00Z".parse().unwrap();
    let valid = Window { from, until: from + 1.hour() };
    let read = |certificate: &Certificate| {
        certificate.write_file(&dir.path().join("it-cert.pub")).unwrap();
        must(dir.path(), &["-L", "-f", "it-cert.pub"])
    };

    let host = ca.host_certificate(key.public_key(), &["gate.example".into(), "hmi-2".into()], valid).unwrap();
    let text = read(&host);
    for part in
        ["ssh-ed25519-cert-v01@openssh.com host certificate", "gate.example", "hmi-2", "Critical Options: (none)"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }

    let source = "192.0.2.7".parse().unwrap();
    let user = ca.user_certificate(key.public_key(), PERSON, source, valid, 42, "kim").unwrap();
    let text = read(&user);
    for part in ["user certificate", PERSON, "source-address 192.0.2.7", "Serial: 42", "Key ID: \"kim\"", "permit-pty"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }

    let target = ca
        .target_certificate(key.public_key(), "maint", valid, "s_00000000000000000000000001".parse().unwrap())
        .unwrap();
    let text = read(&target);
    assert!(text.contains("maint") && !text.contains("source-address") && !text.contains("permit-X11"), "{text}");
}

#[test]
fn a_certificate_openssh_signed_is_judged_as_our_own() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ca = public(&new_key(dir.path(), "ca", &["-t", "ed25519"]));
    new_key(dir.path(), "id", &["-t", "ed25519"]);
    let signed = |arguments: &[&str]| {
        must(dir.path(), &[&["-q", "-s", "ca", "-I", "kim"], arguments, &["id.pub"]].concat());
        let certificate = Certificate::read_file(&dir.path().join("id-cert.pub")).unwrap();
        check_user_certificate(
            &certificate,
            std::slice::from_ref(&ca),
            Timestamp::now(),
            "192.0.2.7".parse().unwrap(),
            PERSON,
        )
    };
    let (source, hour) = ("source-address=192.0.2.7", "-5m:+50m");
    let good = ["-n", PERSON, "-V", hour, "-O", source];
    assert_eq!(signed(&good).unwrap().principal(), PERSON);
    assert_eq!(signed(&[&["-h"][..], &["-n", PERSON, "-V", hour]].concat()).unwrap_err(), Rejected::NotAUser);
    assert_eq!(signed(&["-n", "root", "-V", hour, "-O", source]).unwrap_err(), Rejected::Principal);
    assert_eq!(signed(&["-V", hour, "-O", source]).unwrap_err(), Rejected::Principal);
    assert_eq!(signed(&["-n", PERSON, "-V", hour]).unwrap_err(), Rejected::NoSource);
    assert_eq!(signed(&["-n", PERSON, "-O", source]).unwrap_err(), Rejected::TooLong);
    assert_eq!(signed(&["-n", PERSON, "-V", "-50m:-5m", "-O", source]).unwrap_err(), Rejected::Expired);
    assert_eq!(signed(&["-n", PERSON, "-V", "+5m:+50m", "-O", source]).unwrap_err(), Rejected::TooEarly);
    let forced = [&good[..], &["-O", "force-command=/bin/true"]].concat();
    assert_eq!(signed(&forced).unwrap_err(), Rejected::Option("force-command".into()));
    let strange = [&good[..], &["-O", "critical:x-new=1"]].concat();
    assert_eq!(signed(&strange).unwrap_err(), Rejected::Option("x-new".into()));
}

#[test]
fn a_security_keys_signature_is_the_one_openssh_takes() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (key, pem) = software_security_key(b"yes");
    let kind = SignatureKind::SecurityKey { user_present: true, user_verified: true, counter: 9 };
    assert_eq!(sshsig::verify(&key, Namespace::Approval, b"yes", &pem), Ok(kind));
    assert_openssh_verifies(dir.path(), &key, Namespace::Approval, b"yes", &pem);
}

/// ECDSA on P-256, touched and verified, counter 9 (PROTOCOL.u2f).
fn software_security_key(message: &[u8]) -> (PublicKey, String) {
    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use ssh_key::encoding::Encode;
    use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256};

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let EcdsaPublicKey::NistP256(point) = EcdsaPublicKey::from_sec1_bytes(pair.public_key().as_ref()).unwrap() else {
        panic!("a P-256 key");
    };
    let key = PublicKey::from(KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(point, "ssh:")));
    let trailer = [5, 0, 0, 0, 9];
    let signed = sshsig::signed_data(Namespace::Approval, message);
    let to_sign = [digest(&SHA256, b"ssh:").as_ref(), &trailer, digest(&SHA256, &signed).as_ref()].concat();
    let raw = pair.sign(&SystemRandom::new(), &to_sign).unwrap();
    let mut data = Vec::new();
    for half in raw.as_ref().chunks(32) {
        ssh_key::Mpint::from_positive_bytes(half).encode(&mut data).unwrap();
    }
    data.extend_from_slice(&trailer);
    let signature = ssh_key::Signature::new(ssh_key::Algorithm::SkEcdsaSha2NistP256, data).unwrap();
    (key.clone(), sshsig::wrap(&key, Namespace::Approval, signature))
}

#[test]
fn what_a_browser_signs_is_an_ssh_signature_of_a_passkey() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (key, pem) = software_passkey(b"yes");
    let verified = sshsig::verify(&key, Namespace::Approval, b"yes", &pem);
    assert_eq!(verified, Ok(SignatureKind::Passkey { counter: 9 }));
    assert_openssh_verifies(dir.path(), &key, Namespace::Approval, b"yes", &pem);
}

/// A passkey of the site `gate.example` and its yes, as a browser says them.
fn software_passkey(message: &[u8]) -> (PublicKey, String) {
    use certs::passkey::{self, Site};
    use certs::testing::SoftwarePasskey;

    let site = Site::of_origin("https://gate.example").unwrap();
    let passkey = SoftwarePasskey::new(site.clone());
    let key = passkey::created(&site, b"new", &passkey.created(b"new")).unwrap().key().clone();
    let asserted = passkey.asserted(&passkey::challenge(Namespace::Approval, message));
    let pem = passkey::as_ssh_signature(&site, &key, Namespace::Approval, &asserted).unwrap();
    (key, pem)
}

#[test]
fn oathtool_shows_the_same_code() {
    if !installed("oathtool") {
        return;
    }
    let secret = TotpSecret::generate();
    let at: Timestamp = "2026-11-22T20:00:10Z".parse().unwrap();
    let output = Command::new("oathtool")
        .args(["--totp", "--base32", secret.base32().as_str(), "--now", "2026-11-22 20:00:10 UTC"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), secret.code_at(at).as_str());
}

#[test]
fn the_host_key_is_one_openssh_reads() {
    if !installed("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = KeyStore::create(&dir.path().join("keys"), &Seal::File).unwrap();
    let private: PrivateKey = store.ssh_host_key().private();
    fs::write(dir.path().join("host.pub"), private.public_key().to_openssh().unwrap()).unwrap();
    let text = must(dir.path(), &["-l", "-f", "host.pub"]);
    assert!(text.contains(&private.fingerprint(ssh_key::HashAlg::Sha256).to_string()), "{text}");
    assert!(certs::host_keys::check(text.split(' ').nth(1).unwrap(), private.public_key()).is_ok());
    assert!(store.ssh_ca().known_hosts_lines().starts_with("@cert-authority * ssh-ed25519 "));
}
