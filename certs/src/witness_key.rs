//! The key of a witness, which says by its cosignature which checkpoint of a log it has seen last
//! (<https://c2sp.org/tlog-cosignature>, version 1), and its public half. What a witness may cosign is the business of
//! `recordings`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::chance;
use crate::keys::{KeyFault, at, read_private, sync_dir, write_private};
use crate::log_key::{BadVerifier, LogKey, NamedKey, NotSigned};

/// A witness's public key under its name; as text `name+1a2b3c4d+base64(0x04 ‖ key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigner(NamedKey);

/// Signed note's number for a timestamped Ed25519 cosignature.
const COSIGNATURE_TYPE: u8 = 0x04;

/// Seconds since 1970 that a cosignature can say.
pub const TIME_MAX: u64 = i64::MAX as u64;

impl Cosigner {
    /// The witness's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The four bytes that stand before the signature in a note's signature line.
    pub const fn id(&self) -> [u8; 4] {
        self.0.id()
    }

    /// Parses the text form. Name, number and key must belong together.
    pub fn parse(text: &str) -> Result<Self, BadVerifier> {
        NamedKey::parse(COSIGNATURE_TYPE, text).map(Self)
    }

    /// Whether this witness cosigned the checkpoint of this text at this second.
    pub fn verify(&self, seconds: u64, checkpoint: &str, signature: &[u8]) -> Result<(), NotSigned> {
        if seconds > TIME_MAX {
            return Err(NotSigned);
        }
        self.0.verify(cosigned_message(seconds, checkpoint).as_bytes(), signature)
    }
}

impl fmt::Display for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cosigner {
    type Err = BadVerifier;
    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        Self::parse(text)
    }
}

/// What a witness signs. It does not name the witness, so no key serves two.
fn cosigned_message(seconds: u64, checkpoint: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{checkpoint}")
}

/// A witness's private key, which signs nothing but cosignatures. `Debug` shows nothing.
pub struct WitnessKey {
    key: LogKey,
    cosigner: Cosigner,
}

/// The first line of a witness's key file.
const VERSION: &str = "holdpoint witness key 1";

impl WitnessKey {
    /// Reads the key from its file; none where there is no file. Refuses one that others may read.
    pub fn read(path: &Path) -> Result<Option<Self>, KeyFault> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = read_private(path)?;
        let key = std::str::from_utf8(&bytes).ok().and_then(Self::parse);
        key.map(Some).ok_or_else(|| KeyFault::NoWitnessKey { path: path.to_owned() })
    }

    /// Makes a key and its file, which appears whole or not at all. Without a name, its public half gives it one.
    pub fn create(path: &Path, name: Option<&str>) -> Result<Self, KeyFault> {
        if path.exists() {
            return Err(KeyFault::Exists { path: path.to_owned() });
        }
        let seed = chance::secret::<32>();
        let key = LogKey::from_seed(&seed);
        let digest = Sha256::digest(key.public());
        let name = name.map_or_else(|| format!("witness-{}", HEXLOWER.encode(&digest[..4])), str::to_owned);
        let key = Self::new(key, &name)?;
        let draft = draft_of(path);
        if draft.exists() {
            fs::remove_file(&draft).map_err(at(&draft))?;
        }
        let text = Zeroizing::new(format!("{VERSION}\n{name}\n{}\n", *Zeroizing::new(BASE64.encode(&*seed))));
        write_private(&draft, text.as_bytes())?;
        fs::rename(&draft, path).map_err(at(path))?;
        sync_dir(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(key)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, seed) = text.strip_prefix(VERSION)?.strip_prefix('\n')?.strip_suffix('\n')?.split_once('\n')?;
        let bytes = Zeroizing::new(BASE64.decode(seed.as_bytes()).ok()?);
        Self::new(LogKey::from_seed(bytes.as_slice().try_into().ok()?), name).ok()
    }

    fn new(key: LogKey, name: &str) -> Result<Self, BadVerifier> {
        let cosigner = Cosigner(NamedKey::new(COSIGNATURE_TYPE, name, key.public())?);
        Ok(Self { key, cosigner })
    }

    /// The public half, for those who are to believe this witness.
    pub const fn cosigner(&self) -> &Cosigner {
        &self.cosigner
    }

    /// Says that this is the largest consistent checkpoint that was seen of its log by this second.
    pub fn cosign(&self, seconds: u64, checkpoint: &str) -> [u8; 64] {
        let signed = self.key.sign(cosigned_message(seconds.min(TIME_MAX), checkpoint).as_bytes());
        signed.expect("a witness holds its key itself")
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WitnessKey(..)")
    }
}

