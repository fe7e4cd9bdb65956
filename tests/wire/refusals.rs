//! Each row of the specification's table of refusals, tried; and what lies just inside the limits, accepted.

use crate::{RECEIVER, datagram, extend, header, read_all, spec};
use nakcast::wire::extension::MUST_UNDERSTAND;
use nakcast::wire::{
    Announce, Body, Confirmation, Datagram, End, HEADER_LENGTH, Header, Heartbeat, Invalid, Kind,
    MAX_SEQUENCE, Nak, Ncf, Position, Range, ReceiverId, Status, StreamState, flag, seal_header,
};
use std::collections::BTreeSet;

/// A record of `tick`.
const RECORD: &[u8] = b"\x00\x04\x00\x00tick";

const ANNOUNCE: Announce = Announce {
    age: 5,
    trail: 3,
    trail_message: 4,
    idle_interval: 100_000,
    window: 8,
    datagram: 1408,
    topic: "prices.fx",
};

const STATE: StreamState = StreamState { stream: 1, trail: 3, lead: 7, next_message: 12, limit: 900 };

fn data() -> Vec<u8> {
    datagram(&header(Kind::Data), RECORD)
}

/// A datagram whose byte at `at` is another.
fn unsealed(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    assert_ne!(bytes[at], byte);
    bytes[at] = byte;
    bytes
}

/// The same, with a header checksum that holds all the same.
fn sealed(bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = unsealed(bytes, at, byte);
    seal_header(&mut bytes);
    bytes
}

fn written(kind: Kind, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    written_flagged(kind, 0, write)
}

fn written_flagged(kind: Kind, flags: u8, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut payload = [0; 1024];
    let length = write(&mut payload);
    datagram(&Header { flags, ..header(kind) }, &payload[..length])
}

/// An announce whose payload is changed after it was written.
fn announce_bytes(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = vec![0; 512];
    let length = ANNOUNCE.emit(&mut payload);
    payload.truncate(length);
    change(&mut payload);
    datagram(&header(Kind::Announce), &payload)
}

fn announce_topic(topic: &[u8]) -> Vec<u8> {
    announce_bytes(|payload| {
        payload.splice(36.., topic.iter().copied());
        payload[34..36].copy_from_slice(&(topic.len() as u16).to_be_bytes());
    })
}

fn announce(announce: Announce) -> Vec<u8> {
    written(Kind::Announce, |payload| announce.emit(payload))
}

fn heartbeat(idle_interval: u32, state: StreamState) -> Vec<u8> {
    written(Kind::Heartbeat, |payload| {
        let mut list = Heartbeat::emit(payload, idle_interval, 3, 72_000, RECEIVER);
        assert!(list.push_stream(&state));
        list.length()
    })
}

fn nak(receiver: ReceiverId, ranges: &[(u64, u32)]) -> Vec<u8> {
    written(Kind::Nak, |payload| {
        let mut list = Nak::emit(payload, receiver, 25_000);
        assert!(ranges.iter().all(|&(first, count)| list.push_range(Range { first, count })));
        list.length()
    })
}

fn ncf(flags: u8, ranges: &[(u64, u64, u64)]) -> Vec<u8> {
    written_flagged(Kind::Ncf, flags, |payload| {
        let mut list = Ncf::emit(payload);
        for &(first, last, next_message) in ranges {
            assert!(list.push_confirmation(&Confirmation { first, last, next_message }));
        }
        list.length()
    })
}

fn status(receiver: ReceiverId, stream: u32, position: u64, limit: u64) -> Vec<u8> {
    written(Kind::Status, |payload| {
        let mut list = Status::emit(payload, receiver, 40_000);
        assert!(list.push_position(&Position { stream, ended: false, missed: 2, position, limit }));
        list.length()
    })
}

fn end(trail: u64) -> Vec<u8> {
    written(Kind::End, |payload| End { trail }.emit(payload))
}

fn fragment(offset: u32, total: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = [offset.to_be_bytes(), total.to_be_bytes()].concat();
    payload.extend_from_slice(bytes);
    datagram(&Header { flags: flag::FRAGMENT, ..header(Kind::Data) }, &payload)
}

