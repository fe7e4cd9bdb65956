//! What cannot be meant is refused with one clear line, and the right exit code.
#![cfg(target_os = "linux")]

mod common;

use common::{Lab, Process, SOON, Scratch, nakcast};
use std::process::Stdio;

/// Runs the command, which must end with `code` and one line that has each of the words.
fn refused(code: i32, arguments: &[&str], words: &[&str]) {
    let mut process = Process::spawn(nakcast(arguments));
    let status = process.wait(SOON);
    let said = process.stderr();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.starts_with("error: "), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word:?} in {said}");
    }
}

#[test]
fn what_was_typed_cannot_be_meant() {
    for (arguments, words) in [
        ("pub -i lo --group 10.0.0.1:5", &["--group", "10.0.0.1", "multicast", "224.0.0.0"] as &[&str]),
        ("sub -i lo --group 10.0.0.1:5", &["--group", "multicast"]),
        ("pub -i lo -g 239.255.77.1:0", &["--group", "port", "65535"]),
        ("pub -i lo -g 239.255.77.1", &["--group", "ADDR:PORT"]),
        ("pub -i nothing7", &["--interface", "nothing7", "lo (127.0.0.1"]),
        ("sub -i nothing7", &["--interface", "nothing7", "lo (127.0.0.1"]),
        ("pub -i lo --rate 0", &["--rate", "above 0"]),
        ("pub -i lo --rate -5", &["--rate", "'-5'"]),
        ("pub -i lo --rate fast", &["--rate", "10k"]),
        ("pub -i lo --max-rate 0", &["--max-rate", "above 0"]),
        ("pub -i lo --max-rate 5", &["--max-rate", "10000"]),
        ("pub -i lo -t a..b", &["--topic", "a..b", "empty level"]),
        ("pub -i lo -t .a", &["--topic", "empty level"]),
        ("pub -i lo -t a.*", &["--topic", "a.*"]),
        ("pub -i lo -t good -t a.>", &["--topic", "a.>"]),
        ("sub -i lo -t a..b", &["--topic", "empty level"]),
        ("sub -i lo -t >.a", &["--topic", "last"]),
        ("sub -i lo --drop 101", &["--drop", "101", "100"]),
        ("sub -i lo --drop -1", &["--drop", "'-1'"]),
        ("sub -i lo --seed 1", &["--drop"]),
        ("sub -i lo --count 0", &["--count", "from 1"]),
        ("sub -i lo --contract deadline=5", &["--contract", "5ms"]),
        ("sub -i lo --contract deadline=0ms", &["--contract", "best-effort"]),
        ("sub -i lo --contract sometimes", &["--contract", "arrival"]),
        ("sub -i lo --format xml", &["--format", "json"]),
        ("sub -i lo --format json --frames", &["--format", "--frames"]),
        ("sub -i lo --source 224.0.0.1", &["--source", "one sender"]),
        ("sub -i lo --source ::1", &["--source", "family"]),
        ("pub -i lo --source 192.0.2.77", &["--source", "192.0.2.77", "lo"]),
        ("pub -i lo --count 0", &["--count"]),
        ("pub -i lo --count 1 file", &["--count", "FILE"]),
        ("pub -i lo --count 1 --frames", &["--count", "--frames"]),
        ("pub -i lo --size 5", &["--count"]),
        ("pub -i lo --count 1 --size 17M", &["--size", "16777216"]),
        ("pub -i lo --datagram 511", &["--datagram", "512", "65507"]),
        ("pub -i lo --datagram 64k", &["--datagram", "512", "65507"]),
        ("pub -i lo --window 1k", &["--window", "131072"]),
        ("pub -i lo --patience 0", &["--patience", "1ms"]),
        ("pub -i lo --rcvbuf 1", &["--rcvbuf", "4096"]),
        ("sub -i lo --rcvbuf 2G", &["--rcvbuf", "1073741824"]),
        ("pub -i lo --ttl 256", &["--ttl", "255"]),
        ("pub -i lo --linger soon", &["--linger", "seconds"]),
        ("pub -i lo --flow fastest", &["--flow", "slowest"]),
        ("sub -i lo --cuont 1", &["--cuont", "--count"]),
        ("demo --drop 60", &["--drop", "50"]),
        ("frob", &["frob"]),
        ("", &["pub", "sub", "demo"]),
    ] {
        refused(2, &arguments.split_whitespace().collect::<Vec<_>>(), words);
    }
}

#[test]
fn files_that_cannot_be_used_are_found_at_once() {
    refused(1, &["pub", "-i", "lo", "--wait-for", "9", "/nothing/here"], &["/nothing/here", "No such file"]);
    refused(1, &["pub", "-i", "lo", "/"], &["directory"]);
    refused(1, &["sub", "-i", "lo", "--summary", "/nothing/here"], &["--summary", "/nothing/here"]);
}

#[test]
fn a_refusal_has_its_summary_too() {
    let scratch = Scratch::new();
    let path = scratch.path("summary");
    let path = path.to_str().unwrap();
    refused(2, &["sub", "-i", "nothing7", "--summary", path], &["nothing7"]);
    let seen = common::summary(path);
    assert_eq!((&seen["messages"], &seen["exit_code"]), (&0.into(), &2.into()));
}

#[test]
fn the_only_interface_is_taken_and_named_and_of_none_the_choices_are() {
    // In a network of its own: joining is said on the wire.
    let Some(lab) = Lab::new(1) else { return };
    let host = lab.host(0);
    let run = |arguments: &[&str]| {
        let mut command = host.command(env!("CARGO_BIN_EXE_nakcast"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::spawn(command);
        let status = process.wait(SOON);
        (status.code(), process.stderr())
    };
    let (code, said) = run(&["sub", "--for", "0.01"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("interface eth0 (10.77.0.1"), "{said}");
    assert_eq!(said.lines().last(), Some("ready"));
    let (code, said) = run(&["pub"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("interface eth0 (10.77.0.1"), "{said}");

    Process::spawn_and_read(host, "ip", &["link", "set", "eth0", "down"]);
    for command in ["pub", "sub"] {
        let (code, said) = run(&[command]);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.starts_with("error: --interface: ") && said.contains("lo (127.0.0.1"), "{said}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in
        [&["--help"] as &[&str], &["pub", "--help"], &["sub", "-h"], &["demo", "-h"], &["--version"]]
    {
        let mut command = nakcast(arguments);
        command.stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        process.succeed(SOON);
        assert!(!process.stdout().is_empty());
        assert_eq!(process.stderr(), "");
    }
}
