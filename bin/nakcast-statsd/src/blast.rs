//! A load of known size, and what became of it: sent, counted, dropped by the kernel, and unexplained.

use crate::exit::{Exit, Failure, say};
use clap::Args;
use nakcast::net::{Options, Sender, Socket, resolve};
use nakcast_statsd::clock;
use nakcast_statsd::config::units;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Send a known number of metrics, and tell what became of them.
///
/// Each datagram goes by itself, never fragmented and never put together by the kernel. With --admin the collector is asked
/// before and after: nothing else must be sent to it meanwhile. Exit code 1 if anything is unexplained.
#[derive(Args, Clone, Debug)]
pub(crate) struct Blast {
    /// Where to: a collector's address, or a group it listens to.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address, default_value = "127.0.0.1:8125", allow_hyphen_values = true)]
    to: SocketAddr,

    /// A group's interface, by name or address. Default: the only one that is up, can multicast and is not loopback.
    #[arg(short, long, value_name = "NAME|IP", value_parser = units::interface)]
    interface: Option<String>,

    /// The collector's admin port, which tells what came.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::listen, allow_hyphen_values = true)]
    admin: Option<SocketAddr>,

    /// How many metrics; rounded up to whole datagrams.
    #[arg(short, long, value_name = "N", default_value = "1000000", value_parser = count, allow_hyphen_values = true)]
    metrics: u64,

    /// How many metrics in each datagram.
    #[arg(short, long, value_name = "N", default_value = "10", value_parser = count, allow_hyphen_values = true)]
    per_datagram: u64,

    /// How many different names.
    #[arg(short, long, value_name = "N", default_value = "1000", value_parser = count, allow_hyphen_values = true)]
    names: u64,

    /// Types, in turn by name: c, g, ms, h, d, s, m.
    #[arg(short, long, value_name = "TYPE", default_value = "c,g,ms", value_delimiter = ',', value_parser = ["c", "g", "ms", "h", "d", "s", "m"])]
    types: Vec<String>,

    /// The rate that counters and timers say they are sampled at, above 0 and up to 1: none is said for 1.
    #[arg(long, value_name = "R", default_value = "1", value_parser = sampled, allow_hyphen_values = true)]
    sample_rate: f64,

    /// Shortest line, in bytes: names are made longer.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size, allow_hyphen_values = true)]
    size: usize,

    /// Metrics a second; as fast as it goes without.
    #[arg(short, long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    rate: Option<u64>,
}

/// Datagrams handed over at once.
const BATCH: usize = 64;

/// The longest datagram, in bytes.
const LONGEST: usize = 65_507;

/// How long the collector may take for an answer, and nothing new may come before all is taken for settled.
const PATIENCE: Duration = Duration::from_secs(5);

fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "it takes ADDR:PORT, as in 127.0.0.1:8125 or 239.255.77.2:8125";
    text.parse::<SocketAddr>().ok().filter(|to| to.port() > 0).ok_or_else(|| wanted.into())
}

pub(crate) fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|&count| count > 0 && count <= 1_000_000_000_000);
    count.ok_or_else(|| "it takes a whole number from 1 to 1000000000000".into())
}

fn sampled(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= 1.0);
    rate.ok_or_else(|| "it takes a number above 0 and up to 1".into())
}

fn size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|&size| size <= LONGEST);
    size.ok_or_else(|| format!("it takes a whole number of bytes up to {LONGEST}"))
}

/// What a collector has counted since it started.
struct Counts {
    /// Lines that were read.
    metrics: u64,
    bad: u64,
    /// By listener, modulo 2^32.
    drops: BTreeMap<String, u32>,
    /// What this machine dropped before any socket, by processor, modulo 2^32.
    before: Vec<u32>,
}

/// Packets that found no room in each processor's queue between a device and the sockets: second column of
/// `/proc/net/softnet_stat`. Nothing where there is no such file.
fn dropped_by_queues() -> Vec<u32> {
    let text = fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let dropped = |line: &str| u32::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(dropped).collect()
}

impl Counts {
    fn ask(admin: SocketAddr) -> Result<Counts, Failure> {
        let lines = ask(admin)
            .map_err(|error| Failure::at_run_time(format_args!("the admin port at {admin}: {error}")))?;
        let number = |key: &str| lines.get(key).and_then(|text| text.parse::<u64>().ok());
        let (Some(metrics), Some(bad)) =
            (number("messages.metrics_received"), number("messages.bad_lines_seen"))
        else {
            let line = format_args!("the admin port at {admin} does not tell what was received").to_string();
            return Err(Failure::usage(line));
        };
        let drops = lines.iter().filter(|(key, _)| key.ends_with(".kernel_drops"));
        let drops = drops.filter_map(|(key, text)| Some((key.clone(), text.parse().ok()?))).collect();
        Ok(Counts { metrics, bad, drops, before: dropped_by_queues() })
    }

