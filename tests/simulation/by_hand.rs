//! One subscriber, and datagrams written by hand: what it makes of each, at the edges of what it may have.

use super::peers::{Heard, SOURCE, data, emit, from, heartbeat, lone};
use nakcast::protocol::subscriber::{self, Contract, Subscriber};
use nakcast::protocol::{EndReason, Event, GapReason, Time};
use nakcast::wire::{
    Announce, Confirmation, Datagram, End, Header, Invalid, Kind, MAX_SEQUENCE, Nak, Ncf, ReceiverId, Status,
    data as body, flag,
};
use std::time::Duration;

const NOW: Time = Time(1_000_000_000);

fn announce(window: u32, datagram: u16) -> Vec<u8> {
    let mut payload = [0; 100];
    let (idle_interval, topic) = (500_000, "t");
    let announce = Announce { age: 0, trail: 1, trail_message: 1, idle_interval, window, datagram, topic };
    let length = announce.emit(&mut payload);
    emit(Header { message: 1, ..Header::new(Kind::Announce, SOURCE, 1) }, &payload[..length])
}

/// A part of ten bytes, or fewer, of a message.
fn part(sequence: u64, message: u64, offset: u32, total: u32) -> Vec<u8> {
    let mut payload = [0; 18];
    body::emit_fragment(&mut payload, offset, total);
    let length = 8 + 10.min(total - offset) as usize;
    let header = Header { sequence, message, flags: flag::FRAGMENT, ..Header::new(Kind::Data, SOURCE, 1) };
    emit(header, &payload[..length])
}

/// Up to `last` nothing can be had any more.
fn gone(last: u64, next_message: u64) -> Vec<u8> {
    let mut payload = [0; 100];
    let mut list = Ncf::emit(&mut payload);
    list.push_confirmation(&Confirmation { first: 1, last, next_message });
    let length = list.length();
    emit(Header { flags: flag::GONE, ..Header::new(Kind::Ncf, SOURCE, 1) }, &payload[..length])
}

pub(super) fn end(lead: u64, message: u64) -> Vec<u8> {
    let mut payload = [0; 16];
    let length = End { trail: 1 }.emit(&mut payload);
    emit(Header { sequence: lead, message, ..Header::new(Kind::End, SOURCE, 1) }, &payload[..length])
}

/// What a subscriber tells when these come, in this order.
fn heard_by(core: &mut Subscriber, datagrams: &[Vec<u8>]) -> Heard {
    let mut heard = Heard::default();
    for datagram in datagrams {
        core.handle_datagram(NOW, from(), datagram);
        heard.take(core, datagram);
    }
    heard
}

#[test]
fn messages_the_publisher_left_out_are_a_gap_before_what_follows() {
    let (mut core, _) = lone(Contract::Ordered);
    let heard = heard_by(
        &mut core,
        &[
            announce(100, 100),
            data(Kind::Data, 1, 1),
            // 2 and 3 are missing, with messages 2 to 6 in them, and come with two of those.
            data(Kind::Data, 4, 7),
            data(Kind::Repair, 2, 2),
            data(Kind::Repair, 3, 6),
            end(4, 8),
        ],
    );
    assert_eq!(heard.messages, [1, 2, 6, 7]);
    assert_eq!(heard.gaps, [(GapReason::Contradiction, 3)]);
    assert_eq!(heard.ends, [EndReason::Closed]);
}

#[test]
fn a_message_that_was_cut_short_by_silence_is_told_once_and_what_follows_goes_on() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let (mut core, _) = lone(contract);
        let heard = heard_by(&mut core, &[announce(100, 100), data(Kind::Data, 1, 1), part(2, 2, 0, 30)]);
        assert_eq!((heard.messages, heard.gaps), (vec![1], vec![]));
        core.handle_timeout(NOW + Duration::from_secs(60));
        let mut heard = Heard::default();
        heard.take(&mut core, &[]);
        assert_eq!(heard.gaps, [(GapReason::SourceGone, 1)]);
        assert_eq!(heard.ends, [EndReason::Silent]);
        // It goes on as if nothing had been: the rest of the message, and the next.
        let rest = [part(3, 2, 10, 30), part(4, 2, 20, 30), data(Kind::Data, 5, 3), end(5, 4)];
        let heard = heard_by(&mut core, &rest);
        assert_eq!((heard.messages, heard.gaps), (vec![3], vec![]), "{contract:?}");
        assert_eq!(heard.ends, [EndReason::Closed]);
    }
}

