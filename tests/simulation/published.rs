//! What was published, as it can be known of every message: drawn from where it stands, and seen on the wire.

use nakcast::SourceId;
use nakcast::protocol::publisher;
use nakcast::wire::{Body, Datagram, HEADER_LENGTH, Kind, RECORD_LENGTH, flag};
use std::collections::BTreeMap;

/// A source's stream.
pub type StreamOf = (SourceId, u32);

/// The lengths of a publisher's messages.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    max_record: usize,
    /// The longest of them, in datagrams.
    datagrams: usize,
}

impl Lengths {
    /// What suits a publisher: up to forty datagrams, or 400 KB.
    pub fn of(config: &publisher::Config) -> Lengths {
        let max_record = config.datagram - HEADER_LENGTH - RECORD_LENGTH;
        let datagrams = (config.max_message / max_record).clamp(1, 40).min((400 << 10) / max_record);
        Lengths { max_record, datagrams }
    }
}

/// A message's bytes are known from where it stands.
pub fn payload((source, stream): StreamOf, number: u64, lengths: Lengths) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(source.0 ^ (u64::from(stream) << 48) ^ (number << 8));
    let length = match random.u8(..20) {
        0 => 0,
        1 => lengths.max_record,
        2 => lengths.max_record + 1,
        3 => random.usize(..=lengths.max_record * lengths.datagrams),
        4..8 => random.usize(..=lengths.max_record),
        _ => random.usize(..64),
    };
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// What one datagram carries.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// The first message of which anything is in it.
    pub first: u64,
    /// The first message that starts in it or behind it.
    pub starts: u64,
    /// The first message that starts behind it.
    pub after: u64,
    /// Nothing of its last message is behind it.
    pub ends: bool,
}

/// What a stream sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// By sequence number less one.
    pub datagrams: Vec<Carried>,
    /// Up to here its publisher has said that it cannot repair.
    pub gone_to: u64,
}

impl Sent {
    /// The number of the first message that starts at or behind a sequence number.
    pub fn starts(&self, sequence: u64) -> u64 {
        match self.datagrams.get(sequence as usize - 1) {
            Some(carried) => carried.starts,
            None => {
                assert_eq!(sequence, self.lead() + 1, "nobody can know of what was not sent");
                self.datagrams.last().map_or(1, |carried| carried.after)
            }
        }
    }

    /// The number of the first message that starts behind a sequence number.
    pub fn behind(&self, sequence: u64) -> u64 {
        assert!(sequence <= self.lead(), "nobody can know of what was not sent");
        self.datagrams[sequence as usize - 1].after
    }

    pub fn lead(&self) -> u64 {
        self.datagrams.len() as u64
    }

    /// Messages of which anything was sent.
    pub fn messages(&self) -> u64 {
        self.starts(self.lead() + 1) - 1
    }

    /// Whether every part of a message was sent, and is `here` by its sequence number.
    pub fn is_whole(&self, message: u64, here: impl Fn(u64) -> bool) -> bool {
        let from = self.datagrams.partition_point(|carried| carried.after <= message);
        for (sequence, carried) in (from as u64 + 1..).zip(&self.datagrams[from..]) {
            if !here(sequence) {
                return false;
            }
            if carried.after > message + 1 || carried.ends {
                return true;
            }
        }
        false
    }
}

/// What all streams sent.
#[derive(Debug, Default)]
pub struct Wire(pub BTreeMap<StreamOf, Sent>);

impl Wire {
    /// Takes in a datagram as it was sent by a publisher.
    pub fn see(&mut self, datagram: &Datagram<'_>) {
        let header = &datagram.header;
        let body = datagram.body().expect("what is sent is sound");
        if let Body::Heartbeat(heartbeat) = body {
            for state in heartbeat.streams().flatten() {
                let sent = self.0.entry((header.source, state.stream)).or_default();
                sent.gone_to = sent.gone_to.max(state.trail - 1);
                assert_eq!(state.lead, sent.lead(), "a heartbeat tells of what was sent");
            }
            return;
        }
        let sent = self.0.entry((header.source, header.stream)).or_default();
        match body {
            Body::Records(_) | Body::Fragment(_) if header.kind == Kind::Data => {
                assert_eq!(header.sequence, sent.lead() + 1, "sequence numbers follow each other");
                let first = header.message;
                let (starts, after, ends) = match body {
                    Body::Fragment(fragment) => {
                        let end = fragment.offset as usize + fragment.bytes.len();
                        (first + u64::from(!fragment.is_first()), first + 1, end == fragment.total as usize)
                    }
                    Body::Records(records) => (first, first + u64::from(records.count()), true),
                    _ => unreachable!("data is records or a fragment"),
                };
                assert_eq!(starts, sent.starts(header.sequence), "message numbers follow each other");
                sent.datagrams.push(Carried { first, starts, after, ends });
            }
            Body::Records(_) | Body::Fragment(_) => {
                assert!(header.sequence <= sent.lead(), "a repair is of what was sent");
                assert!(header.sequence > sent.gone_to, "what is gone is not repaired");
            }
            Body::Announce(announce) => sent.gone_to = sent.gone_to.max(announce.trail - 1),
            Body::End(end) => sent.gone_to = sent.gone_to.max(end.trail - 1),
            Body::Ncf(ncf) if header.has(flag::GONE) => {
                let last = ncf.confirmations().map(|range| range.last).max();
                sent.gone_to = sent.gone_to.max(last.unwrap_or(0));
            }
            _ => {}
        }
    }
}
