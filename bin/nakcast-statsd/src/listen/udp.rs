//! Datagrams from the network, taken in batches.

use super::Ledger;
use crate::intake::{Feed, Intake};
use mio::{Events, Interest, Poll, Token, Waker};
use nakcast::net::{Receiver, Socket};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

/// Datagrams taken in one system call at most.
const MESSAGES: usize = 64;

/// The least that the kernel reckons for a datagram in the receive buffer, in bytes: what bounds how many can lie in it.
const LEAST: usize = 256;

const SOCKET: Token = Token(0);
const TOLD: Token = Token(1);

pub(super) fn start(
    ledger: Arc<Ledger>,
    at: usize,
    intake: &Intake,
    ended: impl FnOnce() + Send + 'static,
) -> io::Result<(Waker, JoinHandle<io::Result<()>>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), TOLD)?;
    let socket = &ledger.sockets[at];
    let mut source = mio::net::UdpSocket::from_std(socket.as_socket().try_clone()?);
    poll.registry().register(&mut source, SOCKET, Interest::READABLE)?;
    let feed = intake.feed();
    let thread = thread::Builder::new().name("listener".into()).spawn(move || {
        let result = if ledger.begins() { listen(&ledger, &ledger.sockets[at], poll, feed) } else { Ok(()) };
        drop(source);
        ledger.ended.store(true, Ordering::Release);
        ended();
        result
    })?;
    Ok((waker, thread))
}

fn listen(ledger: &Ledger, socket: &Socket, mut poll: Poll, mut feed: Feed) -> io::Result<()> {
    let mut events = Events::with_capacity(4);
    let mut receiver = Receiver::new(MESSAGES);
    // Once told to end: what can lie in the buffer, so that a flood does not keep it for ever.
    let mut left = socket.receive_buffer() / LEAST;
    loop {
        let ending = ledger.end.load(Ordering::Acquire);
        match receiver.receive(socket) {
            Ok(_) => {
                let received = take(ledger, &mut receiver, &mut feed);
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

/// Leaves a batch.
fn take(ledger: &Ledger, receiver: &mut Receiver, feed: &mut Feed) -> usize {
    let mut batch = feed.begin(ledger.dialect());
    let (mut received, mut truncated) = (0, 0);
    while receiver.advance() {
        let Some(datagram) = receiver.current() else { break };
        batch.datagram(datagram.bytes, datagram.truncated);
        received += 1;
        truncated += u64::from(datagram.truncated);
    }
    // What is counted is there.
    drop(batch);
    ledger.count(received as u64, truncated);
    received
}
