//! What an interval comes to: a [`Snapshot`], from which every output is written.

use crate::distinct::Distinct;
use crate::name::Identity;
use crate::samples::Samples;
use crate::shard::{Interval, Tally};
use crate::timer::{self, Plan};
use std::sync::Arc;

/// A counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Who it is.
    pub series: Arc<Identity>,
    /// What was added up.
    pub count: f64,
    /// The same in a second.
    pub rate: f64,
}

/// A gauge, or the members of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Who it is.
    pub series: Arc<Identity>,
    /// Its value, or how many distinct members there were.
    pub value: f64,
    /// Whether it is a set with too many members to keep them: then the value is an estimate, as of [`crate::distinct`].
    pub is_estimated: bool,
}

/// A timer.
#[derive(Clone, Debug, PartialEq)]
pub struct Timer {
    /// Who it is.
    pub series: Arc<Identity>,
    /// Each statistic, by the number of its name in [`Plan::names`].
    pub fields: Vec<(u16, f64)>,
    /// How many samples there were in each bin, by the number of its name in [`Plan::names`]; empty without bins.
    pub bins: Vec<(u16, f64)>,
    /// How many samples it stands for, and whether they are milliseconds. Their values, ascending, are there only if they
    /// were to be kept.
    pub samples: Samples,
    /// As of [`Samples::sum`], also when the values were not kept.
    pub sum: Option<f64>,
}

impl Timer {
    /// Whether it had too many values to keep them: what has to do with their order is within [`crate::sketch::ERROR`].
    #[must_use]
    pub fn is_sketched(&self) -> bool {
        self.fields.iter().any(|&(number, _)| number == timer::SKETCHED)
    }
}

/// One listener's datagrams in an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Where it listens.
    pub listener: String,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams that were longer than the room there was for one, and were cut.
    pub truncated: u64,
    /// Datagrams that the kernel dropped on the listener's socket; `None` where the platform does not tell.
    pub kernel_drops: Option<u64>,
    /// Connections for which there was no room.
    pub refused: u64,
}

impl Heard {
    /// Adds one to those of its listener, or to the list: one that ended may have begun again.
    pub fn add_to(self, all: &mut Vec<Heard>) {
        let Some(known) = all.iter_mut().find(|known| known.listener == self.listener) else {
            return all.push(self);
        };
        known.received += self.received;
        known.truncated += self.truncated;
        known.refused += self.refused;
        // Once nobody knows how many, nobody knows the total.
        known.kernel_drops = known.kernel_drops.zip(self.kernel_drops).map(|(a, b)| a + b);
    }
}

/// What the collector tells of itself, beside what its shards counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// Each listener's datagrams.
    pub heard: Vec<Heard>,
    /// How long working out this snapshot took, in milliseconds.
    pub processing_ms: u64,
    /// How many seconds later than the interval this flush came after the last; `None` for the first.
    pub timestamp_lag: Option<f64>,
    /// How the sending to Graphite went until now; `None` without.
    pub graphite: Option<crate::output::queue::Sent>,
    /// What part of the datagrams was lost, if counters are to be told as they were sent, too: see [`loss`].
    pub loss: Option<f64>,
    /// Flushes that could not be written to the file since the last one.
    pub unwritten: u64,
    /// How sending on to other servers went.
    pub repeated: Vec<crate::output::repeater::Repeated>,
}

/// What part of the datagrams the kernel dropped, from 0 up to 1; `None` where nobody knows.
///
/// With it `count / (1 - loss)` estimates what was sent, on the assumption that what was dropped held as much of each series as
/// what was received, at every listener alike.
#[must_use]
pub fn loss(heard: &[Heard]) -> Option<f64> {
    let drops = heard.iter().try_fold(0, |sum, heard| Some(sum + heard.kernel_drops?))?;
    let received = heard.iter().map(|heard| heard.received).sum::<u64>();
    // Of nothing nothing was lost; and if nothing came, nothing can be said.
    match (drops, received) {
        (0, _) => Some(0.0),
        (_, 0) => None,
        _ => Some(drops as f64 / (drops + received) as f64),
    }
}

/// All that one flush has to tell. In order of names, so that it is the same every time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken, in seconds since 1970.
    pub time: u64,
    /// The flush interval in seconds, by which rates are reckoned: also when the last one is cut short, since whoever keeps
    /// rates takes each for a whole interval.
    pub seconds: f64,
    /// The names of what is in [`Timer`].
    pub plan: Arc<Plan>,
    /// The counters.
    pub counters: Vec<Counter>,
    /// The gauges.
    pub gauges: Vec<Value>,
    /// The timers.
    pub timers: Vec<Timer>,
    /// The sets.
    pub sets: Vec<Value>,
    /// What came in, and what of it was lost here.
    pub tally: Tally,
    /// What else the collector tells of itself.
    pub own: Own,
}

