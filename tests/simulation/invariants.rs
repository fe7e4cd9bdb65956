//! What must hold of everything a subscriber is told, whatever the network did.

use nakcast::protocol::subscriber::Contract;
use nakcast::protocol::{EndReason, Time};
use nakcast::sim::{Core, Network, Observer, Told};
use nakcast::wire::{Datagram, Fragment, Kind, Nak, Records, SourceId, flag};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

/// The lengths of a publisher's messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) max_record: usize,
    /// The longest of them, in datagrams.
    pub(super) datagrams: usize,
}

/// A message's bytes are known from where it stands.
pub(super) fn payload(source: SourceId, stream: u32, number: u64, lengths: Lengths) -> Vec<u8> {
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

/// What a stream sent, seen on the wire.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// By sequence number less one: the first message that starts in the datagram or behind it, and behind it.
    datagrams: Vec<(u64, u64)>,
    pub(super) asked: u64,
    pub(super) naks: u64,
    pub(super) repairs: u64,
}

impl Sent {
    /// The number of the first message that starts at or behind a sequence number.
    pub(super) fn starts(&self, sequence: u64) -> u64 {
        match self.datagrams.get(sequence as usize - 1) {
            Some(&(starts, _)) => starts,
            None => {
                assert_eq!(
                    sequence as usize,
                    self.datagrams.len() + 1,
                    "nobody can know of what was not sent"
                );
                self.datagrams.last().map_or(1, |&(_, after)| after)
            }
        }
    }

    fn behind(&self, sequence: u64) -> u64 {
        self.datagrams[sequence as usize - 1].1
    }

    pub(super) fn lead(&self) -> u64 {
        self.datagrams.len() as u64
    }

    /// Messages of which anything was sent.
    pub(super) fn messages(&self) -> u64 {
        self.starts(self.lead() + 1) - 1
    }
}

/// Everything that was sent.
pub(super) type Wire = Rc<RefCell<BTreeMap<(SourceId, u32), Sent>>>;

/// Records what goes over the wire of a network.
pub(super) fn watch(network: &mut Network) -> Wire {
    let wire = Wire::default();
    network.observe(See(wire.clone()));
    wire
}

struct See(Wire);

impl Observer for See {
    fn sent(&mut self, _: Time, _: Core<'_>, _: Option<SocketAddr>, bytes: &[u8]) {
        see(&self.0, bytes);
    }
}

fn see(wire: &Wire, bytes: &[u8]) {
    let datagram = Datagram::parse(bytes).expect("what is sent is sound");
    let header = &datagram.header;
    let mut wire = wire.borrow_mut();
    let sent = wire.entry((header.source, header.stream)).or_default();
    match header.kind {
        Kind::Data => {
            assert_eq!(header.sequence, sent.lead() + 1, "sequence numbers follow each other");
            let first = sent.starts(header.sequence);
            let (starts, after) = if header.has(flag::FRAGMENT) {
                let fragment = Fragment::parse(datagram.payload).expect("a fragment is sound");
                (header.message + u64::from(!fragment.is_first()), header.message + 1)
            } else {
                let records = Records::parse(datagram.payload).expect("records are sound");
                (header.message, header.message + u64::from(records.count()))
            };
            assert_eq!(starts, first, "message numbers follow each other");
            sent.datagrams.push((starts, after));
        }
        Kind::Repair => {
            assert!(header.sequence <= sent.lead(), "a repair is of what was sent");
            sent.repairs += 1;
        }
        Kind::Nak => {
            let nak = Nak::parse(datagram.payload).expect("a NAK is sound");
            sent.naks += 1;
            sent.asked += nak.ranges().map(|range| u64::from(range.count)).sum::<u64>();
        }
        _ => {}
    }
}

/// One stream as one subscriber is told of it.
#[derive(Debug, Default)]
struct Seen {
    /// The number of the first message that is wanted.
    start: u64,
    /// In order: the number of the next one.
    next: u64,
    /// By arrival: those that came.
    came: BTreeSet<u64>,
    lost: u64,
    up: bool,
    ended: Option<EndReason>,
}

