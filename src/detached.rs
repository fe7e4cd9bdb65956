//! A subscriber with a thread of its own, and a bounded queue to the application.

use crate::driver::{Alarm, Clock, Driver};
use crate::error::Error;
use crate::protocol::subscriber::{Ready, SubscriberStats};
use crate::protocol::{EndReason, Event, Gap, GapReason, Loss, Message, Stream, Time};
use crate::wire::SourceId;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The queue between a detached subscriber's thread and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Most events in it, at least 1. Memory follows the messages: their bytes, and about 150 for each.
    pub capacity: usize,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

impl Default for Queue {
    /// 65,536 events; delivery waits when it is full.
    fn default() -> Queue {
        Queue { capacity: 65_536, when_full: WhenFull::Block }
    }
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Delivery waits and recovery goes on, as far as the reorder buffer reaches; then publishers are held back.
    #[default]
    Block,
    /// The oldest message makes room for the newest.
    DropOldest,
    /// The newest message is dropped.
    DropNewest,
}

/// The counters are copied for the application when there is nothing to do, and after so many events.
const COUNT_EVERY: u32 = 1_024;

/// A stream of a source.
type Key = (SourceId, u32);

/// An event that owns what it shows. Its memory is used again.
#[derive(Debug)]
struct Slot {
    what: What,
    topic: Arc<str>,
    key: Key,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Message { sequence: u64, number: u64, sent: u64, received: u64 },
    Gap(Loss),
    Up { sequence: u64 },
    End { sequence: u64, reason: EndReason },
}

impl Slot {
    fn event(&self) -> Event<'_> {
        let (topic, (source, stream)) = (&*self.topic, self.key);
        match self.what {
            What::Message { sequence, number, sent, received } => Event::Message(Message {
                topic,
                payload: &self.payload,
                source,
                stream,
                sequence,
                number,
                sent,
                received,
            }),
            What::Gap(loss) => Event::Gap(Gap { topic, source, stream, loss }),
            What::Up { sequence } => Event::StreamUp(Stream { topic, source, stream, sequence, end: None }),
            What::End { sequence, reason } => {
                Event::StreamEnd(Stream { topic, source, stream, sequence, end: Some(reason) })
            }
        }
    }

    /// What would be lost with it.
    fn loss(&self) -> Option<Loss> {
        match self.what {
            What::Message { sequence, .. } => {
                Some(Loss { first: sequence, last: sequence, messages: 1, reason: GapReason::Overrun })
            }
            What::Gap(loss) => Some(Loss { reason: GapReason::Overrun, ..loss }),
            What::Up { .. } | What::End { .. } => None,
        }
    }
}

/// What the two threads share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Slot>,
    spare: Vec<Slot>,
    /// What was dropped of a stream: told before what is next of it.
    dropped: HashMap<Key, (Arc<str>, Loss)>,
    stats: SubscriberStats,
    /// The subscriber's thread waits for room.
    blocked: bool,
    stop: bool,
    error: Option<Error>,
}

impl State {
    fn drop_slot(&mut self, slot: Slot) {
        if let Some(loss) = slot.loss() {
            let entry = self.dropped.entry(slot.key).or_insert_with(|| {
                (Arc::clone(&slot.topic), Loss { messages: 0, first: loss.first, last: loss.last, ..loss })
            });
            entry.1.messages += loss.messages;
            entry.1.first = entry.1.first.min(loss.first);
            entry.1.last = entry.1.last.max(loss.last);
        }
        self.recycle(slot);
    }

    fn recycle(&mut self, slot: Slot) {
        // As many as come and go in a batch; large messages' memory is given back.
        if self.spare.len() < 1_024 && slot.payload.capacity() <= 64 << 10 {
            self.spare.push(slot);
        }
    }

    /// What was dropped of a stream, as an event of its own.
    fn told(&mut self, key: Key) -> Option<Slot> {
        let (topic, loss) = self.dropped.remove(&key)?;
        Some(Slot { what: What::Gap(loss), topic, key, payload: Vec::new() })
    }
}

