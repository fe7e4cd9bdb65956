//! What happens when time passes: deadlines, retries, signs of life, sources that fell silent.

use super::source::{Known, Source};
use super::{Contract, Subscriber};
use crate::protocol::event::GapReason;
use crate::protocol::time::Time;
use std::cmp::Reverse;
use std::time::Duration;

/// What asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A NAK is due.
    Nak,
    /// A stream's name is asked for again.
    Name,
    /// A message has been held for the deadline.
    Deadline,
    /// A message has waited for memory for long enough.
    Memory,
    /// A sign of life is due.
    Status,
    /// A source may have fallen silent.
    Silence,
    /// Something can be sent now.
    Transmit,
}

impl Subscriber {
    /// When to call [`handle_timeout`](Self::handle_timeout) and then transmit, and why. `None`: nothing is waited for.
    pub fn poll_timeout(&self, now: Time) -> Option<(Time, Reason)> {
        if self.urgent {
            return Some((now, Reason::Transmit));
        }
        let mut next = (self.tick, Reason::Status);
        let mut consider = |at: Time, reason| {
            if at < next.0 {
                next = (at, reason);
            }
        };
        for stream in self.lossy.iter().filter_map(|&index| self.streams[index].as_ref()) {
            if self.is_there(stream.source) {
                consider(stream.gaps.earliest(), Reason::Nak);
            }
            if let Contract::Deadline(deadline) = self.config.contract {
                consider(stream.gaps.held_for(deadline), Reason::Deadline);
            }
        }
        if let Some(at) = self.hungry_until() {
            consider(at, Reason::Memory);
        }
        if let Some(&Reverse((at, ..))) = self.asking.peek() {
            consider(at, Reason::Name);
        }
        for source in self.sources.iter().flatten().filter(|source| !source.gone) {
            consider(source.gone_at(), Reason::Silence);
        }
        (next.0 < Time::NEVER).then_some(next)
    }

    /// What of that may be done while datagrams are left to read: all but finding silence, for what is not read yet may be
    /// of the source that seems silent. Then transmit, and `advance`.
    pub fn handle_due(&mut self, now: Time) {
        self.hunger(now);
        if let Contract::Deadline(deadline) = self.config.contract {
            self.deadlines(now, deadline);
        }
        if self.tick.is_due(now) {
            self.signs_of_life(now);
        }
    }

    /// Does what is due. Then transmit, and `advance`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.handle_due(now);
        for index in 0..self.sources.len() {
            let gone = |source: &Source| !source.gone && source.gone_at().is_due(now);
            if self.sources[index].as_ref().is_some_and(gone) {
                self.silence(index);
                let subscribed =
                    |source: &Source| source.streams.values().any(|k| matches!(k, Known::Subscribed(_)));
                if !self.sources[index].as_ref().is_some_and(subscribed) {
                    self.remove_source(index);
                }
            }
        }
    }

    fn deadlines(&mut self, now: Time, deadline: Duration) {
        for at in 0..self.lossy.len() {
            let index = self.lossy[at];
            let Some(stream) = self.streams[index].as_mut() else { continue };
            if stream.gaps.give_up_held(now, deadline, GapReason::Deadline) {
                self.gave_up(index);
            }
        }
    }
}
