//! Streams whose next message is in parts, and has to wait for the memory that others take: in line, so that none is passed over for
//! ever by shorter ones, or by a stream that has one large message after another. Those before are soon whole; until then the
//! publisher is held back like by anything else that is not delivered.

use super::stream::Stream;
use super::{Contract, Subscriber};
use crate::protocol::time::{Time, nanos};
use crate::wire::{Datagram, Fragment, flag};
use std::time::Duration;

/// A message waits for memory for so long at the most, and is told as a gap then: those that have it may never be whole. So do all that are
/// left of a stream that is over, together. Where those before it in line go on it is not for nothing, and it waits again.
const PATIENCE: Duration = Duration::from_millis(500);
/// But no longer than a publisher does for a stream that makes no progress: that has a second by default.
const MOST: Duration = Duration::from_millis(900);
/// Who comes to look so much later than it is time has not looked for what came meanwhile, and does so first.
const LATE: Duration = Duration::from_millis(50);
/// A message that takes no more than this part of what is left passes those that stand in line.
const SMALL_PART: usize = 8;

/// A stream that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hungry {
    pub(super) stream: usize,
    /// Bytes of its message.
    total: usize,
    /// Since when, and since when nothing moved; none until it was looked at.
    begun: Option<Time>,
    since: Option<Time>,
}

impl Hungry {
    fn until(&self) -> Time {
        let (Some(begun), Some(since)) = (self.begun, self.since) else { return Time(0) };
        (since + PATIENCE).min(begun + MOST)
    }
}

impl Subscriber {
    /// A stream leaves the line, if it stands there: where it stood, and since when.
    pub(super) fn leave_line(&mut self, index: usize) -> Option<(usize, Hungry)> {
        let stream = self.streams[index].as_mut()?;
        if !std::mem::take(&mut stream.hungry) {
            return None;
        }
        let at = self.hungry.iter().position(|hungry| hungry.stream == index)?;
        Some((at, self.hungry.remove(at)))
    }

    /// The length of the message that a datagram begins, if that has to wait for memory that others have, where it stood in the line
    /// before. One that can never have as much, and one that is too long, does not wait.
    pub(super) fn waits(
        &self,
        stream: &Stream,
        datagram: &Datagram<'_>,
        stood: Option<usize>,
    ) -> Option<usize> {
        let header = &datagram.header;
        let contract = self.config.contract;
        if !header.has(flag::FRAGMENT)
            || !matches!(contract, Contract::Ordered | Contract::Deadline(_))
            || stream.hurried
            || header.message < stream.next_message
        {
            return None;
        }
        let fragment = Fragment::parse(datagram.payload).ok().filter(Fragment::is_first)?;
        let total = fragment.total as usize;
        let possible = total <= self.config.max_message.min(self.config.reassembly);
        let left = self.reassembly.left();
        let passes = stood.unwrap_or(self.hungry.len()) == 0 || total <= left / SMALL_PART;
        (possible && !(passes && total <= left)).then_some(total)
    }

    /// A stream stands in line: where it stood, or at the end.
    pub(super) fn stand_in_line(&mut self, index: usize, total: usize, stood: Option<(usize, Hungry)>) {
        let new = Hungry { stream: index, total, begun: None, since: None };
        let (at, hungry) = stood.unwrap_or((self.hungry.len(), new));
        if let Some(stream) = self.streams[index].as_mut() {
            stream.hungry = true;
            self.hungry.insert(at, Hungry { total, ..hungry });
        }
    }

    /// Whether there is memory for the first in line.
    pub(super) fn may_feed(&self) -> bool {
        self.hungry.first().is_some_and(|first| first.total <= self.reassembly.left())
    }

    /// The first in line goes on, where there is memory for it; whether it does.
    pub(super) fn feed(&mut self) -> bool {
        while self.may_feed() {
            let index = self.hungry[0].stream;
            if self.streams[index].as_ref().is_some_and(|stream| !stream.over) {
                self.enqueue(index);
                return true;
            }
            self.hungry.remove(0);
        }
        false
    }

    /// One of them went on.
    pub(super) fn line_moves(&mut self) {
        self.hungry.iter_mut().for_each(|hungry| hungry.since = None);
    }

    /// A stream was looked at that had nothing to begin any more: what it stood in line for may be missing again.
    pub(super) fn had_nothing(&mut self, index: usize) {
        if self.may_feed() && self.hungry[0].stream == index {
            self.leave_line(index);
        }
    }

    /// When the first of those that wait has waited for long enough. Who does not take what is here keeps them waiting, and nobody else.
    pub(super) fn hungry_until(&self) -> Option<Time> {
        self.hungry.iter().filter(|_| self.ready.is_empty()).map(Hungry::until).min()
    }

    /// Who has waited for long enough waits no more.
    pub(super) fn hunger(&mut self, now: Time) {
        let taken = self.ready.is_empty();
        for at in 0..self.hungry.len() {
            let hungry = &mut self.hungry[at];
            if hungry.begun.is_none() || !taken {
                (hungry.begun, hungry.since) = (Some(now), Some(now));
            }
            hungry.since.get_or_insert(now);
            let until = hungry.until();
            if now.since(until) > LATE {
                (hungry.begun, hungry.since) =
                    (Some(now), Some(Time(now.0.saturating_sub(nanos(PATIENCE - LATE)))));
            } else if until.is_due(now) {
                let index = hungry.stream;
                if let Some(stream) = self.streams[index].as_mut() {
                    stream.hurried = true;
                }
                self.enqueue(index);
            }
        }
    }
}
