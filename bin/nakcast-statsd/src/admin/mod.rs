//! The admin port: the original's text commands, and its answers.
//!
//! A command is a line; what stands there without a line feed when the other side closes its end is one, too.

mod inspect;

pub use inspect::{Shown, object};

use crate::clock;
use crate::intake::Intake;
use crate::line::Kind;
use crate::listen::Probe;
use crate::output::queue::Sent;
use crate::stream::{Bounds, Conversation, Streams};
use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the admin port tells of, beside what the shards have.
#[derive(Debug)]
pub struct Told {
    /// When the collector started, in seconds since 1970.
    pub start: u64,
    /// Bad lines of the intervals until the last flush.
    pub bad_lines: u64,
    /// Lines of those intervals, bad ones too.
    pub metrics: u64,
    /// Datagrams of those intervals.
    pub packets: u64,
    /// When the console was last written to, in seconds since 1970; `None` when there is none.
    pub console: Option<u64>,
    /// How the sending to Graphite went; `None` without.
    pub graphite: Option<Sent>,
    /// The lateness of the last flush.
    pub timestamp_lag: Option<f64>,
    /// Before the names of the collector's own metrics.
    pub prefix: String,
    /// What is configured: the original's keys and their values.
    pub config: Vec<(String, String)>,
    /// The listeners.
    pub probes: Vec<Probe>,
}

/// What the admin port tells of and changes.
#[derive(Debug)]
pub struct Admin {
    intake: Intake,
    told: Mutex<Told>,
    up: Arc<AtomicBool>,
}

/// Bytes of answers after which the next command waits until they are read.
const ENOUGH: usize = 64 << 10;

/// A line that is longer has no command.
const LONGEST: usize = 64 << 10;

const HELP: &str =
    "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, quit\n\n";

const END: &str = "END\n\n";

impl Admin {
    /// Tells of what is at an intake. `up` is what `health` says and sets.
    #[must_use]
    pub fn new(intake: Intake, told: Told, up: Arc<AtomicBool>) -> Arc<Admin> {
        Arc::new(Admin { intake, told: Mutex::new(told), up })
    }

    /// Is to answer who connects, from [`Streams::begin`] on.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no thread or nothing to wait with.
    pub fn answer_at(self: &Arc<Admin>, listener: TcpListener) -> io::Result<Streams> {
        listener.set_nonblocking(true)?;
        let listener = mio::net::TcpListener::from_std(listener);
        let admin = Arc::clone(self);
        let bounds = Bounds { connections: 64, ..Bounds::default() };
        let converse = move || Talk { admin: Arc::clone(&admin), begun: Vec::new() };
        Streams::start(listener, bounds, Arc::default(), converse)
    }

