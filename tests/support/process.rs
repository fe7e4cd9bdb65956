//! A process under test: what it says is awaited with a deadline, and it dies with its test.
#![allow(
    unsafe_code,
    reason = "waiting for a process with a deadline takes a pidfd, which std does not offer"
)]
#![expect(clippy::disallowed_methods, reason = "deadlines of tests are of the real clock")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::Host;

/// A command for [`Process::spawn`], in the network the test itself is in: for traffic on `lo` only.
///
/// The kernel kills it when the thread that spawned it ends, however that ends: a test that is killed leaves nothing
/// running. So it is to be spawned by a thread that lives as long as it is needed: the test's own.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A running process, killed and reaped when dropped.
pub(crate) struct Process {
    child: Child,
    /// Readable once the process has ended, whoever else waits.
    pidfd: OwnedFd,
    name: String,
    stderr: Lines,
    stdout: Option<Lines>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, made by [`command`] or `Host::command`. Its standard error is read from now on, and its
    /// standard output too if that is `Stdio::piped()`; input and output may as well be files.
    pub(crate) fn spawn(mut command: Command) -> Process {
        command.stderr(Stdio::piped());
        let mut name = format!("{command:?}");
        if let Some((_, program)) = name.split_once(r#""--" "#) {
            name = program.to_owned();
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // SAFETY: no pointer is passed; the child is not reaped before `self.child.wait()`, so the id is its own.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        // SAFETY: the system call just gave this descriptor, and nobody else has it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
        let stdout = child.stdout.take().map(Lines::of);
        Process { child, pidfd, name, stderr, stdout, status: None }
    }

    /// Runs a program on a host to its end, which must be a success, and returns what it printed.
    pub(crate) fn spawn_and_read(host: &Host, program: &str, arguments: &[&str]) -> String {
        let mut command = host.command(program);
        command.args(arguments).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        process.succeed(Duration::from_secs(10));
        process.stdout()
    }

    /// The process's id: also that of the program itself, since all that comes before it ends in `exec`.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The writing end of its standard input, if that is `Stdio::piped()` and was not taken before.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until a line of standard error contains `text`, and returns it. Each call goes on after the line that
    /// the last one found. Panics with all that was said if there is none by the deadline or the end of the stream.
    pub(crate) fn wait_for_line(&mut self, text: &str, within: Duration) -> String {
        let found = self.stderr.find(text, within);
        found.unwrap_or_else(|why| self.fail(&format!("no line with {text:?} on stderr: {why}")))
    }

    /// The same on standard output, which must be `Stdio::piped()`.
    pub(crate) fn wait_for_output(&mut self, text: &str, within: Duration) -> String {
        let found = self.stdout.as_mut().expect("stdout is piped").find(text, within);
        found.unwrap_or_else(|why| self.fail(&format!("no line with {text:?} on stdout: {why}")))
    }

    /// Sends a signal: `libc::SIGSTOP`, `libc::SIGINT`… After `SIGSTOP` the process stands still: one of its threads is to
    /// stop them all, and until that one has its turn the others would go on.
    pub(crate) fn signal(&self, signal: i32) {
        assert!(self.status.is_none(), "{} has ended already", self.name);
        // SAFETY: no pointer is passed; the child is not reaped yet, so the id cannot be another's.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0, "kill {}: {}", self.name, std::io::Error::last_os_error());
        if signal == libc::SIGSTOP {
            self.stands_still();
        }
    }

    /// Waits until the process is stopped, or has ended; neither is taken from whoever waits later.
    fn stands_still(&self) {
        let states = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
        loop {
            // SAFETY: all zeros are a siginfo_t, which is valid for the time of the call; the child is not reaped yet.
            let waited = unsafe {
                let mut state: libc::siginfo_t = std::mem::zeroed();
                libc::waitid(libc::P_PID, self.child.id(), &mut state, states)
            };
            let error = std::io::Error::last_os_error();
            match waited {
                0 => return,
                _ => {
                    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "waitid {}: {error}", self.name)
                }
            }
        }
    }

    /// Waits for its end. If it has not ended by the deadline it is killed, and the test fails with what it said.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        if !self.ends(within) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.fail(&format!("still running after {within:?}, killed"));
        }
        let status = self.child.wait().expect("wait for a child");
        self.status = Some(status);
        status
    }

    /// Waits for its end, and fails the test unless it was exit code 0.
    pub(crate) fn succeed(&mut self, within: Duration) {
        let status = self.wait(within);
        if !status.success() {
            self.fail(&format!("{status}"));
        }
    }

    /// All of standard error so far; once it has ended, all there is.
    pub(crate) fn stderr(&mut self) -> String {
        self.stderr.all(self.status.is_some())
    }

    /// All of standard output so far, which must be `Stdio::piped()`.
    pub(crate) fn stdout(&mut self) -> String {
        self.stdout.as_mut().expect("stdout is piped").all(self.status.is_some())
    }

    fn ends(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: `poll` is one valid pollfd for the time of the call, and its descriptor is open.
            match unsafe { libc::poll(&mut poll, 1, left.try_into().unwrap_or(i32::MAX)) } {
                1 => return true,
                0 if Instant::now() >= deadline => return false,
                _ => {} // interrupted, or a deadline longer than poll counts
            }
        }
    }

    fn fail(&mut self, why: &str) -> ! {
        let said = self.stderr.all(false);
        let printed = self.stdout.as_mut().map(|lines| lines.all(false));
        let printed = printed.map(|text| format!("\n--- its stdout:\n{text}")).unwrap_or_default();
        panic!("{}: {why}{printed}\n--- its stderr:\n{said}---", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a stream of a process has said, line by line, read by a thread so that the process never waits for the test.
struct Lines {
    incoming: Receiver<String>,
    seen: Vec<String>,
    /// Where the next search begins.
    next: usize,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let (sender, incoming) = channel();
        let mut stream = BufReader::new(stream);
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                // Read on when nobody listens any more: a process must not die of a broken pipe before its test does.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        });
        Lines { incoming, seen: Vec::new(), next: 0 }
    }

    fn find(&mut self, text: &str, within: Duration) -> Result<String, String> {
        let deadline = Instant::now() + within;
        loop {
            while let Some(line) = self.seen.get(self.next) {
                self.next += 1;
                if line.contains(text) {
                    return Ok(line.trim_end().to_owned());
                }
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => return Err(format!("waited {within:?}")),
                Err(RecvTimeoutError::Disconnected) => return Err("the stream has ended".to_owned()),
            }
        }
    }

    /// All lines; with `ended` those too that the reader has still to take from the pipe.
    fn all(&mut self, ended: bool) -> String {
        // A grandchild may hold the pipe open after the process's end: then what has come by now must do. Seldom, so that the
        // reader has time to come to the end.
        let patience = if ended { Duration::from_secs(10) } else { Duration::from_millis(20) };
        while let Ok(line) = self.incoming.recv_timeout(patience) {
            self.seen.push(line);
        }
        self.seen.concat()
    }
}
