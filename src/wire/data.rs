//! What data and repairs carry: records of whole messages, or one fragment of a message too large for a datagram.

use super::bytes::{get_u16, get_u32, put_u32};
use super::invalid::Invalid;

/// Bytes before each message in a datagram: length (2), flags (1), extension length in 4-byte units (1).
pub const RECORD_LENGTH: usize = 4;
/// Bytes before a fragment: offset in its message (4), length of the message (4).
pub const FRAGMENT_LENGTH: usize = 8;

/// Writes the head of a record for a message of `length` bytes, which the caller puts after it.
///
/// # Panics
/// When `payload` is shorter than a record's head.
#[inline]
pub fn emit_record(payload: &mut [u8], length: u16) {
    payload[..RECORD_LENGTH].copy_from_slice(&record_head(length));
}

/// The head of a record for a message of `length` bytes, which follows it.
#[inline]
pub fn record_head(length: u16) -> [u8; RECORD_LENGTH] {
    let [high, low] = length.to_be_bytes();
    [high, low, 0, 0]
}

/// Where the message whose record begins at `at` of `payload` begins and ends; the next record begins where it ends.
/// `None` when the record does not fit.
#[inline]
fn record(payload: &[u8], at: usize) -> Option<(usize, usize)> {
    let head = payload.get(at..)?.first_chunk::<RECORD_LENGTH>()?;
    let begin = at + RECORD_LENGTH + usize::from(head[3]) * 4;
    let end = begin + usize::from(get_u16(head, 0));
    (end <= payload.len()).then_some((begin, end))
}

/// The records of a datagram, all found to lie inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    payload: &'a [u8],
    count: u32,
}

impl<'a> Records<'a> {
    /// Finds every record.
    ///
    /// # Errors
    /// [`Invalid::Records`] when they do not fill the payload exactly, or there is none.
    pub fn parse(payload: &'a [u8]) -> Result<Records<'a>, Invalid> {
        let mut at = 0;
        let mut count = 0;
        while at < payload.len() {
            (_, at) = record(payload, at).ok_or(Invalid::Records)?;
            count += 1;
        }
        if count == 0 { Err(Invalid::Records) } else { Ok(Records { payload, count }) }
    }

    /// How many messages there are: at least one.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl<'a> IntoIterator for Records<'a> {
    type Item = &'a [u8];
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        Messages { payload: self.payload, at: 0 }
    }
}

/// The messages of a datagram, in order.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (begin, end) = next_message(self.payload, self.at)?;
        self.at = end;
        Some(&self.payload[begin..end])
    }
}

/// The message whose record begins at `at` of a payload: where it begins and ends. The next record begins where it
/// ends. `None` after the last one.
#[inline]
pub fn next_message(payload: &[u8], at: usize) -> Option<(usize, usize)> {
    record(payload, at)
}

/// One fragment of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Where in the message it lies, in bytes.
    pub offset: u32,
    /// Length of the whole message, in bytes.
    pub total: u32,
    /// Its bytes: at least one.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`Invalid::Fragment`] when it is empty or lies outside its message.
    pub fn parse(payload: &'a [u8]) -> Result<Fragment<'a>, Invalid> {
        if payload.len() <= FRAGMENT_LENGTH {
            return Err(Invalid::Fragment);
        }
        let fragment = Fragment {
            offset: get_u32(payload, 0),
            total: get_u32(payload, 4),
            bytes: &payload[FRAGMENT_LENGTH..],
        };
        if u64::from(fragment.offset) + fragment.bytes.len() as u64 > u64::from(fragment.total) {
            return Err(Invalid::Fragment);
        }
        Ok(fragment)
    }

    /// Whether its message begins with it.
    pub fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Whether its message ends with it.
    pub fn is_last(&self) -> bool {
        self.offset as usize + self.bytes.len() == self.total as usize
    }
}

/// Writes the head of a fragment; the caller puts its bytes after it.
///
/// # Panics
/// When `payload` is shorter than a fragment's head.
#[inline]
pub fn emit_fragment(payload: &mut [u8], offset: u32, total: u32) {
    put_u32(payload, 0, offset);
    put_u32(payload, 4, total);
}