impl Snapshot {
    /// Works out what the shards' intervals come to. Each series is in one shard.
    #[must_use]
    pub fn new(intervals: Vec<Interval>, plan: &Arc<Plan>, time: u64, seconds: f64) -> Snapshot {
        Snapshot::keeping(intervals, plan, time, seconds, false)
    }

    /// As [`Snapshot::new`]; timers keep their values if an output needs more of them than the plan has.
    #[must_use]
    pub fn keeping(
        intervals: Vec<Interval>,
        plan: &Arc<Plan>,
        time: u64,
        seconds: f64,
        keep: bool,
    ) -> Snapshot {
        let mut snapshot = Snapshot {
            time,
            seconds,
            plan: Arc::clone(plan),
            counters: Vec::new(),
            gauges: Vec::new(),
            timers: Vec::new(),
            sets: Vec::new(),
            tally: Tally::default(),
            own: Own::default(),
        };
        for interval in intervals {
            snapshot.add(interval, keep);
        }
        snapshot.counters.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot.gauges.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot.timers.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot.sets.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot
    }

    /// What a counter would have come to without loss, if that is to be told and can be.
    #[must_use]
    pub fn estimate(&self, counter: &Counter) -> Option<f64> {
        self.own.loss.map(|loss| counter.count / (1.0 - loss))
    }

    /// How many timers had too many values to keep them.
    #[must_use]
    pub fn sketched(&self) -> usize {
        self.timers.iter().filter(|timer| timer.is_sketched()).count()
    }

    /// The sets that had too many members to keep them.
    pub fn estimated(&self) -> impl Iterator<Item = &Value> {
        self.sets.iter().filter(|set| set.is_estimated)
    }

    /// How many series are told, the collector's own three counters and its gauge among them, as the original counts.
    #[must_use]
    pub fn num_stats(&self) -> usize {
        let series = self.counters.len() + self.gauges.len() + self.timers.len() + self.sets.len();
        series + 3 + usize::from(self.own.timestamp_lag.is_some())
    }

    /// What came in the interval, by the names of the original's own counters.
    #[must_use]
    pub fn came(&self) -> [(&'static str, u64); 3] {
        let tally = &self.tally;
        [
            ("bad_lines_seen", tally.bad),
            ("packets_received", tally.packets),
            ("metrics_received", tally.metrics),
        ]
    }

    /// What else the collector counted in the interval, by name.
    #[must_use]
    pub fn counted(&self) -> [(&'static str, u64); 11] {
        let (tally, own) = (&self.tally, &self.own);
        [
            ("processing_time", own.processing_ms),
            ("truncated", tally.truncated),
            ("unknown_fields", tally.unknown_fields),
            ("excess_series", tally.excess_series),
            ("excess_samples", tally.excess_samples),
            ("excess_members", tally.excess_members),
            ("sketched_timers", self.sketched() as u64),
            ("estimated_sets", self.estimated().count() as u64),
            ("timestamped_not_carried", tally.timestamped),
            ("events_not_carried", tally.events),
            ("flushes_not_written", own.unwritten),
        ]
    }

    /// Both, and how many series are told, by name.
    pub fn own_values(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all =
            self.came().into_iter().chain([("numStats", self.num_stats() as u64)]).chain(self.counted());
        all.map(|(name, count)| (name, count as f64))
    }

    fn add(&mut self, interval: Interval, keep: bool) {
        let seconds = self.seconds;
        let counter = |(series, count)| Counter { series, count, rate: count / seconds };
        self.counters.extend(interval.counters.into_iter().map(counter));
        let gauge = |(series, value)| Value { series, value, is_estimated: false };
        self.gauges.extend(interval.gauges.into_iter().map(gauge));
        for (series, mut samples) in interval.timers {
            let (fields, bins) = timer::work_out(&self.plan, series.as_str(), &mut samples, seconds);
            let sum = samples.sum();
            if !keep {
                samples.forget();
            }
            self.timers.push(Timer { series, fields, bins, samples, sum });
        }
        let members = |(series, members): (_, Distinct)| Value {
            series,
            value: members.count as f64,
            is_estimated: members.is_estimated,
        };
        self.sets.extend(interval.sets.into_iter().map(members));
        self.tally.add(interval.tally);
    }
}
