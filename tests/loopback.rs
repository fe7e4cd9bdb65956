//! Publishers and subscribers over real sockets on `lo`.

use nakcast::{
    BackPressure, Contract, EndReason, Endpoint, Error, Event, Flow, GapReason, Publisher, Queue, SendError,
    StartAt, Subscriber, SubscriberBuilder, Wait, WhenFull,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A group of this test's own.
fn group(number: u8) -> SocketAddr {
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    SocketAddr::from(([239, 255, 78, number], port))
}

const DEADLINE: Duration = Duration::from_secs(20);

fn next(subscriber: &mut Subscriber) -> Event<'_> {
    subscriber.recv_timeout(DEADLINE).unwrap().expect("something comes in time")
}

fn subscribe(number: u8) -> SubscriberBuilder {
    Subscriber::builder(group(number)).interface("lo")
}

/// What a subscriber saw until its first stream ended.
#[derive(Debug, Default)]
struct Seen {
    messages: Vec<Vec<u8>>,
    lost: u64,
    reasons: Vec<GapReason>,
    end: Option<EndReason>,
    stats: nakcast::SubscriberStats,
}

fn read(mut subscriber: Subscriber) -> std::thread::JoinHandle<Seen> {
    std::thread::spawn(move || {
        let mut seen = Seen::default();
        while seen.end.is_none() {
            match next(&mut subscriber) {
                Event::Message(message) => seen.messages.push(message.payload().to_vec()),
                Event::Gap(gap) => {
                    seen.lost += gap.messages();
                    seen.reasons.push(gap.reason());
                }
                Event::StreamEnd(stream) => seen.end = stream.end_reason(),
                _ => {}
            }
        }
        seen.stats = subscriber.stats();
        seen
    })
}

/// Messages of all sizes that can be told apart: small ones, empty ones, and some in fragments.
fn mixed(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| n.to_string().into_bytes().repeat(if n % 7 == 0 { 0 } else { (n * 31) % 900 }))
        .collect()
}

fn publish(number: u8, messages: &[Vec<u8>]) -> nakcast::PublisherStats {
    let mut publisher = Publisher::builder(group(number)).topic("prices.fx").interface("lo").open().unwrap();
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    for message in messages {
        publisher.send(message).unwrap();
    }
    let endpoint = publisher.endpoint().clone();
    publisher.close(DEADLINE).unwrap();
    endpoint.stats()
}

#[test]
fn messages_arrive_in_order_and_the_stream_ends() {
    let reader = read(subscribe(1).topic("prices.>").open().unwrap());
    let messages = mixed(20_000);
    publish(1, &messages);
    let seen = reader.join().unwrap();
    assert!(seen.messages == messages);
    assert_eq!((seen.lost, seen.end), (0, Some(EndReason::Closed)));
}

#[test]
fn what_is_dropped_is_repaired() {
    for (number, wait) in [(2, Wait::Block), (3, Wait::SpinThenBlock(Duration::from_micros(100)))] {
        let reader = read(subscribe(number).drop_datagrams(0.2, 7).wait(wait).open().unwrap());
        let messages = mixed(5_000);
        let stats = publish(number, &messages);
        let seen = reader.join().unwrap();
        assert!(seen.messages == messages);
        assert_eq!(seen.lost, 0);
        assert!(seen.stats.dropped > 500 && seen.stats.repairs > 500, "{:?}", seen.stats);
        assert!(stats.repairs >= seen.stats.repairs);
    }
}

#[test]
fn by_arrival_everything_comes_once_in_some_order() {
    let reader = read(subscribe(4).contract(Contract::Arrival).drop_datagrams(0.2, 7).open().unwrap());
    let mut messages = mixed(5_000);
    publish(4, &messages);
    let mut seen = reader.join().unwrap();
    assert!(seen.messages != messages, "repairs come later");
    assert_eq!((seen.messages.len(), seen.lost), (5_000, 0), "{:?}", seen.stats);
    messages.sort();
    seen.messages.sort();
    assert!(seen.messages == messages);
    assert_eq!(seen.lost, 0);
}

