//! Evidence packs that the gate makes, for an auditor who sits at a browser. What is in one is the auditor's own
//! `holdpoint evidence` without their key: the same maker, over a copy of the logs and of the recordings as ciphertext, checked by
//! the trust file that came with the question. It takes room and time of the gate's, so there is one at a time, and none
//! that is large: who wants more makes it on their own machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use certs::trust::Trust;
use jiff::Timestamp;
use policies::decide::Command;
use policies::events::PackOf;
use policies::ids::{PersonId, SessionId};
use recordings::pack::{self, DATA, Making, PackFault, Source, Texts, Wanted};
use recordings::segment::session_dir;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Api;
use super::backup::NodeFiles;
use super::evidence::unreadable;
use super::guard::{Caller, Sent};
use super::pieces::{self, STALLED};
use super::problem::Problem;
use super::tar::{self, Content, Member};
use super::types::PackFile;
use crate::packs;

/// Bytes of recordings that go into one: a copy and the file made of it lie beside each other while it is made.
const RECORDED_BYTES_MAX: u64 = 256 << 20;
/// What is to be sealed, in a folder of its own; the file that it is sealed to lies beside it.
const PACK: &str = "pack";

/// One pack is made at a time.
pub(super) struct Packing {
    turn: Arc<Semaphore>,
    making: TaskTracker,
}

impl Default for Packing {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), making: TaskTracker::new() }
    }
}

pub(super) async fn file(
    State(api): State<Api>,
    caller: Caller,
    Sent(PackFile { of, trust }): Sent<PackFile>,
) -> Result<Response, Problem> {
    let trust = Trust::parse(&trust).map_err(|wrong| Problem::malformed(wrong.to_string()))?;
    let files = api.parts().files.clone().ok_or_else(|| Problem::unavailable("this journal does not lie in files"))?;
    let turn = Arc::clone(&api.0.packing.turn)
        .try_acquire_owned()
        .map_err(|_| Problem::unavailable("another evidence pack is being made. Try again when that is done"))?;
    let name = match &of {
        PackOf::Session { session } => format!("{session}.zip"),
        PackOf::Vendor { vendor, .. } => format!("{vendor}.zip"),
    };
    // Whoever goes away meanwhile ends nothing in the middle.
    let making = api.0.packing.making.clone();
    let made = making.spawn(async move {
        let made = api.pack(&files, of, trust, caller.person()).await;
        drop(turn);
        made
    });
    sent(&name, made.await.map_err(|_| unreadable())??)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| unreadable())
}

/// A folder to make it in, where there is room for that beside what recordings need.
/// `remote`: bytes of those that lie in the bucket alone.
fn room(files: &NodeFiles, records: &Path, sessions: &BTreeSet<SessionId>, remote: u64) -> Result<TempDir, Problem> {
    packs::sweep(&files.data).map_err(|cause| not_read(&cause))?;
    let mut bytes = remote;
    for session in sessions {
        for (_, path) in tar::plain_files(&session_dir(records, *session)).map_err(|cause| not_read(&cause))? {
            bytes += path.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    if bytes > RECORDED_BYTES_MAX {
        let most = RECORDED_BYTES_MAX >> 20;
        let why = format!(
            "that is {} MiB of recordings, and the gate packs {most} at most. Ask for less, or make it on your own machine: \
             holdpoint evidence",
            bytes >> 20
        );
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-large", why));
    }
    let needed = bytes + logs_bytes(&files.data).map_err(|cause| not_read(&cause))?;
    let room = files.records.room().map_err(|cause| not_read(&cause))?;
    if room.free < room.reserve.saturating_add(needed.saturating_mul(2)) {
        return Err(Problem::unavailable(
            "there is no room on the gate's disk for that beside what new recordings need. Make it on your own machine: holdpoint evidence",
        ));
    }
    let folder = packs::folder(&files.data).map_err(|cause| not_read(&cause))?;
    fs::create_dir_all(folder.path().join(PACK).join(DATA)).map_err(|cause| not_read(&cause))?;
    Ok(folder)
}

/// Of both logs, without the recordings.
fn logs_bytes(data: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for log in [recordings::read::JOURNAL_DIR, recordings::read::RECORDS_DIR] {
        let mut folders = vec![data.join(log)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true if entry.file_name() != "sessions" => folders.push(entry.path()),
                    true => {}
                    // What is removed meanwhile takes no room.
                    false => bytes += entry.metadata().map_or(0, |metadata| metadata.len()),
                }
            }
        }
    }
    Ok(bytes)
}

fn not_read(cause: &io::Error) -> Problem {
    tracing::error!(%cause, "an evidence pack cannot be made");
    unreadable()
}

fn not_made(cause: PackFault) -> Problem {
    match cause {
        PackFault::NoSuchSession(_) => policies::refusals::Refusal::NoSuchSession.into(),
        cause => {
            tracing::error!(%cause, "an evidence pack cannot be made");
            Problem::unavailable("the evidence pack could not be made. The gate's log says why")
        }
    }
}

