//! The collector as a command.
//!
//! What was typed is in [`args`]; [`run`] opens what it names, and flushes until it is told to end.

mod args;
mod exit;
mod run;
mod units;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::usage(&error).into(),
    };
    run::run(args).unwrap_or_else(|failure| failure.told()).into()
}
