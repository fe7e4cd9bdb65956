//! The subscriber's state machine: any datagrams of several sources and streams, true and false, at any time, under every
//! contract. Whatever they say, messages come in order and once, no gap is silent, memory stays within its bound and time
//! moves.

use super::input::Input;
use super::{MOST_TIMEOUTS, datagram, fragment, is_content, record, sent};
use nakcast::protocol::subscriber::{Config, Contract, StartAt, Subscriber};
use nakcast::protocol::{EndReason, Event, Time};
use nakcast::wire::{
    Announce, Confirmation, End, Header, Heartbeat, Kind, MAX_SEQUENCE, Ncf, ReceiverId, SourceId,
    StreamState, flag,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

const RECEIVER: ReceiverId = ReceiverId(0xface);
/// Chunks of the reorder buffer, and how many there are at least.
const CHUNK: usize = 64 << 10;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut case = Case::new(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < 2_000 {
        case.step(&mut input);
        case.check();
        steps += 1;
    }
    if bytes.len().is_multiple_of(16) {
        case.idle();
    }
    case.leave();
}

/// Where a stream stands, as its source would have it.
#[derive(Clone, Copy)]
struct Place {
    lead: u64,
    trail: u64,
    /// The number of the next message, and bytes of it that were sent.
    message: u64,
    sent: u32,
}

/// What the application was told of a stream.
#[derive(Default)]
struct Seen {
    up: bool,
    /// In order: the number of the next message, once it is known.
    next: Option<u64>,
    /// By arrival: those that came.
    came: BTreeSet<u64>,
    sequence: u64,
}

struct Case {
    config: Config,
    subscriber: Subscriber,
    /// Messages it takes at once, where it can.
    at_once: usize,
    now: Time,
    places: BTreeMap<(u64, u32), Place>,
    seen: BTreeMap<(u64, u32), Seen>,
    /// The datagram that was handled last.
    current: Vec<u8>,
    naks: u64,
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, number as u8], 7_000))
}

fn stream_of(source: u64, stream: u32) -> u64 {
    source * 16 + u64::from(stream)
}

impl Case {
    fn new(input: &mut Input) -> Case {
        let contract = match input.below(4) {
            0 => Contract::Ordered,
            1 => Contract::Arrival,
            2 => Contract::Deadline(Duration::from_millis(input.one(&[10, 0, 2_000]))),
            _ => Contract::BestEffort,
        };
        let config = Config {
            patterns: vec![input.one(&[">", "a.*"]).into()],
            contract,
            start: input.one(&[StartAt::Live, StartAt::Window]),
            reorder: input.one(&[0, 600_000]),
            receive_buffer: input.one(&[200_000, 0, 4 << 20]),
            max_message: input.one(&[20_000, 100, 1 << 20]),
            reassembly: input.one(&[40_000, 100, 1 << 20]),
            max_sources: input.one(&[3, 1]),
            max_streams: input.one(&[8, 2]),
            ..Config::new(RECEIVER)
        };
        let now = Time(1_000_000_000);
        let subscriber = Subscriber::new(config.clone(), now);
        let (places, seen, current) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let at_once = input.one(&[0, 1, 2, usize::MAX]);
        Case { config, subscriber, at_once, now, places, seen, current, naks: 0 }
    }

    fn step(&mut self, input: &mut Input) {
        match input.byte() % 16 {
            0 => {
                // The application is slow, or gone for a while.
                for _ in 0..input.below(4) {
                    self.advance();
                }
            }
            1 => self.settle(),
            2 => {
                self.now = self.now + input.time();
                if input.once_in(2) {
                    self.settle();
                }
            }
            3 => {
                if let Some((at, _)) = self.subscriber.poll_timeout(self.now) {
                    self.now = at.max(self.now).min(self.now + Duration::from_secs(3_600));
                }
                self.settle();
            }
            4 => {
                let kind = any_kind(input);
                let header = self.header(input, kind);
                let payload = input.bytes(300);
                let bytes = datagram(&header, |room| {
                    room[..payload.len()].copy_from_slice(payload);
                    payload.len()
                });
                self.receive(input, &header, bytes);
            }
            5 => self.announce(input),
            6 => self.heartbeat(input),
            7 => self.ncf(input),
            8 if input.once_in(4) => self.end(input),
            9..=11 => self.records(input),
            12..=14 => self.fragment(input),
            _ => {
                self.subscriber.handle_timeout(self.now);
                self.advance();
            }
        }
    }

