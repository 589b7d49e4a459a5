//! `holdpoint login`: a signature by one's key and a code give ten minutes of the API, and a technician an SSH certificate
//! with them.

use std::path::{Path, PathBuf};

use approver::api::types::{CertificateAnswer, SignedIn};
use certs::proof::Face;
use jiff::Timestamp;

use super::gate::{ProfileArg, ask_code, with_client};
use super::showing::{Clock, plain};
use super::{Done, Failure, print_json};
use crate::client::Client;

/// Sign in with your key and a code, asked on the terminal or read from standard input.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For machines; no token is in it.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Told<'a> {
    name: &'a str,
    person: policies::ids::PersonId,
    face: Face,
    expires: Timestamp,
    key_alone: bool,
    on_duty_until: Option<Timestamp>,
    certificate: Option<Certificate>,
}

#[derive(serde::Serialize)]
struct Certificate {
    file: PathBuf,
    expires: Timestamp,
    source: std::net::IpAddr,
    ssh_host: String,
    ssh_port: u16,
    known_hosts: Option<String>,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    with_client(profile, async |client| {
        let code = ask_code(client)?;
        let (signed_in, certificate) = match client.profile().face {
            Face::Plant => (client.sign_in(&code).await?, None),
            Face::Vendor => {
                let answer = client.sign_in_for_ssh(&code).await?;
                let written = write(client, &answer)?;
                (answer.signed_in, Some(written))
            }
        };
        if args.json {
            print_json(&told(client, &signed_in, certificate))
        } else {
            tell(client, &signed_in, certificate.as_ref());
            Ok(())
        }
    })
}

/// `ssh` finds a certificate by its name beside the key.
fn write(client: &Client, answer: &CertificateAnswer) -> Result<Certificate, Failure> {
    let mut name = private_path(&client.profile().key).into_os_string();
    name.push("-cert.pub");
    let file = PathBuf::from(name);
    let written = std::fs::write(&file, format!("{}\n", answer.certificate.trim()));
    written.map_err(|cause| Failure::failed(format_args!("{}: {cause}", file.display())))?;
    let (ssh_host, ssh_port, known_hosts) = (answer.ssh_host.clone(), answer.ssh_port, answer.known_hosts.clone());
    Ok(Certificate { file, expires: answer.expires, source: answer.source, ssh_host, ssh_port, known_hosts })
}

fn private_path(key: &Path) -> PathBuf {
    if key.extension().is_some_and(|ending| ending == "pub") { key.with_extension("") } else { key.to_owned() }
}

fn told<'a>(client: &'a Client, signed_in: &SignedIn, certificate: Option<Certificate>) -> Told<'a> {
    Told {
        name: &client.profile().name,
        person: signed_in.person,
        face: client.profile().face,
        expires: signed_in.expires,
        key_alone: signed_in.key_alone,
        on_duty_until: signed_in.on_duty_until,
        certificate,
    }
}

fn tell(client: &Client, signed_in: &SignedIn, certificate: Option<&Certificate>) {
    let (profile, clock) = (client.profile(), Clock::of(client));
    say!("Signed in as {} until {}.", plain(&profile.name), clock.moment(signed_in.expires));
    if signed_in.key_alone {
        say!("By key alone, because the gate's directory does not answer: enough to see and to cut, no more.");
    }
    if let Some(until) = signed_in.on_duty_until {
        say!("On duty until {}.", clock.moment(until));
    }
    if let Some(Certificate { file, expires, source, ssh_host, ssh_port, known_hosts }) = certificate {
        say!(
            "{} is good until {} ({}), from {source} alone.",
            file.display(),
            clock.moment(*expires),
            clock.away(*expires)
        );
        let (key, name, host) = (profile.key.display(), plain(&profile.name), plain(ssh_host));
        // Named, so that `ssh` offers it before the bare key, which would be asked for a code.
        say!(
            "\n  ssh -p {ssh_port} -i {key} \\\n      -o CertificateFile={} \\\n      {name}+TARGET@{host}",
            file.display()
        );
        say!("\nWithout +TARGET it shows what you may reach. scp and sftp take the same, with -P for -p.");
        if let Some(known_hosts) = known_hosts {
            say!("\nThe gate's SSH authority is being renewed. In ~/.ssh/known_hosts it is this from now on:\n");
            known_hosts.lines().for_each(|line| say!("  {}", plain(line)));
        }
    }
}