#[test]
fn the_largest_message_is_taken_and_one_byte_more_is_refused() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let config =
            subscriber::Config { contract, max_message: 20, ..subscriber::Config::new(ReceiverId(1)) };
        let mut core = Subscriber::new(config, NOW);
        let heard = heard_by(
            &mut core,
            &[
                announce(100, 100),
                part(1, 1, 0, 20),
                part(2, 1, 10, 20),
                part(3, 2, 0, 21),
                part(4, 2, 10, 21),
                part(5, 2, 20, 21),
                part(6, 3, 0, 21),
                // Parts that contradict each other, twice.
                part(7, 4, 0, 20),
                part(8, 4, 10, 19),
                part(9, 5, 0, 20),
                part(10, 5, 10, 19),
            ],
        );
        assert_eq!(heard.messages, [1], "{contract:?}");
        let (overrun, contradiction) = ((GapReason::Overrun, 1), (GapReason::Contradiction, 1));
        assert_eq!(heard.gaps, [overrun, overrun, contradiction, contradiction]);
        assert_eq!((core.stats().assemblies_refused, core.stats().contradictions), (2, 2));
    }
}

/// The same datagram of another stream.
fn on(mut datagram: Vec<u8>, stream: u32) -> Vec<u8> {
    datagram[12..16].copy_from_slice(&stream.to_be_bytes());
    nakcast::wire::seal_header(&mut datagram);
    datagram
}

#[test]
fn who_waits_for_memory_is_before_who_has_one_message_after_another() {
    let config = subscriber::Config { reassembly: 50, ..subscriber::Config::new(ReceiverId(1)) };
    let mut core = Subscriber::new(config, NOW);
    let mut came =
        heard_by(&mut core, &[on(announce(100, 100), 2), announce(100, 100), part(1, 1, 0, 30)]).messages;
    let mut hear = |datagrams: &[Vec<u8>]| came.extend(heard_by(&mut core, datagrams).messages);
    // The other stream waits for the first message of this one; and of this one the next is here already when that is whole.
    hear(&[on(part(1, 1, 0, 21), 2), part(2, 1, 10, 30), part(4, 2, 0, 30), part(3, 1, 20, 30)]);
    // A short one would have room, and is behind those that wait.
    hear(&[on(announce(100, 100), 3), on(part(1, 1, 0, 12), 3), on(part(2, 1, 10, 12), 3)]);
    hear(&[on(part(2, 1, 10, 21), 2), on(part(3, 1, 20, 21), 2), part(5, 2, 10, 30), part(6, 2, 20, 30)]);
    assert_eq!((came, core.stats().assemblies_refused), (vec![1, 1, 1, 2], 0));
    assert!(!core.has_ready());
}

