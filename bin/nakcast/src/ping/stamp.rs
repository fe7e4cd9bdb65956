//! What a message of `ping` begins with, so that whoever hears it back knows whose it is and how long it took.

/// The stamp: three numbers of 64 bits, big endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The source id of the ping: several may be answered on one topic.
    pub(super) ping: u64,
    /// Which message, from 1; [`Stamp::HELLO`] only asks who is there.
    pub(super) number: u64,
    /// When it was due, nanoseconds since the ping began.
    pub(super) due: u64,
}

impl Stamp {
    /// Bytes it takes.
    pub(crate) const LENGTH: usize = 24;
    /// The number of what is no message to be timed.
    pub(super) const HELLO: u64 = 0;

    /// Writes it to the beginning of a message, which has room for it.
    pub(super) fn write(self, message: &mut [u8]) {
        for (place, number) in message.chunks_exact_mut(8).zip([self.ping, self.number, self.due]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Reads it from a message, if that is long enough to have one.
    pub(super) fn read(message: &[u8]) -> Option<Stamp> {
        let (numbers, _) = message.first_chunk::<{ Stamp::LENGTH }>()?.as_chunks();
        let [ping, number, due] = numbers else { return None };
        let number_of = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
        Some(Stamp { ping: number_of(ping), number: number_of(number), due: number_of(due) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { ping: u64::MAX, number: 7, due: 1 << 40 };
        let mut message = [0xaa; Stamp::LENGTH + 3];
        stamp.write(&mut message);
        assert_eq!(Stamp::read(&message), Some(stamp));
        assert_eq!(message[Stamp::LENGTH..], [0xaa; 3], "what follows is left alone");
        assert_eq!(Stamp::read(&message[..Stamp::LENGTH - 1]), None);
    }
}
