//! Brokerless, reliable UDP multicast publish/subscribe.

pub mod wire;
