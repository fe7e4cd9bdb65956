//! What can be typed. What is meant by it is in [`plan`](crate::plan).

use crate::pace::Load;
use crate::units;
use clap::{Args, Parser, Subcommand, ValueEnum};
use nakcast::{Contract, Flow};
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or told to end (Ctrl-C; twice to end without waiting for subscribers)
  1  something failed at run time: a file, a socket, a message above the limit; or what was waited for did not come
  2  what was typed cannot be meant: flags, addresses, topics, an interface
  3  a gap, under --fail-on-gap
130  told to end three times: nothing more is written";

/// Reliable multicast publish/subscribe without a broker.
#[derive(Debug, Parser)]
#[command(name = "nakcast", version, after_help = EXIT_CODES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const PUB_NOTES: &str = "\
Exit codes:
  0  done, or told to end (Ctrl-C; twice to end without waiting for subscribers). Subscribers that did not confirm everything \
within the --linger (told to end, within a second of it) are named in a warning, and so is what had not left when told to end
  1  something failed at run time: a socket, a file, a message above the limit (what came before it is published, but its \
stream has no end: sub --until-end finds the source silent); or datagrams could not be sent, and some known subscriber did \
not confirm everything, or none was ever known
  2  what was typed cannot be meant: flags, addresses, topics, an interface";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish lines, frames or synthetic messages.
    #[command(after_help = EXIT_CODES, after_long_help = PUB_NOTES)]
    Pub(PubArgs),
    /// Subscribe, and write what comes to standard output.
    #[command(after_help = EXIT_CODES, after_long_help = SUB_NOTES)]
    Sub(SubArgs),
    /// Measure round trips: publish messages, and time them until `pong` has published each back.
    #[command(after_help = EXIT_CODES, after_long_help = PING_NOTES)]
    Ping(PingArgs),
    /// Publish back what `ping` publishes, until Ctrl-C.
    #[command(after_help = EXIT_CODES, after_long_help = PONG_NOTES)]
    Pong(PongArgs),
    /// Measure throughput and one-way latency between processes that it starts on this machine, beside raw sockets.
    #[command(after_help = EXIT_CODES, after_long_help = BENCH_NOTES)]
    Bench(BenchArgs),
    /// One process of `bench`.
    #[command(hide = true)]
    BenchSide(SideArgs),
    /// See it repair: a publisher and three subscribers that lose datagrams, on this machine alone.
    Demo(DemoArgs),
}

impl Command {
    pub(crate) fn verbosity(&self) -> u8 {
        match self {
            Command::Pub(args) => args.common.verbose,
            Command::Sub(args) => args.common.verbose,
            Command::Ping(args) => args.trip.common.verbose,
            Command::Pong(args) => args.trip.common.verbose,
            Command::Bench(args) => args.verbose,
            Command::BenchSide(args) => args.verbose,
            Command::Demo(args) => args.verbose,
        }
    }
}

const PING_NOTES: &str = "\
Without --rate a message leaves when the last one is back from every pong: a slow answer keeps the next from being sent, so \
that slow times are measured less often than they would be met (coordinated omission), and the output says so. With --rate \
each message has its moment, and its time counts from that, sent late or not: omission is corrected.

A message is lost when it never came back: it or its answer was told as a gap, or its pong left. None is left out of the \
counts silently: a pong that came later was `asked` for less. Under the default contract none is lost while the pong lives, unless it \
is silent for 2.5 s, which is taken for its end, makes no progress for 3 s, or takes more than 5 s at the end. Without --rate the next message waits for 1 s where \
one is lost on the way there.

Exit codes:
  0  done, or told to end (Ctrl-C): the table is of what was measured so far
  1  something failed at run time: a socket, a file, standard output; not as many pongs as --pongs answered; every pong left
  2  what was typed cannot be meant: flags, addresses, topics, an interface";

const BENCH_NOTES: &str = "\
One publisher and its subscribers, each a process of its own, use the library's public face: one `send` for each message, and \
`poll`. Beside them, in turn, raw sockets with datagrams as long as those were on average: the most that segmentation and \
receive offload carry with nothing lost, and at a --rate the one-way latency with one datagram a call.

