//! A subscriber with loss: what came to one in a run between two state machines is given to another of the same seed, which
//! so does the same. Only that is measured.

use crate::{Repeat, addresses};
use nakcast::protocol::subscriber::{self, Subscriber};
use nakcast::protocol::{Event, Time, publisher};
use nakcast::wire::{ReceiverId, SourceId};
use std::hint::black_box;
use std::time::Duration;

/// Messages of a run, each of which fills a datagram.
const MESSAGES: usize = 16_384;
const SIZE: usize = 1_340;
/// Datagrams that come at once, and how far apart such batches are: 320,000 a second, and a round trip of two batches.
const BATCH: usize = 16;
const SPACING: Duration = Duration::from_micros(50);
/// Batches after which a run has not come to its end as it should.
const MOST_BATCHES: usize = 100 * MESSAGES / BATCH;

/// What comes at one moment.
struct Batch {
    now: Time,
    datagrams: Vec<Vec<u8>>,
}

fn subscriber() -> Subscriber {
    // Little memory: making it is part of what is measured.
    let config = subscriber::Config { reorder: 4 << 20, ..subscriber::Config::new(ReceiverId(9)) };
    Subscriber::new(config, Time(0))
}

/// What a driver does with a batch. Gives what is to be sent to `send`; tells how many messages were delivered.
fn take(subscriber: &mut Subscriber, batch: &Batch, mut send: impl FnMut(&[u8])) -> usize {
    let (from, _) = addresses();
    let mut messages = 0;
    let mut tell = |event: Event<'_>| match event {
        Event::Message(message) => messages += usize::from(black_box(message.payload()).len() == SIZE),
        Event::Gap(gap) => panic!("{gap}"),
        _ => {}
    };
    let mut deliver = |subscriber: &mut Subscriber, current: &[u8]| {
        loop {
            subscriber.rest(current, usize::MAX, &mut tell);
            let Some(ready) = subscriber.advance(current) else { break };
            tell(subscriber.event(&ready, current));
        }
    };
    for datagram in &batch.datagrams {
        subscriber.handle_datagram(batch.now, from, datagram);
        deliver(subscriber, datagram);
    }
    if subscriber.poll_timeout(batch.now).is_some_and(|(at, _)| at.is_due(batch.now)) {
        subscriber.handle_timeout(batch.now);
        deliver(subscriber, &[]);
    }
    while let Some(transmit) = subscriber.poll_transmit(batch.now) {
        send(subscriber.datagram(&transmit));
    }
    messages
}

/// A run in which that share of the datagrams is lost on the way to the subscriber, until all messages are there.
fn record(loss: f64) -> Vec<Batch> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut publisher = publisher::Publisher::new(publisher::Config::new(SourceId(7)), Time(0));
    let stream = publisher.open_stream("t", Time(0)).expect("the first");
    let mut subscriber = subscriber();
    let (mut sent, mut delivered) = (0, 0);
    let mut batches = Vec::new();
    let mut now = Time(1);
    let (_, from) = addresses();
    while delivered < MESSAGES {
        assert!(batches.len() < MOST_BATCHES, "{delivered} of {sent} messages came");
        now = now + SPACING;
        // Once it has been heard from: what it was told of before is not lost.
        let last = if publisher.receivers_of(stream) == 0 { sent } else { MESSAGES.min(sent + BATCH) };
        while sent < last && publisher.send(stream, &[0x5a; SIZE], now).is_ok() {
            sent += 1;
        }
        publisher.flush(stream);
        if publisher.poll_timeout(now).0.is_due(now) {
            publisher.handle_timeout(now);
        }
        let mut datagrams = Vec::new();
        while publisher.poll_transmit(now).is_some() {
            datagrams.extend(publisher.datagrams().map(<[u8]>::to_vec));
        }
        if sent > 0 {
            datagrams.retain(|_| random.f64() >= loss);
        }
        let batch = Batch { now, datagrams };
        delivered += take(&mut subscriber, &batch, |datagram| publisher.handle_datagram(now, from, datagram));
        batches.push(batch);
    }
    let stats = subscriber.stats();
    assert_eq!(stats.lost, 0);
    assert_eq!(stats.missed > 0, loss > 0.0, "what is lost is found");
    batches
}

/// A step is a datagram that came.
pub(crate) fn track(loss: f64) -> Repeat {
    let batches = record(loss);
    let datagrams = batches.iter().map(|batch| batch.datagrams.len() as u64).sum();
    Box::new(move || {
        let mut subscriber = subscriber();
        let mut nothing = |datagram: &[u8]| {
            black_box(datagram);
        };
        let delivered: usize = batches.iter().map(|batch| take(&mut subscriber, batch, &mut nothing)).sum();
        assert_eq!(delivered, MESSAGES, "as in the run it was taken from");
        datagrams
    })
}
