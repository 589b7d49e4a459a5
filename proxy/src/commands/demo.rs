//! `holdpoint demo`: a plant on loopback to try everything on, or to watch it play its own story.

use std::path::PathBuf;

use super::{Done, Failure};
use crate::demo::{self, DemoFault};
use crate::serve::{self, LogForm};

/// Start a plant on loopback, with a simulated machine and people, and say what can be typed.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Play the whole story, each step checked; exit code 0 if every one was as told.
    #[arg(long)]
    auto: bool,
    /// Keep everything in this new folder; otherwise all of it is removed at the end.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What to log of the gate, such as `info`.
    #[arg(long, value_name = "FILTER", default_value = "error")]
    log: String,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print a code of a demo person's authenticator app, as a phone would.
    Code {
        /// Who: ada, lee or tess.
        name: String,
        /// The demo's folder.
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

pub(super) fn run(args: &Args) -> Done {
    if let Some(What::Code { name, dir }) = &args.what {
        say!("{}", demo::code(dir, name).map_err(told)?.as_str());
        return Ok(());
    }
    serve::log(LogForm::Text, Some(&args.log));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let dir = args.dir.as_deref();
    let shown = async { if args.auto { Box::pin(demo::play(dir)).await } else { Box::pin(demo::show(dir)).await } };
    runtime.block_on(shown).map_err(told)
}

fn told(fault: DemoFault) -> Failure {
    match fault {
        DemoFault::NotEmpty(_) | DemoFault::Nobody { .. } => Failure::usage(fault),
        DemoFault::Step { .. } => Failure::refused(fault),
        other => Failure::failed(other),
    }
}
