//! How fast the application sends, and how fast the system can: whether what comes next waits for more.

use super::turns::PAUSE_MOST;
use crate::driver::inlet::Inlet;
use crate::protocol::Time;
use std::time::Duration;

/// In a tight loop messages pile up for so many times what a transmit takes, so that most of the time goes to them.
const TIGHT_COSTS: u32 = 4;
/// A message follows the one before closely that comes after less than this part of what a transmit takes.
pub(super) const FOLLOWS_PART: u32 = 2;
/// So many messages that each left alone, and each followed the one before soon after that had left, are more than the system can
/// send one by one. Fewer are what a steady application has to make up for after a pause of its thread: were they to wait for a
/// timer, which costs more than some messages to send, there would be more to make up for next time.
pub(super) const CLOSELY: u32 = 8;
/// So many are no burst, but an application that sends without a pause: what is sent piles up for longer, and one pause, as when its
/// thread is put aside, is not its end.
pub(super) const FLOOD: u32 = 32;
/// What a transmit takes is taken to be no more than twice what others took, and this.
const COST_STEP: Duration = Duration::from_micros(1);

/// The pace of an endpoint.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the last transmit ended, and what one takes.
    pub(super) transmitted: Time,
    pub(super) cost: Duration,
    /// What all transmits took, and what the service thread did.
    pub(super) spent: Duration,
    /// Messages that left alone, and piles of them, each soon after the one before had left.
    pub(super) closely: u32,
    /// The time from one transmit of a busy application to the next.
    pub(super) interval: Duration,
    /// How long messages wait for others at the most, where some do since the last transmit.
    pub(super) waiting: Option<Duration>,
    /// How long they may.
    max_delay: Duration,
}

impl Pace {
    pub(super) fn new(max_delay: Duration) -> Pace {
        Pace {
            transmitted: Time(0),
            cost: Duration::ZERO,
            spent: Duration::ZERO,
            closely: 0,
            interval: Duration::ZERO,
            waiting: None,
            max_delay,
        }
    }

    /// More messages come than the system can send one by one, unless the next comes late.
    pub(super) fn is_close(&self) -> bool {
        self.closely > CLOSELY
    }

    /// Messages come without a pause, on whatever topics.
    pub(super) fn is_flooded(&self) -> bool {
        self.closely >= FLOOD
    }

    /// Whether a message that comes now is one of more than the system can send one by one: it comes so soon after a transmit that most
    /// of the time goes to them, or while others wait.
    pub(super) fn follows(&self, inlet: &Inlet, now: Time) -> bool {
        let soon =
            if self.waiting.is_some() { self.pile(inlet) + self.cost } else { self.cost / FOLLOWS_PART };
        now.since(self.transmitted) < soon.max(Inlet::TIGHT)
    }

    /// Whether a message that comes now waits for others.
    pub(super) fn waits(&self, inlet: &Inlet, now: Time) -> bool {
        let saturated = inlet.is_tight() || (self.is_close() && self.follows(inlet, now));
        saturated && now.since(self.transmitted) < self.pile(inlet)
    }

    /// How long what is sent piles up after a transmit.
    pub(super) fn pile(&self, inlet: &Inlet) -> Duration {
        match inlet.is_tight() || self.is_flooded() {
            true => (self.cost * TIGHT_COSTS).min(self.max_delay),
            false => self.cost,
        }
    }

    /// A message left at once, or a pile did, and followed the one before.
    pub(super) fn followed(&mut self) {
        self.closely = (self.closely + 1).min(FLOOD);
    }

    /// The application paused: nothing was sent for this long. For a moment is not the end of a flood; twice, with less than half of
    /// one between, is.
    pub(super) fn calm(&mut self, idle: Duration) {
        let goes_on = self.is_flooded() && idle < PAUSE_MOST;
        self.closely = if goes_on { FLOOD / 2 } else { 0 };
    }

    /// What was spent on transmits meanwhile is no pause of an application that sends message after message, on this topic or others:
    /// whether this is one.
    pub(crate) fn pass(&self, inlet: &mut Inlet) -> bool {
        inlet.passes(self.spent, self.is_close());
        self.is_close()
    }

    /// Nothing until now was a pause of the application's.
    pub(crate) fn goes_on(&self, inlet: &mut Inlet, now: Time) {
        inlet.passes(self.spent, false);
        inlet.go_on(now);
    }

    /// What was done besides took this long, which is no pause of the application's.
    pub(super) fn besides(&mut self, took: Duration) {
        self.transmitted = self.transmitted + took;
        self.spent += took;
    }

    /// Keeps what a transmit of the application's took, with the NAKs, which cost as much as the datagrams; and how long after the one before
    /// it came, where it `follows` one without a pause.
    pub(super) fn reckon(&mut self, begun: Time, now: Time, runs: u32, follows: bool) {
        if runs == 0 {
            return;
        }
        if follows {
            self.interval = (self.interval * 7 + now.since(self.transmitted).min(PAUSE_MOST)) / 8;
        }
        self.transmitted = now;
        let each = now.since(begun) / runs;
        // Smoothed, and never more than a batch may wait: a thread that was put aside must not hold messages back, nor those
        // after it.
        self.cost = ((self.cost * 7 + each.min(self.cost * 2 + COST_STEP)) / 8).min(self.max_delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pause_is_no_end_of_a_flood_and_two_are() {
        let mut pace = Pace::new(Duration::ZERO);
        let soon = Duration::from_millis(1);
        for (before, idle, after) in [
            (FLOOD, soon, FLOOD / 2),
            (FLOOD, PAUSE_MOST, 0),
            (FLOOD / 2, soon, 0),
            (FLOOD - 1, soon, 0),
            (CLOSELY, soon, 0),
        ] {
            pace.closely = before;
            pace.calm(idle);
            assert_eq!(pace.closely, after);
        }
    }

    #[test]
    fn a_transmit_that_was_interrupted_says_little_of_what_one_takes() {
        let mut pace = Pace::new(Duration::from_micros(50));
        let mut after = |micros: u64, count| {
            for _ in 0..count {
                let begun = Time(1_000_000);
                pace.reckon(begun, begun + Duration::from_micros(micros), 1, false);
            }
            pace.cost.as_nanos()
        };
        assert!((3_900..=4_000).contains(&after(4, 50)));
        // Twice what the others took and one microsecond, in eight parts.
        assert!((4_550..=4_630).contains(&after(10_000, 1)));
        assert!((3_900..=4_000).contains(&after(4, 50)));
        assert!((39_000..=40_000).contains(&after(40, 80)), "what takes longer from now on is believed");
    }
}
