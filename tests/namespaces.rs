//! Publishers and subscribers on hosts of their own: network namespaces, joined by veth and a bridge.

#![cfg(target_os = "linux")]

mod support;
mod warnings;

use nakcast::net::SocketError;
use nakcast::{
    Error, Event, Flow, GapReason, Publisher, PublisherBuilder, SendError, Subscriber, SubscriberBuilder,
};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use support::{Host, Lab};
use warnings::Warnings;

const DEADLINE: Duration = Duration::from_secs(30);

fn publisher(
    host: &Host,
    group: &str,
    set: impl FnOnce(PublisherBuilder) -> PublisherBuilder + Send,
) -> Publisher {
    let group: SocketAddr = group.parse().unwrap();
    host.run(|| set(Publisher::builder(group).interface("eth0")).open().unwrap())
}

fn subscriber(
    host: &Host,
    group: &str,
    set: impl FnOnce(SubscriberBuilder) -> SubscriberBuilder + Send,
) -> Subscriber {
    let group: SocketAddr = group.parse().unwrap();
    host.run(|| set(Subscriber::builder(group).interface("eth0")).open().unwrap())
}

/// Reads messages until one is `last`; gives all, and what was lost.
fn read_until(subscriber: &mut Subscriber, last: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut got, mut lost) = (Vec::new(), 0);
    loop {
        match subscriber.recv_timeout(DEADLINE).unwrap().expect("something in time") {
            Event::Message(message) => {
                got.push(message.payload().to_vec());
                if message.payload() == last {
                    return (got, lost);
                }
            }
            Event::Gap(gap) => {
                assert_eq!(gap.reason(), GapReason::AgedOut);
                lost += gap.messages();
            }
            _ => {}
        }
    }
}

#[test]
fn groups_of_both_families_and_for_one_source_alone() {
    let Some(lab) = Lab::new(2) else { return };
    lab.host(1).loss(10.0);
    let v4 = IpAddr::V4(lab.host(0).address());
    let v6 = IpAddr::V6(lab.host(0).address_v6());
    for (group, source) in [
        ("239.1.2.3:7700", None),
        ("[ff12::7700]:7700", None),
        ("232.1.2.3:7701", Some(v4)),
        ("[ff32::7701]:7701", Some(v6)),
    ] {
        let mut subscriber = subscriber(lab.host(1), group, |builder| match source {
            Some(source) => builder.source(source),
            None => builder,
        });
        let mut publisher = publisher(lab.host(0), group, |builder| builder);
        let sender = std::thread::spawn(move || {
            publisher.wait_for(1, Some(DEADLINE)).unwrap();
            for number in 0..2_000_u32 {
                publisher.send(&number.to_le_bytes().repeat(100)).unwrap();
            }
            publisher.send(b"last").unwrap();
            publisher.close(DEADLINE)
        });
        let (got, lost) = read_until(&mut subscriber, b"last");
        assert_eq!((got.len(), lost), (2_001, 0), "{group}");
        assert!(
            got[..2_000].iter().zip(0_u32..).all(|(message, number)| message[..4] == number.to_le_bytes())
        );
        drop(subscriber);
        let _confirmed_or_gone = sender.join().unwrap();
    }
}

#[test]
fn a_source_that_was_not_asked_for_is_not_heard() {
    let Some(lab) = Lab::new(3) else { return };
    let wanted = IpAddr::V4(lab.host(0).address());
    let mut subscriber = subscriber(lab.host(2), "232.1.2.4:7702", |builder| builder.source(wanted));
    let mut other = publisher(lab.host(1), "232.1.2.4:7702", |builder| builder.topic("other"));
    let mut right = publisher(lab.host(0), "232.1.2.4:7702", |builder| builder.topic("right"));
    other.send(b"not for you").unwrap();
    other.flush().unwrap();
    right.send(b"last").unwrap();
    right.flush().unwrap();
    assert_eq!(read_until(&mut subscriber, b"last").0, [b"last"]);
    assert_eq!(subscriber.stats().sources, 1);
}

