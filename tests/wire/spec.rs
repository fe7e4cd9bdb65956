//! What PROTOCOL.md says is what the code does: its examples, its tables.

use crate::extend;
use nakcast::wire::data::{emit_fragment, emit_record};
use nakcast::wire::{
    Announce, Body, Datagram, End, FRAGMENT_LENGTH, HEADER_LENGTH, Heartbeat, Kind, MAX_DATAGRAM, Nak, Ncf,
    RECORD_LENGTH, ReceiverId, Status,
};
use std::collections::BTreeSet;

pub(crate) const TEXT: &str = include_str!("../../src/wire/PROTOCOL.md");

/// A block of the page: its name, its bytes, the fields it says they mean.
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    fields: Vec<(String, String)>,
}

/// Every example of the page.
pub(crate) fn examples() -> Vec<Example> {
    let blocks = TEXT.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    blocks
        .map(|block| {
            let (title, lines) = block.split_once('\n').expect("a title, then lines");
            let name = title.strip_prefix("# ").expect("a title begins with `# `").to_owned();
            let mut example = Example { name, bytes: Vec::new(), fields: Vec::new() };
            for line in lines.lines() {
                let (hex, meaning) = line.split_once('|').expect("bytes | meaning");
                let digits: String = hex.split_whitespace().collect();
                for at in (0..digits.len()).step_by(2) {
                    let byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("two hexadecimal digits");
                    example.bytes.push(byte);
                }
                if let Some((field, value)) = meaning.split_once(" = ") {
                    example.fields.push((field.trim().to_owned(), value.to_owned()));
                }
            }
            example
        })
        .collect()
}

/// The cells of every table of the page whose first column has this title.
pub(crate) fn tables(title: &str) -> Vec<Vec<Vec<&'static str>>> {
    let mut tables: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut within = false;
    for line in TEXT.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            within = within && line.starts_with("|-");
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        if cells[0] == title {
            within = true;
            tables.push(Vec::new());
        } else if within {
            tables.last_mut().expect("a row comes after a title").push(cells);
        }
    }
    tables
}

/// What the code reads, in the page's words and in the order of the wire.
fn dissect(datagram: &Datagram) -> Vec<(String, String)> {
    let header = &datagram.header;
    let mut fields = Vec::new();
    let mut say = |field: &str, value: &dyn ToString| fields.push((field.to_owned(), value.to_string()));
    say("type", &header.kind);
    say("flags", &format!("{:02x}", header.flags));
    say("stream", &header.stream);
    say("source", &header.source);
    say("sequence", &header.sequence);
    say("message", &header.message);
    say("sent", &header.sent);
    say("stamp", &header.stamp);
    match datagram.body().expect("an example is sound") {
        Body::Records(records) => {
            for message in records {
                say("length", &message.len());
                if !message.is_empty() {
                    say("text", &String::from_utf8_lossy(message));
                }
            }
        }
        Body::Fragment(fragment) => {
            say("offset", &fragment.offset);
            say("total", &fragment.total);
            say("text", &String::from_utf8_lossy(fragment.bytes));
        }
        Body::Announce(announce) => {
            say("age", &announce.age);
            say("trail", &announce.trail);
            say("trail message", &announce.trail_message);
            say("idle interval", &announce.idle_interval);
            say("window", &announce.window);
            say("datagram", &announce.datagram);
            say("topic", &announce.topic);
        }
        Body::Heartbeat(heartbeat) => {
            say("idle interval", &heartbeat.idle_interval);
            say("group size", &heartbeat.group_size);
            say("round trip", &heartbeat.round_trip);
            say("limiting", &heartbeat.limiting);
            for state in heartbeat.streams() {
                let state = state.expect("an example is sound");
                say("stream", &state.stream);
                say("trail", &state.trail);
                say("lead", &state.lead);
                say("next message", &state.next_message);
                say("limit", &state.limit);
            }
        }
        Body::Nak(nak) => {
            say("receiver", &nak.receiver);
            say("held", &nak.held);
            for range in nak.ranges() {
                say("first", &range.first);
                say("count", &range.count);
            }
        }
        Body::Ncf(ncf) => {
            for range in ncf.confirmations() {
                say("first", &range.first);
                say("last", &range.last);
                say("next message", &range.next_message);
            }
        }
        Body::Status(status) => {
            say("receiver", &status.receiver);
            say("held", &status.held);
            for position in status.positions() {
                say("stream", &position.stream);
                say("ended", &position.ended);
                say("missed", &position.missed);
                say("position", &position.position);
                say("limit", &position.limit);
            }
        }
        Body::End(end) => say("trail", &end.trail),
    }
    fields
}

