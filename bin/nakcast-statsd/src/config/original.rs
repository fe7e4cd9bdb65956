//! The original's own configuration, taken as it stands: an object literal of JavaScript, or plain JSON.
//!
//! Where the original writes `value || default`, JavaScript's false values mean the default here too.

use super::units;
use super::value::{Object, Result, Value, number, wrong};
use crate::output::graphite::{Names, Protocol};
use crate::shard::Idle;
use crate::timer::{Bins, Plan};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What such a file asks for, with the original's defaults where it says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Original {
    /// Where metrics are heard.
    pub listeners: Vec<Listener>,
    /// Where the admin port is.
    pub admin: SocketAddr,
    /// From one flush to the next.
    pub flush_interval: Duration,
    /// What is told of timers.
    pub plan: Plan,
    /// What becomes of idle series.
    pub idle: Idle,
    /// Before the names of the server's own metrics.
    pub stats_prefix: String,
    /// Where Graphite is, if anywhere.
    pub graphite: Option<Graphite>,
    /// The console, if it is a backend.
    pub console: Option<Console>,
    /// Where datagrams are sent on to, if anywhere.
    pub repeater: Option<Repeater>,
    /// Whether `health` says `up` at first.
    pub is_up: bool,
    /// Whether the file is read again when it changes.
    pub reload: bool,
    /// What was asked for and is not done: one line each, without the file's name.
    pub warnings: Vec<String>,
}

/// Where metrics are heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Datagrams.
    Udp(SocketAddr),
    /// A stream of lines.
    Tcp(SocketAddr),
    /// A stream of lines over a socket of the file system, whose mode is set if one is given.
    Unix(PathBuf, Option<u32>),
}

/// A server that is asked for by name again whenever it is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// `HOST:PORT`, an IPv6 address in brackets.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remote { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Remote {
    /// Looks whether it can be, of what stands at this key.
    fn check(&self, key: &str, read: fn(&str) -> Result<String>) -> Result<()> {
        read(&self.to_string()).map_err(|takes| format!("{key}: {takes}, not {:?}", self.host)).map(drop)
    }
}

/// How Graphite is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphite {
    /// Where it is: the port is that of the protocol.
    pub remote: Remote,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What series are called there.
    pub names: Names,
}

/// How flushes are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// With line breaks.
    pub pretty: bool,
}

/// Where datagrams are sent on to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeater {
    /// The protocol.
    pub protocol: RepeaterProtocol,
    /// The servers.
    pub remotes: Vec<Remote>,
}

/// How datagrams are sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeaterProtocol {
    /// As datagrams, over IPv4.
    Udp4,
    /// As datagrams, over IPv6.
    Udp6,
    /// As a stream.
    Tcp,
}

/// Deeper than this nothing is that means anything: what reads it calls itself for every level.
const DEEPEST: usize = 100;

impl Original {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// One line that names the file, what is wrong and what would be right.
    pub fn read(file: &Path) -> std::result::Result<Original, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Original::parse(&text).map_err(|error| match error {
            Problem { line: Some(line), text } => format!("{}:{line}: {text}", file.display()),
            Problem { line: None, text } => format!("{}: {text}", file.display()),
        })
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    ///
    /// The [`Problem`].
    pub fn parse(text: &str) -> std::result::Result<Original, Problem> {
        let value = literal(text)?;
        read(value).map_err(|text| Problem { line: None, text })
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line where it cannot be read, from 1; `None` when it is a value that cannot be, or all of it is missing.
    pub line: Option<usize>,
    /// One line.
    pub text: String,
}

/// Reads the literal. A semicolon behind it is what JavaScript has nothing against.
fn literal(text: &str) -> std::result::Result<Value, Problem> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            let line = 1 + text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
            return Err(Problem { line: Some(line), text: "too many brackets within brackets".into() });
        }
    }
    let error = match json5::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if error.code() == Some(json5::ErrorCode::TrailingCharacters)
        && let Some((before, after)) = error.position().and_then(|place| at_semicolon(text, place))
        && let (Ok(value), Ok(Value::Null(()))) =
            (json5::from_str(before), json5::from_str(&format!("{after}\nnull")))
    {
        return Ok(value);
    }
    let what = error.code().map_or_else(|| error.to_string(), |code| code.to_string());
    let text = format!(
        "{what}: must be an object literal of plain values, as JSON5 has them; expressions are not run"
    );
    Err(Problem { line: error.position().map(|place| place.line + 1), text })
}

