//! The collector's own configuration: its keys, its example, and what is said of what is wrong.

use nakcast::net::interfaces;
use nakcast_statsd::config::circle::check;
use nakcast_statsd::config::own::{example, parse};
use nakcast_statsd::config::settings::{At, Console, Settings, ToFile};
use nakcast_statsd::line::Dialect;
use nakcast_statsd::output::console::Form;
use nakcast_statsd::output::graphite::{Names, Protocol};
use nakcast_statsd::output::influx::Influx;
use nakcast_statsd::shard::{Idle, Limits};
use nakcast_statsd::stream::Bounds;
use nakcast_statsd::timer::{Bins, Plan};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn good(text: &str) -> Settings {
    parse(text).unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

#[test]
fn the_example_says_what_is_so_without_it() {
    assert_eq!(good(""), Settings::default());
    assert_eq!(good(&example()), Settings::default(), "{}", example());
}

/// Every line that is marked as not there by default can be as it stands, too.
#[test]
fn what_the_example_leaves_out_can_be_put_in() {
    let example = example();
    let (mut text, mut section) = (String::new(), String::new());
    for line in example.lines().skip(1) {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split(" = ").next().unwrap_or(bare);
        if bare.starts_with('[') {
            section = bare.to_owned();
        }
        // A listener is at one place, and so is a server.
        let is_other = match &*section {
            "[[listen]]" => !["udp", "dialect", &section].contains(&key),
            "[[repeat]]" => ["tcp", "interface"].contains(&key),
            _ => false,
        };
        if !is_other && !key.contains(' ') && bare.contains(['=', '[']) && !bare.starts_with('#') {
            text += &format!("{bare}\n");
        }
    }
    let settings = good(&text);
    assert_eq!(settings.listeners[0].at, At::Udp("0.0.0.0:8125".parse().unwrap()), "{text}");
    assert_eq!(settings.idle.gauge_life, Some(1), "{text}");
    assert!(settings.graphite.is_some() && settings.prometheus.is_some() && settings.console.is_some());
    assert!(settings.file.is_some() && settings.influx.is_some() && settings.publish.is_some());
    assert_eq!(settings.repeat.len(), 1);
}

#[test]
fn every_key_is_taken() {
    let settings = good(
        "flush_interval = '500ms'\npercentiles = [50, -10, '99.9']\ntimer_statistics = ['count']\nconsole = 'json'
         prometheus = '127.0.0.1:1'\nadmin = '127.0.0.1:7'\nreceive_buffer = 65536\nwatch = true\nestimate = true\nthreads = 3
         limits = {series = 7, name_bytes = '1M', samples = 8, timer_values = 3, sketches = 4, member_bytes = 9, set_members = 10, estimates = 11, connections = 5, connection_idle = '2m'}
         idle = {delete_counters = true, delete_timers = true, delete_sets = true, gauge_flushes = 3}
         [[listen]]\nudp = '[::1]:2'\ndialect = 'datadog'
         [[listen]]\ngroup = '239.1.2.3:4'\ninterface = 'lo'
         [[listen]]\ntcp = '127.0.0.1:5'
         [[listen]]\nunix = '/a'\nmode = '0660'
         [[listen]]\nunix_stream = '/b'
         [[histogram]]\nname = 'x'\nbins = [1, 2.5, inf]
         [graphite]\nserver = 'g:5'\nprotocol = 'pickle'\nnamespace = 'new'\nglobal_prefix = 'a'\nprefix_counter = 'b'
         prefix_timer = 'c'\nprefix_gauge = 'd'\nprefix_set = 'e'\nprefix_stats = 'f'\nglobal_suffix = 'h'\nflush_counts = false
         [file]\npath = '/f'\nformat = 'pretty'
         [influx]\nurl = 'http://i:1/write?db=d'\ntoken = 't'
         [[repeat]]\nudp = '239.1.2.3:9'\ninterface = 'lo'
         [[repeat]]\ntcp = 'r:9'
         [publish]\ngroup = '239.1.2.3:5'\ntopic = 'a.b'\ninterface = 'lo'",
    );
    let bins = [Bins { metric: "x".into(), bounds: vec![1.0, 2.5, f64::INFINITY] }];
    assert_eq!(settings.plan, Plan::new(&[50.0, -10.0, 99.9], &bins, &["count".into()]).unwrap());
    assert_eq!((settings.flush_interval, settings.receive_buffer), (Duration::from_millis(500), 65_536));
    assert_eq!((settings.console, settings.watch, settings.threads), (Some(Console::Json), true, 3));
    assert!(settings.estimate);
    let limits = Limits {
        series: 7,
        name_bytes: 1 << 20,
        samples: 8,
        timer_values: 3,
        sketches: 4,
        member_bytes: 9,
        set_members: 10,
        estimates: 11,
    };
    let idle = Idle { delete_counters: true, delete_timers: true, delete_sets: true, gauge_life: Some(3) };
    assert_eq!((settings.limits, settings.idle), (limits, idle));
    assert_eq!(
        settings.streams,
        Bounds { connections: 5, idle: Duration::from_secs(120), ..Bounds::default() }
    );
    let listeners = settings.listeners.iter().map(|one| (&one.at, one.dialect, &*one.by)).collect::<Vec<_>>();
    assert_eq!(
        listeners,
        [
            (&At::Udp("[::1]:2".parse().unwrap()), Dialect::Datadog, "listen[0].udp"),
            (
                &At::Group("239.1.2.3:4".parse().unwrap(), Some("lo".into())),
                Dialect::Statsd,
                "listen[1].group, interface"
            ),
            (&At::Tcp("127.0.0.1:5".parse().unwrap()), Dialect::Statsd, "listen[2].tcp"),
            (&At::Unix("/a".into(), Some(0o660)), Dialect::Statsd, "listen[3].unix"),
            (&At::UnixStream("/b".into(), None), Dialect::Statsd, "listen[4].unix_stream"),
        ]
    );
    assert_eq!(settings.file, Some(ToFile { path: "/f".into(), form: Form::Pretty, by: "file.path".into() }));
    assert_eq!(settings.influx, Some(Influx { url: "http://i:1/write?db=d".into(), token: "t".into() }));
    let targets = settings.repeat.iter().map(|target| (target.to_string(), target.interface.as_deref()));
    let expected = [("udp 239.1.2.3:9".into(), Some("lo")), ("tcp r:9".into(), None)];
    assert_eq!(targets.collect::<Vec<_>>(), expected);
    let publish = settings.publish.unwrap();
    assert_eq!((publish.group, &*publish.topic), ("239.1.2.3:5".parse().unwrap(), "a.b"));
    assert_eq!(publish.interface.as_deref(), Some("lo"));
    let graphite = settings.graphite.unwrap();
    let names = Names {
        legacy: false,
        global_prefix: "a".into(),
        prefix_counter: "b".into(),
        prefix_timer: "c".into(),
        prefix_gauge: "d".into(),
        prefix_set: "e".into(),
        prefix_stats: "f".into(),
        global_suffix: "h".into(),
        flush_counts: false,
    };
    assert_eq!((&*graphite.server, graphite.protocol, graphite.names), ("g:5", Protocol::Pickle, names));
    assert_eq!(settings.prometheus.unwrap().address, "127.0.0.1:1".parse().unwrap());
    assert_eq!(settings.admin.unwrap().address, "127.0.0.1:7".parse().unwrap());
}

#[test]
fn what_would_go_round_is_not_sent_on() {
    let check = |listen: &str, repeat: &str| {
        check(&good(&format!("[[listen]]\n{listen}\n[[listen]]\nudp = '127.0.0.1:7'\n[[repeat]]\n{repeat}")))
    };
    let (mut here, mut with_scope) = (Vec::new(), Vec::new());
    for interface in interfaces().unwrap() {
        for ip in interface.addresses {
            match ip {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                    with_scope.push(format!("[{ip}%{}]:9", interface.name));
                }
                ip => here.push(SocketAddr::new(ip, 9)),
            }
        }
    }
    for to in here.iter().filter(|to| to.is_ipv4()) {
        let problem = check("udp = '0.0.0.0:9'", &format!("udp = '{to}'")).unwrap_err();
        let named =
            format!("repeat[0].udp: udp {to} is where the collector listens itself (listen[0].udp): ");
        assert!(problem.starts_with(&named), "{problem}");
    }
    for to in here.iter().map(SocketAddr::to_string).chain(with_scope) {
        assert!(check("udp = '[::]:9'", &format!("udp = '{to}'")).is_err(), "{to}");
    }
    for (listen, repeat) in [
        ("udp = '192.0.2.1:9'", "udp = '192.0.2.1:9'"),
        ("udp = '[::ffff:192.0.2.1]:9'", "udp = '192.0.2.1:9'"),
        ("udp = '0.0.0.0:9'", "udp = '127.0.0.77:9'"),
        ("udp = '127.0.0.1:9'", "udp = '0.0.0.0:9'"),
        ("udp = '[::1]:9'", "udp = '[::]:9'"),
        ("tcp = '127.0.0.1:9'", "tcp = '127.0.0.1:9'"),
        ("tcp = '0.0.0.0:9'", "tcp = 'LocalHost:9'"),
        ("group = '239.1.2.3:9'\ninterface = 'lo'", "udp = '239.1.2.3:9'\ninterface = '127.0.0.1'"),
    ] {
        assert!(check(listen, repeat).is_err(), "{listen}: {repeat}");
    }
    for (listen, repeat) in [
        ("udp = '127.0.0.1:9'", "udp = '127.0.0.1:10'"),
        ("udp = '127.0.0.1:9'", "tcp = '127.0.0.1:9'"),
        ("tcp = '127.0.0.1:9'", "udp = '127.0.0.1:9'"),
        ("udp = '127.0.0.1:9'", "udp = '127.0.0.2:9'"),
        ("udp = '0.0.0.0:9'", "udp = '192.0.2.77:9'"),
        ("udp = '0.0.0.0:9'", "udp = '[::1]:9'"),
        ("udp = '0.0.0.0:9'", "udp = 'name.invalid:9'"),
        ("unix = '/a'", "udp = '127.0.0.1:9'"),
        ("group = '239.1.2.3:9'\ninterface = 'lo'", "udp = '239.1.2.4:9'\ninterface = 'lo'"),
        ("group = '239.1.2.3:9'\ninterface = 'lo'", "udp = '239.1.2.3:10'\ninterface = 'lo'"),
        // Another error.
        ("group = '239.1.2.3:9'\ninterface = 'lo'", "udp = '239.1.2.3:9'\ninterface = 'no-such'"),
    ] {
        assert_eq!(check(listen, repeat), Ok(()), "{listen}: {repeat}");
    }
}

