//! Servers of streams: any number of connections on one thread, each with a conversation of its own, and bounds on all of it.

use crate::clock;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker, event::Source};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// One connection's side of the conversation.
pub trait Conversation: Send {
    /// Takes what came, and appends what is to be answered; false when the connection is to be closed behind the answer. What
    /// would make a long answer may be left for later: it is called again, with nothing more, when the answer is written.
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> bool;

    /// Takes the other side's end: what came without an end of its own is all there is.
    fn end(&mut self, answer: &mut Vec<u8>);
}

/// A socket that takes connections.
pub trait Accepts: Send {
    /// A connection.
    type Stream: Source + Read + Write + Send;

    /// What tells that there is one.
    fn source(&mut self) -> &mut (impl Source + ?Sized);

    /// Takes one, without waiting.
    ///
    /// # Errors
    ///
    /// The operating system's; `WouldBlock` when there is none.
    fn accept(&self) -> io::Result<Self::Stream>;
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    fn source(&mut self) -> &mut (impl Source + ?Sized) {
        self
    }

    fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).map(|(stream, _)| stream)
    }
}

/// What bounds a server of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at one time; more are closed at once, and counted.
    pub connections: usize,
    /// How long a connection may say nothing before it is closed.
    pub idle: Duration,
    /// How long it may not read what it is answered, which takes memory, before it is closed.
    pub stall: Duration,
}

impl Default for Bounds {
    /// 1,024 connections, an hour, a minute.
    fn default() -> Bounds {
        Bounds { connections: 1024, idle: Duration::from_secs(3600), stall: Duration::from_secs(60) }
    }
}

/// What happened to a server's connections until now.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were taken.
    pub taken: AtomicU64,
    /// Connections for which there was no room.
    pub refused: AtomicU64,
    /// Connections that were closed because nothing came, or went.
    pub idle: AtomicU64,
}

/// A server on a thread of its own, from [`Streams::begin`] until it is dropped. Who connects before waits in the kernel; one that
/// is dropped without a beginning has taken nobody.
#[derive(Debug)]
pub struct Streams {
    begin: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

const LISTENER: Token = Token(0);
const TOLD: Token = Token(1);
/// The first of the connections'.
const FIRST: usize = 2;

/// Bytes read at once.
const READ: usize = 64 << 10;

/// How long it waits before it tries again to take connections.
const SHORT: Duration = Duration::from_millis(100);

/// Read from one connection before the others have their turn.
const TURN: usize = 16;

/// A connection's turns at the end: 8 MiB, which is more than the kernel holds for one.
const LAST: usize = 8;

impl Streams {
    /// Is to have `converse` begin a conversation for each connection that `listener` takes.
    ///
    /// # Errors
    ///
    /// The operating system's: there is no thread to be had, or nothing to wait with.
    pub fn start<C: Conversation + 'static>(
        mut listener: impl Accepts + 'static,
        bounds: Bounds,
        counts: Arc<Counts>,
        converse: impl FnMut() -> C + Send + 'static,
    ) -> io::Result<Streams> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), TOLD)?;
        poll.registry().register(listener.source(), LISTENER, Interest::READABLE)?;
        let (begin, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let server = Server {
            poll,
            listener,
            bounds,
            converse,
            connections: HashMap::new(),
            next: FIRST,
            buffer: vec![0; READ],
            begin: Arc::clone(&begin),
            end: Arc::clone(&end),
            counts,
            begun: false,
            is_short: false,
        };
        let thread = thread::Builder::new().name("streams".into()).spawn(move || server.serve())?;
        Ok(Streams { begin, end, waker, thread: Some(thread) })
    }

    /// Takes who has connected and connects from now on.
    pub fn begin(&self) {
        if !self.begin.swap(true, Ordering::Release) {
            // A thread that is not woken has ended.
            let _ = self.waker.wake();
        }
    }
}

impl Drop for Streams {
    /// Takes what has come by now, and ends.
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        // A thread that is not woken has ended.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told already.
            let _ = thread.join();
        }
    }
}

struct Connection<S, C> {
    stream: S,
    conversation: C,
    /// What is answered. Until it is written, nothing more is heard.
    answer: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// To be closed once the answer is written.
    closing: bool,
    /// When something last came or went.
    last: Instant,
}

struct Server<L: Accepts, F, C> {
    poll: Poll,
    listener: L,
    bounds: Bounds,
    converse: F,
    connections: HashMap<Token, Connection<L::Stream, C>>,
    next: usize,
    buffer: Vec<u8>,
    begin: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    counts: Arc<Counts>,
    /// Whether connections are taken yet.
    begun: bool,
    /// A connection could not be taken, as when the process has no more descriptors.
    is_short: bool,
}

/// What a turn left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing until the next event.
    Waiting,
    /// Perhaps more to read.
    More,
    Closed,
}

