//! Bad input while data flows under loss: what is truncated, corrupt, of another version or random, and what has right
//! checksums and wrong content. It is counted, memory stays bounded, and the data arrives whole.
//!
//! `NAKCAST_HOSTILE=1000000 cargo test --release --test hostile` sends a million of each; the default is fewer, for the
//! everyday run.

use nakcast::wire::{
    Announce, Confirmation, End, HEADER_LENGTH, Header, Heartbeat, Kind, Nak, Ncf, Position, Range,
    ReceiverId, SourceId, Status, StreamState, data, flag, seal_header,
};
use nakcast::{Contract, Event, Publisher, Subscriber};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

fn count() -> u64 {
    std::env::var("NAKCAST_HOSTILE").ok().and_then(|count| count.parse().ok()).unwrap_or(40_000)
}

fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 79, number], port))
}

/// A socket on `lo` that sends to the group too.
#[expect(clippy::disallowed_methods, reason = "an attacker has sockets of its own")]
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket2::SockRef::from(&socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    socket
}

/// Memory this process has, bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Whom to attack.
#[derive(Clone, Copy)]
struct Victims {
    group: SocketAddr,
    publisher: SocketAddr,
    subscriber: SocketAddr,
    source: SourceId,
    receiver: ReceiverId,
}

/// A datagram with right checksums.
fn datagram(header: Header, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0; 1_408];
    let length = write(&mut bytes[HEADER_LENGTH..]);
    header.emit(&mut bytes, length);
    bytes.truncate(HEADER_LENGTH + length);
    bytes
}

fn records(payload: &mut [u8]) -> usize {
    data::emit_record(payload, 10);
    14
}

/// What cannot be read at all.
fn garbage(random: &mut fastrand::Rng, victims: &Victims) -> Vec<u8> {
    let header = Header {
        sequence: 1 + random.u64(..1 << 20),
        message: 1,
        ..Header::new(Kind::Data, victims.source, 1)
    };
    let mut good = datagram(header, records);
    match random.u8(..6) {
        0 => good.truncate(random.usize(..good.len())),
        1 => {
            let at = random.usize(..good.len());
            good[at] ^= 1 << random.u8(..8);
        }
        2 => {
            good[4] = random.u8(2..);
            seal_header(&mut good);
        }
        3 => {
            good[5] = random.u8(9..);
            seal_header(&mut good);
        }
        4 => {
            // A payload longer than the datagram.
            good[8..10].copy_from_slice(&random.u16(20..).to_be_bytes());
            seal_header(&mut good);
        }
        _ => good = (0..random.usize(..200)).map(|_| random.u8(..)).collect(),
    }
    good
}

/// What reads well and is wrong: from another address, about the real source, or about ones that are not.
fn forgery(random: &mut fastrand::Rng, victims: &Victims, stamp: u64) -> Vec<u8> {
    let real = random.bool();
    let source = if real { victims.source } else { SourceId(random.u64(1..)) };
    let stream = if random.bool() { 1 } else { random.u32(1..) };
    let any = |random: &mut fastrand::Rng| match random.u8(..4) {
        0 => random.u64(1..100),
        1 => random.u64(1..1_000_000),
        2 => random.u64(1 << 40..1 << 62),
        _ => i64::MAX as u64 - random.u64(..3),
    };
    let header = |kind| Header { stamp, ..Header::new(kind, source, stream) };
    let (a, b, c) = (any(random), any(random), any(random));
    match random.u8(..12) {
        0 => datagram(Header { sequence: a, message: b, ..header(Kind::Data) }, records),
        1 => datagram(Header { sequence: a, message: b, ..header(Kind::Repair) }, records),
        2 => datagram(
            Header { sequence: a, message: b, flags: flag::FRAGMENT, ..header(Kind::Data) },
            |payload| {
                data::emit_fragment(payload, 0, u32::MAX - 5);
                100
            },
        ),
        3 => datagram(Header { sequence: a, message: b, ..header(Kind::Announce) }, |payload| {
            Announce {
                age: 0,
                trail: c,
                trail_message: 1,
                idle_interval: u32::MAX,
                window: u32::MAX,
                datagram: 65_507,
                topic: "hostile.topic",
            }
            .emit(payload)
        }),
        4 => datagram(header(Kind::Heartbeat), |payload| {
            let mut list = Heartbeat::emit(payload, u32::MAX, u32::MAX, u32::MAX, ReceiverId(1));
            for _ in 0..40 {
                list.push_stream(&StreamState { stream: 1, trail: a, lead: b, next_message: c, limit: c });
            }
            list.length()
        }),
        5 => datagram(Header { flags: random.u8(..4), ..header(Kind::Ncf) }, |payload| {
            let mut list = Ncf::emit(payload);
            list.push_confirmation(&Confirmation { first: a.min(b), last: a.max(b), next_message: c });
            list.length()
        }),
        6 => datagram(Header { sequence: a, message: b, ..header(Kind::End) }, |payload| {
            End { trail: c }.emit(payload)
        }),
        // What goes to the publisher: a NAK for what was never sent, for everything, from nobody, from the receiver itself.
        7 | 8 => datagram(Header { flags: random.u8(..4), ..header(Kind::Nak) }, |payload| {
            let receiver = if random.bool() { victims.receiver } else { ReceiverId(random.u64(1..)) };
            let mut list = Nak::emit(payload, receiver, random.u32(..));
            list.push_range(Range { first: a, count: random.u32(1..) });
            list.length()
        }),
        9 | 10 => datagram(Header { flags: random.u8(..2), ..header(Kind::Status) }, |payload| {
            let receiver = if random.bool() { victims.receiver } else { ReceiverId(random.u64(1..)) };
            let mut list = Status::emit(payload, receiver, random.u32(..));
            list.push_position(&Position {
                stream: 1,
                ended: random.bool(),
                missed: 0,
                position: a,
                limit: b,
            });
            list.length()
        }),
        // A range that ends before it begins, and overlapping ones.
        _ => datagram(header(Kind::Nak), |payload| {
            let mut list = Nak::emit(payload, victims.receiver, 0);
            list.push_range(Range { first: a, count: 0 });
            list.push_range(Range { first: a, count: 7 });
            list.length()
        }),
    }
}

