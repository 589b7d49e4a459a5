//! A typed way through a TOML tree that notes each mistake where it stands and goes on. It knows nothing of plants:
//! every file of the program is read by it. Whatever it could not read is `None`, and then a mistake was noted; a mistake
//! noted is reason enough to refuse the file, whatever else could be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::mistakes::{Log, Mistakes, closest, shown};
use crate::time::Seconds;

/// What a table describes, for keys that mean something in one kind of table alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub &'static str);

impl Kind {
    /// The whole file.
    pub const FILE: Self = Self("file");
}

/// A key that is known and does nothing yet: any value of it, or one.
pub struct NotBuilt {
    /// In which tables.
    pub kind: Kind,
    /// The key.
    pub key: &'static str,
    /// The value, where others are built.
    pub value: Option<&'static str>,
    /// What would be right.
    pub right: &'static str,
}

/// A table and what was taken from it. What is left over at the end is unknown.
pub struct Reader<'a, 'i> {
    log: &'a Log,
    not_built: &'a [NotBuilt],
    kind: Kind,
    path: String,
    start: usize,
    table: &'a DeTable<'i>,
    taken: Vec<&'static str>,
}

/// A value and where it stands.
pub struct Field<'a, 'i> {
    log: &'a Log,
    not_built: &'a [NotBuilt],
    /// Where it stands, as messages name it.
    pub path: String,
    start: usize,
    value: &'a DeValue<'i>,
}

enum Taken<'a, 'i> {
    Absent,
    Refused,
    Is(Field<'a, 'i>),
}

/// Reads a whole file of at most `bytes_max`, refusing `not_built` by name.
///
/// # Errors
/// Every mistake in it, by place; of broken TOML the first alone, because nothing after it can be trusted.
///
/// # Panics
/// If `read` gives `None` and noted no mistake.
pub fn read<T>(
    text: &str,
    bytes_max: usize,
    not_built: &[NotBuilt],
    read: impl FnOnce(&mut Reader<'_, '_>) -> Option<T>,
) -> Result<T, Mistakes> {
    let log = Log::default();
    let value = tree(text, bytes_max, &log).and_then(|tree| {
        let (kind, path, table) = (Kind::FILE, String::new(), &tree);
        Reader { log: &log, not_built, kind, path, start: 0, table, taken: Vec::new() }.all(read)
    });
    match log.into_mistakes(text) {
        Some(mistakes) => Err(mistakes),
        None => Ok(value.expect("what could not be read left a mistake")),
    }
}

/// The file as TOML. A slip of syntax stands alone, because what follows it was guessed; names given twice are told
/// together.
fn tree<'t>(text: &'t str, bytes_max: usize, log: &Log) -> Option<DeTable<'t>> {
    const TWICE: &str = "duplicate key";
    if text.len() > bytes_max {
        log.note(0, "", format!("the file is longer than {} KiB", bytes_max >> 10), "is this the right file?");
        return None;
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if let Some(error) = errors.iter().filter(|error| error.message() != TWICE).min_by_key(|error| start(error)) {
        log.note(start(error), "", format!("not TOML: {}", error.message()), "correct this first; more may follow");
    } else {
        for error in &errors {
            log.note(start(error), "", "this name stands here for the second time", "leave one out, or join the two");
        }
    }
    errors.is_empty().then(|| tree.into_inner())
}

impl<'a, 'i> Reader<'a, 'i> {
    fn all<T>(mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let value = read(&mut self);
        self.note_left_over();
        value
    }

    fn note_left_over(&self) {
        for (key, value) in self.table.iter().filter(|(key, _)| !self.taken.contains(&&**key.get_ref())) {
            let (name, path) = (key.get_ref(), joined(&self.path, key.get_ref()));
            if let Some(row) = self.refused_by_name(name, value.get_ref()) {
                self.log.note(key.span().start, &path, "not built yet", row.right);
                continue;
            }
            let right = match closest(name, self.taken.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known here are {}", self.taken.join(", ")),
            };
            self.log.note(key.span().start, &path, "unknown key", right);
        }
    }

