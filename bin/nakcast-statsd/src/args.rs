//! What can be typed.

use crate::units;
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::time::Duration;

const EXIT_CODES: &str = "\
What came until then is flushed at the end.

Exit codes:
  0  told to end (Ctrl-C, SIGTERM), or nobody reads standard output any more
  1  something failed at run time: a socket, standard output
  2  what was typed cannot be meant or had: flags, addresses, an interface, a port in use";

/// A StatsD collector that tells what it lost.
///
/// Alone it listens on 127.0.0.1:8125, and prints a flush to standard output every ten seconds.
#[derive(Clone, Debug, Parser)]
#[command(name = "nakcast-statsd", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Listen for UDP there; again for more. Port 0 is any that is free. Default, without a --group: 127.0.0.1:8125.
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = units::listen, allow_hyphen_values = true)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Listen to this multicast group; again for more. Any number of collectors may hear it.
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = units::group, allow_hyphen_values = true)]
    pub(crate) group: Vec<SocketAddr>,

    /// The groups' interface, by name or address. Default: the only one that is up, can multicast and is not loopback.
    #[arg(short, long, value_name = "NAME|IP", requires = "group")]
    pub(crate) interface: Option<String>,

    /// What a sign before a gauge's value means: a change (statsd), or the value's own sign (datadog).
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = DialectArg::Statsd)]
    pub(crate) dialect: DialectArg,

    /// Time between flushes.
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = units::interval, allow_hyphen_values = true)]
    pub(crate) flush_interval: Duration,

    /// Percentiles of timers, such as 90, 99.9, or -10 for the top tenth; again, or with commas, for more.
    #[arg(short, long, value_name = "P", default_value = "90", value_delimiter = ',', value_parser = units::percentile, allow_hyphen_values = true)]
    pub(crate) percentile: Vec<f64>,

    /// Tell counters, timers and sets only when something came for them, and gauges for one flush.
    #[arg(long)]
    pub(crate) delete_idle: bool,

    /// Most series there can be; values of others are counted, and not taken.
    #[arg(long, value_name = "N", default_value = "1000000", allow_hyphen_values = true)]
    pub(crate) max_series: u32,

    /// How flushes are shown on standard output: for people, one JSON object a line, or not at all [default: pretty; with
    /// --graphite or --prometheus: none].
    #[arg(long, value_enum, allow_hyphen_values = true)]
    pub(crate) format: Option<FormatArg>,

    /// Send flushes to this Graphite server; up to 60 wait while it is away.
    #[arg(long, value_name = "HOST:PORT", value_parser = units::server, allow_hyphen_values = true)]
    pub(crate) graphite: Option<String>,

    /// How Graphite is spoken to: text (port 2003 as a rule) or pickle (2004).
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = ProtocolArg::Text, requires = "graphite")]
    pub(crate) graphite_protocol: ProtocolArg,

    /// Names in Graphite: stats.X and stats_counts.X for counters (legacy), or stats.counters.X.rate and .count (new).
    #[arg(long, value_enum, allow_hyphen_values = true, default_value_t = NamespaceArg::Legacy, requires = "graphite")]
    pub(crate) graphite_namespace: NamespaceArg,

    /// Show totals to Prometheus at http://ADDR:PORT/metrics; /health is there, too. Port 0 is any that is free.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::listen, allow_hyphen_values = true)]
    pub(crate) prometheus: Option<SocketAddr>,

    /// Receive buffer to ask the kernel for, for each listener.
    #[arg(long, value_name = "BYTES", default_value = "4M", value_parser = units::bytes, allow_hyphen_values = true)]
    pub(crate) rcvbuf: usize,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