/// The payload that goes with a header of this type, and with `header(kind)`.
fn payload(kind: Kind) -> Vec<u8> {
    let whole = match kind {
        Kind::Data | Kind::Repair => data(),
        Kind::Announce => announce(ANNOUNCE),
        Kind::Heartbeat => heartbeat(100_000, STATE),
        Kind::Nak => nak(RECEIVER, &[(2, 1)]),
        Kind::Ncf => ncf(flag::GONE, &[(2, 5, 9)]),
        Kind::Status => status(RECEIVER, 1, 8, 2055),
        Kind::End => end(3),
    };
    whole[HEADER_LENGTH..].to_vec()
}

const KINDS: [Kind; 8] = [
    Kind::Data,
    Kind::Repair,
    Kind::Announce,
    Kind::Heartbeat,
    Kind::Nak,
    Kind::Ncf,
    Kind::Status,
    Kind::End,
];

/// A sound datagram of each of these types, but for what `change` does to its header.
fn each(kinds: &[Kind], change: impl Fn(&mut Header)) -> Vec<Vec<u8>> {
    let changed = |&kind: &Kind| {
        let mut header = header(kind);
        change(&mut header);
        datagram(&header, &payload(kind))
    };
    kinds.iter().map(changed).collect()
}

fn header_cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let of_a_stream = [Kind::Data, Kind::Repair, Kind::Announce, Kind::Nak, Kind::Ncf, Kind::End];
    let of_messages = [Kind::Data, Kind::Repair];
    let of_a_place = [Kind::Announce, Kind::End];
    let numbered = [of_messages, of_a_place].concat();
    vec![
        ("short", vec![vec![], data()[..63].to_vec()]),
        ("magic", vec![sealed(data(), 0, b'm'), sealed(data(), 3, b'k')]),
        ("version", vec![sealed(data(), 4, 0), sealed(data(), 4, 2)]),
        ("header-small", vec![unsealed(data(), 7, 0), unsealed(data(), 7, 15)]),
        ("header-large", vec![unsealed(data(), 7, 19), unsealed(data(), 7, 255)]),
        ("header-checksum", vec![unsealed(data(), 6, 1), unsealed(data(), 60, 1)]),
        ("type", vec![sealed(data(), 5, 0), sealed(data(), 5, 9), sealed(data(), 5, 255)]),
        ("extension-empty", vec![extend(data(), &[5, 0, 0, 0]), extend(data(), &[5, 1, 0, 0, 0, 0, 0, 0])]),
        ("extension-large", vec![extend(data(), &[5, 2, 0, 0]), extend(data(), &[0, 255, 0, 0])]),
        (
            "extension-unknown",
            vec![
                extend(data(), &[MUST_UNDERSTAND | 1, 1, 0, 0]),
                extend(data(), &[5, 1, 0, 0, MUST_UNDERSTAND | 127, 1, 0, 0]),
            ],
        ),
        ("payload-length", vec![sealed(data(), 9, 9), sealed(data(), 8, 255), data()[..71].to_vec()]),
        ("payload-checksum", vec![unsealed(data(), HEADER_LENGTH + 5, b'T'), sealed(data(), 9, 7)]),
        ("stream-zero", each(&of_a_stream, |header| header.stream = 0)),
        ("sequence-zero", each(&of_messages, |header| header.sequence = 0)),
        (
            "sequence-large",
            [
                each(&numbered, |header| header.sequence = MAX_SEQUENCE + 1),
                each(&numbered, |header| header.sequence = u64::MAX),
            ]
            .concat(),
        ),
        ("message-zero", each(&numbered, |header| header.message = 0)),
        (
            "message-large",
            [
                each(&of_messages, |header| header.message = MAX_SEQUENCE + 1),
                each(&of_a_place, |header| header.message = MAX_SEQUENCE + 2),
                each(&numbered, |header| header.message = u64::MAX),
            ]
            .concat(),
        ),
    ]
}

fn data_cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let records = |payload: &[u8]| datagram(&header(Kind::Data), payload);
    let flagged =
        |payload: &[u8]| datagram(&Header { flags: flag::FRAGMENT, ..header(Kind::Repair) }, payload);
    vec![
        ("records-none", vec![records(&[]), datagram(&header(Kind::Repair), &[])]),
        ("records-head", vec![records(&[0]), records(&[RECORD, &[0, 0, 0]].concat())]),
        (
            "records-large",
            vec![
                records(b"\x00\x05\x00\x00tick"),
                records(b"\x00\x01\x00\x01tick"),
                records(b"\x00\x00\x00\x02tick"),
                records(&[RECORD, b"\xff\xff\x00\xff"].concat()),
            ],
        ),
        (
            "fragment-empty",
            vec![fragment(0, 8, b""), fragment(0, 0, b""), flagged(&[]), flagged(&[0, 0, 0, 0, 0, 0, 8])],
        ),
        (
            "fragment-outside",
            vec![
                fragment(0, 3, b"tick"),
                fragment(5, 8, b"tick"),
                fragment(u32::MAX, u32::MAX, b"t"),
                fragment(u32::MAX, 3, b"tick"),
            ],
        ),
    ]
}

