//! `UDP_SEGMENT` for a run, `sendmmsg` for the rest.
#![allow(unsafe_code, reason = "sendmsg with a control message and sendmmsg have no safe form")]

use std::io::{self, IoSlice};
use std::mem::{self, offset_of};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::ptr;

use socket2::SockAddr;

use super::{MAX_DATAGRAM, MAX_DATAGRAMS, Progress, Verdict};
use crate::net::is_too_long;
use crate::net::socket::Socket;

/// Where the data of a first control message begins, and the length of one that carries a `u16`.
// SAFETY: CMSG_LEN(3): "takes the data length as an argument. This is a constant expression."
const DATA: usize = unsafe { libc::CMSG_LEN(0) } as usize;
// SAFETY: as above.
const LENGTH: usize = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as usize;
// SAFETY: CMSG_SPACE(3): "the number of bytes an ancillary element with payload of the passed data length occupies. This
// is a constant expression."
const SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as usize;

/// Room for one control message, aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; SPACE]);

const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

pub(in crate::net) struct Sender {
    /// Where the bytes lie; what they point to is only valid inside the call that wrote them, as with `headers`.
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// A `UDP_SEGMENT` control message, complete but for the segment's length.
    control: Box<Control>,
    /// The address last sent to, as the kernel wants it.
    name: Option<(SocketAddr, SockAddr)>,
    segmentation: bool,
    /// The kernel was asked whether it knows it.
    asked: bool,
    refused: u64,
}

