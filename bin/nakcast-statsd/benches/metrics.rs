//! What a metric costs: read and added up in place, and received from `lo` with and without that, in one run.
//!
//! `cargo bench -p nakcast-statsd --bench metrics`. Sockets are filled and then drained by one thread, so that a sender
//! takes no part of the time; each figure is of the quietest of rounds, which other
//! work on the machine disturbed least.

use nakcast::net::{Options, Receiver, Socket, resolve};
use nakcast_statsd::clock;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::shard::{Idle, Limits, Shard};
use std::hint::black_box;
use std::io::ErrorKind;
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

/// Nanoseconds a datagram to drain sockets that hold what fits of `datagrams`, each given to `each`.
fn drained(datagrams: &[Vec<u8>], mut each: impl FnMut(&[u8])) -> f64 {
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).expect("lo");
    let options = Options { receive_buffer: Some(4 << 20), coalesce: false, ..Options::default() };
    let to = Socket::unicast(&local, 0, &options).expect("a socket");
    let from = Socket::unicast(&local, 0, &Options::default()).expect("a socket");
    let mut receiver = Receiver::new(64);
    let (mut times, mut next) = (Vec::new(), datagrams.iter().cycle());
    for _ in 0..ROUNDS {
        let (mut spent, mut received) = (Duration::ZERO, 0);
        while received < 20_000 {
            for datagram in next.by_ref().take(to.receive_buffer() / 4096) {
                from.as_socket().send_to(datagram, to.local_addr()).expect("lo takes it");
            }
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
    }
    quietest(&times, 1)
}

fn main() {
    // `cargo test --benches` wants it built, not run.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "names    datagrams      ns/metric  M/s on a core | ns/datagram: received  and added up  of raw rate"
    );
    for names in [10, 10_000, 1_000_000] {
        let lines = lines(names);
        for full in [false, true] {
            let datagrams = datagrams(&lines, full);
            let metric = replayed(&datagrams, lines.len());
            let raw = drained(&datagrams, |bytes| {
                black_box(bytes.len());
            });
            let mut shard = Shard::new(Limits { series: 2_000_000, ..Limits::default() }, Idle::default());
            for datagram in &datagrams {
                shard.datagram(datagram, false, Dialect::Statsd);
            }
            shard.take();
            let added = drained(&datagrams, |bytes| shard.datagram(bytes, false, Dialect::Statsd));
            let form = if full {
                format!("{} a datagram", lines.len() / datagrams.len())
            } else {
                "1 a datagram".into()
            };
            println!(
                "{names:<8} {form:<14} {metric:9.1} {:14.1} | {raw:21.0} {added:13.0} {:11.0}%",
                1e3 / metric,
                100.0 * raw / added
            );
        }
    }
}
