//! When the clock is looked at, and what is a loop.

use super::tests::publisher;
use super::*;

/// So many messages that take the lock, each so long after the last; gives when the last came.
fn come(inlet: &mut Inlet, mut now: Time, messages: u32, each: Duration) -> Time {
    for _ in 0..messages {
        now = now + each;
        inlet.look(now, 1);
    }
    now
}

const SOON: Duration = Duration::from_nanos(50);
const LATE: Duration = Duration::from_millis(1);

#[test]
fn the_clock_is_looked_at_every_few_microseconds_and_by_who_is_slow_each_time() {
    let mut inlet = Inlets::default().connect(&publisher(), 1);
    let mut now = come(&mut inlet, Time(1_000_000), 1, LATE);
    for (runs, batch) in [(0, 1), (SURE_RUNS - 1, 1), (SURE_RUNS, 80)] {
        inlet.runs = runs;
        for _ in 0..10 {
            // As if all were pushed.
            now = now + SOON * inlet.batch.max(1);
            inlet.left = 0;
            inlet.look(now, u32::from(inlet.batch == 0));
        }
        assert_eq!(inlet.batch, batch, "4 us of them, when {runs} runs left");
    }
    inlet.due = now + Duration::from_micros(20);
    inlet.left = 0;
    assert!(inlet.may_wait(now + Duration::from_micros(4)));
    inlet.left = 0;
    assert!(!inlet.may_wait(now + Duration::from_micros(24)), "it is due");
    come(&mut inlet, now + Duration::from_micros(24), 2, LATE);
    assert!(!inlet.is_tight() && !inlet.is_sure());
}

#[test]
fn one_pause_is_not_the_end_of_a_loop_but_of_a_short_burst() {
    let mut inlet = Inlets::default().connect(&publisher(), 1);
    let mut now = come(&mut inlet, Time(1_000_000), 100, SOON);
    for (messages, is_tight) in [(STEADY, true), (100, true), (STEADY, true), (STEADY - 1, false)] {
        inlet.runs = SURE_RUNS;
        now = come(&mut inlet, now, 1, LATE);
        assert!(inlet.is_tight() && !inlet.is_sure(), "it may have been put aside");
        now = come(&mut inlet, now, messages, SOON);
        assert_eq!(inlet.batch, 1);
        if !is_tight {
            now = come(&mut inlet, now, 1, LATE);
            assert!(!inlet.is_tight(), "after {messages}");
        }
    }
    // Nor do short bursts ever become one, however many come.
    for _ in 0..10 {
        now = come(&mut inlet, now, STEADY - 1, SOON);
        now = come(&mut inlet, now, 1, LATE);
        assert!(!inlet.is_tight());
    }
}

#[test]
fn who_takes_the_lock_again_and_again_is_counted_as_often() {
    let mut inlet = Inlets::default().connect(&publisher(), 1);
    let now = come(&mut inlet, Time(1_000_000), 1, LATE);
    (inlet.batch, inlet.steady) = (100, 0);
    inlet.go_on(now);
    come(&mut inlet, now, 1, Inlet::TIGHT);
    assert!(!inlet.is_tight(), "it was one message, not a batch");
}

#[test]
fn where_to_send_takes_long_messages_come_in_a_loop_that_take_half_as_long() {
    for (cost, longest) in [(0, 999), (1_000, 999), (4_000, 1_999), (20_000, 9_999)] {
        for (each, is_tight) in [(999, true), (longest, true), (longest + 1, false)] {
            for runs in [0, SURE_RUNS] {
                let mut inlet = Inlets::default().connect(&publisher(), 1);
                inlet.costs(Duration::from_nanos(cost));
                let now = come(&mut inlet, Time(1_000_000), 1, LATE);
                inlet.runs = runs;
                come(&mut inlet, now, 20, Duration::from_nanos(each));
                assert_eq!(inlet.is_tight(), is_tight, "each in {each} of {cost} ns, after {runs}");
            }
        }
    }
}
