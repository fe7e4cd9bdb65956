//! A network of namespaces: hosts with a veth each, joined by a bridge in a namespace of its own. Loss, counters and
//! segmentation are set for each host. The root namespace is never touched.
//!
//! `scripts/lab` makes the same network for a person.
#![allow(unsafe_code, reason = "a thread enters a namespace with setns, which std does not offer")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Every name begins so, then come the id of the process it belongs to and a number.
const PREFIX: &str = "nakcast-";

/// The hosts, and the bridge between them. Dropping it removes everything, and kills what still runs inside.
pub(crate) struct Lab {
    bridge: Namespace,
    hosts: Vec<Host>,
}

/// One machine of the lab.
pub(crate) struct Host {
    namespace: Namespace,
    number: u8,
}

/// What a counter of the packet filter holds. A run that crosses the veth unsegmented counts as one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) packets: u64,
    /// Of the IP packets, headers included.
    pub(crate) bytes: u64,
}

impl Lab {
    /// Makes a lab of that many hosts, each with `eth0` at 10.77.0.1 (and fe80::77:1), 10.77.0.2…
    ///
    /// Where privileges or programs are missing it says so on standard error and gives `None`, for the test to return;
    /// with `CI` set that is a failure instead.
    pub(crate) fn new(hosts: u8) -> Option<Lab> {
        if let Some(missing) = missing() {
            return unavailable(&missing);
        }
        remove_stale();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |part: &str| format!("{PREFIX}{}-{count}-{part}", std::process::id());
        // A container's root may lack the right to do what follows: that too is a privilege missing.
        let bridge = match Namespace::add(name("bridge")) {
            Ok(bridge) => bridge,
            Err(why) => return unavailable(&why),
        };
        let mut lab = Lab { bridge, hosts: Vec::new() };
        // Snooping off: the bridge has no querier, and without one it forgets who has joined.
        lab.bridge
            .ip("link set lo up\nlink add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0\n");
        lab.bridge.ip("link set br0 up\n");
        for number in 1..=hosts {
            let namespace = Namespace::add(name(&number.to_string())).unwrap_or_else(|e| panic!("{e}"));
            lab.bridge
                .ip(&format!("link add port{number} type veth peer name eth0 netns {}\n", namespace.name));
            lab.bridge.ip(&format!("link set port{number} master br0 up\n"));
            let host = Host { namespace, number };
            let address = host.address();
            host.namespace.ip("link set lo up\n");
            if Path::new("/proc/net/if_inet6").exists() {
                // A fixed address, usable at once: no duplicate is to be looked for.
                let address = host.address_v6();
                host.namespace.ip("link set eth0 addrgenmode none\nlink set eth0 up\n");
                host.namespace.ip(&format!("addr add {address}/64 dev eth0 nodad\n"));
            }
            host.namespace.ip(&format!(
                "link set eth0 up\naddr add {address}/24 dev eth0\nroute add 224.0.0.0/4 dev eth0\n"
            ));
            // What arrives is counted first, then the test's own rules act, then random loss.
            host.namespace.nft(
                "table inet lab {
                   counter lost { }
                   chain watch { type filter hook input priority -20; }
                   chain rules { type filter hook input priority -10; }
                   chain loss { type filter hook input priority 0; }
                 }",
            );
            lab.hosts.push(host);
        }
        Some(lab)
    }

    /// The host with that index, from 0: its address is 10.77.0.(index + 1).
    pub(crate) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// All of them.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The names of its namespaces, the bridge's first.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let hosts = self.hosts.iter().map(|host| &host.namespace);
        [&self.bridge].into_iter().chain(hosts).map(|namespace| namespace.name.clone()).collect()
    }
}

