//! What a publisher makes of NAKs: whom it believes, whom it answers, and how many of them.

use super::endpoint::{NOW, SOURCE, address, drain, position, send, status, windowed};
use super::peers::emit;
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{Config, Flow, Publisher, PublisherEvent, Reason, To};
use nakcast::wire::{Datagram, Header, Kind, Nak, Position, Range, ReceiverId, Status, flag};
use std::time::Duration;

/// A NAK: who sends it, when, what it heard last and how long ago, what it says besides and what it asks for.
struct Asking {
    receiver: u64,
    now: Time,
    stamp: u64,
    held: u32,
    flags: u8,
    range: Option<Range>,
}

impl Asking {
    fn of(receiver: u64, now: Time, flags: u8, range: Option<Range>) -> Asking {
        Asking { receiver, now, stamp: now.0, held: 0, flags, range }
    }

    fn send(self, core: &mut Publisher, stream: u32) {
        let mut payload = [0; 100];
        let mut list = Nak::emit(&mut payload, ReceiverId(self.receiver), self.held);
        self.range.map(|range| list.push_range(range));
        let length = list.length();
        let header =
            Header { stamp: self.stamp, flags: self.flags, ..Header::new(Kind::Nak, SOURCE, stream) };
        core.handle_datagram(self.now, address(self.receiver), &emit(header, &payload[..length]));
    }
}

fn one(sequence: u64) -> Option<Range> {
    Some(Range { first: sequence, count: 1 })
}

/// What kinds of datagrams go out, and where to.
fn sent(core: &mut Publisher, now: Time) -> Vec<(Kind, To)> {
    let mut sent = Vec::new();
    while let Some(transmit) = core.poll_transmit(now) {
        sent.extend(core.datagrams().map(|bytes| (Datagram::parse(bytes).unwrap().header.kind, transmit.to)));
    }
    sent
}

#[test]
fn a_stamp_that_was_never_sent_is_not_believed() {
    const LATER: Time = Time(NOW.0 + 10_000_000);
    let (begun, now, milli) = (NOW.0, LATER.0, 1_000_000);
    // Clocks may run apart by a thousandth of the time that it was held; and what was held for too long to say is believed.
    for (stamp, held, believed) in [
        (now, 0, true),
        (now + 1, 0, false),
        (now - milli, milli as u32, true),
        (now - milli + milli / 1_000, milli as u32, true),
        (now - milli + milli / 1_000 + 1, milli as u32, false),
        (begun, 0, true),
        (begun - 1, 0, false),
        (begun, u32::MAX, true),
        (begun - 1, u32::MAX, false),
        (now, u32::MAX, true),
        (now + 1, u32::MAX, false),
    ] {
        let mut core = windowed(8, Flow::Slowest);
        let stream = core.open_stream("a", NOW).unwrap();
        for count in 1..=2 {
            let asking = Asking { receiver: 1, now: LATER, stamp, held, flags: 0, range: None };
            asking.send(&mut core, stream);
            let mut payload = [0; 100];
            let mut list = Status::emit(&mut payload, ReceiverId(1), held);
            list.push_position(&position(stream, 1));
            let length = list.length();
            let header = Header { stamp, ..Header::new(Kind::Status, SOURCE, 0) };
            core.handle_datagram(LATER, address(1), &emit(header, &payload[..length]));
            let rejected = (core.stats().naks_rejected, core.stats().statuses_rejected);
            let refused = if believed { 0 } else { count };
            assert_eq!(rejected, (refused, refused), "{stamp} {held}");
        }
        assert_eq!(core.stats().receivers, u64::from(believed));
    }
}

