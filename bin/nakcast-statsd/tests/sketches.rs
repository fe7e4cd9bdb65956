//! What there is too much of to be kept: timers become sketches and sets estimates, whose errors are known.

use nakcast_statsd::digits::Js;
use nakcast_statsd::distinct::{self, STANDARD_ERROR};
use nakcast_statsd::flush::Snapshot;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::console::{self, Form};
use nakcast_statsd::output::graphite::Names;
use nakcast_statsd::output::influx;
use nakcast_statsd::output::prometheus::{Exposition, Mapping};
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::sketch::{BYTES, ERROR};
use nakcast_statsd::timer::{Bins, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;

fn plan() -> Plan {
    let bins = |bounds: &[f64]| Bins { metric: String::new(), bounds: bounds.to_vec() };
    let list = [90.0, 50.0, 99.9, 100.0, 0.1, -10.0, -100.0];
    Plan::new(&list, &[bins(&[-100.0, 1.0, 10.0, 1000.0, f64::INFINITY])], &[]).unwrap()
}

/// What becomes of lines with these limits.
fn flush(limits: Limits, plan: Plan, lines: impl Iterator<Item = String>) -> Snapshot {
    let mut shard = Shard::new(limits, Idle::default());
    lines.for_each(|line| shard.datagram(line.as_bytes(), false, Dialect::Statsd));
    Snapshot::keeping(vec![shard.take()], &Arc::new(plan), 1000, 10.0, true)
}

fn statistics(snapshot: &Snapshot, timer: usize) -> BTreeMap<&str, f64> {
    let timer = &snapshot.timers[timer];
    let fields = timer.fields.iter().chain(&timer.bins);
    fields.map(|&(name, value)| (snapshot.plan.name(name), value)).collect()
}

/// Values over six decades, some of them below 0 if so wished.
fn values(n: usize, negative: bool) -> impl Iterator<Item = f64> {
    let mut state = 7_u64;
    (0..n).map(move |_| {
        state = state * 16807 % 2_147_483_647;
        let part = state as f64 / 2_147_483_647.0;
        let sign = if negative && state.is_multiple_of(3) { -1.0 } else { 1.0 };
        sign * (10_f64.powf(part * 6.0 - 2.0) * 1000.0).round() / 1000.0
    })
}

fn is_near(told: f64, exact: f64, part: f64) -> bool {
    (told - exact).abs() <= exact.abs() * part
}

#[test]
fn a_sketch_is_within_its_bound_and_what_has_no_order_is_exact() {
    for negative in [false, true] {
        let lines = || values(50_000, negative).map(|value| format!("t:{}|d|@0.5", Js(value)));
        let exact = flush(Limits::default(), plan(), lines());
        let told = flush(Limits { timer_values: 1000, ..Limits::default() }, plan(), lines());
        let (exact, told) = (statistics(&exact, 0), statistics(&told, 0));
        assert_eq!(told["sketched"], 1.0);
        assert!(!exact.contains_key("sketched"));
        assert_eq!(told.len(), exact.len() + 1);
        for (&name, &value) in &exact {
            let told = told[name];
            let is_good = match name {
                "count" | "count_ps" | "upper" | "lower" | "count_90" | "upper_100" | "lower_top100" => {
                    told == value
                }
                "histogram.bin_inf" | "histogram.bin_1" | "histogram.bin_10" | "histogram.bin_1000"
                | "histogram.bin_-100" => {
                    // Those within the error of a bound may be on its other side.
                    is_near(told, value, 0.02) || (told - value).abs() < 200.0
                }
                "std" | "sum" | "sum_squares" | "mean" | "sum_100" | "sum_squares_100" | "mean_100"
                | "sum_top100" | "sum_squares_top100" | "mean_top100" => is_near(told, value, 1e-9),
                name if name.starts_with("count_") => told == value,
                name if name.starts_with("sum_squares") => is_near(told, value, 2.0 * ERROR + ERROR * ERROR),
                // Of sums of either sign there is no such bound.
                name if negative && (name.starts_with("sum") || name.starts_with("mean")) => true,
                _ => is_near(told, value, ERROR * (1.0 + 1e-9)),
            };
            assert!(is_good, "{name}: {told} for {value}, negative: {negative}");
        }
    }
}

#[test]
fn up_to_the_limit_nothing_is_otherwise() {
    let lines = || values(1000, true).map(|value| format!("t:{}|d|@0.3", Js(value)));
    let exact = flush(Limits::default(), plan(), lines());
    let told = flush(Limits { timer_values: 1000, ..Limits::default() }, plan(), lines());
    assert_eq!(told.timers, exact.timers);
    assert_eq!(told.sketched(), 0);
    let one_more = flush(Limits { timer_values: 999, ..Limits::default() }, plan(), lines());
    assert_eq!(one_more.sketched(), 1);
}

#[test]
fn a_sketch_is_of_one_interval_and_its_bounds_are_those_of_what_came() {
    let limits = Limits { timer_values: 2, ..Limits::default() };
    let mut shard = Shard::new(limits, Idle::default());
    let plan = Arc::new(Plan::default());
    for (values, expected) in [
        ("7:7:7", (7.0, 7.0, 7.0)),
        ("1:2", (1.0, 1.5, 2.0)),
        ("0:0:0:0", (0.0, 0.0, 0.0)),
        ("1e300:1e300:1e300", (1e300, 1e300, 1e300)),
    ] {
        shard.datagram(format!("t:{values}|ms").as_bytes(), false, Dialect::Statsd);
        let snapshot = Snapshot::new(vec![shard.take()], &plan, 0, 10.0);
        let told = statistics(&snapshot, 0);
        assert_eq!((told["lower"], told["median"], told["upper"]), expected, "{values}");
        assert_eq!(told.contains_key("sketched"), values != "1:2", "{values}");
    }
    // Told also where only others are chosen.
    let chosen = Plan::new(&[90.0], &[], &["count".into()]).unwrap();
    let snapshot = flush(limits, chosen, ["t:1:2:3|ms".to_owned()].into_iter());
    assert_eq!(statistics(&snapshot, 0).into_keys().collect::<Vec<_>>(), ["count", "sketched"]);
}

#[test]
fn when_room_is_used_up_sketches_make_some_and_beyond_them_samples_are_counted() {
    let limits = Limits { samples: 10, sketches: 1, ..Limits::default() };
    let lines = ["a:1:2:3:4:5:6|ms", "b:1:2:3:4:5|ms", "b:6:7:8:9|ms", "a:7:8|ms", "b:10:11|ms", "c:1|ms"];
    let snapshot = flush(limits, Plan::default(), lines.into_iter().map(String::from));
    // b had no room, and became a sketch; its five places are then a's and c's.
    let counts = snapshot.timers.iter().map(|timer| (timer.is_sketched(), timer.samples.len()));
    assert_eq!(counts.collect::<Vec<_>>(), [(false, 8), (true, 11), (false, 1)]);
    assert_eq!(snapshot.tally.excess_samples, 0);
    let lines = ["a:1:2:3:4:5:6|ms", "b:1:2:3:4:5|ms", "c:1:2:3:4:5|ms"];
    let snapshot = flush(limits, Plan::default(), lines.into_iter().map(String::from));
    assert_eq!(snapshot.timers[2].samples.len(), 4);
    assert_eq!(snapshot.tally.excess_samples, 1);
    assert_eq!(statistics(&snapshot, 2)["count"], 5.0);
    // With too many sketches a timer stays exact while there is room.
    let limits = Limits { timer_values: 2, sketches: 1, ..Limits::default() };
    let snapshot = flush(limits, Plan::default(), ["a:1:2:3|ms\nb:1:2:3|ms".to_owned()].into_iter());
    assert_eq!((snapshot.timers[0].is_sketched(), snapshot.timers[1].is_sketched()), (true, false));
    assert_eq!(statistics(&snapshot, 1)["count"], 3.0);
    assert_eq!(BYTES, 64 << 10);
}

#[test]
fn every_output_says_which_timers_they_were() {
    let limits = Limits { timer_values: 2, ..Limits::default() };
    let lines = ["a:1:2:3|ms|#k:v\nb:1:2|ms".to_owned()];
    let snapshot = flush(limits, Plan::default(), lines.into_iter());
    let json: serde_json::Value = serde_json::from_str(&console::text(&snapshot, Form::Json)).unwrap();
    assert_eq!(json["timer_data"]["a;k=v"]["sketched"], 1);
    assert_eq!(json["timer_data"]["b"]["sketched"], serde_json::Value::Null);
    assert_eq!(json["statsd"]["sketched_timers"], 1);
    let pretty = console::text(&snapshot, Form::Pretty);
    assert!(pretty.contains(", 1 timers by sketch, within 0.78%;"), "{pretty}");
    let mut rows = Vec::new();
    Names::default().rows(&snapshot, |path, value| rows.push(format!("{path} {value}")));
    let sketched = rows.into_iter().filter(|row| row.contains("sketched")).collect::<Vec<_>>();
    assert_eq!(sketched, ["stats.timers.a.sketched;k=v 1", "stats.statsd.sketched_timers 1"]);
    let text = String::from_utf8(influx::lines(&snapshot, "statsd")).unwrap();
    assert_eq!(text.matches("sketched=1").count(), 1, "{text}");
    assert!(text.contains("sketched_timers=1"), "{text}");
    let rules = "defaults: {observer_type: histogram, buckets: [0.0025]}\nmappings:\n- {match: b, name: b, observer_type: summary, quantiles: [{quantile: 0.9}]}\n- {match: c, name: c}";
    let mut exposition = Exposition::new(100);
    exposition.map(100, Some(&Arc::new(Mapping::parse(rules).unwrap().0)));
    exposition.add(&flush(
        limits,
        Plan::default(),
        ["a:1:2:3|ms|#k:v\nb:1:2:3|ms\nc:1|h".to_owned()].into_iter(),
    ));
    let text = exposition.text();
    for line in [
        "nakcast_statsd_sketched_timer{series=\"a;k=v\"} 1",
        "nakcast_statsd_sketched_timer{series=\"b\"} 1",
        "a_bucket{k=\"v\",le=\"0.0025\"} 2",
        "a_sum{k=\"v\"} 0.006",
        "a_count{k=\"v\"} 3",
        "b{quantile=\"0.9\"} 0.003",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    assert!(!text.contains("series=\"c\""), "{text}");
}

fn members(name: &str, of: std::ops::Range<u32>) -> impl Iterator<Item = String> + use<> {
    let name = name.to_owned();
    of.map(move |member| format!("{name}:user-{member}|s"))
}

#[test]
fn a_large_set_is_estimated_within_its_error() {
    let limits = Limits { set_members: 1000, ..Limits::default() };
    let mut worst: f64 = 0.0;
    let mut squares = 0.0;
    // Each of its own members.
    let sizes = [2000, 5000, 10_000, 20_000, 40_000, 80_000, 160_000];
    for (at, size) in sizes.into_iter().enumerate() {
        let first = at as u32 * 1_000_000;
        let lines = || members("s", first..first + size);
        // A member that comes again is the same.
        let set = flush(limits, Plan::default(), lines().chain(lines())).sets.remove(0);
        assert!(set.is_estimated);
        let error = (set.value / f64::from(size) - 1.0).abs() / STANDARD_ERROR;
        worst = worst.max(error);
        squares += error * error / sizes.len() as f64;
        assert_eq!(flush(limits, Plan::default(), lines()).sets[0].value, set.value, "as many every time");
    }
    assert!(worst < 3.0 && squares.sqrt() < 1.5, "{worst} {squares}");
    assert_eq!(distinct::BYTES, 16 << 10);
}

#[test]
fn a_set_is_exact_up_to_the_limit() {
    let limits = Limits { set_members: 1000, ..Limits::default() };
    let lines = || members("s", 0..1000);
    let set = flush(limits, Plan::default(), lines().chain(lines())).sets.remove(0);
    assert_eq!((set.value, set.is_estimated), (1000.0, false));
    assert!(flush(limits, Plan::default(), members("s", 0..1001)).sets[0].is_estimated);
    // An estimate is of one interval.
    let mut shard = Shard::new(Limits { set_members: 1, ..limits }, Idle::default());
    for (lines, expected) in [("s:a|s\ns:b|s\ns:c|s", (3, true)), ("s:a|s", (1, false)), ("", (0, false))] {
        shard.datagram(lines.as_bytes(), false, Dialect::Statsd);
        let (_, told) = shard.take().sets.remove(0);
        assert_eq!((told.count, told.is_estimated), expected, "{lines}");
    }
}

#[test]
fn when_room_is_used_up_estimates_make_some_and_beyond_them_members_are_counted() {
    // For three members of one byte.
    let limits = Limits { member_bytes: 99, estimates: 1, ..Limits::default() };
    let lines = "a:1|s\na:2|s\nb:1|s\nb:2|s\na:3|s\nc:1|s\nc:2|s\nc:1|s\nb:3|s";
    let snapshot = flush(limits, Plan::default(), [lines.to_owned()].into_iter());
    // b had no room, and became an estimate; its place was then a's.
    let told = snapshot.sets.iter().map(|set| (set.value, set.is_estimated)).collect::<Vec<_>>();
    assert_eq!(told, [(3.0, false), (3.0, true), (0.0, false)]);
    assert_eq!(snapshot.tally.excess_members, 3);
    let limits = Limits { set_members: 1, estimates: 1, ..Limits::default() };
    let lines = "a:1|s\na:2|s\nb:1|s\nb:2|s";
    let snapshot = flush(limits, Plan::default(), [lines.to_owned()].into_iter());
    let told = snapshot.sets.iter().map(|set| (set.value, set.is_estimated)).collect::<Vec<_>>();
    assert_eq!(told, [(2.0, true), (2.0, false)]);
}

#[test]
fn every_output_says_which_sets_they_were() {
    let limits = Limits { set_members: 1, ..Limits::default() };
    let lines = ["a:1|s|#k:v\na:2|s|#k:v\nb:1|s".to_owned()];
    let snapshot = flush(limits, Plan::default(), lines.into_iter());
    let json: serde_json::Value = serde_json::from_str(&console::text(&snapshot, Form::Json)).unwrap();
    assert_eq!(json["estimated_sets"], serde_json::json!(["a;k=v"]));
    assert_eq!((&json["sets"]["a;k=v"], &json["statsd"]["estimated_sets"]), (&2.into(), &1.into()));
    let pretty = console::text(&snapshot, Form::Pretty);
    assert!(pretty.contains(", 1 sets estimated, standard error 0.81%;"), "{pretty}");
    assert!(pretty.contains("  set      a;k=v  about 2\n  set      b  1\n"), "{pretty}");
    let mut rows = Vec::new();
    Names::default().rows(&snapshot, |path, value| rows.push(format!("{path} {value}")));
    let estimated = rows.into_iter().filter(|row| row.contains("estimated")).collect::<Vec<_>>();
    assert_eq!(estimated, ["stats.sets.a.estimated;k=v 1", "stats.statsd.estimated_sets 1"]);
    let text = String::from_utf8(influx::lines(&snapshot, "statsd")).unwrap();
    assert!(text.contains("a,k=v,metric_type=set count=2,estimated=1 1000\n"), "{text}");
    assert!(text.contains("b,metric_type=set count=1 1000\n"), "{text}");
    let mut exposition = Exposition::new(100);
    exposition.add(&snapshot);
    let text = exposition.text();
    assert!(text.contains("\nnakcast_statsd_estimated_set{series=\"a;k=v\"} 1\n"), "{text}");
    assert!(!text.contains("series=\"b\""), "{text}");
}
