//! A subscriber at work, on the thread that reads it: sockets to state machine to application, and back.

use super::clock::{Clock, Seldom};
use super::waiter::{Alarm, Waiter};
use crate::net::{Received, Receiver, Sender, Socket};
use crate::protocol::subscriber::{Ready, Subscriber, SubscriberStats, Transmit};
use crate::protocol::{Event, Time};
use parking_lot::Mutex;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

/// The sockets, by the tokens they are watched under.
const GROUP: usize = 0;
const UNICAST: usize = 1;
/// Datagrams that may be handled between a gap and its NAK, so that one NAK asks for all the gaps of a batch.
const NAK_BATCH: u32 = 32;
/// Datagrams handled between two looks at the clock, though more are there: who is never done reading keeps deadlines all the
/// same, repeats NAKs, and hears what comes to the other socket.
const LOOK_EVERY: u32 = 256;
/// Events given, where so much is kept that nothing need be received in between, before something is.
const GIVEN_EVERY: usize = 1_024;
/// And the time in which that many, or those of one batch, may be given; the clock is looked at after so many, or fewer where they take
/// long.
const GIVEN_FOR: Duration = Duration::from_millis(5);
const GLANCE_EVERY: usize = 64;
/// Datagrams that give no event are handled for so long before whoever called may look at what else there is; the clock is looked at
/// after so many.
const IN_VAIN_FOR: Duration = Duration::from_millis(20);
const IN_VAIN: u32 = 4_096;
/// Looks of one who spins into the group's socket alone, before it looks into the other, at what is due, and at what else there
/// is: some microseconds.
const LOOKS: u32 = 32;
/// And while every spin finds something there, it looks into the other after this: repairs for it alone come there.
const BESIDE: Duration = Duration::from_micros(20);
/// Leave is taken so many times: nobody repeats what a subscriber says last.
const LEAVES: usize = 3;

/// Throws away a share of what arrives, before the protocol sees it: loss where there is none.
#[derive(Clone, Debug)]
pub(crate) struct DatagramLoss {
    pub(crate) share: f64,
    pub(crate) random: fastrand::Rng,
}

/// What a subscriber works with.
#[derive(Debug)]
pub(crate) struct Driver {
    subscriber: Subscriber,
    clock: Clock,
    sockets: [Socket; 2],
    receivers: [Receiver; 2],
    /// The socket may have something to receive.
    readable: [bool; 2],
    /// Whose batch is being handled.
    current: usize,
    /// The datagram at hand was given to the state machine, and events borrow from it.
    handled: bool,
    /// When the batch was received.
    received: Time,
    /// When one who spins looks into the unicast socket, though the group's is never empty.
    beside: Time,
    /// Datagrams handled since something to send came up.
    unsent: u32,
    /// Datagrams handled since the clock was looked at.
    unlooked: u32,
    given: Given,
    /// When what there is was received though there was more to give.
    kept_up: Time,
    /// There is more to handle, though it gave no event for long.
    more: bool,
    sender: Sender,
    waiter: Waiter,
    /// The waiter watches the sockets.
    watched: Mutex<bool>,
    loss: Option<DatagramLoss>,
    warnings: Seldom,
    wall_clock: Time,
}

impl Driver {
    pub(crate) fn new(
        subscriber: Subscriber,
        group: Socket,
        unicast: Socket,
        clock: Clock,
        loss: Option<DatagramLoss>,
    ) -> io::Result<Driver> {
        let waiter = Waiter::new()?;
        Ok(Driver {
            subscriber,
            clock,
            sockets: [group, unicast],
            receivers: [Receiver::new(Receiver::MESSAGES), Receiver::new(Receiver::MESSAGES)],
            readable: [true; 2],
            current: GROUP,
            handled: false,
            received: clock.now(),
            beside: Time(0),
            unsent: 0,
            unlooked: 0,
            given: Given { since_taken: 0, since_glanced: 0, glance_every: GLANCE_EVERY },
            kept_up: clock.now(),
            more: false,
            sender: Sender::new(),
            waiter,
            watched: Mutex::new(false),
            loss,
            warnings: Seldom::default(),
            wall_clock: clock.now(),
        })
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn subscriber(&self) -> &Subscriber {
        &self.subscriber
    }

    pub(crate) fn sockets(&self) -> &[Socket; 2] {
        &self.sockets
    }

    /// Shows what `next` gave last.
    pub(crate) fn event(&self, ready: &Ready) -> Event<'_> {
        self.subscriber.event(ready, self.current())
    }

