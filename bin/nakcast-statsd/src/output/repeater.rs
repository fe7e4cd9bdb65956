//! The repeater: what comes is sent on as it came, to other StatsD servers.
//!
//! Each of them has a thread and a bounded queue of its own, so that one that is slow takes nothing from the others or from
//! the listeners: what finds no room is dropped, and counted.

use crate::clock;
use crate::output::server::{addresses, connect};
use memchr::{memchr, memrchr};
use nakcast::net::{Options, Socket, is_too_long, resolve};
use parking_lot::{Condvar, Mutex, RwLock};
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that wait for one server at most.
const MOST_BYTES: usize = 16 << 20;

/// Datagrams that wait for one server at most.
const MOST: usize = 1 << 16;

/// How long a connection and a write may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nothing is tried after a failure: what comes meanwhile is dropped.
const PAUSE: Duration = Duration::from_secs(1);

/// How long an address that was looked up is taken for good.
const KEPT: Duration = Duration::from_secs(60);

/// Bytes of lines that are sent on in one datagram at most, unless a line is longer: they fit an Ethernet frame.
const PIECE: usize = 1432;

/// Whole lines in pieces that fit a frame.
pub(crate) fn pieces(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let end = match rest.get(..PIECE) {
            None if rest.is_empty() => return None,
            None => rest.len(),
            // A line that is longer goes alone.
            Some(piece) => {
                let end = memrchr(b'\n', piece).or_else(|| memchr(b'\n', rest));
                end.map_or(rest.len(), |at| at + 1)
            }
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// How datagrams are sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// As datagrams, over IPv4 or IPv6 as the server's first address is.
    Udp,
    /// As datagrams, over IPv4.
    Udp4,
    /// As datagrams, over IPv6.
    Udp6,
    /// As a stream of lines.
    Tcp,
}

/// Another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`; a multicast group, too.
    pub server: String,
    /// How it is sent to.
    pub protocol: Protocol,
    /// A group's interface, by name or address.
    pub interface: Option<String>,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

/// How sending on to one server went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeated {
    /// The server.
    pub to: String,
    /// Datagrams sent, or lines written, since this was last asked.
    pub sent: u64,
    /// Datagrams dropped: no room in the queue, or the server not there.
    pub dropped: u64,
}

impl Repeated {
    /// Adds one to those of its server, or to the list.
    pub fn add_to(self, all: &mut Vec<Repeated>) {
        let Some(known) = all.iter_mut().find(|known| known.to == self.to) else { return all.push(self) };
        known.sent += self.sent;
        known.dropped += self.dropped;
    }
}

/// Where listeners leave what they heard. Another repeater can take the place of the one there is.
#[derive(Debug, Default)]
pub struct Taps(RwLock<Vec<Arc<Tap>>>);

impl Taps {
    /// The servers of now.
    pub(crate) fn all(&self) -> Vec<Arc<Tap>> {
        self.0.read().clone()
    }
}

/// One server's queue.
#[derive(Debug)]
pub(crate) struct Tap {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Where each datagram ends.
    ends: Vec<usize>,
    sent: u64,
    dropped: u64,
    failing: Option<String>,
    end: Option<Instant>,
}

impl Tap {
    /// Leaves a datagram there.
    pub(crate) fn leave(&self, datagram: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.ends.len() >= MOST || queue.bytes.len() + datagram.len() > MOST_BYTES {
            queue.dropped += 1;
            return;
        }
        queue.bytes.extend(datagram);
        let end = queue.bytes.len();
        queue.ends.push(end);
        self.changed.notify_one();
    }

