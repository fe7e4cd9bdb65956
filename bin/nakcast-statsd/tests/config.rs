//! Configurations as files of a running collector: which is which, flags over them, and SIGHUP.

mod shared;
#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast::net::{Options, Socket, resolve};
use serde_json::Value;
use shared::{SOON, ask_on, until};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use support::{Process, Scratch, command};

/// A file of this test's own, which goes with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = File(folder.join(format!("{}-{name}", std::process::id())));
        file.write(text);
        file
    }

    /// All at once: who watches it sees the old text, or the new one.
    fn write(&self, text: &str) {
        let mut new = self.0.clone().into_os_string();
        new.push(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.0).unwrap();
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn start(flags: &[&str]) -> Process {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(flags).stdout(Stdio::piped());
    Process::spawn(command)
}

fn listens(process: &mut Process) -> SocketAddr {
    let line = process.wait_for_line("listening on ", SOON);
    line.trim_start_matches("listening on ").parse().unwrap()
}

fn send(to: SocketAddr, datagram: &str) {
    let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
    let socket = Socket::unicast(&local, 0, &Options::default()).unwrap();
    socket.as_socket().send_to(datagram.as_bytes(), to).unwrap();
}

/// Tells it to end, which must be a success, and returns its last flush.
fn end(mut process: Process) -> Value {
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    let flushes = process.stdout();
    serde_json::from_str(flushes.lines().last().expect("a flush")).unwrap()
}

/// A port that was free a moment ago, and still is: nobody else is at that address.
fn free() -> SocketAddr {
    Socket::listen("127.0.0.2:0".parse().unwrap(), &Options::default()).unwrap().local_addr()
}

#[test]
fn its_own_configuration_is_followed_and_flags_win() {
    let file = File::new(
        "own.toml",
        "flush_interval = 3600\nconsole = 'json'\npercentiles = [50]\nlimits.series = 2\n[[listen]]\nudp = '127.0.0.1:0'\ndialect = 'datadog'
         [[histogram]]\nname = 't'\nbins = [inf]",
    );
    let mut process = start(&["--config", &file.name(), "--percentile", "75"]);
    send(listens(&mut process), "g:5|g\ng:-7|g\nt:1:2:3:4|ms\nx:1|c");
    let told = end(process);
    assert_eq!((&told["interval"], &told["gauges"]["g"]), (&3600.into(), &(-7).into()));
    let timer = &told["timer_data"]["t"];
    assert_eq!((&timer["upper_75"], &timer["histogram"]["bin_inf"]), (&3.into(), &4.into()), "{told}");
    assert_eq!(timer["upper_50"], Value::Null);
    assert_eq!(told["statsd"]["excess_series"], 1);
}

#[test]
fn the_originals_configuration_is_followed_and_what_is_not_done_is_said() {
    let text = "{ port: 1, address: '127.0.0.1', mgmt_address: '127.0.0.1', mgmt_port: 1, flushInterval: 3600000, backends: ['./backends/console'],\n // yes\n colour: 1 }";
    let file = File::new("original.js", text);
    let mut process = start(&["--config", &file.name(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let warning = process.wait_for_line("warning: ", SOON);
    let expected =
        format!("warning: {}: colour: nobody knows this key, and it is not looked at", file.name());
    assert_eq!(warning, expected);
    send(listens(&mut process), "c:7|c");
    let told = end(process);
    assert_eq!((&told["interval"], &told["counters"]["c"]), (&3600.into(), &7.into()));
}

#[test]
fn it_is_read_again_when_told_to() {
    let second = free();
    let before = "flush_interval = 3600\nconsole = 'json'\n[[listen]]\nudp = '127.0.0.1:0'\n";
    let file = File::new("again.toml", before);
    let mut process = start(&["--config", &file.name()]);
    let first = listens(&mut process);
    send(first, "g:5|g\nt:1:2|ms");
    file.write("flush_interval = 3600\nconsole = 'json'\npercentile = [50]\n");
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let named = format!("warning: {}:3: percentile: unknown field", file.name());
    assert!(warning.starts_with(&named) && warning.ends_with("; the old configuration stays"), "{warning}");
    // Good, but not to be had.
    let taken = {
        let local = resolve(Some("127.0.0.1"), [127, 0, 0, 1].into()).unwrap();
        Socket::unicast(&local, 0, &Options::default()).unwrap()
    };
    file.write(&format!("[[listen]]\nudp = '{}'\n", taken.local_addr()));
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let named = format!("warning: {}: listen[0].udp: cannot bind {}", file.name(), taken.local_addr());
    assert!(warning.starts_with(&named) && warning.ends_with("; the old configuration stays"), "{warning}");

    // One that could be had is not listened to either.
    file.write(&format!("[[listen]]\nudp = '{second}'\n[[listen]]\ntcp = '192.0.2.1:1'\n"));
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let named = format!("warning: {}: listen[1].tcp: tcp 192.0.2.1:1 cannot be listened to", file.name());
    assert!(warning.starts_with(&named) && warning.ends_with("; the old configuration stays"), "{warning}");
    drop(Socket::listen(second, &Options::default()).unwrap());

    file.write(&format!(
        "{before}dialect = 'datadog'\n[[listen]]\nudp = '{second}'\n[[histogram]]\nname = ''\nbins = [inf]"
    ));
    process.signal(libc::SIGHUP);
    assert_eq!(listens(&mut process), second);
    process.wait_for_line("the configuration was read again", SOON);
    send(first, "g:-7|g");
    send(second, "c:1|c");
    // What the one that goes has heard is not lost.
    let without =
        format!("console = 'json'\n[[listen]]\nudp = '{second}'\n[[histogram]]\nname = ''\nbins = [inf]\n");
    file.write(&format!("flush_interval = 3600\n{without}"));
    process.signal(libc::SIGHUP);
    process.wait_for_line("the configuration was read again", SOON);
    // Another interval ends the one that is going on.
    file.write(&format!("flush_interval = 7200\n{without}"));
    process.signal(libc::SIGHUP);
    let flush: Value = serde_json::from_str(&process.wait_for_output("interval", SOON)).unwrap();
    process.wait_for_line("the configuration was read again", SOON);
    assert_eq!((&flush["interval"], &flush["gauges"]["g"]), (&3600.into(), &(-7).into()), "{flush}");
    assert_eq!(flush["timer_data"]["t"]["histogram"]["bin_inf"], 2);
    assert_eq!(flush["listeners"][1]["listener"], first.to_string());
    assert_eq!(flush["listeners"][1]["received"], 2);
    send(second, "c:1|c");
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    // What is opened is said once all of it is: not of what was not adopted.
    let said = process.stderr();
    assert_eq!(said.matches("listening on ").count(), 2, "{said}");
    let told: Value = serde_json::from_str(process.stdout().lines().last().unwrap()).unwrap();
    assert_eq!(told["interval"], 7200);
    assert_eq!(told["listeners"].as_array().unwrap().len(), 1);
    // Which of the intervals had the first is not known.
    let counts = [&flush, &told].map(|told| told["counters"]["c"].as_u64().unwrap_or(0));
    assert_eq!(counts.iter().sum::<u64>(), 2);
}

#[test]
fn what_takes_a_restart_is_said() {
    let file = File::new("restart.toml", "[[listen]]\nudp = '127.0.0.1:0'\n");
    let mut process = start(&["--config", &file.name(), "--format", "json"]);
    listens(&mut process);
    file.write("threads = 2\nreceive_buffer = '64k'\n[[listen]]\nudp = '127.0.0.1:0'\n");
    process.signal(libc::SIGHUP);
    for warning in ["threads: another number takes a restart", "receive_buffer: another size takes a restart"]
    {
        process.wait_for_line(&format!("warning: {warning}"), SOON);
    }
    process.wait_for_line("the configuration was read again", SOON);
    end(process);
}

#[test]
fn a_change_is_seen_by_whoever_watches() {
    let text = "watch = true\nflush_interval = '50ms'\nconsole = 'json'\n[[listen]]\nudp = '127.0.0.1:0'\n";
    let file = File::new("watch.toml", text);
    let mut process = start(&["--config", &file.name()]);
    send(listens(&mut process), "t:1|ms");
    process.wait_for_output("upper_90", SOON);
    file.write(&format!("percentiles = [50]\nidle.delete_timers = true\n{text}"));
    process.wait_for_line("the configuration was read again", SOON);
    process.wait_for_output("\"timer_data\":{}", SOON);
    end(process);
}

/// One that is being written may be half of it: it is read when it was left alone for a second.
#[test]
fn a_file_that_is_being_written_is_not_read() {
    let whole = "watch = true\nflush_interval = '50ms'\nconsole = 'json'\n[[listen]]\nudp = '127.0.0.1:0'\n";
    let file = File::new("growing.toml", whole);
    let mut process = start(&["--config", &file.name()]);
    listens(&mut process);
    // Again, should this test or the collector be kept waiting for as long: then it is rightly read.
    until("flushes without a reading while the file goes on changing", || {
        let before = process.stderr().matches("the old configuration stays").count();
        for _ in 0..4 {
            file.write("watch = tr");
            // It is looked at behind each flush.
            process.wait_for_output("interval", SOON);
        }
        file.write(whole);
        process.wait_for_line("the configuration was read again", SOON);
        let after = process.stderr().matches("the old configuration stays").count();
        (before == after).then_some(())
    });
    end(process);
}

/// What stands behind the dot tells, whatever stands before it.
#[test]
fn a_file_may_have_nothing_before_the_dot() {
    let folder = Scratch::new();
    for (name, text, says) in [
        (".toml", "percentile = 90", ":1: percentile: unknown field"),
        (".js", "{port: 65536}", ": port: must be a port, 1 to 65535"),
        (".json", "{\"port\": 65536}", ": port: must be a port, 1 to 65535"),
        ("toml", "", ": its name must end in .toml, or in .js or .json"),
    ] {
        let file = folder.path(name);
        fs::write(&file, text).unwrap();
        let mut process = start(&["--config", file.to_str().unwrap()]);
        assert_eq!(process.wait(SOON).code(), Some(2), "{name}");
        let (said, expected) = (process.stderr(), format!("error: {}{says}", file.display()));
        assert!(said.starts_with(&expected), "{said:?} does not begin with {expected:?}");
    }
}

#[test]
fn the_example_is_printed() {
    let mut process = start(&["--example-config"]);
    process.succeed(SOON);
    assert_eq!(process.stdout(), nakcast_statsd::config::own::example());
}

#[test]
fn a_wrong_file_is_one_line_and_exit_code_2() {
    let taken = Socket::listen("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap();
    let taken = taken.local_addr();
    for (name, text, says) in [
        ("wrong.toml", "\npercentile = 90".to_owned(), ":2: percentile: unknown field".to_owned()),
        ("wrong.js", "{\nport: process.env.PORT}".to_owned(), ":2: expected".to_owned()),
        ("wrong.json", "{\"port\": 65536}".to_owned(), ": port: must be a port, 1 to 65535".to_owned()),
        ("wrong.yaml", String::new(), ": its name must end in .toml, or in .js or .json".to_owned()),
        (
            "taken.toml",
            format!("[[listen]]\nudp = '{taken}'"),
            format!(": listen[0].udp: cannot bind {taken}"),
        ),
        (
            "taken.js",
            format!("{{address: '127.0.0.1', port: {}}}", taken.port()),
            format!(": address, port: cannot bind {taken}"),
        ),
        (
            "no-such.toml",
            "[[listen]]\ngroup = '239.1.2.3:4'\ninterface = 'no-such'".to_owned(),
            ": listen[0].group, interface: ".to_owned(),
        ),
        (
            "halfway.toml",
            "prometheus = '127.0.0.1:0'\n[[listen]]\nudp = '127.0.0.1:0'\n[[listen]]\ntcp = '192.0.2.1:1'\n"
                .to_owned(),
            ": listen[1].tcp: tcp 192.0.2.1:1 cannot be listened to".to_owned(),
        ),
        (
            "mapping.toml",
            "prometheus = '127.0.0.1:0'\nprometheus_mapping = '/no-such-file'".to_owned(),
            ": prometheus_mapping: mapping rules for Prometheus cannot be read from /no-such-file: No such"
                .to_owned(),
        ),
        (
            "alone.toml",
            "prometheus_mapping = '/no-such-file'".to_owned(),
            ": prometheus_mapping: mapping rules go with prometheus".to_owned(),
        ),
        (
            "publish.toml",
            "[publish]\ngroup = '239.1.2.3:4'\ninterface = 'no-such'".to_owned(),
            ": publish.group, topic, interface: no interface is called \"no-such\"".to_owned(),
        ),
        (
            "repeat.toml",
            "[[repeat]]\ntcp = 'a:1'\n[[repeat]]\nudp = '239.1.2.3:4'\ninterface = 'no-such'".to_owned(),
            ": repeat[1].udp, interface: udp 239.1.2.3:4: no interface is called \"no-such\"".to_owned(),
        ),
        (
            "servers.js",
            format!(
                "{{servers: [{{server: './servers/tcp', address: '127.0.0.2', port: {}}}, {{address: '127.0.0.1', port: {}}}]}}",
                free().port(),
                taken.port()
            ),
            format!(": servers[1]: address, port: cannot bind {taken}"),
        ),
    ] {
        let file = File::new(name, &text);
        // What could be opened before is not said.
        let mut process = start(&["--config", &file.name()]);
        assert_eq!(process.wait(SOON).code(), Some(2), "{name}");
        let said = process.stderr();
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
        let expected = format!("error: {}{says}", file.name());
        assert!(said.starts_with(&expected), "{name}: {said:?} does not begin with {expected:?}");
        drop(file);
        let mut process = start(&["--config", &format!("no-{name}")]);
        assert_eq!(process.wait(SOON).code(), Some(2), "{name}");
        assert!(process.stderr().starts_with(&format!("error: no-{name}: ")), "{name}");
    }
}

#[test]
fn what_is_said_is_one_line_whatever_is_named() {
    let file = File::new("two\n\u{1b}[31mlines.js", "{'a\\nb': 1, port: 'x'}");
    let shown = file.name().replace('\n', "\\n").replace('\u{1b}', "\\u{1b}");
    let mut process = start(&["--config", &file.name()]);
    assert_eq!(process.wait(SOON).code(), Some(2));
    assert_eq!(process.stderr(), format!("error: {shown}: port: must be a port, 1 to 65535, not \"x\"\n"));
    let own = File::new("key.toml", "\"a\\nb\" = 1");
    let mut process = start(&["--config", &own.name()]);
    assert_eq!(process.wait(SOON).code(), Some(2));
    let said = process.stderr();
    assert!(said.starts_with(&format!("error: {}:1: a\\nb: unknown field ", own.name())), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// What a server at this address answers to a line, until it closes.
fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_prometheus(address: SocketAddr) -> bool {
    ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .starts_with("HTTP/1.1 200 OK\r\n")
}

fn is_admin(address: SocketAddr) -> bool {
    ask(address, "help\nquit\n").starts_with("Commands: ")
}

#[test]
fn ports_are_swapped() {
    // All are held at one time, so that they are three; nobody else is at that address, so that they stay free.
    let held = [(); 3].map(|()| TcpListener::bind("127.0.0.3:0").unwrap());
    let [a, b, c] = held.map(|held| held.local_addr().unwrap());
    let with = |prometheus, admin, tcp| {
        format!(
            "flush_interval = 3600\nconsole = 'json'\nprometheus = '{prometheus}'\nadmin = '{admin}'\n[[listen]]\ntcp = '{tcp}'\n"
        )
    };
    let file = File::new("swapped.toml", &with(a, b, c));
    let mut process = start(&["--config", &file.name()]);
    process.wait_for_line("admin port at ", SOON);
    for (prometheus, admin, tcp) in [(b, c, a), (a, b, c), (a, c, b)] {
        file.write(&with(prometheus, admin, tcp));
        process.signal(libc::SIGHUP);
        process.wait_for_line("the configuration was read again", SOON);
        assert!(is_prometheus(prometheus) && is_admin(admin));
        ask_nothing(tcp, "c:1|c\n");
    }
    // What cannot be had leaves all as it was: connections, too.
    let mut kept = TcpStream::connect(a).unwrap();
    let mut lines = TcpStream::connect(b).unwrap();
    lines.set_read_timeout(Some(SOON)).unwrap();
    lines.write_all(b"d:1|c\nd:").unwrap();
    let tasks = format!("/proc/{}/task", process.id());
    let threads = || fs::read_dir(&tasks).map_or(0, Iterator::count);
    let before = threads();
    let servers = "graphite.server = '127.0.0.1:1'\ninflux.url = 'http://127.0.0.1:1/'\n";
    let repeat = "[[repeat]]\nudp = '127.0.0.1:1'\n";
    for (wrong, why) in [
        ("[[listen]]\ntcp = '192.0.2.1:1'\n", "listen[1].tcp: tcp 192.0.2.1:1 cannot be listened to"),
        ("[file]\npath = '/no-such-folder/file'\n", "file.path: /no-such-folder/file cannot be opened"),
    ] {
        file.write(&(servers.to_owned() + &with(c, b, a) + wrong + repeat));
        process.signal(libc::SIGHUP);
        let warning = process.wait_for_line("warning: ", SOON);
        assert!(warning.contains(why) && warning.ends_with("; the old configuration stays"), "{warning}");
        ask_on(&mut kept, "/health", "up\n");
        assert!(is_prometheus(a) && is_admin(c));
        ask_nothing(b, "c:1|c\n");
    }
    // One that has ended is listed for a moment longer, perhaps before as well.
    until("the end of threads that were begun", || (threads() <= before).then_some(()));
    lines.write_all(b"2|c\n").unwrap();
    lines.shutdown(Shutdown::Write).unwrap();
    assert_eq!(lines.read(&mut [0]).unwrap(), 0);
    let told = ask(c, "stats\nquit\n");
    assert!(told.contains(&format!("tcp {b}")), "{told}");
    let told = end(process);
    assert_eq!((&told["counters"]["c"], &told["counters"]["d"]), (&5.into(), &3.into()), "{told}");
    // Those that are gone are told of once more, and each with its own.
    let listeners = told["listeners"].as_array().unwrap().iter().map(|one| one["listener"].as_str().unwrap());
    let mut expected = [a, b, c].map(|address| format!("tcp {address}"));
    expected.sort_by_key(|name| listeners.clone().position(|listener| listener == name));
    assert_eq!(listeners.collect::<Vec<_>>(), expected);
}

#[test]
fn a_port_that_is_had_already_is_named() {
    let at = free();
    let every = SocketAddr::new([0, 0, 0, 0].into(), at.port());
    let with = |prometheus, admin| {
        format!(
            "console = 'json'\nprometheus = '{prometheus}'\nadmin = '{admin}'\n[[listen]]\nudp = '127.0.0.1:0'\n"
        )
    };
    let file = File::new("port.toml", &with(at, at));
    let mut process = start(&["--config", &file.name()]);
    assert_eq!(process.wait(SOON).code(), Some(2));
    let name = file.name();
    let expected = format!(
        "error: {name}: admin: {at} is asked for by {name}: prometheus, too: each takes one of its own\n"
    );
    assert_eq!(process.stderr(), expected);
    let any = SocketAddr::new(at.ip(), 0);
    file.write(&with(at, any));
    let mut process = start(&["--config", &name]);
    process.wait_for_line("admin port at ", SOON);
    file.write(&with(every, any));
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let named = format!("warning: {name}: prometheus: {every} cannot be listened to: ");
    let own = format!(
        "; the collector has {at} itself: to have both takes another port, to change from it a restart; the old configuration stays"
    );
    assert!(warning.starts_with(&named) && warning.ends_with(&own), "{warning}");
    assert!(is_prometheus(at));
    end(process);
}

/// Says a line to who does not answer, and waits until it was heard: until the other side has closed, too.
fn ask_nothing(address: SocketAddr, line: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_socket_of_the_file_system_has_its_mode_changed() {
    let socket = File::new("changed.socket", "");
    fs::remove_file(&socket.0).unwrap();
    let with = |key: &str| {
        let path = socket.name();
        format!("flush_interval = 3600\nconsole = 'json'\n[[listen]]\n{}\n", key.replace("PATH", &path))
    };
    let mode = || fs::metadata(&socket.0).unwrap().permissions().mode() & 0o7777;
    let send = |line: &str| UnixDatagram::unbound().unwrap().send_to(line.as_bytes(), &socket.0).unwrap();
    let file = File::new("changed.toml", &with("unix = 'PATH'\nmode = '0640'"));
    let mut process = start(&["--config", &file.name()]);
    process.wait_for_line("listening on unix ", SOON);
    assert_eq!(mode(), 0o640);
    send("c:1|c");
    file.write(&with("unix = 'PATH'\nmode = '0602'"));
    process.signal(libc::SIGHUP);
    process.wait_for_line("the configuration was read again", SOON);
    assert_eq!(mode(), 0o602);
    send("c:1|c");
    file.write(&with("unix = 'PATH'"));
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let named = format!("warning: {}: listen[0].unix: {}: to leave", file.name(), socket.name());
    assert!(warning.starts_with(&named) && warning.ends_with("takes a restart"), "{warning}");
    process.wait_for_line("the configuration was read again", SOON);
    assert_eq!(mode(), 0o602);
    send("c:1|c");
    file.write(&with("unix_stream = 'PATH'\nmode = '0600'"));
    process.signal(libc::SIGHUP);
    let warning = process.wait_for_line("warning: ", SOON);
    let (file, socket_) = (file.name(), socket.name());
    let named = format!(
        "warning: {file}: listen[0].unix_stream: unix-stream {socket_} cannot be listened to: the collector has unix {socket_}, and "
    );
    assert!(warning.starts_with(&named) && warning.ends_with("; the old configuration stays"), "{warning}");
    send("c:1|c");
    let told = end(process);
    assert_eq!(told["counters"]["c"], 4, "{told}");
    assert!(!socket.0.exists());
}
