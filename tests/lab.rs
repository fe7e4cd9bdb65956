//! The harness proves itself: what the other tests stand on does what it says.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "UDP_SEGMENT is set by hand: nothing of the library is under test here")]

mod support;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use support::{Host, Lab, Process, Scratch, command};

const GROUP: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(239, 255, 77, 1), 7700);
const SOON: Duration = Duration::from_secs(10);

/// A member of the group on that host.
fn member(host: &Host) -> UdpSocket {
    host.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.bind(&SocketAddr::from(GROUP).into()).unwrap();
        socket.join_multicast_v4(GROUP.ip(), &host.address()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.into()
    })
}

/// A sender on that host. Where its datagrams go is left to the route that the lab has set.
fn sender(host: &Host) -> UdpSocket {
    host.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
        socket.set_multicast_loop_v4(false).unwrap();
        socket.into()
    })
}

fn send(socket: &UdpSocket, payload: &[u8]) {
    assert_eq!(socket.send_to(payload, GROUP).unwrap(), payload.len());
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).expect("a datagram before the deadline");
    buffer[..length].to_vec()
}

/// Nothing is in the socket's buffer. A veth hands a datagram over within the sender's call or soon after, so this
/// is for what came before something that has been received already.
fn assert_empty(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 2048]).unwrap_err().kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
}

#[test]
fn the_first_multicast_datagram_reaches_every_host() {
    let Some(lab) = Lab::new(4) else { return };
    let members: Vec<_> = lab.hosts()[1..].iter().map(member).collect();
    send(&sender(lab.host(0)), b"to all");
    for member in &members {
        let mut buffer = [0; 64];
        let (length, from) = member.recv_from(&mut buffer).expect("it crosses the bridge");
        assert_eq!(&buffer[..length], b"to all");
        assert_eq!(from.ip(), lab.host(0).address());
    }
}

#[test]
fn multicast_of_ipv6_crosses_the_bridge() {
    let Some(lab) = Lab::new(2) else { return };
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let group = "ff12::77:1".parse().unwrap();
    // In a namespace `lo` is 1; the veth's index is what the kernel gave it.
    let index = |host: &Host| {
        let output = Process::spawn_and_read(host, "cat", &["/sys/class/net/eth0/ifindex"]);
        output.trim().parse::<u32>().unwrap()
    };
    let (from, to) = (index(lab.host(0)), index(lab.host(1)));
    let member = lab.host(1).run(|| {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
        socket.bind(&std::net::SocketAddrV6::new(group, 7700, 0, to).into()).unwrap();
        socket.join_multicast_v6(&group, to).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        UdpSocket::from(socket)
    });
    let sender = lab.host(0).run(|| Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap());
    sender.send_to(b"six", &std::net::SocketAddrV6::new(group, 7700, 0, from).into()).unwrap();
    let mut buffer = [0; 64];
    let (length, source) = member.recv_from(&mut buffer).expect("it crosses the bridge");
    assert_eq!(&buffer[..length], b"six");
    assert_eq!(source.ip(), lab.host(0).address_v6());
}

#[test]
fn loss_is_the_share_that_was_asked_for_and_of_that_host_alone() {
    let Some(lab) = Lab::new(3) else { return };
    let (lossy, whole) = (member(lab.host(1)), member(lab.host(2)));
    let sender = sender(lab.host(0));
    lab.host(1).watch("arrived", "udp dport 7700");

    lab.host(1).loss(100.0);
    send(&sender, b"into the void");
    assert_eq!(receive(&whole), b"into the void");
    lab.host(1).loss(0.0);
    send(&sender, b"after");
    assert_eq!(receive(&whole), b"after");
    assert_eq!(receive(&lossy), b"after", "the first was dropped");
    assert_eq!(lab.host(1).lost().packets, 1);

    lab.host(1).loss(10.0);
    lab.host(1).loss(30.0); // in the place of 10
    for number in 0..1000_u32 {
        send(&sender, &number.to_be_bytes());
    }
    lab.host(1).loss(0.0);
    send(&sender, b"end");
    let received = (0..).take_while(|_| receive(&lossy) != b"end").count();
    // Eight standard deviations of what chance does.
    assert!((584..=816).contains(&received), "{received} of 1000 with 30% loss");
    assert_eq!(lab.host(1).lost().packets as usize, 1 + 1000 - received);
    assert_eq!(lab.host(1).counter("arrived").packets, 1 + 1 + 1000 + 1);
    for number in 0..1000_u32 {
        assert_eq!(receive(&whole), number.to_be_bytes());
    }
}

