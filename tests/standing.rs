//! What is kept up while nothing, or too much, happens: sources that live are known to, descriptors fall silent, one topic
//! does not starve another, what did not leave is told of. Over real sockets on `lo`.

#![cfg(unix)]

use nakcast::{
    BackPressure, Endpoint, Error, Event, Publisher, PublisherBuilder, SendError, Subscriber,
    SubscriberBuilder,
};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// For what does not come.
const SHORT: Duration = Duration::from_millis(50);
/// Five of these, and a source is taken for silent.
const IDLE: Duration = Duration::from_millis(250);
/// Heartbeats that take longer than that: their intervals double from a millisecond on, which makes eight, before they have that
/// length.
const BEATS: u64 = 15;
/// Waits of that length that make the deadline.
const WAITS: u32 = 80;

/// A group of this test's own.
fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 79, number], port))
}

fn subscribe(number: u8) -> SubscriberBuilder {
    Subscriber::builder(group(number)).interface("lo")
}

fn publish(number: u8) -> PublisherBuilder {
    Publisher::builder(group(number)).interface("lo").idle_interval(IDLE)
}

/// The next event must be this message, when beginnings of streams are passed over.
fn expect(subscriber: &mut Subscriber, payload: &[u8]) {
    loop {
        match subscriber.recv_timeout(DEADLINE).unwrap().expect("something in time") {
            Event::StreamUp(_) => {}
            Event::Message(message) => return assert_eq!(message.payload(), payload),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_subscriber_that_was_not_called_for_long_takes_nobody_for_silent() {
    let mut subscriber = subscribe(1).open().unwrap();
    let mut publisher = publish(1).open().unwrap();
    publisher.send(b"first").unwrap();
    expect(&mut subscriber, b"first");
    // Until it knows that the sockets are empty: it then waits to be told otherwise.
    while subscriber.recv_timeout(Duration::from_millis(1)).unwrap().is_some() {}
    let endpoint = publisher.endpoint().clone();
    let before = endpoint.stats().heartbeats;
    // Nobody comes: the time passes.
    let waits = (0..WAITS).take_while(|_| publisher.wait_for(2, Some(IDLE)).is_err());
    assert!(waits.map(|_| endpoint.stats().heartbeats).any(|beats| beats >= before + BEATS));
    publisher.send(b"second").unwrap();
    match subscriber.recv_timeout(DEADLINE).unwrap().expect("something in time") {
        Event::Message(message) => assert_eq!(message.payload(), b"second"),
        other => panic!("{other:?}"),
    }
}

/// Whether a subscriber's descriptor is or becomes readable: whoever begins to watch it is told at once if it is.
fn readable(subscriber: &Subscriber, within: Duration) -> bool {
    let mut poll = mio::Poll::new().unwrap();
    let descriptor = subscriber.as_raw_fd();
    let mut source = mio::unix::SourceFd(&descriptor);
    poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(within)).unwrap();
    !events.is_empty()
}

#[test]
fn waking_is_seen_by_a_foreign_event_loop_and_passes() {
    let mut subscriber = subscribe(4).open().unwrap();
    assert!(subscriber.try_recv().unwrap().is_none());
    assert!(!readable(&subscriber, SHORT));
    for _ in 0..3 {
        subscriber.waker().wake();
        assert!(readable(&subscriber, DEADLINE));
        assert!(subscriber.try_recv().unwrap().is_none());
        assert!(!readable(&subscriber, SHORT));
    }
}

#[test]
fn a_call_that_waits_is_told_of_a_waking_that_a_look_came_upon_before() {
    let mut subscriber = subscribe(5).open().unwrap();
    subscriber.waker().wake();
    assert!(subscriber.try_recv().unwrap().is_none());
    assert_eq!(subscriber.poll(1, |_| {}).unwrap(), 0);
    assert_eq!(subscriber.recv().map(drop), Err(Error::Woken));
}

#[test]
fn the_descriptor_falls_silent_with_the_last_source() {
    let mut subscriber = subscribe(2).open().unwrap();
    let mut publisher = publish(2).open().unwrap();
    publisher.send(b"first").unwrap();
    expect(&mut subscriber, b"first");
    let _unconfirmed = publisher.close(Duration::ZERO);
    let mut ends = 0;
    let mut rounds = 0;
    while subscriber.next_deadline().is_some() {
        rounds += 1;
        assert!(rounds < 100, "something stays due");
        assert!(readable(&subscriber, DEADLINE), "it tells when to go on");
        while subscriber.poll(64, |event| ends += u32::from(matches!(event, Event::StreamEnd(_)))).unwrap()
            > 0
        {}
    }
    assert_eq!(ends, 1);
    assert!(!readable(&subscriber, SHORT), "nothing comes any more, and nothing is due");
}

/// Ends what runs beside a test, however that ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_topic_sent_without_pause_leaves_the_others_their_time() {
    let mut subscriber = subscribe(3).topic("quiet").open().unwrap();
    let endpoint = Endpoint::open(publish(3)).unwrap();
    let mut quiet = endpoint.publisher("quiet").unwrap();
    let mut busy = endpoint.publisher("busy").unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                busy.send(&[7; 1_000]).unwrap();
            }
        });
        // A message may wait for others to share its datagram, but they never come.
        for number in 0..200_u32 {
            quiet.send(&number.to_le_bytes()).unwrap();
            expect(&mut subscriber, &number.to_le_bytes());
        }
        let before = endpoint.stats().heartbeats;
        let waits = (0..WAITS).take_while(|_| subscriber.recv_timeout(IDLE).unwrap().is_none());
        assert!({ waits }.any(|_| endpoint.stats().heartbeats >= before + BEATS), "heartbeats are kept up");
    });
}

