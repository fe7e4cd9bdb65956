//! The collector's own configuration, in TOML.

use super::settings::{At, Graphite, Listen, Place, Publish, Rules, Settings, ToFile};
use super::table::{
    Address, Affix, AtLeastOne, Bound, Bytes, Count, File, Flag, Format, Group, Interface, Interval, Legacy,
    Life, Many, Mode, Percentile, Server, ServerOrGroup, Shape, Signs, Spoken, Statistic, Takes, Text,
    Threads, Token, Url, show, table,
};
use crate::line::Dialect;
use crate::output::console::Form;
use crate::output::graphite::Names;
use crate::output::influx::Influx;
use crate::output::repeater::{self, Target};
use crate::shard::{Idle, Limits};
use crate::stream;
use crate::timer::{Bins, Plan};
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

table! {
    /// The file.
    All {
        /// Time between flushes: seconds, or a time with its unit, as in "500ms" or "2m".
        flush_interval: Interval = Is "10";
        /// Percentiles of timers, from -100 to 100: 99.9, or -10 for the top tenth.
        percentiles: Many<Percentile> = Is "[90]";
        /// What is told of timers, of std, upper, lower, count, count_ps, sum, sum_squares, mean, median, histogram, and of each
        /// percentile count_percent, mean_percent, upper_percent, lower_percent, sum_percent, sum_squares_percent. None: all.
        timer_statistics: Many<Statistic> = Is "[]";
        /// How flushes are shown on standard output: "pretty" for people, "json" (one object a line), or "none". Without this
        /// key: pretty, or none if there is another output.
        console: Format = Like "\"json\"";
        /// Where Prometheus asks: http://ADDR:PORT/metrics; /health is there, too. Port 0 is any that is free.
        prometheus: Takes = Like "\"127.0.0.1:9102\"";
        /// A file of mapping rules for Prometheus, in YAML, as the statsd_exporter has them. SIGHUP has it read again, too.
        prometheus_mapping: File = Like "\"statsd_mapping.yml\"";
        /// Where the admin port is: the original's text commands (stats, counters, health, ...). Port 0 is any that is free.
        admin: Takes = Like "\"127.0.0.1:8126\"";
        /// Receive buffer to ask the kernel for, for each listener, in bytes. Another size takes a restart.
        receive_buffer: Bytes = Is "\"4M\"";
        /// Threads that listen at each UDP address (Linux), and shards that series are spread over; 1 to 64. A client's
        /// datagrams come to one of the threads. Another number takes a restart.
        threads: Threads = Is "1";
        /// Whether counters are told as they were sent, too: count / (1 - loss), where loss is the part of the datagrams that
        /// the kernel dropped, on the assumption that those held as much of each as the others.
        estimate: Flag = Is "false";
        /// Whether the file is read again when it was changed, at the next flush. SIGHUP has it read again at once.
        watch: Flag = Is "false";
        /// Where metrics are heard; again for more. Without any: UDP at 127.0.0.1:8125.
        listen: Many<Listener> = List Heard::KEYS;
        /// Most there can be. What is beyond is counted, and not taken.
        limits: Bounds = Table Bounds::KEYS;
        /// What becomes of series that nothing came for in an interval.
        idle: Forgotten = Table Forgotten::KEYS;
        /// Bins of the timers whose name holds this; the first that matches wins.
        histogram: Many<Histogram> = List Binned::KEYS;
        /// Flushes go to this Graphite server; up to 60 wait while it is away.
        graphite: Carbon = Optional Written::KEYS;
        /// Flushes are appended to a file, which is opened anew for each. One that cannot be opened at the start is an error, later a
        /// warning, and counted.
        file: Kept = Optional Appended::KEYS;
        /// Flushes go to InfluxDB in its line protocol; up to 60 wait while it is away.
        influx: Lines = Optional Posted::KEYS;
        /// What comes is sent on as it came, to this StatsD server or group; again for more.
        repeat: Many<Repeat> = List Repeated::KEYS;
        /// Flushes are published over nakcast, each as a message: a JSON object, as of `console = "json"`.
        publish: Published = Optional Message::KEYS;
    }
}

