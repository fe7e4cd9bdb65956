//! Sockets where there is more than a loopback interface: in network namespaces that these tests make, and that go when
//! they end. Without the privilege to make one they say so and pass, except where `CI` is set.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "unshare has no safe form in std")]

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nakcast::net::{Local, Options, Receiver, Sender, Socket, SocketError, interfaces, is_too_long, resolve};

/// Runs `test` in a namespace of its own, where `lo` and `d0` (MTU 1500, 10.77.0.1, fd77::1, fe80::77:1) are up, and `lo` has the route
/// for IPv6 multicast without which it carries none.
fn in_namespace(test: impl FnOnce() + Send) {
    let run = || {
        // SAFETY: unshare(2) takes flags alone; CLONE_NEWNET moves the caller, here a thread made for it, "into a new network
        // namespace", which touches no memory.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = io::Error::last_os_error();
            assert!(std::env::var_os("CI").is_none(), "a network namespace is needed: {error}");
            return eprintln!("SKIPPED: no network namespace to be had: {error}");
        }
        for arguments in [
            "link set lo up",
            "-6 route add local ff00::/8 dev lo table local",
            "link add d0 type veth peer name d1",
            "address add 10.77.0.1/24 dev d0",
            "link set d0 addrgenmode none",
            "link set d0 up",
            "link set d1 up",
            "address add fd77::1/64 dev d0 nodad",
            "address add fe80::77:1/64 dev d0 nodad",
        ] {
            let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip(8) is needed");
            assert!(status.success(), "ip {arguments}");
        }
        test();
    };
    if let Err(panic) = thread::scope(|scope| scope.spawn(run).join()) {
        std::panic::resume_unwind(panic);
    }
}

fn local(choice: &str, group: SocketAddr) -> Local {
    resolve(Some(choice), group.ip()).unwrap()
}

fn hearer(group: SocketAddr, choice: &str, source: Option<IpAddr>) -> Socket {
    Socket::group(group, &local(choice, group), source, &Options::default()).unwrap()
}

fn sender(group: SocketAddr, choice: &str) -> Socket {
    Socket::sender(group, &local(choice, group), 0, &Options::default()).unwrap()
}

/// Waits until something is there to receive, then takes all there is.
fn hear(socket: &Socket) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut source = mio::net::UdpSocket::from_std(socket.as_socket().try_clone().unwrap());
    let mut poll = mio::Poll::new().unwrap();
    poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
    assert!(!events.is_empty(), "nothing arrived");
    hear_now(socket)
}

fn hear_now(socket: &Socket) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut receiver = Receiver::new(Receiver::MESSAGES);
    let mut heard = Vec::new();
    loop {
        match receiver.receive(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
            Err(error) => panic!("{error}"),
        }
        while receiver.advance() {
            let datagram = receiver.current().unwrap();
            assert!(!datagram.truncated);
            heard.push((datagram.from, datagram.bytes.to_vec()));
        }
    }
}

#[test]
fn ipv6_groups_of_all_scopes() {
    in_namespace(|| {
        for choice in ["lo", "d0"] {
            for group in ["[ff15::4d]:7701", "[ff12::4d]:7702", "[ff11::4d]:7703", "[ff35::4d]:7704"] {
                let group = group.parse::<SocketAddr>().unwrap();
                let socket = hearer(group, choice, None);
                let publisher = sender(group, choice);
                let bytes = (0..3000).map(|at| at as u8).collect::<Vec<_>>();
                let slices = bytes.chunks(1400).map(IoSlice::new).collect::<Vec<_>>();
                let mut run = Sender::new();
                assert_eq!(run.send(&publisher, group, 1400, &slices).unwrap().system_calls, 1);
                let heard = hear(&socket);
                let expected = bytes
                    .chunks(1400)
                    .map(|chunk| (publisher.local_addr(), chunk.to_vec()))
                    .collect::<Vec<_>>();
                assert_eq!(heard, expected, "{group} on {choice}");
                assert_eq!(run.segmentation_refused(), 0);
            }
        }
    });
}

