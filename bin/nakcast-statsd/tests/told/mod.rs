//! What Prometheus is told of lines, and by a collector.
#![allow(dead_code, reason = "each test takes what it needs")]

use super::support::Process;
use nakcast_statsd::flush::Snapshot;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::prometheus::{Exposition, Mapping};
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::Plan;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// For what must come, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Told {
    pub(crate) shard: Shard,
    pub(crate) plan: Arc<Plan>,
    pub(crate) exposition: Exposition,
    /// Whether timers keep their values.
    pub(crate) keep: bool,
}

/// Rules of which all is done.
pub(crate) fn mapping(rules: &str) -> Arc<Mapping> {
    let (mapping, warnings) = Mapping::parse(rules).unwrap();
    assert_eq!(warnings, [""; 0], "{rules}");
    Arc::new(mapping)
}

impl Told {
    pub(crate) fn with(most: usize, idle: Idle, plan: Plan) -> Told {
        let shard = Shard::new(Limits::default(), idle);
        Told { shard, plan: Arc::new(plan), exposition: Exposition::new(most), keep: false }
    }

    pub(crate) fn new() -> Told {
        Told::with(1000, Idle::default(), Plan::default())
    }

    pub(crate) fn by(rules: &str) -> Told {
        let mut told = Told::new();
        let mapping = mapping(rules);
        told.exposition.map(1000, Some(&mapping));
        told.keep = mapping.needs_samples();
        told
    }

    pub(crate) fn snapshot(&mut self, lines: &str) -> Snapshot {
        self.shard.datagram(lines.as_bytes(), false, Dialect::Statsd);
        Snapshot::keeping(vec![self.shard.take()], &self.plan, 1000, 10.0, self.keep)
    }

    /// Hears lines, and flushes: the samples that are not the collector's own.
    pub(crate) fn flush(&mut self, lines: &str) -> String {
        let snapshot = self.snapshot(lines);
        self.exposition.add(&snapshot);
        let text = self.exposition.text();
        let samples =
            text.lines().filter(|line| !line.starts_with(['#']) && !line.starts_with("nakcast_statsd_"));
        samples.collect::<Vec<_>>().join("\n")
    }

    /// One of the collector's own.
    pub(crate) fn own(&self, name: &str) -> String {
        let text = self.exposition.text();
        let start = format!("nakcast_statsd_{name}");
        let line = text.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("{name}: {text}"))[start.len()..].trim_start().to_owned()
    }
}

/// Where a collector that was just started shows metrics, and where it listens.
pub(crate) fn places(process: &mut Process) -> (SocketAddr, SocketAddr) {
    let url = process.wait_for_line("metrics at http://", SOON);
    let metrics = url.trim_start_matches("metrics at http://").trim_end_matches("/metrics").parse().unwrap();
    let listens = process.wait_for_line("listening on ", SOON);
    let listens = listens.trim_start_matches("listening on ").trim_start_matches("tcp ").parse().unwrap();
    (metrics, listens)
}
