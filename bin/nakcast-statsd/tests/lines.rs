//! What STATSD.md says of lines and names, statement by statement.

use nakcast_statsd::line::{self, Bad, Check, Dialect, Event, Key, Sample, Sink};
use nakcast_statsd::name::{Identity, prometheus};

/// Writes down what it is told.
#[derive(Default)]
struct Told(Vec<String>);

fn said(key: Key<'_>, sample: Sample<'_>) -> String {
    let identity = Identity::new(key.name, key.tags).expect("the reader told a name that is empty");
    let name = identity.as_str();
    match sample {
        Sample::Count(value) => format!("{name} count {value}"),
        Sample::Level(value) => format!("{name} is {value}"),
        Sample::Change(value) => format!("{name} by {value}"),
        Sample::Time(value, weight) => format!("{name} took {value} x{weight}"),
        Sample::Value(value, weight) => format!("{name} has {value} x{weight}"),
        Sample::Member(member) => format!("{name} has {}", member.escape_ascii()),
    }
}

impl Sink for Told {
    fn sample(&mut self, key: Key<'_>, sample: Sample<'_>) {
        self.0.push(said(key, sample));
    }
    fn timestamped(&mut self, key: Key<'_>, sample: Sample<'_>, seconds: u64) {
        self.0.push(format!("{} at {seconds}", said(key, sample)));
    }
    fn event(&mut self, event: &Event<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let optional = |bytes: Option<&[u8]>| bytes.map(text).unwrap_or_default();
        self.0.push(format!(
            "event {}/{} d{:?} h{} k{} p{} s{} t{} #{}",
            text(event.title),
            text(event.text),
            event.timestamp,
            optional(event.hostname),
            optional(event.aggregation_key),
            optional(event.priority),
            optional(event.source),
            optional(event.alert),
            text(event.tags)
        ));
    }
    fn check(&mut self, check: &Check<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let optional = |bytes: Option<&[u8]>| bytes.map(text).unwrap_or_default();
        self.0.push(format!(
            "check {}={} d{:?} h{} m{} #{}",
            text(check.name),
            check.status,
            check.timestamp,
            optional(check.hostname),
            optional(check.message),
            text(check.tags)
        ));
    }
    fn bad(&mut self, _: &[u8], why: Bad) {
        self.0.push(format!("bad {why:?}"));
    }
    fn unknown_field(&mut self) {
        self.0.push("unknown".into());
    }
}

fn told_by(dialect: Dialect, datagram: &[u8]) -> Vec<String> {
    let mut told = Told::default();
    line::read(datagram, dialect, &mut told);
    told.0
}

/// Each datagram in the statsd dialect, and what is told of it, by ` | `.
fn holds(table: &[(&str, &str)]) {
    for (datagram, expected) in table {
        assert_eq!(told_by(Dialect::Statsd, datagram.as_bytes()).join(" | "), *expected, "{datagram:?}");
    }
}

#[test]
fn lines_are_split_and_blank_ones_skipped() {
    holds(&[
        ("a:1|c", "a count 1"),
        ("a:1|c\nb:2|g\n", "a count 1 | b is 2"),
        ("a:1|c\r\nb:2|g\r\n", "a count 1 | b is 2"),
        ("\n\r\n\na:1|c\n\n", "a count 1"),
        ("", ""),
        ("\n", ""),
    ]);
}

#[test]
fn optional_fields_come_in_any_order_and_unknown_ones_are_counted() {
    holds(&[
        ("a:1|c|@0.5|#k:v|T9|c:x", "a;k=v count 2 at 9"),
        ("a:1|c|c:x|T9|#k:v|@0.5", "a;k=v count 2 at 9"),
        ("a:1|c|T9|#k:v|@0.5", "a;k=v count 2 at 9"),
        ("a:1|c|zzz|#k:v|e:q:r", "unknown | unknown | a;k=v count 1"),
        ("a:1|c|", "unknown | a count 1"),
        ("a:1|c|ci-0123|@0.5", "unknown | a count 2"),
        ("a:1|c|c:8c2b|#k:v", "a;k=v count 1"),
    ]);
}

