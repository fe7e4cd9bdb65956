//! What a scenario is made of, drawn from its seed.

use fastrand::Rng;
use nakcast::protocol::publisher::{self, Flow};
use nakcast::protocol::subscriber::{self, Contract, StartAt};
use nakcast::sim::{Bursts, Link, Rate};
use nakcast::{ReceiverId, SourceId};
use std::time::Duration;

pub const TOPICS: [&str; 4] = ["a", "a.b", "a.c", "d.e"];
const PATTERNS: [&str; 5] = [">", "a.>", "*.b", "a", "a.*"];

pub fn micros(random: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_micros(random.u64(from..=to))
}

/// Half of the time nothing, otherwise up to `most`.
fn chance(random: &mut Rng, most: f64) -> f64 {
    if random.bool() { random.f64() * most } else { 0.0 }
}

fn one_in(random: &mut Rng, count: u8) -> bool {
    random.u8(..count) == 0
}

/// What all publishers of a run have in common.
pub fn publisher(random: &mut Rng) -> publisher::Config {
    let datagram = [512, 512, 512, 1_408, 1_408, 8_192, 65_507][random.usize(..7)];
    let small = one_in(random, 3);
    let window = if small { datagram * random.usize(4..200) } else { 16 << 20 };
    let flow = if one_in(random, 3) { Flow::None } else { Flow::Slowest };
    publisher::Config {
        datagram,
        window,
        max_message: (window / 2).max(datagram * 2).min(1 << 20),
        flow,
        patience: Duration::from_secs(if random.bool() { 10 } else { 1 }),
        max_rate: (one_in(random, 3) || flow == Flow::None)
            .then(|| [100, 1_000, 20_000][random.usize(..3)] * datagram as u64 * 8),
        max_delay: micros(random, 10, 500),
        ..publisher::Config::new(SourceId(0))
    }
}

/// A window that holds some five thousand datagrams: all of it is what a late joiner may ask for, and more than that is over
/// the budget of anybody.
pub fn publisher_with_history(random: &mut Rng) -> publisher::Config {
    publisher::Config {
        datagram: 512,
        window: 512 * 5_000,
        max_message: 64 << 10,
        flow: if random.bool() { Flow::None } else { Flow::Slowest },
        max_rate: None,
        ..publisher(random)
    }
}

/// Memory of a subscriber for all messages in parts.
pub const REASSEMBLY: usize = 32 << 20;

pub struct Wanted {
    pub pattern: &'static str,
    pub config: subscriber::Config,
}

pub fn subscriber(random: &mut Rng, id: u64) -> Wanted {
    let contract = match random.u8(..8) {
        0..4 => Contract::Ordered,
        4 => Contract::Deadline(micros(random, 100, 20_000)),
        5 | 6 => Contract::Arrival,
        _ => Contract::BestEffort,
    };
    let pattern = if random.bool() { ">" } else { PATTERNS[random.usize(..PATTERNS.len())] };
    let config = subscriber::Config {
        patterns: vec![pattern.into()],
        contract,
        start: if random.bool() { StartAt::Live } else { StartAt::Window },
        reorder: [300 << 10, 1 << 20, 8 << 20][random.usize(..3)],
        receive_buffer: [64 << 10, 208 << 10, 4 << 20][random.usize(..3)],
        max_message: 16 << 20,
        // Room for one of the longest messages, or for all; by arrival parts of many are kept.
        reassembly: if contract == Contract::Ordered && one_in(random, 3) { 512 << 10 } else { REASSEMBLY },
        ..subscriber::Config::new(ReceiverId(id))
    };
    Wanted { pattern, config }
}

/// What the links of one receiver do in a run, its branch's aside.
pub fn weather(random: &mut Rng, datagram: usize) -> Link {
    if one_in(random, 4) {
        return Link::default();
    }
    let bursts = one_in(random, 4).then(|| Bursts::of(random.f64() * 0.2, 1.0 + random.f64() * 20.0));
    Link {
        loss: chance(random, if bursts.is_some() { 0.1 } else { 0.3 }),
        bursts,
        duplicate: chance(random, 0.2),
        reorder: chance(random, 0.3),
        held_up: micros(random, 1, 2_000),
        jitter: if one_in(random, 3) { micros(random, 1, 1_000) } else { Duration::ZERO },
        corrupt: chance(random, 0.03),
        truncate: if one_in(random, 6) { random.f64() * 0.03 } else { 0.0 },
        rate: one_in(random, 8).then(|| Rate {
            bits_per_second: datagram as u64 * 8 * random.u64(1_000..50_000),
            queue: datagram * random.usize(5..100),
        }),
        ..Link::default()
    }
}

/// What a branch does: less, for it meets what its receivers' own links leave.
pub fn branch_weather(random: &mut Rng) -> Link {
    let bursts = one_in(random, 2).then(|| Bursts::of(random.f64() * 0.1, 1.0 + random.f64() * 10.0));
    Link { loss: chance(random, 0.05), bursts, ..Link::default() }
}

/// A link with this weather and a delay of its own.
pub fn link(random: &mut Rng, weather: Link) -> Link {
    Link { delay: micros(random, 5, 300), ..weather }
}
