//! Messages in tight loops, over real sockets on `lo`: they go another way than those that come one by one, and nobody must see.

use nakcast::{Endpoint, Event, Flow, Publisher, Subscriber};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// A group of this test's own.
fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 81, number], port))
}

/// Message `number`: it tells its number, and its length follows from it. Some go in fragments.
fn message(number: u64) -> Vec<u8> {
    let length = match number % 1_009 {
        0 => 5_000,
        1..30 => 1_300,
        _ => 8 + number as usize % 60,
    };
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(length, number as u8);
    bytes
}

/// Takes what comes by `poll` with all kinds of limits, checks it, and says how much there was each time, until told to end.
fn read(mut subscriber: Subscriber, topics: usize) -> mpsc::Receiver<(String, u64)> {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut next = std::collections::HashMap::new();
        let mut ended = 0;
        let mut random = fastrand::Rng::with_seed(5);
        while ended < topics {
            let mut take = |event: Event<'_>| match event {
                Event::Message(seen) => {
                    let number = next.entry(seen.topic().to_owned()).or_insert(0);
                    *number += 1;
                    assert_eq!(seen.number(), *number);
                    assert!(seen.payload() == message(*number), "message {number} is another");
                }
                Event::Gap(gap) => panic!("lost {gap}"),
                Event::StreamEnd(_) => ended += 1,
                _ => {}
            };
            match subscriber.recv_timeout(Duration::from_millis(50)).expect("it receives") {
                Some(event) => take(event),
                None => continue,
            }
            let limit = random.usize(..200);
            let count = subscriber.poll(limit, &mut take).expect("it receives");
            assert!(count <= limit);
            for (topic, &number) in &next {
                let _gone = told.send((topic.clone(), number));
            }
        }
    });
    heard
}

/// Waits until so many messages of a topic were received.
fn wait_for(heard: &mpsc::Receiver<(String, u64)>, topic: &str, number: u64) {
    let mut last = 0;
    while last < number {
        match heard.recv_timeout(DEADLINE) {
            Ok((of, count)) if of == topic => last = count,
            Ok(_) => {}
            Err(error) => panic!("{last} of {number} messages of {topic}: {error}"),
        }
    }
}

#[test]
fn what_a_tight_loop_sent_last_comes_though_nothing_follows() {
    for (group_number, drop) in [(1, 0.0), (2, 0.1)] {
        let builder = Subscriber::builder(group(group_number)).interface("lo").drop_datagrams(drop, 3);
        let heard = read(builder.open().unwrap(), 1);
        let mut publisher =
            Publisher::builder(group(group_number)).topic("t").interface("lo").open().unwrap();
        publisher.wait_for(1, Some(DEADLINE)).unwrap();
        let mut number = 0;
        for round in 0..60 {
            for _ in 0..[1, 10, 700, 3_000, 20_000][round % 5] {
                number += 1;
                publisher.send(&message(number)).unwrap();
            }
            if round % 4 == 0 {
                assert_eq!(publisher.endpoint().stats().messages, number, "all that was taken counts");
            }
            // Nothing of the publisher's is called meanwhile.
            wait_for(&heard, "t", number);
        }
        publisher.close(DEADLINE).unwrap();
    }
}

#[test]
fn a_topic_that_falls_silent_is_not_held_up_by_another_that_goes_on() {
    let heard = read(Subscriber::builder(group(3)).interface("lo").open().unwrap(), 2);
    let endpoint = Endpoint::open(Publisher::builder(group(3)).interface("lo")).unwrap();
    let mut silent = endpoint.publisher("silent").unwrap();
    let mut busy = endpoint.publisher("busy").unwrap();
    silent.wait_for(1, Some(DEADLINE)).unwrap();
    busy.wait_for(1, Some(DEADLINE)).unwrap();
    let (mut first, mut second) = (0, 0);
    for _ in 0..20 {
        for _ in 0..3_000 {
            first += 1;
            silent.send(&message(first)).unwrap();
        }
        let mut last = 0;
        let bound = second + 50_000_000;
        while last < first {
            assert!(second < bound, "{last} of {first}");
            for _ in 0..100 {
                second += 1;
                busy.send(&message(second)).unwrap();
            }
            last = heard
                .try_iter()
                .filter(|(topic, _)| topic == "silent")
                .map(|(_, count)| count)
                .last()
                .unwrap_or(last);
        }
    }
    drop((silent, busy));
}

