//! The line below a watched session: why its input waits, who escorts it, and for how long one's own word still counts that
//! one is there. It turns keys into wishes and asks nobody itself. Time is an argument.

use std::time::{Duration, Instant};

use approver::api::types::EscortLine;
use zeroize::Zeroizing;

use crate::commands::showing::plain;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing of the gate.
    Nothing,
    /// To say that one is there.
    SayThere,
    /// To sign in again with this code, and then to say that one is there.
    SignIn(Zeroizing<String>),
}

/// What stands in the line.
#[derive(Default)]
pub(super) struct Bar {
    stopped: Option<String>,
    escort: Option<EscortLine>,
    /// Until when one's own word counts.
    until: Option<Instant>,
    has_counted: bool,
    /// The code that is being typed, because the sign-in is over.
    code: Option<Zeroizing<String>>,
    /// What the gate said to the last wish.
    said: Option<String>,
    /// The newest of what passes beside a terminal, and until when it is shown.
    passes: Option<(String, Instant)>,
    /// What was rung for already.
    rung: Rung,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Rung {
    #[default]
    Nothing,
    Soon,
    Over,
}

/// So long what passes is shown.
const PASSES: Duration = Duration::from_secs(10);
/// A code is shorter.
const CODE_BYTES_MAX: usize = 64;

impl Bar {
    /// How the session stands from now on.
    pub(super) fn take(&mut self, stopped: Option<&str>, escort: Option<&EscortLine>, now: Instant) {
        self.stopped = stopped.map(str::to_owned);
        let left = escort.and_then(|escort| escort.yours_seconds).map(Duration::from_secs);
        self.until = left.map(|left| now + left);
        self.has_counted |= left.is_some();
        if left.is_some() {
            (self.rung, self.said) = (Rung::Nothing, None);
        }
        self.escort = escort.cloned();
    }

    /// This passed beside a terminal.
    pub(super) fn passes(&mut self, line: String, now: Instant) {
        self.passes = Some((line, now + PASSES));
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: u8) -> Wish {
        const BACKSPACE: u8 = 8;
        const ESCAPE: u8 = 27;
        const DELETE: u8 = 127;
        if self.escort.is_none() {
            return Wish::Nothing;
        }
        let Some(code) = &mut self.code else {
            return if matches!(key, b' ' | b'\r' | b'\n') { Wish::SayThere } else { Wish::Nothing };
        };
        match key {
            b'\r' | b'\n' if code.is_empty() => self.code = None,
            b'\r' | b'\n' => return self.code.take().map_or(Wish::Nothing, Wish::SignIn),
            ESCAPE => self.code = None,
            BACKSPACE | DELETE => drop(code.pop()),
            key if key.is_ascii_graphic() && code.len() < CODE_BYTES_MAX => code.push(key.into()),
            _ => {}
        }
        Wish::Nothing
    }

    /// The gate wants a code first.
    pub(super) fn wants_code(&mut self) {
        self.code = Some(Zeroizing::default());
        self.said = None;
    }

    /// What came of the last wish, where that was nothing.
    pub(super) fn came_to_nothing(&mut self, why: &str) {
        self.said = Some(plain(why));
    }

    /// Whether it is time to ring: once before one's word is over, and once when it is.
    pub(super) fn rings(&mut self, now: Instant) -> bool {
        let Some(escort) = &self.escort else { return false };
        let wanted = match self.left(now) {
            None if self.has_counted => Rung::Over,
            Some(left) if left.as_secs() <= escort.warn_seconds => Rung::Soon,
            _ => Rung::Nothing,
        };
        let is_news = wanted != self.rung && wanted != Rung::Nothing;
        self.rung = wanted;
        is_news
    }

    /// The line; none where there is nothing to say. What matters fits 68 columns.
    pub(super) fn text(&self, now: Instant) -> Option<String> {
        if let Some(code) = &self.code {
            return Some(format!(
                "Your sign-in is over. Code: {} (ENTER sends it, ESC leaves it)",
                "*".repeat(code.len())
            ));
        }
        let stopped = match self.stopped.as_deref() {
            Some("by-operator") => Some("PAUSED by an operator."),
            Some("time-is-up") => Some("TIME IS UP: input is stopped."),
            Some("not-accepted") => Some("SHIFT CHANGED: accept it."),
            _ => None,
        };
        let passes = self.passes.as_ref().filter(|(_, until)| *until > now).map(|(line, _)| line.clone());
        let parts = [self.said.clone(), stopped.map(str::to_owned), self.escort(now), passes];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }

