//! The figures of one run, and their medians.

use super::side::decode;
use crate::exit::Failure;
use crate::latency::{self, Split};
use crate::plan::Case;
use hdrhistogram::Histogram;
use serde_json::{Map, Value};

/// Of a thousand datagrams the raw sockets may lose so many: where they lose more, they waited to be told so, and show no limit.
const RAW_LOST: f64 = 1.0;

/// What the raw sockets told.
pub(super) struct Raw {
    /// The sender of the limit.
    pub(super) limit: Value,
    /// The sender of the open loop, and its receivers, where there is one.
    pub(super) one_way: Option<(Value, Vec<Value>)>,
}

/// One run.
pub(super) struct Round {
    case: Case,
    published: Value,
    received: Vec<Value>,
    /// Of all subscribers.
    pub(super) latency: Histogram<u64>,
    /// The same in two parts, where the kernel was asked.
    split: Option<Split>,
    raw: Option<Value>,
    /// Of all raw receivers; and the datagrams they did not get, and those that were due and not sent.
    pub(super) raw_latency: Option<Histogram<u64>>,
    raw_one_way: [(&'static str, u64); 2],
}

impl Round {
    pub(super) fn new(case: Case, published: Value, received: Vec<Value>) -> Result<Round, Failure> {
        let latency = merged(&received, "latency")?;
        let [to, from] = Split::PARTS;
        let split = match received.first() {
            Some(side) if side[to].is_string() => {
                Some(Split { to_kernel: merged(&received, to)?, from_kernel: merged(&received, from)? })
            }
            _ => None,
        };
        Ok(Round {
            case,
            published,
            received,
            latency,
            split,
            raw: None,
            raw_latency: None,
            raw_one_way: Default::default(),
        })
    }

    pub(super) fn set_raw(&mut self, raw: Raw) -> Result<(), Failure> {
        if let Some((sender, receivers)) = raw.one_way {
            self.raw_latency = Some(merged(&receivers, "latency")?);
            let lost = receivers.iter().map(|side| whole(side, "lost")).sum();
            self.raw_one_way = [("raw_latency_lost", lost), ("raw_latency_unsent", whole(&sender, "unsent"))];
        }
        self.raw = Some(raw.limit);
        Ok(())
    }

    pub(super) fn sent(&self) -> u64 {
        whole(&self.published, "sent")
    }

    /// By all subscribers together.
    pub(super) fn received(&self) -> u64 {
        self.of_subscribers("received")
    }

    pub(super) fn lost(&self) -> u64 {
        self.of_subscribers("lost")
    }

    fn of_subscribers(&self, name: &str) -> u64 {
        self.received.iter().map(|side| whole(side, name)).sum()
    }

    /// Bytes of a datagram of ours, on average.
    pub(super) fn datagram_size(&self) -> usize {
        let datagrams = whole(&self.published, "datagrams").max(1);
        (whole(&self.published, "datagram_bytes") as f64 / datagrams as f64).round() as usize
    }

    /// Every figure by its name; null where there was nothing to measure it by.
    pub(super) fn figures(&self) -> Map<String, Value> {
        let (sent, subscribers) = (self.sent() as f64, self.received.len() as f64);
        // Of several the slowest counts.
        // From the first to the last: of one alone there is no rate.
        let rate = |side: &Value| match whole(side, "received") {
            0 if sent > 0.0 => 0.0,
            0 | 1 => f64::NAN,
            received => (received - 1) as f64 / number(side, "seconds"),
        };
        let rate = self.received.iter().map(rate).min_by(f64::total_cmp).unwrap_or(f64::NAN);
        let bytes = rate * self.case.size as f64;
        let cpu = |side: &Value, name| number(&side["cpu"], name);
        let of_publisher = |name| cpu(&self.published, name) * 1e6 / sent;
        let of_subscriber = |name| {
            let used: f64 = self.received.iter().map(|side| cpu(side, name)).sum();
            used * 1e6 / self.received() as f64
        };
        let publisher_calls = number(&self.published, "calls") / sent;
        let subscriber_calls = self.of_subscribers("calls") as f64 / subscribers / sent;

        let mut figures = Map::new();
        let mut count = |name: &str, value: u64| figures.insert(name.into(), value.into());
        count("sent", self.sent());
        count("unsent", whole(&self.published, "unsent"));
        count("received", self.received());
        count("lost", self.lost());
        count("datagrams", whole(&self.published, "datagrams"));
        count("publisher_repairs", whole(&self.published, "repairs"));
        count("publisher_naks", whole(&self.published, "naks"));
        count("subscriber_kernel_drops", self.of_subscribers("kernel_drops"));
        count("datagram_size", self.datagram_size() as u64);
        count("latency_timed", self.latency.len());
        if let Some(raw) = &self.raw {
            count("raw_lost", whole(raw, "lost"));
        }
        figures.insert("confirmed".into(), self.published["confirmed"].clone());

        let mut add = |name: &str, value: f64| figures.insert(name.into(), value.into());
        add("sending_seconds", number(&self.published, "seconds"));
        add("messages_per_second", rate);
        add("bytes_per_second", bytes);
        let limit = self
            .raw
            .as_ref()
            .filter(|raw| number(raw, "lost") * 1e3 <= RAW_LOST * subscribers * number(raw, "sent"));
        let raw = |name| limit.map_or(f64::NAN, |raw| number(raw, name));
        let raw_bytes = raw("datagrams_per_second") * raw("size");
        add("raw_datagrams_per_second", raw("datagrams_per_second"));
        add("raw_bytes_per_second", raw_bytes);
        add("ratio_to_raw", bytes / raw_bytes);
        add("cpu_seconds_per_million_publisher", of_publisher("user") + of_publisher("system"));
        add("cpu_seconds_per_million_publisher_user", of_publisher("user"));
        add("cpu_seconds_per_million_publisher_system", of_publisher("system"));
        add("cpu_seconds_per_million_subscriber", of_subscriber("user") + of_subscriber("system"));
        add("cpu_seconds_per_million_subscriber_user", of_subscriber("user"));
        add("cpu_seconds_per_million_subscriber_system", of_subscriber("system"));
        add("raw_cpu_seconds_per_million_datagrams_sender", raw("cpu_per_datagram_sender") * 1e6);
        add("raw_cpu_seconds_per_million_datagrams_receiver", raw("cpu_per_datagram_receiver") * 1e6);
        // Of all sides together, for as many datagrams.
        let ours = of_publisher("user")
            + of_publisher("system")
            + subscribers * (of_subscriber("user") + of_subscriber("system"));
        let raw_cpu = raw("cpu_per_datagram_sender") + subscribers * raw("cpu_per_datagram_receiver");
        let datagrams = whole(&self.published, "datagrams") as f64;
        add("cpu_ratio_to_raw", ours / 1e6 * sent / (raw_cpu * datagrams));
        add("syscalls_per_message", publisher_calls + subscriber_calls);
        add("syscalls_per_message_publisher", publisher_calls);
        add("syscalls_per_message_subscriber", subscriber_calls);
        add("raw_syscalls_per_datagram", raw("calls_per_datagram"));
        figures.extend(latency::fields("latency_", &self.latency));
        for (name, part) in Split::PARTS.into_iter().zip(self.split.iter().flat_map(Split::parts)) {
            figures.insert(format!("{name}latency_timed"), part.len().into());
            figures.extend(latency::fields(&format!("{name}latency_"), part));
        }
        if let Some(latency) = &self.raw_latency {
            figures.insert("raw_latency_timed".into(), latency.len().into());
            figures.extend(self.raw_one_way.map(|(name, value)| (name.into(), value.into())));
            figures.extend(latency::fields("raw_latency_", latency));
        }
        figures
    }
}

/// What is added up over the runs; of all else the median is told.
const COUNTS: [&str; 7] =
    ["sent", "unsent", "received", "lost", "raw_lost", "raw_latency_lost", "raw_latency_unsent"];

/// The median of each figure; of two in the middle the lower one. What was sent, received and lost is added up,
/// and what is to be so must be so every time.
pub(super) fn medians(rounds: &[Map<String, Value>]) -> Map<String, Value> {
    let mut medians = Map::new();
    for name in rounds.first().into_iter().flat_map(Map::keys) {
        let mut values: Vec<&Value> = rounds.iter().filter_map(|figures| figures.get(name)).collect();
        if COUNTS.contains(&name.as_str()) {
            let total: u64 = values.iter().filter_map(|value| value.as_u64()).sum();
            medians.insert(name.clone(), total.into());
            continue;
        }
        if values.iter().any(|value| value.is_boolean()) {
            medians.insert(name.clone(), values.iter().all(|value| **value == true).into());
            continue;
        }
        // What was not measured is no figure of any run.
        if values.iter().any(|value| value.is_number()) {
            values.retain(|value| value.is_number());
        }
        let rank = |value: &Value| value.as_f64().unwrap_or(f64::MIN);
        values.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        let median = values.get(values.len().saturating_sub(1) / 2).copied();
        medians.insert(name.clone(), median.cloned().unwrap_or_default());
    }
    medians
}

/// The latencies of several sides, under the name they have there.
fn merged(sides: &[Value], name: &str) -> Result<Histogram<u64>, Failure> {
    let mut all = latency::histogram()?;
    for side in sides {
        let histogram = decode(side[name].as_str().unwrap_or_default())?;
        all.add(histogram).map_err(Failure::at_run_time)?;
    }
    Ok(all)
}

fn number(side: &Value, name: &str) -> f64 {
    side[name].as_f64().unwrap_or(f64::NAN)
}

fn whole(side: &Value, name: &str) -> u64 {
    side[name].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Load;
    use serde_json::json;

    #[test]
    fn what_was_not_measured_is_no_figure_of_a_run() {
        let median = |values: &[Value]| {
            let rounds: Vec<_> =
                values.iter().map(|value| Map::from_iter([("a".into(), value.clone())])).collect();
            medians(&rounds)["a"].clone()
        };
        let runs = [json!(null), json!(9), json!(5), json!(null), json!(7)];
        assert_eq!([median(&runs), median(&runs[..1])], [json!(7), json!(null)]);
    }

    fn side(received: u64, lost: u64, seconds: f64, latencies: &[u64]) -> Value {
        let mut histogram = latency::histogram().unwrap();
        latencies.iter().for_each(|latency| histogram.record(*latency).unwrap());
        json!({
            "received": received, "lost": lost, "seconds": seconds, "cpu": {"user": 0.25, "system": 0.5}, "calls": 100,
            "kernel_drops": 0, "latency": super::super::side::encode(&histogram).unwrap(),
        })
    }

    fn published(sent: u64) -> Value {
        json!({
            "sent": sent, "seconds": 2.0, "confirmed": true, "cpu": {"user": 1.0, "system": 3.0}, "calls": 500,
            "datagrams": 100, "datagram_bytes": 140_750, "repairs": 0, "naks": 0,
        })
    }

    fn round() -> Round {
        let case = Case { size: 100, load: Load::Max };
        let sides = vec![side(1_000, 0, 2.0, &[10, 20]), side(900, 100, 3.0, &[30])];
        Round::new(case, published(1_000), sides).unwrap()
    }

    #[test]
    fn the_slowest_subscriber_counts_and_what_they_use_is_averaged() {
        let mut round = round();
        let limit = json!({
            "size": 1_408, "datagrams_per_second": 500.0, "cpu_per_datagram_sender": 1e-7,
            "cpu_per_datagram_receiver": 2e-7, "calls_per_datagram": 0.5, "sent": 1_000, "lost": 2,
        });
        round.set_raw(Raw { limit: limit.clone(), one_way: None }).unwrap();
        assert_eq!(round.datagram_size(), 1_408);
        let figures = round.figures();
        for (name, value) in [
            ("messages_per_second", 899.0 / 3.0),
            ("bytes_per_second", 89_900.0 / 3.0),
            ("raw_bytes_per_second", 704_000.0),
            ("ratio_to_raw", 89_900.0 / 3.0 / 704_000.0),
            ("cpu_seconds_per_million_publisher", 4_000.0),
            ("cpu_seconds_per_million_publisher_user", 1_000.0),
            ("cpu_seconds_per_million_subscriber", 1.5e6 / 1_900.0),
            ("syscalls_per_message", 0.6),
        ] {
            let told = figures[name].as_f64().unwrap();
            assert!((told - value).abs() < 1e-9 * value.abs(), "{name}: {told}");
        }
        assert_eq!((&figures["received"], &figures["lost"]), (&1_900.into(), &100.into()));
        assert_eq!((&figures["latency_timed"], &figures["latency_max_ns"]), (&3.into(), &30.into()));
        assert_eq!(figures["raw_lost"], 2, "of two thousand that were to come");
        // One more, and they show no limit.
        let mut limit = limit;
        limit["lost"] = 3.into();
        let one_way =
            Some((json!({"sent": 9, "unsent": 7}), vec![side(2, 3, 1.0, &[5]), side(1, 1, 1.0, &[5])]));
        round.set_raw(Raw { limit, one_way }).unwrap();
        let figures = round.figures();
        for name in ["raw_bytes_per_second", "ratio_to_raw", "cpu_ratio_to_raw", "raw_syscalls_per_datagram"]
        {
            assert_eq!(figures[name], Value::Null, "{name}");
        }
        let counts = ["raw_lost", "raw_latency_lost", "raw_latency_unsent"].map(|name| &figures[name]);
        assert_eq!(counts, [3, 4, 7]);
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let case = Case { size: 100, load: Load::Max };
        let round = Round::new(case, published(0), vec![side(0, 0, 0.0, &[])]).unwrap();
        let figures = round.figures();
        for name in ["messages_per_second", "ratio_to_raw", "raw_bytes_per_second", "latency_p50_ns"] {
            assert_eq!(figures[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn medians_are_of_each_figure_and_counts_add_up() {
        let figures = |sent: u64, rate: Value, confirmed: bool| {
            let Value::Object(figures) = json!({"sent": sent, "rate": rate, "confirmed": confirmed}) else {
                unreachable!("an object")
            };
            figures
        };
        let rounds =
            [figures(1, 9.0.into(), true), figures(2, 7.0.into(), true), figures(3, 8.0.into(), false)];
        let three = medians(&rounds);
        assert_eq!(
            (&three["sent"], &three["rate"], &three["confirmed"]),
            (&6.into(), &8.0.into(), &false.into())
        );
        assert_eq!(medians(&rounds[..2])["rate"], 7.0);
        assert!(medians(&[]).is_empty());
    }
}