    fn refused_by_name(&self, key: &str, value: &DeValue<'_>) -> Option<&'a NotBuilt> {
        let given = match value {
            DeValue::String(text) => Some(&**text),
            DeValue::Boolean(true) => Some("true"),
            DeValue::Boolean(false) => Some("false"),
            _ => None,
        };
        let here = |row: &&NotBuilt| row.kind == self.kind && row.key == key;
        self.not_built.iter().filter(here).find(|row| row.value.is_none() || row.value == given)
    }

    fn take(&mut self, key: &'static str) -> Taken<'a, 'i> {
        self.taken.push(key);
        let Some((name, value)) = self.table.get_key_value(key) else { return Taken::Absent };
        let path = joined(&self.path, key);
        match self.refused_by_name(key, value.get_ref()) {
            Some(NotBuilt { value: Some(value), right, .. }) => {
                self.log.note(name.span().start, &path, format!("{value} is not built yet"), *right);
                Taken::Refused
            }
            Some(NotBuilt { value: None, right, .. }) => {
                self.log.note(name.span().start, &path, "not built yet", *right);
                Taken::Refused
            }
            None => {
                let Self { log, not_built, .. } = *self;
                Taken::Is(Field { log, not_built, path, start: value.span().start, value: value.get_ref() })
            }
        }
    }

    /// A key that must stand here; `right` says what to write where it does not.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        right: &str,
        read: impl FnOnce(&Field<'a, 'i>) -> Option<T>,
    ) -> Option<T> {
        match self.take(key) {
            Taken::Is(field) => read(&field),
            Taken::Refused => None,
            Taken::Absent => {
                self.note_missing(key, right);
                None
            }
        }
    }

    /// A key that may stand here.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'a, 'i>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.take(key) {
            Taken::Is(field) => read(&field).map(Some),
            Taken::Refused => None,
            Taken::Absent => Some(None),
        }
    }

    /// A key with a default.
    pub fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Field<'a, 'i>) -> Option<T>,
    ) -> Option<T> {
        self.optional(key, read).map(|value| value.unwrap_or(default))
    }

    /// Whether the key stands here at all, however it reads.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes that a key is wanted here.
    pub fn note_missing(&self, key: &str, right: &str) {
        self.log.note(self.start, &joined(&self.path, key), "missing", right);
    }

    /// Notes a mistake at a key that stands here.
    pub fn note_at(&self, key: &str, what: impl Into<String>, right: impl Into<String>) {
        let start = self.table.get_key_value(key).map_or(self.start, |(key, _)| key.span().start);
        self.log.note(start, &joined(&self.path, key), what, right);
    }
}

