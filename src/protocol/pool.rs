//! Memory for datagrams: one allocation, cut into chunks of one size, lent to the streams of an endpoint.
//!
//! A chunk holds a run of slots, one datagram each, so that the slot of a sequence number is found by division. Both
//! windows are built on it: the publisher's, which is dense, and the subscriber's, which has holes.

use std::collections::VecDeque;

/// A chunk that was lent. It goes back with [`Pool::give`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk(u32);

/// Whether memory of this size can be had at present. [`Pool::new`] cannot ask and take in one step: what leaves the pages
/// untouched until they are used (`vec![0; n]`) ends the process where it fails, and what can fail touches them.
pub fn can_be_had(bytes: usize) -> bool {
    let mut tried = Vec::<u8>::new();
    let had = tried.try_reserve_exact(bytes).is_ok();
    // Memory that nobody looks at need not be asked for, as a compiler sees it.
    std::hint::black_box(tried.as_mut_ptr());
    had
}

/// The chunks of an endpoint.
#[derive(Debug)]
pub struct Pool {
    memory: Vec<u8>,
    /// Where in it the first chunk begins: at a line of the caches.
    base: usize,
    /// Bytes beside the chunks, to be named like one.
    staging: Box<[u8]>,
    chunks: usize,
    chunk_size: usize,
    free: Vec<Chunk>,
}

/// Bytes of a line of the caches: datagrams that begin with one share none.
pub(super) const LINE: usize = 64;

impl Pool {
    /// A pool of `bytes`, rounded down to whole chunks, but at least `least` of them, and `staging` bytes besides. The pages are
    /// touched when they are first used. Where they cannot be had the process ends: ask [`can_be_had`] before.
    // Pages as they come: huge ones spare a publisher some of its copying, but hardly show where a subscriber must keep up.
    // Each can take milliseconds to be cleared when it is first touched, and that is a processor's time: also where another
    // thread does it ahead, messages come late meanwhile if there are two processors.
    pub fn new(bytes: usize, chunk_size: usize, least: usize, staging: usize) -> Pool {
        let chunks = (bytes / chunk_size).max(least).min(u32::MAX as usize - 1);
        let free = (0..chunks as u32).rev().map(Chunk).collect();
        let memory = vec![0; chunks * chunk_size + LINE];
        let base = memory.as_ptr().align_offset(LINE).min(LINE);
        Pool { memory, base, staging: vec![0; staging].into(), chunks, chunk_size, free }
    }

    /// How many chunks there are in all.
    pub fn capacity(&self) -> usize {
        self.chunks
    }

    /// The bytes beside the chunks, to be named like one. It is never lent.
    pub fn staging(&self) -> Chunk {
        Chunk(self.chunks as u32)
    }

    /// The staging area itself, for other memory to be put in its place.
    pub fn staging_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.staging
    }

    /// Bytes of the staging area from `from` on, `length` or to its end, and as many of a chunk from `to` on, to be copied there.
    pub fn staged(&mut self, from: usize, chunk: Chunk, to: usize, length: usize) -> (&mut [u8], &[u8]) {
        let length = length.min(self.staging.len() - from);
        let start = self.base + chunk.0 as usize * self.chunk_size + to;
        (&mut self.memory[start..start + length], &self.staging[from..from + length])
    }

    /// Bytes of a chunk.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// How many chunks can be lent now.
    pub fn left(&self) -> usize {
        self.free.len()
    }

    /// Lends a chunk, if there is one.
    pub fn take(&mut self) -> Option<Chunk> {
        self.free.pop()
    }

    /// Takes a chunk back.
    pub fn give(&mut self, chunk: Chunk) {
        debug_assert!(!self.free.contains(&chunk), "a chunk was given back twice");
        self.free.push(chunk);
    }

    /// Bytes `from..from + length` of a chunk.
    pub fn bytes(&self, chunk: Chunk, from: usize, length: usize) -> &[u8] {
        if chunk == self.staging() {
            return &self.staging[from..from + length];
        }
        let start = self.base + chunk.0 as usize * self.chunk_size + from;
        &self.memory[start..start + length]
    }

    /// The same, to write.
    pub fn bytes_mut(&mut self, chunk: Chunk, from: usize, length: usize) -> &mut [u8] {
        if chunk == self.staging() {
            return &mut self.staging[from..from + length];
        }
        let start = self.base + chunk.0 as usize * self.chunk_size + from;
        &mut self.memory[start..start + length]
    }
}

/// Which chunk holds a sequence number, and where: slots of `slot` bytes, `per_chunk` to a chunk. Chunk numbers count
/// from 0, sequence numbers from 1.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Bytes of a slot.
    pub slot: usize,
    /// Slots of a chunk.
    pub per_chunk: u64,
}

impl Slots {
    /// As many slots of `slot` bytes as fit in a chunk, at most 64, so that one word can mark them.
    pub fn new(slot: usize, chunk_size: usize) -> Slots {
        Slots { slot, per_chunk: (chunk_size / slot).clamp(1, 64) as u64 }
    }

    /// The number of the chunk that holds `sequence`.
    pub fn chunk_of(&self, sequence: u64) -> u64 {
        (sequence - 1) / self.per_chunk
    }

    /// The place of `sequence` in its chunk: slot number, and offset in bytes.
    pub fn place_of(&self, sequence: u64) -> (u64, usize) {
        let slot = (sequence - 1) % self.per_chunk;
        (slot, slot as usize * self.slot)
    }

    /// The first sequence number of a chunk.
    pub fn first_of(&self, chunk: u64) -> u64 {
        chunk * self.per_chunk + 1
    }
}

/// A row of things numbered from some number on, to be found by their number.
#[derive(Debug)]
pub struct Row<T> {
    first: u64,
    items: VecDeque<T>,
}

