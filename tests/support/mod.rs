//! What the integration tests share: processes that cannot outlive their test, and a network of namespaces to run
//! them in. A test begins with `mod support;`; one of a package in `bin/` with
//! `#[path = "../../../tests/support/mod.rs"] mod support;` and `libc` among its dev-dependencies.
//!
//! Nothing here sleeps: every wait ends with the event waited for, or with a panic that shows what the process said.
#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]

mod lab;
mod process;
mod scratch;

pub(crate) use lab::{Counter, Host, Lab};
pub(crate) use process::{Process, command};
pub(crate) use scratch::Scratch;
