//! Streams whose next message is in parts, and has to wait for the memory that others' take: these are soon whole, and until then its
//! publisher is held back like by anything else that is not delivered.

use super::assembly::Memory;
use super::stream::Stream;
use super::{Contract, Subscriber};
use crate::protocol::time::Time;
use crate::wire::{Datagram, Fragment, flag};
use std::time::Duration;

/// A message waits for memory for so long at the most, and is told as a gap then: those that have it may never be whole. A publisher's
/// patience is twice as long by default.
const PATIENCE: Duration = Duration::from_millis(500);

/// A stream that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hungry {
    pub(super) stream: usize,
    /// Since when; none until it was looked at.
    since: Option<Time>,
}

impl Hungry {
    /// When it has waited for long enough.
    pub(super) fn until(&self) -> Time {
        self.since.map_or(Time(0), |since| since + PATIENCE)
    }
}

/// Whether a datagram begins a message that there is no memory for now, and will be.
pub(super) fn waits(contract: Contract, memory: &Memory, stream: &Stream, datagram: &Datagram<'_>) -> bool {
    let header = &datagram.header;
    header.has(flag::FRAGMENT)
        && matches!(contract, Contract::Ordered | Contract::Deadline(_))
        && !stream.hurried
        && header.message >= stream.next_message
        && Fragment::parse(datagram.payload)
            .is_ok_and(|fragment| fragment.is_first() && memory.is_taken_by_others(fragment.total as usize))
}

impl Subscriber {
    /// A stream waits for memory.
    pub(super) fn starve(&mut self, index: usize) {
        let left = self.reassembly.left();
        self.fed_with = if self.hungry.is_empty() { left } else { self.fed_with.min(left) };
        if let Some(stream) = self.streams[index].as_mut()
            && !std::mem::replace(&mut stream.hungry, true)
        {
            self.hungry.push(Hungry { stream: index, since: None });
        }
    }

    /// A stream waits no more.
    pub(super) fn is_fed(&mut self, index: usize) {
        if let Some(stream) = self.streams[index].as_mut()
            && std::mem::take(&mut stream.hungry)
        {
            self.hungry.retain(|hungry| hungry.stream != index);
        }
    }

    /// Those that wait are looked at again, where there is more memory since; whether there are any.
    pub(super) fn feed(&mut self) -> bool {
        let left = self.reassembly.left();
        if self.hungry.is_empty() || left <= self.fed_with {
            return false;
        }
        self.fed_with = left;
        for at in 0..self.hungry.len() {
            self.enqueue(self.hungry[at].stream);
        }
        true
    }

    /// Who has waited for long enough waits no more.
    pub(super) fn hunger(&mut self, now: Time) {
        for at in 0..self.hungry.len() {
            let hungry = &mut self.hungry[at];
            let (index, is_over) = (hungry.stream, hungry.until().is_due(now) && hungry.since.is_some());
            hungry.since.get_or_insert(now);
            if is_over && let Some(stream) = self.streams[index].as_mut() {
                stream.hurried = true;
                self.enqueue(index);
            }
        }
    }
}
