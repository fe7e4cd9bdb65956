//! `nakcast ping`: messages to `nakcast pong` and back, timed.

mod answers;
mod report;
mod stamp;

pub(crate) use stamp::Stamp;

use crate::clock;
use crate::cpu;
use crate::exit::{Exit, Failure};
use crate::pace::Pace;
use crate::plan::{PingPlan, Trip};
use crate::receivers;
use crate::say;
use crate::stop::{SLICE, Stop};
use crate::summary::{Summary, SummaryFile};
use answers::Answers;
use nakcast::{Contract, Event, Publisher, PublisherStats, SendError, Subscriber, SubscriberStats};
use std::time::{Duration, Instant};

/// How often it is asked who is there.
const HELLO: Duration = Duration::from_millis(20);
/// How long the next message waits, without a rate, for one that does not come back.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long what is under way at the end is waited for; less when it may never come, and when told to end.
const LINGER: Duration = Duration::from_secs(5);
const SHORT_LINGER: Duration = Duration::from_secs(1);
/// How long after the end messages may be sent that were due before it: at a rate that is not reached there are ever more.
const OVERTIME: Duration = Duration::from_secs(1);
/// When a message that was held back is tried again, if nothing comes before.
const RETRY: Duration = Duration::from_micros(100);
/// Messages that are sent, and events that are taken, before the other side of the work is looked after.
const BURST: u32 = 64;
const BATCH: usize = 256;

pub(crate) fn run(mut plan: PingPlan) -> Result<Exit, Failure> {
    let begun = clock::now();
    let mut file = std::mem::take(&mut plan.summary);
    let mut counted = Counted::default();
    let outcome = ping(plan, &mut file, &mut counted);
    let mut summary = Summary::of_both("ping", &counted.published, &counted.received);
    for (name, value) in [("sent", counted.sent), ("answered", counted.answered), ("lost", counted.lost)] {
        summary.add(name, value);
    }
    summary.add("unsent", counted.unsent);
    summary.add("pongs", counted.pongs);
    if let Some(seed) = counted.seed {
        summary.add("seed", seed);
    }
    summary.add_times(clock::now().duration_since(begun), counted.measured);
    Ok(file.end(summary, outcome))
}

/// What the summary is made of.
#[derive(Debug, Default)]
struct Counted {
    published: PublisherStats,
    received: SubscriberStats,
    /// Messages that counted; answers to them, and how many answers there were not, of all pongs together.
    sent: u64,
    answered: u64,
    lost: u64,
    unsent: u64,
    pongs: usize,
    seed: Option<u64>,
    /// From the first message that counted to the last answer, or message.
    measured: Duration,
}

fn ping(plan: PingPlan, summary: &mut SummaryFile, counted: &mut Counted) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let PingPlan { trip, hdr, svg, .. } = plan;
    let settings = report::Settings {
        rate: plan.rate,
        size: plan.size,
        warm_up: plan.warm_up,
        contract: trip.contract,
        spin: trip.spin,
        groups: trip.groups,
        seed: trip.seed,
    };
    counted.seed = trip.seed;
    let (publisher, subscriber) = open(&trip)?;
    summary.begin()?;
    let mut ping = Ping {
        answers: Answers::new(publisher.endpoint().source_id(), trip.kernel_times),
        message: vec![b'.'; plan.size],
        publisher,
        subscriber,
        origin: clock::now(),
        linger: match trip.contract {
            Contract::Ordered | Contract::Arrival => LINGER,
            _ => SHORT_LINGER,
        },
        spin: trip.spin,
        verbose: trip.verbose,
    };
    let outcome = ping.find(plan.pongs, plan.wait, &trip.alike, &stop);
    let measured = match outcome {
        Ok(true) => {
            say::line(format_args!("{}; measuring", report::pongs(ping.answers.here())));
            let begun = clock::now();
            let pace = plan.rate.map(|rate| Pace::new(begun, rate));
            let work = Work {
                pace,
                begun,
                counts_from: begun + plan.warm_up,
                until: plan.duration.map(|time| begun + plan.warm_up + time),
                left: plan.count.unwrap_or(u64::MAX),
            };
            ping.measure(work, &stop)
        }
        Ok(false) => Ok(Measured { stopped: true, ..Measured::begin() }),
        Err(failure) => Err(failure),
    };
    let Ping { answers, publisher, subscriber, .. } = ping;
    counted.received = subscriber.stats();
    let endpoint = publisher.endpoint().clone();
    // Who has not heard the end finds it out by itself; what was lost is told below.
    let _ = publisher.close(if stop.is_urged() { Duration::ZERO } else { SHORT_LINGER });
    receivers::tell(&endpoint, trip.verbose);
    counted.published = endpoint.stats();
    let measured = measured?;
    counted.sent = answers.counted();
    counted.unsent = measured.unsent;
    counted.pongs = answers.pongs.len();
    counted.measured = measured.time;
    for pong in &answers.pongs {
        counted.answered += pong.latency.len();
    }
    counted.lost = answers.lost_by_all();
    let report = report::Report::new(&settings, &measured, &answers);
    // What cannot be written takes nothing else with it.
    let printed = report.print(plan.json);
    let logged = hdr.map_or(Ok(()), |mut file| file.write(&report.log()?));
    let drawn = svg.map_or(Ok(()), |mut file| file.write(report.plot().as_bytes()));
    let deserted = match measured.deserted {
        true => Err(Failure::at_run_time(
            "every pong has left before the end; what was measured until then is told",
        )),
        false => Ok(Exit::Done),
    };
    printed.and(logged).and(drawn).and(deserted)
}