    fn work(&self, wire: &mut Wire) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        loop {
            let mut queue = self.queue.lock();
            while queue.ends.is_empty() && queue.end.is_none() {
                self.changed.wait(&mut queue);
            }
            let end = queue.end;
            if queue.ends.is_empty() {
                return;
            }
            mem::swap(&mut queue.bytes, &mut bytes);
            mem::swap(&mut queue.ends, &mut ends);
            drop(queue);
            let (sent, failure) = wire.send(&bytes, &ends);
            let dropped = ends.len() - sent;
            bytes.clear();
            ends.clear();
            let mut queue = self.queue.lock();
            queue.sent += sent as u64;
            queue.dropped += dropped as u64;
            match failure {
                None if sent > 0 => queue.failing = None,
                None => {}
                Some(error) => _ = queue.failing.get_or_insert_with(|| error.to_string()),
            }
            if end.is_some_and(|end| clock::now() >= end) {
                queue.dropped += queue.ends.len() as u64;
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Server {
    to: String,
    tap: Arc<Tap>,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<()>>,
}

/// Sends on to other servers, until [`Repeater::end`] or until it is dropped.
#[derive(Debug)]
pub struct Repeater {
    /// Where it takes from.
    taps: Option<Arc<Taps>>,
    servers: Vec<Server>,
}

impl Repeater {
    /// Starts a thread for each server.
    ///
    /// # Errors
    ///
    /// One line that names who asked for the server, and the server: an interface that is not there, or no thread or socket to
    /// be had.
    pub fn start(targets: &[Target]) -> Result<Repeater, String> {
        let mut repeater = Repeater { taps: None, servers: Vec::new() };
        for target in targets {
            let to = target.to_string();
            let failed = |error: &dyn fmt::Display| format!("{}: {to}: {error}", target.by);
            let mut wire = Wire::open(target).map_err(|error| failed(&error))?;
            let tap = Arc::new(Tap { queue: Mutex::default(), changed: Condvar::new() });
            let working = Arc::clone(&tap);
            let thread = thread::Builder::new().name("repeater".into());
            let thread = thread.spawn(move || working.work(&mut wire)).map_err(|error| failed(&error))?;
            repeater.servers.push(Server { to, tap, thread: Some(thread) });
        }
        Ok(repeater)
    }

    /// Has what listeners leave at `taps` sent on from now on, instead of to the servers there were before.
    pub fn tap(&mut self, taps: &Arc<Taps>) {
        *taps.0.write() = self.servers.iter().map(|server| Arc::clone(&server.tap)).collect();
        self.taps = Some(Arc::clone(taps));
    }

    /// How it went since this was last asked.
    #[must_use]
    pub fn told(&self) -> Vec<Repeated> {
        let told = |server: &Server| {
            let mut queue = server.tap.queue.lock();
            let (sent, dropped) = (mem::take(&mut queue.sent), mem::take(&mut queue.dropped));
            Repeated { to: server.to.clone(), sent, dropped }
        };
        self.servers.iter().map(told).collect()
    }

    /// Which servers fail, and why, told once for each time one begins to.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let failure = |server: &Server| {
            let mut queue = server.tap.queue.lock();
            let failing = queue.failing.as_mut().map(mem::take).filter(|text| !text.is_empty());
            failing.map(|text| format!("{}: {text}", server.to))
        };
        self.servers.iter().filter_map(failure).collect()
    }

    /// Takes no more, sends what waits, for `patience` and what one attempt takes beyond it, and ends. How that went is
    /// told by [`Repeater::told`] afterwards.
    pub fn end(&mut self, patience: Duration) {
        let is_mine = |tap: &Arc<Tap>| self.servers.iter().any(|server| Arc::ptr_eq(&server.tap, tap));
        if let Some(taps) = &self.taps {
            taps.0.write().retain(|tap| !is_mine(tap));
        }
        let end = clock::now() + patience;
        for server in &self.servers {
            server.tap.queue.lock().end = Some(end);
            server.tap.changed.notify_one();
        }
        for server in &mut self.servers {
            if let Some(thread) = server.thread.take() {
                // A panic there has been told already.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Repeater {
    /// Ends it: no thread is left behind that sends.
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl Target {
    /// The addresses it has now, of the family it is sent to, the first one first.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let is_meant = |address: &SocketAddr| match self.protocol {
            Protocol::Udp4 => address.is_ipv4(),
            Protocol::Udp6 => address.is_ipv6(),
            Protocol::Udp | Protocol::Tcp => true,
        };
        Ok(addresses(&self.server)?.into_iter().filter(is_meant).collect())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp | Protocol::Udp4 | Protocol::Udp6 => "udp",
            Protocol::Tcp => "tcp",
        };
        write!(f, "{protocol} {}", self.server)
    }
}

/// The way to one server.
#[derive(Debug)]
struct Wire {
    target: Target,
    /// Where it was found, and when.
    found: Option<(SocketAddr, Instant)>,
    /// For datagrams; of the family of what was found.
    socket: Option<Socket>,
    stream: Option<TcpStream>,
    /// Until when nothing is tried.
    pause: Option<Instant>,
}

impl Wire {
    /// A group's interface must be there; anything else may come later.
    fn open(target: &Target) -> Result<Wire, String> {
        let mut wire = Wire { target: target.clone(), found: None, socket: None, stream: None, pause: None };
        if let Ok(group) = target.server.parse::<SocketAddr>()
            && group.ip().is_multicast()
        {
            let local =
                resolve(target.interface.as_deref(), group.ip()).map_err(|error| error.to_string())?;
            let socket = Socket::sender(group, &local, 0, &Options::default());
            wire.put(socket.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        }
        Ok(wire)
    }

    /// Keeps a socket, which waits until the kernel has room.
    fn put(&mut self, socket: Socket) -> io::Result<()> {
        socket.as_socket().set_nonblocking(false)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Sends datagrams; tells how many of them, and why not the others.
    fn send(&mut self, bytes: &[u8], ends: &[usize]) -> (usize, Option<io::Error>) {
        if self.pause.is_some_and(|until| clock::now() < until) {
            return (0, None);
        }
        let (mut sent, mut begin) = (0, 0);
        for &end in ends {
            match self.send_one(&bytes[begin..end]) {
                Ok(()) => sent += 1,
                // One that is too long is no reason against the next.
                Err(error) if is_too_long(&error) => {}
                Err(error) => {
                    (self.found, self.stream) = (None, None);
                    self.pause = Some(clock::now() + PAUSE);
                    return (sent, Some(error));
                }
            }
            begin = end;
        }
        (sent, None)
    }

    fn send_one(&mut self, datagram: &[u8]) -> io::Result<()> {
        if self.target.protocol == Protocol::Tcp {
            if self.stream.is_none() {
                let stream = connect(&self.target.server, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                self.stream = Some(stream);
            }
            let Some(stream) = &mut self.stream else { return Err(ErrorKind::NotConnected.into()) };
            let feed: &[u8] = if datagram.ends_with(b"\n") { b"" } else { b"\n" };
            return stream.write_all(&[datagram, feed].concat());
        }
        let to = self.find()?;
        if self.socket.as_ref().is_none_or(|socket| socket.local_addr().is_ipv4() != to.is_ipv4()) {
            let any: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            self.put(Socket::listen(any, &Options::default()).map_err(io::Error::other)?)?;
        }
        let Some(socket) = &self.socket else { return Err(ErrorKind::NotConnected.into()) };
        match socket.as_socket().send_to(datagram, to) {
            // What another way brought may not fit this one, whose datagrams are not fragmented.
            Err(error) if is_too_long(&error) && datagram.len() > PIECE => {
                pieces(datagram).try_for_each(|piece| socket.as_socket().send_to(piece, to).map(drop))
            }
            sent => sent.map(drop),
        }
    }

    fn find(&mut self) -> io::Result<SocketAddr> {
        if let Some((found, when)) = self.found
            && clock::now().saturating_duration_since(when) < KEPT
        {
            return Ok(found);
        }
        let found = self.target.addresses()?.into_iter().next();
        let found =
            found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "it has no address of that family"))?;
        self.found = Some((found, clock::now()));
        Ok(found)
    }
}
