//! `bench`: its figures agree with each other, and its processes end with it. No figure is held against another machine's.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "waiting for a process that is no child takes a pidfd, which std does not offer"
)]

mod common;

use common::{Process, SOON, Scratch, json, nakcast};
use serde_json::Value;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio;

fn bench(arguments: &str) -> Process {
    let mut command = nakcast(&["bench"]);
    command.args(arguments.split_whitespace()).stdout(Stdio::piped());
    Process::spawn(command)
}

/// Runs one to its end, which must be a success; gives an object for each case.
fn measured(arguments: &str) -> Vec<Value> {
    let mut bench = bench(&format!("--json - {arguments}"));
    bench.succeed(SOON);
    let output = bench.stdout();
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("{name} is no number: {figures}"))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// What must be so of every run, whatever the machine.
fn consistent(case: &Value, figures: &Value) {
    let of = |name: &str| number(figures, name);
    let subscribers = number(case, "subscribers");
    assert_eq!(of("sent") * subscribers, of("received") + of("lost"), "{figures}");
    assert!(near(of("bytes_per_second"), of("messages_per_second") * number(case, "size")), "{figures}");
    assert!(near(of("ratio_to_raw"), of("bytes_per_second") / of("raw_bytes_per_second")), "{figures}");
    assert!(
        near(of("raw_bytes_per_second"), of("raw_datagrams_per_second") * of("datagram_size")),
        "{figures}"
    );
    for side in ["publisher", "subscriber"] {
        let cpu = format!("cpu_seconds_per_million_{side}");
        let parts = of(&format!("{cpu}_user")) + of(&format!("{cpu}_system"));
        assert!(of(&cpu) > 0.0 && near(of(&cpu), parts), "{figures}");
    }
    let all = |sender: &str, receiver: &str| of(sender) + subscribers * of(receiver);
    let ours = all("cpu_seconds_per_million_publisher", "cpu_seconds_per_million_subscriber") * of("sent");
    let raw =
        all("raw_cpu_seconds_per_million_datagrams_sender", "raw_cpu_seconds_per_million_datagrams_receiver");
    assert!(near(of("cpu_ratio_to_raw"), ours / (raw * of("datagrams"))), "{figures}");
    let calls = of("syscalls_per_message_publisher") + of("syscalls_per_message_subscriber");
    assert!(calls > 0.0 && near(of("syscalls_per_message"), calls), "{figures}");
    let percentiles = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];
    let latencies = percentiles.map(|name| of(&format!("latency_{name}_ns")));
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{figures}");
    assert!(of("latency_timed") > 0.0 && of("latency_timed") <= of("received"), "{figures}");
}

#[test]
fn as_fast_as_it_goes_the_figures_agree() {
    let cases = measured("--size 32,1024 --count 20000 --duration 10 --warm-up 0.05");
    assert_eq!(cases.iter().map(|case| &case["size"]).collect::<Vec<_>>(), [32, 1_024]);
    for case in &cases {
        assert_eq!(
            (&case["sent"], &case["lost"], &case["received"]),
            (&20_000.into(), &0.into(), &20_000.into())
        );
        assert_eq!((&case["rate"], &case["coordinated_omission_corrected"]), (&Value::Null, &false.into()));
        assert_eq!(
            (&case["interface"], &case["flow"], &case["confirmed"]),
            (&"lo".into(), &"slowest".into(), &true.into())
        );
        consistent(case, case);
        assert!(number(case, "datagrams") * number(case, "datagram_size") >= 20_000.0 * number(case, "size"));
    }
}

#[test]
fn at_a_rate_every_message_is_timed_and_raw_sockets_beside_it() {
    let cases = measured("--size 256 --rate 2k,5k --count 1000 --warm-up 0.05 --spin");
    assert_eq!(cases.len(), 2);
    for case in &cases {
        let thousand = Value::from(1_000);
        for name in ["sent", "received", "latency_timed"] {
            assert_eq!(case[name], thousand, "{name}: {case}");
        }
        assert_eq!((&case["coordinated_omission_corrected"], &case["spin"]), (&true.into(), &true.into()));
        consistent(case, case);
        let timed = number(case, "raw_latency_timed") + number(case, "raw_latency_lost");
        assert_eq!(timed, 1_000.0, "as many raw datagrams: {case}");
        assert!(case["raw_latency_p50_ns"].as_u64() > Some(0), "{case}");
    }
}

