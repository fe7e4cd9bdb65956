//! The simulated network itself: what its public face promises.

use nakcast::protocol::Time;
use nakcast::protocol::publisher::{self, Flow};
use nakcast::protocol::subscriber::{self, Contract};
use nakcast::sim::{
    Bursts, Core, Link, Network, Observer, Place, PublisherId, Rate, SubscriberId, Told, Trace,
};
use nakcast::{ReceiverId, SourceId};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

fn publisher(network: &mut Network) -> (PublisherId, u32) {
    let config = publisher::Config { window: 1 << 20, ..publisher::Config::new(SourceId(7)) };
    let id = network.add_publisher(config, wire(), wire());
    (id, network.open_stream(id, "t").unwrap())
}

fn wire() -> Link {
    Link::with_delay(Duration::from_micros(20))
}

fn settings(id: u64) -> subscriber::Config {
    subscriber::Config { reorder: 1 << 20, ..subscriber::Config::new(ReceiverId(id)) }
}

fn numbers(network: &mut Network, id: SubscriberId) -> Vec<u64> {
    std::iter::from_fn(|| network.poll_told(id))
        .filter_map(|told| if let Told::Message { number, .. } = told { Some(number) } else { None })
        .collect()
}

/// Everything at once, written down.
fn trace(seed: u64) -> (String, u64) {
    let mut network = Network::new(seed);
    let written = Rc::new(RefCell::new(String::new()));
    let lines = written.clone();
    network.observe(Trace::new(move |line| {
        let mut lines = lines.borrow_mut();
        lines.push_str(line);
        lines.push('\n');
    }));
    let bad = Link {
        delay: Duration::from_micros(30),
        jitter: Duration::from_micros(50),
        loss: 0.1,
        bursts: Some(Bursts::of(0.05, 4.0)),
        duplicate: 0.05,
        reorder: 0.1,
        held_up: MILLISECOND,
        corrupt: 0.02,
        truncate: 0.02,
        mtu: Some(1_408),
        rate: Some(Rate { bits_per_second: 50_000_000, queue: 20_000 }),
        cut: false,
    };
    let branch = network.add_branch(bad, bad);
    for id in 1..=3 {
        network.add_subscriber_at(branch, settings(id), bad, bad);
    }
    let (id, stream) = publisher(&mut network);
    for at in 0..300 {
        network.publish(id, stream, vec![at as u8; at * 5]);
        network.run_for(Duration::from_micros(200));
    }
    network.run_for(Duration::from_secs(1));
    (written.take(), network.fingerprint())
}

#[test]
fn one_seed_gives_one_run_byte_for_byte() {
    let (first, fingerprint) = trace(5);
    assert!(first.lines().count() > 1_000);
    let (again, same) = trace(5);
    assert!(first == again && fingerprint == same);
    let (other, another) = trace(6);
    assert!(first != other && fingerprint != another);
}

#[test]
fn a_loss_on_a_branch_is_shared_by_all_on_it_and_by_nobody_else() {
    let mut network = Network::new(1);
    let lossy = Link { loss: 0.3, ..wire() };
    let branch = network.add_branch(wire(), lossy);
    let config = |id| subscriber::Config { contract: Contract::BestEffort, ..settings(id) };
    let on_it = [1, 2].map(|id| network.add_subscriber_at(branch, config(id), wire(), wire()));
    let beside = network.add_subscriber(config(3), wire(), wire());
    let (id, stream) = publisher(&mut network);
    network.run_for(50 * MILLISECOND);
    for _ in 0..200 {
        network.publish(id, stream, vec![1; 100]);
        network.run_for(MILLISECOND);
    }
    let [first, second] = on_it.map(|id| numbers(&mut network, id));
    assert_eq!(first, second);
    assert!(first.len() < 180, "{}", first.len());
    assert_eq!(numbers(&mut network, beside).len(), 200);
    let (_, down) = network.link_stats(branch);
    assert!(down.lost > 20 && down.lost < down.datagrams);
}

#[test]
fn what_was_asked_for_happens_at_its_time() {
    let mut network = Network::new(1);
    let to = network.add_subscriber(settings(1), wire(), wire());
    let (id, stream) = publisher(&mut network);
    network.run_for(50 * MILLISECOND);
    let start = network.now();
    let seen = Rc::new(RefCell::new(Vec::new()));
    for at in [30, 10, 20] {
        let seen = seen.clone();
        network.at(start + at * MILLISECOND, move |network| seen.borrow_mut().push(network.now()));
    }
    // A partition from 10 to 20 ms, in which three messages are sent: nobody hears until it is healed.
    network.at(start + 10 * MILLISECOND, move |network| network.links(to).1.cut = true);
    network.at(start + 20 * MILLISECOND, move |network| network.links(to).1.cut = false);
    for _ in 0..3 {
        network.at(start + 15 * MILLISECOND, move |network| network.publish(id, stream, vec![7]));
    }
    network.run_for(19 * MILLISECOND);
    assert_eq!(numbers(&mut network, to), []);
    network.run_for(100 * MILLISECOND);
    assert_eq!(numbers(&mut network, to), [1, 2, 3]);
    assert_eq!(*seen.borrow(), [10, 20, 30].map(|at| start + at * MILLISECOND));
}

