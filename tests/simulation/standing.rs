//! What a subscriber tells its publishers, and when: how far it is, how far they may go, that it is there.

use super::peers::{SOURCE, emit};
use nakcast::protocol::Time;
use nakcast::protocol::subscriber::{Config, Subscriber};
use nakcast::wire::{
    Announce, Datagram, End, Header, Heartbeat, Kind, Position, ReceiverId, Status, StreamState,
    data as body, flag,
};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const START: Time = Time(1_000_000_000);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// A subscriber, what it was handed, and what it said.
pub(super) struct Alone {
    pub(super) core: Subscriber,
    pub(super) now: Time,
    pub(super) group: u32,
    stamp: u64,
    /// When it said something last.
    pub(super) at: Time,
    /// Milliseconds since the start, and what was told then.
    pub(super) said: Vec<(u128, Vec<Position>)>,
}

impl Alone {
    /// In a group of this size. A datagram of 100 bytes takes 1,280 of the receive buffer, by the kernel's way of counting.
    pub(super) fn new(receiver: u64, group: u32, datagrams: usize) -> Alone {
        let config = Config { receive_buffer: datagrams * 1_280, ..Config::new(ReceiverId(receiver)) };
        Alone::of(config, group)
    }

    pub(super) fn of(config: Config, group: u32) -> Alone {
        let core = Subscriber::new(config, START);
        let mut alone = Alone { core, now: START, group, stamp: 0, at: START, said: Vec::new() };
        alone.alive();
        alone
    }

    fn header(&mut self, kind: Kind, stream: u32) -> Header {
        self.stamp = self.now.0;
        Header { stamp: self.stamp, ..Header::new(kind, SOURCE, stream) }
    }

    fn feed(&mut self, datagram: &[u8]) {
        self.core.handle_datagram(self.now, SocketAddr::from(([10, 9, 9, 9], 9)), datagram);
        while self.core.advance(datagram).is_some() {}
        self.transmit();
    }

    pub(super) fn transmit(&mut self) {
        while let Some(transmit) = self.core.poll_transmit(self.now) {
            let datagram = Datagram::parse(self.core.datagram(&transmit)).unwrap();
            assert_eq!(datagram.header.sent, self.now.0);
            if datagram.header.kind == Kind::Status {
                let status = Status::parse(datagram.payload).unwrap();
                // What it heard last of the source, and how long ago: the publisher measures the round trip by that.
                let stamped = datagram.header.stamp + u64::from(status.held);
                assert_eq!((datagram.header.stamp, stamped), (self.stamp, self.now.0));
                let positions = status.positions().collect();
                self.at = self.now;
                self.said.push((self.now.since(START).as_millis(), positions));
            }
        }
    }

    pub(super) fn alive(&mut self) {
        self.heartbeat(None);
    }

    /// Of stream 1, its lead, and how far the others let it go.
    pub(super) fn heartbeat(&mut self, state: Option<(u64, u64)>) {
        self.limited(ReceiverId(0), state);
    }

    /// The same, and by whom the publisher is limited.
    pub(super) fn limited(&mut self, by: ReceiverId, state: Option<(u64, u64)>) {
        let mut payload = [0; 100];
        let mut list = Heartbeat::emit(&mut payload, 500_000, self.group, 1_000, by);
        if let Some((lead, limit)) = state {
            list.push_stream(&StreamState { stream: 1, trail: 1, lead, next_message: lead + 1, limit });
        }
        let length = list.length();
        let header = self.header(Kind::Heartbeat, 0);
        self.feed(&emit(header, &payload[..length]));
    }

    pub(super) fn announce(&mut self, stream: u32) {
        self.announce_window(stream, 10_000);
    }

