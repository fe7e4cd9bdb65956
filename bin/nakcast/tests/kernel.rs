//! What the commands ask of the kernel: when it had a datagram, a processor of their own, another network namespace.
#![cfg(target_os = "linux")]

mod common;

use common::{
    Lab, Process, SOON, Scratch, file, group, json, lines, nakcast, on, publish, subscribe, summary,
};
use serde_json::Value;
use std::process::Stdio;

/// What a `--json -` or `--json` printed.
fn told(mut process: Process) -> Value {
    process.succeed(SOON);
    let output = process.stdout();
    serde_json::from_str(&output).unwrap_or_else(|e| panic!("{e}: {output}"))
}

fn piped(mut command: std::process::Command) -> Process {
    command.stdout(Stdio::piped());
    Process::spawn(command)
}

/// The processors that a thread may run on, as the kernel lists them: `0-3`.
fn allowed(path: &str) -> String {
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("Linux lists them").trim().to_owned()
}

/// The last processor that this process may run on.
fn last_processor() -> String {
    let list = allowed("/proc/self/status");
    list.rsplit([',', '-']).next().expect("one at least").to_owned()
}

/// The first; where there is one alone, that.
fn first_processor() -> String {
    let list = allowed("/proc/self/status");
    list.split([',', '-']).next().expect("one at least").to_owned()
}