#[test]
fn a_message_waits_for_the_memory_of_others_and_not_for_ever() {
    for contract in [Contract::Ordered, Contract::Deadline(Duration::from_secs(9)), Contract::BestEffort] {
        for in_time in [true, false] {
            let config =
                subscriber::Config { contract, reassembly: 50, ..subscriber::Config::new(ReceiverId(1)) };
            let mut core = Subscriber::new(config, NOW);
            let mut begun: Vec<_> = (1..=3).map(|stream| on(announce(100, 100), stream)).collect();
            begun.push(part(1, 1, 0, 30));
            // These two find too little; the second would find enough once the first stream's message is whole.
            begun.extend((2..=3).map(|stream| on(part(1, 1, 0, 21), stream)));
            begun.push(on(part(2, 1, 10, 21), 2));
            let heard = heard_by(&mut core, &begun);
            let waits = contract != Contract::BestEffort;
            assert_eq!(core.stats().assemblies_refused, if waits { 0 } else { 2 }, "{contract:?}");
            assert_eq!((heard.messages.len(), heard.gaps.len()), (0, if waits { 0 } else { 2 }));
            if !waits {
                continue;
            }
            core.handle_timeout(NOW);
            let late = NOW + Duration::from_millis(500);
            core.handle_timeout(Time(late.0 - 1));
            if !in_time {
                core.handle_timeout(late);
            }
            let rest = [part(2, 1, 10, 30), part(3, 1, 20, 30), on(part(3, 1, 20, 21), 2)];
            let mut heard = heard_by(&mut core, &rest);
            let rest = [on(part(2, 1, 10, 21), 3), on(part(3, 1, 20, 21), 3)];
            let last = heard_by(&mut core, &rest);
            heard.messages.extend(last.messages);
            heard.gaps.extend(last.gaps);
            let lost = if in_time { vec![] } else { vec![(GapReason::Overrun, 1); 2] };
            assert_eq!((heard.messages.len(), heard.gaps), (3 - lost.len(), lost), "{contract:?}");
            assert_eq!(core.stats().assemblies_refused, if in_time { 0 } else { 2 });
        }
    }
}

#[test]
fn by_arrival_a_message_is_told_as_lost_once_wherever_its_missing_part_lies() {
    // Where in a message of three parts, which is the second, the part lies that is missing.
    for lost in 0..3 {
        let (mut core, _) = lone(Contract::Arrival);
        let mut datagrams = vec![announce(100, 100), data(Kind::Data, 1, 1)];
        datagrams.extend((0..3).filter(|&at| at != lost).map(|at| part(2 + at, 2, at as u32 * 10, 30)));
        datagrams.extend([data(Kind::Data, 5, 3), gone(2 + lost, 3), end(5, 4)]);
        let heard = heard_by(&mut core, &datagrams);
        assert_eq!(heard.messages, [1, 3], "{lost}");
        assert_eq!(heard.gaps, [(GapReason::AgedOut, 1)], "{lost}");
        assert_eq!(heard.ends, [EndReason::Closed], "{lost}");
    }
}

#[test]
fn a_datagram_is_taken_to_the_end_of_the_window_and_of_the_memory() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let config = subscriber::Config { contract, reorder: 1, ..subscriber::Config::new(ReceiverId(1)) };
        let mut core = Subscriber::new(config, NOW);
        // Four chunks of 64 datagrams, of which one may be torn at both ends.
        let room = 3 * 64;
        heard_by(&mut core, &[announce(300, 100), data(Kind::Data, 301, 301)]);
        assert_eq!(core.stats().jumps, 1);
        heard_by(&mut core, &[data(Kind::Data, 300, 300), data(Kind::Data, room + 1, room + 1)]);
        assert_eq!((core.stats().jumps, core.stats().overruns, core.stats().datagrams), (1, 2, 0));
        heard_by(&mut core, &[data(Kind::Data, room, room)]);
        assert_eq!((core.stats().overruns, core.stats().datagrams, core.stats().missed), (2, 1, room - 1));
    }
}

#[test]
fn ranges_that_are_missing_are_as_many_as_may_be() {
    const MOST: u64 = 16_384;
    let mut core = Subscriber::new(subscriber::Config::new(ReceiverId(1)), NOW);
    let lead = 60_000;
    heard_by(&mut core, &[announce(lead as u32, 100), heartbeat(1, lead, lead + 1)]);
    // Each splits what is missing.
    let splits: Vec<_> = (1..MOST).map(|at| data(Kind::Repair, at * 2, at * 2)).collect();
    heard_by(&mut core, &splits);
    assert_eq!((core.stats().datagrams, core.stats().overruns), (MOST - 1, 0));
    let (first, last) = (MOST * 2 - 1, lead);
    heard_by(&mut core, &[data(Kind::Repair, first + 1, first + 1), data(Kind::Repair, last - 1, last - 1)]);
    assert_eq!((core.stats().datagrams, core.stats().overruns), (MOST - 1, 2));
    // At the edges of a range there is no other.
    heard_by(&mut core, &[data(Kind::Repair, first, first), data(Kind::Repair, last, last)]);
    assert_eq!((core.stats().datagrams, core.stats().overruns), (MOST + 1, 2));
}

