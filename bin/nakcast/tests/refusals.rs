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

/// What is typed, in a shell's words, and what the one line must name.
const REFUSED: &[(&str, &[&str])] = &[
    // Commands and flags there are not.
    ("frob", &["frob"]),
    ("", &["pub", "sub", "ping", "pong", "demo"]),
    ("sub -i lo --cuont 1", &["--cuont", "--count"]),
    ("sub -i lo file", &["'file'"]),
    ("pub -i lo one two", &["'two'"]),
    ("demo -i lo", &["'-i'"]),
    // No value, and twice the same.
    ("pub -i lo --rate", &["--rate", "a value is required"]),
    ("pub -i lo --rate --window 1M", &["--rate", "'--window'", "10k"]),
    ("pub -i lo --rate 5 --rate 6", &["--rate", "multiple times"]),
    ("pub -i lo --frames --frames", &["--frames", "multiple times"]),
    ("sub -i lo --until-end --until-end", &["--until-end", "multiple times"]),
    ("demo --seconds 1 --seconds 2", &["--seconds", "multiple times"]),
    ("pub -i lo -t a -t b -t a", &["--topic", "\"a\"", "twice"]),
    // What contradicts, or misses, another.
    ("sub -i lo --format json --frames", &["--format", "--frames"]),
    ("sub -i lo --seed 1", &["--drop"]),
    // Processors there are not.
    ("pub -i lo --cpu 4095", &["--cpu", "no processor 4095", "it has"]),
    ("sub -i lo --cpu 99999999", &["--cpu", "no processor 99999999"]),
    ("ping -i lo --cpu 4095", &["--cpu", "no processor 4095"]),
    ("pong -i lo --cpu 4095", &["--cpu", "no processor 4095"]),
    ("sub -i lo --cpu -1", &["--cpu", "number of a processor"]),
    ("pub -i lo --count 1 file", &["--count", "FILE"]),
    ("pub -i lo --count 1 --frames", &["--count", "--frames"]),
    ("pub -i lo --size 5", &["--count"]),
    ("pub -i lo --count 1 --size 17M", &["--size", "17825792", "16777216"]),
    ("pub -i lo --count 1 --window 128k --size 65537", &["--size", "65537", "65536", "--window"]),
    ("pub -i lo --window 128k --datagram 65507", &["--window", "131072", "262028"]),
    // Groups, interfaces, sources, topics.
    ("pub -i lo --group 10.0.0.1:5", &["--group", "10.0.0.1", "multicast", "224.0.0.0"]),
    ("sub -i lo --group 10.0.0.1:5", &["--group", "multicast"]),
    ("pub -i lo -g 239.255.77.1:0", &["--group", "port", "65535"]),
    ("pub -i lo -g 239.255.77.1", &["--group", "ADDR:PORT"]),
    ("pub -i lo -g -1", &["--group", "'-1'", "ADDR:PORT"]),
    ("pub -i nothing7", &["--interface", "nothing7", "lo (127.0.0.1"]),
    ("sub -i nothing7", &["--interface", "nothing7", "lo (127.0.0.1"]),
    ("pub -i=", &["--interface", "eth0"]),
    ("sub -i lo --source 224.0.0.1", &["--source", "one sender"]),
    ("sub -i lo --source ::1", &["--source", "family"]),
    ("sub -i lo --source here", &["--source", "'here'", "192.0.2.2"]),
    ("pub -i lo --source 192.0.2.77", &["--source", "192.0.2.77", "lo"]),
    ("pub --source 192.0.2.77", &["--source", "192.0.2.77", "lo (127.0.0.1"]),
    ("pub --source ::1", &["--source", "::1", "family"]),
    ("pub -i lo --source ::1", &["--source", "::1", "family"]),
    ("pub -i nothing7 --source 127.0.0.1", &["--interface", "nothing7"]),
    ("pub -i lo -t a..b", &["--topic", "a..b", "empty level"]),
    ("pub -i lo -t .a", &["--topic", "empty level"]),
    ("pub -i lo -t=", &["--topic", "empty"]),
    ("pub -i lo -t a.*", &["--topic", "a.*"]),
    ("pub -i lo -t good -t a.>", &["--topic", "a.>"]),
    ("sub -i lo -t a..b", &["--topic", "empty level"]),
    ("sub -i lo -t >.a", &["--topic", "last"]),
    // Rates.
    ("pub -i lo --rate 0", &["--rate", "'0'", "nothing", "0.001"]),
    ("pub -i lo --rate 0.0001", &["--rate", "'0.0001'", "1,000 seconds", "0.001"]),
    ("pub -i lo --rate -5", &["--rate", "'-5'", "10k"]),
    ("pub -i lo --rate -5k", &["--rate", "'-5k'", "10k"]),
    ("pub -i lo --rate fast", &["--rate", "10k"]),
    ("pub -i lo --rate=", &["--rate", "''", "10k"]),
    ("pub -i lo --max-rate 0", &["--max-rate", "nothing", "10k"]),
    ("pub -i lo --max-rate 5", &["--max-rate", "too little", "10k"]),
    ("sub -i lo --count 99999999999999999999G", &["--count", "9007199254740992"]),
    ("pub -i lo --max-rate 99999999999999999999G", &["--max-rate", "any network", "10000G"]),
    ("demo --rate 0", &["--rate", "'0'", "0.001"]),
    // How many.
    ("pub -i lo --count 0", &["--count", "from 1"]),
    ("sub -i lo --count 0", &["--count", "from 1"]),
    ("sub -i lo --count -1", &["--count", "'-1'", "from 1"]),
    ("sub -i lo --count 1.5", &["--count", "'1.5'", "whole"]),
    ("pub -i lo --wait-for -1", &["--wait-for", "'-1'", "0 to 16384"]),
    ("pub -i lo --wait-for x", &["--wait-for", "'x'", "0 to 16384"]),
    ("pub -i lo --wait-for 16385", &["--wait-for", "'16385'", "0 to 16384"]),
    ("pub -i lo --ttl -1", &["--ttl", "'-1'", "0 to 255"]),
    ("sub -i lo --ttl 256", &["--ttl", "'256'", "0 to 255"]),
    ("pub -i lo --ttl=", &["--ttl", "''", "0 to 255"]),
    ("sub -i lo --drop 1 --seed -1", &["--seed", "'-1'", "from 0"]),
    ("sub -i lo --drop 101", &["--drop", "101", "100"]),
    ("sub -i lo --drop -1", &["--drop", "'-1'", "0 to 100"]),
    ("sub -i lo --drop half", &["--drop", "'half'", "0 to 100"]),
    ("demo --drop 60", &["--drop", "'60'", "0 to 50"]),
    // Bytes.
    ("pub -i lo --size 5 file", &["--size", "FILE"]),
    ("pub -i lo --size 5 --frames", &["--size", "--frames"]),
    ("pub -i lo --size 5", &["--count"]),
    ("pub -i lo --count 1 --size -1", &["--size", "'-1'", "64k"]),
    ("pub -i lo --datagram 511", &["--datagram", "512", "65507"]),
    ("pub -i lo --datagram 64k", &["--datagram", "512", "65507"]),
    ("pub -i lo --window 0 --count 1", &["--window", "'0'", "131072"]),
    ("pub -i lo --window 1k", &["--window", "'1k'", "131072"]),
    ("pub -i lo --window 64MB", &["--window", "'64MB'", "64M"]),
    ("pub -i lo --window 1024G --count 1", &["--window: ", "not to be had"]),
    ("pub -i lo --window 2000G", &["--window", "'2000G'", "1024G"]),
    ("pub -i lo --window 99999999999G", &["--window", "any machine"]),
    ("pub -i lo --rcvbuf 1", &["--rcvbuf", "4096"]),
    ("sub -i lo --rcvbuf 2G", &["--rcvbuf", "1073741824"]),
    // Times.
    ("pub -i lo --linger soon", &["--linger", "seconds"]),
    ("pub -i lo --linger -1", &["--linger", "'-1'", "seconds"]),
    ("pub -i lo --linger 99999999999999999999", &["--linger", "longer than a year"]),
    ("pub -i lo --patience 0", &["--patience", "1ms"]),
    ("sub -i lo --for -1", &["--for", "'-1'", "seconds"]),
    ("demo --seconds 0", &["--seconds", "'0'", "0.1 to 60"]),
    ("demo --seconds 61", &["--seconds", "'61'", "0.1 to 60"]),
    // One of several.
    ("sub -i lo --contract deadline=5", &["--contract", "5ms"]),
    ("sub -i lo --contract deadline=0ms", &["--contract", "best-effort"]),
    ("sub -i lo --contract deadline=2h", &["--contract", "7200s", "3600s"]),
    ("sub -i lo --contract sometimes", &["--contract", "arrival"]),
    ("sub -i lo --format xml", &["--format", "json"]),
    ("sub -i lo --format=", &["--format", "json"]),
    ("sub -i lo --from -1", &["--from", "'-1'", "window"]),
    ("pub -i lo --flow fastest", &["--flow", "slowest"]),
    // Round trips.
    ("ping -i lo --size 23", &["--size", "23", "24"]),
    ("ping -i lo --size 0", &["--size", "too few", "24"]),
    ("ping -i lo --size 17M", &["--size", "17825792", "16777216"]),
    ("ping -i lo --rate 0", &["--rate", "'0'", "nothing", "0.001"]),
    ("ping -i lo --rate 0 --size 23", &["--rate", "'0'"]),
    ("ping -i lo --count 0", &["--count", "from 1"]),
    ("ping -i lo --duration 0", &["--duration", "'0'", "seconds"]),
    ("ping -i lo --warm-up -1", &["--warm-up", "'-1'", "seconds"]),
    ("ping -i lo --wait soon", &["--wait", "'soon'", "seconds"]),
    ("ping -i lo --pongs 0", &["--pongs", "'0'", "1 to 1024"]),
    ("ping -i lo --pongs 1025", &["--pongs", "'1025'", "1 to 1024"]),
    ("ping -i lo -t a..b", &["--topic", "a..b", "empty level"]),
    ("pong -i lo -t a.*", &["--topic", "a.*"]),
    ("ping -i lo -t a -t b", &["--topic", "multiple times"]),
    ("ping -i lo --reply-group 10.0.0.1:5", &["--reply-group", "multicast"]),
    ("ping -i lo --reply-group 239.255.77.1:0", &["--reply-group", "port"]),
    ("ping -i lo --seed 1", &["--drop"]),
    ("ping -i lo --drop 101", &["--drop", "101", "100"]),
    ("ping -i lo --datagram 511", &["--datagram", "512", "65507"]),
    ("ping -i lo --source 224.0.0.1", &["--source", "one sender"]),
    ("ping -i lo --rate 0.05", &["--rate 0.05", "every 20s", "--duration 10s", "--count"]),
    ("ping -i nothing7", &["--interface", "nothing7", "lo (127.0.0.1"]),
    ("pong -i nothing7", &["--interface", "nothing7", "lo (127.0.0.1"]),
    ("pong -i lo --rcvbuf 1", &["--rcvbuf", "4096"]),
    ("pong -i lo --for -1", &["--for", "'-1'", "seconds"]),
    ("pong -i lo --rate 5", &["'--rate'"]),
    // Files.
    ("ping -i lo --hdr=", &["--hdr", "a value is required"]),
    ("pub -i lo --summary=", &["--summary", "a value is required"]),
];

