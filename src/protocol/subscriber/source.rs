//! A source as a subscriber knows it: where it sends from, when it was heard, which streams it has.

use super::gaps::Retry;
use super::ids::Ids;
use crate::protocol::estimate::{self, Reordering, Smoothed};
use crate::protocol::time::Time;
use crate::wire::{Header, SourceId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A source is gone when nothing was heard of it for this many of its idle intervals.
pub(super) const SILENT_INTERVALS: u32 = 5;
/// The idle interval of a source that has not told its own.
const UNKNOWN_IDLE: Duration = Duration::from_millis(500);
/// A source cannot promise less than a sign of life in this time.
const LONGEST_IDLE: Duration = Duration::from_secs(60);
/// Until the size of a group is known it is taken for this large, so that a crowd that starts together does not ask
/// together.
const UNKNOWN_GROUP: u32 = 1_000;
/// Until a round trip is known it is taken for this long.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(1);
/// A NAK is not repeated sooner than this: the least a publisher's thread takes to be woken and to answer.
const LEAST_RETRY: Duration = Duration::from_micros(200);
/// The wait before the second NAK while nothing was measured.
const UNKNOWN_RETRY: Duration = Duration::from_millis(5);
/// Where NAKs wait at random for those of others, each loss for a time of its own, one that goes out takes along those due
/// within this part of a round trip.
const TOGETHER: u32 = 4;
/// When for this many times the wait no NAK was answered that was not repeated, the wait is doubled.
const UNANSWERED: u32 = 8;
const MOST_DOUBLINGS: u32 = 12;
/// While answers are slow, NAKs are this part of the wait for one apart.
const SPACED: u32 = 4;
/// No retry waits longer.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// What is known of one of a source's streams.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// Subscribed to: its number among the subscriber's streams.
    Subscribed(usize),
    /// Not subscribed to.
    Ignored,
    /// Its topic is not known yet.
    Unnamed(Unnamed),
    /// It was subscribed to, and is over.
    Over,
}

/// A stream whose topic is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unnamed {
    /// The first datagram heard of it, and the number of the first message that starts in or behind it.
    pub(super) first: Option<(u64, u64)>,
    /// When to ask next.
    pub(super) ask: Time,
    pub(super) tries: u32,
}

/// A source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) address: SocketAddr,
    pub(super) first_heard: Time,
    pub(super) heard: Time,
    /// The newest transmit stamp heard, and when.
    pub(super) stamp: u64,
    pub(super) stamped: Time,
    /// The latest that something of it was sent first, by its wall clock.
    pub(super) sent: u64,
    /// When it was sent status last.
    pub(super) told: Time,
    pub(super) idle: Option<Duration>,
    group_size: Option<u32>,
    round_trip: Option<Duration>,
    /// Its group is a crowd, and others speak for this receiver.
    pub(super) quiet: bool,
    /// From a NAK to its repair.
    pub(super) answer: Smoothed,
    /// Since when it was asked, again and again, and gave no repair for a NAK that was not repeated.
    unanswered: Time,
    /// How often the wait was doubled since it last did.
    doublings: u32,
    pub(super) reordering: Reordering,
    pub(super) streams: HashMap<u32, Known>,
    pub(super) unnamed: usize,
    /// Those that were subscribed to, are over, and are not kept any more.
    over: Ids,
    /// Those that were not subscribed to and are over.
    ignored: Ids,
    /// It was here before, and forgotten for want of room: what it had sent by then may have been delivered.
    pub(super) returned: bool,
    /// Silent, or replaced: its streams are over.
    pub(super) gone: bool,
    /// Another source sends from its address now: what still comes of this one is old, while the other is heard.
    pub(super) replaced: bool,
}

impl Source {
    pub(super) fn new(id: SourceId, address: SocketAddr, now: Time) -> Source {
        Source {
            id,
            address,
            first_heard: now,
            heard: now,
            stamp: 0,
            stamped: now,
            sent: 0,
            told: Time(0),
            idle: None,
            group_size: None,
            round_trip: None,
            quiet: false,
            answer: Smoothed::default(),
            unanswered: Time::NEVER,
            doublings: 0,
            reordering: Reordering::default(),
            streams: HashMap::new(),
            unnamed: 0,
            over: Ids::default(),
            ignored: Ids::default(),
            returned: false,
            gone: false,
            replaced: false,
        }
    }

    /// Those of its streams that are subscribed to, in the order of their ids.
    pub(super) fn subscribed(&self) -> Vec<usize> {
        let number = |(&id, known): (&u32, &Known)| match known {
            Known::Subscribed(stream) => Some((id, *stream)),
            _ => None,
        };
        let mut streams: Vec<(u32, usize)> = self.streams.iter().filter_map(number).collect();
        streams.sort_unstable();
        streams.into_iter().map(|(_, stream)| stream).collect()
    }

