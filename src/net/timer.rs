//! A timer that a poller can wait on.
#![allow(unsafe_code, reason = "timerfd has no safe form in std")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// A one-shot timer in nanoseconds of the monotonic clock, readable once it has expired. Linux only.
///
/// A poller's own time-out is rounded up to a millisecond; this is not.
#[derive(Debug)]
pub struct Timer {
    file: File,
}

impl Timer {
    /// Makes a timer that is not armed.
    ///
    /// # Errors
    ///
    /// When there are no more descriptors or memory to be had.
    pub fn new() -> io::Result<Timer> {
        // SAFETY: timerfd_create(2): "creates a new timer object, and returns a file descriptor"; it takes no pointers.
        let descriptor =
            unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just returned, as a new one: nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Timer { file: descriptor.into() })
    }

    /// Arms the timer to expire once, `after` from now; at once if that is zero. An earlier setting, and an expiry not
    /// yet cleared, are forgotten. Any thread may call it while another waits.
    ///
    /// # Errors
    ///
    /// None that the operating system's manual has a cause for.
    pub fn arm_after(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it; and beyond what the kernel counts, in centuries, is never.
        let after = after.max(Duration::from_nanos(1));
        let seconds = libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX);
        self.set(libc::timespec { tv_sec: seconds, tv_nsec: after.subsec_nanos() as _ })
    }

    /// Forgets the setting, and an expiry not yet cleared.
    pub fn disarm(&self) {
        let result = self.set(libc::timespec { tv_sec: 0, tv_nsec: 0 });
        debug_assert!(result.is_ok(), "{result:?}");
    }

    /// Takes note of an expiry, so that the timer is no longer readable. Never blocks; does nothing if there is none.
    pub fn clear(&self) {
        // timerfd_create(2): the read "fails with the error EAGAIN" if none occurred; and is not retried when interrupted,
        // since it then was not waiting.
        let _ = (&self.file).read(&mut [0; 8]);
    }

    fn set(&self, at: libc::timespec) -> io::Result<()> {
        let setting =
            libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        // SAFETY: timerfd_create(2): "The new_value argument specifies the initial expiration and interval for the timer": a
        // live structure, only read. "If the old_value argument is not NULL, then the itimerspec structure that it points
        // to is used": it is NULL.
        let result =
            unsafe { libc::timerfd_settime(self.file.as_raw_fd(), 0, &raw const setting, ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};

    fn watch(timers: &[&Timer]) -> Poll {
        let poll = Poll::new().unwrap();
        for (token, timer) in timers.iter().enumerate() {
            let descriptor = timer.as_raw_fd();
            poll.registry().register(&mut SourceFd(&descriptor), Token(token), Interest::READABLE).unwrap();
        }
        poll
    }

    /// Which timers are readable within `limit`; a new poll each time, since one tells of an edge but once.
    fn readable(timers: &[&Timer], limit: Duration) -> Vec<usize> {
        let mut events = Events::with_capacity(8);
        watch(timers).poll(&mut events, Some(limit)).unwrap();
        events.iter().map(|event| event.token().0).collect()
    }

    const DEADLINE: Duration = Duration::from_secs(20);
    const NEVER: Duration = Duration::from_secs(1_000_000);

    #[test]
    fn it_is_readable_once_it_expired_and_until_cleared() {
        let timer = Timer::new().unwrap();
        assert!(readable(&[&timer], Duration::ZERO).is_empty());
        timer.clear();
        timer.arm_after(Duration::from_micros(50)).unwrap();
        assert_eq!(readable(&[&timer], DEADLINE), [0]);
        assert_eq!(readable(&[&timer], Duration::ZERO), [0], "until cleared");
        timer.clear();
        assert!(readable(&[&timer], Duration::ZERO).is_empty(), "it expires once");
    }

    #[test]
    fn zero_is_at_once_and_ages_are_never() {
        let (soon, late, later) = (Timer::new().unwrap(), Timer::new().unwrap(), Timer::new().unwrap());
        late.arm_after(NEVER).unwrap();
        later.arm_after(Duration::MAX).unwrap();
        soon.arm_after(Duration::ZERO).unwrap();
        assert_eq!(readable(&[&late, &later, &soon], DEADLINE), [2]);
    }

    #[test]
    fn setting_it_again_forgets_what_was() {
        let timer = Timer::new().unwrap();
        timer.arm_after(Duration::ZERO).unwrap();
        assert_eq!(readable(&[&timer], DEADLINE), [0]);
        timer.arm_after(NEVER).unwrap();
        assert!(readable(&[&timer], Duration::ZERO).is_empty());
        timer.arm_after(Duration::ZERO).unwrap();
        assert_eq!(readable(&[&timer], DEADLINE), [0]);
        timer.disarm();
        assert!(readable(&[&timer], Duration::ZERO).is_empty());
    }

    #[test]
    fn another_thread_may_arm_it_while_one_waits() {
        let timer = Timer::new().unwrap();
        timer.arm_after(NEVER).unwrap();
        let mut poll = watch(&[&timer]);
        std::thread::scope(|scope| {
            scope.spawn(|| timer.arm_after(Duration::ZERO).unwrap());
            let mut events = Events::with_capacity(8);
            poll.poll(&mut events, Some(DEADLINE)).unwrap();
            assert!(!events.is_empty());
        });
    }
}
