//! Back-pressure outside russh: the queues, valves and streams that let two SSH sessions be joined without either
//! ever blocking the other. What is recorded, judged or forwarded is decided above, in `relay` and `ssh::channel`.
//!
//! russh grants a channel's window when data *arrives* and then blocks its only task while nobody takes the data, so
//! two coupled sessions can wait for each other. The rule that prevents it: **the vendor leg always reads, only the
//! target leg may be stopped**. Handlers append to a [`Queue`] and return. A full download queue shuts the target
//! leg's socket ([`GatedStream`]); a full upload queue makes [`VendorFlow::adjust_window`] grant two bytes at a time.
//! So the target leg waits for vendor writes, vendor writes wait for the technician's reading alone, and nothing waits
//! for the target leg but the upload, which its window bounds.

mod channel_stream;
mod event;
mod gated;
mod leg;
mod moment;
mod queue;
mod valve;
mod vendor;

pub use channel_stream::ChannelStream;
pub use event::{Event, Own, Request, WindowSize};
pub use gated::GatedStream;
pub use leg::Leg;
pub use moment::Moment;
pub use queue::{Brake, Queue, QueueFault};
pub use valve::Valve;
pub use vendor::{Reply, VendorFlow};

/// How much neighbouring data is merged into one chunk, which is also the recorder's frame: at 32 KiB the recorder
/// costs a tenth more CPU per byte, above 128 KiB nothing is gained.
pub const CHUNK_BYTES: usize = 128 << 10;

/// A queue holding more than this asks its peer to stop.
pub const HIGH_BYTES: usize = 4 << 20;

/// A queue that has fallen to this lets its peer go on.
pub const LOW_BYTES: usize = HIGH_BYTES / 2;

/// A queue holding more than this belongs to a peer that ignores its window: an honest one needs at most
/// 2 × [`HIGH_BYTES`] + 2 windows, 12 MiB.
pub const CAP_BYTES: usize = 32 << 20;

/// What a peer may send on a channel before it must wait for us.
pub const WINDOW_BYTES: u32 = 2 << 20;

/// What a writer may leave in memory while its socket is full: the most that russh writes unasked between two reads.
pub const SPILL_BYTES: usize = 4 << 20;
