//! The repeater, the file, InfluxDB and publication: what is read back there is what came.

#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast::net::{Options, Socket, resolve};
use nakcast::{Event, Subscriber};
use nakcast_statsd::flush::{Heard, Own, Snapshot, loss};
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::listen::Listener;
use nakcast_statsd::output::console::{self, Form};
use nakcast_statsd::output::graphite::{Names, Protocol};
use nakcast_statsd::output::influx;
use nakcast_statsd::output::repeater::{self, Repeater, Target};
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::{Bins, Plan};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;
use support::{Process, Scratch, command};

/// For what must come, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

struct Collector {
    process: Process,
    udp: SocketAddr,
}

fn start(flags: &[&str]) -> Collector {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--format", "json", "--listen", "127.0.0.1:0"]).args(flags).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let line = process.wait_for_line("listening on ", SOON);
    let udp = line.trim_start_matches("listening on ").parse().unwrap();
    Collector { process, udp }
}

impl Collector {
    fn hears(&self, datagram: &str) {
        local().as_socket().send_to(datagram.as_bytes(), self.udp).unwrap();
    }

    fn end(self) -> Value {
        self.process.signal(libc::SIGTERM);
        self.end_of()
    }

    /// The last flush of one that was told to end.
    fn end_of(mut self) -> Value {
        self.process.succeed(SOON);
        let flushes = self.process.stdout();
        serde_json::from_str(flushes.lines().last().expect("a flush")).unwrap()
    }
}

fn local() -> Socket {
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    Socket::unicast(&local, 0, &Options::default()).unwrap()
}

