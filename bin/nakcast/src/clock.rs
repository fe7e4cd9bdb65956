//! The command's clocks.

use std::time::{Instant, SystemTime};

/// Now, by the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the command's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now, in nanoseconds since 1970: comparable with the times in messages.
#[expect(clippy::disallowed_methods, reason = "this is the command's clock")]
pub(crate) fn wall_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
