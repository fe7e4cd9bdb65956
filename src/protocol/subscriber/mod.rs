//! The subscriber's state machine: all sources and streams of one subscription, without sockets, clock or threads.
//!
//! Input is [`handle_datagram`](Subscriber::handle_datagram) and [`handle_timeout`](Subscriber::handle_timeout); output is
//! [`advance`](Subscriber::advance) (what happened; [`event`](Subscriber::event) shows it), [`rest`](Subscriber::rest) (many
//! messages at once, to be followed by `advance`),
//! [`poll_transmit`](Subscriber::poll_transmit) (whose bytes [`datagram`](Subscriber::datagram) shows) and
//! [`poll_timeout`](Subscriber::poll_timeout).
//!
//! After each datagram, call `advance` with it until it gives `None`: messages that come in order are shown straight out of
//! it. A caller that must take the next datagram before it has taken all events calls [`park`](Subscriber::park) first;
//! nothing is lost then, it is only copied. Time-outs are handled when no datagram is left to read, so that silence is
//! never found where there is only a queue.
//!
//! | room | what happens there |
//! |---|---|
//! | `data` | data and repairs come in: gaps are found and filled |
//! | `control` | announces, heartbeats, NCFs and ends come in: streams begin and end |
//! | `gaps` | what is missing, and when to ask for it |
//! | `hungry` | messages in parts wait for the memory of others |
//! | `deliver` | what is here goes to the application, under its contract |
//! | `transmit` | NAKs are written |
//! | `status` | publishers are told how far each stream is, and how far they may go |
//! | `timers` | deadlines, sources that fell silent |

mod assembly;
mod config;
mod control;
mod data;
mod deliver;
mod gaps;
mod hungry;
mod ids;
mod reorder;
mod source;
mod stats;
mod status;
mod stream;
mod timers;
mod transmit;

pub use config::{Config, Contract, StartAt};
pub use deliver::Ready;
pub use stats::SubscriberStats;
pub use timers::Reason;
pub use transmit::Transmit;

use super::crowd;
use super::pool::Pool;
use super::time::{Time, nanos};
use crate::wire::{Datagram, Header, Invalid, Kind, Position, SourceId, topic};
use assembly::Memory;
use source::{Known, Source, Unnamed};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use stream::{Content, Stream};

/// Chunks of the reorder buffer: any datagram fits in one.
const CHUNK: usize = 64 << 10;
/// The reorder buffer has at least this many chunks.
const LEAST_CHUNKS: usize = 4;
/// So many sources that were forgotten are known again.
const MOST_DEPARTED: usize = 256;
/// Streams of one source whose names may be asked for at a time.
const MOST_UNNAMED: usize = 4_096;

/// The state machine. See the module's documentation.
#[derive(Debug)]
pub struct Subscriber {
    config: Config,
    opened: Time,
    pool: Pool,
    sources: Vec<Option<Source>>,
    by_id: HashMap<SourceId, usize>,
    /// A publisher's endpoint has a socket of its own, so an address names one source: the last that began there.
    by_address: HashMap<SocketAddr, usize>,
    streams: Vec<Option<Stream>>,
    /// Streams with something to deliver; and how many datagrams were delivered of the first of them in its turn.
    ready: VecDeque<usize>,
    turn: u32,
    /// Streams that miss something.
    lossy: Vec<usize>,
    /// Streams whose next message waits for memory, in line.
    hungry: Vec<hungry::Hungry>,
    /// Source and stream of names and states that are asked for, by when; one that was answered meanwhile stays until then.
    asking: BinaryHeap<Reverse<(Time, usize, u32)>>,
    /// Streams whose publishers are to be told of them.
    telling: VecDeque<usize>,
    /// A stream is over, and its publisher was told so, since this was looked at.
    ends_told: bool,
    /// Sources that were forgotten with streams that were subscribed to, the last of them last.
    departed: VecDeque<SourceId>,
    /// Sources whose streams ended long ago, and which do not know that this is known: the stream, and its last number.
    ended: Vec<(usize, u32, u64)>,
    /// Memory left for messages in parts.
    reassembly: Memory,
    /// The stream that the datagram which was handled last is delivered of, if it is at once.
    at_hand: Option<usize>,
    /// The one datagram whose delivery was interrupted.
    parked: Vec<u8>,
    /// The stream of the last data datagram: the next is mostly of the same.
    recent: Option<(SourceId, u32, usize, usize)>,
    /// Streams that data came of lately share the receive buffer; how many others there are.
    busy: u64,
    resting: u64,
    /// When the kernel had the datagram that is handled, nanoseconds since 1970; 0 where that is not told.
    kernel: u64,
    random: fastrand::Rng,
    buffer: Box<[u8]>,
    /// What a status message will say: memory used again.
    positions: Vec<Position>,
    /// Something is to be sent without waiting for a time-out.
    urgent: bool,
    /// When the status of all sources is looked at.
    tick: Time,
    /// The least time between two looks.
    interval: Duration,
    stats: SubscriberStats,
}

