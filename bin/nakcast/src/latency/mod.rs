//! Latencies: how they are kept, and how they are shown, stored and drawn.

mod bars;
mod log;
mod plot;
pub(crate) mod svg;

pub(crate) use bars::bars;
pub(crate) use log::log;
pub(crate) use plot::plot;

use crate::clock;
use crate::exit::Failure;
use hdrhistogram::Histogram;
use serde_json::{Map, Value};

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

/// Takes a latency. There is no place in a histogram for no time at all.
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    // One that grows takes any.
    let _ = histogram.record(nanos.max(1));
}

/// A way in two parts: to the receiving machine's kernel, and from there to the code that waits.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) to_kernel: Histogram<u64>,
    pub(crate) from_kernel: Histogram<u64>,
}

impl Split {
    /// The names of the parts, in figures.
    pub(crate) const PARTS: [&str; 2] = ["to_kernel_", "from_kernel_"];

    pub(crate) fn new() -> Result<Split, Failure> {
        Ok(Split { to_kernel: histogram()?, from_kernel: histogram()? })
    }

    /// Takes what has just come after `taken` nanoseconds, and was with the kernel at `kernel`, nanoseconds since 1970.
    pub(crate) fn record(&mut self, taken: u64, kernel: Option<u64>) {
        let Some(kernel) = kernel else { return };
        let from_kernel = clock::wall_ns().saturating_sub(kernel).min(taken);
        record(&mut self.to_kernel, taken - from_kernel);
        record(&mut self.from_kernel, from_kernel);
    }

    /// The parts, in the order of their names.
    pub(crate) fn parts(&self) -> [&Histogram<u64>; 2] {
        [&self.to_kernel, &self.from_kernel]
    }
}

/// A histogram, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) histogram: &'a Histogram<u64>,
}

/// The figures of a histogram for JSON, nanoseconds, their names behind `prefix`; none of them is a number when it is empty.
pub(crate) fn fields(prefix: &str, histogram: &Histogram<u64>) -> Map<String, Value> {
    let known = |value: Value| if histogram.is_empty() { Value::Null } else { value };
    let mut fields = Map::new();
    let mut add = |name: &str, value| fields.insert(format!("{prefix}{name}_ns"), known(value));
    add("min", histogram.min().into());
    for (name, share) in PERCENTILES {
        add(&name.replace('.', "_"), histogram.value_at_quantile(share).into());
    }
    add("max", histogram.max().into());
    add("mean", histogram.mean().into());
    add("stdev", histogram.stdev().into());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_of_hours_is_what_it_is() {
        let mut histogram = histogram().unwrap();
        let hours = 3 * 3_600_000_000_000;
        [0, 70_000_000_000, hours].into_iter().for_each(|nanos| record(&mut histogram, nanos));
        assert_eq!((histogram.len(), histogram.min()), (3, 1));
        for (share, nanos) in [(0.5, 70_000_000_000), (1.0, hours)] {
            let told = histogram.value_at_quantile(share);
            assert!(told >= nanos && told - nanos <= nanos / 1_000, "{told} for {nanos}");
        }
    }
}
