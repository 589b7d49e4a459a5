//! Who there is: `holdpoint people`, `rename`, `disable`, and vendors' contracts.

use approver::api::types::{Contract, Done as Happened, PeopleView, PersonView, Rename, VendorView, VendorsView};
use policies::ids::VendorId;
use policies::people::Kind;

use super::gate::{ProfileArg, at_gate, person};
use super::showing::{Clock, Written, parse_end, plain, table};
use super::{Done, Failure, print_json};

/// List people and vendors.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Give a person another name. Their identifier, and all that was signed about them, stays.
#[derive(Debug, clap::Args)]
pub(super) struct RenameArgs {
    /// By name or identifier.
    #[arg(value_name = "PERSON")]
    person: String,
    /// The new name.
    #[arg(value_name = "NAME")]
    name: String,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Put a person or a whole vendor out, in one act: live sessions end, tokens and certificates count no longer.
#[derive(Debug, clap::Args)]
pub(super) struct DisableArgs {
    /// By name or identifier.
    #[arg(value_name = "PERSON", required_unless_present = "vendor")]
    person: Option<String>,
    /// Everybody of a vendor.
    #[arg(long, value_name = "VENDOR", conflicts_with = "person")]
    vendor: Option<VendorId>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Begin or change a vendor's contract.
#[derive(Debug, clap::Args)]
pub(super) struct ContractArgs {
    /// Which vendor.
    #[arg(value_name = "VENDOR")]
    vendor: VendorId,
    /// The last day of it, or its last moment.
    #[arg(long, value_name = "DATE", value_parser = parse_end)]
    until: Written,
    /// Who answers for the vendor at the plant, by name or identifier.
    #[arg(long, value_name = "PERSON")]
    sponsor: String,
    /// Its telephone number, on which it is called back before a guest is invited; that which stands, if left out.
    #[arg(long, value_name = "NUMBER")]
    telephone: Option<String>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let people: PeopleView = client.list("/api/v1/people").await?;
        let vendors: VendorsView = client.get("/api/v1/vendors").await?;
        if args.json {
            return print_json(&serde_json::json!({ "people": people.people, "vendors": vendors.vendors }));
        }
        let clock = Clock::of(client);
        let rows: Vec<_> = people.people.iter().map(|person| person_row(person, &clock)).collect();
        table(["NAME", "KIND", "STANDING", "LAST SEEN", "IDENTIFIER"], &rows);
        if !vendors.vendors.is_empty() {
            say!();
            let rows: Vec<_> = vendors.vendors.iter().map(|vendor| vendor_row(vendor, &clock)).collect();
            table(["VENDOR", "CONTRACT UNTIL", "SPONSOR", "TECHNICIANS", "CALLED BACK ON"], &rows);
        }
        Ok(())
    })
}

fn person_row(person: &PersonView, clock: &Clock) -> [String; 5] {
    let groups = person.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ");
    let kind = match &person.kind {
        Kind::Technician { vendor, role } if person.guest.is_some() => format!("guest of {vendor}/{role}"),
        Kind::Technician { vendor, role } => format!("{vendor}/{role}"),
        Kind::Operator { .. } if !groups.is_empty() => format!("operator: {groups}"),
        other => other.as_str().to_owned(),
    };
    let also = match (&person.locked_until, &person.on_duty_until) {
        (Some(_), _) => ", locked",
        (None, Some(_)) => ", on duty",
        (None, None) if person.dormant => ", dormant",
        (None, None) => "",
    };
    let standing = format!("{}{also}", plain(&person.standing));
    let last_seen = clock.moment(person.last_seen).to_string();
    [plain(&person.name), kind, standing, last_seen, person.person.to_string()]
}

fn vendor_row(vendor: &VendorView, clock: &Clock) -> [String; 5] {
    let until = if vendor.disabled { "disabled".to_owned() } else { clock.moment(vendor.end).to_string() };
    let telephone = vendor.telephone.as_deref().map(plain).unwrap_or_default();
    [vendor.vendor.to_string(), until, plain(&vendor.sponsor.name), vendor.technicians.to_string(), telephone]
}

pub(super) fn rename(args: &RenameArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let id = person(client, &args.person).await?.person;
        let body = Rename { name: args.name.clone() };
        client.act("POST", &format!("/api/v1/people/{id}/name"), Some(&body)).await?;
        if args.json {
            return print_json(&serde_json::json!({ "person": id, "name": args.name }));
        }
        say!("{} is called {} now.", plain(&args.person), plain(&args.name));
        Ok(())
    })
}

pub(super) fn disable(args: &DisableArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let (path, whom, told) = match (&args.person, &args.vendor) {
            (_, Some(vendor)) => {
                let path = format!("/api/v1/vendors/{vendor}/disable");
                (path, format!("everybody of {vendor}"), serde_json::json!({ "vendor": vendor }))
            }
            (Some(wanted), None) => {
                let found = person(client, wanted).await?;
                let path = format!("/api/v1/people/{}/disable", found.person);
                (path, plain(&found.name), serde_json::json!({ "person": found.person, "name": found.name }))
            }
            (None, None) => return Err(Failure::usage("say whom: a person, or --vendor")),
        };
        client.act("POST", &path, None::<&()>).await?;
        if args.json {
            return print_json(&told);
        }
        say!("{whom}: disabled. Sessions end, nothing of theirs is let in.");
        Ok(())
    })
}

pub(super) fn contract(args: &ContractArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let sponsor = person(client, &args.sponsor).await?;
        let clock = Clock::of(client);
        let end = args.until.on(&clock)?;
        let body = Contract { end, sponsor: sponsor.person, telephone: args.telephone.clone() };
        let done: Happened = client.put(&format!("/api/v1/vendors/{}", args.vendor), &body).await?;
        if args.json {
            return print_json(&done);
        }
        say!("{} until {}; {} answers for it.", args.vendor, clock.moment(end), plain(&sponsor.name));
        Ok(())
    })
}
