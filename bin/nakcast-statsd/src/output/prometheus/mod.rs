//! Prometheus: what was flushed, kept as totals and shown in the text exposition format, version 0.0.4.
//!
//! Counters become counters, with `_total` behind their name; timers become summaries, whose quantiles are those of the last
//! flush and whose count and sum are totals, in the unit that clients send; gauges and sets become gauges. Tags become labels.
//! With a [`Mapping`] its rules say otherwise, and what came as `ms` is told in seconds, as the statsd_exporter tells it.

mod family;
mod mapping;
mod serve;

pub use mapping::Mapping;
pub use serve::Server;

use crate::digits::Js;
use crate::flush::{Heard, Snapshot, Timer};
use crate::name::Identity;
use crate::output::repeater::Repeated;
use crate::shard::Tally;
use family::{Families, Histogram, Kind, Place, Series, Summary, Untold};
use std::fmt::{self, Write};
use std::sync::Arc;

/// What is told to whoever asks, from one flush to the next.
#[derive(Debug)]
pub struct Exposition {
    families: Families,
    flushes: u64,
    /// Of all flushes.
    tally: Tally,
    heard: Vec<Heard>,
    repeated: Vec<Repeated>,
    processing_ms: u64,
    timestamp_lag: f64,
    /// Counts below 0, which a counter that only grows does not take.
    negative: u64,
    /// Series for which there was no room, of each flush.
    excess: u64,
    /// Series of the last flush that another of the same name and labels stands for.
    merged: u64,
    /// Timers of the last flush whose quantiles and buckets a sketch told.
    sketched: Vec<Arc<Identity>>,
    /// Sets of the last flush that were estimated.
    estimated: Vec<Arc<Identity>>,
    /// Flushes that could not be written to the file.
    unwritten: u64,
    /// Series that a rule drops, of each flush.
    dropped: u64,
    /// Series that a rule gives a name they cannot have, of each flush.
    refused: u64,
}

impl Exposition {
    /// With room for so many series. A series that is not told any more is forgotten, but for counters and timers: their
    /// totals must not shrink, and stay until there is no room for more.
    #[must_use]
    pub fn new(most_series: usize) -> Exposition {
        Exposition {
            families: Families::new(most_series, None),
            flushes: 0,
            tally: Tally::default(),
            heard: Vec::new(),
            repeated: Vec::new(),
            processing_ms: 0,
            timestamp_lag: 0.0,
            negative: 0,
            excess: 0,
            merged: 0,
            sketched: Vec::new(),
            estimated: Vec::new(),
            unwritten: 0,
            dropped: 0,
            refused: 0,
        }
    }

    /// Has room for so many series from now on, of which those that are there stay, and names series by these rules. If they
    /// are others than before, all totals begin at 0 with them: what the old rules named would stay for ever.
    pub fn map(&mut self, most_series: usize, rules: Option<&Arc<Mapping>>) {
        if self.families.mapping() == rules {
            self.families.bound(most_series);
        } else {
            self.families = Families::new(most_series, rules.cloned());
        }
    }

    /// Which series have no name by the rules, and why, since it was last asked: each once, and the first of them only. How
    /// many there were in all flushes is told by `nakcast_statsd_mapping_refused_series_total`.
    pub fn refused(&mut self) -> Vec<String> {
        self.families.refused()
    }

    /// Takes a flush in.
    pub fn add(&mut self, snapshot: &Snapshot) {
        self.flushes += 1;
        self.tally.add(snapshot.tally.clone());
        self.processing_ms = snapshot.own.processing_ms;
        self.timestamp_lag = snapshot.own.timestamp_lag.unwrap_or(0.0);
        snapshot.own.heard.iter().cloned().for_each(|heard| heard.add_to(&mut self.heard));
        snapshot.own.repeated.iter().cloned().for_each(|repeated| repeated.add_to(&mut self.repeated));
        self.unwritten += snapshot.own.unwritten;
        self.merged = 0;
        let sketched = snapshot.timers.iter().filter(|timer| timer.is_sketched());
        self.sketched = sketched.map(|timer| Arc::clone(&timer.series)).collect();
        self.estimated = snapshot.estimated().map(|set| Arc::clone(&set.series)).collect();
        self.families.begin();
        for counter in &snapshot.counters {
            let Some(Place { series, scale, .. }) = self.place(Kind::Counter, &counter.series) else {
                continue;
            };
            let Series::Total(total) = series else { continue };
            if counter.count >= 0.0 {
                *total += counter.count * scale;
            } else {
                self.negative += 1;
            }
        }
        for (kind, values) in [(Kind::Gauge, &snapshot.gauges), (Kind::Set, &snapshot.sets)] {
            for value in values {
                let Some(Place { series, scale, .. }) = self.place(kind, &value.series) else { continue };
                match series {
                    Series::Level(level @ None) => *level = Some(value.value * scale),
                    _ => self.merged += 1,
                }
            }
        }
        let in_seconds = self.families.mapping().is_some();
        for timer in &snapshot.timers {
            let Some(Place { series, scale, quantiles }) = self.place(Kind::Timer, &timer.series) else {
                continue;
            };
            let is_time = in_seconds && timer.samples.is_time;
            let unit = |value: f64| if is_time { value / 1e3 * scale } else { value * scale };
            match series {
                Series::Summary(summary) => {
                    let is_alone = add(summary, snapshot, timer, quantiles.as_deref(), unit);
                    self.merged += u64::from(!is_alone);
                }
                Series::Histogram(histogram) => observe(histogram, timer, unit),
                _ => {}
            }
        }
        self.families.end();
    }

