//! Round trips over multicast both ways: to the group, and back on the port after it.

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::options::{Mode, Options};
use crate::socket;
use crate::throughput::back;

const RETRY: Duration = Duration::from_millis(10);
/// Long, so that what was late is measured, and only what is lost is left out.
const LOST: Duration = Duration::from_secs(1);
const ALONE: Duration = Duration::from_secs(30);

const PING: u8 = 1;
const END: u8 = 2;

/// What the sender measured: sorted, in nanoseconds.
pub(crate) struct Times {
    pub(crate) nanos: Vec<u32>,
    pub(crate) lost: u64,
}

struct Ping {
    to: UdpSocket,
    from: UdpSocket,
    spin: bool,
    /// How long one exchange is waited for.
    patience: Duration,
    buffer: Vec<u8>,
    number: u64,
}

impl Ping {
    /// One round trip; `None` when nothing came back in time.
    fn exchange(&mut self, kind: u8) -> io::Result<Option<Duration>> {
        self.number += 1;
        self.buffer[0] = kind;
        self.buffer[8..16].copy_from_slice(&self.number.to_le_bytes());
        let begun = Instant::now();
        self.to.send(&self.buffer)?;
        let mut spins = 0_u64;
        loop {
            match self.from.recv(&mut self.buffer) {
                Ok(length) if length >= 16 && self.buffer[8..16] == self.number.to_le_bytes() => {
                    return Ok(Some(begun.elapsed()));
                }
                Ok(_) => {} // of an exchange given up
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    spins += 1;
                    if !self.spin || (spins.is_multiple_of(1024) && begun.elapsed() > self.patience) {
                        return Ok(None);
                    }
                    std::hint::spin_loop();
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn wait_at_most(&mut self, patience: Duration) -> io::Result<()> {
        self.patience = patience;
        self.from.set_read_timeout(Some(patience))
    }

    fn until_answered(&mut self, kind: u8) -> io::Result<()> {
        let begun = Instant::now();
        while self.exchange(kind)?.is_none() {
            if begun.elapsed() > ALONE {
                return Err(io::Error::other("no receiver answers"));
            }
        }
        Ok(())
    }
}

/// Measures, after a tenth of the time to warm up.
pub(crate) fn ping(options: &Options, mode: Mode) -> io::Result<Times> {
    let spin = mode == Mode::PingSpin;
    let from = socket::member(options, back(options))?;
    from.set_nonblocking(spin)?;
    let to = socket::publisher(options, options.group)?;
    let mut ping = Ping { to, from, spin, patience: RETRY, buffer: vec![0; options.size(mode)], number: 0 };
    ping.wait_at_most(RETRY)?;
    ping.until_answered(PING)?;
    ping.wait_at_most(LOST)?;
    let warm = Instant::now();
    while warm.elapsed() < options.duration / 10 {
        ping.exchange(PING)?;
    }
    // Without touching memory for the first time while it measures.
    let mut nanos = vec![1; 16 << 20];
    nanos.clear();
    let mut lost = 0;
    let begun = Instant::now();
    while begun.elapsed() < options.duration && nanos.len() < nanos.capacity() {
        match ping.exchange(PING)? {
            Some(time) => nanos.push(time.as_nanos().try_into().unwrap_or(u32::MAX)),
            None => lost += 1,
        }
    }
    ping.wait_at_most(RETRY)?;
    ping.until_answered(END)?;
    nanos.sort_unstable();
    Ok(Times { nanos, lost })
}

/// Sends back what comes, until the sender ends it.
pub(crate) fn pong(options: &Options, mode: Mode) -> io::Result<()> {
    let spin = mode == Mode::PingSpin;
    let from = socket::member(options, options.group)?;
    from.set_read_timeout(Some(ALONE))?;
    from.set_nonblocking(spin)?;
    let to = socket::publisher(options, back(options))?;
    let mut buffer = vec![0; options.size(mode)];
    let (mut spins, mut heard) = (0_u64, Instant::now());
    loop {
        match from.recv(&mut buffer) {
            Ok(length) => {
                to.send(&buffer[..length])?;
                if buffer[0] == END {
                    return Ok(());
                }
                spins = 0;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                spins += 1;
                if spins == 1 {
                    heard = Instant::now();
                }
                if !spin || (spins.is_multiple_of(1 << 16) && heard.elapsed() > ALONE) {
                    return Err(io::Error::other(format!("nothing was heard for {ALONE:?}")));
                }
                std::hint::spin_loop();
            }
            Err(e) => return Err(e),
        }
    }
}
