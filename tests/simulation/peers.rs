//! What a peer says that cannot be, or can harm.

use nakcast::protocol::subscriber::{self, Contract};
use nakcast::protocol::{EndReason, Event, GapReason, Time};
use nakcast::wire::{
    Announce, Confirmation, Datagram, End, HEADER_LENGTH, Header, Heartbeat, Kind, Ncf, ReceiverId, SourceId,
    Status, StreamState, flag,
};
use std::net::SocketAddr;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SOURCE: SourceId = SourceId(99);

pub(super) fn emit(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; HEADER_LENGTH];
    datagram.extend_from_slice(payload);
    header.emit(&mut datagram, payload.len());
    datagram
}

pub(super) fn announce(lead: u64, message: u64, window: u32, datagram: u16) -> Vec<u8> {
    let mut payload = [0; 200];
    let announce = Announce {
        age: 0,
        trail: 1.max((lead + 1).saturating_sub(u64::from(window))),
        trail_message: 1,
        idle_interval: 500_000,
        window,
        datagram,
        topic: "t",
    };
    let length = announce.emit(&mut payload);
    emit(Header { sequence: lead, message, ..Header::new(Kind::Announce, SOURCE, 1) }, &payload[..length])
}

pub(super) fn heartbeat(trail: u64, lead: u64, next_message: u64) -> Vec<u8> {
    let mut payload = [0; 200];
    let mut list = Heartbeat::emit(&mut payload, 500_000, 1, 1, ReceiverId(0));
    list.push_stream(&StreamState { stream: 1, trail, lead, next_message, limit: u64::MAX });
    let length = list.length();
    emit(Header::new(Kind::Heartbeat, SOURCE, 0), &payload[..length])
}

pub(super) fn data(kind: Kind, sequence: u64, message: u64) -> Vec<u8> {
    let mut payload = [0; 5];
    emit_record_in(&mut payload);
    emit(Header { sequence, message, ..Header::new(kind, SOURCE, 1) }, &payload)
}

fn emit_record_in(payload: &mut [u8; 5]) {
    nakcast::wire::data::emit_record(payload, 1);
}

/// Where they come from.
pub(super) fn from() -> SocketAddr {
    SocketAddr::from(([10, 9, 9, 9], 9))
}

/// Hands datagrams to a subscriber, and everything it has to do besides.
fn feed(core: &mut subscriber::Subscriber, now: &mut Time, datagrams: &[Vec<u8>]) {
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    for datagram in datagrams {
        *now = *now + Duration::from_micros(10);
        core.handle_datagram(*now, from, datagram);
        while let Some(ready) = core.advance(datagram) {
            let _ = core.event(&ready, datagram);
        }
        for _ in 0..100 {
            if core.poll_transmit(*now).is_none() {
                break;
            }
        }
        core.handle_timeout(*now);
        let _ = core.poll_timeout(*now);
    }
}

pub(super) fn lone(contract: Contract) -> (subscriber::Subscriber, Time) {
    let now = Time(1_000_000_000);
    let config = subscriber::Config { contract, reorder: 1 << 20, ..subscriber::Config::new(ReceiverId(1)) };
    (subscriber::Subscriber::new(config, now), now)
}

const CONTRACTS: [Contract; 4] = [
    Contract::Ordered,
    Contract::Deadline(Duration::from_millis(1)),
    Contract::Arrival,
    Contract::BestEffort,
];

