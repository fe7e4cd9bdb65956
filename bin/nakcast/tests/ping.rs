//! `ping` and `pong`: round trips between real processes on `lo`.
#![cfg(target_os = "linux")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Process, SOON, Scratch, group, on, summary};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// Starts a pong and waits until it has joined; gives its source too, as a ping's table names it.
fn pong(group: &str, arguments: &str) -> (Process, String) {
    let mut process = Process::spawn(on(group, &format!("pong {arguments}")));
    let line = process.wait_for_line("source ", SOON);
    process.wait_for_line("ready", SOON);
    let source = line.split_whitespace().nth(1).expect("a source").to_owned();
    (process, source)
}

fn ping(group: &str, arguments: &str) -> Process {
    let mut command = on(group, &format!("ping {arguments}"));
    command.stdout(Stdio::piped());
    Process::spawn(command)
}

/// Has a process stand still for a time. It is the time that is waited for: nothing comes.
fn pause(process: &Process, time: Duration) {
    process.signal(libc::SIGSTOP);
    let (_held, nothing) = std::sync::mpsc::channel::<()>();
    nothing.recv_timeout(time).unwrap_err();
    process.signal(libc::SIGCONT);
}

/// Runs a ping to its end, which must be a success; gives what it measured.
fn measured(group: &str, arguments: &str) -> Value {
    let mut ping = ping(group, &format!("--json {arguments}"));
    ping.succeed(SOON);
    serde_json::from_str(&ping.stdout()).unwrap_or_else(|e| panic!("{e}: {}", ping.stdout()))
}

/// The counts of each pong: answered, and lost.
fn counts(report: &Value) -> Vec<(u64, u64)> {
    let pongs = report["pongs"].as_array().expect("pongs");
    pongs.iter().map(|pong| (pong["count"].as_u64().unwrap(), pong["lost"].as_u64().unwrap())).collect()
}

/// The histograms of a log, by their tags.
fn log(scratch: &Scratch, name: &str) -> Vec<(Option<String>, Histogram<u64>)> {
    let content = std::fs::read(scratch.path(name)).unwrap();
    // As HdrHistogram's reader in C wants it, which is the strictest: no comment is long, nor behind the legend.
    let text = String::from_utf8(content.clone()).unwrap();
    let (header, intervals) = text.split_once("\"StartTimestamp\"").expect("a legend");
    assert!(header.starts_with("#[Histogram log format version 1."), "{header}");
    assert!(header.lines().all(|line| line.starts_with('#') && line.len() < 127), "{header}");
    assert!(intervals.lines().all(|line| !line.starts_with('#')), "{intervals}");
    let entries = IntervalLogIterator::new(&content).map(|entry| entry.expect("a line of a log"));
    let mut histograms = Vec::new();
    let mut times = 0;
    for entry in entries {
        match entry {
            LogEntry::Interval(interval) => {
                let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
                let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                histograms.push((interval.tag().map(|tag| tag.as_str().to_owned()), histogram));
            }
            LogEntry::StartTime(time) | LogEntry::BaseTime(time) => {
                assert!(time.as_secs() > 1_600_000_000, "of this century: {time:?}");
                times += 1;
            }
        }
    }
    assert_eq!(times, 2, "when it began, and what its times count from");
    histograms
}

/// Whether what a report and a log say of a pong is the same.
fn agree(pong: &Value, histogram: &Histogram<u64>) {
    assert_eq!(pong["count"], histogram.len());
    assert_eq!((&pong["min_ns"], &pong["max_ns"]), (&histogram.min().into(), &histogram.max().into()));
    for (name, share) in
        [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p99_9_ns", 0.999), ("p99_99_ns", 0.9999)]
    {
        assert_eq!(pong[name], histogram.value_at_quantile(share), "{name}");
    }
}

/// Whether a text is XML so far as its tags go: each is closed, in order, within one that is there from start to end.
fn well_formed(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut tags = 0;
    for part in text.trim().split('<').skip(1) {
        let (tag, after) = part.split_once('>').expect("the end of a tag");
        assert!(!after.contains('&') || after.contains(';'), "{after:?}");
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag:?}");
        let name = tag.trim_matches('/').split_whitespace().next().expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{text}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        tags += 1;
        assert!(!open.is_empty() || after.is_empty(), "nothing after the end: {after:?}");
    }
    assert!(tags > 2 && open.is_empty(), "{text}");
}

