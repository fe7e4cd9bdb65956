//! Several threads and shards: what comes is counted once, and each series is one.

#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast::net::{Options, Socket, resolve};
use nakcast_statsd::flush::Snapshot;
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::console::{self, Form};
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::Plan;
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use support::{Process, command};

/// For what must come, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// What some datagrams come to, in so many shards.
fn flush(shards: usize, datagrams: &[Vec<u8>]) -> (String, usize) {
    let intake = Intake::new(shards, Limits::default(), Idle::default(), Arc::default());
    let mut feed = intake.feed();
    for datagrams in datagrams.chunks(7) {
        let mut batch = feed.begin(Dialect::Statsd);
        for datagram in datagrams {
            batch.datagram(datagram, datagram.len() > 900);
        }
    }
    let intervals = intake.take();
    let used = intervals.iter().filter(|interval| !interval.counters.is_empty()).count();
    let snapshot = Snapshot::new(intervals, &Arc::new(Plan::default()), 1, 10.0);
    (console::text(&snapshot, Form::Json), used)
}

/// To the digit: sums depend on the order in which they are added up.
#[test]
fn it_comes_to_the_same_in_any_number_of_shards() {
    let mut state = 1_u64;
    let mut datagrams: Vec<Vec<u8>> = vec![Vec::new(), b"\n\r\n\r\r\na:1|c\r\r\n".to_vec()];
    for _ in 0..3000 {
        state = state * 16_807 % 2_147_483_647;
        // Spellings of one series, with tags and without.
        let name = [
            "a b",
            "a_b",
            "a  b",
            "a\u{e9}_b",
            "a[k=v]_b",
            "a_b[k=v]",
            "a_b;k=v",
            "a_b,k=v",
            "a_b#k=v",
            "x/y",
            "x-y",
        ][state as usize % 11];
        let number = state / 11 % 1000;
        let line = match state % 5 {
            0 => format!("{name}:{}|c|@0.3", number as f64 / 7.0),
            1 => format!("{name}:{}|ms", number as f64 / 3.0),
            2 => format!("other.{}:+0.1|g", number % 50),
            3 => format!("{name}:{number}|s|#k:v\nbad\n_sc|x|0"),
            _ => format!("c.{}:0.1|c\n:1|c\n!!:1|c", number % 200),
        };
        match datagrams.last_mut() {
            Some(last) if last.len() < 800 => {
                last.extend(b"\n");
                last.extend(line.bytes());
            }
            _ => datagrams.push(line.into_bytes()),
        }
    }
    // One that was cut.
    datagrams.push([b"cut:1|c\n".repeat(120), b"cut:1|".to_vec()].concat());
    let (alone, _) = flush(1, &datagrams);
    let told: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(told["counters"]["cut"], 120, "{told}");
    for shards in [2, 3, 8] {
        let (text, used) = flush(shards, &datagrams);
        assert_eq!(text, alone, "{shards} shards");
        assert_eq!(used, shards);
    }
}

/// With so many names that they are looked up together.
#[test]
fn it_comes_to_the_same_with_many_names() {
    let mut datagrams = Vec::new();
    for round in 0..3 {
        for names in (0..60_000).collect::<Vec<_>>().chunks(20) {
            let line = |&name: &u32| match name % 4 {
                0 => format!("n.{name}:0.{round}|c|@0.3|#k:{round}"),
                1 => format!("n.{name}:{round}.1|ms\nn.{name}:7:8|h"),
                2 => format!("n.{name}:+0.{round}|g"),
                _ => format!("n.{name}:{}|s|#k:v\nn.{name}:b|s", round % 2),
            };
            datagrams.push(names.iter().map(line).collect::<Vec<_>>().join("\n").into_bytes());
        }
    }
    datagrams.push(b"n.2:-0.1|g\nn.1:9|ms".to_vec());
    let mut shard = Shard::new(Limits::default(), Idle::default());
    datagrams.iter().for_each(|datagram| shard.datagram(datagram, datagram.len() > 900, Dialect::Statsd));
    let snapshot = Snapshot::new(vec![shard.take()], &Arc::new(Plan::default()), 1, 10.0);
    let text = console::text(&snapshot, Form::Json);
    assert!(flush(1, &datagrams).0 == text);
    assert!(flush(2, &datagrams).0 == text);
}

