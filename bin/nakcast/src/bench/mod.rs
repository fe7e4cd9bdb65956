//! `nakcast bench`: throughput and one-way latency between processes of its own, beside raw sockets.
//!
//! This process starts the others and reads what they measured; it does nothing while they do.

mod chart;
mod figures;
mod moments;
mod process;
mod publisher;
mod report;
mod side;
mod subscriber;

pub(crate) use side::side;

use crate::args::{Role, SideArgs};
use crate::exit::{Exit, Failure};
use crate::pace::Load;
use crate::plan::{BenchPlan, Case, Json};
use crate::say;
use crate::stop::Stop;
use figures::{Raw, Round};
use process::{Process, Remarks};
use serde_json::Value;

/// All topics of the messages that count, and that of those before.
const TOPICS: &str = "bench.>";
const WARM_UP_TOPIC: &str = "warm-up";

/// What stands in place of the time of the first message of a topic, which does not count.
const NOT_COUNTED: u64 = u64::MAX;

/// A topic of the messages that count.
fn topic(number: usize) -> String {
    format!("bench.{number}")
}

pub(crate) fn run(mut plan: BenchPlan) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let mut bench = Bench { plan: &plan, stop: &stop, remarks: Remarks::default() };
    let mut measured = Vec::new();
    let outcome = bench.measure(&mut measured);
    say::end_of_progress();
    if stop.is_asked() {
        say::line("told to end");
    }
    let report = report::Report { plan: &plan, cases: &measured };
    // What cannot be written takes nothing else with it.
    let mut outcomes = vec![match &plan.json {
        Json::Output => report.print_json(),
        _ => report.print_tables(),
    }];
    if !measured.is_empty() {
        let (lines, throughput, latency) = (report.json_lines(), report.throughput(), report.latency());
        if let Some(pictures) = &mut plan.matrix {
            outcomes.push(pictures.throughput.write(throughput.as_bytes()));
            outcomes.push(pictures.latency.write(latency.as_bytes()));
        }
        if let Json::File(file) = &mut plan.json {
            outcomes.push(file.write(lines.as_bytes()));
        }
    } else if let Json::File(file) = &mut plan.json
        && stop.is_asked()
    {
        // What was there is not of this run.
        outcomes.push(file.begin());
    }
    outcome.and(outcomes.into_iter().collect()).map(|()| Exit::Done)
}

/// What was measured of one case, run by run.
struct Measured {
    case: Case,
    rounds: Vec<Round>,
}

struct Bench<'a> {
    plan: &'a BenchPlan,
    stop: &'a Stop,
    remarks: Remarks,
}

impl Bench<'_> {
    /// Measures every case once, then again: what else the machine does falls on all of them.
    fn measure(&mut self, measured: &mut Vec<Measured>) -> Result<(), Failure> {
        for run in 1..=self.plan.runs {
            for (index, &case) in self.plan.cases.iter().enumerate() {
                if say::is_watched() {
                    let Case { size, load } = case;
                    let runs = self.plan.runs;
                    say::progress(format_args!("{size} bytes, rate {load}: run {run} of {runs}"));
                }
                let Some(round) = self.round(case)? else { return Ok(()) };
                let accounted = round.received() + round.lost();
                let expected = round.sent() * self.plan.side.subscribers as u64;
                if accounted != expected {
                    return Err(Failure::at_run_time(format_args!(
                        "{expected} messages were to come to the subscribers, {accounted} came or were told as lost"
                    )));
                }
                match measured.get_mut(index) {
                    Some(known) => known.rounds.push(round),
                    None => measured.push(Measured { case, rounds: vec![round] }),
                }
            }
        }
        Ok(())
    }

    /// Ours, and the raw sockets right after it; `None` when told to end.
    fn round(&mut self, case: Case) -> Result<Option<Round>, Failure> {
        let side = SideArgs { size: case.size, rate: case.load, ..self.plan.side.clone() };
        let ours = self.pair(&side, Role::Subscribe, (Role::Publish, "publisher"))?;
        let Some((published, received)) = ours else { return Ok(None) };
        let mut round = Round::new(case, published, received)?;
        if !self.plan.raw {
            return Ok(Some(round));
        }
        // Datagrams as long as ours were. What they come to takes nothing from our figures.
        let side = SideArgs { size: round.datagram_size(), ..side };
        match self.raw(case, side) {
            Ok(Some(raw)) => round.set_raw(raw)?,
            Ok(None) => return Ok(None),
            Err(failure) => self.remarks.tell(format!(
                "warning: there are no raw sockets beside it (--no-raw leaves them out): {}",
                failure.line
            )),
        }
        Ok(Some(round))
    }

    /// Raw sockets; `None` when told to end.
    fn raw(&mut self, case: Case, side: SideArgs) -> Result<Option<Raw>, Failure> {
        let limit = SideArgs { count: None, ..side.clone() };
        let limit = self.pair(&limit, Role::RawReceive, (Role::RawSend, "raw sender"))?;
        let Some((limit, _)) = limit else { return Ok(None) };
        let mut raw = Raw { limit, one_way: None };
        if case.load != Load::Max {
            let flight = self.pair(&side, Role::RawOneWayReceive, (Role::RawOneWaySend, "raw sender"))?;
            let Some(flight) = flight else { return Ok(None) };
            raw.one_way = Some(flight);
        }
        Ok(Some(raw))
    }

    /// The processor of a receiver: those after the sender's, in turn; with the sender where there is no other.
    fn receiver_cpu(&self, index: usize) -> Option<usize> {
        let (&first, others) = self.plan.cpus.split_first()?;
        Some(others.get(index % others.len().max(1)).copied().unwrap_or(first))
    }

    /// Starts the receivers, and the sender when they have joined; gives what they told.
    fn pair(
        &mut self,
        side: &SideArgs,
        receive: Role,
        (send, name): (Role, &'static str),
    ) -> Result<Option<(Value, Vec<Value>)>, Failure> {
        let mut receivers = Vec::new();
        for index in 0..side.subscribers {
            // Each loses others.
            let seed = side.seed.map(|seed| seed.wrapping_add(index as u64));
            let args = SideArgs { role: receive, seed, cpu: self.receiver_cpu(index), ..side.clone() };
            let name = if receive == Role::Subscribe { "subscriber" } else { "raw receiver" };
            let mut process = Process::start(&args, name, self.plan.subscriber_netns.as_deref())?;
            if !process.wait_until_ready(&mut self.remarks, self.stop)? {
                return Ok(None);
            }
            receivers.push(process);
        }
        let args = SideArgs { role: send, cpu: self.plan.cpus.first().copied(), ..side.clone() };
        let mut sender = Process::start(&args, name, None)?;
        let Some(sent) = sender.result(&mut self.remarks, self.stop)? else { return Ok(None) };
        let mut received = Vec::new();
        for receiver in &mut receivers {
            let Some(value) = receiver.result_soon(&mut self.remarks, self.stop)? else { return Ok(None) };
            received.push(value);
        }
        Ok(Some((sent, received)))
    }
}
