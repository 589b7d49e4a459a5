//! How a program that trusts an authority comes to trust the next one: the one that it trusts has signed it. The certificate that
//! says so is "new with old" of RFC 4210, section 4.4, and made where the authority's key is; so whoever only passes it on, the gate
//! among them, makes nobody believed. No chain leads over it, because it is for neither servers nor clients (RFC 5280, 4.2.1.12): by it
//! the next key counts for nobody who has not taken it over.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::tls::{CaFingerprint, TlsFault, authorities, pem};

/// What alone the certificate that says so is for: documents (id-kp-documentSigning, RFC 9336).
pub(crate) const STEP_USAGE: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 36];

/// What becomes of the authorities that a gate names, for whoever trusts some already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// The certificates that are trusted from now on: of those that were named, whichever was trusted or is signed by one that was;
    /// whichever was trusted and vouches for who named them; and if none of those that were trusted was named, all of them as well.
    pub ca_pem: String,
    /// The first that was named besides, and did not itself sign one of those.
    pub stranger: Option<CaFingerprint>,
}

/// Takes over, of the authorities that are `named`, those that follow on one that is `trusted` by a certificate in `succession`; all
/// of them in PEM, and the last may be none. Who names them has shown the certificate `shown`.
///
/// # Errors
/// One of the texts holds something else.
pub fn take_over(
    trusted: &str,
    named: &str,
    succession: &str,
    shown: Option<&CertificateDer<'_>>,
    now: Timestamp,
) -> Result<TakenOver, TlsFault> {
    let steps = if succession.is_empty() { Vec::new() } else { authorities(succession)? };
    let leads =
        |from: &CertificateDer<'_>, to: &CertificateDer<'_>| steps.iter().any(|step| follows(from, to, step, now));
    let before = authorities(trusted)?;
    let is_believed = |ca: &CertificateDer<'_>| before.contains(ca) || before.iter().any(|trusted| leads(trusted, ca));
    let (believed, others): (Vec<_>, Vec<_>) = authorities(named)?.into_iter().partition(is_believed);
    let came_before = |other: &CertificateDer<'_>| believed.iter().any(|ca| leads(other, ca));
    let stranger = others.iter().find(|other| !came_before(other)).map(CaFingerprint::of);
    // Whoever names only the next would have the one that signs now forgotten, by which the gate is known.
    let is_none_named = !believed.iter().any(|ca| before.contains(ca));
    let shown = shown.and_then(read);
    let vouches =
        |ca: &CertificateDer<'_>| shown.as_ref().zip(read(ca)).is_some_and(|(shown, ca)| is_signed_by(shown, &ca));
    let kept = before.iter().filter(|ca| !believed.contains(ca) && (is_none_named || vouches(ca)));
    Ok(TakenOver { ca_pem: kept.chain(&believed).map(pem).collect(), stranger })
}

/// Whether `step` says, by the key of `old`, that `new` is an authority now: of this name and this key.
pub(crate) fn follows(
    old: &CertificateDer<'_>,
    new: &CertificateDer<'_>,
    step: &CertificateDer<'_>,
    now: Timestamp,
) -> bool {
    let [Some(old), Some(new), Some(step)] = [old, new, step].map(read) else { return false };
    let (issuer, subject) = (step.issuer().as_raw(), step.subject().as_raw());
    [&old, &new, &step].into_iter().all(|certificate| is_authority(certificate, now))
        && (issuer, subject) == (old.subject().as_raw(), new.subject().as_raw())
        && step.public_key().raw == new.public_key().raw
        && is_for_no_chain(&step)
        && is_signed_by(&step, &old)
        && is_signed_by(&new, &new)
}

fn read<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(certificate).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

fn is_authority(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    ASN1Time::from_timestamp(now.as_second()).is_ok_and(|now| certificate.validity().is_valid_at(now))
        && certificate.basic_constraints().is_ok_and(|found| found.is_some_and(|found| found.value.ca))
        && certificate.key_usage().is_ok_and(|found| found.is_some_and(|found| found.value.key_cert_sign()))
}

fn is_for_no_chain(step: &X509Certificate<'_>) -> bool {
    let (Ok(Some(found)), Ok(usage)) = (step.extended_key_usage(), Oid::from(&STEP_USAGE)) else { return false };
    let uses = found.value;
    uses.other == [usage] && !uses.any && !uses.server_auth && !uses.client_auth
}

