//! The publisher's state machine: any sends, any time, any datagrams from anywhere. What leaves is sound and is what was
//! sent, memory stays within its bound, time moves, and once nobody is waited for everything has left.

use super::input::Input;
use super::{MOST_TIMEOUTS, content, datagram, is_content, sent};
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{Config, Flow, Publisher, Refused, To};
use nakcast::wire::{
    Body, Datagram, Header, Kind, MAX_DATAGRAM, Nak, Position, Range, ReceiverId, SourceId, Status, flag,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const SOURCE: SourceId = SourceId(0x5eed);
const START: u64 = 1_000_000_000;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut case = Case::new(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < 2_000 {
        case.step(&mut input);
        case.check();
        steps += 1;
    }
    case.finish();
}

/// A datagram that was sent.
struct Sent {
    /// The first message that starts in it or behind it, and behind it.
    starts: u64,
    after: u64,
    flags: u8,
    message: u64,
    sent: u64,
    payload: Vec<u8>,
}

/// What the application and the network know of a stream.
#[derive(Default)]
struct Stream {
    /// The lengths of the messages that were taken.
    messages: Vec<usize>,
    sent: Vec<Sent>,
    closed: bool,
    released: bool,
}

impl Stream {
    fn starts(&self, sequence: u64) -> u64 {
        match self.sent.get(sequence as usize - 1) {
            Some(sent) => sent.starts,
            None => self.sent.last().map_or(1, |sent| sent.after),
        }
    }
}

struct Case {
    config: Config,
    publisher: Publisher,
    now: Time,
    streams: BTreeMap<u32, Stream>,
    memory: usize,
    /// The socket takes this many more datagrams.
    takes: u64,
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8], 7_000))
}

impl Case {
    fn new(input: &mut Input) -> Case {
        let datagram = input.one(&[1_408, 512, 1_000, 9_000, MAX_DATAGRAM]);
        let config = Config {
            datagram,
            window: input.one(&[0, 150_000, 400_000]),
            max_message: input.one(&[50_000, 100, 3_000]),
            flow: input.one(&[Flow::Slowest, Flow::None]),
            patience: Duration::from_millis(input.one(&[100, 1, 1_000])),
            max_rate: input.one(&[None, Some(10_000_000), Some(1_000_000)]),
            idle_interval: Duration::from_millis(input.one(&[100, 20, 500])),
            max_delay: Duration::from_micros(input.one(&[50, 0, 100_000])),
            max_receivers: input.one(&[3, 1]),
            ..Config::new(SOURCE)
        };
        let now = Time(START);
        let publisher = Publisher::new(config.clone(), now);
        let chunk = (32_768 / datagram).max(1) * datagram;
        let memory = (config.window / chunk).max(4) * chunk;
        Case { config, publisher, now, streams: BTreeMap::new(), memory, takes: u64::MAX }
    }