#[test]
fn as_fast_as_they_return_every_message_is_back() {
    let (scratch, group) = (Scratch::new(), group(200));
    let (hdr, svg, kept) = (scratch.path("hdr"), scratch.path("svg"), scratch.path("summary"));
    let (mut pong, source) = pong(&group, &format!("--once --summary {}", scratch.path("pong").display()));
    let report = measured(
        &group,
        &format!(
            "--count 3000 --warm-up 0.1 --hdr {} --svg {} --summary {}",
            hdr.display(),
            svg.display(),
            kept.display()
        ),
    );
    pong.succeed(SOON);
    assert_eq!(counts(&report), [(3_000, 0)]);
    assert_eq!((&report["sent"], &report["unsent"]), (&3_000.into(), &0.into()));
    assert_eq!((&report["rate"], &report["coordinated_omission_corrected"]), (&Value::Null, &false.into()));
    assert_eq!((&report["size"], &report["contract"]), (&32.into(), &"ordered".into()));
    let seen = &report["pongs"][0];
    assert_eq!((&seen["source"], &seen["address"]), (&source.into(), &"127.0.0.1".into()));
    // A round trip takes more than a thousandth of what it ever took, and percentiles rise.
    assert!(seen["min_ns"].as_u64() > Some(100), "{seen}");
    assert!(seen["p50_ns"].as_u64() <= seen["p99_ns"].as_u64(), "{seen}");

    let histograms = log(&scratch, "hdr");
    assert_eq!(histograms.len(), 1);
    assert_eq!(histograms[0].0, None, "the only one needs no tag");
    agree(seen, &histograms[0].1);
    let picture = std::fs::read_to_string(svg).unwrap();
    well_formed(&picture);
    assert_eq!(picture.matches("<polyline").count(), 1);

    let counted = summary(kept);
    assert_eq!(
        (&counted["sent"], &counted["answered"], &counted["lost"]),
        (&3_000.into(), &3_000.into(), &0.into())
    );
    assert!(counted["subscriber_messages"].as_u64() > Some(3_000), "the warm-up's too: {counted}");
    let answered = summary(scratch.path("pong"));
    assert_eq!(answered["subscriber_messages"], answered["publisher_messages"]);
    assert_eq!(answered["publisher_messages"].as_u64(), counted["publisher_messages"].as_u64());
    // Nobody hears what it has sent itself: answers come on the next port.
    assert_eq!(report["reply_group"], at_port(&group, |port| port + 1));
    for heard in [&counted, &answered] {
        assert_eq!(heard["subscriber_ignored"], 0, "{heard}");
    }
}

/// The group on another port.
fn at_port(group: &str, other: impl Fn(u16) -> u16) -> String {
    let (place, port) = group.split_once(':').unwrap();
    format!("{place}:{}", other(port.parse().unwrap()))
}

#[test]
fn behind_the_last_port_answers_come_on_the_one_before() {
    let group = at_port(&group(214), |_| u16::MAX);
    let (mut pong, _) = pong(&group, "--once");
    let report = measured(&group, "--count 100 --warm-up 0");
    assert_eq!(counts(&report), [(100, 0)]);
    assert_eq!(report["reply_group"], at_port(&group, |_| u16::MAX - 1));
    pong.succeed(SOON);
}

#[test]
fn at_a_rate_as_many_are_sent_as_were_due() {
    let group = group(201);
    let (_pong, _) = pong(&group, "");
    let report = measured(&group, "--rate 2k --duration 0.5 --warm-up 0.1 --size 200");
    assert_eq!(counts(&report), [(1_000, 0)], "a rate, for a time: {report}");
    assert_eq!((&report["rate"], &report["coordinated_omission_corrected"]), (&2_000.0.into(), &true.into()));
    let report = measured(&group, "--rate 5k --count 700 --warm-up 0");
    assert_eq!(counts(&report), [(700, 0)]);
}

#[test]
fn a_message_that_was_due_while_ping_stood_still_counts_from_then() {
    let (scratch, group) = (Scratch::new(), group(202));
    let (_pong, _) = pong(&group, "");
    let hdr = scratch.path("hdr");
    let arguments = format!("--json --rate 1k --count 3000 --warm-up 0 --hdr {}", hdr.display());
    let mut ping = ping(&group, &arguments);
    ping.wait_for_line("measuring", SOON);
    pause(&ping, Duration::from_millis(500));
    ping.succeed(SOON);
    let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
    assert_eq!(counts(&report), [(3_000, 0)]);
    // Of the half second, at a thousand a second, all but those of the last tenth waited a tenth or more to be sent.
    let late = log(&scratch, "hdr")[0].1.count_between(100_000_000, u64::MAX);
    assert!(late >= 300, "{late} of 400: {report}");
}

