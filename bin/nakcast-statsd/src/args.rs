//! What can be typed.

use crate::blast::Blast;
use crate::demo::Demo;
use clap::{Parser, Subcommand, ValueEnum};
use nakcast_statsd::config::settings::{
    At, Console, Graphite, Listen, Place, Publish, Rules, Settings, ToFile,
};
use nakcast_statsd::config::units;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::console::Form;
use nakcast_statsd::output::graphite::{Names, Protocol};
use nakcast_statsd::output::influx::Influx;
use nakcast_statsd::output::repeater::{self, Target};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
What came until then is flushed at the end. SIGHUP has the configuration read again; if it is wrong, the old one stays.

Exit codes:
  0  told to end (Ctrl-C, SIGTERM), or nobody reads standard output any more
  1  something failed at run time: a socket, standard output
  2  what was typed or configured cannot be meant or had: flags, keys, addresses, an interface, a port in use";

/// A StatsD collector that tells what it lost.
///
/// Alone it listens on 127.0.0.1:8125, and prints a flush to standard output every ten seconds.
#[derive(Clone, Debug, Parser)]
#[command(name = "nakcast-statsd", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Read this configuration: the collector's own (.toml; see --example-config), or the original statsd's (.js, .json) as it
    /// stands. Flags win over it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print a configuration with every key, what it is for and its default, and end.
    #[arg(long)]
    pub(crate) example_config: bool,

    /// Listen for UDP there; again for more. Port 0 is any that is free. With it, --group, --tcp or
    /// --unix the configuration's listeners are not taken; without any: 127.0.0.1:8125.
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = units::listen, allow_hyphen_values = true)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Listen to this multicast group; again for more. Any number of collectors may hear it.
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = units::group, allow_hyphen_values = true)]
    pub(crate) group: Vec<SocketAddr>,

    /// The interface of --group, --publish, and --repeat to a group, by name or address. Default: the only one that is up,
    /// can multicast and is not loopback.
    #[arg(short, long, value_name = "NAME|IP", value_parser = units::interface)]
    pub(crate) interface: Option<String>,

    /// Take lines over TCP there; again for more. Port 0 is any that is free.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::place, allow_hyphen_values = true)]
    pub(crate) tcp: Vec<SocketAddr>,

    /// Listen for datagrams at this Unix socket; again for more. One that was left behind is replaced.
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Vec<PathBuf>,

    /// What a sign before a gauge's value means: a change (statsd), or the value's own sign (datadog)
    /// [default: statsd].
    #[arg(long, value_enum, allow_hyphen_values = true)]
    pub(crate) dialect: Option<DialectArg>,

    /// Time between flushes [default: 10].
    #[arg(short, long, value_name = "SECONDS", value_parser = units::interval, allow_hyphen_values = true)]
    pub(crate) flush_interval: Option<Duration>,

    /// Percentiles of timers, such as 90, 99.9, or -10 for the top tenth; again, or with commas, for more
    /// [default: 90].
    #[arg(short, long, value_name = "P", value_delimiter = ',', value_parser = units::percentile, allow_hyphen_values = true)]
    pub(crate) percentile: Vec<f64>,

    /// Tell counters, timers and sets only when something came for them, and gauges for one flush.
    #[arg(long)]
    pub(crate) delete_idle: bool,

    /// Most series there can be; values of others are counted, and not taken [default: 1000000].
    #[arg(long, value_name = "N", value_parser = units::some, allow_hyphen_values = true)]
    pub(crate) max_series: Option<u32>,

    /// How flushes are shown on standard output: for people, one JSON object a line, or not at all [default: pretty; with
    /// another output: none].
    #[arg(long, value_enum, allow_hyphen_values = true)]
    pub(crate) format: Option<FormatArg>,

    /// Send flushes to this Graphite server; up to 60 wait while it is away.
    #[arg(long, value_name = "HOST:PORT", value_parser = units::server, allow_hyphen_values = true)]
    pub(crate) graphite: Option<String>,

    /// How Graphite is spoken to: text (port 2003 as a rule) or pickle (2004) [default: text].
    #[arg(long, value_enum, allow_hyphen_values = true)]
    pub(crate) graphite_protocol: Option<ProtocolArg>,

    /// Names in Graphite: stats.X and stats_counts.X for counters (legacy), or stats.counters.X.rate and .count (new)
    /// [default: legacy].
    #[arg(long, value_enum, allow_hyphen_values = true)]
    pub(crate) graphite_namespace: Option<NamespaceArg>,

    /// Append flushes to this file, as one JSON object a line.
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Send flushes to InfluxDB in its line protocol, by HTTP: http://HOST:PORT/write?db=DB; up to 60 wait while it is away.
    #[arg(long, value_name = "URL", value_parser = units::url)]
    pub(crate) influx: Option<String>,

    /// Send what comes on as it came, to this StatsD server or group, over UDP; again for more.
    #[arg(long, value_name = "HOST:PORT", value_parser = units::server_or_group, allow_hyphen_values = true)]
    pub(crate) repeat: Vec<String>,

    /// Publish flushes over nakcast to this group, on topic `statsd`, each as a message: a JSON object.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::group, allow_hyphen_values = true)]
    pub(crate) publish: Option<SocketAddr>,

    /// Show totals to Prometheus at http://ADDR:PORT/metrics; /health is there, too. Port 0 is any that is free.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::place, allow_hyphen_values = true)]
    pub(crate) prometheus: Option<SocketAddr>,

    /// Take mapping rules for Prometheus from this file, in YAML, as the statsd_exporter has them. SIGHUP has it read again.
    #[arg(long, value_name = "FILE")]
    pub(crate) prometheus_mapping: Option<PathBuf>,

    /// Answer the original's text commands there (stats, counters, health, ...): the admin port. Port 0 is any that is free.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::place, allow_hyphen_values = true)]
    pub(crate) admin: Option<SocketAddr>,

    /// Threads that listen at each UDP address (Linux), and shards that series are spread over, 1 to 64 [default: 1].
    #[arg(long, value_name = "N", value_parser = units::threads, allow_hyphen_values = true)]
    pub(crate) threads: Option<u32>,

    /// Tell counters as they were sent, too: count / (1 - loss), where loss is the part of the datagrams that the kernel
    /// dropped, on the assumption that those held as much of each as the others.
    #[arg(long)]
    pub(crate) estimate: bool,

    /// Receive buffer to ask the kernel for, for each listener [default: 4M].
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) rcvbuf: Option<usize>,
}

