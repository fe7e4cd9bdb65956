//! How the network runs: what happens next, how datagrams find their way, what nodes do then.

use super::link;
use super::network::Network;
use super::node::{PublisherNode, SubscriberNode, Told};
use super::observe::{Core, Wake};
use super::queue::{Hop, Node, Packet, What, address, node_at};
use super::{PublisherId, SubscriberId};
use crate::protocol::publisher::To;
use crate::protocol::{Event, Time};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// When a socket refused datagrams, it is tried again after this.
const REFUSED_FOR: Duration = Duration::from_micros(100);

impl Network {
    /// Lets the next thing happen; false when there is none.
    ///
    /// # Panics
    /// When a node asks to be woken again and again at one instant: virtual time would stand still.
    pub fn step(&mut self) -> bool {
        let Some((at, what)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        match what {
            What::Act(act) => act(self),
            What::Arrive(hop, packet) => self.arrive(hop, &packet),
            What::Free(index) => self.read(index),
            What::Look(Node::Publisher(index)) => self.wake_publisher(index, at),
            What::Look(Node::Subscriber(index)) => self.wake_subscriber(index, at),
        }
        true
    }

    /// A datagram has come to a place: from there it goes on, or it is handled.
    fn arrive(&mut self, hop: Hop, packet: &Packet) {
        match hop {
            Hop::Core => match packet.to {
                None => {
                    for branch in 0..self.branches.len() as u32 {
                        self.down_branch(branch, packet);
                    }
                    for at in 0..self.direct.len() {
                        self.down_to(self.direct[at], packet);
                    }
                }
                Some(Node::Subscriber(index)) => {
                    match self.subscribers.get(index as usize).map(|node| node.branch) {
                        Some(Some(branch)) => self.down_branch(branch, packet),
                        Some(None) => self.down_to(index, packet),
                        None => {}
                    }
                }
                Some(Node::Publisher(_)) => {}
            },
            Hop::Branch(branch) => match packet.to {
                Some(Node::Subscriber(index)) => self.down_to(index, packet),
                _ => {
                    for at in 0..self.branches[branch as usize].members.len() {
                        self.down_to(self.branches[branch as usize].members[at], packet);
                    }
                }
            },
            Hop::Subscriber(index) => self.at_subscriber(index, packet),
            Hop::BranchBack(branch) => {
                let wire = &mut self.branches[branch as usize].up;
                let copies = wire.carry(self.now, &packet.bytes, &mut self.random);
                self.forward(Hop::CoreBack, packet, copies);
            }
            Hop::CoreBack => {
                if let Some(Node::Publisher(host)) = packet.to
                    && let Some(there) = self.hosts.get_mut(host as usize)
                {
                    let copies = there.down.carry(self.now, &packet.bytes, &mut self.random);
                    self.forward(Hop::Host(host), packet, copies);
                }
            }
            Hop::Host(host) => self.at_host(host, packet),
        }
    }

    fn forward(&mut self, hop: Hop, packet: &Packet, copies: [Option<link::Copied>; 2]) {
        for (at, bytes) in copies.into_iter().flatten() {
            self.queue.push(at, What::Arrive(hop, Packet { bytes, ..*packet }));
        }
    }

    fn down_branch(&mut self, branch: u32, packet: &Packet) {
        let wire = &mut self.branches[branch as usize].down;
        let copies = wire.carry(self.now, &packet.bytes, &mut self.random);
        self.forward(Hop::Branch(branch), packet, copies);
    }

    fn down_to(&mut self, index: u32, packet: &Packet) {
        let wire = &mut self.subscribers[index as usize].down;
        let copies = wire.carry(self.now, &packet.bytes, &mut self.random);
        self.forward(Hop::Subscriber(index), packet, copies);
    }

    fn at_host(&mut self, host: u32, packet: &Packet) {
        let index = self.hosts[host as usize].living;
        let node = &mut self.publishers[index as usize];
        if !node.alive {
            return;
        }
        let from = address(packet.from);
        node.core.handle_datagram(self.now, from, &packet.bytes);
        if let Some(observer) = &mut self.observer {
            let core = Core::Publisher(PublisherId(index), &node.core);
            observer.received(self.now, core, from, &packet.bytes);
        }
        self.settle_publisher(index);
    }

    fn at_subscriber(&mut self, index: u32, packet: &Packet) {
        let node = &mut self.subscribers[index as usize];
        if !node.alive {
            return;
        }
        let from = address(packet.from);
        if node.paused || node.busy_until > self.now || !node.buffer.is_empty() {
            if !node.buffer.push(from, packet.bytes.clone()) {
                node.core.count_socket(|stats| stats.kernel_drops += 1);
            }
        } else {
            self.subscriber_receives(index, from, &packet.bytes);
        }
    }

    fn subscriber_receives(&mut self, index: u32, from: SocketAddr, bytes: &[u8]) {
        let node = &mut self.subscribers[index as usize];
        node.core.handle_datagram(self.now, from, bytes);
        if let Some(observer) = &mut self.observer {
            observer.received(self.now, Core::Subscriber(SubscriberId(index), &node.core), from, bytes);
        }
        self.settle_subscriber(index, bytes);
    }

    /// A subscriber that was not reading reads what came meanwhile, until its application is at work again.
    pub(super) fn read(&mut self, index: u32) {
        loop {
            let node = &mut self.subscribers[index as usize];
            if !node.alive || node.paused || node.busy_until > self.now {
                return;
            }
            let Some((from, bytes)) = node.buffer.pop() else { break };
            self.subscriber_receives(index, from, &bytes);
        }
        self.settle_subscriber(index, &[]);
    }

    fn wake_publisher(&mut self, index: u32, at: Time) {
        let node = &mut self.publishers[index as usize];
        if !node.alive || node.clock.look != at {
            return;
        }
        node.clock.look = Time::NEVER;
        if node.clock.wake > self.now {
            return self.look_publisher(index);
        }
        let sane = node.clock.count(self.now);
        assert!(sane, "p{index} asks to be woken again and again at {:?}: {:?}", self.now, node.reason);
        node.clock.wake = Time::NEVER;
        if let Some(observer) = &mut self.observer {
            let core = Core::Publisher(PublisherId(index), &node.core);
            observer.woken(self.now, core, Wake::Publisher(node.reason));
        }
        node.core.handle_timeout(self.now);
        self.settle_publisher(index);
    }

    fn wake_subscriber(&mut self, index: u32, at: Time) {
        let node = &mut self.subscribers[index as usize];
        if !node.alive || node.clock.look != at {
            return;
        }
        node.clock.look = Time::NEVER;
        if node.paused || node.busy_until > self.now {
            // Seen to when it goes on.
            return;
        }
        if node.clock.wake > self.now {
            return self.look_subscriber(index);
        }
        let sane = node.clock.count(self.now);
        assert!(sane, "s{index} asks to be woken again and again at {:?}: {:?}", self.now, node.reason);
        node.clock.wake = Time::NEVER;
        if let Some(observer) = &mut self.observer {
            let core = Core::Subscriber(SubscriberId(index), &node.core);
            observer.woken(self.now, core, Wake::Subscriber(node.reason));
        }
        node.core.handle_timeout(self.now);
        self.settle_subscriber(index, &[]);
    }

    /// Has somebody look when a publisher wants to be woken. A look that comes too early is put off then: so a time-out that
    /// is put off with every datagram costs nothing each time.
    fn look_publisher(&mut self, index: u32) {
        let clock = &mut self.publishers[index as usize].clock;
        if clock.wake < clock.look {
            clock.look = clock.wake;
            self.queue.push(clock.wake, What::Look(Node::Publisher(index)));
        }
    }

    fn look_subscriber(&mut self, index: u32) {
        let clock = &mut self.subscribers[index as usize].clock;
        if clock.wake < clock.look {
            clock.look = clock.wake;
            self.queue.push(clock.wake, What::Look(Node::Subscriber(index)));
        }
    }

    /// After each change of a subscriber: what happened is told, what is due is sent, the next wake is set.
    pub(super) fn settle_subscriber(&mut self, index: u32, current: &[u8]) {
        let now = self.now;
        let SubscriberNode { core, told, keeps, .. } = &mut self.subscribers[index as usize];
        let mut messages = 0;
        let mut tell = |event: &Event<'_>| {
            messages += u32::from(matches!(event, Event::Message(_)));
            if let Some(observer) = &mut self.observer {
                observer.told(now, SubscriberId(index), event);
            }
            if *keeps {
                told.push_back(Told::from_event(event));
            }
        };
        loop {
            // Every other one takes what it can at once.
            if index % 2 == 1 {
                core.rest(current, usize::MAX, |event| tell(&event));
            }
            let Some(ready) = core.advance(current) else { break };
            tell(&core.event(&ready, current));
        }
        while let Some(transmit) = self.subscribers[index as usize].core.poll_transmit(now) {
            let bytes = Rc::from(self.subscribers[index as usize].core.datagram(&transmit));
            self.subscriber_sends(index, transmit.to, bytes);
        }
        let node = &mut self.subscribers[index as usize];
        let next = node.core.poll_timeout(now);
        node.clock.wake = next.map_or(Time::NEVER, |(at, _)| at.max(now));
        if let Some((_, reason)) = next {
            node.reason = reason;
        }
        if let Some(observer) = &mut self.observer {
            let core = Core::Subscriber(SubscriberId(index), &node.core);
            observer.settled(now, core, next.map(|(at, reason)| (at.max(now), Wake::Subscriber(reason))));
        }
        if messages > 0 && node.pace > Duration::ZERO {
            node.busy_until = now + node.pace * messages;
            self.queue.push(node.busy_until, What::Free(index));
            return;
        }
        self.look_subscriber(index);
    }

