//! The people of the demo: ada administers, lee is shift lead, tess is a technician of the vendor acme. They enrol as
//! everybody does, by one-use codes; only that nobody types them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use approver::people::{Invitation, NewPerson, People};
use certs::enrolment::EnrolmentCode;
use jiff::SignedDuration;
use policies::decide::Command;
use policies::ids::{PersonId, VendorId};
use policies::people::Kind;
use policies::time::Seconds;
use russh::keys::PrivateKey;

use super::home::{Home, make_folder, write_private};
use super::phone::Phone;
use super::{DemoFault, VENDOR};
use crate::app::App;

/// The administrator.
pub(super) const ADMINISTRATOR: &str = "ada";
/// The operator.
pub(super) const OPERATOR: &str = "lee";
/// The technician.
pub(super) const TECHNICIAN: &str = "tess";

/// What a person's own machine needs to know of the gate.
pub(super) struct Gate<'a> {
    pub(super) app: &'a App,
    pub(super) ca_pem: String,
}

/// Enrols everybody, each with a folder of their own.
///
/// # Errors
/// The gate refuses, or a folder cannot be written.
pub(super) async fn enrol(home: &Home, gate: &Gate<'_>, founders: &[Invitation]) -> Result<Arc<PrivateKey>, DemoFault> {
    let people = gate.app.people();
    let mut enrolled = Vec::new();
    for invitation in founders {
        enrolled.push(enrol_one(home, gate, &invitation.name, &invitation.code).await?.0);
    }
    let [administrator, operator] = enrolled.as_slice() else { return Err(DemoFault::Crew) };
    let invitation = invite(gate, people, *administrator, *operator).await?;
    let (_, key) = enrol_one(home, gate, TECHNICIAN, &invitation.code).await?;
    Ok(Arc::new(key))
}

/// A contract for a month, and the technician's invitation.
async fn invite(
    gate: &Gate<'_>,
    people: &People,
    administrator: PersonId,
    sponsor: PersonId,
) -> Result<Invitation, DemoFault> {
    const INVITATION: Seconds = Seconds(3_600);
    let vendor: VendorId = VENDOR.parse().expect("a label");
    let end = gate.app.desk().clock().wall() + SignedDuration::from_hours(24 * 30);
    gate.app
        .desk()
        .act(Command::Contract { vendor: vendor.clone(), end, sponsor, telephone: None, by: administrator })
        .await?;
    let kind = Kind::Technician { vendor, role: "maintenance".parse().expect("a label") };
    let technician = NewPerson { name: TECHNICIAN.to_owned(), kind, groups: BTreeSet::new() };
    Ok(people.invite(technician, INVITATION, administrator).await?)
}

async fn enrol_one(
    home: &Home,
    gate: &Gate<'_>,
    name: &str,
    code: &EnrolmentCode,
) -> Result<(PersonId, PrivateKey), DemoFault> {
    let key = certs::ssh_ca::fresh_key(name);
    let enrolled = gate.app.people().enrol(code, key.public_key()).await?;
    let folder = home.person(name);
    let written = make_folder(&folder)
        .and_then(|()| write_keys(&folder, &key))
        .and_then(|()| write_private(&folder.join("ca.pem"), &gate.ca_pem))
        .and_then(|()| write_private(&folder.join("profile.toml"), &profile(gate.app, name)))
        .and_then(|()| Phone::new(&folder, enrolled.totp));
    written.map_err(DemoFault::at(&folder))?;
    Ok((enrolled.person, key))
}

fn write_keys(folder: &Path, key: &PrivateKey) -> io::Result<()> {
    let private = key.to_openssh(ssh_key::LineEnding::LF).map_err(io::Error::other)?;
    let public = key.public_key().to_openssh().map_err(io::Error::other)?;
    write_private(&folder.join("id_ed25519"), &private)?;
    write_private(&folder.join("id_ed25519.pub"), &(public + "\n"))
}

fn profile(app: &App, name: &str) -> String {
    let (config, addresses) = (app.config(), app.addresses());
    let (face, origin, listening): (_, _, &[SocketAddr]) = match name {
        TECHNICIAN => ("vendor", &config.vendor.origin, &addresses.pages),
        _ => ("plant", &config.plant.origin, &addresses.plant),
    };
    let address = listening.first().map_or_else(String::new, ToString::to_string);
    format!(
        "name = \"{name}\"\nface = \"{face}\"\norigin = \"{origin}\"\naddress = \"{address}\"\n\
         ca = \"ca.pem\"\nkey = \"id_ed25519\"\n"
    )
}
