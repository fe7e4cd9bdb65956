//! Random and mutated datagrams, odd lines and floods of names: nothing ends or hangs, memory has a bound, what is good beside
//! them counts, and afterwards all is as before.
//!
//! `NAKCAST_HOSTILE=10000000 cargo test -p nakcast-statsd --test hostile` sends as many; the default is fewer, for the
//! everyday run.

#[path = "hostile/case.rs"]
mod case;
#[path = "../../../tests/support/mod.rs"]
mod support;

use case::KNOWN;
use nakcast::net::{Options, Socket, resolve};
use nakcast_statsd::flush::Snapshot;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::Plan;
use parking_lot::Mutex;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use support::{Process, command};

/// For what must come, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(120);

fn count() -> u64 {
    std::env::var("NAKCAST_HOSTILE").ok().and_then(|count| count.parse().ok()).unwrap_or(50_000)
}

/// What the tables of a small collector, a flush of it and the allocator's leftovers may take, in bytes.
const BOUND: u64 = 160 << 20;

fn small() -> Limits {
    Limits { series: 10_000, name_bytes: 2 << 20, samples: 100_000, ..Limits::default() }
}

/// Held by tests that look at this process's own memory: others' would be counted too.
static ALONE: Mutex<()> = Mutex::new(());

/// Memory a process has, bytes.
fn resident(process: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Good lines, which mutation begins with.
const GOOD: [&str; 12] = [
    "logins:1|c",
    "t.a:12.5|ms|@0.1|#k:v,bare",
    "g:-5|g",
    "g:+1e3|g",
    "s:a:b|s",
    "x;a=b;c=d:1|c",
    "x[a=b]y:1:2:3|d|T1700000000|c:abc",
    "u:1|s:2|s|c:3|g",
    "_e{5,4}:title|text|t:info|#a:b",
    "_sc|name|2|m:so it is",
    "statsd.packets_received:7|c",
    "__proto__,env=prod:0.1|h",
];

/// What readers look for.
const TOKENS: [&str; 28] = [
    ":",
    "|",
    "\n",
    "\r\n",
    "|@",
    "|#",
    "|T",
    "@+1",
    "@Infinity",
    "NaN",
    "-",
    "+",
    "1e308",
    "0x10",
    ",",
    ";",
    "[",
    "]",
    "=",
    "#",
    "_e{",
    "}",
    "_sc|",
    "|c",
    "|ms",
    "é",
    "\u{2028}",
    "99999999999999999999",
];

/// A datagram: noise, or good lines with something done to them.
fn datagram(random: &mut fastrand::Rng, into: &mut Vec<u8>) {
    into.clear();
    if random.u8(..10) == 0 {
        let length = if random.u16(..1000) == 0 { 65_507 } else { random.usize(..300) };
        into.extend((0..length).map(|_| random.u8(..)));
        return;
    }
    for _ in 0..random.usize(1..5) {
        match random.u8(..4) {
            0 => into.extend(format!("n{}:{}|", random.u32(..), random.i32(..)).bytes()),
            1 => (0..random.u8(..20)).for_each(|_| into.extend(TOKENS[random.usize(..TOKENS.len())].bytes())),
            _ => into.extend(GOOD[random.usize(..GOOD.len())].bytes()),
        }
        into.push(b'\n');
    }
    for _ in 0..random.usize(..4) {
        let at = random.usize(..into.len());
        match random.u8(..4) {
            0 => into[at] = random.u8(..),
            1 => into.truncate(at.max(1)),
            2 => _ = into.splice(at..at, TOKENS[random.usize(..TOKENS.len())].bytes()).count(),
            _ => _ = into.remove(at),
        }
        if into.is_empty() {
            return;
        }
    }
}

#[test]
fn whatever_comes_what_is_beside_it_counts_and_memory_is_bounded() {
    let idle = Idle { delete_counters: true, delete_timers: true, delete_sets: true, gauge_life: Some(1) };
    let mut shard = Shard::new(small(), idle);
    let plan = Arc::new(Plan::default());
    let mut random = fastrand::Rng::with_seed(7);
    let _alone = ALONE.lock();
    let before = resident("self");
    let (mut bytes, mut most, mut beside) = (Vec::new(), 0, 0_u32);
    let known = format!("{KNOWN}:1|c");
    for at in 1..=count() {
        // First of an interval, so that there is room for it.
        shard.datagram(known.as_bytes(), false, Dialect::Statsd);
        beside += 1;
        datagram(&mut random, &mut bytes);
        let dialect = if random.bool() { Dialect::Statsd } else { Dialect::Datadog };
        shard.datagram(&bytes, random.u8(..20) == 0, dialect);
        if at % 20_000 == 0 || at == count() {
            let snapshot = Snapshot::new(vec![shard.take()], &plan, 1, 10.0);
            case::outputs(&snapshot);
            let found = snapshot.counters.iter().find(|counter| counter.series.as_str() == KNOWN);
            assert_eq!(found.map(|found| found.count), Some(f64::from(beside)));
            assert!(snapshot.tally.bad > 0 && snapshot.tally.packets == u64::from(2 * beside));
            beside = 0;
            most = most.max(resident("self"));
        }
    }
    assert!(most < before + BOUND, "{} MiB, and {} before", most >> 20, before >> 20);
    eprintln!("{} datagrams: {} MiB at most, {} before", count(), most >> 20, before >> 20);
}

/// As the fuzzer does it: readers agree in any number of shards, and outputs keep their form.
#[test]
fn any_bytes_come_to_the_same_in_one_shard_and_in_three() {
    let mut random = fastrand::Rng::with_seed(8);
    let (mut bytes, mut case) = (Vec::new(), Vec::new());
    for _ in 0..count() / 50 {
        case.clear();
        for _ in 0..random.usize(..8) {
            datagram(&mut random, &mut bytes);
            case.extend(&bytes);
            case.push(0);
        }
        case::run(&case);
    }
}

/// What `scripts/fuzz statsd` found once.
#[test]
fn what_was_found_once_is_found_no_more() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/regressions/statsd");
    // A target that found nothing has no folder.
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        case::run(&std::fs::read(path).unwrap());
    }
}

