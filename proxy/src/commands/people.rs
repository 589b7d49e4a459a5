//! Who there is: `holdpoint people`, `rename`, `disable`, and vendors' contracts.

use approver::api::types::{
    Attest, CompanyView, ConcernView, Contract, Done as Happened, InvitationsAllowed, InvitationsView, PeopleView,
    PersonView, Rename, VendorView, VendorsView,
};
use certs::proof::Face;
use policies::ids::{RoleName, VendorId};
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
    /// How many technicians its managers may have here at once by their invitations; 0: none. As it stands, if left out.
    #[arg(long, value_name = "COUNT")]
    managers_invite: Option<u16>,
    /// In which role they may; may be given several times.
    #[arg(long = "role", value_name = "ROLE", requires = "managers_invite")]
    roles: Vec<RoleName>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Name a technician the manager of their company's people, or take that back.
#[derive(Debug, clap::Args)]
pub(super) struct ManagerArgs {
    /// By name or identifier.
    #[arg(value_name = "PERSON")]
    person: String,
    /// They are it no longer: codes that they gave out and nobody used are void.
    #[arg(long)]
    dismiss: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// As a manager: attest that a technician of your company, who may be yourself, still works for it, is trained, and is sent.
#[derive(Debug, clap::Args)]
pub(super) struct AttestArgs {
    /// By name or identifier.
    #[arg(value_name = "PERSON")]
    person: String,
    /// The last day on which it counts, or the last moment.
    #[arg(long, value_name = "DATE", value_parser = parse_end, required_unless_present = "take_back")]
    until: Option<Written>,
    /// Such as the number of a certificate, or of a work order.
    #[arg(long, value_name = "TEXT", conflicts_with = "take_back")]
    note: Option<String>,
    /// It is so no longer.
    #[arg(long, conflicts_with = "until")]
    take_back: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let people: PeopleView = client.list("/api/v1/people").await?;
        if client.profile().face == Face::Vendor {
            let company: CompanyView = client.get("/api/v1/company").await?;
            return colleagues(&people.people, &company, &Clock::of(client), args.json);
        }
        let vendors: VendorsView = client.get("/api/v1/vendors").await?;
        if args.json {
            return print_json(&serde_json::json!({ "people": people.people, "vendors": vendors.vendors }));
        }
        let clock = Clock::of(client);
        let rows: Vec<_> = people.people.iter().map(|person| person_row(person, &clock)).collect();
        table(["NAME", "KIND", "STANDING", "LAST SEEN", "INVITED BY", "IDENTIFIER"], &rows);
        if !vendors.vendors.is_empty() {
            say!();
            let rows: Vec<_> = vendors.vendors.iter().map(|vendor| vendor_row(vendor, &clock)).collect();
            table(
                ["VENDOR", "CONTRACT UNTIL", "SPONSOR", "TECHNICIANS", "CALLED BACK ON", "MANAGERS", "INVITED BY THEM"],
                &rows,
            );
            for vendor in &vendors.vendors {
                for concern in &vendor.concerns {
                    say!(
                        "{}: for {} to see to: {}",
                        vendor.vendor,
                        plain(&vendor.sponsor.name),
                        concern_in_words(concern, &clock)
                    );
                }
            }
        }
        Ok(())
    })
}

fn concern_in_words(of: &ConcernView, clock: &Clock) -> String {
    let at = clock.moment(of.at);
    let who = of.person.as_ref().map(|person| plain(&person.name)).unwrap_or_default();
    match of.concern.as_str() {
        "contract-ends" => format!("its contract ends {at}, {}", clock.away(of.at)),
        "contract-over" => format!("its contract ended {at}: nobody of it is let in"),
        "dormant" => format!("nothing was heard of {who} since {at}: ask whether they still need to come"),
        _ => format!("{who} was invited {at} and never used the code, which is void"),
    }
}

