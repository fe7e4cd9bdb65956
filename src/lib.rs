//! Brokerless, reliable UDP multicast publish/subscribe.

pub mod net;
pub mod protocol;
pub mod wire;
