//! Latency against loss: from publishing a message to its delivery, for each contract, with losses that come alone and in
//! bursts. In the simulated network at three round trips; and with real sockets between network namespaces, beside the
//! simulation at the round trip those have.
//!
//! `cargo bench --bench latency` draws `benches/latency/simulated.svg`, the same on every machine; `-- --real` measures here
//! and draws `benches/latency/real.svg` (needs root, for the namespaces, and a machine that does nothing else; four minutes). Both print their figures.
//! `-- --seed 2` draws other losses, `-- --messages 10000` takes fewer messages.

#[path = "../support/pace.rs"]
#[cfg(target_os = "linux")]
mod pace;
mod picture;
#[cfg(target_os = "linux")]
mod real;
mod simulated;
#[cfg(target_os = "linux")]
#[path = "../../tests/support/mod.rs"]
mod support;

use nakcast::Contract;
use nakcast::sim::{Bursts, Link};
use picture::{Curve, Panel, Picture};
use std::time::Duration;

/// Per cent of the datagrams that come to the subscriber, repairs too.
const LOSSES: [f64; 7] = [0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0];
/// Messages a second, each in a datagram of its own, and their bytes.
const RATE: u32 = 10_000;
const SIZE: usize = 256;
const SPACING: Duration = Duration::from_micros(1_000_000 / RATE as u64);
/// The mean length of a burst, datagrams.
const BURST: f64 = 5.0;

/// How losses come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Alone,
    Bursts,
}

const KINDS: [(Kind, &str); 2] = [(Kind::Alone, "alone"), (Kind::Bursts, "in bursts")];

impl Kind {
    fn link(self, link: Link, percent: f64) -> Link {
        let loss = percent / 100.0;
        match self {
            Kind::Alone => Link { loss, ..link },
            Kind::Bursts if loss == 0.0 => link,
            Kind::Bursts => Link { bursts: Some(Bursts::of(loss, BURST)), ..link },
        }
    }
}

/// How long a message is held behind a gap under the contract with a deadline, where a round trip takes so long: there is time
/// for two repairs, the second after the least time before a NAK is repeated (200 us).
fn deadline(round_trip: Duration) -> Duration {
    round_trip * 2 + Duration::from_micros(300)
}

fn contracts(round_trip: Duration) -> [(&'static str, Contract); 4] {
    [
        ("ordered", Contract::Ordered),
        ("deadline", Contract::Deadline(deadline(round_trip))),
        ("arrival", Contract::Arrival),
        ("best effort", Contract::BestEffort),
    ]
}

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// What came of a run.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// How long messages took, microseconds: at each of the percentiles.
    times: [f64; PERCENTILES.len()],
    /// Messages told as lost, per cent.
    lost: f64,
}

impl Outcome {
    /// Of how long each message that came took, nanoseconds, and how many were told as lost.
    fn new(mut took: Vec<u64>, lost: u64) -> Outcome {
        took.sort_unstable();
        let at = |part: f64| {
            let index = ((took.len() as f64 * part).ceil() as usize).saturating_sub(1);
            took.get(index).map_or(0.0, |&nanos| nanos as f64 / 1e3)
        };
        let times = PERCENTILES.map(|(_, part)| at(part));
        Outcome { times, lost: 100.0 * lost as f64 / (lost + took.len() as u64).max(1) as f64 }
    }
}

/// Prints the figures of some runs, a line for each loss.
fn print(name: &str, outcomes: &[Outcome]) {
    for (loss, outcome) in LOSSES.iter().zip(outcomes) {
        let times = outcome.times.map(|micros| format!("{micros:.0}")).join(" | ");
        println!("| {name} | {loss}% | {times} | {:.2}% |", outcome.lost);
    }
}

fn head() {
    println!("| | loss | p50 | p99 | p99.9 | max, us | lost |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
}

/// A curve for each percentile.
fn curves(outcomes: &[Outcome], dashed: bool) -> Vec<Curve> {
    let points = |colour: usize| LOSSES.iter().zip(outcomes).map(|(&x, o)| (x, o.times[colour])).collect();
    (0..PERCENTILES.len()).map(|colour| Curve { points: points(colour), colour, dashed }).collect()
}

/// What was lost, below the curves; nothing where nothing was.
fn lost(name: &str, outcomes: &[Outcome]) -> Option<(String, Vec<(f64, String)>)> {
    let percent = |o: &Outcome| match o.lost {
        0.0 => "0".to_owned(),
        some if some < 0.005 => "<0.01".to_owned(),
        some if some < 0.095 => format!("{some:.2}"),
        some if some < 9.95 => format!("{some:.1}"),
        some => format!("{some:.0}"),
    };
    let any = outcomes.iter().any(|outcome| outcome.lost > 0.0);
    any.then(|| (name.to_owned(), LOSSES.iter().zip(outcomes).map(|(&x, o)| (x, percent(o))).collect()))
}

fn written(file: &str, picture: &Picture) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/latency/").to_owned() + file;
    std::fs::write(&path, picture.svg()).unwrap_or_else(|e| panic!("{path}: {e}"));
    println!("\nDrawn in benches/latency/{file}.\n");
}

fn main() {
    let (mut real, mut seed, mut messages) = (false, 1, 100_000_u32);
    let mut arguments = std::env::args().skip(1);
    let mut measures = false;
    while let Some(argument) = arguments.next() {
        let mut number = || -> Option<u64> { arguments.next()?.parse().ok() };
        match argument.as_str() {
            "--real" => real = true,
            "--seed" => seed = number().expect("--seed takes a number"),
            "--messages" => messages = number().expect("--messages takes a number") as u32,
            // What `cargo bench` says to every benchmark.
            "--bench" => measures = true,
            other => panic!("{other}: there are --real, --seed NUMBER and --messages NUMBER"),
        }
    }
    if !measures {
        println!("nothing is measured in a test run; cargo bench --bench latency does");
    } else if real {
        #[cfg(target_os = "linux")]
        real::compare(seed, messages);
        #[cfg(not(target_os = "linux"))]
        eprintln!("network namespaces are Linux's own");
    } else {
        simulated::draw(seed, messages);
    }
}
