//! `recvmmsg` and `recvmsg`, and runs that `UDP_GRO` coalesced.
#![allow(unsafe_code, reason = "recvmmsg and recvmsg have no safe form")]

use std::io;
use std::mem::{self, offset_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use super::{PATIENCE, Received, is_passing};
use crate::net::socket::Socket;

const NAME: usize = size_of::<libc::sockaddr_in6>();
const TIME: usize = size_of::<libc::timespec>();
// SAFETY: CMSG_SPACE(3): "the number of bytes an ancillary element with payload of the passed data length occupies. This
// is a constant expression." Of the control messages we ask for two carry four bytes each, and one a `timespec`; there is
// room for others that a user of `Socket::as_socket` may ask for.
const CONTROL: usize =
    unsafe { 2 * libc::CMSG_SPACE(4) + libc::CMSG_SPACE(TIME as libc::c_uint) } as usize + 80;
// SAFETY: CMSG_LEN(3): "takes the data length as an argument. This is a constant expression." Of no data, it is the length
// of what comes before the data.
const HEADER: usize = unsafe { libc::CMSG_LEN(0) } as usize;

/// Room for an IPv4 or IPv6 socket address.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Name([u8; NAME]);

/// Room for the segment size, the count of drops and a time.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());
const _: () = assert!(NAME >= size_of::<libc::sockaddr_in>());
const _: () = assert!(offset_of!(libc::sockaddr_in, sin_family) == 0);
const _: () = assert!(offset_of!(libc::sockaddr_in, sin_port) == 2);
const _: () = assert!(offset_of!(libc::sockaddr_in, sin_addr) == 4);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_family) == 0);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_port) == 2);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_flowinfo) == 4);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);

pub(in crate::net) struct Receiver {
    /// `headers` points into these four, which therefore never grow; what is read of them is read by index.
    buffer: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Control>,
    _iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Bytes of `buffer` for each message.
    size: usize,
    /// How many headers the kernel wrote: those of the batch.
    filled: usize,
    /// The next of them to open.
    next: usize,
    run: Run,
    peer: Peer,
    current: bool,
    drops: Drops,
    calls: u64,
}

/// The message that is open, and where in `buffer` its current datagram and what is left of it lie.
#[derive(Default)]
struct Run {
    start: usize,
    end: usize,
    rest: usize,
    segment: usize,
    truncated: bool,
    /// When the kernel had it, nanoseconds since 1970; 0 where it was not asked.
    kernel: u64,
}

/// Who sent the message that is open: as the kernel wrote it, and decoded.
struct Peer {
    raw: Name,
    address: SocketAddr,
}

/// `SO_RXQ_OVFL` counts in 32 bits from the socket's beginning.
#[derive(Default)]
struct Drops {
    last: u32,
    total: u64,
}

impl Drops {
    fn told(&mut self, count: u32) {
        self.total += u64::from(count.wrapping_sub(self.last));
        self.last = count;
    }
}

