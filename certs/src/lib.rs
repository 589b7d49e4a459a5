//! Who is this, and who signed it? Every private key of the gate is read here and nowhere else, in the gate's own
//! process or in its vault's ([`vault`]); every check of a key,
//! a code, a certificate, a token or a signature ends here in a value that the next step demands. What a proven person
//! may do is not decided here, and no module opens a socket or reads a clock.

pub mod auditor;
pub mod enrolment;
pub mod given;
pub mod host_keys;
pub mod keys;
pub mod log_key;
pub mod oidc;
pub mod passkey;
pub mod password;
pub mod proof;
pub mod read_back;
pub mod ring;
pub mod secrets;
pub mod ssh_ca;
pub mod ssh_host;
pub mod sshsig;
pub mod succession;
pub mod testing;
pub mod tls;
pub mod tls_client;
pub mod token;
pub mod totp;
pub mod trust;
pub mod vault;
pub mod witness_key;
pub mod words;

mod chance;
mod tls_key;
