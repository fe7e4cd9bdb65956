//! What sources say of themselves, at the edges of what can be: announces, heartbeats and ends, written by hand.

use super::peers::{Heard, SOURCE, data, emit, heartbeat};
use nakcast::protocol::subscriber::{Config, StartAt, Subscriber};
use nakcast::protocol::{EndReason, GapReason, Time};
use nakcast::wire::{
    Announce, Confirmation, End, Header, Heartbeat, Invalid, Kind, MAX_SEQUENCE, Ncf, ReceiverId, SourceId,
    StreamState, data as body, flag,
};
use std::net::SocketAddr;
use std::time::Duration;

const NOW: Time = Time(1_000_000_000);

fn from() -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], 9))
}

/// An announce of a stream of five datagrams, with one message each.
pub(super) const SOUND: Announce<'static> = Announce {
    age: 1 << 60,
    trail: 1,
    trail_message: 1,
    idle_interval: 500_000,
    window: 5,
    datagram: 100,
    topic: "t",
};

pub(super) fn announce(stream: u32, lead: u64, message: u64, announce: &Announce<'_>) -> Vec<u8> {
    let mut payload = [0; 100];
    let length = announce.emit(&mut payload);
    emit(
        Header { sequence: lead, message, ..Header::new(Kind::Announce, SOURCE, stream) },
        &payload[..length],
    )
}

pub(super) fn end(stream: u32, lead: u64, message: u64, trail: u64) -> Vec<u8> {
    let mut payload = [0; 16];
    let length = End { trail }.emit(&mut payload);
    emit(Header { sequence: lead, message, ..Header::new(Kind::End, SOURCE, stream) }, &payload[..length])
}

pub(super) fn subscriber(start: StartAt) -> Subscriber {
    Subscriber::new(Config { start, ..Config::new(ReceiverId(1)) }, NOW)
}

pub(super) fn feed(core: &mut Subscriber, now: Time, datagrams: &[Vec<u8>]) -> Heard {
    let mut heard = Heard::default();
    for datagram in datagrams {
        core.handle_datagram(now, from(), datagram);
        heard.take(core, datagram);
    }
    heard
}

#[test]
fn an_announce_whose_numbers_cannot_be_is_refused() {
    let far = Announce { trail: MAX_SEQUENCE - 4, trail_message: MAX_SEQUENCE - 4, ..SOUND };
    for (stream, lead, message, said, sound) in [
        (1, 5, 6, SOUND, true),
        (0, 5, 6, SOUND, false),
        (1, 5, 6, Announce { trail: 6, ..SOUND }, true),
        (1, 5, 6, Announce { trail: 7, ..SOUND }, false),
        (1, 5, 6, Announce { window: 4, ..SOUND }, false),
        (1, 5, 6, Announce { trail_message: 6, ..SOUND }, true),
        (1, 5, 6, Announce { trail_message: 7, ..SOUND }, false),
        (1, 5, 6, Announce { datagram: 65_507, ..SOUND }, true),
        (1, 5, 6, Announce { datagram: 65_508, ..SOUND }, false),
        (1, 5, MAX_SEQUENCE, SOUND, true),
        (1, MAX_SEQUENCE - 1, MAX_SEQUENCE, far, true),
        (1, MAX_SEQUENCE, MAX_SEQUENCE, far, false),
    ] {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW, &[announce(stream, lead, message, &said)]);
        let stats = core.stats();
        let refused = stats.rejected[Invalid::Number.index()];
        assert_eq!(
            (stats.streams, refused),
            (u64::from(sound), u64::from(!sound)),
            "{lead} {message} {said:?}"
        );
    }
}

#[test]
fn a_stream_is_new_when_it_is_younger_than_the_subscription_or_was_silent_for_longer_than_it_may() {
    let second = Duration::from_secs(1);
    // When the source is heard first, how old its stream is then, and whether all of it is wanted.
    for (after, age, is_new) in [
        (Duration::ZERO, 1, false),
        (Duration::from_millis(100), 100_000_000, true),
        (Duration::from_millis(100), 100_000_001, false),
        (Duration::from_millis(500), second.as_nanos() as u64, false),
        (Duration::from_nanos(500_000_001), second.as_nanos() as u64, true),
    ] {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW + after, &[announce(1, 5, 6, &Announce { age, ..SOUND })]);
        assert_eq!(core.stats().missed, if is_new { 5 } else { 0 }, "{after:?} {age}");
    }
}

