//! What the collector is to do, whoever said it.

use super::original::{self, Original};
use super::own;
use crate::digits::Js;
use crate::line::Dialect;
use crate::output::console::Form;
use crate::output::graphite::{Names, Protocol};
use crate::output::influx::Influx;
use crate::output::prometheus::Mapping;
use crate::output::repeater::{self, Target};
use crate::shard::{Idle, Limits};
use crate::stream::Bounds;
use crate::timer::Plan;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where metrics are heard.
    pub listeners: Vec<Listen>,
    /// What the kernel is asked for as receive buffer of each listener, in bytes.
    pub receive_buffer: usize,
    /// Whether counters are told as they were sent, too, by an estimate.
    pub estimate: bool,
    /// Threads for each UDP listener, and shards. Another number takes a restart.
    pub threads: usize,
    /// What bounds the connections of each listener for streams.
    pub streams: Bounds,
    /// From one flush to the next.
    pub flush_interval: Duration,
    /// What is told of timers.
    pub plan: Plan,
    /// What becomes of idle series.
    pub idle: Idle,
    /// What bounds the memory.
    pub limits: Limits,
    /// How flushes are shown on standard output; `None` leaves it to [`Settings::form`].
    pub console: Option<Console>,
    /// Where Graphite is, and how it is written to.
    pub graphite: Option<Graphite>,
    /// Where flushes are appended to a file.
    pub file: Option<ToFile>,
    /// Where InfluxDB is.
    pub influx: Option<Influx>,
    /// Where datagrams are sent on to.
    pub repeat: Vec<Target>,
    /// How flushes are published over nakcast.
    pub publish: Option<Publish>,
    /// Where Prometheus asks.
    pub prometheus: Option<Place>,
    /// The mapping rules for Prometheus.
    pub mapping: Option<Rules>,
    /// Where the admin port is.
    pub admin: Option<Place>,
    /// Whether it says at first that all is well.
    pub is_up: bool,
    /// Whether the file is read again when it was changed, without being told to.
    pub watch: bool,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub at: At,
    /// What a sign before a gauge's value means there.
    pub dialect: Dialect,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Datagrams to an address of this machine.
    Udp(SocketAddr),
    /// Datagrams to a multicast group, on an interface by name or address, or on the only one there is.
    Group(SocketAddr, Option<String>),
    /// Streams of lines.
    Tcp(SocketAddr),
    /// Datagrams to a socket of the file system, which is given a mode if there is one.
    Unix(PathBuf, Option<u32>),
    /// Streams of lines to such a socket.
    UnixStream(PathBuf, Option<u32>),
}

impl At {
    /// Whether it is the same socket: of one in the file system the mode may be another.
    #[must_use]
    pub fn is_same(&self, other: &At) -> bool {
        match (self, other) {
            (At::Unix(path, _), At::Unix(other, _)) => path == other,
            (At::UnixStream(path, _), At::UnixStream(other, _)) => path == other,
            _ => self == other,
        }
    }

    /// The path and the mode of a socket of the file system.
    #[must_use]
    pub fn file(&self) -> Option<(&Path, Option<u32>)> {
        match self {
            At::Unix(path, mode) | At::UnixStream(path, mode) => Some((path, *mode)),
            At::Udp(_) | At::Group(..) | At::Tcp(_) => None,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Udp(address) => write!(f, "udp {address}"),
            At::Group(group, Some(interface)) => write!(f, "group {group} on {interface}"),
            At::Group(group, None) => write!(f, "group {group}"),
            At::Tcp(address) => write!(f, "tcp {address}"),
            At::Unix(path, _) => write!(f, "unix {}", path.display()),
            At::UnixStream(path, _) => write!(f, "unix-stream {}", path.display()),
        }
    }
}

/// How flushes are shown on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// For people.
    Pretty,
    /// A JSON object on each line.
    Json,
    /// Not at all.
    None,
}

/// How Graphite is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphite {
    /// `HOST:PORT`.
    pub server: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What series are called there.
    pub names: Names,
}

/// A file that flushes are appended to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToFile {
    /// Its path.
    pub path: PathBuf,
    /// How they are shown there.
    pub form: Form,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

/// A file of mapping rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Its path.
    pub file: PathBuf,
    /// What is in it, once it is read.
    pub read: Option<Arc<Mapping>>,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

impl Rules {
    /// One that is not read yet.
    #[must_use]
    pub fn new(file: PathBuf, by: &str) -> Rules {
        Rules { file, read: None, by: by.into() }
    }
}

