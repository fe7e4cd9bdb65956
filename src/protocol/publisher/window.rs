//! The transmit window of one stream: every datagram from the trail to the lead, each in a slot of its own, found by
//! its sequence number in constant time.

use super::shares::RepairQueue;
use crate::protocol::pool::{Chunk, Pool, Row, Slots};
use crate::wire::{self, HEADER_LENGTH};

/// What is known of a datagram in the window besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// Bytes of header and payload.
    pub(super) length: u16,
    /// Header flags.
    pub(super) flags: u8,
    /// The queue in which its repair waits.
    pub(super) queued: Option<RepairQueue>,
    /// It is a fragment that does not begin its message.
    pub(super) continues: bool,
    /// The number of the first message in it.
    pub(super) message: u64,
    /// Its repair goes to the group, not to the asker alone.
    pub(super) group: bool,
    /// Who asked for it last, of those answered (0 for nobody).
    pub(super) asker: u64,
}

/// Where a datagram's bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) chunk: Chunk,
    pub(super) offset: usize,
}

/// The window. The slot behind the lead, once made, is where the next datagram is being packed.
#[derive(Debug)]
pub(super) struct Window {
    layout: Slots,
    /// By chunk number.
    chunks: Row<Chunk>,
    /// By sequence number, from the trail to the lead.
    slots: Row<Slot>,
}

impl Window {
    pub(super) fn new(layout: Slots) -> Window {
        Window { layout, chunks: Row::new(0, 16), slots: Row::new(1, 1024) }
    }

    /// The oldest sequence number that can be repaired; one more than the lead when there is none.
    pub(super) fn trail(&self) -> u64 {
        self.slots.first()
    }

    /// The sequence number behind the last sealed datagram.
    pub(super) fn next(&self) -> u64 {
        self.slots.end()
    }

    /// The number of the first message that starts at or behind the trail, or `next_message` when the window is empty.
    pub(super) fn trail_message(&self, next_message: u64) -> u64 {
        match self.slots.get(self.trail()) {
            Some(slot) => slot.message + u64::from(slot.continues),
            None => next_message,
        }
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there is memory for the datagram behind the lead.
    pub(super) fn has_room(&self) -> bool {
        self.layout.chunk_of(self.next()) < self.chunks.end()
    }

    /// Whether there is memory for all up to `sequence`.
    pub(super) fn has_room_up_to(&self, sequence: u64) -> bool {
        self.layout.chunk_of(sequence) < self.chunks.end()
    }

    /// How many chunks the datagrams take that are to come, up to `sequence`.
    pub(super) fn chunks_up_to(&self, sequence: u64) -> usize {
        (self.layout.chunk_of(sequence) + 1).saturating_sub(self.layout.chunk_of(self.next())) as usize
    }

    /// Adds memory behind what there is.
    pub(super) fn grow(&mut self, chunk: Chunk) {
        self.chunks.push(chunk);
    }

    /// The last sequence number that goes when the oldest chunk is given up; `None` while that chunk is the one being
    /// filled.
    pub(super) fn oldest_last(&self) -> Option<u64> {
        if self.chunks.is_empty() {
            return None;
        }
        let last = self.layout.first_of(self.chunks.first() + 1) - 1;
        (last < self.next()).then_some(last)
    }

    /// Gives up the oldest chunk: the trail moves behind it. Only when `oldest_last` names one.
    pub(super) fn shrink(&mut self) -> Option<Chunk> {
        let last = self.oldest_last()?;
        while self.slots.first() <= last {
            self.slots.pop_first();
        }
        self.chunks.pop_first()
    }

    /// Whether there is a chunk in which there is nothing, not even room for a datagram up to `sequence` or the one that is being
    /// packed.
    pub(super) fn is_above(&self, sequence: u64) -> bool {
        !self.chunks.is_empty() && self.layout.chunk_of(sequence.max(self.next())) + 1 < self.chunks.end()
    }

    /// Gives back the newest chunk. Only when it `is_above` that sequence number.
    pub(super) fn give_back(&mut self, sequence: u64) -> Option<Chunk> {
        if self.is_above(sequence) { self.chunks.pop_last() } else { None }
    }

    /// Gives up everything for good: the window is empty behind the lead, and has no memory of its own any more.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Chunk> + use<> {
        self.slots = Row::new(self.slots.end(), 0);
        let end = self.chunks.end();
        let mut chunks = std::mem::replace(&mut self.chunks, Row::new(end, 0));
        std::iter::from_fn(move || chunks.pop_first())
    }

