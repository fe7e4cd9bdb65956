//! Runs of datagrams go out; and what becomes of those that the system refuses.

use super::Shared;
use crate::driver::clock::Seldom;
use crate::net::{self, Sender, SocketError};
use crate::protocol::Time;
use crate::protocol::publisher::{Publisher, To, Transmit};
use std::fmt;
use std::io::{self, IoSlice};
use std::time::Duration;

/// How long to leave a socket alone that would take no more.
const BLOCKED_RETRY: Duration = Duration::from_micros(200);

/// What sends them.
#[derive(Debug)]
pub(super) struct Outgoing {
    to_group: Sender,
    /// To receivers alone: what the way to one of them refuses, that to the group need not.
    to_one: Sender,
    /// The socket would take no more; not tried before this.
    pub(super) blocked_until: Time,
    /// The last datagram that was too long for its way, to be told to the next that sends.
    pub(super) too_long: Option<SocketError>,
    /// Datagrams were refused: all, or those to one receiver alone.
    refusals: Seldom,
    refusals_alone: Seldom,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing {
            to_group: Sender::new(),
            to_one: Sender::new(),
            blocked_until: Time::NEVER,
            too_long: None,
            refusals: Seldom::default(),
            refusals_alone: Seldom::default(),
        }
    }

    /// Whether the socket is left alone yet.
    pub(super) fn is_blocked(&mut self, now: Time) -> bool {
        let blocked = self.blocked_until > now && self.blocked_until < Time::NEVER;
        if !blocked {
            self.blocked_until = Time::NEVER;
        }
        blocked
    }

    /// Sends a run, of which what the socket would not take is left to the publisher. Gives when it was done.
    pub(super) fn send(&mut self, shared: &Shared, publisher: &mut Publisher, transmit: &Transmit) -> Time {
        let to = match transmit.to {
            To::Group => shared.group,
            To::Receiver(address) => address,
        };
        let (mut one, mut many);
        let slices = match transmit.count {
            1 => {
                one = [IoSlice::new(&[])];
                &mut one[..]
            }
            // Takes as long to make as to send one takes in here.
            count => {
                many = [IoSlice::new(&[]); net::MAX_DATAGRAMS];
                &mut many[..count]
            }
        };
        for (slice, datagram) in slices.iter_mut().zip(publisher.datagrams()) {
            *slice = IoSlice::new(datagram);
        }
        let datagrams = &*slices;
        let is_alone = to != shared.group;
        let sender = if is_alone { &mut self.to_one } else { &mut self.to_group };
        let mut run = sender.attempt(&shared.socket, to, transmit.segment, datagrams);
        let (mut failures, mut calls) = (run.failed as u64, u64::from(run.system_calls));
        let refused_alone = run.last_error.take_if(|_| is_alone);
        if refused_alone.is_some() {
            // What cannot reach a receiver alone (a narrow route, a firewall) would never reach it, however often it
            // asks. By way of the group it may; the others have no harm of it.
            run = self.to_group.attempt(&shared.socket, shared.group, transmit.segment, datagrams);
            failures += run.failed as u64;
            calls += u64::from(run.system_calls);
            publisher.went_to_group(run.done());
        }
        let refused = self.to_group.segmentation_refused() + self.to_one.segmentation_refused();
        publisher.count_socket(|stats| {
            stats.send_failures += failures;
            stats.system_calls += calls;
            stats.segmentation_refused = refused;
        });
        let now = shared.clock.now();
        if let Some(error) = refused_alone
            && self.refusals_alone.is_due(now)
        {
            tracing::warn!(%error, %to, "a receiver cannot be sent to alone, and is served with the group");
        }
        if let Some(error) = &run.last_error {
            self.failed(error, transmit.segment, shared, now);
        }
        let took = run.done();
        if took < transmit.count {
            publisher.retract(took);
            self.blocked_until = now + BLOCKED_RETRY;
        }
        now
    }

    /// A datagram to the group was refused by the system. It may be repaired; what refuses every datagram of its length is
    /// told to the sender, and what goes on and on to the operator, seldom.
    fn failed(&mut self, error: &io::Error, length: usize, shared: &Shared, now: Time) {
        let too_long = net::is_too_long(error).then(|| shared.socket.too_long(length));
        if self.refusals.is_due(now) {
            let error: &dyn fmt::Display = too_long.as_ref().map_or(error, |error| error);
            tracing::warn!(%error, "datagrams cannot be sent");
        }
        self.too_long = too_long.or(self.too_long.take());
    }
}