#[test]
fn bad_values_make_a_bad_line_and_leave_their_neighbours_alone() {
    for value in ["NaN", "nan", "inf", "Infinity", "-Infinity", "0x10", "", "1,5", "1e999", "x"] {
        for kind in ["c", "g", "ms", "h", "d", "m"] {
            let datagram = format!("a:1|c\nb:{value}|{kind}\nc:2|g");
            let expected = ["a count 1", "bad Value", "c is 2"];
            assert_eq!(told_by(Dialect::Statsd, datagram.as_bytes()), expected, "{datagram:?}");
        }
    }
    holds(&[("a:1e3|c", "a count 1000"), ("a:-2.5E-1|c", "a count -0.25"), ("s:|s", "bad Value")]);
}

#[test]
fn invalid_utf8_is_no_harm() {
    assert_eq!(told_by(Dialect::Statsd, b"a\xff\xfeb:1|c"), ["ab count 1"]);
    assert_eq!(told_by(Dialect::Statsd, b"\xff\xfe:1|c"), ["bad Name"]);
    assert_eq!(told_by(Dialect::Statsd, b"s:\xff|s"), ["s has \\xff"]);
    assert_eq!(
        told_by(Dialect::Statsd, b"a:\xff|c\na:1|\xff\na:1|c|#k:v\xff"),
        ["bad Value", "bad Type", "a;k=v count 1"]
    );
}

#[test]
fn each_type_is_aggregated_as_it_says() {
    holds(&[
        ("a:1|c", "a count 1"),
        ("a:1|m", "a count 1"),
        ("a:1|g", "a is 1"),
        ("a:1|ms", "a took 1 x1"),
        ("a:1|h", "a has 1 x1"),
        ("a:1|d", "a has 1 x1"),
        ("a:1|s", "a has 1"),
        ("a:-1|ms", "bad Negative"),
        ("a:-1|h", "a has -1 x1"),
        ("a:-1|c", "a count -1"),
    ]);
}

#[test]
fn a_missing_and_an_unknown_type_are_bad_lines() {
    holds(&[
        ("a", "bad Name"),
        ("a:1", "bad Type"),
        ("a:1|", "bad Type"),
        ("a:1|x", "bad Type"),
        ("a:1|C", "bad Type"),
        ("a:1|cc", "bad Type"),
        ("a:1|@0.1", "bad Type"),
        ("a:1|kv|c", "unknown | bad Type"),
    ]);
}

#[test]
fn rates_scale_and_bad_ones_are_bad_lines() {
    holds(&[
        ("a:3|c|@0.1", "a count 30"),
        ("a:3|c|@1", "a count 3"),
        ("a:3|ms|@0.25", "a took 3 x4"),
        ("a:3|g|@0.1", "a is 3"),
        ("a:3|s|@0.1", "a has 3"),
    ]);
    for rate in ["0", "1.5", "-0.1", "+1", "Infinity", "nan", "", "x", "0x1"] {
        for kind in ["c", "g", "ms", "s"] {
            let datagram = format!("a:3|{kind}|@{rate}");
            assert_eq!(told_by(Dialect::Statsd, datagram.as_bytes()), ["bad Rate"], "{datagram}");
        }
    }
}

#[test]
fn several_values_are_taken_either_way() {
    holds(&[
        ("a:1:2:3|c", "a count 1 | a count 2 | a count 3"),
        ("a:1:2|ms|@0.5|#k:v", "a;k=v took 1 x2 | a;k=v took 2 x2"),
        ("a:1|c:2|c:100|g", "a count 1 | a count 2 | a is 100"),
        ("a:1|c|@0.5:2|c", "a count 2 | a count 2"),
        ("a:1|c:2|c|@0.5|#k:v", "a;k=v count 1 | a;k=v count 4"),
        ("a:1:x:3|c", "a count 1 | bad Value | a count 3"),
        ("a:1|c:x|c:3|c", "a count 1 | bad Value | a count 3"),
        ("a:1|q:2|c", "bad Type | a count 2"),
        ("a:1|c:", "a count 1 | bad Type"),
        ("a:1:-1|ms", "a took 1 x1 | bad Negative"),
        ("a::|c", "bad Value | bad Value"),
        ("s:a:b|s", "s has a:b"),
        ("u:1|s:2|s", "u has 1 | u has 2"),
    ]);
}