/// Opens both ends of the way, and says what an operator should know.
pub(crate) fn open(trip: &Trip) -> Result<(Publisher, Subscriber), Failure> {
    let subscriber = trip.subscriber.clone().open()?;
    let publisher = trip.publisher.clone().open()?;
    // The publisher's own thread is there already, and stays free.
    cpu::pin(trip.cpu)?;
    if trip.name_interface
        && let Some(interface) = subscriber.interface()
    {
        say::line(format_args!("interface {interface}"));
    }
    if trip.verbose {
        for warning in publisher.endpoint().warnings() {
            say::warning(warning);
        }
        if let Some(seed) = trip.seed {
            say::line(format_args!("seed {seed}"));
        }
    }
    Ok((publisher, subscriber))
}

/// Does the publisher's work on this thread, which never sleeps: to have another do it would take a processor from one that spins.
/// Tells when to do so again at the latest.
pub(crate) fn tend(publisher: &Publisher) -> Duration {
    publisher.endpoint().tend();
    Duration::from_micros(50)
}

/// What is to be sent, and when.
#[derive(Debug)]
struct Work {
    /// When messages are due; without, the next is due when the last is back.
    pace: Option<Pace>,
    begun: Instant,
    /// Messages due from here on count.
    counts_from: Instant,
    /// Those due from here on are not sent.
    until: Option<Instant>,
    /// Messages that count that may still be sent.
    left: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// From the first message that counted to the last answer, or message.
    time: Duration,
    /// When the first was due, nanoseconds since 1970; where none was, when it began.
    begun_ns: u64,
    /// Messages that were due, and could not be sent in time.
    unsent: u64,
    /// It was told to end.
    stopped: bool,
    /// No pong is left, and not everything is answered.
    deserted: bool,
}

impl Measured {
    /// Nothing yet.
    fn begin() -> Measured {
        let begun_ns = clock::wall_ns();
        Measured { time: Duration::ZERO, begun_ns, unsent: 0, stopped: false, deserted: false }
    }
}

/// A publisher and a subscriber on one thread.
struct Ping {
    publisher: Publisher,
    subscriber: Subscriber,
    answers: Answers,
    message: Vec<u8>,
    /// What the times in stamps count from.
    origin: Instant,
    /// How long what is under way at the end is waited for.
    linger: Duration,
    spin: bool,
    verbose: bool,
}

impl Ping {
    /// Asks who is there until enough have answered; false when told to end first.
    fn find(&mut self, wanted: usize, wait: Duration, alike: &str, stop: &Stop) -> Result<bool, Failure> {
        let until = clock::now() + wait;
        let mut next = clock::now();
        loop {
            let here = self.answers.here();
            if stop.is_asked() || here >= wanted {
                return Ok(!stop.is_asked());
            }
            let now = clock::now();
            if now >= until {
                return Err(Failure::at_run_time(format_args!(
                    "{here} of {wanted} pongs answered within {wait:?}: start `nakcast pong {alike}` where answers are to come \
                     from, with the -i that leads here"
                )));
            }
            if now >= next {
                next = now + HELLO;
                self.send(Stamp::HELLO, now)?;
                self.flush()?;
            }
            self.take_or_wait(next.min(until))?;
        }
    }