With --rate max a message in some hundreds is timed, from the call that sends it: who waits for room sends less, and what \
that leaves out is not corrected. With a rate each message has its moment, and its time counts from that, sent late or not: \
coordinated omission is corrected. The first message of each topic does not count, nor the 200 ms after it in which a publisher \
lets subscribers be heard from, unless the warm-up is 0.

What the columns mean (--json has them under the longer names, an object a line for each size and rate):
  messages/s, MB/s   messages_per_second, bytes_per_second: payload that the slowest subscriber received
  raw MB/s, of raw   raw_bytes_per_second, ratio_to_raw: bytes of raw datagrams, and our payload as a share of them
  lost               lost: messages told as gaps, of all subscribers together; sent * subscribers = received + lost
  cpu pub, cpu sub   cpu_seconds_per_million_publisher, _subscriber: user and system (getrusage), a subscriber's on average
  calls/msg          syscalls_per_message: the publisher's and one subscriber's, as their counters have them: to send, to \
receive, to wait, and to set what wakes; not what locks take (futex, sched_yield)
  p50, p99, p99.9    latency_p50_ns and the like: from when a message was due to when the subscriber's code had it

Exit codes:
  0  done, or told to end (Ctrl-C): the runs that were whole by then are told
  1  something failed at run time: a process, a socket, a file, standard output; messages neither came nor were told as lost
  2  what was typed cannot be meant: flags, addresses, an interface";

const PONG_NOTES: &str = "\
Exit codes:
  0  told to end (Ctrl-C), or --for was over without --once, or the stream of the first ping ended under --once
  1  something failed at run time: a socket; under --once the ping fell silent or started anew without an end, or --for was \
over before it ended
  2  what was typed cannot be meant: flags, addresses, topics, an interface";

const SUB_NOTES: &str = "\
Slow readers: up to 32 MiB of output wait here while whoever reads standard output is busy, and 64 MiB of datagrams beyond \
that; then publishers are held back. A reader that takes nothing at all for longer than a publisher's --patience (1 s) makes \
it go on without this subscriber: what then leaves the publisher's window is told as a gap.

Exit codes:
  0  done, or told to end (Ctrl-C), or nobody reads standard output any more
  1  something failed at run time: a socket, standard output; --for was over before --count or --until-end was \
reached; under --until-end the source fell silent or started anew without an end
  2  what was typed cannot be meant: flags, addresses, topics, an interface
  3  a gap, under --fail-on-gap: in the place of 0, and of 1 but for a socket or standard output that failed";

