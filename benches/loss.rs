//! What loss costs: goodput at full speed, and latency at a fixed rate, between two network namespaces joined by veth.
//!
//! One publisher and one reliable, ordered subscriber, in processes of their own, with their defaults. Loss is dropped by
//! nftables in the subscriber's input hook; segmentation is done before the wire, so that it is per datagram, as on a real
//! network, unless `--whole-runs` is given. In the same run, in turn with the others: raw sockets, one datagram a call.
//!
//! `cargo bench --bench loss` prints the README's table (needs root, for the namespaces).
#![expect(clippy::disallowed_methods, reason = "it measures the real clock, beside sockets of its own")]

#[cfg(target_os = "linux")]
#[path = "support/pace.rs"]
mod pace;
#[cfg(target_os = "linux")]
#[path = "../tests/support/mod.rs"]
mod support;

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("network namespaces are Linux's own");
}

#[cfg(target_os = "linux")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("role") => role::run(&arguments[1..]),
        Some(_) if !arguments.iter().any(|argument| argument == "--test") => linux::compare(&arguments),
        _ => println!("nothing is measured in a test run; cargo bench --bench loss does"),
    }
}

/// What one process does.
#[cfg(target_os = "linux")]
mod role {
    use super::pace::{Pace, wall};
    use nakcast::{Event, Publisher, Subscriber};
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::{Duration, Instant};

    pub(super) const GROUP: &str = "239.255.77.1:7700";

    fn argument<T: std::str::FromStr>(arguments: &[String], at: usize) -> T {
        arguments.get(at).and_then(|text| text.parse().ok()).expect("the benchmark's own arguments")
    }

    pub(super) fn run(arguments: &[String]) {
        match arguments[0].as_str() {
            "publish" => publish(argument(arguments, 1), argument(arguments, 2), argument(arguments, 3)),
            "subscribe" => subscribe(),
            "raw-send" => raw_send(argument(arguments, 1), argument(arguments, 2), argument(arguments, 3)),
            "raw-receive" => raw_receive(),
            "ping" => ping(argument(arguments, 1)),
            "pong" => pong(),
            other => panic!("role {other}"),
        }
    }

    fn group() -> SocketAddr {
        GROUP.parse().expect("an address")
    }

    /// Publishes messages of `size` bytes for `seconds`, `rate` a second, or as fast as they go when that is 0.
    fn publish(size: usize, rate: u64, seconds: f64) {
        let mut publisher =
            Publisher::builder(group()).topic("bench").interface("eth0").open().expect("a publisher");
        publisher.wait_for(1, Some(Duration::from_secs(10))).expect("a subscriber");
        let mut message = vec![0; size];
        let mut pace = Pace::new(rate);
        let begun = Instant::now();
        let mut count = 0_u64;
        while begun.elapsed().as_secs_f64() < seconds {
            if let Some(pace) = &mut pace {
                message[..8].copy_from_slice(&pace.next(begun).to_le_bytes());
                publisher.send(&message).expect("sent");
                count += 1;
            } else {
                for _ in 0..256 {
                    publisher.send(&message).expect("sent");
                    count += 1;
                }
            }
        }
        let endpoint = publisher.endpoint().clone();
        let closed = publisher.close(Duration::from_secs(20));
        let stats = endpoint.stats();
        eprintln!(
            "sent {count} {} {} {} {} {}",
            stats.datagrams,
            stats.repairs,
            stats.naks,
            stats.system_calls,
            closed.is_ok()
        );
        if std::env::var_os("VERBOSE").is_some() {
            eprintln!("{stats:?}");
        }
    }

