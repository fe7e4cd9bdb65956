//! What is on the network: state machines, and what a driver would keep beside them.

use crate::protocol::publisher::{self, Publisher};
use crate::protocol::subscriber::{self, Subscriber};
use crate::protocol::{EndReason, Event, GapReason, Time};
use crate::wire::SourceId;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::bulk::Bulk;
use super::link::Wire;

/// A publisher's endpoint, at a host.
pub(super) struct PublisherNode {
    pub(super) core: Publisher,
    pub(super) host: u32,
    pub(super) alive: bool,
    /// Messages that were not taken yet, by stream.
    pub(super) waiting: BTreeMap<u32, VecDeque<Vec<u8>>>,
    pub(super) batching: bool,
    pub(super) bulk: Bulk,
    pub(super) refusals: f64,
    /// The socket takes nothing until then.
    pub(super) refused_until: Option<Time>,
    pub(super) reason: publisher::Reason,
    pub(super) clock: Clock,
}

/// Where a publisher is, and one that is started anew after it.
pub(super) struct Host {
    pub(super) up: Wire,
    pub(super) down: Wire,
    /// The publisher that is there now.
    pub(super) living: u32,
}

/// A subscriber.
pub(super) struct SubscriberNode {
    pub(super) core: Subscriber,
    pub(super) branch: Option<u32>,
    pub(super) up: Wire,
    pub(super) down: Wire,
    pub(super) alive: bool,
    pub(super) paused: bool,
    /// What its application takes for each message.
    pub(super) pace: Duration,
    /// Its application is at work until then, and does not poll.
    pub(super) busy_until: Time,
    pub(super) buffer: Buffer,
    pub(super) told: VecDeque<Told>,
    /// Whether events are kept in `told`.
    pub(super) keeps: bool,
    pub(super) reason: subscriber::Reason,
    pub(super) clock: Clock,
}

/// A link that several subscribers share.
pub(super) struct Branch {
    pub(super) up: Wire,
    pub(super) down: Wire,
    pub(super) members: Vec<u32>,
}

/// When a node is woken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// When it asked to be.
    pub(super) wake: Time,
    /// The earliest time at which somebody looks whether it is due.
    pub(super) look: Time,
    /// Time-outs at one instant, and which.
    count: u32,
    at: Time,
}

/// Time-outs of one node at one instant; more of them mean that virtual time stands still.
const MOST_TIMEOUTS: u32 = 16;

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { wake: Time::NEVER, look: Time::NEVER, count: 0, at: Time(0) }
    }

    /// Counts a time-out; false when there were too many at this instant: a driver would spin.
    pub(super) fn count(&mut self, now: Time) -> bool {
        self.count = if self.at == now { self.count + 1 } else { 1 };
        self.at = now;
        self.count <= MOST_TIMEOUTS
    }
}

/// A socket's receive buffer, which accounts for more than a datagram's bytes.
#[derive(Debug)]
pub(super) struct Buffer {
    waiting: VecDeque<(SocketAddr, Rc<[u8]>)>,
    room: usize,
}

impl Buffer {
    pub(super) fn new(room: usize) -> Buffer {
        Buffer { waiting: VecDeque::new(), room }
    }

    fn cost(bytes: &[u8]) -> usize {
        (bytes.len() + 500).next_power_of_two() + 256
    }

    /// Keeps a datagram; false when there is no room.
    pub(super) fn push(&mut self, from: SocketAddr, bytes: Rc<[u8]>) -> bool {
        let Some(room) = self.room.checked_sub(Buffer::cost(&bytes)) else { return false };
        self.room = room;
        self.waiting.push_back((from, bytes));
        true
    }

    pub(super) fn pop(&mut self) -> Option<(SocketAddr, Rc<[u8]>)> {
        let (from, bytes) = self.waiting.pop_front()?;
        self.room += Buffer::cost(&bytes);
        Some((from, bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What a subscriber's application was told: an [`Event`] to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the event's accessors")]
#[non_exhaustive]
pub enum Told {
    /// A message.
    Message { source: SourceId, stream: u32, topic: String, number: u64, sequence: u64, payload: Vec<u8> },
    /// Messages that will not come.
    Gap { source: SourceId, stream: u32, first: u64, last: u64, messages: u64, reason: GapReason },
    /// A stream was found.
    Up { source: SourceId, stream: u32, topic: String, sequence: u64 },
    /// A stream is over.
    End { source: SourceId, stream: u32, sequence: u64, reason: EndReason },
}

impl Told {
    /// An event, copied to be kept.
    pub fn from_event(event: &Event<'_>) -> Told {
        match event {
            Event::Message(message) => Told::Message {
                source: message.source(),
                stream: message.stream_id(),
                topic: message.topic().into(),
                number: message.number(),
                sequence: message.sequence(),
                payload: message.payload().into(),
            },
            Event::Gap(gap) => Told::Gap {
                source: gap.source(),
                stream: gap.stream_id(),
                first: gap.first(),
                last: gap.last(),
                messages: gap.messages(),
                reason: gap.reason(),
            },
            Event::StreamUp(stream) => Told::Up {
                source: stream.source(),
                stream: stream.stream_id(),
                topic: stream.topic().into(),
                sequence: stream.sequence(),
            },
            Event::StreamEnd(stream) => Told::End {
                source: stream.source(),
                stream: stream.stream_id(),
                sequence: stream.sequence(),
                reason: stream.end_reason().unwrap_or(EndReason::Silent),
            },
        }
    }

    /// Whose stream it is about.
    pub fn stream(&self) -> (SourceId, u32) {
        match *self {
            Told::Message { source, stream, .. }
            | Told::Gap { source, stream, .. }
            | Told::Up { source, stream, .. }
            | Told::End { source, stream, .. } => (source, stream),
        }
    }
}