fn announce_cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let at = |sequence: u64, it: Announce| {
        let mut payload = [0; 512];
        let length = it.emit(&mut payload);
        datagram(&Header { sequence, ..header(Kind::Announce) }, &payload[..length])
    };
    vec![
        ("announce-short", vec![announce_bytes(Vec::clear), announce_bytes(|payload| payload.truncate(35))]),
        (
            "announce-length",
            vec![
                announce_bytes(|payload| payload.push(b'x')),
                announce_bytes(|payload| payload.truncate(44)),
            ],
        ),
        ("announce-utf8", vec![announce_topic(b"prices.\xff"), announce_topic(b"\xc3")]),
        (
            "announce-topic",
            vec![
                announce_topic(b""),
                announce_topic(&[b'a'; 256]),
                announce_topic(b"a..b"),
                announce_topic(b".a"),
                announce_topic(b"a."),
                announce_topic(b"a.*"),
                announce_topic(b"a.>"),
                announce_topic(b"a b"),
                announce_topic(b"a\x1b[2J"),
                announce_topic("a\u{85}".as_bytes()),
            ],
        ),
        (
            "announce-trail",
            [0, MAX_SEQUENCE + 2, u64::MAX].map(|trail| announce(Announce { trail, ..ANNOUNCE })).to_vec(),
        ),
        (
            "announce-trail-message",
            [0, MAX_SEQUENCE + 2, u64::MAX]
                .map(|trail_message| announce(Announce { trail_message, ..ANNOUNCE }))
                .to_vec(),
        ),
        ("announce-idle", vec![announce(Announce { idle_interval: 0, ..ANNOUNCE })]),
        ("announce-window", vec![announce(Announce { window: 0, ..ANNOUNCE })]),
        (
            "announce-datagram",
            [0, 64, 65_508, u16::MAX].map(|datagram| announce(Announce { datagram, ..ANNOUNCE })).to_vec(),
        ),
        (
            "announce-beyond",
            vec![
                announce(Announce { trail: 9, ..ANNOUNCE }),
                announce(Announce { trail: MAX_SEQUENCE + 1, ..ANNOUNCE }),
                at(0, Announce { trail: 2, ..ANNOUNCE }),
            ],
        ),
        (
            "announce-wide",
            vec![
                announce(Announce { window: 4, ..ANNOUNCE }),
                at(11, ANNOUNCE),
                at(MAX_SEQUENCE, Announce { trail: 1, window: u32::MAX, ..ANNOUNCE }),
            ],
        ),
        ("announce-messages", vec![announce(Announce { trail_message: 13, ..ANNOUNCE })]),
    ]
}

fn heartbeat_cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let beat = |state| heartbeat(100_000, state);
    let cut = |length: usize| {
        let whole = payload(Kind::Heartbeat);
        datagram(&header(Kind::Heartbeat), &whole[..length])
    };
    vec![
        ("heartbeat-layout", vec![cut(0), cut(19), cut(21), cut(55)]),
        ("heartbeat-idle", vec![heartbeat(0, STATE)]),
        ("heartbeat-stream", vec![beat(StreamState { stream: 0, ..STATE })]),
        (
            "heartbeat-lead",
            [MAX_SEQUENCE + 1, u64::MAX].map(|lead| beat(StreamState { lead, ..STATE })).to_vec(),
        ),
        ("heartbeat-trail", [0, 9, u64::MAX].map(|trail| beat(StreamState { trail, ..STATE })).to_vec()),
        (
            "heartbeat-message",
            [0, MAX_SEQUENCE + 2, u64::MAX]
                .map(|next_message| beat(StreamState { next_message, ..STATE }))
                .to_vec(),
        ),
    ]
}

