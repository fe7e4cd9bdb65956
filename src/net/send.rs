//! Sending in batches.

use std::io::{self, IoSlice};
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

/// The longest datagram, in bytes: what an IPv4 packet has room for.
pub const MAX_DATAGRAM: usize = 65_507;

/// The most datagrams in one run.
pub const MAX_DATAGRAMS: usize = 64;

/// How many datagrams of `segment` bytes go into one run: at most [`MAX_DATAGRAMS`], and [`MAX_DATAGRAM`] bytes
/// together; at least 1.
///
/// ```
/// assert_eq!(nakcast::net::max_run(1_408), 46);
/// assert_eq!(nakcast::net::max_run(100), 64);
/// assert_eq!(nakcast::net::max_run(65_507), 1);
/// ```
#[must_use]
pub const fn max_run(segment: usize) -> usize {
    if segment == 0 {
        return MAX_DATAGRAMS;
    }
    let fit = MAX_DATAGRAM / segment;
    if fit > MAX_DATAGRAMS {
        MAX_DATAGRAMS
    } else if fit == 0 {
        1
    } else {
        fit
    }
}

/// What became of a batch of datagrams.
///
/// The first `datagrams + failed` of them are done with. If those are fewer than were given, the socket would have
/// blocked, and the rest is to be sent again later.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Sent {
    /// How many went out.
    pub datagrams: usize,
    /// How many were refused, each on its own account, while others went out.
    pub failed: usize,
    /// Why the last of those was refused.
    pub last_error: Option<io::Error>,
    /// How many system calls it took.
    pub system_calls: u32,
}

impl Sent {
    /// How many datagrams are done with, from the first: those that went out and those that were refused.
    #[must_use]
    pub fn done(&self) -> usize {
        self.datagrams + self.failed
    }
}

/// Sends runs of datagrams. It owns no socket, only the scratch memory, made once: use one for each socket, since it
/// remembers whether segmentation is refused.
#[derive(Debug)]
pub struct Sender {
    path: platform::Sender,
}

impl Sender {
    /// Makes the scratch memory: some 6 KiB on Linux.
    #[must_use]
    pub fn new() -> Sender {
        Sender { path: platform::Sender::new() }
    }

    /// Whether runs are handed over whole for the kernel to segment (`UDP_SEGMENT`): true on Linux, until it is refused
    /// or turned off; false elsewhere.
    #[must_use]
    pub fn segmentation(&self) -> bool {
        self.path.segmentation()
    }

    /// Turns segmentation off, such as where a test wants each datagram to cross the machine by itself; or on again,
    /// which has an effect on Linux alone.
    pub fn set_segmentation(&mut self, on: bool) {
        self.path.set_segmentation(on);
    }

    /// How many times a run was refused by the kernel or the device and its datagrams went out without segmentation
    /// after all. After the first, segmentation is off.
    #[must_use]
    pub fn segmentation_refused(&self) -> u64 {
        self.path.segmentation_refused()
    }

    /// Sends `datagrams` to `to`, in order. Those that are all `segment` bytes long, but for the last of at most
    /// [`max_run`], which may be shorter, are handed over as one run where the platform can; others are sent one by one,
    /// in one system call where the platform can. A run whose slices follow each other in memory costs least.
    ///
    /// A refused datagram does not keep those after it from being sent.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::WouldBlock`]: nothing was sent; try again when the socket is writable, or, if it already is,
    ///   after a moment, since a device's full queue (`ENOBUFS`) is reported so too. When some were sent before that,
    ///   it is no error: [`Sent::done`] tells how far it came.
    /// - Any other: every datagram was refused, and this is the last refusal.
    ///   [`is_too_long`](super::is_too_long) tells that from others.
    pub fn send(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        self.progress(socket, to, segment, datagrams).finish()
    }

    /// The same, where it is no error that none went out: what the calls took is told all the same.
    pub(crate) fn attempt(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
    ) -> Sent {
        self.progress(socket, to, segment, datagrams).sent
    }

    fn progress(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
    ) -> Progress {
        let mut progress = Progress::default();
        let mut rest = datagrams;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(rest.len().min(max_run(segment)));
            self.path.send(socket, to, segment, run, &mut progress);
            if progress.blocked.is_some() {
                break;
            }
            rest = after;
        }
        progress
    }
}

impl Default for Sender {
    fn default() -> Sender {
        Sender::new()
    }
}

/// What to do about an error.
enum Verdict {
    /// The same call again: it was no fault of the datagram.
    Again,
    /// The datagram is refused.
    Refused(io::Error),
    /// The socket has no room; noted.
    Blocked,
}

