//! What snapshots are written to.

pub mod console;
pub mod graphite;
pub mod prometheus;
