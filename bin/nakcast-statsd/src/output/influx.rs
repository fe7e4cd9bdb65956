//! InfluxDB's line protocol, over HTTP.
//!
//! A series is a measurement with its tags and one more, `metric_type`, so that a counter and a gauge of one name do not
//! meet. Counters have the fields `count` and `rate`, gauges `value`, sets `count`, and timers what is told of them.

use crate::flush::Snapshot;
use crate::name::Identity;
use std::fmt::{self, Display, Write};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where InfluxDB is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Influx {
    /// The URL of its writing end, `http://HOST:PORT/api/v2/write?org=ORG&bucket=BUCKET` or `.../write?db=DB`.
    pub url: String,
    /// What it knows the collector by; empty for none.
    pub token: String,
}

impl Influx {
    /// What sends a flush there. A flush that it refuses for what is in it is not to be sent again: `InvalidData`.
    pub fn deliver(&self) -> impl FnMut(&[u8]) -> io::Result<()> + Send + 'static {
        let config = ureq::Agent::config_builder();
        let config = config.timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        let agent = ureq::Agent::new_with_config(config);
        let joint = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{joint}precision=s", self.url);
        let token = self.token.clone();
        move |flush| {
            let mut request = agent.post(&url).header("Content-Type", "text/plain; charset=utf-8");
            if !token.is_empty() {
                request = request.header("Authorization", format!("Token {token}"));
            }
            let mut answer = request.send(flush).map_err(io::Error::other)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let body = answer.body_mut().with_config().limit(1000).read_to_string().unwrap_or_default();
            let why = format!("it answers {status}: {}", body.lines().next().unwrap_or_default());
            let wrong = [400, 413, 422].contains(&status.as_u16());
            Err(io::Error::new(if wrong { ErrorKind::InvalidData } else { ErrorKind::Other }, why))
        }
    }
}

/// A snapshot, a line for each series, and the collector's own under `prefix`.
#[must_use]
pub fn lines(snapshot: &Snapshot, prefix: &str) -> Vec<u8> {
    let mut text = String::new();
    let time = snapshot.time;
    for counter in &snapshot.counters {
        let estimate = snapshot.estimate(counter).unwrap_or(f64::NAN);
        let fields = [("count", counter.count), ("rate", counter.rate), ("estimated", estimate)];
        line(&mut text, &counter.series, "counter", fields, time);
    }
    for gauge in &snapshot.gauges {
        line(&mut text, &gauge.series, "gauge", [("value", gauge.value)], time);
    }
    for timer in &snapshot.timers {
        let fields = timer.fields.iter().chain(&timer.bins);
        let fields = fields.map(|&(number, value)| (snapshot.plan.name(number), value));
        line(&mut text, &timer.series, "timer", fields, time);
    }
    for set in &snapshot.sets {
        // What is not finite is left out.
        let estimated = if set.is_estimated { 1.0 } else { f64::NAN };
        line(&mut text, &set.series, "set", [("count", set.value), ("estimated", estimated)], time);
    }
    own(&mut text, snapshot, if prefix.is_empty() { "statsd" } else { prefix });
    text.into_bytes()
}

fn line<'a>(
    text: &mut String,
    series: &Identity,
    kind: &str,
    fields: impl IntoIterator<Item = (&'a str, f64)>,
    time: u64,
) {
    // Writing to a string does not fail.
    let _ = write!(text, "{}", Escaped(series.name(), " ,"));
    let mut kind = Some(kind);
    // Sorted, as the database likes them best.
    for (key, value) in series.tags() {
        if key > "metric_type"
            && let Some(kind) = kind.take()
        {
            let _ = write!(text, ",metric_type={kind}");
        }
        if key != "metric_type" {
            let _ = write!(text, ",{}={}", Escaped(key, " ,="), Escaped(value, " ,="));
        }
    }
    if let Some(kind) = kind {
        let _ = write!(text, ",metric_type={kind}");
    }
    end(text, fields, time);
}

/// The fields and the time. There are no infinities in the protocol; a line without fields is none.
fn end<'a>(text: &mut String, fields: impl IntoIterator<Item = (&'a str, f64)>, time: u64) {
    let begun = text.rfind('\n').map_or(0, |at| at + 1);
    let mut separator = ' ';
    for (name, value) in fields.into_iter().filter(|(_, value)| value.is_finite()) {
        let _ = write!(text, "{separator}{}={}", Escaped(name, " ,="), crate::digits::Js(value));
        separator = ',';
    }
    match separator {
        ' ' => text.truncate(begun),
        _ => _ = writeln!(text, " {time}"),
    }
}

/// What the collector tells of itself.
fn own(text: &mut String, snapshot: &Snapshot, prefix: &str) {
    let own = &snapshot.own;
    let _ = write!(text, "{}", Escaped(prefix, " ,"));
    let others = [("timestamp_lag", own.timestamp_lag), ("loss", own.loss)];
    let others = others.into_iter().filter_map(|(name, value)| Some((name, value?)));
    end(text, snapshot.own_values().chain(others), snapshot.time);
    for heard in &own.heard {
        let _ =
            write!(text, "{}_listeners,listener={}", Escaped(prefix, " ,"), Escaped(&heard.listener, " ,="));
        let fields = [
            ("received", heard.received as f64),
            ("truncated", heard.truncated as f64),
            ("refused", heard.refused as f64),
            ("kernel_drops", heard.kernel_drops.map_or(f64::NAN, |drops| drops as f64)),
        ];
        end(text, fields, snapshot.time);
    }
}

/// A name, with a backslash before what would end it.
struct Escaped<'a>(&'a str, &'static str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if self.1.contains(letter) {
                f.write_char('\\')?;
            }
            f.write_char(letter)?;
        }
        // One at the end would take the separator's meaning away; the protocol has no way to write it.
        if self.0.ends_with('\\') { f.write_char('_') } else { Ok(()) }
    }
}
