//! Every datagram that leaves is chosen and written here, in this order: control, repairs, live data, repairs for those
//! who can wait; `shares` says how much of each.

use super::feedback::Waiting;
use super::run::{self, Run};
use super::shares::{RepairQueue, Share};
use super::window::Place;
use super::{Publisher, Time};
use crate::protocol::time::nanos;
use crate::wire::{
    Announce, Confirmation, End, HEADER_LENGTH, Header, Heartbeat, Kind, MAX_SEQUENCE, Ncf, ReceiverId,
    StreamState, flag, restamp,
};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Control datagrams that may wait; more are dropped and counted, for every one of them is said again.
const MOST_CONTROL: usize = 1_024;

/// So many streams are passed over for one run, whose datagrams are not of its length.
const MOST_PASSED: usize = 64;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To every receiver.
    Group,
    /// To one.
    Receiver(SocketAddr),
}

/// Datagrams to be sent now, in one run: all of `segment` bytes but the last, which may be shorter.
/// [`Publisher::datagrams`] shows them, until the next call that changes the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where they go.
    pub to: To,
    /// Bytes of each but the last.
    pub segment: usize,
    /// How many there are.
    pub count: usize,
}

/// A control datagram to be written.
#[derive(Clone, Debug)]
pub(super) enum Control {
    Announce { stream: u32 },
    Gone { stream: u32, confirmation: Confirmation, to: To },
    Confirm { stream: u32, waiting: Box<Waiting> },
}

/// One datagram of a run.
#[derive(Clone, Copy, Debug)]
struct Piece {
    stream: u32,
    sequence: u64,
    place: Place,
    length: usize,
}

/// What waits to leave, and what leaves now.
#[derive(Debug)]
pub(super) struct Outbox {
    control: VecDeque<Control>,
    prompt: VecDeque<(u32, u64)>,
    catching_up: VecDeque<(u32, u64)>,
    /// Streams with sealed datagrams that were not transmitted.
    pub(super) ready: VecDeque<u32>,
    /// Those of them that the run at hand has nothing of.
    passed: Vec<u32>,
    /// Streams whose state is due in a heartbeat.
    pub(super) beating: VecDeque<u32>,
    /// Receivers are asked how far they are in those.
    pub(super) asks: bool,
    /// Streams whose end is due.
    pub(super) ending: VecDeque<u32>,
    /// A heartbeat is due for the source itself.
    pub(super) beat: bool,
    /// Some stream has the rest of a large message staged.
    pub(super) staging: bool,
    /// Which stream is the next in slow rotation.
    rotation: u32,
    buffer: Box<[u8]>,
    run: Vec<Piece>,
    last: Last,
}

/// What `poll_transmit` gave last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// A control datagram of this length, and the stream that it announced, if it did.
    Control {
        length: usize,
        announced: Option<u32>,
    },
    Live,
    /// To the group, or to one alone.
    Repairs(RepairQueue, Share, To),
}

impl Outbox {
    pub(super) fn new(datagram: usize) -> Outbox {
        Outbox {
            control: VecDeque::with_capacity(16),
            prompt: VecDeque::with_capacity(1_024),
            catching_up: VecDeque::new(),
            ready: VecDeque::with_capacity(16),
            passed: Vec::with_capacity(MOST_PASSED),
            beating: VecDeque::with_capacity(16),
            asks: false,
            ending: VecDeque::new(),
            beat: false,
            staging: false,
            rotation: 0,
            buffer: vec![0; datagram].into(),
            run: Vec::with_capacity(run::MOST),
            last: Last::Control { length: 0, announced: None },
        }
    }

    pub(super) fn repair(&mut self, queue: RepairQueue, stream: u32, sequence: u64) {
        self.queue(queue).push_back((stream, sequence));
    }

    fn queue(&mut self, queue: RepairQueue) -> &mut VecDeque<(u32, u64)> {
        match queue {
            RepairQueue::Prompt => &mut self.prompt,
            RepairQueue::CatchingUp => &mut self.catching_up,
        }
    }

    pub(super) fn is_catching_up(&self) -> bool {
        !self.catching_up.is_empty()
    }

