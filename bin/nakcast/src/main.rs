//! The command: publishes and subscribes from a shell.
//!
//! What was typed is in [`args`], what was meant in [`plan`]; each command has a module that runs its plan to an
//! [`exit::Exit`].

mod args;
#[cfg(target_os = "linux")]
mod bench;
mod clock;
mod cpu;
mod demo;
mod exit;
mod figures;
mod file;
mod format;
mod input;
mod latency;
mod output;
mod pace;
mod ping;
mod plan;
mod pong;
mod publish;
mod receivers;
mod say;
mod stop;
mod subscribe;
mod summary;
mod units;

use args::{Cli, Command};
use clap::Parser;
use exit::{Exit, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => run(cli.command).unwrap_or_else(|failure| failure.told()),
        Err(error) => exit::usage(&error),
    };
    say::last_words();
    exit.into()
}

fn run(command: Command) -> Result<Exit, Failure> {
    say::listen_to_the_library(command.verbosity());
    match command {
        Command::Pub(args) => publish::run(plan::publish(args)?),
        Command::Sub(args) => subscribe::run(plan::subscribe(args)?),
        Command::Ping(args) => ping::run(plan::ping(args)?),
        Command::Pong(args) => pong::run(plan::pong(args)?),
        #[cfg(target_os = "linux")]
        Command::Bench(args) => bench::run(plan::bench(args)?),
        #[cfg(target_os = "linux")]
        Command::BenchSide(args) => bench::side(args),
        #[cfg(not(target_os = "linux"))]
        Command::Bench(_) | Command::BenchSide(_) => Err(Failure::at_run_time(
            "bench is for Linux: the raw limit that it measures beside is made of Linux's own calls",
        )),
        Command::Demo(args) => demo::run(plan::demo(args)),
    }
}
