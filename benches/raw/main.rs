//! What the kernel itself can do here, with nothing of nakcast: the yardstick for its figures.
//!
//! One sender process and one or more receiver processes over multicast. Throughput is measured with a credit window,
//! so that nothing is lost, and counts what was received; round trips go over multicast both ways.
//!
//! `cargo bench --bench raw` prints a table over `lo`; `-- --help` says what else there is.
#![allow(
    unsafe_code,
    reason = "the yardstick is the kernel's own calls, several of which std and socket2 do not wrap"
)]
#![expect(clippy::disallowed_methods, reason = "it measures the real clock over sockets of its own")]

#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod roundtrip;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(target_os = "linux")]
mod throughput;

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the raw-socket yardstick is for Linux: segmentation and its like are Linux's own");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` starts it with no argument at all, `cargo bench` with `--bench`.
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--test") {
        println!("nothing is measured in a test run; cargo bench --bench raw does");
        return std::process::ExitCode::SUCCESS;
    }
    let options = match options::Options::parse(arguments.into_iter()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::USAGE);
            return std::process::ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("raw: {wrong}");
            return std::process::ExitCode::from(2);
        }
    };
    match linux::run(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("raw: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::process::{Child, Command, Stdio};

    use super::options::{Mode, Options, Role};
    use super::{report, roundtrip, socket, throughput};

    pub(crate) fn run(options: &Options) -> io::Result<()> {
        let allowed = socket::processors()?;
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
        if mode.round_trip() { roundtrip::pong(options, mode) } else { throughput::receive(options, mode) }
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
}
