//! How the command ends: an exit code, and one line that says why when it was not as wished.

use crate::say;
use nakcast::net::{InterfaceError, SocketError};
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Exit codes. They are documented in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or told to end.
    Done = 0,
    /// Something failed while it ran.
    Failed = 1,
    /// What was typed cannot be meant.
    Usage = 2,
    /// A gap, where that was to be a failure.
    Gap = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was to do: one line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) line: String,
}

impl Failure {
    pub(crate) fn at_run_time(line: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Failed, line: line.to_string() }
    }

    pub(crate) fn usage(line: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Usage, line: line.to_string() }
    }

    /// Says it on stderr.
    pub(crate) fn told(self) -> Exit {
        say::line(format_args!("error: {}", self.line));
        self.exit
    }
}

impl From<nakcast::Error> for Failure {
    fn from(error: nakcast::Error) -> Failure {
        use nakcast::Error;
        let exit = match &error {
            Error::Interface(InterfaceError::Os(..)) => Exit::Failed,
            Error::Interface(_)
            | Error::Topic { .. }
            | Error::Setting { .. }
            | Error::TooManyTopics { .. }
            | Error::Memory { .. } => Exit::Usage,
            Error::Socket(
                SocketError::NotMulticast { .. }
                | SocketError::PortZero { .. }
                | SocketError::LocalFamily { .. }
                | SocketError::SourceFamily { .. }
                | SocketError::SourceNotUnicast { .. }
                | SocketError::TimeToLive { .. }
                | SocketError::TooLong { .. },
            ) => Exit::Usage,
            _ => Exit::Failed,
        };
        let line = match &error {
            Error::Interface(_) => format!("--interface: {error}"),
            Error::Topic { .. } => format!("--{error}"),
            Error::TooManyTopics { .. } => format!("--topic: {error}"),
            Error::Setting { name, problem } => format!("{}: {problem}", option(name)),
            Error::Memory { name, .. } => {
                let text = error.to_string();
                format!("{}{}", option(name), text.strip_prefix(name).unwrap_or(&text))
            }
            Error::Socket(SocketError::SourceNotUnicast { .. } | SocketError::SourceFamily { .. }) => {
                format!("--source: {error}")
            }
            Error::Socket(SocketError::TooLong { .. }) => format!("--datagram: {error}"),
            _ => error.to_string(),
        };
        Failure { exit, line }
    }
}

impl From<nakcast::SendError> for Failure {
    fn from(error: nakcast::SendError) -> Failure {
        match error {
            nakcast::SendError::Datagram(_) => {
                Failure::at_run_time(format_args!("{error}; a smaller --datagram is needed"))
            }
            _ => Failure::at_run_time(error),
        }
    }
}

/// The option that a setting of the library is set by.
fn option(setting: &str) -> String {
    match setting {
        "receive_buffer" => "--rcvbuf".into(),
        "drop_datagrams" => "--drop".into(),
        "deadline" => "--contract deadline".into(),
        name => format!("--{}", name.replace('_', "-")),
    }
}

/// What became of writing to standard output; that nobody reads it is no failure.
pub(crate) fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::at_run_time(format_args!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says what the parser of the command line found: help and version whole, an error as one line.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let printed = printed(error.print().and_then(|()| io::stdout().flush()));
            printed.map_or_else(Failure::told, |()| Exit::Done)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            say::line(format_args!(
                "error: a command is needed: pub, sub, ping, pong, bench or demo; --help tells of each"
            ));
            Exit::Usage
        }
        _ => {
            say::line(one_line(&error.to_string()));
            Exit::Usage
        }
    }
}

/// What stands before the usage and the advice, as one line; a tip is kept.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let kept =
        |part: &&str| !part.is_empty() && !part.starts_with("Usage:") && !part.starts_with("For more ");
    for part in text.lines().map(str::trim).filter(kept) {
        let separator = match part {
            _ if line.is_empty() => "",
            _ if part.starts_with("tip:") || part.starts_with('[') => "; ",
            _ => " ",
        };
        line.push_str(separator);
        line.push_str(part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_one_line() {
        let text = "error: the following required arguments were not provided:\n  --count <N>\n\n\
                    Usage: nakcast pub --count <N>\n\nFor more information, try '--help'.\n";
        assert_eq!(one_line(text), "error: the following required arguments were not provided: --count <N>");
        let text = "error: unexpected argument '--cuont' found\n\n  tip: a similar argument exists: '--count'\n\n\
                    Usage: nakcast pub\n";
        assert_eq!(
            one_line(text),
            "error: unexpected argument '--cuont' found; tip: a similar argument exists: '--count'"
        );
    }
}
