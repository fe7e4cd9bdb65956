//! What the fuzz targets run: any bytes are read as what peers and applications do, and what must hold is asserted.

pub mod publisher;
pub mod reassembly;
pub mod subscriber;
pub mod wire;

mod input;

use nakcast::wire::{Datagram, HEADER_LENGTH, Header, data};

/// A case: takes any bytes, and panics when something does not hold.
pub type Case = fn(&[u8]);

/// Every target by its name.
pub const ALL: [(&str, Case); 4] = [
    ("wire", wire::run),
    ("publisher", publisher::run),
    ("subscriber", subscriber::run),
    ("reassembly", reassembly::run),
];

/// Time-outs at one instant; a machine that asks for more of them would spin in a driver.
const MOST_TIMEOUTS: u32 = 16;

/// A datagram with right checksums, whatever else is wrong with it.
fn datagram(header: &Header, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0; 2_048];
    let length = write(&mut bytes[HEADER_LENGTH..]);
    header.emit(&mut bytes, length);
    bytes.truncate(HEADER_LENGTH + length);
    bytes
}

/// The bytes of a message are known from whose it is and its number.
fn content(stream: u64, number: u64, from: usize, length: usize) -> Vec<u8> {
    let start = stream.wrapping_mul(91).wrapping_add(number.wrapping_mul(57)) as u8;
    (from..from + length).map(|at| start.wrapping_add((at ^ (at >> 7)) as u8)).collect()
}

fn is_content(bytes: &[u8], stream: u64, number: u64, from: usize) -> bool {
    bytes == content(stream, number, from, bytes.len())
}

/// Writes a record of a message; gives its length.
fn record(payload: &mut [u8], stream: u64, number: u64, length: usize) -> usize {
    data::emit_record(payload, length as u16);
    payload[4..4 + length].copy_from_slice(&content(stream, number, 0, length));
    4 + length
}

/// Writes a fragment of a message; gives its length.
fn fragment(
    payload: &mut [u8],
    stream: u64,
    number: u64,
    (offset, length, total): (u32, usize, u32),
) -> usize {
    data::emit_fragment(payload, offset, total);
    payload[8..8 + length].copy_from_slice(&content(stream, number, offset as usize, length));
    8 + length
}

/// A datagram that one of the machines sent.
fn sent(bytes: &[u8]) -> Datagram<'_> {
    let datagram = Datagram::parse(bytes).expect("what is sent is sound");
    datagram.body().expect("what is sent is sound");
    datagram
}
