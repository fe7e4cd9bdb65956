//! What any bytes must leave whole, asserted: what `scripts/fuzz statsd` runs, too.

use nakcast_statsd::flush::Snapshot;
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::console::{self, Form};
use nakcast_statsd::output::graphite::{Names, Protocol};
use nakcast_statsd::output::prometheus::Exposition;
use nakcast_statsd::shard::{Idle, Limits};
use nakcast_statsd::timer::Plan;
use std::sync::Arc;

/// Counted beside whatever comes.
pub const KNOWN: &str = "beside.it";

/// Takes bytes as datagrams, which end at zeros; a flag in the first byte of each says how it is taken.
pub fn run(bytes: &[u8]) {
    let (one, rest) = (flush(1, bytes), flush(3, bytes));
    assert_eq!(
        console::text(&one, Form::Json),
        console::text(&rest, Form::Json),
        "in one shard and in three"
    );
    outputs(&one);
    if !bytes.windows(KNOWN.len()).any(|part| part == KNOWN.as_bytes()) {
        let known = one.counters.iter().find(|counter| counter.series.as_str() == KNOWN);
        let datagrams = bytes.split(|&byte| byte == 0).count();
        assert_eq!(known.map(|known| known.count), Some(datagrams as f64), "what is beside it counts");
    }
}

fn flush(shards: usize, bytes: &[u8]) -> Snapshot {
    let intake = Intake::new(shards, Limits::default(), Idle::default(), Arc::default());
    let mut feed = intake.feed();
    for datagram in bytes.split(|&byte| byte == 0) {
        let flags = datagram.first().copied().unwrap_or(0);
        let dialect = if flags & 1 == 0 { Dialect::Statsd } else { Dialect::Datadog };
        let mut batch = feed.begin(dialect);
        batch.datagram(datagram, flags & 6 == 6);
        batch.lines(datagram);
        batch.datagram(format!("{KNOWN}:1|c").as_bytes(), false);
    }
    let plan = Plan::new(&[90.0, -10.0, 99.9], &[], &[]).expect("percentiles");
    Snapshot::new(intake.take(), &Arc::new(plan), 1, 10.0)
}

/// Whatever came, outputs have their form.
pub fn outputs(snapshot: &Snapshot) {
    let text = console::text(snapshot, Form::Json);
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    Names::default().rows(snapshot, |path, _| {
        assert!(!path.contains(|letter: char| letter.is_whitespace() || letter.is_control()), "{path:?}");
        assert!(!path.is_empty());
    });
    assert!(!Names::default().payload(snapshot, Protocol::Pickle).is_empty());
    let mut exposition = Exposition::new(1_000_000);
    exposition.add(snapshot);
    for line in exposition.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok() || matches!(value, "+Inf" | "-Inf" | "NaN"), "{line:?}");
        let end = name.find('{').unwrap_or(name.len());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        assert!(name[..end].bytes().all(is_plain) && !name.starts_with(|first: char| first.is_ascii_digit()));
    }
}
