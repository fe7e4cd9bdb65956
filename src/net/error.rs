//! What can go wrong with a socket, in words that say what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Why a socket could not be opened or used. `kind` and `text` are the operating system's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketError {
    /// The group's address is not a multicast address.
    NotMulticast {
        /// The address that was given.
        address: IpAddr,
    },
    /// The group has no port.
    PortZero {
        /// The address that was given.
        group: SocketAddr,
    },
    /// The local address is not of the group's family.
    LocalFamily {
        /// The group.
        group: IpAddr,
        /// The local address.
        local: IpAddr,
    },
    /// The source to hear is not of the group's family.
    SourceFamily {
        /// The group.
        group: IpAddr,
        /// The source.
        source: IpAddr,
    },
    /// The source to hear is a multicast or an unspecified address.
    SourceNotUnicast {
        /// The source.
        source: IpAddr,
    },
    /// A time to live beyond 255.
    TimeToLive {
        /// What was asked for.
        asked: u32,
    },
    /// No socket was to be had.
    Open {
        /// The operating system's kind of error.
        kind: io::ErrorKind,
        /// Its words.
        text: String,
    },
    /// The address could not be bound, as when another process holds its port.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's kind of error.
        kind: io::ErrorKind,
        /// Its words.
        text: String,
    },
    /// The group could not be joined.
    Join {
        /// The group.
        group: IpAddr,
        /// The only source that was to be heard, if one was named.
        source: Option<IpAddr>,
        /// The interface's name.
        interface: String,
        /// The operating system's kind of error.
        kind: io::ErrorKind,
        /// Its words.
        text: String,
    },
    /// An option could not be set or read.
    Option {
        /// The option's name, as the platform's manual has it.
        what: &'static str,
        /// The operating system's kind of error.
        kind: io::ErrorKind,
        /// Its words.
        text: String,
    },
    /// A datagram is longer than the interface, or what follows it on the way, carries unfragmented. See
    /// [`Socket::too_long`](super::Socket::too_long).
    TooLong {
        /// The datagram's length in bytes.
        bytes: usize,
        /// The interface's name, where the socket has one.
        interface: Option<String>,
        /// The interface's MTU in bytes, where it is known: as it was when the datagram was refused.
        mtu: Option<u32>,
        /// The longest datagram that MTU has room for, in bytes, where it is known. When that is not less than `bytes`,
        /// something else on the way carries less: a route with an MTU of its own, a router.
        most: Option<usize>,
    },
}

impl SocketError {
    pub(super) fn open(error: &io::Error) -> SocketError {
        SocketError::Open { kind: error.kind(), text: error.to_string() }
    }

    pub(super) fn bind(address: SocketAddr, error: &io::Error) -> SocketError {
        SocketError::Bind { address, kind: error.kind(), text: error.to_string() }
    }

    pub(super) fn option(what: &'static str, error: &io::Error) -> SocketError {
        SocketError::Option { what, kind: error.kind(), text: error.to_string() }
    }
}

