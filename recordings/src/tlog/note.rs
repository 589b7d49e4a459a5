//! Signed notes (<https://c2sp.org/signed-note>): a text, and under it the signatures of any number of keys. What a text
//! says is not read here.

use std::fmt;

use certs::log_key::{BadVerifier, Verifier};
use certs::vault::VaultFault;
use data_encoding::BASE64;

use super::decode_base64;
use crate::log::Signer;

/// Bytes of a note; what other implementations take, too. A signature that withstands quantum computers has nearly 5 kB.
pub const NOTE_BYTES_MAX: usize = 1_000_000;
/// Signatures of a note; what other implementations take, too. The specification asks for 16.
pub const SIGNATURES_MAX: usize = 100;

/// A note as it stands there, signed by whomever. Nothing of it counts before [`Note::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// One line under a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// Bytes that are no signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// More than [`NOTE_BYTES_MAX`].
    #[error("a note has at most {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8, or with control characters.
    #[error("a note is UTF-8 text without control characters")]
    NotText,
    /// No blank line with signature lines behind it.
    #[error("a note ends with a blank line and signature lines")]
    NoSignatures,
    /// A signature line in another spelling.
    #[error("signature line {0} of the note is not `— NAME BASE64`")]
    Line(usize),
    /// More than [`SIGNATURES_MAX`].
    #[error("a note has at most {SIGNATURES_MAX} signatures")]
    TooManySignatures,
}

/// A note that nobody who is trusted signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// No line is by a known key.
    #[error("the note is not signed by a key that is trusted here")]
    NotSigned,
    /// A line says that it is by a known key, and is not.
    #[error("the note has a signature in the name of {name:?} that its key did not make over this text")]
    WrongSignature {
        /// The key's name.
        name: String,
    },
}

/// A text that cannot become a note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSignable {
    /// Without an end of line at its end, with control characters, or too long.
    #[error("only text that ends in a line's end, has no control characters and is short enough becomes a note")]
    Text,
    /// The signer cannot sign under this name.
    #[error(transparent)]
    Name(#[from] BadVerifier),
    /// Whoever holds the key does not answer.
    #[error(transparent)]
    Vault(#[from] VaultFault),
}

impl Note {
    /// Reads a note: its shape, not whether a signature is one.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadNote> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(BadNote::TooLong);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| BadNote::NotText)?;
        if !is_text(whole) {
            return Err(BadNote::NotText);
        }
        let (text, lines) = whole.rsplit_once("\n\n").ok_or(BadNote::NoSignatures)?;
        let lines = lines.strip_suffix('\n').ok_or(BadNote::NoSignatures)?;
        if lines.split('\n').count() > SIGNATURES_MAX {
            return Err(BadNote::TooManySignatures);
        }
        let parse = |(number, line)| Signature::parse(line).ok_or(BadNote::Line(number + 1));
        let signatures = lines.split('\n').enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// Signs a text under a name.
    pub fn sign(text: &str, name: &str, signer: &dyn Signer) -> Result<Self, NotSignable> {
        if !text.ends_with('\n') || !is_text(text) || text.len() > NOTE_BYTES_MAX / 2 {
            return Err(NotSignable::Text);
        }
        let verifier = signer.verifier(name)?;
        let signature = Signature::new(verifier.name(), verifier.id(), signer.sign(text.as_bytes())?.to_vec());
        Ok(Self { text: text.to_owned(), signatures: vec![signature] })
    }

    /// What was signed, with the line's end at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines under it.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature line, in the place of one by the same key where there is one.
    pub fn put(&mut self, signature: Signature) {
        match self.signatures.iter_mut().find(|other| other.is_by(&signature.name, signature.id)) {
            Some(before) => *before = signature,
            None => self.signatures.push(signature),
        }
    }

    /// Which of these keys signed. Lines by other keys mean nothing; at least one must be by one of these, and every line
    /// that names one of them must be right.
    pub fn verify<'v>(&self, verifiers: &'v [Verifier]) -> Result<Vec<&'v Verifier>, NotVerified> {
        let mut signed = Vec::new();
        for signature in &self.signatures {
            for verifier in verifiers.iter().filter(|verifier| signature.is_by(verifier.name(), verifier.id())) {
                verifier
                    .verify(self.text.as_bytes(), &signature.bytes)
                    .map_err(|_| NotVerified::WrongSignature { name: signature.name.clone() })?;
                signed.push(verifier);
            }
        }
        if signed.is_empty() { Err(NotVerified::NotSigned) } else { Ok(signed) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// What stands before each signature.
const DASH: &str = "— ";

impl Signature {
    pub(crate) fn new(name: &str, id: [u8; 4], bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), id, bytes }
    }

    /// Reads a line without its end.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let blob = decode_base64(encoded)?;
        let (id, bytes) = blob.split_first_chunk()?;
        (is_key_name(name) && !bytes.is_empty()).then(|| Self::new(name, *id, bytes.to_vec()))
    }

    /// Whose it says it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it says that it is by the key of this name and number.
    pub fn is_by(&self, name: &str, id: [u8; 4]) -> bool {
        self.name == name && self.id == id
    }

    /// The signature itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The line, without its end.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.id.as_slice(), &self.bytes].concat();
        write!(f, "{DASH}{} {}", self.name, BASE64.encode(&blob))
    }
}