#[test]
fn bursts_have_the_share_and_the_length_that_were_asked_for() {
    let Some(lab) = Lab::new(2) else { return };
    let lossy = member(lab.host(1));
    let sender = sender(lab.host(0));
    let (mut lost, mut bursts) = (0, 0);
    for _ in 0..4 {
        lab.host(1).bursts(20.0, 5.0);
        for number in 0..1000_u32 {
            send(&sender, &number.to_be_bytes());
        }
        lab.host(1).loss(0.0);
        send(&sender, b"end");
        let mut next = 0;
        while let Ok(number) = receive(&lossy).try_into() {
            let number = u32::from_be_bytes(number);
            (lost, bursts) = (lost + number - next, bursts + u32::from(number > next));
            next = number + 1;
        }
        (lost, bursts) = (lost + 1000 - next, bursts + u32::from(next < 1000));
    }
    assert_eq!(lab.host(1).lost().packets, u64::from(lost));
    // Six standard deviations of what chance does: neighbours share their fate for the most part.
    assert!((400..=1200).contains(&lost), "{lost} of 4000 with 20% loss");
    let length = f64::from(lost) / f64::from(bursts);
    assert!((3.0..8.0).contains(&length), "bursts of {length} datagrams on average");
}

#[test]
fn rules_drop_what_they_name() {
    let Some(lab) = Lab::new(2) else { return };
    let (member, sender) = (member(lab.host(1)), sender(lab.host(0)));

    lab.host(1).drop_next(2, "udp dport 7700");
    for text in [b"one", b"two", b"thr"] {
        send(&sender, text);
    }
    assert_eq!(receive(&member), b"thr", "two were dropped");

    lab.host(1).clear_rules();
    lab.host(1).rule("udp dport 7700 @th,64,8 0x4e drop"); // the payload begins with N
    send(&sender, b"Not this");
    send(&sender, b"but this");
    assert_eq!(receive(&member), b"but this");
    lab.host(1).clear_rules();
    send(&sender, b"Now too");
    assert_eq!(receive(&member), b"Now too");
    assert_empty(&member);
}