#[test]
fn a_pong_that_falls_silent_ends_the_measuring() {
    let group = group(213);
    let (pong, _) = pong(&group, "");
    for arguments in ["--duration 600", "--rate 1k --count 5k"] {
        let mut ping = ping(&group, &format!("--json --warm-up 0 {arguments}"));
        ping.wait_for_line("measuring", SOON);
        pong.signal(libc::SIGSTOP);
        let code = ping.wait(SOON).code();
        pong.signal(libc::SIGCONT);
        let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
        assert_eq!((code, &report["every_pong_left"]), (Some(1), &true.into()), "{}", ping.stderr());
        let (answered, lost) = counts(&report)[0];
        assert_eq!(answered + lost, report["sent"].as_u64().unwrap());
        assert!(lost > 0, "{report}");
        assert!(ping.stderr().contains("error: every pong has left"), "{}", ping.stderr());
    }
}

#[test]
fn two_pongs_have_a_histogram_each() {
    let (scratch, group) = (Scratch::new(), group(203));
    let hdr = scratch.path("hdr");
    let svg = scratch.path("svg");
    let (_first, a) = pong(&group, "");
    let (_second, b) = pong(&group, "");
    let files = format!("--hdr {} --svg {}", hdr.display(), svg.display());
    let report = measured(&group, &format!("--pongs 2 --count 500 --warm-up 0.1 {files}"));
    assert_eq!(counts(&report), [(500, 0), (500, 0)]);
    let mut sources: Vec<&str> =
        report["pongs"].as_array().unwrap().iter().map(|pong| pong["source"].as_str().unwrap()).collect();
    let histograms = log(&scratch, "hdr");
    for (pong, (tag, histogram)) in report["pongs"].as_array().unwrap().iter().zip(&histograms) {
        assert_eq!(pong["source"].as_str(), tag.as_deref());
        agree(pong, histogram);
    }
    let picture = std::fs::read_to_string(svg).unwrap();
    well_formed(&picture);
    assert_eq!(picture.matches("<polyline").count(), 2);
    sources.sort_unstable();
    let mut both = [a.as_str(), b.as_str()];
    both.sort_unstable();
    assert_eq!(sources, both);

    let mut ping = ping(&group, "--pongs 2 --rate 1k --count 300 --warm-up 0");
    ping.succeed(SOON);
    let table = ping.stdout();
    for (row, cells) in [("count", 2), ("lost", 2), ("p50", 4), ("p99.99", 4), ("max", 4), ("mean", 4)] {
        let line = table
            .lines()
            .find(|line| line.starts_with(&format!("{row} ")))
            .unwrap_or_else(|| panic!("{table}"));
        // A time is a figure and its unit.
        assert_eq!(line.split_whitespace().count(), cells + 1, "{line}");
    }
    assert!(table.lines().any(|line| line.split_whitespace().eq(["count", "300", "300"])), "{table}");
    for source in both {
        assert!(
            table.lines().any(|line| line == format!("pong {source}")),
            "a histogram of its own: {table}"
        );
    }
    assert!(table.contains('#') && table.contains("coordinated omission corrected"), "{table}");
}

#[test]
fn several_pings_are_answered_by_one_pong_and_each_counts_its_own() {
    let group = group(204);
    let (mut pong, _) = pong(&group, "");
    let mut pings: Vec<Process> =
        (0..3).map(|_| ping(&group, "--json --rate 1k --count 500 --warm-up 0.1")).collect();
    for ping in &mut pings {
        ping.succeed(SOON);
        let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
        assert_eq!(counts(&report), [(500, 0)]);
    }
    pong.signal(libc::SIGINT);
    pong.succeed(SOON);
}

#[test]
fn what_the_network_loses_is_not_lost() {
    let (scratch, group) = (Scratch::new(), group(205));
    let kept = scratch.path("summary");
    let (mut pong, _) = pong(&group, "--once --drop 10 --seed 3");
    let options = format!("--drop 10 --seed 4 --summary {}", kept.display());
    let report = measured(&group, &format!("--rate 5k --count 4000 --size 700 --warm-up 0.1 {options}"));
    assert_eq!(counts(&report), [(4_000, 0)]);
    assert_eq!(report["seed"], 4);
    let counted = summary(kept);
    assert!(counted["subscriber_dropped"].as_u64() > Some(0), "{counted}");
    assert!(counted["subscriber_repairs"].as_u64() > Some(0), "{counted}");
    pong.succeed(SOON);
}

