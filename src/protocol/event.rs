//! What a subscription tells the application.

use crate::wire::SourceId;
use std::fmt;

/// Something that happened on a subscription. Borrowed from the receive buffer until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A message.
    Message(Message<'a>),
    /// Messages that will not come, in the place they would have had.
    Gap(Gap<'a>),
    /// A stream was found, or found again after its source had been silent.
    StreamUp(Stream<'a>),
    /// A stream is over, or its source is gone. Nothing more comes of it, unless it is found again.
    StreamEnd(Stream<'a>),
}

/// A message, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) source: SourceId,
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
    pub(crate) number: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// 0 for none.
    pub(crate) kernel: u64,
}

impl<'a> Message<'a> {
    /// The topic it was published on.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Its bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The publisher's endpoint.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// The id of its stream at that source.
    pub fn stream_id(&self) -> u32 {
        self.stream
    }

    /// The sequence number of the datagram it came in; of its last one, when it took several.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Its number in its stream, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the datagram it came in (its last one) was first sent: nanoseconds since 1970 by the publisher's wall clock.
    pub fn sent_ns(&self) -> u64 {
        self.sent
    }

    /// When that datagram was taken from the socket: nanoseconds since 1970 by this machine's wall clock.
    pub fn received_ns(&self) -> u64 {
        self.received
    }

    /// When this machine's kernel took that datagram from its device: nanoseconds since 1970 by this machine's wall clock, where
    /// the subscriber was to ask for it ([`kernel_timestamps`](crate::SubscriberBuilder::kernel_timestamps)) and the kernel
    /// tells. What lies between this and [`received_ns`](Self::received_ns) the datagram waited in the socket; what lies
    /// before it is the sender's and the network's. Datagrams that came as one run have one time, that of the first.
    pub fn kernel_received_ns(&self) -> Option<u64> {
        (self.kernel != 0).then_some(self.kernel)
    }
}

/// Messages that are lost, and why. A gap is never silent and never a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    pub(crate) topic: &'a str,
    pub(crate) source: SourceId,
    pub(crate) stream: u32,
    pub(crate) loss: Loss,
}

/// The numbers of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) messages: u64,
    pub(crate) reason: GapReason,
}

impl<'a> Gap<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The publisher's endpoint.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// The id of the stream at that source.
    pub fn stream_id(&self) -> u32 {
        self.stream
    }

    /// The first sequence number that is missing.
    pub fn first(&self) -> u64 {
        self.loss.first
    }

    /// The last sequence number that is missing.
    pub fn last(&self) -> u64 {
        self.loss.last
    }

    /// How many messages that was. One of which a single fragment is missing is counted once, and whole.
    pub fn messages(&self) -> u64 {
        self.loss.messages
    }

    /// Why they will not come.
    pub fn reason(&self) -> GapReason {
        self.loss.reason
    }
}

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { first, last, messages, reason } = self.loss;
        let plural = if messages == 1 { "" } else { "s" };
        write!(
            f,
            "{messages} message{plural} of {} (source {}, sequence {first} to {last}): {reason}",
            self.topic, self.source
        )
    }
}

/// Why messages will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// They left the publisher's window before they could be repaired.
    AgedOut,
    /// They did not come within the subscription's deadline.
    Deadline,
    /// This side had no room: the queue of a detached subscriber, memory for a message in parts, or for what came out of order under best
    /// effort, was full; or the message is longer than the subscription takes.
    Overrun,
    /// The source ended or fell silent before they could be repaired.
    SourceGone,
    /// The subscription is best effort: what is missing is not asked for.
    NotAsked,
    /// The publisher's own datagrams contradict each other, so that a message could not be put together.
    Contradiction,
}

impl GapReason {
    /// One word for it, as the commands print it.
    pub fn as_str(&self) -> &'static str {
        match self {
            GapReason::AgedOut => "aged-out",
            GapReason::Deadline => "deadline",
            GapReason::Overrun => "overrun",
            GapReason::SourceGone => "source-gone",
            GapReason::NotAsked => "not-asked",
            GapReason::Contradiction => "contradiction",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream that was found, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream<'a> {
    pub(crate) topic: &'a str,
    pub(crate) source: SourceId,
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
    pub(crate) end: Option<EndReason>,
}

impl<'a> Stream<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The publisher's endpoint.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// The id of the stream at that source.
    pub fn stream_id(&self) -> u32 {
        self.stream
    }

    /// The sequence number the subscription waits for next: where it starts, or where it ended.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Why it is over; `None` for one that was found.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.end
    }
}

impl fmt::Display for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (source {}) ", self.topic, self.source)?;
        match self.end {
            None => write!(f, "up at sequence {}", self.sequence),
            Some(EndReason::Closed) => f.write_str("ended"),
            Some(EndReason::Silent) => f.write_str("lost: its source fell silent"),
            Some(EndReason::Replaced) => f.write_str("lost: its source started anew"),
        }
    }
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The publisher closed it, and everything before its end was delivered or told as a gap.
    Closed,
    /// Nothing was heard of its source for five of the intervals the source had promised.
    Silent,
    /// Its publisher started anew at the same address.
    Replaced,
}

impl EndReason {
    /// One word for it, as the commands print it.
    pub fn as_str(&self) -> &'static str {
        match self {
            EndReason::Closed => "closed",
            EndReason::Silent => "silent",
            EndReason::Replaced => "replaced",
        }
    }
}
