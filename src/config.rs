//! The settings of endpoints and subscribers. What each costs and buys stands at its setter.

use crate::driver::{Clock, DatagramLoss, Driver, Service};
use crate::error::Error;
use crate::net::{self, Local, Options, Socket};
use crate::protocol::can_be_had;
use crate::protocol::publisher::{self, Flow, MIN_DATAGRAM};
use crate::protocol::subscriber::{self, Contract, StartAt};
use crate::publisher::{Endpoint, Publisher};
use crate::subscriber::Subscriber;
use crate::wire::{MAX_DATAGRAM, ReceiverId, SourceId, topic};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The receive buffer a subscriber asks for, bytes.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// The receive buffer a publisher asks for, for NAKs and status, bytes.
const FEEDBACK_BUFFER: usize = 1 << 20;

/// Where the sockets of an endpoint or subscriber are.
#[derive(Clone, Debug)]
struct Place {
    group: SocketAddr,
    interface: Option<String>,
    ttl: Option<u32>,
}

impl Place {
    fn new(group: SocketAddr) -> Place {
        Place { group, interface: None, ttl: None }
    }

    fn local(&self) -> Result<Local, Error> {
        if !self.group.ip().is_multicast() {
            return Err(crate::net::SocketError::NotMulticast { address: self.group.ip() }.into());
        }
        if self.group.port() == 0 {
            return Err(crate::net::SocketError::PortZero { group: self.group }.into());
        }
        Ok(net::resolve(self.interface.as_deref(), self.group.ip())?)
    }
}

fn random_id() -> Result<u64, Error> {
    loop {
        let id = getrandom::u64().map_err(|error| Error::System {
            doing: "asking the system for a random number",
            kind: std::io::ErrorKind::Other,
            text: error.to_string(),
        })?;
        if id != 0 {
            return Ok(id);
        }
    }
}

fn within<T: PartialOrd + std::fmt::Debug>(
    name: &'static str,
    value: T,
    least: T,
    most: T,
    unit: &str,
) -> Result<(), Error> {
    // Neither is what is no number.
    if !(value >= least && value <= most) {
        let problem = format!("{value:?} is outside {least:?} to {most:?}{unit}");
        return Err(Error::Setting { name, problem });
    }
    Ok(())
}

/// Whether the memory that a setting asks for can be had: the system gives it, and the machine has it. A system that
/// promises more than there is (Linux with `vm.overcommit_memory=1`) would end the process, or another, when it is used.
fn allocate(name: &'static str, asked: usize) -> Result<(), Error> {
    let machine = machine_memory();
    if machine.is_some_and(|machine| asked as u64 > machine) || !can_be_had(asked) {
        return Err(Error::Memory { name, asked, machine });
    }
    Ok(())
}

/// Memory and swap of the machine, bytes, where the system tells it in a file: Linux (proc_meminfo(5)).
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some((kilobytes("MemTotal:")? + kilobytes("SwapTotal:").unwrap_or(0)) * 1_024)
}

/// The settings of a publishing endpoint, and of the one topic of a [`Publisher`] that has an endpoint of its own.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut publisher = nakcast::Publisher::builder("239.255.77.1:7700".parse()?).topic("prices").interface("lo").open()?;
/// publisher.send(b"EURUSD 1.0832")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is opened"]
pub struct PublisherBuilder {
    place: Place,
    topic: String,
    port: u16,
    max_message: Option<usize>,
    receive_buffer: usize,
    core: publisher::Config,
}

impl PublisherBuilder {
    pub(crate) fn new(group: SocketAddr) -> PublisherBuilder {
        PublisherBuilder {
            place: Place::new(group),
            topic: "default".into(),
            port: 0,
            max_message: None,
            receive_buffer: FEEDBACK_BUFFER,
            core: publisher::Config::new(SourceId(0)),
        }
    }

    /// The topic of the publisher that [`open`](Self::open) gives: levels separated by dots, 255 bytes at most, without white space and
    /// control characters. Default `default`.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// The interface to send on, by name or address. Default: the only one that is up and running, has an address of the group's family,
    /// can multicast and is not loopback; where there are several or none, opening fails and lists them.
    pub fn interface(mut self, interface: impl Into<String>) -> Self {
        self.place.interface = Some(interface.into());
        self
    }

