//! What is left of sessions, read as an auditor reads it: a copied data folder, the auditor's key, no server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use recordings::frame::Stream;
use recordings::notes::Note;
use recordings::read::{AuditorKeys, Moment, Recording, Store, What};

use crate::process::{Ended, run};
use crate::python;

/// An auditor's machine: a copy of the data folder, what the auditor trusts, and the auditor's key.
pub struct Evidence {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Evidence {
    /// Copies what an auditor takes along from an installation and its data folder.
    pub fn take(installation: &Path, data: &Path, program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(data, &folder.path().join("data"));
        for (what, name) in [("trust.toml", "trust.toml"), ("auditors/auditor-1.key", "key")] {
            copy(&installation.join(what), &folder.path().join(name));
        }
        Self { folder, program: program.to_owned() }
    }

    /// The copied data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file beside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `holdpoint verify`, with the auditor's key.
    pub fn verify(&self) -> Ended {
        let arguments = ["verify", "data", "--trust", "trust.toml", "--key", "key"];
        run(&mut self.holdpoint(&arguments), b"")
    }

    /// What the second verifier says, where there is a Python for it.
    pub fn second_opinion(&self) -> Option<Ended> {
        let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings/second-opinion/verify.py");
        let mut check = Command::new(python()?);
        check.arg(verifier).arg("--trust").arg(self.path("trust.toml")).arg(self.data());
        Some(run(&mut check, b""))
    }

    /// That both verifiers end with this code.
    #[track_caller]
    pub fn both_say(&self, code: i32) -> String {
        let verified = self.verify();
        assert_eq!(verified.code(), code, "{}", verified.text());
        if let Some(second) = self.second_opinion() {
            assert_eq!(second.code(), code, "{}", second.text());
        }
        verified.text()
    }

    /// The program, in the folder of the copy.
    pub fn holdpoint(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command
    }

    /// Every recording, opened with the auditor's key.
    pub fn recordings(&self) -> Vec<Opened> {
        let store = Store::open(&self.data()).expect("a data folder");
        let keys = AuditorKeys::read(&self.path("key")).expect("an auditor's key");
        let listing = store.list();
        assert!(listing.damage.is_empty(), "{:?}", listing.damage);
        let open = |recording: Recording| {
            let key = keys.open(store.dir(), &recording.opened).expect("encrypted to this auditor");
            let moments = store.moments(&recording, key).map(|moment| moment.expect("undamaged")).collect();
            Opened { recording, moments }
        };
        listing.recordings.into_iter().map(open).collect()
    }

    /// The only one there is.
    #[track_caller]
    pub fn recording(&self) -> Opened {
        let mut all = self.recordings();
        assert_eq!(all.len(), 1, "recordings");
        all.remove(0)
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder");
        let names = fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        // In their order: `journal` before `records`, as a folder is copied while the gate runs.
        for name in names.collect::<BTreeSet<_>>() {
            copy(&from.join(&name), &to.join(&name));
        }
    } else if from.is_file() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
}

/// A recording and all that happened in it.
pub struct Opened {
    /// What can be known without a key.
    pub recording: Recording,
    /// What happened, in order.
    pub moments: Vec<Moment>,
}

impl Opened {
    /// All bytes of one kind, of every channel, in order.
    pub fn bytes(&self, wanted: Stream) -> Vec<u8> {
        self.channels(wanted).into_values().flatten().collect()
    }

    /// The same for each channel.
    pub fn channels(&self, wanted: Stream) -> BTreeMap<u32, Vec<u8>> {
        let mut channels: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for moment in &self.moments {
            if let What::Data(stream, bytes) = &moment.what
                && *stream == wanted
            {
                channels.entry(moment.channel).or_default().extend_from_slice(bytes);
            }
        }
        channels
    }

    /// What is noted beside the bytes.
    pub fn notes(&self) -> Vec<&Note> {
        let note = |moment| match moment {
            &Moment { what: What::Note(ref note), .. } => Some(note),
            _ => None,
        };
        self.moments.iter().filter_map(note).collect()
    }

    /// Why it ended, as its seal says.
    pub fn ending(&self) -> Option<&str> {
        self.recording.sealed.as_ref().map(|sealed| sealed.ending.as_str())
    }
}
