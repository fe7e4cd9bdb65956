//! What stands for a set's members when they are too many to be kept: a HyperLogLog (Flajolet, Fusy, Gandouet, Meunier:
//! "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm", AofA 2007).
//!
//! It tells how many distinct members there were from 16,384 registers, with a standard error of 1.04 / sqrt(16,384): in two
//! thirds of all cases it is within 0.81%, in 95% within 1.6%. Its hash has fixed keys, so that the same members are as many
//! every time.

use hyperloglockless::HyperLogLog;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// The standard error: 0.81%.
pub const STANDARD_ERROR: f64 = 1.04 / 128.0;

/// Bytes that one takes, beside some tens: a register's each.
pub const BYTES: usize = 1 << PRECISION;

const PRECISION: u8 = 14;

/// Members that are not kept.
#[derive(Clone, Debug)]
pub struct Estimate(HyperLogLog<BuildHasherDefault<DefaultHasher>>);

impl Estimate {
    /// One that stands for these.
    pub fn new<'m>(members: impl Iterator<Item = &'m [u8]>) -> Estimate {
        let mut estimate = Estimate(HyperLogLog::with_hasher(PRECISION, BuildHasherDefault::default()));
        members.for_each(|member| estimate.add(member));
        estimate
    }

    /// Takes a member.
    pub fn add(&mut self, member: &[u8]) {
        self.0.insert(member);
    }

    /// About how many distinct ones there were.
    #[must_use]
    pub fn count(&self) -> usize {
        // Not cut off, as its own count is.
        self.0.raw_count().round() as usize
    }
}

/// How many distinct members a set had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distinct {
    /// How many.
    pub count: usize,
    /// Whether that is an estimate.
    pub is_estimated: bool,
}