#[test]
fn for_a_time_as_many_are_sent_as_were_due_or_told_as_unsent() {
    let cases = measured("--size 64 --rate 2k,1G --duration 0.2 --warm-up 0 --no-raw");
    let due = |case: &Value| number(case, "sent") + number(case, "unsent");
    assert_eq!((due(&cases[0]), due(&cases[1])), (400.0, 200e6));
    assert!(number(&cases[1], "unsent") > 0.0, "nobody sends a billion a second: {}", cases[1]);
    for case in &cases {
        assert_eq!(case["sent"], case["received"]);
    }
}

#[test]
fn several_subscribers_and_runs_with_loss_are_counted_each() {
    let cases = measured("--size 100 --count 3000 --runs 3 --subscribers 2 --drop 5 --seed 7 --warm-up 0.05");
    let runs = cases[0]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!(
            (&run["sent"], &run["received"]),
            (&3_000.into(), &6_000.into()),
            "nothing is lost: {run}"
        );
        assert!(number(run, "publisher_naks") > 0.0, "datagrams were dropped: {run}");
        consistent(&cases[0], run);
    }
    assert_eq!((&cases[0]["sent"], &cases[0]["received"]), (&9_000.into(), &18_000.into()), "added up");
    let mut rates: Vec<f64> = runs.iter().map(|run| number(run, "messages_per_second")).collect();
    rates.sort_by(f64::total_cmp);
    assert_eq!(number(&cases[0], "messages_per_second"), rates[1], "the median");
}