/// Attacks a publisher and a subscriber that go on all the while; checks that nothing is lost and everything is counted.
fn survive(
    number: u8,
    contract: Contract,
    forge: impl Fn(&mut fastrand::Rng, &Victims) -> Vec<u8> + Send + 'static,
) {
    let group = group(number);
    let mut subscriber =
        Subscriber::builder(group).interface("lo").contract(contract).drop_datagrams(0.05, 3).open().unwrap();
    let mut publisher = Publisher::builder(group).topic("hostile.topic").interface("lo").open().unwrap();
    let endpoint = publisher.endpoint().clone();
    let source = endpoint.source_id();
    let victims = Victims {
        group,
        publisher: endpoint.local_addr(),
        subscriber: subscriber.local_addr(),
        source,
        receiver: subscriber.receiver_id(),
    };
    let sent = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let (sent_too, over_too) = (Arc::clone(&sent), Arc::clone(&over));
    let before = resident();
    let reader = std::thread::spawn(move || {
        let mut next = 0_u64;
        loop {
            match subscriber.recv_timeout(DEADLINE).unwrap().expect("something in time") {
                Event::Message(message) if message.source() == source => {
                    let number = u64::from_le_bytes(message.payload()[..8].try_into().unwrap());
                    assert_eq!(number, next, "in order, once");
                    next += 1;
                }
                Event::Gap(gap) if gap.source() == source => panic!("{gap}"),
                Event::StreamEnd(stream) if stream.source() == source => {
                    return (next, subscriber.stats());
                }
                _ => {}
            }
        }
    });
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    let attacker = std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(u64::from(number));
        // The real sockets cannot be used; each of these has an address of its own.
        let sockets: Vec<UdpSocket> = (0..32).map(|_| socket()).collect();
        for round in 0..count() {
            let bytes = forge(&mut random, &victims);
            let to = match random.u8(..3) {
                0 => victims.group,
                1 => victims.publisher,
                _ => victims.subscriber,
            };
            // A full buffer of the victim's is no error of the attacker's.
            let _ = sockets[round as usize % sockets.len()].send_to(&bytes, to);
        }
        over_too.store(true, Ordering::Relaxed);
    });
    let publishing = std::thread::spawn(move || {
        let mut message = [0; 300];
        let mut number = 0_u64;
        while !over.load(Ordering::Relaxed) || number < 10_000 {
            message[..8].copy_from_slice(&number.to_le_bytes());
            publisher.send(&message[..8 + (number % 290) as usize]).unwrap();
            number += 1;
            sent_too.store(number, Ordering::Relaxed);
        }
        let endpoint = publisher.endpoint().clone();
        let closed = publisher.close(DEADLINE);
        (endpoint.stats(), closed)
    });
    attacker.join().unwrap();
    let (publisher_stats, closed) = publishing.join().unwrap();
    let (got, stats) = reader.join().unwrap();
    assert_eq!(got, sent.load(Ordering::Relaxed), "everything arrived");
    assert_eq!(closed, Ok(()), "and is confirmed");
    assert!(
        stats.rejected_total() > 0 && publisher_stats.rejected_total() > 0,
        "what was refused is counted"
    );
    assert!(stats.sources <= 1_024, "{stats:?}");
    let grown = resident().saturating_sub(before) >> 20;
    assert!(grown < 400, "memory grew by {grown} MiB");
    eprintln!("{got} messages whole; grown by {grown} MiB\n{stats:?}\n{publisher_stats:?}");
}

#[test]
fn garbage_is_counted_and_the_data_arrives_whole() {
    survive(1, Contract::Ordered, garbage);
}

#[test]
fn forgeries_are_counted_and_the_data_arrives_whole() {
    // Stamps of a clock that runs like the publisher's: it starts at one second.
    survive(2, Contract::Ordered, move |random, victims| {
        let stamp = if random.bool() { random.u64(..) } else { 1_000_000_000 + random.u64(..2_000_000_000) };
        forgery(random, victims, stamp)
    });
}
