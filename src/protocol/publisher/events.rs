//! What a publisher tells the application of its receivers.

use crate::wire::ReceiverId;
use std::net::SocketAddr;
use std::time::Duration;

/// Events kept for the application; the oldest is dropped, and counted, when another comes.
pub(super) const MOST: usize = 1024;

/// Something that happened to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublisherEvent {
    /// A receiver was heard from for the first time.
    Joined {
        /// Who.
        receiver: ReceiverId,
        /// Where it sends from.
        address: SocketAddr,
    },
    /// A receiver left, or was not heard from for ten idle intervals (5 s by default; longer in a crowd), or for the patience where
    /// that is more.
    Left {
        /// Who.
        receiver: ReceiverId,
        /// Whether it said so.
        announced: bool,
    },
    /// A receiver made no progress for longer than the patience: the others are not held back for it any more.
    FellBehind {
        /// Who.
        receiver: ReceiverId,
        /// On which topic.
        topic: Box<str>,
        /// The next sequence number it waits for.
        position: u64,
        /// The last one sent.
        lead: u64,
    },
    /// A receiver that had fallen behind, or had joined far behind, is within half a window again, and is waited for.
    CaughtUp {
        /// Who.
        receiver: ReceiverId,
        /// On which topic.
        topic: Box<str>,
    },
    /// A receiver asked for more repairs than its budget allows, which is 2,000 datagrams a second and one for each that is sent live, and
    /// 4,096 or a window at once: it is not waited for, and is answered slowly.
    Quarantined {
        /// Who.
        receiver: ReceiverId,
    },
    /// A quarantined receiver has come back within its budget.
    Released {
        /// Who.
        receiver: ReceiverId,
    },
}

/// A receiver that does not have everything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Laggard {
    /// Who.
    pub receiver: ReceiverId,
    /// Where it sends from, if it is still known.
    pub address: Option<SocketAddr>,
    /// How many datagrams it has not confirmed (0: all but the end of the stream).
    pub datagrams: u64,
}

/// What is known of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverState {
    /// Who.
    pub id: ReceiverId,
    /// Where it sends from.
    pub address: SocketAddr,
    /// Its round trip, the least of late, once measured.
    pub round_trip: Option<Duration>,
    /// Whether it exceeded its budget of repairs.
    pub quarantined: bool,
    /// Whether it has neither fallen behind nor been quarantined on any of its streams.
    pub good_standing: bool,
}