#[test]
fn numbers_at_the_far_end_are_no_harm() {
    use nakcast::wire::MAX_SEQUENCE as MAX;
    for contract in CONTRACTS {
        let (mut core, mut now) = lone(contract);
        feed(&mut core, &mut now, &[announce(0, 1, u32::MAX, 1_408)]);
        let mut fragment = [0; 9];
        nakcast::wire::data::emit_fragment(&mut fragment, 0, 100);
        let far = [
            data(Kind::Data, 1, u64::MAX),
            data(Kind::Data, u64::MAX, 1),
            emit(
                Header {
                    sequence: 1,
                    message: u64::MAX,
                    flags: flag::FRAGMENT,
                    ..Header::new(Kind::Data, SOURCE, 1)
                },
                &fragment,
            ),
            emit(
                Header {
                    sequence: 1,
                    message: u64::MAX,
                    flags: flag::FRAGMENT,
                    ..Header::new(Kind::Data, SOURCE, 5)
                },
                &fragment,
            ),
            heartbeat(MAX - 1, MAX - 1, u64::MAX),
            heartbeat(MAX - 1, MAX - 1, MAX),
            heartbeat(1, 5, 6),
            data(Kind::Repair, MAX - 2, MAX - 1),
            data(Kind::Repair, MAX / 2, MAX / 2),
            data(Kind::Repair, 7, 7),
        ];
        feed(&mut core, &mut now, &far);
        let mut payload = [0; 100];
        let mut list = Ncf::emit(&mut payload);
        list.push_confirmation(&Confirmation { first: 1, last: MAX - 1, next_message: u64::MAX });
        let length = list.length();
        let gone =
            emit(Header { flags: flag::GONE, ..Header::new(Kind::Ncf, SOURCE, 1) }, &payload[..length]);
        let length = End { trail: MAX }.emit(&mut payload);
        let over = |message| {
            emit(
                Header { sequence: MAX - 1, message, ..Header::new(Kind::End, SOURCE, 1) },
                &payload[..length],
            )
        };
        feed(&mut core, &mut now, &[gone, over(u64::MAX), over(MAX)]);
        assert!(core.stats().rejected_total() > 0);
    }
}

#[test]
fn a_datagram_no_wire_can_carry_is_not_believed() {
    let (mut core, mut now) = lone(Contract::Ordered);
    feed(&mut core, &mut now, &[announce(0, 1, 100, u16::MAX)]);
    assert_eq!(core.stats().streams, 0);
    feed(&mut core, &mut now, &[announce(0, 1, 100, 65_507)]);
    assert_eq!(core.stats().streams, 1);
}

#[test]
fn holes_all_over_a_huge_jump_cost_little() {
    for contract in CONTRACTS {
        let (mut core, mut now) = lone(contract);
        feed(
            &mut core,
            &mut now,
            &[announce(0, 1, u32::MAX, 64 + 5), heartbeat(1, 4_000_000_000, 4_000_000_001)],
        );
        let scattered: Vec<_> =
            (1..20_000).map(|at| data(Kind::Repair, at * 200_000, at * 200_000)).collect();
        feed(&mut core, &mut now, &scattered);
        let near: Vec<_> = (1..20_000).map(|at| data(Kind::Repair, at * 2, at * 2)).collect();
        feed(&mut core, &mut now, &near);
    }
}

#[test]
fn names_that_nobody_tells_are_asked_for_ever_more_rarely() {
    let (mut core, mut now) = lone(Contract::Ordered);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    for stream in 1..=5_000 {
        let mut payload = [0; 5];
        emit_record_in(&mut payload);
        let header = Header { sequence: 1, message: 1, ..Header::new(Kind::Data, SOURCE, stream) };
        core.handle_datagram(now, from, &emit(header, &payload));
    }
    assert!(core.stats().streams_refused > 0);
    let mut asked = 0;
    for _ in 0..20_000 {
        now = now + MILLISECOND;
        core.handle_datagram(now, from, &heartbeat(1, 0, 1));
        while core.poll_transmit(now).is_some() {
            asked += 1;
        }
        core.handle_timeout(now);
    }
    assert!(asked < 4_096 * 20, "{asked}");
}

/// Messages by number, and gaps by reason and size.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heard {
    pub(super) messages: Vec<u64>,
    pub(super) gaps: Vec<(GapReason, u64)>,
    pub(super) ends: Vec<EndReason>,
}

impl Heard {
    pub(super) fn take(&mut self, core: &mut subscriber::Subscriber, datagram: &[u8]) {
        while let Some(ready) = core.advance(datagram) {
            let event = core.event(&ready, datagram);
            match event {
                Event::Message(message) => self.messages.push(message.number()),
                Event::Gap(gap) => self.gaps.push((gap.reason(), gap.messages())),
                Event::StreamEnd(stream) => self.ends.extend(stream.end_reason()),
                _ => {}
            }
        }
    }
}

