//! What snapshots are written to.

pub mod console;
