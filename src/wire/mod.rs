//! The datagrams: checked views in, representations out. No I/O, no clock, no allocation.
//!
#![doc = include_str!("PROTOCOL.md")]

pub mod control;
pub mod data;
pub mod extension;
pub mod topic;

mod body;
mod bytes;
mod header;
mod invalid;

pub use body::Body;
pub use control::{
    Announce, Confirmation, End, Heartbeat, List, Nak, Ncf, Position, Range, Status, StreamState,
};
pub use data::{FRAGMENT_LENGTH, Fragment, RECORD_LENGTH, Records, record_head};
pub use header::{
    Datagram, HEADER_LENGTH, Header, Kind, MAGIC, MAX_DATAGRAM, MAX_SEQUENCE, ReceiverId, SourceId, VERSION,
    first_message, flag, restamp, seal_header, stamp,
};
pub use invalid::Invalid;
pub use topic::TopicError;