    /// After each change of a publisher: what is due is sent, messages that wait are tried, the next wake is set.
    pub(super) fn settle_publisher(&mut self, index: u32) {
        let now = self.now;
        if !self.publishers[index as usize].alive {
            return;
        }
        self.look_at_bulk(index);
        loop {
            self.publisher_transmits(index);
            let sends_in_bulk = self.publishers[index as usize].bulk.chance > 0.0;
            if !(if sends_in_bulk { self.take_in_bulk(index) } else { self.take_waiting(index) }) {
                break;
            }
        }
        let node = &mut self.publishers[index as usize];
        let (at, reason) = node.core.poll_timeout(now);
        let mut wake = at.max(now);
        if let Some(until) = node.refused_until {
            // The driver waits for its socket, and does not spin on what it cannot send meanwhile.
            wake = if wake <= now { until } else { wake.min(until) };
        }
        (node.clock.wake, node.reason) = (wake, reason);
        if let Some(observer) = &mut self.observer {
            let core = Core::Publisher(PublisherId(index), &node.core);
            observer.settled(now, core, Some((wake, Wake::Publisher(reason))));
        }
        self.look_publisher(index);
    }

    /// Tries messages that wait; whether one was taken.
    fn take_waiting(&mut self, index: u32) -> bool {
        let PublisherNode { core, waiting, batching, .. } = &mut self.publishers[index as usize];
        let mut taken = false;
        for (&stream, messages) in waiting.iter_mut() {
            while let Some(message) = messages.front() {
                if let Err(why) = core.send(stream, message, self.now) {
                    if let Some(observer) = &mut self.observer {
                        observer.refused(self.now, PublisherId(index), core, why);
                    }
                    break;
                }
                taken = true;
                messages.pop_front();
                if !*batching {
                    core.flush(stream);
                }
            }
        }
        taken
    }

