//! `texts.json`: what people typed, with the salts that tie it to the digests in the journal, and the names of those
//! concerned. Texts can be checked; a name is what the gate's directory had when the pack was made, and nothing signs it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use policies::digest::Salted;
use policies::ids::PersonId;
use serde::{Deserialize, Serialize};

use super::manifest::pretty;
use crate::words::Words;

/// Texts and names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// By person.
    pub names: BTreeMap<PersonId, String>,
    /// By what stands in the journal for each: SHA-256(salt ‖ text).
    pub texts: BTreeMap<String, Text>,
}

/// A text and its salt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Thirty-two bytes in hexadecimal.
    pub salt: String,
    /// As it was typed and kept.
    pub text: String,
}

/// A person's text as a pack can tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// Checked against the digest, and harmless.
    Text(String),
    /// Not in the pack: erased, or nobody had it at hand.
    Closed,
}

impl Texts {
    /// Keeps a text.
    pub fn put(&mut self, digest: Salted, salt: &[u8; 32], text: String) {
        self.texts.insert(digest.0.to_string(), Text { salt: HEXLOWER.encode(salt), text });
    }

    pub(super) fn tell(&self, digest: Salted) -> Told {
        match self.texts.get(&digest.0.to_string()) {
            Some(text) if text.opens(digest) => Told::Text(Words::from(text.text.as_str()).to_string()),
            _ => Told::Closed,
        }
    }

    /// A person by name and identifier, harmless.
    pub(super) fn name(&self, person: PersonId) -> String {
        match self.names.get(&person) {
            Some(name) => format!("{} ({person})", Words::from(name.as_str())),
            None => person.to_string(),
        }
    }

    /// Texts that do not open what they stand for, or for which nothing in this pack stands.
    pub(super) fn wrong<'a>(&'a self, wanted: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
        self.texts.iter().filter_map(move |(digest, text)| {
            let opens = digest.parse().is_ok_and(|parsed| text.opens(Salted(parsed)));
            (!opens || !wanted.contains(digest)).then_some(digest.as_str())
        })
    }

    /// Texts and names in these bytes, which have one spelling.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let texts: Self = serde_json::from_slice(bytes).ok()?;
        (texts.encode() == bytes).then_some(texts)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        pretty(self)
    }
}

impl Text {
    fn opens(&self, digest: Salted) -> bool {
        let salt = HEXLOWER.decode(self.salt.as_bytes()).ok().and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        salt.is_some_and(|salt| digest.opens_with(&salt, &self.text))
    }
}