#[test]
fn a_subscription_starts_where_it_was_told_to() {
    let of = |sequence| data(Kind::Data, sequence, sequence);
    let trailed = announce(1, 5, 6, &Announce { trail: 3, trail_message: 3, ..SOUND });
    // From the window on; from what came first; from the lead, where nothing came, or what the window lost or never had.
    for (start, first, missed) in [
        (StartAt::Window, None, 3),
        (StartAt::Live, None, 0),
        (StartAt::Live, Some(2), 0),
        (StartAt::Live, Some(3), 3),
        (StartAt::Live, Some(5), 1),
        (StartAt::Live, Some(6), 0),
    ] {
        let mut core = subscriber(start);
        let before: Vec<_> = first.map(of).into_iter().collect();
        feed(&mut core, NOW, &before);
        feed(&mut core, NOW, std::slice::from_ref(&trailed));
        assert_eq!(core.stats().missed, missed, "{start:?} {first:?}");
        let heard = feed(&mut core, NOW, &[of(3), of(4), of(5), of(6)]);
        assert_eq!(heard.messages, (7 - missed - 1..=6).collect::<Vec<_>>(), "{start:?} {first:?}");
    }
}

#[test]
fn a_stream_whose_name_is_told_makes_room_for_others_without() {
    let mut core = subscriber(StartAt::Live);
    let mut payload = [0; 5];
    body::emit_record(&mut payload, 1);
    let unnamed = |stream| {
        emit(Header { sequence: 1, message: 1, ..Header::new(Kind::Data, SOURCE, stream) }, &payload)
    };
    const MOST: u32 = 4_096;
    let first: Vec<_> = (1..=MOST + 1).map(unnamed).collect();
    feed(&mut core, NOW, &first);
    assert_eq!(core.stats().streams_refused, 1);
    // Half of them are subscribed to.
    let names: Vec<_> = (1..=MOST)
        .map(|stream| {
            announce(stream, 0, 1, &Announce { topic: if stream % 2 == 0 { "t" } else { "u" }, ..SOUND })
        })
        .collect();
    feed(&mut core, NOW, &names);
    let next: Vec<_> = (MOST + 1..=MOST * 2 + 1).map(unnamed).collect();
    feed(&mut core, NOW, &next);
    assert_eq!(core.stats().streams_refused, 2);
}

#[test]
fn an_end_whose_numbers_cannot_be_is_refused() {
    for (stream, lead, message, trail, sound) in [
        (1, 5, 6, 6, true),
        (0, 5, 6, 6, false),
        (1, 5, 6, 7, false),
        (1, 5, 0, 6, false),
        (1, 5, MAX_SEQUENCE + 1, 6, false),
        (1, MAX_SEQUENCE, MAX_SEQUENCE, 6, false),
        (1, MAX_SEQUENCE - 1, MAX_SEQUENCE, MAX_SEQUENCE, true),
    ] {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW, &[announce(1, 5, 6, &SOUND), end(stream, lead, message, trail)]);
        let refused = core.stats().rejected[Invalid::Number.index()];
        assert_eq!(refused, u64::from(!sound), "{stream} {lead} {message} {trail}");
    }
}

#[test]
fn a_heartbeat_tells_of_what_is_there_and_of_nothing_that_cannot_be() {
    let mut core = subscriber(StartAt::Live);
    feed(&mut core, NOW, &[announce(1, 0, 1, &Announce { age: 0, window: 50, ..SOUND })]);
    // The window holds fifty: a line that says more is not believed.
    feed(&mut core, NOW, &[heartbeat(1, 51, 52)]);
    assert_eq!((core.stats().jumps, core.stats().missed), (1, 0));
    feed(&mut core, NOW, &[heartbeat(2, 51, 52)]);
    assert_eq!((core.stats().jumps, core.stats().missed), (1, 51));
    feed(&mut core, NOW, &[heartbeat(40, 60, MAX_SEQUENCE + 1)]);
    assert_eq!((core.stats().rejected[Invalid::Number.index()], core.stats().missed), (1, 51));
    feed(&mut core, NOW, &[heartbeat(40, 60, MAX_SEQUENCE)]);
    assert_eq!(core.stats().missed, 60);
}

