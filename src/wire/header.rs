//! The header that every datagram begins with, and the checks that come before anything in it is believed.

use super::bytes::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64};
use super::extension;
use super::invalid::Invalid;
use std::fmt;
use std::sync::LazyLock;

/// The first four bytes of every datagram: `nakc`.
pub const MAGIC: u32 = 0x6e61_6b63;
/// The version this code speaks.
pub const VERSION: u8 = 1;
/// Bytes of a header without extensions.
pub const HEADER_LENGTH: usize = 64;
/// The largest datagram UDP over IPv4 can carry.
pub const MAX_DATAGRAM: usize = 65_507;

/// The last sequence number a stream may have, and the last message number: what is one more than either (a trail, a
/// position, the number of the next message) leaves half of a `u64` free, so that adding any count or window to it never
/// overflows. Numbers never wrap, and are compared as they are: at a billion a second this one is reached after 292 years
/// (2^63 / 10^9 / 31,557,600 s), and 64 bits would be used up after 584.
pub const MAX_SEQUENCE: u64 = i64::MAX as u64;

/// Whether something can have this number: a datagram its sequence number, a message its own.
pub(super) fn is_number(number: u64) -> bool {
    (1..=MAX_SEQUENCE).contains(&number)
}

/// Whether a number can be the one that comes next: one more than a number, or 1 when there was none.
pub(super) fn is_next(number: u64) -> bool {
    (1..=MAX_SEQUENCE + 1).contains(&number)
}

/// Where each field lies. Offsets from the first byte of the datagram.
mod field {
    use std::ops::Range;
    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const VERSION: Range<usize> = 4..5;
    pub(super) const KIND: Range<usize> = 5..6;
    pub(super) const FLAGS: Range<usize> = 6..7;
    pub(super) const HEADER_LENGTH: Range<usize> = 7..8;
    pub(super) const PAYLOAD_LENGTH: Range<usize> = 8..10;
    pub(super) const RESERVED: Range<usize> = 10..12;
    pub(super) const STREAM: Range<usize> = 12..16;
    pub(super) const SOURCE: Range<usize> = 16..24;
    pub(super) const SEQUENCE: Range<usize> = 24..32;
    pub(super) const MESSAGE: Range<usize> = 32..40;
    pub(super) const SENT: Range<usize> = 40..48;
    pub(super) const STAMP: Range<usize> = 48..56;
    pub(super) const PAYLOAD_CRC: Range<usize> = 56..60;
    pub(super) const HEADER_CRC: Range<usize> = 60..64;

    const fn follows(fields: &[Range<usize>]) {
        let mut at = 0;
        let mut index = 0;
        while index < fields.len() {
            assert!(fields[index].start == at, "a field does not begin where the one before it ends");
            at = fields[index].end;
            index += 1;
        }
        assert!(at == super::HEADER_LENGTH, "the fields do not fill the header");
    }

    const _: () = follows(&[
        MAGIC,
        VERSION,
        KIND,
        FLAGS,
        HEADER_LENGTH,
        PAYLOAD_LENGTH,
        RESERVED,
        STREAM,
        SOURCE,
        SEQUENCE,
        MESSAGE,
        SENT,
        STAMP,
        PAYLOAD_CRC,
        HEADER_CRC,
    ]);
}

/// One run of a publisher's endpoint: random, never reused. Shown as sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One run of a subscriber: random, never reused, never zero. Shown as sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiverId(pub u64);

impl fmt::Display for ReceiverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Messages, or a fragment of one, sent for the first time.
    Data = 1,
    /// The same, sent again because it was asked for.
    Repair = 2,
    /// A stream's id and its topic.
    Announce = 3,
    /// A source is alive, and where its streams stand.
    Heartbeat = 4,
    /// A receiver asks for what it is missing.
    Nak = 5,
    /// A publisher confirms a NAK: being repaired, or gone for good.
    Ncf = 6,
    /// A receiver's position, and how far the publisher may go.
    Status = 7,
    /// A stream is over.
    End = 8,
}

impl Kind {
    fn from_wire(value: u8) -> Option<Kind> {
        Some(match value {
            1 => Kind::Data,
            2 => Kind::Repair,
            3 => Kind::Announce,
            4 => Kind::Heartbeat,
            5 => Kind::Nak,
            6 => Kind::Ncf,
            7 => Kind::Status,
            8 => Kind::End,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Data => "data",
            Kind::Repair => "repair",
            Kind::Announce => "announce",
            Kind::Heartbeat => "heartbeat",
            Kind::Nak => "nak",
            Kind::Ncf => "ncf",
            Kind::Status => "status",
            Kind::End => "end",
        })
    }
}

