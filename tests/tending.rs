//! An application that does the service thread's work besides, over real sockets on `lo`.
#![expect(clippy::disallowed_methods, reason = "a test that polls has to end")]

use nakcast::{Event, Publisher, Subscriber, Wait};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
const MESSAGES: u64 = 20_000;

/// A group of this test's own.
fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 82, number], port))
}

/// A publisher and a subscriber that loses one datagram of ten, on one thread.
struct Pair {
    publisher: Publisher,
    subscriber: Subscriber,
    /// The number of the last message that was sent, and of the last that came.
    sent: u64,
    came: u64,
    until: Instant,
}

impl Pair {
    fn open(number: u8) -> Pair {
        let open = Subscriber::builder(group(number)).topic("t").interface("lo").wait(Wait::Spin);
        let mut subscriber = open.drop_datagrams(0.1, 7).open().unwrap();
        let mut publisher = Publisher::builder(group(number)).topic("t").interface("lo").open().unwrap();
        let until = Instant::now() + DEADLINE;
        while publisher.wait_for(1, Some(Duration::from_millis(1))).is_err() {
            assert!(subscriber.poll(10, |_| {}).is_ok() && Instant::now() < until);
        }
        Pair { publisher, subscriber, sent: 0, came: 0, until }
    }

    /// Sends messages in a tight loop, but for what there is no room for yet.
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            if self.publisher.try_send(&(self.sent + 1).to_be_bytes()).is_err() {
                return;
            }
            self.sent += 1;
        }
    }

    /// Takes what is here.
    fn take(&mut self) {
        assert!(Instant::now() < self.until, "{} of {} came", self.came, self.sent);
        let came = &mut self.came;
        let taken = self.subscriber.poll(1_000, |event| match event {
            Event::Message(message) => {
                *came += 1;
                assert_eq!(message.payload(), came.to_be_bytes());
            }
            Event::Gap(gap) => panic!("lost {gap}"),
            _ => {}
        });
        taken.unwrap();
    }
}

#[test]
fn what_is_lost_is_repaired_and_what_waits_leaves_by_tending() {
    let mut pair = Pair::open(1);
    let mut random = fastrand::Rng::with_seed(3);
    while pair.came < MESSAGES {
        pair.send(random.u64(..200).min(MESSAGES - pair.sent));
        pair.publisher.endpoint().tend();
        pair.take();
    }
    let stats = pair.publisher.endpoint().stats();
    assert!(stats.naks > 0 && stats.repairs > 0, "{stats:?}");
}

#[test]
fn who_tends_no_more_is_served_by_the_service_thread() {
    let mut pair = Pair::open(2);
    for _ in 0..20 {
        pair.send(450);
        pair.publisher.endpoint().tend();
        // Of a tight loop the last messages wait for others.
        pair.send(50);
        while pair.came < pair.sent {
            pair.take();
        }
    }
    assert_eq!(pair.came, 20 * 500);
    let stats = pair.publisher.endpoint().stats();
    assert!(stats.naks > 0 && stats.repairs > 0, "{stats:?}");
}
