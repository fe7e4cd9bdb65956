//! The admin port: the original's commands, and its answers to the byte.

mod shared;
#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast::net::{Options, Socket, resolve};
use nakcast_statsd::admin::{Admin, Shown, Told, object};
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::listen::Listener;
use nakcast_statsd::shard::{Idle, Limits};
use serde_json::Value;
use shared::{SOON, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::{Process, command};

struct Collector {
    process: Process,
    udp: SocketAddr,
    admin: SocketAddr,
}

fn start(flags: &str) -> Collector {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(flags.split_whitespace()).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let mut address = |before: &str| {
        let line = process.wait_for_line(before, SOON);
        line.trim_start_matches(before).parse().unwrap()
    };
    let (udp, admin) = (address("listening on "), address("admin port at "));
    Collector { process, udp, admin }
}

impl Collector {
    fn hears(&self, datagram: &str) {
        let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
        let socket = Socket::unicast(&local, 0, &Options::default()).unwrap();
        socket.as_socket().send_to(datagram.as_bytes(), self.udp).unwrap();
    }

    /// Asks on a connection of its own until the answer holds `text`: a datagram is on its way for a while.
    fn until(&self, question: &str, text: &str) -> String {
        let what = format!("{text:?} to {question:?}");
        until(&what, || Some(self.ask(question)).filter(|answer| answer.contains(text)))
    }

    fn ask(&self, question: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(question.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn end(mut self) {
        self.process.signal(libc::SIGTERM);
        self.process.succeed(SOON);
    }
}

/// The right answers are those of the original 0.9.0 on Node 20.
#[test]
fn answers_are_the_originals_to_the_byte() {
    let collector = start("--flush-interval 86400");
    let help = "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, quit\n\n";
    for (question, answer) in [
        ("help\n", help),
        ("  help \r\n", help),
        ("help", help),
        ("HELP\n", "ERROR\n"),
        ("\n", "ERROR\n"),
        ("nonsense x\n", "ERROR\n"),
        ("health\n", "health: up\n"),
        ("health DOWN\nhealth nonsense\nhealth  up\n", "health: down\nhealth: down\nhealth: down\n"),
        ("health up\n", "health: up\n"),
        ("gauges\ntimers\n", "{}\nEND\n\n{}\nEND\n\n"),
        ("deltimers\n", "END\n\n"),
        ("quit\nhelp\n", ""),
    ] {
        assert_eq!(collector.ask(question), answer, "{question:?}");
    }
    let mut lines = String::new();
    for i in 0..8 {
        lines += &format!(
            "a.b:{i}|c\nc:1|c\nt:{i}.5|ms\nt2:{}|ms|@0.1\ng:{i}|g\nx:0.1|c\n12:1|c\n007:1|c\na.c.d:1|c\n",
            i * 1000
        );
    }
    lines += "one:5|ms\nneg:-1|g\nneg:-5|g\nexp:1e21|g\nbad\nsm:1e-7|g\n__proto:1|g";
    collector.hears(&lines);
    assert_eq!(
        collector.until("counters\n", "007"),
        "{\n  '12': 8,\n  'statsd.bad_lines_seen': 1,\n  'statsd.packets_received': 1,\n  'statsd.metrics_received': 79,\n  \
           'a.b': 28,\n  c: 8,\n  x: 0.7999999999999999,\n  '007': 8,\n  'a.c.d': 8\n}\nEND\n\n"
    );
    assert_eq!(collector.ask("gauges\n"), "{ g: 7, neg: -6, exp: 1e+21, sm: 1e-7, __proto: 1 }\nEND\n\n");
    assert_eq!(
        collector.ask("timers\n"),
        "{\n  t: [\n    0.5, 1.5, 2.5,\n    3.5, 4.5, 5.5,\n    6.5, 7.5\n  ],\n  t2: [\n       0, 1000, 2000,\n    3000, 4000, 5000,\n    \
           6000, 7000\n  ],\n  one: [ 5 ]\n}\nEND\n\n"
    );
    assert_eq!(collector.ask("delcounters a.b nope\n"), "deleted: a.b\nmetric nope not found\nEND\n\n");
    assert_eq!(collector.ask("delcounters a.*\n"), "deleted: a.c.d\nEND\n\n");
    assert_eq!(collector.ask("delgauges g exp sm __proto\n").lines().count(), 4 + 2);
    assert_eq!(collector.ask("gauges\n"), "{ neg: -6 }\nEND\n\n");
    assert_eq!(
        collector.ask("deltimers t.* t t2\n"),
        "metric t.* not found\ndeleted: t\ndeleted: t2\nEND\n\n"
    );
    assert_eq!(collector.ask("timers\n"), "{ one: [ 5 ] }\nEND\n\n");
    // What was deleted begins anew; the collector's own counters stay.
    collector.hears("a.b:1|c\ng:+2|g");
    assert!(collector.until("counters\n", "'a.b': 1").contains("'statsd.packets_received': 2,"));
    assert_eq!(collector.ask("gauges\n"), "{ neg: -6, g: 2 }\nEND\n\n");
    assert_eq!(collector.ask("delcounters statsd.*\n"), "metric statsd.* not found\nEND\n\n");
    collector.end();
}

#[test]
fn stats_tell_what_came_and_what_was_lost() {
    let collector = start("--flush-interval 50ms --format json --graphite 127.0.0.1:1");
    collector.hears("bad\nc:1|c");
    let listener = collector.udp;
    let stats = collector.until("stats\n", &format!("listeners.{listener}.received: 1\n"));
    let lines = stats.lines().collect::<Vec<_>>();
    let number = |at: usize, name: &str| {
        let (key, value) = lines[at].split_once(": ").unwrap();
        assert_eq!(key, name, "{stats}");
        value.parse::<u64>().unwrap()
    };
    assert!(number(0, "uptime") < 3600);
    assert!(number(1, "messages.last_msg_seen") <= number(0, "uptime"));
    assert_eq!(number(2, "messages.bad_lines_seen"), 1);
    for (at, name) in ["last_flush", "last_exception", "flush_time", "flush_length"].iter().enumerate() {
        number(3 + at, &format!("graphite.{name}"));
    }
    number(8, "console.lastFlush");
    number(9, "console.lastException");
    assert_eq!((number(10, "messages.packets_received"), number(11, "messages.metrics_received")), (1, 2));
    assert_eq!(number(13, &format!("listeners.{listener}.truncated")), 0);
    assert!(stats.ends_with("END\n\n"), "{stats}");
    // The sum stays when the interval has ended.
    assert!(collector.until("counters\n", "packets_received': 0").contains("bad_lines_seen': 0"));
    assert!(collector.ask("stats\n").contains("messages.bad_lines_seen: 1\n"));
    assert!(collector.ask("stats\n").contains("messages.metrics_received: 2\n"));
    assert!(collector.until("gauges\n", "timestamp_lag").starts_with("{ 'statsd.timestamp_lag': "));
    let config = collector.ask("config\n");
    assert!(config.starts_with("\nservers > 0: udp 127.0.0.1:0\n"), "{config}");
    for line in [
        "flushInterval: 50\n",
        "percentThreshold > 0: 90\n",
        "graphiteHost: 127.0.0.1\n",
        "deleteCounters: false\n",
    ] {
        assert!(config.contains(line), "{line:?} is not in {config}");
    }
    let mut process = collector.process;
    process.signal(libc::SIGTERM);
    // What waits for Graphite is given up.
    assert_eq!(process.wait(SOON).code(), Some(1));
}

/// Whatever comes while it answers: what a listener tells it has received is among what was counted.
#[test]
fn what_was_received_was_counted_before() {
    // So many shards that to count takes a while.
    let intake = Intake::new(4096, Limits::default(), Idle::default(), Arc::default());
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    let socket = || Socket::unicast(&local, 0, &Options::default()).unwrap();
    let (heard, from) = (socket(), socket());
    let to = heard.local_addr();
    let listener = Listener::start(vec![heard], Dialect::Statsd, intake.clone(), || ()).unwrap();
    listener.begin();
    let told = Told {
        start: 0,
        bad_lines: 0,
        metrics: 0,
        packets: 0,
        console: None,
        graphite: None,
        timestamp_lag: None,
        prefix: String::new(),
        config: Vec::new(),
        probes: vec![listener.probe()],
    };
    let admin = Admin::new(intake, told, Arc::default());
    let over = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                from.as_socket().send_to(b"c:1|c", to).unwrap();
            }
        });
        let mut answers = vec![String::new(); 200];
        answers.iter_mut().for_each(|answer| assert!(admin.answer("stats", answer)));
        over.store(true, Ordering::Relaxed);
        answers
    });
    for stats in answers {
        let number = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("{name}: {stats}")).parse::<u64>().unwrap()
        };
        assert!(
            number("messages.packets_received") >= number(&format!("listeners.{to}.received")),
            "{stats}"
        );
    }
}

