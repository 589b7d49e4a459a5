//! What auditors take away: recordings as ciphertext, the journal, and the keys to compare theirs with. Nothing is
//! decrypted here, and nothing could be. That somebody fetches a recording is in the journal before the first byte leaves.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use futures::stream;
use jiff::Timestamp;
use policies::decide::Command;
use policies::ids::SessionId;
use policies::people::Kind;
use policies::refusals::Refusal;
use recordings::disk::RealDisk;
use recordings::segment::{self, SegmentFile, SegmentState, SegmentsFault};

use super::Api;
use super::cards::fingerprints;
use super::guard::{Asked, At, Caller};
use super::problem::Problem;
use super::sessions::line;
use super::tar::{self, Member};
use super::types::{After, EntryLine, FounderView, TrustView};
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

/// The file FORMAT, the session's key files and blocks, and every segment in which a frame of it can be: with these a folder is
/// played and verified elsewhere.
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
    let until = facts.ended.map(|(at, _)| at);
    let found = tokio::task::spawn_blocking(move || members_of(&folder, session, facts.started, until));
    let members = found.await.map_err(|_| unreadable())?.map_err(|fault| {
        tracing::error!(%session, %fault, "a recording cannot be read");
        unreadable()
    })?;
    if members.is_empty() {
        return Err(Problem::not_found("nothing was recorded of this session: it ended before anything was sent"));
    }
    api.desk().act(Command::Fetch { session, by: caller.person() }).await?;
    Ok(archive(&format!("{session}.tar"), members))
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

fn members_of(
    log: &Path,
    session: SessionId,
    started: Timestamp,
    ended: Option<Timestamp>,
) -> Result<Vec<Member>, SegmentsFault> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| SegmentsFault::Io { path, error }
    };
    let keys_dir = segment::session_dir(log, session);
    let keys = tar::plain_files(&keys_dir).map_err(io(&keys_dir))?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let named = |path: PathBuf| Member { name: name_of("records", log, &path), path };
    let mut members = vec![named(log.join(recordings::FORMAT))];
    let segments = segment::segments(&RealDisk, log)?;
    members.extend(segments_of(&segments, session, started, ended).map(|segment| named(segment.path.clone())));
    // Behind the segments: whatever block a leaf there names lies in these files by then.
    members.extend(keys.into_iter().map(|(_, path)| named(path)));
    Ok(members)
}

fn name_of(root: &str, log: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(log).unwrap_or(path);
    format!("{root}/{}", inner.display())
}

/// A segment's head says since when it is written and which sessions were open then; the next one's says until when.
fn segments_of(
    segments: &[SegmentFile],
    session: SessionId,
    started: Timestamp,
    ended: Option<Timestamp>,
) -> impl Iterator<Item = &SegmentFile> {
    let heads: Vec<_> = segments
        .iter()
        .filter_map(|file| match &file.state {
            SegmentState::Used { head, .. } => Some((file, head)),
            SegmentState::Torn | SegmentState::Spare => None,
        })
        .collect();
    let next: Vec<Option<Timestamp>> = heads.iter().skip(1).map(|(_, head)| Some(head.at)).chain([None]).collect();
    heads.into_iter().zip(next).filter_map(move |((file, head), next)| {
        let is_open = head.open.iter().any(|open| open.recording == session);
        // A clock is slewed between the journal's entry and the log's: a moment to either side costs one segment at most.
        let slack = jiff::SignedDuration::from_secs(5);
        let begins_in_time = ended.is_none_or(|ended| head.at <= ended + slack);
        let ends_in_time = next.is_none_or(|next| next + slack >= started);
        (is_open || (begins_in_time && ends_in_time)).then_some(file)
    })
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

pub(super) async fn journal(State(api): State<Api>) -> Result<Response, Problem> {
    let folder = api.parts().journal_dir.clone();
    let folder = folder.ok_or_else(|| Problem::unavailable("this journal does not lie in files"))?;
    let records = api.parts().records_dir.clone();
    let found = tokio::task::spawn_blocking(move || {
        let segments = tar::plain_files(&segment::segments_dir(&folder))?;
        let format = folder.join(recordings::FORMAT);
        let paths = std::iter::once(format).chain(segments.into_iter().map(|(_, path)| path));
        let mut members: Vec<_> = paths.map(|path| Member { name: name_of("journal", &folder, &path), path }).collect();
        members.extend(records.map(|log| end_of(&log)).transpose()?.into_iter().flatten());
        io::Result::Ok(members)
    });
    let members = found.await.map_err(|_| unreadable())?.map_err(|error| {
        tracing::error!(%error, "the journal's files cannot be read");
        unreadable()
    })?;
    Ok(archive("journal.tar", members))
}

/// How far the recordings' log came: without it, nobody could tell a gate that recorded nothing from one whose recordings
/// were taken away.
fn end_of(log: &Path) -> io::Result<Vec<Member>> {
    let segments = segment::segments(&RealDisk, log).map_err(|fault| io::Error::other(fault.to_string()))?;
    let newest = segments.into_iter().rfind(|file| matches!(file.state, SegmentState::Used { .. }));
    let paths = std::iter::once(log.join(recordings::FORMAT)).chain(newest.map(|file| file.path));
    Ok(paths.map(|path| Member { name: name_of("records", log, &path), path }).collect())
}

#[cfg(test)]
mod tests {
    use policies::ids::RequestId;
    use recordings::leaf::Position;
    use recordings::segment::{OpenSession, SegmentHead};
    use recordings::tree::Tree;

    use super::*;

    fn session(n: u128) -> SessionId {
        SessionId::new(RequestId::new(n.into()).ulid())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn used(number: u64, since: i64, open: &[SessionId]) -> SegmentFile {
        let open = open.iter().map(|id| OpenSession::opened(1, *id, [0; 32]));
        let after = Position { segment: 0, offset: 0, link: [0; 32] };
        let head = SegmentHead {
            number,
            id: [0; 16],
            after,
            tree: Tree::default(),
            last: [0; 32],
            at: at(since),
            open: open.collect(),
        };
        SegmentFile { number, path: number.to_string().into(), state: SegmentState::Used { head, end: None } }
    }

    #[test]
    fn every_segment_in_which_a_frame_can_be_is_sent_and_no_other() {
        let ours = session(1);
        let segments =
            [used(0, 0, &[]), used(1, 100, &[]), used(2, 200, &[ours]), used(3, 300, &[]), used(4, 400, &[])];
        let sent = |from, until: Option<i64>| -> Vec<u64> {
            segments_of(&segments, ours, at(from), until.map(at)).map(|segment| segment.number).collect()
        };
        assert_eq!(sent(150, Some(250)), [1, 2]);
        assert_eq!(sent(150, None), [1, 2, 3, 4]);
        assert_eq!(sent(350, Some(360)), [2, 3]);
    }
}
