//! Quantities as people type them, behind a flag or in a file. What cannot be is an error that says what could: "it takes ...".

use super::settings::Console;
use crate::line::Dialect;
use crate::output::console::Form;
use crate::output::graphite::Protocol;
use crate::output::server::scoped;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A number and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    number.parse().ok().map(|number| (number, unit))
}

/// A flush interval: `10`, `0.5`, `500ms`, `2m`; from 10 ms to a day.
///
/// # Errors
///
/// What it takes.
pub fn interval(text: &str) -> Result<Duration, String> {
    let wanted =
        "it takes seconds from 0.01 to 86400, as in 10 or 0.5, or a time with its unit, as in 500ms or 2m";
    let (number, unit) = split(text).ok_or(wanted)?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1e3,
        "m" => number * 60.0,
        _ => return Err(wanted.into()),
    };
    if !(0.01..=86_400.0).contains(&seconds) {
        return Err(wanted.into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Bytes: `1408`, `64k`, `4M`, `1G`, by 1,024; at most 1G.
///
/// # Errors
///
/// What it takes.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wanted = "it takes a whole number of bytes up to 1G, as in 4096, 64k or 4M (by 1,024)";
    let (number, unit) = split(text).ok_or(wanted)?;
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1024.0,
        "M" | "m" => 1024.0 * 1024.0,
        "G" | "g" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wanted.into()),
    };
    let bytes = number * factor;
    if bytes.fract() != 0.0 || !(1.0..=1024.0 * 1024.0 * 1024.0).contains(&bytes) {
        return Err(wanted.into());
    }
    Ok(bytes as usize)
}

/// Where to listen for unicast datagrams.
///
/// # Errors
///
/// What it takes.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_multicast() {
        return Err("it takes a unicast address of this machine (a group is heard with --group, or the key group of [[listen]])".into());
    }
    Ok(address)
}

/// Where to take connections.
///
/// # Errors
///
/// What it takes.
pub fn place(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_multicast() {
        return Err("it takes a unicast address of this machine".into());
    }
    Ok(address)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "it takes ADDR:PORT, as in 127.0.0.1:8125, 0.0.0.0:8125 or [::1]:8125";
    text.parse().map_err(|_| wanted.into())
}

/// A multicast group.
///
/// # Errors
///
/// What it takes.
pub fn group(text: &str) -> Result<SocketAddr, String> {
    let wanted = "it takes ADDR:PORT, as in 239.255.77.2:8125 or [ff15::4d]:8125";
    let address = text.parse::<SocketAddr>().map_err(|_| wanted.to_owned())?;
    if !address.ip().is_multicast() {
        return Err(
            "it takes a multicast address, from 224.0.0.0 to 239.255.255.255 or beginning with ff".into()
        );
    }
    if address.port() == 0 {
        return Err("it takes a port from 1 to 65535".into());
    }
    Ok(address)
}

/// A percentile: -100 to 100, not 0.
///
/// # Errors
///
/// What it takes.
pub fn percentile(text: &str) -> Result<f64, String> {
    let wanted = "it takes a number from -100 to 100, and not 0, as in 90, 99.9 or -10";
    let percentile = text.parse::<f64>().map_err(|_| wanted.to_owned())?;
    if !(-100.0..=100.0).contains(&percentile) || percentile == 0.0 {
        return Err(wanted.into());
    }
    Ok(percentile)
}

/// A server to connect to, by name or address, and its port.
///
/// # Errors
///
/// What it takes.
pub fn server(text: &str) -> Result<String, String> {
    let server = server_or_group(text)?;
    if server.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_multicast()) {
        return Err("it takes a name or a unicast address, since TCP connects to no multicast group".into());
    }
    Ok(server)
}

