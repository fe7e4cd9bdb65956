//! Datagrams a second, with a credit window: the receivers tell the sender by unicast what they have, and it never has
//! more under way than their buffers hold. So nothing is lost where the way itself loses nothing, and what is counted has been received.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use crate::kept::{Kept, is_whole};
use crate::options::{Mode, Options};
use crate::socket::{self, Batch, Cpu};

/// Longer than any scheduling: what has not come by then is not under way.
const LOST: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(10);
/// A side that hears nothing for so long is alone.
pub(crate) const ALONE: Duration = Duration::from_secs(30);

/// The beginning of every datagram: what it is, where its sender hears credits, a checksum where there is one, and a number.
pub(crate) const HEADER: usize = 16;
/// "Who is there?", with the size of a datagram: answered by a credit.
const PROBE: u8 = 1;
const DATA: u8 = 2;
/// The end, with how many datagrams were sent: answered by a `Side`.
const END: u8 = 3;
/// From a receiver: the datagrams it has, and the bytes it allows under way.
const CREDIT: u8 = 4;
const DONE: u8 = 5;

/// What one process did in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side {
    /// Datagrams sent, or received.
    pub datagrams: u64,
    /// Sent and not received.
    pub lost: u64,
    /// From its first datagram to its last.
    pub elapsed: Duration,
    /// Processor time meanwhile.
    pub cpu: Duration,
    /// System calls: those that send, receive and wait.
    pub calls: u64,
}

/// The sender and what the receivers told it.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The sender.
    pub sender: Side,
    /// The receivers, in the order in which they were first heard.
    pub receivers: Vec<Side>,
}

impl Sides {
    /// Datagrams a second that the slowest receiver received.
    pub fn datagrams_per_second(&self) -> f64 {
        let rates = self.receivers.iter().map(|side| side.datagrams as f64 / side.elapsed.as_secs_f64());
        rates.min_by(f64::total_cmp).unwrap_or(0.0)
    }
}

fn header(kind: u8, port: u16, number: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = kind;
    header[2..4].copy_from_slice(&port.to_le_bytes());
    header[8..].copy_from_slice(&number.to_le_bytes());
    header
}

fn number(datagram: &[u8], at: usize) -> u64 {
    let bytes = datagram.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).unwrap_or_default()
}

pub(crate) fn timed_out(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What a receiver has told.
struct Peer {
    address: SocketAddr,
    received: u64,
    /// Sent, but neither received nor under way.
    written_off: u64,
    window: u64,
    done: Option<Side>,
}

struct Sender {
    data: UdpSocket,
    /// Not the one that sends: that is connected, and so hears nothing but the group.
    credits: UdpSocket,
    port: u16,
    size: u64,
    peers: Vec<Peer>,
    sent: u64,
    calls: u64,
}

/// Sends for as long as the options say, and gathers what came of it.
///
/// # Errors
/// What the sockets say; and when not as many receivers as the options say are heard, or one falls silent.
pub fn send(options: &Options, mode: Mode) -> io::Result<Sides> {
    let (size, run) = (options.size(mode), options.run(mode));
    let credits = socket::unicast()?;
    let port = credits.local_addr()?.port();
    let data = socket::publisher(options, options.group)?;
    let mut sender = Sender { data, credits, port, size: size as u64, peers: Vec::new(), sent: 0, calls: 0 };
    sender.gather(options.receivers)?;
    if mode.segments() {
        socket::segment(&sender.data, size)?;
    }
    let header = header(DATA, port, 0);
    let mut batch = Batch::new(run, size, &header);
    let mut kept = (mode == Mode::GsoKept).then(|| Kept::new(size));
    let mut buffer: Vec<u8> =
        header.into_iter().chain(std::iter::repeat(0)).take(size).collect::<Vec<_>>().repeat(run);

    sender.calls = 0;
    let (begun, cpu) = (Instant::now(), socket::cpu_time());
    'all: loop {
        // A look at the clock costs a share of the cheapest call.
        for _ in 0..16 {
            if !sender.wait_for_room(run as u64, options.spin)? {
                break 'all;
            }
            if mode == Mode::Mmsg {
                sender.calls += batch.send(&sender.data)?;
            } else {
                if let Some(kept) = &kept {
                    kept.fill(&mut buffer);
                }
                sender.data.send(&buffer)?;
                sender.calls += 1;
                if let Some(kept) = &mut kept {
                    kept.keep(&buffer);
                }
            }
            sender.sent += run as u64;
        }
        if begun.elapsed() >= options.duration {
            break;
        }
    }
    let (elapsed, cpu) = (begun.elapsed(), socket::cpu_time().since(cpu).total());
    let side = Side { datagrams: sender.sent, lost: 0, elapsed, cpu, calls: sender.calls };
    Ok(Sides { sender: side, receivers: sender.end()? })
}

impl Sender {
    fn tell(&self, kind: u8, value: u64) -> io::Result<()> {
        self.data.send(&header(kind, self.port, value)).map(drop)
    }

