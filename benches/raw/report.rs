//! The figures, for people and for programs.

use crate::options::{Mode, Options, Role};
use crate::roundtrip::Times;
use crate::throughput::{Side, Sides};

pub(crate) fn head(options: &Options) {
    if !options.json {
        println!(
            "Raw sockets, multicast {} on {}, {} receiver(s), {} s each; cpu: seconds per million datagrams",
            options.group,
            options.interface,
            options.receivers,
            options.duration.as_secs_f64()
        );
    }
}

/// Of several receivers the slowest counts.
pub(crate) fn throughput(options: &Options, mode: Mode, sides: &Sides) {
    let size = options.size(mode);
    let rate = |side: &&Side| side.datagrams as f64 / side.elapsed.as_secs_f64();
    let Some(slowest) = sides.receivers.iter().min_by(|a, b| rate(a).total_cmp(&rate(b))) else { return };
    let lost: u64 = sides.receivers.iter().map(|side| side.lost).sum();
    let per_million = |side: &Side| side.cpu.as_secs_f64() * 1e6 / side.datagrams as f64;
    let calls = |side: &Side| side.calls as f64 / side.datagrams as f64;
    let (rate, sender) = (rate(&slowest), &sides.sender);
    if options.json {
        println!(
            "{{\"mode\":\"{}\",\"size\":{size},\"run\":{},\"receivers\":{},\"seconds\":{:.3},\"datagrams\":{},\"lost\":{lost},\
             \"datagrams_per_second\":{rate:.0},\"bytes_per_second\":{:.0},\
             \"cpu_seconds_per_million_sender\":{:.4},\"cpu_seconds_per_million_receiver\":{:.4},\
             \"calls_per_datagram_sender\":{:.4},\"calls_per_datagram_receiver\":{:.4}}}",
            mode.name(),
            options.run(mode),
            options.receivers,
            slowest.elapsed.as_secs_f64(),
            slowest.datagrams,
            rate * size as f64,
            per_million(sender),
            per_million(slowest),
            calls(sender),
            calls(slowest),
        );
        return;
    }
    if options.role == Role::Send || options.modes.iter().find(|other| !other.round_trip()) == Some(&mode) {
        println!(
            "{:<11} {:>5} {:>4} {:>12} {:>8} {:>6} {:>10} {:>10}",
            "mode", "size", "run", "datagrams/s", "GB/s", "lost", "cpu send", "cpu recv"
        );
    }
    println!(
        "{:<11} {size:>5} {:>4} {rate:>12.0} {:>8.3} {lost:>6} {:>10.3} {:>10.3}",
        mode.name(),
        options.run(mode),
        rate * size as f64 / 1e9,
        per_million(sender),
        per_million(slowest),
    );
}

/// The round trips' percentiles.
pub(crate) fn round_trips(options: &Options, mode: Mode, times: Times) {
    let size = options.size(mode);
    let Times { nanos, lost } = times;
    let at = |share: f64| nanos.get((nanos.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (p50, p90, p99, p999) = (at(0.5), at(0.9), at(0.99), at(0.999));
    let max = nanos.last().copied().unwrap_or_default();
    if options.json {
        println!(
            "{{\"mode\":\"{}\",\"size\":{size},\"round_trips\":{},\"lost\":{lost},\
             \"p50_ns\":{p50},\"p90_ns\":{p90},\"p99_ns\":{p99},\"p999_ns\":{p999},\"max_ns\":{max}}}",
            mode.name(),
            nanos.len(),
        );
        return;
    }
    if options.role == Role::Send || options.modes.iter().find(|other| other.round_trip()) == Some(&mode) {
        println!(
            "{:<11} {:>5} {:>11} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "mode", "size", "round trips", "lost", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"
        );
    }
    let micros = |nanos: u32| f64::from(nanos) / 1e3;
    println!(
        "{:<11} {size:>5} {:>11} {lost:>6} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
        mode.name(),
        nanos.len(),
        micros(p50),
        micros(p90),
        micros(p99),
        micros(p999),
        micros(max)
    );
}