// SAFETY: the raw pointers in `headers` and `_iovecs` lead to the heap memory of the vectors beside them, which moves with
// the receiver and is shared with nobody.
unsafe impl Send for Receiver {}
// SAFETY: as above; through a shared reference nothing is written, and nothing read by these pointers.
unsafe impl Sync for Receiver {}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("Receiver");
        fields.field("messages", &self.headers.len()).field("filled", &self.filled).field("next", &self.next);
        fields.field("drops", &self.drops.total).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(in crate::net) fn new(messages: usize, size: usize) -> Receiver {
        let mut buffer = vec![0; messages * size];
        let mut names = vec![Name([0; NAME]); messages];
        let mut controls = vec![Control([0; CONTROL]); messages];
        let (bytes, first_name, first_control) =
            (buffer.as_mut_ptr(), names.as_mut_ptr(), controls.as_mut_ptr());
        let mut iovecs = (0..messages)
            .map(|at| libc::iovec { iov_base: bytes.wrapping_add(at * size).cast(), iov_len: size })
            .collect::<Vec<_>>();
        let first_iovec = iovecs.as_mut_ptr();
        let headers = (0..messages)
            .map(|at| {
                // SAFETY: `mmsghdr` is integers and raw pointers: all zeroes are a value of it.
                let mut header = unsafe { mem::zeroed::<libc::mmsghdr>() };
                header.msg_hdr.msg_name = first_name.wrapping_add(at).cast();
                header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
                header.msg_hdr.msg_iov = first_iovec.wrapping_add(at);
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = first_control.wrapping_add(at).cast();
                header.msg_hdr.msg_controllen = CONTROL as _;
                header
            })
            .collect();
        Receiver {
            buffer,
            names,
            controls,
            _iovecs: iovecs,
            headers,
            size,
            filled: 0,
            next: 0,
            run: Run::default(),
            // No name in the first bytes: matches none that the kernel writes.
            peer: Peer { raw: Name([0; NAME]), address: (Ipv4Addr::UNSPECIFIED, 0).into() },
            current: false,
            drops: Drops::default(),
            calls: 0,
        }
    }

    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.receive_by(socket, |descriptor, headers| {
            // SAFETY: recvmmsg(2): "The msgvec argument is a pointer to an array of mmsghdr structures. The size of this array
            // is specified in vlen": pointer and length of one slice. "If timeout is NULL, then the operation blocks
            // indefinitely", but the socket does not block. The headers are as `receive_by` says.
            unsafe {
                let length = headers.len() as libc::c_uint;
                libc::recvmmsg(descriptor, headers.as_mut_ptr(), length, 0, ptr::null_mut())
            }
        })
    }

    pub(super) fn receive_one(&mut self, socket: &Socket) -> io::Result<usize> {
        self.receive_by(socket, |descriptor, headers| {
            let Some(header) = headers.first_mut() else { return 0 };
            // SAFETY: recvmsg(2): "The recvmsg() call uses a msghdr structure": that of a header, which is as `receive_by` says.
            let length = unsafe { libc::recvmsg(descriptor, &raw mut header.msg_hdr, 0) };
            let Ok(length) = libc::c_uint::try_from(length) else { return -1 };
            // As recvmmsg(2) does.
            header.msg_len = length;
            1
        })
    }

    /// Receives a batch by a call that gives how many headers it filled, or an error as -1. The headers are those of one vector;
    /// recvmsg(2): msg_name "points to a caller-allocated buffer" of msg_namelen bytes, msg_iov and msg_iovlen "describe
    /// scatter-gather locations", msg_controllen "should contain the length of the available buffer in msg_control": each has
    /// its own share of the vectors beside it, which are as long, are borrowed here for writing with `self`, and live as long.
    fn receive_by(
        &mut self,
        socket: &Socket,
        call: impl Fn(RawFd, &mut [libc::mmsghdr]) -> libc::c_int,
    ) -> io::Result<usize> {
        for header in &mut self.headers[..self.filled] {
            // recvmsg(2) writes msg_namelen, msg_controllen and msg_flags; the flags are not read, only written.
            header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        (self.filled, self.next, self.current) = (0, 0, false);
        self.run = Run::default();
        let mut patience = PATIENCE;
        loop {
            self.calls += 1;
            if let Ok(filled) = usize::try_from(call(socket.as_raw_fd(), &mut self.headers)) {
                self.filled = filled;
                return Ok(filled);
            }
            let error = io::Error::last_os_error();
            if !is_passing(&error) || patience == 0 {
                return Err(error);
            }
            patience -= 1;
        }
    }

    pub(super) fn advance(&mut self) -> bool {
        // A message of no bytes is one empty datagram, so it is opened and stepped into at once.
        if self.run.rest == 0 && !self.open_next() {
            self.current = false;
            return false;
        }
        let length = self.run.segment.min(self.run.rest);
        self.run.start = self.run.end;
        self.run.end += length;
        self.run.rest -= length;
        self.current = true;
        true
    }

    pub(super) fn current(&self) -> Option<Received<'_>> {
        let Run { start, end, rest, truncated, .. } = self.run;
        self.current.then(|| Received {
            from: self.peer.address,
            bytes: &self.buffer[start..end],
            // What was cut is at the end.
            truncated: truncated && rest == 0,
        })
    }

    #[inline]
    pub(super) fn kernel_ns(&self) -> u64 {
        self.run.kernel
    }

    pub(super) fn kernel_drops(&self) -> u64 {
        self.drops.total
    }

    pub(super) fn system_calls(&self) -> u64 {
        self.calls
    }

    /// Opens the next message of the batch; false when there is none.
    fn open_next(&mut self) -> bool {
        while self.next < self.filled {
            let at = self.next;
            self.next += 1;
            let header = &self.headers[at];
            let length = (header.msg_len as usize).min(self.size);
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let (mut segment, mut kernel) = (length, 0);
            for message in ControlMessages::new(&header.msg_hdr, &self.controls[at]) {
                match message {
                    ControlMessage::Segment(size) => segment = size,
                    ControlMessage::Drops(count) => self.drops.told(count),
                    ControlMessage::Time(nanos) => kernel = nanos,
                }
            }
            // It came from no UDP socket, and the name is an earlier one's.
            if header.msg_hdr.msg_namelen == 0 {
                continue;
            }
            // The same sender again, as it mostly is, needs no decoding.
            if self.names[at].0 != self.peer.raw.0 {
                let Some(address) = decode(&self.names[at].0) else { continue };
                self.peer = Peer { raw: self.names[at], address };
            }
            let start = at * self.size;
            self.run = Run { start, end: start, rest: length, segment, truncated, kernel };
            return true;
        }
        false
    }
}

