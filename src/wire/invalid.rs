//! Why a datagram was refused.

use std::fmt;

/// Why a datagram was refused. Each is counted by [`Invalid::index`]; none harms another datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invalid {
    /// Shorter than a header.
    Short {
        /// Bytes that were there.
        length: usize,
    },
    /// Not one of ours.
    Magic,
    /// A version this code does not speak.
    Version {
        /// The version it names.
        version: u8,
    },
    /// A header length below the smallest, or beyond the datagram.
    HeaderLength {
        /// The length it names, in bytes.
        length: usize,
    },
    /// The header's checksum does not match.
    HeaderChecksum,
    /// A type this code does not know.
    Kind {
        /// The type it names.
        kind: u8,
    },
    /// An extension that runs out of the header, or has no length.
    Extension,
    /// An extension that must be understood and is not.
    ExtensionUnknown {
        /// Its id.
        id: u8,
    },
    /// A payload length beyond the datagram.
    PayloadLength {
        /// The length it names, in bytes.
        length: usize,
    },
    /// The payload's checksum does not match.
    PayloadChecksum,
    /// Records that do not fill the payload exactly, or none.
    Records,
    /// A fragment outside its message, or empty.
    Fragment,
    /// A payload whose length is not one its type can have.
    Layout,
    /// A range that is empty, reversed, runs past the last sequence number, or does not come after the one before it.
    Range,
    /// A topic that is no topic.
    Topic,
    /// A number its field cannot have, or that does not agree with another (zero, a trail beyond the lead).
    Number,
}

impl Invalid {
    /// How many kinds there are: the length of an array of counters.
    pub const COUNT: usize = 16;

    /// The number of this kind's counter.
    pub fn index(&self) -> usize {
        match self {
            Invalid::Short { .. } => 0,
            Invalid::Magic => 1,
            Invalid::Version { .. } => 2,
            Invalid::HeaderLength { .. } => 3,
            Invalid::HeaderChecksum => 4,
            Invalid::Kind { .. } => 5,
            Invalid::Extension => 6,
            Invalid::ExtensionUnknown { .. } => 7,
            Invalid::PayloadLength { .. } => 8,
            Invalid::PayloadChecksum => 9,
            Invalid::Records => 10,
            Invalid::Fragment => 11,
            Invalid::Layout => 12,
            Invalid::Range => 13,
            Invalid::Topic => 14,
            Invalid::Number => 15,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Short { length } => write!(f, "{length} bytes are less than a header"),
            Invalid::Magic => f.write_str("not a nakcast datagram"),
            Invalid::Version { version } => write!(f, "version {version} is not spoken here"),
            Invalid::HeaderLength { length } => write!(f, "a header of {length} bytes cannot be"),
            Invalid::HeaderChecksum => f.write_str("the header's checksum does not match"),
            Invalid::Kind { kind } => write!(f, "type {kind} is not known here"),
            Invalid::Extension => f.write_str("an extension does not fit in its header"),
            Invalid::ExtensionUnknown { id } => write!(f, "extension {id} must be understood and is not"),
            Invalid::PayloadLength { length } => write!(f, "a payload of {length} bytes is not there"),
            Invalid::PayloadChecksum => f.write_str("the payload's checksum does not match"),
            Invalid::Records => f.write_str("the records do not fill the payload"),
            Invalid::Fragment => f.write_str("a fragment lies outside its message"),
            Invalid::Layout => f.write_str("the payload has not the length of its type"),
            Invalid::Range => f.write_str("a range is empty, too long or out of order"),
            Invalid::Topic => f.write_str("the topic is not a valid one"),
            Invalid::Number => f.write_str("a number is one its field cannot have"),
        }
    }
}

impl std::error::Error for Invalid {}