#[test]
fn what_best_effort_loses_is_counted_and_told() {
    let group = group(206);
    let (_pong, _) = pong(&group, "");
    let mut ping =
        ping(&group, "--json --rate 1k --count 1000 --warm-up 0 --contract best-effort --drop 20 --seed 1");
    ping.succeed(SOON);
    let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
    let (answered, lost) = counts(&report)[0];
    assert_eq!(answered + lost, 1_000);
    assert!(lost > 0 && answered > 0, "{report}");
    assert!(report["pongs"][0]["in_gaps"].as_u64() > Some(0), "{report}");
    assert!(ping.stderr().lines().any(|line| line.starts_with("gap: ")), "{}", ping.stderr());
}

#[test]
fn spinning_below_a_topic_and_with_answers_on_the_same_group() {
    let group = group(207);
    // The same one: each side hears the other's messages and its own, which are on another topic.
    let back = group.clone();
    let options = format!("--spin -t lab.one --reply-group {back}");
    let (mut pong, _) = pong(&group, &format!("--once {options}"));
    let report = measured(&group, &format!("--count 200 --warm-up 0 {options}"));
    assert_eq!(counts(&report), [(200, 0)]);
    assert_eq!((&report["spin"], &report["reply_group"]), (&true.into(), &back.into()));
    pong.succeed(SOON);
}

#[test]
fn a_message_of_many_datagrams_is_timed_too() {
    let group = group(208);
    let (_pong, _) = pong(&group, "");
    let report = measured(&group, "--size 100k --count 50 --warm-up 0");
    assert_eq!(counts(&report), [(50, 0)]);
}

#[test]
fn ctrl_c_ends_with_the_table_so_far() {
    let group = group(209);
    let (mut pong, _) = pong(&group, "");
    // In the midst of it, with a rate and without; and while pongs are waited for that do not come.
    for arguments in ["--duration 600", "--duration 600 --rate 1k"] {
        let mut ping = ping(&group, &format!("--json --warm-up 0 {arguments}"));
        ping.wait_for_line("measuring", SOON);
        ping.signal(libc::SIGINT);
        ping.succeed(SOON);
        let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
        assert_eq!(report["told_to_end"], true);
        let (answered, lost) = counts(&report)[0];
        assert_eq!(answered + lost, report["sent"].as_u64().unwrap(), "{report}");
    }
    let mut ping = ping(&group, "--pongs 2 --wait 600 -v");
    ping.wait_for_line("up at sequence", SOON);
    ping.signal(libc::SIGINT);
    ping.succeed(SOON);
    assert!(ping.stdout().contains("told to end"), "{}", ping.stdout());
    pong.signal(libc::SIGTERM);
    pong.succeed(SOON);
}

