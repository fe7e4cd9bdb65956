//! Scenarios with one thing in them, to say exactly what comes of it.

use nakcast::protocol::publisher::{self, Flow, PublisherEvent};
use nakcast::protocol::subscriber::{self, Contract};
use nakcast::protocol::{EndReason, GapReason, Time};
use nakcast::sim::{Core, Link, Network, Observer, PublisherId, SubscriberId, Told, Wake};
use nakcast::wire::{ReceiverId, SourceId};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

fn wire() -> Link {
    Link::with_delay(Duration::from_micros(20))
}

fn publisher(network: &mut Network, config: impl FnOnce(&mut publisher::Config)) -> PublisherId {
    let mut settings = publisher::Config { window: 1 << 20, ..publisher::Config::new(SourceId(7)) };
    config(&mut settings);
    network.add_publisher(settings, wire(), wire())
}

fn subscriber(network: &mut Network, id: u64, config: impl FnOnce(&mut subscriber::Config)) -> SubscriberId {
    let mut settings = subscriber::Config { reorder: 1 << 20, ..subscriber::Config::new(ReceiverId(id)) };
    config(&mut settings);
    network.add_subscriber(settings, wire(), wire())
}

fn open(network: &mut Network, id: PublisherId, topic: &str) -> u32 {
    network.open_stream(id, topic).unwrap()
}

fn told(network: &mut Network, id: SubscriberId) -> Vec<Told> {
    std::iter::from_fn(|| network.poll_told(id)).collect()
}

fn numbers(told: &[Told]) -> Vec<u64> {
    told.iter()
        .filter_map(|told| if let Told::Message { number, .. } = told { Some(*number) } else { None })
        .collect()
}

fn gaps(told: &[Told]) -> Vec<(u64, u64, u64, GapReason)> {
    let gap = |told: &Told| match *told {
        Told::Gap { first, last, messages, reason, .. } => Some((first, last, messages, reason)),
        _ => None,
    };
    told.iter().filter_map(gap).collect()
}

fn end(told: &[Told]) -> Option<EndReason> {
    told.iter().find_map(|told| if let Told::End { reason, .. } = told { Some(*reason) } else { None })
}

/// One publisher, one subscriber, one stream; they know each other.
fn pair(
    at_publisher: impl FnOnce(&mut publisher::Config),
    at_subscriber: impl FnOnce(&mut subscriber::Config),
) -> (Network, PublisherId, SubscriberId, u32) {
    let mut network = Network::new(1);
    let to = subscriber(&mut network, 1, at_subscriber);
    let from = publisher(&mut network, at_publisher);
    let stream = open(&mut network, from, "t");
    network.run_for(20 * MILLISECOND);
    told(&mut network, to);
    (network, from, to, stream)
}

fn cut(network: &mut Network, id: SubscriberId, cut: bool) {
    network.links(id).1.cut = cut;
}

#[test]
fn a_lost_tail_is_repaired_within_milliseconds() {
    let (mut network, from, to, stream) = pair(|_| {}, |_| {});
    network.publish(from, stream, b"first".to_vec());
    network.run_for(20 * MILLISECOND);
    cut(&mut network, to, true);
    network.publish(from, stream, b"last".to_vec());
    network.run_for(Duration::from_micros(100));
    cut(&mut network, to, false);
    network.run_for(3 * MILLISECOND);
    assert_eq!(numbers(&told(&mut network, to)), [1, 2]);
}

/// Counts the times that nodes had anything to do.
struct Work(Rc<Cell<u64>>);

impl Observer for Work {
    fn received(&mut self, _: Time, _: Core<'_>, _: SocketAddr, _: &[u8]) {
        self.0.set(self.0.get() + 1);
    }