/// The bits of the flags byte; what a bit means depends on the type.
pub mod flag {
    /// Data and repair: the payload is one fragment of a message, not whole records.
    pub const FRAGMENT: u8 = 0x01;
    /// NAK: the asker joined late and can wait; answer it alone, from the share kept for that.
    pub const CATCHING_UP: u8 = 0x01;
    /// NAK: the asker does not know the stream's topic; answer with an announce.
    pub const NAME_WANTED: u8 = 0x02;
    /// Heartbeat: the publisher is held back; who sends status of the streams named, and has come further, says so now.
    pub const HELD_BACK: u8 = 0x01;
    /// NCF: the ranges have left the window and will never be repaired.
    pub const GONE: u8 = 0x01;
    /// Status: the receiver is leaving; forget it.
    pub const LEAVING: u8 = 0x01;
}

/// A header's meaning. `emit` writes it, `Datagram::parse` reads it; lengths and checksums are theirs to fill and check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the datagram is.
    pub kind: Kind,
    /// See [`flag`].
    pub flags: u8,
    /// Whose stream this is about.
    pub source: SourceId,
    /// Which of the source's streams; 0 where the datagram is about the whole source.
    pub stream: u32,
    /// Data and repair: this datagram's sequence number. Announce and end: the last one sent, 0 before the first.
    /// Others: 0.
    pub sequence: u64,
    /// Data and repair: the number of the first message in it, or of the message its fragment belongs to. Announce and
    /// end: the number of the first message to start after `sequence`. Others: 0.
    pub message: u64,
    /// Wall clock of the transmission, nanoseconds since 1970; of data the first one's, never changed by a repair. From receivers it may
    /// be 0.
    pub sent: u64,
    /// The publisher's monotonic clock at this transmission, nanoseconds. A receiver sends back the newest it heard.
    pub stamp: u64,
}

impl Header {
    /// A header of `kind` about `stream` of `source`, all else zero.
    pub fn new(kind: Kind, source: SourceId, stream: u32) -> Header {
        Header { kind, flags: 0, source, stream, sequence: 0, message: 0, sent: 0, stamp: 0 }
    }

    /// Whether a [`flag`] of this header's type is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Writes the header (without extensions) into the first [`HEADER_LENGTH`] bytes of `datagram`, for the payload of
    /// `payload_length` bytes that already stands behind it.
    ///
    /// # Panics
    /// When `datagram` is shorter than the header and that payload, or the payload longer than a datagram can be.
    pub fn emit(&self, datagram: &mut [u8], payload_length: usize) {
        assert!(payload_length <= MAX_DATAGRAM - HEADER_LENGTH, "a payload of {payload_length} bytes");
        let crc = crc(&datagram[HEADER_LENGTH..HEADER_LENGTH + payload_length]);
        put_u32(datagram, field::MAGIC.start, MAGIC);
        datagram[field::VERSION.start] = VERSION;
        datagram[field::FLAGS.start] = self.flags;
        datagram[field::HEADER_LENGTH.start] = (HEADER_LENGTH / 4) as u8;
        put_u16(datagram, field::PAYLOAD_LENGTH.start, payload_length as u16);
        put_u16(datagram, field::RESERVED.start, 0);
        put_u32(datagram, field::STREAM.start, self.stream);
        put_u64(datagram, field::SOURCE.start, self.source.0);
        put_u64(datagram, field::SEQUENCE.start, self.sequence);
        put_u64(datagram, field::MESSAGE.start, self.message);
        put_u64(datagram, field::SENT.start, self.sent);
        put_u32(datagram, field::PAYLOAD_CRC.start, crc);
        restamp(datagram, self.kind, self.stamp);
    }

    /// Whether a datagram of this type can have these numbers. The payload's are for its view to check.
    fn check(&self) -> Result<(), Invalid> {
        let sound = match self.kind {
            Kind::Data | Kind::Repair => {
                self.stream != 0 && is_number(self.sequence) && is_number(self.message)
            }
            Kind::Announce | Kind::End => {
                self.stream != 0 && self.sequence <= MAX_SEQUENCE && is_next(self.message)
            }
            Kind::Nak | Kind::Ncf => self.stream != 0,
            Kind::Heartbeat | Kind::Status => true,
        };
        if sound { Ok(()) } else { Err(Invalid::Number) }
    }
}

/// Rewrites the type and the transmit stamp of a datagram that was emitted before, and its header checksum: all that a
/// repair changes.
///
/// # Panics
/// When `datagram` is shorter than its header.
#[inline]
pub fn restamp(datagram: &mut [u8], kind: Kind, stamp: u64) {
    datagram[field::KIND.start] = kind as u8;
    put_u64(datagram, field::STAMP.start, stamp);
    seal_header(datagram);
}

/// The transmit stamp of a datagram that was emitted before.
///
/// # Panics
/// When `datagram` is shorter than a header.
pub fn stamp(datagram: &[u8]) -> u64 {
    get_u64(datagram, field::STAMP.start)
}