/// A latency in nanoseconds, under each of the names.
fn latencies<const N: usize>(figures: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| figures[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {figures}")))
}

#[test]
fn sub_tells_when_the_kernel_had_each_message_if_it_is_to_ask() {
    let scratch = Scratch::new();
    for (number, ask) in [(150, "--kernel-times"), (151, "")] {
        let group = group(number);
        let arguments = format!("--until-end --format json --drop 10 {ask}");
        let mut sub = subscribe(&group, &arguments, scratch.create("out"));
        publish(&group, "--wait-for 1", file(&scratch, "in", &lines(300)));
        sub.succeed(SOON);
        let events = json(scratch.path("out"));
        let messages = events.iter().filter(|event| event["event"] == "message");
        let times = messages.map(|message| {
            let [sent, received] = latencies(message, ["sent_ns", "received_ns"]);
            match message["kernel_ns"].as_u64() {
                Some(kernel) => assert!(sent <= kernel && kernel <= received, "{message}"),
                None => assert_eq!(message["kernel_ns"], Value::Null),
            }
            message["kernel_ns"].is_u64()
        });
        let times: Vec<bool> = times.collect();
        assert_eq!(times, [!ask.is_empty(); 300]);
    }
}

#[test]
fn ping_and_pong_split_the_way_where_the_kernel_had_it() {
    let (scratch, group) = (Scratch::new(), group(152));
    let arguments = format!("pong --once --kernel-times --summary {}", scratch.path("pong").display());
    let mut pong = Process::spawn(on(&group, &arguments));
    pong.wait_for_line("ready", SOON);
    let report = told(piped(on(&group, "ping --kernel-times --json --count 500 --warm-up 0.05")));
    pong.succeed(SOON);
    assert!(pong.stderr().contains("until this machine's kernel had it"), "{}", pong.stderr());
    let seen = &report["pongs"][0];
    let [min, max] = latencies(seen, ["min_ns", "max_ns"]);
    for part in ["to_kernel", "from_kernel"] {
        let [least, p50, most] =
            ["min", "p50", "max"].map(|name| latencies(seen, [&format!("{part}_{name}_ns")])[0]);
        assert!(0 < least && least <= p50 && p50 <= most, "{seen}");
        // Histograms keep three digits.
        assert!(most as f64 <= max as f64 * 1.01, "a part is no longer than the whole: {seen}");
    }
    // All but the last steps of a round trip are before the kernel had the answer.
    let [least, after] = latencies(seen, ["to_kernel_min_ns", "from_kernel_max_ns"]);
    assert!(least as f64 * 1.01 + after as f64 * 1.01 >= min as f64, "{seen}");
    let answered = summary(scratch.path("pong"));
    latencies(&answered, ["to_kernel_p50_ns", "from_kernel_p50_ns", "from_kernel_p99_9_ns"]);
}

#[test]
fn bench_splits_its_latency_and_without_being_asked_does_not() {
    for ask in ["--kernel-times", ""] {
        let arguments =
            format!("bench --json - --size 64 --rate 2k --count 400 --warm-up 0.05 --no-raw {ask}");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let figures = told(piped(nakcast(&arguments)));
        let [timed, max] = latencies(&figures, ["latency_timed", "latency_max_ns"]);
        assert_eq!(timed, 400);
        assert_eq!(figures["kernel_times"], !ask.is_empty());
        for part in ["to_kernel", "from_kernel"] {
            let names = ["timed", "p50_ns", "max_ns"].map(|name| format!("{part}_latency_{name}"));
            if ask.is_empty() {
                assert!(names.iter().all(|name| figures[name].is_null()), "{figures}");
                continue;
            }
            let [count, p50, most] = latencies(&figures, [&names[0], &names[1], &names[2]]);
            assert_eq!(count, timed);
            assert!(0 < p50 && most as f64 <= max as f64 * 1.01, "{figures}");
        }
    }
}

#[test]
fn the_thread_that_works_is_kept_on_its_processor_and_others_are_not() {
    let (group, cpu, all) = (group(153), last_processor(), allowed("/proc/self/status"));
    let mut pong = Process::spawn(on(&group, &format!("pong --cpu {cpu}")));
    pong.wait_for_line("ready", SOON);
    let id = pong.id();
    assert_eq!(allowed(&format!("/proc/{id}/status")), cpu);
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let threads = threads.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let others: Vec<String> = threads
        .filter(|thread| *thread != id.to_string())
        .map(|thread| allowed(&format!("/proc/{id}/task/{thread}/status")))
        .collect();
    assert!(others.contains(&all), "the publisher's own thread is free: {others:?}");

    let sub = subscribe(&group, &format!("--cpu {cpu}"), Stdio::null());
    assert_eq!(allowed(&format!("/proc/{}/status", sub.id())), cpu);
}

#[test]
fn the_subscribers_of_a_bench_are_kept_on_other_processors_than_its_publisher() {
    let (first, cpu) = (first_processor(), last_processor());
    let arguments =
        format!("bench -v --size 64 --rate 1k --duration 600 --no-raw --subscribers 2 --cpu {first},{cpu}");
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut bench = piped(nakcast(&arguments));
    // Subscribers have joined before the publisher is started.
    for _ in 0..2 {
        bench.wait_for_line("process ", SOON);
    }
    bench.wait_for_line(": publisher", SOON);
    let said = bench.stderr();
    let ids = said.lines().filter(|line| line.ends_with(": subscriber"));
    let ids: Vec<&str> = ids.filter_map(|line| line.strip_prefix("process ")?.split(':').next()).collect();
    assert_eq!(ids.len(), 2, "{said}");
    for id in ids {
        assert_eq!(allowed(&format!("/proc/{id}/status")), cpu);
    }
}

#[test]
fn bench_measures_to_another_namespace_with_real_loss() {
    let Some(lab) = Lab::new(2) else { return };
    let far = &lab.namespaces()[2];
    lab.host(1).loss(10.0);
    let mut command = lab.host(0).command(env!("CARGO_BIN_EXE_nakcast"));
    command.args(["bench", "--json", "-", "--interface", "eth0", "--no-raw", "--subscriber-netns", far]);
    command.args(["--size", "1000", "--rate", "5k", "--count", "2000", "--warm-up", "0.05"]);
    let figures = told(piped(command));
    let [sent, received, naks] = latencies(&figures, ["sent", "received", "publisher_naks"]);
    assert_eq!((sent, received), (2_000, 2_000), "{figures}");
    assert!(naks > 0, "what was lost was asked for: {figures}");
}
