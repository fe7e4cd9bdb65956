//! What is missing of a stream, and when to ask for it. This is where a NAK is scheduled: [`Gaps::found`] sets the first
//! time, [`Gaps::take_due`] hands out what is due and sets the next.

use crate::protocol::event::GapReason;
use crate::protocol::time::Time;
use crate::wire::Range;
use std::collections::VecDeque;
use std::time::Duration;

/// The wait for an answer is doubled so often at the most. Congestion is the publisher's to see to, with its flow control and
/// its bucket; a receiver that lost both a NAK and a repair several times over holds everybody up until it is answered.
const MOST_DOUBLINGS: u32 = 2;

/// When to repeat a NAK.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    /// How long an answer takes.
    pub(super) timeout: Duration,
    /// Not sooner than this, for nothing at all is heard of the source.
    pub(super) least: Duration,
    /// When one is asked for, those that are due for the first time within this are too: one NAK costs less than many.
    pub(super) together: Duration,
}

impl Retry {
    /// The wait after so many NAKs for the same.
    pub(super) fn after(&self, tries: u32) -> Duration {
        (self.timeout * (1 << tries.min(MOST_DOUBLINGS))).min(LONGEST_WAIT).max(self.least)
    }
}

/// And by no more than this many times when the publisher has confirmed it: the repair waits for the rate, and to ask again
/// would not hasten it.
const MOST_CONFIRMED: u32 = 1 << 10;

/// Ranges that may be missing at a time; a datagram that would make another is left out, and asked for later.
pub(super) const MOST_RANGES: usize = 16_384;

/// Of so many, those that follow each other without anything between are one: a source whose data does not come through would make
/// one more with each heartbeat.
const MANY_RANGES: usize = 256;
/// Room for so many is kept, once there was need of it.
const KEPT_RANGES: usize = 1_024;

/// No wait is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Datagrams one range of a NAK may ask for.
const MOST_ASKED: u64 = 1 << 20;

/// Consecutive datagrams that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The number of the first message that starts at or behind `first`.
    pub(super) before: u64,
    /// The number of the first message that starts behind `last`.
    pub(super) next: u64,
    /// When it was seen that they are missing.
    pub(super) found: Time,
    /// Since when something waits behind them; never, for what only a heartbeat told of.
    pub(super) held: Time,
    /// When to ask, or ask again.
    pub(super) due: Time,
    /// When they were asked for last.
    pub(super) asked: Time,
    /// The last one that was asked for then: a range too large to be asked for at once is asked for from its front.
    pub(super) asked_to: u64,
    /// How often they were asked for.
    pub(super) tries: u32,
    /// They will not come.
    pub(super) given_up: Option<GapReason>,
}

impl Missing {
    /// Whether one that was found next is of the same kind, with nothing between.
    fn is_before(&self, next: &Missing) -> bool {
        self.last + 1 == next.first && self.given_up == next.given_up
    }

    /// How many are asked for and not here.
    fn under_way(&self, now: Time) -> u64 {
        if self.tries == 0 || self.due.is_due(now) || self.given_up.is_some() {
            return 0;
        }
        (self.asked_to.min(self.last) + 1).saturating_sub(self.first)
    }

    /// What is left of a range whose front is here: where that was asked for, the rest may never have been.
    fn from(self, first: u64, before: u64) -> Missing {
        let rest = Missing { first, before, ..self };
        if rest.tries > 0 && rest.asked_to < first {
            Missing { tries: 0, due: rest.found, ..rest }
        } else {
            rest
        }
    }
}

/// What is missing, in order.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    missing: VecDeque<Missing>,
    /// Nothing is due before this.
    earliest: Time,
}

