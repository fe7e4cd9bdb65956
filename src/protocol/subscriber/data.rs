//! Data and repairs come in: gaps are found the moment something comes behind them, and filled.

use super::gaps::{Missing, Retry};
use super::reorder::Arrival;
use super::source::Known;
use super::stream::{Content, Cursor, Place};
use super::{Contract, Subscriber};
use crate::protocol::event::GapReason;
use crate::protocol::pool::Pool;
use crate::protocol::time::Time;
use crate::wire::{Datagram, Header, Kind};

/// What was asked for so often is given up when what comes for it is impossible again.
const CONTRADICTIONS: u32 = 4;

impl Subscriber {
    pub(super) fn handle_data(
        &mut self,
        now: Time,
        source: usize,
        datagram: &Datagram<'_>,
        content: Content,
        bytes: &[u8],
    ) {
        let header = &datagram.header;
        let Some(known) = self.source(source) else { return };
        match known.known(header.stream) {
            Some(&Known::Subscribed(stream)) => {
                self.recent = Some((header.source, header.stream, source, stream));
                self.accept(now, stream, datagram, content, bytes);
            }
            Some(Known::Over) => self.stats.duplicates += 1,
            Some(Known::Ignored) => self.stats.ignored += 1,
            Some(Known::Unnamed(_)) => {
                if let Some(Known::Unnamed(unnamed)) = known.streams.get_mut(&header.stream) {
                    unnamed.first.get_or_insert((header.sequence, content.starts));
                }
                self.stats.unnamed += 1;
            }
            None => {
                self.stats.unnamed += 1;
                self.meet_stream(now, source, header.stream, Some((header.sequence, content.starts)));
            }
        }
    }

    /// Takes a datagram of a stream that is subscribed to.
    pub(super) fn accept(
        &mut self,
        now: Time,
        index: usize,
        datagram: &Datagram<'_>,
        content: Content,
        bytes: &[u8],
    ) {
        let header = &datagram.header;
        self.tick = self.tick.min(now + self.interval);
        let by_arrival = self.config.contract == Contract::Arrival;
        let idle = self.ready.is_empty();
        let capacity = self.pool.capacity() as u64;
        let Some(stream) = self.streams[index].as_mut() else { return };
        let sequence = header.sequence;
        if stream.over {
            self.stats.duplicates += 1;
            return;
        }
        let length = datagram.payload.as_ptr() as usize - bytes.as_ptr() as usize + datagram.payload.len();
        if length > stream.datagram {
            self.stats.oversized += 1;
            return self.contradicted(index, header);
        }
        stream.data = now;
        if !std::mem::replace(&mut stream.busy, true) {
            self.wakes();
        }
        let sharing = self.sharing();
        let Some(stream) = self.streams[index].as_mut() else { return };
        let ahead = sequence > stream.highest;
        let splits = if ahead {
            let distance = sequence - stream.highest;
            if distance > stream.reach {
                self.stats.jumps += 1;
                return self.ask_state(now, index);
            }
            let next = distance == 1;
            if content.starts < stream.highest_after || (next && content.starts != stream.highest_after) {
                self.stats.contradictions += 1;
                return;
            }
            !next
        } else {
            match stream.gaps.get(sequence) {
                None => {
                    self.stats.duplicates += 1;
                    return;
                }
                Some(missing) if content.starts < missing.before || content.after > missing.next => {
                    self.stats.contradictions += 1;
                    return self.contradicted(index, header);
                }
                Some(missing) => missing.first < sequence && sequence < missing.last,
            }
        };
        // What there is no room for never came: it is found missing, or missing still, and asked for.
        let is_near = sequence <= stream.expected.max(stream.told.limit)
            || sequence < stream.position() + ceiling(stream, capacity, sharing);
        let room = is_near && (!splits || !stream.gaps.is_full());
        let received = now.0.wrapping_add(self.config.wall_offset);
        let arrival = Arrival { received, kernel: self.kernel };
        let deliverable = by_arrival || sequence == stream.expected;
        let at_once = deliverable
            && idle
            && stream.cursor.is_none()
            && self.streams[index].as_ref().is_some_and(|s| self.waits(s, datagram, None).is_none());
        if !room || !(at_once || self.keep(now, index, sequence, arrival, &bytes[..length])) {
            self.stats.overruns += 1;
            if let Some(stream) = self.streams[index].as_mut() {
                // To ask for it is to catch up: those who lost what they had room for go first.
                stream.catch_up_to = stream.catch_up_to.max(sequence);
            }
            return;
        }
        let Some(stream) = self.streams[index].as_mut() else { return };
        if ahead {
            stream.gaps.held_from(now);
            if splits {
                self.lost(now, index, sequence - 1, content.starts, true);
            }
            let Some(stream) = self.streams[index].as_mut() else { return };
            stream.highest = sequence;
            stream.highest_after = content.after;
        } else if let Some(missing) = stream.gaps.filled(sequence, content.starts, content.after, now) {
            self.learn(now, index, header.kind, &missing);
        }
        self.stats.datagrams += 1;
        if header.kind == Kind::Repair {
            self.stats.repairs += 1;
        }
        let Some(stream) = self.streams[index].as_mut() else { return };
        if by_arrival {
            stream.move_on();
        }
        let watch = sequence >= stream.watch;
        if at_once {
            stream.cursor = Some(Cursor::new(Place::Current, bytes, datagram, arrival));
            self.at_hand = Some(index);
        } else if by_arrival {
            stream.arrived.push_back(sequence);
        }
        if deliverable {
            self.enqueue(index);
        }
        if watch {
            self.watch(now, index);
        }
    }

