//! What is done around people: founding, inviting, enrolling, naming, codes and locks. Each puts together the Desk
//! (what is so), the directory (what may be forgotten) and `certs` (what is secret).
//!
//! With the directory gone, nobody's name, text or second factor can be read: nobody signs in with two factors, and
//! [`People::check_code`] is a fault. What still works is what the journal alone carries: whose key this is
//! ([`People::by_key`]), what stands, and [`Desk::cut`], [`Desk::freeze`] and [`Desk::act`] of whoever proved an
//! operator's key. A face that takes a key alone then must offer no more than seeing and cutting.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use certs::enrolment::EnrolmentCode;
use certs::passkey::NewPasskey;
use certs::password::BadPassword;
use certs::proof::{Authenticated, Face, VerifiedKey};
use certs::secrets::Secrets;
use certs::sshsig::{self, KeyRefused};
use certs::tls::TlsCa;
use certs::totp::{self, CodeRefused, RecoveryCodes, SpentCode, TotpSecret};
use jiff::{SignedDuration, Timestamp};
use policies::decide::Command;
use policies::digest::Salted;
use policies::events::Founder;
use policies::ids::{GroupName, LinkId, PersonId, VendorId};
use policies::people::{Kind, SshKey, Standing};
use policies::refusals::Refusal;
use policies::state::State;
use policies::time::{PlantTime, Seconds};
use ssh_key::{HashAlg, PublicKey};

use crate::desk::{Desk, Fault, Rejected};
use crate::directory::{
    Change, Directory, DirectoryFault, Expected, Key, Link, Spending, TextRefused, clean_text, json,
};
use crate::mint;

mod certificates;
mod companies;
mod guests;
mod passkeys;
mod passwords;
mod subjects;
mod weaker;

pub use guests::{NewContract, NewGuest};
pub use weaker::{NotAnswered, WeakerAnswer};

use certificates::Certificates;

/// Wrong codes behind a verified key, or behind a right password, that lock a person: enough for shaking fingers. Who has stolen the key and guesses
/// 5 times in each quarter of an hour, three codes of a million being good at a time, needs two years on average, and
/// each lock is an event.
pub const WRONG_CODES_MAX: usize = 5;
/// Within this they count together, and for so long a lock lasts.
pub const LOCK: Duration = Duration::from_secs(15 * 60);
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 64;

/// Somebody who is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPerson {
    /// What they are called and sign in by; unique, whatever the capitals.
    pub name: String,
    /// What for.
    pub kind: Kind,
    /// An operator's groups.
    pub groups: BTreeSet<GroupName>,
}

/// What an installation begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The log key's public half, as C2SP's signed notes write it.
    pub log_key: String,
    /// The first administrators and operators.
    pub founders: Vec<NewPerson>,
    /// The first plant file.
    pub plant: String,
}

/// An invitation, to be handed over.
#[derive(Debug)]
pub struct Invitation {
    /// Who is invited.
    pub person: PersonId,
    /// By what name.
    pub name: String,
    /// The one-use code, shown once.
    pub code: EnrolmentCode,
    /// Void from then on.
    pub expires: Timestamp,
}

/// Whom a code is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// Who.
    pub person: PersonId,
    /// What they are.
    pub kind: Kind,
    /// They have a key that counts, and the code is for a passkey beside it.
    pub has_key: bool,
}

/// Somebody who has just enrolled. The secrets are shown once.
#[derive(Debug)]
pub struct Enrolled {
    /// Who.
    pub person: PersonId,
    /// By what name.
    pub name: String,
    /// For their authenticator app.
    pub totp: TotpSecret,
    /// For the day the phone is gone.
    pub recovery: RecoveryCodes,
    /// Whether their key counts already, or others must vouch for it first.
    pub standing: Standing,
}

/// Somebody who has just enrolled a passkey, which signs in by itself.
#[derive(Debug)]
pub struct EnrolledPasskey {
    /// By what name.
    pub name: String,
    /// An operator's app, for rules that let them answer without the passkey. Shown once.
    pub app: Option<TotpSecret>,
    /// Whether their key counts already, or others must vouch for it first.
    pub standing: Standing,
}

