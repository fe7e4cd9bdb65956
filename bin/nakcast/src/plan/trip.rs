//! The plans of `ping` and `pong`.

use super::{MAX_MESSAGE, any_number};
use crate::args::{Common, PingArgs, PongArgs, TripArgs};
use crate::cpu;
use crate::exit::Failure;
use crate::file::ResultFile;
use crate::ping::Stamp;
use crate::summary::SummaryFile;
use nakcast::wire::topic;
use nakcast::{Contract, Error, Publisher, PublisherBuilder, Subscriber, SubscriberBuilder, Wait};
use std::net::SocketAddr;
use std::time::Duration;

/// How long `ping` measures when neither time nor count was said.
const DURATION: Duration = Duration::from_secs(10);

/// How long the other side is waited for when it makes no progress: longer than it may be silent. Who has not left loses nothing then.
const PATIENCE: Duration = Duration::from_secs(3);

/// The two ways of a round trip, as one side has them: what it sends on, and what it hears.
#[derive(Debug)]
pub(crate) struct Trip {
    pub(crate) publisher: PublisherBuilder,
    pub(crate) subscriber: SubscriberBuilder,
    /// The groups of messages and of their answers.
    pub(crate) groups: (SocketAddr, SocketAddr),
    /// The interface was not said: it is to be named.
    pub(crate) name_interface: bool,
    pub(crate) contract: Contract,
    pub(crate) spin: bool,
    pub(crate) kernel_times: bool,
    /// The processor for the thread that sends and receives.
    pub(crate) cpu: Option<usize>,
    /// Which datagrams are thrown away, if any are.
    pub(crate) seed: Option<u64>,
    /// What both sides have to be given alike, as it is typed.
    pub(crate) alike: String,
    pub(crate) verbose: bool,
}

/// What `ping` is to do.
#[derive(Debug)]
pub(crate) struct PingPlan {
    pub(crate) trip: Trip,
    /// Messages a second; without, the next leaves when the last is back.
    pub(crate) rate: Option<f64>,
    pub(crate) size: usize,
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) warm_up: Duration,
    pub(crate) pongs: usize,
    pub(crate) wait: Duration,
    pub(crate) json: bool,
    pub(crate) hdr: Option<ResultFile>,
    pub(crate) svg: Option<ResultFile>,
    pub(crate) summary: SummaryFile,
}

/// What `pong` is to do.
#[derive(Debug)]
pub(crate) struct PongPlan {
    pub(crate) trip: Trip,
    pub(crate) time: Option<Duration>,
    pub(crate) once: bool,
    pub(crate) summary: SummaryFile,
}

/// Which end of the trip this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Ping,
    Pong,
}

pub(crate) fn ping(args: PingArgs) -> Result<PingPlan, Failure> {
    let PingArgs { trip, rate, size, count, duration, warm_up, pongs, wait, hdr, svg, json } = args;
    if size < Stamp::LENGTH {
        return Err(Failure::usage(format_args!(
            "--size {size}: too few bytes: a message says whose it is, which, and when it was due, and that takes {}",
            Stamp::LENGTH
        )));
    }
    if size > MAX_MESSAGE {
        return Err(Failure::usage(format_args!(
            "--size: a message of {size} bytes is above the limit of {MAX_MESSAGE} (16 MiB)"
        )));
    }
    let summary_path = trip.common.summary.clone();
    let trip = self::trip(trip, End::Ping)?;
    let hdr = hdr.map(|path| ResultFile::open("--hdr", path)).transpose()?;
    let svg = svg.map(|path| ResultFile::open("--svg", path)).transpose()?;
    let summary = SummaryFile::open(summary_path)?;
    for (file, option) in [(&hdr, "--hdr"), (&svg, "--svg")] {
        summary.is_not(file.as_ref().and_then(ResultFile::metadata), option)?;
    }
    if let (Some(svg), Some(hdr)) = (&svg, &hdr) {
        svg.is_not(hdr.metadata(), "--hdr")?;
    }
    let duration = duration.or(if count.is_none() { Some(DURATION) } else { None });
    if let (Some(rate), Some(duration)) = (rate, duration)
        && rate * duration.as_secs_f64() < 1.0
    {
        return Err(Failure::usage(format_args!(
            "--rate {rate} is a message every {:.0?}, and none may come in --duration {duration:?}: one that is longer, or --count",
            Duration::from_secs_f64(1.0 / rate)
        )));
    }
    Ok(PingPlan { trip, rate, size, count, duration, warm_up, pongs, wait, json, hdr, svg, summary })
}