    fn escort(&self, now: Instant) -> Option<String> {
        let escort = self.escort.as_ref()?;
        let own = match self.left(now) {
            Some(left) if left.as_secs() <= escort.warn_seconds => {
                format!("{} LEFT: press SPACE.", minutes(left))
            }
            Some(left) => format!("You are there for {} more.", minutes(left)),
            None if self.has_counted => "YOU COUNT NO LONGER: press SPACE.".to_owned(),
            None => "SPACE says that you are there.".to_owned(),
        };
        let there = match escort.there.as_slice() {
            [] => "Nobody is there: INPUT WAITS.".to_owned(),
            there => format!("There: {}.", there.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ")),
        };
        Some(format!("{own} {there}"))
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

/// Whole seconds, the one that runs among them.
fn minutes(left: Duration) -> String {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demanded(there: &[&str], yours_seconds: Option<u64>) -> EscortLine {
        let there = there.iter().map(|name| (*name).to_owned()).collect();
        EscortLine { there, yours_seconds, tap_seconds: 300, warn_seconds: 60 }
    }

    fn text(bar: &Bar, now: Instant) -> String {
        bar.text(now).unwrap_or_default()
    }

    #[test]
    fn where_no_escort_is_demanded_no_key_means_anything() {
        let (mut bar, now) = (Bar::default(), Instant::now());
        assert_eq!((bar.text(now), bar.press(b' ')), (None, Wish::Nothing));
        bar.take(Some("by-operator"), None, now);
        assert_eq!((text(&bar, now).as_str(), bar.press(b' ')), ("PAUSED by an operator.", Wish::Nothing));
        assert!(!bar.rings(now));
    }

    #[test]
    fn the_end_of_ones_word_is_rung_for_before_and_once_it_came() {
        let (mut bar, now) = (Bar::default(), Instant::now());
        bar.take(Some("nobody-watches"), Some(&demanded(&[], None)), now);
        assert!(text(&bar, now).contains("SPACE says") && text(&bar, now).contains("INPUT WAITS"));
        assert_eq!(bar.press(b'x'), Wish::Nothing);
        assert_eq!(bar.press(b' '), Wish::SayThere);
        bar.take(None, Some(&demanded(&["lee"], Some(300))), now);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(text(&bar, now), "You are there for 5:00 more. There: lee.");
        assert!(!bar.rings(at(200)));
        assert!(bar.rings(at(241)) && !bar.rings(at(242)));
        assert!(text(&bar, at(241)).starts_with("0:59 LEFT: press SPACE"));
        assert!(bar.rings(at(301)) && !bar.rings(at(302)));
        assert!(text(&bar, at(301)).starts_with("YOU COUNT NO LONGER"));
        bar.take(None, Some(&demanded(&["lee", "ann\u{202e}"], Some(300))), at(310));
        assert!(!bar.rings(at(311)));
        assert_eq!(text(&bar, at(310)), format!("You are there for 5:00 more. There: lee, {}.", plain("ann\u{202e}")));
    }

    #[test]
    fn a_code_is_typed_unseen_and_may_be_left() {
        let (mut bar, now) = (Bar::default(), Instant::now());
        bar.take(None, Some(&demanded(&[], None)), now);
        bar.wants_code();
        for key in *b"12x\x7f3 4" {
            assert_eq!(bar.press(key), Wish::Nothing);
        }
        assert!(text(&bar, now).contains("**** ") && !text(&bar, now).contains("1234"));
        assert_eq!(bar.press(b'\r'), Wish::SignIn(Zeroizing::new("1234".to_owned())));
        bar.wants_code();
        assert_eq!((bar.press(b'1'), bar.press(27)), (Wish::Nothing, Wish::Nothing));
        bar.came_to_nothing("that code is wrong.");
        assert!(text(&bar, now).starts_with("that code is wrong. SPACE says"));
        assert_eq!(bar.press(b' '), Wish::SayThere);
    }
}