fn joined(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare && key.len() < 80 { key.to_owned() } else { shown(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

impl<'a, 'i> Field<'a, 'i> {
    /// Notes a mistake here; `None`, so that a reader can end with it.
    pub fn wrong<T>(&self, what: impl Into<String>, right: impl Into<String>) -> Option<T> {
        self.log.note(self.start, &self.path, what, right);
        None
    }

    fn wrong_type<T>(&self, right: &str) -> Option<T> {
        self.wrong(format!("{} is wrong here", with_article(self.value)), right)
    }

    /// What is refused by name in this file.
    pub const fn not_built(&self) -> &'a [NotBuilt] {
        self.not_built
    }

    /// A text.
    pub fn text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type("write text in double quotes"),
        }
    }

    /// Whether it is a list, where something else may stand as well.
    pub const fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_type("write true or false, without quotes"),
        }
    }

    /// A whole number in a range.
    pub fn number<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let right = format!("write a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value else { return self.wrong_type(&right) };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        match number.and_then(|n| T::try_from(n).ok()) {
            Some(number) => Some(number),
            None => self.wrong(format!("{:.20} is out of range", integer.as_str()), right),
        }
    }

    /// A text that is a `T`.
    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let (what, right) = advice(&error);
                self.wrong(what, right)
            }
        }
    }

    /// A span of time in a range.
    pub fn duration(&self, range: RangeInclusive<Seconds>) -> Option<Seconds> {
        let DeValue::String(_) = self.value else {
            return self.wrong_type("write a duration in double quotes, for example \"15m\"");
        };
        let span: Seconds = self.parsed()?;
        if range.contains(&span) {
            return Some(span);
        }
        let right = format!("write a duration from {} to {}", range.start(), range.end());
        self.wrong(format!("{span} is out of range"), right)
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let right = match closest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write {}", known.join(" or ")),
        };
        self.wrong(format!("{} is not known here", shown(text)), right)
    }

    /// A text of 1 to `chars_max` characters without control characters, but for those of `controls`.
    pub fn plain_text(&self, chars_max: usize, controls: &[char]) -> Option<String> {
        // Lines may end as Windows ends them.
        let text = self.text()?.replace("\r\n", "\n");
        if text.trim().is_empty() {
            return self.wrong("empty", "write a text");
        }
        if text.chars().count() > chars_max {
            return self.wrong("too long", format!("write at most {chars_max} characters"));
        }
        match text.chars().find(|c| c.is_control() && !controls.contains(c)) {
            Some(c) => self.wrong(format!("holds the control character {c:?}"), "leave it out"),
            None => Some(text),
        }
    }

    /// A list, empty or not.
    pub fn list<T>(&self, mut read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        let DeValue::Array(array) = self.value else {
            return self.wrong_type("write a list in square brackets");
        };
        let entries = array.iter().enumerate().map(|(n, entry)| {
            read(&Field {
                path: format!("{}[{}]", self.path, n + 1),
                start: entry.span().start,
                value: entry.get_ref(),
                ..*self
            })
        });
        // Read to the end before giving up: each entry's mistakes count.
        entries.collect::<Vec<_>>().into_iter().collect()
    }

    /// A list of at least one.
    pub fn filled_list<T>(&self, right: &str, read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        let list = self.list(read)?;
        if list.is_empty() { self.wrong("empty", right) } else { Some(list) }
    }

    /// A list in which nothing stands twice.
    pub fn set<T: Ord + Clone + Display>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<BTreeSet<T>> {
        let mut seen = BTreeSet::new();
        self.list(|entry| {
            let value = read(entry)?;
            if seen.insert(value.clone()) {
                Some(value)
            } else {
                entry.wrong(format!("{value} stands here twice"), "leave one out")
            }
        })
        .map(|list| list.into_iter().collect())
    }

    /// A set of at least one.
    pub fn filled_set<T: Ord + Clone + Display>(
        &self,
        right: &str,
        read: impl Fn(&Self) -> Option<T>,
    ) -> Option<BTreeSet<T>> {
        let set = self.set(read)?;
        if set.is_empty() { self.wrong("empty", right) } else { Some(set) }
    }

    /// A table.
    pub fn table<T>(&self, kind: Kind, read: impl FnOnce(&mut Reader<'a, 'i>) -> Option<T>) -> Option<T> {
        let DeValue::Table(table) = self.value else {
            return self.wrong_type("write a table, as the examples show");
        };
        let Self { log, not_built, .. } = *self;
        Reader { log, not_built, kind, path: self.path.clone(), start: self.start, table, taken: Vec::new() }.all(read)
    }

    /// Tables by name. A name that reads is there whether or not its table does, so that it can be referred to.
    pub fn named<K: FromStr<Err: Display> + Ord, V>(
        &self,
        kind: Kind,
        mut read: impl FnMut(&K, &mut Reader<'a, 'i>) -> Option<V>,
    ) -> Option<BTreeMap<K, Option<V>>> {
        self.entries("write a table for each, as the examples show", |name, field| {
            field.table(kind, |reader| read(name, reader))
        })
    }

    /// Values by name. A name that reads is there whether or not its value does.
    pub fn entries<K: FromStr<Err: Display> + Ord, V>(
        &self,
        right: &str,
        mut read: impl FnMut(&K, &Self) -> Option<V>,
    ) -> Option<BTreeMap<K, Option<V>>> {
        let DeValue::Table(table) = self.value else { return self.wrong_type(right) };
        let mut all = BTreeMap::new();
        for (key, value) in table {
            let path = joined(&self.path, key.get_ref());
            match key.get_ref().parse::<K>() {
                Ok(name) => {
                    let field = Field { path, start: value.span().start, value: value.get_ref(), ..*self };
                    let read = read(&name, &field);
                    if all.insert(name, read).is_some() {
                        field.wrong::<()>("stands here twice, in two ways of writing it", "leave one out");
                    }
                }
                Err(error) => {
                    let (what, right) = advice(&error);
                    self.log.note(key.span().start, &path, what, right);
                }
            }
        }
        Some(all)
    }

    /// The same value, called otherwise in messages.
    pub fn called(&self, path: String) -> Self {
        Self { path, ..*self }
    }

    /// The text under a key of this table, if it is one: to name the table by before it is read.
    pub fn peek(&self, key: &str) -> Option<&'a str> {
        match self.value {
            DeValue::Table(table) => table.get(key).and_then(|value| value.get_ref().as_str()),
            _ => None,
        }
    }
}

/// What is wrong and what would be right: errors of this crate's names, spans and addresses say both, a colon between.
fn advice(error: &impl Display) -> (String, String) {
    let message = error.to_string();
    match message.rsplit_once(": ") {
        Some((what, right)) => (what.to_owned(), right.to_owned()),
        None => (message, "write another".to_owned()),
    }
}

fn with_article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