    fn header(&mut self, input: &mut Input, kind: Kind) -> Header {
        let (source, stream) = (1 + input.below(3), 1 + input.below(3) as u32);
        let stream = if input.once_in(40) { input.word() } else { stream };
        let fresh = Place { lead: 0, trail: 1, message: 1, sent: 0 };
        let place = *self.places.entry((source, stream)).or_insert(fresh);
        let edge = |input: &mut Input, number| if input.once_in(12) { input.number(number) } else { number };
        Header {
            sequence: edge(input, place.lead),
            message: edge(input, place.message),
            stamp: edge(input, self.now.0),
            sent: self.now.0,
            ..Header::new(kind, SourceId(source), stream)
        }
    }

    fn place(&mut self, header: &Header) -> &mut Place {
        self.places.get_mut(&(header.source.0, header.stream)).expect("a header has its place")
    }

    /// A datagram comes; what was to be delivered of the one before is kept, or was delivered.
    fn receive(&mut self, input: &mut Input, header: &Header, bytes: Vec<u8>) {
        if input.once_in(6) {
            // It is lost.
            return;
        }
        if self.subscriber.has_ready() {
            self.subscriber.park(&self.current);
        }
        let from = if input.once_in(30) { input.below(5) } else { header.source.0 };
        self.subscriber.handle_datagram(self.now, address(from), &bytes);
        if input.once_in(16) {
            self.subscriber.park(&bytes);
            self.subscriber.handle_datagram(self.now, address(from), &bytes);
        }
        self.current = bytes;
        if !input.once_in(5) {
            while self.advance() {}
        }
    }

    /// The datagram behind the lead, or any one before.
    fn number(&mut self, input: &mut Input, header: &Header) -> (Kind, u64) {
        let place = self.place(header);
        if input.once_in(3) {
            (Kind::Repair, input.number(place.lead))
        } else {
            place.lead = place.lead.saturating_add(1).min(MAX_SEQUENCE);
            (Kind::Data, place.lead)
        }
    }

    fn records(&mut self, input: &mut Input) {
        let mut header = self.header(input, Kind::Data);
        (header.kind, header.sequence) = self.number(input, &header);
        let count = 1 + input.below(3);
        let place = self.place(&header);
        if place.sent > 0 {
            (place.message, place.sent) = (place.message + 1, 0);
        }
        if header.kind == Kind::Data {
            header.message = if input.once_in(12) { header.message } else { place.message };
            place.message = (place.message + count).min(MAX_SEQUENCE);
        }
        let id = stream_of(header.source.0, header.stream);
        let bytes = datagram(&header, |payload| {
            let mut length = 0;
            for number in 0..count {
                let size = input.index(101);
                length += record(&mut payload[length..], id, header.message.wrapping_add(number), size);
            }
            length
        });
        self.receive(input, &header, bytes);
    }

    fn fragment(&mut self, input: &mut Input) {
        let mut header = Header { flags: flag::FRAGMENT, ..self.header(input, Kind::Data) };
        (header.kind, header.sequence) = self.number(input, &header);
        let total = input.one(&[2_500, 1_001, 150_000, 101]);
        let length = input.one(&[500, 100, 1_000]);
        let place = self.place(&header);
        let mut offset = if header.kind == Kind::Data { place.sent } else { 500 * input.below(5) as u32 };
        let offset_is = if input.once_in(12) { input.word() % 3_000 } else { offset };
        if header.kind == Kind::Data {
            header.message = place.message;
            offset = offset.saturating_add(length);
            (place.message, place.sent) =
                if offset >= total { (place.message + 1, 0) } else { (place.message, offset) };
            place.message = place.message.min(MAX_SEQUENCE);
        }
        let length = length.min(total.saturating_sub(offset_is).max(1)) as usize;
        let id = stream_of(header.source.0, header.stream);
        let bytes =
            datagram(&header, |payload| fragment(payload, id, header.message, (offset_is, length, total)));
        self.receive(input, &header, bytes);
    }

