//! Waiting for what others bring about: room, a receiver, a confirmation, or a moment.

use super::turns::SOON;
use super::{Shared, Working};
use crate::protocol::Time;
use crate::protocol::publisher::{Onward, Publisher};
use parking_lot::MutexGuard;

impl Shared {
    /// Waits for a change, at most until `until`; false when that has come.
    pub(crate) fn wait(&self, working: &mut MutexGuard<'_, Working>, until: Option<Time>) -> bool {
        working.for_else += 1;
        let in_time = self.wait_inner(working, until);
        working.for_else -= 1;
        in_time
    }

    /// Waits until messages may follow on a stream, at most until `until`.
    pub(crate) fn wait_for_room(
        &self,
        working: &mut MutexGuard<'_, Working>,
        stream: u32,
        until: Option<Time>,
    ) {
        working.for_room.push(stream);
        self.wait_inner(working, until);
        if let Some(at) = working.for_room.iter().position(|&waits| waits == stream) {
            working.for_room.swap_remove(at);
        }
    }

    fn wait_inner(&self, working: &mut MutexGuard<'_, Working>, until: Option<Time>) -> bool {
        // Who waits tends nothing.
        working.tended = Time(0);
        working.hand_over(self);
        working.arm(self);
        let serve = working.unserved.then(|| self.clock.now() + SOON);
        match until.into_iter().chain(serve).min().and_then(|at| self.clock.instant(at)) {
            None => self.changed.wait(working),
            Some(instant) => {
                let timed_out = self.changed.wait_until(working, instant).timed_out();
                if timed_out && serve.is_none() {
                    return false;
                }
            }
        }
        if working.unserved {
            working.serve(self);
        }
        until.is_none_or(|until| !until.is_due(self.clock.now()))
    }

    /// Wakes those who wait, where there may be what they wait for; gives how many. Every receiver's status comes by itself, and
    /// few of them make room: to wake the sender for each would have it pay for their number. For little room it is woken
    /// when no more came for a while.
    pub(crate) fn tell(&self, working: &mut Working) -> usize {
        let now = self.clock.now();
        let onward = working.for_room.iter().map(|&stream| working.publisher.onward(stream, now)).max();
        let barely = onward == Some(Onward::Barely);
        if working.for_else > 0
            || working.outgoing.too_long.is_some()
            || onward == Some(Onward::Well)
            || (barely && working.tell_at.is_due(now))
        {
            working.tell_at = Time::NEVER;
            return self.changed.notify_all();
        }
        if !barely {
            working.tell_at = Time::NEVER;
        } else if working.tell_at == Time::NEVER {
            working.tell_at = now + SOON;
            working.arm(self);
        }
        0
    }

