//! Listeners: each takes datagrams from one socket, on a thread of its own.

use crate::flush::Heard;
use crate::line::Dialect;
use crate::shard::Shard;
use mio::{Events, Interest, Poll, Token, Waker};
use nakcast::net::{Receiver, Socket};
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Datagrams taken in one system call at most.
const MESSAGES: usize = 64;

/// The least that the kernel reckons for a datagram in the receive buffer, in bytes: what bounds how many can lie in it.
const LEAST: usize = 256;

const SOCKET: Token = Token(0);
const TOLD: Token = Token(1);

/// One socket that is listened at, until [`Listener::end`].
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    waker: Waker,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<io::Result<()>>>,
    /// What was told of it before.
    told: (u64, u64),
    drops: Option<u32>,
}

#[derive(Debug)]
struct Shared {
    socket: Socket,
    /// Whether the dialect is Datadog's.
    datadog: AtomicBool,
    received: AtomicU64,
    truncated: AtomicU64,
    end: AtomicBool,
    ended: AtomicBool,
}

impl Listener {
    /// Starts to take what comes at `socket`, and to add it up in `shard`. `ended` is called on the listener's thread when
    /// it ends, for whatever reason.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no thread or nothing to wait with.
    pub fn start(
        socket: Socket,
        dialect: Dialect,
        shard: Arc<Mutex<Shard>>,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Listener> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), TOLD)?;
        let mut source = mio::net::UdpSocket::from_std(socket.as_socket().try_clone()?);
        poll.registry().register(&mut source, SOCKET, Interest::READABLE)?;
        let shared = Arc::new(Shared {
            socket,
            datadog: AtomicBool::new(dialect == Dialect::Datadog),
            received: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            end: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let working = Arc::clone(&shared);
        let thread = thread::Builder::new().name("listener".into()).spawn(move || {
            let result = working.listen(poll, &shard);
            drop(source);
            working.ended.store(true, Ordering::Release);
            ended();
            result
        })?;
        Ok(Listener {
            drops: shared.socket.kernel_drops().map(|_| 0),
            shared,
            waker,
            thread: Some(thread),
            told: (0, 0),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.socket.group_addr().unwrap_or_else(|| self.shared.socket.local_addr())
    }

    /// Another dialect, from now on.
    pub fn speak(&self, dialect: Dialect) {
        self.shared.datadog.store(dialect == Dialect::Datadog, Ordering::Relaxed);
    }

    /// Whether its thread has ended: before [`Listener::end`], that is for an error.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// What came and was dropped since this was last asked.
    pub fn heard(&mut self) -> Heard {
        let told = &self.shared;
        let now = (told.received.load(Ordering::Acquire), told.truncated.load(Ordering::Acquire));
        let (received, truncated) = (now.0 - self.told.0, now.1 - self.told.1);
        self.told = now;
        let kernel_drops = self.drops.zip(told.socket.kernel_drops()).map(|(last, now)| {
            self.drops = Some(now);
            u64::from(now.wrapping_sub(last))
        });
        Heard { listener: self.address().to_string(), received, truncated, kernel_drops }
    }

    /// Asks it to take what the kernel has by now, and to end.
    pub fn end(&self) {
        self.shared.end.store(true, Ordering::Release);
        // A thread that is not woken has ended.
        let _ = self.waker.wake();
    }

    /// Waits until it has ended. What it heard at last is told by [`Listener::heard`] afterwards.
    ///
    /// # Errors
    ///
    /// Why it ended, if not because it was asked to.
    pub fn join(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the listener's thread panicked")))
    }
}

impl Shared {
    fn listen(&self, mut poll: Poll, shard: &Mutex<Shard>) -> io::Result<()> {
        let mut events = Events::with_capacity(4);
        let mut receiver = Receiver::new(MESSAGES);
        // Once told to end: what can lie in the buffer, so that a flood does not keep it for ever.
        let mut left = self.socket.receive_buffer() / LEAST;
        loop {
            let ending = self.end.load(Ordering::Acquire);
            match receiver.receive(&self.socket) {
                Ok(_) => {
                    let received = self.take(&mut receiver, &mut shard.lock());
                    left = if ending { left.saturating_sub(received.max(1)) } else { left };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && ending => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => match poll.poll(&mut events, None) {
                    Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                    _ => {}
                },
                Err(error) => return Err(error),
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Adds up a batch, under one lock.
    fn take(&self, receiver: &mut Receiver, shard: &mut Shard) -> usize {
        let is_datadog = self.datadog.load(Ordering::Relaxed);
        let dialect = if is_datadog { Dialect::Datadog } else { Dialect::Statsd };
        let (mut received, mut truncated) = (0, 0);
        while receiver.advance() {
            let Some(datagram) = receiver.current() else { break };
            shard.datagram(datagram.bytes, datagram.truncated, dialect);
            received += 1;
            truncated += u64::from(datagram.truncated);
        }
        self.received.fetch_add(received as u64, Ordering::Release);
        self.truncated.fetch_add(truncated, Ordering::Release);
        received
    }
}
