//! What the fuzz targets found, told as a story each: what the bytes in `regressions` do not show.

use nakcast::protocol::publisher::{Config, Publisher, Refused};
use nakcast::protocol::subscriber::{self, Contract, Subscriber};
use nakcast::protocol::{Event, Time};
use nakcast::wire::{
    Announce, End, HEADER_LENGTH, Header, Kind, Position, ReceiverId, SourceId, Status, data, flag,
};
use std::net::SocketAddr;
use std::time::Duration;

const SOURCE: SourceId = SourceId(7);

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7_000))
}

fn datagram(header: Header, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0; 1_408];
    let length = write(&mut bytes[HEADER_LENGTH..]);
    header.emit(&mut bytes, length);
    bytes.truncate(HEADER_LENGTH + length);
    bytes
}

/// A receiver held a stream back when it was closed and given up. When the receiver's patience ran out, the stream was looked
/// at once more, and took a chunk of the window that nobody gave back.
#[test]
fn a_stream_that_was_given_up_while_it_was_held_back_takes_no_memory() {
    let mut now = Time(1_000_000_000);
    let config = Config { window: 0, datagram: 65_507, ..Config::new(SOURCE) };
    let patience = config.patience;
    let mut publisher = Publisher::new(config, now);
    let stream = publisher.open_stream("a", now).expect("there is room for one");
    let header = Header { stamp: now.0, ..Header::new(Kind::Status, SOURCE, 0) };
    let status = datagram(header, |payload| {
        let mut list = Status::emit(payload, ReceiverId(1), 0);
        list.push_position(&Position { stream, ended: false, missed: 0, position: 1, limit: 1 });
        list.length()
    });
    publisher.handle_datagram(now, address(1), &status);
    publisher.send(stream, b"one", now).expect("it may send one");
    publisher.flush(stream);
    assert!(matches!(publisher.send(stream, b"two", now), Err(Refused::BackPressured { .. })));

    publisher.close_stream(stream, now);
    publisher.release_stream(stream);
    assert_eq!(publisher.memory_in_use(), 0);
    now = now + patience * 2;
    publisher.handle_timeout(now);
    assert_eq!(publisher.memory_in_use(), 0);
}

/// What a subscriber tells of one stream: the messages and how many were lost.
fn told(contract: Contract, parts: &[(u64, u64, u32, &[u8], u32)], next: u64) -> (Vec<(u64, Vec<u8>)>, u64) {
    let now = Time(1_000_000_000);
    let config = subscriber::Config { contract, ..subscriber::Config::new(ReceiverId(1)) };
    let mut subscriber = Subscriber::new(config, now);
    let announce = Announce {
        age: 0,
        trail: 1,
        trail_message: 1,
        idle_interval: 100_000,
        window: 100,
        datagram: 1_408,
        topic: "a",
    };
    let header = |kind, sequence, message| Header { sequence, message, ..Header::new(kind, SOURCE, 1) };
    let mut datagrams = vec![datagram(header(Kind::Announce, 0, 1), |payload| announce.emit(payload))];
    for &(sequence, message, offset, bytes, total) in parts {
        let header = Header { flags: flag::FRAGMENT, ..header(Kind::Data, sequence, message) };
        datagrams.push(datagram(header, |payload| {
            data::emit_fragment(payload, offset, total);
            payload[8..8 + bytes.len()].copy_from_slice(bytes);
            8 + bytes.len()
        }));
    }
    let end = header(Kind::End, parts.len() as u64, next);
    datagrams.push(datagram(end, |payload| End { trail: 1 }.emit(payload)));
    let (mut messages, mut lost) = (Vec::new(), 0);
    for bytes in &datagrams {
        subscriber.handle_datagram(now + Duration::from_millis(1), address(9), bytes);
        while let Some(ready) = subscriber.advance(bytes) {
            match subscriber.event(&ready, bytes) {
                Event::Message(message) => messages.push((message.number(), message.payload().to_vec())),
                Event::Gap(gap) => lost += gap.messages(),
                _ => {}
            }
        }
    }
    (messages, lost)
}

#[test]
fn parts_that_fit_each_other_are_a_message() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let parts: [(u64, u64, u32, &[u8], u32); 2] =
            [(1, 1, 0, b"0123456789", 15), (2, 1, 10, b"abcde", 15)];
        assert_eq!(told(contract, &parts, 2), (vec![(1, b"0123456789abcde".to_vec())], 0));
    }
}

