//! The parsers: any datagram is refused or read; what is read is written again as it was.

use nakcast::wire::data::{emit_fragment, emit_record, next_message};
use nakcast::wire::{
    Announce, Body, Datagram, End, Fragment, HEADER_LENGTH, Heartbeat, Nak, Ncf, Records, Status,
    seal_header, topic,
};

/// Reads a datagram in every way there is.
pub fn run(bytes: &[u8]) {
    let _ = Datagram::parse(bytes).map(|datagram| read(bytes, &datagram));
    // Once more with the checksums that the compiler's flag for fuzzing leaves out, where there are none in its way.
    let mut sealed = bytes.to_vec();
    if seal(&mut sealed)
        && let Ok(datagram) = Datagram::parse(&sealed)
    {
        read(&sealed, &datagram);
    }
    if let Some(payload) = bytes.get(HEADER_LENGTH..) {
        every_view(payload);
    }
    if let Ok(name) = std::str::from_utf8(bytes) {
        let _ = topic::check_pattern(name);
        if topic::check(name).is_ok() {
            assert!(topic::check_pattern(name).is_ok() && topic::matches(name, name));
        }
    }
}

/// Sets the checksums right; false when the lengths do not allow it.
fn seal(bytes: &mut [u8]) -> bool {
    let Some(&[units, high, low]) = bytes.get(7..10).and_then(|field| field.first_chunk()) else {
        return false;
    };
    let (begin, length) = (usize::from(units) * 4, usize::from(u16::from_be_bytes([high, low])));
    if begin < HEADER_LENGTH || bytes.len() < begin {
        return false;
    }
    let crc = crc32fast::hash(bytes.get(begin..begin + length).unwrap_or_default());
    bytes[56..60].copy_from_slice(&crc.to_be_bytes());
    seal_header(bytes);
    true
}

fn read(bytes: &[u8], datagram: &Datagram<'_>) {
    assert_eq!(Datagram::reread(bytes), *datagram);
    let body = datagram.body();
    let refused = match body {
        Ok(Body::Heartbeat(heartbeat)) => heartbeat.streams().any(|state| state.is_err()),
        _ => body.is_err(),
    };
    let line = datagram.to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    // A topic may be called anything.
    assert!(line.contains(" topic ") || line.contains("refused") == refused, "{line:?}");
    let Ok(body) = body else { return };
    if refused {
        return;
    }
    let again = write(datagram, &body);
    let again = Datagram::parse(&again).expect("what is written is sound");
    assert_eq!(again.header, datagram.header);
    match (again.body().expect("what is written is sound"), body) {
        (Body::Records(again), Body::Records(read)) => {
            assert_eq!(read.into_iter().count(), read.count() as usize);
            assert!(again.into_iter().eq(read));
        }
        // Reserved bytes may differ, and a limit beyond the last number.
        (Body::Status(again), Body::Status(read)) => {
            assert_eq!((again.receiver, again.held), (read.receiver, read.held));
            assert!(again.positions().eq(read.positions()));
        }
        (Body::Heartbeat(again), Body::Heartbeat(read)) => {
            assert_eq!((again.idle_interval, again.group_size), (read.idle_interval, read.group_size));
            assert_eq!((again.round_trip, again.limiting), (read.round_trip, read.limiting));
            assert!(again.streams().eq(read.streams()));
        }
        (again, read) => assert_eq!(again, read),
    }
}

fn write(datagram: &Datagram<'_>, body: &Body<'_>) -> Vec<u8> {
    let mut bytes = vec![0xee; HEADER_LENGTH + datagram.payload.len()];
    let payload = &mut bytes[HEADER_LENGTH..];
    let length = match *body {
        Body::Records(records) => {
            let mut at = 0;
            for message in records {
                emit_record(&mut payload[at..], message.len() as u16);
                payload[at + 4..at + 4 + message.len()].copy_from_slice(message);
                at += 4 + message.len();
            }
            at
        }
        Body::Fragment(Fragment { offset, total, bytes }) => {
            emit_fragment(payload, offset, total);
            payload[8..].copy_from_slice(bytes);
            8 + bytes.len()
        }
        Body::Announce(announce) => announce.emit(payload),
        Body::Heartbeat(read) => {
            let Heartbeat { idle_interval, group_size, round_trip, limiting, .. } = read;
            let mut list = Heartbeat::emit(payload, idle_interval, group_size, round_trip, limiting);
            assert!(read.streams().flatten().all(|state| list.push_stream(&state)));
            list.length()
        }
        Body::Nak(nak) => {
            let mut list = Nak::emit(payload, nak.receiver, nak.held);
            assert!(nak.ranges().all(|range| range.first <= range.last() && list.push_range(range)));
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
    datagram_of(datagram, &bytes[HEADER_LENGTH..HEADER_LENGTH + length])
}

fn datagram_of(like: &Datagram<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LENGTH];
    bytes.extend_from_slice(payload);
    like.header.emit(&mut bytes, payload.len());
    bytes
}

/// Every view of any payload, whatever its header would say.
fn every_view(payload: &[u8]) {
    let _ = Records::parse(payload).map(|records| records.into_iter().count());
    let mut at = 0;
    while let Some((begin, end)) = next_message(payload, at) {
        assert!(at < begin && begin <= end && end <= payload.len());
        at = end;
    }
    let _ = Fragment::parse(payload).map(|fragment| (fragment.is_first(), fragment.is_last()));
    let _ = Announce::parse(payload);
    let _ = Heartbeat::parse(payload).map(|heartbeat| heartbeat.streams().count());
    let _ = Nak::parse(payload).map(|nak| nak.ranges().map(|range| range.last()).max());
    let _ = Ncf::parse(payload).map(|ncf| ncf.confirmations().count());
    let _ = Status::parse(payload).map(|status| status.positions().count());
    let _ = End::parse(payload);
}
