//! Stream ids, as ranges: a source counts them up, so those of streams that are over are mostly next to each other.

/// A set of stream ids.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// First and last of each, in order, with something between any two.
    ranges: Vec<(u32, u32)>,
}

/// More ranges than this are not kept: the lowest is forgotten.
const MOST: usize = 1_024;

impl Ids {
    pub(super) fn contains(&self, id: u32) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < id);
        self.ranges.get(at).is_some_and(|&(first, _)| first <= id)
    }

    pub(super) fn insert(&mut self, id: u32) {
        let at = self.ranges.partition_point(|&(_, last)| last < id);
        if self.ranges.get(at).is_some_and(|&(first, _)| first <= id) {
            return;
        }
        let joins_left = at > 0 && self.ranges[at - 1].1 + 1 == id;
        let joins_right = self.ranges.get(at).is_some_and(|&(first, _)| first == id + 1);
        match (joins_left, joins_right) {
            (true, true) => self.ranges[at - 1].1 = self.ranges.remove(at).1,
            (true, false) => self.ranges[at - 1].1 = id,
            (false, true) => self.ranges[at].0 = id,
            (false, false) => {
                self.ranges.insert(at, (id, id));
                if self.ranges.len() > MOST {
                    self.ranges.remove(0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_holds_what_a_set_would() {
        let mut random = fastrand::Rng::with_seed(4);
        for most in [20, 300, 2_000] {
            let (mut ids, mut set) = (Ids::default(), BTreeSet::new());
            for _ in 0..most {
                let id = random.u32(1..most);
                ids.insert(id);
                set.insert(id);
            }
            assert!((0..=most).all(|id| ids.contains(id) == set.contains(&id)));
            let apart = set.iter().filter(|&&id| !set.contains(&(id + 1))).count();
            assert_eq!(ids.ranges.len(), apart);
        }
        let mut ids = Ids::default();
        ids.insert(u32::MAX);
        ids.insert(u32::MAX - 1);
        assert_eq!(ids.ranges, [(u32::MAX - 1, u32::MAX)]);
    }

    #[test]
    fn however_scattered_it_takes_little() {
        let mut ids = Ids::default();
        (1..100_000).step_by(2).for_each(|id| ids.insert(id));
        assert!(ids.ranges.len() == MOST && ids.contains(99_999) && !ids.contains(1));
    }
}
