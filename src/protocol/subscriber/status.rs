//! Status: what publishers are told of the streams. How far each is, how far its publisher may go, and when that is said: by
//! every receiver, or in a crowd by those who speak for it and those who are behind.

use super::Subscriber;
use super::data::ceiling;
use super::source::Source;
use super::stream::Told;
use super::transmit::Transmit;
use crate::protocol::crowd;
use crate::protocol::estimate;
use crate::protocol::time::{Time, nanos};
use crate::wire::{HEADER_LENGTH, Header, Kind, MAX_SEQUENCE, Position, Status, flag};
use std::time::Duration;

/// Positions in one status message; more would not fit.
pub(super) const MOST_POSITIONS: usize = 40;
/// The kernel accounts for more than a datagram's bytes: headers, alignment, its own record of it.
const KERNEL_OVERHEAD: u64 = 500;
const KERNEL_RECORD: u64 = 256;
/// However little the receive buffer holds, a publisher may send so many datagrams ahead.
pub(super) const LEAST_CREDIT: u64 = 32;
/// A position is told again in the next status messages, so that the loss of one does not hold the publisher back.
const TOLD_TIMES: u32 = 4;
/// Status of a new stream is repeated so often, soon.
const GREETINGS: u32 = 4;
/// A source hears something of a receiver at least once in this many of its idle intervals.
const LIFE_INTERVALS: u32 = 2;
/// A stream of which nothing came for this long has no part in the receive buffer.
const BUSY: Duration = Duration::from_millis(400);
/// One of so many streams that rest has a part in it.
const RESTING_PART: u64 = 4;
/// Which streams have one is looked at as often as this, where nothing calls for it sooner.
const LOOK: Duration = Duration::from_secs(1);
/// While the size of the group is not known, the first status waits a random part of this: a crowd that starts together is
/// told within it how large it is.
const GREETING: Duration = Duration::from_millis(10);
/// A publisher says within about this and a round trip who holds it back, so that others need not.
const ANSWER: Duration = Duration::from_millis(1);
/// Who has everything of a stream that is over says so within this time for each receiver.
const END_PER_RECEIVER: Duration = Duration::from_micros(100);

impl Subscriber {
    /// How far the publisher of a stream may go: as far as the reorder buffer reaches, and as the sockets hold.
    fn limit(&self, index: usize) -> Option<u64> {
        let stream = self.streams[index].as_ref()?;
        // Many that rest may begin at once.
        let others = if stream.busy { 0 } else { self.resting / RESTING_PART };
        let sharing = self.sharing().max(others);
        let share =
            (buffered(self.config.receive_buffer, stream.datagram) * 3 / 4 / sharing).max(LEAST_CREDIT);
        let position = stream.position();
        let room = position + ceiling(stream, self.pool.capacity() as u64, self.sharing()) - 1;
        Some(room.min(stream.highest.max(position - 1) + share))
    }

    /// A stream is new, or is there again: its publisher will be told of it.
    pub(super) fn greet(&mut self, now: Time, index: usize) {
        let Some(stream) = self.streams[index].as_mut() else { return };
        let Some(source) = self.sources[stream.source].as_ref() else { return };
        stream.told.greetings = 0;
        stream.sized_up = source.known_group();
        let within = match source.known_group() {
            0 => GREETING,
            1..=crowd::CROWD => Duration::ZERO,
            group => crowd::silence(group),
        };
        stream.speak = now + within.mul_f64(self.random.f64());
        self.tick = self.tick.min(stream.speak);
    }

    /// Has a stream's publisher told of it.
    pub(super) fn tell(&mut self, index: usize) {
        if let Some(stream) = self.streams[index].as_mut()
            && !stream.told.queued
        {
            stream.told.queued = true;
            self.telling.push_back(index);
            self.urgent = true;
        }
    }

    /// A stream's position moved: after a quarter of what its publisher may send, or of its part of what the window there holds if
    /// that is less, the publisher is told. In a crowd it is not, unless it was told that this receiver is behind.
    pub(super) fn moved(&mut self, index: usize) {
        let Some(stream) = &self.streams[index] else { return };
        let told = stream.told;
        let room = told.limit.saturating_sub(told.position);
        let position = stream.position();
        if !self.sources[stream.source].as_ref().is_some_and(|source| source.quiet) {
            let step = room.min(stream.reach / self.sharing()) / 4;
            if position >= told.position + step.max(1) || stream.has_ended() {
                self.tell(index);
            }
        } else if told.behind {
            let caught_up = stream.highest.saturating_sub(position) < room / 16;
            // Every step of the one that is waited for counts; of the others', those who go on to hold it back.
            let step = if stream.limiting { room / 8 } else { room / 2 };
            if caught_up || position >= told.position + step.max(1) {
                self.tell(index);
            }
        } else if stream.has_ended() && !told.ended {
            // When to say so is found as soon as the time is known.
            self.tick = Time(0);
        }
    }

