//! What is asked for, and when.

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
    assert_eq!(gaps.missing.len(), 2);
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

#[test]
fn of_many_ranges_those_without_anything_between_are_one_and_their_memory_is_given_back() {
    const MANY: u64 = MANY_RANGES as u64;
    let mut gaps = Gaps::new();
    (1..=2 * MANY).for_each(|sequence| gaps.found(missing(sequence, sequence, Time(sequence))));
    assert_eq!((gaps.missing.len(), ranges(&gaps).last()), (MANY_RANGES, Some(&(MANY, 2 * MANY))));
    // All are asked for, and each comes by itself.
    let asked: u64 = take(&mut gaps, Time(1_000), 1 << 20).iter().map(|(first, last)| last - first + 1).sum();
    assert_eq!(asked, 2 * MANY);
    assert!((1..=2 * MANY).all(|sequence| fill(&mut gaps, sequence)) && gaps.is_empty());
    // With something between they are apart.
    (0..8 * MANY).for_each(|at| gaps.found(missing(10_000 + 2 * at, 10_000 + 2 * at, Time(1))));
    assert_eq!(gaps.missing.len(), 8 * MANY_RANGES);
    while gaps.pop_first().is_some() {}
    assert!(gaps.missing.capacity() <= 2 * KEPT_RANGES);
}
