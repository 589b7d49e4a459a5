//! The domain: what may be asked, who may say yes, what follows from it. Pure: no files, no sockets, no clock,
//! no randomness; time, identifiers and salts are arguments. Who signed a thing is settled above, in `certs`.

pub mod actions;
pub mod answered;
pub mod closing;
pub mod companies;
pub mod decide;
pub mod digest;
pub mod events;
pub mod explain;
pub mod guests;
pub mod history;
pub mod ids;
pub mod kept;
pub mod ledger;
pub mod live;
pub mod nodes;
pub mod offers;
pub mod open;
pub mod people;
pub mod plant;
pub mod recipients;
pub mod refusals;
pub mod reports;
pub mod requests;
pub mod rotation;
pub mod rules;
mod standstills;
pub mod state;
pub mod time;
pub mod version;
pub mod vocabulary;