fn socket() -> Socket {
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    Socket::unicast(&local, 0, &Options::default()).unwrap()
}

struct Collector {
    process: Process,
    udp: SocketAddr,
    admin: SocketAddr,
}

impl Collector {
    /// A small one, which flushes when it is told to end.
    fn start(flags: &[&str]) -> Collector {
        let Limits { series, name_bytes, samples, .. } = small();
        let text = format!(
            "limits = {{ series = {series}, name_bytes = {name_bytes}, samples = {samples}, member_bytes = '2M' }}"
        );
        let name = format!("hostile-{}-{}.toml", std::process::id(), flags.len());
        let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, text).unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--format", "json", "--config"]);
        command.arg(&file).args(["--flush-interval", "86400"]).args(flags).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let mut address = |before: &str| {
            let line = process.wait_for_line(before, SOON);
            line.trim_start_matches(before).parse().unwrap()
        };
        let (udp, admin) = (address("listening on "), address("admin port at "));
        std::fs::remove_file(file).unwrap();
        Collector { process, udp, admin }
    }

    /// What its socket has had until now: received, and dropped by the kernel.
    fn had(&self) -> (u64, u64) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"stats\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let number = |what: &str| {
            let key = format!("listeners.{}.{what}: ", self.udp);
            let line = answer.lines().find_map(|line| line.strip_prefix(&key)).expect("a listener");
            line.parse::<u64>().unwrap()
        };
        (number("received"), number("kernel_drops"))
    }

    fn end(mut self) -> Value {
        self.process.signal(libc::SIGTERM);
        self.process.succeed(SOON);
        serde_json::from_str(self.process.stdout().lines().last().expect("a flush")).unwrap()
    }
}

