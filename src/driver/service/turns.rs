//! Whose turn it is: the application's, which does everything itself while it sends run after run, or the service thread's.

use super::{Shared, Working};
use crate::protocol::Time;
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Nothing a transmit brings is due sooner: the first heartbeat is.
pub(super) const SOON: Duration = Duration::from_millis(1);
/// An application that is busy for so many transmits takes in the NAKs itself.
const STREAK: u32 = 8;
/// An application that tends the endpoint does so again within this.
const TENDED_WITHIN: Duration = Duration::from_millis(2);
/// The service thread wakes for one that does not any more after this at the latest. Where it is later than the processor's next tick
/// (4 ms on most machines, 10 on few), to set a timer for it costs next to nothing, on a virtual machine too.
const BACKUP: Duration = Duration::from_millis(10);
/// An application that transmits with less than this between is busy.
const BUSY: Duration = Duration::from_micros(50);
/// When a busy application has not transmitted for a while the service thread takes over: a while in which setting the timer
/// for it takes this part of the time, in these bounds. On a virtual machine a timer that is soon due costs as much as ten
/// datagrams; on others it costs next to nothing.
const TIMER_PART: u32 = 64;
pub(super) const PAUSE_MIN: Duration = Duration::from_micros(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_micros(500);
/// And a while of so many transmits, where each takes long: the receivers of this machine have the processors meanwhile, and the
/// more there are of them the longer.
const PAUSE_TRANSMITS: u32 = 16;
pub(super) const PAUSE_MOST: Duration = Duration::from_millis(4);
/// The service thread tries the lock so many times, some microseconds, before it leaves its work to whoever holds it.
const TRIES: u32 = 64;

impl Shared {
    /// The lock for the service thread, unless it is held. An application that transmits holds it for as long as the system sends,
    /// and the receivers of this machine run in between: to wait for that would cost both threads more than what there is to
    /// do. Who transmits does it then. Who has something else to do in there is soon gone.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Working>> {
        for _ in 0..TRIES {
            if let Some(working) = self.working.try_lock() {
                return Some(working);
            }
            std::hint::spin_loop();
        }
        self.missed.store(true, Ordering::Relaxed);
        self.working.try_lock()
    }
}

impl Working {
    /// Has the service thread wake by `at`.
    pub(super) fn wake_by(&mut self, shared: &Shared, at: Time) {
        if at < self.wakes_at {
            self.wakes_at = at;
            if self.serves && !cfg!(target_os = "linux") {
                // It waits until then by itself: where there is no timer, to set the moment is to wake it.
                return;
            }
            self.publisher.count_socket(|stats| stats.system_calls += 1);
            let before = shared.clock.now();
            shared.alarm.after(at.since(before));
            let took = shared.clock.now().since(before);
            self.timer_cost = (self.timer_cost * 7 + took.min(PAUSE_MAX)) / 8;
            // That is no pause of the application's.
            self.pace.besides(took);
        }
    }

    /// Has the service thread wake when the state machine next wants it.
    pub(crate) fn arm(&mut self, shared: &Shared) {
        let now = shared.clock.now();
        let at = self.due(now);
        self.wake_by(shared, at);
    }

    /// When something can next be done. While the socket takes nothing, nothing that is due can be.
    pub(super) fn due(&mut self, now: Time) -> Time {
        if self.outgoing.blocked_until < Time::NEVER {
            return self.outgoing.blocked_until.max(now);
        }
        self.publisher.poll_timeout(now).0.min(self.look_again).min(self.tell_at)
    }

    /// The application transmits: after a number of times without a pause it takes in the NAKs too.
    pub(super) fn take_over(&mut self, shared: &Shared, now: Time) {
        if now.since(self.pace.transmitted) >= BUSY {
            self.streak = 0;
        }
        self.streak = self.streak.saturating_add(1);
        if self.watched && (self.is_busy() || self.is_tended(now)) {
            self.publisher.count_socket(|stats| stats.system_calls += 1);
            self.watched = !shared.watch.set(&shared.socket, false);
        }
    }

