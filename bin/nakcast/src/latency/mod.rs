//! Latencies: how they are kept, and how they are shown, stored and drawn.

mod bars;
mod log;
mod plot;

pub(crate) use bars::bars;
pub(crate) use log::log;
pub(crate) use plot::plot;

use crate::exit::Failure;
use hdrhistogram::Histogram;

/// The longest latency there is room for from the start, nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// The percentiles of a table: their names, and the shares they stand for.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// A histogram of nanoseconds. Nothing is allocated when a latency up to a minute is recorded; a longer one makes it grow.
pub(crate) fn histogram() -> Result<Histogram<u64>, Failure> {
    let mut histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS).map_err(Failure::at_run_time)?;
    histogram.auto(true);
    Ok(histogram)
}

/// A histogram, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) histogram: &'a Histogram<u64>,
}
