//! The collector's clocks.

use std::time::{Duration, Instant, SystemTime};

/// Now, by the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the collector's clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, in seconds since 1970, rounded to the nearest as the original does.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the collector's clock")]
pub fn wall_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs_f64().round() as u64)
}

/// How long a moment of the wall clock is past; `None` if it is to come.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the collector's clock")]
pub fn since(moment: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(moment).ok()
}
