//! A publisher's window: messages go in, datagrams are found again.

use crate::{Repeat, addresses};
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{Config, Flow, Publisher};
use nakcast::wire::{HEADER_LENGTH, Header, Kind, Nak, Range, ReceiverId, SourceId};
use std::hint::black_box;
use std::time::Duration;

pub(crate) const SOURCE: SourceId = SourceId(7);
/// Messages to a call.
const MESSAGES: u64 = 1_024;
/// Of which several share a datagram, and of which one fills it.
const SHORT: usize = 256;
const FULL: usize = 1_340;
/// What is in the window, and what of it one NAK asks for: ranges of four, with as much between.
const HELD: u64 = 10_000;
const RANGES: u64 = 8;
const RANGE: u32 = 4;

pub(crate) fn publisher() -> (Publisher, u32) {
    let config = Config { window: 16 << 20, flow: Flow::None, ..Config::new(SOURCE) };
    let mut publisher = Publisher::new(config, Time(0));
    let stream = publisher.open_stream("t", Time(0)).expect("the first");
    transmit(&mut publisher, Time(0));
    (publisher, stream)
}

/// Transmits what there is; tells how many datagrams of it are data or repairs.
fn transmit(publisher: &mut Publisher, now: Time) -> u64 {
    let mut count = 0;
    while publisher.poll_transmit(now).is_some() {
        for datagram in black_box(publisher.datagrams()) {
            let kind = datagram.get(5).copied();
            count += u64::from(kind == Some(Kind::Data as u8) || kind == Some(Kind::Repair as u8));
        }
    }
    count
}

/// Messages are taken, and leave in runs as long as they may be; what is older leaves the window.
pub(crate) fn insert() -> Repeat {
    let (mut publisher, stream) = publisher();
    let message = [0x5a; SHORT];
    let mut now = Time(1);
    Box::new(move || {
        for _ in 0..MESSAGES {
            now = now + Duration::from_nanos(100);
            publisher.send(stream, black_box(&message), now).expect("nobody is waited for");
            if publisher.pending(stream).0 >= publisher.max_run() {
                transmit(&mut publisher, now);
            }
        }
        MESSAGES
    })
}

/// A receiver that is known asks for datagrams in the midst of the window, each time for others, and they are sent again.
pub(crate) fn repair() -> Repeat {
    let (mut publisher, stream) = publisher();
    let mut now = Time(1);
    for _ in 0..HELD {
        now = now + Duration::from_nanos(1_000);
        publisher.send(stream, &[0x5a; FULL], now).expect("nobody is waited for");
        publisher.flush(stream);
        assert_eq!(transmit(&mut publisher, now), 1);
    }
    let (_, from) = addresses();
    let mut first = 1;
    Box::new(move || {
        // So long that every budget is full again.
        now = now + Duration::from_secs(1);
        first = if first + 2 * RANGES * u64::from(RANGE) > HELD { 1 } else { first + 1 };
        let mut nak = [0; 512];
        let mut list = Nak::emit(&mut nak[HEADER_LENGTH..], ReceiverId(9), 0);
        for range in 0..RANGES {
            list.push_range(Range { first: first + range * 2 * u64::from(RANGE), count: RANGE });
        }
        let length = list.length();
        let header = Header::new(Kind::Nak, SOURCE, stream);
        Header { stamp: now.0, ..header }.emit(&mut nak, length);
        publisher.handle_datagram(now, from, &nak[..HEADER_LENGTH + length]);
        let sent = transmit(&mut publisher, now);
        assert_eq!(sent, RANGES * u64::from(RANGE), "each that was asked for");
        sent
    })
}