    /// Seals the datagram behind the lead: it becomes the lead.
    pub(super) fn seal(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    /// Has the next `seal` write to memory that was just written to; gives how long the last datagram was.
    pub(super) fn prepare(&mut self) -> usize {
        self.slots.prepare(Slot::default());
        self.slots.get(self.next() - 1).map_or(0, |slot| usize::from(slot.length))
    }

    pub(super) fn slot(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get(sequence)
    }

    pub(super) fn slot_mut(&mut self, sequence: u64) -> Option<&mut Slot> {
        self.slots.get_mut(sequence)
    }

    /// Where the datagram is, sealed or being packed.
    pub(super) fn place(&self, sequence: u64) -> Option<Place> {
        let chunk = *self.chunks.get(self.layout.chunk_of(sequence))?;
        let (_, offset) = self.layout.place_of(sequence);
        Some(Place { chunk, offset })
    }

    /// The transmit stamp of a datagram that was sent.
    pub(super) fn stamp(&self, pool: &Pool, sequence: u64) -> Option<u64> {
        let Place { chunk, offset } = self.place(sequence)?;
        Some(wire::stamp(pool.bytes(chunk, offset, HEADER_LENGTH)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MAX_SEQUENCE;
    use std::collections::VecDeque;

    #[test]
    fn the_trail_moves_by_chunks_and_names_the_message_that_starts_there() {
        let mut pool = Pool::new(4 << 10, 1 << 10, 4, 0);
        let mut window = Window::new(Slots::new(256, 1 << 10));
        let upcoming = |window: &Window| window.trail_message(1_000);
        assert_eq!((window.trail(), window.next(), upcoming(&window)), (1, 1, 1_000));
        assert!(!window.has_room());
        for sequence in 1..=9 {
            if !window.has_room() {
                window.grow(pool.take().unwrap());
            }
            // Messages 1 to 3 in a datagram each; message 4 in the rest.
            let (message, continues) = if sequence <= 4 { (sequence, false) } else { (4, true) };
            window.seal(Slot { message, continues, ..Slot::default() });
        }
        assert_eq!((window.chunks(), window.next(), window.oldest_last()), (3, 10, Some(4)));
        pool.give(window.shrink().unwrap());
        assert_eq!((window.trail(), upcoming(&window)), (5, 5), "message 4 began before");
        assert!(window.slot(4).is_none() && window.place(4).is_none() && window.slot(5).is_some());
        pool.give(window.shrink().unwrap());
        assert_eq!((window.trail(), window.oldest_last()), (9, None), "the chunk being filled stays");
        assert!(window.shrink().is_none());
        window.clear().for_each(|chunk| pool.give(chunk));
        assert_eq!((window.trail(), window.next(), pool.left()), (10, 10, pool.capacity()));
    }

    /// Against a list of what is in it, from the first sequence number and up to the last there can be.
    #[test]
    fn from_the_trail_to_the_lead_everything_is_found_and_nothing_else() {
        let mut random = fastrand::Rng::with_seed(1);
        for start in [1, 4, 5, MAX_SEQUENCE - 300] {
            let mut pool = Pool::new(8 << 10, 1 << 10, 4, 0);
            let layout = Slots::new(256, 1 << 10);
            let first_chunk = layout.chunk_of(start);
            let mut window = Window {
                layout,
                chunks: Row::new(first_chunk, 4),
                slots: Row::new(layout.first_of(first_chunk), 4),
            };
            // What lies before the start in its chunk is as good as sent.
            window.grow(pool.take().unwrap());
            let mut held: VecDeque<u64> = VecDeque::new();
            let mut message = 1;
            while window.next() <= start + 250 {
                match random.u8(..8) {
                    0 => {
                        let oldest = window.oldest_last();
                        let chunk = window.shrink();
                        assert_eq!(oldest.is_some(), chunk.is_some());
                        if let (Some(last), Some(chunk)) = (oldest, chunk) {
                            pool.give(chunk);
                            held.retain(|&sequence| sequence > last);
                            assert_eq!(window.trail(), last + 1);
                        }
                    }
                    1 if random.u8(..16) == 0 => {
                        window.clear().for_each(|chunk| pool.give(chunk));
                        held.clear();
                        assert_eq!((window.trail(), window.chunks()), (window.next(), 0));
                        // A window that was cleared is not written to any more: begin at the next chunk.
                        let first = layout.chunk_of(window.next() - 1) + 1;
                        let slots = Row::new(layout.first_of(first), 4);
                        window = Window { layout, chunks: Row::new(first, 4), slots };
                    }
                    _ if window.has_room() => {
                        let sequence = window.next();
                        assert!(window.place(sequence).is_some(), "there is a place to pack it");
                        window.seal(Slot { message, length: (sequence % 256) as u16, ..Slot::default() });
                        held.push_back(sequence);
                        message += 1;
                    }
                    _ => {
                        assert_eq!(window.place(window.next()).map(|place| place.offset), None);
                        if let Some(chunk) = pool.take() {
                            window.grow(chunk);
                        } else {
                            pool.give(window.shrink().expect("a full window has a chunk to give up"));
                            held.retain(|&sequence| sequence >= window.trail());
                        }
                    }
                }
                assert_eq!(window.chunks(), pool.capacity() - pool.left());
                assert_eq!(window.next() - window.trail(), held.len() as u64);
                assert_eq!(held.front().copied().unwrap_or(window.next()), window.trail());
                for &sequence in &held {
                    assert_eq!(window.slot(sequence).map(|slot| slot.length), Some((sequence % 256) as u16));
                    let place = window.place(sequence).expect("it has a place");
                    assert_eq!(place.offset, layout.place_of(sequence).1);
                }
                let first = window.slot(window.trail()).map(|slot| slot.message);
                assert_eq!(window.trail_message(u64::MAX), first.unwrap_or(u64::MAX));
                for outside in [0, window.trail() - 1, window.next(), MAX_SEQUENCE + 1, u64::MAX] {
                    assert!(window.slot(outside).is_none() && window.slot_mut(outside).is_none());
                }
            }
        }
    }
}
