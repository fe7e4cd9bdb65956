//! What the demo shows: what it is about, live lines, and the table.

use super::Sent;
use super::listener::{Report, Seen};
use crate::exit::Failure;
use crate::figures::{grouped, time};
use crate::file;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often live lines are written anew on a terminal, and elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Says what is going to happen.
pub(super) fn introduce(
    group: SocketAddr,
    subscribers: usize,
    drop: f64,
    time: Duration,
) -> Result<(), Failure> {
    let percent = drop * 100.0;
    file::print(&format!(
        "One publisher and {subscribers} subscribers, over real UDP multicast ({group}) on this machine's loopback interface.\n\
         Each subscriber throws {percent}% of the datagrams it gets away, as a bad network would: it finds what is missing,\n\
         asks the publisher for it (a NAK), and is sent it again (a repair). For {time:?}; Ctrl-C ends it earlier.\n\n"
    ))
}

/// Live lines, written by a thread.
#[derive(Debug)]
pub(super) struct Screen {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Screen {
    pub(super) fn start(sent: Arc<Sent>, seen: Vec<Arc<Seen>>) -> Result<Screen, Failure> {
        let (end, ended) = channel();
        let thread = thread::Builder::new().name("screen".into()).spawn(move || {
            let terminal = io::stdout().is_terminal();
            let every = if terminal { ON_TERMINAL } else { ELSEWHERE };
            let mut shown = false;
            loop {
                let over = ended.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
                // Lines that stay are written over; where they cannot be, the table says the last word.
                if terminal || !over {
                    let up =
                        if terminal && shown { format!("\x1b[{}A", seen.len() + 1) } else { String::new() };
                    let start = if terminal { "\r\x1b[K" } else { "" };
                    let gap = if terminal { "" } else { "\n" };
                    // What cannot be written is told with the table.
                    let _ = file::print(&format!("{up}{}{gap}", lines(&sent, &seen, start)));
                    shown = true;
                }
                if over {
                    return;
                }
            }
        });
        let thread =
            thread.map_err(|error| Failure::at_run_time(format_args!("starting a thread: {error}")))?;
        Ok(Screen { end, thread })
    }

    pub(super) fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

fn lines(sent: &Sent, seen: &[Arc<Seen>], start: &str) -> String {
    let figure = |counter: &AtomicU64| grouped(counter.load(Ordering::Relaxed));
    let mut text = format!(
        "{start}publisher     sent     {:>9}                    repairs  {:>7}\n",
        figure(&sent.messages),
        figure(&sent.repairs)
    );
    for (index, seen) in seen.iter().enumerate() {
        let Seen { received, dropped, repaired, lost } = &**seen;
        let _ = writeln!(
            text,
            "{start}subscriber {}  received {:>9}  dropped {:>7}   repaired {:>7}  lost {:>3}",
            index + 1,
            figure(received),
            figure(dropped),
            figure(repaired),
            figure(lost)
        );
    }
    text
}

/// Shows what came of it.
pub(super) fn table(sent: u64, reports: &[Report]) -> Result<(), Failure> {
    let mut text = String::from(
        "\n                   sent   received   dropped  repaired  lost  messages/s  latency: p50       p99     p99.9       max\n",
    );
    let mut lost_by_all = 0;
    let mut dropped_by_all = 0;
    for (index, report) in reports.iter().enumerate() {
        let Report { received, dropped, repaired, active, latency, .. } = report;
        let lost = sent.saturating_sub(*received);
        lost_by_all += lost;
        dropped_by_all += dropped;
        let rate = if active.is_zero() { 0.0 } else { *received as f64 / active.as_secs_f64() };
        let _ = writeln!(
            text,
            "subscriber {}  {:>9}  {:>9} {:>9} {:>9} {:>5} {:>11} {:>13} {:>9} {:>9} {:>9}",
            index + 1,
            grouped(sent),
            grouped(*received),
            grouped(*dropped),
            grouped(*repaired),
            grouped(lost),
            grouped(rate as u64),
            time(latency.value_at_quantile(0.5)),
            time(latency.value_at_quantile(0.99)),
            time(latency.value_at_quantile(0.999)),
            time(latency.max()),
        );
    }
    let misplaced: u64 = reports.iter().map(|report| report.misplaced).sum();
    text.push_str(
        "\nSent, received and lost are messages; dropped and repaired are datagrams (a datagram carries one message or several,\n\
         or none: heartbeats and repairs are dropped too). Latency is from being sent to being handed over in order, so that\n\
         it holds the repair of a message, and of those it had to wait for.\n\n",
    );
    let _ = if lost_by_all == 0 && misplaced == 0 {
        writeln!(
            text,
            "Nothing was lost: each subscriber has all {} messages, in order, with {} datagrams thrown away.",
            grouped(sent),
            grouped(dropped_by_all)
        )
    } else {
        writeln!(
            text,
            "{} messages were lost, {} were out of place.",
            grouped(lost_by_all),
            grouped(misplaced)
        )
    };
    file::print(&text)
}
