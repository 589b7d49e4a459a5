//! What one node carries: terminals that are open at once, each of which types a key every ten seconds.

use std::time::{Duration, Instant};

use policies::time::Seconds;
use tests::plant::EVERYTHING;
use tests::{Options, Plant};

use crate::{Typist, percentiles, processor_of};

/// More than one, because each may open a thousand at most.
const TECHNICIANS: [&str; 2] = ["tess", "theo"];
/// For so long each state is watched.
const SPAN: Duration = Duration::from_secs(10);

/// Opens as many as each size says, one size after the other, and tells what the program takes.
pub(crate) fn measure(sizes: &[usize]) {
    println!("\ncrowd: shells at once, a tenth of which type a key each second");
    let mut plant = plant();
    for name in TECHNICIANS {
        open(&plant, name).ready();
    }
    let before = plant.memory();
    let mut shells: Vec<Typist> = Vec::new();
    for size in sizes {
        let (began, here) = (Instant::now(), shells.len());
        // A few at a time, as the gate's limit for connections before login wants it.
        while shells.len() < *size {
            let some = (size - shells.len()).min(10);
            let mut next: Vec<_> = TECHNICIANS.iter().cycle().take(some).map(|name| open(&plant, name)).collect();
            next.iter_mut().for_each(Typist::ready);
            shells.append(&mut next);
        }
        let each = began.elapsed().as_secs_f64() * 1000.0 / (size - here) as f64;
        std::thread::sleep(SPAN);
        let grown = plant.memory().saturating_sub(before);
        let idle = share_of_a_core(&mut plant, || std::thread::sleep(SPAN));
        let mut waits = Vec::new();
        let typing = share_of_a_core(&mut plant, || waits = type_in_turns(&mut shells));
        let (p50, p99) = percentiles(&waits);
        println!(
            "  {size:>5}   {:>4} MiB, {:>4} KiB a shell   idle {idle:>5.1} %, typing {typing:>5.1} % of a core   \
             key and echo p50 {p50:>6.2} ms, p99 {p99:>6.2} ms   {each:.0} ms to open one",
            grown >> 20,
            grown / *size as u64 / 1024,
        );
    }
}

fn plant() -> Plant {
    let rule = "idle = \"4h\"\nfactor_lasts = \"24h\"\nconnections = 1000".to_owned();
    let technicians = TECHNICIANS.map(|name| (name, "acme")).to_vec();
    let mut plant = Plant::enrolled(Options { rule, technicians, ..Options::default() });
    for name in TECHNICIANS {
        plant.grant(name, "hmi-2", &EVERYTHING, Seconds(4 * 3_600));
        plant.log_in(name);
    }
    plant.serve();
    plant
}

fn open(plant: &Plant, name: &str) -> Typist {
    let person = plant.person(name);
    Typist::start(person.ssh(&["-tt", &person.at("hmi-2"), Typist::COMMAND]))
}

/// What the program takes of one core meanwhile, in hundredths.
fn share_of_a_core(plant: &mut Plant, during: impl FnOnce()) -> f64 {
    let gate = plant.gate().id();
    let (before, began) = (processor_of(gate), Instant::now());
    during();
    (processor_of(gate) - before) * 100.0 / began.elapsed().as_secs_f64()
}

/// Each types a key in its turn, so that every one has typed once; how many milliseconds each echo took.
fn type_in_turns(shells: &mut [Typist]) -> Vec<f64> {
    let (began, pause) = (Instant::now(), SPAN / shells.len() as u32);
    let mut due = Duration::ZERO;
    let mut one = |shell: &mut Typist| {
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        due += pause;
        shell.echo().as_secs_f64() * 1000.0
    };
    shells.iter_mut().map(&mut one).collect()
}
