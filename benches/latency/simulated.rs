//! One publisher and one subscriber in the simulated network.

use super::{KINDS, Kind, LOSSES, Outcome, Panel, Picture, RATE, SIZE, SPACING};
use super::{contracts, curves, deadline, head, lost, print, written};
use nakcast::protocol::{Time, publisher, subscriber};
use nakcast::sim::{Link, Network, Observer, SubscriberId};
use nakcast::{Contract, Event, ReceiverId, SourceId};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const ROUND_TRIPS: [(&str, Duration); 3] = [
    ("1 ms", Duration::from_millis(1)),
    ("100 us", Duration::from_micros(100)),
    ("20 us", Duration::from_micros(20)),
];

/// When each message was published, and how long those that came took.
#[derive(Default)]
struct Times {
    published: Vec<Time>,
    took: Vec<u64>,
    lost: u64,
}

#[derive(Clone, Default)]
struct Watch(Rc<RefCell<Times>>);

impl Observer for Watch {
    fn told(&mut self, now: Time, _: SubscriberId, event: &Event<'_>) {
        let mut times = self.0.borrow_mut();
        match event {
            Event::Message(message) => {
                let published = times.published[message.number() as usize - 1];
                times.took.push(now.0 - published.0);
            }
            Event::Gap(gap) => times.lost += gap.messages(),
            _ => {}
        }
    }
}

/// Publishes messages at a steady rate over a link that loses some of what comes to the subscriber. The processors of both take
/// no time, so that a message that is not lost takes half a round trip.
pub(super) fn run(
    seed: u64,
    messages: u32,
    round_trip: Duration,
    contract: Contract,
    kind: Kind,
    loss: f64,
) -> Outcome {
    let mut network = Network::new(seed);
    let wire = Link::with_delay(round_trip / 4);
    let config = subscriber::Config { contract, ..subscriber::Config::new(ReceiverId(1)) };
    let subscriber = network.add_subscriber(config, wire, wire);
    network.keep_told(subscriber, false);
    let publisher = network.add_publisher(publisher::Config::new(SourceId(7)), wire, wire);
    let stream = network.open_stream(publisher, "t").expect("a window for one stream");
    let watch = Watch::default();
    network.observe(watch.clone());
    let publish = |network: &mut Network| {
        watch.0.borrow_mut().published.push(network.now());
        network.publish(publisher, stream, vec![7; SIZE]);
        network.run_for(SPACING);
    };
    // Until they know each other, and nothing is lost.
    (0..RATE / 5).for_each(|_| publish(&mut network));
    *network.links(subscriber).1 = kind.link(wire, loss);
    {
        let mut times = watch.0.borrow_mut();
        (times.took, times.lost) = (Vec::new(), 0);
    }
    (0..messages).for_each(|_| publish(&mut network));
    network.heal();
    network.run_for(Duration::from_secs(1));
    let times = watch.0.take();
    assert!(contract != Contract::Ordered || times.lost == 0, "what is ordered is not lost: {}", times.lost);
    Outcome::new(times.took, times.lost)
}

/// All losses, one after the other.
pub(super) fn sweep(
    seed: u64,
    messages: u32,
    round_trip: Duration,
    contract: Contract,
    kind: Kind,
) -> Vec<Outcome> {
    LOSSES.iter().map(|&loss| run(seed, messages, round_trip, contract, kind, loss)).collect()
}

pub(super) fn draw(seed: u64, messages: u32) {
    let mut panels = Vec::new();
    head();
    for at in 0..contracts(Duration::ZERO).len() {
        for (name, round_trip) in ROUND_TRIPS {
            let (contract_name, contract) = contracts(round_trip)[at];
            let title = match contract {
                Contract::Deadline(_) => {
                    let deadline = deadline(round_trip).as_micros();
                    format!("deadline of {deadline} us, round trip {name}")
                }
                _ => format!("{contract_name}, round trip {name}"),
            };
            let mut panel = Panel { title, ..Panel::default() };
            for (kind, kind_name) in KINDS {
                let outcomes = sweep(seed, messages, round_trip, contract, kind);
                print(&format!("{}, {kind_name}", panel.title), &outcomes);
                panel.curves.extend(curves(&outcomes, kind == Kind::Bursts));
                panel.rows.extend(lost(&format!("lost, {kind_name}").replace("in ", ""), &outcomes));
            }
            panels.push(panel);
        }
    }
    let picture = Picture {
        title: format!(
            "Latency against loss, simulated: one subscriber, {SIZE} bytes in each message, one every {SPACING:?}"
        ),
        columns: ROUND_TRIPS.len(),
        styles: ["losses come alone", "losses come in bursts of 5 datagrams"],
        panels,
    };
    written("simulated.svg", &picture);
}
