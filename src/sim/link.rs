//! What a wire does to what crosses it.

use fastrand::Rng;
use std::time::Duration;

/// One direction of the wire between a node and the network. A datagram crosses two: its sender's way up and its receiver's
/// way down; so what is lost on a publisher's way up is lost to all, and what is lost on a receiver's way down to it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// The time every datagram takes.
    pub delay: Duration,
    /// Chance that a datagram is lost.
    pub loss: f64,
    /// Chance that a datagram comes twice.
    pub duplicate: f64,
    /// Chance that a datagram takes up to `jitter` longer, and may be overtaken.
    pub reorder: f64,
    /// The longest a datagram that is held up takes besides `delay`.
    pub jitter: Duration,
    /// Chance that one bit of a datagram is flipped.
    pub corrupt: f64,
    /// Nothing passes.
    pub cut: bool,
}

/// How one copy of a datagram comes out of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) delay: Duration,
    pub(super) corrupt: bool,
}

impl Link {
    /// A link that takes this time, and does no harm.
    pub fn with_delay(delay: Duration) -> Link {
        Link { delay, ..Link::default() }
    }

    /// The same delay, and no harm.
    pub fn healed(&self) -> Link {
        Link::with_delay(self.delay)
    }

    /// The copies of a datagram that come out: none, one or two.
    pub(super) fn carry(&self, random: &mut Rng) -> [Option<Passage>; 2] {
        if self.cut || hits(random, self.loss) {
            return [None, None];
        }
        let first = Some(self.pass(random));
        let second = hits(random, self.duplicate).then(|| self.pass(random));
        [first, second]
    }

    fn pass(&self, random: &mut Rng) -> Passage {
        let held = hits(random, self.reorder).then(|| self.jitter.mul_f64(random.f64()));
        Passage { delay: self.delay + held.unwrap_or_default(), corrupt: hits(random, self.corrupt) }
    }
}

/// Draws only where chance has a part: a link that does no harm does not use up the seed.
pub(super) fn hits(random: &mut Rng, chance: f64) -> bool {
    chance > 0.0 && random.f64() < chance
}
