//! How the commands end: by themselves, told to, or because something failed.
#![cfg(target_os = "linux")]

mod common;

use common::{Process, SOON, Scratch, file, group, on, publish, subscribe, summary};
use nakcast::{Endpoint, Publisher};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

/// Starts a publisher whose standard input is held open, and waits until it is at work.
fn publisher(group: &str, arguments: &str) -> Process {
    let mut command = on(group, &format!("pub -v {arguments}"));
    command.stdin(Stdio::piped());
    let mut process = Process::spawn(command);
    process.wait_for_line("source ", SOON);
    process
}

#[test]
fn a_publisher_that_waits_for_input_ends_when_told_to() {
    for (number, signal) in [(1, libc::SIGINT), (2, libc::SIGTERM)] {
        let (scratch, group) = (Scratch::new(), group(100 + number));
        let kept = scratch.path("summary");
        let mut sub = subscribe(&group, "--until-end", Stdio::piped());
        let mut publisher = publisher(&group, &format!("--wait-for 1 --summary {}", kept.display()));
        let mut input = publisher.stdin().unwrap();
        // Half a line is no message.
        input.write_all(b"one\ntwo\nthr").unwrap();
        sub.wait_for_output("two", SOON);
        publisher.signal(signal);
        publisher.succeed(SOON);
        sub.succeed(SOON);
        assert_eq!(sub.stdout(), "one\ntwo\n");
        let sent = summary(&kept);
        assert_eq!((&sent["messages"], &sent["exit_code"]), (&2.into(), &0.into()));
    }
}

#[test]
fn a_publisher_that_waits_for_company_or_for_a_moment_ends_when_told_to() {
    let (scratch, group) = (Scratch::new(), group(103));
    let kept = scratch.path("summary");
    for arguments in ["--wait-for 1", "--wait-for 2 -t a -t b", "--rate 0.001 --count 5"] {
        let mut publisher = publisher(&group, &format!("{arguments} --summary {}", kept.display()));
        publisher.signal(libc::SIGINT);
        publisher.succeed(SOON);
        assert!(summary(&kept)["messages"].as_u64() <= Some(1));
    }
}

#[test]
fn a_publisher_held_back_ends_when_told_to_and_names_who_lacks_something() {
    let (scratch, group) = (Scratch::new(), group(104));
    let kept = scratch.path("summary");
    let sub = subscribe(&group, "", scratch.create("out"));
    let arguments =
        format!("--wait-for 1 --patience 600 --window 1M --linger 600 --summary {}", kept.display());
    let mut publisher = publisher(&group, &arguments);
    publisher.wait_for_line("joined", SOON);
    sub.signal(libc::SIGSTOP);
    let mut input = publisher.stdin().unwrap();
    // More than it can take with a subscriber that takes nothing: writing ends when it ends.
    let writer = std::thread::spawn(move || while input.write_all(&[b'\n'; 65_536]).is_ok() {});
    publisher.signal(libc::SIGINT);
    publisher.succeed(SOON);
    writer.join().unwrap();
    let said = publisher.stderr();
    let named = "warning: 1 subscriber did not confirm everything: ";
    assert!(said.lines().any(|line| line.starts_with(named) && line.contains("127.0.0.1")), "{said}");
    assert_eq!(summary(&kept)["exit_code"], 0);
}

#[test]
fn what_the_rate_holds_back_is_sent_before_the_linger_and_told_of_where_it_is_not() {
    let (scratch, group) = (Scratch::new(), group(130));
    let kept = scratch.path("summary");
    let arguments = |rate| format!("--max-rate {rate} --linger 0 --summary {}", kept.display());
    let lines: Vec<u8> = (1..=150).flat_map(|number| format!("{number:0>1200}\n").into_bytes()).collect();
    let mut whole = publisher(&group, &arguments("2M"));
    whole.stdin().unwrap().write_all(&lines).unwrap();
    whole.succeed(SOON);
    let sent = summary(&kept);
    assert_eq!((&sent["messages"], &sent["unsent"]), (&150.into(), &0.into()));
    assert!(sent["datagrams"].as_u64() >= Some(150), "{sent:?}");

    let mut sub = subscribe(&group, "", Stdio::piped());
    let mut part = publisher(&group, &format!("{} --wait-for 1", arguments("10k")));
    part.stdin().unwrap().write_all(&lines).unwrap();
    // The second comes a second after the first: all were taken by then that may be, and to send them would take a minute.
    sub.wait_for_output(&format!("{:0>1200}", 2), SOON);
    part.signal(libc::SIGINT);
    part.succeed(SOON);
    part.wait_for_line("not sent before the end", SOON);
    assert!(summary(&kept)["unsent"].as_u64() > Some(0));
}

