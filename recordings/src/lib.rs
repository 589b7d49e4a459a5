//! The append-only store: one log engine for decisions and for recordings. Bytes are durable before anyone is told so,
//! encrypted to the auditors, and chained; reading and checking them needs files and keys, and no server.

pub mod block;
pub mod cast;
mod closing;
pub mod codec;
#[cfg(test)]
mod crash;
pub mod disk;
mod entries;
pub mod fault;
pub mod frame;
pub mod keeping;
pub mod keys;
pub mod leaf;
pub mod ledger;
mod leftover;
pub mod log;
pub mod notes;
pub mod operation;
pub mod pack;
pub mod paper;
pub mod part;
pub mod pcapng;
mod plain;
pub mod play;
mod press;
mod queue;
pub mod read;
mod recover;
pub mod rehearse;
pub mod remarks;
pub mod restoring;
mod retire;
mod scan;
pub mod screen;
mod sealer;
pub mod secrets;
pub mod segment;
pub mod session;
pub mod sim;
mod spares;
mod state;
pub mod table;
pub mod timeline;
pub mod tlog;
pub mod tree;
pub mod verify;
pub mod window;
pub mod wire;
pub mod words;
mod writer;

pub use recover::FORMAT;
