//! Mapping rules for Prometheus, as the statsd_exporter's users have them.

#[path = "../../../tests/support/mod.rs"]
mod support;
mod told;

use nakcast_statsd::output::prometheus::Mapping;
use nakcast_statsd::shard::{Idle, Limits, Shard};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use support::{Process, command};
use told::{SOON, Told, mapping, places};

/// The first example of the statsd_exporter's documentation, with the names it says come out.
const DISPATCHER: &str = r#"
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels:
    processor: "$1"
    action: "$2"
    outcome: "$3"
    job: "test_dispatcher"
- match: "*.signup.*.*"
  name: "signup_events_total"
  labels:
    provider: "$2"
    outcome: "$3"
    job: "${1}_server"
- match: test.*.*.counter
  name: ${2}_total
  labels: { provider: $1 }
"#;

#[test]
fn globs_give_names_and_labels() {
    let mut told = Told::by(DISPATCHER);
    let text = told.flush(
        "test.dispatcher.FooProcessor.send.success:1|c\nfoo_product.signup.facebook.failure:2|c\ntest.web-server.foo.bar:3|c\ntest.a.b.counter:4|c",
    );
    let mut lines = text.lines().collect::<Vec<_>>();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "b_total{provider=\"a\"} 4",
            "dispatcher_events_total{action=\"send\",job=\"test_dispatcher\",outcome=\"success\",processor=\"FooProcessor\"} 1",
            "signup_events_total{job=\"foo_product_server\",outcome=\"failure\",provider=\"facebook\"} 2",
            "test_web_server_foo_bar_total 3",
        ]
    );
    // Totals go on, and a shorter or longer name is another's.
    let text = told.flush(
        "test.dispatcher.FooProcessor.send.success:1|c\ntest.dispatcher.x:1|c\ntest.dispatcher.a.b.c.d:1|c",
    );
    assert!(text.contains("processor=\"FooProcessor\"} 2\n"), "{text}");
    assert!(
        text.contains("test_dispatcher_x_total 1") && text.contains("test_dispatcher_a_b_c_d_total 1"),
        "{text}"
    );
}

#[test]
fn the_first_glob_that_matches_wins_and_regular_expressions_come_last() {
    let rules =
        "mappings:\n- {match: 'a.*', name: any}\n- {match: 'a.b', name: never}\n- {match: '*.c', name: c}\n";
    let mut told = Told::by(rules);
    assert_eq!(told.flush("a.b:1|g\na.c:2|g|#k:v\nb.c:3|g"), "any 1\nany{k=\"v\"} 2\nc 3");
    // By the more specific, from left to right, whatever the order.
    let unordered = format!("defaults:\n  glob_disable_ordering: true\n{rules}");
    assert_eq!(Told::by(&unordered).flush("a.b:1|g\na.c:2|g"), "any 2\nnever 1");
    // Where the first way leads nowhere, another is tried.
    let mut told = Told::by("mappings:\n- {match: 'a.*.x', name: x}\n- {match: '*.b.y', name: y}\n");
    assert_eq!(told.flush("a.b.y:1|g"), "y 1");

    let regex = "mappings:\n- {match: 'b', match_type: regex, name: first}\n- {match: '^(\\w)\\.(?P<second>\\w+)', match_type: regex, name: '${second}_${1}', labels: {all: $0}}\n- {match: 'a.b', name: glob}\n";
    let mut told = Told::by(regex);
    assert_eq!(told.flush("a.b:1|g\na.c.d:2|g\nxb:3|g"), "c_a{all=\"a.c\"} 2\nfirst 3\nglob 1");
    let mut told = Told::by("defaults: {match_type: regex}\nmappings:\n- {match: '^a', name: a}\n");
    assert_eq!(told.flush("ab.c:1|g"), "a 1");
}

