//! What can be typed. Each command is a file beside this one; here are their names, and what an exit code means.

mod adopt;
mod approve;
mod backup;
mod capture;
mod card;
pub mod carried;
mod certify;
mod check;
mod checkpoint;
mod close_out;
mod connect;
mod cut;
mod demo;
mod dry_run;
mod enrol;
mod evidence;
mod explain;
mod exporting;
mod feed;
mod fetch;
mod from_bucket;
mod gate;
mod guests;
mod init;
mod invite;
mod keeping;
mod keys;
mod login;
mod memory;
mod migrate;
mod nodes;
mod people;
mod reading;
mod rebuild;
mod rehearsing;
mod report;
mod request;
mod requests;
mod restore;
mod reviews;
mod secret;
mod serve;
mod sessions;
mod shift;
mod showing;
mod status;
mod typing;
mod vault;
mod verify;
mod watch;
mod web;
mod witness;

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::saying;

/// Remote access to a plant's machines: approved, limited in time, recorded.
#[derive(Debug, Parser)]
#[command(name = "holdpoint", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    profile: gate::ProfileArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Serve(serve::Args),
    Vault(vault::Args),
    Keys(keys::Args),
    Check(check::Args),
    Explain(explain::Args),
    Recordings(reading::RecordingsArgs),
    Play(reading::PlayArgs),
    Export(exporting::Args),
    DryRun(dry_run::Args),
    Evidence(evidence::Args),
    Verify(verify::Args),
    Enrol(enrol::Args),
    Login(login::Args),
    Status(status::Args),
    People(people::ListArgs),
    Invite(invite::Args),
    Guests(guests::Args),
    Reviews(reviews::Args),
    Report(report::Args),
    Reinvite(invite::AgainArgs),
    Certify(certify::Args),
    Rename(people::RenameArgs),
    Disable(people::DisableArgs),
    Contract(people::ContractArgs),
    Manager(people::ManagerArgs),
    Attest(people::AttestArgs),
    Connect(connect::Args),
    Request(request::Args),
    Extend(request::ExtendArgs),
    Widen(request::WidenArgs),
    Withdraw(request::WithdrawArgs),
    Requests(requests::ListArgs),
    Approve(approve::ApproveArgs),
    Deny(approve::DenyArgs),
    Revoke(requests::RevokeArgs),
    CloseOut(close_out::Args),
    Shift(shift::Args),
    Sessions(sessions::ListArgs),
    /// Stop a session's input at once, until `thaw`
    #[command(visible_alias = "pause")]
    Freeze(sessions::OneArgs),
    /// Let a session's input go on
    #[command(visible_alias = "resume")]
    Thaw(sessions::OneArgs),
    Tell(sessions::TellArgs),
    /// Close a session's connections to its target, so that others may have them; the session goes on
    Disconnect(sessions::OneArgs),
    Watch(watch::Args),
    Capture(capture::Args),
    Feed(feed::Args),
    Cut(cut::CutArgs),
    Cuts(cut::ListArgs),
    Reopen(cut::ReopenArgs),
    Adopt(adopt::Args),
    #[command(subcommand)]
    Secret(secret::Command),
    Fetch(fetch::Args),
    Nodes(nodes::Args),
    Backup(backup::Args),
    Rebuild(rebuild::Args),
    Migrate(migrate::Args),
    Restore(restore::Args),
    Checkpoint(checkpoint::Args),
    Hold(keeping::HoldArgs),
    Release(keeping::ReleaseArgs),
    Erase(keeping::EraseArgs),
    Witness(witness::Args),
    Completions(typing::CompletionsArgs),
    Man(typing::ManArgs),
}

