//! Opens what was named, and flushes until told to end.

use crate::args::{Args, DialectArg, FormatArg, NamespaceArg, ProtocolArg};
use crate::exit::{Exit, Failure, say};
use nakcast::net::{Options, Socket, SocketError, resolve};
use nakcast_statsd::clock;
use nakcast_statsd::flush::Snapshot;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::listen::Listener;
use nakcast_statsd::output::console::{self, Form};
use nakcast_statsd::output::graphite::{Graphite, Names, Protocol};
use nakcast_statsd::output::prometheus::{Exposition, Server};
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::Plan;
use parking_lot::Mutex;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where it listens when nothing is said.
const DEFAULT: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 8125));

/// The exit code of a process ended by SIGINT, as shells tell it.
const ABORTED: i32 = 130;

/// Flushes that wait while Graphite is away.
const WAITING: usize = 60;

/// How long what waits for Graphite is still tried at the end.
const LINGER: Duration = Duration::from_secs(5);

struct Collector {
    args: Args,
    plan: Arc<Plan>,
    shard: Arc<Mutex<Shard>>,
    listeners: Vec<Listener>,
    graphite: Option<Graphite>,
    prometheus: Option<(Exposition, Server)>,
    last_flush: Option<u64>,
    asked: Arc<AtomicU32>,
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let plan = Plan::new(&args.percentile, &[], &[])
        .map_err(|problem| Failure::usage(format_args!("--{problem}")))?;
    let sockets = open(&args)?;
    let asked = told_to_end()?;
    let limits = Limits { series: args.max_series as usize, ..Limits::default() };
    let idle = Idle {
        delete_counters: args.delete_idle,
        delete_timers: args.delete_idle,
        delete_sets: args.delete_idle,
        gauge_life: args.delete_idle.then_some(1),
    };
    let shard = Arc::new(Mutex::new(Shard::new(limits, idle)));
    let graphite = args.graphite.clone().map(|server| Graphite::start(server, WAITING)).transpose();
    let graphite =
        graphite.map_err(|error| Failure::at_run_time(format_args!("no thread to be had: {error}")))?;
    let prometheus = args.prometheus.map(|address| prometheus(address, limits.series)).transpose()?;
    let (plan, listeners) = (Arc::new(plan), Vec::new());
    let mut collector =
        Collector { args, plan, shard, listeners, graphite, prometheus, last_flush: None, asked };
    collector.listen(sockets)?;
    collector.serve()
}

/// Every listener's socket.
fn open(args: &Args) -> Result<Vec<Socket>, Failure> {
    // Drops are to be counted by the datagram.
    let options = Options { receive_buffer: Some(args.rcvbuf), coalesce: false, ..Options::default() };
    let mut sockets = Vec::new();
    let alone = args.listen.is_empty() && args.group.is_empty();
    for &address in args.listen.iter().chain(alone.then_some(&DEFAULT)) {
        sockets.push(Socket::listen(address, &options).map_err(|error| refused("--listen", &error))?);
    }
    for &group in &args.group {
        let local = resolve(args.interface.as_deref(), group.ip())
            .map_err(|error| Failure::usage(format_args!("--interface: {error}")))?;
        let socket = Socket::group(group, &local, None, &options);
        sockets.push(socket.map_err(|error| refused("--group", &error))?);
    }
    Ok(sockets)
}

fn prometheus(address: SocketAddr, series: usize) -> Result<(Exposition, Server), Failure> {
    let server = Server::start(address).map_err(|error| {
        Failure::usage(format_args!("--prometheus: {address} cannot be listened to: {error}"))
    })?;
    say(format_args!("metrics at http://{}/metrics", server.address()));
    let exposition = Exposition::new(series);
    server.set(exposition.text());
    Ok((exposition, server))
}

fn refused(option: &str, error: &SocketError) -> Failure {
    match error {
        SocketError::Open { .. } | SocketError::Option { .. } => Failure::at_run_time(error),
        _ => Failure::usage(format_args!("{option}: {error}")),
    }
}

/// Counts how often it was told to end, and wakes the thread that calls this. The third time ends the process where it
/// stands.
fn told_to_end() -> Result<Arc<AtomicU32>, Failure> {
    let asked = Arc::new(AtomicU32::new(0));
    let (told, thread) = (Arc::clone(&asked), thread::current());
    ctrlc::set_handler(move || {
        if told.fetch_add(1, Ordering::Relaxed) >= 2 {
            std::process::exit(ABORTED);
        }
        thread.unpark();
    })
    .map_err(|error| Failure::at_run_time(format_args!("signals cannot be caught: {error}")))?;
    Ok(asked)
}