/// A manager's own company.
fn colleagues(people: &[PersonView], company: &CompanyView, clock: &Clock, json: bool) -> Done {
    if json {
        return print_json(&serde_json::json!({ "people": people, "company": company }));
    }
    let row = |person: &PersonView| {
        let attested =
            person.attested.as_ref().map_or_else(|| "no".to_owned(), |one| super::card::attested(one, clock));
        let [name, kind, standing, last_seen, invited_by, id] = person_row(person, clock);
        let invited_by = if invited_by.is_empty() { "the plant".to_owned() } else { invited_by };
        [name, kind, standing, last_seen, invited_by, attested, id]
    };
    let rows: Vec<_> = people.iter().map(row).collect();
    table(["NAME", "KIND", "STANDING", "LAST SEEN", "INVITED BY", "ATTESTED", "IDENTIFIER"], &rows);
    say!();
    say!(
        "{}: contract until {}; by its managers' invitations: {}.",
        company.vendor,
        clock.moment(company.end),
        invitations(&company.invitations)
    );
    Ok(())
}

/// How many a vendor's managers have of those they may invite.
fn invitations(of: &InvitationsView) -> String {
    let roles = of.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if of.most == 0 { "nobody".to_owned() } else { format!("{} of {}: {roles}", of.here, of.most) }
}

fn person_row(person: &PersonView, clock: &Clock) -> [String; 6] {
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
    let kind = if person.manager { format!("{kind}, manager") } else { kind };
    let invited_by = person.invited_by.as_ref().map(|by| plain(&by.name)).unwrap_or_default();
    [plain(&person.name), kind, standing, last_seen, invited_by, person.person.to_string()]
}

fn vendor_row(vendor: &VendorView, clock: &Clock) -> [String; 7] {
    let until = if vendor.disabled { "disabled".to_owned() } else { clock.moment(vendor.end).to_string() };
    let telephone = vendor.telephone.as_deref().map(plain).unwrap_or_default();
    let managers = vendor.managers.iter().map(|manager| plain(&manager.name)).collect::<Vec<_>>().join(", ");
    let (sponsor, technicians) = (plain(&vendor.sponsor.name), vendor.technicians.to_string());
    [vendor.vendor.to_string(), until, sponsor, technicians, telephone, managers, invitations(&vendor.invitations)]
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
        let roles = args.roles.iter().cloned().collect();
        let invitations = args.managers_invite.map(|most| InvitationsAllowed { most, roles });
        let body = Contract { end, sponsor: sponsor.person, telephone: args.telephone.clone(), invitations };
        let done: Happened = client.put(&format!("/api/v1/vendors/{}", args.vendor), &body).await?;
        if args.json {
            return print_json(&done);
        }
        say!("{} until {}; {} answers for it.", args.vendor, clock.moment(end), plain(&sponsor.name));
        Ok(())
    })
}

pub(super) fn manager(args: &ManagerArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let found = person(client, &args.person).await?;
        let path = format!("/api/v1/people/{}/manager", found.person);
        let done: Happened = match args.dismiss {
            true => client.delete(&path).await?,
            false => client.put(&path, &()).await?,
        };
        if args.json {
            return print_json(&done);
        }
        match args.dismiss {
            true => say!("{} is a manager no longer.", plain(&found.name)),
            false => say!("{} manages their company's people here.", plain(&found.name)),
        }
        Ok(())
    })
}

pub(super) fn attest(args: &AttestArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let found = person(client, &args.person).await?;
        let path = format!("/api/v1/people/{}/attestation", found.person);
        let (done, told): (Happened, _) = match &args.until {
            None => (client.delete(&path).await?, "attested no longer".to_owned()),
            Some(until) => {
                let until = until.on(&Clock::of(client))?;
                let told = format!("attested until {}", Clock::of(client).moment(until));
                (client.post(&path, &Attest { until, note: args.note.clone() }).await?, told)
            }
        };
        if args.json {
            return print_json(&done);
        }
        say!("{}: {told}.", plain(&found.name));
        Ok(())
    })
}