impl<L: Accepts, F: FnMut() -> C, C: Conversation> Server<L, F, C> {
    fn serve(mut self) {
        let mut events = Events::with_capacity(256);
        // Connections that had their turn, and may have more to say.
        let mut more = Vec::new();
        loop {
            let patience = if more.is_empty() { self.patience() } else { Some(Duration::ZERO) };
            if let Err(error) = self.poll.poll(&mut events, patience)
                && error.kind() != ErrorKind::Interrupted
            {
                return;
            }
            // In this order: what was begun is seen by who sees the end.
            let ending = self.end.load(Ordering::Acquire);
            let mut turns = std::mem::take(&mut more);
            let is_first = !self.begun && self.begin.load(Ordering::Acquire);
            self.begun |= is_first;
            if is_first || std::mem::take(&mut self.is_short) {
                // Nothing tells of those that wait already.
                self.accept(&mut turns);
            }
            for event in &events {
                match event.token() {
                    LISTENER if self.begun => self.accept(&mut turns),
                    LISTENER | TOLD => {}
                    token => turns.push(token),
                }
            }
            if ending && self.begun {
                self.accept(&mut turns);
                turns = self.connections.keys().copied().collect();
            }
            turns.sort_unstable();
            turns.dedup();
            for token in turns {
                let mut left = self.turn(token);
                // What lies there at the end is taken, but not what comes for ever.
                let mut turns = 1;
                while ending && left == Left::More && turns < LAST {
                    left = self.turn(token);
                    turns += 1;
                }
                match left {
                    Left::Waiting => {}
                    Left::More => more.push(token),
                    Left::Closed => self.close(token),
                }
            }
            if ending {
                for (_, mut connection) in self.connections.drain() {
                    connection.conversation.end(&mut connection.answer);
                }
                return;
            }
            self.close_idle();
        }
    }

    /// Until somebody may have been idle for too long, or there may be room for who waits.
    fn patience(&self) -> Option<Duration> {
        if self.is_short {
            return Some(SHORT);
        }
        let first = self.connections.values().map(|connection| connection.until(&self.bounds)).min()?;
        Some(first.saturating_duration_since(clock::now()) + Duration::from_millis(1))
    }

    fn close_idle(&mut self) {
        let now = clock::now();
        let idle = self.connections.iter().filter(|(_, connection)| connection.until(&self.bounds) < now);
        for token in idle.map(|(&token, _)| token).collect::<Vec<_>>() {
            self.counts.idle.fetch_add(1, Ordering::Relaxed);
            self.close(token);
        }
    }

    fn accept(&mut self, turns: &mut Vec<Token>) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // One that is gone already, or no descriptor to be had: the next may be.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    self.is_short = true;
                    return;
                }
            };
            let token = Token(self.next);
            if self.connections.len() >= self.bounds.connections
                || self
                    .poll
                    .registry()
                    .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
                    .is_err()
            {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.counts.taken.fetch_add(1, Ordering::Relaxed);
            self.next = self.next.checked_add(1).unwrap_or(FIRST);
            let conversation = (self.converse)();
            let last = clock::now();
            let connection =
                Connection { stream, conversation, answer: Vec::new(), written: 0, closing: false, last };
            self.connections.insert(token, connection);
            turns.push(token);
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(mut connection) = self.connections.remove(&token) {
            connection.conversation.end(&mut Vec::new());
            let _ = connection.stream.deregister(self.poll.registry());
        }
    }

    fn turn(&mut self, token: Token) -> Left {
        let Some(connection) = self.connections.get_mut(&token) else { return Left::Waiting };
        connection.turn(&mut self.buffer).unwrap_or(Left::Closed)
    }
}

impl<S, C> Connection<S, C> {
    /// When it is closed, if nothing comes or goes until then.
    fn until(&self, bounds: &Bounds) -> Instant {
        self.last + if self.answer.is_empty() { bounds.idle } else { bounds.stall }
    }
}

impl<S: Read + Write, C: Conversation> Connection<S, C> {
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<Left> {
        for _ in 0..TURN {
            match self.write() {
                Ok(()) if self.closing => return Ok(Left::Closed),
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Left::Waiting),
                Err(error) => return Err(error),
            }
            if !self.conversation.hear(&[], &mut self.answer) {
                self.closing = true;
            }
            if self.closing || !self.answer.is_empty() {
                continue;
            }
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.conversation.end(&mut self.answer);
                    self.closing = true;
                }
                Ok(length) => {
                    self.last = clock::now();
                    self.closing = !self.conversation.hear(&buffer[..length], &mut self.answer);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Left::Waiting),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Left::More)
    }

    /// Writes all of the answer.
    fn write(&mut self) -> io::Result<()> {
        while self.written < self.answer.len() {
            match self.stream.write(&self.answer[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.last = clock::now();
                    self.written += written;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // With its memory: an answer may be very long.
        (self.answer, self.written) = (Vec::new(), 0);
        Ok(())
    }
}
