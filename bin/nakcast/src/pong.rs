//! `nakcast pong`: publishes back what `ping` publishes, on the thread that receives it.

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::figures::time;
use crate::latency::{self, Split};
use crate::ping;
use crate::plan::PongPlan;
use crate::receivers;
use crate::say;
use crate::stop::{SLICE, Stop};
use crate::summary::{Summary, SummaryFile};
use nakcast::{EndReason, Event, Publisher, PublisherStats, SendError, SourceId, SubscriberStats};
use std::time::Duration;

/// How long the last answers are stayed for.
const LINGER: Duration = Duration::from_secs(1);
/// Messages that are answered before it is looked up for anything else.
const BATCH: usize = 256;

pub(crate) fn run(mut plan: PongPlan) -> Result<Exit, Failure> {
    let begun = clock::now();
    let mut file = std::mem::take(&mut plan.summary);
    let mut counted = Counted::default();
    let (seed, verbose) = (plan.trip.seed, plan.trip.verbose);
    let outcome = pong(plan, &mut file, &mut counted);
    if verbose && outcome.is_ok() {
        say::line(format_args!(
            "{} messages answered, {} lost on their way here",
            counted.published.messages, counted.received.lost
        ));
    }
    if let Some(split) = counted.split.as_ref().filter(|split| !split.to_kernel.is_empty()) {
        let [to, from] =
            split.parts().map(|part| [0.5, 0.99].map(|share| time(part.value_at_quantile(share))));
        say::line(format_args!(
            "from when each was sent until this machine's kernel had it, by the two machines' clocks: p50 {}, p99 {}; from there \
             to this command: p50 {}, p99 {}",
            to[0], to[1], from[0], from[1]
        ));
    }
    let mut summary = Summary::of_both("pong", &counted.published, &counted.received);
    for (name, part) in Split::PARTS.into_iter().zip(counted.split.iter().flat_map(Split::parts)) {
        summary.add_figures(latency::fields(name, part));
    }
    if let Some(seed) = seed {
        summary.add("seed", seed);
    }
    summary.add("elapsed_seconds", clock::now().duration_since(begun).as_secs_f64());
    Ok(file.end(summary, outcome))
}

/// What the summary is made of.
#[derive(Debug, Default)]
struct Counted {
    published: PublisherStats,
    received: SubscriberStats,
    split: Option<Split>,
}

fn pong(plan: PongPlan, summary: &mut SummaryFile, counted: &mut Counted) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let (publisher, mut subscriber) = ping::open(&plan.trip)?;
    summary.begin()?;
    // By this a ping's table tells one pong from another.
    let endpoint = publisher.endpoint().clone();
    say::line(format_args!("source {} at {}", endpoint.source_id(), endpoint.local_addr()));
    say::line("ready");

    let until = plan.time.map(|time| clock::now() + time);
    let split = plan.trip.kernel_times.then(Split::new).transpose()?;
    let mut pong = Pong { publisher, verbose: plan.trip.verbose, split, first: None, ended: None };
    let outcome = loop {
        let mut outcome = Ok(());
        let taken = subscriber.poll(BATCH, |event| {
            if outcome.is_ok() {
                outcome = pong.handle(&event, &stop);
            }
        });
        let taken = match outcome.and(taken.map_err(Failure::from)).and_then(|taken| pong.sent(taken)) {
            Ok(taken) => taken,
            Err(failure) => break Err(failure),
        };
        if plan.once
            && let Some(reason) = pong.ended
        {
            break ended(reason);
        }
        if stop.is_asked() {
            break Ok(Exit::Done);
        }
        let now = clock::now();
        if until.is_some_and(|until| now >= until) {
            break match plan.once {
                true => Err(Failure::at_run_time("--for is over, and no ping has ended")),
                false => Ok(Exit::Done),
            };
        }
        if taken == 0 {
            let most = if plan.trip.spin { ping::tend(&pong.publisher) } else { SLICE };
            let wait = until.map_or(most, |until| most.min(until.saturating_duration_since(now)));
            let handled = match subscriber.recv_timeout(wait) {
                Ok(Some(event)) => pong.handle(&event, &stop).and_then(|()| pong.sent(1)),
                Ok(None) => {
                    receivers::tell(&endpoint, pong.verbose);
                    Ok(0)
                }
                Err(error) => Err(error.into()),
            };
            if let Err(failure) = handled {
                break Err(failure);
            }
        }
    };
    counted.received = subscriber.stats();
    counted.split = pong.split;
    // The pings are no longer held back by this subscriber while the last answers are stayed for.
    drop(subscriber);
    let linger = if stop.is_urged() { Duration::ZERO } else { LINGER };
    // A ping that is gone wants no answer, and one that is there counts what it lacks.
    let _ = pong.publisher.close(linger);
    receivers::tell(&endpoint, plan.trip.verbose);
    counted.published = endpoint.stats();
    outcome
}

/// What answers.
struct Pong {
    publisher: Publisher,
    verbose: bool,
    /// How long messages took on their way here, where the kernel was asked.
    split: Option<Split>,
    /// The first ping heard, and how its stream ended.
    first: Option<SourceId>,
    ended: Option<EndReason>,
}

impl Pong {
    /// So many events were handled: what answers them leaves.
    fn sent(&mut self, events: usize) -> Result<usize, Failure> {
        if events > 0 {
            self.publisher.flush()?;
        }
        Ok(events)
    }

    fn handle(&mut self, event: &Event<'_>, stop: &Stop) -> Result<(), Failure> {
        match event {
            Event::Message(message) => {
                if let Some(split) = &mut self.split {
                    let taken = clock::wall_ns().saturating_sub(message.sent_ns());
                    split.record(taken, message.kernel_received_ns());
                }
                self.answer(message.payload(), stop)?;
            }
            Event::Gap(gap) => say::line(format_args!("gap: {gap}")),
            Event::StreamUp(stream) => {
                self.first.get_or_insert(stream.source());
                if self.verbose {
                    say::line(stream);
                }
            }
            Event::StreamEnd(stream) => {
                if self.first == Some(stream.source()) {
                    self.ended = self.ended.or(stream.end_reason());
                }
                if self.verbose {
                    say::line(stream);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Publishes a message as it is. While a ping has no room for its answers, nothing more is taken from any.
    fn answer(&mut self, message: &[u8], stop: &Stop) -> Result<(), Failure> {
        loop {
            match self.publisher.send_timeout(message, SLICE) {
                Ok(()) => return Ok(()),
                Err(SendError::BackPressured { .. }) if !stop.is_asked() => {}
                Err(SendError::BackPressured { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What `--once` has come to.
fn ended(reason: EndReason) -> Result<Exit, Failure> {
    match reason {
        EndReason::Closed => Ok(Exit::Done),
        EndReason::Silent => Err(Failure::at_run_time("the ping fell silent without ending its stream")),
        _ => Err(Failure::at_run_time("the ping started anew without ending its stream")),
    }
}