    /// What a collector at this admin port has counted since `before`, which it must not have forgotten.
    fn ask_again(admin: SocketAddr, before: &Counts) -> Result<Counts, Failure> {
        let now = Counts::ask(admin)?;
        if now.metrics < before.metrics || now.bad < before.bad {
            return Err(Failure::at_run_time(format_args!(
                "the collector at {admin} was started anew meanwhile: it does not know what came before"
            )));
        }
        Ok(now)
    }

    fn dropped_before_since(&self, then: &Counts) -> u64 {
        self.before.iter().zip(&then.before).map(|(now, then)| u64::from(now.wrapping_sub(*then))).sum()
    }

    fn dropped_since(&self, before: &Counts) -> u64 {
        let since =
            |(key, now): (&String, &u32)| before.drops.get(key).map_or(0, |then| now.wrapping_sub(*then));
        self.drops.iter().map(since).map(u64::from).sum()
    }
}

/// The lines of `stats`.
fn ask(admin: SocketAddr) -> io::Result<BTreeMap<String, String>> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"stats\n")?;
    let mut lines = BTreeMap::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line == "END" {
            return Ok(lines);
        }
        if let Some((key, value)) = line.rsplit_once(": ") {
            lines.insert(key.to_owned(), value.to_owned());
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

pub(crate) fn run(blast: &Blast) -> Result<Exit, Failure> {
    let datagrams = datagrams(blast)?;
    let socket = socket(blast)?;
    let before = blast.admin.map(Counts::ask).transpose()?;
    let begun = clock::now();
    let sent = send(blast, &socket, &datagrams)?;
    let seconds = (clock::now() - begun).as_secs_f64();
    let mut text = String::new();
    // Writing to a string does not fail.
    let metrics = sent * blast.per_datagram;
    let rate = sent as f64 / seconds;
    let _ = writeln!(
        text,
        "sent          {metrics:>12} metrics, {sent} datagrams in {seconds:.3} s, {rate:.0} datagrams/s"
    );
    let unexplained = match blast.admin.zip(before) {
        Some((admin, before)) => settle(blast, admin, &before, metrics, &mut text)?,
        None => 0,
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::at_run_time(format_args!("standard output: {error}")))
        }
        _ if unexplained != 0 => Ok(Exit::Failed),
        _ => Ok(Exit::Done),
    }
}

/// Waits until the collector has all that was sent, or gets nothing more; tells how many metrics nobody explains.
fn settle(
    blast: &Blast,
    admin: SocketAddr,
    before: &Counts,
    sent: u64,
    text: &mut String,
) -> Result<i64, Failure> {
    let mut now = Counts::ask_again(admin, before)?;
    let mut changed = clock::now();
    loop {
        let explained = now.metrics - before.metrics + now.dropped_since(before) * blast.per_datagram;
        if explained >= sent || clock::now() - changed > PATIENCE {
            break;
        }
        thread::park_timeout(Duration::from_millis(20));
        let next = Counts::ask_again(admin, before)?;
        if next.metrics != now.metrics || next.dropped_since(&now) > 0 {
            changed = clock::now();
        }
        now = next;
    }
    let (counted, bad) = (now.metrics - before.metrics, now.bad - before.bad);
    let datagrams = now.dropped_since(before);
    let dropped = datagrams * blast.per_datagram;
    let missing = sent as i64 - counted as i64 - dropped as i64;
    // The queues are the whole machine's: of what they dropped no more is ours than is missing.
    let most = u64::try_from(missing).unwrap_or(0) / blast.per_datagram;
    let before_it = now.dropped_before_since(before).min(most);
    let unexplained = missing - (before_it * blast.per_datagram) as i64;
    let share = 100.0 * dropped as f64 / sent as f64;
    // Writing to a string does not fail.
    let _ = writeln!(text, "counted       {counted:>12} metrics");
    if bad > 0 {
        let _ = writeln!(text, "of them bad   {bad:>12}");
    }
    let _ = writeln!(
        text,
        "kernel drops  {dropped:>12} metrics, {datagrams} datagrams, {share:.2}% of what was sent"
    );
    let before_it = (before_it * blast.per_datagram, before_it);
    let _ = writeln!(
        text,
        "before that   {:>12} metrics, {} datagrams: the machine's queues",
        before_it.0, before_it.1
    );
    let _ = writeln!(text, "unexplained   {unexplained:>12}");
    Ok(unexplained)
}