#[test]
fn a_linger_is_cut_short_by_being_told_twice() {
    let group = group(105);
    let sub = subscribe(&group, "", Stdio::null());
    let mut publisher = publisher(&group, "--wait-for 1 --linger 600");
    publisher.wait_for_line("joined", SOON);
    sub.signal(libc::SIGSTOP);
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    drop(input);
    publisher.signal(libc::SIGINT);
    publisher.signal(libc::SIGINT);
    publisher.succeed(SOON);
}

#[test]
fn whoever_does_not_confirm_is_named_after_the_linger() {
    let group = group(106);
    let sub = subscribe(&group, "", Stdio::null());
    let mut publisher = publisher(&group, "--wait-for 1 --linger 0.1");
    publisher.wait_for_line("joined", SOON);
    sub.signal(libc::SIGSTOP);
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    drop(input);
    publisher.succeed(SOON);
    publisher.wait_for_line("did not confirm", SOON);
}

#[test]
fn whoever_is_forgotten_while_it_lacks_something_is_named_too() {
    let (scratch, group) = (Scratch::new(), group(123));
    let kept = scratch.path("summary");
    let sub = subscribe(&group, "", Stdio::null());
    let mut publisher = publisher(&group, &format!("--wait-for 1 --linger 600 --summary {}", kept.display()));
    publisher.wait_for_line("joined", SOON);
    sub.signal(libc::SIGSTOP);
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    drop(input);
    // Nothing is heard of it for so long that it is waited for no more.
    publisher.wait_for_line("was not heard from any more", SOON);
    publisher.succeed(SOON);
    publisher.wait_for_line("warning: 1 subscriber did not confirm everything: ", SOON);
    assert_eq!(summary(&kept)["unconfirmed"], 1);
}

#[test]
fn a_subscriber_ends_when_told_to() {
    let (scratch, group) = (Scratch::new(), group(107));
    let kept = scratch.path("summary");
    let mut sub = subscribe(&group, &format!("--summary {}", kept.display()), Stdio::piped());
    publish(&group, "--wait-for 1 --count 3 --size 5", Stdio::null());
    sub.wait_for_output("00003", SOON);
    sub.signal(libc::SIGINT);
    sub.succeed(SOON);
    assert_eq!(sub.stdout(), "00001\n00002\n00003\n");
    let seen = summary(&kept);
    assert_eq!((&seen["messages"], &seen["bytes"], &seen["exit_code"]), (&3.into(), &15.into(), &0.into()));
}

#[test]
fn a_subscriber_whose_reader_takes_nothing_is_given_up_and_ends_when_told_to() {
    let group = group(108);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut sub = subscribe(&group, "", writer);
    let mut command = on(&group, "pub --wait-for 1 --patience 0.2 --window 4M --count 100k --size 1300");
    command.stdout(Stdio::null());
    let mut publisher = Process::spawn(command);
    publisher.wait_for_line("made no progress", SOON);
    sub.signal(libc::SIGINT);
    sub.succeed(SOON);
    drop(reader);
    publisher.succeed(SOON);
}

#[test]
fn a_closed_pipe_ends_a_subscriber_quietly() {
    let group = group(109);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut sub = subscribe(&group, "", writer);
    let mut publisher = publisher(&group, "--wait-for 1");
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    // Nothing more comes: it is the pipe's end that is found.
    drop(reader);
    sub.succeed(SOON);
    assert_eq!(sub.stderr(), "ready\n");
    drop(input);
    publisher.succeed(SOON);
}

#[test]
fn a_pipe_closed_while_messages_come_ends_a_subscriber_quietly() {
    let group = group(110);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut sub = subscribe(&group, "", writer);
    let mut publisher = Process::spawn(on(&group, "pub --wait-for 1 --rate 5k --count 1M"));
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line).unwrap();
    drop(reader);
    sub.succeed(SOON);
    assert_eq!(sub.stderr(), "ready\n");
    publisher.signal(libc::SIGTERM);
    publisher.succeed(SOON);
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let group = group(117);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut sub = subscribe(&group, "", full);
    publish(&group, "--wait-for 1 --count 1", Stdio::null());
    assert_eq!(sub.wait(SOON).code(), Some(1));
    assert!(sub.stderr().contains("error: standard output: "), "{}", sub.stderr());
}

