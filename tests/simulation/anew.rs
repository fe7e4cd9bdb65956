//! Publishers that start anew at the address of the one before: which of the two is over is told by when they sent what
//! comes, and by which of them goes on.

use nakcast::protocol::EndReason;
use nakcast::protocol::publisher;
use nakcast::protocol::subscriber;
use nakcast::sim::{Link, Network, PublisherId, SubscriberId, Told};
use nakcast::wire::{ReceiverId, SourceId};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// An hour, of the publishers' wall clocks.
const HOUR: u64 = 3_600_000_000_000;

fn wire() -> Link {
    Link::with_delay(Duration::from_micros(20))
}

fn config(source: u64, wall_offset: u64) -> publisher::Config {
    publisher::Config { window: 1 << 20, wall_offset, ..publisher::Config::new(SourceId(source)) }
}

fn subscriber(network: &mut Network, id: u64) -> SubscriberId {
    let settings = subscriber::Config { reorder: 1 << 20, ..subscriber::Config::new(ReceiverId(id)) };
    network.add_subscriber(settings, wire(), wire())
}

/// A publisher on one topic, and the next at its address on the same topic, whose clock shows so much more or less.
struct Restart {
    network: Network,
    anew: PublisherId,
    stream: u32,
    sent: u64,
}

impl Restart {
    /// The last datagram of the old publisher is on its way for up to `late`.
    fn new(late: Duration, clocks: (u64, u64), before: impl FnOnce(&mut Network)) -> Restart {
        let mut network = Network::new(1);
        before(&mut network);
        let old = network.add_publisher(config(7, clocks.0), wire(), wire());
        let stream = network.open_stream(old, "t").unwrap();
        network.publish(old, stream, vec![1]);
        network.run_for(20 * MILLISECOND);
        *network.links(old).0 = Link { reorder: 1.0, held_up: late, ..wire() };
        network.publish(old, stream, vec![1]);
        network.run_for(100 * Duration::from_nanos(1));
        network.kill_publisher(old);
        network.heal();
        let anew = network.restart_publisher(old, config(8, clocks.1));
        let stream = network.open_stream(anew, "t").unwrap();
        Restart { network, anew, stream, sent: 0 }
    }

    /// Publishes for a time.
    fn run_for(&mut self, time: Duration) {
        let until = self.network.now() + time;
        while self.network.now() < until {
            self.network.publish(self.anew, self.stream, vec![2]);
            self.sent += 1;
            self.network.run_for(10 * MILLISECOND);
        }
    }

    /// What a subscriber heard of the new publisher's messages, and the ends of streams it was told.
    fn heard(&mut self, id: SubscriberId) -> (Vec<u64>, Vec<(SourceId, EndReason)>) {
        let (mut numbers, mut ends) = (Vec::new(), Vec::new());
        while let Some(told) = self.network.poll_told(id) {
            match told {
                Told::Message { source: SourceId(8), number, .. } => numbers.push(number),
                Told::End { source, reason, .. } => ends.push((source, reason)),
                _ => {}
            }
        }
        (numbers, ends)
    }
}

#[test]
fn what_comes_late_of_the_old_one_does_not_end_the_new_one() {
    let mut restart = Restart::new(SECOND, (HOUR, HOUR), |_| {});
    // It comes when all that is old is over.
    let late = subscriber(&mut restart.network, 2);
    restart.run_for(2 * SECOND);
    let (numbers, ends) = restart.heard(late);
    assert_eq!(numbers, (1..=restart.sent).collect::<Vec<_>>());
    assert_eq!(ends, []);
    assert_eq!(restart.network.subscriber(late).stats().sources, 2, "the old one was heard too");
}

#[test]
fn the_old_one_is_over_at_once_and_for_good() {
    let mut there = None;
    let mut restart = Restart::new(SECOND, (HOUR, HOUR), |network| {
        there = Some(subscriber(network, 1));
        network.run_for(20 * MILLISECOND);
    });
    restart.run_for(20 * MILLISECOND);
    let there = there.unwrap();
    assert_eq!(restart.heard(there).1, [(SourceId(7), EndReason::Replaced)]);
    restart.run_for(2 * SECOND);
    let (numbers, ends) = restart.heard(there);
    assert_eq!((numbers, ends), ((3..=restart.sent).collect(), vec![]));
    assert_eq!(restart.network.subscriber(there).stats().duplicates, 1, "what came late");
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_from_starting_anew() {
    let mut there = None;
    let mut restart = Restart::new(Duration::ZERO, (2 * HOUR, HOUR), |network| {
        there = Some(subscriber(network, 1));
        network.run_for(20 * MILLISECOND);
    });
    restart.run_for(4 * SECOND);
    let (numbers, ends) = restart.heard(there.unwrap());
    assert_eq!(numbers, (1..=restart.sent).collect::<Vec<_>>());
    assert_eq!(ends, [(SourceId(7), EndReason::Replaced)], "before it would be found silent");
}

#[test]
fn who_seemed_to_be_replaced_and_goes_on_is_heard_again() {
    // The old one's clock was ahead: its late datagram seems newer than what is there.
    let mut restart = Restart::new(SECOND, (2 * HOUR, HOUR), |_| {});
    let late = subscriber(&mut restart.network, 2);
    restart.run_for(8 * SECOND);
    let (numbers, ends) = restart.heard(late);
    assert_eq!(numbers, (1..=restart.sent).collect::<Vec<_>>());
    assert_eq!(ends, [(SourceId(8), EndReason::Replaced)]);
}