impl Error for SocketError {}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::NotMulticast { address } => write!(
                f,
                "{address} is not a multicast address (IPv4: 224.0.0.0 to 239.255.255.255, IPv6: those that begin with ff)"
            ),
            SocketError::PortZero { group } => write!(f, "the group {group} needs a port that is not 0"),
            SocketError::LocalFamily { group, local } => {
                write!(f, "the group {group} cannot be used from {local}: they are not of one address family")
            }
            SocketError::SourceFamily { group, source } => {
                write!(
                    f,
                    "the group {group} cannot be joined for source {source}: they are not of one address family"
                )
            }
            SocketError::SourceNotUnicast { source } => {
                write!(f, "{source} is not an address that one source can have")
            }
            SocketError::TimeToLive { asked } => write!(f, "a time to live of {asked} is beyond 255"),
            SocketError::Open { text, .. } => write!(f, "no socket: {text}"),
            SocketError::Bind { address, text, .. } => write!(f, "cannot bind {address}: {text}"),
            SocketError::Join { group, source: None, interface, text, .. } => {
                write!(f, "cannot join {group} on {interface}: {text}")
            }
            SocketError::Join { group, source: Some(source), interface, text, .. } => {
                write!(f, "cannot join {group} on {interface} for source {source}: {text}")
            }
            SocketError::Option { what, text, .. } => write!(f, "socket option {what}: {text}"),
            SocketError::TooLong { bytes, interface, mtu, most } => {
                write!(f, "a datagram of {bytes} bytes is too long")?;
                if let Some(interface) = interface {
                    write!(f, " for interface {interface}")?;
                }
                if let (Some(mtu), Some(most)) = (mtu, most) {
                    if most < bytes {
                        write!(f, ", whose MTU of {mtu} has room for {most}")?;
                    } else {
                        write!(
                            f,
                            " or its way from there: the MTU of {mtu} has room for {most}, a route or a router for less"
                        )?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Whether a send failed because the datagram is longer than the path, the interface or the send buffer carries
/// (`EMSGSIZE`). [`Socket::too_long`](super::Socket::too_long) puts it in words.
#[must_use]
pub fn is_too_long(error: &io::Error) -> bool {
    #[cfg(unix)]
    const TOO_LONG: i32 = libc::EMSGSIZE;
    #[cfg(not(unix))]
    const TOO_LONG: i32 = 10040; // WSAEMSGSIZE
    error.raw_os_error() == Some(TOO_LONG)
}

/// The operating system granted less receive buffer than was asked for.
///
/// The text names what an administrator would change:
///
/// ```text
/// receive buffer: asked 8388608 bytes, granted 4194304; raise it with `sysctl -w net.core.rmem_max=8388608`
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferWarning {
    /// Bytes asked for.
    pub asked: usize,
    /// Bytes granted, in the same terms: Linux counts twice as much, for its own bookkeeping.
    pub granted: usize,
}

impl fmt::Display for BufferWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BufferWarning { asked, granted } = self;
        write!(f, "receive buffer: asked {asked} bytes, granted {granted}")?;
        if cfg!(any(target_os = "linux", target_os = "android")) {
            write!(f, "; raise it with `sysctl -w net.core.rmem_max={asked}`")
        } else if cfg!(any(target_vendor = "apple", target_os = "freebsd")) {
            // These keep room in it for a header of 256 bytes for every 2,048.
            write!(f, "; raise it with `sysctl -w kern.ipc.maxsockbuf={}`", asked + asked.div_ceil(8))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_names_the_setting() {
        let warning = BufferWarning { asked: 8_388_608, granted: 4_194_304 };
        assert!(warning.to_string().starts_with("receive buffer: asked 8388608 bytes, granted 4194304"));
        #[cfg(target_os = "linux")]
        assert!(warning.to_string().ends_with("; raise it with `sysctl -w net.core.rmem_max=8388608`"));
    }

    #[test]
    fn too_long_says_what_would_fit() {
        let mut error = SocketError::TooLong {
            bytes: 9000,
            interface: Some("eth0".into()),
            mtu: Some(1500),
            most: Some(1472),
        };
        assert_eq!(
            error.to_string(),
            "a datagram of 9000 bytes is too long for interface eth0, whose MTU of 1500 has room for 1472"
        );
        if let SocketError::TooLong { bytes, .. } = &mut error {
            *bytes = 1_408;
        }
        assert_eq!(
            error.to_string(),
            "a datagram of 1408 bytes is too long for interface eth0 or its way from there: \
             the MTU of 1500 has room for 1472, a route or a router for less"
        );
        if let SocketError::TooLong { bytes, interface, mtu, most } = &mut error {
            *bytes = 9_000;
            (*interface, *mtu, *most) = (None, None, None);
        }
        assert_eq!(error.to_string(), "a datagram of 9000 bytes is too long");
    }
}