/// Why something around a person was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The Desk's no, or its fault.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Somebody is, or was, called that.
    #[error("{0:?} {1}")]
    NameTaken(String, TakenBy),
    /// No name.
    #[error(
        "{0:?} is no name to sign in by: use 1 to {NAME_CHARS_MAX} letters, digits, '.', '-' or '_', beginning with a letter"
    )]
    BadName(String),
    /// No text.
    #[error(transparent)]
    Text(#[from] TextRefused),
    /// The key is of a kind that is not taken.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// No telephone number.
    #[error("a telephone number has at least three digits, and between them blanks and + - / ( ) . alone")]
    BadTelephone,
    /// The password is too short, or far too long.
    #[error(transparent)]
    Password(#[from] BadPassword),
}

/// By whom a name is taken, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakenBy {
    /// Somebody who is here, or the program itself.
    #[error("is taken: choose another name")]
    Somebody,
    /// A guest whose visit goes on.
    #[error(
        "is a guest here until {0}. Wait, or end that visit: `holdpoint guests --end`, or Guests on the plant face"
    )]
    Guest(PlantTime),
    /// Somebody who was a guest of this vendor, and came for no other.
    #[error("was here as a guest of {0}, and comes again for {0} alone: choose another name for anybody else")]
    GuestOf(VendorId),
    /// Somebody who was put out: evidence says their name for as long as it is kept.
    #[error("was put out, and the name stays theirs: choose another name")]
    PutOut,
}

/// Who keeps somebody of this vendor from being invited by the name of a known person; nobody, where that person was
/// a guest of it and is gone.
fn taken_by(state: &State, known: PersonId, of: Option<&VendorId>, now: Timestamp) -> Option<TakenBy> {
    let Some(person) = state.people.get(&known) else { return Some(TakenBy::Somebody) };
    if of.is_some_and(|vendor| person.may_come_again(vendor)) {
        return None;
    }
    let visit = state.guest(known).filter(|visit| visit.ended.is_none());
    Some(match (person.standing, visit) {
        (Standing::Disabled, _) => TakenBy::PutOut,
        (Standing::Over, _) => person.kind.vendor().cloned().map_or(TakenBy::Somebody, TakenBy::GuestOf),
        (_, Some(_)) if of != person.kind.vendor() => {
            person.kind.vendor().cloned().map_or(TakenBy::Somebody, TakenBy::GuestOf)
        }
        (_, Some(visit)) => TakenBy::Guest(state.clock(visit.statement.until.max(now))),
        _ => TakenBy::Somebody,
    })
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal.into())
    }
}

impl From<DirectoryFault> for NotDone {
    fn from(fault: DirectoryFault) -> Self {
        Self::Rejected(fault.into())
    }
}

/// Why a code lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum CodeNotTaken {
    /// Wrong, too old or used.
    #[error(transparent)]
    Code(CodeRefused),
    /// The password before it is wrong, or there is none.
    #[error("the name, the password or the code is wrong")]
    Password,
    /// Locked, unknown or out. To a stranger this looks like a wrong code.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The directory or the journal does not answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<DirectoryFault> for CodeNotTaken {
    fn from(fault: DirectoryFault) -> Self {
        Self::Fault(fault.into())
    }
}

/// What somebody has beside their key; whatever they had before goes.
struct Factors<'a> {
    totp: Option<&'a TotpSecret>,
    recovery: Option<&'a RecoveryCodes>,
}

/// The use cases around people. Cheap to clone.
#[derive(Clone)]
pub struct People {
    desk: Desk,
    secrets: Secrets,
    ca: TlsCa,
    certificates: Arc<Certificates>,
    /// Codes are looked at one after the other: many guesses at once would all be made before the first is counted.
    codes: Arc<tokio::sync::Mutex<()>>,
}

impl People {
    /// Over a Desk; `secrets` seals TOTP secrets, the fingerprint of `ca` goes into enrolment codes.
    pub fn new(desk: Desk, secrets: Secrets, ca: TlsCa) -> Self {
        Self { desk, secrets, ca, certificates: Arc::default(), codes: Arc::default() }
    }

    /// An SSH certificate was made out, and lasts until then.
    pub fn certificate_made(&self, person: PersonId, until: Timestamp) {
        self.certificates.made(person, until);
    }