#[test]
fn who_is_alone_is_answered_alone() {
    // Who is known, who asks, and whether it is told alone of what is gone; a name is for all.
    for (known, receiver, alone) in
        [(&[][..], 1, true), (&[1], 1, true), (&[1], 2, false), (&[1, 2], 1, false)]
    {
        let mut core = windowed(4, Flow::None);
        let stream = core.open_stream("a", NOW).unwrap();
        (0..13).for_each(|_| send(&mut core, stream, NOW).unwrap());
        known.iter().for_each(|&id| status(&mut core, NOW, id, &[position(stream, 1)]));
        drain(&mut core, NOW);
        let to = if alone { To::Receiver(address(receiver)) } else { To::Group };
        Asking::of(receiver, NOW, flag::NAME_WANTED, None).send(&mut core, stream);
        assert_eq!(sent(&mut core, NOW), [(Kind::Announce, To::Group)], "{known:?} {receiver}");
        Asking::of(receiver, NOW, 0, one(1)).send(&mut core, stream);
        assert_eq!(sent(&mut core, NOW), [(Kind::Ncf, to)], "{known:?} {receiver}");
    }
}

#[test]
fn of_what_is_asked_for_that_is_gone_is_told_and_the_rest_is_repaired() {
    let mut core = windowed(4, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    // The window keeps the last four: from 10 on.
    (0..13).for_each(|_| send(&mut core, stream, NOW).unwrap());
    Asking::of(1, NOW, 0, Some(Range { first: 8, count: 5 })).send(&mut core, stream);
    assert_eq!((core.stats().nak_datagrams, core.stats().nak_gone), (5, 2));
    drain(&mut core, NOW);
    // Without a rate no repair waits that had to be confirmed.
    assert_eq!((core.stats().repairs, core.stats().ncfs), (3, 1));
}

#[test]
fn a_repair_goes_to_one_as_long_as_nobody_else_asks_for_it() {
    // Who is known, who asks in turn, and whether the repair goes to the first alone.
    for (known, asking, alone) in [
        (&[1][..], &[1, 1][..], true),
        (&[1], &[1], true),
        (&[1], &[2], false),
        (&[1], &[1, 2], false),
        (&[1, 2], &[1], true),
        (&[1, 2], &[1, 1], true),
        (&[1, 2], &[1, 2], false),
    ] {
        let mut core = windowed(4, Flow::None);
        let stream = core.open_stream("a", NOW).unwrap();
        send(&mut core, stream, NOW).unwrap();
        known.iter().for_each(|&id| status(&mut core, NOW, id, &[position(stream, 1)]));
        drain(&mut core, NOW);
        // They catch up, so that others are not expected to ask.
        let later = NOW + Duration::from_millis(2);
        for &receiver in asking {
            Asking::of(receiver, later, flag::CATCHING_UP, one(1)).send(&mut core, stream);
        }
        let to = if alone { To::Receiver(address(1)) } else { To::Group };
        assert_eq!(sent(&mut core, later), [(Kind::Repair, to)], "{known:?} {asking:?}");
    }
}

#[test]
fn who_asks_again_when_nobody_else_did_is_answered_alone() {
    // Of two receivers, at a round trip of a millisecond (while none is known): until then the other may ask as well.
    for (after, alone) in [(1_000, false), (1_001, true)] {
        let mut core = windowed(4, Flow::None);
        let stream = core.open_stream("a", NOW).unwrap();
        send(&mut core, stream, NOW).unwrap();
        for id in [1, 2] {
            // Held for too long to measure a round trip by.
            let mut payload = [0; 100];
            let mut list = Status::emit(&mut payload, ReceiverId(id), u32::MAX);
            list.push_position(&position(stream, 1));
            let length = list.length();
            let header = Header { stamp: NOW.0, ..Header::new(Kind::Status, SOURCE, 0) };
            core.handle_datagram(NOW, address(id), &emit(header, &payload[..length]));
        }
        drain(&mut core, NOW);
        let first = NOW + Duration::from_millis(5);
        Asking::of(1, first, 0, one(1)).send(&mut core, stream);
        assert_eq!(sent(&mut core, first), [(Kind::Repair, To::Group)]);
        let again = first + Duration::from_micros(after);
        Asking::of(1, again, 0, one(1)).send(&mut core, stream);
        let to = if alone { To::Receiver(address(1)) } else { To::Group };
        assert_eq!(sent(&mut core, again), [(Kind::Repair, to)], "{after}");
    }
}

#[test]
fn what_waits_for_one_that_can_wait_goes_at_once_when_one_asks_that_cannot() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    [1, 2].into_iter().for_each(|receiver| status(&mut core, NOW, receiver, &[position(stream, 1)]));
    drain(&mut core, NOW);
    (0..2).for_each(|_| send(&mut core, stream, NOW).unwrap());
    let later = NOW + Duration::from_micros(100);
    let both = Some(Range { first: 1, count: 2 });
    Asking::of(1, later, flag::CATCHING_UP, both).send(&mut core, stream);
    // A ninth of what went out is for one of them, and nobody else need wait for the other.
    assert_eq!(sent(&mut core, later), [(Kind::Repair, To::Receiver(address(1)))]);
    for _ in 0..2 {
        Asking::of(2, later, 0, one(2)).send(&mut core, stream);
    }
    assert_eq!(sent(&mut core, later), [(Kind::Repair, To::Group)]);
    // It went, and does not wait any more.
    let quiet = NOW + Duration::from_millis(1);
    assert_eq!((sent(&mut core, quiet), core.stats().repairs), (vec![], 2));
}

