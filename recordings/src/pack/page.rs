//! The pages of a pack, to be read in any browser with no server and no network, and to be printed. They hold no script
//! and load nothing. They are a view: made from `evidence.json` alone, so that whoever checks a pack makes them again.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use policies::events::PackOf;

use super::clauses::{Clause, Seen};
use super::evidence::{Checked, Evidence, RequestTold, SessionTold};
use super::inside::{Carried, Copied, Inside, Operated, Said};
use super::manifest::{Made, Source};
use super::sheet::{Item, moment};
use super::{INDEX, session_page};
use crate::words::is_plain;

const STYLE: &str = include_str!("page.css");

/// Every page, by name.
pub(super) fn pages(evidence: &Evidence, of: &PackOf, made: &Made) -> BTreeMap<String, String> {
    let page = Page { evidence, of, made, zone: zone(evidence) };
    let mut pages = BTreeMap::new();
    match (of, evidence.sessions.first()) {
        (PackOf::Session { .. }, Some(session)) => {
            drop(pages.insert(INDEX.to_owned(), page.of_session(session, false)));
        }
        _ => {
            pages.insert(INDEX.to_owned(), page.of_all());
            for session in &evidence.sessions {
                pages.insert(session_page(session.session), page.of_session(session, true));
            }
        }
    }
    pages
}

fn zone(evidence: &Evidence) -> TimeZone {
    TimeZoneDatabase::bundled().get(&evidence.timezone).unwrap_or(TimeZone::UTC)
}

/// A stranger's text as a part of a page: nothing in it is markup, and nothing hides or moves.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if is_plain(c) => f.write_char(c)?,
                _ => f.write_char('\u{fffd}')?,
            }
        }
        Ok(())
    }
}

const fn text(text: &str) -> Escaped<'_> {
    Escaped(text)
}

struct Page<'a> {
    evidence: &'a Evidence,
    of: &'a PackOf,
    made: &'a Made,
    zone: TimeZone,
}

/// Writing into a string never fails.
macro_rules! put {
    ($out:expr, $($part:tt)*) => { writeln!($out, $($part)*).expect("a string takes everything") };
}

