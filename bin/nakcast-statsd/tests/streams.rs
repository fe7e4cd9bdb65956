//! Listeners beside UDP: TCP, and sockets of the file system. A bad line never takes a good one, and nothing grows for ever.

mod shared;
#[path = "../../../tests/support/mod.rs"]
mod support;

use nakcast_statsd::stream::{Bounds, Conversation, Streams};
use serde_json::Value;
use shared::{SOON, is_open, until};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Process, command};

fn start(flags: &[&str]) -> Process {
    let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
    command.args(["--format", "json"]).args(flags).stdout(Stdio::piped());
    Process::spawn(command)
}

fn listens(process: &mut Process, before: &str) -> String {
    let line = process.wait_for_line("listening on ", SOON);
    let name = line.trim_start_matches("listening on ");
    name.strip_prefix(before).unwrap_or_else(|| panic!("{name} is no {before}")).to_owned()
}

/// Waits until a flush tells what is looked for: what is on its way cannot be told to end.
fn told(process: &mut Process, text: &str) -> Value {
    serde_json::from_str(&process.wait_for_output(text, SOON)).unwrap()
}

fn end(mut process: Process) -> Value {
    process.signal(libc::SIGTERM);
    process.succeed(SOON);
    let flushes = process.stdout();
    serde_json::from_str(flushes.lines().last().expect("a flush")).unwrap()
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("nakcast-statsd-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn config(name: &str, text: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.toml", std::process::id()));
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn lines_over_tcp_are_put_together() {
    let mut process = start(&["--flush-interval", "86400", "--tcp", "127.0.0.1:0"]);
    let address: SocketAddr = listens(&mut process, "tcp ").parse().unwrap();
    let mut one = TcpStream::connect(address).unwrap();
    let mut other = TcpStream::connect(address).unwrap();
    // A line comes in pieces, between which another connection's come.
    one.set_nodelay(true).unwrap();
    for piece in ["c:", "1|", "c\nc:1|c\nbad\nc:10", "0|c", "\n", "\n\r\n"] {
        one.write_all(piece.as_bytes()).unwrap();
        other.write_all(b"d:1|c\r\n").unwrap();
    }
    // Cut, it looks good, and is another.
    one.write_all(b"t:5|m").unwrap();
    drop((one, other));
    // What lies in the sockets at the end is taken, too.
    let told = end(process);
    assert_eq!(told["counters"], serde_json::json!({"c": 102, "d": 6}), "{told}");
    assert_eq!((&told["statsd"]["bad_lines_seen"], &told["timer_data"]), (&2.into(), &serde_json::json!({})));
    assert_eq!(told["listeners"][0]["kernel_drops"], 0);
    assert_eq!(told["listeners"][0]["listener"], format!("tcp {address}"));
}

#[test]
fn a_long_line_is_a_bad_one_and_its_neighbours_are_good() {
    let mut process = start(&["--flush-interval", "86400", "--tcp", "127.0.0.1:0"]);
    let address: SocketAddr = listens(&mut process, "tcp ").parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"before:1|c\n").unwrap();
    for _ in 0..64 {
        stream.write_all(&[b'x'; 65_536]).unwrap();
    }
    stream.write_all(b":1|c\nafter:1|c\n").unwrap();
    // It may lie in this side's buffer still, where it is not there to be taken: the other side closes once it has all.
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let told = end(process);
    assert_eq!(told["counters"], serde_json::json!({"before": 1, "after": 1}));
    assert_eq!(
        (&told["statsd"]["bad_lines_seen"], &told["statsd"]["metrics_received"]),
        (&1.into(), &3.into())
    );
}