#[test]
fn small_ones_in_a_loop_share_their_datagrams_and_runs() {
    let heard = read(Subscriber::builder(group(4)).interface("lo").open().unwrap(), 1);
    let mut publisher = Publisher::builder(group(4)).topic("t").interface("lo").open().unwrap();
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    // How closely they follow each other is also for the machine to say, which others use: some time they do.
    let share = (0..1_000).any(|round| {
        let messages: Vec<_> = (round * 10_000 + 1..=(round + 1) * 10_000).map(message).collect();
        let before = publisher.endpoint().stats().datagrams;
        messages.iter().for_each(|message| publisher.send(message).unwrap());
        wait_for(&heard, "t", (round + 1) * 10_000);
        publisher.endpoint().stats().datagrams - before < 2_000
    });
    assert!(share, "{:?}", publisher.endpoint().stats());
    publisher.close(DEADLINE).unwrap();
}

/// What was pushed without a lock is taken in by each flush, and sealed: that takes more datagrams than packing alone.
#[test]
fn every_topic_has_memory_when_all_have_sent_in_tight_loops() {
    // As many as the window has room for; none goes on while the next does.
    let builder = Publisher::builder(group(9)).interface("lo").window(128 << 10).flow(Flow::None);
    let endpoint = Endpoint::open(builder).unwrap();
    let mut publishers: Vec<Publisher> =
        (0..4).map(|topic| endpoint.publisher(format!("t{topic}")).unwrap()).collect();
    for publisher in &mut publishers {
        (0..2_000).for_each(|number| publisher.send_timeout(&message(number), DEADLINE).unwrap());
    }
    assert_eq!(endpoint.stats().messages, 8_000);
}

/// Threads that each open a topic, send in a tight loop and close it, again and again, while the window has memory for little
/// more than one datagram's chunk of each: everything arrives, and nobody waits for ever.
#[test]
fn topics_that_come_and_go_share_a_small_window() {
    const THREADS: usize = 4;
    const TOPICS: usize = 6;
    let heard = read(Subscriber::builder(group(10)).interface("lo").open().unwrap(), THREADS * TOPICS);
    let endpoint = Endpoint::open(Publisher::builder(group(10)).interface("lo").window(128 << 10)).unwrap();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let endpoint = &endpoint;
            scope.spawn(move || {
                for round in 0..TOPICS {
                    let mut publisher = endpoint.publisher(format!("{number}.{round}")).unwrap();
                    publisher.wait_for(1, Some(DEADLINE)).unwrap();
                    // Of some all stays in the chunk that is being filled.
                    for message_number in 1..=[60, 3_000, 500][round % 3] {
                        publisher.send_timeout(&message(message_number), DEADLINE).unwrap();
                    }
                    publisher.close(DEADLINE).unwrap();
                }
            });
        }
    });
    let mut last = std::collections::HashMap::new();
    while let Ok((topic, number)) = heard.recv_timeout(DEADLINE) {
        last.insert(topic, number);
    }
    assert_eq!(last.len(), THREADS * TOPICS);
    assert_eq!(last.values().sum::<u64>(), 4 * 2 * (60 + 3_000 + 500));
}

#[test]
fn flushes_between_messages_lose_none() {
    for (number, datagram) in [(11, 1_408), (12, 8_900), (13, 60_000)] {
        let group = group(number);
        let heard = read(Subscriber::builder(group).interface("lo").open().unwrap(), 1);
        let builder = Publisher::builder(group).topic("t").interface("lo").datagram(datagram);
        let mut publisher = builder.open().unwrap();
        publisher.wait_for(1, Some(DEADLINE)).unwrap();
        let mut sent = 0;
        for _ in 0..40 {
            for flushed in (0..2_100).map(|at| at >= 2_000) {
                sent += 1;
                publisher.send(&message(sent)).unwrap();
                if flushed {
                    publisher.flush().unwrap();
                }
            }
        }
        publisher.close(DEADLINE).unwrap();
        assert_eq!(heard.iter().last(), Some(("t".to_owned(), sent)), "{datagram}");
    }
}
