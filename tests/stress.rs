//! Many threads at once, over real sockets on `lo`: what the application's threads, the service thread and a detached
//! subscriber's thread share is used from all sides, and everything still comes in order and whole.
//!
//! Nearly all that is shared lies under one mutex with its condition variable, or is a descriptor of the kernel's. What messages
//! in a tight loop go through is memory of its own and one flag: see `src/driver/inlet.rs` and `tests/bulk.rs`. Threads are let
//! loose on all of it here.
//!
//! `NAKCAST_STRESS=50 cargo test --release --test stress` does fifty times as much.

use nakcast::{
    DetachedSubscriber, EndReason, Endpoint, Event, Publisher, Queue, SendError, SourceId, Subscriber,
    WhenFull,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

fn times() -> u64 {
    std::env::var("NAKCAST_STRESS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// A group of this test's own.
fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 80, number], port))
}

/// A message that tells its topic's number and its own; some are empty but for that, some larger than a datagram.
fn message(topic: u64, number: u64) -> Vec<u8> {
    let length = match number % 97 {
        0 => 20_000,
        1..20 => 1_300,
        _ => number as usize % 200,
    };
    let mut bytes = [topic.to_be_bytes(), number.to_be_bytes()].concat();
    bytes.resize(16 + length, number as u8);
    bytes
}

/// Checks a message, and gives its topic's number.
fn check(payload: &[u8], number: u64) -> u64 {
    let (topic, _) = payload.split_first_chunk().expect("a topic's number");
    let topic = u64::from_be_bytes(*topic);
    assert!(payload == message(topic, number), "message {number} of topic {topic} is not what was published");
    topic
}

/// Publishes in every way there is; messages are numbered from 1.
fn publish(publisher: &mut Publisher, topic: u64, count: u64) {
    for number in 1..=count {
        let bytes = message(topic, number);
        match number % 4 {
            0 if bytes.len() < 1_300 => {
                // One that is given up takes no number.
                drop(publisher.claim(bytes.len() / 2).expect("room"));
                let mut claim = publisher.claim(bytes.len()).expect("room");
                claim.copy_from_slice(&bytes);
                claim.commit();
            }
            1 => match publisher.try_send(&bytes) {
                Ok(()) => {}
                Err(SendError::BackPressured { .. }) => publisher.send(&bytes).expect("sent"),
                Err(error) => panic!("{error}"),
            },
            2 => match publisher.send_timeout(&bytes, Duration::from_micros(50)) {
                Ok(()) => {}
                Err(SendError::BackPressured { .. }) => publisher.send(&bytes).expect("sent"),
                Err(error) => panic!("{error}"),
            },
            _ => publisher.send(&bytes).expect("sent"),
        }
        if number % 13 == 0 {
            publisher.flush().expect("sent");
        }
    }
}

/// Reads until so many streams were closed: each message once and in order, and none lost. Gives how many there were of each.
fn read(mut subscriber: Subscriber, streams: usize) -> HashMap<u32, u64> {
    let (mut seen, mut ended) = (HashMap::new(), 0);
    while ended < streams {
        match subscriber.recv_timeout(DEADLINE).expect("it goes on").expect("something comes in time") {
            Event::Message(message) => {
                let next = seen.entry(message.stream_id()).or_insert(0);
                *next += 1;
                assert_eq!(message.number(), *next, "in order on {}", message.topic());
                check(message.payload(), message.number());
            }
            Event::StreamEnd(stream) => {
                assert_eq!(stream.end_reason(), Some(EndReason::Closed));
                ended += 1;
            }
            Event::Gap(gap) => panic!("{gap}"),
            _ => {}
        }
    }
    seen
}

