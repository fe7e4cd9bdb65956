//! The wire format from outside: against its specification, against bytes that are wrong, against any bytes at all.

mod edges;
mod properties;
mod refusals;
mod spec;

use nakcast::wire::{Datagram, HEADER_LENGTH, Header, Invalid, Kind, ReceiverId, SourceId, seal_header};

const SOURCE: SourceId = SourceId(0x0123_4567_89ab_cdef);
const RECEIVER: ReceiverId = ReceiverId(0xfedc_ba98_7654_3210);

/// A header with numbers that every type may have.
fn header(kind: Kind) -> Header {
    Header { sequence: 7, message: 12, stamp: 5_000_000, ..Header::new(kind, SOURCE, 1) }
}

/// A datagram as a sender emits it.
fn datagram(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LENGTH];
    bytes.extend_from_slice(payload);
    header.emit(&mut bytes, payload.len());
    bytes
}

/// Puts extensions (whole units of four bytes) into a datagram that has none.
fn extend(mut bytes: Vec<u8>, extensions: &[u8]) -> Vec<u8> {
    assert!(extensions.len().is_multiple_of(4));
    bytes.splice(HEADER_LENGTH..HEADER_LENGTH, extensions.iter().copied());
    bytes[7] += u8::try_from(extensions.len() / 4).expect("extensions fit a header");
    seal_header(&mut bytes);
    bytes
}

/// Everything a receiver may read of a datagram; the first thing in it that is refused.
fn read_all(bytes: &[u8]) -> Result<(), Invalid> {
    use nakcast::wire::Body;

    let datagram = Datagram::parse(bytes)?;
    assert_eq!(Datagram::reread(bytes), datagram);
    match datagram.body()? {
        Body::Records(records) => assert_eq!(records.into_iter().count(), records.count() as usize),
        Body::Fragment(fragment) => assert!(!fragment.bytes.is_empty()),
        Body::Heartbeat(heartbeat) => heartbeat.streams().try_for_each(|state| state.map(drop))?,
        Body::Nak(nak) => nak.ranges().for_each(|range| assert!(range.first <= range.last())),
        Body::Ncf(ncf) => ncf.confirmations().for_each(|range| assert!(range.first <= range.last)),
        Body::Status(status) => status.positions().for_each(|position| assert!(position.position != 0)),
        Body::Announce(_) | Body::End(_) => {}
    }
    Ok(())
}