fn nak_and_ncf_cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let cut = |kind, length: usize| datagram(&header(kind), &payload(kind)[..length]);
    vec![
        ("nak-layout", vec![cut(Kind::Nak, 0), cut(Kind::Nak, 11), cut(Kind::Nak, 23)]),
        ("nak-receiver", vec![nak(ReceiverId(0), &[(2, 1)])]),
        ("nak-empty", vec![nak(RECEIVER, &[(2, 0)]), nak(RECEIVER, &[(2, 1), (5, 0)])]),
        ("nak-zero", vec![nak(RECEIVER, &[(0, 1)]), nak(RECEIVER, &[(0, 0)])]),
        (
            "nak-long",
            vec![
                nak(RECEIVER, &[(MAX_SEQUENCE, 2)]),
                nak(RECEIVER, &[(MAX_SEQUENCE + 1, 1)]),
                nak(RECEIVER, &[(u64::MAX, u32::MAX)]),
            ],
        ),
        (
            "nak-order",
            vec![
                nak(RECEIVER, &[(5, 2), (6, 1)]),
                nak(RECEIVER, &[(5, 1), (5, 1)]),
                nak(RECEIVER, &[(5, 1), (2, 1)]),
            ],
        ),
        ("ncf-layout", vec![cut(Kind::Ncf, 1), cut(Kind::Ncf, 23)]),
        ("ncf-zero", vec![ncf(0, &[(0, 5, 0)])]),
        ("ncf-reversed", vec![ncf(0, &[(5, 4, 0)]), ncf(flag::GONE, &[(u64::MAX, 1, 9)])]),
        ("ncf-long", vec![ncf(0, &[(2, MAX_SEQUENCE + 1, 0)]), ncf(0, &[(u64::MAX, u64::MAX, 0)])]),
        ("ncf-order", vec![ncf(0, &[(2, 5, 0), (5, 6, 0)]), ncf(0, &[(7, 9, 0), (2, 5, 0)])]),
        (
            "ncf-message",
            vec![ncf(flag::GONE, &[(2, 5, MAX_SEQUENCE + 2)]), ncf(flag::GONE, &[(2, 5, u64::MAX)])],
        ),
        ("ncf-gone", vec![ncf(flag::GONE, &[(2, 5, 0)]), ncf(flag::GONE, &[(2, 5, 9), (7, 8, 0)])]),
    ]
}

fn status_and_end_cases() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let cut = |kind, length: usize| datagram(&header(kind), &payload(kind)[..length]);
    vec![
        ("status-layout", vec![cut(Kind::Status, 0), cut(Kind::Status, 11), cut(Kind::Status, 39)]),
        ("status-receiver", vec![status(ReceiverId(0), 1, 8, 9)]),
        ("status-stream", vec![status(RECEIVER, 0, 8, 9)]),
        (
            "status-position",
            [0, MAX_SEQUENCE + 2, u64::MAX].map(|position| status(RECEIVER, 1, position, 9)).to_vec(),
        ),
        ("end-layout", vec![cut(Kind::End, 0), cut(Kind::End, 7), datagram(&header(Kind::End), &[1; 9])]),
        ("end-trail", [0, MAX_SEQUENCE + 2, u64::MAX].map(end).to_vec()),
        ("end-beyond", [9, MAX_SEQUENCE + 1].map(end).to_vec()),
    ]
}

#[test]
fn every_row_of_the_table_refuses_as_it_says() {
    let cases = [
        header_cases(),
        data_cases(),
        announce_cases(),
        heartbeat_cases(),
        nak_and_ncf_cases(),
        status_and_end_cases(),
    ]
    .concat();
    let tables = spec::tables("case");
    let rows: BTreeSet<&str> = tables[0].iter().map(|row| row[0]).collect();
    let tried: BTreeSet<&str> = cases.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows, tried, "every row has a case, every case a row");

    let mut counters = BTreeSet::new();
    for (name, datagrams) in cases {
        let row = tables[0].iter().find(|row| row[0] == name).expect("a row");
        let (index, error) = (row[2].parse::<usize>().expect("a counter"), row[3]);
        assert!(!datagrams.is_empty(), "{name}");
        for bytes in datagrams {
            let invalid = read_all(&bytes).expect_err(&format!("{name}: {bytes:02x?}"));
            let said = format!("{invalid:?}");
            let said = said.split(' ').next().unwrap_or_default();
            assert_eq!((said, invalid.index()), (error, index), "{name}: {bytes:02x?}");
            assert!(!invalid.to_string().is_empty());
        }
        counters.insert(index);
    }
    assert!(counters.into_iter().eq(0..Invalid::COUNT), "every counter has a row");
}

