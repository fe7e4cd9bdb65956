//! What happens when time passes: heartbeats, flushes, patience, receivers that fell silent.

use super::room::Hold;
use super::{BackPressure, Publisher, Time};
use crate::protocol::crowd;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The first heartbeat follows a change after this, or after a few round trips where those are longer: sooner would
/// add a datagram to every lone message, later would leave a lost last message lying.
const FIRST_BEAT: Duration = Duration::from_millis(1);
/// Round trips to the first heartbeat: what was lost comes a round trip after a heartbeat at the soonest, so that three before
/// it at most quadruple that; and whoever publishes again within them is spared the heartbeat. Each further one doubles the
/// wait, up to the idle interval, so that a pause costs as many datagrams as its length has doublings, and the loss of a
/// heartbeat at most doubles the time that a lost last message lies there.
const FIRST_BEAT_ROUND_TRIPS: u32 = 3;
/// A receiver that does not know that it is waited for is asked how far it is after this, or a round trip: it may say so by itself.
const FIRST_ASKING: Duration = Duration::from_micros(100);
/// While a stream is held back by a receiver, its heartbeats come no further apart than the first doubled so often.
const HELD_DOUBLINGS: u32 = 2;
/// Of many streams that are held back so many are looked at at a time, whether they still are: each may look at all others.
const MOST_LOOKS: usize = 8;
/// A change in the group is told in a heartbeat after this, together with others that come meanwhile.
const TELL_SOON: Duration = Duration::from_millis(5);
/// Announces in slow rotation, at each idle interval.
const ANNOUNCES: u32 = 4;
/// A receiver from which nothing was heard for this many idle intervals is forgotten.
const FORGET_AFTER: u32 = 10;
/// And for so many of the intervals at which a large group's receivers send status.
const FORGET_STATUS: u32 = 5;

/// What asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A message has waited long enough for others to share its datagram.
    Flush,
    /// A stream changed a while ago.
    StreamHeartbeat,
    /// The source must be heard from.
    Heartbeat,
    /// The token bucket has tokens again, or those who catch up have waited long enough.
    Rate,
    /// A receiver holds the others back.
    Patience,
    /// A receiver may have fallen silent.
    Silence,
    /// Receivers have had the time to be heard from that a new stream gives them.
    Start,
}

/// When what is due.
#[derive(Debug)]
pub(super) struct Timers {
    /// Streams by when they are looked at: their next heartbeat may be due, or have moved on since. An entry that is not the
    /// stream's own any more is passed over.
    beats: BinaryHeap<Reverse<(Time, u32)>>,
    /// The source's own heartbeat.
    heartbeat: Time,
    /// The group changed since the last heartbeat.
    tell: Time,
    flush: Time,
    patience: Time,
    /// A stream that holds another back has had its receivers' time to be heard from.
    start: Time,
    silence: Time,
    rotation: u32,
}

impl Timers {
    pub(super) fn new(now: Time) -> Timers {
        Timers {
            beats: BinaryHeap::with_capacity(16),
            heartbeat: now,
            tell: Time::NEVER,
            flush: Time::NEVER,
            patience: Time::NEVER,
            start: Time::NEVER,
            silence: Time::NEVER,
            rotation: 0,
        }
    }

    pub(super) fn flush_by(&mut self, at: Time) {
        self.flush = self.flush.min(at);
    }

    /// Nothing waits to be flushed.
    pub(super) fn flush_by_none(&mut self) {
        self.flush = Time::NEVER;
    }

    pub(super) fn patience_by(&mut self, at: Time) {
        self.patience = self.patience.min(at);
    }

    pub(super) fn start_by(&mut self, at: Time) {
        self.start = self.start.min(at);
    }

    /// The limit of those who are behind changed: others who are hold their status back when they hear of it.
    pub(super) fn tell_limit(&mut self, now: Time) {
        self.tell = self.tell.min(now + FIRST_BEAT);
    }

    /// The group changed: receivers time their NAKs by its size.
    pub(super) fn tell_soon(&mut self, now: Time) {
        self.tell = self.tell.min(now + TELL_SOON);
        self.silence = self.silence.min(now + TELL_SOON);
    }
}