#[test]
fn time_is_over() {
    let (scratch, group) = (Scratch::new(), group(111));
    let kept = scratch.path("summary");
    for (arguments, code, said) in [
        ("--for 0.05", 0, ""),
        ("--for 50ms --count 1", 1, "1 of the --count"),
        ("--for 0.05 --until-end", 1, "has not ended"),
        ("--for 0.05 --fail-on-gap", 0, ""),
    ] {
        let mut sub = subscribe(&group, &format!("{arguments} --summary {}", kept.display()), Stdio::null());
        assert_eq!(sub.wait(SOON).code(), Some(code), "{arguments}");
        assert!(sub.stderr().contains(said), "{arguments}: {}", sub.stderr());
        assert_eq!(summary(&kept)["exit_code"], code, "{arguments}");
    }
}

#[test]
fn a_count_is_exact() {
    let group = group(112);
    let mut sub = subscribe(&group, "--count 5 --for 600", Stdio::piped());
    publish(&group, "--wait-for 1 --count 9 --size 1", Stdio::null());
    sub.succeed(SOON);
    assert_eq!(sub.stdout(), "1\n2\n3\n4\n5\n");
}

#[test]
fn of_a_count_and_an_end_the_first_to_come_is_enough() {
    let group = group(118);
    for (count, expected) in [(2, "1\n2\n"), (9, "1\n2\n3\n")] {
        let mut sub = subscribe(&group, &format!("--count {count} --until-end --for 600"), Stdio::piped());
        publish(&group, "--wait-for 1 --count 3 --size 1", Stdio::null());
        sub.succeed(SOON);
        assert_eq!(sub.stdout(), expected);
    }
}

#[test]
fn a_gap_goes_before_a_time_that_is_over_before_silence_and_before_being_told_to_end() {
    let group = group(119);
    let options = "--fail-on-gap --contract best-effort --drop 50 --seed 1";
    let start = || {
        let command = on(&group, "pub --rate 1k --count 1G --size 1300");
        Process::spawn(command)
    };
    let publisher = start();
    // Tried until it was long enough for a gap.
    let mut time = 0.1;
    loop {
        let mut sub = subscribe(&group, &format!("{options} --for {time} --count 1G"), Stdio::null());
        let code = sub.wait(SOON).code();
        let said = sub.stderr();
        assert!(said.contains("error: --for is over"), "{said}");
        if said.contains("\ngap: ") {
            assert_eq!(code, Some(3), "{said}");
            break;
        }
        assert_eq!(code, Some(1), "{said}");
        time *= 2.0;
        assert!(time < 60.0, "no gap within {time} seconds");
    }
    let mut told = subscribe(&group, options, Stdio::null());
    told.wait_for_line("gap: ", SOON);
    told.signal(libc::SIGINT);
    assert_eq!(told.wait(SOON).code(), Some(3));

    let mut left = subscribe(&group, &format!("{options} --until-end"), Stdio::null());
    left.wait_for_line("gap: ", SOON);
    drop(publisher);
    assert_eq!(left.wait(SOON).code(), Some(3));
    assert!(left.stderr().contains("error: the source fell silent"), "{}", left.stderr());
}

#[test]
fn until_end_waits_for_the_ends_of_all_topics() {
    for seed in 0..6 {
        let (scratch, group) = (Scratch::new(), group(120));
        // Much is left of one topic when the other, the first or the second, has ended.
        let long = seed as usize % 2;
        let text = |number: usize| format!("{number} {}\n", "x".repeat((number + long) % 2 * 60_000));
        let lines: Vec<String> = (0..120).map(text).collect();
        let options = format!("--until-end --drop 20 --seed {seed} --format json");
        let mut sub = subscribe(&group, &options, scratch.create("out"));
        publish(&group, "--wait-for 1 -t a -t b", file(&scratch, "in", lines.concat().as_bytes()));
        sub.succeed(SOON);
        let events = common::json(scratch.path("out"));
        let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
        assert_eq!((of("message"), of("gap"), of("stream_end")), (120, 0, 2), "seed {seed}");
    }
}