#[test]
fn rules_are_for_types_and_may_drop() {
    let rules = r#"
mappings:
- { match: x.*, match_metric_type: counter, name: x_total, labels: { at: $1 } }
- { match: x.*, match_metric_type: observer, name: x_seconds, labels: { at: $1 } }
- { match: x.*, match_metric_type: gauge, name: x, labels: { at: $1 } }
- { match: ".", match_type: regex, action: drop }
"#;
    let mut told = Told::by(rules);
    let text = told.flush("x.a:1|c\nx.a:2|g\nx.b:u|s\nx.a:3|ms\ny:1|c\nz:1|g");
    // Names are dropped that hold anything, as the last rule says.
    let expected = "x{at=\"a\"} 2\nx{at=\"b\"} 1\nx_seconds{at=\"a\",quantile=\"0.5\"} 0.003\nx_seconds{at=\"a\",quantile=\"0.9\"} 0.003\nx_seconds_sum{at=\"a\"} 0.003\nx_seconds_count{at=\"a\"} 1\nx_total{at=\"a\"} 1";
    assert_eq!(text, expected);
    assert_eq!(told.own("mapping_dropped_series_total"), "2");
    // However many values: the counter, and the gauge that is still there.
    told.flush("y:1:2:3|c");
    assert_eq!(told.own("mapping_dropped_series_total"), "4");
}

#[test]
fn labels_stand_over_tags_unless_they_are_honoured() {
    let rule = "mappings:\n- {match: a.*, name: a, labels: {k: $1, l: x}}\n";
    assert_eq!(Told::by(rule).flush("a.b:1|g|#k:tag,m:n"), "a{k=\"b\",l=\"x\",m=\"n\"} 1");
    let honoured = rule.replace("name: a,", "name: a, honor_labels: true,");
    assert_eq!(Told::by(&honoured).flush("a.b:1|g|#k:tag,m:n"), "a{k=\"tag\",l=\"x\",m=\"n\"} 1");
}

#[test]
fn help_and_scale_are_the_rules() {
    let mut told = Told::by(
        "mappings:\n- {match: kb, name: bytes_total, scale: 1024, help: \"a \\\\ b\\nc\"}\n- {match: t, name: t, scale: 10}",
    );
    assert_eq!(told.flush("kb:2|c\nt:3000|ms").lines().next(), Some("bytes_total 2048"));
    let text = told.exposition.text();
    assert!(text.contains("# HELP bytes_total a \\\\ b\\nc\n# TYPE bytes_total counter\n"), "{text}");
    assert!(text.contains("\nt{quantile=\"0.9\"} 30\nt_sum 30\nt_count 1\n"), "{text}");
}

#[test]
fn timers_are_histograms_with_the_buckets_that_are_asked_for() {
    let rules = r#"
defaults:
  observer_type: histogram
  histogram_options: { buckets: [ 0.005, 0.1, .inf ] }
mappings:
- { match: t, name: t_seconds }
- match: d
  name: d
  histogram_options:
    buckets: [ 10, 20 ]
- { match: old, name: old, timer_type: summary, quantiles: [ { quantile: 0.75, error: 0.05 }, { quantile: 0 } ] }
"#;
    let mut told = Told::by(rules);
    let text = told.flush("t:5:5.5:100:101|ms|@0.5\nd:10:11|d\nold:1:2:3:4|ms\nnone:50|ms");
    let expected = "d_bucket{le=\"10\"} 1\nd_bucket{le=\"20\"} 2\nd_bucket{le=\"+Inf\"} 2\nd_sum 21\nd_count 2\n\
        none_bucket{le=\"0.005\"} 0\nnone_bucket{le=\"0.1\"} 1\nnone_bucket{le=\"+Inf\"} 1\nnone_sum 0.05\nnone_count 1\n\
        old{quantile=\"0\"} 0.001\nold{quantile=\"0.75\"} 0.003\nold_sum 0.01\nold_count 4\n\
        t_seconds_bucket{le=\"0.005\"} 2\nt_seconds_bucket{le=\"0.1\"} 6\nt_seconds_bucket{le=\"+Inf\"} 8\nt_seconds_sum 0.423\nt_seconds_count 8";
    assert_eq!(text, expected);
    // They are totals.
    let text = told.flush("t:1|ms");
    assert!(text.contains("t_seconds_bucket{le=\"0.005\"} 3\nt_seconds_bucket{le=\"0.1\"} 7\nt_seconds_bucket{le=\"+Inf\"} 9\n"), "{text}");
    let all = told.exposition.text();
    assert!(
        all.contains("\n# TYPE t_seconds histogram\n") && all.contains("\n# TYPE old summary\n"),
        "{all}"
    );
    // Without any, those of Prometheus' own libraries.
    let mut told = Told::by("mappings:\n- {match: t, name: t, observer_type: histogram}");
    assert_eq!(told.flush("t:1|ms").lines().count(), 14);
}