fn draft_of(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::log_key::Verifier;

    const SOFA: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn what_is_signed_is_the_message_of_the_specification() {
        let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
                        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(cosigned_message(1_679_315_147, SOFA), expected);
    }

    #[test]
    fn a_cosignature_is_of_one_witness_over_one_checkpoint_at_one_second() {
        let key = WitnessKey::new(LogKey::from_seed(&[1; 32]), "witness.example/w1").unwrap();
        let signature = key.cosign(7, SOFA);
        assert_eq!(key.cosigner().verify(7, SOFA, &signature), Ok(()));
        assert_eq!(key.cosigner().verify(8, SOFA, &signature), Err(NotSigned));
        assert_eq!(key.cosigner().verify(7, &SOFA.replacen('6', "7", 1), &signature), Err(NotSigned));
        assert_eq!(key.cosigner().verify(7, SOFA, &signature[1..]), Err(NotSigned));
        let last = key.cosign(TIME_MAX, SOFA);
        assert_eq!(key.cosigner().verify(TIME_MAX, SOFA, &last), Ok(()));
        assert_eq!(key.cosigner().verify(TIME_MAX + 1, SOFA, &key.cosign(TIME_MAX + 1, SOFA)), Err(NotSigned));
    }

    #[test]
    fn a_witness_and_a_log_are_never_taken_for_each_other() {
        let witness = WitnessKey::new(LogKey::from_seed(&[1; 32]), "same").unwrap().cosigner().to_string();
        let log = LogKey::from_seed(&[1; 32]).verifier("same").unwrap().to_string();
        assert_ne!(witness, log);
        assert_eq!(Cosigner::parse(&witness).unwrap().to_string(), witness);
        assert_eq!(Cosigner::parse(&log), Err(BadVerifier::Key));
        assert_eq!(Verifier::parse(&witness), Err(BadVerifier::Key));
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.key");
        assert!(WitnessKey::read(&path).unwrap().is_none());
        fs::write(draft_of(&path), b"left behind").unwrap();
        let made = WitnessKey::create(&path, None).unwrap();
        assert!(made.cosigner().name().starts_with("witness-"), "{}", made.cosigner());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let read = WitnessKey::read(&path).unwrap().unwrap();
        assert_eq!(read.cosigner(), made.cosigner());
        assert_eq!(read.cosign(1, SOFA), made.cosign(1, SOFA));
        assert!(matches!(WitnessKey::create(&path, None), Err(KeyFault::Exists { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(WitnessKey::read(&path), Err(KeyFault::Mode { .. })));
    }

    #[test]
    fn a_name_that_is_none_makes_no_key_and_a_damaged_file_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.key");
        for name in ["", "two words", "a+b", "a\nb"] {
            assert!(matches!(WitnessKey::create(&path, Some(name)), Err(KeyFault::WitnessName(_))), "{name:?}");
        }
        assert!(!path.exists());
        WitnessKey::create(&path, Some("here")).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let damages =
            ["", "holdpoint", &whole[..whole.len() - 1], &whole[1..], &whole.replace("key 1", "key 2"), &whole[..40]];
        for damaged in damages {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(WitnessKey::read(&path), Err(KeyFault::NoWitnessKey { .. })), "{damaged:?}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let key = WitnessKey::new(LogKey::from_seed(&[1; 32]), "w").unwrap();
        assert_eq!(format!("{key:?}"), "WitnessKey(..)");
    }
}
