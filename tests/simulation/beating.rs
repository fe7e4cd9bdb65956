//! Heartbeats, each of them: how many there are, and when.

use super::endpoint::{NOW, SOURCE, address, beats, drain, position, send, slow, status, windowed};
use super::peers::emit;
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{Config, Flow, Publisher, Reason};
use nakcast::wire::{Datagram, Header, Heartbeat, Kind, Position, ReceiverId, Status, flag};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// How often each stream is shown from now until then: when, in milliseconds after the start, and which.
fn shown(core: &mut Publisher, mut now: Time, until: Time) -> Vec<(u128, u32)> {
    let mut shown = Vec::new();
    loop {
        core.handle_timeout(now);
        while core.poll_transmit(now).is_some() {
            for bytes in core.datagrams() {
                let datagram = Datagram::parse(bytes).unwrap();
                if datagram.header.kind == Kind::Heartbeat {
                    let heartbeat = Heartbeat::parse(datagram.payload).unwrap();
                    let at = now.since(NOW).as_millis();
                    shown.extend(heartbeat.streams().map(|state| (at, state.unwrap().stream)));
                }
            }
        }
        let (next, _) = core.poll_timeout(now);
        if next > until {
            return shown;
        }
        now = now.max(next);
    }
}

#[test]
fn what_changes_again_begins_anew_and_is_shown_once_at_a_time_until_the_idle_interval() {
    let config = Config { idle_interval: MILLISECOND * 64, flow: Flow::None, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    let (first, second) = (NOW + MILLISECOND * 1_034, NOW + MILLISECOND * 1_044);
    shown(&mut core, NOW, first);
    send(&mut core, stream, first).unwrap();
    let mut times = shown(&mut core, first, first + MILLISECOND * 9);
    send(&mut core, stream, second).unwrap();
    times.extend(shown(&mut core, second, NOW + MILLISECOND * 1_300));
    // The source's own come at 1,088, and every 64 from there.
    let own = [1_088, 1_152, 1_216, 1_280];
    let first = [1, 2, 4, 8].map(|at| 1_034 + at);
    let second = [1, 2, 4, 8, 16, 32, 64].map(|at| 1_044 + at);
    let mut expected: Vec<_> = [&own[..], &first, &second].concat();
    expected.sort_unstable();
    assert_eq!(times, expected.into_iter().map(|at| (at, stream)).collect::<Vec<_>>());
}

/// When those who hold it back are asked, and in which streams, in microseconds after `since`.
fn asked(core: &mut Publisher, since: Time, until: Time) -> Vec<(u128, Vec<u32>)> {
    let (mut now, mut asked) = (since, Vec::new());
    while now <= until {
        core.handle_timeout(now);
        while core.poll_transmit(now).is_some() {
            for bytes in core.datagrams() {
                let datagram = Datagram::parse(bytes).unwrap();
                if datagram.header.kind == Kind::Heartbeat && datagram.header.has(flag::HELD_BACK) {
                    let heartbeat = Heartbeat::parse(datagram.payload).unwrap();
                    let streams = heartbeat.streams().map(|state| state.unwrap().stream).collect();
                    asked.push((now.since(since).as_micros(), streams));
                }
            }
        }
        now = now.max(core.poll_timeout(now).0);
    }
    asked
}

#[test]
fn a_receiver_that_holds_memory_a_stream_needs_is_asked_at_once_how_far_it_is() {
    // Four datagrams in all, which one stream has: the next may be its own, or another's.
    for another in [false, true] {
        let mut core = windowed(4, Flow::Slowest);
        let streams = ["a", "b"].map(|topic| core.open_stream(topic, NOW).unwrap());
        let (full, next) = (streams[0], streams[usize::from(another)]);
        let told = |at| streams.map(|stream| position(stream, if stream == full { at } else { 1 }));
        status(&mut core, NOW, 1, &told(1));
        (0..4).for_each(|_| send(&mut core, full, NOW).unwrap());
        // What follows any change is over.
        let now = NOW + MILLISECOND * 4_100;
        assert_eq!(asked(&mut core, NOW, now), []);
        assert!(send(&mut core, next, now).is_err());
        let times = asked(&mut core, now, now + MILLISECOND * 3);
        assert_eq!(times.iter().map(|&(at, _)| at).collect::<Vec<_>>(), [100, 1_100, 2_100], "{times:?}");
        assert!(times.iter().all(|(_, named)| named.contains(&full) && named.contains(&next)), "{times:?}");
        // It says so, and is asked no more.
        let now = now + MILLISECOND * 3;
        status(&mut core, now, 1, &told(5));
        assert_eq!(asked(&mut core, now, now + MILLISECOND * 3), []);
        // What is shown after that asks nobody.
        send(&mut core, next, now).unwrap();
        let before = core.stats().heartbeats;
        assert_eq!(asked(&mut core, now, now + MILLISECOND * 3), []);
        assert!(core.stats().heartbeats > before);
    }
}

#[test]
fn who_is_held_back_asks_after_four_times_the_first_wait() {
    let (mut core, stream) = slow(Flow::Slowest, None);
    // Two milliseconds from its receiver: the first wait is three round trips.
    let now = NOW + MILLISECOND * 2;
    let mut payload = [0; 100];
    let mut list = Status::emit(&mut payload, ReceiverId(1), 0);
    list.push_position(&Position { limit: 1, ..position(stream, 1) });
    let length = list.length();
    let header = Header { stamp: NOW.0, ..Header::new(Kind::Status, SOURCE, 0) };
    core.handle_datagram(now, address(1), &emit(header, &payload[..length]));
    drain(&mut core, now);
    send(&mut core, stream, now).unwrap();
    let later = now + Duration::from_secs(12);
    beats(&mut core, now, later);
    assert!(send(&mut core, stream, later).is_err());
    let (times, _) = beats(&mut core, later, later + MILLISECOND * 90);
    assert_eq!(times, [24, 48, 72]);
}

#[test]
fn of_many_that_are_held_back_eight_are_looked_at_at_a_time() {
    const STREAMS: u32 = 10;
    let (mut core, first) = slow(Flow::Slowest, None);
    let streams: Vec<_> = std::iter::once(first)
        .chain((1..STREAMS).map(|at| core.open_stream(&format!("t{at}"), NOW).unwrap()))
        .collect();
    let told = |limit| streams.iter().map(|&id| Position { limit, ..position(id, 1) }).collect::<Vec<_>>();
    status(&mut core, NOW, 1, &told(1));
    streams.iter().for_each(|&id| send(&mut core, id, NOW).unwrap());
    let now = NOW + Duration::from_secs(2);
    beats(&mut core, NOW, now);
    streams.iter().for_each(|&id| assert!(send(&mut core, id, now).is_err()));
    shown(&mut core, now, now + MILLISECOND * 99);
    // Leave is given, and nobody tries again: those who were looked at ask once more, and the rest once more than those.
    status(&mut core, now + MILLISECOND * 99, 1, &told(u64::MAX));
    let times = shown(&mut core, now + MILLISECOND * 99, now + MILLISECOND * 300);
    let count = |millis: u128| times.iter().filter(|&&(at, _)| at == 2_000 + millis).count();
    assert_eq!([100, 104, 108, 112].map(count), [10, 10, 2, 0], "{times:?}");
    assert_eq!(times.len(), 22);
}

#[test]
fn beyond_the_first_of_a_change_heartbeats_of_who_waits_come_out_of_a_twentieth_of_the_rate() {
    // 3,200 bytes a second: 160 for those, of which 1,500 at once, and each takes 136.
    let (mut core, stream) = slow(Flow::Slowest, Some(25_600));
    status(&mut core, NOW, 1, &[Position { limit: 1, ..position(stream, 1) }]);
    let now = NOW + Duration::from_secs(2);
    beats(&mut core, NOW, now);
    send(&mut core, stream, now).unwrap();
    assert!(send(&mut core, stream, now).is_err());
    let (times, _) = beats(&mut core, now, now + MILLISECOND * 100);
    // One that follows any change, and what the nine of the opening have left of twelve.
    assert_eq!(times, [1, 2, 4, 8, 12]);
    // After the idle interval it asks on.
    let (times, _) = beats(&mut core, now + MILLISECOND * 100, now + Duration::from_secs(12));
    assert!((8..20).contains(&times.len()), "{times:?}");
}

#[test]
fn a_stream_that_waits_for_the_rate_is_shown_as_often_as_a_twentieth_of_it_allows() {
    let (mut core, stream) = slow(Flow::None, Some(25_600));
    // A short one ends a run: half a second goes by between two.
    for length in [1_300, 200].repeat(30) {
        core.send(stream, &vec![1; length], NOW).unwrap();
        core.flush(stream);
    }
    let (times, _) = beats(&mut core, NOW, NOW + Duration::from_secs(10));
    assert!((15..30).contains(&times.len()), "{}: {times:?}", times.len());
    assert!(core.pending(stream).0 > 0, "it waits still");
}

#[test]
fn live_data_that_waits_for_nothing_needs_no_time() {
    let (mut core, stream) = slow(Flow::None, None);
    let now = NOW + Duration::from_secs(2);
    beats(&mut core, NOW, now);
    core.send(stream, b"one", now).unwrap();
    core.flush(stream);
    assert!(core.is_waiting());
    assert_ne!(core.poll_timeout(now).1, Reason::Rate);
}
