//! When a subscriber asks, and asks again: for what is missing, and for names.

use super::announced::{of_source, subscriber};
use super::by_hand::{of, small};
use super::peers::{SOURCE, data, emit};
use nakcast::protocol::Time;
use nakcast::protocol::subscriber::{Contract, Reason, StartAt, Subscriber};
use nakcast::wire::{Announce, Datagram, Header, Heartbeat, Kind, Nak, ReceiverId, data as body, flag};
use std::net::SocketAddr;
use std::time::Duration;

const NOW: Time = Time(1_000_000_000);
const MILLISECOND: Duration = Duration::from_millis(1);

fn feed(core: &mut Subscriber, now: Time, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        core.handle_datagram(now, SocketAddr::from(([10, 9, 9, 9], 9)), datagram);
        while core.advance(datagram).is_some() {}
    }
}

fn transmit(core: &mut Subscriber, now: Time) {
    while core.poll_transmit(now).is_some() {}
}

fn after(millis: u64) -> Time {
    NOW + MILLISECOND * millis as u32
}

/// A subscriber in a group of this size, a millisecond from its publisher, that has datagram 1 of a stream, and greeted.
fn of_group(size: u32) -> Subscriber {
    let mut payload = [0; 100];
    let length = Heartbeat::emit(&mut payload, 500_000, size, 1_000_000, ReceiverId(0)).length();
    let alive = emit(Header::new(Kind::Heartbeat, SOURCE, 0), &payload[..length]);
    let (idle_interval, window, datagram, topic) = (500_000, 1_000, 100, "t");
    let opened = Announce { age: 0, trail: 1, trail_message: 1, idle_interval, window, datagram, topic };
    let length = opened.emit(&mut payload);
    let header = Header { message: 1, ..Header::new(Kind::Announce, SOURCE, 1) };
    let mut core = subscriber(StartAt::Live);
    feed(&mut core, NOW, &[alive, emit(header, &payload[..length]), data(Kind::Data, 1, 1)]);
    core.handle_timeout(NOW);
    transmit(&mut core, NOW);
    core
}

/// Lets time pass, and nothing come; gives when NAKs were sent, microseconds after the start.
fn asked(core: &mut Subscriber, until: Time) -> Vec<u128> {
    let (mut now, mut times) = (NOW, Vec::new());
    loop {
        let before = core.stats().naks;
        transmit(core, now);
        times.extend((before..core.stats().naks).map(|_| now.since(NOW).as_micros()));
        match core.poll_timeout(now) {
            Some((next, _)) if next <= until => now = now.max(next),
            _ => return times,
        }
        core.handle_timeout(now);
    }
}

#[test]
fn naks_that_nothing_answers_are_ever_further_apart() {
    let mut core = of_group(1);
    feed(&mut core, NOW, &[data(Kind::Data, 3, 3)]);
    // Two round trips, doubled twice; or half of the time in which nothing was heard, where that is more.
    let times = asked(&mut core, after(100));
    assert_eq!(times, [0, 2_000, 6_000, 14_000, 22_000, 33_000, 49_500, 74_250], "{times:?}");
}

#[test]
fn the_time_of_the_next_nak_is_waited_for() {
    let mut core = of_group(1);
    feed(&mut core, NOW, &[data(Kind::Data, 3, 3)]);
    transmit(&mut core, NOW);
    assert_eq!(core.poll_timeout(NOW), Some((after(2), Reason::Nak)));
}

#[test]
fn a_first_nak_says_nothing_of_how_long_an_answer_takes() {
    let mut core = of_group(1);
    feed(&mut core, NOW, &[data(Kind::Data, 3, 3)]);
    transmit(&mut core, NOW);
    // It was late, not lost: the NAK has no answer.
    feed(&mut core, NOW, &[data(Kind::Data, 2, 2)]);
    let later = after(1_000);
    feed(&mut core, later, &[data(Kind::Data, 4, 4), data(Kind::Data, 6, 6)]);
    let mut sent = Vec::new();
    for micros in (0..8_000).step_by(500) {
        let before = core.stats().naks;
        transmit(&mut core, later + Duration::from_micros(micros));
        sent.extend((before..core.stats().naks).map(|_| micros));
    }
    assert_eq!(sent, [0, 2_000, 6_000]);
}

