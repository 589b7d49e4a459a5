//! Every sentence a technician reads from a running session, in one place: warnings, notices, and why it ended. ASCII
//! alone, because nobody knows what a terminal across the world can show. Refusals to begin are not here: the Desk has
//! their words.

use std::fmt;
use std::time::Duration;

use approver::lease::{Deadline, Frozen};
use jiff::tz::TimeZone;
use policies::actions::Action;
use policies::events::Ending;
use policies::ids::TargetName;
use policies::time::{PlantTime, Seconds};

/// What the sentences of one session have in common.
#[derive(Debug, Clone)]
pub struct Place {
    /// The target.
    pub target: TargetName,
    /// Where they ask for more.
    pub asks: Asks,
    /// In which times are shown.
    pub timezone: TimeZone,
    /// How long nobody may give no input.
    pub idle: Seconds,
}

/// Where a technician asks for more.
#[derive(Debug, Clone)]
pub enum Asks {
    /// In the lobby, which is reached by typing this: `ssh -p 2222 tess@gate.mill3.example`.
    InLobby(String),
    /// On the page of the grant, beside which they work.
    OnPage,
}

impl Asks {
    fn by(&self, order: impl fmt::Display) -> String {
        match self {
            Self::InLobby(lobby) => format!("{lobby} {order}"),
            Self::OnPage => "on the page of your grant".to_owned(),
        }
    }
}

impl Place {
    /// So much time is left.
    pub fn time_left(&self, left: Duration, deadline: Deadline) -> String {
        let minutes = left.as_secs().div_ceil(60);
        let plural = if minutes == 1 { "" } else { "s" };
        format!(
            "{minutes} minute{plural} left, until {}. More time: {}",
            self.clock(deadline),
            self.asks.by("extend 30m REASON")
        )
    }

    /// The deadline moved.
    pub fn deadline_moved(&self, deadline: Deadline) -> String {
        format!("The session now lasts until {}.", self.clock(deadline))
    }

    /// Input stopped, or goes on, after it was stopped for this.
    pub fn frozen(&self, frozen: Option<Frozen>, before: Option<Frozen>) -> String {
        match (frozen, before) {
            (Some(Frozen::ByOperator), _) => "Your input is stopped by an operator. What you type now is thrown away.",
            (Some(Frozen::NobodyWatches), _) => {
                "Your input waits: here an operator must watch, and nobody does. What you type now is thrown away."
            }
            (Some(Frozen::NotAccepted), _) => {
                "The shift changed, and nobody has accepted your work yet: your input is stopped until an operator does."
            }
            (Some(Frozen::TimeIsUp), _) => "Your time is up. Your input is stopped, and the session ends soon.",
            (None, Some(Frozen::NobodyWatches)) => "An operator watches. Your input goes on.",
            (None, _) => "Your input goes on.",
        }
        .to_owned()
    }

    /// A command, a file copy or a shell without a terminal waits, because input is stopped, or locked.
    pub fn waits(&self, frozen: Option<Frozen>) -> String {
        match frozen {
            Some(Frozen::ByOperator) => "This waits: an operator has stopped your input. It begins when they let it.",
            Some(Frozen::NobodyWatches) => {
                "This waits: here an operator must watch, and nobody does. It begins when somebody does."
            }
            Some(Frozen::NotAccepted) => {
                "This waits: the shift changed, and nobody has accepted your work yet. It begins when an operator does."
            }
            Some(Frozen::TimeIsUp) => "This waits: your time is up, and the session ends soon.",
            None => "This waits: your session is locked. It begins when you type your code on its terminal.",
        }
        .to_owned()
    }

    /// Idle too long: a code is wanted.
    pub fn locked(&self) -> String {
        format!("Locked: nobody typed anything for {}. Type your code to go on.", self.idle)
    }

    /// The code that was typed does not open it.
    pub fn still_locked(&self, why: &dyn fmt::Display) -> String {
        format!("Still locked: {why}. Type your code to go on.")
    }

    /// The code was right.
    pub fn unlocked(&self) -> String {
        "Unlocked.".to_owned()
    }

    /// The disk of the gate is slow.
    pub fn recording_is_slow(&self) -> String {
        "The recording is slow, so your input waits for it.".to_owned()
    }

