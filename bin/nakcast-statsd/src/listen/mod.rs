//! Listeners: each takes what comes at one socket, on a thread of its own.

mod lines;
mod udp;
#[cfg(unix)]
mod unix;

use crate::clock;
use crate::flush::Heard;
use crate::intake::Intake;
use crate::line::Dialect;
use crate::stream::{Bounds, Counts, Streams};
use mio::Waker;
use nakcast::net::Socket;
use parking_lot::Mutex;
use std::io;
use std::net::TcpListener;
#[cfg(unix)]
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// One socket that is listened at, from [`Listener::begin`] to [`Listener::end`]. What comes before it begins waits in the
/// kernel; one that is dropped without a beginning has taken nothing.
#[derive(Debug)]
pub struct Listener {
    ledger: Arc<Ledger>,
    work: Work,
    /// What was told of it before.
    told: (u64, u64, u64),
    drops: Option<u32>,
}

/// Who listens.
#[derive(Debug)]
enum Work {
    /// On a thread for each socket; none once they were waited for.
    Datagrams(Vec<(Waker, JoinHandle<io::Result<()>>)>),
    /// `None` once it was waited for.
    Streams(Option<Streams>),
}

/// What a listener has heard since it was opened, and what it is told.
#[derive(Debug)]
struct Ledger {
    name: String,
    /// The sockets whose drops the kernel counts; without any nothing is dropped that the sender does not know of.
    sockets: Vec<Socket>,
    /// Whether the dialect is Datadog's.
    datadog: AtomicBool,
    received: AtomicU64,
    truncated: AtomicU64,
    /// Connections.
    counts: Arc<Counts>,
    /// When something last came, in seconds since 1970.
    last: AtomicU64,
    /// Whether to take datagrams, once that is known.
    begin: OnceLock<bool>,
    end: AtomicBool,
    ended: AtomicBool,
}

impl Ledger {
    fn new(name: String, sockets: Vec<Socket>, dialect: Dialect) -> Ledger {
        Ledger {
            name,
            sockets,
            datadog: AtomicBool::new(dialect == Dialect::Datadog),
            received: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            counts: Arc::default(),
            last: AtomicU64::new(0),
            begin: OnceLock::new(),
            end: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Waits for the beginning; false if there is none.
    fn begins(&self) -> bool {
        *self.begin.wait()
    }

    fn dialect(&self) -> Dialect {
        if self.datadog.load(Ordering::Relaxed) { Dialect::Datadog } else { Dialect::Statsd }
    }

    /// Counts what was added up.
    fn count(&self, received: u64, truncated: u64) {
        self.last.store(clock::wall_seconds(), Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Release);
        self.truncated.fetch_add(truncated, Ordering::Release);
    }

    fn kernel_drops(&self) -> Option<u32> {
        self.sockets.iter().try_fold(0_u32, |sum, socket| Some(sum.wrapping_add(socket.kernel_drops()?)))
    }
}

/// What a listener has heard until now, told to whoever asks.
#[derive(Clone, Debug)]
pub struct Probe(Arc<Ledger>);

impl Probe {
    /// Where it listens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// When something last came, in seconds since 1970; 0 for never.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.last.load(Ordering::Relaxed)
    }

    /// Datagrams received since it was opened; of a stream what was read at once.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Acquire)
    }

    /// Datagrams that were cut since it was opened.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.0.truncated.load(Ordering::Acquire)
    }

    /// Datagrams the kernel dropped since it was opened, modulo 2^32; `None` where the platform does not tell.
    #[must_use]
    pub fn kernel_drops(&self) -> Option<u32> {
        self.0.kernel_drops()
    }

    /// Connections for which there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.counts.refused.load(Ordering::Relaxed)
    }
}

impl Listener {
    /// Is to take what comes at sockets of one address, each on a thread of its own, and to leave it at `intake`. `ended` is
    /// called on a thread that ends, for whatever reason.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no thread or nothing to wait with; there is no socket at all.
    pub fn start(
        sockets: Vec<Socket>,
        dialect: Dialect,
        intake: Intake,
        ended: impl Fn() + Clone + Send + 'static,
    ) -> io::Result<Listener> {
        let first = sockets.first().ok_or(io::ErrorKind::NotConnected)?;
        let name = first.group_addr().unwrap_or_else(|| first.local_addr()).to_string();
        let count = sockets.len();
        let ledger = Arc::new(Ledger::new(name, sockets, dialect));
        let drops = ledger.kernel_drops().map(|_| 0);
        let mut listener = Listener { ledger, work: Work::Datagrams(Vec::new()), told: (0, 0, 0), drops };
        for at in 0..count {
            let worker = udp::start(Arc::clone(&listener.ledger), at, &intake, ended.clone());
            match (worker, &mut listener.work) {
                (Ok(worker), Work::Datagrams(workers)) => workers.push(worker),
                (Ok(_), Work::Streams(_)) => {}
                (Err(error), _) => return Err(error),
            }
        }
        Ok(listener)
    }

