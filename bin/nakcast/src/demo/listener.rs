//! A subscriber of the demo, on a thread of its own, that checks what it gets.

use super::PATIENCE;
use crate::clock;
use crate::exit::Failure;
use crate::latency;
use hdrhistogram::Histogram;
use nakcast::{Error, Event, Subscriber, SubscriberStats};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the live line's figures are renewed.
const RENEW: Duration = Duration::from_millis(50);

/// What a live line shows.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) received: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) repaired: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Seen {
    fn renew(&self, stats: &SubscriberStats) {
        self.received.store(stats.messages, Ordering::Relaxed);
        self.dropped.store(stats.dropped, Ordering::Relaxed);
        self.repaired.store(stats.repairs, Ordering::Relaxed);
        self.lost.store(stats.lost, Ordering::Relaxed);
    }
}

/// What a subscriber has seen in the end.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) received: u64,
    /// Messages that were not the one that was due.
    pub(super) misplaced: u64,
    pub(super) dropped: u64,
    pub(super) repaired: u64,
    /// From the first message to the last.
    pub(super) active: Duration,
    /// From being sent to being handed over, nanoseconds.
    pub(super) latency: Histogram<u64>,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) seen: Arc<Seen>,
    /// The publisher is done: what does not come soon does not come.
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Report, Error>>,
}

impl Listener {
    pub(super) fn start(subscriber: Subscriber) -> Result<Listener, Failure> {
        let seen = Arc::new(Seen::default());
        let over = Arc::new(AtomicBool::new(false));
        let latency = latency::histogram()?;
        let (theirs, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = thread::Builder::new()
            .name("subscriber".into())
            .spawn(move || listen(subscriber, &theirs, &ended, latency))
            .map_err(|error| Failure::at_run_time(format_args!("starting a thread: {error}")))?;
        Ok(Listener { seen, over, thread })
    }

    /// What it has seen, once its stream has ended.
    pub(super) fn finish(self) -> Result<Report, Failure> {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(report) => Ok(report?),
            Err(_) => Err(Failure::at_run_time("a subscriber's thread panicked")),
        }
    }
}

fn listen(
    mut subscriber: Subscriber,
    seen: &Seen,
    over: &AtomicBool,
    mut latency: Histogram<u64>,
) -> Result<Report, Error> {
    let (mut received, mut misplaced, mut due) = (0, 0, 0);
    let (mut first, mut last, mut renewed) = (None, None, clock::now());
    let mut patience = None;
    let mut ended = false;
    while !ended {
        match subscriber.recv_timeout(RENEW)? {
            Some(Event::Message(message)) => {
                let took = clock::wall_ns().saturating_sub(message.sent_ns());
                latency.saturating_record(took.max(1));
                let number = message.payload().first_chunk().map(|number| u64::from_be_bytes(*number));
                misplaced += u64::from(number != Some(due));
                due = number.unwrap_or(due) + 1;
                received += 1;
            }
            Some(Event::StreamEnd(_)) => ended = true,
            Some(_) => {}
            None if over.load(Ordering::Relaxed) => {
                let until = *patience.get_or_insert_with(|| clock::now() + PATIENCE);
                ended = clock::now() >= until;
            }
            None => {}
        }
        let now = clock::now();
        if received > 0 {
            first.get_or_insert(now);
        }
        if !ended {
            last = first.map(|_| now);
        }
        if ended || now.duration_since(renewed) >= RENEW {
            renewed = now;
            seen.renew(&subscriber.stats());
        }
    }
    let SubscriberStats { dropped, repairs: repaired, .. } = subscriber.stats();
    let active = first.zip(last).map_or(Duration::ZERO, |(first, last)| last.duration_since(first));
    Ok(Report { received, misplaced, dropped, repaired, active, latency })
}