    /// Time to live of what it sends (IPv6: hop limit), 0 to 255: the routers that may be passed, plus one. With 0 the group's datagrams do
    /// not leave this machine. Default 1 to the group, which is the LAN, and the system's (mostly 64) to one receiver alone.
    pub fn ttl(mut self, ttl: u32) -> Self {
        self.place.ttl = Some(ttl);
        self
    }

    /// The port NAKs and status come back to, for firewalls. Default 0: the system picks one for each run.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The socket's receive buffer to ask the kernel for, bytes, 4 KiB to 1 GiB. Default 1 MiB. It holds the NAKs and status
    /// that come at once; what finds no room is said again, later. See [`Endpoint::warnings`].
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Largest datagram, bytes, 512 to 65,507. Default 1,408: fits an Ethernet frame with room for tunnels. Larger ones
    /// cost less processor time a byte where the MTU has room for them (jumbo frames, loopback). Nothing is fragmented:
    /// more than the interface's MTU has room for (28 bytes of headers less with IPv4, 48 with IPv6) is refused at open with
    /// [`SocketError::TooLong`](crate::net::SocketError::TooLong), which names the interface, its MTU and what would fit.
    /// Where the MTU is not known until a datagram meets it (a route's, one that shrinks later, elsewhere than on Linux)
    /// sending gives [`SendError::Datagram`](crate::SendError::Datagram).
    pub fn datagram(mut self, bytes: usize) -> Self {
        self.core.datagram = bytes;
        self
    }

    /// Memory of the transmit window, bytes, for all topics of the endpoint together, taken at open (its pages when they are
    /// first used). Default 64 MiB, at least four chunks, each of 32 KiB or the largest datagram where that is more, at most the machine's memory and swap (and
    /// 1 TiB): [`Error::Memory`] where it cannot be had. It bounds how late a repair can come: at 1 Gbit/s, 64 MiB last half a
    /// second. Slots are as large as the largest datagram, so messages sent one by one fill it by the datagram. Up to a sixteenth
    /// is kept for topics that have sent nothing yet.
    pub fn window(mut self, bytes: usize) -> Self {
        self.core.window = bytes;
        self
    }

    /// Largest message, bytes, 1 to half the window, and 2^32 - 1. Default 16 MiB, or half the window where that is less. A message that
    /// is longer than what may be sent at once costs a copy of the rest of it, in memory that its topic keeps until it is closed.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Largest message these settings allow, bytes: what [`max_message`](Self::max_message) set, or its default.
    pub fn message_limit(&self) -> usize {
        self.max_message.unwrap_or(self.core.max_message.min(self.core.window / 2))
    }

    /// Who is waited for. Default [`Flow::Slowest`]: the slowest subscriber in good standing. With [`Flow::None`] the rate
    /// alone bounds what is sent, and subscribers that cannot keep up see gaps.
    pub fn flow(mut self, flow: Flow) -> Self {
        self.core.flow = flow;
        self
    }

