//! Waiting for sockets and for a moment, more exactly than a poller's time-out: epoll rounds those up to a millisecond
//! (mio's documentation of `Poll::poll` says so), so that the moment is a timer of its own where there is one.

use super::clock::Clock;
use crate::net::Socket;
use crate::protocol::Time;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Tokens below this are the caller's.
const TIMER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Sets the moment at which a waiter wakes; any thread may.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Arc<crate::net::Timer>,
    waker: Arc<Waker>,
}

impl Alarm {
    /// Wakes the waiter at once.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a thread that waits cannot be woken");
        }
    }

    /// Wakes the waiter after a while, in place of what was set before. Where there is no timer the waiter is woken at
    /// once, and sets its own time-out.
    pub(crate) fn after(&self, after: Duration) {
        #[cfg(target_os = "linux")]
        if let Err(error) = self.timer.arm_after(after) {
            tracing::error!(%error, "the timer cannot be armed");
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = after;
            self.wake();
        }
    }
}

#[cfg(unix)]
fn register(registry: &Registry, socket: &Socket, token: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    registry.register(&mut mio::unix::SourceFd(&socket.as_raw_fd()), Token(token), Interest::READABLE)
}

#[cfg(not(unix))]
fn register(registry: &Registry, socket: &Socket, token: usize) -> io::Result<()> {
    let mut socket = mio::net::UdpSocket::from_std(socket.as_socket().try_clone()?);
    let registered = registry.register(&mut socket, Token(token), Interest::READABLE);
    // Watched for as long as the waiter lives.
    std::mem::forget(socket);
    registered
}

/// Switches the watching of a socket off and on; any thread may.
#[derive(Debug)]
pub(crate) struct Switch {
    registry: Registry,
    token: usize,
}

impl Switch {
    /// Watches the socket, or does not; true when that could be had. Elsewhere than on Unix it is always watched.
    pub(crate) fn set(&self, socket: &Socket, on: bool) -> bool {
        #[cfg(unix)]
        {
            use std::os::fd::AsRawFd;
            let outcome = if on {
                register(&self.registry, socket, self.token)
            } else {
                self.registry.deregister(&mut mio::unix::SourceFd(&socket.as_raw_fd()))
            };
            outcome.is_ok()
        }
        #[cfg(not(unix))]
        {
            let _ = (&self.registry, self.token, socket);
            on
        }
    }
}

/// Waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    /// When the timer goes off.
    armed: Time,
    /// System calls made.
    pub(crate) system_calls: u64,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Waiter> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        #[cfg(target_os = "linux")]
        let timer = {
            use std::os::fd::AsRawFd;
            let timer = Arc::new(crate::net::Timer::new()?);
            poll.registry().register(
                &mut mio::unix::SourceFd(&timer.as_raw_fd()),
                TIMER,
                Interest::READABLE,
            )?;
            timer
        };
        let alarm = Alarm {
            #[cfg(target_os = "linux")]
            timer,
            waker,
        };
        Ok(Waiter { poll, events: Events::with_capacity(8), alarm, armed: Time::NEVER, system_calls: 0 })
    }

    /// Has it wake when a socket becomes readable.
    pub(crate) fn watch(&self, socket: &Socket, token: usize) -> io::Result<()> {
        register(self.poll.registry(), socket, token)
    }

    /// What other threads switch the watching of a socket with.
    pub(crate) fn switch(&self, token: usize) -> io::Result<Switch> {
        Ok(Switch { registry: self.poll.registry().try_clone()?, token })
    }

    /// What other threads set the moment with.
    pub(crate) fn alarm(&self) -> Alarm {
        self.alarm.clone()
    }

    /// Arms the timer, unless it goes off before `until` anyway: waking too early costs less than setting it each time.
    pub(crate) fn arm(&mut self, until: Time, now: Time) {
        // What has gone off, or may have, is not armed any more.
        if self.armed <= now {
            self.armed = Time::NEVER;
            // Were nothing armed in its place, it would be readable for ever to who waits for the descriptor.
            self.clear_timer();
        }
        if until < self.armed {
            self.armed = until;
            self.system_calls += 1;
            self.alarm.after(until.since(now));
        }
    }

    /// Nothing is due, whoever set the timer: it does not go off, and one that has is not readable any more.
    pub(crate) fn disarm(&mut self) {
        self.armed = Time::NEVER;
        #[cfg(target_os = "linux")]
        {
            self.system_calls += 1;
            self.alarm.timer.disarm();
        }
    }

    /// Waits until something is readable, the time has come, or it is woken; not at all when `until` has come. Calls `ready`
    /// with the token of each socket that became readable.
    pub(crate) fn wait(&mut self, until: Time, clock: &Clock, ready: impl FnMut(usize)) -> io::Result<()> {
        let now = clock.now();
        let timeout = if until.is_due(now) {
            Some(Duration::ZERO)
        } else {
            self.arm(until, now);
            // The timer is the exact one; elsewhere the poller's own must do.
            (cfg!(not(target_os = "linux")) && until != Time::NEVER).then(|| until.since(now))
        };
        self.wait_at_most(timeout, ready).map(drop)
    }

    /// The same for a while that is taken up to a whole millisecond, whatever the timer is set to. False when nothing came and
    /// nobody woke it.
    pub(crate) fn wait_at_most(
        &mut self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(usize),
    ) -> io::Result<bool> {
        self.system_calls += 1;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            outcome => outcome?,
        }
        let mut timer_went_off = false;
        for event in &self.events {
            match event.token() {
                TIMER => timer_went_off = true,
                WAKER => {}
                Token(token) => ready(token),
            }
        }
        if timer_went_off {
            self.clear_timer();
            self.armed = Time::NEVER;
        }
        Ok(!self.events.is_empty())
    }

    /// Has the timer not be readable any more.
    fn clear_timer(&mut self) {
        #[cfg(target_os = "linux")]
        {
            self.system_calls += 1;
            self.alarm.timer.clear();
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Waiter {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_system_call_counts() {
        let clock = Clock::start();
        let mut waiter = Waiter::new().unwrap();
        let until = clock.now() + Duration::from_millis(1);
        waiter.wait(until, &clock, |_| {}).unwrap();
        assert!(until.is_due(clock.now()));
        assert_eq!(waiter.system_calls, 3, "the timer set, waited for, and read");
        waiter.wait(Time(0), &clock, |_| {}).unwrap();
        assert_eq!(waiter.system_calls, 4, "a look");
    }
}
