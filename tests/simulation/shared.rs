//! What the topics of an endpoint, or of a subscription, share: the window's memory, and the receive buffer.

use super::by_hand::{self, of};
use super::endpoint::{NOW, lost_its_first, position, send, status, windowed};
use super::peers::from;
use super::standing::{Alone, MILLISECOND};
use nakcast::protocol::Event;
use nakcast::protocol::publisher::{BackPressure, Flow, Refused, START_GRACE};
use nakcast::protocol::subscriber::Contract;
use nakcast::wire::{Datagram, Kind, ReceiverId, Status};

#[test]
fn a_stream_above_its_share_of_the_window_gives_up_its_own_and_others_take_from_the_richest() {
    // How many of ten chunks each of three streams has, when the first wants another; and who gives up its oldest.
    for (chunks, loser) in [([4, 5, 1], 1), ([2, 7, 1], 2), ([3, 6, 1], 2), ([1, 4, 5], 3), ([8, 1, 1], 1)] {
        let mut core = windowed(10, Flow::None);
        let streams = ["a", "b", "c"].map(|topic| core.open_stream(topic, NOW).unwrap());
        // One that holds nothing has no share.
        core.open_stream("d", NOW).unwrap();
        for (stream, chunks) in streams.into_iter().zip(chunks) {
            (0..chunks).for_each(|_| send(&mut core, stream, NOW).unwrap());
        }
        assert_eq!(core.memory_in_use(), 10 * (32 << 10));
        send(&mut core, streams[0], NOW).unwrap();
        for stream in streams {
            assert_eq!(lost_its_first(&mut core, stream), stream == loser, "{chunks:?}: {stream}");
        }
    }
}

#[test]
fn a_topic_whose_receiver_is_slow_does_not_stop_the_others() {
    // All memory is two topics', the richer one's held: the other has something to give.
    let mut core = windowed(6, Flow::Slowest);
    let [quick, slow, new] = ["a", "b", "c"].map(|topic| core.open_stream(topic, NOW).unwrap());
    (0..2).for_each(|_| send(&mut core, quick, NOW).unwrap());
    status(&mut core, NOW, 1, &[position(quick, 3)]);
    status(&mut core, NOW, 2, &[position(slow, 1)]);
    (0..4).for_each(|_| send(&mut core, slow, NOW).unwrap());
    let later = NOW + START_GRACE;
    assert_eq!(send(&mut core, new, later), Ok(()));
    let refused = Err(Refused::BackPressured { by: BackPressure::Receiver(ReceiverId(2)) });
    assert_eq!(send(&mut core, slow, later), refused);
    let later = later + START_GRACE;
    assert_eq!(send(&mut core, new, later), Ok(()), "it gives up its own from now on");

    // One alone does not get what is kept for those that have nothing yet, and that it gets when they have.
    let mut core = windowed(32, Flow::Slowest);
    let streams = ["a", "b", "c", "d"].map(|topic| core.open_stream(topic, NOW).unwrap());
    status(&mut core, NOW, 1, &[position(streams[0], 1)]);
    let mut sent = |stream| (0..40).take_while(|_| send(&mut core, stream, later).is_ok()).count();
    assert_eq!(streams.map(&mut sent)[0], 30);
    let mut core = windowed(32, Flow::Slowest);
    let stream = core.open_stream("a", NOW).unwrap();
    status(&mut core, NOW, 1, &[position(stream, 1)]);
    assert_eq!((0..40).take_while(|_| send(&mut core, stream, later).is_ok()).count(), 32);
}

#[test]
fn streams_share_the_receive_buffer_as_soon_as_data_comes_of_them() {
    // It holds a hundred datagrams; three quarters may be on their way.
    let mut alone = Alone::new(1, 1, 100);
    (1..=8).for_each(|stream| alone.announce(stream));
    alone.run_for(MILLISECOND * 100);
    let of = |alone: &Alone, stream| {
        let mut told = alone.said.iter().flat_map(|(_, told)| told).filter(|told| told.stream == stream);
        told.next_back().map(|told| told.limit)
    };
    alone.said.clear();
    // Nobody need be told that one alone has what it was told before.
    alone.data(1, 1);
    assert_eq!(of(&alone, 1), None);
    alone.data(2, 1);
    assert_eq!((of(&alone, 1), of(&alone, 2)), (Some(1 + 37), Some(1 + 37)));
    alone.said.clear();
    alone.data(3, 1);
    assert_eq!(of(&alone, 1), None);
    // Least comes to 32.
    alone.data(4, 1);
    assert_eq!((1..=4).map(|stream| of(&alone, stream)).collect::<Vec<_>>(), [Some(1 + 32); 4]);
}

#[test]
fn where_many_streams_rest_each_may_send_a_part_of_the_receive_buffer_at_first() {
    for (streams, share) in [(1, 750), (7, 750), (8, 375), (16, 187), (120, 32)] {
        let mut alone = Alone::new(1, 1, 1_000);
        (1..=streams).for_each(|stream| alone.announce(stream));
        alone.said.clear();
        alone.run_for(MILLISECOND * 100);
        let limits: Vec<_> = alone.said.iter().flat_map(|(_, told)| told).map(|told| told.limit).collect();
        assert!(!limits.is_empty() && limits.iter().all(|&limit| limit == share), "{streams}: {limits:?}");
    }
}

#[test]
fn a_stream_with_more_than_is_taken_lets_others_have_their_turn() {
    let mut core = by_hand::small(Contract::Ordered, 2);
    let first = of(1, 1);
    core.handle_datagram(NOW, from(), &first);
    core.park(&first);
    core.handle_datagram(NOW, from(), &of(2, 1));
    for sequence in 2..=50 {
        core.handle_datagram(NOW, from(), &of(1, sequence));
        core.handle_datagram(NOW, from(), &of(2, sequence));
    }
    // Of the first comes one for each that is taken.
    let mut taken = [0; 2];
    for next in 51..500 {
        let Some(ready) = core.advance(&[]) else { break };
        if let Event::Message(message) = core.event(&ready, &[]) {
            taken[message.stream_id() as usize - 1] += 1;
        }
        core.handle_datagram(NOW, from(), &of(1, next));
        if taken[1] == 50 {
            break;
        }
    }
    assert_eq!(core.stats().overruns, 0);
    assert!(taken[1] == 50 && taken[0] < 150, "{taken:?}");
}

#[test]
fn by_arrival_the_position_moves_as_what_waits_is_delivered() {
    let mut core = by_hand::small(Contract::Arrival, 1);
    let first = of(1, 1);
    core.handle_datagram(NOW, from(), &first);
    // It is taken late, and others wait behind it; one of them is missing.
    core.park(&first);
    for sequence in (2..=50).chain(52..=100) {
        core.handle_datagram(NOW, from(), &of(1, sequence));
    }
    let mut told = Vec::new();
    for step in 0..100 {
        let now = NOW + MILLISECOND * 20 * step;
        core.advance(&[]);
        core.handle_timeout(now);
        while let Some(transmit) = core.poll_transmit(now) {
            let datagram = Datagram::parse(core.datagram(&transmit)).unwrap();
            if datagram.header.kind == Kind::Status {
                told.extend(Status::parse(datagram.payload).unwrap().positions().map(|told| told.position));
            }
        }
    }
    let on_the_way = told.iter().filter(|position| (10..=50).contains(*position)).count();
    assert!(told.is_sorted() && on_the_way > 3 && told.last() == Some(&51), "{told:?}");
}
