//! Being told to end: Ctrl-C, SIGTERM, SIGHUP.
//!
//! The first time asks to end in good order, the second to leave what can be left (the linger), the third ends the process
//! where it stands. Signals come on a thread of their own; the command's thread is woken when it waits by [`Stop`], and
//! looks at it between short waits for everything else.

use crate::clock;
use crate::exit::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a wait may take that being told to end does not interrupt.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// The exit code of a process ended by SIGINT, as shells tell it.
const ABORTED: i32 = 130;

/// Whether the command was told to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: Arc<AtomicU32>,
    /// Whose waits are cut short.
    thread: Thread,
}

impl Stop {
    /// Takes over the signals, for the thread that calls.
    pub(crate) fn install() -> Result<Stop, Failure> {
        let stop = Stop { asked: Arc::default(), thread: thread::current() };
        let told = stop.clone();
        ctrlc::set_handler(move || {
            if told.asked.fetch_add(1, Ordering::Relaxed) >= 2 {
                std::process::exit(ABORTED);
            }
            told.thread.unpark();
        })
        .map_err(|error| Failure::at_run_time(format_args!("signals cannot be caught: {error}")))?;
        Ok(stop)
    }

    /// Told to end.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Told so again: nothing is waited for any more.
    pub(crate) fn is_urged(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 1
    }

    /// What wakes the thread that waits.
    pub(crate) fn thread(&self) -> Thread {
        self.thread.clone()
    }

    /// Waits until the moment has come, and tells so; false when it was told to end first. For the thread it was installed
    /// for alone.
    pub(crate) fn wait_until(&self, moment: Instant) -> bool {
        loop {
            if self.is_asked() {
                return false;
            }
            let left = moment.saturating_duration_since(clock::now());
            if left.is_zero() {
                return true;
            }
            thread::park_timeout(left);
        }
    }
}