    /// How many streams share the sockets and the memory.
    pub(super) fn sharing(&self) -> u64 {
        self.busy.max(1)
    }

    /// Data comes of a stream that rested: it has its part in the sockets from now on. The others' parts are smaller then: their publishers
    /// are told as often as there are twice as many, and may go no further than they were told before until there is room. A crowd is silent.
    pub(super) fn wakes(&mut self) {
        self.busy += 1;
        self.resting = self.resting.saturating_sub(1);
        if self.busy == 1 || !self.busy.is_power_of_two() {
            return;
        }
        for index in 0..self.streams.len() {
            let Some(stream) = &self.streams[index] else { continue };
            let quiet = self.sources[stream.source].as_ref().is_some_and(|source| source.quiet);
            if stream.busy && !quiet && stream.told.greetings > 0 {
                self.tell(index);
            }
        }
    }

    /// In a crowd: looks whether a stream is behind, as data runs ahead of what it can deliver. To be called again when the
    /// stream's `watch` is reached.
    pub(super) fn watch(&mut self, now: Time, index: usize) {
        let Some(limit) = self.limit(index) else { return };
        let Some(stream) = self.streams[index].as_mut() else { return };
        let Some(source) = self.sources[stream.source].as_ref() else { return };
        let (position, highest) = (stream.position(), stream.highest);
        let room = (limit + 1).saturating_sub(position);
        let ran_ahead = now.since(stream.watched);
        if source.quiet && crowd::is_behind(position, limit, highest) {
            stream.watch = highest + room / 8 + 1;
            stream.watched = now;
            if stream.told.behind {
                // It said so, and data still runs ahead: that may be lost.
                if self.is_furthest_behind(index) {
                    self.tell(index);
                }
            } else if stream.speak == Time::NEVER {
                let round = source.round_trip() + ANSWER;
                let wait = estimate::backoff(round, source.known_group(), self.random.f64());
                // In as much time as the data took to come this far ahead there is room for it still.
                stream.speak = now + wait.min(ran_ahead);
                self.tick = self.tick.min(stream.speak);
            }
        } else {
            stream.watch = (position + room / 4).max(highest) + 1;
            stream.watched = now;
        }
    }

    /// Whether a stream in a crowd is further behind than the one its publisher waits for.
    fn is_furthest_behind(&self, index: usize) -> bool {
        let (Some(stream), Some(limit)) = (&self.streams[index], self.limit(index)) else { return false };
        // Where the publisher has gone further, what it said of the others is old.
        let others = if stream.highest > stream.others_limit { MAX_SEQUENCE } else { stream.others_limit };
        let room = (limit + 1).saturating_sub(stream.position());
        // What little another is ahead there is room for.
        crowd::is_behind(stream.position(), limit, stream.highest) && limit.saturating_add(room / 4) < others
    }

    /// A stream's end was heard, perhaps not for the first time.
    pub(super) fn tell_end(&mut self, now: Time, index: usize) {
        let Some(stream) = self.streams[index].as_mut() else { return };
        let Some(source) = self.sources[stream.source].as_ref() else { return };
        if !source.quiet {
            self.tell(index);
        } else if stream.told.ended && now.since(stream.told.at) > END_PER_RECEIVER * 4 * source.known_group()
        {
            // What was said may be lost.
            stream.told.ended = false;
            self.tick = now;
        }
    }

    /// The group of a source has another size.
    pub(super) fn size_up(&mut self, source: usize) {
        let me = self.config.receiver;
        if let Some(source) = self.source(source) {
            source.quiet = !crowd::speaks(me, source.known_group());
        }
        let known = self.sources.iter().flatten().filter(|source| !source.gone).map(Source::known_group);
        self.interval = known.map(|group| crowd::status_interval(me, group)).min().unwrap_or(self.interval);
    }

    /// What is looked at now and then: which streams are busy, and who is to be told of which.
    pub(super) fn signs_of_life(&mut self, now: Time) {
        let since = Time(now.0.saturating_sub(nanos(BUSY)));
        (self.busy, self.resting) = (0, 0);
        for stream in self.streams.iter_mut().flatten() {
            stream.busy = stream.data > since;
            self.busy += u64::from(stream.busy);
            self.resting += u64::from(!stream.busy && !stream.over);
        }
        self.tick = self.tell_all(now);
    }

