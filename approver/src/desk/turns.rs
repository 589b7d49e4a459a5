//! Whose decision is next. They are made one after the other, each on the journal as it is then.

use tokio::sync::{Mutex, MutexGuard};

/// Where somebody waits for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind all who came before.
    InLine,
    /// Next, before all who are in line: what takes access away, and reading what others decided.
    Next,
}

/// Turns, which are taken one at a time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: Mutex<()>,
    /// The first in line has it, so that whoever is next waits for two decisions at most and not for the whole line.
    line: Mutex<()>,
}

/// Whose turn it is, until it is dropped.
pub(super) struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
    _line: Option<MutexGuard<'a, ()>>,
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn take(&self, place: Place) -> Turn<'_> {
        let line = match place {
            Place::InLine => Some(self.line.lock().await),
            Place::Next => None,
        };
        Turn { _turn: self.turn.lock().await, _line: line }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use futures::{FutureExt as _, pin_mut};

    use super::*;

    #[tokio::test]
    async fn whoever_is_next_comes_before_the_line_but_for_its_first() {
        let (turns, order) = (Turns::default(), std::sync::Mutex::new(Vec::new()));
        let held = turns.take(Place::InLine).await;
        let come = async |place, name| {
            let _turn = turns.take(place).await;
            order.lock().expect("nobody panics with it").push(name);
        };
        let line = join_all(["first", "second", "third"].map(|name| come(Place::InLine, name)));
        pin_mut!(line);
        assert!((&mut line).now_or_never().is_none(), "all are in line");
        let next = come(Place::Next, "next");
        pin_mut!(next);
        assert!((&mut next).now_or_never().is_none());
        drop(held);
        futures::join!(line, next);
        let order = order.lock().expect("nobody panics with it");
        assert!(order.iter().position(|name| *name == "next") < Some(2), "{order:?}");
        assert_eq!(order.iter().filter(|name| **name != "next").collect::<Vec<_>>(), [&"first", &"second", &"third"]);
    }
}
