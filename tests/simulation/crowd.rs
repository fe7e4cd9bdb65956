//! Groups too large for every receiver to say how far it is.

use nakcast::protocol::publisher;
use nakcast::protocol::subscriber;
use nakcast::sim::{Link, Network, PublisherId, SubscriberId, Told};
use nakcast::wire::{ReceiverId, SourceId};
use std::time::Duration;

const GROUP: usize = 120;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A crowd that has met its publisher. The last of it has an id that speaks for nobody.
fn crowd() -> (Network, PublisherId, u32, Vec<SubscriberId>) {
    let mut network = Network::new(1);
    let mut ids = fastrand::Rng::with_seed(5);
    let wire = Link::with_delay(Duration::from_micros(100));
    let subscribers = (0..GROUP)
        .map(|index| {
            let id = ReceiverId(if index + 1 == GROUP { u64::MAX } else { ids.u64(1..) });
            let config = subscriber::Config { reorder: 1 << 20, ..subscriber::Config::new(id) };
            network.add_subscriber(config, wire, wire)
        })
        .collect();
    // A gigabit, of which the window holds some thirty milliseconds.
    let config = publisher::Config {
        window: 4 << 20,
        max_rate: Some(1_000_000_000),
        ..publisher::Config::new(SourceId(7))
    };
    let publisher = network.add_publisher(config, wire, wire);
    let stream = network.with_publisher(publisher, |core, now| core.open_stream("t", now)).unwrap();
    network.run_for(Duration::from_secs(3));
    assert_eq!(network.publisher(publisher).stats().receivers, GROUP as u64);
    (network, publisher, stream, subscribers)
}

/// Publishes datagrams as fast as the publisher takes them, for so long at the most; gives how long it took.
fn publish(network: &mut Network, from: PublisherId, stream: u32, count: usize, most: Duration) -> Duration {
    let begun = network.now();
    for _ in 0..count {
        network.publish(from, stream, vec![7; 1_300]);
    }
    while network.waiting(from) > 0 && network.now().since(begun) < most {
        network.run_for(MILLISECOND);
    }
    assert_eq!(network.waiting(from), 0, "not all was taken");
    let took = network.now().since(begun);
    network.run_for(500 * MILLISECOND);
    took
}

fn messages_and_gaps(network: &mut Network, id: SubscriberId) -> (usize, usize) {
    let (mut messages, mut gaps) = (0, 0);
    while let Some(told) = network.poll_told(id) {
        match told {
            Told::Message { .. } => messages += 1,
            Told::Gap { .. } => gaps += 1,
            _ => {}
        }
    }
    (messages, gaps)
}

#[test]
fn a_crowd_that_keeps_up_says_little() {
    let (mut network, publisher, stream, subscribers) = crowd();
    let before = network.publisher(publisher).stats();
    for _ in 0..2_000 {
        network.publish(publisher, stream, vec![7; 1_300]);
        network.run_for(MILLISECOND);
    }
    let after = network.publisher(publisher).stats();
    let statuses = after.statuses - before.statuses;
    assert!(statuses < 2 * 200, "{statuses} in two seconds");
    assert!(statuses > 2 * 50, "{statuses} in two seconds: who speaks for the crowd?");
    for subscriber in subscribers {
        assert_eq!(messages_and_gaps(&mut network, subscriber), (2_000, 0));
    }
}

#[test]
fn one_of_a_crowd_that_falls_behind_is_waited_for() {
    let (mut network, publisher, stream, subscribers) = crowd();
    let slow = *subscribers.last().unwrap();
    let (up, down) = network.links(slow);
    (up.loss, down.loss) = (0.3, 0.3);
    publish(&mut network, publisher, stream, 20_000, Duration::from_secs(60));
    assert_eq!(network.publisher(publisher).stats().fell_behind, 0);
    for subscriber in subscribers {
        assert_eq!(messages_and_gaps(&mut network, subscriber), (20_000, 0));
    }
}

#[test]
fn a_crowd_that_falls_behind_together_does_not_say_so_all_at_once() {
    let (mut network, publisher, stream, subscribers) = crowd();
    for &subscriber in &subscribers {
        network.links(subscriber).1.loss = 0.2;
    }
    let before = network.publisher(publisher).stats();
    publish(&mut network, publisher, stream, 10_000, Duration::from_secs(60));
    let after = network.publisher(publisher).stats();
    // A status message of one stream has 104 bytes.
    let status = (after.statuses - before.statuses) * 104;
    let sent = after.datagram_bytes + after.repair_bytes - before.datagram_bytes;
    assert!(status * 100 < sent, "{status} bytes of status for {sent} sent");
    for subscriber in subscribers {
        assert_eq!(messages_and_gaps(&mut network, subscriber), (10_000, 0));
    }
}

#[test]
fn everyone_of_a_crowd_says_that_it_has_everything() {
    let (mut network, publisher, stream, subscribers) = crowd();
    for &subscriber in &subscribers {
        let (up, down) = network.links(subscriber);
        (up.loss, down.loss) = (0.1, 0.1);
    }
    publish(&mut network, publisher, stream, 100, Duration::from_secs(5));
    network.with_publisher(publisher, |core, now| core.close_stream(stream, now));
    let begun = network.now();
    while !network.publisher(publisher).is_complete(stream) {
        network.run_for(MILLISECOND);
        assert!(network.now().since(begun) < Duration::from_secs(5), "somebody did not say so");
    }
}
