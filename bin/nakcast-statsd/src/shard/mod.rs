//! Where series are added up.
//!
//! A shard owns its series: whoever holds it adds to them without asking anybody. A name that came before, byte by byte, is
//! found by its hash and compared; only a new spelling is cleaned and looked up by what it means. What was read without the
//! shard is staged, with its hash, and then looked up together.

mod cells;
mod staged;
mod tally;
mod timer;

pub(crate) use staged::Staged;
pub use tally::Tally;

use crate::distinct::{Distinct, Estimate};
use crate::line::{Bad, Dialect, Key, Kind, Sample};
use crate::name::Identity;
use crate::samples::Samples;
use cells::Cells;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::mem;
use std::sync::Arc;
use tally::{SHOWN, SHOWN_NAMES};
use timer::Timer;

/// What bounds a shard's memory. What is beyond is counted, and not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series of all kinds together: 1,000,000 by default.
    pub series: usize,
    /// Bytes of their names and tags, and as many again of the spellings they came in: 256 MiB by default.
    pub name_bytes: usize,
    /// Timers' samples of an interval, of 8 bytes each, or 16 of a timer whose rates differ: 16,777,216 by default.
    pub samples: usize,
    /// Samples of one timer in an interval up to which it is exact: 1,000,000 by default. With more, or when there is no room
    /// for another sample, it becomes a [`crate::sketch`].
    pub timer_values: usize,
    /// Timers that are sketches in an interval, of at most 64 KiB each, or 128 of a timer whose rates differ: 2,048 by
    /// default.
    pub sketches: usize,
    /// Bytes of the sets' members of an interval: 128 MiB by default.
    pub member_bytes: usize,
    /// Distinct members of one set in an interval up to which it is exact: 1,000,000 by default. With more, or when there is no
    /// room for another member, it becomes an estimate, as of [`crate::distinct`].
    pub set_members: usize,
    /// Sets that are estimates in an interval, of 16 KiB each: 2,048 by default.
    pub estimates: usize,
}

impl Limits {
    /// What one of so many shards may have.
    pub(crate) fn part(self, shards: usize) -> Limits {
        Limits {
            series: self.series.div_ceil(shards),
            name_bytes: self.name_bytes.div_ceil(shards),
            samples: self.samples.div_ceil(shards),
            // A series is in one shard.
            timer_values: self.timer_values,
            sketches: self.sketches.div_ceil(shards),
            member_bytes: self.member_bytes.div_ceil(shards),
            set_members: self.set_members,
            estimates: self.estimates.div_ceil(shards),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            series: 1_000_000,
            name_bytes: 256 << 20,
            samples: 1 << 24,
            timer_values: 1_000_000,
            sketches: 2048,
            member_bytes: 128 << 20,
            set_members: 1_000_000,
            estimates: 2048,
        }
    }
}

/// What becomes of series that nothing came for in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// Counters are not told, and forgotten.
    pub delete_counters: bool,
    /// Timers are not told, and forgotten.
    pub delete_timers: bool,
    /// Sets are not told, and forgotten.
    pub delete_sets: bool,
    /// Gauges are told so many times since they last came (at least once), and then forgotten; `None` keeps them.
    pub gauge_life: Option<u32>,
}

/// What a shard added up.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Counters' sums.
    pub counters: Vec<(Arc<Identity>, f64)>,
    /// Gauges' values.
    pub gauges: Vec<(Arc<Identity>, f64)>,
    /// Timers' samples.
    pub timers: Vec<(Arc<Identity>, Samples)>,
    /// How many distinct members sets had.
    pub sets: Vec<(Arc<Identity>, Distinct)>,
    /// What came in.
    pub tally: Tally,
}

#[derive(Debug, Default)]
struct Gauge {
    value: f64,
    /// How often it is told yet, unless something comes.
    left: u32,
}

#[derive(Debug, Default)]
struct Members {
    members: HashSet<Box<[u8]>>,
    /// What stands for them when they were too many.
    estimate: Option<Box<Estimate>>,
}

impl Members {
    fn take(&mut self) -> Distinct {
        let members = mem::take(&mut self.members).len();
        match self.estimate.take() {
            Some(estimate) => Distinct { count: estimate.count(), is_estimated: true },
            None => Distinct { count: members, is_estimated: false },
        }
    }
}

/// What the table takes for a member, beside its bytes.
const MEMBER: usize = 32;

