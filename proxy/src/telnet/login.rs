//! Logging in by telnet: the gate looks for the two prompts in what the target shows first, answers each once, and never again.
//! Pure; what is answered is sent, and recorded, elsewhere.
//!
//! It is best effort, since nothing in telnet says what is a prompt. So that nobody has the secret shown to them, what is typed
//! before the gate is done is thrown away (a technician with an account of their own could else ask for the secret with a
//! prompt of their own making), and for a while what the target shows of the secret is blotted out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use policies::plant::Prompts;
use zeroize::Zeroizing;

use crate::session::texts;

/// What the gate logs in with at one target.
pub(crate) struct Login {
    user: Option<String>,
    secret: Option<Zeroizing<String>>,
    prompts: Prompts,
}

impl Login {
    /// With an account's name, a secret, both or neither: then the technician logs in.
    pub(crate) const fn new(user: Option<String>, secret: Option<Zeroizing<String>>, prompts: Prompts) -> Self {
        Self { user, secret, prompts }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, {})", self.user, if self.secret.is_some() { "with a secret" } else { "without" })
    }
}

/// Logging in over one connection. `Debug` shows nothing that the target said.
pub(crate) struct Attempt {
    login: Arc<Login>,
    stage: Stage,
    /// The line that the target shows last, as far as it came.
    line: Vec<u8>,
    /// What came and may be the beginning of the secret.
    held: Zeroizing<Vec<u8>>,
    is_told: bool,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({:?}, {:?})", self.login, self.stage)
    }
}

#[derive(Debug)]
enum Stage {
    /// The prompts are looked for.
    Asking { ends: Ends, user: Turn, secret: Turn },
    /// All was answered: a prompt that comes now means no, and the secret is not to be shown.
    Answered { ends: Ends, has_failed: bool },
    /// Nothing is looked for.
    Over,
}

/// When looking ends: at this moment, or after so many bytes.
#[derive(Debug, Clone, Copy)]
struct Ends {
    at: Instant,
    bytes_left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It was not asked for.
    Waits,
    /// It was asked for, and is on its way.
    Due,
    /// It was sent, or there is none.
    Done,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// The account's name is to be sent.
    Name(Bytes),
    /// The secret is to be sent: [`Attempt::take_secret`] has it.
    Secret,
    /// The target asks again, so what was sent was wrong. The technician is to be told, and is on their own.
    AsksAgain,
}

/// What the target showed, as it may be seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// How many of them stand for others.
    pub(crate) masked: usize,
    /// What follows from them.
    pub(crate) act: Option<Act>,
}

/// What becomes of what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typed {
    /// It goes on.
    Passes,
    /// It is thrown away; the first time that is to be said.
    Lost {
        /// It was not said yet.
        is_first: bool,
    },
    /// It is thrown away, and the technician logs in by themselves.
    TakesOver,
}

impl Typed {
    /// The line that says so on a terminal, where it was not said before.
    pub(crate) fn told(self) -> Option<String> {
        match self {
            Self::Passes | Self::Lost { is_first: false } => None,
            Self::Lost { is_first: true } => Some(texts::line(
                "Wait: the gate logs in, and what you type meanwhile is thrown away. Ctrl-C: you log in yourself.",
            )),
            Self::TakesOver => Some(texts::line("You log in yourself; the gate sends nothing more.")),
        }
    }
}

impl Attempt {
    /// How long a target may take to ask, and for how much of its output it is looked at.
    const LOOKS: Duration = Duration::from_secs(30);
    const LOOKS_BYTES: usize = 64 << 10;
    /// How long an answer is looked at for a no, or for the secret.
    const LOOKS_BACK: Duration = Duration::from_secs(30);
    /// As much of a line as a prompt is looked for in: its end.
    const LINE_BYTES: usize = 256;
    /// How long what may be the beginning of the secret waits for the rest.
    const HELD_MAX: Duration = Duration::from_millis(500);
    const CTRL_C: u8 = 3;

    /// Nothing was shown yet.
    pub(crate) fn new(login: Arc<Login>, now: Instant) -> Self {
        let turn = |has: bool| if has { Turn::Waits } else { Turn::Done };
        let (user, secret) = (turn(login.user.is_some()), turn(login.secret.is_some()));
        let stage = match (user, secret) {
            (Turn::Done, Turn::Done) => Stage::Over,
            (user, secret) => Stage::Asking { ends: Ends::from(now, Self::LOOKS), user, secret },
        };
        Self { login, stage, line: Vec::new(), held: Zeroizing::default(), is_told: false }
    }

