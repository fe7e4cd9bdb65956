//! What was measured, for people, for programs and for the README.

use super::Measured;
use super::chart::{self, Bars};
use super::figures::{Round, medians};
use crate::exit::Failure;
use crate::figures::{grouped, time};
use crate::file;
use crate::latency::{self, Named, Split};
use crate::plan::{BenchPlan, Case};
use crate::units::contract_text;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The percentiles of a table: what heads the column, and the figure.
const LATENCIES: [(&str, &str); 7] = [
    ("min", "min_ns"),
    ("p50", "p50_ns"),
    ("p90", "p90_ns"),
    ("p99", "p99_ns"),
    ("p99.9", "p99_9_ns"),
    ("p99.99", "p99_99_ns"),
    ("max", "max_ns"),
];

/// What is said below the tables of what is more than none: the figure, and the words, with # for it.
const REMARKS: [(&str, &str); 4] = [
    ("unsent", "the rate was not reached; # messages were due and not sent, and none of them is above"),
    (
        "raw_lost",
        "the raw sockets lost # datagrams; runs in which that was more than one in a thousand show no limit",
    ),
    (
        "raw_latency_unsent",
        "the raw sockets did not reach the rate; # datagrams were due and not sent, and none of them is above",
    ),
    ("raw_latency_lost", "the raw sockets lost # datagrams at the rate, and none of them is above"),
];

/// All that is to be told.
pub(super) struct Report<'a> {
    pub(super) plan: &'a BenchPlan,
    pub(super) cases: &'a [Measured],
}

/// The medians of a case.
struct Told<'a> {
    case: Case,
    figures: Map<String, Value>,
    rounds: &'a [Round],
}

impl Told<'_> {
    fn number(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64()
    }

    /// A cell: a figure as `show` has it, or a dash.
    fn cell(&self, name: &str, show: impl Fn(f64) -> String) -> String {
        self.number(name).map_or_else(|| "-".into(), show)
    }
}

/// As it was given: a share has no such number exactly.
fn percent(share: f64) -> f64 {
    (share * 1e11).round() / 1e9
}

