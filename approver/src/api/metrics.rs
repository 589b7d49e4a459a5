//! Figures for Prometheus, in its text format (0.0.4). Labels are words of this program and names of the configuration:
//! no person, no target, no text.

use std::fmt::Write as _;

use policies::answered::Answered;
use policies::state::{Case, RequestStanding};
use recordings::log::Commits;

use super::Api;
use crate::traces::Traces;

/// The figures as they are written down.
#[derive(Default)]
struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, about: &str) {
        writeln!(self.0, "# HELP holdpoint_{name} {about}\n# TYPE holdpoint_{name} {kind}").expect("a string grows");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(label, of)| format!("{label}=\"{}\"", escaped(of))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "holdpoint_{name}{labels} {value}").expect("a string grows");
    }

    fn gauge(&mut self, name: &str, about: &str, value: impl std::fmt::Display) {
        self.begin(name, "gauge", about);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, about: &str, value: u64) {
        self.begin(name, "counter", about);
        self.line(name, &[], value);
    }

    /// `counts` of each bound, and of what is beyond the last.
    fn histogram(&mut self, name: &str, about: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.begin(name, "histogram", about);
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        for (bound, count) in bounds.iter().zip(counts) {
            so_far += count;
            self.line(&bucket, &[("le", &bound.to_string())], so_far);
        }
        let all: u64 = counts.iter().sum();
        self.line(&bucket, &[("le", "+Inf")], all);
        self.line(&format!("{name}_sum"), &[], sum);
        self.line(&format!("{name}_count"), &[], all);
    }
}