/// What publishing and subscribing have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The multicast group and port.
    #[arg(short, long, value_name = "ADDR:PORT", default_value = "239.255.77.1:7700", value_parser = units::group, allow_hyphen_values = true)]
    pub(crate) group: SocketAddr,

    /// The interface, by name or address. Default: the only one that is up, can multicast and is not loopback.
    #[arg(short, long, value_name = "NAME|IP", value_parser = units::interface)]
    pub(crate) interface: Option<String>,

    /// Source-specific multicast. sub, ping, pong: hear this sender alone; pub: send from this address.
    #[arg(long, value_name = "ADDR", value_parser = units::source, allow_hyphen_values = true)]
    pub(crate) source: Option<IpAddr>,

    /// Time to live of what is sent, 0 to 255: the routers it may pass, plus one [default: 1 to the group, which is the LAN; what goes to
    /// one alone, as all that sub sends does, has the system's].
    #[arg(long, value_name = "HOPS", value_parser = units::hops, allow_hyphen_values = true)]
    pub(crate) ttl: Option<u32>,

    /// Largest datagram to send, 512 to 65507 [default: 1408]. A subscriber takes any size, whatever is said here.
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) datagram: Option<usize>,

    /// Receive buffer to ask the kernel for [default: sub 4M, pub 1M; ping and pong, which are both, have both].
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) rcvbuf: Option<usize>,

    /// Keep the thread that sends and receives on processor N (Linux). Its other threads go where the system puts them: with
    /// --spin they want another one.
    #[arg(long, value_name = "N", value_parser = units::cpu, allow_hyphen_values = true)]
    pub(crate) cpu: Option<usize>,

    /// Write counters to FILE as flat JSON at the end, however that comes, but for SIGKILL and being told to end three times, which
    /// leave it empty; not when what was typed cannot be meant (exit code 2), which leaves FILE as it was.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,

    /// Say more on stderr: subscribers that come and go, streams, totals. Twice for the library's own remarks.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PubArgs {
    /// Publish its lines: the bytes before each `\n`. `-`, or nothing: standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: Common,

    /// The topic; of several, each message goes to the next in turn.
    #[arg(short, long, value_name = "TOPIC", default_value = "default")]
    pub(crate) topic: Vec<String>,

    /// Read length-prefixed messages (32 bits, big endian) in place of lines.
    #[arg(long)]
    pub(crate) frames: bool,

    /// Make N messages up in place of reading any.
    #[arg(long, value_name = "N", value_parser = units::count, allow_hyphen_values = true, conflicts_with_all = ["file", "frames"])]
    pub(crate) count: Option<u64>,

    /// Bytes of each message made up [default: 256]. Each begins with its number.
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true, requires = "count", conflicts_with_all = ["file", "frames"])]
    pub(crate) size: Option<usize>,

    /// Messages a second, at most: 0.5, 500, 10k, 1M. Default, and above 1G: as fast as it goes.
    #[arg(long, value_name = "N", value_parser = units::rate, allow_hyphen_values = true)]
    pub(crate) rate: Option<f64>,

    /// Start when N subscribers have been heard from, 16384 at most.
    #[arg(long, value_name = "N", default_value = "0", value_parser = units::subscribers, allow_hyphen_values = true)]
    pub(crate) wait_for: usize,

    // As long as it takes until a subscriber that is not there any more is forgotten: ten idle intervals of half a second.
    /// Stay at the end, once all has left, at most so long, until every known subscriber has everything. It leaves as the --max-rate has it;
    /// what a subscriber holds back is waited for as long as anything leaves within a minute. Told to end (Ctrl-C) it stays for a
    /// second at most.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) linger: Duration,

    /// Who is waited for: nobody, or the slowest subscriber that makes progress.
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = FlowArg::Slowest)]
    pub(crate) flow: FlowArg,

    /// How long a subscriber that makes no progress is waited for; for as long as 16 datagrams take at the --max-rate, if that is more (a minute at most).
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) patience: Duration,

    /// Most bits a second, 10k to 10000G, repairs included, the headers of UDP and IP not: 500k, 100M, 2.5G. Default: no limit.
    #[arg(long, value_name = "BITS", value_parser = units::bits, allow_hyphen_values = true)]
    pub(crate) max_rate: Option<u64>,

    /// Memory of what can be repaired, of all topics together, 128k and four of the --datagram size at least. It counts datagrams: there is room for as many
    /// of the --datagram size as fit (47,656 by default), and a short one takes as much as a full one, so messages sent one
    /// by one fill it by the datagram. The largest message is half of it, and 16M at most.
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = units::window, allow_hyphen_values = true)]
    pub(crate) window: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FlowArg {
    None,
    Slowest,
}

impl From<FlowArg> for Flow {
    fn from(flow: FlowArg) -> Flow {
        match flow {
            FlowArg::None => Flow::None,
            FlowArg::Slowest => Flow::Slowest,
        }
    }
}