    /// The disk of the gate caught up.
    pub fn recording_caught_up(&self) -> String {
        "The recording caught up. Your input goes on.".to_owned()
    }

    /// How to ask for what is not granted.
    pub fn how_to_ask(&self) -> String {
        format!("Ask for it: {}", self.asks.by(format_args!("request {}", self.target)))
    }

    /// The time is over, and a program transfer is let finish.
    pub fn transfer_finishes(&self, until: Deadline) -> String {
        let until = until.wall.to_zoned(self.timezone.clone()).strftime("%H:%M:%S").to_string();
        format!(
            "Your time is up. The program transfer that runs is let finish, until {until} at most; nothing else passes."
        )
    }

    /// What to type for actions that a running session lacks.
    pub fn how_to_widen(&self, missing: Action) -> String {
        let order = format!("widen {missing} --at {} REASON", self.target);
        format!("Ask for it while this goes on: {}", self.asks.by(order))
    }

    /// Nothing is typed to this service: a program of the technician's own speaks with it.
    pub fn is_forwarded(&self) -> String {
        format!("{} is reached there by a program of your own: use ssh -L, or holdpoint connect", self.target)
    }

    /// This service is not forwarded to: it is jumped to.
    pub fn is_typed_to(&self) -> String {
        format!("the gate itself has the terminal of {} there: use ssh -J", self.target)
    }

    /// A command line for a target that speaks telnet.
    pub fn telnet_runs_no_commands(&self) -> String {
        format!("{0} speaks telnet, which runs no single command. Connect without one, and type it there", self.target)
    }

    /// A copy of files at a target that speaks telnet.
    pub fn telnet_copies_no_files(&self) -> String {
        format!("{} speaks telnet, which copies no files. Connect with ssh, and use what the machine has", self.target)
    }

    /// A shell without a terminal at a target that speaks telnet.
    pub fn telnet_needs_a_terminal(&self) -> String {
        format!("{} speaks telnet, which is a terminal: use ssh -t, or -tt where input is no terminal", self.target)
    }

    /// A signal for a target that speaks telnet.
    pub fn telnet_knows_no_signals(&self) -> String {
        format!("{} speaks telnet, which of signals knows INT and QUIT alone", self.target)
    }

    /// Why the session is over and what to do next.
    pub fn over(&self, ending: &Ending) -> String {
        let target = &self.target;
        match ending {
            Ending::Left => "You left.".to_owned(),
            Ending::TargetClosed => format!("{target} closed the connection."),
            Ending::TargetUnreachable => {
                format!("{target} cannot be reached. Try again later, or ask the control room.")
            }
            Ending::HostKeyChanged => format!(
                "{target} shows another host key than the plant's file names, so nothing was sent to it. \
                 Ask the control room."
            ),
            Ending::Expired => format!("Your time at {target} is over. To go on, ask for a new grant."),
            Ending::Revoked => format!("Your grant for {target} was taken back by an operator. Ask the control room."),
            Ending::Cut { .. } => {
                "Access was cut by an operator, and stays shut until it is reopened. Ask the control room.".to_owned()
            }
            Ending::Idle => {
                format!("Nobody typed anything for {}. Connect again if your grant still stands.", self.idle)
            }
            Ending::EscortLost => {
                "Nobody watches any more, and here an operator must. Ask the control room.".to_owned()
            }
            Ending::NotAccepted => {
                "The shift changed, and nobody in the control room accepted your work. Ask for a new grant.".to_owned()
            }
            Ending::RecorderFailed => {
                "The recording stopped, so the session did: nothing passes here unrecorded. Ask the control room."
                    .to_owned()
            }
            Ending::Stale => {
                "The gate cannot reach its journal, and here no session goes on without it. Ask the control room."
                    .to_owned()
            }
            Ending::Overrun => {
                "More came at once than was asked for, and the gate keeps no more. Connect again; if it happens again, \
                 tell the control room."
                    .to_owned()
            }
            Ending::Shutdown => {
                "The gate is being stopped. Connect again when it is back; your grant stands.".to_owned()
            }
            Ending::Crashed => "The gate stopped without warning. Connect again; your grant stands.".to_owned(),
            Ending::Presumed => {
                "The other gates heard nothing of this one for too long and took your session for over. Connect again; \
                 your grant stands."
                    .to_owned()
            }
        }
    }