impl Publisher {
    /// A stream has a new lead, or was opened or closed: heartbeats (or ends) follow, at doubling intervals.
    pub(super) fn changed(&mut self, id: u32, now: Time) {
        let few = self.receivers.round_trip().unwrap_or_default() * FIRST_BEAT_ROUND_TRIPS;
        let at = now + FIRST_BEAT.max(few).min(self.config.idle_interval);
        let Some(stream) = self.stream(id) else { return };
        stream.beats.count = 0;
        stream.beats.at = at;
        self.look_at_beats(id, at);
    }

    /// A stream is held back anew by a receiver: heartbeats ask for leave to go on. Where it has leave, what it needs is memory that is
    /// kept for that receiver, which does not know how soon it has to say that it needs it no more.
    pub(super) fn held_back(&mut self, id: u32, now: Time) {
        let round_trip = self.receivers.round_trip().unwrap_or_default();
        let idle_interval = self.config.idle_interval;
        let Some(stream) = self.stream(id) else { return };
        let has_leave = stream.places.limit().is_none_or(|(_, limit)| stream.window.next() <= limit);
        let at = if has_leave {
            stream.beats.ask = now + FIRST_ASKING.max(round_trip);
            stream.beats.ask
        } else {
            let wait = FIRST_BEAT.max(round_trip * FIRST_BEAT_ROUND_TRIPS) * (1 << HELD_DOUBLINGS);
            let at = now + wait.min(idle_interval);
            stream.beats.at = stream.beats.at.min(at);
            at
        };
        self.look_at_beats(id, at);
    }

    /// What holds a stream back, where that is a receiver still: in which stream it does, and the one that has the most memory, which would
    /// do as well.
    fn held_in(&self, id: u32, now: Time) -> Option<[u32; 2]> {
        let Err(Hold { by: BackPressure::Receiver(_), stream }) = self.room(id, now) else { return None };
        let richest = self.streams.iter().max_by_key(|stream| stream.window.chunks());
        Some([stream, richest.map_or(stream, |richest| richest.id)])
    }

    /// Shows a stream in a heartbeat; where it is held back, with those it is held back in, of which receivers are to say how far they
    /// are.
    fn show(&mut self, id: u32, held_in: Option<[u32; 2]>) {
        self.outbox.beating.push_back(id);
        self.outbox.asks |= held_in.is_some();
        for other in held_in.into_iter().flatten() {
            if self.outbox.beating.back() != Some(&other) && other != id {
                self.outbox.beating.push_back(other);
            }
        }
    }

    fn look_at_beats(&mut self, id: u32, at: Time) {
        let Some(stream) = self.stream(id) else { return };
        if at < stream.beats.look {
            stream.beats.look = at;
            self.timers.beats.push(Reverse((at, id)));
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and why.
    pub fn poll_timeout(&mut self, now: Time) -> (Time, Reason) {
        let mut next = (self.timers.heartbeat, Reason::Heartbeat);
        let mut consider = |at: Time, reason| {
            if at < next.0 {
                next = (at, reason);
            }
        };
        consider(self.timers.tell, Reason::Heartbeat);
        consider(self.timers.flush, Reason::Flush);
        consider(self.timers.patience, Reason::Patience);
        consider(self.timers.silence, Reason::Silence);
        consider(self.timers.start, Reason::Start);
        if let Some(&Reverse((at, _))) = self.timers.beats.peek() {
            consider(at, Reason::StreamHeartbeat);
        }
        if self.outbox.waits() {
            consider(self.shares.ready_at(self.outbox.is_catching_up(), now), Reason::Rate);
        }
        next
    }

    /// Does what is due. Then transmit.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.timers.flush.is_due(now) {
            self.flush_due(now);
        }
        self.beats_due(now);
        if self.timers.heartbeat.is_due(now) || self.timers.tell.is_due(now) {
            self.outbox.beat = true;
            self.timers.tell = Time::NEVER;
            if self.timers.heartbeat.is_due(now) {
                self.timers.heartbeat = now + self.config.idle_interval;
                self.announce_some();
            }
        }
        if self.timers.patience.is_due(now) {
            self.timers.patience = Time::NEVER;
            for id in 1..=self.streams.len() as u32 {
                if let Some(again) = self.lose_patience(id, now) {
                    self.timers.patience_by(again);
                }
            }
        }
        if self.timers.start.is_due(now) {
            // What was held back is tried again by whoever transmits.
            self.timers.start = Time::NEVER;
        }
        if self.timers.silence.is_due(now) {
            let silence = self.silence();
            let since = Time(now.0.saturating_sub(crate::protocol::time::nanos(silence)));
            let silent = self.receivers.silent_since(since);
            self.forget(&silent, false, now);
            self.timers.silence =
                self.receivers.least_heard().map_or(Time::NEVER, |heard| heard + silence + FIRST_BEAT);
        }
    }

