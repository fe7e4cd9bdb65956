//! The processes of a bench, as the one that starts them has them.

use super::side::{READY, arguments};
use crate::args::SideArgs;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::say;
use crate::stop::{SLICE, Stop};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a side may take for what it is to do at once: on a machine that is busy with much else.
const SOON: Duration = Duration::from_secs(60);

/// A line of a side.
enum Said {
    Output(String),
    Error(String),
}

/// What is told of what the sides say: each remark once, though all of them make it.
#[derive(Default)]
pub(super) struct Remarks(HashSet<String>);

impl Remarks {
    pub(super) fn tell(&mut self, line: String) {
        if self.0.insert(line.clone()) {
            say::line(line);
        }
    }
}

/// A process, killed and reaped when dropped. When this process ends without that its standard input closes, and it ends too.
pub(super) struct Process {
    child: Child,
    name: &'static str,
    said: Receiver<Said>,
}

impl Process {
    /// Starts one, in a network namespace of that name if one is given.
    pub(super) fn start(
        args: &SideArgs,
        name: &'static str,
        netns: Option<&str>,
    ) -> Result<Process, Failure> {
        let failed = |error| Failure::at_run_time(format_args!("starting the {name}: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = match netns {
            // It becomes the program: there is no process in between.
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // In a group of its own: Ctrl-C is for this process, which ends the others.
        command.args(arguments(args)).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if args.verbose > 0 {
            say::line(format_args!("process {}: {name}", child.id()));
        }
        let (sender, said) = channel();
        if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            read(output, sender.clone(), Said::Output);
            read(errors, sender, Said::Error);
        }
        Ok(Process { child, name, said })
    }

    /// Waits until it has joined; false when it was told to end first.
    pub(super) fn wait_until_ready(&mut self, remarks: &mut Remarks, stop: &Stop) -> Result<bool, Failure> {
        match self.line(Some(SOON), remarks, stop)? {
            Some(line) if line == READY => Ok(true),
            Some(line) => Err(self.failed(format_args!("said {line:?} in place of {READY:?}"))),
            None => Ok(false),
        }
    }

    /// Waits for what it measured, for as long as that takes; `None` when it was told to end first.
    pub(super) fn result(&mut self, remarks: &mut Remarks, stop: &Stop) -> Result<Option<Value>, Failure> {
        self.value(None, remarks, stop)
    }

    /// The same, when the other side is done.
    pub(super) fn result_soon(
        &mut self,
        remarks: &mut Remarks,
        stop: &Stop,
    ) -> Result<Option<Value>, Failure> {
        self.value(Some(SOON), remarks, stop)
    }

    fn value(
        &mut self,
        within: Option<Duration>,
        remarks: &mut Remarks,
        stop: &Stop,
    ) -> Result<Option<Value>, Failure> {
        let Some(line) = self.line(within, remarks, stop)? else { return Ok(None) };
        serde_json::from_str(&line)
            .map(Some)
            .map_err(|error| self.failed(format_args!("said {line:?}: {error}")))
    }

    /// Its next line of output. When it ends without one, why.
    fn line(
        &mut self,
        within: Option<Duration>,
        remarks: &mut Remarks,
        stop: &Stop,
    ) -> Result<Option<String>, Failure> {
        let until = within.map(|within| clock::now() + within);
        let mut error = None;
        loop {
            if stop.is_asked() {
                return Ok(None);
            }
            match self.said.recv_timeout(SLICE) {
                Ok(Said::Output(line)) => return Ok(Some(line)),
                Ok(Said::Error(line)) => match line.strip_prefix("error: ") {
                    Some(line) => error = Some(line.to_owned()),
                    None => remarks.tell(line),
                },
                Err(RecvTimeoutError::Timeout) if until.is_some_and(|until| clock::now() >= until) => {
                    return Err(self.failed(format_args!("said nothing within {SOON:?}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended(error)),
            }
        }
    }

    fn ended(&mut self, error: Option<String>) -> Failure {
        match (self.child.wait(), error) {
            (Ok(status), Some(line)) if status.code() == Some(Exit::Usage as i32) => Failure::usage(line),
            (_, Some(line)) => self.failed(line),
            (Ok(status), None) => self.failed(format_args!("ended: {status}")),
            (Err(error), None) => self.failed(error),
        }
    }

    fn failed(&self, why: impl std::fmt::Display) -> Failure {
        Failure::at_run_time(format_args!("the {}: {why}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has told what it measured, or is not wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines on a thread, so that the process never waits for this one; the thread ends with the stream.
fn read(stream: impl Read + Send + 'static, sender: Sender<Said>, kind: fn(String) -> Said) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            // Read on when nobody listens any more.
            let _ = sender.send(kind(String::from_utf8_lossy(&line).into_owned()));
        }
    });
}