/// A datagram, for which it waits.
fn receive(socket: &Socket) -> String {
    let socket = socket.as_socket();
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

#[test]
fn what_comes_is_sent_on_as_it_came() {
    let (one, other) = (local(), local());
    let [to_one, to_other] = [&one, &other].map(|socket| socket.local_addr().to_string());
    let collector = start(&["--repeat", &to_one, "--repeat", &to_other, "--flush-interval", "86400"]);
    for datagram in ["c:1|c\nbad line|#\u{1b}", "", "x y/z:1|ms|@0.1"] {
        collector.hears(datagram);
        assert_eq!((receive(&one).as_str(), receive(&other).as_str()), (datagram, datagram));
    }
    let told = collector.end();
    let repeated = |to: &str| serde_json::json!({"to": format!("udp {to}"), "sent": 3, "dropped": 0});
    assert_eq!(told["repeater"], serde_json::json!([repeated(&to_one), repeated(&to_other)]));
    assert_eq!(told["counters"]["c"], 1);
}

/// What lies in the socket when it is told to end: it is stopped until then.
#[test]
fn what_waits_is_sent_on_at_the_end() {
    let one = local();
    let to = one.local_addr().to_string();
    let collector = start(&["--repeat", &to, "--flush-interval", "86400"]);
    collector.process.signal(libc::SIGSTOP);
    for _ in 0..100 {
        collector.hears("c:1|c");
    }
    // A stopped process gets no signal but these two: it goes on, and is then told to end.
    collector.process.signal(libc::SIGTERM);
    collector.process.signal(libc::SIGCONT);
    let told = collector.end_of();
    assert_eq!((&told["counters"]["c"], &told["repeater"][0]["sent"]), (&100.into(), &100.into()));
    for _ in 0..100 {
        assert_eq!(receive(&one), "c:1|c");
    }
}

/// What waits in the queue then, since the server does not read.
#[test]
fn what_waits_for_a_slow_server_is_sent_on_at_the_end() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target {
        server: server.local_addr().unwrap().to_string(),
        protocol: repeater::Protocol::Tcp,
        interface: None,
        by: String::new(),
    };
    let taps = Arc::default();
    let intake = Intake::new(1, Limits::default(), Idle::default(), Arc::clone(&taps));
    let mut repeater = Repeater::start(&[target]).unwrap();
    repeater.tap(&taps);
    let line = format!("c{}:1|c\n", "x".repeat(50_000));
    let (mut left, mut dropped, mut sent) = (0, 0, 0);
    let mut more = usize::MAX;
    // Until the queue is full; and then twice what it holds, in case that all of it went just now, of which the kernel takes a part.
    while more > 0 {
        intake.feed().begin(Dialect::Statsd).datagram(line.as_bytes(), false);
        left += 1;
        let told = &repeater.told()[0];
        (dropped, sent) = (dropped + told.dropped, sent + told.sent);
        more = if dropped == 0 { 800 } else { more - 1 };
    }
    let (mut stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let ends = Barrier::new(2);
    let came = thread::scope(|scope| {
        scope.spawn(|| {
            ends.wait();
            repeater.end(SOON);
        });
        ends.wait();
        // Nothing tells that the end has begun: if it has not by then, this test sees less, and does not fail.
        thread::park_timeout(Duration::from_millis(300));
        let mut came = String::new();
        stream.read_to_string(&mut came).unwrap();
        came
    });
    let told = &repeater.told()[0];
    assert_eq!((sent + told.sent, told.dropped), (left - dropped, 0));
    assert!(came == line.repeat((left - dropped) as usize));
}

/// Nothing is taken before there is all that it goes to.
#[test]
fn what_comes_before_the_beginning_is_sent_on_too() {
    let intake = |taps| Intake::new(1, Limits::default(), Idle::default(), taps);
    let plan = || Arc::new(Plan::default());
    let counted = |intake: &Intake| Snapshot::new(intake.take(), &plan(), 1, 10.0).tally.packets;
    // More than once: a thread that would not wait has to be quick.
    for begins in [true, false].repeat(20) {
        let (heard, taps) = (local(), Arc::default());
        let to = heard.local_addr();
        let intake = intake(Arc::clone(&taps));
        let sent_on = local();
        let mut listener = Listener::start(vec![heard], Dialect::Statsd, intake.clone(), || ()).unwrap();
        local().as_socket().send_to(b"c:1|c", to).unwrap();
        let server = sent_on.local_addr().to_string();
        let (protocol, by) = (repeater::Protocol::Udp, String::new());
        let target = Target { server, protocol, interface: None, by };
        let mut repeater = Repeater::start(&[target]).unwrap();
        repeater.tap(&taps);
        if begins {
            listener.begin();
            assert_eq!(receive(&sent_on), "c:1|c");
        }
        listener.end();
        listener.join().unwrap();
        repeater.end(SOON);
        assert_eq!((counted(&intake), repeater.told()[0].sent), (u64::from(begins), u64::from(begins)));
    }
}

#[test]
fn a_group_is_sent_on_to_by_its_interface() {
    let group: SocketAddr = format!("239.255.78.9:{}", 20_000 + std::process::id() % 40_000).parse().unwrap();
    let interface = resolve(Some("lo"), group.ip()).unwrap();
    let heard = Socket::group(group, &interface, None, &Options::default()).unwrap();
    let collector =
        start(&["--repeat", &group.to_string(), "--interface", "lo", "--flush-interval", "86400"]);
    collector.hears("c:1|c");
    assert_eq!(receive(&heard), "c:1|c");
    collector.end();
}

/// Lines over TCP go on as datagrams of whole lines that fit a frame, and to TCP as lines; one server that is away takes
/// nothing from the others.
#[test]
fn streams_are_sent_on_in_pieces_and_a_server_that_is_away_is_told() {
    let one = local();
    let stream = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody else is at that address.
    let away = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let text = format!(
        "flush_interval = 86400\nconsole = 'json'\n[[listen]]\ntcp = '127.0.0.1:0'\n[[repeat]]\ntcp = '{away}'\n[[repeat]]\nudp = '{}'
         [[repeat]]\ntcp = '{}'",
        one.local_addr(),
        stream.local_addr().unwrap()
    );
    let file = path("pieces.toml");
    fs::write(&file, text).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--config", file.to_str().unwrap()]).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let listens: SocketAddr = process
        .wait_for_line("listening on tcp ", SOON)
        .trim_start_matches("listening on tcp ")
        .parse()
        .unwrap();
    let long = format!("{}:1|c\n", "l".repeat(2000));
    let lines = format!("{}{long}{}", "a:1|c\n".repeat(500), "b:1|c\n".repeat(500));
    TcpStream::connect(listens).unwrap().write_all(lines.as_bytes()).unwrap();
    let mut heard = String::new();
    while heard.len() + 1 < lines.len() {
        let datagram = receive(&one);
        assert!(datagram.len() <= 1432 || datagram.starts_with('l'), "{}", datagram.len());
        heard += datagram.trim_end();
        heard.push('\n');
    }
    assert_eq!(heard, lines);
    let (connection, _) = stream.accept().unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut reader = BufReader::new(connection).lines();
    for line in lines.lines() {
        assert_eq!(reader.next().unwrap().unwrap(), line);
    }
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    let warning = process.stderr();
    assert!(warning.contains(&format!("warning: sending on: tcp {away}: ")), "{warning}");
    let told: Value = serde_json::from_str(process.stdout().lines().last().unwrap()).unwrap();
    let [lost, ..] = told["repeater"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert!(lost["sent"] == 0 && lost["dropped"].as_u64().unwrap() > 0, "{told}");
    fs::remove_file(file).unwrap();
}

#[test]
fn flushes_are_appended_to_a_file() {
    let file = path("flushes.json");
    fs::write(&file, "before\n").unwrap();
    for _ in 0..2 {
        let collector = start(&["--file", file.to_str().unwrap(), "--flush-interval", "86400"]);
        collector.hears("c:1|c");
        collector.end();
    }
    let text = fs::read_to_string(&file).unwrap();
    let [before, one, two] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(before, "before");
    for line in [one, two] {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["counters"]["c"], 1);
    }
    fs::remove_file(&file).unwrap();
}

/// At the start, and when it is read again: then the old one is written to.
#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let wrong =
        "/no-such-folder/file cannot be opened: No such file or directory (os error 2); it takes a file";
    let listen = "flush_interval = '50ms'\nconsole = 'none'\n[[listen]]\nudp = '127.0.0.1:0'\n";
    let (file, config) = (path("kept.json"), path("file.toml"));
    fs::write(&config, format!("{listen}[file]\npath = '/no-such-folder/file'\n")).unwrap();
    let configured = config.to_str().unwrap();
    for (flags, by) in [
        (&["--listen", "127.0.0.1:0", "--file", "/no-such-folder/file"][..], "--file".to_owned()),
        (&["--config", configured], format!("{configured}: file.path")),
    ] {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(flags);
        let mut process = Process::spawn(command);
        assert_eq!(process.wait(SOON).code(), Some(2));
        let said = process.stderr();
        assert!(said.starts_with(&format!("error: {by}: {wrong}")) && said.lines().count() == 1, "{said}");
    }
    fs::write(&config, format!("{listen}[file]\npath = '{}'\n", file.display())).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--config", configured]);
    let mut process = Process::spawn(command);
    process.wait_for_line("listening on ", SOON);
    fs::write(&config, format!("{listen}[file]\npath = '/no-such-folder/file'\n")).unwrap();
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let named = format!("warning: {configured}: file.path: {wrong}");
    assert!(warning.starts_with(&named) && warning.ends_with("; the old configuration stays"), "{warning}");
    let before = fs::read_to_string(&file).unwrap().lines().count();
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    // The last flush at least.
    assert!(fs::read_to_string(&file).unwrap().lines().count() > before);
    fs::remove_file(file).unwrap();
    fs::remove_file(config).unwrap();
}

