//! One topic of a publisher: what is being packed, what is in its window, who receives it.

use super::places::{Place, Places};
use super::window::{Slot, Window};
use crate::protocol::pool::{Pool, Slots};
use crate::protocol::time::Time;
use crate::wire::{FRAGMENT_LENGTH, HEADER_LENGTH, RECORD_LENGTH, data, flag};

/// A stream of the publisher.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) topic: Box<str>,
    pub(super) opened: Time,
    pub(super) window: Window,
    /// Bytes of the datagram being packed, its header's room included; 0 when none is.
    fill: usize,
    /// The number of the first message in the datagram being packed.
    first_message: u64,
    /// The number the next message gets.
    pub(super) next_message: u64,
    /// When the datagram being packed must leave.
    pub(super) flush_at: Time,
    /// It stands in the row of streams that may be packing one.
    pub(super) listed: bool,
    /// The first sequence number that was not transmitted yet.
    pub(super) unsent: u64,
    /// Up to here memory is the stream's to be used, though nothing may come.
    pub(super) promised: u64,
    /// When the first datagram left.
    pub(super) first_sent: Option<Time>,
    /// The last sequence number that could not be begun at once.
    pub(super) refused: u64,
    /// Since when a receiver holds the next datagram back.
    pub(super) held: Option<Time>,
    /// It stands in the row of streams with something to transmit.
    pub(super) queued: bool,
    /// The rest of a message too large for what could be sent when it came.
    pub(super) staged: Staged,
    pub(super) beats: Beats,
    /// Its end is about to be sent.
    pub(super) ending: bool,
    /// An announce is about to be sent.
    pub(super) announcing: bool,
    /// No more messages: ends of stream are sent in place of heartbeats.
    pub(super) closed: bool,
    /// Closed, and its memory given back.
    pub(super) released: bool,
    /// Where its receivers are.
    pub(super) places: Places,
}

/// What is left of a large message.
#[derive(Debug, Default)]
pub(super) struct Staged {
    bytes: Vec<u8>,
    /// How many of these went.
    sent: usize,
    /// Where in the message they begin.
    offset: usize,
}

impl Staged {
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Keeps the rest of a message, behind `sent` bytes of it. Whether one is left is a matter of time, so the memory for all of
    /// it is taken with the first.
    pub(super) fn hold(&mut self, message: &[u8], sent: usize) {
        self.bytes.clear();
        self.bytes.reserve(message.len());
        self.bytes.extend_from_slice(&message[sent..]);
        self.sent = 0;
        self.offset = sent;
    }

    /// What is left, where in its message it lies, and how long that is.
    pub(super) fn rest(&self) -> (&[u8], usize, usize) {
        (&self.bytes[self.sent..], self.offset + self.sent, self.offset + self.bytes.len())
    }

    pub(super) fn advance(&mut self, by: usize) {
        self.sent += by;
    }
}

/// The heartbeats that follow a change: soon after it, then at doubling intervals, up to the idle one.
#[derive(Debug)]
pub(super) struct Beats {
    /// How many have followed the last change.
    pub(super) count: u32,
    pub(super) at: Time,
    /// When a receiver that does not know that it is waited for is asked how far it is.
    pub(super) ask: Time,
    /// When they are looked at: where the stream stands in the row of those whose beats are timed. Never, if it does not.
    pub(super) look: Time,
}

impl Stream {
    pub(super) fn new(id: u32, topic: &str, layout: Slots, now: Time) -> Stream {
        Stream {
            id,
            topic: topic.into(),
            opened: now,
            window: Window::new(layout),
            fill: 0,
            first_message: 1,
            next_message: 1,
            flush_at: Time::NEVER,
            listed: false,
            unsent: 1,
            promised: 0,
            first_sent: None,
            refused: 0,
            held: None,
            queued: false,
            staged: Staged::default(),
            beats: Beats { count: 0, at: Time::NEVER, ask: Time::NEVER, look: Time::NEVER },
            ending: false,
            announcing: false,
            closed: false,
            released: false,
            places: Places::default(),
        }
    }

    /// The last sealed sequence number.
    pub(super) fn lead(&self) -> u64 {
        self.window.next() - 1
    }

    /// The last transmitted sequence number: the lead as receivers know it.
    pub(super) fn sent_lead(&self) -> u64 {
        self.unsent - 1
    }

    /// The number of the first message to start behind the last transmitted datagram.
    pub(super) fn sent_next_message(&self) -> u64 {
        match self.window.slot(self.unsent) {
            Some(slot) => slot.message + u64::from(slot.continues),
            None => self.upcoming(),
        }
    }

