//! Where listeners leave what they heard: shards, and whoever it is sent on to.
//!
//! Each series is in one shard, by its name alone, whoever hears it; so its values are added up in the order of their
//! listener. Who listens has one shard at home, to which it adds as it reads, and leaves what belongs to others in their inbox:
//! read once, and added up by whoever holds that shard next. So threads seldom wait for each other, and what a shard has mostly
//! stays in the caches of one processor. Whoever holds a shard has added up what was in its inbox before, and nobody waits for
//! one while holding another.

use crate::line::{Bad, Dialect, Key, Kind};
use crate::name::{self, Identity};
use crate::output::repeater::{Tap, Taps, pieces};
use crate::shard::{self, Idle, Interval, Limits, Shard, Staged, Tally};
use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shard, and what others left for it.
#[derive(Debug)]
struct Place {
    shard: Mutex<Shard>,
    inbox: Mutex<Inbox>,
}

/// On a cache line apart from the shard's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Inbox {
    left: Vec<Staged>,
    bytes: usize,
    /// Emptied, to be filled again.
    spare: Vec<Staged>,
}

/// Bytes in an inbox from which on they are added up by whoever leaves them.
const FULL: usize = 256 << 10;

/// Buffers that are kept for an inbox.
const SPARE: usize = 8;

impl Place {
    /// Adds up what was left until now.
    fn settle(&self, shard: &mut Shard) {
        let mut left = {
            let mut inbox = self.inbox.lock();
            inbox.bytes = 0;
            mem::take(&mut inbox.left)
        };
        if left.is_empty() {
            return;
        }
        left.iter_mut().for_each(|staged| shard.settle(staged));
        let spare = &mut self.inbox.lock().spare;
        spare.append(&mut left);
        spare.truncate(SPARE);
    }

    /// The shard, and in it what was left for it.
    fn hold(&self) -> MutexGuard<'_, Shard> {
        let mut shard = self.shard.lock();
        self.settle(&mut shard);
        shard
    }

    /// As [`Place::hold`], if nobody else holds it.
    fn try_hold(&self) -> Option<MutexGuard<'_, Shard>> {
        let mut shard = self.shard.try_lock()?;
        self.settle(&mut shard);
        Some(shard)
    }

    /// Leaves something, and takes an empty buffer for it; whether there is so much that it is to be added up now.
    fn leave(&self, staged: &mut Staged) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.bytes += staged.bytes();
        let spare = inbox.spare.pop().unwrap_or_default();
        inbox.left.push(mem::replace(staged, spare));
        inbox.bytes >= FULL
    }
}

/// Where listeners leave what they heard.
#[derive(Clone, Debug)]
pub struct Intake {
    places: Arc<[Place]>,
    /// Who listens next is at home here.
    home: Arc<AtomicUsize>,
    hasher: DefaultHashBuilder,
    taps: Arc<Taps>,
}

impl Intake {
    /// Into so many shards (at least one), which share the limits evenly, and to whom `taps` have.
    #[must_use]
    pub fn new(shards: usize, limits: Limits, idle: Idle, taps: Arc<Taps>) -> Intake {
        let count = shards.max(1);
        let hasher = DefaultHashBuilder::default();
        let place = |_| Place {
            shard: Mutex::new(Shard::with_hasher(limits.part(count), idle, hasher.clone())),
            inbox: Mutex::default(),
        };
        Intake { places: (0..count).map(place).collect(), home: Arc::default(), hasher, taps }
    }

    /// What a thread that listens leaves things with.
    #[must_use]
    pub fn feed(&self) -> Feed {
        let staged = self.places.iter().map(|_| Staged::default()).collect();
        let home = self.home.fetch_add(1, Ordering::Relaxed) % self.places.len();
        Feed { intake: self.clone(), home, staged, tally: Tally::default() }
    }

    /// Other bounds and another life of what is idle, from now on. What is there already stays.
    pub fn set(&self, limits: Limits, idle: Idle) {
        for place in &*self.places {
            place.hold().set(limits.part(self.places.len()), idle);
        }
    }

    /// Ends the interval: what each shard added up.
    #[must_use]
    pub fn take(&self) -> Vec<Interval> {
        self.places.iter().map(|place| place.hold().take()).collect()
    }

    /// The shard of a series, and what it is looked up by there.
    #[inline]
    fn place(&self, kind: Kind, key: Key<'_>) -> (usize, u64) {
        let name = shard::hash_bytes(&self.hasher, key.name);
        let hash = shard::hash(&self.hasher, name, kind, key.tags);
        if self.places.len() == 1 {
            return (0, hash);
        }
        // By its name as it is once cleaned, without tags.
        let clean = match name::plain(key.name) {
            Some(plain) if plain.len() == key.name.len() => name,
            Some(plain) => shard::hash_bytes(&self.hasher, plain),
            None => Identity::new(key.name, &[])
                .map_or(0, |identity| shard::hash_bytes(&self.hasher, identity.name().as_bytes())),
        };
        // By bits in the middle, since tables use the upper and the lower ones.
        let middle = (clean >> 16) & 0xffff_ffff;
        (((middle * self.places.len() as u64) >> 32) as usize, hash)
    }