impl Gaps {
    pub(super) fn new() -> Gaps {
        Gaps { missing: VecDeque::with_capacity(64), earliest: Time::NEVER }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    /// As many ranges are missing as may be.
    pub(super) fn is_full(&self) -> bool {
        self.missing.len() >= MOST_RANGES
    }

    /// Whether what is missing behind `highest` may be found so, for it makes no range of its own or there may be one more.
    pub(super) fn has_room_behind(&self, highest: u64, given_up: Option<GapReason>) -> bool {
        let goes_on = |last: &Missing| last.last == highest && last.given_up == given_up;
        !self.is_full() || self.missing.back().is_some_and(goes_on)
    }

    pub(super) fn first(&self) -> Option<&Missing> {
        self.missing.front()
    }

    pub(super) fn pop_first(&mut self) -> Option<Missing> {
        let first = self.missing.pop_front();
        self.let_go();
        first
    }

    /// Once nothing is missing any more, what memory much took is given back.
    fn let_go(&mut self) {
        if self.missing.is_empty() && self.missing.capacity() > KEPT_RANGES {
            self.missing.shrink_to(KEPT_RANGES);
        }
    }

    /// No NAK is due before this.
    pub(super) fn earliest(&self) -> Time {
        self.earliest
    }

    /// Nothing is asked for before this, that it may be asked for together.
    pub(super) fn put_off(&mut self, until: Time) {
        self.earliest = self.earliest.max(until);
    }

    /// Datagrams behind all that was known are found missing; the first NAK is due at `missing.due`, or where many ranges are
    /// missing, with those they follow.
    pub(super) fn found(&mut self, missing: Missing) {
        debug_assert!(self.missing.back().is_none_or(|last| last.last < missing.first));
        let many = self.missing.len() >= MANY_RANGES;
        if let Some(last) = self.missing.back_mut().filter(|last| many && last.is_before(&missing)) {
            (last.last, last.next) = (missing.last, missing.next);
            return;
        }
        self.wait_for(missing);
        self.missing.push_back(missing);
    }

    /// A NAK is due for what is missing, unless it was given up.
    fn wait_for(&mut self, missing: Missing) {
        if missing.given_up.is_none() {
            self.earliest = self.earliest.min(missing.due);
        }
    }

    /// Something came that waits behind all that is missing.
    pub(super) fn held_from(&mut self, now: Time) {
        self.hold_before(self.missing.len(), now);
    }

    /// What waits goes no further than `last` any more.
    pub(super) fn held_behind(&mut self, last: u64) {
        for missing in self.missing.iter_mut().rev().take_while(|missing| missing.first > last) {
            missing.held = Time::NEVER;
        }
    }

    /// Something waits behind the first `count` ranges.
    fn hold_before(&mut self, count: usize, now: Time) {
        for missing in self.missing.range_mut(..count).rev() {
            if missing.held != Time::NEVER {
                break;
            }
            missing.held = now;
        }
    }

    /// There is room up to `until`: what was put off for want of it may be due.
    pub(super) fn reached(&mut self, until: u64) {
        if let Some(&first) = self.missing.front().filter(|first| first.first <= until) {
            self.wait_for(first);
        }
    }

    fn index_of(&self, sequence: u64) -> Option<usize> {
        // Repairs mostly come in order, so the front is the likeliest.
        if self.missing.front().is_some_and(|front| front.first <= sequence && sequence <= front.last) {
            return Some(0);
        }
        let at = self.missing.partition_point(|missing| missing.last < sequence);
        self.missing.get(at).filter(|missing| missing.first <= sequence).map(|_| at)
    }

    /// What is known of a datagram that is missing.
    pub(super) fn get(&self, sequence: u64) -> Option<&Missing> {
        self.index_of(sequence).map(|at| &self.missing[at])
    }

    /// A datagram came: gives what was known of it while it was missing, or `None` when it was not. `starts` is the number
    /// of the first message that starts in it or behind it, `after` of the first that starts behind it. It waits behind what
    /// is still missing before it.
    pub(super) fn filled(&mut self, sequence: u64, starts: u64, after: u64, now: Time) -> Option<Missing> {
        let at = self.index_of(sequence)?;
        let whole = self.missing[at];
        let left = (whole.first < sequence).then_some(Missing { last: sequence - 1, next: starts, ..whole });
        let right = (sequence < whole.last).then(|| whole.from(sequence + 1, after));
        right.into_iter().for_each(|right| self.wait_for(right));
        match (left, right) {
            (Some(left), Some(right)) => {
                self.missing[at] = left;
                self.missing.insert(at + 1, right);
            }
            (Some(rest), None) | (None, Some(rest)) => self.missing[at] = rest,
            (None, None) => {
                self.missing.remove(at);
                self.let_go();
            }
        }
        self.hold_before(at + usize::from(left.is_some()), now);
        Some(whole)
    }

    /// A datagram that had come is missing again: there was no memory to keep it.
    pub(super) fn again(&mut self, missing: Missing) {
        let at = self.missing.partition_point(|other| other.last < missing.first);
        self.wait_for(missing);
        self.missing.insert(at, missing);
    }

    /// What is missing up to `last` will not come; `next` is the number of the first message that starts behind `last`.
    pub(super) fn give_up_to(&mut self, last: u64, next: u64, reason: GapReason) -> bool {
        let mut any = false;
        let mut index = 0;
        while let Some(&missing) = self.missing.get(index) {
            if missing.first > last {
                break;
            }
            if missing.given_up.is_none() {
                any = true;
                if missing.last > last {
                    let next = next.clamp(missing.before, missing.next);
                    let gone = Missing { last, next, given_up: Some(reason), ..missing };
                    let rest = missing.from(last + 1, next);
                    self.earliest = self.earliest.min(rest.due);
                    match index.checked_sub(1).map(|before| &mut self.missing[before]) {
                        // They go further and further.
                        Some(before) if before.is_before(&gone) => {
                            (before.last, before.next) = (last, next);
                            self.missing[index] = rest;
                        }
                        _ => {
                            self.missing[index] = gone;
                            self.missing.insert(index + 1, rest);
                        }
                    }
                } else {
                    self.missing[index].given_up = Some(reason);
                }
            }
            index += 1;
        }
        any
    }

    /// What is missing around a sequence number will not come.
    pub(super) fn give_up_at(&mut self, sequence: u64, reason: GapReason) {
        if let Some(at) = self.index_of(sequence) {
            self.missing[at].given_up.get_or_insert(reason);
        }
    }

    /// What is missing wholly before `trail` will not come.
    pub(super) fn give_up_whole_before(&mut self, trail: u64, reason: GapReason) -> bool {
        let mut any = false;
        for missing in self.missing.iter_mut().take_while(|missing| missing.last < trail) {
            any |= missing.given_up.is_none();
            missing.given_up.get_or_insert(reason);
        }
        any
    }

    /// What has been held for this long will not come.
    pub(super) fn give_up_held(&mut self, now: Time, deadline: Duration, reason: GapReason) -> bool {
        let mut any = false;
        for missing in &mut self.missing {
            if !(missing.held + deadline).is_due(now) {
                break;
            }
            any |= missing.given_up.is_none();
            missing.given_up.get_or_insert(reason);
        }
        any
    }

    /// When something will have been held for this long.
    pub(super) fn held_for(&self, deadline: Duration) -> Time {
        let first = self.missing.iter().find(|missing| missing.given_up.is_none());
        first.map_or(Time::NEVER, |missing| missing.held + deadline)
    }

    /// Nothing of all that is missing will come.
    pub(super) fn give_up_all(&mut self, reason: GapReason) {
        for missing in &mut self.missing {
            missing.given_up.get_or_insert(reason);
        }
    }

    /// The publisher confirmed a range: it stands for a NAK of one's own.
    pub(super) fn confirmed(&mut self, first: u64, last: u64, now: Time, retry: Duration) {
        let from = self.missing.partition_point(|missing| missing.last < first);
        for missing in self.missing.range_mut(from..) {
            if missing.first > last {
                break;
            }
            // What lies beside it has to be asked for all the same.
            let asked_to = if missing.tries == 0 { missing.last } else { missing.asked_to.min(missing.last) };
            if missing.first < first || asked_to > last {
                continue;
            }
            let wait = retry * (1 << missing.tries.min(MOST_CONFIRMED.ilog2()));
            missing.due = missing.due.max(now + wait.min(LONGEST_WAIT));
        }
    }

    /// Asks for what is due now, up to `until` and `credit` datagrams under way at a time, and sets when to ask again.
    /// `ask` takes a range and how often it was asked for, or says that it takes no more; what it did not take stays due.
    pub(super) fn take_due(
        &mut self,
        now: Time,
        until: u64,
        mut credit: u64,
        retry: Retry,
        mut ask: impl FnMut(Range, u32) -> bool,
    ) {
        credit = credit.saturating_sub(self.missing.iter().map(|missing| missing.under_way(now)).sum());
        let together = now + retry.together;
        let mut earliest = Time::NEVER;
        let mut full = false;
        for missing in &mut self.missing {
            if missing.given_up.is_some() {
                continue;
            }
            if missing.first > until {
                // Asked for when what comes before it is here: progress makes it due.
                earliest = earliest.min(missing.due.max(now + retry.after(0)));
                continue;
            }
            // What was asked for already has its answer's time: that may be shorter than `together`.
            if full || !missing.due.is_due(if missing.tries == 0 { together } else { now }) {
                earliest = earliest.min(missing.due);
                continue;
            }
            if credit == 0 {
                // It stays due, and is asked for when something that is under way has come.
                earliest = earliest.min(now + retry.timeout / 4);
                continue;
            }
            let last =
                missing.last.min(missing.first + credit - 1).min(until).min(missing.first + MOST_ASKED - 1);
            let count = last - missing.first + 1;
            if !ask(Range { first: missing.first, count: count as u32 }, missing.tries) {
                full = true;
                earliest = earliest.min(missing.due);
                continue;
            }
            credit -= count;
            missing.due = now + retry.after(missing.tries);
            missing.tries += 1;
            missing.asked = now;
            missing.asked_to = last;
            earliest = earliest.min(missing.due);
        }
        self.earliest = earliest;
    }
}

#[cfg(test)]
mod tests;