#[test]
fn threads_that_share_an_endpoint_do_not_get_in_each_others_way() {
    const LASTING: u64 = 3;
    const BRIEF: u64 = 5;
    let (rounds, count) = (4 * times(), 10_000 * times());
    // Loss keeps the service thread busy with repairs.
    let subscriber = Subscriber::builder(group(1)).interface("lo").topic(">").drop_datagrams(0.02, 1);
    let subscriber = subscriber.open().expect("a subscriber");
    let streams = (LASTING + rounds * BRIEF) as usize;
    let reader = thread::spawn(move || read(subscriber, streams));

    let endpoint = Endpoint::open(Publisher::builder(group(1)).interface("lo")).expect("an endpoint");
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let (endpoint, done) = (&endpoint, &done);
        let lasting: Vec<_> = (0..LASTING)
            .map(|topic| {
                scope.spawn(move || {
                    let mut publisher = endpoint.publisher(format!("lasting.{topic}")).expect("a topic");
                    publisher.wait_for(1, Some(DEADLINE)).expect("the subscriber is heard from");
                    publish(&mut publisher, topic, count);
                    let stream = publisher.stream_id();
                    publisher.close(DEADLINE).expect("everybody has everything");
                    vec![(stream, count)]
                })
            })
            .collect();
        let brief = scope.spawn(move || {
            let mut sent = Vec::new();
            for round in 0..rounds {
                let mut publishers: Vec<_> = (0..BRIEF)
                    .map(|topic| endpoint.publisher(format!("brief.{topic}")).expect("a topic"))
                    .collect();
                for (topic, publisher) in publishers.iter_mut().enumerate() {
                    let few = 1 + (round * 31 + topic as u64 * 7) % 150;
                    publish(publisher, 100 + topic as u64, few);
                    publisher.end();
                    assert_eq!(publisher.try_send(b"late"), Err(SendError::Closed));
                    sent.push((publisher.stream_id(), few));
                }
                for publisher in publishers {
                    publisher.close(DEADLINE).expect("everybody has everything");
                }
            }
            sent
        });
        let watcher = scope.spawn(move || {
            let (mut messages, mut looks) = (0, 0_u64);
            while !done.load(Ordering::Relaxed) {
                let stats = endpoint.stats();
                assert!(stats.messages >= messages, "counters do not go back");
                assert!(stats.receivers <= 1 && endpoint.receivers().len() <= 1);
                while endpoint.poll_event().is_some() {}
                messages = stats.messages;
                looks += 1;
                thread::yield_now();
            }
            looks
        });
        let threads = lasting.into_iter().chain([brief]);
        let sent: Vec<(u32, u64)> = threads.flat_map(|thread| thread.join().expect("a thread")).collect();
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().expect("the watcher") > 0);
        sent
    });
    let seen = reader.join().expect("the reader");
    assert_eq!(sent.len(), streams);
    for (stream, count) in sent {
        assert_eq!(seen.get(&stream), Some(&count), "stream {stream} came whole");
    }
    let stats = endpoint.stats();
    assert!(stats.repairs > 0, "the loss was repaired while all this went on");
}

/// What a detached subscriber gave.
#[derive(Default)]
struct Taken {
    /// By stream: the number of the next message, gaps counted.
    next: HashMap<(SourceId, u32), u64>,
    messages: u64,
    lost: u64,
    ended: usize,
}

/// Takes some events: false when all streams are over.
fn take(subscriber: &mut DetachedSubscriber, taken: &mut Taken, streams: usize, most: usize) -> bool {
    for at in 0..most {
        if taken.ended == streams {
            return false;
        }
        let event = match at % 3 {
            0 => subscriber.try_recv().expect("it goes on"),
            1 => subscriber.recv_timeout(Duration::from_millis(1)).expect("it goes on"),
            _ => {
                Some(subscriber.recv_timeout(DEADLINE).expect("it goes on").expect("something comes in time"))
            }
        };
        match event {
            Some(Event::Message(message)) => {
                let next = taken.next.entry((message.source(), message.stream_id())).or_insert(1);
                assert_eq!(message.number(), *next, "in order, and no gap is silent");
                check(message.payload(), message.number());
                *next += 1;
                taken.messages += 1;
            }
            Some(Event::Gap(gap)) => {
                *taken.next.entry((gap.source(), gap.stream_id())).or_insert(1) += gap.messages();
                taken.lost += gap.messages();
            }
            Some(Event::StreamEnd(_)) => taken.ended += 1,
            _ => {}
        }
    }
    true
}

