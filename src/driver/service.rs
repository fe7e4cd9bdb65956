//! A publisher's endpoint at work. The application's threads write into the window and transmit; the service thread answers
//! NAKs and keeps time, and sleeps otherwise. Both do so under one lock, which the state machine lives in.
//!
//! While the application sends run after run, it takes in the NAKs itself between two of them, and the service thread is left
//! asleep: waking it for each would cost both threads more than the answer does. When the application pauses, or waits for
//! room, the service thread takes over. Where receivers of the same machine have the processors in between, the two meet more often,
//! and the more receivers there are: so the service thread never waits for the lock, but leaves its work to who transmits.

mod dispatch;
mod outgoing;
mod pace;
mod turns;
mod wait;

use super::clock::{Clock, Seldom};
use super::inlet::Inlets;
use super::waiter::{Alarm, Switch, Waiter};
use crate::net::{self, Receiver, Socket, SocketError};
use crate::protocol::Time;
use crate::protocol::publisher::Publisher;
use outgoing::Outgoing;
use pace::Pace;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use turns::{PAUSE_MIN, SOON};

/// Messages of one system call in which NAKs and status are received.
const RECEIVE_MESSAGES: usize = 32;
/// A busy application looks for NAKs no more often: as long as a run takes to fill. Who sends messages one by one, and waits for an
/// answer to each, would have it late for that.
const BETWEEN_LOOKS: Duration = Duration::from_micros(16);
/// System calls that receive before what is due is looked at again.
const RECEIVE_BATCHES: usize = 16;
/// How often the wall clock is compared with the monotonic one, which does not follow its corrections.
const WALL_CLOCK_CHECK: Duration = Duration::from_secs(1);
/// Runs that are transmitted before the lock is handed to whoever waits for it: an answer to a NAK for the whole window must
/// not hold the application up for as long as that takes.
const MOST_RUNS: u32 = 8;

/// What the application's threads and the service thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    working: Mutex<Working>,
    /// Something changed that a thread may wait for: room, a receiver, a confirmation.
    changed: Condvar,
    pub(crate) clock: Clock,
    pub(crate) socket: Socket,
    pub(crate) group: SocketAddr,
    alarm: Alarm,
    /// Whether the service thread wakes for what comes to the socket.
    watch: Switch,
    /// It woke while the lock was held: who transmits does its work.
    missed: AtomicBool,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct Working {
    pub(crate) publisher: Publisher,
    outgoing: Outgoing,
    receiver: Receiver,
    /// The service thread wakes for NAKs; otherwise the application takes them in.
    watched: bool,
    /// Transmits of the application while it was busy.
    streak: u32,
    /// When the service thread wakes at the latest.
    wakes_at: Time,
    /// What setting the timer for that takes.
    timer_cost: Duration,
    /// When it was last looked for NAKs.
    received: Time,
    /// When the application last tended the endpoint.
    tended: Time,
    pub(crate) pace: Pace,
    /// How long the application may pause before the service thread takes over.
    pause: Duration,
    /// Where messages come from that were sent in a tight loop.
    inlets: Inlets,
    /// When to look after these at the latest.
    look_again: Time,
    /// Live data was left by the last transmit, for the rate or the socket: there may be who waits for it to leave.
    left: bool,
    /// The streams for whose room somebody waits, and how many wait for something else.
    for_room: Vec<u32>,
    for_else: usize,
    /// When to wake the former though there is little.
    tell_at: Time,
    wall_clock: Time,
    /// What cannot be received is said.
    warnings: Seldom,
    stop: bool,
    /// What is done at present the service thread does.
    serves: bool,
    /// The service thread has ended: who waits does its work.
    unserved: bool,
}