    /// How long a subscriber that makes no progress is waited for, 1 ms to an hour. Default 1 s. Longer rides out longer
    /// pauses of a subscriber at the price of pausing everybody. At a low [`max_rate`](Self::max_rate) it is as long as 16 datagrams take
    /// to leave, if that is more, but for a minute at most. [`Publisher::close`] waits for one of which nothing is heard until it was silent for as long, and for
    /// ten idle intervals.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.core.patience = patience;
        self
    }

    /// Most bits a second, repairs and control included, at least 10,000; datagrams are counted without the headers of UDP and IP (28
    /// bytes each with IPv4, 48 with IPv6), and signs of life go out whatever the rate. What 1 ms of it holds may leave at once, and in one
    /// run what 10 ms hold, a datagram at least and 64 KiB at most. Default: no limit but flow control. Three quarters of it may go to repairs, a tenth to late joiners
    /// that catch up. Of each topic 128 datagrams may wait to leave before
    /// [`send`](crate::Publisher::send) does, which take 14 s at 100 kbit/s: [`unsent`](crate::Publisher::unsent) tells how many messages do.
    pub fn max_rate(mut self, bits_per_second: u64) -> Self {
        self.core.max_rate = Some(bits_per_second);
        self
    }

    /// Largest time between two heartbeats, 10 ms to 60 s. Default 500 ms. Subscribers take a source for gone after five of
    /// them; a shorter one finds that out sooner and costs more datagrams when idle.
    pub fn idle_interval(mut self, interval: Duration) -> Self {
        self.core.idle_interval = interval;
        self
    }

    /// How long a message may wait for others to share its datagram and its system call while messages come faster than they can
    /// be sent one by one, 0 to 100 ms. Default 50 us. A message that comes alone never waits, nor do the first few of many. A
    /// loop is tight that takes less than half as long for a message as to send one takes (some microseconds), or less than 1 us, on one
    /// topic of an endpoint or on several in turn. The last messages of one that went on for several times this delay, and one of another publisher of an endpoint where somebody sends run after run,
    /// may wait for 0.1 ms to half a millisecond when that ends, the longer the dearer the system's timers are (on virtual
    /// machines), or for as long as 16 runs take to leave, 4 ms at most (many subscribers on the publisher's own machine make
    /// them slow); for to guard each closer would cost the loop its speed. [`Publisher::flush`] sends them at once. Where the
    /// application tends the endpoint ([`Endpoint::tend`]), what waits leaves when it next does.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.core.max_delay = delay;
        self
    }

    /// Most subscribers known at a time, 1 to 1,048,576; others are served, but not waited for. Default 16,384; each costs up to
    /// 350 bytes, and 100 for each of its topics.
    pub fn max_receivers(mut self, receivers: usize) -> Self {
        self.core.max_receivers = receivers;
        self
    }

    /// Opens an endpoint of its own with one publisher.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Topic`], [`Error::Memory`], [`Error::Interface`], [`Error::Socket`], [`Error::System`].
    pub fn open(self) -> Result<Publisher, Error> {
        let topic = self.topic.clone();
        // The topic's errors come before any socket is opened.
        check_topic(&topic)?;
        Endpoint::open(self)?.publisher(topic)
    }

    pub(crate) fn start(mut self) -> Result<Service, Error> {
        let max_message = self.message_limit();
        let core = &mut self.core;
        within("datagram", core.datagram, MIN_DATAGRAM, MAX_DATAGRAM, " bytes")?;
        within("window", core.window, 4 * core.datagram.max(32 << 10), 1 << 40, " bytes")?;
        within("patience", core.patience, Duration::from_millis(1), Duration::from_secs(3_600), "")?;
        within("idle_interval", core.idle_interval, Duration::from_millis(10), Duration::from_secs(60), "")?;
        within("max_delay", core.max_delay, Duration::ZERO, Duration::from_millis(100), "")?;
        within("max_receivers", core.max_receivers, 1, 1 << 20, "")?;
        within("receive_buffer", self.receive_buffer, 4 << 10, 1 << 30, " bytes")?;
        if let Some(rate) = core.max_rate {
            within("max_rate", rate, 10_000, u64::MAX, " bits a second")?;
        }
        within("max_message", max_message, 1, (core.window / 2).min(u32::MAX as usize), " bytes")?;
        core.max_message = max_message;
        allocate("window", core.window)?;
        let local = self.place.local()?;
        let options =
            Options { receive_buffer: Some(self.receive_buffer), ttl: self.place.ttl, ..Options::default() };
        let socket = Socket::sender(self.place.group, &local, self.port, &options)?;
        // Nothing is fragmented, so one that does not fit now would never leave.
        if local.longest_datagram().is_some_and(|longest| core.datagram > longest) {
            return Err(socket.too_long(core.datagram).into());
        }
        let clock = Clock::start();
        core.source = SourceId(random_id()?);
        core.wall_offset = clock.wall_offset();
        let machine = publisher::Publisher::new(self.core, clock.now());
        Service::start(machine, socket, self.place.group, clock)
            .map_err(Error::system("starting the service thread"))
    }
}

pub(crate) fn check_topic(topic: &str) -> Result<(), Error> {
    topic::check(topic).map_err(|error| Error::Topic { topic: topic.into(), error })
}

