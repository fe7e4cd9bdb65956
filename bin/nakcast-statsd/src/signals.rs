//! What the process is told by signals.

use crate::exit::Failure;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

/// The exit code of a process ended by SIGINT, as shells tell it.
const ABORTED: i32 = 130;

/// What came until now.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    ends: AtomicU32,
    again: AtomicBool,
}

impl Signals {
    /// Catches signals from now on, and wakes the thread that calls this at each. The third time it is told to end, the process
    /// ends where it stands.
    pub(crate) fn catch() -> Result<Arc<Signals>, Failure> {
        let signals = Arc::new(Signals::default());
        catch(Arc::clone(&signals))
            .map_err(|error| Failure::at_run_time(format_args!("signals cannot be caught: {error}")))?;
        Ok(signals)
    }

    /// Whether it was told to end.
    pub(crate) fn end(&self) -> bool {
        self.ends.load(Ordering::Relaxed) > 0
    }

    /// Whether it was told to read its configuration again, since this was last asked.
    pub(crate) fn take_again(&self) -> bool {
        self.again.swap(false, Ordering::Relaxed)
    }

    fn told_to_end(&self) {
        if self.ends.fetch_add(1, Ordering::Relaxed) >= 2 {
            std::process::exit(ABORTED);
        }
    }
}

#[cfg(unix)]
fn catch(signals: Arc<Signals>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    let mut caught = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGXFSZ])?;
    let main = thread::current();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in caught.forever() {
            match signal {
                // A file that may not grow any more: whoever writes to it is told, too.
                SIGXFSZ => continue,
                SIGHUP => signals.again.store(true, Ordering::Relaxed),
                _ => signals.told_to_end(),
            }
            main.unpark();
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
fn catch(signals: Arc<Signals>) -> io::Result<()> {
    let main = thread::current();
    ctrlc::set_handler(move || {
        signals.told_to_end();
        main.unpark();
    })
    .map_err(io::Error::other)
}
