//! Messages that a publisher sends in a tight loop: it packs them beside its state machine while it has leave to, and hands
//! them over many at a time, as a driver has it do. Others hand over what is packed when that has waited, or when they look.

use super::PublisherId;
use super::link::hits;
use super::network::Network;
use super::queue::What;
use crate::protocol::Time;
use crate::protocol::publisher::Publisher;
use crate::wire::{HEADER_LENGTH, RECORD_LENGTH, record_head};
use std::collections::BTreeMap;
use std::time::Duration;

/// Datagrams for which there is headroom besides those that are packed: what was handed over may be sealed before more comes.
const SPLITS: u64 = 4;
/// Datagrams of a run, however short they are.
const MOST_DATAGRAMS: usize = 64;
/// The chance that what is packed is looked at, and handed over, whenever its publisher does something else.
const LOOKED_AT: f64 = 0.2;

/// A publisher that sends in bulk at times.
#[derive(Default)]
pub(super) struct Bulk {
    /// The chance that it goes on so after a message that was taken.
    pub(super) chance: f64,
    /// By stream, what it may pack or could when it last looked.
    lanes: BTreeMap<u32, Lane>,
    /// Runs that were handed over from where they lay.
    pub(super) runs: u64,
    /// Tells one lane from those that were there before.
    serial: u64,
}

/// What is packed of a stream.
struct Lane {
    serial: u64,
    /// Bytes from a datagram to the next, where they lie.
    stride: usize,
    /// Datagrams that may yet be begun.
    left: u64,
    /// The records of each datagram that were not handed over yet, and how many they are.
    run: Vec<(Vec<u8>, u16)>,
    /// Bytes in the last of them, with those that were handed over.
    used: usize,
    /// Others have handed over some of it.
    touched: bool,
    /// Others have said that it is to take no more: found out after one more.
    closed: bool,
}

impl Lane {
    /// Packs a message; false when no datagram takes it, or it takes one more than may be begun.
    fn push(&mut self, message: &[u8]) -> bool {
        let head = record_head(message.len() as u16);
        let (length, room) = (head.len() + message.len(), self.stride - HEADER_LENGTH);
        if self.used + length > room || self.run.is_empty() {
            if self.left == 0 || length > room {
                return false;
            }
            self.left -= 1;
            self.used = 0;
            self.run.push((Vec::new(), 0));
        }
        if let Some((records, messages)) = self.run.last_mut() {
            records.extend(head);
            records.extend(message);
            *messages += 1;
            self.used += length;
        }
        true
    }

    fn messages(&self) -> usize {
        self.run.iter().map(|&(_, messages)| usize::from(messages)).sum()
    }

    /// Hands copies of what is packed to the state machine.
    fn take(&mut self, core: &mut Publisher, stream: u32, now: Time) {
        for (records, messages) in &mut self.run {
            assert_eq!(core.put(stream, records, now), records.len(), "there was headroom");
            self.touched |= *messages > 0;
            records.clear();
            *messages = 0;
        }
    }

    /// The same, by others than its publisher.
    fn close(&mut self, core: &mut Publisher, stream: u32, now: Time) {
        self.closed = true;
        self.take(core, stream, now);
    }
}

impl Bulk {
    /// Messages that are packed, and are not with the state machine yet.
    pub(super) fn packed(&self) -> usize {
        self.lanes.values().map(Lane::messages).sum()
    }

    /// Its publisher does something else first: what is packed comes before.
    pub(super) fn enter_all(&mut self, core: &mut Publisher, now: Time) {
        while let Some((&stream, _)) = self.lanes.first_key_value() {
            self.enter(core, stream, now);
        }
    }

    fn enter(&mut self, core: &mut Publisher, stream: u32, now: Time) {
        if let Some(mut lane) = self.lanes.remove(&stream) {
            lane.take(core, stream, now);
            core.forgo(stream);
        }
    }

    fn close_all(&mut self, core: &mut Publisher, now: Time) {
        self.lanes.iter_mut().for_each(|(&stream, lane)| lane.close(core, stream, now));
    }

    pub(super) fn clear(&mut self) {
        self.lanes.clear();
    }

    /// After a message was taken: more may be packed, as many as fill a run of datagrams that are so far apart.
    fn open(&mut self, core: &mut Publisher, stream: u32, stride: usize, now: Time) -> Option<u64> {
        let (sealed, packing) = core.pending(stream);
        let leave = core.leave(stream).saturating_sub(SPLITS);
        let run = (core.staging().len() / stride).min(MOST_DATAGRAMS) as u64;
        let left = run.saturating_sub(sealed + u64::from(packing)).min(leave);
        if left == 0 || !core.headroom(stream, left + SPLITS, now) {
            return None;
        }
        self.serial += 1;
        let (serial, run) = (self.serial, Vec::new());
        self.lanes.insert(stream, Lane { serial, stride, left, run, used: 0, touched: false, closed: false });
        Some(serial)
    }
}

