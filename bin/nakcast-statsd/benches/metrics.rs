//! What a metric costs: read and added up in batches, on one core and on two, and received from `lo` with and without that, in one
//! run.
//!
//! `cargo bench -p nakcast-statsd --bench metrics` (`-- 10000` for so many names alone); `scripts/statsd-speed` has the original beside it. Sockets are filled and then
//! drained by the same thread, so that a sender takes no part of the time: what it costs stands in a column of its own. Each figure is of
//! the quietest of rounds, which other work on the machine disturbed least.

use nakcast::net::{Options, Receiver, Socket, resolve};
use nakcast_statsd::clock;
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::shard::{Idle, Limits};
use std::hint::black_box;
use std::io::ErrorKind;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
/// Metrics of a round; of more names, each comes once.
const METRICS: usize = 400_000;
/// Datagrams that a listener takes at once.
const BATCH: usize = 64;
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

fn intake(threads: usize) -> Intake {
    Intake::new(threads, Limits { series: 2_000_000, ..Limits::default() }, Idle::default(), Arc::default())
}

/// From when the first began until the last had ended.
fn wall(times: &[(Instant, Instant)]) -> Duration {
    let begun = times.iter().map(|(begun, _)| begun).min();
    let ended = times.iter().map(|(_, ended)| ended).max();
    begun.zip(ended).map_or(Duration::ZERO, |(begun, ended)| *ended - *begun)
}

/// Has threads work at once, each of which is told which it is.
fn at_once<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|at| scope.spawn(move || work(at))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

/// Nanoseconds a metric, of names that are known, when threads take their part of the datagrams each, in batches as listeners
/// do, into as many shards.
fn replayed(intake: &Intake, threads: usize, datagrams: &[Vec<u8>], metrics: usize) -> f64 {
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let barrier = Barrier::new(threads);
        let spent = at_once(threads, |at| {
            let share = datagrams.len().div_ceil(threads);
            let datagrams = &datagrams[at * share..datagrams.len().min((at + 1) * share)];
            let mut feed = intake.feed();
            barrier.wait();
            let begun = clock::now();
            for datagrams in datagrams.chunks(BATCH) {
                let mut batch = feed.begin(Dialect::Statsd);
                datagrams.iter().for_each(|datagram| batch.datagram(black_box(datagram), false));
            }
            (begun, clock::now())
        });
        if round > 0 {
            times.push(wall(&spent));
        }
        black_box(intake.take());
    }
    quietest(&times, metrics)
}

/// Nanoseconds a datagram to fill sockets with what fits of `datagrams`, and to drain them, by threads that have one each: into
/// an intake, if there is one.
fn drained(intake: Option<&Intake>, threads: usize, datagrams: &[Vec<u8>]) -> (f64, f64) {
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).expect("lo");
    let options = Options { receive_buffer: Some(4 << 20), coalesce: false, ..Options::default() };
    let barrier = Barrier::new(threads);
    let work = |at: usize| {
        let to = Socket::unicast(&local, 0, &options).expect("a socket");
        let from = Socket::unicast(&local, 0, &Options::default()).expect("a socket");
        let mut receiver = Receiver::new(BATCH);
        let mut feed = intake.map(Intake::feed);
        let room = to.receive_buffer() / 4096;
        let mut next = datagrams.iter().cycle().skip(at * datagrams.len() / threads);
        let mut times = Vec::new();
        for _ in 0..ROUNDS * 20_000_usize.div_ceil(room) {
            let filling = clock::now();
            for datagram in next.by_ref().take(room) {
                from.as_socket().send_to(datagram, to.local_addr()).expect("lo takes it");
            }
            let filling = clock::now() - filling;
            barrier.wait();
            let begun = clock::now();
            let mut received = 0;
            loop {
                match receiver.receive(&to) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
                let mut batch = feed.as_mut().map(|feed| feed.begin(Dialect::Statsd));
                while receiver.advance() {
                    if let Some(datagram) = receiver.current() {
                        match &mut batch {
                            Some(batch) => batch.datagram(datagram.bytes, false),
                            None => _ = black_box(datagram.bytes.len()),
                        }
                        received += 1;
                    }
                }
            }
            times.push((filling, begun, clock::now()));
            assert_eq!(received, room, "the receive buffer holds them");
        }
        (room, times)
    };
    let spent = at_once(threads, work);
    let (room, fills) = (spent[0].0, spent[0].1.len());
    let filling: Vec<_> = spent[0].1.iter().map(|&(filling, ..)| filling).collect();
    let drains: Vec<_> = (0..fills)
        .map(|fill| wall(&spent.iter().map(|(_, times)| (times[fill].1, times[fill].2)).collect::<Vec<_>>()))
        .collect();
    let sums = |times: &[Duration]| {
        times.chunks(fills / ROUNDS).map(|times| times.iter().sum()).collect::<Vec<Duration>>()
    };
    let per = room * (fills / ROUNDS);
    (quietest(&sums(&filling), per), quietest(&sums(&drains), per * threads))
}

fn main() {
    // `cargo test --benches` wants it built, not run.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    println!("           replayed: one core      two    | by lo, ns a datagram           one core       two");
    println!(
        "names    a datagram  ns/metric   M/s  M/s    | sending receiving and adding up  of raw   M/s   M/s"
    );
    for names in [10, 10_000, 1_000_000] {
        if !asked.is_empty() && !asked.contains(&names) {
            continue;
        }
        let lines = lines(names);
        for full in [false, true] {
            let datagrams = datagrams(&lines, full);
            let each = lines.len() / datagrams.len();
            let (alone, both) = (intake(1), intake(2));
            let metric = replayed(&alone, 1, &datagrams, lines.len());
            let two = replayed(&both, 2, &datagrams, lines.len());
            let (sending, raw) = drained(None, 1, &datagrams);
            let (_, added) = drained(Some(&alone), 1, &datagrams);
            let (_, added_by_two) = drained(Some(&both), 2, &datagrams);
            println!(
                "{names:<8} {each:>10} {metric:10.1} {:5.1} {:4.1}    | {sending:7.0} {raw:9.0} {added:13.0} {:6.0}% {:5.2} {:5.2}",
                1e3 / metric,
                1e3 / two,
                100.0 * raw / added,
                1e3 * each as f64 / added,
                1e3 * each as f64 / added_by_two
            );
        }
    }
}
