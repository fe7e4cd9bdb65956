//! What a timer hears.

use crate::samples::Samples;
use std::mem;

#[derive(Debug, Default)]
pub(super) struct Timer {
    pub(super) samples: Samples,
    /// How many samples the last interval had: what there is room for at once in the next.
    last: u32,
    /// 1 / rate of the samples until now, as [`high`] has it; 0 once they differ.
    each: u32,
}

/// The upper half of a number's bits: two that have the same are within a millionth of each other.
#[inline]
fn high(number: f64) -> u32 {
    (number.to_bits() >> 32) as u32
}

impl Timer {
    /// Whether a sample of this 1 / rate is like those before it.
    #[inline]
    pub(super) fn is_even(&self, weight: f64) -> bool {
        high(weight) == self.each
    }

    /// Keeps a value.
    #[inline]
    pub(super) fn push(&mut self, value: f64) {
        let values = &mut self.samples.values;
        if values.is_empty() {
            values.reserve_exact(self.last as usize);
        }
        values.push(value);
    }

    /// Takes note that the next sample has this 1 / rate, which is not as that of those before it.
    pub(super) fn differ(&mut self, weight: f64) {
        if self.samples.is_empty() {
            self.each = high(weight);
        } else {
            self.each = 0;
            self.samples.differ();
        }
    }

    pub(super) fn take(&mut self) -> Samples {
        self.last = self.samples.values.len() as u32;
        mem::take(&mut self.samples)
    }
}
