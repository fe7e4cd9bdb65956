//! What snapshots are written to.

pub mod console;
pub mod graphite;
pub mod influx;
pub mod prometheus;
pub mod queue;
pub mod repeater;
pub(crate) mod server;
