//! Is a pack what it was, and does all that it tells follow from what is signed? Its data folder is verified like any
//! other; then every text is held against its digest in the journal, and everything that was made is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use certs::trust::Trust;

use super::evidence::{InsideFrom, Sources};
use super::manifest::{FileDigest, Manifest};
use super::story::{Story, entries};
use super::texts::Texts;
use super::{DATA, EVIDENCE, Evidence, MANIFEST, TEXT_BYTES_MAX, TEXTS, TRUST, chosen, derived, files_below, name_of};
use crate::part::{PART, Part};
use crate::read::{AuditorKeys, JOURNAL_DIR, RECORDS_DIR, read_bounded};
use crate::verify::{Checks, Finding, FindingKind, Progress, Remembered, Report, verify};

/// Whether a folder is an unpacked pack.
pub fn is_pack(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

/// Checks an unpacked pack, by a program of this version. What is wrong with its data comes first. Of what the auditor
/// remembers, what lies within the pack's logs must stand there.
pub fn check(checks: &Checks<'_>, program: &str, progress: &mut dyn FnMut(Progress)) -> Report {
    let Checks { folder, trust, keys, remembered, out_of_a_bucket } = *checks;
    let data = folder.join(DATA);
    // A pack is a copy of an earlier moment: what was seen after it says nothing about it.
    let reaches = |head: &&Remembered| {
        let is_the_journals = head.origin.split('/').nth(1) == Some(JOURNAL_DIR);
        let log = if is_the_journals { JOURNAL_DIR } else { RECORDS_DIR };
        head.size <= entries(&data.join(log))
    };
    let remembered: Vec<Remembered> = remembered.iter().filter(reaches).cloned().collect();
    let report = verify(&Checks { folder: &data, trust, keys, remembered: &remembered, out_of_a_bucket }, progress);
    let mut checker = Checker { folder, trust, keys, program, found: Vec::new() };
    checker.all(&report);
    let mut report = report;
    for finding in &mut report.findings {
        if let Some(place) = &mut finding.place {
            place.file = Path::new(DATA).join(&place.file);
        }
    }
    checker.found.into_iter().for_each(|finding| report.find(finding));
    report.of_pack = true;
    report
}

struct Checker<'a> {
    folder: &'a Path,
    trust: &'a Trust,
    keys: Option<&'a AuditorKeys>,
    program: &'a str,
    found: Vec<Finding>,
}

