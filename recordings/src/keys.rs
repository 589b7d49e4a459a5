//! The keys of a recording: a root of 32 random bytes that leaves this machine only inside an age file to the
//! auditors, and what is derived from it. The gate forgets the root at once and keeps a ratchet: from it come the keys of
//! the block that is open, and, when that is sealed, the ratchet of the next one and nothing of the one before. So a gate
//! that is seized gives up the open block and what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::str::FromStr as _;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use policies::digest::Digest;
use policies::ids::Recipient;
use zeroize::Zeroizing;

use crate::block::BlockKey;
use crate::disk::Machine;
use crate::frame::FrameKey;

/// The auditors' public keys (age, X25519) to whom every recording is encrypted: two at least, since who loses the
/// only key loses every recording.
#[derive(Clone)]
pub struct Recipients(BTreeMap<Recipient, age::x25519::Recipient>);

/// Why recordings cannot be encrypted to these recipients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecipients {
    /// Fewer than two different ones.
    #[error(
        "recordings need at least two recipients, and {0} stand in the configuration: whoever loses the only key loses every recording. Add an auditor's key (`age-keygen`)"
    )]
    TooFew(usize),
    /// Not a recipient.
    #[error("{text:?} is no age recipient ({why}): one looks like age1… and is printed by `age-keygen`")]
    NotOne {
        /// What was given, cut short.
        text: String,
        /// What the parser says.
        why: &'static str,
    },
}

impl Recipients {
    /// Parses recipients in age's text form. Refuses fewer than two different ones.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, BadRecipients> {
        let texts: BTreeSet<&str> = texts.into_iter().map(str::trim).collect();
        if texts.len() < 2 {
            return Err(BadRecipients::TooFew(texts.len()));
        }
        let parse = |text: &str| {
            let bad = |why| BadRecipients::NotOne { text: text.chars().take(80).collect(), why };
            let key = age::x25519::Recipient::from_str(text).map_err(bad)?;
            Ok((text.parse().map_err(|_| bad("not in lower case"))?, key))
        };
        texts.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Who they are.
    pub fn names(&self) -> BTreeSet<Recipient> {
        self.0.keys().cloned().collect()
    }

    /// A new session's keys: chance makes the root, age wraps it to every recipient, and it is forgotten.
    pub fn new_key_file(&self, machine: &dyn Machine) -> KeyFile {
        let mut root = Root(Zeroizing::new([0; 32]));
        machine.fill_random(root.0.as_mut());
        let bytes = self.wrap(&root);
        KeyFile { digest: Digest::of_bytes(&bytes), bytes, commitment: root.commitment(), ratchet: root.ratchet() }
    }

    fn wrap(&self, root: &Root) -> Vec<u8> {
        let recipients = self.0.values().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).expect("there are two recipients, all of one kind");
        let mut bytes = Vec::new();
        encryptor
            .wrap_output(&mut bytes)
            .and_then(|mut writer| {
                writer.write_all(root.0.as_ref())?;
                writer.finish()
            })
            .expect("writing to memory does not fail");
        bytes
    }
}

/// A session's keys on their way into the store: the age file that will be synced before the session opens, and the
/// ratchet its frames' keys come from. Not `Clone`; it opens one session.
pub struct KeyFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) commitment: [u8; 32],
    pub(crate) ratchet: Ratchet,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({})", self.digest)
    }
}

/// A session's root key, as an auditor has it after opening the age file.
pub struct Root(Zeroizing<[u8; 32]>);

/// Bytes that are not a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key file holds 32 bytes; this one does not")]
pub struct NotARoot;

impl Root {
    /// The root from an opened age file's content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotARoot> {
        bytes.try_into().map(|root| Self(Zeroizing::new(root))).map_err(|_| NotARoot)
    }

    /// What the opening leaf must say: AES-GCM does not commit to its key, so without this two auditors could be shown
    /// two plaintexts.
    pub fn commitment(&self) -> [u8; 32] {
        *derive(&self.0, "commit")
    }

    #[cfg(test)]
    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }

    /// The ratchet at block 0: HKDF(root, "chain").
    pub fn ratchet(&self) -> Ratchet {
        Ratchet { chain: derive(&self.0, "chain"), block: 0 }
    }
}

