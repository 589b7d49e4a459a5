//! Who is this? The states of one login: a key whose signature was checked, then a code, then, where the user name says
//! a target without a grant, the questions. What is answered before a key is proved is the same for every name and key.

use std::sync::Arc;

use approver::directory::DirectoryFault;
use approver::people::Enrolled;
use approver::spans::{self, Span, Work};
use certs::proof::{Authenticated, Face as Side, VerifiedKey};
use certs::ssh_ca::{Rejected, check_user_certificate};
use certs::sshsig::check_key;
use policies::ids::PersonId;
use policies::people::{Kind, Standing};
use russh::keys::ssh_key::{Certificate, PublicKey};
use russh::server::Auth;
use russh::{MethodKind, MethodSet};
use zeroize::Zeroizing;

use super::asking::Applicant;
use super::names::{Caller, Place};
use super::questions::{Interview, Next, Round};
use super::second::{CODES_MAX, NO_TAKES, Second, SignedKey, WRONG};
use super::{Connection, Face, Stage};
use crate::session::Who;

/// Keys of one connection that are nobody's: an agent may hold many.
const KEYS_MAX: u32 = 20;

/// Whoever works at the plant needs the profile that an SSH client cannot give.
const OF_THE_PLANT: &str = "This code is good, and is not for SSH: who works at the plant enrols with the program, on the \
                            plant's own network: holdpoint enrol --gate ORIGIN, with the origin of the plant face. Your \
                            code is not used up.";

/// One login, as far as it has come.
pub(super) struct Login {
    face: Arc<Face>,
    connection: Arc<Connection>,
    proved: Option<Proved>,
    interview: Option<Interview>,
    who: Option<Who>,
    enrolled: Option<Enrolled>,
    /// Why the certificate that was shown does not serve.
    unfit: Option<Rejected>,
    keys_refused: u32,
    codes_refused: u32,
}

/// A key whose signature was checked, or a password with its code, and the user name it was checked for: no other name
/// gains by it.
struct Proved {
    user: String,
    caller: Caller,
    /// None after a password.
    key: Option<SignedKey>,
    /// The technician, where key and name are one's, as far as that can be looked up.
    owner: Result<Option<PersonId>, DirectoryFault>,
}

/// What somebody reads who proved a key that is known, when nobody can be looked up.
const CANNOT_LOOK: &str =
    "The gate cannot look up now who you are. That is no fault of yours: try again in a minute, or call the plant.";

impl Login {
    pub(super) const fn new(face: Arc<Face>, connection: Arc<Connection>) -> Self {
        Self {
            face,
            connection,
            proved: None,
            interview: None,
            who: None,
            enrolled: None,
            unfit: None,
            keys_refused: 0,
            codes_refused: 0,
        }
    }

    /// Where the user name leads.
    pub(super) fn place(&self) -> Option<Place> {
        let place = self.proved.as_ref()?.caller.place()?.clone();
        Some(self.applicant()?.resolved(place))
    }

    /// Who enrolled, with the proof of their key; once.
    pub(super) fn take_enrolled(&mut self) -> Option<(Enrolled, VerifiedKey)> {
        let enrolled = self.enrolled.take()?;
        let key = self.proved.as_ref()?.key.as_ref()?.of(enrolled.person);
        Some((enrolled, key))
    }

    /// What a code can still be checked with, once signed in by a key.
    pub(super) fn second(&self) -> Option<Second> {
        let key = self.proved.as_ref()?.key.clone()?;
        Some(Second { face: Arc::clone(&self.face), source: self.connection.source, key })
    }

    /// The one who asks, once signed in.
    pub(super) fn applicant(&self) -> Option<Applicant> {
        Some(self.face.applicant(self.who.clone()?))
    }