/// How a subscriber waits for what is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// Sleeps until something comes: no processor time while idle, and a wake-up of the scheduler (tens of microseconds)
    /// for each message that comes alone. While they come in quick succession it looks for up to 60 us before it sleeps.
    #[default]
    Block,
    /// Looks again and again for so long, any time there is, then sleeps. As with [`Wait::Spin`], a look goes down to the device's queue where that
    /// is granted.
    SpinThenBlock(Duration),
    /// Looks again and again: the least latency, and all of a processor. Linux is asked to look in the network card's queue
    /// itself with each (`SO_BUSY_POLL`), rather than wait for the card's interrupt. That wants `CAP_NET_ADMIN` and a driver that
    /// can do it (loopback and veth have no such queue); where it is not granted, only what the interrupt brought is seen.
    Spin,
}

/// The settings of a subscriber.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut subscriber = nakcast::Subscriber::builder("239.255.77.1:7700".parse()?).topic("prices.>").interface("lo").open()?;
/// println!("{:?}", subscriber.recv()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is opened"]
pub struct SubscriberBuilder {
    place: Place,
    patterns: Vec<String>,
    source: Option<IpAddr>,
    receive_buffer: usize,
    wait: Wait,
    timestamps: bool,
    loss: Option<DatagramLoss>,
    core: subscriber::Config,
}

impl SubscriberBuilder {
    pub(crate) fn new(group: SocketAddr) -> SubscriberBuilder {
        SubscriberBuilder {
            place: Place::new(group),
            patterns: Vec::new(),
            source: None,
            receive_buffer: RECEIVE_BUFFER,
            wait: Wait::Block,
            timestamps: false,
            loss: None,
            core: subscriber::Config::new(ReceiverId(0)),
        }
    }

    /// A topic wanted, or a pattern, 255 bytes at most: `*` stands for one level, `>` at the end for the rest, if there is any. May be called
    /// again for more. Default `>`: every topic.
    pub fn topic(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// The interface to join on, by name or address. Default: the only one that is up and running, has an address of the group's family,
    /// can multicast and is not loopback; where there are several or none, opening fails and lists them.
    pub fn interface(mut self, interface: impl Into<String>) -> Self {
        self.place.interface = Some(interface.into());
        self
    }

    /// Joins for one sender's address alone (source-specific multicast): what others send to the group never gets here.
    /// Default: any.
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }

    /// Time to live of its NAKs and status, which go to one publisher each (IPv6: hop limit), 0 to 255: the routers they may pass, plus
    /// one; 0 is as 1. Default: the system's, mostly 64.
    pub fn ttl(mut self, ttl: u32) -> Self {
        self.place.ttl = Some(ttl);
        self
    }

    /// What is promised. Default [`Contract::Ordered`]. A [`Contract::Deadline`] is from 1 us to an hour.
    pub fn contract(mut self, contract: Contract) -> Self {
        self.core.contract = contract;
        self
    }

