//! The state machines of publisher and subscriber. They know neither sockets nor clocks: `now` is a parameter, input is
//! `handle_*`, output is `poll_*`.
//!
//! Where to look: a NAK is scheduled in `subscriber/gaps.rs` and written in `subscriber/transmit.rs`; a publisher's datagrams
//! are chosen and written in `publisher/transmit.rs`; both are sent by `driver`.

pub mod publisher;
pub mod subscriber;

mod bucket;
mod crowd;
mod estimate;
mod event;
mod pool;
mod time;

pub(crate) use event::Loss;
pub use event::{EndReason, Event, Gap, GapReason, Message, Stream};
pub(crate) use pool::can_be_had;
pub use time::Time;
