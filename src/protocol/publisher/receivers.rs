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
/// Who was stopped for a while and goes on reads what is seconds old, and takes it for new. Where it was forgotten meanwhile nothing is known
/// of it that would show that: a round trip from so long on does not count for the others' NAKs before it is known for so long.
const LONG: Duration = Duration::from_millis(100);
const SETTLED: Duration = Duration::from_secs(1);

/// A receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) met: Time,
    pub(super) heard: Time,
    /// The least of late: a receiver that is not scheduled for a while says nothing of the network.
    pub(super) round_trip: Least,
    /// How many repairs it may yet ask for.
    pub(super) budget: Bucket,
    /// Live datagrams sent, as of when the budget was last topped up with them.
    pub(super) credited: u64,
    /// It asked for more than its budget: not waited for, and answered from the share for catching up.
    pub(super) quarantined: bool,
    pub(super) way: Way,
}

impl Receiver {
    /// Its round trip, where that can be relied on.
    fn settled(&self, now: Time) -> Option<Duration> {
        self.round_trip.value().filter(|&time| time < LONG || now.since(self.met) >= SETTLED)
    }
}

/// What is known of the way to a receiver alone: a firewall may let in only what comes to the group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// Repairs that went to it alone lately, and those of them that it asked for again.
    alone: u32,
    in_vain: u32,
    /// Repairs that went to the group in their place, since one was tried alone.
    spared: u32,
}

impl Way {
    /// So many are remembered, more or less.
    const LATELY: u32 = 64;
    /// Fewer that were in vain say nothing.
    const LEAST: u32 = 4;
    /// While the way seems closed, one in so many is tried all the same.
    const TRIED: u32 = 32;

    /// A repair is to go to it alone: whether it may.
    pub(super) fn take(&mut self) -> bool {
        if self.in_vain >= Way::LEAST && self.in_vain * 2 > self.alone {
            self.spared += 1;
            if self.spared < Way::TRIED {
                return false;
            }
        }
        self.spared = 0;
        self.alone += 1;
        if self.alone >= Way::LATELY {
            (self.alone, self.in_vain) = (self.alone / 2, self.in_vain / 2);
        }
        true
    }

    /// What went to it alone it asked for again.
    pub(super) fn was_in_vain(&mut self) {
        self.in_vain = (self.in_vain + 1).min(self.alone);
    }
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
        let Some(receiver) = self.by_id.get_mut(&id) else { return };
        receiver.round_trip.sample(round_trip, now);
        self.round_trip = self.round_trip.or(receiver.settled(now));
    }

    /// Takes anew the largest of their round trips; where they are many, not at every heartbeat.
    pub(super) fn refresh_round_trip(&mut self, now: Time) {
        if self.by_id.len() > MANY && now.since(self.refreshed) < REFRESH {
            return;
        }
        self.refreshed = now;
        if let Some(largest) = self.by_id.values().filter_map(|receiver| receiver.settled(now)).max() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::publisher::feedback::{BUDGET_RATE, LEAST_BUDGET};

    const NOW: Time = Time(1_000_000_000);

    fn receivers(count: u64) -> Receivers {
        let mut receivers = Receivers::default();
        for id in 1..=count {
            let address = SocketAddr::from(([10, 0, 0, id as u8], 7));
            let budget = Bucket::new(BUDGET_RATE, LEAST_BUDGET, NOW);
            let (met, heard) = (NOW, Time(NOW.0 + id));
            let round_trip = Least::default();
            let way = Way::default();
            let receiver =
                Receiver { address, met, heard, round_trip, budget, credited: 0, quarantined: false, way };
            receivers.insert(ReceiverId(id), receiver);
        }
        receivers
    }

    #[test]
    fn the_round_trip_is_the_largest_and_of_many_it_is_looked_for_now_and_then() {
        let micros = Duration::from_micros;
        for (count, at_once) in [(MANY as u64, true), (MANY as u64 + 1, false)] {
            let mut receivers = receivers(count);
            assert_eq!((receivers.round_trip(), receivers.round_trip_wire()), (None, 0));
            receivers.refresh_round_trip(NOW);
            receivers.sample(ReceiverId(1), micros(50), NOW);
            receivers.sample(ReceiverId(2), micros(80), NOW);
            assert_eq!(receivers.round_trip(), Some(micros(50)), "the first, until it is looked for");
            receivers.refresh_round_trip(NOW + (REFRESH - Duration::from_nanos(1)));
            assert_eq!(receivers.round_trip(), Some(micros(if at_once { 80 } else { 50 })), "{count}");
            receivers.refresh_round_trip(NOW + REFRESH);
            assert_eq!((receivers.round_trip(), receivers.round_trip_wire()), (Some(micros(80)), 80_000));
        }
    }

    #[test]
    fn who_was_just_met_and_seems_far_away_does_not_count_yet() {
        let far = Duration::from_secs(3);
        let mut receivers = receivers(2);
        receivers.sample(ReceiverId(1), far, NOW);
        receivers.refresh_round_trip(NOW);
        assert_eq!(receivers.round_trip(), None);
        receivers.sample(ReceiverId(2), LONG - Duration::from_nanos(1), NOW);
        for (after, largest) in [
            (Duration::ZERO, LONG - Duration::from_nanos(1)),
            (SETTLED - LONG, LONG - Duration::from_nanos(1)),
            (SETTLED, far),
        ] {
            receivers.refresh_round_trip(NOW + after);
            assert_eq!(receivers.round_trip(), Some(largest), "{after:?}");
        }
    }

    #[test]
    fn each_live_datagram_may_be_asked_for_once() {
        let mut receivers = receivers(1);
        let receiver = receivers.get_mut(ReceiverId(1)).unwrap();
        receiver.budget.take(LEAST_BUDGET);
        assert!(!receiver.budget.has_any(NOW));
        for (datagrams, any) in [(10, true), (10, false), (15, true), (15, false)] {
            receiver.credit(datagrams);
            assert_eq!(receiver.budget.has_any(NOW), any, "{datagrams}");
            receiver.budget.take(if any { if datagrams == 10 { 10.0 } else { 5.0 } } else { 0.0 });
        }
    }

    #[test]
    fn who_was_not_heard_since_is_silent() {
        let mut receivers = receivers(5);
        assert_eq!(receivers.silent_since(Time(NOW.0 + 3)), [1, 2].map(ReceiverId));
        assert_eq!(receivers.least_heard(), Some(Time(NOW.0 + 1)));
        // An address names one receiver.
        let address = receivers.address(ReceiverId(1)).unwrap();
        assert_eq!(receivers.other_at(address, ReceiverId(9)), Some(ReceiverId(1)));
        assert_eq!(receivers.other_at(address, ReceiverId(1)), None);
        receivers.remove(ReceiverId(1));
        assert_eq!(receivers.other_at(address, ReceiverId(9)), None);
        assert_eq!((receivers.least_heard(), receivers.len()), (Some(Time(NOW.0 + 2)), 4));
    }
}
