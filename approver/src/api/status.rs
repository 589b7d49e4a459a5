//! How the gate is doing: for people, for whatever asks whether it is healthy, and for Prometheus.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use certs::ring::{Ring, RingName};
use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use policies::ids::{Recipient, RequestId};
use policies::recipients::RecipientFacts;
use policies::refusals::Refusal;
use policies::rotation::{Need, Rotation};
use policies::state::{Case, RequestStanding, State as Plant};
use recordings::log::Log;
use recordings::tlog::kept::Held;

use super::Api;
use super::guard::{Caller, Sent};
use super::reviews::{emergencies_and_guests, overdue};
use super::types::{
    AlarmView, AlarmsQuiet, AlarmsSeen, AnswerTimes, BucketView, HeadView, Health, KeyView, ReceiverView,
    RecipientView, RecorderView, SecretView, SettingsView, Status, TracesView, WitnessView, WitnessedView,
};
use crate::alarms::{Acknowledged, Standing, lacks_room};
use crate::deposits;
use crate::feed::{Feed, ReceiverState, Told};
use crate::{traces, witnesses};

pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.status())
}

pub(super) async fn settings(State(api): State<Api>) -> Json<SettingsView> {
    Json(SettingsView { settings: api.parts().settings.borrow().clone() })
}

/// Whether new sessions can be let in; nothing more, because anybody may ask.
pub(super) async fn healthz(State(api): State<Api>) -> impl IntoResponse {
    let healthy = api.is_healthy();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { healthy }))
}

/// No person, no target and no text is in it.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], api.metrics())
}

fn held_at(held: Held) -> Timestamp {
    i64::try_from(held.seconds).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MAX)
}

fn bucket_view(deposits::Standing { deposited, waiting, trouble, locked }: deposits::Standing) -> BucketView {
    let since = trouble.as_ref().map(|trouble| trouble.since);
    BucketView {
        deposited,
        trouble: trouble.map(|trouble| trouble.why),
        since,
        waiting: waiting.sessions,
        waiting_bytes: waiting.bytes,
        oldest: waiting.oldest,
        locked: locked.into_values().collect(),
    }
}

fn witness_view(standing: &witnesses::Standing) -> WitnessView {
    let witnesses::Standing { name, journal, records, trouble } = standing;
    WitnessView {
        name: name.clone(),
        journal: journal.map(|held| held.size),
        records: records.map(|held| held.size),
        at: journal.iter().chain(records).map(|held| held_at(*held)).min(),
        trouble: trouble.as_ref().map(|trouble| trouble.words().to_owned()),
    }
}

fn alarm_view(Standing { kind, of, text, since, seen }: Standing) -> AlarmView {
    let (seen_by, seen_at) = (seen.map(|seen| seen.by), seen.map(|seen| seen.at));
    AlarmView { alarm: kind.to_owned(), of, text, since, seen_by, seen_at }
}

/// Whoever stands before the board saw these alarms: they sound no longer, and stand until their cause is gone.
pub(super) async fn acknowledge(
    State(api): State<Api>,
    caller: Caller,
    Sent(AlarmsSeen { alarms }): Sent<AlarmsSeen>,
) -> Json<AlarmsQuiet> {
    let seen = Acknowledged { by: caller.person(), at: api.clock().wall() };
    let named: Vec<_> = alarms.iter().map(|one| (one.alarm.as_str(), one.of.as_deref(), one.since)).collect();
    let quiet = api.parts().alarms.acknowledge(&named, seen);
    for Standing { kind, of, .. } in &quiet {
        tracing::info!(alarm = kind, by = %seen.by, "acknowledged");
        if let Some(feed) = &api.parts().feed {
            feed.tell(Told::alarm_seen(seen.at, kind, of.as_deref(), seen.by));
        }
    }
    Json(AlarmsQuiet { acknowledged: quiet.len() })
}

/// Of how many days answers count.
const ANSWERS_OF: SignedDuration = SignedDuration::from_hours(30 * 24);