// SAFETY: the raw pointers in `iovecs` and `headers` are scratch: each call writes those it uses before it uses them, and
// no other call reads them.
unsafe impl Send for Sender {}
// SAFETY: as above, and through a shared reference nothing reads them.
unsafe impl Sync for Sender {}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("Sender");
        fields
            .field("segmentation", &self.segmentation)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(in crate::net) fn new() -> Sender {
        // SAFETY: `cmsghdr`, `mmsghdr` and `iovec` are integers and raw pointers: all zeroes are a value of them.
        let (mut message, header, iovec) = unsafe {
            (mem::zeroed::<libc::cmsghdr>(), mem::zeroed::<libc::mmsghdr>(), mem::zeroed::<libc::iovec>())
        };
        message.cmsg_len = LENGTH as _;
        message.cmsg_level = libc::SOL_UDP;
        message.cmsg_type = libc::UDP_SEGMENT;
        let mut control = Box::new(Control([0; SPACE]));
        // SAFETY: cmsg(3): "Ancillary data is a sequence of cmsghdr structures with appended data", the first of them at
        // the beginning; the buffer is as long and as aligned as one needs.
        unsafe { ptr::from_mut(&mut *control).cast::<libc::cmsghdr>().write(message) };
        Sender {
            iovecs: vec![iovec; MAX_DATAGRAMS],
            headers: vec![header; MAX_DATAGRAMS],
            control,
            name: None,
            segmentation: true,
            asked: false,
            refused: 0,
        }
    }

    pub(super) fn segmentation(&self) -> bool {
        self.segmentation
    }

    pub(super) fn set_segmentation(&mut self, on: bool) {
        self.segmentation = on;
    }

    pub(super) fn segmentation_refused(&self) -> u64 {
        self.refused
    }

    /// Sends what fits one call. `datagrams` are at most `MAX_DATAGRAMS`.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        to: SocketAddr,
        segment: usize,
        datagrams: &[IoSlice<'_>],
        progress: &mut Progress,
    ) {
        if self.name.as_ref().is_none_or(|(known, _)| *known != to) {
            self.name = Some((to, SockAddr::from(to)));
        }
        if self.segmentation && is_run(segment, datagrams) && self.is_offered(socket) {
            self.send_run(socket, segment as u16, datagrams, progress);
        } else {
            self.send_each(socket, datagrams, progress);
        }
    }

    /// The address to send to, as a `msghdr` has it. The kernel does not write there when sending.
    fn name(&self) -> (*mut libc::c_void, libc::socklen_t) {
        self.name
            .as_ref()
            .map_or((ptr::null_mut(), 0), |(_, name)| (name.as_ptr().cast_mut().cast(), name.len()))
    }

    fn send_run(
        &mut self,
        socket: &Socket,
        segment: u16,
        datagrams: &[IoSlice<'_>],
        progress: &mut Progress,
    ) {
        let mut used = 0;
        for datagram in datagrams {
            if let Some(last) = self.iovecs[..used].last_mut()
                && last.iov_base.wrapping_byte_add(last.iov_len) == datagram.as_ptr().cast_mut().cast()
            {
                last.iov_len += datagram.len();
                continue;
            }
            self.iovecs[used] = iovec(datagram);
            used += 1;
        }
        self.control.0[DATA..DATA + size_of::<u16>()].copy_from_slice(&segment.to_ne_bytes());

        let (name, name_length) = self.name();
        // SAFETY: `msghdr` is integers and raw pointers: all zeroes are a value of it.
        let mut header = unsafe { mem::zeroed::<libc::msghdr>() };
        header.msg_name = name;
        header.msg_namelen = name_length;
        header.msg_iov = self.iovecs.as_mut_ptr();
        header.msg_iovlen = used as _;
        header.msg_control = ptr::from_mut(&mut *self.control).cast();
        header.msg_controllen = SPACE as _;
        loop {
            progress.called();
            // SAFETY: sendmsg(2): msg_name "points to a buffer containing the address; the msg_namelen field should be set
            // to the size of the address": both are socket2's. "The msg_iov and msg_iovlen fields specify scatter-gather
            // locations": the first `used` were written above from slices borrowed for this call; merged ones lie end to
            // end. "You may send control information using the msg_control and msg_controllen members": cmsg(3) wants
            // that "set to the sum of the CMSG_SPACE() of the length of all control messages", which is one. The kernel
            // only reads them all.
            let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
            if result >= 0 {
                return progress.went(datagrams.len());
            }
            match progress.judge(io::Error::last_os_error()) {
                Verdict::Again => {}
                Verdict::Blocked => return,
                Verdict::Refused(error) if may_be_segmentation(&error) => {
                    return self.send_run_apart(socket, datagrams, progress);
                }
                Verdict::Refused(error) => return progress.refused(datagrams.len(), error),
            }
        }
    }

    /// Sends a run that was refused one by one. If that works it was the fault of segmentation.
    fn send_run_apart(&mut self, socket: &Socket, datagrams: &[IoSlice<'_>], progress: &mut Progress) {
        let Some((first, rest)) = datagrams.split_first() else { return };
        let (went, failed) = (progress.sent.datagrams, progress.sent.failed);
        self.send_one(socket, first, progress);
        if progress.blocked.is_some() {
            return;
        }
        let mut rest = rest;
        if progress.sent.failed > failed
            && let Some(error) = progress.sent.last_error.take_if(|error| is_too_long(error))
        {
            // Then so are all others of its length, without a call for each.
            let as_long = rest.iter().take_while(|datagram| datagram.len() == first.len()).count();
            progress.refused(as_long, error);
            rest = &rest[as_long..];
        }
        if !rest.is_empty() {
            self.send_each(socket, rest, progress);
        }
        if progress.sent.datagrams > went && progress.sent.failed == failed {
            self.refuse();
        }
    }

    fn refuse(&mut self) {
        self.segmentation = false;
        self.refused += 1;
    }

    /// Whether the kernel knows segmentation: one before 4.18 would take a run for one long datagram. Asked once.
    fn is_offered(&mut self, socket: &Socket) -> bool {
        if !std::mem::replace(&mut self.asked, true) && !knows(socket, libc::UDP_SEGMENT) {
            self.refuse();
        }
        self.segmentation
    }

    /// One alone: the kernel has less to read than for a row of one.
    fn send_one(&self, socket: &Socket, datagram: &[u8], progress: &mut Progress) {
        let (name, name_length) = self.name();
        loop {
            progress.called();
            // SAFETY: sendto(2): "The message is found in buf and has length len", both of a slice borrowed for this call, and
            // "the address of the target is given by dest_addr with addrlen specifying its size", both socket2's. The kernel
            // only reads them.
            let result = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    datagram.as_ptr().cast(),
                    datagram.len(),
                    0,
                    name.cast_const().cast(),
                    name_length,
                )
            };
            if result >= 0 {
                return progress.went(1);
            }
            match progress.judge(io::Error::last_os_error()) {
                Verdict::Again => {}
                Verdict::Blocked => return,
                Verdict::Refused(error) => return progress.refused(1, error),
            }
        }
    }

    fn send_each(&mut self, socket: &Socket, datagrams: &[IoSlice<'_>], progress: &mut Progress) {
        if let [datagram] = datagrams {
            return self.send_one(socket, datagram, progress);
        }
        let datagrams = &datagrams[..datagrams.len().min(MAX_DATAGRAMS)];
        let (name, name_length) = self.name();
        let iovecs = self.iovecs.as_mut_ptr();
        for (at, datagram) in datagrams.iter().enumerate() {
            // SAFETY: `at` is below MAX_DATAGRAMS, the length of `iovecs`, which nothing else borrows here.
            let place = unsafe { iovecs.add(at) };
            // SAFETY: as above.
            unsafe { place.write(iovec(datagram)) };
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = name;
            header.msg_namelen = name_length;
            header.msg_iov = place;
            header.msg_iovlen = 1;
        }
        let mut done = 0;
        while done < datagrams.len() {
            let waiting = &mut self.headers[done..datagrams.len()];
            progress.called();
            // SAFETY: sendmmsg(2): "The msgvec argument is a pointer to an array of mmsghdr structures. The size of this
            // array is specified in vlen": pointer and length of one slice. Each header was written above with one iovec of
            // a slice borrowed for this call, an address of socket2's, and, since it was made of zeroes, no control message.
            // The kernel writes msg_len alone.
            let result = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), waiting.as_mut_ptr(), waiting.len() as libc::c_uint, 0)
            };
            // "On success, sendmmsg() returns the number of messages sent"; "An error is returned only if no datagrams could
            // be sent": it then is about the first of those waiting.
            if let Ok(went) = usize::try_from(result) {
                progress.went(went);
                done += went;
                continue;
            }
            match progress.judge(io::Error::last_os_error()) {
                Verdict::Again => {}
                Verdict::Blocked => return,
                Verdict::Refused(error) => {
                    progress.refused(1, error);
                    done += 1;
                }
            }
        }
    }
}