#[test]
fn ipv6_sources_are_told_apart() {
    in_namespace(|| {
        let group = "[ff35::4d]:7711".parse::<SocketAddr>().unwrap();
        let publisher = sender(group, "d0");
        let all = hearer(group, "d0", None);
        let this = hearer(group, "d0", Some(publisher.local_addr().ip()));
        let other = hearer(group, "d0", Some("fd77::2".parse().unwrap()));
        for text in [b"one", b"two"] {
            Sender::new().send(&publisher, group, 3, &[IoSlice::new(text)]).unwrap();
        }
        assert_eq!(hear(&all).len(), 2);
        assert_eq!(hear(&this).len(), 2);
        assert_eq!(hear_now(&other), []);
    });
}

#[test]
fn a_group_is_heard_on_the_interface_it_was_joined_on() {
    in_namespace(|| {
        for group in ["239.255.77.20:7720", "[ff15::4d]:7721"] {
            let group = group.parse::<SocketAddr>().unwrap();
            let (on_lo, on_d0) = (hearer(group, "lo", None), hearer(group, "d0", None));
            Sender::new().send(&sender(group, "lo"), group, 5, &[IoSlice::new(b"on lo")]).unwrap();
            Sender::new().send(&sender(group, "d0"), group, 5, &[IoSlice::new(b"on d0")]).unwrap();
            let texts = |socket| hear(socket).into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
            assert_eq!(texts(&on_lo), [b"on lo"], "{group}");
            assert_eq!(texts(&on_d0), [b"on d0"], "{group}");
        }
    });
}

#[test]
fn nothing_is_fragmented_and_the_mtu_is_named() {
    in_namespace(|| {
        for (group, most) in [("239.255.77.21:7722", 1472), ("[ff15::4d]:7723", 1452)] {
            let group = group.parse::<SocketAddr>().unwrap();
            let publisher = sender(group, "d0");
            let socket = hearer(group, "d0", None);
            let mut run = Sender::new();
            let bytes = vec![7; 3 * (most + 1)];

            let error = run.send(&publisher, group, most + 1, &[IoSlice::new(&bytes[..=most])]).unwrap_err();
            assert!(is_too_long(&error), "{error}");
            let error = publisher.too_long(most + 1);
            assert!(
                matches!(error, SocketError::TooLong { mtu: Some(1500), most: Some(m), .. } if m == most)
            );
            assert_eq!(
                error.to_string(),
                format!(
                    "a datagram of {} bytes is too long for interface d0, whose MTU of 1500 has room for {most}",
                    most + 1
                )
            );

            // The run's long datagrams are refused, its short one goes, and segmentation is not to blame.
            let mut slices = bytes.chunks(most + 1).map(IoSlice::new).collect::<Vec<_>>();
            slices.push(IoSlice::new(b"short"));
            let sent = run.send(&publisher, group, most + 1, &slices).unwrap();
            assert_eq!((sent.datagrams, sent.failed), (1, 3));
            assert!(is_too_long(&sent.last_error.unwrap()));
            assert_eq!((run.segmentation(), run.segmentation_refused()), (true, 0));
            assert_eq!(hear(&socket).len(), 1);

            // What just fits goes as a run.
            let slices = bytes[..3 * most].chunks(most).map(IoSlice::new).collect::<Vec<_>>();
            assert_eq!(run.send(&publisher, group, most, &slices).unwrap().system_calls, 1);
            assert_eq!(hear(&socket).len(), 3);
        }
    });
}

#[test]
fn the_only_interface_but_loopback_is_chosen() {
    in_namespace(|| {
        let group = "239.255.77.22".parse::<IpAddr>().unwrap();
        let chosen = resolve(None, group).unwrap();
        assert_eq!((chosen.interface.name.as_str(), chosen.interface.mtu), ("d0", Some(1500)));
        assert_eq!(chosen.address.to_string(), "10.77.0.1");
        assert!(chosen.interface.multicast && chosen.interface.running && !chosen.interface.loopback);
        let link_local = resolve(Some("d0"), "ff12::4d".parse().unwrap()).unwrap();
        assert_eq!(link_local.to_string(), "fe80::77:1 on d0");
        assert_eq!(resolve(Some("d0"), "ff15::4d".parse().unwrap()).unwrap().address.to_string(), "fd77::1");
        let names = interfaces().unwrap().into_iter().map(|interface| interface.name).collect::<Vec<_>>();
        assert_eq!(names, ["lo", "d1", "d0"]);
    });
}