table! {
    /// A listener; one of `udp`, `group`, `tcp`, `unix` and `unix_stream` is there.
    Heard {
        /// Datagrams to this address. Port 0 is any that is free.
        udp: Address = Like "\"0.0.0.0:8125\"";
        /// Or: datagrams to this multicast group.
        group: Group = Like "\"239.255.77.2:8125\"";
        /// The group's interface, by name or address. Default: the only one that is up, can multicast and is not loopback.
        interface: Interface = Like "\"eth0\"";
        /// Or: streams of lines from whoever connects to this address.
        tcp: Takes = Like "\"127.0.0.1:8125\"";
        /// Or: datagrams to this socket of the file system.
        unix: File = Like "\"/run/nakcast-statsd/dsd.socket\"";
        /// Or: streams of lines from whoever connects to this socket of the file system.
        unix_stream: File = Like "\"/run/nakcast-statsd/stream.socket\"";
        /// The mode such a socket is given, in octal. Default: what the process's umask leaves.
        mode: Mode = Like "\"0660\"";
        /// What a sign before a gauge's value means: a change ("statsd"), or the value's own sign ("datadog").
        dialect: Signs = Is "\"statsd\"";
    }
}

table! {
    /// Bounds of the memory.
    Bounds {
        /// Series.
        series: AtLeastOne = Is "1000000";
        /// Bytes of their names and tags, and as many again of the spellings they came in.
        name_bytes: Bytes = Is "\"256M\"";
        /// Timers' samples of an interval, of 8 bytes each, or 16 of a timer whose sample rates differ.
        samples: Count = Is "16777216";
        /// Samples of one timer in an interval up to which it is exact. With more, or when there is no room for another sample, a
        /// sketch tells its percentiles, each within 0.78% of its value; it has the statistic `sketched` then.
        timer_values: Count = Is "1000000";
        /// Timers that are told by a sketch, which takes at most 64 KiB, or 128 if their sample rates differ. Samples for which
        /// neither is room are counted.
        sketches: Count = Is "2048";
        /// Bytes of the sets' members of an interval.
        member_bytes: Bytes = Is "\"128M\"";
        /// Distinct members of one set in an interval up to which it is exact. With more, or when there is no room for another, a
        /// HyperLogLog estimates how many there are, with a standard error of 0.81%; outputs name such a set as estimated.
        set_members: Count = Is "1000000";
        /// Sets that are estimated, which takes 16 KiB. Members for which neither is room are counted.
        estimates: Count = Is "2048";
        /// Connections to one listener at a time; more are closed at once. What is there already has no part in a change.
        connections: AtLeastOne = Is "1024";
        /// How long a connection may say nothing before it is closed.
        connection_idle: Interval = Is "\"60m\"";
    }
}

table! {
    /// What is idle.
    Forgotten {
        /// Counters are not told, and forgotten.
        delete_counters: Flag = Is "false";
        /// Timers are not told, and forgotten.
        delete_timers: Flag = Is "false";
        /// Sets are not told, and forgotten.
        delete_sets: Flag = Is "false";
        /// Gauges are told for so many flushes since they last came, and forgotten. Without this key they stay.
        gauge_flushes: Life = Like "1";
    }
}

table! {
    /// A histogram; both keys are there.
    Binned {
        /// Part of the timers' names; "" is in every one.
        name: Text = Like "\"render\"";
        /// Upper bounds, exclusive, ascending; inf takes the rest. None: no histogram.
        bins: Many<Bound> = Like "[10, 100, 1000, inf]";
    }
}

table! {
    /// Graphite; `server` is there.
    Written {
        /// HOST:PORT; an IPv6 address in brackets, a link-local one with its interface, as in [fe80::1%eth0]:2003.
        server: Server = Like "\"graphite.example:2003\"";
        /// How it is spoken to: "text" (port 2003 as a rule) or "pickle" (2004).
        protocol: Spoken = Is "\"text\"";
        /// Names: stats.X and stats_counts.X for counters ("legacy"; takes no prefix but prefix_stats), or
        /// stats.counters.X.rate and .count ("new").
        namespace: Legacy = Is "\"legacy\"";
        /// Before everything.
        global_prefix: Affix = Is "\"stats\"";
        /// Before counters.
        prefix_counter: Affix = Is "\"counters\"";
        /// Before timers.
        prefix_timer: Affix = Is "\"timers\"";
        /// Before gauges.
        prefix_gauge: Affix = Is "\"gauges\"";
        /// Before sets.
        prefix_set: Affix = Is "\"sets\"";
        /// Before what the collector tells of itself.
        prefix_stats: Affix = Is "\"statsd\"";
        /// Behind everything but tags, with a dot between; empty for none.
        global_suffix: Affix = Is "\"\"";
        /// Whether counters are told as counts, too.
        flush_counts: Flag = Is "true";
    }
}

table! {
    /// A file; `path` is there.
    Appended {
        /// Where it is. A pipe must have a reader at each flush, who sees an end behind it; and one that does not read is waited for.
        path: File = Like "\"/var/log/nakcast-statsd.json\"";
        /// How flushes are shown: "json" (one object a line) or "pretty".
        format: Shape = Is "\"json\"";
    }
}