/// Neither at the start nor later is anybody waited for who would read a pipe.
#[test]
fn a_pipe_takes_flushes_while_somebody_reads_it() {
    let folder = Scratch::new();
    let (pipe, config) = (folder.path("pipe"), folder.path("pipe.toml"));
    let mut make = command("mkfifo");
    make.arg(&pipe);
    Process::spawn(make).succeed(SOON);
    let run = |flags: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(flags);
        Process::spawn(command)
    };
    let wrong = format!(
        "{} cannot be opened: it is a pipe that nobody reads; it takes a file that can be written",
        pipe.display()
    );
    let mut process = run(&["--listen", "127.0.0.1:0", "--file", pipe.to_str().unwrap()]);
    assert_eq!(process.wait(SOON).code(), Some(2));
    let said = process.stderr();
    assert!(said.starts_with(&format!("error: --file: {wrong}")) && said.lines().count() == 1, "{said}");
    let listen = "flush_interval = '50ms'\nconsole = 'none'\n[[listen]]\nudp = '127.0.0.1:0'\n";
    fs::write(&config, listen).unwrap();
    let mut process = run(&["--config", config.to_str().unwrap()]);
    process.wait_for_line("listening on ", SOON);
    fs::write(&config, format!("{listen}[file]\npath = '{}'\n", pipe.display())).unwrap();
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    assert!(warning.contains(&wrong) && warning.ends_with("; the old configuration stays"), "{warning}");
    // It has an end to write to itself, so that it reads on when a flush ends.
    let mut reader = command("sh");
    reader
        .args(["-c", "exec 0<>\"$0\"; echo reading; exec cat", pipe.to_str().unwrap()])
        .stdout(Stdio::piped());
    let mut reader = Process::spawn(reader);
    reader.wait_for_output("reading", SOON);
    process.signal(libc::SIGHUP);
    process.wait_for_line("the configuration was read again", SOON);
    let flush = reader.wait_for_output("interval", SOON);
    assert_eq!(serde_json::from_str::<Value>(&flush).unwrap()["interval"], 0.05);
    drop(reader);
    process.wait_for_line(
        &format!("a flush was not written to {}: it is a pipe that nobody reads", pipe.display()),
        SOON,
    );
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
}

