//! The commands between network namespaces with real loss: what the project is for.
//!
//! `NAKCAST_LINES=1000000 cargo test --release -p nakcast-cli --test lab` moves a million lines each time (2 GB to each of
//! three subscribers); the default is fewer, for the everyday run. Needs root, for the namespaces. `-- --nocapture` shows what
//! each transfer took, as the README has it.

#![cfg(target_os = "linux")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;
use support::{Host, Lab, Process, Scratch};

const NAKCAST: &str = env!("CARGO_BIN_EXE_nakcast");
const DEADLINE: Duration = Duration::from_secs(300);

fn lines() -> usize {
    std::env::var("NAKCAST_LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(20_000)
}

/// Lines of 0 to 4,000 bytes, no two alike that are long enough to differ.
fn write_lines(path: &Path, count: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut random = 1_u64;
    for number in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (random >> 33) as usize % 4_001;
        let mut line = format!("{number} ").into_bytes();
        line.resize(length.max(line.len()), b'a' + (number % 26) as u8);
        line.truncate(length);
        line.push(b'\n');
        file.write_all(&line).unwrap();
    }
    file.flush().unwrap();
}

fn same(one: &Path, other: &Path) -> bool {
    let mut files = [one, other].map(|path| BufReader::with_capacity(1 << 20, File::open(path).unwrap()));
    let [a, b] = &mut files;
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let length = a.read(&mut left).unwrap();
        if length == 0 {
            return b.read(&mut right[..1]).unwrap() == 0;
        }
        if b.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return false;
        }
    }
}

fn spawn(host: &Host, arguments: &[&str], output: Option<File>) -> Process {
    let mut command = host.command(NAKCAST);
    command.args(arguments);
    if let Some(output) = output {
        command.stdout(output);
    }
    Process::spawn(command)
}

/// One of a summary's counters.
fn counter(summary: &Path, name: &str) -> f64 {
    let text = std::fs::read_to_string(summary).unwrap();
    let field = format!("\"{name}\":");
    let value = text.split_once(&field).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    value.split([',', '}']).next().unwrap().trim().parse().unwrap()
}

/// Sends a file from the first host to three others; each gets it byte for byte.
fn transfer(lab: &Lab, loss: f64, inbound: f64) {
    let scratch = Scratch::new();
    let file = scratch.path("lines");
    write_lines(&file, lines());
    lab.host(0).loss(inbound);
    let mut subscribers = Vec::new();
    for host in 1..=3 {
        lab.host(host).loss(loss);
        let summary = scratch.path(&format!("summary{host}"));
        let arguments =
            ["sub", "-i", "eth0", "--until-end", "--fail-on-gap", "--summary", &summary.to_string_lossy()];
        let output = scratch.create(&format!("copy{host}"));
        let mut subscriber = spawn(lab.host(host), &arguments, Some(output));
        subscriber.wait_for_line("ready", DEADLINE);
        subscribers.push(subscriber);
    }
    let file_name = file.to_string_lossy();
    let summary = scratch.path("summary");
    let arguments =
        ["pub", "-i", "eth0", "--wait-for", "3", "--summary", &summary.to_string_lossy(), &file_name];
    let mut publisher = spawn(lab.host(0), &arguments, None);
    publisher.succeed(DEADLINE);
    for (index, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.succeed(DEADLINE);
        assert!(
            same(&file, &scratch.path(&format!("copy{}", index + 1))),
            "subscriber {index} has another file"
        );
        let lost = lab.host(index + 1).lost().packets;
        assert!(lost > 100, "only {lost} packets were dropped: nothing was tried");
        let messages = counter(&scratch.path(&format!("summary{}", index + 1)), "messages");
        assert_eq!(messages, lines() as f64);
    }
    eprintln!(
        "{loss}% at each, {inbound}% of what comes to the publisher: {:.1} s, {} missed by the first, {} repairs",
        counter(&summary, "elapsed_seconds"),
        counter(&scratch.path("summary1"), "missed"),
        counter(&summary, "repairs"),
    );
}

#[test]
fn a_file_reaches_three_subscribers_through_loss_of_datagrams() {
    let Some(lab) = Lab::new(4) else { return };
    lab.host(0).segmentation_offload(false);
    transfer(&lab, 10.0, 0.0);
    transfer(&lab, 30.0, 0.0);
    transfer(&lab, 30.0, 30.0);
}

#[test]
fn a_file_reaches_three_subscribers_through_loss_of_whole_runs() {
    let Some(lab) = Lab::new(4) else { return };
    transfer(&lab, 10.0, 0.0);
    transfer(&lab, 30.0, 30.0);
}