#[test]
fn best_effort_asks_for_nothing_and_tells_what_is_missing() {
    let reader = read(subscribe(5).contract(Contract::BestEffort).drop_datagrams(0.2, 7).open().unwrap());
    let messages = mixed(5_000);
    let stats = publish(5, &messages);
    let seen = reader.join().unwrap();
    assert!(seen.lost > 0);
    assert_eq!(seen.messages.len() as u64 + seen.lost, 5_000, "what is not here is told, to the message");
    assert!(seen.reasons.iter().all(|&reason| reason == GapReason::NotAsked));
    assert_eq!((seen.stats.naks, stats.nak_datagrams), (0, 0));
    let mut rest = seen.messages.iter().peekable();
    for message in &messages {
        rest.next_if_eq(&message);
    }
    assert!(rest.next().is_none(), "in order");
}

#[test]
fn a_hundred_topics_and_one_of_them_recovered() {
    let subscriber = subscribe(6).topic("topic.42").drop_datagrams(0.1, 9).open().unwrap();
    let reader = read(subscriber);
    let endpoint = Endpoint::open(Publisher::builder(group(6)).interface("lo")).unwrap();
    let mut publishers: Vec<Publisher> =
        (0..100).map(|n| endpoint.publisher(format!("topic.{n}")).unwrap()).collect();
    publishers[42].wait_for(1, Some(DEADLINE)).unwrap();
    for round in 0..200_u32 {
        for publisher in &mut publishers {
            publisher.send(&round.to_le_bytes().repeat(300)).unwrap();
        }
    }
    let wanted = publishers.remove(42);
    wanted.close(DEADLINE).unwrap();
    let seen = reader.join().unwrap();
    let stats = endpoint.stats();
    assert_eq!(seen.messages.len(), 200);
    assert_eq!(seen.lost, 0);
    assert!(seen.stats.ignored > 10_000, "{:?}", seen.stats);
    assert_eq!(seen.stats.streams, 0, "the one is over, and the others were never subscribed to");
    // What the kernel had no room for, as nobody waits for a reader of one topic with the other 99, is asked for, too.
    assert!(
        stats.nak_datagrams < 1_000,
        "some of 200 datagrams were asked for, not a tenth of 20,000: {stats:?}"
    );
    assert!(publishers.iter().all(|publisher| publisher.receivers() == 0));
}

