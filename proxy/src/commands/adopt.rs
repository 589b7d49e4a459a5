//! `holdpoint adopt`: a new plant file is put up and signed. What changes is told in words first, from the two texts
//! themselves; what is signed is the digest of the file that was read here.

use std::path::PathBuf;

use approver::api::types::{Done as Happened, PlantFile, PlantProposed, PlantSignature, PlantTemplate, ProposePlant};
use approver::difference;
use certs::sshsig::Namespace;
use policies::digest::Digest;
use toml::Table;

use super::check::load_plant;
use super::gate::{ProfileArg, at_gate, confirm};
use super::showing::{labelled, plain};
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault};

/// Sign a plant file: an administrator puts it up and signs, then those sign whom the file in force names.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plant file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// For machines, which read no differences: with --yes alone.
    #[arg(long, requires = "yes")]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    load_plant(&args.file)?;
    let text = std::fs::read_to_string(&args.file).map_err(Failure::usage)?;
    let digest = Digest::of_bytes(text.as_bytes());
    at_gate(profile, async |client| {
        let current: PlantFile = client.get("/api/v1/plant").await?;
        if current.digest == digest {
            if args.json {
                return print_json(&current);
            }
            say!("This file is in force already.");
            return Ok(());
        }
        if !args.json {
            show(&current, &text, digest)?;
        }
        confirm("Sign this plant file?", args.yes)?;
        put_up(client, &text, digest).await?;
        sign(client, digest, Digest::of_bytes(current.text.as_bytes())).await?;
        let after: PlantFile = client.get(&format!("/api/v1/plant/files/{digest}")).await?;
        if args.json {
            return print_json(&after);
        }
        tell(&after);
        Ok(())
    })
}

fn show(current: &PlantFile, text: &str, digest: Digest) -> Done {
    let parsed = |text: &str| text.parse::<Table>().map_err(|cause| Failure::from(Fault::Odd(cause.to_string())));
    let lines = difference::in_words(&parsed(&current.text)?, &parsed(text)?);
    if lines.is_empty() {
        say!("It says the same as the file in force, in other words.");
    }
    lines.iter().for_each(|line| say!("{line}"));
    say!();
    labelled("needs", &format!("an administrator, and {}", plain(&current.needs)));
    labelled("compare", &format!("{}  (the digest that is signed)", certs::words::of(&digest)));
    Ok(())
}

/// Puts the file up, unless somebody did.
async fn put_up(client: &mut Client, text: &str, digest: Digest) -> Done {
    match client.get::<PlantFile>(&format!("/api/v1/plant/files/{digest}")).await {
        Ok(_) => Ok(()),
        Err(Fault::Problem(problem)) if problem.refusal == "no-such-plant-file" => {
            let body = ProposePlant { text: text.to_owned() };
            let proposed: PlantProposed = client.post("/api/v1/plant/files", &body).await?;
            if proposed.digest == digest { Ok(()) } else { Err(Fault::Odd("it took another file".into()).into()) }
        }
        Err(fault) => Err(fault.into()),
    }
}

async fn sign(client: &mut Client, digest: Digest, replaces: Digest) -> Done {
    let path = format!("/api/v1/plant/files/{digest}");
    let template: PlantTemplate = client.get(&format!("{path}/statement")).await?;
    let statement = template.statement;
    if statement.plant != digest || statement.replaces != replaces || statement.signer != client.person()? {
        return Err(Fault::Odd("its statement is about something else than was shown".into()).into());
    }
    let signed = statement.digest();
    let signature = PlantSignature(client.sign(Namespace::Plant, statement, signed).await?);
    let _: Happened = client.post(&format!("{path}/signatures"), &signature).await?;
    Ok(())
}

fn tell(after: &PlantFile) {
    if after.in_force {
        say!("Signed, and in force.");
        return;
    }
    let signers = after.signers.iter().map(|signer| plain(&signer.name)).collect::<Vec<_>>().join(", ");
    say!("Signed so far by {signers}. It takes an administrator, and {}.", plain(&after.needs));
}