    /// After russh has checked the signature of `key` for this user name.
    pub(super) async fn key_signed(&mut self, user: &str, key: &PublicKey) -> Auth {
        self.reset();
        let Some(caller) = Caller::parse(user).filter(|_| check_key(key).is_ok()) else {
            return self.refuse_key().await;
        };
        let holder = self.face.people.by_key(key);
        if holder.is_none() && caller != Caller::Enrolling {
            return self.refuse_key().await;
        }
        let owner = match (holder, caller.name()) {
            (Some(person), Some(name)) if self.is_technician(person) => {
                let looking = Span::under(self.connection.login(), Work::Key);
                let named = looking.around(self.face.people.by_name(name)).await;
                named.map(|named| named.filter(|named| *named == person))
            }
            _ => Ok(None),
        };
        let key = SignedKey::checked_by_russh(key.clone());
        let source = self.connection.source;
        let recent = match &owner {
            Ok(Some(person)) => self.face.recent_login(&key, *person, source, caller.place()),
            _ => None,
        };
        if let Some(proof) = recent {
            self.proved = Some(Proved { user: user.to_owned(), caller, key: Some(key), owner });
            return self.signed_in(proof);
        }
        // Anybody can come with a new key to enrol, and so stays a stranger until the one-use code.
        if let Some(person) = holder.filter(|_| caller != Caller::Enrolling) {
            self.connection.proved_a_key_of(person);
        }
        self.proved = Some(Proved { user: user.to_owned(), caller, key: Some(key), owner });
        partly()
    }

    /// After russh has checked the signature by the key in this certificate.
    pub(super) async fn certificate_signed(&mut self, user: &str, certificate: &Certificate) -> Auth {
        self.reset();
        match self.certified(user, certificate).await {
            Some((proved, proof)) => {
                self.proved = Some(proved);
                self.signed_in(proof)
            }
            None => self.refuse_key().await,
        }
    }

    async fn certified(&mut self, user: &str, certificate: &Certificate) -> Option<(Proved, Authenticated)> {
        let caller = Caller::parse(user)?;
        let person = self.face.people.by_name(caller.name()?).await.ok()??;
        let (now, source) = (self.face.desk.clock().wall(), self.connection.source);
        let principal = person.to_string();
        let checked = check_user_certificate(certificate, &self.face.ca.believed(), now, source, &principal);
        let checked = match checked {
            Ok(checked) => checked,
            Err(why) => {
                tracing::info!(%source, %person, %why, "a certificate does not count");
                self.unfit = is_own_misuse(&why).then_some(why);
                return None;
            }
        };
        self.connection.login();
        let key = PublicKey::from(certificate.public_key().clone());
        // Whoever enrolled again has a certificate for the earlier key for up to an hour.
        let is_let_in = self.is_technician(person) && self.face.people.by_key(&key) == Some(person);
        let key = SignedKey::checked_by_russh(key);
        let proof = Authenticated::by_certificate(checked, key.of(person), Side::Vendor, source, now).ok()?;
        let proved = Proved { user: user.to_owned(), caller, key: Some(key), owner: Ok(Some(person)) };
        is_let_in.then_some((proved, proof))
    }

    /// A round of keyboard-interactive: `None` begins it.
    pub(super) async fn keyboard(&mut self, user: &str, answers: Option<Vec<String>>) -> Auth {
        if self.connection.is_leaving() {
            return Auth::reject();
        }
        let Some(proved) = self.proved.as_ref().filter(|proved| proved.user == user) else {
            return self.password_round(user, answers).await;
        };
        let is_enrolling = proved.caller == Caller::Enrolling;
        match (answers, self.interview.is_some()) {
            (Some(answers), true) => self.answered(&answers).await,
            (None, true) => self.begin_interview().await,
            (None, false) if is_enrolling => enrolment_prompt("").into(),
            (None, false) => self.face.code_prompt(&self.without_certificate()).into(),
            (Some(answers), false) => {
                let answer = answers.first().map(String::as_str).unwrap_or_default();
                if is_enrolling { self.enrol(answer).await } else { self.code(answer).await }
            }
        }
    }

    /// What to tell somebody who is asked for a code although they have a certificate.
    fn without_certificate(&self) -> String {
        let told = self.unfit.as_ref().map(ToString::to_string).or_else(|| self.certificate_ended());
        told.map(|why| format!("Asked for a code, because {why}.")).unwrap_or_default()
    }

