//! What Prometheus is told: totals that never shrink, names and labels it takes, each once.

mod shared;
#[path = "../../../tests/support/mod.rs"]
mod support;
mod told;

use nakcast::net::{Options, Socket, resolve};
use nakcast_statsd::flush::Heard;
use nakcast_statsd::output::prometheus::{CONTENT_TYPE, Server};
use nakcast_statsd::shard::{Idle, Limits};
use nakcast_statsd::timer::Plan;
use shared::{SOON, ask_on, is_open, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use support::{Process, command};
use told::{Told, places};

fn up() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

#[test]
fn counters_only_grow() {
    let mut told = Told::new();
    assert_eq!(told.flush("a.b:1|c\na.b:2.5|c"), "a_b_total 3.5");
    assert_eq!(told.flush(""), "a_b_total 3.5");
    assert_eq!(told.flush("a.b:1|c|@0.5"), "a_b_total 5.5");
    assert_eq!(told.flush("a.b:-2|c"), "a_b_total 5.5");
    assert_eq!(told.own("negative_counts_total"), "1");
    assert_eq!(told.own("flushes_total"), "4");
    let named_so = Told::new().flush("a_total:1|c");
    assert_eq!(named_so, "a_total 1");
}

#[test]
fn totals_outlive_what_is_idle_and_levels_do_not() {
    let idle = Idle { delete_counters: true, delete_timers: true, delete_sets: true, gauge_life: Some(1) };
    let mut told = Told::with(1000, idle, Plan::new(&[], &[], &[]).unwrap());
    let all = "c_total 1\ng 2\ns 1\nt{quantile=\"0.5\"} 4\nt_sum 4\nt_count 1";
    assert_eq!(told.flush("c:1|c\ng:2|g\ns:x|s\nt:4|ms"), all);
    assert_eq!(told.flush(""), "c_total 1\nt_sum 4\nt_count 1");
    assert_eq!(told.flush("c:1|c\nt:6|ms"), "c_total 2\nt{quantile=\"0.5\"} 6\nt_sum 10\nt_count 2");
    // What is gone has left its name to others.
    assert_eq!(told.flush("g:x|s").lines().nth(1), Some("g 1"));
}

#[test]
fn timers_are_summaries() {
    let plan = Plan::new(&[90.0, 50.0, -25.0, 99.9, -99.9], &[], &[]).unwrap();
    let mut told = Told::with(1000, Idle::default(), plan);
    let ten = "t:1:2:3:4:5:6:7:8:9:10|ms";
    assert_eq!(
        told.flush(ten),
        "t{quantile=\"0.001\"} 1\nt{quantile=\"0.5\"} 5\nt{quantile=\"0.75\"} 8\nt{quantile=\"0.9\"} 9\nt{quantile=\"0.999\"} 10\nt_sum 55\nt_count 10"
    );
    assert_eq!(told.flush(""), "t_sum 55\nt_count 10", "an idle timer has no quantiles");
    let mut told = Told::new();
    assert_eq!(
        told.flush("t:2:4|ms|@0.1"),
        "t{quantile=\"0.5\"} 3\nt{quantile=\"0.9\"} 4\nt_sum 60\nt_count 20",
        "the sum stands for as many samples as the count"
    );
    let mut told = Told::with(1000, Idle::default(), Plan::new(&[90.0], &[], &["count".into()]).unwrap());
    assert_eq!(told.flush("t:2:4|ms"), "t_count 2", "what is not told is not told as 0");
}

/// Count and sum are of the same samples, so that their quotient is a mean: what there was no room for at all adds to neither.
#[test]
fn a_summary_has_a_sum_for_what_it_counts() {
    for rules in ["", "defaults: { observer_type: histogram, histogram_options: { buckets: [10] } }"] {
        let mut told = if rules.is_empty() { Told::new() } else { Told::by(rules) };
        let limits = |samples| Limits { samples, sketches: 0, ..Limits::default() };
        let totals = |told: &str| {
            let lines = told.lines().filter(|line| line.starts_with("t_sum") || line.starts_with("t_count"));
            lines.collect::<Vec<_>>().join("\n")
        };
        told.shard.set(limits(0), Idle::default());
        let first = told.flush("t:1:2:3|h");
        assert_eq!(
            totals(&first),
            totals(if rules.is_empty() { "" } else { "t_sum 0\nt_count 0" }),
            "{first}"
        );
        told.shard.set(limits(2), Idle::default());
        // The third is as the others on average.
        let second = told.flush("t:1:3:100|h");
        assert_eq!(totals(&second), "t_sum 6\nt_count 3", "{second}");
        told.shard.set(limits(0), Idle::default());
        let third = told.flush("t:7:7|h");
        assert_eq!(totals(&third), "t_sum 6\nt_count 3", "{third}");
        assert_eq!(told.own("excess_samples_total"), "6");
    }
    // One that was there before it was told has both, too.
    let mut told = Told::new();
    told.snapshot("t:1|ms");
    assert_eq!(told.flush(""), "t_sum 0\nt_count 0");
}

#[test]
fn tags_are_labels() {
    for (line, sample) in [
        ("a:1|g|#z:1,b:2", "a{b=\"2\",z=\"1\"} 1"),
        ("a,k=v:1|g", "a{k=\"v\"} 1"),
        ("a:1|g|#k:a:b", "a{k=\"a:b\"} 1"),
        ("a:1|g|#k:a\"b\\c", "a{k=\"a\\\"b\\\\c\"} 1"),
        ("a:1|g|#k.x-y:1,9:2", "a{_9=\"2\",k_x_y=\"1\"} 1"),
        ("a:1|g|#k.x:1,k-x:2", "a{k_x=\"2,1\"} 1"),
        (
            "a:1|g|#quantile:1,le:2,__name__:x",
            "a{exported___name__=\"x\",exported_le=\"2\",exported_quantile=\"1\"} 1",
        ),
        ("9a.b-c:1|g", "_9a_b_c 1"),
        ("a:1e21|g", "a 1e+21"),
        ("c:1|c|#k:v", "c_total{k=\"v\"} 1"),
    ] {
        assert_eq!(Told::new().flush(line), sample, "{line}");
    }
    let timer = Told::new().flush("t:1|ms|#k:v");
    assert!(
        timer.starts_with("t{k=\"v\",quantile=\"0.5\"} 1\n") && timer.ends_with("t_count{k=\"v\"} 1"),
        "{timer}"
    );
}

#[test]
fn no_name_is_told_twice() {
    let mut told = Told::new();
    // Each kind has its own series of one name.
    let expected = "a 1\na_set 1\na_timer{quantile=\"0.5\"} 7\na_timer{quantile=\"0.9\"} 7\na_timer_sum 7\na_timer_count 1\na_total 5";
    assert_eq!(told.flush("a:5|c\na:1|g\na:7|ms\na:x|s"), expected);
    // And keeps it.
    assert_eq!(
        told.flush("a:7|ms\na:x|s").replace("_sum 14", "_sum 7").replace("_count 2", "_count 1"),
        expected
    );

    let mut told = Told::new();
    let both = told.flush("t:1|ms\nt_sum:5|g\nt.count:6|g");
    assert!(both.contains("\nt_sum 5\n") || both.starts_with("t_count 6\n"), "{both}");
    assert!(both.contains("\nt_timer_sum 1\n"), "{both}");

    // What comes to one name of one kind is added up, where that can be; of levels one stands for both.
    let mut told = Told::new();
    assert_eq!(told.flush("a.b:1|c\na_b:2|c\na-b:4|c"), "a_b_total 7");
    assert_eq!(told.own("merged_series"), "0");
    let mut told = Told::new();
    assert_eq!(told.flush("a-b:1|g\na_b:2|g"), "a_b 1");
    assert_eq!(told.own("merged_series"), "1");
    let mut told = Told::new();
    assert!(told.flush("a-b:1|ms\na_b:2|ms").ends_with("a_b_sum 3\na_b_count 2"));
    assert_eq!(told.own("merged_series"), "1");
    assert!(told.flush("a_b:2|ms").starts_with("a_b{quantile=\"0.5\"} 2\n"));
    assert_eq!(told.own("merged_series"), "0");
}

#[test]
fn names_like_the_collectors_own_are_just_names() {
    let mut told = Told::new();
    let text = told
        .flush("nakcast_statsd_bad_lines:7|c\nnakcast.statsd.flushes_total:8|c\nstatsd.x:1|g\n__proto__:1|g");
    assert_eq!(
        text,
        "__proto__ 1\nexported_nakcast_statsd_bad_lines_total 7\nexported_nakcast_statsd_flushes_total 8\nstatsd_x 1"
    );
    assert_eq!(told.own("bad_lines_total"), "0");
}

#[test]
fn series_have_a_bound_and_what_is_beyond_is_counted() {
    let mut told = Told::with(3, Idle::default(), Plan::default());
    assert_eq!(
        told.flush("a:1|c\nb:1|c|#k:1\nb:1|c|#k:2\nb:1|c|#k:3\nc:1|c\ng:1|g\nt:1|ms"),
        "a_total 1\nb_total{k=\"1\"} 1\nb_total{k=\"2\"} 1"
    );
    assert_eq!(told.own("prometheus_excess_series_total"), "4");
    // Another bound is one for what comes, and takes nothing away.
    told.exposition.map(4, None);
    assert_eq!(
        told.flush("c:1|c\nd:1|c"),
        "a_total 1\nb_total{k=\"1\"} 1\nb_total{k=\"2\"} 1\nb_total{k=\"3\"} 0"
    );
    // Levels that went leave room.
    let idle = Idle { gauge_life: Some(1), ..Idle::default() };
    let mut told = Told::with(1, idle, Plan::default());
    assert_eq!(told.flush("a:1|g"), "a 1");
    assert_eq!(told.flush(""), "");
    assert_eq!(told.flush("b:1|g"), "b 1");
    assert_eq!(told.own("prometheus_excess_series_total"), "0");
}

#[test]
fn every_family_has_its_help_and_type_before_its_samples() {
    let mut told = Told::new();
    told.flush("c:1|c\ng:1|g\nt:1|ms\ns:x|s\nc:1|c|#a:b");
    let text = told.exposition.text();
    let (mut help, mut family, mut type_) = ("", "", "");
    let mut seen = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        if line.starts_with("# HELP ") {
            help = words.nth(2).unwrap();
        } else if line.starts_with("# TYPE ") {
            (family, type_) = (words.nth(2).unwrap(), words.next().unwrap());
            assert_eq!(family, help);
            assert!(!seen.contains(&family), "{family} twice");
            seen.push(family);
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let stem = name.strip_suffix("_sum").or(name.strip_suffix("_count")).unwrap_or(name);
            assert!(name == family || type_ == "summary" && stem == family, "{line} under {family}");
            assert_eq!(type_ == "counter", name.ends_with("_total"), "{line}");
        }
    }
    for name in ["c_total", "g", "t", "s"] {
        assert!(seen.contains(&name), "{name}: {seen:?}");
    }
    assert!(text.ends_with('\n'));
}

