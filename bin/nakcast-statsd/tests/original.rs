//! The original's configuration: its literals as they are written, its defaults, and what is said of what is wrong.

use nakcast_statsd::config::original::{
    Console, Graphite, Listener, Original, Remote, Repeater, RepeaterProtocol,
};
use nakcast_statsd::output::graphite::{Names, Protocol};
use nakcast_statsd::shard::Idle;
use nakcast_statsd::timer::{Bins, Plan};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn parse(text: &str) -> Original {
    Original::parse(text).unwrap_or_else(|problem| panic!("{problem:?}: {text}"))
}

/// The problem, with its line before it.
fn problem(text: &str) -> String {
    let problem = Original::parse(text).expect_err(text);
    problem.line.map_or(problem.text.clone(), |line| format!("{line}: {}", problem.text))
}

fn udp(address: &str) -> Listener {
    Listener::Udp(address.parse().unwrap())
}

#[test]
fn what_is_left_out_has_the_originals_defaults() {
    let expected = Original {
        listeners: vec![udp("0.0.0.0:8125")],
        admin: "0.0.0.0:8126".parse().unwrap(),
        flush_interval: Duration::from_secs(10),
        plan: Plan::default(),
        idle: Idle::default(),
        stats_prefix: "statsd".into(),
        graphite: None,
        console: None,
        repeater: None,
        is_up: true,
        reload: true,
        warnings: Vec::new(),
    };
    assert_eq!(parse("{}"), expected);
    // JavaScript's false values, where the original takes its default instead of them.
    assert_eq!(
        parse(
            "{port: 0, address: '', flushInterval: 0, percentThreshold: 0, mgmt_port: null, servers: null,
              backends: false, graphiteHost: '', gaugesMaxTTL: 'x', healthStatus: '', histogram: null}"
        ),
        expected
    );
}

#[test]
fn a_file_is_written_as_javascript_is() {
    let text = "\u{feff}/* what it\n is; {[[ */\n{\n  port: 9125 // a port\n, 'address': '127.0.0.1'\n, \"mgmt_port\": 0x1fbe\n\
                , prefixStats: 'it\\'s'\n, backends: [ \"./backends/console\", ]\n,}";
    // A comma behind which nothing follows stands on a line of its own as well as before the brace.
    for end in ["", ";", "; // the end;\n", "\n;\n/* ; */"] {
        let config = parse(&format!("{text}{end}"));
        assert_eq!(config.listeners, [udp("127.0.0.1:9125")]);
        assert_eq!(config.admin.port(), 8126);
        assert_eq!(config.stats_prefix, "it's");
        assert_eq!(config.console, Some(Console { pretty: false }));
        assert_eq!(config.warnings, [""; 0]);
    }
    let json = parse("{\"port\": 9125, \"address\": \"::1\", \"deleteIdleStats\": true}");
    assert_eq!(json.listeners, [udp("[::1]:9125")]);
    assert!(json.idle.delete_sets);
}

#[test]
fn an_expression_is_refused_with_its_line() {
    let behind = "must be an object literal of plain values, as JSON5 has them; expressions are not run";
    for (text, line, what) in [
        ("{\n  port: 8125,\n  graphiteHost: process.env.HOST\n}", 3, "expected"),
        ("{\n graphite: {\n  globalSuffix: require('os').hostname()\n }\n}", 3, "expected"),
        ("{\n port: 8000 + 125 }", 2, "expected comma"),
        ("module.exports = {}", 1, "expected"),
        ("\n{\n port: 8125", 2, "EOF"),
        ("{ port: 8125\n address: '::' }", 2, "expected comma"),
        ("{};\n{}", 1, "trailing characters"),
        ("{}\n;;", 2, "trailing characters"),
    ] {
        let problem = problem(text);
        assert!(
            problem.starts_with(&format!("{line}: {what}")) && problem.ends_with(behind),
            "{text}: {problem}"
        );
    }
    assert_eq!(problem(""), format!("EOF parsing value: {behind}"));
    let deep = format!("{{\n a: {}", "[".repeat(100_000));
    assert_eq!(problem(&deep), "2: too many brackets within brackets");
    assert_eq!(problem("[]"), "must be an object, { key: value }, not a list");
}