/// As it is typed.
impl fmt::Display for FlowArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlowArg::None => "none",
            FlowArg::Slowest => "slowest",
        })
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The topic or pattern, `*` for one level and `>` at the end for the rest; several for more [default: >].
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) topic: Vec<String>,

    /// Write each payload behind its length (32 bits, big endian) in place of a line.
    #[arg(long, conflicts_with = "format")]
    pub(crate) frames: bool,

    /// Lines of payload, or one JSON object a line for every event.
    #[arg(long, value_enum, allow_hyphen_values = true)]
    pub(crate) format: Option<FormatArg>,

    /// Leave after N messages. With --until-end, whichever comes first; either way that is done.
    #[arg(long, value_name = "N", value_parser = units::count, allow_hyphen_values = true)]
    pub(crate) count: Option<u64>,

    /// Leave after so long; what was received until then is written first, however long its reader takes. With --count or --until-end,
    /// that did not come in time, and is exit code 1.
    #[arg(long = "for", value_name = "SECONDS", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) time: Option<Duration>,

    /// Leave when every stream heard of the first source heard has ended: what one `pub` sends on several topics is had to
    /// the end of each.
    #[arg(long)]
    pub(crate) until_end: bool,

    /// Ask the kernel when it had each datagram, and tell that as `kernel_ns` with --format json (Linux). It costs a look at the clock for every packet of the machine.
    #[arg(long)]
    pub(crate) kernel_times: bool,

    /// What is promised: ordered, deadline=TIME (a message is held behind a gap for so long), arrival, best-effort.
    #[arg(long, value_name = "CONTRACT", default_value = "ordered", value_parser = units::contract, allow_hyphen_values = true)]
    pub(crate) contract: Contract,

    /// Where to start in a stream that is there already.
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = FromArg::Live)]
    pub(crate) from: FromArg,

    /// Make the exit code 3 when there was a gap, however it ended otherwise (by --for, Ctrl-C, a silent source), unless a
    /// socket or standard output failed.
    #[arg(long)]
    pub(crate) fail_on_gap: bool,

    /// Throw away that share of the datagrams that arrive, to see what loss does.
    #[arg(long, value_name = "PERCENT", value_parser = units::percent, allow_hyphen_values = true)]
    pub(crate) drop: Option<f64>,

    /// Throw away the same ones again. Default: others each time.
    #[arg(long, value_name = "N", requires = "drop", value_parser = units::seed, allow_hyphen_values = true)]
    pub(crate) seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FormatArg {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FromArg {
    /// With the next message.
    Live,
    /// With the oldest one the publisher can still repair.
    Window,
}

/// What ping and pong have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct TripArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Puts the topics, `ping` and `pong`, below this one: PREFIX.ping and PREFIX.pong.
    #[arg(short, long, value_name = "PREFIX")]
    pub(crate) topic: Option<String>,

    /// The group that answers come on [default: the same group on the next port; on the one before 65535]. Were it the same port,
    /// everybody's own datagrams would come back to it, which costs time on the way. Give it to ping and pong.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::group, allow_hyphen_values = true)]
    pub(crate) reply_group: Option<SocketAddr>,

    /// Look for messages again and again instead of sleeping until one comes: the least latency, and all of a processor.
    /// Where it is granted (CAP_NET_ADMIN, and a network card whose driver can do it) a look goes down to the card's queue.
    #[arg(long)]
    pub(crate) spin: bool,

    /// Ask the kernel when it had each datagram, and tell how long it took to there, and from there to this command (Linux). It costs a look at the clock for every packet of the machine.
    #[arg(long)]
    pub(crate) kernel_times: bool,

    /// What is promised to this side: ordered, deadline=TIME, arrival, best-effort.
    #[arg(long, value_name = "CONTRACT", default_value = "ordered", value_parser = units::contract, allow_hyphen_values = true)]
    pub(crate) contract: Contract,

    /// Throw away that share of the datagrams that arrive, to see what loss does.
    #[arg(long, value_name = "PERCENT", value_parser = units::percent, allow_hyphen_values = true)]
    pub(crate) drop: Option<f64>,

    /// Throw away the same ones again. Default: others each time.
    #[arg(long, value_name = "N", requires = "drop", value_parser = units::seed, allow_hyphen_values = true)]
    pub(crate) seed: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub(crate) trip: TripArgs,

    /// Messages a second: 0.5, 500, 10k, 1M; each is timed from the moment it is due. Default: the next leaves when the last
    /// is back.
    #[arg(long, value_name = "N", value_parser = units::rate, allow_hyphen_values = true)]
    pub(crate) rate: Option<f64>,

    /// Bytes of each message, 24 at least.
    #[arg(long, value_name = "BYTES", default_value = "32", value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) size: usize,

    /// Leave after N messages that count. With --duration, whichever comes first.
    #[arg(long, value_name = "N", value_parser = units::count, allow_hyphen_values = true)]
    pub(crate) count: Option<u64>,

    /// How long to measure, after the warm-up [default: 10, or with --count until that is reached].
    #[arg(long, value_name = "SECONDS", value_parser = units::some_time, allow_hyphen_values = true)]
    pub(crate) duration: Option<Duration>,

    /// How long to send messages before those that count.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) warm_up: Duration,

    /// Start when N pongs have answered once, 1024 at most.
    #[arg(long, value_name = "N", default_value = "1", value_parser = units::pongs, allow_hyphen_values = true)]
    pub(crate) pongs: usize,

    /// How long to wait for them.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) wait: Duration,

    /// Write the histograms to FILE in HdrHistogram's log format, nanoseconds: of several pongs each under its tag.
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,

    /// Draw latency by percentile to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Write one JSON object to standard output in place of the tables.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PongArgs {
    #[command(flatten)]
    pub(crate) trip: TripArgs,

    /// Leave after so long. With --once, the ping did not end in time, and that is exit code 1.
    #[arg(long = "for", value_name = "SECONDS", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) time: Option<Duration>,

    /// Leave when the first ping heard has ended. Default: stay, for others.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// The interface, by name or address.
    #[arg(short, long, value_name = "NAME|IP", default_value = "lo", value_parser = units::interface)]
    pub(crate) interface: String,

    /// The multicast group and port, IPv4; the two ports after it are used as well [default: any that nobody else is likely
    /// to have].
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = units::group_of_three, allow_hyphen_values = true)]
    pub(crate) group: Option<SocketAddrV4>,

    /// Bytes of each message, 8 at least; several, separated by commas, are measured one after the other.
    #[arg(long, value_name = "BYTES,..", default_value = "32,256,1024", value_delimiter = ',', value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) size: Vec<usize>,

    /// Messages a second, 500, 10k, 1M, or `max`: as fast as it goes. Several, separated by commas, are measured one after the
    /// other.
    #[arg(long, value_name = "max|N,..", default_value = "max", value_delimiter = ',', value_parser = units::load, allow_hyphen_values = true)]
    pub(crate) rate: Vec<Load>,

    /// How long the publishing loop works before each message, as applications do: 2us, 0.5us, or seconds. Not with a fixed
    /// --rate. Raw sockets do not.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) work: Duration,

    /// Topics that messages go to in turn, 1,000 at most: each has a stream of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = units::bench_topics, allow_hyphen_values = true)]
    pub(crate) topics: usize,

    /// Subscribers, each a process of its own, 64 at most.
    #[arg(long, value_name = "N", default_value = "1", value_parser = units::bench_subscribers, allow_hyphen_values = true)]
    pub(crate) subscribers: usize,

    /// How long to measure each, after the warm-up [default: 3, or with --count until that is reached].
    #[arg(long, value_name = "SECONDS", value_parser = units::some_time, allow_hyphen_values = true)]
    pub(crate) duration: Option<Duration>,

    /// Messages of each. With --duration, whichever comes first.
    #[arg(long, value_name = "N", value_parser = units::count, allow_hyphen_values = true)]
    pub(crate) count: Option<u64>,

    /// How long to send messages before those that count.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = units::seconds, allow_hyphen_values = true)]
    pub(crate) warm_up: Duration,

    /// Measure each so many times, 1 to 1000, and tell the median of each figure.
    #[arg(long, value_name = "N", value_parser = units::runs, allow_hyphen_values = true)]
    pub(crate) runs: Option<usize>,

    /// What is promised to the subscribers: ordered, deadline=TIME, arrival, best-effort.
    #[arg(long, value_name = "CONTRACT", default_value = "ordered", value_parser = units::contract, allow_hyphen_values = true)]
    pub(crate) contract: Contract,

    /// Who is waited for: nobody, or the slowest subscriber that makes progress.
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = FlowArg::Slowest)]
    pub(crate) flow: FlowArg,

    /// Largest datagram to send, 512 to 65507 [default: 1408].
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) datagram: Option<usize>,

    /// Throw away that share of the datagrams that arrive at each subscriber, to see what loss does.
    #[arg(long, value_name = "PERCENT", value_parser = units::percent, allow_hyphen_values = true)]
    pub(crate) drop: Option<f64>,

    /// Draw what is thrown away from N: the same ones, as far as the same come in the same order. Default: others each time.
    #[arg(long, value_name = "N", requires = "drop", value_parser = units::seed, allow_hyphen_values = true)]
    pub(crate) seed: Option<u64>,

    /// Look for messages, and for the moment to send the next, again and again instead of sleeping: all of a processor for
    /// each side. Raw sockets do the same where they are timed; their limit is measured blocking, which gives as much or more.
    #[arg(long)]
    pub(crate) spin: bool,

    /// Ask the kernel when it had each datagram, and split the latency there: to the subscriber's kernel, and from there to its code (Linux). It costs a look at the clock for every packet of the machine.
    #[arg(long)]
    pub(crate) kernel_times: bool,

    /// Keep the publisher's sending thread on the first of these processors, and the subscribers' on those that follow, in turn;
    /// raw sockets likewise.
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = units::cpu, allow_hyphen_values = true)]
    pub(crate) cpu: Vec<usize>,

    /// Start the subscribers, and the raw receivers, in this network namespace (of `ip netns`), where an interface of the same
    /// name leads here: what lies between is measured too, such as a veth pair with loss.
    #[arg(long, value_name = "NAME")]
    pub(crate) subscriber_netns: Option<String>,

    /// Leave the raw sockets out.
    #[arg(long)]
    pub(crate) no_raw: bool,

    /// Write the figures to FILE as JSON, an object a line; `-`: to standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// What the README shows, medians of five runs unless --runs says otherwise: messages of 32, 256 and 1024 bytes as fast as
    /// they go, and 256 bytes at 10k and 100k a second. The tables are printed in Markdown; throughput.svg and latency.svg are
    /// drawn into DIR.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["size", "rate", "work", "topics", "no_raw", "count"])]
    pub(crate) matrix: Option<PathBuf>,

    /// Say more on stderr.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What one process of `bench` is told by the one that starts it.
