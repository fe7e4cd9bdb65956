//! `nakcast pub`.

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::input::{self, Messages};
use crate::pace::Pace;
use crate::plan::PublishPlan;
use crate::say;
use crate::stop::{SLICE, Stop};
use crate::summary::{Summary, SummaryFile};
use nakcast::{Endpoint, Laggard, Publisher, PublisherEvent, PublisherStats, SendError, Unconfirmed};
use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest linger of a command that was told to end.
const STOPPED_LINGER: Duration = Duration::from_secs(1);
/// How long after its start a publisher that has nothing more to say stays at least: subscribers that lost its first datagrams are
/// to find it by its heartbeats, and be known.
const GRACE: Duration = Duration::from_millis(200);
/// How often what happened to subscribers is told.
const WATCH: Duration = Duration::from_millis(250);
/// When progress is shown first, and how often then.
const LONG: Duration = Duration::from_secs(2);
const PROGRESS: Duration = Duration::from_secs(1);

pub(crate) fn run(mut plan: PublishPlan) -> Result<Exit, Failure> {
    let mut counted = Counted {
        begun: clock::now(),
        active: Duration::ZERO,
        stats: PublisherStats::default(),
        published: false,
    };
    let mut file = std::mem::take(&mut plan.summary);
    let verbose = plan.verbose;
    let outcome = publish(plan, &mut file, &mut counted);
    let Counted { begun, active, stats, published } = counted;
    let elapsed = clock::now().duration_since(begun);
    say::end_of_progress();
    if verbose && published {
        let PublisherStats { messages, bytes, datagrams, repairs, .. } = stats;
        say::line(format_args!(
            "{messages} messages, {bytes} bytes, {datagrams} datagrams, {repairs} repairs in {elapsed:.3?}"
        ));
    }
    let mut summary = Summary::of_publisher(&stats);
    summary.add_times(elapsed, active);
    Ok(file.end(summary, outcome))
}

/// What the summary is made of.
struct Counted {
    begun: Instant,
    /// From the first message to the last.
    active: Duration,
    stats: PublisherStats,
    /// It came to publishing.
    published: bool,
}

fn publish(plan: PublishPlan, summary: &mut SummaryFile, counted: &mut Counted) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    summary.is_not(input::metadata(&plan.input), "what is to be published")?;
    let mut messages = Messages::open(plan.input, plan.max_message, &stop)?;
    let endpoint = Endpoint::open(plan.endpoint)?;
    if plan.name_interface
        && let Some(interface) = endpoint.interface()
    {
        say::line(format_args!("interface {interface}"));
    }
    if plan.asked_buffer || plan.verbose {
        for warning in endpoint.warnings() {
            say::line(format_args!("warning: {warning}"));
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
    let unconfirmed = close(publishers, known, plan.linger, &stop);
    watch.end();
    counted.stats = endpoint.stats();
    if let Some(unconfirmed) = unconfirmed {
        say::line(format_args!("warning: {unconfirmed}"));
    }
    outcome.map(|()| Exit::Done)
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
            Err(error) => return Err(not_sent(&error)),
        }
    }
}

fn flush(publisher: &mut Publisher) -> Result<(), Failure> {
    publisher.flush().map_err(|error| not_sent(&error))
}

fn not_sent(error: &SendError) -> Failure {
    match error {
        SendError::Datagram(_) => {
            Failure::at_run_time(format_args!("{error}; a smaller --datagram is needed"))
        }
        _ => Failure::at_run_time(error),
    }
}

/// Ends all streams at once, and lingers until subscribers had time to be `known` and every one that is has everything, at most as
/// long as that may take. Tells who has not.
fn close(
    mut publishers: Vec<Publisher>,
    known: Instant,
    linger: Duration,
    stop: &Stop,
) -> Option<Unconfirmed> {
    publishers.iter_mut().for_each(Publisher::end);
    let mut until = clock::now() + linger;
    stop.wait_until(known.min(until));
    let mut stopped = false;
    'lingering: for publisher in &publishers {
        loop {
            if stop.is_asked() && !stopped {
                stopped = true;
                until = until.min(clock::now() + STOPPED_LINGER);
            }
            let left = until.saturating_duration_since(clock::now());
            if publisher.is_complete(left.min(SLICE)) {
                break;
            }
            if left.is_zero() || stop.is_urged() {
                break 'lingering;
            }
        }
    }
    // By receiver: one may lack something of many topics.
    let mut behind: BTreeMap<_, Laggard> = BTreeMap::new();
    for publisher in publishers {
        let Err(unconfirmed) = publisher.close(Duration::ZERO) else { continue };
        for laggard in unconfirmed.laggards {
            behind
                .entry(laggard.receiver.0)
                .and_modify(|known| known.datagrams += laggard.datagrams)
                .or_insert(laggard);
        }
    }
    if behind.is_empty() { None } else { Some(Unconfirmed { laggards: behind.into_values().collect() }) }
}

/// A thread that tells what happens to subscribers, and how far things are.
struct Watch {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(endpoint: Endpoint, verbose: bool) -> std::io::Result<Watch> {
        let (end, ended) = channel();
        let begun = clock::now();
        let watched = say::is_watched();
        let thread = thread::Builder::new().name("watch".into()).spawn(move || {
            let (mut next, mut since, mut before) = (begun + LONG, begun, 0);
            loop {
                let over = ended.recv_timeout(WATCH) != Err(RecvTimeoutError::Timeout);
                while let Some(event) = endpoint.poll_event() {
                    tell(&event, verbose);
                }
                if over {
                    return;
                }
                let now = clock::now();
                if watched && now >= next {
                    let PublisherStats { messages, repairs, receivers, .. } = endpoint.stats();
                    let rate = (messages - before) as f64 / now.duration_since(since).as_secs_f64();
                    (next, since, before) = (now + PROGRESS, now, messages);
                    say::progress(format_args!(
                        "{messages} messages, {rate:.0} a second, {repairs} repairs, {receivers} subscribers"
                    ));
                }
            }
        })?;
        Ok(Watch { end, thread })
    }

    fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// Tells what happened to a subscriber: what bodes ill always, the rest when asked to say more.
fn tell(event: &PublisherEvent, verbose: bool) {
    match event {
        PublisherEvent::FellBehind { receiver, topic, position, lead } => say::line(format_args!(
            "warning: subscriber {receiver} made no progress on {topic} and is not waited for any more (it is at {position} \
             of {lead})"
        )),
        PublisherEvent::Quarantined { receiver } => say::line(format_args!(
            "warning: subscriber {receiver} asks for more repairs than its share, and is answered slowly"
        )),
        _ if !verbose => {}
        PublisherEvent::Joined { receiver, address } => {
            say::line(format_args!("subscriber {receiver} at {address} joined"));
        }
        PublisherEvent::Left { receiver, announced: true } => {
            say::line(format_args!("subscriber {receiver} left"))
        }
        PublisherEvent::Left { receiver, announced: false } => {
            say::line(format_args!("subscriber {receiver} was not heard from any more"));
        }
        PublisherEvent::CaughtUp { receiver, topic } => {
            say::line(format_args!("subscriber {receiver} caught up on {topic}"));
        }
        PublisherEvent::Released { receiver } => {
            say::line(format_args!("subscriber {receiver} is answered as the others again"));
        }
        event => say::line(format_args!("{event:?}")),
    }
}