#[test]
fn a_folder_is_no_file_and_standard_output_is_one() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let run = |file: &str| {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["--listen", "127.0.0.1:0", "--flush-interval", "50ms", "--file", file]);
        Process::spawn({
            command.stdout(Stdio::piped());
            command
        })
    };
    let mut process = run(folder);
    assert_eq!(process.wait(SOON).code(), Some(2));
    let said = process.stderr();
    assert!(said.starts_with(&format!("error: --file: {folder} cannot be opened: Is a directory")), "{said}");
    let mut process = run("/dev/stdout");
    process.wait_for_output("\"interval\":0.05", SOON);
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_an_error() {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.arg("--help").stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let mut process = Process::spawn(command);
    assert_eq!(process.wait(SOON).code(), Some(1));
    assert!(process.stderr().starts_with("error: standard output: "), "{}", process.stderr());
}

/// A disk that is full, as this file is.
#[cfg(target_os = "linux")]
#[test]
fn what_a_file_does_not_take_is_counted() {
    let mut collector = start(&["--file", "/dev/full", "--flush-interval", "50ms"]);
    let warning = collector.process.wait_for_line("warning: ", SOON);
    assert!(warning.starts_with("warning: a flush was not written to /dev/full: No space left"), "{warning}");
    collector.process.wait_for_output("\"flushes_not_written\":1", SOON);
    collector.end();
}

/// A file that may not grow, as on a disk that fills: it ends with a whole flush.
#[cfg(target_os = "linux")]
#[test]
fn a_flush_is_written_whole_or_not_at_all() {
    let file = path("filling.json");
    let mut command = command("sh");
    let limited = "ulimit -f 4; exec \"$@\"";
    command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_nakcast-statsd"), "--listen", "127.0.0.1:0"]);
    command.args(["--file", file.to_str().unwrap(), "--flush-interval", "50ms"]);
    let mut process = Process::spawn(command);
    let warning = process.wait_for_line("warning: a flush was not written to ", SOON);
    assert!(warning.contains("File too large"), "{warning}");
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() > 1, "{text}");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    fs::remove_file(&file).unwrap();
}

