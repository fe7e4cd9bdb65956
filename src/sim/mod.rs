//! A network in virtual time (feature `sim`), to test the protocol and what is built on it under loss: the real state machines
//! of publishers and subscribers, not models of them, and links that lose, duplicate, hold up, spoil, queue and cut.
//!
//! All chance comes from one seed, and one seed gives one run: the same datagrams at the same times, byte for byte. Nothing
//! reads a clock, so that an hour of virtual time takes as long as what happens in it.
//!
//! ```
//! use nakcast::protocol::{publisher, subscriber};
//! use nakcast::sim::{Link, Network, Told};
//! use nakcast::{ReceiverId, SourceId};
//! use std::time::Duration;
//!
//! let mut network = Network::new(42);
//! let sound = Link::with_delay(Duration::from_micros(50));
//! let lossy = Link { loss: 0.1, ..sound };
//! // Each hears through a link of its own that loses a tenth of the datagrams.
//! let listeners = [1, 2].map(|id| {
//!     network.add_subscriber(subscriber::Config::new(ReceiverId(id)), sound, lossy)
//! });
//! let publisher = network.add_publisher(publisher::Config::new(SourceId(7)), sound, sound);
//! let stream = network.open_stream(publisher, "prices.fx").unwrap();
//! for number in 0..1_000 {
//!     network.publish(publisher, stream, format!("price {number}").into_bytes());
//! }
//! network.run_for(Duration::from_secs(1));
//!
//! for listener in listeners {
//!     let mut expected = 0;
//!     while let Some(told) = network.poll_told(listener) {
//!         match told {
//!             Told::Message { payload, .. } => {
//!                 assert_eq!(payload, format!("price {expected}").into_bytes());
//!                 expected += 1;
//!             }
//!             Told::Gap { .. } => panic!("nothing is lost for good while the window holds it"),
//!             _ => {}
//!         }
//!     }
//!     assert_eq!(expected, 1_000);
//!     assert!(network.subscriber(listener).stats().missed > 0, "and yet much was missing");
//! }
//! ```
//!
//! # The shape of the network
//!
//! ```text
//! publisher ── up ─→ ╮        ╭─ down ─→ branch ╭─ down ─→ subscriber
//! publisher ── up ─→ ┤  core  ├─ down ─→ branch ┼─ down ─→ subscriber
//!                    │        │                 ╰─ down ─→ subscriber
//!           ← down ─ ╯        ╰─ down ────────────────────→ subscriber
//! ```
//!
//! Every line is two links, one each way, with faults of their own ([`Link`]): `up` leads to the core, `down` away from it. So
//! what is lost on a publisher's way up is lost to all, what is lost on a branch's way down is lost to all its subscribers, and
//! what is lost on a subscriber's way down to it alone. NAKs and status go the other way: up from the subscriber, up the
//! branch, down to the publisher. A datagram to the group is copied where the ways part, its bytes are not.
//!
//! # Faults, and when
//!
//! [`Network::links`] gives both links of a place, to change now; [`Network::at`] changes whatever it is told to at a time to
//! come; [`Network::heal`] ends all harm. A partition is a link that is [`cut`](Link::cut):
//!
//! ```
//! # use nakcast::{protocol::subscriber, ReceiverId, sim::{Link, Network}};
//! # use std::time::Duration;
//! # let mut network = Network::new(1);
//! let rack = network.add_branch(Link::default(), Link::default());
//! let listener = network.add_subscriber_at(rack, subscriber::Config::new(ReceiverId(1)), Link::default(), Link::default());
//! let cut = move |network: &mut Network, cut| {
//!     let (up, down) = network.links(rack);
//!     (up.cut, down.cut) = (cut, cut);
//! };
//! network.at(network.now() + Duration::from_secs(1), move |network| cut(network, true));
//! network.at(network.now() + Duration::from_secs(3), move |network| cut(network, false));
//! network.run_for(Duration::from_secs(10));
//! ```
//!
//! Nodes have faults too: [`pause`](Network::pause), [`set_pace`](Network::set_pace) (an application that takes its time),
//! [`set_refusals`](Network::set_refusals) (a socket that takes only a part), [`kill_publisher`](Network::kill_publisher),
//! [`restart_publisher`](Network::restart_publisher), [`remove_subscriber`](Network::remove_subscriber).
//!
//! # What can be seen
//!
//! Events are kept for [`Network::poll_told`], with their bytes; [`Network::keep_told`] turns that off where many subscribers
//! hear much. An [`Observer`] sees every datagram, time-out and event as it happens, and the state machines; [`Trace`] is one
//! that writes them down. Counters are those of the state machines, and of each link ([`Network::link_stats`]).
//!
//! # What it is not
//!
//! Nodes take no time to work: only applications do, when told to. All clocks run alike. One network runs on one thread; run
//! several at a time for more seeds. Virtual time stands still when a node asks to be woken more than 16 times at one instant:
//! the run then panics, and names the node.

mod bulk;
mod engine;
mod link;
mod network;
mod node;
mod observe;
mod queue;

pub use link::{Bursts, Link, LinkStats, Rate};
pub use network::Network;
pub use node::Told;
pub use observe::{Core, Observer, Trace, Wake};

use crate::protocol::Time;
use std::fmt;

/// The time a network begins at: like a clock that was running already.
pub const START: Time = Time(1_000_000_000);

/// A publisher of a [`Network`]. Shown as `p0`, `p1` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublisherId(u32);

/// A subscriber of a [`Network`]. Shown as `s0`, `s1` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(u32);

/// A branch of a [`Network`]: a link that several subscribers share. Shown as `b0`, `b1` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchId(u32);

/// What has links of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A publisher.
    Publisher(PublisherId),
    /// A branch.
    Branch(BranchId),
    /// A subscriber.
    Subscriber(SubscriberId),
}

impl From<PublisherId> for Place {
    fn from(id: PublisherId) -> Place {
        Place::Publisher(id)
    }
}

impl From<BranchId> for Place {
    fn from(id: BranchId) -> Place {
        Place::Branch(id)
    }
}

impl From<SubscriberId> for Place {
    fn from(id: SubscriberId) -> Place {
        Place::Subscriber(id)
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl fmt::Display for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}
