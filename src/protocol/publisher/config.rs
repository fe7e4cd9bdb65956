//! What a publisher's endpoint is told at its start.

use crate::wire::SourceId;
use std::time::Duration;

/// How the publisher treats receivers that cannot keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flow {
    /// Nobody is waited for: what a receiver cannot take is repaired while the window holds it, and told as a gap after.
    None,
    /// The slowest receiver in good standing is waited for.
    #[default]
    Slowest,
}

/// The largest datagram that a publisher sends unless it is told otherwise, in bytes: with its IP and UDP headers it crosses an
/// Ethernet, also by way of most tunnels.
pub const DATAGRAM: usize = 1_408;

/// The settings of a publisher's state machine. The public builder documents and checks each.
#[derive(Clone, Debug)]
pub struct Config {
    /// This run's id.
    pub source: SourceId,
    /// Largest datagram, bytes.
    pub datagram: usize,
    /// Memory of the transmit window, bytes, for all streams together.
    pub window: usize,
    /// Largest message, bytes.
    pub max_message: usize,
    /// Who is waited for.
    pub flow: Flow,
    /// How long a receiver that makes no progress is waited for.
    pub patience: Duration,
    /// Most bits a second (payload of UDP), repairs included.
    pub max_rate: Option<u64>,
    /// Largest time between two heartbeats.
    pub idle_interval: Duration,
    /// How long a message may wait for others to share its datagram.
    pub max_delay: Duration,
    /// Most receivers that are known at a time.
    pub max_receivers: usize,
    /// Wall clock minus monotonic clock, nanoseconds.
    pub wall_offset: u64,
}

impl Config {
    /// The defaults, for a source.
    pub fn new(source: SourceId) -> Config {
        Config {
            source,
            datagram: DATAGRAM,
            window: 64 << 20,
            max_message: 16 << 20,
            flow: Flow::Slowest,
            patience: Duration::from_secs(1),
            max_rate: None,
            idle_interval: Duration::from_millis(500),
            max_delay: Duration::from_micros(50),
            max_receivers: 16_384,
            wall_offset: 0,
        }
    }
}
