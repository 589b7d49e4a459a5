//! What auditors take away: recordings as ciphertext, the journal, and the keys to compare theirs with. Nothing is
//! decrypted here, and nothing could be. That somebody fetches a recording is in the journal before the first byte leaves.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use futures::stream;
use policies::decide::Command;
use policies::ids::SessionId;
use policies::people::Kind;
use policies::refusals::Refusal;
use recordings::disk::RealDisk;
use recordings::segment::{self, SegmentState, SegmentsFault};
use recordings::tlog::folder::{Folder, FolderFault, PublishedFile};
use recordings::tlog::kept::KEPT;

use super::Api;
use super::cards::fingerprints;
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::requests::done;
use super::sessions::line;
use super::tar::{self, Content, Member};
use super::types::{After, Done as Happened, EntryLine, FounderView, Pack, TrustView};
use crate::journal::Entry;

pub(super) async fn ca(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], api.parts().tls_ca.certificate_pem())
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
        ca_pem: parts.tls_ca.certificate_pem(),
        ssh_ca: parts.ssh_ca.known_hosts_line(),
    })
}

/// The session's key files and blocks. What a log that was fetched before says of them lies here by now.
pub(super) async fn recording(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Response, Problem> {
    let facts = api.facts(session)?;
    if let Some((at, _)) = facts.erased {
        return Err(Refusal::Erased(api.desk().with_state(|state| state.clock(at))).into());
    }
    let folder = api.parts().records_dir.clone();
    let folder = folder.ok_or_else(|| Problem::unavailable("this node keeps no recordings: ask the one that does"))?;
    let files = move || tar::plain_files(&segment::session_dir(&folder, session)).map(|files| (folder, files));
    let found = tokio::task::spawn_blocking(files).await.map_err(|_| unreadable())?;
    let (folder, files) = found.map_err(|error| {
        tracing::error!(%session, %error, "a recording cannot be read");
        unreadable()
    })?;
    if files.is_empty() {
        return Err(Problem::not_found("nothing was recorded of this session: it ended before anything was sent"));
    }
    api.desk().act(Command::Fetch { session, by: caller.person() }).await?;
    let member = |path: PathBuf| Member { name: name_of("records", &folder, &path), content: Content::Path(path) };
    Ok(archive(&format!("{session}.tar"), files.into_iter().map(|(_, path)| member(path)).collect()))
}

fn unreadable() -> Problem {
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
    // One read gives all there is: lines are made as they are taken.
    let lines = first.into_iter().take_while(move |entry| entry.index < until);
    let lines = lines.map(|entry| Ok::<_, Infallible>(line(&entry_line(&entry))));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream::iter(lines))).into_response())
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

pub(super) async fn journal(State(api): State<Api>) -> Result<Response, Problem> {
    let folder = api.parts().journal_dir.clone();
    let folder = folder.ok_or_else(|| Problem::unavailable("this journal does not lie in files"))?;
    let records = api.parts().records_dir.clone();
    let found = tokio::task::spawn_blocking(move || {
        let mut members = log_members("journal", &folder)?;
        members.extend(records.map(|log| log_members("records", &log)).transpose()?.into_iter().flatten());
        Ok(members)
    });
    let members = found.await.map_err(|_| unreadable())?.map_err(|fault: ReadFault| {
        tracing::error!(%fault, "the logs' files cannot be read");
        unreadable()
    })?;
    Ok(archive("journal.tar", members))
}

/// Why a log's files cannot be sent.
#[derive(Debug, thiserror::Error)]
enum ReadFault {
    #[error(transparent)]
    Published(#[from] FolderFault),
    #[error(transparent)]
    Segments(#[from] SegmentsFault),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A segment that was retired after it was listed lies in bundles by now, so all is listed again.
const LISTINGS_MAX: u32 = 8;

fn log_members(root: &str, log: &Path) -> Result<Vec<Member>, ReadFault> {
    for _ in 1..LISTINGS_MAX {
        match list_members(root, log) {
            Err(ReadFault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            listed => return listed,
        }
    }
    list_members(root, log)
}

/// A log that goes on: what it published, what witnesses cosigned, then the segments that there are, which go at least as far.
fn list_members(root: &str, log: &Path) -> Result<Vec<Member>, ReadFault> {
    let named = |path: &str, content| Member { name: format!("{root}/{path}"), content };
    let mut members = vec![named(recordings::FORMAT, Content::Path(log.join(recordings::FORMAT)))];
    for PublishedFile { path, bytes } in Folder::new(Arc::new(RealDisk), log).published()? {
        let content = bytes.map_or_else(|| Content::Path(log.join(&path)), Content::Bytes);
        members.push(named(&path, content));
    }
    for (_, path) in tar::plain_files(&log.join(KEPT))? {
        // It may be thinned out before its turn comes.
        let content = Content::Open(File::open(&path)?);
        members.push(Member { name: name_of(root, log, &path), content });
    }
    let segments = segment::segments(&RealDisk, log)?;
    for file in segments.into_iter().filter(|file| file.state != SegmentState::Spare) {
        // It may be retired before its turn comes.
        let content = Content::Open(File::open(&file.path)?);
        members.push(Member { name: name_of(root, log, &file.path), content });
    }
    Ok(members)
}