    /// Of a publisher whose window has room for so many datagrams.
    fn announce_window(&mut self, stream: u32, window: u32) {
        let mut payload = [0; 100];
        let announce = Announce {
            age: 0,
            trail: 1,
            trail_message: 1,
            idle_interval: 500_000,
            window,
            datagram: 100,
            topic: "t",
        };
        let length = announce.emit(&mut payload);
        let header = Header { message: 1, ..self.header(Kind::Announce, stream) };
        self.feed(&emit(header, &payload[..length]));
    }

    pub(super) fn data(&mut self, stream: u32, sequence: u64) {
        let mut payload = [0; 5];
        body::emit_record(&mut payload, 1);
        let header = Header { sequence, message: sequence, ..self.header(Kind::Data, stream) };
        self.feed(&emit(header, &payload));
    }

    pub(super) fn end(&mut self, stream: u32, lead: u64) {
        let mut payload = [0; 16];
        let length = End { trail: 1 }.emit(&mut payload);
        let header = Header { sequence: lead, message: lead + 1, ..self.header(Kind::End, stream) };
        self.feed(&emit(header, &payload[..length]));
    }

    /// Lets time pass. Its source is heard every 100 ms.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        let mut beat = self.now + MILLISECOND * 100;
        loop {
            let (due, _) = self.core.poll_timeout(self.now).unwrap();
            let next = due.max(self.now).min(beat).min(until);
            self.now = next;
            if next == beat {
                beat = beat + MILLISECOND * 100;
                self.alive();
            }
            self.core.handle_timeout(self.now);
            while self.core.advance(&[]).is_some() {}
            self.transmit();
            if next == until {
                return;
            }
        }
    }

    pub(super) fn times(&self) -> Vec<u128> {
        self.said.iter().map(|&(at, _)| at).collect()
    }

    /// Stream, position and limit that were told last.
    pub(super) fn told(&self) -> Vec<(u32, u64, u64)> {
        self.said.last().unwrap().1.iter().map(|told| (told.stream, told.position, told.limit)).collect()
    }
}

#[test]
fn a_position_is_told_four_times_and_then_there_are_signs_of_life() {
    let mut alone = Alone::new(1, 1, 100);
    alone.announce(1);
    alone.run_for(Duration::from_secs(4));
    // Soon at first: a twentieth of the interval of 200 ms, doubled each time. Then at every other of its source's intervals.
    assert_eq!(alone.times(), [0, 10, 30, 70, 1_070, 2_070, 3_070]);
    assert!(alone.said.iter().all(|(_, told)| told.len() == 1 && told[0].position == 1));
    // What is new is told again so often, an interval apart: here from the next sign of life on.
    alone.said.clear();
    alone.data(1, 1);
    alone.run_for(MILLISECOND * 1_500);
    assert_eq!(alone.times(), [4_070, 4_270, 4_470, 4_670], "{:?}", alone.said);
}

#[test]
fn a_publisher_may_go_as_far_as_three_quarters_of_the_sockets_reach() {
    for (datagrams, share) in [(100, 75), (1, 32), (0, 32), (43, 32), (44, 33)] {
        let mut alone = Alone::new(1, 1, datagrams);
        alone.announce(1);
        alone.run_for(Duration::ZERO);
        assert_eq!(alone.told(), [(1, 1, share)], "{datagrams}");
        // From the highest that came, whatever is missing before it.
        alone.data(1, 11);
        alone.run_for(MILLISECOND * 300);
        assert_eq!(alone.told(), [(1, 1, 11 + share)], "{datagrams}");
    }
}

#[test]
fn streams_that_data_comes_of_share_the_sockets_and_those_that_rest_do_not() {
    let mut alone = Alone::new(1, 1, 100);
    alone.announce(1);
    alone.announce(2);
    alone.run_for(MILLISECOND * 100);
    alone.data(1, 1);
    alone.data(2, 1);
    alone.run_for(MILLISECOND * 250);
    let mut limits: Vec<_> =
        alone.said.iter().flat_map(|(_, told)| told).filter(|t| t.position == 2).map(|t| t.limit).collect();
    limits.dedup();
    assert_eq!(limits, [1 + 37]);
    // After 400 ms without, each may have all.
    alone.run_for(Duration::from_secs(3));
    assert_eq!(alone.told().iter().map(|told| told.2).max(), Some(1 + 75));
}