#[test]
fn what_lies_before_the_trail_is_given_up_as_exactly_as_it_is_told() {
    for (told, gaps) in [
        // An announce says which message the trail begins with, a heartbeat does not.
        (announce(1, 5, 6, &Announce { trail: 4, trail_message: 4, ..SOUND }), vec![(GapReason::AgedOut, 3)]),
        (heartbeat(4, 5, 6), vec![]),
        (heartbeat(6, 5, 6), vec![(GapReason::AgedOut, 5)]),
        (heartbeat(1, 5, 6), vec![]),
    ] {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW, &[announce(1, 0, 1, &Announce { age: 0, ..SOUND }), heartbeat(1, 5, 6)]);
        assert_eq!(feed(&mut core, NOW, &[told]).gaps, gaps);
    }
}

/// A heartbeat of stream 1: its lead, who limits it, how far the others let it go, and how large the group is.
fn limited(lead: u64, group: u32, limiting: u64, limit: u64) -> Vec<u8> {
    flagged(0, lead, group, limiting, limit)
}

fn flagged(flags: u8, lead: u64, group: u32, limiting: u64, limit: u64) -> Vec<u8> {
    let mut payload = [0; 100];
    let mut list = Heartbeat::emit(&mut payload, 500_000, group, 1, ReceiverId(limiting));
    list.push_stream(&StreamState { stream: 1, trail: 1, lead, next_message: lead + 1, limit });
    let length = list.length();
    emit(Header { flags, ..Header::new(Kind::Heartbeat, SOURCE, 0) }, &payload[..length])
}

#[test]
fn a_publisher_that_comes_near_what_it_was_told_or_was_told_more_is_told_again() {
    // By a receiver that a crowd has speak, and by one that it has not.
    let (me, silent) = (1, u64::MAX);
    let far = MAX_SEQUENCE;
    // Four chunks of memory let it go to 192, of which it has nothing: three quarters of the 191 from 1 on are behind 144.
    for (receiver, group, limiting, limit, lead, again) in [
        (me, 1, 0, far, 144, false),
        (me, 1, 0, far, 145, true),
        (me, 1, 0, 100, 144, false),
        (me, 1, me, 192, 144, false),
        (me, 1, me, 191, 144, true),
        (me, 1, me, 192, 145, true),
        (silent, 1_000, 0, far, 145, false),
        (silent, 1_000, me, 100, 145, false),
        (silent, 1_000, silent, 192, 145, true),
        (silent, 1_000, silent, 192, 144, false),
    ] {
        let config = Config { reorder: 1, ..Config::new(ReceiverId(receiver)) };
        let mut core = Subscriber::new(config, NOW);
        let opened = announce(1, 0, 1, &Announce { age: 0, window: 1_000, ..SOUND });
        feed(&mut core, NOW, &[limited(0, 1, 0, far), opened]);
        core.handle_timeout(NOW);
        while core.poll_transmit(NOW).is_some() {}
        assert_eq!(core.stats().statuses, 1, "it was greeted");
        feed(&mut core, NOW, &[limited(lead, group, limiting, limit)]);
        while core.poll_transmit(NOW).is_some() {}
        assert_eq!(
            core.stats().statuses,
            1 + u64::from(again),
            "{receiver} {group} {limiting} {limit} {lead}"
        );
    }
}

#[test]
fn a_publisher_that_is_held_back_is_told_once_by_those_who_send_status_how_far_they_came() {
    let (me, silent, far) = (1, u64::MAX, MAX_SEQUENCE);
    for (receiver, group, limiting, flags, told) in [
        (me, 1, 0, 0, 0),
        (me, 1, 0, flag::HELD_BACK, 1),
        (me, 1_000, 0, flag::HELD_BACK, 1),
        (silent, 1_000, 0, flag::HELD_BACK, 0),
        (silent, 1_000, silent, flag::HELD_BACK, 1),
    ] {
        let mut core = Subscriber::new(Config::new(ReceiverId(receiver)), NOW);
        let opened = announce(1, 0, 1, &Announce { age: 0, window: 1_000, ..SOUND });
        feed(&mut core, NOW, &[limited(0, 1, 0, far), opened]);
        core.handle_timeout(NOW);
        while core.poll_transmit(NOW).is_some() {}
        feed(&mut core, NOW, &[limited(0, group, 0, far)]);
        let before = core.stats().statuses;
        let asking = [flagged(flags, 3, group, limiting, far)];
        let come = [1, 2, 3].map(|sequence| data(Kind::Data, sequence, sequence));
        // Asked in vain, before anything came; and when it was said, there is nothing new.
        for (datagrams, told) in [(&asking[..], 0), (&come, 0), (&asking, told), (&asking, told)] {
            feed(&mut core, NOW, datagrams);
            while core.poll_transmit(NOW).is_some() {}
            assert_eq!(core.stats().statuses - before, told, "{receiver} {group} {limiting} {flags}");
        }
    }
}

