//! What each key of the directory holds, and how it may change: the typed side of the port, the same over every adapter.

use certs::password::StoredPassword;
use certs::secrets::{CannotOpen, Secrets};
use certs::totp::{RecoveryHash, SealedTotp, SpendFault, SpendRecovery, SpendStep};
use certs::vault::Purpose;
use jiff::Timestamp;
use policies::digest::{Digest, Salted};
use policies::ids::{CredentialName, LinkId, PersonId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Change, Directory, DirectoryFault, Dumped, Expected, Key, Table};
use crate::{eraser, mint};

/// Characters a person's text may have; each is at most four bytes, and with its salt it fits a value.
pub const TEXT_CHARS_MAX: usize = 1000;
/// A swap that lost its race this often is given up: nobody else works that fast on one person's values.
const TRIES: usize = 16;

/// A text of a person that can be shown anywhere: one line, no control characters, nothing that turns the direction of
/// writing, not empty, bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanText(String);

impl CleanText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextRefused {
    /// Nothing but blanks.
    #[error("the text is empty")]
    Empty,
    /// Beyond [`TEXT_CHARS_MAX`].
    #[error("the text has {0} characters; {TEXT_CHARS_MAX} are the most")]
    TooLong(usize),
}

/// Makes a stranger's text fit to show: control characters and marks of direction go, blanks are joined.
pub fn clean_text(text: &str) -> Result<CleanText, TextRefused> {
    let blank_or_visible = |c: char| if c.is_whitespace() { Some(' ') } else { is_visible(c).then_some(c) };
    let visible: String = text.chars().take(16 * TEXT_CHARS_MAX).filter_map(blank_or_visible).collect();
    let clean = visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match clean.chars().count() {
        0 => Err(TextRefused::Empty),
        count if count > TEXT_CHARS_MAX => Err(TextRefused::TooLong(count)),
        _ => Ok(CleanText(clean)),
    }
}

/// No control characters, and none of Unicode's invisible ones that reorder or hide text (UAX #9; Trojan Source).
fn is_visible(c: char) -> bool {
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{61c}');
    !c.is_control() && !hides
}

#[derive(Serialize, Deserialize)]
struct KeptText {
    #[serde(with = "base64_salt")]
    salt: [u8; 32],
    text: String,
}

mod base64_salt {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(salt: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&data_encoding::BASE64.encode(salt))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(de::Error::custom)?;
        bytes.try_into().map_err(|_| de::Error::custom("a salt has 32 bytes"))
    }
}

/// What is kept of an enrolment code until it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// For whom.
    pub person: PersonId,
    /// Hash of the code.
    pub hash: Digest,
    /// Who is using it just now: drawn anew by each try, so that of two at once one goes on.
    pub claim: Option<String>,
    /// It is for a passkey beside the keys that the person has, given at this moment to somebody who had just proved who they
    /// are; nobody was invited with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Timestamp>,
}

impl Link {
    /// Of somebody who is invited.
    pub fn invites(person: PersonId, hash: Digest) -> Self {
        Self { person, hash, claim: None, beside: None }
    }
}

