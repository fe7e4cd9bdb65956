//! Memory that one thread fills and another may look into meanwhile: a row of slots, in each of which pieces follow each other
//! behind room for a head.
//!
//! The [`Writer`] appends without a lock, and what it appended is the [`Reader`]'s to read from then on. Neither ever changes
//! what was appended. Only with both in hand, so that nobody else can be at it, the memory is taken out in exchange for other,
//! or filled anew.
//!
//! `scripts/model` tries this in every order in which two threads' steps can come, and their stores be seen.

#[cfg(nakcast_model)]
use loom::sync;
#[cfg(not(nakcast_model))]
use std::sync;
use sync::Arc;
use sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// How far a slot is filled, from its beginning on, and with how many pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) end: u16,
    pub(crate) pieces: u16,
}

/// What the two share.
#[derive(Debug)]
struct Lane {
    /// `length` bytes, which belong to it.
    memory: AtomicPtr<u8>,
    length: usize,
    /// Bytes from a slot to the next at the most, and of the room before its first piece.
    stride: usize,
    head: usize,
    /// How many slots were begun (upper half), and where in `memory` the last of them is filled to. What lies before that is
    /// never written to while a reader may be there.
    filled: AtomicU64,
    /// The slots before the last: where in `memory` each is filled to.
    ends: Box<[AtomicU32]>,
    /// Stand for the bytes of `memory`: loom does not see who reads and writes by a pointer.
    #[cfg(nakcast_model)]
    bytes: Box<[loom::cell::UnsafeCell<()>]>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let memory = std::ptr::slice_from_raw_parts_mut(self.memory.load(Ordering::Relaxed), self.length);
        #[allow(unsafe_code, reason = "it came out of a box by hand")]
        // SAFETY: `memory` came from `Box::into_raw` of a slice of this length, and neither end is there any more.
        drop(unsafe { Box::from_raw(memory) });
    }
}

/// The end that appends.
#[derive(Debug)]
pub(crate) struct Writer {
    lane: Arc<Lane>,
    /// Bytes from a slot to the next.
    stride: usize,
    /// Where the next piece goes, how much the slot still takes, and how much more it would if slots were as long as they can be.
    at: usize,
    room: usize,
    spare: usize,
    /// A slot would have taken more if it had been longer.
    is_short: bool,
    /// Slots begun, and pieces in the last of them.
    begun: u32,
    pieces: u16,
    /// The slots before that.
    before: Vec<Filled>,
}

/// The end that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    lane: Arc<Lane>,
    stride: usize,
    /// The slot it reads, and where in the memory it goes on.
    slot: usize,
    from: usize,
}

/// A lane of so many slots, `stride` bytes apart, in each of which `head` bytes are left free. At most 65,535 bytes a slot. Where
/// they are made shorter there are more of them, but no more than `most`.
pub(crate) fn lane(slots: usize, stride: usize, head: usize, most: usize) -> (Writer, Reader) {
    assert!(head < stride && stride <= usize::from(u16::MAX), "slots of {stride} bytes");
    let length = slots * stride;
    assert!(u32::try_from(length).is_ok(), "a lane of {length} bytes");
    let memory = AtomicPtr::new(into_pointer(vec![0; length].into_boxed_slice()));
    let ends = (0..most).map(|_| AtomicU32::new(0)).collect();
    let lane = Arc::new(Lane {
        memory,
        length,
        stride,
        head,
        filled: AtomicU64::new(0),
        ends,
        #[cfg(nakcast_model)]
        bytes: (0..length).map(|_| loom::cell::UnsafeCell::new(())).collect(),
    });
    let writer = Writer {
        lane: Arc::clone(&lane),
        stride,
        at: 0,
        room: 0,
        spare: 0,
        is_short: false,
        begun: 0,
        pieces: 0,
        before: Vec::with_capacity(most),
    };
    (writer, Reader { lane, stride, slot: 0, from: head })
}

/// The address of bytes that are to be boxed again by hand, with their length.
fn into_pointer(memory: Box<[u8]>) -> *mut u8 {
    Box::into_raw(memory).cast()
}

