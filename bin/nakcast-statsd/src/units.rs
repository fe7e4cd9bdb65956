//! Quantities as people type them.

use std::net::SocketAddr;
use std::time::Duration;

/// A number and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    number.parse().ok().map(|number| (number, unit))
}

/// A flush interval: `10`, `0.5`, `500ms`, `2m`; from 10 ms to a day.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
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
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
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

/// Where to listen for unicast.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let wanted = "it takes ADDR:PORT, as in 127.0.0.1:8125, 0.0.0.0:8125 or [::1]:8125";
    let address = text.parse::<SocketAddr>().map_err(|_| wanted.to_owned())?;
    if address.ip().is_multicast() {
        return Err(format!("{} is a multicast address, which --group takes", address.ip()));
    }
    Ok(address)
}

/// A multicast group.
pub(crate) fn group(text: &str) -> Result<SocketAddr, String> {
    let wanted = "it takes ADDR:PORT, as in 239.255.77.2:8125 or [ff15::4d]:8125";
    let address = text.parse::<SocketAddr>().map_err(|_| wanted.to_owned())?;
    if !address.ip().is_multicast() {
        return Err(format!("{} is not a multicast address; --listen takes unicast ones", address.ip()));
    }
    if address.port() == 0 {
        return Err("port 0 is no port; it takes one from 1 to 65535".into());
    }
    Ok(address)
}

/// A percentile: -100 to 100, not 0.
pub(crate) fn percentile(text: &str) -> Result<f64, String> {
    let wanted = "it takes a number from -100 to 100, and not 0, as in 90, 99.9 or -10";
    let percentile = text.parse::<f64>().map_err(|_| wanted.to_owned())?;
    if !(-100.0..=100.0).contains(&percentile) || percentile == 0.0 {
        return Err(wanted.into());
    }
    Ok(percentile)
}

/// A server by name or address, and its port.
pub(crate) fn server(text: &str) -> Result<String, String> {
    let wanted = "it takes HOST:PORT, as in graphite.example:2003, 192.0.2.2:2003 or [2001:db8::2]:2003";
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.into())
        }
        _ => Err(wanted.into()),
    }
}
