//! A subscribing process: `poll`, and where nothing is there a wait.

use super::side::{cpu, encode, ready};
use super::{NOT_COUNTED, TOPICS, WARM_UP_TOPIC};
use crate::args::SideArgs;
use crate::cpu;
use crate::exit::Failure;
use crate::latency::{self, Split};
use hdrhistogram::Histogram;
use nakcast::{EndReason, Event, Subscriber, Wait};
use nakcast_raw::{Cpu, cpu_time, monotonic_ns};
use serde_json::{Value, json};
use std::time::Duration;

/// Events that are taken between two looks at the clock.
const BATCH: usize = 4_096;
/// How long nothing may come before it is looked again.
const SLICE: Duration = Duration::from_secs(1);

/// Counts until the streams that count are over, and tells what came.
pub(super) fn subscribe(args: &SideArgs) -> Result<Value, Failure> {
    let wait = if args.spin { Wait::Spin } else { Wait::Block };
    let mut builder = Subscriber::builder(args.group.into())
        .interface(&args.interface)
        .topic(WARM_UP_TOPIC)
        .topic(TOPICS)
        .contract(args.contract)
        .wait(wait)
        .kernel_timestamps(args.kernel_times);
    if let (Some(share), Some(seed)) = (args.drop, args.seed) {
        builder = builder.drop_datagrams(share, seed);
    }
    let mut subscriber = builder.open()?;
    let split = args.kernel_times.then(Split::new).transpose()?;
    let mut seen = Seen::new(!args.warm_up.is_zero(), latency::histogram()?, split);
    cpu::pin(args.cpu)?;
    ready();
    let mut before = subscriber.stats();
    let mut counting = false;
    while seen.ended < args.topics && !seen.deserted {
        let received = seen.received;
        if subscriber.poll(BATCH, |event| seen.take(event))? == 0
            && let Some(event) = subscriber.recv_timeout(SLICE)?
        {
            seen.take(event);
        }
        if seen.received > received {
            seen.last = monotonic_ns();
        }
        if seen.begun.is_some() && !counting {
            counting = true;
            before = subscriber.stats();
        }
    }
    let cpu = cpu(seen.begun.map_or_else(cpu_time, |(_, cpu)| cpu));
    let after = subscriber.stats();
    if seen.deserted {
        return Err(Failure::at_run_time("the publisher fell silent before the end of its stream"));
    }
    let time = seen.begun.map_or(0, |(begun, _)| seen.last.saturating_sub(begun));
    let mut told = json!({
        "received": seen.received,
        "lost": seen.lost,
        "seconds": Duration::from_nanos(time).as_secs_f64(),
        "cpu": cpu,
        "calls": after.system_calls - before.system_calls,
        "kernel_drops": after.kernel_drops - before.kernel_drops,
        "naks": after.naks - before.naks,
        "repairs": after.repairs - before.repairs,
        "latency": encode(&seen.latency)?,
    });
    for (name, part) in Split::PARTS.into_iter().zip(seen.split.iter().flat_map(Split::parts)) {
        told[name] = encode(part)?.into();
    }
    Ok(told)
}

/// What came of the streams that count.
struct Seen {
    /// They are there: the warm-up is over.
    counting: bool,
    /// There was one: the first message of each does not count.
    begins: bool,
    received: u64,
    /// Messages told as gaps.
    lost: u64,
    /// At the first message: the time, and what had been used until then.
    begun: Option<(u64, Cpu)>,
    /// When the last message was here.
    last: u64,
    latency: Histogram<u64>,
    /// The same in two parts, where the kernel was asked.
    split: Option<Split>,
    /// How many streams are over; and whether one is that was not ended.
    ended: usize,
    deserted: bool,
}

impl Seen {
    fn new(begins: bool, latency: Histogram<u64>, split: Option<Split>) -> Seen {
        Seen {
            counting: false,
            begins,
            received: 0,
            lost: 0,
            begun: None,
            last: 0,
            latency,
            split,
            ended: 0,
            deserted: false,
        }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Message(message) if self.counting => {
                let due = message.payload().first_chunk().map_or(0, |stamp| u64::from_le_bytes(*stamp));
                if due == NOT_COUNTED {
                    return;
                }
                if self.received == 0 {
                    self.begun = Some((monotonic_ns(), cpu_time()));
                }
                self.received += 1;
                if due > 0 {
                    // It grows with what it is given.
                    let taken = monotonic_ns().saturating_sub(due);
                    let _ = self.latency.record(taken);
                    if let Some(split) = &mut self.split {
                        split.record(taken, message.kernel_received_ns());
                    }
                }
            }
            Event::Gap(gap) if gap.topic() != WARM_UP_TOPIC => {
                // The first message of a topic, alone in the first datagram, does not count.
                let first = self.begins && gap.first() == 1;
                self.lost += gap.messages() - u64::from(first);
            }
            Event::StreamUp(stream) if stream.topic() != WARM_UP_TOPIC => self.counting = true,
            Event::StreamEnd(stream) if stream.topic() != WARM_UP_TOPIC => {
                self.ended += 1;
                self.deserted |= stream.end_reason() != Some(EndReason::Closed);
            }
            _ => {}
        }
    }
}
