//! What happens when time passes: deadlines, retries, signs of life, sources that fell silent.

use super::source::{Known, Source};
use super::{Contract, Subscriber};
use crate::protocol::event::GapReason;
use crate::protocol::time::Time;
use std::time::Duration;

/// A receiver gives a sign of life at least this often.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// The larger the group the rarer: all receivers together send no more than 200 a second.
const STATUS_PER_RECEIVER: Duration = Duration::from_millis(5);

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
            if !self.sources[stream.source].as_ref().is_some_and(|source| source.gone) && self.asks() {
                consider(stream.gaps.earliest(), Reason::Nak);
            }
            if let Contract::Deadline(deadline) = self.config.contract
                && let Some(missing) = stream.gaps.first().filter(|missing| missing.given_up.is_none())
            {
                consider(missing.held + deadline, Reason::Deadline);
            }
        }
        for &(source, stream) in &self.asking {
            let known = self.sources[source].as_ref().and_then(|source| source.streams.get(&stream));
            if let Some(Known::Unnamed(unnamed)) = known {
                consider(unnamed.ask, Reason::Name);
            }
        }
        for source in self.sources.iter().flatten().filter(|source| !source.gone) {
            consider(source.gone_at(), Reason::Silence);
        }
        (next.0 < Time::NEVER).then_some(next)
    }

    /// Does what is due. Then transmit, and `advance`.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Contract::Deadline(deadline) = self.config.contract {
            self.deadlines(now, deadline);
        }
        if self.tick.is_due(now) {
            self.signs_of_life(now);
        }
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
            let Some(&missing) = stream.gaps.first() else { continue };
            if missing.given_up.is_none() && (missing.held + deadline).is_due(now) {
                stream.gaps.give_up_to(missing.last, missing.next, GapReason::Deadline);
                self.gave_up(index);
            }
        }
    }

    fn signs_of_life(&mut self, now: Time) {
        let since = Time(now.0.saturating_sub(crate::protocol::time::nanos(STATUS_INTERVAL) * 2));
        self.busy =
            (self.streams.iter().flatten().filter(|stream| stream.data > since).count() as u64).max(1);
        let group = self.sources.iter().flatten().filter(|s| !s.gone).map(Source::group_size).max();
        let Some(group) = group else {
            self.tick = Time::NEVER;
            return;
        };
        self.tell_all();
        self.tick = now + STATUS_INTERVAL.max(STATUS_PER_RECEIVER * group);
    }
}