impl Writer {
    /// Begins the next slot; false when there is none.
    pub(crate) fn next(&mut self) -> bool {
        let slot = self.begun as usize;
        if slot == self.slots() {
            return false;
        }
        self.leave();
        self.begun += 1;
        self.at = slot * self.stride + self.lane.head;
        self.room = self.stride - self.lane.head;
        self.spare = self.lane.stride - self.stride;
        self.publish();
        true
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> usize {
        (self.lane.length / self.stride).min(self.lane.ends.len())
    }

    /// Bytes from a slot to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Whether a slot, since all began anew, would have taken a piece if slots were as long as they can be.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Whether an empty slot takes a piece of so many bytes.
    pub(crate) fn takes(&mut self, length: usize) -> bool {
        let room = self.stride - self.lane.head;
        self.is_short |= (room + 1..=self.lane.stride - self.lane.head).contains(&length);
        length <= room
    }

    /// Appends a piece of two parts, if the slot has room for it.
    #[inline]
    pub(crate) fn append<const N: usize>(&mut self, first: [u8; N], second: &[u8]) -> bool {
        let length = N + second.len();
        if length > self.room {
            self.is_short |= length <= self.room + self.spare;
            return false;
        }
        let to = self.lane.memory.load(Ordering::Relaxed);
        debug_assert!(self.at + length <= self.lane.length);
        #[cfg(nakcast_model)]
        self.lane.bytes[self.at..self.at + length].iter().for_each(|byte| byte.with_mut(|_| ()));
        #[allow(unsafe_code, reason = "a slice of the memory would claim what others read")]
        // SAFETY: `room` is what is left of the slot behind `at`, so that the bytes are of the lane's memory; nobody reads them
        // before `filled` says so, and there is no other writer: this one is borrowed, and cannot be cloned. Whoever calls
        // `exchange`, which puts other memory there, has borrowed it, too.
        unsafe {
            let to = to.add(self.at);
            std::ptr::copy_nonoverlapping(first.as_ptr(), to, N);
            std::ptr::copy_nonoverlapping(second.as_ptr(), to.add(N), second.len());
        }
        self.at += length;
        self.room -= length;
        self.pieces += 1;
        self.publish();
        true
    }

    /// How far the slots are filled; nothing more is appended before all begins anew.
    pub(crate) fn finish(&mut self) -> &[Filled] {
        if self.before.len() < self.begun as usize {
            self.leave();
        }
        // As if there were no more slots.
        self.begun = self.slots() as u32;
        self.shut();
        &self.before
    }

    /// Nothing more is appended until the next slot.
    pub(crate) fn shut(&mut self) {
        (self.room, self.spare) = (0, 0);
    }

    fn publish(&self) {
        self.lane.filled.store(u64::from(self.begun) << 32 | self.at as u64, Ordering::Release);
    }

    /// Notes how far the slot is filled, before the next.
    fn leave(&mut self) {
        if let Some(slot) = (self.begun as usize).checked_sub(1) {
            self.lane.ends[slot].store(self.at as u32, Ordering::Relaxed);
            let end = (self.at - slot * self.stride) as u16;
            self.before.push(Filled { end, pieces: self.pieces });
            self.pieces = 0;
        }
    }
}

impl Reader {
    /// Hands over what was appended since the last time: whole pieces, of one slot at a time.
    pub(crate) fn read(&mut self, mut hand: impl FnMut(&[u8])) {
        let filled = self.lane.filled.load(Ordering::Acquire);
        let (begun, last) = ((filled >> 32) as usize, filled as u32 as usize);
        while self.slot < begun {
            let is_last = self.slot + 1 == begun;
            let end = if is_last { last } else { self.lane.ends[self.slot].load(Ordering::Relaxed) as usize };
            if end > self.from {
                let memory = self.lane.memory.load(Ordering::Relaxed);
                #[cfg(nakcast_model)]
                self.lane.bytes[self.from..end].iter().for_each(|byte| byte.with(|_| ()));
                #[allow(unsafe_code, reason = "a slice of all of the memory would claim what is written to")]
                // SAFETY: from here to `end` all was written before `filled` was stored, which was loaded with acquire, and is
                // not written to again but by `exchange` and `restart`, which borrow this.
                hand(unsafe { std::slice::from_raw_parts(memory.add(self.from), end - self.from) });
            }
            self.from = end;
            if is_last {
                break;
            }
            self.slot += 1;
            self.from = self.slot * self.stride + self.lane.head;
        }
    }

