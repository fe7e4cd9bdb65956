//! The blast: what was sent is what was counted and what the kernel dropped, exactly.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::process::Stdio;
use std::time::Duration;
use support::{Process, command};

/// For what must come, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(120);

fn collector(flags: &[&str]) -> (Process, String, String) {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--admin", "127.0.0.1:0", "--flush-interval", "200ms", "--format", "none"]).args(flags);
    let mut process = Process::spawn(command);
    let mut address = |before: &str| {
        let line = process.wait_for_line(before, SOON);
        line.trim_start_matches(before).to_owned()
    };
    let (admin, udp) = (address("admin port at "), address("listening on "));
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
    let (_process, admin, udp) = collector(&["--listen", "127.0.0.1:0"]);
    let flags = ["--metrics", "2001", "--per-datagram", "20", "--names", "7", "--types", "c,g,ms,h,d,s,m"];
    let more = ["--sample-rate", "0.5", "--size", "40", "--rate", "20000", "--to", &udp, "--admin", &admin];
    let (code, text, said) = blast(&[&flags[..], &more[..]].concat());
    assert_eq!(code, Some(0), "{text}{said}");
    let numbers = ["sent", "counted", "kernel drops", "unexplained"].map(|name| number(&text, name));
    // Whole datagrams, and every line good.
    assert_eq!(numbers, [2020, 2020, 0, 0], "{text}");
    assert!(!text.contains("bad"), "{text}");
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
    assert!(counted > 0 && drops > 0 && counted + drops == sent, "{text}");
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
        (vec!["--types", "x"], 2, "--types"),
        (vec!["--sample-rate", "2"], 2, "above 0 and up to 1"),
        (vec!["--size", "70000"], 2, "--per-datagram, --size: 10 metrics are longer than 65507 bytes"),
        (vec!["--admin", "127.0.0.1:1"], 1, "the admin port at 127.0.0.1:1: "),
    ] {
        let (ended, text, said) = blast(&flags);
        assert_eq!((ended, text.as_str()), (Some(code), ""), "{flags:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{flags:?}: {said}");
        assert!(said.contains(says), "{flags:?}: {said}");
    }
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