/// Does what the arguments say. Exit codes: 0 done, 1 refused or not whole, 2 wrong use or configuration, 3 failed, 4 open
/// (`verify` alone); 141 if whoever read standard output went away before the end, as for any program that a closed pipe
/// ends.
pub fn run() -> ExitCode {
    let Cli { profile, command } = Cli::parse();
    let done = saying::to_its_end(|| act(command, &profile)).unwrap_or_else(|cause| {
        Err(match cause.kind() {
            io::ErrorKind::BrokenPipe => Failure::told(PIPE_CLOSED),
            _ => Failure::failed(format_args!("standard output: {cause}")),
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                saying::aside(format_args!("holdpoint: {}", failure.text));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// What a shell says of a program that SIGPIPE ended: 128 and 13.
const PIPE_CLOSED: u8 = 141;

fn act(command: Command, profile: &gate::ProfileArg) -> Done {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Vault(args) => vault::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Recordings(args) => reading::list(&args),
        Command::Play(args) => reading::play(&args),
        Command::Export(args) => exporting::run(&args),
        Command::DryRun(args) => dry_run::run(&args),
        Command::Evidence(args) => evidence::run(&args, profile),
        Command::Verify(args) => verify::run(&args, profile),
        Command::Enrol(args) => enrol::run(&args, profile),
        Command::Login(args) => login::run(&args, profile),
        Command::Status(args) => status::run(&args, profile),
        Command::People(args) => people::list(&args, profile),
        Command::Invite(args) => invite::run(&args, profile),
        Command::Guests(args) => guests::run(&args, profile),
        Command::Reviews(args) => reviews::run(&args, profile),
        Command::Report(args) => report::run(&args, profile),
        Command::Reinvite(args) => invite::again(&args, profile),
        Command::Certify(args) => certify::run(&args, profile),
        Command::Rename(args) => people::rename(&args, profile),
        Command::Disable(args) => people::disable(&args, profile),
        Command::Contract(args) => people::contract(&args, profile),
        Command::Manager(args) => people::manager(&args, profile),
        Command::Attest(args) => people::attest(&args, profile),
        Command::Connect(args) => connect::run(&args, profile),
        Command::Request(args) => request::run(&args, profile),
        Command::Extend(args) => request::extend(&args, profile),
        Command::Widen(args) => request::widen(&args, profile),
        Command::Withdraw(args) => request::withdraw(&args, profile),
        Command::Requests(args) => requests::list(&args, profile),
        Command::Approve(args) => approve::approve(&args, profile),
        Command::Deny(args) => approve::deny(&args, profile),
        Command::Revoke(args) => requests::revoke(&args, profile),
        Command::CloseOut(args) => close_out::run(&args, profile),
        Command::Shift(args) => shift::run(&args, profile),
        Command::Sessions(args) => sessions::list(&args, profile),
        Command::Freeze(args) => sessions::freeze(&args, profile),
        Command::Disconnect(args) => sessions::disconnect(&args, profile),
        Command::Thaw(args) => sessions::thaw(&args, profile),
        Command::Tell(args) => sessions::tell(&args, profile),
        Command::Watch(args) => watch::run(&args, profile),
        Command::Capture(args) => capture::run(&args, profile),
        Command::Feed(args) => feed::run(&args, profile),
        Command::Cut(args) => cut::cut(&args, profile),
        Command::Cuts(args) => cut::list(&args, profile),
        Command::Reopen(args) => cut::reopen(&args, profile),
        Command::Adopt(args) => adopt::run(&args, profile),
        Command::Secret(command) => secret::run(&command, profile),
        Command::Fetch(args) => fetch::run(&args, profile),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Restore(args) => restore::run(&args, profile),
        Command::Nodes(args) => nodes::run(&args, profile),
        Command::Backup(args) => backup::run(&args, profile),
        Command::Checkpoint(args) => checkpoint::run(&args, profile),
        Command::Hold(args) => keeping::hold(&args, profile),
        Command::Release(args) => keeping::release(&args, profile),
        Command::Erase(args) => keeping::erase(&args, profile),
        Command::Witness(args) => witness::run(&args),
        Command::Completions(args) => {
            typing::completions(&args);
            Ok(())
        }
        Command::Man(args) => typing::man(&args),
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

/// One line of JSON, for machines. It may be looked at in a terminal all the same: what would move or hide something there
/// is written as an escape.
fn print_json(value: &impl serde::Serialize) -> Done {
    let text = serde_json::to_string(value).map_err(Failure::failed)?;
    say!("{}", showing::plain_json(&text));
    Ok(())
}