/// A subscriber with a thread of its own. Dropping it ends the subscription.
#[derive(Debug)]
pub struct DetachedSubscriber {
    shared: Arc<Shared>,
    alarm: Alarm,
    thread: Option<JoinHandle<()>>,
    clock: Clock,
    when_full: WhenFull,
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
                queue: VecDeque::with_capacity(queue.capacity.min(4_096)),
                spare: Vec::new(),
                dropped: HashMap::new(),
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
        let worker = Worker { driver, shared: theirs, queue, topics: HashMap::new() };
        let thread = thread::Builder::new()
            .name("nakcast-subscriber".into())
            .spawn(move || worker.run())
            .map_err(Error::system("starting the subscriber's thread"))?;
        let when_full = queue.when_full;
        Ok(DetachedSubscriber { shared, alarm, thread: Some(thread), clock, when_full, current: None })
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail; what was received before is given first.
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
    /// [`Error::System`] when the sockets fail.
    pub fn try_recv(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.recv_timeout(Duration::ZERO)
    }

    /// The next event, if one comes within `timeout`.
    ///
    /// # Errors
    /// [`Error::System`] when the sockets fail.
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
            state.recycle(slot);
        }
        loop {
            if let Some(slot) = Self::pop(&mut state, self.when_full) {
                self.current = Some(slot);
                if state.blocked {
                    state.blocked = false;
                    self.alarm.wake();
                }
                return Ok(true);
            }
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            match deadline {
                None => self.shared.filled.wait(&mut state),
                Some(deadline) => {
                    let timed_out = self.shared.filled.wait_until(&mut state, deadline).timed_out();
                    if timed_out && state.queue.is_empty() && state.dropped.is_empty() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn pop(state: &mut State, when_full: WhenFull) -> Option<Slot> {
        match state.queue.front() {
            // The oldest were dropped: they came before what is left.
            Some(front) if when_full == WhenFull::DropOldest => {
                let key = front.key;
                state.told(key).or_else(|| state.queue.pop_front())
            }
            Some(_) => state.queue.pop_front(),
            // Nothing is left that it could come before.
            None => {
                let key = *state.dropped.keys().next()?;
                state.told(key)
            }
        }
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.shared.state.lock().queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The counters, as of a moment ago.
    pub fn stats(&self) -> SubscriberStats {
        self.shared.state.lock().stats.clone()
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
    queue: Queue,
    topics: HashMap<Key, Arc<str>>,
}

impl Worker {
    fn run(mut self) {
        if let Err(error) = self.work() {
            let mut state = self.shared.state.lock();
            state.error = Some(error);
            self.shared.filled.notify_all();
        }
    }

    fn work(&mut self) -> Result<(), Error> {
        let mut since_counted = 0;
        loop {
            let full = {
                let mut state = self.shared.state.lock();
                if state.stop {
                    return Ok(());
                }
                let full =
                    self.queue.when_full == WhenFull::Block && state.queue.len() >= self.queue.capacity;
                state.blocked = full;
                full
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
        let spare = state.spare.pop();
        let slot = fill(self.driver.event(ready), spare, &mut self.topics);
        let key = slot.key;
        if state.queue.len() >= self.queue.capacity {
            match self.queue.when_full {
                WhenFull::Block => {}
                WhenFull::DropOldest => {
                    // Beginnings and ends of streams stay: there are few, and nothing else tells of them.
                    let oldest = state.queue.iter().position(|slot| slot.loss().is_some());
                    if let Some(oldest) = oldest.and_then(|oldest| state.queue.remove(oldest)) {
                        state.drop_slot(oldest);
                    }
                }
                WhenFull::DropNewest if slot.loss().is_some() => return state.drop_slot(slot),
                WhenFull::DropNewest => {}
            }
        }
        if self.queue.when_full == WhenFull::DropNewest
            && let Some(gap) = state.told(key)
        {
            state.queue.push_back(gap);
        }
        state.queue.push_back(slot);
        drop(state);
        self.shared.filled.notify_one();
    }
}

/// An event in memory of its own.
fn fill(event: Event<'_>, spare: Option<Slot>, topics: &mut HashMap<Key, Arc<str>>) -> Slot {
    let mut payload = spare.map(|slot| slot.payload).unwrap_or_default();
    payload.clear();
    let (topic, key, what) = match event {
        Event::Message(message) => {
            payload.extend_from_slice(message.payload);
            let Message { sequence, number, sent, received, .. } = message;
            (
                message.topic,
                (message.source, message.stream),
                What::Message { sequence, number, sent, received },
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
    let topic = match topics.get(&key) {
        Some(known) => Arc::clone(known),
        None => Arc::from(topic),
    };
    match what {
        What::End { .. } => {
            topics.remove(&key);
        }
        _ if !topics.contains_key(&key) => {
            topics.insert(key, Arc::clone(&topic));
        }
        _ => {}
    }
    Slot { what, topic, key, payload }
}
