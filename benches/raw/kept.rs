//! What whoever repairs cannot do without: a datagram is made from a message, has a checksum, and is kept.

use crate::throughput::HEADER;
use std::ops::Range;

/// Memory for what was sent: the default of nakcast's transmit window.
const WINDOW: usize = 64 << 20;
/// A line of the caches.
const LINE: usize = 64;

/// Where the checksum stands in a datagram's header.
const CHECKSUM: Range<usize> = 4..8;

/// The checksum of a datagram's bytes behind its header.
fn checksum(datagram: &[u8]) -> [u8; 4] {
    crc32fast::hash(&datagram[HEADER..]).to_le_bytes()
}

/// Whether a datagram is as it was sent.
pub(crate) fn is_whole(datagram: &[u8]) -> bool {
    datagram.len() > HEADER && datagram[CHECKSUM] == checksum(datagram)
}

/// A sender's message, and its window.
pub(crate) struct Kept {
    size: usize,
    message: Vec<u8>,
    window: Vec<u8>,
    next: usize,
}

impl Kept {
    /// For datagrams of `size` bytes.
    pub(crate) fn new(size: usize) -> Kept {
        // Its pages are there before anything is measured.
        Kept { size, message: vec![b'.'; size - HEADER], window: vec![1; WINDOW + LINE], next: 0 }
    }

    /// Makes a run of datagrams, all but their headers.
    pub(crate) fn fill(&self, run: &mut [u8]) {
        for datagram in run.chunks_exact_mut(self.size) {
            datagram[HEADER..].copy_from_slice(&self.message);
            let checksum = checksum(datagram);
            datagram[CHECKSUM].copy_from_slice(&checksum);
        }
    }

    /// Keeps a run that was sent, in the place of the oldest.
    pub(crate) fn keep(&mut self, run: &[u8]) {
        let room = run.len().next_multiple_of(LINE);
        let base = self.window.as_ptr().align_offset(LINE).min(LINE);
        if self.next + room > WINDOW {
            self.next = 0;
        }
        let from = base + self.next;
        copy_out(&mut self.window[from..from + run.len()], run);
        self.next += room;
    }
}

/// Copies past the caches, to an aligned place: nobody looks there soon.
#[cfg(target_arch = "x86_64")]
fn copy_out(to: &mut [u8], from: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const STEP: usize = size_of::<__m128i>();
    let whole = from.len() / STEP * STEP;
    for at in (0..whole).step_by(STEP) {
        // SAFETY: both slices have STEP bytes from `at` on; the load asks for no alignment.
        let bytes = unsafe { _mm_loadu_si128(from[at..at + STEP].as_ptr().cast()) };
        let place: *mut __m128i = to[at..at + STEP].as_mut_ptr().cast();
        assert!(place.is_aligned());
        // SAFETY: as above, and the place is aligned.
        unsafe { _mm_stream_si128(place, bytes) };
    }
    to[whole..].copy_from_slice(&from[whole..]);
    // SAFETY: SFENCE has no operands and is in every x86-64 processor.
    unsafe { _mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn copy_out(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_whole_and_kept_and_what_was_changed_is_not() {
        for size in [32, 33, 1_092, 65_507] {
            let mut kept = Kept::new(size);
            let mut run = vec![2; size * (65_507 / size).min(64)];
            for _ in 0..3 {
                kept.fill(&mut run);
                assert!(run.chunks(size).all(is_whole));
                let base = kept.window.as_ptr().align_offset(LINE).min(LINE) + kept.next;
                kept.keep(&run);
                assert!(kept.window[base..base + run.len()] == run[..]);
            }
            run[size - 1] ^= 1;
            assert!(!is_whole(&run[..size]));
            kept.next = WINDOW - 1;
            kept.keep(&run);
            assert!(kept.next < run.len() + LINE, "it begins anew");
        }
    }
}
