//! Graphite: names, the text and the pickle protocol, and the sending.

mod send;

pub use send::start;

use crate::digits::Js;
use crate::flush::Snapshot;
use crate::name::Identity;
use std::fmt::Write;

/// How a flush is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// A line for each value; port 2003 as a rule.
    #[default]
    Text,
    /// Python's pickle, protocol 2; port 2004 as a rule.
    Pickle,
}

/// What series are called in Graphite. The names of the fields, and the defaults, are the original's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The original's old namespace, which takes no prefix but `prefix_stats`.
    pub legacy: bool,
    /// Before everything.
    pub global_prefix: String,
    /// Before counters.
    pub prefix_counter: String,
    /// Before timers.
    pub prefix_timer: String,
    /// Before gauges.
    pub prefix_gauge: String,
    /// Before sets.
    pub prefix_set: String,
    /// Before what the collector tells of itself.
    pub prefix_stats: String,
    /// Behind everything but tags, with a `.` between; empty for none.
    pub global_suffix: String,
    /// Whether counters are told as counts too.
    pub flush_counts: bool,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            legacy: true,
            global_prefix: "stats".into(),
            prefix_counter: "counters".into(),
            prefix_timer: "timers".into(),
            prefix_gauge: "gauges".into(),
            prefix_set: "sets".into(),
            prefix_stats: "statsd".into(),
            global_suffix: String::new(),
            flush_counts: true,
        }
    }
}

/// A row's path, written anew for each.
struct Path {
    text: String,
    suffix: String,
}

impl Path {
    /// The parts that are not empty, joined by `.`, the suffix, and the tags.
    fn of(&mut self, parts: &[&str], tags: &str) -> &str {
        self.text.clear();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if !self.text.is_empty() {
                self.text.push('.');
            }
            self.text.push_str(part);
        }
        self.text.push_str(&self.suffix);
        self.text.push_str(tags);
        &self.text
    }
}

impl Names {
    /// Every value of a snapshot under its path.
    pub fn rows(&self, snapshot: &Snapshot, mut row: impl FnMut(&str, f64)) {
        let suffix = match self.global_suffix.as_str() {
            "" => String::new(),
            suffix => format!(".{suffix}"),
        };
        let mut path = Path { text: String::new(), suffix };
        for counter in &snapshot.counters {
            let (name, tags) = parts(&counter.series);
            self.counter(&mut path, (&[name], tags), counter.count, counter.rate, &mut row);
            if let Some(estimate) = snapshot.estimate(counter) {
                let parts = match self.legacy {
                    true => ["stats_estimated", "", name, ""],
                    false => [&*self.global_prefix, &*self.prefix_counter, name, "estimated"],
                };
                row(path.of(&parts, tags), estimate);
            }
        }
        let (global, timers, gauges, sets) = match self.legacy {
            true => ("stats", "timers", "gauges", "sets"),
            false => (&*self.global_prefix, &*self.prefix_timer, &*self.prefix_gauge, &*self.prefix_set),
        };
        for timer in &snapshot.timers {
            let (name, tags) = parts(&timer.series);
            for &(field, value) in timer.fields.iter().chain(&timer.bins) {
                row(path.of(&[global, timers, name, snapshot.plan.name(field)], tags), value);
            }
        }
        for gauge in &snapshot.gauges {
            let (name, tags) = parts(&gauge.series);
            row(path.of(&[global, gauges, name], tags), gauge.value);
        }
        for set in &snapshot.sets {
            let (name, tags) = parts(&set.series);
            row(path.of(&[global, sets, name, "count"], tags), set.value);
            if set.is_estimated {
                row(path.of(&[global, sets, name, "estimated"], tags), 1.0);
            }
        }
        self.own(&mut path, snapshot, &mut row);
    }

    fn counter(
        &self,
        path: &mut Path,
        (name, tags): (&[&str], &str),
        count: f64,
        rate: f64,
        row: &mut impl FnMut(&str, f64),
    ) {
        let new = [&*self.global_prefix, &*self.prefix_counter];
        let (rates, counts, rate_name, count_name) = match self.legacy {
            true => (["stats", ""], ["stats_counts", ""], "", ""),
            false => (new, new, "rate", "count"),
        };
        row(path.of(&[&rates, name, &[rate_name]].concat(), tags), rate);
        if self.flush_counts {
            row(path.of(&[&counts, name, &[count_name]].concat(), tags), count);
        }
    }

