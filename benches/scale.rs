//! What a group costs as it grows, in the simulated network: NAKs, repairs, status and the time to recover, from one receiver
//! to ten thousand. Prints the figures of the README's table. No figure of it depends on the machine it runs on.
//!
//! `cargo bench --bench scale`; `-- --most 1000` leaves out the larger groups, `-- --seed 2` draws other losses.

use nakcast::protocol::{Time, publisher, subscriber};
use nakcast::sim::{Core, Link, Network, Observer, SubscriberId};
use nakcast::wire::{Datagram, Kind};
use nakcast::{ReceiverId, SourceId};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const GROUPS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// From the publisher to a receiver and back.
const ROUND_TRIP: Duration = Duration::from_millis(1);
/// Datagrams a second, and the bytes of the one message in each.
const RATE: u32 = 10_000;
const MESSAGE: usize = 1_000;
/// Bytes of a status message on one stream.
const STATUS: u64 = 104;

/// Whose loss it is.
#[derive(Clone, Copy)]
enum Loss {
    /// On the publisher's link: all lose the same.
    Shared(f64),
    /// On each receiver's own link.
    Private(f64),
}

/// When each receiver got what it had lost.
struct Recovery {
    /// Which datagrams each receiver has, a bit for each.
    here: Vec<Vec<u64>>,
    /// From when a datagram would have come to when its repair did, nanoseconds.
    took: Vec<u64>,
    /// Datagrams that somebody lost.
    lost: Vec<u64>,
    delay: Duration,
    from: u64,
}

#[derive(Clone)]
struct Watch(Rc<RefCell<Recovery>>);

impl Observer for Watch {
    fn received(&mut self, now: Time, by: Core<'_>, _: std::net::SocketAddr, bytes: &[u8]) {
        let Core::Subscriber(id, _) = by else { return };
        let Ok(datagram) = Datagram::parse(bytes) else { return };
        let header = &datagram.header;
        if !matches!(header.kind, Kind::Data | Kind::Repair) {
            return;
        }
        let mut recovery = self.0.borrow_mut();
        let Some(sequence) = header.sequence.checked_sub(recovery.from) else { return };
        let (word, bit) = ((sequence / 64) as usize, 1_u64 << (sequence % 64));
        let here = &mut recovery.here[number(id)];
        if here[word] & bit != 0 {
            return;
        }
        here[word] |= bit;
        if header.kind == Kind::Repair {
            let due = Time(header.sent) + recovery.delay;
            recovery.took.push(u64::try_from(now.since(due).as_nanos()).unwrap_or(u64::MAX));
            recovery.lost[word] |= bit;
        }
    }
}

fn number(id: SubscriberId) -> usize {
    id.to_string()[1..].parse().expect("a subscriber is shown as its number")
}

/// The figures of one run.
struct Row {
    lost: u64,
    naks: f64,
    naks_each: f64,
    repairs: f64,
    /// Of status: datagrams a second, and bytes for each byte of data.
    statuses: [f64; 2],
    recovery: [f64; 3],
    missing: u64,
}