impl<T> Row<T> {
    /// An empty row with room for `capacity` things without allocation, whose next number is `first`.
    pub fn new(first: u64, capacity: usize) -> Row<T> {
        Row { first, items: VecDeque::with_capacity(capacity) }
    }

    /// The number of the first thing.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number behind the last thing.
    pub fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The thing with this number.
    pub fn get(&self, number: u64) -> Option<&T> {
        self.items.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.items.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Adds a thing behind the last.
    pub fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// Writes behind the last thing, without adding one.
    pub fn prepare(&mut self, item: T) {
        self.items.push_back(item);
        self.items.pop_back();
    }

    /// Adds a thing before the first; false when that is number 0.
    pub fn push_first(&mut self, item: T) -> bool {
        if self.first == 0 {
            return false;
        }
        self.first -= 1;
        self.items.push_front(item);
        true
    }

    /// Removes the first thing.
    pub fn pop_first(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.first += 1;
        Some(item)
    }

    /// Removes the last thing.
    pub fn pop_last(&mut self) -> Option<T> {
        self.items.pop_back()
    }

    /// Makes an empty row go on at another number.
    pub fn restart(&mut self, first: u64) {
        debug_assert!(self.items.is_empty());
        self.first = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MAX_SEQUENCE;
    use std::collections::BTreeMap;

    #[test]
    fn what_cannot_be_had_is_found_out_and_not_died_of() {
        assert!(can_be_had(64 << 20));
        // Beyond any address space: 2^56 bytes.
        assert!(!can_be_had(1 << 56));
    }

    #[test]
    fn every_sequence_number_has_a_slot_of_its_own_up_to_the_last() {
        for (slot, chunk) in
            [(512, 32_768), (1_408, 32_384), (100, 1 << 20), (65_515, 65_536), (2_000, 1_000)]
        {
            let slots = Slots::new(slot, chunk);
            assert!((1..=64).contains(&slots.per_chunk));
            assert!(slots.per_chunk == 1 || slots.per_chunk as usize * slot <= chunk, "they fit in a chunk");
            let edges = [1, slots.per_chunk, 64, 1_000, MAX_SEQUENCE - 64, MAX_SEQUENCE, u64::MAX - 70];
            for sequence in edges.into_iter().flat_map(|edge| edge..edge + 70) {
                let (number, (place, offset)) = (slots.chunk_of(sequence), slots.place_of(sequence));
                assert!(place < slots.per_chunk);
                assert_eq!(slots.first_of(number) + place, sequence);
                assert_eq!(offset, place as usize * slot);
                assert_eq!(slots.chunk_of(slots.first_of(number)), number);
                assert_eq!(slots.place_of(slots.first_of(number)), (0, 0));
            }
        }
    }

    #[test]
    fn a_row_is_a_map_whose_keys_have_no_holes() {
        let mut random = fastrand::Rng::with_seed(1);
        for start in [0, 1, 7, MAX_SEQUENCE - 3, MAX_SEQUENCE + 1, u64::MAX - 300] {
            let (mut row, mut map) = (Row::new(start, 4), BTreeMap::new());
            for value in 0..200 {
                let first = row.first();
                match random.u8(..6) {
                    0..3 => {
                        map.insert(row.end(), value);
                        row.push(value);
                    }
                    3 if row.push_first(value) => {
                        assert_eq!(row.first(), first - 1);
                        map.insert(row.first(), value);
                    }
                    3 => assert_eq!(first, 0, "there is always one before, but at the first"),
                    4 => {
                        assert_eq!(row.pop_first(), map.pop_first().map(|(_, value)| value));
                        assert_eq!(row.first(), first + u64::from(row.first() != first));
                    }
                    _ => assert_eq!(row.pop_last(), map.pop_last().map(|(_, value)| value)),
                }
                assert_eq!((row.len(), row.is_empty()), (map.len(), map.is_empty()));
                assert_eq!(row.end(), row.first() + map.len() as u64);
                for (&number, value) in &map {
                    assert_eq!(row.get(number), Some(value));
                    assert_eq!(row.get_mut(number).as_deref(), Some(value));
                }
                let outside = [Some(0), row.first().checked_sub(1), Some(row.end()), Some(u64::MAX)];
                for number in outside.into_iter().flatten().filter(|number| !map.contains_key(number)) {
                    assert!(row.get(number).is_none() && row.get_mut(number).is_none());
                }
            }
            while row.pop_first().is_some() {}
            let first = row.first();
            assert!(row.pop_first().is_none() && row.pop_last().is_none() && row.first() == first);
            row.restart(start);
            assert_eq!((row.first(), row.end()), (start, start));
        }
    }

    #[test]
    fn chunks_are_lent_once_and_lie_apart() {
        let mut pool = Pool::new(10_050, 1_000, 4, 0);
        assert_eq!((pool.capacity(), pool.left(), pool.chunk_size()), (10, 10, 1_000));
        let chunks: Vec<Chunk> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((chunks.len(), pool.left()), (10, 0));
        for (value, &chunk) in chunks.iter().enumerate() {
            pool.bytes_mut(chunk, 0, 1_000).fill(value as u8);
        }
        for (value, &chunk) in chunks.iter().enumerate() {
            assert!(pool.bytes(chunk, 0, 1_000).iter().all(|&byte| byte == value as u8));
            assert_eq!(pool.bytes(chunk, 999, 1), [value as u8]);
        }
        pool.give(chunks[3]);
        assert_eq!((pool.left(), pool.take(), pool.take()), (1, Some(chunks[3]), None));
        assert_eq!(Pool::new(0, 1_000, 4, 0).capacity(), 4, "there are at least so many");
    }
}