/// As many NAKs as were sent, and what was heard, when `impossible` is all that comes for what lies between 1 and `next`.
fn contradicted(next: u64, impossible: &[u8]) -> (u32, Heard) {
    let (mut core, mut now) = lone(Contract::Ordered);
    let mut heard =
        heard_by(&mut core, &[announce(100, 100), data(Kind::Data, 1, 1), data(Kind::Data, next, next)]);
    let mut naks = 0;
    for _ in 0..3_000 {
        now = now + Duration::from_millis(1);
        let before = core.stats().naks;
        while core.poll_transmit(now).is_some() {}
        let alive = heartbeat(1, next, next + 1);
        let answer = if core.stats().naks > before { impossible } else { &alive };
        naks += u32::from(core.stats().naks > before);
        core.handle_datagram(now, from(), answer);
        heard.take(&mut core, answer);
        core.handle_timeout(now);
    }
    (naks, heard)
}

#[test]
fn what_stands_alone_is_given_up_sooner_than_what_others_may_split() {
    let impossible = data(Kind::Repair, 2, 9);
    let (naks, heard) = contradicted(3, &impossible);
    assert_eq!((naks, heard.gaps), (4, vec![(GapReason::Contradiction, 1)]));
    let (naks, heard) = contradicted(4, &impossible);
    assert_eq!((naks, heard.gaps), (16, vec![(GapReason::Contradiction, 2)]));
}

#[test]
fn a_nak_is_urgent_and_its_answer_is_timed_when_it_can_only_be_one() {
    let (mut core, now) = lone(Contract::Ordered);
    heard_by(&mut core, &[heartbeat(1, 0, 1), announce(100, 100), data(Kind::Data, 1, 1)]);
    while core.poll_transmit(now).is_some() {}
    assert!(!core.is_urgent());
    heard_by(&mut core, &[data(Kind::Data, 3, 3)]);
    assert!(core.is_urgent(), "a lone receiver asks at once");
    assert_eq!((core.poll_transmit(now).is_some(), core.stats().naks), (true, 1));
    // It takes 3 ms to be answered: with half of that as deviation, 3 + 4 * 1.5 (RFC 6298, 2.2).
    core.handle_datagram(now + Duration::from_millis(3), from(), &data(Kind::Repair, 2, 2));
    assert_eq!(core.stats().nak_timeout_ns, 9_000_000);
    // What was asked for twice may answer either (Karn's algorithm).
    let mut now = now + Duration::from_millis(3);
    core.handle_datagram(now, from(), &data(Kind::Data, 5, 5));
    while core.stats().naks < 3 {
        now = now + Duration::from_millis(1);
        while core.poll_transmit(now).is_some() {}
    }
    core.handle_datagram(now, from(), &data(Kind::Repair, 4, 4));
    assert_eq!(core.stats().nak_timeout_ns, 9_000_000);
}

#[test]
fn where_a_stream_stands_is_asked_no_more_often_than_it_can_be_answered() {
    let (mut core, now) = lone(Contract::Ordered);
    heard_by(&mut core, &[announce(100, 100)]);
    let jump = data(Kind::Data, 1_000, 1_000);
    let mut asked = |after: u64| {
        let now = now + Duration::from_micros(after);
        core.handle_datagram(now, from(), &jump);
        while core.poll_transmit(now).is_some() {}
        core.stats().names_asked
    };
    // An answer may take 5 ms while none was timed.
    for (after, count) in [(0, 1), (1, 1), (4_999, 1), (5_000, 2), (9_999, 2), (10_000, 3)] {
        assert_eq!(asked(after), count, "after {after} us");
    }
}

