//! Steady-state publishing and receiving allocate nothing: counted at the allocator, over real sockets.

#![allow(unsafe_code, reason = "an allocator that counts can be written in no other way")]

use nakcast::{Event, Publisher, Subscriber};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The system's allocator, and a count of what is asked of it while counting is on.
struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

impl Counting {
    fn count() {
        if ON.load(Ordering::Relaxed) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is passed on to the system's allocator as it is, which keeps the trait's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`, and the memory came from this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller keeps the promises of `GlobalAlloc::realloc`, and the memory came from this allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Publishes `count` messages of mixed sizes and receives them; gives the allocations made meanwhile, by all threads.
fn allocations(publisher: &mut Publisher, subscriber: &mut Subscriber, count: usize, large: usize) -> u64 {
    let payload = vec![7; large.max(2_000)];
    COUNT.store(0, Ordering::SeqCst);
    ON.store(true, Ordering::SeqCst);
    let (mut sent, mut got) = (0, 0);
    while got < count {
        // A few at a time, so that neither side waits for the other.
        for _ in 0..32.min(count - sent) {
            let size = if large > 0 && sent % 64 == 63 { large } else { (sent * 37) % 1_300 };
            publisher.send(&payload[..size]).unwrap();
            sent += 1;
        }
        publisher.flush().unwrap();
        while got < sent {
            match subscriber.recv_timeout(Duration::from_secs(20)).unwrap().expect("a message in time") {
                Event::Message(_) => got += 1,
                Event::Gap(gap) => panic!("{gap}"),
                _ => {}
            }
        }
    }
    ON.store(false, Ordering::SeqCst);
    COUNT.load(Ordering::SeqCst)
}

#[test]
fn steady_state_allocates_nothing() {
    let port = 40_000 + (std::process::id() % 20_000) as u16;
    for (number, (loss, large)) in
        [(0.0, 0), (0.0, 100_000), (0.05, 0), (0.05, 100_000)].into_iter().enumerate()
    {
        let group = SocketAddr::from(([239, 255, 78, 100 + number as u8], port));
        let mut subscriber =
            Subscriber::builder(group).interface("lo").drop_datagrams(loss, 1).open().unwrap();
        let mut publisher = Publisher::builder(group).interface("lo").window(4 << 20).open().unwrap();
        let reader = |subscriber: &mut Subscriber, publisher: &Publisher| {
            while publisher.receivers() == 0 {
                subscriber.recv_timeout(Duration::from_millis(20)).unwrap();
            }
        };
        reader(&mut subscriber, &publisher);
        // Rows and queues grow to what the load needs, once. A thread that first waits for another at a lock allocates, too,
        // once, however late that comes: further rounds tell it from what is asked for again and again.
        allocations(&mut publisher, &mut subscriber, 20_000, large);
        let mut round = || allocations(&mut publisher, &mut subscriber, 20_000, large);
        let counted = [round(), round(), round()];
        assert!(counted.contains(&0), "{counted:?} at loss {loss}, large messages of {large} bytes");
        drop(subscriber);
    }
}
