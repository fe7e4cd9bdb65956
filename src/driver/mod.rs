//! What joins the protocol to the sockets: a publisher's service thread, a subscriber's polling.

mod clock;
mod inlet;
mod receive;
mod service;
mod waiter;

pub(crate) use clock::Clock;
pub(crate) use inlet::{Inlet, Pushed};
pub(crate) use receive::{DatagramLoss, Driver};
pub(crate) use service::{Service, Shared, Working};
pub(crate) use waiter::Alarm;