/// Reads to the end of a connection, which the other side is to close: one that it had no room for may be reset.
fn is_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SOON)).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Says a line on one connection after the other until there is room for one, and it is told.
fn until_told(process: &mut Process, address: SocketAddr, name: &str) {
    until(name, || {
        if process.stdout().contains(&format!("\"{name}\":")) {
            return Some(());
        }
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(format!("{name}:1|c\n").as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        is_closed(&mut stream);
        None
    });
}

#[test]
fn connections_have_a_bound() {
    let text = "flush_interval = '50ms'\nlimits.connections = 2\n[[listen]]\ntcp = '127.0.0.1:0'";
    let file = config("bound", text);
    let mut process = start(&["--config", file.to_str().unwrap()]);
    let address: SocketAddr = listens(&mut process, "tcp ").parse().unwrap();
    let mut open = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    for stream in &mut open {
        stream.write_all(b"c:1|c\n").unwrap();
        told(&mut process, "\"c\":1");
    }
    // As long as they last there is no room.
    is_closed(&mut TcpStream::connect(address).unwrap());
    assert_eq!(told(&mut process, "\"refused\":1")["listeners"][0]["refused"], 1);
    let [mut stays, goes] = open;
    drop(goes);
    until_told(&mut process, address, "third");
    stays.write_all(b"c:7|c\n").unwrap();
    told(&mut process, "\"c\":7");
    end(process);
    fs::remove_file(file).unwrap();
}

#[test]
fn connections_that_say_nothing_for_too_long_make_room() {
    let text = "flush_interval = '50ms'\nlimits.connections = 1\nlimits.connection_idle = '500ms'\n[[listen]]\ntcp = '127.0.0.1:0'";
    let file = config("idle", text);
    let mut process = start(&["--config", file.to_str().unwrap()]);
    let address: SocketAddr = listens(&mut process, "tcp ").parse().unwrap();
    let mut idle = TcpStream::connect(address).unwrap();
    until_told(&mut process, address, "other");
    is_closed(&mut idle);
    end(process);
    fs::remove_file(file).unwrap();
}

/// Answers anything with more than the kernel holds for a connection.
struct Long;

impl Conversation for Long {
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> bool {
        answer.resize(if bytes.is_empty() { 0 } else { 64 << 20 }, b'x');
        true
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}

#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_an_answer_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds { stall: Duration::from_millis(100), ..Bounds::default() };
    let listener = mio::net::TcpListener::from_std(listener);
    let counts = Arc::default();
    let streams = Streams::start(listener, bounds, Arc::clone(&counts), || Long).unwrap();
    streams.begin();
    let silent = TcpStream::connect(address).unwrap();
    let mut deaf = TcpStream::connect(address).unwrap();
    deaf.set_read_timeout(Some(SOON)).unwrap();
    deaf.write_all(b"x").unwrap();
    deaf.read_exact(&mut [0]).unwrap();
    until("the end of a connection", || (!is_open(&deaf)).then_some(()));
    // It keeps nothing.
    assert!(is_open(&silent));
    assert_eq!(counts.idle.load(Ordering::Relaxed), 1);
}

/// Connections that cannot be taken for want of descriptors wait, and are taken when there are some again.
#[test]
fn connections_wait_for_descriptors() {
    let mut command = command("prlimit");
    command.args(["--nofile=32:32", env!("CARGO_BIN_EXE_nakcast-statsd")]);
    command.args(["--format", "json", "--flush-interval", "50ms", "--tcp", "127.0.0.1:0"]);
    let mut process = Process::spawn({
        command.stdout(Stdio::piped());
        command
    });
    let address: SocketAddr = listens(&mut process, "tcp ").parse().unwrap();
    let mut streams = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();
    for (at, stream) in streams.iter_mut().enumerate() {
        stream.write_all(format!("g{at}:1|g\n").as_bytes()).unwrap();
    }
    told(&mut process, "\"g0\":1");
    assert!(!process.stdout().contains("\"g39\":1"));
    // Nobody new connects.
    drop(streams.drain(..30));
    told(&mut process, "\"g39\":1");
    end(process);
}

#[test]
fn datagrams_come_by_a_socket_of_the_file_system() {
    let path = path("dsd");
    // Left behind by somebody who is not there any more.
    drop(UnixDatagram::bind(&path).unwrap());
    let text = format!(
        "flush_interval = 86400\n[[listen]]\nunix = '{}'\nmode = '0622'\ndialect = 'datadog'",
        path.display()
    );
    let file = config("dsd", &text);
    let mut process = start(&["--config", file.to_str().unwrap()]);
    assert_eq!(listens(&mut process, "unix "), path.display().to_string());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o622);
    let socket = UnixDatagram::unbound().unwrap();
    for datagram in ["g:5|g\ng:-7|g", "", "c:1|c|#a:b\nbad"] {
        socket.send_to(datagram.as_bytes(), &path).unwrap();
    }
    // Longer than is taken: the last line may have been cut, and is left out.
    let long = format!("d:1|c\n{}", "e:1|c\n".repeat(11_000));
    socket.send_to(long.as_bytes(), &path).unwrap();
    let told = end(process);
    assert_eq!((&told["gauges"]["g"], &told["counters"]["c;a=b"]), (&(-7).into(), &1.into()));
    assert_eq!((&told["counters"]["d"], &told["counters"]["e"]), (&1.into(), &(65_536 / 6 - 1).into()));
    let heard = &told["listeners"][0];
    assert_eq!(
        (&heard["received"], &heard["truncated"], &heard["kernel_drops"]),
        (&4.into(), &1.into(), &0.into())
    );
    assert!(!path.exists());
    fs::remove_file(file).unwrap();
}