#[derive(Args, Clone, Debug)]
pub(crate) struct SideArgs {
    #[arg(value_enum)]
    pub(crate) role: Role,
    #[arg(long)]
    pub(crate) group: SocketAddrV4,
    #[arg(long)]
    pub(crate) interface: String,
    #[arg(long)]
    pub(crate) size: usize,
    #[arg(long, value_parser = units::load)]
    pub(crate) rate: Load,
    #[arg(long, value_parser = units::seconds)]
    pub(crate) work: Duration,
    #[arg(long)]
    pub(crate) topics: usize,
    #[arg(long)]
    pub(crate) subscribers: usize,
    #[arg(long)]
    pub(crate) count: Option<u64>,
    #[arg(long, value_parser = units::seconds)]
    pub(crate) duration: Option<Duration>,
    #[arg(long, value_parser = units::seconds)]
    pub(crate) warm_up: Duration,
    #[arg(long, value_parser = units::contract)]
    pub(crate) contract: Contract,
    #[arg(long, value_enum)]
    pub(crate) flow: FlowArg,
    #[arg(long)]
    pub(crate) datagram: Option<usize>,
    #[arg(long, value_parser = units::percent)]
    pub(crate) drop: Option<f64>,
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[arg(long)]
    pub(crate) spin: bool,
    #[arg(long)]
    pub(crate) kernel_times: bool,
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What a process of `bench` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Publish,
    Subscribe,
    /// The raw limit, and its one-way latency.
    RawSend,
    RawReceive,
    RawOneWaySend,
    RawOneWayReceive,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// How long to publish, 0.1 to 60.
    #[arg(long, value_name = "SECONDS", default_value = "6", value_parser = units::demo_seconds, allow_hyphen_values = true)]
    pub(crate) seconds: Duration,

    /// Messages a second.
    #[arg(long, value_name = "N", default_value = "20k", value_parser = units::rate, allow_hyphen_values = true)]
    pub(crate) rate: f64,

    /// The share of datagrams each subscriber throws away, 0 to 50.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = units::demo_share, allow_hyphen_values = true)]
    pub(crate) drop: f64,

    /// Say more on stderr.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