#[test]
fn a_nak_that_the_publisher_confirms_waits_for_the_repair() {
    let (mut core, now) = lone(Contract::Ordered);
    heard_by(&mut core, &[heartbeat(1, 0, 1), announce(100, 100), data(Kind::Data, 1, 1)]);
    while core.poll_transmit(now).is_some() {}
    let mut payload = [0; 100];
    let mut list = Ncf::emit(&mut payload);
    list.push_confirmation(&Confirmation { first: 2, last: 2, next_message: 0 });
    let length = list.length();
    let confirmation = emit(Header::new(Kind::Ncf, SOURCE, 1), &payload[..length]);
    // Another asked for it.
    heard_by(&mut core, &[data(Kind::Data, 3, 3), confirmation]);
    let retry = Duration::from_nanos(core.stats().nak_timeout_ns);
    while core.poll_transmit(now + (retry - Duration::from_nanos(1))).is_some() {}
    assert_eq!(core.stats().naks, 0);
    while core.poll_transmit(now + retry).is_some() {}
    assert_eq!(core.stats().naks, 1);
}

/// A datagram of one of several streams.
pub(super) fn of(stream: u32, sequence: u64) -> Vec<u8> {
    let mut payload = [0; 5];
    body::emit_record(&mut payload, 1);
    emit(Header { sequence, message: sequence, ..Header::new(Kind::Data, SOURCE, stream) }, &payload)
}

/// A subscriber with four chunks of 64 datagrams each, and streams that none of them holds anything of.
pub(super) fn small(contract: Contract, streams: u32) -> Subscriber {
    let config = subscriber::Config { contract, reorder: 1, ..subscriber::Config::new(ReceiverId(1)) };
    let mut core = Subscriber::new(config, NOW);
    for stream in 1..=streams {
        let mut payload = [0; 100];
        let announce = Announce {
            age: 0,
            trail: 1,
            trail_message: 1,
            idle_interval: 500_000,
            window: 1_000,
            datagram: 100,
            topic: "t",
        };
        let length = announce.emit(&mut payload);
        let header = Header { message: 1, ..Header::new(Kind::Announce, SOURCE, stream) };
        heard_by(&mut core, &[emit(header, &payload[..length])]);
    }
    core
}

#[test]
fn a_stream_that_has_the_most_memory_gives_some_to_one_that_has_little() {
    let mut core = small(Contract::Ordered, 2);
    let kept = |core: &mut Subscriber, stream, sequence| {
        let before = core.stats();
        heard_by(core, &[of(stream, sequence)]);
        (core.stats().datagrams - before.datagrams, core.stats().overruns - before.overruns)
    };
    for (stream, sequence) in [(1, 10), (1, 70), (1, 130), (1, 131), (2, 10)] {
        assert_eq!(kept(&mut core, stream, sequence), (1, 0));
    }
    assert_eq!(core.memory_in_use().0, 4 * (64 << 10));
    // It has three, and gives up the two datagrams that are furthest ahead.
    assert_eq!(kept(&mut core, 2, 70), (1, 2));
    // Both have two now.
    assert_eq!(kept(&mut core, 2, 130), (0, 1));
    assert_eq!(kept(&mut core, 1, 130), (0, 1));
    // What is missing again is asked for, and all of it is told in order, once.
    for stream in [1, 2] {
        let before: Vec<_> = (1..=129).map(|sequence| of(stream, sequence)).collect();
        let heard = heard_by(&mut core, &before);
        assert_eq!((heard.messages, heard.gaps), ((1..=129).collect(), vec![]), "{stream}");
    }
    assert_eq!(asked(&mut core), [(1, 130, 130), (1, 131, 131)]);
    assert_eq!(heard_by(&mut core, &[of(1, 130), of(1, 131), of(1, 132)]).messages, [130, 131, 132]);
    assert_eq!(core.memory_in_use().0, 0);
}