#[test]
fn what_was_typed_cannot_be_meant() {
    for (arguments, words) in REFUSED {
        refused(2, &arguments.split_whitespace().collect::<Vec<_>>(), words);
    }
}

#[test]
fn a_name_of_a_file_that_is_empty_is_refused() {
    refused(2, &["pub", "-i", "lo", ""], &["FILE", "a value is required"]);
}

#[test]
fn what_is_more_than_can_be_is_as_fast_as_it_goes() {
    for (arguments, code) in [
        ("pub -i lo -g 239.255.79.240:29001 --rate 99999999999999999999G --count 1k", 0),
        ("demo --seconds 0.2 --rate 99999999999999999999G", 0),
    ] {
        let mut process = Process::spawn(nakcast(&arguments.split_whitespace().collect::<Vec<_>>()));
        assert_eq!(process.wait(SOON).code(), Some(code), "{arguments}: {}", process.stderr());
    }
}

#[test]
fn a_result_that_would_take_the_place_of_the_command_s_own_output_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("output");
    let name = path.to_str().unwrap();
    for (command, option) in [
        ("ping", "--hdr"),
        ("ping", "--svg"),
        ("ping", "--summary"),
        ("pong", "--summary"),
        ("bench", "--json"),
        ("pub", "--summary"),
        ("sub", "--summary"),
    ] {
        for (stream, given) in
            [("standard output", name), ("standard output", "/dev/stdout"), ("standard error", name)]
        {
            std::fs::write(&path, "before").unwrap();
            let output = std::fs::File::options().append(true).open(&path).unwrap();
            let mut command = nakcast(&[command, "--interface", "lo", option, given]);
            let of_output = stream == "standard output";
            if of_output {
                command.stdout(output)
            } else {
                command.stdout(Stdio::null()).stderr(output)
            };
            let told = command.output().unwrap();
            let held = std::fs::read_to_string(&path).unwrap();
            let said = if of_output { String::from_utf8(told.stderr).unwrap() } else { held.clone() };
            assert_eq!(told.status.code(), Some(2), "{option} {given}: {said}");
            assert!(said.contains(&format!("{option} {given}: that is the same file as {stream}")), "{said}");
            assert!(held.starts_with("before"), "{held}");
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_found_at_once() {
    refused(1, &["pub", "-i", "lo", "--wait-for", "9", "/nothing/here"], &["/nothing/here", "No such file"]);
    refused(1, &["pub", "-i", "lo", "/"], &["directory"]);
    refused(1, &["sub", "-i", "lo", "--summary", "/nothing/here"], &["--summary", "/nothing/here"]);
    for option in ["--hdr", "--svg", "--summary"] {
        refused(1, &["ping", "-i", "lo", option, "/nothing/here"], &[option, "/nothing/here"]);
    }
}

#[test]
fn a_refusal_leaves_the_summary_s_file_as_it_was() {
    let scratch = Scratch::new();
    let (kept, new) = (scratch.path("kept"), scratch.path("new"));
    std::fs::write(&kept, "{}").unwrap();
    for command in ["pub", "sub", "ping", "pong"] {
        for flags in
            [&["-i", "nothing7"] as &[&str], &["-i", "lo", "-t", "a..b"], &["-i", "lo", "--rcvbuf", "1"]]
        {
            for path in [&kept, &new] {
                let arguments = [&[command], flags, &["--summary", path.to_str().unwrap()]].concat();
                refused(2, &arguments, &[]);
            }
        }
    }
    for option in ["--hdr", "--svg"] {
        for path in [&kept, &new] {
            refused(2, &["ping", "-i", "nothing7", option, path.to_str().unwrap()], &["nothing7"]);
        }
    }
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "{}");
    assert!(!new.exists(), "a file that was not there is not left behind");
}

#[test]
fn a_failure_has_its_summary_in_the_place_of_an_older_one() {
    let scratch = Scratch::new();
    let path = scratch.path("summary");
    std::fs::write(&path, [b' '; 100_000]).unwrap();
    refused(
        1,
        &["pub", "-i", "lo", "--summary", path.to_str().unwrap(), "/nothing/here"],
        &["/nothing/here"],
    );
    let seen = common::summary(&path);
    assert_eq!((&seen["messages"], &seen["exit_code"]), (&0.into(), &1.into()));
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
}

#[test]
fn a_result_does_not_take_the_place_of_what_is_read_or_of_another() {
    let scratch = Scratch::new();
    let path = scratch.path("data");
    let name = path.to_str().unwrap();
    std::fs::write(&path, "one\n").unwrap();
    refused(2, &["pub", "-i", "lo", "--summary", name, name], &["--summary", name, "to be published"]);
    for (one, other) in [("--hdr", "--svg"), ("--hdr", "--summary"), ("--svg", "--summary")] {
        refused(2, &["ping", "-i", "lo", one, name, other, name], &[other, name, "same file", one]);
    }
    let mut command = nakcast(&["pub", "-i", "lo", "--summary", name]);
    command.stdin(scratch.open("data"));
    let mut process = Process::spawn(command);
    assert_eq!(process.wait(SOON).code(), Some(2));
    assert!(process.stderr().contains("to be published"), "{}", process.stderr());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
}

#[test]
fn totals_are_of_what_was_published_alone() {
    // One line, though more was to be said.
    refused(2, &["pub", "-v", "-i", "nothing7"], &["--interface"]);
    refused(2, &["pub", "-v", "-i", "lo", "--datagram", "5"], &["--datagram"]);
    refused(1, &["pub", "-v", "-i", "lo", "/nothing/here"], &["/nothing/here"]);
    refused(2, &["sub", "-v", "-i", "nothing7"], &["--interface"]);
}

#[test]
fn the_demo_says_that_it_needs_the_loopback_interface() {
    let Some(lab) = Lab::new(1) else { return };
    Process::spawn_and_read(lab.host(0), "ip", &["link", "set", "lo", "down"]);
    let mut command = lab.host(0).command(env!("CARGO_BIN_EXE_nakcast"));
    command.arg("demo");
    let mut process = Process::spawn(command);
    assert_eq!(process.wait(SOON).code(), Some(1));
    let said = process.stderr();
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("loopback") && said.contains("down") && !said.contains("--interface"), "{said}");
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
    for arguments in [
        &["--help"] as &[&str],
        &["pub", "--help"],
        &["sub", "-h"],
        &["ping", "--help"],
        &["pong", "--help"],
        &["demo", "-h"],
        &["--version"],
    ] {
        let mut command = nakcast(arguments);
        command.stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        process.succeed(SOON);
        assert!(!process.stdout().is_empty());
        assert_eq!(process.stderr(), "");
    }
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = nakcast(&["--help"]);
    command.stdout(full);
    let mut process = Process::spawn(command);
    assert_eq!(process.wait(SOON).code(), Some(1));
    assert!(process.stderr().starts_with("error: standard output: "), "{}", process.stderr());
}