/// As many by the network: each is received or dropped by the kernel, and then it counts as before.
#[test]
fn after_a_flood_of_bad_input_all_is_counted() {
    let collector = Collector::start(&["--threads", "2"]);
    let (socket, mut random) = (socket(), fastrand::Rng::with_seed(9));
    let send =
        |bytes: &[u8]| assert_eq!(socket.as_socket().send_to(bytes, collector.udp).unwrap(), bytes.len());
    // There is room for it.
    send(format!("{KNOWN}:1|c").as_bytes());
    let mut sent = 1;
    let settle = |sent: u64| {
        let mut had = collector.had();
        while had.0 + had.1 < sent {
            std::thread::park_timeout(Duration::from_millis(10));
            had = collector.had();
        }
        assert_eq!(had.0 + had.1, sent);
        had
    };
    settle(sent);
    let mut bytes = Vec::new();
    for _ in 0..count() {
        datagram(&mut random, &mut bytes);
        send(&bytes);
        sent += 1;
    }
    let (received, dropped) = settle(sent);
    assert!(received > 1);
    for _ in 0..500 {
        send(format!("{KNOWN}:1|c\n{KNOWN}:1|c").as_bytes());
        sent += 1;
        settle(sent);
    }
    let memory = resident(&collector.process.id().to_string());
    let told = collector.end();
    assert_eq!(told["counters"][KNOWN], 1001, "{}", told["statsd"]);
    assert_eq!(told["statsd"]["packets_received"], sent - dropped);
    assert!(memory < BOUND, "{} MiB", memory >> 20);
    eprintln!("{received} received, {dropped} dropped by the kernel; {} MiB", memory >> 20);
}

/// STATSD.md on each of them, by the network.
#[test]
fn odd_lines_do_what_is_said() {
    let collector = Collector::start(&[]);
    let socket = socket();
    let long = [&[b'n'; 65_500][..], b":1|c"].concat();
    let bad: [&[u8]; 7] = [
        b":1|c",
        b"\xff\xfe:1|c",
        b"a:1|c|@+1",
        b"a:1|c|@Infinity",
        b"a:1|c|@0",
        b"a:Infinity|c",
        b"a:\xff|c",
    ];
    let good: [&[u8]; 4] =
        [b"statsd.packets_received:7|c\nstatsd.bad_lines_seen:9|c", b"__proto__:3|c", b"b\xffc:5|c", &long];
    for (at, bytes) in bad.iter().chain(&good).enumerate() {
        assert_eq!(socket.as_socket().send_to(bytes, collector.udp).unwrap(), bytes.len());
        while collector.had().0 <= at as u64 {}
    }
    let told = collector.end();
    let mut wanted = serde_json::json!({
        "statsd.packets_received": 7, "statsd.bad_lines_seen": 9, "__proto__": 3, "bc": 5
    });
    wanted["n".repeat(65_500)] = 1.into();
    assert_eq!(told["counters"], wanted);
    let own = &told["statsd"];
    assert_eq!([&own["bad_lines_seen"], &own["packets_received"], &own["metrics_received"]], [7, 11, 12]);
}

/// A name more than there is room for is counted and named; those that were there go on.
#[test]
fn a_million_new_names_take_what_is_stated() {
    // Names of 24 bytes: each is kept as it came and cleaned, with a place in three tables.
    const EACH: u64 = 512;
    let limits = Limits::default();
    let most = limits.series as u64;
    let _alone = ALONE.lock();
    let before = resident("self");
    let mut shard = Shard::new(limits, Idle::default());
    for at in 0..most + 100_000 {
        let line = format!("some.new.name.of.{at:07}:1|c");
        shard.datagram(line.as_bytes(), false, Dialect::Statsd);
    }
    shard.datagram(b"some.new.name.of.0000000:1|c", false, Dialect::Statsd);
    let memory = resident("self").saturating_sub(before);
    assert_eq!(shard.series() as u64, most);
    let interval = shard.take();
    assert_eq!((interval.tally.excess_series, interval.counters.len() as u64), (100_000, most));
    assert_eq!(&*interval.tally.excess_names[0], "some.new.name.of.1000000");
    assert!(
        interval
            .counters
            .iter()
            .any(|(series, count)| series.as_str().ends_with(".0000000") && *count == 2.0)
    );
    assert!(memory < EACH * most, "{} MiB", memory >> 20);
    eprintln!("a million names: {} MiB", memory >> 20);
}
