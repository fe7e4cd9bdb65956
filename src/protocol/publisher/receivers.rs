//! The receivers a publisher knows: those that sent status.

use crate::protocol::bucket::Bucket;
use crate::protocol::estimate::Least;
use crate::protocol::time::{Time, nanos};
use crate::wire::ReceiverId;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

/// With more receivers than this the largest round trip is looked for at intervals.
const MANY: usize = 64;
const REFRESH: Duration = Duration::from_millis(10);

/// A receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) heard: Time,
    /// The least of late: a receiver that is not scheduled for a while says nothing of the network.
    pub(super) round_trip: Least,
    /// How many repairs it may yet ask for.
    pub(super) budget: Bucket,
    /// Live datagrams sent, as of when the budget was last topped up with them.
    pub(super) credited: u64,
    /// It asked for more than its budget: not waited for, and answered from the share for catching up.
    pub(super) quarantined: bool,
}

impl Receiver {
    /// Tops up the budget with the live datagrams sent since the last time: each may be asked for once.
    pub(super) fn credit(&mut self, datagrams: u64) {
        self.budget.add((datagrams - self.credited) as f64);
        self.credited = datagrams;
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    by_id: BTreeMap<ReceiverId, Receiver>,
    /// A receiver has a socket of its own, so an address names one receiver: whoever comes anew from it takes its place.
    by_address: HashMap<SocketAddr, ReceiverId>,
    round_trip: Option<Duration>,
    refreshed: Time,
}

impl Receivers {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get_mut(&mut self, id: ReceiverId) -> Option<&mut Receiver> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ReceiverId, &Receiver)> {
        self.by_id.iter().map(|(&id, receiver)| (id, receiver))
    }

    /// Where a receiver sends from, while it is known.
    pub(super) fn address(&self, id: ReceiverId) -> Option<SocketAddr> {
        self.by_id.get(&id).map(|receiver| receiver.address)
    }

    /// Who was known at this address under another id.
    pub(super) fn other_at(&self, address: SocketAddr, id: ReceiverId) -> Option<ReceiverId> {
        self.by_address.get(&address).copied().filter(|&known| known != id)
    }

    pub(super) fn insert(&mut self, id: ReceiverId, receiver: Receiver) {
        self.by_address.insert(receiver.address, id);
        self.by_id.insert(id, receiver);
    }

    pub(super) fn remove(&mut self, id: ReceiverId) -> Option<Receiver> {
        let receiver = self.by_id.remove(&id)?;
        self.by_address.remove(&receiver.address);
        Some(receiver)
    }

    /// Takes a round trip measured at one of them.
    pub(super) fn sample(&mut self, id: ReceiverId, round_trip: Duration, now: Time) {
        if let Some(receiver) = self.by_id.get_mut(&id) {
            receiver.round_trip.sample(round_trip, now);
        }
        if self.round_trip.is_none() {
            self.round_trip = Some(round_trip);
        }
    }

    /// Takes anew the largest of their round trips; where they are many, not at every heartbeat.
    pub(super) fn refresh_round_trip(&mut self, now: Time) {
        if self.by_id.len() > MANY && now.since(self.refreshed) < REFRESH {
            return;
        }
        self.refreshed = now;
        if let Some(largest) = self.by_id.values().filter_map(|receiver| receiver.round_trip.value()).max() {
            self.round_trip = Some(largest);
        }
    }

    /// The largest round trip among them, as of the last refresh.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The same as it goes on the wire: nanoseconds, 0 while unknown.
    pub(super) fn round_trip_wire(&self) -> u32 {
        self.round_trip.map_or(0, |time| u32::try_from(nanos(time)).unwrap_or(u32::MAX).max(1))
    }

    /// Those from whom nothing was heard since `since`, in the order of their ids.
    pub(super) fn silent_since(&self, since: Time) -> Vec<ReceiverId> {
        self.iter().filter(|(_, receiver)| receiver.heard < since).map(|(id, _)| id).collect()
    }

    /// When somebody was heard the longest ago.
    pub(super) fn least_heard(&self) -> Option<Time> {
        self.by_id.values().map(|receiver| receiver.heard).min()
    }
}