    /// When somebody's newest SSH certificate ended, if it did within a shift.
    pub fn certificate_ended(&self, person: PersonId, now: Timestamp) -> Option<Timestamp> {
        self.certificates.ended(person, now)
    }

    fn directory(&self) -> &dyn Directory {
        self.desk.directory()
    }

    /// Founds the installation: the first people and the first plant file, in one append. Their codes do not expire.
    ///
    /// # Errors
    /// It is founded already, no administrator is among them, the plant file has mistakes, or a name is unfit.
    pub async fn found(&self, founding: Founding) -> Result<Vec<Invitation>, NotDone> {
        let mut invitations = Vec::new();
        let mut founders = Vec::new();
        for new in founding.founders {
            let invitation = self.prepare(&new.name, None, Timestamp::MAX).await?;
            let link = invitation.code.link();
            founders.push(Founder { person: invitation.person, kind: new.kind, groups: new.groups, link });
            invitations.push(invitation);
        }
        let deployment = self.desk.deployment().clone();
        let found = Command::Found { deployment, log_key: founding.log_key, founders, plant: founding.plant };
        match self.desk.act(found).await {
            Ok(_) => Ok(invitations),
            Err(rejected) => {
                for invitation in &invitations {
                    self.unprepare(invitation).await;
                }
                Err(rejected.into())
            }
        }
    }

    /// Invites somebody; the code is to be handed over. That of a company's manager lasts no longer than its contract.
    ///
    /// # Errors
    /// `by` is no administrator, nor a manager within what the plant allowed; the vendor has no contract, or the name is taken
    /// or unfit.
    pub async fn invite(&self, new: NewPerson, lasts: Seconds, by: PersonId) -> Result<Invitation, NotDone> {
        let now = self.desk.clock().wall();
        let expires = self.expires(lasts, by, now);
        // Whoever may not invite does not learn which names are taken.
        self.desk.with_state(|state| state.may_invite(&new.kind, expires, by, now))?;
        let is_colleague = self.desk.with_state(|state| state.manager(by, now).is_ok());
        let vendor = matches!(new.kind, Kind::Technician { .. }).then(|| new.kind.vendor()).flatten();
        let prepared = self.prepare(&new.name, vendor.filter(|_| !is_colleague), expires).await;
        let invitation = prepared.map_err(|not_done| match not_done {
            // By whom a name is taken is the plant's business.
            NotDone::NameTaken(name, _) if is_colleague => NotDone::NameTaken(name, TakenBy::Somebody),
            other => other,
        })?;
        let invite = Command::Invite {
            person: invitation.person,
            kind: new.kind,
            groups: new.groups.into_iter().collect(),
            link: invitation.code.link(),
            expires,
            by,
        };
        match self.desk.act(invite).await {
            Ok(_) => Ok(invitation),
            Err(rejected) => {
                self.unprepare(&invitation).await;
                Err(rejected.into())
            }
        }
    }

    /// By which whoever types it knows the gate.
    fn fresh_code(&self, link: LinkId) -> EnrolmentCode {
        EnrolmentCode::generate(link, self.ca.fingerprint().prefix())
    }

    /// Name and code, before there is anybody they belong to; of a vendor's technician, that is named.
    async fn prepare(&self, name: &str, of: Option<&VendorId>, expires: Timestamp) -> Result<Invitation, NotDone> {
        check_name(name)?;
        let (person, link) = (self.newcomer(name, of).await?, mint::link(self.desk.clock().wall()));
        self.name_newcomer(person, name).await?;
        let code = self.fresh_code(link);
        let kept = Link::invites(person, code.hash());
        self.directory().add_link(link, &kept).await?;
        Ok(Invitation { person, name: name.to_owned(), code, expires })
    }

