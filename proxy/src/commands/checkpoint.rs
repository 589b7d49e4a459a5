//! `holdpoint checkpoint`: how far the gate's logs have come, to be kept where nobody who administers the gate comes. On paper
//! it is a witness that no network reaches.

use std::fmt::Write as _;
use std::path::PathBuf;

use approver::api::types::Status;
use policies::ids::RestoreId;
use recordings::paper::{PaperHead, sheet};

use super::gate::{ProfileArg, at_gate};
use super::showing::Clock;
use super::{Done, Failure, print_json};
use crate::picture;

/// How far the journal and the recordings have come: sign it, file it, and `verify --paper` finds what was set back since.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As a sheet to print, with a picture to scan, on standard output or in the file of `-o`.
    #[arg(long)]
    print: bool,
    /// Write the sheet here, as UTF-8 text for a fixed-width font.
    #[arg(short, long, value_name = "FILE", requires = "print")]
    output: Option<PathBuf>,
    /// For machines.
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let status: Status = client.get("/api/v1/status").await?;
        let heads = heads(&status);
        if args.json {
            let heads: Vec<_> = heads
                .iter()
                .map(|head| serde_json::json!({ "log": head.origin, "entries": head.size, "root": head.root }))
                .collect();
            return print_json(&serde_json::json!({ "at": status.now, "open_sessions": status.live, "logs": heads }));
        }
        let rows = sheet(&heads, status.now);
        if !args.print {
            say!("{}", rows.trim_end());
            return Ok(());
        }
        let page = page(&status, &rows, &heads, &Clock::of(client));
        let Some(path) = &args.output else {
            say!("{}", page.trim_end());
            return Ok(());
        };
        std::fs::write(path, page).map_err(|cause| Failure::failed(format_args!("{}: {cause}", path.display())))?;
        say!("{}: print it, sign it, and file it where nobody who administers the gate comes", path.display());
        Ok(())
    })
}

fn heads(status: &Status) -> Vec<PaperHead> {
    let deployment = &status.deployment;
    let named = |name: String, restore: Option<RestoreId>| match restore {
        Some(restore) => format!("{name}/{restore}"),
        None => name,
    };
    let journal = PaperHead {
        origin: named(format!("{deployment}/journal"), status.restore),
        size: status.journal.size,
        root: status.journal.root,
    };
    let records = status.recorder.as_ref().map(|recorder| PaperHead {
        origin: named(format!("{deployment}/records/{}", status.node), status.records_restore),
        size: recorder.head.size,
        root: recorder.head.root,
    });
    std::iter::once(journal).chain(records).collect()
}

fn page(status: &Status, rows: &str, heads: &[PaperHead], clock: &Clock) -> String {
    let mut page = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(page, "{text}").expect("a string takes everything");
    line(format_args!("HOLDPOINT  {}: how far its logs had come\n", status.deployment));
    line(format_args!("{} by the gate's clock, {} sessions open\n", clock.moment(status.now), status.live));
    line(format_args!("{rows}"));
    for head in heads {
        line(format_args!("root of {}, {} entries\n  {}", head.origin, head.size, head.root));
    }
    line(format_args!("\n{}", picture::printed(rows)));
    line(format_args!("Later:  holdpoint verify data --trust trust.toml --paper FILE"));
    line(format_args!("with the lines from \"printed\" to the last row, scanned or typed, in FILE.\n"));
    line(format_args!("Name ______________________  Signature ______________________  Date ______________"));
    page
}