impl Collector {
    fn listen(&mut self, sockets: Vec<Socket>) -> Result<(), Failure> {
        let dialect = match self.args.dialect {
            DialectArg::Statsd => Dialect::Statsd,
            DialectArg::Datadog => Dialect::Datadog,
        };
        for socket in sockets {
            let warning = socket.buffer_warning();
            let main = thread::current();
            let listener = Listener::start(socket, dialect, Arc::clone(&self.shard), move || main.unpark());
            let listener = listener
                .map_err(|error| Failure::at_run_time(format_args!("no listener to be had: {error}")))?;
            say(format_args!("listening on {}", listener.address()));
            if let Some(warning) = warning {
                say(format_args!("warning: {warning}"));
            }
            self.listeners.push(listener);
        }
        Ok(())
    }

    /// Flushes at every interval from the beginning on, and once more at the end.
    fn serve(&mut self) -> Result<Exit, Failure> {
        let interval = self.args.flush_interval;
        let mut next = clock::now() + interval;
        while self.wait_until(next) {
            if !self.flush()? {
                return Ok(Exit::Done);
            }
            // What a slow standard output made it miss is not made up for.
            let late = clock::now().saturating_duration_since(next);
            let missed = (late.as_secs_f64() / interval.as_secs_f64()) as u32;
            next += interval * (missed + 1);
        }
        self.listeners.iter().for_each(Listener::end);
        let mut result = Ok(Exit::Done);
        for listener in &mut self.listeners {
            if let Err(error) = listener.join() {
                result =
                    Err(Failure::at_run_time(format_args!("listening on {}: {error}", listener.address())));
            }
        }
        let flushed = self.flush();
        if let Some(graphite) = self.graphite.take() {
            let waiting = graphite.end(LINGER);
            if waiting > 0 {
                return Err(Failure::at_run_time(format_args!(
                    "Graphite did not take {waiting} of the flushes that waited for it"
                )));
            }
        }
        flushed?;
        result
    }

    /// Waits until the moment has come; false when it is to end before.
    fn wait_until(&self, moment: Instant) -> bool {
        loop {
            if self.asked.load(Ordering::Relaxed) > 0 || self.listeners.iter().any(Listener::has_ended) {
                return false;
            }
            let left = moment.saturating_duration_since(clock::now());
            if left.is_zero() {
                return true;
            }
            thread::park_timeout(left);
        }
    }

    /// Takes what was added up, and writes it; false when nobody reads standard output any more.
    fn flush(&mut self) -> Result<bool, Failure> {
        let begun = clock::now();
        let (time, seconds) = (clock::wall_seconds(), self.args.flush_interval.as_secs_f64());
        let interval = self.shard.lock().take();
        let mut snapshot = Snapshot::new(vec![interval], &self.plan, time, seconds);
        let own = &mut snapshot.own;
        own.heard = self.listeners.iter_mut().map(Listener::heard).collect();
        own.timestamp_lag = self.last_flush.map(|last| time as f64 - last as f64 - seconds);
        own.graphite = self.graphite.as_ref().map(Graphite::sent);
        own.processing_ms = millis(clock::now() - begun);
        self.last_flush = Some(time);
        if let Some((line, why)) = &snapshot.tally.a_bad_line {
            let (bad, line) = (snapshot.tally.bad, line.escape_ascii());
            say(format_args!("warning: {bad} bad lines, such as \"{line}\": {why}"));
        }
        self.send(&snapshot);
        if let Some((exposition, server)) = &mut self.prometheus {
            exposition.add(&snapshot);
            server.set(exposition.text());
        }
        let form = match self.args.format {
            Some(FormatArg::None) => return Ok(true),
            None if self.graphite.is_some() || self.prometheus.is_some() => return Ok(true),
            Some(FormatArg::Json) => Form::Json,
            Some(FormatArg::Pretty) | None => Form::Pretty,
        };
        match io::stdout().lock().write_all(console::text(&snapshot, form).as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::at_run_time(format_args!("standard output: {error}"))),
        }
    }

    fn send(&self, snapshot: &Snapshot) {
        let Some(graphite) = &self.graphite else { return };
        if let Some(failure) = graphite.failure() {
            say(format_args!("warning: Graphite at {failure}; up to {WAITING} flushes wait for it"));
        }
        let names = Names {
            legacy: matches!(self.args.graphite_namespace, NamespaceArg::Legacy),
            ..Names::default()
        };
        let protocol = match self.args.graphite_protocol {
            ProtocolArg::Text => Protocol::Text,
            ProtocolArg::Pickle => Protocol::Pickle,
        };
        let begun = clock::now();
        let payload = names.payload(snapshot, protocol);
        graphite.send(payload, clock::now() - begun);
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
