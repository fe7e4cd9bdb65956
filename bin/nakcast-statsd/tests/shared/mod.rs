//! What tests of the collector wait for, each wait with an end. A test begins with `mod shared;`.
#![allow(dead_code, reason = "each test takes what it needs")]

use nakcast_statsd::clock;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// For what must come, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Asks again until there is an answer, and fails when there is none for too long.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let give_up = clock::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::now() < give_up, "{what}: not within {SOON:?}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Asks by HTTP on a connection that is kept, and reads the answer as far as `end`.
pub(crate) fn ask_on(stream: &mut TcpStream, path: &str, end: &str) -> String {
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"));
        answer.extend(byte);
    }
    String::from_utf8(answer).unwrap()
}

/// Whether a connection is open at its other end, by the kernel's list: who does not read is not told.
pub(crate) fn is_open(stream: &TcpStream) -> bool {
    // An address stands there as the processor has it.
    let shown = |address: SocketAddr| match address {
        SocketAddr::V4(address) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
        }
        SocketAddr::V6(address) => panic!("{address}"),
    };
    let [there, here] = [stream.peer_addr(), stream.local_addr()].map(|address| shown(address.unwrap()));
    // 01 is a connection that neither side has closed.
    fs::read_to_string("/proc/net/tcp").unwrap().contains(&format!(" {there} {here} 01 "))
}
