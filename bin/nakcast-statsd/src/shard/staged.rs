//! What was read, and is not added up yet.

use crate::line::{Key, Sample};

/// Samples, of each kind in the order they came, with a copy of what they are known by: what is read without the shard, so that
/// the shard is held only to look up and add.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// By kind: of which one is, in the order they came, nobody could foresee, and a processor that does waits.
    samples: [Vec<One>; 4],
    /// How many there are of all kinds.
    count: usize,
    /// Names, each with its tags behind it.
    keys: Vec<u8>,
    /// The sets' members, one after another.
    members: Vec<u8>,
}

#[derive(Debug)]
struct One {
    hash: u64,
    /// Where the key is; several samples of a line share it.
    key: u32,
    name: u32,
    tags: u32,
    member: u32,
    /// A member is empty here.
    sample: Sample<'static>,
}

/// Bytes of which there are enough to be worth a lock, and few enough for a processor's nearest cache.
const FULL: usize = 24 << 10;

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What it takes.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.count * size_of::<One>() + self.keys.len() + self.members.len()
    }

    /// Whether it is to be added up before more is put to it. What one datagram holds always has room.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= FULL
    }

    #[inline]
    pub(crate) fn push(&mut self, hash: u64, key: Key<'_>, sample: Sample<'_>) {
        let (name, tags) = (key.name.len() as u32, key.tags.len() as u32);
        let kind = sample.kind() as usize;
        let at = match self.samples[kind].last() {
            // As many as fit a datagram may have one long name: it is kept once.
            Some(last) if last.hash == hash && self.key(last) == key => last.key,
            _ => {
                let at = self.keys.len() as u32;
                self.keys.extend_from_slice(key.name);
                if tags > 0 {
                    self.keys.extend_from_slice(key.tags);
                }
                at
            }
        };
        let (sample, member) = match sample {
            Sample::Member(member) => {
                self.members.extend_from_slice(member);
                (Sample::Member(&[]), member.len() as u32)
            }
            Sample::Count(value) => (Sample::Count(value), 0),
            Sample::Level(value) => (Sample::Level(value), 0),
            Sample::Change(value) => (Sample::Change(value), 0),
            Sample::Time(value, weight) => (Sample::Time(value, weight), 0),
            Sample::Value(value, weight) => (Sample::Value(value, weight), 0),
        };
        self.count += 1;
        self.samples[kind].push(One { hash, key: at, name, tags, member, sample });
    }

    #[inline]
    fn key(&self, one: &One) -> Key<'_> {
        let (name, tags) = self.keys[one.key as usize..].split_at(one.name as usize);
        Key { name, tags: &tags[..one.tags as usize] }
    }

    /// The hashes, in the order of [`Staged::each`].
    #[inline]
    pub(super) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.samples.iter().flatten().map(|one| one.hash)
    }

    /// Tells of each its hash, what it is known by and the sample.
    #[inline]
    pub(super) fn each(&self, mut tell: impl FnMut(u64, Key<'_>, Sample<'_>)) {
        let mut members = &self.members[..];
        for one in self.samples.iter().flatten() {
            let mut sample = one.sample;
            if let Sample::Member(_) = sample {
                let (member, rest) = members.split_at(one.member as usize);
                (sample, members) = (Sample::Member(member), rest);
            }
            tell(one.hash, self.key(one), sample);
        }
    }

    /// Empties it; a buffer that grew large is not kept.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        for samples in &mut self.samples {
            samples.clear();
            samples.shrink_to(2 * FULL / size_of::<One>());
        }
        for bytes in [&mut self.keys, &mut self.members] {
            bytes.clear();
            bytes.shrink_to(2 * FULL);
        }
    }
}
