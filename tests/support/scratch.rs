//! A directory for a test's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of the test's own, removed with all it holds when dropped.
pub(crate) struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    /// Makes it below the target directory: big files then stay off a `/tmp` that may be memory.
    pub(crate) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("scratch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        Scratch { directory }
    }

    /// Where the file `name` is or will be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// An empty file, to be given to a process as its standard output.
    pub(crate) fn create(&self, name: &str) -> fs::File {
        fs::File::create(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// An existing file, to be given to a process as its standard input.
    pub(crate) fn open(&self, name: &str) -> fs::File {
        fs::File::open(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
