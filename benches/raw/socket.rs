//! The kernel's calls.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::options::Options;

/// A socket bound to a group, with as large a buffer as it may have.
pub(crate) fn member(options: &Options, group: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(8 << 20)?;
    set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &0_i32)?;
    socket.bind(&SocketAddr::from(group).into())?;
    let interface = InterfaceIndexOrAddress::Index(index(options)?);
    socket.join_multicast_v4_n(group.ip(), &interface)?;
    Ok(socket.into())
}

/// A socket that sends to a group, connected: the cheapest way there is. What is sent to it is not heard.
pub(crate) fn publisher(options: &Options, group: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_send_buffer_size(8 << 20)?;
    let index = index(options)?.try_into().map_err(io::Error::other)?;
    let none = libc::in_addr { s_addr: 0 };
    let request = libc::ip_mreqn { imr_multiaddr: none, imr_address: none, imr_ifindex: index };
    set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)?;
    socket.connect(&SocketAddr::from(group).into())?;
    Ok(socket.into())
}

/// A socket for what is told from one to one.
pub(crate) fn unicast() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

/// What the kernel granted, in its own counting: bookkeeping included.
pub(crate) fn receive_buffer(socket: &UdpSocket) -> io::Result<u64> {
    Ok(socket2::SockRef::from(socket).recv_buffer_size()? as u64)
}

/// Everything sent is cut into datagrams of this size.
pub(crate) fn segment(socket: &UdpSocket, size: usize) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, &(size as i32))
}

/// What arrived in a run is received in a run.
pub(crate) fn coalesce(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, &1_i32)
}

fn set<T>(socket: &impl AsRawFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is a plain structure of the kernel's, and as long as is said.
    let done = unsafe {
        let value: *const T = value;
        libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), size_of::<T>() as u32)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn index(options: &Options) -> io::Result<u32> {
    let name = CString::new(options.interface.as_str())?;
    // SAFETY: the name ends in a zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::other(format!("no interface {}", options.interface))),
        index => Ok(index),
    }
}

/// The processors this process may run on.
pub(crate) fn processors() -> io::Result<Vec<usize>> {
    // SAFETY: zeros are an empty set, as long as is said; CPU_ISSET indexes within it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect())
    }
}

/// Runs this process on those alone.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: zeros are an empty set, which lives for the time of the calls; CPU_SET indexes within it or panics.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In the program itself.
    pub user: Duration,
    /// In the kernel, on its behalf.
    pub system: Duration,
}

impl Cpu {
    /// Both together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Cpu) -> Cpu {
        let system = self.system.saturating_sub(earlier.system);
        Cpu { user: self.user.saturating_sub(earlier.user), system }
    }
}

/// Now by the monotonic clock (`CLOCK_MONOTONIC`), nanoseconds: the same for all processes of a machine.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes to a live structure; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What this process, with all its threads, has used since it began: getrusage(2).
pub fn cpu_time() -> Cpu {
    // SAFETY: zeros are a valid rusage, which the kernel overwrites.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::from_micros(t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64);
    Cpu { user: time(usage.ru_utime), system: time(usage.ru_stime) }
}

/// Buffers for several datagrams to a call.
pub(crate) struct Batch {
    buffers: Vec<u8>,
    size: usize,
    /// Point into `buffers`.
    vectors: Vec<libc::iovec>,
    /// Point into `vectors`.
    headers: Vec<libc::mmsghdr>,
}

impl Batch {
    pub(crate) fn new(count: usize, size: usize, fill: &[u8]) -> Batch {
        let mut buffers = vec![0; count * size];
        for buffer in buffers.chunks_mut(size) {
            buffer[..fill.len()].copy_from_slice(fill);
        }
        let mut vectors: Vec<_> = buffers
            .chunks_mut(size)
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: size })
            .collect();
        let headers = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: zeros are a valid mmsghdr: no name, no control, no buffers yet.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Batch { buffers, size, vectors, headers }
    }

    /// Sends all of them. Returns the number of calls.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> io::Result<u64> {
        let (mut sent, mut calls) = (0, 0);
        while sent < self.headers.len() {
            let rest = &mut self.headers[sent..];
            // SAFETY: the headers point at vectors and buffers that `self` holds, and there are as many as is said.
            let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            if done < 0 {
                return Err(io::Error::last_os_error());
            }
            sent += done as usize;
            calls += 1;
        }
        Ok(calls)
    }

    /// Receives what is there, waiting for the first unless `spin`, and returns how many.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, spin: bool) -> io::Result<usize> {
        let flags = if spin { libc::MSG_DONTWAIT } else { libc::MSG_WAITFORONE };
        let count = self.headers.len() as u32;
        // SAFETY: as in `send`; the buffers are ours to be written to.
        let done = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, flags, std::ptr::null_mut())
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as usize) }
    }

    /// The datagram received there.
    pub(crate) fn datagram(&self, at: usize) -> &[u8] {
        let length = self.headers[at].msg_len as usize;
        debug_assert_eq!(self.vectors[at].iov_len, self.size);
        &self.buffers[at * self.size..][..length]
    }
}