    /// What came for what is missing cannot be it. When it still does not after it was asked for several times, nothing else
    /// ever will: the stream goes on without.
    fn contradicted(&mut self, index: usize, header: &Header) {
        let Some(stream) = self.streams[index].as_mut() else { return };
        // Of several, the others are mostly repaired first, and then it stands alone.
        let often = |missing: &Missing| {
            missing.tries >= CONTRADICTIONS * if missing.first == missing.last { 1 } else { 4 }
        };
        if header.kind == Kind::Repair && stream.gaps.get(header.sequence).is_some_and(often) {
            stream.gaps.give_up_at(header.sequence, GapReason::Contradiction);
            self.gave_up(index);
        }
    }

    /// Everything behind the highest sequence number known, up to `last`, was sent and is not here. `next` is the number of
    /// the first message that starts behind it; `held` says that something waits behind it.
    pub(super) fn lost(&mut self, now: Time, index: usize, last: u64, next: u64, held: bool) {
        let Some(source) = self.streams[index].as_ref().map(|stream| stream.source) else { return };
        let wait = self.backoff(source);
        let reordering =
            self.sources[source].as_ref().map_or_else(Default::default, |s| s.reordering.span(now));
        let given_up = self.not_asked();
        let Some(stream) = self.streams[index].as_mut() else { return };
        let due = now + wait + reordering;
        let missing = Missing {
            first: stream.highest + 1,
            last,
            before: stream.highest_after,
            next,
            found: now,
            held: if held { now } else { Time::NEVER },
            due,
            asked: Time(0),
            asked_to: 0,
            tries: 0,
            given_up,
        };
        let count = last - stream.highest;
        stream.gaps.found(missing);
        stream.missed = stream.missed.wrapping_add(count);
        self.stats.missed = self.stats.missed.saturating_add(count);
        if given_up.is_none() {
            self.urgent |= due.is_due(now);
            if !stream.lossy {
                stream.lossy = true;
                self.lossy.push(index);
            }
        } else {
            self.enqueue(index);
        }
    }

    /// Why what is missing will not come where nothing is asked for.
    pub(super) fn not_asked(&self) -> Option<GapReason> {
        (self.config.contract == Contract::BestEffort).then_some(GapReason::NotAsked)
    }

    /// What the time a gap stayed open says of the network.
    fn learn(&mut self, now: Time, index: usize, kind: Kind, missing: &Missing) {
        let Some(source) = self.streams[index].as_ref().map(|stream| stream.source) else { return };
        let Some(source) = self.sources[source].as_mut() else { return };
        if kind == Kind::Data {
            self.stats.reordered += 1;
            source.reordering.came_late(now.since(missing.found), now);
        } else if missing.tries == 1 {
            source.answered(now.since(missing.asked));
        }
    }

