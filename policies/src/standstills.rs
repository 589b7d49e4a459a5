//! When the gate stood still. Nobody could do anything at it meanwhile, so what is to be done within some time waits for so much
//! longer, and for no more: what was over of that time before stays over.

use jiff::Timestamp;

use crate::time::Seconds;

/// The times at which no node ran, as the journal knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standstills {
    /// When the last node said that it stops.
    stopped: Option<Timestamp>,
    /// From and until when, in order.
    past: Vec<(Timestamp, Timestamp)>,
}

impl Standstills {
    /// The last node that ran stops.
    pub(crate) fn begins(&mut self, at: Timestamp) {
        self.stopped = Some(at);
    }

    /// A node starts, and no other runs. Where none said that it stops, one ran until the `newest` entry before at least, and
    /// longer is not known of it.
    pub(crate) fn ends(&mut self, at: Timestamp, newest: Option<Timestamp>) {
        self.past.push((self.stopped.take().or(newest).unwrap_or(at), at));
    }

    /// Whether any node ever ran.
    pub(crate) fn has_run(&self) -> bool {
        self.stopped.is_some() || !self.past.is_empty()
    }

    /// The first moment from `at` on at which a node ran.
    pub(crate) fn first_up(&self, at: Timestamp) -> Timestamp {
        self.past_since(at).first().filter(|(from, _)| *from <= at).map_or(at, |(_, until)| *until)
    }

    /// When a node will have run for `span` since `from`.
    pub(crate) fn later(&self, from: Timestamp, span: Seconds) -> Timestamp {
        let mut end = span.after(from);
        for (stood, until) in self.past_since(from) {
            let stood = (*stood).max(from);
            if end <= stood {
                break;
            }
            end = end.checked_add(until.duration_since(stood)).unwrap_or(Timestamp::MAX);
        }
        end
    }

    fn past_since(&self, at: Timestamp) -> &[(Timestamp, Timestamp)] {
        &self.past[self.past.partition_point(|(_, until)| *until <= at)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn time_in_which_nothing_ran_does_not_count_and_all_other_time_does() {
        let mut still = Standstills::default();
        still.ends(at(100), Some(at(50)));
        still.begins(at(200));
        still.ends(at(260), Some(at(240)));
        // It was killed, and was there at 300 at least.
        still.ends(at(310), Some(at(300)));
        for (from, span, end) in [(110, 90, 200), (110, 91, 261), (210, 10, 270), (110, 140, 320), (320, 7, 327)] {
            assert_eq!(still.later(at(from), Seconds(span)), at(end), "{span} from {from}");
        }
        assert_eq!(
            [199, 200, 259, 260, 305].map(|second| still.first_up(at(second))),
            [199, 260, 260, 260, 310].map(at)
        );
    }
}