#[test]
fn what_lies_just_inside_is_accepted() {
    let max = MAX_SEQUENCE;
    let mut accepted = each(&KINDS, |_| {});
    accepted.extend(each(&[Kind::Data, Kind::Repair], |header| {
        (header.sequence, header.message) = (max, max);
    }));
    accepted.extend(each(&[Kind::End], |header| (header.sequence, header.message) = (max, max + 1)));
    accepted.extend(each(&[Kind::Heartbeat, Kind::Status], |header| header.stream = 0));
    let placed = |sequence, message, trail, trail_message| {
        let mut payload = [0; 512];
        let window = 4;
        let length = Announce { trail, trail_message, window, ..ANNOUNCE }.emit(&mut payload);
        datagram(&Header { sequence, message, ..header(Kind::Announce) }, &payload[..length])
    };
    accepted.extend([
        placed(0, 1, 1, 1),
        placed(4, 2, 1, 2),
        placed(4, 2, 5, 2),
        placed(max, max + 1, max + 1, max + 1),
        placed(max, max + 1, max - 3, 1),
        announce_topic(&[b'a'; 255]),
        announce_topic("a.é.日本".as_bytes()),
        announce(Announce { datagram: 65, ..ANNOUNCE }),
        announce(Announce { datagram: 65_507, ..ANNOUNCE }),
        heartbeat(1, StreamState { stream: 1, trail: 1, lead: 0, next_message: 1, limit: 0 }),
        heartbeat(1, StreamState { stream: 1, trail: max + 1, lead: max, next_message: max + 1, limit: max }),
        nak(RECEIVER, &[]),
        nak(RECEIVER, &[(1, 1), (2, 1)]),
        nak(RECEIVER, &[(max, 1)]),
        nak(RECEIVER, &[(max - u64::from(u32::MAX) + 1, u32::MAX)]),
        ncf(0, &[]),
        ncf(0, &[(1, 1, 0), (2, max, 0)]),
        ncf(flag::GONE, &[(1, max, max + 1)]),
        status(RECEIVER, 1, max + 1, 0),
        datagram(&header(Kind::Status), &payload(Kind::Status)[..12]),
        datagram(&header(Kind::Heartbeat), &payload(Kind::Heartbeat)[..20]),
        fragment(0, 4, b"tick"),
        fragment(u32::MAX - 4, u32::MAX, b"tick"),
    ]);
    for bytes in accepted {
        assert_eq!(read_all(&bytes), Ok(()), "{bytes:02x?}");
    }
}

#[test]
fn a_limit_that_is_none_reads_as_the_last_sequence_number() {
    for (sent, read) in [(0, 0), (9, 9), (MAX_SEQUENCE, MAX_SEQUENCE), (u64::MAX, MAX_SEQUENCE)] {
        let bytes = status(RECEIVER, 1, 8, sent);
        let Ok(Body::Status(status)) = Datagram::parse(&bytes).and_then(|datagram| datagram.body()) else {
            panic!("a limit of {sent} is refused");
        };
        assert!(status.positions().map(|position| position.limit).eq([read]));
        let bytes = heartbeat(1, StreamState { limit: sent, ..STATE });
        let Ok(Body::Heartbeat(beat)) = Datagram::parse(&bytes).and_then(|datagram| datagram.body()) else {
            panic!("a limit of {sent} is refused");
        };
        assert!(beat.streams().map(|state| state.map(|state| state.limit)).eq([Ok(read)]));
    }
}

#[test]
fn an_entry_of_a_heartbeat_that_is_refused_leaves_the_others() {
    let bytes = written(Kind::Heartbeat, |payload| {
        let mut list = Heartbeat::emit(payload, 100_000, 3, 72_000, RECEIVER);
        assert!(list.push_stream(&StreamState { trail: 9, ..STATE }));
        assert!(list.push_stream(&StreamState { stream: 2, ..STATE }));
        list.length()
    });
    let Ok(Body::Heartbeat(heartbeat)) = Datagram::parse(&bytes).and_then(|datagram| datagram.body()) else {
        panic!("the heartbeat as a whole is refused");
    };
    assert!(heartbeat.streams().eq([Err(Invalid::Number), Ok(StreamState { stream: 2, ..STATE })]));
}