pub(crate) fn pong(args: PongArgs) -> Result<PongPlan, Failure> {
    let PongArgs { mut trip, time, once } = args;
    let summary = trip.common.summary.take();
    let trip = self::trip(trip, End::Pong)?;
    Ok(PongPlan { trip, time, once, summary: SummaryFile::open(summary)? })
}

fn trip(args: TripArgs, end: End) -> Result<Trip, Failure> {
    let TripArgs { common, topic: prefix, reply_group, spin, kernel_times, contract, drop, seed } = args;
    cpu::check("--cpu", common.cpu.as_slice())?;
    let groups = (common.group, reply_group.unwrap_or_else(|| beside(common.group)));
    let topics = match &prefix {
        Some(prefix) => {
            topic::check(prefix).map_err(|error| Error::Topic { topic: prefix.clone(), error })?;
            (format!("{prefix}.ping"), format!("{prefix}.pong"))
        }
        None => ("ping".to_owned(), "pong".to_owned()),
    };
    let (there, back) = ((groups.0, topics.0), (groups.1, topics.1));
    let (sends, hears) = if end == End::Ping { (there, back) } else { (back, there) };
    let alike = alike(&common, prefix.as_deref(), reply_group);

    let mut publisher = Publisher::builder(sends.0).topic(sends.1).patience(PATIENCE);
    let mut subscriber = Subscriber::builder(hears.0).topic(hears.1).contract(contract);
    subscriber = subscriber.kernel_timestamps(kernel_times);
    if let Some(interface) = &common.interface {
        publisher = publisher.interface(interface);
        subscriber = subscriber.interface(interface);
    }
    if let Some(ttl) = common.ttl {
        publisher = publisher.ttl(ttl);
        subscriber = subscriber.ttl(ttl);
    }
    if let Some(source) = common.source {
        subscriber = subscriber.source(source);
    }
    if let Some(bytes) = common.datagram {
        publisher = publisher.datagram(bytes);
    }
    if let Some(bytes) = common.rcvbuf {
        publisher = publisher.receive_buffer(bytes);
        subscriber = subscriber.receive_buffer(bytes);
    }
    if spin {
        subscriber = subscriber.wait(Wait::Spin);
    }
    let seed = drop.map(|_| seed.unwrap_or_else(any_number));
    if let (Some(share), Some(seed)) = (drop, seed) {
        subscriber = subscriber.drop_datagrams(share, seed);
    }
    Ok(Trip {
        publisher,
        subscriber,
        groups,
        name_interface: common.interface.is_none(),
        contract,
        spin,
        kernel_times,
        cpu: common.cpu,
        seed,
        alike,
        verbose: common.verbose > 0,
    })
}

/// The same group on the next port, or on the one before where there is none: there nobody hears what it has sent itself.
fn beside(mut group: SocketAddr) -> SocketAddr {
    let port = group.port();
    group.set_port(port.checked_add(1).unwrap_or(port - 1));
    group
}

/// The options that ping and pong must be given alike, but for the interface, which is each machine's own.
fn alike(common: &Common, prefix: Option<&str>, reply_group: Option<SocketAddr>) -> String {
    let mut text = format!("-g {}", common.group);
    for (option, value) in
        [("-t", prefix.map(str::to_owned)), ("--reply-group", reply_group.map(|group| group.to_string()))]
    {
        if let Some(value) = value {
            text.push_str(&format!(" {option} {value}"));
        }
    }
    text
}