    fn announce(&mut self, input: &mut Input) {
        let header = self.header(input, Kind::Announce);
        let now = self.now.0;
        let place = self.place(&header);
        let trail = if input.once_in(4) { input.number(place.trail) } else { place.trail };
        let announce = Announce {
            age: if input.once_in(2) { input.long() } else { now },
            trail,
            trail_message: if input.once_in(4) { input.number(1) } else { trail.min(place.message) },
            idle_interval: input.one(&[100_000, 1, 1_000, u32::MAX]),
            window: input.one(&[500, 1, 100_000, u32::MAX]),
            datagram: input.one(&[1_408, 65, 1_100, 65_507]),
            topic: input.one(&["a.b", "a.c", "d"]),
        };
        let bytes = datagram(&header, |payload| announce.emit(payload));
        self.receive(input, &header, bytes);
    }

    fn heartbeat(&mut self, input: &mut Input) {
        let header = self.header(input, Kind::Heartbeat);
        let limiting = if input.once_in(3) { RECEIVER } else { ReceiverId(input.below(2)) };
        let (idle, group) =
            (input.one(&[100_000, 1, 1_000, u32::MAX]), input.one(&[1, 0, 20, 10_000, u32::MAX]));
        let trip = input.one(&[50_000, 0, 1, u32::MAX]);
        let bytes = datagram(&header, |payload| {
            let mut list = Heartbeat::emit(payload, idle, group, trip, limiting);
            for _ in 0..input.below(4) {
                let stream = 1 + input.below(3) as u32;
                let fresh = Place { lead: 0, trail: 1, message: 1, sent: 0 };
                let place = self.places.entry((header.source.0, stream)).or_insert(fresh);
                if input.once_in(8) {
                    // It went on, and all of that is lost.
                    place.lead = input.number(place.lead).min(MAX_SEQUENCE);
                    place.message = input.number(place.message).clamp(1, MAX_SEQUENCE);
                }
                if input.once_in(8) {
                    place.trail = input.number(place.lead).clamp(1, place.lead + 1);
                }
                let Place { lead, trail, message, sent } = *place;
                let next_message = message + u64::from(sent > 0);
                let limit = if input.once_in(3) { input.number(lead) } else { MAX_SEQUENCE };
                list.push_stream(&StreamState { stream, trail, lead, next_message, limit });
            }
            list.length()
        });
        self.receive(input, &header, bytes);
    }

    fn ncf(&mut self, input: &mut Input) {
        let flags = if input.once_in(2) { flag::GONE } else { 0 };
        let header = Header { flags, ..self.header(input, Kind::Ncf) };
        let place = *self.place(&header);
        let bytes = datagram(&header, |payload| {
            let mut list = Ncf::emit(payload);
            let mut before = 0;
            for _ in 0..1 + input.below(3) {
                let first = if input.once_in(4) { input.number(place.lead) } else { before + 1 };
                let last =
                    if input.once_in(4) { input.number(first) } else { first.saturating_add(input.below(8)) };
                let next_message = input.number(place.message);
                list.push_confirmation(&Confirmation { first, last, next_message });
                before = last.min(MAX_SEQUENCE);
            }
            list.length()
        });
        self.receive(input, &header, bytes);
    }

    fn end(&mut self, input: &mut Input) {
        let header = self.header(input, Kind::End);
        let place = *self.place(&header);
        let header = Header { message: header.message.saturating_add(u64::from(place.sent > 0)), ..header };
        let bytes = datagram(&header, |payload| End { trail: place.trail }.emit(payload));
        self.receive(input, &header, bytes);
    }

    /// Takes the next thing that happened, or some messages at once, and checks that.
    fn advance(&mut self) -> bool {
        let Case { subscriber, current, seen, .. } = self;
        let in_order = self.config.contract != Contract::Arrival;
        let mut taken = 0;
        let told = subscriber.rest(current, self.at_once, |event| {
            assert!(matches!(event, Event::Message(_)));
            check(seen, in_order, &event);
            taken += 1;
        });
        assert!(told == taken && taken <= self.at_once);
        if taken > 0 {
            return true;
        }
        let Some(ready) = subscriber.advance(current) else {
            assert!(!subscriber.has_ready());
            return false;
        };
        let event = subscriber.event(&ready, current);
        check(seen, in_order, &event);
        true
    }

    /// As a driver does: everything is taken, everything is sent, what is due is done.
    fn settle(&mut self) {
        let mut timeouts = 0;
        loop {
            while self.advance() {}
            self.transmit();
            let Some((at, reason)) = self.subscriber.poll_timeout(self.now) else { break };
            if at > self.now {
                break;
            }
            timeouts += 1;
            assert!(timeouts <= MOST_TIMEOUTS, "time stands still for {reason:?}");
            self.subscriber.handle_timeout(self.now);
        }
    }