    /// russh passes over a certificate that has ended and asks nobody, so that one may have been shown.
    fn certificate_ended(&self) -> Option<String> {
        let (owner, now) = (self.proved.as_ref()?.owner.clone().ok()??, self.face.desk.clock().wall());
        let ended = self.face.people.certificate_ended(owner, now)?;
        let ended = self.face.desk.with_state(|state| state.clock(ended));
        Some(format!("your certificate ended {ended}; `holdpoint login` gets another"))
    }

    async fn code(&mut self, code: &str) -> Auth {
        let no_at = self.face.desk.clock().boot().after(NO_TAKES);
        match self.check_code(code).await {
            Ok(proof) => self.both_proved(proof).await,
            Err(Some(fault)) => self.refuse(&fault).await,
            Err(None) => {
                self.face.desk.clock().sleep_until(no_at).await;
                self.count_wrong("a wrong name or code").await.unwrap_or_else(|| self.face.code_prompt(WRONG).into())
            }
        }
    }

    /// In, or on to the questions where the user name says a target.
    async fn both_proved(&mut self, proof: Authenticated) -> Auth {
        let accepted = self.signed_in(proof);
        if self.proved.as_ref().is_some_and(|proved| proved.caller.place().is_some()) {
            return self.begin_interview().await;
        }
        accepted
    }

    /// Without a key: password and code together, where the plant allows it. Which of them was wrong is told to nobody.
    async fn password_round(&mut self, user: &str, answers: Option<Vec<String>>) -> Auth {
        if !self.face.passwords {
            return Auth::reject();
        }
        self.reset();
        let Some(answers) = answers else { return self.face.password_prompt("").into() };
        let no_at = self.face.desk.clock().boot().after(NO_TAKES);
        match self.check_password(user, answers).await {
            Ok((caller, proof)) => {
                let owner = Ok(Some(proof.person()));
                self.proved = Some(Proved { user: user.to_owned(), caller, key: None, owner });
                self.both_proved(proof).await
            }
            Err(Some(fault)) => self.refuse(&fault).await,
            Err(None) => {
                self.face.desk.clock().sleep_until(no_at).await;
                let again = self.face.password_prompt(WRONG);
                self.count_wrong("a wrong name, password or code").await.unwrap_or_else(|| again.into())
            }
        }
    }

    async fn check_password(
        &self,
        user: &str,
        answers: Vec<String>,
    ) -> Result<(Caller, Authenticated), Option<String>> {
        let caller = Caller::parse(user);
        let person = match caller.as_ref().and_then(Caller::name) {
            // A lookup that fails denies.
            Some(name) => self.face.people.by_name(name).await.ok().flatten(),
            None => None,
        };
        let mut answers = answers.into_iter().map(Zeroizing::new);
        let (password, code) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let place = person.map_or_else(spans::Place::default, |_| self.connection.login().clone());
        let checked = self.face.password_and_code(person, password, &code, self.connection.source);
        let proof = place.around(checked).await?;
        caller.map(|caller| (caller, proof)).ok_or(None)
    }

    async fn check_code(&self, code: &str) -> Result<Authenticated, Option<String>> {
        match &self.proved {
            Some(Proved { key: Some(key), owner: Ok(Some(person)), .. }) => {
                let checked = self.face.both_factors(key, *person, self.connection.source, code);
                self.connection.place().around(checked).await
            }
            Some(Proved { owner: Err(_), .. }) => Err(Some(CANNOT_LOOK.to_owned())),
            _ => Err(None),
        }
    }

    async fn enrol(&mut self, code: &str) -> Auth {
        let no_at = self.face.desk.clock().boot().after(NO_TAKES);
        let Some(Proved { key: Some(key), .. }) = &self.proved else { return Auth::reject() };
        match self.face.enrol(code, key.public()).await {
            Ok(None) => self.refuse(OF_THE_PLANT).await,
            Ok(Some(enrolled)) => {
                self.enrolled = Some(enrolled);
                self.connection.enter(Stage::Inside);
                Auth::Accept
            }
            Err(complaint) => {
                self.face.desk.clock().sleep_until(no_at).await;
                let again = enrolment_prompt(&format!("{complaint}."));
                self.count_wrong("a wrong enrolment code").await.unwrap_or_else(|| again.into())
            }
        }
    }