#[test]
fn a_name_has_one_type_and_what_is_refused_is_counted_and_named() {
    let rules = r#"
mappings:
- { match: a.*, name: same, labels: { at: $1 } }
- { match: b.*.*, name: same, labels: { x: $1, y: $2 } }
- { match: "(z*)e", match_type: regex, name: $1 }
- { match: h1, name: h, observer_type: histogram, buckets: [1] }
- { match: h2, name: h, observer_type: histogram, buckets: [2] }
- { match: i, name: c_sum, match_metric_type: counter }
- { match: i, name: c, match_metric_type: observer }
"#;
    let mut told = Told::by(rules);
    // Other labels are the same family's.
    assert_eq!(told.flush("a.1:1|g\nb.2.3:2|g\na.2:7|c"), "same{at=\"2\"} 7");
    assert_eq!(told.own("mapping_refused_series_total"), "2");
    let refused = told.exposition.refused();
    assert_eq!(
        refused,
        [
            "a.1: a rule names it same, which is another type's",
            "b.2.3: a rule names it same, which is another type's"
        ]
    );
    let mut told = Told::by(rules);
    assert_eq!(told.flush("a.1:1|g\nb.2.3:2|g"), "same{at=\"1\"} 1\nsame{x=\"2\",y=\"3\"} 2");
    told.flush("e:1|g\nh1:1|h\nh2:1|h\ni:1|c\ni:1|ms");
    told.flush("h2:1|h");
    let refused = told.exposition.refused();
    assert_eq!(
        refused,
        [
            "e: a rule gives it an empty name",
            "h2: a rule names it h, which is another type's",
            "i: a rule names it c, which is another type's"
        ],
        "each once"
    );
    assert_eq!(told.exposition.refused(), [""; 0]);
    // Three, and again what persists: gauges, and timers that are idle.
    assert_eq!(told.own("mapping_refused_series_total"), "6");

    // What has a name without a rule goes on where a rule's is, if it is of its type; else its kind stands behind it.
    let mut told = Told::by("mappings:\n- {match: a.b, name: x}\n");
    assert_eq!(told.flush("a.b:1|g\nx:2|g|#k:v"), "x 1\nx{k=\"v\"} 2");
    let mut told = Told::by("mappings:\n- {match: a.b, name: x, match_metric_type: counter}\n");
    assert_eq!(told.flush("a.b:1|c\nx:2|g"), "x 1\nx_gauge 2");
}

#[test]
fn other_rules_begin_anew_and_the_same_do_not() {
    let mut told = Told::by("mappings:\n- {match: c, name: one}");
    assert_eq!(told.flush("c:1|c"), "one 1");
    told.exposition.map(1000, Some(&mapping("mappings:\n- {match: c, name: one}")));
    assert_eq!(told.flush("c:1|c"), "one 2");
    told.exposition.map(1000, Some(&mapping("mappings:\n- {match: c, name: two}")));
    assert_eq!(told.flush("c:1|c"), "two 1");
    told.exposition.map(1000, None);
    assert_eq!(told.flush("c:1|c"), "c_total 1");
}

#[test]
fn series_have_a_bound_with_rules_too() {
    let mut told =
        Told::by("mappings:\n- {match: 'a.*', name: a, labels: {k: $1}}\n- {match: 'b.*', name: $1}");
    told.exposition.map(2, None);
    told.exposition.map(
        2,
        Some(&mapping("mappings:\n- {match: 'a.*', name: a, labels: {k: $1}}\n- {match: 'b.*', name: $1}")),
    );
    assert_eq!(told.flush("a.1:1|c\na.2:1|c\na.3:1|c\nb.x:1|c\nc:1|c"), "a{k=\"1\"} 1\na{k=\"2\"} 1");
    assert_eq!(told.own("prometheus_excess_series_total"), "3");
}

#[test]
fn a_file_of_nothing_has_no_rules() {
    for nothing in ["", "# later\n", "---\n", "---\n# later\n", "null\n", "mappings:\n"] {
        assert_eq!(Told::by(nothing).flush("c:1|c"), "c_total 1", "{nothing:?}");
    }
}

