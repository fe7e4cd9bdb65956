//! What the datagrams that carry no messages say. Each type has a view that reads (`parse`) and a way to write (`emit`,
//! or a list that takes entries until it is full).

use super::bytes::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use super::header::{HEADER_LENGTH, MAX_DATAGRAM, MAX_SEQUENCE, ReceiverId, is_next, is_number};
use super::invalid::Invalid;
use super::topic;

/// A stream's id (in the header) and its topic, and where it stands. The header's sequence is the lead, its message the
/// number of the first message to start after the lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    /// Nanoseconds since the stream was opened.
    pub age: u64,
    /// The oldest sequence number that can still be repaired (1 when nothing was sent).
    pub trail: u64,
    /// The number of the first message that starts at the trail or after it.
    pub trail_message: u64,
    /// The source's largest time between two heartbeats, microseconds.
    pub idle_interval: u32,
    /// The most datagrams the stream's transmit window can hold, from trail to lead.
    pub window: u32,
    /// The largest datagram the stream sends, bytes.
    pub datagram: u16,
    /// The topic.
    pub topic: &'a str,
}

impl<'a> Announce<'a> {
    const FIXED: usize = 36;

    /// Reads an announce.
    ///
    /// # Errors
    /// [`Invalid::Layout`], [`Invalid::Topic`], [`Invalid::Number`].
    pub fn parse(payload: &'a [u8]) -> Result<Announce<'a>, Invalid> {
        if payload.len() < Self::FIXED {
            return Err(Invalid::Layout);
        }
        let length = usize::from(get_u16(payload, 34));
        if payload.len() != Self::FIXED + length {
            return Err(Invalid::Layout);
        }
        let topic = std::str::from_utf8(&payload[Self::FIXED..]).map_err(|_| Invalid::Topic)?;
        topic::check(topic).map_err(|_| Invalid::Topic)?;
        let announce = Announce {
            age: get_u64(payload, 0),
            trail: get_u64(payload, 8),
            trail_message: get_u64(payload, 16),
            idle_interval: get_u32(payload, 24),
            window: get_u32(payload, 28),
            datagram: get_u16(payload, 32),
            topic,
        };
        let sound = is_next(announce.trail)
            && is_next(announce.trail_message)
            && announce.idle_interval != 0
            && announce.window != 0
            && (HEADER_LENGTH + 1..=MAX_DATAGRAM).contains(&usize::from(announce.datagram));
        if sound { Ok(announce) } else { Err(Invalid::Number) }
    }

    /// Whether it agrees with the lead and the next message that its header gives.
    pub(super) fn agrees(&self, lead: u64, next_message: u64) -> bool {
        let before = self.trail - 1;
        before <= lead && lead - before <= u64::from(self.window) && self.trail_message <= next_message
    }

    /// Writes it into `payload`; gives its length.
    ///
    /// # Panics
    /// When `payload` is too short for it.
    pub fn emit(&self, payload: &mut [u8]) -> usize {
        debug_assert!(topic::check(self.topic).is_ok(), "an announce of {:?}", self.topic);
        put_u64(payload, 0, self.age);
        put_u64(payload, 8, self.trail);
        put_u64(payload, 16, self.trail_message);
        put_u32(payload, 24, self.idle_interval);
        put_u32(payload, 28, self.window);
        put_u16(payload, 32, self.datagram);
        put_u16(payload, 34, self.topic.len() as u16);
        payload[Self::FIXED..Self::FIXED + self.topic.len()].copy_from_slice(self.topic.as_bytes());
        Self::FIXED + self.topic.len()
    }
}

/// Entries of one size after a fixed part, written until the buffer is full. A list takes the entries of the datagram
/// type whose `emit` gave it.
#[derive(Debug)]
pub struct List<'b> {
    payload: &'b mut [u8],
    length: usize,
}

