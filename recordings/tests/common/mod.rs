//! What the tests of the running log share: a small executor, and a record log with keys in a folder of its own.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses a part, and stops when it cannot go on"
)]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use policies::ids::SessionId;
use recordings::disk::{RealDisk, RealMachine};
use recordings::fault::OpenFault;
use recordings::keys::Recipients;
use recordings::log::{Log, LogOptions, Purpose, Recovery};
use recordings::session::Opening;
use recordings::sim::SimSigner;

pub const ORIGIN: &str = "mill3/records/node-1";

pub fn options(purpose: Purpose) -> LogOptions {
    let segment_bytes = 1 << 20;
    LogOptions { segment_bytes, ..LogOptions::new(purpose, ORIGIN, "node-1".parse().unwrap()) }
}

pub fn open(dir: &Path, options: LogOptions) -> Result<(Log, Recovery), OpenFault> {
    Log::open(Arc::new(RealDisk), Arc::new(RealMachine), dir, options, Arc::new(SimSigner::new(1)))
}

/// Two auditors.
pub fn auditors() -> [age::x25519::Identity; 2] {
    [age::x25519::Identity::generate(), age::x25519::Identity::generate()]
}

pub fn recipients(auditors: &[age::x25519::Identity]) -> Recipients {
    let texts: Vec<String> = auditors.iter().map(|auditor| auditor.to_public().to_string()).collect();
    Recipients::parse(texts.iter().map(String::as_str)).unwrap()
}

pub fn opening(number: u64, recipients: &Recipients) -> Opening {
    Opening {
        recording: SessionId::new(ulid::Ulid::from(u128::from(number))),
        metadata: br#"{"technician":"p_1"}"#.to_vec(),
        key_file: recipients.new_key_file(&RealMachine),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