impl dyn Directory + '_ {
    /// The name a person is shown by.
    pub async fn name_of(&self, person: PersonId) -> Result<Option<String>, DirectoryFault> {
        self.get(&Key::NameOf(person)).await?.map(|value| text(value, "a name")).transpose()
    }

    /// The person of this name; capitals do not matter.
    pub async fn person_named(&self, name: &str) -> Result<Option<PersonId>, DirectoryFault> {
        let Some(value) = self.get(&Key::Named(folded(name))).await? else { return Ok(None) };
        let damaged = || DirectoryFault::Damaged("a name");
        text(value, "a name")?.parse().map(Some).map_err(|_| damaged())
    }

    /// Everybody's name.
    pub async fn names(&self) -> Result<Vec<(PersonId, String)>, DirectoryFault> {
        let named = |(person, name): (String, Vec<u8>)| {
            Ok((person.parse().map_err(|_| DirectoryFault::Damaged("a name"))?, text(name, "a name")?))
        };
        self.list(Table::Names).await?.into_iter().map(named).collect()
    }

    /// Gives a person a name, in place of the one they had. `false` where somebody else has it.
    pub async fn set_name(&self, person: PersonId, name: &str) -> Result<bool, DirectoryFault> {
        for _ in 0..TRIES {
            if self.person_named(name).await?.is_some_and(|other| other != person) {
                return Ok(false);
            }
            let held = self.get(&Key::NameOf(person)).await?;
            if self.swap(renaming(person, held, name)?).await? {
                return Ok(true);
            }
        }
        Err(DirectoryFault::Busy)
    }

    /// Forgets a person's name, so that another may have it.
    pub async fn forget_name(&self, person: PersonId) -> Result<(), DirectoryFault> {
        let Some(held) = self.get(&Key::NameOf(person)).await? else { return Ok(()) };
        let named = Change::delete(Key::Named(folded(&text(held, "a name")?)));
        self.swap(vec![Change::delete(Key::NameOf(person)), named]).await.map(|_| ())
    }

    /// Keeps a text with a fresh salt. What stands in the journal is the answer.
    pub async fn put_text(&self, clean: &CleanText) -> Result<Salted, DirectoryFault> {
        let kept = KeptText { salt: mint::random(), text: clean.0.clone() };
        let salted = Salted::new(&kept.salt, &kept.text);
        self.swap(vec![Change::set(Key::Text(salted.0), json(&kept))]).await?;
        Ok(salted)
    }

    /// The text behind a digest; `None` where it was erased, or does not open it.
    pub async fn text(&self, salted: Salted) -> Result<Option<String>, DirectoryFault> {
        let kept = self.kept_text(salted).await?;
        Ok(kept.map(|(_, text)| text))
    }

    /// Salt and text, as evidence packs carry them.
    pub async fn salt_and_text(&self, salted: Salted) -> Result<Option<([u8; 32], String)>, DirectoryFault> {
        self.kept_text(salted).await
    }

    async fn kept_text(&self, salted: Salted) -> Result<Option<([u8; 32], String)>, DirectoryFault> {
        let kept: Option<KeptText> = self.json_at(&Key::Text(salted.0), "a text").await?;
        Ok(kept.filter(|kept| salted.opens_with(&kept.salt, &kept.text)).map(|kept| (kept.salt, kept.text)))
    }

    /// Erases a text and its salt: what stands in the journal opens no more.
    pub async fn erase_text(&self, salted: Salted) -> Result<(), DirectoryFault> {
        self.swap(vec![Change::delete(Key::Text(salted.0))]).await.map(|_| ())
    }

    /// A person's TOTP secret; `None` before they enrolled.
    pub async fn totp(&self, person: PersonId, secrets: &Secrets) -> Result<Option<SealedTotp>, DirectoryFault> {
        let sealed = self.get(&Key::Totp(person)).await?;
        Ok(sealed.map(|sealed| SealedTotp::new(secrets.clone(), person, sealed)))
    }

    /// The recovery codes a person has left.
    pub async fn recovery_codes(&self, person: PersonId) -> Result<Vec<RecoveryHash>, DirectoryFault> {
        Ok(self.json_at(&Key::Recovery(person), "recovery codes").await?.unwrap_or_default())
    }

    /// A person's password; `None` where they set none.
    pub async fn password(&self, person: PersonId) -> Result<Option<StoredPassword>, DirectoryFault> {
        self.json_at(&Key::Password(person), "a password").await
    }

    /// Adds a wrong code of a person at `now`; gives how many there were since `since`, this one counted.
    pub async fn add_failure(
        &self,
        person: PersonId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<usize, DirectoryFault> {
        let key = Key::Failures(person);
        for _ in 0..TRIES {
            let held = self.get(&key).await?;
            let mut failures: Vec<Timestamp> = match &held {
                Some(held) => serde_json::from_slice(held).map_err(|_| DirectoryFault::Damaged("failures"))?,
                None => Vec::new(),
            };
            failures.retain(|at| *at >= since);
            failures.push(now);
            let count = failures.len();
            // More than a lock needs to know would only grow the value.
            let newest = failures.split_off(count.saturating_sub(FAILURES_KEPT));
            let change = Change { key: key.clone(), expected: Expected::as_read(held), value: Some(json(&newest)) };
            if self.swap(vec![change]).await? {
                return Ok(count);
            }
        }
        Err(DirectoryFault::Busy)
    }

    /// Forgets a person's wrong codes, after a right one.
    pub async fn clear_failures(&self, person: PersonId) -> Result<(), DirectoryFault> {
        if self.get(&Key::Failures(person)).await?.is_none() {
            return Ok(());
        }
        self.swap(vec![Change::delete(Key::Failures(person))]).await.map(|_| ())
    }

    /// What is kept of an enrolment code.
    pub async fn link(&self, link: LinkId) -> Result<Option<Link>, DirectoryFault> {
        self.json_at(&Key::Link(link), "an enrolment link").await
    }

    /// Keeps a new enrolment code's hash.
    pub async fn add_link(&self, link: LinkId, kept: &Link) -> Result<bool, DirectoryFault> {
        self.swap(vec![Change::create(Key::Link(link), json(kept))]).await
    }

    /// Keeps a target's credential, sealed, in place of the one that was there.
    pub async fn set_credential(
        &self,
        name: &CredentialName,
        secret: &[u8],
        secrets: &Secrets,
    ) -> Result<(), DirectoryFault> {
        let sealed = secrets.seal(name, secret).map_err(|fault| DirectoryFault::Unavailable(fault.to_string()))?;
        self.swap(vec![Change::set(Key::Credential(name.clone()), sealed)]).await.map(|_| ())
    }

    /// A credential, for this purpose; `None` where none of this name was set.
    pub async fn credential(
        &self,
        name: &CredentialName,
        secrets: &Secrets,
        purpose: Purpose,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DirectoryFault> {
        let Some(sealed) = self.get(&Key::Credential(name.clone())).await? else { return Ok(None) };
        secrets.open(name, &sealed, purpose).map(Some).map_err(|cannot| match cannot {
            CannotOpen::Damaged => DirectoryFault::Damaged("a credential"),
            CannotOpen::Vault(fault) => DirectoryFault::Unavailable(fault.to_string()),
        })
    }

    /// The names of the credentials that were set.
    pub async fn credential_names(&self) -> Result<Vec<CredentialName>, DirectoryFault> {
        let parse = |(name, _): (String, Vec<u8>)| name.parse().map_err(|_| DirectoryFault::Damaged("a credential"));
        self.list(Table::Credentials).await?.into_iter().map(parse).collect()
    }

    /// Forgets a target's credential.
    pub async fn forget_credential(&self, name: &CredentialName) -> Result<(), DirectoryFault> {
        self.swap(vec![Change::delete(Key::Credential(name.clone()))]).await.map(|_| ())
    }

    /// How many entries of the journal this reader is done with.
    pub async fn cursor(&self, reader: &str) -> Result<u64, DirectoryFault> {
        Ok(self.json_at(&Key::Cursor(reader.to_owned()), "a cursor").await?.unwrap_or(0))
    }

    /// What is kept under one of [`Key::Copied`].
    pub(crate) async fn copied<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, DirectoryFault> {
        self.json_at(key, "which entry is about a copy").await
    }

    /// Moves a reader's cursor.
    pub async fn set_cursor(&self, reader: &str, size: u64) -> Result<(), DirectoryFault> {
        self.swap(vec![Change::set(Key::Cursor(reader.to_owned()), json(&size))]).await.map(|_| ())
    }

    /// Fills an empty directory with what a backup holds. Nobody knows which codes were used since it was made, so of
    /// everybody with an app those of `step` and before count no more.
    ///
    /// # Errors
    /// A key that this program does not know, or the directory does not take it; then it is to be thrown away.
    pub async fn fill(&self, backup: &Dumped, step: u64) -> Result<(), NotFilled> {
        for (key, value) in backup {
            let key = Key::decode(key).map_err(|_| NotFilled::Key(String::from_utf8_lossy(key).into_owned()))?;
            let mut changes = vec![Change::set(key.clone(), value.clone())];
            match key {
                Key::Totp(person) => changes.push(Change::set(Key::Step(person), json(&step))),
                Key::Step(_) => changes.clear(),
                _ => {}
            }
            if !changes.is_empty() {
                self.swap(changes).await?;
            }
        }
        Ok(())
    }

    /// Makes a directory fit to go on beside a journal that was restored and has so many entries: nobody knows which codes
    /// were used meanwhile, so of everybody with an app those of `step` and before count no more, and whoever follows the
    /// journal reads on from there at the latest. What was decided about recordings is carried out again from the beginning.
    ///
    /// # Errors
    /// The directory does not take it; it may be done again.
    pub async fn go_on(&self, step: u64, journal: u64) -> Result<(), DirectoryFault> {
        for (key, value) in self.dump().await? {
            let change = match Key::decode(&key) {
                Ok(Key::Totp(person)) => Change::set(Key::Step(person), json(&step)),
                Ok(Key::Cursor(reader)) if reader.starts_with(eraser::READER) => {
                    Change::set(Key::Cursor(reader), json(&0_u64))
                }
                Ok(Key::Cursor(reader)) if serde_json::from_slice::<u64>(&value).is_ok_and(|at| at > journal) => {
                    Change::set(Key::Cursor(reader), json(&journal))
                }
                _ => continue,
            };
            self.swap(vec![change]).await?;
        }
        Ok(())
    }

    async fn json_at<T: DeserializeOwned>(&self, key: &Key, what: &'static str) -> Result<Option<T>, DirectoryFault> {
        let value = self.get(key).await?;
        value.map(|value| serde_json::from_slice(&value).map_err(|_| DirectoryFault::Damaged(what))).transpose()
    }
}

/// Why a backup does not become a directory.
#[derive(Debug, thiserror::Error)]
pub enum NotFilled {
    /// Of another version.
    #[error("it holds {0:?}, which this program does not know: was it made by a newer one?")]
    Key(String),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
}

/// Wrong codes that are remembered of one person.
const FAILURES_KEPT: usize = 32;

/// The changes that give a person a name; the old one becomes free.
fn renaming(person: PersonId, held: Option<Vec<u8>>, name: &str) -> Result<Vec<Change>, DirectoryFault> {
    let old = held.clone().map(|old| text(old, "a name")).transpose()?;
    let mut changes = vec![Change {
        key: Key::NameOf(person),
        expected: Expected::as_read(held),
        value: Some(name.as_bytes().to_vec()),
    }];
    let same_key = old.as_ref().is_some_and(|old| folded(old) == folded(name));
    if !same_key {
        changes.push(Change::create(Key::Named(folded(name)), person.to_string().into_bytes()));
        changes.extend(old.map(|old| Change::delete(Key::Named(folded(&old)))));
    }
    Ok(changes)
}

fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

fn text(value: Vec<u8>, what: &'static str) -> Result<String, DirectoryFault> {
    String::from_utf8(value).map_err(|_| DirectoryFault::Damaged(what))
}

pub(crate) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("what the directory keeps has string keys and finite numbers")
}