    /// Another code for somebody who lost the first, their phone or their key. What they have counts until the code is
    /// used, then none of it; an operator's new key counts once it was vouched for.
    ///
    /// # Errors
    /// `by` is no administrator, nor a manager of whoever they invited; there is no such person, or they are out.
    pub async fn reinvite(&self, person: PersonId, lasts: Seconds, by: PersonId) -> Result<Invitation, NotDone> {
        let now = self.desk.clock().wall();
        let (link, expires) = (mint::link(now), self.expires(lasts, by, now));
        let reinvite = Command::Reinvite { person, link, expires, by };
        // Before anything is changed: whoever may not leaves no code behind.
        self.desk.would_take(&reinvite)?;
        let code = self.fresh_code(link);
        self.directory().add_link(link, &Link::invites(person, code.hash())).await?;
        if let Err(rejected) = self.desk.act(reinvite).await {
            if let Err(fault) = self.directory().swap(vec![Change::delete(Key::Link(link))]).await {
                tracing::warn!(%fault, "a code that nobody was given stays in the directory; it opens nothing");
            }
            return Err(rejected.into());
        }
        Ok(Invitation { person, name: self.shown(person).await, code, expires })
    }

    /// When a code ends that somebody gives out: of a manager no later than their company's contract.
    fn expires(&self, lasts: Seconds, by: PersonId, now: Timestamp) -> Timestamp {
        let contract = self.desk.with_state(|state| state.manager(by, now).ok().map(|(_, contract)| contract.end));
        contract.map_or_else(|| lasts.after(now), |end| lasts.after(now).min(end))
    }

    /// Who is invited by this name: somebody new, or whoever was here by it as a guest of the same vendor and is gone.
    async fn newcomer(&self, name: &str, of: Option<&VendorId>) -> Result<PersonId, NotDone> {
        let now = self.desk.clock().wall();
        let Some(known) = self.by_name(name).await? else { return Ok(mint::person(now)) };
        let taken = self.desk.with_state(|state| taken_by(state, known, of, now));
        taken.map_or(Ok(known), |by| Err(NotDone::NameTaken(name.to_owned(), by)))
    }

    async fn take_name(&self, person: PersonId, name: &str) -> Result<(), NotDone> {
        if self.directory().set_name(person, name).await? {
            return Ok(());
        }
        Err(NotDone::NameTaken(name.to_owned(), TakenBy::Somebody))
    }

    /// Somebody new takes the name; who was here before came by it.
    async fn name_newcomer(&self, person: PersonId, name: &str) -> Result<(), NotDone> {
        if !self.is_somebody(person) {
            return self.take_name(person, name).await;
        }
        let is_theirs = self.by_name(name).await? == Some(person);
        if is_theirs { Ok(()) } else { Err(NotDone::NameTaken(name.to_owned(), TakenBy::Somebody)) }
    }

    fn is_somebody(&self, person: PersonId) -> bool {
        self.desk.with_state(|state| state.people.contains_key(&person))
    }

    /// An invitation that came to nothing. Whoever is somebody here keeps their name.
    async fn unprepare(&self, invitation: &Invitation) {
        let link = Change::delete(Key::Link(invitation.code.link()));
        let name = match self.is_somebody(invitation.person) {
            true => Ok(()),
            false => self.directory().forget_name(invitation.person).await,
        };
        if let Err(fault) = name.and(self.directory().swap(vec![link]).await.map(|_| ())) {
            tracing::warn!(%fault, "of somebody who was not invited, the name stays taken, or a code that opens nothing stays");
        }
    }

    /// Who is invited by this code, and as what; it is not used by asking.
    ///
    /// # Errors
    /// The code was used, has expired or never was.
    pub async fn invited(&self, code: &EnrolmentCode) -> Result<Invited, NotDone> {
        let Link { person, beside, .. } = self.invitation(code).await?;
        let kind = self.desk.with_state(|state| state.people.get(&person).map(|person| person.kind.clone()));
        Ok(Invited { person, kind: kind.ok_or(Refusal::LinkSpent)?, has_key: beside.is_some() })
    }

    /// The link of a code that still opens something.
    async fn invitation(&self, code: &EnrolmentCode) -> Result<Link, NotDone> {
        let kept = self.directory().link(code.link()).await?.filter(|kept| code.matches(&kept.hash));
        let stands = |kept: &Link| match kept.beside {
            Some(given) => self.is_offered(kept.person, given),
            None => self.is_open(code.link()),
        };
        Ok(kept.filter(stands).ok_or(Refusal::LinkSpent)?)
    }

