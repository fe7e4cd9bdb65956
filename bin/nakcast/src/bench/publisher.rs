//! The publishing process: `send`, a call a message.

use super::moments::Moments;
use super::side::cpu;
use super::{NOT_COUNTED, WARM_UP_TOPIC, topic};
use crate::args::SideArgs;
use crate::clock;
use crate::cpu;
use crate::exit::Failure;
use nakcast::{Endpoint, Publisher};
use nakcast_raw::{cpu_time, monotonic_ns};
use serde_json::{Value, json};
use std::time::Duration;

/// How long subscribers are waited for: they have joined already.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take until everybody has everything.
const LINGER: Duration = Duration::from_secs(20);
/// As fast as it goes, one of so many messages is timed, and the clock is looked at for the end; of large ones, one of those
/// that make so many bytes.
const TIMED_EVERY: usize = 256;
const TIMED_EVERY_BYTES: usize = 1 << 18;

/// Warms up, publishes what counts, and tells what that took.
pub(super) fn publish(args: &SideArgs) -> Result<Value, Failure> {
    let mut builder = Publisher::builder(args.group.into()).interface(&args.interface).flow(args.flow.into());
    if let Some(bytes) = args.datagram {
        builder = builder.datagram(bytes);
    }
    let endpoint = Endpoint::open(builder)?;
    // The endpoint's own thread is there already, and stays free.
    cpu::pin(args.cpu)?;
    let mut message = vec![b'.'; args.size];
    if !args.warm_up.is_zero() {
        let mut topic = Topics::open(&endpoint, std::iter::once(WARM_UP_TOPIC.to_owned()), args.subscribers)?;
        match Moments::warm_up(args).map_err(Failure::at_run_time)? {
            Some(mut moments) => send_at_moments(&mut topic, &mut message, &mut moments)?,
            None => send_max(&mut topic, &mut message, args.work, u64::MAX, Some(args.warm_up))?,
        };
        // Who lacks something of this is not held against it.
        topic.end();
    }
    let mut topics = Topics::open(&endpoint, (0..args.topics).map(topic), args.subscribers)?;
    if !args.warm_up.is_zero() {
        topics.begin(&mut message)?;
    }

    let before = endpoint.stats();
    let (cpu_before, begun) = (cpu_time(), monotonic_ns());
    let mut moments = Moments::measured(args).map_err(Failure::at_run_time)?;
    let sent = match &mut moments {
        Some(moments) => send_at_moments(&mut topics, &mut message, moments)?,
        None => {
            let count = args.count.unwrap_or(u64::MAX);
            send_max(&mut topics, &mut message, args.work, count, args.duration)?
        }
    };
    let sending = Duration::from_nanos(monotonic_ns() - begun);
    let confirmed = topics.end();
    let (cpu, after) = (cpu(cpu_before), endpoint.stats());
    Ok(json!({
        "sent": sent,
        "unsent": moments.map_or(0, |moments| moments.unsent),
        "seconds": sending.as_secs_f64(),
        "confirmed": confirmed,
        "cpu": cpu,
        "calls": after.system_calls - before.system_calls,
        "datagrams": after.datagrams - before.datagrams,
        "datagram_bytes": after.datagram_bytes - before.datagram_bytes,
        "repairs": after.repairs - before.repairs,
        "naks": after.naks - before.naks,
    }))
}

/// The topics that messages go to in turn.
struct Topics {
    publishers: Vec<Publisher>,
    next: usize,
}

impl Topics {
    /// Opens them, and waits for their subscribers.
    fn open(
        endpoint: &Endpoint,
        names: impl Iterator<Item = String>,
        subscribers: usize,
    ) -> Result<Topics, Failure> {
        let mut publishers = names.map(|name| endpoint.publisher(name)).collect::<Result<Vec<_>, _>>()?;
        for publisher in &mut publishers {
            publisher.wait_for(subscribers, Some(PATIENCE)).map_err(|few| {
                Failure::at_run_time(format_args!("not every subscriber was heard from: {few}"))
            })?;
        }
        Ok(Topics { publishers, next: 0 })
    }

    /// Sends a message to each that does not count, and waits until their start is over: before that, a full window would stop them.
    fn begin(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        stamp(message, NOT_COUNTED);
        let short = message.first_chunk::<{ size_of::<u64>() }>().map_or(&[][..], |stamp| stamp);
        for publisher in &mut self.publishers {
            publisher.send(short)?;
            publisher.flush()?;
        }
        match self.publishers.iter().all(|publisher| publisher.is_started(PATIENCE)) {
            true => Ok(()),
            false => Err(Failure::at_run_time("a topic's first message did not leave")),
        }
    }

    fn send(&mut self, message: &[u8], times: u64) -> Result<(), Failure> {
        if let [publisher] = &mut self.publishers[..] {
            for _ in 0..times {
                publisher.send(message)?;
            }
            return Ok(());
        }
        for _ in 0..times {
            self.publishers[self.next].send(message)?;
            self.next += 1;
            if self.next == self.publishers.len() {
                self.next = 0;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.publishers.iter_mut().try_for_each(Publisher::flush)?)
    }

    /// Ends them; whether everybody had everything in time.
    fn end(&mut self) -> bool {
        self.publishers.iter_mut().for_each(Publisher::end);
        let until = clock::now() + LINGER;
        let mut all = self.publishers.iter();
        all.all(|publisher| publisher.is_complete(until.saturating_duration_since(clock::now())))
    }
}

/// An open loop; tells how many were sent.
fn send_at_moments(topics: &mut Topics, message: &mut [u8], moments: &mut Moments) -> Result<u64, Failure> {
    let endpoint = topics.publishers[0].endpoint().clone();
    let mut sent = 0;
    while let Some(due) = moments.next(|| endpoint.tend()) {
        stamp(message, due);
        topics.send(message, 1)?;
        sent += 1;
    }
    topics.flush()?;
    Ok(sent)
}

/// As fast as it goes, with so much work before each; tells how many were sent.
fn send_max(
    topics: &mut Topics,
    message: &mut [u8],
    work: Duration,
    count: u64,
    time: Option<Duration>,
) -> Result<u64, Failure> {
    let until = time.map(|time| clock::now() + time);
    let timed_every = (TIMED_EVERY_BYTES / message.len().max(1)).clamp(1, TIMED_EVERY) as u64;
    // Who works looks at the clock all the time.
    let mut round = if work.is_zero() { timed_every } else { 1 };
    // Each topic's messages are timed.
    while round > 1 && common_divisor(round, topics.publishers.len() as u64) > 1 {
        round += 1;
    }
    let mut sent = 0;
    while sent < count && until.is_none_or(|until| clock::now() < until) {
        if !work.is_zero() {
            let done = clock::now() + work;
            while clock::now() < done {
                std::hint::spin_loop();
            }
        }
        stamp(message, monotonic_ns());
        topics.send(message, 1)?;
        stamp(message, 0);
        let rest = round.min(count - sent);
        topics.send(message, rest - 1)?;
        sent += rest;
    }
    topics.flush()?;
    Ok(sent)
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// A message begins with when it was due, or 0.
fn stamp(message: &mut [u8], due: u64) {
    if let Some(place) = message.first_chunk_mut() {
        *place = due.to_le_bytes();
    }
}
