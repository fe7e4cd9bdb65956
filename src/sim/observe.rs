//! What can be seen of a run while it goes on.

use super::{PublisherId, SubscriberId};
use crate::protocol::publisher::{self, Publisher, Refused};
use crate::protocol::subscriber::{self, Subscriber};
use crate::protocol::{EndReason, Event, Time};
use crate::wire::Datagram;
use std::fmt::Write;
use std::net::SocketAddr;

/// A node, and its state machine.
#[derive(Clone, Copy, Debug)]
pub enum Core<'a> {
    /// A publisher's endpoint.
    Publisher(PublisherId, &'a Publisher),
    /// A subscriber.
    Subscriber(SubscriberId, &'a Subscriber),
}

/// Why a node was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// What [`Publisher::poll_timeout`] named.
    Publisher(publisher::Reason),
    /// What [`Subscriber::poll_timeout`] named.
    Subscriber(subscriber::Reason),
}

/// Sees everything that happens on a [`Network`](super::Network), at the time it happens; see
/// [`Network::observe`](super::Network::observe). Every method does nothing unless it is written anew.
///
/// An observer sees and does not touch: what it needs later it keeps, for example in an `Rc<RefCell<..>>` that it shares with
/// whoever runs the network.
pub trait Observer {
    /// A node sends a datagram, to the group (`None`) or to one address. It is about to enter the node's own link.
    fn sent(&mut self, now: Time, by: Core<'_>, to: Option<SocketAddr>, datagram: &[u8]) {
        let _ = (now, by, to, datagram);
    }

    /// A node's state machine has taken in a datagram, and has not acted on it yet.
    fn received(&mut self, now: Time, by: Core<'_>, from: SocketAddr, datagram: &[u8]) {
        let _ = (now, by, from, datagram);
    }

    /// A node is about to be woken, at the time and for the reason it gave.
    fn woken(&mut self, now: Time, who: Core<'_>, reason: Wake) {
        let _ = (now, who, reason);
    }

    /// A subscriber's application is told of something.
    fn told(&mut self, now: Time, who: SubscriberId, event: &Event<'_>) {
        let _ = (now, who, event);
    }

    /// A publisher did not take a message that waits.
    fn refused(&mut self, now: Time, by: PublisherId, core: &Publisher, why: Refused) {
        let _ = (now, by, core, why);
    }

    /// A node has acted on what happened: all it had to say is sent. `next` is when it wants to be woken, and why; `None`: it
    /// waits for nothing but datagrams.
    fn settled(&mut self, now: Time, who: Core<'_>, next: Option<(Time, Wake)>) {
        let _ = (now, who, next);
    }
}

/// Writes a run down, a line for each datagram that is sent, each time-out and each event, and gives the lines to a
/// function. Times are in microseconds since the network was made.
///
/// ```
/// use nakcast::sim::{Network, Trace};
/// let mut network = Network::new(1);
/// network.observe(Trace::new(|line| eprintln!("{line}")));
/// ```
pub struct Trace<F> {
    line: String,
    out: F,
}

impl<F: FnMut(&str)> Trace<F> {
    /// A trace whose lines go to `out`.
    pub fn new(out: F) -> Trace<F> {
        Trace { line: String::new(), out }
    }

    fn line(&mut self, now: Time, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        let nanos = now.since(super::START).as_nanos();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:>9}.{:03} {what}", nanos / 1_000, nanos % 1_000);
        (self.out)(&self.line);
    }
}

impl Core<'_> {
    /// A short name: `p0` for the first publisher, `s0` for the first subscriber.
    pub fn name(&self) -> String {
        match self {
            Core::Publisher(id, _) => id.to_string(),
            Core::Subscriber(id, _) => id.to_string(),
        }
    }
}

impl<F: FnMut(&str)> Observer for Trace<F> {
    fn sent(&mut self, now: Time, by: Core<'_>, to: Option<SocketAddr>, datagram: &[u8]) {
        let to = to.map_or_else(|| "all".to_string(), |to| to.to_string());
        match Datagram::parse(datagram) {
            Ok(datagram) => self.line(now, format_args!("{} > {to} {datagram}", by.name())),
            Err(invalid) => self.line(now, format_args!("{} > {to} {invalid}", by.name())),
        }
    }

    fn woken(&mut self, now: Time, who: Core<'_>, reason: Wake) {
        match reason {
            Wake::Publisher(reason) => self.line(now, format_args!("{} woken: {reason:?}", who.name())),
            Wake::Subscriber(reason) => self.line(now, format_args!("{} woken: {reason:?}", who.name())),
        }
    }

    fn told(&mut self, now: Time, who: SubscriberId, event: &Event<'_>) {
        match event {
            Event::Message(message) => self.line(
                now,
                format_args!(
                    "{who} told: message {} of {}/{} ({}), {} bytes",
                    message.number(),
                    message.source(),
                    message.stream_id(),
                    message.topic(),
                    message.payload().len()
                ),
            ),
            Event::Gap(gap) => {
                self.line(now, format_args!("{who} told: gap /{}: {gap}", gap.stream_id()));
            }
            Event::StreamUp(stream) => self.line(now, format_args!("{who} told: {stream}")),
            Event::StreamEnd(stream) => {
                let reason = stream.end_reason().unwrap_or(EndReason::Silent);
                self.line(now, format_args!("{who} told: {stream} ({reason:?}) at {}", stream.sequence()));
            }
        }
    }
}