    /// The streams of all sources are told of: those that moved, those of which it was told only lately, and one of each
    /// source that heard nothing for long. Gives when to look again.
    fn tell_all(&mut self, now: Time) -> Time {
        // Who comes back is looked at at once.
        let listening = self.streams.iter().flatten().any(|stream| self.is_there(stream.source));
        let mut next = if listening { now + LOOK } else { Time::NEVER };
        for index in 0..self.streams.len() {
            let Some(stream) = &self.streams[index] else { continue };
            let Some(source) = self.sources[stream.source].as_ref().filter(|source| !source.gone) else {
                continue;
            };
            let (told, source_index, quiet, last) = (stream.told, stream.source, source.quiet, source.told);
            let life = (source.idle() * LIFE_INTERVALS)
                .max(crowd::status_interval(self.config.receiver, source.known_group()));
            let moved = !quiet && (stream.position() != told.position || told.times < TOLD_TIMES);
            let asked = if told.greetings == 0 || quiet { self.speaks_now(now, index) } else { None };
            if let Some(at) = asked
                && !at.is_due(now)
            {
                next = next.min(at);
            } else if asked.is_some() || moved || (last + life).is_due(now) {
                // It will be, in a moment.
                if let Some(source) = self.source(source_index) {
                    source.told = now;
                }
                self.tell(index);
                // A publisher must soon know of its receivers, or nobody is waited for.
                let wait = match told.greetings {
                    greetings @ 0..GREETINGS if !quiet => self.interval / 20 * (1 << greetings),
                    _ => self.interval,
                };
                next = next.min(now + wait);
            } else {
                next = next.min(last + life);
            }
        }
        next
    }

    /// When a new stream, or one in a crowd, is to be told of for a reason of its own; `None` when there is none.
    fn speaks_now(&mut self, now: Time, index: usize) -> Option<Time> {
        let stream = self.streams[index].as_ref()?;
        let source = self.sources[stream.source].as_ref()?;
        let (group, quiet) = (source.known_group(), source.quiet);
        let (greeting, speak, sized_up) = (stream.told.greetings == 0, stream.speak, stream.sized_up);
        let ended = stream.has_ended() && !stream.told.ended;
        let again = if !speak.is_due(now) {
            if !(ended && speak == Time::NEVER) {
                return (speak < Time::NEVER).then_some(speak);
            }
            now + (END_PER_RECEIVER * group).mul_f64(self.random.f64())
        } else if greeting && quiet && group / 2 > sized_up {
            // The group turned out larger: who has not greeted yet takes more time for it (RFC 3550, 6.3.3).
            now + crowd::silence(group).mul_f64(self.random.f64())
        } else if greeting || ended || self.is_furthest_behind(index) {
            return Some(now);
        } else {
            Time::NEVER
        };
        let stream = self.streams[index].as_mut()?;
        stream.speak = again;
        stream.sized_up = group;
        (again < Time::NEVER).then_some(again)
    }

    /// A publisher still waits for somebody to say that a stream has ended which is over, and forgotten, here.
    pub(super) fn say_ended(&mut self, source: usize, stream: u32, lead: u64) {
        let Some(known) = self.sources[source].as_ref() else { return };
        // In a crowd only a few at a time: it says the end on and on.
        let group = known.known_group().max(1);
        let now = !known.quiet || self.random.u32(..group) < crowd::CROWD;
        if now && self.ended.len() < MOST_POSITIONS {
            self.ended.push((source, stream, lead));
            self.urgent = true;
        }
    }

    /// What publishers should know of streams that are forgotten here.
    fn ended(&mut self, now: Time) -> Option<Transmit> {
        let &(index, ..) = self.ended.last()?;
        let source = self.sources[index].as_ref()?;
        let (id, stamp, stamped, to) = (source.id, source.stamp, source.stamped, source.address);
        let mut list =
            Status::emit(&mut self.buffer[HEADER_LENGTH..], self.config.receiver, Self::held(now, stamped));
        self.ended.retain(|&(source, stream, lead)| {
            let (position, limit) = (lead + 1, lead + 1);
            source != index
                || !list.push_position(&Position { stream, ended: true, missed: 0, position, limit })
        });
        let length = list.length();
        self.stats.statuses += 1;
        let header = Header { stamp, ..Header::new(Kind::Status, id, 0) };
        Some(self.emit(header, to, length, now))
    }

    /// What the publisher of the first stream that is to be told of should know of this and its other streams.
    pub(super) fn status(&mut self, now: Time) -> Option<Transmit> {
        if let Some(transmit) = self.ended(now) {
            return Some(transmit);
        }
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
                    stream.speak = Time::NEVER;
                    if stream.over {
                        self.ends_told = true;
                    }
                    stream.told = Told {
                        position,
                        limit,
                        at: now,
                        times: if stream.told.position == position { stream.told.times + 1 } else { 1 },
                        greetings: stream.told.greetings.saturating_add(1),
                        behind: crowd::is_behind(position, limit, stream.highest),
                        ended: stream.has_ended(),
                        queued: false,
                    };
                    positions.push(Position {
                        stream: stream.id,
                        ended: stream.told.ended,
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
        self.streams[index].as_ref().is_some_and(|stream| self.is_there(stream.source))
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
}

/// How many datagrams of a size a receive buffer holds, by the kernel's way of counting.
pub(super) fn buffered(receive_buffer: usize, datagram: usize) -> u64 {
    let each = (datagram as u64 + KERNEL_OVERHEAD).next_power_of_two() + KERNEL_RECORD;
    receive_buffer as u64 / each
}
