//! What becomes of a publisher whose datagrams the system does not take: a packet filter, an interface that goes down or away.
#![cfg(target_os = "linux")]

mod common;

use common::{Lab, Process, SOON, Scratch, summary};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

const NAKCAST: &str = env!("CARGO_BIN_EXE_nakcast");

/// Starts a command on a host, with its input and output held by the test.
fn start(lab: &Lab, host: usize, arguments: &str) -> Process {
    let mut command = lab.host(host).command(NAKCAST);
    command.args(arguments.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
    Process::spawn(command)
}

fn ip(lab: &Lab, host: usize, arguments: &str) {
    Process::spawn_and_read(lab.host(host), "ip", &arguments.split_whitespace().collect::<Vec<_>>());
}

fn nft(lab: &Lab, host: usize, script: &str) {
    Process::spawn_and_read(lab.host(host), "nft", &[script]);
}

/// Nothing leaves a host any more: whoever sends is told that it must not.
fn forbid(lab: &Lab, host: usize) {
    nft(
        lab,
        host,
        "add table inet stop; add chain inet stop output { type filter hook output priority 0; policy drop; }",
    );
}

/// A subscriber on the second host that has joined.
fn subscriber(lab: &Lab, arguments: &str) -> Process {
    let mut sub = start(lab, 1, &format!("sub -i eth0 {arguments}"));
    sub.wait_for_line("ready", SOON);
    sub
}

/// The last line that was said is the error; it names the failures, and has the words.
fn failed(publisher: &mut Process, kept: &Path, words: &[&str]) {
    assert_eq!(publisher.wait(SOON).code(), Some(1), "{}", publisher.stderr());
    let said = publisher.stderr();
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert_eq!(said.lines().last(), Some(errors[0]), "{said}");
    for word in [&["could not be sent"], words].concat() {
        assert!(errors[0].contains(word), "{word:?} in {said}");
    }
    let warned = said.lines().find(|line| line.starts_with("warning: datagrams cannot be sent: "));
    assert!(
        warned.is_some_and(|line| line.contains("os error")),
        "in the form of the other warnings: {said}"
    );
    assert!(!said.contains("WARN"), "{said}");
    let sent = summary(kept);
    assert_eq!(sent["exit_code"], 1);
    assert!(sent["send_failures"].as_u64() > Some(0), "{sent}");
}

#[test]
fn what_a_packet_filter_stops_is_a_failure_though_nobody_is_known_to_listen() {
    let Some(lab) = Lab::new(1) else { return };
    let scratch = Scratch::new();
    let kept = scratch.path("summary");
    let arguments = format!("pub -i eth0 --count 3 --summary {}", kept.display());
    // Nobody listens, and all is sent: that is none.
    start(&lab, 0, &arguments).succeed(SOON);
    let sent = summary(&kept);
    assert_eq!((&sent["send_failures"], &sent["unconfirmed"]), (&0.into(), &0.into()));

    forbid(&lab, 0);
    failed(&mut start(&lab, 0, &arguments), &kept, &["no subscriber was ever heard from"]);
    assert_eq!(summary(&kept)["unconfirmed"], 0);
}

#[test]
fn a_filter_that_stops_the_rest_of_a_stream_is_a_failure_that_names_who_lacks_it() {
    let Some(lab) = Lab::new(2) else { return };
    let scratch = Scratch::new();
    let kept = scratch.path("summary");
    let mut sub = subscriber(&lab, "");
    let mut publisher =
        start(&lab, 0, &format!("pub -i eth0 --wait-for 1 --linger 0.5 --summary {}", kept.display()));
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    sub.wait_for_output("one", SOON);
    forbid(&lab, 0);
    input.write_all(b"two\n").unwrap();
    drop(input);
    failed(&mut publisher, &kept, &["1 subscriber did not confirm everything", "10.77.0.2"]);
    assert_eq!(summary(&kept)["unconfirmed"], 1);
}

#[test]
fn an_interface_that_is_removed_is_a_failure_though_its_subscribers_are_forgotten_in_time() {
    let Some(lab) = Lab::new(2) else { return };
    let scratch = Scratch::new();
    let kept = scratch.path("summary");
    let mut sub = subscriber(&lab, "");
    let mut publisher = start(&lab, 0, &format!("pub -v -i eth0 --wait-for 1 --summary {}", kept.display()));
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    sub.wait_for_output("one", SOON);
    ip(&lab, 0, "link delete eth0");
    publisher.wait_for_line("datagrams cannot be sent", SOON);
    publisher.wait_for_line("was not heard from any more", SOON);
    input.write_all(b"two\n").unwrap();
    drop(input);
    failed(&mut publisher, &kept, &["1 subscriber was not heard from any more"]);
    assert_eq!(summary(&kept)["unconfirmed"], 1);
}

#[test]
fn a_link_that_comes_back_is_no_failure_once_all_is_repaired() {
    let Some(lab) = Lab::new(2) else { return };
    let scratch = Scratch::new();
    let kept = scratch.path("summary");
    let mut sub = subscriber(&lab, "--until-end --fail-on-gap");
    let mut publisher =
        start(&lab, 0, &format!("pub -i eth0 --wait-for 1 --linger 60 --summary {}", kept.display()));
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    sub.wait_for_output("one", SOON);
    ip(&lab, 0, "link set eth0 down");
    input.write_all(b"two\n").unwrap();
    publisher.wait_for_line("warning: datagrams cannot be sent: ", SOON);
    ip(&lab, 0, "link set eth0 up");
    input.write_all(b"three\n").unwrap();
    drop(input);
    publisher.succeed(SOON);
    sub.succeed(SOON);
    assert_eq!(sub.stdout(), "one\ntwo\nthree\n");
    let sent = summary(&kept);
    assert!(sent["send_failures"].as_u64() > Some(0), "{sent}");
    assert_eq!((&sent["unconfirmed"], &sent["exit_code"]), (&0.into(), &0.into()));
}