/// A server or a multicast group, by name or address, and its port.
///
/// # Errors
///
/// What it takes.
pub fn server_or_group(text: &str) -> Result<String, String> {
    let wanted = "it takes HOST:PORT, as in graphite.example:2003, 192.0.2.2:2003 or [2001:db8::2]:2003";
    let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| is_port(port)) else {
        return Err(wanted.into());
    };
    if let Some((address, interface, _)) = scoped(text) {
        return match is_interface(interface) {
            _ if address.is_multicast() => {
                Err("it takes a group without %: its interface has a key, or a flag, of its own".into())
            }
            true if address.is_unicast_link_local() => Ok(text.into()),
            true => Err("it takes % and an interface only behind a link-local address, fe80::/10".into()),
            false => Err(wanted.into()),
        };
    }
    match address_of(host) {
        Some(IpAddr::V4(address)) if address.is_broadcast() => {
            Err("it takes one server or a multicast group, since nothing here broadcasts".into())
        }
        Some(IpAddr::V6(address)) if address.is_unicast_link_local() => Err(format!(
            "it takes a link-local address with its interface behind it, as in [{address}%eth0]:{port}"
        )),
        None if host.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) => {
            Err(format!("{wanted}; [{host}]:{port} would be right"))
        }
        None if !is_name(host) => Err(wanted.into()),
        _ => Ok(text.into()),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_interface(text: &str) -> bool {
    !text.is_empty() && !text.contains(|letter: char| letter.is_whitespace() || "[]%/\0".contains(letter))
}

fn is_name(text: &str) -> bool {
    let is_good = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_');
    !text.is_empty() && text.chars().all(is_good)
}

/// An address, that of IPv6 in brackets.
fn address_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// A whole number within bounds, in words: at least `least`.
fn whole(text: &str, least: u32, wanted: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(wanted.into()),
    }
}

/// How many there may be: 0 to 4294967295.
///
/// # Errors
///
/// What it takes.
pub fn count(text: &str) -> Result<u32, String> {
    whole(text, 0, "it takes a whole number, 0 to 4294967295")
}

/// How many there may be: 1 to 4294967295.
///
/// # Errors
///
/// What it takes.
pub fn some(text: &str) -> Result<u32, String> {
    whole(text, 1, "it takes a whole number, 1 to 4294967295")
}

/// How many flushes something lives: at least one.
///
/// # Errors
///
/// What it takes.
pub fn life(text: &str) -> Result<u32, String> {
    whole(text, 1, "it takes a whole number of flushes, 1 to 4294967295")
}

/// How many threads: 1 to 64.
///
/// # Errors
///
/// What it takes.
pub fn threads(text: &str) -> Result<u32, String> {
    let wanted = "it takes a whole number of threads, 1 to 64";
    whole(text, 1, wanted).and_then(|threads| if threads <= 64 { Ok(threads) } else { Err(wanted.into()) })
}

/// A file's mode, in octal.
///
/// # Errors
///
/// What it takes.
pub fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("it takes a mode in octal, in quotes, such as \"0660\"".into()),
    }
}

/// A bin's upper bound: a number, or `inf`.
///
/// # Errors
///
/// What it takes.
pub fn bound(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bound) if !bound.is_nan() && bound > f64::NEG_INFINITY => Ok(bound),
        _ => Err("it takes a number, or inf for whatever is above the others".into()),
    }
}

/// A listener's dialect.
///
/// # Errors
///
/// What it takes.
pub fn dialect(text: &str) -> Result<Dialect, String> {
    match text {
        "statsd" => Ok(Dialect::Statsd),
        "datadog" => Ok(Dialect::Datadog),
        _ => Err("it takes statsd or datadog".into()),
    }
}

/// How flushes are shown on standard output.
///
/// # Errors
///
/// What it takes.
pub fn console(text: &str) -> Result<Console, String> {
    match text {
        "pretty" => Ok(Console::Pretty),
        "json" => Ok(Console::Json),
        "none" => Ok(Console::None),
        _ => Err("it takes pretty, json or none".into()),
    }
}

