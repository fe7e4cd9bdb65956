//! Errors a caller can match on.

use crate::net::{InterfaceError, SocketError};
use crate::protocol::publisher::{BackPressure, Laggard};
use crate::wire::TopicError;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why an endpoint or a subscriber could not be opened, or does not work any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The interface that was asked for, or could have been meant.
    Interface(InterfaceError),
    /// A socket could not be opened or set up.
    Socket(SocketError),
    /// A topic, or a subscriber's pattern, is none.
    Topic {
        /// What was given.
        topic: String,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A setting is out of its range, or contradicts another.
    Setting {
        /// Which.
        name: &'static str,
        /// What was wrong, and what would be right.
        problem: String,
    },
    /// The transmit window has no room for another topic.
    TooManyTopics {
        /// As many as it has room for.
        max: usize,
    },
    /// Memory that is taken at open is not to be had: the window's, or the reorder buffer's.
    Memory {
        /// The setting that asks for it.
        name: &'static str,
        /// Bytes it asks for.
        asked: usize,
        /// Bytes the machine has, swap included, where that is known.
        machine: Option<u64>,
    },
    /// Nothing came, and a [`Waker`](crate::Waker) had the call return.
    Woken,
    /// The thread of a detached subscriber panicked, which is a defect in nakcast: standard error has what it said.
    Panicked,
    /// The operating system refused something.
    System {
        /// What was being done.
        doing: &'static str,
        /// The kind of error.
        kind: io::ErrorKind,
        /// Its text.
        text: String,
    },
}

impl Error {
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::System { doing, kind: error.kind(), text: error.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Interface(error) => error.fmt(f),
            Error::Socket(error) => error.fmt(f),
            Error::Topic { topic, error } => write!(f, "topic {topic:?}: {error}"),
            Error::Setting { name, problem } => write!(f, "{name}: {problem}"),
            Error::TooManyTopics { max } => {
                write!(f, "the window has room for {max} topics; a larger window has room for more")
            }
            Error::Memory { name, asked, machine } => {
                write!(f, "{name}: {asked} bytes of memory are not to be had")?;
                match machine {
                    Some(machine) => write!(f, "; the machine has {machine} in all, swap included"),
                    None => f.write_str("; ask for less"),
                }
            }
            Error::Woken => f.write_str("woken before anything came"),
            Error::Panicked => f.write_str("the subscriber's thread panicked"),
            Error::System { doing, text, .. } => write!(f, "{doing}: {text}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Interface(error) => Some(error),
            Error::Socket(error) => Some(error),
            Error::Topic { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<InterfaceError> for Error {
    fn from(error: InterfaceError) -> Error {
        Error::Interface(error)
    }
}

impl From<SocketError> for Error {
    fn from(error: SocketError) -> Error {
        Error::Socket(error)
    }
}

/// Why a message was not taken: nothing of it was sent. Of [`flush`](crate::Publisher::flush): what a datagram met that left before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Not now: [`try_send`](crate::Publisher::try_send), or what [`send_timeout`](crate::Publisher::send_timeout) waited for in vain. `send` waits.
    BackPressured {
        /// What must come first.
        by: BackPressure,
    },
    /// The message is longer than one may be.
    TooLong {
        /// The longest, bytes.
        max: usize,
    },
    /// The publisher was closed.
    Closed,
    /// An earlier datagram was too long for its way, and so will others be: a smaller datagram size is needed.
    Datagram(SocketError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::BackPressured { by } => match by {
                BackPressure::Receiver(receiver) => write!(f, "receiver {receiver} has no room yet"),
                BackPressure::Rate => f.write_str("the rate takes no more at present"),
                BackPressure::Start => {
                    f.write_str("the window is full, and receivers had no time to be heard from")
                }
                BackPressure::Window => f.write_str("the window has no memory left for this topic"),
                BackPressure::Message => f.write_str("a large message is still on its way out"),
            },
            SendError::TooLong { max } => write!(f, "a message may have at most {max} bytes"),
            SendError::Closed => f.write_str("the publisher is closed"),
            SendError::Datagram(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

/// Not as many subscribers as were waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    /// How many there are.
    pub receivers: usize,
    /// How long was waited.
    pub waited: Duration,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} subscribers were heard from within {:?}", self.receivers, self.waited)
    }
}

impl std::error::Error for TooFew {}

/// Some subscribers did not confirm everything in the time they had, or not everything was sent in that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Who, and how much. Nobody, where what is missing was not sent.
    pub laggards: Vec<Laggard>,
    /// Messages that were taken and did not leave, or not all of them: nobody gets them. See [`Publisher::unsent`](crate::Publisher::unsent).
    pub unsent: u64,
}

impl fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        if self.unsent > 0 {
            let (messages, were) = (plural(self.unsent), if self.unsent == 1 { "was" } else { "were" });
            write!(f, "{} message{messages} {were} not sent in the time there was", self.unsent)?;
            if self.laggards.is_empty() {
                return Ok(());
            }
            f.write_str("; ")?;
        }
        let count = self.laggards.len();
        write!(f, "{count} subscriber{} did not confirm everything:", plural(count as u64))?;
        for (index, laggard) in self.laggards.iter().take(8).enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            write!(f, "{separator}{}", laggard.receiver)?;
            if let Some(address) = laggard.address {
                write!(f, " at {address}")?;
            }
            write!(f, " ({} datagrams)", laggard.datagrams)?;
        }
        if count > 8 { write!(f, " and {} more", count - 8) } else { Ok(()) }
    }
}

impl std::error::Error for Unconfirmed {}
