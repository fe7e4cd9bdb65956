//! Publishers and subscribers over real sockets on `lo`.

use nakcast::{Event, Publisher, Subscriber};
use std::net::SocketAddr;
use std::time::Duration;

/// A group of this test's own.
fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 78, number], port))
}

const DEADLINE: Duration = Duration::from_secs(20);

fn next(subscriber: &mut Subscriber) -> Event<'_> {
    subscriber.recv_timeout(DEADLINE).unwrap().expect("something comes in time")
}

#[test]
fn messages_arrive_in_order_and_the_stream_ends() {
    let mut subscriber = Subscriber::builder(group(1)).topic("prices.>").interface("lo").open().unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        loop {
            match next(&mut subscriber) {
                Event::Message(message) => got.push(message.payload().to_vec()),
                Event::StreamEnd(_) => return (got, subscriber.stats()),
                Event::Gap(gap) => panic!("{gap}"),
                _ => {}
            }
        }
    });
    let mut publisher = Publisher::builder(group(1)).topic("prices.fx").interface("lo").open().unwrap();
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    let messages: Vec<Vec<u8>> =
        (0..20_000_usize).map(|n| n.to_string().repeat(n % 300).into_bytes()).collect();
    for message in &messages {
        publisher.send(message).unwrap();
    }
    let stats = publisher.endpoint().clone();
    publisher.close(DEADLINE).unwrap();
    let (got, seen) = reader.join().unwrap();
    eprintln!("{:?}\n{seen:?}", stats.stats());
    assert_eq!(got.len(), messages.len());
    assert!(got == messages);
}
