//! What the tests of this module share. All on the loopback interface.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Local, Options, Received, Receiver, Sender, Sent, Socket, resolve};

/// Far beyond what anything here takes: a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) trait Sends {
    fn send_all(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<Sent>;
}

impl Sends for Sender {
    fn send_all(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        self.send(socket, to, segment, datagrams)
    }
}

pub(super) trait Receives {
    fn take(&mut self, socket: &Socket) -> io::Result<usize>;
    fn step(&mut self) -> bool;
    fn at(&self) -> Option<Received<'_>>;
}

impl Receives for Receiver {
    fn take(&mut self, socket: &Socket) -> io::Result<usize> {
        self.receive(socket)
    }

    fn step(&mut self) -> bool {
        self.advance()
    }

    fn at(&self) -> Option<Received<'_>> {
        self.current()
    }
}

pub(super) fn lo() -> Local {
    resolve(Some("127.0.0.1"), Ipv4Addr::new(239, 255, 77, 1).into()).unwrap()
}

/// An address of this machine that no interface lists.
#[cfg(target_os = "linux")]
pub(super) fn lo_at(address: &str) -> Local {
    Local { address: address.parse().unwrap(), ..lo() }
}

/// 239.255.77.`last` with a port that nobody has at the moment.
pub(super) fn group(last: u8) -> SocketAddr {
    let port = Socket::unicast(&lo(), 0, &Options::default()).unwrap().local_addr().port();
    SocketAddr::new(IpAddr::from([239, 255, 77, last]), port)
}

/// Two sockets with room for what a test sends before it reads.
pub(super) fn unicast_pair() -> (Socket, Socket) {
    let options = Options { receive_buffer: Some(1 << 20), ..Options::default() };
    let open = || Socket::unicast(&lo(), 0, &options).unwrap();
    (open(), open())
}

/// Datagrams of these lengths, no two alike if they are not empty.
pub(super) fn datagrams(lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut seed = fastrand::Rng::with_seed(lengths.len() as u64);
    lengths.iter().map(|&length| std::iter::repeat_with(|| seed.u8(..)).take(length).collect()).collect()
}

/// Waits until the socket is readable.
pub(super) fn wait(socket: &Socket) {
    let clone = socket.as_socket().try_clone().unwrap();
    let mut source = mio::net::UdpSocket::from_std(clone);
    let mut poll = mio::Poll::new().unwrap();
    poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(DEADLINE)).unwrap();
    assert!(!events.is_empty(), "nothing arrived");
}

/// A datagram as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

/// The next `count` datagrams, and no more than these may be there.
pub(super) fn hear_all(receiver: &mut dyn Receives, socket: &Socket, count: usize) -> Vec<Heard> {
    let mut heard = VecDeque::new();
    while heard.len() < count {
        match receiver.take(socket) {
            Ok(messages) => assert!(messages > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket),
            Err(error) => panic!("{error}"),
        }
        while receiver.step() {
            let Received { from, bytes, truncated } = receiver.at().expect("advance said so");
            heard.push_back(Heard { from, bytes: bytes.to_vec(), truncated });
        }
        assert!(receiver.at().is_none());
    }
    assert_eq!(heard.len(), count);
    heard.into()
}

pub(super) fn hear(receiver: &mut dyn Receives, socket: &Socket, count: usize) -> Vec<Vec<u8>> {
    hear_all(receiver, socket, count).into_iter().map(|heard| heard.bytes).collect()
}

/// Whether nothing is there to receive.
pub(super) fn is_silent(receiver: &mut dyn Receives, socket: &Socket) -> bool {
    receiver.take(socket).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
