//! What is going to happen, in order.

use super::Network;
use crate::protocol::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::rc::Rc;

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Publisher(u32),
    Subscriber(u32),
}

/// Where a datagram is going to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hop {
    /// In the core, on its way to subscribers.
    Core,
    /// At the end of a branch, on its way to its subscribers.
    Branch(u32),
    /// At a subscriber.
    Subscriber(u32),
    /// At the near end of a branch, on its way to a publisher.
    BranchBack(u32),
    /// In the core, on its way to a publisher.
    CoreBack,
    /// At a publisher's host.
    Host(u32),
}

/// A datagram under way. Its bytes are shared by all copies.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: Node,
    /// To a publisher's host or to a subscriber; `None`: to the group.
    pub(super) to: Option<Node>,
    pub(super) bytes: Rc<[u8]>,
}

/// What happens.
pub(super) enum What {
    /// Something the user asked for.
    Act(Box<dyn FnOnce(&mut Network)>),
    /// A datagram has come this far.
    Arrive(Hop, Packet),
    /// A subscriber's application is done with what it had.
    Free(u32),
    /// A node may be due.
    Look(Node),
}

struct Entry {
    at: Time,
    /// At one instant: what the user asked for, then datagrams, then applications that are done, then time-outs.
    rank: u8,
    serial: u64,
    what: What,
}

impl Entry {
    /// What is left is in the order of its making.
    fn key(&self) -> Reverse<(Time, u8, u64)> {
        Reverse((self.at, self.rank, self.serial))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Everything that is going to happen.
#[derive(Default)]
pub(super) struct Queue {
    entries: BinaryHeap<Entry>,
    serial: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Time, what: What) {
        let rank = match what {
            What::Act(_) => 0,
            What::Arrive(..) => 1,
            What::Free(_) => 2,
            What::Look(_) => 3,
        };
        self.serial += 1;
        self.entries.push(Entry { at, rank, serial: self.serial, what });
    }

    pub(super) fn next_at(&self) -> Option<Time> {
        self.entries.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, What)> {
        self.entries.pop().map(|entry| (entry.at, entry.what))
    }
}

/// The addresses of the simulated network: publishers' hosts are in 10.1.0.0/16, subscribers in 10.2.0.0/16, both counted
/// from 0.
pub(super) fn address(node: Node) -> SocketAddr {
    let (network, number) = match node {
        Node::Publisher(host) => (1, host),
        Node::Subscriber(number) => (2, number),
    };
    SocketAddr::from(([10, network, (number >> 8) as u8, number as u8], 7_000))
}

/// Whose address it is.
pub(super) fn node_at(address: SocketAddr) -> Option<Node> {
    let SocketAddr::V4(v4) = address else { return None };
    let [10, network, high, low] = v4.ip().octets() else { return None };
    let number = u32::from(high) << 8 | u32::from(low);
    match network {
        1 => Some(Node::Publisher(number)),
        2 => Some(Node::Subscriber(number)),
        _ => None,
    }
}
