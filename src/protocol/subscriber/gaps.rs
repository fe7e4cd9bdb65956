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

    pub(super) fn len(&self) -> usize {
        self.missing.len()
    }

    pub(super) fn first(&self) -> Option<&Missing> {
        self.missing.front()
    }

    pub(super) fn pop_first(&mut self) -> Option<Missing> {
        self.missing.pop_front()
    }

    /// No NAK is due before this.
    pub(super) fn earliest(&self) -> Time {
        self.earliest
    }

    /// Datagrams behind all that was known are found missing; the first NAK is due at `missing.due`.
    pub(super) fn found(&mut self, missing: Missing) {
        debug_assert!(self.missing.back().is_none_or(|last| last.last < missing.first));
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
                    self.missing[index] = Missing { last, next, given_up: Some(reason), ..missing };
                    let rest = missing.from(last + 1, next);
                    self.earliest = self.earliest.min(rest.due);
                    self.missing.insert(index + 1, rest);
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
mod tests {
    use super::*;
    use crate::wire::MAX_SEQUENCE;
    use std::collections::BTreeMap;

    const TIMEOUT: Duration = Duration::from_millis(1);
    const RETRY: Retry = Retry { timeout: TIMEOUT, least: Duration::ZERO, together: Duration::ZERO };

    /// One message to a datagram: message numbers are sequence numbers.
    fn missing(first: u64, last: u64, now: Time) -> Missing {
        Missing {
            first,
            last,
            before: first,
            next: last + 1,
            found: now,
            held: Time::NEVER,
            due: now,
            asked: Time(0),
            asked_to: 0,
            tries: 0,
            given_up: None,
        }
    }

    fn take(gaps: &mut Gaps, now: Time, credit: u64) -> Vec<(u64, u64)> {
        let mut asked = Vec::new();
        gaps.take_due(now, u64::MAX, credit, RETRY, |range, _| {
            asked.push((range.first, range.last()));
            true
        });
        asked
    }

    fn ranges(gaps: &Gaps) -> Vec<(u64, u64)> {
        gaps.missing.iter().map(|missing| (missing.first, missing.last)).collect()
    }

    fn fill(gaps: &mut Gaps, sequence: u64) -> bool {
        gaps.filled(sequence, sequence, sequence + 1, Time(5)).is_some()
    }

    #[test]
    fn a_range_is_split_and_shrinks_until_it_is_filled() {
        let mut gaps = Gaps::new();
        gaps.found(missing(10, 14, Time(1)));
        assert!(fill(&mut gaps, 12));
        assert_eq!(ranges(&gaps), [(10, 11), (13, 14)]);
        assert_eq!(gaps.len(), 2);
        assert!(!fill(&mut gaps, 12));
        assert!([10, 14, 11, 13].into_iter().all(|sequence| fill(&mut gaps, sequence)));
        assert!(gaps.is_empty());
    }

    #[test]
    fn when_the_front_of_a_range_comes_before_it_was_asked_for_the_rest_keeps_its_time() {
        let mut gaps = Gaps::new();
        gaps.found(Missing { due: Time(50), ..missing(1, 4, Time(1)) });
        gaps.filled(1, 1, 2, Time(10));
        gaps.filled(3, 3, 4, Time(10));
        assert!([2, 4].iter().all(|&sequence| gaps.get(sequence).unwrap().due == Time(50)));
        assert_eq!(gaps.earliest(), Time(50));
    }

    #[test]
    fn what_comes_in_the_middle_waits_for_what_is_before_it() {
        let mut gaps = Gaps::new();
        gaps.found(missing(2, 6, Time(1)));
        assert_eq!(gaps.held_for(TIMEOUT), Time::NEVER, "a tail holds nothing up");
        fill(&mut gaps, 5);
        assert_eq!(gaps.held_for(TIMEOUT), Time(5) + TIMEOUT);
        assert_eq!(gaps.missing[1].held, Time::NEVER, "nothing waits behind the last");
        assert!(gaps.give_up_held(Time(5) + TIMEOUT, TIMEOUT, GapReason::Deadline));
        assert_eq!(gaps.held_for(TIMEOUT), Time::NEVER);
        assert_eq!(gaps.first().and_then(|missing| missing.given_up), Some(GapReason::Deadline));
        assert_eq!(gaps.missing[1].given_up, None);
    }

    #[test]
    fn what_is_due_shortly_is_asked_for_with_what_is_due() {
        let retry = Retry { together: Duration::from_nanos(5), ..RETRY };
        let mut gaps = Gaps::new();
        for (first, due) in [(1, 10), (3, 14), (5, 15), (7, 16)] {
            gaps.found(Missing { due: Time(due), ..missing(first, first, Time(1)) });
        }
        let mut asked = Vec::new();
        gaps.take_due(Time(10), u64::MAX, 100, retry, |range, _| {
            asked.push(range.first);
            true
        });
        assert_eq!(asked, [1, 3, 5]);
        assert_eq!(gaps.earliest(), Time(16));
        // However long others are taken along, what was just asked for is not.
        let retry = Retry { together: TIMEOUT * 2, ..RETRY };
        asked.clear();
        gaps.take_due(Time(16), u64::MAX, 100, retry, |range, _| {
            asked.push(range.first);
            true
        });
        assert_eq!(asked, [7]);
    }

    #[test]
    fn credit_bounds_what_is_under_way_and_is_given_back() {
        let mut gaps = Gaps::new();
        gaps.found(missing(1, 100, Time(1)));
        assert_eq!(gaps.earliest(), Time(1));
        assert_eq!(take(&mut gaps, Time(1), 10), [(1, 10)]);
        // All but the first come: what is left of the ten is one, however far the ten reached.
        for sequence in 2..=10 {
            fill(&mut gaps, sequence);
        }
        assert_eq!(gaps.earliest(), Time(1), "what was not asked for is due");
        assert_eq!(take(&mut gaps, Time(2), 10), [(11, 19)]);
        gaps.again(missing(5, 5, Time(3)));
        assert_eq!(gaps.earliest(), Time(3), "and what there was no memory to keep");
    }

    #[test]
    fn what_had_no_credit_is_not_taken_for_asked() {
        let mut gaps = Gaps::new();
        [1, 3, 5].into_iter().for_each(|first| gaps.found(missing(first, first, Time(1))));
        let mut now = Time(1);
        let mut asked = Vec::new();
        // One at a time, and none is ever answered: each is asked for again and again.
        for _ in 0..200 {
            asked.extend(take(&mut gaps, now, 1));
            assert!(gaps.earliest() > now || gaps.earliest() == Time::NEVER);
            now = gaps.earliest();
        }
        assert!(asked.len() > 8, "{asked:?}");
    }

    #[test]
    fn giving_up_splits_at_the_trail_and_keeps_count() {
        let mut gaps = Gaps::new();
        gaps.found(missing(1, 9, Time(1)));
        gaps.found(missing(11, 12, Time(1)));
        assert!(gaps.give_up_to(4, 5, GapReason::AgedOut));
        assert!(!gaps.give_up_to(4, 5, GapReason::AgedOut), "once");
        assert_eq!(ranges(&gaps), [(1, 4), (5, 9), (11, 12)]);
        let counts: Vec<u64> = gaps.missing.iter().map(|missing| missing.next - missing.before).collect();
        assert_eq!(counts, [4, 5, 2]);
        assert_eq!(take(&mut gaps, Time(1), 100), [(5, 9), (11, 12)]);
        assert!(gaps.give_up_whole_before(12, GapReason::AgedOut));
        assert!(!gaps.give_up_whole_before(12, GapReason::AgedOut), "once, and of what lies before it whole");
        // A number that cannot be is brought within what is known.
        assert!(gaps.give_up_to(11, u64::MAX, GapReason::AgedOut));
        assert_eq!(gaps.missing.back().map(|missing| (missing.before, missing.next)), Some((13, 13)));
    }

    #[test]
    fn a_list_that_is_full_leaves_the_rest_due() {
        let mut gaps = Gaps::new();
        [1, 3, 5].into_iter().for_each(|first| gaps.found(missing(first, first, Time(1))));
        let mut room = 2;
        gaps.take_due(Time(1), u64::MAX, 100, RETRY, |_, _| {
            room -= 1;
            room >= 0
        });
        assert_eq!(gaps.earliest(), Time(1));
        assert_eq!(take(&mut gaps, Time(1), 100), [(5, 5)]);
        assert_eq!(gaps.earliest(), Time(1) + TIMEOUT);
    }

    #[test]
    fn retries_come_further_and_further_apart_up_to_a_bound() {
        let mut gaps = Gaps::new();
        gaps.found(missing(1, 1, Time(1)));
        let mut now = Time(1);
        let mut waits = Vec::new();
        for _ in 0..6 {
            take(&mut gaps, now, 10);
            waits.push(gaps.earliest().since(now) / 1_000_000);
            now = gaps.earliest();
        }
        let waits: Vec<u128> = waits.iter().map(Duration::as_nanos).collect();
        assert_eq!(waits, [1, 2, 4, 4, 4, 4]);
    }

    #[test]
    fn a_confirmation_stands_for_a_nak() {
        let mut gaps = Gaps::new();
        gaps.found(missing(1, 2, Time(1)));
        gaps.found(missing(4, 5, Time(1)));
        gaps.confirmed(4, 9, Time(1), TIMEOUT);
        assert_eq!(take(&mut gaps, Time(1), 100), [(1, 2)]);
        assert_eq!(take(&mut gaps, Time(1) + TIMEOUT, 100), [(1, 2), (4, 5)]);
        // The more often it was asked for, the longer the confirmation is trusted.
        gaps.confirmed(4, 5, Time(1) + TIMEOUT, TIMEOUT);
        assert_eq!(take(&mut gaps, Time(1) + TIMEOUT * 2, 100), []);
        assert_eq!(take(&mut gaps, Time(1) + TIMEOUT * 3, 100), [(1, 2), (4, 5)]);
    }

    #[test]
    fn a_confirmation_is_of_what_it_covers_alone() {
        // What is missing, how much of it was asked for, what is confirmed, and whether that stands for a NAK.
        for (range, credit, (first, last), stands) in [
            ((4, 4), 0, (4, 4), true),
            ((4, 5), 0, (1, 5), true),
            ((6, 7), 0, (4, 9), true),
            ((1, 9), 0, (4, 9), false),
            ((4, 9), 0, (4, 8), false),
            ((4, 9), 3, (4, 6), true),
            ((4, 9), 4, (4, 6), false),
            ((4, 5), 0, (6, 9), false),
        ] {
            let mut gaps = Gaps::new();
            gaps.found(missing(range.0, range.1, Time(1)));
            if credit > 0 {
                take(&mut gaps, Time(1), credit);
            }
            let due = gaps.missing[0].due;
            gaps.confirmed(first, last, Time(1_000), TIMEOUT);
            let later = Time(1_000) + TIMEOUT * if credit > 0 { 2 } else { 1 };
            assert_eq!(
                gaps.missing[0].due,
                if stands { later } else { due },
                "{range:?} {credit} {first} {last}"
            );
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_asked_for_when_there_is() {
        let mut gaps = Gaps::new();
        gaps.found(missing(10, 12, Time(1)));
        let until = |gaps: &mut Gaps, until| {
            let mut asked = Vec::new();
            gaps.take_due(Time(2), until, 100, RETRY, |range, _| {
                asked.push((range.first, range.last()));
                true
            });
            asked
        };
        assert_eq!(until(&mut gaps, 9), []);
        assert_eq!(gaps.earliest(), Time(2) + TIMEOUT);
        gaps.reached(9);
        assert_eq!(gaps.earliest(), Time(2) + TIMEOUT, "not yet");
        gaps.reached(10);
        assert_eq!(gaps.earliest(), Time(1));
        assert_eq!(until(&mut gaps, 10), [(10, 10)]);
        // What was given up is not asked for, whatever room there is.
        gaps.give_up_all(GapReason::SourceGone);
        until(&mut gaps, 12);
        gaps.reached(12);
        assert_eq!(gaps.earliest(), Time::NEVER);
    }

    #[test]
    fn a_nak_asks_for_so_many_and_waits_for_credit_a_quarter_of_the_time_out() {
        let mut gaps = Gaps::new();
        gaps.found(missing(1, MOST_ASKED + 5, Time(1)));
        gaps.found(missing(MOST_ASKED + 7, MOST_ASKED + 7, Time(1)));
        let all = [(1, MOST_ASKED), (MOST_ASKED + 7, MOST_ASKED + 7)];
        assert_eq!(take(&mut gaps.clone(), Time(1), 1 << 30), all);
        assert_eq!(take(&mut gaps, Time(1), 5), [(1, 5)]);
        assert_eq!(gaps.earliest(), Time(1) + TIMEOUT / 4);
    }

    /// Against a list of what is missing, from the first sequence number and up to the last there can be.
    #[test]
    fn what_is_missing_is_what_was_found_and_did_not_come() {
        let mut random = fastrand::Rng::with_seed(1);
        for base in [1, MAX_SEQUENCE - 3_000].into_iter().cycle().take(60) {
            let (mut gaps, mut open) = (Gaps::new(), BTreeMap::new());
            let (mut lead, mut now) = (base, Time(1_000));
            for _ in 0..300 {
                now = now + Duration::from_micros(random.u64(..1_000));
                let any = lead - random.u64(..(lead - base + 1).min(40));
                match random.u8(..8) {
                    0 | 1 => {
                        let (first, last) = (lead + random.u64(1..4), lead + random.u64(4..9));
                        gaps.found(missing(first, last, now));
                        open.extend((first..=last).map(|sequence| (sequence, false)));
                        lead = last;
                    }
                    2..5 => assert_eq!(fill(&mut gaps, any), open.remove(&any).is_some()),
                    5 => {
                        let expected = open.range(..=any).any(|(_, &given_up)| !given_up);
                        assert_eq!(gaps.give_up_to(any, any + 1, GapReason::AgedOut), expected);
                        open.range_mut(..=any).for_each(|(_, given_up)| *given_up = true);
                    }
                    6 => {
                        while let Some(first) = gaps.first().filter(|first| first.given_up.is_some()) {
                            (first.first..=first.last)
                                .for_each(|sequence| assert_eq!(open.remove(&sequence), Some(true)));
                            gaps.pop_first();
                        }
                    }
                    _ => {
                        let (credit, until) = (random.u64(1..30), any);
                        let mut asked = 0;
                        gaps.take_due(now, until, credit, RETRY, |range, _| {
                            let wanted = |sequence| open.get(&sequence) == Some(&false) && sequence <= until;
                            assert!((range.first..=range.last()).all(wanted), "nothing else is asked for");
                            asked += u64::from(range.count);
                            true
                        });
                        assert!(asked <= credit);
                    }
                }
                let listed = gaps.missing.iter().flat_map(|missing| {
                    assert_eq!((missing.before, missing.next), (missing.first, missing.last + 1));
                    (missing.first..=missing.last).map(|sequence| (sequence, missing.given_up.is_some()))
                });
                assert!(listed.eq(open.iter().map(|(&sequence, &given_up)| (sequence, given_up))));
            }
        }
    }
}