/// How flushes are published over nakcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The group.
    pub group: SocketAddr,
    /// The topic: levels separated by dots.
    pub topic: String,
    /// The interface, by name or address; `None` is the only one that is up, can multicast and is not loopback.
    pub interface: Option<String>,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

impl Default for Settings {
    /// What is done without file and flags: 127.0.0.1:8125, and a flush on standard output every ten seconds.
    fn default() -> Settings {
        let at = At::Udp((Ipv4Addr::LOCALHOST, 8125).into());
        Settings {
            listeners: vec![Listen { at, dialect: Dialect::Statsd, by: "--listen".into() }],
            receive_buffer: 4 << 20,
            estimate: false,
            threads: 1,
            streams: Bounds::default(),
            flush_interval: Duration::from_secs(10),
            plan: Plan::default(),
            idle: Idle::default(),
            limits: Limits::default(),
            console: None,
            graphite: None,
            file: None,
            influx: None,
            repeat: Vec::new(),
            publish: None,
            prometheus: None,
            mapping: None,
            admin: None,
            is_up: true,
            watch: false,
        }
    }
}

impl Settings {
    /// Reads a file: the collector's own if its name ends in `.toml`, the original's if in `.js` or `.json`. What is not done
    /// of what it asks for comes beside the settings, one line each.
    ///
    /// # Errors
    ///
    /// One line that names the file, and if they are known the line and the key, what is wrong and what would be right.
    pub fn read(file: &Path) -> Result<(Settings, Vec<String>), String> {
        // What stands behind the last dot, also in a name that has nothing before it.
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let (mut settings, warnings) = match name.rsplit_once('.').map(|(_, behind)| behind) {
            Some("toml") => (own::read(file)?, Vec::new()),
            Some("js" | "json") => {
                let original = Original::read(file)?;
                let named = |line: &String| format!("{}: {line}", file.display());
                let warnings = original.warnings.iter().map(named).collect();
                (original.into(), warnings)
            }
            _ => {
                return Err(format!(
                    "{}: its name must end in .toml, or in .js or .json if it is the original's configuration",
                    file.display()
                ));
            }
        };
        for by in settings.asked() {
            *by = format!("{}: {by}", file.display());
        }
        Ok((settings, warnings))
    }

    /// Reads the mapping rules, if there are any. What is not done of what they ask for is returned, one line each.
    ///
    /// # Errors
    ///
    /// As of [`Mapping::read`], with who asked for a file that cannot be read; or there is nobody they are for.
    pub fn read_mapping(&mut self) -> Result<Vec<String>, String> {
        let Some(Rules { file, read, by }) = &mut self.mapping else { return Ok(Vec::new()) };
        if self.prometheus.is_none() {
            return Err(format!("{by}: mapping rules go with prometheus, an address, and there is none"));
        }
        let (mapping, warnings) = Mapping::read(file, by)?;
        *read = Some(Arc::new(mapping));
        Ok(warnings)
    }

    /// The mapping rules that were read.
    #[must_use]
    pub fn rules(&self) -> Option<&Arc<Mapping>> {
        self.mapping.as_ref()?.read.as_ref()
    }

    /// Who asked for each address and file.
    fn asked(&mut self) -> impl Iterator<Item = &mut String> {
        let listeners = self.listeners.iter_mut().map(|listener| &mut listener.by);
        let places = self.prometheus.iter_mut().chain(&mut self.admin);
        let publish = self.publish.iter_mut().map(|publish| &mut publish.by);
        let file = self.file.iter_mut().map(|file| &mut file.by);
        let mapping = self.mapping.iter_mut().map(|mapping| &mut mapping.by);
        let repeat = self.repeat.iter_mut().map(|target| &mut target.by);
        let outputs = publish.chain(file).chain(mapping).chain(repeat);
        listeners.chain(places.map(|place| &mut place.by)).chain(outputs)
    }

    /// Where connections are taken, by TCP, and who asked for it.
    pub fn ports(&self) -> impl Iterator<Item = (SocketAddr, &str)> {
        let listeners = self.listeners.iter().filter_map(|listener| match listener.at {
            At::Tcp(address) => Some((address, &*listener.by)),
            _ => None,
        });
        let places = self.prometheus.iter().chain(&self.admin);
        listeners.chain(places.map(|place| (place.address, &*place.by)))
    }

    /// Before the names of what the collector tells of itself.
    #[must_use]
    pub fn stats_prefix(&self) -> String {
        self.graphite.as_ref().map_or_else(|| "statsd".into(), |graphite| graphite.names.prefix_stats.clone())
    }