#[test]
fn a_quarter_of_what_may_be_sent_is_told_at_once() {
    let mut alone = Alone::new(1, 1, 100);
    alone.announce(1);
    alone.run_for(MILLISECOND * 100);
    alone.said.clear();
    // From 1 to 75 there are 74: 18 are a quarter.
    (1..18).for_each(|sequence| alone.data(1, sequence));
    assert_eq!(alone.said.len(), 0);
    alone.data(1, 18);
    assert_eq!(alone.told(), [(1, 19, 18 + 75)]);
    (19..36).for_each(|sequence| alone.data(1, sequence));
    assert_eq!(alone.said.len(), 1);
    // And the end, whenever it is.
    alone.end(1, 35);
    assert_eq!(alone.said.len(), 2);
    assert!(alone.said[1].1[0].ended && alone.told() == [(1, 36, 35 + 75)]);
}

/// What it does not hear of, the publisher must keep; it waits when its window is full of that.
#[test]
fn a_quarter_of_what_its_window_holds_is_told_where_that_is_less() {
    let mut alone = Alone::new(1, 1, 100);
    alone.announce_window(1, 40);
    alone.announce_window(2, 40);
    alone.run_for(MILLISECOND * 100);
    alone.said.clear();
    (1..10).for_each(|sequence| alone.data(1, sequence));
    assert_eq!(alone.said.len(), 0);
    alone.data(1, 10);
    assert_eq!((alone.said.len(), alone.told()[0].1), (1, 11));
    // Two streams share it.
    alone.data(2, 1);
    alone.run_for(MILLISECOND * 250);
    alone.said.clear();
    (11..15).for_each(|sequence| alone.data(1, sequence));
    assert_eq!(alone.said.len(), 0);
    alone.data(1, 15);
    assert_eq!((alone.said.len(), alone.told()[0].1), (1, 16));
}

#[test]
fn one_of_a_crowd_is_silent_until_it_is_behind() {
    let mut alone = Alone::new(u64::MAX, 1_000, 100);
    alone.announce(1);
    // Ten milliseconds for each of a thousand, at random.
    alone.run_for(Duration::from_secs(10));
    assert_eq!(alone.said.len(), 1, "{:?}", alone.times());
    // What comes in order is not told, however much it is.
    for sequence in 1..=300 {
        alone.data(1, sequence);
        alone.run_for(MILLISECOND);
    }
    assert_eq!(alone.said.len(), 1);
    // A gap, and less than a quarter of what may be sent behind it; then more.
    for sequence in 302..=319 {
        alone.data(1, sequence);
        alone.run_for(MILLISECOND);
    }
    assert_eq!(alone.said.len(), 1, "{:?}", alone.said.last());
    for sequence in 320..=340 {
        alone.data(1, sequence);
        alone.run_for(MILLISECOND);
    }
    assert!(alone.said.len() > 1);
    let first = &alone.said[1].1[0];
    assert_eq!(first.position, 301);
    // That it caught up is told too.
    let count = alone.said.len();
    alone.data(1, 301);
    alone.run_for(MILLISECOND);
    assert_eq!((alone.said.len() - count, alone.told()[0].1), (1, 341));
}

#[test]
fn one_of_a_crowd_takes_its_time_to_say_that_it_has_everything() {
    let mut times = Vec::new();
    for receiver in 0..20 {
        let mut alone = Alone::new(u64::MAX - receiver, 1_000, 100);
        alone.announce(1);
        alone.run_for(Duration::from_secs(10));
        alone.data(1, 1);
        alone.said.clear();
        alone.end(1, 1);
        alone.run_for(Duration::from_secs(1));
        assert_eq!(alone.said.len(), 1, "{:?}", alone.times());
        assert!(alone.said[0].1[0].ended);
        times.push(alone.times()[0] - 10_000);
    }
    // Within a hundred microseconds for each.
    times.sort_unstable();
    assert!(times[19] <= 101 && times[0] < 30 && times[19] > 60, "{times:?}");
}

