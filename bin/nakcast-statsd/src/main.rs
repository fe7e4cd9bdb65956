//! The collector as a command.
//!
//! What was typed is in [`args`], over what a configuration says; [`open`] has the sockets and outputs it names, and [`run`]
//! flushes until it is told to end.

mod args;
mod blast;
mod demo;
mod exit;
mod open;
mod outputs;
mod run;
mod signals;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::usage(&error).into(),
    };
    run::run(args).unwrap_or_else(|failure| failure.told()).into()
}
