//! Datagrams that came before others they follow: the same slots as the transmit window's, with holes. A chunk is held
//! only while something is in it.

use crate::protocol::pool::{Chunk, Pool, Row, Slots};

/// Before each datagram in its slot: when it came.
pub(super) const ARRIVAL_LENGTH: usize = 16;

/// When a datagram came, nanoseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// To the driver.
    pub(super) received: u64,
    /// To the kernel; 0 where that is not told.
    pub(super) kernel: u64,
}

/// A chunk with something in it.
#[derive(Clone, Copy, Debug)]
struct Held {
    chunk: Chunk,
    /// A bit for each slot that is filled.
    filled: u64,
}

/// The datagrams of one stream that wait.
#[derive(Debug)]
pub(super) struct Reorder {
    layout: Slots,
    /// By chunk number.
    chunks: Row<Option<Held>>,
    held: usize,
}

impl Reorder {
    pub(super) fn new(layout: Slots) -> Reorder {
        Reorder { layout, chunks: Row::new(0, 8), held: 0 }
    }

    pub(super) fn layout(&self) -> Slots {
        self.layout
    }

    /// How many chunks it holds.
    pub(super) fn chunks(&self) -> usize {
        self.held
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        let (slot, _) = self.layout.place_of(sequence);
        let held = self.chunks.get(self.layout.chunk_of(sequence)).copied().flatten();
        held.is_some_and(|held| held.filled & (1 << slot) != 0)
    }

    /// The first that is kept.
    pub(super) fn first(&self) -> Option<u64> {
        let number = self.chunks.first();
        let held = self.chunks.get(number).copied().flatten()?;
        Some(self.layout.first_of(number) + u64::from(held.filled.trailing_zeros()))
    }

    /// The last that is kept.
    pub(super) fn last(&self) -> Option<u64> {
        let (first, filled) = self.last_chunk()?;
        Some(first + u64::from(filled.checked_ilog2()?))
    }

    /// Keeps a datagram; false when the pool has no chunk for it. It must fit in a slot.
    pub(super) fn insert(
        &mut self,
        pool: &mut Pool,
        sequence: u64,
        arrival: Arrival,
        datagram: &[u8],
    ) -> bool {
        let number = self.layout.chunk_of(sequence);
        let (slot, offset) = self.layout.place_of(sequence);
        if self.chunks.is_empty() {
            self.chunks.restart(number);
        }
        let missing = self.chunks.get(number).is_none_or(|held| held.is_none());
        if missing {
            let Some(chunk) = pool.take() else { return false };
            while self.chunks.end() <= number {
                self.chunks.push(None);
            }
            while number < self.chunks.first() && self.chunks.push_first(None) {}
            if let Some(place) = self.chunks.get_mut(number) {
                *place = Some(Held { chunk, filled: 0 });
                self.held += 1;
            }
        }
        let Some(Some(held)) = self.chunks.get_mut(number) else { return false };
        held.filled |= 1 << slot;
        let slot = pool.bytes_mut(held.chunk, offset, ARRIVAL_LENGTH + datagram.len());
        let (head, bytes) = slot.split_at_mut(ARRIVAL_LENGTH);
        let (received, kernel) = head.split_at_mut(ARRIVAL_LENGTH / 2);
        received.copy_from_slice(&arrival.received.to_ne_bytes());
        kernel.copy_from_slice(&arrival.kernel.to_ne_bytes());
        bytes.copy_from_slice(datagram);
        true
    }

