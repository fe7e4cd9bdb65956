//! The blast: what was sent is what was counted and what the kernel dropped, exactly.

mod shared;
#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast_statsd::clock;
use serde_json::Value;
use shared::until;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Lab, Process, command};

/// For what must come, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(120);

fn collector(flags: &[&str]) -> (Process, String, String) {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--admin", "127.0.0.1:0"]).args(flags);
    if !flags.contains(&"--format") {
        command.args(["--flush-interval", "200ms", "--format", "none"]);
    }
    command.stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let mut address = |before: &str| {
        let line = process.wait_for_line(before, SOON);
        line.trim_start_matches(before).to_owned()
    };
    let (udp, admin) = (address("listening on "), address("admin port at "));
    (process, admin, udp)
}

fn blast(flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.arg("blast").args(flags).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let code = process.wait(SOON).code();
    (code, process.stdout(), process.stderr())
}

/// The first number of the line that begins so.
fn number(text: &str, name: &str) -> i64 {
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn what_comes_slowly_is_all_counted() {
    let flags = ["--listen", "127.0.0.1:0", "--format", "json", "--flush-interval", "86400"];
    let (mut process, admin, udp) = collector(&flags);
    let flags = ["--metrics", "2001", "--per-datagram", "20", "--names", "7", "--types", "c,g,ms,h,d,s,m"];
    let more = ["--sample-rate", "0.5", "--size", "40", "--rate", "20000", "--to", &udp, "--admin", &admin];
    let (code, text, said) = blast(&[&flags[..], &more[..]].concat());
    assert_eq!(code, Some(0), "{text}{said}");
    let numbers = ["sent", "counted", "kernel drops", "unexplained"].map(|name| number(&text, name));
    // Whole datagrams, and every line good.
    assert_eq!(numbers, [2020, 2020, 0, 0], "{text}");
    assert!(!text.contains("bad"), "{text}");
    // No faster than asked for.
    let (_, behind) = text.lines().next().unwrap().split_once(" in ").unwrap();
    let seconds = behind.split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(seconds >= 0.1, "{text}");
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    let told: Value = serde_json::from_str(process.stdout().trim()).unwrap();
    // Twenty lines, a hundred and one times: values from 0 to 19, by name modulo 7. The shortest line of a name has 40 bytes.
    let name =
        |at: usize, behind: &str| format!("blast.{at}{}", "x".repeat(40 - "blast.0:0|".len() - behind.len()));
    let counters = [(name(0, "c|@0.5"), 101 * 21 * 2), (name(6, "m|@0.5"), 101 * 19 * 2)];
    let counters = counters.into_iter().map(|(name, count)| (name, Value::from(count)));
    assert_eq!(told["counters"], counters.collect::<Value>());
    assert_eq!(told["gauges"], serde_json::json!({name(1, "g"): 15}));
    assert_eq!(told["sets"], serde_json::json!({name(5, "s"): 3}));
    for (at, kind) in [(2, "ms|@0.5"), (3, "h|@0.5"), (4, "d|@0.5")] {
        let timer = &told["timer_data"][name(at, kind)];
        let upper = at + 14;
        assert_eq!((&timer["count"], &timer["upper"]), (&(101 * 3 * 2).into(), &upper.into()), "{told}");
    }
}

/// Faster than it is read: the collector is stopped meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn what_is_lost_is_explained() {
    let (process, admin, udp) = collector(&["--listen", "127.0.0.1:0", "--rcvbuf", "4096", "--threads", "2"]);
    let flags = ["--metrics", "300000", "--per-datagram", "3", "--to", &udp, "--admin", &admin];
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.arg("blast").args(flags).stdout(Stdio::piped());
    let mut blasting = Process::spawn(command);
    // It stands still for a while, again and again, whatever the machine does: so that something is lost in any case.
    let ended = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| blasting.wait(SOON).code());
        while !waiting.is_finished() {
            process.signal(libc::SIGSTOP);
            std::thread::park_timeout(Duration::from_millis(5));
            process.signal(libc::SIGCONT);
            std::thread::park_timeout(Duration::from_millis(5));
        }
        waiting.join().unwrap()
    });
    let text = blasting.stdout();
    assert_eq!(ended, Some(0), "{text}");
    let [sent, counted, drops, unexplained] =
        ["sent", "counted", "kernel drops", "unexplained"].map(|name| number(&text, name));
    assert_eq!((sent, unexplained), (300_000, 0), "{text}");
    assert!(counted > 0 && drops > 0 && counted + drops + number(&text, "before that") == sent, "{text}");
}

/// What `stats` says, and how long it took to say it.
fn ask(admin: &str) -> (BTreeMap<String, u64>, Duration) {
    let begun = clock::now();
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"stats\nquit\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let took = clock::now() - begun;
    let number = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        // A listener's address is not the same every time.
        Some((key.rsplit('.').next()?.to_owned(), value.parse().ok()?))
    };
    (answer.lines().filter_map(number).collect(), took)
}

