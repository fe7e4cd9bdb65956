//! The publisher's state machine: all streams of one endpoint, without sockets, clock or threads.
//!
//! Input is [`open_stream`](Publisher::open_stream), [`send`](Publisher::send) and its like, [`handle_datagram`](Publisher::handle_datagram)
//! and [`handle_timeout`](Publisher::handle_timeout); output is [`poll_transmit`](Publisher::poll_transmit) (whose bytes
//! [`datagrams`](Publisher::datagrams) shows), [`poll_timeout`](Publisher::poll_timeout) and
//! [`poll_event`](Publisher::poll_event). After any input, transmit until there is nothing more to, then ask for the time-out.
//!
//! | room | what happens there |
//! |---|---|
//! | `stream`, `window` | messages become datagrams, and stay until they age out |
//! | `room` | where a datagram has its memory, and who has to wait for it |
//! | `bulk` | the same for messages that come in a tight loop, a run at a time |
//! | `feedback`, `places` | NAKs and status come in: repairs are queued, receivers gain and lose their standing |
//! | `transmit`, `run`, `shares` | every datagram that leaves is chosen and written here |
//! | `timers` | heartbeats, patience, receivers that fell silent |

mod bulk;
mod config;
mod events;
mod feedback;
mod places;
mod receivers;
mod room;
mod run;
mod shares;
mod stats;
mod stream;
mod timers;
mod transmit;
mod window;

pub use config::{Config, DATAGRAM, Flow};
pub use events::{Laggard, PublisherEvent, ReceiverState};
pub use stats::PublisherStats;
pub use timers::Reason;
pub use transmit::{To, Transmit};

use super::bucket::Bucket;
use super::pool::{Pool, Slots};
use super::time::Time;
use crate::wire::{FRAGMENT_LENGTH, HEADER_LENGTH, RECORD_LENGTH, ReceiverId};
use receivers::Receivers;
use shares::Shares;
use std::collections::VecDeque;
use std::time::Duration;
use stream::Stream;
use transmit::Outbox;

/// The smallest datagram a publisher may be set to: room for any announce.
pub const MIN_DATAGRAM: usize = 512;
/// Chunks of the transmit window are at least this large, so that a datagram of any size has its place.
const CHUNK_BYTES: usize = 32 << 10;
/// A window has at least this many chunks: one being filled, one being sent, and two to repair from.
const LEAST_CHUNKS: usize = 4;
/// After its first datagram a stream gives nothing up for this long, unless nobody is waited for: receivers that were
/// listening need a moment to be heard from, and nothing a publisher sends them may be missed.
pub const START_GRACE: Duration = Duration::from_millis(200);
/// Datagrams that may wait for the token bucket or the socket before `send` is refused: two full runs.
const BACKLOG: u64 = 128;
/// Bytes that are written to ahead at the most: what is more may leave the caches again before it is used.
const WARM: usize = 2 << 10;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Longer than a message may be.
    TooLong {
        /// The longest, bytes.
        max: usize,
    },
    /// Not now.
    BackPressured {
        /// What must come first.
        by: BackPressure,
    },
    /// The stream was closed.
    Closed,
}

/// What holds a publisher back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackPressure {
    /// A receiver in good standing has no room yet, or still needs what the window would lose.
    Receiver(ReceiverId),
    /// The rate set for the endpoint, or the socket, takes no more at present.
    Rate,
    /// The window is full, and receivers that may be listening had no time to be heard from.
    Start,
    /// The window has no memory left for this stream.
    Window,
    /// The rest of a large message is still on its way out.
    Message,
}

/// How far one can go on who was held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Onward {
    /// Not at all.
    No,
    /// By less than it pays to wake a thread for.
    Barely,
    /// By a run, or as far as can be hoped for; or it will not be held back for another reason.
    Well,
}

/// The state machine. See the module's documentation.
#[derive(Debug)]
pub struct Publisher {
    config: Config,
    layout: Slots,
    pool: Pool,
    /// The stream with id `n` stands at `n - 1`.
    streams: Vec<Stream>,
    receivers: Receivers,
    shares: Shares,
    outbox: Outbox,
    timers: timers::Timers,
    /// How many streams have a datagram being packed, and which may.
    packing: usize,
    begun: Vec<u32>,
    staged: bulk::Staged,
    /// How many streams have no chunk of the window.
    bare: usize,
    events: VecDeque<PublisherEvent>,
    stats: PublisherStats,
    started: Time,
    /// Repairs that those may yet ask for who never sent status.
    strangers: Bucket,
}