/// PROTOCOL.md: the fragments of one message follow each other without gap or overlap, and a receiver that sees this broken
/// counts the message as lost. Here two parts overlap, and their lengths add up to the whole: bytes that nobody sent were
/// delivered.
#[test]
fn parts_that_overlap_are_a_lost_message() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let parts: [(u64, u64, u32, &[u8], u32); 2] =
            [(1, 1, 0, b"0123456789", 21), (2, 1, 5, b"01234567890", 21)];
        let (messages, lost) = told(contract, &parts, 2);
        assert_eq!((messages, lost), (vec![], 1), "{contract:?}");
    }
}

/// The same by arrival, with parts enough for two: the message was delivered, and delivered again or told as lost.
#[test]
fn a_message_whose_parts_overlap_is_told_of_once() {
    let parts: Vec<(u64, u64, u32, &[u8], u32)> =
        (1..=4).map(|sequence| (sequence, 1, u32::from(sequence > 1), &b"0123456789"[..], 20)).collect();
    let (messages, lost) = told(Contract::Arrival, &parts, 2);
    assert_eq!(messages.len() as u64 + lost, 1, "{messages:?}, and {lost} lost");
}

/// A publisher that opens and closes topics for as long as it lives has few at a time. A subscriber that knows as many as it
/// may know, all of them over, still takes the next.
#[test]
fn streams_that_are_over_make_room_for_others() {
    let now = Time(1_000_000_000);
    let config = subscriber::Config { max_streams: 4, ..subscriber::Config::new(ReceiverId(1)) };
    let mut subscriber = Subscriber::new(config, now);
    let mut ended = 0;
    for stream in 1..=8 {
        let header = |kind| Header { message: 1, ..Header::new(kind, SOURCE, stream) };
        let (idle_interval, window, topic) = (100_000, 100, "a");
        let announce =
            Announce { age: 0, trail: 1, trail_message: 1, idle_interval, window, datagram: 1_408, topic };
        let announce = datagram(header(Kind::Announce), |payload| announce.emit(payload));
        let end = datagram(header(Kind::End), |payload| End { trail: 1 }.emit(payload));
        for bytes in [announce, end] {
            subscriber.handle_datagram(now, address(9), &bytes);
            while let Some(ready) = subscriber.advance(&bytes) {
                ended += u32::from(matches!(subscriber.event(&ready, &bytes), Event::StreamEnd(_)));
            }
            // The publisher is told of the end first.
            while subscriber.poll_transmit(now).is_some() {}
        }
    }
    assert_eq!((ended, subscriber.stats().streams_refused), (8, 0));
}

/// A receiver held a stream back; the application gave up what it wanted to send, and the receiver left. Nobody is there, and
/// nothing happens: the source's own heartbeat is enough. The stream was shown every four milliseconds for ever, and a few
/// such streams used up a rate of 1 Mbit/s, so that other streams' data never left.
#[test]
fn nobody_left_to_hold_a_stream_back_is_no_reason_for_heartbeats() {
    let mut now = Time(1_000_000_000);
    let mut publisher = Publisher::new(Config::new(SOURCE), now);
    let stream = publisher.open_stream("a", now).expect("there is room for one");
    let status = |now: Time, flags| {
        let header = Header { flags, stamp: now.0, ..Header::new(Kind::Status, SOURCE, 0) };
        datagram(header, |payload| {
            let mut list = Status::emit(payload, ReceiverId(1), 0);
            list.push_position(&Position { stream, ended: false, missed: 0, position: 2, limit: 1 });
            list.length()
        })
    };
    publisher.send(stream, b"one", now).expect("it may send one");
    publisher.flush(stream);
    while publisher.poll_transmit(now).is_some() {}
    publisher.handle_datagram(now, address(1), &status(now, 0));
    assert!(matches!(publisher.send(stream, b"two", now), Err(Refused::BackPressured { .. })));
    publisher.handle_datagram(now, address(1), &status(now, flag::LEAVING));
    assert!(publisher.receivers().is_empty());

    let until = now + Duration::from_secs(10);
    while now < until {
        while publisher.poll_transmit(now).is_some() {}
        now = publisher.poll_timeout(now).0.max(now);
        publisher.handle_timeout(now);
    }
    // Two a second are the source's own, and some follow the change.
    assert!(publisher.stats().heartbeats < 60, "{} heartbeats", publisher.stats().heartbeats);
}