    /// Whether anything waits for tokens.
    pub(super) fn waits(&self) -> bool {
        !self.ready.is_empty() || !self.prompt.is_empty() || !self.catching_up.is_empty()
    }
}

impl Publisher {
    /// The next datagrams to send, if there are any now. They count as sent: see [`retract`](Self::retract).
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        self.unstage(now);
        use RepairQueue::{CatchingUp, Prompt};
        self.control_datagram(now)
            .or_else(|| self.repair_run(Prompt, Share::Own, now))
            .or_else(|| self.repair_run(CatchingUp, Share::Own, now))
            .or_else(|| self.live_run(now))
            .or_else(|| self.repair_run(Prompt, Share::Spare, now))
            .or_else(|| self.repair_run(CatchingUp, Share::Spare, now))
    }

    /// The bytes of what `poll_transmit` gave last.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let (control, run) = match self.outbox.last {
            Last::Control { length, .. } => (Some(&self.outbox.buffer[..length]), &[][..]),
            _ => (None, &self.outbox.run[..]),
        };
        let count = usize::from(control.is_some()) + run.len();
        (0..count).map(move |index| match control {
            Some(bytes) => bytes,
            None => {
                let piece = &run[index];
                self.pool.bytes(piece.place.chunk, piece.place.offset, piece.length)
            }
        })
    }

    /// How many datagrams the last run has.
    #[cfg(test)]
    pub(super) fn outbox_run(&self) -> usize {
        self.outbox.run.len()
    }

    /// Takes back what `poll_transmit` gave last, from datagram number `sent` of it on: the socket did not take it, and
    /// it will be given again. Control datagrams are not, but for announces, which come before their streams: they are said again in
    /// time, and this one failed.
    pub fn retract(&mut self, sent: usize) {
        match self.outbox.last {
            Last::Control { announced: None, .. } => self.stats.send_failures += u64::from(sent == 0),
            Last::Control { announced: Some(announced), .. } if sent == 0 => {
                self.stats.announces -= 1;
                self.announce(announced);
            }
            _ => {}
        }
        let run = std::mem::take(&mut self.outbox.run);
        for piece in run.iter().skip(sent).rev() {
            match self.outbox.last {
                Last::Control { .. } => {}
                Last::Live => {
                    self.shares.give_back(None, piece.length);
                    self.streams[piece.stream as usize - 1].unsent = piece.sequence;
                    self.stats.datagrams -= 1;
                    self.stats.datagram_bytes -= piece.length as u64;
                    self.enqueue(piece.stream);
                }
                Last::Repairs(queue, paid, to) => {
                    self.shares.give_back(Some((queue, paid)), piece.length);
                    if let Some(slot) =
                        self.streams[piece.stream as usize - 1].window.slot_mut(piece.sequence)
                    {
                        slot.queued = Some(queue);
                        self.stats.repairs -= 1;
                        self.stats.repairs_unicast -= u64::from(to != To::Group);
                        self.stats.repair_bytes -= piece.length as u64;
                        self.outbox.queue(queue).push_front((piece.stream, piece.sequence));
                    }
                }
            }
        }
        self.outbox.run = run;
        self.outbox.run.clear();
    }

    /// What `poll_transmit` gave last was for one receiver alone, and so many of its datagrams went to the group after all.
    pub fn went_to_group(&mut self, datagrams: usize) {
        if let Last::Repairs(_, _, To::Receiver(_)) = self.outbox.last {
            self.stats.repairs_unicast -= datagrams as u64;
        }
    }

    /// Has a control datagram sent; false when too many wait.
    pub(super) fn control(&mut self, control: Control) -> bool {
        let taken = self.outbox.control.len() < MOST_CONTROL;
        if taken {
            self.outbox.control.push_back(control);
        } else {
            self.stats.control_dropped += 1;
        }
        taken
    }

    /// Has a closed stream's end sent, once however often it is asked for.
    pub(super) fn end_soon(&mut self, id: u32) {
        if let Some(stream) = self.stream(id)
            && !stream.ending
        {
            stream.ending = true;
            self.outbox.ending.push_back(id);
        }
    }

    /// Has a stream's announce sent, once however often it is asked for.
    pub(super) fn announce(&mut self, stream: u32) {
        let wanted = self.stream(stream).is_some_and(|state| !state.announcing && !state.released);
        if wanted
            && self.control(Control::Announce { stream })
            && let Some(state) = self.stream(stream)
        {
            state.announcing = true;
        }
    }

    fn control_datagram(&mut self, now: Time) -> Option<Transmit> {
        let confirms = matches!(self.outbox.control.front(), Some(Control::Confirm { .. }));
        let mut announced = None;
        let (to, length) = if let Some(control) = self.outbox.control.pop_front() {
            match control {
                Control::Announce { stream } => {
                    announced = Some(stream);
                    (To::Group, self.write_announce(stream, now))
                }
                Control::Gone { stream, confirmation, to } => {
                    (to, self.write_ncf(stream, flag::GONE, std::iter::once(confirmation), now))
                }
                Control::Confirm { stream, waiting } => {
                    let ranges = waiting.iter();
                    let confirmations = ranges.map(|range| Confirmation {
                        first: range.first,
                        last: range.last(),
                        next_message: 0,
                    });
                    (To::Group, self.write_ncf(stream, 0, confirmations, now))
                }
            }
        } else if let Some(stream) = self.end_due() {
            (To::Group, self.write_end(stream, now))
        } else if self.outbox.beat || !self.outbox.beating.is_empty() {
            (To::Group, self.write_heartbeat(now))
        } else {
            return None;
        };
        self.shares.take_control(length, confirms, now);
        self.outbox.last = Last::Control { length, announced };
        Some(Transmit { to, segment: length, count: 1 })
    }

    /// A closed stream whose end is due, and all of whose datagrams went out.
    fn end_due(&mut self) -> Option<u32> {
        for _ in 0..self.outbox.ending.len() {
            let id = self.outbox.ending.pop_front()?;
            let stream = &mut self.streams[id as usize - 1];
            if stream.is_over() {
                stream.ending = false;
                return Some(id);
            }
            self.outbox.ending.push_back(id);
        }
        None
    }

    fn emit(&mut self, header: Header, payload_length: usize, now: Time) -> usize {
        let header = Header {
            stamp: now.0,
            sent: now.0.wrapping_add(self.config.wall_offset),
            source: self.config.source,
            ..header
        };
        header.emit(&mut self.outbox.buffer, payload_length);
        HEADER_LENGTH + payload_length
    }

    fn write_announce(&mut self, id: u32, now: Time) -> usize {
        let (idle, window, datagram) = (self.idle_wire(), self.capacity(), self.config.datagram);
        let stream = &mut self.streams[id as usize - 1];
        stream.announcing = false;
        let next_message = stream.sent_next_message();
        let announce = Announce {
            age: nanos(now.since(stream.opened)),
            trail: stream.window.trail().min(stream.unsent),
            trail_message: stream.window.trail_message(stream.upcoming()).min(next_message),
            idle_interval: idle,
            window: u32::try_from(window).unwrap_or(u32::MAX),
            datagram: datagram as u16,
            topic: &stream.topic,
        };
        let length = announce.emit(&mut self.outbox.buffer[HEADER_LENGTH..]);
        let lead = stream.sent_lead();
        self.stats.announces += 1;
        let header = Header::new(Kind::Announce, self.config.source, id);
        self.emit(Header { sequence: lead, message: next_message, ..header }, length, now)
    }

    fn write_ncf(
        &mut self,
        id: u32,
        flags: u8,
        confirmations: impl Iterator<Item = Confirmation>,
        now: Time,
    ) -> usize {
        let mut list = Ncf::emit(&mut self.outbox.buffer[HEADER_LENGTH..]);
        for confirmation in confirmations {
            if !list.push_confirmation(&confirmation) {
                break;
            }
        }
        let length = list.length();
        self.stats.ncfs += 1;
        let header = Header::new(Kind::Ncf, self.config.source, id);
        self.emit(Header { flags, ..header }, length, now)
    }

    fn write_end(&mut self, id: u32, now: Time) -> usize {
        let stream = &self.streams[id as usize - 1];
        let (lead, next_message) = (stream.lead(), stream.next_message);
        let length = End { trail: stream.window.trail() }.emit(&mut self.outbox.buffer[HEADER_LENGTH..]);
        self.stats.ends += 1;
        let header = Header::new(Kind::End, self.config.source, id);
        self.emit(Header { sequence: lead, message: next_message, ..header }, length, now)
    }

    fn idle_wire(&self) -> u32 {
        u32::try_from(self.config.idle_interval.as_micros()).unwrap_or(u32::MAX).max(1)
    }

    fn write_heartbeat(&mut self, now: Time) -> usize {
        self.receivers.refresh_round_trip(now);
        let group = u32::try_from(self.receivers.len()).unwrap_or(u32::MAX);
        self.streams.iter_mut().for_each(|stream| stream.places.set_group(group));
        let limiting = self
            .streams
            .iter()
            .filter_map(|stream| stream.places.limit())
            .min_by_key(|&(_, limit)| limit)
            .map(|(id, _)| id);
        let mut list = Heartbeat::emit(
            &mut self.outbox.buffer[HEADER_LENGTH..],
            u32::try_from(self.config.idle_interval.as_micros()).unwrap_or(u32::MAX).max(1),
            group,
            self.receivers.round_trip_wire(),
            limiting.unwrap_or(ReceiverId(0)),
        );
        let state = |stream: &super::Stream| StreamState {
            stream: stream.id,
            trail: stream.window.trail().min(stream.unsent),
            lead: stream.sent_lead(),
            next_message: stream.sent_next_message(),
            limit: stream.places.limit_behind().unwrap_or(MAX_SEQUENCE),
        };
        while let Some(&id) = self.outbox.beating.front() {
            let stream = &self.streams[id as usize - 1];
            if !stream.is_over() && !list.push_stream(&state(stream)) {
                break;
            }
            self.outbox.beating.pop_front();
        }
        if self.outbox.beat {
            // The source's own heartbeat shows the others as far as they fit, each time from where it left off.
            self.outbox.beat = false;
            let count = self.streams.len() as u32;
            for _ in 0..count {
                let stream = &self.streams[(self.outbox.rotation % count) as usize];
                if !stream.is_over() && !list.push_stream(&state(stream)) {
                    break;
                }
                self.outbox.rotation = self.outbox.rotation.wrapping_add(1);
            }
        }
        let length = list.length();
        self.stats.heartbeats += 1;
        // Until all that waits to be shown is shown: those who are asked are among them.
        let flags = if self.outbox.asks { flag::HELD_BACK } else { 0 };
        self.outbox.asks &= !self.outbox.beating.is_empty();
        self.emit(Header { flags, ..Header::new(Kind::Heartbeat, self.config.source, 0) }, length, now)
    }

    /// Live data: a run from the first stream that has any, and from those behind it whose datagrams are about as long. Streams
    /// take turns, a run each where they fill one.
    fn live_run(&mut self, now: Time) -> Option<Transmit> {
        if self.outbox.ready.is_empty() || !self.shares.may_go(now) {
            return None;
        }
        self.outbox.run.clear();
        let mut run = Run::new(self.shares.run_bytes());
        run.choosy = self.outbox.ready.len() > 1;
        let mut others = self.outbox.ready.len();
        while others > 0
            && !run.is_whole()
            && self.outbox.passed.len() < MOST_PASSED
            && let Some(id) = self.outbox.ready.pop_front()
        {
            others -= 1;
            let before = run.count;
            self.add_live(id, &mut run, now);
            let stream = &mut self.streams[id as usize - 1];
            stream.queued = stream.backlog() > 0;
            match stream.queued {
                true if run.count == before => self.outbox.passed.push(id),
                true => self.outbox.ready.push_back(id),
                false => {}
            }
        }
        // Who was passed over is next.
        while let Some(id) = self.outbox.passed.pop() {
            self.outbox.ready.push_front(id);
        }
        if run.count == 0 {
            return None;
        }
        let (transmit, bytes) = self.finish_run(run, To::Group, Last::Live);
        self.shares.take_live(bytes, now);
        self.stats.datagrams += transmit.count as u64;
        self.stats.datagram_bytes += bytes as u64;
        Some(transmit)
    }

    /// Adds what a stream has to a run of live data, as far as it is of the length.
    fn add_live(&mut self, id: u32, run: &mut Run, now: Time) {
        let (source, wall) = (self.config.source, now.0.wrapping_add(self.config.wall_offset));
        let datagram = self.config.datagram;
        let before = run.count;
        let stream = &mut self.streams[id as usize - 1];
        while let Some(slot) = stream.window.slot(stream.unsent) {
            let staged = self.staged.place(id, stream.unsent, &self.pool);
            let Some(place) = staged.or_else(|| stream.window.place(stream.unsent)) else { break };
            let room = if staged.is_some() { self.staged.stride } else { datagram };
            let length = usize::from(slot.length);
            if staged.is_some() && run.count == 0 && length * 16 >= room * 15 {
                // A little padding has them lie without gaps: the system copies them as one.
                run.longest = room;
            }
            if !run.admit(length, room) {
                break;
            }
            let header = Header {
                kind: Kind::Data,
                flags: slot.flags,
                source,
                stream: id,
                sequence: stream.unsent,
                message: slot.message,
                sent: wall,
                stamp: now.0,
            };
            header.emit(self.pool.bytes_mut(place.chunk, place.offset, length), length - HEADER_LENGTH);
            self.outbox.run.push(Piece { stream: id, sequence: stream.unsent, place, length });
            stream.unsent += 1;
        }
        if run.count > before {
            stream.first_sent.get_or_insert(now);
            self.changed(id, now);
        }
    }

    /// Repairs: a run of those at the front of a queue that go to the same place.
    fn repair_run(&mut self, queue: RepairQueue, paid: Share, now: Time) -> Option<Transmit> {
        if self.outbox.queue(queue).is_empty()
            || !self.shares.may_repair(queue, paid, !self.outbox.ready.is_empty(), now)
        {
            return None;
        }
        self.outbox.run.clear();
        let mut run = Run::new(self.shares.run_bytes());
        let mut to = None;
        while let Some(&(id, sequence)) = self.outbox.queue(queue).front() {
            let stream = &mut self.streams[id as usize - 1];
            let place = stream.window.place(sequence);
            // What aged out while it waited: who asks again is told so. And what does not wait here any more.
            let slot = stream.window.slot_mut(sequence).filter(|slot| slot.queued == Some(queue));
            let (Some(slot), Some(place)) = (slot, place) else {
                self.outbox.queue(queue).pop_front();
                continue;
            };
            let alone = if slot.group { None } else { self.receivers.address(ReceiverId(slot.asker)) };
            let there = alone.map_or(To::Group, To::Receiver);
            if *to.get_or_insert(there) != there || !run.admit(usize::from(slot.length), self.config.datagram)
            {
                break;
            }
            slot.queued = None;
            let length = usize::from(slot.length);
            restamp(self.pool.bytes_mut(place.chunk, place.offset, length), Kind::Repair, now.0);
            self.outbox.run.push(Piece { stream: id, sequence, place, length });
            self.outbox.queue(queue).pop_front();
        }
        let to = to?;
        let (transmit, bytes) = self.finish_run(run, to, Last::Repairs(queue, paid, to));
        self.shares.take_repair(queue, paid, bytes, now);
        self.stats.repairs += transmit.count as u64;
        self.stats.repair_bytes += bytes as u64;
        if matches!(to, To::Receiver(_)) {
            self.stats.repairs_unicast += transmit.count as u64;
        }
        Some(transmit)
    }

    /// Pads all of a run but its last datagram to the longest; tells its bytes too, padding included.
    fn finish_run(&mut self, run: Run, to: To, last: Last) -> (Transmit, usize) {
        self.outbox.last = last;
        let count = self.outbox.run.len();
        let mut bytes = 0;
        for (index, piece) in self.outbox.run.iter_mut().enumerate() {
            if index + 1 < count && piece.length < run.longest {
                let offset = piece.place.offset + piece.length;
                self.pool.bytes_mut(piece.place.chunk, offset, run.longest - piece.length).fill(0);
                piece.length = run.longest;
            }
            bytes += piece.length;
        }
        let segment = self.outbox.run.first().map_or(0, |piece| piece.length);
        (Transmit { to, segment, count }, bytes)
    }
}

#[cfg(test)]
mod tests;