/// The number of the first message of a datagram that was emitted before.
///
/// # Panics
/// When `datagram` is shorter than a header.
pub fn first_message(datagram: &[u8]) -> u64 {
    get_u64(datagram, field::MESSAGE.start)
}

/// A datagram whose header and checksums hold. What the payload says is checked by the view of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The header.
    pub header: Header,
    /// The payload, without the padding that may follow it.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Checks, in this order: length, magic, version, header length, header checksum, type, extensions that must be
    /// understood, payload length, payload checksum, the numbers of the header.
    ///
    /// # Errors
    /// The first check that failed. Nothing in a datagram that fails is to be believed.
    pub fn parse(bytes: &'a [u8]) -> Result<Datagram<'a>, Invalid> {
        if bytes.len() < HEADER_LENGTH {
            return Err(Invalid::Short { length: bytes.len() });
        }
        if get_u32(bytes, field::MAGIC.start) != MAGIC {
            return Err(Invalid::Magic);
        }
        if bytes[field::VERSION.start] != VERSION {
            return Err(Invalid::Version { version: bytes[field::VERSION.start] });
        }
        let header_length = usize::from(bytes[field::HEADER_LENGTH.start]) * 4;
        if header_length < HEADER_LENGTH || header_length > bytes.len() {
            return Err(Invalid::HeaderLength { length: header_length });
        }
        // A fuzzer would never get past a checksum, so it is built without.
        let checked = !cfg!(fuzzing);
        if checked && header_crc(bytes, header_length) != get_u32(bytes, field::HEADER_CRC.start) {
            return Err(Invalid::HeaderChecksum);
        }
        let kind = bytes[field::KIND.start];
        let Some(kind) = Kind::from_wire(kind) else {
            return Err(Invalid::Kind { kind });
        };
        if header_length > HEADER_LENGTH {
            extension::check(&bytes[HEADER_LENGTH..header_length])?;
        }
        let payload_length = usize::from(get_u16(bytes, field::PAYLOAD_LENGTH.start));
        let Some(payload) = bytes.get(header_length..header_length + payload_length) else {
            return Err(Invalid::PayloadLength { length: payload_length });
        };
        if checked && crc(payload) != get_u32(bytes, field::PAYLOAD_CRC.start) {
            return Err(Invalid::PayloadChecksum);
        }
        let header = Header { kind, ..read_header(bytes) };
        header.check()?;
        Ok(Datagram { header, payload })
    }

    /// Reads again a datagram that `parse` accepted before, without checking it again; `bytes` may go on behind it.
    ///
    /// # Panics
    /// When `bytes` is shorter than its header and payload.
    pub fn reread(bytes: &'a [u8]) -> Datagram<'a> {
        let header_length = usize::from(bytes[field::HEADER_LENGTH.start]) * 4;
        let payload_length = usize::from(get_u16(bytes, field::PAYLOAD_LENGTH.start));
        Datagram {
            header: read_header(bytes),
            payload: &bytes[header_length..header_length + payload_length],
        }
    }
}

/// The fields of a header, of whatever type it is: one that is not known reads as data, and is never believed.
#[inline]
fn read_header(bytes: &[u8]) -> Header {
    Header {
        kind: Kind::from_wire(bytes[field::KIND.start]).unwrap_or(Kind::Data),
        flags: bytes[field::FLAGS.start],
        source: SourceId(get_u64(bytes, field::SOURCE.start)),
        stream: get_u32(bytes, field::STREAM.start),
        sequence: get_u64(bytes, field::SEQUENCE.start),
        message: get_u64(bytes, field::MESSAGE.start),
        sent: get_u64(bytes, field::SENT.start),
        stamp: get_u64(bytes, field::STAMP.start),
    }
}

/// CRC-32 of some bytes.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = hasher();
    crc.update(bytes);
    crc.finalize()
}

/// CRC-32 of the header with its extensions, leaving out the four bytes that hold it.
fn header_crc(bytes: &[u8], header_length: usize) -> u32 {
    let mut crc = hasher();
    crc.update(&bytes[..field::HEADER_CRC.start]);
    if header_length > HEADER_LENGTH {
        crc.update(&bytes[HEADER_LENGTH..header_length]);
    }
    crc.finalize()
}

/// One that has seen nothing. To make one asks what the processor can do, each time, which takes longer than to copy one.
#[inline]
fn hasher() -> crc32fast::Hasher {
    static HASHER: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);
    HASHER.clone()
}

/// Writes a header's checksum: for what changes one, or builds datagrams that `emit` would not (tests of extensions
/// and of refusals).
///
/// # Panics
/// When `datagram` is shorter than its header says.
#[doc(hidden)]
pub fn seal_header(datagram: &mut [u8]) {
    let header_length = usize::from(datagram[field::HEADER_LENGTH.start]) * 4;
    let crc = header_crc(datagram, header_length);
    put_u32(datagram, field::HEADER_CRC.start, crc);
}
