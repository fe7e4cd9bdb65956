//! A publisher's counters.

use crate::wire::Invalid;

/// What an endpoint has done, since it was opened. Every datagram that came and was not used is in one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherStats {
    /// Messages taken.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Data datagrams sent for the first time.
    pub datagrams: u64,
    /// Bytes of those, headers and padding included.
    pub datagram_bytes: u64,
    /// Datagrams sent again.
    pub repairs: u64,
    /// Of those, sent to one receiver alone.
    pub repairs_unicast: u64,
    /// Bytes of all repairs, headers and padding included.
    pub repair_bytes: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Announces sent.
    pub announces: u64,
    /// NCFs sent.
    pub ncfs: u64,
    /// Ends of streams sent.
    pub ends: u64,
    /// NAKs received.
    pub naks: u64,
    /// Datagrams asked for in them.
    pub nak_datagrams: u64,
    /// Datagrams asked for whose repair was already queued or under way.
    pub nak_crossed: u64,
    /// Datagrams asked for that had left the window.
    pub nak_gone: u64,
    /// NAKs with a stamp that cannot be, a range beyond what was sent, a stream that is not there, or the id of a receiver at another
    /// address.
    pub naks_rejected: u64,
    /// Datagrams asked for and answered late because the budget of who asked was used up.
    pub naks_over_budget: u64,
    /// Status messages received.
    pub statuses: u64,
    /// Status messages with a stamp or a position that cannot be.
    pub statuses_rejected: u64,
    /// Datagrams that are not for this source.
    pub foreign: u64,
    /// Datagrams that a publisher does not expect.
    pub unexpected: u64,
    /// Datagrams refused by the checks of the wire format, by [`Invalid::index`].
    pub rejected: [u64; Invalid::COUNT],
    /// Status messages of receivers that were refused because there were too many.
    pub receivers_refused: u64,
    /// Receivers known now.
    pub receivers: u64,
    /// The largest round trip among them, nanoseconds.
    pub round_trip_ns: u64,
    /// Times a receiver lost its standing for want of progress.
    pub fell_behind: u64,
    /// Times a receiver was quarantined.
    pub quarantined: u64,
    /// Datagrams that could not be begun when a message was there for them, however often that was tried.
    pub back_pressured: u64,
    /// Control datagrams dropped because too many waited, and answers that the rate had no room for.
    pub control_dropped: u64,
    /// Events dropped because the application did not take them.
    pub events_dropped: u64,
    /// Datagrams the socket did not take. They are in the counters of what was sent, too. Data, repairs and
    /// announces that it took later are not among them.
    pub send_failures: u64,
    /// Runs that the system refused to segment, whose datagrams went one by one. After the first of them no run to the group, or none
    /// to receivers alone, is handed over whole any more: that costs speed.
    pub segmentation_refused: u64,
    /// NAKs and status that the kernel dropped because the receive buffer was full, as far as it told by now (Linux). Runs that were
    /// coalesced count as one.
    pub kernel_drops: u64,
    /// System calls made for all this: those that send, receive, wait, and set what wakes. What a lock and a thread that is
    /// woken take (futex, sched_yield, eventfd) is not in it.
    pub system_calls: u64,
}

impl PublisherStats {
    /// All datagrams refused by the checks of the wire format, and those whose content cannot be.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum::<u64>()
            + self.naks_rejected
            + self.statuses_rejected
            + self.foreign
            + self.unexpected
    }
}