/// What the figures for loss rest on: with the offload a run is one packet to the filter, without it each datagram is
/// one, and nothing on the way puts them together again.
#[test]
fn segmentation_decides_what_a_loss_takes() {
    let Some(lab) = Lab::new(2) else { return };
    let (member, sender) = (member(lab.host(1)), sender(lab.host(0)));
    lab.host(1).watch("arrived", "udp dport 7700");
    let run: Vec<u8> = (0..40).flat_map(|number| [number; 1000]).collect();
    let size: libc::c_int = 1000;
    // SAFETY: the option's value is an int, which lives for the time of the call.
    let set = unsafe {
        let value = std::ptr::from_ref(&size).cast();
        libc::setsockopt(sender.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value, 4)
    };
    assert_eq!(set, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
    let mut before = 0;
    let mut packets = || {
        send(&sender, &run);
        for number in 0..40 {
            assert_eq!(receive(&member), [number; 1000]);
        }
        let now = lab.host(1).counter("arrived").packets;
        now - std::mem::replace(&mut before, now)
    };
    assert_eq!(packets(), 1, "by default a run crosses the veth whole");
    lab.host(0).segmentation_offload(false);
    assert_eq!(packets(), 40, "without the offload, datagram by datagram");
    lab.host(0).segmentation_offload(true);
    assert_eq!(packets(), 1, "and whole again");

    lab.host(0).segmentation_offload(false);
    lab.host(1).drop_next(1, "udp dport 7700");
    send(&sender, &run);
    assert_eq!(receive(&member), [1; 1000], "one datagram of the run was dropped");
    lab.host(0).segmentation_offload(true);
    lab.host(1).clear_rules();
    (2..40).for_each(|_| drop(receive(&member)));
    lab.host(1).drop_next(1, "udp dport 7700");
    send(&sender, &run);
    send(&sender, &[77; 3]);
    assert_eq!(receive(&member), [77; 3], "the whole run was dropped");
}

#[test]
fn nothing_is_left_of_a_lab() {
    let names = {
        let Some(lab) = Lab::new(2) else { return };
        // One that outlives its handle would keep the namespace alive.
        std::mem::forget(Process::spawn({
            let mut sleeper = lab.host(0).command("sh");
            sleeper.args(["-c", "exec sleep 1000"]);
            sleeper
        }));
        lab.namespaces()
    };
    assert_eq!(names.len(), 3);
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in names {
        assert!(
            !listed.lines().any(|line| line.split_whitespace().next() == Some(&name)),
            "{name} in {listed}"
        );
    }
}

#[test]
fn what_a_killed_test_left_behind_is_removed() {
    let Some(_lab) = Lab::new(0) else { return };
    // The owner lives until its namespace is there: another test may be removing what is stale at this moment.
    let mut owner = command("cat");
    owner.stdin(Stdio::piped());
    let owner = Process::spawn(owner);
    let name = format!("nakcast-{}-0-bridge", owner.id());
    assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    drop(owner);
    let Some(_next) = Lab::new(0) else { return };
    assert!(!std::path::Path::new("/var/run/netns").join(&name).exists(), "{name} is still there");
}

#[test]
fn a_process_runs_on_its_host() {
    let Some(lab) = Lab::new(2) else { return };
    let addresses = Process::spawn_and_read(lab.host(1), "ip", &["-4", "-br", "address"]);
    assert!(addresses.contains("10.77.0.2/24"), "{addresses}");
    assert_eq!(addresses.lines().count(), 2, "lo and eth0 alone: {addresses}");
}

/// The whole chain ends in `exec`: the id is the program's, and so is the signal that its parent's end sends.
#[test]
fn a_process_dies_with_the_thread_that_spawned_it() {
    let Some(lab) = Lab::new(1) else { return };
    for make in [&|program: &str| command(program), &|program: &str| lab.host(0).command(program)]
        as [&(dyn Fn(&str) -> Command + Sync); 2]
    {
        let mut process = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut command = make("sh");
                command.args(["-c", "echo pid $$ >&2; exec sleep 1000"]);
                let mut process = Process::spawn(command);
                let line = process.wait_for_line("pid", SOON);
                assert_eq!(line, format!("pid {}", process.id()));
                process
            });
            thread.join().unwrap()
        });
        let status = process.wait(SOON);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    }
}

#[test]
fn a_process_is_fed_heard_signalled_and_awaited() {
    let files = Scratch::new();
    std::fs::write(files.path("in"), "from a file\n").unwrap();
    let mut cat = command("cat");
    cat.stdin(files.open("in")).stdout(files.create("out"));
    Process::spawn(cat).succeed(SOON);
    assert_eq!(std::fs::read_to_string(files.path("out")).unwrap(), "from a file\n");

    let mut talker = command("sh");
    talker.args(["-c", "echo ready >&2; read line; echo got $line; echo ready again >&2; exit 3"]);
    talker.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut talker = Process::spawn(talker);
    assert_eq!(talker.wait_for_line("ready", SOON), "ready");
    talker.signal(libc::SIGSTOP);
    let state = std::fs::read_to_string(format!("/proc/{}/stat", talker.id())).unwrap();
    assert!(state.contains(" T "), "it stands still: {state}");
    talker.signal(libc::SIGCONT);
    talker.stdin().unwrap().write_all(b"this\n").unwrap();
    assert_eq!(talker.wait_for_output("got", SOON), "got this");
    assert_eq!(talker.wait_for_line("ready", SOON), "ready again", "the search goes on after what it found");
    assert_eq!(talker.wait(SOON).code(), Some(3));
    assert_eq!(talker.stderr(), "ready\nready again\n");

    let mut sleeper = command("sleep");
    sleeper.arg("1000");
    let mut sleeper = Process::spawn(sleeper);
    sleeper.signal(libc::SIGTERM);
    assert!(!sleeper.wait(SOON).success());
}

#[test]
#[should_panic(expected = "I am stuck")]
fn a_process_that_does_not_end_fails_its_test_with_what_it_said() {
    let mut stuck = command("sh");
    stuck.args(["-c", "echo I am stuck >&2; exec sleep 1000"]);
    let mut stuck = Process::spawn(stuck);
    stuck.wait_for_line("stuck", SOON);
    stuck.wait(Duration::from_millis(20));
}