    fn step(&mut self, input: &mut Input) {
        let now = self.now;
        let stream = 1 + input.below(self.streams.len() as u64 + 1) as u32;
        match input.byte() % 16 {
            0 => self.open(),
            1..=3 => self.send(input, stream),
            4 => {
                let most = input.one(&[100, self.config.datagram]) + 10;
                let length = input.index(most);
                if let Ok(room) = self.publisher.claim(stream, length, now) {
                    assert_eq!(room.len(), length);
                    let number = self.streams[&stream].messages.len() as u64 + 1;
                    room.copy_from_slice(&content(stream.into(), number, 0, length));
                    assert!(is_content(self.publisher.claimed(stream, length), stream.into(), number, 0));
                    assert!(length <= self.publisher.max_record());
                    // Or it is given up, and nothing was sent.
                    if !input.once_in(4) {
                        self.publisher.commit(stream, length);
                        self.streams.get_mut(&stream).expect("it took a message").messages.push(length);
                    }
                }
            }
            5 => self.publisher.flush(stream),
            6 => self.transmit(),
            7 => {
                self.takes = input.below(100);
                self.transmit();
                self.takes = u64::MAX;
            }
            8 => self.nak(input),
            9 => self.status(input),
            10 => {
                let header = self.header(input, input_kind);
                let bytes = input.bytes(200);
                let bytes = datagram(&header, |payload| {
                    payload[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                });
                self.publisher.handle_datagram(now, address(input.below(5)), &bytes);
            }
            11 if input.once_in(4) => {
                self.publisher.close_stream(stream, now);
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.closed = true;
                }
            }
            12 if input.once_in(4) => {
                self.publisher.release_stream(stream);
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.released = stream.closed;
                }
            }
            13 => {
                // As a driver would: it sleeps until something is due.
                let (at, _) = self.publisher.poll_timeout(now);
                self.now = at.max(now);
                self.settle();
            }
            14 => {
                self.now = now + input.time();
                self.settle();
            }
            _ => self.settle(),
        }
    }

    fn open(&mut self) {
        let open = self.streams.values().filter(|stream| !stream.released).count();
        let id = self.publisher.open_stream("a.b", self.now);
        assert_eq!(id.is_some(), open < self.publisher.max_streams());
        if let Some(id) = id {
            assert!(self.streams.insert(id, Stream::default()).is_none(), "ids are not used again");
        }
    }

    fn send(&mut self, input: &mut Input, id: u32) {
        let most = input.one(&[100, 2_000, 20_000]);
        let length = input.index(most);
        let number = self.streams.get(&id).map_or(0, |stream| stream.messages.len()) as u64 + 1;
        let message = content(id.into(), number, 0, length);
        let outcome = self.publisher.send(id, &message, self.now);
        match (outcome, self.streams.get_mut(&id)) {
            (Ok(()), Some(stream)) => {
                assert!(!stream.closed && length <= self.config.max_message.max(self.publisher.max_record()));
                stream.messages.push(length);
            }
            (Err(Refused::TooLong { max }), _) => assert!(length > max),
            (Err(Refused::Closed), stream) => assert!(stream.is_none_or(|stream| stream.closed)),
            (Err(Refused::BackPressured { .. }), Some(stream)) => assert!(!stream.closed),
            (outcome, None) => panic!("{outcome:?} of a stream that is not"),
        }
    }

    /// A header that is mostly right.
    fn header(&mut self, input: &mut Input, kind: fn(&mut Input) -> Kind) -> Header {
        let heard = match input.byte() {
            0..200 => self.now.0.saturating_sub(input.below(10_000_000)),
            200..230 => input.number(self.now.0),
            _ => input.number(START),
        };
        Header {
            flags: input.byte() & 3,
            stamp: heard,
            ..Header::new(
                kind(input),
                if input.once_in(30) { SourceId(1) } else { SOURCE },
                input.below(self.streams.len() as u64 + 2) as u32,
            )
        }
    }

    fn held(&self, input: &mut Input, header: &Header) -> u32 {
        match input.byte() {
            0..200 => u32::try_from(self.now.0.saturating_sub(header.stamp)).unwrap_or(u32::MAX),
            200..240 => input.word() % 1_000_000,
            _ => u32::MAX - (input.word() % 3),
        }
    }

    fn sender(&self, input: &mut Input) -> (ReceiverId, SocketAddr) {
        let receiver = 1 + input.below(4);
        let from = if input.once_in(16) { input.below(5) } else { receiver };
        (ReceiverId(receiver), address(from))
    }

    fn nak(&mut self, input: &mut Input) {
        let header = self.header(input, |_| Kind::Nak);
        let (receiver, from) = self.sender(input);
        let held = self.held(input, &header);
        let lead = self.streams.get(&header.stream).map_or(0, |stream| stream.sent.len() as u64);
        let mut first = 0;
        let bytes = datagram(&header, |payload| {
            let mut list = Nak::emit(payload, receiver, held);
            for _ in 0..input.below(5) {
                let room = lead.saturating_sub(first);
                let step = if input.once_in(10) { input.number(lead) } else { input.below(room) };
                first = first.saturating_add(step).saturating_add(1);
                let most = (lead + 1).saturating_sub(first).max(1);
                let count = if input.once_in(10) { input.word() } else { 1 + input.below(most) as u32 };
                list.push_range(Range { first, count });
                first = first.saturating_add(u64::from(count));
            }
            list.length()
        });
        self.publisher.handle_datagram(self.now, from, &bytes);
    }

    fn status(&mut self, input: &mut Input) {
        let header = self.header(input, |_| Kind::Status);
        let header = Header { flags: if input.once_in(8) { flag::LEAVING } else { 0 }, stream: 0, ..header };
        let (receiver, from) = self.sender(input);
        let held = self.held(input, &header);
        let bytes = datagram(&header, |payload| {
            let mut list = Status::emit(payload, receiver, held);
            for _ in 0..input.below(4) {
                let stream = 1 + input.below(self.streams.len() as u64 + 1) as u32;
                let lead = self.streams.get(&stream).map_or(0, |stream| stream.sent.len() as u64);
                list.push_position(&Position {
                    stream,
                    ended: input.once_in(4),
                    missed: input.word(),
                    position: if input.once_in(4) { input.number(lead + 1) } else { lead + 1 },
                    limit: if input.once_in(2) { input.number(lead) } else { lead + input.below(300) },
                });
            }
            list.length()
        });
        self.publisher.handle_datagram(self.now, from, &bytes);
    }

    /// Sends what there is, as far as the socket takes it.
    fn transmit(&mut self) {
        let mut transmits = 0;
        while let Some(transmit) = self.publisher.poll_transmit(self.now) {
            transmits += 1;
            assert!(transmits < 20_000, "there is no end to what is sent at one instant");
            let datagrams: Vec<Vec<u8>> = self.publisher.datagrams().map(<[u8]>::to_vec).collect();
            assert_eq!(datagrams.len(), transmit.count);
            assert!(datagrams.iter().rev().skip(1).all(|bytes| bytes.len() == transmit.segment));
            assert!(datagrams.iter().all(|bytes| bytes.len() <= transmit.segment.min(self.config.datagram)));
            assert!(datagrams.len() <= 64 && datagrams.iter().map(Vec::len).sum::<usize>() <= MAX_DATAGRAM);
            if let To::Receiver(to) = transmit.to {
                assert!((0..5).any(|known| address(known) == to));
            }
            let taken = (self.takes).min(datagrams.len() as u64) as usize;
            self.takes -= if self.takes == u64::MAX { 0 } else { taken as u64 };
            for bytes in &datagrams[..taken] {
                self.see(&sent(bytes));
            }
            if taken < datagrams.len() {
                self.publisher.retract(taken);
                return;
            }
        }
    }

    fn see(&mut self, datagram: &Datagram<'_>) {
        let header = &datagram.header;
        assert_eq!((header.source, header.stamp), (SOURCE, self.now.0));
        let body = datagram.body().expect("it was read before");
        if let Body::Heartbeat(heartbeat) = body {
            for state in heartbeat.streams() {
                let state = state.expect("an entry is sound");
                let stream = &self.streams[&state.stream];
                assert_eq!(state.lead, stream.sent.len() as u64);
                assert_eq!(state.next_message, stream.starts(state.lead + 1));
            }
            return;
        }
        let stream = self.streams.get_mut(&header.stream).expect("it was opened");
        if stream.released {
            // What had not left when it was given up counts as sent, and is gone.
            assert!(matches!(body, Body::Announce(_) | Body::Ncf(_) | Body::End(_)));
            return;
        }
        let lead = stream.sent.len() as u64;
        match body {
            Body::Records(_) | Body::Fragment(_) if header.kind == Kind::Repair => {
                let first = &stream.sent[header.sequence as usize - 1];
                assert_eq!(
                    (first.flags, first.message, first.sent),
                    (header.flags, header.message, header.sent)
                );
                assert!(first.payload == datagram.payload, "a repair is what was sent first");
            }
            Body::Records(records) => {
                assert_eq!((header.sequence, header.message), (lead + 1, stream.starts(lead + 1)));
                let mut number = header.message;
                for message in records {
                    assert_eq!(message.len(), stream.messages[number as usize - 1]);
                    assert!(is_content(message, header.stream.into(), number, 0));
                    number += 1;
                }
                stream.sent.push(Sent::new(datagram, header.message, number));
            }
            Body::Fragment(fragment) => {
                let starts = header.message + u64::from(!fragment.is_first());
                assert_eq!((header.sequence, starts), (lead + 1, stream.starts(lead + 1)));
                assert_eq!(fragment.total as usize, stream.messages[header.message as usize - 1]);
                let offset = fragment.offset as usize;
                assert!(is_content(fragment.bytes, header.stream.into(), header.message, offset));
                if !fragment.is_first() {
                    let before = stream.sent.last().expect("it began before");
                    assert_eq!(before.message, header.message, "fragments follow each other");
                }
                stream.sent.push(Sent::new(datagram, starts, header.message + 1));
            }
            Body::Announce(announce) => {
                assert_eq!((header.sequence, header.message), (lead, stream.starts(lead + 1)));
                assert_eq!(announce.trail_message, stream.starts(announce.trail));
            }
            Body::Ncf(ncf) => {
                for range in ncf.confirmations() {
                    assert!(range.last <= lead);
                    if header.has(flag::GONE) {
                        assert_eq!(range.next_message, stream.starts(range.last + 1));
                    }
                }
            }
            Body::End(_) => assert!(stream.closed && header.sequence == lead),
            other => panic!("a publisher sends no {other:?}"),
        }
    }

    /// As a driver does: sends what there is, and does what is due.
    fn settle(&mut self) {
        self.transmit();
        let mut timeouts = 0;
        loop {
            let (at, reason) = self.publisher.poll_timeout(self.now);
            if at > self.now {
                break;
            }
            timeouts += 1;
            assert!(timeouts <= MOST_TIMEOUTS, "time stands still for {reason:?}");
            self.publisher.handle_timeout(self.now);
            self.transmit();
        }
    }

    fn check(&mut self) {
        assert!(self.publisher.memory_in_use() <= self.memory);
        let receivers = self.publisher.receivers();
        assert!(receivers.len() <= self.config.max_receivers);
        for &id in self.streams.keys() {
            assert!(self.publisher.receivers_of(id) <= receivers.len());
            assert!(self.publisher.laggards(id).len() <= receivers.len());
        }
        let mut events = 0;
        while self.publisher.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= 1_024);
    }

    /// Nobody is heard from any more: what was taken leaves, and memory is given back.
    fn finish(&mut self) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for &id in &ids {
            self.publisher.flush(id);
        }
        self.settle();
        let mut steps = 0;
        while ids.iter().any(|&id| !self.streams[&id].released && !self.publisher.is_complete(id)) {
            steps += 1;
            assert!(steps < 20_000, "what was taken never leaves");
            self.now = self.publisher.poll_timeout(self.now).0.max(self.now);
            self.settle();
        }
        for &id in &ids {
            let stream = &self.streams[&id];
            assert!(
                stream.released
                    || stream.starts(stream.sent.len() as u64 + 1) == stream.messages.len() as u64 + 1
            );
            self.publisher.close_stream(id, self.now);
            self.publisher.release_stream(id);
        }
        assert_eq!(self.publisher.memory_in_use(), 0);
    }
}

impl Sent {
    fn new(datagram: &Datagram<'_>, starts: u64, after: u64) -> Sent {
        let Header { flags, message, sent, .. } = datagram.header;
        Sent { starts, after, flags, message, sent, payload: datagram.payload.to_vec() }
    }
}

fn input_kind(input: &mut Input) -> Kind {
    input.one(&[
        Kind::Nak,
        Kind::Status,
        Kind::Data,
        Kind::Repair,
        Kind::Announce,
        Kind::Heartbeat,
        Kind::Ncf,
        Kind::End,
    ])
}
