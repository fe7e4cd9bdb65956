//! The only place that reads a clock.

use crate::protocol::Time;
use std::time::{Duration, Instant, SystemTime};

/// Lets one of many through: what would be said with every datagram is said once, and again after a minute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seldom {
    next: Time,
}

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Whether it may be said now; then it was.
    pub(crate) fn is_due(&mut self, now: Time) -> bool {
        let due = self.next.is_due(now);
        if due {
            self.next = now + Self::PAUSE;
        }
        due
    }
}

/// A monotonic clock with an origin of its own, and the wall clock beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// The clock starts a second after its zero, so that a time before "now" can be named.
    const START: u64 = 1_000_000_000;

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Now.
    #[inline]
    pub(crate) fn now(&self) -> Time {
        Time(Self::START + self.origin.elapsed().as_nanos() as u64)
    }

    /// The instant of a time of this clock; `None` for one that is never.
    pub(crate) fn instant(&self, time: Time) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(time.0.saturating_sub(Self::START)))
    }

    /// What to add to a time of this clock (modulo 2^64) to have nanoseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn wall_offset(&self) -> u64 {
        // The two are read one after the other, and what comes between is their error: the reading with the least counts.
        let reading = || {
            let before = self.now();
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let between = self.now().0 - before.0;
            (between, (wall.as_nanos() as u64).wrapping_sub(before.0 + between / 2))
        };
        (0..3).map(|_| reading()).min().map_or(0, |(_, offset)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seldom_said_is_said_once_a_minute() {
        let mut seldom = Seldom::default();
        let start = Time(5_000_000_000);
        let said = (0..121).filter(|&second| seldom.is_due(start + Duration::from_secs(second))).count();
        assert_eq!(said, 3);
    }
}
