//! A copy that leaves the caches to others.

/// Copies to memory that nobody looks at soon. On x86-64 the bytes go past the caches (non-temporal stores): lines that are
/// written whole are neither read first nor do they drive out what is in use. Elsewhere it is a plain copy.
///
/// What was copied may be seen by other threads out of order until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct CopyOut(());

impl CopyOut {
    /// # Panics
    /// When the two are not equally long.
    pub(crate) fn copy(&mut self, to: &mut [u8], from: &[u8]) {
        assert_eq!(to.len(), from.len());
        copy(to, from);
    }
}

impl Drop for CopyOut {
    fn drop(&mut self) {
        fence();
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "non-temporal stores have no safe form")]
fn copy(to: &mut [u8], from: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    const STEP: usize = size_of::<__m128i>();
    /// A line of the caches, which is written in one go: half of one must be kept while the other half is waited for.
    const LINE: usize = 4;
    let load = |bytes: &[u8]| {
        assert_eq!(bytes.len(), STEP);
        // SAFETY: `bytes` is as long as what is loaded, and _mm_loadu_si128 asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let store = |to: &mut __m128i, value| {
        // SAFETY: `to` is an exclusive reference to an aligned `__m128i`. The store is ordered before what other threads are
        // handed by the fence that follows when `CopyOut` is dropped; this thread sees its own stores in order.
        unsafe { _mm_stream_si128(to, value) };
    };
    // SAFETY: any bytes are a value of `__m128i`, and it has neither padding nor a destructor.
    let (head, steps, tail) = unsafe { to.align_to_mut::<__m128i>() };
    let (from_head, rest) = from.split_at(head.len());
    let (from_steps, from_tail) = rest.split_at(steps.len() * STEP);
    head.copy_from_slice(from_head);
    tail.copy_from_slice(from_tail);
    let (mut lines, mut from_lines) = (steps.chunks_exact_mut(LINE), from_steps.chunks_exact(LINE * STEP));
    for (line, bytes) in (&mut lines).zip(&mut from_lines) {
        let values: [__m128i; LINE] = std::array::from_fn(|at| load(&bytes[at * STEP..(at + 1) * STEP]));
        line.iter_mut().zip(values).for_each(|(to, value)| store(to, value));
    }
    let rest = from_lines.remainder().chunks_exact(STEP);
    lines.into_remainder().iter_mut().zip(rest).for_each(|(to, bytes)| store(to, load(bytes)));
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a fence for non-temporal stores has no safe form")]
fn fence() {
    // SAFETY: SFENCE has no operands and is in every x86-64 processor.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn copy(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

#[cfg(not(target_arch = "x86_64"))]
fn fence() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wherever_it_begins_every_byte_is_copied_and_no_other() {
        let from: Vec<u8> = (0..4_000_u32).map(|number| (number % 251) as u8).collect();
        for begin in 0..70 {
            for length in [0, 1, 15, 16, 17, 63, 64, 65, 1_408, 3_900] {
                let mut to = vec![0xaa; 4_100];
                let mut copy = CopyOut::default();
                copy.copy(&mut to[begin..begin + length], &from[begin..begin + length]);
                drop(copy);
                assert_eq!(to[begin..begin + length], from[begin..begin + length]);
                let around = to[..begin].iter().chain(&to[begin + length..]);
                assert!(around.copied().all(|byte| byte == 0xaa), "{begin} {length}");
            }
        }
    }
}