/// A start that fails leaves no file behind.
#[test]
fn a_file_is_made_last() {
    let file = path("never.json");
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "192.0.2.1:1", "--file", file.to_str().unwrap()]);
    let mut process = Process::spawn(command);
    assert_eq!(process.wait(SOON).code(), Some(2));
    assert!(!file.exists());
}

#[test]
fn flushes_are_published() {
    let group = format!("239.255.78.10:{}", 20_000 + std::process::id() % 40_000);
    let mut subscriber =
        Subscriber::builder(group.parse().unwrap()).topic("statsd").interface("lo").open().unwrap();
    let collector = start(&["--publish", &group, "--interface", "lo", "--flush-interval", "100ms"]);
    collector.hears("c:3|c");
    loop {
        match subscriber.recv_timeout(SOON).unwrap() {
            Some(Event::Message(message)) => {
                assert_eq!(message.topic(), "statsd");
                let flush: Value = serde_json::from_slice(message.payload()).unwrap();
                if flush["counters"]["c"] == 3 {
                    break;
                }
            }
            Some(_) => {}
            None => panic!("nothing came"),
        }
    }
    drop(subscriber);
    let mut process = collector.process;
    process.signal(libc::SIGTERM);
    process.wait(SOON);
}

fn snapshot(lines: &str) -> Snapshot {
    let bins = [Bins { metric: String::new(), bounds: vec![5.5, f64::INFINITY] }];
    let told = ["count", "upper_percent", "histogram"].map(String::from);
    let plan = Plan::new(&[90.0], &bins, &told).unwrap();
    let mut shard = Shard::new(Limits::default(), Idle::default());
    shard.datagram(lines.as_bytes(), false, Dialect::Statsd);
    let mut snapshot = Snapshot::new(vec![shard.take()], &Arc::new(plan), 1_234_567_890, 10.0);
    let listener = "unix /a b,c=d".to_owned();
    let heard = Heard { listener, received: 5, truncated: 0, kernel_drops: None, refused: 1 };
    snapshot.own = Own { heard: vec![heard], ..Own::default() };
    snapshot
}

#[test]
fn lines_of_influx_are_escaped_and_have_a_kind() {
    let text = "c:20|c|#b:2,a:x y=z,n:1\ng:1e21|g\nt:5:6|ms|#env:p\ns:a|s\nhuge:1e308|c\nhuge:1e308|c\ne=f:1|g|#metric_type:mine,k\\:v\\\nbad";
    let lines = String::from_utf8(influx::lines(&snapshot(text), "me")).unwrap();
    let expected = [
        "c,a=x_y\\=z,b=2,metric_type=counter,n=1 count=20,rate=2 1234567890",
        "e=f,k=v\\_,metric_type=gauge value=1 1234567890",
        "g,metric_type=gauge value=1e+21 1234567890",
        "t,env=p,metric_type=timer upper_90=6,count=2,histogram.bin_5_5=1,histogram.bin_inf=1 1234567890",
        "s,metric_type=set count=1 1234567890",
        "me_listeners,listener=unix\\ /a\\ b\\,c\\=d received=5,truncated=0,refused=1 1234567890",
    ];
    for expected in expected {
        assert!(lines.lines().any(|line| line == expected), "{expected:?} is not in\n{lines}");
    }
    assert!(
        lines
            .lines()
            .any(|line| line.starts_with("me bad_lines_seen=1,packets_received=1,metrics_received=8,"))
    );
    assert!(!lines.contains("huge") && !lines.contains("inf,") && !lines.contains("NaN"), "{lines}");
}

/// Reads one request whole, and answers it as its body is to be.
fn answer(server: &TcpListener, status: impl FnOnce(&str) -> &'static str) -> (String, String) {
    let (mut stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let (status, why) = (status(&body), "partial write: points beyond retention");
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}", why.len())
        .unwrap();
    (head, body)
}