    /// The target showed this.
    pub(crate) fn shown(&mut self, bytes: &[u8], now: Instant) -> Shown {
        self.look_no_longer(bytes.len(), now);
        if matches!(self.stage, Stage::Over) {
            let mut all = std::mem::take(&mut *self.held);
            all.extend(bytes);
            return Shown { bytes: all, ..Shown::default() };
        }
        let (bytes, masked) = self.masked(bytes);
        self.note_line(&bytes);
        Shown { act: self.act(), bytes, masked }
    }

    /// The technician typed this.
    pub(crate) fn typed(&mut self, bytes: &[u8], now: Instant) -> Typed {
        self.look_no_longer(0, now);
        match self.stage {
            Stage::Asking { .. } if bytes.contains(&Self::CTRL_C) => {
                self.stage = Stage::Over;
                Typed::TakesOver
            }
            Stage::Asking { .. } => Typed::Lost { is_first: !std::mem::replace(&mut self.is_told, true) },
            Stage::Answered { .. } | Stage::Over => Typed::Passes,
        }
    }

    /// The secret, to be sent now: once, where it was asked for and the technician has not taken over since.
    pub(crate) fn take_secret(&mut self, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        self.look_no_longer(0, now);
        if !matches!(self.stage, Stage::Asking { secret: Turn::Due, .. }) {
            return None;
        }
        self.stage = Stage::Answered { ends: Ends::from(now, Self::LOOKS_BACK), has_failed: false };
        let secret = self.login.secret.as_ref()?;
        Some(Zeroizing::new([secret.as_bytes(), b"\r"].concat()))
    }

    /// For how long what is held back may wait; `None` where nothing is.
    pub(crate) fn holds_for(&self) -> Option<Duration> {
        (!self.held.is_empty()).then_some(Self::HELD_MAX)
    }

    /// What was held back: the rest did not come.
    pub(crate) fn let_go(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.held)
    }

    fn look_no_longer(&mut self, bytes: usize, now: Instant) {
        let (Stage::Asking { ends, .. } | Stage::Answered { ends, .. }) = &mut self.stage else { return };
        ends.bytes_left = ends.bytes_left.saturating_sub(bytes);
        if now >= ends.at || ends.bytes_left == 0 {
            self.stage = Stage::Over;
        }
    }

    fn act(&mut self) -> Option<Act> {
        let line = String::from_utf8_lossy(&self.line);
        let Prompts { login, password } = &self.login.prompts;
        let (wants_name, wants_secret) = (login.is_shown_by(&line), password.is_shown_by(&line));
        let act = match &mut self.stage {
            Stage::Asking { secret: secret @ Turn::Waits, .. } if wants_secret => {
                *secret = Turn::Due;
                Some(Act::Secret)
            }
            Stage::Asking { user: user @ Turn::Waits, secret, .. } if wants_name => {
                *user = Turn::Done;
                let is_all = *secret == Turn::Done;
                if is_all {
                    self.stage = Stage::Over;
                }
                self.login.user.as_ref().map(|user| Act::Name(format!("{user}\r").into()))
            }
            Stage::Asking { user: Turn::Done, secret: Turn::Waits, .. } if wants_name && self.login.user.is_some() => {
                self.stage = Stage::Over;
                Some(Act::AsksAgain)
            }
            Stage::Answered { has_failed: has_failed @ false, .. } if wants_name || wants_secret => {
                *has_failed = true;
                Some(Act::AsksAgain)
            }
            _ => None,
        };
        if act.is_some() {
            self.line.clear();
        }
        act
    }

    fn note_line(&mut self, bytes: &[u8]) {
        let last = bytes.rsplit(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        if last.len() < bytes.len() {
            self.line.clear();
        }
        self.line.extend(&last[last.len().saturating_sub(Self::LINE_BYTES)..]);
        let over = self.line.len().saturating_sub(Self::LINE_BYTES);
        self.line.drain(..over);
    }

    /// Whether the secret is out, and an echo of it would be blotted out.
    pub(crate) fn masks(&self) -> bool {
        self.login.secret.is_some() && matches!(self.stage, Stage::Answered { .. })
    }

    /// Blots out the secret, however its bytes are cut; what may be its beginning is held back.
    fn masked(&mut self, bytes: &[u8]) -> (Vec<u8>, usize) {
        let secret = self.login.secret.as_ref().filter(|_| matches!(self.stage, Stage::Answered { .. }));
        let Some(secret) = secret.map(|secret| secret.as_bytes()) else { return (bytes.to_vec(), 0) };
        let mut all = std::mem::take(&mut *self.held);
        all.extend(bytes);
        let (mut at, mut masked) = (0, 0);
        while let Some(found) = all[at..].windows(secret.len()).position(|window| window == secret) {
            all[at + found..][..secret.len()].fill(b'*');
            at += found + secret.len();
            masked += secret.len();
        }
        let longest = (secret.len() - 1).min(all.len() - at);
        let begun = (1..=longest).rev().find(|length| all.ends_with(&secret[..*length])).unwrap_or_default();
        *self.held = all.split_off(all.len() - begun);
        (all, masked)
    }
}