#[test]
fn a_sign_changes_a_gauge_but_in_datadogs_dialect() {
    holds(&[
        ("g:5|g", "g is 5"),
        ("g:+5|g", "g by 5"),
        ("g:-5|g", "g by -5"),
        ("g:1:-1|g", "g is 1 | g by -1"),
    ]);
    for (datagram, expected) in [("g:5|g", "g is 5"), ("g:+5|g", "g is 5"), ("g:-5|g", "g is -5")] {
        assert_eq!(told_by(Dialect::Datadog, datagram.as_bytes()), [expected]);
    }
}

#[test]
fn tags_of_every_form_are_one_series() {
    for line in [
        "n:1|c|#a:1,b:2",
        "n:1|c|#b:2,a:1",
        "n,b=2,a=1:1|c",
        "n;a=1;b=2:1|c",
        "n[b=2,a=1]:1|c",
        "n#a=1,b=2:1|c",
        "n;b=2:1|c|#a:1",
        "n:1|c|#,a:1,,b:2,",
        "n:1|c|#b:2,a:1,b:2,:x,x:",
    ] {
        assert_eq!(told_by(Dialect::Statsd, line.as_bytes()), ["n;a=1;b=2 count 1"], "{line}");
    }
    holds(&[
        ("n:1|c|#url:http://x:80/y", "n;url=http://x:80/y count 1"),
        ("n:1|c|#bare", "n;bare=true count 1"),
        ("n:1|c|#", "n count 1"),
        ("n[a=1].m:1|c", "n.m;a=1 count 1"),
        ("n:1|c|#a:1|T7|#a:2", "n;a=2 count 1 at 7"),
        ("n,a=b=c:1|c", "n;a=b=c count 1"),
        ("n:1|c|#k:x  y;z", "n;k=x_yz count 1"),
    ]);
}

#[test]
fn time_stamps_are_positive_whole_numbers() {
    holds(&[("a:1|g|T1656581400", "a is 1 at 1656581400")]);
    for stamp in ["T0", "T-5", "T", "Tx", "T1.5", "T99999999999999999999999"] {
        let line = format!("a:1|g|{stamp}");
        assert_eq!(told_by(Dialect::Statsd, line.as_bytes()), ["bad Timestamp"], "{line}");
    }
}

#[test]
fn events_go_by_their_lengths() {
    holds(&[
        ("_e{5,4}:title|text", "event title/text dNone h k p s t #"),
        ("_e{3,3}:a|b|c|d", "event a|b/c|d dNone h k p s t #"),
        (
            "_e{1,1}:a|b|d:7|h:host|k:key|p:low|s:src|t:error|#x:y,z|c:id|new",
            "unknown | event a/b dSome(7) hhost kkey plow ssrc terror #x:y,z",
        ),
        ("_e{1,1}:a|b|p:low|p:normal", "event a/b dNone h k pnormal s t #"),
        ("_e{1,0}:a|", "event a/ dNone h k p s t #"),
        ("_e{2,2}:\u{e9}|ok", "event \u{e9}/ok dNone h k p s t #"),
    ]);
    for line in [
        "_e{5,4}:titl|text",
        "_e{5,5}:title|text",
        "_e{5,3}:title|text",
        "_e{0,1}:|a",
        "_e{1,1}a|b",
        "_e{1,1:a|b",
        "_e{1}:a|b",
        "_e{-1,1}:a|b",
        "_e{99999999999999999999,1}:a|b",
        "_e{1,1}:a|b|d:x",
        "_e{",
    ] {
        assert_eq!(told_by(Dialect::Statsd, line.as_bytes()), ["bad Event"], "{line}");
    }
    // Any other name that begins so is a name.
    holds(&[("_e:1|c", "_e count 1"), ("_sc:1|c", "_sc count 1")]);
}

#[test]
fn service_checks_have_a_status_up_to_3() {
    holds(&[
        ("_sc|db.up|0", "check db.up=0 dNone h m #"),
        ("_sc|db|3|d:7|h:host|#a:b|m:it is: down", "check db=3 dSome(7) hhost mit is: down #a:b"),
        ("_sc|db|1|m:one|m:two", "check db=1 dNone h mtwo #"),
    ]);
    for line in ["_sc|db|4", "_sc|db|-1", "_sc|db|", "_sc|db", "_sc||0", "_sc|", "_sc|db|0x", "_sc|db|1|d:x"]
    {
        assert_eq!(told_by(Dialect::Statsd, line.as_bytes()), ["bad Check"], "{line}");
    }
}