#[test]
fn wildcards_choose_and_several_patterns_add_up() {
    let mut subscriber = subscribe(7).topic("a.*.x").topic("b.>").open().unwrap();
    let endpoint = Endpoint::open(Publisher::builder(group(7)).interface("lo")).unwrap();
    let topics = ["a.1.x", "a.1.y", "a.1.2.x", "b", "b.c.d", "c"];
    let mut publishers: Vec<Publisher> =
        topics.iter().map(|&topic| endpoint.publisher(topic).unwrap()).collect();
    for publisher in &mut publishers {
        publisher.send(publisher.topic().to_owned().as_bytes()).unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 3 {
        if let Event::Message(message) = next(&mut subscriber) {
            assert_eq!(message.topic().as_bytes(), message.payload());
            got.push(message.topic().to_owned());
        }
    }
    got.sort();
    assert_eq!(got, ["a.1.x", "b", "b.c.d"]);
    drop(subscriber);
}

#[test]
fn a_late_joiner_starts_where_it_asked_to() {
    let mut publisher = Publisher::builder(group(8)).interface("lo").open().unwrap();
    for n in 0..5_000_u32 {
        publisher.send(&n.to_le_bytes()).unwrap();
    }
    publisher.flush().unwrap();
    let first = |subscriber: &mut Subscriber| loop {
        if let Event::Message(message) = next(subscriber) {
            return u32::from_le_bytes(message.payload().try_into().unwrap());
        }
    };
    let mut whole = subscribe(8).start_at(StartAt::Window).drop_datagrams(0.1, 1).open().unwrap();
    for expected in 0..5_000 {
        assert_eq!(first(&mut whole), expected);
    }
    let mut live = subscribe(8).open().unwrap();
    while publisher.receivers() < 2 {
        live.recv_timeout(Duration::from_millis(10)).unwrap();
    }
    for n in 5_000..5_010_u32 {
        publisher.send(&n.to_le_bytes()).unwrap();
    }
    for expected in 5_000..5_010 {
        assert_eq!(first(&mut live), expected);
        assert_eq!(first(&mut whole), expected);
    }
    drop((live, whole));
}

#[test]
fn a_publisher_that_starts_anew_is_followed() {
    let mut subscriber = subscribe(9).open().unwrap();
    let open = || Publisher::builder(group(9)).topic("t").interface("lo").open().unwrap();
    let mut publisher = open();
    let first = publisher.endpoint().source_id();
    publisher.send(b"one").unwrap();
    publisher.flush().unwrap();
    let mut events = Vec::new();
    let mut note = |subscriber: &mut Subscriber, until: &dyn Fn(&str) -> bool| loop {
        let told = match next(subscriber) {
            Event::Message(message) => {
                format!("{} {}", message.source(), String::from_utf8_lossy(message.payload()))
            }
            Event::StreamUp(stream) => format!("{} up {}", stream.source(), stream.sequence()),
            Event::StreamEnd(stream) => {
                format!("{} {}", stream.source(), stream.end_reason().unwrap().as_str())
            }
            other => format!("{other:?}"),
        };
        let done = until(&told);
        events.push(told);
        if done {
            return;
        }
    };
    note(&mut subscriber, &|told| told.ends_with("one"));
    let _unconfirmed = publisher.close(Duration::ZERO);
    note(&mut subscriber, &|told| told.ends_with("closed"));
    let mut publisher = open();
    let second = publisher.endpoint().source_id();
    publisher.send(b"two").unwrap();
    publisher.flush().unwrap();
    note(&mut subscriber, &|told| told.ends_with("two"));
    assert_ne!(first, second);
    assert_eq!(
        events,
        [
            format!("{first} up 1"),
            format!("{first} one"),
            format!("{first} closed"),
            format!("{second} up 1"),
            format!("{second} two")
        ]
    );
    drop(subscriber);
}

#[test]
fn a_message_may_be_written_in_place() {
    let reader = read(subscribe(10).open().unwrap());
    let mut publisher = Publisher::builder(group(10)).interface("lo").open().unwrap();
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    for n in 0..1_000_u32 {
        let mut claim = publisher.claim(4 + n as usize % 500).unwrap();
        claim.fill(9);
        claim[..4].copy_from_slice(&n.to_le_bytes());
        if n % 3 == 0 {
            drop(claim);
        } else {
            claim.commit();
        }
    }
    assert!(matches!(publisher.claim(1_400), Err(SendError::TooLong { max: 1_340 })));
    publisher.close(DEADLINE).unwrap();
    let seen = reader.join().unwrap();
    let numbers: Vec<u32> =
        seen.messages.iter().map(|message| u32::from_le_bytes(message[..4].try_into().unwrap())).collect();
    let expected: Vec<u32> = (0..1_000).filter(|n| n % 3 != 0).collect();
    assert_eq!(numbers, expected);
    assert!(seen.messages.iter().all(|message| message[4..].iter().all(|&byte| byte == 9)));
}

#[test]
fn large_messages_are_put_together() {
    let reader = read(subscribe(11).drop_datagrams(0.05, 2).open().unwrap());
    let messages: Vec<Vec<u8>> = [16 << 20, 1, 1_341, 1_340, 0, 3 << 20]
        .iter()
        .map(|&length| (0..length).map(|at| (at * 7) as u8).collect())
        .collect();
    publish(11, &messages);
    let seen = reader.join().unwrap();
    assert!(seen.messages == messages);
    let mut publisher = Publisher::builder(group(11)).interface("lo").open().unwrap();
    assert_eq!(publisher.send(&vec![0; (16 << 20) + 1]), Err(SendError::TooLong { max: 16 << 20 }));
}

#[test]
fn a_slow_subscriber_holds_the_publisher_and_loses_nothing() {
    let mut subscriber = subscribe(12).reorder_buffer(256 << 10).open().unwrap();
    let builder = Publisher::builder(group(12)).interface("lo").window(1 << 20);
    let mut publisher = builder.patience(Duration::from_secs(3_600)).open().unwrap();
    while publisher.receivers() == 0 {
        subscriber.recv_timeout(Duration::from_millis(10)).unwrap();
    }
    let mut sent = 0_u32;
    let held = loop {
        match publisher.try_send(&sent.to_le_bytes().repeat(250)) {
            Ok(()) => sent += 1,
            Err(SendError::BackPressured { by }) => break by,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(matches!(held, BackPressure::Receiver(id) if id == subscriber.receiver_id()), "{held:?}");
    let mut got = 0_u32;
    while got < sent {
        if let Event::Message(message) = next(&mut subscriber) {
            assert_eq!(message.payload()[..4], got.to_le_bytes());
            got += 1;
        }
    }
    publisher.send(b"there is room again").unwrap();
    drop(subscriber);
}

#[test]
fn a_rate_is_kept_without_flow_control() {
    let reader = read(subscribe(13).open().unwrap());
    let builder = Publisher::builder(group(13)).interface("lo").flow(Flow::None).max_rate(80_000_000);
    let mut publisher = builder.open().unwrap();
    publisher.wait_for(1, Some(DEADLINE)).unwrap();
    let mut waited = false;
    for n in 0..2_000_u32 {
        let message = n.to_le_bytes().repeat(250);
        if let Err(SendError::BackPressured { by: BackPressure::Rate }) = publisher.try_send(&message) {
            waited = true;
            publisher.send(&message).unwrap();
        }
    }
    publisher.close(DEADLINE).unwrap();
    assert!(waited, "the bucket was empty at times");
    let seen = reader.join().unwrap();
    assert_eq!(seen.messages.len(), 2_000);
}

#[test]
fn the_descriptor_serves_a_foreign_event_loop() {
    use mio::unix::SourceFd;
    use std::os::fd::AsRawFd;
    let mut subscriber = subscribe(14).drop_datagrams(0.1, 5).open().unwrap();
    let mut poll = mio::Poll::new().unwrap();
    let descriptor = subscriber.as_raw_fd();
    poll.registry().register(&mut SourceFd(&descriptor), mio::Token(0), mio::Interest::READABLE).unwrap();
    let publisher = std::thread::spawn(|| publish(14, &mixed(3_000)));
    let mut events = mio::Events::with_capacity(4);
    let (mut messages, mut over) = (Vec::new(), false);
    while !over {
        let mut handle = |event: Event<'_>| match event {
            Event::Message(message) => messages.push(message.payload().to_vec()),
            Event::StreamEnd(_) => over = true,
            Event::Gap(gap) => panic!("{gap}"),
            _ => {}
        };
        while subscriber.poll(64, &mut handle).unwrap() > 0 {}
        if !over {
            poll.poll(&mut events, Some(DEADLINE)).unwrap();
            assert!(!events.is_empty(), "it tells when to go on");
        }
    }
    assert!(messages == mixed(3_000));
    drop(subscriber);
    publisher.join().unwrap();
}

#[test]
fn a_detached_subscriber_delivers_everything_or_tells() {
    for (number, when_full, capacity) in [
        (15, WhenFull::Block, 100),
        (16, WhenFull::DropOldest, 100),
        (17, WhenFull::DropNewest, 100),
        (23, WhenFull::Block, 1),
        (24, WhenFull::DropOldest, 1),
        (25, WhenFull::DropNewest, 1),
    ] {
        let queue = Queue { capacity, when_full };
        let mut detached = subscribe(number).drop_datagrams(0.05, 5).open().unwrap().detach(queue).unwrap();
        let messages = mixed(4_000);
        let sent = messages.clone();
        let publisher = std::thread::spawn(move || publish(number, &sent));
        if when_full != WhenFull::Block {
            // Nothing is taken until all was sent.
            publisher.join().unwrap();
        }
        let (mut got, mut lost, mut up) = (Vec::new(), 0, false);
        loop {
            match detached.recv_timeout(DEADLINE).unwrap().expect("something in time") {
                Event::Message(message) => got.push((message.number(), message.payload().to_vec())),
                Event::Gap(gap) => {
                    assert_eq!(gap.reason(), GapReason::Overrun);
                    assert!(up, "a stream begins before something of it is lost");
                    lost += gap.messages();
                    let place = got.last().map_or(0, |&(number, _)| number);
                    assert!(
                        when_full != WhenFull::DropOldest || place == 0,
                        "the oldest were dropped before the rest"
                    );
                }
                Event::StreamUp(_) => up = true,
                Event::StreamEnd(_) => break,
                _ => {}
            }
        }
        assert_eq!(got.len() as u64 + lost, 4_000);
        assert_eq!(lost == 0, when_full == WhenFull::Block);
        let by_number: HashMap<u64, &Vec<u8>> = (1..).zip(&messages).collect();
        assert!(got.iter().all(|(number, payload)| by_number[number] == payload));
        assert!(got.is_sorted_by_key(|&(number, _)| number));
        // The counters are as of a moment ago.
        let counted = |stats: &nakcast::SubscriberStats| stats.messages + stats.lost == 4_000;
        for _ in 0..1_000 {
            if counted(&detached.stats()) {
                break;
            }
            let _nothing = detached.recv_timeout(DEADLINE / 1_000);
        }
        let stats = detached.stats();
        assert_eq!((stats.messages, stats.lost, stats.queue_drops), (got.len() as u64, lost, lost));
    }
}

#[test]
fn threads_share_an_endpoint() {
    let subscriber = subscribe(18).drop_datagrams(0.02, 3).open().unwrap();
    let endpoint = Endpoint::open(Publisher::builder(group(18)).interface("lo")).unwrap();
    let reader = std::thread::spawn(move || {
        let mut subscriber = subscriber;
        let (mut next_of, mut over) = (HashMap::<String, u32>::new(), 0);
        while over < 4 {
            match next(&mut subscriber) {
                Event::Message(message) => {
                    let expected = next_of.entry(message.topic().to_owned()).or_default();
                    assert_eq!(message.payload(), expected.to_le_bytes());
                    *expected += 1;
                }
                Event::StreamEnd(_) => over += 1,
                Event::Gap(gap) => panic!("{gap}"),
                _ => {}
            }
        }
        next_of
    });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let endpoint = endpoint.clone();
            scope.spawn(move || {
                let mut publisher = endpoint.publisher(format!("thread.{thread}")).unwrap();
                publisher.wait_for(1, Some(DEADLINE)).unwrap();
                for n in 0..5_000_u32 {
                    publisher.send(&n.to_le_bytes()).unwrap();
                }
                publisher.close(DEADLINE).unwrap();
            });
        }
    });
    let next_of = reader.join().unwrap();
    assert_eq!(next_of.values().copied().collect::<Vec<_>>(), [5_000; 4]);
}