#[test]
fn servers_are_listeners() {
    let config = parse(
        "{ port: 1, address: 'ignored.invalid', servers: [
            { server: './servers/udp', address: '127.0.0.1', port: 8125 },
            { server: './servers/udp', address_ipv6: true, port: '8127' },
            { server: './servers/tcp.js', address: 'localhost', port: 8128 },
            { server: './servers/tcp', socket: '/run/statsd.socket', socket_mod: '0660' },
            { server: 'tcp', socket: 'a', socket_mod: 432 },
            { server: 'tcp', socket: 'b' },
            {} ] }",
    );
    assert_eq!(
        config.listeners,
        [
            udp("127.0.0.1:8125"),
            udp("[::]:8127"),
            Listener::Tcp("127.0.0.1:8128".parse().unwrap()),
            Listener::Unix("/run/statsd.socket".into(), Some(0o660)),
            Listener::Unix("a".into(), Some(0o660)),
            Listener::Unix("b".into(), None),
            udp("0.0.0.0:8125"),
        ]
    );
    let ignored = ["address", "port"].map(|key| format!("{key}: means nothing where there are servers"));
    assert_eq!(config.warnings, ignored);
    assert_eq!(
        parse("{ server: './servers/tcp', port: 7 }").listeners,
        [Listener::Tcp("0.0.0.0:7".parse().unwrap())]
    );
}

#[test]
fn graphite_is_the_backend_unless_others_are_named() {
    let graphite = Graphite {
        remote: Remote { host: "g".into(), port: 2003 },
        protocol: Protocol::Text,
        names: Names::default(),
    };
    assert_eq!(parse("{graphiteHost: 'g'}").graphite, Some(graphite));
    let ports = "graphiteHost: 'g', graphitePort: 7, graphitePicklePort: 8";
    let remote = Remote { host: "g".into(), port: 7 };
    assert_eq!(parse(&format!("{{{ports}}}")).graphite.map(|graphite| graphite.remote), Some(remote));
    let config = parse(&format!(
        "{{{ports}, graphiteProtocol: 'pickle', prefixStats: 'me', flush_counts: false, backends: ['./backends/graphite.js'],
           graphite: {{legacyNamespace: false, globalPrefix: '', prefixCounter: 'c', prefixTimer: 't',
                       prefixGauge: 'g', prefixSet: 's', globalSuffix: 'host'}}}}"
    ));
    let names = Names {
        legacy: false,
        global_prefix: String::new(),
        prefix_counter: "c".into(),
        prefix_timer: "t".into(),
        prefix_gauge: "g".into(),
        prefix_set: "s".into(),
        prefix_stats: "me".into(),
        global_suffix: "host".into(),
        flush_counts: false,
    };
    let remote = Remote { host: "g".into(), port: 8 };
    let expected = Graphite { remote, protocol: Protocol::Pickle, names };
    assert_eq!(config.graphite, Some(expected));
    let config = parse("{graphiteHost: 'g', backends: ['./backends/console'], console: {prettyprint: true}}");
    assert_eq!((config.graphite, config.console), (None, Some(Console { pretty: true })));
    // Named, but nowhere.
    assert_eq!(parse("{backends: ['graphite']}").graphite, None);
}

