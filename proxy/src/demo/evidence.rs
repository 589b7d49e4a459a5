//! The end of the story, with the gate gone: a copy of its data folder is replayed and verified with what the auditor
//! has, one byte is changed, and the check finds it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use policies::ids::SessionId;
use recordings::read::{RECORDS_DIR, Recording, Store};
use recordings::segment::{self, segments_dir};

use super::DemoFault;
use super::stage::{Ran, Stage};
use super::story::DONE;

const AUDITOR: &str = "auditor";
/// The copy, the auditor's key and what the auditor trusts, as they are typed in the demo's folder.
const COPY: &str = "auditor/data";
const KEY: &str = "auditor/auditor-1.key";
const TRUST: &str = "auditor/trust.toml";

/// Replays and verifies a session from a copy.
///
/// # Errors
/// The first step that did not end as it was told.
pub(super) async fn check(stage: &mut Stage, session: SessionId) -> Result<(), DemoFault> {
    replayed(stage, session).await?;
    verified(stage).await?;
    found(stage, session).await
}

async fn replayed(stage: &mut Stage, session: SessionId) -> Result<(), DemoFault> {
    stage.step(
        "replayed",
        "The gate is stopped. The auditor has a copy of its data folder, and a key that the gate never had.",
    );
    let copy = stage.folder().join(COPY);
    copy_folder(&stage.folder().join("gate/data"), &copy).map_err(DemoFault::at(&copy))?;
    let session = session.to_string();
    let listed = stage.types(AUDITOR, &["recordings", "--data", COPY], "").await?;
    let is_cut = listed.lines().any(|line| line.contains(&session) && line.ends_with("cut"));
    stage.expect(is_cut, "the session that was cut", &listed)?;
    let play = ["play", &session, "--data", COPY, "--key", KEY];
    let Ran { status, text } = stage.run(AUDITOR, &[&play[..], &["--speed", "100"]].concat(), "").await?;
    stage.expect(status == 0 && text.contains(DONE), "to see what tess did", &text)?;
    stage.so("Her terminal went by, at a hundred times the speed. When did she do it?");
    let hits = stage.types(AUDITOR, &[&play[..], &["--search", DONE]].concat(), "").await?;
    stage.expect(hits.contains(DONE), "the moment to be found", &hits)
}

async fn verified(stage: &mut Stage) -> Result<(), DemoFault> {
    stage.step("verified", "Is everything there, unaltered, and allowed by those the auditor trusts?");
    let Ran { status, text } = verify(stage).await?;
    let last = text.lines().last().unwrap_or_default();
    stage.seen(AUDITOR, last);
    stage.expect(status == 0 && last.starts_with("WHOLE"), "all of it to be whole", &text)
}

async fn found(stage: &mut Stage, session: SessionId) -> Result<(), DemoFault> {
    stage.step("found", "Now somebody changes one byte in the middle of the recording.");
    let (file, offset) = middle_of(&stage.folder().join(COPY), session)?;
    let name = file.strip_prefix(stage.folder().join(COPY)).unwrap_or(&file).display().to_string();
    flip(&file, offset).map_err(DemoFault::at(&file))?;
    stage.so(&format!("byte {offset} of {name} is another one"));
    let Ran { status, text } = verify(stage).await?;
    let last = text.lines().last().unwrap_or_default();
    stage.seen(AUDITOR, last);
    let names_it = last.starts_with("NOT WHOLE") && last.contains(&name);
    stage.expect(status == 1 && names_it, &format!("the change in {name} to be found"), &text)?;
    flip(&file, offset).map_err(DemoFault::at(&file))?;
    let Ran { status, text } = verify(stage).await?;
    stage.expect(status == 0, "the copy to be whole again", &text)?;
    stage.so("Changed back, it is whole again.");
    Ok(())
}

async fn verify(stage: &Stage) -> Result<Ran, DemoFault> {
    stage.run(AUDITOR, &["verify", COPY, "--trust", TRUST, "--key", KEY, "--no-memory"], "").await
}

/// The file and place of a byte between a recording's first frame and its last.
fn middle_of(data: &Path, session: SessionId) -> Result<(PathBuf, u64), DemoFault> {
    let damaged = |fault: &dyn std::fmt::Display| DemoFault::System(io::Error::other(fault.to_string()));
    let store = Store::open(data).map_err(|fault| damaged(&fault))?;
    let recordings = store.list().recordings;
    let recording = recordings.iter().find(|recording| recording.id() == session);
    let Recording { begins, ends, .. } = recording.ok_or_else(|| damaged(&format_args!("no recording {session}")))?;
    let segment = segments_dir(&data.join(RECORDS_DIR)).join(segment::file_name(begins.segment));
    // Where it reaches into a later segment, the first one holds all from its beginning on.
    let until = if begins.segment == ends.segment { ends.offset } else { begins.offset + 1 };
    Ok((segment, begins.offset.midpoint(until)))
}

fn flip(file: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 1], offset)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    super::home::make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(|_| ())?,
        }
    }
    Ok(())
}