#[test]
fn a_publisher_that_asks_on_and_on_is_told_the_same_less_and_less_often() {
    let mut core = Subscriber::new(Config { reorder: 1, ..Config::new(ReceiverId(1)) }, NOW);
    let opened = announce(1, 0, 1, &Announce { age: 0, window: 1_000, ..SOUND });
    feed(&mut core, NOW, &[limited(0, 1, 0, MAX_SEQUENCE), opened]);
    core.handle_timeout(NOW);
    while core.poll_transmit(NOW).is_some() {}
    let mut times = Vec::new();
    for millis in (0..1_000).step_by(4) {
        let now = NOW + Duration::from_millis(millis);
        let before = core.stats().statuses;
        // It is as far as it may go, and nothing came.
        feed(&mut core, now, &[flagged(flag::HELD_BACK, 190, 1, 1, MAX_SEQUENCE)]);
        while core.poll_transmit(now).is_some() {}
        times.extend((before..core.stats().statuses).map(|_| millis));
    }
    assert_eq!(times[..6], [0, 4, 12, 28, 60, 124], "{times:?}");
    assert!((10..16).contains(&times.len()), "{times:?}");
}

#[test]
fn what_is_gone_beyond_all_that_was_heard_of_is_gone_up_to_there_and_may_be_on_its_way_behind_it() {
    for last in [5, 6, 1_000] {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW, &[announce(1, 0, 1, &Announce { age: 0, ..SOUND }), heartbeat(1, 5, 6)]);
        let mut payload = [0; 100];
        let mut list = Ncf::emit(&mut payload);
        list.push_confirmation(&Confirmation { first: 1, last, next_message: last + 1 });
        let length = list.length();
        let gone = Header { flags: flag::GONE, ..Header::new(Kind::Ncf, SOURCE, 1) };
        let heard = feed(&mut core, NOW, &[emit(gone, &payload[..length]), data(Kind::Data, 6, 6)]);
        assert_eq!((heard.gaps, heard.messages), (vec![(GapReason::AgedOut, 5)], vec![6]), "{last}");
        assert_eq!(core.stats().rejected, [0; Invalid::COUNT]);
    }
}

#[test]
fn the_name_of_a_stream_that_is_over_is_asked_for_where_it_may_have_something() {
    // Its lead and trail; and how often its name is asked for while each time its end is all that comes.
    for (lead, trail, names) in [(0, 1, 0..=0), (5, 6, 9..=9), (5, 5, 20..=1_000)] {
        let mut core = subscriber(StartAt::Live);
        let over = end(1, lead, lead + 1, trail);
        let mut now = NOW;
        feed(&mut core, now, std::slice::from_ref(&over));
        for _ in 0..5_000 {
            now = now + Duration::from_millis(5);
            while core.poll_transmit(now).is_some() {
                feed(&mut core, now, std::slice::from_ref(&over));
            }
        }
        assert!(names.contains(&core.stats().names_asked), "{lead} {trail}: {}", core.stats().names_asked);
    }
}

#[test]
fn an_end_before_what_is_known_contradicts_it() {
    let mut core = subscriber(StartAt::Live);
    feed(&mut core, NOW, &[announce(1, 5, 6, &SOUND)]);
    for (lead, message, contradictions) in [(4, 6, 1), (5, 5, 2), (4, 7, 3)] {
        assert_eq!(feed(&mut core, NOW, &[end(1, lead, message, 1)]).ends, []);
        assert_eq!(core.stats().contradictions, contradictions);
    }
    assert_eq!(feed(&mut core, NOW, &[end(1, 5, 6, 1)]).ends, [EndReason::Closed]);
    assert_eq!(core.stats().contradictions, 3);
}