#[test]
fn the_originals_socket_takes_streams() {
    let path = path("stream");
    let text = format!(
        "{{server: './servers/tcp', socket: '{}', socket_mod: '0700', flushInterval: 86400000, backends: ['./backends/console'],\n
           mgmt_address: '127.0.0.1'}}",
        path.display()
    );
    let file = config("stream", "").with_extension("js");
    fs::write(&file, text).unwrap();
    let mut process = start(&["--config", file.to_str().unwrap(), "--admin", "127.0.0.1:0"]);
    assert_eq!(listens(&mut process, "unix-stream "), path.display().to_string());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"c:1|c\nc:2|c\n").unwrap();
    let told = end(process);
    assert_eq!(told["counters"]["c"], 3);
    assert!(!path.exists());
    fs::remove_file(file).unwrap();
}

#[test]
fn what_is_taken_or_no_socket_is_left_alone() {
    let taken = path("taken");
    let _listener = UnixListener::bind(&taken).unwrap();
    let datagram = path("datagram");
    let _socket = UnixDatagram::bind(&datagram).unwrap();
    let file = path("file");
    fs::write(&file, "precious").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = tcp.local_addr().unwrap().to_string();
    let folder = std::env::temp_dir();
    let link = path("link");
    std::os::unix::fs::symlink("/no-such-file", &link).unwrap();
    for (flag, place, why) in [
        (
            "--unix",
            taken.to_str().unwrap(),
            "there is a socket that is in use; it takes a path where nothing is",
        ),
        ("--unix", datagram.to_str().unwrap(), "there is a socket that is in use; "),
        ("--unix", file.to_str().unwrap(), "there is a file that is no socket; "),
        ("--unix", folder.to_str().unwrap(), "there is a folder; "),
        ("--unix", link.to_str().unwrap(), "there is a symbolic link; "),
        ("--unix", "/no-such-folder/socket", "No such file"),
        ("--tcp", &tcp, "in use"),
    ] {
        let mut process = start(&[flag, place]);
        assert_eq!(process.wait(SOON).code(), Some(2), "{place}");
        let said = process.stderr();
        let kind = flag.trim_start_matches('-');
        let expected = format!("error: {flag}: {kind} {place} cannot be listened to: ");
        assert!(said.starts_with(&expected) && said.contains(why), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    for place in [taken, datagram, file, link] {
        fs::remove_file(place).unwrap();
    }
}
