//! When what the application sends leaves: at once, or with what follows.

use super::{Shared, Working};
use crate::driver::inlet::{Inlet, Inlets};
use crate::protocol::Time;
use parking_lot::MutexGuard;
use std::time::Duration;

impl Shared {
    /// After a message was taken, and the clock [looked at](Inlet::look): it leaves at once, unless many came before
    /// it faster than the system can send. Then what comes piles up just as long as the system needs, or until it fills a run.
    /// What is left waiting leaves when its time comes.
    ///
    /// While messages wait, those that come in a tight loop go by the inlet.
    pub(crate) fn dispatch(
        &self,
        working: &mut MutexGuard<'_, Working>,
        inlet: &mut Inlet,
        stream: u32,
        now: Time,
    ) {
        // What leaves alone takes that long itself.
        let saturated = inlet.is_tight() || working.pace.is_close();
        inlet.costs(if saturated { working.pace.cost } else { Duration::ZERO });
        let full = working.publisher.pending(stream).0 >= working.publisher.max_run();
        if full || !working.pace.waits(inlet, now) {
            let (follows, idle) = (working.pace.follows(inlet, now), now.since(working.pace.transmitted));
            if !full {
                working.publisher.flush(stream);
            }
            self.transmit_with_others(working, stream, now);
            if inlet.is_tight() {
                working.go_on(self, inlet, stream);
            } else {
                working.publisher.prepare(stream);
                if follows {
                    working.pace.followed();
                } else {
                    working.pace.calm(idle);
                }
                if working.pace.is_close() {
                    // What sends message after message without a pause is not slow for what sending takes.
                    working.pace.goes_on(inlet, self.clock.now());
                }
            }
        } else {
            working.pile_up(self, inlet, stream, now);
            if inlet.is_tight() {
                // A timer that was set is no pause.
                working.pace.goes_on(inlet, self.clock.now());
            }
        }
    }

    /// What was pushed into an inlet is a run, or has waited long enough: it leaves, and more may be pushed if there is room.
    pub(crate) fn depart(
        &self,
        working: &mut MutexGuard<'_, Working>,
        inlet: &mut Inlet,
        stream: u32,
        now: Time,
    ) {
        inlet.costs(working.pace.cost);
        working.depart(inlet, stream, now);
        self.transmit_with_others(working, stream, self.clock.now());
        if inlet.is_tight() {
            working.go_on(self, inlet, stream);
        }
    }
}

impl Working {
    /// A run left, and more is to come: it piles up from now on.
    fn go_on(&mut self, shared: &Shared, inlet: &mut Inlet, stream: u32) {
        self.pile_up(shared, inlet, stream, shared.clock.now());
        // Setting a timer, too, takes longer than what comes in a tight loop.
        self.pace.goes_on(inlet, shared.clock.now());
    }

    /// Messages wait for others; those that come in a tight loop are pushed, as many as fill a run.
    fn pile_up(&mut self, shared: &Shared, inlet: &mut Inlet, stream: u32, now: Time) {
        let tight = inlet.is_tight();
        let pile = self.pace.pile(inlet);
        let pushes = tight && pile >= Inlet::BETWEEN_LOOKS && !self.unserved;
        if !pushes && self.publisher.pending(stream) == (0, false) {
            return;
        }
        // Where the application sends run after run the timer is for its end alone, and the later the more seldom it is set. A
        // burst of some messages is over before that.
        let run_after_run = !self.watched && (tight && inlet.is_sure() || self.pace.is_flooded());
        let most = if run_after_run { self.pause } else { self.publisher.config().max_delay };
        self.pace.waiting = Some(most);
        if !self.is_tended(now) {
            self.wake_by(shared, now + most);
        }
        if !pushes {
            return;
        }
        let (sealed, packing) = self.publisher.pending(stream);
        // As a window fills, so many as there is leave for: alone they would cost a system call each.
        let leave = self.publisher.leave(stream).saturating_sub(Inlets::SPLITS);
        let left = inlet.run().saturating_sub(sealed + u64::from(packing)).min(leave);
        if left > 0 && self.publisher.headroom(stream, left + Inlets::SPLITS, now) {
            self.inlets.open(inlet, stream, left as usize, self.pace.transmitted + pile);
            self.look_again = self.look_again.min(now + most);
        }
    }

