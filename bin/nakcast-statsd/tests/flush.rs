//! What STATSD.md says of aggregation and flushes, statement by statement.

use nakcast_statsd::digits::Js;
use nakcast_statsd::flush::{Snapshot, Timer};
use nakcast_statsd::line::Dialect;
use nakcast_statsd::shard::{Idle, Limits, Shard};
use nakcast_statsd::timer::{Bins, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A shard that hears lines, and is flushed every ten seconds.
struct Server {
    shard: Shard,
    plan: Arc<Plan>,
}

impl Server {
    fn new() -> Server {
        Server::with(Idle::default(), Plan::default())
    }

    fn with(idle: Idle, plan: Plan) -> Server {
        Server { shard: Shard::new(Limits::default(), idle), plan: Arc::new(plan) }
    }

    fn hears(&mut self, lines: &str) -> &mut Server {
        self.shard.datagram(lines.as_bytes(), false, Dialect::Statsd);
        self
    }

    fn snapshot(&mut self) -> Snapshot {
        let interval = self.shard.take();
        Snapshot::new(vec![interval], &self.plan, 1000, 10.0)
    }

    /// All there is, in one line: what it is, its name and its numbers.
    fn flush(&mut self) -> String {
        let snapshot = self.snapshot();
        let mut told = Vec::new();
        for counter in &snapshot.counters {
            told.push(format!("c {} {} {}", counter.series.as_str(), Js(counter.count), Js(counter.rate)));
        }
        for gauge in &snapshot.gauges {
            told.push(format!("g {} {}", gauge.series.as_str(), Js(gauge.value)));
        }
        for timer in &snapshot.timers {
            told.push(format!("t {} {}", timer.series.as_str(), fields(&snapshot, timer)));
        }
        for set in &snapshot.sets {
            told.push(format!("s {} {}", set.series.as_str(), Js(set.value)));
        }
        told.join(", ")
    }
}

fn fields(snapshot: &Snapshot, timer: &Timer) -> String {
    let fields = timer.fields.iter().chain(&timer.bins);
    fields
        .map(|&(name, value)| format!("{}={}", snapshot.plan.name(name), Js(value)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The statistics of one timer that took `values`, by name.
fn statistics(plan: Plan, values: &str) -> BTreeMap<String, f64> {
    let mut server = Server::with(Idle::default(), plan);
    let snapshot = server.hears(&format!("t:{values}|ms")).snapshot();
    let timer = &snapshot.timers[0];
    let fields = timer.fields.iter().chain(&timer.bins);
    fields.map(|&(name, value)| (snapshot.plan.name(name).to_owned(), value)).collect()
}

fn percentiles(list: &[f64]) -> Plan {
    Plan::new(list, &[], &[]).unwrap()
}

#[test]
fn counters_add_up_and_start_again() {
    let mut server = Server::new();
    assert_eq!(server.hears("a:1|c\na:2.5|c\na:1|m\na:1|c|@0.1").flush(), "c a 14.5 1.45");
    assert_eq!(server.flush(), "c a 0 0");
    assert_eq!(server.hears("a:-3|c").flush(), "c a -3 -0.3");
}

#[test]
fn gauges_stay_and_change() {
    let mut server = Server::new();
    assert_eq!(server.hears("g:5|g\ng:+2|g\ng:-10|g").flush(), "g g -3");
    assert_eq!(server.flush(), "g g -3");
    assert_eq!(server.hears("g:0|g\ng:-5|g").flush(), "g g -5");
    assert_eq!(server.hears("new:-5|g\nold:+7|g").flush(), "g g -5, g new -5, g old 7");
    assert_eq!(server.hears("g:3|g|@0.1").flush(), "g g 3, g new -5, g old 7");
}

#[test]
fn a_gauge_lives_as_many_flushes_as_it_is_told_to() {
    let idle = Idle { gauge_life: Some(2), ..Idle::default() };
    let mut server = Server::with(idle, Plan::default());
    assert_eq!(server.hears("g:5|g").flush(), "g g 5");
    assert_eq!(server.flush(), "g g 5");
    assert_eq!(server.flush(), "");
    assert_eq!(server.hears("g:+1|g").flush(), "g g 1", "what is gone starts at 0");
    assert_eq!(server.flush(), "g g 1");
    assert_eq!(server.hears("g:+1|g").flush(), "g g 1", "and so does what was told for the last time");
}

#[test]
fn sets_count_distinct_members_and_start_again() {
    let mut server = Server::new();
    assert_eq!(server.hears("s:a|s\ns:b|s\ns:a|s\ns:a:b|s|@0.1").flush(), "s s 3");
    assert_eq!(server.flush(), "s s 0");
    assert_eq!(server.hears("s:a|s").flush(), "s s 1");
}

#[test]
fn idle_series_are_deleted_when_that_is_on() {
    let idle = Idle { delete_counters: true, delete_timers: true, delete_sets: true, gauge_life: None };
    let plan = Plan::new(&[], &[], &["count".into()]).unwrap();
    let mut server = Server::with(idle, plan);
    let all = "c c 0 0, g g 1, t t count=1, s s 1";
    assert_eq!(server.hears("c:0|c\ng:1|g\nt:1|ms\ns:1|s").flush(), all);
    assert_eq!(server.flush(), "g g 1");
    assert_eq!(server.shard.series(), 1);
    assert_eq!(server.hears("other:7|c\nc:1|c").flush(), "c c 1 0.1, c other 7 0.7, g g 1");
    let tally = server.snapshot().tally;
    assert_eq!((tally.packets, tally.metrics, tally.bad), (0, 0, 0));
}

#[test]
fn an_idle_timer_tells_that_nothing_came() {
    let mut server = Server::new();
    server.hears("t:5|ms").flush();
    assert_eq!(server.flush(), "t t count_ps=0 count=0");
}

#[test]
fn a_timer_s_statistics() {
    let mut server = Server::new();
    let told = server.hears("t:4|ms\nt:1|ms|@0.5\nt:3|h\nt:2|d").flush();
    assert_eq!(
        told,
        "t t count_90=4 mean_90=2.5 upper_90=4 sum_90=10 sum_squares_90=30 std=1.118033988749895 upper=4 lower=1 \
         count=5 count_ps=0.5 sum=10 sum_squares=30 mean=2.5 median=2.5"
    );
}

#[test]
fn percentiles_round_half_up_and_may_be_of_the_top() {
    // Of five, 50% are 2.5 values, which are three.
    let of_five = statistics(percentiles(&[50.0, -50.0, 9.0, -100.0, 100.0, 99.5]), "1:2:3:4:5");
    let expected = [
        ("count_50", 3.0),
        ("upper_50", 3.0),
        ("sum_50", 6.0),
        ("mean_50", 2.0),
        ("sum_squares_50", 14.0),
        ("count_top50", 3.0),
        ("lower_top50", 3.0),
        ("sum_top50", 12.0),
        ("sum_squares_top50", 50.0),
        ("count_top100", 5.0),
        ("lower_top100", 1.0),
        ("sum_top100", 15.0),
        ("sum_squares_top100", 55.0),
        ("count_99_5", 5.0),
        ("upper_99_5", 5.0),
    ];
    for (name, value) in expected {
        assert_eq!(of_five.get(name), Some(&value), "{name}");
    }
    // 9% of five is nothing.
    assert!(of_five.keys().all(|name| !name.ends_with("_9")), "{of_five:?}");
    let of_one = statistics(percentiles(&[9.0, -1.0]), "7");
    for name in ["count_9", "count_top1"] {
        assert_eq!(of_one[name], 1.0);
    }
    for name in ["upper_9", "sum_9", "mean_9", "lower_top1", "sum_top1"] {
        assert_eq!(of_one[name], 7.0, "{name}");
    }
}

#[test]
fn bins_are_exclusive_and_the_first_match_wins() {
    let bins = |metric: &str, bounds: &[f64]| Bins { metric: metric.into(), bounds: bounds.to_vec() };
    let plan = |list: &[Bins]| Plan::new(&[], list, &["histogram".into()]).unwrap();
    let told = |list: &[Bins]| statistics(plan(list), "1:5:5.5:9:70").into_iter().collect::<Vec<_>>();
    let named = |list: &[(&str, f64)]| {
        list.iter().map(|&(name, count)| (format!("histogram.bin_{name}"), count)).collect::<Vec<_>>()
    };
    assert_eq!(told(&[bins("t", &[5.0, 5.5, 10.0])]), named(&[("10", 2.0), ("5", 1.0), ("5_5", 1.0)]));
    assert_eq!(told(&[bins("", &[5.5, f64::INFINITY])]), named(&[("5_5", 2.0), ("inf", 3.0)]));
    assert_eq!(told(&[bins("x", &[1.0]), bins("t", &[2.0]), bins("", &[3.0])]), named(&[("2", 1.0)]));
    assert_eq!(told(&[bins("t", &[]), bins("", &[3.0])]), []);
    assert!(Plan::new(&[], &[bins("t", &[2.0, 1.0])], &[]).is_err());
    assert!(Plan::new(&[], &[bins("t", &[f64::NAN])], &[]).is_err());
}

#[test]
fn percentiles_that_cannot_be_are_refused() {
    for percentile in [0.0, 100.5, -101.0, f64::NAN, f64::INFINITY] {
        assert!(Plan::new(&[percentile], &[], &[]).is_err(), "{percentile}");
    }
}

#[test]
fn only_chosen_statistics_are_told() {
    let told = |chosen: &[&str]| {
        let chosen = chosen.iter().map(|&name| name.into()).collect::<Vec<_>>();
        let plan = Plan::new(&[90.0, -10.0], &[], &chosen).unwrap();
        statistics(plan, "1:2:3").into_keys().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(&["count", "median"]), "count median");
    assert_eq!(told(&["upper_percent", "count_ps"]), "count_ps upper_90");
    assert_eq!(told(&["count_percent"]), "count_90", "of the top 10% of three there is none");
    assert_eq!(told(&["upper_90"]), "");
}

/// The digits of the original, which scripts/statsd-digits wrote down.
#[test]
fn digits_agree_with_the_original() {
    let list = [90.0, 95.5, 50.0, -10.0, -33.3, 0.1, 100.0, 99.999];
    let bins = |metric: &str, bounds: &[f64]| Bins { metric: metric.into(), bounds: bounds.to_vec() };
    let bins =
        [bins("none", &[]), bins("some", &[5.5, 100.0, 1000.25]), bins("", &[0.5, 50.0, f64::INFINITY])];
    let mut cases = 0;
    for line in include_str!("original/digits.txt").lines() {
        let parts = line.splitn(6, ' ').collect::<Vec<_>>();
        let [name, n, divisor, weight, rate, expected] = parts[..] else { panic!("{line}") };
        let (n, divisor) = (n.parse::<u64>().unwrap(), divisor.parse::<u64>().unwrap());
        let mut server = Server::with(Idle::default(), Plan::new(&list, &bins, &[]).unwrap());
        if n == 0 {
            server.hears(&format!("{name}:1|ms\nc:1|c"));
            server.flush();
        }
        let mut state = 1 + n * 31 + divisor;
        for at in 0..n as usize {
            state = state * 16807 % 2_147_483_647;
            let value = Js((state % 1_000_000) as f64 / divisor as f64).to_string();
            let rate = ["1", "0.5", "0.1", "0.3"][at % 4];
            server.hears(&format!("{name}:{value}|ms|@{rate}\nc:1|c|@{rate}\n"));
        }
        let told = server.flush();
        assert_eq!(told, format!("c c {weight} {rate}, t {name} {expected}"), "{name} {n} {divisor}");
        cases += 1;
    }
    assert_eq!(cases, 3 * 12 * 3);
}

#[test]
fn a_timer_is_exact_for_a_hundred_thousand_samples_and_more() {
    let mut server = Server::with(Idle::default(), percentiles(&[99.0]));
    // Any order that is not the ascending one.
    for value in (0..120_000_u64).map(|at| at * 7919 % 120_000) {
        server.hears(&format!("t:{value}|ms"));
    }
    let snapshot = server.snapshot();
    let told = fields(&snapshot, &snapshot.timers[0]);
    for expected in
        ["count_99=118800 ", "upper_99=118799 ", " count=120000 ", " median=59999.5", " upper=119999 "]
    {
        assert!(told.contains(expected), "{expected:?} in {told}");
    }
}

#[test]
fn spellings_of_a_series_are_one() {
    let mut server = Server::new();
    let lines = "a b/c:1|c|#y:2,x:1\na  b/c:1|c|#x:1,y:2\na_b-c;x=1;y=2:1|c\n!a_b-c,y=2,x=1:1|c\na_b-c:5|c";
    assert_eq!(server.hears(lines).hears(lines).flush(), "c a_b-c 10 1, c a_b-c;x=1;y=2 8 0.8");
    // A name is one series of each kind, and what joins to the same bytes is not the same.
    assert_eq!(Server::new().hears("n:1|c\nn:1|g").flush(), "c n 1 0.1, g n 1");
    assert_eq!(Server::new().hears("ab:1|c|#c:d\nabc:1|c|#:d").flush(), "c ab;c=d 1 0.1, c abc 1 0.1");
}

#[test]
fn names_of_the_server_s_own_are_just_names() {
    let mut server = Server::new();
    let told = server.hears("statsd.bad_lines_seen:7|c\n__proto__:1|c\nconstructor:1|ms\n:1|c").snapshot();
    let names = told.counters.iter().map(|counter| counter.series.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["__proto__", "statsd.bad_lines_seen"]);
    assert_eq!(told.tally.bad, 1);
}

#[test]
fn what_came_is_counted() {
    let mut server = Server::new();
    server.hears("a:1|c\n\nbad\na:1|c|zzz\r\n").hears("").hears("\n").hears("a:1:x:y|c");
    server.shard.datagram(b"a:1|c\nb:123", true, Dialect::Statsd);
    let tally = server.snapshot().tally;
    assert_eq!((tally.packets, tally.metrics, tally.bad), (5, 5, 3));
    assert_eq!((tally.unknown_fields, tally.truncated), (1, 1));
    assert_eq!(&*tally.a_bad_line.unwrap().0, b"bad");
    assert_eq!(server.snapshot().tally, Default::default());
}

#[test]
fn a_cut_datagram_loses_its_last_line_alone() {
    let mut server = Server::new();
    // Nothing tells that `a:12|c` was not cut from `a:12|c|@0.1`.
    server.shard.datagram(b"a:1|c\na:12|c", true, Dialect::Statsd);
    server.shard.datagram(b"a:12|c", true, Dialect::Statsd);
    assert_eq!(server.flush(), "c a 1 0.1");
}

fn small(limits: Limits) -> Server {
    Server { shard: Shard::new(limits, Idle::default()), plan: Arc::default() }
}

#[test]
fn what_there_is_no_room_for_is_counted_and_named() {
    let mut server = small(Limits { series: 3, ..Limits::default() });
    for name in 0..10 {
        server.hears(&format!("n{name}:1|c"));
    }
    let snapshot = server.hears("n1:1|c\nn9:1|c").snapshot();
    let counts = snapshot.counters.iter().map(|c| (c.series.as_str(), c.count)).collect::<Vec<_>>();
    assert_eq!(counts, [("n0", 1.0), ("n1", 2.0), ("n2", 1.0)]);
    assert_eq!(snapshot.tally.excess_series, 8);
    assert_eq!(snapshot.tally.excess_names.join(" "), "n3 n4 n5 n6 n7");

    let mut server = small(Limits { name_bytes: 10, ..Limits::default() });
    let tally = server.hears("12345:1|c\n12345678:1|c\n54321:1|c\n1:1|c").snapshot().tally;
    assert_eq!((tally.excess_series, tally.excess_names.join(" ")), (2, "12345678 1".into()));
}

#[test]
fn spellings_are_forgotten_rather_than_piled_up() {
    let mut server = small(Limits { series: 2, ..Limits::default() });
    for pad in 0..1000 {
        server.hears(&format!("a{}:1|c\nb:1|c", "!".repeat(pad)));
    }
    assert_eq!(server.flush(), "c a 1000 100, c b 1000 100");
}

#[test]
fn samples_and_members_beyond_the_room_are_counted() {
    let mut server = small(Limits { samples: 3, sketches: 0, ..Limits::default() });
    let snapshot = server.hears("t:1:2:3:4:5|ms").snapshot();
    let told = fields(&snapshot, &snapshot.timers[0]);
    assert!(told.contains(" count=5 ") && told.contains(" upper=3 "), "{told}");
    assert_eq!(snapshot.tally.excess_samples, 2);
    assert_eq!(server.hears("t:9|ms").snapshot().tally.excess_samples, 0, "the next interval has room");

    let mut server = small(Limits { member_bytes: 80, estimates: 0, ..Limits::default() });
    let snapshot = server.hears("s:a|s\ns:b|s\ns:a|s\ns:c|s\ns:c|s").snapshot();
    assert_eq!((snapshot.sets[0].value, snapshot.tally.excess_members), (2.0, 2));
    assert_eq!(server.hears("s:c|s").flush(), "s s 1");
}

#[test]
fn series_of_several_shards_come_together_in_order() {
    let mut one = Shard::new(Limits::default(), Idle::default());
    let mut two = Shard::new(Limits::default(), Idle::default());
    one.datagram(b"b:1|c\nbad", false, Dialect::Statsd);
    two.datagram(b"a:1|c\nc:1|c\nworse", false, Dialect::Statsd);
    let snapshot = Snapshot::new(vec![one.take(), two.take()], &Arc::default(), 0, 10.0);
    let names = snapshot.counters.iter().map(|counter| counter.series.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((snapshot.tally.packets, snapshot.tally.bad), (2, 2));
}
