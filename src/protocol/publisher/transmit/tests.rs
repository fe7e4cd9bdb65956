//! Which datagrams share a run, and whose turn it is.

use super::super::Config;
use super::*;
use crate::wire::SourceId;

const NOW: Time = Time(1_000);

/// A publisher with so many streams, all of which were announced.
fn publisher(streams: u32) -> Publisher {
    let mut publisher = Publisher::new(Config::new(SourceId(7)), NOW);
    for id in 1..=streams {
        assert_eq!(publisher.open_stream(&format!("t{id}"), NOW), Some(id));
    }
    while publisher.poll_transmit(NOW).is_some() {}
    publisher
}

/// Sends one message to each stream, of these lengths in turn, in a datagram each.
fn send(publisher: &mut Publisher, streams: u32, lengths: &[usize]) {
    for (id, &length) in (1..=streams).zip(lengths.iter().cycle()) {
        publisher.send(id, &vec![0; length], NOW).unwrap();
        publisher.flush(id);
    }
}

/// The streams of each run that leaves.
fn runs(publisher: &mut Publisher) -> Vec<Vec<u32>> {
    let mut runs = Vec::new();
    while let Some(transmit) = publisher.poll_transmit(NOW) {
        let streams: Vec<u32> = publisher
            .datagrams()
            .map(|bytes| u32::from_be_bytes(bytes[12..16].try_into().unwrap()))
            .collect();
        assert_eq!(streams.len(), transmit.count);
        let is_even =
            |(at, bytes): (usize, &[u8])| bytes.len() == transmit.segment || at + 1 == transmit.count;
        assert!(publisher.datagrams().enumerate().all(is_even), "of one length, but for the last");
        runs.push(streams);
    }
    runs
}

#[test]
fn streams_share_a_run_where_their_datagrams_are_about_as_long() {
    let mut publisher = publisher(100);
    send(&mut publisher, 100, &[200]);
    let sent = runs(&mut publisher);
    assert_eq!(sent.concat(), (1..=100).collect::<Vec<_>>());
    let most = publisher.max_run() as usize;
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [most, most, 100 - 2 * most]);

    send(&mut publisher, 10, &[200, 1_000, 210]);
    assert_eq!(runs(&mut publisher), [&[1, 3, 4, 6, 7, 9, 10][..], &[2, 5, 8]]);
    // Alone it has none to wait for, and the shorter one ends its run.
    publisher.send(1, &[0; 1_000], NOW).unwrap();
    publisher.send(1, &[0; 500], NOW).unwrap();
    publisher.flush(1);
    let transmit = publisher.poll_transmit(NOW).unwrap();
    assert_eq!((transmit.count, publisher.poll_transmit(NOW)), (2, None));
}

#[test]
fn each_stream_has_its_turn_whatever_the_others_have() {
    let mut publisher = publisher(3);
    for _ in 0..100 {
        publisher.send(1, &[0; 1_340], NOW).unwrap();
    }
    publisher.flush(1);
    send(&mut publisher, 3, &[1_340, 100]);
    let sent = runs(&mut publisher);
    let most = publisher.max_run() as usize;
    assert_eq!(sent[0], vec![1; most]);
    // The one that is not as long is next; the one that is fills up the first stream's.
    assert_eq!(sent[1], [2]);
    assert_eq!(sent[2][0], 3);
    assert_eq!(sent.concat().iter().filter(|&&stream| stream == 1).count(), 101);
}

#[test]
fn what_the_socket_did_not_take_of_many_streams_is_given_again() {
    let mut publisher = publisher(5);
    send(&mut publisher, 5, &[200]);
    let before = publisher.stats().datagrams;
    assert_eq!(publisher.poll_transmit(NOW).unwrap().count, 5);
    publisher.retract(2);
    assert_eq!(publisher.stats().datagrams - before, 2);
    let mut again = runs(&mut publisher).concat();
    again.sort_unstable();
    assert_eq!(again, [3, 4, 5]);
}

#[test]
fn what_others_pack_goes_too_and_what_is_packed_on_the_stream_itself_does_not() {
    let mut publisher = publisher(4);
    for _ in 0..3 {
        for id in 1..=3 {
            publisher.send(id, &[0; 100], NOW).unwrap();
        }
        publisher.flush_others(2);
        let packing: Vec<bool> = (1..=4).map(|id| publisher.pending(id).1).collect();
        assert_eq!(packing, [false, true, false, false]);
        assert_eq!(runs(&mut publisher), [[1, 3]]);
        assert!(publisher.begun.len() <= 4);
    }
    publisher.flush_others(4);
    assert_eq!(runs(&mut publisher), [[2]]);
    assert_eq!(publisher.packing, 0);
}