/// A line without end is no command, and does not grow for ever; others go on being answered.
#[test]
fn a_long_line_ends_the_conversation() {
    let collector = start("--flush-interval 86400");
    let mut stream = TcpStream::connect(collector.admin).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&[b'x'; 65_537]).unwrap();
    let mut answer = String::new();
    // Closed while something was unread, perhaps, which is an error here; but not for want of an end.
    if let Err(error) = stream.read_to_string(&mut answer) {
        assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    }
    assert!(answer == "ERROR\n" || answer.is_empty(), "{answer}");
    assert_eq!(collector.ask("health\n"), "health: up\n");
    collector.end();
}

#[test]
fn many_connections_are_answered_and_too_many_are_closed() {
    let collector = start("--flush-interval 86400");
    let mut open = (0..64).map(|_| TcpStream::connect(collector.admin).unwrap()).collect::<Vec<_>>();
    for stream in &mut open {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"health\n").unwrap();
        let mut answer = [0; 11];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"health: up\n");
    }
    let mut one_more = TcpStream::connect(collector.admin).unwrap();
    one_more.set_read_timeout(Some(SOON)).unwrap();
    assert!(matches!(one_more.read(&mut [0; 1]), Ok(0) | Err(_)));
    // As soon as one has gone there is room.
    open.pop();
    until("room for a connection", || {
        let mut stream = TcpStream::connect(collector.admin).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = [0; 11];
        stream.write_all(b"health\n").and_then(|()| stream.read_exact(&mut answer)).ok()?;
        (answer == *b"health: up\n").then_some(())
    });
    collector.end();
}

