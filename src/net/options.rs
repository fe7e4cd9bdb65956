//! The socket options that differ from platform to platform.
#![allow(unsafe_code, reason = "setsockopt for options that socket2 does not have")]

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use socket2::Socket;

use super::interface::{Family, Local};

/// Sets an option that socket2 has no method for.
#[cfg(unix)]
fn set<T: Copy>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    // SAFETY: setsockopt(2): optval and optlen "are used to access option values"; they are the address and the size of
    // a live value, which the kernel only reads, and no option set in this file holds a pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A datagram too long for the interface is refused when it is sent, and never fragmented on its way.
pub(super) fn dont_fragment(socket: &Socket, family: Family) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match family {
        Family::V4 => set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DO),
        Family::V6 => {
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_DO)?;
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &1_i32)
        }
    }
    // Older systems of these have not the option for UDP: they fragment, which is slower but loses nothing.
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    {
        let _ = match family {
            Family::V4 => set(socket, libc::IPPROTO_IP, libc::IP_DONTFRAG, &1_i32),
            Family::V6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &1_i32),
        };
        Ok(())
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd"
    )))]
    {
        let _ = (socket, family);
        Ok(())
    }
}

/// Multicast leaves by the local interface.
pub(super) fn multicast_interface(socket: &Socket, local: &Local) -> io::Result<()> {
    match local.address {
        IpAddr::V6(_) => socket.set_multicast_if_v6(local.interface.index),
        // By index: an address may be on two interfaces.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        IpAddr::V4(address) => {
            let interface = libc::ip_mreqn {
                imr_multiaddr: in_addr(Ipv4Addr::UNSPECIFIED),
                imr_address: in_addr(address),
                imr_ifindex: local.interface.index as libc::c_int,
            };
            set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &interface)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        IpAddr::V4(address) => socket.set_multicast_if_v4(&address),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

/// The socket hears the groups it joined itself, on the interfaces it joined them on, and not those that any other
/// socket of the machine joined.
pub(super) fn only_joined(socket: &Socket, family: Family) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let result = match family {
            Family::V4 => set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &0_i32),
            Family::V6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, &0_i32),
        };
        // Kernels before 4.20 have no IPV6_MULTICAST_ALL.
        match result {
            Err(error) if family == Family::V6 && error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
            result => result,
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (socket, family);
        Ok(())
    }
}

/// An IPv6 group's socket hears what arrives by the interface alone: Linux compares an IPv6 datagram with the groups that
/// were joined, and not with where. Systems that cannot do that for everybody (Linux before 5.7) do without.
pub(super) fn only_interface(socket: &Socket, index: u32) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &index);
    #[cfg(target_os = "macos")]
    let _ = socket.bind_device_by_index_v6(std::num::NonZeroU32::new(index));
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
    let _ = (socket, index);
}

/// Joins `group` on the local interface, for all sources or for one.
pub(super) fn join(socket: &Socket, group: IpAddr, local: &Local, source: Option<IpAddr>) -> io::Result<()> {
    let index = local.interface.index;
    match (group, local.address, source) {
        (IpAddr::V6(group), _, None) => socket.join_multicast_v6(&group, index),
        (IpAddr::V4(group), IpAddr::V4(address), None) => join_v4(socket, group, address, index),
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        (IpAddr::V4(group), IpAddr::V4(address), Some(IpAddr::V4(source))) => {
            socket.join_ssm_v4(&source, &group, &address)
        }
        (group, _, Some(source)) => join_source(socket, group, index, source),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    windows
))]
fn join_v4(socket: &Socket, group: Ipv4Addr, address: Ipv4Addr, index: u32) -> io::Result<()> {
    use socket2::InterfaceIndexOrAddress;

    // Index 0 would let the system choose.
    let interface = match index {
        0 => InterfaceIndexOrAddress::Address(address),
        index => InterfaceIndexOrAddress::Index(index),
    };
    socket.join_multicast_v4_n(&group, &interface)
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    windows
)))]
fn join_v4(socket: &Socket, group: Ipv4Addr, address: Ipv4Addr, _: u32) -> io::Result<()> {
    socket.join_multicast_v4(&group, &address)
}

