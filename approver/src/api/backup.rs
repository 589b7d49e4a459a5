//! A backup of a running gate, as one stream that stock tools open: tar, zstd, age. All that is evidence, up to one moment
//! (the journal's first, so that what it tells is there), the directory of people, the configuration, and the gate's keys
//! as they lie sealed on the disk; what opens them, a passphrase, a credential or `sealing.key`, is in no backup.
//! The gate goes on meanwhile: logs are read up to where they were durable at that moment, and whatever is written later
//! is not looked at.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use certs::keys::KeyStore;
use futures::{StreamExt as _, future, stream};
use jiff::Timestamp;
use policies::decide::Command;
use policies::ids::SessionId;
use policies::state::SessionFacts;
use policies::version::V1;
use recordings::log::Log;
use recordings::read::{JOURNAL_DIR, OUT_OF_A_BACKUP, RECORDS_DIR};
use serde::Serialize;

use super::Api;
use super::guard::{Asked, Caller};
use super::logs::{self, LogFault};
use super::pieces::{self, STALLED};
use super::problem::Problem;
use super::tar::{self, Content, Member};
use super::types::{BackupHeads, BackupTo};
use crate::directory::Dumped;
use crate::eraser::Copying;

/// What a node keeps in files, beside the directory.
#[derive(Clone)]
pub struct NodeFiles {
    /// The journal's log.
    pub journal: Arc<Log>,
    /// This node's record log.
    pub records: Arc<Log>,
    /// The data folder.
    pub data: PathBuf,
    /// The gate's keys, which are copied as they lie sealed, with what lies beside them.
    pub keys: Arc<KeyStore>,
    /// Files beside it, where they are there.
    pub beside: Vec<PathBuf>,
    /// Keeps what is erased and what is copied apart.
    pub copying: Copying,
}

/// Enough for rows of zeros; what is recorded is compressed already.
const LEVEL: i32 = 3;

pub(super) async fn backup(
    State(api): State<Api>,
    caller: Caller,
    Asked(BackupTo { to }): Asked<BackupTo>,
) -> Result<Response, Problem> {
    let parts = api.parts().files.clone();
    let parts = parts.ok_or_else(|| Problem::unavailable("this node keeps nothing in files: back its stores up"))?;
    let recipients = recipients(&to)?;
    api.desk().act(Command::Backup { node: api.desk().node().clone(), by: caller.person() }).await?;
    let at = api.clock().wall();
    let copying = parts.copying.begin().await;
    let surveyed = tokio::task::spawn_blocking(move || Contents::survey(&parts, at)).await;
    let mut contents = surveyed.map_err(|_| unreadable())?.map_err(|error| {
        tracing::error!(%error, "a backup cannot be made");
        unreadable()
    })?;
    let (members, left_out) = api.in_the_bucket_alone().await?;
    contents.members.extend(members);
    contents.heads.left_out = left_out;
    // Last: names and second factors of everybody whom the journal knows.
    contents.take_in(&api.desk().directory().dump().await?);
    let heads = serde_json::to_string(&contents.heads).expect("heads have string keys");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::HeaderName::from_static(HEADS), heads),
    ];
    Ok((headers, streamed(contents, recipients, copying, STALLED)).into_response())
}

impl Api {
    /// Recordings of this node whose files are not here any more; where the bucket cannot be had, none, and how many that are.
    async fn in_the_bucket_alone(&self) -> Result<(Vec<Member>, u64), Problem> {
        let (Some(deposits), Some(folder)) = (&self.parts().deposits, &self.parts().records_dir) else {
            return Ok((Vec::new(), 0));
        };
        let ours: Vec<SessionId> = self.desk().with_state(|state| {
            let is_kept = |facts: &SessionFacts| facts.node == *self.desk().node() && facts.erased().is_none();
            state.sessions.iter().filter(|(_, facts)| is_kept(facts)).map(|(id, _)| *id).collect()
        });
        let mut sessions = Vec::new();
        for session in ours {
            let found = self.members_of(folder.clone(), session).await?;
            let is_remote = |member: &Member| matches!(member.content, Content::Remote(_));
            let named = |member: Member| Member { name: format!("data/{}", member.name), ..member };
            let remote: Vec<_> = found.into_iter().filter(is_remote).map(named).collect();
            sessions.extend((!remote.is_empty()).then_some((session, remote)));
        }
        let all = sessions.len() as u64;
        if all > 0
            && let Err(fault) = deposits.can_be_had().await
        {
            tracing::warn!(%fault, sessions = all, "a backup is made without the recordings that lie in the bucket alone");
            return Ok((Vec::new(), all));
        }
        let looked = stream::iter(sessions).map(|(session, members)| whole_there(session, members));
        let there: Vec<_> = looked.buffered(LOOKED_AT_ONCE).filter_map(future::ready).collect().await;
        let left_out = all - there.len() as u64;
        Ok((there.into_iter().flatten().collect(), left_out))
    }
}

