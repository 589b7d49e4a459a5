//! What years of work cost: how long a start takes with all of it in the journal, what the program holds then, and how long a
//! technician waits to be let in, beside the same with nothing behind it. Each request of the past is six entries of the journal: the whole size is a million.

use std::time::Instant;

use policies::time::Seconds;
use tests::plant::EVERYTHING;
use tests::{Options, Plant, run};

use crate::percentiles;

/// With so many past requests; a technician comes so often each time.
pub(crate) fn measure(pasts: &[usize], times: usize) {
    let rule = "idle = \"4h\"\nfactor_lasts = \"24h\"\nconnections = 1000".to_owned();
    let mut plant = Plant::enrolled(Options { rule, ..Options::default() });
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(4 * 3_600));
    plant.log_in("tess");
    println!("\npast: `ssh … true`, {times} times each");
    let mut requests = 0;
    come(&mut plant, requests, times);
    for past in pasts {
        plant.stop();
        let more = past - requests;
        let began = Instant::now();
        let size = plant.decide(|office| office.live_through(more, plant.person("tess"), "hmi-2", plant.person("lee")));
        println!("  ({more} requests more were made up in {:.0} s: {size} entries)", began.elapsed().as_secs_f64());
        requests = *past;
        // Who reads the journal along, as the feed does, has not seen any of it: it does not come at once otherwise.
        plant.serve();
        while is_busy(&mut plant) {}
        plant.stop();
        come(&mut plant, requests, times);
    }
}

/// Whether the program did more than a tenth of a second's work within a second.
fn is_busy(plant: &mut Plant) -> bool {
    let worked = |plant: &mut Plant| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", plant.gate().id())).expect("it runs");
        let ticks = stat.rsplit(')').next().into_iter().flat_map(str::split_whitespace).skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>()
    };
    let before = worked(plant);
    std::thread::sleep(std::time::Duration::from_secs(1));
    worked(plant) - before > 10
}

fn come(plant: &mut Plant, requests: usize, times: usize) {
    let began = Instant::now();
    plant.serve();
    let started = began.elapsed().as_secs_f64();
    let tess = plant.tess();
    let once = |_| {
        let began = Instant::now();
        run(&mut tess.ssh(&[&tess.at("hmi-2"), "true"]), b"").ok();
        began.elapsed().as_secs_f64() * 1000.0
    };
    let (p50, p99) = percentiles(&(0..times).map(once).collect::<Vec<_>>());
    println!(
        "  {requests:>7} past requests   start {started:>6.2} s   memory {:>5} MiB   let in p50 {p50:>6.1} ms   p99 {p99:>6.1} ms",
        plant.memory() >> 20
    );
}