impl Shared {
    /// The lock. Whoever takes it and changes something transmits, or arms the alarm.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Working> {
        self.working.lock()
    }

    /// Does the service thread's work, for an application that never sleeps. Elsewhere than on Linux that thread does it: it is
    /// woken to be put off.
    pub(crate) fn tend(&self) {
        if !cfg!(target_os = "linux") {
            return;
        }
        // Who has the lock does that work, or is soon done.
        let Some(mut working) = self.working.try_lock() else { return };
        let now = self.clock.now();
        working.tended = now;
        if working.look_again.is_due(now) {
            working.close_inlets(now);
        }
        // A transmit does the rest.
        if working.watched || now.since(working.received) >= BETWEEN_LOOKS || working.due(now).is_due(now) {
            self.transmit_at(&mut working, now);
        }
    }

    /// Transmits what there is on a stream, with what waits on others and was pushed there; the former where nothing is left behind.
    pub(crate) fn transmit_with_others(
        &self,
        working: &mut MutexGuard<'_, Working>,
        stream: u32,
        begun: Time,
    ) {
        working.take_in_all(begun);
        // Where the rate or the socket leaves things behind, what waits fills its datagrams meanwhile.
        if !working.left {
            working.publisher.flush_others(stream);
        }
        self.transmit_taken(working, begun);
    }

    /// Transmits what there is, and lets the service thread have the lock if it waits for it.
    pub(crate) fn transmit(&self, working: &mut MutexGuard<'_, Working>) {
        self.transmit_at(working, self.clock.now());
    }

    /// The same, by who has just looked at the clock: a look costs as much as all else that is done with a small message.
    fn transmit_at(&self, working: &mut MutexGuard<'_, Working>, begun: Time) {
        working.take_in_all(begun);
        self.transmit_taken(working, begun);
    }

    /// The same when all was taken in.
    fn transmit_taken(&self, working: &mut MutexGuard<'_, Working>, begun: Time) {
        working.take_over(self, begun);
        // What the application sends does not wait for what else there is to do.
        let spent = working.pace.spent;
        let mut sent = working.transmit(self, begun);
        let now = self.clock.now();
        let mut runs = sent.runs;
        let missed = self.missed.swap(false, Ordering::Relaxed);
        let looks = !working.watched && now.since(working.received) >= BETWEEN_LOOKS;
        if missed {
            // Its timer may have gone off for nothing.
            working.wakes_at = Time::NEVER;
        }
        // The service thread is put off, so what it would have done by now is done here. What came is read before it is found that nothing
        // did for long.
        let is_due = |working: &mut Working| working.publisher.poll_timeout(now).0.is_due(now);
        let mut due = is_due(working);
        let takes_in = looks || working.unserved || missed || due;
        let is_asked = takes_in && working.receive(self, now).received;
        working.follow_wall_clock(self, now);
        if is_asked {
            due = is_due(working);
        }
        if due {
            working.publisher.handle_timeout(now);
        }
        if is_asked || due || working.tell_at.is_due(now) {
            sent = working.transmit(self, now);
            runs += sent.runs;
            self.tell(working);
        }
        let done = self.clock.now();
        let follows = working.streak > 1;
        working.pace.reckon(begun, done, runs, follows);
        working.pace.spent = spent + done.since(begun);
        working.put_off(self, now);
        // What is live is the application's; the service thread sees to repairs that are left.
        while sent.more && working.publisher.has_live() {
            MutexGuard::bump(working);
            let begun = self.clock.now();
            sent = working.transmit(self, begun);
            let done = self.clock.now();
            working.pace.transmitted = done;
            working.pace.spent += done.since(begun);
        }
        if sent.more {
            let now = self.clock.now();
            working.wake_by(self, now);
        }
        if working.watched {
            working.arm(self);
        }
        MutexGuard::bump(working);
    }
}

/// What taking in did.
#[derive(Clone, Copy, Debug)]
struct Received {
    /// Something came.
    received: bool,
    /// There is no more for now.
    drained: bool,
}

/// What one transmit did.
#[derive(Clone, Copy, Debug)]
struct Sent {
    runs: u32,
    /// There may be more to send.
    more: bool,
}

impl Working {
    /// What the service thread does when it wakes; true when there is more to do at once.
    fn serve(&mut self, shared: &Shared) -> bool {
        self.serves = true;
        let now = shared.clock.now();
        let (begun, spent) = (now, self.pace.spent);
        if now.since(self.pace.transmitted) >= self.pause && !self.is_tended(now) {
            self.hand_over(shared);
        }
        let drained = self.receive(shared, now).drained;
        let now = shared.clock.now();
        self.follow_wall_clock(shared, now);
        self.close_inlets(now);
        self.publisher.handle_timeout(now);
        let sent = self.transmit(shared, now);
        if sent.runs > 0 {
            if self.pace.waiting.is_some() {
                // What waited for others waited in vain.
                self.pace.calm(now.since(self.pace.transmitted));
            }
            self.pace.transmitted = shared.clock.now();
        }
        self.wakes_at = Time::NEVER;
        self.pace.waiting = None;
        self.arm(shared);
        if !self.watched {
            let now = shared.clock.now();
            self.wake_by(shared, now + self.pause);
        }
        self.serves = false;
        // With the timers that were set meanwhile.
        self.pace.spent = spent + shared.clock.now().since(begun);
        !drained || sent.more
    }