/// What is missing is asked for, and each time something comes that cannot be it.
fn contradicted(repair: impl Fn(u32) -> Vec<u8>) -> (Heard, u32) {
    let (mut core, mut now) = lone(Contract::Ordered);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let mut heard = Heard::default();
    for datagram in [announce(0, 1, 100, 100), data(Kind::Data, 1, 1), data(Kind::Data, 3, 3)] {
        core.handle_datagram(now, from, &datagram);
        heard.take(&mut core, &datagram);
    }
    let mut naks = 0;
    for _ in 0..2_000 {
        now = now + MILLISECOND;
        let mut asked = false;
        while let Some(transmit) = core.poll_transmit(now) {
            let sent = Datagram::parse(core.datagram(&transmit)).unwrap().header;
            asked |= sent.kind == Kind::Nak && !sent.has(flag::NAME_WANTED);
        }
        let answer = if asked { repair(naks) } else { heartbeat(1, 3, 4) };
        naks += u32::from(asked);
        core.handle_datagram(now, from, &answer);
        heard.take(&mut core, &answer);
        core.handle_timeout(now);
    }
    (heard, naks)
}

#[test]
fn what_is_contradicted_whenever_it_is_asked_for_is_given_up() {
    let mut long = vec![0; 200];
    nakcast::wire::data::emit_record(&mut long, 196);
    let too_long = emit(Header { sequence: 2, message: 2, ..Header::new(Kind::Repair, SOURCE, 1) }, &long);
    for impossible in [data(Kind::Repair, 2, 9), too_long] {
        let (heard, naks) = contradicted(|_| impossible.clone());
        let gaps = vec![(GapReason::Contradiction, 1)];
        assert_eq!(heard, Heard { messages: vec![1, 3], gaps, ends: vec![] });
        assert!((2..10).contains(&naks), "{naks} NAKs");
    }
    // One that does not fit is no reason to give up.
    let (heard, naks) = contradicted(|naks| data(Kind::Repair, 2, if naks == 0 { 9 } else { 2 }));
    assert_eq!((heard, naks), (Heard { messages: vec![1, 2, 3], ..Heard::default() }, 2));
}

#[test]
fn what_is_over_and_forgotten_is_not_heard_twice_and_is_said_to_have_ended() {
    let (mut core, now) = {
        let now = Time(1_000_000_000);
        let config = subscriber::Config { max_streams: 3, ..subscriber::Config::new(ReceiverId(1)) };
        (subscriber::Subscriber::new(config, now), now)
    };
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let mut heard = Heard::default();
    let of = |stream: u32| {
        let mut payload = [0; 5];
        emit_record_in(&mut payload);
        let mut name = [0; 100];
        let (age, idle_interval, window, topic) = (0, 500_000, 100, "t");
        let announce =
            Announce { age, trail: 1, trail_message: 1, idle_interval, window, datagram: 1_408, topic };
        let length = announce.emit(&mut name);
        let header =
            |kind, sequence, message| Header { sequence, message, ..Header::new(kind, SOURCE, stream) };
        let mut end = [0; 16];
        let ended = End { trail: 1 }.emit(&mut end);
        [
            emit(header(Kind::Announce, 0, 1), &name[..length]),
            emit(header(Kind::Data, 1, 1), &payload),
            emit(header(Kind::End, 1, 2), &end[..ended]),
        ]
    };
    const STREAMS: u32 = 20;
    for stream in 1..=STREAMS {
        for datagram in of(stream) {
            core.handle_datagram(now, from, &datagram);
            heard.take(&mut core, &datagram);
        }
        while core.poll_transmit(now).is_some() {}
    }
    let all = STREAMS as usize;
    assert_eq!(heard, Heard { messages: vec![1; all], gaps: vec![], ends: vec![EndReason::Closed; all] });
    assert_eq!(core.stats().streams_refused, 0);
    while core.poll_transmit(now).is_some() {}
    // Late copies of all of it.
    for stream in 1..=STREAMS {
        for datagram in of(stream) {
            core.handle_datagram(now, from, &datagram);
            heard.take(&mut core, &datagram);
        }
    }
    assert_eq!(heard.messages.len(), all, "none comes twice");
    assert_eq!(core.stats().duplicates, u64::from(STREAMS));
    let mut said = Vec::new();
    while let Some(transmit) = core.poll_transmit(now) {
        let datagram = Datagram::parse(core.datagram(&transmit)).unwrap();
        assert_eq!(datagram.header.kind, Kind::Status);
        let status = Status::parse(datagram.payload).unwrap();
        said.extend(status.positions().map(|position| (position.stream, position.ended, position.position)));
    }
    said.sort_unstable();
    assert_eq!(said, (1..=STREAMS).map(|stream| (stream, true, 2)).collect::<Vec<_>>());
}

