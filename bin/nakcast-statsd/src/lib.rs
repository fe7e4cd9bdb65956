//! A StatsD collector that tells what it lost.
//!
//! What is heard flows one way: a listener ([`listen`]) takes datagrams from the kernel in batches, [`mod@line`] reads them where
//! they lie, a [`shard`] adds up what it is told; at each [`flush`] a snapshot is taken, from which every [`output`] is
//! written.

pub mod admin;
pub mod clock;
pub mod config;
pub mod digits;
pub mod distinct;
pub mod flush;
pub mod intake;
pub mod line;
pub mod listen;
pub mod name;
pub mod output;
pub mod samples;
pub mod shard;
pub mod sketch;
pub mod stream;
pub mod timer;
