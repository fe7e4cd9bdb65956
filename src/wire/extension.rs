//! Extensions: what a later version may add to a header without breaking this one.
//!
//! Each is `id (1 byte), length (1 byte, of the whole extension in 4-byte units), value`. The high bit of the id says
//! that a receiver which does not know the extension must refuse the datagram.

use super::invalid::Invalid;

/// The bit of an id that says: refuse what you do not understand.
pub const MUST_UNDERSTAND: u8 = 0x80;

/// Ids that have a meaning, or will.
pub mod id {
    /// Fills a header up to four bytes; no meaning.
    pub const PADDING: u8 = 0;
    /// Reserved: authentication (key id, epoch, tag).
    pub const AUTHENTICATION: u8 = 1;
    /// Reserved: parity (block, k, index).
    pub const PARITY: u8 = 2;
    /// Reserved: a durable publisher's identity.
    pub const IDENTITY: u8 = 3;
    /// Reserved: partition key.
    pub const PARTITION: u8 = 4;
    /// Reserved: explicit congestion notification, echoed.
    pub const ECN: u8 = 5;
}

/// Walks the extensions of a header: all must lie inside it, and none that must be understood may be among them, for
/// this version understands none but padding.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), Invalid> {
    while let [id, units, ..] = *bytes {
        let length = usize::from(units) * 4;
        if length == 0 || length > bytes.len() {
            return Err(Invalid::Extension);
        }
        if id & MUST_UNDERSTAND != 0 && id & !MUST_UNDERSTAND != id::PADDING {
            return Err(Invalid::ExtensionUnknown { id: id & !MUST_UNDERSTAND });
        }
        bytes = &bytes[length..];
    }
    Ok(())
}