    /// The application does the service thread's work besides, and said so just now.
    pub(super) fn is_tended(&self, now: Time) -> bool {
        now.since(self.tended) < TENDED_WITHIN
    }

    /// With the next transmit a busy application looks for what its receivers say, however short ago it did.
    pub(crate) fn look_at_once(&mut self) {
        self.received = Time(0);
    }

    /// The application has transmitted for a while without a pause.
    pub(super) fn is_busy(&self) -> bool {
        self.streak > STREAK
    }

    /// The application pauses: the service thread takes in the NAKs.
    pub(super) fn hand_over(&mut self, shared: &Shared) {
        self.streak = 0;
        if !self.watched {
            self.publisher.count_socket(|stats| stats.system_calls += 1);
            self.watched = shared.watch.set(&shared.socket, true);
        }
    }

    /// All that waits was transmitted: the service thread need not wake for it. Were it left to, it would meet the application
    /// in the lock with nothing to do, every so many microseconds. The timer costs as much as dozens of messages, so it is put
    /// off only once most of its time is over.
    pub(super) fn put_off(&mut self, shared: &Shared, now: Time) {
        // What is sent next waits for others too, where what was sent last did.
        let tended = !self.watched && self.is_tended(now);
        let (most, least) = match self.pace.waiting.take().unwrap_or(SOON) {
            _ if tended => (BACKUP, BACKUP / 2),
            waiting => {
                let most = waiting.min(if self.watched { SOON } else { self.pause });
                (most, most / 4)
            }
        };
        let wake = match self.watched {
            true => self.due(now).min(now + most),
            false if tended => self.tended + most,
            false => now + most,
        };
        if self.wakes_at > wake || (self.wakes_at < wake && self.wakes_at < now + least) {
            // Kept until the next time: were it to shrink at each transmit the timer would have to be set at each.
            let for_timer = (self.timer_cost * TIMER_PART).clamp(PAUSE_MIN, PAUSE_MAX);
            self.pause = for_timer.max((self.pace.interval * PAUSE_TRANSMITS).min(PAUSE_MOST));
            self.wakes_at = Time::NEVER;
            self.wake_by(shared, wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::super::tests::{service, unserved};
    use super::*;
    use crate::driver::inlet::Pushed;
    use std::thread;

    /// Has something come to the socket while the lock is held, and the service thread find it so.
    fn missed(service: &Service, working: &Working) {
        assert!(working.watched);
        let socket = &service.shared.socket;
        let _sent = socket.as_socket().send_to(b"not ours", socket.local_addr()).unwrap();
        let until = service.shared.clock.now() + Duration::from_secs(20);
        while !service.shared.missed.load(Ordering::Relaxed) {
            assert!(!until.is_due(service.shared.clock.now()));
            thread::yield_now();
        }
    }

    #[test]
    fn who_transmits_takes_in_what_the_service_thread_came_for_in_one_call() {
        let service = service();
        let mut working = service.shared.lock();
        missed(&service, &working);
        let stats = |working: &Working| working.publisher.stats();
        assert_eq!(stats(&working).rejected.iter().sum::<u64>(), 0);
        service.shared.transmit(&mut working);
        assert_eq!(stats(&working).rejected.iter().sum::<u64>(), 1);

        missed(&service, &working);
        let before = stats(&working).system_calls;
        let received = working.receive(&service.shared, Time(0));
        assert!(received.received && received.drained);
        let calls = if cfg!(target_os = "linux") { 1 } else { 2 };
        assert_eq!(stats(&working).system_calls - before, calls);
    }

    #[test]
    fn who_is_busy_looks_for_naks_once_in_the_time_of_a_run_and_before_what_is_due() {
        // The service thread is not there to look.
        let shared = unserved();
        let mut working = shared.lock();
        (working.unserved, working.watched) = (false, false);
        let now = shared.clock.now();
        let later = now + Duration::from_secs(3_600);
        // Nothing is due.
        working.publisher.handle_timeout(later);
        // After each look all that came until then is here.
        for (name, looks) in [("no time", false), ("at once", true), ("something is due", true)] {
            working.received = later;
            match name {
                "at once" => working.look_at_once(),
                "something is due" => {
                    working.publisher.open_stream("t", now);
                    while !working.publisher.poll_timeout(now).0.is_due(shared.clock.now()) {}
                }
                _ => {}
            }
            let _sent = shared.socket.as_socket().send_to(b"not ours", shared.socket.local_addr()).unwrap();
            let before = working.publisher.stats().rejected.iter().sum::<u64>();
            shared.transmit(&mut working);
            let after = working.publisher.stats().rejected.iter().sum::<u64>();
            assert_eq!(after > before, looks, "{name}");
        }
        (working.unserved, working.watched) = (true, true);
    }

    #[test]
    fn the_service_thread_comes_back_where_nobody_did_its_work() {
        let service = service();
        let working = service.shared.lock();
        missed(&service, &working);
        drop(working);
        let until = service.shared.clock.now() + Duration::from_secs(20);
        let rejected = || service.shared.lock().publisher.stats().rejected.iter().sum::<u64>();
        while rejected() == 0 {
            assert!(!until.is_due(service.shared.clock.now()));
            thread::yield_now();
        }
    }

    #[test]
    fn who_tends_the_endpoint_does_what_is_due_and_what_is_asked_and_lets_the_service_thread_sleep() {
        // The service thread is not there to do it.
        let shared = unserved();
        let mut working = shared.lock();
        (working.unserved, working.watched) = (false, true);
        let now = shared.clock.now();
        let stream = working.publisher.open_stream("t", now).unwrap();
        drop(working);
        let until = now + Duration::from_secs(20);
        // Again where this thread was put aside meanwhile, for as long as one that tends no more.
        let mut working = loop {
            shared.tend();
            let working = shared.lock();
            if !working.watched && working.wakes_at == working.tended + BACKUP {
                break working;
            }
            assert!(!until.is_due(shared.clock.now()));
        };
        working.publisher.send(stream, b"a message, and then none", now).unwrap();
        working.publisher.flush(stream);
        drop(working);
        let _sent = shared.socket.as_socket().send_to(b"not ours", shared.socket.local_addr()).unwrap();
        loop {
            shared.tend();
            let mut working = shared.lock();
            let stats = working.publisher.stats();
            let now = shared.clock.now();
            assert!(!until.is_due(now), "{stats:?}");
            if stats.heartbeats >= 3 && stats.datagrams >= 1 && stats.rejected.iter().sum::<u64>() == 1 {
                (working.unserved, working.watched) = (true, true);
                break;
            }
        }
    }

    #[test]
    fn the_service_thread_takes_over_from_who_tends_no_more() {
        let service = service();
        let shared = &*service.shared;
        shared.lock().publisher.open_stream("t", shared.clock.now()).unwrap();
        let until = shared.clock.now() + Duration::from_secs(20);
        let wait_for = |heartbeats| {
            while shared.lock().publisher.stats().heartbeats < heartbeats {
                assert!(!until.is_due(shared.clock.now()));
                thread::yield_now();
            }
        };
        shared.lock().arm(shared);
        // It is at work.
        wait_for(1);
        shared.tend();
        let heartbeats = shared.lock().publisher.stats().heartbeats;
        wait_for(heartbeats + 3);
        assert!(shared.lock().watched);
    }

    #[test]
    fn who_tends_has_memory_given_back_that_was_promised_to_a_publisher_that_fell_silent() {
        let shared = unserved();
        let mut working = shared.lock();
        working.unserved = false;
        let now = shared.clock.now();
        let quiet = working.publisher.open_stream("quiet", now).unwrap();
        let mut inlet = working.connect(quiet);
        assert!(working.publisher.headroom(quiet, 50, now));
        working.inlets.open(&mut inlet, quiet, 46, now);
        working.look_again = now + PAUSE_MIN;
        assert!(inlet.push(b"one").is_taken());
        drop(working);
        let until = now + Duration::from_secs(20);
        loop {
            shared.tend();
            let mut working = shared.lock();
            if !working.inlets.is_open() && working.publisher.pending(quiet) == (0, false) {
                working.unserved = true;
                break;
            }
            assert!(!until.is_due(shared.clock.now()));
        }
    }

    #[test]
    fn who_transmits_has_it_given_back_too() {
        let shared = unserved();
        let mut working = shared.lock();
        let now = shared.clock.now();
        let [quiet, busy] = ["quiet", "busy"].map(|topic| working.publisher.open_stream(topic, now).unwrap());
        let mut inlet = working.connect(quiet);
        assert!(working.publisher.headroom(quiet, 50, now));
        working.inlets.open(&mut inlet, quiet, 46, now);
        assert!(inlet.push(b"one").is_taken());
        let until = now + Duration::from_secs(20);
        while working.inlets.is_open() {
            let begun = shared.clock.now();
            assert!(!until.is_due(begun));
            shared.transmit_with_others(&mut working, busy, begun);
        }
        assert_eq!(working.publisher.pending(quiet), (0, false));
        assert_eq!(inlet.push(b"two"), Pushed::Alone);
    }

    #[test]
    fn who_waits_tends_no_more() {
        let service = service();
        let shared = &*service.shared;
        shared.tend();
        let mut working = shared.lock();
        working.tended = shared.clock.now() + Duration::from_secs(3_600);
        let soon = shared.clock.now() + Duration::from_millis(1);
        shared.wait_for(&mut working, Some(soon), |_| false);
        assert!(working.watched && working.tended == Time(0));
        let due = working.due(soon);
        assert!(working.wakes_at <= due);
    }

    #[test]
    fn who_transmits_tells_those_who_wait_for_room_when_it_is_time() {
        let shared = unserved();
        let mut working = shared.lock();
        let now = shared.clock.now();
        // Nothing else is due.
        working.publisher.handle_timeout(now + Duration::from_secs(3_600));
        shared.transmit(&mut working);
        working.unserved = false;
        for (at, told) in [(now + Duration::from_secs(3_600), false), (now, true)] {
            working.tell_at = at;
            shared.transmit(&mut working);
            assert_eq!(working.tell_at == Time::NEVER, told);
        }
        working.unserved = true;
    }

    #[test]
    fn where_a_transmit_takes_long_the_service_thread_is_put_off_for_longer() {
        let service = service();
        let shared = &*service.shared;
        let mut working = shared.lock();
        // So many transmits, each so long after the one before; gives the pause that follows, and how often the timer was set.
        let transmits = |working: &mut Working, count: u64, micros: u64| {
            let mut set = 0;
            for _ in 0..count {
                let now = Time(working.pace.transmitted.0 + micros * 1_000);
                working.pace.reckon(now, now, 1, working.streak > 1);
                (working.timer_cost, working.watched) = (Duration::ZERO, false);
                let before = working.wakes_at;
                working.pace.waiting = Some(working.pause);
                working.put_off(shared, now);
                set += u64::from(working.wakes_at != before);
            }
            (working.pause.as_micros(), set)
        };
        working.streak = STREAK;
        assert_eq!(transmits(&mut working, 200, 5).0, PAUSE_MIN.as_micros());
        let (pause, set) = transmits(&mut working, 1_000, 200);
        assert!((3_190..=3_200).contains(&pause), "sixteen of them: {pause}");
        // Three quarters of the pause are twelve of them.
        assert!((75..=95).contains(&set), "{set}");
        let (pause, set) = transmits(&mut working, 1_000, 20);
        assert!((320..=335).contains(&pause) && (60..=95).contains(&set), "{pause} {set}");
        assert_eq!(transmits(&mut working, 200, 1_000_000).0, PAUSE_MOST.as_micros());
        // One of now and then says nothing of that.
        working.streak = 1;
        let pace = working.pace.interval;
        transmits(&mut working, 1, 20);
        assert_eq!(working.pace.interval, pace);
        working.watched = true;
    }
}
