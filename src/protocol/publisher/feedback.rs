//! What receivers say: NAKs are turned into repairs, status into standing and leave to go on.

use super::events::PublisherEvent;
use super::places::{Place, Places};
use super::receivers::{Receiver, Way};
use super::room::Hold;
use super::shares::RepairQueue;
use super::transmit::{Control, To};
use super::{BackPressure, Bucket, Flow, Publisher, Time};
use crate::protocol::crowd::{self, CROWD};
use crate::protocol::estimate::{self, Least};
use crate::wire::{Confirmation, Datagram, Kind, Nak, Position, Range, ReceiverId, Status, flag};
use std::net::SocketAddr;
use std::time::Duration;

/// Repairs a receiver may ask for: as many as live datagrams are sent, and so many a second besides.
pub(super) const BUDGET_RATE: f64 = 2_000.0;
/// And so many at once, or a window's worth.
pub(super) const LEAST_BUDGET: f64 = 4_096.0;
/// Who waits for repairs is waited for as long as the rate takes for so many datagrams, at the least.
const PATIENT_DATAGRAMS: usize = 16;
/// What the round trip is taken for while it is unknown.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(1);

/// A position that no receiver can have.
struct Impossible;

impl Publisher {
    /// Takes a datagram that came to the publisher's socket.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let datagram = match Datagram::parse(bytes) {
            Ok(datagram) => datagram,
            Err(invalid) => {
                self.stats.rejected[invalid.index()] += 1;
                return;
            }
        };
        if datagram.header.source != self.config.source {
            self.stats.foreign += 1;
            return;
        }
        let outcome = match datagram.header.kind {
            Kind::Nak => Nak::parse(datagram.payload).map(|nak| self.handle_nak(now, from, &datagram, nak)),
            Kind::Status => {
                Status::parse(datagram.payload).map(|status| self.handle_status(now, from, &datagram, status))
            }
            _ => {
                self.stats.unexpected += 1;
                Ok(())
            }
        };
        if let Err(invalid) = outcome {
            self.stats.rejected[invalid.index()] += 1;
        }
    }

    /// The moment, on this clock, up to which the sender of a stamp and a hold time had heard everything; `None` when
    /// the stamp was never sent.
    fn heard_until(&self, stamp: u64, held: u32, now: Time) -> Option<Time> {
        if held == u32::MAX {
            // Longer ago than the field can say.
            return (Time(stamp) >= self.started && Time(stamp) <= now).then_some(now);
        }
        let until = Time(stamp) + Duration::from_nanos(u64::from(held));
        // Clocks run apart by less than a thousandth.
        let latest = now + Duration::from_nanos(u64::from(held) / 1_000);
        (Time(stamp) >= self.started && until <= latest).then_some(until)
    }

    fn handle_nak(&mut self, now: Time, from: SocketAddr, datagram: &Datagram<'_>, nak: Nak<'_>) {
        self.stats.naks += 1;
        let header = &datagram.header;
        let Some(stream) = self.streams.get((header.stream as usize).wrapping_sub(1)) else {
            self.stats.naks_rejected += 1;
            return;
        };
        let Some(heard) = self.heard_until(header.stamp, nak.held, now) else {
            self.stats.naks_rejected += 1;
            return;
        };
        // Somebody else under a receiver's id.
        if self.receivers.address(nak.receiver).is_some_and(|address| address != from) {
            self.stats.naks_rejected += 1;
            return;
        }
        let lead = stream.sent_lead();
        if nak.ranges().any(|range| range.last() > lead) {
            self.stats.naks_rejected += 1;
            return;
        }
        let catching_up = header.has(flag::CATCHING_UP);
        let (known, is_prompt) = match self.receivers.get_mut(nak.receiver) {
            Some(receiver) => {
                receiver.heard = now;
                receiver.credit(self.stats.datagrams);
                (true, !catching_up && !receiver.quarantined && receiver.budget.has_any(now))
            }
            None => (false, false),
        };
        let id = header.stream;
        if header.has(flag::NAME_WANTED) && !self.shares.answers(now) {
            self.stats.control_dropped += 1;
        } else if header.has(flag::NAME_WANTED) && self.streams[id as usize - 1].released {
            // It has no name any more, but an end.
            self.end_soon(id);
        } else if header.has(flag::NAME_WANTED) {
            self.announce(id);
        }
        let lone = self.receivers.len() <= usize::from(known);
        let to = if lone { To::Receiver(from) } else { To::Group };
        let asked =
            Asked { receiver: nak.receiver, known, heard, catching_up, others: self.others_ask_within() };
        let trail = self.streams[id as usize - 1].window.trail();
        let mut waiting = Waiting::default();
        let mut gone: Option<u64> = None;
        for range in nak.ranges() {
            self.stats.nak_datagrams += u64::from(range.count);
            if range.first < trail {
                gone.get_or_insert(range.first);
                self.stats.nak_gone += (trail - range.first).min(u64::from(range.count));
            }
            let first = range.first.max(trail);
            if first > range.last() {
                continue;
            }
            for sequence in first..=range.last() {
                self.ask(id, sequence, &asked, now);
            }
            // What goes to one alone others must not wait for.
            if lone || !known || is_prompt {
                waiting.push(Range { first, count: (range.last() - first + 1) as u32 });
            }
        }
        if gone.is_some() && !self.shares.answers(now) {
            self.stats.control_dropped += 1;
        } else if let Some(first) = gone {
            let next_message = {
                let stream = &self.streams[id as usize - 1];
                stream.window.trail_message(stream.upcoming())
            };
            let confirmation = Confirmation { first, last: trail - 1, next_message };
            self.control(Control::Gone { stream: id, confirmation, to });
            if self.streams[id as usize - 1].released {
                self.end_soon(id);
            }
        }
        if !waiting.is_empty() && self.shares.confirms(!self.outbox.ready.is_empty(), now) {
            self.control(Control::Confirm { stream: id, waiting: Box::new(waiting) });
        }
    }

    /// In which others would have asked for the same, and a round trip for the repair they wait for.
    fn others_ask_within(&self) -> Duration {
        let round_trip = self.receivers.round_trip().unwrap_or(UNKNOWN_ROUND_TRIP);
        let group = u32::try_from(self.receivers.len()).unwrap_or(u32::MAX);
        round_trip + estimate::span(round_trip, group)
    }

    /// One datagram asked for: queue its repair, unless that is under way.
    fn ask(&mut self, id: u32, sequence: u64, asked: &Asked, now: Time) {
        let stream = &mut self.streams[id as usize - 1];
        let Some(stamp) = stream.window.stamp(&self.pool, sequence) else { return };
        let Some(slot) = stream.window.slot_mut(sequence) else { return };
        if let Some(queue) = slot.queued {
            // Somebody else lost it too: what was meant for one goes to all, and at once if this one does not wait.
            slot.group |= slot.asker != asked.receiver.0 || !asked.known;
            self.stats.nak_crossed += 1;
            if queue == RepairQueue::CatchingUp
                && !asked.catching_up
                && let Some(receiver) = self.receivers.get_mut(asked.receiver)
                && !receiver.quarantined
                && receiver.budget.has_any(now)
            {
                receiver.budget.take(1.0);
                slot.queued = Some(RepairQueue::Prompt);
                self.outbox.repair(RepairQueue::Prompt, id, sequence);
            }
            return;
        }
        if Time(stamp) > asked.heard {
            self.stats.nak_crossed += 1;
            return;
        }
        let mut queue = if asked.catching_up { RepairQueue::CatchingUp } else { RepairQueue::Prompt };
        if let Some(receiver) = self.receivers.get_mut(asked.receiver) {
            if !receiver.budget.has_any(now) && !receiver.quarantined {
                receiver.quarantined = true;
                self.stats.quarantined += 1;
                self.quarantine(asked.receiver, now);
            }
            if let Some(receiver) = self.receivers.get_mut(asked.receiver) {
                receiver.budget.take(1.0);
                if receiver.quarantined {
                    self.stats.naks_over_budget += 1;
                    queue = RepairQueue::CatchingUp;
                }
            }
        } else if self.strangers.has_any(now) {
            self.strangers.take(1.0);
        } else {
            self.stats.naks_over_budget += 1;
            queue = RepairQueue::CatchingUp;
        }
        let stream = &mut self.streams[id as usize - 1];
        let Some(slot) = stream.window.slot_mut(sequence) else { return };
        // Alone when it is alone; when it can wait; or when it asks again and nobody else did in the time they had.
        let alone = self.receivers.len() <= 1
            || queue == RepairQueue::CatchingUp
            || (slot.asker == asked.receiver.0 && now.since(Time(stamp)) > asked.others);
        // What was sent to it alone may not reach it at all, behind a firewall that lets only the group in.
        let in_vain = slot.asker == asked.receiver.0 && !slot.group;
        let way = self.receivers.get_mut(asked.receiver).map(|receiver| &mut receiver.way);
        let reached = way.is_some_and(|way| {
            if in_vain {
                way.was_in_vain();
            }
            alone && !in_vain && way.take()
        });
        slot.group = !reached;
        slot.asker = asked.receiver.0;
        slot.queued = Some(queue);
        self.outbox.repair(queue, id, sequence);
    }

    fn quarantine(&mut self, receiver: ReceiverId, now: Time) {
        self.change_places(now, |places| {
            places.change(receiver, |place| place.standing = false);
        });
        self.event(PublisherEvent::Quarantined { receiver });
    }

    fn handle_status(&mut self, now: Time, from: SocketAddr, datagram: &Datagram<'_>, status: Status<'_>) {
        self.stats.statuses += 1;
        let header = &datagram.header;
        let id = status.receiver;
        let heard = self.heard_until(header.stamp, status.held, now);
        let impostor = self.receivers.address(id).is_some_and(|address| address != from);
        let Some(heard) = heard.filter(|_| !impostor && id != ReceiverId(0)) else {
            self.stats.statuses_rejected += 1;
            return;
        };
        if header.has(flag::LEAVING) {
            // What it has to say last still counts.
            if self.receivers.address(id).is_some() {
                self.places(now, &status);
                self.forget(&[id], true, now);
            }
            return;
        }
        if !self.meet(id, from, now) {
            return;
        }
        if status.held < u32::MAX {
            self.receivers.sample(id, now.since(heard), now);
        }
        self.places(now, &status);
    }

    /// Makes sure that a receiver is known; false when there are too many.
    fn meet(&mut self, id: ReceiverId, from: SocketAddr, now: Time) -> bool {
        if let Some(receiver) = self.receivers.get_mut(id) {
            receiver.heard = now;
            receiver.credit(self.stats.datagrams);
            if receiver.quarantined && receiver.budget.level(now) >= 0.5 {
                receiver.quarantined = false;
                self.event(PublisherEvent::Released { receiver: id });
            }
            return true;
        }
        if let Some(other) = self.receivers.other_at(from, id) {
            self.forget(&[other], false, now);
        }
        if self.receivers.len() >= self.config.max_receivers {
            self.stats.receivers_refused += 1;
            return false;
        }
        let budget = Bucket::new(BUDGET_RATE, (self.capacity() as f64).max(LEAST_BUDGET), now);
        let receiver = Receiver {
            address: from,
            met: now,
            heard: now,
            round_trip: Least::default(),
            budget,
            credited: self.stats.datagrams,
            quarantined: false,
            way: Way::default(),
        };
        self.receivers.insert(id, receiver);
        self.event(PublisherEvent::Joined { receiver: id, address: from });
        self.timers.tell_soon(now);
        true
    }

    /// Takes the positions of a status message.
    fn places(&mut self, now: Time, status: &Status<'_>) {
        let quarantined = self.receivers.get_mut(status.receiver).is_none_or(|receiver| receiver.quarantined);
        let half = self.capacity() / 2;
        let mut possible = true;
        for position in status.positions() {
            match self.place(now, status.receiver, &position, quarantined, half) {
                Ok(told) => told.into_iter().for_each(|event| self.event(event)),
                Err(Impossible) => possible = false,
            }
        }
        self.stats.statuses_rejected += u64::from(!possible);
    }

    fn place(
        &mut self,
        now: Time,
        receiver: ReceiverId,
        told: &Position,
        quarantined: bool,
        half: u64,
    ) -> Result<Option<PublisherEvent>, Impossible> {
        let Some(stream) = self.streams.get_mut((told.stream as usize).wrapping_sub(1)) else {
            return Err(Impossible);
        };
        let lead = stream.sent_lead();
        if told.position > lead + 1 {
            return Err(Impossible);
        }
        if stream.released {
            // It missed every end of stream there was.
            if !told.ended {
                self.end_soon(told.stream);
            }
            return Ok(None);
        }
        let near = told.position + half > lead && !quarantined;
        let behind = crowd::is_behind(told.position, told.limit, lead);
        let limited = stream.places.limit_behind();
        let caught_up = stream.places.change(receiver, |place| {
            if told.position > place.position || told.limit > place.limit {
                place.progress = now;
            }
            // Status messages may overtake each other; a receiver's place never moves back.
            place.position = place.position.max(told.position);
            place.limit = place.limit.max(told.limit);
            place.ended |= told.ended;
            place.behind = behind;
            // Who has no room still would hold everybody up for another patience.
            let caught_up = near && !place.standing && place.limit > lead;
            if caught_up {
                place.standing = true;
                place.progress = now;
            }
            caught_up
        });
        let moves = stream.places.limit_behind() != limited;
        let event = match caught_up {
            Some(true) => Some(PublisherEvent::CaughtUp { receiver, topic: stream.topic.clone() }),
            Some(false) => None,
            None => {
                stream.places.insert(Place {
                    receiver,
                    position: told.position,
                    limit: told.limit,
                    ended: told.ended,
                    standing: near,
                    behind,
                    progress: now,
                });
                None
            }
        };
        if moves {
            self.limits_changed(now);
        }
        Ok(event)
    }

    /// Forgets receivers, which come in the order of their ids: nobody waits for them.
    pub(super) fn forget(&mut self, ids: &[ReceiverId], announced: bool, now: Time) {
        if ids.is_empty() {
            return;
        }
        self.change_places(now, |places| places.remove(ids));
        for &id in ids {
            if self.receivers.remove(id).is_some() {
                self.event(PublisherEvent::Left { receiver: id, announced });
            }
        }
    }

    /// Changes the receivers' places in all streams.
    fn change_places(&mut self, now: Time, mut change: impl FnMut(&mut Places)) {
        let mut moved = false;
        for stream in &mut self.streams {
            let before = stream.places.limit_behind();
            change(&mut stream.places);
            moved |= stream.places.limit_behind() != before;
        }
        if moved {
            self.limits_changed(now);
        }
    }

    /// Another receiver is the furthest behind: in a crowd others who are need not say so when they hear how far it is.
    fn limits_changed(&mut self, now: Time) {
        if self.receivers.len() > CROWD as usize {
            self.timers.tell_limit(now);
        }
    }

    /// How long a receiver that makes no progress is waited for: at a low rate a repair takes its time to leave.
    pub(super) fn patience(&self) -> Duration {
        self.config.patience.max(self.shares.time_of(PATIENT_DATAGRAMS * self.config.datagram))
    }

    /// Takes their standing from the receivers that hold a stream back and made no progress for the patience. Gives
    /// when to look again, if anybody is held back still.
    pub(super) fn lose_patience(&mut self, id: u32, now: Time) -> Option<Time> {
        if self.config.flow != Flow::Slowest {
            return None;
        }
        loop {
            let stream = &self.streams[id as usize - 1];
            let held = stream.held?;
            let (receiver, culprit) = match self.room(id, now) {
                Err(Hold { by: BackPressure::Receiver(receiver), stream }) => (receiver, stream),
                Err(_) => return Some(now + self.patience()),
                Ok(_) => {
                    self.streams[id as usize - 1].held = None;
                    return None;
                }
            };
            let patience = self.patience();
            let stream = &mut self.streams[culprit as usize - 1];
            let (lead, topic) = (stream.sent_lead(), stream.topic.clone());
            let (until, position) = stream.places.change(receiver, |place| {
                let until = place.progress.max(held) + patience;
                place.standing = !until.is_due(now);
                (until, place.position)
            })?;
            if !until.is_due(now) {
                return Some(until);
            }
            self.limits_changed(now);
            self.stats.fell_behind += 1;
            self.event(PublisherEvent::FellBehind { receiver, topic, position, lead });
        }
    }
}

/// What a NAK says of all it asks for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    receiver: ReceiverId,
    /// It sent status too.
    known: bool,
    /// Up to when it had heard everything, on this clock.
    heard: Time,
    catching_up: bool,
    /// See [`Publisher::others_ask_within`].
    others: Duration,
}

/// The ranges of one NAK whose repairs must wait, as many as one NCF confirms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    ranges: [Option<Range>; 16],
    count: usize,
}

impl Waiting {
    fn push(&mut self, range: Range) {
        if let Some(place) = self.ranges.get_mut(self.count) {
            *place = Some(range);
            self.count += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().flatten().copied()
    }
}
