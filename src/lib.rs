//! Brokerless, reliable UDP multicast publish/subscribe.