impl Api {
    /// One, as a file without a name: with whoever holds it, it goes. Nothing is erased while it is made.
    async fn pack(&self, files: &NodeFiles, of: PackOf, trust: Trust, by: PersonId) -> Result<File, Problem> {
        let records = self.parts().records_dir.clone().ok_or_else(unreadable)?;
        let _copying = files.copying.begin().await;
        let sessions = self.desk().with_state(|state| pack::sessions(state, &of));
        let (parts, mut remote) = (files.clone(), 0);
        for session in &sessions {
            let members = self.members_of(records.clone(), *session).await?;
            let bytes = |member: &Member| if let Content::Remote(remote) = &member.content { remote.bytes } else { 0 };
            remote += members.iter().map(bytes).sum::<u64>();
        }
        let folder = blocking(move || room(&parts, &records, &sessions, remote)).await??;
        self.desk().act(Command::Pack { of: of.clone(), by }).await?;
        let (folder, wanted) = self.gather(folder, &of).await?;
        let texts = self.texts_in(&wanted).await;
        let at = self.clock().wall();
        blocking(move || make(folder, &of, &trust, &texts, at)).await?
    }

    /// A copy of the logs, and of the recordings that go in. The logs first: what they tell is there.
    async fn gather(&self, folder: TempDir, of: &PackOf) -> Result<(TempDir, Wanted), Problem> {
        let (data, of) = (folder.path().join(PACK).join(DATA), of.clone());
        let (logs, into) = (self.log_files().await?, data.clone());
        blocking(move || unpacked(logs, &into)).await?.map_err(|cause| not_read(&cause))?;
        let known = data.clone();
        let wanted = blocking(move || pack::wanted(&known, &of)).await?.map_err(not_made)?;
        let records = self.parts().records_dir.clone().ok_or_else(unreadable)?;
        for session in &wanted.sessions {
            let (files, into) = (self.members_of(records.clone(), *session).await?, data.clone());
            blocking(move || unpacked(files, &into)).await?.map_err(|cause| not_read(&cause))?;
        }
        Ok((folder, wanted))
    }

    /// Names and texts of a pack, as far as they were not erased.
    async fn texts_in(&self, wanted: &Wanted) -> Texts {
        let mut texts = Texts::default();
        for person in &wanted.people {
            let name = self.desk().directory().name_of(*person).await.ok().flatten();
            texts.names.extend(name.map(|name| (*person, name)));
        }
        for digest in &wanted.texts {
            if let Ok(Some((salt, text))) = self.desk().directory().salt_and_text(*digest).await {
                texts.put(*digest, &salt, text);
            }
        }
        texts
    }
}

/// Into a folder that is there: of a pack that was let go nothing comes back.
fn unpacked(members: Vec<Member>, into: &Path) -> io::Result<()> {
    for Member { name, content } in members {
        let inner = Path::new(&name);
        let mut above: Vec<&Path> = inner.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for above in above {
            match fs::create_dir(into.join(above)) {
                Err(known) if known.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        }
        let (length, bytes) = content.open()?;
        io::copy(&mut bytes.take(length), &mut File::create(into.join(inner))?)?;
    }
    Ok(())
}

/// The file that it is sealed to, whose name is gone with the folder.
fn make(folder: TempDir, of: &PackOf, trust: &Trust, texts: &Texts, at: Timestamp) -> Result<File, Problem> {
    let (inside, archive) = (folder.path().join(PACK), folder.path().join("pack.zip"));
    let program = env!("CARGO_PKG_VERSION");
    let making = Making { of, trust, keys: None, texts, at, from: Source::Gate, program };
    pack::make(&inside, &making, &mut |_| {}).map_err(not_made)?;
    pack::seal(&inside, at, &archive).map_err(not_made)?;
    let made = File::open(archive).and_then(|file| folder.close().map(|()| file));
    made.map_err(|cause| not_read(&cause))
}

fn sent(name: &str, mut file: File) -> Result<Response, Problem> {
    let length = file.metadata().map_err(|cause| not_read(&cause))?.len();
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let body = pieces::body("an evidence pack", STALLED, move |mut to| {
        io::copy(&mut file, &mut to)?;
        to.end()
    });
    Ok((headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::super::tar::Content;
    use super::*;

    #[test]
    fn a_folder_that_is_gone_does_not_come_back() {
        let members = || vec![Member { name: "records/sessions/s/0.blk".to_owned(), content: Content::Bytes(vec![7]) }];
        let folder = tempfile::tempdir().unwrap();
        let (there, gone) = (folder.path().to_owned(), folder.path().join("gone"));
        unpacked(members(), &there).unwrap();
        unpacked(members(), &there).unwrap();
        assert_eq!(fs::read(there.join("records/sessions/s/0.blk")).unwrap(), [7]);
        assert_eq!(unpacked(members(), &gone).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!gone.exists());
    }
}
