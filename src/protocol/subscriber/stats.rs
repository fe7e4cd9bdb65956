//! A subscriber's counters.

use crate::wire::Invalid;

/// What a subscriber has done, since it was opened. Every datagram that came and was not used is in one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Messages delivered.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Data and repair datagrams of subscribed streams that brought something new.
    pub datagrams: u64,
    /// Of those, repairs.
    pub repairs: u64,
    /// Datagrams of subscribed streams that were here already.
    pub duplicates: u64,
    /// Datagrams of subscribed streams found missing, each counted once.
    pub missed: u64,
    /// Gaps told.
    pub gaps: u64,
    /// Messages lost in them.
    pub lost: u64,
    /// NAK datagrams sent.
    pub naks: u64,
    /// Datagrams asked for in them.
    pub nak_datagrams: u64,
    /// Names of streams asked for.
    pub names_asked: u64,
    /// NCFs received.
    pub ncfs: u64,
    /// Heartbeats received.
    pub heartbeats: u64,
    /// Announces received.
    pub announces: u64,
    /// Status messages sent.
    pub statuses: u64,
    /// Datagrams that came after a gap was found for them, though they were not repairs: the network reorders.
    pub reordered: u64,
    /// Datagrams of streams that are not subscribed to.
    pub ignored: u64,
    /// Datagrams of streams whose name is not known yet.
    pub unnamed: u64,
    /// Messages that the queue of a detached subscriber dropped, because it was full: they are among those lost, and not among
    /// those delivered; `bytes` has theirs, and the gaps that tell of them are not counted.
    pub queue_drops: u64,
    /// Datagrams dropped because there was no memory to keep them; they are asked for again.
    pub overruns: u64,
    /// Messages in parts dropped because there was no memory to put them together.
    pub assemblies_refused: u64,
    /// Datagrams refused by the checks of the wire format, by [`Invalid::index`].
    pub rejected: [u64; Invalid::COUNT],
    /// Datagrams of a known source from an address that is not its own.
    pub impostors: u64,
    /// Datagrams, heartbeats and the like further ahead than the source's window reaches.
    pub jumps: u64,
    /// Datagrams whose content contradicts what is known of their stream.
    pub contradictions: u64,
    /// Datagrams larger than their source announced.
    pub oversized: u64,
    /// Datagrams that a subscriber does not expect.
    pub unexpected: u64,
    /// Datagrams of sources that were refused because there were too many.
    pub sources_refused: u64,
    /// Datagrams, announces and lines of heartbeats of streams that were refused because there were too many.
    pub streams_refused: u64,
    /// Sources known now.
    pub sources: u64,
    /// Subscribed streams known now.
    pub streams: u64,
    /// How long a NAK is given to be answered, nanoseconds: the longest among the sources.
    pub nak_timeout_ns: u64,
    /// Datagrams thrown away on arrival because the subscription was told to.
    pub dropped: u64,
    /// Datagrams the socket cut short.
    pub truncated: u64,
    /// Datagrams the kernel dropped because the sockets' buffers were full; on Linux a run that it had coalesced counts once.
    pub kernel_drops: u64,
    /// Datagrams the sockets did not take.
    pub send_failures: u64,
    /// System calls made for all this: those that send, receive, wait, and set what wakes. What a lock and a thread that is
    /// woken take (futex, sched_yield, eventfd) is not in it.
    pub system_calls: u64,
}

impl SubscriberStats {
    /// All datagrams that were refused: by the checks of the wire format, or for what they say.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum::<u64>()
            + self.impostors
            + self.jumps
            + self.contradictions
            + self.oversized
            + self.unexpected
            + self.sources_refused
            + self.streams_refused
            + self.truncated
    }
}