/// One of a crowd that lacks datagram 2 and has everything else up to 28, where it has said so. It may be sent 75 more than
/// came: behind it is with more than a quarter of the room between what it lacks and that.
fn behind() -> Alone {
    let mut alone = Alone::new(u64::MAX, 1_000, 100);
    alone.announce(1);
    alone.run_for(Duration::from_secs(10));
    alone.said.clear();
    alone.data(1, 1);
    // It is looked at with 21, with 26 and with 28.
    (3..=27).for_each(|sequence| alone.data(1, sequence));
    alone.run_for(MILLISECOND * 500);
    assert_eq!(alone.said.len(), 0, "25 of 100 are no more than a quarter");
    alone.data(1, 28);
    assert_eq!(alone.said.len(), 0, "others may say so");
    // A first NAK's wait for a round trip of a millisecond in a group of a thousand: four and a half at the most.
    alone.run_for(MILLISECOND * 5);
    assert_eq!((alone.said.len(), alone.told()), (1, vec![(1, 2, 28 + 75)]));
    alone.said.clear();
    alone
}

#[test]
fn who_said_that_it_is_behind_says_it_again_an_eighth_of_the_room_later() {
    let mut alone = behind();
    // An eighth of 102.
    (29..=40).for_each(|sequence| alone.data(1, sequence));
    assert_eq!(alone.said.len(), 0);
    alone.data(1, 41);
    assert_eq!(alone.told(), [(1, 2, 41 + 75)]);
}

#[test]
fn who_is_not_the_furthest_behind_is_silent() {
    // A quarter of its room of 115 beyond its limit of 116 is 144; of 116 beyond 117, 146.
    for (next, others, says) in [
        (41, 144, false),
        (41, 145, true),
        (41, 41, false),
        (41, 40, true),
        (42, 146, false),
        (42, 147, true),
    ] {
        let mut alone = behind();
        (29..=40).for_each(|sequence| alone.data(1, sequence));
        alone.heartbeat(Some((1, others)));
        alone.data(1, next);
        assert_eq!(alone.said.len(), usize::from(says), "{next} {others}");
    }
}

#[test]
fn one_of_a_crowd_says_again_that_it_has_everything_when_what_it_said_may_be_lost() {
    // Four times as long as all of them take to say so.
    let long = Duration::from_millis(400);
    for (after, again) in [(long, false), (long + Duration::from_nanos(1), true)] {
        let mut alone = Alone::new(u64::MAX, 1_000, 100);
        alone.announce(1);
        alone.run_for(Duration::from_secs(10));
        alone.data(1, 1);
        alone.said.clear();
        alone.end(1, 1);
        while alone.said.is_empty() {
            alone.run_for(MILLISECOND / 10);
        }
        alone.now = alone.at + after;
        alone.end(1, 1);
        alone.run_for(MILLISECOND * 100);
        assert_eq!(alone.said.len(), 1 + usize::from(again), "{after:?}");
    }
}

#[test]
fn a_publisher_with_less_than_a_quarter_of_its_leave_left_is_told_again() {
    let mut alone = Alone::new(1, 1, 44);
    alone.announce(1);
    alone.run_for(Duration::ZERO);
    assert_eq!((alone.said.len(), alone.told()), (1, vec![(1, 1, 33)]));
    // From 1 to 33 there are 32, and eight are a quarter.
    alone.heartbeat(Some((25, u64::MAX)));
    assert_eq!(alone.said.len(), 1);
    alone.heartbeat(Some((26, u64::MAX)));
    assert_eq!(alone.said.len(), 2);
}

