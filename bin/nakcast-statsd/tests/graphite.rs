//! What STATSD.md says of Graphite: names, both protocols, and a server that is away.

mod shared;
#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast::net::{Options, Socket, interfaces, resolve};
use nakcast_statsd::flush::{Heard, Own, Snapshot};
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::graphite::{self, Names, Protocol};
use nakcast_statsd::output::queue::{Queue, Sent};
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::{Bins, Plan};
use shared::{SOON, until};
use std::io::Read;
use std::net::{SocketAddr, SocketAddrV6, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use support::{Lab, Process, command};

fn snapshot(lines: &str) -> Snapshot {
    let bins = [Bins { metric: String::new(), bounds: vec![5.5, f64::INFINITY] }];
    let told = ["count", "upper_percent", "histogram"].map(String::from);
    let plan = Plan::new(&[-99.9], &bins, &told).unwrap();
    let mut shard = Shard::new(Limits::default(), Idle::default());
    shard.datagram(lines.as_bytes(), false, Dialect::Statsd);
    let mut snapshot = Snapshot::new(vec![shard.take()], &Arc::new(plan), 1_234_567_890, 10.0);
    snapshot.own = Own {
        heard: vec![Heard {
            listener: "127.0.0.1:8125".into(),
            received: 5,
            truncated: 0,
            kernel_drops: Some(7),
            refused: 0,
        }],
        processing_ms: 3,
        timestamp_lag: Some(1.0),
        loss: None,
        unwritten: 0,
        repeated: Vec::new(),
        graphite: Some(Sent {
            last_exception: 1,
            last_flush: 2,
            flush_time: 3,
            flush_length: 4,
            calculation_time: 6,
            flushes_dropped: 5,
        }),
    };
    snapshot
}

const LINES: &str = "c:1|c|#k:v\nc:3|c\ng:1e21|g|#k:v\nt:5:6:7|ms|#k:v\ns:a|s|#k:v\nbad";

fn text(names: &Names, lines: &str) -> Vec<String> {
    let payload = String::from_utf8(names.payload(&snapshot(lines), Protocol::Text)).unwrap();
    payload.lines().map(String::from).collect()
}

fn has(lines: &[String], expected: &[&str]) {
    for expected in expected {
        let expected = format!("{expected} 1234567890");
        assert!(lines.contains(&expected), "{expected:?} is not in {lines:#?}");
    }
}

#[test]
fn the_legacy_namespace() {
    let names =
        Names { prefix_counter: "ignored".into(), global_prefix: "ignored".into(), ..Names::default() };
    let lines = text(&names, LINES);
    has(
        &lines,
        &[
            "stats.c 0.3",
            "stats_counts.c 3",
            "stats.c;k=v 0.1",
            "stats_counts.c;k=v 1",
            "stats.gauges.g;k=v 1e+21",
            "stats.timers.t.count;k=v 3",
            "stats.timers.t.histogram.bin_5_5;k=v 1",
            "stats.timers.t.histogram.bin_inf;k=v 2",
            "stats.sets.s.count;k=v 1",
            "stats.statsd.bad_lines_seen 0.1",
            "stats_counts.statsd.bad_lines_seen 1",
            "stats_counts.statsd.packets_received 1",
            "stats_counts.statsd.metrics_received 6",
            "stats.gauges.statsd.timestamp_lag 1",
            "statsd.numStats 9",
            "stats.statsd.processing_time 3",
            "stats.statsd.graphiteStats.last_exception 1",
            "stats.statsd.graphiteStats.last_flush 2",
            "stats.statsd.graphiteStats.flush_time 3",
            "stats.statsd.graphiteStats.flush_length 4",
            "stats.statsd.graphiteStats.calculationtime 6",
            "stats.statsd.graphiteStats.calculationtime 6",
            "stats.statsd.graphiteStats.flushes_dropped 5",
            "stats.statsd.listeners.127_0_0_1_8125.kernel_drops 7",
            "stats.statsd.listeners.127_0_0_1_8125.received 5",
            "stats.statsd.truncated 0",
        ],
    );
    assert!(lines.iter().all(|line| !line.contains("ignored")), "{lines:#?}");
}

#[test]
fn the_new_namespace() {
    let names = Names { legacy: false, ..Names::default() };
    has(
        &text(&names, LINES),
        &[
            "stats.counters.c.rate 0.3",
            "stats.counters.c.count 3",
            "stats.counters.c.rate;k=v 0.1",
            "stats.gauges.g;k=v 1e+21",
            "stats.timers.t.count;k=v 3",
            "stats.sets.s.count;k=v 1",
            "stats.counters.statsd.bad_lines_seen.count 1",
            "stats.gauges.statsd.timestamp_lag 1",
            "stats.statsd.numStats 9",
            "stats.statsd.graphiteStats.last_flush 2",
        ],
    );
    let names = Names {
        legacy: false,
        global_prefix: String::new(),
        prefix_counter: "C".into(),
        prefix_timer: "T.x".into(),
        prefix_gauge: String::new(),
        prefix_set: "S".into(),
        prefix_stats: "own".into(),
        global_suffix: "end".into(),
        flush_counts: false,
    };
    let lines = text(&names, LINES);
    has(
        &lines,
        &[
            "C.c.rate.end 0.3",
            "C.c.rate.end;k=v 0.1",
            "g.end;k=v 1e+21",
            "T.x.t.count.end;k=v 3",
            "S.s.count.end;k=v 1",
            "own.numStats.end 9",
            "C.own.bad_lines_seen.rate.end 0.1",
        ],
    );
    assert!(lines.iter().all(|line| !line.contains("count.end 3")), "{lines:#?}");
}

#[test]
fn prefixes_of_the_server_and_suffixes_hold_in_the_legacy_namespace() {
    let names = Names { prefix_stats: "own".into(), global_suffix: "end".into(), ..Names::default() };
    has(
        &text(&names, LINES),
        &[
            "stats.c.end;k=v 0.1",
            "stats_counts.c.end 3",
            "own.numStats.end 9",
            "stats.own.processing_time.end 3",
            "stats_counts.own.metrics_received.end 6",
        ],
    );
}

/// Reads the codes that are written, as `pickletools` tells them.
fn unpickle(mut bytes: &[u8]) -> Vec<(String, u64, f64)> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(take(&mut bytes, 4).try_into().unwrap());
        assert!(length <= 1 << 20, "carbon takes no more");
        let mut list = take(&mut bytes, length as usize);
        assert_eq!(take(&mut list, 4), b"\x80\x02](");
        while list != b"e." {
            assert_eq!(take(&mut list, 1), b"X");
            let length = u32::from_le_bytes(take(&mut list, 4).try_into().unwrap());
            let path = String::from_utf8(take(&mut list, length as usize).to_vec()).unwrap();
            assert_eq!(take(&mut list, 2), b"\x8a\x06");
            let mut time = [0; 8];
            time[..6].copy_from_slice(take(&mut list, 6));
            assert_eq!(take(&mut list, 1), b"G");
            let value = f64::from_be_bytes(take(&mut list, 8).try_into().unwrap());
            assert_eq!(take(&mut list, 2), b"\x86\x86");
            rows.push((path, u64::from_le_bytes(time), value));
        }
    }
    rows
}