#[derive(Default)]
struct Progress {
    sent: Sent,
    blocked: Option<io::Error>,
    /// An error left behind by an earlier datagram was already taken in place of this one's.
    stale: bool,
}

impl Progress {
    fn called(&mut self) {
        self.sent.system_calls += 1;
    }

    fn went(&mut self, datagrams: usize) {
        self.sent.datagrams += datagrams;
        self.stale = false;
    }

    fn refused(&mut self, datagrams: usize, error: io::Error) {
        self.sent.failed += datagrams;
        self.sent.last_error = Some(error);
        self.stale = false;
    }

    fn judge(&mut self, error: io::Error) -> Verdict {
        #[cfg(unix)]
        const NO_BUFFERS: i32 = libc::ENOBUFS;
        #[cfg(not(unix))]
        const NO_BUFFERS: i32 = 10055; // WSAENOBUFS

        match error.kind() {
            io::ErrorKind::Interrupted => Verdict::Again,
            io::ErrorKind::WouldBlock => {
                self.blocked = Some(error);
                Verdict::Blocked
            }
            // What an ICMP message told of a datagram sent before; reported once, and the call was not tried.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset if !self.stale => {
                self.stale = true;
                Verdict::Again
            }
            _ if error.raw_os_error() == Some(NO_BUFFERS) => {
                self.blocked = Some(io::ErrorKind::WouldBlock.into());
                Verdict::Blocked
            }
            _ => Verdict::Refused(error),
        }
    }

    fn finish(mut self) -> io::Result<Sent> {
        if self.sent.datagrams > 0 {
            return Ok(self.sent);
        }
        match (self.blocked, self.sent.last_error.take()) {
            (Some(_), Some(error)) => {
                self.sent.last_error = Some(error);
                Ok(self.sent)
            }
            (Some(error), None) | (None, Some(error)) => Err(error),
            (None, None) => Ok(self.sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::receive::Receiver;
    use super::super::testing::{self, Sends};
    use super::*;
    use crate::net::is_too_long;

    /// All ways to send.
    fn ways() -> Vec<Box<dyn Sends>> {
        let mut one_by_one = Sender::new();
        one_by_one.set_segmentation(false);
        vec![Box::new(Sender::new()), Box::new(one_by_one), Box::new(portable::Sender::new())]
    }

    fn sent_and_heard(sender: &mut dyn Sends, segment: usize, datagrams: &[Vec<u8>]) -> Sent {
        let (from, to) = testing::unicast_pair();
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        let sent = sender.send_all(&from, to.local_addr(), segment, &slices).unwrap();
        assert_eq!(testing::hear(&mut Receiver::new(8), &to, datagrams.len()), datagrams);
        sent
    }

    #[test]
    fn a_run_with_a_short_last_arrives_as_it_was() {
        let datagrams = testing::datagrams(&[300, 300, 300, 300, 17]);
        for mut sender in ways() {
            let sent = sent_and_heard(sender.as_mut(), 300, &datagrams);
            assert_eq!((sent.datagrams, sent.failed), (5, 0));
        }
    }

    #[test]
    fn adjacent_slices_arrive_as_they_were() {
        let memory = (0..1000).map(|at| at as u8).collect::<Vec<_>>();
        let slices = memory.chunks(90).map(IoSlice::new).collect::<Vec<_>>();
        let expected = memory.chunks(90).map(<[u8]>::to_vec).collect::<Vec<_>>();
        for mut sender in ways() {
            let (from, to) = testing::unicast_pair();
            assert_eq!(sender.send_all(&from, to.local_addr(), 90, &slices).unwrap().done(), 12);
            assert_eq!(testing::hear(&mut Receiver::new(8), &to, 12), expected);
        }
    }

    #[test]
    fn more_than_one_run_is_several() {
        let datagrams = testing::datagrams(&[1408; 100]);
        for mut sender in ways() {
            let sent = sent_and_heard(sender.as_mut(), 1408, &datagrams);
            assert_eq!(sent.datagrams, 100);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_run_is_one_system_call() {
        let datagrams = testing::datagrams(&[1408; 46]);
        let mut sender = Sender::new();
        assert_eq!(sent_and_heard(&mut sender, 1408, &datagrams).system_calls, 1);
        assert!(sender.segmentation());
        sender.set_segmentation(false);
        assert_eq!(sent_and_heard(&mut sender, 1408, &datagrams).system_calls, 1, "sendmmsg");
    }

    #[test]
    fn datagrams_that_are_no_run_keep_their_borders() {
        for lengths in [
            &[10, 20, 30][..],
            &[30, 20, 30, 10],
            &[0, 0, 0],
            &[10, 10, 0],
            &[0],
            &[10, 0, 10],
            &[10, 11],
            &[0; 70],
        ] {
            for mut sender in ways() {
                let datagrams = testing::datagrams(lengths);
                sent_and_heard(sender.as_mut(), lengths[0], &datagrams);
            }
        }
    }

    #[test]
    fn the_wrong_segment_size_does_no_harm() {
        for segment in [0, 1, 99, 101, 70_000] {
            for mut sender in ways() {
                sent_and_heard(sender.as_mut(), segment, &testing::datagrams(&[100, 100, 40]));
            }
        }
    }

    // macOS sends no more than 9,216 bytes unless it is told to.
    #[cfg(not(target_vendor = "apple"))]
    #[test]
    fn the_longest_datagram() {
        for mut sender in ways() {
            sent_and_heard(sender.as_mut(), MAX_DATAGRAM, &testing::datagrams(&[MAX_DATAGRAM]));
        }
    }

    #[test]
    fn one_too_long_is_an_error() {
        let long = vec![7; 65_536];
        for mut sender in ways() {
            let (from, to) = testing::unicast_pair();
            let slices = [IoSlice::new(&long)];
            let error = sender.send_all(&from, to.local_addr(), long.len(), &slices).unwrap_err();
            assert!(is_too_long(&error), "{error}");
            assert!(
                from.too_long(long.len()).to_string().starts_with("a datagram of 65536 bytes is too long")
            );
        }
    }

    #[test]
    fn a_refused_datagram_does_not_lose_the_others() {
        let long = vec![7; 65_536];
        for mut sender in ways() {
            let (from, to) = testing::unicast_pair();
            let slices = [b"one".as_slice(), &long, b"two", &long, &long, b"three"].map(IoSlice::new);
            let sent = sender.send_all(&from, to.local_addr(), 3, &slices).unwrap();
            assert_eq!((sent.datagrams, sent.failed, sent.done()), (3, 3, 6));
            assert!(is_too_long(&sent.last_error.unwrap()));
            assert_eq!(
                testing::hear(&mut Receiver::new(8), &to, 3),
                [b"one".as_slice(), b"two", b"three"].map(<[u8]>::to_vec)
            );
        }
    }

    #[test]
    fn what_was_tried_in_vain_counts() {
        let long = vec![7; 65_536];
        let (from, to) = testing::unicast_pair();
        let slices = [&long, &long].map(|long| IoSlice::new(long));
        let sent = Sender::new().attempt(&from, to.local_addr(), long.len(), &slices);
        assert_eq!((sent.datagrams, sent.failed, sent.done()), (0, 2, 2));
        assert!(sent.system_calls >= 2, "{sent:?}");
        assert!(is_too_long(&sent.last_error.unwrap()));
    }

    #[test]
    fn all_refused_is_an_error() {
        let long = vec![7; 65_536];
        for mut sender in ways() {
            let (from, to) = testing::unicast_pair();
            let slices = [&long, &long].map(|long| IoSlice::new(long));
            let error = sender.send_all(&from, to.local_addr(), long.len(), &slices).unwrap_err();
            assert!(is_too_long(&error), "{error}");
            let nothing = sender.send_all(&from, to.local_addr(), 100, &[]).unwrap();
            assert_eq!((nothing.done(), nothing.system_calls), (0, 0));
        }
    }

    #[test]
    fn no_room_is_told_apart_from_refusal() {
        let mut progress = Progress::default();
        assert!(matches!(progress.judge(io::ErrorKind::WouldBlock.into()), Verdict::Blocked));
        assert_eq!(progress.finish().unwrap_err().kind(), io::ErrorKind::WouldBlock);

        let mut progress = Progress::default();
        progress.went(2);
        progress.refused(1, io::ErrorKind::PermissionDenied.into());
        #[cfg(unix)]
        let full = io::Error::from_raw_os_error(libc::ENOBUFS);
        #[cfg(not(unix))]
        let full = io::Error::from(io::ErrorKind::WouldBlock);
        assert!(matches!(progress.judge(full), Verdict::Blocked));
        assert_eq!(progress.finish().unwrap().done(), 3);

        let mut progress = Progress::default();
        progress.refused(1, io::ErrorKind::PermissionDenied.into());
        progress.judge(io::ErrorKind::WouldBlock.into());
        assert_eq!(progress.finish().unwrap().done(), 1, "else it would be sent again");
    }

    #[test]
    fn a_stale_error_is_taken_once_a_datagram() {
        let mut progress = Progress::default();
        let stale = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(matches!(progress.judge(stale()), Verdict::Again));
        assert!(matches!(progress.judge(stale()), Verdict::Refused(_)));
        progress.went(1);
        assert!(matches!(progress.judge(stale()), Verdict::Again));
    }
}