/// As the format wants label values.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Api {
    pub(super) fn metrics(&self) -> String {
        let mut page = Page::default();
        self.of_the_gate(&mut page);
        self.of_requests(&mut page);
        self.of_the_recorder(&mut page);
        self.of_what_is_told(&mut page);
        page.0
    }

    fn of_the_gate(&self, page: &mut Page) {
        let status = self.status();
        let witnessed = status.witnessed.as_ref();
        let lost = status.witnesses.iter().filter(|witness| witness.trouble.is_some()).count();
        let forgotten = status.recipients.iter().filter(|recipient| recipient.forgotten).count();
        page.gauge("healthy", "Whether new sessions can be let in.", u8::from(self.is_healthy()));
        page.gauge("journal_entries", "Entries of the journal.", status.journal.size);
        page.gauge(
            "journal_entries_witnessed",
            "Entries under a head somebody signed.",
            witnessed.map_or(0, |head| head.size),
        );
        page.gauge("witnesses_lost", "Witnesses that do not cosign.", lost);
        page.gauge("witnessed_age_seconds", "Since that was signed.", witnessed.map_or(0, |head| head.age_seconds));
        if let Some(bucket) = &status.bucket {
            let age = bucket.oldest.map_or(0, |oldest| status.now.duration_since(oldest).as_secs().max(0));
            page.gauge(
                "bucket_troubled",
                "Whether recordings are not brought to the bucket.",
                u8::from(bucket.trouble.is_some()),
            );
            page.gauge("bucket_waiting_recordings", "Recordings that wait for the bucket.", bucket.waiting);
            page.gauge("bucket_waiting_bytes", "Bytes of them.", bucket.waiting_bytes);
            page.gauge("bucket_oldest_waiting_seconds", "Since how long the oldest of them waits.", age);
        }
        page.gauge(
            "journal_down_seconds",
            "Since how long the journal does not answer.",
            status.journal_down_seconds.unwrap_or(0),
        );
        page.gauge("late_facts", "Facts that wait to be journaled.", status.late);
        page.gauge("lost_facts", "Facts that had to be forgotten.", status.lost);
        page.gauge("sessions_live", "Live sessions.", status.live);
        page.gauge("requests_pending", "Requests that wait for operators.", status.pending);
        page.gauge("cuts_standing", "Cuts that stand.", status.cuts);
        page.gauge(
            "recipients_forgotten",
            "Keys to which recordings are encrypted, and which nobody has tried for a year.",
            forgotten,
        );
        page.gauge("board_red", "Whether the board is red.", u8::from(status.red));
    }

    fn of_requests(&self, page: &mut Page) {
        let now = self.clock().wall();
        let seconds = |case: &Case, until: jiff::Timestamp| until.duration_since(case.submitted).as_secs_f64().max(0.0);
        let (oldest, answered) = self.desk().with_state(|state| {
            let waits = |case: &&Case| case.standing == RequestStanding::Pending && now < case.request.window.until;
            let oldest = state
                .open_cases()
                .map(|(_, case)| case)
                .filter(waits)
                .map(|case| seconds(case, now))
                .fold(0.0, f64::max);
            (oldest, state.answered.clone())
        });
        page.gauge("requests_oldest_pending_seconds", "Since how long the oldest of them waits.", oldest);
        let about = "From a request to the yes that granted it.";
        page.histogram(
            "requests_granted_seconds",
            about,
            &Answered::BOUNDS_SECONDS,
            answered.counts(),
            answered.seconds(),
        );
        let totals = self.desk().counts().totals();
        page.begin("refused_total", "counter", "Refusals of people who had signed in, by reason, since the start.");
        for (reason, count) in &totals.refused {
            page.line("refused_total", &[("reason", reason)], count);
        }
        page.counter("strangers_failed_total", "Failures of people who had not signed in.", totals.strangers);
        page.begin("operations_total", "counter", "Operations on services with a gate.");
        for (result, count) in ["passed", "refused"].iter().zip(totals.operations) {
            page.line("operations_total", &[("result", result)], count);
        }
    }

    fn of_the_recorder(&self, page: &mut Page) {
        let Some(log) = &self.parts().recorder else { return };
        let status = log.status();
        page.gauge("recordings_open", "Recordings open.", status.open);
        page.gauge("recorder_failed", "Whether the recorder failed.", u8::from(status.fault.is_some()));
        page.gauge("recorder_waiting", "Pieces that wait for the recorder.", status.waiting);
        page.gauge("record_log_entries", "Entries of the log of recordings.", log.head().size);
        page.gauge("record_log_segment", "The segment that is written; each before it was full.", status.segment);
        let bounds = Commits::BOUNDS_MICROS.map(|micros| micros as f64 / 1e6);
        let Commits { counts, nanos } = status.commits;
        let about = "How long commits took, written and synced.";
        page.histogram("recorder_commit_seconds", about, &bounds, &counts, nanos as f64 / 1e9);
        if let Ok(room) = log.room() {
            page.gauge("disk_free_bytes", "Room on the disk for recordings.", room.free);
            page.gauge("disk_reserve_bytes", "Below this nobody new is let in.", room.reserve);
        }
    }

    fn of_what_is_told(&self, page: &mut Page) {
        page.begin("alarms", "gauge", "Alarms that stand, by kind.");
        for (kind, count) in self.parts().alarms.count() {
            page.line("alarms", &[("alarm", kind)], count);
        }
        if let Some(standing) = self.parts().traces.as_ref().map(Traces::standing) {
            page.counter("traces_taken_total", "Spans that the collector took, since the start.", standing.taken);
            page.counter("traces_lost_total", "Spans that it will never have, since the start.", standing.lost);
            page.gauge("traces_trouble", "Whether it takes none, or not all.", u8::from(standing.trouble.is_some()));
        }
        let Some(feed) = &self.parts().feed else { return };
        let receivers = feed.receivers();
        page.gauge("feed_events", "Events of the feed, ever.", feed.end());
        page.begin("feed_behind_events", "gauge", "Events that a receiver does not have yet.");
        for receiver in &receivers {
            page.line("feed_behind_events", &[("receiver", &receiver.name)], receiver.behind);
        }
        page.begin("feed_missed_events_total", "counter", "Events that a receiver misses for good, since the start.");
        for receiver in &receivers {
            page.line("feed_missed_events_total", &[("receiver", &receiver.name)], receiver.missed);
        }
        page.begin("feed_trouble", "gauge", "Whether a receiver takes nothing.");
        for receiver in &receivers {
            page.line("feed_trouble", &[("receiver", &receiver.name)], u8::from(receiver.trouble.is_some()));
        }
    }
}
