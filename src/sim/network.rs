//! The network as its user sees it: what is on it, what is done to it.

use super::bulk::Bulk;
use super::link::{Link, LinkStats, Wire};
use super::node::{Branch, Buffer, Clock, Host, PublisherNode, SubscriberNode, Told};
use super::observe::Observer;
use super::queue::{Node, Queue, What, address};
use super::{BranchId, Place, PublisherId, START, SubscriberId};
use crate::protocol::Time;
use crate::protocol::publisher::{self, Publisher};
use crate::protocol::subscriber::{self, Subscriber};
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Nodes of a kind: as many as there are addresses for.
const MOST: usize = 1 << 16;

/// The network, and all that is on it. See the [module's documentation](super).
///
/// Time moves when the network is run, from one thing that happens to the next. What happens at one instant does so in this
/// order: what was asked for with [`at`](Network::at), then datagrams, then time-outs, as with a driver that reads its sockets
/// empty first; and within each in the order in which it came about.
pub struct Network {
    pub(super) now: Time,
    pub(super) random: Rng,
    pub(super) queue: Queue,
    pub(super) publishers: Vec<PublisherNode>,
    pub(super) hosts: Vec<Host>,
    pub(super) subscribers: Vec<SubscriberNode>,
    pub(super) branches: Vec<Branch>,
    /// Subscribers on no branch.
    pub(super) direct: Vec<u32>,
    pub(super) observer: Option<Box<dyn Observer>>,
    pub(super) datagrams: u64,
    pub(super) fingerprint: u64,
}

