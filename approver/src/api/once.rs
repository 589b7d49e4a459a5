//! Writes that are sent twice and done once: whoever did not hear the answer sends the same request again, with the same
//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07), and hears what the first one came to. In memory, for
//! this run of the gate, like the proofs that requests carry. With a key a request is carried out to its end, even where
//! whoever sent it has gone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use policies::digest::Digest;
use policies::ids::PersonId;

use super::Api;
use super::problem::Problem;
use crate::clock::Boot;

/// The header's name.
pub const HEADER: &str = "idempotency-key";
/// The refusal while the first of a kind is being done.
pub const STILL_RUNNING: &str = "still-running";
const KEY_BYTES_MAX: usize = 255;
/// As long as a token lasts.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// The eldest gives way.
const KEPT_MAX: usize = 1_024;
/// Of one person; their own eldest gives way, and nobody else's.
const KEPT_OF_ONE_MAX: usize = 64;
/// A longer answer is not kept: whoever asks again is told that it was done.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// No write is answered at greater length.
const READ_BYTES_MAX: usize = 4 << 20;

/// One write, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    by: PersonId,
    /// Who, where, and their key.
    write: Digest,
    body: Digest,
}

impl Mark {
    /// Of a write with a key; none without, and none of a read.
    pub(super) fn of(by: PersonId, parts: &Parts, body: &Bytes) -> Option<Result<Self, Problem>> {
        // What only reads may have no end, under whichever of the safe methods (RFC 9110, 9.2.1).
        let key = parts.headers.get(HEADER).filter(|_| !parts.method.is_safe())?;
        let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
        if !fits {
            return Some(Err(Problem::malformed("an Idempotency-Key has 1 to 255 visible ASCII characters")));
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let write =
            Digest::of("once", &(by.to_string(), parts.method.as_str(), path, key.to_str().unwrap_or_default()));
        Some(Ok(Self { by, write, body: Digest::of_bytes(body) }))
    }
}

/// What a write came to.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    media: Option<HeaderValue>,
    body: Bytes,
}

impl Answer {
    fn response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        if let Some(media) = self.media {
            response.headers_mut().insert(header::CONTENT_TYPE, media);
        }
        response
    }
}

#[derive(Debug)]
enum State {
    Running,
    Done(Answer),
    /// Done, with an answer too long to be kept.
    Told,
}

/// The writes of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Once(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    writes: HashMap<Digest, (Digest, State)>,
    eldest: VecDeque<(Boot, PersonId, Digest)>,
}

impl Kept {
    /// What is over, and the eldest where there are too many; never what runs.
    fn forget(&mut self, now: Boot, newcomer: PersonId) {
        let Self { writes, eldest } = self;
        eldest.retain(|(until, _, write)| {
            let stays = now < *until || runs(writes, write);
            if !stays {
                writes.remove(write);
            }
            stays
        });
        let of_one = eldest.iter().filter(|(_, by, _)| *by == newcomer).count();
        let gives_way = eldest.iter().position(|(_, by, write)| {
            let is_meant = if of_one >= KEPT_OF_ONE_MAX { *by == newcomer } else { eldest.len() >= KEPT_MAX };
            is_meant && !runs(writes, write)
        });
        if let Some((_, _, write)) = gives_way.and_then(|at| eldest.remove(at)) {
            writes.remove(&write);
        }
    }

    fn remove(&mut self, write: &Digest) {
        self.writes.remove(write);
        self.eldest.retain(|(_, _, other)| other != write);
    }
}

fn runs(writes: &HashMap<Digest, (Digest, State)>, write: &Digest) -> bool {
    matches!(writes.get(write), Some((_, State::Running)))
}

impl Once {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No change under this lock can stop halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of its kind goes on; of any other, what is said instead.
    fn begin(&self, mark: Mark, now: Boot) -> Option<Response> {
        let mut kept = self.lock();
        kept.forget(now, mark.by);
        match kept.writes.get(&mark.write) {
            None => {
                kept.writes.insert(mark.write, (mark.body, State::Running));
                kept.eldest.push_back((now.after(KEPT_FOR), mark.by, mark.write));
                None
            }
            Some((body, _)) if *body != mark.body => Some(no(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-used",
                "this Idempotency-Key was sent with another request: take a new one for each",
            )),
            Some((_, State::Running)) => {
                Some(no(StatusCode::CONFLICT, STILL_RUNNING, "this is being done: ask again in a moment"))
            }
            Some((_, State::Told)) => {
                Some(no(StatusCode::CONFLICT, "done-before", "this was done, and its answer was too long to be kept"))
            }
            Some((_, State::Done(answer))) => Some(answer.clone().response()),
        }
    }

