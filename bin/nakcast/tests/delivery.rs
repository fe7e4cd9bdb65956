//! What is published arrives: byte for byte, in the forms that were asked for, whatever is thrown away on the way.
#![cfg(target_os = "linux")]

mod common;

use common::{Process, SOON, Scratch, accounted, file, group, json, lines, on, publish, subscribe, summary};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

fn read(scratch: &Scratch, name: &str) -> Vec<u8> {
    std::fs::read(scratch.path(name)).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn lines_arrive_byte_for_byte() {
    let (scratch, group) = (Scratch::new(), group(1));
    let mut text = b"plain\nwith a return\r\n\n\n\x00\xff not text \xc3\x28\n".to_vec();
    text.extend_from_slice(&[b'x'; 300_000]);
    text.extend_from_slice(b"\nlast, without its end");
    let mut sub = subscribe(&group, "--until-end", scratch.create("out"));
    publish(&group, "--wait-for 1", file(&scratch, "in", &text));
    sub.succeed(SOON);
    text.push(b'\n');
    assert!(read(&scratch, "out") == text);
}

#[test]
fn a_file_named_is_read_and_an_empty_one_is_a_stream_without_messages() {
    let (scratch, group) = (Scratch::new(), group(2));
    drop(file(&scratch, "in", b""));
    let mut sub = subscribe(&group, "--until-end --format json", scratch.create("out"));
    let path = scratch.path("in");
    let mut command = on(&group, "pub --wait-for 1");
    command.arg(path);
    Process::spawn(command).succeed(SOON);
    sub.succeed(SOON);
    let events = json(scratch.path("out"));
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["stream_up", "stream_end"]);
}

#[test]
fn frames_carry_any_bytes() {
    let (scratch, group) = (Scratch::new(), group(3));
    let mut frames = Vec::new();
    for length in [0_usize, 1, 4, 256, 70_000, 0] {
        frames.extend_from_slice(&(length as u32).to_be_bytes());
        frames.extend((0..length).map(|place| (place * 7) as u8));
    }
    let mut sub = subscribe(&group, "--until-end --frames", scratch.create("out"));
    publish(&group, "--wait-for 1 --frames", file(&scratch, "in", &frames));
    sub.succeed(SOON);
    assert!(read(&scratch, "out") == frames);
}

#[test]
fn json_has_the_promised_fields() {
    let (scratch, group) = (Scratch::new(), group(4));
    let mut sub = subscribe(&group, "--until-end --format json", scratch.create("out"));
    let text = b"caf\xc3\xa9 \"quoted\"\t\\\n\xff\x00\n\n";
    publish(&group, "--wait-for 1 -t prices.fx", file(&scratch, "in", text));
    sub.succeed(SOON);
    let events = json(scratch.path("out"));
    assert_eq!(events.len(), 5, "{events:?}");
    let (up, end) = (&events[0], &events[4]);
    assert_eq!(keys(up), ["event", "sequence", "source", "topic"]);
    assert_eq!(up["event"], "stream_up");
    assert_eq!(keys(end), ["event", "reason", "sequence", "source", "topic"]);
    assert_eq!((&end["event"], &end["reason"]), (&"stream_end".into(), &"closed".into()));
    for event in &events {
        assert_eq!(event["topic"], "prices.fx");
        assert_eq!(event["source"], up["source"]);
    }
    let source = up["source"].as_str().unwrap();
    assert!(source.len() == 16 && source.chars().all(|c| c.is_ascii_hexdigit()), "{source}");
    for (index, message) in events[1..4].iter().enumerate() {
        let payload = if index == 1 { "payload_base64" } else { "payload" };
        assert_eq!(
            keys(message),
            ["event", "message", payload, "received_ns", "sent_ns", "sequence", "source", "topic"]
        );
        assert_eq!(message["event"], "message");
        assert_eq!(message["message"], index as u64 + 1);
        assert!(message["sequence"].as_u64() >= Some(1));
        assert!(message["received_ns"].as_u64() > Some(1_600_000_000_000_000_000));
    }
    assert_eq!(events[1]["payload"], "caf\u{e9} \"quoted\"\t\\");
    assert_eq!(events[2]["payload_base64"], "/wA=");
    assert_eq!(events[3]["payload"], "");
}

