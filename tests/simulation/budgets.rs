//! What one receiver may cost the others, and what asking may cost: directed scenarios.

use nakcast::protocol::Time;
use nakcast::protocol::publisher::{self, Flow};
use nakcast::protocol::subscriber::{self, StartAt};
use nakcast::sim::{Core, Link, Network, Observer, PublisherId, SubscriberId, Wake};
use nakcast::wire::{Datagram, HEADER_LENGTH, Header, Kind, Nak, Position, Range, Status};
use nakcast::{ReceiverId, SourceId};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn wire() -> Link {
    Link::with_delay(Duration::from_micros(50))
}

fn subscriber(id: u64) -> subscriber::Config {
    subscriber::Config { reorder: 4 << 20, ..subscriber::Config::new(ReceiverId(id)) }
}

/// A repair: when, how many bytes, and to whom.
type Repair = (Time, usize, Option<SocketAddr>);

/// All repairs.
#[derive(Clone, Default)]
struct Repairs(Rc<RefCell<VecDeque<Repair>>>);

impl Observer for Repairs {
    fn sent(&mut self, now: Time, _: Core<'_>, to: Option<SocketAddr>, bytes: &[u8]) {
        if Datagram::parse(bytes).is_ok_and(|datagram| datagram.header.kind == Kind::Repair) {
            self.0.borrow_mut().push_back((now, bytes.len(), to));
        }
    }
}

/// A publisher at a rate, which has more to send than that, always.
struct Saturated {
    network: Network,
    id: PublisherId,
    stream: u32,
    well: SubscriberId,
}

const RATE: u64 = 40_000_000;

/// A publisher with a window of six thousand datagrams, and a subscriber that has all it wants.
fn at_a_rate(rate: u64) -> (Network, PublisherId, u32, SubscriberId) {
    let mut network = Network::new(1);
    let well = network.add_subscriber(subscriber(1), wire(), wire());
    let config = publisher::Config {
        datagram: 512,
        window: 512 * 6_000,
        max_rate: Some(rate),
        ..publisher::Config::new(SourceId(7))
    };
    let id = network.add_publisher(config, wire(), wire());
    let stream = network.open_stream(id, "t").unwrap();
    network.run_for(300 * MILLISECOND);
    (network, id, stream, well)
}

impl Saturated {
    fn new() -> Saturated {
        let (network, id, stream, well) = at_a_rate(RATE);
        let mut saturated = Saturated { network, id, stream, well };
        saturated.run_for(SECOND);
        saturated
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.network.now() + time;
        while self.network.now() < until {
            while self.network.waiting(self.id) < 50 {
                self.network.publish(self.id, self.stream, vec![1; 400]);
            }
            self.network.run_for(MILLISECOND);
        }
    }

    /// Messages that the first subscriber hears in a time.
    fn heard_in(&mut self, time: Duration) -> u64 {
        let before = self.network.subscriber(self.well).stats().messages;
        self.run_for(time);
        self.network.subscriber(self.well).stats().messages - before
    }
}

/// A NAK of the receiver with id 2 for what the window holds of a stream's first 5,000 datagrams.
fn nak_for_all(now: Time, stream: u32) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut list = Nak::emit(&mut bytes[HEADER_LENGTH..], ReceiverId(2), 0);
    assert!(list.push_range(Range { first: 1, count: 5_000 }));
    let length = list.length();
    let header = Header { stamp: now.0, ..Header::new(Kind::Nak, SourceId(7), stream) };
    header.emit(&mut bytes, length);
    bytes.truncate(HEADER_LENGTH + length);
    bytes
}

/// At a rate at which a full run would take a second.
#[test]
fn a_repair_waits_no_longer_than_a_hundredth_of_a_second_or_a_datagram_for_live_data() {
    for (rate, most) in [(500_000, 1), (20_000_000, 19), (500_000_000, 46)] {
        let now = Time(1_000_000_000);
        let config = publisher::Config {
            flow: Flow::None,
            max_rate: Some(rate),
            ..publisher::Config::new(SourceId(7))
        };
        let mut core = publisher::Publisher::new(config, now);
        let stream = core.open_stream("t", now).unwrap();
        for _ in 0..60 {
            core.send(stream, &[1; 1_200], now).unwrap();
        }
        core.flush(stream);
        let (mut now, mut runs, mut sent) = (now, Vec::new(), 0);
        while sent < 60 {
            while let Some(transmit) = core.poll_transmit(now) {
                let first = Datagram::parse(core.datagrams().next().unwrap()).unwrap();
                if first.header.kind == Kind::Data {
                    runs.push(transmit.count);
                    sent += transmit.count;
                }
            }
            let (next, _) = core.poll_timeout(now);
            now = now.max(next);
            core.handle_timeout(now);
        }
        assert_eq!(runs.iter().max(), Some(&most), "{rate}: {runs:?}");
    }
}