/// As the gate's authorities sign (RFC 5758, 3.2).
fn is_signed_by(certificate: &X509Certificate<'_>, signer: &X509Certificate<'_>) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &signer.public_key().subject_public_key.data);
    key.verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data).is_ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    };

    use super::*;
    use crate::ring::Ring;
    use crate::tls::{Pair, TlsCa};

    fn text(pairs: &[&Pair]) -> String {
        pairs.iter().map(|pair| pem(&CertificateDer::from(pair.certificate.clone()))).collect()
    }

    /// What the one before this one signed.
    fn step(pair: &Pair) -> String {
        pem(&CertificateDer::from(pair.succession.clone().unwrap()))
    }

    fn fingerprint(pair: &Pair) -> Option<CaFingerprint> {
        Some(CaFingerprint::of(&CertificateDer::from(pair.certificate.clone())))
    }

    fn taken(trusted: &[&Pair], named: &[&Pair], succession: &str) -> TakenOver {
        take_over(&text(trusted), &text(named), succession, None, Timestamp::now()).unwrap()
    }

    /// One that anybody could make.
    fn authority(name: &str) -> (KeyPair, CertificateParams) {
        let (key, mut params) = (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), CertificateParams::default());
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (key, params)
    }

    #[test]
    fn the_next_is_taken_over_by_whoever_trusts_the_one_that_signed_it_and_by_nobody_else() {
        let first = TlsCa::make();
        let (second, other) = (TlsCa::make_after(&first).unwrap(), TlsCa::make());
        let all = |pairs: &[&Pair]| TakenOver { ca_pem: text(pairs), stranger: None };
        assert_eq!(taken(&[&first], &[&first, &second], &step(&second)), all(&[&first, &second]));
        let alone = taken(&[&first], &[&second], &step(&second));
        assert_eq!(alone, all(&[&first, &second]), "the one that signs now is kept, whoever leaves it out");
        // After the switch, whoever has both and whoever was enrolled since.
        assert_eq!(taken(&[&first, &second], &[&second, &first], &step(&second)), all(&[&second, &first]));
        assert_eq!(taken(&[&second], &[&second, &first], &step(&second)), all(&[&second]));
        assert_eq!(taken(&[&first, &second], &[&second], &step(&second)), all(&[&second]), "it was forgotten");

        let stranger =
            |pairs: &[&Pair], stranger: &Pair| TakenOver { ca_pem: text(pairs), stranger: fingerprint(stranger) };
        assert_eq!(taken(&[&first], &[&first, &second], ""), stranger(&[&first], &second));
        assert_eq!(taken(&[&first], &[&first, &other], &step(&second)), stranger(&[&first], &other));
        assert_eq!(taken(&[&first], &[&other], ""), stranger(&[&first], &other), "what was trusted is trusted");
        assert_eq!(taken(&[&other], &[&first, &second], &step(&second)), stranger(&[&other], &first));
        let of_other = TlsCa::make_after(&other).unwrap();
        assert_eq!(taken(&[&first], &[&first, &of_other], &step(&of_other)), stranger(&[&first], &of_other));
        assert!(take_over(&text(&[&first]), "", "", None, Timestamp::now()).is_err());
    }

    #[test]
    fn the_one_that_vouches_for_the_gate_is_kept_however_often_the_gate_leaves_it_out() {
        let first = TlsCa::make();
        let second = TlsCa::make_after(&first).unwrap();
        let leaf_of = |pair: &Pair| {
            let pair = Pair { key: pair.key.clone(), certificate: pair.certificate.clone(), succession: None };
            let ca = TlsCa::here(&Ring::alone(pair, Timestamp::UNIX_EPOCH)).unwrap();
            let spki = rcgen::PublicKeyData::subject_public_key_info(&authority("gate").0);
            ca.leaf_for(&["gate.example".to_owned()], &spki, Timestamp::now()).unwrap()
        };
        let (both, named) = (text(&[&first, &second]), text(&[&second]));
        let told_by =
            |pair: &Pair| take_over(&both, &named, "", Some(&leaf_of(pair)), Timestamp::now()).unwrap().ca_pem;
        assert_eq!(told_by(&first), both);
        assert_eq!(told_by(&second), named, "the switch is over");
    }

    #[test]
    fn a_step_counts_while_it_is_valid_for_the_very_name_and_key_and_whole() {
        let first = TlsCa::make();
        let second = TlsCa::make_after(&first).unwrap();
        let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        let [old, new, signed] =
            [&first.certificate, &second.certificate, second.succession.as_ref().unwrap()].map(|bytes| der(bytes));
        let now = Timestamp::now();
        assert!(follows(&old, &new, &signed, now));
        let century: Timestamp = "2101-01-01T00:00:00Z".parse().unwrap();
        assert!(!follows(&old, &new, &signed, century) && !follows(&new, &old, &signed, now));
        assert!(!follows(&old, &der(&TlsCa::make().certificate), &signed, now));
        for at in [40, signed.len() / 2, signed.len() - 1] {
            let mut bytes = signed.to_vec();
            bytes[at] ^= 1;
            assert!(!follows(&old, &new, &der(&bytes), now), "{at}");
        }
    }

    #[test]
    fn a_step_that_is_for_servers_or_clients_as_well_or_for_whatever_it_may_be_does_not_count() {
        let ((old_key, old), (new_key, mut new)) = (authority("old"), authority("new"));
        let [from, to] = [old.self_signed(&old_key), new.self_signed(&new_key)].map(|made| made.unwrap().der().clone());
        let issuer = Issuer::from_params(&old, &old_key);
        let mut counts = |usages: &[ExtendedKeyUsagePurpose]| {
            new.extended_key_usages = usages.to_vec();
            let step = new.signed_by(&new_key, &issuer).unwrap();
            follows(&from, &to, step.der(), Timestamp::now())
        };
        let documents = ExtendedKeyUsagePurpose::Other(STEP_USAGE.to_vec());
        assert!(counts(std::slice::from_ref(&documents)) && !counts(&[]));
        for other in
            [ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        {
            assert!(!counts(&[documents.clone(), other]));
        }
    }

    #[test]
    fn nothing_that_the_vault_signs_for_a_gate_makes_an_authority() {
        let (first, (key, params)) = (TlsCa::make(), authority("evil.example"));
        let evil = params.self_signed(&key).unwrap().der().clone();
        let old = CertificateDer::from(first.certificate.clone());
        let ca = TlsCa::here(&Ring::alone(first, Timestamp::UNIX_EPOCH)).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        let leaf = ca.leaf_for(&["evil.example".to_owned()], &spki, Timestamp::now()).unwrap();
        assert!(is_signed_by(&read(&leaf).unwrap(), &read(&old).unwrap()));
        assert!(is_authority(&read(&evil).unwrap(), Timestamp::now()));
        assert!(!follows(&old, &evil, &leaf, Timestamp::now()));
    }
}
