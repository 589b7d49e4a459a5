//! Reports: tables about a span of time, with names for people, texts for digests and the plant's time for moments.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use policies::ids::PersonId;
use policies::reports::{Cell, Gathering, Report, Scope};
use policies::time::PlantTime;

use super::Api;
use super::guard::{Asked, At};
use super::problem::Problem;
use super::types::{ReportName, ReportView, ReportWanted, ReportsView};

/// As long as the longest month.
const USUAL: SignedDuration = SignedDuration::from_hours(31 * 24);

/// So many are looked at, and copied, before somebody else has a turn with what stands: some milliseconds.
const TAKEN_AT_ONCE: usize = 1_000;

pub(super) async fn list() -> Json<ReportsView> {
    let named = |report: &Report| ReportName { report: report.to_string(), title: report.title().to_owned() };
    Json(ReportsView { reports: Report::ALL.iter().map(named).collect() })
}

pub(super) async fn one(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(wanted): Asked<ReportWanted>,
) -> Result<Json<ReportView>, Problem> {
    let report: Report =
        name.parse().map_err(|wrong: policies::reports::NoSuchReport| Problem::not_found(wrong.to_string()))?;
    let now = api.clock().wall();
    let until = wanted.until.unwrap_or(now);
    let from = wanted.from.or_else(|| until.checked_sub(USUAL).ok()).unwrap_or(until);
    let scope = Scope { from, until, vendor: wanted.vendor };
    let mut gathering = Gathering::new(report, scope.clone(), now)?;
    // What a report is about is in memory twice until its table is made: one after the other.
    let turn = api.0.reporting.lock().await;
    let (journal, zone) = api.desk().with_state(|state| (state.size, state.timezone()));
    while api.desk().with_state(|state| gathering.take(state, TAKEN_AT_ONCE)) {
        tokio::task::yield_now().await;
    }
    let made = tokio::task::spawn_blocking(move || gathering.table());
    let table = made.await.map_err(|_| Problem::unavailable("the report could not be made"))??;
    drop(turn);
    let mut shown = Shown { api: &api, zone, names: BTreeMap::new() };
    let mut rows = Vec::new();
    for cells in table.rows {
        let mut row = Vec::new();
        for cell in cells {
            row.push(shown.cell(cell).await);
        }
        rows.push(row);
    }
    Ok(Json(ReportView {
        report: name,
        title: report.title().to_owned(),
        from,
        until,
        vendor: scope.vendor,
        at: now,
        journal,
        columns: table.columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    }))
}

/// Puts the cells of one table into words.
struct Shown<'a> {
    api: &'a Api,
    zone: TimeZone,
    /// Of those who were named so far.
    names: BTreeMap<PersonId, String>,
}

impl Shown<'_> {
    async fn cell(&mut self, cell: Cell) -> String {
        match cell {
            Cell::None => String::new(),
            Cell::Words(words) => words,
            Cell::At(at) => PlantTime::new(at, self.zone.clone()).to_string(),
            Cell::Text(text) => self.api.opened(text).await.unwrap_or_else(|| "(the text is not there)".to_owned()),
            Cell::People(people) => {
                let mut names = Vec::new();
                for person in people {
                    names.push(self.name(person).await);
                }
                names.join(", ")
            }
        }
    }

    async fn name(&mut self, person: PersonId) -> String {
        if let Some(name) = self.names.get(&person) {
            return name.clone();
        }
        let name = self.api.people().shown(person).await;
        self.names.insert(person, name.clone());
        name
    }
}