impl Page<'_> {
    fn at(&self, at: Timestamp) -> String {
        moment(at, &self.zone)
    }

    fn document(&self, title: &str, body: &str) -> String {
        let style = STYLE.trim();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n<title>{}</title>\n<style>\n{style}\n</style>\n</head>\n\
             <body>\n<main>\n{body}</main>\n</body>\n</html>\n",
            text(title)
        )
    }

    fn plant(&self) -> String {
        format!("{} ({})", self.evidence.plant, self.evidence.deployment)
    }

    // One session

    fn of_session(&self, session: &SessionTold, in_folder: bool) -> String {
        let mut out = String::new();
        if in_folder {
            put!(out, "<p class=\"back\"><a href=\"../{INDEX}\">All of this pack</a></p>");
        }
        put!(out, "<header>");
        put!(out, "<p class=\"kicker\">Evidence of one session · {}</p>", text(&self.plant()));
        let title = format!("{} at {}", short(&session.technician), session.target);
        put!(out, "<h1>{}</h1>", text(&title));
        put!(out, "<p class=\"lead\">{}</p>", self.in_short(session));
        put!(out, "</header>");
        self.checked(&mut out, Some(session));
        self.contents(&mut out, session);
        put!(out, "<h2 id=\"items\">What is known</h2>");
        put!(out, "<p class=\"hint\">Numbers at the right are entries of the journal in this pack, which say so.</p>");
        session.items.iter().for_each(|item| self.item(&mut out, item));
        self.inside(&mut out, session);
        self.clauses(&mut out, &session.clauses);
        self.about(&mut out);
        self.document(&format!("{title}: evidence"), &out)
    }

    fn in_short(&self, session: &SessionTold) -> String {
        let mut words = format!(
            "{} of the vendor {} was connected to <b>{}</b> ({}) ",
            text(&session.technician),
            text(&session.vendor),
            text(&session.target),
            text(&session.service)
        );
        match session.ended {
            Some(ended) => write!(words, "from {} to {}.", self.at(session.started), self.at(ended)),
            None => write!(words, "from {}; it ran when this was made.", self.at(session.started)),
        }
        .expect("a string takes everything");
        if session.reason.is_empty() {
            words.push_str(" The reason given is not in this pack.");
        } else {
            write!(words, " The reason given: <q>{}</q>.", text(&session.reason)).expect("a string takes everything");
        }
        let listed =
            |names: &[String]| names.iter().map(|name| text(name).to_string()).collect::<Vec<_>>().join(" and ");
        let (signed, weaker) = (listed(&session.approved_by), listed(&session.approved_weaker));
        match (signed.is_empty(), weaker.is_empty()) {
            (true, true) => words.push_str(" Nobody approved it."),
            (false, true) => words.push_str(&format!(" On the signed word of {signed}.")),
            (true, false) => words.push_str(&format!(" Without a signature: the gate says that {weaker} approved it.")),
            (false, false) => words.push_str(&format!(
                " On the signed word of {signed}; without a signature the gate says that {weaker} approved it, too."
            )),
        }
        if let Some(ending) = &session.ending {
            write!(words, " It ended because {}.", text(ending)).expect("a string takes everything");
        }
        words
    }

    fn contents(&self, out: &mut String, session: &SessionTold) {
        put!(out, "<nav><a href=\"#items\">What is known</a> <a href=\"#done\">What was done</a>");
        put!(out, "<a href=\"#clauses\">Index by clause</a> <a href=\"#about\">About this pack</a>");
        put!(out, "<span class=\"id\">{}</span></nav>", session.session);
    }

    fn item(&self, out: &mut String, item: &Item) {
        put!(out, "<section class=\"item\" id=\"item-{}\">", item.number);
        put!(out, "<h3><span class=\"number\">{}</span> {}</h3>", item.number, text(&item.title));
        put!(out, "<dl>");
        for line in &item.lines {
            let class = if line.missing { " class=\"missing\"" } else { "" };
            let entry = line.entry.map(|entry| format!("<span class=\"entry\">{entry}</span>")).unwrap_or_default();
            put!(out, "<div{class}><dt>{}</dt><dd>{}{entry}</dd></div>", text(&line.label), text(&line.text));
        }
        put!(out, "</dl>\n</section>");
    }

    fn inside(&self, out: &mut String, session: &SessionTold) {
        put!(out, "<h2 id=\"done\">What was done</h2>");
        let Some(inside) = &session.inside else {
            put!(
                out,
                "<p class=\"missing\">Not opened: no auditor's key was at hand when this pack was made. The recording lies in \
                 this pack as ciphertext; <code>holdpoint play</code> shows it to whoever has a key.</p>"
            );
            return;
        };
        put!(
            out,
            "<p class=\"hint\">Opened with an auditor's key when this pack was made. What stood on a screen and what was typed \
             in a shell is not told here: <code>holdpoint play</code> shows it.</p>"
        );
        if let Some(fault) = &inside.fault {
            put!(out, "<p class=\"bad\">It could not be read on: {}</p>", text(fault));
        } else if !inside.to_its_end {
            put!(out, "<p class=\"missing\">It has no seal here: what came after is not in this pack.</p>");
        }
        self.said(out, "Commands and connections", &inside.commands);
        self.copied(out, inside);
        self.carried(out, &inside.connections);
        self.operated(out, &inside.operations);
        self.said(out, "What the gate told, did and refused", &inside.gate);
        if inside.more > 0 {
            put!(
                out,
                "<p class=\"missing\">{} more lines are left out here and are in the recording.</p>",
                inside.more
            );
        }
    }

    fn said(&self, out: &mut String, title: &str, said: &[Said]) {
        put!(out, "<h3>{title}</h3>");
        if said.is_empty() {
            put!(out, "<p class=\"hint\">None.</p>");
            return;
        }
        put!(out, "<table><thead><tr><th>When</th><th>Channel</th><th>What</th></tr></thead><tbody>");
        for Said { at, channel, words } in said {
            put!(out, "<tr><td class=\"when\">{}</td><td>{channel}</td><td>{}</td></tr>", self.at(*at), text(words));
        }
        put!(out, "</tbody></table>");
    }

    fn copied(&self, out: &mut String, inside: &Inside) {
        put!(out, "<h3>Files</h3>");
        if inside.files.is_empty() {
            put!(out, "<p class=\"hint\">None.</p>");
            return;
        }
        put!(
            out,
            "<table><thead><tr><th>When</th><th>What</th><th>File</th><th>Bytes</th><th>How it went</th></tr></thead><tbody>"
        );
        for file in &inside.files {
            let Copied { at, operation, path, to, bytes, sha256, allowed, outcome } = file;
            let to = to.as_ref().map(|to| format!(" to {}", text(to))).unwrap_or_default();
            let digest =
                sha256.as_ref().map(|digest| format!("<br><span class=\"digest\">SHA-256 {}</span>", text(digest)));
            let how = if *allowed { text(outcome).to_string() } else { format!("<b>{}</b>", text(outcome)) };
            put!(
                out,
                "<tr><td class=\"when\">{}</td><td>{}</td><td>{}{to}{}</td><td class=\"count\">{bytes}</td><td>{how}</td></tr>",
                self.at(*at),
                text(operation),
                text(path),
                digest.unwrap_or_default()
            );
        }
        put!(out, "</tbody></table>");
    }

    fn carried(&self, out: &mut String, connections: &[Carried]) {
        if connections.is_empty() {
            return;
        }
        put!(out, "<h3>TCP connections</h3>");
        put!(
            out,
            "<table><thead><tr><th>Opened</th><th>Closed</th><th>Channel</th><th>To</th><th>From the technician</th>\
             <th>From the target</th><th>What nobody can tell</th></tr></thead><tbody>"
        );
        for carried in connections {
            let Carried { at, until, channel, kind, to, from_technician, from_target, open } = carried;
            let until = until.map_or_else(|| "open to the end".to_owned(), |until| self.at(until));
            put!(
                out,
                "<tr><td class=\"when\">{}</td><td class=\"when\">{until}</td><td>{channel}</td><td>{} ({})</td>\
                 <td class=\"count\">{from_technician} bytes</td><td class=\"count\">{from_target} bytes</td><td>{}</td></tr>",
                self.at(*at),
                text(to),
                text(kind),
                text(open.as_deref().unwrap_or_default())
            );
        }
        put!(out, "</tbody></table>");
    }

    fn operated(&self, out: &mut String, operations: &[Operated]) {
        if operations.is_empty() {
            return;
        }
        put!(out, "<h3>Operations</h3>");
        put!(
            out,
            "<p class=\"hint\">As the protocol gate read them from what passed; what repeats is told once. The bytes are in the \
             recording: <code>holdpoint export --as pcapng</code> writes them for other programs.</p>"
        );
        put!(
            out,
            "<table><thead><tr><th>When</th><th>Channel</th><th>What</th><th>Object</th><th>Value</th>\
             <th>Passed or refused</th><th>Rule</th></tr></thead><tbody>"
        );
        for operated in operations {
            let Operated { at, until, times, channel, words, protocol, class, code, object, value, rule, .. } =
                operated;
            let until = until.map(|until| format!("<br>until {}", self.at(until))).unwrap_or_default();
            let times = if *times > 1 { format!("<br>{times} times") } else { String::new() };
            let class = class.map_or("unknown", |class| class.as_str());
            let how = match (operated.allowed, &operated.refused) {
                (true, _) => "passed".to_owned(),
                (false, None) => "<b>refused</b>".to_owned(),
                (false, Some(why)) => format!("<b>refused</b>: {}", text(why)),
            };
            put!(
                out,
                "<tr><td class=\"when\">{}{until}{times}</td><td>{channel}</td><td>{}<br>{protocol} {}, {class}</td><td>{}</td>\
                 <td>{}</td><td>{how}</td><td>{}</td></tr>",
                self.at(*at),
                text(words),
                text(code),
                text(object.as_deref().unwrap_or_default()),
                text(value.as_deref().unwrap_or_default()),
                rule.as_ref().map(ToString::to_string).unwrap_or_default()
            );
        }
        put!(out, "</tbody></table>");
    }

    fn clauses(&self, out: &mut String, clauses: &[Clause]) {
        put!(out, "<h2 id=\"clauses\">Index by clause</h2>");
        put!(
            out,
            "<p class=\"hint\">Which clause this pack says something about, and whether it does. No compliance is claimed: a \
             clause asks for more than one session can show, and its text stands in the standard, not here. Nothing counts as \
             observed that was encrypted inside, not opened or not recorded.</p>"
        );
        put!(
            out,
            "<table class=\"clauses\"><thead><tr><th>Clause</th><th>About</th><th>Items</th><th>Seen</th></tr></thead><tbody>"
        );
        let mut standard = "";
        for clause in clauses {
            if clause.standard != standard {
                standard = &clause.standard;
                put!(out, "<tr><th colspan=\"4\" class=\"standard\">{}</th></tr>", text(standard));
            }
            let class = match clause.seen {
                Seen::Observed => "yes",
                Seen::NotObserved => "no",
                Seen::EncryptedInside => "opaque",
            };
            let items: Vec<String> =
                clause.items.iter().map(|item| format!("<a href=\"#item-{item}\">{item}</a>")).collect();
            put!(
                out,
                "<tr><td class=\"clause\">{}</td><td>{}</td><td>{}</td><td class=\"{class}\"><b>{}</b>: {}</td></tr>",
                text(&clause.clause),
                text(&clause.about),
                items.join(" "),
                clause.seen.words(),
                text(&clause.words)
            );
        }
        put!(out, "</tbody></table>");
    }

    // All of a vendor

    fn of_all(&self) -> String {
        let mut out = String::new();
        let (vendor, from, until) = match self.of {
            PackOf::Vendor { vendor, from, until } => (vendor.to_string(), Some(*from), Some(*until)),
            PackOf::Session { session } => (session.to_string(), None, None),
        };
        put!(out, "<header>");
        put!(out, "<p class=\"kicker\">Evidence of a vendor's access · {}</p>", text(&self.plant()));
        put!(out, "<h1>{}</h1>", text(&vendor));
        if let (Some(from), Some(until)) = (from, until) {
            let (sessions, requests) = (self.evidence.sessions.len(), self.evidence.requests.len());
            put!(
                out,
                "<p class=\"lead\">From {} to {}: {sessions} sessions, and {requests} requests, those that were denied, \
                 withdrawn or lapsed among them.</p>",
                self.at(from),
                self.at(until)
            );
        }
        put!(out, "</header>");
        self.checked(&mut out, None);
        self.list_sessions(&mut out);
        self.list_requests(&mut out);
        self.list_refusals(&mut out);
        self.about(&mut out);
        self.document(&format!("{vendor}: evidence"), &out)
    }

    fn list_sessions(&self, out: &mut String) {
        put!(out, "<h2>Sessions</h2>");
        if self.evidence.sessions.is_empty() {
            put!(out, "<p>None in this span.</p>");
            return;
        }
        put!(
            out,
            "<table><thead><tr><th>Began</th><th>Ended</th><th>Technician</th><th>Target</th><th>Why</th><th>It ended because</th>\
             <th>Recording</th></tr></thead><tbody>"
        );
        for session in &self.evidence.sessions {
            let ended = session.ended.map_or_else(|| "it ran".to_owned(), |ended| self.at(ended));
            put!(
                out,
                "<tr><td class=\"when\"><a href=\"{}\">{}</a></td><td class=\"when\">{ended}</td><td>{}</td><td>{} ({})</td>\
                 <td>{}</td><td>{}</td><td>{}</td></tr>",
                session_page(session.session),
                self.at(session.started),
                text(&session.technician),
                text(&session.target),
                text(&session.service),
                text(&session.reason),
                text(session.ending.as_deref().unwrap_or("it has no end here")),
                text(session.recording.as_deref().unwrap_or("none")),
            );
        }
        put!(out, "</tbody></table>");
    }

    fn list_requests(&self, out: &mut String) {
        put!(out, "<h2>Requests</h2>");
        if self.evidence.requests.is_empty() {
            put!(out, "<p>None in this span.</p>");
            return;
        }
        put!(
            out,
            "<table><thead><tr><th>Asked</th><th>Technician</th><th>Target</th><th>For</th><th>Why</th><th>What came of it</th></tr></thead><tbody>"
        );
        for request in &self.evidence.requests {
            let came = match request.sessions.len() {
                0 => format!("<a href=\"#{}\">{}</a>", request.request, text(&request.standing)),
                count => format!("{}, {count} sessions", text(&request.standing)),
            };
            put!(
                out,
                "<tr><td class=\"when\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{came}</td></tr>",
                self.at(request.submitted),
                text(&request.technician),
                text(&request.target),
                text(&request.actions),
                text(&request.reason)
            );
        }
        put!(out, "</tbody></table>");
        let without = self.evidence.requests.iter().filter(|request| request.sessions.is_empty());
        without.for_each(|request| self.request(out, request));
    }

    fn list_refusals(&self, out: &mut String) {
        put!(out, "<h2>Refused by the gate at once</h2>");
        if self.evidence.refusals.is_empty() {
            put!(out, "<p>Nothing in this span.</p>");
            return;
        }
        put!(
            out,
            "<table><thead><tr><th>When</th><th>Technician</th><th>Target</th><th>What, and why not</th><th>Entry</th></tr></thead><tbody>"
        );
        for refusal in &self.evidence.refusals {
            put!(
                out,
                "<tr><td class=\"when\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                self.at(refusal.at),
                text(&refusal.technician),
                text(refusal.target.as_deref().unwrap_or_default()),
                text(&refusal.in_words),
                refusal.entry
            );
        }
        put!(out, "</tbody></table>");
    }

    fn request(&self, out: &mut String, request: &RequestTold) {
        put!(out, "<h2 id=\"{}\">Request without a session: {}</h2>", request.request, text(&request.standing));
        for item in &request.items {
            let mut section = String::new();
            self.item(&mut section, item);
            // Other requests on this page have the same items.
            out.push_str(&section.replacen(&format!(" id=\"item-{}\"", item.number), "", 1));
        }
    }

    // Both

    fn checked(&self, out: &mut String, session: Option<&SessionTold>) {
        let Checked { verdict, wrong, logs, restored, events, signatures } = &self.evidence.checked;
        let is_wrong = verdict == "not-whole";
        put!(out, "<section class=\"checked {}\">", if is_wrong { "bad" } else { "good" });
        put!(out, "<h2>What was checked</h2>");
        if is_wrong {
            put!(out, "<p><b>NOT WHOLE.</b> When this pack was made, these were found wrong:</p><ul>");
            wrong.iter().take(20).for_each(|wrong| put!(out, "<li>{}</li>", text(wrong)));
            put!(out, "</ul>");
        } else {
            let of_what = match session {
                Some(_) => "the recording of this session",
                None => "the recordings in this pack",
            };
            put!(
                out,
                "<p>When this pack was made, nothing was found altered, dropped or reordered in the journal and in {of_what}. \
                 {events} events were followed and {signatures} signatures of people checked, each back to the people in the \
                 auditor's trust file.</p>"
            );
        }
        put!(
            out,
            "<p class=\"bold\">Do not believe this page: check it. <code>holdpoint verify PACK --trust trust.toml</code>, with \
             <em>your own</em> trust file, checks all of it and makes this page again to compare.</p>"
        );
        for (at, entry) in restored {
            put!(
                out,
                "<p class=\"bold\">On {} the gate was RESTORED from an earlier state. What was lost then, an administrator and \
                 an operator signed in entry {entry} of the journal; <code>holdpoint verify</code> shows it.</p>",
                self.at(*at)
            );
        }
        put!(out, "<dl>");
        for log in logs {
            let signed = log.signed_at.map(|at| format!(", last signed {}", self.at(at))).unwrap_or_default();
            let root = log.root.as_deref().unwrap_or("none");
            put!(
                out,
                "<div><dt>{}</dt><dd>{} entries{signed}<br><span class=\"digest\">root {}</span></dd></div>",
                text(&log.origin),
                log.entries,
                text(root)
            );
        }
        put!(out, "</dl>\n</section>");
    }

    fn about(&self, out: &mut String) {
        let Made { at, program, from, opened } = self.made;
        put!(out, "<section class=\"about\" id=\"about\">\n<h2>About this pack</h2>");
        let from = match from {
            Source::Gate => "from the running gate, which wrote into the journal that it was made, and by whom",
            Source::Folder => "from a copied data folder: that it was made stands in no journal",
        };
        let opened =
            if *opened { "An auditor's key opened the recording." } else { "No auditor's key opened the recording." };
        put!(out, "<p>Made {} by holdpoint {}, {from}. {opened}</p>", self.at(*at), text(program));
        put!(out, "<ul>");
        for point in [
            "Checked: what the box at the top names. The journal is here whole, so that every signature can be followed from the \
             first people on; of others' requests it holds identifiers and digests, and no text of theirs is here.",
            "Not checked: whether the gate's clock was right. Times are the gate's word, shown in the plant's time.",
            "Not checked: names. They are what the gate's directory had when this was made; what is signed are identifiers. Reasons \
             and work orders are checked against the digests in the journal.",
            "Not checked: what came after the journal's last entry here, and entries newer than the last approval, which a \
             broken-into gate could have taken back.",
            "Not in it: what no version of the program records yet is named where it is missing.",
            "This page is a view. The evidence is <code>data</code>; <code>docs/FORMAT.md</code> says what its bytes mean, for a \
             verifier of somebody else's. <code>trust.toml</code> is a copy of what the maker trusted: use your own.",
        ] {
            put!(out, "<li>{point}</li>");
        }
        put!(out, "</ul>\n</section>");
    }
}

/// A name without its identifier.
fn short(name: &str) -> &str {
    name.split(" (p_").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_a_stranger_typed_is_markup_or_hides(typed: String) {
            let escaped = text(&typed).to_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']), "{}", escaped);
            prop_assert!(escaped.chars().all(is_plain));
            let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            let rest = entities.iter().fold(escaped, |rest, entity| rest.replace(entity, ""));
            prop_assert!(!rest.contains('&'));
        }
    }
}