/// Spellings of a table that is small: of 64 bytes each, of which the nearer caches of a processor keep most while the kernel
/// receives. With fewer adding at once measures better (with 1,000), with more staging does (with 10,000).
const SMALL: usize = 1 << 12;

/// A spelling of a series, and where the series is, in one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Known {
    /// Name and tags as they came.
    bytes: Bytes,
    /// How many of the bytes are the name.
    name: u32,
    kind: Kind,
    at: u32,
}

/// Bytes that lie in the table itself where they are few, as they mostly are: what is looked up is then compared without
/// another trip to memory.
#[derive(Debug)]
enum Bytes {
    Few(u8, [u8; FEW]),
    Many(Box<[u8]>),
}

/// With these a [`Known`] is no larger than that.
const FEW: usize = 46;
const _: () = assert!(size_of::<Known>() == 64);

impl Bytes {
    fn new(key: Key<'_>) -> Bytes {
        let length = key.name.len() + key.tags.len();
        let mut few = [0; FEW];
        match few.get_mut(..length) {
            Some(room) => {
                let (name, tags) = room.split_at_mut(key.name.len());
                name.copy_from_slice(key.name);
                tags.copy_from_slice(key.tags);
                Bytes::Few(length as u8, few)
            }
            None => Bytes::Many([key.name, key.tags].concat().into_boxed_slice()),
        }
    }

    #[inline]
    fn all(&self) -> &[u8] {
        match self {
            Bytes::Few(length, bytes) => &bytes[..usize::from(*length)],
            Bytes::Many(bytes) => bytes,
        }
    }
}

/// Whether bytes are the same: sixteen at a time, and of the rest the last sixteen. In place, since a call of the C library's
/// way took up to twice as long as all the rest of a metric.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && match (a.last_chunk::<16>(), b.last_chunk::<16>()) {
            (Some(end), Some(other)) => {
                end == other && a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0).all(|(a, b)| a == b)
            }
            _ => a.iter().zip(b).all(|(a, b)| a == b),
        }
}

impl Known {
    #[inline]
    fn is(&self, key: Key<'_>) -> bool {
        let Key { name, tags } = self.key();
        is_same(key.name, name) && is_same(key.tags, tags)
    }

    #[inline]
    fn key(&self) -> Key<'_> {
        let (name, tags) = self.bytes.all().split_at(self.name as usize);
        Key { name, tags }
    }
}

/// Series, and what adds to them.
#[derive(Debug)]
pub struct Shard {
    limits: Limits,
    idle: Idle,
    hasher: DefaultHashBuilder,
    known: HashTable<Known>,
    known_bytes: usize,
    /// Where in the table what is being added up may be; empty otherwise.
    places: Vec<usize>,
    counters: Cells<f64>,
    gauges: Cells<Gauge>,
    timers: Cells<Timer>,
    sets: Cells<Members>,
    series: usize,
    series_bytes: usize,
    samples: usize,
    sketches: usize,
    member_bytes: usize,
    estimates: usize,
    tally: Tally,
}