#[test]
fn a_repair_that_went_to_the_group_after_all_went_to_nobody_alone() {
    let mut core = Publisher::new(Config::new(SOURCE), NOW);
    let id = core.open_stream("t", NOW).unwrap();
    status(&mut core, NOW, 1, &[position(id, 1)]);
    for _ in 0..3 {
        core.send(id, b"message", NOW).unwrap();
        core.flush(id);
    }
    while core.poll_transmit(NOW).is_some() {
        core.went_to_group(1);
    }
    assert_eq!(core.stats().repairs_unicast, 0, "it was for the group");
    let later = NOW + Duration::from_millis(1);
    Asking::of(1, later, 0, Some(Range { first: 1, count: 3 })).send(&mut core, id);
    let transmit = core.poll_transmit(later).unwrap();
    assert_eq!((transmit.count, core.stats().repairs, core.stats().repairs_unicast), (3, 3, 3));
    // Two of them; the third is given again.
    core.went_to_group(2);
    core.retract(2);
    assert_eq!((core.stats().repairs, core.stats().repairs_unicast), (2, 0));
}

/// Behind a firewall that lets nothing in but the group, repairs sent to it alone would never reach a receiver.
#[test]
fn who_was_answered_alone_and_asks_again_is_answered_by_way_of_the_group() {
    for flags in [0, flag::CATCHING_UP] {
        let mut core = windowed(4, Flow::None);
        let stream = core.open_stream("a", NOW).unwrap();
        send(&mut core, stream, NOW).unwrap();
        status(&mut core, NOW, 1, &[position(stream, 1)]);
        drain(&mut core, NOW);
        let mut now = NOW;
        for to in [To::Receiver(address(1)), To::Group].into_iter().cycle().take(4) {
            now = now + Duration::from_millis(5);
            Asking::of(1, now, flags, one(1)).send(&mut core, stream);
            assert_eq!(sent(&mut core, now), [(Kind::Repair, to)]);
        }
    }
}

