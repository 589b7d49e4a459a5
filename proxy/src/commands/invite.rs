//! `holdpoint invite` and `reinvite`: a one-use code for somebody new, or who lost what they had, shown this once.

use std::collections::BTreeSet;

use approver::api::types::{Invite, Invited, Reinvite};
use policies::ids::{GroupName, RoleName, VendorId};
use policies::people::Kind;
use policies::time::Seconds;

use super::gate::{ProfileArg, at_gate, person};
use super::showing::{Clock, plain};
use super::{Done, print_json};
use crate::client::Client;
use approver::gate::Gate;

/// Invite somebody: prints a one-use enrolment code, to be handed over on a safe way.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("kind").required(true))]
pub(super) struct Args {
    /// What they are called and sign in by.
    #[arg(value_name = "NAME")]
    name: String,
    /// A technician of a vendor, in a role of its contract.
    #[arg(long, value_name = "VENDOR/ROLE", group = "kind", value_parser = super::explain::parse_asker)]
    technician: Option<(VendorId, RoleName)>,
    /// An operator; their key counts once an administrator and a member of each group have vouched for it.
    #[arg(long, group = "kind")]
    operator: bool,
    /// An auditor.
    #[arg(long, group = "kind")]
    auditor: bool,
    /// An administrator; their key counts once others have vouched for it.
    #[arg(long, group = "kind")]
    administrator: bool,
    /// A program that detects intrusions: reads what passes to targets, by its key alone, and may do nothing else.
    #[arg(long, group = "kind")]
    sensor: bool,
    /// A screen in the control room: shows the board with nobody signed in, and can cut.
    #[arg(long, group = "kind")]
    display: bool,
    /// A guest of a vendor, for a night: by an operator on duty, under a rule that allows it. Call the vendor back first.
    #[arg(long, value_name = "VENDOR", group = "kind", requires_all = ["target", "span", "reason"])]
    guest: Option<VendorId>,
    #[command(flatten)]
    visit: super::guests::Visit,
    /// A group of the operator's; may be given several times.
    #[arg(long = "group", value_name = "GROUP", conflicts_with_all = ["technician", "auditor", "administrator", "sensor", "display", "guest"])]
    groups: Vec<GroupName>,
    /// The vendor an operator works for, if it is not the plant: they decide nothing about it.
    #[arg(long, value_name = "VENDOR", conflicts_with_all = ["technician", "auditor", "administrator", "sensor", "display", "guest"])]
    of_vendor: Option<VendorId>,
    /// How long the code is good.
    #[arg(long, value_name = "SPAN", default_value = "3d", conflicts_with = "guest")]
    lasts: Seconds,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Give somebody another one-use code, who lost their phone, key or code. What they have works until it is used.
#[derive(Debug, clap::Args)]
pub(super) struct AgainArgs {
    /// Who, by name or identifier.
    #[arg(value_name = "PERSON")]
    person: String,
    /// How long the code is good.
    #[arg(long, value_name = "SPAN", default_value = "3d")]
    lasts: Seconds,
    /// For machines.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn kind(&self) -> Kind {
        match &self.technician {
            Some((vendor, role)) => Kind::Technician { vendor: vendor.clone(), role: role.clone() },
            None if self.operator => Kind::Operator { vendor: self.of_vendor.clone() },
            None if self.auditor => Kind::Auditor,
            None if self.sensor => Kind::Sensor,
            None if self.display => Kind::Display,
            None => Kind::Administrator,
        }
    }
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        if let Some(vendor) = &args.guest {
            let invited = super::guests::invite(client, &args.name, vendor, &args.visit, args.json).await?;
            return shown(client, args, &invited);
        }
        let body = Invite {
            name: args.name.clone(),
            kind: args.kind(),
            groups: args.groups.iter().cloned().collect::<BTreeSet<_>>(),
            lasts_seconds: Some(args.lasts.0),
        };
        let invited: Invited = client.post("/api/v1/people", &body).await?;
        shown(client, args, &invited)
    })
}

fn shown(client: &Client, args: &Args, invited: &Invited) -> Done {
    if args.json {
        return print_json(invited);
    }
    show(invited, &Clock::of(client));
    match args.technician.is_some() || args.guest.is_some() {
        true => {
            let gate = Gate { name: plain(&invited.ssh_host), port: invited.ssh_port };
            say!("They enrol with any SSH client:\n\n  {}\n", gate.ssh("enrol"));
            say!(
                "or by `holdpoint enrol --gate ORIGIN`, with the origin of the vendor face; or, to work in a browser alone,"
            );
            say!("with a passkey at ORIGIN/enrol.");
        }
        false if args.display => {
            let page = format!("{}/display", client.profile().origin);
            say!("Open {page} in the browser of its screen, and type the code there.");
        }
        // An SSH client gives them no profile, and without one no command knows the gate.
        false => say!("They enrol by: holdpoint enrol --gate {}", client.profile().origin),
    }
    Ok(())
}

fn show(invited: &Invited, clock: &Clock) {
    say!("{}\n", plain(&invited.code));
    say!(
        "This code for {} works once, until {}, and is shown only here.",
        plain(&invited.name),
        clock.moment(invited.expires)
    );
}

pub(super) fn again(args: &AgainArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let wanted = person(client, &args.person).await?;
        let body = Reinvite { lasts_seconds: Some(args.lasts.0) };
        let invited: Invited = client.post(&format!("/api/v1/people/{}/reinvite", wanted.person), &body).await?;
        if args.json {
            return print_json(&invited);
        }
        show(&invited, &Clock::of(client));
        say!("They enrol with it as they did first. From then on their old key and codes open nothing, and what");
        say!("runs of theirs ends. If somebody else has them now, do not wait: `holdpoint cut --technician`.");
        if matches!(wanted.kind, Kind::Operator { .. } | Kind::Administrator) {
            say!("Their new key counts once it was vouched for again: `holdpoint certify {}`.", plain(&wanted.name));
        }
        Ok(())
    })
}
