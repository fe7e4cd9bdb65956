//! What is measured, where.

use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
The raw-socket yardstick: what the kernel can do with nothing of nakcast.

  raw [OPTIONS]           both sides, as processes of their own, and a table
  raw receive [OPTIONS]   the receiving side of one mode, to be started first
  raw send [OPTIONS]      its sending side: waits for the receivers, measures, prints

  --mode MODE        single        one datagram per send, one per recv
                     mmsg          sendmmsg to recvmmsg
                     gso-gro       UDP_SEGMENT to UDP_GRO
                     gso-kept      the same, each datagram made from a message, with a checksum that the receiver
                                   looks at, and kept in 64 MiB of memory: the least that repairs cannot do without
                     gso-mmsg      UDP_SEGMENT to recvmmsg, without UDP_GRO
                     ping-block    round trips, waiting in recv
                     ping-spin     round trips, spinning
                     may be repeated; default: all of them; send and receive take one
  --size BYTES       of a datagram: 32 to 65507; default 1408, for round trips 32
  --seconds SECONDS  for each mode; default 3
  --interface NAME   default lo
  --group ADDR:PORT  an IPv4 group; default 239.255.77.254:7790. The port after it is used as well
  --receivers N      receiving processes that send waits for; default 1
  --window BYTES     in flight at most; default 1048576, or what the receive buffer holds if that is less
  --spin             spin for data and credits, in the throughput modes too
  --cpu N            run this side on that processor
  --peer-cpu N       run the receivers on that one
  --free             let the scheduler place round trips too. Unless told otherwise they are between two processors:
                     left free, some of those that block are between two and some on one, which is ten times faster
  --json             one object a line instead of the table

All of one run must agree on mode, size and group. To measure across namespaces:

  scripts/lab exec 2 target/release/deps/raw-… receive --interface eth0 --mode gso-gro
  scripts/lab exec 1 target/release/deps/raw-… send --interface eth0 --mode gso-gro
";

/// How datagrams are sent and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One datagram per send, one per recv.
    Single,
    /// sendmmsg to recvmmsg.
    Mmsg,
    /// UDP_SEGMENT to UDP_GRO: the fastest there is.
    GsoGro,
    /// UDP_SEGMENT to UDP_GRO, of what is made anew each time, checked by both sides, and kept.
    GsoKept,
    /// UDP_SEGMENT to recvmmsg.
    GsoMmsg,
    /// Round trips, waiting in recv.
    PingBlock,
    /// Round trips, spinning.
    PingSpin,
}

impl Mode {
    pub(crate) const ALL: [Mode; 7] = [
        Mode::Single,
        Mode::Mmsg,
        Mode::GsoGro,
        Mode::GsoKept,
        Mode::GsoMmsg,
        Mode::PingBlock,
        Mode::PingSpin,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Single => "single",
            Mode::Mmsg => "mmsg",
            Mode::GsoGro => "gso-gro",
            Mode::GsoKept => "gso-kept",
            Mode::GsoMmsg => "gso-mmsg",
            Mode::PingBlock => "ping-block",
            Mode::PingSpin => "ping-spin",
        }
    }

    pub(crate) fn round_trip(self) -> bool {
        matches!(self, Mode::PingBlock | Mode::PingSpin)
    }

    /// Whether the sender gives the kernel runs to cut up.
    pub(crate) fn segments(self) -> bool {
        matches!(self, Mode::GsoGro | Mode::GsoKept | Mode::GsoMmsg)
    }
}

/// Which sides a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The sender, with receivers that it starts.
    Both,
    /// The sender.
    Send,
    /// A receiver.
    Receive,
}

/// What is measured, where.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) role: Role,
    pub(crate) modes: Vec<Mode>,
    pub(crate) size: Option<usize>,
    /// How long.
    pub duration: Duration,
    /// The name of the interface.
    pub interface: String,
    /// The group; the port after it is used as well.
    pub group: SocketAddrV4,
    /// Receiving processes that the sender waits for.
    pub receivers: usize,
    /// Bytes in flight at most.
    pub window: u64,
    /// Look for data and credits again and again, in place of sleeping.
    pub spin: bool,
    pub(crate) cpu: Option<usize>,
    pub(crate) peer_cpu: Option<usize>,
    free: bool,
    pub(crate) json: bool,
}

/// The sizes a datagram may have: room for a header, and what UDP carries over IPv4.
pub(crate) const SIZES: std::ops::RangeInclusive<usize> = 32..=65_507;

impl Options {
    /// For one side of a measurement with datagrams of `size` bytes, or the nearest size there can be: 32 to 65,507. For three
    /// seconds, with one receiver, blocking.
    pub fn new(role: Role, mode: Mode, size: usize, interface: &str, group: SocketAddrV4) -> Options {
        Options {
            role,
            modes: vec![mode],
            size: Some(size.clamp(*SIZES.start(), *SIZES.end())),
            duration: Duration::from_secs(3),
            interface: interface.to_owned(),
            group,
            receivers: 1,
            window: 1 << 20,
            spin: false,
            cpu: None,
            peer_cpu: None,
            free: false,
            json: false,
        }
    }