    /// What came in this interval until now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.places.iter().for_each(|place| sum.add(place.hold().tally().clone()));
        sum
    }

    /// See [`Shard::counters`].
    #[must_use]
    pub fn counters(&self) -> Vec<(Arc<Identity>, f64)> {
        self.places.iter().flat_map(|place| place.hold().counters()).collect()
    }

    /// See [`Shard::gauges`].
    #[must_use]
    pub fn gauges(&self) -> Vec<(Arc<Identity>, f64)> {
        self.places.iter().flat_map(|place| place.hold().gauges()).collect()
    }

    /// See [`Shard::timers`].
    #[must_use]
    pub fn timers(&self, most: usize) -> Vec<(Arc<Identity>, Vec<f64>, usize)> {
        self.places.iter().flat_map(|place| place.hold().timers(most)).collect()
    }

    /// See [`Shard::delete`].
    #[must_use]
    pub fn delete(&self, kind: Kind, name: &str) -> Vec<Arc<Identity>> {
        self.places.iter().flat_map(|place| place.hold().delete(kind, name)).collect()
    }
}

/// See [`Intake::feed`].
#[derive(Debug)]
pub struct Feed {
    intake: Intake,
    /// The place of its own shard.
    home: usize,
    /// What was read, by shard; empty between batches.
    staged: Vec<Staged>,
    /// What is counted of it.
    tally: Tally,
}

impl Feed {
    /// Begins to leave something, all of which is there at the end of the batch.
    pub fn begin(&mut self, dialect: Dialect) -> Batch<'_> {
        let taps = self.intake.taps.all();
        let Feed { intake, home, staged, tally } = self;
        let direct = intake.places[*home].try_hold().filter(|shard| shard.is_small());
        Batch { intake, home: *home, direct, staged, tally, taps, dialect }
    }

    /// Counts a line that could not even be read.
    pub fn unreadable(&self, line: &[u8], why: Bad) {
        self.intake.places[self.home].hold().unreadable(line, why);
    }
}

/// What is left at once.
#[derive(Debug)]
pub struct Batch<'a> {
    intake: &'a Intake,
    home: usize,
    /// The shard at home, where it was free and adding to it at once is cheaper than to stage.
    direct: Option<MutexGuard<'a, Shard>>,
    staged: &'a mut [Staged],
    tally: &'a mut Tally,
    taps: Vec<Arc<Tap>>,
    dialect: Dialect,
}

impl Batch<'_> {
    /// Adds up what a datagram holds. Of one that was cut, the last line is left out: it may have been cut to another that
    /// looks good.
    #[inline]
    pub fn datagram(&mut self, bytes: &[u8], truncated: bool) {
        let bytes = self.tally.datagram(bytes, truncated);
        self.read(bytes);
        for tap in &self.taps {
            tap.leave(bytes);
        }
    }

    /// Adds up whole lines of a stream.
    pub fn lines(&mut self, lines: &[u8]) {
        self.read(lines);
        for tap in &self.taps {
            pieces(lines).for_each(|piece| tap.leave(piece));
        }
    }

    #[inline]
    fn read(&mut self, lines: &[u8]) {
        let Batch { intake, home, direct, staged, tally, dialect, .. } = self;
        tally.read(lines, *dialect, |key, sample| {
            let (at, hash) = intake.place(sample.kind(), key);
            match direct {
                Some(shard) if at == *home => shard.sample(hash, key, sample),
                _ => staged[at].push(hash, key, sample),
            }
        });
        for at in 0..self.staged.len() {
            if self.staged[at].is_full() {
                self.leave(at);
            }
        }
    }

    /// Leaves what is staged for a shard there.
    fn leave(&mut self, at: usize) {
        let place = &self.intake.places[at];
        if at == self.home {
            place.hold().settle(&mut self.staged[at]);
        } else if place.leave(&mut self.staged[at]) {
            // From here on what belongs home is staged.
            self.direct = None;
            drop(place.hold());
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for at in 0..self.staged.len() {
            if at != self.home && !self.staged[at].is_empty() {
                self.leave(at);
            }
        }
        let home = &self.intake.places[self.home];
        let mut shard = self.direct.take().unwrap_or_else(|| home.hold());
        shard.settle(&mut self.staged[self.home]);
        shard.count(mem::take(self.tally));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_that_nobody_empties_does_not_grow() {
        let intake = Intake::new(2, Limits::default(), Idle::default(), Arc::default());
        let mut feed = intake.feed();
        let lines: String = (0..1000).map(|at| format!("name.{at}:1|c\n")).collect();
        let mut most = 0;
        for _ in 0..100 {
            feed.begin(Dialect::Statsd).datagram(lines.as_bytes(), false);
            most = most.max(intake.places[1].inbox.lock().bytes);
        }
        assert!(most > 0 && most < FULL, "{most}");
        let sums: Vec<_> = intake.counters().into_iter().map(|(_, sum)| sum).collect();
        assert_eq!(sums, [100.0; 1000]);
    }

    /// By chance 23 of 40,000 shards have none of so many names, and 60 or more once in 10^10 times.
    #[test]
    fn short_names_are_spread_over_the_shards() {
        let mut empty = 0;
        for _ in 0..5000 {
            let intake = Intake::new(8, Limits::default(), Idle::default(), Arc::default());
            let mut named = [0; 8];
            for at in 0..56 {
                let name = format!("c.{at}");
                named[intake.place(Kind::Counter, Key { name: name.as_bytes(), tags: &[] }).0] += 1;
            }
            empty += named.iter().filter(|&&named| named == 0).count();
        }
        assert!(empty < 60, "{empty}");
    }

    #[test]
    fn a_home_that_somebody_holds_is_no_reason_to_wait() {
        let intake = Intake::new(1, Limits::default(), Idle::default(), Arc::default());
        let (mut one, mut other) = (intake.feed(), intake.feed());
        let mut first = one.begin(Dialect::Statsd);
        let mut second = other.begin(Dialect::Statsd);
        assert!(first.direct.is_some() && second.direct.is_none());
        second.datagram(b"g:+1|g", false);
        first.datagram(b"g:2|g", false);
        drop(first);
        drop(second);
        assert_eq!(intake.gauges()[0].1, 3.0);
    }
}
