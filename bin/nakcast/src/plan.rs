//! What was meant by what was typed: checked, with every default filled in.

#[cfg(target_os = "linux")]
mod bench;
mod trip;

#[cfg(target_os = "linux")]
pub(crate) use bench::{BenchPlan, Case, Json, bench, raw_group};
pub(crate) use trip::{PingPlan, PongPlan, Trip, ping, pong};

use crate::args::{Common, DemoArgs, FormatArg, FromArg, PubArgs, SubArgs};
use crate::cpu;
use crate::exit::Failure;
use crate::format::Format;
use crate::summary::SummaryFile;
use nakcast::net::InterfaceError;
use nakcast::wire::topic;
use nakcast::{Error, Publisher, PublisherBuilder, RECEIVE_BUFFER, StartAt, Subscriber, SubscriberBuilder};
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

/// Largest message, bytes, where the window has room for it.
const MAX_MESSAGE: usize = 16 << 20;
/// Bytes of a message that is made up.
const SIZE: usize = 256;

/// What `pub` is to do.
#[derive(Debug)]
pub(crate) struct PublishPlan {
    pub(crate) endpoint: PublisherBuilder,
    /// The interface was not said: it is to be named.
    pub(crate) name_interface: bool,
    pub(crate) topics: Vec<String>,
    pub(crate) input: Input,
    /// Largest message, bytes.
    pub(crate) max_message: usize,
    /// Messages a second.
    pub(crate) rate: Option<f64>,
    pub(crate) wait_for: usize,
    pub(crate) linger: Duration,
    /// The receive buffer was asked for: what was granted is of interest.
    pub(crate) asked_buffer: bool,
    /// The processor for the thread that publishes.
    pub(crate) cpu: Option<usize>,
    pub(crate) summary: SummaryFile,
    pub(crate) verbose: bool,
}

/// Where messages come from.
#[derive(Debug)]
pub(crate) enum Input {
    Lines(Option<PathBuf>),
    Frames(Option<PathBuf>),
    Synthetic { count: u64, size: usize },
}

/// What `sub` is to do.
#[derive(Debug)]
pub(crate) struct SubscribePlan {
    pub(crate) subscriber: SubscriberBuilder,
    /// The interface was not said: it is to be named.
    pub(crate) name_interface: bool,
    pub(crate) format: Format,
    pub(crate) count: Option<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) until_end: bool,
    pub(crate) fail_on_gap: bool,
    /// Bytes to ask the kernel for, for each socket.
    pub(crate) receive_buffer: usize,
    /// The processor for the thread that receives.
    pub(crate) cpu: Option<usize>,
    /// Which datagrams are thrown away, if any are.
    pub(crate) seed: Option<u64>,
    pub(crate) summary: SummaryFile,
    pub(crate) verbose: bool,
}

/// What `demo` is to do.
#[derive(Debug)]
pub(crate) struct DemoPlan {
    pub(crate) group: SocketAddr,
    pub(crate) time: Duration,
    pub(crate) rate: f64,
    pub(crate) drop: f64,
    pub(crate) seed: u64,
}

pub(crate) fn publish(args: PubArgs) -> Result<PublishPlan, Failure> {
    let PubArgs { common, .. } = args;
    cpu::check("--cpu", common.cpu.as_slice())?;
    for (index, topic) in args.topic.iter().enumerate() {
        let checked = topic::check(topic);
        checked.map_err(|error| Error::Topic { topic: topic.clone(), error })?;
        if args.topic[..index].contains(topic) {
            return Err(Failure::usage(format_args!(
                "--topic: {topic:?} is there twice; each topic has one stream, and each message goes to the next topic"
            )));
        }
    }
    let max_message = MAX_MESSAGE.min(args.window / 2).max(1);
    let file = args.file.filter(|file| file.as_os_str() != "-");
    let input = match args.count {
        Some(count) => {
            let size = args.size.unwrap_or(SIZE);
            if size > max_message {
                return Err(Failure::usage(format_args!(
                    "--size: a message of {size} bytes is above the limit of {max_message} (half the --window, 16 MiB at most)"
                )));
            }
            Input::Synthetic { count, size }
        }
        None if args.frames => Input::Frames(file),
        None => Input::Lines(file),
    };
    let mut endpoint = Publisher::builder(common.group)
        .window(args.window)
        .max_message(max_message)
        .flow(args.flow.into())
        .patience(args.patience);
    if let Some(interface) = sending_interface(&common)? {
        endpoint = endpoint.interface(interface);
    }
    if let Some(ttl) = common.ttl {
        endpoint = endpoint.ttl(ttl);
    }
    if let Some(bytes) = common.datagram {
        endpoint = endpoint.datagram(bytes);
    }
    if let Some(bytes) = common.rcvbuf {
        endpoint = endpoint.receive_buffer(bytes);
    }
    if let Some(rate) = args.max_rate {
        endpoint = endpoint.max_rate(rate);
    }
    Ok(PublishPlan {
        endpoint,
        name_interface: common.interface.is_none(),
        topics: args.topic,
        input,
        max_message,
        rate: args.rate,
        wait_for: args.wait_for,
        linger: args.linger,
        asked_buffer: common.rcvbuf.is_some(),
        cpu: common.cpu,
        summary: SummaryFile::open(common.summary)?,
        verbose: common.verbose > 0,
    })
}