#[test]
fn what_is_little_more_than_ones_own_is_not_taken_from_another() {
    let mut core = small(Contract::Ordered, 3);
    heard_by(&mut core, &[of(1, 10), of(1, 70), of(2, 10), of(3, 10), of(2, 70)]);
    assert_eq!((core.stats().datagrams, core.stats().overruns), (4, 1));
}

#[test]
fn what_is_about_to_be_delivered_is_not_given_back() {
    let mut core = small(Contract::Arrival, 2);
    let first = of(1, 1);
    core.handle_datagram(NOW, from(), &first);
    core.park(&first);
    for sequence in [10, 70, 130] {
        core.handle_datagram(NOW, from(), &of(1, sequence));
    }
    for sequence in [10, 70] {
        core.handle_datagram(NOW, from(), &of(2, sequence));
    }
    assert_eq!((core.stats().datagrams, core.stats().overruns), (5, 1));
    let mut heard = Heard::default();
    heard.take(&mut core, &first);
    heard.messages.sort_unstable();
    assert_eq!(heard.messages, [1, 10, 10, 70, 130]);
}

#[test]
fn what_nothing_was_missing_of_is_asked_for_when_it_was_given_back() {
    let mut core = small(Contract::Ordered, 2);
    let first = of(1, 1);
    core.handle_datagram(NOW, from(), &first);
    core.park(&first);
    for (stream, sequence) in (2..=130).map(|sequence| (1, sequence)).chain([(2, 10), (2, 70)]) {
        core.handle_datagram(NOW, from(), &of(stream, sequence));
    }
    assert_eq!(core.stats().overruns, 2);
    let mut heard = Heard::default();
    heard.take(&mut core, &first);
    assert_eq!((heard.messages, heard.gaps), ((1..=128).collect(), vec![]));
    let of_the_first: Vec<_> = asked(&mut core).into_iter().filter(|&(stream, ..)| stream == 1).collect();
    assert_eq!(of_the_first, [(1, 129, 129), (1, 130, 130)]);
}

#[test]
fn best_effort_tells_what_it_had_to_give_back() {
    let mut core = small(Contract::BestEffort, 2);
    // Nobody takes what there is to tell: what comes behind waits.
    let first = of(1, 1);
    core.handle_datagram(NOW, from(), &first);
    core.park(&first);
    for (stream, sequence) in [(1, 2), (1, 70), (1, 130), (2, 10), (2, 70)] {
        core.handle_datagram(NOW, from(), &of(stream, sequence));
    }
    let mut heard = Heard::default();
    heard.take(&mut core, &first);
    let overruns = heard.gaps.iter().filter(|(reason, _)| *reason == GapReason::Overrun).count();
    let told: u64 = heard.messages.len() as u64 + heard.gaps.iter().map(|(_, lost)| lost).sum::<u64>();
    assert_eq!((overruns, told), (1, 130 + 70), "{heard:?}");
}

