//! The collector as a process of its own, on `lo` alone: what is sent is what is counted, or told as dropped.

#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast::net::{Options, Socket, resolve};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use support::{Process, command};

/// For what must come, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// A collector that flushes only when it is told to end, unless the flags say otherwise.
struct Collector {
    process: Process,
    listens: Vec<SocketAddr>,
}

impl Collector {
    fn start(listeners: usize, flags: &str) -> Collector {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["--format", "json"]).args(flags.split_whitespace()).stdout(Stdio::piped());
        if !flags.contains("--flush-interval") {
            command.args(["--flush-interval", "86400"]);
        }
        let mut process = Process::spawn(command);
        let listens = (0..listeners).map(|_| {
            let line = process.wait_for_line("listening on ", SOON);
            line.trim_start_matches("listening on ").parse().unwrap()
        });
        let listens = listens.collect();
        Collector { process, listens }
    }

    fn hears(&self, datagrams: &[&str]) {
        let socket = sender();
        for datagram in datagrams {
            socket.as_socket().send_to(datagram.as_bytes(), self.listens[0]).unwrap();
        }
    }

    /// Tells it to end, which must be a success, and returns its last flush.
    fn end(mut self) -> Value {
        self.process.signal(libc::SIGTERM);
        self.process.succeed(SOON);
        let flushes = self.process.stdout();
        serde_json::from_str(flushes.lines().last().expect("a flush")).unwrap()
    }
}

fn sender() -> Socket {
    Socket::unicast(&resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap(), 0, &Options::default())
        .unwrap()
}

/// Sends to a group by `lo`.
fn group_sender(group: SocketAddr) -> Socket {
    Socket::sender(group, &resolve(Some("lo"), group.ip()).unwrap(), 0, &Options::default()).unwrap()
}

#[test]
fn what_was_heard_is_flushed_at_the_end() {
    let collector = Collector::start(1, "--listen 127.0.0.1:0 --percentile 50,-50");
    collector.hears(&[
        "c:1|c\nc:2|c|@0.1\ng:5|g\ng:-7|g\n",
        "t:1:2:3:4|ms|#a:b",
        "",
        "s:x|s\ns:y|s\ns:x|s\nwrong\n__proto__:1|c",
    ]);
    let told = collector.end();
    assert_eq!(told["interval"], 86_400);
    assert_eq!(told["counters"], serde_json::json!({"__proto__": 1, "c": 21}));
    assert_eq!(told["counter_rates"]["c"], 21.0 / 86_400.0);
    assert_eq!(told["gauges"], serde_json::json!({"g": -2}));
    assert_eq!(told["sets"], serde_json::json!({"s": 2}));
    let timer = &told["timer_data"]["t;a=b"];
    for (name, value) in
        [("count", 4.0), ("upper_50", 2.0), ("lower_top50", 3.0), ("median", 2.5), ("sum", 10.0)]
    {
        assert_eq!(timer[name], value, "{name} of {timer}");
    }
    let own = &told["statsd"];
    assert_eq!([&own["packets_received"], &own["metrics_received"], &own["bad_lines_seen"]], [4, 10, 1]);
    assert_eq!(own["numStats"], 5 + 3);
    assert_eq!(told["listeners"][0]["received"], 4);
    assert_eq!(told["listeners"][0]["kernel_drops"], 0);
}

#[test]
fn bad_lines_are_said_once_a_flush() {
    let mut collector = Collector::start(1, "--listen 127.0.0.1:0");
    collector.hears(&["one\ntwo\nthree:\u{1b}|c"]);
    collector.process.signal(libc::SIGINT);
    collector.process.succeed(SOON);
    let said = collector.process.stderr();
    let warnings = said.lines().filter(|line| line.starts_with("warning: ")).collect::<Vec<_>>();
    let bad = "warning: 3 bad lines, such as \"one\": no name before a `:`";
    assert!(warnings.contains(&bad), "{said}");
    assert_eq!(warnings.iter().filter(|line| line.contains("bad lines")).count(), 1, "{said}");
}