/// Where a session's keys are: at one block, and on to the next, never back.
pub struct Ratchet {
    chain: Zeroizing<[u8; 32]>,
    block: u32,
}

impl Ratchet {
    /// The block whose keys come from here.
    pub const fn block(&self) -> u32 {
        self.block
    }

    /// The key of the block's frames in segments: HKDF(chain, "frame").
    pub fn frame_key(&self) -> FrameKey {
        FrameKey::new(&derive(&self.chain, "frame"))
    }

    /// The key of the block when it is sealed: HKDF(chain, "block").
    pub fn block_key(&self) -> BlockKey {
        BlockKey::new(&derive(&self.chain, "block"))
    }

    fn again(&self) -> Self {
        Self { chain: self.chain.clone(), block: self.block }
    }

    /// At the next block: HKDF(chain, "next"). What this one gave cannot be had from there.
    pub fn advance(&mut self) {
        self.chain = derive(&self.chain, "next");
        self.block = self.block.checked_add(1).expect("a session of 2^32 blocks outlives its grant");
    }
}

/// A session's keys where an auditor reads: those of any block.
pub struct SessionKeys {
    root: Root,
    at: Ratchet,
    /// Ratchets on the way to the furthest block that was asked for, so that going back is no derivation from the root.
    marks: Vec<Ratchet>,
    frame: Option<(u32, FrameKey)>,
}

impl SessionKeys {
    /// From the session's root.
    pub fn new(root: Root) -> Self {
        Self { at: root.ratchet(), root, marks: Vec::new(), frame: None }
    }

    /// So many blocks lie between two marks.
    const MARK_EVERY: u32 = 64;

    /// The key of a block's frames in segments. Takes one derivation for each block on the way there that was not reached yet;
    /// no frame's block has a higher number than the frame.
    pub fn frame_key(&mut self, block: u32) -> &FrameKey {
        if self.frame.as_ref().is_none_or(|(of, _)| *of != block) {
            let key = self.ratchet(block).frame_key();
            self.frame = Some((block, key));
        }
        let (_, key) = self.frame.as_ref().expect("it was put there just now");
        key
    }

    /// The key of a sealed block.
    pub fn block_key(&mut self, block: u32) -> BlockKey {
        self.ratchet(block).block_key()
    }

    fn ratchet(&mut self, block: u32) -> &Ratchet {
        if !(self.at.block()..self.at.block().saturating_add(Self::MARK_EVERY)).contains(&block) {
            let before = self.marks.partition_point(|mark| mark.block() <= block);
            let mark = before.checked_sub(1).map(|index| self.marks[index].again());
            self.at = mark.unwrap_or_else(|| self.root.ratchet());
        }
        while self.at.block() < block {
            self.at.advance();
            let furthest = self.marks.last().map_or(0, Ratchet::block);
            if self.at.block() >= furthest.saturating_add(Self::MARK_EVERY) {
                self.marks.push(self.at.again());
            }
        }
        &self.at
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys")
    }
}

impl std::fmt::Debug for Ratchet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ratchet({})", self.block)
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Root")
    }
}