#[test]
fn settings_out_of_range_name_what_would_be_right() {
    let publisher = || Publisher::builder(group(19)).interface("lo");
    let subscriber = || subscribe(19);
    let said = |error: Result<(), Error>| error.unwrap_err().to_string();
    let publish = |builder: nakcast::PublisherBuilder| said(builder.open().map(drop));
    let receive = |builder: SubscriberBuilder| said(builder.open().map(drop));
    for (text, expected) in [
        (publish(publisher().datagram(100)), "datagram: 100 is outside 512 to 65507"),
        (publish(publisher().window(1)), "window: 1 is outside 131072"),
        (publish(publisher().max_message(33 << 20)), "max_message: 34603008 is outside 1 to 33554432"),
        (publish(publisher().max_rate(0)), "max_rate: 0 is outside 10000"),
        (publish(publisher().patience(Duration::ZERO)), "patience: 0ns is outside 1ms"),
        (publish(publisher().topic("a..b")), "topic \"a..b\": the topic has an empty level"),
        (publish(publisher().topic("a.*")), "topic \"a.*\": a publisher's topic names one stream"),
        (publish(publisher().interface("nonesuch0")), "nonesuch0"),
        (receive(subscriber().topic("a.>.b")), "topic \"a.>.b\": `*` must be a whole level"),
        (receive(subscriber().drop_datagrams(1.5, 0)), "drop_datagrams: 1.5 is outside 0.0 to 1.0"),
        (receive(subscriber().contract(Contract::Deadline(Duration::ZERO))), "deadline: 0ns is outside"),
        (receive(subscriber().reorder_buffer(1)), "reorder_buffer: 1 is outside"),
        (receive(Subscriber::builder("10.0.0.1:5".parse().unwrap())), "10.0.0.1"),
        (receive(Subscriber::builder("239.1.1.1:0".parse().unwrap()).interface("lo")), "port"),
    ] {
        assert!(text.contains(expected), "{text:?} should say {expected:?}");
    }
}