    /// Enrols somebody with the code they were given and the key they will use: gives their second factor, once.
    ///
    /// # Errors
    /// The code was used, has expired or never was; the key is unfit or somebody's already.
    pub async fn enrol(&self, code: &EnrolmentCode, key: &PublicKey) -> Result<Enrolled, NotDone> {
        sshsig::check_key(key)?;
        let (totp, recovery) = (TotpSecret::generate(), RecoveryCodes::generate());
        let factors = Factors { totp: Some(&totp), recovery: Some(&recovery) };
        let (person, name, standing) = self.enrol_with(code, key, &factors).await?;
        Ok(Enrolled { person, name, totp, recovery, standing })
    }

    /// The same with a passkey that was made on a page. It signs in by itself; an operator gets an app beside it, for rules
    /// that let them answer without it, and a technician for a terminal that was left alone. Whoever has a key already and
    /// was offered this gets one more.
    ///
    /// # Errors
    /// The code was used, has expired or never was; the key is somebody's already.
    pub async fn enrol_passkey(&self, code: &EnrolmentCode, passkey: &NewPasskey) -> Result<EnrolledPasskey, NotDone> {
        let Invited { person, kind, has_key } = self.invited(code).await?;
        if has_key {
            return self.add_passkey(code, person, passkey).await;
        }
        let app = matches!(kind, Kind::Operator { .. } | Kind::Technician { .. }).then(TotpSecret::generate);
        let factors = Factors { totp: app.as_ref(), recovery: None };
        let (_, name, standing) = self.enrol_with(code, passkey.key(), &factors).await?;
        Ok(EnrolledPasskey { name, app, standing })
    }

    async fn enrol_with(
        &self,
        code: &EnrolmentCode,
        key: &PublicKey,
        factors: &Factors<'_>,
    ) -> Result<(PersonId, String, Standing), NotDone> {
        let enrol = Command::Enrol { link: code.link(), key: key_text(key) };
        let person = self.claim(code, &enrol, factors).await?;
        self.desk.act(enrol).await?;
        // Another node may have lost this race and written its factors: the journal's winner writes last.
        let mut changes = self.changes(person, factors)?;
        changes.push(Change::delete(Key::Link(code.link())));
        if let Err(fault) = self.directory().swap(changes).await {
            tracing::warn!(%person, %fault, "the code's remains stay in the directory; they open nothing");
        }
        let name = self.directory().name_of(person).await?.unwrap_or_else(|| person.to_string());
        let standing = self.desk.with_state(|state| state.people.get(&person).map(|person| person.standing));
        Ok((person, name, standing.unwrap_or(Standing::Enrolled)))
    }

    /// Writes the factors before the journal says they count, so that a crash between leaves nobody without. Whoever
    /// would be refused keeps those they have.
    async fn claim(&self, code: &EnrolmentCode, enrol: &Command, factors: &Factors<'_>) -> Result<PersonId, NotDone> {
        let key = Key::Link(code.link());
        let held = self.directory().get(&key).await?;
        let kept = self.invitation(code).await?;
        let now = self.desk.clock().wall();
        self.desk.with_state(|state| state.decide(enrol, now).map(drop))?;
        let claimed = Link { claim: Some(mint::nonce()), ..kept.clone() };
        let mut changes = self.changes(kept.person, factors)?;
        changes.push(Change { key, expected: Expected::as_read(held), value: Some(json(&claimed)) });
        if self.directory().swap(changes).await? { Ok(kept.person) } else { Err(Rejected::from(Fault::Busy).into()) }
    }

    fn is_open(&self, link: LinkId) -> bool {
        let now = self.desk.clock().wall();
        self.desk.with_state(|state| state.links.get(&link).is_some_and(|link| now < link.expires))
    }

