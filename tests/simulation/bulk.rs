//! Messages in bulk: how many there is room for where they are published, and all of a datagram at once where they are heard.

use super::endpoint::{NOW, drain, lost_its_first, position, send, status, windowed};
use super::peers::{SOURCE, emit};
use nakcast::protocol::publisher::{BackPressure, Flow, Publisher, Refused};
use nakcast::protocol::subscriber::{Config, Contract, Subscriber};
use nakcast::protocol::{Event, GapReason};
use nakcast::wire::{Announce, HEADER_LENGTH, Header, Kind, Position, ReceiverId, flag, record_head};
use std::net::SocketAddr;

#[test]
fn there_is_headroom_as_far_as_the_slowest_receiver_lets_it_go() {
    for (flow, nine, ten) in [(Flow::Slowest, true, false), (Flow::None, true, true)] {
        let mut core = windowed(20, flow);
        let stream = core.open_stream("a", NOW).unwrap();
        let told = Position { limit: 10, ..position(stream, 1) };
        status(&mut core, NOW, 1, &[told]);
        assert_eq!((core.headroom(stream, 9, NOW), core.headroom(stream, 10, NOW)), (nine, ten), "{flow:?}");
        assert_eq!(core.leave(stream), if ten { u64::MAX } else { 9 }, "{flow:?}");
        // Besides the one that may be packed.
        let datagrams = if ten { 11 } else { 10 };
        assert_eq!(core.memory_in_use(), datagrams * (32 << 10), "{flow:?}");
    }
}

#[test]
fn headroom_is_made_where_something_may_be_given_up() {
    for (flow, given_up) in [(Flow::None, true), (Flow::Slowest, false)] {
        let mut core = windowed(4, flow);
        let stream = core.open_stream("a", NOW).unwrap();
        status(&mut core, NOW, 1, &[position(stream, 1)]);
        (0..4).for_each(|_| send(&mut core, stream, NOW).unwrap());
        // Not more than half of it, for what may not come.
        assert!(!core.headroom(stream, 2, NOW), "{flow:?}");
        assert!(!lost_its_first(&mut core, stream), "{flow:?}");
        assert_eq!(core.headroom(stream, 1, NOW), given_up, "{flow:?}");
        assert_eq!(lost_its_first(&mut core, stream), given_up, "{flow:?}");
    }
}

#[test]
fn what_a_stream_made_sure_of_and_does_not_come_to_use_is_there_for_others() {
    let mut core = windowed(4, Flow::None);
    let streams = ["a", "b", "c", "d"].map(|topic| core.open_stream(topic, NOW).unwrap());
    assert!(core.headroom(streams[0], 3, NOW), "all the memory there is");
    let takes = |core: &mut Publisher| streams.map(|stream| core.send(stream, &[1; 100], NOW).is_ok());
    assert_eq!(takes(&mut core), [true, false, false, false]);
    core.forgo(streams[0]);
    assert_eq!(takes(&mut core), [true; 4]);
}

#[test]
fn of_a_stream_that_is_over_nothing_is_to_be_had() {
    let mut core = windowed(4, Flow::None);
    let [over, one, other] = ["a", "b", "c"].map(|topic| core.open_stream(topic, NOW).unwrap());
    assert!(core.headroom(over, 3, NOW));
    core.close_stream(over, NOW);
    core.release_stream(over);
    assert!(core.headroom(one, 3, NOW), "it gave all back");
    let by = BackPressure::Window;
    assert_eq!(core.send(other, &[1; 100], NOW), Err(Refused::BackPressured { by }));
}

#[test]
fn a_datagram_that_has_no_room_for_another_message_waits_for_nothing() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    drain(&mut core, NOW);
    let most = core.max_records();
    assert_eq!(most, (32 << 10) - HEADER_LENGTH);
    // A record has four bytes before its message's: there is room for one of no bytes, or not.
    for (length, pending) in [(most - 4, (1, false)), (most - 8, (1, false)), (most - 9, (0, true))] {
        assert!(core.headroom(stream, 2, NOW));
        let mut records = record_head(length as u16).to_vec();
        records.resize(4 + length, 1);
        assert_eq!(core.put(stream, &records, NOW), records.len());
        assert_eq!(core.pending(stream), pending, "{length}");
        core.flush(stream);
        drain(&mut core, NOW);
    }
}