impl Report<'_> {
    fn told(&self) -> Vec<Told<'_>> {
        let told = self.cases.iter().map(|Measured { case, rounds }| {
            let figures: Vec<_> = rounds.iter().map(Round::figures).collect();
            Told { case: *case, figures: medians(&figures), rounds }
        });
        told.collect()
    }

    /// An object a line for each case: the settings, the medians, and under `runs` the figures of each run.
    pub(super) fn json_lines(&self) -> String {
        let side = &self.plan.side;
        let mut lines = String::new();
        for told in self.told() {
            let rate = told.case.load.rate();
            let settings = json!({
                "command": "bench",
                "group": side.group.to_string(),
                "interface": side.interface,
                "size": told.case.size,
                "rate": rate,
                "work_ns": side.work.as_nanos() as u64,
                "coordinated_omission_corrected": rate.is_some(),
                "topics": side.topics,
                "subscribers": side.subscribers,
                "contract": contract_text(side.contract),
                "flow": side.flow.to_string(),
                "datagram": side.datagram,
                "drop_percent": side.drop.map_or(0.0, percent),
                "seed": side.seed,
                "spin": side.spin,
                "kernel_times": side.kernel_times,
                "cpu": self.plan.cpus,
                "subscriber_netns": self.plan.subscriber_netns,
                "warm_up_seconds": side.warm_up.as_secs_f64(),
                "duration_seconds": side.duration.map(|time| time.as_secs_f64()),
                "count": side.count,
            });
            let mut object = Map::new();
            if let Value::Object(settings) = settings {
                object.extend(settings);
            }
            object.extend(told.figures);
            object.insert(
                "runs".into(),
                told.rounds.iter().map(|round| Value::from(round.figures())).collect(),
            );
            let _ = writeln!(lines, "{}", Value::from(object));
        }
        lines
    }

    pub(super) fn print_json(&self) -> Result<(), Failure> {
        file::print(&self.json_lines())
    }

    /// The tables: in Markdown for the README.
    pub(super) fn print_tables(&self) -> Result<(), Failure> {
        let layout = if self.plan.matrix.is_some() { markdown } else { aligned };
        let told = self.told();
        let mut text = self.title();
        if !told.is_empty() {
            let _ = write!(text, "\n{}\n{}", layout(&throughput_rows(&told)), self.latency_title());
            let _ = write!(text, "\n{}", layout(&latency_rows(&told)));
            for told in &told {
                for (name, remark) in REMARKS {
                    if let Some(count) = told.number(name).filter(|&count| count > 0.0) {
                        let (size, rate) = (told.case.size, rate(told.case));
                        let remark = remark.replace('#', &grouped(count as u64));
                        let _ = writeln!(text, "\n{size} bytes, rate {rate}: {remark}");
                    }
                }
            }
        }
        file::print(&text)
    }

    fn title(&self) -> String {
        let side = &self.plan.side;
        let (plural, each) = if side.subscribers == 1 { ("", "") } else { ("s", ", each of which has all") };
        let mut text = format!(
            "nakcast bench on {}: one publisher, {} subscriber{plural}{each}, {}, flow {}, {}",
            side.interface,
            side.subscribers,
            contract_text(side.contract),
            side.flow,
            if side.spin { "spinning" } else { "blocking" },
        );
        if side.topics > 1 {
            let _ = write!(text, ", {} topics in turn", grouped(side.topics as u64));
        }
        if !side.work.is_zero() {
            let _ = write!(text, ", {:?} of work before each message", side.work);
        }
        if let Some(share) = side.drop {
            let _ = write!(text, ", {}% dropped (seed {})", percent(share), side.seed.unwrap_or_default());
        }
        let long = match (side.duration, side.count) {
            (Some(time), Some(count)) => format!("{} messages or {time:?}", grouped(count)),
            (Some(time), None) => format!("{time:?}"),
            (None, count) => format!("{} messages", grouped(count.unwrap_or_default())),
        };
        let _ = write!(text, "; {long} after {:?} of warm-up", side.warm_up);
        // Who was told to end early has fewer of the last.
        let runs = |case: Option<&Measured>| case.map_or(0, |measured| measured.rounds.len());
        let (most, least) = (runs(self.cases.first()), runs(self.cases.last()));
        if most > least {
            let _ = write!(text, ", medians of {most} runs, of the last sizes and rates {least}");
        } else if most > 1 {
            let _ = write!(text, ", medians of {most} runs");
        }
        text.push('\n');
        text
    }

    fn latency_title(&self) -> &'static str {
        "One-way latency. At a rate: from when each was due, sent late or not (coordinated omission corrected). At max: from the\n\
         call that sends, of some (not corrected: who waits for room sends less).\n"
    }

    /// A picture of the cases that went as fast as they could.
    pub(super) fn throughput(&self) -> String {
        let told = self.told();
        let max = told.iter().filter(|told| told.case.load.rate().is_none());
        let bars: Vec<Bars> = max
            .map(|told| Bars {
                name: format!("{} bytes", told.case.size),
                remark: told.cell("messages_per_second", |rate| format!("{:.2} M messages/s", rate / 1e6)),
                values: [told.number("bytes_per_second"), told.number("raw_bytes_per_second")],
            })
            .collect();
        chart::bars("nakcast bench: payload as fast as it goes, and raw sockets", &bars)
    }

    /// A picture of the latencies at rates: of all runs together.
    pub(super) fn latency(&self) -> String {
        let mut curves: Vec<(String, Histogram<u64>)> = Vec::new();
        for Measured { case, rounds } in self.cases.iter().filter(|m| m.case.load.rate().is_some()) {
            let rate = grouped(case.load.rate().unwrap_or_default() as u64);
            let ours = together(rounds.iter().map(|round| &round.latency));
            let raw = together(rounds.iter().filter_map(|round| round.raw_latency.as_ref()));
            for (name, histogram) in [("nakcast", ours), ("raw sockets", raw)] {
                curves.extend(histogram.map(|histogram| (format!("{name}, {rate} a second"), histogram)));
            }
        }
        let named: Vec<Named<'_>> =
            curves.iter().map(|(name, histogram)| Named { name, histogram }).collect();
        let waiting = if self.plan.side.spin { "spinning" } else { "blocking" };
        latency::plot(&format!("nakcast bench: one-way latency, {waiting}, from when each was due"), &named)
    }
}