    /// Whether nothing was read since it was filled anew.
    pub(crate) fn is_untouched(&self) -> bool {
        self.slot == 0 && self.from == self.lane.head
    }

    /// Takes the memory out, in exchange for other that is as long. What was appended is in there, also what was read.
    ///
    /// # Panics
    /// When the two ends are not of one lane, or the other memory is not as long.
    pub(crate) fn exchange(&mut self, writer: &mut Writer, other: &mut Box<[u8]>) {
        assert!(Arc::ptr_eq(&self.lane, &writer.lane), "ends of two lanes");
        assert_eq!(other.len(), self.lane.length, "memory in exchange");
        #[cfg(nakcast_model)]
        self.lane.bytes.iter().for_each(|byte| byte.with_mut(|_| ()));
        let theirs = into_pointer(std::mem::take(other));
        let ours = self.lane.memory.swap(theirs, Ordering::Relaxed);
        let ours = std::ptr::slice_from_raw_parts_mut(ours, self.lane.length);
        #[allow(unsafe_code, reason = "it came out of a box by hand")]
        // SAFETY: it came from `Box::into_raw` of a slice of this length, and the lane has other memory now. Both ends are
        // borrowed, so that nobody reads or writes there.
        let ours = unsafe { Box::from_raw(ours) };
        *other = ours;
    }

