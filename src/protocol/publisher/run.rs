//! Which datagrams go out together, in one call.

use crate::wire::MAX_DATAGRAM;

/// Datagrams that go out in one run, at the most.
pub(super) const MOST: usize = 64;

/// Datagrams of `size` bytes that go out in one run: at most 64, and at most what a UDP length can say.
pub(super) fn max_run(size: usize) -> usize {
    (MAX_DATAGRAM / size).clamp(1, MOST)
}

/// Which datagrams share a run: equal lengths, made equal by padding where that wastes little and there is room for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Bytes of all of them, but that one goes in any case.
    most: usize,
    pub(super) count: usize,
    pub(super) longest: usize,
    bytes: usize,
    over: bool,
    /// How long all of them can be made.
    room: usize,
    /// There are others that may be of the length: no shorter one joins as the last.
    pub(super) choosy: bool,
}

impl Run {
    /// None yet, and no more than so many bytes.
    pub(super) fn new(most: usize) -> Run {
        let most = most.min(MAX_DATAGRAM);
        Run { most, count: 0, longest: 0, bytes: 0, over: false, room: 0, choosy: false }
    }

    /// Whether no datagram joins any more, however long it is.
    pub(super) fn is_whole(&self) -> bool {
        let is_full = || self.count >= max_run(self.room) || self.longest * (self.count + 1) > self.most;
        self.over || (self.count > 0 && is_full())
    }

    /// Whether a datagram of `length` joins, which has room for padding up to `room`. A shorter one that would waste too much
    /// joins as the last.
    pub(super) fn admit(&mut self, length: usize, room: usize) -> bool {
        let longest = self.longest.max(length);
        let room = if self.count == 0 { room } else { room.min(self.room) };
        if self.over || longest > room || self.count >= max_run(room) {
            return false;
        }
        let padded = longest * (self.count + 1);
        let fits = self.count == 0 || padded <= self.most;
        // An eighth of what is sent may be padding.
        let lean = (padded - self.bytes - length) * 8 <= padded;
        let last = fits && !lean && length <= self.longest && !self.choosy;
        if !(fits && lean || last) {
            return false;
        }
        // What came before was short already, and padding all of it for this one would waste too much.
        if last && (self.longest * self.count - self.bytes) * 8 > self.longest * self.count {
            return false;
        }
        self.over = last;
        self.room = room;
        self.longest = longest;
        self.bytes += length;
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HEADER_LENGTH;

    #[test]
    fn a_run_is_what_one_call_can_send_and_mostly_not_padding() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let datagram = [512, 1_408, 8_192, 65_507][random.usize(..4)];
            let most = max_run(datagram);
            let even = random.bool();
            let (mut run, mut lengths) = (Run::new(MAX_DATAGRAM), Vec::new());
            loop {
                let length = if even { datagram } else { random.usize(HEADER_LENGTH + 1..=datagram) };
                if !run.admit(length, datagram) {
                    break;
                }
                lengths.push(length);
            }
            assert!(!lengths.is_empty() && lengths.len() <= most);
            assert!(!even || lengths.len() == most, "full datagrams fill a run");
            let longest = *lengths.iter().max().unwrap();
            assert_eq!(longest, run.longest);
            let sent = longest * (lengths.len() - 1) + lengths[lengths.len() - 1];
            assert!(sent <= MAX_DATAGRAM);
            let padding = sent - lengths.iter().sum::<usize>();
            assert!(padding * 8 <= sent + longest, "{padding} of {sent} is padding");
        }
    }
}
