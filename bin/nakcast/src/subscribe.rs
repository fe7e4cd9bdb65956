//! `nakcast sub`.

use crate::clock;
use crate::cpu;
use crate::exit::{Exit, Failure};
use crate::format::Format;
use crate::output::{Ended, Output};
use crate::plan::SubscribePlan;
use crate::say;
use crate::stop::{SLICE, Stop};
use crate::summary::{Summary, SummaryFile};
use nakcast::{EndReason, Event, Gap, SourceId, Stream, Subscriber, SubscriberStats};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Events between two looks at the clock.
const LOOK_EVERY: u32 = 256;
/// When progress is shown first, and how often then.
const LONG: Duration = Duration::from_secs(2);
const PROGRESS: Duration = Duration::from_secs(1);
/// How long after the first of a source's streams was heard the others have been too, or asked for: a publisher stays at
/// least as long for subscribers that lost its first datagrams.
const ALL_HEARD: Duration = Duration::from_millis(200);
/// Bytes that the library has read and not told yet, at the most: those of its buffers, and what is at hand.
const MOST_KEPT: u64 = 128 << 20;
/// Bytes of a message beside its own, at the least.
const HEAD: u64 = 4;

pub(crate) fn run(mut plan: SubscribePlan) -> Result<Exit, Failure> {
    let mut file = std::mem::take(&mut plan.summary);
    let seed = plan.seed;
    let mut counted = Counted { begun: clock::now(), active_ns: 0, stats: SubscriberStats::default() };
    let outcome = subscribe(plan, &mut file, &mut counted);
    let elapsed = clock::now().duration_since(counted.begun);
    let mut summary = Summary::of_subscriber(&counted.stats);
    summary.add_times(elapsed, Duration::from_nanos(counted.active_ns));
    if let Some(seed) = seed {
        summary.add("seed", seed);
    }
    Ok(file.end(summary, outcome))
}

/// What the summary is made of.
struct Counted {
    begun: Instant,
    /// From the first message to the last, as they were received, nanoseconds.
    active_ns: u64,
    stats: SubscriberStats,
}

fn subscribe(plan: SubscribePlan, summary: &mut SummaryFile, counted: &mut Counted) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let output = Output::open(&stop)
        .map_err(|error| Failure::at_run_time(format_args!("standard output: {error}")))?;
    let mut subscriber = plan.subscriber.clone().open()?;
    summary.begin()?;
    if plan.name_interface
        && let Some(interface) = subscriber.interface()
    {
        say::line(format_args!("interface {interface}"));
    }
    if let Some(seed) = plan.seed.filter(|_| plan.verbose) {
        say::line(format_args!("seed {seed}"));
    }
    cpu::pin(plan.cpu)?;
    say::line("ready");

    let mut reader = Reader {
        format: plan.format,
        output,
        verbose: plan.verbose,
        until_end: plan.until_end.then(UntilEnd::default),
        reading: Reading::new(plan.receive_buffer),
        left: plan.count,
        gaps: false,
        received: None,
        done: None,
    };
    let outcome = reader.read(&mut subscriber, plan.time, &stop);
    counted.stats = subscriber.stats();
    counted.active_ns = reader.received.map_or(0, |(first, last)| last.saturating_sub(first));
    // Leave is taken before the last is written: nobody is to wait for whoever reads it.
    drop(subscriber);
    say::end_of_progress();
    let Reader { output, gaps, .. } = reader;
    let outcome = match (outcome, output.finish()) {
        (Err(Quit::Failed(failure)), _) => Err(failure),
        (Err(Quit::Output(Ended::Failed(error))), _) | (Ok(_), Err(Ended::Failed(error))) => {
            Err(Failure::at_run_time(format_args!("standard output: {error}")))
        }
        (Err(Quit::Output(Ended::Quietly)), _) => Ok(Exit::Done),
        (Ok(outcome), _) => outcome,
    };
    if plan.verbose {
        let SubscriberStats { messages, bytes, datagrams, repairs, gaps, lost, .. } = counted.stats;
        let elapsed = clock::now().duration_since(counted.begun);
        say::line(format_args!(
            "{messages} messages, {bytes} bytes, {datagrams} datagrams ({repairs} repairs), {gaps} gaps ({lost} messages) in \
             {elapsed:.3?}"
        ));
    }
    match outcome {
        // It ended as it was to, or what was waited for did not come; either way there was a gap.
        Ok(_) if gaps && plan.fail_on_gap => Ok(Exit::Gap),
        outcome => outcome,
    }
}

/// What `--until-end` waits for: the ends of all streams of the source that was heard first.
#[derive(Debug, Default)]
struct UntilEnd {
    /// That source, and when it was heard.
    source: Option<(SourceId, Instant)>,
    /// Its streams that have not ended.
    open: BTreeSet<u32>,
    /// How those that have did: the worst of it.
    reason: Option<EndReason>,
}