/// What stands before the semicolon at this place, and what behind it.
fn at_semicolon(text: &str, place: json5::Position) -> Option<(&str, &str)> {
    let at = text.match_indices(';').map(|(at, _)| at);
    let at = at.into_iter().find(|&at| json5::Position::from_offset(at, text) == place)?;
    Some((&text[..at], &text[at + 1..]))
}

fn read(value: Value) -> Result<Original> {
    if !matches!(value, Value::Object(_)) {
        return Err(format!("must be an object, {{ key: value }}, not {value}"));
    }
    let mut all = Object::new("", value)?;
    let mut warnings = Vec::new();

    let listeners = match all.objects("servers")? {
        Some(servers) if servers.is_empty() => {
            return Err("servers: must be a list of one or more, or left out".into());
        }
        Some(servers) => {
            // The keys of the one that would be there without a list.
            for key in ["server", "address", "address_ipv6", "port", "socket", "socket_mod"] {
                if all.take(key).is_some() {
                    warnings.push(format!("{key}: means nothing where there are servers"));
                }
            }
            let mut listeners = Vec::with_capacity(servers.len());
            for mut server in servers {
                listeners.push(listener(&mut server)?);
                unknown(server, &mut warnings);
            }
            listeners
        }
        None => vec![listener(&mut all)?],
    };
    let admin = address(&mut all, "mgmt_address", "mgmt_port", 8126, false)?;
    let interval = all.whole(
        "flushInterval",
        "a whole number of milliseconds, 1 to 2147483647",
        1.0,
        f64::from(i32::MAX),
    )?;
    let stats_prefix = all.text("prefixStats")?.unwrap_or_else(|| "statsd".into());
    let stats_prefix = affix("prefixStats", stats_prefix)?;
    let plan = plan(&mut all)?;
    let idle = idle(&mut all)?;
    let backends = backends(&mut all, &mut warnings)?;
    let graphite = graphite(&mut all, &stats_prefix, &mut warnings)?.filter(|_| backends.graphite);
    let mut console = all.object("console")?;
    let pretty = console.bool("prettyprint")?.unwrap_or(false);
    unknown(console, &mut warnings);
    let repeater = repeater(&mut all, &mut warnings)?.filter(|_| backends.repeater);
    let is_up = match all.word("healthStatus")?.as_deref() {
        None | Some("up") => true,
        Some("down") => false,
        Some(other) => return wrong("healthStatus", "'up' or 'down'", &Value::Text(other.into())),
    };
    let reload = all.bool("automaticConfigReload")?.unwrap_or(true);
    if all.bool("keyNameSanitize")? == Some(false) {
        warnings.push("keyNameSanitize: names are cleaned all the same".into());
    }
    for (key, is_on) in [
        ("keyFlush", !matches!(all.take("keyFlush"), None | Some(Value::Bool(false)))),
        ("dumpMessages", all.bool("dumpMessages")? == Some(true)),
        ("debug", all.bool("debug")? == Some(true)),
        ("debugInterval", all.take("debugInterval").is_some()),
        ("log", all.take("log").is_some()),
        ("title", !matches!(all.take("title"), None | Some(Value::Bool(false)))),
    ] {
        if is_on {
            warnings.push(format!("{key}: is known, and has no effect here"));
        }
    }
    unknown(all, &mut warnings);

    Ok(Original {
        listeners,
        admin,
        flush_interval: Duration::from_millis(interval.unwrap_or(10_000.0) as u64),
        plan,
        idle,
        stats_prefix,
        graphite,
        console: backends.console.then_some(Console { pretty }),
        repeater,
        is_up,
        reload,
        warnings,
    })
}

fn unknown(object: Object, warnings: &mut Vec<String>) {
    warnings
        .extend(object.rest().map(|key| format!("{key}: nobody knows this key, and it is not looked at")));
}

