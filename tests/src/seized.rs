//! What somebody can do who owns the gate's keys: put into a copy whatever they like, under signatures that are right.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::keys::{KeyStore, Seal};
use certs::log_key::LogKey;
use futures::executor::block_on;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::events::Event;
use policies::requests::SeenHead;
use recordings::disk::{RealDisk, RealMachine};
use recordings::log::{Log, LogOptions, Purpose};
use recordings::restoring::Resting;

use crate::Plant;

/// The keys of a plant's gate, and a copy of its data folder.
pub struct Seized {
    key: LogKey,
    data: PathBuf,
}

impl Seized {
    /// Takes hold of a copy.
    pub fn of(plant: &Plant, data: PathBuf) -> Self {
        let keys = KeyStore::open(&plant.installation().join("keys"), &Seal::File).expect("as the program made them");
        Self { key: keys.log_key(), data }
    }

    /// The key of both logs.
    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    fn dir(&self, log: &str) -> PathBuf {
        self.data.join(log)
    }

    fn options(dir: &Path) -> LogOptions {
        let format = fs::read_to_string(dir.join("FORMAT")).expect("as the program writes it");
        let lines: Vec<&str> = format.lines().collect();
        let purpose = if dir.ends_with("journal") { Purpose::Journal } else { Purpose::Records };
        LogOptions::new(purpose, lines[1], lines[2].parse().expect("a name"))
    }

    /// The log `journal` or `records`, at rest.
    pub fn resting(&self, log: &str) -> Resting {
        let dir = self.dir(log);
        Resting::take(Arc::new(RealDisk), &dir, &Self::options(&dir), &self.key).expect("whole")
    }

    /// How far that log goes.
    pub fn seen(&self, log: &str) -> SeenHead {
        let head = self.resting(log).head();
        SeenHead { size: head.size, root: Digest(head.root) }
    }

    /// Opens that log, does something with it, and stops it in order.
    pub fn open<T>(&self, log: &str, work: impl FnOnce(&Log) -> T) -> T {
        let dir = self.dir(log);
        let options = Self::options(&dir);
        let opened = Log::open(Arc::new(RealDisk), Arc::new(RealMachine), &dir, options, Arc::new(self.key.clone()));
        let (log, _) = opened.expect("whole");
        let done = work(&log);
        log.stop();
        done
    }

    /// Appends events to the journal as if they had been decided. Both logs are ended in order, at the same time.
    pub fn append(&self, events: &[Event]) {
        self.open("journal", |log| {
            for event in events {
                block_on(log.append(log.head(), vec![event.encode()], Timestamp::now())).expect("a disk with room");
            }
        });
        self.open("records", |_| {});
    }
}
