//! Lists a page at a time.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{AsksView, CardsView, GuestsView, HistoryView, OwnRequestsView, PeopleView, ReviewsView, SessionsView};

/// What of a list is wanted: newest first, a page at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted<I> {
    /// Also those that are over.
    #[serde(default)]
    pub all: bool,
    /// So many at most; [`LISTED_MAX`] where nothing is said, and never more.
    pub limit: Option<usize>,
    /// Those older than this one: what `next` of the page before said.
    pub before: Option<I>,
}

/// No page of a list is longer.
pub const LISTED_MAX: usize = 1_000;

/// One page of a list.
pub trait Page: DeserializeOwned {
    /// What to ask for `before`, where there are older ones.
    fn next(&self) -> Option<String>;
    /// Puts an older page behind this one.
    fn append(&mut self, older: Self);

    /// Where the next page of the list at `path` is, if there is one.
    fn older(&self, path: &str) -> Option<String> {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.next().map(|before| format!("{path}{mark}before={before}"))
    }
}

macro_rules! pages {
    ($($view:ident of $list:ident,)*) => {
        $(impl Page for $view {
            fn next(&self) -> Option<String> {
                self.next.as_ref().map(ToString::to_string)
            }

            fn append(&mut self, older: Self) {
                self.$list.extend(older.$list);
                self.next = older.next;
            }
        })*
    };
}

pages! {
    CardsView of requests,
    OwnRequestsView of requests,
    AsksView of asks,
    SessionsView of sessions,
    PeopleView of people,
    GuestsView of guests,
    ReviewsView of reviews,
    HistoryView of items,
}

/// From where on the journal is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Entries that are known already.
    #[serde(default)]
    pub after: u64,
}
