//! Where a publisher's messages come from: lines, frames, or made up.
//!
//! A regular file is read by the thread that publishes. Anything else may make a reader wait for as long as it likes, and so
//! is read by a thread of its own: the publishing one can then be told to end meanwhile.

use crate::exit::Failure;
use crate::plan::Input;
use crate::stop::Stop;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;

/// Bytes read at a time.
const BLOCK: usize = 64 << 10;
/// Blocks that a reading thread may be ahead.
const AHEAD: usize = 4;

/// Messages, one after the other.
#[derive(Debug)]
pub(crate) enum Messages {
    Lines(Text),
    Frames(Text),
    Synthetic { next: u64, count: u64, size: usize },
}

/// What is read from, and how far.
#[derive(Debug)]
pub(crate) struct Text {
    source: Source,
    stop: Stop,
    /// What it is called.
    name: String,
    max_message: usize,
    /// Messages read.
    read: u64,
}

impl Messages {
    /// Opens what messages are read from.
    pub(crate) fn open(input: Input, max_message: usize, stop: &Stop) -> Result<Messages, Failure> {
        let text = |path: Option<PathBuf>| -> Result<Text, Failure> {
            let name = path.as_deref().map_or("standard input".into(), |path| path.display().to_string());
            let source = Source::open(path.as_deref(), stop)
                .map_err(|error| Failure::at_run_time(format_args!("{name}: {error}")))?;
            Ok(Text { source, stop: stop.clone(), name, max_message, read: 0 })
        };
        Ok(match input {
            Input::Lines(path) => Messages::Lines(text(path)?),
            Input::Frames(path) => Messages::Frames(text(path)?),
            Input::Synthetic { count, size } => Messages::Synthetic { next: 1, count, size },
        })
    }

    /// Puts the next message in `message`; false when there is none, or the command was told to end.
    pub(crate) fn next(&mut self, message: &mut Vec<u8>) -> Result<bool, Failure> {
        match self {
            Messages::Lines(text) => text.next_line(message),
            Messages::Frames(text) => text.next_frame(message),
            Messages::Synthetic { next, count, size } => {
                if *next > *count {
                    return Ok(false);
                }
                synthetic(*next, *size, message);
                *next += 1;
                Ok(true)
            }
        }
    }

    /// Whether the last message was waited for: it could not have been sent before.
    pub(crate) fn was_waited_for(&mut self) -> bool {
        match self {
            Messages::Lines(text) | Messages::Frames(text) => text.source.was_waited_for(),
            Messages::Synthetic { .. } => false,
        }
    }
}

/// Message `number` of `size` bytes: its number, as far as there is room, then the alphabet.
fn synthetic(number: u64, size: usize, message: &mut Vec<u8>) {
    const DIGITS: usize = 20;
    if message.len() != size {
        message.clear();
        message.extend((0..size).map(|place| b'a' + (place % 26) as u8));
    }
    let mut digits = [0; DIGITS];
    // An array of 20 bytes holds 20 digits.
    let _ = write!(&mut digits[..], "{number:020}");
    let shown = size.min(DIGITS);
    message[..shown].copy_from_slice(&digits[DIGITS - shown..]);
    if size > DIGITS {
        message[DIGITS] = b' ';
    }
}

impl Text {
    fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Failure> {
        line.clear();
        let most = self.max_message as u64 + 1;
        let outcome = (&mut self.source).take(most).read_until(b'\n', line);
        if self.stop.is_asked() {
            // It may be half a line.
            return Ok(false);
        }
        match outcome {
            Err(error) => Err(self.failed(&error)),
            Ok(0) => Ok(false),
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                } else if line.len() > self.max_message {
                    return Err(self.too_long("line", None));
                }
                self.read += 1;
                Ok(true)
            }
        }
    }

    fn next_frame(&mut self, frame: &mut Vec<u8>) -> Result<bool, Failure> {
        let outcome = self.read_frame(frame);
        if self.stop.is_asked() {
            return Ok(false);
        }
        match outcome? {
            true => {
                self.read += 1;
                Ok(true)
            }
            false => Ok(false),
        }
    }

    fn read_frame(&mut self, frame: &mut Vec<u8>) -> Result<bool, Failure> {
        match self.source.fill_buf() {
            Ok([]) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(self.failed(&error)),
        }
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > self.max_message {
            return Err(self.too_long("frame", Some(length)));
        }
        frame.resize(length, 0);
        self.read_exact(frame)?;
        Ok(true)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Failure::at_run_time(format_args!(
                "{}: frame {} is cut short; {}",
                self.name,
                self.read + 1,
                self.published()
            )),
            _ => self.failed(&error),
        })
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::at_run_time(format_args!("{}: {error}", self.name))
    }

    fn too_long(&self, what: &str, length: Option<usize>) -> Failure {
        let Text { name, max_message, read, .. } = self;
        let length = length.map(|length| format!(" of {length} bytes")).unwrap_or_default();
        Failure::at_run_time(format_args!(
            "{name}: {what} {}{length} is above the limit of {max_message} bytes for a message (half the --window, \
             16 MiB at most); {}",
            read + 1,
            self.published(),
        ))
    }

    /// What became of those before the one that is wrong.
    fn published(&self) -> String {
        match self.read {
            0 => "nothing was published".into(),
            1 => "the one before it was published".into(),
            read => format!("the {read} before it were published"),
        }
    }
}

