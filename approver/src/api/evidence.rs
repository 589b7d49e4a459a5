//! What auditors take away: recordings as ciphertext, the journal, and the keys to compare theirs with. Nothing is
//! decrypted here, and nothing could be. That somebody fetches a recording is in the journal before the first byte leaves.

use std::path::{Path, PathBuf};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use futures::{TryStreamExt as _, stream};
use policies::decide::Command;
use policies::ids::SessionId;
use policies::people::Kind;
use policies::refusals::Refusal;
use recordings::part::{PART, Part};
use recordings::read::{JOURNAL_DIR, RECORDS_DIR};
use recordings::segment;

use super::Api;
use super::cards::fingerprints;
use super::guard::{Asked, At, Caller, Sent};
use super::logs::{self, LogFault};
use super::problem::Problem;
use super::requests::done;
use super::sessions::line;
use super::tar::{self, Content, Member};
use super::types::{
    After, Done as Happened, EntryLine, FilesWanted, FilesWith, FounderView, Pack, Rehearsed, TrustView,
};
use crate::deposits::Remote;
use crate::journal::{Entry, ReadError};

pub(super) async fn ca(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], api.parts().tls_ca.authorities_pem())
}

pub(super) async fn trust(State(api): State<Api>) -> Json<TrustView> {
    let founders = api.desk().with_state(|state| {
        let founders = state.people.values().filter(|person| person.founder);
        let view = |person: &policies::people::Person| FounderView {
            person: person.id,
            role: if person.kind == Kind::Administrator { "administrator" } else { "operator" }.to_owned(),
            fingerprints: fingerprints(&person.founding_keys),
        };
        founders.map(view).collect()
    });
    let parts = api.parts();
    Json(TrustView {
        deployment: api.desk().deployment().clone(),
        logs: parts.logs.iter().map(ToString::to_string).collect(),
        founders,
        ca_pem: parts.tls_ca.authorities_pem(),
        ssh_ca: parts.ssh_ca.known_hosts_lines(),
    })
}

/// The session's key files and blocks. What a log that was fetched before says of them lies here by now.
pub(super) async fn recording(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
    Asked(FilesWanted { with }): Asked<FilesWanted>,
) -> Result<Response, Problem> {
    let facts = api.facts(session)?;
    if let Some((at, _)) = facts.erased() {
        return Err(Refusal::Erased(api.desk().with_state(|state| state.clock(*at))).into());
    }
    let folder = api.parts().records_dir.clone();
    let folder = folder.ok_or_else(|| Problem::unavailable("this node keeps no recordings: ask the one that does"))?;
    if api.members_of(folder.clone(), session).await?.is_empty() {
        return Err(Problem::not_found("nothing was recorded of this session: it ended before anything was sent"));
    }
    api.desk().act(Command::Fetch { session, by: caller.person() }).await?;
    // The logs first: what they tell is there.
    let mut members = match with {
        Some(FilesWith::Logs) => api.logs(&[session]).await?,
        None => Vec::new(),
    };
    members.extend(api.members_of(folder, session).await?);
    Ok(archive(&format!("{session}.tar"), members))
}

/// The files of one recording, as they lie in this folder now.
async fn members_here(folder: PathBuf, session: SessionId) -> Result<Vec<Member>, Problem> {
    let files = move || tar::plain_files(&segment::session_dir(&folder, session)).map(|files| (folder, files));
    let found = tokio::task::spawn_blocking(files).await.map_err(|_| unreadable())?;
    let (folder, files) = found.map_err(|error| {
        tracing::error!(%session, %error, "a recording cannot be read");
        unreadable()
    })?;
    let member = |path: PathBuf| Member { name: name_of("records", &folder, &path), content: Content::Path(path) };
    Ok(files.into_iter().map(|(_, path)| member(path)).collect())
}

pub(super) fn unreadable() -> Problem {
    Problem::unavailable("the recording cannot be read here. The gate's log says why")
}

fn archive(name: &str, members: Vec<Member>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, tar::body(members)).into_response()
}

fn name_of(root: &str, log: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(log).unwrap_or(path);
    format!("{root}/{}", inner.display())
}

