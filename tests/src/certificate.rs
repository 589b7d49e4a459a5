//! Certificates that are not the gate's.

use std::path::Path;
use std::process::Command;

use crate::process::run;

/// `cert.pem` and `key.pem` in this folder: a server of this name vouches for itself, for two days.
pub fn self_signed(folder: &Path, name: &str) {
    let made = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {0}/key.new -out {0}/cert.new -days 2 \
         -subj /CN={name} -addext subjectAltName=DNS:{name} -addext basicConstraints=critical,CA:FALSE",
        folder.display()
    );
    run(Command::new("openssl").args(made.split_whitespace()), b"").ok();
    // As an authority's own tools put the next in place of the last.
    for name in ["key", "cert"] {
        std::fs::rename(folder.join(name).with_extension("new"), folder.join(name).with_extension("pem"))
            .expect("a file");
    }
}