/// What a message told beside its bytes.
enum ControlMessage {
    Segment(usize),
    Drops(u32),
    /// Nanoseconds since 1970.
    Time(u64),
}

/// The control messages of one header, as far as the kernel wrote any.
struct ControlMessages<'a> {
    header: &'a libc::msghdr,
    /// Null after the last.
    next: *mut libc::cmsghdr,
}

impl<'a> ControlMessages<'a> {
    /// `control` is the memory that `header` has for control messages.
    fn new(header: &'a libc::msghdr, control: &'a Control) -> ControlMessages<'a> {
        debug_assert!(ptr::eq(header.msg_control.cast::<Control>(), control));
        // SAFETY: CMSG_FIRSTHDR(3) "returns a pointer to the first cmsghdr in the ancillary data buffer associated with the
        // passed msghdr. It returns NULL if there isn't enough space for a cmsghdr": by msg_controllen, which after recvmsg(2)
        // is "the length of the control message sequence".
        let next = unsafe { libc::CMSG_FIRSTHDR(header) };
        ControlMessages { header, next }
    }
}

impl Iterator for ControlMessages<'_> {
    type Item = ControlMessage;

    fn next(&mut self) -> Option<ControlMessage> {
        while !self.next.is_null() {
            let message = self.next;
            // SAFETY: not NULL, so CMSG_FIRSTHDR(3) or CMSG_NXTHDR(3) returned it: "the next valid cmsghdr".
            let &libc::cmsghdr { cmsg_level, cmsg_type, cmsg_len, .. } = unsafe { &*message };
            // SAFETY: CMSG_DATA(3) "returns a pointer to the data portion of a cmsghdr".
            let data = unsafe { libc::CMSG_DATA(message) };
            // Of another type in other C libraries.
            let length: usize = cmsg_len as _;
            let length = length.saturating_sub(HEADER);
            // SAFETY: CMSG_NXTHDR(3) "returns the next valid cmsghdr after the passed cmsghdr", which is of this header. "It
            // returns NULL when there isn't enough space left in the buffer."
            self.next = unsafe { libc::CMSG_NXTHDR(self.header, message) };
            match (cmsg_level, cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) if length >= size_of::<libc::c_int>() => {
                    // SAFETY: there are as many bytes of data. CMSG_DATA(3): "The pointer returned cannot be assumed to be
                    // suitably aligned".
                    let size = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                    if let Some(size) = usize::try_from(size).ok().filter(|&size| size > 0) {
                        return Some(ControlMessage::Segment(size));
                    }
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) if length >= size_of::<u32>() => {
                    // SAFETY: as above. socket(7): "an unsigned 32-bit value ancillary message".
                    let count = unsafe { data.cast::<u32>().read_unaligned() };
                    return Some(ControlMessage::Drops(count));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if length >= TIME => {
                    // SAFETY: as above. The kernel's documentation of SO_TIMESTAMPNS: "its struct timespec".
                    let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
                    return Some(ControlMessage::Time(
                        seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
                    ));
                }
                _ => {}
            }
        }
        None
    }
}

fn decode(name: &[u8; NAME]) -> Option<SocketAddr> {
    let four = |at: usize| [name[at], name[at + 1], name[at + 2], name[at + 3]];
    let port = u16::from_be_bytes([name[2], name[3]]);
    match libc::c_int::from(libc::sa_family_t::from_ne_bytes([name[0], name[1]])) {
        libc::AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(four(4)), port).into()),
        libc::AF_INET6 => {
            let mut address = [0; 16];
            address.copy_from_slice(&name[8..24]);
            let scope = u32::from_ne_bytes(four(24));
            Some(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_survive_the_counter_s_wrap() {
        let mut drops = Drops::default();
        for count in [0, 5, 5, u32::MAX, 2] {
            drops.told(count);
        }
        assert_eq!(drops.total, u64::from(u32::MAX) + 3);
    }

    #[test]
    fn addresses_are_decoded() {
        for text in ["192.0.2.7:7700", "[2001:db8::9]:7701", "[fe80::1%5]:7702"] {
            let address = text.parse::<SocketAddr>().unwrap();
            let name = socket2::SockAddr::from(address);
            let mut raw = [0; NAME];
            // SAFETY: the address is `len` bytes long, at most NAME.
            unsafe { name.as_ptr().cast::<u8>().copy_to(raw.as_mut_ptr(), (name.len() as usize).min(NAME)) };
            assert_eq!(decode(&raw), Some(address));
        }
        assert_eq!(decode(&[0; NAME]), None);
    }

    #[test]
    fn the_receiver_may_move_with_a_batch_in_it() {
        fn is_send_and_sync<T: Send + Sync>(_: &T) {}
        is_send_and_sync(&Receiver::new(1, 1));
    }
}