#[test]
fn sources_that_were_replaced_are_kept_while_half_of_the_room_is_free() {
    let mut core = Subscriber::new(Config { max_sources: 4, ..Config::new(ReceiverId(1)) }, NOW);
    for (id, sources) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3)] {
        let mut payload = [0; 100];
        let length = Heartbeat::emit(&mut payload, 500_000, 1, 1, ReceiverId(0)).length();
        // Each was sent later than what came of the one before, from the same address.
        let header = Header { sent: id, ..Header::new(Kind::Heartbeat, SourceId(id), 0) };
        feed(&mut core, NOW, &[emit(header, &payload[..length])]);
        assert_eq!(core.stats().sources, sources, "{id}");
    }
}

/// A heartbeat without streams: its idle interval, group and round trip.
fn alive(idle_micros: u32, group: u32, round_trip: u32) -> Vec<u8> {
    let mut payload = [0; 100];
    let length = Heartbeat::emit(&mut payload, idle_micros, group, round_trip, ReceiverId(0)).length();
    emit(Header::new(Kind::Heartbeat, SOURCE, 0), &payload[..length])
}

#[test]
fn a_source_is_silent_after_five_of_the_intervals_it_told() {
    let millis = Duration::from_millis;
    // A minute is the longest that is believed.
    for (idle_micros, silent) in
        [(100_000, millis(500)), (1_000_000, millis(5_000)), (u32::MAX, millis(300_000))]
    {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW, &[announce(1, 0, 1, &SOUND), alive(idle_micros, 1, 1)]);
        let ends = |core: &mut Subscriber, after| {
            core.handle_timeout(NOW + after);
            let mut heard = Heard::default();
            heard.take(core, &[]);
            heard.ends
        };
        assert_eq!(ends(&mut core, silent - Duration::from_nanos(1)), [], "{silent:?}");
        assert_eq!(ends(&mut core, silent), [EndReason::Silent], "{silent:?}");
    }
}

#[test]
fn an_answer_is_waited_for_as_long_as_it_takes_and_in_a_group_a_round_trip_at_least() {
    // Group, round trip in microseconds, after how many of them a repair came (0: none), and how long one is waited for then.
    for (group, round_trip, answer, waited) in [
        (1, 0, 0, 5_000),
        (1, 1_000, 0, 2_000),
        (2, 1_000, 0, 2_000),
        (1, 1_000, 300, 900),
        (2, 1_000, 300, 1_000),
        (1, 50, 0, 200),
        (1, 3_000_000, 0, 1_000_000),
    ] {
        let mut core = subscriber(StartAt::Live);
        let opened = announce(1, 0, 1, &Announce { age: 0, ..SOUND });
        feed(&mut core, NOW, &[alive(500_000, group, round_trip * 1_000), opened, data(Kind::Data, 1, 1)]);
        if answer > 0 {
            while core.poll_transmit(NOW).is_some() {}
            feed(&mut core, NOW, &[data(Kind::Data, 3, 3)]);
            while core.poll_transmit(NOW).is_some() {}
            assert_eq!(core.stats().naks, 1);
            feed(&mut core, NOW + Duration::from_micros(answer), &[data(Kind::Repair, 2, 2)]);
        }
        assert_eq!(core.stats().nak_timeout_ns, waited * 1_000, "{group} {round_trip} {answer}");
    }
}

#[test]
fn names_that_are_given_up_make_room_for_others() {
    const MOST: u32 = 4_096;
    let mut core = subscriber(StartAt::Live);
    let mut payload = [0; 5];
    body::emit_record(&mut payload, 1);
    let unnamed = |stream| {
        emit(Header { sequence: 1, message: 1, ..Header::new(Kind::Data, SOURCE, stream) }, &payload)
    };
    feed(&mut core, NOW, &(1..=MOST).map(unnamed).collect::<Vec<_>>());
    let mut now = NOW;
    while core.stats().names_asked < 9 * u64::from(MOST) {
        now = now + Duration::from_millis(5);
        while core.poll_transmit(now).is_some() {}
    }
    // Nothing of them can be had any more.
    feed(&mut core, now, &(1..=MOST).map(|stream| end(stream, 1, 2, 2)).collect::<Vec<_>>());
    feed(&mut core, now, &(MOST + 1..=MOST * 2).map(unnamed).collect::<Vec<_>>());
    assert_eq!(core.stats().streams_refused, 0);
    feed(&mut core, now, &[unnamed(MOST * 2 + 1)]);
    assert_eq!(core.stats().streams_refused, 1);
}

