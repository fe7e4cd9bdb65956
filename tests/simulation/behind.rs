//! One of a crowd: when it says that it is behind, that it is not any more, and that it is there, to the datagram.

use super::standing::{Alone, MILLISECOND};
use nakcast::protocol::subscriber::Reason;
use nakcast::wire::ReceiverId;
use std::time::Duration;

/// One of a crowd that lacks datagrams 2 to 27, and has said so. It may be sent up to 103.
fn far_behind() -> Alone {
    let mut alone = Alone::new(u64::MAX, 1_000, 100);
    alone.announce(1);
    alone.run_for(Duration::from_secs(10));
    alone.said.clear();
    alone.data(1, 1);
    alone.heartbeat(Some((27, u64::MAX)));
    alone.data(1, 28);
    alone.run_for(MILLISECOND * 5);
    assert_eq!((alone.said.len(), alone.told()), (1, vec![(1, 2, 28 + 75)]));
    alone.said.clear();
    alone
}

#[test]
fn who_was_behind_says_that_less_than_a_sixteenth_of_its_room_is_missing() {
    let mut alone = far_behind();
    // From 2 to 103 there are 101: six are a sixteenth.
    (2..22).for_each(|sequence| alone.data(1, sequence));
    assert_eq!(alone.said.len(), 0);
    alone.data(1, 22);
    assert_eq!((alone.said.len(), alone.told()), (1, vec![(1, 23, 103)]));
}

#[test]
fn who_is_behind_says_how_far_it_came_each_half_of_its_room_and_who_is_waited_for_each_eighth() {
    let me = ReceiverId(u64::MAX);
    // Others are not much further, where it is not the one.
    for (limiting, lead, others, step) in [(ReceiverId(0), 100, 150, 50), (me, 77, u64::MAX, 12)] {
        let mut alone = far_behind();
        alone.limited(limiting, Some((lead, others)));
        (2..1 + step).for_each(|sequence| alone.data(1, sequence));
        assert_eq!(alone.said.len(), 0, "{limiting:?}");
        alone.data(1, 1 + step);
        assert_eq!((alone.said.len(), alone.told()[0].1), (1, 2 + step), "{limiting:?}");
    }
}

#[test]
fn who_is_silent_looks_about_once_a_second_whatever_comes() {
    let mut alone = Alone::new(u64::MAX, 1_000, 100);
    alone.announce(1);
    while alone.said.is_empty() {
        alone.run_for(MILLISECOND * 100);
    }
    let next = Some((alone.at + Duration::from_secs(1), Reason::Status));
    assert_eq!(alone.core.poll_timeout(alone.now), next);
    alone.data(1, 1);
    assert_eq!(alone.core.poll_timeout(alone.now), next);
}

#[test]
fn a_stream_has_no_part_in_the_sockets_when_nothing_came_of_it_for_400_ms() {
    for (after, share) in [(399, 37), (400, 75)] {
        let mut alone = Alone::new(1, 1, 100);
        alone.announce(1);
        alone.announce(2);
        alone.run_for(MILLISECOND * 100);
        alone.data(1, 1);
        alone.data(2, 1);
        alone.said.clear();
        alone.now = alone.now + MILLISECOND * after;
        alone.core.handle_timeout(alone.now);
        alone.transmit();
        let mut told = alone.told();
        told.sort_unstable();
        assert_eq!(told, [(1, 2, 1 + share), (2, 2, 1 + share)], "{after}");
    }
}

#[test]
fn a_crowd_greets_in_ten_milliseconds_for_each_of_it() {
    let mut times: Vec<_> = (0..20)
        .map(|receiver| {
            let mut alone = Alone::new(u64::MAX - receiver, 1_000, 100);
            alone.announce(1);
            alone.run_for(Duration::from_secs(11));
            alone.times()[0]
        })
        .collect();
    times.sort_unstable();
    assert!(times[0] < 3_000 && times[19] > 7_000 && times[19] <= 10_000, "{times:?}");
}

#[test]
fn who_has_not_greeted_keeps_its_time_unless_the_group_is_more_than_twice_as_large() {
    let mut late = [0, 0];
    for receiver in 0..20 {
        for (index, group) in [1_000, 1_002].into_iter().enumerate() {
            let mut alone = Alone::new(u64::MAX - receiver, 500, 100);
            alone.announce(1);
            alone.group = group;
            alone.alive();
            alone.run_for(Duration::from_secs(5));
            late[index] += usize::from(alone.said.is_empty());
        }
    }
    assert!(late[0] == 0 && late[1] > 3, "{late:?} of 20");
}

#[test]
fn only_a_first_greeting_of_who_is_silent_takes_more_time_in_a_group_that_grew() {
    // One that the crowd has speak greets at once, however large the group turns out to be.
    let mut alone = Alone::new(1, 0, 100);
    alone.announce(1);
    alone.group = 1_000;
    alone.alive();
    alone.run_for(MILLISECOND * 10);
    assert_eq!(alone.times().len(), 1);
    // And who greeted says in time that it is behind.
    let mut alone = Alone::new(u64::MAX, 1, 100);
    alone.announce(1);
    alone.run_for(MILLISECOND * 100);
    alone.group = 1_000;
    alone.alive();
    alone.said.clear();
    alone.data(1, 1);
    (3..=27).for_each(|sequence| alone.data(1, sequence));
    alone.run_for(MILLISECOND * 500);
    alone.data(1, 28);
    assert_eq!(alone.said.len(), 0);
    alone.run_for(MILLISECOND * 5);
    assert_eq!((alone.said.len(), alone.told()), (1, vec![(1, 2, 28 + 75)]));
}

#[test]
fn who_caught_up_before_it_said_that_it_is_behind_gives_its_sign_of_life_in_time() {
    let mut alone = Alone::new(u64::MAX, 1_000, 100);
    alone.announce(1);
    while alone.said.is_empty() {
        alone.run_for(MILLISECOND * 100);
    }
    let life = alone.at + Duration::from_secs(10);
    alone.data(1, 1);
    (3..=27).for_each(|sequence| alone.data(1, sequence));
    // It waits for less than five milliseconds to say so.
    alone.run_for(life.since(alone.now) - MILLISECOND * 10);
    alone.said.clear();
    alone.data(1, 28);
    alone.data(1, 2);
    alone.run_for(MILLISECOND * 10);
    assert_eq!((alone.said.len(), alone.at, alone.told()[0].1), (1, life, 29));
}
