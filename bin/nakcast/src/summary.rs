//! `--summary FILE`: counters as flat JSON, written at the end, however that comes.

use crate::exit::{Exit, Failure};
use crate::file::ResultFile;
use nakcast::{PublisherStats, SubscriberStats};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::Metadata;
use std::path::PathBuf;
use std::time::Duration;

/// Where the summary goes, if it is asked for.
#[derive(Debug, Default)]
pub(crate) struct SummaryFile(Option<ResultFile>);

impl SummaryFile {
    pub(crate) fn open(path: Option<PathBuf>) -> Result<SummaryFile, Failure> {
        path.map(|path| ResultFile::open("--summary", path)).transpose().map(SummaryFile)
    }

    /// Refuses a file that is something else of the command's: the summary would take its place.
    pub(crate) fn is_not(&self, other: Option<Metadata>, what: &str) -> Result<(), Failure> {
        self.0.as_ref().map_or(Ok(()), |file| file.is_not(other, what))
    }

    /// The command can be meant, and begins: the file is emptied.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.0.as_mut().map_or(Ok(()), ResultFile::begin)
    }

    /// Ends the command: tells a failure, writes the summary, gives the exit code. Where what was typed could not be meant there
    /// is none, and the file is as it was.
    pub(crate) fn end(self, mut summary: Summary, outcome: Result<Exit, Failure>) -> Exit {
        let exit = outcome.unwrap_or_else(Failure::told);
        summary.add("exit_code", exit as u64);
        let Some(mut file) = self.0.filter(|_| exit != Exit::Usage) else { return exit };
        match file.write(summary.to_json().as_bytes()) {
            Ok(()) => exit,
            Err(failure) => {
                let told = failure.told();
                if exit == Exit::Done { told } else { exit }
            }
        }
    }
}

/// Counters by name, in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    fields: Vec<(Cow<'static, str>, Value)>,
}

impl Summary {
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.fields.push((name.into(), value.into()));
    }

    /// Adds figures under the names they have.
    pub(crate) fn add_figures(&mut self, figures: impl IntoIterator<Item = (String, Value)>) {
        self.fields.extend(figures.into_iter().map(|(name, value)| (name.into(), value)));
    }

    fn add_all(&mut self, fields: &[(&'static str, u64)]) {
        for &(name, value) in fields {
            self.add(name, value);
        }
    }

    /// The times: since the start, and from the first message to the last.
    pub(crate) fn add_times(&mut self, elapsed: Duration, active: Duration) {
        self.add("elapsed_seconds", elapsed.as_secs_f64());
        self.add("active_seconds", active.as_secs_f64());
    }

    /// What a publisher counted. What only a subscriber can count is 0.
    pub(crate) fn of_publisher(stats: &PublisherStats) -> Summary {
        let mut summary = Summary::default();
        summary.add("command", "pub");
        summary.add_all(&[
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("datagrams", stats.datagrams),
            ("gaps", 0),
            ("lost", 0),
            ("naks", stats.naks),
            ("repairs", stats.repairs),
            ("duplicates", 0),
            ("rejected", stats.rejected_total()),
            ("syscalls", stats.system_calls),
            ("datagram_bytes", stats.datagram_bytes),
            ("repairs_unicast", stats.repairs_unicast),
            ("repair_bytes", stats.repair_bytes),
            ("heartbeats", stats.heartbeats),
            ("announces", stats.announces),
            ("ncfs", stats.ncfs),
            ("nak_datagrams", stats.nak_datagrams),
            ("nak_crossed", stats.nak_crossed),
            ("nak_gone", stats.nak_gone),
            ("naks_over_budget", stats.naks_over_budget),
            ("statuses", stats.statuses),
            ("receivers", stats.receivers),
            ("receivers_refused", stats.receivers_refused),
            ("round_trip_ns", stats.round_trip_ns),
            ("back_pressured", stats.back_pressured),
            ("fell_behind", stats.fell_behind),
            ("quarantined", stats.quarantined),
            ("control_dropped", stats.control_dropped),
            ("events_dropped", stats.events_dropped),
            ("send_failures", stats.send_failures),
            ("segmentation_refused", stats.segmentation_refused),
            ("kernel_drops", stats.kernel_drops),
        ]);
        summary
    }

    /// What a subscriber counted.
    pub(crate) fn of_subscriber(stats: &SubscriberStats) -> Summary {
        let mut summary = Summary::default();
        summary.add("command", "sub");
        summary.add_all(&[
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("datagrams", stats.datagrams),
            ("gaps", stats.gaps),
            ("lost", stats.lost),
            ("naks", stats.naks),
            ("repairs", stats.repairs),
            ("duplicates", stats.duplicates),
            ("rejected", stats.rejected_total()),
            ("syscalls", stats.system_calls),
            ("dropped", stats.dropped),
            ("missed", stats.missed),
            ("kernel_drops", stats.kernel_drops),
            ("nak_datagrams", stats.nak_datagrams),
            ("ncfs", stats.ncfs),
            ("heartbeats", stats.heartbeats),
            ("announces", stats.announces),
            ("names_asked", stats.names_asked),
            ("statuses", stats.statuses),
            ("nak_timeout_ns", stats.nak_timeout_ns),
            ("reordered", stats.reordered),
            ("ignored", stats.ignored),
            ("unnamed", stats.unnamed),
            ("overruns", stats.overruns),
            ("assemblies_refused", stats.assemblies_refused),
            ("impostors", stats.impostors),
            ("jumps", stats.jumps),
            ("contradictions", stats.contradictions),
            ("oversized", stats.oversized),
            ("truncated", stats.truncated),
            ("sources", stats.sources),
            ("sources_refused", stats.sources_refused),
            ("streams", stats.streams),
            ("streams_refused", stats.streams_refused),
            ("send_failures", stats.send_failures),
        ]);
        summary
    }

    /// What one that publishes and subscribes counted: each side's counters under a prefix of its own.
    pub(crate) fn of_both(
        command: &'static str,
        publisher: &PublisherStats,
        subscriber: &SubscriberStats,
    ) -> Summary {
        let mut summary = Summary::default();
        summary.add("command", command);
        for (side, counters) in [
            ("publisher", Summary::of_publisher(publisher)),
            ("subscriber", Summary::of_subscriber(subscriber)),
        ] {
            let counters = counters.fields.into_iter().filter(|(name, _)| name != "command");
            summary.fields.extend(counters.map(|(name, value)| (format!("{side}_{name}").into(), value)));
        }
        summary
    }

    /// One field a line, for people as well.
    fn to_json(&self) -> String {
        let mut text = String::from("{");
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            text.push_str(&format!("{separator}\n  \"{name}\": {value}"));
        }
        text.push_str("\n}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_flat_json_with_the_promised_names() {
        for mut summary in [
            Summary::of_publisher(&PublisherStats::default()),
            Summary::of_subscriber(&SubscriberStats::default()),
        ] {
            summary.add_times(Duration::from_millis(1_500), Duration::ZERO);
            let read: Value = serde_json::from_str(&summary.to_json()).unwrap();
            let read = read.as_object().unwrap();
            assert_eq!(read.len(), summary.fields.len(), "no name twice");
            for name in [
                "messages",
                "bytes",
                "datagrams",
                "gaps",
                "lost",
                "naks",
                "repairs",
                "duplicates",
                "rejected",
                "syscalls",
                "elapsed_seconds",
            ] {
                assert!(read[name].is_number(), "{name}");
            }
            assert_eq!(read["elapsed_seconds"], 1.5);
        }
    }
}