/// A reply that the other side reads late is whole.
#[test]
fn a_long_answer_waits_for_its_reader() {
    let collector = start("--flush-interval 86400");
    let names =
        (0..50_000).map(|n| format!("a.rather.long.name.of.a.counter.number.{n}:1|c")).collect::<Vec<_>>();
    // One at a time: there is no room for many as long in the socket's buffer.
    for (at, lines) in names.chunks(1000).enumerate() {
        collector.hears(&lines.join("\n"));
        collector.until("stats\n", &format!("packets_received: {}\n", at + 1));
    }
    let answer = collector.ask("counters\ncounters\nhealth\n");
    assert_eq!(answer.matches(".number.").count(), 100_000);
    assert!(answer.ends_with("\n}\nEND\n\nhealth: up\n"));
    // Who asks much and does not read is answered a command at a time.
    let mut deaf = TcpStream::connect(collector.admin).unwrap();
    deaf.write_all("counters\n".repeat(200).as_bytes()).unwrap();
    deaf.set_read_timeout(Some(SOON)).unwrap();
    deaf.read_exact(&mut [0]).unwrap();
    assert_eq!(collector.ask("health\n"), "health: up\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", collector.process.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    assert!(most.unwrap().parse::<u64>().unwrap() < 200_000, "{status}");
    collector.end();
}

/// What Node 20 shows of objects made up at random.
#[test]
fn objects_are_shown_as_node_shows_them() {
    let cases: Value = serde_json::from_str(include_str!("admin/inspect.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 50);
    let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
    for case in cases {
        let entries = case[0].as_array().unwrap().iter().map(|entry| {
            let shown = match &entry[1] {
                Value::Array(values) => Shown::Array(values.iter().map(number).collect(), values.len()),
                value => Shown::Number(number(value)),
            };
            (entry[0].as_str().unwrap(), shown)
        });
        assert_eq!(object(&entries.collect::<Vec<_>>()), case[1].as_str().unwrap());
    }
}
