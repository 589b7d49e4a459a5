//! What an auditor saw last of each log, kept on the auditor's own machine: so an older copy of a whole data folder, in which
//! nothing is wrong by itself, is found out the next time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use certs::trust::{LogVerifier, Trust};
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{Recipient, SessionId};
use policies::version::V1;
use recordings::rehearse::Rehearsal;
use recordings::verify::{By, Remembered, Report};
use serde::Deserialize;

use super::showing::plain;

/// The file, as it was read.
pub(super) struct Memory {
    path: PathBuf,
    known: Text,
}

/// One log. It is known by its key, so that two installations of one name are not taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    log: LogVerifier,
    entries: u64,
    root: Digest,
    at: Timestamp,
}

/// A key that opened a recording.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Used {
    recipient: Recipient,
    session: SessionId,
    at: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    version: V1,
    #[serde(default)]
    seen: Vec<Seen>,
    #[serde(default)]
    used: Vec<Used>,
}

/// Why there is no memory to compare with.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemoryFault {
    /// The environment names no home.
    #[error("neither HOME nor XDG_STATE_HOME says where to remember what was seen: use --memory FILE or --no-memory")]
    NoHome,
    /// It is there and says nothing that makes sense, or cannot be read.
    #[error(
        "{path}: {cause}. What you saw before cannot be compared: put the file's backup back, or use --no-memory and know \
         that an older copy is not found out", path = .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

impl Memory {
    /// Where it lies if nobody says otherwise.
    pub(super) fn default_path() -> Result<PathBuf, MemoryFault> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
        Ok(state.ok_or(MemoryFault::NoHome)?.join("holdpoint/seen.toml"))
    }

    /// Reads it; nothing was seen where there is none.
    pub(super) fn read(path: PathBuf) -> Result<Self, MemoryFault> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(MemoryFault::Unreadable { path, cause: cause.to_string() }),
        };
        match parse(&text) {
            Ok(known) => Ok(Self { path, known }),
            Err(cause) => Err(MemoryFault::Unreadable { path, cause }),
        }
    }

    /// What was seen of the logs that are trusted.
    pub(super) fn of(&self, trust: &Trust) -> Vec<Remembered> {
        let ours =
            self.known.seen.iter().filter(|seen| trust.verifier_of(seen.log.0.name()).as_ref() == Some(&seen.log.0));
        let head = |seen: &Seen| Remembered {
            origin: seen.log.0.name().to_owned(),
            size: seen.entries,
            root: seen.root,
            by: By::Auditor { at: seen.at },
        };
        ours.map(head).collect()
    }

    /// When each key opened a recording on this machine.
    pub(super) fn used(&self) -> BTreeMap<Recipient, Timestamp> {
        self.known.used.iter().map(|used| (used.recipient.clone(), used.at)).collect()
    }

    /// Notes that keys opened recordings, to be remembered with the rest.
    pub(super) fn has_used(&mut self, rehearsals: &[Rehearsal], now: Timestamp) {
        for rehearsal in rehearsals.iter().filter(|rehearsal| rehearsal.is_good()) {
            let Some(session) = rehearsal.oldest() else { continue };
            self.known.used.retain(|used| used.recipient != rehearsal.recipient);
            self.known.used.push(Used { recipient: rehearsal.recipient.clone(), session, at: now });
        }
    }

    /// Remembers what a check saw in which nothing was wrong; durable when it returns. What another check has remembered
    /// meanwhile stays, where it is more.
    pub(super) fn remember(self, report: &Report, trust: &Trust, now: Timestamp) -> io::Result<()> {
        let again = Self::read(self.path.clone()).map(|again| again.known).unwrap_or_default();
        let mut used = self.known.used;
        used.extend(
            again
                .used
                .into_iter()
                .filter(|one| used.iter().all(|ours| ours.recipient != one.recipient))
                .collect::<Vec<_>>(),
        );
        let mut seen = again.seen;
        for log in &report.logs {
            let (Some(head), Some(key)) = (log.settled, trust.verifier_of(&log.origin)) else { continue };
            let new = Seen { log: LogVerifier(key), entries: head.size, root: head.root, at: now };
            match seen.iter_mut().find(|known| known.log == new.log) {
                Some(known) if known.entries > new.entries => {}
                Some(known) => *known = new,
                None => seen.push(new),
            }
        }
        write(&self.path, &text_of(&Text { version: V1, seen, used }))
    }
}

/// Why it is none is fit for a terminal.
fn parse(text: &str) -> Result<Text, String> {
    toml::from_str(text).map_err(|wrong| {
        let line = wrong
            .span()
            .map_or(0, |span| text.as_bytes()[..span.start.min(text.len())].split(|byte| *byte == b'\n').count());
        plain(&format!("line {line}: {}", wrong.message()))
    })
}

/// Such a file, as it would be written.
pub(super) fn read_again(text: &str) -> Result<String, String> {
    parse(text).map(|known| text_of(&known))
}

fn text_of(Text { version: V1, seen, used }: &Text) -> String {
    let mut text =
        "# What `holdpoint verify` saw last of each log. One that is shorter now, or another, was set back or \
                    rewritten.\nversion = 1\n"
            .to_owned();
    for Seen { log, entries, root, at } in seen {
        write!(text, "\n[[seen]]\nlog = \"{}\"\nentries = {entries}\nroot = \"{root}\"\nat = \"{at}\"\n", log.0)
            .expect("a string takes everything");
    }
    for Used { recipient, session, at } in used {
        write!(text, "\n# A key that opened a recording.\n[[used]]\nrecipient = \"{recipient}\"\nsession = \"{session}\"\nat = \"{at}\"\n")
            .expect("a string takes everything");
    }
    text
}

/// Whole under its name or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_reads_back_and_a_file_that_says_less_than_it_did_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/seen.toml");
        let keys = certs::keys::KeyStore::create(&folder.path().join("keys"), &certs::keys::Seal::File).expect("keys");
        let key = keys.log_key().verifier("mill-3/journal").expect("a name");
        let seen = vec![Seen { log: LogVerifier(key), entries: 41, root: Digest([7; 32]), at: Timestamp::UNIX_EPOCH }];
        let recipient = format!("age1{}", "q".repeat(58)).parse().expect("a recipient");
        let session = "s_00000000000000000000000005".parse().expect("a session");
        let known = Text { version: V1, seen, used: vec![Used { recipient, session, at: Timestamp::UNIX_EPOCH }] };
        assert_eq!(Memory::read(path.clone()).expect("none yet").known, Text::default());
        write(&path, &text_of(&known)).expect("a file");
        assert_eq!(Memory::read(path.clone()).expect("right").known, known);
        for wrong in ["version = 2\n", "[[seen]]\nlog = \"mill-3\"\n", "seen = 1\n", "colour = 1\n"] {
            std::fs::write(&path, wrong).expect("a file");
            let refused = Memory::read(path.clone()).err().expect("wrong").to_string();
            assert!(refused.contains("seen.toml") && refused.contains("--no-memory"), "{refused}");
        }
    }
}
