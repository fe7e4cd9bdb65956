//! What a metric costs: read and added up in place, on one core and on two, and received from `lo` with and without that, in one
//! run.
//!
//! `cargo bench -p nakcast-statsd --bench metrics`; `scripts/statsd-speed` has the original beside it. Sockets are filled and then
//! drained by one thread, so that a sender takes no part of the time: what it costs stands in a column of its own. Each figure is of
//! the quietest of rounds, which other work on the machine disturbed least.

use nakcast::net::{Options, Receiver, Socket, resolve};
use nakcast_statsd::clock;
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::shard::{Idle, Limits, Shard};
use std::hint::black_box;
use std::io::ErrorKind;
use std::sync::{Arc, Barrier};
use std::time::Duration;

const ROUNDS: usize = 9;
/// Metrics of a round; of more names, each comes once.
const METRICS: usize = 400_000;
/// What an Ethernet frame carries.
const FULL: usize = 1432;

/// Counters, timers and gauges in turn, in an order that no cache foresees.
fn lines(names: usize) -> Vec<String> {
    let mut state = 1_u64;
    let line = |at: usize| {
        state = state * 16807 % 2_147_483_647;
        let name = if names > METRICS { at * 7919 % names } else { state as usize % names };
        match name % 3 {
            0 => format!("service.web.{name}.requests:{}|c", state % 10),
            1 => format!("service.web.{name}.latency:{}.{}|ms", state % 1000, state % 10),
            _ => format!("service.web.{name}.depth:{}|g", state % 100),
        }
    };
    (0..METRICS.max(names)).map(line).collect()
}

fn datagrams(lines: &[String], full: bool) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if full && last.len() + 1 + line.len() <= FULL => {
                last.push(b'\n');
                last.extend(line.bytes());
            }
            _ => datagrams.push(line.clone().into_bytes()),
        }
    }
    datagrams
}

fn quietest(times: &[Duration], per: usize) -> f64 {
    times.iter().min().map_or(f64::NAN, |time| time.as_secs_f64() * 1e9 / per as f64)
}

/// Nanoseconds a metric, of names that are known.
fn replayed(datagrams: &[Vec<u8>], metrics: usize) -> f64 {
    let mut shard = Shard::new(Limits { series: 2_000_000, ..Limits::default() }, Idle::default());
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let begun = clock::now();
        for datagram in datagrams {
            shard.datagram(black_box(datagram), false, Dialect::Statsd);
        }
        if round > 0 {
            times.push(clock::now() - begun);
        }
        black_box(shard.take());
    }
    quietest(&times, metrics)
}

/// Nanoseconds a metric when two threads take half of the datagrams each, in batches, into two shards.
fn replayed_by_two(datagrams: &[Vec<u8>], metrics: usize) -> f64 {
    let limits = Limits { series: 2_000_000, ..Limits::default() };
    let intake = Intake::new(2, limits, Idle::default(), Arc::default());
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let barrier = Barrier::new(3);
        std::thread::scope(|scope| {
            let halves = datagrams.chunks(datagrams.len().div_ceil(2));
            for half in halves {
                let (mut feed, barrier) = (intake.feed(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for datagrams in half.chunks(64) {
                        let mut batch = feed.begin(Dialect::Statsd);
                        datagrams.iter().for_each(|datagram| batch.datagram(black_box(datagram), false));
                    }
                    barrier.wait();
                });
            }
            barrier.wait();
            let begun = clock::now();
            barrier.wait();
            if round > 0 {
                times.push(clock::now() - begun);
            }
        });
        black_box(intake.take());
    }
    quietest(&times, metrics)
}

/// Nanoseconds a datagram to fill sockets with what fits of `datagrams`, and to drain them, each given to `each`.
fn drained(datagrams: &[Vec<u8>], mut each: impl FnMut(&[u8])) -> (f64, f64) {
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).expect("lo");
    let options = Options { receive_buffer: Some(4 << 20), coalesce: false, ..Options::default() };
    let to = Socket::unicast(&local, 0, &options).expect("a socket");
    let from = Socket::unicast(&local, 0, &Options::default()).expect("a socket");
    let mut receiver = Receiver::new(64);
    let (mut times, mut filling, mut next) = (Vec::new(), Vec::new(), datagrams.iter().cycle());
    for _ in 0..ROUNDS {
        let (mut spent, mut sending, mut received) = (Duration::ZERO, Duration::ZERO, 0);
        while received < 20_000 {
            let begun = clock::now();
            for datagram in next.by_ref().take(to.receive_buffer() / 4096) {
                from.as_socket().send_to(datagram, to.local_addr()).expect("lo takes it");
            }
            sending += clock::now() - begun;
            let begun = clock::now();
            loop {
                match receiver.receive(&to) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
                while receiver.advance() {
                    if let Some(datagram) = receiver.current() {
                        each(datagram.bytes);
                        received += 1;
                    }
                }
            }
            spent += clock::now() - begun;
        }
        times.push(spent / received);
        filling.push(sending / received);
    }
    (quietest(&filling, 1), quietest(&times, 1))
}

fn main() {
    // `cargo test --benches` wants it built, not run.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("           replayed: one core      two cores      | by lo, ns a datagram           one core");
    println!("names    a datagram  ns/metric   M/s  M/s    | sending receiving and adding up  of raw   M/s");
    for names in [10, 10_000, 1_000_000] {
        let lines = lines(names);
        for full in [false, true] {
            let datagrams = datagrams(&lines, full);
            let metric = replayed(&datagrams, lines.len());
            let two = replayed_by_two(&datagrams, lines.len());
            let (sending, raw) = drained(&datagrams, |bytes| {
                black_box(bytes.len());
            });
            let mut shard = Shard::new(Limits { series: 2_000_000, ..Limits::default() }, Idle::default());
            for datagram in &datagrams {
                shard.datagram(datagram, false, Dialect::Statsd);
            }
            shard.take();
            let (_, added) = drained(&datagrams, |bytes| shard.datagram(bytes, false, Dialect::Statsd));
            let each = lines.len() / datagrams.len();
            println!(
                "{names:<8} {each:>10} {metric:10.1} {:5.1} {:4.1}    | {sending:7.0} {raw:9.0} {added:13.0} {:6.0}% {:5.2}",
                1e3 / metric,
                1e3 / two,
                100.0 * raw / added,
                1e3 * each as f64 / added
            );
        }
    }
}
