//! What is counted beside what is added up.

use crate::line::{self, Bad, Check, Dialect, Event, Key, Sample, Sink};

/// What came, and what was lost of it here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams, empty ones too.
    pub packets: u64,
    /// Lines that are not blank, bad ones too.
    pub metrics: u64,
    /// Bad lines, and bad elements of lines.
    pub bad: u64,
    /// Datagrams longer than the room there was for one.
    pub truncated: u64,
    /// Fields that nobody knows.
    pub unknown_fields: u64,
    /// Values of series for which there was no room.
    pub excess_series: u64,
    /// Samples of timers for which there was no room: their count is told, their value is not.
    pub excess_samples: u64,
    /// Members of sets for which there was no room.
    pub excess_members: u64,
    /// Samples with a time of their own, which no output here carries yet.
    pub timestamped: u64,
    /// Events and service checks, which no output here carries yet.
    pub events: u64,
    /// One of the bad lines, cut if it is long, and what is wrong with it.
    pub a_bad_line: Option<(Box<[u8]>, Bad)>,
    /// Some of the names for which there was no room, cut if they are long.
    pub excess_names: Vec<Box<str>>,
}

/// Bytes of a line or a name that are kept to be shown.
pub(super) const SHOWN: usize = 200;

/// Names that are kept to be shown.
pub(super) const SHOWN_NAMES: usize = 5;

impl Tally {
    /// Adds another's to it.
    pub fn add(&mut self, other: Tally) {
        self.packets += other.packets;
        self.metrics += other.metrics;
        self.bad += other.bad;
        self.truncated += other.truncated;
        self.unknown_fields += other.unknown_fields;
        self.excess_series += other.excess_series;
        self.excess_samples += other.excess_samples;
        self.excess_members += other.excess_members;
        self.timestamped += other.timestamped;
        self.events += other.events;
        self.a_bad_line = self.a_bad_line.take().or(other.a_bad_line);
        self.excess_names.extend(other.excess_names);
        self.excess_names.truncate(SHOWN_NAMES);
    }

    /// Counts a line that could not even be read.
    pub(super) fn unreadable(&mut self, line: &[u8], why: Bad) {
        self.metrics += 1;
        self.bad(line, why);
    }

    #[cold]
    fn bad(&mut self, line: &[u8], why: Bad) {
        self.bad += 1;
        if self.a_bad_line.is_none() {
            self.a_bad_line = Some((line[..line.len().min(SHOWN)].into(), why));
        }
    }

    /// Counts a datagram. Of one that was cut, the last line is left out.
    #[inline]
    pub(crate) fn datagram<'a>(&mut self, bytes: &'a [u8], truncated: bool) -> &'a [u8] {
        self.packets += 1;
        if !truncated {
            return bytes;
        }
        self.truncated += 1;
        &bytes[..memchr::memrchr(b'\n', bytes).unwrap_or(0)]
    }

    /// Counts lines and what is in them, and has `take` take the samples.
    #[inline]
    pub(crate) fn read(&mut self, lines: &[u8], dialect: Dialect, take: impl FnMut(Key<'_>, Sample<'_>)) {
        let mut counted = Counted { tally: self, take };
        counted.tally.metrics += line::read(lines, dialect, &mut counted);
    }
}

/// Who is told what is in lines.
struct Counted<'a, T> {
    tally: &'a mut Tally,
    take: T,
}

impl<T: FnMut(Key<'_>, Sample<'_>)> Sink for Counted<'_, T> {
    #[inline]
    fn sample(&mut self, key: Key<'_>, sample: Sample<'_>) {
        (self.take)(key, sample);
    }

    fn timestamped(&mut self, _: Key<'_>, _: Sample<'_>, _: u64) {
        self.tally.timestamped += 1;
    }

    fn event(&mut self, _: &Event<'_>) {
        self.tally.events += 1;
    }

    fn check(&mut self, _: &Check<'_>) {
        self.tally.events += 1;
    }

    fn bad(&mut self, line: &[u8], why: Bad) {
        self.tally.bad(line, why);
    }

    #[cold]
    fn unknown_field(&mut self) {
        self.tally.unknown_fields += 1;
    }
}