#[test]
fn booleans_are_those_of_yaml_1_1() {
    for (word, value) in
        [("yes", "mine"), ("On", "mine"), ("y", "mine"), ("no", "b"), ("OFF", "b"), ("false", "b")]
    {
        let rules = format!("mappings:\n- {{match: a.*, name: a, labels: {{k: $1}}, honor_labels: {word}}}");
        assert_eq!(Told::by(&rules).flush("a.b:1|g|#k:mine"), format!("a{{k=\"{value}\"}} 1"), "{word}");
    }
}

#[test]
fn a_star_without_quotes_is_named() {
    for (rules, line) in [
        ("mappings:\n- match: *.foo\n  name: a", 2),
        ("mappings:\n- name: a\n  match: *", 3),
        ("mappings: [{match: *.b}]", 1),
    ] {
        let problem = Mapping::parse(rules).expect_err(rules);
        let hint = "; what begins with * must be in quotes, as in \"*.latency\"";
        assert!(problem.starts_with(&format!("{line}: not YAML: ")) && problem.ends_with(hint), "{problem}");
    }
    let problem = Mapping::parse("mappings: }").unwrap_err();
    assert!(!problem.contains("quotes"), "{problem}");
}

#[test]
fn what_is_wrong_is_named() {
    for (rules, says) in [
        ("mappings: {", "2: not YAML: "),
        ("mapping: []", "1: mapping: nobody knows this key; it takes defaults, mappings"),
        ("- 1", "1: must be a mapping, not a list"),
        ("mappings: 1", "1: mappings: must be a list, not \"1\""),
        ("mappings:\n- name: a", "2: mappings[0].match: it must be there, and is not"),
        ("mappings:\n- match: a\n", "2: mappings[0].name: it must be there, and is not"),
        // Rather the key that is there than the one that is not.
        (
            "mappings:\n- match: a\n  nam: a",
            "3: mappings[0].nam: nobody knows this key; it takes match_type, match, name",
        ),
        (
            "mappings:\n- {match: a, name: a, quantiles: [{quantil: 1}]}",
            "2: mappings[0].quantiles[0].quantil: nobody knows this key; it takes quantile, error",
        ),
        (
            "mappings:\n- {match: a, name: a, quantiles: [{}]}",
            "2: mappings[0].quantiles[0].quantile: it must be there",
        ),
        (
            "mappings:\n- {match: a, name: a, action: keep}",
            "2: mappings[0].action: must be map or drop, not \"keep\"",
        ),
        (
            "mappings:\n- {match: a, name: a, match_type: prefix}",
            "2: mappings[0].match_type: must be glob or regex, not \"prefix\"",
        ),
        (
            "mappings:\n- {match: a, name: a, match_metric_type: set}",
            "2: mappings[0].match_metric_type: must be counter, gauge or observer, not \"set\"",
        ),
        (
            "mappings:\n- match: a\n  name: a\n  colour: red",
            "4: mappings[0].colour: nobody knows this key; it takes match_type, match, ",
        ),
        ("mappings:\n- match: a\n  match: b\n  name: a", "3: "),
        (
            "mappings:\n- match: a*\n  name: a",
            "2: mappings[0].match: \"a*\" is no component: it takes components between dots",
        ),
        ("mappings:\n- {match: a..b, name: a}", "2: mappings[0].match: \"\" is no component"),
        (
            "mappings:\n- {match: '(', match_type: regex, name: a}",
            "2: mappings[0].match: no regular expression: ",
        ),
        (
            "mappings:\n- {match: a.*, name: $1_total}",
            "2: mappings[0].name: nothing of the match is $1_total; before text it is written ${1}_total",
        ),
        ("mappings:\n- {match: a.*, name: $0}", "2: mappings[0].name: nothing of the match is $0"),
        ("mappings:\n- {match: a, name: a.b}", "2: mappings[0].name: must be of letters, digits, _ and :"),
        ("mappings:\n- {match: a, name: 9a}", "2: mappings[0].name: must be of letters"),
        (
            "mappings:\n- {match: a, name: a, labels: {k-l: x}}",
            "2: mappings[0].labels.k-l: a label must be of letters",
        ),
        (
            "mappings:\n- {match: a, name: a, labels: {quantile: x}}",
            "2: mappings[0].labels.quantile: Prometheus keeps le, quantile",
        ),
        (
            "mappings:\n- {match: a, name: a, scale: 0}",
            "2: mappings[0].scale: must be a number above 0, not \"0\"",
        ),
        (
            "mappings:\n- {match: a, name: a, honor_labels: 3}",
            "2: mappings[0].honor_labels: must be true or false, not \"3\"",
        ),
        (
            "mappings:\n- {match: a, name: a, buckets: [1, 1]}",
            "2: mappings[0].buckets[1]: must be a number above that before it, not \"1\"",
        ),
        (
            "mappings:\n- {match: a, name: a, quantiles: [{quantile: 90}]}",
            "2: mappings[0].quantiles[0].quantile: must be a number from 0 to 1, not \"90\"",
        ),
        (
            "mappings:\n- {match: a, name: a, observer_type: histogram, summary_options: {}}",
            "2: mappings[0].summary_options: it goes with observer_type: summary",
        ),
        (
            "mappings:\n- {match: a, name: a, histogram_options: {buckets: [1]}}",
            "2: mappings[0].histogram_options: it goes with observer_type: histogram",
        ),
        ("mappings:\n- match: \"a\n", "2: not YAML: "),
        ("mappings: []\n---\nmappings: []", "3: a second document begins; it takes one"),
    ] {
        let problem = Mapping::parse(rules).expect_err(rules);
        assert!(problem.starts_with(says), "{rules}: {problem}");
        assert!(!problem.contains('\n'), "{rules}: {problem}");
    }
    let rules = "defaults:\n  ttl: 1m\nmappings:\n- match: a\n  name: a\n  ttl: 1h\n  summary_options:\n    max_age: 30s\n- match: b\n  name: b\n  observer_type: histogram\n  histogram_options:\n    native_histogram_bucket_factor: 1.1";
    let (_, warnings) = Mapping::parse(rules).unwrap();
    let starts = [
        "2: defaults.ttl: not done here: ",
        "6: mappings[0].ttl: ",
        "8: mappings[0].summary_options.max_age: ",
        "13: mappings[1].histogram_options.native_histogram_bucket_factor: ",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    // What is nowhere in the match is empty there, and so it is here.
    let rules = "defaults: {ttl: 0}\nmappings:\n- {match: a.*, name: a, labels: {k: $2, l: x$1_y-, m: $1}}";
    let (mapping, warnings) = Mapping::parse(rules).unwrap();
    assert_eq!(
        warnings,
        [
            "3: mappings[0].labels.k: nothing of the match is $2; it is left out",
            "3: mappings[0].labels.l: nothing of the match is $1_y; before text it is written ${1}_y; it is left out"
        ]
    );
    let mut told = Told::by("");
    told.exposition.map(1000, Some(&Arc::new(mapping)));
    assert_eq!(told.flush("a.b:1|g"), "a{k=\"\",l=\"x-\",m=\"b\"} 1");
    for nothing in ["", "# nothing\n", "mappings:\n", "defaults: {}\n"] {
        assert_eq!(Told::by(nothing).flush("a:1|c"), "a_total 1", "{nothing:?}");
    }
}

/// A file of this test's own, which goes with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = File(folder.join(format!("{}-{name}", std::process::id())));
        fs::write(&file.0, text).unwrap();
        file
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_file_is_taken_by_flag_or_key_and_read_again_when_told_to() {
    let rules = File::new("rules.yml", "mappings:\n- {match: nakcast.*, name: one_total, labels: {k: $1}}\n");
    let own = format!(
        "prometheus = '127.0.0.1:0'\nprometheus_mapping = '{}'\nflush_interval = '50ms'\nconsole = 'json'\n[[listen]]\ntcp = '127.0.0.1:0'\n",
        rules.name()
    );
    let own = File::new("mapped.toml", &own);
    for flags in [
        vec!["--config".into(), own.name()],
        [
            "--prometheus-mapping",
            &rules.name(),
            "--prometheus",
            "127.0.0.1:0",
            "--tcp",
            "127.0.0.1:0",
            "--format",
            "json",
            "--flush-interval",
            "50ms",
        ]
        .map(String::from)
        .to_vec(),
    ] {
        fs::write(&rules.0, "mappings:\n- {match: nakcast.*, name: one_total, labels: {k: $1}}\n").unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(&flags).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let (address, listens) = places(&mut process);
        let mut stream = TcpStream::connect(listens).unwrap();
        stream.write_all(b"nakcast.a:3|c\n").unwrap();
        process.wait_for_output(r#""nakcast.a":3"#, SOON);
        let text = metrics(address);
        assert!(text.contains("\none_total{k=\"a\"} 3\n"), "{text}");

        fs::write(&rules.0, "mappings:\n- match: a.b.*\n  name: $2\n").unwrap();
        process.signal(libc::SIGHUP);
        let warning = process.wait_for_line("warning: ", SOON);
        let named = format!("warning: {}:3: mappings[0].name: nothing of the match is $2", rules.name());
        assert_eq!(warning, format!("{named}; the old configuration stays"));

        fs::write(
            &rules.0,
            "mappings:\n- {match: nakcast.*, name: 'two', ttl: 1m}\n- {match: other, name: two}\n",
        )
        .unwrap();
        process.signal(libc::SIGHUP);
        let warning = process.wait_for_line("warning: ", SOON);
        assert!(
            warning.starts_with(&format!("warning: {}:2: mappings[0].ttl: not done", rules.name())),
            "{warning}"
        );
        process.wait_for_line("the configuration was read again", SOON);
        stream.write_all(b"nakcast.a:4|c\nother:1|g\n").unwrap();
        let warning = process.wait_for_line("warning: ", SOON);
        assert_eq!(
            warning,
            "warning: not told to Prometheus: other: a rule names it two, which is another type's"
        );
        process.wait_for_output(r#""nakcast.a":4"#, SOON);
        let text = metrics(address);
        assert!(text.contains("\ntwo 4\n") && !text.contains("one_total"), "{text}");
        process.signal(libc::SIGTERM);
        process.succeed(SOON);
    }
}

#[test]
fn a_wrong_file_is_one_line_and_exit_code_2() {
    let wrong = File::new("wrong.yml", "mappings:\n- {match: a, name: a, colour: red}\n");
    let missing = "/nonexistent/rules.yml".to_owned();
    for (flags, says) in [
        (
            vec![wrong.name(), "--prometheus".into(), "127.0.0.1:0".into()],
            format!("error: {}:2: mappings[0].colour: nobody knows this key", wrong.name()),
        ),
        (
            vec![missing.clone(), "--prometheus".into(), "127.0.0.1:0".into()],
            format!(
                "error: --prometheus-mapping: mapping rules for Prometheus cannot be read from {missing}: No such"
            ),
        ),
        (
            vec![wrong.name()],
            "error: --prometheus-mapping: mapping rules go with prometheus, an address".into(),
        ),
    ] {
        let mut command = command(env!("CARGO_BIN_EXE_nakcast-statsd"));
        command.args(["--listen", "127.0.0.1:0", "--prometheus-mapping"]).args(&flags);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&says) && said.lines().count() == 1, "{said}");
    }
}

/// A mapped histogram of lines, within limits: its lines as they are told.
fn histogram(limits: Limits, lines: &str) -> String {
    let mut told = Told::by("mappings:\n- {match: t, name: t, observer_type: histogram, buckets: [1, 50]}");
    told.shard = Shard::new(limits, Idle::default());
    told.flush(lines)
}

fn buckets(one: &str, fifty: &str, all: &str, sum: &str) -> String {
    format!(
        "t_bucket{{le=\"1\"}} {one}\nt_bucket{{le=\"50\"}} {fifty}\nt_bucket{{le=\"+Inf\"}} {all}\nt_sum {sum}\nt_count {all}"
    )
}

#[test]
fn each_sample_stands_for_what_its_own_client_left_out() {
    for (lines, expected) in [
        ("t:10|h|@0.1\nt:100|h", buckets("0", "10", "11", "200")),
        ("t:100|h\nt:10|h|@0.1", buckets("0", "10", "11", "200")),
        ("t:100|h\nt:10|h|@0.1\nt:0.5|h|@0.25\nt:10|h|@0.1", buckets("4", "24", "25", "302")),
        ("t:100:70|h|@0.5\nt:10|h|@0.1\nt:60:1:1|h|@0.5", buckets("4", "14", "20", "564")),
        // One rate.
        ("t:10:100|h|@0.1", buckets("0", "10", "20", "1100")),
    ] {
        assert_eq!(histogram(Limits::default(), lines), expected, "{lines}");
    }
    // Each interval begins anew.
    let mut told = Told::by("mappings:\n- {match: t, name: t, observer_type: histogram, buckets: [1, 50]}");
    told.flush("t:100|h\nt:10|h|@0.1");
    assert_eq!(told.flush("t:100|h|@0.1"), buckets("0", "10", "21", "1200"));
    assert_eq!(told.flush("t:100|h|@0.1\nt:10|h"), buckets("0", "11", "32", "2210"));
    // Without rules, and without values that are kept for them.
    let mut told = Told::by("");
    let text = told.flush("t:10|h|@0.1\nt:100|h");
    assert!(!told.keep && text.contains("t_sum 200\nt_count 11"), "{text}");
}

#[test]
fn a_sketch_knows_what_each_sample_stands_for() {
    let sketch = Limits { timer_values: 2, ..Limits::default() };
    for (lines, expected) in [
        // Rates differ before it is one, when it becomes one, and when it has been one for long.
        ("t:100|h\nt:10|h|@0.1\nt:10|h|@0.5\nt:100|h", buckets("0", "12", "14", "320")),
        ("t:10:20|h\nt:100|h|@0.2", buckets("0", "2", "7", "530")),
        ("t:10:20:30|h\nt:100|h|@0.2", buckets("0", "3", "8", "560")),
        ("t:10:20:30|h|@0.1\nt:100|h|@0.2\nt:0|h\nt:-1|h|@0.5", buckets("3", "33", "38", "1098")),
        // One rate.
        ("t:10:100:0:-7|h|@0.1", buckets("20", "30", "40", "1030")),
    ] {
        assert_eq!(histogram(sketch, lines), expected, "{lines}");
    }
    // In each round one of a half, ten of -3, ten of 10 and two of 100.
    let round = "t:0.5|h\nt:-3|h|@0.1\nt:10|h|@0.1\nt:100|h|@0.5\n";
    for timer_values in [1, 1999, 1_000_000] {
        let limits = Limits { timer_values, ..Limits::default() };
        let expected = buckets("11000", "21000", "23000", "270500");
        assert_eq!(histogram(limits, &round.repeat(1000)), expected, "{timer_values}");
    }
    // A summary, and what was kept for it is nothing.
    let mut told = Told::by("");
    told.shard = Shard::new(Limits { timer_values: 1999, ..Limits::default() }, Idle::default());
    let text = told.flush(&round.repeat(1000));
    assert!(!told.keep && text.ends_with("t_sum 270500\nt_count 23000"), "{text}");
    // The samples' own statistics are of those that came, whatever they stand for.
    let own = |limits| {
        let mut told = Told::new();
        told.shard = Shard::new(limits, Idle::default());
        let snapshot = told.snapshot(&round.repeat(3));
        let field = |&(name, value): &(u16, f64)| (snapshot.plan.name(name).to_owned(), value.round());
        let mut fields = snapshot.timers[0].fields.iter().map(field).collect::<Vec<_>>();
        // Those in which a sketch is exact.
        fields.retain(|(name, _)| ["count", "lower", "upper", "sum", "mean", "std"].contains(&name.as_str()));
        fields
    };
    assert_eq!(own(sketch), own(Limits::default()));
}

#[test]
fn what_is_not_kept_is_weighed_as_far_as_it_is_known() {
    // No room for the last: as the others on average.
    let none = Limits { samples: 2, sketches: 0, ..Limits::default() };
    assert_eq!(
        histogram(none, "t:1|h\nt:100|h|@0.5\nt:7|h|@0.25\nt:7|h|@0.5"),
        buckets("3", "3", "9", "603")
    );
    // Nor for any: of what has no value nothing is told.
    let none = Limits { samples: 0, sketches: 0, ..Limits::default() };
    assert_eq!(histogram(none, "t:1|h\nt:100|h|@0.5"), buckets("0", "0", "0", "0"));
}