#[test]
fn what_was_lost_is_told_for_each_listener() {
    let mut told = Told::new();
    let heard = |listener: &str, kernel_drops| Heard {
        listener: listener.into(),
        received: 5,
        truncated: 1,
        kernel_drops,
        refused: 0,
    };
    for _ in 0..2 {
        let mut snapshot = told.snapshot("bad\nc:1|c\n_e{1,1}:a|b");
        snapshot.own.heard = vec![heard("127.0.0.1:8125", Some(3)), heard("[::1]:8125", None)];
        told.exposition.add(&snapshot);
    }
    assert_eq!(told.own("listener_received_total"), "{listener=\"127.0.0.1:8125\"} 10");
    assert_eq!(told.own("listener_truncated_total"), "{listener=\"127.0.0.1:8125\"} 2");
    assert_eq!(told.own("listener_kernel_drops_total"), "{listener=\"127.0.0.1:8125\"} 6");
    let text = told.exposition.text();
    assert!(!text.contains("drops_total{listener=\"[::1]:8125\"}"), "nobody knows it: {text}");
    assert_eq!(told.own("bad_lines_total"), "2");
    assert_eq!(told.own("metrics_total"), "6");
    assert_eq!(told.own("events_total"), "2");
}

/// Asks by HTTP, and returns the head and the body.
fn ask(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Waits until the other side has closed.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SOON)).unwrap();
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn the_last_text_is_served() {
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), up()).unwrap();
    let address = server.address();
    // Who asks before there is a text waits for it.
    let early = std::thread::spawn(move || ask(address, "GET", "/metrics").1);
    server.set("a 1\n".into());
    assert_eq!(early.join().unwrap(), "a 1\n");
    let (head, body) = ask(address, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains(CONTENT_TYPE), "{head}");
    assert_eq!(body, "a 1\n");
    assert_eq!(ask(address, "GET", "/metrics?name=x").1, "a 1\n");
    assert_eq!(ask(address, "HEAD", "/metrics").1, "");
    assert_eq!(ask(address, "GET", "/health").1, "up\n");
    assert!(ask(address, "GET", "/").0.starts_with("HTTP/1.1 404 "));
    assert!(ask(address, "POST", "/metrics").0.starts_with("HTTP/1.1 405 "));
    // A connection is kept from one question to the next, until the server ends; so is that of who asks and does not read.
    let mut kept = TcpStream::connect(address).unwrap();
    for _ in 0..2 {
        ask_on(&mut kept, "/health", "up\n");
    }
    server.set("a 1\n".repeat(16 << 20));
    let mut deaf = TcpStream::connect(address).unwrap();
    ask_on(&mut deaf, "/metrics", "H");
    let mut silent = TcpStream::connect(address).unwrap();
    drop(server);
    assert!(is_closed(&mut kept) && is_closed(&mut silent));
    TcpListener::bind(address).unwrap();
}

