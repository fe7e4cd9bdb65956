//! Quantities as people type them: `10k`, `64M`, `1.5s`, `5%`.

use crate::pace::Load;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::time::Duration;

/// The least and the most messages a second: one in 1,000 seconds, and more than any machine sends.
const SLOWEST: f64 = 1e-3;
const FASTEST: f64 = 1e9;
/// The most subscribers that a publisher of this command knows: the library's default.
const MOST_SUBSCRIBERS: usize = 16_384;
/// The most subscribers and runs of a bench: each is a process, and takes its time.
const MOST_BENCH_SUBSCRIBERS: usize = 64;
const MOST_BENCH_TOPICS: usize = 1_000;
const MOST_RUNS: usize = 1_000;
/// The most publishers that a subscriber of this command knows: the library's default.
const MOST_PONGS: usize = 1_024;

/// A number and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite())?;
    Some((value, unit))
}

/// k, M and G by thousands.
fn thousands(text: &str) -> Option<f64> {
    let (value, unit) = split(text)?;
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" | "m" => 1e6,
        "G" | "g" => 1e9,
        _ => return None,
    };
    Some(value * factor)
}

/// Messages a second: `500`, `10k`, `1M`, `0.5`. One that no machine reaches is as fast as it goes.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let wanted = "it takes messages a second, 0.001 or more, as in 0.5, 500, 10k or 1M";
    match thousands(text) {
        Some(rate) if rate >= SLOWEST => Ok(rate.min(FASTEST)),
        Some(0.0) => Err(format!("at that rate nothing would ever be sent; {wanted}")),
        Some(_) => Err(format!("that is less than one message in 1,000 seconds; {wanted}")),
        None => Err(wanted.into()),
    }
}

/// Messages a second, or `max`.
pub(crate) fn load(text: &str) -> Result<Load, String> {
    match text {
        "max" => Ok(Load::Max),
        _ => rate(text).map(Load::Rate).map_err(|problem| format!("{problem}; or max, as fast as it goes")),
    }
}

/// Bits a second: `500k`, `100M`, `2.5G`, by thousands.
pub(crate) fn bits(text: &str) -> Result<u64, String> {
    let wanted = "it takes bits a second, 10k to 10000G, as in 500k, 100M or 2.5G";
    match thousands(text) {
        Some(rate) if (1e4..=1e13).contains(&rate) => Ok(rate as u64),
        Some(0.0) => Err(format!("at that rate nothing would ever be sent; {wanted}")),
        Some(rate) if rate < 1e4 => Err(format!("that is too little for the smallest datagrams; {wanted}")),
        Some(_) => Err(format!("that is more than any network carries; {wanted}")),
        None => Err(wanted.into()),
    }
}

/// A time to live.
pub(crate) fn hops(text: &str) -> Result<u32, String> {
    let hops = text.parse::<u8>().map_err(|_| "it takes a whole number from 0 to 255".to_owned())?;
    Ok(hops.into())
}

/// How many subscribers.
pub(crate) fn subscribers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= MOST_SUBSCRIBERS => Ok(number),
        _ => Err(format!(
            "it takes a whole number of subscribers from 0 to {MOST_SUBSCRIBERS}, which is how many a publisher knows"
        )),
    }
}

/// How many pongs: as many as the sources a subscriber knows.
pub(crate) fn pongs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_PONGS).contains(&number) => Ok(number),
        _ => Err(format!("it takes a whole number of pongs from 1 to {MOST_PONGS}")),
    }
}

/// How many subscribers a bench has.
pub(crate) fn bench_subscribers(text: &str) -> Result<usize, String> {
    whole(text, MOST_BENCH_SUBSCRIBERS, "subscribers")
}

/// How many topics a bench has.
pub(crate) fn bench_topics(text: &str) -> Result<usize, String> {
    whole(text, MOST_BENCH_TOPICS, "topics")
}

/// How often each is measured.
pub(crate) fn runs(text: &str) -> Result<usize, String> {
    whole(text, MOST_RUNS, "runs")
}

/// The number of a processor.
pub(crate) fn cpu(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it takes the number of a processor, from 0".into())
}

fn whole(text: &str, most: usize, what: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("it takes a whole number of {what} from 1 to {most}"))
}

/// What repeats a choice of datagrams.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("it takes a whole number from 0 to {}", u64::MAX))
}

/// How long the demo publishes.
pub(crate) fn demo_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Ok(time) if (0.1..=60.0).contains(&time.as_secs_f64()) => Ok(time),
        _ => Err("it takes seconds, 0.1 to 60, as in 10".into()),
    }
}

/// What each subscriber of the demo throws away.
pub(crate) fn demo_share(text: &str) -> Result<f64, String> {
    let share = percent(text).ok().filter(|share| *share <= 0.5);
    share.ok_or_else(|| "it takes a percentage from 0 to 50".into())
}