#[test]
fn in_a_group_naks_wait_each_for_a_time_of_its_own_and_take_few_others_along() {
    let mut core = of_group(1_000);
    let scattered: Vec<_> = (1..=15).map(|at| data(Kind::Data, at * 3, at * 3)).collect();
    feed(&mut core, NOW, &scattered);
    // Fifteen within four and a half milliseconds; one goes out with those that are due in a quarter of one.
    let times = asked(&mut core, NOW + Duration::from_micros(4_500));
    assert!((5..15).contains(&times.len()), "{times:?}");
}

#[test]
fn what_was_sent_before_it_joined_is_asked_for_apart_from_what_was_lost_since() {
    let mut core = subscriber(StartAt::Window);
    let mut payload = [0; 100];
    let (idle_interval, window, datagram, topic) = (500_000, 1_000, 100, "t");
    let long_ago =
        Announce { age: u64::MAX, trail: 1, trail_message: 1, idle_interval, window, datagram, topic };
    let length = long_ago.emit(&mut payload);
    let header = Header { sequence: 10, message: 11, ..Header::new(Kind::Announce, SOURCE, 1) };
    feed(
        &mut core,
        NOW,
        &[emit(header, &payload[..length]), data(Kind::Data, 11, 11), data(Kind::Data, 13, 13)],
    );
    let mut asked = Vec::new();
    while let Some(transmit) = core.poll_transmit(after(20)) {
        let datagram = Datagram::parse(core.datagram(&transmit)).unwrap();
        if datagram.header.kind == Kind::Nak {
            let nak = Nak::parse(datagram.payload).unwrap();
            let can_wait = datagram.header.has(flag::CATCHING_UP);
            asked.extend(nak.ranges().map(|range| (can_wait, range.first, range.last())));
        }
    }
    assert_eq!(asked, [(true, 1, 10), (false, 12, 12)]);
}

#[test]
fn a_name_is_asked_for_once_at_a_time_when_its_source_is_heard_again() {
    let mut core = subscriber(StartAt::Live);
    let mut payload = [0; 5];
    body::emit_record(&mut payload, 1);
    let header = Header { sequence: 1, message: 1, sent: 2, ..Header::new(Kind::Data, SOURCE, 1) };
    feed(&mut core, NOW, &[of_source(SOURCE.0, 1), emit(header, &payload)]);
    let mut times = Vec::new();
    for millis in 0..20 {
        let now = after(millis);
        if millis == 1 {
            // Another seemed to have taken its place.
            feed(&mut core, now, &[of_source(1, 3), of_source(SOURCE.0, 4)]);
        }
        let before = core.stats().names_asked;
        transmit(&mut core, now);
        times.extend((before..core.stats().names_asked).map(|_| millis));
    }
    assert_eq!(times, [0, 1, 6, 11, 16]);
}

/// As where the way of NAKs is too narrow for them.
#[test]
fn where_no_answers_come_what_is_lost_ever_anew_is_asked_for_together() {
    let mut core = of_group(1);
    let (mut in_second, mut datagrams) = ([0; 5], [0; 5]);
    for millis in 0..5_000 {
        let now = after(millis);
        if millis % 2 == 0 {
            let sequence = 3 + millis;
            feed(&mut core, now, &[data(Kind::Data, sequence, sequence)]);
        }
        core.handle_due(now);
        let before = core.stats();
        transmit(&mut core, now);
        in_second[millis as usize / 1_000] += core.stats().naks - before.naks;
        datagrams[millis as usize / 1_000] += core.stats().nak_datagrams - before.nak_datagrams;
    }
    // Five hundred gaps a second, each of which is asked for at once as long as answers may come.
    assert!(in_second[0] > 100 && in_second[4] <= 60, "{in_second:?}");
    // And what one NAK has no room for goes with it: two thousand and more are missing, and each is asked for every second.
    assert!(datagrams[4] > 1_500, "{in_second:?} {datagrams:?}");
}

#[test]
fn what_is_not_asked_for_is_not_waited_for() {
    let mut core = small(Contract::BestEffort, 2);
    // The first gives up what it keeps furthest ahead for the second, which has less.
    for (stream, sequence) in [(1, 10), (1, 70), (1, 130), (2, 10), (2, 70)] {
        core.handle_datagram(NOW, SocketAddr::from(([10, 9, 9, 9], 9)), &of(stream, sequence));
    }
    assert_eq!(core.stats().overruns, 1);
    transmit(&mut core, NOW);
    assert_ne!(core.poll_timeout(NOW).map(|(_, reason)| reason), Some(Reason::Nak));
    transmit(&mut core, after(10));
    assert_eq!(core.stats().naks, 0);
}