impl Network {
    /// Whenever a publisher acts, what it has packed may be looked at.
    pub(super) fn look_at_bulk(&mut self, index: u32) {
        let node = &mut self.publishers[index as usize];
        if !node.bulk.lanes.is_empty() && hits(&mut self.random, LOOKED_AT) {
            node.bulk.close_all(&mut node.core, self.now);
        }
    }

    /// Tries messages that wait; whether one was taken.
    pub(super) fn take_in_bulk(&mut self, index: u32) -> bool {
        let streams: Vec<u32> = self.publishers[index as usize].waiting.keys().copied().collect();
        let mut taken = false;
        for stream in streams {
            while self.take_one(index, stream) {
                taken = true;
            }
        }
        taken
    }

    /// Takes a stream's next message one way or the other; false when it must wait, or there is none.
    fn take_one(&mut self, index: u32, stream: u32) -> bool {
        let now = self.now;
        let node = &mut self.publishers[index as usize];
        let (core, bulk) = (&mut node.core, &mut node.bulk);
        let Some(message) = node.waiting.get_mut(&stream).and_then(|messages| messages.pop_front()) else {
            return false;
        };
        if let Some(lane) = bulk.lanes.get_mut(&stream) {
            if message.len() <= core.max_record() && lane.push(&message) {
                if lane.closed {
                    bulk.enter(core, stream, now);
                }
                return true;
            }
            self.depart(index, stream);
        }
        let node = &mut self.publishers[index as usize];
        let (core, bulk) = (&mut node.core, &mut node.bulk);
        if let Err(why) = core.send(stream, &message, now) {
            if let Some(observer) = &mut self.observer {
                observer.refused(now, PublisherId(index), core, why);
            }
            node.waiting.entry(stream).or_default().push_front(message);
            return false;
        }
        if !node.batching {
            core.flush(stream);
        }
        if !hits(&mut self.random, bulk.chance) {
            return true;
        }
        // As long as messages need them, or as they can be.
        let least = HEADER_LENGTH + RECORD_LENGTH + 1;
        let longest = core.config().datagram;
        let stride = if self.random.bool() { longest } else { self.random.usize(least..=longest) };
        if let Some(serial) = bulk.open(core, stream, stride, now) {
            let most = core.config().max_delay.as_nanos() as u64;
            let until = now + Duration::from_nanos(self.random.u64(..=most));
            self.queue.push(until, What::Act(Box::new(move |network| network.over(index, stream, serial))));
        }
        true
    }

    /// What is packed has waited for as long as it may, or its publisher comes to hand it over.
    fn over(&mut self, index: u32, stream: u32, serial: u64) {
        let now = self.now;
        let node = &mut self.publishers[index as usize];
        let (core, bulk) = (&mut node.core, &mut node.bulk);
        let Some(lane) = bulk.lanes.get_mut(&stream).filter(|lane| lane.serial == serial) else { return };
        match self.random.u8(..4) {
            0 => bulk.enter(core, stream, now),
            1 => {
                lane.close(core, stream, now);
                core.flush(stream);
                core.flush_others(stream);
                core.forgo(stream);
            }
            _ => self.depart(index, stream),
        }
        self.settle_publisher(index);
    }

    /// A publisher hands over what it has packed, to be sent at once from where it lies.
    fn depart(&mut self, index: u32, stream: u32) {
        let now = self.now;
        let node = &mut self.publishers[index as usize];
        let (core, bulk) = (&mut node.core, &mut node.bulk);
        let Some(mut lane) = bulk.lanes.remove(&stream) else { return };
        if lane.touched {
            lane.take(core, stream, now);
            core.flush(stream);
            core.forgo(stream);
            return self.publisher_transmits(index);
        }
        bulk.runs += 1;
        for (slot, (records, _)) in core.staging().chunks_mut(lane.stride).zip(&lane.run) {
            slot[HEADER_LENGTH..HEADER_LENGTH + records.len()].copy_from_slice(records);
        }
        core.stage(
            stream,
            lane.stride,
            lane.run.iter().map(|(records, count)| ((HEADER_LENGTH + records.len()) as u16, *count)),
        );
        core.forgo(stream);
        if hits(&mut self.random, LOOKED_AT) {
            bulk.close_all(core, now);
        }
        self.publisher_transmits(index);
        self.publishers[index as usize].core.settle(|to, from| to.copy_from_slice(from));
    }
}