#[test]
fn servers_are_by_name_or_address() {
    let scoped = ["[fe80::1%eth0]:1", "[fe80::1%2]:1"];
    for server in scoped {
        assert_eq!(good(&format!("[graphite]\nserver = '{server}'")).graphite.unwrap().server, server);
        assert_eq!(good(&format!("[[repeat]]\nudp = '{server}'")).repeat[0].server, server);
        assert_eq!(good(&format!("[[repeat]]\ntcp = '{server}'")).repeat[0].server, server);
    }
    for server in ["graphite:1", "a-b.c_d:65535", "192.0.2.1:1", "[2001:db8::1]:1"] {
        assert_eq!(good(&format!("[graphite]\nserver = '{server}'")).graphite.unwrap().server, server);
        for url in [format!("http://{server}"), format!("http://me:secret@{server}/write?db=a:b")] {
            assert_eq!(good(&format!("[influx]\nurl = '{url}'")).influx.unwrap().url, url);
        }
    }
    for url in ["http://influx/write?db=x", "http://[::1]/write"] {
        assert_eq!(good(&format!("[influx]\nurl = '{url}'")).influx.unwrap().url, url);
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_what_would_be_right() {
    for (text, expected) in [
        ("\nflush_interval = 0", "2: flush_interval: it takes seconds from 0.01 to 86400"),
        ("percentiles = [90, 0]", "1: percentiles[1]: it takes a number from -100 to 100, and not 0"),
        ("console = 'xml'", "1: console: it takes pretty, json or none, not \"xml\""),
        ("watch = 1", "1: watch: it takes true or false, not 1"),
        ("estimate = 'yes'", "1: estimate: it takes true or false, not \"yes\""),
        ("receive_buffer = [1]", "1: receive_buffer: it takes a whole number of bytes up to 1G"),
        (
            "threads = 1979-05-27",
            "1: threads: it takes a whole number of threads, 1 to 64, not a table or a date",
        ),
        ("console = true", "1: console: it takes pretty, json or none, not true"),
        (
            "percentiles = 90",
            "1: percentiles: invalid type: integer `90`, expected a list: values between [ and ]",
        ),
        (
            "percentiles = 99999999999999999999",
            "1: percentiles: invalid type: integer beyond all bounds, expected a list",
        ),
        // More than the reader has room for.
        ("limits = []", "1: limits: invalid type: sequence, expected a table of keys"),
        ("listen = [['127.0.0.1:1']]", "1: listen[0]: invalid type: sequence, expected a table of keys"),
        ("threads = 0x", "1: threads: it takes a whole number of threads, 1 to 64, not a number that"),
        (
            "[influx]\nurl = 'http://a/'\ntoken = \"a\\nb\"",
            "3: influx.token: it takes a token of visible ASCII characters, in quotes, not \"a\\nb\"",
        ),
        (
            "[[repeat]]\nudp = '255.255.255.255:1'",
            "2: repeat[0].udp: it takes one server or a multicast group",
        ),
        ("limits = {0}", "1: limits: it takes a table of keys, not a number that cannot be read"),
        (
            "listen = {0}",
            "1: listen: it takes a list: values between [ and ], or tables, each under its name",
        ),
        ("listen = [{0}]", "1: listen[0]: it takes a table of keys, not a number that cannot be read"),
        ("file = -{0}", "1: file: it takes a table of keys, not a number that cannot be read"),
        ("flush_interval = {0}", "1: flush_interval: it takes seconds from 0.01 to 86400"),
        ("console = 1e999", "1: console: it takes pretty, json or none, not a number that cannot be read"),
        (
            "\n[limits]\nsamples = -{0}",
            "3: limits.samples: it takes a whole number, 0 to 4294967295, not a number that cannot be read",
        ),
        (
            "percentiles = [90, {0}]",
            "1: percentiles[1]: it takes a number from -100 to 100, and not 0, as in 90, 99.9 or -10, not a number",
        ),
        (
            "[graphite]\nglobal_prefix = {0}",
            "2: graphite.global_prefix: it takes a string, in quotes, without white space, not a num",
        ),
        (
            "listen = {}",
            "1: listen: invalid type: map, expected a list: values between [ and ], or tables, each ",
        ),
        ("limits = 3", "1: limits: invalid type: integer `3`, expected a table of keys"),
        ("timer_statistics = ['p90']", "1: timer_statistics[0]: it takes one of std, upper, "),
        ("prometheus_mapping = ''", "1: prometheus_mapping: it takes a path, in quotes, not \"\""),
        ("prometheus_mapping = 7", "1: prometheus_mapping: it takes a path, in quotes, not 7"),
        ("prometheus = '239.1.2.3:4'", "1: prometheus: it takes a unicast address of this machine, not "),
        (
            "[graphite]\nglobal_prefix = 7",
            "2: graphite.global_prefix: it takes a string, in quotes, without white space, not 7",
        ),
        (
            "[graphite]\nprefix_timer = 'a b'",
            "2: graphite.prefix_timer: it takes a string, in quotes, without white space, not \"a b\"",
        ),
        (
            "[graphite]\nglobal_suffix = \"\\n\"",
            "2: graphite.global_suffix: it takes a string, in quotes, without white space, not \"\\n\"",
        ),
        ("[limits]\nseries = 0", "2: limits.series: it takes a whole number, 1 to 4294967295, not 0"),
        ("[limits]\nconnections = 0", "2: limits.connections: it takes a whole number, 1 to "),
        (
            "[limits]\nsamples = 99999999999999999999",
            "2: limits.samples: it takes a whole number, 0 to 4294967295, not 99999999999999999999",
        ),
        ("\n[limits]\n\nseries = -1", "4: limits.series: it takes a whole number, 1 to 4294967295, not -1"),
        ("listen = []", " listen: it takes one or more, or the key is left out"),
        ("threads = 65", "1: threads: it takes a whole number of threads, 1 to 64, not 65"),
        ("[idle]\ngauge_flushes = 0", "2: idle.gauge_flushes: it takes a whole number of flushes, 1 to "),
        ("colour = 1", "1: colour: unknown field `colour`, expected one of `flush_interval`, "),
        (
            "[[listen]]\nudp = '127.0.0.1:1'\ntls = true",
            "3: listen[0].tls: unknown field `tls`, expected one of `udp`",
        ),
        (
            "[[listen]]\nudp = '239.1.2.3:4'",
            "2: listen[0].udp: it takes a unicast address of this machine (a group ",
        ),
        ("[[listen]]\nunix = ''", "2: listen[0].unix: it takes a path, in quotes, not \"\""),
        ("[[listen]]\ninterface = ''", "2: listen[0].interface: it takes an interface's name or address"),
        (
            "[[listen]]",
            "1: listen[0]: it takes one of udp, group, tcp, unix and unix_stream, and there is none",
        ),
        (
            "[[listen]] # [[listen]]\nudp = '127.0.0.1:1'\n[[listen]]\nudp = '127.0.0.1:1'\ngroup = '239.1.2.3:4'",
            "3: listen[1]: it takes one of udp, group, tcp, unix and unix_stream, and not two",
        ),
        (
            "[[listen]]\nudp = '127.0.0.1:1'\ninterface = 'lo'",
            "1: listen[0]: interface: it goes with a group",
        ),
        (
            "[[listen]]\ntcp = '127.0.0.1:1'\nmode = '1'",
            "1: listen[0]: mode: it goes with unix or unix_stream",
        ),
        (
            "[[listen]]\nunix = 'a'\nmode = 999",
            "3: listen[0].mode: it takes a mode in octal, in quotes, such as ",
        ),
        ("[graphite]\nprotocol = 'text'", "1: graphite: it takes a server, HOST:PORT, and there is none"),
        ("[graphite]\nserver = 'x'", "2: graphite.server: it takes HOST:PORT"),
        (
            "[graphite]\nserver = 'fe80::1%eth0:2003'",
            "2: graphite.server: it takes HOST:PORT, as in graphite.example:2003, 192.0.2.2:2003 or [2001:db8::2]:2003; [fe80::1%eth0]:2003 would be right, not \"fe80",
        ),
        (
            "[graphite]\nserver = '2001:db8::2:2003'",
            "2: graphite.server: it takes HOST:PORT, as in graphite.example:2003, 192.0.2.2:2003 or [2001:db8::2]:2003; [2001:db8::2]:2003 would be right, not \"2001",
        ),
        (
            "[graphite]\nserver = '[fe80::1]:2003'",
            "2: graphite.server: it takes a link-local address with its interface behind it, as in [fe80::1%eth0]:2003, not ",
        ),
        ("[graphite]\nserver = '[fe80::1%]:2003'", "2: graphite.server: it takes HOST:PORT"),
        ("[graphite]\nserver = '[fe80::1%a b]:2003'", "2: graphite.server: it takes HOST:PORT"),
        ("[graphite]\nserver = '[fe80::1%eth0]:0'", "2: graphite.server: it takes HOST:PORT"),
        (
            "[graphite]\nserver = '[2001:db8::2%eth0]:2003'",
            "2: graphite.server: it takes % and an interface only behind a link-local address, fe80::/10, not",
        ),
        (
            "[graphite]\nserver = '239.1.2.3:2003'",
            "2: graphite.server: it takes a name or a unicast address, since TCP connects to no multicast group, not \"239.1.2.3:2003\"",
        ),
        ("[graphite]\nserver = '[ff15::1]:2003'", "2: graphite.server: it takes a name or a unicast address"),
        (
            "[[repeat]]\ntcp = '239.1.2.3:4'",
            "2: repeat[0].tcp: it takes a name or a unicast address, since TCP",
        ),
        (
            "[[repeat]]\nudp = '[ff12::1%eth0]:4'",
            "2: repeat[0].udp: it takes a group without %: its interface has a key, or a flag, of its own, not ",
        ),
        (
            "[influx]\nurl = 'http://[fe80::1%eth0]:1/'",
            "2: influx.url: it takes a name or an address that is not link-local: a URL has no place",
        ),
        (
            "[influx]\nurl = 'http://[fe80::1]/'",
            "2: influx.url: it takes a name or an address that is not link",
        ),
        (
            "[influx]\nurl = 'http://239.1.2.3:1/'",
            "2: influx.url: it takes a name or a unicast address, since ",
        ),
        ("[graphite]\nserver = 'a b:1'", "2: graphite.server: it takes HOST:PORT"),
        ("[graphite]\nserver = '[::g]:1'", "2: graphite.server: it takes HOST:PORT"),
        ("[file]", "1: file: it takes a path, and there is none"),
        ("[influx]\ntoken = ''", "1: influx: it takes a url, and there is none"),
        ("[influx]\nurl = 'https://x'", "2: influx.url: it takes a URL of HTTP, as in http://"),
        ("[influx]\nurl = 'http://:8086/'", "2: influx.url: it takes a URL of HTTP, as in http://"),
        ("[influx]\nurl = 'http://x:0/'", "2: influx.url: it takes a URL of HTTP, as in http://"),
        ("[[repeat]]", "1: repeat[0]: it takes one of udp and tcp"),
        ("[[repeat]]\nudp = 'a:1'\ntcp = 'a:1'", "1: repeat[0]: it takes one of udp and tcp"),
        (
            "[[repeat]]\nudp = 'a:1'\n[[repeat]]\ntcp = 'a:4'\ninterface = 'lo'",
            "3: repeat[1]: interface: it goes with a multicast group in udp",
        ),
        (
            "[[repeat]]\nudp = 'a:1'\ninterface = 'lo'",
            "1: repeat[0]: interface: it goes with a multicast group",
        ),
        ("[publish]", "1: publish: it takes a group, and there is none"),
        ("[publish]\ngroup = '127.0.0.1:1'", "2: publish.group: it takes a multicast address, from 224"),
        ("[[histogram]]\nname = ''", "1: histogram[0]: it takes both name and bins"),
        (
            "[[histogram]]\nname = ''\nbins = [2, 1]",
            "1: histogram[0]: histogram of \"\": its bins must ascend",
        ),
        ("[[histogram]]\nname = ''\nbins = [nan]", "3: histogram[0].bins[0]: it takes a number, or inf"),
        ("\nflush_interval 10", "2: "),
        ("a = 1\na = 2", "2: duplicate key"),
    ] {
        let text = text.replace("{0}", &"9".repeat(60));
        let problem = parse(&text).expect_err(&text);
        assert!(problem.starts_with(expected), "{text:?}: {problem:?} does not begin with {expected:?}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}
