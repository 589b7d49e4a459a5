//! What is published for others who judge answers of passkeys: `docs/vectors/passkeys.json`. With `HOLDPOINT_WRITE=1` it is
//! made anew, by another key.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::*;

const ABOUT: &str = "Answers of passkeys to one question, an approval's, and whether each counts: docs/EVENTS.md, \"Signatures\". \
                     message is what is signed, challenge what the browser was given, then what it answered (WebAuthn Level \
                     3, 5.2.2), and signature is that in the journal's form.";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/passkeys.json")
}

/// Each with whether it counts.
fn answers(authenticator: &Authenticator, message: &[u8]) -> Vec<(&'static str, bool, Asserted)> {
    let asked = |purpose, message: &[u8]| client_data("webauthn.get", &challenge(purpose, message), ORIGIN);
    let right = asked(Namespace::Approval, message);
    let on = |page: &str| right.replace(ORIGIN, page);
    let says = |client_data: &str, flags, rest: &[u8]| authenticator.get(client_data.to_owned(), flags, rest);
    let is_copied = flag::MAY_BE_COPIED | flag::IS_COPIED;
    let mut torn = says(&right, BOTH, &[]);
    *torn.signature.last_mut().expect("a signature") ^= 1;
    vec![
        ("an approval", true, says(&right, BOTH, &[])),
        ("by a passkey that is synchronised", true, says(&right, BOTH | is_copied, &[])),
        ("with an extension's output", true, says(&right, BOTH | flag::HAS_EXTENSIONS, &[0xa0])),
        ("on a page at another port of the site", true, says(&on("https://holdpoint.mill3.example"), BOTH, &[])),
        ("of another message", false, says(&asked(Namespace::Approval, b"another"), BOTH, &[])),
        ("of a sign-in, in an approval's envelope", false, says(&asked(Namespace::Login, message), BOTH, &[])),
        ("nobody was verified", false, says(&right, flag::PRESENT, &[])),
        ("nobody was present", false, says(&right, flag::VERIFIED, &[])),
        ("on another site's page", false, says(&on("https://evil.example"), BOTH, &[])),
        ("on a page in the clear", false, says(&on("http://holdpoint.mill3.example"), BOTH, &[])),
        ("in a frame", false, says(&right.replace(":false", ":true"), BOTH, &[])),
        ("of an enrolment", false, says(&right.replace("webauthn.get", "webauthn.create"), BOTH, &[])),
        ("with a key in it", false, says(&right, BOTH | flag::HAS_KEY, &[0xa0])),
        ("copied, and not to be copied", false, says(&right, BOTH | flag::IS_COPIED, &[])),
        ("by another key", false, Authenticator::new(SITE).get(right.clone(), BOTH, &[])),
        ("with a bit of the signature turned", false, torn),
    ]
}

fn made() -> Value {
    let authenticator = Authenticator::new(SITE);
    let (key, message) = (authenticator.key(), Sha256::digest("a digest of a statement"));
    let vectors = answers(&authenticator, &message).into_iter().map(|(name, counts, said)| {
        json!({
            "name": name,
            "counts": counts,
            "client_data": String::from_utf8(said.client_data.clone()).expect("text"),
            "authenticator_data": HEXLOWER.encode(&said.authenticator_data),
            "signature_der": HEXLOWER.encode(&said.signature),
            "signature": written(&key, Namespace::Approval, &said).expect("it was said on pages"),
        })
    });
    json!({
        "about": ABOUT,
        "key": key.to_openssh().expect("a key"),
        "namespace": Namespace::Approval.as_str(),
        "message": HEXLOWER.encode(&message),
        "challenge": HEXLOWER.encode(&challenge(Namespace::Approval, &message)),
        "vectors": vectors.collect::<Vec<_>>(),
    })
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

fn hex(value: &Value, name: &str) -> Vec<u8> {
    HEXLOWER.decode(text(value, name).as_bytes()).unwrap()
}

#[test]
fn what_is_published_is_judged_as_published() {
    if std::env::var_os("HOLDPOINT_WRITE").is_some() {
        fs::write(file(), serde_json::to_string_pretty(&made()).unwrap() + "\n").unwrap();
    }
    let published: Value = serde_json::from_slice(&fs::read(file()).unwrap()).unwrap();
    let (key, message) = (PublicKey::from_openssh(text(&published, "key")).unwrap(), hex(&published, "message"));
    assert_eq!(hex(&published, "challenge"), challenge(Namespace::Approval, &message));
    let vectors = published["vectors"].as_array().unwrap();
    let named = |values: &[Value]| values.iter().map(|one| text(one, "name").to_owned()).collect::<Vec<_>>();
    assert_eq!(named(vectors), named(made()["vectors"].as_array().unwrap()), "HOLDPOINT_WRITE=1 makes it anew");
    for vector in vectors {
        let said = Asserted {
            client_data: text(vector, "client_data").as_bytes().to_vec(),
            authenticator_data: hex(vector, "authenticator_data"),
            signature: hex(vector, "signature_der"),
        };
        assert_eq!(written(&key, Namespace::Approval, &said).unwrap(), text(vector, "signature"), "{vector}");
        let judged = sshsig::verify(&key, Namespace::Approval, &message, text(vector, "signature"));
        assert_eq!(Value::from(judged.is_ok()), vector["counts"], "{}: {judged:?}", vector["name"]);
    }
}