    /// Is to take lines from whoever connects.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no thread or nothing to wait with.
    pub fn tcp(
        listener: TcpListener,
        dialect: Dialect,
        bounds: Bounds,
        intake: Intake,
    ) -> io::Result<Listener> {
        let name = format!("tcp {}", listener.local_addr()?);
        listener.set_nonblocking(true)?;
        let listener = mio::net::TcpListener::from_std(listener);
        Listener::streams(listener, name, dialect, bounds, intake)
    }

    fn streams(
        listener: impl crate::stream::Accepts + 'static,
        name: String,
        dialect: Dialect,
        bounds: Bounds,
        intake: Intake,
    ) -> io::Result<Listener> {
        let ledger = Arc::new(Ledger::new(name, Vec::new(), dialect));
        let its = Arc::clone(&ledger);
        // One for all connections, which take turns on one thread.
        let feed = Arc::new(Mutex::new(intake.feed()));
        let converse = move || lines::Lines::new(Arc::clone(&its), Arc::clone(&feed));
        let streams = Streams::start(listener, bounds, Arc::clone(&ledger.counts), converse)?;
        Ok(Listener { ledger, work: Work::Streams(Some(streams)), told: (0, 0, 0), drops: Some(0) })
    }

    /// Is to take lines from whoever connects to a socket of the file system. One that nobody listens at any more is
    /// replaced; a mode is given to it if there is one.
    ///
    /// # Errors
    ///
    /// The operating system's: the path cannot be, or somebody listens there; or there is no thread to be had.
    #[cfg(unix)]
    pub fn unix_stream(
        path: &Path,
        mode: Option<u32>,
        dialect: Dialect,
        bounds: Bounds,
        intake: Intake,
    ) -> io::Result<Listener> {
        let listener = unix::stream(path, mode)?;
        Listener::streams(listener, format!("unix-stream {}", path.display()), dialect, bounds, intake)
    }

    /// Is to take datagrams that come at a socket of the file system, as [`Listener::unix_stream`] does. The kernel drops
    /// none of them: a sender waits, or is told.
    ///
    /// # Errors
    ///
    /// As of [`Listener::unix_stream`].
    #[cfg(unix)]
    pub fn unix(
        path: &Path,
        mode: Option<u32>,
        dialect: Dialect,
        intake: Intake,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Listener> {
        let ledger = Arc::new(Ledger::new(format!("unix {}", path.display()), Vec::new(), dialect));
        let work = Work::Datagrams(vec![unix::start(path, mode, Arc::clone(&ledger), &intake, ended)?]);
        Ok(Listener { ledger, work, told: (0, 0, 0), drops: Some(0) })
    }

    /// Begins to take what has come and comes.
    pub fn begin(&self) {
        match &self.work {
            // They may have begun before.
            Work::Datagrams(_) => _ = self.ledger.begin.set(true),
            Work::Streams(streams) => streams.iter().for_each(Streams::begin),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.ledger.name
    }

    /// Tells what it has heard until now, also when it has ended.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe(Arc::clone(&self.ledger))
    }

    /// Another dialect, from now on.
    pub fn speak(&self, dialect: Dialect) {
        self.ledger.datadog.store(dialect == Dialect::Datadog, Ordering::Relaxed);
    }

    /// Whether its thread has ended: before [`Listener::end`], that is for an error.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ledger.ended.load(Ordering::Acquire)
    }

    /// What came and was dropped since this was last asked.
    pub fn heard(&mut self) -> Heard {
        let probe = self.probe();
        let now = (probe.received(), probe.truncated(), probe.refused());
        let (received, truncated) = (now.0 - self.told.0, now.1 - self.told.1);
        let refused = now.2 - self.told.2;
        self.told = now;
        let kernel_drops = self.drops.zip(probe.kernel_drops()).map(|(last, now)| {
            self.drops = Some(now);
            u64::from(now.wrapping_sub(last))
        });
        Heard { listener: self.name().to_owned(), received, truncated, kernel_drops, refused }
    }

    /// Asks it to take what the kernel has by now, and to end.
    pub fn end(&self) {
        self.ledger.end.store(true, Ordering::Release);
        // Too late, unless it never began.
        let _ = self.ledger.begin.set(false);
        if let Work::Datagrams(workers) = &self.work {
            // A thread that is not woken has ended.
            workers.iter().for_each(|(waker, _)| _ = waker.wake());
        }
    }

    /// Waits until it has ended. What it heard at last is told by [`Listener::heard`] afterwards.
    ///
    /// # Errors
    ///
    /// Why it ended, if not because it was asked to.
    pub fn join(&mut self) -> io::Result<()> {
        match &mut self.work {
            Work::Datagrams(workers) => {
                let mut result = Ok(());
                for (_, thread) in workers.drain(..) {
                    let panicked = |_| Err(io::Error::other("the listener's thread panicked"));
                    result = result.and(thread.join().unwrap_or_else(panicked));
                }
                result
            }
            Work::Streams(streams) => {
                drop(streams.take());
                Ok(())
            }
        }
    }
}

impl Drop for Listener {
    /// Ends it: no thread is left behind that listens.
    fn drop(&mut self) {
        self.end();
        // Whoever wants to know how it ended has asked already.
        let _ = self.join();
    }
}
