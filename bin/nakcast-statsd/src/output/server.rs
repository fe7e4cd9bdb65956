//! Servers: where they are, and connections to them.

use nakcast::net::interfaces;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The parts of `[ADDRESS%INTERFACE]:PORT`; `None` of another server.
pub(crate) fn scoped(server: &str) -> Option<(Ipv6Addr, &str, &str)> {
    let (inner, port) = server.strip_prefix('[')?.rsplit_once("]:")?;
    let (address, interface) = inner.split_once('%')?;
    Some((address.parse().ok()?, interface, port))
}

/// The addresses that `HOST:PORT` has now, of which the first is to be tried first. The host is a name, an IPv4 address, or an
/// IPv6 address in brackets, behind which stands the interface if it is link-local, as in `[fe80::1%eth0]` (RFC 4007, section
/// 11): by its name, or its number.
///
/// # Errors
///
/// Of the look-up, or there is no such interface.
pub(crate) fn addresses(server: &str) -> io::Result<Vec<SocketAddr>> {
    let Some((address, interface, port)) = scoped(server) else {
        return Ok(server.to_socket_addrs()?.collect());
    };
    let port = port.parse().map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let is_meant = |index: u32, name: &str| name == interface || index.to_string() == interface;
    let index = interfaces()?.into_iter().find(|known| is_meant(known.index, &known.name));
    let index = index.map(|known| known.index).ok_or_else(|| {
        io::Error::new(ErrorKind::NotFound, format!("there is no interface {interface} now"))
    })?;
    Ok(vec![SocketAddrV6::new(address, port, 0, index).into()])
}

/// A connection to the first of a server's addresses that takes one, each of which has so long.
///
/// # Errors
///
/// As of [`addresses`], or that of the last address.
pub(crate) fn connect(server: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "it has no address");
    for address in addresses(server)? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