    fn follow_wall_clock(&mut self, shared: &Shared, now: Time) {
        if now.since(self.wall_clock) >= WALL_CLOCK_CHECK {
            self.wall_clock = now;
            self.publisher.set_wall_offset(shared.clock.wall_offset());
        }
    }

    /// Takes in NAKs and status.
    fn receive(&mut self, shared: &Shared, now: Time) -> Received {
        self.received = now;
        let before = self.receiver.system_calls();
        let mut outcome = Received { received: false, drained: false };
        for _ in 0..RECEIVE_BATCHES {
            let filled = match self.receiver.receive(&shared.socket) {
                Ok(filled) => filled,
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock && self.warnings.is_due(now) {
                        tracing::warn!(%error, "NAKs cannot be received");
                    }
                    outcome.drained = true;
                    break;
                }
            };
            outcome.received = true;
            let now = shared.clock.now();
            while self.receiver.advance() {
                if let Some(datagram) = self.receiver.current() {
                    self.publisher.handle_datagram(now, datagram.from, datagram.bytes);
                }
            }
            // A call that takes many and had room for more took all there were.
            if cfg!(target_os = "linux") && filled < RECEIVE_MESSAGES {
                outcome.drained = true;
                break;
            }
        }
        let (calls, drops) = (self.receiver.system_calls() - before, self.receiver.kernel_drops());
        self.publisher.count_socket(|stats| {
            stats.system_calls += calls;
            stats.kernel_drops = drops;
        });
        outcome
    }

    /// The last datagram that was too long for its way, once.
    pub(crate) fn take_too_long(&mut self) -> Option<SocketError> {
        self.outgoing.too_long.take()
    }

    /// Transmits what there is, but for a number of runs at the most.
    fn transmit(&mut self, shared: &Shared, mut now: Time) -> Sent {
        let mut sent = Sent { runs: 0, more: false };
        while !self.outgoing.is_blocked(now)
            && let Some(transmit) = self.publisher.poll_transmit(now)
        {
            now = self.outgoing.send(shared, &mut self.publisher, &transmit);
            sent.runs += 1;
            if sent.runs == MOST_RUNS {
                sent.more = true;
                break;
            }
        }
        let mut out = net::CopyOut::default();
        self.publisher.settle(|to, from| out.copy(to, from));
        if std::mem::replace(&mut self.left, self.publisher.has_live()) && sent.runs > 0 {
            shared.tell(self);
        }
        sent
    }
}

/// The service thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts the service thread of an endpoint.
    pub(crate) fn start(
        publisher: Publisher,
        socket: Socket,
        group: SocketAddr,
        clock: Clock,
    ) -> io::Result<Service> {
        let waiter = Waiter::new()?;
        waiter.watch(&socket, 0)?;
        let pace = Pace::new(publisher.config().max_delay);
        let shared = Arc::new(Shared {
            working: Mutex::new(Working {
                publisher,
                outgoing: Outgoing::new(),
                receiver: Receiver::new(RECEIVE_MESSAGES),
                watched: true,
                streak: 0,
                wakes_at: Time::NEVER,
                timer_cost: Duration::ZERO,
                received: Time(0),
                tended: Time(0),
                pace,
                pause: PAUSE_MIN,
                for_room: Vec::with_capacity(4),
                for_else: 0,
                tell_at: Time::NEVER,
                inlets: Inlets::default(),
                look_again: Time::NEVER,
                left: false,
                wall_clock: clock.now(),
                warnings: Seldom::default(),
                stop: false,
                serves: false,
                unserved: false,
            }),
            changed: Condvar::new(),
            clock,
            socket,
            group,
            alarm: waiter.alarm(),
            watch: waiter.switch(0)?,
            missed: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("nakcast-service".into()).spawn(move || serve(&theirs, waiter))?;
        Ok(Service { shared, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.alarm.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the service thread panicked");
        }
    }
}

/// Says that the service thread has ended, however it did.
struct Ended<'s>(&'s Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut working = self.0.lock();
        working.unserved = true;
        // Nobody looks after what is pushed any more.
        let now = self.0.clock.now();
        working.close_inlets(now);
        working.transmit(self.0, now);
        drop(working);
        self.0.changed.notify_all();
    }
}

