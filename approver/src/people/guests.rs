//! Guests of vendors: the number by which a vendor is called back, what an operator signs who invites, and the code that the
//! guest enrols by. Who may invite whom is decided in `policies`.

use jiff::Timestamp;
use policies::decide::Command;
use policies::events::Event;
use policies::ids::{PersonId, RuleId, TargetName, VendorId};
use policies::people::Allowance;
use policies::plant::Rule;
use policies::refusals::Refusal;
use policies::requests::{GuestStatement, SeenHead, Signed};
use policies::state::State;
use policies::time::Seconds;

use super::{Invitation, NotDone, People, check_name};
use crate::directory::Link;
use crate::mint;

/// Characters of a telephone number, with whatever is written between its digits.
const TELEPHONE_CHARS_MAX: usize = 32;
/// No number that somebody is called back on has fewer digits.
const TELEPHONE_DIGITS_MIN: usize = 3;

/// A contract that begins or changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContract {
    /// Whose.
    pub vendor: VendorId,
    /// The first moment after it.
    pub end: Timestamp,
    /// Who answers for the vendor at the plant.
    pub sponsor: PersonId,
    /// The number to call the vendor back on; that which stands, where none is given.
    pub telephone: Option<String>,
    /// Whom its managers may invite; whom they may, where nothing is said.
    pub allowance: Option<Allowance>,
}

/// Somebody of a vendor who is to come as a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGuest {
    /// What they are called and sign in by.
    pub name: String,
    /// Whose technician they are.
    pub vendor: VendorId,
    /// The one target they may ask for.
    pub target: TargetName,
    /// Under which rule; the first that takes guests of this vendor there, where none is named.
    pub rule: Option<RuleId>,
    /// For how long from now.
    pub lasts: Seconds,
    /// Why.
    pub reason: String,
}

impl People {
    /// Begins or changes a vendor's contract.
    ///
    /// # Errors
    /// `by` is no administrator, the sponsor is nobody, the number is none, or managers may invite in no role.
    pub async fn contract(&self, new: NewContract, by: PersonId) -> Result<Vec<Event>, NotDone> {
        if new.allowance.as_ref().is_some_and(|allowance| allowance.most > 0 && allowance.roles.is_empty()) {
            // Before the contract is journaled without it.
            return Err(Refusal::RolesWanted.into());
        }
        let telephone = match &new.telephone {
            Some(number) => Some(self.put_text(check_telephone(number)?).await?),
            None => None,
        };
        let NewContract { vendor, end, sponsor, allowance, .. } = new;
        let done = self.desk.act(Command::Contract { vendor: vendor.clone(), end, sponsor, telephone, by }).await;
        if done.is_err() {
            self.forget(telephone).await;
        }
        let mut events = done?;
        if let Some(Allowance { most, roles }) = allowance {
            events.extend(self.desk.act(Command::AllowInvitations { vendor, most, roles, by }).await?);
        }
        Ok(events)
    }

    /// What an operator signs who invites a guest, and the rule that it names. Whatever would refuse it refuses it now, before
    /// anybody is called back.
    ///
    /// # Errors
    /// The operator may not, no rule lets the guest come there, the vendor has no number, or the name is taken or unfit.
    pub async fn guest_statement(
        &self,
        new: NewGuest,
        operator: PersonId,
        journal: SeenHead,
        expires: Timestamp,
    ) -> Result<(GuestStatement, Rule), NotDone> {
        check_name(&new.name)?;
        let now = self.desk.clock().wall();
        let person = self.newcomer(&new.name, Some(&new.vendor)).await?;
        let (rule, role, telephone) = self.desk.with_state(|state| {
            let telephone = state.running_contract(&new.vendor, now)?.telephone;
            let telephone = telephone.ok_or_else(|| Refusal::NoTelephone(new.vendor.clone()))?;
            let rule = state.guest_rule(&new.vendor, &new.target, new.rule.as_ref())?.clone();
            let role = rule.roles.first().expect("a rule names roles: never empty").clone();
            Ok::<_, Refusal>((rule, role, telephone))
        })?;
        let (name, reason) = (self.put_text(&new.name).await?, self.put_text(&new.reason).await);
        let reason = match reason {
            Ok(reason) => reason,
            Err(unfit) => {
                self.forget([name]).await;
                return Err(unfit);
            }
        };
        let statement = GuestStatement {
            deployment: self.desk.deployment().clone(),
            guest: mint::guest(now),
            person,
            name,
            vendor: new.vendor,
            role,
            target: new.target,
            rule: rule.digest(),
            until: new.lasts.after(now),
            reason,
            telephone,
            operator,
            nonce: mint::nonce(),
            expires,
            journal,
        };
        if let Err(refusal) = self.desk.with_state(|state| would_invite(state, &statement, now)) {
            self.forget([name, reason]).await;
            return Err(refusal.into());
        }
        Ok((statement, rule))
    }

    /// Takes a signed invitation. The code is to be handed over to the guest, and shown once.
    ///
    /// # Errors
    /// It is refused or not signed as it must be, or the name was taken meanwhile.
    pub async fn invite_guest(&self, invitation: Signed<GuestStatement>) -> Result<Invitation, NotDone> {
        let statement = &invitation.statement;
        let (person, expires) = (statement.person, statement.until);
        let name = self.text(statement.name).await?.ok_or(Refusal::OtherDigest)?;
        check_name(&name)?;
        let reason = self.text(statement.reason).await?.filter(|reason| !reason.trim().is_empty());
        reason.ok_or(Refusal::ReasonWanted)?;
        let link = mint::link(self.desk.clock().wall());
        // Before anything is changed: whoever posts this may have made it up.
        self.desk.would_take(&Command::InviteGuest { invitation: invitation.clone(), link })?;
        self.name_newcomer(person, &name).await?;
        let code = self.fresh_code(link);
        self.directory().add_link(link, &Link::invites(person, code.hash())).await?;
        let invited = Invitation { person, name, code, expires };
        match self.desk.act(Command::InviteGuest { invitation, link }).await {
            Ok(_) => Ok(invited),
            Err(rejected) => {
                self.unprepare(&invited).await;
                Err(rejected.into())
            }
        }
    }

    /// Texts of something that was refused stay nowhere.
    pub(super) async fn forget(&self, texts: impl IntoIterator<Item = policies::digest::Salted>) {
        for text in texts {
            if let Err(fault) = self.directory().erase_text(text).await {
                tracing::warn!(%fault, "the text of something refused stays in the directory");
            }
        }
    }
}

/// What deciding would say, were it signed.
fn would_invite(state: &State, statement: &GuestStatement, now: Timestamp) -> Result<(), Refusal> {
    let operator = state.people.get(&statement.operator).ok_or(Refusal::UnknownPerson)?;
    let key = operator.keys.first().cloned().ok_or(Refusal::NotActive(operator.standing))?;
    let invitation = Signed { statement: statement.clone(), key, signature: String::new() };
    state.decide(&Command::InviteGuest { invitation, link: mint::link(now) }, now).map(drop)
}

/// Digits, and what people write between them.
fn check_telephone(number: &str) -> Result<&str, NotDone> {
    let number = number.trim();
    let fits = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '+' | '-' | '/' | '(' | ')' | '.');
    let digits = number.chars().filter(char::is_ascii_digit).count();
    if digits >= TELEPHONE_DIGITS_MIN && number.len() <= TELEPHONE_CHARS_MAX && number.chars().all(fits) {
        return Ok(number);
    }
    Err(NotDone::BadTelephone)
}
