//! A subscriber with a thread of its own, and a bounded queue to the application.

mod queue;

pub use queue::{Queue, WhenFull};

use crate::driver::{Alarm, Clock, Driver};
use crate::error::Error;
use crate::protocol::subscriber::{Ready, SubscriberStats};
use crate::protocol::{EndReason, Event, Message, Time};
use parking_lot::{Condvar, Mutex};
use queue::{Events, Key, Life, Slot, What};
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The counters are copied for the application when there is nothing to do, and after so many events.
const COUNT_EVERY: u32 = 1_024;

/// What the two threads share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug)]
struct State {
    events: Events,
    stats: SubscriberStats,
    /// The subscriber's thread waits for room.
    blocked: bool,
    stop: bool,
    /// Why the subscriber's thread ended, if not because it was told to.
    error: Option<Error>,
}

impl Shared {
    /// Does the subscriber's thread's work. However it ends, whoever waits for events is told.
    fn run(&self, work: impl FnOnce() -> Result<(), Error>) {
        // What the work was done on is not looked at again.
        let outcome = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::Panicked));
        if let Err(error) = outcome {
            tracing::error!(%error, "a detached subscriber's thread ended");
            self.state.lock().error = Some(error);
            self.filled.notify_all();
        }
    }
}

/// A subscriber with a thread of its own. Dropping it ends the subscription.
#[derive(Debug)]
pub struct DetachedSubscriber {
    shared: Arc<Shared>,
    alarm: Alarm,
    thread: Option<JoinHandle<()>>,
    clock: Clock,
    /// What the application looks at.
    current: Option<Slot>,
}

impl DetachedSubscriber {
    pub(crate) fn start(driver: Driver, queue: Queue) -> Result<DetachedSubscriber, Error> {
        if queue.capacity == 0 {
            return Err(Error::Setting {
                name: "capacity",
                problem: "a queue has room for at least 1 event".into(),
            });
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                events: Events::new(queue, driver.subscriber().config().max_streams),
                stats: driver.stats(),
                blocked: false,
                stop: false,
                error: None,
            }),
            filled: Condvar::new(),
        });
        let alarm = driver.alarm();
        let clock = *driver.clock();
        let theirs = Arc::clone(&shared);
        let mut worker = Worker { driver, shared: Arc::clone(&shared), topics: HashMap::new(), lives: 0 };
        let thread = thread::Builder::new()
            .name("nakcast-subscriber".into())
            .spawn(move || theirs.run(move || worker.work()))
            .map_err(Error::system("starting the subscriber's thread"))?;
        Ok(DetachedSubscriber { shared, alarm, thread: Some(thread), clock, current: None })
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail, [`Error::Panicked`] when the thread ended otherwise; what was received before
    /// is given first.
    pub fn recv(&mut self) -> Result<Event<'_>, Error> {
        loop {
            if self.take(None)? {
                break;
            }
        }
        self.shown()
    }

    /// The next event, if one is here.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.recv_timeout(Duration::ZERO)
    }

    /// The next event, if one comes within `timeout`.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event<'_>>, Error> {
        if self.take(Some(timeout))? { self.shown().map(Some) } else { Ok(None) }
    }

    fn shown(&self) -> Result<Event<'_>, Error> {
        match &self.current {
            Some(slot) => Ok(slot.event()),
            None => Err(Error::Setting { name: "detached", problem: "no event was taken".into() }),
        }
    }

    /// Takes the next event; false when none came in time.
    fn take(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        let deadline = timeout.and_then(|timeout| self.clock.instant(self.clock.now() + timeout));
        let mut state = self.shared.state.lock();
        if let Some(slot) = self.current.take() {
            state.events.recycle(slot);
        }
        let mut timed_out = false;
        loop {
            if let Some(slot) = state.events.pop() {
                self.current = Some(slot);
                if state.blocked && state.events.has_room() {
                    state.blocked = false;
                    self.alarm.wake();
                }
                return Ok(true);
            }
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            // After the time is over it is looked once more.
            if timed_out {
                return Ok(false);
            }
            match deadline {
                None => self.shared.filled.wait(&mut state),
                Some(deadline) => {
                    timed_out = self.shared.filled.wait_until(&mut state, deadline).timed_out();
                }
            }
        }
    }

    /// What waits: the events in the queue, and the streams of which dropped ones are to be told.
    pub fn len(&self) -> usize {
        self.shared.state.lock().events.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The counters, as of a moment ago.
    pub fn stats(&self) -> SubscriberStats {
        let state = self.shared.state.lock();
        let drops = state.events.drops();
        // What was pushed since they were counted may have been dropped already.
        let messages = state.stats.messages.saturating_sub(drops);
        SubscriberStats {
            messages,
            lost: state.stats.lost + drops,
            queue_drops: drops,
            ..state.stats.clone()
        }
    }
}