    fn changes(&self, person: PersonId, factors: &Factors<'_>) -> Result<Vec<Change>, DirectoryFault> {
        let put = |key: Key, value: Option<Vec<u8>>| match value {
            Some(value) => Change::set(key, value),
            None => Change::delete(key),
        };
        let totp = factors.totp.map(|totp| totp.seal(&self.secrets, person)).transpose();
        let totp = totp.map_err(|fault| DirectoryFault::Unavailable(fault.to_string()))?;
        let recovery = factors.recovery.map(|codes| json(&codes.hashes()));
        Ok(vec![
            put(Key::Totp(person), totp),
            put(Key::Recovery(person), recovery),
            Change::delete(Key::Step(person)),
            Change::delete(Key::Failures(person)),
            Change::delete(Key::Password(person)),
        ])
    }

    /// Gives a person another name; an event says that it changed, and keeps its salted digest.
    ///
    /// # Errors
    /// `by` is no administrator, or the name is taken or unfit.
    pub async fn rename(&self, person: PersonId, name: &str, by: PersonId) -> Result<(), NotDone> {
        check_name(name)?;
        let old = self.directory().name_of(person).await?;
        self.take_name(person, name).await?;
        let salted = self.put_text(name).await?;
        if let Err(rejected) = self.desk.act(Command::Rename { person, name: salted, by }).await {
            match old {
                Some(old) => self.take_name(person, &old).await?,
                None => self.directory().forget_name(person).await?,
            }
            return Err(rejected.into());
        }
        Ok(())
    }

    /// Puts a person out, in one act: what they hold ends, their key and codes open nothing any more.
    ///
    /// # Errors
    /// `by` is no administrator, nor a manager of their company, or there is no such person.
    pub async fn disable(&self, person: PersonId, by: PersonId) -> Result<(), Rejected> {
        self.desk.act(Command::Disable { person, by }).await.map(|_| ())
    }

    /// Puts a whole vendor out, in one act.
    ///
    /// # Errors
    /// `by` is no administrator, or there is no such vendor.
    pub async fn disable_vendor(&self, vendor: VendorId, by: PersonId) -> Result<(), Rejected> {
        self.desk.act(Command::DisableVendor { vendor, by }).await.map(|_| ())
    }

