//! Times, lengths and texts as pages show them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::plant::Weaker;
use policies::requests::Work;
use policies::time::Seconds;

use super::super::types::{
    AccountView, AttestationView, AttestedView, ConcernView, HandoverView, KeptView, LookBackView, VncOpen,
};

/// A moment by the plant's clock: the hour alone today, with the date otherwise.
pub(super) fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, today) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()).date());
    let form = if at.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    at.strftime(form).to_string()
}

/// A moment by the plant's clock, to the second, whatever day it is; by which of its times, for the hour that comes twice.
pub(super) fn exact(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A length as a person says it: the two largest units.
pub(super) fn length(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {:02} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours} h"),
    }
}

pub(super) fn between(from: Timestamp, until: Timestamp) -> String {
    length(until.duration_since(from).as_secs())
}

pub(super) fn duration(seconds: u32) -> String {
    Seconds(seconds).to_string()
}

/// How long a recording is kept, who holds it, and who signed that it is erased.
pub(super) fn kept(kept: &KeptView, zone: &TimeZone) -> String {
    if let Some(erased) = &kept.erased {
        return format!("Erased, as was decided at {}.", exact(erased.at, zone));
    }
    let names = |people: &[String]| people.join(", ");
    let holders: Vec<String> = kept.holds.iter().map(|hold| plain(&hold.by.name)).collect();
    let signers: Vec<String> = kept.signers.iter().map(|signer| plain(&signer.name)).collect();
    let parts = [
        kept.until.map(|until| format!("Kept until {} at least.", exact(until, zone))),
        kept.removed.map(|removed| format!("It goes by itself at {}, if nobody holds it then.", exact(removed, zone))),
        (!holders.is_empty()).then(|| format!("Held by {}: nothing erases it.", names(&holders))),
        (!signers.is_empty()).then(|| format!("That it is erased was signed by {}.", names(&signers))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// That the shift changed, and what becomes of work that nobody accepts.
pub(super) fn handover(left: &HandoverView, now: Timestamp, zone: &TimeZone) -> String {
    let since = moment(left.since, now, zone);
    if left.frozen {
        return format!("The shift changed at {since}, and nobody accepted this: it is frozen until somebody does.");
    }
    let (until, then) = (moment(left.acts, now, zone), left.then.in_words());
    format!("The shift changed at {since}. Accept this or end it until {until}: else {then}.")
}

/// What a manager attests of a technician.
pub(super) fn attested(attested: &AttestedView, now: Timestamp, zone: &TimeZone) -> String {
    let by = plain(&attested.by.name);
    let by = if attested.by_themself { format!("{by}, by themself,") } else { by };
    let note = attested.note.as_deref().map(|note| format!(": {}", plain(note))).unwrap_or_default();
    format!("by {by} on {} until {}{note}", moment(attested.at, now, zone), moment(attested.until, now, zone))
}

/// What a rule demands of the technician's company, and what there is of it.
pub(super) fn attestation(of: &AttestationView, now: Timestamp, zone: &TimeZone) -> String {
    match (&of.attested, of.within_seconds) {
        (Some(given), Some(_)) => attested(given, now, zone),
        (Some(given), None) => format!("{} (none was demanded)", attested(given, now, zone)),
        (None, Some(within)) => {
            format!("no: its rule demands that a manager of their company did, within {}", duration(within))
        }
        (None, None) => "none was demanded".to_owned(),
    }
}

/// What a vendor's sponsor should see to.
pub(super) fn concern(of: &ConcernView, now: Timestamp, zone: &TimeZone) -> String {
    let at = moment(of.at, now, zone);
    let who = of.person.as_ref().map(|person| plain(&person.name)).unwrap_or_default();
    match of.concern.as_str() {
        "contract-ends" => format!("its contract ends {at}, in {}", between(now, of.at)),
        "contract-over" => format!("its contract ended {at}: nobody of it is let in"),
        "dormant" => format!("nothing was heard of {who} since {at}: ask whether they still need to come"),
        _ => format!("{who} was invited {at} and never used the code, which is void"),
    }
}

/// Who looked back at what one operator alone brought about, and whether they say that it should not have been.
pub(super) fn looked_back(seen: &LookBackView, now: Timestamp, zone: &TimeZone) -> String {
    let (by, at) = (plain(&seen.by.name), moment(seen.at, now, zone));
    let why = seen.objection.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
    if seen.objects {
        format!("{by} looked back at {at}, and objects: {why}")
    } else {
        format!("{by} looked back at {at}")
    }
}

/// Who reviewed a session that was drawn, and what they found.
pub(super) fn reviewed(seen: &LookBackView, now: Timestamp, zone: &TimeZone) -> String {
    let (by, at) = (plain(&seen.by.name), moment(seen.at, now, zone));
    let found = seen.objection.as_deref().map_or_else(|| "(the text is not there)".to_owned(), plain);
    if seen.objects {
        format!("{by} reviewed it at {at}, and found: {found}")
    } else {
        format!("{by} reviewed it at {at}, and found nothing")
    }
}

/// Until when something is to be done.
pub(super) fn due(at: Timestamp, is_over: bool, now: Timestamp, zone: &TimeZone) -> String {
    format!("{} {}", if is_over { "OVERDUE since" } else { "until" }, moment(at, now, zone))
}

/// Somebody's account of what was done, as it is shown, and as it stands in a form.
#[derive(Default)]
pub(super) struct Account {
    pub(super) by: String,
    pub(super) at: String,
    pub(super) done: String,
    pub(super) changed: String,
    pub(super) left: String,
    /// It was said before the newest session began.
    pub(super) is_earlier: bool,
}

impl Account {
    pub(super) fn of(account: &AccountView, now: Timestamp, zone: &TimeZone) -> Self {
        let text = |text: &Option<String>| plain(text.as_deref().unwrap_or_default());
        Self {
            by: plain(&account.by.name),
            at: moment(account.at, now, zone),
            done: text(&account.done),
            changed: text(&account.changed),
            left: text(&account.left),
            is_earlier: account.earlier,
        }
    }
}

/// What was at work under a grant.
pub(super) fn work(work: &Work) -> String {
    match work.sessions {
        1 => format!("one session, {}", work.last),
        sessions => format!("{sessions} sessions, the newest {}", work.last),
    }
}

/// Screens over VNC to choose from, each with its number; none where there is no choice.
pub(super) fn screens(open: &[VncOpen]) -> Vec<(u32, String)> {
    let newest = open.last().filter(|_| open.len() > 1).map(|newest| newest.connection);
    let named = |screen: &VncOpen| {
        let VncOpen { connection, width, height } = screen;
        let which = if newest == Some(*connection) { ", the newest" } else { "" };
        (*connection, format!("screen {connection}, {width} by {height}{which}"))
    };
    if newest.is_some() { open.iter().map(named).collect() } else { Vec::new() }
}

/// By what somebody answers who does not sign.
pub(super) const fn weaker_way(way: Weaker) -> &'static str {
    match way {
        Weaker::Totp => "by the code of your authenticator app",
        Weaker::Telephone => "by telephone, with the code that the technician reads out and your own",
    }
}

pub(super) fn weaker_ways(ways: &BTreeSet<Weaker>) -> String {
    ways.iter().map(|way| weaker_way(*way)).collect::<Vec<_>>().join(", or ")
}

/// Bytes, to be read across a room.
pub(super) fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut whole = bytes;
    while whole >= 10_240 && unit + 1 < UNITS.len() {
        whole /= 1_024;
        unit += 1;
    }
    format!("{whole} {}", UNITS[unit])
}

/// What somebody typed, without what would move or hide what stands beside it.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if recordings::words::is_plain(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_amounts_have_two_figures_that_count() {
        let lengths = [-5, 0, 59, 61, 3_599, 3_600, 90_000].map(length);
        assert_eq!(lengths, ["0 s", "0 s", "59 s", "1 min 01 s", "59 min 59 s", "1 h 00 min", "1 d 1 h"]);
        assert_eq!([0, 10_239, 10_240, 5 << 30].map(amount), ["0 B", "10239 B", "10 KiB", "5120 MiB"]);
    }

    #[test]
    fn a_moment_of_another_day_has_its_date() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(moment(at("2026-11-28T22:59:00Z"), at("2026-11-28T20:00:00Z"), &zone), "23:59:00");
        assert_eq!(moment(at("2026-11-28T23:01:00Z"), at("2026-11-28T20:00:00Z"), &zone), "2026-11-29 00:01");
    }

    #[test]
    fn an_hour_that_comes_twice_is_told_apart() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let told = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"].map(|at| exact(at.parse().unwrap(), &zone));
        assert_eq!(told, ["2026-10-25 02:30:00 CEST", "2026-10-25 02:30:00 CET"]);
    }

    #[test]
    fn nothing_turns_the_direction_of_what_is_read() {
        assert_eq!(plain("a\u{202e}b\nc"), "a\u{fffd}b\u{fffd}c");
    }
}
