//! Any bytes as a row of choices.

use arbitrary::Unstructured;
use nakcast::wire::MAX_SEQUENCE;
use std::time::Duration;

pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(Unstructured::new(bytes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    pub fn word(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or_default()
    }

    pub fn long(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.int_in_range(0..=bound.max(1) - 1).unwrap_or_default()
    }

    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// True once in so many.
    pub fn once_in(&mut self, many: u64) -> bool {
        // What is left of bytes that ran out is the ordinary.
        self.below(many) + 1 == many
    }

    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = self.index(most + 1).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    /// A number near another, or at an edge.
    pub fn number(&mut self, near: u64) -> u64 {
        match self.byte() {
            0..200 => near.saturating_add(self.below(8)).saturating_sub(4),
            200..225 => near.saturating_add(self.below(512)).saturating_sub(256),
            225..235 => self.below(5),
            235..245 => (MAX_SEQUENCE + 2) - self.below(5),
            245..250 => u64::MAX - self.below(3),
            _ => self.long(),
        }
    }

    /// Time that passes.
    pub fn time(&mut self) -> Duration {
        let unit = self.one(&[1, 1_000, 100_000, 1_000_000, 50_000_000, 1_000_000_000, 100_000_000_000]);
        Duration::from_nanos(unit * (1 + self.below(16)))
    }
}
