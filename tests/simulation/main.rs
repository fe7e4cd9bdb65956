//! The protocol in the simulated network: scenarios drawn from seeds, directed ones, and the network itself.
//!
//! One seed, with everything that happens in it written down:
//! `NAKCAST_SEED=7 NAKCAST_TRACE=1 cargo test --test simulation every_seed_holds -- --nocapture`. As many as one likes:
//! `scripts/soak 20m`. That they find what is broken: `scripts/break`.

mod anew;
mod announced;
mod answers;
mod arrival;
mod asking;
mod beating;
mod behind;
mod budgets;
mod bulk;
mod by_hand;
mod counted;
mod crowd;
mod directed;
mod draw;
mod endpoint;
mod invariants;
mod lies;
mod memory;
mod network;
mod peers;
mod published;
mod punctual;
mod room;
mod scenario;
mod shared;
mod standing;

use scenario::Counts;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 2_500;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {value:?}")))
}

/// What came of many seeds.
#[derive(Debug, Default)]
struct Report {
    seeds: u64,
    counts: Counts,
    /// Seeds, and what each panicked with.
    failed: Vec<(u64, String)>,
}

/// Runs seeds from `start` on, as many as `count` says, or as come until `until`, on all cores. When so many have failed as
/// `patience` says that ends it; others that are under way may fail too.
fn sweep(start: u64, count: u64, until: Option<Instant>, patience: u64) -> Report {
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let mut report = Report::default();
        while failures.load(Relaxed) < patience && !until.is_some_and(is_past) {
            let at = next.fetch_add(1, Relaxed);
            if at >= count {
                break;
            }
            let seed = start.wrapping_add(at);
            report.seeds += 1;
            match catch_unwind(AssertUnwindSafe(|| scenario::run(seed, false))) {
                Ok(outcome) => {
                    for (what, count) in outcome.counts {
                        *report.counts.entry(what).or_default() += count;
                    }
                }
                Err(panic) => {
                    failures.fetch_add(1, Relaxed);
                    let said = panic.downcast_ref::<String>().map(String::as_str);
                    let said =
                        said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
                    report.failed.push((seed, said.to_string()));
                }
            }
        }
        report
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Report::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let report = worker.join().expect("what a seed panics with is caught");
            all.seeds += report.seeds;
            all.failed.extend(report.failed);
            for (what, count) in report.counts {
                *all.counts.entry(what).or_default() += count;
            }
        }
    });
    all.failed.sort_unstable();
    for (seed, said) in &all.failed {
        let command = "cargo test --test simulation every_seed_holds -- --nocapture";
        eprintln!(
            "seed {seed} fails: {}\nto repeat it, written down:\nNAKCAST_SEED={seed} NAKCAST_TRACE=1 {command}",
            said.lines().collect::<Vec<_>>().join("; ")
        );
    }
    let failed: Vec<u64> = all.failed.iter().map(|&(seed, _)| seed).collect();
    assert!(failed.is_empty(), "of {} seeds, these fail: {failed:?}", all.seeds);
    all
}

#[expect(clippy::disallowed_methods, reason = "how long to go on is of the real clock")]
fn is_past(until: Instant) -> bool {
    Instant::now() >= until
}

/// The scenario of every seed holds; and together they come by everything there is to come by. `NAKCAST_SEED` runs that one
/// instead, `NAKCAST_TRACE` writes it down; `NAKCAST_SEEDS` runs so many, of which less is asked when they are fewer.
#[test]
fn every_seed_holds() {
    if let Some(seed) = number("NAKCAST_SEED") {
        let outcome = scenario::run(seed, std::env::var_os("NAKCAST_TRACE").is_some());
        eprintln!("seed {seed} holds: {outcome:#?}");
        return;
    }
    let seeds = number("NAKCAST_SEEDS").unwrap_or(SEEDS);
    let report = sweep(0, seeds, None, 1);
    eprintln!("{:#?}", report.counts);
    if seeds < SEEDS {
        return;
    }
    for what in [
        "late joins",
        "leaves",
        "restarts",
        "stalls",
        "slow consumers",
        "partitions",
        "narrow ways",
        "changes of weather",
        "repairs",
        "runs in bulk",
        "gone",
        "overruns",
        "kernel drops",
        "reordered",
        "damaged",
        "held back by a receiver",
        "fallen behind",
        "caught up",
        "quarantined",
        "released",
        "closed",
        "silent",
        "replaced",
        "aged-out",
        "deadline",
        "source-gone",
        "not-asked",
    ] {
        assert!(report.counts.get(what).is_some_and(|&count| count > 0), "no seed came by: {what}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 7, 11, 63] {
        assert_eq!(scenario::run(seed, false), scenario::run(seed, false));
    }
}

/// What `scripts/soak` runs: `NAKCAST_SOAK_COUNT` seeds, or as many as come in `NAKCAST_SOAK_SECONDS`, from
/// `NAKCAST_SOAK_START` on, until `NAKCAST_SOAK_FAILURES` have failed (default 10). When nobody says how many, a few behind those
/// of every run.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long to go on is of the real clock")]
fn soak() {
    let start = number("NAKCAST_SOAK_START").unwrap_or(SEEDS);
    let begun = Instant::now();
    let until = number("NAKCAST_SOAK_SECONDS").map(|seconds| begun + Duration::from_secs(seconds));
    let count = number("NAKCAST_SOAK_COUNT").unwrap_or(if until.is_some() { u64::MAX } else { 100 });
    let report = sweep(start, count, until, number("NAKCAST_SOAK_FAILURES").unwrap_or(10));
    println!("{} seeds from {start} on hold, in {:.0?}: {:#?}", report.seeds, begun.elapsed(), report.counts);
}