    /// Messages of which not everything was transmitted.
    pub(super) fn unsent_messages(&self) -> u64 {
        let first = match self.window.slot(self.unsent) {
            Some(slot) => slot.message,
            None if self.fill > 0 => self.first_message,
            None => self.next_message,
        };
        self.next_message + u64::from(!self.staged.is_empty()) - first
    }

    /// The number of the first message to start behind the lead.
    pub(super) fn upcoming(&self) -> u64 {
        if self.fill > 0 {
            self.first_message
        } else {
            self.next_message + u64::from(!self.staged.is_empty())
        }
    }

    /// Closed, and everything of it was transmitted: heartbeats need not show it any more, its end is said.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.backlog() == 0 && self.staged.is_empty()
    }

    /// Sealed datagrams that were not transmitted yet.
    pub(super) fn backlog(&self) -> u64 {
        self.window.next() - self.unsent
    }

    /// Whether a datagram is being packed.
    pub(super) fn is_packing(&self) -> bool {
        self.fill > 0
    }

    /// Whether a record of `length` bytes fits in the datagram being packed.
    pub(super) fn fits(&self, length: usize, datagram: usize) -> bool {
        self.fill > 0 && self.fill + RECORD_LENGTH + length <= datagram
    }

    /// Begins a datagram. The caller has made sure of its room and that the one before is sealed.
    pub(super) fn begin(&mut self, flush_at: Time) {
        self.fill = HEADER_LENGTH;
        self.first_message = self.next_message;
        self.flush_at = flush_at;
    }

    /// Where the next record's bytes go, in the datagram being packed.
    pub(super) fn record<'p>(&self, pool: &'p mut Pool, length: usize) -> Option<&'p mut [u8]> {
        let place = self.window.place(self.window.next())?;
        let record = pool.bytes_mut(place.chunk, place.offset + self.fill, RECORD_LENGTH + length);
        data::emit_record(record, length as u16);
        Some(&mut record[RECORD_LENGTH..])
    }

    /// The bytes of the record that was begun last.
    pub(super) fn written<'p>(&self, pool: &'p Pool, length: usize) -> Option<&'p [u8]> {
        let place = self.window.place(self.window.next())?;
        Some(pool.bytes(place.chunk, place.offset + self.fill + RECORD_LENGTH, length))
    }

    /// Counts the record whose bytes were written.
    pub(super) fn commit(&mut self, length: usize) {
        self.fill += RECORD_LENGTH + length;
        self.next_message += 1;
    }

    /// Writes records into the datagram being packed, and counts their messages. The caller has made sure of the room.
    pub(super) fn append(&mut self, pool: &mut Pool, records: &[u8], messages: u64) {
        let Some(place) = self.window.place(self.window.next()) else { return };
        pool.bytes_mut(place.chunk, place.offset + self.fill, records.len()).copy_from_slice(records);
        self.fill += records.len();
        self.next_message += messages;
    }

    /// Counts a datagram that was packed elsewhere, and seals it. The caller has made sure that nothing is being packed.
    pub(super) fn packed(&mut self, length: u16, messages: u16) {
        self.window.seal(Slot { length, message: self.next_message, ..Slot::default() });
        self.next_message += u64::from(messages);
    }

    /// Bytes the datagram being packed can still take.
    pub(super) fn room(&self, datagram: usize) -> usize {
        if self.fill == 0 { 0 } else { datagram - self.fill }
    }

    /// Seals the datagram being packed, if there is one.
    pub(super) fn seal(&mut self) {
        if self.fill > HEADER_LENGTH {
            self.window.seal(Slot {
                length: self.fill as u16,
                message: self.first_message,
                ..Slot::default()
            });
        }
        self.fill = 0;
        self.flush_at = Time::NEVER;
    }

    /// Writes one fragment and seals it. The caller has made sure of the room, and that nothing is being packed.
    pub(super) fn fragment(&mut self, pool: &mut Pool, bytes: &[u8], offset: usize, total: usize) {
        let Some(place) = self.window.place(self.window.next()) else { return };
        let length = FRAGMENT_LENGTH + bytes.len();
        let payload = pool.bytes_mut(place.chunk, place.offset + HEADER_LENGTH, length);
        data::emit_fragment(payload, offset as u32, total as u32);
        payload[FRAGMENT_LENGTH..].copy_from_slice(bytes);
        self.window.seal(Slot {
            length: (HEADER_LENGTH + length) as u16,
            flags: flag::FRAGMENT,
            continues: offset > 0,
            message: self.next_message,
            ..Slot::default()
        });
        if offset + bytes.len() == total {
            self.next_message += 1;
        }
    }

    /// Whether a receiver has said that it has everything, and the end of a closed stream.
    pub(super) fn has_all(&self, place: &Place) -> bool {
        place.position > self.lead() && (place.ended || !self.closed)
    }
}
