//! HdrHistogram's log format, as its own tools read it: intervals of compressed histograms (V2), nanoseconds.

use super::Named;
use crate::exit::Failure;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::time::{Duration, SystemTime};

/// The format's version, as its first line tells it.
const VERSION: &str = "[Histogram log format version 1.3]";
const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
/// Bytes of a comment.
const LONGEST_COMMENT: usize = 100;
/// The maximum of a line is in milliseconds: it is there for people, the histogram has its nanoseconds.
const MAX_DIVISOR: f64 = 1e6;

/// A log of one interval, `length` from `begun` on: the only histogram without a tag, several each under its name.
pub(crate) fn log(
    comment: &str,
    begun: SystemTime,
    length: Duration,
    histograms: &[Named<'_>],
) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut header = IntervalLogWriterBuilder::new();
    header.add_comment(VERSION);
    for line in short(comment) {
        header.add_comment(&line);
    }
    header.with_start_time(begun).with_base_time(begun).with_max_value_divisor(MAX_DIVISOR);
    header.begin_log_with(&mut content, &mut serializer).map_err(failed)?;
    content.extend_from_slice(LEGEND.as_bytes());
    // The divisor is told again, which is out of place behind the legend: not every reader takes a comment there.
    let mut intervals = Vec::new();
    let mut lines = IntervalLogWriterBuilder::new();
    lines.with_max_value_divisor(MAX_DIVISOR);
    let mut lines = lines.begin_log_with(&mut intervals, &mut serializer).map_err(failed)?;
    for named in histograms {
        let tag = if histograms.len() > 1 { Tag::new(named.name) } else { None };
        lines.write_histogram(named.histogram, Duration::ZERO, length, tag).map_err(failed)?;
    }
    for line in intervals.split_inclusive(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"#")) {
        content.extend_from_slice(line);
    }
    Ok(content)
}

/// A comment in lines that every reader takes whole: HdrHistogram's in C has room for 127 bytes of one.
fn short(comment: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in comment.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < LONGEST_COMMENT => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::at_run_time(format_args!("--hdr: {error}"))
}
