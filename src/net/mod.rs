//! Sockets and batches: everything here knows UDP and the operating system, and nothing of the protocol.
//!
//! - [`interfaces`] lists what the machine has, and [`resolve`] picks the one interface a group is used on, or says
//!   which there are to choose from.
//! - [`Socket`] opens what a publisher and a subscriber need: [`Socket::sender`], [`Socket::group`],
//!   [`Socket::unicast`]; and [`Socket::listen`] for a plain collector of datagrams. All are nonblocking.
//! - [`Sender`] sends a run of datagrams and [`Receiver`] takes a batch, in one system call each where the platform can
//!   do that. Their scratch memory is made once.
//! - `Timer` (Linux) is a one-shot timer a poller can wait on, with a resolution below a millisecond.
//!
//! What each platform gives:
//!
//! | | Linux | elsewhere |
//! |---|---|---|
//! | send | one `sendmsg` with `UDP_SEGMENT` for a run of equal datagrams, else one `sendmmsg` | one datagram a call |
//! | receive | one `recvmmsg` of runs coalesced by `UDP_GRO` | one datagram a call |
//! | datagrams the kernel dropped | counted (`SO_RXQ_OVFL`) | unknown, 0 |
//! | when a datagram came | told (`SO_TIMESTAMPNS`) | unknown, 0 |
//! | busy polling | where it is granted (`SO_BUSY_POLL`) | no |
//! | groups that share a port | never hear each other | on Windows the socket is bound to the port alone, and may |
//! | do not fragment | set | set where the platform has the option; not on Windows |
//!
//! Linux's `lo` carries IPv4 multicast as it is, but IPv6 multicast only once it has a route for it, without which a
//! send fails with [`NetworkUnreachable`](std::io::ErrorKind::NetworkUnreachable):
//! `ip -6 route add local ff00::/8 dev lo table local`.
//!
//! ```
//! use std::io::{ErrorKind, IoSlice};
//! use nakcast::net::{Options, Receiver, Sender, Socket, resolve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let group = "239.255.77.9:0".parse::<std::net::SocketAddr>()?;
//! let local = resolve(Some("127.0.0.1"), group.ip())?;
//! let sender = Socket::unicast(&local, 0, &Options::default())?;
//! let socket = Socket::unicast(&local, 0, &Options::default())?;
//!
//! let datagrams = [IoSlice::new(b"one"), IoSlice::new(b"two")];
//! Sender::new().send(&sender, socket.local_addr(), 3, &datagrams)?;
//!
//! let mut receiver = Receiver::new(Receiver::MESSAGES);
//! let mut heard = Vec::new();
//! while heard.len() < 2 {
//!     match receiver.receive(&socket) {
//!         Ok(_) => {}
//!         Err(error) if error.kind() == ErrorKind::WouldBlock => continue, // a program would wait for readiness
//!         Err(error) => return Err(error.into()),
//!     }
//!     while receiver.advance() {
//!         heard.extend(receiver.current().map(|datagram| datagram.bytes.to_vec()));
//!     }
//! }
//! assert_eq!(heard, [b"one", b"two"]);
//! # Ok(())
//! # }
//! ```

mod copy;
mod error;
mod interface;
mod lane;
mod listing;
mod options;
mod receive;
mod send;
mod socket;
#[cfg(test)]
mod testing;
#[cfg(target_os = "linux")]
mod timer;

pub(crate) use copy::CopyOut;
pub use error::{BufferWarning, SocketError, is_too_long};
pub use interface::{Family, Interface, InterfaceError, Local, interfaces, resolve};
pub(crate) use lane::{Filled, Reader, Writer, lane};
pub use receive::{Received, Receiver};
pub use send::{MAX_DATAGRAM, MAX_DATAGRAMS, Sender, Sent, max_run};
pub use socket::{Options, Socket};
#[cfg(target_os = "linux")]
pub use timer::Timer;