    /// Where to start in a stream that was there before. Default [`StartAt::Live`]. Streams that begin while the subscriber
    /// listens are had from their first message, as long as they are within [`max_sources`](Self::max_sources) and
    /// [`max_streams`](Self::max_streams).
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.core.start = start;
        self
    }

    /// The sockets' receive buffer to ask the kernel for, bytes, 4 KiB to 1 GiB. Default 4 MiB. What was granted bounds how
    /// far a publisher may run ahead; see [`Subscriber::warnings`].
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Memory for datagrams that came before others they follow, bytes, taken at open (its pages when they are first
    /// used), 256 KiB to the machine's memory and swap (and 1 TiB): [`Error::Memory`] where it cannot be had. Default 64 MiB.
    /// It bounds how far a publisher may run ahead of a gap.
    pub fn reorder_buffer(mut self, bytes: usize) -> Self {
        self.core.reorder = bytes;
        self
    }

    /// Largest message to put together from fragments, bytes, 1 to 2^32 - 1. Default 16 MiB. A longer one is told as a gap.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.core.max_message = bytes;
        self
    }

    /// Memory for messages of which parts are here, bytes, over all streams, 1 to 1 TiB. Default 64 MiB; taken as needed. A
    /// message that alone is longer is told as a gap. One that finds it taken by others waits for them, for half a second, or 0.9 s
    /// where those go on ([`Contract::Ordered`] and [`Contract::Deadline`]; it is told as a gap at once otherwise, and after that). What the
    /// application does not take meanwhile keeps it waiting for longer.
    pub fn reassembly_buffer(mut self, bytes: usize) -> Self {
        self.core.reassembly = bytes;
        self
    }

    /// Most publishers known at a time, 1 to 1,048,576; further ones are refused and counted, once those that are over have made room.
    /// Default 1,024; each costs up to 900
    /// bytes, and its streams besides.
    pub fn max_sources(mut self, sources: usize) -> Self {
        self.core.max_sources = sources;
        self
    }

    /// Most streams known at a time, subscribed to or not, 1 to 16,777,216; further ones are refused and counted, once those that are over have
    /// made room. Default 65,536; each costs up to 100 bytes. One that is subscribed to costs about 6 KiB (nearly all of it room
    /// for what is missing, made at once so that loss allocates nothing), and up to 2.6 MB while 16,384 ranges of it are missing.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.core.max_streams = streams;
        self
    }

    /// How to wait. Default [`Wait::Block`]. The thread of a [detached](crate::Subscriber::detach) subscriber always sleeps.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Whether the kernel is asked when it took each datagram from its device, for
    /// [`Message::kernel_received_ns`](crate::Message::kernel_received_ns). Default: no. It costs a look at the clock for every
    /// packet of the machine while any socket asks, and some processor time with each system call that receives. Linux
    /// tells (`SO_TIMESTAMPNS`); where the platform does not, messages have no such time.
    pub fn kernel_timestamps(mut self, ask: bool) -> Self {
        self.timestamps = ask;
        self
    }

    /// Throws away a share (0 to 1) of the datagrams that arrive, one by one, before the protocol sees them: to see what
    /// loss does. The same seed throws away the same ones, where the same
    /// arrive in the same order. Default: none.
    pub fn drop_datagrams(mut self, share: f64, seed: u64) -> Self {
        self.loss = Some(DatagramLoss { share, random: fastrand::Rng::with_seed(seed) });
        self
    }

    /// Joins the group.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Topic`], [`Error::Memory`], [`Error::Interface`], [`Error::Socket`], [`Error::System`].
    pub fn open(mut self) -> Result<Subscriber, Error> {
        if self.patterns.is_empty() {
            self.patterns.push(">".into());
        }
        for pattern in &self.patterns {
            let checked = topic::check_pattern(pattern);
            checked.map_err(|error| Error::Topic { topic: pattern.clone(), error })?;
        }
        if let Some(loss) = &self.loss {
            within("drop_datagrams", loss.share, 0.0, 1.0, "")?;
        }
        if let Contract::Deadline(deadline) = self.core.contract {
            within("deadline", deadline, Duration::from_micros(1), Duration::from_secs(3_600), "")?;
        }
        within("receive_buffer", self.receive_buffer, 4 << 10, 1 << 30, " bytes")?;
        within("reorder_buffer", self.core.reorder, 256 << 10, 1 << 40, " bytes")?;
        within("max_message", self.core.max_message, 1, u32::MAX as usize, " bytes")?;
        within("reassembly_buffer", self.core.reassembly, 1, 1 << 40, " bytes")?;
        within("max_sources", self.core.max_sources, 1, 1 << 20, "")?;
        within("max_streams", self.core.max_streams, 1, 1 << 24, "")?;
        allocate("reorder_buffer", self.core.reorder)?;
        let local = self.place.local()?;
        let options = Options {
            receive_buffer: Some(self.receive_buffer),
            ttl: self.place.ttl,
            timestamps: self.timestamps,
            busy_poll: matches!(self.wait, Wait::Spin | Wait::SpinThenBlock(_)),
            ..Options::default()
        };
        let group = Socket::group(self.place.group, &local, self.source, &options)?;
        let unicast = Socket::unicast(&local, 0, &options)?;
        if let Some(warning) = group.buffer_warning() {
            tracing::warn!("{warning}");
        }
        let clock = Clock::start();
        self.core.receiver = ReceiverId(random_id()?);
        self.core.seed = self.core.receiver.0;
        self.core.patterns = self.patterns;
        self.core.receive_buffer = group.receive_buffer();
        self.core.wall_offset = clock.wall_offset();
        let machine = subscriber::Subscriber::new(self.core, clock.now());
        let driver = Driver::new(machine, group, unicast, clock, self.loss);
        Ok(Subscriber::new(driver.map_err(Error::system("setting up the poller"))?, self.wait))
    }
}
