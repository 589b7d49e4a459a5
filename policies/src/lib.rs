//! The domain: what may be asked, who may say yes, what follows from it. Pure: no files, no sockets, no clock,
//! no randomness; time, identifiers and salts are arguments. Who signed a thing is settled above, in `certs`.

pub mod actions;
pub mod digest;
pub mod ids;
pub mod time;