impl Publisher {
    /// A publisher without streams. The window's memory is taken here.
    ///
    /// # Panics
    /// When the configuration's datagram is outside [`MIN_DATAGRAM`]..=65,507: the builder refuses such.
    pub fn new(config: Config, now: Time) -> Publisher {
        assert!(
            (MIN_DATAGRAM..=crate::wire::MAX_DATAGRAM).contains(&config.datagram),
            "unchecked configuration"
        );
        let per_chunk = (CHUNK_BYTES / config.datagram).max(1);
        let staging = run::max_run(config.datagram) * config.datagram;
        let pool = Pool::new(config.window, per_chunk * config.datagram, LEAST_CHUNKS, staging);
        let layout = Slots::new(config.datagram, pool.chunk_size());
        Publisher {
            layout,
            streams: Vec::new(),
            receivers: Receivers::default(),
            shares: Shares::new(config.max_rate, now),
            outbox: Outbox::new(config.datagram),
            timers: timers::Timers::new(now),
            packing: 0,
            begun: Vec::with_capacity(16),
            staged: bulk::Staged::default(),
            bare: 0,
            events: VecDeque::new(),
            stats: PublisherStats::default(),
            started: now,
            strangers: Bucket::new(feedback::BUDGET_RATE, feedback::LEAST_BUDGET, now),
            pool,
            config,
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sets the difference between wall clock and monotonic clock anew.
    pub fn set_wall_offset(&mut self, offset: u64) {
        self.config.wall_offset = offset;
    }

    /// Opens a stream; `topic` was checked. Gives its id, or `None` when the window has no chunk left for it.
    pub fn open_stream(&mut self, topic: &str, now: Time) -> Option<u32> {
        let open = self.streams.iter().filter(|stream| !stream.released).count();
        if open >= self.pool.capacity() || self.streams.len() >= u32::MAX as usize - 1 {
            return None;
        }
        let id = self.streams.len() as u32 + 1;
        self.streams.push(Stream::new(id, topic, self.layout, now));
        self.bare += 1;
        self.announce(id);
        self.changed(id, now);
        Some(id)
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut((id as usize).checked_sub(1)?)
    }

    /// Most bytes of a message that goes as one record; larger ones go in fragments, or are too long.
    pub fn max_record(&self) -> usize {
        (self.config.datagram - HEADER_LENGTH - RECORD_LENGTH).min(self.config.max_message)
    }

    /// Bytes of records that a datagram takes.
    pub fn max_records(&self) -> usize {
        self.config.datagram - HEADER_LENGTH
    }

    /// The most datagrams the window can hold.
    fn capacity(&self) -> u64 {
        self.pool.capacity() as u64 * self.layout.per_chunk
    }

    /// Room for a message of `length` bytes, to be written in place and then counted with [`commit`](Self::commit).
    ///
    /// # Errors
    /// [`Refused::TooLong`] above [`max_record`](Self::max_record), and what `send` gives.
    pub fn claim(&mut self, id: u32, length: usize, now: Time) -> Result<&mut [u8], Refused> {
        if length > self.max_record() {
            return Err(Refused::TooLong { max: self.max_record() });
        }
        let datagram = self.config.datagram;
        let stream = self.stream(id).filter(|stream| !stream.closed).ok_or(Refused::Closed)?;
        if !stream.fits(length, datagram) {
            if !stream.staged.is_empty() {
                return Err(Refused::BackPressured { by: BackPressure::Message });
            }
            self.seal(id);
            self.reserve(id, now)?;
            self.begin(id, now);
        }
        let stream = &self.streams[id as usize - 1];
        stream.record(&mut self.pool, length).ok_or(Refused::Closed)
    }

    /// Writes to where the next datagram of a stream goes, if it has that already, as far as the last one went: the window is larger
    /// than the caches, and who waits for that memory now need not when there is something to send.
    pub fn prepare(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut((id as usize).wrapping_sub(1)) else { return };
        let length = stream.window.prepare().min(WARM);
        if let Some(place) = stream.window.place(stream.window.next()).filter(|_| !stream.is_packing()) {
            self.pool.bytes_mut(place.chunk, place.offset, length).fill(0);
        }
    }

    /// The room that `claim` gave last, once more.
    pub fn claimed_mut(&mut self, id: u32, length: usize) -> &mut [u8] {
        let stream = self.streams.get((id as usize).wrapping_sub(1));
        stream.and_then(|stream| stream.record(&mut self.pool, length)).unwrap_or_default()
    }

    /// The same, to read.
    pub fn claimed(&self, id: u32, length: usize) -> &[u8] {
        let stream = self.streams.get((id as usize).wrapping_sub(1));
        stream.and_then(|stream| stream.written(&self.pool, length)).unwrap_or_default()
    }

    /// Counts the message whose bytes were written into what `claim` gave.
    pub fn commit(&mut self, id: u32, length: usize) {
        let datagram = self.config.datagram;
        if let Some(stream) = self.stream(id) {
            stream.commit(length);
            if stream.room(datagram) <= RECORD_LENGTH {
                self.seal(id);
            }
            self.stats.messages += 1;
            self.stats.bytes += length as u64;
        }
    }

    /// Takes a message. What does not fit in a datagram goes in fragments: as many as may be sent now, the rest as
    /// room comes.
    ///
    /// # Errors
    /// Nothing was taken.
    pub fn send(&mut self, id: u32, message: &[u8], now: Time) -> Result<(), Refused> {
        if message.len() <= self.max_record() {
            self.claim(id, message.len(), now)?.copy_from_slice(message);
            self.commit(id, message.len());
            return Ok(());
        }
        if message.len() > self.config.max_message {
            return Err(Refused::TooLong { max: self.config.max_message });
        }
        let stream = self.stream(id).filter(|stream| !stream.closed).ok_or(Refused::Closed)?;
        if !stream.staged.is_empty() {
            return Err(Refused::BackPressured { by: BackPressure::Message });
        }
        self.seal(id);
        self.reserve(id, now)?;
        let sent = self.fragments(id, message, 0, message.len(), now);
        if let Some(stream) = self.stream(id) {
            stream.staged.hold(message, sent);
        }
        self.outbox.staging |= sent < message.len();
        self.stats.messages += 1;
        self.stats.bytes += message.len() as u64;
        Ok(())
    }

    /// Writes `bytes`, which lie at `offset` of a message of `total`, as fragments while there is room; gives how many
    /// bytes went.
    fn fragments(&mut self, id: u32, bytes: &[u8], offset: usize, total: usize, now: Time) -> usize {
        let most = self.config.datagram - HEADER_LENGTH - FRAGMENT_LENGTH;
        let mut at = 0;
        while at < bytes.len() && self.reserve(id, now).is_ok() {
            let end = bytes.len().min(at + most);
            self.streams[id as usize - 1].fragment(&mut self.pool, &bytes[at..end], offset + at, total);
            self.enqueue(id);
            at = end;
        }
        at
    }

    /// Goes on with the large messages of which a rest is staged.
    fn unstage(&mut self, now: Time) {
        if !self.outbox.staging {
            return;
        }
        self.outbox.staging = false;
        for id in 1..=self.streams.len() as u32 {
            let mut staged = std::mem::take(&mut self.streams[id as usize - 1].staged);
            let (rest, offset, total) = staged.rest();
            let sent = self.fragments(id, rest, offset, total, now);
            staged.advance(sent);
            self.outbox.staging |= !staged.is_empty();
            self.streams[id as usize - 1].staged = staged;
        }
    }

    /// Seals what is being packed, so that it leaves with the next transmit.
    pub fn flush(&mut self, id: u32) {
        self.seal(id);
    }

    /// The same for all other streams: what waited for others goes with what is sent now.
    pub fn flush_others(&mut self, id: u32) {
        if self.packing == usize::from(self.pending(id).1) {
            return;
        }
        let mut begun = std::mem::take(&mut self.begun);
        begun.retain(|&other| {
            if other != id {
                self.seal(other);
                self.streams[other as usize - 1].listed = false;
            }
            other == id
        });
        self.begun = begun;
    }

    fn seal(&mut self, id: u32) {
        if let Some(stream) = self.stream(id)
            && stream.is_packing()
        {
            stream.seal();
            self.packing -= 1;
            if self.packing == 0 {
                self.timers.flush_by_none();
            }
            self.enqueue(id);
        }
    }

    /// Puts a stream with something to transmit in the row of those.
    fn enqueue(&mut self, id: u32) {
        if let Some(stream) = self.stream(id)
            && stream.backlog() > 0
            && !stream.queued
        {
            stream.queued = true;
            self.outbox.ready.push_back(id);
        }
    }

    /// Whether live data waits to be transmitted.
    pub fn has_live(&self) -> bool {
        !self.outbox.ready.is_empty()
    }

    /// Whether something waits that is not sent because of the rate.
    pub fn is_waiting(&self) -> bool {
        self.outbox.waits()
    }

    /// As many streams as the window has room for.
    pub fn max_streams(&self) -> usize {
        self.pool.capacity()
    }

    /// Datagrams of a stream that wait to be transmitted, and whether another is being packed.
    pub fn pending(&self, id: u32) -> (u64, bool) {
        match self.streams.get((id as usize).wrapping_sub(1)) {
            Some(stream) => (stream.backlog(), stream.is_packing()),
            None => (0, false),
        }
    }

    /// Most datagrams that go out in one run.
    pub fn max_run(&self) -> u64 {
        run::max_run(self.config.datagram) as u64
    }

    /// Ends a stream: no message is taken any more, receivers are told, and what is in the window can still be repaired.
    pub fn close_stream(&mut self, id: u32, now: Time) {
        self.seal(id);
        if let Some(stream) = self.stream(id)
            && !stream.closed
        {
            stream.closed = true;
            stream.promised = 0;
            self.changed(id, now);
            self.end_soon(id);
        }
    }

    /// Whether everything of a stream was transmitted, and every receiver it has says that it has everything; of a
    /// closed one, its end too.
    pub fn is_complete(&self, id: u32) -> bool {
        let Some(stream) = self.streams.get((id as usize).wrapping_sub(1)) else { return true };
        let sent = stream.staged.is_empty() && stream.backlog() == 0 && !stream.is_packing();
        sent && stream.places.iter().all(|place| stream.has_all(place))
    }

    /// The messages of a stream that were not transmitted, or not all of them.
    pub fn unsent(&self, id: u32) -> u64 {
        self.streams.get((id as usize).wrapping_sub(1)).map_or(0, Stream::unsent_messages)
    }

    /// The receivers of a stream that do not have everything yet.
    pub fn laggards(&self, id: u32) -> Vec<Laggard> {
        let Some(stream) = self.streams.get((id as usize).wrapping_sub(1)) else { return Vec::new() };
        let behind = stream.places.iter().filter(|place| !stream.has_all(place));
        behind
            .map(|place| Laggard {
                receiver: place.receiver,
                address: self.receivers.address(place.receiver),
                datagrams: (stream.lead() + 1).saturating_sub(place.position),
            })
            .collect()
    }

    /// Gives a closed stream's memory back. Receivers that still ask are told that it is gone, and over.
    pub fn release_stream(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut((id as usize).wrapping_sub(1)) else { return };
        if !stream.closed || stream.released {
            return;
        }
        stream.released = true;
        stream.held = None;
        stream.unsent = stream.window.next();
        // Parts of what is left of a large message are out, so it counts.
        stream.next_message += u64::from(!stream.staged.is_empty());
        stream.staged = stream::Staged::default();
        stream.places = places::Places::default();
        self.bare -= usize::from(stream.window.chunks() == 0);
        for chunk in stream.window.clear() {
            self.pool.give(chunk);
        }
    }

    /// Bytes of the window that are in use.
    pub fn memory_in_use(&self) -> usize {
        (self.pool.capacity() - self.pool.left()) * self.pool.chunk_size()
    }

    /// How many receivers a stream has.
    pub fn receivers_of(&self, id: u32) -> usize {
        self.streams.get((id as usize).wrapping_sub(1)).map_or(0, |stream| stream.places.len())
    }

    /// What is known of every receiver.
    pub fn receivers(&self) -> Vec<ReceiverState> {
        self.receivers
            .iter()
            .map(|(id, receiver)| ReceiverState {
                id,
                address: receiver.address,
                round_trip: receiver.round_trip.value(),
                quarantined: receiver.quarantined,
                good_standing: self
                    .streams
                    .iter()
                    .all(|stream| stream.places.get(id).is_none_or(|place| place.standing)),
            })
            .collect()
    }

    /// The counters.
    pub fn stats(&self) -> PublisherStats {
        PublisherStats {
            receivers: self.receivers.len() as u64,
            round_trip_ns: u64::from(self.receivers.round_trip_wire()),
            ..self.stats.clone()
        }
    }

    /// Counts what happened at the socket.
    pub fn count_socket(&mut self, count: impl FnOnce(&mut PublisherStats)) {
        count(&mut self.stats);
    }

    /// The next thing the application may want to know.
    pub fn poll_event(&mut self) -> Option<PublisherEvent> {
        self.events.pop_front()
    }

    fn event(&mut self, event: PublisherEvent) {
        if self.events.len() == events::MOST {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }
}