/// What would be read from, if it can be looked at.
pub(crate) fn metadata(input: &Input) -> Option<Metadata> {
    match input {
        Input::Lines(Some(path)) | Input::Frames(Some(path)) => std::fs::metadata(path).ok(),
        Input::Lines(None) | Input::Frames(None) => standard_input().and_then(|file| file.metadata()).ok(),
        Input::Synthetic { .. } => None,
    }
}

/// What bytes are read from.
#[derive(Debug)]
enum Source {
    File(BufReader<File>),
    Elsewhere(Blocks),
}

impl Source {
    fn open(path: Option<&Path>, stop: &Stop) -> io::Result<Source> {
        let regular = |file: File| Source::File(BufReader::with_capacity(BLOCK, file));
        match path {
            // Looked at before it is opened: opening a FIFO waits for who writes to it.
            Some(path) if std::fs::metadata(path)?.is_file() => Ok(regular(File::open(path)?)),
            Some(path) => {
                let path = path.to_owned();
                Blocks::start(stop, move || File::open(path)).map(Source::Elsewhere)
            }
            None => {
                let file = standard_input()?;
                match file.metadata() {
                    Ok(metadata) if metadata.is_file() => Ok(regular(file)),
                    _ => Blocks::start(stop, move || Ok(file)).map(Source::Elsewhere),
                }
            }
        }
    }

    fn was_waited_for(&mut self) -> bool {
        match self {
            Source::File(_) => false,
            Source::Elsewhere(blocks) => std::mem::take(&mut blocks.waited),
        }
    }
}

/// Standard input without the standard library's buffer.
fn standard_input() -> io::Result<File> {
    #[cfg(unix)]
    let owned = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned();
    #[cfg(windows)]
    let owned = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned();
    owned.map(File::from)
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut from = self.fill_buf()?;
        let count = from.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Source::File(file) => file.fill_buf(),
            Source::Elsewhere(blocks) => blocks.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Source::File(file) => file.consume(count),
            Source::Elsewhere(blocks) => blocks.taken += count,
        }
    }
}

/// Blocks that a thread reads. It ends with the input, or with the process.
#[derive(Debug)]
struct Blocks {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    /// The block at hand, and how much of it was taken.
    block: Vec<u8>,
    taken: usize,
    /// A block had to be waited for.
    waited: bool,
    stop: Stop,
}

impl Blocks {
    fn start(stop: &Stop, open: impl FnOnce() -> io::Result<File> + Send + 'static) -> io::Result<Blocks> {
        let (full, taken) = sync_channel(AHEAD);
        let (empty, spare) = channel();
        for _ in 0..AHEAD + 2 {
            // The receiver is right here.
            let _ = empty.send(vec![0; BLOCK]);
        }
        let reader = stop.thread();
        thread::Builder::new().name("input".into()).spawn(move || {
            let outcome = open().and_then(|file| read_blocks(file, &full, &spare, || reader.unpark()));
            if let Err(error) = outcome {
                let _ = full.send(Err(error));
            }
            // The end is told by the channel's, and that must be before the reader is woken.
            drop(full);
            reader.unpark();
        })?;
        Ok(Blocks { full: taken, empty, block: Vec::new(), taken: 0, waited: false, stop: stop.clone() })
    }

    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken == self.block.len() {
            self.taken = 0;
            let mut spent = std::mem::take(&mut self.block);
            if spent.capacity() > 0 {
                spent.resize(BLOCK, 0);
                let _ = self.empty.send(spent);
            }
            self.block = loop {
                match self.full.try_recv() {
                    Ok(block) => break block?,
                    Err(TryRecvError::Disconnected) => break Vec::new(),
                    // Whoever reads looks whether that is why nothing comes.
                    Err(TryRecvError::Empty) if self.stop.is_asked() => break Vec::new(),
                    Err(TryRecvError::Empty) => {
                        self.waited = true;
                        thread::park();
                    }
                }
            };
        }
        Ok(&self.block[self.taken..])
    }
}

fn read_blocks(
    mut file: File,
    full: &SyncSender<io::Result<Vec<u8>>>,
    spare: &Receiver<Vec<u8>>,
    wake: impl Fn(),
) -> io::Result<()> {
    // Nobody is left to read for when a channel has ended.
    while let Ok(mut block) = spare.recv() {
        let count = loop {
            match file.read(&mut block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        if count == 0 {
            return Ok(());
        }
        block.truncate(count);
        if full.send(Ok(block)).is_err() {
            return Ok(());
        }
        wake();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_up_begins_with_its_number() {
        let mut message = Vec::new();
        synthetic(7, 0, &mut message);
        assert_eq!(message, b"");
        synthetic(1_234, 3, &mut message);
        assert_eq!(message, b"234");
        synthetic(7, 24, &mut message);
        assert_eq!(message, b"00000000000000000007 vwx");
        synthetic(8, 24, &mut message);
        assert_eq!(message, b"00000000000000000008 vwx");
    }
}