    /// What publishers may push without the lock, or may just have, was looked after now, and is again in time. Where one was let go who waits
    /// for room may have its memory.
    fn looked_after(&mut self, let_go: bool, now: Time) {
        if let_go && !self.for_room.is_empty() {
            // They are told with what is transmitted now.
            self.tell_at = now;
        }
        self.look_again = if self.inlets.is_open() { now + self.pause } else { Time::NEVER };
    }

    /// Takes in what all publishers pushed, so that none waits for an application that sends to another stream. They push no more, and
    /// when that has long been so, what memory was promised to them is there for others.
    pub(crate) fn take_in_all(&mut self, now: Time) {
        let let_go = self.inlets.take_in_all(&mut self.publisher, now);
        self.looked_after(let_go, now);
    }

    /// The same, to be sent now.
    pub(crate) fn close_inlets(&mut self, now: Time) {
        let let_go = self.inlets.flush_all(&mut self.publisher, now);
        self.looked_after(let_go, now);
    }

    /// Takes in what a publisher pushed that calls this.
    pub(crate) fn take_in(&mut self, stream: u32, now: Time) {
        self.inlets.take_in(&mut self.publisher, stream, now);
    }

    /// The inlet of a publisher whose stream was just opened.
    pub(crate) fn connect(&mut self, stream: u32) -> Inlet {
        self.inlets.connect(&self.publisher, stream)
    }

    /// A publisher is gone, and what it pushed was taken in.
    pub(crate) fn forget(&mut self, stream: u32) {
        self.inlets.forget(stream);
    }

    /// What a publisher pushed comes before what it does next, under the lock.
    pub(crate) fn enter(&mut self, inlet: &mut Inlet, stream: u32, now: Time) {
        self.inlets.enter(&mut self.publisher, inlet, stream, now);
    }

    /// The same, to be sent at once.
    fn depart(&mut self, inlet: &mut Inlet, stream: u32, now: Time) {
        self.inlets.depart(&mut self.publisher, inlet, stream, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::{CLOSELY, FLOOD, FOLLOWS_PART};
    use super::super::tests::{service, status};
    use super::super::turns::{PAUSE_MAX, PAUSE_MOST};
    use super::*;
    use crate::wire::Position;

    /// A stream that is announced, and its inlet.
    fn announced(shared: &Shared, working: &mut MutexGuard<'_, Working>) -> (u32, Inlet) {
        let stream = working.publisher.open_stream("t", shared.clock.now()).unwrap();
        shared.transmit(working);
        (stream, working.connect(stream))
    }

    /// Two messages in 100 ns come to an inlet; gives when they began.
    fn tight(shared: &Shared, inlet: &mut Inlet) -> Time {
        let now = shared.clock.now();
        inlet.look(now, 1);
        inlet.look(now + Duration::from_nanos(100), 1);
        now
    }

    /// Sends a message `after` a transmit that took a second, as one of so many that each followed the one before `closely`. Gives
    /// whether it waits, and when the service thread wakes from now.
    fn send(after: Duration, closely: u32) -> (bool, Duration) {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let now = shared.clock.now();
        (working.pace.transmitted, working.pace.closely) = (Time(now.0 - after.as_nanos() as u64), closely);
        working.pace.cost = Duration::from_secs(1);
        // As after some transmits of a busy application.
        working.wakes_at = now + Duration::from_secs(1);
        working.publisher.send(stream, b"message", now).unwrap();
        inlet.look(now, 1);
        shared.dispatch(&mut working, &mut inlet, stream, now);
        (working.publisher.pending(stream) == (0, true), working.wakes_at.since(now))
    }

    #[test]
    fn who_waits_is_looked_after_in_time() {
        let (waits, wakes) = send(Duration::ZERO, CLOSELY + 1);
        assert!(waits && wakes <= Duration::from_micros(50), "{waits}, in {wakes:?}");
    }

    #[test]
    fn nobody_waits_who_is_not_one_of_many_that_follow_each_other_closely() {
        assert!(!send(Duration::ZERO, CLOSELY).0);
        let soon = Duration::from_secs(1) / FOLLOWS_PART;
        assert!(send(soon - Duration::from_millis(1), CLOSELY + 1).0);
        assert!(!send(soon, CLOSELY + 1).0);
    }

    #[test]
    fn the_end_of_a_burst_waits_no_longer_than_any_message_and_that_of_a_long_loop_for_its_pause() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let now = tight(shared, &mut inlet);
        for runs in 1..8 {
            (working.pace.cost, working.pace.transmitted) = (Duration::from_secs(1), now);
            working.pile_up(shared, &mut inlet, stream, now);
            assert!(inlet.push(b"message").is_taken());
            (working.watched, working.timer_cost, working.pause) = (false, PAUSE_MAX, PAUSE_MAX);
            shared.depart(&mut working, &mut inlet, stream, now);
            assert!(inlet.is_tight());
            working.wakes_at = Time::NEVER;
            (working.watched, working.timer_cost, working.pause) = (false, PAUSE_MAX, PAUSE_MAX);
            working.pile_up(shared, &mut inlet, stream, now);
            let most = if inlet.is_sure() { PAUSE_MAX } else { Duration::from_micros(50) };
            assert_eq!((working.wakes_at.since(now), inlet.is_sure()), (most, runs >= 4), "after {runs}");
        }
    }

    #[test]
    fn what_waits_on_one_topic_leaves_with_what_is_sent_on_another() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let [(one, mut inlet), (two, mut other)] = [(); 2].map(|()| announced(shared, &mut working));
        let now = shared.clock.now();
        (working.pace.cost, working.pace.transmitted, working.pace.closely) =
            (Duration::from_secs(1), now, CLOSELY + 1);
        working.publisher.send(one, b"message", now).unwrap();
        shared.dispatch(&mut working, &mut inlet, one, now);
        assert_eq!(working.publisher.pending(one), (0, true), "it waits");
        working.publisher.send(two, b"message", now).unwrap();
        let later = now + Duration::from_secs(10);
        let before = working.publisher.stats().datagrams;
        shared.dispatch(&mut working, &mut other, two, later);
        assert_eq!(working.publisher.pending(one), (0, false));
        assert_eq!(working.publisher.stats().datagrams - before, 2);
    }