#[test]
fn pongs_that_do_not_come_are_named_with_what_starts_them() {
    let (scratch, group) = (Scratch::new(), group(210));
    let kept = scratch.path("summary");
    let mut ping = ping(&group, &format!("--wait 0.1 --size 1000 -t lab --summary {}", kept.display()));
    assert_eq!(ping.wait(SOON).code(), Some(1));
    let said = ping.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["error: 0 of 1 pongs", "100ms", "nakcast pong", &group, "-t lab"] {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    assert_eq!(ping.stdout(), "", "no table of nothing");
    let kept = summary(kept);
    assert_eq!(kept["exit_code"], 1);
    // Who is looked for all the time is not sent what is to be measured.
    let [messages, bytes] =
        ["publisher_messages", "publisher_bytes"].map(|name| kept[name].as_u64().unwrap());
    assert!(messages > 0 && bytes < messages * 100, "{kept}");
}

#[test]
fn a_pong_that_leaves_ends_the_measuring_and_the_rest_goes_on_without_one_of_several() {
    let group = group(211);
    let (mut leaves, source) = pong(&group, "");
    let (mut stays, _) = pong(&group, "");
    let mut ping = ping(&group, "--json -v --pongs 2 --duration 600 --warm-up 0");
    ping.wait_for_line("measuring", SOON);
    leaves.signal(libc::SIGINT);
    leaves.succeed(SOON);
    ping.wait_for_line("ended", SOON);
    stays.signal(libc::SIGINT);
    stays.succeed(SOON);
    assert_eq!(ping.wait(SOON).code(), Some(1), "nobody is left");
    assert!(ping.stderr().contains("error: every pong has left"), "{}", ping.stderr());
    let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
    let sent = report["sent"].as_u64().unwrap();
    let counts = counts(&report);
    assert!(counts.iter().all(|(answered, lost)| answered + lost == sent), "{report}");
    let gone =
        report["pongs"].as_array().unwrap().iter().find(|pong| pong["source"] == source.as_str()).unwrap();
    assert!(gone["left"] == true && gone["lost"].as_u64() > Some(0), "{report}");
    // One is under way at a time, also when nobody is left.
    assert!(counts.iter().any(|&(_, lost)| lost <= 1), "{report}");
}

#[test]
fn a_pong_that_pauses_for_less_than_counts_as_its_end_loses_nothing_at_a_high_rate() {
    let group = group(186);
    let (pong, _) = pong(&group, "");
    let mut ping = ping(&group, "--json --rate 200k --count 600k --warm-up 0");
    ping.wait_for_line("measuring", SOON);
    pause(&pong, Duration::from_millis(1_600));
    ping.succeed(SOON);
    let report: Value = serde_json::from_str(&ping.stdout()).unwrap();
    assert_eq!(counts(&report), [(600_000, 0)]);
}

#[test]
fn a_pong_ends_with_its_ping_or_its_time() {
    let group = group(212);
    let (mut over, _) = pong(&group, "--for 0.1");
    over.succeed(SOON);
    let (mut nobody, _) = pong(&group, "--for 0.1 --once");
    assert_eq!(nobody.wait(SOON).code(), Some(1));
    assert!(nobody.stderr().contains("error: --for is over, and no ping has ended"), "{}", nobody.stderr());

    let (mut killed, _) = pong(&group, "--once");
    let mut ping = ping(&group, "--duration 600 --warm-up 0");
    ping.wait_for_line("measuring", SOON);
    ping.signal(libc::SIGKILL);
    assert_eq!(killed.wait(SOON).code(), Some(1));
    assert!(killed.stderr().contains("error: the ping fell silent"), "{}", killed.stderr());
}

#[test]
fn what_cannot_be_written_takes_nothing_else_with_it() {
    let (scratch, group) = (Scratch::new(), group(183));
    let (_pong, _) = pong(&group, "");
    let plot = scratch.path("plot");
    let mut full = ping(&group, &format!("--count 10 --json --hdr /dev/full --svg {}", plot.display()));
    assert_eq!(full.wait(SOON).code(), Some(1));
    let report: Value = serde_json::from_str(&full.stdout()).unwrap();
    assert_eq!(counts(&report), [(10, 0)]);
    well_formed(&std::fs::read_to_string(plot).unwrap());
    full.wait_for_line("error: --hdr /dev/full: ", SOON);
}

#[test]
fn a_file_keeps_what_it_held_where_nothing_was_measured() {
    let (scratch, group) = (Scratch::new(), group(184));
    let (old, new) = (scratch.path("old"), scratch.path("new"));
    std::fs::write(&old, "a log of before").unwrap();
    let arguments = format!("--wait 0.1 --hdr {} --svg {}", old.display(), new.display());
    assert_eq!(ping(&group, &arguments).wait(SOON).code(), Some(1));
    assert_eq!(std::fs::read_to_string(old).unwrap(), "a log of before");
    assert!(!new.exists());
}

#[test]
fn a_warm_up_ends_in_its_time_at_whatever_rate_and_who_comes_late_was_asked_for_less() {
    let group = group(185);
    let (_pong, _) = pong(&group, "");
    // Ten million messages, none of which is sent later than that.
    let report = measured(&group, "--rate 100M --warm-up 0.1 --count 1000");
    assert_eq!((&report["sent"], counts(&report)), (&1_000.into(), vec![(1_000, 0)]));
    assert_eq!(
        (&report["pongs"][0]["asked"], &report["pongs"][0]["address"]),
        (&1_000.into(), &"127.0.0.1".into())
    );

    let mut late = ping(&group, "--json --rate 1k --duration 3 --warm-up 0");
    late.wait_for_line("measuring", SOON);
    let (_other, source) = pong(&group, "");
    late.succeed(SOON);
    let report: Value = serde_json::from_str(&late.stdout()).unwrap();
    let [first, second] = [0, 1].map(|at| &report["pongs"][at]);
    assert_eq!((&first["asked"], &second["source"]), (&report["sent"], &source.into()));
    assert!(second["asked"].as_u64() < report["sent"].as_u64() && second["asked"].as_u64() > Some(0));
    assert_eq!((&second["count"], &second["lost"]), (&second["asked"], &0.into()));
}