fn run(group: usize, loss: Loss, datagrams: u64, seed: u64) -> Row {
    let mut network = Network::new(seed);
    let mut ids = fastrand::Rng::with_seed(seed);
    let delay = ROUND_TRIP / 4;
    let wire = Link::with_delay(delay);
    let members: Vec<SubscriberId> = (0..group)
        .map(|_| {
            let id = ReceiverId(ids.u64(1..));
            let config = subscriber::Config { reorder: 2 << 20, ..subscriber::Config::new(id) };
            let member = network.add_subscriber(config, wire, wire);
            network.keep_told(member, false);
            member
        })
        .collect();
    let config = publisher::Config { window: 32 << 20, ..publisher::Config::new(SourceId(7)) };
    let publisher = network.add_publisher(config, wire, wire);
    let stream = network.open_stream(publisher, "t").expect("a window for one stream");
    // Until all of them have been heard from: the more there are the rarer each speaks.
    while (network.publisher(publisher).stats().receivers as usize) < group {
        network.run_for(Duration::from_millis(100));
    }
    match loss {
        Loss::Shared(loss) => network.links(publisher).0.loss = loss,
        Loss::Private(loss) => members.iter().for_each(|&member| network.links(member).1.loss = loss),
    }
    let words = datagrams as usize / 64 + 1;
    let recovery = Recovery {
        here: vec![vec![0; words]; group],
        took: Vec::new(),
        lost: vec![0; words],
        delay: 2 * delay,
        from: 1,
    };
    let watch = Watch(Rc::new(RefCell::new(recovery)));
    network.observe(watch.clone());
    let before = network.publisher(publisher).stats();
    let begun = network.now();
    for _ in 0..datagrams {
        network.publish(publisher, stream, vec![7; MESSAGE]);
        network.run_for(Duration::from_secs(1) / RATE);
    }
    let seconds = network.now().since(begun).as_secs_f64();
    let statuses = network.publisher(publisher).stats().statuses - before.statuses;
    match loss {
        Loss::Shared(_) => network.links(publisher).0.loss = 0.0,
        Loss::Private(_) => members.iter().for_each(|&member| network.links(member).1.loss = 0.0),
    }
    network.run_for(ROUND_TRIP * 200);
    let after = network.publisher(publisher).stats();
    let mut recovery = watch.0.borrow_mut();
    recovery.took.sort_unstable();
    let lost: u64 = recovery.lost.iter().map(|word| u64::from(word.count_ones())).sum();
    let here: u64 = recovery.here.iter().flatten().map(|word| u64::from(word.count_ones())).sum();
    let per = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
    let at = |part: f64| {
        let last = recovery.took.len().saturating_sub(1);
        let index = ((last as f64 * part).ceil() as usize).min(last);
        recovery.took.get(index).map_or(0.0, |&nanos| nanos as f64 / ROUND_TRIP.as_nanos() as f64)
    };
    Row {
        lost,
        naks: per(after.naks - before.naks, lost),
        naks_each: per(after.naks - before.naks, recovery.took.len() as u64),
        repairs: per(after.repair_bytes - before.repair_bytes, after.datagram_bytes - before.datagram_bytes),
        statuses: [
            statuses as f64 / seconds,
            per(statuses * STATUS, after.datagram_bytes - before.datagram_bytes),
        ],
        recovery: [at(0.5), at(0.99), at(1.0)],
        missing: datagrams * group as u64 - here,
    }
}

fn main() {
    let mut most = usize::MAX;
    let mut seed = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|value| value.parse().ok());
        match argument.as_str() {
            "--most" => most = value().expect("--most takes a number of receivers"),
            "--seed" => seed = value().expect("--seed takes a number") as u64,
            // What `cargo bench` says to every benchmark.
            "--bench" => {}
            other => panic!("{other}: there are --most RECEIVERS and --seed NUMBER"),
        }
    }
    println!(
        "| receivers | loss | datagrams lost by someone | NAKs for each | NAKs for each receiver's loss | repair bytes per data byte | \
         status datagrams a second | status bytes per data byte | recovery p50 | p99 | max |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for group in GROUPS.into_iter().filter(|&group| group <= most) {
        for (name, loss) in [
            ("shared 1%", Loss::Shared(0.01)),
            ("private 0.1%", Loss::Private(0.001)),
            ("private 1%", Loss::Private(0.01)),
        ] {
            // As many as say something of the largest recovery, and as a large group can be simulated in a minute.
            let datagrams = if group > 1_000 { 5_000 } else { 50_000_000 / group.max(1_000) as u64 };
            let row = run(group, loss, datagrams, seed);
            let [half, late, last] = row.recovery;
            println!(
                "| {group} | {name} | {} | {:.1} | {:.2} | {:.3} | {:.0} | {:.4} | {half:.1} | {late:.1} | {last:.1} |",
                row.lost, row.naks, row.naks_each, row.repairs, row.statuses[0], row.statuses[1]
            );
            assert_eq!(row.missing, 0, "every datagram comes in the end");
        }
    }
    println!(
        "\nRecovery in round trips of {ROUND_TRIP:?}, from when a datagram would have come. {RATE} datagrams a second."
    );
}