#[test]
fn who_is_not_reached_alone_time_and_again_is_answered_by_way_of_the_group_at_once() {
    let mut core = windowed(64, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    (0..40).for_each(|_| send(&mut core, stream, NOW).unwrap());
    status(&mut core, NOW, 1, &[position(stream, 1)]);
    drain(&mut core, NOW);
    let (mut now, alone) = (NOW, To::Receiver(address(1)));
    let mut ask = |sequence| {
        now = now + Duration::from_millis(5);
        Asking::of(1, now, 0, one(sequence)).send(&mut core, stream);
        let sent = sent(&mut core, now);
        assert_eq!(sent.len(), 1, "{sequence}: {sent:?}");
        sent[0].1
    };
    for sequence in 1..=4 {
        assert_eq!([ask(sequence), ask(sequence)], [alone, To::Group], "{sequence}");
    }
    // One in so many is tried all the same, and when those come it is as before.
    let tried: Vec<u64> = (5..=40).filter(|&sequence| ask(sequence) == alone).collect();
    assert_eq!(tried, [36]);
}

#[test]
fn strangers_are_answered_out_of_a_tenth_of_the_rate() {
    let datagram = 32 << 10;
    let rate = Some(1_000_000);
    let config =
        Config { flow: Flow::None, datagram, window: 4 * datagram, max_rate: rate, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    let mut now = NOW;
    for _ in 0..6 {
        now = now + Duration::from_secs(1);
        send(&mut core, stream, now).unwrap();
    }
    // Fifteen hundred bytes at once, of which an answer takes 160.
    for (flags, range) in [(flag::NAME_WANTED, None), (0, one(1))] {
        now = now + Duration::from_secs(1);
        let before = core.stats().control_dropped;
        for _ in 0..12 {
            Asking::of(1, now, flags, range).send(&mut core, stream);
            drain(&mut core, now);
        }
        assert_eq!(core.stats().control_dropped - before, 2);
    }
}

#[test]
fn who_says_that_a_stream_that_was_given_up_has_not_ended_is_told_that_it_has() {
    for (ended, ends) in [(false, 1), (true, 0)] {
        let mut core = windowed(4, Flow::None);
        let stream = core.open_stream("a", NOW).unwrap();
        core.close_stream(stream, NOW);
        core.release_stream(stream);
        drain(&mut core, NOW);
        let before = core.stats().ends;
        status(&mut core, NOW, 1, &[Position { ended, ..position(stream, 1) }]);
        drain(&mut core, NOW);
        assert_eq!(core.stats().ends - before, ends);
    }
}

#[test]
fn a_receiver_within_half_a_window_of_the_lead_is_in_good_standing() {
    for (at, good) in [(4, false), (5, true)] {
        let mut core = windowed(8, Flow::None);
        let stream = core.open_stream("a", NOW).unwrap();
        (0..8).for_each(|_| send(&mut core, stream, NOW).unwrap());
        status(&mut core, NOW, 1, &[position(stream, at)]);
        assert_eq!(core.receivers()[0].good_standing, good, "{at}");
    }
}

#[test]
fn who_makes_no_progress_for_the_patience_is_not_waited_for_until_it_has_room_again() {
    let second = Duration::from_secs(1);
    let almost = second * 9 / 10;
    // What it says shortly before the patience is over, and whether that is progress.
    for (at, progress) in [(1, false), (2, true)] {
        let mut core = windowed(8, Flow::Slowest);
        let stream = core.open_stream("a", NOW).unwrap();
        let told = |at, limit| [Position { limit, ..position(stream, at) }];
        let mut fell_behind = 0;
        for receiver in [1, 2] {
            let start = NOW + second * 4 * receiver as u32;
            let lead = core.stats().datagrams + 1;
            status(&mut core, start, receiver, &told(lead, lead));
            send(&mut core, stream, start).unwrap();
            assert!(send(&mut core, stream, start).is_err());
            status(&mut core, start + almost, receiver, &told(lead - 1 + at, lead));
            core.handle_timeout(start + second);
            fell_behind += u64::from(!progress);
            assert_eq!(core.stats().fell_behind, fell_behind, "{at}");
            core.handle_timeout(start + almost + second);
            fell_behind += u64::from(progress);
            assert_eq!(core.stats().fell_behind, fell_behind, "{at}");
            while core.poll_event().is_some() {}
            // Without room it would hold the others up again at once.
            status(&mut core, start + second * 2, receiver, &told(lead + 1, lead));
            assert_eq!(core.poll_event(), None);
            status(&mut core, start + second * 2, receiver, &told(lead + 1, lead + 1));
            assert!(
                matches!(core.poll_event(), Some(PublisherEvent::CaughtUp { receiver: id, .. }) if id.0 == receiver)
            );
            core.handle_timeout(start + second * 2);
            // It leaves the other to be waited for.
            status(&mut core, start + second * 2, receiver, &told(lead + 1, u64::MAX));
        }
    }
}

#[test]
fn in_a_crowd_it_is_told_soon_how_far_the_furthest_behind_is() {
    for (receivers, soon) in [(32, false), (33, true)] {
        let mut core = windowed(64, Flow::Slowest);
        let stream = core.open_stream("a", NOW).unwrap();
        (1..=receivers).for_each(|receiver| status(&mut core, NOW, receiver, &[position(stream, 1)]));
        (0..20).for_each(|_| send(&mut core, stream, NOW).unwrap());
        (1..=receivers).for_each(|receiver| status(&mut core, NOW, receiver, &[position(stream, 21)]));
        let mut now = NOW;
        while now < NOW + Duration::from_millis(450) {
            core.handle_timeout(now);
            drain(&mut core, now);
            now = now + Duration::from_millis(1);
        }
        let heartbeat = now + Duration::from_millis(1);
        (0..20).for_each(|_| send(&mut core, stream, now).unwrap());
        // The heartbeats that follow these come by themselves.
        let told = [Position { limit: 60, ..position(stream, 21) }];
        let before = core.poll_timeout(now);
        status(&mut core, now, 1, &told);
        let after = core.poll_timeout(now);
        assert_eq!((after.0, after.1 == Reason::Heartbeat), (before.0.min(heartbeat), soon), "{receivers}");
        while now < heartbeat + Duration::from_millis(1) {
            now = now + Duration::from_millis(1);
            core.handle_timeout(now);
            drain(&mut core, now);
        }
        // What is not new is not told again.
        status(&mut core, now, 1, &told);
        assert_ne!(core.poll_timeout(now).1, Reason::Heartbeat, "{receivers}");
    }
}

#[test]
fn who_asks_for_more_than_its_budget_is_counted_and_quarantined_once() {
    let config = Config { datagram: 512, window: 4 << 20, flow: Flow::None, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    for receiver in [1, 2] {
        status(&mut core, NOW, receiver, &[position(stream, 1)]);
    }
    for _ in 0..8_000 {
        send(&mut core, stream, NOW).unwrap();
    }
    // A budget of a window's 8,192, and the 8,000 live ones: 16,192 of the 24,000 asked for.
    let range = Some(Range { first: 1, count: 8_000 });
    let later = |at: u64| NOW + Duration::from_millis(at);
    for receiver in [1, 2] {
        for at in 1..=3 {
            let now = later(receiver * 10 + at);
            Asking::of(receiver, now, 0, range).send(&mut core, stream);
            for _ in 0..10_000 {
                if core.poll_transmit(now).is_none() {
                    break;
                }
            }
        }
    }
    assert_eq!(core.stats().quarantined, 2);
    let over = core.stats().naks_over_budget;
    assert!(over > 0);
    // Strangers have 4,096 together.
    Asking::of(9, later(100), 0, range).send(&mut core, stream);
    assert!(
        (8_000 - 4_096 - 100..=8_000 - 4_096).contains(&(core.stats().naks_over_budget - over)),
        "{over}"
    );
}

#[test]
fn who_can_wait_is_repaired_when_live_data_has_paused_for_a_millisecond() {
    let mut core = windowed(8, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    // A round trip of two milliseconds, so that nothing else is to be sent sooner.
    let begun = NOW + Duration::from_millis(2);
    let mut payload = [0; 100];
    let mut list = Status::emit(&mut payload, ReceiverId(1), 0);
    list.push_position(&position(stream, 1));
    let length = list.length();
    let header = Header { stamp: NOW.0, ..Header::new(Kind::Status, SOURCE, 0) };
    core.handle_datagram(begun, address(1), &emit(header, &payload[..length]));
    core.handle_timeout(begun);
    drain(&mut core, begun);
    (0..2).for_each(|_| send(&mut core, stream, begun).unwrap());
    let later = begun + Duration::from_micros(100);
    Asking::of(1, later, flag::CATCHING_UP, Some(Range { first: 1, count: 2 })).send(&mut core, stream);
    // A ninth of what went out is for one of them; the other waits.
    let repair = (Kind::Repair, To::Receiver(address(1)));
    assert_eq!(sent(&mut core, later), [repair]);
    let quiet = begun + Duration::from_millis(1);
    assert_eq!(core.poll_timeout(later), (quiet, Reason::Rate));
    assert_eq!(sent(&mut core, quiet), [repair]);
}

/// After this live data may leave, and repairs may not yet.
const IN_DEBT: Duration = Duration::from_millis(14);

/// A publisher with these receivers that repaired one datagram of 3,000 bytes, and when: twice what may go at once, of 125,000 bytes
/// a second, of which repairs may have three quarters. 1,500 bytes are owed, for 12 ms of all of the rate, and 16 ms of the repairs' part.
fn indebted(receivers: &[u64]) -> (Publisher, u32, Time) {
    let datagram = 32 << 10;
    let (window, max_rate) = (8 * datagram, Some(1_000_000));
    let config = Config { flow: Flow::None, datagram, window, max_rate, ..Config::new(SOURCE) };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("a", NOW).unwrap();
    receivers.iter().for_each(|&receiver| status(&mut core, NOW, receiver, &[position(stream, 1)]));
    drain(&mut core, NOW);
    core.send(stream, &[1; 3_000 - 68], NOW).unwrap();
    core.flush(stream);
    drain(&mut core, NOW);
    let begun = NOW + Duration::from_secs(1);
    Asking::of(1, begun, 0, one(1)).send(&mut core, stream);
    drain(&mut core, begun);
    assert_eq!((core.stats().repairs, core.stats().ncfs), (1, 0));
    (core, stream, begun)
}

#[test]
fn a_repair_that_waits_behind_live_data_is_confirmed_and_nothing_else_is() {
    for (live, confirmed) in [(false, 0), (true, 1)] {
        let (mut core, stream, begun) = indebted(&[]);
        let now = begun + IN_DEBT;
        if live {
            core.send(stream, b"one", now).unwrap();
            core.flush(stream);
        }
        Asking::of(1, now, 0, one(1)).send(&mut core, stream);
        drain(&mut core, now);
        assert_eq!(core.stats().ncfs, confirmed);
        // Who asks for nothing but a name has nothing confirmed.
        let now = begun + Duration::from_millis(2);
        Asking::of(1, now, flag::NAME_WANTED, None).send(&mut core, stream);
        drain(&mut core, now);
        assert_eq!(core.stats().ncfs, confirmed);
    }
}

/// It would have the others wait for what does not come to them.
#[test]
fn what_goes_to_one_alone_is_confirmed_to_nobody() {
    for (flags, confirmed) in [(0, 1), (flag::CATCHING_UP, 0)] {
        let (mut core, stream, begun) = indebted(&[1, 2]);
        let now = begun + IN_DEBT;
        core.send(stream, b"one", now).unwrap();
        core.flush(stream);
        Asking::of(1, now, flags, one(1)).send(&mut core, stream);
        drain(&mut core, now);
        assert_eq!(core.stats().ncfs, confirmed, "{flags}");
    }
}

#[test]
fn one_that_says_nothing_is_known_for_as_long_as_it_is_waited_for() {
    // Ten idle intervals of half a second, or more.
    for (patience, known) in [(1, 5), (60, 60)] {
        let config = Config { patience: Duration::from_secs(patience), ..Config::new(SOURCE) };
        let mut core = Publisher::new(config, NOW);
        let stream = core.open_stream("a", NOW).unwrap();
        status(&mut core, NOW, 1, &[position(stream, 1)]);
        let mut now = NOW;
        while core.receivers_of(stream) == 1 {
            now = now.max(core.poll_timeout(now).0);
            core.handle_timeout(now);
            drain(&mut core, now);
        }
        assert_eq!(now.since(NOW).as_secs(), known);
    }
}

#[test]
fn a_status_message_that_cannot_be_counts_once() {
    let mut core = windowed(4, Flow::None);
    let stream = core.open_stream("a", NOW).unwrap();
    status(&mut core, NOW, 1, &[position(stream, 1), position(7, 1), position(8, 1), position(stream, 9)]);
    assert_eq!((core.stats().statuses, core.stats().statuses_rejected), (1, 1));
    assert_eq!(core.receivers_of(stream), 1, "what can be is taken");
}
