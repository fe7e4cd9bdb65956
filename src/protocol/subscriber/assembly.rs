//! Messages of which parts are here.

use std::collections::VecDeque;

/// A message being put together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub(super) bytes: Vec<u8>,
    /// How many of them are here.
    received: usize,
    /// The lowest sequence number it has, of those that are known.
    pub(super) first: u64,
    /// The one its last part has.
    pub(super) end: u64,
    /// The length of all its parts but the last, and the sequence number of the first; none while only the last is here.
    parts: Option<(usize, u64)>,
    /// Sequence number and offset of the last part, once it is here.
    tail: Option<(u64, usize)>,
}

impl Assembly {
    /// Puts a part in its place: false when that is not where the other parts say it lies. Its sequence number comes once, so
    /// no two have one place. The caller has checked that it lies inside.
    fn put(&mut self, sequence: u64, offset: usize, part: &[u8]) -> bool {
        let total = self.bytes.len();
        if offset + part.len() == total {
            if self.tail.is_some() {
                return false;
            }
            self.tail = Some((sequence, offset));
            self.end = sequence;
        } else {
            let begin = sequence.checked_sub((offset / part.len()) as u64);
            let Some(parts) = begin.map(|begin| (part.len(), begin)) else { return false };
            if *self.parts.get_or_insert(parts) != parts || !offset.is_multiple_of(part.len()) {
                return false;
            }
        }
        if let Some((length, begin)) = self.parts {
            let last = (total - 1) / length;
            self.end = begin.saturating_add(last as u64);
            if self.tail.is_some_and(|tail| tail != (self.end, last * length)) {
                return false;
            }
        }
        self.first = self.first.min(sequence);
        self.bytes[offset..offset + part.len()].copy_from_slice(part);
        self.received += part.len();
        true
    }

    fn is_complete(&self) -> bool {
        self.received >= self.bytes.len()
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// Others are missing.
    Partly,
    /// The message is whole.
    Whole,
    /// There is no memory for it.
    Refused,
    /// It contradicts the other parts.
    Contradicts,
}

/// The messages of one stream that are being put together. In order there is one at most.
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    /// In the order of message numbers.
    open: VecDeque<(u64, Assembly)>,
}

/// The memory for messages in parts, of all streams together.
#[derive(Debug)]
pub(super) struct Memory {
    left: usize,
    /// That of a message that is done, for the next, whichever stream's that is.
    spare: Vec<u8>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Memory {
        Memory { left: bytes, spare: Vec::new() }
    }

    /// What is not in use; the spare is not.
    pub(super) fn left(&self) -> usize {
        self.left + self.spare.capacity()
    }

    /// Zeroes, so that nothing of another message shows where a part would be missing.
    fn take(&mut self, total: usize) -> Option<Vec<u8>> {
        if total > 0 && self.spare.capacity() >= total {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            bytes.resize(total, 0);
            return Some(bytes);
        }
        if total > self.left {
            self.left += std::mem::take(&mut self.spare).capacity();
        }
        if total > self.left {
            return None;
        }
        let bytes = vec![0; total];
        self.left = self.left.saturating_sub(bytes.capacity());
        Some(bytes)
    }

    fn give(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= KEPT && bytes.capacity() > self.spare.capacity() {
            std::mem::swap(&mut bytes, &mut self.spare);
        }
        self.left += bytes.capacity();
    }
}

/// Memory kept for the next message when one is done, bytes; more is given back.
const KEPT: usize = 1 << 20;
/// Messages that one stream may have in parts at a time; memory runs out first, unless they are small.
const MOST: usize = 16_384;

impl Assemblies {
    /// Takes a part of a message. `memory` is that of all streams.
    pub(super) fn put(
        &mut self,
        message: u64,
        sequence: u64,
        offset: usize,
        total: usize,
        part: &[u8],
        memory: &mut Memory,
    ) -> Assembled {
        let at = match self.position(message) {
            Ok(at) => at,
            Err(at) => {
                if self.open.len() >= MOST {
                    return Assembled::Refused;
                }
                let Some(bytes) = memory.take(total) else { return Assembled::Refused };
                self.open.insert(at, (message, Assembly { bytes, first: sequence, ..Assembly::default() }));
                at
            }
        };
        let assembly = &mut self.open[at].1;
        if assembly.bytes.len() != total || !assembly.put(sequence, offset, part) {
            Assembled::Contradicts
        } else if assembly.is_complete() {
            Assembled::Whole
        } else {
            Assembled::Partly
        }
    }

    /// Where a message stands, or would.
    fn position(&self, message: u64) -> Result<usize, usize> {
        match self.open.back() {
            Some(&(last, _)) if last < message => Err(self.open.len()),
            _ => self.open.binary_search_by_key(&message, |&(number, _)| number),
        }
    }

    pub(super) fn get(&self, message: u64) -> Option<&Assembly> {
        self.position(message).ok().map(|at| &self.open[at].1)
    }

    /// Ends a message: delivered, or given up. True when there was one.
    pub(super) fn remove(&mut self, message: u64, memory: &mut Memory) -> bool {
        let Ok(at) = self.position(message) else { return false };
        let Some((_, assembly)) = self.open.remove(at) else { return false };
        memory.give(assembly.bytes);
        true
    }

