//! What can be typed. Each command is a file beside this one; here are their names, and what an exit code means.

mod check;
mod demo;
mod explain;
mod init;
mod reading;
mod serve;
mod verify;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Remote access to a plant's machines: approved, limited in time, recorded.
#[derive(Debug, Parser)]
#[command(name = "holdpoint", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Serve(serve::Args),
    Check(check::Args),
    Explain(explain::Args),
    Recordings(reading::RecordingsArgs),
    Play(reading::PlayArgs),
    Export(reading::ExportArgs),
    Verify(verify::Args),
}

/// Does what the arguments say. Exit codes: 0 done, 1 refused or not whole, 2 wrong use or configuration, 3 failed.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Recordings(args) => reading::list(&args),
        Command::Play(args) => reading::play(&args),
        Command::Export(args) => reading::export(&args),
        Command::Verify(args) => verify::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("holdpoint: {}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command did not do what was asked, and its exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// A no.
    fn refused(reason: impl fmt::Display) -> Self {
        Self { code: 1, text: reason.to_string() }
    }

    /// Wrong use, or a wrong file.
    fn usage(what: impl fmt::Display) -> Self {
        Self { code: 2, text: what.to_string() }
    }

    /// It could not be done.
    fn failed(cause: impl fmt::Display) -> Self {
        Self { code: 3, text: cause.to_string() }
    }

    /// A no that was told already.
    const fn told(code: u8) -> Self {
        Self { code, text: String::new() }
    }
}

type Done = Result<(), Failure>;

/// One line of JSON, for machines.
fn print_json(value: &impl serde::Serialize) -> Done {
    let text = serde_json::to_string(value).map_err(Failure::failed)?;
    println!("{text}");
    Ok(())
}