    /// Changes what is told.
    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock());
    }

    /// Answers a command; false when it asks for the end.
    pub fn answer(&self, line: &str, answer: &mut String) -> bool {
        let mut words = line.trim().split(' ');
        let command = words.next().unwrap_or_default();
        let words = words.collect::<Vec<_>>();
        // Writing to a string does not fail.
        let _ = match command {
            "help" => answer.write_str(HELP),
            "stats" => self.stats(answer),
            "counters" => self.counters(answer),
            "gauges" => self.gauges(answer),
            "timers" => self.timers(answer),
            "delcounters" => self.delete(Kind::Counter, &words, answer),
            "delgauges" => self.delete(Kind::Gauge, &words, answer),
            "deltimers" => self.delete(Kind::Timer, &words, answer),
            "health" => self.health(&words, answer),
            "config" => self.config(answer),
            "quit" => return false,
            _ => answer.write_str("ERROR\n"),
        };
        true
    }

    fn health(&self, words: &[&str], answer: &mut String) -> fmt::Result {
        match words.first().map(|word| word.to_ascii_lowercase()).as_deref() {
            Some("up") => self.up.store(true, Ordering::Relaxed),
            Some("down") => self.up.store(false, Ordering::Relaxed),
            _ => {}
        }
        writeln!(answer, "health: {}", if self.up.load(Ordering::Relaxed) { "up" } else { "down" })
    }

    fn config(&self, answer: &mut String) -> fmt::Result {
        answer.push('\n');
        self.told.lock().config.iter().try_for_each(|(key, value)| writeln!(answer, "{key}: {value}"))
    }

    /// The original's lines, and behind them what it does not tell.
    fn stats(&self, answer: &mut String) -> fmt::Result {
        // Both at one time: a flush moves bad lines from here to there.
        let told = self.told.lock();
        // First: what a listener has received by now is among what was added up.
        let received =
            told.probes.iter().map(|probe| (probe.received(), probe.truncated())).collect::<Vec<_>>();
        let tally = self.intake.tally();
        let now = clock::wall_seconds();
        let last = told.probes.iter().map(|probe| probe.last()).max().unwrap_or(0).max(told.start);
        writeln!(answer, "uptime: {}", now.saturating_sub(told.start))?;
        writeln!(answer, "messages.last_msg_seen: {}", now.saturating_sub(last))?;
        writeln!(answer, "messages.bad_lines_seen: {}", told.bad_lines + tally.bad)?;
        if let Some(sent) = told.graphite {
            writeln!(answer, "graphite.last_flush: {}", now.saturating_sub(sent.last_flush))?;
            writeln!(answer, "graphite.last_exception: {}", now.saturating_sub(sent.last_exception))?;
            writeln!(answer, "graphite.flush_time: {}", sent.flush_time)?;
            writeln!(answer, "graphite.flush_length: {}", sent.flush_length)?;
            writeln!(answer, "graphite.flushes_dropped: {}", sent.flushes_dropped)?;
        }
        if let Some(last) = told.console {
            writeln!(answer, "console.lastFlush: {last}\nconsole.lastException: {}", told.start)?;
        }
        writeln!(answer, "messages.packets_received: {}", told.packets + tally.packets)?;
        writeln!(answer, "messages.metrics_received: {}", told.metrics + tally.metrics)?;
        for (probe, (received, truncated)) in told.probes.iter().zip(received) {
            let name = probe.name();
            writeln!(answer, "listeners.{name}.received: {received}")?;
            writeln!(answer, "listeners.{name}.truncated: {truncated}")?;
            if probe.refused() > 0 {
                writeln!(answer, "listeners.{name}.refused: {}", probe.refused())?;
            }
            if let Some(drops) = probe.kernel_drops() {
                writeln!(answer, "listeners.{name}.kernel_drops: {drops}")?;
            }
        }
        answer.write_str(END)
    }

    fn counters(&self, answer: &mut String) -> fmt::Result {
        let (counters, tally) = (self.intake.counters(), self.intake.tally());
        let prefix = self.told.lock().prefix.clone();
        let own = [
            (format!("{prefix}.bad_lines_seen"), tally.bad),
            (format!("{prefix}.packets_received"), tally.packets),
            (format!("{prefix}.metrics_received"), tally.metrics),
        ];
        let own = own.iter().map(|(name, count)| (&**name, Shown::Number(*count as f64)));
        let counters = counters.iter().map(|(series, count)| (series.as_str(), Shown::Number(*count)));
        write!(answer, "{}\n{END}", object(&own.chain(counters).collect::<Vec<_>>()))
    }

    fn gauges(&self, answer: &mut String) -> fmt::Result {
        let gauges = self.intake.gauges();
        let (lag, prefix) = {
            let told = self.told.lock();
            (told.timestamp_lag, told.prefix.clone())
        };
        let lag = lag.map(|lag| (format!("{prefix}.timestamp_lag"), lag));
        let own = lag.iter().map(|(name, lag)| (&**name, Shown::Number(*lag)));
        let gauges = gauges.iter().map(|(series, value)| (series.as_str(), Shown::Number(*value)));
        write!(answer, "{}\n{END}", object(&gauges.chain(own).collect::<Vec<_>>()))
    }

    fn timers(&self, answer: &mut String) -> fmt::Result {
        let timers = self.intake.timers(inspect::ELEMENTS);
        let timers = timers.into_iter();
        let timers = timers.map(|(series, values, count)| (series, Shown::Array(values, count)));
        let timers = timers.collect::<Vec<_>>();
        let timers = timers.iter().map(|(series, shown)| (series.as_str(), shown.clone()));
        write!(answer, "{}\n{END}", object(&timers.collect::<Vec<_>>()))
    }

    /// Deletes series by name, or all whose name begins as one that ends in `.*`. The collector's own are not among them.
    fn delete(&self, kind: Kind, words: &[&str], answer: &mut String) -> fmt::Result {
        for word in words {
            let deleted = self.intake.delete(kind, word);
            if deleted.is_empty() {
                writeln!(answer, "metric {word} not found")?;
            }
            for series in deleted {
                writeln!(answer, "deleted: {}", series.as_str())?;
            }
        }
        answer.write_str(END)
    }
}

/// A conversation of commands.
struct Talk {
    admin: Arc<Admin>,
    /// A line that has no end yet.
    begun: Vec<u8>,
}

impl Talk {
    fn answer(&self, line: &[u8], answer: &mut Vec<u8>) -> bool {
        let mut text = String::new();
        let goes_on = self.admin.answer(&String::from_utf8_lossy(line), &mut text);
        answer.extend(text.as_bytes());
        goes_on
    }
}

impl Conversation for Talk {
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> bool {
        self.begun.extend(bytes);
        let begun = std::mem::take(&mut self.begun);
        let mut rest = &begun[..];
        // Who asks much and does not read is answered no more.
        while answer.len() < ENOUGH {
            let Some(at) = memchr::memchr(b'\n', rest) else {
                if rest.len() > LONGEST {
                    answer.extend(b"ERROR\n");
                    return false;
                }
                break;
            };
            if !self.answer(&rest[..at], answer) {
                return false;
            }
            rest = &rest[at + 1..];
        }
        self.begun.extend(rest);
        true
    }

    fn end(&mut self, answer: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.begun);
        if !line.trim_ascii().is_empty() {
            self.answer(&line, answer);
        }
    }
}
