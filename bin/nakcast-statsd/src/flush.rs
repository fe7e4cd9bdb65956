//! What an interval comes to: a [`Snapshot`], from which every output is written.

use crate::name::Identity;
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
}

/// All that one flush has to tell. In order of names, so that it is the same every time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken, in seconds since 1970.
    pub time: u64,
    /// How long it took to add up, in seconds: the interval, or less for the last.
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
}

impl Snapshot {
    /// Works out what the shards' intervals come to. Each series is in one shard.
    #[must_use]
    pub fn new(intervals: Vec<Interval>, plan: &Arc<Plan>, time: u64, seconds: f64) -> Snapshot {
        let mut snapshot = Snapshot {
            time,
            seconds,
            plan: Arc::clone(plan),
            counters: Vec::new(),
            gauges: Vec::new(),
            timers: Vec::new(),
            sets: Vec::new(),
            tally: Tally::default(),
        };
        for interval in intervals {
            snapshot.add(interval);
        }
        snapshot.counters.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot.gauges.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot.timers.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot.sets.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        snapshot
    }

    fn add(&mut self, interval: Interval) {
        let seconds = self.seconds;
        let counter = |(series, count)| Counter { series, count, rate: count / seconds };
        self.counters.extend(interval.counters.into_iter().map(counter));
        self.gauges.extend(interval.gauges.into_iter().map(|(series, value)| Value { series, value }));
        for (series, mut samples) in interval.timers {
            let (fields, bins) = timer::work_out(&self.plan, series.as_str(), &mut samples, seconds);
            self.timers.push(Timer { series, fields, bins });
        }
        let members = |(series, members)| Value { series, value: members as f64 };
        self.sets.extend(interval.sets.into_iter().map(members));
        self.tally.add(interval.tally);
    }
}
