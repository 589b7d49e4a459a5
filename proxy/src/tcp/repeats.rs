//! What a program asks again and again is told once and then counted, so that a polling panel does not fill the record: its
//! bytes are in the recording each time, and the lines stay readable.

use std::time::{Duration, Instant};

use crate::gates::Verdict;

/// The operations of one connection that were told of late and may be repeated.
#[derive(Default)]
pub(super) struct Repeats(Vec<Told>);

struct Told {
    verdict: Verdict,
    at: Instant,
    since: u64,
}

/// How long repeats are counted before they are told.
const COUNTED_FOR: Duration = Duration::from_secs(10);
/// Different operations that are remembered; a panel reads fewer.
const KNOWN_MAX: usize = 32;

impl Repeats {
    /// What is to be told of this one, in order: itself, or those like it so far, or nothing yet.
    pub(super) fn told(&mut self, verdict: Verdict, now: Instant) -> Vec<Verdict> {
        if verdict.is_input && verdict.operation.refused.is_none() {
            return vec![verdict];
        }
        if let Some(known) = self.0.iter_mut().find(|known| known.verdict == verdict) {
            known.since += 1;
            if now.duration_since(known.at) < COUNTED_FOR {
                return Vec::new();
            }
            return known.count(now).into_iter().collect();
        }
        let mut told = Vec::new();
        if self.0.len() == KNOWN_MAX {
            told.extend(self.0.remove(0).count(now));
        }
        self.0.push(Told { verdict: verdict.clone(), at: now, since: 0 });
        told.push(verdict);
        told
    }

    /// What was counted and not told yet.
    pub(super) fn rest(&mut self, now: Instant) -> Vec<Verdict> {
        self.0.drain(..).filter_map(|mut known| known.count(now)).collect()
    }
}

impl Told {
    fn count(&mut self, now: Instant) -> Option<Verdict> {
        let times = std::mem::take(&mut self.since);
        self.at = now;
        let mut verdict = self.verdict.clone();
        verdict.operation.times = times;
        (times > 0).then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use policies::actions::Action;
    use policies::plant::Protocol;
    use recordings::operation::Operation;

    use super::*;

    fn verdict(object: u32, is_input: bool, refused: Option<&str>) -> Verdict {
        let operation = Operation {
            protocol: Protocol::Modbus,
            class: Some(Action::Observe),
            code: "3".into(),
            object: Some(object.to_string().as_str().into()),
            value: None,
            rule: None,
            refused: refused.map(Into::into),
            times: 1,
        };
        Verdict { words: format!("reads {object}"), operation, is_input }
    }

    proptest::proptest! {
        /// Whatever comes: nothing is lost, nothing is told twice, and what a person did is told at once.
        #[test]
        fn everything_is_counted_once(asked in proptest::collection::vec((0..40u32, proptest::bool::ANY, proptest::bool::ANY, 0..4u64), 0..300)) {
            let (mut repeats, mut now) = (Repeats::default(), Instant::now());
            let (mut told, mut asked_times) = (0, 0);
            for (object, is_input, is_refused, seconds) in asked {
                now += Duration::from_secs(seconds);
                asked_times += 1;
                let verdict = verdict(object, is_input, is_refused.then_some("no"));
                let lines = repeats.told(verdict.clone(), now);
                if is_input && !is_refused {
                    proptest::prop_assert_eq!(&lines, &vec![verdict]);
                }
                told += lines.iter().map(|line| line.operation.times).sum::<u64>();
            }
            told += repeats.rest(now).iter().map(|line| line.operation.times).sum::<u64>();
            proptest::prop_assert_eq!(told, asked_times);
        }
    }

    #[test]
    fn a_poll_is_told_once_and_then_each_ten_seconds_with_its_count() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let poll = verdict(1, false, None);
        let lines: Vec<u64> = (0..25)
            .flat_map(|second| repeats.told(poll.clone(), start + Duration::from_secs(second)))
            .map(|line| line.operation.times)
            .collect();
        assert_eq!(lines, [1, 10, 10]);
    }
}
