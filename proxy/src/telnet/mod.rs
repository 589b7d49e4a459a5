//! Targets that speak telnet: a terminal in clear text, reached by the technician's SSH client. `codec` is what stands on the
//! wire, `login` how the gate logs in, `line` one connection as a channel is carried over it. How a channel is carried at all,
//! and recorded, is in `ssh::channel`, as for a target that speaks SSH.

mod codec;
mod line;
mod login;

pub use codec::{Codec, Decoded};
pub(crate) use line::Exchange;
pub use line::Line;
pub(crate) use login::{Login, Typed};
