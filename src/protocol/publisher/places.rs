//! Where the receivers of one stream are, and which of them holds it back.

use crate::protocol::crowd;
use crate::protocol::time::Time;
use crate::wire::ReceiverId;

/// A receiver's place in the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) receiver: ReceiverId,
    /// The first sequence number it does not have yet.
    pub(super) position: u64,
    /// The highest it gives leave to send.
    pub(super) limit: u64,
    pub(super) ended: bool,
    /// In good standing: waited for.
    pub(super) standing: bool,
    /// What it said last was that it is behind: waited for in a crowd too.
    pub(super) behind: bool,
    pub(super) progress: Time,
}

/// The places, in the order of their receivers' ids. Who is last among thousands is asked for at every datagram, and changes
/// only when that one moves: so it is kept.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Vec<Place>,
    /// How large the receivers were told their group is: in a crowd only some are waited for.
    group: u32,
    limit: Option<(ReceiverId, u64)>,
    floor: Option<(ReceiverId, u64)>,
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.all.iter()
    }

    /// The receiver in good standing that lets the publisher go the least far, and how far.
    pub(super) fn limit(&self) -> Option<(ReceiverId, u64)> {
        self.limit
    }

    /// The place of that receiver.
    pub(super) fn limiting(&self) -> Option<&Place> {
        let (receiver, _) = self.limit?;
        self.get(receiver)
    }

    /// How far that is, when that receiver is behind.
    pub(super) fn limit_behind(&self) -> Option<u64> {
        self.limiting().filter(|place| place.behind).map(|place| place.limit)
    }

    /// The receiver in good standing that still needs the oldest sequence number, and which.
    pub(super) fn floor(&self) -> Option<(ReceiverId, u64)> {
        self.floor
    }

    /// The receivers are told that their group has another size.
    pub(super) fn set_group(&mut self, group: u32) {
        if group != self.group {
            self.group = group;
            self.look();
        }
    }

    fn is_waited_for(&self, place: &Place) -> bool {
        place.standing && (place.behind || crowd::is_waited_for(place.receiver, self.group))
    }

    /// Adds the place of a receiver that has none.
    pub(super) fn insert(&mut self, place: Place) {
        if let Err(at) = self.find(place.receiver) {
            self.all.insert(at, place);
            self.moved(place);
        }
    }

    /// Changes a receiver's place; `None` when it has none.
    pub(super) fn change<R>(
        &mut self,
        receiver: ReceiverId,
        change: impl FnOnce(&mut Place) -> R,
    ) -> Option<R> {
        let at = self.find(receiver).ok()?;
        let told = change(&mut self.all[at]);
        self.moved(self.all[at]);
        Some(told)
    }

    /// Removes the places of these receivers, which come in the order of their ids.
    pub(super) fn remove(&mut self, receivers: &[ReceiverId]) {
        match receivers {
            [one] => {
                if let Ok(at) = self.find(*one) {
                    self.all.remove(at);
                }
            }
            _ => self.all.retain(|place| receivers.binary_search(&place.receiver).is_err()),
        }
        let is_gone = |last: Option<(ReceiverId, u64)>| {
            last.is_some_and(|(id, _)| receivers.binary_search(&id).is_ok())
        };
        if is_gone(self.limit) || is_gone(self.floor) {
            self.look();
        }
    }

    pub(super) fn get(&self, receiver: ReceiverId) -> Option<&Place> {
        self.find(receiver).ok().map(|at| &self.all[at])
    }

    fn find(&self, receiver: ReceiverId) -> Result<usize, usize> {
        self.all.binary_search_by_key(&receiver, |place| place.receiver)
    }

    /// A place is new or changed: the last is looked for again if that was it, or may be now.
    fn moved(&mut self, place: Place) {
        let waited_for = self.is_waited_for(&place);
        let touches = |last: Option<(ReceiverId, u64)>, at: u64| match last {
            Some((receiver, least)) => receiver == place.receiver || (waited_for && at < least),
            None => waited_for,
        };
        if touches(self.limit, place.limit) || touches(self.floor, place.position) {
            self.look();
        }
    }

    fn look(&mut self) {
        let waited_for = || self.all.iter().filter(|place| self.is_waited_for(place));
        let limit = waited_for().map(|p| (p.receiver, p.limit)).min_by_key(|&(_, limit)| limit);
        let floor = waited_for().map(|p| (p.receiver, p.position)).min_by_key(|&(_, position)| position);
        (self.limit, self.floor) = (limit, floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_last_is_known_whatever_changes() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut places, mut group) = (Places::default(), 0);
        for step in 0..20_000 {
            let receiver = ReceiverId(random.u64(1..20) << 59);
            match random.u8(..11) {
                0 => places.remove(&[receiver]),
                10 => {
                    group = [0, 40, 41, 100][random.usize(..4)];
                    places.set_group(group);
                }
                1 => {
                    let mut several: Vec<_> = (0..5).map(|_| ReceiverId(random.u64(1..20) << 59)).collect();
                    several.sort();
                    places.remove(&several);
                }
                2..4 => {
                    places.change(receiver, |place| {
                        place.standing ^= random.bool();
                        place.behind ^= random.bool();
                    });
                }
                4..7 => places.insert(Place {
                    receiver,
                    position: random.u64(..50),
                    limit: random.u64(50..100),
                    ended: false,
                    standing: random.bool(),
                    behind: random.bool(),
                    progress: Time(step),
                }),
                _ => {
                    let (further, wider) = (random.u64(..9), random.u64(..9));
                    places.change(receiver, |place| {
                        place.position += further;
                        place.limit += wider;
                    });
                }
            }
            let waited_for = |place: &&Place| {
                place.standing && (place.behind || crowd::is_waited_for(place.receiver, group))
            };
            let standing = || places.iter().filter(waited_for);
            assert_eq!(places.limit().map(|(_, limit)| limit), standing().map(|p| p.limit).min());
            let last = places.limit().and_then(|(id, _)| places.iter().find(|place| place.receiver == id));
            assert_eq!(places.limit_behind(), last.filter(|place| place.behind).map(|place| place.limit));
            assert_eq!(places.floor().map(|(_, at)| at), standing().map(|p| p.position).min());
            assert!(places.iter().map(|place| place.receiver).is_sorted());
        }
    }
}