impl<'b> List<'b> {
    fn new(payload: &'b mut [u8], fixed: usize) -> List<'b> {
        List { payload, length: fixed }
    }

    fn entry(&mut self, size: usize) -> Option<&mut [u8]> {
        let entry = self.payload.get_mut(self.length..self.length + size)?;
        self.length += size;
        Some(entry)
    }

    /// Bytes of the payload written so far.
    pub fn length(&self) -> usize {
        self.length
    }
}

fn entries(payload: &[u8], fixed: usize, size: usize) -> Result<&[u8], Invalid> {
    match payload.get(fixed..) {
        Some(entries) if entries.len().is_multiple_of(size) => Ok(entries),
        _ => Err(Invalid::Layout),
    }
}

/// The state of a whole source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// The largest time between two heartbeats, microseconds.
    pub idle_interval: u32,
    /// Receivers known to the publisher.
    pub group_size: u32,
    /// The largest smoothed round trip among them, nanoseconds (at most 4.29 s); 0 while unknown.
    pub round_trip: u32,
    /// The receiver that limits the publisher; 0 for none.
    pub limiting: ReceiverId,
    entries: &'a [u8],
}

/// Where one stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The stream's id.
    pub stream: u32,
    /// The oldest sequence number that can still be repaired.
    pub trail: u64,
    /// The last one sent; `trail - 1` when the window is empty.
    pub lead: u64,
    /// The number of the first message to start after the lead.
    pub next_message: u64,
    /// The highest sequence number that a receiver which is behind lets the publisher send; [`MAX_SEQUENCE`] where none is.
    pub limit: u64,
}

impl<'a> Heartbeat<'a> {
    const FIXED: usize = 20;
    const ENTRY: usize = 36;

    /// Reads a heartbeat; each entry is checked when it is read.
    ///
    /// # Errors
    /// [`Invalid::Layout`], [`Invalid::Number`].
    pub fn parse(payload: &'a [u8]) -> Result<Heartbeat<'a>, Invalid> {
        let entries = entries(payload, Self::FIXED, Self::ENTRY)?;
        let heartbeat = Heartbeat {
            idle_interval: get_u32(payload, 0),
            group_size: get_u32(payload, 4),
            round_trip: get_u32(payload, 8),
            limiting: ReceiverId(get_u64(payload, 12)),
            entries,
        };
        if heartbeat.idle_interval == 0 { Err(Invalid::Number) } else { Ok(heartbeat) }
    }

    /// The streams it names. One whose trail lies beyond its lead is an error, and the others still count.
    pub fn streams(&self) -> impl Iterator<Item = Result<StreamState, Invalid>> + use<'a> {
        self.entries.chunks_exact(Self::ENTRY).map(|entry| {
            let state = StreamState {
                stream: get_u32(entry, 0),
                trail: get_u64(entry, 4),
                lead: get_u64(entry, 12),
                next_message: get_u64(entry, 20),
                limit: get_u64(entry, 28).min(MAX_SEQUENCE),
            };
            let sound = state.stream != 0
                && state.lead <= MAX_SEQUENCE
                && (1..=state.lead + 1).contains(&state.trail)
                && is_next(state.next_message);
            if sound { Ok(state) } else { Err(Invalid::Number) }
        })
    }

    /// Writes the fixed part; streams are added to the list.
    ///
    /// # Panics
    /// When `payload` is too short for the fixed part.
    pub fn emit<'b>(
        payload: &'b mut [u8],
        idle_interval: u32,
        group_size: u32,
        round_trip: u32,
        limiting: ReceiverId,
    ) -> List<'b> {
        put_u32(payload, 0, idle_interval);
        put_u32(payload, 4, group_size);
        put_u32(payload, 8, round_trip);
        put_u64(payload, 12, limiting.0);
        List::new(payload, Self::FIXED)
    }
}

