//! What must be done in time: invariants as in `invariants`, of a publisher's part.

use nakcast::protocol::Time;
use nakcast::protocol::publisher::Publisher;
use nakcast::sim::PublisherId;
use nakcast::wire::{Body, Datagram, Kind, MAX_DATAGRAM};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A publisher here has no more.
pub const MOST_STREAMS: u32 = 4;
const LONGEST_SPAN: Duration = Duration::from_secs(10);
/// The first heartbeat follows a change after this, or after so many round trips; and what may come in between takes no longer
/// than three heartbeats do, each after twice the time.
const FIRST_BEAT: Duration = Duration::from_millis(1);
const FIRST_BEAT_ROUND_TRIPS: u32 = 3;
const THREE_BEATS: u32 = 1 + 2 + 4;
/// Watches what a publisher sends, and when.
#[derive(Debug, Default)]
pub struct Sending {
    /// Repairs sent while live data waited, in the last ten seconds of such.
    repairs: VecDeque<(Time, u64)>,
    /// Its socket refuses some of what is sent.
    pub refused: bool,
    /// What was sent beyond the rate, bytes, and as of when.
    ahead: (f64, Time),
    /// By stream: when its last datagram is shown at the latest, if that was not followed yet.
    unshown: BTreeMap<u32, Time>,
}

impl Sending {
    pub fn sent(
        &mut self,
        now: Time,
        id: PublisherId,
        core: &Publisher,
        datagram: &Datagram<'_>,
        length: usize,
    ) {
        let stream = datagram.header.stream;
        if matches!(datagram.header.kind, Kind::Data | Kind::Repair) {
            self.the_rate_is_kept(now, id, core, length);
        }
        match datagram.header.kind {
            Kind::Repair => self.repairs_are_within_their_share(now, id, core, length),
            Kind::Data if !self.refused => {
                let few = Duration::from_nanos(core.stats().round_trip_ns) * FIRST_BEAT_ROUND_TRIPS;
                let idle = core.config().idle_interval;
                let after = if core.config().max_rate.is_some() {
                    idle
                } else {
                    (FIRST_BEAT.max(few) * THREE_BEATS).min(idle)
                };
                self.unshown.insert(stream, now + after);
            }
            Kind::End => drop(self.unshown.remove(&stream)),
            _ => {}
        }
        if let Ok(Body::Heartbeat(heartbeat)) = datagram.body() {
            for state in heartbeat.streams().flatten() {
                self.unshown.remove(&state.stream);
            }
        }
    }

    /// What was sent last is found missing in time: a stream's last datagram is followed by a heartbeat that shows it, or by
    /// the stream's end, a few milliseconds or round trips later, whichever is longer (where a rate is set, which
    /// heartbeats have a small part of, an idle interval later); unless more waits to be sent, or the socket refuses some of what
    /// is sent: a heartbeat is not sent again.
    pub fn the_last_is_shown_in_time(&mut self, now: Time, id: PublisherId, core: &Publisher) {
        self.unshown.retain(|&stream, _| core.pending(stream).0 == 0);
        if let Some((stream, by)) = self.unshown.iter().find(|&(_, &by)| now > by) {
            panic!("{id} has not shown what stream {stream} sent last {:?} after it was due", now.since(*by));
        }
    }

    /// The rate is kept: data and repairs together are never further ahead of it than what may leave at once, which is a
    /// millisecond's worth or 1,500 bytes, and one run beyond.
    fn the_rate_is_kept(&mut self, now: Time, id: PublisherId, core: &Publisher, length: usize) {
        let Some(rate) = core.config().max_rate else { return };
        let (before, at) = self.ahead;
        let ahead = (before - now.since(at).as_secs_f64() * rate as f64 / 8.0).max(0.0) + length as f64;
        self.ahead = (ahead, now);
        let most = at_once(core, rate);
        // Fractions are rounded.
        assert!(ahead <= most + 1.0, "{id} is {ahead} bytes ahead of its rate, of {most} it may");
    }

    /// Repairs are within their budget: where a rate is set and live data waits, repairs have at most three quarters of the
    /// rate, and a tenth more those for receivers that catch up; each besides what may leave at once: a millisecond's worth or
    /// 1,500 bytes, and one run beyond. Looked at over every span of up to ten seconds. (What live data leaves of the rate,
    /// repairs may have.)
    fn repairs_are_within_their_share(
        &mut self,
        now: Time,
        id: PublisherId,
        core: &Publisher,
        length: usize,
    ) {
        let Some(rate) = core.config().max_rate else { return };
        let waits = (1..=MOST_STREAMS).any(|stream| core.pending(stream).0 > 0);
        if !waits {
            self.repairs.clear();
            return;
        }
        self.repairs.push_back((now, length as u64));
        while self.repairs.front().is_some_and(|&(at, _)| now.since(at) >= LONGEST_SPAN) {
            self.repairs.pop_front();
        }
        let burst = at_once(core, rate);
        let span = self.repairs.front().map_or(Duration::ZERO, |&(at, _)| now.since(at)).as_secs_f64();
        let sent: u64 = self.repairs.iter().map(|&(_, bytes)| bytes).sum();
        let most = rate as f64 / 8.0 * 0.85 * span + 2.0 * burst;
        assert!(sent as f64 <= most, "{id} sent {sent} bytes of repairs in {span} s, of {most} it may");
    }
}

/// Bytes that may leave at once where there is a rate, in bits a second.
fn at_once(core: &Publisher, rate: u64) -> f64 {
    let run = (core.config().datagram * 64).min(MAX_DATAGRAM);
    (rate as f64 / 8_000.0).max(1_500.0) + run as f64
}
