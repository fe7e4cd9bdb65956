//! What a command writes at its end: a file (a summary, a histogram, a plot), or standard output.

use crate::exit::{Failure, printed};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

/// A file that is opened at the start, so that one that cannot be written is known before anything is sent. What it held
/// is kept until it is known that the command can be meant; if that is never known, one that was not there before is
/// removed again.
#[derive(Debug)]
pub(crate) struct ResultFile {
    /// What it was asked for by.
    option: &'static str,
    path: PathBuf,
    file: File,
    /// It was not there before.
    made: bool,
    /// It was emptied.
    begun: bool,
}

impl ResultFile {
    pub(crate) fn open(option: &'static str, path: PathBuf) -> Result<ResultFile, Failure> {
        if path.as_os_str() == "-" {
            return Err(Failure::usage(format_args!("{option} -: it takes a file; one of that name is ./-")));
        }
        let mut made = true;
        let mut outcome = File::options().write(true).create_new(true).open(&path);
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
            made = false;
            outcome = File::options().write(true).create(true).truncate(false).open(&path);
        }
        let file = outcome
            .map_err(|error| Failure::at_run_time(format_args!("{option} {}: {error}", path.display())))?;
        let file = ResultFile { option, path, file, made, begun: false };
        // What is written there would be gone, and what was there before.
        for (stream, name) in
            [(stream(io::stdout()), "standard output"), (stream(io::stderr()), "standard error")]
        {
            file.is_not(stream.and_then(|stream| stream.metadata()).ok(), name)?;
        }
        Ok(file)
    }

    /// What kind of file it is, and where.
    pub(crate) fn metadata(&self) -> Option<Metadata> {
        self.file.metadata().ok()
    }

    /// Refuses a file that is something else of the command's: one would take the other's place.
    #[cfg(unix)]
    pub(crate) fn is_not(&self, other: Option<Metadata>, what: &str) -> Result<(), Failure> {
        use std::os::unix::fs::MetadataExt;
        let own = self.file.metadata().map_err(|error| self.failed(&error))?;
        match other {
            Some(other) if own.is_file() && (own.dev(), own.ino()) == (other.dev(), other.ino()) => {
                Err(Failure::usage(format_args!(
                    "{} {}: that is the same file as {what}",
                    self.option,
                    self.path.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a file that is something else of the command's: this platform has no simple way to tell.
    #[cfg(not(unix))]
    pub(crate) fn is_not(&self, _: Option<Metadata>, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// The command can be meant, and begins: the file is emptied.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        // Of a pipe or a device nothing can be emptied.
        if !std::mem::replace(&mut self.begun, true)
            && self.file.metadata().map_err(|error| self.failed(&error))?.is_file()
        {
            self.file.set_len(0).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// Writes what it is for.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.begin()?;
        self.file.write_all(content).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::at_run_time(format_args!("{} {}: {error}", self.option, self.path.display()))
    }
}

/// One of the process's own streams, without the standard library's buffer.
#[cfg(unix)]
pub(crate) fn stream(stream: impl std::os::fd::AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// One of the process's own streams, without the standard library's buffer.
#[cfg(windows)]
pub(crate) fn stream(stream: impl std::os::windows::io::AsHandle) -> io::Result<File> {
    stream.as_handle().try_clone_to_owned().map(File::from)
}

/// Writes to standard output; that nobody reads it is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    printed(output.write_all(text.as_bytes()).and_then(|()| output.flush()))
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        if self.made && !self.begun {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
