//! VNC authentication (security type 2, RFC 6143, 7.2.2): the one way of logging in that nearly every VNC server knows.

use std::fmt;

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use zeroize::Zeroizing;

use crate::gates::Hidden;

pub(super) const CHALLENGE_BYTES: usize = 16;

const KEY_BYTES: usize = 8;

/// What opens a VNC server. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Password(Zeroizing<[u8; KEY_BYTES]>);

impl Password {
    /// The first eight bytes of it: the protocol uses no more.
    pub fn new(text: &str) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // Each byte's bits go in backwards, which the RFC does not say and everybody does (its erratum 4951).
        key.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte.reverse_bits());
        Self(key)
    }

    /// The answer to a challenge. Both together let the password be guessed, so it is shown to nobody but the target.
    pub(super) fn answer(&self, challenge: &[u8; CHALLENGE_BYTES]) -> Hidden {
        let des = Des::new(&Array::from(*self.0));
        let mut answer = Zeroizing::new(Vec::with_capacity(CHALLENGE_BYTES));
        for half in challenge.chunks_exact(KEY_BYTES) {
            let mut block = Array::try_from(half).expect("DES takes as many bytes at once as its key has");
            des.encrypt_block(&mut block);
            answer.extend_from_slice(&block);
        }
        Hidden(answer)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}