/// How flushes are shown in a file.
///
/// # Errors
///
/// What it takes.
pub fn form(text: &str) -> Result<Form, String> {
    match text {
        "pretty" => Ok(Form::Pretty),
        "json" => Ok(Form::Json),
        _ => Err("it takes pretty or json".into()),
    }
}

/// Where HTTP goes to.
///
/// # Errors
///
/// What it takes.
pub fn url(text: &str) -> Result<String, String> {
    let wanted = "it takes a URL of HTTP, as in http://127.0.0.1:8086/write?db=metrics";
    let server =
        text.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    // A name and a password may stand before the server.
    let server = server.map(|server| server.rsplit_once('@').map_or(server, |(_, server)| server));
    let server = server.filter(|_| text.chars().all(|letter| letter.is_ascii_graphic())).ok_or(wanted)?;
    let host = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some(host).filter(|_| is_port(port)),
        _ => Some(server),
    };
    let host = host.ok_or(wanted)?;
    match address_of(host) {
        Some(address) if address.is_multicast() => {
            Err("it takes a name or a unicast address, since HTTP goes to no multicast group".into())
        }
        Some(IpAddr::V6(address)) if address.is_unicast_link_local() => Err(LINK_LOCAL.into()),
        None if scoped(&format!("{host}:1")).is_some() => Err(LINK_LOCAL.into()),
        None if !is_name(host) => Err(wanted.into()),
        _ => Ok(text.into()),
    }
}

const LINK_LOCAL: &str =
    "it takes a name or an address that is not link-local: a URL has no place for its interface";

/// A path.
///
/// # Errors
///
/// What it takes.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("it takes a path, in quotes".into());
    }
    Ok(text.into())
}

/// An interface, by name or address.
///
/// # Errors
///
/// What it takes.
pub fn interface(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("it takes an interface's name or address, as in eth0 or 192.0.2.2".into());
    }
    Ok(text.into())
}

/// What stands in a header of HTTP.
///
/// # Errors
///
/// What it takes.
pub fn token(text: &str) -> Result<String, String> {
    match text.chars().all(|letter| letter.is_ascii_graphic()) {
        true => Ok(text.into()),
        false => Err("it takes a token of visible ASCII characters, in quotes".into()),
    }
}

/// What stands before or behind names that Graphite knows: it takes white space for the end of one.
///
/// # Errors
///
/// What it takes.
pub fn affix(text: &str) -> Result<String, String> {
    match text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        true => Err("it takes a string, in quotes, without white space".into()),
        false => Ok(text.into()),
    }
}

/// Any text.
///
/// # Errors
///
/// None.
pub fn text(text: &str) -> Result<String, String> {
    Ok(text.into())
}

/// Whether.
///
/// # Errors
///
/// What it takes.
pub fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it takes true or false".into())
}

/// What is told of timers, as the original calls it.
///
/// # Errors
///
/// What it takes.
pub fn statistic(text: &str) -> Result<String, String> {
    let all = [
        "std",
        "upper",
        "lower",
        "count",
        "count_ps",
        "sum",
        "sum_squares",
        "mean",
        "median",
        "histogram",
        "count_percent",
        "mean_percent",
        "upper_percent",
        "lower_percent",
        "sum_percent",
        "sum_squares_percent",
    ];
    if all.contains(&text) { Ok(text.into()) } else { Err(format!("it takes one of {}", all.join(", "))) }
}

/// How Graphite is spoken to.
///
/// # Errors
///
/// What it takes.
pub fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "text" => Ok(Protocol::Text),
        "pickle" => Ok(Protocol::Pickle),
        _ => Err("it takes text or pickle".into()),
    }
}

/// Whether names in Graphite are the original's old ones.
///
/// # Errors
///
/// What it takes.
pub fn namespace(text: &str) -> Result<bool, String> {
    match text {
        "legacy" => Ok(true),
        "new" => Ok(false),
        _ => Err("it takes legacy or new".into()),
    }
}
