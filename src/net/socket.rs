//! The sockets of a publisher and of a subscriber.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, Protocol, Type};

use super::error::{BufferWarning, SocketError};
use super::interface::{Family, Interface, Local, is_near, longest_datagram};
use super::options;

/// What can be chosen about a [`Socket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Receive buffer in bytes; by default (`None`) the system's. A larger one rides out a longer pause of the reader,
    /// and is kernel memory, of which Linux may use twice as much. When less is granted,
    /// [`Socket::buffer_warning`] says so.
    pub receive_buffer: Option<usize>,
    /// Send buffer in bytes; by default (`None`) the system's. What is granted is silently limited by the system.
    pub send_buffer: Option<usize>,
    /// The time to live of what is sent, at most 255: how many routers it may pass, plus one. With 0 multicast stays on this machine,
    /// and unicast on its network. By default (`None`) 1 for multicast, which keeps it on its network, and the system's for unicast.
    pub ttl: Option<u32>,
    /// Whether this machine's own subscribers hear what it sends: true by default. Costs a copy of each datagram where
    /// there are none.
    pub loopback: bool,
    /// Whether the kernel may hand over runs of datagrams as one (Linux's `UDP_GRO`): true by default. That is cheaper,
    /// but a run that is dropped is then counted as one datagram.
    pub coalesce: bool,
    /// Whether the kernel tells when each datagram came ([`Receiver::kernel_ns`](super::Receiver::kernel_ns); Linux's
    /// `SO_TIMESTAMPNS`): false by default. That costs a look at the clock for every packet of the machine while any socket
    /// has it, and some more bytes with each datagram.
    pub timestamps: bool,
    /// Whether a call that finds nothing looks in the device's queue itself (Linux's `SO_BUSY_POLL`, 50 us): false by default. For
    /// who calls again and again. It wants `CAP_NET_ADMIN` and a device whose driver can do it; where either is missing
    /// nothing changes, and that is no error.
    pub busy_poll: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            receive_buffer: None,
            send_buffer: None,
            ttl: None,
            loopback: true,
            coalesce: true,
            timestamps: false,
            busy_poll: false,
        }
    }
}

/// A nonblocking UDP socket that is open and set up for one purpose.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    local_addr: SocketAddr,
    group: Option<SocketAddr>,
    interface: Option<Interface>,
    receive_buffer: usize,
    receive_buffer_asked: Option<usize>,
}

impl Socket {
    /// Opens a socket that sends to `group` by the local interface, and receives unicast at the local address and
    /// `port` (0 for any that is free). What it sends is never fragmented.
    ///
    /// # Errors
    ///
    /// [`SocketError`], when the addresses do not go together or the operating system refuses.
    pub fn sender(
        group: SocketAddr,
        local: &Local,
        port: u16,
        options: &Options,
    ) -> Result<Socket, SocketError> {
        check_group(group, local)?;
        let family = Family::from(local.address);
        let socket = open(family, options)?;
        multicast_reach(&socket, family, options)?;
        options::multicast_interface(&socket, local)
            .map_err(|error| SocketError::option("IP_MULTICAST_IF", &error))?;
        finish(socket, local.socket_addr(port), Some(local), Some(group), options)
    }