fn listener(server: &mut Object) -> Result<Listener> {
    let kind = server.word("server")?;
    let socket = server.file("socket")?;
    let mode = mode(server)?;
    let is_ipv6 = server.bool("address_ipv6")?.unwrap_or(false);
    let address = address(server, "address", "port", 8125, is_ipv6)?;
    match kind.as_deref().map(module) {
        None | Some("udp") => Ok(Listener::Udp(address)),
        Some("tcp") => Ok(match socket {
            Some(socket) => Listener::Unix(socket, mode),
            None => Listener::Tcp(address),
        }),
        Some(other) => {
            wrong(&server.path("server"), "'./servers/udp' or './servers/tcp'", &Value::Text(other.into()))
        }
    }
}

/// A module's name without its folder and its ending.
fn module(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".js").unwrap_or(name)
}

/// A file mode: digits of octal in a string, or the number itself.
fn mode(server: &mut Object) -> Result<Option<u32>> {
    let expected = "a mode in octal as a string, such as '0660'";
    let Some(value) = server.take("socket_mod") else { return Ok(None) };
    let mode = match &value {
        Value::Text(text) => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok(),
        Value::Number(number) if number.trunc() == *number && *number >= 0.0 => Some(*number as u32),
        _ => None,
    };
    match mode {
        Some(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => wrong(&server.path("socket_mod"), expected, &value),
    }
}

fn address(object: &mut Object, host: &str, port: &str, default: u16, is_ipv6: bool) -> Result<SocketAddr> {
    let port = object.port(port)?.unwrap_or(default);
    let Some(name) = object.word(host)? else {
        let every: IpAddr = if is_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        return Ok(SocketAddr::new(every, port));
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        if address.is_multicast() {
            return wrong(&object.path(host), "a unicast address of this machine", &Value::Text(name));
        }
        return Ok(SocketAddr::new(address, port));
    }
    let known = (name.as_str(), port).to_socket_addrs();
    known.ok().and_then(|mut known| known.find(|known| known.is_ipv6() == is_ipv6)).map_or_else(
        || {
            let family = if is_ipv6 { "an IPv6" } else { "an IPv4" };
            wrong(
                &object.path(host),
                &format!("{family} address of this machine, or a name that has one"),
                &Value::Text(name.clone()),
            )
        },
        Ok,
    )
}

fn plan(all: &mut Object) -> Result<Plan> {
    let expected = "a number from -100 to 100, or a list of such";
    let percentile = |value: &Value| match number(value) {
        Some(percentile) if percentile.abs() <= 100.0 => Ok(percentile),
        _ => wrong("percentThreshold", expected, value),
    };
    let mut percentiles = match all.take_true("percentThreshold") {
        None => vec![90.0],
        Some(Value::List(list)) => list.iter().map(percentile).collect::<Result<Vec<_>>>()?,
        Some(value) => vec![percentile(&value)?],
    };
    // Of no samples nothing is told.
    percentiles.retain(|&percentile| percentile != 0.0);
    let mut bins = Vec::new();
    for mut entry in all.objects("histogram")?.unwrap_or_default() {
        let metric = entry.text("metric")?;
        let Some(metric) = metric else {
            return Err(format!("{}: must be a string, a part of the timers' names", entry.path("metric")));
        };
        let path = entry.path("bins");
        let bound = |value: &Value| match value {
            Value::Text(text) if text == "inf" => Ok(f64::INFINITY),
            value => number(value).map_or_else(|| wrong(&path, "a list of numbers and 'inf'", value), Ok),
        };
        let bounds = entry.list("bins")?.unwrap_or_default().iter().map(bound).collect::<Result<Vec<_>>>()?;
        bins.push(Bins { metric, bounds });
        if let Some(key) = entry.rest().next() {
            return Err(format!("{key}: must be metric or bins"));
        }
    }
    let told = all.texts("calculatedTimerMetrics")?.unwrap_or_default();
    Plan::new(&percentiles, &bins, &told)
}

fn idle(all: &mut Object) -> Result<Idle> {
    let every = all.bool("deleteIdleStats")?.unwrap_or(false);
    let delete_gauges = all.bool("deleteGauges")?.unwrap_or(every);
    // Whatever is not a whole number above 1 is 1 to the original.
    let life = match all.take("gaugesMaxTTL") {
        Some(Value::Number(life)) if life.trunc() == life && life > 1.0 => life as u32,
        _ => 1,
    };
    Ok(Idle {
        delete_counters: all.bool("deleteCounters")?.unwrap_or(every),
        delete_timers: all.bool("deleteTimers")?.unwrap_or(every),
        delete_sets: all.bool("deleteSets")?.unwrap_or(every),
        gauge_life: delete_gauges.then_some(life),
    })
}

/// Which of them are asked for.
struct Backends {
    graphite: bool,
    console: bool,
    repeater: bool,
}

fn backends(all: &mut Object, warnings: &mut Vec<String>) -> Result<Backends> {
    let Some(names) = all.texts("backends")? else {
        return Ok(Backends { graphite: true, console: false, repeater: false });
    };
    let mut backends = Backends { graphite: false, console: false, repeater: false };
    for name in names {
        match module(&name) {
            "graphite" => backends.graphite = true,
            "console" => backends.console = true,
            "repeater" => backends.repeater = true,
            _ => warnings.push(format!("backends: {name:?} is not among graphite, console and repeater")),
        }
    }
    Ok(backends)
}

fn graphite(all: &mut Object, stats_prefix: &str, warnings: &mut Vec<String>) -> Result<Option<Graphite>> {
    let host = all.word("graphiteHost")?;
    let text_port = all.port("graphitePort")?.unwrap_or(2003);
    let pickle_port = all.port("graphitePicklePort")?.unwrap_or(2004);
    let (protocol, port) = match all.word("graphiteProtocol")?.as_deref() {
        None | Some("text") => (Protocol::Text, text_port),
        Some("pickle") => (Protocol::Pickle, pickle_port),
        Some(other) => return wrong("graphiteProtocol", "'text' or 'pickle'", &Value::Text(other.into())),
    };
    let flush_counts = all.bool("flush_counts")?.unwrap_or(true);
    let mut keys = all.object("graphite")?;
    let legacy = keys.bool("legacyNamespace")?.unwrap_or(true);
    let mut text = |key: &str, default: String| match keys.text(key)? {
        Some(text) => affix(&keys.path(key), text),
        None => Ok(default),
    };
    let default = Names::default();
    let names = Names {
        legacy,
        global_prefix: text("globalPrefix", default.global_prefix)?,
        prefix_counter: text("prefixCounter", default.prefix_counter)?,
        prefix_timer: text("prefixTimer", default.prefix_timer)?,
        prefix_gauge: text("prefixGauge", default.prefix_gauge)?,
        prefix_set: text("prefixSet", default.prefix_set)?,
        prefix_stats: stats_prefix.to_owned(),
        global_suffix: text("globalSuffix", default.global_suffix)?,
        flush_counts,
    };
    unknown(keys, warnings);
    let Some(host) = host else { return Ok(None) };
    let remote = Remote { host, port };
    remote.check("graphiteHost", units::server)?;
    Ok(Some(Graphite { remote, protocol, names }))
}

/// Part of a name.
fn affix(path: &str, text: String) -> Result<String> {
    match units::affix(&text) {
        Ok(text) => Ok(text),
        Err(_) => wrong(path, "a string without white space", &Value::Text(text)),
    }
}

fn repeater(all: &mut Object, warnings: &mut Vec<String>) -> Result<Option<Repeater>> {
    let protocol = match all.word("repeaterProtocol")?.as_deref() {
        None | Some("udp4") => RepeaterProtocol::Udp4,
        Some("udp6") => RepeaterProtocol::Udp6,
        Some("tcp") => RepeaterProtocol::Tcp,
        Some(other) => {
            return wrong("repeaterProtocol", "'udp4', 'udp6' or 'tcp'", &Value::Text(other.into()));
        }
    };
    let mut remotes = Vec::new();
    for mut remote in all.objects("repeater")?.unwrap_or_default() {
        let (Some(host), Some(port)) = (remote.word("host")?, remote.port("port")?) else {
            return Err(format!(
                "{}: must be {{ host: 'name', port: number }}",
                remote.path("").trim_end_matches('.')
            ));
        };
        let server = Remote { host, port };
        server.check(
            &remote.path("host"),
            match protocol {
                RepeaterProtocol::Tcp => units::server,
                RepeaterProtocol::Udp4 | RepeaterProtocol::Udp6 => units::server_or_group,
            },
        )?;
        remotes.push(server);
        unknown(remote, warnings);
    }
    Ok((!remotes.is_empty()).then_some(Repeater { protocol, remotes }))
}