/// Watches one subscriber.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) contract: Contract,
    seen: BTreeMap<(SourceId, u32), Seen>,
    pub(super) messages: u64,
    pub(super) lost: u64,
}

impl Watcher {
    pub(super) fn new(contract: Contract) -> Watcher {
        Watcher { contract, seen: BTreeMap::new(), messages: 0, lost: 0 }
    }

    /// How a stream ended, if it did.
    pub(super) fn ended(&self, stream: (SourceId, u32)) -> Option<EndReason> {
        self.seen.get(&stream).filter(|seen| !seen.up).and_then(|seen| seen.ended)
    }

    pub(super) fn knows(&self, stream: (SourceId, u32)) -> bool {
        self.seen.contains_key(&stream)
    }

    /// The streams that are up.
    pub(super) fn up(&self) -> Vec<(SourceId, u32)> {
        self.seen.iter().filter(|(_, seen)| seen.up).map(|(&id, _)| id).collect()
    }

    /// Where the subscription starts in a stream: the number of the first message.
    pub(super) fn start(&self, stream: (SourceId, u32)) -> Option<u64> {
        self.seen.get(&stream).map(|seen| seen.start)
    }

    /// Messages lost of a stream.
    pub(super) fn lost_of(&self, stream: (SourceId, u32)) -> u64 {
        self.seen.get(&stream).map_or(0, |seen| seen.lost)
    }

    pub(super) fn told(&mut self, told: &Told, wire: &Wire, lengths: &BTreeMap<SourceId, Lengths>) {
        let in_order = self.contract != Contract::Arrival;
        let id = told.stream();
        let wire = wire.borrow();
        let sent = &wire[&id];
        let known = self.seen.contains_key(&id);
        let seen = self.seen.entry(id).or_default();
        match *told {
            Told::Up { sequence, .. } => {
                assert!(!seen.up, "a stream comes up once");
                seen.up = true;
                if known {
                    assert_eq!(seen.ended, Some(EndReason::Silent), "only silence is taken back");
                    assert!(!in_order || seen.next == sent.starts(sequence), "a stream goes on where it was");
                } else {
                    seen.start = sent.starts(sequence);
                    seen.next = seen.start;
                }
            }
            Told::Message { number, sequence, ref payload, .. } => {
                assert!(seen.up, "a message of a stream that is up");
                assert!(number < sent.behind(sequence), "a message was in the datagram it names");
                if in_order {
                    assert_eq!(number, seen.next, "messages come in order, and none is left out in silence");
                } else {
                    assert!(number >= seen.start, "nothing from before the start");
                    assert!(seen.came.insert(number), "message {number} came twice");
                }
                seen.next = number + 1;
                self.messages += 1;
                assert!(
                    *payload == self::payload(id.0, id.1, number, lengths[&id.0]),
                    "message {number} is what was published"
                );
            }
            Told::Gap { first, last, messages, .. } => {
                assert!(seen.up, "a gap of a stream that is up");
                assert!(messages > 0 && first <= last, "a gap is never empty");
                seen.lost += messages;
                self.lost += messages;
                if in_order {
                    seen.next += messages;
                    assert_eq!(seen.next, sent.behind(last), "a gap counts what is missing, and is no guess");
                }
            }
            Told::End { sequence, reason, .. } => {
                assert!(seen.up, "a stream that is up ends");
                seen.up = false;
                seen.ended = Some(reason);
                let next = sent.starts(sequence);
                if in_order {
                    assert_eq!(seen.next, next, "everything up to the end was told");
                } else {
                    let told = seen.came.len() as u64 + seen.lost;
                    assert_eq!(told, next - seen.start, "everything up to the end was told: {seen:?}");
                }
                if reason == EndReason::Closed {
                    assert_eq!(sequence, sent.lead() + 1, "a closed stream ends behind its last datagram");
                }
            }
            _ => unreachable!("an event nobody thought of"),
        }
    }
}
