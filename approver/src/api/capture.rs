//! What passes to targets over TCP and back, as it passes, for the plant's intrusion detection.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State as Of;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use policies::decide::Command;
use policies::ids::PersonId;
use policies::people::{Kind, Standing};
use policies::state::State;
use tokio::time::Instant;

use super::Api;
use super::guard::{Asked, Caller};
use super::problem::Problem;
use super::staying::{self, Hangup, Reading};
use super::types::CaptureWanted;
use crate::capture::{Capture, READERS_MAX, Script, Wanted};

/// So long nothing is sent before a block says that the connection stands.
const STILL_EVERY: Duration = Duration::from_secs(5);
/// Packets are sent together up to this.
const TOGETHER_BYTES: usize = 64 << 10;

/// Packets as they come. The place is given up when the connection is, and when the reader no longer counts.
pub(super) async fn capture(
    Of(api): Of<Api>,
    caller: Caller,
    hangup: Hangup,
    Asked(CaptureWanted { target, zone }): Asked<CaptureWanted>,
) -> Result<Response, Problem> {
    let wanted = Wanted { target, zone };
    api.check_is_in_the_plant(&wanted)?;
    let (target, zone) = (wanted.target.clone(), wanted.zone.clone());
    let capture = api.desk().floor().capture(wanted.clone()).ok_or_else(|| {
        let detail = format!("{READERS_MAX} programs read what passes, and no more can at once: end one of them first");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "captures", detail)
    })?;
    api.desk().act(Command::Capture { target, zone, by: caller.person() }).await?;
    let mut begun = Vec::new();
    let script = Script::begin(&wanted, capture.now(), &mut begun);
    let person = caller.person();
    let eyes = Eyes { api: api.clone(), person, capture, script, begun: Some(begun), is_over: false };
    let body = staying::body(&api, &hangup, move |state| may_read(state, person), eyes);
    let headers = [(header::CONTENT_TYPE, "application/x-pcapng"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

impl Api {
    fn check_is_in_the_plant(&self, wanted: &Wanted) -> Result<(), Problem> {
        let plant = self.desk().with_state(|state| state.plant.clone());
        let knows_target = |name| plant.as_ref().is_some_and(|plant| plant.targets.contains_key(name));
        let knows_zone = |name| plant.as_ref().is_some_and(|plant| plant.zones.contains_key(name));
        match (&wanted.target, &wanted.zone) {
            (Some(name), _) if !knows_target(name) => {
                Err(Problem::not_found(format!("there is no target {name} in the plant file")))
            }
            (_, Some(name)) if !knows_zone(name) => {
                Err(Problem::not_found(format!("there is no zone {name} in the plant file")))
            }
            _ => Ok(()),
        }
    }
}

/// Who may read what passes.
fn may_read(state: &State, person: PersonId) -> bool {
    state.people.get(&person).is_some_and(|person| {
        let reads = matches!(person.kind, Kind::Operator { .. } | Kind::Auditor | Kind::Sensor);
        reads && person.standing == Standing::Active
    })
}

struct Eyes {
    api: Api,
    person: PersonId,
    capture: Capture,
    script: Script,
    begun: Option<Vec<u8>>,
    is_over: bool,
}

impl Reading for Eyes {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(begun) = self.begun.take() {
            return Some(begun.into());
        }
        if self.is_over {
            return None;
        }
        let (mut out, still_at) = (Vec::new(), Instant::now() + STILL_EVERY);
        // A piece may be none that is written, as the end of what nobody saw beginning.
        while out.is_empty() {
            let size = self.api.desk().head().size;
            if !self.api.desk().with_state(|state| may_read(state, self.person)) {
                self.is_over = true;
                self.script.end(self.capture.now(), "you may read this no longer", &mut out);
                break;
            }
            tokio::select! {
                piece = self.capture.next() => self.write(piece, &mut out),
                () = self.api.desk().changed(size) => {}
                () = tokio::time::sleep_until(still_at) => self.script.still(self.capture.now(), &mut out),
            }
        }
        Some(out.into())
    }
}

impl Eyes {
    fn write(&mut self, first: crate::capture::Piece, out: &mut Vec<u8>) {
        self.script.take(first, out);
        while out.len() < TOGETHER_BYTES {
            let Some(piece) = self.capture.try_next() else { return };
            self.script.take(piece, out);
        }
    }
}
