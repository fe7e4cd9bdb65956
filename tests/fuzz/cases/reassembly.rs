//! Messages in parts, on their own: cut in any lengths, lost, doubled and out of order, with little memory. Every message is
//! delivered whole or told as lost, once, and all memory is given back. Parts that contradict each other harm their own
//! message at the most.

use super::input::Input;
use super::{datagram, fragment, is_content, record, sent};
use nakcast::protocol::subscriber::{Config, Contract, Subscriber};
use nakcast::protocol::{EndReason, Event, GapReason, Time};
use nakcast::wire::{
    Announce, End, Header, Heartbeat, Kind, MAX_SEQUENCE, ReceiverId, SourceId, StreamState, flag,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const SOURCE: SourceId = SourceId(7);
const STREAM: u32 = 1;
const MOST_DATAGRAMS: usize = 250;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut case = Case::new(&mut input);
    case.announce();
    let mut steps = 0;
    while !input.is_empty() && steps < 2_000 {
        case.step(&mut input);
        steps += 1;
    }
    case.finish();
}

/// A message as it was sent.
#[derive(Clone, Copy)]
struct Message {
    length: usize,
    /// A part of it contradicts the others.
    spoilt: bool,
}

struct Case {
    config: Config,
    subscriber: Subscriber,
    now: Time,
    messages: Vec<Message>,
    datagrams: Vec<Vec<u8>>,
    /// By number, how often each was delivered.
    delivered: BTreeMap<u64, u32>,
    lost: u64,
    /// In order: the number of the next.
    next: u64,
    ended: bool,
}

impl Case {
    fn new(input: &mut Input) -> Case {
        let contract = match input.below(4) {
            0 | 1 => Contract::Ordered,
            2 => Contract::Arrival,
            _ => Contract::Deadline(Duration::from_millis(50)),
        };
        let config = Config {
            contract,
            reorder: 0,
            max_message: input.one(&[10_000, 2_000]),
            reassembly: input.one(&[30_000, 3_000, 1 << 20]),
            ..Config::new(ReceiverId(1))
        };
        let (mut messages, mut datagrams) = (Vec::new(), Vec::new());
        for number in 1..=1 + input.below(40) {
            let most = input.one(&[50, 12_000, 3_000]);
            let length = input.index(most);
            // Parts of all lengths, but not more of them than are worth it.
            let most = input.one(&[1_000, 60]);
            let part = (1 + input.index(most)).max(length / 60);
            let spoils = input.once_in(20);
            let mut message = Message { length, spoilt: false };
            let header = |sequence: usize, flags| Header {
                flags,
                sequence: sequence as u64 + 1,
                message: number,
                ..Header::new(Kind::Data, SOURCE, STREAM)
            };
            if length <= part {
                let header = header(datagrams.len(), 0);
                datagrams.push(datagram(&header, |payload| record(payload, 1, number, length)));
            } else {
                for offset in (0..length).step_by(part) {
                    let mut piece = (offset as u32, part.min(length - offset), length as u32);
                    if spoils && input.once_in(4) {
                        message.spoilt = true;
                        match input.below(3) {
                            0 => piece.0 = input.below(piece.2.into()) as u32,
                            1 => piece.1 = 1 + input.index(1_000),
                            _ => piece.2 = input.word(),
                        }
                        piece.2 = piece.2.max(piece.0 + piece.1 as u32);
                    }
                    let header = header(datagrams.len(), flag::FRAGMENT);
                    datagrams.push(datagram(&header, |payload| fragment(payload, 1, number, piece)));
                }
            }
            messages.push(message);
            if datagrams.len() > MOST_DATAGRAMS {
                break;
            }
        }
        let now = Time(1_000_000_000);
        let subscriber = Subscriber::new(config.clone(), now);
        let (delivered, lost, next) = (BTreeMap::new(), 0, 1);
        Case { config, subscriber, now, messages, datagrams, delivered, lost, next, ended: false }
    }

