//! The auditors' keys (age, X25519): they alone open recordings. The gate makes a pair only when an installation is
//! founded without any; what it reads later are recipients, the public halves. The private halves are read on the
//! auditor's machine; what they open there is for `recordings` to say.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use jiff::Timestamp;
use zeroize::Zeroizing;

/// A new auditor's key, to be moved away from the gate.
pub struct NewAuditorKey {
    /// The file, as `age-keygen` writes one.
    pub file: Zeroizing<String>,
    /// The recipient (`age1…`) recordings are wrapped to.
    pub recipient: String,
}

impl NewAuditorKey {
    /// A fresh pair.
    pub fn generate(now: Timestamp) -> Self {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let secret = identity.to_string();
        let file = Zeroizing::new(format!(
            "# created: {}\n# public key: {recipient}\n{}\n",
            now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            secret.expose_secret()
        ));
        Self { file, recipient }
    }
}

impl std::fmt::Debug for NewAuditorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewAuditorKey({})", self.recipient)
    }
}

/// An auditor's private keys: the file that `age-keygen` writes.
pub struct AuditorKeys(Vec<age::x25519::Identity>);

/// Why a text is no auditor's keys.
#[derive(Debug, thiserror::Error)]
pub enum BadAuditorKeys {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is something else.
    #[error("line {0} is no private key as `age-keygen` writes it: AGE-SECRET-KEY-1…")]
    NotAKey(usize),
    /// There is nothing in it.
    #[error("there is no private key in it: a line AGE-SECRET-KEY-1… is wanted, as `age-keygen` writes it")]
    NoKey,
}

impl AuditorKeys {
    /// Reads a file of private keys.
    pub fn read(path: &Path) -> Result<Self, BadAuditorKeys> {
        let text = read_bounded(path).map_err(|error| BadAuditorKeys::Io { path: path.to_owned(), error })?;
        Self::parse(&text)
    }

    /// Keys from the text of such a file: one in a line, and lines that begin with `#`.
    pub fn parse(text: &str) -> Result<Self, BadAuditorKeys> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if !line.is_empty() && !line.starts_with('#') {
                keys.push(age::x25519::Identity::from_str(line).map_err(|_| BadAuditorKeys::NotAKey(number))?);
            }
        }
        if keys.is_empty() { Err(BadAuditorKeys::NoKey) } else { Ok(Self(keys)) }
    }

    /// Each key by itself, under the recipient to which it belongs.
    pub fn apart(&self) -> impl Iterator<Item = (String, Self)> + '_ {
        self.0.iter().map(|key| (key.to_public().to_string(), Self(vec![key.clone()])))
    }

    /// What is in an age file, up to `bytes_max`; `None` where none of the keys opens it.
    pub fn open(&self, file: &[u8], bytes_max: usize) -> Option<Zeroizing<Vec<u8>>> {
        let decryptor = age::Decryptor::new(file).ok()?;
        let reader = decryptor.decrypt(self.0.iter().map(|key| key as &dyn age::Identity)).ok()?;
        // Never moved while it grows, which would leave a copy behind.
        let mut content = Zeroizing::new(Vec::with_capacity(bytes_max));
        reader.take(bytes_max as u64).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

fn read_bounded(path: &Path) -> io::Result<Zeroizing<String>> {
    /// A file of keys has a few lines.
    const BYTES_MAX: u64 = 1 << 20;
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    if length > BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or_default()));
    file.read_to_string(&mut text)?;
    Ok(text)
}

impl std::fmt::Debug for AuditorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditorKeys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_recipient_and_nothing_else() {
        let key = NewAuditorKey::generate(Timestamp::UNIX_EPOCH);
        assert!(key.recipient.starts_with("age1"));
        assert!(key.file.contains("AGE-SECRET-KEY-1") && key.file.contains(&key.recipient));
        assert!(!format!("{key:?}").contains("SECRET"));
    }

    #[test]
    fn keys_open_what_was_encrypted_to_them_and_nothing_else() {
        let (ours, others) =
            (NewAuditorKey::generate(Timestamp::UNIX_EPOCH), NewAuditorKey::generate(Timestamp::UNIX_EPOCH));
        let recipient = age::x25519::Recipient::from_str(&ours.recipient).unwrap();
        let file = age::encrypt(&recipient, b"root").unwrap();
        let keys = AuditorKeys::parse(&ours.file).unwrap();
        assert_eq!(keys.open(&file, 64).unwrap().as_slice(), b"root");
        assert!(AuditorKeys::parse(&others.file).unwrap().open(&file, 64).is_none());
        assert!(keys.open(b"no age file", 64).is_none());
        assert_eq!(format!("{keys:?}"), "AuditorKeys(1)");
    }

    #[test]
    fn what_is_no_file_of_keys_is_said_to_be_none() {
        assert!(matches!(AuditorKeys::parse("# nothing\n"), Err(BadAuditorKeys::NoKey)));
        assert!(matches!(AuditorKeys::parse("\n\nAGE-SECRET-KEY-1WRONG\n"), Err(BadAuditorKeys::NotAKey(3))));
        assert!(matches!(AuditorKeys::read(Path::new("/nowhere")), Err(BadAuditorKeys::Io { .. })));
    }
}
