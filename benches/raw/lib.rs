//! What the kernel itself can do here, with nothing of nakcast: the yardstick for its figures.
//!
//! One sender process and one or more receiver processes over multicast. Throughput is measured with a credit window,
//! so that nothing is lost, and counts what was received; one-way latency is of an open loop at a rate; round trips go over
//! multicast both ways.
//!
//! `cargo bench --bench raw` prints a table over `lo`; `-- --help` says what else there is. `nakcast bench` runs the same
//! code beside its own.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "the yardstick is the kernel's own calls, several of which std and socket2 do not wrap"
)]
#![expect(clippy::disallowed_methods, reason = "it measures the real clock over sockets of its own")]

mod command;
mod kept;
mod oneway;
mod options;
mod report;
mod roundtrip;
mod socket;
mod throughput;

pub use command::command;
pub use oneway::{Flight, receive as receive_one_way, send as send_one_way};
pub use options::{Mode, Options, Role};
pub use socket::{Cpu, cpu_time, monotonic_ns};
pub use throughput::{Side, Sides, receive, send};