/// Why a part of a pack cannot be used.
type Unusable = (FindingKind, &'static str, String);

impl Checker<'_> {
    fn find(&mut self, kind: FindingKind, file: &str, words: impl Into<String>) {
        self.found.push(Finding::new(kind, words).at(file, 0));
    }

    fn all(&mut self, report: &Report) {
        let manifest = match Manifest::read(self.folder) {
            Ok(manifest) => manifest,
            Err(cause) => return self.find(kind_of(&cause), MANIFEST, format!("cannot be read: {cause}")),
        };
        self.files(&manifest);
        if let Err((kind, file, words)) = self.made_again(&manifest, report) {
            self.find(kind, file, words);
        }
    }

    /// Every file is the one that the manifest names, and no other is there.
    fn files(&mut self, manifest: &Manifest) {
        let names = match files_below(self.folder, Path::new(""), &|_| true) {
            Ok(names) => names,
            Err(cause) => return self.find(FindingKind::NotChecked, "", format!("cannot be read: {cause}")),
        };
        let there: BTreeSet<String> = names.iter().map(|name| name_of(name)).collect();
        for name in there.iter().filter(|name| *name != MANIFEST && !manifest.files.contains_key(*name)) {
            self.find(FindingKind::Stray, name, "the pack's manifest does not name it");
        }
        for (name, digest) in &manifest.files {
            if !there.contains(name) {
                self.find(FindingKind::Missing, name, "the pack's manifest names it, and it is not there");
                continue;
            }
            match FileDigest::of(&self.folder.join(name)) {
                Ok(found) if found == *digest => {}
                Ok(_) => self.find(FindingKind::Altered, name, "it is not the file that the pack's manifest names"),
                Err(cause) => self.find(FindingKind::NotChecked, name, format!("cannot be read: {cause}")),
            }
        }
    }

    fn made_again(&mut self, manifest: &Manifest, report: &Report) -> Result<(), Unusable> {
        self.trust_file()?;
        let data = self.folder.join(DATA);
        let unread = |cause: &dyn std::fmt::Display| {
            (FindingKind::NotChecked, DATA, format!("what the pack tells was not made again: {cause}"))
        };
        let story = Story::read(&data, &manifest.of).map_err(|fault| unread(&fault))?;
        let part = Part::read(&data).map_err(|cause| unread(&cause))?.unwrap_or_default();
        if part.sessions != chosen(&story, &manifest.of) {
            let words = "it names other sessions than the journal has of what this pack is about";
            self.find(FindingKind::Disagree, &format!("{DATA}/{PART}"), words);
        }
        let texts = read(self.folder, TEXTS, Texts::parse)?;
        let wanted = story.texts();
        for digest in texts.wrong(&wanted) {
            let words = format!("a text does not open the digest {digest}, or the journal has no such digest here");
            self.find(FindingKind::Altered, TEXTS, words);
        }
        let told = read(self.folder, EVIDENCE, Evidence::parse)?;
        self.compare(manifest, report, &story, &texts, &told)
    }

    /// The copy in a pack is for whoever has none. It is what its maker trusted, or somebody else's.
    fn trust_file(&mut self) -> Result<(), Unusable> {
        let parse = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| Trust::parse(text).ok());
        if read(self.folder, TRUST, parse)? != *self.trust {
            let words = "the copy in the pack is not your trust file: somebody made the pack by another one";
            self.find(FindingKind::Disagree, TRUST, words);
        }
        Ok(())
    }

    fn compare(
        &mut self,
        manifest: &Manifest,
        report: &Report,
        story: &Story,
        texts: &Texts,
        told: &Evidence,
    ) -> Result<(), Unusable> {
        if manifest.made.program != self.program {
            let words = format!(
                "made by holdpoint {}: what it tells was not made again by this version",
                manifest.made.program
            );
            self.find(FindingKind::Note, MANIFEST, words);
            return Ok(());
        }
        let inside = match (manifest.made.opened, self.keys) {
            (false, _) => InsideFrom::Nothing,
            (true, Some(keys)) => InsideFrom::Keys(keys),
            (true, None) => {
                let words =
                    "made with an auditor's key: without one, what it tells of the recording's inside was not checked";
                self.find(FindingKind::Note, EVIDENCE, words);
                InsideFrom::Told(told)
            }
        };
        let data = self.folder.join(DATA);
        let sources = Sources { data: &data, texts, report, inside };
        let again =
            Evidence::make(&sources, story).map_err(|fault| (FindingKind::NotChecked, EVIDENCE, fault.to_string()))?;
        let expected = derived(&data, story, &again, &manifest.of, &manifest.made);
        for (name, bytes) in &expected {
            self.is_same(name, bytes);
        }
        self.nothing_else(manifest, &expected);
        Ok(())
    }

    fn is_same(&mut self, name: &str, expected: &[u8]) {
        match read_bounded(&self.folder.join(name), TEXT_BYTES_MAX) {
            Ok(bytes) if bytes == expected => {}
            Ok(_) => self.find(FindingKind::Altered, name, "made again from the evidence, it comes out otherwise"),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.find(FindingKind::Missing, name, "it belongs in the pack, and is not there");
            }
            Err(cause) => self.find(FindingKind::NotChecked, name, format!("cannot be read: {cause}")),
        }
    }

    /// What is named and does not follow from anything.
    fn nothing_else(&mut self, manifest: &Manifest, expected: &BTreeMap<String, Vec<u8>>) {
        let is_known =
            |name: &str| matches!(name, TEXTS | TRUST) || name.starts_with("data/") || expected.contains_key(name);
        for name in manifest.files.keys().filter(|name| !is_known(name)) {
            self.find(FindingKind::Stray, name, "no gate and no pack puts this there");
        }
    }
}

fn kind_of(cause: &io::Error) -> FindingKind {
    match cause.kind() {
        io::ErrorKind::InvalidData => FindingKind::Altered,
        io::ErrorKind::NotFound => FindingKind::Missing,
        _ => FindingKind::NotChecked,
    }
}

fn read<T>(folder: &Path, name: &'static str, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Unusable> {
    let bytes = read_bounded(&folder.join(name), TEXT_BYTES_MAX);
    let bytes = bytes.map_err(|cause| (kind_of(&cause), name, format!("cannot be read: {cause}")))?;
    parse(&bytes).ok_or_else(|| (FindingKind::Altered, name, "it is not written as a pack writes it".to_owned()))
}