table! {
    /// InfluxDB; `url` is there.
    Posted {
        /// Where it takes writes: http://HOST:PORT/api/v2/write?org=ORG&bucket=BUCKET, or .../write?db=DB for the old versions.
        url: Url = Like "\"http://127.0.0.1:8086/api/v2/write?org=me&bucket=metrics\"";
        /// The token it knows the collector by.
        token: Token = Is "\"\"";
    }
}

table! {
    /// Another server; one of `udp` and `tcp` is there.
    Repeated {
        /// HOST:PORT, to which datagrams are sent; a multicast group, too.
        udp: ServerOrGroup = Like "\"statsd.example:8125\"";
        /// Or: HOST:PORT, to which lines are written.
        tcp: Server = Like "\"statsd.example:8125\"";
        /// A group's interface, by name or address. Default: the only one that is up, can multicast and is not loopback.
        interface: Interface = Like "\"eth0\"";
    }
}

table! {
    /// Publication; `group` is there.
    Message {
        /// The multicast group.
        group: Group = Like "\"239.255.77.1:7700\"";
        /// The topic: levels separated by dots.
        topic: Text = Is "\"statsd\"";
        /// The interface, by name or address. Default: the only one that is up, can multicast and is not loopback.
        interface: Interface = Like "\"eth0\"";
    }
}

/// [`Appended`], once it is known to be somewhere.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Appended")]
struct Kept(ToFile);

impl TryFrom<Appended> for Kept {
    type Error = String;

    fn try_from(appended: Appended) -> Result<Kept, String> {
        let File(path) = appended.path.ok_or("it takes a path, and there is none")?;
        let form = appended.format.map_or(Form::Json, |format| format.0);
        Ok(Kept(ToFile { path, form, by: "file.path".into() }))
    }
}

/// [`Posted`], once it is known to be somewhere.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Posted")]
struct Lines(Influx);

impl TryFrom<Posted> for Lines {
    type Error = String;

    fn try_from(posted: Posted) -> Result<Lines, String> {
        let Url(url) = posted.url.ok_or("it takes a url, and there is none")?;
        Ok(Lines(Influx { url, token: posted.token.map_or_else(String::new, |token| token.0) }))
    }
}

/// [`Repeated`], once it is known to be one server.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Repeated")]
struct Repeat(Target);

impl TryFrom<Repeated> for Repeat {
    type Error = String;

    fn try_from(repeated: Repeated) -> Result<Repeat, String> {
        let (server, protocol, by) = match (repeated.udp, repeated.tcp) {
            (Some(ServerOrGroup(server)), None) => (server, repeater::Protocol::Udp, "udp"),
            (None, Some(Server(server))) => (server, repeater::Protocol::Tcp, "tcp"),
            _ => return Err("it takes one of udp and tcp".into()),
        };
        let Some(Interface(interface)) = repeated.interface else {
            return Ok(Repeat(Target { server, protocol, interface: None, by: by.into() }));
        };
        let is_group = server.parse::<SocketAddr>().is_ok_and(|server| server.ip().is_multicast());
        if !is_group || protocol != repeater::Protocol::Udp {
            return Err("interface: it goes with a multicast group in udp".into());
        }
        Ok(Repeat(Target { server, protocol, interface: Some(interface), by: "udp, interface".into() }))
    }
}

/// [`Message`], once it is known to be somewhere.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Message")]
struct Published(Publish);

impl TryFrom<Message> for Published {
    type Error = String;

    fn try_from(message: Message) -> Result<Published, String> {
        let Group(group) = message.group.ok_or("it takes a group, and there is none")?;
        let topic = message.topic.map_or_else(|| "statsd".into(), |topic| topic.0);
        let interface = message.interface.map(|interface| interface.0);
        Ok(Published(Publish { group, topic, interface, by: "publish.group, topic, interface".into() }))
    }
}

/// [`Heard`], once it is known to be one listener.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Heard")]
struct Listener(Listen);

impl TryFrom<Heard> for Listener {
    type Error = String;