#[test]
fn of_a_publisher_that_was_refused_no_stream_is_heard() {
    let (scratch, group) = (Scratch::new(), group(125));
    let mut sub = subscribe(&group, "--until-end -t > --format json", Stdio::piped());
    let mut refused = Process::spawn(on(&group, "pub --count 1 --window 128k -t a -t b -t c -t d -t e"));
    assert_eq!(refused.wait(SOON).code(), Some(2));
    assert!(refused.stderr().contains("room for 4 topics"), "{}", refused.stderr());
    std::fs::write(scratch.path("lines"), "one\n").unwrap();
    publish(&group, "--wait-for 1", scratch.open("lines"));
    sub.succeed(SOON);
    let said = sub.stdout();
    assert_eq!(said.lines().filter(|line| line.contains("stream_up")).count(), 1, "{said}");
    assert!(said.contains("\"topic\":\"default\""), "{said}");
}

#[test]
fn until_end_waits_for_short_streams_too() {
    let group = group(121);
    for seed in 0..12 {
        let scratch = Scratch::new();
        let options = format!("--until-end --drop 30 --seed {seed} -v");
        let mut sub = subscribe(&group, &options, Stdio::piped());
        publish(&group, "--wait-for 1 -t a -t b -t c", file(&scratch, "in", b"1\n2\n3\n"));
        sub.succeed(SOON);
        let mut came: Vec<String> = sub.stdout().lines().map(str::to_owned).collect();
        came.sort();
        assert_eq!(came, ["1", "2", "3"], "seed {seed}: {}", sub.stderr());
    }
}

#[test]
fn until_end_of_a_source_is_not_kept_up_by_another() {
    let group = group(122);
    let mut sub = subscribe(&group, "--until-end -v", Stdio::piped());
    let mut first = publisher(&group, "--wait-for 1 -t a");
    let mut input = first.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    sub.wait_for_output("one", SOON);
    let mut second = publisher(&group, "--wait-for 1 -t b");
    let mut held_open = second.stdin().unwrap();
    held_open.write_all(b"two\n").unwrap();
    sub.wait_for_output("two", SOON);
    drop(input);
    first.succeed(SOON);
    sub.succeed(SOON);
    drop(held_open);
    second.succeed(SOON);
}

#[test]
fn until_end_waits_for_streams_that_came_while_it_stood_still() {
    // Of many events, too, the last is an end: the number of which is looked at between two looks at the clock, and others.
    for messages in [0, 254, 255, 256, 257] {
        streams_come_while_it_stands_still(messages);
    }
}

/// A stream ends, and another begins, while the subscriber does nothing: after so many messages.
fn streams_come_while_it_stands_still(messages: usize) {
    let group = group(124);
    let mut sub = subscribe(&group, "--until-end", Stdio::piped());
    let endpoint = Endpoint::open(Publisher::builder(group.parse().unwrap()).interface("lo")).unwrap();
    let mut first = endpoint.publisher("a").unwrap();
    first.wait_for(1, Some(SOON)).unwrap();
    first.send(b"one").unwrap();
    first.flush().unwrap();
    sub.wait_for_output("one", SOON);
    // Longer than it gives a source's other streams to be heard of: before it stands still, and then.
    let long = Duration::from_millis(300);
    assert!(first.wait_for(2, Some(long)).is_err());
    sub.signal(libc::SIGSTOP);
    (0..messages).for_each(|_| first.send(b"more").unwrap());
    first.end();
    let mut second = endpoint.publisher("b").unwrap();
    second.send(b"two").unwrap();
    second.end();
    assert!(!first.is_complete(long));
    sub.signal(libc::SIGCONT);
    sub.succeed(SOON);
    assert_eq!(sub.stdout(), format!("one\n{}two\n", "more\n".repeat(messages)));
}

#[test]
fn until_end_fails_when_the_source_falls_silent() {
    let group = group(113);
    let mut sub = subscribe(&group, "--until-end", Stdio::piped());
    let mut publisher = publisher(&group, "--wait-for 1");
    let mut input = publisher.stdin().unwrap();
    input.write_all(b"one\n").unwrap();
    sub.wait_for_output("one", SOON);
    publisher.signal(libc::SIGKILL);
    publisher.wait(SOON);
    assert_eq!(sub.wait(SOON).code(), Some(1));
    assert!(sub.stderr().contains("error: the source fell silent"), "{}", sub.stderr());
}