#[test]
fn who_has_not_greeted_takes_more_time_for_it_when_the_group_turns_out_to_be_a_crowd() {
    let mut soon = [0, 0];
    for receiver in 0..20 {
        for (index, group) in [1, 1_000].into_iter().enumerate() {
            let mut alone = Alone::new(u64::MAX - receiver, 0, 100);
            alone.announce(1);
            alone.group = group;
            alone.alive();
            alone.run_for(MILLISECOND * 10);
            soon[index] += alone.said.len().min(1);
            alone.run_for(Duration::from_secs(10));
            assert!(!alone.said.is_empty());
        }
    }
    assert_eq!(soon[0], 20, "within ten milliseconds, as long as nothing is known of the group");
    assert!(soon[1] < 3, "{} of 20", soon[1]);
}

#[test]
fn one_of_a_crowd_gives_a_rare_sign_of_life() {
    let mut alone = Alone::new(u64::MAX, 1_000, 100);
    alone.announce(1);
    alone.run_for(Duration::from_secs(45));
    // Ten milliseconds for each of a thousand.
    let first = alone.times()[0];
    let expected: Vec<_> = (0..5).map(|at| first + at * 10_000).filter(|&at| at <= 45_000).collect();
    assert_eq!(alone.times(), expected);
}

#[test]
fn of_a_crowd_a_few_at_a_time_say_of_a_forgotten_stream_that_it_has_ended() {
    let mut alone = Alone::of(Config { max_streams: 1, ..Config::new(ReceiverId(u64::MAX)) }, 1);
    for stream in [1, 2] {
        alone.announce(stream);
        alone.data(stream, 1);
        alone.end(stream, 1);
    }
    // The first made room for the second.
    alone.said.clear();
    let before = alone.core.stats().statuses;
    alone.end(1, 1);
    assert_eq!(alone.said.len(), 1, "in a small group each says so");
    assert_eq!(alone.core.stats().statuses - before, 1);
    let told = alone.said[0].1[0];
    assert_eq!((told.stream, told.ended, told.position, told.limit), (1, true, 2, 2));
    alone.group = 1_000;
    alone.alive();
    alone.said.clear();
    (0..1_000).for_each(|_| alone.end(1, 1));
    assert!((10..100).contains(&alone.said.len()), "{}", alone.said.len());
}

#[test]
fn what_does_not_fit_in_one_status_message_comes_in_the_next() {
    let mut alone = Alone::new(1, 1, 100);
    (1..=45).for_each(|stream| alone.announce(stream));
    alone.run_for(Duration::ZERO);
    assert_eq!(alone.said.iter().map(|(_, told)| told.len()).collect::<Vec<_>>(), [40, 5]);
    let mut streams: Vec<_> = alone.said.iter().flat_map(|(_, told)| told).map(|told| told.stream).collect();
    streams.sort_unstable();
    assert_eq!(streams, (1..=45).collect::<Vec<_>>());
    assert_eq!(alone.core.stats().statuses, 2);
}

#[test]
fn who_leaves_says_so_once_and_how_far_it_came() {
    let mut alone = Alone::new(1, 1, 100);
    (1..=2).for_each(|stream| alone.announce(stream));
    alone.run_for(MILLISECOND);
    alone.data(1, 1);
    alone.end(2, 0);
    let transmit = alone.core.poll_leave(alone.now).unwrap();
    let datagram = Datagram::parse(alone.core.datagram(&transmit)).unwrap();
    assert!(datagram.header.has(flag::LEAVING));
    assert_eq!((datagram.header.kind, datagram.header.stamp), (Kind::Status, alone.stamp));
    let told = Status::parse(datagram.payload).unwrap().positions();
    let mut told: Vec<_> = told.map(|told| (told.stream, told.ended, told.position)).collect();
    told.sort_unstable();
    assert_eq!(told, [(1, false, 2), (2, true, 1)]);
    assert!(alone.core.poll_leave(alone.now).is_none());
}