/// It would keep the text of a flush that is over.
#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_is_closed() {
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), up()).unwrap();
    server.set("a 1\n".repeat(16 << 20));
    let mut deaf = TcpStream::connect(server.address()).unwrap();
    ask_on(&mut deaf, "/metrics", "H");
    assert!(is_open(&deaf));
    until("the end of a connection", || (!is_open(&deaf)).then_some(()));
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), up()).unwrap();
    server.set("a 1\n".into());
    let mut silent = (0..64).map(|_| TcpStream::connect(server.address()).unwrap()).collect::<Vec<_>>();
    assert_eq!(ask(server.address(), "GET", "/metrics").1, "a 1\n");
    // The oldest has made room, and no more than it.
    assert!(is_closed(&mut silent[0]));
    silent[63].set_nonblocking(true).unwrap();
    assert_eq!(silent[63].read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
}

#[test]
fn what_is_no_http_is_refused_and_harms_nobody() {
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), up()).unwrap();
    server.set("a 1\n".into());
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    for wrong in ["\r\n\r\nnonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &long] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // It may be closed before all of it was written.
        let _ = stream.write_all(wrong.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{wrong:.20}: {answer}");
        assert_eq!(ask(server.address(), "GET", "/metrics").1, "a 1\n");
    }
}

#[test]
fn the_collector_shows_what_it_heard() {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    let flags = "--listen 127.0.0.1:0 --prometheus 127.0.0.1:0 --flush-interval 50ms --format json";
    command.args(flags.split_whitespace()).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let (address, listens) = places(&mut process);
    assert!(ask(address, "GET", "/metrics").1.contains("\nnakcast_statsd_bad_lines_total 0\n"));
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    let socket = Socket::unicast(&local, 0, &Options::default()).unwrap();
    socket.as_socket().send_to(b"c:3|c\nbad", listens).unwrap();
    // A flush is shown before it is printed.
    process.wait_for_output(r#""c":3"#, SOON);
    let text = ask(address, "GET", "/metrics").1;
    assert!(
        text.contains("\nc_total 3\n") && text.contains("\nnakcast_statsd_bad_lines_total 1\n"),
        "{text}"
    );
    let drops = format!("\nnakcast_statsd_listener_kernel_drops_total{{listener=\"{listens}\"}} 0\n");
    assert!(cfg!(not(target_os = "linux")) || text.contains(&drops), "{text}");
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    let address = taken.local_addr().unwrap().to_string();
    command.args(["--listen", "127.0.0.1:0", "--prometheus", &address]).stdout(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!("error: --prometheus: {address} cannot be listened to: ");
    assert!(said.lines().last().unwrap().starts_with(&expected), "{said}");
}