#[test]
fn memory_that_cannot_be_had_is_an_error_that_names_it() {
    // More than any machine these tests run on has, and less than the settings' own bound.
    let asked = (1 << 40) - 4_096;
    let publisher = Publisher::builder(group(22)).interface("lo").window(asked).open().map(drop);
    let subscriber = subscribe(22).reorder_buffer(asked).open().map(drop);
    for (error, setting) in [(publisher, "window"), (subscriber, "reorder_buffer")] {
        let error = error.unwrap_err();
        assert!(
            matches!(error, Error::Memory { name, asked: bytes, .. } if name == setting && bytes == asked)
        );
        let text = error.to_string();
        let begin = format!("{setting}: {asked} bytes of memory are not to be had");
        assert!(text.starts_with(&begin), "{text}");
    }
}

#[test]
fn a_waiting_call_can_be_had_return() {
    for wait in [Wait::Block, Wait::Spin] {
        let mut subscriber = subscribe(29).wait(wait).open().unwrap();
        let waker = subscriber.waker();
        let (told, outcome) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for _ in 0..100 {
                told.send(subscriber.recv().map(|event| format!("{event:?}"))).unwrap();
            }
            // Each waking counts once.
            assert!(subscriber.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
        });
        // Some find it waiting, and some before it waits.
        for _ in 0..100 {
            waker.clone().wake();
            assert_eq!(outcome.recv_timeout(DEADLINE).unwrap(), Err(Error::Woken));
        }
        reader.join().unwrap();
        waker.wake();
    }
}

