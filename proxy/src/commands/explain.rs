//! `holdpoint explain`: which rule decides, or what the nearest one lacks, and who may approve. Reads a plant file, so
//! that one can be asked before it is adopted.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use policies::actions::{Action, Actions};
use policies::explain::{Answer, explain};
use policies::ids::{RoleName, ServiceName, TargetName, VendorId};
use policies::rules::{Asker, Question};

use super::check::load_plant;
use super::showing::{Clock, Written};
use super::{Done, Failure, print_json};

/// Name the rule that decides, or the nearest one and what it lacks, and who may approve.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who asks: a vendor and a role in its contract.
    #[arg(value_name = "VENDOR/ROLE", value_parser = parse_asker)]
    technician: (VendorId, RoleName),
    /// Where to: TARGET or TARGET/SERVICE.
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    target: (TargetName, Option<ServiceName>),
    /// To do what, such as shell or file-get; several are asked for together.
    #[arg(value_name = "ACTION", required = true)]
    actions: Vec<Action>,
    /// When: "2026-11-23 14:00" in the plant's time, or with a zone. Now, if left out.
    #[arg(long, value_name = "TIME")]
    at: Option<Written>,
    /// From which address.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// As an emergency.
    #[arg(long)]
    emergency: bool,
    /// The plant file.
    #[arg(long, value_name = "FILE", default_value = "plant.toml")]
    plant: PathBuf,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let plant = load_plant(&args.plant)?;
    let actions: Actions = args.actions.iter().copied().collect();
    let question = Question {
        asker: Asker { vendor: &args.technician.0, role: &args.technician.1 },
        target: &args.target.0,
        service: args.target.1.as_ref(),
        actions: &actions,
        at: args.at.map_or_else(|| Ok(Timestamp::now()), |at| at.on(&Clock::in_zone(plant.timezone.clone())))?,
        source: args.from,
        emergency: args.emergency,
    };
    let explanation = explain(&plant, &question);
    if args.json {
        print_json(&explanation)?;
    } else {
        say!("{explanation}");
    }
    match explanation.answer {
        Answer::May(_) => Ok(()),
        Answer::MayNot { .. } => Err(Failure::told(1)),
    }
}

/// A vendor and a role, as `acme/maintenance`.
pub(super) fn parse_asker(text: &str) -> Result<(VendorId, RoleName), String> {
    let (vendor, role) = text.split_once('/').ok_or("write VENDOR/ROLE, for example acme/maintenance")?;
    Ok((vendor.parse().map_err(told)?, role.parse().map_err(told)?))
}

fn parse_target(text: &str) -> Result<(TargetName, Option<ServiceName>), String> {
    let (target, service) = text.split_once('/').map_or((text, None), |(target, service)| (target, Some(service)));
    let service = service.map(str::parse).transpose().map_err(told)?;
    Ok((target.parse().map_err(told)?, service))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn told(cause: impl std::fmt::Display) -> String {
    cause.to_string()
}
