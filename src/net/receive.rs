//! Receiving in batches.

use std::io;
use std::net::SocketAddr;

use super::socket::Socket;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use portable as platform;

/// A datagram as it was received, in the [`Receiver`]'s memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// What it carried; may be empty.
    pub bytes: &'a [u8],
    /// Whether it was longer than the receiver's buffer, and what was beyond is gone. With the buffers of
    /// [`Receiver::new`] that cannot be.
    pub truncated: bool,
}

/// How often in a row a socket may report what became of an earlier datagram before that is taken for an error.
const PATIENCE: u32 = 16;

/// Whether the error is no fault of what is being received: a signal, or an ICMP message about something sent earlier.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// Receives batches of datagrams from one socket.
///
/// [`receive`](Receiver::receive) takes a batch from the kernel, [`advance`](Receiver::advance) moves through it, and
/// [`current`](Receiver::current) is the datagram it moved to. Use one for each socket, for the sake of
/// [`kernel_drops`](Receiver::kernel_drops).
#[derive(Debug)]
pub struct Receiver {
    path: platform::Receiver,
}

impl Receiver {
    /// How many messages are worth taking in one call, where nothing speaks for another number.
    pub const MESSAGES: usize = 32;

    /// Bytes for one message: no datagram, and no run of them that the kernel coalesced, is longer.
    pub const BUFFER: usize = 65_536;

    /// Makes room for `messages` (1 to 1,024; others are taken for the nearer of these) in one system call, each of
    /// [`Receiver::BUFFER`] bytes. The memory is reserved at once, and used only as far as batches ever fill it: 2 MiB
    /// for 32. Where one call takes one datagram there is room for one.
    #[must_use]
    pub fn new(messages: usize) -> Receiver {
        Receiver::with_buffer(messages, Receiver::BUFFER)
    }

    /// The same with room for `bytes` a message (at least 1), beyond which it is cut and
    /// [`truncated`](Received::truncated). Runs that the kernel coalesced are cut too: below [`Receiver::BUFFER`] this is
    /// for a receiver whose peers never send any.
    #[must_use]
    pub fn with_buffer(messages: usize, bytes: usize) -> Receiver {
        Receiver { path: platform::Receiver::new(messages.clamp(1, 1024), bytes.max(1)) }
    }