#[test]
fn the_last_message_is_repaired_though_nothing_follows_it() {
    let Some(lab) = Lab::new(2) else { return };
    let mut subscriber = subscriber(lab.host(1), "239.1.2.5:7703", |builder| builder);
    let mut publisher = publisher(lab.host(0), "239.1.2.5:7703", |builder| builder);
    publisher.send(b"first").unwrap();
    publisher.flush().unwrap();
    read_until(&mut subscriber, b"first");
    for _ in 0..10 {
        let last = vec![7; 1_000];
        // Heartbeats are shorter, and pass.
        lab.host(1).drop_next(1, "udp dport 7703 udp length > 800");
        publisher.send(&last).unwrap();
        publisher.flush().unwrap();
        assert_eq!(read_until(&mut subscriber, &last), (vec![last], 0));
        lab.host(1).clear_rules();
    }
    assert_eq!(subscriber.stats().repairs, 10);
}

#[test]
fn a_datagram_larger_than_the_mtu_is_refused_at_open() {
    let Some(lab) = Lab::new(1) else { return };
    for (group, most) in [("239.1.2.6:7704", 1_472), ("[ff12::7704]:7704", 1_452)] {
        let open = |datagram| {
            let builder = Publisher::builder(group.parse().unwrap()).interface("eth0");
            lab.host(0).run(|| builder.datagram(datagram).open().map(drop))
        };
        open(most).unwrap();
        let error = open(most + 1).unwrap_err();
        let expected = SocketError::TooLong {
            bytes: most + 1,
            interface: Some("eth0".into()),
            mtu: Some(1_500),
            most: Some(most),
        };
        assert_eq!(error, Error::Socket(expected));
        let text = format!("eth0, whose MTU of 1500 has room for {most}");
        assert!(error.to_string().ends_with(&text), "{error}");
    }
}

/// Changes a host's network, in the words of ip(8).
fn ip(host: &Host, change: &str) {
    let status = host.command("ip").args(change.split(' ')).status().unwrap();
    assert!(status.success(), "ip {change}");
}