    /// What is so, in the original's keys, as its admin port lists them.
    #[must_use]
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let mut line = |key: &str, value: String| lines.push((key.to_owned(), value));
        for (at, listener) in self.listeners.iter().enumerate() {
            let dialect = if listener.dialect == Dialect::Datadog { " datadog" } else { "" };
            line(&format!("servers > {at}"), format!("{}{dialect}", listener.at));
        }
        if let Some(Place { address, .. }) = &self.admin {
            line("mgmt_address", address.ip().to_string());
            line("mgmt_port", address.port().to_string());
        }
        line("flushInterval", self.flush_interval.as_millis().to_string());
        for (at, (percentile, _)) in self.plan.bounds().enumerate() {
            line(&format!("percentThreshold > {at}"), Js(percentile).to_string());
        }
        line("deleteCounters", self.idle.delete_counters.to_string());
        line("deleteTimers", self.idle.delete_timers.to_string());
        line("deleteSets", self.idle.delete_sets.to_string());
        line("deleteGauges", self.idle.gauge_life.is_some().to_string());
        line("gaugesMaxTTL", self.idle.gauge_life.unwrap_or(1).to_string());
        if let Some(graphite) = &self.graphite {
            let (host, port) = graphite.server.rsplit_once(':').unwrap_or((&graphite.server, ""));
            let (protocol, key) = match graphite.protocol {
                Protocol::Text => ("text", "graphitePort"),
                Protocol::Pickle => ("pickle", "graphitePicklePort"),
            };
            line("graphiteHost", host.to_owned());
            line(key, port.to_owned());
            line("graphiteProtocol", protocol.to_owned());
            line("graphite > legacyNamespace", graphite.names.legacy.to_string());
        }
        for (at, target) in self.repeat.iter().enumerate() {
            line(&format!("repeater > {at}"), target.to_string());
        }
        line("prefixStats", self.stats_prefix());
        lines
    }

    /// How flushes are shown on standard output, if at all: for people, unless another output is there.
    #[must_use]
    pub fn form(&self) -> Option<Form> {
        match self.console {
            Some(Console::Pretty) => Some(Form::Pretty),
            Some(Console::Json) => Some(Form::Json),
            Some(Console::None) => None,
            None if self.has_another_output() => None,
            None => Some(Form::Pretty),
        }
    }
}

impl Settings {
    fn has_another_output(&self) -> bool {
        let servers = self.graphite.is_some() || self.prometheus.is_some() || self.influx.is_some();
        servers || self.file.is_some() || self.publish.is_some()
    }
}

impl From<Original> for Settings {
    fn from(original: Original) -> Settings {
        let are_many = original.listeners.len() > 1;
        let listen = |(number, listener)| {
            let (at, by) = match listener {
                original::Listener::Udp(address) => (At::Udp(address), "address, port"),
                original::Listener::Tcp(address) => (At::Tcp(address), "address, port"),
                original::Listener::Unix(path, mode) => (At::UnixStream(path, mode), "socket"),
            };
            let by = if are_many { format!("servers[{number}]: {by}") } else { by.into() };
            Listen { at, dialect: Dialect::Statsd, by }
        };
        let console = match original.console {
            Some(original::Console { pretty: true }) => Console::Pretty,
            Some(original::Console { pretty: false }) => Console::Json,
            None => Console::None,
        };
        let graphite = |graphite: original::Graphite| Graphite {
            server: graphite.remote.to_string(),
            protocol: graphite.protocol,
            names: graphite.names,
        };
        Settings {
            listeners: original.listeners.into_iter().enumerate().map(listen).collect(),
            flush_interval: original.flush_interval,
            plan: original.plan,
            idle: original.idle,
            console: Some(console),
            graphite: original.graphite.map(graphite),
            repeat: original.repeater.map_or_else(Vec::new, targets),
            admin: Some(Place { address: original.admin, by: "mgmt_address, mgmt_port".into() }),
            is_up: original.is_up,
            watch: original.reload,
            ..Settings::default()
        }
    }
}

fn targets(repeater: original::Repeater) -> Vec<Target> {
    let protocol = match repeater.protocol {
        original::RepeaterProtocol::Udp4 => repeater::Protocol::Udp4,
        original::RepeaterProtocol::Udp6 => repeater::Protocol::Udp6,
        original::RepeaterProtocol::Tcp => repeater::Protocol::Tcp,
    };
    let target = |(at, remote): (usize, original::Remote)| {
        let by = format!("repeater[{at}]");
        Target { server: remote.to_string(), protocol, interface: None, by }
    };
    repeater.remotes.into_iter().enumerate().map(target).collect()
}
