//! What is on the network: state machines, and what a driver would keep beside them.

use super::Link;
use crate::protocol::publisher::Publisher;
use crate::protocol::subscriber::Subscriber;
use crate::protocol::{EndReason, Event, GapReason, Time};
use crate::wire::SourceId;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

#[derive(Debug)]
pub(super) struct PublisherNode {
    pub(super) core: Publisher,
    pub(super) address: SocketAddr,
    pub(super) up: Link,
    pub(super) down: Link,
    pub(super) alive: bool,
    /// Messages that were not taken yet, by stream.
    pub(super) waiting: BTreeMap<u32, VecDeque<Vec<u8>>>,
    pub(super) batching: bool,
    pub(super) refusals: f64,
    /// The socket takes nothing until then.
    pub(super) refused_until: Option<Time>,
    pub(super) wake: Time,
    pub(super) timeouts: u32,
    pub(super) timeouts_at: Time,
}

#[derive(Debug)]
pub(super) struct SubscriberNode {
    pub(super) core: Subscriber,
    pub(super) address: SocketAddr,
    pub(super) up: Link,
    pub(super) down: Link,
    pub(super) alive: bool,
    pub(super) paused: bool,
    pub(super) buffer: Buffer,
    pub(super) told: VecDeque<Told>,
    pub(super) wake: Time,
    pub(super) timeouts: u32,
    pub(super) timeouts_at: Time,
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

    pub(super) fn push(&mut self, from: SocketAddr, bytes: Rc<[u8]>) {
        if let Some(room) = self.room.checked_sub(Buffer::cost(&bytes)) {
            self.room = room;
            self.waiting.push_back((from, bytes));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(SocketAddr, Rc<[u8]>)> {
        let (from, bytes) = self.waiting.pop_front()?;
        self.room += Buffer::cost(&bytes);
        Some((from, bytes))
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
    pub(super) fn from_event(event: &Event<'_>) -> Told {
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