#[test]
fn at_a_low_rate_a_receiver_is_waited_for_as_long_as_sixteen_datagrams_take() {
    // 1,408 bytes at 1,250 a second, sixteen times, are 18 seconds.
    for (rate, patience) in [(10_000, 18), (1_000_000_000, 1)] {
        let begun = Time(1_000_000_000);
        let config = publisher::Config { max_rate: Some(rate), ..publisher::Config::new(SourceId(7)) };
        let mut core = publisher::Publisher::new(config, begun);
        let stream = core.open_stream("t", begun).unwrap();
        let mut now = begun;
        let mut fell_behind = None;
        while fell_behind.is_none() {
            // One that has nothing, and lets nothing but the first be sent.
            let mut bytes = vec![0; 200];
            let mut list = Status::emit(&mut bytes[HEADER_LENGTH..], ReceiverId(1), 0);
            list.push_position(&Position { stream, ended: false, missed: 0, position: 1, limit: 1 });
            let length = list.length();
            let header = Header { stamp: now.0, ..Header::new(Kind::Status, SourceId(7), 0) };
            header.emit(&mut bytes, length);
            core.handle_datagram(now, SocketAddr::from(([10, 9, 9, 9], 9)), &bytes[..HEADER_LENGTH + length]);
            let _ = core.send(stream, b"message", now);
            core.flush(stream);
            while core.poll_transmit(now).is_some() {}
            now = now + 100 * MILLISECOND;
            core.handle_timeout(now);
            fell_behind = (core.stats().fell_behind > 0).then(|| now.since(begun).as_secs());
        }
        assert_eq!(fell_behind, Some(patience), "{rate}");
    }
}

/// All that a publisher sends, in bytes.
#[derive(Clone, Default)]
struct Bytes(Rc<RefCell<usize>>);

impl Observer for Bytes {
    fn sent(&mut self, _: Time, _: Core<'_>, _: Option<SocketAddr>, bytes: &[u8]) {
        let of_publisher = |kind| !matches!(kind, Kind::Nak | Kind::Status);
        if Datagram::parse(bytes).is_ok_and(|datagram| of_publisher(datagram.header.kind)) {
            *self.0.borrow_mut() += bytes.len();
        }
    }
}

#[test]
fn heartbeats_between_messages_that_come_one_by_one_keep_to_the_rate() {
    for rate in [20_000, 100_000, 1_000_000] {
        let (mut network, id, stream, _) = at_a_rate(rate);
        let bytes = Bytes::default();
        network.observe(bytes.clone());
        // Half of it, a message at a time.
        let each = SECOND.mul_f64(170.0 * 8.0 * 2.0 / rate as f64);
        let begun = network.now();
        while network.now().since(begun) < 20 * SECOND {
            network.publish(id, stream, vec![1; 100]);
            network.run_for(each);
        }
        let sent = *bytes.0.borrow() as f64 * 8.0 / network.now().since(begun).as_secs_f64();
        assert!(sent < rate as f64 * 1.1, "{sent} of {rate}");
    }
}

#[test]
fn a_quarantined_receiver_never_slows_another() {
    let (mut network, id, stream, well) = at_a_rate(RATE);
    for _ in 0..5_000 {
        network.publish(id, stream, vec![1; 400]);
        network.run_for(MILLISECOND / 4);
    }
    let greedy = network.add_subscriber(subscriber(2), wire(), wire());
    network.run_for(300 * MILLISECOND);
    let state = network.publisher(id).receivers().into_iter().find(|state| state.id == ReceiverId(2));
    assert!(state.is_some_and(|state| state.good_standing && !state.quarantined));
    // It asks for all of the window, and again, and is never done.
    let ask = |network: &mut Network| {
        let from = network.address(greedy).unwrap();
        network.with_publisher(id, |core, now| core.handle_datagram(now, from, &nak_for_all(now, stream)));
    };
    for _ in 0..1_000 {
        if network.publisher(id).stats().quarantined > 0 {
            break;
        }
        ask(&mut network);
        network.run_for(100 * MILLISECOND);
    }
    // What it asked for within its budget goes first, as for anybody.
    for _ in 0..30 {
        ask(&mut network);
        network.run_for(100 * MILLISECOND);
    }
    // Two runs for it may be before a message, which take some seven milliseconds each at this rate.
    for _ in 0..100 {
        let before = network.subscriber(well).stats().messages;
        ask(&mut network);
        network.publish(id, stream, vec![1; 400]);
        network.run_for(20 * MILLISECOND);
        assert_eq!(network.subscriber(well).stats().messages, before + 1, "a message is late");
        assert_eq!(network.waiting(id), 0, "nobody is waited for");
        let receivers = network.publisher(id).receivers();
        let state = receivers.iter().find(|state| state.id == ReceiverId(2)).unwrap();
        assert!(state.quarantined && !state.good_standing, "{state:?}");
    }
    let stats = network.subscriber(well).stats();
    assert_eq!((stats.lost, stats.missed), (0, 0));
}

