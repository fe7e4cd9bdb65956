//! Times that are measured rather than configured: round trips, the time a NAK takes to be answered, how far the
//! network reorders; and the random wait before a first NAK that is computed from them.

use super::time::{Time, nanos};
use std::f64::consts::E;
use std::time::Duration;

/// A smoothed time and its mean deviation (RFC 6298, section 2: gains of 1/8 and 1/4, time-out at mean + 4 deviations).
#[derive(Clone, Copy, Debug, Default)]
pub struct Smoothed {
    mean: f64,
    deviation: f64,
    samples: u64,
}

impl Smoothed {
    /// Takes a measurement.
    pub fn sample(&mut self, value: Duration) {
        let value = nanos(value) as f64;
        if self.samples == 0 {
            self.mean = value;
            self.deviation = value / 2.0;
        } else {
            self.deviation += ((value - self.mean).abs() - self.deviation) / 4.0;
            self.mean += (value - self.mean) / 8.0;
        }
        self.samples += 1;
    }

    /// How long an answer may take before it is taken for lost, once there was a measurement.
    pub fn timeout(&self) -> Option<Duration> {
        (self.samples > 0).then(|| Duration::from_nanos((self.mean + 4.0 * self.deviation) as u64))
    }
}

/// The smallest of the values of late: what a path takes when nobody who measures it is kept waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Least {
    current: Option<Duration>,
    previous: Option<Duration>,
    since: Time,
}

impl Least {
    /// A value counts for as long as this, and at most for twice as long.
    const MEMORY: Duration = Duration::from_secs(2);

    /// Takes a measurement.
    pub fn sample(&mut self, value: Duration, now: Time) {
        if now.since(self.since) >= Self::MEMORY {
            self.previous = self.current.take();
            self.since = now;
        }
        self.current = Some(self.current.map_or(value, |least| least.min(value)));
    }

    /// The smallest, once there was a measurement.
    pub fn value(&self) -> Option<Duration> {
        [self.current, self.previous].into_iter().flatten().min()
    }
}

/// How long a datagram that seems missing may yet be under way, learnt from those that came late. Nothing on a path
/// that does not reorder: a gap is then a loss the moment it is seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reordering {
    span: Duration,
    last_seen: Time,
}

impl Reordering {
    /// Forgotten when no datagram came late for this long.
    const MEMORY: Duration = Duration::from_secs(10);
    /// A datagram later than this was as good as lost: waiting for its like would cost more than asking.
    const LARGEST: Duration = Duration::from_millis(10);

    /// A datagram, not a repair, filled a gap this long after the gap was seen.
    pub fn came_late(&mut self, by: Duration, now: Time) {
        let by = by.min(Self::LARGEST);
        self.span = if by > self.span { by } else { self.span - (self.span - by) / 8 };
        self.last_seen = now;
    }

    /// How long to wait before a gap is called a loss.
    pub fn span(&self, now: Time) -> Duration {
        if now.since(self.last_seen) > Self::MEMORY { Duration::ZERO } else { self.span + self.span / 4 }
    }
}

/// A random wait before the first NAK for a loss that others may share: truncated exponential, so that few of a large
/// group ask early and their repair reaches the others before they ask (RFC 5401, section 3.2.1; RFC 5740 names the
/// parameters). `uniform` is a random number in [0, 1).
///
/// A handful of receivers does not wait: all of them asking costs less than the wait would.
pub fn backoff(round_trip: Duration, group_size: u32, uniform: f64) -> Duration {
    let longest = nanos(span(round_trip, group_size)) as f64;
    if longest <= 0.0 {
        return Duration::ZERO;
    }
    // With L = ln(group) + 1, e^L is e times the group, and the RFC's formula comes down to T/L ln(1 + u (e^L - 1)). The
    // logarithm is not the platform's: a seed gives the same waits on all of them.
    let lambda = libm::log(f64::from(group_size)) + 1.0;
    let spread = E * f64::from(group_size) - 1.0;
    let wait = longest / lambda * libm::log(1.0 + uniform * spread);
    Duration::from_nanos(wait.clamp(0.0, longest) as u64)
}

/// The longest such wait. RFC 5401 (section 3.2.1) recommends six round trips where NAKs are unicast and only the publisher's
/// answer suppresses the others, as here, for groups of up to 10,000. The number who ask before the answer is there grows
/// with the group, so a smaller group does with less: one and a half round trips for each factor of ten. Simulated, a loss that
/// all share then costs seven to nine NAKs in groups of 10 to 10,000, and is repaired within three and a half round trips
/// (README, As a group grows); with the six round trips of the largest group a small one would only wait longer.
pub fn span(round_trip: Duration, group_size: u32) -> Duration {
    if group_size <= FEW {
        return Duration::ZERO;
    }
    round_trip.mul_f64((libm::log10(f64::from(group_size)) * 1.5).min(6.0))
}

