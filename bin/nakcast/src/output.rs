//! Standard output: gathered, and written whenever nothing more is there to gather.
//!
//! A subscriber must be called again within milliseconds, and whoever reads its output may take minutes. So what goes to a pipe
//! or a terminal is written by a thread of its own, from a store of [`STORE`] bytes; the thread that receives goes on meanwhile, and
//! waits only when the store is full, for as long as it takes the reader to take [`LITTLE`]. A regular file, or `/dev/null`,
//! keeps nobody waiting, and is written to directly: that spares a copy, and on a small machine a processor.
//!
//! The library's detached subscriber would do as well, and goes on repairing while nothing is taken; but it hands over each
//! message by itself, under a lock, where here a whole batch is. At millions of messages a second that is what counts.

use crate::clock;
use crate::file;
use crate::stop::{SLICE, Stop};
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes gathered before they are passed on, though more may be there.
const BATCH: usize = 128 << 10;
/// Bytes that may wait for the reader, those being written included.
const STORE: usize = 32 << 20;
/// Bytes of one write; and when the store is half full, so that there is room again soon.
const MUCH: usize = 64 << 10;
const LITTLE: usize = 4 << 10;
/// How long a command that was told to end waits for the reader.
const STOPPED_WAIT: Duration = Duration::from_secs(1);

/// Why nothing more can be written.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nobody reads any more, or the command was told to end.
    Quietly,
    /// Something is wrong with what is written to.
    Failed(io::Error),
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Output {
    /// What was gathered.
    batch: Vec<u8>,
    way: Way,
    stop: Stop,
}

#[derive(Debug)]
enum Way {
    Direct(File),
    Through(Arc<Store>),
}

/// What waits for the writing thread.
#[derive(Debug)]
struct Store {
    file: File,
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// Something was written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Bytes the thread has taken and not written yet.
    writing: usize,
    /// The thread has ended.
    over: bool,
    /// Why, until it was told.
    error: Option<io::Error>,
}

impl Output {
    pub(crate) fn open(stop: &Stop) -> io::Result<Output> {
        let file = file::stream(io::stdout())?;
        let way =
            if keeps_nobody_waiting(&file) { Way::Direct(file) } else { Way::Through(Store::start(file)?) };
        Ok(Output { batch: Vec::with_capacity(BATCH), way, stop: stop.clone() })
    }

    /// Where to add what is to be written.
    pub(crate) fn batch(&mut self) -> &mut Vec<u8> {
        &mut self.batch
    }

    /// Passes on what was gathered if that is enough.
    pub(crate) fn spill(&mut self) -> Result<(), Ended> {
        if self.batch.len() >= BATCH { self.pass_on() } else { Ok(()) }
    }

    /// Passes on what was gathered, and tells if that has become pointless.
    pub(crate) fn pass_on(&mut self) -> Result<(), Ended> {
        if self.batch.is_empty() {
            return match &self.way {
                Way::Direct(_) => Ok(()),
                Way::Through(store) if has_no_reader(&store.file) => Err(Ended::Quietly),
                Way::Through(store) => store.state.lock().check(),
            };
        }
        match &mut self.way {
            Way::Direct(file) => file.write_all(&self.batch).map_err(Ended::from)?,
            Way::Through(store) => store.put(&mut self.batch, &self.stop)?,
        }
        self.batch.clear();
        // What a large message took is given back.
        self.batch.shrink_to(STORE);
        Ok(())
    }

    /// Waits until everything is written. When told to end it waits for a second more at most, and not at all when told twice.
    pub(crate) fn finish(mut self) -> Result<(), Ended> {
        self.pass_on()?;
        match self.way {
            Way::Direct(_) => Ok(()),
            Way::Through(store) => store.drain(&self.stop),
        }
    }
}

impl State {
    fn check(&mut self) -> Result<(), Ended> {
        if self.over { Err(self.error.take().map_or(Ended::Quietly, Ended::from)) } else { Ok(()) }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        match error.kind() {
            ErrorKind::BrokenPipe => Ended::Quietly,
            _ => Ended::Failed(error),
        }
    }
}

impl Store {
    fn start(file: File) -> io::Result<Arc<Store>> {
        let (state, filled, emptied) = Default::default();
        let store = Arc::new(Store { file, state, filled, emptied });
        let theirs = Arc::clone(&store);
        thread::Builder::new().name("output".into()).spawn(move || theirs.write())?;
        Ok(store)
    }

    /// The thread: takes all there is, and writes it.
    fn write(&self) {
        let mut taken = Vec::new();
        let mut state = self.state.lock();
        loop {
            while state.bytes.is_empty() {
                self.filled.wait(&mut state);
            }
            std::mem::swap(&mut state.bytes, &mut taken);
            state.writing = taken.len();
            let mut left = &taken[..];
            while !left.is_empty() {
                let waiting = state.writing + state.bytes.len();
                let some = left.len().min(if waiting < STORE / 2 { MUCH } else { LITTLE });
                drop(state);
                let outcome = (&self.file).write_all(&left[..some]);
                state = self.state.lock();
                if let Err(error) = outcome {
                    (state.over, state.error) = (true, Some(error));
                    self.emptied.notify_all();
                    return;
                }
                left = &left[some..];
                state.writing = left.len();
                self.emptied.notify_all();
            }
            taken.clear();
            taken.shrink_to(4 * BATCH);
        }
    }

    /// Adds a batch, once there is room: a full store takes it whole when there is nothing else in it.
    fn put(&self, batch: &mut Vec<u8>, stop: &Stop) -> Result<(), Ended> {
        let mut state = self.state.lock();
        loop {
            state.check()?;
            let waiting = state.writing + state.bytes.len();
            if waiting == 0 || waiting + batch.len() <= STORE {
                break;
            }
            if stop.is_asked() {
                return Err(Ended::Quietly);
            }
            self.emptied.wait_for(&mut state, SLICE);
        }
        if state.bytes.is_empty() {
            std::mem::swap(&mut state.bytes, batch);
        } else {
            state.bytes.extend_from_slice(batch);
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    fn drain(&self, stop: &Stop) -> Result<(), Ended> {
        let mut state = self.state.lock();
        let mut until: Option<Instant> = None;
        loop {
            state.check()?;
            if state.writing + state.bytes.len() == 0 {
                return Ok(());
            }
            if stop.is_asked() {
                let until = *until.get_or_insert_with(|| clock::now() + STOPPED_WAIT);
                if stop.is_urged() || clock::now() >= until {
                    return Err(Ended::Quietly);
                }
            }
            self.emptied.wait_for(&mut state, SLICE);
        }
    }
}

/// Whether whoever read it has closed it: a write would tell, but there may be nothing to write for long.
#[cfg(unix)]
fn has_no_reader(file: &File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(file, PollFlags::empty())];
    let gone = PollFlags::ERR | PollFlags::HUP;
    poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().intersects(gone)
}

/// Whether whoever read it has closed it.
#[cfg(not(unix))]
fn has_no_reader(_: &File) -> bool {
    false
}

/// Whether a write to it ends by itself.
fn keeps_nobody_waiting(file: &File) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let null = std::fs::metadata("/dev/null").map(|null| null.rdev());
        if metadata.file_type().is_char_device() && null.is_ok_and(|null| null == metadata.rdev()) {
            return true;
        }
    }
    metadata.is_file()
}