/// What a series is looked up by, whose name has this hash.
#[inline]
pub(crate) fn hash(hasher: &DefaultHashBuilder, name: u64, kind: Kind, tags: &[u8]) -> u64 {
    // Kinds differ in every part of it: tables use the upper and the lower bits.
    let hash = name ^ (kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if tags.is_empty() { hash } else { hash.rotate_left(32) ^ hash_bytes(hasher, tags) }
}

/// The hash of a name.
#[inline]
pub(crate) fn hash_bytes(hasher: &DefaultHashBuilder, bytes: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(bytes);
    // Of few bytes alone it would not be spread well; with this it is mixed once more.
    hasher.write_u8(0xff);
    hasher.finish()
}

#[inline]
fn by_key(hasher: &DefaultHashBuilder, kind: Kind, key: Key<'_>) -> u64 {
    hash(hasher, hash_bytes(hasher, key.name), kind, key.tags)
}

impl Shard {
    /// A shard without series.
    #[must_use]
    pub fn new(limits: Limits, idle: Idle) -> Shard {
        Shard::with_hasher(limits, idle, DefaultHashBuilder::default())
    }

    /// A shard that is told hashes by whoever has the same hasher.
    pub(crate) fn with_hasher(limits: Limits, idle: Idle, hasher: DefaultHashBuilder) -> Shard {
        Shard {
            limits,
            idle,
            hasher,
            places: Vec::new(),
            known: HashTable::new(),
            known_bytes: 0,
            counters: Cells::new(),
            gauges: Cells::new(),
            timers: Cells::new(),
            sets: Cells::new(),
            series: 0,
            series_bytes: 0,
            samples: 0,
            sketches: 0,
            estimates: 0,
            member_bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Adds up what a datagram holds. Of one that was cut, the last line is left out: it may have been cut to another that
    /// looks good.
    pub fn datagram(&mut self, bytes: &[u8], truncated: bool, dialect: Dialect) {
        let mut tally = Tally::default();
        let lines = tally.datagram(bytes, truncated);
        tally.read(lines, dialect, |key, sample| {
            self.sample(by_key(&self.hasher, sample.kind(), key), key, sample);
        });
        self.tally.add(tally);
    }

    /// Counts what was read elsewhere.
    pub(crate) fn count(&mut self, tally: Tally) {
        self.tally.add(tally);
    }

    /// Whether its table mostly lies in a processor's caches, so that looking many up together wins nothing.
    pub(crate) fn is_small(&self) -> bool {
        self.known.len() < SMALL
    }

    /// Adds up one value of what is looked up by a hash.
    #[inline]
    pub(crate) fn sample(&mut self, hash: u64, key: Key<'_>, sample: Sample<'_>) {
        if let Some(at) = self.place(hash, sample.kind(), key) {
            self.add(at, sample);
        }
    }

    /// Adds up what was read elsewhere, and empties it.
    pub(crate) fn settle(&mut self, staged: &mut Staged) {
        // Where what has a hash stands, and then what stands there, is read for all before any is added to, so that one trip to
        // memory does not wait for another. Whether it is what is meant, as it mostly is, is compared then.
        let mut places = mem::take(&mut self.places);
        places.extend(staged.hashes().map(|hash| self.known.find_bucket_index(hash, |_| true).unwrap_or(0)));
        for &place in &places {
            black_box(self.known.get_bucket(place).map(|known| known.at));
        }
        let mut likely = places.iter();
        staged.each(|hash, key, sample| {
            let kind = sample.kind();
            let at = match likely.next().and_then(|&place| self.known.get_bucket(place)) {
                Some(known) if known.kind == kind && known.is(key) => Some(known.at),
                _ => self.place(hash, kind, key),
            };
            if let Some(at) = at {
                self.add(at, sample);
            }
        });
        places.clear();
        self.places = places;
        staged.clear();
    }

    /// Counts a line that could not even be read.
    pub fn unreadable(&mut self, line: &[u8], why: Bad) {
        self.tally.unreadable(line, why);
    }

    /// Other bounds and another life of what is idle, from now on. What is there already stays.
    pub fn set(&mut self, limits: Limits, idle: Idle) {
        (self.limits, self.idle) = (limits, idle);
    }

    /// What came in this interval until now.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The counters' sums until now, in the order of their places: mostly that in which they first came.
    #[must_use]
    pub fn counters(&self) -> Vec<(Arc<Identity>, f64)> {
        self.counters.all().map(|(series, &sum)| (Arc::clone(series), sum)).collect()
    }

    /// The gauges' values, likewise.
    #[must_use]
    pub fn gauges(&self) -> Vec<(Arc<Identity>, f64)> {
        self.gauges.all().map(|(series, gauge)| (Arc::clone(series), gauge.value)).collect()
    }

    /// The timers' first samples of this interval, and how many there are, likewise.
    #[must_use]
    pub fn timers(&self, most: usize) -> Vec<(Arc<Identity>, Vec<f64>, usize)> {
        let timers = self.timers.all().map(|(series, timer)| {
            let values = &timer.samples.values;
            (Arc::clone(series), values[..values.len().min(most)].to_vec(), values.len())
        });
        timers.collect()
    }

    /// Forgets series of a kind: the one named so, with its tags, or if the name ends in `.*` those that begin with what
    /// stands before the `*`. What they had is not told any more.
    pub fn delete(&mut self, kind: Kind, name: &str) -> Vec<Arc<Identity>> {
        let gone = match kind {
            Kind::Counter => self.counters.delete(name),
            Kind::Gauge => self.gauges.delete(name),
            Kind::Timer => self.timers.delete(name),
            Kind::Set => self.sets.delete(name),
        };
        if !gone.is_empty() {
            self.forget_spellings();
            self.series -= gone.len();
            self.series_bytes -= gone.iter().map(|series| series.as_str().len()).sum::<usize>();
        }
        gone
    }

    /// How many series there are.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series
    }

    /// Ends the interval: what was added up, and what becomes of what is idle.
    pub fn take(&mut self) -> Interval {
        let idle = self.idle;
        let (counters, gone_counters) =
            self.counters.take(|value, came| (came || !idle.delete_counters).then(|| mem::take(value)));
        let (gauges, gone_gauges) = self.gauges.take(|gauge, came| {
            let value = gauge.value;
            if let Some(life) = idle.gauge_life {
                gauge.left = if came { life.max(1) } else { gauge.left }.checked_sub(1)?;
                if gauge.left == 0 {
                    // It is not there any more for what comes to change it.
                    gauge.value = 0.0;
                }
            }
            Some(value)
        });
        let (timers, gone_timers) =
            self.timers.take(|timer, came| (came || !idle.delete_timers).then(|| timer.take()));
        let (sets, gone_sets) = self.sets.take(|set, came| (came || !idle.delete_sets).then(|| set.take()));
        let gone = [gone_counters, gone_gauges, gone_timers, gone_sets];
        if gone.iter().any(|gone| gone.series > 0) {
            // Spellings lead to places that others may have by and by.
            self.forget_spellings();
            self.series -= gone.iter().map(|gone| gone.series).sum::<usize>();
            self.series_bytes -= gone.iter().map(|gone| gone.bytes).sum::<usize>();
        }
        (self.samples, self.sketches) = (0, 0);
        (self.member_bytes, self.estimates) = (0, 0);
        Interval { counters, gauges, timers, sets, tally: mem::take(&mut self.tally) }
    }

    fn forget_spellings(&mut self) {
        self.known.clear();
        self.known_bytes = 0;
    }

    /// Where a series is; `None` when there is no room for it.
    #[inline]
    fn place(&mut self, hash: u64, kind: Kind, key: Key<'_>) -> Option<u32> {
        let found = self.known.find(hash, |known| known.kind == kind && known.is(key));
        match found {
            Some(known) => Some(known.at),
            None => self.learn(hash, kind, key),
        }
    }

    #[cold]
    fn learn(&mut self, hash: u64, kind: Kind, key: Key<'_>) -> Option<u32> {
        // The reader tells no name that is empty.
        let identity = Identity::new(key.name, key.tags)?;
        let there = match kind {
            Kind::Counter => self.counters.by_identity.get(&identity),
            Kind::Gauge => self.gauges.by_identity.get(&identity),
            Kind::Timer => self.timers.by_identity.get(&identity),
            Kind::Set => self.sets.by_identity.get(&identity),
        };
        let at = match there {
            Some(&at) => at,
            None => {
                let bytes = identity.as_str().len();
                if self.series >= self.limits.series || self.series_bytes + bytes > self.limits.name_bytes {
                    self.no_room(&identity);
                    return None;
                }
                self.series += 1;
                self.series_bytes += bytes;
                match kind {
                    Kind::Counter => self.counters.insert(identity),
                    Kind::Gauge => self.gauges.insert(identity),
                    Kind::Timer => self.timers.insert(identity),
                    Kind::Set => self.sets.insert(identity),
                }
            }
        };
        let length = key.name.len() + key.tags.len();
        // Of one series there are as many spellings as somebody likes to make up.
        if self.known_bytes + length > self.limits.name_bytes
            || self.known.len() >= self.limits.series.saturating_mul(2)
        {
            self.forget_spellings();
        }
        self.known_bytes += length;
        let known = Known { bytes: Bytes::new(key), name: key.name.len() as u32, kind, at };
        let hasher = &self.hasher;
        self.known.insert_unique(hash, known, |known| by_key(hasher, known.kind, known.key()));
        Some(at)
    }

    /// A value of a timer that stands for another number than those before it.
    #[cold]
    #[inline(never)]
    fn uneven(&mut self, at: u32, value: f64, weight: f64, is_time: bool) {
        let Some(timer) = self.timers.at(at) else { return };
        timer.differ(weight);
        if self.keep(at, value, weight, is_time)
            && let Some(timer) = self.timers.at(at)
        {
            timer.samples.weigh(weight);
        }
    }

    /// A value of a timer, counted, and kept if there is room; tells whether it is the last of those that are kept one by one.
    #[inline(always)]
    fn keep(&mut self, at: u32, value: f64, weight: f64, is_time: bool) -> bool {
        let Some(timer) = self.timers.at(at) else { return false };
        timer.samples.weight += weight;
        timer.samples.is_time |= is_time;
        if timer.samples.values.len() < self.limits.timer_values
            && self.samples < self.limits.samples
            && timer.samples.sketch.is_none()
        {
            self.samples += 1;
            timer.push(value);
            return true;
        }
        self.another(at, value, weight)
    }

    /// A value of a timer that has too many to keep them, or for which there is no room, as [`Shard::keep`] has it.
    #[cold]
    #[inline(never)]
    fn another(&mut self, at: u32, value: f64, weight: f64) -> bool {
        let Some(Timer { samples, .. }) = self.timers.at(at) else { return false };
        if let Some(sketch) = &mut samples.sketch {
            sketch.add(value, weight);
        } else if self.sketches < self.limits.sketches {
            self.sketches += 1;
            self.samples -= samples.values.len();
            samples.condense().add(value, weight);
        } else if self.samples < self.limits.samples {
            // There are too many sketches: while there is room, it stays exact.
            self.samples += 1;
            samples.values.push(value);
            return true;
        } else {
            self.tally.excess_samples += 1;
        }
        false
    }

    /// A new member of a set that has too many to keep them, or for which there is no room.
    #[cold]
    #[inline(never)]
    fn another_member(&mut self, at: u32, member: &[u8]) {
        let Some(set) = self.sets.at(at) else { return };
        let bytes = member.len() + MEMBER;
        if self.estimates < self.limits.estimates {
            self.estimates += 1;
            let members = mem::take(&mut set.members);
            self.member_bytes -= members.iter().map(|member| member.len() + MEMBER).sum::<usize>();
            let mut estimate = Estimate::new(members.iter().map(|member| &**member));
            estimate.add(member);
            set.estimate = Some(Box::new(estimate));
        } else if self.member_bytes + bytes <= self.limits.member_bytes {
            // There are too many estimates: while there is room, it stays exact.
            self.member_bytes += bytes;
            set.members.insert(member.into());
        } else {
            self.tally.excess_members += 1;
        }
    }

    fn no_room(&mut self, identity: &Identity) {
        self.tally.excess_series += 1;
        let names = &mut self.tally.excess_names;
        let name = identity.as_str();
        let end = (0..=SHOWN.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
        let shown = &name[..end];
        if names.len() < SHOWN_NAMES && !names.iter().any(|known| **known == *shown) {
            names.push(shown.into());
        }
    }

    /// Adds a sample to the series at a place.
    #[inline]
    fn add(&mut self, at: u32, sample: Sample<'_>) {
        match sample {
            Sample::Count(value) => {
                if let Some(sum) = self.counters.at(at) {
                    *sum += value;
                }
            }
            Sample::Level(value) => {
                if let Some(gauge) = self.gauges.at(at) {
                    gauge.value = value;
                }
            }
            Sample::Change(value) => {
                if let Some(gauge) = self.gauges.at(at) {
                    gauge.value += value;
                }
            }
            Sample::Time(value, weight) | Sample::Value(value, weight) => {
                let is_time = matches!(sample, Sample::Time(..));
                let Some(timer) = self.timers.at(at) else { return };
                if !timer.is_even(weight) {
                    return self.uneven(at, value, weight, is_time);
                }
                self.keep(at, value, weight, is_time);
            }
            Sample::Member(member) => {
                let Some(set) = self.sets.at(at) else { return };
                if let Some(estimate) = &mut set.estimate {
                    return estimate.add(member);
                }
                if set.members.contains(member) {
                    return;
                }
                let bytes = member.len() + MEMBER;
                if set.members.len() < self.limits.set_members
                    && self.member_bytes + bytes <= self.limits.member_bytes
                {
                    self.member_bytes += bytes;
                    set.members.insert(member.into());
                } else {
                    self.another_member(at, member);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn bytes_are_the_same_if_each_is() {
        for length in 0..=70 {
            let bytes = vec![b'a'; length];
            assert!(is_same(&bytes, &bytes.clone()));
            assert!(!is_same(&bytes, &[&bytes[..], b"a"].concat()));
            for at in 0..length {
                let mut other = bytes.clone();
                other[at] = b'b';
                assert!(!is_same(&bytes, &other), "{at} of {length}");
            }
        }
    }
}
