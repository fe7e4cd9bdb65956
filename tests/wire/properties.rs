//! What holds for any bytes, any numbers, any topics.

use crate::{SOURCE, datagram, extend, header, read_all, spec};
use nakcast::wire::data::{emit_fragment, emit_record, next_message};
use nakcast::wire::topic::{self, MAX_TOPIC};
use nakcast::wire::{
    Announce, Body, Confirmation, Datagram, End, FRAGMENT_LENGTH, Fragment, HEADER_LENGTH, Header, Heartbeat,
    Kind, MAX_DATAGRAM, MAX_SEQUENCE, Nak, Ncf, Position, RECORD_LENGTH, Range, ReceiverId, Records,
    SourceId, Status, StreamState, flag,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Data,
        Kind::Repair,
        Kind::Announce,
        Kind::Heartbeat,
        Kind::Nak,
        Kind::Ncf,
        Kind::Status,
        Kind::End,
    ])
}

/// Numbers of which the corners are more likely.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..40_u64, MAX_SEQUENCE - 3..=MAX_SEQUENCE + 3, u64::MAX - 3..=u64::MAX]
}

/// What a datagram or a message can be numbered.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![1..=MAX_SEQUENCE, 1..40_u64, MAX_SEQUENCE - 3..=MAX_SEQUENCE]
}

/// What can come next.
fn next() -> impl Strategy<Value = u64> {
    prop_oneof![number(), Just(MAX_SEQUENCE + 1)]
}

prop_compose! {
    fn any_header()(
        kind in kind(),
        flags in any::<u8>(),
        source in any::<u64>(),
        stream in prop_oneof![0..3_u32, any::<u32>()],
        (sequence, message) in (any_number(), any_number()),
        (sent, stamp) in (any::<u64>(), any::<u64>()),
    ) -> Header {
        Header { kind, flags, source: SourceId(source), stream, sequence, message, sent, stamp }
    }
}

prop_compose! {
    fn sound_header(kind: Kind)(
        source in any::<u64>(),
        stream in 1..=u32::MAX,
        (sequence, message) in (number(), number()),
        (sent, stamp) in (any::<u64>(), any::<u64>()),
    ) -> Header {
        Header { kind, flags: 0, source: SourceId(source), stream, sequence, message, sent, stamp }
    }
}

/// Payloads that often have a length some type can have, and small numbers in their fields.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![3 => Just(0_u8), 1 => 0..6_u8, 1 => any::<u8>()];
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(small.clone(), 0..120),
        (0..5_usize, prop::sample::select(vec![(12, 12), (12, 28), (20, 28), (0, 24), (8, 0)]))
            .prop_flat_map(move |(entries, (fixed, size))| vec(small.clone(), fixed + entries * size)),
    ]
}

/// Mostly none, as they are refused more often than not.
fn any_extensions() -> impl Strategy<Value = Vec<u8>> {
    let units = vec((any::<u8>(), 0..3_u8), 0..4);
    prop_oneof![
        3 => Just(Vec::new()),
        1 => units.prop_map(|units| units.iter().flat_map(|&(id, length)| [id, length, 0xff, 0]).collect()),
    ]
}

fn levels(level: &'static str) -> impl Strategy<Value = String> {
    vec(level, 0..5).prop_map(|levels| levels.join("."))
}

fn a_topic() -> impl Strategy<Value = String> {
    vec("[a-zA-Z0-9_é日-]{1,12}", 1..6).prop_map(|levels| levels.join("."))
}

/// The pattern language as its documentation has it, without a thought for speed.
fn matches_naively(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([">"], _) => true,
        ([], []) => true,
        ([wanted, pattern @ ..], [level, topic @ ..]) => {
            (*wanted == "*" || wanted == level) && matches_naively(pattern, topic)
        }
        _ => false,
    }
}

fn is_level(level: &str) -> bool {
    !level.is_empty() && level.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '*' && c != '>')
}

fn is_topic_naively(topic: &str) -> bool {
    topic.len() <= MAX_TOPIC && topic.split('.').all(is_level)
}

