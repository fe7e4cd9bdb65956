//! Where listeners leave what they heard: shards, and whoever it is sent on to.
//!
//! Each series is in one shard, by its name alone, whoever hears it; so its values are added up in the order of their
//! listener. With several shards, lines are sorted by shard first and left there a batch at a time, so that listeners
//! mostly find another shard free while one is held.

use crate::line::{self, Bad, Dialect, Kind};
use crate::name::{self, Identity};
use crate::output::repeater::{Tap, Taps, pieces};
use crate::shard::{Idle, Interval, Limits, Shard, Tally};
use hashbrown::DefaultHashBuilder;
use memchr::{memchr, memrchr};
use parking_lot::{Mutex, MutexGuard};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Where listeners leave what they heard.
#[derive(Clone, Debug)]
pub struct Intake {
    shards: Arc<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    taps: Arc<Taps>,
}

impl Intake {
    /// Into so many shards (at least one), which share the limits evenly, and to whom `taps` have.
    #[must_use]
    pub fn new(shards: usize, limits: Limits, idle: Idle, taps: Arc<Taps>) -> Intake {
        let count = shards.max(1);
        let shard = |_| Mutex::new(Shard::new(limits.part(count), idle));
        Intake { shards: (0..count).map(shard).collect(), hasher: DefaultHashBuilder::default(), taps }
    }

    /// What a thread that listens leaves things with.
    #[must_use]
    pub fn feed(&self) -> Feed {
        Feed { intake: self.clone(), sorted: vec![Vec::new(); self.shards.len()] }
    }

    /// Other bounds and another life of what is idle, from now on. What is there already stays.
    pub fn set(&self, limits: Limits, idle: Idle) {
        for shard in &*self.shards {
            shard.lock().set(limits.part(self.shards.len()), idle);
        }
    }

    /// Ends the interval: what each shard added up.
    #[must_use]
    pub fn take(&self) -> Vec<Interval> {
        self.shards.iter().map(|shard| shard.lock().take()).collect()
    }

    /// What came in this interval until now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.shards.iter().for_each(|shard| sum.add(shard.lock().tally().clone()));
        sum
    }

    /// See [`Shard::counters`].
    #[must_use]
    pub fn counters(&self) -> Vec<(Arc<Identity>, f64)> {
        self.shards.iter().flat_map(|shard| shard.lock().counters()).collect()
    }

    /// See [`Shard::gauges`].
    #[must_use]
    pub fn gauges(&self) -> Vec<(Arc<Identity>, f64)> {
        self.shards.iter().flat_map(|shard| shard.lock().gauges()).collect()
    }

    /// See [`Shard::timers`].
    #[must_use]
    pub fn timers(&self, most: usize) -> Vec<(Arc<Identity>, Vec<f64>, usize)> {
        self.shards.iter().flat_map(|shard| shard.lock().timers(most)).collect()
    }

    /// See [`Shard::delete`].
    #[must_use]
    pub fn delete(&self, kind: Kind, name: &str) -> Vec<Arc<Identity>> {
        self.shards.iter().flat_map(|shard| shard.lock().delete(kind, name)).collect()
    }

    /// The shard of a line: by its name as it is once cleaned, without tags.
    #[inline]
    fn place(&self, line: &[u8]) -> usize {
        let name = &line[..memchr(b':', line).unwrap_or(line.len())];
        let hash = match name::plain(name) {
            Some(name) => self.hasher.hash_one(name),
            None => match Identity::new(name, &[]) {
                Some(identity) => self.hasher.hash_one(identity.name().as_bytes()),
                None => 0,
            },
        };
        // The upper half, since tables use the lower bits.
        (hash >> 32) as usize % self.shards.len()
    }
}

/// See [`Intake::feed`].
#[derive(Debug)]
pub struct Feed {
    intake: Intake,
    /// Lines by shard; empty between batches.
    sorted: Vec<Vec<u8>>,
}

/// A buffer that grew beyond this is not kept.
const KEPT: usize = 1 << 20;

impl Feed {
    /// Begins to leave something, which is there at the end of the batch.
    pub fn begin(&mut self, dialect: Dialect) -> Batch<'_> {
        let Feed { intake, sorted } = self;
        let alone = match &*intake.shards {
            [shard] => Some(shard.lock()),
            _ => None,
        };
        let taps = intake.taps.all();
        Batch { intake, sorted, alone, taps, dialect, packets: 0, truncated: 0 }
    }

    /// Counts a line that could not even be read.
    pub fn unreadable(&self, line: &[u8], why: Bad) {
        self.intake.shards[0].lock().unreadable(line, why);
    }
}

/// What is left at once. A shard that is the only one is held until the end.
#[derive(Debug)]
pub struct Batch<'a> {
    intake: &'a Intake,
    sorted: &'a mut Vec<Vec<u8>>,
    alone: Option<MutexGuard<'a, Shard>>,
    taps: Vec<Arc<Tap>>,
    dialect: Dialect,
    packets: u64,
    truncated: u64,
}

impl Batch<'_> {
    /// Adds up what a datagram holds. Of one that was cut, the last line is left out: it may have been cut to another that
    /// looks good.
    #[inline]
    pub fn datagram(&mut self, bytes: &[u8], truncated: bool) {
        self.add(bytes, truncated);
        for tap in &self.taps {
            let end = if truncated { memrchr(b'\n', bytes).unwrap_or(0) } else { bytes.len() };
            tap.leave(&bytes[..end]);
        }
    }

    /// Adds up whole lines of a stream.
    pub fn lines(&mut self, lines: &[u8]) {
        self.add(lines, false);
        for tap in &self.taps {
            pieces(lines).for_each(|piece| tap.leave(piece));
        }
    }

    #[inline]
    fn add(&mut self, bytes: &[u8], truncated: bool) {
        match &mut self.alone {
            Some(shard) => shard.datagram(bytes, truncated, self.dialect),
            None => self.sort(bytes, truncated),
        }
    }

    fn sort(&mut self, bytes: &[u8], truncated: bool) {
        self.packets += 1;
        self.truncated += u64::from(truncated);
        let end = if truncated { memrchr(b'\n', bytes).unwrap_or(0) } else { bytes.len() };
        for line in line::lines(&bytes[..end]) {
            let lines = &mut self.sorted[self.intake.place(line)];
            lines.extend(line);
            if line.ends_with(b"\r") {
                // One is dropped when lines are cut again, and this one is the line's own.
                lines.push(b'\r');
            }
            lines.push(b'\n');
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.alone.is_some() {
            return;
        }
        let mut counts = (self.packets, self.truncated);
        let mut leave = |shard: &mut Shard, lines: &mut Vec<u8>| {
            let (packets, truncated) = std::mem::take(&mut counts);
            shard.lines(lines, self.dialect, packets, truncated);
            lines.clear();
            lines.shrink_to(KEPT);
        };
        // Those that are free first, then whoever has to be waited for.
        for (shard, lines) in self.intake.shards.iter().zip(self.sorted.iter_mut()) {
            if !lines.is_empty()
                && let Some(mut shard) = shard.try_lock()
            {
                leave(&mut shard, lines);
            }
        }
        for (shard, lines) in self.intake.shards.iter().zip(self.sorted.iter_mut()) {
            if !lines.is_empty() {
                leave(&mut shard.lock(), lines);
            }
        }
        // Datagrams without a line.
        if counts.0 > 0 {
            self.intake.shards[0].lock().lines(&[], self.dialect, counts.0, counts.1);
        }
    }
}