    /// Opens a socket that hears `group` on the local interface: all sources, or only `source`. It receives no unicast.
    /// Any number of sockets may share the group and its port; each hears all.
    ///
    /// # Errors
    ///
    /// [`SocketError`], when the addresses do not go together or the operating system refuses.
    pub fn group(
        group: SocketAddr,
        local: &Local,
        source: Option<IpAddr>,
        options: &Options,
    ) -> Result<Socket, SocketError> {
        check_group(group, local)?;
        if let Some(source) = source {
            if source.is_ipv4() != group.is_ipv4() {
                return Err(SocketError::SourceFamily { group: group.ip(), source });
            }
            if source.is_multicast() || source.is_unspecified() {
                return Err(SocketError::SourceNotUnicast { source });
            }
        }
        let family = Family::from(local.address);
        let socket = open(family, options)?;
        socket.set_reuse_address(true).map_err(|error| SocketError::option("SO_REUSEADDR", &error))?;
        // The BSD family shares a port by this one; Linux would take it as leave to spread unicast.
        #[cfg(all(
            unix,
            not(any(
                target_os = "linux",
                target_os = "android",
                target_os = "solaris",
                target_os = "illumos"
            ))
        ))]
        socket.set_reuse_port(true).map_err(|error| SocketError::option("SO_REUSEPORT", &error))?;
        // Windows asks the receiver, not the sender, whether to loop.
        multicast_reach(&socket, family, options)?;
        options::only_joined(&socket, family)
            .map_err(|error| SocketError::option("IP_MULTICAST_ALL", &error))?;
        if family == Family::V6 {
            options::only_interface(&socket, local.interface.index);
        }
        let scoped = with_scope(group, local);
        // Windows does not bind to a group.
        let unspecified = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let address = if cfg!(windows) { SocketAddr::new(unspecified, group.port()) } else { scoped };
        bind(&socket, address)?;
        options::join(&socket, group.ip(), local, source).map_err(|error| SocketError::Join {
            group: group.ip(),
            source,
            interface: local.interface.name.clone(),
            kind: error.kind(),
            text: error.to_string(),
        })?;
        wrap(socket, Some(local), Some(scoped), options)
    }

    /// Opens a socket for unicast both ways, bound to the local address and `port` (0 for any that is free).
    ///
    /// # Errors
    ///
    /// [`SocketError`], when the operating system refuses.
    pub fn unicast(local: &Local, port: u16, options: &Options) -> Result<Socket, SocketError> {
        let socket = open(Family::from(local.address), options)?;
        finish(socket, local.socket_addr(port), Some(local), None, options)
    }

    /// Opens a socket that listens at `address`, which may be the unspecified one (`0.0.0.0`, or `::`, which hears IPv4
    /// too where the system has it so). Multicast options do not matter to it.
    ///
    /// # Errors
    ///
    /// [`SocketError`], when the operating system refuses.
    pub fn listen(address: SocketAddr, options: &Options) -> Result<Socket, SocketError> {
        let socket = open(Family::from(address.ip()), options)?;
        finish(socket, address, None, None, options)
    }

    /// The same, with a port that others opened likewise, by the same user, may share: the kernel spreads datagrams over
    /// them by sender (Linux's `SO_REUSEPORT`).
    ///
    /// # Errors
    ///
    /// [`SocketError`], when the operating system refuses.
    #[cfg(target_os = "linux")]
    pub fn listen_shared(address: SocketAddr, options: &Options) -> Result<Socket, SocketError> {
        let socket = open(Family::from(address.ip()), options)?;
        socket.set_reuse_port(true).map_err(|error| SocketError::option("SO_REUSEPORT", &error))?;
        finish(socket, address, None, None, options)
    }

    /// The address it is bound to: with the port that was free, if any was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The group it sends to or hears, with the scope an IPv6 group of link-local scope needs; `None` for unicast.
    #[must_use]
    pub fn group_addr(&self) -> Option<SocketAddr> {
        self.group
    }

    /// The interface it was opened on, as it was then; `None` for [`Socket::listen`].
    #[must_use]
    pub fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref()
    }

    /// Receive buffer granted, in bytes as the kernel accounts it: on Linux twice what it would grant by name, since
    /// each datagram also takes its bookkeeping (for small ones, several times their length).
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Receive buffer asked for, in bytes; `None` if it was left to the system.
    #[must_use]
    pub fn receive_buffer_asked(&self) -> Option<usize> {
        self.receive_buffer_asked
    }

    /// What to tell an operator when less receive buffer was granted than asked for.
    #[must_use]
    pub fn buffer_warning(&self) -> Option<BufferWarning> {
        // socket(7): "The kernel doubles this value [...] and this doubled value is returned by getsockopt(2)."
        let doubled = cfg!(any(target_os = "linux", target_os = "android"));
        let granted = if doubled { self.receive_buffer / 2 } else { self.receive_buffer };
        self.receive_buffer_asked
            .filter(|&asked| granted < asked)
            .map(|asked| BufferWarning { asked, granted })
    }

    /// What to say when a datagram of `bytes` was refused as too long ([`is_too_long`](super::is_too_long)), with the MTU
    /// that the interface has now, where the platform tells it: it may have changed since the socket was opened.
    #[must_use]
    pub fn too_long(&self, bytes: usize) -> SocketError {
        let mtu = self.interface.as_ref().and_then(|interface| self.mtu(interface));
        SocketError::TooLong {
            bytes,
            interface: self.interface.as_ref().map(|interface| interface.name.clone()),
            mtu,
            most: mtu.map(|mtu| longest_datagram(mtu, self.local_addr.ip())),
        }
    }

    #[cfg(target_os = "linux")]
    fn mtu(&self, interface: &Interface) -> Option<u32> {
        let name = std::ffi::CString::new(interface.name.as_str()).ok()?;
        super::listing::mtu_of(&self.socket, &name).or(interface.mtu)
    }

    #[cfg(not(target_os = "linux"))]
    fn mtu(&self, interface: &Interface) -> Option<u32> {
        interface.mtu
    }

    /// How many datagrams the kernel has dropped on this socket until now, as when its receive buffer was full: in 32 bits,
    /// which wrap. Runs that were coalesced count as one: for datagrams, open it without [`Options::coalesce`]. `None` where
    /// the platform does not tell (it is Linux that does, from 4.12).
    ///
    /// [`Receiver::kernel_drops`](super::Receiver::kernel_drops) needs no system call, but learns of a drop only with a
    /// later datagram.
    #[must_use]
    pub fn kernel_drops(&self) -> Option<u32> {
        options::drops(&self.socket)
    }

    /// The standard library's socket, for what this one does not do.
    #[must_use]
    pub fn as_socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Gives up the standard library's socket, such as for a poller that wants to own it.
    #[must_use]
    pub fn into_socket(self) -> UdpSocket {
        self.socket
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

fn check_group(group: SocketAddr, local: &Local) -> Result<(), SocketError> {
    if !group.ip().is_multicast() {
        return Err(SocketError::NotMulticast { address: group.ip() });
    }
    if group.port() == 0 {
        return Err(SocketError::PortZero { group });
    }
    if group.is_ipv4() != local.address.is_ipv4() {
        return Err(SocketError::LocalFamily { group: group.ip(), local: local.address });
    }
    Ok(())
}

fn with_scope(group: SocketAddr, local: &Local) -> SocketAddr {
    match group {
        SocketAddr::V6(v6) if is_near(*v6.ip()) => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, local.interface.index).into()
        }
        group => group,
    }
}