fn answer_times(state: &Plant, now: Timestamp) -> Option<AnswerTimes> {
    let granted = state.cases.values().rev().take_while(|case| now.duration_since(case.submitted) < ANSWERS_OF);
    let waits = granted.filter(|case| !case.asked.emergency).filter_map(|case| {
        let waited = case.granted?.duration_since(case.submitted);
        u64::try_from(waited.as_secs()).ok()
    });
    let mut waits: Vec<u64> = waits.collect();
    waits.sort_unstable();
    let of = |percent: usize| waits.get((waits.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    Some(AnswerTimes { requests: waits.len(), p50_seconds: of(50)?, p95_seconds: of(95)? })
}

fn receiver_view(ReceiverState { name, behind, missed, trouble, .. }: ReceiverState) -> ReceiverView {
    ReceiverView { name, behind, missed, trouble: trouble.map(|trouble| trouble.why) }
}

fn key_view(name: RingName, ring: Ring<String>, state: &Plant) -> KeyView {
    let Ring { now, next, last } = ring;
    let announced = next.as_ref().map(|next| {
        let since = state.clock(next.since);
        format!("the next is announced since {since}: `holdpoint keys switch {name}` once all have it")
    });
    let believed = last.as_ref().map(|last| {
        let since = state.clock(last.since);
        format!("the one before {since} is believed still: `holdpoint keys forget {name}` once nobody needs it")
    });
    let text = announced.into_iter().chain(believed).collect::<Vec<_>>().join("; ");
    let (next, next_since) = next.map(|next| (next.key, next.since)).unzip();
    let (last, last_since) = last.map(|last| (last.key, last.since)).unzip();
    KeyView { key: name.to_string(), now: now.key, next, next_since, last, last_since, text: format!("{name}: {text}") }
}

fn traces_view(traces::Standing { host, taken, taken_at, lost, trouble }: traces::Standing) -> TracesView {
    TracesView { collector: host, taken, at: taken_at, lost, trouble }
}

impl Api {
    pub(super) fn is_healthy(&self) -> bool {
        let desk = self.desk().status();
        let takes = |log: &Arc<Log>| log.status().fault.is_none() && lacks_room(log).is_none();
        let lets_in = desk.journal_down_for.is_none() && desk.unknown_event.is_none() && desk.restarts.is_none();
        lets_in && self.parts().recorder.iter().all(takes)
    }

    fn recorder(&self) -> Option<RecorderView> {
        let log = self.parts().recorder.as_ref()?;
        let (status, head, room) = (log.status(), log.head(), log.room().ok());
        Some(RecorderView {
            fault: status.fault.map(|fault| fault.to_string()),
            open: status.open,
            head: HeadView { size: head.size, root: Digest(head.root) },
            free_bytes: room.map(|room| room.free),
            reserve_bytes: room.map(|room| room.reserve),
        })
    }

    /// The longest head that somebody else remembers; of two alike, the younger.
    fn witnessed(&self, standings: &[witnesses::Standing], now: Timestamp) -> Option<WitnessedView> {
        let age_seconds = |at: Timestamp| u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0);
        let signed = self.desk().with_state(|state| state.witnessed).map(|known| WitnessedView {
            size: known.head.size,
            root: known.head.root,
            age_seconds: age_seconds(known.at),
            witness: None,
        });
        let cosigned = standings.iter().filter_map(|standing| {
            let held = standing.journal?;
            Some(WitnessedView {
                size: held.size,
                root: Digest(held.root),
                age_seconds: age_seconds(held_at(held)),
                witness: Some(standing.name.clone()),
            })
        });
        cosigned.chain(signed).max_by_key(|head| (head.size, Reverse(head.age_seconds)))
    }

    pub(super) fn status(&self) -> Status {
        let (desk, now) = (self.desk().status(), self.clock().wall());
        let standings = self.parts().witnesses.standings();
        let bucket = self.parts().deposits.as_ref().map(|deposits| bucket_view(deposits.standing()));
        let recorder = self.recorder();
        let (restore, records_restore) = self.desk().with_state(|state| {
            let mut restores = state.restores.iter().rev().map(|restore| &restore.statement);
            let last = restores.clone().next().map(|last| last.restore);
            (last, restores.find(|last| last.node == *self.desk().node()).map(|last| last.restore))
        });
        let (live, pending, cuts, plant, unreviewed, overdue) = self.desk().with_state(|state| {
            let pending = |(_, case): &(RequestId, &Case)| {
                case.standing == RequestStanding::Pending && now < case.request.window.until
            };
            (
                state.live.len(),
                state.open_cases().filter(pending).count(),
                state.cuts.len(),
                state.plant.as_ref().map(|plant| plant.digest()),
                emergencies_and_guests(state, now),
                overdue(state, now),
            )
        });
        let secrets = self.secrets(now);
        let ignored = self.desk().due(now).into_iter().filter(|due| due.red).count();
        let because = [
            (ignored > 0).then(|| format!("{ignored} requests wait, although everybody was told")),
            (unreviewed > 0)
                .then(|| format!("{unreviewed} emergency grants or guests wait for somebody to look back at them")),
            (overdue.0 > 0).then(|| format!("{} sessions were not reviewed in time", overdue.0)),
            (overdue.1 > 0).then(|| format!("{} grants were not closed out in time", overdue.1)),
            desk.journal_down_for.map(|_| "the journal does not answer: nobody is admitted, cuts work".to_owned()),
            desk.unknown_event.as_ref().map(|_| "the journal is of a newer version: nobody is admitted".to_owned()),
            (!desk.unjournaled_cuts.is_empty()).then(|| "cuts stand that are not in the journal yet".to_owned()),
            desk.restarts.map(|at| {
                let at = self.desk().with_state(|state| state.clock(at));
                format!("the gate restarts at {at}, and lets nobody in before")
            }),
            plant.is_none().then(|| Refusal::NoPlant.to_string()),
            (desk.lost > 0).then(|| format!("{} facts could not be journaled and were forgotten", desk.lost)),
            recorder.as_ref().and_then(|recorder| recorder.fault.clone()),
            self.parts().recorder.as_deref().and_then(lacks_room),
            bucket
                .as_ref()
                .and_then(|bucket| bucket.trouble.as_ref())
                .map(|why| format!("recordings are not brought to the bucket: {why}")),
        ];
        let troubles = standings.iter().filter_map(|standing| {
            let trouble = standing.trouble.as_ref()?;
            Some(format!("the witness {} does not cosign: {}", standing.name, trouble.words()))
        });
        let aged = secrets.iter().filter(|secret| secret.need == Need::OVERDUE).map(|secret| secret.text.clone());
        let of_faces = self.parts().certificates.troubles(now).into_iter().map(|(_, text)| text);
        let because: Vec<String> = because.into_iter().flatten().chain(troubles).chain(of_faces).chain(aged).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            deployment: self.desk().deployment().clone(),
            node: self.desk().node().clone(),
            restore,
            records_restore,
            now,
            journal: HeadView { size: desk.head.size, root: Digest(desk.head.root) },
            witnessed: self.witnessed(&standings, now),
            witnesses: standings.iter().map(witness_view).collect(),
            bucket,
            journal_down_seconds: desk.journal_down_for.map(|down| down.as_secs()),
            unknown_event: desk.unknown_event,
            late: desk.late,
            lost: desk.lost,
            live,
            pending,
            cuts: cuts + desk.unjournaled_cuts.len(),
            red: !because.is_empty(),
            because,
            plant,
            recorder,
            recipients: self.recipients(now),
            secrets,
            seal: self.parts().seal_word.clone(),
            keys: self.keys(),
            answered: self.desk().with_state(|state| answer_times(state, now)),
            alarms: self.parts().alarms.standing().into_iter().map(alarm_view).collect(),
            feed: self.parts().feed.iter().flat_map(Feed::receivers).map(receiver_view).collect(),
            traces: self.parts().traces.as_ref().map(|traces| traces_view(traces.standing())),
        }
    }

    /// Those that are being renewed.
    fn keys(&self) -> Vec<KeyView> {
        let rings = self.parts().files.iter().flat_map(|files| files.keys.rings());
        let renewed = rings.filter(|(_, ring)| ring.next.is_some() || ring.last.is_some());
        self.desk().with_state(|state| renewed.map(|(name, ring)| key_view(name, ring, state)).collect())
    }

    fn secrets(&self, now: Timestamp) -> Vec<SecretView> {
        self.desk().with_state(|state| {
            let view = |(rotation, need): (Rotation<'_>, Need)| SecretView {
                secret: rotation.credential.clone(),
                need: need.as_str().to_owned(),
                at: rotation.last.map(|last| last.at),
                by: rotation.last.map(|last| last.by),
                due: rotation.due(),
                text: rotation.in_words(now, |at| state.clock(at)),
            };
            state.rotations_due(now).into_iter().map(view).collect()
        })
    }

    fn recipients(&self, now: Timestamp) -> Vec<RecipientView> {
        let names = self.parts().recipient_names.borrow();
        self.desk().with_state(|state| {
            let named = state.recipients.iter().filter(|(_, facts)| !facts.nodes.is_empty());
            let view = |(recipient, facts): (&Recipient, &RecipientFacts)| RecipientView {
                recipient: recipient.clone(),
                name: names.get(recipient).cloned(),
                since: facts.since,
                used: facts.used,
                forgotten: facts.is_forgotten(now),
            };
            named.map(view).collect()
        })
    }
}
