//! A moment on an endpoint's monotonic clock. The protocol never reads a clock: it is told.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds on a monotonic clock with an origin of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than any other: what is not due.
    pub const NEVER: Time = Time(u64::MAX);

    /// How long after `earlier` this is; nothing when it is before it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whether this moment has come.
    pub fn is_due(self, now: Time) -> bool {
        self <= now
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, after: Duration) -> Time {
        Time(self.0.saturating_add(nanos(after)))
    }
}

/// A duration in nanoseconds, as many as 64 bits hold.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