/// A socket with what all of ours have, not yet bound.
fn open(family: Family, options: &Options) -> Result<socket2::Socket, SocketError> {
    if let Some(asked) = options.ttl
        && asked > 255
    {
        return Err(SocketError::TimeToLive { asked });
    }
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
        .map_err(|error| SocketError::open(&error))?;
    socket.set_nonblocking(true).map_err(|error| SocketError::option("O_NONBLOCK", &error))?;
    options::dont_fragment(&socket, family)
        .map_err(|error| SocketError::option("IP_MTU_DISCOVER", &error))?;
    if let Some(ttl) = options.ttl {
        // No system takes 0 for unicast.
        let (hops, name) = (ttl.max(1), if family == Family::V4 { "IP_TTL" } else { "IPV6_UNICAST_HOPS" });
        match family {
            Family::V4 => socket.set_ttl_v4(hops),
            Family::V6 => socket.set_unicast_hops_v6(hops),
        }
        .map_err(|error| SocketError::option(name, &error))?;
    }
    options::batched_receive(&socket, options.coalesce);
    if options.timestamps {
        options::timestamps(&socket);
    }
    if options.busy_poll {
        options::busy_poll(&socket);
    }
    if let Some(bytes) = options.receive_buffer {
        grow(bytes, |bytes| socket.set_recv_buffer_size(bytes))
            .map_err(|error| SocketError::option("SO_RCVBUF", &error))?;
    }
    if let Some(bytes) = options.send_buffer {
        grow(bytes, |bytes| socket.set_send_buffer_size(bytes))
            .map_err(|error| SocketError::option("SO_SNDBUF", &error))?;
    }
    Ok(socket)
}