    fn subscribe() {
        let mut builder = Subscriber::builder(group()).interface("eth0");
        if let Ok(bytes) = std::env::var("RCVBUF") {
            builder = builder.receive_buffer(bytes.parse().expect("bytes"));
        }
        let mut subscriber = builder.open().expect("a subscriber");
        eprintln!("ready");
        let mut latency = Latency::new();
        let (mut bytes, mut messages, mut lost) = (0_u64, 0_u64, 0_u64);
        let (mut begun, mut last) = (None, Instant::now());
        let mut over = false;
        while !over {
            let mut handle = |event: Event<'_>| match event {
                Event::Message(message) => {
                    if begun.is_none() {
                        begun = Some(Instant::now());
                    }
                    bytes += message.payload().len() as u64;
                    messages += 1;
                    latency.take(message.payload());
                }
                Event::Gap(gap) => lost += gap.messages(),
                Event::StreamEnd(_) => over = true,
                _ => {}
            };
            let taken = subscriber.poll(4_096, &mut handle).expect("polled");
            if taken > 0 {
                last = Instant::now();
            } else if let Some(event) = subscriber.recv_timeout(Duration::from_secs(30)).expect("received") {
                handle(event);
            } else {
                break;
            }
        }
        let seconds = begun.map_or(1.0, |begun| (last - begun).as_secs_f64());
        let stats = subscriber.stats();
        eprintln!(
            "got {messages} {bytes} {seconds} {lost} {} {} {} {} {latency}",
            stats.missed, stats.naks, stats.repairs, stats.duplicates
        );
        if std::env::var_os("VERBOSE").is_some() {
            eprintln!("{stats:?}");
        }
    }

    fn raw_member(port: u16) -> UdpSocket {
        let SocketAddr::V4(group) = group() else { unreachable!("IPv4") };
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("shared");
        socket.set_recv_buffer_size(4 << 20).expect("a buffer");
        socket.bind(&SocketAddr::from((*group.ip(), port)).into()).expect("bound");
        let index = socket2::InterfaceIndexOrAddress::Index(index());
        socket.join_multicast_v4_n(group.ip(), &index).expect("joined");
        socket.into()
    }

    fn index() -> u32 {
        nakcast::net::interfaces().expect("interfaces").iter().find(|i| i.name == "eth0").expect("eth0").index
    }

    fn raw_sender() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        let index = socket2::InterfaceIndexOrAddress::Index(index());
        let raw = socket2::SockRef::from(&socket);
        let _ = index;
        raw.set_multicast_ttl_v4(1).expect("a hop");
        socket
    }

    /// One datagram a call: `rate` a second, or as fast as they go when that is 0.
    fn raw_send(size: usize, rate: u64, seconds: f64) {
        let socket = raw_sender();
        let to = group();
        let mut datagram = vec![0; size];
        let mut pace = Pace::new(rate);
        let begun = Instant::now();
        let mut count = 0_u64;
        while begun.elapsed().as_secs_f64() < seconds {
            for _ in 0..if rate == 0 { 64 } else { 1 } {
                let stamp = pace.as_mut().map_or(0, |pace| pace.next(begun));
                datagram[..8].copy_from_slice(&stamp.to_le_bytes());
                if socket.send_to(&datagram, to).is_ok() {
                    count += 1;
                }
            }
        }
        for _ in 0..100 {
            // An empty one ends it, and one of them arrives.
            socket.send_to(&[], to).expect("sent");
        }
        eprintln!("sent {count} {count} 0 0 {count} true");
    }

    fn raw_receive() {
        let socket = raw_member(7700);
        eprintln!("ready");
        let mut buffer = vec![0; 65_536];
        let mut latency = Latency::new();
        let (mut bytes, mut datagrams) = (0_u64, 0_u64);
        let mut begun = None;
        loop {
            let length = socket.recv(&mut buffer).expect("received");
            if length == 0 {
                break;
            }
            begun.get_or_insert_with(Instant::now);
            bytes += length as u64;
            datagrams += 1;
            latency.take(&buffer[..length]);
        }
        let seconds = begun.map_or(1.0, |begun| begun.elapsed().as_secs_f64());
        eprintln!("got {datagrams} {bytes} {seconds} 0 0 0 0 0 {latency}");
    }

    /// How long stamped messages took, nanoseconds.
    struct Latency(std::cell::RefCell<Vec<u64>>);

    impl Latency {
        fn new() -> Latency {
            Latency(Vec::with_capacity(4 << 20).into())
        }

        fn take(&mut self, payload: &[u8]) {
            if let Some(stamp) = payload.first_chunk() {
                let stamp = u64::from_le_bytes(*stamp);
                let taken = self.0.get_mut();
                if stamp > 0 && taken.len() < taken.capacity() {
                    taken.push(wall().saturating_sub(stamp));
                }
            }
        }
    }

    impl std::fmt::Display for Latency {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let mut taken = self.0.borrow_mut();
            taken.sort_unstable();
            let at = |share: f64| taken.get((taken.len() as f64 * share) as usize).copied().unwrap_or(0);
            write!(f, "{} {} {}", at(0.5), at(0.99), at(0.999))
        }
    }

    /// Blocking round trips of raw sockets over multicast, both ways.
    fn ping(count: usize) {
        let (to, from) = (raw_sender(), raw_member(7701));
        from.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        let mut times = Vec::with_capacity(count);
        let mut buffer = [0; 2_048];
        for _ in 0..count {
            let begun = Instant::now();
            to.send_to(&[7; 320], group()).expect("sent");
            if from.recv(&mut buffer).is_ok() {
                times.push(begun.elapsed().as_nanos() as u64);
            }
        }
        to.send_to(&[], group()).expect("sent");
        times.sort_unstable();
        eprintln!("round trip {}", times[times.len() / 2]);
    }

    fn pong() {
        let (to, from) = (raw_sender(), raw_member(7700));
        let SocketAddr::V4(group) = group() else { unreachable!("IPv4") };
        let back = SocketAddr::from((*group.ip(), 7701));
        eprintln!("ready");
        let mut buffer = [0; 2_048];
        loop {
            let length = from.recv(&mut buffer).expect("received");
            if length == 0 {
                return;
            }
            to.send_to(&buffer[..length], back).expect("sent");
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::support::{Host, Lab, Process};
    use std::time::Duration;

    const RUNS: usize = 5;
    const MOST_SECONDS: usize = 600;
    /// Fills a datagram of the default size.
    const SIZE: usize = 1_340;

    /// What one run gave.
    #[derive(Clone, Debug, Default)]
    struct Outcome {
        bytes_per_second: f64,
        lost: f64,
        missed: f64,
        naks: f64,
        duplicates: f64,
        p50: f64,
        p99: f64,
        p999: f64,
        datagrams: f64,
        repairs: f64,
    }

    fn pair(lab: &Lab, receive: &[&str], send: &[&str]) -> Outcome {
        let spawn = |host: &Host, arguments: &[&str]| {
            let mut command = host.command(std::env::current_exe().expect("this program"));
            command.arg("role").args(arguments);
            Process::spawn(command)
        };
        // The longest that it may run for, and a minute for all besides.
        let within = Duration::from_secs(60 + MOST_SECONDS as u64);
        let mut receiver = spawn(lab.host(1), receive);
        receiver.wait_for_line("ready", within);
        let mut sender = spawn(lab.host(0), send);
        let numbers =
            |line: String| -> Vec<f64> { line.split(' ').skip(1).filter_map(|n| n.parse().ok()).collect() };
        let sent = numbers(sender.wait_for_line("sent ", within));
        let got = numbers(receiver.wait_for_line("got ", within));
        sender.succeed(within);
        receiver.succeed(within);
        if std::env::var_os("VERBOSE").is_some() {
            eprintln!("{}\n{}", sender.stderr(), receiver.stderr());
        }
        Outcome {
            bytes_per_second: got[1] / got[2],
            // Raw sockets do not know.
            lost: if receive[0] == "raw-receive" { sent[1] - got[0] } else { got[3] },
            missed: got[4],
            naks: got[5],
            duplicates: got[7],
            p50: got[8],
            p99: got[9],
            p999: got[10],
            datagrams: sent[1],
            repairs: sent[2],
        }
    }

    fn median(outcomes: &[Outcome], of: impl Fn(&Outcome) -> f64) -> f64 {
        let mut values: Vec<f64> = outcomes.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn misused(wrong: &str) {
        eprintln!("loss: {wrong}; it takes --runs N, --size BYTES, --seconds N, --whole-runs");
        std::process::exit(2);
    }

    pub(super) fn compare(arguments: &[String]) {
        let (mut whole, mut runs, mut size, mut seconds) = (false, RUNS, SIZE, 3);
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let (number, range) = match name.as_str() {
                "--bench" => continue, // cargo's
                "--whole-runs" => {
                    whole = true;
                    continue;
                }
                "--runs" => (&mut runs, 1..=100),
                "--size" => (&mut size, 16..=1 << 20),
                "--seconds" => (&mut seconds, 1..=MOST_SECONDS),
                _ => return misused(&format!("{name} is none of its flags")),
            };
            match rest.next().and_then(|value| value.parse().ok()) {
                Some(value) if range.contains(&value) => *number = value,
                _ => return misused(&format!("{name} takes a whole number of {range:?}")),
            }
        }
        let Some(lab) = Lab::new(2) else { return };
        lab.host(0).segmentation_offload(whole);
        let (size, seconds) = (size.to_string(), seconds.to_string());
        let losses = [0.0, 1.0, 5.0, 10.0, 20.0, 30.0];
        let mut raw = Vec::new();
        let mut ours: Vec<Vec<Outcome>> = losses.iter().map(|_| Vec::new()).collect();
        for _ in 0..runs {
            lab.host(1).loss(0.0);
            raw.push(pair(&lab, &["raw-receive"], &["raw-send", "1408", "0", &seconds]));
            for (loss, outcomes) in losses.iter().zip(&mut ours) {
                lab.host(1).loss(*loss);
                outcomes.push(pair(&lab, &["subscribe"], &["publish", &size, "0", &seconds]));
            }
        }
        let unit = if whole { "whole runs" } else { "datagrams" };
        println!("Goodput of {size}-byte messages, medians of {runs} runs of {seconds} s; loss of {unit}.\n");
        println!(
            "| | MB/s | of no loss | messages/s | missed of sent | NAKs | repairs per missed | duplicates | lost |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let floor = median(&raw, |o| o.bytes_per_second);
        println!(
            "| raw sockets, 1,408 bytes, one datagram a call | {:.0} | | {:.0} | | | | | {:.0} |",
            floor / 1e6,
            floor / 1408.0,
            raw.iter().map(|o| o.lost).fold(0.0, f64::max),
        );
        let most = median(&ours[0], |o| o.bytes_per_second);
        for (loss, outcomes) in losses.iter().zip(&ours) {
            let rate = median(outcomes, |o| o.bytes_per_second);
            println!(
                "| nakcast, {loss}% | {:.0} | {:.2} | {:.0} | {:.1}% | {:.0} | {:.2} | {:.0} | {:.0} |",
                rate / 1e6,
                rate / most,
                rate / size.parse::<f64>().unwrap_or(1.0),
                100.0 * median(outcomes, |o| o.missed / o.datagrams),
                median(outcomes, |o| o.naks),
                median(outcomes, |o| o.repairs / o.missed.max(1.0)),
                median(outcomes, |o| o.duplicates),
                outcomes.iter().map(|o| o.lost).fold(0.0, f64::max),
            );
        }
        println!("\nNo loss is {:.2} of raw.\n", most / floor);
        latency(&lab, runs, &seconds);
        lab.host(1).loss(0.0);
        tail(&lab);
    }

    /// One-way latency at 10,000 messages of 256 bytes a second, and the blocking round trip of raw sockets beside it.
    fn latency(lab: &Lab, runs: usize, seconds: &str) {
        let losses = [0.0, 1.0, 5.0];
        let (mut round_trips, mut raw) = (Vec::new(), Vec::new());
        let mut ours: Vec<Vec<Outcome>> = losses.iter().map(|_| Vec::new()).collect();
        for _ in 0..runs {
            lab.host(1).loss(0.0);
            round_trips.push(round_trip(lab));
            raw.push(pair(lab, &["raw-receive"], &["raw-send", "324", "10000", seconds]));
            for (loss, outcomes) in losses.iter().zip(&mut ours) {
                lab.host(1).loss(*loss);
                outcomes.push(pair(lab, &["subscribe"], &["publish", "256", "10000", seconds]));
            }
        }
        round_trips.sort_by(f64::total_cmp);
        let round_trip = round_trips[round_trips.len() / 2];
        println!(
            "One-way latency at 10,000 messages of 256 bytes a second, open loop, blocking, microseconds, medians of {runs} runs.\n"
        );
        println!(
            "| | p50 | p99 | p99.9 | p99.9 in raw blocking round trips (p50 {:.0} us) | lost |",
            round_trip / 1e3
        );
        println!("|---|---|---|---|---|---|");
        let names = losses.iter().map(|loss| format!("nakcast, {loss}%"));
        let rows = std::iter::once(("raw sockets, 0%".to_owned(), &raw)).chain(names.zip(&ours));
        for (name, outcomes) in rows {
            let p999 = median(outcomes, |o| o.p999);
            println!(
                "| {name} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} |",
                median(outcomes, |o| o.p50) / 1e3,
                median(outcomes, |o| o.p99) / 1e3,
                p999 / 1e3,
                p999 / round_trip,
                outcomes.iter().map(|o| o.lost).fold(0.0, f64::max),
            );
        }
    }

    /// The last message of a burst is lost, and nothing follows it: how long until it is here all the same.
    fn tail(lab: &Lab) {
        const TRIALS: usize = 100;
        let group: std::net::SocketAddr = super::role::GROUP.parse().expect("an address");
        let open = || nakcast::Subscriber::builder(group).interface("eth0").open().expect("a subscriber");
        let mut subscriber = lab.host(1).run(open);
        let open = || nakcast::Publisher::builder(group).interface("eth0").open().expect("a publisher");
        let mut publisher = lab.host(0).run(open);
        let mut receive = |count: usize| {
            let mut got = 0;
            while got < count {
                match subscriber.recv_timeout(Duration::from_secs(10)).expect("received") {
                    Some(nakcast::Event::Message(_)) => got += 1,
                    Some(nakcast::Event::Gap(gap)) => panic!("{gap}"),
                    Some(_) => {}
                    None => panic!("nothing came"),
                }
            }
        };
        let mut times = Vec::new();
        for _ in 0..TRIALS {
            for _ in 0..20 {
                publisher.send(&[1; 100]).expect("sent");
            }
            publisher.flush().expect("flushed");
            receive(20);
            // Heartbeats are shorter, and pass.
            lab.host(1).drop_next(1, "udp dport 7700 udp length > 800");
            let begun = std::time::Instant::now();
            publisher.send(&[2; 1_000]).expect("sent");
            publisher.flush().expect("flushed");
            receive(1);
            times.push(begun.elapsed().as_micros());
            lab.host(1).clear_rules();
        }
        times.sort_unstable();
        let quick = times.iter().filter(|&&time| time <= 5_000).count();
        println!(
            "\nThe last message of a burst, lost: here after {} us (p50), {} us (p99), {} us (max); {quick} of {TRIALS} within 5 ms.",
            times[TRIALS / 2],
            times[TRIALS * 99 / 100 - 1],
            times[TRIALS - 1]
        );
    }

    fn round_trip(lab: &Lab) -> f64 {
        let spawn = |host: &Host, arguments: &[&str]| {
            let mut command = host.command(std::env::current_exe().expect("this program"));
            command.arg("role").args(arguments);
            Process::spawn(command)
        };
        let within = Duration::from_secs(60);
        let mut pong = spawn(lab.host(1), &["pong"]);
        pong.wait_for_line("ready", within);
        let mut ping = spawn(lab.host(0), &["ping", "5000"]);
        let line = ping.wait_for_line("round trip ", within);
        ping.succeed(within);
        drop(pong);
        line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number")
    }
}