#[test]
fn flags_without_a_meaning_reserved_fields_and_record_extensions_are_not_looked_at() {
    let known = |kind| match kind {
        Kind::Data | Kind::Repair => flag::FRAGMENT,
        Kind::Nak => flag::CATCHING_UP | flag::NAME_WANTED,
        Kind::Ncf => flag::GONE,
        Kind::Status => flag::LEAVING,
        Kind::Announce | Kind::Heartbeat | Kind::End => 0,
    };
    for kind in KINDS {
        let payload = payload(kind);
        let plain = datagram(&header(kind), &payload);
        let plain = Datagram::parse(&plain).expect("sound");
        let odd = datagram(&Header { flags: !known(kind), ..header(kind) }, &payload);
        let odd = sealed(sealed(odd, 10, 0xab), 11, 0xcd);
        let odd = Datagram::parse(&odd).expect("sound in spite of flags and reserved bytes");
        assert_eq!(odd.body(), plain.body(), "{kind}");
        assert!(plain.body().is_ok(), "{kind}");
        assert!((0..8).map(|bit| 1 << bit).all(|bit| odd.header.has(bit) == (known(kind) & bit == 0)));
    }

    let record = b"\x00\x04\xff\x02\x81\x00\xff\xff\x00\x00\x00\x00tick\x00\x00\x7f\x00";
    let odd = datagram(&header(Kind::Data), record);
    let Ok(Body::Records(records)) = Datagram::parse(&odd).and_then(|datagram| datagram.body()) else {
        panic!("flags and extensions of records are refused");
    };
    assert!(records.into_iter().eq([b"tick".as_slice(), b""]));

    let mut status = payload(Kind::Status);
    status[16] = 0xfe;
    status[17..20].fill(0xff);
    let odd = datagram(&header(Kind::Status), &status);
    let Ok(Body::Status(status)) = Datagram::parse(&odd).and_then(|datagram| datagram.body()) else {
        panic!("flags and reserved bytes of an entry are refused");
    };
    assert!(status.positions().all(|position| !position.ended));
}

#[test]
fn extensions_that_may_be_skipped_are() {
    let fill = [&[MUST_UNDERSTAND, 47][..], &[0xff; 186]].concat();
    for extensions in
        [&[0, 1, 0, 0][..], &[7, 2, 1, 2, 3, 4, 5, 6], &[127, 1, 0, 0, MUST_UNDERSTAND, 1, 9, 9], &fill]
    {
        let bytes = extend(data(), extensions);
        let datagram = Datagram::parse(&bytes).expect("nothing in it must be understood");
        assert_eq!((datagram.header, datagram.payload), (header(Kind::Data), RECORD));
    }
}

#[test]
fn the_first_check_that_fails_decides() {
    let mut bytes = vec![0xff; 80];
    assert_eq!(read_all(&bytes), Err(Invalid::Magic));
    bytes[..4].copy_from_slice(b"nakc");
    assert_eq!(read_all(&bytes), Err(Invalid::Version { version: 255 }));
    bytes[4] = 1;
    assert_eq!(read_all(&bytes), Err(Invalid::HeaderLength { length: 1020 }));
    bytes[7] = 17;
    assert_eq!(read_all(&bytes), Err(Invalid::HeaderChecksum));
    seal_header(&mut bytes);
    assert_eq!(read_all(&bytes), Err(Invalid::Kind { kind: 255 }));
    let bytes = sealed(bytes, 5, Kind::Data as u8);
    assert_eq!(read_all(&bytes), Err(Invalid::Extension));
    let bytes = sealed(bytes, 65, 1);
    assert_eq!(read_all(&bytes), Err(Invalid::ExtensionUnknown { id: 127 }));
    let bytes = sealed(bytes, 64, 127);
    assert_eq!(read_all(&bytes), Err(Invalid::PayloadLength { length: 65_535 }));
    let mut bytes = sealed(sealed(bytes, 8, 0), 9, 0);
    assert_eq!(read_all(&bytes), Err(Invalid::PayloadChecksum));
    bytes[56..60].fill(0); // the CRC-32 of nothing
    seal_header(&mut bytes);
    assert_eq!(read_all(&bytes), Err(Invalid::Number));
    bytes[24..40].fill(1);
    seal_header(&mut bytes);
    assert_eq!(read_all(&bytes), Err(Invalid::Fragment));
}
