//! Sending flushes to a server, on a thread of its own, with a bounded queue while it is away.

use crate::clock;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long it waits after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Most bytes that wait, whatever the number of flushes; one flush may be longer.
const MOST_BYTES: usize = 256 << 20;

/// How the sending went until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// When it last failed, in seconds since 1970; 0 for never.
    pub last_exception: u64,
    /// When a flush was last sent, in seconds since 1970; when it started, until the first is.
    pub last_flush: u64,
    /// How long that took, in milliseconds.
    pub flush_time: u64,
    /// How many bytes it had.
    pub flush_length: u64,
    /// How long it took to write the last flush down before it was sent, in milliseconds.
    pub calculation_time: u64,
    /// How many flushes were given up, since too many waited, or at the end.
    pub flushes_dropped: u64,
}

/// Sends flushes to one server.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// What failures are told of.
    server: String,
    /// Most flushes that wait.
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
    sent: Sent,
    /// Since when it fails, and why.
    failing: Option<String>,
    /// Until when what waits is still tried.
    end: Option<Instant>,
}

impl Queue {
    /// Starts to send to `server` by `deliver`; up to `most` flushes wait (at least 1), of which the oldest is given up first,
    /// and so is one that is refused for what is in it: `InvalidData`.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no thread.
    pub fn start(
        server: String,
        most: usize,
        deliver: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Queue> {
        let mut state = State::default();
        state.sent.last_flush = clock::wall_seconds();
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { server, most: most.max(1), state, changed });
        let working = Arc::clone(&shared);
        let thread = thread::Builder::new().name("sender".into()).spawn(move || working.work(deliver))?;
        Ok(Queue { shared, thread: Some(thread) })
    }

    /// Gives it a flush, which took `calculation` to write down.
    pub fn send(&self, payload: Vec<u8>, calculation: Duration) {
        let mut state = self.shared.state.lock();
        state.sent.calculation_time = calculation.as_millis() as u64;
        state.bytes += payload.len();
        state.waiting.push_back(Arc::new(payload));
        while state.waiting.len() > 1 && (state.waiting.len() > self.shared.most || state.bytes > MOST_BYTES)
        {
            state.give_up_one();
        }
        self.shared.changed.notify_all();
    }

    /// How it went until now.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.shared.state.lock().sent
    }

    /// Why it fails, told once for each time it begins to.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.state.lock().failing.as_mut().map(std::mem::take).filter(|text| !text.is_empty())
    }

    /// Tries to send what waits, for `patience` and what one attempt takes beyond it, and ends; tells how many flushes had to
    /// be given up for that.
    pub fn end(mut self, patience: Duration) -> usize {
        self.join(patience);
        self.shared.state.lock().waiting.len()
    }

    fn join(&mut self, patience: Duration) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.state.lock().end = Some(clock::now() + patience);
        self.shared.changed.notify_all();
        // A panic was printed.
        let _ = thread.join();
    }
}

impl Drop for Queue {
    /// Ends it, whatever waits: no thread is left behind that sends.
    fn drop(&mut self) {
        self.join(Duration::ZERO);
    }
}

impl State {
    fn give_up_one(&mut self) {
        if let Some(payload) = self.waiting.pop_front() {
            self.bytes -= payload.len();
            self.sent.flushes_dropped += 1;
        }
    }
}

impl Shared {
    fn work(&self, mut deliver: impl FnMut(&[u8]) -> io::Result<()>) {
        while let Some(payload) = self.next() {
            let begun = clock::now();
            let result = deliver(&payload);
            let took = clock::now() - begun;
            let mut state = self.state.lock();
            match result {
                Ok(()) => {
                    state.failing = None;
                    state.sent.last_flush = clock::wall_seconds();
                    state.sent.flush_time = took.as_millis() as u64;
                    state.sent.flush_length = payload.len() as u64;
                    // It may have been given up meanwhile, which was then too early to say.
                    if state.waiting.front().is_some_and(|front| Arc::ptr_eq(front, &payload)) {
                        state.bytes -= payload.len();
                        state.waiting.pop_front();
                    } else {
                        state.sent.flushes_dropped -= 1;
                    }
                }
                Err(error) => {
                    state.sent.last_exception = clock::wall_seconds();
                    state.failing.get_or_insert_with(|| format!("{}: {error}", self.server));
                    if error.kind() == ErrorKind::InvalidData {
                        if state.waiting.front().is_some_and(|front| Arc::ptr_eq(front, &payload)) {
                            state.give_up_one();
                        }
                        // The next one may be good, and then bad again: each time is told.
                        continue;
                    }
                    let until = clock::now() + PAUSE;
                    // A flush that comes meanwhile is no reason to try sooner; the end may be.
                    while clock::now() < state.end.map_or(until, |end| until.min(end)) {
                        let end = state.end.unwrap_or(until);
                        self.changed.wait_until(&mut state, until.min(end));
                    }
                }
            }
        }
    }

    /// The next flush; `None` at the end.
    fn next(&self) -> Option<Arc<Vec<u8>>> {
        let mut state = self.state.lock();
        loop {
            let is_over = state.end.is_some_and(|end| clock::now() >= end);
            match state.waiting.front() {
                Some(payload) if !is_over => return Some(Arc::clone(payload)),
                _ if state.end.is_some() => return None,
                _ => self.changed.wait(&mut state),
            }
        }
    }
}