/// What it does instead of collecting.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Blast(Blast),
    Demo(Demo),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DialectArg {
    Statsd,
    Datadog,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FormatArg {
    Pretty,
    Json,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProtocolArg {
    Text,
    Pickle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NamespaceArg {
    Legacy,
    New,
}

impl Args {
    /// Puts what was typed over what a file says.
    ///
    /// # Errors
    ///
    /// One line on flags that have nothing to go with.
    pub(crate) fn over(&self, settings: &mut Settings) -> Result<(), String> {
        let typed = self.listen.len() + self.group.len() + self.tcp.len() + self.unix.len();
        if typed > 0 {
            let udp = self.listen.iter().map(|&address| (At::Udp(address), "--listen"));
            let group = |&group| (At::Group(group, self.interface.clone()), "--group, --interface");
            let groups = self.group.iter().map(group);
            let tcp = self.tcp.iter().map(|&address| (At::Tcp(address), "--tcp"));
            let unix = self.unix.iter().map(|path| (At::Unix(path.clone(), None), "--unix"));
            let listen = |(at, by): (At, &str)| Listen { at, dialect: Dialect::Statsd, by: by.into() };
            settings.listeners = udp.chain(groups).chain(tcp).chain(unix).map(listen).collect();
        }
        if let Some(dialect) = self.dialect {
            let dialect = match dialect {
                DialectArg::Statsd => Dialect::Statsd,
                DialectArg::Datadog => Dialect::Datadog,
            };
            settings.listeners.iter_mut().for_each(|listener| listener.dialect = dialect);
        }
        put(&mut settings.flush_interval, self.flush_interval);
        settings.estimate |= self.estimate;
        put(&mut settings.threads, self.threads.map(|threads| threads as usize));
        put(&mut settings.receive_buffer, self.rcvbuf);
        put(&mut settings.limits.series, self.max_series.map(|most| most as usize));
        if !self.percentile.is_empty() {
            let plan = settings.plan.with_percentiles(&self.percentile);
            settings.plan = plan.map_err(|problem| format!("--{problem}"))?;
        }
        if self.delete_idle {
            let idle = &mut settings.idle;
            (idle.delete_counters, idle.delete_timers, idle.delete_sets) = (true, true, true);
            idle.gauge_life.get_or_insert(1);
        }
        let format = self.format.map(|format| match format {
            FormatArg::Pretty => Console::Pretty,
            FormatArg::Json => Console::Json,
            FormatArg::None => Console::None,
        });
        settings.console = format.or(settings.console);
        place(&mut settings.prometheus, self.prometheus, "--prometheus");
        if let Some(file) = &self.prometheus_mapping {
            settings.mapping = Some(Rules::new(file.clone(), "--prometheus-mapping"));
        }
        place(&mut settings.admin, self.admin, "--admin");
        self.over_outputs(settings)?;
        self.over_graphite(&mut settings.graphite)
    }

    fn over_outputs(&self, settings: &mut Settings) -> Result<(), String> {
        if let Some(path) = &self.file {
            settings.file = Some(ToFile { path: path.clone(), form: Form::Json, by: "--file".into() });
        }
        if let Some(url) = &self.influx {
            let token = settings.influx.take().map_or_else(String::new, |influx| influx.token);
            settings.influx = Some(Influx { url: url.clone(), token });
        }
        if !self.repeat.is_empty() {
            let (protocol, interface) = (repeater::Protocol::Udp, &self.interface);
            let by = if interface.is_some() { "--repeat, --interface" } else { "--repeat" };
            let target = |server: &String| Target {
                server: server.clone(),
                protocol,
                interface: interface.clone(),
                by: by.into(),
            };
            settings.repeat = self.repeat.iter().map(target).collect();
        }
        if let Some(group) = self.publish {
            let topic = settings.publish.take().map_or_else(|| "statsd".into(), |publish| publish.topic);
            let (interface, by) = (self.interface.clone(), "--publish, --interface".into());
            settings.publish = Some(Publish { group, topic, interface, by });
        }
        let has_use = !self.group.is_empty() || self.publish.is_some() || !self.repeat.is_empty();
        if self.interface.is_some() && !has_use {
            return Err("--interface: it goes with --group, --publish or --repeat".into());
        }
        Ok(())
    }

    fn over_graphite(&self, graphite: &mut Option<Graphite>) -> Result<(), String> {
        if let Some(server) = &self.graphite {
            let new =
                || Graphite { server: String::new(), protocol: Protocol::Text, names: Names::default() };
            graphite.get_or_insert_with(new).server.clone_from(server);
        }
        let Some(graphite) = graphite else {
            let flags = [
                (self.graphite_protocol.is_some(), "--graphite-protocol"),
                (self.graphite_namespace.is_some(), "--graphite-namespace"),
            ];
            return match flags.iter().find(|(typed, _)| *typed) {
                Some((_, flag)) => Err(format!("{flag}: it goes with --graphite, or one that is configured")),
                None => Ok(()),
            };
        };
        let protocol = self.graphite_protocol.map(|protocol| match protocol {
            ProtocolArg::Text => Protocol::Text,
            ProtocolArg::Pickle => Protocol::Pickle,
        });
        put(&mut graphite.protocol, protocol);
        let legacy = self.graphite_namespace.map(|namespace| matches!(namespace, NamespaceArg::Legacy));
        put(&mut graphite.names.legacy, legacy);
        Ok(())
    }
}

fn place(place: &mut Option<Place>, address: Option<SocketAddr>, by: &str) {
    if let Some(address) = address {
        *place = Some(Place { address, by: by.into() });
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
