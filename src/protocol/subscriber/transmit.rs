//! NAKs and status are written here.

use super::data::{askable, ceiling};
use super::source::Known;
use super::{Contract, Subscriber};
use crate::protocol::time::{Time, nanos};
use crate::wire::{HEADER_LENGTH, Header, Kind, Nak, Position, Status, flag};
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of the largest datagram a subscriber sends.
pub(super) const DATAGRAM: usize = 1_408;
/// Positions in one status message; more would not fit.
pub(super) const MOST_POSITIONS: usize = 40;
/// The kernel accounts for more than a datagram's bytes: headers, alignment, its own record of it.
const KERNEL_OVERHEAD: u64 = 500;
const KERNEL_RECORD: u64 = 256;
/// However little the receive buffer holds, a publisher may send so many datagrams ahead.
const LEAST_CREDIT: u64 = 32;
/// A position is told again in the next status messages, so that the loss of one does not hold the publisher back.
const TOLD_TIMES: u32 = 4;
/// Status of a new stream is repeated so often, soon.
const GREETINGS: u32 = 4;
/// A source hears something of a receiver at least once in this many of its idle intervals.
const LIFE_INTERVALS: u32 = 2;
/// The first wait between two askings for a name.
const NAME_RETRY: Duration = Duration::from_millis(5);
/// So often a name is asked for before the waits are doubled: until it is known nothing can be repaired, and the publisher
/// does not know that it is waited for.
const NAME_RETRIES: u32 = 6;
/// Doubled so often at the most: a name that nobody tells costs a datagram in five seconds.
const MOST_NAME_BACKOFF: u32 = 10;

/// A datagram to be sent now; [`Subscriber::datagram`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes: the address its source's data comes from.
    pub to: SocketAddr,
    /// Its length, bytes.
    pub length: usize,
}