/// The service thread's work: to wait, to receive, to do what is due, to transmit.
fn serve(shared: &Shared, mut waiter: Waiter) {
    let _ended = Ended(shared);
    let mut until = Time(0);
    let mut missed = false;
    let mut counted = 0;
    loop {
        // Where there is a timer it is armed under the lock, by whoever wants to be served first.
        let poll_until =
            if cfg!(target_os = "linux") && until > shared.clock.now() { Time::NEVER } else { until };
        let waited = match std::mem::take(&mut missed) {
            true => waiter.wait_at_most(Some(SOON), |_| {}),
            false => waiter.wait(poll_until, &shared.clock, |_| {}).map(|()| true),
        };
        match waited {
            Ok(came) if came || shared.missed.load(Ordering::Relaxed) => {}
            Ok(_) => {
                // Who transmitted since did what there was to do, and put the timer off.
                until = if cfg!(target_os = "linux") { Time::NEVER } else { until };
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the service thread cannot wait, and ends");
                return;
            }
        }
        let Some(mut working) = shared.try_lock() else {
            missed = true;
            continue;
        };
        if working.stop {
            return;
        }
        let calls = waiter.system_calls;
        working.publisher.count_socket(|stats| stats.system_calls += calls - counted);
        counted = calls;
        until = if working.serve(shared) { Time(0) } else { working.wakes_at };
        shared.tell(&mut working);
        MutexGuard::unlock_fair(working);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Options, resolve};
    use crate::protocol::publisher::Config;
    use crate::wire::{HEADER_LENGTH, Header, Kind, Position, ReceiverId, SourceId, Status};

    /// What a receiver says.
    pub(super) fn status(position: Position, now: Time) -> Vec<u8> {
        let mut bytes = vec![0; 200];
        let mut list = Status::emit(&mut bytes[HEADER_LENGTH..], ReceiverId(1), 0);
        list.push_position(&position);
        let length = list.length();
        Header { stamp: now.0, ..Header::new(Kind::Status, SourceId(7), 0) }.emit(&mut bytes, length);
        bytes.truncate(HEADER_LENGTH + length);
        bytes
    }

    pub(super) fn service() -> Service {
        let group = "239.255.77.201:7701".parse::<SocketAddr>().unwrap();
        let local = resolve(Some("127.0.0.1"), group.ip()).unwrap();
        let socket = Socket::sender(group, &local, 0, &Options::default()).unwrap();
        let clock = Clock::start();
        let publisher = Publisher::new(Config::new(SourceId(7)), clock.now());
        Service::start(publisher, socket, group, clock).unwrap()
    }

    /// One whose service thread has ended, and does nothing that a test wants done by others.
    pub(super) fn unserved() -> Arc<Shared> {
        let mut service = service();
        service.shared.lock().stop = true;
        service.shared.alarm.wake();
        service.thread.take().unwrap().join().unwrap();
        Arc::clone(&service.shared)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_kernel_had_no_room_for_of_what_receivers_say_is_told() {
        let shared = unserved();
        let mut working = shared.lock();
        let local = resolve(Some("127.0.0.1"), shared.group.ip()).unwrap();
        let receiver = Socket::unicast(&local, 0, &Options::default()).unwrap();
        let (now, to) = (shared.clock.now(), shared.socket.local_addr());
        let say = || receiver.as_socket().send_to(&[7; 1_400], to).unwrap();
        while shared.socket.kernel_drops() == Some(0) {
            say();
        }
        let dropped = shared.socket.kernel_drops().map(u64::from);
        while !working.receive(&shared, now).drained {}
        // The count travels with the next that comes.
        say();
        assert!(working.receive(&shared, now).received);
        assert_eq!(Some(working.publisher.stats().kernel_drops), dropped);
    }

    #[test]
    fn who_transmits_without_pause_does_what_is_due_too() {
        // The service thread is put off by every transmit. Here it is not there at all.
        let shared = unserved();
        let mut working = shared.lock();
        let now = shared.clock.now();
        let quiet = working.publisher.open_stream("quiet", now).unwrap();
        let busy = working.publisher.open_stream("busy", now).unwrap();
        working.publisher.send(quiet, b"it may wait for others to share its datagram", now).unwrap();
        assert_eq!(working.publisher.pending(quiet), (0, true));
        let done = |publisher: &Publisher| {
            publisher.pending(quiet) == (0, false) && publisher.stats().heartbeats >= 5
        };
        let until = now + Duration::from_secs(20);
        while !done(&working.publisher) {
            let now = shared.clock.now();
            assert!(!until.is_due(now), "{:?}", working.publisher.stats());
            // What is refused has its window full, and that is no matter here.
            let _taken = working.publisher.send(busy, &[7; 1_000], now);
            working.publisher.flush(busy);
            shared.transmit(&mut working);
        }
    }
}