/// Read in pieces, as the connection takes them, up to the head of this moment.
pub(super) async fn entries(State(api): State<Api>, Asked(After { after }): Asked<After>) -> Result<Response, Problem> {
    let until = api.desk().head().size;
    let first = api.desk().entries(after).await.map_err(|error| {
        tracing::error!(%error, "the journal cannot be read");
        Problem::unavailable("the journal cannot be read now")
    })?;
    let pieces = stream::try_unfold((api, after, Some(first)), move |(api, next, first)| async move {
        let entries = match first {
            Some(first) => first,
            None => api.desk().entries(next).await.inspect_err(broken_off)?,
        };
        let entries: Vec<Entry> = entries.into_iter().take_while(|entry| entry.index < until).collect();
        let next = entries.last().map(|last| last.index + 1);
        Ok::<_, ReadError>(next.map(|next| (entries, (api, next, None))))
    });
    let lines = pieces
        .map_ok(|entries| stream::iter(entries.into_iter().map(|entry| Ok::<_, ReadError>(line(&entry_line(&entry))))));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines.try_flatten())).into_response())
}

/// Whoever reads gets no more, and no end: the connection breaks off.
fn broken_off(error: &ReadError) {
    tracing::error!(%error, "the journal cannot be read on");
}

fn entry_line(entry: &Entry) -> EntryLine {
    EntryLine {
        index: entry.index,
        at: entry.at,
        id: entry.event.id().to_owned(),
        event: serde_json::to_value(&entry.event).expect("events have string keys"),
        leaf: HEXLOWER.encode(&entry.leaf),
    }
}

/// That somebody makes a pack is in the journal before anything of it leaves.
pub(super) async fn pack(
    State(api): State<Api>,
    caller: Caller,
    Sent(Pack { of }): Sent<Pack>,
) -> Result<Json<Happened>, Problem> {
    let events = api.desk().act(Command::Pack { of, by: caller.person() }).await?;
    Ok(done(&events))
}

/// That an auditor's key opens a recording, the gate can only be told.
pub(super) async fn rehearse(
    State(api): State<Api>,
    caller: Caller,
    Sent(Rehearsed { recipient, session }): Sent<Rehearsed>,
) -> Result<Json<Happened>, Problem> {
    let events = api.desk().act(Command::Rehearse { recipient, session, by: caller.person() }).await?;
    Ok(done(&events))
}

pub(super) async fn journal(State(api): State<Api>) -> Result<Response, Problem> {
    Ok(archive("journal.tar", api.log_files().await?))
}

impl Api {
    /// The files of one recording, as they lie here now, or in the bucket.
    pub(super) async fn members_of(&self, folder: PathBuf, session: SessionId) -> Result<Vec<Member>, Problem> {
        let members = members_here(folder, session).await?;
        let is_whole = members.iter().any(|member| member.name.contains("/keys."));
        let Some(deposits) = self.parts().deposits.as_ref().filter(|_| !is_whole) else { return Ok(members) };
        let found = deposits.files(session).await.map_err(|fault| {
            tracing::error!(%session, %fault, "a recording cannot be read from the bucket");
            Problem::unavailable(
                "the recording lies in the bucket alone, and that cannot be read now. The gate's log says why",
            )
        })?;
        let dir = segment::session_dir(Path::new(RECORDS_DIR), session);
        let member = |(name, remote): (String, Remote)| Member {
            name: dir.join(name).display().to_string(),
            content: Content::Remote(remote),
        };
        Ok(if found.is_empty() { members } else { found.into_iter().map(member).collect() })
    }

    /// The files of both logs, as of now.
    pub(super) async fn log_files(&self) -> Result<Vec<Member>, Problem> {
        let files = self.parts().files.clone();
        let files = files.ok_or_else(|| Problem::unavailable("this journal does not lie in files"))?;
        let copying = files.copying.begin().await;
        let found = tokio::task::spawn_blocking(move || {
            let _copying = copying;
            // The journal first: what it tells of is there.
            let (mut members, _) = logs::members(&files.journal, &files.data.join(JOURNAL_DIR), "journal")?;
            members.extend(logs::members(&files.records, &files.data.join(RECORDS_DIR), "records")?.0);
            Ok(members)
        });
        found.await.map_err(|_| unreadable())?.map_err(|fault: LogFault| {
            tracing::error!(%fault, "the logs' files cannot be read");
            unreadable()
        })
    }

    /// Both logs and the word that of the recordings these alone are there.
    async fn logs(&self, sessions: &[SessionId]) -> Result<Vec<Member>, Problem> {
        let mut members = self.log_files().await?;
        let part = Part { sessions: sessions.iter().copied().collect() }.encode().into_bytes();
        members.push(Member { name: PART.to_owned(), content: Content::Bytes(part) });
        Ok(members)
    }
}