/// A recording's files in the bucket, where all of them are there: one that breaks off would break the whole backup off.
async fn whole_there(session: SessionId, members: Vec<Member>) -> Option<Vec<Member>> {
    for member in &members {
        let Content::Remote(remote) = &member.content else { continue };
        let why = match remote.is_there().await {
            Ok(true) => continue,
            Ok(false) => "it is not there".to_owned(),
            Err(fault) => fault.to_string(),
        };
        tracing::warn!(%session, file = member.name, why, "a backup is made without a recording of the bucket");
        return None;
    }
    Some(members)
}

/// Recordings of the bucket are looked at so many at once.
const LOOKED_AT_ONCE: usize = 16;

/// The header that says how far the backup goes.
pub const HEADS: &str = "holdpoint-backup";

fn unreadable() -> Problem {
    Problem::unavailable("the backup cannot be made now. The gate's log says why")
}

fn recipients(to: &str) -> Result<Vec<age::x25519::Recipient>, Problem> {
    let parsed: Result<Vec<_>, _> = to.split(',').map(str::trim).map(age::x25519::Recipient::from_str).collect();
    parsed.map_err(|why| {
        Problem::malformed(format!("a recipient looks like age1… and is printed by `age-keygen`: {why}"))
    })
}

/// What goes into a backup, found out at one moment.
struct Contents {
    heads: BackupHeads,
    members: Vec<Member>,
}

impl Contents {
    fn survey(parts: &NodeFiles, at: Timestamp) -> Result<Self, LogFault> {
        let mut members = Vec::new();
        let installation = parts.keys.for_backup(&parts.beside)?.into_iter();
        members.extend(installation.map(|(name, bytes)| Member { name, content: Content::Bytes(bytes) }));
        let (logs, journal) = logs::members(&parts.journal, &parts.data.join(JOURNAL_DIR), "data/journal")?;
        members.extend(logs);
        let (logs, records) = logs::members(&parts.records, &parts.data.join(RECORDS_DIR), "data/records")?;
        members.extend(logs);
        session_members(&parts.data.join(RECORDS_DIR), &mut members)?;
        members.extend(small(&parts.data.join("cuts"), "data/cuts".to_owned())?);
        let heads = BackupHeads { v: V1, at, journal: journal.head.size, records: records.head.size, left_out: 0 };
        let about = serde_json::to_vec_pretty(&heads).expect("heads have string keys");
        // In the data folder it keeps a gate from starting there as if nothing had come after.
        for name in [format!("data/{OUT_OF_A_BACKUP}"), OUT_OF_A_BACKUP.to_owned()] {
            members.insert(0, Member { name, content: Content::Bytes(about.clone()) });
        }
        Ok(Self { heads, members })
    }

    fn take_in(&mut self, directory: &Dumped) {
        self.members.push(Member { name: "directory.jsonl".to_owned(), content: Content::Bytes(lines(directory)) });
    }

    fn write(self, to: impl Write) -> io::Result<()> {
        let mut packed = zstd::Encoder::new(to, LEVEL)?;
        for Member { name, content } in self.members {
            let written = content.open().and_then(|(length, bytes)| tar::append(&mut packed, &name, length, bytes));
            written.map_err(|error| io::Error::other(format!("{name}: {error}")))?;
        }
        tar::end(&mut packed)?;
        packed.finish()?.flush()
    }
}

