//! Drivers whose sockets are never empty, and whose clock goes on.

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
        Saturated::of(contract, 3)
    }

    /// With so many messages.
    fn of(contract: Contract, messages: usize) -> Saturated {
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
        for message in 1..=messages {
            publisher.send(stream, message.to_string().as_bytes(), clock.now()).unwrap();
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
fn repairs_are_asked_for_while_much_that_was_kept_is_delivered() {
    for polled in [false, true] {
        let Saturated { mut driver, source, datagrams, .. } = Saturated::of(Contract::Ordered, 3_000);
        let now = driver.clock.now();
        // The second comes when all but the last one but one are here, and then nothing is received any more.
        for datagram in (0..=1).chain(3..=2_998).chain([3_000, 2]) {
            driver.subscriber.handle_datagram(now, source.local_addr(), &datagrams[datagram]);
            driver.subscriber.park(&datagrams[datagram]);
        }
        for _ in 0..2_990 {
            while driver.stats().naks == 0 && !driver.deadline().is_due(driver.clock.now()) {}
            let taken =
                if polled { driver.poll(1, |_| {}).unwrap() == 1 } else { driver.next().unwrap().is_some() };
            assert!(taken, "nothing is missing before the last but one");
        }
        assert!(driver.stats().naks > 0, "that is asked for");
        assert!(driver.stats().duplicates > 0, "what lies in the socket is received");
    }
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

/// An application that takes little, and each for long.
#[test]
fn who_takes_long_for_what_is_here_receives_all_the_same() {
    for (since, keeps_up) in [(Duration::ZERO, false), (GIVEN_FOR, true)] {
        let mut saturated = Saturated::new(Contract::Ordered);
        assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
        let driver = &mut saturated.driver;
        let now = driver.clock.now();
        let recently = if since.is_zero() { now + DEADLINE } else { Time(0) };
        (driver.kept_up, driver.received) = (recently, recently);
        driver.given.add(GLANCE_EVERY - 1);
        driver.glance().unwrap();
        let before = driver.stats().duplicates;
        driver.given.add(1);
        driver.glance().unwrap();
        assert_eq!(driver.stats().duplicates > before, keeps_up, "the sockets are read");
        assert_eq!((driver.given.since_glanced, driver.given.glance_every < GLANCE_EVERY), (0, keeps_up));
        assert_eq!(driver.kept_up >= now && driver.kept_up < now + DEADLINE, keeps_up);
    }
}

#[test]
fn what_gives_no_event_holds_nobody_up_for_ever() {
    let mut saturated = Saturated::new(Contract::Ordered);
    assert_eq!([saturated.next(), saturated.next()], ["up", "1"]);
    let driver = &mut saturated.driver;
    assert!(driver.subscriber.advance(&[]).is_none());
    let begun = driver.clock.now();
    let mut in_vain = InVain { count: IN_VAIN - 2, since: Some(begun) };
    assert!(driver.go_on(&mut in_vain).unwrap(), "there is more");
    while driver.clock.now().since(begun) < IN_VAIN_FOR {}
    assert!(!driver.go_on(&mut in_vain).unwrap(), "but who called looks at what else there is");
    // And then does not wait.
    assert_eq!(driver.deadline(), Time(0));
    driver.spin(Time::NEVER).unwrap();
    driver.wait(Time::NEVER).unwrap();
    let before = driver.stats().duplicates;
    assert!(driver.next().unwrap().is_none());
    assert!(driver.stats().duplicates > before, "it goes on");
    assert!(driver.deadline() > Time(0), "to its end");
}

/// However soon the group's socket has something, time and again.
#[test]
fn who_spins_and_always_finds_something_looks_into_the_other_socket_in_time() {
    let mut saturated = Saturated::new(Contract::Ordered);
    let driver = &mut saturated.driver;
    for (due, looks) in [(Time(0), true), (Time::NEVER, false)] {
        driver.readable = [false; 2];
        driver.beside = due;
        driver.spin(saturated.until).unwrap();
        assert_eq!(driver.readable, [true, looks]);
    }
    driver.beside = Time(0);
    let before = driver.clock.now();
    driver.spin(saturated.until).unwrap();
    assert!(driver.beside >= before + BESIDE, "and not at once again");
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

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_is_silent_when_nothing_is_due_though_a_timer_went_off() {
    use std::os::fd::AsRawFd;
    let mut driver = Saturated::new(Contract::Ordered).driver;
    let mut poll = mio::Poll::new().unwrap();
    let descriptor = driver.as_raw_fd();
    for socket in &mut driver.readable {
        *socket = false;
    }
    while driver.receive(GROUP).unwrap() || driver.receive(UNICAST).unwrap() {}
    driver.wait(Time(0)).unwrap();
    driver.waiter.alarm().after(Duration::ZERO);
    let mut source = mio::unix::SourceFd(&descriptor);
    poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(4);
    poll.poll(&mut events, Some(DEADLINE)).unwrap();
    assert!(!events.is_empty());
    driver.arm();
    poll.registry().deregister(&mut source).unwrap();
    poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
    poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
    assert!(events.is_empty(), "nothing is due");
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