/// Linux grants what it can; others refuse what is beyond their limit, and are asked for half as much.
fn grow(bytes: usize, set: impl Fn(usize) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = bytes.min(i32::MAX as usize);
    loop {
        match set(bytes) {
            Err(_) if bytes > 8192 => bytes /= 2,
            result => return result,
        }
    }
}

fn multicast_reach(socket: &socket2::Socket, family: Family, options: &Options) -> Result<(), SocketError> {
    let ttl = options.ttl.unwrap_or(1);
    match family {
        Family::V4 => {
            socket
                .set_multicast_ttl_v4(ttl)
                .map_err(|error| SocketError::option("IP_MULTICAST_TTL", &error))?;
            socket
                .set_multicast_loop_v4(options.loopback)
                .map_err(|error| SocketError::option("IP_MULTICAST_LOOP", &error))
        }
        Family::V6 => {
            socket
                .set_multicast_hops_v6(ttl)
                .map_err(|error| SocketError::option("IPV6_MULTICAST_HOPS", &error))?;
            socket
                .set_multicast_loop_v6(options.loopback)
                .map_err(|error| SocketError::option("IPV6_MULTICAST_LOOP", &error))
        }
    }
}

fn bind(socket: &socket2::Socket, address: SocketAddr) -> Result<(), SocketError> {
    socket.bind(&address.into()).map_err(|error| SocketError::bind(address, &error))
}

fn finish(
    socket: socket2::Socket,
    address: SocketAddr,
    local: Option<&Local>,
    group: Option<SocketAddr>,
    options: &Options,
) -> Result<Socket, SocketError> {
    bind(&socket, address)?;
    let group = group.zip(local).map(|(group, local)| with_scope(group, local));
    wrap(socket, local, group, options)
}