impl Subscriber {
    /// A subscription that has heard nothing yet. The reorder buffer's memory is taken here.
    pub fn new(config: Config, now: Time) -> Subscriber {
        Subscriber {
            opened: now,
            pool: Pool::new(config.reorder, CHUNK, LEAST_CHUNKS, 0),
            sources: Vec::new(),
            by_id: HashMap::new(),
            by_address: HashMap::new(),
            streams: Vec::new(),
            ready: VecDeque::with_capacity(16),
            turn: 0,
            lossy: Vec::with_capacity(16),
            hungry: Vec::new(),
            asking: BinaryHeap::new(),
            telling: VecDeque::with_capacity(16),
            ends_told: false,
            departed: VecDeque::new(),
            ended: Vec::new(),
            reassembly: Memory::new(config.reassembly),
            at_hand: None,
            parked: Vec::new(),
            recent: None,
            busy: 0,
            resting: 0,
            kernel: 0,
            random: fastrand::Rng::with_seed(config.seed),
            buffer: vec![0; transmit::DATAGRAM].into(),
            positions: Vec::with_capacity(status::MOST_POSITIONS),
            urgent: false,
            tick: Time::NEVER,
            interval: crowd::silence(0),
            stats: SubscriberStats::default(),
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

    /// The counters.
    pub fn stats(&self) -> SubscriberStats {
        SubscriberStats {
            sources: self.by_id.len() as u64,
            nak_timeout_ns: self
                .sources
                .iter()
                .flatten()
                .map(Source::nak_timeout)
                .map(nanos)
                .max()
                .unwrap_or(0),
            streams: self.streams.iter().flatten().filter(|stream| !stream.over).count() as u64,
            ..self.stats.clone()
        }
    }

    /// Whether `advance` may have something to give.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || self.may_feed()
    }

    /// Bytes of the memory for what waits that are in use: datagrams, messages in parts.
    pub fn memory_in_use(&self) -> (usize, usize) {
        let chunks = self.pool.capacity() - self.pool.left();
        (chunks * self.pool.chunk_size(), self.config.reassembly.saturating_sub(self.reassembly.left()))
    }

    /// Counts what happened at the sockets.
    pub fn count_socket(&mut self, count: impl FnOnce(&mut SubscriberStats)) {
        count(&mut self.stats);
    }

    /// When the kernel had the datagrams that are handled from now on, nanoseconds since 1970; 0, as at first, where that is not
    /// told.
    #[inline]
    pub fn set_kernel_time(&mut self, nanos: u64) {
        self.kernel = nanos;
    }

    /// Takes a datagram that came to one of the subscriber's sockets.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let datagram = match Datagram::parse(bytes) {
            Ok(datagram) => datagram,
            Err(invalid) => return self.refuse(invalid),
        };
        let header = &datagram.header;
        if !matches!(
            header.kind,
            Kind::Data | Kind::Repair | Kind::Announce | Kind::Heartbeat | Kind::Ncf | Kind::End
        ) || header.source == SourceId(0)
        {
            self.stats.unexpected += 1;
            return;
        }
        // The same stream as the last time.
        let recent =
            self.recent.filter(|&(source, stream, ..)| source == header.source && stream == header.stream);
        let is_data = matches!(header.kind, Kind::Data | Kind::Repair);
        if is_data && recent.is_none() && self.passes_by(now, from, header) {
            return;
        }
        // Of what is refused nothing is believed, not even that its source lives.
        let content = match is_data {
            true => Content::parse(&datagram).map(Some),
            false => datagram.body().map(|_| None),
        };
        let content = match content {
            Ok(content) => content,
            Err(invalid) => return self.refuse(invalid),
        };
        // From where it always comes.
        if let Some(content) = content
            && let Some((_, _, source, stream)) = recent
            && let Some(known) = &mut self.sources[source]
            && known.address == from
            && !known.gone
        {
            known.hear(now, header);
            self.accept(now, stream, &datagram, content, bytes);
            return;
        }
        let Some(source) = self.meet(now, from, &datagram) else { return };
        if let Some(content) = content {
            return self.handle_data(now, source, &datagram, content, bytes);
        }
        let outcome = match header.kind {
            Kind::Announce => self.handle_announce(now, source, &datagram),
            Kind::Heartbeat => self.handle_heartbeat(now, source, &datagram),
            Kind::Ncf => self.handle_ncf(now, source, &datagram),
            _ => self.handle_end(now, source, &datagram),
        };
        if let Err(invalid) = outcome {
            self.refuse(invalid);
        }
    }

    /// Whether data is of a stream that nobody wants: it says that its source lives, and is not looked into.
    fn passes_by(&mut self, now: Time, from: SocketAddr, header: &Header) -> bool {
        let Some(&index) = self.by_id.get(&header.source) else { return false };
        let Some(source) = self.sources[index].as_mut() else { return false };
        let is_ignored = matches!(source.known(header.stream), Some(Known::Ignored));
        let passes = is_ignored && source.address == from && !source.gone && !source.replaced;
        if passes {
            source.hear(now, header);
            self.stats.ignored += 1;
        }
        passes
    }

    fn refuse(&mut self, invalid: Invalid) {
        self.stats.rejected[invalid.index()] += 1;
    }

    /// Where a source that is known sends from.
    pub fn address_of(&self, source: SourceId) -> Option<SocketAddr> {
        let source = self.sources.get(*self.by_id.get(&source)?)?.as_ref()?;
        Some(source.address)
    }

    fn source(&mut self, index: usize) -> Option<&mut Source> {
        self.sources.get_mut(index)?.as_mut()
    }

    /// Whether a source is there, to be asked and told.
    fn is_there(&self, index: usize) -> bool {
        self.sources[index].as_ref().is_some_and(|source| !source.gone)
    }

    /// The source a datagram is of, known or new; `None` when it may not be believed.
    fn meet(&mut self, now: Time, from: SocketAddr, datagram: &Datagram<'_>) -> Option<usize> {
        let header = &datagram.header;
        if let Some(&index) = self.by_id.get(&header.source) {
            let source = self.sources[index].as_ref()?;
            if source.address != from {
                self.stats.impostors += 1;
                return None;
            }
            let replaced = source.replaced;
            // Signs of life come on and on: it is enough to look with those.
            let lives = matches!(header.kind, Kind::Heartbeat | Kind::Announce);
            if lives && self.owns(now, from, Some(index), header.sent) {
                self.by_address.insert(from, index);
            } else if replaced {
                self.stats.duplicates += 1;
                return None;
            }
            let source = self.sources[index].as_mut()?;
            source.replaced = false;
            source.hear(now, header);
            if source.gone {
                self.revive(now, index);
            }
            return Some(index);
        }
        let owns = self.owns(now, from, None, header.sent);
        if self.by_id.len() >= self.config.max_sources && !self.make_room() {
            self.stats.sources_refused += 1;
            return None;
        }
        let mut source = Source::new(header.source, from, now);
        source.returned = self.departed.contains(&header.source);
        source.hear(now, header);
        self.tick = self.tick.min(now);
        let index = self.sources.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sources.push(None);
            self.sources.len() - 1
        });
        self.sources[index] = Some(source);
        self.by_id.insert(header.source, index);
        if owns {
            self.by_address.insert(from, index);
        }
        Some(index)
    }

    /// Whether a source, a new one where it has no number, is the one that sends from an address now. The other that did is
    /// over then: what came now was sent later than all that came of it, or it was silent for as long as it may be. Else
    /// what came is late, of a source that is over: also where the other was not known before.
    fn owns(&mut self, now: Time, address: SocketAddr, source: Option<usize>, sent: u64) -> bool {
        let Some(&other) = self.by_address.get(&address) else { return true };
        if source == Some(other) {
            return true;
        }
        let over = |other: &Source| other.gone || sent > other.sent || now.since(other.heard) > other.idle();
        let owns = self.sources[other].as_ref().is_none_or(over);
        if owns {
            self.replace(other);
        }
        owns
    }

    /// Forgets the source that can best be spared: one that is gone, or has no stream that is subscribed to.
    fn make_room(&mut self) -> bool {
        let spare = |source: &Source| {
            source.gone || !source.streams.values().any(|k| matches!(k, Known::Subscribed(_)))
        };
        let oldest = self
            .sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| source.as_ref().filter(|s| spare(s)).map(|s| (s.heard, index)))
            .min();
        match oldest {
            Some((_, index)) => self.remove_source(index),
            None => false,
        }
    }

    /// Forgets a source and its streams, unless one of those still has something to tell.
    fn remove_source(&mut self, index: usize) -> bool {
        let Some(source) = &self.sources[index] else { return false };
        let streams = source.subscribed();
        if streams.iter().any(|&stream| self.streams[stream].as_ref().is_some_and(|stream| !stream.over)) {
            return false;
        }
        let (id, address) = (source.id, source.address);
        if !streams.is_empty() {
            if self.departed.len() == MOST_DEPARTED {
                self.departed.pop_front();
            }
            self.departed.push_back(id);
        }
        for stream in streams {
            if let Some(mut stream) = self.streams[stream].take() {
                self.busy -= u64::from(stream.busy);
                stream.window.clear(&mut self.pool);
                stream.assemblies.clear(&mut self.reassembly);
            }
            self.ready.retain(|&other| other != stream);
            self.lossy.retain(|&other| other != stream);
            self.hungry.retain(|hungry| hungry.stream != stream);
            self.telling.retain(|&other| other != stream);
        }
        self.ended.retain(|&(source, ..)| source != index);
        self.sources[index] = None;
        self.by_id.remove(&id);
        if self.by_address.get(&address) == Some(&index) {
            self.by_address.remove(&address);
        }
        self.recent = None;
        true
    }

    /// A stream of a source that was not heard of before: its name is asked for.
    fn meet_stream(&mut self, now: Time, source: usize, stream: u32, first: Option<(u64, u64)>) {
        let wait = self.backoff(source);
        let room = self.has_room();
        let Some(known) = self.source(source) else { return };
        if known.unnamed >= MOST_UNNAMED || !room {
            self.stats.streams_refused += 1;
            return;
        }
        known.unnamed += 1;
        known.streams.insert(stream, Known::Unnamed(Unnamed { first, ask: now + wait, tries: 0 }));
        self.asking.push(Reverse((now + wait, source, stream)));
        self.urgent = true;
    }

    /// Whether one more stream may be known. Where there are as many as may be, those that are over make room.
    fn has_room(&mut self) -> bool {
        let most = self.config.max_streams;
        let full = |subscriber: &Subscriber| {
            subscriber.sources.iter().flatten().map(|source| source.streams.len()).sum::<usize>() >= most
        };
        if !full(self) {
            return true;
        }
        for index in 0..self.sources.len() {
            if self.sources[index].as_ref().is_some_and(|source| source.gone) {
                self.remove_source(index);
            }
        }
        if !std::mem::take(&mut self.ends_told) {
            return !full(self);
        }
        for slot in &mut self.streams {
            if let Some(stream) = slot.take_if(|stream| stream.over && stream.told.ended)
                && let Some(source) = self.sources[stream.source].as_mut()
            {
                self.busy -= u64::from(stream.busy);
                source.forget_over(stream.id);
            }
        }
        let there = |index: &usize| self.streams[*index].is_some();
        self.ready.retain(there);
        self.lossy.retain(there);
        self.hungry.retain(|hungry| self.streams[hungry.stream].is_some());
        self.telling.retain(there);
        self.recent = None;
        !full(self)
    }

    /// A random wait before asking for what others may be asking for too.
    fn backoff(&mut self, source: usize) -> Duration {
        let uniform = self.random.f64();
        match &self.sources[source] {
            Some(source) => super::estimate::backoff(source.round_trip(), source.group_size(), uniform),
            None => Duration::ZERO,
        }
    }

    /// Has a stream looked at for something to deliver.
    fn enqueue(&mut self, index: usize) {
        if let Some(stream) = self.streams[index].as_mut()
            && !stream.queued
            && !stream.over
        {
            stream.queued = true;
            self.ready.push_back(index);
        }
    }

    /// Whether a topic is wanted.
    fn wants(&self, name: &str) -> bool {
        self.config.patterns.iter().any(|pattern| topic::matches(pattern, name))
    }

    /// Asks a stream's publisher where it stands, no more often than it can answer.
    fn ask_state(&mut self, now: Time, index: usize) {
        let retry = self.retry(now, index).after(0);
        let Some(stream) = self.streams[index].as_mut() else { return };
        let at = now.max(stream.state_asked + retry);
        if stream.ask_state == Time::NEVER {
            stream.ask_state = at;
            self.asking.push(Reverse((at, stream.source, stream.id)));
            self.urgent = true;
        }
    }
}
