//! What is typed for a service: which, and where it is to be had on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use policies::ids::{ServiceName, TargetName};

/// A service of a target, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) target: TargetName,
    pub(super) service: Option<ServiceName>,
    pub(super) listen: Option<Listen>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen(pub(super) SocketAddr);

impl Listen {
    /// Where nothing was said: a port that the system chooses, reached from this machine alone.
    pub(super) const ANY: Self = Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let loopback = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let port = text.strip_prefix("localhost:").unwrap_or(text).parse().map(loopback);
        let address = port.or_else(|_| text.parse());
        address
            .map(Self)
            .map_err(|_| format!("{text:?} is no place to listen: write for example 5020 or 127.0.0.1:5020"))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, listen) = text.split_once('=').map_or((text, None), |(name, listen)| (name, Some(listen)));
        let (target, service) = name.split_once('/').map_or((name, None), |(target, service)| (target, Some(service)));
        Ok(Self {
            target: target.parse().map_err(|bad: policies::ids::BadName| bad.to_string())?,
            service: service.map(str::parse).transpose().map_err(|bad: policies::ids::BadName| bad.to_string())?,
            listen: listen.map(str::parse).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_target_perhaps_a_service_and_perhaps_where_to_listen() {
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.0.to_string());
        assert_eq!(listen("5020"), Ok("127.0.0.1:5020".to_owned()));
        assert_eq!(listen("localhost:5020"), Ok("127.0.0.1:5020".to_owned()));
        assert_eq!(listen("[::1]:5020"), Ok("[::1]:5020".to_owned()));
        assert_eq!(listen("10.0.0.9:5020"), Ok("10.0.0.9:5020".to_owned()));
        assert!(listen("plc-7:5020").is_err() && listen("70000").is_err() && listen("").is_err());
        let place: Place = "plc-7/modbus=5020".parse().unwrap();
        assert_eq!((place.target.as_str(), place.service.unwrap().as_str()), ("plc-7", "modbus"));
        assert_eq!(place.listen, Some("5020".parse().unwrap()));
        let place: Place = "plc-7".parse().unwrap();
        assert_eq!((place.service, place.listen), (None, None));
        for bad in ["", "PLC", "plc-7/", "plc-7=", "plc-7/a/b", "=5020"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