/// The interface, by name or address.
pub(crate) fn interface(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it takes the name or an address of an interface, as in eth0 or 192.0.2.2".into()),
        text => Ok(text.into()),
    }
}

/// One sender's address.
pub(crate) fn source(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_multicast() && !address.is_unspecified() => Ok(address),
        Ok(_) => Err("that is not an address one sender can have".into()),
        Err(_) => Err("it takes the IP address of one sender, as in 192.0.2.2".into()),
    }
}

/// How many: `1000`, `10k`, `1M`, by thousands; at least 1.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    match thousands(text) {
        // Beyond it not every whole number can be told from the next.
        Some(count) if count > (1_u64 << 53) as f64 => {
            Err("that is more than anybody waits for; it takes a whole number from 1 to 9007199254740992"
                .into())
        }
        Some(count) if count >= 1.0 && count.fract() == 0.0 => Ok(count as u64),
        _ => Err("it takes a whole number from 1, as in 1000, 10k or 1M".into()),
    }
}

/// Bytes: `1408`, `64k`, `64M`, `1G`, by 1,024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let wanted = "it takes a whole number of bytes, as in 1408, 64k, 64M or 1G (by 1,024)";
    let (value, unit) = split(text).ok_or(wanted)?;
    let factor = match unit.strip_suffix("iB").or(unit.strip_suffix('i')).unwrap_or(unit) {
        "" if unit.is_empty() => 1_u64,
        "k" | "K" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return Err(wanted.into()),
    };
    let bytes = value * factor as f64;
    match bytes {
        _ if bytes > (1_u64 << 52) as f64 => Err(format!("that is more than any machine has; {wanted}")),
        _ if bytes.fract() == 0.0 => Ok(bytes as usize),
        _ => Err(wanted.into()),
    }
}

/// Bytes of a transmit window.
pub(crate) fn window(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        bytes if (128 << 10..=1 << 40).contains(&bytes) => Ok(bytes),
        _ => Err("it takes 128k (131072 bytes) to 1024G, as in 64M".into()),
    }
}

/// A share, from a percentage: `10`, `0.5`, `10%`.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let wanted = "it takes a percentage from 0 to 100";
    match split(text) {
        Some((value, "" | "%")) if value <= 100.0 => Ok(value / 100.0),
        Some((_, "" | "%")) => Err(format!("{text} is more than everything; {wanted}")),
        _ => Err(wanted.into()),
    }
}

/// A time with its unit: `5ms`, `100us`, `1.5s`, `2m`, `1h`.
fn time(text: &str) -> Option<Duration> {
    let (value, unit) = split(text)?;
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Some(Duration::try_from_secs_f64(value * unit).unwrap_or(Duration::MAX))
}

/// Seconds, or a time with its unit.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let plain = split(text).filter(|(_, unit)| unit.is_empty());
    // What no duration can hold is too long in any case.
    let plain = plain.map(|(value, _)| Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX));
    // A year: more than anybody waits, and little enough to be reckoned with.
    let most = Duration::from_secs(365 * 86_400);
    match plain.or_else(|| time(text)) {
        Some(time) if time <= most => Ok(time),
        Some(_) => Err(
            "that is longer than a year; it takes seconds, as in 5 or 0.5, or a time with its unit, as in 2m"
                .into(),
        ),
        None => Err("it takes seconds, as in 5 or 0.5, or a time with its unit, as in 200ms or 2m".into()),
    }
}

/// The same, but more than none.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("in no time nothing can be measured; it takes seconds, as in 10 or 0.5".into()),
        time => Ok(time),
    }
}

/// A multicast group and port.
pub(crate) fn group(text: &str) -> Result<SocketAddr, String> {
    let group: SocketAddr = text
        .parse()
        .map_err(|_| "it takes ADDR:PORT, as in 239.255.77.1:7700 or [ff15::4d]:7700".to_owned())?;
    if !group.ip().is_multicast() {
        return Err(format!(
            "{} is not a multicast address; those are 224.0.0.0 to 239.255.255.255, and for IPv6 what begins with ff",
            group.ip()
        ));
    }
    if group.port() == 0 {
        return Err("port 0 is no port; it takes one from 1 to 65535".into());
    }
    Ok(group)
}

/// An IPv4 multicast group, and a port that two others come after.
pub(crate) fn group_of_three(text: &str) -> Result<SocketAddrV4, String> {
    match group(text)? {
        SocketAddr::V4(group) if group.port() <= u16::MAX - 2 => Ok(group),
        SocketAddr::V4(_) => {
            Err("the two ports after it are used as well; it takes one from 1 to 65533".into())
        }
        SocketAddr::V6(_) => Err(
            "the raw sockets that it is measured beside are IPv4; it takes a group as in 239.255.77.1:7700"
                .into(),
        ),
    }
}

