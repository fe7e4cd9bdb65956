//! The publishing side of the public face.

use crate::config::{PublisherBuilder, check_topic};
use crate::driver::{Inlet, Pushed, Service, Shared, Working};
use crate::error::{Error, SendError, TooFew, Unconfirmed};
use crate::net::{BufferWarning, Interface};
use crate::protocol::Time;
use crate::protocol::publisher::{
    BackPressure, Laggard, PublisherEvent, PublisherStats, ReceiverState, Refused, START_GRACE,
};
use crate::wire::SourceId;
use parking_lot::MutexGuard;
use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// How long dropping a publisher waits for subscribers that lack something: as long as the default patience, for who makes no
/// progress by then is not waited for at other times either.
const DROP_LINGER: Duration = Duration::from_secs(1);

/// A publishing endpoint: one socket, one transmit window and one service thread, shared by the publishers of as many
/// topics as the window has room for. It lives as long as any of its handles and publishers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    service: Arc<Service>,
}

impl Endpoint {
    /// Opens an endpoint with the settings of a builder, whose topic does not matter here.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Memory`], [`Error::Interface`], [`Error::Socket`], [`Error::System`].
    pub fn open(builder: PublisherBuilder) -> Result<Endpoint, Error> {
        Ok(Endpoint { service: Arc::new(builder.start()?) })
    }

    /// Opens a stream for a topic. Two publishers of one topic are two streams.
    ///
    /// # Errors
    /// [`Error::Topic`], [`Error::TooManyTopics`].
    pub fn publisher(&self, topic: impl Into<String>) -> Result<Publisher, Error> {
        let topic = topic.into();
        check_topic(&topic)?;
        let shared = &self.service.shared;
        let mut working = shared.lock();
        let now = shared.clock.now();
        let Some(stream) = working.publisher.open_stream(&topic, now) else {
            return Err(Error::TooManyTopics { max: working.publisher.max_streams() });
        };
        let inlet = working.connect(stream);
        shared.transmit(&mut working);
        drop(working);
        Ok(Publisher { endpoint: self.clone(), topic, stream, inlet, opened: now, open: true })
    }

    /// Topics that the window has room for at a time.
    pub fn max_topics(&self) -> usize {
        self.shared().lock().publisher.max_streams()
    }

    /// This run's id: random, never used again.
    pub fn source_id(&self) -> SourceId {
        self.shared().lock().publisher.config().source
    }

    /// The address that data comes from and NAKs go to.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().socket.local_addr()
    }

    /// The interface it sends on.
    pub fn interface(&self) -> Option<&Interface> {
        self.shared().socket.interface()
    }

    /// What an operator should know: a receive buffer, for NAKs and status, that was granted smaller than asked.
    pub fn warnings(&self) -> Vec<BufferWarning> {
        self.shared().socket.buffer_warning().into_iter().collect()
    }

    /// The counters, of all its topics together.
    pub fn stats(&self) -> PublisherStats {
        let shared = self.shared();
        let mut working = shared.lock();
        working.take_in_all(shared.clock.now());
        working.publisher.stats()
    }

    /// The subscribers that are known.
    pub fn receivers(&self) -> Vec<ReceiverState> {
        self.shared().lock().publisher.receivers()
    }

    /// The next thing that happened to a subscriber. The last 1,024 are kept.
    pub fn poll_event(&self) -> Option<PublisherEvent> {
        self.shared().lock().publisher.poll_event()
    }

    /// Does what the service thread would: answers NAKs, keeps time, sends what waits and is due. For an application whose
    /// publishing thread has a loop of its own and never sleeps: while that calls this at least every millisecond, as often as
    /// it likes, the service thread leaves its processors alone, but where a NAK asks for very much. Most calls take a fraction
    /// of a microsecond; one in 16 us receives, too.
    ///
    /// When it calls no more, the service thread takes over 10 ms after the last call, and at once where a call of the
    /// endpoint's waits; what was due meanwhile (a heartbeat, the answer to a NAK, the last messages of a tight loop) is late by
    /// as much. Linux; elsewhere it does nothing.
    pub fn tend(&self) {
        self.shared().tend();
    }

    fn shared(&self) -> &Shared {
        &self.service.shared
    }
}

/// Publishes messages on one topic.
///
/// A message that comes alone leaves at once, on the caller's thread. Messages that come faster than the system can send
/// them share datagrams and system calls; how long is the builder's `max_delay`, which says more. Dropping a publisher closes it,
/// waiting at most a second for subscribers known to lack something. While panicking it neither waits nor ends the stream:
/// what was sent is no whole, and subscribers find the source silent once its endpoint is gone.
#[derive(Debug)]
pub struct Publisher {
    endpoint: Endpoint,
    topic: String,
    stream: u32,
    inlet: Inlet,
    opened: Time,
    open: bool,
}

