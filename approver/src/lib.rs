//! Decisions: the Desk and its leases, the journal and the directory behind it, what people do around it, and the API
//! by which commands reach it. What a session is made of, and every network protocol of the field, is above, in `proxy`;
//! what is allowed is below, in `policies`.

pub mod alarms;
pub mod api;
mod attendance;
pub mod blobs;
pub mod bundled;
pub mod capture;
pub mod carrier;
pub mod certificates;
mod checked;
pub mod clock;
pub mod cuts;
pub mod deposits;
pub mod desk;
pub mod difference;
pub mod directory;
pub mod eraser;
pub mod feed;
pub mod floor;
pub mod gate;
pub mod journal;
pub mod lease;
pub mod memory;
pub mod mint;
pub mod notify;
pub mod oidc;
mod packs;
pub mod people;
pub mod post;
pub mod postgres;
pub mod private_file;
pub mod recorder;
pub mod testing;
pub mod vaulting;
pub mod watching;
pub mod witnesses;