    /// What is known of one of its streams.
    pub(super) fn known(&self, stream: u32) -> Option<&Known> {
        self.streams.get(&stream).or_else(|| {
            if self.over.contains(stream) {
                Some(&Known::Over)
            } else {
                self.ignored.contains(stream).then_some(&Known::Ignored)
            }
        })
    }

    /// A stream that is not subscribed to is over.
    pub(super) fn ignored_is_over(&mut self, stream: u32) {
        if let Some(Known::Unnamed(_)) = self.streams.remove(&stream) {
            self.unnamed -= 1;
        }
        self.ignored.insert(stream);
    }

    /// A stream that was subscribed to is over, and nothing more is kept of it.
    pub(super) fn forget_over(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.over.insert(stream);
    }

    /// Something came of it.
    pub(super) fn hear(&mut self, now: Time, header: &Header) {
        self.heard = now;
        self.sent = self.sent.max(header.sent);
        if header.stamp >= self.stamp {
            self.stamp = header.stamp;
            self.stamped = now;
        }
    }

    pub(super) fn set_idle(&mut self, micros: u32) {
        self.idle = Some(Duration::from_micros(u64::from(micros)).min(LONGEST_IDLE));
    }

    /// The longest it leaves between two signs of life.
    pub(super) fn idle(&self) -> Duration {
        self.idle.unwrap_or(UNKNOWN_IDLE)
    }

    /// When it is taken for gone, if nothing is heard of it.
    pub(super) fn gone_at(&self) -> Time {
        self.heard + self.idle() * SILENT_INTERVALS
    }

    pub(super) fn set_group(&mut self, size: u32, round_trip: u32) {
        self.group_size = Some(size);
        if round_trip != 0 {
            self.round_trip = Some(Duration::from_nanos(u64::from(round_trip)).min(LONGEST_RETRY));
        }
    }

    /// How many may ask for the same.
    pub(super) fn group_size(&self) -> u32 {
        self.group_size.unwrap_or(UNKNOWN_GROUP)
    }

    /// How many are known to be there.
    pub(super) fn known_group(&self) -> u32 {
        self.group_size.unwrap_or(0)
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or(UNKNOWN_ROUND_TRIP)
    }

    /// How long a NAK may take to be answered. In a group not less than a round trip: a repair that came sooner was another's,
    /// and says nothing.
    pub(super) fn nak_timeout(&self) -> Duration {
        let measured = self.answer.timeout().or(self.round_trip.map(|time| time * 2));
        let least = if self.known_group() > 1 { self.round_trip.unwrap_or_default() } else { Duration::ZERO };
        measured.unwrap_or(UNKNOWN_RETRY).max(least).clamp(LEAST_RETRY, LONGEST_RETRY)
    }

    /// A NAK was sent, for some of what it asks for not the first.
    pub(super) fn asked(&mut self, now: Time, again: bool) {
        if self.unanswered == Time::NEVER {
            self.unanswered = now;
        } else if again && now.since(self.unanswered) >= self.patience() * UNANSWERED {
            self.unanswered = now;
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        }
    }

    /// A repair came for what was asked for once. A repair of what was asked for twice may answer either NAK, and says nothing
    /// of how long an answer takes: until one comes that does, the wait stays doubled (Karn's algorithm, RFC 6298, 3 and 5).
    pub(super) fn answered(&mut self, after: Duration) {
        self.answer.sample(after);
        self.unanswered = Time::NEVER;
        self.doublings = 0;
    }

    /// How long an answer is waited for: what was measured, longer while none comes in that time, as where repairs wait for
    /// the publisher's rate.
    fn patience(&self) -> Duration {
        (self.nak_timeout() * (1 << self.doublings)).min(LONGEST_RETRY)
    }

    /// While answers do not come in their time, the way of NAKs may be too narrow for one for each loss: so much lies between two of a
    /// stream, and each asks for all that is due by then.
    pub(super) fn spacing(&self) -> Duration {
        if self.doublings == 0 { Duration::ZERO } else { self.patience() / SPACED }
    }

    /// When NAKs are repeated. While the source is not heard from at all they come further and further apart.
    pub(super) fn retry(&self, now: Time) -> Retry {
        let alone = estimate::span(self.round_trip(), self.group_size()).is_zero();
        Retry {
            timeout: self.patience(),
            least: (now.since(self.heard) / 2).min(LONGEST_RETRY),
            together: if alone { Duration::ZERO } else { self.round_trip() / TOGETHER },
        }
    }
}