#[test]
fn names_are_cleaned_so_that_equal_ones_merge() {
    holds(&[
        ("a  \t b/c:1|c", "a_b-c count 1"),
        ("a!@$%^&*()b:1|c", "ab count 1"),
        ("A-z_0.9=x:1|c", "A-z_0.9=x count 1"),
        ("__proto__:1|c", "__proto__ count 1"),
        ("constructor:1|c", "constructor count 1"),
        ("statsd.bad_lines_seen:1|c", "statsd.bad_lines_seen count 1"),
        (":1|c", "bad Name"),
        ("!!:1|c", "bad Name"),
        (";k=v:1|c", "bad Name"),
        (",k=v:1|c", "bad Name"),
        ("[k=v]:1|c", "bad Name"),
        (":1|c:2|c", "bad Name"),
        ("\u{2028}\u{a0}x\u{85}:1|c", "_x count 1"),
    ]);
}

#[test]
fn prometheus_has_names_of_its_own() {
    for (name, expected) in [("a.b-c=d", "a_b_c_d"), ("0a", "_0a"), ("a:b_1", "a:b_1"), ("9", "_9")] {
        assert_eq!(prometheus(name), expected);
    }
}

/// Most lines are read on a way of their own, which a rate leaves.
#[test]
fn a_rate_of_1_changes_nothing() {
    let names = ["a", "_a", "_e{", "a b", "/", "!", "\u{e9}", "", "a,k=v", "[k=v]b"];
    let values = [
        "0",
        "-0",
        "+0",
        "1",
        "-1",
        "+1.5",
        ".5",
        "5.",
        ".",
        "-.",
        "-",
        "+",
        "",
        "x",
        "1x",
        "1 ",
        "1e3",
        "1..2",
        "--1",
        "1:2",
        "1:",
        "123456789012345",
        "1234567890123456",
        "0.12345678901234",
        "0.123456789012345",
        "12345678901234567",
        "0.1234567890123456",
        "1e400",
        "\r",
        "1\r",
    ];
    let types = ["c", "m", "g", "ms", "h", "d", "s", "", "x", "mss", "cc", "C", "m s"];
    let ends = ["", "\r", "\n\n", "\nz:2|c", "\r\nz:2|c"];
    for (name, value) in names.iter().flat_map(|name| values.map(|value| (name, value))) {
        for (kind, end) in types.iter().flat_map(|kind| ends.map(|end| (kind, end))) {
            for dialect in [Dialect::Statsd, Dialect::Datadog] {
                let told = |rate: &str| {
                    told_by(dialect, format!("z:1|c\n{name}:{value}|{kind}{rate}{end}").as_bytes())
                };
                assert_eq!(told(""), told("|@1"), "{name}:{value}|{kind}{end}");
            }
        }
    }
}

#[test]
fn a_line_as_long_as_a_datagram_can_be_is_read() {
    let name = "n".repeat(65_000);
    assert_eq!(told_by(Dialect::Statsd, format!("{name}:1|c").as_bytes()), [format!("{name} count 1")]);
    let values = vec!["1"; 30_000].join(":");
    assert_eq!(told_by(Dialect::Statsd, format!("a:{values}|c").as_bytes()).len(), 30_000);
    assert_eq!(told_by(Dialect::Statsd, &[b'x'; 65_507]), ["bad Name"]);
    assert_eq!(told_by(Dialect::Statsd, &[b'|'; 65_507]), ["bad Name"]);
    assert_eq!(told_by(Dialect::Statsd, &[b':'; 65_507]), ["bad Name"]);
}

#[test]
fn what_clients_send_is_read() {
    holds(&[
        ("g:0\ng:-5", "bad Type | bad Type"),
        ("g:0|g\ng:-5|g", "g is 0 | g by -5"),
        ("x:1|c|#env:prod|T1656581400|c:ci-1\n", "x;env=prod count 1 at 1656581400"),
        ("x,env=prod:1|c", "x;env=prod count 1"),
        ("x:1:2:3|d|#a:b|c:in-9", "x;a=b has 1 x1 | x;a=b has 2 x1 | x;a=b has 3 x1"),
        ("x:1|c|@0.5|T7|#a:b", "x;a=b count 2 at 7"),
    ]);
}