    /// What the collector tells of itself.
    fn own(&self, path: &mut Path, snapshot: &Snapshot, row: &mut impl FnMut(&str, f64)) {
        let (own, stats) = (&snapshot.own, &*self.prefix_stats);
        for (name, count) in snapshot.came() {
            let count = count as f64;
            self.counter(path, (&[stats, name], ""), count, count / snapshot.seconds, row);
        }
        let (global, gauges, of_stats) = match self.legacy {
            true => ("stats", "gauges", ""),
            false => (&*self.global_prefix, &*self.prefix_gauge, &*self.global_prefix),
        };
        if let Some(lag) = own.timestamp_lag {
            row(path.of(&[global, gauges, stats, "timestamp_lag"], ""), lag);
        }
        row(path.of(&[of_stats, stats, "numStats"], ""), snapshot.num_stats() as f64);
        for (name, value) in snapshot.counted() {
            row(path.of(&[global, stats, name], ""), value as f64);
        }
        for heard in &own.heard {
            // A `.` would be a level of its own.
            let listener = heard.listener.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
            row(path.of(&[global, stats, "listeners", &listener, "received"], ""), heard.received as f64);
            if heard.refused > 0 {
                row(path.of(&[global, stats, "listeners", &listener, "refused"], ""), heard.refused as f64);
            }
            if let Some(drops) = heard.kernel_drops {
                row(path.of(&[global, stats, "listeners", &listener, "kernel_drops"], ""), drops as f64);
            }
        }
        if let Some(loss) = own.loss {
            row(path.of(&[global, stats, "loss"], ""), loss);
        }
        for repeated in &own.repeated {
            let to = repeated.to.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
            row(path.of(&[global, stats, "repeater", &to, "sent"], ""), repeated.sent as f64);
            row(path.of(&[global, stats, "repeater", &to, "dropped"], ""), repeated.dropped as f64);
        }
        let Some(sent) = own.graphite else { return };
        for (name, value) in [
            ("last_exception", sent.last_exception),
            ("last_flush", sent.last_flush),
            ("flush_time", sent.flush_time),
            ("flush_length", sent.flush_length),
            ("calculationtime", sent.calculation_time),
            ("flushes_dropped", sent.flushes_dropped),
        ] {
            row(path.of(&[global, stats, "graphiteStats", name], ""), value as f64);
        }
    }

    /// A snapshot as it is sent.
    #[must_use]
    pub fn payload(&self, snapshot: &Snapshot, protocol: Protocol) -> Vec<u8> {
        match protocol {
            Protocol::Text => {
                let mut text = String::new();
                self.rows(snapshot, |path, value| {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "{path} {} {}", Js(value), snapshot.time);
                });
                text.into_bytes()
            }
            Protocol::Pickle => {
                let mut pickles = Pickles::default();
                self.rows(snapshot, |path, value| pickles.add(path, snapshot.time, value));
                pickles.end()
            }
        }
    }
}

fn parts(series: &Identity) -> (&str, &str) {
    (series.name(), series.suffix())
}

/// Lists of `(path, (time, value))`, each behind its length in 32 bits, big endian. The codes are those of Python's
/// `pickletools`, protocol 2.
#[derive(Default)]
struct Pickles {
    bytes: Vec<u8>,
    /// Where the list that is open begins, its length before it.
    list: Option<usize>,
}

/// Carbon refuses lists above 1 MiB (`MAX_LENGTH` of Twisted's `Int32StringReceiver` as carbon sets it); no path is longer
/// than a datagram.
const LONGEST_LIST: usize = 1 << 19;

impl Pickles {
    fn add(&mut self, path: &str, time: u64, value: f64) {
        let bytes = &mut self.bytes;
        if self.list.is_none() {
            self.list = Some(bytes.len());
            // The length; PROTO 2, EMPTY_LIST, MARK.
            bytes.extend(b"\0\0\0\0\x80\x02](");
        }
        // BINUNICODE.
        bytes.push(b'X');
        bytes.extend((path.len() as u32).to_le_bytes());
        bytes.extend(path.as_bytes());
        // LONG1 of five bytes and a sign, enough for 17,000 years; BINFLOAT.
        bytes.extend(b"\x8a\x06");
        bytes.extend(&time.to_le_bytes()[..6]);
        bytes.push(b'G');
        bytes.extend(value.to_be_bytes());
        // TUPLE2 of time and value, TUPLE2 of path and that.
        bytes.extend(b"\x86\x86");
        if self.list.is_some_and(|list| self.bytes.len() - list > LONGEST_LIST) {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(list) = self.list.take() else { return };
        // APPENDS, STOP.
        self.bytes.extend(b"e.");
        let length = (self.bytes.len() - list - 4) as u32;
        self.bytes[list..list + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }
}
