//! What the control room's browsers need before they show the plant face's pages: its name has to lead to it, and the gate's
//! own authority has to be among theirs. `init` writes it down, and `check` says it again as the configuration stands.

use std::net::SocketAddr;

use certs::given::GivenCertificate;
use jiff::Timestamp;

use crate::config::PlantFace;

/// The gate's own authority, beside the configuration.
pub(crate) const CA: &str = "ca.pem";
/// The one that will sign, while it is renewed.
pub(crate) const CA_NEXT: &str = "ca-next.pem";
/// The steps, beside it.
pub(crate) const STEPS: &str = "browsers.txt";

/// What to do once more while the authority is renewed; `fingerprint` is that of the next one.
pub(crate) fn steps_to_the_next(fingerprint: &str) -> String {
    format!(
        "
The gate's authority is being renewed. Give browsers {CA_NEXT} in the same ways, beside the one that they have, after its SHA-256 was compared:

   {fingerprint}
"
    )
}

/// What to do once on each computer of the control room, for a face of this name; `fingerprint` is the authority's.
pub(crate) fn steps(face: &PlantFace, fingerprint: &str) -> String {
    let name = face.origin.host();
    let line = hosts_line(face);
    format!(
        "The pages of the plant face: {origin}

1. Its name has to lead to it, without a DNS that others can change. As a line of the hosts file (Windows:
   C:\\Windows\\System32\\drivers\\etc\\hosts; elsewhere: /etc/hosts), with the address by which the computers reach the gate:

   {line}

   By group policy: Computer Configuration > Preferences > Windows Settings > Files copies such a file to each.

2. Browsers use passkeys only on pages whose certificate they trust. Give them {CA} from this folder, after its SHA-256 was compared:

   {fingerprint}

   Windows, one computer (Edge, Chrome), as administrator:   certutil -addstore -f Root {CA}
   Windows, by group policy (Edge, Chrome): Computer Configuration > Policies > Windows Settings > Security Settings >
     Public Key Policies > Trusted Root Certification Authorities > Import > {CA}
   Firefox, by policy: {{\"policies\": {{\"Certificates\": {{\"ImportEnterpriseRoots\": true}}}}}} in distribution/policies.json takes those of Windows
   Debian, Chromium:   certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n holdpoint -i {CA}
   macOS, iOS, Android: open {CA} and trust it, or by device management
   It vouches for whatever it signs: whoever has this gate's keys can pretend to be any page to these browsers.

3. Open {origin}/enrol and type the code. Passkeys belong to the name {name}: with another name they are useless.

A display (holdpoint invite NAME --display) opens {origin}/display instead.
",
        origin = face.origin,
    )
}

/// The line that leads the face's name to it.
fn hosts_line(face: &PlantFace) -> String {
    let reached = face.listen.iter().map(SocketAddr::ip).find(|ip| !ip.is_unspecified() && !ip.is_loopback());
    let address = reached.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
    format!("{address}    {}", face.origin.host())
}

/// What a browser refuses, or cannot do, as the configuration stands; in words, with the remedy. A certificate may have
/// been given to the face, else it is the gate's own.
pub(crate) fn refusals(
    face: &PlantFace,
    given: Option<&GivenCertificate>,
    has_ca: bool,
    now: Timestamp,
) -> Vec<String> {
    let (origin, name) = (&face.origin, face.origin.host());
    let mut refused = Vec::new();
    if face.listen.iter().all(|address| address.ip().is_loopback()) {
        refused.push(format!("nobody but this machine reaches {origin}: faces.plant.listen names loopback alone"));
    }
    if face.listen.iter().all(|address| address.port() != 0 && address.port() != origin.port()) {
        refused.push(format!(
            "{origin} leads to port {}, where faces.plant.listen has none: passkeys work at the origin alone",
            origin.port()
        ));
    }
    if name.ends_with(".local") {
        refused.push(format!(
            "names under .local are asked of everybody nearby (mDNS, RFC 6762), who may answer: put {name} into each hosts file"
        ));
    }
    let ca = match given {
        Some(given) => {
            refused.extend(not_valid(given, now));
            format!("the authority behind its certificate ({})", given.issuer())
        }
        None if has_ca => CA.to_owned(),
        None => "the gate's authority (/api/v1/ca.pem)".to_owned(),
    };
    refused.push(format!(
        "each refuses {origin} until {ca} is among its authorities, and the hosts line: {}",
        hosts_line(face)
    ));
    refused
}

fn not_valid(given: &GivenCertificate, now: Timestamp) -> Option<String> {
    let (from, until) = (given.valid_from(), given.valid_until());
    if now < from {
        return Some(format!("the certificate that was given counts only from {from} on"));
    }
    (until < now).then(|| format!("the certificate that was given ended at {until}: give the next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(origin: &str, listen: &str) -> PlantFace {
        PlantFace {
            origin: origin.parse().expect("an origin"),
            listen: vec![listen.parse().expect("an address")],
            certificate: None,
        }
    }

    #[test]
    fn what_a_browser_refuses_is_said_with_its_remedy() {
        let refused =
            |origin: &str, listen: &str| refusals(&face(origin, listen), None, true, Timestamp::UNIX_EPOCH).join("\n");
        let right = refused("https://gate.mill3.example:9443", "10.1.0.5:9443");
        assert_eq!(right.lines().count(), 1, "{right}");
        assert!(right.ends_with("the hosts line: 10.1.0.5    gate.mill3.example"), "{right}");
        assert!(refused("https://gate.mill3.example:9443", "127.0.0.1:9443").contains("loopback alone"));
        assert!(refused("https://gate.mill3.example", "10.1.0.5:9443").contains("leads to port 443"));
        assert!(refused("https://gate.local", "10.1.0.5:443").contains("mDNS"));
    }
}