    /// Where a series is told; what has no place is counted.
    fn place(&mut self, kind: Kind, series: &Identity) -> Option<Place<'_>> {
        match self.families.place(kind, series) {
            Ok(place) => return Some(place),
            Err(Untold::NoRoom) => self.excess += 1,
            Err(Untold::Dropped) => self.dropped += 1,
            Err(Untold::Refused) => self.refused += 1,
        }
        None
    }

    /// The text, for [`CONTENT_TYPE`].
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.own(&mut text).and_then(|()| self.families.text(&mut text));
        text
    }

    fn own(&self, text: &mut String) -> fmt::Result {
        let tally = &self.tally;
        for (name, help, value) in [
            ("flushes", "Flushes until now.", self.flushes),
            ("datagrams", "Datagrams received.", tally.packets),
            ("truncated_datagrams", "Datagrams that were too long, and were cut.", tally.truncated),
            ("metrics", "Lines received, bad ones too.", tally.metrics),
            ("bad_lines", "Bad lines, and bad elements of lines.", tally.bad),
            ("unknown_fields", "Fields of lines that nobody knows.", tally.unknown_fields),
            ("excess_series", "Values of series for which there was no room.", tally.excess_series),
            ("excess_samples", "Samples of timers for which there was no room.", tally.excess_samples),
            ("excess_members", "Members of sets for which there was no room.", tally.excess_members),
            ("timestamped", "Samples with a time of their own, not carried.", tally.timestamped),
            ("events", "Events and service checks, not carried.", tally.events),
            ("negative_counts", "Counts below 0, not carried to Prometheus.", self.negative),
            (
                "prometheus_excess_series",
                "Series there was no room for in what is told here, once for each flush that has them.",
                self.excess,
            ),
            ("flushes_not_written", "Flushes that could not be written to the file.", self.unwritten),
            (
                "mapping_dropped_series",
                "Series that a mapping rule drops, once for each flush that has them.",
                self.dropped,
            ),
            (
                "mapping_refused_series",
                "Series a rule gives an empty name, or another type's, once for each flush that has them.",
                self.refused,
            ),
        ] {
            writeln!(text, "# HELP nakcast_statsd_{name}_total {help}")?;
            writeln!(text, "# TYPE nakcast_statsd_{name}_total counter")?;
            writeln!(text, "nakcast_statsd_{name}_total {value}")?;
        }
        type Column = fn(&Heard) -> Option<u64>;
        let columns: [(&str, &str, Column); 4] = [
            ("received", "Datagrams received, by listener.", |heard| Some(heard.received)),
            ("truncated", "Datagrams cut, by listener.", |heard| Some(heard.truncated)),
            ("refused", "Connections for which there was no room, by listener.", |heard| Some(heard.refused)),
            ("kernel_drops", "Datagrams the kernel dropped, by listener.", |heard| heard.kernel_drops),
        ];
        for (name, help, column) in columns {
            writeln!(text, "# HELP nakcast_statsd_listener_{name}_total {help}")?;
            writeln!(text, "# TYPE nakcast_statsd_listener_{name}_total counter")?;
            for heard in &self.heard {
                if let Some(value) = column(heard) {
                    let listener = family::Escaped(&heard.listener);
                    writeln!(
                        text,
                        "nakcast_statsd_listener_{name}_total{{listener=\"{listener}\"}} {value}"
                    )?;
                }
            }
        }
        type Sent = fn(&Repeated) -> u64;
        let columns: [(&str, &str, Sent); 2] = [
            ("sent", "Datagrams sent on, by server.", |repeated| repeated.sent),
            ("dropped", "Datagrams not sent on, by server.", |repeated| repeated.dropped),
        ];
        for (name, help, column) in columns {
            writeln!(text, "# HELP nakcast_statsd_repeater_{name}_total {help}")?;
            writeln!(text, "# TYPE nakcast_statsd_repeater_{name}_total counter")?;
            for repeated in &self.repeated {
                let (to, value) = (family::Escaped(&repeated.to), column(repeated));
                writeln!(text, "nakcast_statsd_repeater_{name}_total{{to=\"{to}\"}} {value}")?;
            }
        }
        for (name, help, value) in [
            (
                "processing_seconds",
                "How long the last flush took to work out.",
                self.processing_ms as f64 / 1e3,
            ),
            ("timestamp_lag_seconds", "How much later than due the last flush came.", self.timestamp_lag),
            (
                "merged_series",
                "Gauges, sets and quantiles that another of the same name here stands for.",
                self.merged as f64,
            ),
        ] {
            writeln!(text, "# HELP nakcast_statsd_{name} {help}")?;
            writeln!(text, "# TYPE nakcast_statsd_{name} gauge")?;
            writeln!(text, "nakcast_statsd_{name} {}", Js(value))?;
        }
        for (kind, help, all) in [
            (
                "sketched_timer",
                "Timers whose quantiles and buckets are of a sketch, each value within 0.78%.",
                &self.sketched,
            ),
            (
                "estimated_set",
                "Sets whose size is estimated, with a standard error of 0.81%.",
                &self.estimated,
            ),
        ] {
            writeln!(text, "# HELP nakcast_statsd_{kind} {help}")?;
            writeln!(text, "# TYPE nakcast_statsd_{kind} gauge")?;
            for series in all {
                let series = family::Escaped(series.as_str());
                writeln!(text, "nakcast_statsd_{kind}{{series=\"{series}\"}} 1")?;
            }
        }
        Ok(())
    }
}

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Adds a timer to a summary, each value as `unit` has it; false when the summary has another's quantiles already.
fn add(
    summary: &mut Summary,
    snapshot: &Snapshot,
    timer: &Timer,
    asked: Option<&[f64]>,
    unit: impl Fn(f64) -> f64,
) -> bool {
    // Of samples for which there was no room at all only the count is known: with it alone the total's quotient would be no mean.
    let Some(sum) = timer.sum else { return true };
    let plan = &snapshot.plan;
    let field = |name: &str| {
        timer.fields.iter().find(|&&(number, _)| plan.name(number) == name).map(|&(_, value)| value)
    };
    // The count stands for samples that clients left out, too; so must the sum, or their quotient is no mean.
    let sum = plan.tells_sum().then(|| unit(sum));
    for (total, value) in [(&mut summary.count, field("count")), (&mut summary.sum, sum)] {
        if let Some(value) = value {
            *total.get_or_insert(0.0) += value;
        }
    }
    let mut quantiles = Vec::new();
    match asked {
        Some(asked) => {
            let of_all = |&part: &f64| Some((part, timer.samples.quantile(part)?));
            quantiles.extend(asked.iter().filter_map(of_all));
        }
        None => {
            for (percentile, bound) in plan.bounds() {
                if let Some(&(_, value)) = timer.fields.iter().find(|&&(number, _)| number == bound) {
                    let part = if percentile > 0.0 { percentile } else { 100.0 + percentile };
                    // By a whole number, so that 99.9 is 0.999, and not a hair beside it.
                    quantiles.push(((part * 1e8).round() / 1e10, value));
                }
            }
            quantiles.extend(field("median").map(|median| (0.5, median)));
            quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
            // Of two that are one quantile the first: a percentile's bound, rather than the median.
            quantiles.dedup_by(|a, b| a.0 == b.0);
        }
    }
    if quantiles.is_empty() {
        return true;
    }
    if !summary.quantiles.is_empty() {
        return false;
    }
    quantiles.iter_mut().for_each(|(_, value)| *value = unit(*value));
    summary.quantiles = quantiles;
    true
}

/// Adds a timer to a histogram. Each value stands for those of its own that its client left out, too.
fn observe(histogram: &mut Histogram, timer: &Timer, unit: impl Fn(f64) -> f64) {
    let samples = &timer.samples;
    let (false, Some(sum)) = (samples.is_empty(), timer.sum) else { return };
    for (total, &bound) in histogram.counts.iter_mut().zip(histogram.bounds.iter()) {
        *total += samples.up_to(|value| unit(value) <= bound);
    }
    histogram.sum += unit(sum);
    histogram.count += samples.weight;
}