/// An End of a stream, whose window holds nothing any more where the trail is behind its lead.
fn end_of(stream: u32, lead: u64, message: u64, trail: u64) -> Vec<u8> {
    let mut payload = [0; 16];
    let length = End { trail }.emit(&mut payload);
    emit(Header { sequence: lead, message, ..Header::new(Kind::End, SOURCE, stream) }, &payload[..length])
}

fn announce_of(stream: u32, topic: &str) -> Vec<u8> {
    let mut payload = [0; 100];
    let (idle_interval, datagram) = (500_000, 1_408);
    let announce =
        Announce { age: 0, trail: 1, trail_message: 1, idle_interval, window: 100, datagram, topic };
    let length = announce.emit(&mut payload);
    emit(Header { message: 1, ..Header::new(Kind::Announce, SOURCE, stream) }, &payload[..length])
}

#[test]
fn who_is_not_subscribed_says_nothing_of_an_end() {
    let now = Time(1_000_000_000);
    let config =
        subscriber::Config { patterns: vec!["other".into()], ..subscriber::Config::new(ReceiverId(1)) };
    let mut core = subscriber::Subscriber::new(config, now);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    core.handle_datagram(now, from, &announce_of(1, "t"));
    for _ in 0..5 {
        core.handle_datagram(now, from, &end_of(1, 3, 4, 1));
        assert!(core.poll_transmit(now).is_none());
    }
}

#[test]
fn streams_over_before_their_name_was_heard_take_no_room() {
    let mut now = Time(1_000_000_000);
    let config = subscriber::Config { max_streams: 2, ..subscriber::Config::new(ReceiverId(1)) };
    let mut core = subscriber::Subscriber::new(config, now);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let mut payload = [0; 5];
    emit_record_in(&mut payload);
    for stream in 1..=10 {
        let header = Header { sequence: 1, message: 1, ..Header::new(Kind::Data, SOURCE, stream) };
        core.handle_datagram(now, from, &emit(header, &payload));
        // Whoever asks for its name is told that it is over.
        for _ in 0..200 {
            now = now + MILLISECOND;
            while core.poll_transmit(now).is_some() {
                core.handle_datagram(now, from, &end_of(stream, 1, 2, 2));
            }
        }
    }
    core.handle_datagram(now, from, &announce_of(11, "t"));
    assert_eq!((core.stats().streams, core.stats().streams_refused), (1, 0));
}

#[test]
fn a_source_that_was_forgotten_is_not_heard_twice() {
    let mut now = Time(1_000_000_000);
    let config = subscriber::Config { max_streams: 1, ..subscriber::Config::new(ReceiverId(1)) };
    let mut core = subscriber::Subscriber::new(config, now);
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let mut heard = Heard::default();
    let mut first = [announce_of(1, "t"), data(Kind::Data, 1, 1)];
    for datagram in &first {
        core.handle_datagram(now, from, datagram);
        heard.take(&mut core, datagram);
    }
    assert_eq!(heard.messages, [1]);
    now = now + Duration::from_secs(60);
    core.handle_timeout(now);
    heard.take(&mut core, &[]);
    assert_eq!(heard.ends, [EndReason::Silent]);
    // Another takes its room.
    let other = {
        let mut payload = [0; 100];
        let announce = Announce {
            age: 0,
            trail: 1,
            trail_message: 1,
            idle_interval: 500_000,
            window: 100,
            datagram: 1_408,
            topic: "t",
        };
        let length = announce.emit(&mut payload);
        emit(Header { message: 1, ..Header::new(Kind::Announce, SourceId(5), 1) }, &payload[..length])
    };
    core.handle_datagram(now, SocketAddr::from(([10, 9, 9, 8], 9)), &other);
    assert_eq!((core.stats().streams, core.stats().sources), (1, 1));
    now = now + Duration::from_secs(60);
    core.handle_timeout(now);
    heard.take(&mut core, &[]);
    // Its announce says that it stands at its first message, which is here already.
    first[0] = announce(1, 2, 100, 1_408);
    for datagram in &first {
        core.handle_datagram(now, from, datagram);
        heard.take(&mut core, datagram);
    }
    let next = data(Kind::Data, 2, 2);
    core.handle_datagram(now, from, &next);
    heard.take(&mut core, &next);
    assert_eq!((heard.messages, heard.gaps), (vec![1, 2], vec![]));
}
