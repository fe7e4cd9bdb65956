//! The thread that watches subscribers while the command's own thread publishes: it tells what happens to them and how far
//! things are, and keeps who was there.

use super::{LONG, PROGRESS};
use crate::clock;
use crate::receivers;
use crate::say;
use nakcast::{Endpoint, PublisherEvent, PublisherStats, ReceiverId};
use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often what happened to subscribers is told.
const WATCH: Duration = Duration::from_millis(250);

/// The thread.
pub(super) struct Watch {
    end: Sender<()>,
    thread: JoinHandle<Seen>,
}

/// Who was there.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether any subscriber was ever known.
    pub(super) anybody: bool,
    /// Those that were not heard from any more, and had not taken leave.
    pub(super) vanished: BTreeSet<u64>,
    /// Of those, the ones that did so when datagrams had failed to leave: what was sent may never have reached them.
    pub(super) cut_off: BTreeSet<u64>,
}

impl Watch {
    pub(super) fn start(endpoint: Endpoint, verbose: bool) -> std::io::Result<Watch> {
        let (end, ended) = channel();
        let begun = clock::now();
        let watched = say::is_watched();
        let thread = thread::Builder::new().name("watch".into()).spawn(move || {
            let (mut next, mut since, mut before) = (begun + LONG, begun, 0);
            let mut seen = Seen::default();
            loop {
                let over = ended.recv_timeout(WATCH) != Err(RecvTimeoutError::Timeout);
                while let Some(event) = endpoint.poll_event() {
                    seen.note(&event, &endpoint);
                    receivers::tell_of(&event, verbose);
                }
                if over {
                    return seen;
                }
                let now = clock::now();
                if watched && now >= next {
                    let PublisherStats { messages, repairs, receivers, .. } = endpoint.stats();
                    let rate = (messages - before) as f64 / now.duration_since(since).as_secs_f64();
                    (next, since, before) = (now + PROGRESS, now, messages);
                    say::progress(format_args!(
                        "{messages} messages, {rate:.0} a second, {repairs} repairs, {receivers} subscribers"
                    ));
                }
            }
        })?;
        Ok(Watch { end, thread })
    }

    /// Who was there, up to now.
    pub(super) fn end(self) -> Seen {
        let _ = self.end.send(());
        self.thread.join().unwrap_or_default()
    }
}

impl Seen {
    fn note(&mut self, event: &PublisherEvent, endpoint: &Endpoint) {
        match event {
            PublisherEvent::Joined { receiver: ReceiverId(id), .. } => {
                self.anybody = true;
                self.vanished.remove(id);
                self.cut_off.remove(id);
            }
            PublisherEvent::Left { receiver: ReceiverId(id), announced: false } => {
                self.vanished.insert(*id);
                if endpoint.stats().send_failures > 0 {
                    self.cut_off.insert(*id);
                }
            }
            _ => {}
        }
    }
}