    /// `None` when help was asked for.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let group = "239.255.77.254:7790".parse().expect("a group and a port");
        let mut options = Options::new(Role::Both, Mode::Single, 0, "lo", group);
        (options.modes, options.size) = (Vec::new(), None);
        while let Some(argument) = arguments.next() {
            let name = argument.as_str();
            let mut value = || arguments.next().ok_or_else(|| format!("{name} wants a value"));
            match name {
                "send" => options.role = Role::Send,
                "receive" => options.role = Role::Receive,
                "--mode" => {
                    let wanted = value()?;
                    let mode = Mode::ALL.into_iter().find(|mode| mode.name() == wanted);
                    options.modes.push(mode.ok_or_else(|| format!("--mode {wanted}: see --help"))?);
                }
                "--size" => options.size = Some(number(name, &value()?)?),
                "--seconds" => {
                    let seconds = number(name, &value()?)?;
                    options.duration =
                        Duration::try_from_secs_f64(seconds).map_err(|e| format!("{name}: {e}"))?;
                }
                "--interface" => options.interface = value()?,
                "--group" => options.group = number(name, &value()?)?,
                "--receivers" => options.receivers = number(name, &value()?)?,
                "--window" => options.window = number(name, &value()?)?,
                "--cpu" => options.cpu = Some(number(name, &value()?)?),
                "--peer-cpu" => options.peer_cpu = Some(number(name, &value()?)?),
                "--free" => options.free = true,
                "--spin" => options.spin = true,
                "--json" => options.json = true,
                "--bench" => {} // cargo's
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{name}: see --help")),
            }
        }
        if options.modes.is_empty() {
            options.modes = Mode::ALL.to_vec();
        }
        if options.role != Role::Both && options.modes.len() != 1 {
            return Err("send and receive want one --mode".to_owned());
        }
        if options.size.is_some_and(|size| !SIZES.contains(&size)) {
            return Err("--size: 32 to 65507".to_owned());
        }
        if !options.group.ip().is_multicast()
            || options.group.port().checked_add(1).is_none_or(|next| next < 2)
        {
            return Err(format!("--group {}: a multicast address and a port", options.group));
        }
        if options.receivers == 0 {
            return Err("--receivers: at least one".to_owned());
        }
        Ok(Some(options))
    }

    /// Datagrams of this many bytes.
    pub fn size(&self, mode: Mode) -> usize {
        self.size.unwrap_or(if mode.round_trip() { 32 } else { 1408 })
    }

    /// Datagrams to a call: what UDP_SEGMENT takes at most, and as many for the calls that take several messages.
    pub(crate) fn run(&self, mode: Mode) -> usize {
        match mode {
            Mode::Single | Mode::PingBlock | Mode::PingSpin => 1,
            Mode::Mmsg => (self.window as usize / 4 / self.size(mode)).clamp(1, 64),
            Mode::GsoGro | Mode::GsoKept | Mode::GsoMmsg => (65_507 / self.size(mode)).min(64),
        }
    }

    /// The processor for this side, which may use those of `allowed`.
    pub(crate) fn cpu(&self, mode: Mode, allowed: &[usize]) -> Option<usize> {
        self.cpu.or_else(|| self.apart(mode).then(|| allowed.first().copied())?)
    }

    /// The processor for the receivers.
    fn peer_cpu(&self, mode: Mode, allowed: &[usize]) -> Option<usize> {
        self.peer_cpu.or_else(|| self.apart(mode).then(|| allowed.get(1).copied())?)
    }

    fn apart(&self, mode: Mode) -> bool {
        let told = self.free || self.cpu.is_some() || self.peer_cpu.is_some();
        mode.round_trip() && self.role == Role::Both && !told
    }

    /// The arguments of the other side.
    pub(crate) fn for_receiver(&self, mode: Mode, allowed: &[usize]) -> Vec<String> {
        let mut arguments = vec![
            format!("--mode={}", mode.name()),
            format!("--size={}", self.size(mode)),
            format!("--interface={}", self.interface),
            format!("--group={}", self.group),
            format!("--window={}", self.window),
        ];
        arguments.extend(self.peer_cpu(mode, allowed).map(|cpu| format!("--cpu={cpu}")));
        let mut arguments: Vec<String> =
            arguments.iter().flat_map(|argument| argument.split('=')).map(str::to_owned).collect();
        arguments.extend(self.spin.then(|| "--spin".to_owned()));
        arguments
    }
}

fn number<T: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|e| format!("{name} {value}: {e}"))
}