#[test]
fn detached_subscribers_of_every_policy_lose_nothing_in_silence() {
    const TOPICS: u64 = 4;
    let count = 5_000 * times();
    let policies = [
        (WhenFull::Block, 65_536),
        (WhenFull::Block, 1),
        (WhenFull::DropOldest, 32),
        (WhenFull::DropNewest, 32),
        (WhenFull::DropOldest, 1),
    ];
    let readers: Vec<_> = policies
        .into_iter()
        .map(|(when_full, capacity)| {
            let subscriber = Subscriber::builder(group(2)).interface("lo").topic("load.*").open();
            let queue = Queue { capacity, when_full };
            let mut subscriber = subscriber.expect("a subscriber").detach(queue).expect("a thread");
            // Two threads in turn, one of which looks at everything there is to look at.
            let (to_other, from_one) = mpsc::channel::<(DetachedSubscriber, Taken)>();
            let (to_one, from_other) = mpsc::channel();
            let other = thread::spawn(move || {
                for (mut subscriber, mut taken) in from_one {
                    let more = take(&mut subscriber, &mut taken, TOPICS as usize, 500);
                    assert!(
                        subscriber.stats().messages >= taken.messages || subscriber.len() <= capacity + 2
                    );
                    if to_one.send((subscriber, taken, more)).is_err() {
                        break;
                    }
                }
            });
            thread::spawn(move || {
                let mut taken = Taken::default();
                while take(&mut subscriber, &mut taken, TOPICS as usize, 700) {
                    to_other.send((subscriber, taken)).expect("the other thread");
                    let more;
                    (subscriber, taken, more) = from_other.recv().expect("the other thread");
                    if !more {
                        break;
                    }
                }
                drop(to_other);
                other.join().expect("the other thread");
                (when_full, taken)
            })
        })
        .collect();
    let endpoint = Endpoint::open(Publisher::builder(group(2)).interface("lo")).expect("an endpoint");
    thread::scope(|scope| {
        for topic in 0..TOPICS {
            let endpoint = &endpoint;
            scope.spawn(move || {
                let mut publisher = endpoint.publisher(format!("load.{topic}")).expect("a topic");
                publisher.wait_for(policies.len(), Some(DEADLINE)).expect("all subscribers are heard from");
                publish(&mut publisher, topic, count);
                publisher.close(DEADLINE).expect("everybody has everything");
            });
        }
    });
    for reader in readers {
        let (when_full, taken) = reader.join().expect("a reader");
        assert_eq!(taken.messages + taken.lost, TOPICS * count, "{when_full:?}");
        assert!(taken.next.values().all(|&next| next == count + 1), "{when_full:?}");
        assert!(when_full != WhenFull::Block || taken.lost == 0, "who waits loses nothing");
        assert!(taken.messages > 0);
    }
}

#[test]
fn whatever_is_dropped_in_the_middle_of_things_hangs_nobody() {
    for round in 0..10 * times() {
        let endpoint = Endpoint::open(Publisher::builder(group(3)).interface("lo")).expect("an endpoint");
        let mut publisher = endpoint.publisher("a").expect("a topic");
        let open = || Subscriber::builder(group(3)).interface("lo").open().expect("a subscriber");
        let queue = Queue { capacity: 1, when_full: WhenFull::Block };
        let mut detached = open().detach(queue).expect("a thread");
        let driven = open();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    match publisher.try_send(&message(1, number)) {
                        Ok(()) | Err(SendError::BackPressured { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                publisher.end();
                publisher
            });
            // The detached one's queue is full, its thread waits for room: it is dropped all the same.
            while detached
                .recv_timeout(DEADLINE)
                .expect("it goes on")
                .is_none_or(|event| !matches!(event, Event::Message(_)))
            {}
            if round % 2 == 0 {
                drop(driven);
                drop(detached);
            } else {
                drop(detached);
                drop(driven);
            }
            stop.store(true, Ordering::Relaxed);
            if round % 3 == 0 {
                drop(endpoint);
            }
        });
    }
}