/// Writes again what was read, into a buffer full of something else.
pub(crate) fn emit_again(datagram: &Datagram) -> Vec<u8> {
    let mut bytes = vec![0xee; MAX_DATAGRAM];
    let payload = &mut bytes[HEADER_LENGTH..];
    let length = match datagram.body().expect("what was read is sound") {
        Body::Records(records) => {
            let mut at = 0;
            for message in records {
                emit_record(&mut payload[at..], u16::try_from(message.len()).expect("a record's length"));
                at += RECORD_LENGTH;
                payload[at..at + message.len()].copy_from_slice(message);
                at += message.len();
            }
            at
        }
        Body::Fragment(fragment) => {
            emit_fragment(payload, fragment.offset, fragment.total);
            payload[FRAGMENT_LENGTH..FRAGMENT_LENGTH + fragment.bytes.len()].copy_from_slice(fragment.bytes);
            FRAGMENT_LENGTH + fragment.bytes.len()
        }
        Body::Announce(announce) => announce.emit(payload),
        Body::Heartbeat(heartbeat) => {
            let Heartbeat { idle_interval, group_size, round_trip, limiting, .. } = heartbeat;
            let mut list = Heartbeat::emit(payload, idle_interval, group_size, round_trip, limiting);
            assert!(heartbeat.streams().all(|state| list.push_stream(&state.expect("sound"))));
            list.length()
        }
        Body::Nak(nak) => {
            let mut list = Nak::emit(payload, nak.receiver, nak.held);
            assert!(nak.ranges().all(|range| list.push_range(range)));
            list.length()
        }
        Body::Ncf(ncf) => {
            let mut list = Ncf::emit(payload);
            assert!(ncf.confirmations().all(|range| list.push_confirmation(&range)));
            list.length()
        }
        Body::Status(status) => {
            let mut list = Status::emit(payload, status.receiver, status.held);
            assert!(status.positions().all(|position| list.push_position(&position)));
            list.length()
        }
        Body::End(end) => end.emit(payload),
    };
    datagram.header.emit(&mut bytes, length);
    bytes.truncate(HEADER_LENGTH + length);
    bytes
}

#[test]
fn every_example_is_what_it_says_both_ways() {
    let mut kinds = BTreeSet::new();
    for Example { name, bytes, fields } in examples() {
        let datagram = Datagram::parse(&bytes).unwrap_or_else(|invalid| panic!("{name}: {invalid}"));
        assert_eq!(dissect(&datagram), fields, "{name}");
        let mut again = emit_again(&datagram);
        if name == "data-extension" {
            // What the code does not send: extensions, and padding it leaves to whoever builds a run.
            let header_length = usize::from(bytes[7]) * 4;
            assert!(header_length > HEADER_LENGTH, "an extension");
            again = extend(again, &bytes[HEADER_LENGTH..header_length]);
            assert!(bytes.len() > again.len(), "padding");
            again.extend_from_slice(&bytes[again.len()..]);
        }
        assert_eq!(again, bytes, "{name}");
        kinds.insert(datagram.header.kind as u8);
    }
    assert!(kinds.into_iter().eq(1..=8), "every type has an example");
}

#[test]
fn a_repair_is_the_same_datagram_stamped_anew() {
    let examples = examples();
    let bytes = |name: &str| examples.iter().find(|example| example.name == name).expect(name).bytes.clone();
    let (mut sent, repair) = (bytes("data-fragment"), bytes("repair"));
    let stamp = nakcast::wire::stamp(&repair);
    nakcast::wire::restamp(&mut sent, Kind::Repair, stamp);
    assert_eq!(sent, repair);

    let mut extended = bytes("data-extension");
    nakcast::wire::restamp(&mut extended, Kind::Repair, 77);
    let again = Datagram::parse(&extended).expect("the checksum covers the extensions");
    assert_eq!((again.header.kind, again.header.stamp), (Kind::Repair, 77));
    assert_eq!(nakcast::wire::first_message(&extended), again.header.message);
}