#[test]
fn an_application_that_takes_its_time_fills_its_receive_buffer() {
    let mut network = Network::new(1);
    let config = subscriber::Config { receive_buffer: 64 << 10, ..settings(1) };
    let to = network.add_subscriber(config, wire(), wire());
    network.set_pace(to, MILLISECOND);
    let config = publisher::Config { flow: Flow::None, ..publisher::Config::new(SourceId(7)) };
    let id = network.add_publisher(config, wire(), wire());
    let stream = network.open_stream(id, "t").unwrap();
    network.run_for(50 * MILLISECOND);
    for _ in 0..200 {
        network.publish(id, stream, vec![1; 1_000]);
    }
    network.run_for(50 * MILLISECOND);
    let early = numbers(&mut network, to).len();
    assert!((40..=51).contains(&early), "one message a millisecond: {early}");
    assert!(network.subscriber(to).stats().kernel_drops > 100);
    network.run_for(Duration::from_secs(5));
    assert_eq!(numbers(&mut network, to).len() + early, 200, "what was dropped is repaired");
}

#[test]
fn a_path_for_small_datagrams_only_carries_those() {
    let mut network = Network::new(1);
    let to = network.add_subscriber(settings(1), wire(), Link { mtu: Some(600), ..wire() });
    let (id, stream) = publisher(&mut network);
    network.publish(id, stream, vec![1; 500]);
    network.publish(id, stream, vec![1; 1_000]);
    network.run_for(50 * MILLISECOND);
    assert_eq!(numbers(&mut network, to), [1]);
    assert!(network.link_stats(to).1.too_long > 0);
    // Until the way is mended.
    network.links(to).1.mtu = None;
    network.run_for(Duration::from_secs(5));
    assert_eq!(numbers(&mut network, to), [2]);
}

type Sent = Vec<(String, Option<SocketAddr>)>;

/// Who sent where.
struct Addresses(Rc<RefCell<Sent>>);

impl Observer for Addresses {
    fn sent(&mut self, _: Time, by: Core<'_>, to: Option<SocketAddr>, _: &[u8]) {
        self.0.borrow_mut().push((by.name(), to));
    }
}

#[test]
fn a_publisher_that_starts_anew_has_the_address_and_the_links_of_the_one_before() {
    let mut network = Network::new(1);
    let to = network.add_subscriber(settings(1), wire(), wire());
    let (id, stream) = publisher(&mut network);
    network.publish(id, stream, vec![1]);
    network.run_for(50 * MILLISECOND);
    network.links(id).0.loss = 1.0;
    let anew = network.restart_publisher(id, publisher::Config::new(SourceId(8)));
    assert_eq!(network.address(id), network.address(anew));
    assert_ne!(network.address(id), network.address(to));
    assert!(!network.is_alive(id) && network.is_alive(anew));
    assert_eq!(network.links(anew).0.loss, 1.0);
    network.heal();
    assert_eq!(*network.links(anew).0, wire());
    let sent = Rc::new(RefCell::new(Vec::new()));
    network.observe(Addresses(sent.clone()));
    let stream = network.open_stream(anew, "t").unwrap();
    network.publish(anew, stream, vec![2; 10]);
    network.run_for(50 * MILLISECOND);
    let there = network.address(anew);
    assert!(sent.borrow().iter().any(|(by, to)| by == "s0" && *to == there));
    assert!(sent.borrow().iter().any(|(by, to)| by == "p1" && to.is_none()));
    let payloads: Vec<Vec<u8>> = std::iter::from_fn(|| network.poll_told(to))
        .filter_map(|told| if let Told::Message { payload, .. } = told { Some(payload) } else { None })
        .collect();
    assert_eq!(payloads, [vec![1], vec![2; 10]]);
}

#[test]
fn events_that_are_not_kept_are_seen_all_the_same() {
    struct Count(Rc<RefCell<u64>>);
    impl Observer for Count {
        fn told(&mut self, _: Time, _: SubscriberId, event: &nakcast::Event<'_>) {
            *self.0.borrow_mut() += u64::from(matches!(event, nakcast::Event::Message(_)));
        }
    }
    let mut network = Network::new(1);
    let to = network.add_subscriber(settings(1), wire(), wire());
    network.keep_told(to, false);
    let seen = Rc::new(RefCell::new(0));
    network.observe(Count(seen.clone()));
    let (id, stream) = publisher(&mut network);
    for _ in 0..10 {
        network.publish(id, stream, vec![1]);
    }
    network.run_for(50 * MILLISECOND);
    assert_eq!(network.poll_told(to), None);
    assert_eq!(*seen.borrow(), 10);
    assert_eq!(Place::from(to), Place::Subscriber(to));
}

/// How many there are room for in time and memory: five hundred in a debug build, ten thousand in release
/// (`cargo test --release --test simulation crowd`).
#[test]
fn a_crowd_hears_a_publisher() {
    let crowd = if cfg!(debug_assertions) { 500 } else { 10_000 };
    let mut network = Network::new(1);
    let lossy = Link { loss: 0.001, ..wire() };
    let branches = [(); 20].map(|()| network.add_branch(wire(), lossy));
    let listeners: Vec<SubscriberId> = (0..crowd)
        .map(|at| {
            let config =
                subscriber::Config { reorder: 256 << 10, reassembly: 64 << 10, ..settings(at as u64 + 1) };
            let id = network.add_subscriber_at(branches[at % 20], config, wire(), lossy);
            network.keep_told(id, false);
            id
        })
        .collect();
    let (id, stream) = publisher(&mut network);
    network.run_for(Duration::from_secs(1));
    for _ in 0..300 {
        network.publish(id, stream, vec![1; 1_300]);
        network.run_for(MILLISECOND);
    }
    network.run_for(Duration::from_secs(2));
    for listener in listeners {
        let stats = network.subscriber(listener).stats();
        assert_eq!((stats.messages, stats.lost), (300, 0), "{listener}");
    }
}
