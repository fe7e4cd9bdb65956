//! Datagrams written and read.

use crate::Repeat;
use crate::publish::{SOURCE, publisher};
use nakcast::protocol::Time;
use nakcast::wire::{Body, Datagram, HEADER_LENGTH, Header, Kind};
use std::hint::black_box;

/// A message that fills a datagram, and one of which many share it.
const FULL: usize = 1_340;
const SHORT: usize = 32;
/// So many of those.
const MESSAGES: usize = 37;

/// A datagram with as many messages of `size` bytes as it holds.
fn datagram(size: usize, messages: usize) -> Vec<u8> {
    let (mut publisher, stream) = publisher();
    for _ in 0..messages {
        publisher.send(stream, &vec![0x5a; size], Time(1)).expect("nobody is waited for");
    }
    publisher.flush(stream);
    assert!(publisher.poll_transmit(Time(1)).is_some());
    let datagrams: Vec<&[u8]> = publisher.datagrams().collect();
    assert_eq!(datagrams.len(), 1, "they share one");
    datagrams[0].to_vec()
}

/// The header and both checksums.
pub(crate) fn encode() -> Repeat {
    let mut datagram = datagram(FULL, 1);
    let mut number = 0;
    Box::new(move || {
        number += 1;
        let header = Header::new(Kind::Data, SOURCE, 1);
        let header = Header { sequence: number, message: number, sent: number, stamp: number, ..header };
        let payload = datagram.len() - HEADER_LENGTH;
        header.emit(black_box(&mut datagram), payload);
        1
    })
}

/// All checks, and each message found.
pub(crate) fn decode() -> Repeat {
    let datagram = datagram(SHORT, MESSAGES);
    Box::new(move || {
        let parsed = Datagram::parse(black_box(&datagram)).expect("as it was written");
        let Ok(Body::Records(records)) = parsed.body() else { panic!("as it was written") };
        let bytes: usize = records.into_iter().map(<[u8]>::len).sum();
        assert_eq!(black_box(bytes), MESSAGES * SHORT);
        1
    })
}
