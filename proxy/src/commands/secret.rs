//! `holdpoint secret`: targets' credentials go in, by terminal or standard input, and never come out.

use std::io::{self, IsTerminal as _, Read as _};

use approver::api::types::{SecretNames, SecretSet};
use policies::ids::CredentialName;
use zeroize::Zeroizing;

use super::gate::{ProfileArg, at_gate};
use super::{Done, Failure, print_json};
use crate::secret::ask_hidden;

/// Set, list and forget targets' credentials. No value is ever shown.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Set one: a password, asked on the terminal without showing it, or all of standard input, which may be a private key
    /// in OpenSSH's form.
    Set {
        /// As the plant file names it.
        #[arg(value_name = "NAME")]
        name: CredentialName,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// List the names of those that were set.
    List {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Forget one.
    Forget {
        /// As the plant file names it.
        #[arg(value_name = "NAME")]
        name: CredentialName,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| match command {
        Command::Set { name, json } => {
            let set = SecretSet { secret: value(name)?.to_string() };
            client.act("PUT", &format!("/api/v1/secrets/{name}"), Some(&set)).await?;
            if *json {
                return print_json(&serde_json::json!({ "set": name }));
            }
            say!("{name} is set.");
            Ok(())
        }
        Command::List { json } => {
            let names: SecretNames = client.get("/api/v1/secrets").await?;
            if *json {
                return print_json(&names);
            }
            names.names.iter().for_each(|name| say!("{name}"));
            Ok(())
        }
        Command::Forget { name, json } => {
            client.act("DELETE", &format!("/api/v1/secrets/{name}"), None::<&()>).await?;
            if *json {
                return print_json(&serde_json::json!({ "forgotten": name }));
            }
            say!("{name} is forgotten.");
            Ok(())
        }
    })
}

/// Far above what the gate takes.
const VALUE_BYTES_MAX: u64 = 64 << 10;

fn value(name: &CredentialName) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        return ask_hidden(&format!("Value of {name}: ")).map_err(Failure::usage);
    }
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(VALUE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|cause| Failure::usage(format_args!("standard input holds no text: {cause}")))?;
    Ok(text)
}