    pub(super) fn publisher_transmits(&mut self, index: u32) {
        let now = self.now;
        let at = index as usize;
        if self.publishers[at].refused_until.is_some_and(|until| until > now) {
            return;
        }
        self.publishers[at].refused_until = None;
        while let Some(transmit) = self.publishers[at].core.poll_transmit(now) {
            let node = &mut self.publishers[at];
            let run: Vec<Rc<[u8]>> = node.core.datagrams().map(Rc::from).collect();
            assert_eq!(run.len(), transmit.count, "a run has the datagrams it says");
            for (place, datagram) in run.iter().enumerate() {
                let last = place + 1 == run.len();
                let sound = if last {
                    datagram.len() <= transmit.segment
                } else {
                    datagram.len() == transmit.segment
                };
                assert!(sound, "all datagrams of a run but the last have the length of a segment");
            }
            let mut taken = run.len();
            if link::hits(&mut self.random, node.refusals) {
                taken = self.random.u64(..run.len() as u64) as usize;
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

    fn note(&mut self, from: Node, bytes: &[u8]) {
        self.datagrams += 1;
        let content = u64::from(crc32fast::hash(bytes)) << 32 | bytes.len() as u64;
        let from = match from {
            Node::Publisher(host) => u64::from(host),
            Node::Subscriber(number) => u64::from(number) | 1 << 32,
        };
        for word in [self.now.0, from, content] {
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    fn publisher_sends(&mut self, index: u32, to: To, bytes: &Rc<[u8]>) {
        let to = match to {
            To::Group => None,
            To::Receiver(address) => Some(address),
        };
        let node = &self.publishers[index as usize];
        let host = node.host;
        if let Some(observer) = &mut self.observer {
            observer.sent(self.now, Core::Publisher(PublisherId(index), &node.core), to, bytes);
        }
        let from = Node::Publisher(host);
        self.note(from, bytes);
        let to = match to {
            None => None,
            Some(address) => match node_at(address) {
                Some(node) => Some(node),
                None => return,
            },
        };
        let copies = self.hosts[host as usize].up.carry(self.now, bytes, &mut self.random);
        self.forward(Hop::Core, &Packet { from, to, bytes: bytes.clone() }, copies);
    }

    pub(super) fn subscriber_sends(&mut self, index: u32, to: SocketAddr, bytes: Rc<[u8]>) {
        let node = &mut self.subscribers[index as usize];
        if let Some(observer) = &mut self.observer {
            let core = Core::Subscriber(SubscriberId(index), &node.core);
            observer.sent(self.now, core, Some(to), &bytes);
        }
        let hop = node.branch.map_or(Hop::CoreBack, Hop::BranchBack);
        let copies = node.up.carry(self.now, &bytes, &mut self.random);
        let from = Node::Subscriber(index);
        self.note(from, &bytes);
        let Some(to) = node_at(to) else { return };
        self.forward(hop, &Packet { from, to: Some(to), bytes }, copies);
    }
}