impl Host {
    /// Its address on `eth0`.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// Its link-local address on `eth0`, if the machine has IPv6.
    pub(crate) fn address_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x77, self.number.into())
    }

    /// A command for `Process::spawn` that runs on this host, and dies with the thread that spawned it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.enter("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Calls `inside` on a thread that is on this host. Sockets opened there stay on it, wherever they are used later,
    /// and so do threads started there. Processes are not for this: they would die with the thread.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/var/run/netns").join(&self.namespace.name);
        let namespace = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: the descriptor is open; only this thread, which is new and ours, changes its network.
                let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(entered, 0, "setns: {}", std::io::Error::last_os_error());
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// From now on drops that share of the UDP packets that arrive here, in the place of what was set before; 0 drops
    /// none. What the share is of, datagrams or runs of them, is set at the sender: [`Host::segmentation_offload`].
    pub(crate) fn loss(&self, percent: f64) {
        assert!((0.0..=100.0).contains(&percent), "a share of {percent}%");
        let mut script = "flush chain inet lab loss\n".to_owned();
        let of_ten_thousand = (percent * 100.0).round() as u32;
        if of_ten_thousand > 0 {
            // Counted from above: nft refuses `< 10000`, which would be all.
            script += &format!(
                "add rule inet lab loss meta l4proto udp numgen random mod 10000 >= {} counter name lost drop\n",
                10_000 - of_ten_thousand
            );
        }
        self.namespace.nft(&script);
    }

    /// The same share, in bursts in which everything is lost: of so many packets on average (the model of Gilbert; see
    /// `nakcast::sim::Bursts::of`).
    pub(crate) fn bursts(&self, percent: f64, length: f64) {
        self.loss(0.0);
        let of_ten_thousand = |chance: f64| (chance * 10_000.0).round() as u32;
        let end = of_ten_thousand(1.0 / length);
        let begin = of_ten_thousand(percent / (100.0 - percent) / length);
        assert!(begin < 10_000 && (1..10_000).contains(&end), "{percent}% in bursts of {length}");
        if begin > 0 {
            // While there is anything in the set the state is bad. What was deleted takes up room until it is collected.
            let (end, begin, udp) = (10_000 - end, 10_000 - begin, "add rule inet lab loss meta l4proto udp");
            self.namespace.nft(&format!(
                "add set inet lab bad {{ type iface_index; flags dynamic; size 65535; }}
                 flush set inet lab bad
                 {udp} meta iif @bad numgen random mod 10000 >= {end} delete @bad {{ meta iif }} accept
                 {udp} meta iif @bad counter name lost drop
                 {udp} numgen random mod 10000 >= {begin} add @bad {{ meta iif }} counter name lost drop\n"
            ));
        }
    }

    /// What [`Host::loss`] or [`Host::bursts`] has dropped so far.
    pub(crate) fn lost(&self) -> Counter {
        self.counter("lost")
    }

    /// Adds a rule for what arrives, in nft's words: `udp dport 7700 @th,64,8 0x4e drop`. It acts before random loss.
    pub(crate) fn rule(&self, rule: &str) {
        self.namespace.nft(&format!("add rule inet lab rules {rule}\n"));
    }

    /// Drops the next `count` packets that match `expression` (`udp dport 7700`), then lets them pass.
    pub(crate) fn drop_next(&self, count: u32, expression: &str) {
        // A bucket that holds `count` and is refilled once a week.
        self.rule(&format!("{expression} limit rate 1/week burst {count} packets drop"));
    }

    /// Removes all that [`Host::rule`] and [`Host::drop_next`] have added.
    pub(crate) fn clear_rules(&self) {
        self.namespace.nft("flush chain inet lab rules\n");
    }

    /// Counts what matches `expression` as it arrives, whatever is dropped later: read with [`Host::counter`].
    pub(crate) fn watch(&self, name: &str, expression: &str) {
        self.namespace.nft(&format!(
            "add counter inet lab {name}\nadd rule inet lab watch {expression} counter name {name}\n"
        ));
    }

    /// What the counter of that name holds.
    pub(crate) fn counter(&self, name: &str) -> Counter {
        let text = run(self.namespace.enter("nft").args(["list", "counter", "inet", "lab", name]), "")
            .unwrap_or_else(|e| panic!("{e}"));
        let mut words = text.split_whitespace();
        let mut after = |word: &str| {
            words
                .find(|found| *found == word)
                .and_then(|_| words.next())
                .and_then(|number| number.parse().ok())
        };
        match (after("packets"), after("bytes")) {
            (Some(packets), Some(bytes)) => Counter { packets, bytes },
            _ => panic!("what does nft mean by {text:?}?"),
        }
    }

    /// Whether runs sent from here with UDP_SEGMENT cross the wire whole (the default) or are cut into datagrams
    /// before it, as by a network card: then the receiver's filter, and so its loss, sees each datagram.
    pub(crate) fn segmentation_offload(&self, on: bool) {
        let value = if on { "on" } else { "off" };
        let mut command = self.namespace.enter("ethtool");
        run(command.args(["-K", "eth0", "tx-udp-segmentation", value]), "").unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A network namespace, removed when dropped.
struct Namespace {
    name: String,
}

impl Namespace {
    fn add(name: String) -> Result<Namespace, String> {
        run(Command::new("ip").args(["netns", "add", &name]), "")?;
        Ok(Namespace { name })
    }

    /// A command inside.
    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    fn ip(&self, script: &str) {
        run(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), script)
            .unwrap_or_else(|e| panic!("{e}"));
    }

    fn nft(&self, script: &str) {
        run(self.enter("nft").args(["-f", "-"]), script).unwrap_or_else(|e| panic!("{e}in:\n{script}"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Kills what runs in a namespace, which would keep it alive without a name, and removes it. Says nothing of
/// failures: another process may be removing the same, and a drop may come of a panic.
fn remove(namespace: &str) {
    let inside = run(Command::new("ip").args(["netns", "pids", namespace]), "").unwrap_or_default();
    for process in inside.split_whitespace().filter(|id| *id != std::process::id().to_string()) {
        let _ = run(Command::new("kill").args(["-KILL", process]), "");
    }
    let _ = run(Command::new("ip").args(["netns", "delete", namespace]), "");
}

/// Removes what tests have left behind that were killed: the namespaces whose process is gone.
fn remove_stale() {
    let names = run(Command::new("ip").args(["netns", "list"]), "").unwrap_or_default();
    for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).unwrap_or_default();
        if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
            remove(name);
        }
    }
}

/// What this machine lacks for a lab.
fn missing() -> Option<String> {
    if std::fs::metadata("/proc/self").map_or(true, |own| own.uid() != 0) {
        return Some("the rights of root".to_owned());
    }
    let absent = |program: &&str| {
        let tried =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_err_and(|e| e.kind() == ErrorKind::NotFound)
    };
    let absent: Vec<_> = ["ip", "nft", "ethtool", "setpriv"].into_iter().filter(absent).collect();
    (!absent.is_empty()).then(|| format!("the programs {}", absent.join(", ")))
}

fn unavailable<T>(missing: &str) -> Option<T> {
    let missing = missing.trim_end();
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        panic!("no network namespaces here, and CI does not let a test skip; missing: {missing}");
    }
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Not `eprintln!`, which the test harness would keep to itself.
    let _ = writeln!(
        std::io::stderr(),
        "\n*** SKIPPED {test}: no network namespaces here; missing: {missing} ***"
    );
    None
}

/// Runs a program of the system to its end, and gives its output, or what it complained of.
fn run(command: &mut Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    // A program that does not read all of it will say why it failed.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{said}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