/// What live data needs of the rate is not taken by a late joiner, though what it has no room for yet is dropped and asked
/// for again.
#[test]
fn catching_up_has_a_tenth_of_the_rate_where_live_data_needs_the_rest() {
    let mut saturated = Saturated::new();
    let repairs = Repairs::default();
    saturated.network.observe(repairs.clone());
    let alone = saturated.heard_in(SECOND);
    let config = subscriber::Config { start: StartAt::Window, ..subscriber(2) };
    let late = saturated.network.add_subscriber(config, wire(), wire());
    let there = saturated.network.address(late);
    let heard = saturated.heard_in(SECOND);
    assert!(heard * 10 >= alone * 8, "{heard} messages in a second, {alone} before it came");
    let sent = repairs.0.borrow();
    let others = sent.iter().filter(|&&(_, _, to)| to != there).count();
    assert!(sent.len() > 1_000 && others == 0, "{others} of {}", sent.len());
    // Any second: from each repair on. What may leave at once is a millisecond's worth or 1,500 bytes, and one run.
    let most = RATE as usize / 80 + 1_500 + 64 * 512;
    for (at, &(start, ..)) in sent.iter().enumerate() {
        let within = sent.range(at..).take_while(|&&(then, ..)| then.since(start) <= SECOND);
        let bytes: usize = within.map(|&(_, bytes, _)| bytes).sum();
        assert!(bytes <= most, "{bytes} bytes in a second, of {most}");
    }
}

/// Counts what one subscriber does.
#[derive(Clone, Default)]
struct Effort(Rc<RefCell<(u64, u64)>>);

impl Observer for Effort {
    fn sent(&mut self, _: Time, by: Core<'_>, _: Option<SocketAddr>, bytes: &[u8]) {
        let nak = Datagram::parse(bytes).is_ok_and(|datagram| datagram.header.kind == Kind::Nak);
        self.0.borrow_mut().0 += u64::from(nak && matches!(by, Core::Subscriber(..)));
    }

    fn woken(&mut self, _: Time, who: Core<'_>, _: Wake) {
        self.0.borrow_mut().1 += u64::from(matches!(who, Core::Subscriber(..)));
    }
}

/// NAKs and time-outs a second and a receiver, of some that each lose a part of what a source sends that has a rate of a
/// hundred datagrams a second.
fn effort_while_repairs_wait(receivers: u64, receive_buffer: usize, loss: f64) -> (u64, u64) {
    let mut network = Network::new(1);
    let listeners: Vec<SubscriberId> = (1..=receivers)
        .map(|id| {
            let config = subscriber::Config { receive_buffer, ..subscriber(id) };
            network.add_subscriber(config, wire(), Link { loss, ..wire() })
        })
        .collect();
    let config = publisher::Config {
        flow: Flow::None,
        max_rate: Some(1_408 * 8 * 100),
        ..publisher::Config::new(SourceId(7))
    };
    let id = network.add_publisher(config, wire(), wire());
    let stream = network.open_stream(id, "t").unwrap();
    network.run_for(300 * MILLISECOND);
    for _ in 0..400 {
        network.publish(id, stream, vec![1; 1_300]);
    }
    let effort = Effort::default();
    network.observe(effort.clone());
    let begun = network.now();
    while !listeners.iter().all(|&to| network.subscriber(to).stats().messages == 400) {
        network.run_for(SECOND);
    }
    let seconds = network.now().since(begun).as_secs();
    assert!(seconds < 60, "all is there in time");
    let (naks, wakes) = *effort.0.borrow();
    (naks / seconds / receivers, wakes / seconds / receivers)
}