/// Whether the kernel has an option of UDP sockets.
fn knows(socket: &Socket, option: libc::c_int) -> bool {
    let (mut value, mut length) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: getsockopt(2): "optval and optlen identify a buffer in which the value for the requested option(s) are to be
    // returned": a live int and its size.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw mut value).cast(), &raw mut length)
    };
    result == 0
}

fn iovec(datagram: &IoSlice<'_>) -> libc::iovec {
    libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() }
}

/// Whether the kernel can cut what is sent into just these datagrams: all of one length, but the last, which may be
/// shorter and not empty.
fn is_run(segment: usize, datagrams: &[IoSlice<'_>]) -> bool {
    let Some((last, others)) = datagrams.split_last() else { return false };
    !others.is_empty()
        && datagrams.len() <= MAX_DATAGRAMS
        && segment > 0
        && others.iter().all(|datagram| datagram.len() == segment)
        && (1..=segment).contains(&last.len())
        && segment * others.len() + last.len() <= MAX_DATAGRAM
}

/// The errors by which kernels and devices refuse `UDP_SEGMENT`; each has other causes too.
fn may_be_segmentation(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT | libc::EMSGSIZE)
    )
}

const _: () = assert!(offset_of!(libc::cmsghdr, cmsg_len) == 0);
const _: () = assert!(MAX_DATAGRAM <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::super::Sender;
    use crate::net::socket::Socket;
    use crate::net::testing;
    use crate::net::{Receiver, is_too_long};
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_the_kernel_does_not_know_is_found_out() {
        let (socket, _) = testing::unicast_pair();
        // 4,711 is none of any kernel's.
        assert_eq!([libc::UDP_SEGMENT, 4_711].map(|option| super::knows(&socket, option)), [true, false]);
    }

    #[test]
    fn a_run_that_is_too_long_takes_few_calls_and_its_short_end_goes() {
        let (from, to) = testing::unicast_pair();
        let datagrams = testing::datagrams(&[65_520, 65_520, 65_520, 20]);
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        let mut sender = super::Sender::new();
        let mut progress = super::Progress::default();
        sender.name = Some((to.local_addr(), to.local_addr().into()));
        sender.send_run_apart(&from, &slices, &mut progress);
        let sent = &progress.sent;
        assert_eq!((sent.datagrams, sent.failed, sent.system_calls), (1, 3, 2));
        assert!(sent.last_error.as_ref().is_some_and(is_too_long) && sender.segmentation);
    }

    /// A socket that sends without a checksum is one for which Linux refuses segmentation, with EINVAL.
    fn refuse_segmentation(socket: &Socket) {
        let on = 1_i32;
        // SAFETY: setsockopt(2): the option's value is a live int and its size.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                (&raw const on).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0);
    }

    #[test]
    fn refused_segmentation_loses_nothing_and_is_remembered() {
        let (from, to) = testing::unicast_pair();
        refuse_segmentation(&from);
        let datagrams = testing::datagrams(&[500, 500, 500, 20]);
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        let mut sender = Sender::new();
        let mut receiver = Receiver::new(8);

        let sent = sender.send(&from, to.local_addr(), 500, &slices).unwrap();
        assert_eq!((sent.datagrams, sent.failed, sent.system_calls), (4, 0, 3));
        assert_eq!(testing::hear(&mut receiver, &to, 4), datagrams);
        assert_eq!((sender.segmentation(), sender.segmentation_refused()), (false, 1));

        let sent = sender.send(&from, to.local_addr(), 500, &slices).unwrap();
        assert_eq!((sent.datagrams, sent.system_calls), (4, 1));
        assert_eq!(testing::hear(&mut receiver, &to, 4), datagrams);
        assert_eq!(sender.segmentation_refused(), 1);
    }

    #[test]
    fn what_fails_one_by_one_too_is_no_refusal_of_segmentation() {
        let (from, mut nowhere) = testing::unicast_pair();
        let datagrams = testing::datagrams(&[100, 100]);
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        let mut sender = Sender::new();
        let mut to = nowhere.local_addr();
        to.set_port(0);
        let error = sender.send(&from, to, 100, &slices).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(!is_too_long(&error));
        assert_eq!((sender.segmentation(), sender.segmentation_refused()), (true, 0));

        // And it goes on as if nothing had been.
        nowhere = testing::unicast_pair().1;
        assert_eq!(sender.send(&from, nowhere.local_addr(), 100, &slices).unwrap().system_calls, 1);
        assert_eq!(testing::hear(&mut Receiver::new(8), &nowhere, 2), datagrams);
    }
}
