//! Standard error: whole lines, and a line of progress on a terminal that the next line takes the place of.
//!
//! A standard error that nobody reads is no reason to fail, or to wait: a thread of its own writes, and what it cannot write for
//! so long that too much of it waits is left out, and counted.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A line of progress is shown, with no end yet.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Bytes that may wait to be written.
const MOST_WAITING: usize = 1 << 20;
/// At the end what waits is written, unless nothing of it could be for this long.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What waits to be written.
static WAITING: Mutex<Waiting> =
    Mutex::new(Waiting { pieces: VecDeque::new(), bytes: 0, left_out: 0, writing: false });
/// Something waits.
static SAID: Condvar = Condvar::new();
/// Something was written.
static WRITTEN: Condvar = Condvar::new();

struct Waiting {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines there was no room for.
    left_out: u64,
    /// A piece is being written.
    writing: bool,
}

/// Has a piece written, whole, behind those before it.
fn write(piece: Vec<u8>) {
    static WRITER: Once = Once::new();
    WRITER.call_once(|| {
        // Without the thread, as where there can be no more of them, nothing is said.
        let _ = std::thread::Builder::new().name("say".into()).spawn(write_all);
    });
    let mut waiting = WAITING.lock();
    if waiting.bytes + piece.len() > MOST_WAITING {
        waiting.left_out += 1;
        return;
    }
    waiting.own_up();
    waiting.push(piece);
    SAID.notify_one();
}

impl Waiting {
    fn push(&mut self, piece: Vec<u8>) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Says how much was left out.
    fn own_up(&mut self) {
        if self.left_out > 0 {
            self.push(format!("warning: {} lines are left out here\n", self.left_out).into_bytes());
            self.left_out = 0;
        }
    }
}

/// The thread's work.
fn write_all() {
    loop {
        let piece = {
            let mut waiting = WAITING.lock();
            loop {
                match waiting.pieces.pop_front() {
                    Some(piece) => {
                        waiting.bytes -= piece.len();
                        waiting.writing = true;
                        break piece;
                    }
                    None => SAID.wait(&mut waiting),
                }
            }
        };
        let _ = io::stderr().write_all(&piece);
        WAITING.lock().writing = false;
        WRITTEN.notify_all();
    }
}

/// Before the process ends: waits until all that was said is written, or cannot be.
pub(crate) fn last_words() {
    let mut waiting = WAITING.lock();
    waiting.own_up();
    SAID.notify_one();
    while (waiting.writing || !waiting.pieces.is_empty())
        && !WRITTEN.wait_for(&mut waiting, LAST_WORDS).timed_out()
    {}
}

/// Takes the cursor to the beginning of the line, and empties that.
const EMPTY_LINE: &str = "\r\x1b[K";

/// Says a line, in one write: lines of several threads and processes do not mix.
pub(crate) fn line(text: impl fmt::Display) {
    let clear = if SHOWN.swap(false, Ordering::Relaxed) { EMPTY_LINE } else { "" };
    write(format!("{clear}{text}\n").into_bytes());
}

/// Says what bodes ill, but is no reason to end.
pub(crate) fn warning(text: impl fmt::Display) {
    line(format_args!("warning: {text}"));
}

/// Shows how far things are, where somebody watches.
pub(crate) fn progress(text: impl fmt::Display) {
    SHOWN.store(true, Ordering::Relaxed);
    write(format!("{EMPTY_LINE}{text}").into_bytes());
}

/// Takes the line of progress away.
pub(crate) fn end_of_progress() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        write(EMPTY_LINE.as_bytes().to_vec());
    }
}

/// Whether somebody watches.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Shows what the library tells its operators: warnings, and more with each `-v`.
pub(crate) fn listen_to_the_library(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).event_format(Remark);
    lines.with_writer(|| Line).init();
}

/// The form of the library's lines: that of the command's own.
struct Remark;

impl<S, N> FormatEvent<S, N> for Remark
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let Said { message, error, rest } = said;
        writeln!(writer, "{}: {message}{rest}{error}", kind(event.metadata().level()))
    }
}

fn kind(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What a remark says: its text, what else it names, and the reason at the end.
#[derive(Default)]
struct Said {
    message: String,
    error: String,
    rest: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Line feeds would make it several lines.
        let value = format!("{value:?}").replace('\n', " ");
        match field.name() {
            "message" => self.message = value,
            "error" => self.error = format!(": {value}"),
            name => self.rest.push_str(&format!(" ({name} {value})")),
        }
    }
}

/// What a tracing line is written through; it comes whole, its end included.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        line(String::from_utf8_lossy(bytes).trim());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
