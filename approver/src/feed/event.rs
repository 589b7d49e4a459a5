//! What leaves the plant of an event: one JSON object on one line, in ASCII. The one redactor stands here. It names what
//! may leave and lets nothing else pass, so that a field somebody adds to an event stays inside until it is named here.

use jiff::Timestamp;
use policies::events::{Ending, Event};
use policies::ids::PersonId;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Cursor;

/// Something the feed tells, without its place in the feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    at: Timestamp,
    id: &'static str,
    category: &'static str,
    kind: String,
    is_failure: bool,
    /// Its index in the journal, where it stands there.
    journal: Option<u64>,
    about: Map<String, Value>,
}

/// Fields of an event that leave as they are. Ids, names of the plant file, words of a fixed list, times and numbers; no
/// text that a person typed, no key, no signature, no link.
const LEAVES: &[&str] = &[
    "deployment",
    "person",
    "kind",
    "provider",
    "holder",
    "vendor",
    "role",
    "groups",
    "sponsor",
    "by",
    "expires",
    "until",
    "end",
    "plant",
    "credential",
    "guest",
    "request",
    "ask",
    "session",
    "technician",
    "target",
    "service",
    "actions",
    "source",
    "factors",
    "node",
    "nodes",
    "version",
    "deadline",
    "ending",
    "why",
    "cut",
    "scope",
    "zone",
    "pack",
    "from",
    "on",
    "administrator",
    "operator",
    "rule",
    "expected",
    "got",
];

/// Fields that leave from inside an event, and what they are called outside.
const INSIDE: &[(&str, &str, &str)] = &[
    ("certified", "/certificate/statement/person", "person"),
    ("certified", "/certificate/statement/signer", "by"),
    ("guest-invited", "/invitation/statement/guest", "guest"),
    ("guest-invited", "/invitation/statement/person", "person"),
    ("guest-invited", "/invitation/statement/vendor", "vendor"),
    ("guest-invited", "/invitation/statement/role", "role"),
    ("guest-invited", "/invitation/statement/target", "target"),
    ("guest-invited", "/invitation/statement/until", "until"),
    ("guest-invited", "/invitation/statement/operator", "by"),
    ("guest-invited", "/rule/id", "rule"),
    ("invitations-allowed", "/most", "most"),
    ("invitations-allowed", "/roles", "roles"),
    ("plant-signed", "/signed/statement/plant", "plant"),
    ("plant-signed", "/signed/statement/signer", "by"),
    ("submitted", "/request/id", "request"),
    ("submitted", "/request/technician", "technician"),
    ("submitted", "/request/target", "target"),
    ("submitted", "/request/services", "services"),
    ("submitted", "/request/actions", "actions"),
    ("submitted", "/request/window/from", "from"),
    ("submitted", "/request/window/until", "until"),
    ("submitted", "/request/duration", "seconds"),
    ("submitted", "/request/emergency", "emergency"),
    ("submitted", "/rule/id", "rule"),
    ("voted", "/verdict/statement/matter/about", "on"),
    ("voted", "/verdict/statement/matter/id", "of"),
    ("voted", "/verdict/statement/answer", "answer"),
    ("voted", "/verdict/statement/operator", "by"),
    ("voted-weaker", "/statement/matter/about", "on"),
    ("voted-weaker", "/statement/matter/id", "of"),
    ("voted-weaker", "/statement/answer", "answer"),
    ("voted-weaker", "/statement/operator", "by"),
    ("voted-weaker", "/way", "weaker"),
    ("not-accepted", "/then", "then"),
    ("extension-asked", "/extension/id", "ask"),
    ("extension-asked", "/extension/request", "request"),
    ("extension-asked", "/extension/by", "seconds"),
    ("extension-asked", "/extension/deadline", "deadline"),
    ("widening-asked", "/widening/id", "ask"),
    ("widening-asked", "/widening/request", "request"),
    ("widening-asked", "/widening/actions", "actions"),
    ("widening-asked", "/widening/lasts", "seconds"),
    ("erasure-signed", "/signed/statement/session", "session"),
    ("erasure-signed", "/signed/statement/signer", "by"),
    ("released", "/of", "held_by"),
    ("cut", "/of", "of"),
    ("refused", "/reason", "reason"),
    ("refused", "/asked/actions", "actions"),
    ("refused", "/asked/service", "service"),
    ("refused", "/asked/emergency", "emergency"),
    ("refused", "/asked/lacks", "lacks"),
    ("reopened", "/reopening/cut", "cut"),
    ("reopened", "/verdict/statement/operator", "by"),
    ("closed-out", "/close_out/request", "request"),
    ("closed-out", "/close_out/work/last", "session"),
    ("closed-out", "/verdict/statement/operator", "by"),
    ("restored", "/administrator/statement/signer", "administrator"),
    ("restored", "/operator/statement/signer", "operator"),
    ("restored", "/administrator/statement/node", "node"),
    ("restored", "/administrator/statement/restore", "restore"),
];

