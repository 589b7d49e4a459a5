//! `holdpoint enrol`: a one-use code becomes a key, a second factor and a profile. The gate is compared with the code
//! before anything secret is sent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use approver::api::types::SecondFactor;
use certs::enrolment::EnrolmentCode;
use certs::keys::KeyFault;
use certs::proof::Face;
use certs::sshsig::make_private;
use serde::Serialize;

use super::gate::{ProfileArg, wait_for};
use super::showing::plain;
use super::{Done, Failure, print_json};
use crate::client::{Enrolment, Fault, FirstContact, Profile, ProfileFault, Signer};
use crate::config::Origin;
use crate::picture::picture;
use crate::secret::ask_hidden;

/// Enrol with the one-use code you were given: makes a key, a second factor and a profile.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How the gate is named, as whoever invited you says.
    #[arg(long, value_name = "ORIGIN")]
    gate: Origin,
    /// Where to connect, if the name does not lead there.
    #[arg(long, value_name = "IP:PORT")]
    address: Option<SocketAddr>,
    /// A key to enrol: a private one, made if it is not there, or a .pub file whose private half an agent holds.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Everything as one object, for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    enrolment: &'a Enrolment,
    profile: &'a Path,
    key: &'a Path,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    let path = std::path::absolute(profile.path()?).map_err(Failure::usage)?;
    if path.exists() {
        return Err(Fault::from(ProfileFault::Exists(path)).into());
    }
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    let typed = ask_hidden("Enrolment code: ").map_err(|_| Failure::usage("no enrolment code was given"))?;
    let code = EnrolmentCode::parse(&typed).map_err(Failure::usage)?;
    let key = args.key.as_ref().map_or_else(|| Ok(folder.join("id_ed25519")), std::path::absolute);
    let (key, ca) = (key.map_err(Failure::usage)?, folder.join("ca.pem"));
    wait_for(async {
        let gate = FirstContact::make(&args.gate, args.address, &code).await?;
        make_folder(&folder)?;
        std::fs::write(&ca, gate.ca_pem())
            .map_err(|cause| Failure::failed(format_args!("{}: {cause}", ca.display())))?;
        let signer = open_key(&key)?;
        let enrolment = gate.enrol(&code, signer.public_key()).await?;
        let written = Profile {
            path: path.clone(),
            name: enrolment.name.clone(),
            face: enrolment.face,
            origin: args.gate.clone(),
            address: args.address,
            ca,
            key: key.clone(),
            sensor: enrolment.second.is_none(),
        };
        // The code is spent: what it gave is shown whatever else goes wrong.
        let written = written.write_new();
        if args.json {
            print_json(&Told { enrolment: &enrolment, profile: &path, key: &key })?;
        } else {
            tell(&enrolment, &path, &key);
        }
        Ok(written.map_err(Fault::from)?)
    })
}

fn make_folder(folder: &Path) -> Done {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|cause| Failure::failed(format_args!("{}: {cause}", folder.display())))
}

/// The key, made if it is not there.
fn open_key(path: &Path) -> Result<Signer, Failure> {
    if path.extension().is_none_or(|ending| ending != "pub") && !path.exists() {
        let made = make_private(path, "holdpoint").map_err(|fault: KeyFault| Fault::from(fault))?;
        return Ok(Signer::File(Box::new(made)));
    }
    Ok(Signer::open(path, |path| ask_hidden(&format!("Passphrase of {}: ", path.display())))?)
}

fn tell(enrolment: &Enrolment, profile: &Path, key: &Path) {
    match &enrolment.second {
        Some(second) => tell_second(&enrolment.name, second),
        None => say!(
            "{} is enrolled as a sensor. Whoever has its key reads what passes to targets: let only the account that \
             runs it read that file.\n",
            plain(&enrolment.name)
        ),
    }
    say!("Key:     {}", key.display());
    say!("Profile: {}\n", profile.display());
    say!("{}", next_step(enrolment));
}

fn tell_second(name: &str, second: &SecondFactor) {
    say!("Welcome, {}. Scan this with your authenticator app:\n", plain(name));
    say!("{}", picture(&second.totp_url));
    say!("or type it in: {}\n", plain(&second.totp_secret));
    say!("For the day the phone is gone, recovery codes. Each works once. Print them:\n");
    for pair in second.recovery_codes.chunks(2) {
        say!("  {}", pair.iter().map(|code| plain(code)).collect::<Vec<_>>().join("    "));
    }
    say!("\nNone of this is ever shown again.\n");
}

fn next_step(enrolment: &Enrolment) -> &'static str {
    match (enrolment.standing.as_str(), enrolment.face) {
        _ if enrolment.second.is_none() => "Next: `holdpoint capture` reads, signs in and comes back by itself.",
        ("active", Face::Vendor) => "Next: `holdpoint login` gives a certificate for ssh, and says how to use it.",
        ("active", Face::Plant) => "Next: `holdpoint login`, then `holdpoint status`.",
        _ => "Next: tell an administrator that you enrolled. Your key counts once others have vouched for it.",
    }
}