    fn woken(&mut self, _: Time, _: Core<'_>, _: Wake) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn an_idle_network_is_quiet_and_its_receivers_stay_known() {
    let (mut network, from, to, stream) = pair(|_| {}, |_| {});
    network.publish(from, stream, b"one".to_vec());
    network.run_for(Duration::from_secs(3));
    let before = network.datagrams();
    let work = Rc::new(Cell::new(0));
    network.observe(Work(work.clone()));
    network.run_for(Duration::from_secs(30));
    // In each of 60 idle intervals: a heartbeat, an announce, and a status every other one.
    assert!(network.datagrams() - before <= 60 * 3, "{}", network.datagrams() - before);
    // Each is a wake of its sender and an arrival; and some that find the work done.
    assert!(work.get() <= 60 * 7, "{} times", work.get());
    assert_eq!(
        network.publisher(from).stats().receivers,
        1,
        "a receiver with nothing to say is not forgotten"
    );
    assert_eq!(numbers(&told(&mut network, to)), [1]);
}

#[test]
fn a_publisher_knows_its_receivers_before_it_may_give_anything_up() {
    // Of a hundred receivers whose links lose a fifth both ways, all are known within the grace of a new stream.
    let mut known = 0;
    for seed in 0..100 {
        let mut network = Network::new(seed);
        let to = subscriber(&mut network, 1, |_| {});
        let (up, down) = network.links(to);
        (up.loss, down.loss) = (0.2, 0.2);
        let from = publisher(&mut network, |_| {});
        let stream = open(&mut network, from, "t");
        network.publish(from, stream, b"one".to_vec());
        network.run_for(190 * MILLISECOND);
        known += network.publisher(from).stats().receivers;
    }
    assert!(known >= 98, "{known}");
}

#[test]
fn what_left_the_window_is_told_at_once_and_exactly() {
    let (mut network, from, to, stream) =
        pair(|config| (config.flow, config.window) = (Flow::None, 1), |_| {});
    network.publish(from, stream, vec![1; 1_000]);
    network.run_for(MILLISECOND);
    cut(&mut network, to, true);
    for _ in 0..300 {
        network.publish(from, stream, vec![1; 1_000]);
    }
    network.run_for(Duration::from_micros(100));
    cut(&mut network, to, false);
    network.run_for(10 * MILLISECOND);
    let told = told(&mut network, to);
    let gaps = gaps(&told);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let (first, last, messages, reason) = gaps[0];
    assert_eq!((first, messages, reason), (2, last - 1, GapReason::AgedOut));
    let rest: Vec<u64> = std::iter::once(1).chain(last + 1..=301).collect();
    assert_eq!(numbers(&told), rest);
    let stats = network.subscriber(to).stats();
    let count = rest.len() as u64;
    assert_eq!((stats.messages, stats.bytes, stats.gaps, stats.lost), (count, count * 1_000, 1, messages));
}

#[test]
fn a_source_that_dies_within_a_message_leaves_a_gap_for_it() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let slow = |config: &mut publisher::Config| config.max_rate = Some(10_000_000);
        let (mut network, from, to, stream) = pair(slow, |config| config.contract = contract);
        network.publish(from, stream, b"whole".to_vec());
        network.publish(from, stream, vec![3; 300_000]);
        // At this rate the message takes a quarter of a second.
        network.run_for(Duration::from_millis(100));
        network.kill_publisher(from);
        network.run_for(Duration::from_secs(5));
        let told = told(&mut network, to);
        assert_eq!(numbers(&told), [1], "{contract:?}");
        let lost: u64 = gaps(&told).iter().map(|gap| gap.2).sum();
        assert_eq!(lost, 1, "{contract:?}");
        assert_eq!(end(&told), Some(EndReason::Silent), "{contract:?}");
    }
}

#[test]
fn a_stream_released_within_a_message_ends_with_a_gap_for_it() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let (mut network, from, to, stream) = pair(
            |config| config.max_message = 1 << 19,
            |config| {
                config.contract = contract;
                config.receive_buffer = 16 << 10;
            },
        );
        network.publish(from, stream, b"whole".to_vec());
        network.run_for(MILLISECOND);
        // Too large for what may be sent at once: its rest is staged, and stays.
        network.pause(to);
        network.publish(from, stream, vec![3; 300_000]);
        network.run_for(MILLISECOND);
        network.with_publisher(from, |core, now| {
            core.close_stream(stream, now);
            assert!(!core.is_complete(stream));
            core.release_stream(stream);
        });
        network.resume(to);
        network.run_for(Duration::from_secs(2));
        let told = told(&mut network, to);
        assert_eq!(numbers(&told), [1], "{contract:?}");
        let lost: u64 = gaps(&told).iter().map(|gap| gap.2).sum();
        assert_eq!(lost, 1, "{contract:?}");
        assert_eq!(end(&told), Some(EndReason::Closed), "{contract:?}");
    }
}

#[test]
fn a_closed_stream_that_is_held_back_still_tells_of_its_tail() {
    let (mut network, from, to, stream) = pair(
        |config| (config.max_message, config.patience) = (1 << 19, Duration::from_secs(60)),
        |config| config.receive_buffer = 64 << 10,
    );
    network.publish(from, stream, b"first".to_vec());
    network.run_for(5 * MILLISECOND);
    // All that may be sent of the message is lost, the rest is staged; then the stream is closed.
    cut(&mut network, to, true);
    network.publish(from, stream, vec![3; 400_000]);
    network.with_publisher(from, |core, now| core.close_stream(stream, now));
    network.run_for(Duration::from_micros(100));
    cut(&mut network, to, false);
    network.run_for(100 * MILLISECOND);
    let told = told(&mut network, to);
    assert_eq!(numbers(&told), [1, 2]);
    assert_eq!(end(&told), Some(EndReason::Closed));
    assert!(network.publisher(from).is_complete(stream));
}

