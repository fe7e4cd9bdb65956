//! By arrival, of an application that does not take what is here.

use super::by_hand::{of, small};
use super::peers::{SOURCE, announce, data, emit, from, heartbeat, lone};
use nakcast::protocol::Time;
use nakcast::protocol::subscriber::{Contract, Subscriber};
use nakcast::protocol::{Event, GapReason};
use nakcast::wire::{Body, Datagram, Header, Kind, Nak, SourceId};
use std::time::Duration;

const NOW: Time = Time(1_000_000_000);

fn kept(core: &mut Subscriber, datagram: &[u8]) {
    core.handle_datagram(NOW, from(), datagram);
    core.park(datagram);
}

/// Nobody takes anything: what came is kept, as much as there is memory for.
#[test]
fn what_is_not_taken_bounds_how_far_a_publisher_may_go_and_what_is_asked_for() {
    for contract in [Contract::Ordered, Contract::Arrival] {
        // Four chunks of 64, of which one may be lost to the borders.
        const ROOM: u64 = 3 * 64;
        let mut core = small(contract, 1);
        (1..=200).for_each(|sequence| kept(&mut core, &of(1, sequence)));
        core.handle_datagram(NOW, from(), &heartbeat(1, 400, 401));
        let (mut now, mut limits, mut asked) = (NOW, Vec::new(), Vec::new());
        for _ in 0..1_000 {
            now = now + Duration::from_millis(1);
            core.handle_timeout(now);
            while let Some(transmit) = core.poll_transmit(now) {
                match Datagram::parse(core.datagram(&transmit)).unwrap().body().unwrap() {
                    Body::Status(status) => limits.extend(status.positions().map(|told| told.limit)),
                    Body::Nak(nak) => asked.extend(Nak::ranges(&nak).map(|range| range.last())),
                    _ => {}
                }
            }
            // It lives.
            core.handle_datagram(now, from(), &heartbeat(1, 400, 401));
        }
        assert!(
            limits.len() > 1 && limits.iter().all(|&limit| limit <= 1 + ROOM),
            "{contract:?}: {limits:?}"
        );
        assert!(asked.iter().all(|&last| last <= 4 * 64), "{contract:?}: {asked:?}");
    }
}

#[test]
fn what_is_given_up_is_told_when_what_came_before_it_is_taken() {
    let (mut core, _) = lone(Contract::Arrival);
    kept(&mut core, &announce(0, 1, 1_000, 100));
    for sequence in [1, 2, 5, 6, 7] {
        kept(&mut core, &data(Kind::Data, sequence, sequence));
    }
    core.handle_datagram(NOW, from(), &heartbeat(5, 7, 8));
    let mut told = Vec::new();
    while let Some(ready) = core.advance(&[]) {
        told.push(match core.event(&ready, &[]) {
            Event::Message(message) => message.number().to_string(),
            Event::Gap(gap) => format!("{} {}", gap.reason(), gap.messages()),
            // Where it begins, however much of it came before anybody looked.
            Event::StreamUp(stream) => format!("up at {}", stream.sequence()),
            other => panic!("{other:?}"),
        });
    }
    let gap = format!("{} 2", GapReason::AgedOut);
    assert_eq!(told, ["up at 1", "1", "2", &gap, "5", "6", "7"]);
}

#[test]
fn of_what_is_refused_not_even_the_source_is_believed() {
    let (mut core, _) = lone(Contract::Ordered);
    let records = emit(
        Header { sequence: 1, message: 1, ..Header::new(Kind::Data, SourceId(5), 1) },
        &[0, 200, 0, 0, 1],
    );
    let beat = emit(Header::new(Kind::Heartbeat, SourceId(5), 0), &[1; 7]);
    let mut told = announce(0, 1, 100, 100);
    // Its trail is 0.
    let header = Header { message: 1, ..Header::new(Kind::Announce, SOURCE, 1) };
    let payload = nakcast::wire::HEADER_LENGTH;
    told[payload + 8..payload + 16].fill(0);
    let length = told.len() - payload;
    header.emit(&mut told, length);
    for (count, refused) in (1..).zip([records, beat, told]) {
        core.handle_datagram(NOW, from(), &refused);
        assert_eq!((core.stats().sources, core.stats().rejected_total()), (0, count));
    }
    core.handle_datagram(NOW, from(), &announce(0, 1, 100, 100));
    assert_eq!(core.stats().sources, 1);
}
