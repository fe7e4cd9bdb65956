//! An open loop: messages leave when they are due, not when the one before is through.
#![expect(clippy::disallowed_methods, reason = "it keeps the real clock's time")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub(crate) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

/// An open loop: each message has its moment, and is stamped with that, however late it leaves.
pub(crate) struct Pace {
    spacing: u64,
    count: u64,
    timer: nakcast::net::Timer,
    poll: mio::Poll,
    events: mio::Events,
}

impl Pace {
    /// `None` for a rate of 0: as fast as they go.
    pub(crate) fn new(rate: u64) -> Option<Pace> {
        use std::os::fd::AsRawFd;
        let spacing = 1_000_000_000_u64.checked_div(rate)?;
        let timer = nakcast::net::Timer::new().expect("a timer");
        let poll = mio::Poll::new().expect("a poller");
        let descriptor = timer.as_raw_fd();
        let mut source = mio::unix::SourceFd(&descriptor);
        poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).expect("watched");
        Some(Pace { spacing, count: 0, timer, poll, events: mio::Events::with_capacity(1) })
    }

    /// Waits for the next moment; gives it by the wall clock.
    pub(crate) fn next(&mut self, begun: Instant) -> u64 {
        let due = Duration::from_nanos(self.count * self.spacing);
        self.count += 1;
        loop {
            let left = due.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            self.timer.arm_after(left).expect("armed");
            self.poll.poll(&mut self.events, None).expect("waited");
        }
        wall() - begun.elapsed().saturating_sub(due).as_nanos() as u64
    }
}
