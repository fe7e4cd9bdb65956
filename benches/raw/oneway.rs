//! One-way latency of an open loop: each datagram is stamped with when it was due, by the clock that all processes of a
//! machine share, and its receiver tells how long ago that was. One datagram a call on both sides.

use std::io;
use std::time::Duration;

use crate::options::{Mode, Options};
use crate::socket::{self, monotonic_ns};
use crate::throughput::{Patience, timed_out};

const DATA: u8 = 2;
const END: u8 = 3;
/// The end is said so often: one of them arrives.
const ENDS: usize = 100;
/// Where a stamp is.
const STAMP: std::ops::Range<usize> = 8..16;

/// What a receiver received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flight {
    /// Datagrams with a stamp.
    pub received: u64,
    /// Those sent and not received.
    pub lost: u64,
}

/// Sends a datagram for each moment that `next` gives, in nanoseconds of [`monotonic_ns`]; it is `next` that waits. A moment of 0
/// makes one that is not timed. Tells how many were timed.
///
/// # Errors
/// What the socket says.
pub fn send(options: &Options, mut next: impl FnMut() -> Option<u64>) -> io::Result<u64> {
    let socket = socket::publisher(options, options.group)?;
    let mut datagram = vec![0; options.size(Mode::Single)];
    datagram[0] = DATA;
    let mut timed = 0_u64;
    while let Some(due) = next() {
        datagram[STAMP].copy_from_slice(&due.to_le_bytes());
        socket.send(&datagram)?;
        timed += u64::from(due > 0);
    }
    datagram[0] = END;
    datagram[STAMP].copy_from_slice(&timed.to_le_bytes());
    for _ in 0..ENDS {
        socket.send(&datagram)?;
        // A receiver whose buffer is full takes none of them: nobody answers here, so there is nothing else to wait for.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(timed)
}

/// Receives until the sender says that it is over. Calls `ready` when it has joined, and `record` with the nanoseconds that each
/// datagram took.
///
/// # Errors
/// What the socket says; and when nothing is heard for half a minute.
pub fn receive(options: &Options, ready: impl FnOnce(), mut record: impl FnMut(u64)) -> io::Result<Flight> {
    let socket = socket::member(options, options.group)?;
    socket.set_read_timeout(Some(crate::throughput::ALONE))?;
    ready();
    let mut patience = Patience::new(&socket, options.spin)?;
    let mut buffer = vec![0; options.size(Mode::Single)];
    let mut received = 0_u64;
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) if length == buffer.len() => {}
            Ok(_) => continue, // not the sender's
            Err(e) if timed_out(&e) => {
                patience.wait()?;
                continue;
            }
            Err(e) => return Err(e),
        }
        let now = monotonic_ns();
        patience.renew();
        let mut stamp = [0; 8];
        stamp.copy_from_slice(&buffer[STAMP]);
        let stamp = u64::from_le_bytes(stamp);
        match buffer[0] {
            DATA if stamp > 0 => {
                received += 1;
                record(now.saturating_sub(stamp));
            }
            END => return Ok(Flight { received, lost: stamp.saturating_sub(received) }),
            _ => {}
        }
    }
}