impl UntilEnd {
    fn up(&mut self, source: SourceId, stream: u32, now: Instant) {
        if self.source.get_or_insert((source, now)).0 == source {
            self.open.insert(stream);
        }
    }

    fn ended(&mut self, source: SourceId, stream: u32, reason: EndReason) {
        if self.source.is_some_and(|(first, _)| first == source) {
            self.open.remove(&stream);
            if self.reason.is_none_or(|worst| worst == EndReason::Closed) {
                self.reason = Some(reason);
            }
        }
    }

    /// How they ended, once all have. The source's other streams are given the time to be heard of first.
    fn outcome(&self, now: Instant) -> Option<EndReason> {
        let (_, heard) = self.source?;
        if self.open.is_empty() && now >= heard + ALL_HEARD { self.reason } else { None }
    }
}

/// Follows when all has been read that was here at a moment, also if this process stood still before that.
#[derive(Debug)]
struct Reading {
    /// That moment; none, when the next look at the clock is it.
    since: Option<Instant>,
    /// Bytes that were read from then on.
    bytes: u64,
    /// As many as can have been here, and on their way through the library.
    most: u64,
}

impl Reading {
    /// With receive buffers of this size asked for. There are two, and the kernel grants twice of it at the most.
    fn new(receive_buffer: usize) -> Reading {
        Reading { since: None, bytes: 0, most: MOST_KEPT + 4 * receive_buffer as u64 }
    }

    fn look(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn message(&mut self, length: usize) {
        self.bytes += HEAD + length as u64;
    }

    /// Nothing more is here: gives the moment for which all is read.
    fn drained(&mut self) -> Option<Instant> {
        self.bytes = 0;
        self.since.take()
    }

    /// More keeps coming: gives the moment for which all is read nevertheless, if there is one.
    fn outrun(&mut self) -> Option<Instant> {
        if self.bytes > self.most { self.drained() } else { None }
    }
}

/// Why reading ended early.
enum Quit {
    Output(Ended),
    Failed(Failure),
}

impl From<Ended> for Quit {
    fn from(ended: Ended) -> Quit {
        Quit::Output(ended)
    }
}

impl From<nakcast::Error> for Quit {
    fn from(error: nakcast::Error) -> Quit {
        Quit::Failed(error.into())
    }
}

/// What takes events and writes them.
struct Reader {
    format: Format,
    output: Output,
    verbose: bool,
    /// The streams whose end is waited for.
    until_end: Option<UntilEnd>,
    reading: Reading,
    /// Messages still to come, if they are counted.
    left: Option<u64>,
    gaps: bool,
    /// When the first and the last message were received, nanoseconds since 1970.
    received: Option<(u64, u64)>,
    /// Nothing more is wanted, and this is why.
    done: Option<Done>,
}

#[derive(Clone, Copy)]
enum Done {
    Count,
    End(EndReason),
    Time,
}

impl Reader {
    /// Reads until there is enough. The inner outcome is that of the command.
    fn read(
        &mut self,
        subscriber: &mut Subscriber,
        time: Option<Duration>,
        stop: &Stop,
    ) -> Result<Result<Exit, Failure>, Quit> {
        let begun = clock::now();
        let until = time.map(|time| begun + time);
        let mut progress = Progress::new(begun);
        loop {
            self.reading.look(clock::now());
            for _ in 0..LOOK_EVERY {
                let Some(event) = subscriber.try_recv()? else {
                    let read = self.reading.drained();
                    self.done = self.ended(read);
                    if self.done.is_some() {
                        break;
                    }
                    // Nothing more is here: what is, must not wait.
                    self.output.pass_on()?;
                    let now = clock::now();
                    let wait = until.map_or(SLICE, |until| SLICE.min(until.saturating_duration_since(now)));
                    if let Some(event) = subscriber.recv_timeout(wait)? {
                        self.handle(&event);
                    }
                    break;
                };
                self.handle(&event);
                if self.done.is_some() {
                    break;
                }
                self.output.spill()?;
            }
            let now = clock::now();
            if self.done.is_none() {
                let read = self.reading.outrun();
                self.done = self.ended(read);
            }
            if self.done.is_none() && until.is_some_and(|until| now >= until) {
                self.done = Some(Done::Time);
            }
            if let Some(done) = self.done {
                return Ok(self.outcome(done));
            }
            if stop.is_asked() {
                return Ok(Ok(Exit::Done));
            }
            progress.show(now, subscriber);
        }
    }

    /// Whether `--until-end` has what it waits for, when all is read that was here at a moment: of a stream that began before
    /// that, something was.
    fn ended(&self, read: Option<Instant>) -> Option<Done> {
        self.until_end.as_ref()?.outcome(read?).map(Done::End)
    }