#[test]
fn what_is_staged_is_copied_to_the_window_afterwards() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    drain(&mut core, NOW);
    for (staged, copies) in [(true, 1), (false, 0)] {
        assert!(core.headroom(stream, 2, NOW));
        let mut records = record_head(5).to_vec();
        records.extend([1; 5]);
        if staged {
            let end = HEADER_LENGTH + records.len();
            core.staging()[HEADER_LENGTH..end].copy_from_slice(&records);
            core.stage(stream, end, [(end as u16, 1)]);
        } else {
            core.put(stream, &records, NOW);
            core.flush(stream);
        }
        drain(&mut core, NOW);
        let mut copied = 0;
        core.settle(|to, from| {
            to.copy_from_slice(from);
            copied += 1;
        });
        assert_eq!(copied, copies);
    }
}

/// A subscriber of a stream.
fn subscriber(contract: Contract) -> Subscriber {
    let mut core = Subscriber::new(Config { contract, ..Config::new(ReceiverId(1)) }, NOW);
    let mut payload = [0; 100];
    let (idle_interval, window, datagram, topic) = (500_000, 100, 300, "t");
    let opened = Announce { age: 0, trail: 1, trail_message: 1, idle_interval, window, datagram, topic };
    let length = opened.emit(&mut payload);
    hand(
        &mut core,
        &emit(Header { message: 1, ..Header::new(Kind::Announce, SOURCE, 1) }, &payload[..length]),
    );
    assert!(core.advance(&[]).is_some(), "it is up");
    assert!(core.advance(&[]).is_none());
    core
}

fn hand(core: &mut Subscriber, datagram: &[u8]) {
    core.handle_datagram(NOW, SocketAddr::from(([10, 9, 9, 9], 9)), datagram);
}

/// A datagram of five messages from this number on, each as long as its number says.
fn five(sequence: u64, first: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    for number in first..first + 5 {
        payload.extend(record_head(number as u16));
        payload.extend(vec![number as u8; number as usize]);
    }
    let header =
        Header { sequence, message: first, sent: sequence * 10, ..Header::new(Kind::Data, SOURCE, 1) };
    emit(header, &payload)
}

/// The number of the message that comes next, or 0.
fn next(core: &mut Subscriber, current: &[u8]) -> u64 {
    let Some(ready) = core.advance(current) else { return 0 };
    let Event::Message(message) = core.event(&ready, current) else { panic!("no message") };
    message.number()
}

/// The numbers of what follows at once, which is as it was sent.
fn rest(core: &mut Subscriber, current: &[u8], limit: usize, sequence: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let count = core.rest(current, limit, |event| {
        let Event::Message(message) = event else { panic!("no message") };
        let number = message.number();
        assert_eq!(message.payload(), vec![number as u8; number as usize]);
        assert_eq!((message.topic(), message.source(), message.stream_id()), ("t", SOURCE, 1));
        assert_eq!((message.sequence(), message.sent_ns()), (sequence, sequence * 10));
        assert_eq!((message.received_ns(), message.kernel_received_ns()), (NOW.0, Some(7)));
        numbers.push(number);
    });
    assert_eq!(count, numbers.len());
    numbers
}