    /// Sends and takes, by turns on this one thread, until it is time to end and what is under way is back.
    fn measure(&mut self, mut work: Work, stop: &Stop) -> Result<Measured, Failure> {
        let mut measured = Measured::begin();
        let mut begun: Option<Instant> = None;
        // The next message, counted from 0; when it was due, if it was and could not be sent yet; when the last was sent.
        let (mut next, mut held, mut sent_at) = (0, None, work.begun);
        // Those of the warm-up that were not sent in its time never are.
        let mut skipped = 0;
        let last = loop {
            let now = clock::now();
            if let Some(pace) = work.pace.as_ref().filter(|_| begun.is_none() && now >= work.counts_from) {
                let left_out = pace.before(work.counts_from).saturating_sub(next + skipped);
                skipped += left_out;
                held = held.filter(|_| left_out == 0);
            }
            let mut burst = 0;
            // When there is something to send next, unless something comes before.
            let wake = loop {
                let due = match (held, &work.pace) {
                    (Some(due), _) => due,
                    (None, Some(pace)) => pace.moment(next + skipped),
                    (None, None) if self.answers.last_is_back() => now,
                    (None, None) => sent_at + PATIENCE,
                };
                let over = |until| match work.pace {
                    Some(_) => due >= until || now >= until + OVERTIME,
                    None => now >= until,
                };
                if work.left == 0 || work.until.is_some_and(over) {
                    break None;
                }
                if due > now || burst == BURST {
                    break Some(due);
                }
                let counts = due >= work.counts_from;
                if !self.send(next + 1, due)? {
                    held = Some(due);
                    break Some(clock::now() + RETRY);
                }
                (held, sent_at) = (None, now);
                (next, burst) = (next + 1, burst + 1);
                self.answers.sent = next;
                if counts {
                    work.left -= 1;
                    if self.answers.counted.is_none() {
                        self.answers.counted = Some(next);
                        begun = Some(due);
                        measured.begun_ns = clock::wall_ns();
                    }
                }
            };
            if burst > 0 {
                self.flush()?;
            }
            measured.stopped = stop.is_asked();
            measured.deserted = self.answers.here() == 0;
            let Some(wake) = wake.filter(|_| !measured.stopped && !measured.deserted) else { break sent_at };
            // Of many under way those that are here are taken together.
            let taken = if work.pace.is_some() { self.take()? } else { 0 };
            if taken == 0 {
                self.take_or_wait(wake)?;
            }
        };
        if let (Some(pace), Some(until), false, false) =
            (&work.pace, work.until, measured.stopped, measured.deserted)
        {
            measured.unsent = pace.before(until).saturating_sub(next + skipped).min(work.left);
        }
        self.wait_for_the_rest(last, stop)?;
        measured.stopped |= stop.is_asked();
        measured.deserted |= self.answers.here() == 0 && self.answers.lost_by_all() > 0;
        // To the last answer, or message; what is waited for in vain is not of the time.
        let over = (self.origin + Duration::from_nanos(self.answers.last_at)).max(last);
        measured.time = begun.map_or(Duration::ZERO, |begun| over.saturating_duration_since(begun));
        Ok(measured)
    }

    /// Waits for what is under way.
    fn wait_for_the_rest(&mut self, last: Instant, stop: &Stop) -> Result<(), Failure> {
        let mut until = last + self.linger;
        let mut stopped = false;
        while !self.answers.all_are_back() && !stop.is_urged() {
            let now = clock::now();
            if stop.is_asked() && !stopped {
                stopped = true;
                until = until.min(now + SHORT_LINGER);
            }
            if now >= until {
                break;
            }
            self.take_or_wait(until)?;
        }
        Ok(())
    }

    /// Sends a message; false when there is no room for it yet.
    fn send(&mut self, number: u64, due: Instant) -> Result<bool, Failure> {
        let ping = self.answers.ping;
        let due = due.saturating_duration_since(self.origin).as_nanos() as u64;
        Stamp { ping, number, due }.write(&mut self.message);
        // Who looks for pongs all the time needs no more than that for it.
        let message = if number == Stamp::HELLO { &self.message[..Stamp::LENGTH] } else { &self.message[..] };
        match self.publisher.try_send(message) {
            Ok(()) => Ok(true),
            Err(SendError::BackPressured { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.publisher.flush().map_err(Failure::from)
    }

    /// Takes what is here, up to a number of events; tells how many there were.
    fn take(&mut self) -> Result<usize, Failure> {
        let Ping { subscriber, answers, origin, verbose, .. } = self;
        let mut outcome = Ok(());
        let taken = subscriber.poll(BATCH, |event| {
            if outcome.is_ok() {
                outcome = handle(answers, &event, *origin, *verbose);
            }
        })?;
        self.place();
        outcome.map(|()| taken)
    }

    /// Takes note of where pongs are that were just met.
    fn place(&mut self) {
        for pong in self.answers.pongs.iter_mut().filter(|pong| pong.address.is_none()) {
            pong.address = self.subscriber.address_of(pong.source);
        }
    }

    /// Takes the next event, if one comes by `until`; looks up now and then for who was told to end.
    fn take_or_wait(&mut self, until: Instant) -> Result<(), Failure> {
        let most = if self.spin { tend(&self.publisher) } else { SLICE };
        let wait = most.min(until.saturating_duration_since(clock::now()));
        match self.subscriber.recv_timeout(wait)? {
            Some(event) => {
                handle(&mut self.answers, &event, self.origin, self.verbose)?;
                self.place();
            }
            None => receivers::tell(self.publisher.endpoint(), self.verbose),
        }
        Ok(())
    }
}

fn handle(answers: &mut Answers, event: &Event<'_>, origin: Instant, verbose: bool) -> Result<(), Failure> {
    match event {
        Event::Message(message) => {
            let now = clock::now().saturating_duration_since(origin).as_nanos() as u64;
            answers.take(message.source(), message.payload(), now, message.kernel_received_ns())?;
        }
        Event::Gap(gap) => {
            answers.gap(gap.source(), gap.messages());
            say::line(format_args!("gap: {gap}"));
        }
        Event::StreamUp(stream) | Event::StreamEnd(stream) => {
            answers.stream(stream.source(), stream.end_reason().is_none());
            if verbose {
                say::line(stream);
            }
        }
        _ => {}
    }
    Ok(())
}