fn together<'a>(mut histograms: impl Iterator<Item = &'a Histogram<u64>>) -> Option<Histogram<u64>> {
    let mut all = histograms.next()?.clone();
    // They are made alike, and grow.
    histograms.try_for_each(|histogram| all.add(histogram)).ok().map(|()| all)
}

/// The first of the rows is the head.
fn throughput_rows(told: &[Told<'_>]) -> Vec<Vec<String>> {
    let head = [
        "size",
        "rate",
        "messages/s",
        "MB/s",
        "raw MB/s",
        "of raw",
        "lost",
        "cpu pub",
        "cpu sub",
        "calls/msg",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for told in told {
        let megabytes = |bytes: f64| format!("{:.1}", bytes / 1e6);
        let share = |share: f64| format!("{share:.3}");
        let seconds = |seconds: f64| format!("{seconds:.3}");
        rows.push(vec![
            told.case.size.to_string(),
            rate(told.case),
            told.cell("messages_per_second", |rate| grouped(rate.round() as u64)),
            told.cell("bytes_per_second", megabytes),
            told.cell("raw_bytes_per_second", megabytes),
            told.cell("ratio_to_raw", share),
            told.cell("lost", |lost| grouped(lost as u64)),
            told.cell("cpu_seconds_per_million_publisher", seconds),
            told.cell("cpu_seconds_per_million_subscriber", seconds),
            told.cell("syscalls_per_message", |calls| format!("{calls:.4}")),
        ]);
    }
    rows
}

fn latency_rows(told: &[Told<'_>]) -> Vec<Vec<String>> {
    let mut rows = vec![["size", "rate", "of", "timed"].map(String::from).to_vec()];
    rows[0].extend(LATENCIES.map(|(head, _)| head.to_owned()));
    for told in told {
        let [to, from] = Split::PARTS;
        for (name, prefix) in [("nakcast", ""), ("to kernel", to), ("from kernel", from), ("raw", "raw_")] {
            let timed = format!("{prefix}latency_timed");
            if !told.figures.contains_key(&timed) {
                continue;
            }
            let mut row = vec![told.case.size.to_string(), rate(told.case), name.into()];
            row.push(told.cell(&timed, |timed| grouped(timed as u64)));
            let latency = |(_, figure)| format!("{prefix}latency_{figure}");
            row.extend(LATENCIES.map(|column| told.cell(&latency(column), |nanos| time(nanos as u64))));
            rows.push(row);
        }
    }
    rows
}

fn rate(case: Case) -> String {
    let shown = |rate: f64| if rate.fract() == 0.0 { grouped(rate as u64) } else { rate.to_string() };
    case.load.rate().map_or_else(|| "max".into(), shown)
}

/// Columns under each other, all to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  "));
    }
    text
}

fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_in_the_per_cent_it_was_given_in() {
        for given in [7.0, 14.0, 29.0, 0.1, 33.333_333] {
            assert_eq!(percent(given / 100.0), given);
        }
    }

    #[test]
    fn tables_have_as_many_columns_in_each_row() {
        let rows = vec![vec!["a".to_owned(), "bb".into()], vec!["100".to_owned(), "-".into()]];
        assert_eq!(aligned(&rows), "  a  bb\n100   -\n");
        assert_eq!(markdown(&rows), "| a | bb |\n|---|---|\n| 100 | - |\n");
        assert_eq!(throughput_rows(&[])[0].len(), 10);
        assert_eq!(latency_rows(&[])[0].len(), 11);
    }
}