impl Ends {
    fn from(now: Instant, looks: Duration) -> Self {
        Self { at: now + looks, bytes_left: Attempt::LOOKS_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3sam s3same";

    fn login(user: Option<&str>, secret: Option<&str>) -> Attempt {
        let secret = secret.map(|secret| Zeroizing::new(secret.to_owned()));
        let login = Login::new(user.map(str::to_owned), secret, Prompts::default());
        Attempt::new(Arc::new(login), now())
    }

    fn now() -> Instant {
        static NOW: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *NOW
    }

    fn act(attempt: &mut Attempt, text: &str) -> Option<Act> {
        attempt.shown(text.as_bytes(), now()).act
    }

    fn name() -> Option<Act> {
        Some(Act::Name("maint\r".into()))
    }

    /// Past the secret.
    fn answered() -> Attempt {
        let mut attempt = login(Some("maint"), Some(SECRET));
        act(&mut attempt, "login: ");
        act(&mut attempt, "maint\r\nPassword: ");
        attempt.take_secret(now()).expect("it was asked for");
        attempt
    }

    #[test]
    fn each_prompt_is_answered_once_whatever_comes_later() {
        let mut attempt = login(Some("maint"), Some(SECRET));
        assert_eq!(act(&mut attempt, "Debian 12\r\n\r\nswitch-3 lo"), None);
        assert_eq!(act(&mut attempt, "gin: "), name());
        assert_eq!(act(&mut attempt, "maint\r\n"), None);
        assert_eq!(act(&mut attempt, "Password: "), Some(Act::Secret));
        assert_eq!(act(&mut attempt, "\r\nPassword: "), None, "one is on its way");
        let sent = attempt.take_secret(now()).expect("it was asked for");
        assert_eq!(&**sent, b"s3sam s3same\r");
        assert!(attempt.take_secret(now()).is_none());
        assert_eq!(act(&mut attempt, "\r\n$ "), None);
        for _ in 0..3 {
            let told = act(&mut attempt, "\r\nPassword: ");
            assert!(matches!(told, None | Some(Act::AsksAgain)), "{told:?}");
            assert!(attempt.take_secret(now()).is_none(), "a prompt shown later gets nothing");
        }
    }

    #[test]
    fn a_target_that_wants_only_a_password_gets_it_and_one_whose_name_alone_is_known_gets_that() {
        let mut attempt = login(None, Some(SECRET));
        assert_eq!(act(&mut attempt, "login: "), None);
        assert_eq!(act(&mut attempt, "\r\nPassword: "), Some(Act::Secret));
        let mut attempt = login(Some("maint"), None);
        assert_eq!(act(&mut attempt, "Username: "), name());
        assert_eq!(act(&mut attempt, "\r\nPassword: "), None);
        assert_eq!(attempt.typed(b"x", now()), Typed::Passes);
        assert_eq!(login(None, None).typed(b"x", now()), Typed::Passes);
    }

    #[test]
    fn a_target_that_asks_again_is_told_once_and_is_the_technicians() {
        let mut attempt = answered();
        assert_eq!(act(&mut attempt, "\r\nLogin incorrect\r\nlogin: "), Some(Act::AsksAgain));
        assert_eq!(act(&mut attempt, "\r\nlogin: "), None);
        assert_eq!(attempt.typed(b"tess\r", now()), Typed::Passes);
        let mut unknown = login(Some("maint"), Some(SECRET));
        act(&mut unknown, "login: ");
        assert_eq!(act(&mut unknown, "\r\nno such account\r\nlogin: "), Some(Act::AsksAgain));
        assert_eq!(act(&mut unknown, "\r\nPassword: "), None);
    }

    #[test]
    fn what_is_typed_before_the_gate_is_done_is_lost_and_whoever_takes_over_gets_no_secret() {
        let mut attempt = login(Some("maint"), Some(SECRET));
        assert_eq!(attempt.typed(b"tess\r", now()), Typed::Lost { is_first: true });
        assert_eq!(attempt.typed(b"\r", now()), Typed::Lost { is_first: false });
        act(&mut attempt, "login: ");
        assert_eq!(act(&mut attempt, "\r\nPassword: "), Some(Act::Secret));
        assert_eq!(attempt.typed(b"\x03", now()), Typed::TakesOver);
        assert!(attempt.take_secret(now()).is_none(), "it was on its way");
        assert_eq!(attempt.typed(b"printf Password:\r", now()), Typed::Passes);
        assert_eq!(act(&mut attempt, "\r\nPassword: "), None);
        assert_eq!(answered().typed(b"ls\r", now()), Typed::Passes);
    }

    #[test]
    fn looking_ends_after_a_while_and_after_much_output() {
        let mut attempt = login(Some("maint"), Some(SECRET));
        assert_eq!(attempt.shown(b"login: ", now() + Attempt::LOOKS).act, None);
        assert_eq!(attempt.typed(b"x", now()), Typed::Passes);
        let mut attempt = login(Some("maint"), Some(SECRET));
        for _ in 0..64 {
            attempt.shown(&[b'x'; 1 << 10], now());
            assert!(attempt.line.len() <= Attempt::LINE_BYTES);
        }
        assert_eq!(act(&mut attempt, "\r\nlogin: "), None);
        let mut attempt = login(Some("maint"), Some(SECRET));
        act(&mut attempt, "Password: ");
        assert!(attempt.take_secret(now() + Attempt::LOOKS).is_none());
    }

    #[test]
    fn what_may_begin_the_secret_is_let_go_when_the_rest_does_not_come() {
        let mut attempt = answered();
        assert_eq!(attempt.holds_for(), None);
        assert_eq!(attempt.shown(b"\r\n$ s3s", now()).bytes, b"\r\n$ ");
        assert!(attempt.holds_for().is_some());
        assert_eq!(attempt.let_go(), b"s3s");
        attempt.shown(b"s3", now());
        let late = attempt.shown(b"x", now() + Attempt::LOOKS_BACK);
        assert_eq!((late.bytes.as_slice(), attempt.holds_for()), (&b"s3x"[..], None));
    }

    #[test]
    fn nothing_that_is_printed_of_it_holds_the_secret() {
        let mut attempt = answered();
        attempt.shown(b"s3sam", now());
        assert!(!format!("{attempt:?}").contains("s3sam"));
    }

    proptest! {
        #[test]
        fn the_secret_is_not_shown_however_it_is_cut(before in "[s3am \r\n]{0,20}", after in "[s3am \r\n]{0,20}", ends in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let text = format!("{before}{SECRET}{after}{SECRET}");
            let mut ends: Vec<_> = ends.iter().map(|end| end.index(text.len() + 1)).chain([0, text.len()]).collect();
            ends.sort_unstable();
            let (mut attempt, mut seen, mut masked) = (answered(), Vec::new(), 0);
            for piece in ends.windows(2) {
                let shown = attempt.shown(&text.as_bytes()[piece[0]..piece[1]], now());
                seen.extend(shown.bytes);
                masked += shown.masked;
            }
            seen.extend(attempt.let_go());
            prop_assert_eq!(seen.len(), text.len());
            prop_assert_eq!(seen.iter().filter(|byte| **byte == b'*').count(), masked);
            prop_assert!(!String::from_utf8_lossy(&seen).contains(SECRET));
            prop_assert!(masked >= SECRET.len());
        }
    }
}
