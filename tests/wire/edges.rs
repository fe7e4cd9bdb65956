//! Every number at the edges of its field, and every list cut at every length.

use crate::{datagram, header, read_all};
use nakcast::wire::data::emit_fragment;
use nakcast::wire::topic::{check, check_pattern};
use nakcast::wire::{
    Announce, Body, Confirmation, Datagram, End, FRAGMENT_LENGTH, Fragment, Header, Heartbeat, Kind,
    MAX_SEQUENCE, Nak, Ncf, Position, Range, ReceiverId, Status, StreamState, flag,
};

/// A payload of every type that is a list, with this many entries.
fn list(kind: Kind, entries: u64) -> (Vec<u8>, usize, usize) {
    let mut payload = vec![0xee; 1_000];
    let mut list = match kind {
        Kind::Heartbeat => Heartbeat::emit(&mut payload, 1, 0, 0, ReceiverId(0)),
        Kind::Nak => Nak::emit(&mut payload, ReceiverId(1), 0),
        Kind::Ncf => Ncf::emit(&mut payload),
        _ => Status::emit(&mut payload, ReceiverId(1), 0),
    };
    let fixed = list.length();
    for number in 1..=entries {
        let stream = number as u32;
        assert!(match kind {
            Kind::Heartbeat =>
                list.push_stream(&StreamState { stream, trail: 1, lead: number, next_message: 1, limit: 1 }),
            Kind::Nak => list.push_range(Range { first: number * 2, count: 1 }),
            Kind::Ncf =>
                list.push_confirmation(&Confirmation { first: number * 2, last: number * 2, next_message: 0 }),
            _ => list.push_position(&Position { stream, ended: false, missed: 0, position: 1, limit: 1 }),
        });
    }
    let length = list.length();
    payload.truncate(length);
    (payload, fixed, (length - fixed) / (entries.max(1) as usize))
}

#[test]
fn a_list_is_cut_between_its_entries_or_not_at_all() {
    for kind in [Kind::Heartbeat, Kind::Nak, Kind::Ncf, Kind::Status] {
        let (payload, fixed, entry) = list(kind, 4);
        for length in 0..=payload.len() {
            let bytes = datagram(&Header { flags: 0, ..header(kind) }, &payload[..length]);
            let whole = length >= fixed && (length - fixed).is_multiple_of(entry);
            assert_eq!(read_all(&bytes).is_ok(), whole, "{kind} of {length} bytes");
            let count = Datagram::parse(&bytes).expect("its header is sound").body().map(|body| match body {
                Body::Heartbeat(heartbeat) => heartbeat.streams().count(),
                Body::Nak(nak) => nak.ranges().count(),
                Body::Ncf(ncf) => ncf.confirmations().count(),
                Body::Status(status) => status.positions().count(),
                other => panic!("{other:?} is no list"),
            });
            assert_eq!(count.ok(), whole.then(|| (length - fixed) / entry), "{kind} of {length} bytes");
        }
    }
}

#[test]
fn a_list_takes_entries_until_there_is_no_room_for_another() {
    for kind in [Kind::Heartbeat, Kind::Nak, Kind::Ncf, Kind::Status] {
        let (_, fixed, entry) = list(kind, 1);
        for room in fixed..fixed + 3 * entry {
            let mut payload = vec![0; room];
            let mut list = match kind {
                Kind::Heartbeat => Heartbeat::emit(&mut payload, 1, 0, 0, ReceiverId(0)),
                Kind::Nak => Nak::emit(&mut payload, ReceiverId(1), 0),
                Kind::Ncf => Ncf::emit(&mut payload),
                _ => Status::emit(&mut payload, ReceiverId(1), 0),
            };
            let mut taken = 0;
            while match kind {
                Kind::Heartbeat => {
                    list.push_stream(&StreamState { stream: 1, trail: 1, lead: 0, next_message: 1, limit: 1 })
                }
                Kind::Nak => list.push_range(Range { first: 1, count: 1 }),
                Kind::Ncf => list.push_confirmation(&Confirmation { first: 1, last: 1, next_message: 0 }),
                _ => {
                    list.push_position(&Position { stream: 1, ended: true, missed: 0, position: 1, limit: 1 })
                }
            } {
                taken += 1;
            }
            assert_eq!(taken, (room - fixed) / entry, "{kind} in {room} bytes");
            assert_eq!(list.length(), fixed + taken * entry, "{kind} in {room} bytes");
        }
    }
}