    /// The datagram that events borrow from.
    fn current(&self) -> &[u8] {
        current(&self.receivers[self.current], self.handled)
    }

    /// The next thing that happened, if there is one without waiting.
    pub(crate) fn next(&mut self) -> io::Result<Option<Ready>> {
        let mut in_vain = InVain::default();
        loop {
            self.glance()?;
            let current = current(&self.receivers[self.current], self.handled);
            if let Some(ready) = self.subscriber.advance(current) {
                self.given.add(1);
                self.confirm(&ready);
                return Ok(Some(ready));
            }
            if !self.go_on(&mut in_vain)? {
                return Ok(None);
            }
        }
    }

    /// Hands on what happened, at most `limit` events, without waiting; gives how many.
    pub(crate) fn poll(&mut self, limit: usize, mut handle: impl FnMut(Event<'_>)) -> io::Result<usize> {
        let (mut count, mut in_vain) = (0, InVain::default());
        while count < limit {
            self.glance()?;
            let current = current(&self.receivers[self.current], self.handled);
            let rest = self.subscriber.rest(current, limit - count, &mut handle);
            count += rest;
            self.given.add(rest);
            if !self.subscriber.has_ready() {
                if rest > 0 {
                    in_vain = InVain::default();
                }
                if count < limit && !self.go_on(&mut in_vain)? {
                    break;
                }
            } else if count < limit
                && let Some(ready) = self.subscriber.advance(current)
            {
                self.confirm(&ready);
                handle(self.subscriber.event(&ready, self.current()));
                count += 1;
                self.given.add(1);
                in_vain = InVain::default();
            }
        }
        Ok(count)
    }

    /// A stream is over: its publisher hears that nothing of it is missing before the application does, which may not call again. In a
    /// crowd it takes its time.
    fn confirm(&mut self, ready: &Ready) {
        if ready.is_end() && self.subscriber.is_urgent() {
            self.transmit();
        }
    }

    /// Handles more, unless so much was in vain that the caller is to look at what else there is first: whether it is wanted, and for
    /// how long.
    fn go_on(&mut self, in_vain: &mut InVain) -> io::Result<bool> {
        let more = self.take()?;
        in_vain.count += 1;
        if in_vain.count >= IN_VAIN {
            in_vain.count = 0;
            let now = self.clock.now();
            let since = *in_vain.since.get_or_insert(now);
            self.more = more && now.since(since) >= IN_VAIN_FOR && !self.subscriber.has_ready();
        }
        Ok(more && !self.more)
    }

    /// Goes on without taking what happened: the datagram at hand is kept, and so are those that come. For a thread whose
    /// application takes nothing at present. False when there is nothing more to do.
    pub(crate) fn work(&mut self) -> io::Result<bool> {
        if self.handled {
            self.subscriber.park(current(&self.receivers[self.current], true));
        }
        self.take()
    }

    /// Handles the next datagram, or what is due when there is none. False when there is nothing to do but wait.
    fn take(&mut self) -> io::Result<bool> {
        (self.given.since_taken, self.more) = (0, false);
        if self.subscriber.is_urgent() {
            self.unsent += 1;
            if self.unsent >= NAK_BATCH {
                self.transmit();
            }
        }
        if self.unlooked >= LOOK_EVERY && self.keep_time() {
            return Ok(true);
        }
        if self.take_datagram() {
            self.unlooked += 1;
            return Ok(true);
        }
        self.handled = false;
        if self.subscriber.is_urgent() {
            self.transmit();
        }
        // Repairs first, for what they fill holds up the rest; but batch by batch in turn, lest one holds up the other.
        let order = if self.current == UNICAST { [GROUP, UNICAST] } else { [UNICAST, GROUP] };
        for socket in order {
            if self.readable[socket] && self.receive(socket)? {
                return Ok(true);
            }
        }
        // Only now that nothing is left to read may silence be found.
        self.unlooked = 0;
        let now = self.clock.now();
        self.follow_wall_clock(now);
        match self.subscriber.poll_timeout(now) {
            Some((at, _)) if at.is_due(now) => {
                // After a pause of this process the sockets hold what came meanwhile, though nobody was told yet.
                for socket in [UNICAST, GROUP] {
                    if self.receive(socket)? {
                        return Ok(true);
                    }
                }
                self.subscriber.handle_timeout(now);
                self.transmit();
                Ok(self.subscriber.has_ready())
            }
            _ => Ok(false),
        }
    }

    /// Does what is due though more is there to read; true when that gave something to tell.
    fn keep_time(&mut self) -> bool {
        self.unlooked = 0;
        self.readable = [true; 2];
        let now = self.clock.now();
        self.follow_wall_clock(now);
        if !self.subscriber.poll_timeout(now).is_some_and(|(at, _)| at.is_due(now)) {
            return false;
        }
        self.handled = false;
        self.subscriber.handle_due(now);
        self.transmit();
        self.subscriber.has_ready()
    }

    /// Keeps up where what was received last takes the application long.
    fn glance(&mut self) -> io::Result<()> {
        if self.given.since_glanced < self.given.glance_every {
            return Ok(());
        }
        self.given.since_glanced = 0;
        let is_long = self.clock.now().since(self.kept_up.max(self.received)) >= GIVEN_FOR;
        self.given.glance_every = if is_long { (self.given.glance_every / 2).max(1) } else { GLANCE_EVERY };
        if is_long || self.given.since_taken >= GIVEN_EVERY {
            self.keep_up()?;
        }
        Ok(())
    }

    /// While much that is kept is delivered, what comes is received all the same, and what is due is done: publishers hear how far this
    /// is, and repairs are asked for, and found.
    fn keep_up(&mut self) -> io::Result<()> {
        self.kept_up = self.clock.now();
        self.readable = [true; 2];
        for _ in 0..LOOK_EVERY {
            if !self.work()? {
                break;
            }
        }
        Ok(())
    }

    /// The wall clock is corrected at times, which the monotonic one does not follow.
    fn follow_wall_clock(&mut self, now: Time) {
        if now.since(self.wall_clock) >= Duration::from_secs(1) {
            self.wall_clock = now;
            self.subscriber.set_wall_offset(self.clock.wall_offset());
        }
    }

    /// Gives the next datagram of the batch at hand to the state machine; false when there is none.
    fn take_datagram(&mut self) -> bool {
        let receiver = &mut self.receivers[self.current];
        while receiver.advance() {
            let Some(Received { from, bytes, truncated, .. }) = receiver.current() else { continue };
            if let Some(loss) = &mut self.loss
                && loss.random.f64() < loss.share
            {
                self.subscriber.count_socket(|stats| stats.dropped += 1);
                continue;
            }
            if truncated {
                self.subscriber.count_socket(|stats| stats.truncated += 1);
                continue;
            }
            self.handled = true;
            self.subscriber.set_kernel_time(receiver.kernel_ns());
            self.subscriber.handle_datagram(self.received, from, bytes);
            return true;
        }
        false
    }

    /// Receives a batch; false when there is nothing.
    fn receive(&mut self, socket: usize) -> io::Result<bool> {
        self.current = socket;
        match self.receivers[socket].receive(&self.sockets[socket]) {
            Ok(_) => {
                self.received = self.clock.now();
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable[socket] = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn transmit(&mut self) {
        self.unsent = 0;
        let now = self.clock.now();
        while let Some(transmit) = self.subscriber.poll_transmit(now) {
            self.send(transmit);
        }
    }

    /// Sends a datagram on which nothing depends but time: what is not taken is said again.
    fn send(&mut self, transmit: Transmit) {
        let datagram = [IoSlice::new(self.subscriber.datagram(&transmit))];
        let sent = self.sender.attempt(&self.sockets[UNICAST], transmit.to, transmit.length, &datagram);
        self.subscriber.count_socket(|stats| {
            stats.send_failures += u64::from(sent.datagrams == 0);
            stats.system_calls += u64::from(sent.system_calls);
        });
        if let Some(error) = sent.last_error
            && self.warnings.is_due(self.clock.now())
        {
            tracing::warn!(%error, to = %transmit.to, "NAKs and status cannot be sent");
        }
    }

    /// Looks whether the sockets have something, without waiting.
    pub(crate) fn look(&mut self) {
        self.readable = [true; 2];
    }

    /// Looks for datagrams without sleeping, at most until `until`; there may be something then.
    pub(crate) fn spin(&mut self, until: Time) -> io::Result<()> {
        if self.more {
            return Ok(());
        }
        self.current = GROUP;
        for _ in 0..LOOKS {
            let outcome = self.receivers[GROUP].receive_one(&self.sockets[GROUP]);
            // Not before: what comes meanwhile would have been received before it was sent, by as much as this thread is put aside.
            let now = self.clock.now();
            match outcome {
                Ok(_) => {
                    self.received = now;
                    self.readable[GROUP] = true;
                    if self.beside.is_due(now) {
                        self.readable[UNICAST] = true;
                        self.beside = now + BESIDE;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if until.is_due(now) {
                break;
            }
        }
        self.look();
        Ok(())
    }

    /// There is more to handle, though nothing was given.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// When the state machine wants to be called, whatever comes; at once where there is more to handle.
    pub(crate) fn deadline(&self) -> Time {
        if self.more {
            return Time(0);
        }
        self.subscriber.poll_timeout(self.clock.now()).map_or(Time::NEVER, |(at, _)| at)
    }

    /// Has the descriptor become readable when the state machine wants to be called.
    pub(crate) fn arm(&mut self) {
        if !*self.watched.get_mut() {
            return;
        }
        match self.deadline() {
            // Whoever set the timer: were it to go off it would be readable for ever.
            Time::NEVER => self.waiter.disarm(),
            until => self.waiter.arm(until, self.clock.now()),
        }
    }

    /// Waits until something comes, something is due, or `until`.
    pub(crate) fn wait(&mut self, until: Time) -> io::Result<()> {
        self.watch()?;
        let until = until.min(self.deadline());
        let readable = &mut self.readable;
        self.waiter.wait(until, &self.clock, |socket| readable[socket] = true)
    }

    /// Has the waiter watch the sockets. Who only spins does without: that a socket is watched costs some 60 ns for each datagram
    /// that comes to it.
    fn watch(&self) -> io::Result<()> {
        let mut watched = self.watched.lock();
        if !*watched {
            self.waiter.watch(&self.sockets[GROUP], GROUP)?;
            self.waiter.watch(&self.sockets[UNICAST], UNICAST)?;
            *watched = true;
            // Nothing was armed for nobody.
            self.waiter.alarm().after(self.deadline().since(self.clock.now()));
        }
        Ok(())
    }

    /// What any thread wakes `wait` with.
    pub(crate) fn alarm(&self) -> Alarm {
        self.waiter.alarm()
    }

    /// The counters, with those of the sockets.
    pub(crate) fn stats(&self) -> SubscriberStats {
        let mut stats = self.subscriber.stats();
        for receiver in &self.receivers {
            stats.kernel_drops += receiver.kernel_drops();
            stats.system_calls += receiver.system_calls();
        }
        stats.system_calls += self.waiter.system_calls;
        stats
    }
}

/// Events given since a datagram was taken, and since the clock was looked at for their sake, which is after so many.
#[derive(Debug)]
struct Given {
    since_taken: usize,
    since_glanced: usize,
    glance_every: usize,
}

impl Given {
    fn add(&mut self, events: usize) {
        self.since_taken += events;
        self.since_glanced += events;
    }
}

/// What was handled since something was given.
#[derive(Debug, Default)]
struct InVain {
    count: u32,
    /// When so many had been that the clock was looked at.
    since: Option<Time>,
}

/// The datagram at hand, if it was given to the state machine.
fn current(receiver: &Receiver, handled: bool) -> &[u8] {
    match receiver.current() {
        Some(datagram) if handled => datagram.bytes,
        _ => &[],
    }
}

/// Takes leave of the publishers, so that none waits.
impl Drop for Driver {
    fn drop(&mut self) {
        let now = self.clock.now();
        while let Some(transmit) = self.subscriber.poll_leave(now) {
            for _ in 0..LEAVES {
                self.send(transmit);
            }
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Driver {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        if let Err(error) = self.watch() {
            tracing::error!(%error, "the descriptor does not tell what comes");
        }
        self.waiter.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
