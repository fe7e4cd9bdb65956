//! Where listeners leave what they heard: a shard, and whoever it is sent on to.

use crate::line::{Bad, Dialect};
use crate::output::repeater::{Tap, Taps};
use crate::shard::Shard;
use memchr::memrchr;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// Bytes of a stream's lines that are sent on in one datagram at most, unless a line is longer: they fit an Ethernet frame.
const PIECE: usize = 1432;

/// Where listeners leave what they heard.
#[derive(Clone, Debug)]
pub struct Intake {
    shard: Arc<Mutex<Shard>>,
    taps: Arc<Taps>,
}

impl Intake {
    /// Into a shard, and to whom `taps` have.
    #[must_use]
    pub fn new(shard: Arc<Mutex<Shard>>, taps: Arc<Taps>) -> Intake {
        Intake { shard, taps }
    }

    /// Begins to leave something: the shard is held until the end.
    pub(crate) fn begin(&self, dialect: Dialect) -> Batch<'_> {
        Batch { shard: self.shard.lock(), taps: self.taps.all(), dialect }
    }

    /// Counts a line that could not even be read.
    pub(crate) fn unreadable(&self, line: &[u8], why: Bad) {
        self.shard.lock().unreadable(line, why);
    }
}

/// See [`Intake::begin`].
pub(crate) struct Batch<'a> {
    shard: MutexGuard<'a, Shard>,
    taps: Vec<Arc<Tap>>,
    dialect: Dialect,
}

impl Batch<'_> {
    /// Adds up what a datagram holds. Of one that was cut, the last line is left out: it may have been cut to another that
    /// looks good.
    #[inline]
    pub(crate) fn datagram(&mut self, bytes: &[u8], truncated: bool) {
        self.shard.datagram(bytes, truncated, self.dialect);
        for tap in &self.taps {
            let end = if truncated { memrchr(b'\n', bytes).unwrap_or(0) } else { bytes.len() };
            tap.leave(&bytes[..end]);
        }
    }

    /// Adds up whole lines of a stream.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        self.shard.datagram(lines, false, self.dialect);
        if self.taps.is_empty() {
            return;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            let end = match rest.get(..PIECE) {
                None => rest.len(),
                // A line that is longer goes alone.
                Some(piece) => memrchr(b'\n', piece)
                    .or_else(|| memchr::memchr(b'\n', rest))
                    .map_or(rest.len(), |at| at + 1),
            };
            self.taps.iter().for_each(|tap| tap.leave(&rest[..end]));
            rest = &rest[end..];
        }
    }
}