#[test]
fn the_largest_message_is_known_before_and_after_opening() {
    let builder = || Publisher::builder(group(30)).interface("lo");
    for (builder, most) in
        [(builder(), 16 << 20), (builder().window(1 << 20), 1 << 19), (builder().max_message(1_000), 1_000)]
    {
        assert_eq!(builder.message_limit(), most);
        let mut publisher = builder.open().unwrap();
        assert_eq!(publisher.max_message(), most);
        assert_eq!(publisher.send(&vec![0; most + 1]), Err(SendError::TooLong { max: most }));
    }
}

#[test]
fn a_stream_that_is_over_at_once_reaches_those_who_listened() {
    for round in 0..5 {
        let reader = read(subscribe(20).drop_datagrams(0.5, round).open().unwrap());
        let mut publisher = Publisher::builder(group(20)).interface("lo").open().unwrap();
        publisher.send(b"all there is").unwrap();
        publisher.close(DEADLINE).unwrap();
        let seen = reader.join().unwrap();
        assert_eq!(seen.messages, [b"all there is"]);
        assert_eq!((seen.lost, seen.end), (0, Some(EndReason::Closed)));
    }
}

#[test]
fn large_messages_on_many_topics_take_turns_with_the_memory() {
    let mut subscriber = subscribe(21).reassembly_buffer(8 << 20).open().unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = 0;
        while got < 40 {
            match next(&mut subscriber) {
                Event::Message(message) => {
                    assert_eq!(message.payload(), vec![7; 1_000_000]);
                    got += 1;
                }
                Event::Gap(gap) => panic!("{gap}"),
                _ => {}
            }
        }
    });
    let endpoint = Endpoint::open(Publisher::builder(group(21)).interface("lo")).unwrap();
    let mut publishers: Vec<Publisher> =
        (0..40).map(|n| endpoint.publisher(format!("large.{n}")).unwrap()).collect();
    for publisher in &mut publishers {
        publisher.wait_for(1, Some(DEADLINE)).unwrap();
        publisher.send(&vec![7; 1_000_000]).unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn a_publisher_that_panics_does_not_say_that_this_was_all() {
    let reader = read(subscribe(61).topic(">").open().unwrap());
    let panicked = std::thread::spawn(|| {
        let mut publisher = Publisher::builder(group(61)).topic("a").interface("lo").open().unwrap();
        publisher.wait_for(1, Some(DEADLINE)).unwrap();
        publisher.send(b"one").unwrap();
        panic!("as this test wants it");
    });
    assert!(panicked.join().is_err());
    let seen = reader.join().unwrap();
    assert_eq!((seen.messages, seen.lost), (vec![b"one".to_vec()], 0));
    assert_eq!(seen.end, Some(EndReason::Silent));
}

/// Takes an event; whether it was a message that the kernel told of, and whether the stream is over.
fn told_by_the_kernel(event: &Event<'_>) -> (Option<bool>, bool) {
    let Event::Message(message) = event else { return (None, matches!(event, Event::StreamEnd(_))) };
    let (sent, received) = (message.sent_ns(), message.received_ns());
    let kernel = message.kernel_received_ns();
    if let Some(kernel) = kernel {
        assert!(sent <= kernel && kernel <= received, "{sent} {kernel} {received}");
    }
    (Some(kernel.is_some()), false)
}

#[test]
fn the_kernel_had_it_between_sending_and_receiving_and_tells_only_who_asks() {
    for (number, ask, detached) in [(70, true, false), (71, false, false), (72, true, true)] {
        // Also what was repaired, what waited behind it, and what came in parts.
        let mut subscriber = subscribe(number).kernel_timestamps(ask).drop_datagrams(0.2, 7).open().unwrap();
        let messages = mixed(2_000);
        let publisher = std::thread::spawn(move || publish(number, &messages));
        let mut told = Vec::new();
        if detached {
            let mut detached = subscriber.detach(Queue::default()).unwrap();
            loop {
                let event = detached.recv_timeout(DEADLINE).unwrap().expect("something in time");
                let (kernel, over) = told_by_the_kernel(&event);
                told.extend(kernel);
                if over {
                    break;
                }
            }
        } else {
            loop {
                let (kernel, over) = told_by_the_kernel(&next(&mut subscriber));
                told.extend(kernel);
                if over {
                    break;
                }
            }
            // Leave is taken: the publisher does not wait for it.
            drop(subscriber);
        }
        assert_eq!(told, [ask && cfg!(target_os = "linux"); 2_000]);
        publisher.join().unwrap();
    }
}
