//! What must be granted before a channel may start a program, and what looks into it when it has. Pty, environment and
//! the rest of a channel's requests are judged in `ssh::channel`; here is only what the channel is for.

use std::fmt;

use policies::actions::{Action, Actions};

use super::Inspect;
use super::scp::{Command, Copy, Direction, parse_command};
use super::sftp::{Allowed, Sftp};

/// What a channel is to be used for: RFC 4254, 6.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A shell.
    Shell,
    /// One command, and whether on a terminal.
    Exec {
        /// The command line.
        line: &'a [u8],
        /// A terminal was asked for before: no file copy wants one.
        on_terminal: bool,
    },
    /// A subsystem, by name.
    Subsystem(&'a str),
}

/// Whether a channel may be used for what was asked.
pub enum Verdict {
    /// It may; what passes is shown to the inspector, if there is one.
    Allow(Option<Box<dyn Inspect>>),
    /// It may not, and this says why and what to do next.
    Refuse(String),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(inspector) => f.debug_tuple("Allow").field(&inspector.is_some()).finish(),
            Self::Refuse(words) => f.debug_tuple("Refuse").field(words).finish(),
        }
    }
}

/// Judges what a channel is to be used for. Whoever has `shell` may copy files too, since any command could; they are
/// listed all the same. `ask` is a sentence that says how to ask for more; with `checked`, each upload is checked before the
/// target has any of it.
pub fn judge(granted: &Actions, ask: &str, checked: bool, asked: Asked<'_>) -> Verdict {
    let has = |action| granted.contains(&action) || granted.contains(&Action::Shell);
    let not_granted = |what: &str| Verdict::Refuse(format!("{what} not granted here. {ask}"));
    match asked {
        Asked::Shell | Asked::Exec { on_terminal: true, .. } if has(Action::Shell) => Verdict::Allow(None),
        Asked::Shell => not_granted("shell is"),
        Asked::Exec { on_terminal: true, .. } => not_granted("commands on a terminal need shell, which is"),
        Asked::Exec { line, on_terminal: false } => match parse_command(line) {
            Command::Scp(scp) => {
                let action = match scp.direction {
                    Direction::Get => Action::FileGet,
                    Direction::Put => Action::FilePut,
                };
                if has(action) {
                    Verdict::Allow(Some(Box::new(Copy::new(scp, checked))))
                } else {
                    not_granted(&format!("{action} is"))
                }
            }
            Command::Rsync | Command::Other if has(Action::Shell) => Verdict::Allow(None),
            Command::Rsync => not_granted("rsync can run commands, so it needs shell, which is"),
            Command::Other => not_granted("commands need shell, which is"),
        },
        Asked::Subsystem("sftp") => {
            let (get, put) = (has(Action::FileGet), has(Action::FilePut));
            let allowed = Allowed { get, put, checked, ask: ask.to_owned() };
            if get || put {
                Verdict::Allow(Some(Box::new(Sftp::new(allowed))))
            } else {
                not_granted("copying files is")
            }
        }
        Asked::Subsystem(_) => {
            Verdict::Refuse("of subsystems only sftp is carried here; use a command instead.".to_owned())
        }
    }
}

/// What a channel is for, in actions: one of them must be granted for it. Nothing where none would do.
pub fn wants(asked: Asked<'_>) -> Actions {
    let or_shell = |actions: &[Action]| actions.iter().copied().chain([Action::Shell]).collect();
    match asked {
        Asked::Shell | Asked::Exec { on_terminal: true, .. } => or_shell(&[]),
        Asked::Exec { line, on_terminal: false } => match parse_command(line) {
            Command::Scp(scp) if scp.direction == Direction::Get => or_shell(&[Action::FileGet]),
            Command::Scp(_) => or_shell(&[Action::FilePut]),
            Command::Rsync | Command::Other => or_shell(&[]),
        },
        Asked::Subsystem("sftp") => or_shell(&[Action::FileGet, Action::FilePut]),
        Asked::Subsystem(_) => Actions::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: &str = "Ask for it: ssh gate request.";

    fn verdict(granted: &[Action], asked: Asked<'_>) -> Result<bool, String> {
        match judge(&granted.iter().copied().collect(), ASK, false, asked) {
            Verdict::Allow(inspector) => Ok(inspector.is_some()),
            Verdict::Refuse(words) => Err(words),
        }
    }

    fn exec(line: &str) -> Asked<'_> {
        Asked::Exec { line: line.as_bytes(), on_terminal: false }
    }

    #[test]
    fn a_copy_needs_the_action_of_its_direction() {
        for (line, action, other) in
            [("scp -t x", Action::FilePut, Action::FileGet), ("scp -f x", Action::FileGet, Action::FilePut)]
        {
            assert_eq!(verdict(&[action], exec(line)), Ok(true));
            let words = verdict(&[other], exec(line)).unwrap_err();
            assert_eq!(words, format!("{action} is not granted here. {ASK}"));
        }
    }

    #[test]
    fn a_prefix_does_not_make_it_a_file_copy() {
        let files = [Action::FileGet, Action::FilePut];
        for line in ["scp -t x; bash", "rsync --server . x", "bash"] {
            assert!(verdict(&files, exec(line)).is_err(), "{line}");
            assert_eq!(verdict(&[Action::Shell], exec(line)), Ok(false));
        }
        assert!(verdict(&files, Asked::Exec { line: b"scp -t x", on_terminal: true }).is_err());
    }

    #[test]
    fn sftp_needs_either_direction_and_nothing_else_is_a_subsystem() {
        let sftp = Asked::Subsystem("sftp");
        for action in [Action::FileGet, Action::FilePut, Action::Shell] {
            assert_eq!(verdict(&[action], sftp), Ok(true));
        }
        assert!(verdict(&[Action::Tunnel, Action::Observe], sftp).is_err());
        assert!(verdict(&Action::ALL, Asked::Subsystem("netconf")).is_err());
        assert!(verdict(&Action::ALL, Asked::Subsystem("SFTP")).is_err());
    }

    #[test]
    fn a_shell_needs_shell() {
        assert_eq!(verdict(&[Action::Shell], Asked::Shell), Ok(false));
        assert!(verdict(&[Action::FileGet, Action::FilePut, Action::Tunnel], Asked::Shell).is_err());
    }

    #[test]
    fn what_a_channel_wants_is_what_lets_it_be_judged_well() {
        let all = [Asked::Shell, exec("bash"), exec("scp -t x"), exec("scp -f x"), exec("rsync --server . x")];
        for asked in
            all.into_iter().chain([Asked::Subsystem("sftp"), Asked::Exec { line: b"scp -t x", on_terminal: true }])
        {
            for action in Action::ALL {
                assert_eq!(wants(asked).contains(&action), verdict(&[action], asked).is_ok(), "{asked:?}, {action}");
            }
        }
        assert!(wants(Asked::Subsystem("netconf")).is_empty());
    }
}
