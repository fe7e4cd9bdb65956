//! One datagram a call, by the standard library.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::{Progress, Verdict};
use crate::net::socket::Socket;

#[derive(Debug)]
pub(in crate::net) struct Sender;

impl Sender {
    pub(in crate::net) fn new() -> Sender {
        Sender
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn segmentation(&self) -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn set_segmentation(&mut self, _: bool) {}

    #[cfg(not(target_os = "linux"))]
    pub(super) fn segmentation_refused(&self) -> u64 {
        0
    }

    pub(super) fn send(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        _: usize,
        datagrams: &[IoSlice<'_>],
        progress: &mut Progress,
    ) {
        for datagram in datagrams {
            loop {
                progress.called();
                match socket.as_socket().send_to(datagram, to) {
                    Ok(_) => progress.went(1),
                    Err(error) => match progress.judge(error) {
                        Verdict::Again => continue,
                        Verdict::Refused(error) => progress.refused(1, error),
                        Verdict::Blocked => return,
                    },
                }
                break;
            }
        }
    }
}

#[cfg(test)]
impl crate::net::testing::Sends for Sender {
    fn send_all(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
    ) -> std::io::Result<super::Sent> {
        let mut progress = Progress::default();
        self.send(socket, to, segment, datagrams, &mut progress);
        progress.finish()
    }
}
