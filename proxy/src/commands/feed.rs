//! `holdpoint feed`: what the plant's own systems are told, as lines of JSON on standard output, from where one left off.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::gate::{ProfileArg, at_gate};
use super::{Done, Failure};
use crate::client::Pieces;
use crate::saying;

/// Write what the gate tells of itself as lines of JSON: the journal by ids, operations in sums, alarms. For operators and
/// auditors.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The `cursor` of the last line you have; from the oldest there is, if left out.
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// Keep the cursor in this file, and go on from there the next time.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    state: Option<PathBuf>,
    /// Go on with what comes, until the gate stops or you end it.
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    let from = match &args.state {
        Some(path) => read_state(path)?,
        None => args.from.clone(),
    };
    if let Some(odd) =
        from.as_ref().filter(|from| !from.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    {
        return Err(Failure::usage(format_args!("{odd:?} is no cursor: give the `cursor` of the last line you have")));
    }
    let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
    let path = format!("/api/v1/feed?follow={}{from}", args.follow);
    at_gate(profile, async |client| {
        let pieces = client.stream(&path).await?;
        pass_on(pieces, args.state.as_deref()).await?;
        if args.follow {
            return Err(Failure::failed(
                "the gate ended the stream: it stops, or you may read it no longer. Start this again",
            ));
        }
        Ok(())
    })
}

/// Whole lines only. The cursor is kept once the lines before it were written, so that one that is ended in between gets
/// them again, and none is left out.
async fn pass_on(mut pieces: Pieces, state: Option<&Path>) -> Done {
    let mut held: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.next().await? {
        held.extend_from_slice(&piece);
        let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = held.split_off(end + 1);
        let lines: Vec<&[u8]> = held.split_inclusive(|byte| *byte == b'\n').filter(|line| *line != b"\n").collect();
        if let Some(last) = lines.last() {
            saying::write_bytes(&lines.concat());
            if let Some(state) = state {
                keep_state(state, last)?;
            }
        }
        held = rest;
    }
    Ok(())
}

fn read_state(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|cursor| !cursor.is_empty())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Failure::usage(format_args!("{}: {cause}", path.display()))),
    }
}

fn keep_state(path: &Path, last: &[u8]) -> Done {
    let line: serde_json::Value = serde_json::from_slice(last).map_err(Failure::failed)?;
    let cursor = line["cursor"].as_str().ok_or_else(|| Failure::failed("a line without a cursor came"))?;
    let cannot = |cause: io::Error| Failure::failed(format_args!("{}: {cause}", path.display()));
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft).map_err(cannot)?;
    file.write_all(format!("{cursor}\n").as_bytes()).and_then(|()| file.sync_data()).map_err(cannot)?;
    fs::rename(&draft, path).map_err(cannot)
}