    /// Begins anew, with slots so many bytes apart: what was appended is forgotten.
    ///
    /// # Panics
    /// When the two ends are not of one lane, or slots are longer than they can be, or have no room but for their heads.
    pub(crate) fn restart(&mut self, writer: &mut Writer, stride: usize) {
        assert!(Arc::ptr_eq(&self.lane, &writer.lane), "ends of two lanes");
        assert!(self.lane.head < stride && stride <= self.lane.stride, "slots of {stride} bytes");
        (self.stride, writer.stride) = (stride, stride);
        (writer.at, writer.begun, writer.pieces, writer.is_short) = (0, 0, 0, false);
        writer.shut();
        writer.before.clear();
        writer.publish();
        (self.slot, self.from) = (0, self.lane.head);
    }
}

#[cfg(all(test, not(nakcast_model)))]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn what_was_appended_is_read_once_and_lies_where_it_is_said_to() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut writer, mut reader) = lane(3, 100, 10, 4);
        let mut other = vec![0xee; 300].into_boxed_slice();
        for _ in 0..if cfg!(miri) { 20 } else { 200 } {
            let stride = random.usize(52..=100);
            reader.restart(&mut writer, stride);
            assert_eq!(writer.slots(), (300 / stride).min(4));
            assert!(!writer.append([0; 2], &[]), "no slot was begun");
            assert!(reader.is_untouched());
            let (mut appended, mut slots, mut read) = (Vec::new(), vec![], Vec::<u8>::new());
            for number in 0..random.usize(..60) {
                let piece = vec![number as u8; random.usize(..=40)];
                if !writer.append([7, number as u8], &piece) {
                    if !writer.next() {
                        assert_eq!(slots.len(), writer.slots());
                        break;
                    }
                    slots.push(Filled { end: 10, pieces: 0 });
                    assert!(writer.append([7, number as u8], &piece), "there is room for it alone");
                }
                let slot = slots.last_mut().unwrap();
                *slot = Filled { end: slot.end + 2 + piece.len() as u16, pieces: slot.pieces + 1 };
                appended.extend([7, number as u8]);
                appended.extend(piece);
                if random.u8(..5) == 0 {
                    reader.read(|bytes| read.extend(bytes));
                    assert!(read == appended && !reader.is_untouched());
                }
            }
            assert_eq!(writer.finish(), slots);
            assert!(!writer.next() && !writer.append([0; 1], &[]), "it begins anew first");
            reader.exchange(&mut writer, &mut other);
            let inside = slots.iter().enumerate().flat_map(|(slot, filled)| {
                other[slot * stride + 10..slot * stride + usize::from(filled.end)].to_vec()
            });
            assert!(inside.eq(appended.iter().copied()));
            reader.restart(&mut writer, stride);
            reader.read(|_| panic!("it began anew"));
        }
    }

    #[test]
    fn who_shuts_it_appends_no_more_before_the_next_slot() {
        let (mut writer, mut reader) = lane(2, 100, 10, 2);
        assert!(writer.next() && writer.append([1], &[2]));
        writer.shut();
        assert!(!writer.append([1], &[]));
        assert!(writer.next() && writer.append([3], &[4]) && !writer.next());
        let mut read = Vec::new();
        reader.read(|bytes| read.push(bytes.to_vec()));
        assert_eq!(read, [[1, 2], [3, 4]]);
    }

    #[test]
    fn slots_are_short_where_longer_ones_would_have_taken_more() {
        let (mut writer, mut reader) = lane(2, 100, 10, 2);
        reader.restart(&mut writer, 50);
        assert!(!writer.append([0], &[0; 4]) && !writer.is_short(), "none was begun");
        assert!(writer.next() && writer.append([0], &[0; 29]) && !writer.append([0], &[0; 60]));
        assert!(!writer.is_short(), "10 and 50 more are not enough for that");
        assert!(!writer.append([0], &[0; 59]) && writer.is_short());
        reader.restart(&mut writer, 50);
        assert!(writer.takes(40) && !writer.takes(91) && !writer.is_short());
        assert!(!writer.takes(41) && writer.is_short());
        reader.restart(&mut writer, 100);
        assert!(writer.takes(90) && !writer.takes(91) && !writer.is_short());
        reader.restart(&mut writer, 50);
        assert!(writer.next());
        writer.shut();
        assert!(!writer.append([0], &[0; 4]) && !writer.is_short(), "it was shut");
    }

    #[test]
    #[should_panic(expected = "ends of two lanes")]
    fn memory_is_not_exchanged_by_the_ends_of_two() {
        let ((mut writer, _one), (_two, mut reader)) = (lane(1, 10, 1, 1), lane(1, 10, 1, 1));
        reader.exchange(&mut writer, &mut vec![0; 10].into_boxed_slice());
    }

    #[test]
    #[should_panic(expected = "memory in exchange")]
    fn memory_is_not_exchanged_for_less() {
        let (mut writer, mut reader) = lane(2, 10, 1, 2);
        reader.exchange(&mut writer, &mut vec![0; 10].into_boxed_slice());
    }

    /// Another thread reads while one appends; now and then the one has both, under the lock.
    #[test]
    fn another_thread_may_read_meanwhile() {
        let rounds = if cfg!(miri) { 10 } else { 3_000 };
        let (mut writer, reader) = lane(4, 64, 8, 4);
        let mut other = vec![0; 256].into_boxed_slice();
        let (reader, over) = (Mutex::new((reader, 0_u32)), AtomicBool::new(false));
        // Reads what is there: numbers, one after the other.
        let read = |(reader, next): &mut (Reader, u32)| {
            reader.read(|bytes| {
                for piece in bytes.chunks(8) {
                    let [one, two] =
                        [&piece[..4], &piece[4..]].map(|half| u32::from_be_bytes(half.try_into().unwrap()));
                    assert!(one == *next && two == !*next, "{piece:?} for {next}");
                    *next += 1;
                }
            });
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    read(&mut reader.lock());
                }
            });
            let mut number = 0_u32;
            for _ in 0..rounds {
                loop {
                    if writer.append(number.to_be_bytes(), &(!number).to_be_bytes()) {
                        number += 1;
                    } else if !writer.next() {
                        break;
                    }
                }
                let mut both = reader.lock();
                read(&mut both);
                assert_eq!(both.1, number);
                both.0.exchange(&mut writer, &mut other);
                both.0.restart(&mut writer, 64);
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
