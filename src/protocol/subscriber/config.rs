//! What a subscriber is told at its start.

use crate::wire::ReceiverId;
use std::time::Duration;

/// What the application sees of what is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contract {
    /// Every message of a stream once and in order, or a gap in the place of what is lost. Never gives up while the source
    /// lives and its window holds the datagram.
    #[default]
    Ordered,
    /// The same, but when a message has been held behind a gap for this long, the gap is given and the stream goes on.
    Deadline(Duration),
    /// Every message once, as soon as it is here; repairs come later, out of order.
    Arrival,
    /// Nothing is asked for: what is missing is a gap at once.
    BestEffort,
}

/// Where a subscription starts in a stream that was there before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartAt {
    /// At the live edge.
    #[default]
    Live,
    /// At the oldest message in the publisher's window.
    Window,
}

/// The settings of a subscriber's state machine. The public builder documents and checks each.
#[derive(Clone, Debug)]
pub struct Config {
    /// This run's id.
    pub receiver: ReceiverId,
    /// The topics wanted.
    pub patterns: Vec<String>,
    /// What is promised.
    pub contract: Contract,
    /// Where to start.
    pub start: StartAt,
    /// Memory for datagrams that came before others they follow, bytes.
    pub reorder: usize,
    /// What the sockets can hold, as the kernel accounts it, bytes.
    pub receive_buffer: usize,
    /// Largest message, bytes.
    pub max_message: usize,
    /// Memory for messages of which parts are here, bytes.
    pub reassembly: usize,
    /// Most sources known at a time.
    pub max_sources: usize,
    /// Most streams known at a time, over all sources.
    pub max_streams: usize,
    /// Seeds the random part of timers.
    pub seed: u64,
    /// Wall clock minus monotonic clock, nanoseconds.
    pub wall_offset: u64,
}

impl Config {
    /// The defaults: everything, reliable and in order, from the live edge.
    pub fn new(receiver: ReceiverId) -> Config {
        Config {
            receiver,
            patterns: vec![">".into()],
            contract: Contract::Ordered,
            start: StartAt::Live,
            reorder: 64 << 20,
            receive_buffer: 4 << 20,
            max_message: 16 << 20,
            reassembly: 64 << 20,
            max_sources: 1_024,
            max_streams: 65_536,
            seed: receiver.0,
            wall_offset: 0,
        }
    }
}