impl Drop for DetachedSubscriber {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.alarm.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the subscriber's thread panicked");
        }
    }
}

/// The thread.
struct Worker {
    driver: Driver,
    shared: Arc<Shared>,
    /// The streams that are up.
    topics: HashMap<Key, (Life, Arc<str>)>,
    /// How many there ever were.
    lives: Life,
}

impl Worker {
    fn work(&mut self) -> Result<(), Error> {
        let mut since_counted = 0;
        loop {
            let full = {
                let mut state = self.shared.state.lock();
                if state.stop {
                    return Ok(());
                }
                state.blocked = !state.events.has_room();
                state.blocked
            };
            let more = if full {
                self.driver.work().map_err(Error::system("receiving"))?
            } else if let Some(ready) = self.driver.next().map_err(Error::system("receiving"))? {
                self.push(&ready);
                true
            } else {
                false
            };
            since_counted += 1;
            if !more || since_counted == COUNT_EVERY {
                since_counted = 0;
                self.shared.state.lock().stats = self.driver.stats();
            }
            if !more {
                self.driver.wait(Time::NEVER).map_err(Error::system("waiting"))?;
            }
        }
    }

    /// Puts an event in the queue, or drops one as the policy says.
    fn push(&mut self, ready: &Ready) {
        let mut state = self.shared.state.lock();
        let payload = state.events.spare();
        let slot = fill(self.driver.event(ready), payload, &mut self.topics, &mut self.lives);
        state.events.push(slot);
        drop(state);
        self.shared.filled.notify_one();
    }
}

/// An event in memory of its own.
fn fill(
    event: Event<'_>,
    mut payload: Vec<u8>,
    topics: &mut HashMap<Key, (Life, Arc<str>)>,
    lives: &mut Life,
) -> Slot {
    let (topic, key, what) = match event {
        Event::Message(message) => {
            payload.extend_from_slice(message.payload);
            let Message { sequence, number, sent, received, kernel, .. } = message;
            (
                message.topic,
                (message.source, message.stream),
                What::Message { sequence, number, sent, received, kernel },
            )
        }
        Event::Gap(gap) => (gap.topic, (gap.source, gap.stream), What::Gap(gap.loss)),
        Event::StreamUp(stream) => {
            (stream.topic, (stream.source, stream.stream), What::Up { sequence: stream.sequence })
        }
        Event::StreamEnd(stream) => {
            let reason = stream.end.unwrap_or(EndReason::Closed);
            (stream.topic, (stream.source, stream.stream), What::End { sequence: stream.sequence, reason })
        }
    };
    let known = topics.entry(key).or_insert_with(|| {
        *lives += 1;
        (*lives, Arc::from(topic))
    });
    let (life, topic) = (known.0, Arc::clone(&known.1));
    if matches!(what, What::End { .. }) {
        topics.remove(&key);
    }
    Slot { what, topic, key, life, payload, before: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A subscriber that nothing comes to, whose thread is given `work`.
    fn detached(work: impl FnOnce(&Shared) -> Result<(), Error> + Send + 'static) -> DetachedSubscriber {
        let group = "239.255.77.200:7700".parse().unwrap();
        let subscriber = crate::Subscriber::builder(group).interface("lo").open().unwrap();
        let mut detached = subscriber.detach(Queue::default()).unwrap();
        // Its own thread ends, and another takes its place.
        detached.shared.state.lock().stop = true;
        detached.alarm.wake();
        detached.thread.take().unwrap().join().unwrap();
        let shared = Arc::clone(&detached.shared);
        detached.thread = Some(thread::spawn(move || shared.run(|| work(&shared))));
        detached
    }

    #[test]
    fn a_thread_that_ends_is_told_of_and_not_waited_for() {
        let failure = Error::System {
            doing: "receiving",
            kind: std::io::ErrorKind::Other,
            text: "the network is on fire".into(),
        };
        let told = failure.clone();
        let mut subscriber = detached(move |_| Err(told));
        assert_eq!(subscriber.recv_timeout(DEADLINE).unwrap_err(), failure);

        let mut subscriber = detached(|shared| {
            let mut state = shared.state.lock();
            state.events.push(Slot {
                what: What::Up { sequence: 1 },
                topic: "t".into(),
                key: (crate::SourceId(1), 1),
                life: 1,
                payload: Vec::new(),
                before: None,
            });
            panic!("on purpose, and with the lock held");
        });
        assert!(
            matches!(subscriber.recv_timeout(DEADLINE), Ok(Some(Event::StreamUp(_)))),
            "what came before is given first"
        );
        assert_eq!(subscriber.recv_timeout(DEADLINE).unwrap_err(), Error::Panicked);
        assert_eq!(subscriber.try_recv().unwrap_err(), Error::Panicked, "and every time");
    }
}
