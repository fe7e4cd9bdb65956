//! One datagram a call, by the standard library.

use std::io;
use std::net::SocketAddr;

use super::{PATIENCE, Received, is_passing};
use crate::net::socket::Socket;

#[derive(Debug)]
pub(in crate::net) struct Receiver {
    /// One byte longer than what is delivered, so that a longer datagram is noticed.
    buffer: Vec<u8>,
    waiting: Option<(SocketAddr, usize)>,
    current: Option<(SocketAddr, usize)>,
    calls: u64,
}

impl Receiver {
    pub(in crate::net) fn new(_: usize, bytes: usize) -> Receiver {
        Receiver { buffer: vec![0; bytes + 1], waiting: None, current: None, calls: 0 }
    }

    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        (self.waiting, self.current) = (None, None);
        let mut patience = PATIENCE;
        loop {
            self.calls += 1;
            match socket.as_socket().recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    self.waiting = Some((from, length));
                    return Ok(1);
                }
                Err(error) if is_passing(&error) && patience > 0 => patience -= 1,
                // Windows reports a datagram that it cut so, and not who sent it: nothing of it can be used.
                Err(error) if cfg!(windows) && crate::net::is_too_long(&error) && patience > 0 => {
                    patience -= 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn receive_one(&mut self, socket: &Socket) -> io::Result<usize> {
        self.receive(socket)
    }

    pub(super) fn advance(&mut self) -> bool {
        self.current = self.waiting.take();
        self.current.is_some()
    }

    pub(super) fn current(&self) -> Option<Received<'_>> {
        let (from, length) = self.current?;
        let most = self.buffer.len() - 1;
        Some(Received { from, bytes: &self.buffer[..length.min(most)], truncated: length > most })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn kernel_ns(&self) -> u64 {
        0
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn kernel_drops(&self) -> u64 {
        0
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn system_calls(&self) -> u64 {
        self.calls
    }
}

#[cfg(test)]
impl crate::net::testing::Receives for Receiver {
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
