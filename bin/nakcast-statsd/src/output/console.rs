//! The console: for people, or one JSON object a flush.

use crate::digits::Js;
use crate::flush::{Snapshot, Timer};
use std::fmt::{self, Display, Write};

/// How a flush is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object, on one line.
    Json,
}

/// A snapshot as text, with a line feed at its end.
#[must_use]
pub fn text(snapshot: &Snapshot, form: Form) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match form {
        Form::Pretty => pretty(&mut text, snapshot),
        Form::Json => json(&mut text, snapshot),
    };
    text
}

fn pretty(text: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let day = snapshot.time % 86_400;
    let tally = &snapshot.tally;
    write!(text, "{:02}:{:02}:{:02}Z", day / 3600, day / 60 % 60, day % 60)?;
    write!(text, "  {} datagrams, {} metrics, {} bad", tally.packets, tally.metrics, tally.bad)?;
    for (count, what) in [
        (tally.truncated, "datagrams cut"),
        (tally.unknown_fields, "unknown fields"),
        (tally.excess_samples, "samples too many"),
        (tally.excess_members, "set members too many"),
        (snapshot.sketched() as u64, "timers by sketch, within 0.78%"),
        (snapshot.estimated().count() as u64, "sets estimated, standard error 0.81%"),
        (tally.timestamped, "with a time of their own, not carried"),
        (tally.events, "events and checks, not carried"),
    ] {
        if count > 0 {
            write!(text, ", {count} {what}")?;
        }
    }
    if tally.excess_series > 0 {
        let names = tally.excess_names.join(", ");
        write!(text, ", {} of series too many ({names}, ...)", tally.excess_series)?;
    }
    text.push_str("; the kernel dropped");
    for (at, heard) in snapshot.own.heard.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        match heard.kernel_drops {
            Some(drops) => write!(text, "{comma} {drops} at {}", heard.listener)?,
            None => write!(text, "{comma} nobody knows how many at {}", heard.listener)?,
        }
    }
    for heard in snapshot.own.heard.iter().filter(|heard| heard.refused > 0) {
        write!(text, "; {} connections too many at {}", heard.refused, heard.listener)?;
    }
    for repeated in snapshot.own.repeated.iter().filter(|repeated| repeated.dropped > 0) {
        write!(text, "; {} not sent on to {}", repeated.dropped, repeated.to)?;
    }
    if snapshot.own.unwritten > 0 {
        write!(text, "; {} flushes not written to the file", snapshot.own.unwritten)?;
    }
    text.push('\n');
    for counter in &snapshot.counters {
        let (count, rate) = (Js(counter.count), Js(counter.rate));
        write!(text, "  counter  {}  {count}  {rate}/s", counter.series.as_str())?;
        match snapshot.estimate(counter) {
            Some(estimate) => writeln!(text, "  about {} sent", Js(estimate))?,
            None => text.push('\n'),
        }
    }
    for gauge in &snapshot.gauges {
        writeln!(text, "  gauge    {}  {}", gauge.series.as_str(), Js(gauge.value))?;
    }
    for timer in &snapshot.timers {
        write!(text, "  timer    {} ", timer.series.as_str())?;
        for &(name, value) in timer.fields.iter().chain(&timer.bins) {
            write!(text, " {} {}", snapshot.plan.name(name), Js(value))?;
        }
        text.push('\n');
    }
    for set in &snapshot.sets {
        let about = if set.is_estimated { "about " } else { "" };
        writeln!(text, "  set      {}  {about}{}", set.series.as_str(), Js(set.value))?;
    }
    Ok(())
}

/// A number in JSON, which has no infinities.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() { Js(self.0).fmt(f) } else { f.write_str("null") }
    }
}

/// A string in JSON.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// An object of numbers.
fn object<'a>(text: &mut String, members: impl Iterator<Item = (&'a str, f64)>) -> fmt::Result {
    text.push('{');
    for (at, (name, value)) in members.enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(text, "{comma}{}:{}", Text(name), Number(value))?;
    }
    text.push('}');
    Ok(())
}

/// The names are those of the original's console, where it has the thing.
fn json(text: &mut String, snapshot: &Snapshot) -> fmt::Result {
    write!(text, "{{\"time\":{},\"interval\":{}", snapshot.time, Number(snapshot.seconds))?;
    text.push_str(",\"counters\":");
    object(text, snapshot.counters.iter().map(|counter| (counter.series.as_str(), counter.count)))?;
    text.push_str(",\"counter_rates\":");
    object(text, snapshot.counters.iter().map(|counter| (counter.series.as_str(), counter.rate)))?;
    if let Some(loss) = snapshot.own.loss {
        write!(text, ",\"loss\":{},\"counters_estimated\":", Number(loss))?;
        let estimated = |counter| snapshot.estimate(counter).unwrap_or(f64::NAN);
        let counters = snapshot.counters.iter();
        object(text, counters.map(|counter| (counter.series.as_str(), estimated(counter))))?;
    }
    text.push_str(",\"gauges\":");
    object(text, snapshot.gauges.iter().map(|gauge| (gauge.series.as_str(), gauge.value)))?;
    text.push_str(",\"timer_data\":{");
    for (at, timer) in snapshot.timers.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(text, "{comma}{}:", Text(timer.series.as_str()))?;
        json_timer(text, snapshot, timer)?;
    }
    text.push_str("},\"sets\":");
    object(text, snapshot.sets.iter().map(|set| (set.series.as_str(), set.value)))?;
    text.push_str(",\"estimated_sets\":[");
    for (at, set) in snapshot.estimated().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(text, "{comma}{}", Text(set.series.as_str()))?;
    }
    text.push(']');
    json_own(text, snapshot)?;
    text.push_str("}\n");
    Ok(())
}

fn json_timer(text: &mut String, snapshot: &Snapshot, timer: &Timer) -> fmt::Result {
    let plan = &snapshot.plan;
    object(text, timer.fields.iter().map(|&(name, value)| (plan.name(name), value)))?;
    if !timer.bins.is_empty() {
        // Into the object that was just closed.
        text.pop();
        text.push_str(if timer.fields.is_empty() { "\"histogram\":" } else { ",\"histogram\":" });
        let bins = timer.bins.iter().map(|&(name, value)| {
            let name = plan.name(name);
            (name.strip_prefix("histogram.").unwrap_or(name), value)
        });
        object(text, bins)?;
        text.push('}');
    }
    Ok(())
}

fn json_own(text: &mut String, snapshot: &Snapshot) -> fmt::Result {
    text.push_str(",\"statsd\":");
    let lag = snapshot.own.timestamp_lag.map(|lag| ("timestamp_lag", lag));
    object(text, snapshot.own_values().chain(lag))?;
    text.push_str(",\"listeners\":[");
    for (at, heard) in snapshot.own.heard.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(text, "{comma}{{\"listener\":{},\"received\":{}", Text(&heard.listener), heard.received)?;
        write!(text, ",\"truncated\":{},\"refused\":{}", heard.truncated, heard.refused)?;
        text.push_str(",\"kernel_drops\":");
        match heard.kernel_drops {
            Some(drops) => write!(text, "{drops}}}")?,
            None => text.push_str("null}"),
        }
    }
    text.push_str("],\"repeater\":[");
    for (at, repeated) in snapshot.own.repeated.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(text, "{comma}{{\"to\":{},\"sent\":{}", Text(&repeated.to), repeated.sent)?;
        write!(text, ",\"dropped\":{}}}", repeated.dropped)?;
    }
    text.push(']');
    Ok(())
}
