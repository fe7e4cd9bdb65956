//! How the command ends: an exit code, and one line that says why when it was not as wished.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Exit codes. They are documented in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or told to end.
    Done = 0,
    /// Something failed while it ran.
    Failed = 1,
    /// What was typed cannot be meant, or cannot be had.
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why the command did not do what it was to do: one line.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    line: String,
}

impl Failure {
    pub(crate) fn at_run_time(line: impl Display) -> Failure {
        Failure { exit: Exit::Failed, line: line.to_string() }
    }

    pub(crate) fn usage(line: impl Display) -> Failure {
        Failure { exit: Exit::Usage, line: line.to_string() }
    }

    /// Says it on stderr where it is no reason to end, and what is done instead.
    pub(crate) fn warn(self, instead: &str) {
        say(format_args!("warning: {}; {instead}", self.line));
    }

    /// Says it on stderr.
    pub(crate) fn told(self) -> Exit {
        say(format_args!("error: {}", self.line));
        self.exit
    }
}

/// Says a line on stderr, in one write: a name in it, such as a file's, may hold what would make two of it, or colour it. A
/// standard error that nobody reads is no reason to fail.
pub(crate) fn say(text: impl Display) {
    let mut line = String::new();
    for letter in text.to_string().chars() {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
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
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let printed = printed(error.print().and_then(|()| io::stdout().flush()));
        return printed.map_or_else(Failure::told, |()| Exit::Done);
    }
    say(one_line(&error.to_string()));
    Exit::Usage
}

/// What stands before the usage, of one line or several, and the advice; a tip is kept.
fn one_line(text: &str) -> String {
    let parts = text.lines().map(str::trim).take_while(|part| !part.starts_with("Usage:"));
    let kept = parts.filter(|part| !part.is_empty() && !part.starts_with("For more "));
    kept.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_usage_error_is_one_line() {
        let text = "error: unexpected argument '--nope' found\n\n  tip: to pass it, use '-- --nope'\n\n\
                    Usage: nakcast-statsd [OPTIONS]\n       nakcast-statsd <COMMAND>\n\nFor more information, try '--help'.\n";
        let line = "error: unexpected argument '--nope' found; tip: to pass it, use '-- --nope'";
        assert_eq!(one_line(text), line);
    }
}