fn is_pattern_naively(pattern: &str) -> bool {
    let levels: Vec<&str> = pattern.split('.').collect();
    let (last, before) = levels.split_last().expect("a split has at least one part");
    pattern.len() <= MAX_TOPIC
        && before.iter().all(|level| *level == "*" || is_level(level))
        && (*last == ">" || *last == "*" || is_level(last))
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_at_worst(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
    }

    /// Past the checksums, so that every parser sees them.
    #[test]
    fn any_datagram_that_is_sealed_is_an_error_at_worst(
        header in any_header(),
        extensions in any_extensions(),
        payload in any_payload(),
    ) {
        let bytes = extend(datagram(&header, &payload), &extensions);
        let result = read_all(&bytes);
        if let Ok(datagram) = Datagram::parse(&bytes) {
            prop_assert_eq!(datagram.header, header);
            let line = datagram.to_string();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(line.contains("refused"), result.is_err());
        }
    }

    #[test]
    fn any_payload_is_an_error_at_worst(payload in any_payload(), at in any::<usize>()) {
        let _ = next_message(&payload, at);
        let _ = Records::parse(&payload).map(|records| records.into_iter().count());
        let _ = Fragment::parse(&payload).map(|fragment| (fragment.is_first(), fragment.is_last()));
        let _ = Announce::parse(&payload);
        let _ = Heartbeat::parse(&payload).map(|heartbeat| heartbeat.streams().count());
        let _ = Nak::parse(&payload).map(|nak| nak.ranges().map(|range| range.last()).max());
        let _ = Ncf::parse(&payload).map(|ncf| ncf.confirmations().count());
        let _ = Status::parse(&payload).map(|status| status.positions().count());
        let _ = End::parse(&payload);
    }

    #[test]
    fn whatever_is_accepted_is_written_again_as_it_was(header in any_header(), payload in any_payload()) {
        let bytes = datagram(&header, &payload);
        if read_all(&bytes).is_ok() {
            let read = Datagram::parse(&bytes).expect("it was just read");
            let again = spec::emit_again(&read);
            let again = Datagram::parse(&again).expect("what was emitted is sound");
            prop_assert_eq!(again.header, read.header);
            match (again.body(), read.body()) {
                (Ok(Body::Records(again)), Ok(Body::Records(read))) => prop_assert!(again.into_iter().eq(read)),
                // Reserved bytes may differ, and a limit beyond the last number.
                (Ok(Body::Status(again)), Ok(Body::Status(read))) => {
                    prop_assert_eq!((again.receiver, again.held), (read.receiver, read.held));
                    prop_assert!(again.positions().eq(read.positions()));
                }
                (Ok(Body::Heartbeat(again)), Ok(Body::Heartbeat(read))) => {
                    prop_assert_eq!(
                        (again.idle_interval, again.group_size, again.round_trip, again.limiting),
                        (read.idle_interval, read.group_size, read.round_trip, read.limiting)
                    );
                    prop_assert!(again.streams().eq(read.streams()));
                }
                (again, read) => prop_assert_eq!(again, read),
            }
        }
    }

    #[test]
    fn records_come_back(
        header in sound_header(Kind::Data),
        messages in vec(vec(any::<u8>(), 0..60), 1..20),
    ) {
        let mut payload = Vec::new();
        for message in &messages {
            let at = payload.len();
            payload.resize(at + RECORD_LENGTH, 0xee);
            emit_record(&mut payload[at..], message.len() as u16);
            payload.extend_from_slice(message);
        }
        let bytes = datagram(&header, &payload);
        let read = Datagram::parse(&bytes)?;
        prop_assert_eq!(read.header, header);
        let Body::Records(records) = read.body()? else { panic!("records are not records") };
        prop_assert_eq!(records.count() as usize, messages.len());
        prop_assert!(records.into_iter().eq(messages.iter().map(Vec::as_slice)));

        let mut at = 0;
        for message in &messages {
            let (begin, end) = next_message(&payload, at).expect("a message");
            prop_assert_eq!(&payload[begin..end], message.as_slice());
            at = end;
        }
        prop_assert_eq!(next_message(&payload, at), None);
    }

    #[test]
    fn a_fragment_comes_back(
        header in sound_header(Kind::Repair),
        bytes in vec(any::<u8>(), 1..100),
        (before, after) in (prop_oneof![Just(0), 0..u32::MAX / 2], prop_oneof![Just(0), 0..u32::MAX / 4]),
    ) {
        let total = before + bytes.len() as u32 + after;
        let mut payload = vec![0xee; FRAGMENT_LENGTH];
        emit_fragment(&mut payload, before, total);
        payload.extend_from_slice(&bytes);
        let header = Header { flags: flag::FRAGMENT, ..header };
        let whole = datagram(&header, &payload);
        let read = Datagram::parse(&whole)?;
        prop_assert_eq!(read.header, header);
        let Body::Fragment(fragment) = read.body()? else { panic!("a fragment is none") };
        prop_assert_eq!(fragment, Fragment { offset: before, total, bytes: &bytes });
        prop_assert_eq!((fragment.is_first(), fragment.is_last()), (before == 0, after == 0));
    }

    #[test]
    fn an_announce_comes_back(
        header in sound_header(Kind::Announce),
        age in any::<u64>(),
        (held, spare) in (any::<u32>(), any::<u32>()),
        trail_message in next(),
        idle_interval in 1..=u32::MAX,
        size in 65..=MAX_DATAGRAM as u16,
        topic in a_topic(),
    ) {
        let held = u64::from(held).min(header.sequence);
        let window = (held as u32).saturating_add(spare).max(1);
        let announce = Announce {
            age,
            trail: header.sequence + 1 - held,
            trail_message: trail_message.min(header.message),
            idle_interval,
            window,
            datagram: size,
            topic: &topic,
        };
        let mut payload = [0xee; 512];
        let length = announce.emit(&mut payload);
        let bytes = datagram(&header, &payload[..length]);
        let read = Datagram::parse(&bytes)?;
        prop_assert_eq!(read.header, header);
        prop_assert_eq!(read.body()?, Body::Announce(announce));
    }

    #[test]
    fn a_heartbeat_comes_back(
        header in sound_header(Kind::Heartbeat),
        (idle, group, trip, limiting) in (1..=u32::MAX, any::<u32>(), any::<u32>(), any::<u64>()),
        states in vec((1..=u32::MAX, next(), any::<u32>(), next(), 0..=MAX_SEQUENCE), 0..9),
        room in 20..200_usize,
    ) {
        let states: Vec<StreamState> = states
            .into_iter()
            .map(|(stream, trail, held, next_message, limit)| {
                let lead = (trail - 1).saturating_add(u64::from(held)).min(MAX_SEQUENCE);
                StreamState { stream, trail, lead, next_message, limit }
            })
            .collect();
        let mut payload = vec![0xee; room];
        let mut list = Heartbeat::emit(&mut payload, idle, group, trip, ReceiverId(limiting));
        let fits = states.iter().take_while(|state| list.push_stream(state)).count();
        prop_assert_eq!(fits, states.len().min((room - 20) / 36), "until it is full");
        let length = list.length();
        let bytes = datagram(&header, &payload[..length]);
        let Body::Heartbeat(read) = Datagram::parse(&bytes)?.body()? else { panic!("a heartbeat is none") };
        prop_assert_eq!((read.idle_interval, read.group_size), (idle, group));
        prop_assert_eq!((read.round_trip, read.limiting), (trip, ReceiverId(limiting)));
        prop_assert!(read.streams().eq(states[..fits].iter().copied().map(Ok)));
    }

    #[test]
    fn a_nak_comes_back(
        (receiver, held, flags) in (1..=u64::MAX, any::<u32>(), 0..4_u8),
        start in number(),
        steps in vec((1..1000_u64, 1..1000_u32), 0..20),
    ) {
        let mut first = start.min(MAX_SEQUENCE - 40_000);
        let mut ranges = Vec::new();
        for (step, count) in steps {
            ranges.push(Range { first, count });
            first += u64::from(count) - 1 + step;
        }
        let mut payload = [0xee; 512];
        let mut list = Nak::emit(&mut payload, ReceiverId(receiver), held);
        prop_assert!(ranges.iter().all(|&range| list.push_range(range)));
        let length = list.length();
        let header = Header { flags, ..header(Kind::Nak) };
        let bytes = datagram(&header, &payload[..length]);
        let read = Datagram::parse(&bytes)?;
        prop_assert_eq!(read.header, header);
        let Body::Nak(read) = read.body()? else { panic!("a NAK is none") };
        prop_assert_eq!((read.receiver, read.held), (ReceiverId(receiver), held));
        prop_assert!(read.ranges().eq(ranges));
    }

    #[test]
    fn an_ncf_comes_back(
        gone in any::<bool>(),
        start in number(),
        steps in vec((1..1000_u64, 0..1000_u64, next()), 0..12),
    ) {
        let mut first = start.min(MAX_SEQUENCE - 40_000);
        let mut ranges = Vec::new();
        for (step, more, next_message) in steps {
            let last = first + more;
            ranges.push(Confirmation { first, last, next_message: if gone { next_message } else { 0 } });
            first = last + step;
        }
        let mut payload = [0xee; 512];
        let mut list = Ncf::emit(&mut payload);
        prop_assert!(ranges.iter().all(|range| list.push_confirmation(range)));
        let length = list.length();
        let flags = if gone { flag::GONE } else { 0 };
        let bytes = datagram(&Header { flags, ..header(Kind::Ncf) }, &payload[..length]);
        let Body::Ncf(read) = Datagram::parse(&bytes)?.body()? else { panic!("an NCF is none") };
        prop_assert!(read.confirmations().eq(ranges));
    }

    #[test]
    fn a_status_message_comes_back(
        (receiver, held) in (1..=u64::MAX, any::<u32>()),
        places in vec((1..=u32::MAX, any::<bool>(), any::<u32>(), next(), 0..=MAX_SEQUENCE), 0..9),
    ) {
        let places: Vec<Position> = places
            .into_iter()
            .map(|(stream, ended, missed, position, limit)| Position { stream, ended, missed, position, limit })
            .collect();
        let mut payload = [0xee; 512];
        let mut list = Status::emit(&mut payload, ReceiverId(receiver), held);
        prop_assert!(places.iter().all(|place| list.push_position(place)));
        let length = list.length();
        let bytes = datagram(&Header::new(Kind::Status, SOURCE, 0), &payload[..length]);
        let Body::Status(read) = Datagram::parse(&bytes)?.body()? else { panic!("a status message is none") };
        prop_assert_eq!((read.receiver, read.held), (ReceiverId(receiver), held));
        prop_assert!(read.positions().eq(places));
    }

    #[test]
    fn an_end_comes_back(header in sound_header(Kind::End), trail in next()) {
        let end = End { trail: trail.min(header.sequence + 1) };
        let mut payload = [0xee; 8];
        prop_assert_eq!(end.emit(&mut payload), 8);
        let bytes = datagram(&header, &payload);
        let read = Datagram::parse(&bytes)?;
        prop_assert_eq!(read.header, header);
        prop_assert_eq!(read.body()?, Body::End(end));
    }

    #[test]
    fn padding_is_not_looked_at(payload in vec(any::<u8>(), 0..60), padding in vec(any::<u8>(), 0..60)) {
        let bytes = datagram(&header(Kind::Data), &payload);
        let padded = [bytes.clone(), padding].concat();
        prop_assert_eq!(Datagram::parse(&padded), Datagram::parse(&bytes));
        prop_assert!(Datagram::parse(&bytes).is_ok());
    }

    #[test]
    fn patterns_choose_what_they_say(pattern in levels("[ab]|\\*|>"), topic in levels("[ab]")) {
        if topic::check_pattern(&pattern).is_ok() && topic::check(&topic).is_ok() {
            let (wanted, levels): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), topic.split('.').collect());
            prop_assert_eq!(topic::matches(&pattern, &topic), matches_naively(&wanted, &levels));
        }
    }

    #[test]
    fn names_are_judged_as_they_are_described(name in prop_oneof![levels("[ab*> é\u{7f}]{0,2}"), "[a.]{0,300}"]) {
        prop_assert_eq!(topic::check(&name).is_ok(), is_topic_naively(&name));
        prop_assert_eq!(topic::check_pattern(&name).is_ok(), is_pattern_naively(&name));
    }

    #[test]
    fn a_topic_is_chosen_by_itself_and_by_everything(name in a_topic()) {
        prop_assume!(name.len() <= MAX_TOPIC);
        prop_assert_eq!(topic::check(&name), Ok(()));
        prop_assert!(topic::matches(&name, &name));
        prop_assert!(topic::matches(">", &name));
        let below = format!("{name}.>");
        prop_assert!(topic::matches(&below, &name));
        let child = format!("{name}.x");
        prop_assert!(topic::matches(&below, &child));
        prop_assert!(!topic::matches(&name, &child));
        prop_assert!(!topic::matches(&child, &name));
    }
}