impl Network {
    /// An empty network, at the time [`START`].
    pub fn new(seed: u64) -> Network {
        Network {
            now: START,
            random: Rng::with_seed(seed),
            queue: Queue::default(),
            publishers: Vec::new(),
            hosts: Vec::new(),
            subscribers: Vec::new(),
            branches: Vec::new(),
            direct: Vec::new(),
            observer: None,
            datagrams: 0,
            fingerprint: 0,
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Shows everything that happens from now on to `observer`, and to no other.
    pub fn observe(&mut self, observer: impl Observer + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Datagrams sent, by all nodes.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// A number that is the same for two runs in which the same datagrams were sent at the same times by the same nodes.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Adds a publisher's endpoint, with its links to the core and from it.
    ///
    /// # Panics
    /// When there are 65,536 already, and when [`Publisher::new`] does.
    pub fn add_publisher(&mut self, config: publisher::Config, up: Link, down: Link) -> PublisherId {
        assert!(self.hosts.len() < MOST, "a simulated network has addresses for {MOST} publishers");
        self.hosts.push(Host { up: Wire::new(up), down: Wire::new(down), living: 0 });
        self.publisher_at(self.hosts.len() as u32 - 1, config)
    }

    /// Ends a publisher, if it is not yet, and adds one at its address, with its links: the same program started anew.
    pub fn restart_publisher(&mut self, ended: PublisherId, config: publisher::Config) -> PublisherId {
        self.kill_publisher(ended);
        self.publisher_at(self.publishers[ended.0 as usize].host, config)
    }

    fn publisher_at(&mut self, host: u32, config: publisher::Config) -> PublisherId {
        let number = self.publishers.len() as u32;
        self.hosts[host as usize].living = number;
        self.publishers.push(PublisherNode {
            core: Publisher::new(config, self.now),
            host,
            alive: true,
            waiting: BTreeMap::new(),
            batching: false,
            bulk: Bulk::default(),
            refusals: 0.0,
            refused_until: None,
            reason: publisher::Reason::Heartbeat,
            clock: Clock::new(),
        });
        self.settle_publisher(number);
        PublisherId(number)
    }

    /// Adds a branch: a link that the subscribers on it share, each way.
    pub fn add_branch(&mut self, up: Link, down: Link) -> BranchId {
        self.branches.push(Branch { up: Wire::new(up), down: Wire::new(down), members: Vec::new() });
        BranchId(self.branches.len() as u32 - 1)
    }

    /// Adds a subscriber, with its links to the core and from it. Its sockets hold `receive_buffer` of its configuration, in
    /// bytes as the Linux kernel accounts them.
    ///
    /// # Panics
    /// When there are 65,536 already.
    pub fn add_subscriber(&mut self, config: subscriber::Config, up: Link, down: Link) -> SubscriberId {
        self.subscriber_on(None, config, up, down)
    }

    /// Adds a subscriber on a branch, with its links to the branch and from it.
    ///
    /// # Panics
    /// When there are 65,536 subscribers already.
    pub fn add_subscriber_at(
        &mut self,
        branch: BranchId,
        config: subscriber::Config,
        up: Link,
        down: Link,
    ) -> SubscriberId {
        self.subscriber_on(Some(branch.0), config, up, down)
    }

    fn subscriber_on(
        &mut self,
        branch: Option<u32>,
        config: subscriber::Config,
        up: Link,
        down: Link,
    ) -> SubscriberId {
        assert!(self.subscribers.len() < MOST, "a simulated network has addresses for {MOST} subscribers");
        let number = self.subscribers.len() as u32;
        self.members(branch).push(number);
        self.subscribers.push(SubscriberNode {
            branch,
            up: Wire::new(up),
            down: Wire::new(down),
            buffer: Buffer::new(config.receive_buffer),
            core: Subscriber::new(config, self.now),
            alive: true,
            paused: false,
            pace: Duration::ZERO,
            busy_until: Time(0),
            told: VecDeque::new(),
            keeps: true,
            reason: subscriber::Reason::Transmit,
            clock: Clock::new(),
        });
        self.settle_subscriber(number, &[]);
        SubscriberId(number)
    }

    fn members(&mut self, branch: Option<u32>) -> &mut Vec<u32> {
        match branch {
            Some(branch) => &mut self.branches[branch as usize].members,
            None => &mut self.direct,
        }
    }

    /// A publisher's state machine.
    pub fn publisher(&self, id: PublisherId) -> &Publisher {
        &self.publishers[id.0 as usize].core
    }

    /// Does something to a publisher's state machine, and sends what comes of it.
    pub fn with_publisher<T>(&mut self, id: PublisherId, act: impl FnOnce(&mut Publisher, Time) -> T) -> T {
        let node = &mut self.publishers[id.0 as usize];
        node.bulk.enter_all(&mut node.core, self.now);
        let done = act(&mut node.core, self.now);
        self.settle_publisher(id.0);
        done
    }

    /// Opens a stream on a topic; `None` when the publisher's window has no room for one more.
    pub fn open_stream(&mut self, id: PublisherId, topic: &str) -> Option<u32> {
        self.with_publisher(id, |core, now| core.open_stream(topic, now))
    }

    /// Publishes a message. One that is not taken now waits, as a blocking `send` would, behind those of its stream that
    /// wait already.
    pub fn publish(&mut self, id: PublisherId, stream: u32, message: Vec<u8>) {
        self.publishers[id.0 as usize].waiting.entry(stream).or_default().push_back(message);
        self.settle_publisher(id.0);
    }

    /// Messages that wait to be taken by a publisher.
    pub fn waiting(&self, id: PublisherId) -> usize {
        let node = &self.publishers[id.0 as usize];
        node.waiting.values().map(VecDeque::len).sum::<usize>() + node.bulk.packed()
    }

    /// A subscriber's state machine.
    pub fn subscriber(&self, id: SubscriberId) -> &Subscriber {
        &self.subscribers[id.0 as usize].core
    }

    /// The next thing a subscriber was told.
    pub fn poll_told(&mut self, id: SubscriberId) -> Option<Told> {
        self.subscribers[id.0 as usize].told.pop_front()
    }

    /// Whether what a subscriber is told is kept for [`poll_told`](Network::poll_told) (default: it is). What is not kept
    /// costs no copy; an [`Observer`] sees it all the same.
    pub fn keep_told(&mut self, id: SubscriberId, keep: bool) {
        self.subscribers[id.0 as usize].keeps = keep;
    }

    /// Where a node sends from: publishers in 10.1.0.0/16, subscribers in 10.2.0.0/16. A publisher that was started anew has
    /// the address of the one before. `None` for a branch.
    pub fn address(&self, place: impl Into<Place>) -> Option<SocketAddr> {
        match place.into() {
            Place::Publisher(id) => Some(address(Node::Publisher(self.publishers[id.0 as usize].host))),
            Place::Subscriber(id) => Some(address(Node::Subscriber(id.0))),
            Place::Branch(_) => None,
        }
    }

    fn wires(&mut self, place: Place) -> (&mut Wire, &mut Wire) {
        match place {
            Place::Publisher(id) => {
                let host = self.publishers[id.0 as usize].host;
                let host = &mut self.hosts[host as usize];
                (&mut host.up, &mut host.down)
            }
            Place::Branch(id) => {
                let branch = &mut self.branches[id.0 as usize];
                (&mut branch.up, &mut branch.down)
            }
            Place::Subscriber(id) => {
                let node = &mut self.subscribers[id.0 as usize];
                (&mut node.up, &mut node.down)
            }
        }
    }

    /// The links of a place: towards the core, and away from it. What is under way on them is not changed.
    pub fn links(&mut self, place: impl Into<Place>) -> (&mut Link, &mut Link) {
        let (up, down) = self.wires(place.into());
        (&mut up.link, &mut down.link)
    }

    /// What became of the datagrams on the links of a place: towards the core, and away from it.
    pub fn link_stats(&mut self, place: impl Into<Place>) -> (LinkStats, LinkStats) {
        let (up, down) = self.wires(place.into());
        (up.stats, down.stats)
    }

    /// Stops all harm on all links, and the refusals of all sockets. Delays stay; so do pauses and paces.
    pub fn heal(&mut self) {
        let hosts = self.hosts.iter_mut().map(|host| (&mut host.up, &mut host.down));
        let branches = self.branches.iter_mut().map(|branch| (&mut branch.up, &mut branch.down));
        let subscribers = self.subscribers.iter_mut().map(|node| (&mut node.up, &mut node.down));
        for (up, down) in hosts.chain(branches).chain(subscribers) {
            (up.link, down.link) = (up.link.healed(), down.link.healed());
        }
        for node in &mut self.publishers {
            node.refusals = 0.0;
        }
    }

    /// Does something to the network at a time to come (now, if it has passed).
    pub fn at(&mut self, time: Time, act: impl FnOnce(&mut Network) + 'static) {
        self.queue.push(time.max(self.now), What::Act(Box::new(act)));
    }

    /// Whether a publisher's messages wait for others, up to its configured delay; otherwise each leaves at once (default).
    pub fn set_batching(&mut self, id: PublisherId, batching: bool) {
        self.publishers[id.0 as usize].batching = batching;
    }

    /// The chance, from 0 (default) to 1, that behind a message that a publisher took others are packed beside its state machine,
    /// as far as there is headroom, and are handed over together within its configured delay, as those of a tight loop are.
    pub fn set_bulk(&mut self, id: PublisherId, chance: f64) {
        self.publishers[id.0 as usize].bulk.chance = chance;
    }

    /// Runs that a publisher was handed over in bulk.
    pub fn bulk_runs(&self, id: PublisherId) -> u64 {
        self.publishers[id.0 as usize].bulk.runs
    }

    /// The chance, from 0 (default) to 1, that a publisher's socket takes only a part of a run, and then nothing for 100 us.
    pub fn set_refusals(&mut self, id: PublisherId, chance: f64) {
        self.publishers[id.0 as usize].refusals = chance;
    }

    /// Ends a publisher without a word.
    pub fn kill_publisher(&mut self, id: PublisherId) {
        let node = &mut self.publishers[id.0 as usize];
        node.alive = false;
        node.waiting.clear();
        node.bulk.clear();
    }

    /// Whether a publisher was not ended.
    pub fn is_alive(&self, id: PublisherId) -> bool {
        self.publishers[id.0 as usize].alive
    }

    /// Stops a subscriber: what arrives fills its receive buffer, and is dropped when that is full.
    pub fn pause(&mut self, id: SubscriberId) {
        self.subscribers[id.0 as usize].paused = true;
    }

    /// Lets a subscriber go on: with what its receive buffer holds, then with time-outs that passed.
    pub fn resume(&mut self, id: SubscriberId) {
        self.subscribers[id.0 as usize].paused = false;
        self.read(id.0);
    }

    /// How long a subscriber's application takes for each message (default: no time). Meanwhile nothing is read, and nothing
    /// sent.
    pub fn set_pace(&mut self, id: SubscriberId, each: Duration) {
        self.subscribers[id.0 as usize].pace = each;
    }

    /// Ends a subscriber: with its leave, or without a word.
    pub fn remove_subscriber(&mut self, id: SubscriberId, takes_leave: bool) {
        let now = self.now;
        while takes_leave && let Some(transmit) = self.subscribers[id.0 as usize].core.poll_leave(now) {
            let bytes = Rc::from(self.subscribers[id.0 as usize].core.datagram(&transmit));
            self.subscriber_sends(id.0, transmit.to, bytes);
        }
        let node = &mut self.subscribers[id.0 as usize];
        node.alive = false;
        let branch = node.branch;
        self.members(branch).retain(|&member| member != id.0);
    }

    /// When the next thing happens, or may: a time-out that was put off is passed over then.
    pub fn next_at(&self) -> Option<Time> {
        self.queue.next_at()
    }

    /// Lets happen what happens in this time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets happen what happens until then, and then.
    pub fn run_until(&mut self, until: Time) {
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }
}