    /// A failure is no answer, and nothing was done where it was refused: it may be tried again.
    fn end(&self, mark: Mark, answer: Option<Answer>) {
        let mut kept = self.lock();
        match answer {
            Some(answer) if !answer.status.is_success() => kept.remove(&mark.write),
            None => kept.remove(&mark.write),
            Some(answer) => {
                let is_short = answer.body.len() <= ANSWER_BYTES_MAX;
                let state = if is_short { State::Done(answer) } else { State::Told };
                kept.writes.insert(mark.write, (mark.body, state));
            }
        }
    }
}

fn no(status: StatusCode, id: &'static str, detail: &str) -> Response {
    Problem::new(status, id, detail).into_response()
}

/// Does a write, unless it was done before.
pub(super) async fn once(api: &Api, mark: Mark, write: impl Future<Output = Response> + Send + 'static) -> Response {
    if let Some(said) = api.0.once.begin(mark, api.clock().boot()) {
        return said;
    }
    let turn = Turn { api: api.clone(), mark, answer: None };
    let done = api.desk().to_its_end(async move { turn.take(write.await).await });
    done.await.unwrap_or_else(|fault| Problem::from(fault).into_response())
}

/// Whatever becomes of a write, nobody waits for it for ever.
struct Turn {
    api: Api,
    mark: Mark,
    answer: Option<Answer>,
}

impl Turn {
    async fn take(mut self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, READ_BYTES_MAX).await else {
            return Problem::unavailable("the answer broke off: ask again").into_response();
        };
        let media = parts.headers.get(header::CONTENT_TYPE).cloned();
        self.answer = Some(Answer { status: parts.status, media, body: body.clone() });
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.api.0.once.end(self.mark, self.answer.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(by: u128, number: usize) -> Mark {
        let digest = |of: &str| Digest::of("once", &(of, by.to_string(), number));
        Mark { by: PersonId::new(by.into()), write: digest("write"), body: digest("body") }
    }

    #[test]
    fn whoever_writes_without_end_is_forgotten_and_nobody_else() {
        let once = Once::default();
        let now = Boot(Duration::from_secs(1));
        let done = |mark| {
            let first = once.begin(mark, now).is_none();
            once.end(mark, Some(Answer { status: StatusCode::OK, media: None, body: Bytes::new() }));
            first
        };
        let running = mark(2, usize::MAX);
        assert!(once.begin(running, now).is_none() && done(mark(1, 0)));
        assert!((0..2 * KEPT_MAX).all(|number| done(mark(2, number))));
        assert!(once.begin(mark(1, 0), now).is_some(), "another person's write is remembered");
        assert!(once.begin(running, now).is_some(), "what runs is remembered");
        assert!(once.begin(mark(2, 0), now).is_none(), "the eldest of theirs is not");
        assert!(once.begin(mark(2, 2 * KEPT_MAX - 1), now).is_some());
        let later = now.after(KEPT_FOR);
        assert!(once.begin(mark(1, 0), later).is_none(), "nor is what is over");
    }

    /// What a write is, is who writes, how, where and under which key: each by itself makes it another one.
    #[test]
    fn nobody_is_answered_with_what_somebody_else_wrote() {
        let of = |by: u128, method: &str, path: &str, key: &str, body: &'static [u8]| {
            let request = axum::http::Request::builder().method(method).uri(path).header(HEADER, key);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            Mark::of(PersonId::new(by.into()), &parts, &Bytes::from_static(body)).unwrap().unwrap()
        };
        let (once, now) = (Once::default(), Boot(Duration::from_secs(1)));
        let secret = Answer { status: StatusCode::OK, media: None, body: Bytes::from_static(b"for person 1 alone") };
        let mark = of(1, "POST", "/api/v1/people", "key-1", b"{}");
        assert!(once.begin(mark, now).is_none());
        once.end(mark, Some(secret));
        assert_eq!(once.begin(of(1, "POST", "/api/v1/people", "key-1", b"{}"), now).unwrap().status(), 200);
        for other in [
            of(2, "POST", "/api/v1/people", "key-1", b"{}"),
            of(1, "PUT", "/api/v1/people", "key-1", b"{}"),
            of(1, "POST", "/api/v1/people?x", "key-1", b"{}"),
            of(1, "POST", "/api/v1/people", "key-11", b"{}"),
        ] {
            assert_ne!(other.write, mark.write);
            assert!(once.begin(other, now).is_none(), "it is done, not answered from what was kept");
        }
        let used = once.begin(of(1, "POST", "/api/v1/people", "key-1", b"{ }"), now).unwrap();
        assert_eq!(used.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn many_people_hold_no_more_than_there_is_room_for() {
        let once = Once::default();
        for number in 0..3 * KEPT_MAX {
            let mark = mark(u128::try_from(number).unwrap(), 0);
            once.begin(mark, Boot::default());
            once.end(mark, Some(Answer { status: StatusCode::OK, media: None, body: Bytes::new() }));
        }
        let kept = once.lock();
        assert_eq!((kept.eldest.len(), kept.writes.len()), (KEPT_MAX, KEPT_MAX));
    }
}