#[test]
fn an_event_says_where_it_comes_from_and_when() {
    let config = subscriber::Config {
        contract: Contract::BestEffort,
        wall_offset: 5,
        ..subscriber::Config::new(ReceiverId(1))
    };
    let mut core = Subscriber::new(config, NOW);
    let mut payload = [0; 5];
    body::emit_record(&mut payload, 1);
    let sent = |sequence| {
        emit(Header { sequence, message: sequence, sent: 77, ..Header::new(Kind::Data, SOURCE, 1) }, &payload)
    };
    let mut lines = Vec::new();
    for datagram in [announce(100, 100), sent(3), sent(5), end(5, 6)] {
        core.handle_datagram(NOW, from(), &datagram);
        while let Some(ready) = core.advance(&datagram) {
            lines.push(match core.event(&ready, &datagram) {
                Event::Message(message) => {
                    assert_eq!((message.topic(), message.source(), message.stream_id()), ("t", SOURCE, 1));
                    assert_eq!((message.sent_ns(), message.received_ns()), (77, NOW.0 + 5));
                    assert_eq!(message.payload(), [0]);
                    format!("{} in {}", message.number(), message.sequence())
                }
                Event::Gap(gap) => {
                    assert_eq!((gap.topic(), gap.source(), gap.stream_id()), ("t", SOURCE, 1));
                    format!("{gap} ({} to {}, {})", gap.first(), gap.last(), gap.messages())
                }
                Event::StreamUp(stream) | Event::StreamEnd(stream) => {
                    assert_eq!((stream.topic(), stream.source(), stream.stream_id()), ("t", SOURCE, 1));
                    format!(
                        "{stream} {:?} {}",
                        stream.end_reason().map(|end| end.as_str()),
                        stream.sequence()
                    )
                }
                other => format!("{other:?}"),
            });
        }
    }
    let source = SOURCE.to_string();
    assert_eq!(
        lines,
        [
            format!("t (source {source}) up at sequence 1 None 1"),
            format!("2 messages of t (source {source}, sequence 1 to 2): not-asked (1 to 2, 2)"),
            "3 in 3".into(),
            format!("1 message of t (source {source}, sequence 4 to 4): not-asked (4 to 4, 1)"),
            "5 in 5".into(),
            format!("t (source {source}) ended Some(\"closed\") 6"),
        ]
    );
}

/// What a subscriber asks for: the ranges of its NAKs.
fn asked(core: &mut Subscriber) -> Vec<(u32, u64, u64)> {
    let mut ranges = Vec::new();
    while let Some(transmit) = core.poll_transmit(NOW + Duration::from_millis(500)) {
        let datagram = Datagram::parse(core.datagram(&transmit)).unwrap();
        if datagram.header.kind == Kind::Nak {
            let nak = Nak::parse(datagram.payload).unwrap();
            ranges.extend(nak.ranges().map(|range| (datagram.header.stream, range.first, range.last())));
        }
    }
    ranges.sort_unstable();
    ranges
}

#[test]
fn what_there_is_no_memory_for_is_not_asked_for() {
    // As far as a datagram may be ahead: three chunks of the four.
    for contract in [Contract::Ordered, Contract::Arrival] {
        let mut core = small(contract, 1);
        heard_by(&mut core, &[heartbeat(1, 900, 901)]);
        assert_eq!(asked(&mut core), [(1, 1, 192)], "{contract:?}");
    }
    // One stream holds three chunks, so the other has the one in which it is to go on.
    let mut core = small(Contract::Ordered, 2);
    heard_by(&mut core, &[of(2, 2), of(2, 70), of(2, 130), heartbeat(1, 900, 901)]);
    let first_of_all: Vec<_> = asked(&mut core).into_iter().filter(|&(stream, ..)| stream == 1).collect();
    assert_eq!(first_of_all, [(1, 1, 64)]);
}

#[test]
fn numbers_that_none_can_have_are_refused() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let mut core = small(contract, 1);
        heard_by(
            &mut core,
            &[of(0, 1), data(Kind::Data, MAX_SEQUENCE, 1), data(Kind::Data, 1, MAX_SEQUENCE)],
        );
        assert_eq!(core.stats().rejected[Invalid::Number.index()], 3);
        assert_eq!((core.stats().datagrams, core.stats().jumps, core.stats().unnamed), (0, 0, 0));
    }
}

#[test]
fn a_part_too_many_begins_no_message_anew() {
    let (mut core, _) = lone(Contract::Arrival);
    let parts = [part(1, 1, 0, 20), part(2, 1, 10, 20), part(3, 1, 10, 20)];
    let datagrams: Vec<_> = [announce(100, 100)].into_iter().chain(parts).collect();
    let heard = heard_by(&mut core, &datagrams);
    assert_eq!((heard.messages, heard.gaps), (vec![1], vec![]));
    let heard = heard_by(&mut core, &[data(Kind::Data, 4, 2), end(4, 3)]);
    assert_eq!((heard.messages, heard.gaps, heard.ends), (vec![2], vec![], vec![EndReason::Closed]));
}