    /// A datagram that is kept, and when it came. What follows it in its slot is of no meaning: its length is
    /// its own to say.
    pub(super) fn get<'p>(&self, pool: &'p Pool, sequence: u64) -> Option<(Arrival, &'p [u8])> {
        if !self.contains(sequence) {
            return None;
        }
        let held = self.chunks.get(self.layout.chunk_of(sequence)).copied().flatten()?;
        let (_, offset) = self.layout.place_of(sequence);
        let (received, bytes) = pool.bytes(held.chunk, offset, self.layout.slot).split_first_chunk()?;
        let (kernel, bytes) = bytes.split_first_chunk()?;
        let arrival =
            Arrival { received: u64::from_ne_bytes(*received), kernel: u64::from_ne_bytes(*kernel) };
        Some((arrival, bytes))
    }

    /// Lets go of a datagram, and of its chunk when it was the last in it.
    pub(super) fn remove(&mut self, pool: &mut Pool, sequence: u64) {
        let number = self.layout.chunk_of(sequence);
        let (slot, _) = self.layout.place_of(sequence);
        if let Some(place) = self.chunks.get_mut(number)
            && let Some(held) = place
        {
            held.filled &= !(1 << slot);
            if held.filled == 0 {
                pool.give(held.chunk);
                *place = None;
                self.held -= 1;
            }
        }
        self.trim();
    }

    /// The chunk furthest ahead: its first sequence number, and a bit for each one that is kept.
    pub(super) fn last_chunk(&self) -> Option<(u64, u64)> {
        let number = self.chunks.end().checked_sub(1)?;
        let held = self.chunks.get(number).copied().flatten()?;
        Some((self.layout.first_of(number), held.filled))
    }

    /// Lets go of the chunk furthest ahead.
    pub(super) fn drop_last_chunk(&mut self, pool: &mut Pool) -> bool {
        let dropped = match self.chunks.pop_last() {
            Some(Some(held)) => {
                pool.give(held.chunk);
                self.held -= 1;
                true
            }
            _ => false,
        };
        self.trim();
        dropped
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        while self.drop_last_chunk(pool) {}
    }

    /// The row begins and ends with a chunk that is held.
    fn trim(&mut self) {
        while let Some(None) = self.chunks.get(self.chunks.first()) {
            self.chunks.pop_first();
        }
        while let Some(None) = self.chunks.end().checked_sub(1).and_then(|last| self.chunks.get(last)) {
            self.chunks.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MAX_SEQUENCE;
    use std::collections::BTreeMap;

    #[test]
    fn it_keeps_what_a_map_would_and_gives_every_chunk_back() {
        let mut random = fastrand::Rng::with_seed(1);
        // From the first sequence number, and up to the last there can be.
        for base in [0, MAX_SEQUENCE - 120].into_iter().cycle().take(50) {
            let mut pool = Pool::new(8 << 10, 1 << 10, 4, 0);
            let mut window = Reorder::new(Slots::new(100, 1 << 10));
            let mut kept = BTreeMap::new();
            for step in 0..500_u64 {
                let sequence = base + 1 + step / 10 + random.u64(..60);
                match random.u8(..8) {
                    0..4 if !kept.contains_key(&sequence) => {
                        let bytes = vec![random.u8(..); random.usize(..84)];
                        let arrival = Arrival { received: step, kernel: random.u64(..) };
                        if window.insert(&mut pool, sequence, arrival, &bytes) {
                            kept.insert(sequence, (arrival, bytes));
                        } else {
                            assert_eq!(pool.left(), 0);
                        }
                    }
                    4 => {
                        assert_eq!(window.last_chunk().is_some(), !kept.is_empty());
                        if let Some((first, bits)) = window.last_chunk() {
                            assert!(window.drop_last_chunk(&mut pool));
                            let dropped = kept.split_off(&first);
                            let held =
                                dropped.keys().fold(0, |held, sequence| held | 1 << (sequence - first));
                            assert_eq!(bits, held);
                        }
                    }
                    _ => {
                        window.remove(&mut pool, sequence);
                        kept.remove(&sequence);
                    }
                }
                assert_eq!(window.chunks(), pool.capacity() - pool.left());
                assert_eq!(window.first(), kept.keys().next().copied());
                for sequence in base + 1..base + 120 {
                    let found = window.get(&pool, sequence);
                    assert_eq!(found.is_some(), kept.contains_key(&sequence));
                    if let (Some((arrival, bytes)), Some(put)) = (found, kept.get(&sequence)) {
                        assert_eq!((arrival, &bytes[..put.1.len()]), (put.0, &put.1[..]));
                    }
                }
            }
            window.clear(&mut pool);
            assert_eq!((window.chunks(), pool.left()), (0, pool.capacity()));
        }
    }
}
