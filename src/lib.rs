//! Brokerless, reliable UDP multicast publish/subscribe.
//!
//! Publishers multicast sequenced datagrams to a group and keep a window they can repair from; subscribers find gaps and ask
//! for what is missing with NAKs; nothing is ever lost silently.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use nakcast::{Event, Publisher, Subscriber};
//! use std::time::Duration;
//!
//! let mut publisher = Publisher::builder("239.255.77.1:7700".parse()?).topic("prices").interface("eth0").open()?;
//! publisher.send(b"EURUSD 1.0832")?;                 // or try_send, or claim(len) to write in place; flush() ends a batch
//! publisher.close(Duration::from_secs(5))?;          // until every known subscriber has everything: or who has not
//!
//! let mut subscriber = Subscriber::builder("239.255.77.1:7700".parse()?).topic("prices.>").interface("eth0").open()?;
//! loop {
//!     match subscriber.recv()? {
//!         Event::Message(message) => println!("{}: {} bytes", message.topic(), message.payload().len()),
//!         Event::Gap(gap) => eprintln!("lost {gap}"),
//!         Event::StreamUp(stream) | Event::StreamEnd(stream) => println!("{stream}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | the root | publishers, subscribers, their settings, events and errors |
//! | [`wire`] | the datagrams; its page is the specification |
//! | [`protocol`] | the state machines, without sockets, clock or threads |
//! | [`net`] | sockets and batches, knowing nothing of the protocol |
//! | `sim` | a seeded network in virtual time for tests (feature `sim`) |

pub mod net;
pub mod protocol;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod wire;

mod config;
mod detached;
mod driver;
mod error;
mod publisher;
mod subscriber;

pub use config::{PublisherBuilder, RECEIVE_BUFFER, SubscriberBuilder, Wait};
pub use detached::{DetachedSubscriber, Queue, WhenFull};
pub use error::{Error, SendError, TooFew, Unconfirmed};
pub use protocol::publisher::{
    BackPressure, DATAGRAM, Flow, Laggard, PublisherEvent, PublisherStats, ReceiverState,
};
pub use protocol::subscriber::{Contract, StartAt, SubscriberStats};
pub use protocol::{EndReason, Event, Gap, GapReason, Message, Stream};
pub use publisher::{Claim, Endpoint, Publisher};
pub use subscriber::{Subscriber, Waker};
pub use wire::{ReceiverId, SourceId, TopicError};