    fn try_from(heard: Heard) -> Result<Listener, String> {
        let mode = heard.mode.map(|mode| mode.0);
        let has_interface = heard.interface.is_some();
        let interface = heard.interface.map(|interface| interface.0);
        let group = heard.group.map(|Group(group)| (At::Group(group, interface), "group, interface"));
        let all = [
            heard.udp.map(|Address(address)| (At::Udp(address), "udp")),
            group,
            heard.tcp.map(|Takes(address)| (At::Tcp(address), "tcp")),
            heard.unix.map(|File(path)| (At::Unix(path, mode), "unix")),
            heard.unix_stream.map(|File(path)| (At::UnixStream(path, mode), "unix_stream")),
        ];
        let mut all = all.into_iter().flatten();
        let one = "it takes one of udp, group, tcp, unix and unix_stream";
        let Some((at, by)) = all.next() else { return Err(format!("{one}, and there is none")) };
        if all.next().is_some() {
            return Err(format!("{one}, and not two"));
        }
        if has_interface && !matches!(at, At::Group(..)) {
            return Err("interface: it goes with a group".into());
        }
        if mode.is_some() && !matches!(at, At::Unix(..) | At::UnixStream(..)) {
            return Err("mode: it goes with unix or unix_stream".into());
        }
        let dialect = heard.dialect.map_or(Dialect::Statsd, |dialect| dialect.0);
        Ok(Listener(Listen { at, dialect, by: by.into() }))
    }
}

/// [`Binned`], once it is known to be one histogram.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Binned")]
struct Histogram(Bins);

impl TryFrom<Binned> for Histogram {
    type Error = String;

    fn try_from(binned: Binned) -> Result<Histogram, String> {
        let (Some(metric), Some(bins)) = (binned.name, binned.bins) else {
            return Err("it takes both name and bins".into());
        };
        let bins = Bins { metric: metric.0, bounds: bins.0.into_iter().map(|bound| bound.0).collect() };
        Plan::new(&[], std::slice::from_ref(&bins), &[]).map(|_| Histogram(bins))
    }
}

/// [`Written`], once it is known to be somewhere.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Carbon(Graphite);

impl TryFrom<Written> for Carbon {
    type Error = String;

    fn try_from(written: Written) -> Result<Carbon, String> {
        let Some(Server(server)) = written.server else {
            return Err("it takes a server, HOST:PORT, and there is none".into());
        };
        let default = Names::default();
        let names = Names {
            legacy: written.namespace.map_or(default.legacy, |namespace| namespace.0),
            global_prefix: written.global_prefix.map_or(default.global_prefix, |key| key.0),
            prefix_counter: written.prefix_counter.map_or(default.prefix_counter, |key| key.0),
            prefix_timer: written.prefix_timer.map_or(default.prefix_timer, |key| key.0),
            prefix_gauge: written.prefix_gauge.map_or(default.prefix_gauge, |key| key.0),
            prefix_set: written.prefix_set.map_or(default.prefix_set, |key| key.0),
            prefix_stats: written.prefix_stats.map_or(default.prefix_stats, |key| key.0),
            global_suffix: written.global_suffix.map_or(default.global_suffix, |key| key.0),
            flush_counts: written.flush_counts.map_or(default.flush_counts, |key| key.0),
        };
        let protocol = written.protocol.map(|protocol| protocol.0).unwrap_or_default();
        Ok(Carbon(Graphite { server, protocol, names }))
    }
}

impl TryFrom<All> for Settings {
    type Error = String;

