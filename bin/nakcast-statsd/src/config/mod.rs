//! Configurations.

pub mod original;
mod value;
