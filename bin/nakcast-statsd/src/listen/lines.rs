//! Lines from a stream: what lies between two reads is put together, within a bound.

use super::Ledger;
use crate::intake::Feed;
use crate::line::Bad;
use crate::stream::Conversation;
use memchr::{memchr, memrchr};
use parking_lot::Mutex;
use std::mem;
use std::sync::Arc;

/// A longer line is a bad one; as long as a datagram can be.
const LONGEST: usize = 64 << 10;

/// One connection's lines.
pub(super) struct Lines {
    ledger: Arc<Ledger>,
    feed: Arc<Mutex<Feed>>,
    /// A line that has no end yet.
    begun: Vec<u8>,
    /// The line that is going on was too long, and is left out to its end.
    skipping: bool,
}

impl Lines {
    pub(super) fn new(ledger: Arc<Ledger>, feed: Arc<Mutex<Feed>>) -> Lines {
        Lines { ledger, feed, begun: Vec::new(), skipping: false }
    }

    fn begin(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        self.begun.extend(bytes);
        if self.begun.len() > LONGEST {
            self.bad(Bad::Long);
            self.skipping = true;
        }
    }

    /// What was begun is no line.
    fn bad(&mut self, why: Bad) {
        let line = mem::take(&mut self.begun);
        self.feed.lock().unreadable(&line, why);
        self.ledger.count(0, 0);
    }
}

impl Conversation for Lines {
    fn hear(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> bool {
        let Some(last) = memrchr(b'\n', bytes) else {
            self.begin(bytes);
            return true;
        };
        let (mut whole, rest) = (&bytes[..last], &bytes[last + 1..]);
        if mem::take(&mut self.skipping) {
            whole = memchr(b'\n', whole).map_or(&[], |first| &whole[first + 1..]);
        }
        let dialect = self.ledger.dialect();
        if self.begun.is_empty() {
            self.feed.lock().begin(dialect).lines(whole);
        } else {
            let mut begun = mem::take(&mut self.begun);
            begun.extend(whole);
            self.feed.lock().begin(dialect).lines(&begun);
        }
        self.ledger.count(1, 0);
        self.begin(rest);
        true
    }

    fn end(&mut self, _: &mut Vec<u8>) {
        // It may have been cut to another that looks good.
        if !self.begun.is_empty() {
            self.bad(Bad::Unfinished);
        }
    }
}