#[test]
fn what_best_effort_loses_is_counted() {
    let cases = measured(
        "--size 1000 --rate 20k --count 4000 --contract best-effort --drop 20 --seed 1 --warm-up 0 --no-raw",
    );
    let case = &cases[0];
    assert_eq!(number(case, "received") + number(case, "lost"), 4_000.0);
    assert!(number(case, "lost") > 0.0 && number(case, "received") > 0.0, "{case}");
    assert_eq!((&case["raw_bytes_per_second"], &case["ratio_to_raw"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_table_for_people_and_a_file_for_programs() {
    let scratch = Scratch::new();
    let file = scratch.path("json");
    let arguments = format!("--size 64 --rate 1k,max --count 500 --warm-up 0 --json {}", file.display());
    let mut bench = bench(&arguments);
    bench.succeed(SOON);
    let table = bench.stdout();
    for (line, columns) in [("size  ", 10), ("  64  1,000", 10), ("  64    max", 10)] {
        let line = table.lines().find(|found| found.starts_with(line)).unwrap_or_else(|| panic!("{table}"));
        // Two words, where a column has them: `raw MB/s`, `of raw`, `cpu pub`, `cpu sub`.
        let cells = line.split("  ").filter(|cell| !cell.trim().is_empty()).count();
        assert_eq!(cells, columns, "{table}");
    }
    assert!(table.contains("coordinated omission corrected"), "{table}");
    assert_eq!(json(file).len(), 2);
}

#[test]
fn the_matrix_is_the_tables_of_the_readme_and_its_pictures() {
    let scratch = Scratch::new();
    let directory = scratch.path("plots");
    let mut bench =
        bench(&format!("--matrix {} --duration 0.1 --warm-up 0.05 --runs 1", directory.display()));
    bench.succeed(SOON);
    let table = bench.stdout();
    for size in ["32", "256", "1024"] {
        assert!(table.lines().any(|line| line.starts_with(&format!("| {size} | max |"))), "{table}");
    }
    for kind in ["nakcast", "raw"] {
        assert!(table.contains(&format!("| 256 | 100,000 | {kind} |")), "{table}");
    }
    for (name, tag, count) in [("throughput.svg", "<rect x", 8), ("latency.svg", "<polyline", 4)] {
        let picture = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
        assert_eq!(picture.matches(tag).count(), count, "{name}: {picture}");
    }
}

#[test]
fn a_loop_that_works_before_each_message_sends_no_more_than_that_lets_it() {
    let cases = measured("--size 64 --work 200us --duration 0.4 --warm-up 0.05 --no-raw");
    let [case] = &cases[..] else { panic!("one case: {cases:?}") };
    assert_eq!((&case["work_ns"], &case["lost"]), (&200_000.into(), &0.into()));
    assert!(number(case, "sent") > 0.0);
    assert!(number(case, "sent") <= number(case, "sending_seconds") / 200e-6 + 1.0, "{case}");
    assert_eq!(case["latency_timed"], case["sent"], "each is timed");
}

#[test]
fn messages_on_many_topics_all_arrive_and_share_system_calls() {
    // On a machine that is busy with other tests a loop may not be close enough.
    let shares = (0..20).any(|_| {
        let cases = measured("--size 64 --topics 50 --duration 0.4 --warm-up 0.05 --no-raw");
        let [case] = &cases[..] else { panic!("one case: {cases:?}") };
        assert_eq!(
            (&case["topics"], &case["lost"], &case["confirmed"]),
            (&50.into(), &0.into(), &true.into())
        );
        assert!(number(case, "sent") > 0.0 && case["received"] == case["sent"], "{case}");
        number(case, "syscalls_per_message_publisher") < 0.5
    });
    assert!(shares, "a call or more for each");
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_line_that_says_why() {
    for (arguments, words) in [
        ("--size 7", ["--size", "too few"]),
        ("--size 32,17M", ["--size", "16 MiB"]),
        ("--size 32,,64", ["--size", "whole number of bytes"]),
        ("--size big", ["--size", "whole number of bytes"]),
        ("--rate fast", ["--rate", "or max"]),
        ("--rate 0", ["--rate", "nothing would ever be sent"]),
        ("--topics 0", ["--topics", "from 1 to 1000"]),
        ("--topics 1001", ["--topics", "from 1 to 1000"]),
        ("--topics 3 --matrix plots", ["--topics", "--matrix"]),
        ("--subscribers 0", ["--subscribers", "from 1 to 64"]),
        ("--subscribers 65", ["--subscribers", "from 1 to 64"]),
        ("--runs 0", ["--runs", "from 1 to 1000"]),
        ("--drop 101", ["--drop", "0 to 100"]),
        ("--seed 1", ["--drop", "required"]),
        ("--contract strict", ["--contract", "best-effort"]),
        ("--flow fastest", ["--flow", "slowest"]),
        ("--duration 0", ["--duration", "nothing can be measured"]),
        ("--count 0", ["--count", "from 1"]),
        ("--datagram 100", ["--datagram", "512 to 65507"]),
        ("--interface nosuch0", ["--interface", "nosuch0"]),
        ("--cpu 4095", ["--cpu", "no processor 4095"]),
        ("--cpu 0,", ["--cpu", "number of a processor"]),
        ("--subscriber-netns nosuch0", ["--subscriber-netns", "nosuch0"]),
        ("--group 10.0.0.1:7700", ["--group", "not a multicast address"]),
        ("--group 239.255.77.1:65534", ["--group", "1 to 65533"]),
        ("--group [ff15::4d]:7700", ["--group", "IPv4"]),
        ("--matrix plots --size 32", ["--matrix", "--size"]),
        ("--work 2us --rate 10k,max", ["--work", "--rate max"]),
        ("--work 2 --matrix plots", ["--work", "--matrix"]),
        ("--work two", ["--work", "2m"]),
        ("--contract deadline=2h", ["deadline", "outside"]),
    ] {
        let mut bench = bench(arguments);
        let code = bench.wait(SOON).code();
        let said = bench.stderr();
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{arguments}: {said}");
        assert!(
            said.starts_with("error: ") && words.iter().all(|word| said.contains(word)),
            "{arguments}: {said}"
        );
        assert_eq!(bench.stdout().lines().filter(|line| line.starts_with('{')).count(), 0, "{arguments}");
    }
}

#[test]
fn raw_sockets_that_fail_are_told_of_and_take_no_figures_with_them() {
    // They have the port after the group's: it is taken.
    #[expect(clippy::disallowed_methods, reason = "one that does not share its port")]
    let taken = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port() - 1;
    let arguments = format!("--group 239.255.77.1:{port} --size 32 --count 100 --warm-up 0 --json -");
    let mut bench = bench(&arguments);
    bench.succeed(SOON);
    let said = bench.stderr();
    assert_eq!(
        said.lines().filter(|line| line.starts_with("warning: there are no raw sockets")).count(),
        1,
        "{said}"
    );
    let figures: Value = serde_json::from_str(&bench.stdout()).unwrap();
    assert_eq!((number(&figures, "received"), number(&figures, "lost")), (100.0, 0.0));
    assert!(figures["raw_bytes_per_second"].is_null() && figures["ratio_to_raw"].is_null(), "{figures}");
}

#[test]
fn of_one_message_alone_there_is_no_rate() {
    let figures = &measured("--size 32 --count 1 --warm-up 0 --no-raw")[0];
    assert_eq!(number(figures, "received"), 1.0);
    assert!(figures["messages_per_second"].is_null() && figures["bytes_per_second"].is_null(), "{figures}");
}

#[test]
fn a_file_that_cannot_be_written_is_known_before_anything_is_measured() {
    let mut bench = bench("--json /nowhere/at/all --duration 600");
    assert_eq!(bench.wait(SOON).code(), Some(1));
    assert!(bench.stderr().starts_with("error: --json /nowhere/at/all: "), "{}", bench.stderr());
}

#[test]
fn a_directory_that_is_none_and_an_output_that_is_full_take_nothing_else_with_them() {
    let scratch = Scratch::new();
    let (file, kept) = (scratch.path("file"), scratch.path("kept"));
    std::fs::write(&file, "no directory").unwrap();
    let mut matrix = bench(&format!("--matrix {}", file.display()));
    assert_eq!(matrix.wait(SOON).code(), Some(1));
    assert!(matrix.stderr().contains("it takes a directory"), "{}", matrix.stderr());

    let (plots, picture) = (scratch.path("plots"), scratch.path("plots/latency.svg"));
    let mut twice = bench(&format!("--matrix {} --json {}", plots.display(), picture.display()));
    assert_eq!(twice.wait(SOON).code(), Some(2));
    assert!(twice.stderr().contains("that is the same file as a picture of --matrix"), "{}", twice.stderr());

    let arguments = format!("--no-raw --count 100 --size 32 --warm-up 0.1 --json {}", kept.display());
    let mut command = nakcast(&["bench"]);
    command.args(arguments.split_whitespace()).stdout(std::fs::File::create("/dev/full").unwrap());
    let mut full = Process::spawn(command);
    assert_eq!(full.wait(SOON).code(), Some(1));
    let told: Value = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
    assert_eq!((&told["sent"], &told["received"], &told["lost"]), (&100.into(), &100.into(), &0.into()));
}

/// Another process, whoever started it.
struct Other(OwnedFd);

impl Other {
    fn new(id: u32) -> Other {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
        assert!(fd >= 0, "process {id}: {}", std::io::Error::last_os_error());
        // SAFETY: the system call just gave this descriptor, and nobody else has it.
        Other(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn ends(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid pollfd for the time of the call, and its descriptor is open.
        unsafe { libc::poll(&mut poll, 1, SOON.as_millis() as i32) == 1 }
    }
}

/// Starts one that goes on for long, and waits until its publisher and its two subscribers are there: they are given by what
/// they are.
fn begun(arguments: &str) -> (Process, Vec<(String, u32)>) {
    let mut bench = bench(&format!("-v --size 64 --duration 600 --no-raw --subscribers 2 {arguments}"));
    let processes = (0..3).map(|_| {
        let line = bench.wait_for_line("process ", SOON);
        let (id, name) = line.trim_start_matches("process ").split_once(": ").expect("an id and a name");
        (name.to_owned(), id.parse().expect("an id"))
    });
    let processes = processes.collect();
    (bench, processes)
}

#[test]
fn its_processes_end_with_it_also_when_it_is_killed() {
    for (signal, arguments) in [
        (libc::SIGKILL, ""),
        (libc::SIGKILL, "--rate 1k --spin"),
        (libc::SIGINT, ""),
        (libc::SIGTERM, "--rate 1k"),
    ] {
        let (mut bench, processes) = begun(arguments);
        let names = processes.iter().map(|(name, _)| name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["subscriber", "subscriber", "publisher"]);
        let processes: Vec<Other> = processes.iter().map(|&(_, id)| Other::new(id)).collect();
        bench.signal(signal);
        let code = bench.wait(SOON).code();
        for process in &processes {
            assert!(process.ends(), "signal {signal}: a process goes on");
        }
        if signal != libc::SIGKILL {
            assert_eq!(code, Some(0), "{}", bench.stderr());
            assert!(bench.stderr().contains("told to end"), "{}", bench.stderr());
        }
    }
}

#[test]
fn a_process_of_it_that_is_killed_is_told() {
    let (mut bench, processes) = begun("--rate 1k");
    let id = processes[2].1;
    // SAFETY: no pointer is passed; the process is one that this test's own command started, and has not reaped.
    assert_eq!(unsafe { libc::kill(id as i32, libc::SIGKILL) }, 0);
    assert_eq!(bench.wait(SOON).code(), Some(1));
    let said = bench.stderr();
    assert!(said.contains("error: the publisher: ended: signal: 9"), "{said}");
}
