//! A recording opens for a lease and for nothing else, and its opening leaf says what the lease was for.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::sync::Arc;

use approver::recorder::{OpeningFacts, Recorder};
use approver::testing::{Scratch, Stage, node};
use policies::actions::Action;
use policies::digest::Digest;
use policies::events::Ending;
use recordings::disk::{RealDisk, RealMachine};
use recordings::keys::Recipients;
use recordings::leaf::Leaf;
use recordings::log::{Log, LogOptions, Purpose};
use recordings::sim::SimSigner;

fn recipients() -> Recipients {
    let auditors = [(); 2].map(|()| age::x25519::Identity::generate().to_public().to_string());
    Recipients::parse(auditors.iter().map(String::as_str)).unwrap()
}

fn record_log(scratch: &Scratch) -> Log {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        spares: 1,
        file_systems_allowed: ["overlayfs", "tmpfs", "btrfs", "zfs"].map(String::from).to_vec(),
        ..LogOptions::new(Purpose::Records, "mill-3/records/node-1", node())
    };
    let dir = scratch.path().join("records");
    Log::open(Arc::new(RealDisk), Arc::new(RealMachine), &dir, options, Arc::new(SimSigner::new(2))).unwrap().0
}

#[tokio::test]
async fn the_opening_leaf_says_what_the_lease_was_for_and_a_lease_opens_one_recording() {
    let (stage, scratch) = (Stage::new().await, Scratch::new());
    let (log, recipients) = (record_log(&scratch), recipients());
    stage.grant("hmi-2", &[Action::Shell]).await;
    let lease = stage.admit("hmi-2").await.unwrap();
    let recorder = Recorder::open(&lease, &log, &recipients, &RealMachine, "1.0").await.unwrap();
    assert!(Recorder::open(&lease, &log, &recipients, &RealMachine, "1.0").await.is_err());
    let sealed = recorder.seal(&Ending::Left, Vec::new()).await.unwrap();

    let leaves = log.entries(0).unwrap();
    let opened = leaves.iter().find_map(|entry| match Leaf::parse(&entry.bytes) {
        Ok(Leaf::Opened(opened)) => Some(opened),
        _ => None,
    });
    let opened = opened.unwrap();
    assert_eq!(opened.recording, lease.session());
    let facts: OpeningFacts = serde_json::from_slice(&opened.metadata).unwrap();
    assert_eq!((facts.session, facts.grant, facts.technician), (lease.session(), lease.grant(), lease.technician()));
    assert_eq!((facts.grant_digest, facts.banner), (lease.grant_digest(), lease.banner()));
    assert_eq!(facts.address, "10.20.2.11:22");
    assert_eq!(facts.journal_size, stage.desk.head().size);
    let canonical = serde_json_canonicalizer::to_vec(&facts).unwrap();
    assert_eq!(canonical, opened.metadata, "canonical, so that it has one spelling");

    let seal = leaves.iter().find(|entry| entry.index == sealed.index).unwrap();
    assert_eq!(Digest(seal.hash), sealed.digest, "what goes into the journal is the seal's own hash");
    stage.desk.end(lease, Ending::Left, Some(sealed.digest)).await;
}