    fn try_from(file: All) -> Result<Settings, String> {
        let default = Settings::default();
        let named = |(at, Listener(mut listen)): (usize, Listener)| {
            listen.by.insert_str(0, &format!("listen[{at}]."));
            listen
        };
        if file.listen.as_ref().is_some_and(|listen| listen.0.is_empty()) {
            return Err("listen: it takes one or more, or the key is left out".into());
        }
        let listeners = file.listen.map(|listen| listen.0.into_iter().enumerate().map(named).collect());
        let repeat = file.repeat.map_or_else(Vec::new, |list| list.0).into_iter();
        let target = |(at, Repeat(mut target)): (usize, Repeat)| {
            target.by.insert_str(0, &format!("repeat[{at}]."));
            target
        };
        let percentiles = file.percentiles.map_or_else(|| vec![Percentile(90.0)], |list| list.0);
        let percentiles = percentiles.into_iter().map(|percentile| percentile.0).collect::<Vec<_>>();
        let bins = file.histogram.map_or_else(Vec::new, |list| list.0);
        let bins = bins.into_iter().map(|one| one.0).collect::<Vec<_>>();
        let told = file.timer_statistics.map_or_else(Vec::new, |list| list.0);
        let told = told.into_iter().map(|one| one.0).collect::<Vec<_>>();
        let plan = Plan::new(&percentiles, &bins, &told)?;
        let (bounds, idle) = (file.limits.unwrap_or_default(), file.idle.unwrap_or_default());
        let limits = Limits {
            series: bounds.series.map_or(default.limits.series, |most| most.0 as usize),
            name_bytes: bounds.name_bytes.map_or(default.limits.name_bytes, |most| most.0),
            samples: bounds.samples.map_or(default.limits.samples, |most| most.0 as usize),
            timer_values: bounds.timer_values.map_or(default.limits.timer_values, |most| most.0 as usize),
            sketches: bounds.sketches.map_or(default.limits.sketches, |most| most.0 as usize),
            member_bytes: bounds.member_bytes.map_or(default.limits.member_bytes, |most| most.0),
            set_members: bounds.set_members.map_or(default.limits.set_members, |most| most.0 as usize),
            estimates: bounds.estimates.map_or(default.limits.estimates, |most| most.0 as usize),
        };
        let streams = stream::Bounds {
            connections: bounds.connections.map_or(default.streams.connections, |most| most.0 as usize),
            idle: bounds.connection_idle.map_or(default.streams.idle, |idle| idle.0),
            stall: default.streams.stall,
        };
        let idle = Idle {
            delete_counters: idle.delete_counters.map_or(default.idle.delete_counters, |flag| flag.0),
            delete_timers: idle.delete_timers.map_or(default.idle.delete_timers, |flag| flag.0),
            delete_sets: idle.delete_sets.map_or(default.idle.delete_sets, |flag| flag.0),
            gauge_life: idle.gauge_flushes.map(|life| life.0),
        };
        Ok(Settings {
            listeners: listeners.unwrap_or(default.listeners),
            receive_buffer: file.receive_buffer.map_or(default.receive_buffer, |bytes| bytes.0),
            estimate: file.estimate.map_or(default.estimate, |flag| flag.0),
            threads: file.threads.map_or(default.threads, |threads| threads.0 as usize),
            streams,
            flush_interval: file.flush_interval.map_or(default.flush_interval, |interval| interval.0),
            plan,
            idle,
            limits,
            console: file.console.map(|format| format.0),
            graphite: file.graphite.map(|graphite| graphite.0),
            file: file.file.map(|kept| kept.0),
            influx: file.influx.map(|lines| lines.0),
            repeat: repeat.enumerate().map(target).collect(),
            publish: file.publish.map(|published| published.0),
            prometheus: place(file.prometheus, "prometheus"),
            mapping: file.prometheus_mapping.map(|File(file)| Rules::new(file, "prometheus_mapping")),
            admin: place(file.admin, "admin"),
            is_up: default.is_up,
            watch: file.watch.map_or(default.watch, |flag| flag.0),
        })
    }
}

fn place(address: Option<Takes>, by: &str) -> Option<Place> {
    address.map(|Takes(address)| Place { address, by: by.into() })
}

/// Reads a file.
///
/// # Errors
///
/// One line that names the file, the line, the key, what is wrong and what would be right.
pub fn read(file: &Path) -> Result<Settings, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    parse(&text).map_err(|problem| format!("{}:{problem}", file.display()))
}

/// Reads the text of a file.
///
/// # Errors
///
/// `LINE: KEY: problem`, or ` problem` when it lies in no one line.
pub fn parse(text: &str) -> Result<Settings, String> {
    let problem = |path: String, error: &toml::de::Error| {
        let place = header(text, &path).or_else(|| error.span().map(|span| span.start));
        let line = place.map_or(String::new(), |at| {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            format!("{}:", 1 + before.iter().filter(|&&byte| byte == b'\n').count())
        });
        let key = if path.is_empty() || path == "." { String::new() } else { format!("{path}: ") };
        format!("{line} {key}{}", error.message().lines().collect::<Vec<_>>().join("; "))
    };
    let document = toml::Deserializer::parse(text).map_err(|error| problem(String::new(), &error))?;
    let file: All = serde_path_to_error::deserialize(document)
        .map_err(|error| problem(error.path().to_string(), error.inner()))?;
    file.try_into().map_err(|problem| format!(" {problem}"))
}

/// Where the table `name[n]` begins: the reader knows only where the first of them does.
fn header(text: &str, path: &str) -> Option<usize> {
    let (name, number) = path.strip_suffix(']')?.rsplit_once('[')?;
    let header = format!("[[{name}]]");
    // Not one in a comment or a value.
    let begins =
        |(at, _): &(usize, &str)| text[..*at].trim_end_matches([' ', '\t']).ends_with('\n') || *at == 0;
    text.match_indices(&header).filter(begins).nth(number.parse().ok()?).map(|(at, _)| at)
}

/// Every key with what it is for, as a file that says what is so without it.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# nakcast-statsd's configuration, with every key: those without a mark have the value they have without a file.\n\n",
    );
    // Writing to a string does not fail.
    let _ = show(&mut text, "", All::KEYS, "");
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