/// A heartbeat of a source, which was sent at this time by its clock.
pub(super) fn of_source(id: u64, sent: u64) -> Vec<u8> {
    let mut payload = [0; 100];
    let length = Heartbeat::emit(&mut payload, 500_000, 1, 1, ReceiverId(0)).length();
    emit(Header { sent, ..Header::new(Kind::Heartbeat, SourceId(id), 0) }, &payload[..length])
}

#[test]
fn another_source_at_an_address_is_the_next_when_it_was_sent_later_or_the_first_is_silent() {
    let idle = Duration::from_millis(500);
    let longer = idle + Duration::from_nanos(1);
    for (after, sent, replaced) in
        [(Duration::ZERO, 5, false), (Duration::ZERO, 6, true), (idle, 5, false), (longer, 5, true)]
    {
        let mut core = subscriber(StartAt::Live);
        feed(&mut core, NOW, &[announce(1, 0, 1, &Announce { age: 0, ..SOUND }), of_source(SOURCE.0, 5)]);
        let heard = feed(&mut core, NOW + after, &[of_source(1, sent)]);
        feed(&mut core, NOW + after, &[]);
        let mut ends = heard.ends;
        let mut rest = Heard::default();
        rest.take(&mut core, &[]);
        ends.extend(rest.ends);
        assert_eq!(ends, if replaced { vec![EndReason::Replaced] } else { vec![] }, "{after:?} {sent}");
    }
}

#[test]
fn a_source_of_which_nothing_is_wanted_makes_room_and_is_forgotten_when_it_is_silent() {
    let elsewhere = SocketAddr::from(([10, 9, 9, 8], 9));
    for (topic, sources, refused, kept) in [("t", 1, 1, 1), ("u", 1, 0, 0)] {
        let patterns = vec!["t".into()];
        let mut core =
            Subscriber::new(Config { max_sources: 1, patterns, ..Config::new(ReceiverId(1)) }, NOW);
        feed(&mut core, NOW, &[announce(1, 0, 1, &Announce { age: 0, topic, ..SOUND })]);
        core.handle_datagram(NOW, elsewhere, &of_source(1, 5));
        assert_eq!((core.stats().sources, core.stats().sources_refused), (sources, refused), "{topic}");
        core.handle_timeout(NOW + Duration::from_secs(60));
        assert_eq!(core.stats().sources, kept, "{topic}");
    }
}

#[test]
fn a_source_that_makes_room_leaves_what_there_is_of_others() {
    let (second, third) = (SocketAddr::from(([10, 9, 9, 8], 9)), SocketAddr::from(([10, 9, 9, 7], 9)));
    let mut core = Subscriber::new(Config { max_sources: 2, ..Config::new(ReceiverId(1)) }, NOW);
    let opened = Announce { age: 0, ..SOUND };
    feed(&mut core, NOW, &[announce(1, 0, 1, &opened)]);
    let now = NOW + Duration::from_secs(60);
    core.handle_timeout(now);
    while core.poll_transmit(now).is_some() {}
    assert_eq!(feed(&mut core, now, &[]).ends, []);
    let mut heard = Heard::default();
    heard.take(&mut core, &[]);
    assert_eq!(heard.ends, [EndReason::Silent]);
    // Of another something is to be told, something is missing, and it is to be greeted.
    let mut payload = [0; 100];
    let length = opened.emit(&mut payload);
    let of = |kind, sequence, payload: &[u8]| {
        emit(Header { sequence, message: sequence.max(1), ..Header::new(kind, SourceId(5), 1) }, payload)
    };
    let mut record = [0; 5];
    body::emit_record(&mut record, 1);
    core.handle_datagram(now, second, &of(Kind::Announce, 0, &payload[..length]));
    core.handle_datagram(now, second, &of(Kind::Data, 1, &record));
    core.handle_datagram(now, second, &of(Kind::Data, 3, &record));
    core.handle_timeout(now + Duration::from_millis(20));
    // The first makes room for a third.
    core.handle_datagram(now, third, &of_source(6, 1));
    assert_eq!((core.stats().sources, core.stats().sources_refused), (2, 0));
    let mut heard = Heard::default();
    heard.take(&mut core, &[]);
    assert_eq!(heard.messages, [1]);
    while core.poll_transmit(now + Duration::from_millis(20)).is_some() {}
    assert_eq!((core.stats().naks, core.stats().statuses), (1, 1));
}