    /// Something that was here is not any more.
    fn miss_again(&mut self, index: usize, missing: Missing) {
        let by_arrival = self.config.contract == Contract::Arrival;
        let best_effort = self.config.contract == Contract::BestEffort;
        let Some(stream) = self.streams[index].as_mut() else { return };
        let given_up = best_effort.then_some(GapReason::Overrun);
        stream.gaps.again(Missing { given_up, ..missing });
        if by_arrival {
            stream.expected = stream.expected.min(missing.first);
        }
        if !stream.lossy {
            stream.lossy = true;
            self.lossy.push(index);
        }
        if best_effort {
            self.enqueue(index);
        }
    }

    /// Keeps a datagram for later. When there is no chunk left, the stream that has the most gives up what is furthest
    /// ahead, if it has more than this one: nobody is starved by another. What a source that is gone has left is for nobody to
    /// repair, and stays.
    fn keep(&mut self, now: Time, index: usize, sequence: u64, arrival: Arrival, bytes: &[u8]) -> bool {
        loop {
            let Some(stream) = self.streams[index].as_mut() else { return false };
            if stream.window.insert(&mut self.pool, sequence, arrival, bytes) {
                return true;
            }
            let mine = stream.window.chunks();
            let richest = self
                .streams
                .iter()
                .enumerate()
                .filter_map(|(other, stream)| stream.as_ref().map(|stream| (other, stream)))
                .filter(|&(other, stream)| other != index && self.is_there(stream.source))
                .map(|(other, stream)| (stream.window.chunks(), other))
                .max();
            match richest {
                Some((chunks, other)) if chunks > mine + 1 => {
                    if !self.give_back(now, other) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }

    /// A stream lets go of the chunk that is furthest ahead; what was in it is missing again.
    fn give_back(&mut self, now: Time, index: usize) -> bool {
        let Some(stream) = self.streams[index].as_mut() else { return false };
        // What is being delivered, and what was promised to be, stays.
        let busy = stream.cursor.is_some_and(|cursor| matches!(cursor.place, Place::Kept(_)));
        if busy || !stream.arrived.is_empty() {
            return false;
        }
        let Some((first, bits)) = stream.window.last_chunk() else { return false };
        for slot in (0..64).filter(|slot| bits & (1 << slot) != 0) {
            let sequence = first + slot;
            let Some(stream) = self.streams[index].as_ref() else { return false };
            let Some((_, kept)) = stream.window.get(&self.pool, sequence) else { continue };
            let Ok(content) = Content::parse(&Datagram::reread(kept)) else { continue };
            self.stats.overruns += 1;
            let missing = Missing {
                first: sequence,
                last: sequence,
                before: content.starts,
                next: content.after,
                found: now,
                // It was the last of what waited.
                held: Time::NEVER,
                due: now + std::time::Duration::from_millis(1),
                asked: Time(0),
                asked_to: 0,
                tries: 0,
                given_up: None,
            };
            self.miss_again(index, missing);
        }
        let Some(stream) = self.streams[index].as_mut() else { return false };
        let dropped = stream.window.drop_last_chunk(&mut self.pool);
        stream.gaps.held_behind(stream.window.last().unwrap_or(0));
        dropped
    }

    /// How long the source of a stream has to answer a NAK.
    pub(super) fn retry(&self, now: Time, index: usize) -> Retry {
        let source = self.streams[index].as_ref().and_then(|stream| self.sources[stream.source].as_ref());
        source.map_or(Retry::default(), |source| source.retry(now))
    }
}

/// How far ahead of its position a datagram of a stream may be.
pub(super) fn ceiling(stream: &super::Stream, chunks: u64, busy: u64) -> u64 {
    let per_chunk = stream.window.layout().per_chunk;
    // One chunk is lost where the front and the back of what waits lie in the middle of theirs.
    ((chunks / busy).max(3) - 1) * per_chunk
}

/// The last datagram of a stream that is worth asking for: one for which there is memory, or that is delivered at once. To
/// ask for what must be thrown away again would only cost the others.
pub(super) fn askable(stream: &super::Stream, pool: &Pool, busy: u64, by_arrival: bool) -> u64 {
    let room = ceiling(stream, pool.capacity() as u64, busy);
    if by_arrival {
        return stream.position() + room - 1;
    }
    let layout = stream.window.layout();
    let chunks = (stream.window.chunks() + pool.left()) as u64;
    let kept = layout.first_of(layout.chunk_of(stream.expected) + chunks) - 1;
    kept.min(stream.expected + room - 1).max(stream.expected)
}