impl Subscriber {
    /// Whether there is something to send that should not wait for a time-out.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// The next datagram to send, if there is one now.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        let transmit = self.nak(now).or_else(|| self.name(now)).or_else(|| self.status(now));
        if transmit.is_none() {
            self.urgent = false;
        }
        transmit
    }

    /// The bytes of what `poll_transmit` gave last.
    pub fn datagram(&self, transmit: &Transmit) -> &[u8] {
        &self.buffer[..transmit.length]
    }

    /// How long ago the newest stamp of a source was heard, as it goes on the wire.
    fn held(now: Time, stamped: Time) -> u32 {
        u32::try_from(nanos(now.since(stamped))).unwrap_or(u32::MAX)
    }

    fn emit(&mut self, header: Header, to: SocketAddr, payload: usize, now: Time) -> Transmit {
        let header = Header { sent: now.0.wrapping_add(self.config.wall_offset), ..header };
        header.emit(&mut self.buffer, payload);
        Transmit { to, length: HEADER_LENGTH + payload }
    }

    /// All that is due of one stream.
    fn nak(&mut self, now: Time) -> Option<Transmit> {
        let by_arrival = self.config.contract == Contract::Arrival;
        let mut at = 0;
        while let Some(&index) = self.lossy.get(at) {
            let Some(stream) = self.streams[index].as_mut().filter(|stream| !stream.gaps.is_empty()) else {
                if let Some(stream) = self.streams[index].as_mut() {
                    stream.lossy = false;
                }
                self.lossy.swap_remove(at);
                continue;
            };
            at += 1;
            if !stream.gaps.earliest().is_due(now) {
                continue;
            }
            let Some(source) = &self.sources[stream.source] else { continue };
            if source.gone {
                continue;
            }
            let until = askable(stream, &self.pool, self.busy, by_arrival);
            // Half of what the sockets hold: live data comes besides.
            let credit = (buffered(self.config.receive_buffer, stream.datagram) / 2).max(LEAST_CREDIT);
            let catching_up = stream.gaps.first().is_some_and(|missing| missing.last <= stream.catch_up_to);
            let mut list = Nak::emit(
                &mut self.buffer[HEADER_LENGTH..],
                self.config.receiver,
                Self::held(now, source.stamped),
            );
            let mut asked = 0;
            stream.gaps.take_due(now, until, credit, source.retry(now), |range| {
                let taken = list.push_range(range);
                asked += if taken { u64::from(range.count) } else { 0 };
                taken
            });
            if asked == 0 {
                continue;
            }
            let length = list.length();
            self.stats.naks += 1;
            self.stats.nak_datagrams += asked;
            let header = Header {
                flags: if catching_up { flag::CATCHING_UP } else { 0 },
                stamp: source.stamp,
                ..Header::new(Kind::Nak, source.id, stream.id)
            };
            let to = source.address;
            return Some(self.emit(header, to, length, now));
        }
        None
    }

    /// A stream's name is asked for, or its state.
    fn name(&mut self, now: Time) -> Option<Transmit> {
        while let Some(&Reverse((at, index, stream))) = self.asking.peek()
            && at.is_due(now)
        {
            self.asking.pop();
            let Some(source) = self.sources[index].as_mut().filter(|source| !source.gone) else { continue };
            match source.streams.get_mut(&stream) {
                Some(Known::Unnamed(unnamed)) if unnamed.ask == at => {
                    let doubled = unnamed.tries.saturating_sub(NAME_RETRIES).min(MOST_NAME_BACKOFF);
                    unnamed.ask = now + NAME_RETRY * (1 << doubled);
                    unnamed.tries += 1;
                    self.asking.push(Reverse((unnamed.ask, index, stream)));
                }
                Some(&mut Known::Subscribed(subscribed)) => {
                    let state = self.streams[subscribed].as_mut().filter(|state| state.ask_state == at);
                    let Some(state) = state else { continue };
                    // Once: what made it ask comes again.
                    state.ask_state = Time::NEVER;
                    state.state_asked = now;
                }
                _ => continue,
            }
            let list = Nak::emit(
                &mut self.buffer[HEADER_LENGTH..],
                self.config.receiver,
                Self::held(now, source.stamped),
            );
            let length = list.length();
            let header = Header {
                flags: flag::NAME_WANTED,
                stamp: source.stamp,
                ..Header::new(Kind::Nak, source.id, stream)
            };
            let to = source.address;
            self.stats.names_asked += 1;
            return Some(self.emit(header, to, length, now));
        }
        None
    }

    /// How far the publisher of a stream may go: as far as the reorder buffer reaches, and as the sockets hold.
    fn limit(&self, index: usize) -> Option<u64> {
        let stream = self.streams[index].as_ref()?;
        let share =
            (buffered(self.config.receive_buffer, stream.datagram) * 3 / 4 / self.busy).max(LEAST_CREDIT);
        let room = stream.expected + ceiling(stream, self.pool.capacity() as u64, self.busy) - 1;
        // By arrival nothing is kept, but what is missing is: the same bound serves.
        Some(room.min(stream.highest.max(stream.expected - 1) + share))
    }

    /// What the publisher of the first stream that is to be told of should know of this and its other streams.
    fn status(&mut self, now: Time) -> Option<Transmit> {
        let first = loop {
            let &index = self.telling.front()?;
            if self.is_listening(index) {
                break index;
            }
            self.telling.pop_front();
            if let Some(stream) = self.streams[index].as_mut() {
                stream.told.queued = false;
            }
        };
        let source_index = self.streams[first].as_ref()?.source;
        let source = self.sources[source_index].as_ref()?;
        let (id, stamp, stamped, to) = (source.id, source.stamp, source.stamped, source.address);
        let mut positions = std::mem::take(&mut self.positions);
        for _ in 0..self.telling.len() {
            let Some(&index) = self.telling.front() else { break };
            let of_this = self.streams[index].as_ref().is_some_and(|stream| stream.source == source_index);
            if of_this && positions.len() < MOST_POSITIONS {
                let limit = self.limit(index).unwrap_or(0);
                if let Some(stream) = self.streams[index].as_mut() {
                    let position = stream.position();
                    let times = if stream.told.position == position { stream.told.times + 1 } else { 1 };
                    let greetings = stream.told.greetings.saturating_add(1);
                    stream.told = super::stream::Told { position, limit, times, greetings, queued: false };
                    positions.push(Position {
                        stream: stream.id,
                        ended: stream.has_ended(),
                        missed: stream.missed as u32,
                        position,
                        limit,
                    });
                }
                self.telling.pop_front();
            } else {
                self.telling.rotate_left(1);
            }
        }
        let mut list =
            Status::emit(&mut self.buffer[HEADER_LENGTH..], self.config.receiver, Self::held(now, stamped));
        for position in positions.drain(..) {
            list.push_position(&position);
        }
        let length = list.length();
        self.positions = positions;
        self.stats.statuses += 1;
        if let Some(source) = &mut self.sources[source_index] {
            source.told = now;
        }
        let header = Header { stamp, ..Header::new(Kind::Status, id, 0) };
        Some(self.emit(header, to, length, now))
    }

    /// Whether a stream's source is there to be told of it.
    fn is_listening(&self, index: usize) -> bool {
        let stream = self.streams[index].as_ref();
        stream.and_then(|stream| self.sources[stream.source].as_ref()).is_some_and(|source| !source.gone)
    }

    /// Takes leave of every source: gives a datagram for each in turn, to be sent before the subscription ends.
    pub fn poll_leave(&mut self, now: Time) -> Option<Transmit> {
        let at = self.sources.iter().position(|source| source.as_ref().is_some_and(|source| !source.gone))?;
        let source = self.sources[at].as_mut()?;
        source.gone = true;
        let (id, stamp, stamped, to) = (source.id, source.stamp, source.stamped, source.address);
        let mut list =
            Status::emit(&mut self.buffer[HEADER_LENGTH..], self.config.receiver, Self::held(now, stamped));
        for stream in self.streams.iter().flatten().filter(|stream| stream.source == at) {
            let position = Position {
                stream: stream.id,
                ended: stream.has_ended(),
                missed: stream.missed as u32,
                position: stream.position(),
                limit: stream.told.limit,
            };
            if !list.push_position(&position) {
                break;
            }
        }
        let length = list.length();
        let header = Header { stamp, flags: flag::LEAVING, ..Header::new(Kind::Status, id, 0) };
        Some(self.emit(header, to, length, now))
    }

    /// The streams of all sources are told of: those that moved, those of which it was told only lately, and one of each
    /// source that heard nothing for long. Gives when a source must hear something next.
    pub(super) fn tell_all(&mut self, now: Time) -> Time {
        let mut next = Time::NEVER;
        for index in 0..self.streams.len() {
            let Some(stream) = &self.streams[index] else { continue };
            let told = stream.told;
            let moved = stream.position() != told.position || told.times < TOLD_TIMES;
            let Some(source) = self.sources[stream.source].as_mut().filter(|source| !source.gone) else {
                continue;
            };
            let silence = (source.idle() * LIFE_INTERVALS).max(self.interval);
            if moved || (source.told + silence).is_due(now) {
                // It will be, in a moment.
                source.told = now;
                self.tell(index);
                // A publisher must soon know of its receivers, or nobody is waited for.
                let wait = match told.greetings {
                    greetings @ 0..GREETINGS => self.interval / 20 * (1 << greetings),
                    _ => self.interval,
                };
                next = next.min(now + wait);
            } else {
                next = next.min(source.told + silence);
            }
        }
        next
    }

    /// Whether what is missing is asked for.
    pub(super) fn asks(&self) -> bool {
        self.config.contract != Contract::BestEffort
    }
}

/// How many datagrams of a size a receive buffer holds, by the kernel's way of counting.
fn buffered(receive_buffer: usize, datagram: usize) -> u64 {
    let each = (datagram as u64 + KERNEL_OVERHEAD).next_power_of_two() + KERNEL_RECORD;
    receive_buffer as u64 / each
}