/// More than it can take, each datagram by itself: what was sent was received, or dropped on the socket, which is asked at the end,
/// or before it; it answers meanwhile, and has no more memory than before.
///
/// `NAKCAST_BLAST=10` sends for so many seconds; the default is one, and as long as nothing is lost.
#[cfg(target_os = "linux")]
#[test]
fn above_its_capacity_it_answers_and_all_is_explained() {
    const EACH: u64 = 5;
    let seconds = std::env::var("NAKCAST_BLAST").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
    let queues = || {
        let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap();
        let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        text.lines().map(dropped).sum::<u64>()
    };
    let (process, admin, udp) = collector(&["--listen", "127.0.0.1:0", "--rcvbuf", "64k"]);
    let resident = || {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", process.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
    };
    let local = nakcast::net::resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    let socket = || nakcast::net::Socket::unicast(&local, 0, &nakcast::net::Options::default()).unwrap();
    let send = |socket: &nakcast::net::Socket, at: u64| {
        let line = |of| format!("capacity.{}:{of}|{}", (at + of) % 500, ["c", "g"][(of % 2) as usize]);
        let datagram = (0..EACH).map(line).collect::<Vec<_>>().join("\n");
        socket.as_socket().set_nonblocking(false).unwrap();
        assert_eq!(socket.as_socket().send_to(datagram.as_bytes(), &udp).unwrap(), datagram.len());
    };
    // All series are there.
    (0..500).for_each(|at| send(&socket(), at));
    let before = (queues(), resident());
    let enough = clock::now() + Duration::from_secs(seconds);
    let going = AtomicBool::new(true);
    let mut answers = Vec::new();
    let sent = std::thread::scope(|scope| {
        let blasting = || {
            let (socket, mut sent) = (socket(), 0);
            while going.load(Ordering::Relaxed) {
                send(&socket, sent);
                sent += 1;
            }
            sent
        };
        let blasting = [scope.spawn(blasting), scope.spawn(blasting)];
        let give_up = clock::now() + SOON;
        loop {
            let (told, took) = ask(&admin);
            answers.push(took);
            let now = clock::now();
            if now > give_up || (now > enough && told["kernel_drops"] > 0) {
                break;
            }
        }
        going.store(false, Ordering::Relaxed);
        500 + blasting.map(|thread| thread.join().unwrap()).into_iter().sum::<u64>()
    });
    // The queues are the whole machine's, so they count only for what is missing when nothing comes any more.
    let settled = |sent: u64| {
        let (mut last, mut still) = (0, 0);
        until("all that was sent", || {
            let (told, _) = ask(&admin);
            let missing = sent - told["received"] - told["kernel_drops"];
            still = if missing == last { still + 1 } else { 0 };
            last = missing;
            let is_explained = missing == 0 || (still > 1000 && missing <= queues() - before.0);
            is_explained.then_some((told, missing))
        })
    };
    let (told, before_it) = settled(sent);
    answers.sort();
    let [median, most] = [answers[answers.len() / 2], answers[answers.len() - 1]];
    eprintln!(
        "sent {sent} datagrams, received {}, dropped on the socket {}, before it {before_it}; {} answers in {median:?}, {most:?} at most; \
         {} MiB, {} before",
        told["received"],
        told["kernel_drops"],
        answers.len(),
        resident(),
        before.1
    );
    assert!(told["kernel_drops"] > 0);
    assert_eq!(sent, told["received"] + told["kernel_drops"] + before_it);
    assert_eq!((told["metrics_received"], told["bad_lines_seen"]), (EACH * told["received"], 0));
    assert!(most < SOON / 2, "{most:?}");
    assert!(resident() < before.1 + 32, "{} MiB, {} before", resident(), before.1);
    // Then as before: nothing is lost any more.
    let socket = socket();
    for after in 1..=200 {
        send(&socket, after);
        let (now, _) = settled(sent + after);
        assert_eq!(now["received"], told["received"] + after);
    }
}

#[test]
fn a_group_is_blasted_too() {
    let group = format!("239.255.78.11:{}", 20_000 + std::process::id() % 40_000);
    let (_process, admin, _) = collector(&["--group", &group, "--interface", "lo"]);
    let flags = ["--to", &group, "--interface", "lo", "--metrics", "50", "--rate", "1000", "--admin", &admin];
    let (code, text, said) = blast(&flags);
    assert_eq!(code, Some(0), "{text}{said}");
    assert_eq!((number(&text, "counted"), number(&text, "unexplained")), (50, 0), "{text}");
}

/// What nobody hears is neither counted nor dropped where anybody could see it.
#[test]
fn what_nobody_explains_is_a_failure() {
    let (_process, admin, _) = collector(&["--listen", "127.0.0.1:0"]);
    let nowhere =
        nakcast::net::Socket::listen("127.0.0.1:0".parse().unwrap(), &nakcast::net::Options::default());
    let to = nowhere.unwrap().local_addr().to_string();
    let (code, text, _) = blast(&["--to", &to, "--metrics", "50", "--admin", &admin]);
    assert_eq!((code, number(&text, "unexplained")), (Some(1), 50), "{text}");
    // Without an admin port nothing is said of it.
    let (code, text, _) = blast(&["--to", &to, "--metrics", "50"]);
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
}

