//! NAKs are written here, and what else asks for something.

use super::data::askable;
use super::source::Known;
use super::status::{LEAST_CREDIT, buffered};
use super::{Contract, Subscriber};
use crate::protocol::time::{Time, nanos};
use crate::wire::{HEADER_LENGTH, Header, Kind, Nak, flag};
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of the largest datagram a subscriber sends.
pub(super) const DATAGRAM: usize = 1_408;
/// The first wait between two askings for a name.
const NAME_RETRY: Duration = Duration::from_millis(5);
/// So often a name is asked for before the waits are doubled: until it is known nothing can be repaired, and the publisher
/// does not know that it is waited for.
const NAME_RETRIES: u32 = 6;
/// Doubled so often at the most: a name that nobody tells costs a datagram in five seconds.
const MOST_NAME_BACKOFF: u32 = 10;

/// A datagram to be sent now; [`Subscriber::datagram`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes: the address its source's data comes from.
    pub to: SocketAddr,
    /// Its length, bytes.
    pub length: usize,
}

impl Subscriber {
    /// Whether there is something to send that should not wait for a time-out.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// The next datagram to send, if there is one now.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        let transmit = self.nak(now).or_else(|| self.name(now)).or_else(|| self.status(now));
        if transmit.is_none() {
            self.urgent = false;
        }
        transmit
    }

    /// The bytes of what `poll_transmit` gave last.
    pub fn datagram(&self, transmit: &Transmit) -> &[u8] {
        &self.buffer[..transmit.length]
    }

    /// How long ago the newest stamp of a source was heard, as it goes on the wire.
    pub(super) fn held(now: Time, stamped: Time) -> u32 {
        u32::try_from(nanos(now.since(stamped))).unwrap_or(u32::MAX)
    }

    pub(super) fn emit(&mut self, header: Header, to: SocketAddr, payload: usize, now: Time) -> Transmit {
        let header = Header { sent: now.0.wrapping_add(self.config.wall_offset), ..header };
        header.emit(&mut self.buffer, payload);
        Transmit { to, length: HEADER_LENGTH + payload }
    }

    /// All that is due of one stream.
    fn nak(&mut self, now: Time) -> Option<Transmit> {
        let by_arrival = self.config.contract == Contract::Arrival;
        let mut at = 0;
        while let Some(&index) = self.lossy.get(at) {
            let Some(stream) = self.streams[index].as_mut().filter(|stream| !stream.gaps.is_empty()) else {
                if let Some(stream) = self.streams[index].as_mut() {
                    stream.lossy = false;
                }
                self.lossy.swap_remove(at);
                continue;
            };
            at += 1;
            if !stream.gaps.earliest().is_due(now) {
                continue;
            }
            let Some(source) = &self.sources[stream.source] else { continue };
            if source.gone {
                continue;
            }
            // What one NAK has no room for, or that cannot wait where it can, goes with it.
            let may_ask = stream.asked + source.spacing();
            if stream.asked < now && !may_ask.is_due(now) {
                stream.gaps.put_off(may_ask);
                continue;
            }
            if stream.told.greetings == 0 {
                // Who asks is to be known: a stranger's repairs go to all.
                self.tell(index);
                return self.status(now);
            }
            let (sharing, lossy) = (self.sharing(), self.lossy.len() as u64);
            let Some(stream) = self.streams[index].as_mut() else { continue };
            let Some(source) = &self.sources[stream.source] else { continue };
            let until = askable(stream, &self.pool, sharing, by_arrival);
            // Half of what the sockets hold, for all that miss something: live data comes besides.
            let half = buffered(self.config.receive_buffer, stream.datagram) / 2;
            let credit = (half / lossy).max(LEAST_CREDIT);
            let mut list = Nak::emit(
                &mut self.buffer[HEADER_LENGTH..],
                self.config.receiver,
                Self::held(now, source.stamped),
            );
            let (mut asked, mut again, mut catching_up) = (0, false, None);
            let catch_up_to = stream.catch_up_to;
            stream.gaps.take_due(now, until, credit, source.retry(now), |range, tries| {
                // What can wait and what cannot are asked for apart: the flag is of the whole NAK.
                let can_wait = range.last() <= catch_up_to;
                let taken = *catching_up.get_or_insert(can_wait) == can_wait && list.push_range(range);
                again |= taken && tries > 0;
                asked += if taken { u64::from(range.count) } else { 0 };
                taken
            });
            if asked == 0 {
                continue;
            }
            let length = list.length();
            stream.asked = now;
            self.stats.naks += 1;
            self.stats.nak_datagrams += asked;
            let header = Header {
                flags: if catching_up == Some(true) { flag::CATCHING_UP } else { 0 },
                stamp: source.stamp,
                ..Header::new(Kind::Nak, source.id, stream.id)
            };
            let (to, source) = (source.address, stream.source);
            if let Some(source) = self.source(source) {
                source.asked(now, again);
            }
            return Some(self.emit(header, to, length, now));
        }
        None
    }

    /// A stream's name is asked for, or its state.
    fn name(&mut self, now: Time) -> Option<Transmit> {
        while let Some(&Reverse((at, index, stream))) = self.asking.peek()
            && at.is_due(now)
        {
            self.asking.pop();
            let Some(source) = self.sources[index].as_mut().filter(|source| !source.gone) else { continue };
            match source.streams.get_mut(&stream) {
                Some(Known::Unnamed(unnamed)) if unnamed.ask == at => {
                    let doubled = unnamed.tries.saturating_sub(NAME_RETRIES).min(MOST_NAME_BACKOFF);
                    unnamed.ask = now + NAME_RETRY * (1 << doubled);
                    unnamed.tries += 1;
                    self.asking.push(Reverse((unnamed.ask, index, stream)));
                }
                Some(&mut Known::Subscribed(subscribed)) => {
                    let state = self.streams[subscribed].as_mut().filter(|state| state.ask_state == at);
                    let Some(state) = state else { continue };
                    // Once: what made it ask comes again.
                    state.ask_state = Time::NEVER;
                    state.state_asked = now;
                }
                _ => continue,
            }
            let list = Nak::emit(
                &mut self.buffer[HEADER_LENGTH..],
                self.config.receiver,
                Self::held(now, source.stamped),
            );
            let length = list.length();
            let header = Header {
                flags: flag::NAME_WANTED,
                stamp: source.stamp,
                ..Header::new(Kind::Nak, source.id, stream)
            };
            let to = source.address;
            self.stats.names_asked += 1;
            return Some(self.emit(header, to, length, now));
        }
        None
    }
}
