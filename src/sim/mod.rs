//! A network in virtual time, for tests: the real state machines of publishers and subscribers, and links between them
//! that lose, duplicate, hold up and spoil datagrams. All chance comes from one seed, and the same seed gives the same
//! run.
//!
//! Nothing happens until the network is run. Time then moves from one event to the next: a datagram arrives, or a state
//! machine asked to be woken. Datagrams that arrive at an instant are handled before the time-outs of that instant, as a
//! driver does that reads its sockets empty first.

mod link;
mod node;

#[cfg(test)]
mod tests;

pub use link::Link;
pub use node::Told;

use crate::protocol::Time;
use crate::protocol::publisher::{self, Publisher, To};
use crate::protocol::subscriber::{self, Subscriber};
use fastrand::Rng;
use node::{Buffer, PublisherNode, SubscriberNode};
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A publisher of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublisherId(usize);

/// A subscriber of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(usize);

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Publisher(usize),
    Subscriber(usize),
}

/// Something that is going to happen.
#[derive(Debug)]
struct Happening {
    at: Time,
    /// Time-outs come behind the datagrams of their instant; what is left is in the order of its making.
    order: (bool, u64),
    node: Node,
    /// A datagram and where it comes from; otherwise a time-out.
    datagram: Option<(SocketAddr, Rc<[u8]>)>,
}

impl Happening {
    fn key(&self) -> std::cmp::Reverse<(Time, (bool, u64))> {
        std::cmp::Reverse((self.at, self.order))
    }
}