    /// Looks how things stand at the target, and asks for access where there is no grant.
    async fn begin_interview(&mut self) -> Auth {
        let (Some(applicant), Some(place)) = (self.applicant(), self.place()) else { return Auth::reject() };
        let (interview, next) = Interview::begin(applicant, place);
        self.interview = interview;
        self.proceed(next).await
    }

    async fn answered(&mut self, answers: &[String]) -> Auth {
        let Some(interview) = &mut self.interview else { return Auth::reject() };
        tokio::select! {
            next = interview.answer(answers) => self.proceed(next).await,
            () = self.connection.leaving() => Round::default().into(),
        }
    }

    async fn proceed(&mut self, next: Next) -> Auth {
        match next {
            Next::Connect => {
                self.interview = None;
                self.connection.enter(Stage::Inside);
                Auth::Accept
            }
            Next::Refuse(words) => self.refuse(&words).await,
            Next::Ask(round) => {
                let is_asking = self.interview.as_ref().is_some_and(Interview::is_asking);
                self.connection.enter(if is_asking { Stage::Asked } else { Stage::Waiting });
                round.into()
            }
        }
    }

    fn signed_in(&mut self, proof: Authenticated) -> Auth {
        let Some(proved) = &self.proved else { return Auth::reject() };
        self.connection.is_of(proof.person());
        let login = proved.caller.name().unwrap_or_default().to_owned();
        self.who = Some(Who { login, proof: Arc::new(proof) });
        self.connection.enter(Stage::Inside);
        Auth::Accept
    }

    /// Ends it, with words. An empty round holds the client, which would else leave before it reads them.
    async fn refuse(&mut self, words: &str) -> Auth {
        self.connection.goodbye(words).await;
        Round::default().into()
    }

    async fn refuse_key(&mut self) -> Auth {
        self.face.strangers.failed(self.connection.source, "a key that is nobody's");
        self.keys_refused += 1;
        if self.keys_refused > KEYS_MAX {
            self.connection
                .goodbye("Too many keys. Name the one you enrolled with: ssh -i FILE -o IdentitiesOnly=yes.")
                .await;
        }
        Auth::reject()
    }

    /// What ends it, if that was the last try.
    async fn count_wrong(&mut self, how: &'static str) -> Option<Auth> {
        self.face.strangers.failed(self.connection.source, how);
        self.codes_refused += 1;
        if self.codes_refused < CODES_MAX {
            return None;
        }
        Some(self.refuse(WRONG).await)
    }

    /// An active one, who is not locked: to everybody else this looks like a wrong code.
    fn is_technician(&self, person: PersonId) -> bool {
        let now = self.face.desk.clock().wall();
        self.face.desk.with_state(|state| {
            let is_away = state.check_visits(person, now).is_err();
            state.people.get(&person).filter(|_| !is_away).is_some_and(|person| {
                matches!(person.kind, Kind::Technician { .. })
                    && person.standing == Standing::Active
                    && person.locked_until.is_none_or(|until| until <= now)
            })
        })
    }

    fn reset(&mut self) {
        self.proved = None;
        self.interview = None;
        self.who = None;
        self.enrolled = None;
    }
}

/// Whether it may be told: only whoever the gate once gave this certificate can be refused for it.
const fn is_own_misuse(why: &Rejected) -> bool {
    matches!(why, Rejected::Source { .. })
}

/// The key is good, and a code is wanted.
pub(super) fn partly() -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from(&[MethodKind::KeyboardInteractive][..])),
        partial_success: true,
    }
}

fn enrolment_prompt(complaint: &str) -> Round {
    let instructions =
        if complaint.is_empty() { "Welcome. The key you came with becomes yours here." } else { complaint };
    Round { instructions: instructions.to_owned(), prompts: vec![("One-use code: ".to_owned(), true)] }
}