/// Longer texts are none of those that may leave.
const TEXT_CHARS_MAX: usize = 400;
const LIST_MAX: usize = 64;

impl Told {
    /// An entry of the journal.
    pub fn journaled(index: u64, at: Timestamp, event: &Event) -> Self {
        let inside: Value = serde_json::from_slice(&event.encode()).expect("what was encoded is JSON");
        let kind = inside["event"].as_str().expect("an event has a name").to_owned();
        let about = redacted(&kind, &inside);
        let (id, category) = (event.id(), category(event.id()));
        Self { at, id, category, kind, is_failure: is_failure(event), journal: Some(index), about }
    }

    /// Strangers at one source failed so often, within a minute from `at`; `source` is none where there were too many to
    /// count each.
    pub(super) fn strangers(at: Timestamp, source: Option<&str>, times: u64, how: &'static str) -> Self {
        let about = [("source", source.into()), ("times", times.into()), ("how", how.into())];
        Self::own(at, "HP1901", "stranger", "strangers-failed", true, about)
    }

    /// So many operations of one action passed on a service, and so many were refused, within a minute from `at`.
    pub(super) fn operations(at: Timestamp, of: &super::counts::Operations, passed: u64, refused: u64) -> Self {
        let action = of.action.map(|action| action.as_str());
        let about = [
            ("session", of.session.to_string().into()),
            ("target", of.target.as_str().into()),
            ("service", of.service.as_str().into()),
            ("protocol", of.protocol.as_str().into()),
            ("action", action.into()),
            ("passed", passed.into()),
            ("refused", refused.into()),
        ];
        Self::own(at, "HP1902", "operation", "operations", refused > 0, about)
    }

    /// An alarm stands from now on, or no longer.
    pub(crate) fn alarm(at: Timestamp, kind: &'static str, of: Option<&str>, text: &str, stands: bool) -> Self {
        let (id, word) = if stands { ("HP1903", "alarm-raised") } else { ("HP1904", "alarm-cleared") };
        let about = [("alarm", kind.into()), ("of", of.into()), ("text", plain(text).into())];
        Self::own(at, id, "alarm", word, stands, about)
    }

    /// Somebody saw an alarm that stands.
    pub(crate) fn alarm_seen(at: Timestamp, kind: &'static str, of: Option<&str>, by: PersonId) -> Self {
        let about = [("alarm", kind.into()), ("of", of.into()), ("by", by.to_string().into())];
        Self::own(at, "HP1908", "alarm", "alarm-acknowledged", false, about)
    }

    /// A receiver does not get so many events: they had to be dropped before it took them. How many is not known where it
    /// comes with a cursor of another spool.
    pub(super) fn missed(at: Timestamp, receiver: &str, events: Option<u64>) -> Self {
        let about = [("receiver", receiver.into()), ("events", events.into())];
        Self::own(at, "HP1905", "feed", "missed", true, about)
    }

    /// So many events of the gate's own (no entries of the journal) could not be kept for the feed at all.
    pub(super) fn not_kept(at: Timestamp, events: u64) -> Self {
        Self::own(at, "HP1906", "feed", "not-kept", true, [("events", events.into())])
    }

