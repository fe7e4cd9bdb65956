//! Messages in bulk: how many there is room for.

use super::endpoint::{NOW, drain, position, send, status, windowed};
use nakcast::protocol::publisher::Flow;
use nakcast::wire::{HEADER_LENGTH, record_head};

#[test]
fn there_is_headroom_as_far_as_the_slowest_receiver_lets_it_go() {
    for (flow, nine, ten) in [(Flow::Slowest, true, false), (Flow::None, true, true)] {
        let mut core = windowed(20, flow);
        let stream = core.open_stream("a", NOW).unwrap();
        let told = nakcast::wire::Position { limit: 10, ..position(stream, 1) };
        status(&mut core, NOW, 1, &[told]);
        assert_eq!((core.headroom(stream, 9, NOW), core.headroom(stream, 10, NOW)), (nine, ten), "{flow:?}");
    }
}

#[test]
fn headroom_is_made_where_something_may_be_given_up() {
    for (flow, given_up) in [(Flow::None, true), (Flow::Slowest, false)] {
        let mut core = windowed(4, flow);
        let stream = core.open_stream("a", NOW).unwrap();
        status(&mut core, NOW, 1, &[position(stream, 1)]);
        (0..4).for_each(|_| send(&mut core, stream, NOW).unwrap());
        assert_eq!(core.headroom(stream, 2, NOW), given_up, "{flow:?}");
    }
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
        if staged {
            core.stage(stream);
        }
        let mut records = record_head(5).to_vec();
        records.extend([1; 5]);
        core.put(stream, &records, NOW);
        core.flush(stream);
        drain(&mut core, NOW);
        let mut copied = 0;
        core.settle(|to, from| {
            to.copy_from_slice(from);
            copied += 1;
        });
        assert_eq!(copied, copies);
    }
}
