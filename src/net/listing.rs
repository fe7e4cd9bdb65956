//! Asks the operating system for its interfaces.
#![allow(unsafe_code, reason = "getifaddrs has no safe form in std or socket2")]

use std::io;

use super::interface::Interface;

#[cfg(unix)]
pub(super) use unix::interfaces;
#[cfg(target_os = "linux")]
pub(super) use unix::mtu_of;

#[cfg(unix)]
mod unix {
    use std::ffi::CStr;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::ptr;

    use super::{Interface, io};

    /// The list as the C library gave it, given back when dropped.
    struct List(*mut libc::ifaddrs);

    impl Drop for List {
        fn drop(&mut self) {
            // SAFETY: getifaddrs(3): "The data returned by getifaddrs() is dynamically allocated and should be freed
            // using freeifaddrs() when no longer needed." The pointer is the one getifaddrs() stored, freed once.
            unsafe { libc::freeifaddrs(self.0) }
        }
    }

    pub(in super::super) fn interfaces() -> io::Result<Vec<Interface>> {
        let mut head = ptr::null_mut();
        // SAFETY: getifaddrs(3): it "stores the address of the first item of the list in *ifap", which is a local.
        if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let list = List(head);
        let mut found = Vec::<Interface>::new();
        let mut next = list.0;
        while !next.is_null() {
            // SAFETY: getifaddrs(3): "The ifa_next field contains a pointer to the next structure on the list, or NULL
            // if this is the last item"; it is not NULL, and the list lives until `list` is dropped.
            let entry = unsafe { &*next };
            next = entry.ifa_next;
            // SAFETY: getifaddrs(3): "The ifa_name points to the null-terminated interface name."
            let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
            // An IPv4 alias is listed by its label, `eth0:1`; the interface is `eth0`.
            let name =
                if cfg!(target_os = "linux") { name.split(':').next().unwrap_or(&name) } else { &name };
            let place = found.iter().position(|interface| interface.name == name).or_else(|| {
                found.push(describe(name, entry.ifa_flags as libc::c_int)?);
                Some(found.len() - 1)
            });
            // SAFETY: getifaddrs(3): "The ifa_addr field points to a structure containing the interface address", or
            // "may contain a null pointer", which `address` refuses; it lives as long as the list.
            if let (Some(place), Some(address)) = (place, unsafe { address(entry.ifa_addr) }) {
                found[place].addresses.push(address);
            }
        }
        Ok(found)
    }

    /// `None` when the interface went away since it was listed.
    fn describe(name: &str, flags: libc::c_int) -> Option<Interface> {
        let c_name = std::ffi::CString::new(name).ok()?;
        // SAFETY: if_nametoindex(3) takes "the name ifname", a null-terminated string, which `c_name` is.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        (index != 0).then(|| Interface {
            name: name.to_owned(),
            index,
            addresses: Vec::new(),
            up: flags & libc::IFF_UP != 0,
            running: flags & libc::IFF_RUNNING != 0,
            multicast: flags & libc::IFF_MULTICAST != 0,
            loopback: flags & libc::IFF_LOOPBACK != 0,
            mtu: mtu(&c_name),
        })
    }

    #[cfg(target_os = "linux")]
    fn mtu(name: &CStr) -> Option<u32> {
        mtu_of(&socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None).ok()?, name)
    }

    /// The MTU that an interface has now, in the network that a socket belongs to.
    #[cfg(target_os = "linux")]
    pub(in super::super) fn mtu_of(socket: &impl std::os::fd::AsRawFd, name: &CStr) -> Option<u32> {
        // SAFETY: `ifreq` is integers, arrays, raw pointers: all zeroes are a value of it.
        let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
        let bytes = name.to_bytes_with_nul();
        if bytes.len() > request.ifr_name.len() {
            return None;
        }
        for (to, &from) in request.ifr_name.iter_mut().zip(bytes) {
            *to = from as libc::c_char;
        }
        // SAFETY: netdevice(7): these ioctls "can be used on any socket's file descriptor regardless of the family or
        // type", "pass an ifreq structure", and SIOCGIFMTU gets "the MTU of a device using ifr_mtu".
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) };
        // SAFETY: on success the kernel wrote `ifr_mtu`, an int; else it is the zeroes from above.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        if result == 0 { u32::try_from(mtu).ok() } else { None }
    }

    #[cfg(not(target_os = "linux"))]
    fn mtu(_: &CStr) -> Option<u32> {
        None
    }

    /// The IP address in a socket address, if it is one.
    ///
    /// # Safety
    ///
    /// `from` is null, or points to a socket address as long as its family says.
    unsafe fn address(from: *const libc::sockaddr) -> Option<IpAddr> {
        if from.is_null() {
            return None;
        }
        // SAFETY: not null, and so, as the caller promises, a socket address, which begins with `sockaddr`'s fields.
        let family = libc::c_int::from(unsafe { (*from).sa_family });
        match family {
            libc::AF_INET => {
                // SAFETY: getifaddrs(3): "The sa_family subfield should be consulted to determine the format of the
                // address structure"; for AF_INET that is `sockaddr_in` (ip(7)).
                let v4 = unsafe { from.cast::<libc::sockaddr_in>().read_unaligned() };
                Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above; for AF_INET6 it is `sockaddr_in6` (ipv6(7)).
                let v6 = unsafe { from.cast::<libc::sockaddr_in6>().read_unaligned() };
                let mut octets = v6.sin6_addr.s6_addr;
                if cfg!(not(target_os = "linux")) && Ipv6Addr::from(octets).is_unicast_link_local() {
                    // The BSD family's kernels keep the scope in the address's second group.
                    octets[2..4].fill(0);
                }
                Some(Ipv6Addr::from(octets).into())
            }
            _ => None,
        }
    }
}

#[cfg(windows)]
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found = Vec::<Interface>::new();
    for each in if_addrs::get_if_addrs()? {
        let address = each.ip();
        let up = each.is_oper_up();
        match found.iter_mut().find(|interface| interface.name == each.name) {
            Some(interface) => interface.addresses.push(address),
            None => found.push(Interface {
                loopback: address.is_loopback(),
                index: each.index.unwrap_or(0),
                name: each.name,
                addresses: vec![address],
                up,
                running: up,
                // Windows can do multicast on all of them, and the list does not say otherwise.
                multicast: true,
                mtu: None,
            }),
        }
    }
    Ok(found)
}

#[cfg(not(any(unix, windows)))]
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    Err(io::ErrorKind::Unsupported.into())
}