    #[test]
    fn where_what_was_sent_cannot_leave_what_waits_fills_its_datagram() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let [(one, _), (two, mut inlet)] = [(); 2].map(|()| announced(shared, &mut working));
        let now = shared.clock.now();
        for (left, packing) in [(true, true), (false, false)] {
            working.left = left;
            // Its own time is not over before this test is.
            working.publisher.send(one, b"message", now + Duration::from_secs(60)).unwrap();
            working.publisher.send(two, b"message", now).unwrap();
            working.publisher.flush(two);
            shared.dispatch(&mut working, &mut inlet, two, now);
            assert_eq!(working.publisher.pending(one), (0, packing));
        }
    }

    #[test]
    fn what_waits_on_one_topic_leaves_with_a_run_of_another() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let [(one, _), (two, mut inlet)] = [(); 2].map(|()| announced(shared, &mut working));
        let now = tight(shared, &mut inlet);
        (working.pace.cost, working.pace.transmitted) = (Duration::from_secs(1), now);
        working.pile_up(shared, &mut inlet, two, now);
        assert!(inlet.push(b"message").is_taken());
        working.publisher.send(one, b"message", now).unwrap();
        let before = working.publisher.stats().datagrams;
        shared.depart(&mut working, &mut inlet, two, now);
        assert_eq!(working.publisher.pending(one), (0, false));
        assert_eq!(working.publisher.stats().datagrams - before, 2);
    }

    #[test]
    fn after_a_long_pause_a_message_is_the_first_of_few() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let now = shared.clock.now();
        for (idle, left) in [(PAUSE_MOST * 2, 0), (PAUSE_MOST / 2, FLOOD / 2)] {
            (working.pace.cost, working.pace.transmitted) = (Duration::from_micros(1), now);
            working.pace.closely = FLOOD;
            working.publisher.send(stream, b"message", now).unwrap();
            shared.dispatch(&mut working, &mut inlet, stream, now + idle);
            assert_eq!((working.publisher.pending(stream), working.pace.closely), ((0, false), left));
        }
    }

    #[test]
    fn what_is_spent_on_transmits_is_no_pause_on_another_topic_once_many_follow_each_other() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (_, mut inlet) = announced(shared, &mut working);
        let mut is_tight = |closely| {
            working.pace.closely = closely;
            let now = shared.clock.now();
            working.pace.goes_on(&mut inlet, now);
            inlet.look(now, 1);
            // Another topic's messages are sent meanwhile, for a second.
            working.pace.spent += Duration::from_secs(1);
            working.pace.pass(&mut inlet);
            inlet.look(now + Duration::from_secs(1) + Duration::from_nanos(100), 1);
            inlet.is_tight()
        };
        assert!(!is_tight(CLOSELY));
        assert!(is_tight(CLOSELY + 1));
    }

    #[test]
    fn to_set_a_timer_is_no_pause_of_the_application() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let mut send = || {
            let now = tight(shared, &mut inlet);
            (working.pace.cost, working.pace.transmitted) = (Duration::from_micros(2), now);
            working.publisher.send(stream, b"message", now).unwrap();
            working.wakes_at = Time::NEVER;
            shared.dispatch(&mut working, &mut inlet, stream, now);
            let next = shared.clock.now();
            inlet.look(next, 1);
            let waits = working.publisher.pending(stream) == (0, true) && working.wakes_at < Time::NEVER;
            working.enter(&mut inlet, stream, next);
            working.publisher.flush(stream);
            shared.transmit(&mut working);
            waits && inlet.is_steady()
        };
        // This thread may be put aside just then.
        assert!((0..100).any(|_| send()), "the next came as the timer was set");
    }

    #[test]
    fn who_waited_in_vain_is_not_kept_waiting_again() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let now = shared.clock.now();
        (working.pace.cost, working.pace.transmitted, working.pace.closely) =
            (Duration::from_secs(1), now, CLOSELY + 1);
        working.publisher.send(stream, b"message", now).unwrap();
        shared.dispatch(&mut working, &mut inlet, stream, now);
        assert_eq!((working.publisher.pending(stream), working.pace.closely), ((0, true), CLOSELY + 1));
        working.publisher.flush(stream);
        working.serve(shared);
        assert_eq!((working.publisher.pending(stream), working.pace.closely), ((0, false), 0));
    }

    #[test]
    fn what_sends_without_a_pause_comes_to_share_runs_though_each_message_left_at_once() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let mut least = Inlet::TIGHT;
        // A message so long after the last one left; gives whether it is seen as one of a tight loop.
        let mut send = |gap| {
            // Whatever this thread is put aside for meanwhile.
            working.pace.cost = Duration::from_micros(4);
            let now = working.pace.transmitted + gap;
            while !now.is_due(shared.clock.now()) {
                std::hint::spin_loop();
            }
            working.publisher.send(stream, b"message", now).unwrap();
            inlet.look(now, 1);
            shared.dispatch(&mut working, &mut inlet, stream, now);
            if !inlet.is_tight() && working.pace.transmitted > now {
                least = least.min(working.pace.transmitted.since(now));
            }
            inlet.is_tight()
        };
        let at_once = Duration::from_nanos(100);
        // A steady application that makes up for a pause, and goes on, has no tight loop.
        let gaps =
            (0..3).flat_map(|_| [Duration::from_micros(9)].into_iter().chain([at_once; CLOSELY as usize]));
        let tight = gaps.filter(|&gap| send(gap)).count();
        assert!((0..10 * CLOSELY).any(|_| send(at_once)), "each left alone");
        if least < Inlet::TIGHT {
            return eprintln!(
                "SKIPPED: this machine sends a message in {least:?}, so that each may be one of a tight loop"
            );
        }
        assert_eq!(tight, 0, "of a steady application");
    }

    #[test]
    fn as_a_window_fills_messages_share_what_there_is_leave_for() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        let (stream, mut inlet) = announced(shared, &mut working);
        let now = tight(shared, &mut inlet);
        // A receiver has room for 20 datagrams.
        let told = Position { stream, ended: false, missed: 0, position: 1, limit: 20 };
        working.publisher.handle_datagram(now, shared.group, &status(told, now));
        (working.pace.cost, working.pace.transmitted) = (Duration::from_secs(1), now);
        working.pile_up(shared, &mut inlet, stream, now);
        // One in each.
        let taken = (0..30).filter(|_| inlet.push(&[0; 1_000]).is_taken()).count() as u64;
        assert_eq!(
            taken,
            19 - Inlets::SPLITS,
            "as many as there is leave for, but for what others may split"
        );
    }
}