/// The numbers of what one `--format json` line tells.
fn number(line: &str, field: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("\"{field}\":"))?;
    rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn the_dead_and_the_stopped_do_not_hold_up_the_living() {
    let Some(lab) = Lab::new(4) else { return };
    let scratch = Scratch::new();
    let arguments = ["sub", "-i", "eth0", "--until-end", "--format", "json"];
    let mut subscribers: Vec<Process> = (1..=3)
        .map(|host| {
            let mut subscriber =
                spawn(lab.host(host), &arguments, Some(scratch.create(&format!("events{host}"))));
            subscriber.wait_for_line("ready", DEADLINE);
            subscriber
        })
        .collect();
    // More than the window, so that what the stopped one missed is partly gone.
    let options = "pub -i eth0 --wait-for 3 --window 2M --count 40000 --size 500 --rate 20k -v";
    let options: Vec<&str> = options.split(' ').collect();
    let summary = scratch.path("summary");
    let summary_name = summary.to_string_lossy().into_owned();
    let mut publisher = spawn(lab.host(0), &[&options[..], &["--summary", &summary_name]].concat(), None);
    // Each has something before it is stopped.
    publisher.wait_for_line("joined", DEADLINE);
    let stopped = subscribers.remove(1);
    let killed = subscribers.remove(1);
    stopped.signal(libc::SIGSTOP);
    killed.signal(libc::SIGKILL);
    publisher.wait_for_line("made no progress", DEADLINE);
    subscribers[0].succeed(DEADLINE);
    stopped.signal(libc::SIGCONT);
    publisher.wait(DEADLINE);
    let mut stopped = stopped;
    stopped.wait(DEADLINE);
    let whole = std::fs::read_to_string(scratch.path("events1")).unwrap();
    assert_eq!(whole.lines().filter(|line| line.contains("\"message\"")).count(), 40_000, "and no gap");
    let events = std::fs::read_to_string(scratch.path("events2")).unwrap();
    let (mut next, mut lost) = (1, 0);
    for line in events.lines() {
        if line.contains("\"event\":\"gap\"") {
            let messages = number(line, "messages").unwrap();
            lost += messages;
            next += messages;
        } else if line.contains("\"event\":\"message\"") {
            assert_eq!(number(line, "message"), Some(next), "in order, and every gap exact");
            next += 1;
        }
    }
    assert_eq!(next, 40_001, "all 40,000 are here or told as lost");
    assert!(lost > 0 && lost < 40_000, "{lost} were lost");
}

#[test]
fn a_publisher_killed_and_started_again_is_followed() {
    let Some(lab) = Lab::new(2) else { return };
    lab.host(1).loss(10.0);
    let mut command = lab.host(1).command(NAKCAST);
    command.args(["sub", "-i", "eth0", "--format", "json"]).stdout(std::process::Stdio::piped());
    let mut subscriber = Process::spawn(command);
    subscriber.wait_for_line("ready", DEADLINE);
    let arguments =
        ["pub", "-i", "eth0", "--wait-for", "1", "--count", "1000000000", "--size", "100", "--rate", "1k"];
    let mut publisher = spawn(lab.host(0), &arguments, None);
    subscriber.wait_for_output("\"message\":50,", DEADLINE);
    publisher.signal(libc::SIGKILL);
    publisher.wait(DEADLINE);
    let again = spawn(lab.host(0), &arguments, None);
    // The new one is heard for a while before the silence of the old one is long enough, or only after that.
    let (mut ended, mut came) = (false, false);
    while !(ended && came) {
        let line = subscriber.wait_for_output("\"event\"", DEADLINE);
        ended |= line.contains("\"stream_end\"");
        came |= line.contains("\"message\":3000,");
    }
    drop(again);
    subscriber.signal(libc::SIGINT);
    subscriber.succeed(DEADLINE);
    let told = subscriber.stdout();
    let sources: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("\"stream_up\""))
        .filter_map(|line| line.split("\"source\":\"").nth(1))
        .collect();
    assert_eq!(sources.len(), 2);
    for source in sources {
        let id = &source[..16];
        let of_this = told.lines().filter(|line| line.contains("\"event\":\"message\"") && line.contains(id));
        let numbers: Vec<u64> = of_this.filter_map(|line| number(line, "message")).collect();
        assert!(
            numbers.iter().copied().eq(1..=numbers.len() as u64),
            "from its first, each once and in order"
        );
    }
}
