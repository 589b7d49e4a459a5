//! Reports, to be read, printed and taken along.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use recordings::table::MARK;
use serde::Deserialize;

use super::super::types::{ReportName, ReportView, ReportsView, VendorsView};
use super::inside::{Inside, Said};
use super::{Pages, Top, words};

/// Of what days, and of whom, as the form says it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// Which, where the form on the list chose it.
    #[serde(default)]
    report: String,
    /// The first day.
    #[serde(default)]
    from: String,
    /// The last day.
    #[serde(default)]
    until: String,
    #[serde(default)]
    vendor: String,
}

#[derive(Template)]
#[template(path = "reports.html")]
struct Reports {
    top: Top,
    reports: Vec<ReportName>,
    vendors: Vec<String>,
    from: String,
    until: String,
}

pub(super) async fn list(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Reports, Said> {
    let ReportsView { reports } = inside.get("/api/v1/reports").await?;
    let VendorsView { vendors } = inside.get("/api/v1/vendors").await?;
    let (now, zone) = pages.clock();
    let today = now.to_zoned(zone).date();
    Ok(Reports {
        top: pages.top(Some(inside)).await,
        reports,
        vendors: vendors.iter().map(|one| one.vendor.to_string()).collect(),
        from: today.saturating_sub(30.days()).to_string(),
        until: today.to_string(),
    })
}

#[derive(Template)]
#[template(path = "report.html")]
struct Shown {
    top: Top,
    view: ReportView,
    from: String,
    until: String,
    at: String,
    vendor: String,
    csv: String,
}

pub(super) async fn chosen(State(pages): State<Pages>, inside: Inside, Query(wanted): Query<Wanted>) -> Response {
    pages.shown(&inside, of_report(&pages, &inside, &wanted).await).await
}

async fn of_report(pages: &Pages, inside: &Inside, wanted: &Wanted) -> Result<Shown, Said> {
    let view = report(pages, inside, wanted).await?;
    let (now, zone) = pages.clock();
    let moment = |at| words::moment(at, now, &zone);
    Ok(Shown {
        top: pages.top(Some(inside)).await,
        from: wanted.from.clone(),
        until: wanted.until.clone(),
        at: moment(view.at),
        vendor: view.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        csv: format!(
            "/reports/csv/{}.csv?from={}&until={}&vendor={}",
            view.report, wanted.from, wanted.until, wanted.vendor
        ),
        view: plain(view),
    })
}

/// What somebody typed moves or hides nothing where it is read.
fn plain(view: ReportView) -> ReportView {
    let rows = view.rows.iter().map(|row| row.iter().map(|cell| words::plain(cell)).collect()).collect();
    ReportView { rows, ..view }
}

async fn report(pages: &Pages, inside: &Inside, wanted: &Wanted) -> Result<ReportView, Said> {
    let (_, zone) = pages.clock();
    let day = |text: &str| text.parse::<Date>().map_err(|_| Said::mistake("write both days as 2026-11-23"));
    let (from, last) = (day(&wanted.from)?, day(&wanted.until)?);
    let until = last.tomorrow().map_err(|_| Said::mistake("no calendar has the day after"))?;
    let (from, until) = (start_of(from, &zone)?, start_of(until, &zone)?);
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name(&wanted.report) || !is_name(&wanted.vendor) {
        return Err(Said::not_there());
    }
    let vendor = if wanted.vendor.is_empty() { String::new() } else { format!("&vendor={}", wanted.vendor) };
    inside.get(&format!("/api/v1/reports/{}?from={from}&until={until}{vendor}", wanted.report)).await
}

fn start_of(day: Date, zone: &TimeZone) -> Result<Timestamp, Said> {
    let start = day.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
    start.map_err(|_| Said::mistake("the calendar has no such day"))
}

pub(super) async fn csv(
    State(pages): State<Pages>,
    inside: Inside,
    Path(file): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let wanted = Wanted { report: file.trim_end_matches(".csv").to_owned(), ..wanted };
    match report(&pages, &inside, &wanted).await {
        Ok(view) => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
            let taken = (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            ([kind, taken], format!("{MARK}{}", plain(view).csv())).into_response()
        }
        Err(said) => pages.refused(&inside, &said).await,
    }
}
