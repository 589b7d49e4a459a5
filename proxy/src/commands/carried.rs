//! Files that people carry between machines, or that come out of a backup, each as the command that takes it reads it. For
//! whoever tries those parsers from outside.

use approver::directory::Dumped;

use super::{memory, rebuild, restore};

/// What `holdpoint restore -o` writes and `--sign` and `--with` take: as it would be written again, and the lines that are
/// shown of it.
///
/// # Errors
/// Why it is none, in words for a terminal.
pub fn restore_paper(text: &str) -> Result<(String, Vec<String>), String> {
    restore::read_again(text)
}

/// What `holdpoint verify` remembers (`seen.toml`): as it would be written again.
///
/// # Errors
/// Why it is none, in words for a terminal.
pub fn seen(text: &str) -> Result<String, String> {
    memory::read_again(text)
}

/// `directory.jsonl` out of a backup: keys and values.
///
/// # Errors
/// Why it is none, in words for a terminal.
pub fn directory(text: &str) -> Result<Dumped, String> {
    rebuild::parse(text)
}