impl List<'_> {
    /// Adds a stream to a heartbeat; false when it is full.
    pub fn push_stream(&mut self, state: &StreamState) -> bool {
        let Some(entry) = self.entry(Heartbeat::ENTRY) else { return false };
        put_u32(entry, 0, state.stream);
        put_u64(entry, 4, state.trail);
        put_u64(entry, 12, state.lead);
        put_u64(entry, 20, state.next_message);
        put_u64(entry, 28, state.limit);
        true
    }

    /// Adds a range to a NAK; false when it is full.
    pub fn push_range(&mut self, range: Range) -> bool {
        let Some(entry) = self.entry(Nak::ENTRY) else { return false };
        put_u64(entry, 0, range.first);
        put_u32(entry, 8, range.count);
        true
    }

    /// Adds a confirmation to an NCF; false when it is full.
    pub fn push_confirmation(&mut self, confirmation: &Confirmation) -> bool {
        let Some(entry) = self.entry(Ncf::ENTRY) else { return false };
        put_u64(entry, 0, confirmation.first);
        put_u64(entry, 8, confirmation.last);
        put_u64(entry, 16, confirmation.next_message);
        true
    }

    /// Adds a stream's position to a status message; false when it is full.
    pub fn push_position(&mut self, position: &Position) -> bool {
        let Some(entry) = self.entry(Status::ENTRY) else { return false };
        put_u32(entry, 0, position.stream);
        entry[4] = if position.ended { Status::ENDED } else { 0 };
        entry[5..8].fill(0);
        put_u32(entry, 8, position.missed);
        put_u64(entry, 12, position.position);
        put_u64(entry, 20, position.limit);
        true
    }
}

/// Consecutive sequence numbers a receiver is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// How many: at least one.
    pub count: u32,
}

impl Range {
    /// The last sequence number of the range.
    pub fn last(&self) -> u64 {
        debug_assert!(self.count != 0, "a range of nothing has no last");
        self.first + (u64::from(self.count) - 1)
    }
}

/// What a receiver is missing of the stream in the header. The header's stamp is the newest the receiver has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nak<'a> {
    /// Who asks.
    pub receiver: ReceiverId,
    /// How long ago the stamp was heard, nanoseconds (at most 4.29 s: what is longer is told as that).
    pub held: u32,
    entries: &'a [u8],
}

impl<'a> Nak<'a> {
    const FIXED: usize = 12;
    const ENTRY: usize = 12;

    /// Reads a NAK: all its ranges are sound, ascending, and none overlaps the one before.
    ///
    /// # Errors
    /// [`Invalid::Layout`], [`Invalid::Number`], [`Invalid::Range`].
    pub fn parse(payload: &'a [u8]) -> Result<Nak<'a>, Invalid> {
        let entries = entries(payload, Self::FIXED, Self::ENTRY)?;
        let nak = Nak { receiver: ReceiverId(get_u64(payload, 0)), held: get_u32(payload, 8), entries };
        if nak.receiver.0 == 0 {
            return Err(Invalid::Number);
        }
        let mut before = 0;
        for range in nak.ranges() {
            let sound = range.count != 0 && range.first > before && is_number(range.first);
            if !sound || range.last() > MAX_SEQUENCE {
                return Err(Invalid::Range);
            }
            before = range.last();
        }
        Ok(nak)
    }

    /// The ranges asked for.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + use<'a> {
        self.entries
            .chunks_exact(Self::ENTRY)
            .map(|entry| Range { first: get_u64(entry, 0), count: get_u32(entry, 8) })
    }

    /// Writes the fixed part; ranges are added to the list.
    ///
    /// # Panics
    /// When `payload` is too short for the fixed part.
    pub fn emit(payload: &mut [u8], receiver: ReceiverId, held: u32) -> List<'_> {
        put_u64(payload, 0, receiver.0);
        put_u32(payload, 8, held);
        List::new(payload, Self::FIXED)
    }
}

/// One range of an NCF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The first sequence number.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// When the range is gone: the number of the first message that starts after it. Otherwise 0.
    pub next_message: u64,
}

/// What the publisher says to a NAK: being repaired, or (flag [`GONE`](super::flag::GONE)) gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ncf<'a> {
    entries: &'a [u8],
}

impl<'a> Ncf<'a> {
    const ENTRY: usize = 24;

