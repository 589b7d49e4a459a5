//! `holdpoint report`: what was, in a span of time, as a table.

use approver::api::types::{ReportView, ReportsView};
use policies::ids::VendorId;
use policies::reports::Report;

use super::gate::{ProfileArg, at_gate};
use super::showing::{Clock, Written, labelled, plain};
use super::{Done, print_json};

/// Report what was in a span of time; without a name, list which reports there are.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which.
    #[arg(value_name = "REPORT")]
    report: Option<Report>,
    /// From then on: 2026-11-01, "2026-11-01 06:00", or with a zone; 31 days before the end, if left out.
    #[arg(long, value_name = "TIME")]
    from: Option<Written>,
    /// Until then; now, if left out.
    #[arg(long, value_name = "TIME")]
    until: Option<Written>,
    /// Of this vendor alone.
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<VendorId>,
    /// As comma-separated values (RFC 4180).
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let Some(report) = args.report else {
            let view: ReportsView = client.get("/api/v1/reports").await?;
            if args.json {
                return print_json(&view);
            }
            view.reports.iter().for_each(|one| labelled(&one.report, &one.title));
            return Ok(());
        };
        let clock = Clock::of(client);
        let mut query = Vec::new();
        for (name, written) in [("from", args.from), ("until", args.until)] {
            if let Some(written) = written {
                query.push(format!("{name}={}", written.on(&clock)?));
            }
        }
        query.extend(args.vendor.as_ref().map(|vendor| format!("vendor={vendor}")));
        let view: ReportView = client.get(&format!("/api/v1/reports/{report}?{}", query.join("&"))).await?;
        if args.json {
            return print_json(&view);
        }
        if args.csv {
            view.csv().lines().for_each(|line| say!("{}\r", plain(line)));
            return Ok(());
        }
        show(&view, &clock);
        Ok(())
    })
}

fn show(view: &ReportView, clock: &Clock) {
    say!("{}, from {} to {}", plain(&view.title), clock.moment(view.from), clock.moment(view.until));
    if view.rows.is_empty() {
        say!("There is nothing.");
    }
    for row in &view.rows {
        say!();
        for (column, cell) in view.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
            labelled(column, &plain(cell));
        }
    }
}