/// The directory as what remembers used codes.
pub struct Spending<'a>(pub &'a dyn Directory);

impl SpendStep for Spending<'_> {
    async fn spend(&self, person: PersonId, step: u64) -> Result<bool, SpendFault> {
        let key = Key::Step(person);
        for _ in 0..TRIES {
            let held = self.0.get(&key).await.map_err(spend_fault)?;
            let last: Option<u64> = match &held {
                Some(held) => Some(serde_json::from_slice(held).map_err(|error| SpendFault(error.into()))?),
                None => None,
            };
            if last.is_some_and(|last| step <= last) {
                return Ok(false);
            }
            let change = Change { key: key.clone(), expected: Expected::as_read(held), value: Some(json(&step)) };
            if self.0.swap(vec![change]).await.map_err(spend_fault)? {
                return Ok(true);
            }
        }
        Err(spend_fault(DirectoryFault::Busy))
    }
}

impl SpendRecovery for Spending<'_> {
    async fn spend(&self, person: PersonId, code: RecoveryHash) -> Result<bool, SpendFault> {
        let key = Key::Recovery(person);
        for _ in 0..TRIES {
            let Some(held) = self.0.get(&key).await.map_err(spend_fault)? else { return Ok(false) };
            let mut left: Vec<RecoveryHash> =
                serde_json::from_slice(&held).map_err(|error| SpendFault(error.into()))?;
            let before = left.len();
            left.retain(|other| *other != code);
            if left.len() == before {
                return Ok(false);
            }
            let change = Change { key: key.clone(), expected: Expected::Exactly(held), value: Some(json(&left)) };
            if self.0.swap(vec![change]).await.map_err(spend_fault)? {
                return Ok(true);
            }
        }
        Err(spend_fault(DirectoryFault::Busy))
    }
}

fn spend_fault(fault: DirectoryFault) -> SpendFault {
    SpendFault(fault.into())
}