#[test]
fn every_example_reads_as_one_line() {
    let lines = [
        "data 0123456789abcdef/1 seq 7 msg 12 3 messages 26 bytes",
        "data 0123456789abcdef/1 seq 9 msg 15 fragment 1336..1344 of 3000 16 bytes",
        "repair 0123456789abcdef/1 seq 9 msg 15 fragment 1336..1344 of 3000 16 bytes",
        "data 0123456789abcdef/1 seq 8 msg 15 1 message 8 bytes",
        "announce 0123456789abcdef/1 lead 9 next msg 16 trail 1 msg 1 window 4096 datagram 1408 \
         idle 100000 us age 2000000000 ns topic prices.fx.eurusd 52 bytes",
        "heartbeat 0123456789abcdef idle 100000 us group 3 round trip 72000 ns limited by fedcba9876543210 \
         /1 1..9 next msg 16 limit 1024 /2 1..0 next msg 1 92 bytes",
        "nak 0123456789abcdef/1 by fedcba9876543210 held 25000 ns catching up 2..2 100..109 36 bytes",
        "ncf 0123456789abcdef/1 gone 2..5 next msg 9 24 bytes",
        "status 0123456789abcdef by fedcba9876543210 held 40000 ns /1 at 10 limit 2057 missed 2 ended 40 bytes",
        "end 0123456789abcdef/1 last 9 next msg 16 trail 3 8 bytes",
    ];
    let examples = examples();
    assert_eq!(examples.len(), lines.len());
    for (Example { name, bytes, .. }, line) in examples.iter().zip(lines) {
        assert_eq!(Datagram::parse(bytes).expect(name).to_string(), line, "{name}");
    }
    let empty = crate::datagram(&crate::header(Kind::Data), &[]);
    assert_eq!(
        Datagram::parse(&empty).expect("sound but for its payload").to_string(),
        "data 0123456789abcdef/1 seq 7 msg 12 0 bytes, refused: the records do not fill the payload"
    );
}

#[test]
fn fields_tile_what_they_lay_out() {
    let sizes: Vec<usize> = tables("offset")
        .into_iter()
        .map(|table| {
            table.iter().fold(0, |at, row| {
                let (offset, size): (usize, usize) =
                    (row[0].parse().expect("an offset"), row[1].parse().expect("a size"));
                assert_eq!(offset, at, "{} begins where the field before it ends", row[2]);
                at + size
            })
        })
        .collect();

    let mut buffer = [0; 256];
    let announce = Announce {
        age: 0,
        trail: 1,
        trail_message: 1,
        idle_interval: 1,
        window: 1,
        datagram: 1408,
        topic: "topic",
    };
    let announce = announce.emit(&mut buffer) - announce.topic.len();
    let mut list = Heartbeat::emit(&mut buffer, 1, 0, 0, ReceiverId(0));
    let heartbeat = list.length();
    list.push_stream(&nakcast::wire::StreamState { stream: 1, trail: 1, lead: 0, next_message: 1, limit: 9 });
    let heartbeat_entry = list.length() - heartbeat;
    let mut list = Nak::emit(&mut buffer, ReceiverId(1), 0);
    let nak = list.length();
    list.push_range(nakcast::wire::Range { first: 1, count: 1 });
    let nak_entry = list.length() - nak;
    let mut list = Ncf::emit(&mut buffer);
    list.push_confirmation(&nakcast::wire::Confirmation { first: 1, last: 1, next_message: 0 });
    let ncf_entry = list.length();
    let mut list = Status::emit(&mut buffer, ReceiverId(1), 0);
    let status = list.length();
    list.push_position(&nakcast::wire::Position {
        stream: 1,
        ended: false,
        missed: 0,
        position: 1,
        limit: 1,
    });
    let status_entry = list.length() - status;
    let end = End { trail: 1 }.emit(&mut buffer);
    assert_eq!(
        sizes,
        [
            HEADER_LENGTH,
            2,
            RECORD_LENGTH,
            FRAGMENT_LENGTH,
            announce,
            heartbeat,
            heartbeat_entry,
            nak,
            nak_entry,
            ncf_entry,
            status,
            status_entry,
            end
        ]
    );
}

#[test]
fn types_and_extensions_have_the_numbers_of_their_tables() {
    use nakcast::wire::extension::id;

    let types: Vec<String> = tables("type")[0].iter().map(|row| row[..2].join(" ")).collect();
    let ours = [
        (Kind::Data, "data"),
        (Kind::Repair, "repair"),
        (Kind::Announce, "announce"),
        (Kind::Heartbeat, "heartbeat"),
        (Kind::Nak, "NAK"),
        (Kind::Ncf, "NCF"),
        (Kind::Status, "status"),
        (Kind::End, "end of stream"),
    ];
    assert_eq!(types, ours.map(|(kind, name)| format!("{} {name}", kind as u8)));

    let ids: Vec<u8> = tables("id")[0].iter().map(|row| row[0].parse().expect("an id")).collect();
    assert_eq!(ids, [id::PADDING, id::AUTHENTICATION, id::PARITY, id::IDENTITY, id::PARTITION, id::ECN]);
}
