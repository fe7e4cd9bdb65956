//! Sending at a rate: message `n` has its moment, `n / rate` after the start, whatever became of those before it.

use std::fmt;
use std::time::{Duration, Instant};

/// How many messages are to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// As fast as it goes.
    Max,
    /// So many a second.
    Rate(f64),
}

impl Load {
    /// Messages a second, if that was said.
    pub(crate) fn rate(self) -> Option<f64> {
        match self {
            Load::Max => None,
            Load::Rate(rate) => Some(rate),
        }
    }
}

/// As it is typed.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Max => f.write_str("max"),
            Load::Rate(rate) => rate.fmt(f),
        }
    }
}

/// When messages are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// Messages a second.
    rate: f64,
}

impl Pace {
    pub(crate) fn new(start: Instant, rate: f64) -> Pace {
        Pace { start, rate }
    }

    /// Has message `number` be due at `moment`, if that is later than it was due.
    pub(crate) fn resume(&mut self, number: u64, moment: Instant) {
        self.start += moment.saturating_duration_since(self.moment(number));
    }

    /// How many messages were due by `now`; the first is at the start.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        ((now.saturating_duration_since(self.start).as_secs_f64() * self.rate) as u64).saturating_add(1)
    }

    /// How many messages are due before `moment`.
    pub(crate) fn before(&self, moment: Instant) -> u64 {
        (moment.saturating_duration_since(self.start).as_secs_f64() * self.rate).ceil() as u64
    }

    /// When message `number`, from 0, is due.
    pub(crate) fn moment(&self, number: u64) -> Instant {
        let after = Duration::try_from_secs_f64(number as f64 / self.rate).unwrap_or(Duration::MAX);
        // Rounded up: at that moment it is due.
        let after = after.saturating_add(Duration::from_nanos(1));
        self.start.checked_add(after).unwrap_or_else(|| self.start + Duration::from_secs(1 << 32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_rate_beyond_all_measure_everything_is_due() {
        let start = crate::clock::now();
        for rate in [1e9, 1e29, f64::MAX] {
            let pace = Pace::new(start, rate);
            assert!(pace.due(start + Duration::from_secs(3_600)) > 3_000_000_000_000, "{rate}");
            assert!(pace.moment(1_000_000_000) <= start + Duration::from_millis(1_001), "{rate}");
        }
    }

    #[test]
    fn the_moments_do_not_drift() {
        let start = crate::clock::now();
        for rate in [0.001, 3.0, 10_000.0, 1e6, 7e6] {
            let pace = Pace::new(start, rate);
            assert_eq!(pace.due(start), 1);
            for number in [0, 1, 2, 3, 1_000, 999_999, 100_000_000] {
                let moment = pace.moment(number);
                assert!(pace.due(moment) > number, "{rate} {number}");
                let late = pace.due(moment) - number - 1;
                assert!(late <= 1 + (rate * 2e-6) as u64, "{rate} {number}: {late} more");
            }
        }
    }
}