    fn source() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 7_000))
    }

    /// The number of the first message to start behind all datagrams.
    fn next_message(&self) -> u64 {
        self.messages.len() as u64 + 1
    }

    fn announce(&mut self) {
        let announce = Announce {
            age: 0,
            trail: 1,
            trail_message: 1,
            idle_interval: u32::MAX,
            window: 10_000,
            datagram: 1_408,
            topic: "a",
        };
        let header = Header { message: 1, ..Header::new(Kind::Announce, SOURCE, STREAM) };
        let bytes = datagram(&header, |payload| announce.emit(payload));
        self.receive(&bytes);
        self.take(&bytes, u64::MAX);
    }

    fn step(&mut self, input: &mut Input) {
        match input.byte() % 8 {
            0 => {
                self.now = self.now + Duration::from_millis(1 + input.below(40));
                self.subscriber.handle_timeout(self.now);
                self.take(&[], u64::MAX);
                self.transmit();
            }
            1 => {
                // All that was sent is told of, so that anything may come first.
                let state = StreamState {
                    stream: STREAM,
                    trail: 1,
                    lead: self.datagrams.len() as u64,
                    next_message: self.next_message(),
                    limit: MAX_SEQUENCE,
                };
                let bytes = datagram(&Header::new(Kind::Heartbeat, SOURCE, 0), |payload| {
                    let mut list = Heartbeat::emit(payload, u32::MAX, 1, 100_000, ReceiverId(0));
                    list.push_stream(&state);
                    list.length()
                });
                self.receive(&bytes);
                self.take(&bytes, u64::MAX);
            }
            2..=4 => {
                let at = input.index(self.datagrams.len());
                let take = if input.once_in(3) { input.below(3) } else { u64::MAX };
                self.give(at, take);
            }
            _ => {
                // A run of them.
                let at = input.index(self.datagrams.len());
                let end = (at + 1 + input.index(20)).min(self.datagrams.len());
                for at in at..end {
                    self.give(at, u64::MAX);
                }
            }
        }
        let (_, parts) = self.subscriber.memory_in_use();
        assert!(parts <= self.config.reassembly);
    }

    /// One of the datagrams comes, and the application takes so many events.
    fn give(&mut self, at: usize, take: u64) {
        let bytes = self.datagrams[at].clone();
        self.receive(&bytes);
        self.take(&bytes, take);
        self.subscriber.park(&bytes);
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.subscriber.handle_datagram(self.now, Case::source(), bytes);
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.subscriber.poll_transmit(self.now) {
            sent(self.subscriber.datagram(&transmit));
        }
    }

    fn take(&mut self, current: &[u8], most: u64) {
        let in_order = self.config.contract != Contract::Arrival;
        for _ in 0..most {
            let Some(ready) = self.subscriber.advance(current) else { return };
            match self.subscriber.event(&ready, current) {
                Event::Message(message) => {
                    let Message { length, spoilt } = self.messages[message.number() as usize - 1];
                    if !spoilt {
                        assert_eq!(message.payload().len(), length);
                        assert!(is_content(message.payload(), 1, message.number(), 0));
                    }
                    assert!(length <= self.config.max_message || spoilt || length <= 1_000);
                    *self.delivered.entry(message.number()).or_default() += 1;
                    if in_order {
                        assert_eq!(message.number(), self.next);
                    }
                    self.next = message.number() + 1;
                }
                Event::Gap(gap) => {
                    assert!(gap.messages() > 0 && gap.first() <= gap.last());
                    assert!(gap.reason() != GapReason::AgedOut);
                    self.lost += gap.messages();
                    self.next += gap.messages();
                }
                Event::StreamUp(stream) => assert_eq!(stream.sequence(), 1),
                Event::StreamEnd(stream) => {
                    assert_eq!(stream.end_reason(), Some(EndReason::Closed));
                    self.ended = true;
                }
                other => panic!("{other:?} is new here"),
            }
        }
    }

    /// Everything comes at last, and then the end.
    fn finish(&mut self) {
        for _ in 0..3 {
            for at in 0..self.datagrams.len() {
                self.give(at, u64::MAX);
            }
        }
        let header = Header {
            sequence: self.datagrams.len() as u64,
            message: self.next_message(),
            ..Header::new(Kind::End, SOURCE, STREAM)
        };
        let bytes = datagram(&header, |payload| End { trail: 1 }.emit(payload));
        self.receive(&bytes);
        self.take(&bytes, u64::MAX);
        let honest = !self.messages.iter().any(|message| message.spoilt);
        // A part that cannot be where it is counts as one that did not come, until it was asked for several times.
        if !honest && !self.ended && self.subscriber.stats().contradictions > 0 {
            return;
        }
        assert!(self.ended, "all is here, and the stream is over");
        let delivered: u64 = self.delivered.values().map(|&times| u64::from(times)).sum();
        assert!(self.delivered.values().all(|&times| times == 1), "every message once");
        assert_eq!(delivered + self.lost, self.messages.len() as u64, "none is left out in silence");
        assert_eq!(self.subscriber.memory_in_use(), (0, 0), "all memory is given back");
        if honest && self.config.contract == Contract::Ordered {
            // In order there is one message in parts at a time, and memory for one of any length that may be.
            let most = self.config.max_message.min(self.config.reassembly);
            let possible = self.messages.iter().filter(|message| message.length <= most).count();
            assert!(delivered >= possible as u64, "what there is memory for is delivered");
        }
    }
}
