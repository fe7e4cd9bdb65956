//! What was read, and is not added up yet.

use crate::line::{Key, Sample};

/// Samples in the order they came, with a copy of what they are known by: what is read without the shard, so that the shard is
/// held only to look up and add.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    samples: Vec<One>,
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
        self.samples.is_empty()
    }

    /// What it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.samples.len() * size_of::<One>() + self.keys.len() + self.members.len()
    }

    /// Whether it is to be added up before more is put to it. What one datagram holds always has room.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= FULL
    }

    #[inline]
    pub(crate) fn push(&mut self, hash: u64, key: Key<'_>, sample: Sample<'_>) {
        let (name, tags) = (key.name.len() as u32, key.tags.len() as u32);
        let at = match self.samples.last() {
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
        self.samples.push(One { hash, key: at, name, tags, member, sample });
    }

    #[inline]
    fn key(&self, one: &One) -> Key<'_> {
        let (name, tags) = self.keys[one.key as usize..].split_at(one.name as usize);
        Key { name, tags: &tags[..one.tags as usize] }
    }

    /// What it is known by, and its hash.
    #[inline]
    pub(super) fn keys(&self) -> impl Iterator<Item = (u64, Key<'_>, Sample<'static>)> {
        self.samples.iter().map(|one| (one.hash, self.key(one), one.sample))
    }

    #[inline]
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        let mut members = &self.members[..];
        self.samples.iter().map(move |one| match one.sample {
            Sample::Member(_) => {
                let (member, rest) = members.split_at(one.member as usize);
                members = rest;
                Sample::Member(member)
            }
            sample => sample,
        })
    }

    /// Empties it; a buffer that grew large is not kept.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.samples.shrink_to(2 * FULL / size_of::<One>());
        for bytes in [&mut self.keys, &mut self.members] {
            bytes.clear();
            bytes.shrink_to(2 * FULL);
        }
    }
}
