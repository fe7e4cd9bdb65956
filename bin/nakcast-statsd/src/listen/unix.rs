//! Sockets of the file system.

use super::Ledger;
use crate::intake::{Feed, Intake};
use mio::net::{UnixDatagram, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

/// The longest datagram that is taken whole, in bytes: as of UDP.
const LONGEST: usize = 64 << 10;

/// Datagrams that are still taken once it is to end, so that a flood does not keep it for ever.
const LAST: usize = 100_000;

const SOCKET: Token = Token(0);
const TOLD: Token = Token(1);

/// A socket's file, which goes with it.
pub(super) struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds at a path. A socket there at which nobody answers was left behind, and is replaced.
fn bind<S>(
    path: &Path,
    mode: Option<u32>,
    bind: impl Fn(&Path) -> io::Result<S>,
    is_left: impl Fn(&Path) -> bool,
) -> io::Result<(S, Place)> {
    let bound = match bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left(path) => {
            fs::remove_file(path)?;
            bind(path)
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(in_the_way(path, &error)),
        bound => bound,
    }?;
    let place = Place(path.to_owned());
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok((bound, place))
}

/// Says what is at a path that cannot be bound, and what would be right.
fn in_the_way(path: &Path, error: &io::Error) -> io::Error {
    let there = match fs::symlink_metadata(path).map(|file| file.file_type()) {
        Ok(kind) if kind.is_socket() => "a socket that is in use",
        Ok(kind) if kind.is_dir() => "a folder",
        Ok(kind) if kind.is_symlink() => "a symbolic link",
        Ok(kind) if kind.is_file() => "a file that is no socket",
        _ => "something that is no socket",
    };
    let wanted = "it takes a path where nothing is, or a socket that nobody has open any more";
    io::Error::new(error.kind(), format!("{error}: there is {there}; {wanted}"))
}

/// Whether a socket is there that refuses: nobody has it open.
fn is_left<T>(path: &Path, connected: io::Result<T>) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// A listener for streams, and its file.
pub(super) fn stream(path: &Path, mode: Option<u32>) -> io::Result<Stream> {
    let is_left = |path: &Path| is_left(path, std::os::unix::net::UnixStream::connect(path));
    let (listener, place) = bind(path, mode, |path| UnixListener::bind(path), is_left)?;
    Ok(Stream { listener, _place: place })
}

/// See [`stream`].
pub(super) struct Stream {
    listener: UnixListener,
    _place: Place,
}

impl crate::stream::Accepts for Stream {
    type Stream = mio::net::UnixStream;

    fn source(&mut self) -> &mut (impl mio::event::Source + ?Sized) {
        &mut self.listener
    }

    fn accept(&self) -> io::Result<mio::net::UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }
}

/// Starts to take datagrams.
pub(super) fn start(
    path: &Path,
    mode: Option<u32>,
    ledger: Arc<Ledger>,
    intake: &Intake,
    ended: impl FnOnce() + Send + 'static,
) -> io::Result<(Waker, JoinHandle<io::Result<()>>)> {
    let connect = |path: &Path| std::os::unix::net::UnixDatagram::unbound()?.connect(path);
    let (mut socket, place) =
        bind(path, mode, |path| UnixDatagram::bind(path), |path| is_left(path, connect(path)))?;
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), TOLD)?;
    poll.registry().register(&mut socket, SOCKET, Interest::READABLE)?;
    let feed = intake.feed();
    let thread = thread::Builder::new().name("listener".into()).spawn(move || {
        let result = if ledger.begins() { listen(&ledger, &socket, poll, feed) } else { Ok(()) };
        drop((socket, place));
        ledger.ended.store(true, Ordering::Release);
        ended();
        result
    })?;
    Ok((waker, thread))
}

fn listen(ledger: &Ledger, socket: &UnixDatagram, mut poll: Poll, mut feed: Feed) -> io::Result<()> {
    let mut events = Events::with_capacity(4);
    // A byte more than is taken, which shows what is too long.
    let mut buffer = vec![0; LONGEST + 1];
    let mut left = LAST;
    loop {
        let ending = ledger.end.load(Ordering::Acquire);
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let truncated = length > LONGEST;
                let bytes = &buffer[..length.min(LONGEST)];
                feed.begin(ledger.dialect()).datagram(bytes, truncated);
                ledger.count(1, u64::from(truncated));
                left -= usize::from(ending);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && ending => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => match poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if left == 0 {
            return Ok(());
        }
    }
}