#[test]
fn a_line_of_a_pipe_is_there_before_the_next_is_written() {
    let group = group(5);
    let mut sub = subscribe(&group, "--until-end", Stdio::piped());
    let mut command = on(&group, "pub --wait-for 1");
    command.stdin(Stdio::piped());
    let mut publisher = Process::spawn(command);
    let mut input = publisher.stdin().unwrap();
    for number in 0..20 {
        writeln!(input, "line {number}.").unwrap();
        sub.wait_for_output(&format!("line {number}."), SOON);
    }
    drop(input);
    publisher.succeed(SOON);
    sub.succeed(SOON);
}

#[test]
fn several_topics_take_turns() {
    let (scratch, group) = (Scratch::new(), group(6));
    let mut all = subscribe(&group, "--count 10 --format json", scratch.create("all"));
    let mut one = subscribe(&group, "-t b.* --until-end", scratch.create("one"));
    publish(
        &group,
        "--wait-for 2 -t a.x -t b.x -t c.x",
        file(&scratch, "in", b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9"),
    );
    all.succeed(SOON);
    one.succeed(SOON);
    let mut seen = 0;
    for event in json(scratch.path("all")).iter().filter(|event| event["event"] == "message") {
        let number: usize = event["payload"].as_str().unwrap().parse().unwrap();
        assert_eq!(event["topic"], ["a.x", "b.x", "c.x"][number % 3]);
        assert_eq!(event["message"], number as u64 / 3 + 1);
        seen += 1;
    }
    assert_eq!(seen, 10);
    assert_eq!(read(&scratch, "one"), b"1\n4\n7\n");
}

#[test]
fn three_subscribers_that_throw_away_a_tenth_have_it_all() {
    let (scratch, group) = (Scratch::new(), group(7));
    let text = lines(4_000);
    let mut subs: Vec<Process> = (1..=3)
        .map(|number| {
            let kept = scratch.path(&format!("summary{number}"));
            let options = format!("--until-end --drop 10% --seed {number} --summary {}", kept.display());
            subscribe(&group, &options, scratch.create(&format!("out{number}")))
        })
        .collect();
    let kept = scratch.path("summary");
    publish(&group, &format!("--wait-for 3 --summary {}", kept.display()), file(&scratch, "in", &text));
    let sent = summary(kept);
    assert_eq!(sent["messages"], 4_000);
    assert_eq!(sent["bytes"], text.len() as u64 - 4_000);
    assert!(sent["naks"].as_u64() > Some(0) && sent["repairs"].as_u64() > Some(0), "{sent}");
    for (index, sub) in subs.iter_mut().enumerate() {
        sub.succeed(SOON);
        let number = index + 1;
        assert!(read(&scratch, &format!("out{number}")) == text, "subscriber {number}");
        let seen = summary(scratch.path(&format!("summary{number}")));
        assert_eq!(seen["messages"], 4_000);
        assert_eq!((&seen["gaps"], &seen["lost"]), (&0.into(), &0.into()));
        assert_eq!(seen["seed"], number as u64);
        for counter in ["dropped", "naks", "repairs", "datagrams", "syscalls"] {
            assert!(seen[counter].as_u64() > Some(0), "{counter}: {seen}");
        }
        assert!(seen["elapsed_seconds"].as_f64() > Some(0.0));
    }
}

#[test]
fn a_short_stream_is_not_missed_by_who_was_not_heard_from_yet() {
    let group = group(8);
    for seed in 0..5 {
        let options = format!("--until-end --drop 50 --seed {seed}");
        let mut sub = subscribe(&group, &options, Stdio::piped());
        let scratch = Scratch::new();
        publish(&group, "", file(&scratch, "in", b"one\ntwo\n"));
        sub.succeed(SOON);
        assert_eq!(sub.stdout(), "one\ntwo\n", "seed {seed}");
    }
}

#[test]
fn what_best_effort_loses_is_told_and_is_the_same_for_one_seed() {
    let (scratch, group) = (Scratch::new(), group(9));
    let options = "--until-end --contract best-effort --drop 20 --seed 7 --fail-on-gap --format json";
    let mut subs: Vec<Process> = (1..=2)
        .map(|number| {
            let kept = scratch.path(&format!("summary{number}"));
            let options = format!("{options} --summary {}", kept.display());
            subscribe(&group, &options, scratch.create(&format!("out{number}")))
        })
        .collect();
    publish(&group, "--wait-for 2 --count 2k --size 700", Stdio::null());
    let mut gaps = Vec::new();
    for (index, sub) in subs.iter_mut().enumerate() {
        assert_eq!(sub.wait(SOON).code(), Some(3));
        let events = json(scratch.path(&format!("out{}", index + 1)));
        let (came, lost) = accounted(&events);
        let seen = summary(scratch.path(&format!("summary{}", index + 1)));
        assert_eq!((&seen["messages"], &seen["lost"]), (&came.into(), &lost.into()));
        assert_eq!((&seen["naks"], &seen["exit_code"]), (&0.into(), &3.into()));
        assert!(came > 0 && lost > 0 && came + lost <= 2_000, "{came} came, {lost} lost");
        let told = sub.stderr().lines().filter(|line| line.starts_with("gap")).count();
        let here: Vec<Value> = events.into_iter().filter(|event| event["event"] == "gap").collect();
        assert_eq!(told, here.len(), "each gap is a line on stderr too");
        for gap in &here {
            assert_eq!(keys(gap), ["event", "first", "last", "messages", "reason", "source", "topic"]);
            assert_eq!(gap["reason"], "not-asked");
            assert!(gap["first"].as_u64() <= gap["last"].as_u64());
        }
        gaps.push(here);
    }
    assert_eq!(gaps[0], gaps[1], "one seed throws away the same");
}

#[test]
fn a_deadline_goes_on_and_tells() {
    let (scratch, group) = (Scratch::new(), group(10));
    let kept = scratch.path("summary");
    let options = "--until-end --contract deadline=2ms --drop 30 --seed 1 --format json";
    let mut sub =
        subscribe(&group, &format!("{options} --summary {}", kept.display()), scratch.create("out"));
    publish(&group, "--wait-for 1 --count 3k --size 700", Stdio::null());
    sub.succeed(SOON);
    let events = json(scratch.path("out"));
    let (came, lost) = accounted(&events);
    assert!(came > 0 && came + lost <= 3_000);
    let seen = summary(kept);
    assert_eq!((&seen["messages"], &seen["lost"]), (&came.into(), &lost.into()));
    assert!(seen["naks"].as_u64() > Some(0));
    for gap in events.iter().filter(|event| event["event"] == "gap") {
        assert_eq!(gap["reason"], "deadline");
    }
}

#[test]
fn in_order_of_arrival_each_comes_once() {
    let (scratch, group) = (Scratch::new(), group(11));
    let options = "--until-end --contract arrival --drop 20 --seed 1";
    let mut sub = subscribe(&group, options, scratch.create("out"));
    let text = lines(2_000);
    publish(&group, "--wait-for 1", file(&scratch, "in", &text));
    sub.succeed(SOON);
    let sorted = |text: &[u8]| {
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    assert!(sorted(&read(&scratch, "out")) == sorted(&text));
}

#[test]
fn late_comers_start_where_they_asked_to() {
    let group = group(12);
    let mut first = subscribe(&group, "", Stdio::piped());
    let mut command = on(&group, "pub --wait-for 1");
    command.stdin(Stdio::piped());
    let mut publisher = Process::spawn(command);
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"1\n2\n3\n").unwrap();
    first.wait_for_output("3", SOON);

    let mut whole = subscribe(&group, "--from window --until-end", Stdio::piped());
    whole.wait_for_output("3", SOON);
    let mut live = subscribe(&group, "--from live --until-end -v", Stdio::piped());
    live.wait_for_line("up at sequence", SOON);
    input.write_all(b"4\n").unwrap();
    live.wait_for_output("4", SOON);
    drop(input);
    publisher.succeed(SOON);
    whole.succeed(SOON);
    live.succeed(SOON);
    assert_eq!(whole.stdout(), "1\n2\n3\n4\n");
    assert_eq!(live.stdout(), "4\n");
}

#[test]
fn a_publisher_killed_and_started_again_is_followed() {
    let (scratch, group) = (Scratch::new(), group(13));
    let mut sub = subscribe(&group, "--format json", Stdio::piped());
    let mut command = on(&group, "pub --wait-for 1");
    command.stdin(Stdio::piped());
    let mut publisher = Process::spawn(command);
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"old 1\nold 2\n").unwrap();
    sub.wait_for_output("old 2", SOON);
    publisher.signal(libc::SIGKILL);
    publisher.wait(SOON);

    publish(&group, "", file(&scratch, "in", b"new 1\nnew 2\n"));
    // Each of the two ends is told, in whichever order they are found: the old one perhaps before anything new.
    let (mut ends, mut new) = (0, 0);
    while (ends, new) != (2, 2) {
        let line = sub.wait_for_output("", SOON);
        ends += usize::from(line.contains("stream_end"));
        new += usize::from(line.contains("\"new "));
    }
    sub.signal(libc::SIGINT);
    sub.succeed(SOON);
    let events: Vec<Value> = sub.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let old = &events[0]["source"];
    let (before, after): (Vec<&Value>, Vec<&Value>) =
        events.iter().partition(|event| event["source"] == *old);
    assert_ne!(before.last().unwrap()["reason"], "closed");
    assert_eq!(after.last().unwrap()["reason"], "closed");
    let messages = |events: &[&Value]| -> Vec<(u64, String)> {
        let messages = events.iter().filter(|event| event["event"] == "message");
        let shown =
            messages.map(|m| (m["message"].as_u64().unwrap(), m["payload"].as_str().unwrap().to_owned()));
        shown.collect()
    };
    assert_eq!(messages(&before), [(1, "old 1".to_owned()), (2, "old 2".to_owned())]);
    assert_eq!(messages(&after), [(1, "new 1".to_owned()), (2, "new 2".to_owned())]);
}

