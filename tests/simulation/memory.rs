//! Memory within the configured bound on both sides, as the allocator sees it: what the state machines say of themselves is
//! checked at every step of every run, what they take is counted here.

#![allow(unsafe_code, reason = "an allocator that counts can be written in no other way")]

use super::by_hand::end;
use super::peers::{SOURCE, announce, data, emit, from, heartbeat};
use super::published::{Lengths, payload};
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{self, Flow, Publisher};
use nakcast::protocol::subscriber::{self, Contract, Subscriber};
use nakcast::wire::{Datagram, Header, Kind, Nak, flag};
use nakcast::{Event, GapReason, ReceiverId, SourceId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

/// The system's allocator, and a count of the bytes that this thread took and did not give back.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends has nothing to count any more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call is passed on to the system's allocator as it is, which keeps the trait's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc_zeroed`. Untouched pages stay untouched.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`, and the memory came from this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::realloc`, and the memory came from this allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A state machine, and the bytes it holds.
struct Metered<T> {
    core: T,
    held: isize,
    most: isize,
}

impl<T> Metered<T> {
    fn new(make: impl FnOnce() -> T) -> Metered<T> {
        let before = HELD.get();
        let core = make();
        let held = HELD.get() - before;
        Metered { core, held, most: held }
    }

    /// Whatever `act` gives was allocated by it, so it gives nothing that is.
    fn with<R: Copy>(&mut self, act: impl FnOnce(&mut T) -> R) -> R {
        let before = HELD.get();
        let done = act(&mut self.core);
        self.held += HELD.get() - before;
        self.most = self.most.max(self.held);
        done
    }
}

/// Takes all that a subscriber tells; gives how many gaps are for want of room.
fn overruns_told(core: &mut Subscriber, current: &[u8]) -> u64 {
    let mut overruns = 0;
    while let Some(ready) = core.advance(current) {
        let event = core.event(&ready, current);
        overruns += u64::from(matches!(event, Event::Gap(gap) if gap.reason() == GapReason::Overrun));
    }
    overruns
}

/// Three streams with messages of all lengths over a way that loses two fifths there and nineteen twentieths back. Gives the most bytes that
/// publisher and subscriber held.
fn held(
    contract: Contract,
    at_publisher: publisher::Config,
    at_subscriber: subscriber::Config,
) -> (isize, isize) {
    let start = Time(1_000_000_000);
    let source = at_publisher.source;
    let lengths = Lengths::of(&at_publisher);
    let mut random = fastrand::Rng::with_seed(9);
    let mut to = Metered::new(|| Subscriber::new(subscriber::Config { contract, ..at_subscriber }, start));
    let mut from = Metered::new(|| Publisher::new(at_publisher, start));
    let (here, there) = (SocketAddr::from(([10, 1, 0, 0], 7_000)), SocketAddr::from(([10, 2, 0, 0], 7_000)));
    for topic in ["a", "b", "c"] {
        from.with(|core| core.open_stream(topic, start)).unwrap();
    }
    let (mut numbers, mut overruns) = ([0; 3], 0);
    for step in 0..20_000 {
        let now = start + Duration::from_micros(100) * step;
        let stream = random.usize(..3);
        let message = payload((source, stream as u32 + 1), numbers[stream] + 1, lengths);
        if from.with(|core| core.send(stream as u32 + 1, &message, now)).is_ok() {
            numbers[stream] += 1;
            from.with(|core| core.flush(stream as u32 + 1));
        }
        from.with(|core| core.handle_timeout(now));
        while from.with(|core| core.poll_transmit(now)).is_some() {
            let run: Vec<Vec<u8>> = from.core.datagrams().map(<[u8]>::to_vec).collect();
            for bytes in run {
                if random.u8(..5) < 2 {
                    continue;
                }
                to.with(|core| core.handle_datagram(now, here, &bytes));
                overruns += to.with(|core| overruns_told(core, &bytes));
            }
        }
        to.with(|core| core.handle_timeout(now));
        overruns += to.with(|core| overruns_told(core, &[]));
        while let Some(transmit) = to.with(|core| core.poll_transmit(now)) {
            let bytes = to.core.datagram(&transmit).to_vec();
            if random.u8(..20) == 0 {
                from.with(|core| core.handle_datagram(now, there, &bytes));
            }
        }
    }
    assert!(numbers.iter().sum::<u64>() > 2_000 && to.core.stats().missed > 1_000);
    assert!(overruns > 0, "the bound of messages in parts is reached");
    (from.most, to.most)
}

/// The transmit window is taken whole at the start; what is known of each datagram in it comes besides, 64 bytes at most, and
/// the rest of a large message for each stream. The reorder buffer is taken whole at the start; messages in parts come besides,
/// as much as was given for them. All the rest together is 64 KB on either side.
#[test]
fn memory_is_within_its_bound_as_the_allocator_sees_it() {
    const REST: isize = 64 << 10;
    for flow in [Flow::None, Flow::Slowest] {
        for contract in [Contract::Ordered, Contract::Arrival, Contract::Deadline(Duration::from_millis(5))] {
            let (window, reorder, reassembly, max_message) = (2 << 20, 1 << 20, 12 << 10, 32 << 10);
            let config = publisher::Config {
                datagram: 512,
                window,
                max_message,
                flow,
                ..publisher::Config::new(SourceId(7))
            };
            let receiver =
                subscriber::Config { reorder, reassembly, ..subscriber::Config::new(ReceiverId(1)) };
            let (from, to) = held(contract, config, receiver);
            let most = (window + window / 512 * 64 + 3 * max_message) as isize + REST;
            assert!(from <= most, "{flow:?} {contract:?}: a publisher held {from} bytes, of {most}");

            let most = (reorder + reassembly) as isize + REST;
            assert!(to <= most, "{flow:?} {contract:?}: a subscriber held {to} bytes, of {most}");
        }
    }
}

/// What a peer may have a subscriber remember of one stream has a bound, however much it says: here that one datagram more is missing,
/// again and again, and every other one comes or none does. All are asked for, and told, all the same.
#[test]
fn what_heartbeats_tell_is_missing_takes_no_more_memory_than_may_be() {
    for (leads, come) in [(200_000, false), (50_000, true)] {
        let mut now = Time(1_000_000_000);
        let config = subscriber::Config::new(ReceiverId(1));
        let most = config.reorder as isize + (4 << 20);
        let mut core = Metered::new(|| Subscriber::new(config, now));
        core.with(|core| core.handle_datagram(now, from(), &announce(0, 1, 1 << 20, 100)));
        for lead in 1..=leads {
            let told = match come && lead % 2 == 0 {
                true => data(Kind::Data, lead, lead),
                false => heartbeat(1, lead, lead + 1),
            };
            core.with(|core| core.handle_datagram(now, from(), &told));
        }
        assert!(core.most < most, "{} bytes for what is missing, of {most}", core.most);
        let mut core = core.core;
        core.handle_datagram(now, from(), &end(leads, leads + 1));
        while core.stats().messages < leads {
            now = now + Duration::from_millis(10);
            assert!(now < Time(600_000_000_000), "{:?}", core.stats());
            core.handle_timeout(now);
            let mut asked = Vec::new();
            while let Some(transmit) = core.poll_transmit(now) {
                let datagram = Datagram::parse(core.datagram(&transmit)).unwrap();
                if datagram.header.kind == Kind::Nak {
                    let nak = Nak::parse(datagram.payload).unwrap();
                    asked.extend(nak.ranges().flat_map(|range| range.first..=range.last()));
                }
            }
            for sequence in asked {
                let repair = data(Kind::Repair, sequence, sequence);
                core.handle_datagram(now, from(), &repair);
                assert_eq!(overruns_told(&mut core, &repair), 0);
            }
            core.handle_datagram(now, from(), &end(leads, leads + 1));
            assert_eq!(overruns_told(&mut core, &[]), 0);
        }
        assert_eq!((core.stats().streams, core.stats().lost), (0, 0), "its end was told");
    }
}

/// The same where the application takes nothing, and all of it is gone already.
#[test]
fn what_is_gone_and_not_told_yet_takes_no_more_memory_than_may_be() {
    const LEADS: u64 = 100_000;
    let now = Time(1_000_000_000);
    let config = subscriber::Config::new(ReceiverId(1));
    let most = config.reorder as isize + (4 << 20);
    let mut core = Metered::new(|| Subscriber::new(config, now));
    core.with(|core| core.handle_datagram(now, from(), &announce(0, 1, 1 << 20, 100)));
    // One at a time is told to be gone, and then one is missing.
    for lead in 1..=LEADS {
        let trail = if lead % 2 == 0 { lead } else { lead + 1 };
        core.with(|core| core.handle_datagram(now, from(), &heartbeat(trail, lead, lead + 1)));
    }
    assert!(core.most < most, "{} bytes for what is gone, of {most}", core.most);
    // What there was no room for is told again.
    for _ in 0..2 {
        core.with(|core| core.handle_datagram(now, from(), &heartbeat(LEADS + 1, LEADS, LEADS + 1)));
        overruns_told(&mut core.core, &[]);
    }
    assert_eq!(core.core.stats().lost, LEADS);
}

/// A message that is too long is told as a gap, and then nothing is kept of it.
#[test]
fn messages_that_are_refused_leave_nothing_behind() {
    let now = Time(1_000_000_000);
    let mut core = Metered::new(|| Subscriber::new(subscriber::Config::new(ReceiverId(1)), now));
    core.with(|core| core.handle_datagram(now, from(), &announce(0, 1, 1 << 20, 100)));
    let mut payload = [0; 18];
    nakcast::wire::data::emit_fragment(&mut payload, 0, u32::MAX);
    let mut refuse = |sequence| {
        let header = Header { sequence, message: sequence, ..Header::new(Kind::Data, SOURCE, 1) };
        let part = emit(Header { flags: flag::FRAGMENT, ..header }, &payload);
        core.with(|core| core.handle_datagram(now, from(), &part));
        assert_eq!(core.with(|core| overruns_told(core, &part)), 1);
        core.held
    };
    let before = (1..100).map(&mut refuse).last();
    assert_eq!((100..10_000).map(&mut refuse).last(), before);
}

/// By arrival parts of messages that are whole are known for a while; not for as long as there is always something to take.
#[test]
fn messages_that_came_in_parts_are_forgotten_though_there_is_always_one_to_take() {
    const PARTS: u64 = 400_000;
    let now = Time(1_000_000_000);
    let config = subscriber::Config { contract: Contract::Arrival, ..subscriber::Config::new(ReceiverId(1)) };
    let most = config.reorder as isize + (1 << 20);
    let mut core = Metered::new(|| Subscriber::new(config, now));
    let mut messages = 0;
    core.with(|core| core.handle_datagram(now, from(), &announce(0, 1, 1 << 20, 100)));
    for sequence in 1..=PARTS {
        let mut payload = [0; 9];
        let offset = u32::from(sequence % 2 == 0);
        nakcast::wire::data::emit_fragment(&mut payload, offset, 2);
        let (message, flags) = (sequence.div_ceil(2), nakcast::wire::flag::FRAGMENT);
        let header = Header { sequence, message, flags, ..Header::new(Kind::Data, SOURCE, 1) };
        let part = emit(header, &payload);
        messages += core.with(|core| {
            core.handle_datagram(now, from(), &part);
            core.park(&part);
            // A few are always left.
            let ready = if sequence > 10 && sequence % 2 == 0 { core.advance(&[]) } else { None };
            u64::from(ready.is_some_and(|ready| matches!(core.event(&ready, &[]), Event::Message(_))))
        });
    }
    assert!((PARTS / 2 - 10..PARTS / 2).contains(&messages), "{messages}");
    assert!(core.most < most, "{} bytes for parts of {messages} messages, of {most}", core.most);
}