#[test]
fn a_receiver_that_holds_anothers_memory_loses_its_standing_too() {
    let mut network = Network::new(1);
    let stuck = subscriber(&mut network, 1, |config| config.patterns = vec!["a".into()]);
    let well = subscriber(&mut network, 2, |config| config.patterns = vec!["b".into()]);
    let from = publisher(&mut network, |config| config.window = 1);
    let a = open(&mut network, from, "a");
    let b = open(&mut network, from, "b");
    network.run_for(300 * MILLISECOND);
    network.pause(stuck);
    // Stream `a` takes the whole window, and its receiver needs it still; `b` has no memory yet.
    for _ in 0..88 {
        network.publish(from, a, vec![1; 1_300]);
    }
    for _ in 0..30 {
        network.publish(from, b, vec![2; 1_300]);
    }
    network.run_for(Duration::from_secs(3));
    let told = told(&mut network, well);
    assert_eq!(numbers(&told).len(), 30, "the others are not held back for longer than the patience");
    let events: Vec<_> =
        network.with_publisher(from, |core, _| std::iter::from_fn(|| core.poll_event()).collect());
    let behind =
        |event: &PublisherEvent| matches!(event, PublisherEvent::FellBehind { topic, .. } if &**topic == "a");
    assert!(events.iter().any(behind), "{events:?}");
}

#[test]
fn more_streams_than_wait_in_a_row_are_all_announced() {
    let mut network = Network::new(1);
    let to = subscriber(&mut network, 1, |_| {});
    let from = publisher(&mut network, |config| config.window = 64 << 20);
    network.with_publisher(from, |core, now| {
        for stream in 0..1_500 {
            core.open_stream(&format!("t{stream}"), now).unwrap();
        }
    });
    network.run_for(Duration::from_secs(70));
    assert_eq!(told(&mut network, to).len(), 1_500);
}

#[test]
fn a_receiver_that_slept_does_not_slow_the_others_timers() {
    let (mut network, from, to, stream) = pair(|config| config.idle_interval = 100 * MILLISECOND, |_| {});
    network.pause(to);
    for _ in 0..20 {
        network.publish(from, stream, b"tick".to_vec());
        network.run_for(20 * MILLISECOND);
    }
    network.resume(to);
    network.run_for(Duration::from_secs(1));
    let round_trip = Duration::from_nanos(network.publisher(from).stats().round_trip_ns);
    assert!(round_trip < MILLISECOND, "{round_trip:?}");
}

#[test]
fn catching_up_is_not_starved_by_a_busy_publisher() {
    let (mut network, from, _, stream) = pair(
        |config| (config.max_rate, config.window, config.flow) = (Some(20_000_000), 16 << 20, Flow::None),
        |_| {},
    );
    let publish = |network: &mut Network, time: Duration| {
        let until = network.now() + time;
        while network.now() < until {
            // More than the rate carries, always.
            while network.waiting(from) < 50 {
                network.publish(from, stream, vec![1; 1_300]);
            }
            network.run_for(MILLISECOND);
        }
    };
    publish(&mut network, Duration::from_millis(600));
    let late = subscriber(&mut network, 2, |config| config.start = subscriber::StartAt::Window);
    publish(&mut network, Duration::from_millis(500));
    let told = told(&mut network, late);
    assert_eq!(numbers(&told).first(), Some(&1));
    assert!(numbers(&told).len() > 40, "{}", numbers(&told).len());
}

#[test]
fn confirmations_do_not_eat_the_rate_of_what_they_confirm() {
    // 25 kilobits a second: the repair of one datagram takes as long as a hundred retries.
    let mut network = Network::new(5);
    let receivers = [1, 2, 3].map(|id| subscriber(&mut network, id, |_| {}));
    let from = publisher(&mut network, |config| config.max_rate = Some(25_600));
    let stream = open(&mut network, from, "t");
    network.run_for(Duration::from_millis(500));
    for id in receivers {
        network.links(id).1.loss = 0.3;
    }
    for _ in 0..20 {
        network.publish(from, stream, vec![1; 400]);
    }
    network.run_for(Duration::from_secs(20));
    for id in receivers {
        assert_eq!(numbers(&told(&mut network, id)).len(), 20);
    }
}

#[test]
fn a_deadline_is_kept_to_the_nanosecond() {
    let deadline = Duration::from_nanos(7_123_457);
    let (mut network, from, to, stream) =
        pair(|_| {}, |config| config.contract = Contract::Deadline(deadline));
    network.publish(from, stream, b"first".to_vec());
    network.run_for(20 * MILLISECOND);
    // Nobody hears its NAKs.
    network.links(to).0.cut = true;
    network.links(to).1.cut = true;
    network.publish(from, stream, b"lost".to_vec());
    network.run_for(Duration::from_micros(100));
    network.links(to).1.cut = false;
    network.publish(from, stream, b"next".to_vec());
    // It takes 40 us to arrive; from then on it waits.
    network.run_for(Duration::from_micros(40) + deadline - Duration::from_nanos(1));
    assert_eq!(numbers(&told(&mut network, to)), [1]);
    network.run_for(Duration::from_nanos(1));
    let told = told(&mut network, to);
    assert_eq!(gaps(&told), [(2, 2, 1, GapReason::Deadline)]);
    assert_eq!(numbers(&told), [3]);
}