    /// The oldest of those that are open.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.open.front().map(|&(number, _)| number)
    }

    /// Ends all.
    pub(super) fn clear(&mut self, memory: &mut Memory) {
        for (_, assembly) in self.open.drain(..) {
            memory.give(assembly.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(
        open: &mut Assemblies,
        message: u64,
        sequence: u64,
        offset: usize,
        budget: &mut Memory,
    ) -> Assembled {
        // Messages of ten bytes, in parts of four, four and two.
        let part = [sequence as u8; 4];
        open.put(message, sequence, offset, 10, &part[..4.min(10 - offset)], budget)
    }

    #[test]
    fn parts_come_in_any_order_and_the_end_is_known_from_any_of_them() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let (mut open, mut budget) = (Assemblies::default(), Memory::new(1_000));
            for (count, part) in order.into_iter().enumerate() {
                let outcome = put(&mut open, 5, 20 + part, part as usize * 4, &mut budget);
                assert_eq!(outcome, if count == 2 { Assembled::Whole } else { Assembled::Partly });
                assert_eq!(open.get(5).map(|assembly| assembly.end), Some(22));
            }
            let assembly = open.get(5).unwrap();
            assert_eq!((assembly.first, assembly.end), (20, 22));
            assert_eq!(assembly.bytes, [20, 20, 20, 20, 21, 21, 21, 21, 22, 22]);
            assert!(open.remove(5, &mut budget) && !open.remove(5, &mut budget));
        }
    }

    #[test]
    fn memory_taken_is_given_back_and_never_more_than_there_is() {
        let (mut open, mut budget) = (Assemblies::default(), Memory::new(35));
        for message in [7, 3, 5] {
            assert_eq!(put(&mut open, message, message, 0, &mut budget), Assembled::Partly);
        }
        assert_eq!(put(&mut open, 9, 9, 0, &mut budget), Assembled::Refused);
        assert_eq!(open.oldest(), Some(3));
        open.remove(3, &mut budget);
        assert_eq!(
            put(&mut open, 9, 9, 0, &mut budget),
            Assembled::Partly,
            "in the memory of the one before"
        );
        open.clear(&mut budget);
        assert_eq!((budget.left(), open.oldest()), (35, None));
    }

    #[test]
    fn the_memory_of_a_message_that_is_done_is_the_next_ones() {
        let mut memory = Memory::new(100);
        let bytes = memory.take(10).unwrap();
        memory.give(bytes);
        assert_eq!((memory.spare.capacity(), memory.left, memory.left()), (10, 90, 100));
        // None is taken for nothing, nor given up while there is other.
        assert_eq!(memory.take(0), Some(Vec::new()));
        let other = memory.take(90).unwrap();
        assert_eq!((memory.spare.capacity(), memory.left), (10, 0));
        let bytes = memory.take(8).unwrap();
        assert_eq!((memory.spare.capacity(), memory.left(), bytes.capacity()), (0, 0, 10));
        // The larger one is kept; one that is too large is not.
        memory.give(bytes);
        memory.give(other);
        assert_eq!((memory.spare.capacity(), memory.left), (90, 10));
        let bytes = memory.take(10).unwrap();
        memory.spare = Vec::new();
        memory.give(bytes);
        let mut memory = Memory::new(KEPT * 2);
        let bytes = memory.take(KEPT + 1).unwrap();
        memory.give(bytes);
        assert_eq!((memory.spare.capacity(), memory.left), (0, KEPT * 2));
        let (large, small) = (memory.take(20).unwrap(), memory.take(10).unwrap());
        memory.give(large);
        memory.give(small);
        assert_eq!(memory.spare.capacity(), 20);
        assert_eq!(memory.left(), KEPT * 2);
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        // Sequence, offset, total and length of what comes; the last of them is one too many.
        let contradicting: [&[(u64, usize, usize, usize)]; 10] = [
            &[(1, 0, 10, 4), (2, 4, 11, 4)],
            &[(1, 0, 10, 4), (2, 5, 10, 5)],
            &[(1, 0, 10, 4), (2, 3, 10, 4)],
            &[(1, 0, 10, 4), (2, 4, 10, 3)],
            &[(1, 0, 10, 4), (3, 4, 10, 4)],
            &[(1, 0, 10, 4), (2, 0, 10, 4)],
            &[(3, 8, 10, 2), (1, 4, 10, 4)],
            &[(3, 7, 10, 3), (2, 4, 10, 4)],
            &[(1, 8, 10, 1)],
            &[(2, 6, 10, 4), (3, 4, 10, 6)],
        ];
        for parts in contradicting {
            let (mut open, mut budget) = (Assemblies::default(), Memory::new(1_000));
            for (at, &(sequence, offset, total, length)) in parts.iter().enumerate() {
                let outcome = open.put(1, sequence, offset, total, &vec![0; length], &mut budget);
                let last = at + 1 == parts.len();
                let expected = if last { Assembled::Contradicts } else { Assembled::Partly };
                assert_eq!(outcome, expected, "{parts:?}");
            }
        }
    }
}
