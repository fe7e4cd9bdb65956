//! The command's clocks.

use std::time::{Instant, SystemTime};

/// Now, by the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the command's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now, in seconds since 1970, rounded to the nearest as the original does.
#[expect(clippy::disallowed_methods, reason = "this is the command's clock")]
pub(crate) fn wall_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs_f64().round() as u64)
}
