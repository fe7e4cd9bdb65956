//! The same with real sockets: a publisher and a subscriber on threads of their own, each in a network namespace, joined by
//! veth. Loss is dropped by nftables where the subscriber receives, datagram by datagram.

use super::pace::{Pace, wall};
use super::simulated;
use super::support::{Host, Lab};
use super::{
    BURST, KINDS, Kind, LOSSES, Outcome, Panel, Picture, RATE, SIZE, SPACING, contracts, curves, head, lost,
    print, written,
};
use nakcast::{Contract, Event, Publisher, Subscriber};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const GROUP: &str = "239.255.77.1:7700";
/// Messages at each point in each run, and runs: a machine is not the same from one second to the next, so all points are
/// measured in turn, and the medians of the runs are shown.
const MESSAGES: u32 = 10_000;
const RUNS: usize = 3;
/// A message that nobody heard of before this is not waited for.
const WITHIN: Duration = Duration::from_secs(20);

fn degrade(host: &Host, kind: Kind, percent: f64) {
    match kind {
        Kind::Alone => host.loss(percent),
        Kind::Bursts => host.bursts(percent, BURST),
    }
}

/// Publishes at a steady rate, each message stamped with the moment it was due.
#[expect(clippy::disallowed_methods, reason = "it keeps the real clock's time")]
fn publish(mut publisher: Publisher, messages: u32) {
    let mut pace = Pace::new(u64::from(RATE)).expect("a rate");
    let begun = Instant::now();
    let mut message = [7; SIZE];
    for _ in 0..messages {
        message[..8].copy_from_slice(&pace.next(begun).to_le_bytes());
        publisher.send(&message).expect("sent");
    }
    publisher.close(WITHIN).expect("everything is confirmed");
}

fn receive(mut subscriber: Subscriber, messages: u32) -> Outcome {
    let (mut took, mut lost) = (Vec::with_capacity(messages as usize), 0);
    loop {
        match subscriber.recv_timeout(WITHIN).expect("received") {
            Some(Event::Message(message)) => {
                let stamp = message.payload().first_chunk().expect("a stamp");
                took.push(wall().saturating_sub(u64::from_le_bytes(*stamp)));
            }
            Some(Event::Gap(gap)) => lost += gap.messages(),
            Some(Event::StreamEnd(_)) => break,
            Some(_) => {}
            None => panic!("nothing came for {WITHIN:?}"),
        }
    }
    assert_eq!(took.len() as u64 + lost, u64::from(messages), "every message came, or was told as lost");
    Outcome::new(took, lost)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The medians of some runs of the same.
fn medians(runs: &[Outcome]) -> Outcome {
    Outcome {
        times: std::array::from_fn(|at| median(runs.iter().map(|run| run.times[at]).collect())),
        lost: median(runs.iter().map(|run| run.lost).collect()),
    }
}

fn run(lab: &Lab, contract: Contract, kind: Kind, loss: f64) -> Outcome {
    let group: SocketAddr = GROUP.parse().expect("an address");
    let (from, to) = (lab.host(0), lab.host(1));
    degrade(to, kind, 0.0);
    let open = || Subscriber::builder(group).interface("eth0").contract(contract).open();
    let subscriber = to.run(open).expect("a subscriber");
    let open = || Publisher::builder(group).topic("t").interface("eth0").open();
    let mut publisher = from.run(open).expect("a publisher");
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || receive(subscriber, MESSAGES));
        publisher.wait_for(1, Some(WITHIN)).expect("the subscriber is heard");
        degrade(to, kind, loss);
        publish(publisher, MESSAGES);
        receiver.join().expect("the subscriber ends with the stream")
    })
}

pub(super) fn compare(seed: u64, messages: u32) {
    let Some(lab) = Lab::new(2) else { return };
    // Each datagram is lost for itself, as on a wire.
    lab.host(0).segmentation_offload(false);
    // A message and its NAK are woken for alike: the round trip is twice what a message takes when nothing is lost.
    let one_way = (0..RUNS).map(|_| run(&lab, Contract::Ordered, Kind::Alone, 0.0).times[0]).collect();
    let round_trip = Duration::from_nanos((2_000.0 * median(one_way)) as u64);
    println!("A round trip: {round_trip:?}, twice the median with no loss. Real: medians of {RUNS} runs.\n");
    let cases: Vec<_> = KINDS
        .into_iter()
        .flat_map(|(kind, name)| contracts(round_trip).map(|contract| (kind, name, contract)))
        .collect();
    let mut measured = vec![[const { Vec::new() }; LOSSES.len()]; cases.len()];
    for _ in 0..RUNS {
        for ((kind, _, (_, contract)), points) in cases.iter().zip(&mut measured) {
            for (&loss, runs) in LOSSES.iter().zip(points) {
                runs.push(run(&lab, *contract, *kind, loss));
            }
        }
    }
    head();
    let mut panels = Vec::new();
    for ((kind, kind_name, (name, contract)), points) in cases.into_iter().zip(measured) {
        let title = match contract {
            Contract::Deadline(deadline) => format!("deadline of {} us, {kind_name}", deadline.as_micros()),
            _ => format!("{name}, {kind_name}"),
        };
        let real: Vec<Outcome> = points.iter().map(|runs| medians(runs)).collect();
        let simulated = simulated::sweep(seed, messages, round_trip, contract, kind);
        print(&format!("{title}, real"), &real);
        print(&format!("{title}, simulated"), &simulated);
        let mut panel = Panel { title, ..Panel::default() };
        panel.curves = curves(&real, false);
        panel.curves.extend(curves(&simulated, true));
        panel.rows = lost("lost, real", &real).into_iter().chain(lost("simulated", &simulated)).collect();
        panels.push(panel);
    }
    let picture = Picture {
        title: format!(
            "Latency against loss, real sockets and the simulation at their round trip of {} us: one subscriber, {SIZE} bytes in \
             each message, one every {SPACING:?}; medians of {RUNS} runs",
            round_trip.as_micros()
        ),
        columns: contracts(round_trip).len(),
        styles: ["real sockets, veth between two namespaces", "simulated"],
        panels,
    };
    written("real.svg", &picture);
}