#[test]
fn a_line_above_the_limit_is_an_error_after_those_before_it_were_delivered() {
    let (scratch, group) = (Scratch::new(), group(114));
    let kept = scratch.path("summary");
    let mut sub = subscribe(&group, "--until-end", scratch.create("out"));
    let most = vec![b'a'; 131_072];
    let over = vec![b'b'; 131_073];
    let text = [&most[..], b"\ntwo\n", &over, b"\nfour\n"].concat();
    let mut command = on(&group, &format!("pub --wait-for 1 --window 256k --summary {}", kept.display()));
    command.stdin(file(&scratch, "in", &text));
    let mut publisher = Process::spawn(command);
    assert_eq!(publisher.wait(SOON).code(), Some(1));
    let said = publisher.stderr();
    assert!(said.contains("line 3 ") && said.contains("131072"), "{said}");
    assert_eq!(sub.wait(SOON).code(), Some(1), "what it has is not all there was");
    assert!(sub.stderr().contains("error: the source fell silent"), "{}", sub.stderr());
    assert!(std::fs::read(scratch.path("out")).unwrap() == text[..131_077]);
    let sent = summary(&kept);
    assert_eq!((&sent["messages"], &sent["exit_code"]), (&2.into(), &1.into()));
}

#[test]
fn a_frame_cut_short_or_above_the_limit_is_an_error() {
    let (scratch, group) = (Scratch::new(), group(115));
    for (input, said) in [
        (b"\0\0\0\x02ok\0\0\0\x05shor" as &[u8], "frame 2 is cut short; the one before it was published"),
        (b"\0\0\0\x02ok\0\0", "frame 2 is cut short; the one before it was published"),
        (b"\0\0\0\x02ok\xff\xff\xff\xff", "frame 2 of 4294967295 bytes is above the limit of 16777216 bytes"),
    ] {
        let mut sub = subscribe(&group, "--until-end", Stdio::piped());
        let mut command = on(&group, "pub --wait-for 1 --frames");
        command.stdin(file(&scratch, "in", input));
        let mut publisher = Process::spawn(command);
        assert_eq!(publisher.wait(SOON).code(), Some(1));
        assert!(publisher.stderr().contains(said), "{}", publisher.stderr());
        assert_eq!(sub.wait(SOON).code(), Some(1), "what it has is not all there was");
        assert!(sub.stderr().contains("error: the source fell silent"), "{}", sub.stderr());
        assert_eq!(sub.stdout(), "ok\n");
    }
}

#[test]
fn a_datagram_that_the_interface_cannot_carry_is_refused_in_words() {
    // lo's MTU is 65,536: what is longer than fits is refused before anything is sent, and what fits, arrives.
    let group = group(116);
    let mut sub = subscribe(&group, "--until-end", Stdio::piped());
    publish(&group, "--wait-for 1 --datagram 65507 --count 3 --size 3", Stdio::null());
    sub.succeed(SOON);
    assert_eq!(sub.stdout(), "001\n002\n003\n");
}

#[test]
fn a_standard_error_that_nobody_reads_stops_nothing() {
    let (scratch, group) = (Scratch::new(), group(190));
    let kept = scratch.path("summary");
    let arguments =
        format!("sub --contract best-effort --drop 20 --seed 1 --until-end --summary {}", kept.display());
    // Far more lines of gaps than a pipe holds.
    let mut command = on(&group, &arguments);
    let mut sub = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    publish(&group, "--wait-for 1 --count 20000 --size 1200", Stdio::null());
    // One that waits for its standard error to be read is ended, and has failed.
    let (id, (over, is_over)) = (sub.id(), std::sync::mpsc::channel::<()>());
    let watch = std::thread::spawn(move || {
        if is_over.recv_timeout(SOON) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            std::process::Command::new("kill").args(["-9", &id.to_string()]).status().unwrap();
        }
    });
    let ended = sub.wait().unwrap();
    drop(over);
    watch.join().unwrap();
    let heard = summary(&kept);
    assert!(ended.success() && heard["gaps"].as_u64() > Some(2_000), "{ended}, {heard}");
    let count = |field: &str| heard[field].as_u64().unwrap();
    assert_eq!(count("messages") + count("lost"), 20_000);
}
