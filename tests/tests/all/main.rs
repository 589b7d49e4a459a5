//! All of it, in one program, because linking it takes longer than most of its tests. What cuts the power runs itself again
//! and stands alone, in `power.rs` beside this.

mod alarms;
mod backup;
mod bad_input;
mod browser_files;
mod bypasses;
mod cards;
mod clients;
mod closing;
mod companies;
mod connections;
mod crash;
mod dry_run;
mod emergency;
mod endings;
mod escalation;
mod evidence;
mod feed;
mod file_check;
mod flow;
mod full_disk;
mod fuzz;
mod gates;
mod guests;
mod history;
mod keeping;
mod mail;
mod mine;
mod oidc;
mod pages;
mod recipients;
mod replay;
mod reports;
mod restore;
mod rollback;
mod schema;
mod screen;
mod second_opinion;
mod secrets;
mod shift;
mod tcp;
mod telnet;
mod terminal;
mod tidy;
mod tlog;
mod tls;
mod tunnels;
mod vnc;
mod weaker;
mod websocket;
mod whole_job;
mod witness;
mod witnessed;

#[path = "../../../recordings/tests/support/mod.rs"]
mod support;