    /// Asks until that many receivers have answered.
    fn gather(&mut self, count: usize) -> io::Result<()> {
        self.credits.set_read_timeout(Some(RETRY))?;
        let begun = Instant::now();
        while self.peers.len() < count {
            if begun.elapsed() > ALONE {
                let found = self.peers.len();
                return Err(io::Error::other(format!("{found} of {count} receivers were heard")));
            }
            self.tell(PROBE, self.size)?;
            while self.hear()? {}
        }
        self.credits.set_read_timeout(Some(LOST))
    }

    /// Waits until a run of `count` datagrams fits in everybody's window. False when a receiver is gone.
    fn wait_for_room(&mut self, count: u64, spin: bool) -> io::Result<bool> {
        let room = |sender: &Sender| {
            sender.peers.iter().all(|peer| {
                let under_way = sender.sent - (peer.received + peer.written_off).min(sender.sent);
                under_way == 0 || (under_way + count) * sender.size <= peer.window
            })
        };
        if room(self) {
            return Ok(true);
        }
        let mut asked = 0;
        while !room(self) {
            if spin && asked == 0 {
                self.credits.set_nonblocking(true)?;
                let begun = Instant::now();
                while !room(self) && begun.elapsed() < LOST {
                    self.hear()?;
                }
                self.credits.set_nonblocking(false)?;
                if room(self) {
                    break;
                }
            }
            self.calls += 1;
            if self.hear()? {
                if asked > 0 {
                    // The answer to a question after a long silence: what it does not count is lost.
                    for peer in &mut self.peers {
                        peer.written_off = self.sent - peer.received;
                    }
                }
                continue;
            }
            asked += 1;
            if asked > 10 {
                return Ok(false);
            }
            let segmented = socket::segment(&self.data, 0).is_ok();
            self.tell(PROBE, self.size)?;
            if segmented {
                socket::segment(&self.data, self.size as usize)?;
            }
        }
        Ok(true)
    }

    /// Tells all that it is over, until they have said what they did.
    fn end(&mut self) -> io::Result<Vec<Side>> {
        let _ = socket::segment(&self.data, 0);
        self.credits.set_read_timeout(Some(RETRY))?;
        let begun = Instant::now();
        while self.peers.iter().any(|peer| peer.done.is_none()) {
            if begun.elapsed() > ALONE {
                return Err(io::Error::other("a receiver left without a word"));
            }
            self.tell(END, self.sent)?;
            while self.hear()? {}
        }
        Ok(self.peers.iter().filter_map(|peer| peer.done).collect())
    }

    /// Hears one receiver. False when nothing comes in time.
    fn hear(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 128];
        let (length, from) = match self.credits.recv_from(&mut buffer) {
            Ok(heard) => heard,
            Err(e) if timed_out(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        let datagram = &buffer[..length];
        let known = self.peers.iter().position(|peer| peer.address == from);
        let at = known.unwrap_or_else(|| {
            self.peers.push(Peer { address: from, received: 0, written_off: 0, window: 0, done: None });
            self.peers.len() - 1
        });
        let peer = &mut self.peers[at];
        match datagram.first() {
            Some(&CREDIT) => {
                peer.received = peer.received.max(number(datagram, 8));
                peer.window = number(datagram, 16);
            }
            Some(&DONE) => {
                let nanos = |at| Duration::from_nanos(number(datagram, at));
                peer.done = Some(Side {
                    datagrams: number(datagram, 8),
                    lost: number(datagram, 16),
                    elapsed: nanos(24),
                    cpu: nanos(32),
                    calls: number(datagram, 40),
                });
            }
            _ => {}
        }
        Ok(true)
    }
}

struct Receiver {
    data: UdpSocket,
    reply: UdpSocket,
    /// Where credits go.
    sender: Option<SocketAddr>,
    size: u64,
    /// Datagrams have checksums.
    checks: bool,
    window: u64,
    received: u64,
    credited: u64,
    calls: u64,
    begun: Option<(Instant, Cpu)>,
    done: Option<Side>,
}

/// Receives one run, and tells the sender what came of it. Calls `ready` when it has joined.
///
/// # Errors
/// What the sockets say; and when no sender is heard for half a minute.
pub fn receive(options: &Options, mode: Mode, ready: impl FnOnce()) -> io::Result<()> {
    let size = options.size(mode) as u64;
    let data = socket::member(options, options.group)?;
    // The kernel counts its own bookkeeping and the rounding up of buffers against the receive buffer.
    let granted = socket::receive_buffer(&data)? * size / (2 * size + 1280);
    let window = options.window.min(granted);
    let reply = socket::unicast()?;
    ready();
    let mut receiver = Receiver {
        data,
        reply,
        sender: None,
        size,
        checks: mode == Mode::GsoKept,
        window,
        received: 0,
        credited: 0,
        calls: 0,
        begun: None,
        done: None,
    };
    receiver.greet()?;
    match mode {
        Mode::GsoGro | Mode::GsoKept => {
            socket::coalesce(&receiver.data)?;
            receiver.one_by_one(options.spin, 65_536)
        }
        Mode::Mmsg | Mode::GsoMmsg => receiver.in_batches(options.spin),
        _ => receiver.one_by_one(options.spin, size as usize),
    }
}

impl Receiver {
    /// Waits for the sender's first word.
    fn greet(&mut self) -> io::Result<()> {
        let mut buffer = [0; HEADER];
        self.data.set_read_timeout(Some(ALONE))?;
        loop {
            let (length, mut from) = match self.data.recv_from(&mut buffer) {
                Err(e) if timed_out(&e) => return Err(alone()),
                heard => heard?,
            };
            if length == HEADER && buffer[0] == PROBE {
                if number(&buffer, 8) != self.size {
                    return Err(io::Error::other(format!("the sender's --size is {}", number(&buffer, 8))));
                }
                from.set_port(u16::from_le_bytes([buffer[2], buffer[3]]));
                self.sender = Some(from);
                return self.credit();
            }
        }
    }