    /// Waits for changes until `look` finds what it wants, at most until `until`: true when it did. After that it looks once
    /// more, for what came just then counts.
    pub(crate) fn wait_for(
        &self,
        working: &mut MutexGuard<'_, Working>,
        until: Option<Time>,
        mut look: impl FnMut(&Publisher) -> bool,
    ) -> bool {
        loop {
            if look(&working.publisher) {
                return true;
            }
            if !self.wait(working, until) {
                return look(&working.publisher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{service, status, unserved};
    use super::*;
    use crate::wire::Position;
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    /// A thread that waits for room on a stream, and gives whether it was woken.
    fn sender(
        shared: &Arc<Shared>,
        working: &mut MutexGuard<'_, Working>,
        stream: u32,
    ) -> thread::JoinHandle<bool> {
        let (here, is_here) = mpsc::channel();
        let theirs = Arc::clone(shared);
        let waits = thread::spawn(move || {
            let mut working = theirs.lock();
            working.for_room.push(stream);
            here.send(()).unwrap();
            let until = theirs.clock.instant(theirs.clock.now() + Duration::from_secs(20)).unwrap();
            !theirs.changed.wait_until(&mut working, until).timed_out()
        });
        MutexGuard::unlocked(working, || is_here.recv().unwrap());
        waits
    }

    #[test]
    fn what_came_as_the_time_ran_out_counts() {
        let service = service();
        let mut working = service.shared.lock();
        let now = service.shared.clock.now();
        let mut looks = 0;
        let mut second_look = |_: &Publisher| {
            looks += 1;
            looks == 2
        };
        assert!(service.shared.wait_for(&mut working, Some(now), &mut second_look));
        assert!(!service.shared.wait_for(&mut working, Some(now), |_| false));
    }

    #[test]
    fn who_waits_is_served_without_the_service_thread_too() {
        let shared = unserved();
        let mut working = shared.lock();
        let now = shared.clock.now();
        working.publisher.open_stream("t", now).unwrap();
        let heartbeats = |publisher: &Publisher| publisher.stats().heartbeats >= 3;
        assert!(shared.wait_for(&mut working, Some(now + Duration::from_secs(20)), heartbeats));
        let soon = shared.clock.now() + Duration::from_millis(5);
        assert!(!shared.wait_for(&mut working, Some(soon), |_| false));
        assert!(soon.is_due(shared.clock.now()));
    }

    #[test]
    fn who_waits_for_room_is_told_when_another_publisher_transmits() {
        // A busy application puts the service thread off.
        let shared = unserved();
        let mut working = shared.lock();
        let now = shared.clock.now();
        let stream = working.publisher.open_stream("t", now).unwrap();
        // Nothing is due meanwhile.
        working.publisher.handle_timeout(now + Duration::from_secs(3_600));
        shared.transmit(&mut working);
        working.outgoing.blocked_until = now + Duration::from_secs(3_600);
        working.publisher.send(stream, b"the socket takes no more", now).unwrap();
        working.publisher.flush(stream);
        shared.transmit(&mut working);
        assert_eq!(working.publisher.pending(stream), (1, false));
        let waits = sender(&shared, &mut working, stream);
        working.outgoing.blocked_until = now;
        shared.transmit(&mut working);
        assert_eq!(working.publisher.pending(stream), (0, false));
        drop(working);
        assert!(waits.join().unwrap());
    }

    #[test]
    fn who_waits_for_room_sleeps_on_while_there_is_little() {
        let shared = unserved();
        let mut working = shared.lock();
        let now = shared.clock.now();
        let stream = working.publisher.open_stream("t", now).unwrap();
        let tell = |working: &mut Working, position| {
            let told = Position { stream, ended: false, missed: 0, position, limit: position + 99 };
            working.publisher.handle_datagram(now, shared.group, &status(told, now));
            shared.tell(working)
        };
        tell(&mut working, 1);
        while working.publisher.send(stream, &[7; 1_000], now).is_ok() {
            shared.transmit(&mut working);
        }
        let waits = sender(&shared, &mut working, stream);
        assert_eq!(shared.tell(&mut working), 0);
        assert_eq!((tell(&mut working, 1), working.tell_at), (0, Time::NEVER));
        let before = shared.clock.now();
        assert_eq!([2, 10, 25].map(|position| tell(&mut working, position)), [0; 3]);
        // Until no more came for a while.
        let at = working.tell_at;
        assert!(at >= before + SOON && at <= shared.clock.now() + SOON);
        assert!(working.wakes_at <= at && working.due(before) <= at);
        while !at.is_due(shared.clock.now()) {
            thread::yield_now();
        }
        assert_eq!((shared.tell(&mut working), working.tell_at), (1, Time::NEVER));
        drop(working);
        assert!(waits.join().unwrap());

        // For anything else it is woken at once, and for as much as a receiver with room for 100 tells of at a time.
        for (others, position) in [(1, 25), (0, 26)] {
            let mut working = shared.lock();
            (working.for_else, working.for_room) = (0, Vec::new());
            let waits = sender(&shared, &mut working, stream);
            working.for_else = others;
            assert_eq!(tell(&mut working, position), 1);
            drop(working);
            assert!(waits.join().unwrap());
        }
    }
}
