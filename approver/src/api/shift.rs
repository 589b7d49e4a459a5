//! Who is on duty, and what the shift before left for somebody to accept.

use axum::Json;
use axum::extract::State;
use policies::decide::Command;
use policies::ids::RequestId;

use super::Api;
use super::cards::Around;
use super::guard::{At, Caller};
use super::problem::Problem;
use super::requests::done;
use super::types::{Done, OnDutyView, ShiftView};

pub(super) async fn shift(State(api): State<Api>) -> Json<ShiftView> {
    let now = api.clock().wall();
    let (shifts, changes, people, left) = api.desk().with_state(|state| {
        let plant = state.plant.as_ref();
        let people = state.people.values().filter(|person| person.is_on_duty(now));
        let left = state.open_cases().filter(|(_, case)| state.handover(case, now).is_some());
        (
            plant.map(|plant| plant.shifts.to_string()).unwrap_or_default(),
            plant.and_then(|plant| plant.shifts.change_after(now, &plant.timezone)),
            people.filter_map(|person| Some((person.id, person.on_duty_until?))).collect::<Vec<_>>(),
            left.filter_map(|(id, _)| Around::of(state, id)).collect::<Vec<_>>(),
        )
    });
    let mut on_duty = Vec::new();
    for (person, until) in people {
        on_duty.push(OnDutyView { who: api.named(person).await, until });
    }
    let mut waiting = Vec::new();
    for around in &left {
        waiting.push(api.card(around).await);
    }
    Json(ShiftView { shifts, changes, on_duty, waiting })
}

pub(super) async fn accept(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::Accept { request, by: caller.person() }).await?))
}
