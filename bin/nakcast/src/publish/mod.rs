//! `nakcast pub`.

mod ending;
mod watch;

use crate::clock;
use crate::cpu;
use crate::exit::{Exit, Failure};
use crate::input::{self, Messages};
use crate::pace::Pace;
use crate::plan::PublishPlan;
use crate::say;
use crate::stop::{SLICE, Stop};
use crate::summary::{Summary, SummaryFile};
use ending::Doubt;
use nakcast::{Endpoint, Error, Publisher, PublisherStats, SendError};
use std::time::{Duration, Instant};
use watch::Watch;

/// How long after its start a publisher that has nothing more to say stays at least: subscribers that lost its first datagrams are
/// to find it by its heartbeats, and be known.
const GRACE: Duration = Duration::from_millis(200);
/// When progress is shown first, and how often then.
const LONG: Duration = Duration::from_secs(2);
const PROGRESS: Duration = Duration::from_secs(1);

pub(crate) fn run(mut plan: PublishPlan) -> Result<Exit, Failure> {
    let mut counted = Counted {
        begun: clock::now(),
        active: Duration::ZERO,
        stats: PublisherStats::default(),
        unconfirmed: 0,
        unsent: 0,
        published: false,
    };
    let mut file = std::mem::take(&mut plan.summary);
    let verbose = plan.verbose;
    let outcome = publish(plan, &mut file, &mut counted);
    let Counted { begun, active, stats, unconfirmed, unsent, published } = counted;
    let elapsed = clock::now().duration_since(begun);
    say::end_of_progress();
    if verbose && published {
        let PublisherStats { messages, bytes, datagrams, repairs, .. } = stats;
        say::line(format_args!(
            "{messages} messages, {bytes} bytes, {datagrams} datagrams, {repairs} repairs in {elapsed:.3?}"
        ));
    }
    let mut summary = Summary::of_publisher(&stats);
    summary.add("unconfirmed", unconfirmed);
    summary.add("unsent", unsent);
    summary.add_times(elapsed, active);
    Ok(file.end(summary, outcome))
}

/// What the summary is made of.
struct Counted {
    begun: Instant,
    /// From the first message to the last.
    active: Duration,
    stats: PublisherStats,
    /// Subscribers that have not confirmed everything.
    unconfirmed: usize,
    /// Messages that were taken, and did not leave.
    unsent: u64,
    /// It came to publishing.
    published: bool,
}

fn publish(plan: PublishPlan, summary: &mut SummaryFile, counted: &mut Counted) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    summary.is_not(input::metadata(&plan.input), "what is to be published")?;
    let mut messages = Messages::open(plan.input, plan.max_message, &stop)?;
    let endpoint = Endpoint::open(plan.endpoint)?;
    // Before any is opened: those that were would be ended, as if that were all there is of them.
    let max = endpoint.max_topics();
    if plan.topics.len() > max {
        return Err(Error::TooManyTopics { max }.into());
    }
    if plan.name_interface
        && let Some(interface) = endpoint.interface()
    {
        say::line(format_args!("interface {interface}"));
    }
    if plan.asked_buffer || plan.verbose {
        for warning in endpoint.warnings() {
            say::warning(warning);
        }
    }
    if plan.verbose {
        say::line(format_args!("source {} at {}", endpoint.source_id(), endpoint.local_addr()));
    }
    let opened = plan.topics.into_iter().map(|topic| endpoint.publisher(topic));
    let mut publishers = opened.collect::<Result<Vec<_>, _>>()?;
    let known = clock::now() + GRACE;
    summary.begin()?;
    counted.published = true;

    let watch = Watch::start(endpoint.clone(), plan.verbose)
        .map_err(|error| Failure::at_run_time(format_args!("starting a thread: {error}")))?;
    cpu::pin(plan.cpu)?;
    let outcome = match wait_for(plan.wait_for, &mut publishers, &endpoint, &stop) {
        true => {
            let begun = clock::now();
            let outcome = send_all(&mut messages, &mut publishers, plan.rate, &stop);
            counted.active = clock::now().duration_since(begun);
            outcome
        }
        false => Ok(()),
    };
    // What went out before a failure is still seen to.
    let end = if outcome.is_ok() { ending::close } else { ending::abandon };
    let lacking = end(publishers, known, plan.linger, &stop);
    let doubt = Doubt::new(lacking, &watch.end());
    counted.stats = endpoint.stats();
    counted.unconfirmed = doubt.unconfirmed();
    counted.unsent = doubt.unsent;
    say::end_of_progress();
    if doubt.unsent > 0 {
        let (plural, were) = if doubt.unsent == 1 { ("", "was") } else { ("s", "were") };
        say::warning(format_args!("{} message{plural} {were} not sent before the end", doubt.unsent));
    }
    let verdict = doubt.verdict(counted.stats.send_failures);
    if let Some(who) = doubt.who().filter(|_| outcome.is_err() || verdict.is_ok()) {
        say::warning(who);
    }
    outcome.and(verdict).map(|()| Exit::Done)
}

/// Waits until that many subscribers were heard from; false when it was told to end first.
fn wait_for(wanted: usize, publishers: &mut [Publisher], endpoint: &Endpoint, stop: &Stop) -> bool {
    loop {
        let enough = match publishers {
            _ if wanted == 0 => true,
            [publisher] => publisher.wait_for(wanted, Some(SLICE)).is_ok(),
            // Of several topics each subscriber may want another: it is enough to have heard from it at all.
            [first, ..] => {
                let _ = first.wait_for(wanted, Some(SLICE / 10));
                endpoint.receivers().len() >= wanted
            }
            [] => true,
        };
        if stop.is_asked() || enough {
            return !stop.is_asked();
        }
    }
}

/// Sends everything there is, each message to the next topic in turn, until it is told to end.
fn send_all(
    messages: &mut Messages,
    publishers: &mut [Publisher],
    rate: Option<f64>,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut pace = rate.map(|rate| Pace::new(clock::now(), rate));
    let topics = publishers.len();
    // Of a paced run: how many messages are due, and how many went out since there was last a wait.
    let (mut due, mut burst) = (0, 0);
    let mut message = Vec::new();
    for number in 0_u64.. {
        if stop.is_asked() || !messages.next(&mut message)? {
            break;
        }
        let topic = (number % topics as u64) as usize;
        if let Some(pace) = &mut pace {
            if messages.was_waited_for() {
                // What was not there could not be sent: nothing of that is made up for.
                pace.resume(number, clock::now());
                due = number;
            }
            if number >= due {
                due = pace.due(clock::now());
            }
            if number >= due {
                for back in 1..=burst.min(topics) {
                    flush(&mut publishers[(topic + topics - back) % topics])?;
                }
                burst = 0;
                while number >= due {
                    if !stop.wait_until(pace.moment(number)) {
                        return Ok(());
                    }
                    due = pace.due(clock::now());
                }
            }
            burst += 1;
        }
        if !send(&mut publishers[topic], &message, stop)? {
            break;
        }
    }
    publishers.iter_mut().try_for_each(flush)
}

/// Sends a message; false when it was told to end while it waited for room.
fn send(publisher: &mut Publisher, message: &[u8], stop: &Stop) -> Result<bool, Failure> {
    loop {
        match publisher.send_timeout(message, SLICE) {
            Ok(()) => return Ok(true),
            Err(SendError::BackPressured { .. }) => {
                if stop.is_asked() {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn flush(publisher: &mut Publisher) -> Result<(), Failure> {
    publisher.flush().map_err(Failure::from)
}
