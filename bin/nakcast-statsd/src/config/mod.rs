//! Configurations: what the collector is to do, as [`settings`] that a file or flags give.

pub mod circle;
pub mod original;
pub mod own;
pub mod settings;
mod table;
pub mod units;
mod value;
