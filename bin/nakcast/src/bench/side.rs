//! One process of the bench: what it is told on its command line, and what it tells on standard output.
//!
//! It ends with the process that started it, however that ends: its standard input is a pipe that nobody writes to, and that
//! closes then.

use super::moments::Moments;
use super::{publisher, subscriber};
use crate::args::{Role, SideArgs};
use crate::cpu;
use crate::exit::{Exit, Failure};
use crate::file;
use crate::latency;
use crate::plan::raw_group;
use crate::units::contract_text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use nakcast_raw::{Mode, Options};
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// What a side that joins says when it has.
pub(super) const READY: &str = "ready";
/// The exit code of a side whose starter is gone. Nobody is there to see it.
const ORPHANED: i32 = 137;

/// The arguments that [`SideArgs`] is read from again.
pub(super) fn arguments(args: &SideArgs) -> Vec<String> {
    use clap::ValueEnum;
    let role = args.role.to_possible_value().map(|value| value.get_name().to_owned());
    let mut arguments = vec!["bench-side".to_owned(), role.unwrap_or_default()];
    let mut add = |name: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("--{name}={value}")));
    };
    let seconds = |time: Duration| time.as_secs_f64().to_string();
    add("group", Some(args.group.to_string()));
    add("interface", Some(args.interface.clone()));
    add("size", Some(args.size.to_string()));
    add("rate", Some(args.rate.to_string()));
    add("work", Some(seconds(args.work)));
    add("topics", Some(args.topics.to_string()));
    add("subscribers", Some(args.subscribers.to_string()));
    add("count", args.count.map(|count| count.to_string()));
    add("duration", args.duration.map(seconds));
    add("warm-up", Some(seconds(args.warm_up)));
    add("contract", Some(contract_text(args.contract)));
    add("flow", Some(args.flow.to_string()));
    add("datagram", args.datagram.map(|bytes| bytes.to_string()));
    add("drop", args.drop.map(|share| (share * 100.0).min(100.0).to_string()));
    add("seed", args.seed.map(|seed| seed.to_string()));
    add("cpu", args.cpu.map(|cpu| cpu.to_string()));
    arguments.extend(args.spin.then(|| "--spin".to_owned()));
    arguments.extend(args.kernel_times.then(|| "--kernel-times".to_owned()));
    arguments.extend((0..args.verbose).map(|_| "-v".to_owned()));
    arguments
}

/// Runs one.
pub(crate) fn side(args: SideArgs) -> Result<Exit, Failure> {
    die_with_the_starter()?;
    let told = match args.role {
        Role::Publish => publisher::publish(&args)?,
        Role::Subscribe => subscriber::subscribe(&args)?,
        role => {
            cpu::pin(args.cpu)?;
            raw(&args, role).map_err(|error| Failure::at_run_time(format_args!("raw sockets: {error}")))?
        }
    };
    file::print(&format!("{told}\n"))?;
    Ok(Exit::Done)
}

fn die_with_the_starter() -> Result<(), Failure> {
    let watch = || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(ORPHANED);
    };
    let started = std::thread::Builder::new().name("starter".into()).spawn(watch);
    started.map(drop).map_err(|error| Failure::at_run_time(format_args!("starting a thread: {error}")))
}

/// Says that it has joined.
pub(super) fn ready() {
    // Who cannot be told is gone, and this process with it.
    let _ = file::print(&format!("{READY}\n"));
}

/// What a process has used, as one tells another.
pub(super) fn cpu(before: nakcast_raw::Cpu) -> Value {
    let used = nakcast_raw::cpu_time().since(before);
    json!({ "user": used.user.as_secs_f64(), "system": used.system.as_secs_f64() })
}

/// A histogram as one process tells another: HdrHistogram's own V2 encoding.
pub(super) fn encode(histogram: &Histogram<u64>) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(histogram, &mut bytes).map_err(Failure::at_run_time)?;
    Ok(STANDARD.encode(bytes))
}

pub(super) fn decode(text: &str) -> Result<Histogram<u64>, Failure> {
    let bytes = STANDARD.decode(text).map_err(Failure::at_run_time)?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(Failure::at_run_time)
}

/// One of the raw sides; `size` is that of a datagram.
fn raw(args: &SideArgs, role: Role) -> io::Result<Value> {
    let (raw_role, mode) = match role {
        Role::RawSend => (nakcast_raw::Role::Send, Mode::GsoGro),
        Role::RawReceive => (nakcast_raw::Role::Receive, Mode::GsoGro),
        Role::RawOneWaySend => (nakcast_raw::Role::Send, Mode::Single),
        _ => (nakcast_raw::Role::Receive, Mode::Single),
    };
    let mut options = Options::new(raw_role, mode, args.size, &args.interface, raw_group(args.group));
    options.receivers = args.subscribers;
    // Latency is what spinning is for; the limit is no higher with it, and on a busy machine far lower.
    options.spin = args.spin && mode == Mode::Single;
    if let Some(duration) = args.duration {
        options.duration = duration;
    }
    match role {
        Role::RawSend => {
            let sides = nakcast_raw::send(&options, mode)?;
            let receivers = sides.receivers.len().max(1) as f64;
            let cpu: Duration = sides.receivers.iter().map(|side| side.cpu).sum();
            let received: u64 = sides.receivers.iter().map(|side| side.datagrams).sum();
            let calls: u64 = sides.receivers.iter().map(|side| side.calls).sum();
            let sent = sides.sender.datagrams.max(1) as f64;
            Ok(json!({
                "size": options.size(mode),
                "datagrams_per_second": sides.datagrams_per_second(),
                "sent": sides.sender.datagrams,
                "lost": sides.receivers.iter().map(|side| side.lost).sum::<u64>(),
                "cpu_per_datagram_sender": sides.sender.cpu.as_secs_f64() / sent,
                "cpu_per_datagram_receiver": cpu.as_secs_f64() / received.max(1) as f64,
                "calls_per_datagram": sides.sender.calls as f64 / sent + calls as f64 / receivers / sent,
            }))
        }
        Role::RawReceive => nakcast_raw::receive(&options, mode, ready).map(|()| Value::Null),
        Role::RawOneWaySend => {
            let mut warm_up = Moments::warm_up(args)?;
            let mut measured = None;
            let sent = nakcast_raw::send_one_way(&options, || {
                if let Some(moments) = &mut warm_up {
                    if moments.next(|| {}).is_some() {
                        return Some(0);
                    }
                    warm_up = None;
                }
                if measured.is_none() {
                    measured = Moments::measured(args).ok().flatten();
                }
                measured.as_mut()?.next(|| {})
            })?;
            Ok(json!({ "sent": sent, "unsent": measured.map_or(0, |moments| moments.unsent) }))
        }
        _ => {
            let mut histogram = latency::histogram().map_err(|failure| io::Error::other(failure.line))?;
            let mut record = |taken: u64| {
                // It grows with what it is given.
                let _ = histogram.record(taken);
            };
            let flight = nakcast_raw::receive_one_way(&options, ready, &mut record)?;
            let latency = encode(&histogram).map_err(|failure| io::Error::other(failure.line))?;
            Ok(json!({ "received": flight.received, "lost": flight.lost, "latency": latency }))
        }
    }
}
