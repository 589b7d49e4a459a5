//! `holdpoint init`: an installation in a new folder, and what to do next.

use std::path::{Path, PathBuf};

use approver::clock::Clock;
use approver::people::Invitation;
use certs::keys::Seal;
use policies::ids::{DeploymentId, PersonId};

use super::{Done, Failure, print_json};
use crate::browsers::{CA, STEPS};
use crate::config::{Origin, SealWord};
use crate::founding::{CONFIG, Founded, FoundingFault, PLANT, Plan, TRUST, found};
use crate::secret::{ask_hidden, open_seal};

/// Make an installation in a new folder: keys, configuration, an example plant, and codes for the first people.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The installation's name; part of everything that is signed, so it can never change.
    #[arg(long, value_name = "NAME", default_value = "plant")]
    name: DeploymentId,
    /// How technicians name the gate.
    #[arg(long, value_name = "ORIGIN", default_value = "https://gate.plant.example:8443")]
    vendor_origin: String,
    /// How the plant's own people name it.
    #[arg(long, value_name = "ORIGIN", default_value = "https://holdpoint.plant.example:9443")]
    plant_origin: String,
    /// The plant file to begin with; an example, if left out.
    #[arg(long, value_name = "FILE")]
    plant: Option<PathBuf>,
    /// An auditor's recipient (age1…); two at least. If none is given, two keys are made, to be moved away.
    #[arg(long = "recipient", value_name = "AGE")]
    recipients: Vec<String>,
    /// The first administrators.
    #[arg(long = "administrator", value_name = "NAME", default_value = "admin")]
    administrators: Vec<String>,
    /// The first operators, in every group the plant file names; two, so that two can be asked for.
    #[arg(long = "operator", value_name = "NAME", default_values = ["operator-1", "operator-2"])]
    operators: Vec<String>,
    /// What opens the gate's keys: `check` says what a thief of the disk gets. A passphrase is asked for now and at each start; a
    /// credential has to be handed over by systemd now and at each start.
    #[arg(long, value_name = "SEAL", value_enum, default_value = "file")]
    seal: SealWord,
    /// For machines: with the codes, which are shown only here.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Told<'a> {
    dir: &'a Path,
    codes: Vec<Code>,
    auditor_keys: &'a [PathBuf],
    ssh_fingerprint: &'a str,
    known_hosts: &'a str,
}

#[derive(serde::Serialize)]
struct Code {
    name: String,
    person: PersonId,
    code: String,
}

const EXAMPLE: &str = include_str!("../../../policies/examples/packaging-line.toml");

pub(super) fn run(args: &Args) -> Done {
    let plant = match &args.plant {
        None => EXAMPLE.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|cause| Failure::usage(format_args!("{}: {cause}", path.display())))?,
    };
    let plan = Plan {
        folder: args.dir.clone(),
        deployment: args.name.clone(),
        plant,
        config: config(&args.vendor_origin, &args.plant_origin, args.seal)?,
        administrators: args.administrators.clone(),
        operators: args.operators.clone(),
        recipients: args.recipients.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let founded = runtime.block_on(found(plan, &new_seal(args.seal)?, Clock::system())).map_err(told)?;
    if args.json {
        return print_json(&as_told(&args.dir, &founded));
    }
    tell(args, &founded);
    Ok(())
}

/// What is to open the keys. A passphrase with a slip in it would open nothing ever again, so it is asked for twice.
fn new_seal(word: SealWord) -> Result<Seal, Failure> {
    let seal = open_seal(word).map_err(Failure::usage)?;
    if let Seal::Passphrase(passphrase) = &seal {
        let again = ask_hidden("The same again: ").map_err(Failure::usage)?;
        if again.is_empty() || again != *passphrase {
            return Err(Failure::usage("the two are not the same, or empty: nothing was made"));
        }
    }
    Ok(seal)
}

fn as_told<'a>(dir: &'a Path, founded: &'a Founded) -> Told<'a> {
    let code = |invitation: &Invitation| Code {
        name: invitation.name.clone(),
        person: invitation.person,
        code: invitation.code.reveal().to_string(),
    };
    Told {
        dir,
        codes: founded.invitations.iter().map(code).collect(),
        auditor_keys: &founded.auditor_keys,
        ssh_fingerprint: &founded.ssh_fingerprint,
        known_hosts: founded.known_hosts.trim(),
    }
}

fn told(fault: FoundingFault) -> Failure {
    match fault {
        FoundingFault::NotEmpty(_) | FoundingFault::Plant(_) | FoundingFault::Config(_) => Failure::usage(fault),
        other => Failure::failed(other),
    }
}

/// The configuration to begin with. The plant face listens on this machine alone until somebody opens it.
fn config(vendor: &str, plant: &str, seal: SealWord) -> Result<String, Failure> {
    let parsed = |text: &str| text.parse::<Origin>().map_err(|wrong| Failure::usage(format_args!("{text}: {wrong}")));
    let (vendor, plant) = (parsed(vendor)?, parsed(plant)?);
    let seal = format!("{:<21}", format!("{:?}", seal.as_str()));
    Ok(format!(
        "# What this program listens on and where it keeps what must not be lost. `holdpoint check` reads it.\n\
         \n\
         [faces.vendor]                      # technicians\n\
         origin = \"{vendor}\"\n\
         ssh = [\"0.0.0.0:2222\"]\n\
         pages = [\"0.0.0.0:8443\"]\n\
         \n\
         [faces.plant]                       # operators, auditors, administrators\n\
         origin = \"{plant}\"\n\
         listen = [\"127.0.0.1:9443\"]\n\
         \n\
         [store]\n\
         data = \"data\"\n\
         recipients = [{{recipients}}]\n\
         reserve = \"10 GiB\"                  # below this much free space nobody new is let in\n\
         \n\
         [keys]\n\
         seal = {seal}        # `holdpoint check` says what a thief of the disk gets\n"
    ))
}

fn tell(args: &Args, founded: &Founded) {
    let dir = args.dir.display();
    say!("Made {dir}: {CONFIG}, {PLANT}, {TRUST}, {CA}, {STEPS}, keys, data.\n");
    if !founded.auditor_keys.is_empty() {
        say!("MOVE THESE AWAY NOW, to two auditors. Whoever has one opens every recording; without both gone");
        say!("from here, so does a thief of this machine:");
        for key in &founded.auditor_keys {
            say!("  {}", key.display());
        }
        say!();
    }
    say!("One-use codes for the first people. Each is shown only here:");
    for Invitation { name, code, .. } in &founded.invitations {
        say!("  {name:<16} {}", code.reveal().as_str());
    }
    say!("\nNext:");
    say!("  1. Put your zones, targets and rules into {dir}/{PLANT}, names and addresses into {dir}/{CONFIG}.");
    say!("     holdpoint check --config {dir}/{CONFIG} --plant {dir}/{PLANT}");
    say!("  2. holdpoint serve --config {dir}/{CONFIG}");
    say!("  3. Each of the first people, from a machine of their own: holdpoint enrol --gate {}", args.plant_origin);
    say!("     or in a browser, once {dir}/{STEPS} was followed there.");
    say!("  4. When all have enrolled, hand {dir}/{TRUST} to the auditors, and print it.");
    say!("\nFor the technicians you invite then:");
    say!("  PuTTY shows this fingerprint of the gate: {}", founded.ssh_fingerprint);
    say!("  OpenSSH trusts it and every target behind it by this line in known_hosts:");
    say!("  {}", founded.known_hosts);
}