#[test]
fn what_the_rate_did_not_let_leave_is_told_by_who_closes() {
    let builder = Publisher::builder(group(20)).interface("lo").max_rate(10_000);
    let mut publisher = builder.open().unwrap();
    (0..50).for_each(|_| publisher.send(&[7; 1_300]).unwrap());
    let unsent = publisher.unsent();
    let error = publisher.close(Duration::ZERO).unwrap_err();
    // A datagram takes more than a second.
    assert!((45..50).contains(&unsent) && unsent - error.unsent <= 1, "{unsent}, {error:?}");
    assert_eq!(error.laggards, []);
    assert_eq!(error.to_string(), format!("{} messages were not sent in the time there was", error.unsent));
}

#[test]
fn once_a_start_is_over_a_full_window_gives_way() {
    const WINDOW: usize = 1 << 20;
    let mut publisher = publish(21).topic("t").window(WINDOW).open().unwrap();
    assert!(!publisher.is_started(SHORT), "nothing was sent");
    publisher.send(b"first").unwrap();
    publisher.flush().unwrap();
    assert!(publisher.is_started(DEADLINE));
    let message = [0; 1_000];
    for _ in 0..3 * WINDOW / message.len() {
        // Whatever else the socket makes of it.
        let by_start = Err(SendError::BackPressured { by: BackPressure::Start });
        assert_ne!(publisher.try_send(&message), by_start);
    }
    assert!(publisher.endpoint().stats().messages > (2 * WINDOW / message.len()) as u64, "that is full");
}

#[test]
fn who_was_told_of_the_end_has_said_so_and_need_not_call_again() {
    let mut subscriber = subscribe(66).topic(">").open().unwrap();
    let (done, held) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut messages = 0;
        loop {
            match subscriber.recv_timeout(DEADLINE).unwrap().expect("something comes in time") {
                Event::Message(_) => messages += 1,
                Event::StreamEnd(_) => break,
                _ => {}
            }
        }
        // It is kept for as long as the publisher is.
        let _ = held.recv();
        messages
    });
    // Not told so, it would know no longer of the subscriber after a minute alone.
    let mut publisher = publish(66).idle_interval(Duration::from_secs(6)).topic("prices").open().unwrap();
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    (0..1_000).for_each(|_| publisher.send(b"message").unwrap());
    publisher.close(DEADLINE).unwrap();
    drop(done);
    assert_eq!(reader.join().unwrap(), 1_000);
}