    /// Who goes by this name; capitals do not matter.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn by_name(&self, name: &str) -> Result<Option<PersonId>, DirectoryFault> {
        self.directory().person_named(name).await
    }

    /// The active person who enrolled this key. From the journal alone: works with the directory gone.
    pub fn by_key(&self, key: &PublicKey) -> Option<PersonId> {
        let key = key_text(key);
        self.desk.with_state(|state| state.person_with_key(&key).map(|person| person.id))
    }

    /// What a person is shown as: their name, or their identifier where the directory does not say.
    pub async fn shown(&self, person: PersonId) -> String {
        self.directory().name_of(person).await.ok().flatten().unwrap_or_else(|| person.to_string())
    }

    /// Checks a code of an authenticator app, or a recovery code, of whoever proved `key`. Wrong ones count, and lock
    /// the person for a while; the lock is an event. On the vendor face only technicians are let in, and only their
    /// wrong codes count there, so nothing done there locks an operator out.
    ///
    /// # Errors
    /// The code does not count, the person is locked or out, or the directory does not answer.
    pub async fn check_code(&self, key: &VerifiedKey, code: &str, face: Face) -> Result<SpentCode, CodeNotTaken> {
        self.check_code_of(key.person(), code, face).await
    }

    /// The same on a terminal that locked itself, of whoever signed in with a key and still has it open.
    ///
    /// # Errors
    /// As [`check_code`](Self::check_code).
    pub async fn check_code_on_lock(&self, login: &Authenticated, code: &str) -> Result<SpentCode, CodeNotTaken> {
        self.check_code_of(login.person(), code, login.face()).await
    }

    async fn check_code_of(&self, person: PersonId, code: &str, face: Face) -> Result<SpentCode, CodeNotTaken> {
        let _turn = self.codes.lock().await;
        let now = self.desk.clock().wall();
        self.may_sign_in(person, face, now)?;
        let checked = if is_totp(code) {
            let secret = self.directory().totp(person, &self.secrets).await?.ok_or(Refusal::UnknownPerson)?;
            totp::check_code(&secret, code, now, &Spending(self.directory())).await
        } else {
            let left = self.directory().recovery_codes(person).await?;
            totp::check_recovery_code(&left, person, code, &Spending(self.directory())).await
        };
        match checked {
            Ok(spent) => {
                self.directory().clear_failures(person).await?;
                Ok(spent)
            }
            Err(fault @ (CodeRefused::Fault(_) | CodeRefused::Sealed(_))) => {
                Err(CodeNotTaken::Fault(DirectoryFault::Unavailable(fault.to_string()).into()))
            }
            Err(wrong) => {
                self.count_wrong(person, now).await?;
                Err(CodeNotTaken::Code(wrong))
            }
        }
    }

    /// Whether somebody may sign in at all, whatever they prove.
    pub(crate) fn may_sign_in(&self, person: PersonId, face: Face, now: Timestamp) -> Result<(), Refusal> {
        self.desk.with_state(|state| {
            let person = state.people.get(&person).ok_or(Refusal::UnknownPerson)?;
            match (face, &person.kind) {
                (Face::Vendor, Kind::Technician { .. }) => {}
                (Face::Vendor, _) => return Err(Refusal::WrongKind("technicians")),
                (Face::Plant, Kind::Technician { .. }) => return Err(Refusal::WrongKind("people of the plant")),
                (Face::Plant, _) => {}
            }
            match person.locked_until.filter(|until| now < *until) {
                Some(until) => Err(Refusal::LockedOut(state.clock(until))),
                None if matches!(person.standing, Standing::Disabled | Standing::Invited | Standing::Over) => {
                    Err(Refusal::NotActive(person.standing))
                }
                None => state.check_visits(person.id, now),
            }
        })
    }

    async fn count_wrong(&self, person: PersonId, now: Timestamp) -> Result<(), CodeNotTaken> {
        let lock = SignedDuration::try_from(LOCK).expect("a quarter of an hour fits");
        let wrong = self.directory().add_failure(person, now - lock, now).await?;
        if wrong < WRONG_CODES_MAX {
            return Ok(());
        }
        tracing::warn!(%person, wrong, "locked after wrong codes behind a verified key");
        match self.desk.act(Command::Lock { person, until: now + lock }).await {
            Ok(_) => Ok(self.directory().clear_failures(person).await?),
            Err(Rejected::Fault(fault)) => Err(fault.into()),
            Err(Rejected::Refusal(refusal)) => Err(refusal.into()),
            Err(Rejected::Unsigned(_)) => Ok(()),
        }
    }

    /// Keeps a text with a fresh salt; what stands in events is the answer. Made fit to show anywhere first.
    ///
    /// # Errors
    /// The text is empty or too long, or the directory does not answer.
    pub async fn put_text(&self, text: &str) -> Result<Salted, NotDone> {
        Ok(self.directory().put_text(&clean_text(text)?).await?)
    }

    /// The text behind a digest in an event; `None` where it was erased.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn text(&self, salted: Salted) -> Result<Option<String>, DirectoryFault> {
        self.directory().text(salted).await
    }
}

/// Codes of an authenticator app have nothing but digits; recovery codes of ten random bytes are never so.
fn is_totp(code: &str) -> bool {
    code.chars().all(|c| c.is_ascii_digit() || c.is_whitespace())
}

/// Names are typed as an SSH user name: `+` divides it from a target, `@` and `:` from the rest.
fn check_name(name: &str) -> Result<(), NotDone> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let begins = name.chars().next().is_some_and(char::is_alphabetic);
    // Whoever connects by this name wants to enrol.
    if name.eq_ignore_ascii_case("enrol") {
        return Err(NotDone::NameTaken(name.to_owned(), TakenBy::Somebody));
    }
    if begins && name.chars().all(fits) && name.chars().count() <= NAME_CHARS_MAX {
        Ok(())
    } else {
        Err(NotDone::BadName(name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()))
    }
}

/// A key as whoever vouches for it compares it: its kind and fingerprint.
pub fn key_in_words(key: &str) -> String {
    match PublicKey::from_openssh(key) {
        Ok(key) => format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256)),
        Err(_) => "cannot be read: do not sign this".to_owned(),
    }
}

/// A key as events spell it: without its comment.
pub fn key_text(key: &PublicKey) -> SshKey {
    let bare = PublicKey::from(key.key_data().clone());
    SshKey(bare.to_openssh().expect("a key that was read can be written"))
}
