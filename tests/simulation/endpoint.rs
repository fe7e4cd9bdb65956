//! One publisher, handed what receivers say: what it waits for, keeps, sends and tells, to the datagram and the nanosecond.

use super::peers::emit;
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{
    BackPressure, Config, Flow, Laggard, Onward, Publisher, PublisherEvent, Reason, Refused, START_GRACE, To,
};
use nakcast::wire::{
    Datagram, Header, Heartbeat, Kind, Nak, Position, Range, ReceiverId, SourceId, Status, flag,
};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const NOW: Time = Time(1_000_000_000);
pub(super) const SOURCE: SourceId = SourceId(7);

pub(super) fn address(host: u64) -> SocketAddr {
    SocketAddr::from(([10, 9, host as u8, (host >> 8) as u8], 9))
}

pub(super) fn status(core: &mut Publisher, now: Time, receiver: u64, positions: &[Position]) {
    let mut payload = [0; 1_400];
    let mut list = Status::emit(&mut payload, ReceiverId(receiver), 0);
    positions.iter().for_each(|position| assert!(list.push_position(position)));
    let length = list.length();
    let header = Header { stamp: now.0, ..Header::new(Kind::Status, SOURCE, 0) };
    core.handle_datagram(now, address(receiver), &emit(header, &payload[..length]));
}

pub(super) fn position(stream: u32, position: u64) -> Position {
    Position { stream, ended: false, missed: 0, position, limit: u64::MAX }
}

fn nak(core: &mut Publisher, now: Time, receiver: u64, stream: u32, range: Range) {
    let mut payload = [0; 100];
    let mut list = Nak::emit(&mut payload, ReceiverId(receiver), 0);
    list.push_range(range);
    let length = list.length();
    let header = Header { stamp: now.0, ..Header::new(Kind::Nak, SOURCE, stream) };
    core.handle_datagram(now, address(receiver), &emit(header, &payload[..length]));
}

pub(super) fn drain(core: &mut Publisher, now: Time) {
    while core.poll_transmit(now).is_some() {}
}

/// A message in a datagram of its own, sent.
pub(super) fn send(core: &mut Publisher, stream: u32, now: Time) -> Result<(), Refused> {
    core.send(stream, &[1; 300], now)?;
    core.flush(stream);
    drain(core, now);
    Ok(())
}

/// A window of so many chunks, each of which holds one datagram.
pub(super) fn windowed(chunks: usize, flow: Flow) -> Publisher {
    let datagram = 32 << 10;
    Publisher::new(Config { flow, datagram, window: chunks * datagram, ..Config::new(SOURCE) }, NOW)
}

/// Whether the first datagram of a stream can be had no more.
pub(super) fn lost_its_first(core: &mut Publisher, stream: u32) -> bool {
    let before = core.stats().nak_gone;
    nak(core, NOW, 99, stream, Range { first: 1, count: 1 });
    core.stats().nak_gone > before
}