fn is_text(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::SimSigner;

    /// From the documentation and the tests of Go's `golang.org/x/mod/sumdb/note`, which the specification grew from.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    const TEXT: &str =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const PETERS: &str = "— PeterNeumann \
                          x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const ENOCHS: &str = "— EnochRoot \
                          rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

    fn key(text: &str) -> Verifier {
        Verifier::parse(text).unwrap()
    }

    fn note(signatures: &str) -> Result<Note, BadNote> {
        Note::parse(format!("{TEXT}\n{signatures}").as_bytes())
    }

    #[test]
    fn a_note_of_another_implementation_is_read_verified_and_written_as_it_was() {
        let both = note(&format!("{PETERS}{ENOCHS}")).unwrap();
        assert_eq!(both.text(), TEXT);
        assert_eq!(both.to_string(), format!("{TEXT}\n{PETERS}{ENOCHS}"));
        assert_eq!(both.verify(&[key(PETER)]).unwrap(), [&key(PETER)]);
        assert_eq!(both.verify(&[key(ENOCH), key(PETER)]).unwrap(), [&key(PETER), &key(ENOCH)]);
        assert_eq!(both.verify(&[]), Err(NotVerified::NotSigned));
    }

    #[test]
    fn unknown_keys_mean_nothing_and_a_known_one_that_fails_rejects_the_note() {
        let stranger = "— Stranger eHh4eHh4eHg=\n";
        assert!(note(&format!("{stranger}{PETERS}")).unwrap().verify(&[key(PETER)]).is_ok());
        let other_id = PETERS.replacen("x08g", "y08g", 1);
        assert!(note(&format!("{other_id}{PETERS}")).unwrap().verify(&[key(PETER)]).is_ok());
        assert_eq!(note(&other_id).unwrap().verify(&[key(PETER)]), Err(NotVerified::NotSigned));
        let wrong = PETERS.replacen("ZJku", "ZJkv", 1);
        let refused = Err(NotVerified::WrongSignature { name: "PeterNeumann".to_owned() });
        assert_eq!(note(&format!("{PETERS}{wrong}")).unwrap().verify(&[key(PETER)]), refused);
        assert_eq!(note(&format!("{ENOCHS}{wrong}")).unwrap().verify(&[key(PETER), key(ENOCH)]), refused);
    }

    #[test]
    fn a_note_has_one_spelling() {
        let refused: [(&[u8], BadNote); 12] = [
            (TEXT.as_bytes(), BadNote::NoSignatures),
            (b"text\n\n", BadNote::NoSignatures),
            (b"text\n\n\xe2\x80\x94 name eHh4eHg=", BadNote::NoSignatures),
            (b"text\n\n\xe2\x80\x94 name eHh4eHg=\n\n", BadNote::NoSignatures),
            (b"text\n\n\xe2\x80\x94 name eHh4eHg=\nmore\n", BadNote::Line(2)),
            (b"te\tt\n\n\xe2\x80\x94 name eHh4eHg=\n", BadNote::NotText),
            (b"te\rt\n\n\xe2\x80\x94 name eHh4eHg=\n", BadNote::NotText),
            (b"te\xfft\n\n\xe2\x80\x94 name eHh4eHg=\n", BadNote::NotText),
            (b"text\n\n- name eHh4eHg=\n", BadNote::Line(1)),
            (b"text\n\n\xe2\x80\x94 na+me eHh4eHg=\n", BadNote::Line(1)),
            (b"text\n\n\xe2\x80\x94 name eHh4eHh=\n", BadNote::Line(1)),
            (b"text\n\n\xe2\x80\x94 name eHh4eA==\n", BadNote::Line(1)),
        ];
        for (bytes, why) in refused {
            assert_eq!(Note::parse(bytes), Err(why), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(note(&ENOCHS.repeat(SIGNATURES_MAX)).map(drop), Ok(()));
        assert_eq!(note(&ENOCHS.repeat(SIGNATURES_MAX + 1)), Err(BadNote::TooManySignatures));
        assert_eq!(Note::parse(&vec![b'a'; NOTE_BYTES_MAX + 1]), Err(BadNote::TooLong));
    }

    #[test]
    fn the_last_blank_line_ends_the_text() {
        let poem = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";
        let signature = "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0\
                         xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let note = Note::parse(format!("{poem}\n{signature}").as_bytes()).unwrap();
        assert_eq!(note.text(), poem);
        assert_eq!(note.signatures().len(), 1);
    }

    #[test]
    fn what_is_signed_here_verifies_and_what_is_no_text_is_not_signed() {
        let signed = Note::sign("one\n\ntwo\n", "mill3", &SimSigner::new(1)).unwrap();
        let verifier = SimSigner::new(1).verifier("mill3").unwrap();
        let read = Note::parse(signed.to_string().as_bytes()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.verify(std::slice::from_ref(&verifier)), Ok(vec![&verifier]));
        for text in ["", "no end", "a\tb\n", "a\0b\n"] {
            assert_eq!(Note::sign(text, "mill3", &SimSigner::new(1)), Err(NotSignable::Text), "{text:?}");
        }
        assert!(matches!(Note::sign("text\n", "mill 3", &SimSigner::new(1)), Err(NotSignable::Name(_))));
    }

    #[test]
    fn a_second_signature_by_one_key_takes_the_place_of_the_first() {
        let mut note = note(&format!("{PETERS}{ENOCHS}")).unwrap();
        let newer = Signature::new("PeterNeumann", [0xc7, 0x4f, 0x20, 0xa3], vec![1; 64]);
        note.put(newer.clone());
        assert_eq!(note.signatures()[0], newer);
        assert_eq!(note.signatures().len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes: Vec<u8>, at in 0_usize..300, with: u8) {
            Note::parse(&bytes).ok();
            let mut bytes = format!("{TEXT}\n{PETERS}{ENOCHS}").into_bytes();
            let at = at.min(bytes.len() - 1);
            bytes[at] = with;
            if let Ok(note) = Note::parse(&bytes) {
                prop_assert_eq!(note.to_string().into_bytes(), bytes);
            }
        }
    }
}
