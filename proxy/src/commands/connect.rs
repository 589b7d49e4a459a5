//! `holdpoint connect`: services of targets on local ports, for as long as their grants stand. It signs in, asks for access
//! where there is none, and from then on goes by client certificates alone. What is typed is read here; finding a grant,
//! carrying and telling are beside.

mod carrying;
mod grants;
mod places;
mod running;
mod telling;

use std::path::{Path, PathBuf};

use certs::proof::Face;
use policies::actions::Action;
use policies::time::Seconds;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::gate::{ProfileArg, sign_in_here, with_client};
use super::{Done, Failure};
use crate::client::{Client, Proxy};
use crate::secret::ask_hidden;
use places::{Listen, Place};

/// Open services of targets on ports of this machine, and keep them open while the grant stands
///
/// Signs in, asks for access where there is no grant, and waits for the yes. Each program that connects to the local port
/// is joined to the service. Ends with Ctrl-C, or with the grant.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to: plc-7, plc-7/modbus, or with a port of this machine plc-7/modbus=5020.
    #[arg(value_name = "TARGET[/SERVICE][=LISTEN]", required = true)]
    places: Vec<Place>,
    /// Where to listen: a port, or an address of this machine and a port. Any free port of the loopback, if left out. What
    /// reaches another address works under your name: whoever is in that network.
    #[arg(long, value_name = "LISTEN", conflicts_with = "certificate")]
    listen: Option<Listen>,
    /// What to ask for where there is no grant.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',')]
    actions: Vec<Action>,
    /// How long to ask for.
    #[arg(long = "for", value_name = "SPAN")]
    duration: Option<Seconds>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Under which work order.
    #[arg(long, value_name = "TEXT")]
    work_order: Option<String>,
    /// For a TLS client of your own: keep certificate and key in this file, renewed, and open no port where none is named.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The HTTP proxy in between: http://NAME@HOST:PORT. HTTPS_PROXY, if left out. A password is asked for.
    #[arg(long, value_name = "URL")]
    proxy: Option<Proxy>,
    /// The file whose first line is the proxy's password.
    #[arg(long, value_name = "FILE")]
    proxy_password: Option<PathBuf>,
    /// For a proxy that opens TLS, as some companies will have it: go as WebSockets. Whoever runs that proxy reads what
    /// passes, and can alter it.
    #[arg(long, conflicts_with = "certificate")]
    websocket: bool,
    /// The file with the CA of such a proxy, in PEM. What this machine trusts, if left out.
    #[arg(long, value_name = "FILE", requires = "websocket")]
    proxy_ca: Option<PathBuf>,
    /// For machines: a line for each thing that happens.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    with_client(profile, async |client| {
        if client.profile().face != Face::Vendor {
            return Err(Failure::usage("only technicians connect: this profile is of the plant face"));
        }
        let places = args.places()?;
        client.go_through(args.proxy(client)?);
        if args.websocket {
            client.trust_what_opens_tls(authorities(args.proxy_ca.as_deref())?)?;
            client.when_not_the_gate(
                "Give the CA of the proxy that opens TLS with --proxy-ca FILE: ask whoever runs it. Or ask the plant",
            );
        } else {
            client.when_not_the_gate(
                "Ask the plant. If it is a proxy of your own company that opens TLS: --websocket passes it",
            );
        }
        if !client.is_signed_in() {
            sign_in_here(client).await?;
        }
        running::run(client, args, places).await
    })
}

impl Args {
    fn places(&self) -> Result<Vec<Place>, Failure> {
        let mut places = self.places.clone();
        if let Some(listen) = self.listen {
            let [place] = places.as_mut_slice() else {
                return Err(Failure::usage(
                    "--listen is for one service: with several, write each as TARGET/SERVICE=LISTEN",
                ));
            };
            place.listen = Some(listen);
        }
        Ok(places)
    }

    /// The proxy that was named, or the environment's, with its password.
    fn proxy(&self, client: &Client) -> Result<Option<Proxy>, Failure> {
        if self.proxy.as_ref().is_some_and(Proxy::has_password) {
            return Err(Failure::usage(
                "a password on the command line is seen by everybody on this machine: leave it out, and it is asked for, \
                 or give --proxy-password FILE",
            ));
        }
        let Some(proxy) = self
            .proxy
            .clone()
            .map_or_else(|| of_environment(client.profile().origin.host()), |proxy| Ok(Some(proxy)))?
        else {
            return Ok(None);
        };
        if !proxy.lacks_password() {
            return Ok(Some(proxy));
        }
        let password = match &self.proxy_password {
            Some(file) => {
                let text = std::fs::read_to_string(file).map(Zeroizing::new);
                let text = text.map_err(|cause| Failure::usage(format_args!("{}: {cause}", file.display())))?;
                Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
            }
            None => ask_hidden(&format!("Password for the proxy {proxy}: "))
                .map_err(|cause| Failure::usage(format_args!("no password for the proxy was given: {cause}")))?,
        };
        Ok(Some(proxy.with_password(password)))
    }
}

/// The CAs in a file, or all that this machine trusts.
fn authorities(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        return match (found.certs, found.errors.first()) {
            (none, Some(error)) if none.is_empty() => {
                Err(Failure::failed(format_args!("what this machine trusts cannot be read: {error}")))
            }
            (certificates, _) => Ok(certificates),
        };
    };
    let wrong = |cause: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {cause}", file.display()));
    let text = std::fs::read(file).map_err(|cause| wrong(&cause))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match read {
        Ok(none) if none.is_empty() => Err(wrong(&"there is no certificate in it (PEM, -----BEGIN CERTIFICATE-----)")),
        read => read.map_err(|cause| wrong(&cause)),
    }
}

/// As other programs read it: `HTTPS_PROXY`, and `NO_PROXY` with names that need none.
fn of_environment(host: &str) -> Result<Option<Proxy>, Failure> {
    let set = |names: [&str; 2]| {
        names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let without = set(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if without.split(',').any(|name| goes_without(host, name.trim())) {
        return Ok(None);
    }
    let proxy = set(["HTTPS_PROXY", "https_proxy"]).map(|text| text.parse());
    proxy.transpose().map_err(|bad| Failure::usage(format_args!("HTTPS_PROXY: {bad}")))
}

fn goes_without(host: &str, name: &str) -> bool {
    let name = name.trim_start_matches('.');
    name == "*" || !name.is_empty() && (host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_without_a_proxy_where_the_environment_says_so() {
        for (name, goes) in [
            ("gate.example", true),
            (".example", true),
            ("example", true),
            ("*", true),
            ("", false),
            ("ample", false),
            ("other.example", false),
        ] {
            assert_eq!(goes_without("gate.example", name), goes, "{name}");
        }
    }
}
