//! What a subscriber tells its publishers, and when: how far it is, how far they may go, that it is there.

use super::peers::{SOURCE, emit};
use nakcast::protocol::Time;
use nakcast::protocol::subscriber::{Config, Subscriber};
use nakcast::wire::{
    Announce, Datagram, End, Header, Heartbeat, Kind, Position, ReceiverId, Status, data as body,
};
use std::net::SocketAddr;
use std::time::Duration;

const START: Time = Time(1_000_000_000);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A subscriber, what it was handed, and what it said.
struct Alone {
    core: Subscriber,
    now: Time,
    group: u32,
    /// Milliseconds since the start, and what was told then.
    said: Vec<(u128, Vec<Position>)>,
}

impl Alone {
    /// In a group of this size. A datagram of 100 bytes takes 1,280 of the receive buffer, by the kernel's way of counting.
    fn new(receiver: u64, group: u32, datagrams: usize) -> Alone {
        let config = Config { receive_buffer: datagrams * 1_280, ..Config::new(ReceiverId(receiver)) };
        let core = Subscriber::new(config, START);
        let mut alone = Alone { core, now: START, group, said: Vec::new() };
        alone.alive();
        alone
    }

    fn feed(&mut self, datagram: &[u8]) {
        self.core.handle_datagram(self.now, SocketAddr::from(([10, 9, 9, 9], 9)), datagram);
        while self.core.advance(datagram).is_some() {}
        self.transmit();
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.core.poll_transmit(self.now) {
            let datagram = Datagram::parse(self.core.datagram(&transmit)).unwrap();
            if datagram.header.kind == Kind::Status {
                let positions = Status::parse(datagram.payload).unwrap().positions().collect();
                self.said.push((self.now.since(START).as_millis(), positions));
            }
        }
    }

    fn alive(&mut self) {
        let mut payload = [0; 100];
        let list = Heartbeat::emit(&mut payload, 500_000, self.group, 1_000, ReceiverId(0));
        let length = list.length();
        self.feed(&emit(Header::new(Kind::Heartbeat, SOURCE, 0), &payload[..length]));
    }

    fn announce(&mut self, stream: u32) {
        let mut payload = [0; 100];
        let announce = Announce {
            age: 0,
            trail: 1,
            trail_message: 1,
            idle_interval: 500_000,
            window: 10_000,
            datagram: 100,
            topic: "t",
        };
        let length = announce.emit(&mut payload);
        let header = Header { message: 1, ..Header::new(Kind::Announce, SOURCE, stream) };
        self.feed(&emit(header, &payload[..length]));
    }

    fn data(&mut self, stream: u32, sequence: u64) {
        let mut payload = [0; 5];
        body::emit_record(&mut payload, 1);
        let header = Header { sequence, message: sequence, ..Header::new(Kind::Data, SOURCE, stream) };
        self.feed(&emit(header, &payload));
    }

    fn end(&mut self, stream: u32, lead: u64) {
        let mut payload = [0; 16];
        let length = End { trail: 1 }.emit(&mut payload);
        let header = Header { sequence: lead, message: lead + 1, ..Header::new(Kind::End, SOURCE, stream) };
        self.feed(&emit(header, &payload[..length]));
    }

    /// Lets time pass. Its source is heard every 100 ms.
    fn run_for(&mut self, time: Duration) {
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

    fn times(&self) -> Vec<u128> {
        self.said.iter().map(|&(at, _)| at).collect()
    }

    /// Stream, position and limit that were told last.
    fn told(&self) -> Vec<(u32, u64, u64)> {
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
