//! When what the application sends leaves: at once, or with what follows.

use super::{PAUSE, Shared, Working};
use crate::driver::inlet::Inlet;
use crate::protocol::Time;
use parking_lot::MutexGuard;
use std::time::Duration;

/// In a tight loop messages pile up for so many times what a transmit takes, so that most of the time goes to them.
const TIGHT_COSTS: u32 = 4;

impl Shared {
    /// After a message was taken: what waits leaves when it fills a run, or when the last transmit is further back than one
    /// takes. So a message that comes alone leaves at once, and what comes faster than the system can send piles up just as
    /// long as the system needs. What is left waiting leaves when its time comes.
    ///
    /// While messages wait, those that come in a tight loop go by the inlet.
    pub(crate) fn dispatch(
        &self,
        working: &mut MutexGuard<'_, Working>,
        inlet: &mut Inlet,
        stream: u32,
        now: Time,
    ) {
        inlet.look(now);
        let full = working.publisher.pending(stream).0 >= working.publisher.max_run();
        if full || now.since(working.transmitted) >= working.pile(inlet) {
            if !full {
                working.publisher.flush(stream);
            }
            self.transmit(working);
            if inlet.is_tight() {
                working.go_on(self, inlet, stream);
            }
        } else {
            working.pile_up(self, inlet, stream, now);
        }
    }

    /// What was pushed into an inlet is a run, or has waited long enough: it leaves, and more may be pushed if there is room.
    pub(crate) fn depart(
        &self,
        working: &mut MutexGuard<'_, Working>,
        inlet: &mut Inlet,
        stream: u32,
        now: Time,
    ) {
        working.publisher.stage(stream);
        working.enter(inlet, stream, now);
        working.publisher.flush(stream);
        self.transmit(working);
        if inlet.is_tight() {
            working.go_on(self, inlet, stream);
        }
    }
}

impl Working {
    /// How long what is sent piles up after a transmit.
    fn pile(&self, inlet: &Inlet) -> Duration {
        match inlet.is_tight() {
            true => (self.cost * TIGHT_COSTS).min(self.publisher.config().max_delay),
            false => self.cost,
        }
    }

    /// A run left, and more is to come: it piles up from now on.
    fn go_on(&mut self, shared: &Shared, inlet: &mut Inlet, stream: u32) {
        inlet.go_on(self.transmitted);
        self.pile_up(shared, inlet, stream, self.transmitted);
    }

    /// Messages wait for others; those that come in a tight loop are pushed, as many as fill a run.
    fn pile_up(&mut self, shared: &Shared, inlet: &mut Inlet, stream: u32, now: Time) {
        let tight = inlet.is_tight();
        // Where the application sends run after run the timer is for its end alone, and the later the more seldom it is set.
        let most = if tight && !self.watched { PAUSE } else { self.publisher.config().max_delay };
        self.waiting = Some(most);
        self.wake_by(shared, now + most, now);
        let pile = self.pile(inlet);
        if !tight || pile < Inlet::BETWEEN_LOOKS || self.unserved {
            return;
        }
        let (sealed, packing) = self.publisher.pending(stream);
        let left = self.publisher.max_run().saturating_sub(sealed + u64::from(packing));
        if left > 0 && self.publisher.headroom(stream, left, now) {
            self.inlets.open(inlet, stream, left as usize, self.transmitted + pile);
            self.look_again = now + most;
        }
    }

    /// What publishers may push without the lock is looked after in time.
    fn look_after(&mut self, now: Time) {
        let open = self.inlets.is_open();
        self.look_again = if open { now + PAUSE } else { Time::NEVER };
    }

    /// Takes in what all publishers pushed, so that none waits for an application that sends to another stream.
    pub(crate) fn take_in_all(&mut self, now: Time) {
        self.inlets.take_in_all(&mut self.publisher, now);
        self.look_after(now);
    }

    /// Takes in what all publishers pushed, to be sent now; they push no more.
    pub(super) fn close_inlets(&mut self, now: Time) {
        let again = self.look_again.is_due(now);
        self.inlets.close_all(&mut self.publisher, again, now);
        if again || !self.inlets.is_open() {
            self.look_after(now);
        }
    }

    /// Takes in what a publisher pushed that calls this.
    pub(crate) fn take_in(&mut self, stream: u32, now: Time) {
        self.inlets.take_in(&mut self.publisher, stream, now);
    }

    /// A publisher is gone, and what it pushed was taken in.
    pub(crate) fn forget(&mut self, stream: u32) {
        self.inlets.forget(stream);
    }

    /// What a publisher pushed comes before what it does next, under the lock.
    pub(crate) fn enter(&mut self, inlet: &mut Inlet, stream: u32, now: Time) {
        self.inlets.enter(&mut self.publisher, inlet, stream, now);
    }
}
