//! The commands as people type them: the compiled program, against a gate that runs in this process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod documents;
mod evidence;
mod founding;
mod help;
mod house;
mod machine;
mod people;
#[path = "../pictures/mod.rs"]
mod pictures;
mod plant;
mod work;