/// A contract as it is typed.
pub(crate) fn contract_text(contract: nakcast::Contract) -> String {
    use nakcast::Contract;
    match contract {
        Contract::Ordered => "ordered".into(),
        Contract::Deadline(deadline) => format!("deadline={}us", deadline.as_nanos() as f64 / 1e3),
        Contract::Arrival => "arrival".into(),
        Contract::BestEffort => "best-effort".into(),
        other => format!("{other:?}"),
    }
}

/// A delivery contract.
pub(crate) fn contract(text: &str) -> Result<nakcast::Contract, String> {
    use nakcast::Contract;
    match text {
        "ordered" => Ok(Contract::Ordered),
        "arrival" => Ok(Contract::Arrival),
        "best-effort" => Ok(Contract::BestEffort),
        _ => match text.strip_prefix("deadline=").map(time) {
            Some(Some(Duration::ZERO)) => {
                Err("a deadline of 0 leaves no time to wait; that is what best-effort is for".into())
            }
            Some(Some(deadline)) => Ok(Contract::Deadline(deadline)),
            Some(None) => Err("a deadline takes a time with its unit, as in deadline=5ms".into()),
            None => {
                Err("it takes ordered, deadline=TIME (as in deadline=5ms), arrival or best-effort".into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_counts_go_by_thousands() {
        assert_eq!(rate("10k"), Ok(10_000.0));
        assert_eq!(rate("1M"), Ok(1e6));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(rate("0.001"), Ok(1e-3));
        assert_eq!(rate("99999999999999999999G"), Ok(FASTEST));
        assert_eq!((load("max"), load("10k")), (Ok(Load::Max), Ok(Load::Rate(10_000.0))));
        assert!(load("fast").unwrap_err().contains("or max"));
        for load_typed in [Load::Max, Load::Rate(0.5), Load::Rate(1e6), Load::Rate(123.456)] {
            assert_eq!(load(&load_typed.to_string()), Ok(load_typed), "as one process tells another");
        }
        assert!(rate("0").unwrap_err().contains("nothing would ever"));
        assert!(rate("0.0001").unwrap_err().contains("1,000 seconds"));
        for bad in ["0", "0k", "0.0009", "", "k", "-1", "1e3", "1kk", "inf", "nan", "1.2.3", " 1"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(bits("2.5G"), Ok(2_500_000_000));
        assert_eq!((bits("10k"), bits("10000G")), (Ok(10_000), Ok(10_000_000_000_000)));
        for bad in ["0", "9.9k", "10001G", "99999999999999999999G", "-1", "", "fast"] {
            assert!(bits(bad).is_err(), "{bad}");
        }
        assert_eq!(count("1M"), Ok(1_000_000));
        assert_eq!(count("1.5k"), Ok(1_500));
        assert_eq!(count("9007199254740992"), Ok(1 << 53));
        for bad in ["0", "1.5", "-1", "ten", "9007199254740994", "20000000000G", "99999999999999999999999"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_go_by_1024() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("1408"), Ok(1_408));
        for same in ["64M", "64m", "64Mi", "64MiB", "65536k"] {
            assert_eq!(bytes(same), Ok(64 << 20), "{same}");
        }
        for bad in ["", "M", "1.3", "64T", "-1", "64MB", "i", "1i", "99999999G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_end_at_100() {
        assert_eq!(percent("0"), Ok(0.0));
        assert_eq!(percent("5%"), Ok(0.05));
        assert_eq!(percent("100"), Ok(1.0));
        for bad in ["101", "100.1%", "-1", "five", "5%%", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "-1", "5x", "1e9", "9999999999", "99999999999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn contracts() {
        use nakcast::Contract;
        assert_eq!(contract("deadline=5ms"), Ok(Contract::Deadline(Duration::from_millis(5))));
        assert_eq!(contract("best-effort"), Ok(Contract::BestEffort));
        for typed in ["ordered", "deadline=5000us", "arrival", "best-effort"] {
            assert_eq!(contract_text(contract(typed).unwrap()), typed);
        }
        for bad in ["", "deadline", "deadline=", "deadline=5", "deadline=0s", "Ordered"] {
            assert!(contract(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups() {
        assert!(group("239.255.77.1:7700").is_ok());
        assert!(group("[ff15::4d]:7700").is_ok());
        for bad in ["10.0.0.1:5", "239.255.77.1:0", "239.255.77.1", "239.255.77.1:99999", "x:1", "[::1]:7700"]
        {
            assert!(group(bad).is_err(), "{bad}");
        }
    }
}