/// A name that has to be cleaned is in the shard of the clean one, wherever in it that begins.
#[test]
fn spellings_meet_in_any_number_of_shards() {
    let intake = Intake::new(8, Limits::default(), Idle::default(), Arc::default());
    let mut feed = intake.feed();
    for length in 1..=40 {
        for at in 0..length {
            let [plain, slash] = ["-", "/"].map(|byte| {
                let mut name = "a".repeat(length);
                name.replace_range(at..=at, byte);
                name
            });
            let lines = format!("{plain}:1|c\n{slash}:1|c\n{slash},k=v:1|c\n{plain}:1|c|#k:v");
            feed.begin(Dialect::Statsd).datagram(lines.as_bytes(), false);
        }
    }
    let counters: Vec<_> = intake.take().into_iter().flat_map(|interval| interval.counters).collect();
    assert_eq!(counters.len(), 2 * 40 * 41 / 2);
    counters.iter().for_each(|(series, sum)| assert_eq!(*sum, 2.0, "{}", series.as_str()));
}

#[test]
fn nothing_is_lost_between_threads() {
    let intake = Intake::new(3, Limits::default(), Idle::default(), Arc::default());
    let mut intervals = Vec::new();
    std::thread::scope(|scope| {
        let intake = &intake;
        let hear = move |thread: u32| {
            let mut feed = intake.feed();
            for number in 0..2000 {
                let mut batch = feed.begin(Dialect::Statsd);
                for datagram in 0..5 {
                    let line = |at: u32| format!("n.{}:1|c\nt.{thread}.{at}:{number}|ms\n", at * datagram);
                    batch.datagram((0..20).map(line).collect::<String>().as_bytes(), false);
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || hear(thread))).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            intervals.extend(intake.take());
        }
    });
    intervals.extend(intake.take());
    let (mut sum, mut packets, mut metrics) = (0.0, 0, 0);
    let mut timers = std::collections::BTreeMap::<_, Vec<f64>>::new();
    for interval in intervals {
        sum += interval.counters.iter().map(|(_, sum)| sum).sum::<f64>();
        (packets, metrics) = (packets + interval.tally.packets, metrics + interval.tally.metrics);
        for (series, samples) in interval.timers {
            timers.entry(series.as_str().to_owned()).or_default().extend(samples.values);
        }
    }
    assert_eq!((sum, packets, metrics), (800_000.0, 40_000, 1_600_000));
    // Each of one thread, in the order in which it was heard.
    let expected: Vec<_> = (0..2000).flat_map(|batch| [f64::from(batch); 5]).collect();
    assert_eq!(timers.len(), 80);
    assert!(timers.values().all(|values| *values == expected));
}

#[test]
fn what_several_threads_hear_is_counted_once() {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    let flags = "--format json --listen 127.0.0.1:0 --flush-interval 86400 --threads 3 --admin 127.0.0.1:0";
    command.args(flags.split_whitespace()).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let line = process.wait_for_line("listening on ", SOON);
    let to: std::net::SocketAddr = line.trim_start_matches("listening on ").parse().unwrap();
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    // The kernel spreads them by their ports.
    for _ in 0..64 {
        let socket = Socket::unicast(&local, 0, &Options::default()).unwrap();
        for at in 0..5 {
            socket.as_socket().send_to(format!("c:1|c\nd.{at}:1|c\nt:{at}|ms").as_bytes(), to).unwrap();
        }
    }
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    let told: Value = serde_json::from_str(process.stdout().lines().last().unwrap()).unwrap();
    assert_eq!((&told["counters"]["c"], &told["counters"]["d.4"]), (&320.into(), &64.into()), "{told}");
    assert_eq!(
        (&told["timer_data"]["t"]["count"], &told["timer_data"]["t"]["sum"]),
        (&320.into(), &640.into())
    );
    let [heard] = told["listeners"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&heard["received"], &heard["kernel_drops"]), (&320.into(), &0.into()));
    assert_eq!(told["statsd"]["packets_received"], 320);
}

/// A port that somebody else shares would be only a part of it.
#[test]
fn a_port_is_not_shared_with_another_collector() {
    let start = |flags: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["--threads", "2", "--listen"]).args(flags).stdout(Stdio::piped());
        Process::spawn(command)
    };
    let mut first = start(&["127.0.0.1:0"]);
    let line = first.wait_for_line("listening on ", SOON);
    let mut second = start(&[line.trim_start_matches("listening on ")]);
    assert_eq!(second.wait(SOON).code(), Some(2));
    assert!(second.stderr().starts_with("error: --listen: cannot bind "));
    first.signal(libc::SIGTERM);
    first.succeed(SOON);
}