#[test]
fn a_rate_is_held_to_the_last_message() {
    let (scratch, group) = (Scratch::new(), group(14));
    let mut sub = subscribe(&group, "--until-end", scratch.create("out"));
    publish(&group, "--wait-for 1 --rate 20k --count 2000 --size 30", Stdio::null());
    sub.succeed(SOON);
    let expected: Vec<u8> =
        (1..=2_000).flat_map(|number| format!("{number:020} vwxyzabcd\n").into_bytes()).collect();
    assert!(read(&scratch, "out") == expected);
}

#[test]
fn the_demo_loses_nothing() {
    let mut command = common::nakcast(&["demo", "--seconds", "1", "--rate", "5k"]);
    command.stdout(Stdio::piped());
    let mut demo = Process::spawn(command);
    demo.succeed(SOON);
    let shown = demo.stdout();
    assert!(shown.contains("Nothing was lost"), "{shown}");
    for word in
        ["sent", "received", "dropped", "repaired", "lost", "messages/s", "p50", "p99", "subscriber 3"]
    {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
    assert_eq!(demo.stderr(), "");
}

#[test]
fn a_demo_that_cannot_be_shown_says_so_and_one_that_nobody_looks_at_any_more_ends_well() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for (output, code, said) in [
        (Stdio::from(full), 1, "error: standard output: No space left on device (os error 28)\n"),
        (writer.into(), 0, ""),
    ] {
        let mut command = common::nakcast(&["demo", "--seconds", "0.1", "--rate", "5k"]);
        command.stdout(output);
        let mut demo = Process::spawn(command);
        assert_eq!((demo.wait(SOON).code(), demo.stderr().as_str()), (Some(code), said));
    }
}
