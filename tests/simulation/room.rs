//! What a subscriber forgets for want of room, and what it keeps all the same.

use super::announced::{SOUND, announce, end, feed, of_source};
use super::by_hand::{self, of};
use super::peers::{Heard, data, emit};
use super::standing::{Alone, MILLISECOND, START};
use nakcast::protocol::subscriber::{Config, Contract, Subscriber};
use nakcast::protocol::{EndReason, GapReason, Time};
use nakcast::wire::{Announce, Header, Kind, ReceiverId, SourceId};
use std::net::SocketAddr;
use std::time::Duration;

const NOW: Time = Time(1_000_000_000);
const OPENED: Announce<'static> = Announce { age: 0, ..SOUND };
const MINUTE: Duration = Duration::from_secs(60);

fn small(max_sources: usize, max_streams: usize) -> Subscriber {
    Subscriber::new(Config { max_sources, max_streams, ..Config::new(ReceiverId(1)) }, NOW)
}

fn transmit(core: &mut Subscriber, now: Time) {
    while core.poll_transmit(now).is_some() {}
}

/// What is left to be told.
fn ends(core: &mut Subscriber) -> Vec<EndReason> {
    let mut heard = Heard::default();
    heard.take(core, &[]);
    heard.ends
}

/// An announce of stream 1 of a source, sent when its clock showed its id.
fn opened_by(source: u64, lead: u64) -> Vec<u8> {
    let mut payload = [0; 100];
    let length = Announce { window: 1_000, ..OPENED }.emit(&mut payload);
    let header = Header::new(Kind::Announce, SourceId(source), 1);
    emit(Header { sent: source, sequence: lead, message: lead + 1, ..header }, &payload[..length])
}

fn elsewhere(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 9, 8, host], 9))
}

#[test]
fn a_stream_whose_publisher_knew_of_its_end_before_the_application_makes_room() {
    let mut core = small(4, 1);
    feed(&mut core, NOW, &[announce(1, 0, 1, &OPENED), data(Kind::Data, 1, 1)]);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    core.handle_datagram(NOW, from, &end(1, 1, 2, 1));
    transmit(&mut core, NOW);
    // Its end was not taken yet: it stays.
    core.handle_datagram(NOW, from, &announce(2, 0, 1, &OPENED));
    assert_eq!((core.stats().streams, core.stats().streams_refused), (1, 1));
    assert_eq!(ends(&mut core), [EndReason::Closed]);
    transmit(&mut core, NOW);
    core.handle_datagram(NOW, from, &announce(2, 0, 1, &OPENED));
    assert_eq!((core.stats().streams, core.stats().streams_refused), (1, 1));
}

#[test]
fn in_a_crowd_too_a_stream_whose_publisher_knew_of_its_end_before_the_application_makes_room() {
    let config = Config { max_streams: 1, ..Config::new(ReceiverId(u64::MAX)) };
    let mut alone = Alone::of(config, 1_000);
    alone.announce(1);
    alone.run_for(Duration::from_secs(10));
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    alone.core.handle_datagram(alone.now, from, &end(1, 0, 1, 1));
    while !alone.said.last().unwrap().1[0].ended {
        alone.now = alone.now + MILLISECOND;
        assert!(alone.now < START + Duration::from_secs(11), "it is said within a tenth of a second");
        alone.core.handle_timeout(alone.now);
        alone.transmit();
    }
    assert_eq!(ends(&mut alone.core), [EndReason::Closed]);
    alone.announce(2);
    assert_eq!((alone.core.stats().streams, alone.core.stats().streams_refused), (1, 0));
}

#[test]
fn a_stream_whose_end_is_not_taken_makes_no_room() {
    let mut core = small(4, 2);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    feed(&mut core, NOW, &[announce(1, 0, 1, &OPENED), announce(2, 0, 1, &OPENED)]);
    assert_eq!(feed(&mut core, NOW, &[end(1, 0, 1, 1)]).ends, [EndReason::Closed]);
    core.handle_datagram(NOW, from, &end(2, 0, 1, 1));
    transmit(&mut core, NOW);
    // The first does.
    core.handle_datagram(NOW, from, &announce(3, 0, 1, &OPENED));
    assert_eq!(core.stats().streams_refused, 0);
    assert_eq!(ends(&mut core), [EndReason::Closed]);
}

#[test]
fn what_is_left_of_a_source_that_is_gone_is_not_given_back_for_another() {
    // There is memory for four chunks of 64 datagrams; the first source has three of them when it falls silent.
    let mut core = by_hand::small(Contract::Ordered, 1);
    let gone = [10, 70, 130].map(|sequence| of(1, sequence));
    feed(&mut core, NOW, &gone);
    let later = NOW + MINUTE;
    core.handle_timeout(later);
    // Nobody takes that. Another source's may be asked for again, what the first one sent may not.
    core.handle_datagram(later, elsewhere(2), &opened_by(5, 0));
    for sequence in [10, 70] {
        let header = Header { sequence, message: sequence, ..Header::new(Kind::Data, SourceId(5), 1) };
        core.handle_datagram(later, elsewhere(2), &emit(header, &[0, 1, 0, 0, 0]));
    }
    assert_eq!((core.stats().datagrams, core.stats().overruns), (4, 1));
    let mut heard = Heard::default();
    heard.take(&mut core, &[]);
    assert_eq!((heard.messages, heard.ends), (vec![10, 70, 130], vec![EndReason::Silent]));
    assert_eq!(heard.gaps, [9, 59, 59].map(|lost| (GapReason::SourceGone, lost)));
}