#[test]
fn a_repeater_sends_on_when_it_is_a_backend() {
    let list = "repeater: [{host: '10.0.0.1', port: 8125}, {host: 'b', port: '9'}]";
    let remotes = vec![Remote { host: "10.0.0.1".into(), port: 8125 }, Remote { host: "b".into(), port: 9 }];
    assert_eq!(parse(&format!("{{{list}}}")).repeater, None);
    for (text, protocol) in [
        ("", RepeaterProtocol::Udp4),
        (", repeaterProtocol: 'udp4'", RepeaterProtocol::Udp4),
        (", repeaterProtocol: 'udp6'", RepeaterProtocol::Udp6),
        (", repeaterProtocol: 'tcp'", RepeaterProtocol::Tcp),
    ] {
        let config = parse(&format!("{{{list}, backends: ['./backends/repeater']{text}}}"));
        assert_eq!(config.repeater, Some(Repeater { protocol, remotes: remotes.clone() }));
    }
}

#[test]
fn what_is_told_of_timers() {
    let config =
        parse("{percentThreshold: [50, -10, 99.9, 0], calculatedTimerMetrics: ['count', 'upper_percent']}");
    let told = ["count".to_owned(), "upper_percent".to_owned()];
    assert_eq!(config.plan, Plan::new(&[50.0, -10.0, 99.9], &[], &told).unwrap());
    assert_eq!(parse("{percentThreshold: '75'}").plan, Plan::new(&[75.0], &[], &[]).unwrap());
    let config = parse("{histogram: [{metric: 'foo', bins: []}, {metric: '', bins: [1, 2.5, 'inf']}]}");
    let bins = [
        Bins { metric: "foo".into(), bounds: Vec::new() },
        Bins { metric: String::new(), bounds: vec![1.0, 2.5, f64::INFINITY] },
    ];
    assert_eq!(config.plan, Plan::new(&[90.0], &bins, &[]).unwrap());
}

#[test]
fn idle_series_are_deleted_one_kind_or_all() {
    let all = Idle { delete_counters: true, delete_timers: true, delete_sets: true, gauge_life: Some(1) };
    assert_eq!(parse("{deleteIdleStats: true}").idle, all);
    let but_timers = Idle { delete_timers: false, ..all };
    assert_eq!(parse("{deleteIdleStats: true, deleteTimers: false}").idle, but_timers);
    assert_eq!(parse("{deleteSets: true}").idle, Idle { delete_sets: true, ..Idle::default() });
    assert_eq!(parse("{deleteCounters: true}").idle, Idle { delete_counters: true, ..Idle::default() });
    let life = |text: &str| parse(text).idle.gauge_life;
    assert_eq!(life("{deleteGauges: true, gaugesMaxTTL: 3}"), Some(3));
    assert_eq!(life("{deleteGauges: true, gaugesMaxTTL: 2.5}"), Some(1));
    assert_eq!(life("{gaugesMaxTTL: 3}"), None);
    assert_eq!(life("{deleteIdleStats: true, deleteGauges: false}"), None);
}