impl PartialEq for Happening {
    fn eq(&self, other: &Happening) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Happening {}

impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Happening) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Happening {
    fn cmp(&self, other: &Happening) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// What sees every datagram when it is sent: when, from where, to whom (`None`: the group), and its bytes.
pub type Tap = Box<dyn FnMut(Time, SocketAddr, Option<SocketAddr>, &[u8])>;

/// Time-outs of one node at one instant; more of them mean that virtual time stands still.
const MOST_TIMEOUTS: u32 = 16;
/// When a socket refused datagrams, it is tried again after this.
const REFUSED_FOR: Duration = Duration::from_micros(100);

/// The network, and all that is on it.
pub struct Network {
    now: Time,
    random: Rng,
    happenings: BinaryHeap<Happening>,
    serial: u64,
    publishers: Vec<PublisherNode>,
    subscribers: Vec<SubscriberNode>,
    tap: Option<Tap>,
    datagrams: u64,
    fingerprint: u64,
}

impl Network {
    /// An empty network at a time of its own.
    pub fn new(seed: u64) -> Network {
        Network {
            now: Time(1_000_000_000),
            random: Rng::with_seed(seed),
            happenings: BinaryHeap::new(),
            serial: 0,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            tap: None,
            datagrams: 0,
            fingerprint: 0,
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Shows every datagram sent to `tap`.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Datagrams sent, by all nodes.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// A number that is the same for two runs in which the same datagrams were sent at the same times.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn address(host: u8, number: usize) -> SocketAddr {
        let number = number as u32;
        SocketAddr::from(([10, host, (number >> 8) as u8, number as u8], 7_000))
    }

    /// Adds a publisher's endpoint, at an address of its own.
    pub fn add_publisher(&mut self, config: publisher::Config, up: Link, down: Link) -> PublisherId {
        let address = Network::address(1, self.publishers.len());
        self.add_publisher_at(address, config, up, down)
    }

    /// Adds a publisher's endpoint at the address of one that was killed: its publisher started anew.
    pub fn restart_publisher(&mut self, killed: PublisherId, config: publisher::Config) -> PublisherId {
        let PublisherNode { address, up, down, .. } = self.publishers[killed.0];
        self.kill_publisher(killed);
        self.add_publisher_at(address, config, up, down)
    }

    fn add_publisher_at(
        &mut self,
        address: SocketAddr,
        config: publisher::Config,
        up: Link,
        down: Link,
    ) -> PublisherId {
        self.publishers.push(PublisherNode {
            core: Publisher::new(config, self.now),
            address,
            up,
            down,
            alive: true,
            waiting: BTreeMap::new(),
            batching: false,
            refusals: 0.0,
            refused_until: None,
            wake: Time::NEVER,
            timeouts: 0,
            timeouts_at: self.now,
        });
        let id = PublisherId(self.publishers.len() - 1);
        self.settle_publisher(id.0);
        id
    }

    /// Adds a subscriber whose sockets hold `receive_buffer` of its configuration, in bytes.
    pub fn add_subscriber(&mut self, config: subscriber::Config, up: Link, down: Link) -> SubscriberId {
        let address = Network::address(2, self.subscribers.len());
        self.subscribers.push(SubscriberNode {
            address,
            up,
            down,
            buffer: Buffer::new(config.receive_buffer),
            core: Subscriber::new(config, self.now),
            alive: true,
            paused: false,
            told: VecDeque::new(),
            wake: Time::NEVER,
            timeouts: 0,
            timeouts_at: self.now,
        });
        let id = SubscriberId(self.subscribers.len() - 1);
        self.settle_subscriber(id.0, &[]);
        id
    }

    /// A publisher's state machine.
    pub fn publisher(&self, id: PublisherId) -> &Publisher {
        &self.publishers[id.0].core
    }

    /// Does something to a publisher's state machine, and sends what comes of it.
    pub fn with_publisher<T>(&mut self, id: PublisherId, act: impl FnOnce(&mut Publisher, Time) -> T) -> T {
        let done = act(&mut self.publishers[id.0].core, self.now);
        self.settle_publisher(id.0);
        done
    }

    /// A subscriber's state machine.
    pub fn subscriber(&self, id: SubscriberId) -> &Subscriber {
        &self.subscribers[id.0].core
    }

    /// The links of a publisher: to the network, and from it.
    pub fn publisher_links(&mut self, id: PublisherId) -> (&mut Link, &mut Link) {
        let node = &mut self.publishers[id.0];
        (&mut node.up, &mut node.down)
    }

    /// The links of a subscriber: to the network, and from it.
    pub fn subscriber_links(&mut self, id: SubscriberId) -> (&mut Link, &mut Link) {
        let node = &mut self.subscribers[id.0];
        (&mut node.up, &mut node.down)
    }

    /// Whether a publisher's messages wait for others, up to its configured delay; otherwise each leaves at once.
    pub fn set_batching(&mut self, id: PublisherId, batching: bool) {
        self.publishers[id.0].batching = batching;
    }

    /// The chance that a publisher's socket takes only a part of a run.
    pub fn set_refusals(&mut self, id: PublisherId, chance: f64) {
        self.publishers[id.0].refusals = chance;
    }

    /// Stops all harm on all links. Delays stay.
    pub fn heal(&mut self) {
        for node in &mut self.publishers {
            (node.up, node.down, node.refusals) = (node.up.healed(), node.down.healed(), 0.0);
        }
        for node in &mut self.subscribers {
            (node.up, node.down) = (node.up.healed(), node.down.healed());
        }
    }

    /// Publishes a message. One that is not taken now waits, as a blocking `send` would, behind those of its stream that
    /// wait already.
    pub fn publish(&mut self, id: PublisherId, stream: u32, message: Vec<u8>) {
        self.publishers[id.0].waiting.entry(stream).or_default().push_back(message);
        self.settle_publisher(id.0);
    }

    /// Messages that wait to be taken by a publisher.
    pub fn waiting(&self, id: PublisherId) -> usize {
        self.publishers[id.0].waiting.values().map(VecDeque::len).sum()
    }

    /// Ends a publisher without a word.
    pub fn kill_publisher(&mut self, id: PublisherId) {
        let node = &mut self.publishers[id.0];
        node.alive = false;
        node.waiting.clear();
    }

    /// Stops a subscriber: what arrives fills its receive buffer, and is dropped when that is full.
    pub fn pause(&mut self, id: SubscriberId) {
        self.subscribers[id.0].paused = true;
    }

    /// Lets a subscriber go on.
    pub fn resume(&mut self, id: SubscriberId) {
        self.subscribers[id.0].paused = false;
        while let Some((from, bytes)) = self.subscribers[id.0].buffer.pop() {
            self.subscriber_receives(id.0, from, &bytes);
        }
        self.settle_subscriber(id.0, &[]);
    }

    /// Ends a subscriber: with its leave, or without a word.
    pub fn remove_subscriber(&mut self, id: SubscriberId, takes_leave: bool) {
        let now = self.now;
        while takes_leave && let Some(transmit) = self.subscribers[id.0].core.poll_leave(now) {
            let bytes = Rc::from(self.subscribers[id.0].core.datagram(&transmit));
            self.subscriber_sends(id.0, transmit.to, bytes);
        }
        self.subscribers[id.0].alive = false;
    }

    /// The next thing a subscriber was told.
    pub fn poll_told(&mut self, id: SubscriberId) -> Option<Told> {
        self.subscribers[id.0].told.pop_front()
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.happenings.peek().map(|happening| happening.at)
    }

    /// Lets happen what happens in this time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets happen what happens until then.
    pub fn run_until(&mut self, until: Time) {
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Lets the next thing happen; false when there is none.
    pub fn step(&mut self) -> bool {
        let Some(happening) = self.happenings.pop() else { return false };
        self.now = self.now.max(happening.at);
        match (happening.node, happening.datagram) {
            (Node::Publisher(index), Some((from, bytes))) => {
                let node = &mut self.publishers[index];
                if node.alive {
                    node.core.handle_datagram(self.now, from, &bytes);
                    self.settle_publisher(index);
                }
            }
            (Node::Publisher(index), None) => {
                let node = &mut self.publishers[index];
                if node.alive && node.wake == happening.at {
                    node.wake = Time::NEVER;
                    count_timeout(&mut node.timeouts, &mut node.timeouts_at, self.now);
                    node.core.handle_timeout(self.now);
                    self.settle_publisher(index);
                }
            }
            (Node::Subscriber(index), Some((from, bytes))) => {
                let node = &mut self.subscribers[index];
                if node.alive && node.paused {
                    node.buffer.push(from, bytes);
                } else if node.alive {
                    self.subscriber_receives(index, from, &bytes);
                }
            }
            (Node::Subscriber(index), None) => {
                let node = &mut self.subscribers[index];
                if node.alive && !node.paused && node.wake == happening.at {
                    node.wake = Time::NEVER;
                    count_timeout(&mut node.timeouts, &mut node.timeouts_at, self.now);
                    node.core.handle_timeout(self.now);
                    self.settle_subscriber(index, &[]);
                }
            }
        }
        true
    }

    fn subscriber_receives(&mut self, index: usize, from: SocketAddr, bytes: &[u8]) {
        self.subscribers[index].core.handle_datagram(self.now, from, bytes);
        self.settle_subscriber(index, bytes);
    }

    /// After each change of a subscriber: what happened is told, what is due is sent, the next wake is set.
    fn settle_subscriber(&mut self, index: usize, current: &[u8]) {
        let now = self.now;
        let node = &mut self.subscribers[index];
        while let Some(ready) = node.core.advance(current) {
            let event = node.core.event(&ready, current);
            node.told.push_back(Told::from_event(&event));
        }
        while let Some(transmit) = self.subscribers[index].core.poll_transmit(now) {
            let bytes = Rc::from(self.subscribers[index].core.datagram(&transmit));
            self.subscriber_sends(index, transmit.to, bytes);
        }
        let node = &mut self.subscribers[index];
        let wake = node.core.poll_timeout(now).map_or(Time::NEVER, |(at, _)| at.max(now));
        if wake != node.wake {
            node.wake = wake;
            self.wake_at(wake, Node::Subscriber(index));
        }
    }

    /// After each change of a publisher: what is due is sent, messages that wait are tried, the next wake is set.
    fn settle_publisher(&mut self, index: usize) {
        let now = self.now;
        if !self.publishers[index].alive {
            return;
        }
        loop {
            self.publisher_transmits(index);
            let PublisherNode { core, waiting, batching, .. } = &mut self.publishers[index];
            let mut taken = false;
            for (&stream, messages) in waiting.iter_mut() {
                while let Some(message) = messages.front()
                    && core.send(stream, message, now).is_ok()
                {
                    taken = true;
                    messages.pop_front();
                    if !*batching {
                        core.flush(stream);
                    }
                }
            }
            if !taken {
                break;
            }
        }
        let node = &mut self.publishers[index];
        let mut wake = node.core.poll_timeout(now).0.max(now);
        if let Some(until) = node.refused_until {
            // The driver waits for its socket, and does not spin on what it cannot send meanwhile.
            wake = if wake <= now { until } else { wake.min(until) };
        }
        if wake != node.wake {
            node.wake = wake;
            self.wake_at(wake, Node::Publisher(index));
        }
    }

    fn publisher_transmits(&mut self, index: usize) {
        let now = self.now;
        if self.publishers[index].refused_until.is_some_and(|until| until > now) {
            return;
        }
        self.publishers[index].refused_until = None;
        while let Some(transmit) = self.publishers[index].core.poll_transmit(now) {
            let node = &mut self.publishers[index];
            let run: Vec<Rc<[u8]>> = node.core.datagrams().map(Rc::from).collect();
            assert_eq!(run.len(), transmit.count, "a run has the datagrams it says");
            for (at, datagram) in run.iter().enumerate() {
                let last = at + 1 == run.len();
                let sound = if last {
                    datagram.len() <= transmit.segment
                } else {
                    datagram.len() == transmit.segment
                };
                assert!(sound, "all datagrams of a run but the last have the length of a segment");
            }
            let mut taken = run.len();
            if link::hits(&mut self.random, node.refusals) {
                taken = self.random.usize(..run.len());
                node.core.retract(taken);
                node.refused_until = Some(now + REFUSED_FOR);
            }
            for datagram in &run[..taken] {
                self.publisher_sends(index, transmit.to, datagram);
            }
            if taken < run.len() {
                break;
            }
        }
    }

    fn wake_at(&mut self, at: Time, node: Node) {
        if at < Time::NEVER {
            self.serial += 1;
            self.happenings.push(Happening { at, order: (true, self.serial), node, datagram: None });
        }
    }

    fn arrive(&mut self, at: Time, node: Node, from: SocketAddr, bytes: Rc<[u8]>) {
        self.serial += 1;
        self.happenings.push(Happening {
            at,
            order: (false, self.serial),
            node,
            datagram: Some((from, bytes)),
        });
    }

    fn note(&mut self, from: SocketAddr, to: Option<SocketAddr>, bytes: &[u8]) {
        self.datagrams += 1;
        let content = u64::from(crc32fast::hash(bytes)) << 32 | bytes.len() as u64;
        for word in [self.now.0, content] {
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        if let Some(tap) = &mut self.tap {
            tap(self.now, from, to, bytes);
        }
    }

    fn publisher_sends(&mut self, index: usize, to: To, bytes: &Rc<[u8]>) {
        let PublisherNode { address, up, .. } = self.publishers[index];
        let only = match to {
            To::Group => None,
            To::Receiver(address) => Some(address),
        };
        self.note(address, only, bytes);
        for upward in up.carry(&mut self.random).into_iter().flatten() {
            for receiver in 0..self.subscribers.len() {
                let node = &self.subscribers[receiver];
                if !node.alive || only.is_some_and(|only| only != node.address) {
                    continue;
                }
                let down = node.down;
                for downward in down.carry(&mut self.random).into_iter().flatten() {
                    let bytes = self.spoil(upward.corrupt || downward.corrupt, bytes);
                    let at = self.now + upward.delay + downward.delay;
                    self.arrive(at, Node::Subscriber(receiver), address, bytes);
                }
            }
        }
    }

    fn subscriber_sends(&mut self, index: usize, to: SocketAddr, bytes: Rc<[u8]>) {
        let SubscriberNode { address, up, .. } = self.subscribers[index];
        self.note(address, Some(to), &bytes);
        let Some(there) = self.publishers.iter().position(|node| node.alive && node.address == to) else {
            return;
        };
        let down = self.publishers[there].down;
        for upward in up.carry(&mut self.random).into_iter().flatten() {
            for downward in down.carry(&mut self.random).into_iter().flatten() {
                let bytes = self.spoil(upward.corrupt || downward.corrupt, &bytes);
                let at = self.now + upward.delay + downward.delay;
                self.arrive(at, Node::Publisher(there), address, bytes);
            }
        }
    }

    fn spoil(&mut self, corrupt: bool, bytes: &Rc<[u8]>) -> Rc<[u8]> {
        if !corrupt || bytes.is_empty() {
            return bytes.clone();
        }
        let mut spoilt = bytes.to_vec();
        let at = self.random.usize(..spoilt.len());
        spoilt[at] ^= 1 << self.random.u8(..8);
        spoilt.into()
    }
}

/// Virtual time must move: a node that asks to be woken again and again at one instant would spin in a driver.
fn count_timeout(timeouts: &mut u32, at: &mut Time, now: Time) {
    *timeouts = if *at == now { *timeouts + 1 } else { 1 };
    *at = now;
    assert!(*timeouts <= MOST_TIMEOUTS, "a node was woken {timeouts} times at one instant");
}
