//! What one channel may do under the lease as it stands at that moment. What a command line or an SFTP packet means is
//! settled in `files`.

use std::sync::atomic::{AtomicBool, Ordering};

use approver::lease::Orders;
use russh::Sig;

use super::texts::{self, Place};
use crate::files::judge::{Asked, Verdict as FilesVerdict, judge};
use crate::flow::Request;
use crate::ssh::channel::{Inspect, Judge, Verdict, Voice};
use crate::ssh::inspecting::Inspector;

/// Judges the requests of one channel.
pub(super) struct ChannelJudge {
    pub(super) orders: Orders,
    pub(super) place: Place,
    pub(super) voice: Voice,
    pub(super) on_terminal: AtomicBool,
    /// Whether the target speaks telnet, which has a terminal and nothing else.
    pub(super) is_telnet: bool,
    /// Uploads are checked before the target has any of them.
    pub(super) checked: bool,
}

impl ChannelJudge {
    fn asked(&self, asked: Asked<'_>) -> Verdict {
        let ask = self.place.how_to_ask();
        match judge(&self.orders.now().actions, &ask, self.checked, asked) {
            FilesVerdict::Refuse(words) => Verdict::Refuse(words),
            FilesVerdict::Allow(inspect) => {
                let inspect = inspect.map(|inspect| Box::new(Inspector::new(inspect)) as Box<dyn Inspect>);
                Verdict::Allow { instead: None, inspect }
            }
        }
    }

    /// Why telnet cannot do what is asked, and what can be done; `None` where it can.
    fn beyond_telnet(&self, request: &Request) -> Option<String> {
        match request {
            Request::Exec(_) => Some(self.place.telnet_runs_no_commands()),
            Request::Subsystem(_) => Some(self.place.telnet_copies_no_files()),
            Request::Shell if !self.on_terminal.load(Ordering::Relaxed) => Some(self.place.telnet_needs_a_terminal()),
            Request::Signal(Sig::INT | Sig::QUIT) => None,
            Request::Signal(_) => Some(self.place.telnet_knows_no_signals()),
            Request::Pty { .. } | Request::Env { .. } | Request::Shell | Request::WindowChange(_) => None,
        }
    }

    /// Whoever opens a terminal on a session that stands still learns why.
    fn terminal(&self) -> Verdict {
        self.on_terminal.store(true, Ordering::Relaxed);
        if let Some(frozen) = self.orders.now().frozen {
            self.voice.say(&texts::line(&self.place.frozen(Some(frozen), None)));
        }
        Verdict::allow()
    }
}

impl Judge for ChannelJudge {
    fn judge(&self, request: &Request) -> Verdict {
        if let Some(words) = self.is_telnet.then(|| self.beyond_telnet(request)).flatten() {
            return Verdict::Refuse(words);
        }
        match request {
            Request::Pty { .. } => self.terminal(),
            Request::Shell => self.asked(Asked::Shell),
            Request::Exec(line) => {
                self.asked(Asked::Exec { line, on_terminal: self.on_terminal.load(Ordering::Relaxed) })
            }
            // A terminal changes bytes by modes that the client chooses: whoever looks into them would see others than the target.
            Request::Subsystem(_) if self.on_terminal.load(Ordering::Relaxed) => {
                Verdict::Refuse("files are not copied on a terminal: connect without one (no -t).".to_owned())
            }
            Request::Subsystem(name) => self.asked(Asked::Subsystem(name)),
            Request::Env { .. } | Request::WindowChange(_) | Request::Signal(_) => Verdict::allow(),
        }
    }

    fn waits(&self) -> String {
        self.place.waits(self.orders.now().frozen)
    }
}