    fn transmit(&mut self) {
        let mut transmits = 0;
        while let Some(transmit) = self.subscriber.poll_transmit(self.now) {
            transmits += 1;
            assert!(transmits < 1_000, "there is no end to what is sent at one instant");
            let bytes = self.subscriber.datagram(&transmit);
            assert!(bytes.len() <= 1_408);
            let header = sent(bytes).header;
            assert!((0..5).any(|known| address(known) == transmit.to));
            match header.kind {
                Kind::Nak => self.naks += u64::from(header.flags & flag::NAME_WANTED == 0),
                Kind::Status => assert!(!header.has(flag::LEAVING)),
                other => panic!("a subscriber sends no {other}"),
            }
        }
    }

    fn check(&self) {
        let (kept, parts) = self.subscriber.memory_in_use();
        assert!(kept <= (self.config.reorder / CHUNK).max(4) * CHUNK);
        assert!(parts <= self.config.reassembly);
        let stats = self.subscriber.stats();
        assert!(stats.sources as usize <= self.config.max_sources);
        assert!(stats.streams as usize <= self.config.max_streams);
        assert!(
            self.config.contract != Contract::BestEffort || self.naks == 0,
            "best effort asks for nothing"
        );
    }

    /// Nothing comes any more: it wakes to ask again, and for little else.
    fn idle(&mut self) {
        let until = self.now + Duration::from_millis(100);
        let mut wakes = 0;
        self.settle();
        while let Some((at, _)) = self.subscriber.poll_timeout(self.now).filter(|&(at, _)| at < until) {
            wakes += 1;
            // A quarter of the least time between two NAKs, for each stream there can be.
            assert!(wakes < 100_000 / 50 * 9, "it hardly sleeps");
            self.now = at.max(self.now);
            self.settle();
        }
    }

    fn leave(&mut self) {
        self.settle();
        let mut leaves = 0;
        while let Some(transmit) = self.subscriber.poll_leave(self.now) {
            leaves += 1;
            assert!(leaves <= self.config.max_sources);
            let header = sent(self.subscriber.datagram(&transmit)).header;
            assert!(header.kind == Kind::Status && header.has(flag::LEAVING));
        }
    }
}

fn any_kind(input: &mut Input) -> Kind {
    input.one(&[
        Kind::Data,
        Kind::Repair,
        Kind::Announce,
        Kind::Heartbeat,
        Kind::Nak,
        Kind::Ncf,
        Kind::Status,
        Kind::End,
    ])
}

/// Whether what happened may come after what was seen.
fn check(seen: &mut BTreeMap<(u64, u32), Seen>, in_order: bool, event: &Event<'_>) {
    let key = match event {
        Event::Message(message) => (message.source().0, message.stream_id()),
        Event::Gap(gap) => (gap.source().0, gap.stream_id()),
        Event::StreamUp(stream) | Event::StreamEnd(stream) => (stream.source().0, stream.stream_id()),
        other => panic!("{other:?} is new here"),
    };
    let seen = seen.entry(key).or_default();
    match event {
        Event::StreamUp(stream) => {
            assert!(!seen.up, "a stream comes up once");
            *seen = Seen { up: true, sequence: stream.sequence(), ..Seen::default() };
        }
        Event::Message(message) => {
            assert!(seen.up);
            let (number, id) = (message.number(), stream_of(key.0, key.1));
            // What fragments that contradict each other make of a message is their source's to answer for.
            assert!(message.payload().len() > 100 || is_content(message.payload(), id, number, 0));
            if in_order {
                assert!(seen.next.is_none_or(|next| next == number), "{number} for {:?}", seen.next);
                assert!(message.sequence() >= seen.sequence);
                (seen.next, seen.sequence) = (Some(number + 1), message.sequence());
            } else {
                let first = seen.came.insert(number);
                assert!(first || message.payload().len() > 100, "message {number} came twice");
            }
        }
        Event::Gap(gap) => {
            assert!(seen.up && gap.messages() > 0 && gap.first() <= gap.last());
            seen.next = seen.next.map(|next| next + gap.messages());
        }
        Event::StreamEnd(stream) => {
            assert!(seen.up && stream.end_reason().is_some());
            seen.up = false;
            if stream.end_reason() == Some(EndReason::Closed) && in_order {
                assert!(stream.sequence() >= seen.sequence);
            }
        }
        other => panic!("{other:?} is new here"),
    }
}
