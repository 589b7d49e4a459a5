//! How technicians reach the gate by SSH, in the words that they type: one place, so that no hint leaves the port out.

use std::fmt;

/// The gate's name and port as technicians use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// What `ssh` takes where nothing is said.
const SSH_PORT: u16 = 22;

impl Gate {
    /// `ssh -p 2222 USER@gate.mill3.example`.
    pub fn ssh(&self, user: &str) -> String {
        match self.port {
            SSH_PORT => format!("ssh {user}@{}", self.name),
            port => format!("ssh -p {port} {user}@{}", self.name),
        }
    }

    /// `ssh -J USER@gate.mill3.example:2222 TARGET`.
    pub fn jump(&self, user: &str, target: &dyn fmt::Display) -> String {
        match self.port {
            SSH_PORT => format!("ssh -J {user}@{} {target}", self.name),
            port => format!("ssh -J {user}@{}:{port} {target}", self.name),
        }
    }

    /// Where a service with this port is listened for locally: at a port that everybody may listen on.
    pub const fn local_port(port: u16) -> u16 {
        const FIRST_FREE: u16 = 1024;
        if port < FIRST_FREE { port + 10_000 } else { port }
    }

    /// `ssh -N -L 5020:plc-7:502 -p 2222 USER@gate.mill3.example`; the local port is one that everybody may listen on.
    pub fn forward(&self, user: &str, target: &dyn fmt::Display, port: u16) -> String {
        let local = Self::local_port(port);
        format!("ssh -N -L {local}:{target}:{port}{}", self.ssh(user).trim_start_matches("ssh"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_said_where_ssh_would_take_another() {
        let gate = |port| Gate { name: "gate.mill3.example".into(), port };
        assert_eq!(gate(2222).ssh("tess"), "ssh -p 2222 tess@gate.mill3.example");
        assert_eq!(gate(2222).jump("tess", &"hmi-2"), "ssh -J tess@gate.mill3.example:2222 hmi-2");
        let forward = gate(2222).forward("tess", &"plc-7", 502);
        assert_eq!(forward, "ssh -N -L 10502:plc-7:502 -p 2222 tess@gate.mill3.example");
        assert_eq!(gate(22).ssh("tess"), "ssh tess@gate.mill3.example");
        assert_eq!(gate(22).jump("tess", &"hmi-2"), "ssh -J tess@gate.mill3.example hmi-2");
    }
}