#[test]
fn what_follows_in_a_datagram_is_handed_on_at_once_as_far_as_it_is_wanted() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let mut core = subscriber(contract);
        core.set_kernel_time(7);
        let first = five(1, 1);
        hand(&mut core, &first);
        assert_eq!(core.rest(&first, 0, |_| ()), 0);
        assert_eq!(next(&mut core, &first), 1);
        assert_eq!(rest(&mut core, &first, 2, 1), [2, 3]);
        assert_eq!(next(&mut core, &first), 4);
        // The rest of it from where it was put aside.
        core.park(&first);
        assert_eq!(rest(&mut core, &[], 9, 1), [5]);
        assert_eq!(next(&mut core, &[]), 0);
        assert_eq!((core.stats().messages, core.stats().bytes), (5, 1 + 2 + 3 + 4 + 5));
        // What comes too soon waits for what is before it, or not.
        let [second, third] = [five(2, 6), five(3, 11)];
        hand(&mut core, &third);
        if contract == Contract::Arrival {
            assert_eq!((next(&mut core, &third), rest(&mut core, &third, 9, 3)), (11, vec![12, 13, 14, 15]));
        }
        assert_eq!(next(&mut core, &third), 0);
        hand(&mut core, &second);
        assert_eq!((next(&mut core, &second), rest(&mut core, &second, 9, 2)), (6, vec![7, 8, 9, 10]));
        if contract == Contract::Ordered {
            assert_eq!(
                (next(&mut core, &second), rest(&mut core, &second, 9, 3)),
                (11, vec![12, 13, 14, 15])
            );
        }
        assert_eq!(next(&mut core, &second), 0);
        assert_eq!((core.stats().messages, core.stats().gaps), (15, 0));
    }
}

#[test]
fn a_datagram_is_handed_on_as_a_whole_and_what_comes_before_it_is_told_before() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        let mut core = subscriber(contract);
        core.set_kernel_time(7);
        let [first, second, third] = [1, 2, 3].map(|sequence| five(sequence, sequence * 5 - 4));
        hand(&mut core, &first);
        assert_eq!(rest(&mut core, &first, 2, 1), [1, 2]);
        assert!(core.has_ready());
        assert_eq!(rest(&mut core, &[], 9, 1), [0; 0], "it is elsewhere");
        assert_eq!(rest(&mut core, &first, 3, 1), [3, 4, 5]);
        assert!(!core.has_ready(), "nobody need look");
        hand(&mut core, &third);
        assert!(core.rest(&third, 9, |_| ()) == if contract == Contract::Arrival { 5 } else { 0 });
        assert_eq!(next(&mut core, &third), 0);
        hand(&mut core, &second);
        assert_eq!(rest(&mut core, &second, 9, 2), [6, 7, 8, 9, 10]);
        // What was kept meanwhile.
        assert_eq!(next(&mut core, &second), if contract == Contract::Ordered { 11 } else { 0 });
        assert_eq!(core.rest(&second, 9, |_| ()), if contract == Contract::Ordered { 4 } else { 0 });
        assert!(!core.has_ready());
        assert_eq!((core.stats().messages, core.stats().gaps), (15, 0));
    }
}

#[test]
fn a_message_that_its_publisher_left_out_is_told_before_those_behind_it() {
    let mut core = subscriber(Contract::Ordered);
    core.set_kernel_time(7);
    let [first, repair, third] = [five(1, 1), five(2, 8), five(3, 13)];
    hand(&mut core, &first);
    assert_eq!(rest(&mut core, &first, 9, 1), [1, 2, 3, 4, 5]);
    hand(&mut core, &third);
    hand(&mut core, &repair);
    assert_eq!(core.rest(&repair, 9, |_| ()), 0);
    let ready = core.advance(&repair).unwrap();
    let Event::Gap(gap) = core.event(&ready, &repair) else { panic!("no gap") };
    assert_eq!((gap.messages(), gap.reason()), (2, GapReason::Contradiction));
    assert_eq!(rest(&mut core, &repair, 9, 2), [8, 9, 10, 11, 12]);
    assert_eq!((next(&mut core, &repair), rest(&mut core, &repair, 9, 3)), (13, vec![14, 15, 16, 17]));
}

#[test]
fn nothing_follows_a_message_that_came_in_parts() {
    let mut core = subscriber(Contract::Ordered);
    let mut payload = [0; 18];
    nakcast::wire::data::emit_fragment(&mut payload, 0, 10);
    let header =
        Header { sequence: 1, message: 1, flags: flag::FRAGMENT, ..Header::new(Kind::Data, SOURCE, 1) };
    let part = emit(header, &payload);
    hand(&mut core, &part);
    assert_eq!(next(&mut core, &part), 1);
    assert_eq!(core.rest(&part, 9, |_| ()), 0);
    assert_eq!(next(&mut core, &part), 0);
}
