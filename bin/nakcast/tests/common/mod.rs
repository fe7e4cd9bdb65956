//! What the command's tests share: the command in processes of its own, on `lo` alone.
#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]

#[path = "../../../../tests/support/mod.rs"]
mod support;

pub(crate) use support::{Lab, Process, Scratch};

use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// For what must come, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A group of one test's own: the number is the test's.
pub(crate) fn group(number: u8) -> String {
    format!("239.255.79.{number}:{}", 20_000 + std::process::id() % 40_000)
}

/// The command with its arguments.
pub(crate) fn nakcast(arguments: &[&str]) -> Command {
    let mut command = support::command(env!("CARGO_BIN_EXE_nakcast"));
    command.args(arguments);
    command
}

/// `pub` or `sub` on `lo` and a group, with arguments as in a shell: separated by spaces.
pub(crate) fn on(group: &str, arguments: &str) -> Command {
    let mut arguments = arguments.split_whitespace();
    let what = arguments.next().expect("pub or sub");
    let mut command = nakcast(&[what, "-i", "lo", "-g", group]);
    command.args(arguments);
    command
}

/// Starts a subscriber and waits until it has joined.
pub(crate) fn subscribe(group: &str, arguments: &str, output: impl Into<Stdio>) -> Process {
    let mut command = on(group, &format!("sub {arguments}"));
    command.stdout(output);
    let mut process = Process::spawn(command);
    assert_eq!(process.wait_for_line("ready", SOON), "ready");
    process
}

/// Publishes a file to its end, which must be a success.
pub(crate) fn publish(group: &str, arguments: &str, input: impl Into<Stdio>) {
    let mut command = on(group, &format!("pub {arguments}"));
    command.stdin(input);
    Process::spawn(command).succeed(SOON);
}

/// A summary, or lines of JSON.
pub(crate) fn json(path: impl AsRef<Path>) -> Vec<Value> {
    let path = path.as_ref();
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let values = serde_json::Deserializer::from_slice(&text).into_iter();
    values.map(|value| value.unwrap_or_else(|e| panic!("{}: {e}", path.display()))).collect()
}

/// A summary's counters.
pub(crate) fn summary(path: impl AsRef<Path>) -> Value {
    let mut values = json(path);
    assert_eq!(values.len(), 1, "one object");
    values.remove(0)
}

/// A file with that content, to be read.
pub(crate) fn file(scratch: &Scratch, name: &str, content: &[u8]) -> File {
    std::fs::write(scratch.path(name), content).unwrap();
    scratch.open(name)
}

/// Lines of many lengths, each begun by its number; some empty, some longer than a datagram.
pub(crate) fn lines(count: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0..count {
        let length = [0, 10, 100, 700, 1_400, 4_000][number * 7 % 6] + number % 13;
        if number % 17 != 0 {
            text.extend(number.to_string().bytes());
            text.extend((0..length).map(|place| b' ' + ((place * 31 + number) % 90) as u8));
        }
        text.push(b'\n');
    }
    text
}

/// Whether what a subscriber saw of one stream has each message number once, in order or told as lost; and how many
/// messages came, and how many were lost.
pub(crate) fn accounted(events: &[Value]) -> (u64, u64) {
    let (mut came, mut lost, mut due) = (0, 0, None);
    for event in events {
        match event["event"].as_str() {
            Some("message") => {
                let number = event["message"].as_u64().unwrap();
                assert_eq!(number, due.unwrap_or(number), "the next message, or a gap: {event}");
                due = Some(number + 1);
                came += 1;
            }
            Some("gap") => {
                let messages = event["messages"].as_u64().unwrap();
                due = due.map(|due| due + messages);
                lost += messages;
            }
            _ => {}
        }
    }
    (came, lost)
}
