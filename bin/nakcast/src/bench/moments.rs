//! The moments of an open loop, each waited for: by the monotonic clock, which all processes of a machine share.

use crate::args::SideArgs;
use crate::clock;
use crate::pace::Pace;
use nakcast::net::Timer;
use nakcast_raw::monotonic_ns;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::time::{Duration, Instant};

/// How long after the end messages may be sent that were due before it: at a rate that is not reached there are ever more.
const OVERTIME: Duration = Duration::from_secs(1);
/// What is done while there is nothing to send takes no longer, most times.
const MOST_BESIDES: Duration = Duration::from_micros(2);
/// Messages that are already due are counted up between two looks at the clock, at most.
const LOOK_EVERY: u64 = 64;

/// When messages are due.
#[derive(Debug)]
pub(super) struct Moments {
    pace: Pace,
    /// The start, by the clock that tells moments.
    begun: Instant,
    begun_ns: u64,
    /// The next message, from 0; how many there are; how many were due at the last look.
    next: u64,
    total: u64,
    due: u64,
    /// Of those that were due by the end, how many came too late to be sent.
    pub(super) unsent: u64,
    /// Nothing more is sent from here on.
    given_up_at: Option<Instant>,
    spin: bool,
    timer: Timer,
}

impl Moments {
    /// Those of the messages that count, from now on; none without a rate.
    pub(super) fn measured(args: &SideArgs) -> io::Result<Option<Moments>> {
        Moments::new(args, args.count, args.duration)
    }

    /// Those before.
    pub(super) fn warm_up(args: &SideArgs) -> io::Result<Option<Moments>> {
        if args.warm_up.is_zero() { Ok(None) } else { Moments::new(args, None, Some(args.warm_up)) }
    }

    fn new(args: &SideArgs, count: Option<u64>, time: Option<Duration>) -> io::Result<Option<Moments>> {
        let Some(rate) = args.rate.rate() else { return Ok(None) };
        let timer = Timer::new()?;
        // What comes between the two readings is told as latency, and never taken from it; the second pair is close, for both
        // clocks are at hand by then.
        let [_, (begun_ns, begun)] = [(); 2].map(|()| (monotonic_ns(), clock::now()));
        let pace = Pace::new(begun, rate);
        let until = time.map(|time| begun + time);
        let total = until.map_or(u64::MAX, |until| pace.before(until).max(1)).min(count.unwrap_or(u64::MAX));
        let given_up_at = until.map(|until| until + OVERTIME);
        let spin = args.spin;
        Ok(Some(Moments {
            pace,
            begun,
            begun_ns,
            next: 0,
            total,
            due: 0,
            unsent: 0,
            given_up_at,
            spin,
            timer,
        }))
    }

    /// Waits until the next message is due, and tells when that was, in nanoseconds; `None` when there are no more. Does `besides` again
    /// and again where it spins and there is time for it.
    pub(super) fn next(&mut self, besides: impl Fn()) -> Option<u64> {
        if self.next >= self.total {
            return None;
        }
        let moment = self.pace.moment(self.next);
        if self.next >= self.due {
            let mut now = clock::now();
            while now < moment {
                if self.spin {
                    if moment - now > MOST_BESIDES {
                        besides();
                    }
                    std::hint::spin_loop();
                } else {
                    self.sleep(moment - now);
                }
                now = clock::now();
            }
            if self.given_up_at.is_some_and(|at| now >= at) {
                self.unsent = self.total - self.next;
                self.total = self.next;
                return None;
            }
            self.due = self.pace.due(now).max(self.next + 1).min(self.next + LOOK_EVERY);
        }
        self.next += 1;
        let after = moment.saturating_duration_since(self.begun).as_nanos() as u64;
        Some((self.begun_ns + after).max(1))
    }

    /// A timer of its own is more exact than the time-outs of other calls.
    fn sleep(&self, time: Duration) {
        if self.timer.arm_after(time).is_ok() {
            // Interrupted or not, the clock is looked at afterwards.
            let _ = poll(&mut [PollFd::new(&self.timer, PollFlags::IN)], None);
        }
    }
}
