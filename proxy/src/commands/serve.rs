//! `holdpoint serve`: the program, until it is told to stop.

use std::path::PathBuf;
use std::time::Duration;

use approver::clock::Clock;
use certs::keys::KeyFault;
use certs::vault::VaultFault;

use super::{Done, Failure, print_json};
use crate::app::App;
use crate::config::Config;
use crate::serve::{self, LogForm};
use crate::{confine, vault};

/// Serve both faces until told to stop (SIGTERM or Ctrl-C); then every session ends in order and is sealed. SIGHUP reads the
/// configuration again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// Once it serves, say where on standard output: one line of JSON, with the ports the system chose where the
    /// configuration says 0.
    #[arg(long)]
    json: bool,
    /// Write the log as JSON lines.
    #[arg(long)]
    log_json: bool,
    /// What to log, such as `debug` or `proxy=debug`.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// How long the end waits for answers of a vault or a disk that hangs. What has to be kept was waited for before.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

pub(super) fn run(args: &Args) -> Done {
    let form = if args.log_json { LogForm::Json } else { LogForm::Text };
    serve::log(form, args.log.as_deref());
    serve::harden();
    let config = Config::load(&args.config).map_err(Failure::usage)?;
    confine::check(&config).map_err(Failure::usage)?;
    // Before any thread is started: what a process may do is settled thread by thread.
    let mut vault = vault::reach(&config, &args.config, form).map_err(Failure::failed)?;
    let keys = match vault.keys() {
        Err(KeyFault::Vault(VaultFault::Sealed(why))) => return Err(Failure::usage(why)),
        keys => keys,
    };
    let guarded = format!("{}. {}", vault.whose(), confine::gate(&config));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let done: Done = runtime.block_on(async {
        let app = App::start_with(config, keys, guarded, Clock::system()).await.map_err(Failure::failed)?;
        if args.json {
            print_json(app.addresses())?;
        }
        serve::until_told(app, &args.config, vault.line()).await.map_err(Failure::failed)
    });
    runtime.shutdown_timeout(LAST_ANSWERS);
    done
}