/// HKDF-SHA256 (RFC 5869) with an empty salt; `label` is the info.
fn derive(key: &[u8; 32], label: &str) -> Zeroizing<[u8; 32]> {
    struct ThirtyTwo;
    impl KeyType for ThirtyTwo {
        fn len(&self) -> usize {
            32
        }
    }
    let mut derived = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, &[])
        .extract(key)
        .expand(&[label.as_bytes()], ThirtyTwo)
        .and_then(|output| output.fill(derived.as_mut()))
        .expect("32 bytes are within what HKDF-SHA256 can give");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealMachine;

    fn recipient(identity: &age::x25519::Identity) -> String {
        identity.to_public().to_string()
    }

    #[test]
    fn each_auditor_opens_the_key_file_alone() {
        let auditors = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
        let texts = auditors.each_ref().map(recipient);
        let recipients = Recipients::parse(texts.iter().map(String::as_str)).unwrap();
        let file = recipients.new_key_file(&RealMachine);
        for auditor in &auditors {
            let root = Root::from_bytes(&age::decrypt(auditor, &file.bytes).unwrap()).unwrap();
            assert_eq!(root.commitment(), file.commitment);
        }
        assert!(age::decrypt(&age::x25519::Identity::generate(), &file.bytes).is_err());
    }

    #[test]
    fn no_two_sessions_have_the_same_key() {
        let texts = [(); 2].map(|()| recipient(&age::x25519::Identity::generate()));
        let recipients = Recipients::parse(texts.iter().map(String::as_str)).unwrap();
        let commitments = [(); 2].map(|()| recipients.new_key_file(&RealMachine).commitment);
        assert_ne!(commitments[0], commitments[1]);
    }

    #[test]
    fn one_recipient_named_twice_is_one() {
        let text = recipient(&age::x25519::Identity::generate());
        let refused = Recipients::parse([text.as_str(), &format!(" {text}")]).err();
        assert_eq!(refused, Some(BadRecipients::TooFew(1)));
        assert!(matches!(Recipients::parse(["age1abc", &text]).err(), Some(BadRecipients::NotOne { .. })));
    }

    #[test]
    fn the_ratchet_is_the_written_derivation_and_does_not_repeat() {
        let root = Root::from_bytes(&[9; 32]).unwrap();
        let mut ratchet = root.ratchet();
        assert_eq!(*ratchet.chain, *derive(&[9; 32], "chain"));
        let mut seen = std::collections::BTreeSet::from([*ratchet.chain]);
        for block in 1..100 {
            let next = derive(&ratchet.chain, "next");
            ratchet.advance();
            assert_eq!((*ratchet.chain, ratchet.block()), (*next, block));
            assert!(seen.insert(*next));
        }
    }

    #[test]
    fn keys_are_the_same_in_whatever_order_blocks_are_read() {
        let mut chains = vec![Root::from_bytes(&[9; 32]).unwrap().ratchet()];
        for block in 0..1_000 {
            let mut next = chains[block].again();
            next.advance();
            chains.push(next);
        }
        let mut keys = SessionKeys::new(Root::from_bytes(&[9; 32]).unwrap());
        for block in [3_u32, 900, 0, 899, 64, 63, 65, 1_000, 128, 500, 1] {
            let ratchet = keys.ratchet(block);
            assert_eq!((ratchet.block(), &*ratchet.chain), (block, &*chains[block as usize].chain));
        }
        assert!(keys.marks.len() <= 1_000 / 64);
    }

    /// What lies at this place of the program's memory, whoever it belongs to.
    fn memory(at: *const u8) -> [u8; 32] {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = [0; 32];
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut bytes, u64::try_from(at.addr()).unwrap()).unwrap();
        bytes
    }

    #[test]
    fn no_key_stays_in_memory_where_it_was_dropped_or_the_next_one_took_its_place() {
        // What is cleared stays where it was until something else is put there.
        let mut root = vec![Root::from_bytes(&[9; 32]).unwrap()];
        let mut ratchet = vec![root[0].ratchet()];
        let (place_of_root, place_of_chain) = (root[0].0.as_ptr(), ratchet[0].chain.as_ptr());
        assert_eq!([place_of_root, place_of_chain].map(memory), [[9; 32], *ratchet[0].chain]);
        ratchet[0].advance();
        let next = *ratchet[0].chain;
        assert_eq!(memory(place_of_chain), next);
        root.clear();
        ratchet.clear();
        for (place, key) in [(place_of_root, [9; 32]), (place_of_chain, next)] {
            let left = memory(place);
            // Half a key is one that can be guessed.
            assert!(left.iter().zip(key).filter(|(left, key)| *left == key).count() < 8, "{left:?}");
        }
    }

    #[test]
    fn every_use_of_the_root_has_its_own_key() {
        let root = [7; 32];
        let derived = ["chain", "frame", "commit", "block", "next"].map(|label| *derive(&root, label));
        let distinct: std::collections::BTreeSet<_> = derived.iter().collect();
        assert_eq!(distinct.len(), derived.len());
    }
}
