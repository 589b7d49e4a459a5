//! `holdpoint completions` and `man`: what shells and readers of manuals need to know of what can be typed, made from the very
//! description that reads it.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, Done, Failure};
use crate::saying;

/// Print what makes a shell complete this program's commands and options.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Write the manual pages of all commands into a folder.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The folder; it must exist.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "holdpoint", &mut script);
    saying::write_bytes(&script);
}

pub(super) fn man(args: &ManArgs) -> Done {
    let written = clap_mangen::generate_to(Cli::command(), &args.dir);
    written.map_err(|cause| Failure::failed(format_args!("{}: {cause}", args.dir.display())))
}
