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
/// Looks of one who spins into the group's socket alone, before it looks into the other, at what is due, and at what else there
/// is: some microseconds.
const LOOKS: u32 = 32;
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
    /// Datagrams handled since something to send came up.
    unsent: u32,
    /// Datagrams handled since the clock was looked at.
    unlooked: u32,
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
            unsent: 0,
            unlooked: 0,
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
        loop {
            let current = current(&self.receivers[self.current], self.handled);
            if let Some(ready) = self.subscriber.advance(current) {
                return Ok(Some(ready));
            }
            if !self.take()? {
                return Ok(None);
            }
        }
    }

    /// Hands on what happened, at most `limit` events, without waiting; gives how many.
    pub(crate) fn poll(&mut self, limit: usize, mut handle: impl FnMut(Event<'_>)) -> io::Result<usize> {
        let mut count = 0;
        while count < limit {
            let current = current(&self.receivers[self.current], self.handled);
            count += self.subscriber.rest(current, limit - count, &mut handle);
            if !self.subscriber.has_ready() {
                if count < limit && !self.take()? {
                    break;
                }
            } else if count < limit
                && let Some(ready) = self.subscriber.advance(current)
            {
                handle(self.subscriber.event(&ready, current));
                count += 1;
            }
        }
        Ok(count)
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
        let sent = self.sender.send(&self.sockets[UNICAST], transmit.to, transmit.length, &datagram);
        if let Err(error) = sent {
            self.subscriber.count_socket(|stats| stats.send_failures += 1);
            if error.kind() != ErrorKind::WouldBlock && self.warnings.is_due(self.clock.now()) {
                tracing::warn!(%error, to = %transmit.to, "NAKs and status cannot be sent");
            }
        }
        self.subscriber.count_socket(|stats| stats.system_calls += 1);
    }

    /// Looks whether the sockets have something, without waiting.
    pub(crate) fn look(&mut self) {
        self.readable = [true; 2];
    }

    /// Looks for datagrams without sleeping, at most until `until`; there may be something then.
    pub(crate) fn spin(&mut self, until: Time) -> io::Result<()> {
        self.current = GROUP;
        for _ in 0..LOOKS {
            let outcome = self.receivers[GROUP].receive_one(&self.sockets[GROUP]);
            // Not before: what comes meanwhile would have been received before it was sent, by as much as this thread is put aside.
            let now = self.clock.now();
            match outcome {
                Ok(_) => {
                    self.received = now;
                    self.readable[GROUP] = true;
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

    /// When the state machine wants to be called, whatever comes.
    pub(crate) fn deadline(&self) -> Time {
        self.subscriber.poll_timeout(self.clock.now()).map_or(Time::NEVER, |(at, _)| at)
    }

    /// Has the descriptor become readable when the state machine wants to be called.
    pub(crate) fn arm(&mut self) {
        if !*self.watched.get_mut() {
            return;
        }
        let until = self.deadline();
        self.waiter.arm(until, self.clock.now());
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
mod tests {
    use super::*;
    use crate::net::{Options, resolve};
    use crate::protocol::publisher::{self, Publisher};
    use crate::protocol::subscriber::{Config, Contract};
    use crate::wire::{ReceiverId, SourceId};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A subscriber that has had the first of three messages, misses the second, and whose group socket is never empty: the
    /// third comes again and again.
    struct Saturated {
        driver: Driver,
        source: Socket,
        datagrams: Vec<Vec<u8>>,
        until: Time,
    }

    impl Saturated {
        fn new(contract: Contract) -> Saturated {
            let local = resolve(Some("127.0.0.1"), "239.255.77.1".parse().unwrap()).unwrap();
            let open = || Socket::unicast(&local, 0, &Options::default()).unwrap();
            let clock = Clock::start();
            let config = Config { contract, ..Config::new(ReceiverId(1)) };
            let subscriber = Subscriber::new(config, clock.now());
            let driver = Driver::new(subscriber, open(), open(), clock, None).unwrap();
            let mut publisher = Publisher::new(publisher::Config::new(SourceId(7)), clock.now());
            let mut datagrams = Vec::new();
            let stream = publisher.open_stream("t", clock.now()).unwrap();
            let mut send = |publisher: &mut Publisher| {
                let mut sent = Vec::new();
                while publisher.poll_transmit(clock.now()).is_some() {
                    sent.extend(publisher.datagrams().map(<[u8]>::to_vec));
                }
                assert_eq!(sent.len(), 1);
                datagrams.append(&mut sent);
            };
            send(&mut publisher);
            for message in [b"1", b"2", b"3"] {
                publisher.send(stream, message, clock.now()).unwrap();
                publisher.flush(stream);
                send(&mut publisher);
            }
            let until = clock.now() + DEADLINE;
            let saturated = Saturated { driver, source: open(), datagrams, until };
            for datagram in [0, 1] {
                saturated.send(datagram, GROUP);
            }
            // As many as two batches hold: each that is taken is followed by another.
            for _ in 0..2 * Receiver::MESSAGES {
                saturated.send(3, GROUP);
            }
            saturated
        }

        fn send(&self, datagram: usize, to: usize) {
            let to = self.driver.sockets[to].local_addr();
            self.source.as_socket().send_to(&self.datagrams[datagram], to).unwrap();
        }

        /// Another datagram comes, and one is handled: what happened, shown in a word.
        fn step(&mut self) -> Option<String> {
            assert!(!self.until.is_due(self.driver.clock.now()), "nothing in time");
            self.send(3, GROUP);
            assert!(self.driver.take().unwrap(), "there is always something to read");
            let current = self.driver.receivers[self.driver.current].current();
            let current = current.filter(|_| self.driver.handled).map_or(&[][..], |current| current.bytes);
            let ready = self.driver.subscriber.advance(current)?;
            Some(match self.driver.event(&ready) {
                Event::Message(message) => String::from_utf8_lossy(message.payload()).into(),
                Event::Gap(gap) => format!("{} lost: {}", gap.messages(), gap.reason()),
                Event::StreamUp(_) => "up".into(),
                other => panic!("{other:?}"),
            })
        }

        fn next(&mut self) -> String {
            loop {
                if let Some(told) = self.step() {
                    return told;
                }
            }
        }
    }

    #[test]
    fn a_deadline_is_kept_though_datagrams_come_without_pause() {
        let mut saturated = Saturated::new(Contract::Deadline(Duration::from_millis(20)));
        assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
        assert_eq!(saturated.next(), "1 lost: deadline");
        assert_eq!(saturated.next(), "3");
    }

    #[test]
    fn naks_are_repeated_though_datagrams_come_without_pause() {
        let mut saturated = Saturated::new(Contract::Ordered);
        assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
        while saturated.driver.stats().naks < 4 {
            assert_eq!(saturated.step(), None);
        }
    }

    #[test]
    fn a_repair_is_heard_though_the_group_is_never_silent() {
        let mut saturated = Saturated::new(Contract::Ordered);
        assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
        // The unicast socket was looked into before.
        assert!(!saturated.driver.readable[UNICAST]);
        saturated.send(2, UNICAST);
        assert_eq!([saturated.next(), saturated.next()], ["2", "3"]);
    }

    #[test]
    fn who_spins_hears_both_sockets() {
        let mut saturated = Saturated::new(Contract::Ordered);
        assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
        // All that came again is read.
        while saturated.driver.next().unwrap().is_some() {}
        let mut spin = |datagram, to| {
            saturated.send(datagram, to);
            let driver = &mut saturated.driver;
            loop {
                assert!(!saturated.until.is_due(driver.clock.now()), "nothing in time");
                driver.spin(saturated.until).unwrap();
                let before = driver.stats().duplicates;
                if driver.next().unwrap().is_some() || driver.stats().duplicates > before {
                    break;
                }
            }
        };
        spin(3, GROUP);
        spin(2, UNICAST);
        assert_eq!(saturated.driver.stats().messages, 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_descriptor_that_is_asked_for_late_tells_what_comes_and_what_is_due() {
        use std::os::fd::AsRawFd;
        let mut saturated = Saturated::new(Contract::Deadline(Duration::from_millis(200)));
        assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
        let driver = &mut saturated.driver;
        if driver.next().unwrap().is_some() {
            return eprintln!("SKIPPED: this machine stood still for as long as the deadline");
        }
        driver.arm();
        assert!(!*driver.watched.get_mut(), "nobody waits");
        let mut poll = mio::Poll::new().unwrap();
        let descriptor = driver.as_raw_fd();
        let mut source = mio::unix::SourceFd(&descriptor);
        poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
        let mut events = mio::Events::with_capacity(4);
        let told = loop {
            poll.poll(&mut events, Some(DEADLINE)).unwrap();
            assert!(!events.is_empty(), "nothing in time");
            driver.look();
            if let Some(ready) = driver.next().unwrap() {
                break ready;
            }
            driver.arm();
        };
        assert!(matches!(driver.event(&told), Event::Gap(_)), "its deadline has come");
    }

    /// The time it was received is told to the application, beside the time it was sent.
    #[test]
    fn nothing_that_comes_while_it_is_looked_for_was_received_before_it_was_sent() {
        let mut saturated = Saturated::new(Contract::default());
        let clock = saturated.driver.clock;
        let driver = &mut saturated.driver;
        while driver.receive(GROUP).unwrap() {}
        let (to, source) = (driver.sockets[GROUP].local_addr(), &saturated.source);
        let (taken, is_taken) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while is_taken.recv().is_ok() {
                    source.as_socket().send_to(&clock.now().0.to_be_bytes(), to).unwrap();
                }
            });
            for _ in 0..2_000 {
                taken.send(()).unwrap();
                while !driver.receivers[GROUP].advance() {
                    assert!(!saturated.until.is_due(clock.now()));
                    driver.spin(saturated.until).unwrap();
                }
                let datagram = driver.receivers[GROUP].current().unwrap();
                let sent = Time(u64::from_be_bytes(datagram.bytes.try_into().unwrap()));
                assert!(sent <= driver.received);
            }
            drop(taken);
        });
    }
}