    /// People are told of something: a group, or everybody where there is none.
    pub(crate) fn notice(
        at: Timestamp,
        notice: &'static str,
        group: Option<&str>,
        request: Option<&str>,
        red: bool,
    ) -> Self {
        let about =
            [("notice", notice.into()), ("group", group.into()), ("request", request.into()), ("red", red.into())];
        Self::own(at, "HP1907", "notice", "told", red, about)
    }

    fn own<const N: usize>(
        at: Timestamp,
        id: &'static str,
        category: &'static str,
        kind: &'static str,
        is_failure: bool,
        about: [(&'static str, Value); N],
    ) -> Self {
        let about = about.into_iter().filter(|(_, value)| !value.is_null());
        let about = about.map(|(name, value)| (name.to_owned(), value)).collect();
        Self { at, id, category, kind: kind.to_owned(), is_failure, journal: None, about }
    }

    /// Its index in the journal, where it stands there.
    pub(super) const fn journal(&self) -> Option<u64> {
        self.journal
    }

    /// The line, with its end.
    pub(super) fn line(&self, source: &str, cursor: &Cursor) -> Vec<u8> {
        let written = Written {
            v: 1,
            cursor: cursor.to_string(),
            time: self.at,
            source,
            category: self.category,
            kind: &self.kind,
            id: self.id,
            result: if self.is_failure { "failure" } else { "success" },
            journal: self.journal,
            about: &self.about,
        };
        let text = serde_json::to_string(&written).expect("a line has string keys and finite numbers");
        let mut line = in_ascii(&text).into_bytes();
        line.push(b'\n');
        line
    }
}

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    cursor: String,
    time: Timestamp,
    source: &'a str,
    category: &'static str,
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<u64>,
    about: &'a Map<String, Value>,
}

/// The redactor.
fn redacted(kind: &str, inside: &Value) -> Map<String, Value> {
    let on_top = LEAVES.iter().filter_map(|name| Some((*name, inside.get(name)?)));
    let deeper = INSIDE.iter().filter(|(event, _, _)| *event == kind);
    let deeper = deeper.filter_map(|(_, at, name)| Some((*name, inside.pointer(at)?)));
    on_top.chain(deeper).filter_map(|(name, value)| Some((name.to_owned(), may_leave(value)?))).collect()
}

fn may_leave(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(plain(text).into()),
        Value::Number(_) | Value::Bool(_) => Some(value.clone()),
        Value::Array(list) => {
            let texts = list.iter().take(LIST_MAX).filter_map(Value::as_str);
            Some(texts.map(plain).collect::<Vec<_>>().into())
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// What would move or hide something where it is read does not leave.
fn plain(text: &str) -> String {
    let words = recordings::words::Words::new(text.chars().take(TEXT_CHARS_MAX).collect::<String>());
    words.to_string()
}

/// So that no reader has to guess an encoding: RFC 5424 wants a mark before anything else (6.4), which readers of JSON
/// stumble over. Beyond ASCII there are characters within strings alone.
fn in_ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            ' '..='~' => text.push(char),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

/// As EVENTS.md groups them.
fn category(id: &str) -> &'static str {
    match id.get(2..4) {
        Some("12") if id.get(4..5) == Some("1") => "secret",
        Some("10") => "installation",
        Some("11") => "people",
        Some("12") => "plant-file",
        Some("13") => "request",
        Some("14") => "session",
        Some("15") => "cut",
        _ => "node",
    }
}

/// Whether something went otherwise than somebody wanted it.
const fn is_failure(event: &Event) -> bool {
    match event {
        Event::Denied { .. }
        | Event::AskDenied { .. }
        | Event::Lapsed { .. }
        | Event::NotAccepted { .. }
        | Event::Locked { .. }
        | Event::SubjectContested { .. }
        | Event::Refused { .. }
        | Event::HostKeyMismatch { .. }
        | Event::RecorderFailed { .. }
        | Event::Reviewed { objection: Some(_), .. }
        | Event::GuestReviewed { objection: Some(_), .. }
        | Event::SessionReviewed { findings: Some(_), .. } => true,
        Event::Ended { ending, .. } => !matches!(
            ending,
            Ending::Left | Ending::TargetClosed | Ending::Expired | Ending::Revoked | Ending::Cut { .. } | Ending::Idle
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../policies/tests/golden/events-1.jsonl");

    fn lines() -> Vec<(Value, Value)> {
        let line = |golden: &str| {
            let event = Event::decode(golden.as_bytes()).unwrap();
            let told = Told::journaled(7, Timestamp::UNIX_EPOCH, &event);
            let line = told.line("mill-3/gate-1", &Cursor::new("abc", 8));
            (serde_json::from_str(golden).unwrap(), serde_json::from_slice(&line).unwrap())
        };
        GOLDEN.lines().map(line).collect()
    }

    fn texts(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::String(text) => found.push((path.to_owned(), text.clone())),
            Value::Array(list) => list.iter().for_each(|value| texts(value, path, found)),
            Value::Object(map) => map.iter().for_each(|(name, value)| texts(value, &format!("{path}/{name}"), found)),
            _ => {}
        }
    }

    #[test]
    fn of_every_event_nothing_leaves_that_is_a_text_a_key_a_signature_or_a_link() {
        const STAYS: &[&str] = &[
            "text",
            "note",
            "name",
            "keys",
            "key",
            "signature",
            "link",
            "log_key",
            "checkpoint",
            "nonce",
            "recipients",
            "recipient",
        ];
        for (golden, line) in lines() {
            let mut inside = Vec::new();
            texts(&golden, "", &mut inside);
            let outside = line.to_string();
            let secret = |path: &str| {
                let is_reason = path.ends_with("/reason") && golden["event"] != "refused";
                is_reason || STAYS.iter().any(|name| path.ends_with(&format!("/{name}")))
            };
            for (path, text) in inside.iter().filter(|(path, text)| secret(path) && text.len() > 2) {
                assert!(!outside.contains(text.trim()), "{path} of {} leaves: {outside}", golden["event"]);
            }
        }
    }

    #[test]
    fn every_event_says_who_and_what_as_far_as_ids_go() {
        for (golden, line) in lines() {
            let mut inside = Vec::new();
            texts(&golden, "", &mut inside);
            let about = line["about"].to_string();
            let is_id = |text: &&(String, String)| {
                text.1.len() == 28
                    && text.1.as_bytes()[1] == b'_'
                    && !text.0.ends_with("/link")
                    && !text.0.contains("founders")
            };
            for (path, id) in inside.iter().filter(is_id) {
                assert!(about.contains(id.as_str()), "{path} of {} is missing: {about}", golden["event"]);
            }
            assert_eq!((&line["id"], &line["type"], &line["journal"]), (&golden["id"], &golden["event"], &7.into()));
        }
    }

    #[test]
    fn what_is_in_the_feed_alone_is_documented_and_nothing_else_is() {
        let documented = include_str!("../../../docs/EVENTS.md").split_once("\n## The feed\n").unwrap().1;
        let documented: Vec<&str> = documented.lines().filter_map(|line| line.strip_prefix("| HP")?.get(..4)).collect();
        let written = include_str!("event.rs").split_once("#[cfg(test)]").unwrap().0;
        let mut written: Vec<&str> = written.split("\"HP").skip(1).filter_map(|rest| rest.get(..4)).collect();
        written.sort_unstable();
        written.dedup();
        assert_eq!(written, documented);
    }

    #[test]
    fn a_line_is_ascii_and_one_line_whatever_is_in_it() {
        let told = Told::alarm(Timestamp::UNIX_EPOCH, "witness", Some("w"), "a\r\nb \u{202e}ü😀\u{1b}[2J", true);
        let line = told.line("mill-3/gate-1", &Cursor::new("abc", 1));
        assert!(line.is_ascii() && line.iter().filter(|byte| **byte < b' ').count() == 1, "{line:?}");
        let read: Value = serde_json::from_slice(&line).unwrap();
        let text = read["about"]["text"].as_str().unwrap();
        assert!(text.contains('ü') && !text.contains(['\u{202e}', '\u{1b}', '\n']), "{text:?}");
    }
}