    /// Takes a batch from the socket, in one system call that does not block, and tells how many messages it holds, each
    /// of one datagram or of a run. Call it when [`advance`](Receiver::advance) has returned false: what was left of the
    /// batch before is forgotten.
    ///
    /// A socket that reports what became of a datagram sent earlier (`ECONNREFUSED`) is asked again.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when there is nothing to receive; any other is the operating system's.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.path.receive(socket)
    }

    /// The same for a batch of one message at the most: what is looked for again and again, and mostly is not there, is had
    /// sooner so, for the system neither reads nor writes more than one.
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Receiver::receive).
    pub fn receive_one(&mut self, socket: &Socket) -> io::Result<usize> {
        self.path.receive_one(socket)
    }

    /// Moves to the next datagram of the batch; false when there is none left.
    pub fn advance(&mut self) -> bool {
        self.path.advance()
    }

    /// The datagram that [`advance`](Receiver::advance) moved to; `None` before the first and after the last.
    #[must_use]
    pub fn current(&self) -> Option<Received<'_>> {
        self.path.current()
    }

    /// When the kernel took the current datagram from its device, nanoseconds since 1970 by this machine's wall clock; 0 where
    /// the socket was opened without [`Options::timestamps`](super::Options::timestamps), and where the platform does not
    /// tell. A run that was coalesced has one time, that of its first datagram.
    #[inline]
    #[must_use]
    pub fn kernel_ns(&self) -> u64 {
        self.path.kernel_ns()
    }

    /// How many datagrams the kernel dropped because the socket's receive buffer was full, as far as the messages advanced
    /// to have told: the count comes with the next datagram that is received after a drop. Linux counts a run
    /// it had coalesced as one. Always 0 where the platform does not tell.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.path.kernel_drops()
    }

    /// How many system calls were made.
    #[must_use]
    pub fn system_calls(&self) -> u64 {
        self.path.system_calls()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::super::testing::{self, Receives, hear, hear_all, is_silent};
    use super::*;
    use crate::net::{Options, Sender};

    fn ways(messages: usize, bytes: usize) -> Vec<Box<dyn Receives>> {
        vec![
            Box::new(Receiver::with_buffer(messages, bytes)),
            Box::new(portable::Receiver::new(messages, bytes)),
        ]
    }

    fn send(from: &Socket, to: &Socket, segment: usize, datagrams: &[Vec<u8>]) {
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        let sent = Sender::new().send(from, to.local_addr(), segment, &slices).unwrap();
        assert_eq!(sent.datagrams, datagrams.len());
    }

    #[test]
    fn nothing_to_receive_would_block() {
        for mut receiver in ways(4, 1000) {
            let (_, socket) = testing::unicast_pair();
            assert!(!receiver.step());
            assert!(receiver.at().is_none());
            assert!(is_silent(receiver.as_mut(), &socket));
            assert!(!receiver.step());
        }
    }

    #[test]
    fn the_sender_is_told_with_each_datagram() {
        for mut receiver in ways(8, 1000) {
            let (one, to) = testing::unicast_pair();
            let (two, _) = testing::unicast_pair();
            for from in [&one, &one, &two, &one, &two, &two] {
                send(from, &to, 1, &[vec![1]]);
            }
            let heard = hear_all(receiver.as_mut(), &to, 6);
            let ports = heard.iter().map(|heard| heard.from).collect::<Vec<_>>();
            let (one, two) = (one.local_addr(), two.local_addr());
            assert_eq!(ports, [one, one, two, one, two, two]);
        }
    }

    #[test]
    fn an_empty_datagram_is_one() {
        for mut receiver in ways(8, 1000) {
            let (from, to) = testing::unicast_pair();
            for datagram in [&b""[..], b"x", b"", b""] {
                send(&from, &to, 1, &[datagram.to_vec()]);
            }
            assert_eq!(hear(receiver.as_mut(), &to, 4), [&b""[..], b"x", b"", b""]);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        for mut receiver in ways(2, 100) {
            let (from, to) = testing::unicast_pair();
            let datagrams = testing::datagrams(&[99, 100, 101, 3, 5000, 100]);
            for datagram in &datagrams {
                send(&from, &to, datagram.len(), std::slice::from_ref(datagram));
            }
            let heard = hear_all(receiver.as_mut(), &to, 6);
            let cut = heard.iter().map(|heard| heard.truncated).collect::<Vec<_>>();
            assert_eq!(cut, [false, false, true, false, true, false]);
            for (heard, datagram) in heard.iter().zip(&datagrams) {
                assert_eq!(heard.bytes, datagram[..datagram.len().min(100)]);
            }
        }
    }

    #[test]
    fn batches_of_all_sizes_are_whole() {
        for messages in [1, 2, 3, 7, 64] {
            for mut receiver in ways(messages, 2000) {
                let (from, to) = testing::unicast_pair();
                let lengths = (1..=50).map(|length| length * 31).collect::<Vec<_>>();
                let datagrams = testing::datagrams(&lengths);
                for datagram in &datagrams {
                    send(&from, &to, datagram.len(), std::slice::from_ref(datagram));
                }
                assert_eq!(hear(receiver.as_mut(), &to, 50), datagrams);
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_run_arrives_coalesced() {
        let (from, to) = testing::unicast_pair();
        let datagrams = testing::datagrams(&[1000, 1000, 1000, 1000, 10]);
        send(&from, &to, 1000, &datagrams);
        let mut receiver = Receiver::new(8);
        testing::wait(&to);
        assert_eq!(receiver.receive(&to).unwrap(), 1);
        for datagram in &datagrams {
            assert!(receiver.advance());
            let expected = Received { from: from.local_addr(), bytes: datagram, truncated: false };
            assert_eq!(receiver.current().unwrap(), expected);
        }
        assert!(!receiver.advance());
        assert_eq!(receiver.system_calls(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_one_message_each_is_taken_by_itself() {
        let (from, to) = testing::unicast_pair();
        let run = testing::datagrams(&[1000, 1000, 10]);
        send(&from, &to, 1000, &run);
        send(&from, &to, 4, &[b"last".to_vec()]);
        let mut receiver = Receiver::new(8);
        testing::wait(&to);
        for message in [&run[..], &[b"last".to_vec()]] {
            assert_eq!(receiver.receive_one(&to).unwrap(), 1);
            for datagram in message {
                assert!(receiver.advance());
                let expected = Received { from: from.local_addr(), bytes: datagram, truncated: false };
                assert_eq!(receiver.current().unwrap(), expected);
            }
            assert!(!receiver.advance());
        }
        assert_eq!(receiver.receive_one(&to).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!receiver.advance());
        assert_eq!(receiver.system_calls(), 3);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_run_arrives_one_by_one_where_that_is_wished() {
        let (from, _) = testing::unicast_pair();
        let options = Options { coalesce: false, ..Options::default() };
        let to = Socket::unicast(&testing::lo(), 0, &options).unwrap();
        let datagrams = testing::datagrams(&[1000, 1000, 1000, 10]);
        send(&from, &to, 1000, &datagrams);
        let mut receiver = Receiver::new(8);
        testing::wait(&to);
        assert_eq!(receiver.receive(&to).unwrap(), 4);
        let mut heard = 0;
        while receiver.advance() {
            assert_eq!(receiver.current().unwrap().bytes, datagrams[heard]);
            heard += 1;
        }
        assert_eq!(heard, 4);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_control_message_leaks_to_the_next_datagram() {
        let mut receiver = Receiver::new(2);
        let (from, to) = testing::unicast_pair();
        // Runs, and single datagrams longer than the segments of the runs before them, in each slot of the batch.
        let batches = [
            &[10, 10, 10, 3][..],
            &[2000],
            &[700],
            &[20, 20],
            &[1500],
            &[900, 900, 900],
            &[5000],
            &[0],
            &[5, 5, 5],
            &[64_000],
        ];
        for _ in 0..3 {
            for batch in batches {
                send(&from, &to, batch[0], &testing::datagrams(batch));
            }
            let expected = batches.iter().flat_map(|batch| testing::datagrams(batch)).collect::<Vec<_>>();
            assert_eq!(hear(&mut receiver, &to, expected.len()), expected);
        }
    }

    #[test]
    fn a_batch_not_used_up_is_forgotten() {
        let mut receiver = Receiver::new(8);
        let (from, to) = testing::unicast_pair();
        send(&from, &to, 3, &[b"one".to_vec(), b"two".to_vec()]);
        testing::wait(&to);
        receiver.receive(&to).unwrap();
        assert!(receiver.advance());
        send(&from, &to, 5, &[b"three".to_vec()]);
        let heard = hear(&mut receiver, &to, 1);
        assert_eq!(heard, [b"three"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn drops_are_counted() {
        let (from, _) = testing::unicast_pair();
        let options = Options { receive_buffer: Some(4096), ..Options::default() };
        let to = Socket::unicast(&testing::lo(), 0, &options).unwrap();
        let mut receiver = Receiver::new(64);
        let mut lost = 0;
        for round in 1..=3 {
            let datagrams = testing::datagrams(&[100; 200]);
            for datagram in &datagrams {
                send(&from, &to, 100, std::slice::from_ref(datagram));
            }
            let mut heard = 0;
            while receiver.receive(&to).is_ok() {
                while receiver.advance() {
                    heard += 1;
                }
            }
            assert!(heard > 0 && heard < 200, "round {round}: {heard} of 200");
            lost += 200 - heard;
            // The socket itself tells at once.
            assert_eq!(to.kernel_drops().map(u64::from), Some(lost), "round {round}");
            // The count travels with the next datagram.
            send(&from, &to, 1, &[vec![0]]);
            hear(&mut receiver, &to, 1);
            assert_eq!(receiver.kernel_drops(), lost, "round {round}");
        }
    }

    #[cfg(target_os = "linux")]
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel's times are compared with the clock they are by"
    )]
    fn wall_ns() -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_tells_when_a_datagram_came_where_it_is_asked() {
        let (from, silent) = testing::unicast_pair();
        let options = Options { timestamps: true, ..Options::default() };
        let to = Socket::unicast(&testing::lo(), 0, &options).unwrap();
        let mut receiver = Receiver::new(8);
        for lengths in [&[100][..], &[500, 500, 500, 20], &[0], &[9_000]] {
            let before = wall_ns();
            send(&from, &to, lengths[0], &testing::datagrams(lengths));
            testing::wait(&to);
            receiver.receive(&to).unwrap();
            let after = wall_ns();
            let mut times = Vec::new();
            while receiver.advance() {
                times.push(receiver.kernel_ns());
            }
            assert_eq!(times.len(), lengths.len());
            assert!(times.iter().all(|time| *time == times[0]), "a run has one time");
            assert!((before..=after).contains(&times[0]), "{before} {} {after}", times[0]);
        }
        // The same receiver, a socket that was not asked: no time of an earlier datagram is left.
        send(&from, &silent, 3, &[b"one".to_vec()]);
        testing::wait(&silent);
        receiver.receive(&silent).unwrap();
        assert!(receiver.advance());
        assert_eq!(receiver.kernel_ns(), 0);
    }

    #[test]
    fn an_error_about_an_earlier_datagram_is_passing() {
        for mut receiver in ways(4, 1000) {
            let (socket, other) = testing::unicast_pair();
            let gone = testing::unicast_pair().1.local_addr();
            // A connected socket is told when nobody is at the other end.
            socket.as_socket().connect(gone).unwrap();
            socket.as_socket().send(b"anybody?").unwrap();
            socket.as_socket().connect(other.local_addr()).unwrap();
            send(&other, &socket, 5, &[b"hello".to_vec()]);
            assert_eq!(hear(receiver.as_mut(), &socket, 1), [b"hello"]);
        }
    }
}