    /// A receiver from which nothing was heard for this long is forgotten: not before it was silent for as long as one that makes no
    /// progress is waited for.
    fn silence(&self) -> Duration {
        let group = u32::try_from(self.receivers.len()).unwrap_or(u32::MAX);
        let silence = self.config.idle_interval.saturating_mul(FORGET_AFTER);
        silence.max(crowd::silence(group) * FORGET_STATUS).max(self.patience())
    }

    fn flush_due(&mut self, now: Time) {
        let mut next = Time::NEVER;
        for id in 1..=self.streams.len() as u32 {
            let at = self.streams[id as usize - 1].flush_at;
            if at.is_due(now) {
                self.seal(id);
            } else {
                next = next.min(at);
            }
        }
        self.timers.flush = next;
    }

    fn beats_due(&mut self, now: Time) {
        let mut looks = MOST_LOOKS;
        while let Some(&Reverse((at, id))) = self.timers.beats.peek() {
            if !at.is_due(now) {
                break;
            }
            self.timers.beats.pop();
            let idle = self.config.idle_interval;
            let few = self.receivers.round_trip().unwrap_or_default() * FIRST_BEAT_ROUND_TRIPS;
            let stream = &self.streams[id as usize - 1];
            if stream.released || stream.beats.look != at {
                continue;
            }
            let (beats, asks) = (stream.beats.at.is_due(now), stream.beats.ask.is_due(now));
            let held = stream.held.is_some();
            // Leave may have been given since, and the sender have given up.
            let looked = held && (beats || asks) && looks > 0;
            looks -= usize::from(looked);
            let held_in = if looked { self.held_in(id, now) } else { None };
            let holds = held && (!looked || held_in.is_some());
            let stream = &mut self.streams[id as usize - 1];
            stream.held = stream.held.filter(|_| holds);
            if asks {
                stream.beats.ask = match held_in {
                    Some(_) => now + FIRST_BEAT.max(few),
                    // Before those who were looked at are again.
                    None if holds => now + FIRST_BEAT / 2,
                    None => Time::NEVER,
                };
            }
            if beats {
                // Beyond the first that follows any change, and while more than that waits to be said anyway.
                let extra = stream.backlog() > 0 || stream.beats.count > 0;
                let shown = !extra || self.shares.shows(now);
                let stream = &mut self.streams[id as usize - 1];
                // Who is held back asks on for leave to go on: the status that gave it may be lost.
                let doublings = stream.beats.count.min(if held && shown { HELD_DOUBLINGS } else { 16 });
                let interval = FIRST_BEAT.max(few) * (1 << doublings);
                stream.beats.count += 1;
                // From the idle interval on the source's own heartbeat shows the stream; an end is said on and on.
                let goes_on = interval < idle || held || stream.closed;
                stream.beats.at = if goes_on { now + interval.min(idle) } else { Time::NEVER };
                if stream.is_over() {
                    self.end_soon(id);
                } else if shown {
                    self.show(id, held_in);
                }
            } else if held_in.is_some() && self.shares.shows(now) {
                self.show(id, held_in);
            }
            let beats = &mut self.streams[id as usize - 1].beats;
            beats.look = beats.at.min(beats.ask);
            if beats.look < Time::NEVER {
                self.timers.beats.push(Reverse((beats.look, id)));
            }
        }
    }

    fn announce_some(&mut self) {
        let count = self.streams.len() as u32;
        let mut announces = 0;
        for _ in 0..count {
            if announces == ANNOUNCES {
                break;
            }
            let id = self.timers.rotation % count + 1;
            self.timers.rotation = self.timers.rotation.wrapping_add(1);
            announces += u32::from(!self.streams[id as usize - 1].released);
            self.announce(id);
        }
    }
}