#[test]
fn what_cannot_be_is_one_line() {
    for (flags, code, says) in [
        (vec!["--to", "8125"], 2, "ADDR:PORT"),
        (vec!["--metrics", "0"], 2, "1 to 1000000000000"),
        (vec!["--metrics", "-1"], 2, "'-1' for '--metrics <N>': it takes a whole number from 1 to"),
        (vec!["--sample-rate", "-1"], 2, "'-1' for '--sample-rate <R>': it takes a number above 0"),
        (vec!["--size", "-1"], 2, "'-1' for '--size <BYTES>': it takes a whole number of bytes up to 65507"),
        (vec!["--to", "127.0.0.1:1", "--interface", "lo"], 2, "--interface: it goes with a group in --to"),
        (vec!["--types", "x"], 2, "--types"),
        (vec!["--sample-rate", "2"], 2, "above 0 and up to 1"),
        (vec!["--size", "60000"], 2, "--per-datagram, --size: 10 metrics are longer than 65507 bytes"),
        (vec!["--admin", "127.0.0.1:1"], 1, "the admin port at 127.0.0.1:1: "),
    ] {
        let (ended, text, said) = blast(&flags);
        assert_eq!((ended, text.as_str()), (Some(code), ""), "{flags:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{flags:?}: {said}");
        assert!(said.contains(says), "{flags:?}: {said}");
    }
}

/// An admin port that has counted less than before is another collector's.
#[test]
fn a_collector_that_began_anew_is_told() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let admin = server.local_addr().unwrap().to_string();
    let nowhere =
        nakcast::net::Socket::listen("127.0.0.1:0".parse().unwrap(), &nakcast::net::Options::default());
    let to = nowhere.unwrap().local_addr().to_string();
    let flags = ["--to", &to, "--admin", &admin, "--metrics", "10"];
    let (code, text, said) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in [1000, 10] {
                let (mut stream, _) = until("a question", || server.accept().ok());
                let stats =
                    format!("messages.bad_lines_seen: 0\nmessages.metrics_received: {count}\nEND\n\n");
                stream.write_all(stats.as_bytes()).unwrap();
                // Until the other side has read it: to close with something unread would take it back.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        blast(&flags)
    });
    assert_eq!((code, &*text), (Some(1), ""), "{said}");
    assert!(said.starts_with(&format!("error: the collector at {admin} was started anew")), "{said}");
}

#[test]
fn the_demo_says_at_first_what_cannot_be() {
    for (flag, value, says) in [
        ("--interface", "no-such", "--interface: no interface is called \"no-such\""),
        ("--interface", "", "'' for '--interface <NAME|IP>': it takes an interface's name"),
        ("--metrics", "-1", "'-1' for '--metrics <N>': it takes a whole number from 1"),
    ] {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["demo", flag, value]).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        assert_eq!(process.wait(SOON).code(), Some(2));
        let (text, said) = (process.stdout(), process.stderr());
        assert!(text.is_empty() && said.contains(says) && said.lines().count() == 1, "{text}{said}");
    }
}

/// As a tunnel's: smaller datagrams than usual go through it.
#[test]
fn a_small_mtu_has_room_for_the_demo_and_for_publication() {
    let Some(lab) = Lab::new(1) else { return };
    let host = lab.host(0);
    Process::spawn_and_read(host, "ip", &["link", "set", "eth0", "mtu", "1300"]);
    let mut demo = host.command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    demo.args(["demo", "--metrics", "10000", "--interface", "eth0"]).stdout(Stdio::piped());
    let mut demo = Process::spawn(demo);
    demo.succeed(SOON);
    assert!(demo.stdout().contains("sent 10000, counted 10000, lost 0, gaps 0"), "{}", demo.stdout());
    let mut collector = host.command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    collector.args(["--listen", "127.0.0.1:0", "--publish", "239.255.78.12:7700", "--interface", "eth0"]);
    let mut collector = Process::spawn(collector);
    collector.wait_for_line("listening on ", SOON);
    collector.signal(libc::SIGTERM);
    collector.succeed(SOON);
    assert!(!collector.stderr().contains("not published"), "{}", collector.stderr());
}

#[test]
fn the_demo_explains_what_is_lost_and_loses_nothing_after() {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["demo", "--metrics", "200000"]).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    process.succeed(SOON);
    let text = process.stdout();
    let lines = text.lines().collect::<Vec<_>>();
    let [_, best, _, reliable] = lines[..] else { panic!("{text}") };
    let numbers = |line: &str| {
        let words = line.split([' ', ',', '(', '%']);
        words.filter_map(|word| word.parse::<i64>().ok()).collect::<Vec<_>>()
    };
    let [sent, counted, dropped, .., unexplained] = numbers(best)[..] else { panic!("{text}") };
    assert_eq!((sent, unexplained), (200_000, 0), "{text}");
    assert!(counted > 0 && counted + dropped == sent, "{text}");
    assert_eq!(numbers(reliable), [200_000, 200_000, 0, 0], "{text}");
}