#[test]
fn pickle_says_what_text_says() {
    let many =
        (0..20_000).map(|number| format!("name.of.some.length.{number}:{number}|c\n")).collect::<String>();
    for lines in [LINES, "", &many] {
        let snapshot = snapshot(lines);
        let mut expected = Vec::new();
        Names::default()
            .rows(&snapshot, |path, value| expected.push((path.to_owned(), 1_234_567_890, value)));
        assert_eq!(unpickle(&Names::default().payload(&snapshot, Protocol::Pickle)), expected);
    }
}

/// Everything of the next connection.
fn read_all(server: &TcpListener) -> String {
    let mut text = String::new();
    server.accept().unwrap().0.read_to_string(&mut text).unwrap();
    text
}

/// A port that nobody listens at, and of an address of that test's alone: nobody else takes it.
fn away(last: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap().local_addr().unwrap()
}

/// Waits until something could not be sent.
fn until_failed(graphite: &Queue) {
    until("a failure", || (graphite.sent().last_exception > 0).then_some(()));
}

#[test]
fn what_a_server_misses_while_it_is_away_comes_later() {
    let address = away(2);
    let graphite = graphite::start(address.to_string(), 10).unwrap();
    graphite.send(b"one".to_vec(), Duration::ZERO);
    until_failed(&graphite);
    let failure = graphite.failure().unwrap();
    assert!(failure.starts_with(&address.to_string()), "{failure}");
    assert_eq!(graphite.failure(), None, "it is told once");
    graphite.send(b"two".to_vec(), Duration::ZERO);
    let server = TcpListener::bind(address).unwrap();
    assert_eq!((read_all(&server), read_all(&server)), ("one".into(), "two".into()));
    until("the second flush", || (graphite.sent().flush_length == 3).then_some(()));
    assert_eq!(graphite.sent().flushes_dropped, 0);
    assert_eq!(graphite.end(SOON), 0);
}

#[test]
fn the_oldest_are_given_up_when_too_many_wait() {
    let address = away(3);
    let graphite = graphite::start(address.to_string(), 2).unwrap();
    for text in ["one", "two", "three", "four", "five"] {
        graphite.send(text.into(), Duration::ZERO);
    }
    until_failed(&graphite);
    let server = TcpListener::bind(address).unwrap();
    let mut came = vec![read_all(&server)];
    while came.last().is_some_and(|last| last != "five") {
        came.push(read_all(&server));
    }
    assert_eq!(came, ["four", "five"]);
    assert_eq!(graphite.end(SOON), 0);
}