/// A file that may be written anew at any time, or not be there.
fn small(path: &Path, name: String) -> io::Result<Option<Member>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Member { name, content: Content::Bytes(bytes) })),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Key files and blocks. Bytes behind what the log names are of blocks that were being kept.
fn session_members(records: &Path, members: &mut Vec<Member>) -> io::Result<()> {
    for path in files_below(&records.join("sessions"))? {
        let name = format!("data/records/{}", path.strip_prefix(records).unwrap_or(&path).display());
        members.push(Member { name, content: Content::Path(path) });
    }
    Ok(())
}

/// All plain files, in folders of folders, in order.
fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = tar::plain_files(dir)?.into_iter().map(|(_, path)| path).collect();
    let entries = match std::fs::read_dir(dir) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files_below(&entry.path())?);
        }
    }
    found.sort();
    Ok(found)
}

#[derive(Serialize)]
struct Line {
    v: V1,
    key: String,
    value: String,
}

/// Keys are text; values are bytes, in base64.
fn lines(directory: &Dumped) -> Vec<u8> {
    let line = |(key, value): &(Vec<u8>, Vec<u8>)| Line {
        v: V1,
        key: String::from_utf8_lossy(key).into_owned(),
        value: data_encoding::BASE64.encode(value),
    };
    directory.iter().flat_map(|entry| super::sessions::line(&line(entry))).collect()
}

/// Made on a thread, as the connection takes it; nothing is erased until it is made, or nobody took a piece for `patience`.
fn streamed(
    contents: Contents,
    recipients: Vec<age::x25519::Recipient>,
    copying: impl Send + 'static,
    patience: Duration,
) -> Body {
    pieces::body("a backup", patience, move |to| {
        let _copying = copying;
        let encryptor = age::Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn age::Recipient));
        let mut sealed = encryptor.map_err(io::Error::other)?.wrap_output(to)?;
        contents.write(&mut sealed)?;
        sealed.finish()?.flush()
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tokio::sync::oneshot;

    use super::*;

    /// A backup of one file for one recipient; what is dropped when nothing has to be kept for it any more.
    fn backed_up(content: Content, patience: Duration) -> (Body, oneshot::Receiver<()>) {
        let heads = BackupHeads { v: V1, at: Timestamp::UNIX_EPOCH, journal: 1, records: 1, left_out: 0 };
        let contents = Contents { heads, members: vec![Member { name: "data/x".to_owned(), content }] };
        let (copying, over) = oneshot::channel::<()>();
        let recipient = age::x25519::Identity::generate().to_public();
        (streamed(contents, vec![recipient], copying, patience), over)
    }

    #[tokio::test]
    async fn half_a_backup_has_no_end() {
        let whole = Content::Bytes(vec![7; 100]);
        let (body, _) = backed_up(whole, STALLED);
        to_bytes(body, usize::MAX).await.unwrap();
        let lost = Content::Path(PathBuf::from("/nowhere/0000.blk"));
        let (body, over) = backed_up(lost, STALLED);
        to_bytes(body, usize::MAX).await.unwrap_err();
        over.await.unwrap_err();
    }

    #[tokio::test]
    async fn whoever_stalls_keeps_nothing_from_being_erased_and_takes_no_half_for_a_whole() {
        let chance = (0..4 << 20).scan(1_u32, |state, _: u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 24) as u8)
        });
        let (body, over) = backed_up(Content::Bytes(chance.collect()), Duration::from_millis(50));
        tokio::time::timeout(Duration::from_secs(60), over).await.expect("given back").unwrap_err();
        to_bytes(body, usize::MAX).await.unwrap_err();
    }

    #[test]
    fn a_backup_is_for_somebody() {
        let one = age::x25519::Identity::generate().to_public().to_string();
        assert_eq!(recipients(&format!("{one},{one}")).unwrap().len(), 2);
        for wrong in ["", "age1", "bob", &format!("{one},")] {
            assert!(recipients(wrong).is_err(), "{wrong}");
        }
    }
}
