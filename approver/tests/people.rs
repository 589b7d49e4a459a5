//! People: founded, invited, enrolled, named, locked, out.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::sync::Arc;
use std::time::Duration;

use approver::desk::Rejected;
use approver::directory::memory::MemoryDirectory;
use approver::directory::{Directory, DirectoryFault};
use approver::people::{CodeNotTaken, LOCK, NotDone, WRONG_CODES_MAX};
use approver::testing::{Actor, Faulty, PLANT, Props, Stage, Trouble, enrol, new_key, person, source};
use certs::enrolment::EnrolmentCode;
use certs::proof::{Authenticated, Face, VerifiedKey};
use certs::totp::{CodeKind, CodeRefused};
use policies::decide::Command;
use policies::events::{CutBy, Scope};
use policies::people::{Kind, Standing};
use policies::refusals::Refusal;
use policies::time::Seconds;

const DAY: Seconds = Seconds(86_400);

fn technician() -> Kind {
    Kind::Technician { vendor: "acme".parse().unwrap(), role: "maintenance".parse().unwrap() }
}

fn verified(actor: &Actor) -> VerifiedKey {
    VerifiedKey::after_ssh_userauth_signature(actor.person, actor.key.public_key())
}

fn refused<T: std::fmt::Debug>(result: Result<T, NotDone>) -> Refusal {
    match result {
        Err(NotDone::Rejected(Rejected::Refusal(refusal))) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_code_enrols_once() {
    let stage = Stage::new().await;
    let invited = stage.people.invite(person("Omar", technician(), &[]), DAY, stage.admin.person).await.unwrap();
    let code = EnrolmentCode::parse(&invited.code.reveal()).unwrap();
    let enrolled = stage.people.enrol(&code, new_key().public_key()).await.unwrap();
    assert_eq!((enrolled.name.as_str(), enrolled.standing), ("Omar", Standing::Active));
    assert_eq!(stage.people.by_name("omar").await.unwrap(), Some(invited.person));
    let again = stage.people.enrol(&code, new_key().public_key()).await;
    assert_eq!(refused(again), Refusal::LinkSpent);
}

#[tokio::test]
async fn a_guessed_an_expired_and_an_unknown_code_get_the_same_answer() {
    let stage = Stage::new().await;
    let invited =
        stage.people.invite(person("omar", technician(), &[]), Seconds(60), stage.admin.person).await.unwrap();
    let prefix = stage.props.keys.tls_ca().fingerprint().prefix();
    let guessed = EnrolmentCode::generate(invited.code.link(), prefix);
    assert_eq!(refused(stage.people.enrol(&guessed, new_key().public_key()).await), Refusal::LinkSpent);
    let unknown = EnrolmentCode::generate(approver::mint::link(stage.desk.clock().wall()), prefix);
    assert_eq!(refused(stage.people.enrol(&unknown, new_key().public_key()).await), Refusal::LinkSpent);
    stage.pass(Duration::from_secs(60));
    assert_eq!(refused(stage.people.enrol(&invited.code, new_key().public_key()).await), Refusal::LinkSpent);
}

#[tokio::test]
async fn somebody_elses_key_enrols_nobody_and_the_code_still_works() {
    let stage = Stage::new().await;
    let invited = stage.people.invite(person("omar", technician(), &[]), DAY, stage.admin.person).await.unwrap();
    let taken = stage.people.enrol(&invited.code, stage.technician.key.public_key()).await;
    assert_eq!(refused(taken), Refusal::KeyTaken);
    let omar = enrol(&stage.people, &invited.code).await;
    assert!(
        stage
            .people
            .check_code(&verified(&omar), &omar.totp.code_at(stage.desk.clock().wall()), Face::Vendor)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_key_that_is_too_weak_enrols_nobody_and_the_code_still_works() {
    let stage = Stage::new().await;
    let invited = stage.people.invite(person("omar", technician(), &[]), DAY, stage.admin.person).await.unwrap();
    let file = stage.props.scratch.path().join("weak");
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "rsa", "-b", "1024", "-N", "", "-f"]).arg(&file);
    assert!(keygen.status().expect("ssh-keygen of OpenSSH").success());
    let weak = std::fs::read_to_string(file.with_extension("pub")).unwrap();
    let refused = stage.people.enrol(&invited.code, &ssh_key::PublicKey::from_openssh(&weak).unwrap()).await;
    assert!(matches!(refused, Err(NotDone::Key(_))), "{refused:?}");
    enrol(&stage.people, &invited.code).await;
}

#[tokio::test]
async fn of_two_who_enrol_by_one_code_the_one_who_does_has_the_factors_that_count() {
    let stage = Stage::new().await;
    let invited = stage.people.invite(person("omar", technician(), &[]), DAY, stage.admin.person).await.unwrap();
    let keys = [new_key(), new_key()];
    let tries = keys.each_ref().map(|key| stage.people.enrol(&invited.code, key.public_key()));
    let done = futures::future::join_all(tries).await;
    let winners: Vec<_> = done.into_iter().zip(keys).filter_map(|(done, key)| Some((done.ok()?, key))).collect();
    let [(enrolled, key)] = winners.try_into().expect("exactly one");
    let omar = Actor { person: enrolled.person, name: enrolled.name, key, totp: enrolled.totp };
    let code = omar.totp.code_at(stage.desk.clock().wall());
    assert!(stage.people.check_code(&verified(&omar), &code, Face::Vendor).await.is_ok());
    assert_eq!(stage.people.by_key(omar.key.public_key()), Some(omar.person));
}

#[tokio::test]
async fn an_operators_key_counts_once_an_administrator_and_a_member_of_the_group_vouched() {
    let stage = Stage::new().await;
    let new = person("vera", Kind::Operator { vendor: None }, &["shift-lead"]);
    let invited = stage.people.invite(new, DAY, stage.admin.person).await.unwrap();
    let vera = enrol(&stage.people, &invited.code).await;
    let standing = || stage.desk.with_state(|state| state.people[&vera.person].standing);
    assert_eq!(standing(), Standing::Enrolled);
    assert_eq!(stage.people.by_key(vera.key.public_key()), None);
    for (signer, then) in [(&stage.admin, Standing::Enrolled), (&stage.lead, Standing::Active)] {
        let certificate = stage.certificate(signer, vera.person);
        stage.desk.act(Command::Certify { certificate }).await.unwrap();
        assert_eq!(standing(), then);
    }
    assert_eq!(stage.people.by_key(vera.key.public_key()), Some(vera.person));
}

#[tokio::test]
async fn a_name_is_one_persons_and_what_was_not_invited_takes_none() {
    let stage = Stage::new().await;
    let admin = stage.admin.person;
    let taken = stage.people.invite(person("TARA", technician(), &[]), DAY, admin).await;
    assert!(matches!(taken, Err(NotDone::NameTaken(..))));
    for reserved in ["enrol", "ENROL"] {
        let invited = stage.people.invite(person(reserved, technician(), &[]), DAY, admin).await;
        assert!(matches!(invited, Err(NotDone::NameTaken(..))), "whoever connects by it wants to enrol");
    }
    for bad in ["", "a+b", "a@b", "two words", "\u{1b}[2J", "7up", &"x".repeat(65)] {
        let invited = stage.people.invite(person(bad, technician(), &[]), DAY, admin).await;
        assert!(matches!(invited, Err(NotDone::BadName(_))), "{bad:?}");
    }
    let by_technician = stage.people.invite(person("omar", technician(), &[]), DAY, stage.technician.person).await;
    assert_eq!(refused(by_technician), Refusal::NotManager);
    assert!(stage.people.invite(person("omar", technician(), &[]), DAY, admin).await.is_ok());
    stage.people.rename(stage.technician.person, "Tess", admin).await.unwrap();
    assert_eq!(stage.people.by_name("tess").await.unwrap(), Some(stage.technician.person));
    assert_eq!(stage.people.by_name("tara").await.unwrap(), None);
    let by_technician = stage.people.rename(stage.technician.person, "boss", stage.technician.person).await;
    assert_eq!(refused(by_technician), Refusal::WrongKind("administrators"));
    assert_eq!(stage.people.shown(stage.technician.person).await, "Tess");
}

#[tokio::test]
async fn wrong_codes_behind_a_key_lock_for_a_while_and_a_right_one_forgets_them() {
    let stage = Stage::new().await;
    let tara = &stage.technician;
    let check = async |code: &str| stage.people.check_code(&verified(tara), code, Face::Vendor).await;
    let right = || tara.totp.code_at(stage.desk.clock().wall());
    for _ in 0..WRONG_CODES_MAX - 1 {
        assert!(matches!(check("aaaa-aaaa-aaaa-aaaa").await, Err(CodeNotTaken::Code(CodeRefused::Wrong))));
    }
    assert_eq!(check(&right()).await.unwrap().kind(), CodeKind::Totp);
    for _ in 0..WRONG_CODES_MAX {
        assert!(matches!(check("aaaa-aaaa-aaaa-aaaa").await, Err(CodeNotTaken::Code(CodeRefused::Wrong))));
    }
    stage.pass(Duration::from_secs(60));
    assert!(matches!(check(&right()).await, Err(CodeNotTaken::Refusal(Refusal::LockedOut(_)))));
    stage.pass(LOCK);
    assert!(check(&right()).await.is_ok());
}

/// Whoever sends many at once guesses no more often than whoever sends one after the other.
#[tokio::test]
async fn many_wrong_codes_at_once_are_no_more_guesses() {
    let stage = Stage::new().await;
    let key = verified(&stage.technician);
    let guesses = (0..40).map(|_| stage.people.check_code(&key, "aaaa-aaaa-aaaa-aaaa", Face::Vendor));
    let told = futures::future::join_all(guesses).await;
    let guessed = told.iter().filter(|told| matches!(told, Err(CodeNotTaken::Code(CodeRefused::Wrong)))).count();
    let locked = told.iter().filter(|told| matches!(told, Err(CodeNotTaken::Refusal(Refusal::LockedOut(_))))).count();
    assert_eq!((guessed, locked), (WRONG_CODES_MAX, 40 - WRONG_CODES_MAX));
}

#[tokio::test]
async fn a_code_works_once_and_so_does_a_recovery_code() {
    let stage = Stage::new().await;
    let invited = stage.people.invite(person("omar", technician(), &[]), DAY, stage.admin.person).await.unwrap();
    let key = new_key();
    let enrolled = stage.people.enrol(&invited.code, key.public_key()).await.unwrap();
    let recovery = enrolled.recovery.shown().next().unwrap();
    let omar = Actor { person: enrolled.person, name: enrolled.name, key, totp: enrolled.totp };
    let totp = omar.totp.code_at(stage.desk.clock().wall());
    for code in [totp, recovery] {
        assert!(stage.people.check_code(&verified(&omar), &code, Face::Vendor).await.is_ok());
        assert!(matches!(
            stage.people.check_code(&verified(&omar), &code, Face::Vendor).await,
            Err(CodeNotTaken::Code(CodeRefused::Used | CodeRefused::Wrong))
        ));
    }
}

#[tokio::test]
async fn nothing_on_the_vendor_face_locks_an_operator_out() {
    let stage = Stage::new().await;
    for _ in 0..2 * WRONG_CODES_MAX {
        let wrong = stage.people.check_code(&verified(&stage.lead), "000000", Face::Vendor).await;
        assert!(matches!(wrong, Err(CodeNotTaken::Refusal(Refusal::WrongKind(_)))));
    }
    stage.login(&stage.lead).await;
}

#[tokio::test]
async fn a_technicians_code_opens_nothing_on_the_plant_face() {
    let stage = Stage::new().await;
    let code = stage.technician.totp.code_at(stage.desk.clock().wall());
    let there = stage.people.check_code(&verified(&stage.technician), &code, Face::Plant).await;
    assert!(matches!(there, Err(CodeNotTaken::Refusal(Refusal::WrongKind("people of the plant")))), "{there:?}");
}

#[tokio::test]
async fn a_password_is_gone_once_its_holder_has_enrolled_again() {
    let stage = Stage::new().await;
    let (tess, password) = (stage.technician.person, || zeroize::Zeroizing::new("correct horse battery".to_owned()));
    stage.people.set_password(tess, password()).await.unwrap();
    let invited = stage.people.reinvite(tess, DAY, stage.admin.person).await.unwrap();
    let again = enrol(&stage.people, &invited.code).await;
    let code = again.totp.code_at(stage.desk.clock().wall());
    let checked = stage.people.check_password(Some(tess), password(), &code, source()).await;
    assert!(matches!(checked, Err(CodeNotTaken::Password)), "{checked:?}");
}

#[tokio::test]
async fn somebody_who_is_out_gives_no_codes_and_a_vendor_goes_in_one_act() {
    let stage = Stage::new().await;
    stage.people.disable_vendor("acme".parse().unwrap(), stage.admin.person).await.unwrap();
    assert!(matches!(
        stage.ask("plc-7", &[policies::actions::Action::Shell]).await,
        Err(Rejected::Refusal(Refusal::VendorDisabled(_)))
    ));
    stage.people.disable(stage.technician.person, stage.admin.person).await.unwrap();
    let code = stage.technician.totp.code_at(stage.desk.clock().wall());
    let out = stage.people.check_code(&verified(&stage.technician), &code, Face::Vendor).await;
    assert!(matches!(out, Err(CodeNotTaken::Refusal(Refusal::NotActive(Standing::Disabled)))));
    assert_eq!(stage.people.by_key(stage.technician.key.public_key()), None);
    assert_eq!(stage.people.shown(stage.technician.person).await, "tara", "whoever left stays resolvable");
}

#[tokio::test]
async fn with_the_directory_gone_nobody_signs_in_by_two_factors_and_an_operators_key_still_cuts() {
    let directory = Arc::new(Faulty::new(Arc::new(MemoryDirectory::new()) as Arc<dyn Directory>));
    let stage = Stage::on(Props { directory: directory.clone(), ..Props::new() }, PLANT).await;
    directory.set(Trouble::Gone);
    let code = stage.lead.totp.code_at(stage.desk.clock().wall());
    let checked = stage.people.check_code(&verified(&stage.lead), &code, Face::Plant).await;
    assert!(matches!(checked, Err(CodeNotTaken::Fault(_))));
    assert!(matches!(stage.people.by_name("lee").await, Err(DirectoryFault::Unavailable(_))));
    let lead = stage.people.by_key(stage.lead.key.public_key()).unwrap();
    assert!(stage.desk.cut(CutBy::Operator(lead), Scope::Plant).await.is_ok());
    assert_eq!(stage.people.shown(lead).await, lead.to_string());
}

#[tokio::test]
async fn a_right_code_whose_use_cannot_be_kept_lets_nobody_in() {
    let directory = Arc::new(Faulty::new(Arc::new(MemoryDirectory::new()) as Arc<dyn Directory>));
    let stage = Stage::on(Props { directory: directory.clone(), ..Props::new() }, PLANT).await;
    directory.set(Trouble::FailsAfter);
    let now = stage.desk.clock().wall();
    let code = stage.technician.totp.code_at(now);
    let checked = stage.people.check_code(&verified(&stage.technician), &code, Face::Vendor).await;
    assert!(matches!(checked, Err(CodeNotTaken::Fault(_))));
    directory.set(Trouble::None);
    stage.pass(Duration::from_secs(30));
    let who = stage.login(&stage.technician).await;
    assert_eq!(Authenticated::person(&who), stage.technician.person);
    assert_eq!(who.source(), source());
}

#[tokio::test]
async fn who_lost_phone_and_key_enrols_again_and_the_old_ones_open_nothing() {
    let stage = Stage::new().await;
    let old = &stage.technician;
    let code_of = |actor: &Actor| actor.totp.code_at(stage.desk.clock().wall());
    let first = stage.people.reinvite(old.person, DAY, stage.admin.person).await.unwrap();
    let second = stage.people.reinvite(old.person, DAY, stage.admin.person).await.unwrap();
    assert_eq!(refused(stage.people.enrol(&first.code, new_key().public_key()).await), Refusal::LinkSpent);
    assert_eq!(stage.people.by_key(old.key.public_key()), Some(old.person), "the old key counts until then");
    let theirs = stage.people.enrol(&second.code, stage.lead.key.public_key()).await;
    assert_eq!(refused(theirs), Refusal::KeyTaken);
    assert!(stage.people.check_code(&verified(old), &code_of(old), Face::Vendor).await.is_ok(), "and the old codes");

    let new = enrol(&stage.people, &second.code).await;
    assert_eq!((new.person, &new.name), (old.person, &old.name));
    assert_eq!(stage.people.by_key(old.key.public_key()), None);
    assert_eq!(stage.people.by_key(new.key.public_key()), Some(new.person));
    stage.pass(Duration::from_secs(60));
    assert!(stage.people.check_code(&verified(&new), &code_of(old), Face::Vendor).await.is_err());
    assert!(stage.people.check_code(&verified(&new), &code_of(&new), Face::Vendor).await.is_ok());
    assert_eq!(refused(stage.people.enrol(&second.code, new_key().public_key()).await), Refusal::LinkSpent);
}

#[tokio::test]
async fn who_lost_only_the_phone_keeps_the_key() {
    let stage = Stage::new().await;
    let old = &stage.technician;
    let invited = stage.people.reinvite(old.person, DAY, stage.admin.person).await.unwrap();
    stage.people.enrol(&invited.code, old.key.public_key()).await.unwrap();
    assert_eq!(stage.people.by_key(old.key.public_key()), Some(old.person));
}

#[tokio::test]
async fn an_operator_who_enrols_again_counts_once_two_have_vouched_again() {
    let stage = Stage::new().await;
    let vera = stage.other_lead.person;
    let standing = || stage.desk.with_state(|state| state.people[&vera].standing);
    let invited = stage.people.reinvite(vera, DAY, stage.admin.person).await.unwrap();
    assert_eq!(standing(), Standing::Active);
    let again = enrol(&stage.people, &invited.code).await;
    for (signer, before) in [(&stage.admin, Standing::Enrolled), (&stage.lead, Standing::Enrolled)] {
        assert_eq!(standing(), before);
        assert_eq!(stage.people.by_key(again.key.public_key()), None);
        let certificate = stage.certificate(signer, vera);
        stage.desk.act(Command::Certify { certificate }).await.unwrap();
    }
    assert_eq!((standing(), stage.people.by_key(again.key.public_key())), (Standing::Active, Some(vera)));
}

#[tokio::test]
async fn nobody_but_an_administrator_invites_again_and_nobody_who_is_out_comes_back_so() {
    let stage = Stage::new().await;
    let tess = stage.technician.person;
    let by_lead = stage.people.reinvite(tess, DAY, stage.lead.person).await;
    assert_eq!(refused(by_lead), Refusal::WrongKind("administrators"));
    stage.people.disable(tess, stage.admin.person).await.unwrap();
    let out = stage.people.reinvite(tess, DAY, stage.admin.person).await;
    assert_eq!(refused(out), Refusal::NotActive(Standing::Disabled));
}

/// A passkey as a browser makes one, at the vendor face.
fn new_passkey() -> certs::passkey::NewPasskey {
    let site = certs::passkey::Site::of_origin("https://gate.mill3.example").unwrap();
    let passkey = certs::testing::SoftwarePasskey::new(site.clone());
    certs::passkey::created(&site, b"new", &passkey.created(b"new")).unwrap()
}

#[tokio::test]
async fn a_passkey_comes_beside_the_key_by_a_code_that_works_once_and_not_for_long() {
    let stage = Stage::new().await;
    let tess = stage.technician.person;
    let keys = || stage.desk.with_state(|state| state.people[&tess].keys.len());
    let expired = stage.people.offer_passkey(tess).await.unwrap();
    stage.pass(Duration::from_secs(15 * 60));
    assert_eq!(refused(stage.people.enrol_passkey(&expired.code, &new_passkey()).await), Refusal::LinkSpent);
    let first = stage.people.offer_passkey(tess).await.unwrap();
    let second = stage.people.offer_passkey(tess).await.unwrap();
    assert_eq!(refused(stage.people.enrol_passkey(&first.code, &new_passkey()).await), Refusal::LinkSpent, "the older");
    let as_a_key = stage.people.enrol(&second.code, new_key().public_key()).await;
    assert_eq!(refused(as_a_key), Refusal::LinkSpent, "it is for a passkey alone");
    assert!(stage.people.invited(&second.code).await.unwrap().has_key);
    let added = stage.people.enrol_passkey(&second.code, &new_passkey()).await.unwrap();
    assert!(added.app.is_none() && added.standing == Standing::Active);
    assert_eq!(keys(), 2, "the other one stays");
    assert_eq!(refused(stage.people.enrol_passkey(&second.code, &new_passkey()).await), Refusal::LinkSpent, "once");
    let code = &stage.technician.totp.code_at(stage.desk.clock().wall());
    assert!(stage.people.check_code(&verified(&stage.technician), code, Face::Vendor).await.is_ok(), "and its codes");

    // What was given before somebody enrolled anew, or to who is out, or to others than technicians, is nothing.
    let before = stage.people.offer_passkey(tess).await.unwrap();
    let again = stage.people.reinvite(tess, DAY, stage.admin.person).await.unwrap();
    stage.pass(Duration::from_secs(1));
    stage.people.enrol(&again.code, new_key().public_key()).await.unwrap();
    assert_eq!(refused(stage.people.enrol_passkey(&before.code, &new_passkey()).await), Refusal::LinkSpent);
    assert_eq!(keys(), 1, "a new enrolment voids all");
    assert_eq!(refused(stage.people.offer_passkey(stage.admin.person).await), Refusal::WrongKind("technicians"));
    let out = stage.people.offer_passkey(tess).await.unwrap();
    stage.desk.act(Command::Disable { person: tess, by: stage.admin.person }).await.unwrap();
    assert_eq!(
        refused(stage.people.enrol_passkey(&out.code, &new_passkey()).await),
        Refusal::NotActive(Standing::Disabled)
    );
    assert_eq!(refused(stage.people.offer_passkey(tess).await), Refusal::NotActive(Standing::Disabled));
}