#[test]
fn a_lone_receiver_whose_repairs_wait_for_the_rate_asks_rarely() {
    for receive_buffer in [4 << 20, 64 << 10] {
        let (naks, wakes) = effort_while_repairs_wait(1, receive_buffer, 0.3);
        assert!(naks <= 200 && wakes <= 200, "{naks} NAKs, {wakes} time-outs a second");
    }
}

#[test]
fn receivers_whose_repairs_wait_for_the_rate_ask_rarely() {
    for receive_buffer in [4 << 20, 64 << 10] {
        let (naks, wakes) = effort_while_repairs_wait(8, receive_buffer, 0.3);
        assert!(naks <= 200 && wakes <= 400, "{naks} NAKs, {wakes} time-outs a second for each");
    }
}

/// While a receiver holds streams back their heartbeats ask on for leave to go on, every four milliseconds for each: at a low
/// rate that must leave something for the repairs it waits for.
#[test]
fn heartbeats_of_streams_that_are_held_back_leave_the_rate_to_repairs() {
    let mut network = Network::new(1);
    let config = subscriber::Config { receive_buffer: 64 << 10, ..subscriber(1) };
    let to = network.add_subscriber(config, wire(), wire());
    let config = publisher::Config {
        datagram: 512,
        max_rate: Some(512 * 8 * 100),
        patience: 60 * SECOND,
        ..publisher::Config::new(SourceId(7))
    };
    let id = network.add_publisher(config, wire(), wire());
    let streams = ["a", "b"].map(|topic| network.open_stream(id, topic).unwrap());
    network.run_for(300 * MILLISECOND);
    // All that may be sent is lost.
    network.links(to).1.cut = true;
    for stream in streams {
        for _ in 0..100 {
            network.publish(id, stream, vec![1; 400]);
        }
    }
    network.run_for(2 * SECOND);
    network.links(to).1.cut = false;
    // Two hundred datagrams and as many repairs, at a hundred a second.
    network.run_for(8 * SECOND);
    let stats = network.publisher(id).stats();
    let heard = network.subscriber(to).stats().messages;
    assert_eq!(heard, 200, "{} heartbeats, {} repairs", stats.heartbeats, stats.repairs);
}

/// Signs of life never take all of a rate, however low: what is to be said leaves.
#[test]
fn a_rate_that_signs_of_life_use_up_carries_messages_all_the_same() {
    let mut network = Network::new(1);
    let to = network.add_subscriber(subscriber(1), wire(), wire());
    let config = publisher::Config { max_rate: Some(10_000), ..publisher::Config::new(SourceId(7)) };
    let id = network.add_publisher(config, wire(), wire());
    let streams = ["a", "b", "c", "d"].map(|topic| network.open_stream(id, topic).unwrap());
    for stream in streams {
        network.publish(id, stream, vec![1; 100]);
    }
    network.run_for(60 * SECOND);
    assert_eq!(network.subscriber(to).stats().messages, 4);
}

/// What a stranger asks for that needs no repair takes a tenth of the rate at the most.
#[test]
fn strangers_who_ask_for_names_leave_the_rate_to_live_data() {
    let mut network = Network::new(1);
    let to = network.add_subscriber(subscriber(1), wire(), wire());
    let config = publisher::Config { max_rate: Some(8_000_000), ..publisher::Config::new(SourceId(7)) };
    let id = network.add_publisher(config, wire(), wire());
    let stream = network.open_stream(id, "t").unwrap();
    network.run_for(100 * MILLISECOND);
    let mut bytes = vec![0; 200];
    let before = network.publisher(id).stats().announces;
    for round in 0..1_000 {
        if round % 2 == 0 {
            network.publish(id, stream, vec![1; 1_000]);
        }
        for _ in 0..10 {
            network.with_publisher(id, |core, now| {
                let length = Nak::emit(&mut bytes[HEADER_LENGTH..], ReceiverId(99), 0).length();
                let flags = nakcast::wire::flag::NAME_WANTED;
                let header = Header { stamp: now.0, flags, ..Header::new(Kind::Nak, SourceId(7), stream) };
                header.emit(&mut bytes, length);
                let stranger = SocketAddr::from(([10, 8, 8, 8], 8));
                core.handle_datagram(now, stranger, &bytes[..HEADER_LENGTH + length]);
            });
        }
        network.run_for(MILLISECOND);
    }
    network.run_for(100 * MILLISECOND);
    assert_eq!(network.subscriber(to).stats().messages, 500);
    let announces = network.publisher(id).stats().announces - before;
    assert!((100..2_000).contains(&announces), "{announces}");
}