#[test]
fn it_flushes_at_every_interval_and_starts_again() {
    let mut collector = Collector::start(1, "--listen 127.0.0.1:0 --flush-interval 50ms");
    collector.hears(&["c:3|c\ng:1|g"]);
    let flush = collector.process.wait_for_output(r#""c":3"#, SOON);
    let flush: Value = serde_json::from_str(&flush).unwrap();
    assert_eq!(flush["counter_rates"]["c"], 60);
    let idle: Value = serde_json::from_str(&collector.process.wait_for_output(r#""c":0"#, SOON)).unwrap();
    assert_eq!(idle["gauges"]["g"], 1);
    assert!(idle["statsd"]["timestamp_lag"].is_number());
    collector.end();
}

#[test]
fn idle_series_are_told_only_once_when_they_are_to_be_deleted() {
    let mut collector = Collector::start(1, "--listen 127.0.0.1:0 --flush-interval 50ms --delete-idle");
    collector.hears(&["c:3|c\ng:1|g\nt:1|ms\ns:1|s"]);
    collector.process.wait_for_output(r#""c":3"#, SOON);
    collector
        .process
        .wait_for_output(r#""counters":{},"counter_rates":{},"gauges":{},"timer_data":{},"sets":{}"#, SOON);
    collector.end();
}

#[test]
fn several_listeners_add_to_the_same_series() {
    let collector = Collector::start(2, "--listen 127.0.0.1:0 --listen 127.0.0.1:0");
    for &address in &collector.listens {
        sender().as_socket().send_to(b"c:1|c", address).unwrap();
    }
    let told = collector.end();
    assert_eq!(told["counters"]["c"], 2);
    for listener in told["listeners"].as_array().unwrap() {
        assert_eq!(listener["received"], 1, "{told}");
    }
}

#[test]
fn several_collectors_hear_a_group_and_each_counts_once() {
    let group = format!("239.255.78.5:{}", 20_000 + std::process::id() % 40_000);
    let flags = format!("--group {group} --interface lo");
    let collectors = [Collector::start(1, &flags), Collector::start(1, &flags)];
    let to = group.parse().unwrap();
    let socket = group_sender(to);
    for _ in 0..3 {
        socket.as_socket().send_to(b"c:1|c", to).unwrap();
    }
    for collector in collectors {
        assert_eq!(collector.listens, [to]);
        let told = collector.end();
        assert_eq!((&told["counters"]["c"], &told["listeners"][0]["received"]), (&3.into(), &3.into()));
    }
}

#[test]
fn signs_are_signs_in_datadogs_dialect() {
    let collector = Collector::start(1, "--listen 127.0.0.1:0 --dialect datadog");
    collector.hears(&["g:5|g\ng:-7|g"]);
    assert_eq!(collector.end()["gauges"]["g"], -7);
}

/// The kernel drops while nobody reads, and all is accounted for: also what was dropped last, which no later datagram tells.
#[cfg(target_os = "linux")]
#[test]
fn sent_is_received_and_dropped() {
    let collector = Collector::start(1, "--listen 127.0.0.1:0 --rcvbuf 4096 --estimate");
    collector.process.signal(libc::SIGSTOP);
    let datagrams = vec!["c:1|c\nc:1|c"; 2000];
    collector.hears(&datagrams);
    // A stopped process gets no signal but these two: it goes on, and is then told to end.
    collector.process.signal(libc::SIGTERM);
    collector.process.signal(libc::SIGCONT);
    let mut process = collector.process;
    process.succeed(SOON);
    let told: Value = serde_json::from_str(process.stdout().trim()).unwrap();
    let heard = &told["listeners"][0];
    let (received, drops) = (heard["received"].as_u64().unwrap(), heard["kernel_drops"].as_u64().unwrap());
    assert!(received > 0 && drops > 0, "{told}");
    assert_eq!(received + drops, 2000);
    assert_eq!(told["counters"]["c"], 2 * received);
    // What is lost is like what is not: the estimate is what was sent, but for rounding.
    let estimate = told["counters_estimated"]["c"].as_f64().unwrap();
    assert!((estimate - 4000.0).abs() < 1e-6, "{told}");
    assert_eq!(told["loss"].as_f64().unwrap(), drops as f64 / 2000.0);
}

#[test]
fn what_cannot_be_is_one_line_and_exit_code_2() {
    let taken = sender();
    let port = taken.local_addr();
    for (flags, names) in [
        (format!("--listen {port}"), vec!["--listen", &port.to_string()]),
        ("--listen 8125".into(), vec!["--listen", "ADDR:PORT"]),
        ("--listen 239.1.2.3:8125".into(), vec!["--listen", "--group"]),
        ("--group 127.0.0.1:8125".into(), vec!["--group", "it takes a multicast address"]),
        ("--group 239.1.2.3:0".into(), vec!["--group", "port from 1"]),
        ("--publish 127.0.0.1:8125".into(), vec!["--publish", "it takes a multicast address"]),
        (
            "--prometheus 239.1.2.3:1".into(),
            vec!["--prometheus", "it takes a unicast address of this machine"],
        ),
        ("--repeat 239.1.2.3:4 --interface no-such".into(), vec!["--repeat, --interface: ", "no-such"]),
        (
            "--listen 127.0.0.1:9 --repeat 127.0.0.2:9 --repeat 127.0.0.1:9".into(),
            vec!["error: --repeat: udp 127.0.0.1:9 is where the collector listens itself (--listen): "],
        ),
        ("--max-series 0".into(), vec!["--max-series", "it takes a whole number, 1 to 4294967295"]),
        ("--interface= --group 239.1.2.3:1".into(), vec!["--interface", "it takes an interface's name"]),
        ("--influx http://a:99999/write".into(), vec!["--influx", "it takes a URL of HTTP"]),
        ("--graphite http://a:2003".into(), vec!["--graphite", "it takes HOST:PORT"]),
        ("--graphite ::1:2003".into(), vec!["--graphite", "it takes HOST:PORT"]),
        ("--group 239.1.2.3:8125 --interface no-such".into(), vec!["--interface", "no-such"]),
        ("--interface lo".into(), vec!["--group"]),
        ("--flush-interval 0".into(), vec!["--flush-interval", "0.01"]),
        ("--flush-interval 1h".into(), vec!["--flush-interval", "500ms"]),
        ("--percentile 0".into(), vec!["--percentile", "-100 to 100"]),
        ("--percentile 101".into(), vec!["--percentile", "-100 to 100"]),
        ("--rcvbuf 1.5".into(), vec!["--rcvbuf", "64k"]),
        ("--format yaml".into(), vec!["--format", "json"]),
        ("--no-such".into(), vec!["--no-such"]),
    ] {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(flags.split_whitespace());
        let mut process = Process::spawn(command);
        assert_eq!(process.wait(SOON).code(), Some(2), "{flags}");
        let said = process.stderr();
        assert_eq!(said.lines().count(), 1, "{flags}: {said}");
        for name in names {
            assert!(said.contains(name), "{flags}: {name:?} is not in {said}");
        }
    }
}
