//! What `ping` has measured, for people, for programs and for files.

use super::Measured;
use super::answers::{Answers, Pong};
use crate::exit::Failure;
use crate::figures::{grouped, time};
use crate::file;
use crate::latency::{self, Named, PERCENTILES, Split};
use crate::units::contract_text;
use nakcast::Contract;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Characters of a column.
const COLUMN: usize = 18;

/// How it was measured.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) rate: Option<f64>,
    pub(super) size: usize,
    pub(super) warm_up: Duration,
    pub(super) contract: Contract,
    pub(super) spin: bool,
    pub(super) groups: (SocketAddr, SocketAddr),
    pub(super) seed: Option<u64>,
}

/// All that is to be told.
#[derive(Debug)]
pub(super) struct Report<'a> {
    settings: &'a Settings,
    measured: &'a Measured,
    answers: &'a Answers,
    names: Vec<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(settings: &'a Settings, measured: &'a Measured, answers: &'a Answers) -> Report<'a> {
        let names = answers.pongs.iter().map(Pong::name).collect();
        Report { settings, measured, answers, names }
    }

    fn named(&self) -> Vec<Named<'_>> {
        let pongs = self.names.iter().zip(&self.answers.pongs);
        pongs.map(|(name, pong)| Named { name, histogram: &pong.latency }).collect()
    }

    /// The content of `--hdr`.
    pub(super) fn log(&self) -> Result<Vec<u8>, Failure> {
        let begun = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.measured.begun_ns);
        latency::log(&self.title(), begun, self.measured.time, &self.named())
    }

    /// The content of `--svg`.
    pub(super) fn plot(&self) -> String {
        latency::plot(&self.title(), &self.named())
    }

    /// Writes it to standard output.
    pub(super) fn print(&self, as_json: bool) -> Result<(), Failure> {
        let text = if as_json { format!("{:#}\n", self.json()) } else { self.table() };
        file::print(&text)
    }

    /// One line: what was measured, and whether what that leaves out was corrected.
    fn title(&self) -> String {
        let Settings { rate, size, spin, .. } = self.settings;
        let waiting = if *spin { "spinning" } else { "blocking" };
        let how = match rate {
            Some(rate) => format!("{rate} a second, from when each was due (coordinated omission corrected)"),
            None => "one under way at a time (coordinated omission not corrected)".into(),
        };
        format!("nakcast ping: round trips of {size} bytes, {waiting}, {how}")
    }

    fn table(&self) -> String {
        let Measured { unsent, stopped, .. } = *self.measured;
        let mut text = self.title();
        let _ = write!(
            text,
            "\n{} messages in {:.3} s, after {:?} of warm-up that do not count",
            grouped(self.answers.counted()),
            self.measured.time.as_secs_f64(),
            self.settings.warm_up
        );
        text.push_str(if stopped { "; told to end\n" } else { "\n" });
        if unsent > 0 {
            let _ = writeln!(
                text,
                "the rate was not reached: {} messages were due and not sent, and none of them is in the times below",
                grouped(unsent)
            );
        }
        if self.answers.pongs.is_empty() {
            return text;
        }
        text.push('\n');
        self.row(&mut text, "pong", |pong| pong.name());
        self.row(&mut text, "at", |pong| pong.address.map_or_else(|| "-".into(), |at| at.ip().to_string()));
        let counted = self.answers.counted();
        if self.answers.pongs.iter().any(|pong| !pong.here || self.answers.asked(pong) < counted) {
            // One that came later, or left.
            self.row(&mut text, "asked", |pong| grouped(self.answers.asked(pong)));
            self.row(&mut text, "left", |pong| if pong.here { "no" } else { "yes" }.into());
        }
        self.row(&mut text, "count", |pong| grouped(pong.latency.len()));
        self.row(&mut text, "lost", |pong| grouped(self.answers.lost(pong)));
        if self.answers.pongs.iter().any(|pong| pong.gaps > 0) {
            self.row(&mut text, "in gaps", |pong| grouped(pong.gaps));
        }
        let shown = |pong: &Pong, value: u64| if pong.latency.is_empty() { "-".into() } else { time(value) };
        self.row(&mut text, "min", |pong| shown(pong, pong.latency.min()));
        for (name, share) in PERCENTILES {
            self.row(&mut text, name, |pong| shown(pong, pong.latency.value_at_quantile(share)));
        }
        self.row(&mut text, "max", |pong| shown(pong, pong.latency.max()));
        self.row(&mut text, "mean", |pong| shown(pong, pong.latency.mean() as u64));
        for (part, title) in
            ["of these until this machine's kernel had the answer", "from there to this command"]
                .iter()
                .enumerate()
        {
            if self.answers.pongs.iter().all(|pong| pong.split.is_none()) {
                continue;
            }
            let _ = writeln!(text, "\n{title}");
            for (name, share) in PERCENTILES {
                self.row(&mut text, name, |pong| match &pong.split {
                    Some(split) if !split.parts()[part].is_empty() => {
                        time(split.parts()[part].value_at_quantile(share))
                    }
                    _ => "-".into(),
                });
            }
        }
        for (name, pong) in self.names.iter().zip(&self.answers.pongs) {
            let bars = latency::bars(&pong.latency);
            if !bars.is_empty() {
                let _ = write!(text, "\npong {name}\n{bars}");
            }
        }
        text
    }

    /// A row of the table: a column for each pong.
    fn row(&self, text: &mut String, name: &str, cell: impl Fn(&Pong) -> String) {
        let _ = write!(text, "{name:<8}");
        for pong in &self.answers.pongs {
            let _ = write!(text, "  {:>COLUMN$}", cell(pong));
        }
        text.push('\n');
    }

    fn json(&self) -> Value {
        let Settings { rate, size, warm_up, contract, spin, groups, seed } = self.settings;
        let Measured { time, unsent, stopped, deserted, .. } = self.measured;
        json!({
            "command": "ping",
            "group": groups.0.to_string(),
            "reply_group": groups.1.to_string(),
            "size": size,
            "rate": rate,
            "coordinated_omission_corrected": rate.is_some(),
            "contract": contract_text(*contract),
            "spin": spin,
            "seed": seed,
            "warm_up_seconds": warm_up.as_secs_f64(),
            "measured_seconds": time.as_secs_f64(),
            "told_to_end": stopped,
            "every_pong_left": deserted,
            "sent": self.answers.counted(),
            "unsent": unsent,
            "pongs": self.answers.pongs.iter().map(|pong| self.pong(pong)).collect::<Vec<_>>(),
        })
    }

    fn pong(&self, pong: &Pong) -> Value {
        let mut object = Map::new();
        object.insert("source".into(), pong.name().into());
        object.insert("address".into(), pong.address.map_or(Value::Null, |at| at.ip().to_string().into()));
        object.insert("asked".into(), self.answers.asked(pong).into());
        object.insert("count".into(), pong.latency.len().into());
        object.insert("lost".into(), self.answers.lost(pong).into());
        object.insert("in_gaps".into(), pong.gaps.into());
        object.insert("left".into(), (!pong.here).into());
        object.extend(latency::fields("", &pong.latency));
        if let Some(split) = &pong.split {
            for (name, part) in Split::PARTS.into_iter().zip(split.parts()) {
                object.extend(latency::fields(name, part));
            }
        }
        Value::Object(object)
    }
}

/// How many pongs, in words.
pub(super) fn pongs(number: usize) -> String {
    match number {
        1 => "1 pong is here".into(),
        _ => format!("{number} pongs are here"),
    }
}