    /// Reads an NCF: all its ranges are sound, ascending, and none overlaps the one before.
    ///
    /// # Errors
    /// [`Invalid::Layout`], [`Invalid::Range`], [`Invalid::Number`].
    pub fn parse(payload: &'a [u8]) -> Result<Ncf<'a>, Invalid> {
        let ncf = Ncf { entries: entries(payload, 0, Self::ENTRY)? };
        let mut before = 0;
        for range in ncf.confirmations() {
            if range.first <= before || range.last < range.first || range.last > MAX_SEQUENCE {
                return Err(Invalid::Range);
            }
            if range.next_message > MAX_SEQUENCE + 1 {
                return Err(Invalid::Number);
            }
            before = range.last;
        }
        Ok(ncf)
    }

    /// Whether it says of every range which message comes next, as one of ranges that are gone must.
    pub(super) fn names_next(&self) -> bool {
        self.confirmations().all(|confirmation| confirmation.next_message != 0)
    }

    /// The ranges confirmed.
    pub fn confirmations(&self) -> impl Iterator<Item = Confirmation> + use<'a> {
        self.entries.chunks_exact(Self::ENTRY).map(|entry| Confirmation {
            first: get_u64(entry, 0),
            last: get_u64(entry, 8),
            next_message: get_u64(entry, 16),
        })
    }

    /// An empty list; ranges are added to it.
    pub fn emit(payload: &mut [u8]) -> List<'_> {
        List::new(payload, 0)
    }
}

/// A receiver's place in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The stream's id.
    pub stream: u32,
    /// Whether the receiver has heard the stream's end and has everything before it.
    pub ended: bool,
    /// Datagrams of the stream found missing when they were first looked for, counted since the start, modulo 2^32.
    pub missed: u32,
    /// The next sequence number it waits for: everything before is delivered, or given up.
    pub position: u64,
    /// The highest sequence number the publisher may send. Whatever is beyond [`MAX_SEQUENCE`] sets no limit, and is
    /// read as that.
    pub limit: u64,
}

/// A receiver's places. The header's stamp is the newest it has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// Who tells.
    pub receiver: ReceiverId,
    /// How long ago the stamp was heard, nanoseconds (at most 4.29 s: what is longer is told as that).
    pub held: u32,
    entries: &'a [u8],
}

impl<'a> Status<'a> {
    const FIXED: usize = 12;
    const ENTRY: usize = 28;
    const ENDED: u8 = 0x01;

    /// Reads a status message.
    ///
    /// # Errors
    /// [`Invalid::Layout`], [`Invalid::Number`].
    pub fn parse(payload: &'a [u8]) -> Result<Status<'a>, Invalid> {
        let entries = entries(payload, Self::FIXED, Self::ENTRY)?;
        let status = Status { receiver: ReceiverId(get_u64(payload, 0)), held: get_u32(payload, 8), entries };
        let sound = |p: Position| p.stream != 0 && is_next(p.position);
        if status.receiver.0 != 0 && status.positions().all(sound) {
            Ok(status)
        } else {
            Err(Invalid::Number)
        }
    }

    /// The receiver's places.
    pub fn positions(&self) -> impl Iterator<Item = Position> + use<'a> {
        self.entries.chunks_exact(Self::ENTRY).map(|entry| Position {
            stream: get_u32(entry, 0),
            ended: entry[4] & Self::ENDED != 0,
            missed: get_u32(entry, 8),
            position: get_u64(entry, 12),
            limit: get_u64(entry, 20).min(MAX_SEQUENCE),
        })
    }

    /// Writes the fixed part; positions are added to the list.
    ///
    /// # Panics
    /// When `payload` is too short for the fixed part.
    pub fn emit(payload: &mut [u8], receiver: ReceiverId, held: u32) -> List<'_> {
        put_u64(payload, 0, receiver.0);
        put_u32(payload, 8, held);
        List::new(payload, Self::FIXED)
    }
}

/// A stream is over. The header's sequence is the last one sent, its message the number that would have come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The oldest sequence number that can still be repaired.
    pub trail: u64,
}

impl End {
    const FIXED: usize = 8;

    /// Reads an end of stream.
    ///
    /// # Errors
    /// [`Invalid::Layout`], [`Invalid::Number`].
    pub fn parse(payload: &[u8]) -> Result<End, Invalid> {
        if payload.len() != Self::FIXED {
            return Err(Invalid::Layout);
        }
        let end = End { trail: get_u64(payload, 0) };
        if is_next(end.trail) { Ok(end) } else { Err(Invalid::Number) }
    }

    /// Writes it into `payload`; gives its length.
    ///
    /// # Panics
    /// When `payload` is too short for it.
    pub fn emit(&self, payload: &mut [u8]) -> usize {
        put_u64(payload, 0, self.trail);
        Self::FIXED
    }
}