/// What cannot be at an edge of its field is refused for its number, or for its range; what can be comes back.
#[test]
fn every_number_is_tried_at_the_edges_of_its_field() {
    let edges =
        [0, 1, 2, MAX_SEQUENCE - 1, MAX_SEQUENCE, MAX_SEQUENCE + 1, MAX_SEQUENCE + 2, u64::MAX - 1, u64::MAX];
    let number = |value: u64| (1..=MAX_SEQUENCE).contains(&value);
    let next = |value: u64| (1..=MAX_SEQUENCE + 1).contains(&value);
    let record = b"\x00\x00\x00\x00";
    for a in edges {
        for b in edges {
            let data = Header { sequence: a, message: b, ..header(Kind::Data) };
            assert_eq!(read_all(&datagram(&data, record)).is_ok(), number(a) && number(b), "data {a} {b}");

            let mut payload = [0; 64];
            let mut list = Heartbeat::emit(&mut payload, 1, 0, 0, ReceiverId(b));
            list.push_stream(&StreamState { stream: 1, trail: a, lead: b, next_message: a, limit: b });
            let length = list.length();
            let sound = b <= MAX_SEQUENCE && a >= 1 && a <= b + 1 && next(a);
            let bytes = datagram(&header(Kind::Heartbeat), &payload[..length]);
            assert_eq!(read_all(&bytes).is_ok(), sound, "a heartbeat {a} {b}");

            let mut list = Ncf::emit(&mut payload);
            list.push_confirmation(&Confirmation { first: a, last: b, next_message: 0 });
            let length = list.length();
            let bytes = datagram(&header(Kind::Ncf), &payload[..length]);
            assert_eq!(read_all(&bytes).is_ok(), number(a) && number(b) && a <= b, "an NCF {a} {b}");

            let mut list = Status::emit(&mut payload, ReceiverId(1), u32::MAX);
            list.push_position(&Position { stream: u32::MAX, ended: true, missed: 0, position: a, limit: b });
            let length = list.length();
            let bytes = datagram(&header(Kind::Status), &payload[..length]);
            assert_eq!(read_all(&bytes).is_ok(), next(a), "a status {a} {b}");

            let length = End { trail: a }.emit(&mut payload);
            let end = Header { sequence: b, message: 1, ..header(Kind::End) };
            let sound = b <= MAX_SEQUENCE && a >= 1 && a <= b + 1;
            assert_eq!(read_all(&datagram(&end, &payload[..length])).is_ok(), sound, "an end {a} {b}");
            let end = Header { sequence: 0, message: b, ..header(Kind::End) };
            End { trail: 1 }.emit(&mut payload);
            assert_eq!(read_all(&datagram(&end, &payload[..length])).is_ok(), next(b), "an end, next {b}");

            for window in [1, 2, u32::MAX] {
                let announce = Announce {
                    age: a,
                    trail: a,
                    trail_message: 1,
                    idle_interval: u32::MAX,
                    window,
                    datagram: 65_507,
                    topic: "a",
                };
                let length = announce.emit(&mut payload);
                let lead = Header { sequence: b, message: 1, ..header(Kind::Announce) };
                let sound = b <= MAX_SEQUENCE && a >= 1 && a <= b + 1 && b + 1 - a <= u64::from(window);
                let bytes = datagram(&lead, &payload[..length]);
                assert_eq!(read_all(&bytes).is_ok(), sound, "an announce {a} {b} {window}");
            }
        }
        for count in [0, 1, 2, u32::MAX] {
            let mut payload = [0; 64];
            let mut list = Nak::emit(&mut payload, ReceiverId(u64::MAX), 0);
            list.push_range(Range { first: a, count });
            let length = list.length();
            let last = u128::from(a) + u128::from(count) - u128::from(count != 0);
            let sound = a != 0 && count != 0 && last <= u128::from(MAX_SEQUENCE);
            let bytes = datagram(&header(Kind::Nak), &payload[..length]);
            assert_eq!(read_all(&bytes).is_ok(), sound, "a NAK {a} {count}");
        }
    }
    for (offset, total, length) in
        [(0, 1, 1), (u32::MAX - 1, u32::MAX, 1), (u32::MAX, u32::MAX, 1), (0, 0, 1)]
    {
        let mut payload = vec![0; FRAGMENT_LENGTH + length];
        emit_fragment(&mut payload, offset, total);
        let sound = u64::from(offset) + length as u64 <= u64::from(total);
        assert_eq!(Fragment::parse(&payload).is_ok(), sound, "{offset} of {total}");
    }
}

#[test]
fn what_is_wrong_with_a_topic_is_named() {
    for (topic, named) in [
        ("", "empty"),
        ("a..b", "empty level"),
        ("a.*", "`*`"),
        ("a b", "' '"),
        (&"a".repeat(256), "256 bytes, and may have at most 255"),
    ] {
        let told = check(topic).expect_err("it is no topic").to_string();
        assert!(told.contains(named), "{told:?} names {named:?}");
    }
    let told = check_pattern("a.>.b").expect_err("it is no pattern").to_string();
    assert!(told.contains("`>` the whole last one"), "{told:?}");
}

#[test]
fn a_line_says_whether_what_an_ncf_names_is_gone() {
    let mut payload = [0; 24];
    Ncf::emit(&mut payload).push_confirmation(&Confirmation { first: 2, last: 5, next_message: 9 });
    for (flags, told) in [(0, "being repaired 2..5 24 bytes"), (flag::GONE, "gone 2..5 next msg 9 24 bytes")]
    {
        let bytes = datagram(&Header { flags, ..header(Kind::Ncf) }, &payload);
        let line = Datagram::parse(&bytes).expect("it is sound").to_string();
        assert!(line.ends_with(told), "{line:?}");
    }
}
