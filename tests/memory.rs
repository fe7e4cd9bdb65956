//! What streams, sources and receivers cost, counted at the allocator, against what the settings' documentation says.

#![allow(unsafe_code, reason = "an allocator that counts can be written in no other way")]

use nakcast::protocol::{Time, publisher, subscriber};
use nakcast::wire::{Announce, HEADER_LENGTH, Header, Kind, Position, ReceiverId, SourceId, Status};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicIsize, Ordering};

/// The system's allocator, and the bytes it has lent.
struct Counting;

static LENT: AtomicIsize = AtomicIsize::new(0);

fn lend(bytes: usize, back: usize) {
    LENT.fetch_add(bytes as isize - back as isize, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it is, which keeps the trait's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        lend(layout.size(), 0);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        lend(0, layout.size());
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`, and the memory came from this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        lend(size, layout.size());
        // SAFETY: the caller keeps the promises of `GlobalAlloc::realloc`, and the memory came from this allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes lent for each of `count` things that `each` makes. Where tables double, the count decides how full they are: it is
/// a little above a power of two, where they are emptiest.
fn cost(count: u32, mut each: impl FnMut(u32)) -> usize {
    let before = LENT.load(Ordering::Relaxed);
    (1..=count).for_each(&mut each);
    let lent = LENT.load(Ordering::Relaxed) - before;
    usize::try_from(lent).unwrap() / count as usize
}

const COUNT: u32 = 4_400;
const START: Time = Time(1_000_000_000);

fn address(number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), 7_700)
}

fn announce(buffer: &mut [u8], source: u64, stream: u32, topic: &str) -> usize {
    let announce = Announce {
        age: 0,
        trail: 1,
        trail_message: 1,
        idle_interval: 500_000,
        window: 40_000,
        datagram: 1_408,
        topic,
    };
    let length = announce.emit(&mut buffer[HEADER_LENGTH..]);
    let header = Header::new(Kind::Announce, SourceId(source), stream);
    Header { sequence: 0, message: 1, stamp: 1, ..header }.emit(buffer, length);
    HEADER_LENGTH + length
}

fn listener(pattern: &str) -> subscriber::Subscriber {
    let config = subscriber::Config {
        patterns: vec![pattern.into()],
        max_sources: 1 << 20,
        ..subscriber::Config::new(ReceiverId(1))
    };
    subscriber::Subscriber::new(config, START)
}

/// One test, for what others allocate at the same time would be counted too.
#[test]
fn streams_sources_and_receivers_cost_what_their_settings_say() {
    let mut buffer = [0; 1_408];
    let mut wanted = listener(">");
    let subscribed = cost(COUNT, |number| {
        let length = announce(&mut buffer, 7, number, "topic.of.common.length");
        wanted.handle_datagram(START, address(1), &buffer[..length]);
    });
    assert_eq!(wanted.stats().streams, u64::from(COUNT));

    let mut unwanted = listener("another");
    let ignored = cost(COUNT, |number| {
        let length = announce(&mut buffer, 7, number, "topic.of.common.length");
        unwanted.handle_datagram(START, address(1), &buffer[..length]);
    });
    assert_eq!((unwanted.stats().streams, unwanted.stats().sources), (0, 1));

    let mut crowd = listener("another");
    let sources = cost(COUNT, |number| {
        let length = announce(&mut buffer, number.into(), 1, "topic.of.common.length");
        crowd.handle_datagram(START, address(number), &buffer[..length]);
    });
    assert_eq!(crowd.stats().sources, u64::from(COUNT));

    let mut publisher = publisher::Publisher::new(publisher::Config::new(SourceId(7)), START);
    let topics = [1, 2].map(|_| publisher.open_stream("t", START).unwrap());
    let receivers = cost(COUNT, |number| {
        let mut list = Status::emit(&mut buffer[HEADER_LENGTH..], ReceiverId(number.into()), 0);
        for stream in topics {
            list.push_position(&Position { stream, position: 1, limit: 1_000, missed: 0, ended: false });
        }
        let length = list.length();
        let header = Header::new(Kind::Status, SourceId(7), 0);
        Header { stamp: START.0, ..header }.emit(&mut buffer, length);
        publisher.handle_datagram(START, address(number), &buffer[..HEADER_LENGTH + length]);
    });
    assert_eq!(publisher.receivers_of(topics[1]), COUNT as usize);

    let config = publisher::Config { flow: publisher::Flow::None, ..publisher::Config::new(SourceId(7)) };
    let mut publisher = publisher::Publisher::new(config, START);
    let message = vec![1; 1 << 20];
    let over = cost(COUNT, |_| {
        let stream = publisher.open_stream("topic.of.common.length", START).unwrap();
        publisher.send(stream, &message, START).unwrap();
        while publisher.poll_transmit(START).is_some() {}
        publisher.close_stream(stream, START);
        while publisher.poll_transmit(START).is_some() {}
        publisher.release_stream(stream);
    });
    assert_eq!(publisher.stats().messages, u64::from(COUNT));

    let costs = [subscribed, ignored, sources, receivers, over];
    let documented = [7 << 10, 100, 900, 350 + 2 * 100, 1 << 10];
    assert!(costs.iter().zip(&documented).all(|(cost, most)| cost <= most), "{costs:?}");
}