#[test]
fn a_flush_is_posted_again_unless_it_is_refused_for_what_is_in_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "flush_interval = 3\nconsole = 'none'\n[[listen]]\nudp = '127.0.0.1:0'
         [influx]\nurl = 'http://{}/api/v2/write?org=o&bucket=b'\ntoken = 'secret'",
        server.local_addr().unwrap()
    );
    let file = path("influx.toml");
    fs::write(&file, text).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--config", file.to_str().unwrap()]).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let listens: SocketAddr =
        process.wait_for_line("listening on ", SOON).trim_start_matches("listening on ").parse().unwrap();
    local().as_socket().send_to(b"c:3|c", listens).unwrap();
    let (good, bad) = ("204 No Content", "400 Bad Request");
    // An interval may have ended before it came.
    let came = |body: &str| body.contains("c,metric_type=counter ");
    let (head, first) = loop {
        let request = answer(&server, |body| if came(body) { "503 Service Unavailable" } else { good });
        if came(&request.1) {
            break request;
        }
    };
    assert!(head.starts_with("POST /api/v2/write?org=o&bucket=b&precision=s HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nauthorization: token secret\r\n"), "{head}");
    assert!(first.contains("c,metric_type=counter count=3,rate=1 "), "{first}");
    let (_, again) = answer(&server, |_| good);
    assert_eq!(first, again);
    let (_, next) = answer(&server, |_| bad);
    assert!(next.contains("c,metric_type=counter count=0,rate=0 "), "{next}");
    let (_, after) = answer(&server, |_| good);
    assert_ne!(after, next);
    // As many as there are intervals until it ends, and the last flush.
    let (to_test, bodies) = mpsc::channel();
    thread::spawn(move || while to_test.send(answer(&server, |_| good).1).is_ok() {});
    process.wait_for_line("it answers 400 Bad Request: partial write", SOON);
    local().as_socket().send_to(b"last:1|c", listens).unwrap();
    process.signal(libc::SIGTERM);
    while !bodies.recv_timeout(SOON).unwrap().contains("last,metric_type=counter count=1,") {}
    process.succeed(SOON);
    fs::remove_file(file).unwrap();
}

#[test]
fn counters_are_estimated_by_what_was_lost() {
    let heard = |received, kernel_drops| Heard { received, kernel_drops, ..Heard::default() };
    for (listeners, expected) in [
        (vec![], Some(0.0)),
        (vec![heard(0, Some(0))], Some(0.0)),
        (vec![heard(30, Some(10)), heard(10, Some(0))], Some(0.2)),
        // Nobody knows, or there is nothing to go by.
        (vec![heard(10, Some(1)), heard(10, None)], None),
        (vec![heard(0, Some(5))], None),
    ] {
        assert_eq!(loss(&listeners), expected, "{listeners:?}");
    }
    let mut snapshot = snapshot("c:8|c|#k:v");
    let text = |snapshot: &Snapshot| console::text(snapshot, Form::Pretty);
    assert!(text(&snapshot).contains("  counter  c;k=v  8  0.8/s\n"));
    snapshot.own.loss = Some(0.2);
    assert!(text(&snapshot).contains("  counter  c;k=v  8  0.8/s  about 10 sent\n"));
    let lines = String::from_utf8(influx::lines(&snapshot, "statsd")).unwrap();
    assert!(lines.contains(" count=8,rate=0.8,estimated=10 ") && lines.contains(",loss=0.2 "), "{lines}");
    for (legacy, path) in [(true, "stats_estimated.c;k=v"), (false, "stats.counters.c.estimated;k=v")] {
        let names = Names { legacy, ..Names::default() };
        let text = String::from_utf8(names.payload(&snapshot, Protocol::Text)).unwrap();
        assert!(text.lines().any(|line| line == format!("{path} 10 1234567890")), "{text}");
        assert!(text.contains("\nstats.statsd.loss 0.2 "), "{text}");
    }
}