    fn clock(&self, deadline: Deadline) -> impl fmt::Display {
        PlantTime::new(deadline.wall, self.timezone.clone()).without_day()
    }
}

/// The gate restarts, and waits until then for whoever is at work.
pub fn restarts(at: &PlantTime) -> String {
    format!("The gate restarts at {}. Finish what you do: this session ends then at the latest.", at.without_day())
}

/// A sentence as a line of its own on a terminal, whatever stood there.
pub fn line(text: &str) -> String {
    format!("\r\n[holdpoint] {text}\r\n")
}

/// The sentences of lines that the gate said on a channel, without what marks them as the gate's there.
pub fn words_of(lines: &str) -> impl Iterator<Item = &str> {
    let marked = |line: &str| ["[holdpoint] ", "holdpoint: "].into_iter().find(|mark| line.starts_with(mark));
    lines.split(['\r', '\n']).map(move |line| &line[marked(line).map_or(0, str::len)..]).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use approver::clock::Boot;

    fn place() -> Place {
        Place {
            target: "hmi-2".parse().expect("a name"),
            asks: Asks::InLobby("ssh -p 2222 tess@gate.mill3.example".into()),
            timezone: TimeZone::UTC,
            idle: Seconds(900),
        }
    }

    fn half_past_two() -> Deadline {
        Deadline { boot: Boot::default(), wall: "2026-11-23T14:30:00Z".parse().expect("a time") }
    }

    fn every_text() -> Vec<String> {
        let place = place();
        let cut = "c_01jd0c4jd0c4jd0c4jd0c4jd0c".parse().expect("an id");
        let endings = [
            Ending::Left,
            Ending::TargetClosed,
            Ending::TargetUnreachable,
            Ending::HostKeyChanged,
            Ending::Expired,
            Ending::Revoked,
            Ending::Cut { cut },
            Ending::Idle,
            Ending::EscortLost,
            Ending::NotAccepted,
            Ending::RecorderFailed,
            Ending::Stale,
            Ending::Overrun,
            Ending::Shutdown,
            Ending::Crashed,
            Ending::Presumed,
        ];
        let frozen = [Frozen::ByOperator, Frozen::NobodyWatches, Frozen::TimeIsUp, Frozen::NotAccepted];
        let [operator, nobody, time, shift] = frozen.map(Some);
        let frozen = [operator, nobody, time, shift, None];
        [
            place.time_left(Duration::from_secs(900), half_past_two()),
            place.time_left(Duration::from_secs(60), half_past_two()),
            place.deadline_moved(half_past_two()),
            place.locked(),
            place.still_locked(&"that code is wrong"),
            place.unlocked(),
            place.recording_is_slow(),
            place.recording_caught_up(),
        ]
        .into_iter()
        .chain(frozen.map(|frozen| place.frozen(frozen, None)))
        .chain([place.frozen(None, Some(Frozen::NobodyWatches))])
        .chain(frozen.map(|frozen| place.waits(frozen)))
        .chain(endings.iter().map(|ending| place.over(ending)))
        .collect()
    }

    #[test]
    fn every_sentence_is_as_it_was_agreed() {
        assert_eq!(every_text().join("\n") + "\n", include_str!("texts.golden"));
    }

    #[test]
    fn every_sentence_is_shown_by_any_terminal_and_fits_a_disconnect() {
        for text in every_text() {
            assert!(text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{text}");
            assert!(text.len() < 200 && text.ends_with(['.', 'N']), "{text}");
        }
    }

    #[test]
    fn whoever_works_on_a_page_is_sent_to_no_other_client() {
        let place = Place { asks: Asks::OnPage, ..place() };
        let left = place.time_left(Duration::from_secs(60), half_past_two());
        assert_eq!(left, "1 minute left, until 14:30 UTC. More time: on the page of your grant");
        assert_eq!(place.how_to_ask(), "Ask for it: on the page of your grant");
    }

    #[test]
    fn a_line_stands_alone() {
        assert_eq!(line("Unlocked."), "\r\n[holdpoint] Unlocked.\r\n");
        let lines = line("Unlocked.") + "holdpoint: shell was refused\r\nplain\r\n";
        assert_eq!(words_of(&lines).collect::<Vec<_>>(), ["Unlocked.", "shell was refused", "plain"]);
    }
}
