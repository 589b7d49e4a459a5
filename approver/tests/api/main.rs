//! The API as a client meets it: real TLS, real signatures, a Desk in memory.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that meets the unexpected stops there")]

mod companies;
mod connecting;
mod doors;
mod guests;
mod history;
mod kit;
mod notices;
mod oidc;
mod signing_in;
mod work;
