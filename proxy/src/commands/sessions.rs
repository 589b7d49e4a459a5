//! `holdpoint sessions`, `freeze`, `thaw`, `tell` and `disconnect`: what runs, stopping its input for a while, a line to its
//! technician, and freeing a target's places.

use approver::api::types::{Acted, Disconnected, Named, SessionView, SessionsView, Tell, ToldAnswer};
use policies::ids::SessionId;

use super::card::{list as actions, reviewed};
use super::gate::{ProfileArg, at_gate};
use super::keeping::show_kept;
use super::showing::{Clock, labelled, plain, span};
use super::{Done, print_json};

/// List live sessions; on the vendor face, your own.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Also past ones.
    #[arg(long)]
    all: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Which session.
#[derive(Debug, clap::Args)]
pub(super) struct OneArgs {
    /// As `sessions` lists it.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs, profile: &ProfileArg) -> Done {
    let path = if args.all { "/api/v1/sessions?all=true" } else { "/api/v1/sessions" };
    at_gate(profile, async |client| {
        let view: SessionsView = client.list(path).await?;
        if args.json {
            return print_json(&view);
        }
        if view.sessions.is_empty() {
            say!("Nothing runs.");
        }
        for session in &view.sessions {
            show(session, &Clock::of(client));
        }
        Ok(())
    })
}

/// Seconds without input that are worth a word.
const IDLE_SHOWN: u64 = 60;

pub(super) fn show(session: &SessionView, clock: &Clock) {
    let vendor = session.vendor.as_ref().map(|vendor| format!(" of {vendor}")).unwrap_or_default();
    say!("{}  {}{vendor}  {}/{}", session.session, plain(&session.technician.name), session.target, session.service);
    labelled("  may do", &actions(&session.actions));
    if let Some(caution) = session.protocol.and_then(policies::plant::Protocol::caution) {
        labelled("  caution", caution);
    }
    labelled("  since", &format!("{}, from {}", clock.moment(session.started), session.source));
    if let Some(ended) = &session.ended {
        labelled("  ended", &format!("{}: {}", clock.moment(ended.at), plain(&ended.in_words)));
        if let Some(drawn) = &session.review {
            let late = if drawn.overdue { "OVERDUE since" } else { "until" };
            let words = match &drawn.reviewed {
                Some(seen) => reviewed(seen, clock),
                None => format!("drawn, {late} {}: holdpoint approve {}", clock.moment(drawn.due), session.session),
            };
            labelled("  review", &words);
        }
        return session.kept.iter().for_each(|kept| show_kept(kept, clock));
    }
    if let Some(deadline) = session.deadline {
        labelled("  ends", &format!("{} ({})", clock.moment(deadline), clock.away(deadline)));
    }
    let idle = session.live.as_ref().map(|live| live.idle_seconds).filter(|idle| *idle >= IDLE_SHOWN);
    let idle = idle.map(|idle| format!("no input for {}", span(idle)));
    let frozen = session.frozen.then(|| "FROZEN".to_owned());
    let left = session.stopped.as_deref().filter(|stopped| *stopped == "not-accepted");
    let left = left.map(|_| "WAITS TO BE ACCEPTED after the shift change: holdpoint shift".to_owned());
    let transfer = session.live.as_ref().filter(|live| live.transferring).map(|_| match session.deadline {
        Some(deadline) if clock.is_past(deadline) => {
            format!("PROGRAM TRANSFER RUNS, past its end {}", clock.away(deadline))
        }
        _ => "a program transfer runs".to_owned(),
    });
    let websocket = session.live.as_ref().filter(|live| live.within_websocket);
    let websocket = websocket.map(|_| "over a WebSocket: what opens TLS in between may read and alter it".to_owned());
    let browser = session.live.as_ref().filter(|live| live.in_browser);
    let browser = browser.map(|_| "in a browser: what opens TLS in between may read and alter it".to_owned());
    let escorts: &[Named] = session.escort.as_ref().map_or(&[], |escort| &escort.there);
    let waits = session.escort.as_ref().filter(|_| escorts.is_empty());
    let waits = waits.map(|_| "WAITS FOR AN ESCORT: watch it, and say there that you are".to_owned());
    let escorted = escorts.iter().map(|escort| format!("{} escorts", plain(&escort.name)));
    let watchers = session.watchers.iter().filter(|watcher| !escorts.contains(watcher));
    let watchers = watchers.map(|watcher| format!("{} watches", plain(&watcher.name)));
    let now = frozen.into_iter().chain(left).chain(waits).chain(transfer).chain(websocket).chain(browser).chain(idle);
    let now: Vec<String> = now.chain(escorted).chain(watchers).collect();
    if !now.is_empty() {
        labelled("  now", &now.join(", "));
    }
    for told in &session.told {
        let text = told.text.as_deref().unwrap_or("(the text is not there)");
        labelled("  told", &format!("{}: {}", clock.moment(told.at), plain(text)));
    }
}

/// Write a line to a session's technician: shown on their terminal, and in the recording
#[derive(Debug, clap::Args)]
pub(super) struct TellArgs {
    /// As `sessions` lists it.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// The line, of 400 characters at most.
    #[arg(value_name = "TEXT", required = true, num_args = 1..)]
    text: Vec<String>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn tell(args: &TellArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let tell = Tell { text: args.text.join(" ") };
        let told: ToldAnswer = client.post(&format!("/api/v1/sessions/{}/tell", args.session), &tell).await?;
        if args.json {
            return print_json(&told);
        }
        say!("{}", plain(&told.in_words));
        Ok(())
    })
}

pub(super) fn freeze(args: &OneArgs, profile: &ProfileArg) -> Done {
    act(args, profile, "freeze", "Its input is stopped.")
}

pub(super) fn thaw(args: &OneArgs, profile: &ProfileArg) -> Done {
    act(args, profile, "thaw", "Its input goes on.")
}

pub(super) fn disconnect(args: &OneArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let closed: Disconnected = client.post(&format!("/api/v1/sessions/{}/disconnect", args.session), &()).await?;
        if args.json {
            return print_json(&closed);
        }
        match closed.connections {
            None => say!("The gate that carries it closes its connections; the session goes on."),
            Some(0) => say!("It has no connection that could be closed: what is reached by SSH ends with `cut`."),
            Some(1) => say!("Its connection is closed; the session goes on."),
            Some(closed) => say!("Its {closed} connections are closed; the session goes on."),
        }
        if !closed.journaled {
            say!("The journal does not answer: this is recorded once it does.");
        }
        Ok(())
    })
}

fn act(args: &OneArgs, profile: &ProfileArg, what: &str, words: &str) -> Done {
    at_gate(profile, async |client| {
        let acted: Acted = client.post(&format!("/api/v1/sessions/{}/{what}", args.session), &()).await?;
        if args.json {
            return print_json(&acted);
        }
        say!("{words}");
        if !acted.journaled {
            say!("The journal does not answer: this is recorded once it does.");
        }
        Ok(())
    })
}
