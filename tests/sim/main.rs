//! Deterministic simulation: nothing agreed is ever lost, whatever fails.
//!
//! In: seeds. `QUORATE_SIM=ci` runs as many as CI does and asks for CI's amounts; `QUORATE_SIM_SEEDS=A-B` runs those
//! seeds; `QUORATE_SIM_TRACE=SEED` prints every step of one. Out: totals, or the failing seed with its last events.
//!
//! Always true:
//! * a seed decides everything, also which faults there are: it fails again on every machine.
//!
//! Not here: real sockets, files and time (`tests/it`).

mod acl;
mod client;
mod crashes;
mod disks;
mod facts;
mod faults;
mod files;
mod invariants;
mod links;
mod model;
mod nemesis;
mod network;
mod oracle;
mod queue;
mod request;
mod run;
mod scenarios;
mod server;
mod setup;
mod trace;
mod traffic;
mod wire;
mod workload;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::faults::KINDS;
use crate::queue::Micros;
use crate::run::{Failure, Totals};
use crate::setup::Setup;
use crate::trace::Detail;
use crate::wire::op;

/// Seeds of a plain `cargo test`.
const SEEDS_FEW: u64 = 6;
/// Seeds of CI.
const SEEDS_CI: u64 = 430;
/// CI's floors.
const ELECTIONS_MIN: u64 = 2_000;
const ANSWERED_MIN: u64 = 1_000_000;
const FAULTS_MIN: u64 = 500;
const OF_EACH_OP_MIN: u64 = 500;
/// Seeds that failed once, with the name of what was wrong.
const FAILED_ONCE: &str = include_str!("seeds.txt");

/// Runs seeds on every core, each world on one thread. Stops at the first failure.
fn run_seeds(seeds: impl IntoIterator<Item = u64>) -> Result<Totals, Failure> {
    let seeds: Vec<u64> = seeds.into_iter().collect();
    let next = AtomicU64::new(0);
    let state: Mutex<(Totals, Option<Failure>)> = Mutex::default();
    let work = || loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(seed) = seeds.get(place as usize) else { return };
        let result = run::run_seed(*seed);
        let mut state = state.lock().expect("no worker panics with the lock");
        match result {
            Ok(totals) => state.0.merge(&totals),
            Err(failure) => {
                next.store(seeds.len() as u64, Ordering::Relaxed);
                // Of several failures at once the lowest seed is told, so that two runs tell the same.
                if state.1.as_ref().is_none_or(|other| failure.seed < other.seed) {
                    state.1 = Some(failure);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let (totals, failure) = state.into_inner().expect("every worker ended well");
    failure.map_or(Ok(totals), Err)
}

fn print(totals: &Totals) {
    let hours = totals.simulated_us as f64 / 3.6e9;
    println!(
        "simulator: {} seeds, each twice; {hours:.2} h simulated, {} elections, {} answers, {} txns, {} watches fired, {} \
         registered again and {} due then, {} sessions expired, {} packets overtaken, {} diffs, {} cuts, {} snapshots, {} \
         disks replaced, {} of {} memberships of one grown to three, {} steps, longest run {} s, longest recovery {} s",
        totals.runs,
        totals.elections,
        totals.answered,
        totals.committed,
        totals.fired,
        totals.rearmed,
        totals.found_due,
        totals.expired,
        totals.overtaken,
        totals.syncs.diffs,
        totals.syncs.cuts,
        totals.syncs.snapshots,
        totals.disks_replaced,
        totals.grown,
        totals.small,
        totals.steps,
        Micros(totals.longest_us),
        Micros(totals.recovery_max_us)
    );
    println!(
        "simulator: {} events of watches that stay, {} containers and nodes with a time to live ended, {} writes over a \
         quota, {} put off, {} connections to servers that only read, {} sessions given up",
        totals.persistent,
        totals.reaped,
        totals.over_quota,
        totals.put_off,
        totals.read_only,
        totals.given_up
    );
    let by_op: Vec<String> = totals.by_op.iter().map(|(op, count)| format!("{op}: {count}")).collect();
    println!("simulator: answers by operation: {}", by_op.join(", "));
    let faults: Vec<String> =
        KINDS.iter().map(|kind| format!("{kind:?} {}", totals.faults.of(*kind))).collect();
    println!("simulator: faults: {}", faults.join(", "));
}

fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Which seeds were asked for: `A-B`, or one.
fn asked_seeds() -> Option<Vec<u64>> {
    let text = std::env::var("QUORATE_SIM_SEEDS").ok()?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let number =
        |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("QUORATE_SIM_SEEDS is {text:?}, not A-B"));
    Some((number(first)..=number(last)).collect())
}

#[test]
fn nothing_agreed_is_lost_whatever_fails() {
    if let Ok(seed) = std::env::var("QUORATE_SIM_TRACE") {
        let seed = seed.parse().expect("QUORATE_SIM_TRACE is a seed");
        println!("{:?}", Setup::new(seed));
        match run::run_once(seed, Detail::Print) {
            Ok((_, totals)) => print(&totals),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    quiet_panics();
    let is_ci = std::env::var("QUORATE_SIM").is_ok_and(|amount| amount == "ci");
    let seeds = asked_seeds().unwrap_or_else(|| (1..=if is_ci { SEEDS_CI } else { SEEDS_FEW }).collect());
    let totals = run_seeds(seeds);
    drop(std::panic::take_hook());
    let totals = totals.unwrap_or_else(|failure| panic!("{failure}"));
    print(&totals);
    if is_ci {
        assert!(totals.elections >= ELECTIONS_MIN, "only {} elections", totals.elections);
        assert!(totals.answered >= ANSWERED_MIN, "only {} answers", totals.answered);
        for kind in KINDS {
            assert!(totals.faults.of(kind) >= FAULTS_MIN, "only {} of {kind:?}", totals.faults.of(kind));
        }
        for op in op::ASKED {
            let count = totals.by_op.get(&op).copied().unwrap_or(0);
            assert!(count >= OF_EACH_OP_MIN, "only {count} answers to operation {op}");
        }
        for (what, count, least) in [
            ("watches found due", totals.found_due, 1_000),
            ("events of watches that stay", totals.persistent, 500_000),
            ("sessions expired", totals.expired, 300),
            ("containers and nodes with a time to live ended", totals.reaped, 5_000),
            ("writes over a quota", totals.over_quota, 5_000),
            ("writes put off", totals.put_off, 5_000),
            ("connections to servers that only read", totals.read_only, 100),
        ] {
            assert!(count >= least, "only {count} {what}");
        }
    }
}

#[test]
fn seeds_that_failed_once_pass() {
    let lines = FAILED_ONCE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (seed, name) = line.split_once(' ').unwrap_or_else(|| panic!("seeds.txt: {line:?} has no name"));
        let seed = seed.parse().unwrap_or_else(|_| panic!("seeds.txt: {seed:?} is no seed"));
        if let Err(failure) = run::run_seed(seed) {
            panic!("{name}\n{failure}");
        }
    }
}