/// As many may ask for the same at once.
const FEW: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_receivers_ask_at_once_and_a_group_within_the_span() {
        let round_trip = Duration::from_micros(100);
        for few in [0, 1, 2, 4] {
            assert_eq!(backoff(round_trip, few, 0.5), Duration::ZERO);
        }
        for (group, span) in [(10, 150), (1_000, 450), (10_000, 600), (1_000_000, 600)] {
            let span = Duration::from_micros(span);
            let waits: Vec<_> =
                (0..1000).map(|i| backoff(round_trip, group, f64::from(i) / 1000.0)).collect();
            assert!(waits.is_sorted());
            assert!(*waits.last().unwrap() <= span);
            assert!(*waits.last().unwrap() > span * 5 / 6);
        }
    }

    /// T/L ln(1 + u (e^L - 1)) with L = ln(group) + 1 (RFC 5401, section 3.2.1), worked out by hand.
    #[test]
    fn the_wait_has_the_distribution_of_the_rfc() {
        for (group, uniform, micros) in [
            (1_000, 0.0, 0),
            (1_000, 0.001, 74_717),
            (1_000, 0.5, 410_576),
            (10, 0.5, 120_158),
            (10, 0.1, 58_408),
        ] {
            let wait = backoff(Duration::from_millis(100), group, uniform);
            assert_eq!(wait.as_micros(), micros, "{group} {uniform}");
        }
    }

    #[test]
    fn the_larger_the_group_the_fewer_ask_early() {
        let early = |group| {
            (0..10_000)
                .filter(|&i| nanos(backoff(Duration::from_millis(1), group, f64::from(i) / 1e4)) < 1_000_000)
                .count()
        };
        assert!(early(5) > 10 * early(1000), "{} {}", early(5), early(1000));
    }

    #[test]
    fn reordering_is_learnt_and_forgotten() {
        let mut reordering = Reordering::default();
        assert_eq!(reordering.span(Time(1)), Duration::ZERO);
        reordering.came_late(Duration::from_micros(80), Time(1));
        assert_eq!(reordering.span(Time(2)), Duration::from_micros(100));
        assert_eq!(reordering.span(Time(20_000_000_000)), Duration::ZERO);
    }

    #[test]
    fn timeouts_follow_what_is_measured() {
        let mut smoothed = Smoothed::default();
        assert_eq!(smoothed.timeout(), None);
        for _ in 0..100 {
            smoothed.sample(Duration::from_micros(100));
        }
        let timeout = smoothed.timeout().unwrap();
        assert!(timeout >= Duration::from_micros(100) && timeout < Duration::from_micros(110), "{timeout:?}");
    }

    #[test]
    fn no_wait_is_longer_than_its_span_whatever_was_measured() {
        for round_trip in [0, 1, 50_000, 1_000_000_000, u32::MAX.into()].map(Duration::from_nanos) {
            let mut before = Duration::ZERO;
            for group in [0, 1, FEW, FEW + 1, 1_000, 9_999, 10_000, 10_001, u32::MAX] {
                let longest = span(round_trip, group);
                assert!(longest >= before && longest <= round_trip * 6 + Duration::from_micros(1), "{group}");
                before = longest;
                for uniform in [0.0, 1e-9, 0.5, 1.0 - f64::EPSILON] {
                    assert!(
                        backoff(round_trip, group, uniform) <= longest,
                        "{round_trip:?} {group} {uniform}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_least_is_of_late() {
        let at = |millis: u64| Time(millis * 1_000_000);
        let trip = Duration::from_micros;
        let mut least = Least::default();
        assert_eq!(least.value(), None);
        for (millis, sample, value) in [
            (2_000, 50, 50),
            (2_001, 80, 50),
            (3_999, 40, 40),
            (4_000, 90, 40),
            (5_999, 95, 40),
            (6_000, 99, 90),
        ] {
            least.sample(trip(sample), at(millis));
            assert_eq!(least.value(), Some(trip(value)), "at {millis} ms");
        }
    }

    #[test]
    fn a_path_that_reorders_less_is_believed_slowly_and_never_beyond_the_largest() {
        let mut reordering = Reordering::default();
        reordering.came_late(Duration::from_secs(9), Time(1));
        let largest = Reordering::LARGEST + Reordering::LARGEST / 4;
        assert_eq!(reordering.span(Time(1)), largest);
        reordering.came_late(Duration::ZERO, Time(2));
        assert_eq!(reordering.span(Time(2)), largest - largest / 8);
        // An eighth of the way to what was seen last.
        reordering.came_late(Reordering::LARGEST / 8, Time(2));
        let nearer = Reordering::LARGEST * 25 / 32;
        assert_eq!(reordering.span(Time(2)), nearer + nearer / 4);
        reordering.came_late(Reordering::LARGEST, Time(2));
        reordering.came_late(Duration::ZERO, Time(2));
        assert_eq!(reordering.span(Time(2) + Reordering::MEMORY), largest - largest / 8, "still remembered");
        assert_eq!(reordering.span(Time(3) + Reordering::MEMORY), Duration::ZERO);
    }

    #[test]
    fn a_time_out_is_the_mean_and_four_deviations() {
        let mut smoothed = Smoothed::default();
        smoothed.sample(Duration::from_nanos(800));
        assert_eq!(smoothed.timeout(), Some(Duration::from_nanos(800 + 4 * 400)));
        // Deviation 400 + (800 - 400) / 4, mean 800 + 800 / 8.
        smoothed.sample(Duration::from_nanos(1_600));
        assert_eq!(smoothed.timeout(), Some(Duration::from_nanos(900 + 4 * 500)));
        for _ in 0..100 {
            smoothed.sample(Duration::MAX);
        }
        assert!(smoothed.timeout() > Some(Duration::from_secs(1 << 33)), "it saturates");
    }
}
