//! The yardstick as a command.

use std::io;
use std::process::{Child, Command, ExitCode, Stdio};

use crate::options::{Mode, Options, Role, USAGE};
use crate::{report, roundtrip, socket, throughput};

/// Runs it with the arguments of a command line, without the program's name; prints what it measured, or what failed.
pub fn command(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    // `cargo test --benches` starts it with no argument at all, `cargo bench` with `--bench`.
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--test") {
        println!("nothing is measured in a test run; cargo bench --bench raw does");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments.into_iter()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("raw: {wrong}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("raw: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let allowed = socket::processors()?;
    for (flag, cpu) in [("--cpu", options.cpu), ("--peer-cpu", options.peer_cpu)] {
        if let Some(cpu) = cpu.filter(|cpu| !allowed.contains(cpu)) {
            return Err(io::Error::other(format!(
                "{flag} {cpu}: this process may use the processors {allowed:?}"
            )));
        }
    }
    let place = |mode| match options.cpu(mode, &allowed) {
        Some(cpu) => socket::pin(&[cpu]),
        None => socket::pin(&allowed),
    };
    place(options.modes[0])?;
    match options.role {
        Role::Receive => receive(options, options.modes[0]),
        Role::Send => send(options, options.modes[0]),
        Role::Both => {
            report::head(options);
            for &mode in &options.modes {
                // The receivers inherit where this process may run, unless they are told.
                socket::pin(&allowed)?;
                let _receivers = (0..options.receivers)
                    .map(|_| Receiver::start(options, mode, &allowed))
                    .collect::<io::Result<Vec<_>>>()?;
                place(mode)?;
                send(options, mode)?;
            }
            Ok(())
        }
    }
}

fn send(options: &Options, mode: Mode) -> io::Result<()> {
    if mode.round_trip() {
        let times = roundtrip::ping(options, mode)?;
        report::round_trips(options, mode, times);
    } else {
        let sides = throughput::send(options, mode)?;
        report::throughput(options, mode, &sides);
    }
    Ok(())
}

fn receive(options: &Options, mode: Mode) -> io::Result<()> {
    if mode.round_trip() { roundtrip::pong(options, mode) } else { throughput::receive(options, mode, || {}) }
}

/// Another process of this program, receiving. It leaves when the sender tells it to, or is killed on drop.
struct Receiver(Child);

impl Receiver {
    fn start(options: &Options, mode: Mode, allowed: &[usize]) -> io::Result<Receiver> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("receive").args(options.for_receiver(mode, allowed));
        Ok(Receiver(command.stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The sender has its answer, or has failed: there is nothing left for it to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