/// A publisher sends from its interface's address: with `--source`, from that one.
fn sending_interface(common: &Common) -> Result<Option<String>, Failure> {
    let Some(source) = common.source else { return Ok(common.interface.clone()) };
    if source.is_ipv4() != common.group.is_ipv4() {
        return Err(Failure::usage(format_args!(
            "--source: {source} and the group {} are not of one address family",
            common.group
        )));
    }
    if let Some(asked) = &common.interface {
        let local = nakcast::net::resolve(Some(asked), common.group.ip()).map_err(Error::from)?;
        if !local.interface.addresses.contains(&source) {
            return Err(Failure::usage(format_args!(
                "--source: {source} is no address of {}, and a publisher sends from its own",
                local.interface
            )));
        }
        return Ok(Some(format!("{source}%{}", local.interface.name)));
    }
    nakcast::net::resolve(Some(&source.to_string()), common.group.ip()).map_err(|error| match error {
        InterfaceError::Os(..) => Error::from(error).into(),
        error => {
            Failure::usage(format_args!("--source: a publisher sends from an address of its own: {error}"))
        }
    })?;
    Ok(Some(source.to_string()))
}

pub(crate) fn subscribe(args: SubArgs) -> Result<SubscribePlan, Failure> {
    let SubArgs { common, .. } = args;
    cpu::check("--cpu", common.cpu.as_slice())?;
    let start = match args.from {
        FromArg::Live => StartAt::Live,
        FromArg::Window => StartAt::Window,
    };
    let mut subscriber = Subscriber::builder(common.group).contract(args.contract).start_at(start);
    subscriber = subscriber.kernel_timestamps(args.kernel_times);
    for pattern in args.topic {
        subscriber = subscriber.topic(pattern);
    }
    if let Some(interface) = &common.interface {
        subscriber = subscriber.interface(interface);
    }
    if let Some(ttl) = common.ttl {
        subscriber = subscriber.ttl(ttl);
    }
    if let Some(source) = common.source {
        subscriber = subscriber.source(source);
    }
    if let Some(bytes) = common.rcvbuf {
        subscriber = subscriber.receive_buffer(bytes);
    }
    let seed = args.drop.map(|_| args.seed.unwrap_or_else(any_number));
    if let (Some(share), Some(seed)) = (args.drop, seed) {
        subscriber = subscriber.drop_datagrams(share, seed);
    }
    let format = match args.format {
        Some(FormatArg::Json) => Format::Json,
        _ if args.frames => Format::Frames,
        _ => Format::Text,
    };
    Ok(SubscribePlan {
        subscriber,
        name_interface: common.interface.is_none(),
        format,
        count: args.count,
        time: args.time,
        until_end: args.until_end,
        fail_on_gap: args.fail_on_gap,
        receive_buffer: common.rcvbuf.unwrap_or(RECEIVE_BUFFER),
        cpu: common.cpu,
        seed,
        summary: SummaryFile::open(common.summary)?,
        verbose: common.verbose > 0,
    })
}

pub(crate) fn demo(args: DemoArgs) -> DemoPlan {
    let seed = any_number();
    DemoPlan { group: any_group(seed).into(), time: args.seconds, rate: args.rate, drop: args.drop, seed }
}

/// A group and port of one's own: two demos on one machine do not hear each other.
fn any_group(seed: u64) -> SocketAddrV4 {
    let [a, b, c, d, ..] = seed.to_le_bytes();
    let port = 20_000 + u16::from_le_bytes([c, d]) % 40_000;
    SocketAddrV4::new([239, 255, 64 + a % 128, b].into(), port)
}

/// A number that is another each time.
fn any_number() -> u64 {
    // The standard library's hash tables are seeded by the system.
    RandomState::new().hash_one(std::process::id())
}