    fn one_by_one(&mut self, spin: bool, length: usize) -> io::Result<()> {
        let mut buffer = vec![0; length];
        let mut patience = Patience::new(&self.data, spin)?;
        while self.done.is_none() {
            match self.data.recv(&mut buffer) {
                Ok(length) => {
                    self.calls += 1;
                    self.take(&buffer[..length])?;
                    patience.renew();
                }
                Err(e) if timed_out(&e) => patience.wait()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn in_batches(&mut self, spin: bool) -> io::Result<()> {
        let mut batch = Batch::new(64, self.size as usize, &[]);
        let mut patience = Patience::new(&self.data, spin)?;
        while self.done.is_none() {
            match batch.receive(&self.data, spin) {
                Ok(count) => {
                    self.calls += 1;
                    (0..count).try_for_each(|at| self.take(batch.datagram(at)))?;
                    patience.renew();
                }
                Err(e) if timed_out(&e) => patience.wait()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// One datagram, or a run of them, each but the last as long as was agreed.
    fn take(&mut self, run: &[u8]) -> io::Result<()> {
        for datagram in run.chunks(self.size as usize) {
            match datagram[0] {
                DATA => {
                    self.begun.get_or_insert_with(|| (Instant::now(), socket::cpu_time()));
                    if self.checks && !is_whole(datagram) {
                        return Err(io::Error::other("a datagram's checksum is wrong"));
                    }
                    self.received += 1;
                }
                PROBE => self.credit()?,
                END => return self.finish(number(datagram, 8)),
                _ => {}
            }
        }
        if (self.received - self.credited) * self.size >= self.window / 4 {
            self.credit()?;
        }
        Ok(())
    }

    fn credit(&mut self) -> io::Result<()> {
        let mut credit = [0; 24];
        credit[..HEADER].copy_from_slice(&header(CREDIT, 0, self.received));
        credit[16..].copy_from_slice(&self.window.to_le_bytes());
        self.credited = self.received;
        self.calls += 1;
        self.answer(&credit)
    }

    fn finish(&mut self, sent: u64) -> io::Result<()> {
        let (begun, cpu) = self.begun.unwrap_or_else(|| (Instant::now(), socket::cpu_time()));
        let side = Side {
            datagrams: self.received,
            lost: sent.saturating_sub(self.received),
            elapsed: begun.elapsed(),
            cpu: socket::cpu_time().since(cpu).total(),
            calls: self.calls,
        };
        self.done = Some(side);
        let mut answer = header(DONE, 0, side.datagrams).to_vec();
        for value in [side.lost, side.elapsed.as_nanos() as u64, side.cpu.as_nanos() as u64, side.calls] {
            answer.extend(value.to_le_bytes());
        }
        self.answer(&answer)
    }

    fn answer(&self, datagram: &[u8]) -> io::Result<()> {
        self.reply.send_to(datagram, self.sender.expect("the sender was heard first")).map(drop)
    }
}

/// How to wait for data, and when to give up.
pub(crate) struct Patience {
    spin: bool,
    spins: u64,
    since: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(socket: &UdpSocket, spin: bool) -> io::Result<Patience> {
        socket.set_nonblocking(spin)?;
        Ok(Patience { spin, spins: 0, since: None })
    }

    pub(crate) fn renew(&mut self) {
        self.since = None;
    }

    /// After a call that gave nothing. One that blocks has waited long enough already.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.spins += 1;
        if self.spin && !self.spins.is_multiple_of(1 << 16) {
            std::hint::spin_loop();
            return Ok(());
        }
        if !self.spin || self.since.get_or_insert_with(Instant::now).elapsed() > ALONE {
            return Err(alone());
        }
        Ok(())
    }
}

fn alone() -> io::Error {
    io::Error::other(format!("nothing was heard for {ALONE:?}"))
}

/// The group's other port: round trips come back on it.
pub(crate) fn back(options: &Options) -> SocketAddrV4 {
    SocketAddrV4::new(*options.group.ip(), options.group.port() + 1)
}
