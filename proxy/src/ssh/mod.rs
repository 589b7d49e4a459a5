//! SSH: the technician's side, the target's side, and the channels that join them. How bytes wait in between is in
//! `flow`, how they are recorded in `relay`.

pub mod channel;
pub mod cut;
pub mod face;
pub mod inspecting;
pub mod target;
mod uploading;
mod vendor_end;

pub(crate) use vendor_end::Aside;