/// Counters, gauges and timers of a thousand names, so many in each datagram.
pub(crate) fn load(metrics: u64, each: u64) -> Vec<Vec<u8>> {
    let line =
        |at: u64| format!("demo.{}:{}|{}", at % 1000, at % 100, ["c", "g", "ms"][(at % 1000 % 3) as usize]);
    let datagram =
        |at: u64| (at * each..(at + 1) * each).map(line).collect::<Vec<_>>().join("\n").into_bytes();
    (0..metrics.div_ceil(each)).map(datagram).collect()
}

/// Datagrams to be sent in turn, until there were enough: every name is in them.
fn datagrams(blast: &Blast) -> Result<Vec<Vec<u8>>, Failure> {
    let count = blast.metrics.min(blast.names.max(blast.per_datagram)).div_ceil(blast.per_datagram);
    let (mut datagrams, mut at) = (Vec::new(), 0);
    for _ in 0..count {
        let mut datagram = String::new();
        for _ in 0..blast.per_datagram {
            if !datagram.is_empty() {
                datagram.push('\n');
            }
            let name = at % blast.names;
            let kind = &blast.types[name as usize % blast.types.len()];
            let behind = match &**kind {
                "c" | "ms" | "h" | "d" | "m" if blast.sample_rate < 1.0 => format!("|@{}", blast.sample_rate),
                _ => String::new(),
            };
            let line = format!(":{}|{kind}{behind}", at % 100);
            let begun = datagram.len();
            // Writing to a string does not fail.
            let _ = write!(datagram, "blast.{name}");
            // By the shortest value, so that a name is the same with each.
            let shortest = datagram.len() - begun + ":0|".len() + kind.len() + behind.len();
            let missing = blast.size.saturating_sub(shortest);
            datagram.extend(std::iter::repeat_n('x', missing.min(LONGEST)));
            datagram += &line;
            at += 1;
            if datagram.len() > LONGEST {
                let line = format!(
                    "--per-datagram, --size: {} metrics are longer than {LONGEST} bytes",
                    blast.per_datagram
                );
                return Err(Failure::usage(line));
            }
        }
        datagrams.push(datagram.into_bytes());
    }
    Ok(datagrams)
}

fn socket(blast: &Blast) -> Result<Socket, Failure> {
    let options = Options::default();
    if blast.interface.is_some() && !blast.to.ip().is_multicast() {
        return Err(Failure::usage("--interface: it goes with a group in --to"));
    }
    let socket = if blast.to.ip().is_multicast() {
        let local = resolve(blast.interface.as_deref(), blast.to.ip())
            .map_err(|error| Failure::usage(format_args!("--interface: {error}")))?;
        Socket::sender(blast.to, &local, 0, &options)
    } else {
        let any: SocketAddr = match blast.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Socket::listen(any, &options)
    };
    socket.map_err(|error| Failure::usage(format_args!("--to: {error}")))
}

/// Sends as many datagrams as it takes; tells how many went out.
fn send(blast: &Blast, socket: &Socket, datagrams: &[Vec<u8>]) -> Result<u64, Failure> {
    let total = blast.metrics.div_ceil(blast.per_datagram);
    let mut sender = Sender::new();
    // Each is to be counted by itself.
    sender.set_segmentation(false);
    let mut turn = datagrams.iter().cycle();
    let (mut sent, mut refused) = (0, 0);
    let begun = clock::now();
    while sent + refused < total {
        // At a rate few at a time, so that they are spread.
        let most = blast
            .rate
            .map_or(BATCH, |rate| (rate / blast.per_datagram / 1000).clamp(1, BATCH as u64) as usize);
        let left = usize::try_from(total - sent - refused).unwrap_or(BATCH);
        let batch = turn.by_ref().take(most.min(left)).map(|bytes| IoSlice::new(bytes)).collect::<Vec<_>>();
        let mut rest = &batch[..];
        while let Some(first) = rest.first() {
            match sender.send(socket, blast.to, first.len(), rest) {
                Ok(went) => {
                    sent += went.datagrams as u64;
                    refused += went.failed as u64;
                    rest = &rest[went.done()..];
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::park_timeout(Duration::from_micros(50));
                }
                Err(error) => return Err(Failure::at_run_time(format_args!("to {}: {error}", blast.to))),
            }
        }
        if let Some(rate) = blast.rate {
            let due =
                Duration::from_secs_f64((sent + refused) as f64 * blast.per_datagram as f64 / rate as f64);
            let left = due.saturating_sub(clock::now() - begun);
            if !left.is_zero() {
                thread::park_timeout(left);
            }
        }
    }
    if refused > 0 {
        say(format_args!("warning: {refused} datagrams were refused by the kernel, and did not leave"));
    }
    Ok(sent)
}