#[test]
fn an_end_is_confirmed_when_all_before_it_was_taken() {
    let mut core = small(Contract::Ordered, 2);
    core.handle_timeout(NOW + Duration::from_millis(20));
    while core.poll_transmit(NOW + Duration::from_millis(20)).is_some() {}
    // Something of another stream waits to be taken, so the last message of this one waits too.
    let first = of(2, 1);
    core.handle_datagram(NOW, from(), &first);
    core.park(&first);
    core.handle_datagram(NOW, from(), &of(1, 1));
    core.handle_datagram(NOW, from(), &end(1, 2));
    let ended = |core: &mut Subscriber| {
        let mut ended = false;
        while let Some(transmit) = core.poll_transmit(NOW) {
            let datagram = Datagram::parse(core.datagram(&transmit)).unwrap();
            if datagram.header.kind == Kind::Status {
                ended |= Status::parse(datagram.payload).unwrap().positions().any(|told| told.ended);
            }
        }
        ended
    };
    assert!(!ended(&mut core));
    let mut heard = Heard::default();
    heard.take(&mut core, &first);
    assert_eq!(heard.messages, [1, 1]);
    assert!(ended(&mut core));
}

#[test]
fn while_nothing_is_known_of_a_group_a_first_nak_waits_for_others() {
    let wait = Duration::from_nanos(4_500_000);
    let mut at_once = 0;
    for receiver in 1..=20 {
        let mut core = Subscriber::new(subscriber::Config::new(ReceiverId(receiver)), NOW);
        heard_by(&mut core, &[announce(100, 100), data(Kind::Data, 1, 1), data(Kind::Data, 3, 3)]);
        while core.poll_transmit(NOW + Duration::from_micros(100)).is_some() {}
        at_once += core.stats().naks;
        // A round trip of a millisecond, in a group of a thousand: four and a half of them at the most.
        while core.poll_transmit(NOW + wait).is_some() {}
        assert_eq!(core.stats().naks, 1, "{receiver}");
    }
    assert!(at_once <= 2, "{at_once} of 20");
}

#[test]
fn half_of_what_the_sockets_hold_is_asked_for_at_a_time() {
    // A datagram of 100 bytes takes 1,280 of the buffer, by the kernel's way of counting.
    for (datagrams, credit) in [(100, 50), (1, 32)] {
        let config = subscriber::Config {
            receive_buffer: datagrams * 1_280,
            ..subscriber::Config::new(ReceiverId(1))
        };
        let mut core = Subscriber::new(config, NOW);
        heard_by(&mut core, &[announce(1_000, 100), heartbeat(1, 900, 901)]);
        assert_eq!(asked(&mut core), [(1, 1, credit)]);
    }
}

#[test]
fn what_comes_is_timed_by_the_wall_clock_that_was_set_last_and_waits_to_be_taken() {
    let (mut core, _) = lone(Contract::Ordered);
    heard_by(&mut core, &[announce(100, 100)]);
    for (sequence, offset, kernel) in [(1, 0, None), (2, 700, Some(5)), (3, 700, None)] {
        core.set_wall_offset(offset);
        core.set_kernel_time(kernel.unwrap_or(0));
        assert!(!core.has_ready());
        let datagram = data(Kind::Data, sequence, sequence);
        core.handle_datagram(NOW, from(), &datagram);
        assert!(core.has_ready());
        let ready = core.advance(&datagram).unwrap();
        let Event::Message(message) = core.event(&ready, &datagram) else { panic!("no message") };
        assert_eq!((message.received_ns(), message.kernel_received_ns()), (NOW.0 + offset, kernel));
        assert!(core.advance(&datagram).is_none());
    }
}

#[test]
fn who_heard_nothing_waits_for_nothing() {
    let (core, now) = lone(Contract::Ordered);
    assert_eq!(core.poll_timeout(now), None);
}