/// Header and payload of an example, without its padding.
fn without_padding(bytes: &[u8]) -> &[u8] {
    let payload = Datagram::parse(bytes).expect("an example is sound").payload;
    &bytes[..usize::from(bytes[7]) * 4 + payload.len()]
}

#[test]
fn one_bit_flipped_anywhere_is_refused() {
    for example in spec::examples() {
        let bytes = without_padding(&example.bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Datagram::parse(&flipped).is_err(), "{}: bit {bit}", example.name);
        }
    }
}

#[test]
fn whatever_is_cut_short_is_refused() {
    for example in spec::examples() {
        let bytes = without_padding(&example.bytes);
        for length in 0..bytes.len() {
            assert!(Datagram::parse(&bytes[..length]).is_err(), "{}: {length} bytes", example.name);
        }
    }
}

#[test]
fn the_largest_datagram_goes_through() {
    let message = vec![7; MAX_DATAGRAM - HEADER_LENGTH - RECORD_LENGTH];
    let mut payload = vec![0; RECORD_LENGTH];
    emit_record(&mut payload, message.len() as u16);
    payload.extend_from_slice(&message);
    let bytes = datagram(&header(Kind::Data), &payload);
    assert_eq!(bytes.len(), MAX_DATAGRAM);
    assert_eq!(read_all(&bytes), Ok(()));
}