#[test]
fn what_breaks_off_is_sent_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let graphite = graphite::start(server.local_addr().unwrap().to_string(), 10).unwrap();
    graphite.send(vec![b'x'; 1 << 22], Duration::ZERO);
    // Closed with something unread: a reset, though all may have been written.
    drop(server.accept().unwrap());
    assert_eq!(read_all(&server).len(), 1 << 22);
    assert_eq!(graphite.end(SOON), 0);
}

#[test]
fn what_cannot_be_sent_at_the_end_is_told() {
    let graphite = graphite::start(away(4).to_string(), 10).unwrap();
    graphite.send(b"one".to_vec(), Duration::ZERO);
    graphite.send(b"two".to_vec(), Duration::ZERO);
    assert_eq!(graphite.end(Duration::ZERO), 2);
}

#[test]
fn a_link_local_server_is_found_by_its_interface() {
    let Some(lab) = Lab::new(1).filter(|_| std::path::Path::new("/proc/net/if_inet6").exists()) else {
        return;
    };
    let host = lab.host(0);
    host.run(|| {
        let address = host.address_v6();
        let all = interfaces().unwrap();
        let eth0 = all.iter().find(|interface| interface.name == "eth0").unwrap();
        let server = TcpListener::bind(SocketAddrV6::new(address, 0, 0, eth0.index)).unwrap();
        let port = server.local_addr().unwrap().port();
        server.set_nonblocking(true).unwrap();
        for interface in ["eth0", &eth0.index.to_string()] {
            let graphite = graphite::start(format!("[{address}%{interface}]:{port}"), 10).unwrap();
            graphite.send(b"one".to_vec(), Duration::ZERO);
            let came = until("a connection", || match server.accept() {
                Ok((stream, _)) => Some(Ok(stream)),
                Err(_) => graphite.failure().map(Err),
            });
            let mut stream = came.unwrap();
            stream.set_nonblocking(false).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            drop(stream);
            assert_eq!((&*text, graphite.end(SOON)), ("one", 0));
        }
        // It may come by and by.
        let graphite = graphite::start(format!("[{address}%eth7]:{port}"), 10).unwrap();
        graphite.send(b"one".to_vec(), Duration::ZERO);
        until_failed(&graphite);
        assert_eq!(
            graphite.failure(),
            Some(format!("[{address}%eth7]:{port}: there is no interface eth7 now"))
        );
        assert_eq!(graphite.end(Duration::ZERO), 1);
    });
}

#[test]
fn the_collector_sends_its_last_flush() {
    for (protocol, namespace, expected) in
        [("text", "legacy", "stats_counts.c"), ("pickle", "new", "stats.counters.c.count")]
    {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["--listen", "127.0.0.1:0", "--flush-interval", "86400", "--graphite"]);
        command.arg(server.local_addr().unwrap().to_string());
        command.args(["--graphite-protocol", protocol, "--graphite-namespace", namespace]);
        let mut process = Process::spawn(command);
        let line = process.wait_for_line("listening on ", SOON);
        let to = line.trim_start_matches("listening on ").parse::<SocketAddr>().unwrap();
        let local = resolve(Some("127.0.0.1"), to.ip()).unwrap();
        let socket = Socket::unicast(&local, 0, &Options::default()).unwrap();
        socket.as_socket().send_to(b"c:0.1|c\nc:0.2|c", to).unwrap();
        process.signal(libc::SIGTERM);
        let mut payload = Vec::new();
        server.accept().unwrap().0.read_to_end(&mut payload).unwrap();
        process.succeed(SOON);
        if protocol == "text" {
            let text = String::from_utf8(payload).unwrap();
            let expected = format!("{expected} 0.30000000000000004 ");
            assert!(text.lines().any(|line| line.starts_with(&expected)), "{text}");
        } else {
            let rows = unpickle(&payload);
            assert!(rows.iter().any(|(path, _, value)| path == expected && *value == 0.1 + 0.2), "{rows:?}");
        }
    }
}

#[test]
fn servers_that_stay_away_are_exit_code_1_and_one_line() {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--listen", "127.0.0.1:0", "--flush-interval", "86400"]);
    command.args(["--graphite", &away(5).to_string(), "--influx", &format!("http://{}/", away(6))]);
    let mut process = Process::spawn(command);
    process.wait_for_line("listening on ", SOON);
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait(SOON).code(), Some(1));
    let said = process.stderr();
    let expected = "error: Graphite did not take 1 of the flushes that waited for it; InfluxDB did not take 1 of the flushes that waited for it";
    assert_eq!(
        said.lines().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>(),
        [expected],
        "{said}"
    );
}
