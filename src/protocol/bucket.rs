//! A token bucket: how much may be sent now, and when more may be.

use super::time::{Time, nanos};
use std::time::Duration;

/// Tokens that come in at a rate, up to a depth. What was taken may exceed what was there: the debt is waited for, so
/// that the rate holds on average for datagrams and runs of any size.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens a second.
    rate: f64,
    depth: f64,
    tokens: f64,
    at: Time,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: f64, depth: f64, now: Time) -> Bucket {
        Bucket { rate, depth, tokens: depth, at: now }
    }

    fn fill(&mut self, now: Time) {
        let seconds = now.since(self.at).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.rate).min(self.depth);
        self.at = self.at.max(now);
    }

    /// Whether anything may be taken now.
    pub fn has_any(&mut self, now: Time) -> bool {
        self.fill(now);
        self.tokens > 0.0
    }

    /// Takes tokens, more than there are if need be.
    pub fn take(&mut self, amount: f64) {
        self.tokens -= amount;
    }

    /// Adds tokens, up to the depth.
    pub fn add(&mut self, amount: f64) {
        self.tokens = (self.tokens + amount).min(self.depth);
    }

    /// How full it is, from 0 to 1.
    pub fn level(&mut self, now: Time) -> f64 {
        self.fill(now);
        (self.tokens / self.depth).max(0.0)
    }

    /// When `has_any` will be true: never before `now`.
    pub fn ready_at(&mut self, now: Time) -> Time {
        self.fill(now);
        if self.tokens > 0.0 {
            return now;
        }
        now + Duration::from_secs_f64((-self.tokens / self.rate).min(3_600.0)) + Duration::from_nanos(1)
    }
}

/// The time `bytes` take at `rate` bytes a second; what a depth of that time holds.
pub fn depth(rate: f64, time: Duration, least: f64) -> f64 {
    (rate * nanos(time) as f64 / 1e9).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_beyond_what_was_there_is_waited_for() {
        let start = Time(1_000);
        let mut bucket = Bucket::new(1_000.0, 10.0, start);
        assert_eq!(bucket.ready_at(start), start);
        bucket.take(110.0);
        let ready = bucket.ready_at(start);
        assert_eq!(ready.since(start), Duration::from_millis(100) + Duration::from_nanos(1));
        assert!(!bucket.has_any(start + Duration::from_millis(99)));
        assert!(bucket.has_any(ready));
    }

    #[test]
    fn whoever_waits_until_it_is_ready_never_waits_twice() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut now = Time(1);
        for _ in 0..1_000 {
            let mut bucket = Bucket::new(random.f64() * 1e10 + 0.001, random.f64() * 1e6 + 1.0, now);
            bucket.take(random.f64() * 1e6);
            let ready = bucket.ready_at(now);
            if ready.since(now) < Duration::from_secs(3_600) {
                assert!(bucket.has_any(ready), "{bucket:?} {ready:?}");
            }
            now = ready;
        }
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(1_000.0, 10.0, Time(5_000_000_000));
        bucket.take(20.0);
        assert!(!bucket.has_any(Time(1)));
        assert!(!bucket.has_any(Time(5_000_000_000)));
    }

    #[test]
    fn it_is_never_fuller_than_full_nor_waits_for_ever() {
        let mut bucket = Bucket::new(1_000.0, 10.0, Time(1));
        assert_eq!(bucket.level(Time(1)), 1.0);
        bucket.add(1e300);
        assert_eq!(bucket.level(Time(2)), 1.0);
        bucket.take(5.0);
        assert_eq!(bucket.level(Time(2)), 0.5);
        bucket.add(2.5);
        assert_eq!(bucket.level(Time(2)), 0.75);
        bucket.take(7.5);
        // Nothing left is nothing to take, and no debt.
        assert!(!bucket.has_any(Time(2)));
        assert_eq!(bucket.ready_at(Time(2)), Time(3));
        bucket.take(1e300);
        assert_eq!(bucket.level(Time(3)), 0.0);
        assert_eq!(
            bucket.ready_at(Time(3)).since(Time(3)),
            Duration::from_secs(3_600) + Duration::from_nanos(1)
        );
        assert_eq!(bucket.ready_at(Time(u64::MAX - 5)), Time::NEVER, "time does not wrap");
    }

    #[test]
    fn a_depth_holds_what_comes_in_its_time() {
        assert_eq!(depth(1e6, Duration::from_millis(2), 1.0), 2_000.0);
        assert_eq!(depth(1e6, Duration::ZERO, 1_500.0), 1_500.0);
        assert!(depth(f64::MAX, Duration::MAX, 1.0) > 0.0);
    }
}