impl Publisher {
    /// Settings for a publisher on `group`, a multicast address and port.
    pub fn builder(group: SocketAddr) -> PublisherBuilder {
        PublisherBuilder::new(group)
    }

    /// The endpoint it belongs to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Largest message it takes, bytes.
    pub fn max_message(&self) -> usize {
        self.endpoint.shared().lock().publisher.config().max_message
    }

    /// The id of its stream at this endpoint's source.
    pub fn stream_id(&self) -> u32 {
        self.stream
    }

    /// Publishes a message. Waits while the slowest subscriber in good standing has no room, or 128 datagrams wait for the rate; in the topic's first
    /// 200 ms also when its window is full, so that subscribers have the time to be heard from. Where these take long, so does it.
    ///
    /// # Errors
    /// [`SendError::TooLong`], [`SendError::Closed`], [`SendError::Datagram`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send_inner(message, None)
    }

    /// The same, but waits at most for `timeout`: for a thread that has something else to look after.
    ///
    /// # Errors
    /// [`SendError::BackPressured`] says who held it back for so long; and those of [`send`](Self::send).
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.send_inner(message, Some(timeout))
    }

    /// Publishes a message if that can be done now.
    ///
    /// # Errors
    /// [`SendError::BackPressured`] says who holds it back; and those of [`send`](Self::send).
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.send_inner(message, Some(Duration::ZERO))
    }

    #[inline]
    fn send_inner(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<(), SendError> {
        match self.inlet.push(message) {
            Pushed::Yes => Ok(()),
            pushed => self.send_on(pushed, message, timeout),
        }
    }

    /// The same for a message that cannot just be [pushed](Inlet::push); apart from it, for most can.
    #[inline(never)]
    fn send_on(
        &mut self,
        pushed: Pushed,
        message: &[u8],
        timeout: Option<Duration>,
    ) -> Result<(), SendError> {
        let shared = &*self.endpoint.service.shared;
        match pushed {
            Pushed::Yes => return Ok(()),
            Pushed::Look => {
                let now = shared.clock.now();
                if !self.inlet.may_wait(now) {
                    let mut working = shared.lock();
                    working.pace.goes_on(&mut self.inlet, now);
                    shared.depart(&mut working, &mut self.inlet, self.stream, now);
                }
                return Ok(());
            }
            Pushed::Alone => {
                // Who closed it has the lock, maybe for long: to wait for that is no pause.
                let called = shared.clock.now();
                let mut working = shared.lock();
                let now = shared.clock.now();
                let goes_on = working.pace.pass(&mut self.inlet);
                self.inlet.look(if goes_on { now } else { called }, 0);
                working.enter(&mut self.inlet, self.stream, now);
                shared.dispatch(&mut working, &mut self.inlet, self.stream, now);
                return Ok(());
            }
            Pushed::Full | Pushed::No => {}
        }
        let mut working = shared.lock();
        let mut now = shared.clock.now();
        working.pace.pass(&mut self.inlet);
        self.look(&mut working)?;
        if pushed == Pushed::Full {
            shared.depart(&mut working, &mut self.inlet, self.stream, now);
            if self.inlet.push(message).is_taken() {
                return Ok(());
            }
            now = shared.clock.now();
        }
        working.enter(&mut self.inlet, self.stream, now);
        // Where a run left just now, the clock was looked at then.
        let mut counts = pushed == Pushed::No;
        let mut until = None;
        let mut tried = false;
        while let Err(refused) = working.publisher.send(self.stream, message, now) {
            // Reckoned from the first refusal: most messages meet none.
            until = until.or(timeout.map(|timeout| now + timeout));
            self.refused(&mut working, refused, until, &mut tried)?;
            self.look(&mut working)?;
            now = shared.clock.now();
            // It was the application that waited, and not the messages for it.
            working.pace.goes_on(&mut self.inlet, now);
            counts = false;
        }
        if counts {
            self.inlet.look(now, 1);
        }
        shared.dispatch(&mut working, &mut self.inlet, self.stream, now);
        Ok(())
    }

    /// Room for a message of `length` bytes, to be written in place. It is published when the claim is committed, and not at all
    /// when that is dropped. The endpoint stands still meanwhile, so write it at once, and call nothing else of the endpoint on this thread before. Waits as [`send`](Self::send) does.
    ///
    /// # Errors
    /// [`SendError::TooLong`] when the message would not fit in one datagram; [`SendError::Closed`],
    /// [`SendError::Datagram`].
    pub fn claim(&mut self, length: usize) -> Result<Claim<'_>, SendError> {
        let shared = &*self.endpoint.service.shared;
        let mut working = shared.lock();
        working.enter(&mut self.inlet, self.stream, shared.clock.now());
        let mut tried = false;
        loop {
            self.look(&mut working)?;
            let now = shared.clock.now();
            match working.publisher.claim(self.stream, length, now).map(|_| ()) {
                Ok(()) => {
                    let (inlet, stream) = (&mut self.inlet, self.stream);
                    return Ok(Claim { shared, working, inlet, stream, length });
                }
                Err(refused) => {
                    self.refused(&mut working, refused, None, &mut tried)?;
                    working.pace.goes_on(&mut self.inlet, shared.clock.now());
                }
            }
        }
    }

    /// The lock, when all that was sent was taken in.
    fn lock(&self) -> MutexGuard<'_, Working> {
        let shared = &*self.endpoint.service.shared;
        let mut working = shared.lock();
        working.take_in(self.stream, shared.clock.now());
        working
    }

    /// The error that an earlier datagram met, once.
    fn look(&self, working: &mut MutexGuard<'_, Working>) -> Result<(), SendError> {
        working.take_too_long().map_or(Ok(()), |error| Err(SendError::Datagram(error)))
    }

    /// What to do about a message that was not taken: wait for room, or tell once it is time.
    fn refused(
        &self,
        working: &mut MutexGuard<'_, Working>,
        refused: Refused,
        until: Option<Time>,
        tried: &mut bool,
    ) -> Result<(), SendError> {
        let shared = self.endpoint.shared();
        match refused {
            Refused::TooLong { max } => Err(SendError::TooLong { max }),
            Refused::Closed => Err(SendError::Closed),
            Refused::BackPressured { by } => {
                // What is here must be on its way before anything is waited for, and may make the room itself.
                if !std::mem::replace(tried, true) {
                    working.publisher.flush(self.stream);
                    working.look_at_once();
                    if by == BackPressure::Window {
                        // What others made sure of, and do not come to use, is given back.
                        working.close_inlets(shared.clock.now());
                    }
                    shared.transmit(working);
                    return Ok(());
                }
                *tried = false;
                working.arm(shared);
                if until.is_some_and(|until| until.is_due(shared.clock.now())) {
                    return Err(SendError::BackPressured { by });
                }
                shared.wait_for_room(working, self.stream, until);
                Ok(())
            }
        }
    }

    /// Sends what was taken on this topic and waits for others to share its datagram, and with it what waits on the endpoint's other
    /// topics, unless the rate or the socket leaves things behind. Where nothing does on this one, it does nothing.
    ///
    /// # Errors
    /// [`SendError::Datagram`], of messages that were taken before: they will not get through.
    pub fn flush(&mut self) -> Result<(), SendError> {
        let shared = self.endpoint.shared();
        let mut working = self.lock();
        if working.publisher.pending(self.stream) != (0, false) {
            working.publisher.flush(self.stream);
            shared.transmit_with_others(&mut working, self.stream, shared.clock.now());
        }
        self.look(&mut working)
    }

    /// Waits until `receivers` subscribers of this topic were heard from, at most for `timeout`.
    ///
    /// # Errors
    /// How many there are, when the time is over. It is looked once more then, so a time of zero only looks.
    pub fn wait_for(&mut self, receivers: usize, timeout: Option<Duration>) -> Result<(), TooFew> {
        let shared = self.endpoint.shared();
        let mut working = self.lock();
        let until = timeout.map(|timeout| shared.clock.now() + timeout);
        let mut here = 0;
        let enough = shared.wait_for(&mut working, until, |publisher| {
            here = publisher.receivers_of(self.stream);
            here >= receivers
        });
        if enough { Ok(()) } else { Err(TooFew { receivers: here, waited: timeout.unwrap_or_default() }) }
    }

    /// Whether the topic's start is over: 200 ms have passed since its first message left, in which subscribers that were listening
    /// could be heard from. Until then nothing is given up for what follows, and where the window is full before that, a message
    /// waits ([`BackPressure::Start`]). Waits for it, at most for `timeout`; where nothing has left until then, it is not.
    pub fn is_started(&self, timeout: Duration) -> bool {
        let shared = self.endpoint.shared();
        let mut working = self.lock();
        let until = shared.clock.now() + timeout;
        loop {
            let over = working.publisher.start_over(self.stream);
            let now = shared.clock.now();
            if over.is_some_and(|over| over.is_due(now)) {
                return true;
            }
            if until.is_due(now) {
                return false;
            }
            shared.wait(&mut working, Some(over.map_or(until, |over| over.min(until))));
        }
    }

    /// How many subscribers of this topic are known.
    pub fn receivers(&self) -> usize {
        self.endpoint.shared().lock().publisher.receivers_of(self.stream)
    }

    /// The subscribers of this topic that have not confirmed everything.
    pub fn laggards(&self) -> Vec<Laggard> {
        self.lock().publisher.laggards(self.stream)
    }

    /// The messages of this topic that were taken and have not all left: the rate ([`max_rate`](crate::PublisherBuilder::max_rate)) or the
    /// socket has not let them yet, or a subscriber holds the rest of a large one back.
    pub fn unsent(&self) -> u64 {
        self.lock().publisher.unsent(self.stream)
    }

    /// Ends the stream without waiting: nothing is taken any more ([`SendError::Closed`]), what was taken is still repaired. With
    /// [`is_complete`](Self::is_complete) it makes a [`close`](Self::close) that can be broken off, and ends many streams at
    /// once.
    pub fn end(&mut self) {
        self.inlet.shut();
        let shared = self.endpoint.shared();
        let mut working = self.lock();
        working.publisher.close_stream(self.stream, shared.clock.now());
        shared.transmit(&mut working);
        working.arm(shared);
    }

    /// Whether every known subscriber of this topic has everything, and after [`end`](Self::end) its end too. Waits for
    /// that, at most for `timeout`.
    pub fn is_complete(&self, timeout: Duration) -> bool {
        let shared = self.endpoint.shared();
        let mut working = self.lock();
        let until = shared.clock.now() + timeout;
        shared.wait_for(&mut working, Some(until), |publisher| publisher.is_complete(self.stream))
    }

    /// Ends the stream: waits, at most for `linger`, until every known subscriber has everything, and the end of the stream
    /// too. One that falls silent meanwhile is known no longer after ten idle intervals, or the patience where that is more
    /// ([`PublisherEvent::Left`] tells). A stream that was opened less than 200 ms ago is stayed for that long, so that subscribers that were listening
    /// have the time to be heard from.
    ///
    /// # Errors
    /// Who has not, and what had not left by then, which never will.
    pub fn close(mut self, linger: Duration) -> Result<(), Unconfirmed> {
        self.finish(linger, true)
    }

    fn finish(&mut self, linger: Duration, grace: bool) -> Result<(), Unconfirmed> {
        if !std::mem::replace(&mut self.open, false) {
            return Ok(());
        }
        self.inlet.shut();
        let shared = self.endpoint.shared();
        let mut working = self.lock();
        let now = shared.clock.now();
        let until = now + linger;
        let heard = if grace { until.min(self.opened + START_GRACE) } else { now };
        working.publisher.close_stream(self.stream, now);
        shared.transmit(&mut working);
        working.arm(shared);
        loop {
            let complete = working.publisher.is_complete(self.stream);
            let wait_until = if complete { heard } else { until };
            if wait_until.is_due(shared.clock.now()) {
                break;
            }
            shared.wait(&mut working, Some(wait_until));
        }
        let laggards = working.publisher.laggards(self.stream);
        let unsent = working.publisher.unsent(self.stream);
        let complete = working.publisher.is_complete(self.stream);
        working.publisher.release_stream(self.stream);
        working.forget(self.stream);
        // There may be who waits for its memory.
        shared.tell(&mut working);
        if complete { Ok(()) } else { Err(Unconfirmed { laggards, unsent }) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It was not to end here: subscribers are not told that this is all. They find the source silent.
            let _unsent = self.flush();
            return;
        }
        if let Err(unconfirmed) = self.finish(DROP_LINGER, false) {
            tracing::warn!(topic = self.topic, "dropped a publisher: {unconfirmed}");
        }
    }
}

/// Room for a message in the transmit window: write to it, then [`commit`](Self::commit).
pub struct Claim<'p> {
    shared: &'p Shared,
    working: MutexGuard<'p, Working>,
    inlet: &'p mut Inlet,
    stream: u32,
    length: usize,
}

impl Claim<'_> {
    /// Publishes the message.
    pub fn commit(mut self) {
        self.working.publisher.commit(self.stream, self.length);
        let now = self.shared.clock.now();
        self.working.pace.pass(self.inlet);
        self.inlet.look(now, 1);
        self.shared.dispatch(&mut self.working, self.inlet, self.stream, now);
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.working.publisher.claimed(self.stream, self.length)
    }
}

impl DerefMut for Claim<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.working.publisher.claimed_mut(self.stream, self.length)
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("stream", &self.stream)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