    fn handle(&mut self, event: &Event<'_>) {
        match event {
            Event::Message(message) => {
                self.reading.message(message.payload().len());
                let at = message.received_ns();
                self.received.get_or_insert((at, at)).1 = at;
                if let Some(left) = &mut self.left {
                    *left -= 1;
                    if *left == 0 {
                        self.done = Some(Done::Count);
                    }
                }
            }
            Event::Gap(gap) => self.gap(gap),
            Event::StreamUp(stream) => {
                if let Some(until_end) = &mut self.until_end {
                    until_end.up(stream.source(), stream.stream_id(), clock::now());
                }
                self.tell(stream);
            }
            Event::StreamEnd(stream) => {
                self.tell(stream);
                if let Some(until_end) = &mut self.until_end {
                    let reason = stream.end_reason().unwrap_or(EndReason::Closed);
                    until_end.ended(stream.source(), stream.stream_id(), reason);
                }
            }
            _ => {}
        }
        self.format.write(event, self.output.batch());
    }

    fn gap(&mut self, gap: &Gap<'_>) {
        self.gaps = true;
        say::line(format_args!("gap: {gap}"));
    }

    fn tell(&self, stream: &Stream<'_>) {
        if self.verbose {
            say::line(stream);
        }
    }

    /// What the command has come to.
    fn outcome(&self, done: Done) -> Result<Exit, Failure> {
        let failed = |line: String| Failure { exit: Exit::Failed, line }.told();
        Ok(match done {
            Done::Count | Done::End(EndReason::Closed) => Exit::Done,
            Done::End(EndReason::Silent) => failed("the source fell silent without ending its stream".into()),
            Done::End(_) => failed("the source started anew without ending its stream".into()),
            Done::Time => match (self.left, self.until_end.is_some()) {
                (Some(left), _) => {
                    failed(format!("--for is over, and {left} of the --count are still to come"))
                }
                (None, true) => failed("--for is over, and what --until-end waits for has not ended".into()),
                (None, false) => Exit::Done,
            },
        })
    }
}

/// The line of progress, where somebody watches.
struct Progress {
    watched: bool,
    next: Instant,
    /// The last time, and how many messages there were.
    since: Instant,
    before: u64,
}

impl Progress {
    fn new(begun: Instant) -> Progress {
        Progress { watched: say::is_watched(), next: begun + LONG, since: begun, before: 0 }
    }

    fn show(&mut self, now: Instant, subscriber: &Subscriber) {
        if !self.watched || now < self.next {
            return;
        }
        let SubscriberStats { messages, repairs, gaps, lost, .. } = subscriber.stats();
        let rate = (messages - self.before) as f64 / now.duration_since(self.since).as_secs_f64();
        (self.next, self.since, self.before) = (now + PROGRESS, now, messages);
        say::progress(format_args!(
            "{messages} messages, {rate:.0} a second, {repairs} repairs, {gaps} gaps ({lost} messages lost)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_here_is_read_when_no_more_is_or_when_more_was_read_than_can_have_been() {
        let begun = clock::now();
        let later = begun + ALL_HEARD;
        let mut reading = Reading::new(4_096);
        assert_eq!((reading.outrun(), reading.drained()), (None, None), "nobody looked at the clock");
        reading.look(begun);
        reading.look(later);
        assert_eq!(reading.drained(), Some(begun), "what came later may be here yet");
        reading.look(later);
        let mut messages = 0;
        let read = loop {
            reading.message(996);
            messages += 1;
            if let Some(read) = reading.outrun() {
                break read;
            }
        };
        assert_eq!((read, messages), (later, (MOST_KEPT + 4 * 4_096) / 1_000 + 1));
        reading.look(later);
        reading.message(996);
        assert_eq!(reading.outrun(), None, "it is reckoned anew");
    }

    #[test]
    fn all_streams_of_the_first_source_are_stayed_for() {
        let (first, other) = (SourceId(7), SourceId(8));
        let begun = clock::now();
        let later = begun + ALL_HEARD;
        let mut until_end = UntilEnd::default();
        assert_eq!(until_end.outcome(later), None, "none was heard");
        until_end.up(first, 1, begun);
        until_end.up(other, 1, begun);
        until_end.ended(first, 1, EndReason::Closed);
        assert_eq!(until_end.outcome(begun), None, "others of its streams may be heard yet");
        assert_eq!(until_end.outcome(later), Some(EndReason::Closed));
        until_end.up(first, 2, later);
        assert_eq!(until_end.outcome(later), None);
        until_end.ended(other, 1, EndReason::Closed);
        until_end.ended(other, 2, EndReason::Closed);
        assert_eq!(until_end.outcome(later), None, "what another's streams do is nothing to it");
        until_end.ended(first, 2, EndReason::Silent);
        until_end.up(first, 3, later);
        until_end.ended(first, 3, EndReason::Closed);
        assert_eq!(until_end.outcome(later), Some(EndReason::Silent), "one that was cut off counts");
    }
}
