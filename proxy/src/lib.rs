//! The program's own part: listeners, SSH, sessions, the relay of their bytes, configuration. What is decided is in
//! `approver`, how it is recorded in `recordings`; here is how people and targets are reached.

// `saying` writes instead: who reads may go away, and a panic is no way to take leave of them.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod saying;

pub mod app;
mod browsers;
pub mod client;
pub mod commands;
pub mod config;
mod confine;
pub mod demo;
pub mod dial;
pub mod files;
pub mod floor;
pub mod flow;
pub mod founding;
pub mod gates;
pub mod lanes;
pub mod legs;
pub mod picture;
pub mod relay;
pub mod secret;
pub mod serve;
mod service_manager;
pub mod session;
mod settings;
mod sittings;
pub mod ssh;
pub mod tcp;
pub mod telnet;
mod tls_face;
pub mod trusting;
pub mod uploads;
mod vault;
mod vendor_port;
mod websocket;
