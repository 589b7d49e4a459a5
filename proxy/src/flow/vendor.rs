//! What `server::Handler` delegates for every channel of one vendor connection, outer or inner, so that its callbacks
//! only append and return. Who may open a channel, and what is done with its events, is decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use russh::ChannelId;

use super::{Brake, Event, HIGH_BYTES, Queue, Request, Valve, WINDOW_BYTES};

/// Our answer to a channel request, to be given inside the callback: russh keeps one "wants a reply" flag per channel,
/// and OpenSSH sends several requests without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the answer belongs to this request, and to no later one"]
pub enum Reply {
    /// Call `Session::channel_success`.
    Success,
    /// Call `Session::channel_failure`.
    Failure,
}

/// The upload queues of one vendor connection. Dropping it, with russh's handler, ends them all.
#[derive(Debug)]
pub struct VendorFlow {
    valve: Arc<Valve>,
    channels: HashMap<ChannelId, Upload>,
}

#[derive(Debug)]
struct Upload {
    queue: Arc<Queue>,
    started: bool,
}

impl VendorFlow {
    /// While an upload waits, its peer is granted this much at a time. One would be a dead channel: russh grants again
    /// only when less than half of the last grant is left, and nothing is less than half of one.
    const PROBE_BYTES: u32 = 2;
    /// An upload that holds more has used its own window and its neighbours': then nobody is granted anything.
    const CROWDED_BYTES: usize = 2 * HIGH_BYTES + WINDOW_BYTES as usize;

    /// No channels yet, on a connection with this valve.
    pub fn new(valve: Arc<Valve>) -> Self {
        Self { valve, channels: HashMap::new() }
    }

    /// The connection's valve.
    pub fn valve(&self) -> &Arc<Valve> {
        &self.valve
    }

    /// How many channels the technician has open.
    pub fn channels(&self) -> usize {
        self.channels.values().filter(|upload| !upload.queue.is_ended()).count()
    }

    /// The queue of a channel about to be accepted. russh does not tell when a channel closes that we closed first,
    /// so queues that ended are cleared here.
    pub fn open_channel(&mut self, id: ChannelId) -> Arc<Queue> {
        self.channels.retain(|_, upload| !upload.queue.is_ended());
        let queue = Queue::new(Brake::Window, Arc::clone(&self.valve));
        self.channels.insert(id, Upload { queue: Arc::clone(&queue), started: false });
        queue
    }

    /// For `Handler::data`.
    pub fn data(&self, id: ChannelId, data: &[u8]) {
        self.push_data(id, None, data);
    }

    /// For `Handler::extended_data`.
    pub fn extended_data(&self, id: ChannelId, stream: u32, data: &[u8]) {
        self.push_data(id, Some(stream), data);
    }

    /// For `Handler::channel_eof`.
    pub fn eof(&self, id: ChannelId) {
        self.push(id, Event::Eof);
    }

    /// For `Handler::channel_close`.
    pub fn close(&mut self, id: ChannelId) {
        self.push(id, Event::Close);
        if let Some(upload) = self.channels.remove(&id) {
            upload.queue.end();
        }
    }

    /// For the callbacks of channel requests. Success says that the request was understood and waits its turn; whether
    /// it may pass is told to the person in words, which a bare failure could not do.
    pub fn request(&mut self, id: ChannelId, request: Request) -> Reply {
        let Some(upload) = self.channels.get_mut(&id) else { return Reply::Failure };
        let starts = request.starts_program();
        if (starts && upload.started) || !is_carried(&request) {
            return Reply::Failure;
        }
        upload.started |= starts;
        upload.queue.push(Event::Request(request));
        Reply::Success
    }

    /// For the callbacks of requests that are refused whatever they say: the person is told why in order with all else,
    /// which a bare failure could not do.
    pub fn refused(&self, id: ChannelId, why: &'static str) {
        self.push(id, Event::Refused(why));
    }

    /// For `Handler::adjust_window`, which russh asks after each grant for the size of the next: the whole window, or
    /// two bytes while this channel's upload waits, so that the first probe after it falls restores the whole.
    pub fn adjust_window(&self, id: ChannelId) -> u32 {
        if !self.valve.is_paced() {
            return WINDOW_BYTES;
        }
        let waiting = self.channels.get(&id).filter(|upload| upload.queue.is_over());
        if let Some(upload) = waiting
            && self.channels() > 1
        {
            upload.queue.give_up_if_stalled();
        }
        if waiting.is_some() || self.is_crowded() { Self::PROBE_BYTES } else { WINDOW_BYTES }
    }

    fn is_crowded(&self) -> bool {
        self.channels.values().any(|upload| upload.queue.held_bytes() > Self::CROWDED_BYTES)
    }

    fn push_data(&self, id: ChannelId, stream: Option<u32>, data: &[u8]) {
        if let Some(upload) = self.channels.get(&id) {
            self.valve.note_input();
            upload.queue.push_data(stream, data);
        }
    }

    fn push(&self, id: ChannelId, event: Event) {
        if let Some(upload) = self.channels.get(&id) {
            upload.queue.push(event);
        }
    }
}

impl Drop for VendorFlow {
    fn drop(&mut self) {
        for upload in self.channels.values() {
            upload.queue.end();
        }
    }
}

/// Of the environment, only what tells a terminal's language and kind: anything else may change what a program does.
/// And nothing too long to be recorded, as a note in which every byte may take five.
fn is_carried(request: &Request) -> bool {
    const REQUEST_BYTES_MAX: usize = 48 << 10;
    if request.weight() > REQUEST_BYTES_MAX {
        return false;
    }
    match request {
        Request::Env { name, .. } => name == "LANG" || name == "TERM" || name.starts_with("LC_"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Request {
        Request::Env { name: name.to_owned(), value: "x".to_owned() }
    }

    #[test]
    fn of_the_environment_only_language_and_terminal_are_carried() {
        for name in ["LANG", "LC_ALL", "LC_TIME", "TERM"] {
            assert!(is_carried(&env(name)), "{name}");
        }
        for name in ["LD_PRELOAD", "PATH", "LANGUAGE", "XTERM", "lc_all", "BASH_ENV", ""] {
            assert!(!is_carried(&env(name)), "{name}");
        }
    }

    #[test]
    fn a_request_too_long_to_be_recorded_is_not_carried() {
        assert!(is_carried(&Request::Exec(vec![b'x'; 48 << 10].into())));
        assert!(!is_carried(&Request::Exec(vec![b'x'; (48 << 10) + 1].into())));
    }
}
