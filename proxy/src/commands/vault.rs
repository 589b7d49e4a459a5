//! `holdpoint vault`: the process that holds the gate's keys, as a service of its own or as the gate starts it.

use std::path::PathBuf;

use super::{Done, Failure};
use crate::config::{Config, VaultAt};
use crate::serve::{self, LogForm};
use crate::vault;

/// Hold the gate's private keys and open targets' secrets for it, in a process of its own: at the socket that `vault` under
/// [keys] names, best under another account. Without that key the gate starts one itself.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The gate's configuration.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// Write the log as JSON lines.
    #[arg(long)]
    log_json: bool,
    /// Answer the gate that started this, over standard output.
    #[arg(long, hide = true)]
    child: bool,
}

pub(super) fn run(args: &Args) -> Done {
    serve::log(if args.log_json { LogForm::Json } else { LogForm::Text }, None);
    let config = Config::load(&args.config).map_err(Failure::usage)?;
    let path = std::path::absolute(&args.config).map_err(Failure::usage)?;
    match (&config.vault, args.child) {
        (_, true) => vault::serve_parent(&config, &path).map_err(Failure::failed),
        (VaultAt::Socket(socket), false) => vault::serve_socket(&config, &path, socket).map_err(Failure::failed),
        (VaultAt::Child, false) => Err(Failure::usage(
            "the gate starts its vault itself: for a service of its own write vault = \"/run/holdpoint-vault/socket\" under [keys]",
        )),
    }
}