#[test]
fn a_window_gives_nothing_up_before_receivers_had_their_time_to_be_heard_from() {
    let mut core = windowed(4, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    (0..4).for_each(|_| send(&mut core, stream, NOW).unwrap());
    let refused = Err(Refused::BackPressured { by: BackPressure::Start });
    assert_eq!(send(&mut core, stream, NOW), refused);
    assert_eq!(send(&mut core, stream, NOW + (START_GRACE - Duration::from_nanos(1))), refused);
    // It is woken when they had it.
    let mut now = NOW;
    loop {
        let (at, reason) = core.poll_timeout(now);
        assert!(at <= NOW + START_GRACE);
        if reason == Reason::Start {
            assert_eq!(at, NOW + START_GRACE);
            break;
        }
        now = at;
        core.handle_timeout(now);
        drain(&mut core, now);
    }
    assert_eq!(core.stats().back_pressured, 1, "one datagram, however often it was tried");
    assert_eq!(send(&mut core, stream, NOW + START_GRACE), Ok(()));
    assert!(send(&mut core, stream, NOW).is_err());
    assert_eq!(core.stats().back_pressured, 2);
}

#[test]
fn a_window_keeps_what_a_receiver_in_good_standing_needs() {
    let mut core = windowed(4, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    (0..2).for_each(|_| send(&mut core, stream, NOW).unwrap());
    status(&mut core, NOW, 1, &[position(stream, 1)]);
    (0..2).for_each(|_| send(&mut core, stream, NOW).unwrap());
    let later = NOW + START_GRACE;
    let refused = Err(Refused::BackPressured { by: BackPressure::Receiver(ReceiverId(1)) });
    assert_eq!(send(&mut core, stream, later), refused);
    status(&mut core, later, 1, &[position(stream, 2)]);
    assert_eq!(send(&mut core, stream, later), Ok(()));
    assert_eq!(send(&mut core, stream, later), refused);
}

#[test]
fn laggards_are_those_who_have_not_everything() {
    let mut core = windowed(20, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    (0..9).for_each(|_| send(&mut core, stream, NOW).unwrap());
    assert_eq!((core.receivers_of(stream), core.receivers_of(stream + 1)), (0, 0));
    for (receiver, at) in [(1, 10), (2, 4), (3, 9)] {
        status(&mut core, NOW, receiver, &[position(stream, at)]);
    }
    assert_eq!(core.receivers_of(stream), 3);
    let behind = |core: &Publisher| -> Vec<_> {
        core.laggards(stream).iter().map(|l: &Laggard| (l.receiver.0, l.address, l.datagrams)).collect()
    };
    assert_eq!(behind(&core), [(2, Some(address(2)), 6), (3, Some(address(3)), 1)]);
    assert!(!core.is_complete(stream));
    status(&mut core, NOW, 2, &[position(stream, 10)]);
    status(&mut core, NOW, 3, &[position(stream, 10)]);
    assert_eq!(behind(&core), []);
    assert!(core.is_complete(stream));
    // Of a closed one the end is missing still.
    core.close_stream(stream, NOW);
    assert_eq!(behind(&core).len(), 3);
    for receiver in 1..=3 {
        status(&mut core, NOW, receiver, &[Position { ended: true, ..position(stream, 10) }]);
    }
    assert!(core.is_complete(stream));
}

#[test]
fn a_message_is_unsent_until_all_of_it_left() {
    let config = Config { max_rate: Some(10_000_000), max_message: 1 << 20, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    drain(&mut core, NOW);
    assert_eq!((core.unsent(stream), core.unsent(stream + 1)), (0, 0));
    core.send(stream, &[1; 100], NOW).unwrap();
    core.send(stream, &[1; 100], NOW).unwrap();
    assert_eq!(core.unsent(stream), 2, "packed");
    core.flush(stream);
    assert_eq!(core.unsent(stream), 2, "sealed");
    drain(&mut core, NOW);
    assert_eq!(core.unsent(stream), 0);

    // Far more than the bucket holds, and than waits in the window: datagrams, and a rest that is kept apart.
    core.send(stream, &[2; 1 << 20], NOW).unwrap();
    let mut now = NOW;
    while core.has_live() || !core.is_complete(stream) {
        assert_eq!(core.unsent(stream), 1);
        drain(&mut core, now);
        now = now + Duration::from_millis(1);
    }
    assert_eq!(core.unsent(stream), 0);
    assert!(now.since(NOW) > Duration::from_millis(500));
}

#[test]
fn what_is_packed_is_flushed_in_time_and_what_is_not_needs_no_timer() {
    let config = Config { max_delay: Duration::from_micros(50), ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let [a, b] = ["a", "b"].map(|topic| core.open_stream(topic, NOW).unwrap());
    core.handle_timeout(NOW);
    drain(&mut core, NOW);
    let due = NOW + Duration::from_micros(50);
    assert!(!core.has_live() && !core.is_waiting() && core.pending(a) == (0, false));
    core.send(a, b"one", NOW).unwrap();
    core.send(b, b"two", NOW).unwrap();
    assert_eq!(core.poll_timeout(NOW), (due, Reason::Flush));
    assert_eq!((core.has_live(), core.pending(a)), (false, (0, true)));
    core.flush(a);
    assert_eq!((core.has_live(), core.is_waiting(), core.pending(a)), (true, true, (1, false)));
    drain(&mut core, NOW);
    assert!(!core.has_live() && !core.is_waiting());
    assert_eq!(core.poll_timeout(NOW), (due, Reason::Flush), "the other is packed still");
    core.flush(b);
    drain(&mut core, NOW);
    assert_ne!(core.poll_timeout(NOW).1, Reason::Flush);
    // What nobody flushes goes when it is due.
    core.send(a, b"three", NOW).unwrap();
    core.handle_timeout(due);
    drain(&mut core, due);
    assert_eq!(core.stats().datagrams, 3);
}

#[test]
fn a_run_is_as_long_as_a_length_of_udp_can_say_and_64_at_the_most() {
    for (datagram, most) in [(512, 64), (1_408, 46), (40_000, 1), (65_507, 1)] {
        let core = Publisher::new(Config { datagram, window: 1, ..Config::new(SOURCE) }, NOW);
        assert_eq!(core.max_run(), most, "{datagram}");
    }
}

#[test]
fn events_that_nobody_takes_are_dropped_from_the_oldest_on() {
    let mut core = windowed(4, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    for receiver in 1..=1_030 {
        status(&mut core, NOW, receiver, &[position(stream, 1)]);
    }
    assert_eq!((core.stats().receivers, core.stats().events_dropped), (1_030, 6));
    let joined = |id| PublisherEvent::Joined { receiver: ReceiverId(id), address: address(id) };
    assert_eq!(core.poll_event(), Some(joined(7)));
    assert_eq!(std::iter::from_fn(|| core.poll_event()).count(), 1_023);
}

#[test]
fn small_messages_share_a_datagram_and_a_full_one_waits_for_nothing() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    core.send(stream, b"one", NOW).unwrap();
    core.send(stream, b"two", NOW).unwrap();
    core.flush(stream);
    drain(&mut core, NOW);
    assert_eq!(core.stats().datagrams, 1);
    let most = core.max_record();
    core.send(stream, &vec![1; most - 4], NOW).unwrap();
    assert_eq!(core.pending(stream), (1, false), "there is no room for another");
    drain(&mut core, NOW);
    core.send(stream, &vec![1; most - 5], NOW).unwrap();
    assert_eq!(core.pending(stream), (0, true), "there is, for one of no bytes");
}

#[test]
fn what_was_claimed_is_there_to_be_written_and_read_until_it_is_committed() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    core.claim(stream, 5, NOW).unwrap().copy_from_slice(b"01234");
    core.claimed_mut(stream, 5)[1..3].copy_from_slice(b"ab");
    assert_eq!(core.claimed(stream, 5), b"0ab34");
    core.commit(stream, 5);
    core.flush(stream);
    let transmit = core.poll_transmit(NOW).map(|_| core.datagrams().any(|bytes| bytes.ends_with(b"0ab34")));
    let mut found = transmit == Some(true);
    while core.poll_transmit(NOW).is_some() {
        found |= core.datagrams().any(|bytes| bytes.ends_with(b"0ab34"));
    }
    assert!(found);
}

#[test]
fn the_longest_message_is_taken_and_a_longer_one_is_not() {
    let config = Config { max_message: 5_000, datagram: 512, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    assert_eq!(core.send(stream, &[1; 5_001], NOW), Err(Refused::TooLong { max: 5_000 }));
    assert_eq!(core.send(stream, &[1; 5_000], NOW), Ok(()));
    let max = core.max_record();
    assert_eq!(core.claim(stream, max + 1, NOW).err(), Some(Refused::TooLong { max }));
    assert_eq!((core.stats().messages, core.stats().bytes), (1, 5_000));
    drain(&mut core, NOW);
    // 512 bytes less the header and a fragment's own eight.
    assert_eq!(core.stats().datagrams, 5_000_u64.div_ceil(512 - 64 - 8));
}

#[test]
fn what_is_sent_has_the_time_of_the_wall_clock_that_was_set_last() {
    let mut core = Publisher::new(Config { wall_offset: 5, ..Config::new(SOURCE) }, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    for offset in [5, 700] {
        core.set_wall_offset(offset);
        core.send(stream, b"one", NOW).unwrap();
        core.flush(stream);
        let mut times = Vec::new();
        while core.poll_transmit(NOW).is_some() {
            times.extend(core.datagrams().map(|bytes| Datagram::parse(bytes).unwrap().header.sent));
        }
        assert!(!times.is_empty() && times.iter().all(|&time| time == NOW.0 + offset), "{times:?}");
    }
}

#[test]
fn a_record_joins_a_datagram_that_has_room_for_it() {
    // 64 bytes of header, then records of 4 and their bytes.
    for (second, datagrams) in [(200, 1), (340, 1), (341, 2)] {
        let mut core = Publisher::new(Config { datagram: 512, ..Config::new(SOURCE) }, NOW);
        let stream = core.open_stream("a", NOW).unwrap();
        core.send(stream, &[1; 100], NOW).unwrap();
        core.send(stream, &vec![1; second], NOW).unwrap();
        core.flush(stream);
        drain(&mut core, NOW);
        assert_eq!(core.stats().datagrams, datagrams, "{second}");
    }
}

#[test]
fn what_is_under_way_is_not_sent_again_to_who_cannot_have_heard_it() {
    let mut core = windowed(8, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    let after = |micros| NOW + Duration::from_micros(micros);
    send(&mut core, stream, after(100)).unwrap();
    let one = Range { first: 1, count: 1 };
    // When it is asked for by one who had heard everything up to then, and how many repairs were sent and not sent by now.
    for (asked, repairs, crossed) in [(99, 0, 1), (100, 1, 1), (150, 1, 2), (300, 2, 2), (300, 2, 3)] {
        nak(&mut core, after(asked), 1, stream, one);
        drain(&mut core, after(asked + 100));
        assert_eq!((core.stats().repairs, core.stats().nak_crossed), (repairs, crossed), "{asked}");
    }
}

#[test]
fn who_falls_silent_is_forgotten_after_ten_idle_intervals_and_in_a_crowd_later() {
    // In a crowd of 200 each may be silent for two seconds, and is forgotten after five times that.
    for (receivers, seconds) in [(20, 5), (200, 10)] {
        let mut core = windowed(4, Flow::Slowest);
        let stream = core.open_stream("a", NOW).unwrap();
        for receiver in 1..=receivers {
            status(&mut core, NOW, receiver, &[position(stream, 1)]);
        }
        let mut pass = |millis: u64| {
            core.handle_timeout(NOW + Duration::from_millis(millis));
            core.stats().receivers
        };
        assert_eq!([10, seconds * 1_000 - 1].map(&mut pass), [receivers; 2], "{receivers}");
        assert_eq!(pass(seconds * 1_000 + 2), 0, "{receivers}");
    }
}

/// Lets time pass until `until`; gives when heartbeats that show stream 1 were sent, in milliseconds after `since`, and the
/// streams that were announced.
pub(super) fn beats(core: &mut Publisher, since: Time, until: Time) -> (Vec<u128>, Vec<u32>) {
    let (mut now, mut times, mut announced) = (since, Vec::new(), Vec::new());
    loop {
        core.handle_timeout(now);
        while core.poll_transmit(now).is_some() {
            for bytes in core.datagrams() {
                let datagram = Datagram::parse(bytes).unwrap();
                match datagram.header.kind {
                    Kind::Heartbeat => {
                        let heartbeat = Heartbeat::parse(datagram.payload).unwrap();
                        if heartbeat.streams().any(|state| state.unwrap().stream == 1) {
                            times.push(now.since(since).as_millis());
                        }
                    }
                    Kind::Announce => announced.push(datagram.header.stream),
                    _ => {}
                }
            }
        }
        let (next, _) = core.poll_timeout(now);
        if next > until {
            return (times, announced);
        }
        now = now.max(next);
    }
}

/// A publisher that is in no hurry: its own heartbeats come every five seconds.
pub(super) fn slow(flow: Flow, max_rate: Option<u64>) -> (Publisher, u32) {
    let config = Config {
        flow,
        max_rate,
        idle_interval: Duration::from_secs(5),
        patience: Duration::from_secs(60),
        ..Config::new(SOURCE)
    };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    (core, stream)
}

#[test]
fn heartbeats_follow_a_change_after_a_millisecond_or_three_round_trips_and_ever_more_rarely() {
    let second = Duration::from_secs(1);
    for (round_trip, expected) in
        [(0, [1, 2, 4, 8, 16, 32, 64, 128, 256].as_slice()), (2, &[6, 12, 24, 48, 96, 192, 384])]
    {
        let (mut core, stream) = slow(Flow::None, None);
        let mut now = NOW + second;
        beats(&mut core, NOW, now);
        if round_trip > 0 {
            now = now + Duration::from_millis(round_trip);
            let mut payload = [0; 100];
            let mut list = Status::emit(&mut payload, ReceiverId(1), 0);
            list.push_position(&position(stream, 1));
            let length = list.length();
            let stamp = now.0 - round_trip * 1_000_000;
            let header = Header { stamp, ..Header::new(Kind::Status, SOURCE, 0) };
            core.handle_datagram(now, address(1), &emit(header, &payload[..length]));
            // The group is told of who joined before.
            beats(&mut core, now, now + second);
            now = now + second;
        }
        send(&mut core, stream, now).unwrap();
        let (times, _) = beats(&mut core, now, now + Duration::from_millis(400));
        assert_eq!(times, expected, "{round_trip}");
    }
}

#[test]
fn who_is_held_back_asks_on_and_at_a_low_rate_less_often() {
    for (rate, beats_in_a_second) in [(None, 245..=251), (Some(25_600), 3..=6)] {
        let (mut core, stream) = slow(Flow::Slowest, rate);
        status(&mut core, NOW, 1, &[Position { limit: 1, ..position(stream, 1) }]);
        send(&mut core, stream, NOW).unwrap();
        let now = NOW + Duration::from_secs(2);
        beats(&mut core, NOW, now);
        let held = Err(Refused::BackPressured { by: BackPressure::Receiver(ReceiverId(1)) });
        assert_eq!(send(&mut core, stream, now), held);
        let (times, _) = beats(&mut core, now, now + Duration::from_secs(1));
        assert_eq!(times[..3], [4, 8, 12], "four times the first, and then as often");
        assert!(beats_in_a_second.contains(&times.len()), "{rate:?}: {}", times.len());
    }
}

#[test]
fn announces_go_round_four_at_each_idle_interval() {
    let config = Config { idle_interval: Duration::from_millis(500), ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let streams: Vec<_> = (0..7).map(|at| core.open_stream(&format!("t{at}"), NOW).unwrap()).collect();
    core.close_stream(streams[2], NOW);
    core.release_stream(streams[2]);
    let begun = NOW + Duration::from_millis(400);
    beats(&mut core, NOW, begun);
    let (_, announced) = beats(&mut core, begun, NOW + Duration::from_millis(1_600));
    // The first four went out at the start; a stream that was released has no name any more.
    assert_eq!(announced, [6, 7, 1, 2, 4, 5, 6, 7, 1, 2, 4, 5]);
}

#[test]
fn datagrams_of_a_run_are_as_long_as_its_longest_and_its_last_as_it_is() {
    let config = Config { datagram: 512, window: 1, flow: Flow::None, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    beats(&mut core, NOW, NOW);
    // Their memory was used before: what pads them is of nobody's message.
    (0..300).for_each(|_| {
        core.send(stream, &[1; 440], NOW).unwrap();
        core.flush(stream);
        drain(&mut core, NOW);
    });
    let before = core.stats();
    for length in [432, 412, 432, 232] {
        core.send(stream, &vec![1; length], NOW).unwrap();
        core.flush(stream);
    }
    let transmit = core.poll_transmit(NOW).unwrap();
    assert_eq!((transmit.segment, transmit.count), (500, 4));
    let lengths: Vec<_> = core.datagrams().map(<[u8]>::len).collect();
    assert_eq!(lengths, [500, 500, 500, 300]);
    let payloads: Vec<_> =
        core.datagrams().map(|bytes| Datagram::parse(bytes).unwrap().payload.len()).collect();
    assert_eq!(payloads, [436, 416, 436, 236]);
    assert!(core.datagrams().nth(1).unwrap()[480..].iter().all(|&byte| byte == 0));
    let stats = core.stats();
    let sent = (stats.datagrams - before.datagrams, stats.datagram_bytes - before.datagram_bytes);
    assert_eq!(sent, (4, 1_800));
}

#[test]
fn a_stream_that_is_over_is_not_shown_and_its_end_is_said() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    send(&mut core, stream, NOW).unwrap();
    core.close_stream(stream, NOW);
    let later = NOW + Duration::from_secs(3);
    let (shown, _) = beats(&mut core, NOW, later);
    assert_eq!(shown, []);
    assert!(core.stats().ends > 5 && core.stats().heartbeats > 5);
}

#[test]
fn a_name_that_is_asked_for_twice_is_told_once_and_of_a_stream_that_is_given_up_its_end() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    drain(&mut core, NOW);
    let ask = |core: &mut Publisher| {
        let mut payload = [0; 100];
        let length = Nak::emit(&mut payload, ReceiverId(1), 0).length();
        let header =
            Header { stamp: NOW.0, flags: flag::NAME_WANTED, ..Header::new(Kind::Nak, SOURCE, stream) };
        core.handle_datagram(NOW, address(1), &emit(header, &payload[..length]));
    };
    (0..3).for_each(|_| ask(&mut core));
    drain(&mut core, NOW);
    assert_eq!((core.stats().announces, core.stats().ends), (2, 0));
    ask(&mut core);
    drain(&mut core, NOW);
    assert_eq!(core.stats().announces, 3);
    core.close_stream(stream, NOW);
    core.release_stream(stream);
    drain(&mut core, NOW);
    let ends = core.stats().ends;
    (0..3).for_each(|_| ask(&mut core));
    drain(&mut core, NOW);
    assert_eq!((core.stats().announces, core.stats().ends), (3, ends + 1));
}

#[test]
fn a_short_datagram_ends_a_run_that_wastes_an_eighth_already() {
    let mut core = Publisher::new(Config { datagram: 512, ..Config::new(SOURCE) }, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    beats(&mut core, NOW, NOW);
    for lengths in [[400, 300, 100, 100], [400, 400, 100, 100]] {
        for length in lengths {
            core.send(stream, &vec![1; length - 68], NOW).unwrap();
            core.flush(stream);
        }
        core.poll_transmit(NOW).unwrap();
        assert_eq!(core.datagrams().map(<[u8]>::len).collect::<Vec<_>>(), [400, 400, 100]);
        core.poll_transmit(NOW).unwrap();
        assert_eq!(core.datagrams().map(<[u8]>::len).collect::<Vec<_>>(), [100]);
    }
}

#[test]
fn what_the_socket_did_not_take_is_not_counted_and_sent_again() {
    let mut core = windowed(8, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    status(&mut core, NOW, 1, &[position(stream, 1)]);
    drain(&mut core, NOW);
    let counted = |core: &Publisher| {
        let stats = core.stats();
        let live = (stats.datagrams, stats.datagram_bytes);
        (live, (stats.repairs, stats.repairs_unicast, stats.repair_bytes))
    };
    let each = 64 + 4 + 300;
    for _ in 0..2 {
        core.send(stream, &[1; 300], NOW).unwrap();
        core.flush(stream);
    }
    // A run has one of these, for two are too long for a datagram of UDP at this size.
    for taken in 0..2 {
        core.poll_transmit(NOW).unwrap();
        core.retract(0);
        assert_eq!(counted(&core).0, (taken, taken * each));
        core.poll_transmit(NOW).unwrap();
        core.retract(1);
        assert_eq!(counted(&core).0, (taken + 1, (taken + 1) * each));
    }
    drain(&mut core, NOW);
    let later = NOW + Duration::from_millis(1);
    nak(&mut core, later, 1, stream, Range { first: 1, count: 2 });
    for taken in 0..2 {
        while core.poll_transmit(later).is_some_and(|transmit| transmit.to == To::Group) {}
        assert_eq!(counted(&core).1, (taken + 1, taken + 1, (taken + 1) * each));
        core.retract(0);
        assert_eq!(counted(&core).1, (taken, taken, taken * each));
        while core.poll_transmit(later).is_some_and(|transmit| transmit.to == To::Group) {}
    }
}

#[test]
fn announces_that_too_many_wait_for_are_dropped_and_counted() {
    let config = Config { datagram: 512, window: 64 << 20, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    (0..1_030).for_each(|at| assert!(core.open_stream(&format!("t{at}"), NOW).is_some()));
    assert_eq!(core.stats().control_dropped, 6);
    drain(&mut core, NOW);
    assert_eq!(core.stats().announces, 1_024);
}

#[test]
fn a_sources_own_heartbeat_shows_all_its_streams() {
    let (mut core, first) = slow(Flow::None, None);
    let second = core.open_stream("b", NOW).unwrap();
    let later = NOW + Duration::from_secs(9);
    beats(&mut core, NOW, later);
    let due = NOW + Duration::from_secs(10);
    assert_eq!(core.poll_timeout(later), (due, Reason::Heartbeat));
    core.handle_timeout(due);
    let mut shown = Vec::new();
    while core.poll_transmit(due).is_some() {
        for bytes in core.datagrams() {
            let datagram = Datagram::parse(bytes).unwrap();
            if datagram.header.kind == Kind::Heartbeat {
                let heartbeat = Heartbeat::parse(datagram.payload).unwrap();
                shown.extend(heartbeat.streams().map(|state| state.unwrap().stream));
            }
        }
    }
    assert_eq!(shown, [first, second]);
}

#[test]
fn who_is_held_back_goes_on_once_there_is_room_for_a_run_or_a_quarter_of_what_the_slowest_has() {
    // The room of the slowest, and by how much it must have moved on when all that it allowed was sent.
    for (room, least) in [(10, 2), (100, 25), (1_000, 46)] {
        let (mut core, stream) = slow(Flow::Slowest, None);
        let told = |at| Position { limit: at + room - 1, ..position(stream, at) };
        status(&mut core, NOW, 1, &[told(1)]);
        status(&mut core, NOW, 2, &[position(stream, 1)]);
        while send(&mut core, stream, NOW).is_ok() {}
        assert!(core.stats().datagrams == room && core.onward(stream, NOW) == Onward::No);
        status(&mut core, NOW, 1, &[told(least)]);
        assert_eq!(core.onward(stream, NOW), Onward::Barely, "{room}");
        status(&mut core, NOW, 1, &[told(least + 1)]);
        assert_eq!(core.onward(stream, NOW), Onward::Well, "{room}");
        // It has what was on its way, and told of it only lately.
        while send(&mut core, stream, NOW).is_ok() {}
        status(&mut core, NOW, 1, &[told(room + least + 1 - room / 4)]);
        assert_eq!(core.onward(stream, NOW), Onward::Well, "{room}");
    }
}

#[test]
fn who_is_held_back_by_nobody_or_for_ever_goes_on_to_see_that() {
    for flow in [Flow::Slowest, Flow::None] {
        let (mut core, stream) = slow(flow, None);
        status(&mut core, NOW, 1, &[Position { limit: 10, ..position(stream, 1) }]);
        (0..10).for_each(|_| send(&mut core, stream, NOW).unwrap());
        assert_eq!(send(&mut core, stream, NOW).is_ok(), flow == Flow::None);
        let onward = if flow == Flow::None { Onward::Well } else { Onward::No };
        assert_eq!(core.onward(stream, NOW), onward);
        core.close_stream(stream, NOW);
        assert_eq!([stream, 99].map(|stream| core.onward(stream, NOW)), [Onward::Well; 2]);
    }
}

#[test]
fn who_waits_for_the_rate_and_then_for_a_receiver_tries_again_so_that_its_patience_begins() {
    let (mut core, stream) = slow(Flow::Slowest, Some(100_000_000));
    let refused = loop {
        if let Err(refused) = core.send(stream, &[1; 1_340], NOW) {
            break refused;
        }
        core.flush(stream);
    };
    assert_eq!(refused, Refused::BackPressured { by: BackPressure::Rate });
    drain(&mut core, NOW);
    status(&mut core, NOW, 1, &[Position { limit: 10, ..position(stream, 1) }]);
    assert_eq!(core.onward(stream, NOW), Onward::Well);
    let by = BackPressure::Receiver(ReceiverId(1));
    assert_eq!(core.send(stream, &[1; 1_340], NOW), Err(Refused::BackPressured { by }));
    assert_eq!(core.onward(stream, NOW), Onward::No, "it waits");
    let mut now = NOW;
    while core.onward(stream, now) == Onward::No {
        now = now.max(core.poll_timeout(now).0);
        assert!(now <= NOW + Duration::from_secs(60), "but not for ever");
        // It lives, and makes no progress.
        status(&mut core, now, 1, &[Position { limit: 10, ..position(stream, 1) }]);
        core.handle_timeout(now);
        drain(&mut core, now);
    }
    assert_eq!((core.stats().fell_behind, now), (1, NOW + Duration::from_secs(60)));
}