/// Joins by interface index for one source (RFC 3678's protocol-independent form).
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
fn join_source(socket: &Socket, group: IpAddr, index: u32, source: IpAddr) -> io::Result<()> {
    fn storage(address: IpAddr) -> libc::sockaddr_storage {
        let address = socket2::SockAddr::from(std::net::SocketAddr::new(address, 0));
        // SAFETY: socket2 documents SockAddrStorage as transparent over `sockaddr_storage`, and `as_ptr` as pointing to
        // the one inside, which is live here and is a plain value.
        unsafe { address.as_ptr().cast::<libc::sockaddr_storage>().read() }
    }

    // SAFETY: `group_source_req` is integers and arrays of them: all zeroes are a value of it. The padding is zeroed too.
    let mut request = unsafe { std::mem::zeroed::<libc::group_source_req>() };
    request.gsr_interface = index;
    request.gsr_group = storage(group);
    request.gsr_source = storage(source);
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    set(socket, level, libc::MCAST_JOIN_SOURCE_GROUP, &request)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd")))]
fn join_source(_: &Socket, _: IpAddr, _: u32, _: IpAddr) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "source-specific joins over IPv6 are not done on this platform",
    ))
}

/// Lets the kernel hand over a run of datagrams as one, if that is wished, and tell how many it dropped. Where it can do
/// neither, the receiver makes do.
pub(super) fn batched_receive(socket: &Socket, coalesce: bool) {
    #[cfg(target_os = "linux")]
    {
        // `UDP_GRO` came with Linux 5.0, `SO_RXQ_OVFL` with 2.6.33.
        let _ = set(socket, libc::SOL_UDP, libc::UDP_GRO, &i32::from(coalesce));
        let _ = set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1_i32);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, coalesce);
}

/// Has the kernel tell with each datagram when it came. Where it cannot, there are no times.
pub(super) fn timestamps(socket: &Socket) {
    #[cfg(target_os = "linux")]
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Microseconds that the kernel may poll a device's queue for: what its documentation recommends for `busy_read`. A call that
/// does not block looks once.
#[cfg(target_os = "linux")]
const BUSY_POLL: libc::c_int = 50;

/// Has a call that finds nothing look in the device's queue itself, rather than leave that to an interrupt. It wants a
/// privilege (`CAP_NET_ADMIN`), and a device that can do it: where either is missing, all is as it was.
pub(super) fn busy_poll(socket: &Socket) {
    #[cfg(target_os = "linux")]
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &BUSY_POLL);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// How many datagrams the kernel dropped on the socket, in 32 bits from its beginning; `None` where that is not told.
#[cfg(target_os = "linux")]
pub(super) fn drops(socket: &std::net::UdpSocket) -> Option<u32> {
    use std::os::fd::AsRawFd;

    /// Of `linux/sock_diag.h`: the ninth and last word that `SO_MEMINFO` (Linux 4.12) fills in.
    const SK_MEMINFO_DROPS: usize = 8;
    let mut words = [0_u32; SK_MEMINFO_DROPS + 1];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: getsockopt(2): optval and optlen "identify a buffer in which the value for the requested option(s) are to be
    // returned"; the kernel writes at most the length it is given, which is that of `words`, any bits of which are a value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == size_of_val(&words)).then_some(words[SK_MEMINFO_DROPS])
}

#[cfg(not(target_os = "linux"))]
pub(super) fn drops(_: &std::net::UdpSocket) -> Option<u32> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::testing::lo;
    use super::super::{Options, Socket as Opened};
    use super::*;
    use std::os::fd::AsRawFd;

    /// What the socket was granted.
    fn busy_poll_of(socket: &impl AsRawFd) -> libc::c_int {
        let mut value: libc::c_int = -1;
        let mut length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: as in `drops`: a live integer and its size.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_BUSY_POLL,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        if result == 0 { value } else { -1 }
    }

    #[test]
    fn busy_polling_is_set_where_it_is_granted_and_no_error_where_not() {
        let open =
            |busy_poll| Opened::unicast(&lo(), 0, &Options { busy_poll, ..Options::default() }).unwrap();
        let plain = open(false);
        let default = busy_poll_of(&plain);
        // Whether this process may at all.
        let probe = Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        let granted = set(&probe, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &BUSY_POLL).is_ok();
        assert_eq!(busy_poll_of(&open(true)), if granted { BUSY_POLL } else { default });
        assert_eq!(busy_poll_of(&plain), default, "what was not asked for is as the system has it");
    }
}
