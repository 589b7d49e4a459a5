//! What may be done at a target. A grant holds a set; no action contains another.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that may be done. The order is one of harm, for showing; it is not containment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read data through a protocol gate.
    Observe,
    /// Read program or configuration: intellectual property leaves.
    Upload,
    /// Write values and commands.
    Operate,
    /// Download logic, configuration, firmware.
    Program,
    /// Start, stop, reset, change mode, force, set the clock.
    Control,
    /// A shell, or any command; includes whatever the account may do.
    Shell,
    /// Copy files from the target.
    FileGet,
    /// Copy files to the target.
    FilePut,
    /// A TCP connection nobody looks into: anything may be done.
    Tunnel,
}

/// A set of actions, in the order of harm.
pub type Actions = BTreeSet<Action>;

impl Action {
    /// Every action, in the order of harm.
    pub const ALL: [Self; 9] = [
        Self::Observe,
        Self::Upload,
        Self::Operate,
        Self::Program,
        Self::Control,
        Self::Shell,
        Self::FileGet,
        Self::FilePut,
        Self::Tunnel,
    ];

    /// The word for it in files, commands and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Upload => "upload",
            Self::Operate => "operate",
            Self::Program => "program",
            Self::Control => "control",
            Self::Shell => "shell",
            Self::FileGet => "file-get",
            Self::FilePut => "file-put",
            Self::Tunnel => "tunnel",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no action; there are observe, upload, operate, program, control, shell, file-get, file-put, tunnel")]
pub struct NoSuchAction(String);

impl FromStr for Action {
    type Err = NoSuchAction;
    fn from_str(text: &str) -> Result<Self, NoSuchAction> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| NoSuchAction(text.chars().take(40).collect()))
    }
}
