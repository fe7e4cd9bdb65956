//! Brokerless, reliable UDP multicast publish/subscribe.

pub mod protocol;
pub mod wire;