/// What a publisher says when it sends a datagram that is too long.
fn refusal(publisher: &mut Publisher) -> String {
    loop {
        // It is found out when it leaves, and told to the next call.
        match publisher.send(&[1; 1_300]).and_then(|()| publisher.flush()) {
            Ok(()) => {}
            Err(SendError::Datagram(error)) => return error.to_string(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn an_mtu_that_shrinks_is_told_as_it_is_and_warned_of_once() {
    let warnings = Warnings::of("a datagram of 1368 bytes");
    let Some(lab) = Lab::new(1) else { return };
    let mut publisher = publisher(lab.host(0), "239.1.2.9:7707", |builder| builder);
    publisher.send(&[1; 1_300]).and_then(|()| publisher.flush()).unwrap();
    // The route is narrower than the interface.
    ip(lab.host(0), "route change 224.0.0.0/4 dev eth0 mtu 1000");
    let error = refusal(&mut publisher);
    assert_eq!(
        error,
        "a datagram of 1368 bytes is too long for interface eth0 or its way from there: \
         the MTU of 1500 has room for 1472, a route or a router for less"
    );
    // The interface itself is.
    ip(lab.host(0), "link set eth0 mtu 1280");
    for _ in 0..100 {
        let error = refusal(&mut publisher);
        assert!(error.ends_with("eth0, whose MTU of 1280 has room for 1252"), "{error}");
    }
    // Heartbeats went out in between, and nothing that is as long.
    assert!(publisher.endpoint().stats().send_failures >= 100);
    assert_eq!(warnings.count(), 1);
    ip(lab.host(0), "link set eth0 mtu 1500");
    ip(lab.host(0), "route change 224.0.0.0/4 dev eth0");
    while publisher.send(&[1; 1_300]).and_then(|()| publisher.flush()).is_err() {}
}

#[test]
fn a_receiver_that_cannot_be_sent_to_alone_is_served_with_the_group() {
    let Some(lab) = Lab::new(2) else { return };
    let mut subscriber = subscriber(lab.host(1), "239.1.2.10:7708", |builder| builder);
    let mut publisher = publisher(lab.host(0), "239.1.2.10:7708", |builder| builder);
    publisher.send(b"first").unwrap();
    publisher.flush().unwrap();
    read_until(&mut subscriber, b"first");
    while publisher.receivers() == 0 {
        subscriber.recv_timeout(Duration::from_millis(10)).unwrap();
    }
    // A lone receiver is sent its repairs alone, and these do not pass there.
    ip(lab.host(0), &format!("route add {} dev eth0 mtu 600", lab.host(1).address()));
    for number in 0..5 {
        let last = vec![number; 1_300];
        lab.host(1).drop_next(1, "udp dport 7708 udp length > 800");
        publisher.send(&last).unwrap();
        publisher.flush().unwrap();
        assert_eq!(read_until(&mut subscriber, &last), (vec![last], 0));
        lab.host(1).clear_rules();
    }
    let stats = publisher.endpoint().stats();
    // Not one of them went to it alone.
    assert!(stats.repairs >= 5 && stats.send_failures >= 5 && stats.repairs_unicast == 0, "{stats:?}");
}

#[test]
fn what_left_the_window_is_told_exactly() {
    let Some(lab) = Lab::new(2) else { return };
    let mut subscriber = subscriber(lab.host(1), "239.1.2.7:7705", |builder| builder);
    let mut publisher = publisher(lab.host(0), "239.1.2.7:7705", |builder| {
        builder.window(1 << 20).patience(Duration::from_millis(50))
    });
    publisher.send(b"first").unwrap();
    publisher.flush().unwrap();
    read_until(&mut subscriber, b"first");
    // Nothing comes through for as long as the window lasts twice.
    lab.host(1).loss(100.0);
    for number in 0..20_000_u32 {
        publisher.send(&number.to_le_bytes().repeat(25)).unwrap();
    }
    publisher.flush().unwrap();
    lab.host(1).loss(0.0);
    publisher.send(b"last").unwrap();
    publisher.flush().unwrap();
    let (got, lost) = read_until(&mut subscriber, b"last");
    assert_eq!(got.len() as u64 + lost, 20_001);
    assert!(lost > 0 && got.len() > 1, "{lost} lost");
}

#[test]
fn a_message_after_a_long_silence_is_followed_by_a_heartbeat() {
    let Some(lab) = Lab::new(2) else { return };
    let mut subscriber = subscriber(lab.host(1), "239.1.2.8:7706", |builder| builder);
    // Nothing but the heartbeat that follows a change tells of it: the next idle one is a minute away.
    let mut publisher =
        publisher(lab.host(0), "239.1.2.8:7706", |builder| builder.idle_interval(Duration::from_secs(60)));
    publisher.send(b"first").unwrap();
    read_until(&mut subscriber, b"first");
    // The ladder of heartbeats goes by: 12 of them double from a millisecond to some seconds.
    let endpoint = publisher.endpoint().clone();
    while endpoint.stats().heartbeats < 12 {
        subscriber.recv_timeout(Duration::from_millis(10)).unwrap();
    }
    let last = vec![7; 1_000];
    lab.host(1).drop_next(1, "udp dport 7706 udp length > 800");
    publisher.send(&last).unwrap();
    assert_eq!(read_until(&mut subscriber, &last), (vec![last], 0));
    assert!(endpoint.stats().heartbeats < 40);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is counted is so many in a time")]
fn a_socket_that_takes_no_more_is_not_tried_again_and_again() {
    let Some(lab) = Lab::new(1) else { return };
    // What is sent stays in the socket's buffer until the slow device takes it.
    let shape = "qdisc add dev eth0 root tbf rate 1mbit burst 3000 limit 100000000";
    let status = lab.host(0).command("tc").args(shape.split(' ')).status().unwrap();
    assert!(status.success(), "tc {shape}");
    let mut publisher = publisher(lab.host(0), "239.1.2.11:7709", |builder| {
        builder.flow(Flow::None).max_rate(10_000_000_000)
    });
    let endpoint = publisher.endpoint().clone();
    while publisher.send_timeout(&[7; 1_300], Duration::from_millis(20)).is_ok() {}
    let (start, before) = (Instant::now(), endpoint.stats().system_calls);
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(2) {
        sent += u64::from(publisher.send_timeout(&[7; 1_300], Duration::from_millis(100)).is_ok());
    }
    let calls = endpoint.stats().system_calls - before;
    let retries = start.elapsed().as_micros() as u64 / 200;
    assert!(calls < 10 * (retries + sent), "{calls} calls in the time of {retries} retries, {sent} sent");
}