#[test]
fn sources_that_were_forgotten_are_known_again_as_many_as_are_remembered() {
    const MOST: u64 = 256;
    let mut core = small(1, 4);
    let mut now = NOW;
    let mut hear = |source: u64, lead| {
        core.handle_datagram(now, elsewhere(source as u8), &opened_by(source, lead));
        assert_eq!((core.stats().sources, core.stats().sources_refused), (1, 0));
        ends(&mut core);
        // It falls silent, and makes room for the next.
        now = now + MINUTE;
        core.handle_timeout(now);
        assert_eq!(ends(&mut core), [EndReason::Silent]);
        core.stats().missed
    };
    (1..=MOST + 2).for_each(|source| assert_eq!(hear(source, 0), 0));
    // The first two gave way to the last; and who comes back makes the oldest give way to the one it displaces.
    assert_eq!(hear(3, 5), 0, "what it sent before may have been delivered");
    assert_eq!(hear(1, 5), 5, "it is new");
}

#[test]
fn a_source_that_is_forgotten_is_told_of_nothing_and_neither_is_who_has_its_place() {
    let mut core = small(1, 1);
    for stream in [1, 2] {
        let opened = [announce(stream, 0, 1, &OPENED), end(stream, 0, 1, 1)];
        assert_eq!(feed(&mut core, NOW, &opened).ends, [EndReason::Closed]);
        transmit(&mut core, NOW);
    }
    // The first made room for the second, and its publisher is to be told that it has ended.
    feed(&mut core, NOW, &[end(1, 0, 1, 1)]);
    let later = NOW + MINUTE;
    core.handle_timeout(later);
    core.handle_datagram(later, elsewhere(1), &of_source(5, 1));
    assert_eq!(core.stats().sources, 1);
    assert_eq!(core.poll_transmit(later), None);
}

#[test]
fn the_address_of_a_source_that_was_forgotten_is_not_that_of_who_has_its_place() {
    let mut core = small(1, 4);
    core.handle_datagram(NOW, elsewhere(1), &opened_by(1, 0));
    ends(&mut core);
    let later = NOW + MINUTE;
    core.handle_timeout(later);
    assert_eq!(ends(&mut core), [EndReason::Silent]);
    core.handle_datagram(later, elsewhere(2), &opened_by(2, 0));
    assert_eq!((core.stats().sources, core.stats().sources_refused), (1, 0));
    // A third comes from where the first did, and is refused; the second goes on.
    core.handle_datagram(later, elsewhere(1), &opened_by(3, 0));
    assert_eq!((core.stats().sources, core.stats().sources_refused), (1, 1));
    assert_eq!(ends(&mut core), []);
}

#[test]
fn who_is_gone_is_told_of_nothing_and_asked_for_nothing() {
    let mut core = small(4, 4);
    feed(&mut core, NOW, &[announce(1, 0, 1, &OPENED), data(Kind::Data, 1, 1), data(Kind::Data, 3, 3)]);
    let later = NOW + MINUTE;
    core.handle_timeout(later);
    // What is missing is not taken yet, but will not come: nothing is waited for but to look who is there.
    for _ in 0..2 {
        let (at, _) = core.poll_timeout(later).unwrap();
        assert_eq!(core.poll_transmit(at.max(later)), None);
        core.handle_timeout(at.max(later));
    }
    assert_eq!(core.poll_timeout(later), None);
    assert_eq!((core.stats().statuses, core.stats().naks), (0, 0));
    assert_eq!(ends(&mut core), [EndReason::Silent]);
    assert_eq!(core.poll_transmit(later), None);
}

#[test]
fn what_is_given_back_for_another_stream_is_asked_for_and_not_given_up_with_what_is_overdue() {
    const DEADLINE: Duration = Duration::from_millis(10);
    // There is memory for four chunks of 64 datagrams, of which the first stream has three.
    let mut core = by_hand::small(Contract::Deadline(DEADLINE), 2);
    feed(&mut core, NOW, &[10, 70, 130].map(|sequence| of(1, sequence)));
    // The second needs two of them, shortly before the first one's deadline.
    let later = NOW + (DEADLINE - MILLISECOND);
    feed(&mut core, later, &[10, 70].map(|sequence| of(2, sequence)));
    assert_eq!((core.stats().datagrams, core.stats().overruns), (5, 1));
    let overdue = NOW + DEADLINE;
    core.handle_timeout(overdue);
    let mut heard = Heard::default();
    heard.take(&mut core, &[]);
    let lost: Vec<_> = [9, 59].map(|lost| (GapReason::Deadline, lost)).into();
    assert_eq!((heard.messages, heard.gaps), (vec![10, 70], lost));
    // 71 to 130 are asked for, and come.
    let repairs: Vec<_> = (71..=130).map(|sequence| of(1, sequence)).collect();
    let heard = feed(&mut core, overdue, &repairs);
    assert!(heard.gaps.is_empty() && heard.messages.into_iter().eq(71..=130));
}