fn wrap(
    socket: socket2::Socket,
    local: Option<&Local>,
    group: Option<SocketAddr>,
    options: &Options,
) -> Result<Socket, SocketError> {
    let receive_buffer =
        socket.recv_buffer_size().map_err(|error| SocketError::option("SO_RCVBUF", &error))?;
    let socket = UdpSocket::from(socket);
    let local_addr = socket.local_addr().map_err(|error| SocketError::open(&error))?;
    Ok(Socket {
        socket,
        local_addr,
        group,
        interface: local.map(|local| local.interface.clone()),
        receive_buffer,
        receive_buffer_asked: options.receive_buffer,
    })
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::super::testing::{self, hear, hear_all, is_silent, lo};
    use super::super::{Receiver, Sender};
    use super::*;

    fn sender(group: SocketAddr, local: &Local) -> Socket {
        Socket::sender(group, local, 0, &Options::default()).unwrap()
    }

    fn hearer(group: SocketAddr, source: Option<&str>) -> Socket {
        let source = source.map(|source| source.parse().unwrap());
        Socket::group(group, &lo(), source, &Options::default()).unwrap()
    }

    fn say(from: &Socket, to: SocketAddr, text: &str) {
        Sender::new().send(from, to, text.len(), &[IoSlice::new(text.as_bytes())]).unwrap();
    }

    #[test]
    fn a_group_is_heard_by_all_that_joined_and_answered_by_unicast() {
        let group = testing::group(10);
        let (one, two) = (hearer(group, None), hearer(group, None));
        let publisher = sender(group, &lo());
        assert_eq!((one.group_addr(), publisher.group_addr()), (Some(group), Some(group)));
        say(&publisher, group, "hello");
        for socket in [&one, &two] {
            let heard = hear_all(&mut Receiver::new(4), socket, 1);
            assert_eq!(heard[0].bytes, b"hello");
            assert_eq!(heard[0].from, publisher.local_addr());
        }

        let back = Socket::unicast(&lo(), 0, &Options::default()).unwrap();
        assert_eq!(back.group_addr(), None);
        say(&back, publisher.local_addr(), "again, please");
        let heard = hear_all(&mut Receiver::new(4), &publisher, 1);
        assert_eq!((heard[0].from, heard[0].bytes.as_slice()), (back.local_addr(), &b"again, please"[..]));
    }

    #[test]
    fn a_run_to_a_group_arrives_as_it_was() {
        let group = testing::group(11);
        let socket = hearer(group, None);
        let datagrams = testing::datagrams(&[&[1408; 45][..], &[9]].concat());
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        for segmentation in [true, false] {
            let mut run = Sender::new();
            run.set_segmentation(segmentation);
            let sent = run.send(&sender(group, &lo()), group, 1408, &slices).unwrap();
            assert_eq!((sent.datagrams, run.segmentation_refused()), (46, 0));
            assert_eq!(hear(&mut Receiver::new(32), &socket, 46), datagrams);
        }
    }

    #[test]
    fn groups_that_share_a_port_do_not_hear_each_other() {
        let one = testing::group(12);
        let two = SocketAddr::new("239.255.77.13".parse().unwrap(), one.port());
        let (hears_one, hears_two) = (hearer(one, None), hearer(two, None));
        #[cfg(target_os = "linux")]
        assert!(!socket2::SockRef::from(hears_one.as_socket()).multicast_all_v4().unwrap());
        let publisher = sender(one, &lo());
        say(&publisher, one, "one");
        say(&publisher, two, "two");
        assert_eq!(hear(&mut Receiver::new(4), &hears_one, 1), [b"one"]);
        assert_eq!(hear(&mut Receiver::new(4), &hears_two, 1), [b"two"]);
        assert!(is_silent(&mut Receiver::new(4), &hears_one));
    }

    // Elsewhere 127.0.0.1 is all that lo has.
    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_source_that_was_joined_is_heard() {
        let group = testing::group(14);
        let (all, one) = (hearer(group, None), hearer(group, Some("127.0.0.2")));
        for (address, text) in [("127.0.0.1", "first"), ("127.0.0.2", "second"), ("127.0.0.3", "third")] {
            say(&sender(group, &testing::lo_at(address)), group, text);
        }
        assert_eq!(hear(&mut Receiver::new(4), &all, 3), [&b"first"[..], b"second", b"third"]);
        let heard = hear_all(&mut Receiver::new(4), &one, 1);
        assert_eq!(
            (heard[0].bytes.as_slice(), heard[0].from.ip().to_string().as_str()),
            (&b"second"[..], "127.0.0.2")
        );
        assert!(is_silent(&mut Receiver::new(4), &one));
    }

    #[test]
    fn the_options_are_set() {
        let group = testing::group(16);
        let options = Options { ttl: Some(7), loopback: false, ..Options::default() };
        let socket = Socket::sender(group, &lo(), 0, &options).unwrap();
        let inner = socket2::SockRef::from(socket.as_socket());
        assert_eq!((inner.multicast_ttl_v4().unwrap(), inner.ttl_v4().unwrap()), (7, 7));
        assert!(!inner.multicast_loop_v4().unwrap());
        let unicast = |ttl| {
            let socket = Socket::unicast(&lo(), 0, &Options { ttl, ..Options::default() }).unwrap();
            socket2::SockRef::from(socket.as_socket()).ttl_v4().unwrap()
        };
        assert_eq!((unicast(Some(9)), unicast(Some(0))), (9, 1));
        assert!(unicast(None) > 1, "routers are the system's matter");
        #[cfg(unix)]
        assert!(inner.nonblocking().unwrap());
        assert_eq!(
            Options::default(),
            Options {
                receive_buffer: None,
                send_buffer: None,
                ttl: None,
                loopback: true,
                coalesce: true,
                timestamps: false,
                busy_poll: false,
            }
        );
    }

    #[test]
    fn a_port_can_be_fixed_and_is_then_taken() {
        let group = testing::group(17);
        let socket = sender(group, &lo());
        let port = socket.local_addr().port();
        let error = Socket::sender(group, &lo(), port, &Options::default()).unwrap_err();
        assert!(matches!(error, SocketError::Bind { kind: io::ErrorKind::AddrInUse, .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("cannot bind 127.0.0.1:{port}: ")), "{error}");
        drop(socket);
        Socket::sender(group, &lo(), port, &Options::default()).unwrap();
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let options = Options::default();
        let group = testing::group(18);
        let error = |group: &str, source: Option<&str>| {
            let source = source.map(|source| source.parse().unwrap());
            Socket::group(group.parse().unwrap(), &lo(), source, &options).unwrap_err()
        };
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(error("192.0.2.1:7700", None), SocketError::NotMulticast { address });
        assert!(matches!(error("239.255.77.18:0", None), SocketError::PortZero { .. }));
        assert!(matches!(error("[ff15::4d]:7700", None), SocketError::LocalFamily { .. }));
        assert!(matches!(error("239.255.77.18:7700", Some("::1")), SocketError::SourceFamily { .. }));
        for source in ["239.255.77.18", "0.0.0.0"] {
            let error = error("239.255.77.18:7700", Some(source));
            assert_eq!(error, SocketError::SourceNotUnicast { source: source.parse().unwrap() });
        }
        let far = Options { ttl: Some(256), ..options };
        let error = Socket::sender(group, &lo(), 0, &far).unwrap_err();
        assert_eq!(error, SocketError::TimeToLive { asked: 256 });

        let mut nowhere = lo();
        nowhere.interface.index = 999_999;
        nowhere.interface.name = "gone0".to_owned();
        let error = Socket::group(group, &nowhere, None, &options).unwrap_err();
        assert!(error.to_string().starts_with("cannot join 239.255.77.18 on gone0: "), "{error}");
    }

    #[test]
    fn the_granted_receive_buffer_is_told() {
        let open = |receive_buffer| {
            Socket::unicast(&lo(), 0, &Options { receive_buffer, ..Options::default() }).unwrap()
        };
        let default = open(None);
        assert!(default.receive_buffer() > 0);
        assert_eq!((default.receive_buffer_asked(), default.buffer_warning()), (None, None));

        let modest = open(Some(65_536));
        assert!(modest.receive_buffer() >= 65_536);
        assert_eq!(modest.buffer_warning(), None, "granted, whatever the kernel's bookkeeping");

        let asked = usize::MAX;
        let greedy = open(Some(asked));
        let warning = greedy.buffer_warning().expect("nobody has so much");
        assert_eq!(warning.asked, asked);
        #[cfg(target_os = "linux")]
        {
            assert_eq!(warning.granted * 2, greedy.receive_buffer());
            if let Ok(limit) = std::fs::read_to_string("/proc/sys/net/core/rmem_max") {
                assert_eq!(warning.granted.to_string(), limit.trim());
            }
        }
    }

    #[test]
    fn a_listener_hears_any_address_of_this_machine() {
        let socket = Socket::listen("0.0.0.0:0".parse().unwrap(), &Options::default()).unwrap();
        assert!(socket.interface().is_none());
        let port = socket.local_addr().port();
        let from = Socket::unicast(&lo(), 0, &Options::default()).unwrap();
        say(&from, SocketAddr::new(lo().address, port), "counter:1|c");
        assert_eq!(hear(&mut Receiver::new(4), &socket, 1), [b"counter:1|c"]);
    }

    #[test]
    fn unicast_works_over_ipv6() {
        let group = "ff15::4d".parse().unwrap();
        let Ok(local) = super::super::resolve(Some("::1"), group) else {
            assert!(std::env::var_os("CI").is_none(), "::1 is needed");
            return eprintln!("SKIPPED: this machine has no ::1");
        };
        let open = || Socket::unicast(&local, 0, &Options::default()).unwrap();
        let (from, to) = (open(), open());
        let datagrams = testing::datagrams(&[1000, 1000, 1000, 5]);
        let slices = datagrams.iter().map(|datagram| IoSlice::new(datagram)).collect::<Vec<_>>();
        let mut run = Sender::new();
        run.send(&from, to.local_addr(), 1000, &slices).unwrap();
        assert_eq!(run.segmentation_refused(), 0);
        let heard = hear_all(&mut Receiver::new(4), &to, 4);
        assert!(heard.iter().zip(&datagrams).all(|(heard, sent)| heard.bytes == *sent));
        assert!(heard.iter().all(|heard| heard.from == from.local_addr()));
        // The multicast sockets open, too; where lo has no route for them, nothing can be sent (tests/net.rs gives it one).
        let group = SocketAddr::new(group, to.local_addr().port());
        let hears = Socket::group(group, &local, None, &Options::default()).unwrap();
        assert_eq!(hears.local_addr(), group);
        Socket::group(group, &local, Some(local.address), &Options::default()).unwrap();
        Socket::sender(group, &local, 0, &Options::default()).unwrap();
    }
}