#[test]
fn the_rest_of_the_keys() {
    let config = parse(
        "{mgmt_address: '127.0.0.1', mgmt_port: 7, flushInterval: 250, prefixStats: '', healthStatus: 'down',
          automaticConfigReload: false, keyNameSanitize: true, dumpMessages: false, debug: false}",
    );
    assert_eq!(config.admin, "127.0.0.1:7".parse().unwrap());
    assert_eq!(config.flush_interval, Duration::from_millis(250));
    assert_eq!(config.stats_prefix, "");
    assert!(!config.is_up && !config.reload);
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn what_is_not_done_is_said() {
    let unknown = "nobody knows this key, and it is not looked at";
    let config = parse(
        "{port: 1, graphite: {prefix: ''}, servers: [{tls: true}], console: {x: 1}, repeater: [{host: 'a', port: 1, w: 2}],
          backends: ['statsd-influxdb-backend'], __proto__: 1}",
    );
    for key in ["graphite.prefix", "servers[0].tls", "console.x", "repeater[0].w", "__proto__"] {
        let line = format!("{key}: {unknown}");
        assert!(config.warnings.contains(&line), "{line}: {:?}", config.warnings);
    }
    let backend =
        "backends: \"statsd-influxdb-backend\" is not among graphite, console and repeater".to_owned();
    assert!(config.warnings.contains(&backend), "{:?}", config.warnings);
    assert_eq!(config.warnings.len(), 7);

    let config = parse(
        "{keyFlush: {interval: 1}, dumpMessages: true, debug: true, debugInterval: 1, log: {}, title: 'x', keyNameSanitize: false}",
    );
    for key in ["keyFlush", "dumpMessages", "debug", "debugInterval", "log", "title"] {
        let line = format!("{key}: is known, and has no effect here");
        assert!(config.warnings.contains(&line), "{line}: {:?}", config.warnings);
    }
    assert_eq!(config.warnings[0], "keyNameSanitize: names are cleaned all the same");
    assert_eq!(config.warnings.len(), 7);
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    for (text, expected) in [
        ("{port: 65536}", "port: must be a port, 1 to 65535, not 65536"),
        ("{port: 'x'}", "port: must be a port, 1 to 65535, not \"x\""),
        ("{port: 1.5}", "port: must be a port, 1 to 65535, not 1.5"),
        ("{mgmt_port: -1}", "mgmt_port: must be a port, 1 to 65535, not -1"),
        ("{servers: [{}, {port: {}}]}", "servers[1].port: must be a port, 1 to 65535, not an object"),
        ("{servers: {}}", "servers: must be a list, not an object"),
        ("{prefixStats: 'a b'}", "prefixStats: must be a string without white space, not \"a b\""),
        (
            "{graphite: {globalSuffix: 'a\\nb'}}",
            "graphite.globalSuffix: must be a string without white space, not \"a\\nb\"",
        ),
        (
            "{socket_mod: '0o0o660'}",
            "socket_mod: must be a mode in octal as a string, such as '0660', not \"0o0o660\"",
        ),
        ("{servers: []}", "servers: must be a list of one or more, or left out"),
        ("{servers: [1]}", "servers[0]: must be an object, { key: value }, not 1"),
        ("{server: './servers/quic'}", "server: must be './servers/udp' or './servers/tcp', not \"quic\""),
        ("{address: 5}", "address: must be a string, not 5"),
        (
            "{address: 'a b'}",
            "address: must be an IPv4 address of this machine, or a name that has one, not \"a b\"",
        ),
        (
            "{socket_mod: '0999'}",
            "socket_mod: must be a mode in octal as a string, such as '0660', not \"0999\"",
        ),
        (
            "{flushInterval: -5}",
            "flushInterval: must be a whole number of milliseconds, 1 to 2147483647, not -5",
        ),
        (
            "{flushInterval: Infinity}",
            "flushInterval: must be a whole number of milliseconds, 1 to 2147483647, not Infinity",
        ),
        (
            "{percentThreshold: [50, 'x']}",
            "percentThreshold: must be a number from -100 to 100, or a list of such, not \"x\"",
        ),
        (
            "{percentThreshold: 101}",
            "percentThreshold: must be a number from -100 to 100, or a list of such, not 101",
        ),
        ("{histogram: [{bins: []}]}", "histogram[0].metric: must be a string, a part of the timers' names"),
        (
            "{histogram: [{metric: '', bins: ['x']}]}",
            "histogram[0].bins: must be a list of numbers and 'inf', not \"x\"",
        ),
        ("{histogram: [{metric: '', bins: [2, 1]}]}", "histogram of \"\": its bins must ascend"),
        ("{histogram: [{metric: '', bin: [2]}]}", "histogram[0].bin: must be metric or bins"),
        ("{backends: './backends/console'}", "backends: must be a list, not \"./backends/console\""),
        ("{backends: [1]}", "backends[0]: must be a string, not 1"),
        ("{graphiteProtocol: 'json'}", "graphiteProtocol: must be 'text' or 'pickle', not \"json\""),
        ("{graphite: {globalPrefix: 1}}", "graphite.globalPrefix: must be a string, not 1"),
        ("{graphite: 'x'}", "graphite: must be an object, { key: value }, not \"x\""),
        ("{deleteIdleStats: 'yes'}", "deleteIdleStats: must be true or false, not \"yes\""),
        ("{healthStatus: 'ill'}", "healthStatus: must be 'up' or 'down', not \"ill\""),
        ("{repeaterProtocol: 'udp'}", "repeaterProtocol: must be 'udp4', 'udp6' or 'tcp', not \"udp\""),
        ("{repeater: [{host: 'a'}]}", "repeater[0]: must be { host: 'name', port: number }"),
        ("{address: '239.1.2.3'}", "address: must be a unicast address of this machine, not \"239.1.2.3\""),
        (
            "{mgmt_address: 'ff15::1'}",
            "mgmt_address: must be a unicast address of this machine, not \"ff15::1\"",
        ),
        (
            "{graphiteHost: '239.1.2.3'}",
            "graphiteHost: it takes a name or a unicast address, since TCP connects to no multicast group, not \"239.1.2.3\"",
        ),
        (
            "{graphiteHost: 'a b'}",
            "graphiteHost: it takes HOST:PORT, as in graphite.example:2003, 192.0.2.2:2003 or [2001:db8::2]:2003, not \"a b\"",
        ),
        (
            "{repeaterProtocol: 'tcp', repeater: [{host: 'a', port: 1}, {host: 'ff15::1', port: 1}]}",
            "repeater[1].host: it takes a name or a unicast address, since TCP connects to no multicast group, not \"ff15::1\"",
        ),
        (
            "{repeater: [{host: 'fe80::1', port: 1}]}",
            "repeater[0].host: it takes a link-local address with its interface behind it, as in [fe80::1%eth0]:1, not \"fe80::1\"",
        ),
        // A number of more than 128 bits is one like others.
        ("{port: 1{0}}", "port: must be a port, 1 to 65535, not 1e+60"),
        (
            "{flushInterval: -1{0}}",
            "flushInterval: must be a whole number of milliseconds, 1 to 2147483647, not -1e+60",
        ),
        ("{servers: 1{0}}", "servers: must be a list, not 1e+60"),
    ] {
        assert_eq!(problem(&text.replace("{0}", &"0".repeat(60))), expected);
    }
    for remote in ["10.0.0.1", "a.b", "fe80::1%eth0", "2001:db8::1"] {
        let config =
            parse(&format!("{{graphiteHost: '{remote}', repeater: [{{host: '{remote}', port: 1}}]}}"));
        assert_eq!(config.graphite.unwrap().remote.host, remote);
    }
    // A group is sent datagrams.
    let config = parse("{repeater: [{host: '239.1.2.3', port: 1}], backends: ['repeater']}");
    assert_eq!(config.repeater.unwrap().remotes[0].host, "239.1.2.3");
}

#[test]
fn a_file_is_named_in_what_is_said_of_it() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("original-{}.js", std::process::id()));
    let error = Original::read(&file).unwrap_err();
    assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
    fs::write(&file, "{\nport: 8125\n}").unwrap();
    assert_eq!(Original::read(&file), Ok(parse("{port: 8125}")));
    fs::write(&file, "{\nport: process.env.PORT\n}").unwrap();
    let error = Original::read(&file).unwrap_err();
    assert!(error.starts_with(&format!("{}:2: expected", file.display())), "{error}");
    fs::write(&file, "{port: 'x'}").unwrap();
    let error = Original::read(&file).unwrap_err();
    assert_eq!(error, format!("{}: port: must be a port, 1 to 65535, not \"x\"", file.display()));
    fs::write(&file, b"{port: '\xff'}").unwrap();
    assert!(Original::read(&file).is_err());
    fs::remove_file(&file).unwrap();
}
